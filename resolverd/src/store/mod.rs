//! The store (pillar, with the shelf): generations and the index of their components; a cache that shelf and sources can
//! rebuild. Never judges what it keeps, and never gives an answer that its own digests do not confirm.
//!
//! # Layout of the state directory
//! | what | why |
//! |---|---|
//! | `lock` | one process at a time |
//! | `current` | number and digest of the generation file in force |
//! | `generations/<n>.json` | what a generation is; as many of the newest with different snapshots as are kept for readers |
//! | `generations/<sha256>.documents` | which documents generations rest on (see `files.rs`) |
//! | `index/` | one row per component and generation in which it changed (see `row.rs`) |
//! | `index.bad-<n>/` | damaged indexes, set aside |
//! | `checks.json` | when each source was checked last (see `checks.rs`) |
//! | `trust-state.json` | which revisions were accepted (see `memory.rs`) |
//! | `revisions.jsonl` | the log of revisions (see `revisions.rs`) |
//! | `first-seen.log` | which bytes every version had when it was first let in (see `first_seen.rs`) |
//! | `audit.jsonl`, `audit-<n>.jsonl`, `audit.head` | the audit log (see `audit.rs`) |
//!
//! # A commit
//! 1. Components whose block is long go to the shelf.
//! 2. Rows that differ go to the index, in batches; then flush and our own fsync.
//! 3. The list of documents, then the generation file.
//! 4. `current`. Only now does anybody see the new generation.
//!
//! Whatever is found behind `current` at the next start was never promised, and is removed.
//!
//! Every kept generation is in memory too, as an immutable [`Snapshot`], but for the list of its documents, which is read when
//! somebody needs it; what did not change from one to the next is the same memory. At a start the newest one decides: an older one that cannot be read whole is left out, with a warning.
//!
//! A component is one block of bytes (`catalogue_schema::packed`): the same in its row, on the shelf and in memory, so that it is
//! encoded once and read only by whoever asks for it.
//!
//! The root digest of a generation is SHA-256 over (id, zero byte, what stands for the block, see `row.rs`) of its components in the
//! order of their ids.

mod appended;
pub mod audit;
pub mod checks;
pub mod exact;
mod files;
pub mod first_seen;
mod index;
pub mod inspect;
mod ledger;
mod lock;
pub mod memory;
pub mod places;
pub mod probe;
pub mod revisions;
mod row;
mod sealed;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use catalogue_schema::digest::Digest;
use catalogue_schema::documents::{Documents, Listed};
use catalogue_schema::generation::{DocumentList, GENERATION_SCHEMA, Generation, is_of_another_format};
use catalogue_schema::graph::Graph;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::keyset::Accepted;
use catalogue_schema::model::Refusal;
use catalogue_schema::pace;
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::revision::{Revision, RevisionKey, rfc3339};

use crate::shelf::durable::Failed;
use crate::shelf::{Live, Shelf, ShelfError};
use crate::store::audit::{Audit, Entry, Event};
use crate::store::files::{Files, Foreign, Found, Named};
use crate::store::first_seen::{FirstSeen, Sighting};
use crate::store::index::{BATCH_ROWS_MAX, Fault, Index, Written};
use crate::store::ledger::{Ledger, Mark};
use crate::store::memory::{KEYSETS_FORGOTTEN, Marks, Memory, Records, Remains};
use crate::store::places::Places;
use crate::store::revisions::Log;
use crate::store::row::{Root, Seal};

/// A generation as readers see it: immutable, complete, in memory.
#[derive(Debug)]
pub struct Snapshot {
    /// What the generation's file says.
    pub generation: Generation,
    /// Sorted by the text of the id.
    components: Vec<Packed>,
    places: Arc<Places>,
    lead: Box<[u8]>,
    graph: OnceLock<Graph>,
}

impl Snapshot {
    /// Puts a snapshot together; of two components with one id the first counts.
    pub fn new(generation: Generation, components: Vec<Packed>) -> Snapshot {
        Snapshot::beside(generation, components, None)
    }

    /// Puts a snapshot together like [`Snapshot::new`]; where it has the ids of `other`, both hold one table of their places.
    fn beside(generation: Generation, mut components: Vec<Packed>, other: Option<&Snapshot>) -> Snapshot {
        // Stable, so that the first of two with one id stays the first.
        components.sort_by(|one, other| {
            pace::spent(pace::COMPONENT_NS);
            one.id_bytes().cmp(other.id_bytes())
        });
        components.dedup_by(|later, first| later.id_bytes() == first.id_bytes());
        components.shrink_to_fit();
        let has_same_ids = |other: &&Snapshot| {
            let ids = pace::each(&other.components, pace::COMPONENT_NS).map(Packed::id_bytes);
            ids.eq(components.iter().map(Packed::id_bytes))
        };
        let places = match other.filter(has_same_ids) {
            Some(other) => Arc::clone(&other.places),
            None => Arc::new(Places::of(&components)),
        };
        let lead = format!("{{\"snapshot\":\"{}\",", generation.snapshot).into_bytes().into();
        Snapshot { generation, components, places, lead, graph: OnceLock::new() }
    }

    /// Returns every component, sorted by the text of its id.
    pub fn components(&self) -> &[Packed] {
        &self.components
    }

    /// Returns what its releases require. It is made once: whoever asks while nobody has waits for as long as that takes.
    pub fn graph(&self) -> &Graph {
        let place = |id: &str| u32::try_from(self.places.find(id, &self.components)?).ok();
        self.graph.get_or_init(|| Graph::by(&self.components, &place))
    }

    /// Tells whether nobody would have to wait for the graph.
    pub fn has_graph(&self) -> bool {
        self.graph.get().is_some()
    }

    /// Returns how many components there are.
    pub fn count(&self) -> usize {
        self.components.len()
    }

    /// Returns the component that owns `id`.
    pub fn component(&self, id: &ComponentId) -> Option<&Packed> {
        self.component_of(id.as_text())
    }

    /// Returns the component whose id is written so; no other text than the canonical one finds it.
    pub fn component_of(&self, id: &str) -> Option<&Packed> {
        self.components.get(self.places.find(id, &self.components)?)
    }

    /// Returns the components whose ids are written so, like [`Snapshot::component_of`] and cheaper than one after the other.
    pub fn components_of(&self, ids: &[&str]) -> Vec<Option<&Packed>> {
        let places = self.places.find_all(ids, &self.components).into_iter();
        places.map(|place| self.components.get(place?)).collect()
    }

    /// Returns the place of the component that is likely to have this id: whoever goes on reading it compares the id with what it says.
    pub fn likely_place(&self, id: &str) -> Option<usize> {
        self.places.guess(id)
    }

    /// Returns how every JSON object begins that is answered about one release: its digest, as the first field.
    pub fn lead(&self) -> &[u8] {
        &self.lead
    }
}

#[cfg(test)]
impl Snapshot {
    /// Packs components and puts them together.
    pub(crate) fn of(
        generation: Generation,
        components: impl IntoIterator<Item = catalogue_schema::model::Component>,
    ) -> Snapshot {
        let packed = components.into_iter().map(|one| Packed::of(&one).expect("it can be packed"));
        Snapshot::new(generation, packed.collect())
    }

    /// Returns every component, read.
    pub(crate) fn read_all(&self) -> Vec<catalogue_schema::model::Component> {
        self.components.iter().map(|one| one.component().expect("it can be read")).collect()
    }

    /// Returns the component of an id such as `lcod://ns/name`, read.
    pub(crate) fn read(&self, id: &str) -> Option<catalogue_schema::model::Component> {
        self.read_all().into_iter().find(|one| one.id.as_text() == id)
    }
}

/// A generation that is being written; only a sync makes one.
#[derive(Debug)]
pub struct Draft {
    /// What its file will say; the store fills in schema, number, component count, root and the name of the list of documents.
    pub generation: Generation,
    /// The documents that it rests on.
    pub documents: Listed,
    /// Its components. Every release carries the leave of the verify function, or its refusal.
    pub components: Vec<Packed>,
}

/// What a commit did.
#[derive(Debug)]
pub struct Committed {
    /// The new generation.
    pub snapshot: Arc<Snapshot>,
    /// How many rows the index received, removals included.
    pub rows_written: u64,
}

/// What was found when a store was opened.
#[derive(Debug)]
pub enum Opened {
    /// Nothing has been committed yet, or nothing of it can be read any more.
    Empty,
    /// A complete generation, ready to answer.
    Warm(Arc<Snapshot>),
    /// The index did not match the generation's file and was set aside; the shelf can rebuild it.
    Rebuild {
        /// What the generation's file says.
        generation: Box<Generation>,
        /// What was found, and where the damaged index lies now.
        why: String,
    },
}

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the state directory.
    #[error("{path} is in use by process {pid}")]
    Locked {
        /// The lock file.
        path: String,
        /// Who holds it, as the lock file says.
        pid: String,
    },
    /// The state directory is open to others.
    #[error("cannot use {path} as the state directory: {found}")]
    Unsafe {
        /// Which.
        path: String,
        /// What is wrong with it.
        found: String,
    },
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
    /// The index engine said no.
    #[error("cannot {action} the index in {path}: {found}")]
    Index {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What it said.
        found: String,
    },
    /// Something that is needed is damaged.
    #[error("cannot use {what}: {found}")]
    Damaged {
        /// Which.
        what: String,
        /// What is wrong with it.
        found: String,
    },
    /// A newer program wrote it, in a format that this one does not know.
    #[error("cannot use {path}: it is of the format {format}, which a newer program wrote")]
    Newer {
        /// Which file.
        path: String,
        /// Its format.
        format: String,
    },
    /// A value has no JSON form, or does not fit, or its file is gone.
    #[error("cannot write {what}: {found}")]
    Encode {
        /// Which.
        what: String,
        /// What is wrong with it.
        found: String,
    },
    /// A component does not fit into a block, or one that is kept cannot be read.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The shelf cannot be read or written.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

impl From<Failed> for StoreError {
    fn from(Failed { action, path, source }: Failed) -> StoreError {
        StoreError::Io { action, path, source }
    }
}

/// The leave to touch a state directory; released when dropped or when the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of `directory`, waiting at most `wait` for another process to let go. A missing directory is
    /// created, readable by its owner only.
    ///
    /// **Errors**: [`StoreError::Locked`] with the pid of the holder; [`StoreError::Unsafe`] for a directory that
    /// another user owns or may write.
    pub fn acquire(directory: &Path, wait: Duration) -> Result<StateLock, StoreError> {
        Ok(StateLock { _file: lock::take(directory, wait)? })
    }
}

/// Tells what stands in the index for a block; `None` for what is none.
pub fn name_of_block(block: &[u8]) -> Option<Digest> {
    Some(Seal::of(&Packed::read(block).ok()?).digest)
}

/// Tells whether a panic in this source file is one of the index engine. The store catches them all: they become errors.
pub fn is_caught(file: &str) -> bool {
    index::is_engine(file)
}

/// Generations on disk: one handle for the life of the process, used by the one writer.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    shelf: Shelf,
    files: Files,
    index: Option<Index>,
    ledger: Ledger,
    /// The generation that the index holds; `None` until the first commit and after damage.
    current: Option<(u64, Digest)>,
    /// The highest number ever given.
    last: u64,
    /// The generation whose index was lost: a draft that says the same restores it under its own number.
    lost: Option<Box<Generation>>,
    /// What the generation files that can be read name.
    named: BTreeMap<u64, Named>,
    /// How many generations are kept for readers, at least one.
    keep: usize,
    /// Those that can be read, newest first.
    kept: Vec<Arc<Snapshot>>,
    memory: Memory,
    log: Log,
    /// `None` where nothing that was promised is touched.
    audit: Option<Audit>,
    first_seen: FirstSeen,
    /// Why an older generation than the newest is in force, or none since another version of the program wrote the newest; the next
    /// commit ends it.
    older: Option<Refusal>,
    /// Rows of a generation that another version of the program wrote: they stay until something takes their place.
    replaced: Vec<Written>,
    /// What is wrong with the list of documents of the generation in force; the next commit ends it.
    unlisted: Option<Refusal>,
    /// The list of documents that a start without an index has read, for the first who asks for it.
    listed: RefCell<Option<(DocumentList, Documents)>>,
    /// The settings with which every source was read since the generation of this number, and said nothing new.
    read_with: Option<(u64, Digest)>,
    /// The names outlive a power cut that this process has found.
    is_settled: bool,
}

impl Store {
    /// Opens the store below `directory`, which keeps the newest `keep` generations (at least one) for readers. What a
    /// killed process left is removed; a damaged index is set aside. `shelf` is called once the index is read.
    ///
    /// **Errors**: the system's and the engine's, when the store may be sound and cannot be reached; [`StoreError::Unsafe`]
    /// where something leads out of the directory or belongs to somebody else. Damage is no error: it is [`Opened::Rebuild`], or [`Opened::Empty`] when no generation file can be read either.
    /// So it is where another version of the program wrote the newest generation, which [`Store::foreign`] says.
    pub fn open(
        directory: &Path,
        _lock: &StateLock,
        shelf: impl FnOnce() -> Result<Shelf, ShelfError>,
        keep: usize,
        records: Records,
    ) -> Result<(Store, Opened), StoreError> {
        lock::refuse_planted(directory)?;
        let (mut store, opened) = Store::recover(directory, shelf, keep.max(1))?;
        let generation = match &opened {
            Opened::Empty => None,
            Opened::Warm(snapshot) => Some(&snapshot.generation),
            Opened::Rebuild { generation, .. } => Some(&**generation),
        };
        let remains = remains(directory, store.last)?;
        store.memory = Memory::load(directory, generation, (store.log.generation(), remains), records)?;
        if records == Records::Kept {
            let marks = store.memory.marks();
            // Nobody knows how long the ledger was where that is lost too, but there was one.
            let least = u64::from(store.memory.lost().is_some());
            store.audit = Some(Audit::open(directory, marks.audit.clone())?);
            store.first_seen = FirstSeen::at(directory, marks.ledger_bytes.max(least))?;
        }
        if let (Some(generation), Records::Kept) = (generation, records) {
            let log = &store.log;
            store.memory.catch_up(generation, &|key| log.newest(key))?;
            store.log_accepted(generation);
        }
        if let (Some(audit), Some(lost)) = (&mut store.audit, store.memory.news()) {
            audit.tell(Entry::new(Event::Damaged, &lost.subject).because(&lost.reason).saying(&lost.found));
        }
        Ok((store, opened))
    }

    /// Returns the shelf.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Lets the engine of the index go until the next commit: what a start reads stays in its memory else.
    pub fn rest(&mut self) {
        if let Some(mut index) = self.index.take() {
            index.rest();
            self.put_back(index);
        }
    }

    /// Makes the names of files outlive a power cut that this process has found: who gave them may have been killed before that, or
    /// been refused it. Nothing is done twice. Whoever says that something is kept asks for this first.
    ///
    /// **Errors**: a directory cannot be synced.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if !self.is_settled {
            self.files.settle()?;
            self.shelf.settle()?;
            self.is_settled = true;
        }
        Ok(())
    }

    /// Keeps an index for the next commit, unless what it says may not be what the disk holds: that one is set aside at once, since
    /// the next process could not know, and the next commit writes another one.
    fn put_back(&mut self, index: Index) {
        if !index.is_doubtful() {
            self.index = Some(index);
            return;
        }
        drop(index);
        match Index::quarantine(&self.directory) {
            Ok(aside) => tracing::warn!(
                aside = %aside.display(),
                "the disk may not hold what was written into the index: it was set aside, and is made anew"
            ),
            Err(error) => tracing::warn!(%error, "an index that could not be synced is not set aside"),
        }
    }

    /// Returns which revisions were accepted.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Says that another version of the program wrote the newest generation, where it did and nothing was committed since.
    pub fn foreign(&self) -> Option<&Refusal> {
        self.older.as_ref().filter(|problem| is_of_another_format(&problem.reason))
    }

    /// Returns what is wrong with what is kept, the memory, the log and the clock.
    pub fn problems(&self, now_s: i64) -> Vec<Refusal> {
        let found = self.older.iter().chain(&self.unlisted).cloned().chain(self.log.problem());
        let found =
            found.chain(self.audit.as_ref().and_then(Audit::problem)).chain(self.first_seen.problem());
        found.chain(self.memory.problems(now_s)).collect()
    }

    /// Remembers accepted revisions; durable on return, and written before the generation that rests on them. `current` are the
    /// documents that sources list today; those that a kept generation lists are never given up either.
    ///
    /// **Errors**: the file cannot be written; nothing more is remembered then.
    pub fn remember(
        &mut self,
        accepted: Vec<(RevisionKey, Revision)>,
        current: &BTreeSet<RevisionKey>,
    ) -> Result<(), StoreError> {
        // A process that ends now goes on with one of these, and with what they list.
        let kept = self.kept.iter().map(|kept| &kept.generation).chain(self.lost.as_deref());
        let listed = kept.flat_map(|kept| kept.catalogues.iter().filter_map(|state| state.errand.node()));
        let current: BTreeSet<RevisionKey> =
            listed.map(RevisionKey::of).chain(current.iter().cloned()).collect();
        self.memory.remember(accepted, &current)
    }

    /// Remembers that these versions of policies, by their files, are in force; durable on return.
    ///
    /// **Errors**: the file cannot be written.
    pub fn remember_policies<'a>(
        &mut self,
        versions: impl Iterator<Item = (&'a Path, u64)>,
    ) -> Result<(), StoreError> {
        self.memory.remember_policies(versions)
    }

    /// Remembers that these keysets of signers were accepted; durable on return.
    ///
    /// **Errors**: the file cannot be written.
    pub fn remember_keysets(&mut self, accepted: Vec<Accepted>) -> Result<(), StoreError> {
        self.memory.remember_keysets(accepted)
    }

    /// Forgets which revisions of a source, or of one of its catalogues, were accepted, and writes so into the log.
    ///
    /// **Errors**: the file cannot be written; everything is remembered then.
    pub fn forget(
        &mut self,
        source: &SourceId,
        catalogue: Option<&SourceId>,
        why: &str,
        now_s: i64,
    ) -> Result<(), StoreError> {
        // Written down first: nothing is forgotten of which nobody could say who asked for it.
        let gone = self.memory.newest(source, catalogue);
        let generation = self.current.as_ref().map_or(0, |(number, _)| *number);
        let entry = |(key, newest): &(RevisionKey, Revision)| {
            let why = if why.is_empty() { "no reason was given" } else { why };
            Entry::new(Event::Forgotten, key).saying(format!("{why} (it was {newest})"))
        };
        self.audit(&gone.iter().map(entry).collect::<Vec<_>>(), now_s)?;
        // The log knows of it first: a revision that it names and the memory does not would be a loss.
        self.log.forgotten(&gone, generation, why, now_s)?;
        self.memory.forget(source, catalogue).map(drop)
    }

    /// Accepts that what was accepted before is lost, and writes so into the audit log. Tells whether anything was.
    ///
    /// **Errors**: a file cannot be written; nothing is accepted then.
    pub fn reset(&mut self, why: &str, now_s: i64) -> Result<bool, StoreError> {
        let Some(lost) = self.memory.lost() else { return Ok(false) };
        let why = format!("{why} ({KEYSETS_FORGOTTEN})");
        let entry = Entry::new(Event::Reset, &lost.subject).because(&lost.reason).saying(why);
        self.audit(&[entry], now_s)?;
        self.memory.reset()
    }

    /// Takes the clock, which says `now_s`, for right, though it stands behind the highest one seen, and writes so into the audit log:
    /// what is signed until a day is judged by it from now on. Tells whether it stood behind.
    ///
    /// **Errors**: a file cannot be written; the highest clock stays then.
    pub fn reset_clock(&mut self, why: &str, now_s: i64) -> Result<bool, StoreError> {
        let Some(backwards) = self.memory.backwards(now_s) else { return Ok(false) };
        let [from, to] = [self.memory.latest(now_s), now_s].map(rfc3339);
        let why = format!("{why} (the highest clock seen was {from}, and is {to} now)");
        let entry = Entry::new(Event::Reset, &backwards.subject).because(&backwards.reason).saying(why);
        self.audit(&[entry], now_s)?;
        self.memory.trust_clock(now_s).map(|()| true)
    }

    /// Forgets which bytes a version had when it was first seen from any of these sources, and writes so into the audit log: the
    /// next run judges it as if it were new. Tells whether anything was known of it.
    ///
    /// **Errors**: a file cannot be read or written.
    pub fn forget_version(
        &mut self,
        sources: &[&str],
        (id, version): (&str, &str),
        why: &str,
        now_s: i64,
    ) -> Result<bool, StoreError> {
        let mut known = Vec::new();
        for source in sources {
            if let Some(seen) = self.first_seen.known(source, id, version)? {
                known.push(format!("{} from {source}", seen.digest));
            }
        }
        if known.is_empty() {
            return Ok(false);
        }
        let versions = vec![version.to_owned()];
        let text = format!("{why} (it was {})", known.join(", "));
        let entry = Entry { versions, ..Entry::new(Event::Forgotten, id).saying(text) };
        self.audit(&[entry], now_s)?;
        self.first_seen.forget(sources, id, version, now_s)?;
        self.mark()?;
        // What was made of its documents before is no longer what they say.
        self.read_with = self.current.as_ref().map(|(number, _)| (*number, Digest::sha256(b"")));
        Ok(true)
    }

    /// Returns what every version was when it was first seen here.
    pub fn first_seen(&self) -> &FirstSeen {
        &self.first_seen
    }

    /// Writes into the ledger what is let in for the first time; durable on return, and written before the generation that
    /// rests on it. No version may come twice.
    ///
    /// **Errors**: the file cannot be written; nothing of it is known then.
    pub fn note_first_seen<'a>(
        &mut self,
        sightings: impl Iterator<Item = Sighting<'a>>,
        now_s: i64,
    ) -> Result<(), StoreError> {
        self.memory.exist()?;
        self.first_seen.note(sightings, now_s)?;
        self.mark()
    }

    /// Makes up for a ledger that was lost or damaged, by what is known to have been let in, and writes so into the audit log;
    /// durable on return.
    ///
    /// **Errors**: a file cannot be read or written; nothing may be judged then.
    pub fn recall_first_seen<'a>(
        &mut self,
        gap: Refusal,
        sightings: impl Iterator<Item = Sighting<'a>>,
        now_s: i64,
    ) -> Result<(), StoreError> {
        let entry = Entry::new(Event::Damaged, &gap.subject).because(&gap.reason).saying(&gap.found);
        if self.first_seen.recall(gap, sightings, now_s)? {
            self.audit(&[entry], now_s)?;
        }
        self.mark()
    }

    /// Remembers elsewhere how far audit log and ledger reach.
    fn mark(&mut self) -> Result<(), StoreError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let (audit, ledger_bytes) = (audit.reached(), self.first_seen.length()?);
        let generation = self.memory.marks().generation;
        self.memory.mark(Marks { audit, ledger_bytes, generation })?;
        match self.audit.as_ref().is_some_and(Audit::is_settled) {
            true => self.memory.note_told(),
            false => Ok(()),
        }
    }

    /// Appends entries to the audit log; durable on return.
    ///
    /// **Errors**: the log cannot be written; no entry is in it then.
    pub fn audit(&mut self, entries: &[Entry], now_s: i64) -> Result<(), StoreError> {
        match &mut self.audit {
            Some(audit) if !entries.is_empty() => {
                self.memory.exist()?;
                audit.append(entries, now_s)?;
            }
            _ => return Ok(()),
        }
        self.mark()
    }

    /// Appends to the audit log what the generation brings that is about to be committed. A commit that fails and is tried
    /// again brings the same, which is not written twice.
    ///
    /// **Errors**: as [`Store::audit`].
    pub fn audit_next(&mut self, entries: Vec<Entry>, now_s: i64) -> Result<(), StoreError> {
        self.memory.exist()?;
        self.audit.as_mut().map_or(Ok(()), |audit| audit.note(entries, now_s))?;
        self.mark()
    }

    /// Bounds all files of the audit log together, in bytes.
    pub fn bound_audit(&mut self, bytes_max: u64) {
        if let Some(audit) = &mut self.audit {
            audit.bound(bytes_max);
        }
    }

    /// Returns when a process that starts now began, in milliseconds since 1970-01-01 UTC: later than every start before it.
    pub fn begin(&mut self, now_ms: i64) -> i64 {
        self.memory.begin(now_ms)
    }

    /// Takes notice of the clock and returns the time that ages count from: it never goes back.
    pub fn see_clock(&mut self, now_s: i64) -> i64 {
        let settled =
            self.audit.as_mut().map_or(Ok(()), |audit| audit.settle(now_s)).and_then(|()| self.mark());
        if let Err(error) = settled {
            tracing::warn!(%error, "what is wrong with the audit log is not written into it");
        }
        self.memory.see(now_s)
    }

    /// Writes into the log which revisions a committed generation rests on. A failure is told in the other log: the next
    /// generation, or the next start, writes what is missing.
    pub fn log_accepted(&mut self, generation: &Generation) {
        if let Err(error) = self.log.accepted(generation, &self.memory) {
            tracing::warn!(%error, "the log of revisions is not written");
        }
    }

    /// Returns the generations that readers may ask, newest first; the first is the one in force.
    pub fn kept(&self) -> &[Arc<Snapshot>] {
        &self.kept
    }

    /// Keeps `keep` generations (at least one) from the next commit on.
    pub fn keep(&mut self, keep: usize) {
        self.keep = keep.max(1);
    }

    /// Returns how many bytes lie in the state directory, shelf and index included. What vanishes meanwhile or cannot be read
    /// counts as nothing.
    pub fn bytes(&self) -> u64 {
        bytes_below(&self.directory)
    }

    /// Returns the list of documents that a generation rests on; the error says why it cannot be used.
    pub fn documents(&self, generation: &Generation) -> Result<Documents, String> {
        match self.listed.take() {
            Some((list, documents)) if list == generation.documents => Ok(documents),
            _ => self.files.documents(&generation.documents),
        }
    }

    /// Returns the settings with which every source was read last, as far as a generation or this process knows.
    pub fn settings<'a>(&'a self, generation: &'a Generation) -> &'a Digest {
        let later = self.read_with.as_ref().filter(|(number, _)| *number == generation.number);
        later.map_or(&generation.settings, |(_, settings)| settings)
    }

    /// Notes that sources read with `settings` say what `generation` says: that is no new generation.
    pub fn note_settings(&mut self, generation: &Generation, settings: Digest) {
        self.read_with = Some((generation.number, settings));
    }

    /// Returns the digests of the documents on the shelf that kept generations need: those that they rest on, and the
    /// components that are too long for a row. What a sweep of the shelf spares.
    ///
    /// **Errors**: a list of documents cannot be read: nobody knows then what is needed.
    pub fn live(&mut self) -> Result<Live, StoreError> {
        self.name()?;
        let mut live = self.ledger.shelved();
        let mut lists: Vec<&Named> = self.named.values().collect();
        lists.dedup_by(|one, other| one.documents == other.documents);
        for Named { documents, .. } in lists {
            let damaged =
                |found| StoreError::Damaged { what: "what a generation rests on".to_owned(), found };
            live.extend(self.files.documents(documents).map_err(damaged)?.digests());
        }
        Ok(live)
    }

    /// Takes notice of the generation files that are there; those that are known are not read again.
    fn name(&mut self) -> Result<(), StoreError> {
        let numbers = self.files.numbers()?;
        self.named.retain(|number, _| numbers.contains(number));
        for number in numbers {
            if self.named.contains_key(&number) {
                continue;
            }
            let held = self.kept.iter().find(|held| held.generation.number == number);
            let named = match held {
                Some(held) => Some(Named::of(&held.generation)),
                None => self.files.load(number)?.ok().map(|(generation, _)| Named::of(&generation)),
            };
            self.named.extend(named.map(|named| (number, named)));
        }
        Ok(())
    }

    /// Commits a draft as the next generation and returns it as readers see it. Rows that did not change are not
    /// written; components that `previous` holds in the same form share its memory.
    ///
    /// **Errors**: after an error readers keep what they have. The next commit opens the index again from the disk, since
    /// nothing is known about what an engine holds after a failed write. Where it was a sync that failed nothing is known about the disk
    /// either (no sync is repeated): the index is set aside, and the next commit makes another one of what readers hold.
    pub fn commit(&mut self, draft: Draft, previous: Option<&Snapshot>) -> Result<Committed, StoreError> {
        self.settle()?;
        let awake = self.index.take().and_then(|mut index| match index.wake() {
            Ok(()) => Some(index),
            Err(fault) => {
                tracing::warn!(?fault, "the index is opened from the start");
                None
            }
        });
        let mut index = match awake {
            Some(index) => index,
            None => self.reopen()?,
        };
        // It is put back only when everything went well.
        let committed = match self.write(&mut index, draft, previous) {
            Ok(committed) => committed,
            Err(error) => {
                // Nor is anything known of names.
                self.is_settled = false;
                if index.is_doubtful() {
                    self.put_back(index);
                }
                return Err(error);
            }
        };
        if let Some(audit) = &mut self.audit {
            audit.committed();
        }
        // Readers ask for different snapshots: one that says the same takes the place of the one before.
        let is_same =
            |held: &Arc<Snapshot>| held.generation.snapshot == committed.snapshot.generation.snapshot;
        if self.kept.first().is_some_and(is_same) {
            self.kept.remove(0);
        }
        self.kept.insert(0, Arc::clone(&committed.snapshot));
        self.kept.truncate(self.keep);
        match self.collect(&mut index, committed.snapshot.generation.number) {
            Ok(()) => {
                index.rest();
                self.put_back(index);
            }
            Err(error) => {
                tracing::warn!(%error, "old generations could not be removed");
                if index.is_doubtful() {
                    self.put_back(index);
                }
            }
        }
        Ok(committed)
    }

    fn reopen(&mut self) -> Result<Index, StoreError> {
        // A line that could not be synced is no line: it is cut off before the log is read again.
        self.log.settle()?;
        let (mut store, opened) = Store::recover(&self.directory, || Ok(self.shelf.clone()), self.keep)?;
        if let Opened::Rebuild { why, .. } = opened
            && let Some(last) = self.kept.first()
            && store.files.load(last.generation.number)?.is_ok_and(|(found, _)| found == last.generation)
        {
            store = store.refilled(&self.kept, why)?;
        }
        store.last = store.last.max(self.last);
        store.is_settled = self.is_settled;
        std::mem::swap(&mut store.memory, &mut self.memory);
        std::mem::swap(&mut store.audit, &mut self.audit);
        std::mem::swap(&mut store.first_seen, &mut self.first_seen);
        // Readers hold the snapshots of before: an equal one read again would only be a second copy.
        for kept in &mut store.kept {
            let same = |held: &&Arc<Snapshot>| held.generation == kept.generation;
            if let Some(held) = self.kept.iter().find(same) {
                *kept = Arc::clone(held);
            }
        }
        let index = store.index.take();
        *self = store;
        index.ok_or_else(|| StoreError::Index {
            action: "open",
            path: self.directory.display().to_string(),
            found: "no handle".into(),
        })
    }

    /// Writes what readers hold into an index that holds nothing, oldest generation first: they are as they were committed.
    fn refilled(mut self, kept: &[Arc<Snapshot>], why: String) -> Result<Store, StoreError> {
        let Some(mut index) = self.index.take() else { return Ok(self) };
        for snapshot in kept.iter().rev() {
            let mut components = snapshot.components.clone();
            let seals: Vec<Seal> = components.iter().map(Seal::of).collect();
            let number = snapshot.generation.number;
            let (_, marks) = match self.write_rows(&mut index, number, &mut components, &seals, None) {
                Ok(written) => written,
                Err(error) => {
                    if index.is_doubtful() {
                        self.put_back(index);
                    }
                    return Err(error);
                }
            };
            self.ledger.apply(marks);
        }
        self.lost = None;
        let ledger = std::mem::take(&mut self.ledger);
        Ok(self.warm(index, ledger, kept.to_vec(), &[why])?.0)
    }

    fn write(
        &mut self,
        index: &mut Index,
        draft: Draft,
        previous: Option<&Snapshot>,
    ) -> Result<Committed, StoreError> {
        let Draft { mut generation, documents, mut components } = draft;
        generation.documents = documents.list.clone();
        components.sort_by(|one, other| {
            pace::spent(pace::COMPONENT_NS);
            one.id_bytes().cmp(other.id_bytes())
        });
        components.dedup_by(|later, first| later.id_bytes() == first.id_bytes());
        let sealed = components.iter().inspect(|one| pace::spent(one.as_bytes().len()));
        let seals: Vec<Seal> = sealed.map(Seal::of).collect();
        let mut root = Root::default();
        components.iter().zip(&seals).for_each(|(one, seal)| root.add(one.id_bytes(), &seal.digest));
        (generation.components, generation.root) = (components.len() as u64, root.finish());
        let restored = self.lost.take().filter(|lost| is_restored_by(lost, &generation));
        let number = match &restored {
            Some(lost) => lost.number,
            None => self.last.checked_add(1).ok_or_else(|| StoreError::Encode {
                what: "the next generation".into(),
                found: format!("{} is the highest number there is", self.last),
            })?,
        };
        // Memory is shared only with what the index holds now.
        let previous = previous.filter(|snapshot| {
            let held = &snapshot.generation;
            self.current.as_ref().is_some_and(|(number, root)| (*number, root) == (held.number, &held.root))
        });
        if !self.replaced.is_empty() {
            index.write(std::mem::take(&mut self.replaced))?;
        }
        let (rows_written, marks) = self.write_rows(index, number, &mut components, &seals, previous)?;
        generation.schema = GENERATION_SCHEMA.into();
        generation.number = number;
        self.files.keep_documents(&documents)?;
        match restored {
            // Its file is there already; only the pointer to it may have been lost.
            Some(lost) => {
                generation = *lost;
                self.files.point_again(number)?;
            }
            None => {
                self.memory.promise(number)?;
                // What a process left under this number that was killed before it was in force says nothing of this generation.
                self.named.remove(&number);
                self.files.write(&generation)?;
                self.older = None;
            }
        }
        self.unlisted = None;

        (self.last, self.current) = (self.last.max(number), Some((number, generation.root.clone())));
        self.ledger.apply(marks);
        let snapshot = Snapshot::beside(generation, components, previous);
        Ok(Committed { snapshot: Arc::new(snapshot), rows_written })
    }

    /// Writes the rows of generation `number` that differ from what the index holds, durably; tells how many, and what the ledger
    /// will say of them. Components that do not differ become those of `previous`.
    fn write_rows(
        &self,
        index: &mut Index,
        number: u64,
        components: &mut [Packed],
        seals: &[Seal],
        previous: Option<&Snapshot>,
    ) -> Result<(u64, Vec<(ledger::Place, Mark)>), StoreError> {
        let mut plan = self.ledger.plan(number);
        let is_first = self.ledger.is_empty();
        let mut apply = |rows: Vec<Written>| match is_first {
            true => index.fill(&rows),
            false => index.apply(rows),
        };
        let mut known = previous.map(|snapshot| snapshot.components.iter().peekable());
        for (component, seal) in components.iter_mut().zip(seals) {
            pace::spent(pace::COMPONENT_NS);
            if plan.put(component, seal) {
                if let Some(plan) = plan.take(BATCH_ROWS_MAX) {
                    self.shelf.keep_blocks(&plan.blocks)?;
                    apply(plan.rows)?;
                }
                continue;
            }
            let Some(known) = &mut known else { continue };
            while known.next_if(|known| known.id_bytes() < component.id_bytes()).is_some() {}
            // The index holds the same, and so does the snapshot that was made of it.
            if let Some(same) = known.next_if(|known| known.id_bytes() == component.id_bytes()) {
                *component = same.clone();
            }
        }
        let (rest, marks) = plan.finish();
        self.shelf.keep_blocks(&rest.blocks)?;
        if !marks.is_empty() {
            apply(rest.rows)?;
            index.make_durable()?;
        }
        Ok((marks.len() as u64, marks))
    }

    /// Removes generation files that are too old, and the rows that no kept generation reads.
    fn collect(&mut self, index: &mut Index, number: u64) -> Result<(), StoreError> {
        self.name()?;
        let oldest = self.files.tidy(number, self.keep, &self.named)?;
        let superseded = self.ledger.superseded(oldest);
        if !superseded.is_empty() {
            index.write(removals(&superseded))?;
            self.ledger.forget(&superseded);
        }
        Ok(())
    }

    fn recover(
        directory: &Path,
        shelf: impl FnOnce() -> Result<Shelf, ShelfError>,
        keep: usize,
    ) -> Result<(Store, Opened), StoreError> {
        let files = Files::open(directory)?;
        let log = Log::open(directory)?;
        let Found { mut candidates, last, damage, foreign } = files.read_from(log.generation())?;
        let mut why: Vec<String> = damage.into_iter().collect();
        let read = Index::open(directory, ledger::take);
        let shelf = &shelf()?;
        let mut store = Store {
            directory: directory.into(),
            shelf: shelf.clone(),
            files,
            index: None,
            ledger: Ledger::default(),
            current: None,
            last,
            lost: None,
            named: BTreeMap::new(),
            keep,
            kept: Vec::new(),
            memory: Memory::default(),
            log,
            audit: None,
            first_seen: FirstSeen::default(),
            older: foreign.as_ref().map(Foreign::problem),
            replaced: Vec::new(),
            unlisted: None,
            listed: RefCell::default(),
            read_with: None,
            is_settled: false,
        };
        let (index, rows) = match read {
            Ok((index, rows)) => (Some(index), rows),
            Err(Fault::Failed(error)) => return Err(error),
            Err(Fault::Damaged(found)) => {
                why.push(found);
                (None, Vec::new())
            }
        };
        if let Some(mut index) = index {
            for at in 0..candidates.len() {
                let number = candidates[at].number;
                match ledger::load(&rows, &candidates[at], shelf)? {
                    Ok(loaded) => {
                        let older = store.files.before(number, keep - 1)?;
                        let (ledger, kept) = loaded.with_older(candidates.swap_remove(at), older, shelf)?;
                        drop(rows);
                        return store.warm(index, ledger, kept, &why);
                    }
                    Err(_) if rows.is_empty() => {
                        why.push(format!("generation {number}: its index is not there"))
                    }
                    Err(found) => why.push(format!("generation {number}: {found}")),
                }
            }
            // Without a generation file the rows are those of a first commit that never came to its end.
            if candidates.is_empty() {
                let rows: Vec<Written> = rows.iter().map(|row| (ledger::key(row), None)).collect();
                match foreign {
                    Some(_) => store.replaced = rows,
                    None => index.write(rows)?,
                }
            }
            if candidates.is_empty() || rows.is_empty() {
                return store.cold(index, candidates, why);
            }
        }
        drop(rows);
        let aside = Index::quarantine(directory)?;
        why.push(format!("the index was set aside as {}", aside.display()));
        match Index::open(directory, ledger::take) {
            Ok((index, _)) => store.cold(index, candidates, why),
            Err(Fault::Failed(error)) => Err(error),
            Err(Fault::Damaged(found)) => {
                Err(StoreError::Index { action: "create", path: directory.display().to_string(), found })
            }
        }
    }

    /// Takes a generation that was found whole: whatever is newer was never promised and goes.
    fn warm(
        mut self,
        mut index: Index,
        mut ledger: Ledger,
        kept: Vec<Arc<Snapshot>>,
        why: &[String],
    ) -> Result<(Store, Opened), StoreError> {
        let Some(snapshot) = kept.first().map(Arc::clone) else { return Ok((self, Opened::Empty)) };
        let number = snapshot.generation.number;
        let uncommitted = ledger.newer(number);
        if !uncommitted.is_empty() {
            index.write(removals(&uncommitted))?;
            ledger.forget(&uncommitted);
        }
        if !why.is_empty() {
            tracing::warn!(
                generation = number,
                why = why.join("; "),
                "an older state of the store is in force"
            );
            self.files.point_again(number)?;
        }
        self.note_older(number, why);
        if let Err(found) = self.files.check_documents(&snapshot.generation.documents) {
            self.unlisted = Some(Refusal::new(
                "store.documents",
                format!("generation {number}"),
                "the list of the documents that it rests on",
                format!("{found}; it answers all the same, and the next sync mends it"),
            ));
        }
        self.current = Some((number, snapshot.generation.root.clone()));
        (self.index, self.ledger, self.kept) = (Some(index), ledger, kept);
        self.name()?;
        self.files.tidy(number, self.keep, &self.named)?;
        Ok((self, Opened::Warm(snapshot)))
    }

    /// Starts with an empty index, to be filled from the shelf: for the best generation whose list of documents can be read,
    /// or else for the best, so that what it owned stays its own.
    fn cold(
        mut self,
        index: Index,
        mut candidates: Vec<Generation>,
        mut why: Vec<String>,
    ) -> Result<(Store, Opened), StoreError> {
        self.index = Some(index);
        if let Some(best) = candidates.first().map(|best| best.number) {
            candidates.extend(self.files.all()?.into_iter().filter(|other| other.number < best));
        }
        let mut chosen = None;
        for (at, candidate) in candidates.iter().enumerate() {
            match self.files.documents(&candidate.documents) {
                Ok(documents) => {
                    self.listed.replace(Some((candidate.documents.clone(), documents)));
                    chosen = Some(at);
                }
                Err(found) => why.push(format!("generation {}: {found}", candidate.number)),
            }
            if chosen.is_some() {
                break;
            }
        }
        if candidates.is_empty() {
            if let Some(problem) = &self.older {
                tracing::warn!(%problem, "starting with nothing");
            } else if !why.is_empty() {
                tracing::warn!(why = why.join("; "), "no generation can be read; starting with nothing");
            }
            return Ok((self, Opened::Empty));
        }
        let generation = Box::new(candidates.swap_remove(chosen.unwrap_or(0)));
        self.note_older(generation.number, &why);
        self.lost = Some(generation.clone());
        Ok((self, Opened::Rebuild { generation, why: why.join("; ") }))
    }

    /// Takes notice that an older generation than the newest is in force.
    fn note_older(&mut self, number: u64, why: &[String]) {
        if number < self.last {
            self.older = Some(Refusal::new(
                "store.older_generation",
                self.directory.display(),
                format!("generation {}", self.last),
                format!("generation {number}; {}; the next sync mends it", why.join("; ")),
            ));
        }
    }
}

/// Tells whether a draft says exactly what the generation says whose index was lost.
fn is_restored_by(lost: &Generation, draft: &Generation) -> bool {
    (lost.components, &lost.root) == (draft.components, &draft.root)
        && lost.snapshot == draft.snapshot
        && lost.sources == draft.sources
        && lost.catalogues == draft.catalogues
        && lost.blocked == draft.blocked
        && lost.documents == draft.documents
        && lost.refusals == draft.refusals
}

/// Returns what tells that there must be a memory where no generation can be read: it is written before each of these.
fn remains(directory: &Path, last: u64) -> Result<Remains, Failed> {
    if last > 0 {
        return Ok(Remains::File("a generation that cannot be read"));
    }
    if let Some(name) = audit::begun(directory)? {
        return Ok(Remains::File(name));
    }
    Ok(first_seen::begun(directory)?.map_or(Remains::Nothing, Remains::File))
}

/// Symbolic links count as nothing: they lead elsewhere.
fn bytes_below(path: &Path) -> u64 {
    let size = |(_, path): (String, PathBuf)| match path.symlink_metadata() {
        Ok(found) if found.is_dir() => bytes_below(&path),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    crate::shelf::durable::entries(path).unwrap_or_default().into_iter().map(size).sum()
}

fn removals(rows: &[(Arc<str>, u64)]) -> Vec<Written> {
    rows.iter().map(|(id, generation)| (row::key(id, *generation), None)).collect()
}

#[cfg(test)]
mod tests;
