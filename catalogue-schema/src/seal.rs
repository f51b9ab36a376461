//! Seals: a publisher's signature over the archive of a release, with what the registry says of the publisher's key.
//!
//! A registry that signs archives and not statements (seed 002) says in four places what an archive is: its metadata, a checksum
//! file, the signature file and the publisher's record. Whoever reads them makes a [`Seal`] of what agrees; whether the signature
//! holds and the key may sign is computed elsewhere. Never computes with a key and never reads a clock: windows are compared with
//! the time of publication that the registry attests.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::{ComponentId, Dialect};
use crate::key::{Fingerprint, PublicKey};
use crate::model::{Refusal, Release, Verdict};
use crate::version::Version;

/// The field of a release's extra under which the result of looking at its seal stands. No document can put it there.
pub const VERIFICATION: &str = "verification";

/// The reason of a refusal: the signature is none of the publisher's key over the archive's checksum.
pub const SIGNATURE_INVALID: &str = "estream.signature_invalid";
/// The reason of a refusal: a release without a signature file.
pub const SIGNATURE_MISSING: &str = "estream.signature_missing";
/// The reason of a refusal: a signature file that cannot be read.
pub const SIGNATURE_MALFORMED: &str = "estream.signature_malformed";
/// The reason of a refusal: a signature file that names another algorithm than ML-DSA-87 over SHA3-256.
pub const UNSUPPORTED_ALGORITHM: &str = "estream.unsupported_algorithm";
/// The reason of a refusal: metadata and signature file name different keys.
pub const KEY_ID_MISMATCH: &str = "estream.key_id_mismatch";
/// The reason of a refusal: the key has been revoked.
pub const KEY_REVOKED: &str = "estream.key_revoked";
/// The reason of a refusal: the release was published outside of the time for which the key was.
pub const KEY_EXPIRED: &str = "estream.key_expired";
/// The reason of a refusal: the release was published after the key was replaced.
pub const KEY_ROTATED: &str = "estream.key_rotated";
/// The reason of a refusal: the publisher has no such key.
pub const KEY_UNKNOWN: &str = "estream.key_unknown";
/// The reason of a refusal: the registry has no record of the publisher.
pub const PUBLISHER_UNKNOWN: &str = "estream.publisher_unknown";
/// The reason of a refusal: the publisher's record cannot be read.
pub const PUBLISHER_MALFORMED: &str = "estream.publisher_malformed";
/// The reason of a refusal: two places state different checksums of the archive.
pub const CHECKSUM_MISMATCH: &str = "estream.checksum_mismatch";
/// The reason of a refusal: a release without a checksum file.
pub const CHECKSUM_MISSING: &str = "estream.checksum_missing";
/// The reason of a refusal: a checksum file that cannot be read.
pub const CHECKSUM_MALFORMED: &str = "estream.checksum_malformed";
/// The reason of a refusal: several releases of one publisher state the same checksum, and an archive is one release.
pub const CHECKSUM_TWICE: &str = "estream.checksum_twice";
/// The reason of a refusal: a better-placed source knows the publisher that the name is scoped by, and the release is not its own.
pub const SCOPE_OWNED: &str = "estream.scope_owned";
/// The reason of a refusal: a name that is reserved for official components.
pub const NAME_RESERVED: &str = "estream.name_reserved";

/// How many of the releases that claim one archive are named.
const NAMED_MAX: usize = 4;

/// What a registry says of a publisher's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It signs.
    Active,
    /// It was replaced: what was published before stays signed by it.
    Rotated,
    /// Nothing that it signed counts.
    Revoked,
}

/// A key of a publisher, as the registry records it. All times are seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherKey {
    /// Its id within the publisher's record.
    pub id: String,
    /// The key.
    pub key: PublicKey,
    /// What has become of it.
    pub status: KeyStatus,
    /// From when on it signs.
    pub created_s: Option<i64>,
    /// Until when it signs.
    pub expires_s: Option<i64>,
    /// When it was replaced, where it was.
    pub rotated_s: Option<i64>,
}

/// What the record of a publisher says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherRecord {
    /// The registry has verified who they are.
    pub is_verified: bool,
    /// Their name for people.
    pub display_name: Option<String>,
    /// The keys by their ids, in the record's order; in place of one that cannot be used the reason.
    pub keys: Vec<(String, Result<PublisherKey, ParseError>)>,
}

/// A signature over the checksum of an archive, and what tells whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Who publishes the release.
    pub publisher: String,
    /// The registry says that it has verified who the publisher is.
    pub is_verified: bool,
    /// The key that the signature names, out of the publisher's own.
    pub key: PublisherKey,
    /// The checksum of the archive, on which every document agrees. Its raw bytes are what is signed.
    pub checksum: Digest,
    /// The signature.
    pub signature: Vec<u8>,
    /// When the signer says that it signed; nobody vouches for it.
    pub signed_at: Option<String>,
    /// When the registry says that the release was published, in seconds since 1970-01-01 UTC.
    pub published_s: i64,
}

/// A release and the seal on its archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The release, as its documents describe it.
    pub release: Release,
    /// The seal.
    pub seal: Seal,
}

/// Returns what stands in the release whose seal holds.
pub fn valid(seal: &Seal) -> Value {
    json!({
        "result": "Valid",
        "keyId": seal.key.id,
        "key": seal.key.key.fingerprint(),
        "signedAt": seal.signed_at,
        "publisher": seal.publisher,
        "publisherVerified": seal.is_verified,
        "checksum": seal.checksum,
    })
}

/// Returns what stands in a release that is refused for this reason; `None` where the reason says nothing of a seal.
pub fn broken(reason: &str) -> Option<Value> {
    let result = match reason {
        SIGNATURE_INVALID
        | SIGNATURE_MISSING
        | SIGNATURE_MALFORMED
        | UNSUPPORTED_ALGORITHM
        | KEY_ID_MISMATCH => "InvalidSignature",
        CHECKSUM_MISMATCH | CHECKSUM_MISSING | CHECKSUM_MALFORMED | CHECKSUM_TWICE => "ChecksumMismatch",
        KEY_EXPIRED | KEY_ROTATED => "ExpiredKey",
        KEY_REVOKED => "RevokedKey",
        KEY_UNKNOWN | PUBLISHER_UNKNOWN | PUBLISHER_MALFORMED => "UnknownKey",
        _ => return None,
    };
    Some(json!({ "result": result }))
}

/// Returns the key whose seal on a release was found to hold. Only the reader of a dialect that has seals keeps documents from
/// saying so themselves: of every other release nothing is believed.
pub fn signer(release: &Release) -> Option<Fingerprint> {
    if release.id.dialect() != Dialect::Estream || release.archive.is_none() {
        return None;
    }
    let told = release.extra.get(VERIFICATION)?;
    let is_valid = told.get("result").and_then(Value::as_str) == Some("Valid");
    let key = told.get("key").and_then(Value::as_str).filter(|_| is_valid)?;
    Fingerprint::parse(key).ok()
}

/// Returns the publisher whose seal on a release was found to hold.
fn sealer(release: &Release) -> Option<&str> {
    signer(release)?;
    release.extra.get(VERIFICATION)?.get("publisher")?.as_str()
}

/// Which releases of a registry state which archive, as far as their seals hold.
///
/// A seal says what an archive is and not of which release, so that whoever keeps the index could lay an old archive and its seal under
/// a newer version, or under another name of its publisher. An archive names its release itself, so that it is one alone: of several that
/// state it nobody can tell which one it is before it is there, and none is used. That holds among the releases of one publisher. Whoever
/// else seals the same archive, or registers the same public key, takes nothing from its publisher: only their own release is one that
/// the archive does not bear out.
#[derive(Debug, Default)]
pub struct Checksums(HashMap<Stated, Vec<(ComponentId, Version)>>);

/// Who says of an archive what it is, and which archive.
type Stated = (Box<str>, Digest);

impl Checksums {
    /// Takes in releases that had seals.
    pub fn note(&mut self, releases: &[Release]) {
        for release in releases {
            for stated in stated(release) {
                let of = (release.id.clone(), release.version.clone());
                self.0.entry(stated).or_default().push(of);
            }
        }
    }

    /// Forgets the archives that a publisher states for one release alone.
    pub fn keep_twice(&mut self) {
        self.0.retain(|_, of| of.len() > 1);
    }

    /// Returns the components that are left.
    pub fn ids(&self) -> BTreeSet<ComponentId> {
        self.0.values().flatten().map(|(id, _)| id.clone()).collect()
    }

    /// Refuses a release whose archive is left, and tells whether it did. Names few of those that state it: they may be many, and each
    /// is told.
    pub fn refuse(&self, release: &mut Release) -> bool {
        let twice = stated(release).find_map(|stated| self.0.get_key_value(&stated));
        let Some(((publisher, digest), of)) = twice else { return false };
        let subject = format!("{}@{}", release.id, release.version);
        let told: Vec<String> =
            of.iter().take(NAMED_MAX).map(|(id, version)| format!("{id}@{version}")).collect();
        let found = format!("{digest} of {} releases of {publisher}: {}", of.len(), told.join(", "));
        let expected = "an archive that is one release of its publisher";
        let refusal = Refusal::new(CHECKSUM_TWICE, subject, expected, found);
        release.extra.extend(broken(CHECKSUM_TWICE).map(|told| (VERIFICATION.to_owned(), told)));
        release.verdict = Verdict::Refused(refusal);
        true
    }
}

/// Returns the archives that a release states whose seal holds, each with its publisher.
fn stated(release: &Release) -> impl Iterator<Item = Stated> {
    let sealer = sealer(release);
    let digests = release.archive.iter().flat_map(|archive| &archive.digests);
    sealer
        .into_iter()
        .flat_map(move |sealer| digests.clone().map(move |digest| (sealer.into(), digest.clone())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEY: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn release(id: &str, archive: Value, verification: Value) -> Release {
        let verdict = json!({"trusted": {"level": "pinned"}});
        serde_json::from_value(json!({
            "id": id, "version": "1.0.0", "origin": {}, "verdict": verdict, "archive": archive,
            "extra": { VERIFICATION: verification },
        }))
        .unwrap()
    }

    #[test]
    fn only_a_release_that_can_have_a_seal_is_believed_to_have_one() {
        let archive = json!({"location": {"https": {"url": "https://e.org/x"}}, "digests": []});
        let valid = json!({"result": "Valid", "key": KEY});
        let check = |id: &str, archive: &Value, verification: &Value, expected: Option<&str>| {
            let found = signer(&release(id, archive.clone(), verification.clone()));
            assert_eq!(found.map(|key| key.to_string()).as_deref(), expected, "{id} {verification}");
        };
        check("estream:x", &archive, &valid, Some(KEY));
        check("estream:x", &Value::Null, &valid, None);
        check("lcod://a/x", &archive, &valid, None);
        check("estream:x", &archive, &json!({"result": "InvalidSignature", "key": KEY}), None);
        check("estream:x", &archive, &json!({"result": "Valid"}), None);
        check("estream:x", &archive, &json!({"result": "Valid", "key": "acme"}), None);
        check("estream:x", &archive, &Value::Null, None);
    }

    #[test]
    fn an_archive_is_one_release_of_its_publisher_whoever_else_seals_it() {
        let digest = "sha3-256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let archive = json!({"location": {"https": {"url": "https://e.org/x"}}, "digests": [digest]});
        let by = |publisher: &str| json!({"result": "Valid", "key": KEY, "publisher": publisher});
        let sealed = |id: &str, publisher: &str| release(id, archive.clone(), by(publisher));
        let check = |of: &[(&str, &str)], expected: &[&str]| {
            let mut releases: Vec<Release> = of.iter().map(|(id, publisher)| sealed(id, publisher)).collect();
            let mut checksums = Checksums::default();
            checksums.note(&releases);
            checksums.keep_twice();
            let refused: Vec<String> = releases
                .iter_mut()
                .filter_map(|release| checksums.refuse(release).then(|| release.id.to_string()))
                .collect();
            assert_eq!(refused, expected, "{of:?}");
            let ids: Vec<String> = checksums.ids().iter().map(ToString::to_string).collect();
            assert_eq!(ids, expected, "{of:?}");
        };
        check(&[("estream:x", "acme")], &[]);
        check(&[("estream:x", "acme"), ("estream:y", "acme")], &["estream:x", "estream:y"]);
        check(&[("estream:x", "acme"), ("estream:y", "evil")], &[]);
        check(
            &[("estream:v", "evil"), ("estream:x", "acme"), ("estream:y", "evil")],
            &["estream:v", "estream:y"],
        );
    }
}
