//! The shelf (pillar, with the store): documents as received, kept by digest, and long blocks of the index. Never parses or judges
//! them.
//!
//! # Layout
//! - `shelf/packs/<sha256 of the file>.pack`: the line [`PACK_MAGIC`], then per document 32 bytes SHA-256, the length as
//!   a big-endian u64, and the bytes. Written once, never changed.
//! - `shelf/packs/<sha256 of the heads>.blocks`: the line [`BLOCKS_MAGIC`], then blocks in the same way, under the 32 bytes that
//!   stand for them in the index, which are no digest of their bytes: whoever reads one says whether it is the right one.
//! - `shelf/packs/<name of a pack>.heads`: the heads of a pack of many documents once more, so that opening need not read what
//!   stands between them (see [`heads`]). A pack without it, or with a damaged one, is read itself.
//! - `shelf/objects/<sha256>`: one document over [`OBJECT_BYTES_MIN`], nothing around it; `shelf/objects/<hex digits>.block`: such a
//!   block.
//!
//! Opening reads the heads of the frames only. A frame that the file does not hold whole ends its pack; what stands
//! before it is used. Bytes are checked whenever they are read, so damage is noticed there and never handed out.

mod confirm;
pub mod durable;
mod heads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{BufReader, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use catalogue_schema::digest::{Algorithm, Digest, Hashed, hex, unhex};
use catalogue_schema::pace;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::shelf::confirm::Stamp;
use crate::shelf::durable::{Failed, failed};

/// How a pack of documents starts.
pub const PACK_MAGIC: &[u8] = b"resolverd/pack@1\n";
/// How a pack of blocks starts.
pub const BLOCKS_MAGIC: &[u8] = b"resolverd/blocks@1\n";
/// Documents longer than this lie alone.
pub const OBJECT_BYTES_MIN: u64 = 1 << 20;

const HEAD_BYTES: u64 = 40;

/// Content-addressed bytes on disk. Its methods may be called from several threads; [`Shelf::sweep`] only while nobody
/// keeps anything. Clones are handles to the same shelf.
#[derive(Debug, Clone)]
pub struct Shelf {
    packs: Arc<Path>,
    objects: Arc<Path>,
    index: Arc<Mutex<Index>>,
}

/// Why the shelf cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The file system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<Failed> for ShelfError {
    fn from(Failed { action, path, source }: Failed) -> ShelfError {
        ShelfError::Io { action, path, source }
    }
}

/// What a file holds, and how what it holds is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Documents, by their SHA-256.
    Documents,
    /// Blocks of the index, by what stands for them there.
    Blocks,
}

impl Kind {
    /// Returns what a pack of this name holds; `None` for what is none.
    fn of_pack(name: &str) -> Option<Kind> {
        [Kind::Documents, Kind::Blocks].into_iter().find(|kind| name.ends_with(kind.suffix()))
    }

    /// Returns what stands behind the name of a pack.
    fn suffix(self) -> &'static str {
        match self {
            Kind::Documents => ".pack",
            Kind::Blocks => ".blocks",
        }
    }

    /// Returns what stands behind the name of something that lies alone.
    fn suffix_alone(self) -> &'static str {
        match self {
            Kind::Documents => "",
            Kind::Blocks => ".block",
        }
    }

    /// Returns how a pack starts.
    fn magic(self) -> &'static [u8] {
        match self {
            Kind::Documents => PACK_MAGIC,
            Kind::Blocks => BLOCKS_MAGIC,
        }
    }
}

/// Where everything lies. A document may lie in several places, since one of them may turn out to be damaged.
#[derive(Debug, Default)]
struct Index {
    /// Every place, those of one file in the order in which they lie in it: whoever asks in that order finds the next one beside
    /// the last.
    spots: Vec<Spot>,
    /// The places in `spots`, by the digests of what lies there.
    table: HashTable<u32>,
    keys: RandomState,
    /// Every file, what it holds, and its length.
    files: BTreeMap<Arc<Path>, (Kind, u64)>,
    /// The files by the numbers that spots give them.
    paths: Vec<Arc<Path>>,
    /// How the files looked in which documents were confirmed (see `confirm.rs`).
    stamps: HashMap<Arc<Path>, Stamp>,
    /// A spot may be sound.
    has_sound: bool,
}

/// A document or a block in a file.
#[derive(Debug, Clone, Copy)]
struct Spot {
    name: [u8; 32],
    kind: Kind,
    offset: u64,
    length: u64,
    /// The number of its file; [`NOWHERE`] for what was forgotten.
    file: u32,
    /// Its bytes were written or checked by this process.
    is_sound: bool,
}

/// The number of no file.
const NOWHERE: u32 = u32::MAX;
/// How much work it is to look at where a frame lies, roughly, in nanoseconds. Nobody rests who holds the lock of the index.
const SPOT_NS: usize = 100;

/// A document in a file that nobody has taken in yet.
#[derive(Debug, Clone, Copy)]
struct Frame {
    name: [u8; 32],
    offset: u64,
    length: u64,
}

/// Documents that something needs.
pub type Live = HashSet<Digest, RandomState>;

/// Documents to be written.
type News<'a> = Vec<(&'a Digest, &'a [u8])>;

/// A file, its length, what it holds, and what of that is live.
type Census = (Arc<Path>, u64, Kind, Vec<Frame>);

/// Tells what stands for a block in the index; `None` for what is no block.
pub type NameOfBlock = fn(&[u8]) -> Option<Digest>;

impl Index {
    /// Returns where a document lies, best after the place `after`, where the one behind it mostly lies.
    fn find(&self, kind: Kind, digest: &Digest, after: usize) -> Option<usize> {
        let name = name_of(digest)?;
        let is = |at: &usize| {
            let spot = self.spots.get(*at);
            spot.is_some_and(|spot| spot.name == *name && spot.kind == kind && spot.file != NOWHERE)
        };
        Some(after.wrapping_add(1)).filter(is).or_else(|| {
            let alike = self.table.iter_hash(self.hash(name)).map(|at| *at as usize);
            alike.filter(is).max()
        })
    }

    fn hash(&self, name: &[u8; 32]) -> u64 {
        hash(&self.keys, name)
    }

    /// Returns the spot at a place where it is still this one, in the file `path`: others may have its place and number by now.
    fn same(&mut self, at: usize, spot: &Spot, path: Option<&Arc<Path>>) -> Option<&mut Spot> {
        let known = self.spots.get_mut(at)?;
        let is_there =
            self.paths.get(known.file as usize).zip(path).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        (is_there && (known.name, known.offset) == (spot.name, spot.offset)).then_some(known)
    }

    fn forget(&mut self, at: usize, spot: &Spot, path: Option<&Arc<Path>>) {
        let hash = self.hash(&spot.name);
        if let Some(known) = self.same(at, spot, path) {
            known.file = NOWHERE;
            if let Ok(entry) = self.table.find_entry(hash, |found| *found as usize == at) {
                entry.remove();
            }
        }
    }

    fn is_sound(&self, kind: Kind, digest: &Digest) -> bool {
        let is_sound = |at: &u32| {
            let spot = self.spots.get(*at as usize);
            spot.is_some_and(|spot| spot.is_sound && spot.kind == kind && spot.name[..] == *digest.as_bytes())
        };
        name_of(digest)
            .is_some_and(|name| self.has_sound && self.table.iter_hash(self.hash(name)).any(is_sound))
    }

    fn found_sound(&mut self, at: usize, spot: &Spot, path: Option<&Arc<Path>>) {
        if let Some(known) = self.same(at, spot, path) {
            known.is_sound = true;
            self.has_sound = true;
        }
    }

    /// Forgets files in one walk, since a sweep may remove very many.
    fn forget_files(&mut self, gone: &[Arc<Path>]) {
        let gone: HashSet<&Path> = gone.iter().map(|file| &**file).collect();
        if gone.is_empty() {
            return;
        }
        self.files.retain(|file, _| !gone.contains(&**file));
        let (paths, spots) = (std::mem::take(&mut self.paths), std::mem::take(&mut self.spots));
        self.table.clear();
        let mut numbers = vec![NOWHERE; paths.len()];
        for (number, path) in numbers.iter_mut().zip(paths).filter(|(_, path)| !gone.contains(&**path)) {
            *number = u32::try_from(self.paths.len()).unwrap_or(NOWHERE);
            self.paths.push(path);
        }
        self.spots.reserve(spots.len());
        for spot in spots {
            let file = numbers.get(spot.file as usize).copied().unwrap_or(NOWHERE);
            self.place(Spot { file, ..spot });
        }
    }

    /// Takes a file's frames in; whatever was known about that file before is replaced.
    fn learn(&mut self, path: &Arc<Path>, (kind, length): (Kind, u64), frames: &[Frame], is_sound: bool) {
        if self.files.contains_key(path) {
            self.forget_files(std::slice::from_ref(path));
        }
        self.files.insert(Arc::clone(path), (kind, length));
        let file = u32::try_from(self.paths.len()).unwrap_or(NOWHERE);
        self.paths.push(Arc::clone(path));
        self.has_sound |= is_sound;
        self.spots.reserve(frames.len());
        self.table.reserve(frames.len(), hashes(&self.spots, &self.keys));
        for Frame { name, offset, length } in frames.iter().copied() {
            self.place(Spot { name, kind, offset, length, file, is_sound });
        }
    }

    fn place(&mut self, spot: Spot) {
        // No memory holds as many as there are numbers.
        let Some(at) = u32::try_from(self.spots.len()).ok().filter(|_| spot.file != NOWHERE) else { return };
        self.spots.push(spot);
        let hash = self.hash(&spot.name);
        self.table.insert_unique(hash, at, hashes(&self.spots, &self.keys));
    }
}

/// Returns what tells the hash of a place.
fn hashes<'a>(spots: &'a [Spot], keys: &'a RandomState) -> impl Fn(&u32) -> u64 + 'a {
    |at| spots.get(*at as usize).map_or(0, |spot| hash(keys, &spot.name))
}

fn hash(keys: &RandomState, name: &[u8; 32]) -> u64 {
    // Half of a digest is as good as all of it.
    keys.hash_one(&name[..16])
}

/// A shelf that a thread opens. Dropped before its end, it waits: nothing goes on in the directory afterwards.
#[derive(Debug)]
pub struct Opening {
    directory: PathBuf,
    /// None where the system had no thread to give.
    thread: Option<JoinHandle<Result<Shelf, ShelfError>>>,
}

impl Opening {
    /// Waits for the shelf.
    ///
    /// **Errors**: those of [`Shelf::open`].
    pub fn shelf(mut self) -> Result<Shelf, ShelfError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(opened) => opened.unwrap_or_else(|panic| resume_unwind(panic)),
            None => Shelf::open(&self.directory),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Whoever drops it has a fault of its own to tell.
            let _ = thread.join();
        }
    }
}

impl Shelf {
    /// Opens the shelf below `directory`, creating it where it is missing. Leftovers of a killed process are removed.
    pub fn open(directory: &Path) -> Result<Shelf, ShelfError> {
        let root = directory.join("shelf");
        for place in [&root, &root.join("packs"), &root.join("objects")] {
            durable::private_directory(place)?;
            durable::remove_temporaries(place)?;
        }
        heads::tidy(&root.join("packs"));
        Shelf::known(directory, Heads::Made)
    }

    /// Opens the shelf like [`Shelf::open`], in a thread of its own.
    pub fn open_aside(directory: &Path) -> Opening {
        let place = directory.to_owned();
        let opening = std::thread::Builder::new().name("shelf-open".into());
        Opening { directory: directory.to_owned(), thread: opening.spawn(move || Shelf::open(&place)).ok() }
    }

    /// Opens the shelf below `directory` as it is, to read from it only: nothing is made, nothing removed.
    pub fn to_read(directory: &Path) -> Result<Shelf, ShelfError> {
        Shelf::known(directory, Heads::Used)
    }

    /// Opens the shelf like [`Shelf::to_read`], and believes the packs only: who looks for damage reads each of them whole.
    pub fn to_examine(directory: &Path) -> Result<Shelf, ShelfError> {
        Shelf::known(directory, Heads::Unused)
    }

    fn known(directory: &Path, heads: Heads) -> Result<Shelf, ShelfError> {
        let root = directory.join("shelf");
        let (packs, objects) = (root.join("packs"), root.join("objects"));
        let mut index = Index::default();
        for (name, path) in durable::entries(&packs)? {
            if let Some(kind) = Kind::of_pack(&name).filter(|_| path.is_file()) {
                let file: Arc<Path> = path.into();
                let (length, frames) = frames(&file, kind, heads)?;
                index.learn(&file, (kind, length), &frames, false);
            }
        }
        for (name, path) in durable::entries(&objects)? {
            if let Some((kind, name)) = named_alone(&name).filter(|_| path.is_file()) {
                let length =
                    std::fs::symlink_metadata(&path).map_err(failed("read the length of", &path))?.len();
                let file: Arc<Path> = path.into();
                index.learn(&file, (kind, length), &[Frame { name, offset: 0, length }], false);
            }
        }
        Ok(Shelf { packs: packs.into(), objects: objects.into(), index: Arc::new(Mutex::new(index)) })
    }

    /// Makes the names of everything that is here outlive a power cut.
    pub fn settle(&self) -> Result<(), ShelfError> {
        let directories = [Some(&*self.packs), Some(&*self.objects), self.packs.parent()];
        Ok(directories.into_iter().flatten().try_for_each(durable::sync_directory)?)
    }

    /// Tells whether a document is here, as far as the heads of the frames say.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.index().find(Kind::Documents, digest, 0).is_some()
    }

    /// Tells whether a document is here that this process has written or read whole.
    pub fn has_read(&self, digest: &Digest) -> bool {
        self.index().is_sound(Kind::Documents, digest)
    }

    /// Returns a document, its digest recomputed; `None` when it is not here or its bytes no longer match. A damaged
    /// copy is forgotten, so that [`Shelf::keep`] takes the document again.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self.run().read(digest)?.map(Hashed::into_bytes))
    }

    /// Starts to read several documents one after the other.
    pub fn run(&self) -> Run<'_> {
        Run { shelf: self, file: None, path: None, ahead: Ahead::default(), last: 0 }
    }

    /// Keeps the documents that are not here yet or are damaged, durably, all in one pack (documents over 1 MiB alone). Only documents
    /// named by SHA-256 are kept, and each must have the digest that names it: the caller has checked that.
    pub fn keep(&self, documents: &[(Digest, impl AsRef<[u8]>)]) -> Result<(), ShelfError> {
        self.keep_all(Kind::Documents, documents)
    }

    /// Keeps blocks like documents, each under what stands for it in the index.
    pub fn keep_blocks(&self, blocks: &[(Digest, impl AsRef<[u8]>)]) -> Result<(), ShelfError> {
        self.keep_all(Kind::Blocks, blocks)
    }

    fn keep_all(&self, kind: Kind, all: &[(Digest, impl AsRef<[u8]>)]) -> Result<(), ShelfError> {
        let (mut news, mut named): (News<'_>, HashSet<&Digest>) = Default::default();
        let mut run = self.run();
        let all = pace::each(all, SPOT_NS).filter(|(digest, _)| digest.algorithm() == Algorithm::Sha256);
        for (digest, bytes) in all {
            // A head says that it is here; whether its bytes still are is looked at once in the life of a process.
            let bytes = bytes.as_ref();
            let is_here = self.index().is_sound(kind, digest);
            let is_here = is_here || matches!(run.holds(kind, digest, bytes), Ok(true));
            if !is_here && named.insert(digest) {
                news.push((digest, bytes));
            }
        }
        let large = |bytes: &[u8]| bytes.len() as u64 > OBJECT_BYTES_MIN;
        for (digest, bytes) in news.iter().filter(|(_, bytes)| large(bytes)) {
            let place = digest.hex() + kind.suffix_alone();
            let file: Arc<Path> = durable::write(&self.objects, &place, &[bytes])?.into();
            let length = bytes.len() as u64;
            let name = name_of(digest).copied().unwrap_or_default();
            self.index().learn(&file, (kind, length), &[Frame { name, offset: 0, length }], true);
            self.stamp(&file);
        }
        news.retain(|(_, bytes)| !large(bytes));
        if !news.is_empty() {
            self.pack(kind, &news)?;
        }
        Ok(())
    }

    /// Removes what nothing in `live` needs: files without anything live go, packs of which less than half is live are
    /// written anew.
    pub fn sweep(&self, live: &Live, name_of_block: NameOfBlock) -> Result<(), ShelfError> {
        let mut gone = Vec::new();
        for (file, length, kind, needed) in self.census(live) {
            let needed_bytes: u64 = needed.iter().map(|frame| frame.length + HEAD_BYTES).sum();
            let object = file.starts_with(&self.objects);
            if !needed.is_empty() && (object || needed_bytes.saturating_mul(2) >= length) {
                continue;
            }
            let mut moved = Vec::new();
            for frame in needed {
                let Frame { name, offset, length } = frame;
                let bytes = match File::open(&file).and_then(|open| read_at(&open, offset, length)) {
                    // What nobody can read any more cannot be moved.
                    Err(error) if is_lost(&error) => continue,
                    bytes => bytes.map_err(failed("read", &file))?,
                };
                let found = match kind {
                    Kind::Documents => Some(Digest::sha256(&bytes)),
                    Kind::Blocks => name_of_block(&bytes),
                };
                if let Some(digest) = found.filter(|found| *found.as_bytes() == name) {
                    moved.push((digest, bytes));
                }
            }
            let news: News<'_> = moved.iter().map(|(digest, bytes)| (digest, bytes.as_slice())).collect();
            if !news.is_empty() && *self.pack(kind, &news)? == *file {
                continue;
            }
            gone.push(file);
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.index().forget_files(&gone);
        // One that cannot be removed keeps none of the others.
        let removed = gone.iter().map(|file| {
            heads::remove(file);
            durable::remove(file)
        });
        removed.fold(Ok(()), Result::and)?;
        durable::sync_directory(&self.packs)?;
        Ok(durable::sync_directory(&self.objects)?)
    }

    /// Lists every file with what is live in it.
    fn census(&self, live: &Live) -> Vec<Census> {
        let index = self.index();
        let mut needed: HashMap<&Path, Vec<Frame>> = HashMap::new();
        for Spot { name, offset, length, file, .. } in index.spots.iter().copied() {
            let path = index.paths.get(file as usize).filter(|_| live.contains(&Digest::from_sha256(name)));
            if let Some(path) = path {
                needed.entry(path).or_default().push(Frame { name, offset, length });
            }
        }
        let files = index.files.iter();
        let of = |(file, (kind, length)): (&Arc<Path>, &(Kind, u64))| {
            (Arc::clone(file), *length, *kind, needed.remove(&**file).unwrap_or_default())
        };
        files.map(of).collect()
    }

    /// Writes documents or blocks as one pack, in their order, and takes them in.
    fn pack(&self, kind: Kind, all: &[(&Digest, &[u8])]) -> Result<Arc<Path>, ShelfError> {
        let mut frames = Vec::with_capacity(all.len());
        let mut offset = kind.magic().len() as u64;
        for (digest, bytes) in all {
            offset += HEAD_BYTES;
            let (name, length) = (name_of(digest).copied().unwrap_or_default(), bytes.len() as u64);
            frames.push(Frame { name, offset, length });
            offset += length;
        }
        let heads: Vec<_> = frames.iter().map(|frame| head(&frame.name, frame.length)).collect();
        let mut parts: Vec<&[u8]> = vec![kind.magic()];
        heads.iter().zip(all).for_each(|(head, (_, bytes))| parts.extend([head.as_slice(), *bytes]));
        let mut hasher = Sha256::new();
        match kind {
            Kind::Documents => {
                parts.iter().flat_map(|part| pace::pieces(part)).for_each(|piece| hasher.update(piece))
            }
            Kind::Blocks => pace::each(&heads, SPOT_NS).for_each(|head| hasher.update(head)),
        }
        let name = hex(hasher.finalize().as_slice()) + kind.suffix();
        let file: Arc<Path> = durable::write(&self.packs, &name, &parts)?.into();
        self.index().learn(&file, (kind, offset), &frames, true);
        self.stamp(&file);
        heads::write(&file, offset, &frames);
        Ok(file)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Every change of the index is complete before anything can panic, so a poisoned lock guards a whole index.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Documents read one after the other. Those of one catalogue lie in one pack, so that the file that was read last stays
/// open; a run is as short as the reading of a few thousand documents, and what somebody does to a file meanwhile is seen
/// by the next one.
#[derive(Debug)]
pub struct Run<'a> {
    shelf: &'a Shelf,
    /// The file that was read last, and its path.
    file: Option<File>,
    path: Option<Arc<Path>>,
    ahead: Ahead,
    /// Where the last document stood in the index.
    last: usize,
}

/// What was read of the open file beyond the document that was asked for: documents are mostly asked for in the order in which
/// they came and were written.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Arc<Vec<u8>>,
    /// What was read before that, which nobody may need any more.
    before: Arc<Vec<u8>>,
    /// Where they stand in the file.
    start: u64,
    /// Where the last document ended.
    end: u64,
    /// How many bytes of these were asked for.
    asked: usize,
}

/// How many bytes are read at once at most where documents are asked for in their order.
const AHEAD_BYTES: usize = 256 << 10;
/// How many times as long as a document is what is read ahead with it at first. Whoever keeps a document keeps all that was read with
/// it: only where most of it was asked for, twice as much is read the next time, so that it stays a few times as much.
const AHEAD_AT_FIRST: usize = 8;
/// How far the next document may lie behind the last one to count as the next: a head, and a few that are not wanted.
const GAP_BYTES_MAX: u64 = 4 << 10;

impl Ahead {
    /// Makes room for another file.
    fn leave(&mut self) {
        (self.start, self.end, self.asked) = (u64::MAX, 0, 0);
    }

    /// Reads a document of the file for which this stands; it is lent out of what was read with it where it follows the last one.
    fn read(&mut self, file: &File, spot: &Spot) -> std::io::Result<Lent> {
        let gap = spot.offset.checked_sub(self.end).filter(|_| self.end > 0);
        let follows = gap.is_some_and(|gap| gap <= GAP_BYTES_MAX);
        self.end = spot.offset.saturating_add(spot.length);
        if let Some(lent) = self.held(spot) {
            self.asked += lent.0.len();
            return Ok(lent);
        }
        if !follows || spot.length > AHEAD_BYTES as u64 / 4 {
            self.asked = 0;
            let bytes = read_at(file, spot.offset, spot.length)?;
            return Ok((0..bytes.len(), Arc::new(bytes)));
        }
        let at_first = usize::try_from(spot.length).unwrap_or(AHEAD_BYTES).saturating_mul(AHEAD_AT_FIRST);
        let is_dense = 2 * self.asked > self.bytes.len();
        let next = if is_dense { 2 * self.bytes.len() } else { 0 };
        self.fill(file, spot.offset, next.max(at_first).min(AHEAD_BYTES))?;
        let lent = self.held(spot).ok_or(ErrorKind::UnexpectedEof)?;
        self.asked = lent.0.len();
        Ok(lent)
    }

    fn held(&self, spot: &Spot) -> Option<Lent> {
        let start = usize::try_from(spot.offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(usize::try_from(spot.length).ok()?)?;
        (end <= self.bytes.len()).then(|| (start..end, Arc::clone(&self.bytes)))
    }

    fn fill(&mut self, file: &File, start: u64, length: usize) -> std::io::Result<()> {
        std::mem::swap(&mut self.bytes, &mut self.before);
        if Arc::get_mut(&mut self.bytes).is_none() {
            self.bytes = Arc::default();
        }
        let bytes = Arc::make_mut(&mut self.bytes);
        bytes.resize(length, 0);
        self.start = start;
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], start + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    bytes.clear();
                    return Err(error);
                }
            }
        }
        bytes.truncate(filled);
        Ok(())
    }
}

/// A part of bytes that others have as well.
type Lent = (Range<usize>, Arc<Vec<u8>>);

/// Tells whether an error says that the bytes are gone: with their file, with its end, or with the sector that they lay on. Another
/// copy of them may still be there.
fn is_lost(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

impl Run<'_> {
    /// Begins anew: what somebody did to a file meanwhile is seen.
    pub fn renew(&mut self) {
        (self.file, self.path) = (None, None);
        self.ahead.leave();
    }

    /// Does what [`Shelf::read`] does, and hands the digest on that was computed for it.
    pub fn read(&mut self, digest: &Digest) -> Result<Option<Hashed>, ShelfError> {
        self.look(Kind::Documents, digest, |(range, bytes)| {
            let hashed = Hashed::part(bytes, range);
            (hashed.digest() == digest).then_some(hashed)
        })
    }

    /// Returns what `take` makes of the block for which `digest` stands in the index; `None` when it is not here, or `take` makes
    /// nothing of it: such a copy is forgotten as damaged.
    pub fn block<T>(
        &mut self,
        digest: &Digest,
        take: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, ShelfError> {
        self.look(Kind::Blocks, digest, |(range, bytes)| take(bytes.get(range)?))
    }

    /// Tells whether something lies here whose bytes are `bytes`. They have that name, so that it need not be made of what is read.
    fn holds(&mut self, kind: Kind, digest: &Digest, bytes: &[u8]) -> Result<bool, ShelfError> {
        let is = |(range, held): Lent| held.get(range).filter(|held| *held == bytes).map(|_| ());
        Ok(self.look(kind, digest, is)?.is_some())
    }

    /// Returns what `take` makes of something that is kept; a copy of which it makes nothing is damaged.
    fn look<T>(
        &mut self,
        kind: Kind,
        digest: &Digest,
        take: impl Fn(Lent) -> Option<T>,
    ) -> Result<Option<T>, ShelfError> {
        while let Some((spot, found)) = self.find(kind, digest) {
            let read = match (found, &self.file) {
                (Err(error), _) => Err(error),
                (Ok(()), Some(file)) => self.ahead.read(file, &spot),
                (Ok(()), None) => Err(ErrorKind::NotFound.into()),
            };
            let path = self.path.as_deref().unwrap_or(Path::new(""));
            let taken = match read {
                Ok(lent) => take(lent),
                Err(error) if is_lost(&error) => None,
                Err(error) => return Err(failed("read", path)(error).into()),
            };
            if taken.is_some() {
                if !spot.is_sound {
                    self.shelf.index().found_sound(self.last, &spot, self.path.as_ref());
                }
                return Ok(taken);
            }
            tracing::warn!(%digest, file = %path.display(), "a kept document is damaged");
            self.shelf.index().forget(self.last, &spot, self.path.as_ref());
        }
        Ok(None)
    }

    /// Finds a document and opens its file under the lock: a sweep may unlink the file, it cannot take it away.
    fn find(&mut self, kind: Kind, digest: &Digest) -> Option<(Spot, std::io::Result<()>)> {
        let index = self.shelf.index();
        self.last = index.find(kind, digest, self.last)?;
        let spot = *index.spots.get(self.last)?;
        let path = index.paths.get(spot.file as usize)?;
        if self.file.is_none() || !self.path.as_ref().is_some_and(|open| Arc::ptr_eq(open, path)) {
            (self.file, self.path) = (None, Some(Arc::clone(path)));
            self.ahead.leave();
            match File::open(path) {
                Ok(file) => self.file = Some(file),
                Err(error) => return Some((spot, Err(error))),
            }
        }
        Some((spot, Ok(())))
    }
}

fn head(digest: &[u8; 32], length: u64) -> [u8; HEAD_BYTES as usize] {
    let mut head = [0; HEAD_BYTES as usize];
    let (name, size) = head.split_at_mut(32);
    name.copy_from_slice(digest);
    size.copy_from_slice(&length.to_be_bytes());
    head
}

/// Reads the name of something that lies alone.
fn named_alone(name: &str) -> Option<(Kind, [u8; 32])> {
    let (kind, digits) = match name.strip_suffix(Kind::Blocks.suffix_alone()) {
        Some(digits) => (Kind::Blocks, digits),
        None => (Kind::Documents, name),
    };
    Some((kind, unhex(digits)?.try_into().ok()?))
}

/// Returns the bytes of a SHA-256 digest: nothing lies here by any other.
fn name_of(digest: &Digest) -> Option<&[u8; 32]> {
    digest.as_bytes().try_into().ok().filter(|_| digest.algorithm() == Algorithm::Sha256)
}

/// What opening does with the files that hold the heads of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heads {
    /// Uses them, and writes those that are missing.
    Made,
    Used,
    Unused,
}

/// Reads the heads of a pack's frames; a frame that is not whole ends the list, with a warning.
fn frames(file: &Path, kind: Kind, heads: Heads) -> Result<(u64, Vec<Frame>), ShelfError> {
    let open = File::open(file).map_err(failed("open", file))?;
    let total = open.metadata().map_err(failed("read the length of", file))?.len();
    if heads != Heads::Unused
        && let Some(frames) = heads::read(file, kind, total)
    {
        return Ok((total, frames));
    }
    let mut reader = BufReader::new(open);
    let mut found = Vec::new();
    let whole = scan(&mut reader, kind.magic(), total, |frame| found.push(frame));
    match whole.map_err(failed("read", file))? {
        true if heads == Heads::Made => heads::write(file, total, &found),
        true => {}
        false => {
            tracing::warn!(file = %file.display(), frames = found.len(), "a pack is damaged or cut short")
        }
    }
    Ok((total, found))
}

/// Walks over the frames and tells whether the last one ends where the file does.
fn scan(
    reader: &mut BufReader<File>,
    magic: &[u8],
    total: u64,
    mut frame: impl FnMut(Frame),
) -> std::io::Result<bool> {
    let mut at = magic.len() as u64;
    let mut found = vec![0; magic.len()];
    if total < at {
        return Ok(false);
    }
    reader.read_exact(&mut found)?;
    if found != magic {
        return Ok(false);
    }
    while at < total {
        if total - at < HEAD_BYTES {
            return Ok(false);
        }
        let (mut name, mut length) = ([0; 32], [0; 8]);
        reader.read_exact(&mut name)?;
        reader.read_exact(&mut length)?;
        at += HEAD_BYTES;
        let length = u64::from_be_bytes(length);
        // The comparison comes first: a garbled length may be anything up to u64::MAX.
        let Some(skip) = i64::try_from(length).ok().filter(|_| length <= total - at) else {
            return Ok(false);
        };
        frame(Frame { name, offset: at, length });
        reader.seek_relative(skip)?;
        at += length;
    }
    Ok(true)
}

fn read_at(file: &File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    // A length was compared with that of its file when the file was taken in, so no garbled one reserves memory here.
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
