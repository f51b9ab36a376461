//! Wiring: the daemon's two threads, and the same answers in process when no daemon runs.

use std::time::Duration;

use crate::api::{Call, Reply};
use crate::config::Settings;

/// Why the daemon cannot start or a verb cannot run in process.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory, shelf or store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The shelf.
    #[error(transparent)]
    Shelf(#[from] crate::shelf::ShelfError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The socket.
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
    Order(#[from] crate::order::OrderError),
}

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT).
pub fn serve(_settings: &Settings) -> Result<(), DaemonError> {
    todo!()
}

/// Answers one call in process: takes the state lock (waiting at most `wait`), opens the store, answers, lets go.
/// A read on an empty store syncs first and says so through `say`, unless the settings are offline.
pub fn local(
    _settings: &Settings,
    _wait: Duration,
    _call: &Call,
    _say: &mut dyn FnMut(&str),
) -> Result<Reply, DaemonError> {
    todo!()
}
