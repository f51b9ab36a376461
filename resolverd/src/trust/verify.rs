//! The one verify function: every path by which bytes enter (sync, rebuild, import) goes through [`judge`].
//!
//! It looks at raw bytes only, before anybody parses them. A wrong pin is a refusal, never a warning.

use catalogue_schema::digest::{Algorithm, Digest, Hashed};
use catalogue_schema::model::{Level, Refusal, SignatureClaim, Trust, Verdict};

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
