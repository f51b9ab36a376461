//! Local files, and listings of local directories.
//!
//! Regular files only, read through one handle that was checked after it was opened. Symlinks are followed, since people link
//! their configuration into place; a fifo, device or directory is refused and never waited for. A listing follows no symlink and
//! names none.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{LocalPath, Location, Want};
use rustix::fs::OFlags;

use crate::fetch::limit::Budget;
use crate::fetch::{FetchError, Fetched};

/// Reads the file that a want names, or lists the directory.
///
/// **Errors**: `file_missing`, `file.not_a_file`, `file.unreadable`, and the limits; `file.not_git` for a want that only a
/// Git repository can answer.
pub fn fetch(want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
    let path = match want {
        Want::Blob(Location::File { path }) => path,
        Want::Tree { location: Location::File { path }, depth } => {
            return listing(path, usize::from(*depth), want, budget);
        }
        Want::Directories { location: Location::File { path }, depth } => {
            return directories(path, usize::from(*depth), want, budget);
        }
        _ => {
            let expected = "a place in a Git repository, with its commit";
            return Err(FetchError::Refused(Refusal::new("file.not_git", want, expected, "a plain path")));
        }
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
    Ok(plain(path, bytes))
}

/// What was read here, of which nothing but its place and its bytes is known.
fn plain(path: &LocalPath, bytes: Vec<u8>) -> Fetched {
    let url = format!("file://{path}");
    Fetched { bytes, url, commit: None, blob: None, etag: None, modified: None, way: Vec::new() }
}

/// Lists a directory, down to `depth` levels.
///
/// **Shape**: lines as a listing in Git has them, sorted by the bytes of their paths, which start with the directory's own name; the
/// id is all zeros, since nothing here has one. Names that no document could have are left out: those with other bytes than
/// printable ASCII, and `"`.
/// **Errors**: `file_missing`, `file.not_a_directory`, `file.unreadable`, and the limits: eight entries count as a document.
fn listing(path: &LocalPath, depth: usize, want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
    budget.take_document(want)?;
    let top = path.as_path();
    if !top.metadata().map_err(|error| unreadable(path, &error))?.is_dir() {
        return Err(FetchError::Refused(Refusal::new("file.not_a_directory", path, "a directory", "a file")));
    }
    let name = top.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let (mut open, mut lines, mut size) = (vec![(top.to_owned(), name, depth)], Vec::new(), 0_u64);
    let mut counted = 0;
    while let Some((directory, prefix, levels)) = open.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|error| unreadable(path, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(path, &error))?;
            budget.take_lines(counted, 1, want)?;
            counted += 1;
            let kind = entry.file_type().map_err(|error| unreadable(path, &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_plain(name)) else { continue };
            let below = format!("{prefix}/{name}");
            let (mode, word) = match (kind.is_dir(), kind.is_file()) {
                (true, _) => ("040000", "tree"),
                (_, true) => ("100644", "blob"),
                _ => continue,
            };
            let line = format!("{mode} {word} {NO_ID} {below}\n");
            size += line.len() as u64;
            // Refused while it grows.
            if size > budget.readable_bytes() {
                budget.take_bytes(size, want)?;
            }
            if kind.is_dir() && levels > 1 {
                open.push((entry.path(), below.clone(), levels - 1));
            }
            lines.push((below, line));
        }
    }
    budget.take_bytes(size, want)?;
    lines.sort_unstable();
    let bytes = lines.into_iter().flat_map(|(_, line)| line.into_bytes()).collect();
    Ok(plain(path, bytes))
}

/// Names the directories below one, down to `depth` levels.
///
/// **Shape**: as [`crate::fetch::walk::Walk::directories`] has it; the path is the directory's own name, and the id is all zeros.
/// Names that no document could have are left out.
/// **Errors**: as [`listing`].
fn directories(path: &LocalPath, depth: usize, want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
    budget.take_document(want)?;
    let top = path.as_path();
    if !top.metadata().map_err(|error| unreadable(path, &error))?.is_dir() {
        return Err(FetchError::Refused(Refusal::new("file.not_a_directory", path, "a directory", "a file")));
    }
    let name = top.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (mut text, mut counted) = (format!("{NO_ID} {name}\n"), 1);
    budget.take_lines(0, counted, want)?;
    // Those that are still to be named, the next one last.
    let mut open = inside(path, top, 0)?;
    while let Some((directory, name, level)) = open.pop() {
        budget.take_lines(counted, 1, want)?;
        counted += 1;
        text.extend(std::iter::repeat_n('\t', level));
        text.push_str(&name);
        text.push('\n');
        if text.len() as u64 > budget.readable_bytes() {
            budget.take_bytes(text.len() as u64, want)?;
        }
        if level + 1 < depth {
            open.extend(inside(path, &directory, level + 1)?);
        }
    }
    budget.take_bytes(text.len() as u64, want)?;
    Ok(plain(path, text.into_bytes()))
}

/// Returns the directories in one, those with the greatest names first.
fn inside(
    top: &LocalPath,
    directory: &Path,
    level: usize,
) -> Result<Vec<(PathBuf, String, usize)>, FetchError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(top, &error))? {
        let entry = entry.map_err(|error| unreadable(top, &error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else { continue };
        if entry.file_type().map_err(|error| unreadable(top, &error))?.is_dir() {
            found.push((entry.path(), name.to_owned(), level));
        }
    }
    found.sort_unstable_by(|one, other| other.1.cmp(&one.1));
    Ok(found)
}

/// What stands in a listing where Git has the id of an object.
const NO_ID: &str = "0000000000000000000000000000000000000000";

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"')
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
