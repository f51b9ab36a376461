//! Signature files: what is written is read back, and every other form is refused. No signature here was ever made.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const PAYLOAD: &str = r#"{"type":"catalogue","id":"acme/tooling","digests":["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],"size":4,"signed_at":"2026-05-04T12:00:00Z","algorithms":["ed25519","ml-dsa-87"],"catalogue_version":42,"expires":"2026-08-04T12:00:00Z","origin_commit":"4a569e82930c784d2b4f2a40a39e85daea774a80"}"#;

fn key(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn envelope(signatures: &[(&str, &str, &[u8])]) -> Envelope {
    let signature = |(digit, algorithm, bytes): &(&str, &str, &[u8])| Signature {
        key: Fingerprint::parse(&key(digit.chars().next().unwrap())).unwrap(),
        algorithm: (*algorithm).to_owned(),
        bytes: bytes.to_vec(),
    };
    Envelope::new(PAYLOAD.into(), signatures.iter().map(signature).collect())
}

#[test]
fn an_envelope_is_read_as_it_is_written() {
    for one in [envelope(&[]), envelope(&[("a", "ed25519", &[1; 64]), ("b", "none", b"")])] {
        assert_eq!(Envelope::parse(one.to_json().as_bytes()).unwrap(), one);
        let file = SignatureFile::parse(one.to_json().as_bytes()).unwrap();
        assert_eq!(file, SignatureFile::Envelope(one));
    }
}

#[test]
fn a_statement_is_read_as_it_is_written() {
    let statement = Statement::parse(PAYLOAD.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), PAYLOAD);
    assert_eq!(statement.differs_from(b"test"), None);
    assert!(statement.differs_from(b"tests").unwrap().contains("5 bytes"));
    assert!(statement.differs_from(b"tesT").unwrap().contains("instead of sha256:9f86"));
}

#[test]
fn the_encoding_that_is_signed_is_the_published_one() {
    // The example of the DSSE protocol has this shape: lengths in decimal, one space between.
    let encoded = Usage::Package.encoded(b"hello world");
    assert_eq!(encoded, b"DSSEv1 19 resolverd/1/package 11 hello world");
    let all: BTreeSet<Vec<u8>> = Usage::ALL.iter().map(|usage| usage.encoded(b"x")).collect();
    assert_eq!(all.len(), 3);
}

#[test]
fn a_detached_signature_is_raw_or_base64() {
    for algorithm in KeyAlgorithm::ALL {
        // The first byte could start an envelope.
        let bytes = vec![b'{'; algorithm.signature_bytes()];
        let text = STANDARD.encode(&bytes);
        let lines = text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
        for form in [bytes.clone(), text.clone().into_bytes(), format!("{text}\n").into_bytes(), lines] {
            let expected = SignatureFile::Detached { algorithm, bytes: bytes.clone() };
            assert_eq!(SignatureFile::parse(&form).unwrap(), expected);
        }
    }
    for form in [
        vec![],
        vec![1; 63],
        vec![1; 65],
        vec![1; 4626],
        vec![1; 300 << 10],
        STANDARD.encode([1; 63]).into_bytes(),
        STANDARD.encode([1; 64]).replace('=', "").into_bytes(),
        format!(" {}", STANDARD.encode([1; 64])).into_bytes(),
        b"<html>not found</html>".to_vec(),
    ] {
        assert_eq!(SignatureFile::parse(&form).unwrap_err().reason, "input.signature", "{}", form.len());
    }
}

#[test]
fn an_envelope_that_breaks_a_rule_is_refused_with_its_place() {
    #[track_caller]
    fn check(from: &str, to: &str, reason: &str, field: &str) {
        let good = envelope(&[("a", "ed25519", &[1; 64]), ("b", "ml-dsa-87", &[2; 4627])]).to_json();
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from} does not stand there");
        let error = Envelope::parse(bad.as_bytes()).expect_err(to);
        assert_eq!((&*error.reason, &*error.field), (reason, field), "{error}");
        assert!(error.position.is_some(), "{error}");
    }
    check("resolverd/sig@1", "resolverd/sig@2", "input.schema", "schema");
    check("\"payload\": \"", "\"payload\": \"*", "input.signature", "payload");
    check(&key('a'), "a label", "input.fingerprint", "signatures[0].key_id");
    check(&key('b'), &key('a'), "input.signature_duplicate", "signatures[1]");
    check("\"sig\": \"A", "\"sig\": \"-", "input.signature", "signatures[0].sig");
    check("\"schema\"", "\"keyid\": \"x\", \"schema\"", "input.field", "keyid");
    check("\"sig\"", "\"cert\": \"x\", \"sig\"", "input.field", "signatures[0].cert");
    check("\"schema\"", "\"payload\": \"\", \"schema\"", "input.duplicate_key", "payload");
    let same = envelope(&[("a", "ed25519", &[1; 64]), ("b", "ed25519", &[1; 64])]).to_json();
    assert_eq!(Envelope::parse(same.as_bytes()).unwrap_err().reason, "input.signature_duplicate");
}

#[test]
fn sixteen_signatures_are_looked_at_and_seventeen_are_refused() {
    let of = |count: u8| {
        let signature = |position: u8| Signature {
            key: Fingerprint::parse(&format!("sha256:{position:064x}")).unwrap(),
            algorithm: "ed25519".to_owned(),
            bytes: vec![position; 64],
        };
        Envelope::parse(Envelope::new(Vec::new(), (0..count).map(signature).collect()).to_json().as_bytes())
    };
    assert_eq!(of(16).unwrap().signatures().len(), 16);
    assert_eq!(of(17).unwrap_err().reason, "input.too_many_signatures");
}

#[test]
fn a_statement_that_breaks_a_rule_is_refused_with_its_field() {
    #[track_caller]
    fn check(from: &str, to: &str, reason: &str, field: &str) {
        let bad = PAYLOAD.replacen(from, to, 1);
        assert_ne!(bad, PAYLOAD, "{from} does not stand there");
        let error = Statement::parse(bad.as_bytes()).expect_err(to);
        assert_eq!((&*error.reason, &*error.field), (reason, field), "{error}");
    }
    check("\"catalogue\"", "\"bundle\"", "input.field", "type");
    check("acme/tooling", "", "input.field", "id");
    check("sha256:9f", "sha256:9", "input.digest", "digests[0]");
    check("\"digests\":[", "\"digests\":[],\"x\":[", "input.field", "x");
    check("ed25519\",\"ml-dsa-87", "ml-dsa-87\",\"ml-dsa-87", "input.field", "algorithms");
    check("ed25519", "ed25519ph", "input.algorithm", "algorithms[0]");
    check("ed25519", "none", "input.algorithm", "algorithms[0]");
    check("2026-05-04T12:00:00Z", "2026-05-04", "input.time", "signed_at");
    check("2026-08-04T12:00:00Z", "never", "input.time", "expires");
    check("\"4a56", "\"main", "input.commit", "origin_commit");
    check("\"size\":4", "\"size\":-4", "input.field", "size");
    check("\"size\":4", "\"size\":4,\"version\":\"1.0.0\"", "input.field", "version");
    check("\"type\":\"catalogue\"", "\"type\":\"package\"", "input.field", "version");
    check(
        "\"type\":\"catalogue\"",
        "\"version\":\"1.0.0\",\"type\":\"package\"",
        "input.field",
        "catalogue_version",
    );
    check(
        "\"catalogue_version\":42",
        "\"catalogue_version\":9007199254740993",
        "input.number",
        "catalogue_version",
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..PAYLOAD.len()) {
        let _ = SignatureFile::parse(&bytes);
        let _ = Statement::parse(&bytes);
        let mut changed = PAYLOAD.as_bytes().to_vec();
        changed[at] = bytes.first().copied().unwrap_or_default();
        let _ = Statement::parse(&changed);
    }
}
