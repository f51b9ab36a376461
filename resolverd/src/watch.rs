//! Watching files: the configuration, the sources file, the lists and catalogues of local sources. An edit becomes an order.
//! Manifests are not watched: a catalogue names thousands of them, and what is published does not change. One without a
//! digest that is edited in place is read again by the next sync.
//!
//! The system's events are hints only. They are gathered until a quarter of a second was quiet, or two seconds have passed;
//! then every watched path is looked at, and those whose file is another one than before (device, inode, size, times of
//! change) are what was edited. So reading a file, or writing elsewhere in its directory, never starts anything, and a lost
//! event costs time but no edit: every path is looked at once a minute anyway, and every two seconds where the system gives
//! no events (the limit of inotify, a network file system).
//!
//! A path is followed as a reader would: for each link on the way, and for the file in the end, the directory that holds it
//! is watched, because editors replace files instead of writing them; where the way ends early, the directory that exists
//! last is watched for the next step to appear. Never reads what it watches but Git's `HEAD`, never judges it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use catalogue_schema::id::SourceId;
use catalogue_schema::pointer::{Location, Repository, Revision};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::{debug, info, warn};

use crate::order::Order;

/// How long nothing may happen before an edit counts as done.
pub const QUIET: Duration = Duration::from_millis(250);
/// How long edits that go on and on are gathered.
pub const GATHER_MAX: Duration = Duration::from_secs(2);
/// How often everything is looked at, events or not.
pub const LOOK: Duration = Duration::from_secs(60);
/// How often everything is looked at where the system gives no events.
pub const LOOK_WITHOUT_EVENTS: Duration = Duration::from_secs(2);
/// The most directories that are watched; what lies elsewhere is looked at.
pub const DIRECTORIES_MAX: usize = 1_024;

/// How many links lead to one file at most, as in the kernel.
const LINKS_MAX: usize = 40;
/// The largest `HEAD` of a repository in bytes.
const HEAD_BYTES_MAX: u64 = 4_096;
/// File times come from a coarser clock than the one that people read.
const CLOCK_GRAIN: Duration = Duration::from_millis(50);

/// Which files are watched, and who reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched(BTreeMap<PathBuf, BTreeSet<Reader>>);

/// Who reads a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Configuration,
    Policy,
    Source(SourceId),
}

impl Watched {
    /// Adds a file of the configuration, which need not exist.
    pub fn add_configuration(&mut self, path: &Path) {
        self.add(path.to_owned(), Reader::Configuration);
    }

    /// Adds a trust policy, which need not exist, or a key that it names.
    pub fn add_policy(&mut self, path: &Path) {
        self.add(path.to_owned(), Reader::Policy);
    }

    /// Adds what `source` reads at `location`, where that is a file on this machine or a branch of a repository on it. What
    /// a commit pins does not change.
    pub fn add_location(&mut self, location: &Location, source: &SourceId) {
        match location {
            Location::File { path } => self.add(path.as_path().to_owned(), Reader::Source(source.clone())),
            Location::Git { repository: Repository::Local(path), revision, .. } => {
                for place in ref_files(path.as_path(), revision) {
                    self.add(place, Reader::Source(source.clone()));
                }
            }
            Location::Git { .. } | Location::Https { .. } => {}
        }
    }

    fn add(&mut self, path: PathBuf, reader: Reader) {
        self.0.entry(path).or_default().insert(reader);
    }
}

/// Returns the files of a repository on this machine that say where `revision` leads: bare, or with a work tree.
fn ref_files(repository: &Path, revision: &Revision) -> Vec<PathBuf> {
    let inside = repository.join(".git");
    let git = match inside.symlink_metadata() {
        Ok(_) => inside,
        Err(_) if repository.join("HEAD").exists() => repository.to_owned(),
        // Nothing is there yet: what appears first tells which of the two it becomes.
        Err(_) => return vec![inside, repository.join("HEAD")],
    };
    let names = match revision {
        Revision::Commit(_) => return Vec::new(),
        Revision::Head => vec!["HEAD".to_owned()],
        Revision::Ref(name) if name.as_text() == "HEAD" || name.as_text().starts_with("refs/") => {
            vec![name.as_text().to_owned()]
        }
        Revision::Ref(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
    };
    let symbolic = names.iter().any(|name| name == "HEAD").then(|| symbolic_head(&git)).flatten();
    let files = names.into_iter().chain(symbolic).chain(["packed-refs".to_owned()]);
    files.map(|name| git.join(name)).collect()
}

/// Returns the branch that `HEAD` names, unless the name leads out of `refs/`.
fn symbolic_head(git: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(git.join("HEAD")).ok()?.take(HEAD_BYTES_MAX).read_to_string(&mut text).ok()?;
    let name = text.strip_prefix("ref:")?.trim();
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    (name.starts_with("refs/") && is_plain).then(|| name.to_owned())
}

/// A running watch; it ends when it is dropped.
#[derive(Debug)]
pub struct Watch(Sender<Message>);

#[derive(Debug)]
enum Message {
    Event(notify::Result<Event>),
    Set(Watched, SystemTime),
    Stop,
}

impl Watch {
    /// Starts to watch nothing yet; edits become `orders`.
    ///
    /// **Errors**: the system gives no thread.
    pub fn start(orders: Sender<Order>) -> std::io::Result<Watch> {
        let (sender, inbox) = channel();
        let events = sender.clone();
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let watcher = notify::recommended_watcher(move |event| {
                // Nobody listens any more once the watch has ended.
                let _ = events.send(Message::Event(event));
            });
            let watcher = watcher.map_err(|error| warn!(%error, "the system tells nothing about files")).ok();
            Watching::new(watcher, orders).run(&inbox);
        })?;
        Ok(Watch(sender))
    }

    /// Watches `watched` from now on, and nothing else. Who reads those files began to do so at `since`: one that is new
    /// here and was changed after that counts as edited.
    pub fn set(&self, watched: Watched, since: SystemTime) {
        let _ = self.0.send(Message::Set(watched, since));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.send(Message::Stop);
    }
}

/// What tells one state of a file from another; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    /// Who may do what: of a directory above a trust policy that matters as well.
    mode: u32,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    fn of(path: &Path) -> Option<Print> {
        let found = path.metadata().ok()?;
        Some(Print {
            device: found.dev(),
            inode: found.ino(),
            mode: found.mode(),
            // The size and times of a directory change with every file in it.
            bytes: if found.is_dir() { 0 } else { found.size() },
            modified: if found.is_dir() { (0, 0) } else { (found.mtime(), found.mtime_nsec()) },
            changed: if found.is_dir() { (0, 0) } else { (found.ctime(), found.ctime_nsec()) },
        })
    }

    fn is_after(&self, since: SystemTime) -> bool {
        let since = since.checked_sub(CLOCK_GRAIN).and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.changed >= (seconds, i64::from(since.subsec_nanos()))
    }
}

/// The state of the thread that watches.
struct Watching {
    watcher: Option<RecommendedWatcher>,
    orders: Sender<Order>,
    watched: Watched,
    prints: BTreeMap<PathBuf, Option<Print>>,
    /// Where an event means that something watched may have changed: each link, file and missing step on the way.
    ways: BTreeSet<PathBuf>,
    /// The directories that the system tells about, each with what it was when that began.
    armed: BTreeMap<PathBuf, Option<Print>>,
    /// Some directory cannot be watched.
    is_blind: bool,
}

impl Watching {
    fn new(watcher: Option<RecommendedWatcher>, orders: Sender<Order>) -> Watching {
        Watching {
            is_blind: watcher.is_none(),
            watcher,
            orders,
            watched: Watched::default(),
            prints: BTreeMap::new(),
            ways: BTreeSet::new(),
            armed: BTreeMap::new(),
        }
    }

    fn run(&mut self, inbox: &Receiver<Message>) {
        let mut gathering = Gathering::default();
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            let every = if self.is_blind { LOOK_WITHOUT_EVENTS } else { LOOK };
            let next = gathering.done().unwrap_or(looked + every).min(looked + every);
            match inbox.recv_timeout(next.saturating_duration_since(now)) {
                Ok(Message::Event(event)) => {
                    if self.concerns(&event) {
                        gathering.hint(Instant::now());
                    }
                }
                Ok(Message::Set(watched, since)) => {
                    if self.set(watched, since) {
                        gathering.hint(Instant::now());
                    }
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    gathering = Gathering::default();
                    looked = Instant::now();
                    self.look();
                }
            }
            // Events of others may come without a pause; the look is due all the same.
            if gathering.done().is_some_and(|done| done <= Instant::now()) {
                gathering = Gathering::default();
                looked = Instant::now();
                self.look();
            }
        }
    }

    /// Takes what is watched from now on, and tells whether something of it was edited since its readers began.
    fn set(&mut self, watched: Watched, since: SystemTime) -> bool {
        self.watched = watched;
        // The directories first: what happens behind this look must be told.
        self.arm();
        let mut was_edited = false;
        let known = std::mem::take(&mut self.prints);
        for path in self.watched.0.keys() {
            let print = match known.get(path) {
                Some(print) => *print,
                None => match Print::of(path) {
                    // Whatever it was when it was read, it was not this.
                    Some(print) if print.is_after(since) => {
                        was_edited = true;
                        None
                    }
                    print => print,
                },
            };
            self.prints.insert(path.clone(), print);
        }
        was_edited
    }

    /// Looks at everything, orders what follows from edits, and watches the directories that matter now.
    fn look(&mut self) {
        let mut readers = BTreeSet::new();
        // The directories first: what happens behind this look must be told.
        self.arm();
        for (path, by) in &self.watched.0 {
            let print = Print::of(path);
            if self.prints.insert(path.clone(), print) != Some(print) {
                debug!(path = %path.display(), "edited");
                readers.extend(by.iter().cloned());
            }
        }
        if readers.is_empty() {
            return;
        }
        let sources: Vec<SourceId> = readers
            .iter()
            .filter_map(|reader| match reader {
                Reader::Source(id) => Some(id.clone()),
                Reader::Configuration | Reader::Policy => None,
            })
            .collect();
        let is_configuration = readers.contains(&Reader::Configuration);
        let is_policy = readers.contains(&Reader::Policy);
        info!(
            configuration = is_configuration,
            policy = is_policy,
            sources = sources.len(),
            "files were edited"
        );
        if is_policy && !is_configuration {
            let _ = self.orders.send(Order::Judge);
        }
        if !is_configuration && sources.is_empty() {
            return;
        }
        // A reload reads policies and every source again. Nobody takes orders from a daemon that stops.
        let _ = self.orders.send(match is_configuration {
            true => Order::Reload { reply: None },
            false => Order::Sync { sources, reply: None },
        });
    }

    /// Asks the system about the directories of every way, and about no others.
    fn arm(&mut self) {
        self.ways = self.watched.0.keys().flat_map(|path| way(path)).collect();
        let wanted: BTreeSet<PathBuf> =
            self.ways.iter().filter_map(|step| step.parent()).map(Path::to_owned).collect();
        let Some(watcher) = &mut self.watcher else { return };
        let identity = |path: &Path| Print::of(path);
        // A directory that was replaced has its old name and is another one.
        let stale: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(path, print)| !wanted.contains(*path) || identity(path) != **print)
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            // The system forgets a directory that is gone by itself.
            let _ = watcher.unwatch(&path);
            self.armed.remove(&path);
        }
        let mut fault = None;
        for path in wanted {
            if self.armed.contains_key(&path) {
                continue;
            }
            let print = identity(&path);
            let room = self.armed.len() < DIRECTORIES_MAX;
            match room.then(|| watcher.watch(&path, RecursiveMode::NonRecursive)) {
                Some(Ok(())) => {
                    self.armed.insert(path, print);
                }
                Some(Err(error)) => fault = Some(error.to_string()),
                None => fault = Some(format!("more than {DIRECTORIES_MAX} directories hold watched files")),
            }
        }
        if let (false, Some(fault)) = (self.is_blind, &fault) {
            warn!(fault, "some files are looked at every {} s instead", LOOK_WITHOUT_EVENTS.as_secs());
        }
        self.is_blind = fault.is_some();
    }

    fn concerns(&self, event: &notify::Result<Event>) -> bool {
        let Ok(event) = event else { return true };
        let is_read = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        };
        let touches =
            |path: &PathBuf| self.ways.range(path.clone()..).next().is_some_and(|way| way.starts_with(path));
        event.need_rescan() || (!is_read && event.paths.iter().any(touches))
    }
}

/// Hints that are gathered until a look is worth it.
#[derive(Debug, Default, Clone, Copy)]
struct Gathering(Option<(Instant, Instant)>);

impl Gathering {
    fn hint(&mut self, now: Instant) {
        let first = self.0.map_or(now, |(first, _)| first);
        self.0 = Some((first, now));
    }

    /// Returns when the look is due, where there was a hint.
    fn done(&self) -> Option<Instant> {
        self.0.map(|(first, last)| (last + QUIET).min(first + GATHER_MAX))
    }
}

/// Returns the steps on the way to `path` at which a change may lead elsewhere: each link, and the file in the end or the
/// first step that is missing. The directories before each of them exist and are no links.
fn way(path: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| -> VecDeque<OsString> {
        path.components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir | Component::Prefix(_)))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let (mut steps, mut at, mut rest) = (Vec::new(), PathBuf::from("/"), parts(path));
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match next.symlink_metadata() {
            Ok(found) if found.is_symlink() => {
                steps.push(next.clone());
                let Ok(target) = std::fs::read_link(&next) else { return steps };
                if steps.len() > LINKS_MAX {
                    return steps;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut onward = parts(&target);
                onward.append(&mut rest);
                rest = onward;
            }
            Ok(_) if rest.is_empty() => {
                steps.push(next);
                return steps;
            }
            Ok(found) if found.is_dir() => at = next,
            // A file where a directory should be, or nothing yet.
            Ok(_) | Err(_) => {
                steps.push(next);
                return steps;
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests;
