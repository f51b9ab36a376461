//! Wiring: the daemon's two threads, and the same answers in process when no daemon runs.
//!
//! The calling thread runs the server (one tokio thread); a second thread is the writer, with one loop over orders.
//! Between them pass orders one way and immutable snapshots the other. The store is opened before the socket is bound, so
//! that only the process that holds the state directory ever answers on it.

pub mod error;
mod socket;
mod writer;

use std::cell::Cell;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::api::{Call, Reply};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::socket::Socket;
use crate::daemon::writer::{Writer, now_s, of_config};
use crate::order::Order;
use crate::server::{self, Caller, State, Work};
use crate::shelf::Shelf;

/// How long after the signal a stopping daemon waits for its writer; a writer that is cut off loses nothing.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// The threads whose panics are caught and told as one line of the log: those that touch the index engine.
const CONTAINED_THREADS: [&str; 2] = [WRITER, "index-open"];
/// The name of the writer's thread.
const WRITER: &str = "writer";

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
        Work::Refresh(ids) => {
            writer.reload()?;
            writer.refresh(&ids, &state)?;
        }
        Work::None => {
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
