//! The sync: the only writer. Fetches, has every byte judged, reads, merges and commits; a failed or interrupted sync changes nothing.
//!
//! 0. Signers may have put other keys in the place of their own: those are taken first, and the rest is judged by them.
//! 1. Each source is a tree of documents, read by [`reading`]: at most [`SOURCES_AT_ONCE`] trees at a time, of which as many as half
//!    of the processors are worked on (see [`turns`]) while others are waited for.
//! 2. What could not be read keeps its last good entries, read again from the shelf or taken from the last snapshot, and its
//!    ids. Where shelf and index have lost them both, nobody placed below may answer until it is read again.
//! 3. [`crate::merge`] gives every id one owner.
//! 4. The ids of a source that has not been checked for longer than `max_stale` become unavailable, and stay its own.
//! 5. What was accepted is remembered; then, if anything changed, one new generation is committed, else nothing is written.
//!
//! Where it can be told beforehand that all this would say what the last generation says, none of it is done (`unchanged.rs`).
//!
//! A rebuild and a held source are the same run with the shelf in place of the origins.

mod checksums;
mod keysets;
pub mod memory;
mod policy;
pub mod reach;
mod reading;
pub mod rehearsal;
mod removed;
mod scopes;
mod signatures;
pub mod standing;
mod turns;
mod unchanged;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use catalogue_schema::dialect::Node;
use catalogue_schema::digest::Digest;
use catalogue_schema::documents::{Documents, Gathered};
use catalogue_schema::forge::Forges;
use catalogue_schema::generation::{
    Blocked, CatalogueState, DocumentRecord, DocumentRefusal, GENERATION_SCHEMA, Generation, Health, Ruled,
    SOURCE_EXPIRED, SourceState, stale,
};
use catalogue_schema::id::{CatalogueId, ComponentId, Dialect, Namespace, SourceId};
use catalogue_schema::model::{Rank, Refusal, Shadow, Source, Verdict};
use catalogue_schema::pace;
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::pointer::Want;
use catalogue_schema::revision::{Revision, RevisionKey};
use tracing::{info, warn};

use crate::fetch::limit::Limits;
use crate::fetch::{AtHand, Fetch};
use crate::merge::{Owned, Registered, Rights, merge, note_mutations, snapshot_digest};
use crate::order::{SourceOutcome, SyncReport};
use crate::shelf::{Shelf, ShelfError};
use crate::store::checks::{expiry, max_stale_s};
use crate::store::first_seen::FirstSeen;
use crate::store::memory::Memory;
use crate::store::{Draft, Snapshot, Store, StoreError, name_of_block};
use crate::sync::keysets::Rotation;
use crate::sync::memory::Ledgered;
use crate::sync::policy::Bench;
use crate::sync::reading::{Reader, Reading, Room, too_many};
use crate::sync::turns::Turns;
use crate::trust::evidence::{Proofs, Signatures};
use crate::trust::memory::UnknownOrder;
use crate::trust::policy::Policies;
use crate::trust::verify::Act;

/// How many sources are read at the same time.
pub const SOURCES_AT_ONCE: usize = 4;

/// Why a sync could not be finished. The last generation stays.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The shelf could not be read or written.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The generation could not be committed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trust policy cannot be used, and none is in force by which anything could be judged.
    #[error("nothing is judged: {0}")]
    Locked(Refusal),
    /// What was accepted before is lost, and nobody has accepted that.
    #[error("nothing is accepted: {0}")]
    Lost(Refusal),
    /// Another version of the program wrote the last generation, and what it alone knows of would be lost.
    #[error(
        "{problem}; nothing takes its place before every source is read, and these are not: {unread}; bring them back, or take them out of the sources file"
    )]
    Foreign {
        /// What was found.
        problem: Refusal,
        /// The sources and catalogues that are not read.
        unread: String,
    },
    /// Not everything that a generation needs lies on this machine.
    #[error("not all that is needed is at hand: {0}")]
    NotAtHand(String),
}

impl From<PackedError> for SyncError {
    fn from(error: PackedError) -> SyncError {
        SyncError::Store(error.into())
    }
}

/// What a sync works with.
pub struct Sync<'a> {
    /// Where documents are kept.
    pub shelf: &'a Shelf,
    /// Where documents come from.
    pub origins: &'a dyn Fetch,
    /// What each source may cost.
    pub limits: &'a Limits,
    /// The forges whose file URLs are understood.
    pub forges: &'a Forges,
    /// Nothing is fetched; the shelf answers.
    pub offline: bool,
    /// The time of this sync, in seconds since 1970-01-01 UTC. It never goes back.
    pub now_s: i64,
    /// What sources are held to over time.
    pub rules: &'a Rules,
}

/// What sources are held to over time.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What becomes of a revision whose order nobody can tell.
    pub unknown_order: UnknownOrder,
    /// How long the last good entries of a source are used that does not say it itself, in seconds.
    pub max_stale_s: u64,
    /// When each source was last checked, in seconds since 1970-01-01 UTC.
    pub checked: BTreeMap<SourceId, i64>,
    /// The clock stands behind the highest one seen, so that no time says that a source is younger than it was.
    pub is_behind: bool,
    /// The trust policies in force.
    pub policies: Arc<Policies>,
    /// What is known of signatures.
    pub proofs: Arc<Proofs>,
}

/// Which sources are read from their origins; the others are held as they are.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// All of them.
    All,
    /// The named ones.
    Named(&'a [SourceId]),
    /// All of them, and every document of these components, however many their catalogues have.
    Wanting(&'a BTreeSet<ComponentId>),
    /// None: everything comes from the shelf, as after damage to the index.
    Rebuild,
    /// All of them, from the shelf and from what else lies on this machine, by their pins and without a record of what was read before.
    /// Nothing comes of it where anything is missing or not pinned.
    AtHand(&'a AtHand<'a>),
}

impl<'a> Scope<'a> {
    /// Returns the components of which every document is fetched.
    fn wanted(self) -> Option<&'a BTreeSet<ComponentId>> {
        match self {
            Scope::Wanting(ids) => Some(ids),
            Scope::All | Scope::Named(_) | Scope::Rebuild | Scope::AtHand(_) => None,
        }
    }

    fn covers(self, source: &SourceId) -> bool {
        match self {
            Scope::All | Scope::Wanting(_) | Scope::AtHand(_) => true,
            Scope::Named(names) => names.contains(source),
            Scope::Rebuild => false,
        }
    }
}

/// What was committed before.
#[derive(Debug, Clone, Copy)]
pub enum Past<'a> {
    /// Nothing.
    Nothing,
    /// Only the generation's file is left; the index was set aside.
    File(&'a Generation),
    /// A complete generation.
    Snapshot(&'a Snapshot),
}

impl<'a> Past<'a> {
    fn generation(self) -> Option<&'a Generation> {
        match self {
            Past::Nothing => None,
            Past::File(generation) => Some(generation),
            Past::Snapshot(snapshot) => Some(&snapshot.generation),
        }
    }

    fn snapshot(self) -> Option<&'a Snapshot> {
        match self {
            Past::Snapshot(snapshot) => Some(snapshot),
            Past::Nothing | Past::File(_) => None,
        }
    }
}

/// What the last generation knows, by what it is asked for.
#[derive(Default)]
struct Known<'a> {
    documents: Arc<Documents>,
    snapshot: Option<&'a Snapshot>,
    refusals: HashMap<&'a Want, &'a Refusal>,
    nodes: HashMap<NodeKey, &'a CatalogueState>,
    /// What each catalogue, named by the texts of source and name, owns in the last snapshot; `None` where there is only the
    /// generation's file.
    owned: Option<HashMap<(&'a str, &'a str), Vec<&'a Packed>>>,
}

/// What tells the nodes of a federation apart: the catalogue id, and whether it is a source's entry, since a list may name a
/// catalogue like the source itself.
type NodeKey = (CatalogueId, bool);

fn key(node: &Node) -> NodeKey {
    (node.id.clone(), node.via.is_empty())
}

impl<'a> Known<'a> {
    fn of(past: Past<'a>, documents: Documents) -> Known<'a> {
        let Some(generation) = past.generation() else { return Known::default() };
        Known {
            owned: past.snapshot().map(owned),
            snapshot: past.snapshot(),
            documents: Arc::new(documents),
            refusals: generation.refusals.iter().map(|refused| (&refused.want, &refused.refusal)).collect(),
            nodes: generation
                .catalogues
                .iter()
                .filter_map(|state| Some((key(state.errand.node()?), state)))
                .collect(),
        }
    }

    /// Returns the record of what answered `want`.
    fn document(&self, want: &Want) -> Option<DocumentRecord> {
        self.documents.document(want)
    }

    /// Returns a record of a document with these bytes, if there is any.
    fn by_digest(&self, digest: &Digest) -> Option<DocumentRecord> {
        self.documents.by_digest(digest)
    }

    /// Tells whether there is a record of what answered `want`.
    fn is_recorded(&self, want: &Want) -> bool {
        self.documents.contains(want)
    }
}

impl<'a> Known<'a> {
    /// Returns the component of the last generation with this id, where `owner` owns it.
    fn component(&self, owner: &CatalogueId, id: &ComponentId) -> Option<&'a Packed> {
        let component = self.snapshot?.component(id)?;
        let is_own = component.owner_texts() == (owner.source.as_text(), owner.name.as_text());
        is_own.then_some(component)
    }
}

fn owned(snapshot: &Snapshot) -> HashMap<(&str, &str), Vec<&Packed>> {
    let mut owned: HashMap<(&str, &str), Vec<&Packed>> = HashMap::new();
    for component in pace::each(snapshot.components(), pace::COMPONENT_NS) {
        owned.entry(component.owner_texts()).or_default().push(component);
    }
    owned
}

/// Where the reading of a source arrives, or how many releases it lists where they did not fit.
type Slot = Mutex<Option<Result<Result<Reading, u64>, SyncError>>>;

/// What a run has asked of origins so far.
#[derive(Debug, Default)]
struct Tally {
    documents: AtomicU64,
    bytes: AtomicU64,
}

/// What a sync leaves: the generation served from now on (`None` when nothing changed), and the report.
#[derive(Debug)]
pub struct Done {
    /// The new generation.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What was done.
    pub report: SyncReport,
    /// When a verdict of the policies may be another one; `None` where none changes, or where nothing was judged.
    pub next_change_s: Option<i64>,
    /// What the policies did; empty where nothing was judged.
    pub acts: Vec<Act>,
    /// The policies by which it was judged: other keysets of signers may be in force now.
    pub policies: Arc<Policies>,
}

impl Sync<'_> {
    /// Reads the sources in `scope` and commits what they say now.
    ///
    /// **Errors**: shelf or store cannot be written. A source that cannot be read is no error: it is reported.
    pub fn run(
        &self,
        store: &mut Store,
        past: Past<'_>,
        sources: &[Source],
        scope: Scope<'_>,
    ) -> Result<Done, SyncError> {
        info!(sources = sources.len(), "sync started");
        if let Scope::AtHand(at_hand) = scope {
            let here = Sync { origins: at_hand, offline: false, ..*self };
            return here.begun(store, past, sources, scope);
        }
        self.begun(store, past, sources, scope)
    }

    /// Does what [`Sync::run`] does, by the places that answer.
    fn begun(
        &self,
        store: &mut Store,
        past: Past<'_>,
        sources: &[Source],
        scope: Scope<'_>,
    ) -> Result<Done, SyncError> {
        let Rotation { policies, refused } = self.rotated(store, sources, scope)?;
        let rules = Rules { policies, ..self.rules.clone() };
        Sync { rules: &rules, ..*self }.judged(store, past, sources, (scope, &refused))
    }

    /// Does what [`Sync::run`] does, by the policies of the day; `refused` sources are not read, and stay what they were.
    fn judged(
        &self,
        store: &mut Store,
        past: Past<'_>,
        sources: &[Source],
        (scope, refused): (Scope<'_>, &BTreeMap<SourceId, Refusal>),
    ) -> Result<Done, SyncError> {
        // What somebody took away or damaged meanwhile is fetched again.
        self.shelf.distrust();
        let tally = Tally::default();
        let listed = past.generation().map_or_else(|| Ok(Documents::default()), |last| store.documents(last));
        if let Some(last) = past.snapshot()
            && let Ok(documents) = &listed
            && refused.is_empty()
            && self.has_nothing_to_do(last, documents, store, sources, scope)?
        {
            return Ok(self.rested(store, last, scope)?);
        }
        // Without the list every document is fetched again, or held as the snapshot has it; what comes of it is committed.
        let lost = listed.as_ref().err();
        if let Some(why) = lost {
            warn!(why, "which documents the last generation rests on cannot be read");
        }
        let is_lost = lost.is_some();
        let known = Known::of(past, listed.unwrap_or_default());
        let mut readings = self.read_all(&known, store.memory(), sources, (scope, refused), &tally)?;
        let accepted: Vec<(RevisionKey, Revision)> =
            readings.iter_mut().flat_map(|reading| std::mem::take(&mut reading.accepted)).collect();
        self.expire(&mut readings, past, scope)?;
        if !self.rules.policies.is_empty() {
            memory::recall(store, past.generation(), past.snapshot(), self.now_s)?;
        }
        let (mut draft, ledgered, acts) =
            self.draft((past, scope), &known.documents, readings, store.first_seen())?;
        let next_change_s = draft.generation.policy.as_ref().and_then(|ruled| ruled.next_change_s);
        drop(known);
        let settings = self.settings_after(past, store, scope);
        draft.generation.settings.clone_from(&settings);
        let outcomes = outcomes(&draft.generation, |source| !self.offline && scope.covers(source));
        for outcome in outcomes.iter().filter(|outcome| outcome.error.is_some()) {
            warn!(source = %outcome.id, health = ?outcome.health, error = %shown(outcome.error.as_ref()), "source");
        }

        if let Scope::AtHand(at_hand) = scope {
            whole(&draft.generation, at_hand)?;
        }
        if let Some(problem) = store.foreign() {
            let unread = unread(&draft.generation);
            if !unread.is_empty() {
                return Err(SyncError::Foreign { problem: problem.clone(), unread: unread.join(", ") });
            }
        }
        let listed = draft.generation.catalogues.iter().filter_map(|state| state.errand.node());
        store.remember(accepted, &listed.map(RevisionKey::of).collect())?;
        let committed = match past.snapshot() {
            Some(last) if !is_lost && is_unchanged(&draft, last) => {
                store.settle()?;
                store.note_settings(&last.generation, settings);
                Ok(None)
            }
            previous => memory::commit(store, (draft, &ledgered), &acts, previous, self.now_s).map(Some),
        };
        // Documents that no generation rests on go, also those of a run that changed nothing or could not be committed; what
        // cannot be tidied up undoes nothing.
        // A rebuild removes nothing: what it could not use may still be wanted by somebody who looks for the damage. Nor does anybody
        // where the newest generation is one that this program cannot read: nobody knows what it rests on.
        let is_idle = matches!(scope, Scope::Rebuild | Scope::AtHand(_))
            || store.foreign().is_some()
            || tally.documents.load(Ordering::Relaxed) == 0 && matches!(committed, Ok(None));
        if !is_idle && let Err(error) = self.sweep(store) {
            warn!(%error, "old documents could not be removed from the shelf");
        }
        let (snapshot, rows_written) = match committed? {
            Some(committed) => (Some(committed.snapshot), committed.rows_written),
            None => (None, 0),
        };
        let served = snapshot.as_deref().or(past.snapshot()).map(|snapshot| &snapshot.generation);
        if let Some(generation) = served {
            store.log_accepted(generation);
        }
        let report = SyncReport {
            generation: served.map_or(0, |generation| generation.number),
            snapshot: served.map_or_else(
                || snapshot_digest(&[], &BTreeSet::new(), &[]),
                |generation| generation.snapshot.clone(),
            ),
            changed: snapshot.is_some(),
            documents_fetched: tally.documents.into_inner(),
            bytes_fetched: tally.bytes.into_inner(),
            rows_written,
            sources: outcomes,
        };
        tell(&report);
        Ok(Done { snapshot, report, next_change_s, acts, policies: Arc::clone(&self.rules.policies) })
    }

    /// Reports that the last generation says all there is to say.
    fn rested(&self, store: &mut Store, last: &Snapshot, scope: Scope<'_>) -> Result<Done, StoreError> {
        store.settle()?;
        let generation = &last.generation;
        let listed = generation.catalogues.iter().filter_map(|state| state.errand.node());
        store.remember(Vec::new(), &listed.map(RevisionKey::of).collect())?;
        store.log_accepted(generation);
        let report = SyncReport {
            generation: generation.number,
            snapshot: generation.snapshot.clone(),
            changed: false,
            documents_fetched: 0,
            bytes_fetched: 0,
            rows_written: 0,
            sources: outcomes(generation, |source| scope.covers(source)),
        };
        tell(&report);
        let next_change_s = generation.policy.as_ref().and_then(|ruled| ruled.next_change_s);
        let policies = Arc::clone(&self.rules.policies);
        Ok(Done { snapshot: None, report, next_change_s, acts: Vec::new(), policies })
    }

    fn sweep(&self, store: &mut Store) -> Result<(), SyncError> {
        Ok(self.shelf.sweep(&store.live()?, name_of_block)?)
    }

    /// Reads every source, [`SOURCES_AT_ONCE`] at a time; the answers come back in the sources' order.
    fn read_all(
        &self,
        known: &Known<'_>,
        memory: &Memory,
        sources: &[Source],
        (scope, refused): (Scope<'_>, &BTreeMap<SourceId, Refusal>),
        tally: &Tally,
    ) -> Result<Vec<Reading>, SyncError> {
        let next = AtomicUsize::new(0);
        let (room, alone) = (Room::new(self.limits.releases), Room::new(0));
        let turns = Turns::of_half(std::thread::available_parallelism().map_or(1, NonZero::get));
        let slots: Vec<Slot> = sources.iter().map(|_| Mutex::new(None)).collect();
        let reader = |source, room| {
            Reader::new(self, (known, memory), source, (tally, room, &turns), Instant::now()).within(scope)
        };
        let rest = pace::rest();
        let read_some = || {
            pace::set(rest);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(source), Some(slot)) = (sources.get(at), slots.get(at)) else { break };
                let _turn = turns.take();
                let reader = reader(source, &room);
                let reading = match refused.get(&source.id).filter(|_| scope.covers(&source.id)) {
                    Some(refusal) => reader.refuse(refusal.clone()).map(Ok),
                    None if scope.covers(&source.id) => reader.read(),
                    None => reader.hold().map(Ok),
                };
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(reading);
                }
            }
        };
        // One of them is this thread: what a reading leaves in memory lies in the heap of its thread, and is used again only there.
        std::thread::scope(|threads| {
            for _ in 1..SOURCES_AT_ONCE.min(sources.len()) {
                threads.spawn(read_some);
            }
            read_some();
        });
        // Which of them met the limit first is chance; which of them are refused is decided in their order.
        let (mut readings, mut left) = (Vec::with_capacity(sources.len()), self.limits.releases);
        for (source, slot) in sources.iter().zip(slots) {
            let Some(read) = slot.into_inner().ok().flatten() else { continue };
            alone.clear(left);
            let _turn = turns.take();
            let read = match read? {
                Err(_) => reader(source, &alone).read()?,
                fitting => fitting,
            };
            // The same number whether it met the others or not, so that the same source is told of in the same words.
            let count = match &read {
                Ok(reading) if reading.named <= left => reading.listed(),
                Ok(Reading { named, .. }) | Err(named) => *named,
            };
            let reading = match read {
                Ok(reading) if count <= left || !scope.covers(&source.id) => reading,
                _ => reader(source, &alone).refuse(too_many(source, count, (left, self.limits.releases)))?,
            };
            left = left.saturating_sub(reading.listed());
            readings.push(reading);
        }
        Ok(readings)
    }

    /// Makes the ids of sources unavailable that have not been checked for too long. Their entries stay, refused, so that the ids
    /// stay theirs.
    ///
    /// **Errors**: a component cannot be read or packed.
    fn expire(&self, readings: &mut [Reading], past: Past<'_>, scope: Scope<'_>) -> Result<(), PackedError> {
        for reading in readings {
            let SourceState { source, health, .. } = &reading.state;
            let is_checked = *health == Health::Fresh && !self.offline && scope.covers(&source.id);
            if source.is_pinned() || source.offline || *health == Health::Unread || is_checked {
                continue;
            }
            let max_stale_s = max_stale_s(source, self.rules.max_stale_s);
            let last = past.generation();
            let was_expired = last.is_some_and(|last| has_expired(last, &source.id));
            let is_due = match self.rules.checked.get(&source.id).copied() {
                // Where nothing may be fetched nothing ages, and what has expired is not brought back by a flag.
                _ if self.offline => was_expired,
                // Only a check brings back what has expired, also where the time of the last one is lost or cannot be trusted.
                None if was_expired => true,
                Some(_) if was_expired && self.rules.is_behind => true,
                known => {
                    let checked_s = known.or(last.map(|last| last.committed_s)).unwrap_or(self.now_s);
                    self.now_s >= expiry(checked_s, max_stale_s)
                }
            };
            if !is_due {
                continue;
            }
            let expired = expired(source, max_stale_s);
            for packed in reading.contributions.iter_mut().flat_map(|listed| &mut listed.components) {
                let mut component = packed.component()?;
                for release in &mut component.releases {
                    release.verdict = Verdict::Refused(expired.clone());
                    // What time has refused is no longer what its document makes of it.
                    release.basis = None;
                }
                *packed = Packed::of(&component)?;
            }
            reading.state.health = Health::Expired;
            let before = reading.state.error.take();
            let found = match before {
                Some(error) => format!("{}; the last attempt: {error}", expired.found),
                None => expired.found.clone(),
            };
            reading.state.error = Some(Refusal { found, ..expired });
        }
        Ok(())
    }

    /// Puts the readings together into the next generation; number, count and root are filled in by the store.
    fn draft(
        &self,
        (past, scope): (Past<'_>, Scope<'_>),
        known: &Documents,
        readings: Vec<Reading>,
        ledger: &FirstSeen,
    ) -> Result<(Draft, Ledgered, Vec<Act>), StoreError> {
        let (mut sources, mut catalogues, mut contributions) = (Vec::new(), Vec::new(), Vec::new());
        let (mut documents, mut refusals) = (Gathered::default(), BTreeMap::new());
        let (mut salvaged, mut signatures) = (HashSet::new(), Signatures::default());
        if readings.iter().any(|reading| !reading.salvaged.is_empty()) {
            // Nobody knows which of the old documents the salvaged entries rest on, so that all of them stay; of several
            // for one want the last counts.
            known.iter().for_each(|record| documents.add(&record));
        }
        for reading in readings {
            salvaged.extend(reading.salvaged);
            signatures.absorb(reading.signatures);
            sources.push(reading.state);
            catalogues.extend(reading.catalogues);
            contributions.extend(reading.contributions);
            documents.append(reading.documents);
            refusals.extend(reading.refusals);
        }
        catalogues.sort_by(|one: &CatalogueState, other| {
            one.errand.node().map(place).cmp(&other.errand.node().map(place))
        });
        let mut blocked = blocked(&sources, &catalogues);
        let mut bench = Bench::of(self, past, scope, &sources, signatures);
        let hidden = bench.hide(&mut contributions, &catalogues)?;
        let owned = namespaces(&sources);
        let policies = &self.rules.policies;
        let rights = Rights {
            blocked: &blocked,
            owned: &owned,
            registered: &registered(&catalogues),
            may_supply: &|id, source| policies.excluding(id, source).is_none(),
        };
        let mut components = merge(contributions, &rights)?;
        if let Some(last) = past.snapshot() {
            restore_shadows(&mut components, last, &salvaged, &catalogues)?;
            note_mutations(&mut components, |component| last.component_of(component.id_text()))?;
        }
        let ledgered = memory::note_forerunners(&mut components, past.snapshot(), ledger)?;
        hidden.tell(&mut components, &mut catalogues)?;
        let ruled = bench.rule(&mut components, &sources, &mut catalogues, ledger)?;
        let (ruled, acts) = ruled.map_or((None, Vec::new()), |(ruled, acts)| (Some(ruled), acts));
        blocked.extend(policy::waiting(&self.rules.policies, &sources, &catalogues));
        blocked.sort();
        blocked.dedup();
        let snapshot = snapshot_digest(&components, &stale(&sources, &catalogues), &blocked);
        let snapshot = policy::named(snapshot, &self.rules.policies);
        let documents = documents.list().map_err(|error| StoreError::Encode {
            what: "the list of documents".to_owned(),
            found: error.to_string(),
        })?;
        let generation = Generation {
            schema: GENERATION_SCHEMA.to_owned(),
            number: 0,
            committed_s: self.now_s,
            snapshot,
            components: 0,
            root: Digest::sha256(b""),
            sources,
            catalogues,
            blocked,
            documents: documents.list.clone(),
            settings: Digest::sha256(b""),
            policy: ruled,
            refusals: refusals.into_iter().map(|(want, refusal)| DocumentRefusal { want, refusal }).collect(),
        };
        Ok((Draft { generation, documents, components }, ledgered, acts))
    }
}

fn tell(report: &SyncReport) {
    let releases: u64 = report.sources.iter().map(|source| source.releases).sum();
    let refused: u64 = report.sources.iter().map(|source| source.refused).sum();
    info!(
        generation = report.generation,
        changed = report.changed,
        releases,
        refused,
        rows_written = report.rows_written,
        "synced"
    );
}

/// Takes over what salvaged catalogues list and do not own: a snapshot holds no releases of it, only the report.
fn restore_shadows(
    components: &mut [Packed],
    last: &Snapshot,
    salvaged: &HashSet<CatalogueId>,
    catalogues: &[CatalogueState],
) -> Result<(), PackedError> {
    if salvaged.is_empty() {
        return Ok(());
    }
    let nodes = catalogues.iter().filter_map(|state| state.errand.node());
    let ranks: HashMap<&CatalogueId, &Rank> = nodes.map(|node| (&node.id, &node.rank)).collect();
    for component in components {
        let Some(before) = last.component_of(component.id_text()) else { continue };
        if !before.is_shadowing() {
            continue;
        }
        let (owner, mut shadowed) = (component.head()?.owner, component.shadowed()?);
        let lost = before.shadowed()?.into_iter().filter(|shadow| {
            salvaged.contains(&shadow.catalogue)
                && shadow.catalogue != owner
                && shadowed.iter().all(|known| known.catalogue != shadow.catalogue)
        });
        let lost: Vec<Shadow> = lost.collect();
        if !lost.is_empty() {
            shadowed.extend(lost);
            shadowed.sort_by_key(|shadow| ranks.get(&shadow.catalogue).copied());
            *component = component.with_shadows(&shadowed)?;
        }
    }
    Ok(())
}

/// Holds a generation that was made of what is at hand to everything that its sources say.
///
/// **Errors**: [`SyncError::NotAtHand`], where the generation does not say all that its sources say.
fn whole(generation: &Generation, at_hand: &AtHand<'_>) -> Result<(), SyncError> {
    let sources = generation.sources.iter().map(|state| (state.health, &state.error));
    let catalogues = generation.catalogues.iter().map(|state| (state.health, &state.error));
    let failed = sources.chain(catalogues).find(|(health, _)| *health != Health::Fresh);
    let why = at_hand.missed().or_else(|| failed.as_ref().and_then(|(_, error)| (*error).clone()));
    match (why, failed) {
        (Some(why), _) => Err(SyncError::NotAtHand(why.to_string())),
        (None, Some((health, _))) => Err(SyncError::NotAtHand(format!("a source is {health:?}"))),
        (None, None) => Ok(()),
    }
}

/// Returns the sources and catalogues that are not read.
fn unread(generation: &Generation) -> Vec<String> {
    let sources = generation.sources.iter().filter(|state| state.health == Health::Unread);
    let catalogues = generation.catalogues.iter().filter(|state| state.health == Health::Unread);
    let catalogues = catalogues.filter_map(|state| Some(state.errand.node()?.id.to_string()));
    sources.map(|state| state.source.id.to_string()).chain(catalogues).collect()
}

fn has_expired(generation: &Generation, source: &SourceId) -> bool {
    generation.sources.iter().any(|state| state.source.id == *source && state.health == Health::Expired)
}

/// Why the releases of a source may not be used. Says nothing that time changes, so that a rebuild says the same.
fn expired(source: &Source, max_stale_s: u64) -> Refusal {
    let expected = format!("a successful check within max_stale ({max_stale_s} s)");
    let found = format!("none for longer than that; resolverd sync {} tries again", source.id);
    Refusal::new(SOURCE_EXPIRED, &source.id, expected, found)
}

fn place(node: &Node) -> (&Rank, &CatalogueId) {
    (&node.rank, &node.id)
}

fn shown(refusal: Option<&Refusal>) -> String {
    refusal.map(ToString::to_string).unwrap_or_default()
}

/// The reason of the warning on a catalogue whose last good entries are lost.
const LOST: &str = "catalogue.lost";

/// Every id of a dialect.
fn everything(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Lcod => "lcod://**",
        Dialect::Estream => "estream:**",
        Dialect::Flowctl => "flowctl:**",
    }
}

/// The namespaces that sources own, those of the best-placed first.
fn namespaces(sources: &[SourceState]) -> Vec<Owned> {
    let mut placed: Vec<&SourceState> = sources.iter().collect();
    placed.sort_by(|one, other| {
        (one.source.place, &one.source.id).cmp(&(other.source.place, &other.source.id))
    });
    let own = |state: &SourceState| {
        let source = state.source.id.clone();
        let owned =
            move |namespace: &Namespace| Owned { namespace: namespace.clone(), source: source.clone() };
        state.source.owns.iter().map(owned).collect::<Vec<_>>()
    };
    placed.into_iter().flat_map(own).collect()
}

/// The namespaces that count as registered, those of the best-placed catalogue first: also of one that falls back, or is held.
fn registered(catalogues: &[CatalogueState]) -> Vec<Registered<'_>> {
    let mut placed: Vec<(&Node, &CatalogueState)> =
        catalogues.iter().filter_map(|state| Some((state.errand.node()?, state))).collect();
    placed.sort_by_key(|(node, _)| place(node));
    let each = placed.into_iter().flat_map(|(node, state)| {
        let source = &node.id.source;
        state.holds().iter().map(move |namespace| Registered { namespace, source })
    });
    each.collect()
}

/// The namespaces of sources of which something has never been read: nobody placed below them may answer. A source whose
/// entries were lost owned ids that nobody can name any more, so that it blocks all of them.
fn blocked(sources: &[SourceState], catalogues: &[CatalogueState]) -> Vec<Blocked> {
    let lost: HashSet<&SourceId> = catalogues
        .iter()
        .filter(|state| is_lost(state))
        .filter_map(|state| Some(&state.errand.node()?.id.source))
        .collect();
    let unread: HashSet<&SourceId> = catalogues
        .iter()
        .filter(|state| state.health == Health::Unread)
        .filter_map(|state| Some(&state.errand.node()?.id.source))
        .collect();
    let mut blocked = Vec::new();
    for SourceState { source, health, .. } in sources {
        let everything =
            Namespace::parse(everything(source.dialect)).ok().filter(|_| lost.contains(&source.id));
        let is_unread = *health == Health::Unread || unread.contains(&source.id);
        let own = source.owns.iter().filter(|_| is_unread).cloned();
        let block = |namespace| Blocked { namespace, source: source.id.clone(), place: source.place };
        blocked.extend(own.chain(everything).map(block));
    }
    blocked.sort();
    blocked.dedup();
    blocked
}

fn is_lost(state: &CatalogueState) -> bool {
    state.warnings.iter().any(|warning| warning.reason == LOST)
}

/// Compares everything that a generation says except its number, its time, the settings, what the store computes and when policies
/// were asked; by which, its snapshot says.
fn is_unchanged(draft: &Draft, last: &Snapshot) -> bool {
    let (new, old) = (&draft.generation, &last.generation);
    // What says that a verdict changes at an instant that is over would be judged again at every start.
    let is_over =
        |ruled: &Ruled| ruled.next_change_s.is_some_and(|at_s| at_s <= draft.generation.committed_s);
    new.snapshot == old.snapshot
        && !old.policy.as_ref().is_some_and(is_over)
        // One from a future that an operator has taken back would bring it up again where the memory is lost.
        && old.committed_s <= new.committed_s
        && new.sources == old.sources
        && new.catalogues == old.catalogues
        && new.blocked == old.blocked
        && new.documents == old.documents
        && new.refusals == old.refusals
        && draft.components == last.components()
}

fn outcomes(generation: &Generation, asked: impl Fn(&SourceId) -> bool) -> Vec<SourceOutcome> {
    let outcome = |state: &SourceState| {
        let id = &state.source.id;
        let is_own =
            |catalogue: &&CatalogueState| catalogue.errand.node().is_some_and(|node| node.id.source == *id);
        let own: Vec<&CatalogueState> = generation.catalogues.iter().filter(is_own).collect();
        let below = own.iter().find(|catalogue| catalogue.error.is_some()).filter(|_| state.error.is_none());
        SourceOutcome {
            id: id.clone(),
            health: state.health,
            checked: state.health == Health::Fresh
                && !state.source.is_pinned()
                && !state.source.offline
                && asked(id),
            error: state.error.clone().or_else(|| below.and_then(|catalogue| catalogue.error.clone())),
            failed: below.and_then(|catalogue| Some(catalogue.errand.node()?.id.name.clone())),
            releases: own.iter().map(|catalogue| catalogue.releases).sum(),
            refused: own.iter().map(|catalogue| catalogue.refused).sum(),
            skipped: own.iter().map(|catalogue| catalogue.skipped_count).sum(),
        }
    };
    generation.sources.iter().map(outcome).collect()
}

#[cfg(test)]
mod tests;
