//! The leave to touch a state directory: one process at a time, taken before anything in it is read.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::shelf::durable::{self, FILE_MODE, Kind, failed};
use crate::store::StoreError;

/// How long a process waits between two attempts.
const RETRY: Duration = Duration::from_millis(20);

/// What the store writes through.
const DIRECTORIES: [&str; 4] = ["generations", "shelf", "index", "index/blobs"];
/// What is replaced whole, never written in place.
const REPLACED: [&str; 4] = ["current", "checks.json", "trust-state.json", "audit.head"];
/// What the store reads and writes.
const FILES: [&str; 7] = [
    "current",
    "checks.json",
    "trust-state.json",
    "revisions.jsonl",
    "first-seen.log",
    "audit.jsonl",
    "audit.head",
];

/// Takes the lock of `directory`; it is held as long as the file is open.
pub(super) fn take(directory: &Path, wait: Duration) -> Result<File, StoreError> {
    prepare(directory)?;
    let path = directory.join("lock");
    let mut file = open(&path)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => break,
            // Somebody removed the file meanwhile: its lock keeps nobody out.
            Ok(()) => {
                file = open(&path)?;
                continue;
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error).into()),
            Err(TryLockError::WouldBlock) => {}
        }
        let Some(left) = wait.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
            return Err(StoreError::Locked { path: path.display().to_string(), pid: holder(&mut file) });
        };
        std::thread::sleep(left.min(RETRY));
    }
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(failed("set the mode of", &path))?;
    sign(&mut file).map_err(failed("write", &path))?;
    Ok(file)
}

/// Opens the lock file without following a link: its text is replaced.
fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let refused = |found: String| StoreError::Unsafe {
        path: path.parent().unwrap_or(path).display().to_string(),
        found: format!("lock in it cannot be used: {found}"),
    };
    let file = match options.open(path) {
        Err(error) => {
            let planted = path.symlink_metadata().ok().and_then(|found| durable::foreign(&found, Kind::File));
            return Err(planted.map_or_else(|| failed("open", path)(error).into(), refused));
        }
        Ok(file) => file,
    };
    let found = file.metadata().map_err(failed("read the owner of", path))?;
    match durable::foreign(&found, Kind::File).or_else(|| linked(&found)) {
        None => Ok(file),
        Some(found) => Err(refused(found)),
    }
}

/// Returns why a file that is written in place cannot be used: under another name it is somebody's, who would find our bytes in
/// it. Files that are replaced whole need no such care.
fn linked(found: &Metadata) -> Option<String> {
    (found.nlink() > 1).then(|| {
        format!("it has {} names (hard links) and is written in place; put a copy of it there", found.nlink())
    })
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|one| path.symlink_metadata().is_ok_and(|other| same(one, other)))
}

/// Refuses a directory in which something that the store writes into or through leads elsewhere, is something else than it
/// should be, or belongs to another user.
pub(super) fn refuse_planted(directory: &Path) -> Result<(), StoreError> {
    let mut entries: Vec<(PathBuf, Kind)> = DIRECTORIES
        .map(|name| (directory.join(name), Kind::Directory))
        .into_iter()
        .chain(FILES.map(|name| (directory.join(name), Kind::File)))
        .collect();
    for below in ["index", "index/blobs"] {
        let below = directory.join(below);
        if below.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            let files = durable::entries(&below)?.into_iter().filter(|(name, _)| name != "blobs");
            entries.extend(files.map(|(_, path)| (path, Kind::File)));
        }
    }
    for (path, kind) in entries {
        let found = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(failed("read the owner of", &path))?,
        };
        let in_place = matches!(kind, Kind::File) && !REPLACED.iter().any(|name| path.ends_with(name));
        let linked = in_place.then(|| linked(&found)).flatten();
        if let Some(found) = durable::foreign(&found, kind).or(linked) {
            let name = path.strip_prefix(directory).unwrap_or(&path).display();
            return Err(StoreError::Unsafe {
                path: directory.display().to_string(),
                found: format!("{name} in it cannot be used: {found}"),
            });
        }
    }
    Ok(())
}

/// Looks who holds the lock of `directory`, without making or changing anything: the open file keeps others out as long
/// as it lives (`None` where nobody has made a lock yet); the inner error is the pid of the holder.
pub(super) fn look(directory: &Path) -> Result<Result<Option<File>, String>, StoreError> {
    let path = directory.join("lock");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(None)),
        other => other.map_err(failed("open", &path))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Ok(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(Err(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error).into()),
    }
}

fn prepare(directory: &Path) -> Result<(), StoreError> {
    if !directory.exists() {
        durable::private_directory(directory)?;
    }
    let found = std::fs::metadata(directory).map_err(failed("read the owner of", directory))?;
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    let fault = match found.mode() & 0o7777 {
        _ if owner != user => format!("it belongs to user {owner}, this process runs as user {user}"),
        mode if mode & 0o022 != 0 => format!("its mode {mode:04o} lets others write into it"),
        _ => return Ok(()),
    };
    Err(StoreError::Unsafe { path: directory.display().to_string(), found: fault })
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(20).read_to_string(&mut text));
    match text.trim() {
        pid if read.is_ok() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => pid.into(),
        _ => "unknown".into(),
    }
}
