//! Every published spelling of a digest, and everything that only looks like one.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const HEX3: &str = "36f028580bb02cc8272a9a020f4200e346e276ae664e45ee80745574e2f5ab80";
const BASE64: &str = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
const HEX512: &str = "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff";
const BASE64_512: &str =
    "7iaw3Ur350mqGo7jwQrpkj9hiYB3Lkc/iBml1JQODbJ6wYX4oOHV+E+IvIh/1nsUNzLDBMxfqa2Ob1f1ACio/w==";

#[test]
fn published_spellings_give_the_same_bytes() {
    let check =
        |text: String, expected: Digest| assert_eq!(Digest::parse(&text).unwrap(), expected, "{text}");
    let sha256 = || Digest::sha256(b"test");
    let sha512 = || Digest::of(Algorithm::Sha512, b"test");
    let url = |text: &str| text.replace('+', "-").replace('/', "_");
    check(HEX.to_owned(), sha256());
    check(format!("sha256:{HEX}"), sha256());
    check(format!("sha256-{HEX}"), sha256());
    check(format!("sha256-{BASE64}"), sha256());
    check(format!("sha256-{}", url(BASE64)), sha256());
    check(format!("sha256-{}", url(BASE64).trim_end_matches('=')), sha256());
    check(format!("sha512:{HEX512}"), sha512());
    check(format!("sha512-{HEX512}"), sha512());
    check(format!("sha512-{BASE64_512}"), sha512());
    let sha3 = || Digest::of(Algorithm::Sha3_256, b"test");
    check(format!("sha3-256:{HEX3}"), sha3());
    check(format!("sha3-256-{HEX3}"), sha3());
    assert_eq!((sha3().to_string(), sha3().algorithm()), (format!("sha3-256:{HEX3}"), Algorithm::Sha3_256));
    assert_ne!(Digest::parse(HEX3).unwrap(), sha3(), "bare hex is SHA-256");
    assert_eq!(sha256().to_string(), format!("sha256:{HEX}"));
    assert_eq!(sha256().hex(), HEX);
    assert_ne!(Digest::parse(HEX).unwrap(), Digest::of(Algorithm::Sha512, b"test"));
}

#[test]
fn what_only_looks_like_a_digest_is_refused() {
    let check = |text: &str| {
        let error = Digest::parse(text).expect_err(text);
        assert_eq!(error.reason, "input.digest", "{text}");
    };
    for text in [
        "",
        "sha256",
        "sha256:",
        "sha256-",
        ":",
        "-",
        "sha256:=",
        "sha256- ",
        "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "blake3:00",
        "sha256-\u{2026}",
    ] {
        check(text);
    }
    check(&HEX.to_uppercase());
    check(&HEX[1..]);
    check(&HEX[2..]);
    check(&format!("{HEX}00"));
    check(HEX512);
    check(&format!("sha256:{}", HEX.to_uppercase()));
    check(&format!("sha256-{}", HEX.to_uppercase()));
    check(&format!("SHA256:{HEX}"));
    check(&format!("sha-256:{HEX}"));
    check(&format!("sha256={HEX}"));
    check(&format!("sha256:{BASE64}"));
    check(&format!("sha256:{HEX512}"));
    check(&format!("sha512:{HEX}"));
    check(&format!("sha512-{BASE64}"));
    check(&format!("sha256-{BASE64_512}"));
    check(&format!("sha3:{HEX}"));
    check(&format!("sha3-512:{HEX}"));
    check("sha3-256:");
    check(&format!("sha3-256:{HEX512}"));
    check(&format!(" sha256:{HEX}"));
    check(&format!("sha256:{HEX}\n"));
    check(&format!("sha256-{BASE64} sha512-{BASE64_512}"));
    check(&format!("sha256-{}", BASE64.replace('=', "==")));
    check(&format!("sha256-{}", BASE64.replace("g=", "h=")));
    check(&format!("sha256-{}", BASE64.replace('/', "_")));
    check(&format!("sha256-sha256-{BASE64}"));
}

#[test]
fn bare_hex_is_taken_digit_by_digit() {
    // Every byte at a few places, against the reader of other lengths.
    for at in [0, 1, 31, 32, 63] {
        for byte in 0..=u8::MAX {
            let mut digits = *HEX.as_bytes().first_chunk::<64>().unwrap();
            digits[at] = byte;
            let expected = std::str::from_utf8(&digits).ok().and_then(unhex);
            assert_eq!(unhex_32(&digits).map(Vec::from), expected, "{byte} at {at}");
        }
    }
}

#[test]
fn digests_are_a_list_however_many_there_are() {
    let of = |count: u8| (0..count).map(|one| Digest::sha256(&[one])).collect::<Vec<_>>();
    for count in 0..4 {
        let (list, digests) = (of(count), Digests::from(of(count)));
        assert_eq!(*digests, list);
        assert_eq!(Vec::from(digests.clone()), list);
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::to_string(&digests).unwrap(), text);
        assert_eq!(serde_json::from_str::<Digests>(&text).unwrap(), digests);
    }
    assert_eq!(Digests::from(None), Digests::from(of(0)));
    assert_eq!(Digests::from(Some(Digest::sha256(&[0]))), Digests::from(of(1)));
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(bytes in any::<[u8; 32]>()) {
        let digest = Digest::from_sha256(bytes);
        prop_assert_eq!(&Digest::parse(&digest.to_string()).unwrap(), &digest);
        let base64 = format!("sha256-{}", STANDARD.encode(bytes));
        prop_assert_eq!(&Digest::parse(&base64).unwrap(), &digest);
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,100}", tail in "[0-9a-fA-F+/=_-]{0,90}") {
        let _ = Digest::parse(&text);
        let _ = Digest::parse(&format!("sha256-{tail}"));
    }
}
