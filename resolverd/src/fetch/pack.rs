//! Packed Git objects: finds an object in the indexes of a repository's packs, inflates it and applies its deltas.
//!
//! Read here and not by libgit2, because one flipped byte in a pack or index makes libgit2 1.9.7 read outside its mappings and
//! end the process, and an unknown type makes git2 0.21.0 panic (2026-11-21). Files are read by position and never mapped, so
//! that one that is cut off meanwhile is an error and no signal. Every size is checked before anything is inflated, every offset
//! before it is used, and a chain of deltas has an end. Knows no hashes: whoever calls compares the content with its id.
//! Never reads multi-pack indexes, bitmaps, reverse indexes and indexes of version 1.
//! **Source**: git's `Documentation/gitformat-pack.adoc`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use catalogue_schema::pace;
use rustix::fs::OFlags;

use crate::fetch::loose::{self, LooseError};
use crate::fetch::object::{Kind, ObjectId};

/// How many packs a repository may have; `git gc` joins them at 50.
const PACKS_MAX: usize = 200;
/// How many deltas may stand on each other; Git writes at most this many.
pub(crate) const DELTA_LEVELS_MAX: usize = 4095;
/// The largest delta or base on the way to an object, in bytes.
const STEP_BYTES_MAX: u64 = 128 << 20;
/// How much may be inflated for one object, in bytes.
const WORK_BYTES_MAX: u64 = 4 << 30;
/// How long the header of an entry can be, in bytes: a size, and an offset or an id.
const HEAD_BYTES_MAX: u64 = 32;
/// Where the names begin in an index.
const NAMES_AT: u64 = 8 + 256 * 4;
/// The checksums at the end of an index; a pack has one of them.
const CHECKSUM_BYTES: u64 = 20;

/// Why a pack cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// The directory or a file in it cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// An entry does not inflate.
    #[error("{0}")]
    Stream(#[from] LooseError),
    /// Pack and index are not what they should be.
    #[error("{0}")]
    Damaged(&'static str),
    /// It would cost too much.
    #[error("{0}; run `git repack -adf`")]
    Costly(&'static str),
}

/// A packed object that was found, with its base and deltas, not inflated yet.
pub(crate) struct Found<'a> {
    /// The type.
    pub kind: Kind,
    /// The size of the content, in bytes, unproven.
    pub size: u64,
    pack: &'a Pack,
    base: Entry,
    /// From the object itself to what stands on the base.
    deltas: Vec<Entry>,
}

/// The packs of one repository; opened when they are first needed.
pub(crate) struct Packs {
    directory: PathBuf,
    names: HashSet<PathBuf>,
    packs: Vec<Pack>,
    /// The first pack that could not be opened: what is not found elsewhere may be in it.
    broken: Option<PackError>,
}

impl Packs {
    /// Names the directory, `objects/pack`.
    pub(crate) fn new(directory: PathBuf) -> Packs {
        Packs { directory, names: HashSet::new(), packs: Vec::new(), broken: None }
    }

    /// Looks for an object; `None` when no pack has it.
    ///
    /// **Errors**: a damaged pack or index, also one that might have had the object.
    pub(crate) fn find(&mut self, id: &ObjectId) -> Result<Option<Found<'_>>, PackError> {
        let mut place = self.position(id)?;
        if place.is_none() {
            // Packed meanwhile, or never looked.
            self.open_new()?;
            place = self.position(id)?;
        }
        match (place, self.broken.take()) {
            (Some((pack, offset)), _) => self.packs[pack].found(offset).map(Some),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn position(&self, id: &ObjectId) -> Result<Option<(usize, u64)>, PackError> {
        for (index, pack) in self.packs.iter().enumerate() {
            if let Some(offset) = pack.offset_of(id)? {
                return Ok(Some((index, offset)));
            }
        }
        Ok(None)
    }

    fn open_new(&mut self) -> Result<(), PackError> {
        let files = match fs::read_dir(&self.directory) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for file in files {
            let place = file?.path();
            if place.extension().is_none_or(|ending| ending != "idx") || self.names.contains(&place) {
                continue;
            }
            if self.packs.len() >= PACKS_MAX {
                return Err(PackError::Costly("more than 200 packs"));
            }
            match Pack::open(&place) {
                Ok(pack) => {
                    self.packs.push(pack);
                    self.names.insert(place);
                }
                // Tried again for the next object, since it may be about to be written.
                Err(error) => self.broken = Some(error),
            }
        }
        Ok(())
    }
}

/// One file, read by position.
struct Bytes {
    file: File,
    length: u64,
}

impl Bytes {
    fn open(place: &Path) -> Result<Bytes, PackError> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(place)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(PackError::Damaged("a pack or index is no regular file"));
        }
        Ok(Bytes { file, length: metadata.len() })
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], PackError> {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn number(&self, at: u64) -> Result<u64, PackError> {
        Ok(u32::from_be_bytes(self.array(at)?).into())
    }

    /// Returns up to `bytes_max` bytes from `at` on, none of them at `end` or behind.
    fn up_to(&self, at: u64, bytes_max: u64, end: u64) -> Result<Vec<u8>, PackError> {
        let mut bytes = vec![0; bytes_max.min(end.saturating_sub(at)) as usize];
        let mut from = at;
        for piece in bytes.chunks_mut(pace::PIECE_BYTES) {
            self.file.read_exact_at(piece, from)?;
            from += piece.len() as u64;
            pace::spent(piece.len() / 2);
        }
        Ok(bytes)
    }
}

/// A pack and its index.
struct Pack {
    index: Bytes,
    objects: u64,
    pack: Bytes,
}

/// One entry of a pack.
struct Entry {
    /// The size of the object or delta, in bytes.
    size: u64,
    /// Where its stream begins.
    at: u64,
}

enum Sort {
    Whole(Kind),
    /// A delta on the entry at this offset.
    Delta(u64),
}

impl Pack {
    fn open(index: &Path) -> Result<Pack, PackError> {
        let (index, pack) = (Bytes::open(index)?, Bytes::open(&index.with_extension("pack"))?);
        let damaged = PackError::Damaged;
        if index.length < NAMES_AT + 2 * CHECKSUM_BYTES || pack.length < 12 + CHECKSUM_BYTES {
            return Err(damaged("a pack or index is cut off"));
        }
        if index.array(0)? != *b"\xfftOc\0\0\0\x02" {
            return Err(damaged("an index is not of version 2; run `git repack -ad`"));
        }
        let objects = index.number(NAMES_AT - 4)?;
        // Names, checksums, offsets; longer where offsets have 64 bits.
        if index.length < NAMES_AT + objects * 28 + 2 * CHECKSUM_BYTES {
            return Err(damaged("an index is cut off"));
        }
        let head: [u8; 8] = pack.array(0)?;
        if !matches!(&head, b"PACK\0\0\0\x02" | b"PACK\0\0\0\x03") || pack.number(8)? != objects {
            return Err(damaged("a pack has another header than its index says"));
        }
        let ends = (pack.length - CHECKSUM_BYTES, index.length - 2 * CHECKSUM_BYTES);
        if pack.array::<20>(ends.0)? != index.array::<20>(ends.1)? {
            return Err(damaged("a pack is cut off, or not the one of its index"));
        }
        Ok(Pack { index, objects, pack })
    }

    /// Looks an object up, by halving.
    fn offset_of(&self, id: &ObjectId) -> Result<Option<u64>, PackError> {
        let first = u64::from(id.as_bytes()[0]);
        let mut low = if first == 0 { 0 } else { self.index.number(8 + 4 * (first - 1))? };
        let mut high = self.index.number(8 + 4 * first)?;
        if low > high || high > self.objects {
            return Err(PackError::Damaged("an index has a broken table"));
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.index.array(NAMES_AT + 20 * middle)?.cmp(id.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return self.offset(middle).map(Some),
            }
        }
        Ok(None)
    }

    fn offset(&self, object: u64) -> Result<u64, PackError> {
        let short = self.index.number(NAMES_AT + self.objects * 24 + 4 * object)?;
        if short < 1 << 31 {
            return Ok(short);
        }
        let at = NAMES_AT + self.objects * 28 + 8 * (short - (1 << 31));
        Ok(u64::from_be_bytes(self.index.array(at)?))
    }

    /// Follows the deltas from an entry down to a whole object.
    fn found(&self, offset: u64) -> Result<Found<'_>, PackError> {
        let (mut deltas, mut at) = (Vec::new(), offset);
        loop {
            let (entry, sort) = self.entry(at)?;
            match sort {
                Sort::Whole(kind) => {
                    let size = match deltas.first() {
                        None => entry.size,
                        Some(delta) => self.result_size(delta)?,
                    };
                    return Ok(Found { kind, size, pack: self, base: entry, deltas });
                }
                Sort::Delta(base) => at = base,
            }
            deltas.push(entry);
            if deltas.len() > DELTA_LEVELS_MAX {
                return Err(PackError::Costly("more than 4095 deltas stand on each other"));
            }
        }
    }

    fn entry(&self, offset: u64) -> Result<(Entry, Sort), PackError> {
        let head = self.pack.up_to(offset, HEAD_BYTES_MAX, self.end())?;
        let mut bytes = Cursor(&head);
        let (sort, size) = bytes.entry_head()?;
        let sort = match sort {
            1 => Sort::Whole(Kind::Commit),
            2 => Sort::Whole(Kind::Tree),
            3 => Sort::Whole(Kind::Blob),
            4 => Sort::Whole(Kind::Tag),
            6 => {
                let base = offset.checked_sub(bytes.distance()?).filter(|base| *base < offset);
                Sort::Delta(base.ok_or(PackError::Damaged("a delta stands on itself"))?)
            }
            7 => {
                let id = ObjectId::from_bytes(bytes.id()?);
                Sort::Delta(self.offset_of(&id)?.ok_or(PackError::Damaged("the base of a delta is gone"))?)
            }
            _ => return Err(PackError::Damaged("an entry has an unknown type")),
        };
        let at = offset + (head.len() - bytes.0.len()) as u64;
        Ok((Entry { size, at }, sort))
    }

    /// Reads how large the result of a delta will be, from the first bytes of its stream.
    fn result_size(&self, delta: &Entry) -> Result<u64, PackError> {
        let start = self.pack.up_to(delta.at, loose::START_BYTES, self.end())?;
        let start = loose::inflate(&start, HEAD_BYTES_MAX as usize)?.bytes;
        let mut bytes = Cursor(&start);
        bytes.size()?;
        bytes.size()
    }

    fn inflate(&self, entry: &Entry) -> Result<Vec<u8>, PackError> {
        let stream_bytes_max = loose::stream_bytes_max(entry.size);
        let stream = self.pack.up_to(entry.at, stream_bytes_max, self.end())?;
        // One byte more, so that a stream that is too long shows.
        let inflated = loose::inflate(&stream, entry.size as usize + 1)?;
        match inflated.ended_at {
            _ if inflated.bytes.len() as u64 > entry.size => Err(LooseError::OtherSize.into()),
            None => Err(LooseError::Cut.into()),
            Some(_) if (inflated.bytes.len() as u64) < entry.size => Err(LooseError::OtherSize.into()),
            Some(_) => Ok(inflated.bytes),
        }
    }

    /// Where the entries end and the checksum begins.
    fn end(&self) -> u64 {
        self.pack.length - CHECKSUM_BYTES
    }
}

impl Found<'_> {
    /// Returns the content, which has exactly `size` bytes.
    pub(crate) fn read(&self) -> Result<Vec<u8>, PackError> {
        let mut work = 0;
        let mut spend = |bytes: u64| {
            work += bytes;
            match bytes <= self.size.max(STEP_BYTES_MAX) && work <= self.size.max(WORK_BYTES_MAX) {
                true => Ok(()),
                false => Err(PackError::Costly("the deltas below it are too large")),
            }
        };
        spend(self.base.size)?;
        let mut content = self.pack.inflate(&self.base)?;
        for entry in self.deltas.iter().rev() {
            spend(entry.size)?;
            let delta = self.pack.inflate(entry)?;
            let mut bytes = Cursor(&delta);
            let (base_size, size) = (bytes.size()?, bytes.size()?);
            if base_size != content.len() as u64 {
                return Err(PackError::Damaged("a delta stands on another base"));
            }
            spend(size)?;
            content = bytes.apply(&content, size as usize)?;
        }
        match content.len() as u64 == self.size {
            true => Ok(content),
            false => Err(LooseError::OtherSize.into()),
        }
    }
}

/// The rest of a header or delta.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl Cursor<'_> {
    /// Takes the type and size that an entry begins with.
    pub(crate) fn entry_head(&mut self) -> Result<(u8, u64), PackError> {
        let first = self.byte()?;
        let mut size = u64::from(first & 0x0f);
        if first & 0x80 != 0 {
            size |= self.size()?.checked_mul(16).ok_or(PackError::Damaged("a size has too many digits"))?;
        }
        Ok((first >> 4 & 7, size))
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let (first, rest) = self.0.split_first().ok_or(PackError::Damaged("an entry is cut off"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// Takes an object id.
    pub(crate) fn id(&mut self) -> Result<[u8; 20], PackError> {
        let (id, rest) = self.0.split_first_chunk().ok_or(PackError::Damaged("an entry is cut off"))?;
        self.0 = rest;
        Ok(*id)
    }

    /// Seven bits a byte, the lowest first; sizes end below 2^56.
    pub(crate) fn size(&mut self) -> Result<u64, PackError> {
        let mut size = 0;
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            size |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(size);
            }
        }
        Err(PackError::Damaged("a size has too many digits"))
    }

    /// Seven bits a byte, the highest first, one added at each step.
    pub(crate) fn distance(&mut self) -> Result<u64, PackError> {
        let mut distance = 0u64;
        for _ in 0..8 {
            let byte = self.byte()?;
            distance = distance << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(distance);
            }
            distance += 1;
        }
        Err(PackError::Damaged("an offset has too many digits"))
    }

    /// Runs the instructions of a delta: copy from the base, or take what follows.
    pub(crate) fn apply(&mut self, base: &[u8], size: usize) -> Result<Vec<u8>, PackError> {
        let outside = || PackError::Damaged("a delta reaches outside its base or its size");
        let mut out = Vec::with_capacity(size);
        while !self.0.is_empty() {
            let instruction = self.byte()?;
            let piece = match instruction {
                0 => return Err(PackError::Damaged("a delta has an unknown instruction")),
                1..0x80 => {
                    let (piece, rest) = self.0.split_at_checked(instruction.into()).ok_or_else(outside)?;
                    self.0 = rest;
                    piece
                }
                0x80.. => {
                    let from = self.sparse(instruction, 4)?;
                    let length = match self.sparse(instruction >> 4, 3)? {
                        0 => 0x10000,
                        length => length,
                    };
                    base.get(from..from + length).ok_or_else(outside)?
                }
            };
            if out.len() + piece.len() > size {
                return Err(outside());
            }
            out.extend_from_slice(piece);
        }
        if out.len() == size { Ok(out) } else { Err(outside()) }
    }

    /// Reads those of a number's bytes that `present` has bits for, the lowest first; the others are zero.
    fn sparse(&mut self, present: u8, digits: u32) -> Result<usize, PackError> {
        let mut number = 0;
        for digit in 0..digits {
            if present >> digit & 1 == 1 {
                number |= usize::from(self.byte()?) << (8 * digit);
            }
        }
        Ok(number)
    }
}
