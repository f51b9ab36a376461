//! Published test vectors of signatures, through our own wrapper: every one of them, none left out.
//!
//! The vectors are Wycheproof's; they are read where they lie and not copied.

use std::fs::File;
use std::io::Read as _;

use catalogue_schema::digest::unhex;
use catalogue_schema::key::{KeyAlgorithm, PublicKey};
use catalogue_schema::signature::{Envelope, STATEMENT_BYTES_MAX, Signature, Usage};
use catalogue_schema::version::Version;
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

/// The crates that compute with keys, each with the first version without a known fault: RUSTSEC-2022-0093 (a public key beside the
/// private one could be chosen by whoever asks for signatures) and RUSTSEC-2024-0344 (time that tells of the private key).
const FIXED: [(&str, &str); 2] = [("ed25519-dalek", "2.2.0"), ("curve25519-dalek", "4.1.3")];

/// Returns which crates of a lockfile are older than they may be, or are not in it.
fn too_old(lock: &str) -> Vec<String> {
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let versions = |name: &str| -> Vec<Version> {
        let named = packages.iter().filter(|one| one["name"].as_str() == Some(name));
        named.map(|one| Version::parse(one["version"].as_str().unwrap()).unwrap()).collect()
    };
    let mut found = Vec::new();
    for (name, least) in FIXED {
        let (locked, least) = (versions(name), Version::parse(least).unwrap());
        if locked.is_empty() {
            found.push(format!("{name} is not there"));
        }
        found.extend(locked.iter().filter(|one| **one < least).map(|one| format!("{name} {one}")));
    }
    found
}

#[test]
fn b24_the_crates_that_sign_have_their_fixes_and_are_used_as_they_are_meant() {
    let read = |name: &str| std::fs::read_to_string(place::root().join(name)).unwrap();
    assert_eq!(too_old(&read("Cargo.lock")), <[String; 0]>::default());
    let lock = |dalek: &str, curve: &str| {
        format!(
            "[[package]]\nname = \"ed25519-dalek\"\nversion = \"{dalek}\"\n[[package]]\nname = \"{curve}\"\nversion = \"4.1.2\"\n"
        )
    };
    assert_eq!(
        too_old(&lock("1.0.1", "curve25519-dalek")),
        ["ed25519-dalek 1.0.1", "curve25519-dalek 4.1.2"]
    );
    assert_eq!(too_old(&lock("2.2.0", "other")), ["curve25519-dalek is not there"]);

    // Behind that name the crates have what takes a public key beside the private one.
    let listed = place::git(&place::root(), &["ls-files", "*.rs", "*Cargo.toml", "fuzz", "tests/fuzz"]);
    let tests = |name: &&str| !name.starts_with("tests/") || name.ends_with("Cargo.toml");
    let names: Vec<&str> = listed.lines().filter(tests).collect();
    assert!(names.len() > 100, "{names:?}");
    let named: Vec<&&str> = names.iter().filter(|name| read(name).contains("hazmat")).collect();
    assert!(named.is_empty(), "{named:?}");
}
