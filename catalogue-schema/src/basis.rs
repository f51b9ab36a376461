//! What made a release, as a digest: everything that its reader was given besides the commit at which its document was asked
//! for. Releases with the same basis are the same, so that a sync takes one over instead of reading its document again.
//!
//! Never proves bytes: it names the digest that its document had, and whoever takes a release over must have been promised that
//! digest and hold the document. Says nothing to other machines; no answer shows it.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, hex, unhex};
use crate::error::ParseError;
use crate::version::Version;

/// How many bytes of the SHA-256 digest count.
const BYTES: usize = 16;

/// The digest of what made a release.
///
/// **Shape**: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Basis([u8; BYTES]);

impl Basis {
    /// Reads the hex digits.
    ///
    /// **Errors**: `input.basis`.
    pub fn parse(text: &str) -> Result<Basis, ParseError> {
        let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Basis).ok_or_else(|| ParseError::new("input.basis", "32 lower-case hex digits", text))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Takes bytes for a basis.
    pub fn from_bytes(bytes: [u8; BYTES]) -> Basis {
        Basis(bytes)
    }
}

/// What a basis is made of, part by part. Each part says how long it is, so that no two lists of parts look alike.
pub(crate) struct Parts {
    bytes: Vec<u8>,
    /// How many of them are of what releases share.
    shared: usize,
}

/// A digest that has taken in what the last bases began with: what the releases of a catalogue share is hashed once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun {
    shared: Vec<u8>,
    state: Sha256,
    /// Where the next parts are put together.
    room: Vec<u8>,
}

impl Parts {
    /// Starts with what the parts are and who reads them.
    pub(crate) fn of(reader: &str, revision: u32, begun: &mut Begun) -> Parts {
        let mut parts = Parts { bytes: std::mem::take(&mut begun.room), shared: 0 };
        parts.bytes.clear();
        parts.text(env!("CARGO_PKG_VERSION"));
        parts.text(reader);
        parts.number(u64::from(revision));
        parts
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn version(&mut self, version: &Version) {
        let mut text = Vec::with_capacity(32);
        version.write(&mut text);
        self.bytes(&text);
    }

    /// Adds a number in as few bytes as it needs, of seven bits each; all but the last have their highest bit set.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    pub(crate) fn digest(&mut self, digest: &Digest) {
        self.text(digest.algorithm().name());
        self.bytes(digest.as_bytes());
    }

    /// Adds what may be missing: nothing and an empty text are different parts.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, add: impl FnOnce(&mut Parts, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            add(self, value);
        }
    }

    /// Adds what may be missing, or be what a part before it is.
    pub(crate) fn maybe_same(&mut self, value: Option<&str>, before: Option<&str>) {
        match value.is_some() && value == before {
            true => self.number(2),
            false => self.maybe(value, Parts::text),
        }
    }

    pub(crate) fn each<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut add: impl FnMut(&mut Parts, T),
    ) {
        self.number(values.len() as u64);
        for value in values {
            add(self, value);
        }
    }

    pub(crate) fn value(&mut self, value: &Value) {
        self.text(&value.to_string());
    }

    /// Ends what many releases share.
    pub(crate) fn shared_so_far(&mut self) {
        self.shared = self.bytes.len();
    }

    pub(crate) fn basis(self, begun: &mut Begun) -> Basis {
        let (shared, own) = self.bytes.split_at(self.shared);
        if begun.shared != shared {
            (begun.shared, begun.state) = (shared.to_vec(), Sha256::new_with_prefix(shared));
        }
        let whole: [u8; 32] = begun.state.clone().chain_update(own).finalize().into();
        begun.room = self.bytes;
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&whole[..BYTES]);
        Basis(bytes)
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Basis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

crate::text_forms!(Basis);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = match std::str::from_utf8(&[b'l'; 300]) {
        Ok(text) => text,
        Err(_) => "",
    };

    fn of(add: impl FnOnce(&mut Parts)) -> Basis {
        by("a reader", 1, add, &mut Begun::default())
    }

    fn by(reader: &str, revision: u32, add: impl FnOnce(&mut Parts), begun: &mut Begun) -> Basis {
        let mut parts = Parts::of(reader, revision, begun);
        add(&mut parts);
        parts.basis(begun)
    }

    #[test]
    fn what_is_shared_is_hashed_like_the_rest() {
        let mut begun = Begun::default();
        // More than a block of the digest, and then another beginning.
        for (shared, own) in [("s".repeat(100), "a"), ("s".repeat(100), "b"), ("t".to_owned(), "b")] {
            let parts = |is_shared: bool| {
                let (shared, own) = (shared.clone(), own);
                move |parts: &mut Parts| {
                    parts.text(&shared);
                    if is_shared {
                        parts.shared_so_far();
                    }
                    parts.text(own);
                }
            };
            assert_eq!(by("a reader", 1, parts(true), &mut begun), of(parts(false)), "{own}");
        }
    }

    #[test]
    fn different_parts_have_different_bases() {
        let text = |text| move |parts: &mut Parts| parts.maybe(text, Parts::text);
        let texts = |texts: &'static [&'static str]| {
            move |parts: &mut Parts| parts.each(texts.iter(), |parts, text| parts.text(text))
        };
        let bases = [
            of(|_| ()),
            by("a reader", 2, |_| (), &mut Begun::default()),
            by("another", 1, |_| (), &mut Begun::default()),
            of(text(None)),
            of(text(Some(""))),
            of(text(Some("a"))),
            of(text(Some(&LONG[..127]))),
            of(text(Some(&LONG[..128]))),
            of(text(Some(LONG))),
            of(|parts| parts.maybe_same(Some("b"), Some("b"))),
            of(|parts| parts.maybe_same(Some("b"), Some("c"))),
            of(texts(&["ab", "c"])),
            of(texts(&["a", "bc"])),
            of(texts(&["abc"])),
            of(|parts| parts.value(&Value::from("1"))),
            of(|parts| parts.value(&Value::from(1))),
            of(|parts| parts.digest(&Digest::sha256(b""))),
            of(|parts| parts.number(0x7f)),
            of(|parts| parts.number(0x80)),
            of(|parts| parts.number(0x3fff)),
            of(|parts| parts.number(0x4000)),
            of(|parts| parts.number(u64::MAX)),
            of(|parts| [0x7f, 1].into_iter().for_each(|number| parts.number(number))),
        ];
        for (at, one) in bases.iter().enumerate() {
            assert!(bases[..at].iter().all(|other| other != one), "{at}");
            assert_eq!(Basis::parse(&one.to_string()), Ok(*one));
        }
        for text in ["", "00", &"0".repeat(31), &"A".repeat(32), &"0".repeat(64)] {
            assert!(Basis::parse(text).is_err(), "{text}");
        }
    }
}
