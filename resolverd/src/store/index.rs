//! The index engine: sled is named here only. Opens, reads and writes rows of bytes; never knows what they mean.
//!
//! What sled 0.34.7 does not do by itself is done here:
//! - its `flush` is no fsync, so every file is synced after it;
//! - an empty `snap.*.generating` left by a kill makes opening fail, so such files are removed first; a half-written
//!   `conf` does too, so a new index is made in a directory of its own and renamed;
//! - damage may panic or spin, so it is opened and read in a thread that may be left behind, and other calls are caught;
//! - the lock of a handle may outlive it for a moment, so opening is tried again;
//! - the modes of its files follow the umask, so they are set.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sled::{Batch, Config, Db, IVec};

use crate::shelf::durable::{self, DIRECTORY_MODE, FILE_MODE, Failed, failed};
use crate::store::StoreError;

/// What the engine may hold in memory, as it counts: every row is read once, at the start, and answers never ask it.
const CACHE_BYTES: u64 = 4 << 20;
/// How many rows one atomic write carries at most.
pub(super) const BATCH_ROWS_MAX: usize = 1000;
/// How many rows a page of the engine holds at most, and how many are left of one that was parted.
const PAGE_ROWS: usize = 16;
const HALF_ROWS: usize = 9;
/// How long opening and reading may take before the index counts as damaged.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a lock that a previous handle still holds is waited for.
const RELOCK_WAIT: Duration = Duration::from_secs(3);
/// How many damaged indexes are kept for a look.
const QUARANTINED_KEPT: usize = 2;

const NAME: &str = "index";
const NEW: &str = "index.new";
const BAD: &str = "index.bad-";

/// One index that was found whole.
#[derive(Debug)]
pub(super) struct Index {
    /// There while something is read or written: a handle that has read every row holds them all.
    db: Option<Db>,
    path: PathBuf,
    /// A sync has failed: what was written is there to be read, and the disk may hold something else for ever. A sync that is tried
    /// again would not know of it.
    is_doubtful: bool,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.close();
    }
}

/// Tells whether a panic in this source file is one of the engine: whoever calls the engine catches them.
pub(super) fn is_engine(file: &str) -> bool {
    file.contains("/sled-")
}

/// The value of a row, as the engine takes it.
pub(super) type Value = IVec;

/// A row to be written: its key, and its value where it is not removed.
pub(super) type Written = (Vec<u8>, Option<Value>);

/// Why an index could not be opened.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its bytes are wrong: it has to be set aside.
    Damaged(String),
    /// The system said no; the index may be fine.
    Failed(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Failed(error)
    }
}

impl From<Failed> for Fault {
    fn from(error: Failed) -> Fault {
        Fault::Failed(error.into())
    }
}

impl Index {
    /// Opens the index below `directory`, making an empty one where there is none, and gives key and value of every row to `take`,
    /// in the order of the keys. Few rows wait to be taken, so that most are in memory once.
    pub(super) fn open<T: Send + 'static>(
        directory: &Path,
        take: fn(&[u8], &[u8]) -> T,
    ) -> Result<(Index, Vec<T>), Fault> {
        let path = directory.join(NAME);
        if !path.exists() {
            create(directory)?;
        }
        if path.is_dir() {
            sweep(&path)?;
        }
        let (db, rows) = open_in_thread(&path, move |db| take_all(db, take))?;
        let mut index = Index { db: Some(db), path, is_doubtful: false };
        index.make_durable()?;
        Ok((index, rows))
    }

    /// Sets the index below `directory` aside and returns where it lies now. Only the newest few are kept.
    pub(super) fn quarantine(directory: &Path) -> Result<PathBuf, StoreError> {
        let mut old = Index::quarantined(directory)?;
        let number = old.last().map_or(1, |(number, _)| number.saturating_add(1));
        while old.len() >= QUARANTINED_KEPT {
            remove_directory(&old.remove(0).1)?;
        }
        let (path, aside) = (directory.join(NAME), directory.join(format!("{BAD}{number}")));
        std::fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
        durable::sync_directory(directory)?;
        Ok(aside)
    }

    /// Returns the indexes below `directory` that were set aside, by their numbers, ascending.
    pub(super) fn quarantined(directory: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let entries = durable::entries(directory)?.into_iter();
        let numbered = |(name, path): (String, PathBuf)| Some((name.strip_prefix(BAD)?.parse().ok()?, path));
        let mut old: Vec<(u64, PathBuf)> = entries.filter_map(numbered).collect();
        old.sort();
        Ok(old)
    }

    /// Removes what a kill left in the index below `directory`, and returns it.
    pub(super) fn sweep(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let path = directory.join(NAME);
        if path.is_dir() { sweep(&path) } else { Ok(Vec::new()) }
    }

    /// Writes rows (`None` removes one) in the order given; they outlive a power cut after the return.
    ///
    /// Only each batch is atomic: the caller sees to it that a part of the rows is harmless.
    pub(super) fn write(&mut self, rows: Vec<Written>) -> Result<(), StoreError> {
        self.apply(rows)?;
        self.make_durable()
    }

    /// Writes rows like [`Index::write`]; they outlive a power cut after [`Index::make_durable`].
    pub(super) fn apply(&mut self, rows: Vec<Written>) -> Result<(), StoreError> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut batch = Batch::default();
            for (key, value) in rows.by_ref().take(BATCH_ROWS_MAX) {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            self.attempt("write", |db| db.apply_batch(batch))?;
        }
        Ok(())
    }

    /// Writes the rows of an index that holds none, in the order of their keys, like [`Index::apply`] and with half the work. No row is
    /// atomic with another, and after a kill one may be there that has no value yet.
    ///
    /// The engine parts a page with too many rows into two and writes both anew; so it does with the rows of a page after ten
    /// changes. In the order of the keys a value would be written three times. So keys make the pages first, without values:
    /// as many for each page as it keeps when the next one is parted off, its first and its last among them. Then the values and the
    /// other rows come, short ones first: only the first ten of a page are written twice.
    pub(super) fn fill(&mut self, rows: &[Written]) -> Result<(), StoreError> {
        let insert = |db: &Db, (key, value): &Written| {
            value.iter().try_for_each(|value| db.insert(key, value).map(drop))
        };
        self.attempt("write", |db| {
            for page in rows.chunks(PAGE_ROWS) {
                let makes_pages = |at: usize| at + 1 < HALF_ROWS || at + 1 == page.len();
                let keys =
                    page.iter().enumerate().filter(|(at, (_, value))| makes_pages(*at) && value.is_some());
                keys.map(|(_, (key, _))| key).try_for_each(|key| db.insert(key, &[]).map(drop))?;
            }
            for page in rows.chunks(PAGE_ROWS) {
                let mut page: Vec<&Written> = page.iter().collect();
                page.sort_by_key(|(_, value)| value.as_ref().map_or(0, |value| value.len()));
                page.into_iter().try_for_each(|row| insert(db, row))?;
            }
            Ok(())
        })
    }

    /// Makes every row that was written outlive a power cut.
    pub(super) fn make_durable(&mut self) -> Result<(), StoreError> {
        self.attempt("flush", |db| db.flush())?;
        Ok(self.sync()?)
    }

    fn sync(&mut self) -> Result<(), Failed> {
        let synced = sync_files(&self.path);
        self.is_doubtful |= synced.as_ref().is_err_and(|failed| SYNCING.contains(&failed.action));
        synced
    }

    /// Tells whether the disk may hold something else than what can be read here: nothing may be built on it any more.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Lets the engine go until the next write, and with it the room that it takes.
    pub(super) fn rest(&mut self) {
        if self.db.is_none() {
            return;
        }
        self.close();
        // What the engine writes when it closes is nothing that was promised; a power cut may find it half written, as after a
        // kill.
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the closed index is not synced");
        }
    }

    /// Opens the index again after a rest; its rows are not read.
    pub(super) fn wake(&mut self) -> Result<(), Fault> {
        if self.db.is_none() {
            // An engine that finds nothing makes something new.
            if !self.path.is_dir() {
                return Err(Fault::Damaged("it is gone".to_owned()));
            }
            sweep(&self.path)?;
            let (db, ()) = open_in_thread(&self.path, |_| Ok(()))?;
            self.db = Some(db);
        }
        Ok(())
    }

    /// The engine syncs once more when it is dropped, and panics where that fails; everything that was promised is on the disk.
    fn close(&mut self) {
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!(path = %self.path.display(), "the engine could not close the index in order");
        }
    }

    fn attempt<T>(
        &mut self,
        action: &'static str,
        call: impl FnOnce(&Db) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let called = self.db.as_ref().map(|db| catch_unwind(AssertUnwindSafe(|| call(db))));
        let found = match called {
            Some(Ok(Ok(value))) => return Ok(value),
            Some(Ok(Err(error))) => {
                // The engine syncs as it writes. What was refused before anything was written is no such failure.
                self.is_doubtful |= !is_refused(&error);
                error.to_string()
            }
            Some(Err(panic)) => {
                self.is_doubtful = true;
                panic_text(&*panic)
            }
            None => "it is closed".to_owned(),
        };
        Err(StoreError::Index { action, path: self.path.display().to_string(), found })
    }
}

/// How many rows are handed over at once, and how many such batches wait at most.
const ROWS_HANDED: usize = 128;
const BATCHES_WAITING: usize = 4;

/// Gives every row to `take`, in the order of the keys. Reading and taking cost about as much, so that a second thread takes where
/// there is one to be had.
fn take_all<T: Send>(db: &Db, take: fn(&[u8], &[u8]) -> T) -> sled::Result<Vec<T>> {
    let take_some = |rows: Vec<(IVec, IVec)>| rows.into_iter().map(move |(key, value)| take(&key, &value));
    std::thread::scope(|threads| {
        let (sender, receiver) = sync_channel::<Vec<(IVec, IVec)>>(BATCHES_WAITING);
        let taking = std::thread::Builder::new()
            .name("index-take".into())
            .spawn_scoped(threads, move || receiver.into_iter().flat_map(take_some).collect::<Vec<T>>());
        let Ok(taking) = taking else {
            return db.iter().map(|row| row.map(|(key, value)| take(&key, &value))).collect();
        };
        let hand_over = || {
            let mut rows = db.iter();
            loop {
                let some = rows.by_ref().take(ROWS_HANDED).collect::<sled::Result<Vec<_>>>()?;
                // Nobody takes any more where taking has panicked, which the end tells.
                if some.is_empty() || sender.send(some).is_err() {
                    return Ok(());
                }
            }
        };
        let handed = hand_over();
        drop(sender);
        let taken = taking.join();
        handed.map(|()| taken.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn config(path: &Path) -> Config {
    Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

/// Makes an empty index elsewhere and renames it, so that no half-made one is ever found under its name.
fn create(directory: &Path) -> Result<(), StoreError> {
    let new = directory.join(NEW);
    remove_directory(&new)?;
    let refused =
        |found: String| StoreError::Index { action: "create", path: new.display().to_string(), found };
    let made = catch_unwind(AssertUnwindSafe(|| {
        let db = config(&new).open()?;
        db.flush().map(drop)
    }));
    made.map_err(|panic| refused(panic_text(&*panic)))?.map_err(|error| refused(error.to_string()))?;
    sync_files(&new)?;
    let path = directory.join(NAME);
    std::fs::rename(&new, &path).map_err(failed("rename the new index to", &path))?;
    Ok(durable::sync_directory(directory)?)
}

fn sweep(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut gone = Vec::new();
    for (name, leftover) in durable::entries(path)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            durable::remove(&leftover)?;
            gone.push(leftover);
        }
    }
    Ok(gone)
}

/// Opens, and reads by `read`, in a thread of its own. Past the deadline the thread is left behind; should it ever write into the
/// index that takes this one's place, the checks of the next start find that out.
fn open_in_thread<T: Send + 'static>(
    path: &Path,
    read: impl FnOnce(&Db) -> sled::Result<T> + Send + 'static,
) -> Result<(Db, T), Fault> {
    let (sender, receiver) = channel();
    let place = path.to_owned();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| open_and_read(&place, read)));
        // Nobody listens any more once the deadline is over.
        let _ = sender.send(result.unwrap_or_else(|panic| Err(Fault::Damaged(panic_text(&*panic)))));
    };
    let spawned = std::thread::Builder::new().name("index-open".into()).spawn(work);
    spawned.map_err(failed("start a thread to open", path))?;
    match receiver.recv_timeout(OPEN_DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            Err(Fault::Damaged(format!("it could not be read within {} s", OPEN_DEADLINE.as_secs())))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(Fault::Damaged("the engine stopped while reading it".into()))
        }
    }
}

fn open_and_read<T>(path: &Path, read: impl FnOnce(&Db) -> sled::Result<T>) -> Result<(Db, T), Fault> {
    let started = Instant::now();
    let db = loop {
        match config(path).open() {
            Ok(db) => break db,
            Err(error) if is_locked(&error) && started.elapsed() < RELOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(fault("open", path, &error)),
        }
    };
    let found = read(&db).map_err(|error| fault("read", path, &error))?;
    Ok((db, found))
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Tells damage from a system that says no: setting a sound index aside because the disk is full would lose it.
fn fault(action: &'static str, path: &Path, error: &sled::Error) -> Fault {
    let found = error.to_string();
    match is_refused(error) || is_locked(error) {
        true => Fault::Failed(StoreError::Index { action, path: path.display().to_string(), found }),
        false => Fault::Damaged(found),
    }
}

/// Tells whether the system has refused to do something, and has broken nothing.
fn is_refused(error: &sled::Error) -> bool {
    const SYSTEM: [ErrorKind; 6] = [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::FileTooLarge,
        ErrorKind::PermissionDenied,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::OutOfMemory,
    ];
    // The standard library has no kinds for these.
    let is_without_files = |io: &std::io::Error| {
        [Errno::MFILE, Errno::NFILE].iter().any(|errno| io.raw_os_error() == Some(errno.raw_os_error()))
    };
    matches!(error, sled::Error::Io(io) if SYSTEM.contains(&io.kind()) || is_without_files(io))
}

/// What is said of a file or directory that could not be synced.
const SYNCING: [&str; 2] = ["sync", "sync the directory"];

fn sync_files(path: &Path) -> Result<(), Failed> {
    let blobs = path.join("blobs");
    for directory in [&blobs, path] {
        if !directory.exists() {
            continue;
        }
        for (_, entry) in durable::entries(directory)? {
            if entry.is_file() {
                sync_file(&entry)?;
            }
        }
        let private = Permissions::from_mode(DIRECTORY_MODE);
        std::fs::set_permissions(directory, private).map_err(failed("set the mode of", directory))?;
        durable::sync_directory(directory)?;
    }
    Ok(())
}

fn sync_file(path: &Path) -> Result<(), Failed> {
    let file = match File::open(path) {
        // The engine removes old snapshots and blobs on its own.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("open", path))?,
    };
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(failed("set the mode of", path))?;
    file.sync_all().map_err(failed("sync", path))
}

fn remove_directory(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error).into()),
        _ => Ok(()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", text.unwrap_or("no text"))
}
