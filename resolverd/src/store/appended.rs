//! Files that only ever grow: bytes are put behind what is there, and are durable on return. Never changes what was written before,
//! but for what a failed write left of itself.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tracing::warn;

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

/// What this process knows of the end of a file. Where an append failed, nobody knows what of it is on the disk: a sync that is tried
/// again would say yes to bytes that the system has given up. They are cut off, and nothing goes on behind them before that is durable.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Where the file has to end, after an append that could not be taken back.
    doubtful_from: Option<u64>,
}

impl Tail {
    /// Cuts off what a failed append has left.
    pub(super) fn settle(&mut self, path: &Path) -> Result<(), Failed> {
        let Some(end) = self.doubtful_from else { return Ok(()) };
        match open(path)? {
            Some(file) if file.metadata().map_err(failed("read", path))?.len() >= end => {
                cut(&file, path, end)?;
            }
            // Somebody else has cut more, or all of it.
            _ => {}
        }
        self.doubtful_from = None;
        Ok(())
    }

    /// Appends `bytes`; after a return they outlive a power cut. Returns how long the file is now.
    pub(super) fn append(&mut self, path: &Path, bytes: &[u8]) -> Result<u64, Failed> {
        self.append_with(path, |file| file.write_all(bytes))
    }

    /// Appends what `write` writes, durably, or nothing of it. Returns how long the file is now.
    pub(super) fn append_with(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<u64, Failed> {
        self.settle(path)?;
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
        let written = write(&mut file).and_then(|()| file.sync_all()).map_err(failed("append to", path));
        // Nobody was promised an empty file: its name may be as new.
        let named = match before {
            0 => written.and_then(|()| durable::sync_directory(path.parent().unwrap_or(Path::new("/")))),
            _ => written,
        };
        if let Err(error) = named {
            // What was written of it would run into the next line.
            self.doubtful_from = Some(before);
            if let Err(error) = self.settle(path) {
                warn!(%error, "what an append has left is cut off before the next one");
            }
            return Err(error);
        }
        length(&file)
    }
}

/// Cuts a file off behind its first `length` bytes, durably.
pub(super) fn cut(file: &File, path: &Path, length: u64) -> Result<(), Failed> {
    file.set_len(length).and_then(|()| file.sync_all()).map_err(failed("cut", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_on_behind_what_could_not_be_synced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut tail = Tail::default();
        assert_eq!(tail.append(&path, b"one\n").expect("appended"), 4);
        // A write that fails leaves nothing, and so does one that could not be taken back, which the next one finds.
        let failing = |file: &mut File| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("the disk"))
        };
        assert!(tail.append_with(&path, failing).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"one\n");
        std::fs::write(&path, b"one\ntwo\n").expect("written");
        tail.doubtful_from = Some(4);
        assert_eq!(tail.append(&path, b"three\n").expect("appended"), 10);
        assert_eq!(std::fs::read(&path).expect("read"), b"one\nthree\n");
        // Whoever cut more has not made it longer.
        tail.doubtful_from = Some(100);
        assert_eq!(tail.append(&path, b"four\n").expect("appended"), 15);
    }
}
