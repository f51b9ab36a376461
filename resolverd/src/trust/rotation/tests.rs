//! Keysets that follow one another, and everything that must not follow.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use catalogue_schema::key::{KeyAlgorithm, SEED_BYTES};
use catalogue_schema::policy::{Name, Revoked};
use catalogue_schema::signature::{Envelope, Signature, Statement};
use zeroize::Zeroizing;

use super::*;
use crate::trust::policy::Policies;
use crate::trust::signature::Signer;

/// 2026-05-04T12:00:00Z.
const NOW_S: i64 = 1_777_896_000;

/// A key is a letter; capitals have ML-DSA-87.
fn signer(letter: char) -> Signer {
    let algorithm = if letter.is_uppercase() { KeyAlgorithm::MlDsa87 } else { KeyAlgorithm::Ed25519 };
    Signer::of(&Signer::seeded(algorithm, Zeroizing::new([letter as u8; SEED_BYTES]))).unwrap()
}

/// A policy of one set, `roots`, of these keys; `more` stands in the entry of every key.
fn policy(keys: &str, threshold: usize, more: &str) -> InForce {
    let mut text = "schema = \"resolverd/trust@1\"\nversion = 1\n".to_owned();
    for letter in keys.chars() {
        let (key, algorithm) = (signer(letter), signer(letter).public().algorithm());
        text += &format!(
            "[[keys]]\nid = \"{letter}\"\nalgorithm = \"{algorithm}\"\nfile = \"{letter}.pem\"\nfingerprint = \"{}\"\nusage = [\"catalogue\", \"keyset\"]\n{more}\n",
            key.public().fingerprint()
        );
    }
    let labels: Vec<String> = keys.chars().map(|letter| format!("\"{letter}\"")).collect();
    text += &format!(
        "[[signers]]\nname = \"roots\"\nkeys = [{}]\nthreshold = {threshold}\nkeysets = {{ source = \"acme\" }}\n",
        labels.join(", ")
    );
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let ring = keys.chars().map(|letter| signer(letter).public().clone()).collect();
    InForce::new(PathBuf::from("/etc/trust.toml"), Digest::sha256(text.as_bytes()), policy, ring)
}

fn document(version: u64, keys: &str, threshold: usize) -> Keyset {
    let key = |letter: char| KeysetKey {
        id: Name::parse(&letter.to_string()).unwrap(),
        public: signer(letter).public().clone(),
        usage: vec![Usage::Catalogue, Usage::Keyset],
        not_before_s: None,
        not_after_s: None,
        revoked: None,
    };
    let name = Name::parse("roots").unwrap();
    Keyset { name, version, threshold, keys: keys.chars().map(key).collect() }
}

/// Signs bytes as keyset `version` of the roots with these keys.
fn envelope(bytes: &[u8], version: u64, keys: &str) -> Vec<u8> {
    let mut algorithms: Vec<KeyAlgorithm> =
        keys.chars().map(|letter| signer(letter).public().algorithm()).collect();
    algorithms.sort();
    algorithms.dedup();
    if algorithms.is_empty() {
        return Envelope::new(b"{}".to_vec(), Vec::new()).to_json().into_bytes();
    }
    let statement = Statement {
        usage: Usage::Keyset,
        id: "roots".to_owned(),
        version: Some(version.to_string()),
        digests: vec![Digest::sha256(bytes)],
        size: bytes.len() as u64,
        signed_at_s: NOW_S - 60,
        algorithms,
        catalogue_version: None,
        expires_s: None,
        origin_commit: None,
    };
    let payload = statement.to_bytes();
    let message = Usage::Keyset.encoded(&payload);
    let one = |letter: char| Signature {
        key: signer(letter).public().fingerprint(),
        algorithm: signer(letter).public().algorithm().name().to_owned(),
        bytes: signer(letter).sign(&message, &[7; SEED_BYTES]).unwrap(),
    };
    Envelope::new(payload, keys.chars().map(one).collect()).to_json().into_bytes()
}

/// Offers a keyset with the signatures of these keys.
fn offer(now: &InForce, keyset: &Keyset, signed_by: &str) -> Result<Accepted, Refusal> {
    let bytes = keyset.to_json().into_bytes();
    let signature = envelope(&bytes, keyset.version, signed_by);
    next(now, 0, Found { subject: &"the keyset", document: &bytes, signature: &signature }, NOW_S)
}

#[track_caller]
fn check(found: Result<Accepted, Refusal>, reason: &str, part: &str) {
    match found {
        Ok(accepted) => assert_eq!(("accepted", part), (reason, ""), "{accepted:?}"),
        Err(refusal) => {
            assert_eq!(refusal.reason, reason, "{refusal}");
            assert!(refusal.to_string().contains(part), "{part} is not in {refusal}");
        }
    }
}

#[test]
fn enough_of_the_old_keys_and_enough_of_the_new_must_have_signed() {
    // Keys and threshold of the set, those of its next keyset, who signs that, and what comes of it.
    let table = [
        // The same keys again.
        ("a", 1, "a", 1, "a", "accepted", ""),
        ("a", 1, "a", 1, "", "trust.rotation", "trust.unsigned"),
        ("a", 1, "a", 1, "b", "trust.rotation", "trust.key_unknown"),
        // One key for another.
        ("a", 1, "b", 1, "ab", "accepted", ""),
        ("a", 1, "b", 1, "b", "trust.rotation", "as the keyset in force asks for"),
        ("a", 1, "b", 1, "a", "trust.rotation", "as the keyset that it names itself asks for"),
        // More keys, and more that must sign.
        ("a", 1, "abc", 2, "ab", "accepted", ""),
        ("a", 1, "abc", 2, "abc", "accepted", ""),
        ("a", 1, "abc", 2, "a", "trust.rotation", "as the keyset that it names itself asks for"),
        ("a", 1, "abc", 2, "bc", "trust.rotation", "as the keyset in force asks for"),
        // Fewer that must sign: the old number has to agree to it.
        ("abc", 2, "abc", 1, "ab", "accepted", ""),
        ("abc", 2, "abc", 1, "a", "trust.rotation", "as the keyset in force asks for"),
        ("abc", 3, "a", 1, "ab", "trust.rotation", "as the keyset in force asks for"),
        // A key that stays counts on both sides, one that goes only on the old, one that comes only on the new.
        ("abc", 2, "bcd", 2, "bc", "accepted", ""),
        ("abc", 2, "bcd", 2, "abd", "accepted", ""),
        ("abc", 2, "bcd", 2, "ab", "trust.rotation", "as the keyset that it names itself asks for"),
        ("abc", 2, "bcd", 2, "bd", "trust.rotation", "as the keyset in force asks for"),
        ("ab", 2, "cd", 2, "abcd", "accepted", ""),
        ("ab", 2, "cd", 2, "acd", "trust.rotation", "as the keyset in force asks for"),
        ("ab", 2, "cd", 2, "abc", "trust.rotation", "as the keyset that it names itself asks for"),
        // Strangers neither help nor hurt.
        ("ab", 1, "ac", 2, "acx", "accepted", ""),
        ("ab", 2, "ab", 2, "axy", "trust.rotation", "trust.threshold"),
        // From one algorithm to another.
        ("aB", 1, "B", 1, "aB", "accepted", ""),
        ("aB", 1, "B", 1, "a", "trust.rotation", "as the keyset that it names itself asks for"),
        ("aB", 1, "cB", 2, "aBc", "accepted", ""),
        // ... which the policy must have for the set.
        ("a", 1, "B", 1, "aB", "trust.rotation", "keys of ed25519, which the policy has for the set"),
        ("A", 1, "aA", 2, "aA", "trust.rotation", "one of ed25519, a"),
    ];
    for (old, old_threshold, new, new_threshold, signed_by, reason, part) in table {
        let now = policy(old, old_threshold, "");
        let found = offer(&now, &document(2, new, new_threshold), signed_by);
        check(found, reason, part);
    }
}

#[test]
fn one_key_that_signs_twice_is_one_key() {
    let now = policy("ab", 2, "");
    let keyset = document(2, "ab", 2);
    let bytes = keyset.to_json().into_bytes();
    let mut envelope: serde_json::Value = serde_json::from_slice(&envelope(&bytes, 2, "a")).unwrap();
    let one = envelope["signatures"][0].clone();
    envelope["signatures"].as_array_mut().unwrap().push(one);
    let signature = envelope.to_string().into_bytes();
    let found = Found { subject: &"the keyset", document: &bytes, signature: &signature };
    check(next(&now, 0, found, NOW_S), ROTATION, "input.signature_duplicate");
}

#[test]
fn the_next_keyset_is_the_next_one_exactly() {
    let now = policy("a", 1, "");
    for version in [1, 3, 4, 1 << 52] {
        check(offer(&now, &document(version, "a", 1), "a"), ROTATION_GAP, "version 2 of the keyset roots");
    }
    let second = offer(&now, &document(2, "b", 1), "ab").unwrap();
    let now = turned(&now, [&second]);
    assert_eq!((now.keyset_version(0), now.keyset_version(1)), (Some(2), None));
    check(offer(&now, &document(2, "b", 1), "b"), ROTATION_GAP, "since 2 is in force");
    check(offer(&now, &document(3, "c", 1), "ac"), ROTATION, "as the keyset in force asks for");
    check(offer(&now, &document(3, "c", 1), "bc"), "accepted", "");
}

#[test]
fn signatures_are_about_this_keyset_of_these_signers() {
    let now = policy("a", 1, "");
    let bytes = document(2, "a", 1).to_json().into_bytes();
    let offer = |bytes: &[u8], signature: &[u8]| {
        next(&now, 0, Found { subject: &"the keyset", document: bytes, signature }, NOW_S)
    };
    check(offer(&bytes, b""), ROTATION, "found none");
    check(
        offer(&bytes, &signer('a').sign(&bytes, &[0; 32]).unwrap()),
        ROTATION,
        "does not say what it is for",
    );
    check(offer(&bytes, &envelope(&bytes, 3, "a")), ROTATION, "trust.statement_mismatch");
    check(offer(&bytes, &envelope(b"other bytes", 2, "a")), ROTATION, "trust.statement_mismatch");
    check(offer(&bytes, b"<!doctype html>"), ROTATION, "input.signature");
    check(offer(b"{}", &envelope(b"{}", 2, "a")), ROTATION, "input.");
    let text = String::from_utf8(bytes).unwrap();
    let other = text.replace("roots", "others").into_bytes();
    check(offer(&other, &envelope(&other, 2, "a")), ROTATION, "one of others");
}

#[test]
fn what_the_operator_has_not_given_cannot_be_taken() {
    let now = policy("ab", 1, "");
    let mut keyset = document(2, "ac", 1);
    keyset.keys[1].usage.push(Usage::Package);
    check(offer(&now, &keyset, "ac"), ROTATION, "package for c");
    let mut keyset = document(2, "ac", 1);
    keyset.keys[1].id = Name::parse("b").unwrap();
    check(offer(&now, &keyset, "ac"), ROTATION, "labels that the policy has for no other key");
    let mut keyset = document(2, "ac", 1);
    keyset.keys[1].public =
        catalogue_schema::key::PublicKey::from_bytes(KeyAlgorithm::Ed25519, &[0; 32]).unwrap();
    check(offer(&now, &keyset, "a"), ROTATION, "but their owners");
    // A key that the policy calls lost, ended or not begun is so in every keyset, whatever that says of it.
    for (more, reason) in [
        ("revoked = { at = 2030-01-01T00:00:00Z, reason = \"compromised\" }", "trust.key_revoked"),
        ("not_after = 2026-05-04T12:00:00Z", "trust.key_expired"),
        ("not_before = 2026-05-04T12:00:01Z", "trust.key_not_yet_valid"),
    ] {
        check(offer(&policy("a", 1, more), &document(2, "a", 1), "a"), ROTATION, reason);
    }
    let accepted = offer(&now, &document(2, "ac", 1), "ac").unwrap();
    let lost = policy("ab", 1, "not_after = 2026-05-04T12:00:00Z");
    let turned = turned(&lost, [&accepted]);
    let keys: Vec<_> = turned.policy.signers[0].keys.iter().map(|at| &turned.policy.keys[*at]).collect();
    assert_eq!((keys[0].not_after_s, keys[1].not_after_s), (Some(NOW_S), None));
}

#[test]
fn what_was_reached_counts_for_the_keys_that_the_operator_named_then() {
    let written = policy("ab", 1, "");
    let accepted = offer(&written, &document(2, "c", 1), "ac").unwrap();
    let now = turned(&written, [&accepted]);
    assert_eq!(now.keyset_version(0), Some(2));
    assert_eq!(now.policy.signers[0].threshold, 1);
    assert!(now.ring.key(signer('c').public().fingerprint()).is_some());
    let digest = |one: &InForce| Policies::of(vec![one.clone()]).digest().cloned();
    assert_ne!(digest(&now), digest(&written), "what was judged by the old keys is judged anew");
    assert_eq!(now.written().policy, written.policy);
    // Other keys, another threshold: the set begins anew.
    for other in [policy("abd", 1, ""), policy("ad", 1, ""), policy("ab", 2, "")] {
        assert_eq!(turned(&other, [&accepted]).keyset_version(0), Some(1));
    }
    // A window, a key that retires, is lost or is not named any more is no other set.
    let revoked = "revoked = { at = 2020-01-01T00:00:00Z, reason = \"compromised\" }";
    let retired = "revoked = { at = 2020-01-01T00:00:00Z, reason = \"retired\" }";
    for same in [
        policy("ba", 1, ""),
        policy("b", 1, ""),
        policy("ab", 1, revoked),
        policy("ab", 1, retired),
        policy("ab", 1, "not_after = 2020-01-01T00:00:00Z"),
    ] {
        assert_eq!(turned(&same, [&accepted]).keyset_version(0), Some(2));
    }
    let elsewhere = InForce { path: PathBuf::from("/etc/other.toml"), ..written };
    assert_eq!(turned(&elsewhere, [&accepted]).keyset_version(0), Some(1));
}

#[test]
fn what_the_operator_takes_away_never_brings_back_what_was_given_up() {
    // The keys of the set, those of its next keyset with its threshold, the policy afterwards, and which keys still count, of how many.
    let check =
        |old: &str, (new, threshold): (&str, usize), then: &str, lost: &str, expected: (&str, usize)| {
            let others = new.chars().filter(|letter| !old.contains(*letter));
            let signed_by: String = old.chars().chain(others).collect();
            let accepted = offer(&policy(old, 1, ""), &document(2, new, threshold), &signed_by).unwrap();
            let mut written = policy(then, 1, "");
            let at_s = NOW_S - 60;
            for key in written.policy.keys.iter_mut().filter(|key| lost.contains(key.id.as_text())) {
                key.revoked = Some(Revoked { at_s, reason: Revocation::Compromised });
            }
            let now = turned(&written, [&accepted]);
            let set = &now.policy.signers[0];
            let keys = set.keys.iter().map(|at| &now.policy.keys[*at]);
            let left: Vec<&str> =
                keys.filter(|key| key.revoked.is_none()).map(|key| key.id.as_text()).collect();
            assert_eq!((left.concat().as_str(), set.threshold), expected, "{old} {new} {then} {lost}");
        };
    check("ab", ("c", 1), "ab", "", ("c", 1));
    // `a` and `b` were given up.
    check("ab", ("c", 1), "ab", "a", ("c", 1));
    check("ab", ("c", 1), "b", "", ("c", 1));
    check("ab", ("ac", 1), "ab", "a", ("c", 1));
    check("ab", ("ac", 1), "b", "", ("c", 1));
    // Too few are left: the set signs nothing.
    check("ab", ("ac", 2), "ab", "a", ("c", 2));
    check("ab", ("ac", 2), "b", "", ("c", 2));
    check("ab", ("a", 1), "b", "", ("", 1));
}

#[test]
fn one_set_says_nothing_of_the_keys_of_another() {
    let mut written = policy("ab", 1, "");
    let mut other = written.policy.signers[0].clone();
    other.name = Name::parse("others").unwrap();
    written.policy.signers.push(other);
    let accepted = |name: &str, set: usize, revoked: Option<Revoked>| {
        let keyset = document(2, "ac", 1);
        let mut keyset = Keyset { name: Name::parse(name).unwrap(), ..keyset };
        keyset.keys[1].revoked = revoked;
        keyset.keys[1].not_after_s = revoked.map(|revoked| revoked.at_s);
        Accepted {
            policy: written.path.display().to_string(),
            signers: name.to_owned(),
            base: base(&written.policy.signers[set]),
            named: named(&written.policy, &written.policy.signers[set]),
            version: 2,
            document: keyset.to_json(),
        }
    };
    let lost = Revoked { at_s: NOW_S - 60, reason: Revocation::Compromised };
    let both = [accepted("roots", 0, Some(lost)), accepted("others", 1, None)];
    let now = turned(&written, &both);
    let key = |set: usize| &now.policy.keys[now.policy.signers[set].keys[1]];
    assert_eq!((key(0).revoked, key(0).not_after_s), (Some(lost), Some(lost.at_s)));
    assert_eq!((key(1).revoked, key(1).not_after_s), (None, None));
    assert!(key(1).published && !now.policy.keys[0].published);
}
