//! Server (the only reader): takes calls, from the socket or in process, and answers them from the snapshot in force.
//!
//! `route` reads a call, `answer` answers it, `connection` speaks HTTP. Never writes to shelf or store: a sync is an order
//! to the writer, whose report is awaited.

pub mod answer;
pub mod connection;
pub mod route;
pub mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::Refusal;
use tokio::net::UnixListener;

use crate::api::{Call, Code, Failure, JSON, Reply, forbidden};
use crate::order::{Order, Outcome};
use crate::server::answer::{Ages, Answer, Facts, answer, document_missing, report};
use crate::server::route::{Query, route};
use crate::server::stream::Patience;
use crate::store::Snapshot;

/// Reads a document from the shelf: `None` when it is not there as it was accepted.
pub type Documents = Box<dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync>;

/// What every request shares: the snapshot in force, the way to the writer, the counters.
pub struct State {
    snapshot: ArcSwapOption<Snapshot>,
    problem: ArcSwapOption<Refusal>,
    ages: ArcSwap<Ages>,
    orders: Option<Sender<Order>>,
    documents: Documents,
    admin: u32,
    started: Instant,
    requests: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
}

/// Who calls: what the peer's uid allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// May ask.
    Reader,
    /// May also order a sync or a reload: root and the daemon's own user.
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
    /// All sources are read again, with every document of the named components; the answer then comes from the new
    /// generation.
    Refresh(Vec<ComponentId>),
}

impl State {
    /// Makes the state of a process that serves nothing yet. Without `orders` nobody can sync.
    pub fn new(orders: Option<Sender<Order>>, documents: Documents) -> State {
        State {
            snapshot: ArcSwapOption::empty(),
            problem: ArcSwapOption::empty(),
            ages: ArcSwap::from_pointee(Ages { known: BTreeMap::new(), since: Instant::now() }),
            orders,
            documents,
            admin: rustix::process::geteuid().as_raw(),
            started: Instant::now(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Serves `snapshot` from now on. Answers that have begun keep the one they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(Some(snapshot));
    }

    /// Returns the snapshot in force.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// Shows what is wrong with the configuration, or that nothing is any more.
    pub fn show_problem(&self, problem: Option<Refusal>) {
        self.problem.store(problem.map(Arc::new));
    }

    /// Shows how many seconds ago each source was last checked.
    pub fn show_ages(&self, known: BTreeMap<SourceId, u64>) {
        self.ages.store(Arc::new(Ages { known, since: Instant::now() }));
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
            ages: self.ages.load_full(),
        }
    }

    /// Counts a request and returns its id, which stands in its problem document and in the log.
    fn request_id(&self) -> String {
        format!("{:08x}", self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Sends an order to the writer and returns where the outcome arrives.
    fn order(
        &self,
        make: impl FnOnce(Option<Sender<Outcome>>) -> Order,
    ) -> Result<Receiver<Outcome>, Failure> {
        let gone = || Failure::new(Code::StoreUnavailable, "read_only", "nobody here can carry out a sync");
        let (reply, outcome) = channel();
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(make(Some(reply))).map_err(|_| gone())?;
        Ok(outcome)
    }

    /// Runs `work`; a panic in it becomes R009 and is counted.
    fn contained(&self, id: &str, work: impl FnOnce() -> Result<Reply, Failure>) -> Reply {
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request = id, "a panic was contained");
            Err(Failure::new(Code::Internal, "panic", "the daemon made a mistake; it stays up")
                .hint("the request id stands beside the fault in the daemon's log"))
        });
        result.unwrap_or_else(|failure| self.failed(id, &failure))
    }

    fn failed(&self, id: &str, failure: &Failure) -> Reply {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(request = id, %failure, "refused");
        failure.reply(Some(id))
    }

    fn answered(&self, query: &Query) -> Result<Reply, Failure> {
        let snapshot = self.snapshot.load();
        self.reply(answer(query, snapshot.as_deref(), &self.facts())?)
    }

    fn reply(&self, answer: Answer) -> Result<Reply, Failure> {
        match answer {
            Answer::Body(status, body) => Ok(Reply { status, content_type: JSON, body }),
            Answer::Document(digest) => {
                let body = (self.documents)(&digest).ok_or_else(|| document_missing(&digest))?;
                Ok(Reply { status: 200, content_type: JSON, body })
            }
        }
    }
}

/// The uid that the kernel shows for users which a namespace does not map.
const OVERFLOW_UID: u32 = 65534;

/// Says what has to be done before `call` can be answered. A call that cannot be read needs nothing: [`respond`] refuses it.
pub fn work(call: &Call) -> Work {
    route(call).map_or(Work::None, |query| work_of(&query))
}

/// Tells whether `call` can only be answered from a generation: health, statistics and versions need none.
pub fn reads_generation(call: &Call) -> bool {
    let without = |query: &Query| {
        use Query::{Health, Live, OpenApi, Ready, Reload, Stats, Sync, Version};
        matches!(query, Live | Ready | Health | Version | Stats | Sync(_) | Reload | OpenApi)
    };
    route(call).is_ok_and(|query| !without(&query))
}

fn work_of(query: &Query) -> Work {
    match query {
        Query::Sync(sources) => Work::Sync(sources.clone()),
        Query::Reload => Work::Reload,
        Query::Resolve(question) if question.refresh => Work::Refresh(question.ids()),
        _ => Work::None,
    }
}

/// Serves the socket until `stop` is ready, then lets open requests end within five seconds.
pub async fn run(listener: UnixListener, state: Arc<State>, stop: impl Future<Output = ()>) {
    connection::run_with(listener, state, Patience::default(), stop).await;
}

/// Answers one call in process from the snapshot in force. What [`work`] asks for has been done by the caller; the answer
/// to a sync is made by [`reported`].
pub fn respond(state: &State, call: &Call, caller: Caller) -> Reply {
    let id = state.request_id();
    state.contained(&id, || {
        let query = route(call)?;
        permitted(&query, caller)?;
        state.answered(&query)
    })
}

/// Returns the reply to a sync or reload that ended with `outcome`.
pub fn reported(state: &State, outcome: &Outcome) -> Reply {
    let id = state.request_id();
    state.contained(&id, || state.reply(report(outcome)?))
}

fn permitted(query: &Query, caller: Caller) -> Result<(), Failure> {
    let what = match work_of(query) {
        Work::None => return Ok(()),
        Work::Sync(_) => "a sync",
        Work::Reload => "a reload",
        Work::Refresh(_) => "refresh",
    };
    if caller == Caller::Admin { Ok(()) } else { Err(forbidden(what)) }
}

impl fmt::Debug for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("State").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
