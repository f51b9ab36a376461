//! Local files.
//!
//! Regular files only, read through one handle that was checked after it was opened. Symlinks are followed, since people link
//! their configuration into place; a fifo, device or directory is refused and never waited for. Never lists a directory.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{LocalPath, Location, Want};
use rustix::fs::OFlags;

use crate::fetch::limit::Budget;
use crate::fetch::{FetchError, Fetched};

/// Reads the file that a want names.
///
/// **Errors**: `file_missing`, `file.not_a_file`, `file.unreadable`, and the limits; `file.not_git` for a want that only a
/// Git repository can answer.
pub fn fetch(want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
    let Want::Blob(Location::File { path }) = want else {
        let expected = "a directory of a Git repository, with its commit";
        return Err(FetchError::Refused(Refusal::new("file.not_git", want, expected, "a plain path")));
    };
    budget.take_document(want)?;
    let file = open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    // The cap is checked on the declared size first, and on what was read after: a file can grow meanwhile.
    if metadata.len() > budget.readable_bytes() {
        budget.take_bytes(metadata.len(), want)?;
    }
    let mut bytes = Vec::new();
    let bytes_max = budget.readable_bytes().saturating_add(1);
    file.take(bytes_max).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    budget.take_bytes(bytes.len() as u64, want)?;
    Ok(Fetched { bytes, url: format!("file://{path}"), commit: None, blob: None, etag: None, modified: None })
}

/// Opens without waiting for a fifo's writer and without taking over a terminal.
fn open(path: &LocalPath) -> std::io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path.as_path())
}

fn not_a_file(path: &LocalPath) -> FetchError {
    let found = "a directory, fifo, socket or device";
    FetchError::Refused(Refusal::new("file.not_a_file", path, "a regular file", found))
}

fn unreadable(path: &LocalPath, error: &std::io::Error) -> FetchError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            FetchError::Missing(Refusal::new("file_missing", path, "a file there", error))
        }
        // A socket cannot be opened at all.
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => not_a_file(path),
        _ => FetchError::Unreachable(Refusal::new("file.unreadable", path, "a readable file", error)),
    }
}
