//! Content digests in every published spelling, compared as bytes, printed one way.
//!
//! Read: `sha256:<hex>`, `sha256-<hex>`, `sha256-<base64>` (padded, or the URL alphabet without padding) and bare hex,
//! which means SHA-256; the same with `sha512` and `sha3-256`. Hex is lower case. Printed: `sha256:<hex>`.
//! The algorithm always comes from the text that is trusted, never from the bytes that are checked.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use sha3::Sha3_256;
use sha3::digest::{FixedOutput as _, Update as _};

use crate::error::ParseError;
use crate::pace;

/// A digest algorithm that pins may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4), 32 bytes.
    Sha256,
    /// SHA-512 (FIPS 180-4), 64 bytes.
    Sha512,
    /// SHA3-256 (FIPS 202), 32 bytes: what eStream archives are signed by.
    Sha3_256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha3_256];

    /// Returns the name used in digests, such as `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Sha3_256 => "sha3-256",
        }
    }

    /// Returns the length of a digest in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Sha3_256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// Splits a text into the algorithm that it starts with, the sign behind that, and the rest.
    fn split(text: &str) -> Option<(Algorithm, char, &str)> {
        Algorithm::ALL.into_iter().find_map(|algorithm| {
            let rest = text.strip_prefix(algorithm.name())?;
            let sign = rest.chars().next().filter(|sign| matches!(sign, ':' | '-'))?;
            Some((algorithm, sign, &rest[1..]))
        })
    }
}

/// The digest of some bytes.
///
/// **Shape**: `sha256:9f86d081…` (lower-case hex).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Bytes);

/// The bytes by algorithm, in the order of [`Algorithm`]. The usual ones stand in place: a daemon holds many digests per release.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Bytes {
    Sha256([u8; 32]),
    Sha512(Box<[u8; 64]>),
    Sha3([u8; 32]),
}

impl Digest {
    /// Returns the SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Digest {
        let mut hasher = Sha256::new();
        pace::pieces(content).for_each(|piece| hasher.update(piece));
        Digest::from_sha256(hasher.finalize().into())
    }

    /// Returns a SHA-256 digest that was computed elsewhere, piece by piece.
    pub fn from_sha256(bytes: [u8; 32]) -> Digest {
        Digest(Bytes::Sha256(bytes))
    }

    /// Returns the digest of `content` under `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Digest {
        match algorithm {
            Algorithm::Sha256 => Digest::sha256(content),
            Algorithm::Sha512 => Digest(Bytes::Sha512(Box::new(Sha512::digest(content).into()))),
            Algorithm::Sha3_256 => {
                let mut hasher = Sha3_256::default();
                hasher.update(content);
                Digest(Bytes::Sha3(hasher.finalize_fixed().into()))
            }
        }
    }

    /// Reads a digest in any published spelling.
    ///
    /// **Errors**: `input.digest` for an unknown algorithm, another length, upper-case hex, or bytes that are neither
    /// hex nor base64.
    pub fn parse(text: &str) -> Result<Digest, ParseError> {
        // The forms that nearly all of them have.
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(digits) = <&[u8; 64]>::try_from(digits.as_bytes())
            && let Some(bytes) = unhex_32(digits)
        {
            return Ok(Digest::from_sha256(bytes));
        }
        let refused = || {
            ParseError::new(
                "input.digest",
                "a digest such as sha256:<64 hex>, sha256-<base64> or 64 hex digits",
                text,
            )
        };
        let (algorithm, hex_only, value) = match Algorithm::split(text) {
            Some((algorithm, sign, value)) => (algorithm, sign == ':', value),
            None => (Algorithm::Sha256, true, text),
        };
        let bytes = match unhex(value) {
            Some(bytes) if bytes.len() == algorithm.bytes() => bytes,
            _ if hex_only => return Err(refused()),
            _ => unbase64(value).ok_or_else(refused)?,
        };
        let bytes = match algorithm {
            Algorithm::Sha256 => bytes.try_into().map(Bytes::Sha256),
            Algorithm::Sha512 => bytes.try_into().map(|bytes| Bytes::Sha512(Box::new(bytes))),
            Algorithm::Sha3_256 => bytes.try_into().map(Bytes::Sha3),
        };
        bytes.map(Digest).map_err(|_| refused())
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Bytes::Sha256(_) => Algorithm::Sha256,
            Bytes::Sha512(_) => Algorithm::Sha512,
            Bytes::Sha3(_) => Algorithm::Sha3_256,
        }
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Sha256(bytes) | Bytes::Sha3(bytes) => bytes,
            Bytes::Sha512(bytes) => &**bytes,
        }
    }

    fn text(&self) -> String {
        let mut text = Vec::with_capacity(self.algorithm().name().len() + 1 + 2 * self.as_bytes().len());
        self.write(&mut text);
        String::from_utf8(text).expect("a name, a colon and digits are text")
    }

    /// Writes its text.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.algorithm().name().as_bytes());
        out.push(b':');
        push_hex(out, self.as_bytes());
    }

    /// Returns the lower-case hex digits without the algorithm.
    pub fn hex(&self) -> String {
        hex(self.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The digests that a document must have, all of them: mostly one, which stands in place.
///
/// **Shape**: a list of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Digest>", into = "Vec<Digest>")]
pub struct Digests(Few);

/// How many there are; a list of one is always `One`, so that equal lists are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Few {
    #[default]
    None,
    One(Digest),
    Many(Vec<Digest>),
}

impl Deref for Digests {
    type Target = [Digest];

    fn deref(&self) -> &[Digest] {
        match &self.0 {
            Few::None => &[],
            Few::One(digest) => std::slice::from_ref(digest),
            Few::Many(digests) => digests,
        }
    }
}

impl From<Option<Digest>> for Digests {
    fn from(digest: Option<Digest>) -> Digests {
        Digests(digest.map_or(Few::None, Few::One))
    }
}

impl From<Vec<Digest>> for Digests {
    fn from(mut digests: Vec<Digest>) -> Digests {
        match digests.len() {
            0 | 1 => digests.pop().into(),
            _ => Digests(Few::Many(digests)),
        }
    }
}

impl From<Digests> for Vec<Digest> {
    fn from(digests: Digests) -> Vec<Digest> {
        match digests.0 {
            Few::None => Vec::new(),
            Few::One(digest) => vec![digest],
            Few::Many(digests) => digests,
        }
    }
}

/// Returns lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(2 * bytes.len());
    push_hex(&mut digits, bytes);
    String::from_utf8(digits).expect("digits are text")
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    let digits = out.get_mut(start..).unwrap_or_default();
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

/// Bytes with the SHA-256 digest that was computed over them: there is no other way to make one, so that nobody who is handed
/// these has to compute it again. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Hashed {
    bytes: Arc<Vec<u8>>,
    /// Which of them.
    range: Range<usize>,
    digest: Digest,
}

impl Hashed {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: Vec<u8>) -> Hashed {
        Hashed { digest: Digest::sha256(&bytes), range: 0..bytes.len(), bytes: Arc::new(bytes) }
    }

    /// Computes the digest of a part of `bytes`, all of which stay in memory as long as the part; of nothing where they do not reach
    /// that far.
    pub fn part(bytes: Arc<Vec<u8>>, range: Range<usize>) -> Hashed {
        let part = bytes.get(range.clone());
        Hashed { digest: Digest::sha256(part.unwrap_or_default()), range, bytes }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    /// Returns the bytes alone; a copy of them where somebody else has them as well.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.range != (0..self.bytes.len()) {
            return self.bytes().to_vec();
        }
        Arc::unwrap_or_clone(self.bytes)
    }

    /// Returns them without the bytes around them.
    pub fn alone(self) -> Hashed {
        let digest = self.digest.clone();
        let bytes = self.into_bytes();
        Hashed { range: 0..bytes.len(), bytes: Arc::new(bytes), digest }
    }

    /// Returns their SHA-256 digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl PartialEq for Hashed {
    fn eq(&self, other: &Hashed) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Hashed {}

fn unhex_32(digits: &[u8; 64]) -> Option<[u8; 32]> {
    // All digits are read before any is judged, without a branch and without a table: so the compiler reads many at once.
    let (mut values, mut is_wrong) = ([0; 64], false);
    for (value, digit) in values.iter_mut().zip(digits) {
        let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
        *value = if number < 10 { number } else { letter.wrapping_add(10) };
        is_wrong |= (number >= 10) & (letter >= 6);
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(values.as_chunks::<2>().0) {
        *byte = high << 4 | low;
    }
    (!is_wrong).then_some(bytes)
}

/// Returns the value of a lower-case hex digit.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Tells whether a text is lower-case hex and nothing else.
pub fn is_hex(text: &str) -> bool {
    // Without a branch, so that many are looked at at once.
    text.bytes().fold(true, |is_hex, digit| {
        is_hex & ((digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6))
    })
}

/// Reads lower-case hex; `None` for an odd length, upper case or any other character.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    // Collecting options would grow the bytes step by step; digests are read too often for that.
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(bytes)
}

/// Reads padded base64 in either alphabet, or the URL alphabet without padding; unused bits must be zero.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}

crate::text_forms!(Digest; text);

#[cfg(test)]
mod tests;
