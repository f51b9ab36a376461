//! Wiring: the daemon's two threads, and the same answers in process when no daemon runs.
//!
//! The calling thread runs the server (one tokio thread); a second thread is the writer, with one loop over orders.
//! Between them pass orders one way and immutable snapshots the other. The store is opened before the socket is bound, so
//! that only the process that holds the state directory ever answers on it.

mod acts;
pub mod audit;
pub mod error;
pub mod examine;
pub mod files;
pub mod hearing;
pub mod notify;
mod read_only;
pub mod rehearse;
pub mod repair;
mod rights;
mod rounds;
mod socket;
pub mod start;
mod timer;
mod urgency;
mod writer;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use catalogue_schema::digest::Digest;
use catalogue_schema::documents::Documents;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::api::{Call, Reply};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::hearing::{Hear, heard};
use crate::daemon::notify::{Notifier, Supervisor};
use crate::daemon::rounds::{Pulse, Rounds, status};
use crate::daemon::socket::{Handed, Socket, Sockets};
use crate::daemon::urgency::step_back;
use crate::daemon::writer::{Writer, now, now_ms, now_s, of_config};
use crate::order::Order;
use crate::server::answer::Records;
use crate::server::route::Forget;
use crate::server::stream::Patience;
use crate::server::{self, Caller, Door, State, Work};
use crate::shelf::Shelf;
use crate::store::first_seen::FirstSeen;
use crate::store::{self, inspect, revisions::tail};

/// How long after the signal a stopping daemon waits for its writer; a writer that is cut off loses nothing.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// The threads whose panics are caught and told as one line of the log: those that touch the index engine.
const CONTAINED_THREADS: [&str; 3] = [WRITER, "index-open", "index-take"];
/// How soon an idle daemon looks again whether its writer rests.
const IDLE_STEP: Duration = Duration::from_millis(100);
/// The name of the writer's thread.
const WRITER: &str = "writer";

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT) or nobody has asked for as long as `settings.idle_exit_s`
/// says. SIGHUP and edits make it read the configuration again. Waits at most `wait` for another process to let go of the
/// state directory. Sockets come from `supervisor`, who is told what goes on, or are bound here.
///
/// **Errors**: the state directory is in use, the store or socket cannot be opened, or there is neither a generation to
/// serve nor a sources file that can be read.
pub fn serve(settings: &Settings, wait: Duration, supervisor: &Supervisor) -> Result<(), DaemonError> {
    log_contained_panics();
    outlive_file_size_limit();
    let handed = Handed::take(settings, supervisor)?;
    rights::refuse(settings, handed.binds())?;
    let mut writer = Writer::open(settings, wait)?;
    let (orders, inbox) = channel();
    let state =
        State::new(Some(orders.clone()), documents(writer.shelf.clone())).with_records(records(settings));
    let state = match writer.workshop.desk(now) {
        Some(desk) => state.with_desk(desk),
        None => state,
    };
    let state = Arc::new(state.with_revisions(revisions(settings)).with_clock(now_s));
    writer.begin(&state);
    writer.start(&state);
    let since = now();
    match writer.reload() {
        Ok(problem) => state.show_problem(problem),
        // The sources of the last generation stay in force until the file can be read again.
        Err(problem) if writer.past.is_some() => state.show_problem(Some(of_config(&problem))),
        Err(problem) => return Err(problem.into()),
    }
    let sockets = Sockets::open(settings, handed)?;
    let patience = Patience { idle: idle_connection(settings), ..Patience::default() };
    let beside =
        Beside { notifier: Arc::new(Notifier::new(supervisor)), pulse: Arc::new(Pulse::new()), patience };
    say_what_is_served(&sockets, &writer, settings);

    let _ = orders.send(Order::Sync { sources: Vec::new(), reply: None });
    let mut rounds = Rounds::new(orders.clone(), Arc::clone(&beside.notifier), Arc::clone(&beside.pulse));
    rounds.begin(writer.in_force(), since);
    beside.notifier.status(&status(writer.in_force()));
    let (finished, writer_finished) = channel();
    let published = Arc::clone(&state);
    std::thread::Builder::new()
        .name(WRITER.to_owned())
        .spawn(move || {
            step_back();
            writer.work(&inbox, &published, &mut rounds);
            // The lock goes back, so that nobody binds the socket before this process has removed it.
            let _ = finished.send(writer);
        })
        .map_err(|source| sockets.main.error("start a writer for", source))?;

    let idle_exit = settings.idle_exit_s.map(Duration::from_secs);
    let signalled = run_server(&sockets, state, orders.clone(), &beside, idle_exit);
    let _ = orders.send(Order::Stop);
    let waited = signalled.as_ref().map_or(Duration::ZERO, Instant::elapsed);
    let writer = writer_finished.recv_timeout(STOP_WAIT.saturating_sub(waited));
    if writer.is_err() {
        warn!("the writer was cut off; the last complete generation stays");
    }
    drop(sockets);
    drop(writer);
    info!("stopped");
    signalled.map(drop)
}

/// What the server's thread and the writer share beside orders and snapshots.
struct Beside {
    notifier: Arc<Notifier>,
    pulse: Arc<Pulse>,
    patience: Patience,
}

/// Returns how long a connection may ask nothing. One that is closed at once would answer nothing.
fn idle_connection(settings: &Settings) -> Duration {
    Duration::from_secs(settings.limits.idle_connection_s.max(1))
}

fn say_what_is_served(sockets: &Sockets, writer: &Writer, settings: &Settings) {
    let admin = sockets.admin.as_ref().map(|admin| admin.path.display().to_string());
    info!(
        socket = %sockets.main.path.display(),
        admin,
        inherited = sockets.main.is_inherited,
        sources = writer.sources.len(),
        from = %settings.sources_file.display(),
        generation = writer.in_force().generation.map(|generation| generation.number),
        "serving"
    );
}

/// Tells panics of [`CONTAINED_THREADS`] and of the index engine as one line of the log; those of other threads are told as ever.
fn log_contained_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            let is_caught = panic.location().is_some_and(|place| store::is_caught(place.file()));
            if !is_caught && !CONTAINED_THREADS.contains(&thread.as_str()) {
                return otherwise(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let text = panic.payload_as_str().unwrap_or_default().replace('\n', " ");
            warn!(thread, place, text, "a panic was caught");
        }));
    });
}

/// Tells whether there is a limit of file sizes. A daemon may get one later; a verb has ended by then.
fn has_file_size_limit() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
}

/// Lets a write beyond the process's limit of file sizes fail, like one to a full disk: unasked, the system would end the
/// process in the middle of a sync, and nobody would be told why.
fn outlive_file_size_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The handler stays for the life of the process; the runtime is needed to install it only.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let installed = runtime.and_then(|runtime| {
            let _entered = runtime.enter();
            signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
        });
        if let Err(error) = installed {
            warn!(%error, "a file beyond the limit of file sizes ends this process");
        }
    });
}

/// Runs the server on this thread until a signal says stop or nobody has been there for `idle_exit`, and returns when that
/// was. The writer is told at once: what it is doing it may finish while open requests are answered.
fn run_server(
    sockets: &Sockets,
    state: Arc<State>,
    orders: Sender<Order>,
    beside: &Beside,
    idle_exit: Option<Duration>,
) -> Result<Instant, DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| sockets.main.error("start a runtime for", source))?;
    let stopped = runtime.block_on(async {
        let main = sockets.main.for_runtime()?;
        let admin = sockets.admin.as_ref().map(Socket::for_runtime).transpose()?;
        let mut signals = Signals::new(&sockets.main)?;
        let (stopping, stop) = tokio::sync::watch::channel(());
        let stopped = |mut stop: tokio::sync::watch::Receiver<()>| async move {
            // It changes never; it is dropped.
            let _ = stop.changed().await;
        };
        if let Some(every) = beside.notifier.watchdog() {
            tokio::spawn(keep_alive(every, Arc::clone(&state), beside));
        }
        let ending = async {
            tokio::select! {
                () = signals.stop(&state, &orders) => {}
                () = idle(idle_exit, &state, &beside.pulse) => info!("nobody has asked for a while"),
            }
            beside.notifier.stopping();
            let _ = orders.send(Order::Stop);
            drop(stopping);
            Instant::now()
        };
        beside.notifier.serving();
        let at_main =
            server::run(main, Door::Main, Arc::clone(&state), beside.patience, stopped(stop.clone()));
        let at_admin = async {
            if let Some(admin) = admin {
                let stop = stopped(stop.clone());
                server::run(admin, Door::Admin, Arc::clone(&state), beside.patience, stop).await;
            }
        };
        let ((), (), ended) = tokio::join!(at_main, at_admin, ending);
        Ok(ended)
    });
    // Requests that still wait for the writer wait on threads of the runtime; dropping it would wait for them.
    runtime.shutdown_background();
    stopped
}

/// The signals that mean something.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new(socket: &Socket) -> Result<Signals, DaemonError> {
        let of = |kind| signal(kind).map_err(|source| socket.error("handle signals beside", source));
        Ok(Signals {
            hangup: of(SignalKind::hangup())?,
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    /// Waits for the signal that ends the daemon; one that asks for a reload becomes an order.
    async fn stop(&mut self, state: &State, orders: &Sender<Order>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    state.activity().touch();
                    let _ = orders.send(Order::Reload { reply: None });
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

/// Waits until nobody has been connected for `limit` and the writer rests; for ever without a limit.
async fn idle(limit: Option<Duration>, state: &State, pulse: &Pulse) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let left = limit.saturating_sub(state.activity().idle_for(Instant::now()));
        if left.is_zero() && !pulse.is_working() {
            return;
        }
        tokio::time::sleep(left.max(IDLE_STEP)).await;
    }
}

/// Tells the service manager that all is well, as often as it wants to hear it: while this thread, which every connection
/// shares, still answers, and the writer is not stuck.
fn keep_alive(
    every: Duration,
    state: Arc<State>,
    beside: &Beside,
) -> impl Future<Output = ()> + Send + 'static {
    let (notifier, pulse) = (Arc::clone(&beside.notifier), Arc::clone(&beside.pulse));
    async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            let answers = server::respond(&state, &Call::get("/livez"), Caller::Reader).status == 200;
            match answers && pulse.is_sound() {
                true => notifier.alive(),
                false => error!(answers, "the watchdog is not told that all is well"),
            }
        }
    }
}

/// Answers one call in process: takes the state lock (waiting at most `wait`), opens the store, answers, lets go.
///
/// A read on an empty store syncs first and says so through `say`, unless the settings are offline. `hear` hears how far the files come
/// that are asked for.
///
/// **Errors**: the state directory is held by another process, the store cannot be opened, the sources cannot be read.
pub fn local(
    settings: &Settings,
    wait: Duration,
    call: &Call,
    say: &mut dyn FnMut(&str),
    hear: Option<&Hear<'_>>,
) -> Result<Reply, DaemonError> {
    log_contained_panics();
    if has_file_size_limit() {
        outlive_file_size_limit();
    }
    let mut writer = match Writer::open(settings, wait) {
        Ok(writer) => writer,
        Err(error) => return read_only::answer(settings, call, error),
    };
    let state = State::new(None, documents(writer.shelf.clone()))
        .with_revisions(revisions(settings))
        .with_records(records(settings));
    let state = match writer.workshop.desk(now) {
        Some(desk) => state.with_desk(desk),
        None => state,
    };
    // Nobody hears events here; only what is counted wants to know.
    state.show_start(now_ms(), 0);
    writer.start(&state);
    let is_empty = state.snapshot().is_none();
    match server::work(call) {
        Work::Sync(sources) => {
            writer.reload()?;
            return Ok(server::reported(&state, &writer.sync(&sources, &state)));
        }
        Work::Reload => {
            writer.reload()?;
            return Ok(server::reported(&state, &writer.sync(&[], &state)));
        }
        Work::Forget(Forget { what, why }) => {
            writer.reload()?;
            let outcome = writer.forget(&what, &why, &state);
            return Ok(server::reported(&state, &outcome));
        }
        Work::Rehearse(proposal, part) => {
            writer.reload()?;
            return Ok(server::rehearsed(&state, &writer.rehearse(proposal, part)));
        }
        // Without a policy to judge by nothing is read, and the answer says so.
        Work::None if writer.policies.is_locked => {}
        Work::None if !is_empty || settings.offline || !server::reads_generation(call) => {}
        Work::Refresh(ids) => {
            writer.reload()?;
            writer.refresh(&ids, &state)?;
        }
        Work::None => {
            writer.reload()?;
            if is_empty {
                match writer.foreign() {
                    Some(problem) => say(&format!("{problem}: reading the sources first")),
                    None => say("nothing has been synced yet: reading the sources first"),
                }
            }
            writer.sync(&[], &state)?;
        }
    }
    let answer = |progress: Option<&_>| server::respond_heard(&state, call, Caller::Admin, progress);
    let reply = heard(hear, answer);
    writer.note(&state.take_decided());
    Ok(reply)
}

/// Reads documents of releases for the server; the shelf is safe to read while the writer keeps more.
fn documents(shelf: Shelf) -> server::Documents {
    Box::new(move |digest| shelf.read(digest).ok().flatten())
}

/// Reads the log of revisions for the server; the writer only ever appends to it.
fn revisions(settings: &Settings) -> server::Revisions {
    let directory = settings.state_dir.clone();
    Box::new(move |source, limit| tail(&directory, source, limit).map_err(|error| error.to_string()))
}

/// Reads lists of documents for the server: files that are written once. Whoever asks at the same time shares one reading,
/// and nothing stays in memory.
fn records(settings: &Settings) -> Records {
    let directory = settings.state_dir.clone();
    let held: Mutex<(Option<Digest>, Weak<Documents>)> = Mutex::default();
    let ledger = directory.clone();
    let records = Records::new(move |generation| {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0.as_ref() == Some(&generation.documents.digest)
            && let Some(found) = held.1.upgrade()
        {
            return Ok(found);
        }
        let found = Arc::new(inspect::documents(&directory, generation)?);
        *held = (Some(generation.documents.digest.clone()), Arc::downgrade(&found));
        Ok(found)
    });
    records.with_ledger(move |source, release| {
        let (content, version) = (release.content()?, release.version.to_string());
        let version = [source.as_text(), release.id.as_text(), &version];
        let seen = FirstSeen::look_up(&ledger, version, &content).ok().flatten();
        seen.map(|seen| (seen.digest, seen.at_s))
    })
}
