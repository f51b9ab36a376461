//! Server (the only reader): takes calls, from the socket or in process, and answers them from the snapshot in force or
//! from an older one that is kept.
//!
//! `route` reads a call, `answer` answers it (`explain`, `lock`, `search` and `snapshots` their own; `desk` what needs files, such as
//! the directories of commits that `direct` lets take part; documents as they were `received`), `connection` speaks HTTP,
//! `quick` as much of it as a plain question needs, and `together` knows of several that arrive at once. `events` are told through
//! `stream`, `progress` comes before an answer about files, `metrics` counts, `activity` knows whether anybody is there. Never writes to
//! shelf or store: a sync is an order to the writer, whose report is awaited.

pub mod activity;
pub mod answer;
mod beside;
pub mod calls;
pub mod connection;
mod decisions;
mod desk;
pub mod direct;
pub mod documents;
pub mod encoded;
mod errand;
pub mod events;
pub mod explain;
pub mod files;
pub mod lock;
pub mod metrics;
pub mod policy;
mod progress;
pub(crate) mod quick;
mod received;
pub mod route;
pub mod search;
pub mod snapshots;
pub mod solve;
pub mod stream;
mod together;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, Reference, SourceId};
use catalogue_schema::model::Refusal;
use catalogue_schema::pace;
use catalogue_schema::pointer::Repository;
use catalogue_schema::revision::LogLine;
use catalogue_schema::version::Version;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::api::lock::LARGE_LOCKS_MAX;
use crate::api::{BELOW_COMPONENTS, Call, Code, Failure, JSON, Reply, forbidden};
use crate::fetch::progress::Progress;
use crate::order::{Order, Outcome, Part, Proposal, Rehearsed, SyncReport};
use crate::resolve::Native;
use crate::server::activity::Activity;
use crate::server::answer::{
    Ages, Answer, Facts, Records, Shelved, Times, View, answer, answer_from, at_once, document_missing,
    foreign, log_page, log_unreadable, rehearsal, report, served,
};
use crate::server::connection::{INLINE_MAX, ORDERS_MAX};
use crate::server::decisions::Decisions;
use crate::server::encoded::Encoded;
use crate::server::events::Events;
use crate::server::files::{Asking, Desk, REQUESTS_MAX, Target};
use crate::server::lock::{AskedCheck, Watches};
use crate::server::metrics::{METRICS_TEXT, Metrics};
use crate::server::policy::PolicyState;
use crate::server::route::{Forget, LOOKUP, Operation, Plain, Query, plain_lookup, read_parts, route};
use crate::server::solve::{SOLVES_MAX, Solving};
use crate::server::stream::Patience;
use crate::server::together::Together;
use crate::store::Snapshot;
use crate::store::exact::Exact;

/// Reads a document from the shelf: `None` when it is not there as it was accepted.
pub type Documents = Box<dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync>;

/// Reads the log of revisions: the newest lines of one source or of all, at most so many, oldest first.
pub type Revisions = Box<dyn Fn(Option<&SourceId>, usize) -> Result<Vec<LogLine>, String> + Send + Sync>;

/// Tells the time in seconds since 1970-01-01 UTC, for the date of an answer.
pub type Clock = fn() -> i64;

/// What every request shares: the snapshot in force, the way to the writer, the counters.
pub struct State {
    kept: ArcSwap<Kept>,
    problem: ArcSwapOption<Refusal>,
    policies: ArcSwap<PolicyState>,
    ages: ArcSwap<Ages>,
    times: ArcSwap<Times>,
    orders: Option<Sender<Order>>,
    documents: Shelved,
    revisions: Option<Revisions>,
    records: Option<Records>,
    /// Who puts files on disk.
    desk: Option<Desk>,
    admin: u32,
    clock: Option<Clock>,
    started: Instant,
    requests: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
    /// Every answer panics.
    #[cfg(test)]
    breaks: AtomicBool,
    metrics: Metrics,
    events: Arc<Events>,
    watches: Watches,
    decisions: Decisions,
    activity: Arc<Activity>,
    /// A permit for each order that may wait for the writer.
    waiting: Arc<Semaphore>,
    /// How long a search may go on.
    solving: ArcSwap<Solving>,
    /// The versions of platforms that the configuration gives.
    hosts: ArcSwap<Vec<Native>>,
    /// A permit for each search that may go on at once beside the shared thread.
    solves: Arc<Semaphore>,
    /// The same for those that need files first.
    slow_solves: Arc<Semaphore>,
    /// A permit for each request for files.
    files: Arc<Semaphore>,
    /// A permit for each body above the usual size.
    large: Arc<Semaphore>,
    together: Together,
}

/// The generations that can be asked.
#[derive(Default)]
struct Kept {
    /// Newest first; the first is in force.
    snapshots: Vec<Arc<Snapshot>>,
    /// Where the releases of the one in force stand, once that is known.
    exact: Arc<OnceLock<Exact>>,
}

impl Kept {
    fn current(&self) -> Option<&Snapshot> {
        self.snapshots.first().map(Arc::as_ref)
    }
}

/// The number of a request, which stands in its problem document and in the log.
#[derive(Debug, Clone, Copy)]
struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", self.0)
    }
}

/// Who calls: what the peer's uid allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// May ask.
    Reader,
    /// May also order a sync or a reload: root and the daemon's own user.
    Admin,
}

/// The socket that a caller came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The main socket: what a caller may do hangs on the uid.
    Main,
    /// `admin.sock`: whom the file's mode let in is an admin.
    Admin,
}

/// What has to be done before a call can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// The sources named are read again, all of them where none is named; the report is the answer.
    Sync(Vec<SourceId>),
    /// The configuration is read again, then the sources; the report is the answer.
    Reload,
    /// What was accepted of a source or catalogue is forgotten, then the source is read again; the report is the answer.
    Forget(Forget),
    /// A policy is tried on everything that is known; what it would change is the answer.
    Rehearse(Proposal, Part),
    /// All sources are read again, with every document of the named components; the answer then comes from the new
    /// generation.
    Refresh(Vec<ComponentId>),
}

impl State {
    /// Makes the state of a process that serves nothing yet. Without `orders` nobody can sync.
    pub fn new(orders: Option<Sender<Order>>, documents: Documents) -> State {
        State {
            kept: ArcSwap::default(),
            problem: ArcSwapOption::empty(),
            policies: ArcSwap::default(),
            ages: ArcSwap::from_pointee(Ages { known: BTreeMap::new(), since: Instant::now() }),
            times: ArcSwap::default(),
            orders,
            documents: Shelved(documents.into()),
            revisions: None,
            records: None,
            desk: None,
            admin: rustix::process::geteuid().as_raw(),
            clock: None,
            started: Instant::now(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            #[cfg(test)]
            breaks: AtomicBool::new(false),
            metrics: Metrics::default(),
            events: Arc::default(),
            watches: Watches::default(),
            decisions: Decisions::default(),
            activity: Arc::new(Activity::new(Instant::now())),
            waiting: Arc::new(Semaphore::new(ORDERS_MAX)),
            solving: ArcSwap::default(),
            hosts: ArcSwap::default(),
            solves: Arc::new(Semaphore::new(SOLVES_MAX)),
            slow_solves: Arc::new(Semaphore::new(SOLVES_MAX)),
            files: Arc::new(Semaphore::new(REQUESTS_MAX)),
            large: Arc::new(Semaphore::new(LARGE_LOCKS_MAX)),
            together: Together::default(),
        }
    }

    /// Returns who is connected.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Tells the time by `clock`, so that plain questions can be answered before the full server sees them.
    pub fn with_clock(mut self, clock: Clock) -> State {
        self.clock = Some(clock);
        self
    }

    /// Reads the log of revisions through `revisions`.
    pub fn with_revisions(mut self, revisions: Revisions) -> State {
        self.revisions = Some(revisions);
        self
    }

    /// Reads the lists of documents that generations rest on through `records`.
    pub fn with_records(mut self, records: Records) -> State {
        self.records = Some(records);
        self
    }

    /// Has files put on disk by `desk`.
    pub fn with_desk(mut self, desk: Desk) -> State {
        self.desk = Some(desk);
        self
    }

    /// Serves `snapshot` and no other from now on. Answers that have begun keep the one they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.publish_kept(vec![snapshot]);
    }

    /// Serves these snapshots from now on, newest first: the first is in force, the others can be asked by their digests.
    pub fn publish_kept(&self, kept: Vec<Arc<Snapshot>>) {
        let previous = self.kept.load_full();
        let is_new =
            |now: &&Arc<Snapshot>| !previous.current().is_some_and(|old| std::ptr::eq(old, Arc::as_ptr(now)));
        let newest = kept.first().filter(is_new).map(Arc::clone);
        let exact = if newest.is_some() { Arc::default() } else { Arc::clone(&previous.exact) };
        if let Some(now) = &newest {
            self.metrics.published(previous.current(), now);
        }
        self.kept.store(Arc::new(Kept { snapshots: kept, exact: Arc::clone(&exact) }));
        if let Some(newest) = newest.filter(|_| self.orders.is_some()) {
            // Beside whoever publishes: what is asked meanwhile is found in another way, and nothing but a resolve needs the graph.
            let make = std::thread::Builder::new().name("tables".to_owned());
            let rest = pace::rest();
            let make = make.spawn(move || {
                pace::set(rest);
                exact.get_or_init(|| Exact::of(newest.components()));
                newest.graph().nodes()
            });
            if let Err(error) = make {
                tracing::debug!(%error, "releases are looked for without a table, and the first resolve makes the graph");
            }
        }
    }

    /// Makes what a thread beside whoever publishes makes otherwise.
    #[cfg(test)]
    fn learn(&self) {
        let kept = self.kept.load();
        let snapshot = kept.current().expect("something is published");
        kept.exact.get_or_init(|| Exact::of(snapshot.components()));
    }

    /// Shows what a sync did: serves `kept` where it made a generation, counts it, and tells whoever listens.
    pub fn synced(&self, report: &SyncReport, kept: &[Arc<Snapshot>]) {
        let previous = self.snapshot();
        let mut told = vec![events::synced(report)];
        if report.changed
            && let Some(now) = kept.first()
        {
            let before = previous.as_ref().map(|snapshot| &snapshot.generation);
            told.extend(events::changes(before, &now.generation));
            self.publish_kept(kept.to_vec());
            let policies = self.policies.load();
            told.extend(self.watches.changed(now, &View::new(now), &policies.in_force));
        }
        self.events.emit(told);
    }

    /// Returns the snapshot in force.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.kept.load().snapshots.first().map(Arc::clone)
    }

    /// Returns what is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Notes when the process started, in milliseconds since 1970-01-01 UTC: by the clock, and such that no start before it was
    /// later.
    pub fn show_start(&self, now_ms: i64, begun_ms: i64) {
        self.metrics.started(now_ms / 1000);
        self.events.begin(begun_ms);
    }

    /// Shows what is wrong with the configuration, or that nothing is any more; called once for each time that it is read.
    pub fn show_problem(&self, problem: Option<Refusal>) {
        self.events.emit([events::configured(problem.as_ref())]);
        self.problem.store(problem.map(Arc::new));
    }

    /// Shows which trust policies are in force; called once for each time that they are read.
    pub fn show_policies(&self, shown: PolicyState) {
        let before = self.policies.swap(Arc::new(shown));
        self.events.emit(self.policies.load().changes(&before));
    }

    /// Lets searches go on for so long from now on.
    pub fn show_solving(&self, solving: Solving) {
        self.solving.store(Arc::new(solving));
    }

    /// Answers by these versions of platforms from now on, where a question does not say which it means.
    pub fn show_platforms(&self, platforms: &BTreeMap<ComponentId, Version>) {
        let host = |(id, version): (&ComponentId, &Version)| Native::Host(id.clone(), version.clone());
        self.hosts.store(Arc::new(platforms.iter().map(host).collect()));
    }

    /// Tells whether the snapshot in force has its graph, or there is none.
    fn has_graph(&self) -> bool {
        self.kept.load().current().is_none_or(Snapshot::has_graph)
    }

    /// Shows how many seconds ago each source was last checked.
    pub fn show_ages(&self, known: BTreeMap<SourceId, u64>) {
        self.ages.store(Arc::new(Ages { known, since: Instant::now() }));
    }

    /// Shows when sources expire, what is remembered of them, and what is wrong with memory or clock.
    pub fn show_times(&self, times: Times) {
        self.times.store(Arc::new(times));
    }

    /// Returns what the peer's `uid` allows; `None` for the overflow uid, behind which anybody may stand.
    pub fn caller(&self, uid: u32) -> Option<Caller> {
        match uid {
            uid if uid == self.admin || uid == 0 => Some(Caller::Admin),
            OVERFLOW_UID => None,
            _ => Some(Caller::Reader),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            uptime_s: self.started.elapsed().as_secs(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            problem: self.problem.load_full(),
            policies: self.policies.load_full(),
            ages: self.ages.load_full(),
            times: self.times.load_full(),
            records: self.records.clone(),
            documents: self.documents.clone(),
            solving: Solving::clone(&self.solving.load()),
        }
    }

    /// Counts a request.
    fn request_id(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Sends an order to the writer and returns where the outcome arrives.
    fn order<T>(&self, make: impl FnOnce(Option<Sender<T>>) -> Order) -> Result<Receiver<T>, Failure> {
        let gone = || Failure::new(Code::StoreUnavailable, "read_only", "nobody here can carry out a sync");
        let (reply, outcome) = channel();
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(make(Some(reply))).map_err(|_| gone())?;
        Ok(outcome)
    }

    /// Runs `work`; a panic in it becomes R009 and is counted.
    fn contained(&self, id: RequestId, work: impl FnOnce() -> Result<Reply, Failure>) -> Reply {
        #[cfg(test)]
        let work = || {
            assert!(!self.breaks.load(Ordering::Relaxed), "asked for");
            work()
        };
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(self.panicked(id)));
        result.unwrap_or_else(|failure| self.failed(id, &failure))
    }

    /// Counts a panic that was contained, logs it and returns what the caller is told.
    fn panicked(&self, id: RequestId) -> Failure {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(request = %id, "a panic was contained");
        Failure::new(Code::Internal, "panic", "the daemon made a mistake; it stays up")
            .hint("the request id stands beside the fault in the daemon's log")
    }

    fn failed(&self, id: RequestId, failure: &Failure) -> Reply {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(request = %id, %failure, "refused");
        failure.reply(Some(&id.to_string()))
    }

    /// Notes what the question at `target`, a plain one, will look for. Tells whether to let others go first.
    fn announce(&self, target: &str) -> bool {
        // No answer hangs on it, whatever happens here.
        let announced = catch_unwind(AssertUnwindSafe(|| {
            let kept = self.kept.load();
            let key = target.strip_prefix(BELOW_COMPONENTS).zip(kept.exact.get());
            let key = key.and_then(|(path, table)| table.key(path));
            key.inspect(|key| self.together.announce(*key)).is_some()
        }));
        announced.unwrap_or(false)
    }

    /// Fetches what was announced.
    fn fetch(&self) {
        let fetched = catch_unwind(AssertUnwindSafe(|| {
            let kept = self.kept.load();
            if let (Some(table), Some(snapshot)) = (kept.exact.get(), kept.current()) {
                table.fetch(self.together.take(), snapshot.components());
            }
        }));
        if fetched.is_err() {
            tracing::error!("a panic was contained where answers are fetched for together");
        }
    }

    /// Hands over the answer to a question for releases where it is encoded, and returns the route that it took; `None` for
    /// everything else, faults included. Whatever needs a right or a wait is not answered here.
    fn encoded(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
        take: impl FnOnce(Encoded<'_>),
    ) -> Option<Operation> {
        // What panics here panics again where it is counted and told.
        catch_unwind(AssertUnwindSafe(|| self.found(method, target, body, take))).ok().flatten()
    }

    fn found(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
        take: impl FnOnce(Encoded<'_>),
    ) -> Option<Operation> {
        #[cfg(test)]
        assert!(!self.breaks.load(Ordering::Relaxed), "asked for");
        if self.policies.load().is_locked {
            return None;
        }
        let kept = self.kept.load();
        let (snapshot, table) = (kept.current()?, kept.exact.get());
        match (method, target) {
            ("POST", LOOKUP) => {
                let texts = plain_lookup(body, INLINE_MAX)?;
                take(Encoded::Whole(encoded::batch(&texts, snapshot, table).or_else(|| {
                    let read =
                        |text: &&str| Reference::parse(text).map_err(|error| Failure::of_reference(&error));
                    at_once(&Query::Lookup(texts.iter().map(read).collect()), snapshot)
                })?));
                Some(Operation::Lookup)
            }
            ("GET", target) if body.is_empty() => {
                let path = target.strip_prefix(BELOW_COMPONENTS)?;
                let known = table.and_then(|table| encoded::exact(path, snapshot, table));
                let plain = || encoded::plain(&Plain::of(target)?, snapshot);
                if let Some(parts) = known.or_else(plain) {
                    take(Encoded::Parts(parts));
                    return Some(Operation::Release);
                }
                let query = read_parts(method, target, body).ok()?;
                take(Encoded::Whole(at_once(&query, snapshot)?));
                Some(query.operation())
            }
            _ => None,
        }
    }

    fn answered(&self, query: &Query) -> Result<Reply, Failure> {
        self.answered_within(query, &self.solving.load())
    }

    /// Answers; a search goes on for as long as `solving` lets it.
    fn answered_within(&self, query: &Query, solving: &Solving) -> Result<Reply, Failure> {
        if needs_generation(query)
            && let Some(failure) = self.policies.load().locked()
        {
            return Err(failure);
        }
        let kept = self.kept.load();
        let current = kept.current();
        if needs_generation(query)
            && current.is_none()
            && let Some(failure) = foreign(&self.times.load().problems)
        {
            return Err(failure);
        }
        if let Some(body) = current.and_then(|snapshot| at_once(query, snapshot)) {
            return Ok(Reply { status: 200, content_type: JSON, body });
        }
        if let Query::LockCheck(asked) = query.inner()
            && asked.watch
        {
            self.watch(asked, served(current)?)?;
        }
        if let Some(answered) = desk::answer(self, query, &kept.snapshots, solving) {
            return answered;
        }
        let facts = Facts { solving: solving.clone(), ..self.facts() };
        let answer = match query {
            Query::At(..) | Query::Snapshots | Query::SnapshotsDiff(_) => {
                let kept: Vec<&Snapshot> = kept.snapshots.iter().map(Arc::as_ref).collect();
                answer_from(query, &kept, &facts)?
            }
            // Nobody else counts: a verb in process lives for one call.
            Query::Metrics if self.orders.is_some() => {
                let body = self.metrics.text(current, &facts).into_bytes();
                return Ok(Reply { status: 200, content_type: METRICS_TEXT, body });
            }
            query => answer(query, current, &facts)?,
        };
        self.reply(answer)
    }

    /// Tells from now on when a lock ceases to hold; what is wrong with it today is in the answer.
    ///
    /// **Errors**: R007 in a process that lives for one call, R005 when too many locks are watched.
    fn watch(&self, asked: &AskedCheck, snapshot: &Snapshot) -> Result<(), Failure> {
        if self.orders.is_none() {
            let detail = "only a daemon tells events";
            return Err(Failure::new(Code::DaemonUnreachable, "daemon_unreachable", detail)
                .status(503)
                .hint("start one with: resolverd serve"));
        }
        let given = lock::given(asked)?;
        let findings = lock::check(&given.lock, &View::new(snapshot), &self.policies.load().in_force)?;
        self.watches.watch(&given, &findings, asked.uid)
    }

    fn reply(&self, answer: Answer) -> Result<Reply, Failure> {
        match answer {
            Answer::Body(status, body) => Ok(Reply { status, content_type: JSON, body }),
            Answer::Document(digest) => {
                let body = (self.documents.0)(&digest).ok_or_else(|| document_missing(&digest))?;
                Ok(Reply { status: 200, content_type: JSON, body })
            }
            Answer::Log { source, limit } => {
                let lines =
                    self.revisions.as_ref().map_or(Ok(Vec::new()), |read| read(source.as_ref(), limit));
                self.reply(log_page(&lines.map_err(|found| log_unreadable(&found))?)?)
            }
        }
    }
}

/// The uid that the kernel shows for users which a namespace does not map.
pub(crate) const OVERFLOW_UID: u32 = 65534;

/// Says what has to be done before `call` can be answered. A call that cannot be read needs nothing: [`respond`] refuses it.
pub fn work(call: &Call) -> Work {
    route(call).map_or(Work::None, |query| work_of(&query))
}

/// Tells whether `call` can only be answered from a generation: health, statistics and versions need none.
pub fn reads_generation(call: &Call) -> bool {
    route(call).is_ok_and(|query| needs_generation(&query))
}

fn needs_generation(query: &Query) -> bool {
    use Query::{
        CollectFiles, Events, Files, Forget, Health, Live, Materialize, Metrics, OpenApi, Policy, PolicyTest,
        Ready, ReleaseHolds, Reload, RevisionLog, Revisions, Snapshots, Stats, Sync, VerifyFiles, Version,
    };
    if let Materialize(asked) = query {
        let (asked, resolved) = &**asked;
        return resolved.is_some() || asked.targets.iter().any(|target| matches!(target, Target::Listed(_)));
    }
    !matches!(
        query,
        Files(_)
            | VerifyFiles(_)
            | CollectFiles(..)
            | ReleaseHolds(..)
            | Live
            | Ready
            | Health
            | Version
            | Stats
            | Sync(_)
            | Reload
            | Forget(_)
            | Revisions
            | RevisionLog { .. }
            | OpenApi
            | Policy
            | PolicyTest(_)
            | Snapshots
            | Metrics
            | Events
    )
}

fn work_of(query: &Query) -> Work {
    match query.inner() {
        Query::Sync(sources) => Work::Sync(sources.clone()),
        Query::Reload => Work::Reload,
        Query::Forget(forget) => Work::Forget(forget.clone()),
        Query::PolicyTest(test) => {
            let (proposal, part) = &**test;
            Work::Rehearse(proposal.clone(), *part)
        }
        Query::Resolve(question) if question.refresh => Work::Refresh(question.ids()),
        Query::Lock(asked) if asked.0.refresh => Work::Refresh(asked.0.ids()),
        _ => Work::None,
    }
}

/// Serves a socket until `stop` is ready, then lets open requests end within five seconds. Each socket has its own places
/// for connections, so that a crowd at the main one leaves room for an admin.
pub async fn run(
    listener: UnixListener,
    door: Door,
    state: Arc<State>,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    connection::run_door(listener, door, state, patience, stop).await;
}

/// Answers one call in process from the snapshot in force. What [`work`] asks for has been done by the caller; the answer
/// to a sync is made by [`reported`].
pub fn respond(state: &State, call: &Call, caller: Caller) -> Reply {
    respond_heard(state, call, caller, None)
}

/// Answers one call as [`respond`] does; `progress` hears how far the files come that it asks for.
pub fn respond_heard(state: &State, call: &Call, caller: Caller, progress: Option<&Arc<Progress>>) -> Reply {
    let id = state.request_id();
    state.contained(id, || {
        let query = route(call)?.on(&state.hosts.load())?;
        permitted(&query, caller)?;
        let uid = rustix::process::geteuid().as_raw();
        let query = query.asked_by(Asking { uid, caller });
        state.answered(&match progress {
            Some(progress) => query.heard_by(progress),
            None => query,
        })
    })
}

/// Returns the reply to a sync or reload that ended with `outcome`.
pub fn reported(state: &State, outcome: &Outcome) -> Reply {
    let id = state.request_id();
    state.contained(id, || state.reply(report(outcome)?))
}

/// Returns the reply to a test of a policy.
pub fn rehearsed(state: &State, outcome: &Rehearsed) -> Reply {
    let id = state.request_id();
    state.contained(id, || state.reply(rehearsal(outcome)?))
}

fn permitted(query: &Query, caller: Caller) -> Result<(), Failure> {
    let what = match work_of(query) {
        Work::None => match query {
            Query::CollectFiles(..) => "removing files",
            query if names_local(query) => "reading a repository of this machine",
            query if fetches_anew(query) => "fetching again what the cache has (refetch)",
            _ => return Ok(()),
        },
        Work::Sync(_) => "a sync",
        Work::Reload => "a reload",
        Work::Forget(_) => "forgetting what was accepted",
        Work::Rehearse(..) => "a test of a policy",
        Work::Refresh(_) => "refresh",
    };
    if caller == Caller::Admin { Ok(()) } else { Err(forbidden(what)) }
}

/// Tells whether a question names a repository of this machine.
fn names_local(query: &Query) -> bool {
    match query.inner() {
        Query::Materialize(asked) => {
            asked.0.is_local() || asked.1.as_ref().is_some_and(|question| question.is_local())
        }
        Query::Locate(asked) => asked.is_local(),
        Query::Resolve(question) => question.is_local(),
        Query::Lock(asked) => asked.0.is_local(),
        Query::ExplainDirect(asked) => matches!(asked.0.repository, Repository::Local(_)),
        _ => false,
    }
}

/// Tells whether a question has files fetched again that are at hand, as often as it is asked.
fn fetches_anew(query: &Query) -> bool {
    matches!(query.inner(), Query::Materialize(asked) if asked.0.refetch)
}

impl fmt::Debug for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("State").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
