//! Repair without a network: the index is rebuilt from the generation file and the shelf, under the state lock.
//!
//! Never touches `trust-state.json`, `revisions.jsonl`, `first-seen.log`, `audit.*`, `checks.json`, the sources file or a document of the shelf. What is
//! in the way is renamed, never deleted; only dead sockets and half-written temporary files go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tracing::info;

use crate::api::{Code, Failure};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::examine::{Depth, Standing, kept, places, quoted, walk};
use crate::daemon::socket::is_dead;
use crate::daemon::writer::{Kept, Writer};
use crate::daemon::{has_file_size_limit, log_contained_panics, outlive_file_size_limit};
use crate::shelf::Shelf;
use crate::shelf::durable::failed;
use crate::store::inspect;
use crate::store::memory::Records;
use crate::store::{StateLock, StoreError};

/// What a repair did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repaired {
    /// What was in the way and lies under another name now.
    pub set_aside: Vec<PathBuf>,
    /// What was removed: dead sockets.
    pub removed: Vec<PathBuf>,
    /// The index that was rebuilt; `null` where none was.
    pub rebuilt: Option<Rebuilt>,
    /// What cannot be repaired offline, each with its next step.
    pub left: Vec<Left>,
}

/// A rebuilt index.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// The generation that answers now: the same as before where the shelf gave all of it back.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: String,
    /// How many components it has.
    pub components: u64,
    /// It answers byte for byte as before.
    pub is_same: bool,
}

/// Something that needs more than a repair.
#[derive(Debug, Serialize)]
pub struct Left {
    /// What.
    pub what: String,
    /// The next step.
    pub hint: String,
}

/// Repairs what can be repaired without a network; waits at most `wait` for another process to let go of the state.
///
/// **Errors**: R007 with the pid when another process holds the state directory; the system's.
pub fn repair(settings: &Settings, wait: Duration) -> Result<Repaired, Failure> {
    log_contained_panics();
    if has_file_size_limit() {
        outlive_file_size_limit();
    }
    carry_out(settings, wait).map_err(|error| match &error {
        DaemonError::Store(StoreError::Locked { pid, .. }) => Failure::new(
            Code::DaemonUnreachable,
            "locked",
            error.to_string(),
        )
        .hint(format!(
            "kill {pid}, then run resolverd doctor --repair again; a service: systemctl stop resolverd"
        ))
        .with("pid", pid),
        _ => error.failure(),
    })
}

fn carry_out(settings: &Settings, wait: Duration) -> Result<Repaired, DaemonError> {
    let directory = &settings.state_dir;
    let mut done = Repaired::default();
    if directory.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        done.leave(format!("{} is not there", directory.display()), "resolverd sync");
        return Ok(done);
    }
    let lock = StateLock::acquire(directory, wait)?;
    for socket in sockets(settings).into_iter().filter(|socket| is_dead(socket)) {
        std::fs::remove_file(&socket).map_err(failed("remove", &socket)).map_err(StoreError::from)?;
        done.removed.push(socket);
    }
    let links = links(directory);
    if !links.is_empty() {
        for link in links {
            let hint = format!("put a directory or file of its own there: mv {0} {0}.away", quoted(&link));
            done.leave(
                format!("{} is a symbolic link or worse, and nothing outside is touched", link.display()),
                &hint,
            );
        }
        return Ok(done);
    }
    set_aside_misplaced(directory, &mut done)?;
    rebuild(settings, lock, &mut done)?;
    for finding in kept::records(directory) {
        done.leave(
            format!("{}: {}", finding.subject, finding.found),
            finding.hint.as_deref().unwrap_or_default(),
        );
    }
    Ok(done)
}

impl Repaired {
    fn leave(&mut self, what: String, hint: &str) {
        self.left.push(Left { what, hint: hint.to_owned() });
    }
}

/// Rebuilds the index of the generation in force, unless the shelf can give back less than the index still holds.
fn rebuild(settings: &Settings, lock: StateLock, done: &mut Repaired) -> Result<(), DaemonError> {
    let directory = &settings.state_dir;
    // Opening the shelf and the store removes half-written files.
    let shelf = Shelf::open(directory)?;
    let files = inspect::kept(directory)?;
    let Some(generation) = files.generation else {
        if files.files > 0 || files.damage.is_some() {
            done.leave("no generation file can be read".to_owned(), "resolverd sync");
        } else {
            done.leave("nothing has been committed yet".to_owned(), "resolverd sync");
        }
        return Ok(());
    };
    let documents = match kept::listed(directory, &generation) {
        Ok(listed) => kept::documents(&generation, &listed, &shelf, Depth::Deep),
        Err(finding) => finding,
    };
    if documents.state != Standing::Ok {
        done.leave(
            format!("{}: {}", documents.subject, documents.found),
            "resolverd sync, which fetches them again",
        );
        if kept::index(directory, &generation, &shelf).state == Standing::Ok {
            let what =
                "the index is sound and was kept, since the shelf cannot give all of it back".to_owned();
            done.leave(what, "resolverd sync");
            return Ok(());
        }
    }
    if directory.join("index").symlink_metadata().is_ok() {
        done.set_aside.push(inspect::set_index_aside(directory, &lock)?);
    }
    info!(generation = generation.number, "rebuilding the index from the shelf");
    let writer = Writer::open_locked(settings, lock, Records::Untouched)?;
    let rebuilt = match &writer.past {
        Some(Kept::Snapshot(snapshot)) => snapshot.generation.clone(),
        Some(Kept::File(_)) | None => generation.clone(),
    };
    let _lock = writer.close();
    let verified = kept::index(directory, &rebuilt, &shelf);
    if verified.state != Standing::Ok {
        done.leave(format!("{}: {}", verified.subject, verified.found), "resolverd sync");
    }
    done.rebuilt = Some(Rebuilt {
        is_same: rebuilt.number == generation.number && rebuilt.root == generation.root,
        generation: rebuilt.number,
        snapshot: rebuilt.snapshot.to_string(),
        components: rebuilt.components,
    });
    Ok(())
}

fn sockets(settings: &Settings) -> Vec<PathBuf> {
    let is_socket = |path: &PathBuf| {
        path.symlink_metadata().is_ok_and(|found| walk::kind(found.file_type()) == "a socket")
    };
    let beside = settings.socket.parent().map(|directory| directory.join("admin.sock"));
    [Some(settings.socket.clone()), beside].into_iter().flatten().filter(is_socket).collect()
}

/// Returns what would lead out of the state directory, or block whoever opens it.
fn links(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["index", "generations", "shelf"] {
        let path = directory.join(name);
        match path.symlink_metadata() {
            Ok(entry) if entry.is_symlink() => found.push(path),
            Ok(entry) if entry.is_dir() => {
                let strange = walk::census(&path).strange.into_iter().map(|(path, _)| path);
                // What bears the name of a generation file is renamed, which follows nothing.
                let renamed = places::misplaced_generations(&path);
                found.extend(strange.filter(|path| renamed.iter().all(|(other, _)| other != path)));
            }
            _ => {}
        }
    }
    found
}

/// Renames what stands in the place of `current`, of a generation file or of the index and is none of them.
fn set_aside_misplaced(directory: &Path, done: &mut Repaired) -> Result<(), DaemonError> {
    let mut misplaced: Vec<PathBuf> = Vec::new();
    let current = directory.join("current");
    if current.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        misplaced.push(current);
    }
    let generations = directory.join("generations");
    misplaced.extend(places::misplaced_generations(&generations).into_iter().map(|(path, _)| path));
    let index = directory.join("index");
    if index.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        misplaced.push(index);
    }
    for path in misplaced {
        let aside = free_name(&path);
        std::fs::rename(&path, &aside).map_err(failed("set aside", &path)).map_err(StoreError::from)?;
        done.set_aside.push(aside);
    }
    Ok(())
}

/// Returns a name beside `path` that nothing bears.
fn free_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The numbers of `index.bad-<n>` belong to the store.
    let name = if name == "index" { "index-file" } else { &*name };
    let named = |number: u32| path.with_file_name(format!("{name}.bad-{number}"));
    (1..u32::MAX).map(named).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| named(0))
}
