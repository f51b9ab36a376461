//! Published test vectors of signatures, through our own wrapper: every one of them, none left out.
//!
//! The vectors are Wycheproof's; they are read where they lie and not copied.

use std::fs::File;
use std::io::Read as _;

use catalogue_schema::digest::unhex;
use catalogue_schema::key::{KeyAlgorithm, PublicKey};
use catalogue_schema::signature::{Envelope, STATEMENT_BYTES_MAX, Signature, Usage};
use flate2::read::GzDecoder;
use resolverd::trust::signature::{KeyRing, Proof, check, verify};
use serde_json::Value;

use crate::harness::place;

pub(crate) fn groups(name: &str) -> Option<Vec<Value>> {
    let file = File::open(place::data(&format!("wycheproof/{name}.json.gz"))?).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    Some(read["testGroups"].as_array().unwrap().clone())
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().map(|text| unhex(text).unwrap()).unwrap_or_default()
}

/// Verifies every vector of every group, `key` being the way to the group's key; returns how many agree and how many there are.
fn agreeing(groups: &[Value], key: impl Fn(&Value) -> Option<PublicKey>) -> (usize, usize) {
    let (mut agreeing, mut all) = (0, 0);
    for group in groups {
        let key = key(group);
        for test in group["tests"].as_array().unwrap() {
            // A key that cannot be read has no signatures.
            let holds = key.as_ref().is_some_and(|key| {
                verify(key, &bytes(&test["msg"]), &bytes(&test["sig"]), &bytes(&test["ctx"])).unwrap()
            });
            all += 1;
            agreeing += usize::from(holds == (test["result"] == "valid"));
            assert_eq!(holds, test["result"] == "valid", "{test:#}");
        }
    }
    (agreeing, all)
}

/// Puts every signature into an envelope beside a signed catalogue: it is over something else, so none of them holds there.
fn none_holds_in_an_envelope(groups: &[Value], key: impl Fn(&Value) -> Option<PublicKey>) {
    for group in groups {
        let Some(key) = key(group) else { continue };
        let ring = KeyRing::from_iter([key.clone()]);
        for test in group["tests"].as_array().unwrap() {
            let signature = Signature {
                key: key.fingerprint(),
                algorithm: key.algorithm().name().to_owned(),
                bytes: bytes(&test["sig"]),
            };
            let text = Envelope::new(bytes(&test["msg"]), vec![signature]).to_json();
            let Ok(envelope) = Envelope::parse(text.as_bytes()) else {
                assert!(bytes(&test["msg"]).len() > STATEMENT_BYTES_MAX, "{text}");
                continue;
            };
            let found = check(&envelope, Usage::Catalogue, &ring).unwrap();
            assert_eq!(found, [(key.fingerprint(), Proof::Fails)]);
        }
    }
}

#[test]
fn every_vector_of_ed25519_is_judged_as_published() {
    let Some(groups) = groups("ed25519_test") else { return };
    let pem = |group: &Value| PublicKey::parse(group["publicKeyPem"].as_str()?.as_bytes()).ok();
    let der = |group: &Value| PublicKey::from_spki(&bytes(&group["publicKeyDer"])).ok();
    let raw = |group: &Value| PublicKey::from_hex(group["publicKey"]["pk"].as_str()?).ok();
    assert!(groups.iter().all(|group| raw(group).is_some()));
    assert!(groups.iter().all(|group| pem(group) == raw(group) && der(group) == raw(group)));
    assert_eq!(agreeing(&groups, raw), (151, 151));
    none_holds_in_an_envelope(&groups, raw);
}

#[test]
fn every_vector_of_ml_dsa_87_is_judged_as_published() {
    let Some(groups) = groups("mldsa_87_verify_test") else { return };
    let raw = |group: &Value| PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &bytes(&group["publicKey"])).ok();
    let der = |group: &Value| PublicKey::from_spki(&bytes(&group["publicKeyDer"])).ok();
    assert!(groups.iter().all(|group| der(group) == raw(group)));
    assert_eq!(groups.iter().filter(|group| raw(group).is_none()).count(), 4, "keys of another length");
    assert_eq!(agreeing(&groups, raw), (241, 241));
    none_holds_in_an_envelope(&groups, raw);
}
