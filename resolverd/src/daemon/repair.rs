//! Repair without a network, under the state lock: an index that does not agree with the generation file is rebuilt from it and the
//! shelf. One that agrees stays as it is.
//!
//! Where another version of the program wrote the newest generation and every source is pinned, one is made of what lies on this machine,
//! and what a sync notes is noted then. Else this never touches `trust-state.json`, `revisions.jsonl`, `first-seen.log`, `audit.*`, `checks.json`, the sources file or a document of the shelf. What is
//! in the way is renamed, never deleted; only dead sockets and half-written temporary files go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use catalogue_schema::generation::Generation;
use catalogue_schema::model::Refusal;
use serde::Serialize;
use tracing::info;

use crate::api::{ANOTHER_FORMAT, Code, Failure};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::examine::{Depth, Standing, kept, places, walk};
use crate::daemon::rights::{self, kind, quoted};
use crate::daemon::socket::is_dead;
use crate::daemon::writer::{Kept, Writer, settled};
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
    /// What was removed: dead sockets, and what a killed process left in the index.
    pub removed: Vec<PathBuf>,
    /// What was wrong with the files beside the index, and is no more.
    pub mended: Vec<String>,
    /// What the index holds where it was found to agree with the generation file, and was kept; `null` where it was not.
    pub sound: Option<Sound>,
    /// The index that was rebuilt; `null` where none was.
    pub rebuilt: Option<Rebuilt>,
    /// What cannot be repaired offline, each with its next step.
    pub left: Vec<Left>,
}

/// An index that was kept.
#[derive(Debug, Serialize)]
pub struct Sound {
    /// The generation that answers.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: String,
    /// How many components it has.
    pub components: u64,
}

impl Sound {
    fn of(generation: &Generation) -> Sound {
        Sound {
            generation: generation.number,
            snapshot: generation.snapshot.to_string(),
            components: generation.components,
        }
    }
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
    /// It answers byte for byte as before; `null` where another version of the program wrote what was before.
    pub is_same: Option<bool>,
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
    if let Some(danger) = rights::of_state(settings) {
        return Err(Box::new(danger).into());
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
    mend(settings, lock, &mut done)?;
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

/// Compares the index with the generation in force. One that agrees is kept; another is set aside and rebuilt.
fn mend(settings: &Settings, lock: StateLock, done: &mut Repaired) -> Result<(), DaemonError> {
    let directory = &settings.state_dir;
    // Opening the shelf removes half-written files.
    let shelf = Shelf::open(directory)?;
    done.removed.extend(inspect::sweep(directory, &lock)?);
    let files = inspect::kept(directory)?;
    let Some(generation) = files.generation else {
        match files.foreign {
            Some(_) if settled(settings).is_some() => return replace(settings, lock, done),
            Some(foreign) => done.leave(foreign.problem().to_string(), ANOTHER_FORMAT),
            None if files.files > 0 || files.damage.is_some() => {
                done.leave("no generation file can be read".to_owned(), "resolverd sync");
            }
            None => done.leave("nothing has been committed yet".to_owned(), "resolverd sync"),
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
    }
    let compared = kept::index(directory, &generation, &shelf);
    if compared.state == Standing::Ok && files.damage.is_none() {
        done.sound = Some(Sound::of(&generation));
        return Ok(());
    }
    // Where nobody could compare it, opening the store does.
    if compared.state == Standing::Wrong && directory.join("index").symlink_metadata().is_ok() {
        done.set_aside.push(inspect::set_index_aside(directory, &lock)?);
    }
    let known = inspect::aside(directory)?;
    let writer = Writer::open_locked(settings, lock, Records::Untouched)?;
    let opened = match &writer.past {
        Some(Kept::Snapshot(snapshot)) => snapshot.generation.clone(),
        Some(Kept::File(_)) | None => generation.clone(),
    };
    let is_opened = matches!(writer.past, Some(Kept::Snapshot(_)));
    let _lock = writer.close();
    let mut aside = inspect::aside(directory)?;
    aside.retain(|path| !known.contains(path));
    let is_same = opened.number == generation.number && opened.root == generation.root;
    let is_untouched = compared.state != Standing::Wrong && aside.is_empty() && is_same;
    done.set_aside.extend(aside);
    let verified = kept::index(directory, &opened, &shelf);
    if verified.state == Standing::Wrong {
        done.leave(format!("{}: {}", verified.subject, verified.found), "resolverd sync");
    }
    if let Some(damage) =
        files.damage.filter(|_| inspect::kept(directory).is_ok_and(|now| now.damage.is_none()))
    {
        done.mended.push(format!("{damage}; generation {} is in force", opened.number));
    }
    if is_untouched && verified.state == Standing::Ok {
        done.sound = Some(Sound::of(&opened));
    } else if is_opened {
        info!(generation = opened.number, "the index was rebuilt from the shelf");
        done.rebuilt = Some(Rebuilt {
            is_same: Some(is_same),
            generation: opened.number,
            snapshot: opened.snapshot.to_string(),
            components: opened.components,
        });
    } else if verified.state != Standing::Wrong {
        done.leave(format!("{}: {}", verified.subject, verified.found), "resolverd doctor");
    }
    Ok(())
}

/// Makes a generation in the place of one that another version of the program wrote, which opening the store does.
fn replace(settings: &Settings, lock: StateLock, done: &mut Repaired) -> Result<(), DaemonError> {
    let mut writer = Writer::open_locked(settings, lock, Records::Kept)?;
    let problem = writer.foreign().cloned();
    writer.replace_foreign()?;
    match (&writer.past, problem) {
        (Some(Kept::Snapshot(snapshot)), problem) => {
            let generation = &snapshot.generation;
            let made = |problem: Refusal| {
                format!(
                    "{} of another version of the program; {} takes its place",
                    problem.subject, generation.number
                )
            };
            done.mended.extend(problem.map(made));
            done.rebuilt = Some(Rebuilt {
                is_same: None,
                generation: generation.number,
                snapshot: generation.snapshot.to_string(),
                components: generation.components,
            });
        }
        (_, Some(problem)) => done.leave(problem.to_string(), ANOTHER_FORMAT),
        (_, None) => {}
    }
    Ok(())
}

fn sockets(settings: &Settings) -> Vec<PathBuf> {
    let is_socket =
        |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| kind(found.file_type()) == "a socket");
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
