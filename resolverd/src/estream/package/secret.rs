//! Private keys among the files that are published: any of them in the forms that keys are kept in, and one that is known in the forms
//! that keys are copied in. Pure; what it finds it never repeats.
//!
//! No such search is complete: it finds what is copied by mistake, not what somebody hides. What it costs grows with the bytes of the
//! files alone, whatever they hold: they may be a stranger's.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use catalogue_schema::digest::hex;
use catalogue_schema::key::{PrivateKey, SEED_BYTES, Secret};
use flate2::bufread::MultiGzDecoder;
use memchr::memmem;
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
/// How much of a compressed file is looked at, in bytes before and after; a key is small.
const UNPACKED_BYTES_MAX: usize = 1 << 20;
/// How much of the compressed files of one package is looked at, in bytes before and after: many small files may hold much.
const ALL_UNPACKED_BYTES_MAX: usize = 16 << 20;
/// How many bytes of an expanded ML-DSA-87 key tell it from others, each from there on: its secret K, and the first secret polynomial.
const EXPANDED_AT: [usize; 2] = [32, 128];
/// How many characters of a line of the key's own file are looked for.
const LINE_BYTES: usize = 24;
/// How much of a text of a secret is enough to know it by, and how far it is from the start of one such part to that of the next. A
/// part lies in whatever is copied in one piece of so many characters together: in half of a line of PEM, whatever stands before it.
const BASE64_PART: (usize, usize) = (12, 10);
/// The same of hexadecimal digits: a part lies in every line of a dump of 16 bytes.
const DIGITS_PART: (usize, usize) = (16, 16);
/// The same of bytes that are written as numbers.
const BYTES_PART: (usize, usize) = (8, 8);

/// What may still be unpacked of one package.
#[derive(Debug)]
pub(super) struct Unpacking {
    /// In bytes before and after.
    left: usize,
}

impl Unpacking {
    /// Starts a package.
    pub(super) fn start() -> Unpacking {
        Unpacking { left: ALL_UNPACKED_BYTES_MAX }
    }

    /// Unpacks the beginning of a compressed file, as far as there is something left for it; nothing of any other file.
    fn unpack(&mut self, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        let most = UNPACKED_BYTES_MAX.min(self.left);
        let mut unpacked = Zeroizing::new(Vec::new());
        if !bytes.starts_with(&GZIP) || most == 0 {
            return unpacked;
        }
        let packed = &bytes[..bytes.len().min(most)];
        let mut decoder = MultiGzDecoder::new(packed).take(most as u64);
        // What is damaged, or cut off, is looked at as far as it goes.
        let _ = decoder.read_to_end(&mut unpacked);
        // Members without content cost their own bytes.
        let read = packed.len() - decoder.into_inner().into_inner().len();
        self.left -= read.max(unpacked.len()).min(self.left);
        unpacked
    }
}

/// Tells whether a file holds a private key: in PEM wherever it begins, as in a YAML or JSON document, or in DER as the whole file.
/// A block without content, by which a text speaks of keys, is none.
pub(super) fn is_in(bytes: &[u8], unpacking: &mut Unpacking) -> bool {
    in_any_form(bytes, unpacking, &|bytes| holds_pem(bytes) || is_der(bytes) || holds_wide(bytes))
}

/// Looks at a file, and at what is compressed in it.
fn in_any_form(bytes: &[u8], unpacking: &mut Unpacking, holds: &dyn Fn(&[u8]) -> bool) -> bool {
    if holds(bytes) {
        return true;
    }
    let unpacked = unpacking.unpack(bytes);
    !unpacked.is_empty() && holds(&unpacked)
}

/// Looks for PEM in a text of two bytes for each character.
fn holds_wide(bytes: &[u8]) -> bool {
    let is_wide = place(bytes, b"-\0-\0").is_some();
    is_wide && holds_pem(&bytes.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>())
}

fn holds_pem(bytes: &[u8]) -> bool {
    memmem::find_iter(bytes, BEGIN).map(|at| &bytes[at + BEGIN.len()..]).any(|rest| {
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
    memmem::find(bytes, part)
}

/// Returns the bytes that a text writes as numbers one by one, in decimal digits or as `0x1f`: as source code has them.
fn numbers(text: &[u8]) -> Vec<u8> {
    let words = text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| (1..=4).contains(&word.len()));
    let number = |word: &[u8]| {
        let word = std::str::from_utf8(word).ok()?;
        match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => u8::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        }
    };
    words.filter_map(number).collect()
}

/// What a private key is known by, in the forms that it is copied in.
pub struct Traces {
    /// Parts of the secret itself.
    raw: Vec<Zeroizing<Vec<u8>>>,
    /// Smaller ones, for bytes that are written as numbers.
    numbers: Vec<Zeroizing<Vec<u8>>>,
    /// The same as hexadecimal digits in lower case.
    digits: Vec<Zeroizing<Vec<u8>>>,
    /// The same in base64 wherever it begins in what is encoded; lines of the key's file in base64 once more.
    base64: Vec<Zeroizing<Vec<u8>>>,
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
        let digits: Vec<Zeroizing<Vec<u8>>> =
            raw.iter().map(|part| Zeroizing::new(hex(part).into_bytes())).collect();
        Traces {
            numbers: parts(&raw, BYTES_PART),
            digits: parts(&digits, DIGITS_PART),
            base64: [parts(&in_base64, BASE64_PART), parts(&again, BASE64_PART)].concat(),
            raw,
        }
    }

    /// Tells whether a file holds the key.
    pub(super) fn are_in(&self, bytes: &[u8], unpacking: &mut Unpacking) -> bool {
        let holds = |bytes: &[u8], parts: &[Zeroizing<Vec<u8>>]| {
            parts.iter().any(|part| place(bytes, part).is_some())
        };
        in_any_form(bytes, unpacking, &|bytes| {
            let letters = Zeroizing::new(letters(bytes));
            let is_text = || {
                let small = Zeroizing::new(letters.to_ascii_lowercase());
                holds(&letters, &self.base64) || holds(&small, &self.digits)
            };
            holds(bytes, &self.raw) || is_text() || holds(&Zeroizing::new(numbers(bytes)), &self.numbers)
        })
    }
}

/// Cuts texts into parts: whatever holds enough of a text in one piece holds one of them.
fn parts(whole: &[Zeroizing<Vec<u8>>], (length, step): (usize, usize)) -> Vec<Zeroizing<Vec<u8>>> {
    let cut = |text: &Zeroizing<Vec<u8>>| -> Vec<Zeroizing<Vec<u8>>> {
        text.windows(length).step_by(step).map(|part| Zeroizing::new(part.to_vec())).collect()
    };
    whole.iter().flat_map(cut).collect()
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

    fn is_in(bytes: &[u8]) -> bool {
        super::is_in(bytes, &mut Unpacking::start())
    }

    fn are_in(traces: &Traces, bytes: &[u8]) -> bool {
        traces.are_in(bytes, &mut Unpacking::start())
    }

    /// Writes bytes as numbers, 12 in a line, as programs make source code of files.
    fn listed(bytes: &[u8], number: impl Fn(&u8) -> String) -> String {
        let line = |line: &[u8]| line.iter().map(&number).collect::<Vec<String>>().join(", ");
        let lines: Vec<String> = bytes.chunks(12).map(line).collect();
        format!("unsigned char der[] = {{\n  {}\n}};\nint der_len = 54;\n", lines.join(",\n  "))
    }

    /// Writes bytes as a dump: where they are, their digits, and the characters among them.
    fn dumped(bytes: &[u8]) -> String {
        let line = |(at, line): (usize, &[u8])| {
            let pairs: Vec<String> = line.chunks(2).map(hex).collect();
            let shown: String = line
                .iter()
                .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' })
                .collect();
            format!("{:08x}: {}  {shown}\n", at * 16, pairs.join(" "))
        };
        bytes.chunks(16).enumerate().map(line).collect()
    }

    #[test]
    fn a_package_has_only_so_much_unpacked_whatever_it_holds() {
        let (zeros, key) =
            (packed(&vec![0; 8 << 20]), Signer::seeded(KeyAlgorithm::MlDsa87, Zeroizing::new([9; 32])));
        let (file, most) = (UNPACKED_BYTES_MAX, ALL_UNPACKED_BYTES_MAX);
        let mut unpacking = Unpacking::start();
        for at in 1..=most / file {
            assert_eq!(unpacking.unpack(&zeros).len(), file);
            assert_eq!(unpacking.left, most - at * file);
        }
        // Nothing is unpacked beyond, and what lies open is looked at all the same.
        let pem = key.to_pem();
        assert_eq!(unpacking.unpack(&packed(pem.as_bytes())).len(), 0);
        assert!(!super::is_in(&packed(pem.as_bytes()), &mut unpacking));
        assert!(super::is_in(pem.as_bytes(), &mut unpacking));
        // Members that hold nothing cost what they are; files that are not compressed cost nothing.
        let mut unpacking = Unpacking::start();
        let empty = packed(b"").repeat(200_000);
        assert!(empty.len() > 2 * file && unpacking.unpack(&empty).is_empty());
        assert_eq!(unpacking.left, most - file);
        assert!(unpacking.unpack(pem.as_bytes()).is_empty() && unpacking.left == most - file);
        // A damaged file is looked at as far as it goes.
        let whole = packed([pem.as_bytes(), &[0; 4096]].concat().as_slice());
        assert!(is_in(&whole[..whole.len() - 8]));
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
                assert!(are_in(&traces, bytes), "{}: {form}", key.form());
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
            let prefixed = |prefix: &str| {
                pem.lines().map(|line| format!("{prefix}{line}\n")).collect::<String>().replace("-----", "")
            };
            check("lines behind words", prefixed("// key: ").as_bytes(), false);
            check("lines behind numbers", prefixed("17 ").as_bytes(), false);
            check(
                "folded behind words",
                folded(&pem, 40).replace('\n', "\nx").replace("-----", "").as_bytes(),
                false,
            );
            check("C", listed(&der, |byte| format!("0x{byte:02x}")).as_bytes(), false);
            check("decimal numbers", listed(&der, u8::to_string).as_bytes(), false);
            check("dump", dumped(&der).as_bytes(), false);
            // Nobody else's key is this one.
            let others = other.to_pem();
            assert!(!are_in(&traces, others.as_bytes()) && !are_in(&traces, &other.pkcs8()));
            assert!(!are_in(&traces, STANDARD_NO_PAD.encode(others.as_bytes()).as_bytes()));
        }
        let text = seeded(&seed).to_pem();
        let traces = Traces::of(&seeded(&seed), text.as_bytes());
        assert!(
            are_in(&traces, &seed)
                && !are_in(&traces, b"")
                && !are_in(&traces, b"-----BEGIN PRIVATE KEY-----")
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
