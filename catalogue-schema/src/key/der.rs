//! The few shapes of DER that keys have (X.690): definite lengths in their shortest form, known tags, nothing left over.
//!
//! Never decodes what it does not know, and never copies.

const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[0]`, primitive: the seed of ML-DSA.
const SEED: u8 = 0x80;
/// `[0]`, constructed: attributes of PKCS#8.
const ATTRIBUTES: u8 = 0xa0;
/// `[1]`, primitive: the public key of PKCS#8 version 2.
const PUBLIC: u8 = 0x81;

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Takes the next value, which must have `tag`.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        if *first != tag || length > rest.len() {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some(content)
    }

    /// Takes the next value where it has `tag`; `None` where what stands there cannot be read.
    fn maybe(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        match self.0.first() == Some(&tag) {
            true => self.take(tag).map(Some),
            false => Some(None),
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Reads a length of at most two bytes in its shortest form.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=0x7f, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, one @ 0x80..=0xff, rest @ ..] => Some((usize::from(*one), rest)),
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            Some((usize::from(u16::from_be_bytes([*high, *low])), rest))
        }
        _ => None,
    }
}

/// Takes an algorithm identifier without parameters.
fn identifier<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let mut inner = Reader(reader.take(SEQUENCE)?);
    let identifier = inner.take(OBJECT_IDENTIFIER)?;
    inner.end()?;
    Some(identifier)
}

/// Returns the bits behind their count of unused ones, which must be none.
fn whole(bits: &[u8]) -> Option<&[u8]> {
    bits.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

/// Returns the object identifier and the key of a `SubjectPublicKeyInfo`.
pub(super) fn public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader(der);
    let mut inner = Reader(outer.take(SEQUENCE)?);
    outer.end()?;
    let identifier = identifier(&mut inner)?;
    let key = whole(inner.take(BIT_STRING)?)?;
    inner.end()?;
    Some((identifier, key))
}

/// A `OneAsymmetricKey` (RFC 5958).
pub(super) struct Private<'a> {
    pub(super) identifier: &'a [u8],
    pub(super) secret: &'a [u8],
    pub(super) public: Option<&'a [u8]>,
}

/// Reads a private key of version 1, or of version 2, which alone may hold a public key.
pub(super) fn private(der: &[u8]) -> Option<Private<'_>> {
    let mut outer = Reader(der);
    let mut inner = Reader(outer.take(SEQUENCE)?);
    outer.end()?;
    let is_second = match inner.take(INTEGER)? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let identifier = identifier(&mut inner)?;
    let secret = inner.take(OCTET_STRING)?;
    inner.maybe(ATTRIBUTES)?;
    let public = if is_second { inner.maybe(PUBLIC)? } else { None };
    inner.end()?;
    let public = match public {
        Some(bits) => Some(whole(bits)?),
        None => None,
    };
    Some(Private { identifier, secret, public })
}

/// The forms of a secret.
pub(super) enum Secret<'a> {
    /// An octet string: the seed of Ed25519, the expanded key of ML-DSA.
    Octets(&'a [u8]),
    /// The seed of ML-DSA.
    Seed(&'a [u8]),
    /// Seed and expanded key of ML-DSA.
    Both(&'a [u8], &'a [u8]),
}

/// Reads the secret of a private key by its tag.
pub(super) fn secret(der: &[u8]) -> Option<Secret<'_>> {
    let mut reader = Reader(der);
    let secret = match *der.first()? {
        OCTET_STRING => Secret::Octets(reader.take(OCTET_STRING)?),
        SEED => Secret::Seed(reader.take(SEED)?),
        SEQUENCE => {
            let mut inner = Reader(reader.take(SEQUENCE)?);
            let both = Secret::Both(inner.take(OCTET_STRING)?, inner.take(OCTET_STRING)?);
            inner.end()?;
            both
        }
        _ => return None,
    };
    reader.end()?;
    Some(secret)
}

fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 4);
    out.push(tag);
    match u16::try_from(length).expect("keys are shorter than 64 KiB").to_be_bytes() {
        [0, short @ 0..=0x7f] => out.push(short),
        [0, one] => out.extend([0x81, one]),
        [high, low] => out.extend([0x82, high, low]),
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn algorithm(identifier: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&value(OBJECT_IDENTIFIER, &[identifier])])
}

pub(super) fn write_public(identifier: &[u8], key: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&algorithm(identifier), &value(BIT_STRING, &[&[0], key])])
}

/// Writes a private key of version 1 around its encoded secret.
pub(super) fn write_private(identifier: &[u8], secret: &[u8]) -> Vec<u8> {
    let wrapped = zeroize::Zeroizing::new(octets(secret));
    value(SEQUENCE, &[&value(INTEGER, &[&[0]]), &algorithm(identifier), &wrapped])
}

pub(super) fn octets(bytes: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, &[bytes])
}

pub(super) fn seed(seed: &[u8]) -> Vec<u8> {
    value(SEED, &[seed])
}

pub(super) fn both(seed: &[u8], expanded: &[u8]) -> Vec<u8> {
    let (seed, expanded) = (zeroize::Zeroizing::new(octets(seed)), zeroize::Zeroizing::new(octets(expanded)));
    value(SEQUENCE, &[&seed, &expanded])
}
