//! Why the daemon cannot start, and what people are told then.

use std::path::Path;

use crate::api::{Code, Failure};
use crate::config::ConfigError;
use crate::daemon::rights::{Danger, UNSAFE_DIR, quoted};
use crate::order::OrderError;
use crate::server::answer::order_failure;
use crate::shelf::ShelfError;
use crate::shelf::durable::BELONGS;
use crate::store::StoreError;
use crate::sync::SyncError;

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
    /// A directory that may not be used.
    #[error(transparent)]
    Place(#[from] Box<Danger>),
    /// An order failed.
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl DaemonError {
    /// Tells whether another process holds the state directory.
    pub fn is_locked(&self) -> bool {
        matches!(self, DaemonError::Store(StoreError::Locked { .. }))
    }

    /// Returns what people are told.
    pub fn failure(&self) -> Failure {
        match self {
            DaemonError::Config(error) => error.failure(),
            DaemonError::Order(error) => order_failure(error),
            DaemonError::Store(StoreError::Locked { .. }) => {
                Failure::new(Code::DaemonUnreachable, "locked", caused(self))
                    .hint("ask that process with --socket, wait for it with --wait, or stop it")
            }
            DaemonError::Store(StoreError::Newer { .. }) => {
                Failure::new(Code::StoreUnavailable, "store.newer_format", caused(self)).hint(
                    "use the program that wrote it, or a later one: this one could only take it for lost",
                )
            }
            DaemonError::Place(danger) => {
                Failure::new(Code::StoreUnavailable, danger.reason, caused(self)).hint(&danger.hint)
            }
            DaemonError::Store(StoreError::Unsafe { path, found }) if found.starts_with(BELONGS) => {
                let hint = format!(
                    "it may hold what nothing can rebuild: give it back (sudo chown {} {}), or name another directory with --state-dir",
                    rustix::process::geteuid().as_raw(),
                    quoted(Path::new(path))
                );
                Failure::new(Code::StoreUnavailable, UNSAFE_DIR, caused(self)).hint(hint)
            }
            DaemonError::Store(StoreError::Unsafe { .. }) => {
                Failure::new(Code::StoreUnavailable, UNSAFE_DIR, caused(self)).hint(
                    "look who put it there, and move it away; or name another directory with --state-dir",
                )
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

impl From<SyncError> for DaemonError {
    fn from(error: SyncError) -> DaemonError {
        match error {
            SyncError::Shelf(error) => DaemonError::Shelf(error),
            SyncError::Store(error) => DaemonError::Store(error),
            SyncError::Locked(problem) => DaemonError::Order(OrderError::Locked(problem)),
            SyncError::Lost(problem) => DaemonError::Order(OrderError::Lost(problem)),
            SyncError::Foreign { .. } | SyncError::NotAtHand(_) => {
                DaemonError::Order(OrderError::Store(error.to_string()))
            }
        }
    }
}
