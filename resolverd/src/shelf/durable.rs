//! Durable files: written whole or not at all, private whatever the umask says. Never follows a half-written file.
//!
//! The order is always: temporary file in the same directory, write, fsync, rename, fsync of the directory.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use catalogue_schema::pace;
use tempfile::Builder;

/// The mode of every file that is kept.
pub const FILE_MODE: u32 = 0o600;
/// The mode of every directory that is kept.
pub const DIRECTORY_MODE: u32 = 0o700;
/// How the names of temporary files start; whoever opens a directory removes leftovers.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// How many bytes of short parts are written at once.
const BUFFER_BYTES: usize = pace::PIECE_BYTES;
/// How many bytes of a file are read in one go.
const READ_BYTES: u64 = 256 << 10;

/// What the file system refused: the action, the path, and what it said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct Failed {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: String,
    /// What the system said.
    pub source: std::io::Error,
}

impl From<Failed> for std::io::Error {
    /// Keeps the kind, so that a full disk is still told from a forbidden directory.
    fn from(failed: Failed) -> std::io::Error {
        std::io::Error::new(failed.source.kind(), failed)
    }
}

/// Returns the mapping of an i/o error to a [`Failed`].
pub fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failed {
    let path = path.display().to_string();
    move |source| Failed { action, path, source }
}

/// Creates `directory` with its parents where it is missing, durably, and makes it private.
///
/// **Errors**: the system's; what is there already is a link, no directory, or somebody else's, and is not touched then.
pub fn private_directory(directory: &Path) -> Result<(), Failed> {
    make_directory(directory)?;
    let found = directory.symlink_metadata().map_err(failed("read the owner of", directory))?;
    if let Some(found) = foreign(&found, Kind::Directory) {
        return Err(failed("use the directory", directory)(std::io::Error::other(found)));
    }
    make_private(directory)
}

fn make_private(directory: &Path) -> Result<(), Failed> {
    let private = Permissions::from_mode(DIRECTORY_MODE);
    std::fs::set_permissions(directory, private).map_err(failed("set the mode of", directory))
}

/// Makes a directory and what is missing above it. An entry that its parent was not synced after may be gone after a power
/// cut, with everything below it. What is made is private; what is there stays as it is.
///
/// **Errors**: the system's.
pub fn make_directory(directory: &Path) -> Result<(), Failed> {
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
    if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) && parent != directory {
        make_directory(parent)?;
        made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
    }
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // The mode that `mkdir` was given is cut by the umask.
        Ok(()) => make_private(directory).and_then(|()| sync_above(parent)),
        Err(error) => Err(failed("create the directory", directory)(error)),
    }
}

/// Syncs a directory that something was made in. One that this user may not open, or of a file system that syncs no directories, was
/// there before: its names are as durable as its owner wants.
fn sync_above(parent: &Path) -> Result<(), Failed> {
    let may_pass = [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported];
    match sync_directory(parent) {
        Err(error) if may_pass.contains(&error.source.kind()) => Ok(()),
        other => other,
    }
}

/// What an entry of the state directory has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// How what [`foreign`] says of the owner begins.
pub const BELONGS: &str = "it belongs to user";

/// Returns why an entry, looked at without following it, cannot be one of ours: it leads elsewhere, is something else, or
/// belongs to another user.
pub fn foreign(found: &Metadata, kind: Kind) -> Option<String> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    let is_kind = match kind {
        Kind::File => found.is_file(),
        Kind::Directory => found.is_dir(),
    };
    match kind {
        _ if found.is_symlink() => Some("it is a symbolic link, which is never followed".to_owned()),
        Kind::File if !is_kind => Some("it is no file".to_owned()),
        Kind::Directory if !is_kind => Some("it is no directory".to_owned()),
        _ if owner != user => Some(format!("{BELONGS} {owner}, this process runs as user {user}")),
        _ => None,
    }
}

/// Writes `parts`, one behind the other, as the file `name` in `directory`; after a return it outlives a power cut.
pub fn write(directory: &Path, name: &str, parts: &[&[u8]]) -> Result<PathBuf, Failed> {
    let path = directory.join(name);
    let mut file = Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(FILE_MODE))
        .tempfile_in(directory)
        .map_err(failed("create a temporary file in", directory))?;
    // The mode that `open` was given is cut by the umask.
    let private = Permissions::from_mode(FILE_MODE);
    file.as_file().set_permissions(private).map_err(failed("set the mode of", &path))?;
    // Many parts are short.
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file.as_file_mut());
    let mut pieces = parts.iter().flat_map(|part| pace::pieces(part));
    let written = pieces.try_for_each(|piece| writer.write_all(piece)).and_then(|()| writer.flush());
    written.map_err(failed("write", &path))?;
    drop(writer);
    file.as_file().sync_all().map_err(failed("sync", &path))?;
    file.persist(&path).map_err(|error| failed("rename a temporary file to", &path)(error.error))?;
    sync_directory(directory)?;
    Ok(path)
}

/// Makes the entries of `directory` outlive a power cut.
pub fn sync_directory(directory: &Path) -> Result<(), Failed> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(failed("sync the directory", directory))
}

/// Returns the names and paths in `directory`, sorted; nothing where it is missing. Names that are not UTF-8 are left out.
pub fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Failed> {
    let listing = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", directory))?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(failed("list", directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the file at `path`; that it is missing already is fine.
pub fn remove(path: &Path) -> Result<(), Failed> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes the temporary files that a killed process left in `directory`.
pub fn remove_temporaries(directory: &Path) -> Result<(), Failed> {
    for (name, path) in entries(directory)? {
        if name.starts_with(TEMPORARY_PREFIX) && !path.is_dir() {
            remove(&path)?;
        }
    }
    Ok(())
}

fn read_in_pieces(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX))?;
    // Who sees the end of the file has read it all, whatever its length was at first.
    loop {
        let read = (&file).take(READ_BYTES).read_to_end(&mut bytes)?;
        if read == 0 {
            return Ok(bytes);
        }
        pace::spent(read / 4);
    }
}

/// Reads a whole file; `None` where it is missing.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Failed> {
    match read_in_pieces(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}
