//! A workspace: the directory with `estream-workspace.toml`, what that says, and the lock under which it is changed.
//!
//! It is found by going upwards. Only one process changes it at a time; what an ended one left half-done is finished or taken back
//! before anything is read. Never looks at a registry.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::workspace::{WORKSPACE, WORKSPACE_BYTES_MAX, Workspace};
use catalogue_schema::digest::Digest;

use crate::api::{Code, Failure};
use crate::estream::journal::{self, JournalError};

/// A workspace that was read.
#[derive(Debug)]
pub struct Place {
    /// Its directory, absolute.
    pub root: PathBuf,
    /// What it has installed.
    pub known: Workspace,
    /// SHA-256 of its file; `None` where there is none yet.
    pub digest: Option<Digest>,
    /// What an ended process had begun was finished or taken back.
    pub was_unfinished: bool,
    /// Held as long as this lives; `None` where it is only looked at.
    lock: Option<File>,
}

/// Returns the nearest directory, from `start` upwards, that holds `estream-workspace.toml`; `None` where there is none.
pub fn nearest(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|place| place.join(WORKSPACE).is_file()).map(Path::to_owned)
}

impl Place {
    /// Opens a workspace to change it; a directory without `estream-workspace.toml` is one that has nothing.
    ///
    /// **Errors**: another process changes it; what an ended one left cannot be finished; E008 where its file cannot be read.
    pub fn open(root: &Path) -> Result<Place, Failure> {
        let lock = locked(root, "change")?;
        let was_unfinished = journal::recover(root).map_err(|error| failure(&error))?;
        read(root, Some(lock), was_unfinished)
    }

    /// Looks at a workspace without changing anything.
    ///
    /// **Errors**: E008 where its file cannot be read; another process changes it; an ended one has left it half-changed.
    pub fn look(root: &Path) -> Result<Place, Failure> {
        // The journal is also there while another process changes the workspace; that one holds the lock.
        let is_unfinished = journal::is_unfinished(root) && {
            let _lock = locked(root, "look at")?;
            journal::is_unfinished(root)
        };
        if is_unfinished {
            let detail =
                format!("the workspace {} is half-changed: an install was interrupted", root.display());
            return Err(Failure::new(Code::CacheCorrupted, "install.unfinished", detail).hint(
                "resolverd install finishes what was begun, or takes it back, whatever it is asked for",
            ));
        }
        read(root, None, false)
    }

    /// Tells whether it may be changed.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

/// Takes the lock of a workspace.
fn locked(root: &Path, act: &str) -> Result<File, Failure> {
    let lock = File::open(root).map_err(|error| unusable(root, "open", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("cannot {act} the workspace {}: another process changes it", root.display());
            Err(Failure::new(Code::StoreUnavailable, "locked", detail)
                .hint("run it again when that one has ended"))
        }
        Err(TryLockError::Error(error)) => Err(unusable(root, "lock", &error)),
    }
}

fn read(root: &Path, lock: Option<File>, was_unfinished: bool) -> Result<Place, Failure> {
    let path = root.join(WORKSPACE);
    let root = root.to_owned();
    let bytes = match journal::bytes_of(&path, WORKSPACE_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Place { root, known: Workspace::default(), digest: None, was_unfinished, lock });
        }
        bytes => bytes.map_err(|error| unusable(&path, "read", &error))?,
    };
    let known = Workspace::read(&bytes).map_err(|error| {
        let mut failure = Failure::of(Code::ManifestInvalid, &error);
        failure.detail = format!("cannot read {}: {error}", path.display());
        failure.with("file", path.display().to_string()).hint("correct that line; nothing was changed")
    })?;
    Ok(Place { root, known, digest: Some(Digest::sha256(&bytes)), was_unfinished, lock })
}

/// Returns what the caller is told of a change that was not made.
pub fn failure(error: &JournalError) -> Failure {
    let detail = format!("cannot change the workspace: {error}");
    match error {
        JournalError::File { source, .. } => {
            let (code, reason, hint) = match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    (Code::StoreUnavailable, "no_space", "make room and run it again; nothing was changed")
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    let hint = "run it as whoever may write there; nothing was changed";
                    (Code::PermissionDenied, "install.forbidden", hint)
                }
                _ => (Code::RequestInvalid, "install.io", "nothing was changed"),
            };
            Failure::new(code, reason, detail).hint(hint)
        }
        JournalError::Found { path, .. } => Failure::new(Code::SchemaConflict, "install.changed", detail)
            .with("path", path.display().to_string())
            .hint("move it aside and run the command again"),
        JournalError::Journal { path, .. } => {
            let staging = path.parent().unwrap_or(path).display();
            Failure::new(Code::CacheCorrupted, "install.journal", detail).with("path", path.display().to_string()).hint(
                format!("remove nothing yet: {staging}/old holds files that were moved aside. Run the resolverd that wrote the journal, or restore it; else copy {staging}/old to where you keep it, remove {staging}, and resolverd install --force brings what is installed again"),
            )
        }
        JournalError::Left { path } => {
            let staging = path.parent().unwrap_or(path).display();
            Failure::new(Code::CacheCorrupted, "install.journal", detail).with("path", path.display().to_string()).hint(
                format!("put its journal.json back; else copy what is in {} to where you keep it, remove {staging}, and resolverd install --force brings what is installed again", path.display()),
            )
        }
        JournalError::Stuck { .. } => Failure::new(Code::CacheCorrupted, "install.unfinished", detail).hint(
            "remove what stands in the way and run the command again: it goes on where this one stopped",
        ),
    }
}

fn unusable(path: &Path, act: &str, error: &std::io::Error) -> Failure {
    let detail = format!("cannot {act} {}: {error}", path.display());
    let code = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        _ => Code::RequestInvalid,
    };
    Failure::new(code, "install.workspace", detail).hint("name another directory with --workspace")
}
