//! Rotation: signers put other keys in the place of their own, one keyset document at a time.
//!
//! After TUF 1.0.34, section 5.3, for document N+1:
//! 1. its version is exactly N+1, so that none is skipped and none comes back;
//! 2. enough keys of keyset N have signed it: those who gave the right away;
//! 3. enough of its own keys have signed it: those who take it can use what they take.
//!
//! Off-spec: keys have windows here, and one that has ended by now counts for nothing, also on the way to a newer keyset; who has
//! waited that long is told so, and names the newer keys himself. What the operator writes stays above what signers publish: a key
//! that the policy revokes or narrows is so in every keyset, a keyset gives no use that none of the set's keys has in the
//! policy, and the algorithms that a set asks for are not its signers' to change. What he takes away of a set never brings back
//! a key that its signers have given up.
//!
//! Pure. Never fetches or remembers, and never reads a clock.

use std::fmt;
use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::error::ParseError;
use catalogue_schema::key::Fingerprint;
use catalogue_schema::keyset::{Accepted, Keyset, KeysetKey};
use catalogue_schema::model::Refusal;
use catalogue_schema::policy::{Algorithms, Key, Policy, Revocation, SignerSet};
use catalogue_schema::signature::{SignatureFile, Usage};

use crate::trust::policy::decide::{KeysetFacts, Signed, keyset};
use crate::trust::policy::{InForce, InForceKeyset};
use crate::trust::signature::{KeyRing, Proof, check, is_weak};

/// The reason of a refusal: a keyset document is not signed as it must be, or not one that may follow.
pub const ROTATION: &str = "trust.rotation";
/// The reason of a refusal: a keyset document is not the one that comes next.
pub const ROTATION_GAP: &str = "trust.rotation_gap";

/// Returns the digest over what a policy says of a set itself beside its keys: how many must sign, which algorithms, and which version
/// that is.
fn base(set: &SignerSet) -> Digest {
    let word = match &set.algorithms {
        Algorithms::All(_) => "all",
        Algorithms::Any(_) => "any",
    };
    let version = set.keysets.as_ref().map_or(0, |keysets| keysets.version);
    Digest::sha256(format!("resolverd/signers@1\n{version} {} {word}\n", set.threshold).as_bytes())
}

/// Returns the keys that a policy itself names for a set, sorted.
fn named(policy: &Policy, set: &SignerSet) -> Vec<Fingerprint> {
    let keys = set.keys.iter().filter_map(|index| policy.keys.get(*index));
    let mut named: Vec<Fingerprint> = keys.map(|key| key.fingerprint).collect();
    named.sort();
    named
}

/// Puts the newest keysets that were accepted in force, in the place of the keys that the file of a policy names. What was accepted
/// of a set that the file says something else of today counts no more.
pub fn turned<'a>(written: &InForce, accepted: impl IntoIterator<Item = &'a Accepted>) -> InForce {
    let file = written.path.display().to_string();
    let mut own: Vec<(usize, &Accepted, Keyset)> = accepted
        .into_iter()
        .filter(|one| one.policy == file)
        .filter_map(|one| {
            let is_named = |set: &SignerSet| set.name.as_text() == one.signers;
            let at = written.policy.signers.iter().position(is_named)?;
            let set = &written.policy.signers[at];
            let version = set.keysets.as_ref()?.version;
            let is_newer = one.version > version && one.is_of(&base(set), &named(&written.policy, set));
            // It was read when it was accepted.
            is_newer.then(|| Some((at, one, Keyset::parse(one.document.as_bytes()).ok()?))).flatten()
        })
        .collect();
    if own.is_empty() {
        return written.clone();
    }
    own.sort_by_key(|(at, ..)| *at);
    let mut turned = InForce { written: Some(Arc::new(written.clone())), ..written.clone() };
    let mut ring: Vec<_> = written.ring.keys().cloned().collect();
    for (at, one, keyset) in own {
        replace(&mut turned.policy, at, &keyset, written);
        take_away(&mut turned.policy, at, &one.named, &written.policy);
        ring.extend(keyset.keys.iter().map(|key| key.public.clone()));
        let digest = Digest::sha256(one.document.as_bytes());
        turned.keysets.push(InForceKeyset { set: at, version: one.version, digest });
    }
    turned.ring = ring.into_iter().collect();
    turned
}

/// Gives a set the keys of a keyset. What narrows them are the operator's words, never those of another set's signers.
fn replace(policy: &mut Policy, at: usize, keyset: &Keyset, written: &InForce) {
    let Some(place) = policy.signers.get(at).map(|set| set.place) else { return };
    let named = &written.policy.keys;
    let first = policy.keys.len();
    policy.keys.extend(keyset.keys.iter().map(|key| {
        let fingerprint = key.public.fingerprint();
        let known = named.iter().find(|known| known.fingerprint == fingerprint);
        narrowed(key, known, place)
    }));
    if let Some(set) = policy.signers.get_mut(at) {
        set.keys = (first..policy.keys.len()).collect();
        set.threshold = keyset.threshold;
    }
}

/// Takes the keys out of a set that the file named for it when its keyset was accepted, and names no more. Where too few are left,
/// the set signs nothing.
fn take_away(policy: &mut Policy, at: usize, before: &[Fingerprint], written: &Policy) {
    let today = written.signers.get(at).map(|set| named(written, set)).unwrap_or_default();
    let is_gone = |key: &Key| before.contains(&key.fingerprint) && !today.contains(&key.fingerprint);
    let Policy { keys, signers, .. } = policy;
    if let Some(set) = signers.get_mut(at) {
        set.keys.retain(|index| keys.get(*index).is_some_and(|key| !is_gone(key)));
    }
}

/// Makes a key of the policy out of one of a keyset. What the policy says of the same key can only take away.
fn narrowed(key: &KeysetKey, known: Option<&Key>, place: catalogue_schema::error::Position) -> Key {
    let may = |usage: &&Usage| known.is_none_or(|known| known.usage.contains(usage));
    let revoked = [known.and_then(|known| known.revoked), key.revoked];
    Key {
        id: known.map_or_else(|| key.id.clone(), |known| known.id.clone()),
        algorithm: key.public.algorithm(),
        file: known.map(|known| known.file.clone()).unwrap_or_default(),
        fingerprint: key.public.fingerprint(),
        usage: key.usage.iter().filter(may).copied().collect(),
        not_before_s: known.and_then(|known| known.not_before_s).max(key.not_before_s),
        not_after_s: known.and_then(|known| known.not_after_s).into_iter().chain(key.not_after_s).min(),
        // Of two revocations the one that takes more away counts, then the earlier.
        revoked: revoked
            .into_iter()
            .flatten()
            .min_by_key(|revoked| (revoked.reason == Revocation::Retired, revoked.at_s)),
        published: true,
        place,
        file_place: place,
    }
}

/// What was found in the place of the next keyset of a set.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Where, for the refusal's text.
    pub subject: &'a dyn fmt::Display,
    /// The document.
    pub document: &'a [u8],
    /// The signatures beside it; nothing where there are none.
    pub signature: &'a [u8],
}

/// Reads the keyset that follows the one in force of a set of `now`, and says who has signed it. The set is a position in
/// [`Policy::signers`].
///
/// **Errors**: `trust.rotation`, `trust.rotation_gap`: why it is not accepted. What is in force stays.
pub fn next(now: &InForce, set: usize, found: Found<'_>, now_s: i64) -> Result<Accepted, Refusal> {
    let Some((rule, version)) = now.policy.signers.get(set).zip(now.keyset_version(set)) else {
        return Err(refused(&found, "a set whose signers publish keysets", "another"));
    };
    let keyset = Keyset::parse(found.document).map_err(|error| unreadable(&found, &error))?;
    let next = version.saturating_add(1);
    if keyset.name != rule.name {
        let expected = format!("keyset {next} of the signers {}", rule.name);
        return Err(refused(&found, expected, format!("one of {}", keyset.name)));
    }
    // 1. Exactly the next one.
    if keyset.version != next {
        let expected = format!("version {next} of the keyset {}, since {version} is in force", rule.name);
        let found_text = format!("version {}; every version must be published, none twice", keyset.version);
        return Err(Refusal::new(ROTATION_GAP, found.subject, expected, found_text));
    }
    fits(now, set, &keyset).map_err(|(expected, text)| refused(&found, expected, text))?;
    let document = std::str::from_utf8(found.document).unwrap_or_default().to_owned();
    let accepted = Accepted {
        policy: now.path.display().to_string(),
        signers: rule.name.to_string(),
        base: base(&now.written().policy.signers[set]),
        named: named(&now.written().policy, &now.written().policy.signers[set]),
        version: next,
        document,
    };
    let candidate = turned(now.written(), [&accepted]);
    signed((now, &candidate), set, &found, (next, now_s))?;
    Ok(accepted)
}

/// Checks that a keyset takes nothing that the operator has not given.
fn fits(now: &InForce, set: usize, keyset: &Keyset) -> Result<(), (String, String)> {
    let policy = &now.written().policy;
    let own = || policy.signers[set].keys.iter().filter_map(|index| policy.keys.get(*index));
    for key in &keyset.keys {
        if is_weak(&key.public) {
            return Err(("keys that nobody can sign for but their owners".to_owned(), format!("{}", key.id)));
        }
        let algorithms = policy.signers[set].algorithms.named();
        if !algorithms.contains(&key.public.algorithm()) {
            let listed: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
            let expected = format!("keys of {}, which the policy has for the set", listed.join(" or "));
            return Err((expected, format!("one of {}, {}", key.public.algorithm(), key.id)));
        }
        let is_other = |known: &&Key| known.id == key.id && known.fingerprint != key.public.fingerprint();
        if policy.keys.iter().any(|known| is_other(&known)) {
            let expected = "labels that the policy has for no other key".to_owned();
            return Err((expected, format!("{}", key.id)));
        }
        let is_new = |usage: &&Usage| !own().any(|known| known.usage.contains(usage));
        if let Some(usage) = key.usage.iter().find(is_new) {
            let expected = "uses that the policy gives to a key of the set".to_owned();
            return Err((expected, format!("{} for {}", usage.name(), key.id)));
        }
    }
    Ok(())
}

/// Checks that enough keys of the keyset in force and enough of the new one have signed it.
fn signed(
    (now, candidate): (&InForce, &InForce),
    set: usize,
    found: &Found<'_>,
    (version, now_s): (u64, i64),
) -> Result<(), Refusal> {
    let envelope = match SignatureFile::parse(found.signature) {
        Ok(SignatureFile::Envelope(envelope)) => envelope,
        Ok(SignatureFile::Detached { .. }) => {
            let text = "one signature over the bytes, which does not say what it is for";
            return Err(refused(found, "an envelope of resolverd/sig@1", text));
        }
        Err(_) if found.signature.is_empty() => {
            return Err(refused(found, "an envelope of signatures beside it", "none"));
        }
        Err(error) => return Err(unreadable(found, &error)),
    };
    let ring: KeyRing = now.ring.keys().chain(candidate.ring.keys()).cloned().collect();
    let proofs = check(&envelope, Usage::Keyset, &ring)
        .map_err(|error| refused(found, "signatures that can be computed", error))?;
    let holds = proofs.iter().any(|(_, proof)| *proof == Proof::Holds);
    // A payload that nobody signed is not read.
    let statement = holds.then(|| envelope.statement()).transpose();
    let statement = statement.map_err(|error| unreadable(found, &error))?;
    let digest = Digest::sha256(found.document);
    let signed = Signed { proofs: &proofs, statement: statement.as_ref(), fault: None };
    let facts = KeysetFacts { version, digest: &digest, signed };
    // 2. and 3. Both thresholds.
    let mut counted = Vec::new();
    for (one, whose) in [(now, "in force"), (candidate, "that it names itself")] {
        let keys = keyset(&one.policy, &one.policy.signers[set], &facts, now_s);
        counted.extend(keys.map_err(|lack| {
            let expected = format!("{}, as the keyset {whose} asks for", lack.expected);
            refused(found, expected, format!("{} ({})", lack.found, lack.reason))
        })?);
    }
    let stated = statement.map(|statement| statement.algorithms).unwrap_or_default();
    match stated.iter().find(|algorithm| !counted.iter().any(|key| key.algorithm == **algorithm)) {
        None => Ok(()),
        Some(missing) => {
            let expected = format!("a signature of {missing}, which its statement names");
            Err(refused(found, expected, "none that counts (trust.algorithm_missing)"))
        }
    }
}

fn refused(found: &Found<'_>, expected: impl fmt::Display, text: impl fmt::Display) -> Refusal {
    let text = format!("{text}; the keyset in force stays, until its signers publish a good one");
    Refusal::new(ROTATION, found.subject, expected, text)
}

fn unreadable(found: &Found<'_>, error: &ParseError) -> Refusal {
    let place = if error.field.is_empty() { String::new() } else { format!(" in {}", error.field) };
    refused(found, &error.expected, format!("{}{place} ({})", error.found, error.reason))
}

#[cfg(test)]
mod tests;
