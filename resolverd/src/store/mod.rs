//! The store (pillar, with the shelf): generations and the index of their components; a cache that shelf and sources can
//! rebuild. Never judges what it keeps, and never gives an answer that its own digests do not confirm.
//!
//! # Layout of the state directory
//! | what | why |
//! |---|---|
//! | `lock` | one process at a time |
//! | `current` | number and digest of the generation file in force |
//! | `generations/<n>.json` | what a generation is; as many of the newest as are kept for readers |
//! | `index/` | one row per component and generation in which it changed (see `row.rs`) |
//! | `index.bad-<n>/` | damaged indexes, set aside |
//! | `checks.json` | when each source was checked last (see `checks.rs`) |
//! | `trust-state.json` | which revisions were accepted (see `memory.rs`) |
//! | `revisions.jsonl` | the log of revisions (see `revisions.rs`) |
//!
//! # A commit
//! 1. Components whose JSON is long go to the shelf.
//! 2. Rows that differ go to the index, in batches; then flush and our own fsync.
//! 3. The generation file.
//! 4. `current`. Only now does anybody see the new generation.
//!
//! Whatever is found behind `current` at the next start was never promised, and is removed.
//!
//! Every kept generation is in memory too, as an immutable [`Snapshot`]; what did not change from one to the next is the same
//! memory. At a start the newest one decides: an older one that cannot be read whole is left out, with a warning.
//!
//! The root digest of a generation is SHA-256 over (id, zero byte, JSON) of its components in the order of their ids.

pub mod checks;
mod files;
mod index;
pub mod inspect;
mod ledger;
mod lock;
pub mod memory;
pub mod revisions;
mod row;
mod sealed;
pub mod searchable;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{GENERATION_SCHEMA, Generation, share};
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::{Component, Refusal};
use catalogue_schema::revision::{Revision, RevisionKey};

use crate::shelf::durable::Failed;
use crate::shelf::{Shelf, ShelfError};
use crate::store::files::{Files, Found};
use crate::store::index::{Fault, Index};
use crate::store::ledger::Ledger;
use crate::store::memory::{Memory, Records};
use crate::store::revisions::Log;
use crate::store::row::Root;
use crate::store::searchable::Searchable;

/// A generation as readers see it: immutable, complete, in memory.
#[derive(Debug)]
pub struct Snapshot {
    /// What the generation's file says.
    pub generation: Generation,
    /// Where the component of an id stands in `components`.
    places: HashMap<ComponentId, u32>,
    /// Sorted by id.
    components: Vec<Arc<Component>>,
    order: Arc<[ComponentId]>,
    /// In the order of `order`.
    searchable: Vec<Searchable>,
}

impl Snapshot {
    /// Puts a snapshot together; of two components with one id the first counts.
    pub fn new(generation: Generation, mut components: Vec<Arc<Component>>) -> Snapshot {
        // Stable, so that the first of two with one id stays the first.
        components.sort_by(|one, other| one.id.cmp(&other.id));
        components.dedup_by(|later, first| later.id == first.id);
        components.shrink_to_fit();
        let order: Arc<[ComponentId]> = components.iter().map(|one| one.id.clone()).collect();
        let places = order.iter().cloned().zip(0..).collect();
        let searchable = components.iter().map(|one| Searchable::of(one)).collect();
        Snapshot { generation, places, components, order, searchable }
    }

    /// Puts a snapshot together like [`Snapshot::new`]; where it has the ids of `other`, both hold one list of them.
    fn beside(generation: Generation, components: Vec<Arc<Component>>, other: Option<&Snapshot>) -> Snapshot {
        let mut snapshot = Snapshot::new(generation, components);
        if let Some(other) = other.filter(|other| other.order == snapshot.order) {
            snapshot.order = Arc::clone(&other.order);
        }
        snapshot
    }

    /// Returns every component, sorted by id, with the texts by which a search finds it.
    pub fn searchable(&self) -> impl Iterator<Item = (&Component, &Searchable)> {
        self.components.iter().map(|one| &**one).zip(&self.searchable)
    }

    /// Returns every component, sorted by id.
    pub fn components(&self) -> &[Arc<Component>] {
        &self.components
    }

    /// Returns the place of `id` among [`Snapshot::components`].
    pub fn place(&self, id: &ComponentId) -> Option<usize> {
        self.places.get(id).map(|place| *place as usize)
    }

    /// Returns the component that owns `id`.
    pub fn component(&self, id: &ComponentId) -> Option<&Arc<Component>> {
        self.components.get(self.place(id)?)
    }

    /// Returns every id, sorted.
    pub fn ids(&self) -> &[ComponentId] {
        &self.order
    }
}

/// A generation that is being written; only a sync makes one.
#[derive(Debug)]
pub struct Draft {
    /// What its file will say; the store fills in schema, number, component count and root.
    pub generation: Generation,
    /// Its components. Every release carries the leave of the verify function, or its refusal.
    pub components: Vec<Component>,
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
    /// A value has no JSON form, or its file is gone.
    #[error("cannot write {what}: {found}")]
    Encode {
        /// Which.
        what: String,
        /// What is wrong with it.
        found: String,
    },
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
    /// The digests of the documents of generations whose file is there and that are not in memory, so that no commit reads the
    /// files again.
    documents: BTreeMap<u64, Vec<Digest>>,
    /// How many generations are kept for readers, at least one.
    keep: usize,
    /// Those that can be read, newest first.
    kept: Vec<Arc<Snapshot>>,
    memory: Memory,
    log: Log,
    /// Why an older generation than the newest is in force, where it is; the next commit ends it.
    older: Option<Refusal>,
}

impl Store {
    /// Opens the store below `directory`, which keeps the newest `keep` generations (at least one) for readers. What a
    /// killed process left is removed; a damaged index is set aside.
    ///
    /// **Errors**: the system's and the engine's, when the store may be sound and cannot be reached; [`StoreError::Unsafe`]
    /// where something leads out of the directory or belongs to somebody else. Damage is no error: it is [`Opened::Rebuild`], or [`Opened::Empty`] when no generation file can be read either.
    pub fn open(
        directory: &Path,
        _lock: &StateLock,
        shelf: &Shelf,
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
        store.memory = Memory::load(directory, generation, records)?;
        if let (Some(generation), Records::Kept) = (generation, records) {
            let log = &store.log;
            store.memory.catch_up(generation, &|key| log.newest(key))?;
            store.log_accepted(generation);
        }
        Ok((store, opened))
    }

    /// Returns which revisions were accepted.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns what is wrong with what is kept, the memory, the log and the clock.
    pub fn problems(&self, now_s: i64) -> Vec<Refusal> {
        let found = self.older.iter().cloned().chain(self.log.problem());
        found.chain(self.memory.problems(now_s)).collect()
    }

    /// Remembers accepted revisions; durable on return, and written before the generation that rests on them. `current` are the
    /// documents that sources list today.
    ///
    /// **Errors**: the file cannot be written; nothing more is remembered then.
    pub fn remember(
        &mut self,
        accepted: Vec<(RevisionKey, Revision)>,
        current: &BTreeSet<RevisionKey>,
    ) -> Result<(), StoreError> {
        self.memory.remember(accepted, current)
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
        let gone = self.memory.forget(source, catalogue)?;
        let generation = self.current.as_ref().map_or(0, |(number, _)| *number);
        Ok(self.log.forgotten(&gone, generation, why, now_s)?)
    }

    /// Returns when a process that starts now began, in milliseconds since 1970-01-01 UTC: later than every start before it.
    pub fn begin(&mut self, now_ms: i64) -> i64 {
        self.memory.begin(now_ms)
    }

    /// Takes notice of the clock and returns the time that ages count from: it never goes back.
    pub fn see_clock(&mut self, now_s: i64) -> i64 {
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

    /// Returns the digests of the documents on the shelf that kept generations need: those that they rest on, and the
    /// components that are too long for a row. What a sweep of the shelf spares.
    pub fn live(&mut self) -> Result<HashSet<Digest>, StoreError> {
        let kept = self.files.numbers()?;
        let mut live = self.ledger.shelved();
        self.documents.retain(|number, _| kept.contains(number));
        for number in kept {
            if let Some(held) = self.kept.iter().find(|held| held.generation.number == number) {
                live.extend(digests(&held.generation).cloned());
                self.documents.remove(&number);
            } else if !self.documents.contains_key(&number)
                && let Ok((generation, _)) = self.files.load(number)?
            {
                self.documents.insert(number, digests(&generation).cloned().collect());
            }
        }
        live.extend(self.documents.values().flatten().cloned());
        Ok(live)
    }

    /// Commits a draft as the next generation and returns it as readers see it. Rows that did not change are not
    /// written; components that `previous` holds in the same form share its memory.
    ///
    /// **Errors**: after an error readers keep what they have. The next commit opens the index again from the disk, since
    /// nothing is known about what an engine holds after a failed write (fsync is never repeated).
    pub fn commit(&mut self, draft: Draft, previous: Option<&Snapshot>) -> Result<Committed, StoreError> {
        let index = match self.index.take() {
            Some(index) => index,
            None => self.reopen()?,
        };
        // The handle is put back only when everything went well.
        let committed = self.write(&index, draft, previous)?;
        self.older = None;
        self.kept.insert(0, Arc::clone(&committed.snapshot));
        self.kept.truncate(self.keep);
        match self.collect(&index, committed.snapshot.generation.number) {
            Ok(()) => self.index = Some(index),
            Err(error) => tracing::warn!(%error, "old generations could not be removed"),
        }
        Ok(committed)
    }

    fn reopen(&mut self) -> Result<Index, StoreError> {
        let (mut store, _) = Store::recover(&self.directory, &self.shelf, self.keep)?;
        store.last = store.last.max(self.last);
        std::mem::swap(&mut store.memory, &mut self.memory);
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

    fn write(
        &mut self,
        index: &Index,
        draft: Draft,
        previous: Option<&Snapshot>,
    ) -> Result<Committed, StoreError> {
        let Draft { mut generation, mut components } = draft;
        components.sort_by(|one, other| one.id.as_text().cmp(other.id.as_text()));
        components.dedup_by(|later, first| later.id == first.id);
        let restored = self.lost.take().filter(|lost| is_restored_by(lost, &generation, &components));
        let number = match &restored {
            Some(lost) => lost.number,
            None => self.last.checked_add(1).ok_or_else(|| StoreError::Encode {
                what: "the next generation".into(),
                found: format!("{} is the highest number there is", self.last),
            })?,
        };
        // Equal requirements may be written differently, so memory is shared only with what the index holds now.
        let previous = previous.filter(|snapshot| {
            let held = &snapshot.generation;
            self.current.as_ref().is_some_and(|(number, root)| (*number, root) == (held.number, &held.root))
        });
        let mut plan = self.ledger.plan(number);
        let mut root = Root::default();
        let mut shared = Vec::with_capacity(components.len());
        for component in components {
            let json = files::encode(component.id.as_text(), &component)?;
            root.add(component.id.as_text(), &json);
            let changed = plan.put(component.id.as_text(), json);
            let known = previous.and_then(|snapshot| snapshot.component(&component.id));
            shared.push(match known {
                Some(known) if !changed && **known == component => Arc::clone(known),
                _ => Arc::new(component),
            });
        }
        let plan = plan.finish();
        generation.schema = GENERATION_SCHEMA.into();
        share(&mut generation.documents);
        (generation.number, generation.components, generation.root) =
            (number, shared.len() as u64, root.finish());

        self.shelf.keep(&plan.documents)?;
        let rows_written = plan.rows.len() as u64;
        if rows_written > 0 {
            index.write(plan.rows)?;
        }
        match restored {
            // Its file is there already; only the pointer to it may have been lost.
            Some(lost) => {
                generation = *lost;
                self.files.point_again(number)?;
            }
            None => self.files.write(&generation)?,
        }

        (self.last, self.current) = (self.last.max(number), Some((number, generation.root.clone())));
        self.ledger.apply(plan.marks);
        let snapshot = Snapshot::beside(generation, shared, previous);
        Ok(Committed { snapshot: Arc::new(snapshot), rows_written })
    }

    /// Removes generation files that are too old, and the rows that no kept generation reads.
    fn collect(&mut self, index: &Index, number: u64) -> Result<(), StoreError> {
        let oldest = self.files.tidy(number, self.keep)?;
        let superseded = self.ledger.superseded(oldest);
        if !superseded.is_empty() {
            index.write(removals(&superseded))?;
            self.ledger.forget(&superseded);
        }
        Ok(())
    }

    fn recover(directory: &Path, shelf: &Shelf, keep: usize) -> Result<(Store, Opened), StoreError> {
        let files = Files::open(directory)?;
        let log = Log::open(directory)?;
        let Found { mut candidates, last, damage } = files.read_from(log.generation())?;
        let mut why: Vec<String> = damage.into_iter().collect();
        let store = Store {
            directory: directory.into(),
            shelf: shelf.clone(),
            files,
            index: None,
            ledger: Ledger::default(),
            current: None,
            last,
            lost: None,
            documents: BTreeMap::new(),
            keep,
            kept: Vec::new(),
            memory: Memory::default(),
            log,
            older: None,
        };
        let (index, rows) = match Index::open(directory) {
            Ok((index, rows)) => (Some(index), rows),
            Err(Fault::Failed(error)) => return Err(error),
            Err(Fault::Damaged(found)) => {
                why.push(found);
                (None, index::Rows::new())
            }
        };
        if let Some(index) = index {
            for at in 0..candidates.len() {
                let number = candidates[at].number;
                match ledger::load(&rows, &candidates[at], shelf)? {
                    Ok(loaded) => {
                        let older = store.files.before(number, keep - 1)?;
                        let (ledger, kept) = loaded.with_older(candidates.swap_remove(at), older, shelf)?;
                        drop(rows);
                        return store.warm(index, ledger, kept, &why);
                    }
                    Err(found) => why.push(format!("generation {number}: {found}")),
                }
            }
            // Without a generation file the rows are those of a first commit that never came to its end.
            if candidates.is_empty() {
                index.write(rows.iter().map(|(key, _)| (key.to_vec(), None)).collect())?;
            }
            if candidates.is_empty() || rows.is_empty() {
                return Ok(store.cold(index, candidates, &why));
            }
        }
        drop(rows);
        let aside = Index::quarantine(directory)?;
        why.push(format!("the index was set aside as {}", aside.display()));
        match Index::open(directory) {
            Ok((index, _)) => Ok(store.cold(index, candidates, &why)),
            Err(Fault::Failed(error)) => Err(error),
            Err(Fault::Damaged(found)) => {
                Err(StoreError::Index { action: "create", path: directory.display().to_string(), found })
            }
        }
    }

    /// Takes a generation that was found whole: whatever is newer was never promised and goes.
    fn warm(
        mut self,
        index: Index,
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
        if number < self.last {
            self.older = Some(Refusal::new(
                "store.older_generation",
                self.directory.display(),
                format!("generation {}", self.last),
                format!("generation {number}; {}; the next sync mends it", why.join("; ")),
            ));
        }
        self.files.tidy(number, self.keep)?;
        self.current = Some((number, snapshot.generation.root.clone()));
        (self.index, self.ledger, self.kept) = (Some(index), ledger, kept);
        Ok((self, Opened::Warm(snapshot)))
    }

    /// Starts with an empty index.
    fn cold(mut self, index: Index, candidates: Vec<Generation>, why: &[String]) -> (Store, Opened) {
        self.index = Some(index);
        let opened = match candidates.into_iter().next() {
            Some(generation) => {
                self.lost = Some(Box::new(generation.clone()));
                Opened::Rebuild { generation: Box::new(generation), why: why.join("; ") }
            }
            None => {
                if !why.is_empty() {
                    tracing::warn!(why = why.join("; "), "no generation can be read; starting with nothing");
                }
                Opened::Empty
            }
        };
        (self, opened)
    }
}

/// Tells whether a draft says exactly what the generation says whose index was lost.
fn is_restored_by(lost: &Generation, draft: &Generation, components: &[Component]) -> bool {
    let mut root = Root::default();
    let is_encoded = components.iter().all(|component| {
        let json = files::encode(component.id.as_text(), component);
        json.map(|json| root.add(component.id.as_text(), &json)).is_ok()
    });
    is_encoded
        && (lost.components, &lost.root) == (components.len() as u64, &root.finish())
        && lost.snapshot == draft.snapshot
        && lost.sources == draft.sources
        && lost.catalogues == draft.catalogues
        && lost.blocked == draft.blocked
        && lost.documents == draft.documents
        && lost.refusals == draft.refusals
}

fn digests(generation: &Generation) -> impl Iterator<Item = &Digest> {
    generation.documents.iter().map(|record| &record.digest)
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

fn removals(rows: &[(Arc<str>, u64)]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    rows.iter().map(|(id, generation)| (row::key(id, *generation), None)).collect()
}

#[cfg(test)]
mod tests;
