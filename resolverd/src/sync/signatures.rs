//! Signatures of one source: fetched where a policy asks for them, looked at, and kept like every other document.
//!
//! A signature comes by the pins of what it signs: beside a file at a commit it lies at the same commit. One that cannot be reached
//! spoils what it belongs to, as a document of a release does; one that is not there is no signature. Never decides what a
//! signature is worth.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use catalogue_schema::dialect::{Errand, Finding, Node, Stage};
use catalogue_schema::digest::{Algorithm, Digest, Digests};
use catalogue_schema::id::{ComponentId, Dialect, SourceId};
use catalogue_schema::key::Fingerprint;
use catalogue_schema::model::{Refusal, Release, Source, Trust};
use catalogue_schema::packed::Packed;
use catalogue_schema::pointer::Want;
use catalogue_schema::policy::Policy;
use catalogue_schema::revision::{RevisionKey, SignedBy};
use catalogue_schema::seal::Sealed;
use catalogue_schema::signature::Usage;

use crate::sync::reading::{
    Document, Mode, Reader, Tree, Trouble, Vouching, WANTS_AT_ONCE, is_settled, listed,
};
use crate::sync::{SyncError, key};
use crate::trust::evidence::{Content, Delegation, Looked, Sought, Voucher, beside, stated};
use crate::trust::memory::ROLLBACK;
use crate::trust::policy::Policies;
use crate::trust::policy::decide::{VERSION_MUTATED, catalogue, delegated};
use crate::trust::seal::examined;

/// How many catalogues of one source may be signed by keys that its lists name.
const DELEGATIONS_MAX: usize = 32;

/// The reason of an entry that says something else about a release that is already listed.
const DUPLICATE: &str = "catalogue.duplicate";

impl Vouching {
    /// Refuses a catalogue that nobody has signed who must have: one that lists releases. Refuses one that somebody signed and
    /// that contradicts itself, since nobody can tell which of its entries was meant.
    ///
    /// **Errors**: why it may not be used.
    pub(super) fn permits(&self, finding: &Finding) -> Result<(), Refusal> {
        if let Some(refusal) = self.lacking.as_ref().filter(|_| listed(finding) > 0) {
            return Err(refusal.clone());
        }
        match (&self.strict, &finding.contradiction) {
            (Some(name), Some(twice)) => {
                let expected = "every release once, in a catalogue that is signed";
                Err(Refusal::new(DUPLICATE, name, expected, twice))
            }
            _ => Ok(()),
        }
    }

    /// Remembers the documents, and returns who vouches for what was accepted.
    pub(super) fn remembered(self, tree: &mut Tree, fresh: &mut Vec<(Digest, Vec<u8>)>) -> Option<Voucher> {
        if let Some(document) = self.document {
            tree.remember(document, fresh);
        }
        tree.refusals.extend(self.absent);
        self.voucher
    }
}

impl Reader<'_> {
    fn policies(&self) -> &Policies {
        &self.sync.rules.policies
    }

    /// Looks at the signatures of a list or catalogue, where somebody asks for them. The inner error is why it may not be used.
    ///
    /// **Errors**: the shelf cannot be read.
    pub(super) fn vouched(
        &self,
        (errand, node, mode): (&Errand, &Node, Mode),
        document: &Document,
        above: Option<&Trust>,
    ) -> Result<Result<Vouching, Refusal>, SyncError> {
        let policies = self.policies();
        let memory_key = RevisionKey::of(node);
        let was_signed = self.memory.known(&memory_key).iter().any(|known| known.signed.is_some());
        let is_asked = policies.asks_catalogue(&self.source.id);
        if policies.is_empty() || !is_asked && !was_signed {
            return Ok(Ok(Vouching::default()));
        }
        let now_s = self.sync.now_s;
        let parent = node.via.last().map(|id| (id.clone(), node.via.len() == 1));
        let parent = parent.and_then(|parent| self.signatures.borrow().vouchers.get(&parent).cloned());
        let counts = |one: &&Voucher| policies.catalogue(&self.source.id, &one.facts(None), now_s).is_ok();
        let counting = parent.as_ref().filter(counts);
        let is_pinned = errand.want.is_pinned() || !errand.digests.is_empty();
        let is_covered = counting.is_some() && is_pinned && stated(errand.signature.as_deref()).is_none();
        let mut vouching = Vouching::default();
        let delegation = match counting.filter(|_| !is_covered).map(|by| self.given(errand, node, by)) {
            Some(Err(refusal)) => return Ok(Err(refusal)),
            given => given.and_then(Result::ok).flatten(),
        };
        let looked = match is_covered {
            true => Arc::default(),
            false => {
                let asked = (errand, delegation.as_deref());
                match self.look_beside(asked, mode, document, above, &mut vouching)? {
                    Ok(looked) => looked,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
        };
        let has_own = *looked != Looked::default();
        let (name, digest) = (node.id.name.clone(), document.received.digest.clone());
        let own = Voucher { name, digest: digest.clone(), looked, delegation, rollback: None };
        let is_signed = match has_own {
            true => own.looked.has_one_that_holds(),
            false => counting.is_some_and(|one| is_pinned && one.looked.has_one_that_holds()),
        };
        let mut voucher = Voucher::of(own, parent.as_ref(), is_pinned);
        let may_refuse = mode == Mode::Live && policies.enforces();
        match policies.catalogue(&self.source.id, &voucher.facts(None), now_s) {
            Ok(_) => {
                (vouching.signers, vouching.is_delegated) = signers(policies, self.source, &voucher, now_s);
                let is_signed = may_refuse && !vouching.signers.is_empty();
                vouching.strict = is_signed.then(|| errand.want.to_string());
            }
            // What is signed wrongly is refused unread; what is not signed may be a list whose catalogues are.
            Err(refusal) if may_refuse && has_own => return Ok(Err(no_right(refusal, errand, &voucher))),
            Err(refusal) if may_refuse => vouching.lacking = Some(no_right(refusal, errand, &voucher)),
            Err(_) => {}
        }
        let mut rollback = None;
        if was_signed && !is_signed {
            let refusal = unsigned(errand, &memory_key);
            if may_refuse {
                return Ok(Err(refusal));
            }
            let is_accepted = self
                .memory
                .known(&memory_key)
                .iter()
                .any(|known| known.digest == digest && known.signed.is_some());
            rollback = Some(refusal).filter(|_| !is_accepted);
        }
        if has_own && !policies.signers(&self.source.id, &voucher.facts(None), now_s).is_empty() {
            let version = voucher.looked.statement().and_then(|statement| statement.catalogue_version);
            let Signers { keys, may_sign } = counted(policies, self.source, &voucher, now_s);
            let signed = SignedBy { set: set(policies, self.source, &voucher), keys, version };
            if let Err(refusal) = self.follows(errand, &memory_key, (&signed, &may_sign), &voucher.digest) {
                if may_refuse {
                    return Ok(Err(refusal));
                }
                rollback.get_or_insert(refusal);
            }
            vouching.signed = Some(signed);
        }
        // What a policy enforces that is not the only one in force, it decides release by release.
        voucher.rollback = rollback.or(voucher.rollback);
        vouching.voucher = Some(voucher);
        Ok(Ok(vouching))
    }

    /// Takes who vouches for a list or catalogue from now on: nobody who vouched for one that was refused.
    pub(super) fn vouch(&self, node: &Node, voucher: Option<Voucher>) {
        let vouchers = &mut self.signatures.borrow_mut().vouchers;
        match voucher {
            Some(voucher) => vouchers.insert(key(node), voucher),
            None => vouchers.remove(&key(node)),
        };
    }

    /// Returns the right to sign a catalogue that the entry of it in the list `by` gives to a key.
    ///
    /// **Errors**: the lists of this source give too many.
    fn given(&self, errand: &Errand, node: &Node, by: &Voucher) -> Result<Option<Arc<Delegation>>, Refusal> {
        let owns = &self.source.owns;
        let Some(given) = Delegation::of(errand.signature.as_deref(), by, owns, self.policies()) else {
            return Ok(None);
        };
        if delegated_beside(&node.id.name, self.signatures.borrow().vouchers.values()) >= DELEGATIONS_MAX {
            let expected = format!("at most {DELEGATIONS_MAX} catalogues of a source that other keys sign");
            return Err(Refusal::new("sync.delegation_limit", &errand.want, expected, "one more"));
        }
        Ok(Some(Arc::new(given)))
    }

    /// Looks at the signatures of a document where its entry states them, else in the file beside it.
    fn look_beside(
        &self,
        (errand, delegation): (&Errand, Option<&Delegation>),
        mode: Mode,
        document: &Document,
        above: Option<&Trust>,
        vouching: &mut Vouching,
    ) -> Result<Result<Arc<Looked>, Refusal>, SyncError> {
        let content = || Some(Cow::Borrowed(document.content.bytes()));
        let signed = (&document.received.digest, &content as Content<'_>);
        let (proofs, policies) = (&self.sync.rules.proofs, self.policies());
        let look = |bytes: &[u8]| match delegation {
            None => proofs.look((policies, &self.source.id), Usage::Catalogue, signed, bytes),
            Some(given) => proofs.look_delegated((policies, &self.source.id), given, signed, bytes),
        };
        if let Some(bytes) = stated(errand.signature.as_deref()) {
            return Ok(Ok(look(bytes)));
        }
        let Some(want) = beside(&errand.want) else { return Ok(Ok(Arc::default())) };
        let asked = of_signature(errand, want);
        vouching.is_open = !is_settled(&asked);
        match self.obtain(std::slice::from_ref(&asked), mode, above)?.pop() {
            Some(Ok(found)) => {
                let looked = look(found.content.bytes());
                vouching.document = Some(found);
                Ok(Ok(looked))
            }
            // Nobody could find out: what was accepted last stays.
            Some(Err(Trouble::Unreachable(refusal))) if mode == Mode::Live && !self.is_offline() => {
                Ok(Err(refusal))
            }
            Some(Err(Trouble::Refused(refusal))) if asked.want.is_pinned() => {
                vouching.absent = Some((asked.want, refusal));
                Ok(Ok(Arc::default()))
            }
            _ => Ok(Ok(Arc::default())),
        }
    }

    /// Holds a signed catalogue to the versions that the same signers gave those accepted before: the same set, or one in which a
    /// key still is that signed them. Whoever has that key could bring back everything that it ever signed otherwise.
    fn follows(
        &self,
        errand: &Errand,
        memory_key: &RevisionKey,
        (signed, may_sign): (&SignedBy, &[Fingerprint]),
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let is_there = |before: &&SignedBy| {
            before.set == signed.set || before.keys.iter().any(|key| may_sign.contains(key))
        };
        let known = self.memory.known(memory_key).iter().filter_map(|known| {
            let before = known.signed.as_ref().filter(is_there)?;
            Some((before.version?, &known.digest))
        });
        // Of several with the highest version the one that was there first counts, whatever was used in spite of a policy.
        let Some((highest, bytes)) = known.rev().max_by_key(|(version, _)| *version) else { return Ok(()) };
        let accept = format!("to accept it: resolverd trust forget {memory_key} --reason TEXT");
        let refused = |reason: &'static str, expected: String, found: String| {
            Err(Refusal::new(reason, &errand.want, expected, found))
        };
        match signed.version {
            // A signature that names no version is older than every one that does, unless it is over the same bytes.
            None if bytes == digest => Ok(()),
            None => refused(
                ROLLBACK,
                format!("version {highest}, the highest that its signers gave it, or a later one"),
                format!("a signature that names no version; {accept}"),
            ),
            Some(version) if version < highest => refused(
                ROLLBACK,
                format!("version {highest}, the highest that its signers gave it, or a later one"),
                format!("version {version}; {accept}"),
            ),
            Some(version) if version == highest && bytes != digest => refused(
                VERSION_MUTATED,
                format!("{bytes}, which its signers called version {version}"),
                format!("{digest} under the same version; {accept}"),
            ),
            Some(_) => Ok(()),
        }
    }

    /// Notes which of these releases must be signed; `place` tells where the manifest of a digest was read.
    pub(super) fn want_signatures<'r>(
        &self,
        releases: impl IntoIterator<Item = &'r Release>,
        place: impl Fn(&Digest) -> Option<Want>,
    ) {
        if self.policies().is_empty() {
            return;
        }
        // Those of a registry that seals archives were looked at when they were read.
        let may_be_signed = |release: &&Release| {
            !release.unfetched
                && release.id.dialect() != Dialect::Estream
                && self.policies().asks_release(&release.id)
        };
        for release in releases.into_iter().filter(may_be_signed) {
            let Some(manifest) = &release.manifest else { continue };
            let stated = release.extra.get("signature").and_then(|value| value.as_str().map(str::to_owned));
            let sought = match (stated, place(manifest)) {
                (Some(text), _) => Sought::Stated(text),
                (None, Some(want)) => Sought::Beside(want),
                (None, None) => continue,
            };
            self.signatures.borrow_mut().wanted.insert(manifest.clone(), sought);
        }
    }

    /// Looks at seals, and returns the releases that they are on. Where nobody could find out, the tree is not the whole truth.
    pub(super) fn unsealed(&self, sealed: Vec<Sealed>, tree: &mut Tree) -> Vec<Release> {
        let mut releases = Vec::with_capacity(sealed.len());
        for one in sealed {
            let subject = format!("{}@{}", one.release.id, one.release.version);
            match examined(one, &self.sync.rules.proofs) {
                Ok(release) => releases.push(release),
                Err(error) => {
                    let expected = "a signature that was computed";
                    let refusal = Refusal::new("sync.signature_not_computed", subject, expected, error);
                    tree.incomplete.get_or_insert(refusal);
                }
            }
        }
        releases
    }

    /// Notes which releases of a component that is taken over, with the documents of these errands, must be signed.
    pub(super) fn want_signatures_of(&self, component: &Packed, run: &[Errand]) {
        let is_asked = |id: &ComponentId| self.policies().asks_release(id);
        if !self.policies().is_empty() && component.id().is_ok_and(|id| is_asked(&id)) {
            // What cannot be read has no signature.
            let releases: Vec<Release> = component.all().filter_map(|listed| listed.release().ok()).collect();
            let stated = |errand: &'_ Errand| -> Option<Digest> {
                errand.digests.iter().find(|one| one.algorithm() == Algorithm::Sha256).cloned()
            };
            let wants: HashMap<Digest, &Want> =
                run.iter().filter_map(|errand| Some((stated(errand)?, &errand.want))).collect();
            self.want_signatures(&releases, |digest| wants.get(digest).map(|want| (*want).clone()));
        }
    }

    /// Looks at the signatures of releases that must be signed. Their documents are on the shelf.
    ///
    /// **Errors**: the shelf cannot be read or written.
    pub(super) fn package_signatures(
        &self,
        (task, node, mode, trust): (&Errand, &Node, Mode, &Trust),
        tree: &mut Tree,
    ) -> Result<(), SyncError> {
        let mut asked: Vec<(Digest, Errand)> = Vec::new();
        let noted = std::mem::take(&mut self.signatures.borrow_mut().wanted);
        for (manifest, sought) in noted {
            match sought {
                Sought::Stated(text) => self.look_at_package(node, &manifest, text.as_bytes()),
                Sought::Beside(want) => {
                    asked.extend(beside(&want).map(|want| (manifest, of_signature(task, want))));
                }
            }
        }
        asked.sort_by(|one, other| one.1.want.cmp(&other.1.want));
        for round in asked.chunks(WANTS_AT_ONCE) {
            self.package_round(round, (node, mode, trust), tree)?;
        }
        Ok(())
    }

    fn package_round(
        &self,
        round: &[(Digest, Errand)],
        (node, mode, trust): (&Node, Mode, &Trust),
        tree: &mut Tree,
    ) -> Result<(), SyncError> {
        let errands: Vec<Errand> = round.iter().map(|(_, errand)| errand.clone()).collect();
        let mut fresh = Vec::new();
        let found = self.obtain(&errands, mode, Some(trust))?;
        for ((manifest, errand), found) in round.iter().zip(found) {
            tree.open |= !is_settled(errand);
            match found {
                Ok(document) => {
                    self.look_at_package(node, manifest, document.content.bytes());
                    tree.remember(document, &mut fresh);
                }
                Err(Trouble::Refused(refusal)) if errand.want.is_pinned() => {
                    tree.refusals.insert(errand.want.clone(), refusal);
                }
                Err(Trouble::Unreachable(refusal)) if mode == Mode::Live && !self.is_offline() => {
                    tree.incomplete.get_or_insert(refusal);
                }
                Err(_) => {}
            }
        }
        Ok(self.sync.shelf.keep(&fresh)?)
    }

    fn look_at_package(&self, node: &Node, manifest: &Digest, signature: &[u8]) {
        let content = || self.sync.shelf.read(manifest).ok().flatten().map(Cow::Owned);
        let looked = self.sync.rules.proofs.look(
            (self.policies(), &node.id.source),
            Usage::Package,
            (manifest, &content),
            signature,
        );
        self.signatures.borrow_mut().packages.insert((node.id.clone(), manifest.clone()), looked);
    }
}

/// Returns who has signed a catalogue that every policy takes as signed, and whether one of them does so by a right that a list gives.
fn signers(policies: &Policies, source: &Source, voucher: &Voucher, now_s: i64) -> (Vec<String>, bool) {
    let (facts, mut is_delegated) = (voucher.facts(None), false);
    let mut signers: Vec<String> = Vec::new();
    for one in policies.all() {
        match delegated(&one.policy, &source.id, &facts, now_s) {
            Some(right) => {
                is_delegated = true;
                signers.push(right.key.to_string());
            }
            None => {
                let keys = catalogue(&one.policy, &source.id, &facts, now_s).unwrap_or_default();
                signers.extend(keys.iter().map(|key| key.id.to_string()));
            }
        }
    }
    signers.dedup();
    (signers, is_delegated)
}

/// Whose signatures over a catalogue count.
struct Signers {
    /// Those that do, sorted.
    keys: Vec<Fingerprint>,
    /// Those that could.
    may_sign: Vec<Fingerprint>,
}

/// Returns the keys by which a catalogue is signed for those policies that ask for it, and beside whom they count: the rest of
/// their set, or nobody where a list gives the right to one key.
fn counted(policies: &Policies, source: &Source, voucher: &Voucher, now_s: i64) -> Signers {
    let facts = voucher.facts(None);
    let mut signers = Signers { keys: Vec::new(), may_sign: Vec::new() };
    for one in policies.all() {
        if let Some(right) = delegated(&one.policy, &source.id, &facts, now_s) {
            signers.keys.push(right.key);
            signers.may_sign.push(right.key);
            continue;
        }
        let keys = catalogue(&one.policy, &source.id, &facts, now_s).unwrap_or_default();
        if !keys.is_empty() {
            signers.keys.extend(keys.iter().map(|key| key.fingerprint));
            signers.may_sign.extend(named(&one.policy, source));
        }
    }
    signers.keys.sort();
    signers.keys.dedup();
    signers
}

/// Returns the keys that a policy lets sign the catalogues of a source.
fn named<'p>(policy: &'p Policy, source: &Source) -> impl Iterator<Item = Fingerprint> + 'p {
    let signed_by = policy.source(&source.id).and_then(|rule| rule.signed_by);
    let set = signed_by.and_then(|index| policy.signers.get(index));
    let keys = set.into_iter().flat_map(|set| &set.keys);
    keys.filter_map(|at| policy.keys.get(*at)).map(|key| key.fingerprint)
}

/// Counts the catalogues beside `own` that other keys may sign. What such a one pins rests on the same right, and counts for nothing.
fn delegated_beside<'v>(own: &SourceId, vouchers: impl Iterator<Item = &'v Voucher>) -> usize {
    let given = vouchers.filter(|one| one.delegation.is_some() && one.name != *own);
    given.map(|one| &one.name).collect::<BTreeSet<_>>().len()
}

/// Makes the errand of a signature, which has no reader: it is one more document of what it signs.
fn of_signature(signed: &Errand, want: Want) -> Errand {
    let (stage, task) = (Stage::Release, signed.task.clone());
    Errand { want, digests: Digests::default(), size: None, signature: None, stage, task }
}

/// Adds to a refusal that the `publicKey` which names a catalogue's signer gives no right.
fn no_right(refusal: Refusal, errand: &Errand, voucher: &Voucher) -> Refusal {
    let named = errand.signature.as_deref().and_then(|claim| claim.public_key.as_ref());
    match named
        .filter(|_| voucher.delegation.is_none() && errand.node().is_some_and(|node| !node.via.is_empty()))
    {
        None => refusal,
        Some(_) => {
            let found = format!(
                "{}; its publicKey gives no right: that has to be the key itself, in a list that is signed",
                refusal.found
            );
            Refusal { found, ..refusal }
        }
    }
}

/// Refuses what was signed once and is not any more.
fn unsigned(errand: &Errand, memory_key: &RevisionKey) -> Refusal {
    let found = format!(
        "none by a key of the policy; to accept it: resolverd trust forget {memory_key} --reason TEXT"
    );
    Refusal::new("trust.unsigned", &errand.want, "a signature, since it was signed before", found)
}

/// Returns the digest over the fingerprints of those who must sign the catalogues of a source.
fn set(policies: &Policies, source: &Source, voucher: &Voucher) -> Digest {
    let all = policies.all().iter().flat_map(|one| named(&one.policy, source));
    let mut keys: Vec<String> = all.map(|key| key.to_string()).collect();
    keys.sort();
    keys.dedup();
    keys.extend(voucher.delegation.as_ref().map(|given| format!("delegated {}", given.key.fingerprint())));
    Digest::sha256(keys.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use catalogue_schema::key::PublicKey;

    use super::*;

    fn delegation() -> Arc<Delegation> {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        Arc::new(Delegation {
            by: SourceId::parse("acme").unwrap(),
            digest: Digest::sha256(b"list"),
            looked: Arc::default(),
            key: PublicKey::parse(key.as_bytes()).unwrap(),
            scope: Vec::new(),
        })
    }

    fn voucher(name: &str, delegation: Option<Arc<Delegation>>) -> Voucher {
        let name = SourceId::parse(name).unwrap();
        Voucher {
            name,
            digest: Digest::sha256(b"catalogue"),
            looked: Arc::default(),
            delegation,
            rollback: None,
        }
    }

    #[test]
    fn what_a_delegated_catalogue_pins_is_no_delegation_of_its_own() {
        let check = |names: &[&str], own: &str, expected: usize| {
            let all: Vec<Voucher> = names.iter().map(|name| voucher(name, Some(delegation()))).collect();
            let plain = voucher("plain", None);
            let found = delegated_beside(&SourceId::parse(own).unwrap(), all.iter().chain([&plain]));
            assert_eq!(found, expected, "{names:?} beside {own}");
        };
        check(&[], "one", 0);
        check(&["one", "two"], "three", 2);
        check(&["one", "two"], "two", 1);
        // Forty children that the list `one` pins.
        check(&["one"; 41], "two", 1);
        check(&["one"; 41], "one", 0);
    }

    #[test]
    fn a_signed_catalogue_that_contradicts_itself_is_refused_however_many_warnings_it_has() {
        let check = |strict: Option<&str>, twice: Option<&str>, expected: Option<&str>| {
            let vouching = Vouching { strict: strict.map(str::to_owned), ..Vouching::default() };
            let finding = Finding { contradiction: twice.map(str::to_owned), ..Finding::default() };
            let refused = vouching.permits(&finding).err();
            assert_eq!(refused.as_ref().map(|refusal| &*refusal.reason), expected);
        };
        check(Some("catalogue.json"), Some("x is listed again"), Some(DUPLICATE));
        check(Some("catalogue.json"), None, None);
        check(None, Some("x is listed again"), None);
    }
}
