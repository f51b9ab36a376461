//! Wiring: the daemon's two threads, and the same answers in process when no daemon runs.
//!
//! The calling thread runs the server (one tokio thread); a second thread is the writer, with one loop over orders.
//! Between them pass orders one way and immutable snapshots the other. The store is opened before the socket is bound, so
//! that only the process that holds the state directory ever answers on it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use catalogue_schema::generation::Generation;
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Refusal, Source};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::api::{Call, Code, Failure, Reply, socket_path_too_long};
use crate::config::{ConfigError, Settings};
use crate::fetch::Origins;
use crate::order::{Order, OrderError, Outcome, SyncReport};
use crate::server::answer::order_failure;
use crate::server::{self, Caller, State, Work};
use crate::shelf::{Shelf, ShelfError};
use crate::store::checks::Checks;
use crate::store::{Opened, Snapshot, StateLock, Store, StoreError};
use crate::sync::{Past, Scope, Sync, SyncError};

/// How long after the signal a stopping daemon waits for its writer; a writer that is cut off loses nothing.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// The threads whose panics are caught and told as one line of the log: those that touch the index engine.
const CONTAINED_THREADS: [&str; 2] = [WRITER, "index-open"];
/// The name of the writer's thread.
const WRITER: &str = "writer";

/// Why the daemon cannot start or a verb cannot run in process.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory or the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shelf.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket, or the threads behind it.
    #[error("cannot {action} {path}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An order failed.
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl DaemonError {
    /// Returns what people are told.
    pub fn failure(&self) -> Failure {
        match self {
            DaemonError::Config(error) => error.failure(),
            DaemonError::Order(error) => order_failure(error),
            DaemonError::Store(StoreError::Locked { .. }) => {
                Failure::new(Code::DaemonUnreachable, "locked", caused(self))
                    .hint("ask that process with --socket, wait for it with --wait, or stop it")
            }
            DaemonError::Store(_) | DaemonError::Shelf(_) => Failure::new(
                Code::StoreUnavailable,
                "store",
                caused(self),
            )
            .hint(
                "look at the rights and the space of the state directory, or name another with --state-dir",
            ),
            DaemonError::Socket { .. } => Failure::new(Code::StoreUnavailable, "socket", caused(self))
                .hint("name another socket with --socket, or stop the daemon that uses this one"),
        }
    }
}

/// Returns an error with the causes that its own text leaves out.
fn caused(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT). SIGHUP reads the sources file again. Waits at most `wait` for
/// another process to let go of the state directory.
///
/// **Errors**: the state directory is in use, the store or socket cannot be opened, or there is neither a generation to
/// serve nor a sources file that can be read.
pub fn serve(settings: &Settings, wait: Duration) -> Result<(), DaemonError> {
    log_contained_panics();
    let (mut writer, served) = Writer::open(settings, wait)?;
    let (orders, inbox) = channel();
    let state = Arc::new(State::new(Some(orders.clone()), documents(writer.shelf.clone())));
    state.show_ages(writer.checks.ages(now_s()));
    if let Some(snapshot) = served {
        state.publish(snapshot);
    }
    match writer.reload() {
        Ok(()) => {}
        // The sources of the last generation stay in force until the file can be read again.
        Err(problem) if writer.past.is_some() => state.show_problem(Some(of_config(&problem))),
        Err(problem) => return Err(problem.into()),
    }
    let socket = Socket::bind(settings)?;
    info!(socket = %settings.socket.display(), sources = writer.sources.len(), "serving");

    let _ = orders.send(Order::Sync { sources: Vec::new(), reply: None });
    let (finished, writer_finished) = channel();
    let published = Arc::clone(&state);
    std::thread::Builder::new()
        .name(WRITER.to_owned())
        .spawn(move || {
            writer.work(&inbox, &published);
            // The lock goes back, so that nobody binds the socket before this process has removed it.
            let _ = finished.send(writer);
        })
        .map_err(|source| socket.error("start a writer for", source))?;

    let signalled = run_server(&socket, state, orders.clone());
    let _ = orders.send(Order::Stop);
    let waited = signalled.as_ref().map_or(Duration::ZERO, Instant::elapsed);
    let writer = writer_finished.recv_timeout(STOP_WAIT.saturating_sub(waited));
    if writer.is_err() {
        warn!("the writer was cut off; the last complete generation stays");
    }
    drop(socket);
    drop(writer);
    info!("stopped");
    signalled.map(drop)
}

/// Tells panics of [`CONTAINED_THREADS`] as one line of the log; those of other threads are told as ever.
fn log_contained_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            if !CONTAINED_THREADS.contains(&thread.as_str()) {
                return otherwise(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let text = panic.payload_as_str().unwrap_or_default().replace('\n', " ");
            warn!(thread, place, text, "a panic was caught");
        }));
    });
}

/// Runs the server on this thread until a signal says stop, and returns when that was. The writer is told at once: what
/// it is doing it may finish while open requests are answered.
fn run_server(socket: &Socket, state: Arc<State>, orders: Sender<Order>) -> Result<Instant, DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| socket.error("start a runtime for", source))?;
    let stopped = runtime.block_on(async {
        let listener = socket.listener.try_clone().and_then(tokio::net::UnixListener::from_std);
        let listener = listener.map_err(|source| socket.error("listen on", source))?;
        let signals = |kind| signal(kind).map_err(|source| socket.error("handle signals beside", source));
        let (mut hangup, mut terminate, mut interrupt) = (
            signals(SignalKind::hangup())?,
            signals(SignalKind::terminate())?,
            signals(SignalKind::interrupt())?,
        );
        let signalled = Cell::new(Instant::now());
        let stop = async {
            loop {
                tokio::select! {
                    _ = hangup.recv() => {
                        let _ = orders.send(Order::Reload { reply: None });
                    }
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                }
            }
            signalled.set(Instant::now());
            let _ = orders.send(Order::Stop);
        };
        server::run(listener, state, stop).await;
        Ok(signalled.get())
    });
    // Requests that still wait for the writer wait on threads of the runtime; dropping it would wait for them.
    runtime.shutdown_background();
    stopped
}

/// Answers one call in process: takes the state lock (waiting at most `wait`), opens the store, answers, lets go.
///
/// A read on an empty store syncs first and says so through `say`, unless the settings are offline.
///
/// **Errors**: the state directory is held by another process, the store cannot be opened, the sources cannot be read.
pub fn local(
    settings: &Settings,
    wait: Duration,
    call: &Call,
    say: &mut dyn FnMut(&str),
) -> Result<Reply, DaemonError> {
    log_contained_panics();
    let (mut writer, served) = Writer::open(settings, wait)?;
    let state = State::new(None, documents(writer.shelf.clone()));
    let is_empty = served.is_none();
    state.show_ages(writer.checks.ages(now_s()));
    if let Some(snapshot) = served {
        state.publish(snapshot);
    }
    match server::work(call) {
        Work::Sync(sources) => {
            writer.reload()?;
            return Ok(server::reported(&state, &writer.sync(&sources, &state)));
        }
        Work::Reload => {
            writer.reload()?;
            return Ok(server::reported(&state, &writer.sync(&[], &state)));
        }
        Work::None if !is_empty || settings.offline || !server::reads_generation(call) => {}
        Work::None | Work::Refresh => {
            writer.reload()?;
            if is_empty {
                say("nothing has been synced yet: reading the sources first");
            }
            writer.sync(&[], &state)?;
        }
    }
    Ok(server::respond(&state, call, Caller::Admin))
}

/// Reads documents of releases for the server; the shelf is safe to read while the writer keeps more.
fn documents(shelf: Shelf) -> server::Documents {
    Box::new(move |digest| shelf.read(digest).ok().flatten())
}

/// The one writer: everything that changes state goes through it.
struct Writer {
    settings: Settings,
    /// Those of the sources file; until it has been read, those of the last generation.
    sources: Arc<[Source]>,
    shelf: Shelf,
    store: Store,
    past: Option<Kept>,
    checks: Checks,
    /// Held as long as the writer lives.
    _lock: StateLock,
}

/// What was committed last.
enum Kept {
    File(Box<Generation>),
    Snapshot(Arc<Snapshot>),
}

impl Writer {
    /// Opens the state directory; a damaged index is rebuilt from the shelf before anything is answered.
    fn open(settings: &Settings, wait: Duration) -> Result<(Writer, Option<Arc<Snapshot>>), DaemonError> {
        let lock = StateLock::acquire(&settings.state_dir, wait)?;
        let shelf = Shelf::open(&settings.state_dir)?;
        let (store, opened) = Store::open(&settings.state_dir, &lock, &shelf)?;
        let mut writer = Writer {
            settings: settings.clone(),
            sources: Arc::default(),
            shelf,
            store,
            past: None,
            checks: Checks::load(&settings.state_dir),
            _lock: lock,
        };
        match opened {
            Opened::Empty => {}
            Opened::Warm(snapshot) => {
                writer.sources = sources_of(&snapshot.generation);
                writer.past = Some(Kept::Snapshot(snapshot));
            }
            Opened::Rebuild { generation, why } => {
                warn!(generation = generation.number, %why, "rebuilding the index from the shelf");
                writer.sources = sources_of(&generation);
                writer.past = Some(Kept::File(generation));
                writer.run(&writer.sources.clone(), Scope::Rebuild).map_err(failed)?;
            }
        }
        let served = match &writer.past {
            Some(Kept::Snapshot(snapshot)) => Some(Arc::clone(snapshot)),
            _ => None,
        };
        Ok((writer, served))
    }

    /// Carries out orders until it is told to stop. Nothing that an order meets ends the thread.
    fn work(&mut self, inbox: &Receiver<Order>, state: &State) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                waiting.extend(inbox.recv());
            }
            waiting.extend(inbox.try_iter());
            if waiting.iter().any(|order| matches!(order, Order::Stop)) {
                return;
            }
            let Some((task, replies)) = next_task(&mut waiting) else { return };
            let outcome = contained(|| match &task {
                Task::Reload => self.reloaded(state),
                Task::Sync(sources) => self.sync(sources, state),
            });
            match &outcome {
                Ok(_) => {}
                // The caller's mistake, and the caller is told.
                Err(problem @ OrderError::NoSuchSource(_)) => debug!(%problem, "the order was refused"),
                Err(problem) => error!(%problem, "the order failed; the last generation stays"),
            }
            for reply in replies {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    fn reloaded(&mut self, state: &State) -> Outcome {
        let reloaded = self.reload().map_err(|problem| of_config(&problem));
        state.show_problem(reloaded.as_ref().err().cloned());
        reloaded.map_err(OrderError::Config)?;
        self.sync(&[], state)
    }

    fn reload(&mut self) -> Result<(), ConfigError> {
        self.sources = self.settings.sources()?.into();
        Ok(())
    }

    fn sync(&mut self, named: &[SourceId], state: &State) -> Outcome {
        if let Some(unknown) = named.iter().find(|name| self.sources.iter().all(|source| source.id != **name))
        {
            return Err(OrderError::NoSuchSource(unknown.clone()));
        }
        let scope = if named.is_empty() { Scope::All } else { Scope::Named(named) };
        let report = self
            .run(&self.sources.clone(), scope)
            .map_err(|problem| OrderError::Store(problem.to_string()))?;
        let checked: Vec<SourceId> =
            report.sources.iter().filter(|source| source.checked).map(|source| source.id.clone()).collect();
        let configured: Vec<SourceId> = report.sources.iter().map(|source| source.id.clone()).collect();
        self.checks.note(&checked, &configured, now_s());
        state.show_ages(self.checks.ages(now_s()));
        if let (true, Some(Kept::Snapshot(snapshot))) = (report.changed, &self.past) {
            state.publish(Arc::clone(snapshot));
        }
        Ok(report)
    }

    fn run(&mut self, sources: &[Source], scope: Scope<'_>) -> Result<SyncReport, SyncError> {
        let origins = Origins::default();
        let sync = Sync {
            shelf: &self.shelf,
            origins: &origins,
            limits: &self.settings.limits,
            offline: self.settings.offline,
            now_s: now_s(),
        };
        let past = match &self.past {
            None => Past::Nothing,
            Some(Kept::File(generation)) => Past::File(generation),
            Some(Kept::Snapshot(snapshot)) => Past::Snapshot(snapshot),
        };
        let done = sync.run(&mut self.store, past, sources, scope)?;
        if let Some(snapshot) = done.snapshot {
            self.past = Some(Kept::Snapshot(snapshot));
        }
        Ok(done.report)
    }
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Reload,
    Sync(Vec<SourceId>),
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
            (Order::Reload { .. }, Task::Reload) => true,
            (Order::Sync { sources, .. }, Task::Sync(named)) => sources == named,
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
        Order::Reload { reply } => Some((Task::Reload, reply)),
        Order::Stop => None,
    }
}

/// Turns a panic of this program into a failed order.
fn contained(work: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OrderError::Store("the sync ended in a fault of this program".to_owned())))
}

fn sources_of(generation: &Generation) -> Arc<[Source]> {
    generation.sources.iter().map(|state| state.source.clone()).collect()
}

fn failed(error: SyncError) -> DaemonError {
    match error {
        SyncError::Shelf(error) => DaemonError::Shelf(error),
        SyncError::Store(error) => DaemonError::Store(error),
    }
}

fn of_config(problem: &ConfigError) -> Refusal {
    match problem {
        ConfigError::Sources { path, error } => Refusal::of(path.display(), error),
        other => Refusal::new("config.invalid", "the configuration", "", other),
    }
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "the daemon is where the clock is read")]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The bound socket; its file goes when it is dropped.
struct Socket {
    listener: UnixListener,
    path: std::path::PathBuf,
}

impl Socket {
    /// Binds the socket with its final mode from the first instant. Only the holder of the state lock may call this: a
    /// socket file that is already there belongs to a process that is gone.
    fn bind(settings: &Settings) -> Result<Socket, DaemonError> {
        let path = settings.socket.clone();
        let error = |action, source| DaemonError::Socket { action, path: path.display().to_string(), source };
        if let Some(found) = socket_path_too_long(&path) {
            return Err(error("bind", std::io::Error::other(found)));
        }
        if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(error("replace", std::io::Error::other("it is not a socket")));
        }
        if let Some(directory) = path.parent() {
            make_directory(directory, settings.system)
                .map_err(|source| error("make the directory of", source))?;
        }
        if is_dead(&path) {
            std::fs::remove_file(&path).map_err(|source| error("replace the socket", source))?;
        }
        // The umask belongs to the whole process, and no other thread runs yet.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(if settings.system {
            0o117
        } else {
            0o177
        }));
        let listener = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = listener.map_err(|source| error("bind the socket", source))?;
        listener.set_nonblocking(true).map_err(|source| error("prepare the socket", source))?;
        Ok(Socket { listener, path })
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> DaemonError {
        DaemonError::Socket { action, path: self.path.display().to_string(), source }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Tells whether nobody answers on the socket file, which then is left over from a process that was killed.
fn is_dead(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// Makes the socket's directory with its final mode. One that exists is left as its owner made it; where others may write,
/// the log says so, since they could put a socket of their own in this one's place.
fn make_directory(directory: &Path, system: bool) -> std::io::Result<()> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if directory.is_dir() {
        let mode = directory.metadata()?.permissions().mode();
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            warn!(directory = %directory.display(), mode = format!("{:o}", mode & 0o7777), "others may replace the socket");
        }
        return Ok(());
    }
    let mode = if system { 0o750 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders are written `all`, `reload`, `stop` or the name of a source; the answer is each task and how many orders it answers.
    fn check(orders: &str, expected: &str) {
        let (reply, _answers) = channel();
        let order = |word: &str| match word {
            "stop" => Order::Stop,
            "reload" => Order::Reload { reply: Some(reply.clone()) },
            "all" => Order::Sync { sources: Vec::new(), reply: Some(reply.clone()) },
            name => Order::Sync {
                sources: vec![SourceId::parse(name).expect("an id")],
                reply: Some(reply.clone()),
            },
        };
        let mut waiting: VecDeque<Order> = orders.split_whitespace().map(order).collect();
        let mut done = Vec::new();
        while let Some((task, replies)) = next_task(&mut waiting) {
            let name = match task {
                Task::Reload => "reload".to_owned(),
                Task::Sync(sources) => sources.first().map_or("all".to_owned(), ToString::to_string),
            };
            done.push(format!("{name}*{}", replies.len()));
        }
        assert_eq!(done.join(" "), expected, "{orders}");
    }

    #[test]
    fn orders_that_wait_together_for_the_same_work_get_one_run() {
        check("", "");
        check("all", "all*1");
        check("all all all", "all*3");
        check("all a all b a", "all*2 a*2 b*1");
        check("all reload all reload", "all*1 reload*2 all*1");
        check("reload all reload all", "reload*2 all*2");
        check("a reload a a", "a*1 reload*1 a*2");
    }

    #[test]
    fn a_panic_fails_the_order_alone() {
        let outcome = contained(|| std::panic::resume_unwind(Box::new("a fault")));
        assert!(matches!(outcome, Err(OrderError::Store(text)) if text.contains("fault")));
    }
}
