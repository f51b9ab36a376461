//! The one verify function: every path by which bytes enter (sync, rebuild, import) goes through [`judge`].
//!
//! It looks at raw bytes only, before anybody parses them. A wrong pin is a refusal, never a warning. What has been read is then
//! ruled upon by the policies in force ([`rule`]), which can take leave away and name who vouches, and never give leave that the
//! bytes do not have.

use std::path::PathBuf;

use catalogue_schema::digest::{Algorithm, Digest, Hashed};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Level, Refusal, Ruling, SignatureClaim, Trust, Verdict, Warning};
use catalogue_schema::policy::{Exception, Mode, Require};
use catalogue_schema::revision::rfc3339;

use crate::trust::policy::decide::Facts;
use crate::trust::policy::{self, Policies};

/// What was promised about some bytes, and by whom.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// Where the bytes came from, for the refusal's text.
    pub subject: &'a dyn std::fmt::Display,
    /// Digests that the bytes must have, all of them.
    pub digests: &'a [Digest],
    /// The size that the bytes must have, where it was promised.
    pub size: Option<u64>,
    /// The bytes were read out of a pinned commit, and the fetcher recomputed every object id on the way.
    pub commit_pinned: bool,
    /// A signature that is claimed for them.
    pub signature: Option<&'a SignatureClaim>,
    /// The leave of the document that named them; `None` for a source's entry, which the operator named.
    pub named_by: Option<&'a Trust>,
}

impl<'a> Evidence<'a> {
    /// Returns the evidence of bytes of which nothing is known but what was promised: a file of a release, an archive.
    pub fn promised(
        subject: &'a dyn std::fmt::Display,
        digests: &'a [Digest],
        size: Option<u64>,
    ) -> Evidence<'a> {
        Evidence { subject, digests, size, commit_pinned: false, signature: None, named_by: None }
    }

    /// Returns the evidence of bytes of which nothing is known but that a pinned commit holds them.
    pub fn committed(subject: &'a dyn std::fmt::Display) -> Evidence<'a> {
        Evidence { commit_pinned: true, ..Evidence::promised(subject, &[], None) }
    }
}

/// Judges `content`: every promised digest and the size must hold.
///
/// The level of the leave is the weakest on the way down from the entry document, which needs no pin since the operator
/// named it. A claimed signature is not checked yet and counts for nothing; the leave says that it was there.
pub fn judge(evidence: &Evidence<'_>, content: &Hashed) -> Verdict {
    let bytes = content.bytes();
    if let Some(size) = evidence.size.filter(|size| *size != bytes.len() as u64) {
        let (expected, found) = (format!("{size} bytes"), format!("{} bytes", bytes.len()));
        return Verdict::Refused(Refusal::new("trust.size_mismatch", evidence.subject, expected, found));
    }
    for expected in evidence.digests {
        let computed;
        let found = match expected.algorithm() {
            Algorithm::Sha256 => content.digest(),
            other => {
                computed = Digest::of(other, bytes);
                &computed
            }
        };
        if found != expected {
            return Verdict::Refused(Refusal::new(
                "trust.digest_mismatch",
                evidence.subject,
                expected,
                found,
            ));
        }
    }
    let pinned = evidence.commit_pinned || !evidence.digests.is_empty() || evidence.named_by.is_none();
    let own =
        Trust::grant(if pinned { Level::Pinned } else { Level::Unpinned }, evidence.signature.is_some());
    Verdict::Trusted(evidence.named_by.map_or_else(|| own.clone(), |above| own.and(above)))
}

/// What the policies in force make of a release whose documents may be used.
#[derive(Debug, Clone)]
pub struct Ruled {
    /// Whether it may be used.
    pub verdict: Verdict,
    /// What every answer about it says besides.
    pub warnings: Vec<Warning>,
    /// What an auditor should know.
    pub acts: Vec<Act>,
    /// The earliest instant at which all that may be otherwise, in seconds since 1970-01-01 UTC.
    pub next_change_s: Option<i64>,
}

/// Something that a policy did to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The release, as `id@version`.
    pub release: String,
    /// The source that supplies it.
    pub source: SourceId,
    /// The policy's file.
    pub policy: PathBuf,
    /// What was done.
    pub done: Done,
}

/// What a policy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The release may not be used.
    Denied(Refusal),
    /// It would not be used if the policy were enforced.
    WouldDeny(Mode, Refusal),
    /// It is used because of the exception of this name.
    Excepted(String),
}

/// Rules on a release: the leave of its documents is `leave`, and every policy must allow it.
///
/// The verdict names the rule of each policy, and every signer that one of them counted.
pub fn rule(policies: &Policies, facts: &Facts<'_>, leave: &Trust, now_s: i64) -> Ruled {
    let judgement = policy::judge(policies.all(), facts, now_s);
    let (mut warnings, mut acts) = (Vec::new(), Vec::new());
    let (mut rules, mut signers, mut asked) = (Vec::new(), Vec::new(), false);
    for (one, decision) in &judgement.decisions {
        let mut act = |done: Done| {
            let release = format!("{}@{}", facts.id, facts.version);
            acts.push(Act { release, source: facts.source.clone(), policy: one.path.clone(), done });
        };
        warnings.extend(decision.warnings.iter().cloned());
        for exception in &decision.exceptions {
            warnings.push(excepted(exception));
            act(Done::Excepted(exception.id.to_string()));
        }
        let refusal = decision.refusal.as_ref();
        match (refusal, decision.mode) {
            (None, _) => {}
            (Some(refusal), Mode::Enforce) => act(Done::Denied(refusal.clone())),
            (Some(refusal), mode) => act(Done::WouldDeny(mode, refusal.clone())),
        }
        if let Some(refusal) = refusal.filter(|_| decision.mode == Mode::Warn) {
            let text = format!("the policy would refuse it, and warns only: {refusal}");
            warnings.push(Warning { reason: refusal.reason.clone(), text });
        }
        rules.extend(decision.rule.map(|rule| rule.name.to_string()));
        signers.extend(decision.signers.iter().map(|key| key.id.to_string()));
        asked |= refusal.is_none()
            && decision.exceptions.is_empty()
            && decision.rule.is_some_and(|rule| rule.require != Require::Pin);
    }
    signers.sort();
    signers.dedup();
    let verdict = match judgement.refusal() {
        Some(refusal) => Verdict::Refused(refusal.clone()),
        None => {
            let ruling = Ruling { rule: rules.join(", "), signers, asked };
            Verdict::Trusted(leave.clone().grant_by(ruling))
        }
    };
    Ruled { verdict, warnings, acts, next_change_s: judgement.next_change_s() }
}

/// The reason of the warning that an exception was needed.
pub const EXCEPTION: &str = "trust.exception";

fn excepted(exception: &Exception) -> Warning {
    let Exception { id, waiver, not_after_s, reason, .. } = exception;
    // Whoever reads the log looks for the id first.
    let text = format!("{id} waives that it is {}, until {}: {reason}", waiver.name(), rfc3339(*not_after_s));
    Warning::new(EXCEPTION, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(evidence: Evidence<'_>, bytes: &[u8], expected: &str) {
        let found = match judge(&evidence, &Hashed::of(bytes.to_vec())) {
            Verdict::Refused(refusal) => refusal.reason.into_owned(),
            Verdict::Trusted(trust) => {
                format!("{:?} unchecked={}", trust.level(), trust.has_unchecked_signature())
            }
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_weakest_link_decides() {
        let (good, wrong) = (Digest::sha256(b"abc"), Digest::sha256(b"abd"));
        let claim = SignatureClaim { public_key: Some("keys/a.pem".into()), signature: None };
        let (pinned, unpinned) = (Trust::grant(Level::Pinned, false), Trust::grant(Level::Unpinned, false));
        let entry = Evidence {
            subject: &"x",
            digests: &[],
            size: None,
            commit_pinned: false,
            signature: None,
            named_by: None,
        };
        let child = Evidence { named_by: Some(&pinned), ..entry };

        check(entry, b"abc", "Pinned unchecked=false");
        check(Evidence { signature: Some(&claim), ..entry }, b"abc", "Pinned unchecked=true");
        check(Evidence { digests: std::slice::from_ref(&wrong), ..entry }, b"abc", "trust.digest_mismatch");
        check(child, b"abc", "Unpinned unchecked=false");
        check(Evidence { digests: std::slice::from_ref(&good), ..child }, b"abc", "Pinned unchecked=false");
        check(Evidence { digests: &[good.clone(), wrong], ..child }, b"abc", "trust.digest_mismatch");
        check(Evidence { commit_pinned: true, ..child }, b"abc", "Pinned unchecked=false");
        check(
            Evidence { commit_pinned: true, named_by: Some(&unpinned), ..child },
            b"abc",
            "Unpinned unchecked=false",
        );
        check(Evidence { digests: &[good], size: Some(4), ..child }, b"abc", "trust.size_mismatch");
        let longer = |text: &[u8]| Digest::of(Algorithm::Sha512, text);
        check(Evidence { digests: &[longer(b"abc")], ..child }, b"abc", "Pinned unchecked=false");
        check(Evidence { digests: &[longer(b"abd")], ..child }, b"abc", "trust.digest_mismatch");
    }

    #[test]
    fn a_refusal_names_both_digests() {
        let promised = Digest::sha256(b"promised");
        let evidence = Evidence {
            subject: &"the catalogue",
            digests: std::slice::from_ref(&promised),
            size: None,
            commit_pinned: false,
            signature: None,
            named_by: None,
        };
        let Verdict::Refused(refusal) = judge(&evidence, &Hashed::of(b"found".to_vec())) else {
            panic!("accepted other bytes")
        };
        assert_eq!(refusal.expected, promised.to_string());
        assert_eq!(refusal.found, Digest::sha256(b"found").to_string());
    }
}
