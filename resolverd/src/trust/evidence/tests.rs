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
        is_there.get().then(|| b"signed".to_vec())
    };
    let look = || proofs.look(&policies, Usage::Package, (&digest, &content), &signature);
    let missing = look();
    assert!(!missing.has_one_that_holds());
    assert_eq!(missing.signed().fault.unwrap().reason, NOT_COMPUTED);
    is_there.set(true);
    assert!(look().has_one_that_holds() && look().has_one_that_holds());
    assert_eq!(reads.get(), 2, "what was read is remembered");
}
