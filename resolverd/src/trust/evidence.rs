//! What signatures say about documents, computed once: where they lie, which of them hold, and which catalogue they vouch for.
//!
//! A signature lies in the file beside what it signs, whose name ends with `.sig`, or in the field `signature` of the entry that
//! names it. A signed document vouches for what it pins: a catalogue that a signed list names by commit or digest needs no
//! signature of its own. Beside one that it does not pin it may name a key with `publicKey`, whose signature is enough for that
//! catalogue, and for the ids that the source of the list owns.
//!
//! Whether a signature holds depends on its bytes, those that it is over and the keys; it is remembered by all three. Never decides
//! whether that is enough, and never fetches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use catalogue_schema::digest::Digest;
use catalogue_schema::error::ParseError;
use catalogue_schema::generation::{CatalogueState, Health, SourceState};
use catalogue_schema::id::{CatalogueId, Namespace, SourceId};
use catalogue_schema::key::{Fingerprint, KeyAlgorithm, PublicKey};
use catalogue_schema::model::{Refusal, Release, SignatureClaim};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{HttpsUrl, LocalPath, Location, Want};
use catalogue_schema::seal::signer;
use catalogue_schema::signature::{SignatureFile, Statement, Usage};

use crate::trust::policy::Policies;
use crate::trust::policy::decide::{CatalogueFacts, Delegated, Facts, FirstSeen, Signed};
use crate::trust::signature::{KeyRing, Proof, SignatureError, check, is_weak, verify};

/// How many documents with signatures are remembered; behind that all are computed anew.
const REMEMBERED_MAX: usize = 1 << 18;

/// What a signature file behind a document is called.
const SUFFIX: &str = ".sig";

/// The reason for a signature that nobody could compute.
const NOT_COMPUTED: &str = "trust.signature_not_computed";

/// Returns where the signature of a document lies that is in a file of its own; `None` where there can be none.
pub fn beside(want: &Want) -> Option<Want> {
    let Want::Blob(location) = want else { return None };
    let location = match location {
        Location::Git { repository, revision, path } => Location::Git {
            repository: repository.clone(),
            revision: revision.clone(),
            path: DocPath::parse(&format!("{path}{SUFFIX}")).ok()?,
        },
        Location::File { path } => {
            let mut name = path.as_path().as_os_str().to_owned();
            name.push(SUFFIX);
            Location::File { path: LocalPath::from_path(name.as_ref())? }
        }
        Location::Https { url } => {
            let (path, query) = url
                .as_text()
                .split_once('?')
                .map_or((url.as_text(), None), |(path, query)| (path, Some(query)));
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            Location::Https { url: HttpsUrl::parse(&format!("{path}{SUFFIX}{query}")).ok()? }
        }
    };
    Some(Want::Blob(location))
}

/// Returns the signature that an entry gives for the document that it names.
pub fn stated(claim: Option<&SignatureClaim>) -> Option<&[u8]> {
    claim?.signature.as_ref().map(String::as_bytes)
}

/// Signatures as they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    proofs: Vec<(Fingerprint, Proof)>,
    statement: Option<Statement>,
    fault: Option<ParseError>,
}

impl Looked {
    /// Returns them as a decision takes them.
    pub fn signed(&self) -> Signed<'_> {
        Signed { proofs: &self.proofs, statement: self.statement.as_ref(), fault: self.fault.as_ref() }
    }

    /// Tells whether one of them holds, whoever made it.
    pub fn has_one_that_holds(&self) -> bool {
        self.proofs.iter().any(|(_, proof)| *proof == Proof::Holds)
    }

    /// Returns what is stated by somebody whose signature holds.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref().filter(|_| self.has_one_that_holds())
    }

    /// Returns what a signature is of the key with this fingerprint, over bytes and no statement.
    fn at(key: Fingerprint, holds: bool) -> Looked {
        let proof = if holds { Proof::Holds } else { Proof::Fails };
        Looked { proofs: vec![(key, proof)], ..Looked::default() }
    }

    fn broken(fault: ParseError) -> Looked {
        Looked { fault: Some(fault), ..Looked::default() }
    }
}

/// What is known of signatures, by what they are over.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<HashMap<Question, Arc<Looked>>>);

/// Returns the bytes that a signature is over, where they can be read; asked only for those that are verified now.
pub type Content<'a> = &'a dyn Fn() -> Option<Cow<'a, [u8]>>;

/// Says which keys are tried first; asked only where one has to be tried.
type Likely<'a> = &'a dyn Fn() -> BTreeSet<Fingerprint>;

/// The signed document, the signature, the keys and what they are asked for.
type Question = (Digest, Digest, Digest, Usage);

impl Proofs {
    /// Looks at the signature of the document of `source` with the digest `digest`, whose bytes come from `content` where they are
    /// needed.
    pub fn look(
        &self,
        (policies, source): (&Policies, &SourceId),
        usage: Usage,
        (digest, content): (&Digest, Content<'_>),
        signature: &[u8],
    ) -> Arc<Looked> {
        let Some(keys) = policies.digest() else { return Arc::default() };
        let likely = || policies.likely(source, usage);
        self.looked((policies.ring(), keys.clone(), &likely), usage, (digest, content), signature)
    }

    /// Looks at the signature of a catalogue that a list of `source` lets another key sign. Nothing is shared with what another
    /// list says of the same catalogue: what counts for one delegator counts for no other.
    pub fn look_delegated(
        &self,
        (policies, source): (&Policies, &SourceId),
        delegation: &Delegation,
        (digest, content): (&Digest, Content<'_>),
        signature: &[u8],
    ) -> Arc<Looked> {
        let Some(keys) = policies.digest() else { return Arc::default() };
        let Delegation { by, digest: list, key, .. } = delegation;
        let named = format!("{keys}\ndelegated {source} {by} {list} {}\n", key.fingerprint());
        let ring: KeyRing = policies.ring().keys().chain([key]).cloned().collect();
        let keys = Digest::sha256(named.as_bytes());
        let likely = || {
            let own = policies.likely(source, Usage::Catalogue).into_iter();
            own.chain([key.fingerprint()]).collect()
        };
        self.looked((&ring, keys, &likely), Usage::Catalogue, (digest, content), signature)
    }

    /// Tells whether `signature` is one of `key` over `message`, which no policy need know.
    ///
    /// **Errors**: the system has no thread left.
    pub fn holds(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<bool, SignatureError> {
        let keys = Digest::sha256(format!("sealed by {}\n", key.fingerprint()).as_bytes());
        let question = (Digest::sha256(message), Digest::sha256(signature), keys, Usage::Package);
        if let Some(known) = self.remembered(&question) {
            return Ok(known.has_one_that_holds());
        }
        let holds = verify(key, message, signature, &[])?;
        self.remember(question, Arc::new(Looked::at(key.fingerprint(), holds)));
        Ok(holds)
    }

    fn remembered(&self, question: &Question) -> Option<Arc<Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    fn remember(&self, question: Question, looked: Arc<Looked>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(question, looked);
    }

    fn looked(
        &self,
        (ring, keys, likely): (&KeyRing, Digest, Likely<'_>),
        usage: Usage,
        (digest, content): (&Digest, Content<'_>),
        signature: &[u8],
    ) -> Arc<Looked> {
        let question = (digest.clone(), Digest::sha256(signature), keys, usage);
        if let Some(known) = self.remembered(&question) {
            return known;
        }
        let looked = match look((ring, likely), usage, content, signature) {
            Ok(looked) => Arc::new(looked),
            // What the system could not do now it may do later.
            Err(found) => {
                let expected = "a signature that was computed";
                return Arc::new(Looked::broken(ParseError::new(NOT_COMPUTED, expected, found)));
            }
        };
        self.remember(question, Arc::clone(&looked));
        looked
    }
}

/// Looks at signatures, which is the same each time.
///
/// **Errors**: what could not be read or computed now.
fn look(
    (ring, likely): (&KeyRing, Likely<'_>),
    usage: Usage,
    content: Content<'_>,
    signature: &[u8],
) -> Result<Looked, String> {
    let failed = |error: SignatureError| error.to_string();
    match SignatureFile::parse(signature) {
        Err(fault) => Ok(Looked::broken(fault)),
        Ok(SignatureFile::Detached { algorithm, bytes }) => {
            let content = content().ok_or("the bytes that it is over cannot be read")?;
            let proofs = detached((ring, &likely()), algorithm, &content, &bytes).map_err(failed)?;
            Ok(Looked { proofs, ..Looked::default() })
        }
        Ok(SignatureFile::Envelope(envelope)) => {
            let proofs = check(&envelope, usage, ring).map_err(failed)?;
            let holds = proofs.iter().any(|(_, proof)| *proof == Proof::Holds);
            // A payload that nobody signed is not read.
            match holds.then(|| envelope.statement()).transpose() {
                Ok(statement) => Ok(Looked { proofs, statement, fault: None }),
                Err(fault) => Ok(Looked::broken(fault)),
            }
        }
    }
}

/// Returns the keys of an algorithm in the order in which they are tried: those that are likely come first, so that who else signs
/// elsewhere costs nothing where a signature is good.
fn in_order<'r>(
    ring: &'r KeyRing,
    likely: &BTreeSet<Fingerprint>,
    algorithm: KeyAlgorithm,
) -> impl Iterator<Item = &'r PublicKey> {
    let keys = ring.keys().filter(|key| key.algorithm() == algorithm);
    let (first, rest): (Vec<&PublicKey>, Vec<&PublicKey>) =
        keys.partition(|key| likely.contains(&key.fingerprint()));
    first.into_iter().chain(rest)
}

/// Tries the keys of an algorithm on a signature that names none: the first that made it, or all of them that did not.
fn detached(
    (ring, likely): (&KeyRing, &BTreeSet<Fingerprint>),
    algorithm: KeyAlgorithm,
    content: &[u8],
    signature: &[u8],
) -> Result<Vec<(Fingerprint, Proof)>, SignatureError> {
    let mut failed = Vec::new();
    for key in in_order(ring, likely, algorithm) {
        if verify(key, content, signature, &[])? {
            return Ok(vec![(key.fingerprint(), Proof::Holds)]);
        }
        failed.push((key.fingerprint(), Proof::Fails));
    }
    Ok(failed)
}

/// The signed document that vouches for a catalogue: the catalogue itself, or what leads to it and pins it.
#[derive(Debug, Clone)]
pub struct Voucher {
    /// What it is called within its source.
    pub name: SourceId,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its signatures.
    pub looked: Arc<Looked>,
    /// The right to sign it that a list above it gives to another key.
    pub delegation: Option<Arc<Delegation>>,
    /// Why it is not as new, or not signed, as what was accepted before.
    pub rollback: Option<Refusal>,
}

/// The right to sign one catalogue that a signed list gives to a key.
#[derive(Debug)]
pub struct Delegation {
    /// What the list is called within its source.
    pub by: SourceId,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its signatures.
    pub looked: Arc<Looked>,
    /// The key.
    pub key: PublicKey,
    /// What the source of the list owns.
    pub scope: Vec<Namespace>,
}

impl Delegation {
    /// Returns the right that an entry of the list which `by` is gives with its `publicKey`. That is the key itself, as hex or PEM, or
    /// the fingerprint of one that a policy names: nobody has signed what lies at a path, so that a path gives no right.
    ///
    /// A catalogue whose signer has his right from a list gives none.
    pub fn of(
        claim: Option<&SignatureClaim>,
        by: &Voucher,
        owns: &[Namespace],
        policies: &Policies,
    ) -> Option<Delegation> {
        let text = claim?.public_key.as_deref()?;
        let named = || policies.ring().key(Fingerprint::parse(text).ok()?).cloned();
        let key = PublicKey::parse(text.as_bytes()).ok().or_else(named).filter(|key| !is_weak(key))?;
        let Voucher { name, digest, looked, .. } = by;
        by.delegation.is_none().then(|| Delegation {
            by: name.clone(),
            digest: digest.clone(),
            looked: Arc::clone(looked),
            key,
            scope: owns.to_vec(),
        })
    }
}

impl Voucher {
    /// Returns who vouches for a document: itself where it is signed, or else what leads to it where that is signed.
    ///
    /// `above` vouches for what leads here, whether or not its signatures count: those that do not say why, which is more than
    /// that there are none here. `is_pinned` tells whether what leads here names this very document.
    pub fn of(own: Voucher, above: Option<&Voucher>, is_pinned: bool) -> Voucher {
        let is_signed = |one: &Voucher| *one.looked != Looked::default();
        match above.filter(|above| is_pinned && !is_signed(&own) && is_signed(above)) {
            Some(above) => above.clone(),
            None => own,
        }
    }

    /// Returns the facts of a catalogue that this vouches for.
    pub fn facts(&self, checked_s: Option<i64>) -> CatalogueFacts<'_> {
        let is_own = |statement: &&Statement| {
            statement.usage == Usage::Catalogue && statement.digests.contains(&self.digest)
        };
        CatalogueFacts {
            name: &self.name,
            digest: &self.digest,
            signed: self.looked.signed(),
            delegated: self.delegation.as_deref().map(|delegation| Delegated {
                by: &delegation.by,
                digest: &delegation.digest,
                signed: delegation.looked.signed(),
                key: delegation.key.fingerprint(),
                scope: &delegation.scope,
            }),
            rollback: self.rollback.as_ref(),
            expires_s: self.looked.statement().filter(is_own).and_then(|statement| statement.expires_s),
            checked_s,
        }
    }
}

/// Who vouches for the lists and catalogues of a source, and for its releases.
#[derive(Debug, Default)]
pub struct Signatures {
    /// Who vouches for each; the flag tells a source's entry from a catalogue of the same name.
    pub vouchers: BTreeMap<(CatalogueId, bool), Voucher>,
    /// The signatures of releases, by the catalogue that lists them and the digests of their manifests: what another catalogue
    /// has beside the same manifest says nothing.
    pub packages: HashMap<(CatalogueId, Digest), Arc<Looked>>,
    /// The manifests whose signatures are looked for.
    pub wanted: BTreeMap<Digest, Sought>,
}

/// Where the signature of a release is looked for.
#[derive(Debug, Clone)]
pub enum Sought {
    /// It is what the entry of the release states.
    Stated(String),
    /// It lies beside this document.
    Beside(Want),
}

impl Signatures {
    /// Takes in those of another source.
    pub fn absorb(&mut self, other: Signatures) {
        self.vouchers.extend(other.vouchers);
        self.packages.extend(other.packages);
    }
}

/// A release and everything around it that a decision needs.
#[derive(Debug)]
pub struct Case<'a> {
    release: &'a Release,
    source: &'a SourceId,
    voucher: &'a Voucher,
    looked: Option<&'a Looked>,
    /// What was found of the seal on its archive. A policy that knows the publisher's key counts it as a signature of the
    /// release: the index, at its commit, says of which.
    sealed: Option<Looked>,
    digests: Vec<Digest>,
    content: Option<Digest>,
    /// Every document on the way is pinned.
    pub pinned: bool,
    /// The sources placed before that have never been read.
    pub missing: &'a [SourceId],
    /// When its source was last compared with its origin, in seconds since 1970-01-01 UTC.
    pub checked_s: Option<i64>,
    /// What this version was when it was first seen here, and when.
    pub first_seen: Option<(Digest, i64)>,
    /// The sources that carry the same bytes.
    pub carriers: &'a [SourceId],
}

impl<'a> Case<'a> {
    /// Makes the case of a release that `source` supplies out of a catalogue for which `voucher` vouches; `looked` are the
    /// signatures of its manifest.
    pub fn of(
        release: &'a Release,
        source: &'a SourceId,
        voucher: &'a Voucher,
        looked: Option<&'a Looked>,
    ) -> Case<'a> {
        Case {
            release,
            source,
            voucher,
            looked,
            sealed: signer(release).map(|key| Looked::at(key, true)),
            digests: promised(release),
            content: release.content(),
            pinned: false,
            missing: &[],
            checked_s: None,
            first_seen: None,
            carriers: &[],
        }
    }

    /// Returns the facts. A rule with `min_age` counts from when the version was first seen here with these very bytes: nobody else's
    /// word is enough.
    pub fn facts(&self) -> Facts<'_> {
        let first_seen = self.first_seen.as_ref();
        let as_seen = first_seen.filter(|(digest, _)| self.content.as_ref() == Some(digest));
        Facts {
            id: &self.release.id,
            version: &self.release.version,
            source: self.source,
            missing: self.missing,
            pinned: self.pinned,
            catalogue: self.voucher.facts(self.checked_s),
            digests: &self.digests,
            // Readers skip entries with digests that nobody here computes.
            has_unknown_digests: false,
            content: self.content.as_ref(),
            first_seen: first_seen.map(|(digest, at_s)| FirstSeen { digest, at_s: *at_s }),
            signed: self.sealed.as_ref().or(self.looked).map(Looked::signed).unwrap_or_default(),
            published_s: as_seen.map(|(_, at_s)| *at_s),
            carried_by: self.carriers,
            dependencies: &self.release.dependencies,
            is_unfetched: self.release.unfetched,
        }
    }
}

/// Returns the digests that are promised for the bytes of a release, and hold.
fn promised(release: &Release) -> Vec<Digest> {
    match (&release.archive, &release.manifest, release.promised) {
        (_, _, false) => Vec::new(),
        (Some(archive), _, true) => archive.digests.clone(),
        (None, Some(manifest), true) => vec![manifest.clone()],
        (None, None, true) => release.files.iter().filter_map(|file| file.digest.clone()).collect(),
    }
}

/// Returns the sources placed before `source` of which something has never been read: they might own any id.
pub fn missing_before(
    source: &SourceId,
    sources: &[SourceState],
    catalogues: &[CatalogueState],
) -> Vec<SourceId> {
    let unread: BTreeSet<&SourceId> = catalogues
        .iter()
        .filter(|state| state.health == Health::Unread)
        .filter_map(|state| Some(&state.errand.node()?.id.source))
        .collect();
    let Some(own) = sources.iter().find(|state| state.source.id == *source) else { return Vec::new() };
    let is_missing = |state: &&SourceState| {
        state.source.place < own.source.place
            && (state.health == Health::Unread || unread.contains(&state.source.id))
    };
    sources.iter().filter(is_missing).map(|state| state.source.id.clone()).collect()
}

#[cfg(test)]
mod tests;
