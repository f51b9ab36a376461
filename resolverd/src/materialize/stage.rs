//! A directory while it is filled, and its one step into sight: written aside in the same file system, then every file and directory
//! synced, then renamed. Never follows a link, never leaves anything half-written under a name that is looked up.
//!
//! What is published may be read by whoever may reach it and written by nobody: files 0444 (0555 where they may be executed) in
//! directories 0555, whatever the umask says.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::CommitId;
use rustix::fs::{fstatfs, syncfs};
use tempfile::{Builder, TempDir};

use crate::api::files::FileLine;
use crate::shelf::durable::{Failed, TEMPORARY_PREFIX, failed, sync_directory};

/// Modes of what is published.
pub const FILE: u32 = 0o444;
/// The mode of a file that may be executed.
pub const EXECUTABLE: u32 = 0o555;
/// The mode of a directory.
pub const DIRECTORY: u32 = 0o555;
/// The mode of a directory that is being filled.
const OPEN: u32 = 0o700;

/// From how many files and directories on the whole file system is synced at once, and not each of them: an fsync costs about 2 to 7 ms
/// (2,400 small files on ext4: 10 to 18 s, together 1 s; November 2026), while what others have written is written along.
const TOGETHER_MIN: usize = 64;
/// The file systems of which it is known that `syncfs` returns once everything that was written has reached the disk as it does after an
/// fsync: ext2 to ext4, XFS, Btrfs, and overlayfs, which hands it on. Of others, such as FUSE, each file is synced.
const SYNCED_TOGETHER: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x794c_7630];

/// A directory that is being filled; what is not published is removed.
#[derive(Debug)]
pub struct Stage {
    /// `None` once it is published.
    directory: Option<TempDir>,
    files: Vec<FileLine>,
}

impl Stage {
    /// Makes an empty directory in `trees`.
    ///
    /// **Errors**: the system's.
    pub fn new(trees: &Path) -> Result<Stage, Failed> {
        let directory = Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(Permissions::from_mode(OPEN))
            .tempdir_in(trees)
            .map_err(failed("create a directory in", trees))?;
        // The mode that `mkdir` was given is cut by the umask.
        fs::set_permissions(directory.path(), Permissions::from_mode(OPEN))
            .map_err(failed("set the mode of", directory.path()))?;
        Ok(Stage { directory: Some(directory), files: Vec::new() })
    }

    fn path(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Returns how many bytes have been written.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Writes a file whose bytes were checked. It is synced when the directory is published.
    ///
    /// **Errors**: the system's; a path that was written already is among them.
    pub fn put(
        &mut self,
        path: &DocPath,
        blob: Option<CommitId>,
        executable: bool,
        (bytes, digest): (&[u8], Digest),
    ) -> Result<(), Failed> {
        let place = self.path().join(path.as_text());
        if let Some(parent) = place.parent() {
            make(parent, OPEN).map_err(failed("create the directory", parent))?;
        }
        let mode = if executable { EXECUTABLE } else { FILE };
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place)?;
            file.write_all(bytes)?;
            // The mode that `open` was given is cut by the umask.
            file.set_permissions(Permissions::from_mode(mode))
        })();
        written.map_err(failed("write", &place))?;
        let size = bytes.len() as u64;
        self.files.push(FileLine { path: path.clone(), digest, blob, size, executable });
        Ok(())
    }

    /// Returns what was written, by path.
    pub fn files(&mut self) -> Vec<FileLine> {
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        self.files.clone()
    }

    /// Makes the directory visible as `place`, which lies beside it; `false` where something is there already, and it may be tried
    /// again.
    ///
    /// **Errors**: the system's.
    pub fn publish(&mut self, place: &Path) -> Result<bool, Failed> {
        let path = self.path().to_owned();
        close(&path, &self.files).map_err(failed("finish the directory", &path))?;
        match fs::rename(&path, place) {
            Ok(()) => {
                // What was renamed is no temporary directory any more.
                if let Some(directory) = self.directory.take() {
                    let _ = directory.keep();
                }
                place.parent().map_or(Ok(()), sync_directory)?;
                Ok(true)
            }
            Err(error) if is_taken(&error) => Ok(false),
            Err(error) => Err(failed("rename a directory to", place)(error)),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(&directory.keep());
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

/// Forbids to write in a directory and in those below it, and syncs them and the files: what comes into sight outlives a power cut whole.
fn close(directory: &Path, files: &[FileLine]) -> io::Result<()> {
    let mut directories = Vec::new();
    forbid(directory, &mut directories)?;
    let root = File::open(directory)?;
    if files.len() + directories.len() >= TOGETHER_MIN && is_synced_together(&root)? {
        return Ok(syncfs(&root)?);
    }
    let files = files.iter().map(|file| directory.join(file.path.as_text()));
    files.chain(directories).try_for_each(|place| File::open(place)?.sync_all())
}

/// Forbids to write in a directory and in those below it, and notes them.
fn forbid(directory: &Path, noted: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forbid(&entry.path(), noted)?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY))?;
    noted.push(directory.to_owned());
    Ok(())
}

fn is_synced_together(root: &File) -> io::Result<bool> {
    let kind = fstatfs(root)?.f_type;
    Ok(u64::try_from(kind).is_ok_and(|kind| SYNCED_TOGETHER.contains(&kind)))
}

/// Removes a directory and what lies below it, also where nobody may write there. Links are removed, never followed.
///
/// **Errors**: the system's; what is gone already is fine.
pub fn remove(directory: &Path) -> io::Result<()> {
    let found = match directory.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.is_dir() {
        return fs::remove_file(directory);
    }
    fs::set_permissions(directory, Permissions::from_mode(OPEN))?;
    for entry in fs::read_dir(directory)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(directory)
}

/// Removes a directory that readers look up by name: it is out of sight at once, and gone a moment later.
///
/// **Errors**: the system's.
pub fn retire(place: &Path) -> Result<(), Failed> {
    let Some(parent) = place.parent() else { return Ok(()) };
    if place.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        // A link or a file in its place; what a link leads to stays.
        return fs::remove_file(place).map_err(failed("remove", place));
    }
    let aside = Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempdir_in(parent)
        .map_err(failed("create a directory in", parent))?
        .keep();
    // A directory may take the place of an empty one.
    match fs::rename(place, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let _ = fs::remove_dir(&aside);
            Err(failed("set aside", place)(error))
        }
        _ => remove(&aside).map_err(failed("remove", &aside)),
    }
}

/// Removes what killed processes left in `directory`.
///
/// **Errors**: the system's.
pub fn sweep(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let left: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
        })
        .collect();
    left.iter().try_for_each(|path| remove(path))
}

/// Makes a directory and what is missing above it, each with its mode whatever the umask says.
///
/// **Errors**: the system's.
pub(super) fn make(place: &Path, mode: u32) -> std::io::Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        make(parent, mode)?;
    }
    DirBuilder::new().mode(OPEN).create(place)?;
    fs::set_permissions(place, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DocPath {
        DocPath::parse(text).expect("a path")
    }

    fn mode(place: &Path) -> u32 {
        fs::metadata(place).expect("it is there").permissions().mode() & 0o7777
    }

    fn staged(trees: &Path, files: &[(&str, bool)]) -> Stage {
        let mut stage = Stage::new(trees).expect("a stage");
        for (name, executable) in files {
            let bytes = name.as_bytes();
            stage.put(&path(name), None, *executable, (bytes, Digest::sha256(bytes))).expect("written");
        }
        stage
    }

    #[test]
    fn a_directory_comes_into_sight_whole_and_nobody_may_write_there() {
        let place = tempfile::tempdir().expect("a directory");
        let mut stage = staged(place.path(), &[("lib/run.sh", true), ("compose.yaml", false)]);
        let names: Vec<String> = stage.files().iter().map(|file| file.path.to_string()).collect();
        assert_eq!(names, ["compose.yaml", "lib/run.sh"]);
        let published = place.path().join("one");
        assert!(!published.exists());
        assert!(stage.publish(&published).expect("published"));
        let modes = ["", "lib", "lib/run.sh", "compose.yaml"].map(|name| mode(&published.join(name)));
        assert_eq!(modes, [0o555, 0o555, 0o555, 0o444]);
        let mut second = staged(place.path(), &[("other", false)]);
        assert!(!second.publish(&published).expect("taken"));
        drop(second);
        assert_eq!(fs::read(published.join("compose.yaml")).expect("read"), b"compose.yaml");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 1, "what was not published is gone");
        retire(&published).expect("retired");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 0);
    }

    #[test]
    fn many_files_come_into_sight_as_few_do() {
        let place = tempfile::tempdir().expect("a directory");
        let names: Vec<String> = (0..TOGETHER_MIN).map(|at| format!("{}/{at}", at % 7)).collect();
        let files: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
        let published = place.path().join("one");
        assert!(staged(place.path(), &files).publish(&published).expect("published"));
        assert_eq!(["", "0", "0/0"].map(|name| mode(&published.join(name))), [0o555, 0o555, 0o444]);
        assert!(
            names.iter().all(|name| fs::read(published.join(name)).is_ok_and(|had| had == name.as_bytes()))
        );
        retire(&published).expect("retired");
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_it_leads_to_stays() {
        let place = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("canary"), b"stays").expect("written");
        let stage = staged(place.path(), &[("a/b", false)]);
        let left = stage.path().to_owned();
        std::os::unix::fs::symlink(outside.path(), left.join("link")).expect("linked");
        close(&left, &stage.files).expect("closed");
        std::mem::forget(stage);
        fs::create_dir(place.path().join("kept")).expect("made");
        sweep(place.path()).expect("swept");
        assert!(!left.exists());
        assert!(place.path().join("kept").exists() && outside.path().join("canary").exists());
    }

    #[test]
    fn one_path_is_written_once() {
        let place = tempfile::tempdir().expect("a directory");
        let mut stage = staged(place.path(), &[("a", false)]);
        assert!(stage.put(&path("a"), None, false, (b"x", Digest::sha256(b"x"))).is_err());
        assert!(stage.put(&path("a/b"), None, false, (b"x", Digest::sha256(b"x"))).is_err());
    }
}
