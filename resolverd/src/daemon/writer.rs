//! The one writer: a thread that carries out orders, and everything that changes state.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{Generation, SourceState};
use catalogue_schema::id::{CatalogueId, ComponentId, SourceId};
use catalogue_schema::model::{Refusal, Source};
use catalogue_schema::revision::RevisionKey;
use tracing::{debug, error, warn};

use crate::api::{ANOTHER_FORMAT, UNWRITTEN};
use crate::config::{ConfigError, Settings};
use crate::daemon::acts;
use crate::daemon::error::DaemonError;
use crate::daemon::files::Workshop;
use crate::daemon::rehearse;
use crate::daemon::rights::{self, Binds};
use crate::daemon::rounds::{InForce, Kind, Rounds};
use crate::daemon::urgency::step_back_libraries;
use crate::fetch::limit::Limits;
use crate::fetch::{AtHand, Origins};
use crate::order::{
    Accepted, Decided, Order, OrderError, Outcome, Part, Proposal, Rehearsal, Rehearsed, SyncReport,
};
use crate::server::State;
use crate::server::answer::{Known, Times};
use crate::server::policy::PolicyState;
use crate::server::solve::Solving;
use crate::shelf::Shelf;
use crate::store::audit::Entry;
use crate::store::audit::verify::tail;
use crate::store::checks::Checks;
use crate::store::memory::{Clock, Records};
use crate::store::{Opened, Snapshot, StateLock, Store, StoreError};
use crate::sync::rehearsal::differences;
use crate::sync::standing::Standing;
use crate::sync::{Past, Rules, Scope, Sync, SyncError};

/// How long something that was due and could not be done waits until it is tried again, in seconds.
const RETRY_S: i64 = 60;

/// How many of the newest lines of the audit log are looked at for what was said of a policy last.
const POLICY_LINES: usize = 1_000;

/// The one writer: everything that changes state goes through it.
pub(super) struct Writer {
    pub(super) settings: Settings,
    /// Those of the sources file; until it has been read, those of the last generation.
    pub(super) sources: Arc<[Source]>,
    origins: Arc<Origins>,
    /// Where files are put on disk.
    pub(super) workshop: Arc<Workshop>,
    pub(super) shelf: Shelf,
    store: Store,
    pub(super) past: Option<Kept>,
    pub(super) checks: Checks,
    /// The trust policies.
    pub(super) policies: Standing,
    /// The keys that they name.
    key_files: Vec<PathBuf>,
    /// When a verdict of the policies may be another one.
    verdict_s: Option<i64>,
    /// When each source had been checked, for the policies that judged last: see [`Writer::aged_s`].
    judged: BTreeMap<SourceId, i64>,
    /// The policies changed, and no source has been read since.
    owes_sync: bool,
    /// The policies changed, and nothing that they have judged has been published since.
    owes_judging: bool,
    /// When something that was due was tried and is due still.
    failed_s: Option<i64>,
    /// Why the last run could keep nothing.
    unwritten: Option<Refusal>,
    /// Up to which instant readers know that verdicts have ended.
    shown_s: i64,
    /// What was rehearsed last, until every part of it has been told or something else is done.
    rehearsed: Option<(Proposal, Rehearsal)>,
    /// Held as long as the writer lives.
    _lock: StateLock,
}

/// What was committed last.
pub(super) enum Kept {
    File(Box<Generation>),
    Snapshot(Arc<Snapshot>),
}

impl Kept {
    fn generation(&self) -> &Generation {
        match self {
            Kept::File(generation) => generation,
            Kept::Snapshot(snapshot) => &snapshot.generation,
        }
    }
}

impl Writer {
    /// Opens the state directory; a damaged index is rebuilt from the shelf before anything is answered.
    pub(super) fn open(settings: &Settings, wait: Duration) -> Result<Writer, DaemonError> {
        rights::refuse(settings, Binds::Nothing)?;
        let lock = StateLock::acquire(&settings.state_dir, wait)?;
        let mut writer = Writer::open_locked(settings, lock, Records::Kept)?;
        writer.replace_foreign()?;
        // What has expired while nobody looked is not served for a moment.
        writer.expire_due()?;
        Ok(writer)
    }

    /// Opens the state directory whose lock is held already.
    pub(super) fn open_locked(
        settings: &Settings,
        lock: StateLock,
        records: Records,
    ) -> Result<Writer, DaemonError> {
        // Reading the shelf's heads takes as long as reading the index.
        let (directory, shelf) = (&settings.state_dir, Shelf::open_aside(&settings.state_dir));
        let (mut store, opened) =
            Store::open(directory, &lock, || shelf.shelf(), settings.generations as usize, records)?;
        store.bound_audit(settings.audit_bytes);
        let (origins, shelf) = (origins(settings)?, store.shelf().clone());
        let mut writer = Writer {
            settings: settings.clone(),
            sources: Arc::default(),
            workshop: Arc::new(Workshop::new(settings, &origins, shelf.clone())),
            origins,
            shelf,
            store,
            past: None,
            checks: Checks::load(&settings.state_dir),
            policies: Standing::default(),
            key_files: Vec::new(),
            verdict_s: None,
            judged: BTreeMap::new(),
            owes_sync: false,
            owes_judging: false,
            failed_s: None,
            unwritten: None,
            shown_s: 0,
            rehearsed: None,
            _lock: lock,
        };
        writer.policies = Standing::first(&writer.settings.policy_files, writer.store.memory());
        writer.key_files = writer.policies.key_files(&writer.settings.policy_files);
        writer.note_policies()?;
        if let Some(problem) = &writer.policies.problem {
            let entry = acts::rejected(problem);
            // Every verb without a daemon finds it again, and one line says so, whatever was said of other policies since.
            let newest = tail(&settings.state_dir, POLICY_LINES).unwrap_or_default().lines.into_iter();
            let mut told = newest.rev().map(|line| line.entry).filter(|line| entry.is_about(line));
            if told.next().is_none_or(|line| !entry.is_told_by(&line)) {
                writer.store.audit(&[entry], now_s())?;
            }
        }
        match opened {
            Opened::Empty if writer.policies.in_force.is_empty() => {}
            Opened::Empty => writer.store.audit(&acts::loaded(&writer.policies.in_force), now_s())?,
            Opened::Warm(snapshot) => {
                writer.sources = sources_of(&snapshot.generation);
                writer.past = Some(Kept::Snapshot(snapshot));
                writer.judge_anew()?;
            }
            Opened::Rebuild { generation, why } => {
                warn!(generation = generation.number, %why, "rebuilding the index from the shelf");
                writer.sources = sources_of(&generation);
                writer.past = Some(Kept::File(generation));
                // What cannot be judged is not read.
                if !writer.policies.is_locked {
                    writer.run(&writer.sources.clone(), Scope::Rebuild)?;
                }
            }
        }
        Ok(writer)
    }

    /// Says that another version of the program wrote the newest generation, where it did and nothing was committed since.
    pub(super) fn foreign(&self) -> Option<&Refusal> {
        self.store.foreign()
    }

    /// Makes a generation of what the sources file pins where another version of the program wrote the last one, from the shelf and what
    /// else lies on this machine: read by its pins and judged anew, as a sync does it, and nobody elsewhere is asked. Where something is
    /// missing or not pinned everything stays as it is, and is named.
    pub(super) fn replace_foreign(&mut self) -> Result<(), SyncError> {
        let Some(problem) = self.foreign().filter(|_| !self.policies.is_locked && self.past.is_none()) else {
            return Ok(());
        };
        let Some(sources) = settled(&self.settings) else { return Ok(()) };
        warn!(%problem, "making one of what lies on this machine");
        let origins = Arc::clone(&self.origins);
        match self.run(&sources, Scope::AtHand(&AtHand::of(&origins))) {
            Ok(_) => {
                self.sources = sources.into();
                Ok(())
            }
            // Nor is a disk that takes nothing a reason not to answer with what is known: why there is no generation.
            Err(
                why @ (SyncError::NotAtHand(_)
                | SyncError::Foreign { .. }
                | SyncError::Lost(_)
                | SyncError::Store(_)
                | SyncError::Shelf(_)),
            ) => {
                warn!(%why, "nothing was made, and nothing thrown away");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Shows when this daemon started, which is later than every start before.
    pub(super) fn begin(&mut self, state: &State) {
        let now_ms = now_ms();
        state.show_start(now_ms, self.store.begin(now_ms));
    }

    /// Shows what is kept, and everything that [`Writer::show`] shows. Where the policy cannot be used nothing is shown that
    /// nobody has judged.
    pub(super) fn start(&mut self, state: &State) {
        self.show_solving(state);
        state.show_policies(shown(&self.policies));
        if !self.policies.is_locked {
            state.publish_kept(self.store.kept().to_vec());
        }
        self.show(state);
    }

    /// Remembers the versions of the policies in force, so that none of them goes down.
    fn note_policies(&mut self) -> Result<(), StoreError> {
        let in_force = Arc::clone(&self.policies.in_force);
        self.store
            .remember_policies(in_force.all().iter().map(|one| (one.path.as_path(), one.policy.version)))
    }

    /// Judges what was committed last again, without network, where that was not done by the policies of today, or where a verdict
    /// has changed by itself meanwhile.
    fn judge_anew(&mut self) -> Result<(), SyncError> {
        let Some(generation) = self.past.as_ref().map(Kept::generation).filter(|_| !self.policies.is_locked)
        else {
            return Ok(());
        };
        let ruled = generation.policy.as_ref();
        let is_same = ruled.map(|ruled| &ruled.digest) == self.policies.in_force.digest();
        self.verdict_s = ruled.and_then(|ruled| ruled.next_change_s);
        self.judged = ruled.map(|ruled| ruled.checked.clone()).unwrap_or_default();
        if !is_same {
            self.store.audit(&acts::loaded(&self.policies.in_force), now_s())?;
        }
        if !is_same || self.verdict_s.is_some_and(|at_s| at_s <= now_s()) {
            self.run(&self.sources.clone(), Scope::Rebuild)?;
        }
        Ok(())
    }

    /// Writes down what policies decided while something was answered. Where that cannot be done the log says so; the decisions
    /// stand.
    pub(super) fn note(&mut self, decided: &[Decided]) {
        let entries: Vec<Entry> = decided.iter().map(acts::decided).collect();
        let written = if entries.is_empty() { Ok(()) } else { self.store.audit(&entries, now_s()) };
        if let Err(problem) = written {
            error!(%problem, decided = decided.len(), "what was decided is not in the audit log");
        }
    }

    /// Reads the policies again, and judges everything anew by them, without network. The policies that were in force stay where
    /// those that are there cannot be used.
    fn judge(&mut self, state: &State) -> Outcome {
        let before = self.policies.problem.clone();
        let read = self.policies.again(&self.settings.policy_files, self.store.memory());
        self.key_files = self.policies.key_files(&self.settings.policy_files);
        // Owed whatever fails below. Signatures that nobody asked for before are fetched.
        let is_new = matches!(read, Ok(true));
        self.owes_sync |= is_new;
        self.owes_judging |= is_new;
        state.show_policies(shown(&self.policies));
        let entries = match &read {
            Ok(true) => acts::loaded(&self.policies.in_force),
            // The same fault is found again with every word about the file.
            Err(problem) if before.as_ref() != Some(problem) => vec![acts::rejected(problem)],
            Ok(false) | Err(_) => Vec::new(),
        };
        self.store.audit(&entries, now_s()).map_err(|problem| OrderError::Store(problem.to_string()))?;
        read.map_err(OrderError::Config)?;
        if !self.owes_judging {
            return Ok(self.unchanged());
        }
        self.note_policies().map_err(|problem| OrderError::Store(problem.to_string()))?;
        if self.past.is_none() {
            self.owes_judging = false;
            return Ok(self.unchanged());
        }
        let report = self.run(&self.sources.clone(), Scope::Rebuild).map_err(failed)?;
        self.publish(&report, state);
        self.show(state);
        Ok(report)
    }

    /// Reports that nothing was done.
    fn unchanged(&self) -> SyncReport {
        let generation = self.generation();
        SyncReport {
            generation: generation.map_or(0, |generation| generation.number),
            snapshot: generation
                .map_or_else(|| Digest::sha256(b""), |generation| generation.snapshot.clone()),
            changed: false,
            documents_fetched: 0,
            bytes_fetched: 0,
            rows_written: 0,
            sources: Vec::new(),
        }
    }

    /// Closes everything but the lock, and hands that back.
    pub(super) fn close(self) -> StateLock {
        self._lock
    }

    /// Carries out orders, and what `rounds` say is due, until it is told to stop. Nothing that an order meets ends the
    /// thread.
    pub(super) fn work(&mut self, inbox: &Receiver<Order>, state: &State, rounds: &mut Rounds) {
        state.metrics().stored(self.store.bytes());
        let mut waiting = VecDeque::new();
        loop {
            let change_s = self.next_change_s();
            if waiting.is_empty() {
                match inbox.recv_timeout(rounds.patience(change_s, now_s())) {
                    Ok(order) => waiting.push_back(order),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            // Not once for all: a thread has the name of the program until it has begun to run.
            step_back_libraries();
            waiting.extend(inbox.try_iter());
            if waiting.iter().any(|order| matches!(order, Order::Stop)) {
                for order in waiting {
                    if let Order::Note { decided } = order {
                        self.note(&decided);
                    }
                }
                return;
            }
            if let Some(Order::Rehearse { .. }) = waiting.front()
                && let Some(Order::Rehearse { proposal, part, reply }) = waiting.pop_front()
            {
                let rehearsed = contained(|| self.rehearse(proposal, part));
                // Whoever asked may have gone.
                let _ = reply.map(|reply| reply.send(rehearsed));
                continue;
            }
            if let Some(Order::Note { .. }) = waiting.front()
                && let Some(Order::Note { decided }) = waiting.pop_front()
            {
                self.note(&decided);
                continue;
            }
            let Some((task, replies)) =
                next_task(&mut waiting).or_else(|| Some((self.due(rounds, change_s)?, Vec::new())))
            else {
                continue;
            };
            self.rehearsed = None;
            let since = now();
            let kind = if task == Task::Reload { Kind::Reload } else { Kind::Other };
            rounds.working(self.in_force(), kind);
            if kind == Kind::Reload {
                state.activity().touch();
            }
            let outcome = contained(|| match &task {
                Task::Reload => self.reloaded(state),
                Task::Judge => self.judge(state),
                Task::Sync(sources) => self.sync(sources, state),
                Task::Refresh(ids) => self.refresh(ids, state),
                Task::Forget(what, why) => self.forget(what, why, state),
                Task::Expire => self.expire(state),
            });
            if task == Task::Judge && self.owes_judging {
                self.failed_s = Some(now_s());
            }
            state.metrics().synced(&outcome);
            match &task {
                // No source was asked, so that none of them has its time moved.
                Task::Expire | Task::Forget(Accepted::Version(..), _) => rounds.rested(self.in_force()),
                Task::Judge => {
                    rounds.judged(self.in_force(), since);
                    if std::mem::take(&mut self.owes_sync) {
                        waiting.push_back(Order::Sync { sources: Vec::new(), reply: None });
                    }
                }
                Task::Sync(named) => rounds.worked(self.in_force(), kind, named, &outcome, since),
                Task::Forget(Accepted::Revisions(source, _), _) => {
                    rounds.worked(self.in_force(), kind, std::slice::from_ref(source), &outcome, since);
                }
                Task::Reload | Task::Refresh(_) | Task::Forget(Accepted::Lost | Accepted::Clock, _) => {
                    rounds.worked(self.in_force(), kind, &[], &outcome, since)
                }
            }
            match &outcome {
                Ok(_) => {}
                // The caller's mistake, and the caller is told.
                Err(
                    problem @ (OrderError::NoSuchSource(_)
                    | OrderError::NoSuchCatalogue(_)
                    | OrderError::NoSuchVersion(..)
                    | OrderError::NothingLost
                    | OrderError::ClockNotBehind
                    | OrderError::ClockNotSet
                    | OrderError::Moved { .. }),
                ) => debug!(%problem, "the order was refused"),
                Err(problem) => {
                    error!(%problem, "the order failed; the last generation stays");
                    if self.unwritten.is_some() {
                        self.show(state);
                    }
                }
            }
            for reply in replies {
                let _ = reply.send(outcome.clone());
            }
            // What a start has read stays in the engine's memory where nothing was committed behind it.
            self.store.rest();
        }
    }

    /// Returns what is in force.
    pub(super) fn in_force(&self) -> InForce<'_> {
        let (settings, key_files) = (&self.settings, &self.key_files[..]);
        InForce { settings, sources: &self.sources, key_files, generation: self.generation() }
    }

    fn show_solving(&self, state: &State) {
        let limits = &self.settings.limits;
        state.show_solving(Solving::within(limits));
        state.show_platforms(&self.settings.platforms);
    }

    fn reloaded(&mut self, state: &State) -> Outcome {
        let reloaded = self.reload().map_err(|problem| of_config(&problem));
        self.show_solving(state);
        state.show_problem(match &reloaded {
            Ok(unheard) => unheard.clone(),
            Err(problem) => Some(problem.clone()),
        });
        reloaded.map_err(OrderError::Config)?;
        // What is wrong with a policy is told where policies are, and keeps nobody from reading sources.
        let judged = self.judge(state);
        let report = self.sync(&[], state)?;
        self.owes_sync = false;
        judged.map(|_| report)
    }

    pub(super) fn forget(&mut self, what: &Accepted, why: &str, state: &State) -> Outcome {
        // What is forgotten is read and judged anew, which cannot be done then.
        self.unlocked().map_err(OrderError::Locked)?;
        match what {
            Accepted::Revisions(source, catalogue) => {
                self.not_lost().map_err(OrderError::Lost)?;
                self.forget_revisions(source, catalogue.as_ref(), why)?;
                self.sync(std::slice::from_ref(source), state)
            }
            Accepted::Lost => {
                let was_lost = self.store.reset(why, now_s());
                match was_lost.map_err(|problem| OrderError::Store(problem.to_string()))? {
                    true => self.sync(&[], state),
                    false => Err(OrderError::NothingLost),
                }
            }
            Accepted::Clock => {
                self.not_lost().map_err(OrderError::Lost)?;
                let now_s = now_s();
                if !self.store.memory().clock(now_s).is_set() {
                    return Err(OrderError::ClockNotSet);
                }
                let was_behind = self.store.reset_clock(why, now_s);
                match was_behind.map_err(|problem| OrderError::Store(problem.to_string()))? {
                    true => {
                        self.checks.settle(self.clock());
                        self.sync(&[], state)
                    }
                    false => Err(OrderError::ClockNotBehind),
                }
            }
            Accepted::Version(id, version) => {
                let sources: Vec<&str> = self.sources.iter().map(|source| source.id.as_text()).collect();
                let release = (id.as_text(), version.to_string());
                let is_known = self
                    .store
                    .forget_version(&sources, (release.0, &release.1), why, now_s())
                    .map_err(|problem| OrderError::Store(problem.to_string()))?;
                if !is_known {
                    return Err(OrderError::NoSuchVersion(id.clone(), version.clone()));
                }
                // What is on the shelf is judged anew.
                self.rebuilt(state)
            }
        }
    }

    fn forget_revisions(
        &mut self,
        source: &SourceId,
        catalogue: Option<&SourceId>,
        why: &str,
    ) -> Result<(), OrderError> {
        self.configured(source)?;
        if let Some(name) = catalogue {
            let key = RevisionKey { source: source.clone(), catalogue: Some(name.clone()) };
            if self.store.memory().known(&key).is_empty() {
                let unknown = CatalogueId { source: source.clone(), name: name.clone() };
                return Err(OrderError::NoSuchCatalogue(unknown));
            }
        }
        self.store
            .forget(source, catalogue, why, now_s())
            .map_err(|problem| OrderError::Store(problem.to_string()))
    }

    /// Returns when something changes by itself, and a new generation is due without network: a source becomes unavailable unless
    /// it is checked before, a verdict of the policies is another one, or they have judged nothing yet. Told by the clock of
    /// today, in seconds since 1970-01-01 UTC; `None` where nothing is due. What was tried and is due still is due again after a
    /// pause: it must not keep this thread busy, and nobody else may come to publish it.
    pub(super) fn next_change_s(&self) -> Option<i64> {
        if self.policies.is_locked {
            return None;
        }
        // Ages count from the highest time seen, which a clock that stepped back has not reached again.
        let clock = self.clock();
        let behind_s = clock.latest_s.saturating_sub(clock.now_s);
        let paused = self.failed_s.filter(|failed_s| *failed_s <= now_s());
        let again_s = paused.map(|failed_s| failed_s.saturating_add(RETRY_S));
        let due_s = self.due_s(clock).and_then(|due_s| Some(due_s.saturating_sub(behind_s)).max(again_s));
        due_s.into_iter().chain(self.lapse_s().map(|lapse_s| lapse_s.saturating_sub(behind_s))).min()
    }

    /// Returns when the next verdict in a kept snapshot ends that readers may still be given.
    fn lapse_s(&self) -> Option<i64> {
        let older = self.store.kept().iter().skip(1);
        let changes = older.filter_map(|snapshot| snapshot.generation.policy.as_ref()?.next_change_s);
        changes.filter(|at_s| *at_s > self.shown_s).min()
    }

    /// Returns when something is due, by the highest time seen.
    fn due_s(&self, clock: Clock) -> Option<i64> {
        let generation = self.generation()?;
        let ages = (!self.settings.offline)
            .then(|| self.checks.next_change(&generation.sources, self.settings.max_stale_s, clock));
        let judging = self.owes_judging.then_some(0);
        let verdict_s = self.verdict_s.map(|verdict_s| verdict_s.saturating_sub(self.aged_s(clock)));
        ages.flatten().into_iter().chain(verdict_s).chain(judging).min()
    }

    /// Returns how many seconds a source has aged since the policies judged, beside the highest time seen: that one stands still
    /// while the clock is behind it, and the ages of sources go on.
    fn aged_s(&self, clock: Clock) -> i64 {
        if clock.behind_s() == 0 || self.settings.offline {
            return 0;
        }
        let known = self.checks.known(clock);
        let aged = self
            .judged
            .iter()
            .filter_map(|(source, judged_s)| Some(judged_s.saturating_sub(*known.get(source)?)));
        aged.max().unwrap_or_default().max(0)
    }

    fn clock(&self) -> Clock {
        self.store.memory().clock(now_s())
    }

    /// Returns the time like [`Writer::clock`], and remembers it where it is the highest so far.
    fn see_clock(&mut self) -> Clock {
        let now_s = now_s();
        Clock { now_s, latest_s: self.store.see_clock(now_s) }
    }

    /// Publishes what is due by [`Writer::next_change_s`], without network.
    pub(super) fn expire(&mut self, state: &State) -> Outcome {
        let clock = self.clock();
        let due_s = self.due_s(clock);
        let is_due = due_s.is_some_and(|due_s| due_s <= clock.latest_s);
        if !is_due && !self.policies.is_locked {
            // Only a snapshot that is not in force any more has to be taken from readers.
            self.show(state);
            return Ok(self.unchanged());
        }
        self.failed_s = Some(now_s());
        let outcome = self.rebuilt(state);
        if self.due_s(clock) != due_s {
            self.failed_s = None;
        }
        outcome
    }

    /// Returns what has to be done without an order: a change that comes by itself at `change_s`, or sources whose time has come.
    fn due(&self, rounds: &Rounds, change_s: Option<i64>) -> Option<Task> {
        match change_s.is_some_and(|at| at <= now_s()) {
            true if self.owes_judging => Some(Task::Judge),
            true => Some(Task::Expire),
            false => Some(rounds.due()).filter(|due| !due.is_empty()).map(Task::Sync),
        }
    }

    /// Makes the next generation of what is on the shelf, without network.
    fn rebuilt(&mut self, state: &State) -> Outcome {
        let report = self.run(&self.sources.clone(), Scope::Rebuild).map_err(failed)?;
        self.publish(&report, state);
        self.show(state);
        self.store.rest();
        Ok(report)
    }

    /// Expires what has expired while no process looked.
    fn expire_due(&mut self) -> Result<(), SyncError> {
        if let Some(generation) = self.past.as_ref().map(Kept::generation) {
            self.checks.assume(generation);
        }
        let clock = self.see_clock();
        self.checks.settle(clock);
        if !self.policies.is_locked && self.due_s(clock).is_some_and(|due_s| due_s <= clock.latest_s) {
            self.run(&self.sources.clone(), Scope::Rebuild)?;
        }
        Ok(())
    }

    /// **Errors**: why there is no policy to judge by.
    fn unlocked(&self) -> Result<(), Refusal> {
        match self.policies.problem.as_ref().filter(|_| self.policies.is_locked) {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        }
    }

    /// **Errors**: what was accepted before is lost: whatever a source says now could be older.
    fn not_lost(&self) -> Result<(), Refusal> {
        self.store.memory().lost().map_or(Ok(()), Err)
    }

    fn generation(&self) -> Option<&Generation> {
        self.past.as_ref().map(Kept::generation)
    }

    fn configured(&self, name: &SourceId) -> Result<(), OrderError> {
        match self.sources.iter().any(|source| source.id == *name) {
            true => Ok(()),
            false => Err(OrderError::NoSuchSource(name.clone())),
        }
    }

    fn publish(&mut self, report: &SyncReport, state: &State) {
        state.synced(report, self.store.kept());
        // Also what was never published because of the policy.
        if std::mem::take(&mut self.owes_judging) {
            state.publish_kept(self.store.kept().to_vec());
        }
        if report.changed {
            state.metrics().stored(self.store.bytes());
        }
    }

    /// Shows readers the ages of sources, when they expire, what is remembered, and what is wrong with memory or clock.
    pub(super) fn show(&mut self, state: &State) {
        let clock = self.see_clock();
        self.checks.settle(clock);
        self.shown_s = clock.latest_s;
        state.show_ages(self.checks.ages(clock));
        let sources =
            self.generation().filter(|_| !self.settings.offline).map(|generation| &generation.sources[..]);
        let expires = |state: &SourceState| {
            let due_s = self.checks.expires(state, self.settings.max_stale_s, clock)?;
            // As the clock of today will say it.
            Some((state.source.id.clone(), due_s.saturating_sub(clock.behind_s())))
        };
        let memory = self.store.memory();
        state.show_times(Times {
            seen_s: clock.latest_s,
            expires: sources.unwrap_or_default().iter().filter_map(expires).collect(),
            known: memory.all().filter_map(Known::of).collect(),
            problems: self.store.problems(clock.now_s).into_iter().chain(self.unwritten.clone()).collect(),
        });
    }

    /// Reads the configuration and the sources again; both are taken, or neither. What a running process cannot change
    /// stays as it is and is returned as a problem that a restart solves.
    pub(super) fn reload(&mut self) -> Result<Option<Refusal>, ConfigError> {
        let settings = self.settings.again()?;
        let fixed = self.settings.fixed(&settings);
        let settings = settings.kept_from(&self.settings);
        let sources = settings.sources()?;
        // Also where no key has changed: what the files that they name hold may have, a token or an authority.
        self.origins = origins(&settings)?;
        self.workshop.renew(&settings, &self.origins);
        self.store.keep(settings.generations as usize);
        self.store.bound_audit(settings.audit_bytes);
        (self.settings, self.sources) = (settings, sources.into());
        if fixed.is_empty() {
            return Ok(None);
        }
        let keys = fixed.join(", ");
        warn!(keys, "changed in the configuration, and in force only after a restart");
        let found = format!("a new value of {keys}, which is in force after a restart only");
        Ok(Some(Refusal::new("config.restart", "the configuration", "", found)))
    }

    pub(super) fn sync(&mut self, named: &[SourceId], state: &State) -> Outcome {
        named.iter().try_for_each(|name| self.configured(name))?;
        self.synced(if named.is_empty() { Scope::All } else { Scope::Named(named) }, state)
    }

    /// Reads all sources, with every document of the components `ids`.
    pub(super) fn refresh(&mut self, ids: &[ComponentId], state: &State) -> Outcome {
        self.synced(Scope::Wanting(&ids.iter().cloned().collect()), state)
    }

    fn synced(&mut self, scope: Scope<'_>, state: &State) -> Outcome {
        let before = self.policies.in_force.digest().cloned();
        let report = self.run(&self.sources.clone(), scope).map_err(failed)?;
        if self.policies.in_force.digest() != before.as_ref() {
            state.show_policies(shown(&self.policies));
        }
        let checked: Vec<SourceId> =
            report.sources.iter().filter(|source| source.checked).map(|source| source.id.clone()).collect();
        let configured: Vec<SourceId> = report.sources.iter().map(|source| source.id.clone()).collect();
        let clock = self.see_clock();
        self.checks.note(&checked, &configured, clock);
        if let Some(generation) = self.past.as_ref().map(Kept::generation) {
            self.checks.assume(generation);
        }
        self.publish(&report, state);
        self.show(state);
        Ok(report)
    }

    /// Makes the next generation, and writes down what is seen for the first time: nothing of that without a policy to judge by,
    /// where there is one and it cannot be used.
    pub(super) fn run(&mut self, sources: &[Source], scope: Scope<'_>) -> Result<SyncReport, SyncError> {
        self.unlocked().map_err(SyncError::Locked)?;
        if !matches!(scope, Scope::Rebuild) {
            self.not_lost().map_err(SyncError::Lost)?;
        }
        let limits = self.policies.lowered(&self.settings.limits);
        let clock = self.see_clock();
        let rules = self.rules(&self.policies, clock);
        let sync = sync(&self.shelf, &self.origins, &self.settings, (&limits, &rules), clock.latest_s);
        let past = match &self.past {
            None => Past::Nothing,
            Some(Kept::File(generation)) => Past::File(generation),
            Some(Kept::Snapshot(snapshot)) => Past::Snapshot(snapshot),
        };
        let done = sync.run(&mut self.store, past, sources, scope);
        let unwritten =
            done.as_ref().err().filter(|why| matches!(why, SyncError::Store(_) | SyncError::Shelf(_)));
        let place = self.settings.state_dir.display();
        self.unwritten =
            unwritten.map(|why| Refusal::new(UNWRITTEN, place, "a generation that could be kept", why));
        let done = done?;
        self.verdict_s = done.next_change_s;
        self.judged = rules.checked;
        let checked = done.report.sources.iter().filter(|source| source.checked);
        self.judged.extend(checked.map(|source| (source.id.clone(), clock.latest_s)));
        self.policies.in_force = done.policies;
        if let Some(snapshot) = done.snapshot {
            self.past = Some(Kept::Snapshot(snapshot));
        }
        Ok(done.report)
    }

    fn rules(&self, standing: &Standing, clock: Clock) -> Rules {
        Rules {
            unknown_order: self.settings.unknown_order,
            max_stale_s: self.settings.max_stale_s,
            checked: self.checks.known(clock),
            is_behind: clock.behind_s() > 0,
            policies: Arc::clone(&standing.in_force),
            proofs: Arc::clone(&standing.proofs),
        }
    }

    /// Says what a policy would change in the place of the operator's own, without network; changes nothing. The parts of one
    /// list come from one rehearsal.
    pub(super) fn rehearse(&mut self, proposal: Proposal, part: Part) -> Rehearsed {
        let (proposal, whole) = match self.rehearsed.take().filter(|known| known.0 == proposal) {
            Some(known) => known,
            None => {
                let whole = self.rehearse_all(&proposal)?;
                (proposal, whole)
            }
        };
        let told = whole.part(part)?;
        self.rehearsed = told.next_cursor.is_some().then_some((proposal, whole));
        Ok(told)
    }

    fn rehearse_all(&self, proposal: &Proposal) -> Rehearsed {
        let (standing, replaces, problems) =
            rehearse::standing(proposal, &self.settings, &self.policies.in_force, self.store.memory())
                .map_err(OrderError::Config)?;
        let Some(Kept::Snapshot(last)) = &self.past else {
            let why = self.foreign().map(|problem| format!("{problem}: {ANOTHER_FORMAT}"));
            let why = why.unwrap_or_else(|| "nothing has been synced yet: run resolverd sync".to_owned());
            return Err(OrderError::Store(why));
        };
        let clock = self.clock();
        let (limits, rules) = (standing.lowered(&self.settings.limits), self.rules(&standing, clock));
        let sync = sync(&self.shelf, &self.origins, &self.settings, (&limits, &rules), clock.latest_s);
        let failed = |error: &dyn std::fmt::Display| OrderError::Store(error.to_string());
        let after = sync.rehearse(&self.store, last, &self.sources).map_err(|error| failed(&error))?;
        let changes = differences(last.components(), &after).map_err(|error| failed(&error))?;
        Ok(Rehearsal {
            generation: last.generation.number,
            snapshot: last.generation.snapshot.clone(),
            replaces: replaces.display().to_string(),
            problems,
            releases: last.components().iter().map(|one| one.count() as u64).sum(),
            changed: changes.len() as u64,
            changes,
            next_cursor: None,
        })
    }
}

/// Makes what a run works with.
fn sync<'a>(
    shelf: &'a Shelf,
    origins: &'a Origins,
    settings: &'a Settings,
    (limits, rules): (&'a Limits, &'a Rules),
    now_s: i64,
) -> Sync<'a> {
    Sync { shelf, origins, limits, forges: &settings.forges, offline: settings.offline, now_s, rules }
}

/// Returns what readers are told of the policies.
pub(super) fn shown(policies: &Standing) -> PolicyState {
    let Standing { in_force, problem, is_locked, .. } = policies;
    PolicyState { in_force: Arc::clone(in_force), problem: problem.clone(), is_locked: *is_locked }
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Reload,
    Judge,
    Sync(Vec<SourceId>),
    Refresh(Vec<ComponentId>),
    Forget(Accepted, String),
    Expire,
}

/// Takes the order that has waited longest, and with it every order that the same run answers: those for the same work
/// that wait already, up to the next order to reload, behind which other sources may be in force.
fn next_task(waiting: &mut VecDeque<Order>) -> Option<(Task, Vec<Sender<Outcome>>)> {
    let (task, reply) = split(waiting.pop_front()?)?;
    let mut replies: Vec<Sender<Outcome>> = reply.into_iter().collect();
    let mut later = VecDeque::new();
    let mut may_join = true;
    for order in waiting.drain(..) {
        let is_same = match (&order, &task) {
            (Order::Reload { .. }, Task::Reload) | (Order::Judge, Task::Judge) => true,
            (Order::Sync { sources, .. }, Task::Sync(named)) => sources == named,
            (Order::Refresh { ids, .. }, Task::Refresh(wanted)) => ids == wanted,
            _ => false,
        };
        may_join &= is_same || !matches!(order, Order::Reload { .. });
        match is_same && may_join {
            true => replies.extend(split(order).and_then(|(_, reply)| reply)),
            false => later.push_back(order),
        }
    }
    *waiting = later;
    Some((task, replies))
}

fn split(order: Order) -> Option<(Task, Option<Sender<Outcome>>)> {
    match order {
        Order::Sync { sources, reply } => Some((Task::Sync(sources), reply)),
        Order::Refresh { ids, reply } => Some((Task::Refresh(ids), reply)),
        Order::Reload { reply } => Some((Task::Reload, reply)),
        Order::Judge => Some((Task::Judge, None)),
        Order::Forget { what, why, reply } => Some((Task::Forget(what, why), reply)),
        // It changes nothing, and is answered before.
        Order::Rehearse { .. } | Order::Note { .. } | Order::Stop => None,
    }
}

/// Turns a panic of this program into a failed order.
fn contained<T>(work: impl FnOnce() -> Result<T, OrderError>) -> Result<T, OrderError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OrderError::Store("the sync ended in a fault of this program".to_owned())))
}

/// Returns why an order failed whose run did.
fn failed(problem: SyncError) -> OrderError {
    match problem {
        SyncError::Locked(problem) => OrderError::Locked(problem),
        SyncError::Lost(problem) => OrderError::Lost(problem),
        other => OrderError::Store(other.to_string()),
    }
}

/// Returns the sources of today where all of them are pinned, so that what they say may lie on this machine.
pub(super) fn settled(settings: &Settings) -> Option<Vec<Source>> {
    let sources = settings.sources().ok()?;
    (!sources.is_empty() && sources.iter().all(Source::is_pinned)).then_some(sources)
}

fn origins(settings: &Settings) -> Result<Arc<Origins>, ConfigError> {
    Origins::new(settings.network.clone()).map(Arc::new).map_err(ConfigError::Network)
}

fn sources_of(generation: &Generation) -> Arc<[Source]> {
    generation.sources.iter().map(|state| state.source.clone()).collect()
}

pub(super) fn of_config(problem: &ConfigError) -> Refusal {
    match problem {
        ConfigError::Network(refusal) => refusal.clone(),
        ConfigError::Sources { path, error } => Refusal::of(path.display(), error),
        other => Refusal::new("config.invalid", "the configuration", "", other),
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the daemon is where the clock is read")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
pub(super) fn now_s() -> i64 {
    now_ms() / 1000
}

/// Milliseconds since 1970-01-01 UTC; a clock before that counts as that.
pub(super) fn now_ms() -> i64 {
    let since = now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
