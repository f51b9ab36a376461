//! Changes of several files of a workspace as one: all of them or none, whenever the process ends.
//!
//! ```text
//! .resolverd-install/        below the workspace, so that every move stays on one file system; no archive has such a path
//!     new/<n>                the bytes that step n brings, synced before anything else happens
//!     old/<n>                what lay there before, moved aside
//!     journal.json           the steps; from the moment at which it is there the change is decided
//!     journal.done           the same, once all of them are done or taken back
//! ```
//! 1. Everything new is written aside and synced, then the journal.
//! 2. Each step moves what is there aside and what is new into its place. The last step is the workspace's own file.
//! 3. The journal becomes `journal.done`: whatever lies in `old/` is needed no more. Then all of it goes, that file last.
//!
//! Whoever finds a directory with neither file throws it away, for nothing was moved yet and `old/` is empty. Where it is not, somebody
//! took the journal away: nothing is thrown away then, for what lies there is nowhere else.
//!
//! A run that finds a journal finishes it. Where a step fails, also of such a run, the steps are undone, last one first. A file that is
//! neither what lay there nor what is brought stops both: somebody has changed it meanwhile. Links are never followed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::MANIFEST;
use catalogue_schema::dialect::estream::workspace::{WORKSPACE, is_place};
use catalogue_schema::digest::Digest;
use catalogue_schema::path::DocPath;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where changes are prepared, below the workspace. Paths that begin so are reserved.
pub const STAGING: &str = ".resolverd-install";
/// What [`look`] says of a directory.
pub const DIRECTORY: &str = "a directory";
/// What [`blocked`] says of a file where a directory is needed.
pub const FILE: &str = "a file, no directory";
const JOURNAL: &str = "journal.json";
/// What the journal is called once the change is complete or taken back.
const DONE: &str = "journal.done";
/// Where what lay there before is moved to.
const OLD: &str = "old";
const SCHEMA: &str = "resolverd/install@1";
/// The largest journal that is read, in bytes.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// The largest file whose bytes are compared with what a journal says, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 16;

/// What stops a change.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused something.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What lies there is none of what the change knows.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Found {
        /// Where.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// The journal cannot be read: where the files belong that were moved aside is known from nothing else.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Journal {
        /// Where it lies.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// Files were moved aside, and the journal that says where they belong is gone.
    #[error("{} holds files that an install moved aside, and there is no journal.json that says where they belong", path.display())]
    Left {
        /// Where they lie.
        path: PathBuf,
    },
    /// A step failed, and so did taking the steps back; the journal is kept.
    #[error("{first}; then taking it back: {then}")]
    Stuck {
        /// Why the change stopped.
        first: Box<JournalError>,
        /// Why it could not be taken back.
        then: Box<JournalError>,
    },
}

/// One file that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Where it lies, from the top of the workspace.
    pub path: DocPath,
    /// SHA-256 of what lies there; `None` where nothing does.
    pub old: Option<Digest>,
    /// SHA-256 of what will lie there; `None` where nothing will.
    pub new: Option<Digest>,
    /// It may be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Where the bytes of a step come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bytes {
    /// There are none.
    None,
    /// A file, which must have the digest that the step names.
    File(PathBuf),
    /// These.
    Text(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct Journal {
    schema: String,
    steps: Vec<Step>,
}

/// What lies at a place, looked at without following links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A file with this SHA-256.
    File(Digest),
    /// Something else, in words.
    Other(&'static str),
}

/// Asked before every change to the disk; an error stops there. Tests stop everywhere once.
type Pulse<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// Changes files: all of them or none. The caller holds the lock of the workspace.
///
/// **Errors**: why nothing was changed; [`JournalError::Stuck`] where the next run has to go on.
pub fn change(root: &Path, steps: &[(Step, Bytes)]) -> Result<(), JournalError> {
    changed(root, steps, &mut || Ok(()))
}

fn changed(root: &Path, steps: &[(Step, Bytes)], pulse: Pulse<'_>) -> Result<(), JournalError> {
    if steps.is_empty() {
        return Ok(());
    }
    let staged = stage(root, steps, pulse);
    if let Err(error) = staged {
        // What was only prepared is thrown away; the next run does it where this fails.
        return match withdraw(&root.join(STAGING)) {
            Err(then) if is_unfinished(root) => {
                Err(JournalError::Stuck { first: Box::new(error), then: Box::new(then) })
            }
            _ => Err(error),
        };
    }
    let steps: Vec<Step> = steps.iter().map(|(step, _)| step.clone()).collect();
    carry_out(root, &steps, pulse)
}

/// Finishes or takes back what an ended process has begun; `true` where there was something. The caller holds the lock.
///
/// **Errors**: neither can be done; nothing is lost, and the message names what stands in the way.
pub fn recover(root: &Path) -> Result<bool, JournalError> {
    let staging = root.join(STAGING);
    let Some(journal) = read(root)? else {
        kept(&staging)?;
        discard(&staging)?;
        return Ok(false);
    };
    carry_out(root, &journal, &mut || Ok(())).map(|()| true)
}

/// Tells whether an ended process has left a change half-done.
pub fn is_unfinished(root: &Path) -> bool {
    root.join(STAGING).join(JOURNAL).symlink_metadata().is_ok()
}

fn carry_out(root: &Path, steps: &[Step], pulse: Pulse<'_>) -> Result<(), JournalError> {
    if let Err(first) = forward(root, steps, pulse) {
        return match backward(root, steps, pulse).and_then(|()| close(root, pulse)) {
            Ok(()) => Err(first),
            Err(then) => Err(JournalError::Stuck { first: Box::new(first), then: Box::new(then) }),
        };
    }
    close(root, pulse)
}

/// Looks at a place.
///
/// **Errors**: it cannot be read.
pub fn look(path: &Path) -> Result<There, JournalError> {
    let failed = failed("read", path);
    let found = match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(There::Nothing);
        }
        found => match found {
            Ok(found) => found,
            Err(error) => return Err(failed(error)),
        },
    };
    if found.is_symlink() {
        return Ok(There::Other("a link"));
    }
    if found.is_dir() {
        return Ok(There::Other(DIRECTORY));
    }
    if !found.is_file() {
        return Ok(There::Other("no regular file"));
    }
    hashed(path).map(There::File).map_err(failed)
}

/// Says which directory above a path leads elsewhere, or is none; `None` where the way is clear.
pub fn blocked(root: &Path, path: &DocPath) -> Option<(PathBuf, &'static str)> {
    let mut place = root.to_owned();
    let segments: Vec<&str> = path.segments().collect();
    for segment in &segments[..segments.len() - 1] {
        place.push(segment);
        match place.symlink_metadata() {
            Ok(found) if found.is_symlink() => return Some((place, "a link")),
            Ok(found) if found.is_file() => return Some((place, FILE)),
            Ok(found) if !found.is_dir() => return Some((place, "no directory")),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    None
}

/// Returns the SHA-256 of a file, which is read piece by piece: nobody says how large a file of somebody else is.
fn hashed(path: &Path) -> io::Result<Digest> {
    let mut file = opened(path)?.take(FILE_BYTES_MAX + 1);
    let (mut hash, mut piece, mut bytes) = (Sha256::new(), vec![0; PIECE_BYTES], 0);
    loop {
        match file.read(&mut piece)? {
            0 if bytes > FILE_BYTES_MAX => {
                return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
            }
            0 => return Ok(Digest::from_sha256(hash.finalize().into())),
            read => {
                hash.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Opens a file; a pipe that took its place would otherwise be waited for.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)
}

/// Reads a file of at most so many bytes.
///
/// **Errors**: the system's; the file is larger.
pub fn bytes_of(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opened(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
        false => Ok(bytes),
    }
}

fn stage(root: &Path, steps: &[(Step, Bytes)], pulse: Pulse<'_>) -> Result<(), JournalError> {
    let staging = root.join(STAGING);
    pulsed(pulse, "create", &staging)?;
    for place in [&staging, &staging.join("new"), &staging.join(OLD)] {
        DirBuilder::new().mode(0o700).create(place).map_err(failed("create the directory", place))?;
    }
    for (index, (step, bytes)) in steps.iter().enumerate() {
        let Some(expected) = &step.new else { continue };
        let place = staging.join("new").join(index.to_string());
        pulsed(pulse, "write", &place)?;
        let content = match bytes {
            Bytes::None => Vec::new(),
            Bytes::Text(bytes) => bytes.clone(),
            Bytes::File(from) => bytes_of(from, FILE_BYTES_MAX).map_err(failed("read", from))?,
        };
        let found = Digest::sha256(&content);
        if found != *expected {
            let path = match bytes {
                Bytes::File(from) => from.clone(),
                _ => root.join(step.path.as_text()),
            };
            let (expected, found) = (format!("bytes of {expected}"), found.to_string());
            return Err(JournalError::Found { path, expected, found });
        }
        let mode = if step.executable { 0o777 } else { 0o666 };
        write(&place, &content, mode)?;
        // What somebody hid from others stays hidden; what a component brings has the mode that the archive says.
        if let (Bytes::Text(_), Ok(found)) = (bytes, root.join(step.path.as_text()).symlink_metadata())
            && found.is_file()
        {
            let kept = fs::Permissions::from_mode(found.permissions().mode() & 0o777);
            fs::set_permissions(&place, kept).map_err(failed("set the mode of", &place))?;
        }
    }
    // One after the other they would each wait for the disk; written first, they are mostly there by now.
    for (index, _) in steps.iter().enumerate().filter(|(_, (step, _))| step.new.is_some()) {
        let place = staging.join("new").join(index.to_string());
        sync(&place)?;
    }
    sync(&staging.join("new"))?;
    let all: Vec<&Step> = steps.iter().map(|(step, _)| step).collect();
    let text = serde_json::json!({ "schema": SCHEMA, "steps": all }).to_string();
    let aside = staging.join("journal.new");
    pulsed(pulse, "write", &aside)?;
    write(&aside, text.as_bytes(), 0o600)?;
    sync(&aside)?;
    let place = staging.join(JOURNAL);
    pulsed(pulse, "write", &place)?;
    fs::rename(&aside, &place).map_err(failed("write", &place))?;
    sync(&staging)?;
    sync(root)
}

/// Moves everything into its place. What is there already is passed over, so that it may be done again. The order in which moves
/// reach the disk does not count: each step is looked at by itself, and the journal stays until all of them are there.
fn forward(root: &Path, steps: &[Step], pulse: Pulse<'_>) -> Result<(), JournalError> {
    let mut touched = BTreeSet::from([root.join(STAGING).join("new"), root.join(STAGING).join(OLD)]);
    for (index, step) in steps.iter().enumerate() {
        let (new, old) = places(root, index);
        let is_moved_aside = is_aside(&old, step)?;
        if step.new.is_none()
            && is_moved_aside
            && blocked(root, &step.path).is_some_and(|(_, what)| what == FILE)
        {
            // Done before, and a file that a later step brings has taken the place of its directory.
            continue;
        }
        let target = clear(root, step)?;
        let found = look(&target)?;
        match (look(&new)?, &step.new) {
            (_, None) => {}
            // Done by somebody before; what lies there may be what it is by now.
            (There::Nothing, _) => continue,
            (There::File(digest), Some(expected)) if digest == *expected => {}
            (staged, Some(expected)) => {
                let expected = format!("the file of {expected} that is to go to {}", step.path);
                return Err(JournalError::Found { path: new, expected, found: in_words(&staged) });
            }
        }
        match (&found, &step.old) {
            (There::Nothing, _) if step.new.is_none() => continue,
            (There::Nothing, _) => {}
            (There::File(digest), Some(before)) if digest == before => {
                pulsed(pulse, "move aside", &target)?;
                fs::rename(&target, &old).map_err(failed("move aside", &target))?;
                // Between the look and the move somebody may have written there: then it goes back.
                is_aside(&old, step)?;
            }
            (There::File(digest), _) if Some(digest) == step.new.as_ref() => {}
            _ if step.new.is_none() && is_moved_aside => continue,
            _ => return Err(unknown(&target, step, &found)),
        }
        let parent = target.parent().unwrap_or(root);
        if step.new.is_some() {
            pulsed(pulse, "create the directory", parent)?;
            fs::create_dir_all(parent).map_err(failed("create the directory", parent))?;
            pulsed(pulse, "write", &target)?;
            let is_there = matches!(&found, There::File(digest) if Some(digest) == step.new.as_ref());
            put(&new, &target, is_there).map_err(failed("write", &target))?;
        }
        if step.new.is_none() {
            prune(root, &step.path);
        }
    }
    steps.iter().for_each(|step| note(&mut touched, root, &step.path));
    sync_all(&touched)
}

/// Tells whether what a step replaces or removes was moved aside.
///
/// **Errors**: what was moved aside is not what lay there when the change was planned.
fn is_aside(old: &Path, step: &Step) -> Result<bool, JournalError> {
    match (look(old)?, &step.old) {
        (There::Nothing, _) => Ok(false),
        (There::File(digest), Some(before)) if digest == *before => Ok(true),
        (found, _) => Err(unknown(old, step, &found)),
    }
}

/// Moves a file to its place; where nothing was found there, nothing is replaced that came meanwhile.
fn put(new: &Path, target: &Path, is_there: bool) -> io::Result<()> {
    if is_there {
        return fs::rename(new, target);
    }
    match renameat_with(CWD, new, CWD, target, RenameFlags::NOREPLACE) {
        // Some file systems cannot promise that.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(new, target),
        moved => moved.map_err(io::Error::from),
    }
}

/// Puts everything back as it was, last step first.
fn backward(root: &Path, steps: &[Step], pulse: Pulse<'_>) -> Result<(), JournalError> {
    let mut touched = BTreeSet::from([root.join(STAGING).join("new"), root.join(STAGING).join(OLD)]);
    for (index, step) in steps.iter().enumerate().rev() {
        let (new, old) = places(root, index);
        let is_placed = step.new.is_some() && look(&new)? == There::Nothing;
        if !is_placed && look(&old)? == There::Nothing {
            prune(root, &step.path);
            continue;
        }
        let target = clear(root, step)?;
        if is_placed {
            match look(&target)? {
                There::Nothing => {}
                There::File(digest) if Some(&digest) == step.new.as_ref() => {
                    pulsed(pulse, "take back", &target)?;
                    fs::rename(&target, &new).map_err(failed("take back", &target))?;
                }
                found => return Err(unknown(&target, step, &found)),
            }
        }
        if look(&old)? != There::Nothing {
            let parent = target.parent().unwrap_or(root);
            pulsed(pulse, "put back", &target)?;
            fs::create_dir_all(parent).map_err(failed("create the directory", parent))?;
            match look(&target)? {
                There::Nothing => put(&old, &target, false).map_err(failed("put back", &target))?,
                // Somebody has put the same bytes back.
                There::File(digest) if Some(&digest) == step.old.as_ref() => {
                    fs::remove_file(&old).map_err(failed("remove", &old))?;
                }
                found => return Err(unknown(&target, step, &found)),
            }
        }
        prune(root, &step.path);
    }
    let steps = steps.iter().filter(|step| blocked(root, &step.path).is_none());
    steps.for_each(|step| note(&mut touched, root, &step.path));
    sync_all(&touched)
}

/// Ends a change that is complete or taken back: the journal first, so that nobody goes on with it.
fn close(root: &Path, pulse: Pulse<'_>) -> Result<(), JournalError> {
    let staging = root.join(STAGING);
    let journal = staging.join(JOURNAL);
    pulsed(pulse, "close", &journal)?;
    fs::rename(&journal, staging.join(DONE)).map_err(failed("close", &journal))?;
    sync(&staging)?;
    // The change is done; what is left is thrown away by the next run where this fails.
    let _ = pulse().map(|()| discard(&staging));
    Ok(())
}

fn read(root: &Path) -> Result<Option<Vec<Step>>, JournalError> {
    let staging = root.join(STAGING);
    match staging.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &staging)(error)),
        Ok(found) if !found.is_dir() => {
            let (expected, found) = ("a directory of its own".to_owned(), "something else".to_owned());
            return Err(JournalError::Found { path: staging, expected, found });
        }
        Ok(_) => {}
    }
    let place = staging.join(JOURNAL);
    let bytes = match bytes_of(&place, JOURNAL_BYTES_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(failed("read", &place))?,
    };
    let refused = |expected: &str, found: String| {
        Err(JournalError::Journal { path: place.clone(), expected: expected.to_owned(), found })
    };
    match serde_json::from_slice::<Journal>(&bytes) {
        Ok(journal) if journal.schema == SCHEMA => {
            // An install changes nothing else: somebody else has written that.
            match journal.steps.iter().find(|step| !is_changed_here(&step.path)) {
                None => Ok(Some(journal.steps)),
                Some(step) => {
                    refused("steps below the directories of an install", format!("a step for {}", step.path))
                }
            }
        }
        Ok(journal) => refused(SCHEMA, journal.schema),
        Err(error) => refused("the journal of an install", error.to_string()),
    }
}

/// Tells that nothing lies aside of which nobody knows where it belongs.
fn kept(staging: &Path) -> Result<(), JournalError> {
    let old = staging.join(OLD);
    let is_done = staging.join(DONE).symlink_metadata().is_ok();
    let mut aside = match fs::read_dir(&old) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        aside => aside.map_err(failed("read", &old))?,
    };
    match aside.next() {
        Some(_) if !is_done => Err(JournalError::Left { path: old }),
        _ => Ok(()),
    }
}

/// Tells whether an install may change the file at a path.
fn is_changed_here(path: &DocPath) -> bool {
    is_place(path) || [WORKSPACE, MANIFEST].contains(&path.as_text())
}

/// Returns the place of a step, where no link leads elsewhere.
fn clear(root: &Path, step: &Step) -> Result<PathBuf, JournalError> {
    match blocked(root, &step.path) {
        None => Ok(root.join(step.path.as_text())),
        Some((path, found)) => {
            let (expected, found) = ("a directory of the workspace".to_owned(), found.to_owned());
            Err(JournalError::Found { path, expected, found })
        }
    }
}

fn places(root: &Path, index: usize) -> (PathBuf, PathBuf) {
    let (staging, name) = (root.join(STAGING), index.to_string());
    (staging.join("new").join(&name), staging.join(OLD).join(&name))
}

fn unknown(target: &Path, step: &Step, found: &There) -> JournalError {
    let expected = match &step.old {
        Some(digest) => format!("the file of {digest} that was there"),
        None => "nothing".to_owned(),
    };
    JournalError::Found { path: target.to_owned(), expected, found: in_words(found) }
}

fn in_words(found: &There) -> String {
    match found {
        There::Nothing => "nothing".to_owned(),
        There::File(digest) => format!("a file of {digest}, changed meanwhile"),
        There::Other(what) => (*what).to_owned(),
    }
}

/// Removes the directories above a file that is gone, as far as they are empty.
fn prune(root: &Path, path: &DocPath) {
    if blocked(root, path).is_some() {
        return;
    }
    let mut above = path.parent();
    while let Some(directory) = above {
        if fs::remove_dir(root.join(directory.as_text())).is_err() {
            return;
        }
        above = directory.parent();
    }
}

/// Throws away what was prepared for a change of which no step was made. A journal that is there already goes first, durably: whoever
/// finds one makes all of its steps, and would make a part of them where a part of what was prepared is gone.
fn withdraw(staging: &Path) -> Result<(), JournalError> {
    let journal = staging.join(JOURNAL);
    match fs::remove_file(&journal) {
        Ok(()) => sync(staging)?,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(error) => return Err(failed("remove", &journal)(error)),
    }
    discard(staging)
}

/// Removes the directory of a change. What lies in it is ours alone; a link in its place is not followed.
fn discard(staging: &Path) -> Result<(), JournalError> {
    match staging.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_dir() => {
            let old = staging.join(OLD);
            // It goes while it is still told that nobody needs it.
            if old.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
                sync(staging)?;
            }
            fs::remove_dir_all(staging).map_err(failed("remove", staging))
        }
        Ok(_) => {
            let (expected, found) = ("a directory of its own".to_owned(), "something else".to_owned());
            Err(JournalError::Found { path: staging.to_owned(), expected, found })
        }
        Err(error) => Err(failed("read", staging)(error)),
    }
}

fn write(place: &Path, bytes: &[u8], mode: u32) -> Result<(), JournalError> {
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
        file.write_all(bytes)
    })();
    written.map_err(failed("write", place))
}

/// Makes a file, or the names in a directory, outlive a power cut.
fn sync(place: &Path) -> Result<(), JournalError> {
    File::open(place).and_then(|open| open.sync_all()).map_err(failed("sync", place))
}

/// Makes the names in all of these directories, as far as they are still there, outlive a power cut.
fn sync_all(directories: &BTreeSet<PathBuf>) -> Result<(), JournalError> {
    directories.iter().filter(|place| place.is_dir()).try_for_each(|place| sync(place))
}

/// Notes the directories from the one that holds a file up to the top of the workspace.
fn note(touched: &mut BTreeSet<PathBuf>, root: &Path, path: &DocPath) {
    let mut above = path.parent();
    while let Some(directory) = above {
        above = directory.parent();
        if !touched.insert(root.join(directory.as_text())) {
            return;
        }
    }
    touched.insert(root.to_owned());
}

fn pulsed(pulse: Pulse<'_>, act: &'static str, path: &Path) -> Result<(), JournalError> {
    pulse().map_err(failed(act, path))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::File { act, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    type Tree = BTreeMap<String, String>;

    fn tree(root: &Path) -> Tree {
        let (mut found, mut open) = (Tree::new(), vec![root.to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    open.push(entry);
                } else {
                    let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.insert(path, fs::read_to_string(entry).unwrap());
                }
            }
        }
        found
    }

    fn laid(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let place = root.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        root
    }

    fn step(path: &str, old: Option<&str>, new: Option<&str>) -> (Step, Bytes) {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let (path, old) = (DocPath::parse(path).unwrap(), old.map(digest));
        let bytes = new.map_or(Bytes::None, |text| Bytes::Text(text.as_bytes().to_vec()));
        (Step { path, old, new: new.map(digest), executable: false }, bytes)
    }

    const BEFORE: &[(&str, &str)] = &[
        ("schemas/x", "old x"),
        ("schemas/gone", "old gone"),
        ("estream-workspace.toml", "old w"),
        ("mine", "mine"),
    ];

    fn steps() -> Vec<(Step, Bytes)> {
        vec![
            step("schemas/x", Some("old x"), Some("new x")),
            step("adapters/c/new", None, Some("new file")),
            step("schemas/gone", Some("old gone"), None),
            step("estream-workspace.toml", Some("old w"), Some("new w")),
        ]
    }

    fn owned(files: &[(&str, &str)]) -> Tree {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    fn after() -> Tree {
        owned(&[
            ("schemas/x", "new x"),
            ("adapters/c/new", "new file"),
            ("estream-workspace.toml", "new w"),
            ("mine", "mine"),
        ])
    }

    /// Stops at the `n`th change to the disk and at every later one.
    fn stopping(n: usize) -> impl FnMut() -> io::Result<()> {
        let mut count = 0;
        move || {
            count += 1;
            if count > n { Err(io::Error::other("stopped")) } else { Ok(()) }
        }
    }

    #[test]
    fn all_changes_are_made_and_nothing_is_left_beside_them() {
        let root = laid(BEFORE);
        change(root.path(), &steps()).unwrap();
        assert_eq!(tree(root.path()), after());
        assert!(!root.path().join(STAGING).exists());
    }

    #[test]
    fn a_run_that_stops_anywhere_is_finished_or_undone_by_the_next() {
        let (mut finished, mut undone) = (0, 0);
        for n in 0..200 {
            let root = laid(BEFORE);
            // As a killed process: nothing is tidied up.
            let ended = stage(root.path(), &steps(), &mut stopping(n)).and_then(|()| {
                let only: Vec<Step> = steps().into_iter().map(|(step, _)| step).collect();
                let mut counted = stopping(n.saturating_sub(7));
                forward(root.path(), &only, &mut counted).and_then(|()| close(root.path(), &mut counted))
            });
            recover(root.path()).unwrap();
            assert!(!root.path().join(STAGING).exists(), "{n}");
            match tree(root.path()) {
                found if found == after() => finished += 1,
                found => {
                    assert_eq!(found, owned(BEFORE), "{n}");
                    undone += 1;
                }
            }
            if ended.is_ok() {
                assert_eq!(tree(root.path()), after());
                assert!(finished > 8 && undone > 5, "{finished} {undone}");
                return;
            }
        }
        panic!("it never ended");
    }

    #[test]
    fn a_run_that_stops_while_it_takes_back_is_finished_by_the_next() {
        let only: Vec<Step> = steps().into_iter().map(|(step, _)| step).collect();
        for n in 0..14 {
            for m in (n % 3..14).step_by(3) {
                let root = laid(BEFORE);
                stage(root.path(), &steps(), &mut || Ok(())).unwrap();
                let _ = forward(root.path(), &only, &mut stopping(n));
                let _ = backward(root.path(), &only, &mut stopping(m));
                if (n + m) % 2 == 0 {
                    // Whoever takes over may be stopped as well.
                    let _ = forward(root.path(), &only, &mut stopping(m));
                }
                recover(root.path()).unwrap();
                assert!(!root.path().join(STAGING).exists(), "{n} {m}");
                assert_eq!(tree(root.path()), after(), "{n} {m}");
            }
        }
        // Put back by somebody else meanwhile: nothing is lost, nothing stays behind.
        let root = laid(BEFORE);
        stage(root.path(), &steps(), &mut || Ok(())).unwrap();
        forward(root.path(), &only[..3], &mut stopping(1)).unwrap_err();
        fs::copy(root.path().join(STAGING).join("old/0"), root.path().join("schemas/x")).unwrap();
        recover(root.path()).unwrap();
        assert_eq!(tree(root.path()), after());
    }

    #[test]
    fn a_step_that_fails_takes_the_others_back() {
        for n in 0..200 {
            let root = laid(BEFORE);
            let mut count = 0;
            let ended = changed(root.path(), &steps(), &mut || {
                count += 1;
                if count == n + 1 { Err(io::Error::other("no room")) } else { Ok(()) }
            });
            let found = tree(root.path());
            match ended {
                Err(error) => {
                    assert!(error.to_string().contains("no room"), "{error}");
                    if found != owned(BEFORE) {
                        // Everything is in its place, and only the end was not told.
                        recover(root.path()).unwrap();
                        assert_eq!(tree(root.path()), after(), "{n}");
                    }
                }
                Ok(()) if count <= n => {
                    assert_eq!(found, after());
                    return;
                }
                Ok(()) => {
                    recover(root.path()).unwrap();
                    assert_eq!(tree(root.path()), after(), "{n}");
                }
            }
        }
        panic!("it never ended");
    }

    #[test]
    fn what_somebody_changed_meanwhile_is_not_lost() {
        let root = laid(BEFORE);
        let all = steps();
        let only: Vec<Step> = all.iter().map(|(step, _)| step.clone()).collect();
        stage(root.path(), &all, &mut || Ok(())).unwrap();
        forward(root.path(), &only[..1], &mut || Ok(())).unwrap();
        fs::write(root.path().join("schemas/gone"), "edited").unwrap();
        let error = recover(root.path()).unwrap_err().to_string();
        assert!(error.contains("schemas/gone") && error.contains("changed meanwhile"), "{error}");
        let mut expected = owned(BEFORE);
        expected.insert("schemas/gone".to_owned(), "edited".to_owned());
        assert_eq!(tree(root.path()), expected, "the first step is taken back");
        assert!(!is_unfinished(root.path()));
    }

    #[test]
    fn staged_bytes_that_were_exchanged_are_not_put_in_place() {
        let root = laid(BEFORE);
        let staged = |name: &str| root.path().join(STAGING).join(name);
        stage(root.path(), &steps(), &mut || Ok(())).unwrap();
        fs::write(staged("new/1"), "another").unwrap();
        let error = recover(root.path()).unwrap_err().to_string();
        assert!(error.contains("adapters/c/new") && error.contains("new/1"), "{error}");
        assert_eq!(tree(root.path()), owned(BEFORE));
        assert!(!staged("").exists() || !is_unfinished(root.path()));
        recover(root.path()).unwrap();
        // A link is nothing that was staged, and neither is one that leads to the same bytes.
        stage(root.path(), &steps(), &mut || Ok(())).unwrap();
        fs::rename(staged("new/1"), root.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.path().join("elsewhere"), staged("new/1")).unwrap();
        let error = recover(root.path()).unwrap_err().to_string();
        assert!(error.contains("a link"), "{error}");
        assert!(!root.path().join("adapters").exists());
    }

    #[test]
    fn a_journal_reaches_nothing_but_what_an_install_changes() {
        let root = laid(BEFORE);
        let steps = [step("mine", Some("mine"), Some("theirs"))];
        stage(root.path(), &steps, &mut || Ok(())).unwrap();
        let error = recover(root.path()).unwrap_err().to_string();
        assert!(error.contains("a step for mine"), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("mine")).unwrap(), "mine");
    }

    #[test]
    fn what_was_moved_aside_is_thrown_away_by_nobody_who_does_not_know_where_it_belongs() {
        let root = laid(BEFORE);
        let only: Vec<Step> = steps().into_iter().map(|(step, _)| step).collect();
        stage(root.path(), &steps(), &mut || Ok(())).unwrap();
        forward(root.path(), &only[..1], &mut || Ok(())).unwrap();
        let staged = |name: &str| root.path().join(STAGING).join(name);
        let journal = fs::read(staged(JOURNAL)).unwrap();
        fs::write(staged(JOURNAL), &journal[..journal.len() / 2]).unwrap();
        let error = recover(root.path()).unwrap_err();
        assert!(matches!(error, JournalError::Journal { .. }), "{error}");
        fs::remove_file(staged(JOURNAL)).unwrap();
        let error = recover(root.path()).unwrap_err();
        assert!(matches!(&error, JournalError::Left { path } if *path == staged(OLD)), "{error}");
        assert_eq!(fs::read_to_string(staged("old/0")).unwrap(), "old x");
        fs::write(staged(JOURNAL), journal).unwrap();
        assert!(recover(root.path()).unwrap());
        assert_eq!(tree(root.path()), after());
        // What is done is thrown away, also by the next run, and so is what was never begun.
        stage(root.path(), &steps(), &mut || Ok(())).unwrap();
        fs::rename(staged(JOURNAL), staged(DONE)).unwrap();
        fs::write(staged("old/0"), "old x").unwrap();
        assert!(!recover(root.path()).unwrap() && !root.path().join(STAGING).exists());
    }

    #[test]
    fn a_file_becomes_a_directory_and_back_wherever_it_stops() {
        let removed = |path, old| step(path, Some(old), None);
        let (file, below) = (("schemas/a", "file"), ("schemas/a/b", "below"));
        for (before, after) in [(file, below), (below, file)] {
            let steps = [removed(before.0, before.1), step(after.0, None, Some(after.1))];
            let only: Vec<Step> = steps.iter().map(|(step, _)| step.clone()).collect();
            for n in 0..12 {
                let root = laid(&[before]);
                stage(root.path(), &steps, &mut || Ok(())).unwrap();
                let _ = forward(root.path(), &only, &mut stopping(n));
                if n % 2 == 1 {
                    let _ = backward(root.path(), &only, &mut stopping(n / 2));
                }
                recover(root.path()).unwrap();
                assert_eq!(tree(root.path()), owned(&[after]), "{n}");
                let root = laid(&[before]);
                let mut count = 0;
                let ended = changed(root.path(), &steps, &mut || {
                    count += 1;
                    if count == n + 1 { Err(io::Error::other("no room")) } else { Ok(()) }
                });
                if ended.is_err() && !is_unfinished(root.path()) {
                    recover(root.path()).unwrap();
                    assert_eq!(tree(root.path()), owned(&[before]), "{n}");
                }
            }
        }
    }

    #[test]
    fn what_comes_between_the_look_and_the_move_is_not_lost() {
        let root = laid(&[("schemas/x", "old x")]);
        let steps = [step("schemas/x", Some("old x"), Some("new x"))];
        let place = root.path().join("schemas/x");
        // Told that a step is about to move, somebody writes there first; which pulse that is does not matter.
        for at in 0..12 {
            fs::write(&place, "old x").unwrap();
            let mut count = 0;
            let ended = changed(root.path(), &steps, &mut || {
                count += 1;
                if count == at {
                    fs::write(&place, "edited")?
                }
                Ok(())
            });
            let _ = recover(root.path());
            let found = fs::read_to_string(&place).unwrap();
            match ended {
                Err(_) => assert_eq!(found, "edited", "{at}"),
                Ok(()) => assert!(found == "new x" || count > 5 && found == "edited", "{at} {found}"),
            }
            let _ = fs::remove_dir_all(root.path().join(STAGING));
        }
    }

    #[test]
    fn links_lead_nowhere() {
        let (root, elsewhere) = (laid(&[]), laid(&[("x", "theirs")]));
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("schemas")).unwrap();
        let error = change(root.path(), &[step("schemas/x", Some("theirs"), Some("ours"))]).unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
        std::os::unix::fs::symlink(elsewhere.path().join("x"), root.path().join("l")).unwrap();
        let error = change(root.path(), &[step("l", Some("theirs"), Some("ours"))]).unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
        assert_eq!(tree(elsewhere.path()), owned(&[("x", "theirs")]));
        fs::remove_file(root.path().join("schemas")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join(STAGING)).unwrap();
        assert!(recover(root.path()).is_err());
        assert_eq!(tree(elsewhere.path()), owned(&[("x", "theirs")]));
    }
}
