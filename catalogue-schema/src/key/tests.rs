//! Key containers: what is written is read back, and every other file is refused. Never holds a key that anybody uses.
#![allow(clippy::unwrap_used)]

use super::*;

/// The key of RFC 8410, section 10.1.
const RFC_8410: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
/// Its private key, in version 1 and, with attributes and the public key, in version 2 (section 10.3).
const RFC_8410_PRIVATE: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nMHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\noB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\nZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n",
];

fn ml_dsa() -> PublicKey {
    let bytes: Vec<u8> = (0..=255).cycle().take(2592).collect();
    PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &bytes).unwrap()
}

#[test]
fn a_public_key_is_the_same_in_every_form() {
    for key in [PublicKey::parse(RFC_8410.as_bytes()).unwrap(), ml_dsa()] {
        let lengths = match key.algorithm() {
            KeyAlgorithm::Ed25519 => (44, 32),
            KeyAlgorithm::MlDsa87 => (2614, 2592),
        };
        assert_eq!((key.spki().len(), key.as_bytes().len()), lengths);
        assert_eq!(PublicKey::from_spki(&key.spki()).unwrap(), key);
        let windows = key.to_pem().replace('\n', "\r\n");
        for text in [key.to_pem(), windows, hex(key.as_bytes()), format!("{}\n", hex(key.as_bytes()))] {
            let read = PublicKey::parse(text.as_bytes()).unwrap();
            assert_eq!((&read, read.fingerprint()), (&key, key.fingerprint()));
        }
        let printed = key.fingerprint().to_string();
        assert_eq!(Fingerprint::parse(&printed).unwrap(), key.fingerprint());
        assert!(format!("{key:?}").ends_with(&printed));
    }
    assert_eq!(ml_dsa().spki()[4..17], unhex("300b0609608648016503040313").unwrap());
    assert_eq!(PublicKey::parse(RFC_8410.as_bytes()).unwrap().to_pem(), RFC_8410);
}

/// Refused, with the reason.
#[track_caller]
fn check(text: impl AsRef<[u8]>, reason: &str) {
    let text = text.as_ref();
    let error = PublicKey::parse(text).expect_err(&String::from_utf8_lossy(text));
    assert_eq!(error.reason, reason, "{error} in {}", String::from_utf8_lossy(text));
}

#[test]
fn a_file_that_is_not_one_public_key_is_refused() {
    check("", KEY);
    check("\n", KEY);
    check(b"\xff\xfe", KEY);
    check(format!("{RFC_8410}{RFC_8410}"), KEY);
    check(format!("{RFC_8410}trailing\n"), KEY);
    check(format!("{RFC_8410}\n"), KEY);
    check(format!("leading\n{RFC_8410}"), KEY);
    check(RFC_8410.replace("PUBLIC KEY", "CERTIFICATE"), KEY);
    check(RFC_8410.replace("BEGIN PUBLIC", "BEGIN RSA PUBLIC"), KEY);
    check(RFC_8410.replace("END PUBLIC", "END PRIVATE"), KEY);
    check(RFC_8410.replace("=\n", "\n"), KEY);
    check(RFC_8410.replace("MCow", "MC\now"), KEY);
    check(RFC_8410.replace("MCow", " MCow"), KEY);
    check(RFC_8410.replace("MCow", "MCo_"), KEY);
    check(RFC_8410.replace("-----END PUBLIC KEY-----", ""), KEY);
    check("a".repeat(20 << 10), KEY);
    check(&RFC_8410[..60], KEY);
    for private in RFC_8410_PRIVATE {
        check(private, PRIVATE_KEY);
        check(private.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), PRIVATE_KEY);
    }
    for digits in [63, 65, 5183, 3904] {
        check("a".repeat(digits), KEY);
    }
    check("A".repeat(64), KEY);
}

#[test]
fn a_structure_that_differs_in_one_byte_of_its_frame_is_refused() {
    let check = |der: &[u8]| assert_eq!(PublicKey::from_spki(der).unwrap_err().reason, KEY, "{}", hex(der));
    for (key, frame) in [(PublicKey::parse(RFC_8410.as_bytes()).unwrap(), 12), (ml_dsa(), 22)] {
        let der = key.spki();
        for at in 0..frame {
            for bit in 0..8 {
                let mut other = der.clone();
                other[at] ^= 1 << bit;
                check(&other);
            }
        }
        check(&der[..der.len() - 1]);
        check(&[der.as_slice(), &[0]].concat());
    }
    // X25519, RSA's parameters behind the identifier, a length in a longer form than needed, an infinite one.
    let ed25519 = hex(&PublicKey::parse(RFC_8410.as_bytes()).unwrap().spki());
    for (from, to) in [
        ("302a300506032b6570", "302a300506032b656e"),
        ("302a300506032b6570", "302c300706032b65700500"),
        ("302a300506032b6570", "30812a300506032b6570"),
        ("302a300506032b6570", "3080300506032b6570"),
    ] {
        check(&unhex(&ed25519.replace(from, to)).unwrap());
    }
}

#[test]
fn a_private_key_is_read_in_every_form_and_written_back() {
    let public = PublicKey::parse(RFC_8410.as_bytes()).unwrap();
    let [first, second] = RFC_8410_PRIVATE.map(|text| PrivateKey::parse(text.as_bytes()).unwrap());
    assert_eq!((first.public.as_ref(), second.public), (None, Some(public)));
    assert_eq!(first.to_pem().as_str(), RFC_8410_PRIVATE[0]);

    let seed = || Zeroizing::new([7; SEED_BYTES]);
    let expanded = || Zeroizing::new(vec![9; ML_DSA_87_EXPANDED_BYTES]);
    let forms = [
        (Secret::Ed25519(seed()), 48, "seed"),
        (Secret::MlDsa87Seed(seed()), 54, "seed"),
        (Secret::MlDsa87Expanded(expanded()), 4924, "expanded"),
        (Secret::MlDsa87Both(seed(), expanded()), 4962, "both"),
    ];
    for (secret, length, form) in forms {
        let key = PrivateKey { secret, public: None };
        let read = PrivateKey::parse(key.to_pem().as_bytes()).unwrap();
        assert_eq!(read.pkcs8(), key.pkcs8());
        assert_eq!((read.pkcs8().len(), read.form()), (length, form));
        assert_eq!(read.algorithm(), key.algorithm());
        assert_eq!(format!("{read:?}"), "PrivateKey { secret: (secret), public: None }");
    }
    // The frame that RFC 9881 gives for a seed.
    let key = PrivateKey { secret: Secret::MlDsa87Seed(seed()), public: None };
    assert!(hex(&key.pkcs8()).starts_with("3034020100300b060960864801650304031304228020"));
    assert_eq!(key.to_pem().len(), 128);
}

#[test]
fn a_private_key_that_is_cut_or_changed_in_its_frame_is_refused() {
    let check = |der: &[u8]| {
        let error = PrivateKey::from_pkcs8(der).unwrap_err();
        assert_eq!(error.reason, KEY);
    };
    for text in RFC_8410_PRIVATE {
        let key = PrivateKey::parse(text.as_bytes()).unwrap();
        let der = key.pkcs8();
        (0..der.len()).for_each(|length| check(&der[..length]));
        for at in 0..16 {
            let mut other = der.to_vec();
            other[at] ^= 0xff;
            check(&other);
        }
    }
    for (text, reason) in [
        (RFC_8410, KEY),
        (&RFC_8410_PRIVATE[0].replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), KEY),
        (&RFC_8410_PRIVATE[0].replace("PRIVATE KEY", "EC PRIVATE KEY"), KEY),
    ] {
        let error = PrivateKey::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(!error.to_string().contains("MC"), "{error}");
    }
}
