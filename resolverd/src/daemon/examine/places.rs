//! The places: the socket and its directory, the state directory, the cache. Looks at kinds, owners, modes and space; the
//! one thing that it opens is a connection to the socket, which it closes unused.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use crate::api::{SHORTER_SOCKET, SOCKET_PATH_BYTES_MAX, socket_path_too_long};
use crate::config::Settings;
use crate::daemon::examine::walk::{Census, census, size};
use crate::daemon::examine::{Finding, REPAIR, Standing};
use crate::daemon::rights::{self, Danger, FileSystem, kind, quoted};
use crate::store::inspect;

/// Below this many free bytes nothing more may be committed.
const FREE_BYTES_MIN: u64 = 32 << 20;
/// Below this many free bytes somebody should know.
const FREE_BYTES_LOW: u64 = 256 << 20;
/// Below this many free inodes somebody should know.
const INODES_LOW: u64 = 1_000;
/// What is known about the state directory.
pub(super) struct State {
    pub(super) findings: Vec<Finding>,
    /// The entries that are not of the kind that they should be, or cannot be read; `None` where nothing can.
    pub(super) blocked: Option<Vec<&'static str>>,
}

/// Looks at the socket, the one for operators beside it, and their directory.
pub(super) fn socket(settings: &Settings) -> Vec<Finding> {
    let path = &settings.socket;
    if let Some(found) = socket_path_too_long(path) {
        let expected = format!("at most {SOCKET_PATH_BYTES_MAX} bytes");
        return vec![Finding::wrong("socket", path.display(), found).expected(expected).hint(SHORTER_SOCKET)];
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut findings: Vec<Finding> = socket_directory(settings, directory).into_iter().collect();
    if let Err(error) = settings.admin_gid() {
        let hint = error.failure().hint.unwrap_or_default();
        findings.push(Finding::wrong("socket.admin_group", directory.display(), error).hint(hint));
    }
    findings.push(one_socket(path, settings.system));
    let admin = directory.join("admin.sock");
    if admin.symlink_metadata().is_ok() {
        findings.push(one_socket(&admin, settings.system));
    }
    findings
}

fn socket_directory(settings: &Settings, directory: &Path) -> Option<Finding> {
    let subject = directory.display();
    if let Some(danger) = rights::of_socket(settings) {
        return Some(
            Finding::wrong("socket.directory", subject, danger.found)
                .expected(danger.expected)
                .hint(danger.hint),
        );
    }
    match directory.metadata() {
        Ok(found) => {
            let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
            Some(Finding::ok(
                "socket.directory",
                subject,
                format!("mode {mode:04o}, user {uid}, group {gid}"),
            ))
        }
        // The daemon makes it.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            Some(Finding::wrong("socket.directory", subject, error).hint("name another socket with --socket"))
        }
    }
}

fn one_socket(path: &Path, system: bool) -> Finding {
    let subject = path.display();
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::ok("socket", subject, "not there: no daemon runs");
        }
        Err(error) => {
            return Finding::wrong("socket", subject, error)
                .hint("join the group that owns the directory, or name your own with --socket");
        }
    };
    if !found.file_type().is_socket() {
        return Finding::wrong("socket", subject, kind(found.file_type()))
            .expected("a socket")
            .hint(format!("mv {0} {0}.away, or name another with --socket", quoted(path)));
    }
    match UnixStream::connect(path) {
        Ok(_) => answering(path, &found, system),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::warning(
            "socket",
            subject,
            "nobody listens: it was left behind by a process that was killed",
        )
        .hint(format!("{REPAIR}, or start a daemon: both remove it")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
            Finding::wrong(
                "socket",
                subject,
                format!("this user may not connect: mode {mode:04o}, user {uid}, group {gid}"),
            )
            .hint("join the group that owns the socket, or name your own with --socket")
        }
        Err(error) => Finding::wrong("socket", subject, error).hint("look at the daemon's log"),
    }
}

fn answering(path: &Path, found: &Metadata, system: bool) -> Finding {
    let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
    let text = format!("somebody listens; mode {mode:04o}, user {uid}, group {gid}");
    let wanted = if system { "660" } else { "600" };
    match mode {
        mode if mode & 0o002 != 0 => Finding::wrong("socket", path.display(), text)
            .expected(format!("mode 0{wanted}"))
            .hint(format!("chmod {wanted} {}", quoted(path))),
        mode if mode & 0o020 != 0 && !system && !path.ends_with("admin.sock") => {
            Finding::warning("socket", path.display(), text)
                .expected(format!("mode 0{wanted}"))
                .hint(format!("chmod {wanted} {}, unless the group is meant", quoted(path)))
        }
        _ => Finding::ok("socket", path.display(), text),
    }
}

/// Looks at the state directory and at the kinds of what lies in it.
pub(super) fn state_directory(settings: &Settings) -> State {
    let directory = &settings.state_dir;
    let subject = directory.display();
    let stop = |finding| State { findings: vec![finding], blocked: None };
    let found = match directory.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound && directory.symlink_metadata().is_err() => {
            return stop(Finding::ok("state", subject, "not there: the first sync or daemon makes it"));
        }
        Err(error) => {
            return stop(Finding::wrong("state", subject, error).hint("name another with --state-dir"));
        }
    };
    let danger = rights::of_state(settings);
    let is_elsewhere = !found.is_dir() || directory.is_symlink();
    let mut findings = vec![rights("state", directory, &found, danger)];
    if is_elsewhere && findings.iter().any(|finding| finding.state == Standing::Wrong) {
        return State { findings, blocked: None };
    }
    findings.extend(space(settings));
    let mut blocked = Vec::new();
    for (name, expected) in ENTRIES {
        let Some(finding) = of_kind(&directory.join(name), expected) else { continue };
        blocked.push(name);
        findings.push(finding);
    }
    // What the store refuses to write through, besides.
    if blocked.is_empty()
        && let Some(planted) = inspect::planted(directory)
    {
        let hint = "look who put it there, and move it away";
        findings.push(Finding::wrong("state.entry", subject.to_string(), planted).hint(hint));
    }
    let misplaced = generations(&directory.join("generations"));
    if !misplaced.is_empty() {
        blocked.push("generations");
    }
    findings.extend(misplaced);
    let (mut sizes, mut temporary) = (Vec::new(), Vec::new());
    for name in ["index", "generations", "shelf"] {
        let path = directory.join(name);
        // A link was named above, and is not followed.
        if blocked.contains(&name) || !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let census = census(&path);
        sizes.push(format!("{name} {} in {} files", size(census.bytes), census.files));
        let strange = strange(&census);
        if !strange.is_empty() {
            blocked.push(name);
        }
        findings.extend(strange);
        temporary.extend(census.temporary);
    }
    if !sizes.is_empty() {
        findings.push(Finding::ok("state.size", subject, sizes.join(", ")));
    }
    findings.extend(leftovers(directory, temporary.len()));
    State { findings, blocked: Some(blocked) }
}

/// What lies in a state directory, and whether it is a directory.
const ENTRIES: [(&str, &str); 13] = [
    ("lock", "a file"),
    ("current", "a file"),
    ("checks.json", "a file"),
    ("trust-state.json", "a file"),
    ("revisions.jsonl", "a file"),
    ("first-seen.log", "a file"),
    ("audit.jsonl", "a file"),
    ("audit.head", "a file"),
    ("index", "a directory"),
    ("generations", "a directory"),
    ("shelf", "a directory"),
    ("shelf/packs", "a directory"),
    ("shelf/objects", "a directory"),
];

/// Says what is wrong with an entry of the state directory: its kind, or that it cannot be read.
fn of_kind(path: &Path, expected: &'static str) -> Option<Finding> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(
                Finding::wrong("state.entry", path.display(), error)
                    .hint(format!("chmod u+rwx {}", quoted(path))),
            );
        }
    };
    let word = kind(found.file_type());
    if word != expected {
        let mends = path.ends_with("current") || path.ends_with("index");
        let hint = match mends {
            true => REPAIR.to_owned(),
            false => format!("mv {0} {0}.away", quoted(path)),
        };
        return Some(Finding::wrong("state.entry", path.display(), word).expected(expected).hint(hint));
    }
    let (wanted, mode) = match found.is_dir() {
        true => (Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, "u+rwx"),
        false => (Access::READ_OK | Access::WRITE_OK, "u+rw"),
    };
    let denied = accessat(CWD, path, wanted, AtFlags::EACCESS).err()?;
    let user = rustix::process::geteuid().as_raw();
    let hint = match found.uid() == user {
        true => format!("chmod {mode} {}", quoted(path)),
        false => format!("sudo chown {user} {}", quoted(path)),
    };
    let found = format!("this user may not read and write it: {denied}");
    Some(Finding::wrong("state.entry", path.display(), found).hint(hint))
}

/// Finds what stands in the place of a generation file.
fn generations(directory: &Path) -> Vec<Finding> {
    if !directory.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Vec::new();
    }
    misplaced_generations(directory)
        .into_iter()
        .map(|(path, word)| {
            Finding::wrong("state.entry", path.display(), word).expected("a file").hint(REPAIR)
        })
        .collect()
}

/// Returns what bears the name of a generation file, or of a list of documents, below `directory` and is none.
pub(in crate::daemon) fn misplaced_generations(directory: &Path) -> Vec<(std::path::PathBuf, &'static str)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_named = name.strip_suffix(".json").is_some_and(|number| number.parse::<u64>().is_ok())
            || name.ends_with(".documents");
        match entry.path().symlink_metadata() {
            Ok(other) if is_named && !other.is_file() => found.push((entry.path(), kind(other.file_type()))),
            _ => {}
        }
    }
    found.sort();
    found
}

fn strange(census: &Census) -> Vec<Finding> {
    let strange = census.strange.iter().map(|(path, word)| {
        Finding::wrong("state.entry", path.display(), word)
            .expected("a file or a directory")
            .hint(format!("look at it, then: rm {}", quoted(path)))
    });
    let unreadable = census.unreadable.iter().map(|(path, error)| {
        Finding::wrong("state.entry", path.display(), error).hint(format!("chmod u+rwx {}", quoted(path)))
    });
    strange.chain(unreadable).take(20).collect()
}

/// Says why something lies under the name of what was set aside.
fn set_aside(name: &str) -> &'static str {
    match name {
        name if name.starts_with("index.bad-") => {
            "set aside: it could not be read, or did not agree with the generation file; nothing uses it"
        }
        name if name.starts_with("trust-state.bad-") => "set aside: it was damaged; nothing uses it",
        _ => "set aside: it stood in the place of something else, or was damaged; nothing uses it",
    }
}

/// Names what was set aside, and what killed writers left.
fn leftovers(directory: &Path, temporary: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut half_made = temporary;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".bad-") {
            findings.push(
                Finding::warning("state.leftover", entry.path().display(), set_aside(&name))
                    .hint(format!("look at it, then: rm -r {}", quoted(&entry.path()))),
            );
        }
        half_made +=
            usize::from(name.starts_with(crate::shelf::durable::TEMPORARY_PREFIX) || name == "index.new");
    }
    findings.sort_by(|one, other| one.subject.cmp(&other.subject));
    if half_made > 0 {
        let found =
            format!("{half_made} unfinished files; a running sync has some, a killed one leaves them");
        findings.push(Finding::ok("state.leftover", directory.display(), found).hint(REPAIR));
    }
    findings
}

/// Looks at the directory of what can be fetched again.
pub(super) fn cache_directory(directory: &Path) -> Vec<Finding> {
    let subject = directory.display();
    match directory.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            vec![Finding::ok("cache", subject, "not there: it is made when something is cached")]
        }
        Err(error) => {
            vec![Finding::wrong("cache", subject, error).hint("name another with RESOLVERD_CACHE_DIR")]
        }
        Ok(found) => {
            let danger = rights::of_cache(directory);
            if danger.is_some() {
                return vec![rights("cache", directory, &found, danger)];
            }
            let census = census(directory);
            let size = format!("{} in {} files, deletable", size(census.bytes), census.files);
            vec![rights("cache", directory, &found, None), Finding::ok("cache.size", subject, size)]
        }
    }
}

/// Tells what may be done with a directory, where nothing speaks against using it.
fn rights(check: &'static str, directory: &Path, found: &Metadata, danger: Option<Danger>) -> Finding {
    if let Some(Danger { path, found, expected, hint, .. }) = danger {
        return Finding::wrong(check, path.display(), found).expected(expected).hint(hint);
    }
    let (subject, mode, user) = (directory.display(), found.mode() & 0o7777, found.uid());
    if let Err(denied) =
        accessat(CWD, directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    {
        let hint = format!(
            "chmod 700 {}; a file system that is read-only needs to be mounted anew",
            quoted(directory)
        );
        return Finding::wrong(check, subject, format!("this user may not read and write it: {denied}"))
            .hint(hint);
    }
    Finding::ok(check, subject, format!("mode {mode:04o}, user {user}"))
}

/// Looks at the file system of the state directory; one of another machine that is refused is told of already.
fn space(settings: &Settings) -> Vec<Finding> {
    let directory = &settings.state_dir;
    let subject = directory.display();
    let mut findings = Vec::new();
    let doubtful = |found: &str| {
        Finding::warning("state.filesystem", subject.to_string(), found)
            .expected("a file system of this machine")
            .hint("name a directory on a local disk with --state-dir")
    };
    match rights::file_system(directory) {
        Err(error) => findings.push(Finding::warning("state.filesystem", subject.to_string(), error)),
        Ok(FileSystem::Network(name)) if settings.allow_network_fs => {
            findings.push(doubtful(&format!("{}, which allow_network_fs allows", rights::network(name))));
        }
        Ok(FileSystem::Doubtful(found)) => findings.push(doubtful(found)),
        Ok(FileSystem::Network(_) | FileSystem::Own) => {}
    }
    match statvfs(directory) {
        Err(error) => findings.push(Finding::warning("state.space", subject, error)),
        Ok(found) => {
            let (bytes, inodes) = (found.f_bavail.saturating_mul(found.f_frsize), found.f_favail);
            let text = format!("{} free", size(bytes));
            let freed = "free some space; resolverd needs no more than a few times the size of its store";
            findings.push(match bytes {
                0..FREE_BYTES_MIN => Finding::wrong("state.space", subject.to_string(), text)
                    .expected(format!("at least {}", size(FREE_BYTES_MIN)))
                    .hint(freed),
                FREE_BYTES_MIN..FREE_BYTES_LOW => {
                    Finding::warning("state.space", subject.to_string(), text).hint(freed)
                }
                _ => Finding::ok("state.space", subject.to_string(), text),
            });
            // Some file systems count none.
            if found.f_files > 0 && inodes < INODES_LOW {
                findings.push(
                    Finding::wrong("state.space", subject, format!("{inodes} inodes free"))
                        .expected(format!("at least {INODES_LOW}"))
                        .hint("remove files that nobody needs: the file system cannot hold more of them"),
                );
            }
        }
    }
    findings
}
