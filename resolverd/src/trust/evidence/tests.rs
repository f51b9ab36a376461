//! Signatures as they are found and remembered.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::path::PathBuf;

use catalogue_schema::key::SEED_BYTES;
use catalogue_schema::policy::Policy;
use zeroize::Zeroizing;

use super::*;
use crate::trust::policy::InForce;
use crate::trust::signature::Signer;

#[test]
fn what_could_not_be_read_is_looked_at_again() {
    let private = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new([1; SEED_BYTES]));
    let signer = Signer::of(&private).unwrap();
    let text = "schema = \"resolverd/trust@1\"\nversion = 1\n";
    let policies = Policies::of(vec![InForce::new(
        PathBuf::from("/etc/trust.toml"),
        Digest::sha256(text.as_bytes()),
        Policy::parse(text.as_bytes()).unwrap(),
        [signer.public().clone()].into_iter().collect(),
    )]);
    let (proofs, signature) = (Proofs::default(), signer.sign(b"signed", &[0; SEED_BYTES]).unwrap());
    let (digest, is_there, reads) = (Digest::sha256(b"signed"), Cell::new(false), Cell::new(0));
    let content = || {
        reads.set(reads.get() + 1);
        is_there.get().then_some(Cow::Borrowed(&b"signed"[..]))
    };
    let source = SourceId::parse("acme").unwrap();
    let look = || proofs.look((&policies, &source), Usage::Package, (&digest, &content), &signature);
    let missing = look();
    assert!(!missing.has_one_that_holds());
    assert_eq!(missing.signed().fault.unwrap().reason, NOT_COMPUTED);
    is_there.set(true);
    assert!(look().has_one_that_holds() && look().has_one_that_holds());
    assert_eq!(reads.get(), 2, "what was read is remembered");
}

#[test]
fn the_keys_that_are_likely_are_tried_first_and_none_is_left_out() {
    let signers: Vec<Signer> = (1..=6)
        .map(|seed| {
            let private = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new([seed; SEED_BYTES]));
            Signer::of(&private).unwrap()
        })
        .collect();
    let ring: KeyRing = signers.iter().map(|signer| signer.public().clone()).collect();
    let check = |likely: &[usize]| {
        let likely: BTreeSet<Fingerprint> =
            likely.iter().map(|at| signers[*at].public().fingerprint()).collect();
        let tried: Vec<Fingerprint> =
            in_order(&ring, &likely, KeyAlgorithm::Ed25519).map(PublicKey::fingerprint).collect();
        assert!(tried[..likely.len()].iter().all(|key| likely.contains(key)), "{tried:?}");
        assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), signers.len());
    };
    check(&[]);
    check(&[5]);
    check(&[0, 3]);
    check(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(in_order(&ring, &BTreeSet::new(), KeyAlgorithm::MlDsa87).count(), 0);
    // Whoever made it is found, whether or not that was likely.
    for (at, signer) in signers.iter().enumerate() {
        let signature = signer.sign(b"signed", &[0; SEED_BYTES]).unwrap();
        let likely = BTreeSet::from([signers[0].public().fingerprint()]);
        let found = detached((&ring, &likely), KeyAlgorithm::Ed25519, b"signed", &signature).unwrap();
        assert_eq!(found, [(signer.public().fingerprint(), Proof::Holds)], "{at}");
    }
}

#[test]
fn the_keys_of_a_source_are_those_of_the_sets_that_its_rules_name() {
    let text = format!(
        "schema = \"resolverd/trust@1\"\nversion = 1\n{}{}{}",
        ["a", "b", "c"].map(|id| format!(
            "[[keys]]\nid = \"{id}\"\nalgorithm = \"ed25519\"\nfile = \"{id}.pem\"\nfingerprint = \"sha256:{}\"\nusage = [\"catalogue\", \"package\"]\n",
            id.repeat(64)
        )).concat(),
        ["a", "b", "c"].map(|id| format!("[[signers]]\nname = \"{id}\"\nkeys = [\"{id}\"]\nthreshold = 1\n")).concat(),
        "[[sources]]\nid = \"one\"\nsigned_by = \"a\"\n[[sources]]\nid = \"two\"\nsigned_by = \"b\"\n[[namespaces]]\nmatch = \"**\"\nsources = [\"one\"]\nrequire = \"signature\"\nsigned_by = \"c\"\n",
    );
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let path = PathBuf::from("/etc/trust.toml");
    let policies = Policies::of(vec![InForce::new(path, Digest::sha256(b""), policy, KeyRing::default())]);
    let check = |source: &str, usage: Usage, expected: &str| {
        let likely = policies.likely(&SourceId::parse(source).unwrap(), usage);
        let shown: String = likely.iter().map(|key| key.to_string()[7..8].to_owned()).collect();
        assert_eq!(shown, expected, "{source}");
    };
    check("one", Usage::Catalogue, "a");
    check("two", Usage::Catalogue, "b");
    check("one", Usage::Package, "c");
    check("two", Usage::Package, "");
    check("three", Usage::Catalogue, "");
}
