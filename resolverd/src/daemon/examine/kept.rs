//! What is kept: generation files, the index (in a copy), the documents on the shelf, how the sources stood, and whether
//! the clock agrees with all of them. The state directory was found to hold only what it should before this is called.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use catalogue_schema::documents::Documents;
use catalogue_schema::generation::{CatalogueState, Generation, Health, SourceState};
use catalogue_schema::id::SourceId;

use crate::api::{ANOTHER_FORMAT, remedy};
use crate::config::Settings;
use crate::daemon::examine::walk::{census, size};
use crate::daemon::examine::{Depth, Finding, REPAIR};
use crate::shelf::Shelf;
use crate::store::audit::verify::verify;
use crate::store::checks::Checks;
use crate::store::first_seen::FirstSeen;
use crate::store::memory::{CLOCK_MIN_S, Clock, Memory, RESET_CLOCK};
use crate::store::{Snapshot, inspect, revisions};

/// The largest index that is copied to be looked at.
const INDEX_COPY_BYTES_MAX: u64 = 2 << 30;
/// How many documents are digested unless all of them are.
const SAMPLE: usize = 200;
/// How many damaged documents, or catalogues that are not fresh, are named.
const NAMED_MAX: usize = 5;
/// How far a clock may be set back before anybody is told, in seconds.
const SKEW_S: i64 = 60;

/// Looks at what is kept in the state directory, but for the entries in `blocked`, which lead elsewhere or cannot be read.
pub(super) fn examine(settings: &Settings, depth: Depth, blocked: &[&str], now_s: i64) -> Vec<Finding> {
    let directory = &settings.state_dir;
    let may_read = |entries: &[&str]| entries.iter().all(|entry| !blocked.contains(entry));
    let mut findings = Vec::new();
    let subject = directory.display();
    let hold = match may_read(&["lock"]).then(|| inspect::hold(directory)) {
        None => None,
        Some(Ok(Ok(hold))) => Some(hold),
        Some(Ok(Err(pid))) => {
            findings.push(Finding::ok("store.lock", subject, format!("held by process {pid}")));
            None
        }
        Some(Err(error)) => {
            findings.push(Finding::wrong("store.lock", subject, error).hint("make the lock file readable"));
            None
        }
    };
    let highest_s = may_read(&["trust-state.json"]).then(|| Memory::look(directory).ok()?).flatten();
    let checks = may_read(&["checks.json"]).then(|| Checks::load(directory));
    let both = Clock { now_s, latest_s: highest_s.unwrap_or(now_s).max(now_s) };
    let times = Times {
        newest_check_s: checks.as_ref().and_then(Checks::newest_s),
        ages: checks.map(|checks| checks.ages(both)).unwrap_or_default(),
        highest_s,
    };
    if may_read(&["trust-state.json", "checks.json", "revisions.jsonl", "audit.jsonl", "audit.head"])
        && may_read(&["first-seen.log"])
    {
        findings.extend(records(directory));
    }
    let generation = match may_read(&["current", "generations"]) {
        true => generation(directory, &mut findings),
        false => None,
    };
    let Some(generation) = generation else {
        findings.push(clock(&times, None, None, now_s));
        return findings;
    };
    let listed = listed(directory, &generation);
    if may_read(&["shelf", "shelf/packs", "shelf/objects"]) {
        match Shelf::to_examine(directory) {
            Ok(shelf) => {
                // Whoever holds the store has compared the index itself.
                if hold.is_some() && may_read(&["index"]) {
                    findings.push(index(directory, &generation, &shelf));
                }
                findings.push(match &listed {
                    Ok(listed) => documents(&generation, listed, &shelf, depth),
                    Err(finding) => finding.clone(),
                });
            }
            Err(error) => {
                let finding = Finding::wrong("shelf", directory.join("shelf").display(), error);
                findings.push(finding.hint("make the shelf readable"));
            }
        }
    }
    drop(hold);
    findings.extend(reach(settings, &generation, &times.ages));
    findings.push(clock(&times, Some(&generation), listed.ok().as_ref(), now_s));
    findings
}

/// The times that are kept beside the generations.
struct Times {
    newest_check_s: Option<i64>,
    /// How many seconds ago each source was checked.
    ages: BTreeMap<SourceId, u64>,
    highest_s: Option<i64>,
}

/// Reads the generation in force, and says how it stands.
fn generation(directory: &Path, findings: &mut Vec<Finding>) -> Option<Generation> {
    let subject = directory.display();
    let kept = match inspect::kept(directory) {
        Ok(kept) => kept,
        Err(error) => {
            findings.push(Finding::wrong("store.generation", subject, error).hint(REPAIR));
            return None;
        }
    };
    if let Some(foreign) = &kept.foreign {
        let problem = foreign.problem();
        let finding = Finding::wrong("store.generation", &problem.subject, &problem.found);
        findings.push(finding.expected(&problem.expected).hint(ANOTHER_FORMAT));
        return None;
    }
    if let Some(damage) = &kept.damage {
        findings.push(Finding::wrong("store.generation", &subject, damage).hint(REPAIR));
    }
    findings.push(match (&kept.generation, kept.files, &kept.damage) {
        (Some(generation), ..) => {
            let Generation { number, components, snapshot, .. } = generation;
            Finding::ok(
                "store.generation",
                subject,
                format!("number {number}, {components} components, {snapshot}"),
            )
        }
        (None, 0, None) => Finding::ok("store.generation", subject, "none yet: nothing has been synced")
            .hint("resolverd sync"),
        (None, ..) => Finding::wrong("store.generation", subject, "no generation file can be read")
            .hint("resolverd sync"),
    });
    kept.generation
}

/// Compares the index with the generation, in a copy: the engine writes into what it opens.
pub(in crate::daemon) fn index(directory: &Path, generation: &Generation, shelf: &Shelf) -> Finding {
    let path = directory.join("index");
    let subject = path.display();
    if !path.is_dir() {
        return Finding::wrong("store.index", subject, "not there").hint(REPAIR);
    }
    let bytes = census(&path).bytes;
    if bytes > INDEX_COPY_BYTES_MAX {
        let found = format!("{}: too large to be copied for a look", size(bytes));
        return Finding::warning("store.index", subject, found)
            .hint("start the daemon: it compares the index itself");
    }
    match snapshot(directory, generation, shelf) {
        Ok(_) => Finding::ok("store.index", subject, format!("agrees with generation {}", generation.number)),
        Err(Unread::Damaged(found)) => Finding::wrong("store.index", subject, found)
            .expected(format!("the components of generation {}", generation.number))
            .hint(REPAIR),
        Err(Unread::Failed(found)) => {
            let found = format!("no copy of it can be looked at: {found}");
            Finding::warning("store.index", subject, found).hint("free some space for temporary files")
        }
    }
}

/// Why no snapshot can be read.
pub(in crate::daemon) enum Unread {
    /// The index does not agree with the generation.
    Damaged(String),
    /// It may agree; its copy cannot be made or opened.
    Failed(String),
}

/// Reads a generation out of a copy of the index.
pub(in crate::daemon) fn snapshot(
    directory: &Path,
    generation: &Generation,
    shelf: &Shelf,
) -> Result<Arc<Snapshot>, Unread> {
    let failed = |error: &dyn std::fmt::Display| Unread::Failed(error.to_string());
    let place = tempfile::tempdir().map_err(|error| failed(&error))?;
    copy(&directory.join("index"), &place.path().join("index")).map_err(|error| failed(&error))?;
    let read = inspect::snapshot(place.path(), generation, shelf).map_err(|error| failed(&error))?;
    read.map_err(Unread::Damaged)
}

/// Copies a directory of files; what is none of either is left out.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let there = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&path, &there)?;
        } else if kind.is_file() {
            // Not its mode: the copy is written into, and the original may be read-only.
            std::io::copy(&mut File::open(&path)?, &mut File::create(there)?)?;
        }
    }
    Ok(())
}

/// Reads the list of the documents of a generation, or says why it cannot be used.
pub(in crate::daemon) fn listed(directory: &Path, generation: &Generation) -> Result<Documents, Finding> {
    let subject = format!("generation {}", generation.number);
    inspect::documents(directory, generation).map_err(|found| {
        Finding::wrong("store.documents", subject, found)
            .expected("the list of the documents that it rests on")
            .hint("resolverd sync, which reads all sources again")
    })
}

/// Tells whether the documents of a generation are on the shelf, and whether their bytes are theirs.
pub(in crate::daemon) fn documents(
    generation: &Generation,
    all: &Documents,
    shelf: &Shelf,
    depth: Depth,
) -> Finding {
    let step = match depth {
        Depth::Deep => 1,
        Depth::Sample => all.len().div_ceil(SAMPLE).max(1),
    };
    let (mut bad, mut digested) = (Vec::new(), 0usize);
    let unreadable = all.len() - all.iter().count();
    bad.extend((unreadable > 0).then(|| format!("{unreadable} records that cannot be read")));
    for (at, record) in all.iter().enumerate() {
        let problem = match shelf.contains(&record.digest) {
            false => Some("missing".to_owned()),
            true if at % step == 0 => {
                digested += 1;
                match shelf.read(&record.digest) {
                    Ok(Some(_)) => None,
                    Ok(None) => Some("damaged".to_owned()),
                    Err(error) => Some(error.to_string()),
                }
            }
            true => None,
        };
        bad.extend(problem.map(|problem| format!("{} ({problem}, from {})", record.digest, record.url)));
    }
    let subject = format!("generation {}", generation.number);
    if bad.is_empty() {
        let found = format!("all {} documents are there, {digested} of them digested", all.len());
        return Finding::ok("shelf", subject, found);
    }
    let more = if bad.len() > NAMED_MAX { ", …" } else { "" };
    let found = format!(
        "{} of {} documents: {}{more}",
        bad.len(),
        all.len(),
        bad[..bad.len().min(NAMED_MAX)].join(", ")
    );
    Finding::wrong("shelf", subject, found)
        .expected("every document, with its digest")
        .hint("resolverd sync fetches them again; nothing offline can")
}

/// Says how the sources stood when they were last read; no network is touched.
fn reach(settings: &Settings, generation: &Generation, ages: &BTreeMap<SourceId, u64>) -> Vec<Finding> {
    let one = |state: &SourceState| {
        let id = state.source.id.to_string();
        let age_s = ages.get(&state.source.id);
        let error = state.error.as_ref().map(ToString::to_string).unwrap_or_default();
        let checked = age_s.map_or("never checked".to_owned(), |age| format!("checked {age} s ago"));
        let is_frozen = state.source.offline || state.source.is_pinned();
        let again = match &state.error {
            Some(error) => remedy(&error.reason, &state.source.id, None),
            None => format!("resolverd sync {id}"),
        };
        match state.health {
            Health::Unread => Finding::wrong("source", &id, format!("never read: {error}")).hint(again),
            Health::Expired => Finding::wrong(
                "source",
                &id,
                format!("expired, {checked}, longer ago than max_stale: {error}"),
            )
            .hint(again),
            Health::Stale => {
                Finding::warning("source", &id, format!("stale, {checked}: {error}")).hint(again)
            }
            Health::Fresh if !is_frozen && age_s.is_some_and(|age| *age > settings.max_stale_s) => {
                Finding::warning("source", &id, format!("{checked}, longer ago than max_stale")).hint(again)
            }
            Health::Fresh => Finding::ok(
                "source",
                &id,
                if is_frozen { "read, never ages".to_owned() } else { format!("read, {checked}") },
            ),
        }
    };
    // What is wrong with a whole source is said once; here is what is wrong below one that was read.
    let fresh = generation.sources.iter().filter(|state| state.health == Health::Fresh);
    let below = fresh.flat_map(|state| below(&state.source.id, generation));
    generation.sources.iter().map(one).chain(below).collect()
}

/// Names the first catalogues of a source that are not fresh, and counts the others.
fn below(source: &SourceId, generation: &Generation) -> Vec<Finding> {
    let is_meant = |state: &&CatalogueState| {
        state.health != Health::Fresh && state.errand.node().is_some_and(|node| node.id.source == *source)
    };
    let mut rest = generation.catalogues.iter().filter(is_meant);
    let mut findings: Vec<Finding> = rest.by_ref().take(NAMED_MAX).filter_map(catalogue).collect();
    let more = rest.count();
    if more > 0 {
        let found = format!("{more} more of its catalogues are stale or were never read");
        findings.push(Finding::warning("catalogue", source, found).hint("resolverd catalogues"));
    }
    findings
}

/// Says why a catalogue of a readable source is not fresh.
fn catalogue(state: &CatalogueState) -> Option<Finding> {
    let id = &state.errand.node()?.id;
    let error = state.error.as_ref();
    let stands = if state.health == Health::Unread { "never read" } else { "stale" };
    let found = format!("{stands}: {}", error.map(ToString::to_string).unwrap_or_default());
    let reason = error.map(|error| &*error.reason).unwrap_or_default();
    Some(Finding::warning("catalogue", id, found).hint(remedy(reason, &id.source, Some(&id.name))))
}

/// Compares the clock with everything that bears a time.
fn clock(times: &Times, generation: Option<&Generation>, listed: Option<&Documents>, now_s: i64) -> Finding {
    // Where the highest clock is known, no document was fetched behind it but before an operator took it back.
    let fetched = listed.and_then(Documents::newest_s).filter(|_| times.highest_s.is_none());
    let fetched = fetched.map(|time| ("a document of the generation", time));
    let checked = times.newest_check_s.map(|time| ("checks.json", time));
    let trusted = times.highest_s.map(|time| ("trust-state.json", time));
    let committed = generation.map(|generation| ("the generation", generation.committed_s));
    let newest =
        fetched.into_iter().chain(checked).chain(trusted).chain(committed).max_by_key(|(_, time)| *time);
    match newest {
        Some((what, time)) if time > now_s.saturating_add(SKEW_S) => {
            let found = format!("{now_s}, and {what} is {} s ahead of it", time - now_s);
            Finding::wrong("clock", "system time", found)
                .expected(format!("at least {time} (seconds since 1970)"))
                .hint(format!(
                    "set the clock, such as with: timedatectl set-ntp true; where it is right now and was wrong then: {RESET_CLOCK}"
                ))
        }
        _ => Finding::ok("clock", "system time", "not behind anything that was kept"),
    }
}

/// Says what is wrong with the small files that nothing can rebuild.
pub(in crate::daemon) fn records(directory: &Path) -> Vec<Finding> {
    let found = memory(directory).into_iter().chain(checks(directory)).chain(log(directory));
    found.chain(ledger(directory)).chain(audit(directory)).collect()
}

/// Says what is wrong with the audit log.
fn audit(directory: &Path) -> Option<Finding> {
    let subject = directory.join("audit.jsonl");
    let found = match verify(directory, &[]) {
        Ok(found) => found.faults.first()?.found.clone(),
        Err(error) => error.to_string(),
    };
    let finding = Finding::warning("store.audit", subject.display(), found);
    Some(finding.expected("the lines that were written").hint("resolverd audit verify says where"))
}

/// Says what is wrong with the times of the last checks.
fn checks(directory: &Path) -> Option<Finding> {
    let found = Checks::look(directory).err()?;
    let subject = directory.join("checks.json");
    let finding =
        Finding::warning("store.checks", subject.display(), found).expected("the times of the last checks");
    Some(finding.hint("resolverd sync; until then ages count from the last generation"))
}

/// Says what is wrong with the log of revisions.
fn log(directory: &Path) -> Option<Finding> {
    let subject = directory.join("revisions.jsonl");
    let found = match revisions::damaged(directory) {
        Ok(0) => return None,
        Ok(count) => format!("{count} damaged lines, which are passed over"),
        Err(error) => error.to_string(),
    };
    let finding =
        Finding::warning("store.log", subject.display(), found).expected("lines with their checksums");
    Some(finding.hint("bring it back from a backup, or leave it: what is served does not rest on it"))
}

/// Says what is wrong with the memory of accepted revisions.
fn memory(directory: &Path) -> Option<Finding> {
    let path = directory.join("trust-state.json");
    let wrong = |found: String, hint: &str| {
        let finding = Finding::wrong("store.memory", path.display(), found);
        Some(finding.expected("the accepted revisions").hint(hint))
    };
    let newest = inspect::kept(directory).ok().and_then(|kept| kept.generation);
    let newest = newest.map_or(0, |generation| generation.number);
    if let Some(format) = Memory::look_at_format(directory) {
        return wrong(
            format!("it is of the format {format}, which a newer program wrote"),
            "use the program that wrote it, or a later one: this one starts no daemon here",
        );
    }
    let is_begun = |name: &str| directory.join(name).metadata().is_ok_and(|found| found.len() > 0);
    match Memory::look(directory) {
        Ok(None) if ["current", "audit.jsonl", "audit.head", "first-seen.log"].into_iter().any(is_begun) => {
            wrong(
                "no such file".to_owned(),
                "bring it back from a backup; otherwise the next start remembers only what the last generation says, and syncs nothing until: resolverd trust reset --reason TEXT",
            )
        }
        Ok(_) => wrong(
            Memory::look_at_loss(directory, newest)?,
            "bring it back from a backup while no daemon runs, or accept the loss: resolverd trust reset --reason TEXT",
        ),
        Err(found) => wrong(
            found,
            "bring it back from a backup; otherwise the next start sets it aside, remembers only what the last generation says, and syncs nothing until: resolverd trust reset --reason TEXT",
        ),
    }
}

/// Says what is wrong with the ledger of what was seen first.
fn ledger(directory: &Path) -> Option<Finding> {
    let path = directory.join("first-seen.log");
    let found = match FirstSeen::look(directory) {
        Ok(found) => found?,
        Err(error) => error.to_string(),
    };
    let finding = Finding::warning("store.ledger", path.display(), found);
    let hint = "bring it back from a backup while no daemon runs; otherwise what the last generation holds counts as seen first, from the next sync on";
    Some(finding.expected("what every version was when it was first let in").hint(hint))
}

/// Tells whether the year can be right.
pub(super) fn year(now_s: i64) -> Finding {
    if now_s < CLOCK_MIN_S {
        return Finding::wrong("clock", "year", format!("{now_s} seconds since 1970, which is before 2024"))
            .expected("the present")
            .hint("set the clock, such as with: timedatectl set-ntp true");
    }
    Finding::ok("clock", "year", "2024 or later")
}
