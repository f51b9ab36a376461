//! The rows of the index: their keys and values as bytes. Never touches a disk.
//!
//! - key: the component's id, a zero byte, the number (u64, big endian) of the generation in which it changed. Ids hold
//!   no zero byte, so rows of one id stand together, oldest first.
//! - value: `[schema u16][crc32 u32][kind u8][payload]`, big endian; the checksum covers kind and payload.
//!   Kind 0: the packed component, as a snapshot holds it. Kind 1: what stands for that block, which lies on the shelf under this
//!   name. Kind 2: the id is gone.
//!
//! # What stands for a block
//! [`Seal::of`]: SHA-256 over what stands before its releases (see [`catalogue_schema::packed`]), then each release that is refused,
//! has a warning or hides something, then the checksum of a row that holds the block (u32) and the length of the block (u64).
//!
//! Before the releases stands [`Packed::says`], a SHA-256 over what decides their answers, with the places of all parts: blocks that
//! differ in what they say, a copy from an earlier generation and the block of another id have other digests. What is left are the
//! places of local repositories, bases and damage, and all of these change the checksum but for one time in four billions. Damage of
//! a row has to get past the engine first, which has a checksum of its own over every page. It is no guard against somebody who writes into the state directory, and need be none: whoever can do so can write the root digest too.

use catalogue_schema::digest::Digest;
use catalogue_schema::packed::Packed;
use sha2::{Digest as _, Sha256};

/// How rows are written; another number means that the index is built anew.
pub(super) const ROW_SCHEMA: u16 = 6;
/// Longer payloads lie on the shelf. What lies here answers also where the shelf is lost.
pub(super) const INLINE_BYTES_MAX: usize = 16 * 1024;

const HEAD_BYTES: usize = 7;
/// The kinds of rows.
const INLINE: u8 = 0;
const SHELVED: u8 = 1;
const GONE: u8 = 2;

/// What stands for a packed component.
#[derive(Debug)]
pub(super) struct Seal {
    /// Equal where the blocks are.
    pub(super) digest: Digest,
    /// The checksum of a row that holds it.
    sum: u32,
}

impl Seal {
    /// Returns what stands for a packed component.
    pub(super) fn of(packed: &Packed) -> Seal {
        Seal::summed(packed, checksum(INLINE, packed.as_bytes()))
    }

    /// Returns what stands for a packed component with this checksum.
    pub(super) fn summed(packed: &Packed, sum: u32) -> Seal {
        Seal { digest: digest(packed, sum), sum }
    }
}

fn digest(packed: &Packed, sum: u32) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(packed.front());
    packed.all().filter_map(|listed| listed.unsaid()).for_each(|release| hasher.update(release));
    hasher.update(sum.to_be_bytes());
    hasher.update((packed.as_bytes().len() as u64).to_be_bytes());
    Digest::from_sha256(hasher.finalize().into())
}

/// What a row says about its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row<'a> {
    /// The packed component, and the checksum of the row.
    Inline(&'a [u8], u32),
    /// The packed component is on the shelf; this stands for it.
    Shelved(Digest),
    /// The id is gone.
    Gone,
}

impl<'a> Row<'a> {
    /// Returns the row of a packed component.
    pub(super) fn of(packed: &'a Packed, seal: &Seal) -> Row<'a> {
        match packed.as_bytes().len() <= INLINE_BYTES_MAX {
            true => Row::Inline(packed.as_bytes(), seal.sum),
            false => Row::Shelved(seal.digest.clone()),
        }
    }

    /// Returns the value that is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        self.write(&mut value);
        value
    }

    /// Writes the value that is stored in the place of what is in `value`.
    pub(super) fn write(&self, value: &mut Vec<u8>) {
        let (kind, payload, sum) = match self {
            Row::Inline(block, sum) => (INLINE, *block, *sum),
            Row::Shelved(digest) => (SHELVED, digest.as_bytes(), checksum(SHELVED, digest.as_bytes())),
            Row::Gone => (GONE, [].as_slice(), checksum(GONE, &[])),
        };
        value.clear();
        value.reserve(HEAD_BYTES + payload.len());
        value.extend(ROW_SCHEMA.to_be_bytes());
        value.extend(sum.to_be_bytes());
        value.push(kind);
        value.extend(payload);
    }

    /// Reads a stored value; the error says what is wrong with it.
    pub(super) fn decode(value: &'a [u8]) -> Result<Row<'a>, String> {
        let Some((head, payload)) = value.split_first_chunk::<HEAD_BYTES>() else {
            return Err(format!("a row of {} bytes", value.len()));
        };
        let [schema @ .., s0, s1, s2, s3, kind] = *head;
        let (schema, sum) = (u16::from_be_bytes(schema), u32::from_be_bytes([s0, s1, s2, s3]));
        if schema != ROW_SCHEMA {
            return Err(format!("rows of schema {schema}, this program reads {ROW_SCHEMA}"));
        }
        if crc32fast::hash(&value[6..]) != sum {
            return Err("a row with a wrong checksum".into());
        }
        match (kind, payload.len()) {
            (INLINE, 1..=INLINE_BYTES_MAX) => Ok(Row::Inline(payload, sum)),
            (SHELVED, 32) => {
                let bytes = payload.try_into().map_err(|_| "a digest of another length".to_owned())?;
                Ok(Row::Shelved(Digest::from_sha256(bytes)))
            }
            (GONE, 0) => Ok(Row::Gone),
            (kind, length) => Err(format!("a row of kind {kind} with {length} bytes")),
        }
    }
}

/// Returns the checksum of a row.
fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// Returns a value with the schema and the checksum that its kind and payload should have.
pub(super) fn sealed(value: &[u8]) -> Vec<u8> {
    let mut sealed = value.to_vec();
    if let Some((head, rest)) = sealed.split_first_chunk_mut::<6>() {
        let [schema @ .., _, _, _, _] = head;
        *schema = ROW_SCHEMA.to_be_bytes();
        head[2..].copy_from_slice(&crc32fast::hash(rest).to_be_bytes());
    }
    sealed
}

/// Returns the key of `id`'s row of a generation.
pub(super) fn key(id: &str, generation: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(id.len() + 9);
    key.extend(id.as_bytes());
    key.push(0);
    key.extend(generation.to_be_bytes());
    key
}

/// Reads a key: the id and the generation.
pub(super) fn read_key(key: &[u8]) -> Option<(&str, u64)> {
    let (id, generation) = key.split_last_chunk::<8>()?;
    let id = std::str::from_utf8(id.strip_suffix(&[0])?).ok()?;
    (!id.is_empty() && !id.contains('\0')).then_some((id, u64::from_be_bytes(*generation)))
}

/// The digest over the digests of the components of a generation, fed in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Root(Sha256);

impl Root {
    /// Takes the next component in.
    pub(super) fn add(&mut self, id: &[u8], block: &Digest) {
        self.0.update(id);
        self.0.update([0]);
        self.0.update(block.as_bytes());
    }

    /// Returns the digest.
    pub(super) fn finish(self) -> Digest {
        Digest::from_sha256(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: &Row<'_>) {
        let value = row.encode();
        assert_eq!(Row::decode(&value).as_ref(), Ok(row));
        for at in 0..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 1;
            assert!(Row::decode(&bad).is_err(), "byte {at} of {row:?}");
            assert!(Row::decode(&value[..at]).is_err(), "cut at {at} of {row:?}");
        }
    }

    #[test]
    fn rows_are_read_as_written_and_damage_is_noticed() {
        for row in
            [Row::Inline(b"{}", checksum(INLINE, b"{}")), Row::Shelved(Digest::sha256(b"x")), Row::Gone]
        {
            check(&row);
        }
    }

    #[test]
    fn keys_of_one_id_stand_together() {
        let ids = ["lcod://a/b", "lcod://a/b-c", "lcod://a/b.c"];
        let mut keys: Vec<_> = ids.iter().flat_map(|id| [256, 1, u64::MAX].map(|n| key(id, n))).collect();
        keys.sort();
        let read: Vec<_> = keys.iter().map(|key| read_key(key).unwrap_or_default()).collect();
        assert!(
            read.is_sorted() && read.iter().all(|(id, number)| ids.contains(id) && *number > 0),
            "{read:?}"
        );
        for bad in [&b""[..], b"12345678", b"\x0012345678", b"a12345678"] {
            assert_eq!(read_key(bad), None);
        }
    }
}
