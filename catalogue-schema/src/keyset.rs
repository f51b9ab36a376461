//! Keyset documents: how a set of signers says which keys it has from now on, so that no operator has to edit a policy for it.
//!
//! **Shape** of one, `resolverd/keyset@1`, which is strict JSON; unknown fields are refused:
//!
//! ```json
//! {"schema": "resolverd/keyset@1", "name": "acme-hybrid", "version": 2, "threshold": 2, "keys": [
//!   {"id": "acme-root-ed-2", "algorithm": "ed25519", "public": "d75a98…", "usage": ["catalogue", "keyset"],
//!    "not_before": "2026-01-01T00:00:00Z", "not_after": "2028-01-01T00:00:00Z"},
//!   {"id": "acme-root-ed-1", "algorithm": "ed25519", "public": "3d4017…", "usage": ["package"],
//!    "revoked": {"at": "2026-05-04T00:00:00Z", "reason": "retired"}}]}
//! ```
//!
//! `name` is the name of the set in the policy, `public` a key as lower-case hex or as the text of a PEM block, `threshold` how many
//! distinct keys must sign. The other fields are those of `[[keys]]` in the policy. A new field needs a new schema.
//!
//! It lies beside the entry document of the source that the policy names for it, as `keysets/acme-hybrid.2.json`, with an envelope of
//! `resolverd/sig@1` behind it as `keysets/acme-hybrid.2.json.sig`; its statement has the type `keyset`, the name of the set as its
//! id and the number of the document as its version.
//!
//! Never decides whether one is accepted: who must have signed it is said by the trust pillar.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ParseError;
use crate::instant;
use crate::json;
use crate::key::{Fingerprint, KeyAlgorithm, PublicKey};
use crate::policy::{Name, Revocation, Revoked};
use crate::revision::rfc3339;
use crate::signature::{SIGNATURES_MAX, Usage};

/// The schema of a keyset document.
pub const KEYSET_SCHEMA: &str = "resolverd/keyset@1";
/// The largest keyset document, in bytes: sixteen keys of ML-DSA-87 under PEM, and what stands around them.
pub const KEYSET_BYTES_MAX: u64 = 128 << 10;
/// How many keys a set may have: as many as one envelope has signatures.
pub const KEYSET_KEYS_MAX: usize = SIGNATURES_MAX;

/// The keys of a set of signers, as the signers themselves say.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyset {
    /// The name of the set in the policy.
    pub name: Name,
    /// Which version it is; each is one more than the one before.
    pub version: u64,
    /// How many distinct keys must sign from now on; at most as many as there are.
    pub threshold: usize,
    /// The keys, none twice.
    pub keys: Vec<KeysetKey>,
}

/// A key of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct KeysetKey {
    /// Its label.
    pub id: Name,
    /// The key.
    pub public: PublicKey,
    /// What it may sign.
    pub usage: Vec<Usage>,
    /// From when on it counts, in seconds since 1970-01-01 UTC; without it since ever.
    pub not_before_s: Option<i64>,
    /// From when on it counts no more.
    pub not_after_s: Option<i64>,
    /// Why it counts no more.
    pub revoked: Option<Revoked>,
}

/// The newest keyset that was accepted of a set of signers, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The file of the policy.
    pub policy: String,
    /// The name of the set.
    pub signers: String,
    /// The digest over what the policy itself says of the set beside its keys: another set begins anew.
    pub base: Digest,
    /// The keys of the set in the policy, sorted: a set with others begins anew, and one with fewer does not.
    #[serde(default)]
    pub named: Vec<Fingerprint>,
    /// The version of the keyset.
    pub version: u64,
    /// Its document, as it was signed.
    pub document: String,
}

impl Accepted {
    /// Tells whether it was accepted of a set of which a policy says this today. Fewer keys are the same set: where it began anew, a
    /// key that its signers gave up would count again because another one was taken away.
    pub fn is_of(&self, base: &Digest, named: &[Fingerprint]) -> bool {
        self.base == *base && named.iter().all(|key| self.named.contains(key))
    }
}

/// A keyset document as it is written.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysetDocument {
    /// `resolverd/keyset@1`.
    schema: String,
    /// The name of the set in the policy.
    name: String,
    /// One more than that of the document before; the policy has version 1 unless it says otherwise.
    version: u64,
    /// How many distinct keys must sign.
    threshold: u64,
    /// The keys, at most 16.
    keys: Vec<KeyEntry>,
}

/// A key of a set.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    /// Its label.
    id: String,
    /// Its algorithm.
    algorithm: KeyAlgorithm,
    /// The public key, as lower-case hex or as the text of a PEM block.
    public: String,
    /// What it may sign.
    usage: Vec<Usage>,
    /// From when on it counts, such as `2026-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    /// From when on it counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    /// That it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<RevokedEntry>,
}

/// That and why a key was revoked.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct RevokedEntry {
    /// When.
    at: String,
    /// Why.
    reason: Revocation,
}

impl Keyset {
    /// Reads a keyset document.
    ///
    /// **Errors**: `input.schema`, `input.field`, `input.key`, `input.private_key`, `input.time`, `policy.name`, and those of the JSON
    /// reader.
    pub fn parse(bytes: &[u8]) -> Result<Keyset, ParseError> {
        if bytes.len() as u64 > KEYSET_BYTES_MAX {
            let expected = format!("a keyset document of at most {KEYSET_BYTES_MAX} bytes");
            return Err(ParseError::new("input.field", expected, format!("{} bytes", bytes.len())));
        }
        let text = json::check(bytes)?;
        let document: KeysetDocument = json::document(text)?;
        Keyset::of(document).map_err(|error| json::located(error, text))
    }

    fn of(document: KeysetDocument) -> Result<Keyset, ParseError> {
        if document.schema != KEYSET_SCHEMA {
            return Err(ParseError::new("input.schema", KEYSET_SCHEMA, document.schema).in_field("schema"));
        }
        if !(1..=json::INTEGER_MAX).contains(&document.version) {
            let found = document.version.to_string();
            return Err(ParseError::new("input.field", "a number from 1", found).in_field("version"));
        }
        let count = document.keys.len();
        if !(1..=KEYSET_KEYS_MAX).contains(&count) {
            let expected = format!("1 to {KEYSET_KEYS_MAX} keys");
            return Err(ParseError::new("input.field", expected, count.to_string()).in_field("keys"));
        }
        let read =
            document.keys.into_iter().enumerate().map(|(position, entry)| {
                key(entry).map_err(|error| error.in_field(format!("keys[{position}]")))
            });
        let keys = read.collect::<Result<Vec<KeysetKey>, ParseError>>()?;
        let (mut labels, mut fingerprints) = (BTreeSet::new(), BTreeSet::new());
        for (position, key) in keys.iter().enumerate() {
            if !labels.insert(key.id.clone()) || !fingerprints.insert(key.public.fingerprint()) {
                let found = key.id.as_text();
                let error = ParseError::new("input.field", "every label and every key once", found);
                return Err(error.in_field(format!("keys[{position}]")));
            }
        }
        let threshold = usize::try_from(document.threshold).unwrap_or(usize::MAX);
        if !(1..=count).contains(&threshold) {
            let expected = format!("from 1 to {count}, the number of its keys");
            let error = ParseError::new("input.field", expected, document.threshold.to_string());
            return Err(error.in_field("threshold"));
        }
        let name = Name::parse(&document.name).map_err(|error| error.in_field("name"))?;
        Ok(Keyset { name, version: document.version, threshold, keys })
    }

    /// Returns the keyset as a document.
    pub fn to_json(&self) -> String {
        let entry = |key: &KeysetKey| KeyEntry {
            id: key.id.to_string(),
            algorithm: key.public.algorithm(),
            public: key.public.to_hex(),
            usage: key.usage.clone(),
            not_before: key.not_before_s.map(rfc3339),
            not_after: key.not_after_s.map(rfc3339),
            revoked: key
                .revoked
                .map(|revoked| RevokedEntry { at: rfc3339(revoked.at_s), reason: revoked.reason }),
        };
        let document = KeysetDocument {
            schema: KEYSET_SCHEMA.to_owned(),
            name: self.name.to_string(),
            version: self.version,
            threshold: self.threshold as u64,
            keys: self.keys.iter().map(entry).collect(),
        };
        let text = serde_json::to_string_pretty(&document).expect("texts and numbers are JSON");
        text + "\n"
    }
}

fn key(entry: KeyEntry) -> Result<KeysetKey, ParseError> {
    let public = PublicKey::parse(entry.public.as_bytes()).map_err(|error| error.in_field("public"))?;
    if public.algorithm() != entry.algorithm {
        let error = ParseError::new("input.key", entry.algorithm.name(), public.algorithm().name());
        return Err(error.in_field("algorithm"));
    }
    if entry.usage.is_empty() || entry.usage.iter().collect::<BTreeSet<_>>().len() < entry.usage.len() {
        let found = format!("{} words", entry.usage.len());
        let error = ParseError::new("input.field", "at least one, and each once", found);
        return Err(error.in_field("usage"));
    }
    let time = |field: &'static str, text: Option<&str>| {
        text.map(|text| instant::parse(text).map_err(|error| error.in_field(field))).transpose()
    };
    let (before, after) =
        (time("not_before", entry.not_before.as_deref())?, time("not_after", entry.not_after.as_deref())?);
    if before.zip(after).is_some_and(|(before, after)| after <= before) {
        let found = entry.not_after.unwrap_or_default();
        let error = ParseError::new("input.field", "an instant behind not_before", found);
        return Err(error.in_field("not_after"));
    }
    let revoked = entry.revoked.map(|revoked| {
        let at_s = instant::parse(&revoked.at).map_err(|error| error.in_field("revoked.at"))?;
        Ok(Revoked { at_s, reason: revoked.reason })
    });
    Ok(KeysetKey {
        id: Name::parse(&entry.id).map_err(|error| error.in_field("id"))?,
        public,
        usage: entry.usage,
        not_before_s: before,
        not_after_s: after,
        revoked: revoked.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"schema":"resolverd/keyset@1","name":"roots","version":2,"threshold":1,"keys":[
        {"id":"a","algorithm":"ed25519","public":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a","usage":["keyset","catalogue"],"not_before":"2026-01-01T00:00:00Z"},
        {"id":"b","algorithm":"ed25519","public":"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c","usage":["package"],"revoked":{"at":"2026-05-04T00:00:00Z","reason":"retired"}}]}"#;

    #[test]
    fn a_keyset_is_what_it_was_written_as() {
        let keyset = Keyset::parse(GOOD.as_bytes()).expect("a keyset");
        assert_eq!((keyset.name.as_text(), keyset.version, keyset.threshold), ("roots", 2, 1));
        assert_eq!(keyset.keys[0].usage, [Usage::Keyset, Usage::Catalogue]);
        let revoked = keyset.keys[1].revoked.expect("revoked");
        assert_eq!(revoked.reason, Revocation::Retired);
        assert_eq!(Keyset::parse(keyset.to_json().as_bytes()).expect("a keyset"), keyset);
        // The same key under PEM is the same key.
        let pem = keyset.keys[0].public.to_pem().replace('\n', "\\n");
        let hex = keyset.keys[0].public.to_hex();
        assert_eq!(Keyset::parse(GOOD.replace(&hex, &pem).as_bytes()).expect("a keyset"), keyset);
    }

    #[test]
    fn what_is_no_keyset_is_refused_with_its_place() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from), "{from}");
            let found = Keyset::parse(GOOD.replacen(from, to, 1).as_bytes()).expect_err(to);
            let found =
                format!("{} {}", found.reason, if found.field.is_empty() { "-" } else { &found.field });
            assert_eq!(found, expected, "{from} to {to}");
        };
        check("keyset@1", "keyset@2", "input.schema schema");
        check("\"version\":2", "\"version\":0", "input.field version");
        check("\"version\":2", "\"version\":9007199254740992", "input.number version");
        check("\"threshold\":1", "\"threshold\":0", "input.field threshold");
        check("\"threshold\":1", "\"threshold\":3", "input.field threshold");
        check("\"id\":\"b\"", "\"id\":\"a\"", "input.field keys[1]");
        check("\"id\":\"b\"", "\"id\":\"b c\"", "policy.name keys[1].id");
        check("d75a98", "d75a9", "input.key keys[0].public");
        check("[\"package\"]", "[]", "input.field keys[1].usage");
        check("[\"package\"]", "[\"package\",\"package\"]", "input.field keys[1].usage");
        check("2026-01-01T00:00:00Z", "2026-01-01", "input.time keys[0].not_before");
        check("2026-05-04T00:00:00Z", "soon", "input.time keys[1].revoked.at");
        check("\"name\"", "\"more\":1,\"name\"", "input.field more");
        let one = "\"algorithm\":\"ed25519\",\"public\":\"3d";
        check(one, &one.replace("ed25519", "ml-dsa-87"), "input.key keys[1].algorithm");
        let same = GOOD.replace(
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        );
        let error = Keyset::parse(same.as_bytes()).expect_err("one key under two labels");
        assert_eq!(error.field, "keys[1]");
        let none = GOOD.split("\"keys\"").next().unwrap_or_default().to_owned() + "\"keys\":[]}";
        assert_eq!(Keyset::parse(none.as_bytes()).expect_err("no key").field, "keys");
    }
}
