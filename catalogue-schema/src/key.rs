//! Keys in their containers: SPKI and PKCS#8 in DER, under PEM or as hex; and the fingerprint that a key is known by.
//!
//! | what | form | DER bytes |
//! |---|---|---|
//! | Ed25519, public | `SubjectPublicKeyInfo` (RFC 8410), `PUBLIC KEY` | 44 |
//! | ML-DSA-87, public | `SubjectPublicKeyInfo` (RFC 9881), `PUBLIC KEY` | 2,614 |
//! | Ed25519, private | PKCS#8 (RFC 8410), `PRIVATE KEY` | 48, more with a public key inside |
//! | ML-DSA-87, private | PKCS#8 (RFC 9881), `PRIVATE KEY`: the seed (`[0]`), the expanded key (`04`) or both (`30`) | 54, 4,924, 4,962 |
//!
//! A public key is also read as hex, as publishers' records write it: 64 or 5,184 digits. A PEM file holds one block and nothing
//! else, in lines of 64 characters; a carriage return before the line feed is accepted. The parameters of both algorithm
//! identifiers are absent. What is written is read by OpenSSL and by Python's `cryptography`, and the other way round.
//!
//! Never computes with a key and never prints a private one: whether its halves fit each other is said by whoever signs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::digest::{hex, unhex};
use crate::error::ParseError;

mod der;

/// The largest file that is read as a key, in bytes: twice the largest form of ML-DSA-87 under PEM.
pub const KEY_FILE_BYTES_MAX: u64 = 16 << 10;
/// The bytes of a seed, from which a private key of either algorithm follows.
pub const SEED_BYTES: usize = 32;
/// The bytes of an expanded private key of ML-DSA-87 (FIPS 204, table 2).
pub const ML_DSA_87_EXPANDED_BYTES: usize = 4896;

/// The reason of a refusal: what should be a public key is none, or none that is known here.
pub const KEY: &str = "input.key";
/// The reason of a refusal: a private key lies where a public one should.
pub const PRIVATE_KEY: &str = "input.private_key";

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
/// The characters of a full line of PEM.
const LINE: usize = 64;

/// An algorithm of signatures.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum KeyAlgorithm {
    /// Ed25519 (RFC 8032), verified strictly.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ML-DSA-87 (FIPS 204), pure, with an empty context.
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [KeyAlgorithm; 2] = [KeyAlgorithm::Ed25519, KeyAlgorithm::MlDsa87];

    /// Returns the word for it, such as `ml-dsa-87`.
    pub fn name(self) -> &'static str {
        match self {
            KeyAlgorithm::Ed25519 => "ed25519",
            KeyAlgorithm::MlDsa87 => "ml-dsa-87",
        }
    }

    /// Reads the word for an algorithm, exactly as it is written here.
    ///
    /// **Errors**: `input.algorithm`.
    pub fn parse(text: &str) -> Result<KeyAlgorithm, ParseError> {
        let named = KeyAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        named.ok_or_else(|| ParseError::new("input.algorithm", "ed25519 or ml-dsa-87", text))
    }

    /// Returns the bytes of a public key.
    pub fn public_bytes(self) -> usize {
        match self {
            KeyAlgorithm::Ed25519 => 32,
            KeyAlgorithm::MlDsa87 => 2592,
        }
    }

    /// Returns the bytes of a signature.
    pub fn signature_bytes(self) -> usize {
        match self {
            KeyAlgorithm::Ed25519 => 64,
            KeyAlgorithm::MlDsa87 => 4627,
        }
    }

    /// Returns the content of its object identifier: 1.3.101.112, or 2.16.840.1.101.3.4.3.19.
    fn identifier(self) -> &'static [u8] {
        match self {
            KeyAlgorithm::Ed25519 => &[0x2b, 0x65, 0x70],
            KeyAlgorithm::MlDsa87 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13],
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What a key is known by: the SHA-256 of its `SubjectPublicKeyInfo`, whatever file or record it was read from.
///
/// **Shape**: `sha256:8f0c…` (64 lower-case hex digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads a fingerprint.
    ///
    /// **Errors**: `input.fingerprint`.
    pub fn parse(text: &str) -> Result<Fingerprint, ParseError> {
        let bytes = text.strip_prefix("sha256:").and_then(unhex).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Fingerprint)
            .ok_or_else(|| ParseError::new("input.fingerprint", "sha256: and 64 lower-case hex digits", text))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

crate::text_forms!(Fingerprint);

/// A public key: an algorithm and exactly as many bytes as its keys have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    bytes: Box<[u8]>,
}

impl PublicKey {
    /// Makes a key from its raw bytes.
    ///
    /// **Errors**: `input.key` for another length.
    pub fn from_bytes(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<PublicKey, ParseError> {
        let expected = algorithm.public_bytes();
        if bytes.len() != expected {
            let expected = format!("{expected} bytes of an {algorithm} key");
            return Err(ParseError::new(KEY, expected, format!("{} bytes", bytes.len())));
        }
        Ok(PublicKey { algorithm, bytes: bytes.into() })
    }

    /// Reads a key file: one PEM block, or hex digits.
    ///
    /// **Errors**: `input.private_key` where a private key lies there; `input.key`.
    pub fn parse(text: &[u8]) -> Result<PublicKey, ParseError> {
        let trimmed = text.trim_ascii();
        if !trimmed.is_empty() && trimmed.iter().all(u8::is_ascii_hexdigit) {
            return PublicKey::from_hex(std::str::from_utf8(trimmed).unwrap_or_default());
        }
        let (label, der) = pem(text)?;
        match label {
            PUBLIC => PublicKey::from_spki(&der),
            label if label.ends_with(PRIVATE) => Err(ParseError::new(
                PRIVATE_KEY,
                "a public key; write it with: resolverd keys public FILE",
                "a private key",
            )),
            label => Err(ParseError::new(KEY, "a block of PUBLIC KEY", label)),
        }
    }

    /// Reads the raw bytes as lower-case hex; how many there are says which algorithm they belong to.
    ///
    /// **Errors**: `input.key`.
    pub fn from_hex(text: &str) -> Result<PublicKey, ParseError> {
        let bytes = unhex(text).unwrap_or_default();
        match KeyAlgorithm::ALL.into_iter().find(|algorithm| algorithm.public_bytes() == bytes.len()) {
            Some(algorithm) => PublicKey::from_bytes(algorithm, &bytes),
            None => Err(ParseError::new(
                KEY,
                "64 lower-case hex digits of an ed25519 key, or 5184 of an ml-dsa-87 key",
                format!("{} characters", text.len()),
            )),
        }
    }

    /// Reads a `SubjectPublicKeyInfo` in DER.
    ///
    /// **Errors**: `input.key`.
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, ParseError> {
        let (identifier, bits) = der::public(der).ok_or_else(|| {
            ParseError::new(KEY, "a SubjectPublicKeyInfo in DER", format!("{} other bytes", der.len()))
        })?;
        PublicKey::from_bytes(algorithm(identifier)?, bits)
    }

    /// Returns the `SubjectPublicKeyInfo` in DER.
    pub fn spki(&self) -> Vec<u8> {
        der::write_public(self.algorithm.identifier(), &self.bytes)
    }

    /// Returns the key as a PEM file.
    pub fn to_pem(&self) -> String {
        to_pem(PUBLIC, &self.spki()).to_string()
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Returns the raw bytes as lower-case hex.
    pub fn to_hex(&self) -> String {
        hex(&self.bytes)
    }

    /// Returns the raw bytes, as many as the algorithm says.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(self.spki()).into())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.algorithm, self.fingerprint())
    }
}

/// The secret of a private key, as its file holds it. Wiped when it is dropped, and never printed.
#[derive(Clone)]
pub enum Secret {
    /// The seed of an Ed25519 key.
    Ed25519(Zeroizing<[u8; SEED_BYTES]>),
    /// The seed of an ML-DSA-87 key.
    MlDsa87Seed(Zeroizing<[u8; SEED_BYTES]>),
    /// The expanded ML-DSA-87 key alone; nobody can find its seed.
    MlDsa87Expanded(Zeroizing<Vec<u8>>),
    /// Both; whoever uses it refuses it where they do not belong together.
    MlDsa87Both(Zeroizing<[u8; SEED_BYTES]>, Zeroizing<Vec<u8>>),
}

/// A private key as its file holds it.
#[derive(Debug, Clone)]
pub struct PrivateKey {
    /// The secret.
    pub secret: Secret,
    /// The public key that lies beside it, in files that have one.
    pub public: Option<PublicKey>,
}

impl PrivateKey {
    /// Reads a key file: one PEM block of `PRIVATE KEY`. Attributes in it are ignored.
    ///
    /// **Errors**: `input.key`; nothing of a secret stands in them.
    pub fn parse(text: &[u8]) -> Result<PrivateKey, ParseError> {
        let (label, der) = pem(text)?;
        match label {
            PRIVATE => PrivateKey::from_pkcs8(&der),
            "ENCRYPTED PRIVATE KEY" => {
                let expected = "a private key without a password; openssl pkcs8 takes it off";
                Err(ParseError::new(KEY, expected, label))
            }
            label => Err(ParseError::new(KEY, "a block of PRIVATE KEY", label)),
        }
    }

    /// Reads a PKCS#8 structure in DER, version 1 or 2.
    ///
    /// **Errors**: `input.key`.
    pub fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, ParseError> {
        let refused = |expected: &str| ParseError::new(KEY, expected, format!("{} other bytes", der.len()));
        let read = der::private(der).ok_or_else(|| refused("a private key of PKCS#8 in DER"))?;
        let algorithm = algorithm(read.identifier)?;
        let secret = secret(algorithm, read.secret)
            .ok_or_else(|| refused(&format!("the secret of an {algorithm} key in a form of its RFC")))?;
        let public = read.public.map(|bits| PublicKey::from_bytes(algorithm, bits)).transpose()?;
        Ok(PrivateKey { secret, public })
    }

    /// Returns the PKCS#8 structure in DER: version 1, without the public key.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(match &self.secret {
            Secret::Ed25519(seed) => der::octets(seed.as_slice()),
            Secret::MlDsa87Seed(seed) => der::seed(seed.as_slice()),
            Secret::MlDsa87Expanded(expanded) => der::octets(expanded),
            Secret::MlDsa87Both(seed, expanded) => der::both(seed.as_slice(), expanded),
        });
        Zeroizing::new(der::write_private(self.algorithm().identifier(), &secret))
    }

    /// Returns the key as a PEM file.
    pub fn to_pem(&self) -> Zeroizing<String> {
        to_pem(PRIVATE, &self.pkcs8())
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.secret {
            Secret::Ed25519(_) => KeyAlgorithm::Ed25519,
            _ => KeyAlgorithm::MlDsa87,
        }
    }

    /// Returns the word for the form that the file has: `seed`, `expanded` or `both`.
    pub fn form(&self) -> &'static str {
        match self.secret {
            Secret::Ed25519(_) | Secret::MlDsa87Seed(_) => "seed",
            Secret::MlDsa87Expanded(_) => "expanded",
            Secret::MlDsa87Both(..) => "both",
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

fn secret(algorithm: KeyAlgorithm, der: &[u8]) -> Option<Secret> {
    let seed = |bytes: &[u8]| Some(Zeroizing::new(<[u8; SEED_BYTES]>::try_from(bytes).ok()?));
    let expanded =
        |bytes: &[u8]| (bytes.len() == ML_DSA_87_EXPANDED_BYTES).then(|| Zeroizing::new(bytes.to_vec()));
    Some(match (algorithm, der::secret(der)?) {
        (KeyAlgorithm::Ed25519, der::Secret::Octets(bytes)) => Secret::Ed25519(seed(bytes)?),
        (KeyAlgorithm::Ed25519, _) => return None,
        (KeyAlgorithm::MlDsa87, der::Secret::Seed(bytes)) => Secret::MlDsa87Seed(seed(bytes)?),
        (KeyAlgorithm::MlDsa87, der::Secret::Octets(bytes)) => Secret::MlDsa87Expanded(expanded(bytes)?),
        (KeyAlgorithm::MlDsa87, der::Secret::Both(one, other)) => {
            Secret::MlDsa87Both(seed(one)?, expanded(other)?)
        }
    })
}

fn algorithm(identifier: &[u8]) -> Result<KeyAlgorithm, ParseError> {
    let known = KeyAlgorithm::ALL.into_iter().find(|algorithm| algorithm.identifier() == identifier);
    known.ok_or_else(|| {
        let found = format!("a key of another algorithm (object identifier {})", hex(identifier));
        ParseError::new(KEY, "a key of ed25519 or ml-dsa-87, without parameters", found)
    })
}

/// Returns the label and the bytes of a text that is one PEM block and nothing else.
fn pem(text: &[u8]) -> Result<(&str, Zeroizing<Vec<u8>>), ParseError> {
    let refused = |found: &str| {
        ParseError::new(KEY, "one PEM block and nothing else, in lines of 64 characters", found)
    };
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(refused(&format!("{} bytes", text.len())));
    }
    let text = std::str::from_utf8(text).map_err(|_| refused("bytes that are no text"))?;
    let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let mut next = || lines.next().map(|line| line.strip_suffix('\r').unwrap_or(line));
    let first = next().unwrap_or_default();
    let label = first.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
    // What stands there may be a secret, so it is not shown.
    let label = label.ok_or_else(|| refused("something else on the first line"))?;
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    let mut is_last = false;
    let end = loop {
        match next() {
            Some(line) if line.starts_with("-----") => break line,
            Some(line) if !is_last && !line.is_empty() && line.len() <= LINE => {
                is_last = line.len() < LINE;
                body.push_str(line);
            }
            _ => return Err(refused("a line of another length, or no end")),
        }
    };
    let is_closed = end.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----")) == Some(label);
    if !is_closed || next().is_some() {
        return Err(refused("another end, or something behind it"));
    }
    let bytes = STANDARD.decode(body.as_bytes()).map_err(|_| refused("lines that are no base64"))?;
    Ok((label, Zeroizing::new(bytes)))
}

fn to_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests;
