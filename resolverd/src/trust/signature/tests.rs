//! Signing and verifying, without files. The published vectors are read in `tests/vectors.rs`.
#![allow(clippy::unwrap_used)]

use catalogue_schema::digest::{hex, unhex};
use catalogue_schema::signature::Signature;

use super::*;

fn signer(algorithm: KeyAlgorithm, seed: u8) -> Signer {
    Signer::of(&Signer::seeded(algorithm, Zeroizing::new([seed; SEED_BYTES]))).unwrap()
}

#[test]
fn what_is_signed_verifies_and_nothing_else_does() {
    for algorithm in KeyAlgorithm::ALL {
        let (own, other) = (signer(algorithm, 1), signer(algorithm, 2));
        let good = own.sign(b"message", &[3; 32]).unwrap();
        assert_eq!(good.len(), algorithm.signature_bytes());
        let check = |key: &Signer, message: &[u8], signature: &[u8], context: &[u8], expected: bool| {
            assert_eq!(verify(key.public(), message, signature, context).unwrap(), expected, "{algorithm}");
        };
        check(&own, b"message", &good, b"", true);
        check(&own, b"messagf", &good, b"", false);
        check(&own, b"", &good, b"", false);
        check(&other, b"message", &good, b"", false);
        check(&own, b"message", &good, b"context", false);
        check(&own, b"message", &good, &[0; 256], false);
        check(&own, b"message", &good[1..], b"", false);
        check(&own, b"message", &[good.as_slice(), &[0]].concat(), b"", false);
        check(&own, b"message", b"", b"", false);
        let flips: Vec<usize> = (0..good.len()).step_by(1 + good.len() / 64).collect();
        for at in flips {
            let mut bad = good.clone();
            bad[at] ^= 1;
            check(&own, b"message", &bad, b"", false);
        }
    }
}

#[test]
fn a_signature_of_ml_dsa_differs_with_its_random_bytes_and_one_of_ed25519_does_not() {
    for (algorithm, differs) in [(KeyAlgorithm::Ed25519, false), (KeyAlgorithm::MlDsa87, true)] {
        let signer = signer(algorithm, 1);
        let [one, other] = [[1; 32], [2; 32]].map(|random| signer.sign(b"x", &random).unwrap());
        assert_eq!(one != other, differs);
    }
}

#[test]
fn the_public_key_follows_from_the_seed() {
    // RFC 8032, section 7.1, test 1.
    let seed = unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let key = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new(seed.try_into().unwrap()));
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(hex(Signer::of(&key).unwrap().public().as_bytes()), public);
}

#[test]
fn every_form_of_a_private_key_is_the_same_key() {
    let seed = || Zeroizing::new([5; SEED_BYTES]);
    let expanded = |from: u8| {
        let bytes = apart(|| expand(&[from; SEED_BYTES]).into_bytes()).unwrap();
        Zeroizing::new(bytes.to_vec())
    };
    let expected = signer(KeyAlgorithm::MlDsa87, 5);
    let public = expected.public().clone();
    let key = |secret: Secret, public: Option<PublicKey>| Signer::of(&PrivateKey { secret, public });
    for secret in [
        Secret::MlDsa87Seed(seed()),
        Secret::MlDsa87Expanded(expanded(5)),
        Secret::MlDsa87Both(seed(), expanded(5)),
    ] {
        let signer = key(secret, Some(public.clone())).unwrap();
        assert_eq!(signer.public(), &public);
        let signature = signer.sign(b"x", &[0; 32]).unwrap();
        assert!(verify(&public, b"x", &signature, b"").unwrap());
    }
    let refused = |made: Result<Signer, SignatureError>| {
        assert!(matches!(made, Err(SignatureError::PrivateKey { .. })), "{made:?}");
    };
    refused(key(Secret::MlDsa87Both(seed(), expanded(6)), None));
    refused(key(Secret::MlDsa87Seed(Zeroizing::new([6; 32])), Some(public)));
    refused(key(Secret::MlDsa87Expanded(Zeroizing::new(vec![0xff; ML_DSA_87_EXPANDED_BYTES])), None));
    assert!(!format!("{expected:?}").contains("05, 05"));
    // A key whose hash of the public key is wrong signs what nobody can verify.
    let mut bent = expanded(5);
    bent[64] ^= 1;
    let bent = key(Secret::MlDsa87Expanded(bent), None).unwrap();
    assert!(bent.sign(b"x", &[0; 32]).is_err());
}

#[test]
fn keys_for_which_anybody_could_sign_are_weak() {
    // The encodings of the eight points of small order, and non-canonical ones of the same.
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let key = PublicKey::from_hex(point).unwrap();
        assert!(is_weak(&key), "{point}");
        // The signature that holds for a key of small order and every message, for a verifier that is not strict.
        let signature = [key.as_bytes(), &[0; 32]].concat();
        assert!(!verify(&key, b"anything", &signature, b"").unwrap(), "{point}");
    }
    // 2 is no coordinate of a point.
    assert!(is_weak(&PublicKey::from_hex(&format!("02{}", "00".repeat(31))).unwrap()));
    let zero = [vec![7; RHO_BYTES], vec![0; 2560]].concat();
    assert!(is_weak(&PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &zero).unwrap()));
    for algorithm in KeyAlgorithm::ALL {
        assert!(!is_weak(signer(algorithm, 1).public()));
    }
}

/// B10, B13: an envelope whose halves are `ed25519` and `ml-dsa-87` over one statement, then changed.
#[test]
fn the_algorithm_and_the_kind_of_the_statement_cannot_be_swapped() {
    let signers = KeyAlgorithm::ALL.map(|algorithm| signer(algorithm, 1));
    let ring: KeyRing = signers.iter().map(|signer| signer.public().clone()).collect();
    let made = |signed: Usage, algorithms: [&str; 2]| {
        let signatures = signers.iter().zip(algorithms).map(|(signer, algorithm)| Signature {
            key: signer.public().fingerprint(),
            algorithm: algorithm.to_owned(),
            bytes: signer.sign(&signed.encoded(b"payload"), &[0; 32]).unwrap(),
        });
        Envelope::new(b"payload".to_vec(), signatures.collect())
    };
    let check_all = |envelope: &Envelope, ring: &KeyRing, expected: [Proof; 2]| {
        let found = check(envelope, Usage::Catalogue, ring).unwrap();
        assert_eq!(found.iter().map(|(_, proof)| *proof).collect::<Vec<_>>(), expected);
    };
    let names = ["ed25519", "ml-dsa-87"];
    check_all(&made(Usage::Catalogue, names), &ring, [Proof::Holds; 2]);
    check_all(&made(Usage::Package, names), &ring, [Proof::Fails; 2]);
    check_all(&made(Usage::Catalogue, names), &KeyRing::default(), [Proof::NoKey; 2]);
    for wrong in ["none", "", "ML-DSA-65", "ed25519ph", "Ed25519", "ML-DSA-87"] {
        check_all(&made(Usage::Catalogue, [wrong, wrong]), &ring, [Proof::OtherAlgorithm; 2]);
    }
    check_all(&made(Usage::Catalogue, ["ml-dsa-87", "ed25519"]), &ring, [Proof::OtherAlgorithm; 2]);
}

#[test]
fn a_thread_with_a_small_stack_can_do_everything() {
    for stack in [2 << 20, 256 << 10] {
        let work = || {
            let signer = signer(KeyAlgorithm::MlDsa87, 1);
            let signature = signer.sign(b"x", &[0; 32]).unwrap();
            verify(signer.public(), b"x", &signature, b"").unwrap()
        };
        let running = thread::Builder::new().stack_size(stack).spawn(work).unwrap();
        assert!(running.join().unwrap(), "{stack}");
    }
}
