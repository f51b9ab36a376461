//! A pack as it came from another machine: taken apart in memory, within bounds, and every object named by its own hash.
//!
//! Never read by libgit2: a pack of 16 kB made its indexer take 2.1 GB. Sizes are checked before anything is inflated, offsets
//! before they are used; deltas stand on objects of the same pack only. The checksum at the end is not compared: each object is
//! proven by its id, which is what was asked for. Never writes, never keeps a part of a pack that is wrong elsewhere.
//! **Source**: git's `Documentation/gitformat-pack.adoc`.

use std::collections::HashMap;
use std::rc::Rc;

use flate2::{Decompress, FlushDecompress, Status};

use crate::fetch::git::object_id;
use crate::fetch::loose;
use crate::fetch::object::{Kind, ObjectId};
use crate::fetch::pack::{Cursor, DELTA_LEVELS_MAX, PackError};

/// The checksum at the end.
const CHECKSUM_BYTES: usize = 20;
/// More than this cannot come out of one byte of a zlib stream.
const INFLATION_MAX: u64 = 1040;
/// How much of a stream is inflated at once where the result is thrown away, in bytes.
const SKIPPED_BYTES: usize = 64 << 10;

/// Why nothing of a pack is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceivedError {
    /// It is no pack, or not a sound one.
    #[error("{0}")]
    Bad(String),
    /// It holds more than the bounds allow; fewer objects at once may fit.
    #[error("more than {0} bytes, inflated")]
    Costly(u64),
}

impl From<PackError> for ReceivedError {
    fn from(error: PackError) -> ReceivedError {
        ReceivedError::Bad(error.to_string())
    }
}

fn bad(found: &str) -> ReceivedError {
    ReceivedError::Bad(found.to_owned())
}

/// What one pack may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many objects.
    pub(super) objects_max: usize,
    /// The largest object whose content is kept, in bytes.
    pub(super) object_bytes_max: u64,
    /// How much is inflated in all, in bytes.
    pub(super) inflated_bytes_max: u64,
}

/// One object, named by its hash.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
    pub(super) bytes: Rc<[u8]>,
}

/// What a pack held.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// The objects.
    pub(super) objects: Vec<Received>,
    /// The sizes of objects that are too large to keep, and so have no names.
    pub(super) oversized: Vec<u64>,
}

/// Takes a pack apart.
pub(super) fn unpack(pack: &[u8], bounds: Bounds) -> Result<Unpacked, ReceivedError> {
    let Some((body, _)) = pack.len().checked_sub(CHECKSUM_BYTES).map(|end| pack.split_at(end)) else {
        return Err(bad("no pack"));
    };
    let Some((head, _)) = body.split_first_chunk::<12>() else { return Err(bad("no pack")) };
    if !matches!(&head[..8], b"PACK\0\0\0\x02" | b"PACK\0\0\0\x03") {
        return Err(bad("no pack of version 2 or 3"));
    }
    let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    if count > bounds.objects_max {
        return Err(ReceivedError::Bad(format!(
            "{count} objects, where {} were asked for",
            bounds.objects_max
        )));
    }
    let mut unpacking = Unpacking {
        body,
        bounds,
        inflated: 0,
        at: HashMap::new(),
        named: HashMap::new(),
        unpacked: Unpacked::default(),
    };
    let mut offset = head.len();
    let mut waiting = Vec::new();
    for _ in 0..count {
        offset = unpacking.entry(offset, &mut waiting)?;
    }
    if offset != body.len() {
        return Err(bad("bytes behind the last object"));
    }
    unpacking.settle(waiting)?;
    Ok(unpacking.unpacked)
}

/// What an entry's offset led to.
#[derive(Clone)]
struct Base {
    kind: Kind,
    bytes: Rc<[u8]>,
    /// How many deltas it stands on.
    levels: usize,
}

/// A delta whose base has not come yet.
struct Waiting {
    offset: usize,
    on: On,
    delta: Vec<u8>,
}

/// How a delta names its base.
enum On {
    Id(ObjectId),
    Offset(usize),
}

struct Unpacking<'a> {
    body: &'a [u8],
    bounds: Bounds,
    inflated: u64,
    at: HashMap<usize, Base>,
    named: HashMap<ObjectId, usize>,
    unpacked: Unpacked,
}

impl Unpacking<'_> {
    /// Reads the entry at `offset` and returns where the next one begins.
    fn entry(&mut self, offset: usize, waiting: &mut Vec<Waiting>) -> Result<usize, ReceivedError> {
        let rest = self.body.get(offset..).unwrap_or_default();
        let mut cursor = Cursor(rest);
        let (sort, size) = cursor.entry_head()?;
        let kind = match sort {
            1 => Kind::Commit,
            2 => Kind::Tree,
            3 => Kind::Blob,
            4 => Kind::Tag,
            6 => {
                let distance = cursor.distance()?;
                let base = usize::try_from(distance).ok().filter(|distance| *distance > 0);
                let base = base.and_then(|distance| offset.checked_sub(distance));
                let base = base.ok_or_else(|| bad("a delta stands on itself"))?;
                let (delta, length) = self.inflate(cursor.0, size)?;
                match self.at.get(&base).cloned() {
                    Some(base) => self.apply(offset, &base, &delta)?,
                    None => waiting.push(Waiting { offset, on: On::Offset(base), delta }),
                }
                return Ok(offset + (rest.len() - cursor.0.len()) + length);
            }
            7 => {
                let on = On::Id(ObjectId::from_bytes(cursor.id()?));
                let (delta, length) = self.inflate(cursor.0, size)?;
                waiting.push(Waiting { offset, on, delta });
                return Ok(offset + (rest.len() - cursor.0.len()) + length);
            }
            _ => return Err(bad("an entry of an unknown type")),
        };
        let stream = cursor.0;
        let length = if size > self.bounds.object_bytes_max {
            self.unpacked.oversized.push(size);
            self.skip(stream, size)?
        } else {
            let (bytes, length) = self.inflate(stream, size)?;
            self.keep(offset, Base { kind, bytes: bytes.into(), levels: 0 })?;
            length
        };
        Ok(offset + (rest.len() - stream.len()) + length)
    }

    /// Says why a delta has no base: it was too large to keep, or it is not in this pack.
    fn baseless(&self) -> ReceivedError {
        match self.unpacked.oversized.is_empty() {
            true => bad("a delta without its base"),
            false => ReceivedError::Costly(self.bounds.object_bytes_max),
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ReceivedError> {
        self.inflated = self.inflated.saturating_add(bytes);
        match self.inflated <= self.bounds.inflated_bytes_max {
            true => Ok(()),
            false => Err(ReceivedError::Costly(self.bounds.inflated_bytes_max)),
        }
    }

    /// Inflates exactly `size` bytes and tells how long their stream is.
    fn inflate(&mut self, stream: &[u8], size: u64) -> Result<(Vec<u8>, usize), ReceivedError> {
        self.check(stream, size)?;
        let inflated = loose::inflate(stream, size as usize + 1).map_err(PackError::from)?;
        match inflated.ended_at {
            Some(end) if inflated.bytes.len() as u64 == size => Ok((inflated.bytes, end)),
            _ => Err(bad("an entry whose size is not what it says")),
        }
    }

    /// Inflates exactly `size` bytes to nowhere and tells how long their stream is.
    fn skip(&mut self, stream: &[u8], size: u64) -> Result<usize, ReceivedError> {
        self.check(stream, size)?;
        let mut zlib = Decompress::new(true);
        let mut out = vec![0; SKIPPED_BYTES];
        loop {
            let (from, made) = (zlib.total_in(), zlib.total_out());
            let rest = stream.get(from as usize..).unwrap_or_default();
            let status = zlib.decompress(rest, &mut out, FlushDecompress::None);
            let ended = status.map_err(|_| bad("a damaged stream"))? == Status::StreamEnd;
            let stuck = zlib.total_in() == from && zlib.total_out() == made;
            match ended {
                true if zlib.total_out() == size => return Ok(zlib.total_in() as usize),
                false if zlib.total_out() <= size && !stuck => {}
                _ => return Err(bad("an entry whose size is not what it says")),
            }
        }
    }

    /// Checks a declared size before anything is inflated.
    fn check(&mut self, stream: &[u8], size: u64) -> Result<(), ReceivedError> {
        if size > (stream.len() as u64).saturating_mul(INFLATION_MAX) {
            return Err(bad("an entry whose size cannot come out of its stream"));
        }
        self.spend(size)
    }

    fn apply(&mut self, offset: usize, base: &Base, delta: &[u8]) -> Result<(), ReceivedError> {
        let mut cursor = Cursor(delta);
        let (base_size, size) = (cursor.size()?, cursor.size()?);
        if base_size != base.bytes.len() as u64 {
            return Err(bad("a delta that stands on another base"));
        }
        if base.levels >= DELTA_LEVELS_MAX {
            return Err(bad("more than 4095 deltas that stand on each other"));
        }
        if size > self.bounds.object_bytes_max {
            self.unpacked.oversized.push(size);
            return Ok(());
        }
        self.spend(size)?;
        let bytes = cursor.apply(&base.bytes, size as usize)?;
        self.keep(offset, Base { kind: base.kind, bytes: bytes.into(), levels: base.levels + 1 })
    }

    fn keep(&mut self, offset: usize, base: Base) -> Result<(), ReceivedError> {
        let id = object_id(base.kind, &base.bytes).ok_or_else(|| bad("an object that forges its id"))?;
        self.unpacked.objects.push(Received { id, kind: base.kind, bytes: Rc::clone(&base.bytes) });
        if self.named.insert(id, offset).is_some() {
            return Err(ReceivedError::Bad(format!("object {id} twice")));
        }
        self.at.insert(offset, base);
        Ok(())
    }

    /// Applies the deltas whose bases came behind them.
    fn settle(&mut self, mut waiting: Vec<Waiting>) -> Result<(), ReceivedError> {
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for one in waiting {
                let offset = match &one.on {
                    On::Id(id) => self.named.get(id),
                    On::Offset(offset) => Some(offset),
                };
                match offset.and_then(|offset| self.at.get(offset)).cloned() {
                    Some(base) => self.apply(one.offset, &base, &one.delta)?,
                    None => later.push(one),
                }
            }
            if later.len() == before {
                return Err(self.baseless());
            }
            waiting = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    const BOUNDS: Bounds = Bounds { objects_max: 10, object_bytes_max: 1000, inflated_bytes_max: 5000 };

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn head(sort: u8, mut size: usize) -> Vec<u8> {
        let mut out = vec![sort << 4 | (size & 15) as u8];
        size >>= 4;
        while size > 0 {
            *out.last_mut().unwrap() |= 0x80;
            out.push((size & 0x7f) as u8);
            size >>= 7;
        }
        out
    }

    fn blob(bytes: &[u8]) -> Vec<u8> {
        [head(3, bytes.len()), deflated(bytes)].concat()
    }

    /// A delta that copies the whole base and adds `!`.
    fn louder(base: &[u8]) -> Vec<u8> {
        let length = u8::try_from(base.len()).unwrap();
        vec![length, length + 1, 0x90, length, 1, b'!']
    }

    fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"PACK\0\0\0\x02\0\0\0".to_vec();
        out.push(entries.len() as u8);
        out.extend(entries.concat());
        out.extend([0; 20]);
        out
    }

    fn texts(pack: &[u8]) -> Vec<String> {
        let unpacked = unpack(pack, BOUNDS).unwrap();
        for object in &unpacked.objects {
            assert_eq!(object_id(object.kind, &object.bytes), Some(object.id));
        }
        let text = |object: &Received| String::from_utf8_lossy(&object.bytes).into_owned();
        unpacked.objects.iter().map(text).collect()
    }

    #[test]
    fn objects_and_deltas_on_either_side_of_their_base_are_read() {
        let (base, delta) = (blob(b"hello"), louder(b"hello"));
        let near = [head(6, delta.len()), vec![base.len() as u8], deflated(&delta)].concat();
        assert_eq!(texts(&pack(&[base.clone(), near])), ["hello", "hello!"]);
        let id = object_id(Kind::Blob, b"hello").unwrap();
        let named = [head(7, delta.len()), id.as_bytes().to_vec(), deflated(&delta)].concat();
        assert_eq!(texts(&pack(&[base.clone(), named.clone()])), ["hello", "hello!"]);
        assert_eq!(texts(&pack(&[named.clone(), base.clone()])), ["hello", "hello!"]);
        let more = louder(b"hello!");
        let on_named = [head(6, more.len()), vec![named.len() as u8], deflated(&more)].concat();
        assert_eq!(texts(&pack(&[named, on_named, base])), ["hello", "hello!", "hello!!"]);
    }

    #[test]
    fn what_is_too_large_is_counted_and_not_kept() {
        let unpacked = unpack(&pack(&[blob(b"a"), blob(&[0; 2000]), blob(b"b")]), BOUNDS).unwrap();
        assert_eq!((unpacked.objects.len(), unpacked.oversized), (2, vec![2000]));
        let many: Vec<Vec<u8>> = (0..6).map(|n| blob(&[n; 990])).collect();
        assert!(matches!(unpack(&pack(&many), BOUNDS), Err(ReceivedError::Costly(5000))));
        let huge = pack(&[blob(&vec![0; 1 << 20])]);
        assert!(matches!(unpack(&huge, BOUNDS), Err(ReceivedError::Costly(5000))));
    }

    #[test]
    fn packs_that_are_not_sound_are_refused() {
        let good = blob(b"hello");
        let delta = louder(b"hello");
        let on_itself = [head(6, delta.len()), vec![0], deflated(&delta)].concat();
        let before = [head(6, delta.len()), vec![100], deflated(&delta)].concat();
        let nowhere = [head(7, delta.len()), vec![1; 20], deflated(&delta)].concat();
        let other_base = [head(6, 6), vec![good.len() as u8], deflated(&louder(b"hell"))].concat();
        let longer = [head(3, 9), deflated(b"hello")].concat();
        let shorter = [head(3, 3), deflated(b"hello")].concat();
        let bomb = [head(3, 900_000_000), deflated(b"")].concat();
        let mut rows = vec![
            ("on itself", pack(&[on_itself])),
            ("before the start", pack(&[before])),
            ("on nothing", pack(&[nowhere])),
            ("on another base", pack(&[good.clone(), other_base])),
            ("longer", pack(&[longer])),
            ("shorter", pack(&[shorter])),
            ("a bomb", pack(&[bomb])),
            ("unknown", pack(&[[head(5, 5), deflated(b"hello")].concat()])),
            ("twice", pack(&[good.clone(), good.clone()])),
            ("too many", pack(&vec![good.clone(); 11])),
            ("empty", Vec::new()),
            ("no pack", vec![b'x'; 100]),
        ];
        let whole = pack(std::slice::from_ref(&good));
        rows.push(("more behind", [&whole[..whole.len() - 20], &[1; 25]].concat()));
        for (name, bytes) in rows {
            assert!(matches!(unpack(&bytes, BOUNDS), Err(ReceivedError::Bad(_))), "{name}");
        }
        for length in 0..whole.len() {
            assert!(unpack(&whole[..length], BOUNDS).is_err(), "cut at {length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, count in 0u8..4) {
            let mut pack = b"PACK\0\0\0\x02\0\0\0".to_vec();
            pack.push(count);
            pack.extend(bytes);
            let _ = unpack(&pack, BOUNDS);
        }

        #[test]
        fn a_garbled_pack_never_gives_an_object_a_wrong_name(at in 12usize..80, flip in 1u8..) {
            let delta = louder(b"hello");
            let near = [head(6, delta.len()), vec![blob(b"hello").len() as u8], deflated(&delta)].concat();
            let mut bytes = pack(&[blob(b"hello"), near]);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(unpacked) = unpack(&bytes, BOUNDS) {
                for object in unpacked.objects {
                    proptest::prop_assert_eq!(object_id(object.kind, &object.bytes), Some(object.id));
                }
            }
        }
    }
}
