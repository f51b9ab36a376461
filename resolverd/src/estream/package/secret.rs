//! Private keys among the files that are published: any of them in the forms that keys are kept in, and one that is known in whatever
//! form somebody has copied it. Pure; what it finds it never repeats.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use catalogue_schema::digest::hex;
use catalogue_schema::key::{PrivateKey, SEED_BYTES, Secret};
use flate2::read::MultiGzDecoder;
use zeroize::Zeroizing;

/// How every block of PEM begins.
const BEGIN: &[u8] = b"-----BEGIN ";
/// How its first line ends.
const DASHES: &[u8] = b"-----";
/// What stands in the first line of every private key.
const PRIVATE: &[u8] = b"PRIVATE KEY";
/// How long that line may be behind its first word, in bytes.
const LABEL_BYTES_MAX: usize = 64;
/// How far behind that line its content is looked for, in bytes.
const BODY_BYTES_MAX: usize = 512;
/// How many characters of base64 are content; of blocks whose content has no form, in a row.
const RUN_BYTES_MIN: usize = 32;
/// How the content of a key of OpenSSH begins.
const OPENSSH: &[u8] = b"openssh-key-v1\0";
/// What compressed files begin with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How much of a compressed file is looked at, in bytes.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// How many bytes of an expanded ML-DSA-87 key tell it from others, each from there on: its secret K, and the first secret polynomial.
const EXPANDED_AT: [usize; 2] = [32, 128];
/// How many characters of a line of the key's own file are looked for.
const LINE_BYTES: usize = 24;

/// Tells whether a file holds a private key: in PEM wherever it begins, as in a YAML or JSON document, or in DER as the whole file.
/// A block without content, by which a text speaks of keys, is none.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    in_any_form(bytes, &|bytes| holds_pem(bytes) || is_der(bytes) || holds_wide(bytes))
}

/// Looks at a file, and at what is compressed in it.
fn in_any_form(bytes: &[u8], holds: &dyn Fn(&[u8]) -> bool) -> bool {
    if holds(bytes) {
        return true;
    }
    let mut unpacked = Zeroizing::new(Vec::new());
    if bytes.starts_with(&GZIP) {
        // What is damaged is looked at as far as it goes.
        let _ = MultiGzDecoder::new(bytes).take(UNPACKED_BYTES_MAX).read_to_end(&mut unpacked);
    }
    !unpacked.is_empty() && holds(&unpacked)
}

/// Looks for PEM in a text of two bytes for each character.
fn holds_wide(bytes: &[u8]) -> bool {
    let is_wide = bytes.windows(4).any(|window| matches!(window, [b'-', 0, b'-', 0]));
    is_wide && holds_pem(&bytes.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>())
}

fn holds_pem(bytes: &[u8]) -> bool {
    let starts = bytes.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN);
    starts.map(|(at, _)| &bytes[at + BEGIN.len()..]).any(|rest| {
        let line = &rest[..rest.len().min(LABEL_BYTES_MAX)];
        let Some(end) = place(line, DASHES) else { return false };
        let body = &rest[end + DASHES.len()..];
        let body = &body[..body.len().min(BODY_BYTES_MAX)];
        place(&line[..end], PRIVATE).is_some() && is_content(&line[..end], body)
    })
}

/// Tells whether what follows the first line of a block is a key, and no text that goes on.
fn is_content(label: &[u8], body: &[u8]) -> bool {
    if place(label, b"PGP").is_some() || place(body, b"Proc-Type:").is_some() {
        // Enciphered content looks like nothing.
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        let is_mixed = |run: &[u8]| {
            run.iter().any(u8::is_ascii_uppercase)
                && run.iter().any(u8::is_ascii_lowercase)
                && run.iter().any(u8::is_ascii_digit)
        };
        return body.split(|byte| !is_base64(byte)).any(|run| run.len() >= RUN_BYTES_MIN && is_mixed(run));
    }
    let letters: Vec<u8> = letters(body).into_iter().take(RUN_BYTES_MIN).collect();
    let content = STANDARD_NO_PAD.decode(&letters).unwrap_or_default();
    letters.len() == RUN_BYTES_MIN
        && (content.starts_with(OPENSSH) || der_content(&content).is_some_and(|(_, rest)| is_key(rest)))
}

/// Returns the characters of base64 in a text, those of its other alphabet as the usual ones; line ends that are written out are none.
fn letters(text: &[u8]) -> Vec<u8> {
    let (mut letters, mut is_escaped) = (Vec::new(), false);
    for byte in text {
        match byte {
            b'n' | b'r' | b't' if is_escaped => {}
            b'-' => letters.push(b'+'),
            b'_' => letters.push(b'/'),
            b'+' | b'/' => letters.push(*byte),
            byte if byte.is_ascii_alphanumeric() => letters.push(*byte),
            _ => {}
        }
        is_escaped = *byte == b'\\';
    }
    letters
}

/// Tells whether a file is a private key in DER, without a byte more.
fn is_der(bytes: &[u8]) -> bool {
    der_content(bytes)
        .is_some_and(|(length, rest)| rest.len() == length && is_key(rest) && !rest.starts_with(&[0x30]))
}

/// Returns how long the content of a SEQUENCE says it is, and as much of it as is there.
fn der_content(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [0x30, length @ 0..=0x7f, rest @ ..] => Some(((*length).into(), rest)),
        [0x30, 0x81, length, rest @ ..] => Some(((*length).into(), rest)),
        [0x30, 0x82, high, low, rest @ ..] => Some((u16::from_be_bytes([*high, *low]).into(), rest)),
        _ => None,
    }
}

/// Tells whether the content of a SEQUENCE begins as a private key does: of PKCS#8 with its version and the algorithm's identifier
/// (RFC 5958), enciphered with that alone, else as RFC 8017 and RFC 5915 have it.
fn is_key(content: &[u8]) -> bool {
    matches!(
        content,
        [0x02, 0x01, 0 | 1, 0x30, _, 0x06, ..]
            | [0x30, 0..=0x7f, 0x06, ..]
            | [0x02, 0x01, 0, 0x02, ..]
            | [0x02, 0x01, 1, 0x04, ..]
    )
}

fn place(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// What a private key is known by, in whatever form it is copied.
pub struct Traces {
    /// Parts of the secret itself.
    raw: Vec<Zeroizing<Vec<u8>>>,
    /// The same as text: hexadecimal digits in lower case, and base64 wherever it begins in what is encoded; a line of the key's file
    /// in base64 once more.
    text: Vec<Zeroizing<Vec<u8>>>,
}

impl Traces {
    /// Takes a key, and the file that it was read from.
    pub fn of(key: &PrivateKey, file: &[u8]) -> Traces {
        let part = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        let expanded = |bytes: &[u8]| -> Vec<Zeroizing<Vec<u8>>> {
            EXPANDED_AT.iter().filter_map(|at| bytes.get(*at..at + SEED_BYTES)).map(part).collect()
        };
        let raw = match &key.secret {
            Secret::Ed25519(seed) | Secret::MlDsa87Seed(seed) => vec![part(seed.as_slice())],
            Secret::MlDsa87Expanded(bytes) => expanded(bytes),
            Secret::MlDsa87Both(seed, bytes) => {
                let mut parts = expanded(bytes);
                parts.push(part(seed.as_slice()));
                parts
            }
        };
        let in_base64: Vec<Zeroizing<Vec<u8>>> = raw.iter().flat_map(|part| encoded(part)).collect();
        let lines = file.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut windows = line.windows(LINE_BYTES);
            windows.find(|window| in_base64.iter().any(|part| place(part, window).is_some()))
        });
        let again: Vec<Zeroizing<Vec<u8>>> = lines.flat_map(encoded).collect();
        let digits = raw.iter().map(|part| Zeroizing::new(hex(part).into_bytes()));
        let text = digits.chain(in_base64.iter().cloned()).chain(again).collect();
        Traces { raw, text }
    }

    /// Tells whether a file holds the key.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        in_any_form(bytes, &|bytes| {
            let letters = Zeroizing::new(letters(bytes));
            let small = Zeroizing::new(letters.to_ascii_lowercase());
            self.raw.iter().any(|part| place(bytes, part).is_some())
                || self
                    .text
                    .iter()
                    .any(|part| place(&letters, part).is_some() || place(&small, part).is_some())
        })
    }
}

/// Returns bytes in base64 as they stand in the encoding of a longer text, wherever they begin there: without the characters at both
/// ends that depend on what stands before and behind.
fn encoded(bytes: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let from = |before: usize| {
        let whole = Zeroizing::new([vec![0; before], bytes.to_vec()].concat());
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(whole.as_slice()));
        let (start, end) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
        Zeroizing::new(text.as_bytes()[start..end].to_vec())
    };
    (0..3).map(from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use base64::engine::general_purpose::URL_SAFE;
    use catalogue_schema::key::KeyAlgorithm;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::trust::signature::Signer;

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn folded(text: &str, columns: usize) -> String {
        let body: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
        let body = body.concat();
        let lines: Vec<&str> =
            body.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn a_key_is_known_in_every_form_that_it_is_copied_in() {
        let seed: Vec<u8> = (0..SEED_BYTES).map(|at| (at * 37 + 11) as u8).collect();
        let seeded = |seed: &[u8]| {
            Signer::seeded(KeyAlgorithm::MlDsa87, Zeroizing::new(<[u8; SEED_BYTES]>::try_from(seed).unwrap()))
        };
        let (key, other) = (seeded(&seed), seeded(&[7; SEED_BYTES]));
        let long: Vec<u8> = (0..4_896_u32).map(|at| ((at * at) >> 3) as u8).collect();
        let keys = [
            key.clone(),
            PrivateKey { secret: Secret::MlDsa87Expanded(Zeroizing::new(long.clone())), public: None },
            PrivateKey {
                secret: Secret::MlDsa87Both(
                    Zeroizing::new(<[u8; SEED_BYTES]>::try_from(&*seed).unwrap()),
                    Zeroizing::new(long),
                ),
                public: None,
            },
        ];
        for key in keys {
            let (pem, der) = (key.to_pem(), key.pkcs8());
            let traces = Traces::of(&key, pem.as_bytes());
            let again = STANDARD_NO_PAD.encode(pem.as_bytes());
            let shifted = STANDARD_NO_PAD.encode(format!("x{}", pem.as_str()));
            let check = |form: &str, bytes: &[u8], by_itself: bool| {
                assert!(traces.are_in(bytes), "{}: {form}", key.form());
                assert_eq!(is_in(bytes), by_itself, "{}: {form}", key.form());
            };
            check("PEM", pem.as_bytes(), true);
            check("DER", &der, true);
            check("DER among others", &[b"\x01\x02".as_slice(), &der, b"\x03"].concat(), false);
            check("UTF-16", &wide(&pem), true);
            check("folded", folded(&pem, 30).as_bytes(), true);
            check("folded in a document", folded(&pem, 30).replace('\n', "\\n").as_bytes(), true);
            check("base64 of PEM", again.as_bytes(), false);
            check("base64 of PEM, elsewhere", shifted.as_bytes(), false);
            check("base64url of DER", URL_SAFE.encode(&*der).as_bytes(), false);
            check("gzip", &packed(pem.as_bytes()), true);
            check("gzip of DER", &packed(&der), true);
            check("hexadecimal", hex(&der).as_bytes(), false);
            check("hexadecimal in capitals", hex(&der).to_uppercase().as_bytes(), false);
            // Nobody else's key is this one.
            let others = other.to_pem();
            assert!(!traces.are_in(others.as_bytes()) && !traces.are_in(&other.pkcs8()));
            assert!(!traces.are_in(STANDARD_NO_PAD.encode(others.as_bytes()).as_bytes()));
        }
        let text = seeded(&seed).to_pem();
        let traces = Traces::of(&seeded(&seed), text.as_bytes());
        assert!(
            traces.are_in(&seed) && !traces.are_in(b"") && !traces.are_in(b"-----BEGIN PRIVATE KEY-----")
        );
    }

    #[test]
    fn what_speaks_of_keys_holds_none() {
        for text in [
            "const MARK: &str = \"-----BEGIN PRIVATE KEY-----\";\n// ==========================================\n",
            "const MARK: &str = \"-----BEGIN PRIVATE KEY-----\";\nfn readsThePrivateKeyOf2027FromItsFile() {}\n",
            "// -----BEGIN RSA PRIVATE KEY----- MAX_LENGTH_OF_EVERYTHING_THAT_FOLLOWS\n",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n========================================\n",
        ] {
            assert!(!is_in(text.as_bytes()), "{text}");
        }
        // A library's constants, a public key in DER, a question to a clock (RFC 3161).
        assert!(!is_in(b"\x00\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20 more"));
        assert!(!is_in(b"\x30\x0a\x30\x05\x06\x03\x2b\x65\x70\x03\x01\x00"));
        assert!(!is_in(b"\x30\x0a\x02\x01\x01\x30\x05\x30\x03\x06\x01\x00"));
    }
}
