//! Files that only ever grow: bytes are put behind what is there, and are durable on return. Never changes what was written before,
//! but for what a failed write left of itself.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::shelf::durable::{self, FILE_MODE, Failed, failed};

/// Opens a file to read it and to cut it; `None` where it is missing.
pub(super) fn open(path: &Path) -> Result<Option<File>, Failed> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other.map_err(failed("open", path))?)),
    }
}

/// Returns how long a file is, in bytes; 0 where it is missing.
pub(super) fn length(path: &Path) -> Result<u64, Failed> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        other => Ok(other.map_err(failed("read", path))?.len()),
    }
}

/// Returns where the last whole line ends in the first `length` bytes of a file, however long what is behind it is; 0 where there
/// is none.
pub(super) fn last_newline(file: &mut File, length: u64) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let (mut end, mut bytes) = (length, Vec::new());
    while end > 0 {
        let start = end.saturating_sub(STEP);
        bytes.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends `bytes`; after a return they outlive a power cut. Returns how long the file is now.
pub(super) fn append(path: &Path, bytes: &[u8]) -> Result<u64, Failed> {
    append_with(path, |file| file.write_all(bytes))
}

/// Appends what `write` writes, durably, or nothing of it. Returns how long the file is now.
pub(super) fn append_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<u64, Failed> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed("open", path))?;
    if is_new {
        // The mode that `open` was given is cut by the umask.
        let private = Permissions::from_mode(FILE_MODE);
        file.set_permissions(private).map_err(failed("set the mode of", path))?;
    }
    let length = |file: &File| Ok(file.metadata().map_err(failed("read", path))?.len());
    let before = length(&file)?;
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        // What was written of it would run into the next line.
        let _ = file.set_len(before);
        return Err(failed("append to", path)(error));
    }
    if is_new {
        durable::sync_directory(path.parent().unwrap_or(Path::new("/")))?;
    }
    length(&file)
}

/// Cuts a file off behind its first `length` bytes, durably.
pub(super) fn cut(file: &File, path: &Path, length: u64) -> Result<(), Failed> {
    file.set_len(length).and_then(|()| file.sync_all()).map_err(failed("cut", path))
}
