//! The first-seen ledger: which bytes every version had when it was first let in here, per source. `first-seen.log` beside the
//! store is only ever appended to; it outlives a lost store, since shelf and sources cannot tell what was there before.
//!
//! It is read when somebody asks for the first time, and then costs 49 bytes a version: a start, and a sync that changes nothing,
//! never read it. What is refused is not written down, so that nobody can claim a version by showing bad bytes first.
//!
//! **Shape** of a line, texts between tabs: checksum (CRC-32 of what follows its tab, 8 hex digits), seconds since 1970-01-01 UTC,
//! source, id, version, digest, signers between commas. `forgotten` instead of a digest: an operator gave up what was known of
//! this version. `recalled` instead of a digest, with a number instead of a version: so many damaged lines were made up for by what the
//! last generation holds. Of two lines for one version the first counts. A last line that was torn by a power cut is cut off; other
//! lines are never changed. A damaged line counts as none.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use catalogue_schema::digest::{Algorithm, Digest};
use catalogue_schema::model::Refusal;
use catalogue_schema::pace;
use tracing::warn;

use crate::shelf::durable::{Failed, failed};
use crate::store::appended::{self, Tail};
use crate::store::memory::Memory;

const FILE: &str = "first-seen.log";
/// The longest line that is read, in bytes; longer ones are none of ours.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// How long a line is, roughly, in bytes.
const LINE_BYTES: u64 = 128;
const FORGOTTEN: &str = "forgotten";
const RECALLED: &str = "recalled";
/// How much of the end of the file is looked at for what was forgotten last, in bytes.
const TAIL_BYTES: u64 = 64 << 10;
/// The time of an entry that forgets.
const GONE: u32 = u32::MAX;
/// How much work it is to read a line, roughly.
const LINE_NS: usize = 150;

/// The ledger of one state directory.
#[derive(Debug, Default)]
pub struct FirstSeen {
    /// `None` for a store that keeps nothing.
    path: Option<PathBuf>,
    tail: Tail,
    table: OnceLock<Table>,
    /// What was forgotten and not seen since: ids and versions.
    forgotten: HashSet<(String, String)>,
    /// Why the ledger had to be made up for by what the last generation holds, in this process.
    lost: Option<Refusal>,
    /// How long the file is at least, as was written elsewhere.
    promised: u64,
}

/// A version that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// The source that supplies it.
    pub source: &'a str,
    /// The id of its component.
    pub id: &'a str,
    /// The version.
    pub version: &'a str,
    /// The digest over everything that its bytes decide.
    pub digest: Digest,
    /// Whose signatures counted.
    pub signers: Vec<String>,
    /// When it was seen, in seconds since 1970-01-01 UTC; `None` for now.
    pub at_s: Option<i64>,
}

/// What a version was when it was first seen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The digest over everything that its bytes decided.
    pub digest: Digest,
    /// When, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
}

impl Seen {
    /// Tells whether it was first seen with the bytes of `content`.
    pub fn is_of(&self, content: &Digest) -> bool {
        *self.digest.as_bytes() == bytes_of(content)
    }

    /// Returns it with the digest as `content` has it, where both are the same.
    fn beside(self, content: &Digest) -> Seen {
        match self.is_of(content) {
            true => Seen { digest: content.clone(), ..self },
            false => self,
        }
    }
}

/// Returns the name of the ledger where the one in `directory` holds something.
///
/// **Errors**: the file cannot be read; that it is missing is no error.
pub(super) fn begun(directory: &Path) -> Result<Option<&'static str>, Failed> {
    Ok((appended::length(&directory.join(FILE))? > 0).then_some(FILE))
}

/// What the file says, in memory.
#[derive(Debug, Default)]
struct Table {
    keys: RandomState,
    entries: Sorted,
    /// What was noted since, sorted like them.
    later: Vec<Entry>,
    damaged: usize,
    /// How many damaged lines were made up for.
    recalled: usize,
}

/// Entries sorted by key, one per key, which are found by where those begin that share their highest bits.
#[derive(Debug, Default)]
struct Sorted {
    entries: Vec<Entry>,
    /// One more than there are values of these bits.
    starts: Vec<u32>,
    /// How far a key is shifted to the right to be nothing but these bits.
    shift: u32,
}

/// How many entries share their highest bits on average, about.
const ENTRIES_ALIKE: usize = 4;

/// What is known of the versions of one component from one source.
#[derive(Debug)]
pub struct Own<'a> {
    table: &'a Table,
    /// The hash of the source and the id.
    start: DefaultHasher,
}

/// One version: 48 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The keyed hash of source, id and version.
    key: u64,
    digest: [u8; 32],
    at_s: u32,
}

impl FirstSeen {
    /// Names the ledger in `directory`, which was `promised` bytes long; reads only what was forgotten last.
    ///
    /// **Errors**: the file cannot be read; that it is missing is no error.
    pub(super) fn at(directory: &Path, promised: u64) -> Result<FirstSeen, Failed> {
        let path = directory.join(FILE);
        let forgotten = forgotten_last(&path)?;
        Ok(FirstSeen { path: Some(path), forgotten, promised, ..FirstSeen::default() })
    }

    /// Returns what the ledger has lost that the last generation may still know; `None` where nothing is missing or it was made
    /// up for. A ledger that has not been read yet is not read for it.
    ///
    /// **Errors**: the file cannot be read.
    pub fn gap(&self) -> Result<Option<Refusal>, Failed> {
        let Some(path) = self.path.as_deref().filter(|_| self.lost.is_none()) else { return Ok(None) };
        let length = appended::length(path)?;
        let (reason, found) = match self.table.get() {
            _ if !path.exists() => ("trust.ledger_lost", "no such file".to_owned()),
            _ if length < self.promised => {
                ("trust.ledger_lost", format!("{length} of at least {} bytes", self.promised))
            }
            Some(table) if table.damaged > table.recalled => {
                ("trust.ledger_damaged", format!("{} damaged lines, which count as none", table.damaged))
            }
            _ => return Ok(None),
        };
        let found = format!("{found}; what the last generation holds counts as seen first");
        Ok(Some(Refusal::new(
            reason,
            path.display(),
            "the bytes of every version when it was first let in",
            found,
        )))
    }

    /// Reads the ledger, so that [`FirstSeen::gap`] knows of damaged lines.
    ///
    /// **Errors**: as [`FirstSeen::known`].
    pub fn read(&self) -> Result<(), Failed> {
        self.table().map(|_| ())
    }

    /// Writes down what a lost or damaged ledger should know; durable on return. Tells whether anything had been lost.
    pub(super) fn recall<'a>(
        &mut self,
        gap: Refusal,
        sightings: impl Iterator<Item = Sighting<'a>>,
        now_s: i64,
    ) -> Result<bool, Failed> {
        let Some(path) = self.path.clone() else { return Ok(false) };
        let before = appended::length(&path)?;
        let forgotten = std::mem::take(&mut self.forgotten);
        let noted = self.note(sightings, now_s);
        self.forgotten = forgotten;
        noted?;
        let damaged =
            self.table.get().filter(|table| table.damaged > table.recalled).map(|table| table.damaged);
        if let Some(damaged) = damaged {
            let mut line = Vec::new();
            // A buffer takes every byte.
            let _ = write_line(&mut line, seconds(now_s), &["", "", &damaged.to_string(), RECALLED, ""]);
            self.tail.append(&path, &line)?;
        }
        if appended::length(&path)? == before && before >= self.promised {
            // Nothing is missing: nothing was ever let in.
            return Ok(false);
        }
        if before == 0 && self.promised == 0 {
            // There was no ledger before: it begins here, with what an older program had let in.
            return Ok(false);
        }
        if let Some(table) = self.table.get_mut() {
            table.recalled = table.damaged;
        }
        self.lost = Some(gap);
        Ok(true)
    }

    /// Looks at the ledger in `directory` and changes nothing: what is wrong with it, where anything is.
    ///
    /// **Errors**: the file cannot be read; that it is missing is no error of the file.
    pub fn look(directory: &Path) -> Result<Option<String>, Failed> {
        let (path, promised) = (directory.join(FILE), Memory::look_at_marks(directory).ledger_bytes);
        let length = appended::length(&path)?;
        if length < promised {
            return Ok(Some(format!("{length} of at least {promised} bytes")));
        }
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open", &path))?,
        };
        let (mut damaged, mut recalled) = (0_usize, 0_usize);
        let whole = each_line(file, |line| match line.and_then(read_line) {
            Some((_, [_, _, count], What::Recalled)) => recalled = count.parse().unwrap_or_default(),
            Some(_) => {}
            None => damaged += 1,
        });
        whole.map_err(failed("read", &path))?;
        Ok((damaged > recalled).then(|| format!("{damaged} damaged lines, which count as none")))
    }

    /// Returns how long the file is, in bytes.
    pub(super) fn length(&self) -> Result<u64, Failed> {
        self.path.as_deref().map_or(Ok(0), appended::length)
    }

    /// Returns what a version was when it was first seen from a source; `None` where it is new.
    ///
    /// **Errors**: the file cannot be read; that it is missing is no error.
    pub fn known(&self, source: &str, id: &str, version: &str) -> Result<Option<Seen>, Failed> {
        Ok(self.of(source, id)?.find(version).map(Entry::seen))
    }

    /// Returns what is known of the versions of a component from a source.
    ///
    /// **Errors**: as [`FirstSeen::known`].
    pub fn of(&self, source: &str, id: &str) -> Result<Own<'_>, Failed> {
        Ok(self.table()?.of(source, id))
    }

    /// Returns what a version was when it was first seen; the digest is `content` itself where its bytes are the same.
    ///
    /// **Errors**: as [`FirstSeen::known`].
    pub fn known_as(
        &self,
        source: &str,
        id: &str,
        version: &str,
        content: &Digest,
    ) -> Result<Option<Seen>, Failed> {
        Ok(self.known(source, id, version)?.map(|seen| seen.beside(content)))
    }

    /// Looks one version up in the ledger of `directory`, as [`FirstSeen::known_as`] does, without keeping anything in memory.
    ///
    /// **Errors**: the file cannot be read; that it is missing is no error.
    pub fn look_up(directory: &Path, version: [&str; 3], content: &Digest) -> Result<Option<Seen>, Failed> {
        let path = directory.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open", &path))?,
        };
        let mut found: Option<Seen> = None;
        let whole = each_line(file, |line| match line.and_then(read_line) {
            Some((at_s, named, What::Seen(digest))) if named == version => {
                let seen = Seen { digest: comparable(&digest), at_s: at_s.into() };
                found.get_or_insert_with(|| seen.beside(content));
            }
            Some((_, named, What::Forgotten)) if named == version => found = None,
            _ => {}
        });
        whole.map_err(failed("read", &path))?;
        Ok(found)
    }

    /// Tells whether an operator had this version forgotten since it was let in last.
    pub fn is_forgotten(&self, id: &str, version: &str) -> bool {
        !self.forgotten.is_empty() && self.forgotten.contains(&(id.to_owned(), version.to_owned()))
    }

    /// Returns what was forgotten and not let in since: ids and versions.
    pub fn forgotten(&self) -> impl Iterator<Item = &(String, String)> {
        self.forgotten.iter()
    }

    /// Returns what is wrong with the ledger, as far as it has been read.
    pub fn problem(&self) -> Option<Refusal> {
        if let Some(lost) = &self.lost {
            return Some(lost.clone());
        }
        let (path, table) = (self.path.as_ref()?, self.table.get()?);
        let found = format!("{} damaged lines, which count as none", table.damaged);
        (table.damaged > table.recalled).then(|| {
            Refusal::new("trust.ledger_damaged", path.display(), "lines with their checksums", found)
        })
    }

    /// Writes down what was let in for the first time, in one append; durable on return. What is known already is left out.
    /// No version may come twice.
    pub(super) fn note<'a>(
        &mut self,
        sightings: impl Iterator<Item = Sighting<'a>>,
        now_s: i64,
    ) -> Result<(), Failed> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let mut entries = Vec::new();
        let mut sightings = sightings.peekable();
        if sightings.peek().is_some() {
            self.table()?;
            let Some(table) = self.table.get() else { return Ok(()) };
            // Those of one component follow each other.
            let mut own: Option<(&str, &str, Own<'_>)> = None;
            let mut key = |one: &Sighting<'a>| match &own {
                Some((source, id, own)) if (*source, *id) == (one.source, one.id) => own.key(one.version),
                _ => own.insert((one.source, one.id, table.of(one.source, one.id))).2.key(one.version),
            };
            let mut fresh = sightings
                .map(|one| (key(&one), one))
                .filter(|(key, _)| table.find(*key).is_none())
                .peekable();
            if fresh.peek().is_some() {
                self.tail.append_with(&path, |file| {
                    let mut out = BufWriter::new(file);
                    for (key, Sighting { source, id, version, digest, signers, at_s }) in fresh {
                        let at_s = seconds(at_s.unwrap_or(now_s));
                        let digest = comparable(&digest);
                        let texts = [source, id, version, &digest.to_string(), &signers.join(",")];
                        write_line(&mut out, at_s, &texts)?;
                        entries.push(Entry { key, digest: bytes_of(&digest), at_s });
                    }
                    out.flush()
                })?;
            }
        }
        if let Some(table) = self.table.get_mut().filter(|_| !entries.is_empty()) {
            table.add(entries);
        }
        self.forgotten.clear();
        Ok(())
    }

    /// Gives up what is known of a version from any of these sources; durable on return. Tells whether anything was known.
    pub(super) fn forget(
        &mut self,
        sources: &[&str],
        id: &str,
        version: &str,
        now_s: i64,
    ) -> Result<bool, Failed> {
        let Some(path) = self.path.clone() else { return Ok(false) };
        let mut lines = Vec::new();
        for source in sources {
            if self.known(source, id, version)?.is_some() {
                // A buffer takes every byte.
                let _ = write_line(&mut lines, seconds(now_s), &[source, id, version, FORGOTTEN, ""]);
            }
        }
        if lines.is_empty() {
            return Ok(false);
        }
        self.tail.append(&path, &lines)?;
        // Read again by whoever asks next.
        self.table = OnceLock::new();
        self.forgotten.insert((id.to_owned(), version.to_owned()));
        Ok(true)
    }

    fn table(&self) -> Result<&Table, Failed> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let table = self.path.as_deref().map_or_else(|| Ok(Table::default()), Table::read)?;
        Ok(self.table.get_or_init(|| table))
    }
}

impl Table {
    /// Reads the file, and cuts off a torn last line.
    fn read(path: &Path) -> Result<Table, Failed> {
        let mut table = Table::default();
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(table),
            other => other.map_err(failed("open", path))?,
        };
        let length = file.metadata().map_err(failed("read", path))?.len();
        let mut entries = Vec::with_capacity(usize::try_from(length / LINE_BYTES).unwrap_or_default());
        let (mut named, mut start) = ((String::new(), String::new()), table.start("", ""));
        let whole = each_line(file, |line| match line.and_then(read_line) {
            Some((at_s, [source, id, version], what)) => {
                // The versions of one component follow each other mostly.
                if (named.0.as_str(), named.1.as_str()) != (source, id) {
                    named = (source.to_owned(), id.to_owned());
                    start = table.start(source, id);
                }
                let key = key(&start, version);
                match what {
                    What::Seen(digest) => entries.push(Entry { key, digest: bytes_of(&digest), at_s }),
                    What::Forgotten => entries.push(Entry { key, digest: [0; 32], at_s: GONE }),
                    What::Recalled => table.recalled = version.parse().unwrap_or_default(),
                }
            }
            None => table.damaged += 1,
        });
        let whole = whole.map_err(failed("read", path))?;
        if length > whole
            && let Some(file) = appended::open(path)?
        {
            warn!(path = %path.display(), "a torn last line of the first-seen ledger is cut off");
            appended::cut(&file, path, whole)?;
        }
        // Stable: the lines of one version stay in their order. What is known after each of them is at the front of its kind.
        let mut entries = sorted(entries);
        entries.dedup_by(|later, known| {
            let is_same = later.key == known.key;
            if is_same && (known.at_s == GONE || later.at_s == GONE) {
                *known = *later;
            }
            is_same
        });
        entries.retain(|entry| entry.at_s != GONE);
        entries.shrink_to_fit();
        table.entries = Sorted::of(entries);
        Ok(table)
    }

    fn of(&self, source: &str, id: &str) -> Own<'_> {
        Own { table: self, start: self.start(source, id) }
    }

    fn start(&self, source: &str, id: &str) -> DefaultHasher {
        let mut start = self.keys.build_hasher();
        (source, id).hash(&mut start);
        start
    }

    fn find(&self, key: u64) -> Option<&Entry> {
        let later = || {
            let at = self.later.binary_search_by_key(&key, |entry| entry.key).ok()?;
            self.later.get(at)
        };
        self.entries.find(key).or_else(later)
    }

    /// Adds entries that are new and sorted. Many become one with the rest, few stay beside it.
    fn add(&mut self, mut fresh: Vec<Entry>) {
        self.later.append(&mut fresh);
        if self.later.len() > self.entries.entries.len() / 16 {
            let mut entries = std::mem::take(&mut self.entries).entries;
            entries.append(&mut self.later);
            entries.sort_unstable_by_key(|entry| entry.key);
            entries.shrink_to_fit();
            self.entries = Sorted::of(entries);
            self.later.shrink_to_fit();
        } else {
            self.later.sort_unstable_by_key(|entry| entry.key);
        }
    }
}

impl Sorted {
    /// Takes entries that are sorted by key, one per key.
    fn of(entries: Vec<Entry>) -> Sorted {
        let bits = bits(entries.len());
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        // Nobody has four thousand million of them.
        for (entry, at) in entries.iter().zip(0_u32..) {
            while starts.len() as u64 <= entry.key >> shift {
                starts.push(at);
            }
        }
        starts.resize((1 << bits) + 1, u32::try_from(entries.len()).unwrap_or(u32::MAX));
        Sorted { entries, starts, shift }
    }

    fn find(&self, key: u64) -> Option<&Entry> {
        let alike = usize::try_from(key.checked_shr(self.shift)?).ok()?;
        let [start, end] = *self.starts.get(alike..)?.first_chunk::<2>()?;
        self.entries.get(start as usize..end as usize)?.iter().find(|entry| entry.key == key)
    }
}

impl Own<'_> {
    /// Returns what a version was when it was first seen; `None` where it is new.
    pub fn version(&self, version: &str) -> Option<Seen> {
        self.find(version).map(Entry::seen)
    }

    fn find(&self, version: &str) -> Option<&Entry> {
        self.table.find(self.key(version))
    }

    fn key(&self, version: &str) -> u64 {
        key(&self.start, version)
    }
}

/// Returns the keyed hash of a version behind the hash of its source and id.
fn key(start: &DefaultHasher, version: &str) -> u64 {
    let mut hash = start.clone();
    version.hash(&mut hash);
    hash.finish()
}

/// Returns how many of the highest bits of a key say where so many entries are looked for.
fn bits(entries: usize) -> u32 {
    (entries / ENTRIES_ALIKE).checked_ilog2().unwrap_or_default().max(1)
}

/// Sorts entries by key; those of one key stay in their order. Keys are hashes, so that a few entries at most share the highest bits:
/// each is put where those begin, and the few are sorted there.
fn sorted(entries: Vec<Entry>) -> Vec<Entry> {
    let shift = u64::BITS - bits(entries.len());
    let alike = |entry: &Entry| (entry.key >> shift) as usize;
    let mut ends = vec![0_usize; 1 << bits(entries.len())];
    for entry in &entries {
        ends[alike(entry)] += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    let mut sorted = vec![Entry { key: 0, digest: [0; 32], at_s: 0 }; entries.len()];
    for entry in entries {
        let end = &mut ends[alike(&entry)];
        sorted[*end] = entry;
        *end += 1;
    }
    let mut start = 0;
    for end in ends {
        sorted[start..end].sort_by_key(|entry| entry.key);
        start = end;
    }
    sorted
}

impl Entry {
    fn seen(&self) -> Seen {
        Seen { digest: Digest::from_sha256(self.digest), at_s: self.at_s.into() }
    }
}

/// Returns a time as it is kept: from 1970 on, and never the one that forgets.
fn seconds(now_s: i64) -> u32 {
    u32::try_from(now_s.clamp(0, i64::from(GONE) - 1)).unwrap_or_default()
}

/// Returns a digest as it is compared: SHA-256, of the text of a digest of another kind.
fn comparable(digest: &Digest) -> Digest {
    Digest::from_sha256(bytes_of(digest))
}

fn bytes_of(digest: &Digest) -> [u8; 32] {
    match digest.as_bytes().try_into() {
        Ok(bytes) if digest.algorithm() == Algorithm::Sha256 => bytes,
        _ => {
            let text = Digest::sha256(digest.to_string().as_bytes());
            text.as_bytes().try_into().unwrap_or_default()
        }
    }
}

fn write_line(out: &mut impl Write, at_s: u32, texts: &[&str; 5]) -> std::io::Result<()> {
    let mut line = at_s.to_string();
    for text in texts {
        line.push('\t');
        // None of them has such characters; one that had would be a line of its own.
        line.extend(text.chars().filter(|c| !c.is_control()));
    }
    writeln!(out, "{:08x}\t{line}", crc32fast::hash(line.as_bytes()))
}

/// What a line says of its version.
enum What {
    Seen(Digest),
    Forgotten,
    Recalled,
}

/// Returns what the last lines of the file forget: ids and versions.
fn forgotten_last(path: &Path) -> Result<HashSet<(String, String)>, Failed> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashSet::new()),
        other => other.map_err(failed("open", path))?,
    };
    let length = file.metadata().map_err(failed("read", path))?.len();
    let mut end = Vec::new();
    let start = SeekFrom::Start(length.saturating_sub(TAIL_BYTES));
    let read = file.seek(start).and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut end));
    read.map_err(failed("read", path))?;
    let lines = end.rsplit(|byte| *byte == b'\n').skip(1).map(read_line);
    let forgotten = lines.map_while(|line| match line {
        Some((_, [_, id, version], What::Forgotten)) => Some((id.to_owned(), version.to_owned())),
        _ => None,
    });
    Ok(forgotten.collect())
}

/// Reads a line: its time, its texts, and what it says.
fn read_line(line: &[u8]) -> Option<(u32, [&str; 3], What)> {
    let (sum, rest) = line.split_first_chunk::<8>()?;
    let rest = rest.strip_prefix(b"\t")?;
    if u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()? != crc32fast::hash(rest) {
        return None;
    }
    let rest = std::str::from_utf8(rest).ok()?;
    let mut tabs = memchr::memchr_iter(b'\t', rest.as_bytes()).chain([rest.len()]);
    let mut start = 0;
    let mut texts = std::iter::from_fn(|| {
        let end = tabs.next()?;
        rest.get(std::mem::replace(&mut start, end + 1)..end)
    });
    let at_s = texts.next()?.parse().ok().filter(|at_s| *at_s != GONE)?;
    let named = [texts.next()?, texts.next()?, texts.next()?];
    let digest = match texts.next()? {
        FORGOTTEN => What::Forgotten,
        RECALLED => What::Recalled,
        digest => What::Seen(Digest::parse(digest).ok()?),
    };
    Some((at_s, named, digest))
}

/// Reads a text as a line whose checksum is right: what it names is in it.
pub(super) fn probe_line(text: &[u8]) {
    let mut line = format!("{:08x}\t", crc32fast::hash(text)).into_bytes();
    line.extend(text);
    if let Some((_, named, _)) = read_line(&line) {
        let held = String::from_utf8_lossy(text);
        assert!(named.iter().all(|one| held.contains(one) && !one.contains('\t')), "{held:?}");
    }
    // A line of the file has no line feed in it; two of them are two lines.
    for part in line.split(|byte| *byte == b'\n') {
        let _ = read_line(part);
    }
}

/// Hands each whole line to `each`, `None` for one that is too long, and returns where the last of them ends.
fn each_line(file: File, mut each: impl FnMut(Option<&[u8]>)) -> std::io::Result<u64> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut line, mut end) = (Vec::new(), 0);
    loop {
        pace::spent(LINE_NS);
        // Mostly a line lies whole in what was read already.
        let held = reader.buffer();
        if let Some(at) = memchr::memchr(b'\n', held).filter(|at| (*at as u64) < LINE_BYTES_MAX) {
            each(held.get(..at));
            reader.consume(at + 1);
            end += at as u64 + 1;
            continue;
        }
        line.clear();
        let mut read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if line.pop_if(|last| *last == b'\n').is_some() {
            end += read;
            each(Some(&line));
            continue;
        }
        if read < LINE_BYTES_MAX {
            return Ok(end);
        }
        let mut last = [0];
        let skipped = skip_line(&mut reader, &mut last)?;
        read += skipped;
        if last != *b"\n" {
            // However long it is, it is the end of a line that was never finished.
            return Ok(end);
        }
        end += read;
        each(None);
    }
}

/// Skips the rest of a line, and returns how many bytes that was; `last` becomes the last of them.
fn skip_line(reader: &mut impl BufRead, last: &mut [u8; 1]) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let at = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let used = at.unwrap_or(bytes.len());
        let Some(end) = used.checked_sub(1).and_then(|at| bytes.get(at)) else { return Ok(skipped) };
        *last = [*end];
        reader.consume(used);
        skipped += used as u64;
        if at.is_some() {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests;
