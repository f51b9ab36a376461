//! Published test vectors of signatures, through our own wrapper: every one of them, none left out.
//!
//! The vectors are Wycheproof's; they are read where they lie and not copied.

use std::fs::File;
use std::io::Read as _;

use catalogue_schema::digest::unhex;
use catalogue_schema::key::{KeyAlgorithm, PublicKey};
use flate2::read::GzDecoder;
use resolverd::trust::signature::verify;
use serde_json::Value;

use crate::harness::place;

fn groups(name: &str) -> Option<Vec<Value>> {
    let file = File::open(place::data(&format!("wycheproof/{name}.json.gz"))?).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    Some(read["testGroups"].as_array().unwrap().clone())
}

fn bytes(value: &Value) -> Vec<u8> {
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

#[test]
fn every_vector_of_ed25519_is_judged_as_published() {
    let Some(groups) = groups("ed25519_test") else { return };
    let pem = |group: &Value| PublicKey::parse(group["publicKeyPem"].as_str()?.as_bytes()).ok();
    let der = |group: &Value| PublicKey::from_spki(&bytes(&group["publicKeyDer"])).ok();
    let raw = |group: &Value| PublicKey::from_hex(group["publicKey"]["pk"].as_str()?).ok();
    assert!(groups.iter().all(|group| raw(group).is_some()));
    assert!(groups.iter().all(|group| pem(group) == raw(group) && der(group) == raw(group)));
    assert_eq!(agreeing(&groups, raw), (151, 151));
}

#[test]
fn every_vector_of_ml_dsa_87_is_judged_as_published() {
    let Some(groups) = groups("mldsa_87_verify_test") else { return };
    let raw = |group: &Value| PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &bytes(&group["publicKey"])).ok();
    let der = |group: &Value| PublicKey::from_spki(&bytes(&group["publicKeyDer"])).ok();
    assert!(groups.iter().all(|group| der(group) == raw(group)));
    assert_eq!(groups.iter().filter(|group| raw(group).is_none()).count(), 4, "keys of another length");
    assert_eq!(agreeing(&groups, raw), (241, 241));
}
