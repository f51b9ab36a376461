//! Git objects of remote repositories on disk: one folder per remote, deletable at any time.
//!
//! ```text
//! <cache_dir>/git/<sha256 of the URL>/url              the URL, for people
//!                                     lock             who is here (shared), who may clear tmp (exclusive)
//!                                     objects/ab/cd…   loose objects, as Git writes them
//!                                     tmp/             what is being written
//! ```
//! An object is written aside and renamed, without an fsync: every read compares content and id, and what is damaged is deleted
//! and fetched again. Nothing here is ever trusted and nothing is lost with it. Several processes may use one folder at once;
//! what a killed one left in `tmp` goes when the next one finds itself alone. The oldest objects go first when all remotes
//! together hold more than `limits.cache_bytes`. Never holds refs: what a branch names is asked every time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use catalogue_schema::digest::Digest;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::fetch::git::read_loose;
use crate::fetch::object::{Kind, ObjectId, ReadError};

/// Only we look into a cache: it may hold what a token opened.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The least that a file costs on a disk, in bytes.
const BLOCK_BYTES: u64 = 512;

/// The objects of one remote repository.
#[derive(Debug)]
pub(super) struct Cache {
    /// The folder of every remote.
    root: PathBuf,
    objects: PathBuf,
    tmp: PathBuf,
    written: u64,
    /// Held shared while this lives.
    _lock: File,
}

impl Cache {
    /// Opens the folder of `url` below `cache_dir`, made when it is not there.
    ///
    /// **Errors**: what the system said; the caller can do without a cache.
    pub(super) fn open(cache_dir: &Path, url: &str) -> io::Result<Cache> {
        let root = cache_dir.join("git");
        let place = root.join(Digest::sha256(url.as_bytes()).hex());
        let (objects, tmp) = (place.join("objects"), place.join("tmp"));
        for directory in [&root, &place, &objects, &tmp] {
            make_directory(directory)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(place.join("lock"))?;
        // The mode that `open` was given is cut by the umask.
        lock.set_permissions(Permissions::from_mode(FILE_MODE))?;
        if lock.try_lock().is_ok() {
            // Alone: whoever wrote these has ended.
            for left in fs::read_dir(&tmp)? {
                fs::remove_file(left?.path())?;
            }
            lock.unlock()?;
        }
        lock.lock_shared()?;
        let cache = Cache { root, objects, tmp, written: 0, _lock: lock };
        if !place.join("url").exists() {
            cache.write_aside(&place.join("url"), format!("{url}\n").as_bytes())?;
        }
        Ok(cache)
    }

    /// Reads an object and checks it against its id; `None` when it is not here, or larger. One that is damaged is deleted.
    pub(super) fn read(
        &self,
        id: &ObjectId,
        kind: Kind,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        match read_loose(&self.objects, id, kind, bytes_max) {
            Err(ReadError::Corrupt(_)) => self.forget(id),
            // A header is unproven: it may say this because it is damaged.
            Err(ReadError::OtherKind(other)) => match read_loose(&self.objects, id, other, bytes_max) {
                Ok(Some(_)) => Err(ReadError::OtherKind(other)),
                _ => self.forget(id),
            },
            Err(ReadError::TooLarge(_)) => Ok(None),
            read => read,
        }
    }

    fn forget(&self, id: &ObjectId) -> Result<Option<Vec<u8>>, ReadError> {
        // Another process may have been faster, or have mended it: then it is fetched once more.
        let _ = fs::remove_file(self.place(id));
        Ok(None)
    }

    /// Keeps an object whose id has been checked.
    ///
    /// **Errors**: what the system said; nothing half-written is left under the object's name.
    pub(super) fn write(&mut self, id: &ObjectId, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(id);
        if let Some(parent) = place.parent() {
            make_directory(parent)?;
        }
        let mut stream = ZlibEncoder::new(Vec::new(), Compression::fast());
        write!(stream, "{kind} {}\0", bytes.len())?;
        stream.write_all(bytes)?;
        let stream = stream.finish()?;
        self.written += stream.len() as u64;
        self.write_aside(&place, &stream)
    }

    /// Removes the oldest objects of all remotes until at most `bytes_max` bytes are left. Does nothing when nothing was
    /// written.
    ///
    /// **Errors**: what the system said.
    pub(super) fn trim(&self, bytes_max: u64) -> io::Result<()> {
        if self.written == 0 {
            return Ok(());
        }
        let mut files = Vec::new();
        for remote in subdirectories(&self.root)? {
            for folder in subdirectories(&remote.join("objects"))? {
                collect(&folder, &mut files)?;
            }
        }
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        if total <= bytes_max {
            return Ok(());
        }
        files.sort_by(|a, b| (a.modified, &a.place).cmp(&(b.modified, &b.place)));
        for file in files {
            if total <= bytes_max {
                break;
            }
            match fs::remove_file(&file.place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= file.bytes,
            }
        }
        Ok(())
    }

    fn place(&self, id: &ObjectId) -> PathBuf {
        let digits = id.to_string();
        self.objects.join(&digits[..2]).join(&digits[2..])
    }

    fn write_aside(&self, place: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.tmp)?;
        file.as_file().set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.write_all(bytes)?;
        file.persist(place).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Makes a directory and what is missing above it. One that is there must be one of ours, since it is written into: a link may lead
/// anywhere, and what belongs to another user is theirs. Nobody else looks into it, whatever the umask says.
fn make_directory(place: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(place) {
        Ok(()) => return fs::set_permissions(place, Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_above(place)?;
            return make_directory(place);
        }
        Err(error) => return Err(error),
    }
    let found = place.symlink_metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != user {
        let found = format!("{} is a link, no directory, or of user {}", place.display(), found.uid());
        return Err(io::Error::other(found));
    }
    if found.mode() & 0o777 != DIRECTORY_MODE {
        fs::set_permissions(place, Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(())
}

/// Makes what is missing above a directory; what is there is the operator's, and judged when the daemon starts.
fn make_above(place: &Path) -> io::Result<()> {
    match place.parent() {
        Some(parent) if parent != Path::new("") && !parent.is_dir() => make_directory(parent),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

struct Kept {
    place: PathBuf,
    modified: SystemTime,
    bytes: u64,
}

/// Returns the folders in a folder; none when there is no such folder.
fn subdirectories(place: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn collect(folder: &Path, files: &mut Vec<Kept>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that another process has removed meanwhile is not kept.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            let bytes = metadata.len().max(metadata.blocks() * BLOCK_BYTES);
            files.push(Kept { place: entry.path(), modified: metadata.modified()?, bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::fetch::git::object_id;

    const URL: &str = "https://e.org/r.git";

    fn id(bytes: &[u8]) -> ObjectId {
        object_id(Kind::Blob, bytes).unwrap()
    }

    fn keep(cache: &mut Cache, bytes: &[u8]) -> ObjectId {
        cache.write(&id(bytes), Kind::Blob, bytes).unwrap();
        id(bytes)
    }

    fn read(cache: &Cache, id: &ObjectId) -> Option<Vec<u8>> {
        cache.read(id, Kind::Blob, 1000).unwrap()
    }

    #[test]
    fn objects_come_back_and_belong_to_one_remote() {
        let place = TempDir::new().unwrap();
        let mut cache = Cache::open(place.path(), URL).unwrap();
        let one = keep(&mut cache, b"one");
        assert_eq!(read(&cache, &one).unwrap(), b"one");
        assert_eq!(read(&cache, &id(b"two")), None);
        assert_eq!(cache.read(&one, Kind::Tree, 9), Err(ReadError::OtherKind(Kind::Blob)));
        assert_eq!(cache.read(&one, Kind::Blob, 2), Ok(None), "larger than what may be read");
        let other = Cache::open(place.path(), "https://e.org/other.git").unwrap();
        assert_eq!(read(&other, &one), None);
        assert_eq!(read(&Cache::open(place.path(), URL).unwrap(), &one).unwrap(), b"one");
        for directory in ["", "objects", "tmp"] {
            let place = cache.tmp.parent().unwrap().join(directory);
            assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700, "{place:?}");
        }
        assert_eq!(fs::read_to_string(cache.tmp.parent().unwrap().join("url")).unwrap(), format!("{URL}\n"));
    }

    #[test]
    fn a_damaged_object_is_deleted_and_can_be_written_again() {
        let place = TempDir::new().unwrap();
        let mut cache = Cache::open(place.path(), URL).unwrap();
        let one = keep(&mut cache, b"one");
        let file = cache.place(&one);
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&file, &bad).unwrap();
            match cache.read(&one, Kind::Blob, 1000) {
                // Some bits of a zlib header carry no meaning; a size that lies is only not read.
                Ok(Some(bytes)) => assert_eq!(bytes, b"one"),
                Ok(None) => {}
                Err(error) => panic!("{error:?} at {at}"),
            }
        }
        keep(&mut cache, b"one");
        assert_eq!(read(&cache, &one).unwrap(), b"one");
    }

    #[test]
    fn what_a_killed_writer_left_goes_when_nobody_else_is_here() {
        let place = TempDir::new().unwrap();
        let cache = Cache::open(place.path(), URL).unwrap();
        let left = cache.tmp.join("left");
        fs::write(&left, b"half").unwrap();
        let second = Cache::open(place.path(), URL).unwrap();
        assert!(left.exists(), "the first may be writing it");
        drop((cache, second));
        Cache::open(place.path(), URL).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn the_oldest_objects_of_all_remotes_go_first() {
        let place = TempDir::new().unwrap();
        let mut first = Cache::open(place.path(), URL).unwrap();
        let mut second = Cache::open(place.path(), "git@e.org:r").unwrap();
        let kept: Vec<ObjectId> = (0..6u64)
            .map(|n| {
                let cache = if n % 2 == 0 { &mut first } else { &mut second };
                let id = keep(cache, format!("object {n}").as_bytes());
                let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + n);
                File::open(cache.place(&id)).unwrap().set_modified(time).unwrap();
                id
            })
            .collect();
        let metadata = fs::metadata(first.place(&kept[0])).unwrap();
        let each = metadata.len().max(metadata.blocks() * BLOCK_BYTES);
        first.trim(2 * each).unwrap();
        let left: Vec<bool> =
            kept.iter().map(|id| first.place(id).exists() || second.place(id).exists()).collect();
        assert_eq!(left, [false, false, false, false, true, true]);
        let idle = Cache::open(place.path(), URL).unwrap();
        idle.trim(0).unwrap();
        assert!(second.place(&kept[5]).exists(), "nothing was written, so nothing is removed");
    }

    #[test]
    fn many_writers_share_a_folder() {
        let place = TempDir::new().unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..50 {
                        let mut cache = Cache::open(place.path(), URL).unwrap();
                        let text = format!("object {n}");
                        let id = keep(&mut cache, text.as_bytes());
                        assert_eq!(read(&cache, &id).unwrap(), text.as_bytes());
                    }
                });
            }
        });
        let cache = Cache::open(place.path(), URL).unwrap();
        assert_eq!(fs::read_dir(&cache.tmp).unwrap().count(), 0);
    }
}
