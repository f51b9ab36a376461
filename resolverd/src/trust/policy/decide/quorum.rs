//! Signatures that count: distinct keys of a set, each of which may sign this, is in its window and not revoked.
//!
//! Never verifies one: whether a signature holds was computed before.

use std::borrow::Cow;
use std::cell::Cell;

use catalogue_schema::digest::Digest;
use catalogue_schema::error::{ParseError, Position};
use catalogue_schema::key::{Fingerprint, KeyAlgorithm};
use catalogue_schema::policy::{Algorithms, Key, Policy, Revocation, SignerSet};
use catalogue_schema::signature::{Statement, Usage};
use catalogue_schema::version::Version;

use crate::trust::policy::decide::{CatalogueFacts, Delegated, FirstSeen, KeysetFacts, Signed};
use crate::trust::signature::Proof;

/// The instant of a decision. Remembers the next one that would have been answered otherwise.
pub(super) struct Clock {
    now_s: i64,
    skew_s: i64,
    next_s: Cell<Option<i64>>,
}

impl Clock {
    /// Makes the clock of one decision, from which another one may differ by `skew_s`.
    pub(super) fn new(now_s: i64, skew_s: u64) -> Clock {
        Clock { now_s, skew_s: i64::try_from(skew_s).unwrap_or(i64::MAX), next_s: Cell::new(None) }
    }

    /// Tells whether it is `at_s` or later.
    pub(super) fn has_passed(&self, at_s: i64) -> bool {
        if at_s > self.now_s {
            let next_s = self.next_s.get().map_or(at_s, |next_s| next_s.min(at_s));
            self.next_s.set(Some(next_s));
        }
        at_s <= self.now_s
    }

    /// Tells whether an instant that somebody else states has come, as far as clocks agree.
    pub(super) fn agrees_on(&self, at_s: i64) -> bool {
        self.has_passed(at_s.saturating_sub(self.skew_s))
    }

    /// Returns the earliest instant that was asked for and has not come.
    pub(super) fn next_s(&self) -> Option<i64> {
        self.next_s.get()
    }
}

/// What signatures must be about.
pub(super) struct About<'b> {
    pub(super) usage: Usage,
    pub(super) id: &'b str,
    pub(super) version: Edition<'b>,
    pub(super) digests: &'b [Digest],
    pub(super) first_seen: Option<FirstSeen<'b>>,
}

/// How what is signed is numbered.
#[derive(Clone, Copy)]
pub(super) enum Edition<'b> {
    /// A catalogue has a number of its own.
    Apart,
    /// A release has a version.
    Release(&'b Version),
    /// A keyset has a number.
    Number(u64),
}

/// What a set of signers lacks.
pub(super) struct Lack {
    pub(super) reason: Cow<'static, str>,
    pub(super) expected: String,
    pub(super) found: String,
    /// Where the policy says of a key what makes it count for nothing.
    pub(super) place: Option<Position>,
}

/// A policy at an instant, asked about signatures.
pub(super) struct Quorum<'a, 'c> {
    pub(super) policy: &'a Policy,
    pub(super) clock: &'c Clock,
}

impl<'a> Quorum<'a, '_> {
    /// Returns the keys of `set` whose signatures count, when they are enough, and of every algorithm that the statement names.
    pub(super) fn of(
        &self,
        set: &'a SignerSet,
        signed: &Signed<'_>,
        about: &About<'_>,
    ) -> Result<Vec<&'a Key>, Lack> {
        let counted = self.enough(set, signed, about)?;
        let stated = signed.statement.map_or(&[][..], |statement| &statement.algorithms);
        has_each(counted, stated, set)
    }

    /// Returns the keys of `set` by which a catalogue is signed: by themselves, or by a list that gives the right to another key.
    pub(super) fn catalogue<'f>(
        &self,
        set: &'a SignerSet,
        facts: &CatalogueFacts<'f>,
    ) -> Result<(Vec<&'a Key>, Option<Delegated<'f>>), Lack> {
        let own = self.of(set, &facts.signed, &About::catalogue(facts));
        let (lack, delegated) = match (own, facts.delegated) {
            (Ok(keys), _) => return Ok((keys, None)),
            (Err(lack), None) => return Err(lack),
            (Err(lack), Some(delegated)) => (lack, delegated),
        };
        let keys = self.of(set, &delegated.signed, &About::list(&delegated));
        // Of a list that is not signed itself nobody has a right.
        let Ok(keys) = keys else { return Err(lack) };
        match self.delegate(&delegated, facts) {
            None => Ok((keys, Some(delegated))),
            // It has not signed at all, and what the others lack says more.
            Some(Standing::Unknown) => Err(lack),
            Some(standing) => Err(Lack {
                reason: standing.reason().into(),
                expected: format!(
                    "a signature of {}, to which {} gives the right",
                    delegated.key, delegated.by
                ),
                found: format!("one {}", standing.text()),
                place: None,
            }),
        }
    }

    /// Says why the signature of a key that a list names does not count. What the policy says of the key holds here as well.
    fn delegate(&self, delegated: &Delegated<'_>, facts: &CatalogueFacts<'_>) -> Option<Standing> {
        let Signed { proofs, statement, .. } = facts.signed;
        let proof = proofs.iter().find(|(key, _)| *key == delegated.key).map(|(_, proof)| *proof);
        match proof {
            Some(Proof::Holds) => {}
            Some(Proof::Fails) => return Some(Standing::Invalid),
            Some(Proof::OtherAlgorithm) => return Some(Standing::OtherAlgorithm),
            Some(Proof::NoKey) | None => return Some(Standing::Unknown),
        }
        // One key has one algorithm: where more have signed, the others were taken away.
        let is_whole = |statement: &Statement| statement.algorithms.len() == 1;
        if statement.is_some_and(|stated| !About::catalogue(facts).is_what(stated) || !is_whole(stated)) {
            return Some(Standing::OtherStatement);
        }
        let signed_at_s = statement.map(|statement| statement.signed_at_s);
        // What signers say of a key in a keyset holds for their own set only.
        let is_known = |known: &&Key| !known.published && known.fingerprint == delegated.key;
        let known = self.policy.keys.iter().filter(is_known);
        let against = |known: &Key| match known.usage.contains(&Usage::Catalogue) {
            false => Some(Standing::Usage),
            true => self.revoked(known, None).and_then(|()| self.window(known, signed_at_s)).err(),
        };
        let is_ahead = !signed_at_s.is_none_or(|at_s| self.clock.agrees_on(at_s));
        known.filter_map(against).max().or(is_ahead.then_some(Standing::FromFuture))
    }

    /// Returns the keys of `set` whose signatures count, when they are enough; a keyset is signed by others as well.
    pub(super) fn enough(
        &self,
        set: &'a SignerSet,
        signed: &Signed<'_>,
        about: &About<'_>,
    ) -> Result<Vec<&'a Key>, Lack> {
        let mut counted: Vec<&'a Key> = Vec::with_capacity(set.threshold);
        let mut worst: Option<(Standing, Option<Position>)> = None;
        for (fingerprint, proof) in signed.proofs {
            match self.standing(set, *fingerprint, *proof, signed, about) {
                Ok(key) if counted.iter().any(|one| one.fingerprint == key.fingerprint) => {}
                Ok(key) => counted.push(key),
                Err(standing) if worst.is_some_and(|(known, _)| known >= standing) => {}
                Err(standing) => worst = Some((standing, self.key_place(set, *fingerprint))),
            }
        }
        let algorithms = match &set.algorithms {
            Algorithms::All(named) => named.as_slice(),
            Algorithms::Any(_) => &[],
        };
        if counted.len() < set.threshold {
            let expected = match set.threshold {
                1 => format!("a signature by a key of {}", set.name),
                threshold => format!("signatures by {threshold} keys of {}", set.name),
            };
            let place = worst.and_then(|(_, place)| place);
            let (reason, found) = match worst.map(|(standing, _)| standing) {
                None if let Some(fault) = signed.fault => return Err(broken(expected, fault)),
                None if signed.proofs.is_empty() => ("trust.unsigned", "none".to_owned()),
                None => ("trust.threshold", format!("{} that count", counted.len())),
                // A stranger beside a good signature is not what is wrong.
                Some(Standing::Unknown) if !counted.is_empty() => (
                    "trust.threshold",
                    format!("{} that count, others by keys out of the set", counted.len()),
                ),
                Some(worst) => {
                    (worst.reason(), format!("{} that count, and one {}", counted.len(), worst.text()))
                }
            };
            return Err(Lack { reason: reason.into(), expected, found, place });
        }
        has_each(counted, algorithms, set)
    }

    /// Returns where the policy names a key of a set.
    fn key_place(&self, set: &SignerSet, fingerprint: Fingerprint) -> Option<Position> {
        let mut keys = set.keys.iter().filter_map(|index| self.policy.keys.get(*index));
        keys.find(|key| key.fingerprint == fingerprint).map(|key| key.place)
    }

    /// Returns the key whose signature counts, or why it does not.
    fn standing(
        &self,
        set: &SignerSet,
        fingerprint: Fingerprint,
        proof: Proof,
        signed: &Signed<'_>,
        about: &About<'_>,
    ) -> Result<&'a Key, Standing> {
        let policy = self.policy;
        let keys = set.keys.iter().map(|index| &policy.keys[*index]);
        let key = keys.into_iter().find(|key| key.fingerprint == fingerprint).ok_or(Standing::Unknown)?;
        match proof {
            Proof::NoKey => return Err(Standing::Unknown),
            Proof::OtherAlgorithm => return Err(Standing::OtherAlgorithm),
            Proof::Fails => return Err(Standing::Invalid),
            Proof::Holds => {}
        }
        if signed.statement.is_some_and(|statement| !about.is_what(statement)) {
            return Err(Standing::OtherStatement);
        }
        if !key.usage.contains(&about.usage) {
            return Err(Standing::Usage);
        }
        self.revoked(key, about.first_seen)?;
        self.window(key, signed.statement.map(|statement| statement.signed_at_s))?;
        Ok(key)
    }

    /// A key that somebody else may have says nothing; one that was retired says what it said before, by our own clock.
    fn revoked(&self, key: &Key, first_seen: Option<FirstSeen<'_>>) -> Result<(), Standing> {
        let Some(revoked) = key.revoked else { return Ok(()) };
        match revoked.reason {
            Revocation::Compromised => Err(Standing::Revoked),
            Revocation::Retired => {
                let is_over = self.clock.has_passed(revoked.at_s);
                let was_seen = first_seen.is_some_and(|first| first.at_s < revoked.at_s);
                if is_over && !was_seen { Err(Standing::Revoked) } else { Ok(()) }
            }
        }
    }

    /// The window holds for our clock and for what the signer says, which can only take away.
    fn window(&self, key: &Key, signed_at_s: Option<i64>) -> Result<(), Standing> {
        let before = |at_s: i64| key.not_before_s.is_some_and(|start_s| at_s < start_s);
        let after = |at_s: i64| key.not_after_s.is_some_and(|end_s| at_s >= end_s);
        if key.not_after_s.is_some_and(|end_s| self.clock.has_passed(end_s)) || signed_at_s.is_some_and(after)
        {
            return Err(Standing::Expired);
        }
        let has_started = key.not_before_s.is_none_or(|start_s| self.clock.has_passed(start_s));
        if !has_started || signed_at_s.is_some_and(before) {
            return Err(Standing::NotYetValid);
        }
        match signed_at_s.is_none_or(|at_s| self.clock.agrees_on(at_s)) {
            true => Ok(()),
            false => Err(Standing::FromFuture),
        }
    }
}

/// Returns `counted` where a key of every algorithm is among them.
fn has_each<'a>(
    counted: Vec<&'a Key>,
    algorithms: &[KeyAlgorithm],
    set: &SignerSet,
) -> Result<Vec<&'a Key>, Lack> {
    let lacks = |algorithm: &&KeyAlgorithm| !counted.iter().any(|key| key.algorithm == **algorithm);
    match algorithms.iter().find(lacks) {
        None => Ok(counted),
        Some(missing) => {
            let expected = format!("a signature of {missing} by a key of {}", set.name);
            let found = "none that counts".to_owned();
            Err(Lack { reason: "trust.algorithm_missing".into(), expected, found, place: None })
        }
    }
}

/// What is missing where the document with the signatures cannot be used. One that is no signature at all signs nothing.
fn broken(expected: String, fault: &ParseError) -> Lack {
    let reason = match fault.reason.as_ref() {
        "input.signature" => Cow::Borrowed("trust.unsigned"),
        _ => fault.reason.clone(),
    };
    let found = format!("{}, where {} was expected", fault.found, fault.expected);
    Lack { reason, expected, found, place: None }
}

impl<'b> About<'b> {
    /// Returns what signatures over a catalogue must be about.
    pub(super) fn catalogue(facts: &CatalogueFacts<'b>) -> About<'b> {
        let digests = std::slice::from_ref(facts.digest);
        let (id, version) = (facts.name.as_text(), Edition::Apart);
        About { usage: Usage::Catalogue, id, version, digests, first_seen: None }
    }

    /// Returns what signatures over a list that gives a right must be about.
    fn list(delegated: &Delegated<'b>) -> About<'b> {
        let digests = std::slice::from_ref(delegated.digest);
        let (id, version) = (delegated.by.as_text(), Edition::Apart);
        About { usage: Usage::Catalogue, id, version, digests, first_seen: None }
    }

    /// Returns what signatures over a keyset must be about.
    pub(super) fn keyset(set: &'b SignerSet, facts: &KeysetFacts<'b>) -> About<'b> {
        let digests = std::slice::from_ref(facts.digest);
        let (id, version) = (set.name.as_text(), Edition::Number(facts.version));
        About { usage: Usage::Keyset, id, version, digests, first_seen: None }
    }
}

impl About<'_> {
    /// Tells whether a statement is about this: its kind, id and version, and at least one digest, none of which differs.
    fn is_what(&self, statement: &Statement) -> bool {
        let same_version = match (&statement.version, self.version) {
            (None, Edition::Apart) => true,
            (Some(text), Edition::Release(version)) => {
                Version::parse(text).is_ok_and(|stated| stated == *version)
            }
            (Some(text), Edition::Number(number)) => *text == number.to_string(),
            _ => false,
        };
        let of = |stated: &Digest| self.digests.iter().find(|own| own.algorithm() == stated.algorithm());
        let compared: Vec<bool> =
            statement.digests.iter().filter_map(|stated| Some(of(stated)? == stated)).collect();
        let same_bytes = !compared.is_empty() && compared.iter().all(|same| *same);
        statement.usage == self.usage && statement.id == self.id && same_version && same_bytes
    }
}

/// Why a signature does not count; the last of these is what is reported, since it says most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Unknown,
    Usage,
    FromFuture,
    NotYetValid,
    Expired,
    Revoked,
    Invalid,
    OtherAlgorithm,
    OtherStatement,
}

impl Standing {
    fn reason(self) -> &'static str {
        match self {
            Standing::Unknown => "trust.key_unknown",
            Standing::Usage => "trust.key_usage",
            Standing::FromFuture => "trust.from_future",
            Standing::NotYetValid => "trust.key_not_yet_valid",
            Standing::Expired => "trust.key_expired",
            Standing::Revoked => "trust.key_revoked",
            Standing::Invalid => "trust.signature_invalid",
            Standing::OtherAlgorithm => "trust.algorithm_mismatch",
            Standing::OtherStatement => "trust.statement_mismatch",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Standing::Unknown => "by a key that is not in the set",
            Standing::Usage => "by a key that may not sign this",
            Standing::FromFuture => "that was made in the future",
            Standing::NotYetValid => "by a key that is not valid yet, or was not when it signed",
            Standing::Expired => "by a key that has expired",
            Standing::Revoked => "by a key that was revoked",
            Standing::Invalid => "that does not verify",
            Standing::OtherAlgorithm => "that names another algorithm than its key has",
            Standing::OtherStatement => "over a statement about something else",
        }
    }
}
