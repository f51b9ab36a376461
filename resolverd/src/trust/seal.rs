//! Whether the seal of a publisher on an archive counts: the key's own standing first, then the signature.
//!
//! 1. A revoked key never counts, nor one that anybody could sign for.
//! 2. The release was published between the key's creation and its end, by the registry's word: the signer's own is worth nothing.
//! 3. It was published before the key was replaced.
//! 4. The signature is one of the key over the 32 raw bytes of the archive's SHA3-256 (pure ML-DSA-87, empty context).
//!
//! A seal that does not count refuses the release; one that does gives no leave. Whose keys count for more is said by policies.
//! Never reads a clock: the result is the same whenever it is computed.

use catalogue_schema::model::{Refusal, Release, Verdict};
use catalogue_schema::revision::rfc3339;
use catalogue_schema::seal::{
    self, KEY_EXPIRED, KEY_REVOKED, KEY_ROTATED, KeyStatus, SIGNATURE_INVALID, Seal, Sealed, VERIFICATION,
};

use crate::trust::evidence::Proofs;
use crate::trust::signature::{SignatureError, is_weak};

/// Looks at the seal of a release, and returns the release with what came of it: refused where the seal does not count.
///
/// **Errors**: the system has no thread left.
pub fn examined(sealed: Sealed, proofs: &Proofs) -> Result<Release, SignatureError> {
    let Sealed { mut release, seal } = sealed;
    let subject = format!("{}@{}", release.id, release.version);
    let refusal = match standing(&seal, &subject) {
        Some(refusal) => Some(refusal),
        None if proofs.holds(&seal.key.key, seal.checksum.as_bytes(), &seal.signature)? => None,
        None => {
            let expected = format!("a signature of {} over {}", named(&seal), seal.checksum);
            Some(Refusal::new(SIGNATURE_INVALID, &subject, expected, "one that is not"))
        }
    };
    let told = refusal.as_ref().map_or_else(|| Some(seal::valid(&seal)), |one| seal::broken(&one.reason));
    release.extra.extend(told.map(|told| (VERIFICATION.to_owned(), told)));
    if let Some(refusal) = refusal {
        release.verdict = Verdict::Refused(refusal);
    }
    Ok(release)
}

fn named(seal: &Seal) -> String {
    format!("the key {} of {}", seal.key.id, seal.publisher)
}

/// Says why a key may not have sealed what was published then.
fn standing(seal: &Seal, subject: &str) -> Option<Refusal> {
    let Seal { key, published_s, .. } = seal;
    let found = format!("published {}", rfc3339(*published_s));
    let refused =
        |reason: &'static str, expected: String| Some(Refusal::new(reason, subject, expected, &found));
    if key.status == KeyStatus::Revoked {
        let expected = "a key that has not been revoked";
        return Some(Refusal::new(KEY_REVOKED, subject, expected, format!("{}, revoked", named(seal))));
    }
    if is_weak(&key.key) {
        let expected = "a key that its holder alone can sign for";
        let found = format!("{}, for which anybody could", named(seal));
        return Some(Refusal::new(SIGNATURE_INVALID, subject, expected, found));
    }
    if let Some(at_s) = key.created_s.filter(|at_s| published_s < at_s) {
        return refused(KEY_EXPIRED, format!("published with {} after {}", named(seal), rfc3339(at_s)));
    }
    if let Some(at_s) = key.expires_s.filter(|at_s| published_s > at_s) {
        return refused(KEY_EXPIRED, format!("published with {} until {}", named(seal), rfc3339(at_s)));
    }
    if key.status == KeyStatus::Rotated {
        return match key.rotated_s.or(key.expires_s) {
            Some(at_s) if *published_s <= at_s => None,
            Some(at_s) => refused(
                KEY_ROTATED,
                format!("published with {} until it was replaced, {}", named(seal), rfc3339(at_s)),
            ),
            None => refused(KEY_ROTATED, format!("{} with rotated_at or expires_at", named(seal))),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use catalogue_schema::digest::{Algorithm, Digest};
    use catalogue_schema::key::{KeyAlgorithm, PublicKey, SEED_BYTES};
    use catalogue_schema::seal::PublisherKey;
    use zeroize::Zeroizing;

    use super::*;
    use crate::trust::signature::Signer;

    fn sealed(seed: u8) -> Seal {
        let private = Signer::seeded(KeyAlgorithm::MlDsa87, Zeroizing::new([seed; SEED_BYTES]));
        let signer = Signer::of(&private).unwrap();
        let checksum = Digest::of(Algorithm::Sha3_256, b"archive");
        Seal {
            publisher: "acme".to_owned(),
            is_verified: true,
            signature: signer.sign(checksum.as_bytes(), &[7; SEED_BYTES]).unwrap(),
            key: PublisherKey {
                id: "acme-1".to_owned(),
                key: signer.public().clone(),
                status: KeyStatus::Active,
                created_s: Some(100),
                expires_s: Some(200),
                rotated_s: None,
            },
            checksum,
            signed_at: None,
            published_s: 150,
        }
    }

    #[test]
    fn a_seal_counts_by_the_keys_standing_when_it_was_published() {
        let good = sealed(1);
        let check = |change: &dyn Fn(&mut Seal), expected: Option<&str>| {
            let mut seal = good.clone();
            change(&mut seal);
            let proofs = Proofs::default();
            let refusal = standing(&seal, "x").map(|one| one.reason.into_owned()).or_else(|| {
                let holds = proofs.holds(&seal.key.key, seal.checksum.as_bytes(), &seal.signature).unwrap();
                assert_eq!(
                    holds,
                    proofs.holds(&seal.key.key, seal.checksum.as_bytes(), &seal.signature).unwrap()
                );
                (!holds).then(|| SIGNATURE_INVALID.to_owned())
            });
            assert_eq!(refusal.as_deref(), expected);
        };
        check(&|_| {}, None);
        check(&|seal| seal.published_s = 100, None);
        check(&|seal| seal.published_s = 99, Some(KEY_EXPIRED));
        check(&|seal| seal.published_s = 200, None);
        check(&|seal| seal.published_s = 201, Some(KEY_EXPIRED));
        check(&|seal| (seal.key.created_s, seal.key.expires_s, seal.published_s) = (None, None, 9_999), None);
        check(&|seal| seal.key.status = KeyStatus::Revoked, Some(KEY_REVOKED));
        check(&|seal| seal.key.status = KeyStatus::Rotated, None);
        check(&|seal| (seal.key.status, seal.key.rotated_s) = (KeyStatus::Rotated, Some(150)), None);
        check(
            &|seal| (seal.key.status, seal.key.rotated_s) = (KeyStatus::Rotated, Some(149)),
            Some(KEY_ROTATED),
        );
        check(&|seal| (seal.key.status, seal.key.expires_s) = (KeyStatus::Rotated, None), Some(KEY_ROTATED));
        check(&|seal| seal.signature[9] ^= 1, Some(SIGNATURE_INVALID));
        check(&|seal| seal.signature.truncate(9), Some(SIGNATURE_INVALID));
        check(&|seal| seal.key.key = sealed(2).key.key, Some(SIGNATURE_INVALID));
        let zero = vec![0; good.key.key.as_bytes().len()];
        check(
            &|seal| seal.key.key = PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &zero).unwrap(),
            Some(SIGNATURE_INVALID),
        );
        check(
            &|seal| seal.checksum = Digest::of(Algorithm::Sha3_256, b"another archive"),
            Some(SIGNATURE_INVALID),
        );
    }
}
