//! The verbs `lock` and `check`, and `resolve --locked`: a project's files in, one question, a lock beside them out.
//!
//! A lock is written whole or not at all, and only after everything about it is known. What changed under a version that stays
//! locked is never taken over in silence. Decides nothing about components itself.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::direct::{DirectReference, is_direct};
use catalogue_schema::error::ParseError;
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::lockfile::{self, Edge, Form, Locked};
use catalogue_schema::model::Warning;
use catalogue_schema::project::ProjectFile;
use catalogue_schema::version::Version;
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::calls::OwnCalls;
use crate::cli::project::{Kept, Room, Wishes, lock_at, note_text, own_files, project_at};
use crate::cli::render::{Paint, field, list, text};
use crate::cli::terms::{Platforms, Terms};
use crate::cli::{Ended, Env, Resolve, Terminal};
use crate::signing::replace;

/// What stands below the help of `lock`.
pub const LOCK_EXAMPLES: &str = "\
Examples:
  resolverd lock --native lcod://contract/       lock what lcp.toml requires, into lcp.lock
  resolverd lock lcod://acme/billing/invoice@^1  lock a reference, into resolverd.lock
  resolverd lock --update lcod://acme/tax        choose this one anew, leave everything else as it is";

/// What stands below the help of `check`.
pub const CHECK_EXAMPLES: &str = "\
Examples:
  resolverd check --locked             judge lcp.lock, or resolverd.lock, of the current directory
  resolverd check --locked other.lock  judge another one";

/// The exit status where a lock no longer holds: that of R006.
const DRIFTED: u8 = 4;
/// How many differences an error names; all are counted.
const NAMED: usize = 5;

/// What `lock` takes.
#[derive(Debug, Clone, Args)]
pub struct Lock {
    /// References to lock: the lock is of these alone afterwards, whatever it was of before. Those of lcp.toml, or of the
    /// resolverd.lock that is there, where none is named
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// Choose these anew, or all where none is named; everything else stays as it is locked
    #[arg(long, value_name = "ID", num_args = 0..)]
    update: Option<Vec<String>>,
    /// The directory of the project
    #[arg(long, value_name = "DIR", default_value = ".")]
    project: PathBuf,
    /// An id, or a prefix that ends in /, which the host implements itself; those of the lock where none is named
    #[arg(long = "native", value_name = "REF")]
    pub(super) natives: Vec<String>,
    /// A file with one native a line; # starts a comment
    #[arg(long, value_name = "FILE")]
    pub(super) natives_file: Option<PathBuf>,
    /// Choose prereleases like ordinary versions
    #[arg(long)]
    prerelease: bool,
    /// Read the sources again first
    #[arg(long)]
    refresh: bool,
    /// Write the snapshot, the policy and the exceptions by which the lock was made to this file
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Replace a lock that cannot be read, or that another resolver wrote
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    terms: Terms,
    /// Lock what is required alone, although calls were followed for the lock that is there
    #[arg(long, conflicts_with_all = ["calls", "strict"])]
    no_calls: bool,
}

/// What `check` takes.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Judge what the lock holds as it is, which is the default
    #[arg(long)]
    locked: bool,
    /// The lock; lcp.lock or resolverd.lock of the current directory where none is named
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    platforms: Platforms,
}

/// What is to be locked.
#[derive(Debug)]
pub struct Wish {
    references: Vec<String>,
    project: PathBuf,
    natives: Vec<String>,
    prerelease: bool,
    refresh: bool,
    update: Update,
    existing: Existing,
    terms: Terms,
    /// Calls are followed where they were for the lock that is there.
    keeps_calls: bool,
}

/// What may change.
#[derive(Debug, PartialEq, Eq)]
enum Update {
    /// What has to.
    Nothing,
    /// These, and what has to.
    Some(Vec<ComponentId>),
    /// Everything.
    All,
}

/// What the lock that is there is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// It has to be there.
    Required,
    /// It is kept to, and has to be one that can be read.
    Respected,
    /// It is kept to where it can be read.
    Overwritten,
}

/// A lock that was made, and the one that was there.
struct Made {
    form: Form,
    path: PathBuf,
    before: Option<Kept>,
    answer: Value,
    body: Value,
    lock: lockfile::Lock,
    wishes: Option<Wishes>,
    /// What there is to say of the project's own calls.
    warnings: Vec<Warning>,
}

impl Wish {
    /// Returns what `resolve --locked` asks for: the lock of the current directory as it is.
    pub fn locked(arguments: &Resolve, project: PathBuf, natives: Vec<String>) -> Wish {
        Wish {
            prerelease: arguments.prerelease,
            refresh: arguments.refresh,
            ..Wish::kept(&arguments.references, project, natives, &arguments.terms)
        }
    }

    /// Returns what asks for the lock of a project as it is, for these references or those of the project.
    pub fn kept(references: &[String], project: PathBuf, natives: Vec<String>, terms: &Terms) -> Wish {
        Wish {
            references: references.to_vec(),
            project,
            natives,
            prerelease: false,
            refresh: false,
            update: Update::Nothing,
            existing: Existing::Required,
            terms: terms.clone(),
            keeps_calls: true,
        }
    }

    fn of(arguments: &Lock, natives: Vec<String>) -> Result<Wish, Failure> {
        let read = |text: &String| {
            ComponentId::parse(text)
                .map_err(|error| Failure::of_reference(&error).hint("--update takes ids without versions"))
        };
        let update = match &arguments.update {
            None => Update::Nothing,
            Some(ids) if ids.is_empty() => Update::All,
            Some(ids) => Update::Some(ids.iter().map(read).collect::<Result<_, _>>()?),
        };
        Ok(Wish {
            references: arguments.references.clone(),
            project: arguments.project.clone(),
            natives,
            prerelease: arguments.prerelease,
            refresh: arguments.refresh,
            update,
            existing: if arguments.overwrite { Existing::Overwritten } else { Existing::Respected },
            terms: arguments.terms.clone(),
            keeps_calls: !arguments.no_calls,
        })
    }

    /// Makes the lock; writes nothing.
    fn make(&self, asker: &mut Asker<'_>, env: Env<'_>) -> Result<Made, Ended> {
        let room = Room::read(&self.project, env)?;
        let is_lcp = self.references.is_empty() && self.is_for(&room);
        let form = if is_lcp { Form::Lcp } else { Form::Resolverd };
        let before = match room.lock(form) {
            Err(_) if self.existing == Existing::Overwritten => None,
            kept => kept?,
        };
        if before.is_none() && self.existing == Existing::Required {
            return Err(absent(&room.path(form.file_name())).into());
        }
        let kept = before.as_ref().map(|kept| &kept.lock);
        let own = room.file.as_ref().filter(|_| is_lcp);
        let references = self.references(own, &room, kept)?;
        let natives = self.natives(&room, kept);
        let mut resolve = json!({
            "requests": references, "natives": natives,
            "prerelease": self.prerelease, "refresh": self.refresh,
        });
        let wishes = room.wishes.as_ref();
        let of_wishes = |part: fn(&Wishes) -> Value| wishes.map_or_else(|| json!({}), part);
        let mut overlay = of_wishes(Wishes::overlay);
        if own.is_none() && self.references.is_empty() {
            add_direct(&mut overlay, kept);
        }
        let was_followed = self.keeps_calls && kept.is_some_and(|lock| lock.calls().is_some());
        let terms = self.terms.clone().following(was_followed);
        terms.add(&mut resolve, asker.is_offline())?;
        let mut own_calls = match own.filter(|_| terms.follows_calls()) {
            Some(file) => OwnCalls::read(&self.project, file)?,
            None => OwnCalls::default(),
        };
        if terms.is_strict() {
            own_calls.refuse()?;
        }
        let stays = self.stays(kept)?;
        for (name, value) in
            [("lock", json!(stays)), ("overlay", overlay), ("mirrors", of_wishes(Wishes::mirrors))]
        {
            let is_empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(|all| all.is_empty());
            if !is_empty {
                resolve[name] = value;
            }
        }
        let project = own.and_then(|file| file.project.as_ref());
        let project = project.map(|project| format!("{}@{}", project.id, project.version));
        let mut body = json!({"resolve": resolve, "form": form.name(), "project": project});
        let called = self.called(own, &own_calls, kept.filter(|_| was_followed));
        if !called.is_empty() {
            body["called"] = json!(called);
        }
        let call = Call::post("/v1/lock", &body);
        let answer = match (self.refresh, terms.follows_calls()) {
            (true, _) => asker.ask_slowly(&call, "reading the sources")?,
            (false, true) => asker.ask_slowly(&call, "reading what is called")?,
            (false, false) => asker.ask(&call)?,
        };
        let (lock, _) = lockfile::Lock::parse(verbatim(&answer).as_bytes())
            .map_err(|error| Failure::of(Code::Internal, &error.in_field("the daemon's lock")))?;
        own_calls.compare(lock.components());
        if terms.is_strict() {
            own_calls.refuse()?;
        }
        Ok(Made {
            form,
            path: room.path(form.file_name()),
            before,
            answer,
            body,
            lock,
            wishes: room.wishes,
            warnings: own_calls.warnings().collect(),
        })
    }

    /// Returns what is locked because the project calls it.
    fn called(
        &self,
        own: Option<&ProjectFile>,
        calls: &OwnCalls,
        kept: Option<&lockfile::Lock>,
    ) -> Vec<String> {
        match (own, kept.and_then(lockfile::Lock::calls)) {
            // Where references alone are locked, nobody's compose file says what is called.
            (None, Some(before)) if self.references.is_empty() => before.project.iter().cloned().collect(),
            _ => calls.undeclared.iter().map(ToString::to_string).collect(),
        }
    }

    /// Tells whether the project's `lcp.toml` is what is locked. One without an id has no lock of its own, so that what is there
    /// already is kept to and updated.
    fn is_for(&self, room: &Room) -> bool {
        let Some(file) = &room.file else { return false };
        let is_again = self.update != Update::Nothing || self.existing == Existing::Required;
        file.project.is_some() || !is_again || !room.path(Form::Resolverd.file_name()).exists()
    }

    fn references(
        &self,
        own: Option<&ProjectFile>,
        room: &Room,
        kept: Option<&lockfile::Lock>,
    ) -> Result<Vec<String>, Failure> {
        if !self.references.is_empty() {
            return Ok(self.references.clone());
        }
        let texts = |all: &mut dyn Iterator<Item = &Reference>| all.map(ToString::to_string).collect();
        match (own, kept) {
            (Some(file), _) if file.project.is_none() => {
                let detail = format!("{} names no project", room.path("lcp.toml").display());
                Err(Failure::new(Code::ManifestInvalid, "project.id", detail)
                    .hint("give it an id with a version, such as id = \"lcod://demo/app@0.1.0\""))
            }
            (Some(file), _) => Ok(texts(&mut file.requires.iter())),
            (None, Some(lock)) => {
                let wanted = lock.roots().iter().map(|edge| &edge.wanted);
                Ok(texts(&mut wanted.filter(|wanted| !lock.is_own_call(wanted))))
            }
            (None, None) => {
                let detail =
                    "there is nothing to lock: no lcp.toml, no resolverd.lock, and no reference is named";
                Err(Failure::new(Code::RequestInvalid, "project.absent", detail)
                    .hint("run it where lcp.toml is, or name references: resolverd lock lcod://acme/billing/invoice@^1"))
            }
        }
    }

    /// Returns what the host implements: what was said, else what the lock says; with what the project itself does.
    fn natives(&self, room: &Room, kept: Option<&lockfile::Lock>) -> Vec<String> {
        let mut natives: BTreeSet<String> = self.natives.iter().cloned().collect();
        if let Some(lock) = kept.filter(|_| natives.is_empty()) {
            let below = lock.components().iter().flat_map(|one| &one.dependencies);
            let native = lock.roots().iter().chain(below).filter_map(Edge::native);
            natives.extend(native.map(ToString::to_string));
        }
        let own = room.wishes.iter().flat_map(|wishes| wishes.natives());
        natives.extend(own.map(ToString::to_string));
        natives.into_iter().collect()
    }

    /// Returns the releases that stay as they are, as far as they can.
    fn stays(&self, kept: Option<&lockfile::Lock>) -> Result<Vec<String>, Failure> {
        let Some(lock) = kept.filter(|_| self.update != Update::All) else { return Ok(Vec::new()) };
        if let Update::Some(ids) = &self.update
            && let Some(strange) = ids.iter().find(|id| lock.component(id).is_none())
        {
            let detail = format!("{strange} is not in the lock");
            return Err(Failure::new(Code::RequestInvalid, "lock.unknown", detail).hint(
                "resolverd lock adds what the project requires; --update is for what is locked already",
            ));
        }
        Ok(lock.components().iter().filter(|one| !self.is_updated(&one.id)).map(Locked::full).collect())
    }

    fn is_updated(&self, id: &ComponentId) -> bool {
        match &self.update {
            Update::Nothing => false,
            Update::Some(ids) => ids.contains(id),
            Update::All => true,
        }
    }
}

/// Adds the directories of commits that a lock of references holds, where the project does not say itself where they come from: the
/// references that named them are gone, and their releases are what was locked.
fn add_direct(overlay: &mut Value, kept: Option<&lockfile::Lock>) {
    let all = kept.into_iter().flat_map(|lock| lock.components());
    for one in all.filter(|one| is_direct(&one.owner)) {
        let (Some(repository), Some(commit), Some(path)) = (&one.repository, &one.commit, &one.path) else {
            // A repository of a machine stands in no lock: whoever wants it again names it again.
            continue;
        };
        let (repository, commit, path) = (repository.clone(), commit.clone(), path.clone());
        let known = &mut overlay["direct"][one.id.as_text()];
        if known.is_null() {
            *known = json!(DirectReference { repository, commit, path }.to_string());
        }
    }
}

/// Returns the lockfile of an answer as it is, to be written and read, never printed.
fn verbatim(answer: &Value) -> &str {
    answer["text"].as_str().unwrap_or_default()
}

/// What became of a component.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    id: ComponentId,
    from: Option<String>,
    to: Option<String>,
}

impl Made {
    fn text(&self) -> String {
        verbatim(&self.answer).to_owned()
    }

    fn is_new(&self) -> bool {
        self.before.as_ref().is_none_or(|kept| kept.text != self.text())
    }

    /// Returns which components came, went or changed, by id.
    fn changes(&self) -> Vec<Change> {
        let index = |lock: &lockfile::Lock| -> BTreeMap<ComponentId, Locked> {
            lock.components().iter().map(|one| (one.id.clone(), one.clone())).collect()
        };
        let before = self.before.as_ref().map(|kept| index(&kept.lock)).unwrap_or_default();
        let after = index(&self.lock);
        let ids: BTreeSet<&ComponentId> = before.keys().chain(after.keys()).collect();
        let changed = ids.into_iter().filter(|id| before.get(*id) != after.get(*id));
        let version = |one: &Locked| one.version.to_string();
        changed
            .map(|id| Change {
                id: id.clone(),
                from: before.get(id).map(version),
                to: after.get(id).map(version),
            })
            .collect()
    }

    /// Refuses other bytes under a version that is locked, and another owner or place of it, unless they were asked for.
    fn refuse_mutations(&self, wish: &Wish) -> Result<(), Failure> {
        let Some(Kept { lock, .. }) = &self.before else { return Ok(()) };
        for now in self.lock.components().iter().filter(|now| !wish.is_updated(&now.id)) {
            let Some(before) = lock.component(&now.id).filter(|before| before.version == now.version) else {
                continue;
            };
            // Which commit is meant, the project says itself.
            if is_direct(&before.owner) || is_direct(&now.owner) {
                continue;
            }
            let is_same_archive = before.archive == now.archive;
            if before.manifest != now.manifest || !is_same_archive || before.files != now.files {
                let (expected, found) = match is_same_archive {
                    true => (json!(before.manifest), json!(now.manifest)),
                    false => (json!(before.archive), json!(now.archive)),
                };
                let detail = format!("the bytes of {} are others than those that are locked", now.full());
                return Err(Failure::new(Code::LockDrift, "lock.mutated", detail)
                    .with("release", now.full())
                    .with("expected", &expected)
                    .with("found", &found)
                    .hint(format!(
                        "ask its author; resolverd check --locked says what changed, and resolverd lock --update {} accepts it",
                        now.id
                    )));
            }
            let (was, is) = (place(before), place(now));
            if was != is {
                let detail = format!(
                    "{} comes from another place than the locked one: {is} instead of {was}",
                    now.full()
                );
                return Err(Failure::new(Code::LockDrift, "lock.drifted", detail)
                    .with("release", now.full())
                    .with("expected", &was)
                    .with("found", &is)
                    .hint(format!(
                        "resolverd explain {} says who lists it, and resolverd lock --update {} accepts it",
                        now.full(),
                        now.id
                    )));
            }
        }
        Ok(())
    }
}

/// Returns who owns a release, and where it lies.
fn place(one: &Locked) -> String {
    let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
    let commit = text(one.commit.as_ref().map(ToString::to_string));
    let path = text(one.path.as_ref().map(ToString::to_string));
    format!("catalogue {}, commit {commit}, path {path}", one.owner)
}

/// Locks, and writes the lock where it differs from the one that is there.
///
/// **Errors**: what is wrong with the project's files, why there is no solution, R006 `lock.mutated`, and that a file cannot be
/// written; the lock that is there stays then.
pub fn run(
    arguments: &Lock,
    natives: Vec<String>,
    asker: &mut Asker<'_>,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<(), Ended> {
    let wish = Wish::of(arguments, natives)?;
    if let Some(receipt) = &arguments.receipt {
        refuse_own(receipt, &wish.project, env)?;
    }
    let made = wish.make(asker, env)?;
    made.refuse_mutations(&wish)?;
    warn(&made, terminal);
    // First, so that a lock is never there without the receipt that was asked for.
    if let Some(path) = &arguments.receipt {
        let mut text = serde_json::to_string_pretty(&made.answer["receipt"]).unwrap_or_default();
        text.push('\n');
        write(path, text.as_bytes())?;
    }
    if made.is_new() {
        write(&made.path, made.text().as_bytes())?;
    }
    let mut answer = made.answer.clone();
    answer["file"] = json!(made.path);
    answer["changed"] = json!(made.is_new());
    let row = |one: &Change| json!({"id": one.id, "from": one.from, "to": one.to});
    answer["changes"] = made.changes().iter().map(row).collect();
    note(&made, &mut answer);
    terminal.print(&answer, locked_text)
}

/// Refuses a receipt that would take the place of one of the project's own files.
fn refuse_own(receipt: &Path, project: &Path, env: Env<'_>) -> Result<(), Failure> {
    match own_files(project, env).into_iter().find(|own| is_same(receipt, own)) {
        None => Ok(()),
        Some(own) => {
            let detail = format!("the receipt {} is {}", receipt.display(), own.display());
            Err(Failure::new(Code::RequestInvalid, "lock.receipt", detail)
                .hint("name a file of its own, such as --receipt receipt.json"))
        }
    }
}

/// Tells whether two paths lead to one file, or would.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let place = |path: &Path| {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(directory.canonicalize().ok()?.join(path.file_name()?))
    };
    inode(one).is_some_and(|found| inode(other) == Some(found))
        || place(one).is_some_and(|found| place(other) == Some(found))
}

fn warn(made: &Made, terminal: &Terminal) {
    if let Some(wishes) = &made.wishes {
        wishes.say(terminal);
    }
    for warning in &made.warnings {
        terminal.say(&format!("warning: {} ({})", warning.text, warning.reason));
    }
}

fn note(made: &Made, answer: &mut Value) {
    if let Some(wishes) = &made.wishes {
        wishes.note(answer);
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace(path, bytes).map_err(|error| {
        Failure::new(Code::RequestInvalid, "lock.write", format!("cannot write {}: {error}", path.display()))
            .hint("name a place in a directory that exists and may be written; what was there is as it was")
    })
}

fn locked_text(answer: &Value, paint: Paint) -> String {
    let mut out = String::new();
    for one in list(answer, "changes") {
        let version = |name: &str| one[name].as_str().map(str::to_owned);
        let line = match (version("from"), version("to")) {
            (None, Some(to)) => format!("added    {}@{to}", field(one, "id")),
            (Some(from), None) => format!("removed  {}@{from}", field(one, "id")),
            (Some(from), Some(to)) if from != to => format!("changed  {} {from} -> {to}", field(one, "id")),
            (_, to) => format!("changed  {}@{} (same version)", field(one, "id"), to.unwrap_or_default()),
        };
        out.push_str(&format!("{line}\n"));
    }
    for warning in list(answer, "warnings") {
        out.push_str(&format!("{} {}\n", paint.note("warning:"), field(warning, "text")));
    }
    let (count, file) = (list(answer, "components").len(), field(answer, "file"));
    let natives = list(answer, "natives").len();
    let what = if answer["changed"] == true { "locked" } else { "unchanged:" };
    out.push_str(&format!("{what} {count} components in {file}; the host implements {natives} more\n"));
    out + &note_text(answer)
}

/// Answers what the lock of the current directory holds.
///
/// **Errors**: those of [`question`], and of a resolve.
pub fn resolve(
    wish: &Wish,
    asker: &mut Asker<'_>,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<Value, Ended> {
    let made = held(wish, asker, env, terminal)?;
    let mut question = question_of(&made);
    // What was published meanwhile is no part of what the lock was compared with.
    question["snapshot"] = made.answer["snapshot"].clone();
    let call = Call::post("/v1/resolve", &question);
    let mut answer = match question["calls"].is_string() {
        true => asker.ask_slowly(&call, "reading what is called")?,
        false => asker.ask(&call)?,
    };
    note(&made, &mut answer);
    Ok(answer)
}

/// Returns the question whose answer is what the lock of the current directory holds, and the absolute path of that lock.
///
/// **Errors**: R006 where there is no lock (`lock.absent`) or a new one would differ (`lock.changed`, `lock.mutated`); those of a
/// resolve.
pub fn question(
    wish: &Wish,
    asker: &mut Asker<'_>,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<(Value, PathBuf), Ended> {
    let made = held(wish, asker, env, terminal)?;
    // Of the directory, without the dots of a project that is the current one.
    let path = std::path::absolute(&made.path).map_err(|error| {
        Failure::new(Code::RequestInvalid, "arguments", format!("{}: {error}", made.path.display()))
    })?;
    Ok((question_of(&made), path))
}

/// Makes the lock anew, and compares it with the one that is there.
fn held(wish: &Wish, asker: &mut Asker<'_>, env: Env<'_>, terminal: &Terminal) -> Result<Made, Ended> {
    let made = wish.make(asker, env)?;
    warn(&made, terminal);
    made.refuse_mutations(wish)?;
    if made.is_new() {
        return Err(drift(&made).into());
    }
    Ok(made)
}

fn question_of(made: &Made) -> Value {
    let mut question = made.body["resolve"].clone();
    // The sources were read again for the lock.
    question["refresh"] = json!(false);
    let called = made.body["called"].as_array().cloned().unwrap_or_default();
    question["requests"].as_array_mut().into_iter().for_each(|requests| requests.extend(called.clone()));
    question
}

fn absent(path: &Path) -> Failure {
    let detail = format!("there is no {}, so nothing is locked", path.display());
    Failure::new(Code::LockDrift, "lock.absent", detail).hint("write it with: resolverd lock")
}

/// Says how a new lock would differ.
fn drift(made: &Made) -> Failure {
    let changes = made.changes();
    let told = |one: &Change| match (&one.from, &one.to) {
        (Some(from), Some(to)) => format!("{} {from} -> {to}", one.id),
        (None, Some(to)) => format!("{}@{to} comes", one.id),
        (Some(from), None) => format!("{}@{from} goes", one.id),
        (None, None) => one.id.to_string(),
    };
    let mut named: Vec<String> = changes.iter().take(NAMED).map(told).collect();
    if let Some(more) = changes.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    let how = if named.is_empty() { "what the project asks for".to_owned() } else { named.join(", ") };
    let detail = format!("{} would change: {how}", made.path.display());
    let row = |one: &Change| json!({"id": one.id, "from": one.from, "to": one.to});
    Failure::new(Code::LockDrift, "lock.changed", detail)
        .with("form", made.form.name())
        .with("changes", changes.iter().map(row).collect::<Vec<Value>>())
        .hint("look at it and write it with: resolverd lock")
}

/// Judges a lock; the exit status is 4 where something does not hold.
///
/// **Errors**: there is no lock, or it cannot be read.
pub fn check(arguments: &Check, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let usual = [Form::Lcp, Form::Resolverd].map(|form| PathBuf::from(form.file_name()));
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => usual.iter().find(|path| path.exists()).unwrap_or(&usual[0]).clone(),
    };
    let Some(kept) = lock_at(&path)? else {
        let detail = format!("there is no {}", path.display());
        return Err(Failure::new(Code::RequestInvalid, "lock.absent", detail)
            .hint("name a lock, or write one with: resolverd lock")
            .into());
    };
    let mut answer = asker.ask(&Call::post("/v1/lock/check", &json!({"lock": kept.text})))?;
    answer["file"] = json!(path);
    let otherwise = asks_otherwise(&path, &kept.lock)?;
    for row in otherwise.into_iter().chain(unmet_by_host(&kept.lock, &arguments.platforms)?) {
        answer["holds"] = json!(false);
        answer["findings"].as_array_mut().into_iter().for_each(|rows| rows.push(row.clone()));
    }
    terminal.print(&answer, checked_text)?;
    Ok(if answer["holds"] == true { 0 } else { DRIFTED })
}

/// Returns the finding that the project beside a lock asks for something else than was locked.
fn asks_otherwise(path: &Path, lock: &lockfile::Lock) -> Result<Option<Value>, Failure> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let Some(project) = lock.project() else { return Ok(None) };
    let Some(file) = project_at(beside)? else { return Ok(None) };
    let texts = |all: &mut dyn Iterator<Item = &Reference>| -> BTreeSet<String> {
        all.map(ToString::to_string).collect()
    };
    let locked = texts(&mut lock.roots().iter().map(|edge| &edge.wanted));
    let calls = match lock.calls() {
        Some(_) => {
            OwnCalls::read(if beside.as_os_str().is_empty() { Path::new(".") } else { beside }, &file)?
        }
        None => OwnCalls::default(),
    };
    let asked = texts(&mut file.requires.iter().chain(&calls.undeclared));
    let told = |all: &BTreeSet<String>, other: &BTreeSet<String>| match all.difference(other).next() {
        None => "nothing beside that".to_owned(),
        Some(_) => all.difference(other).cloned().collect::<Vec<_>>().join(", "),
    };
    Ok((locked != asked).then(|| {
        json!({
            "id": project.id, "version": project.version, "reason": "lock.drifted",
            "expected": told(&locked, &asked), "found": told(&asked, &locked),
            "hint": "resolverd lock takes over what the project requires",
        })
    }))
}

/// Returns what of a lock the host does not meet with the versions that it is said to have.
fn unmet_by_host(lock: &lockfile::Lock, platforms: &Platforms) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    for (name, version) in platforms.all()? {
        let fault = |error: ParseError| {
            Failure::of(Code::ReferenceInvalid, &error.in_field(format!("platforms.{name}")))
                .hint("write it as --platform estream=0.9.0")
        };
        let (id, host) = (Reference::parse(name).map_err(fault)?.id, Version::parse(version).map_err(fault)?);
        for one in lock.components() {
            let wanted = one.dependencies.iter().filter_map(Edge::native).filter(|wanted| wanted.id == id);
            rows.extend(wanted.filter(|wanted| !wanted.requirement.matches(&host)).map(|wanted| {
                json!({
                    "id": one.id, "version": one.version, "reason": "lock.host_version",
                    "expected": wanted, "found": format!("the host has {name} {version}"),
                    "hint": format!("use another host, or resolverd lock --update {} --platform {name}={version}", one.id),
                })
            }));
        }
    }
    Ok(rows)
}

fn checked_text(answer: &Value, paint: Paint) -> String {
    let mut out = String::new();
    for one in list(answer, "findings") {
        let full = format!("{}@{}", field(one, "id"), field(one, "version"));
        out.push_str(&format!("{} {full}\n", paint.note(&format!("{}:", field(one, "reason")))));
        out.push_str(&format!("  locked  {}\n  today   {}\n", field(one, "expected"), field(one, "found")));
        out.push_str(&format!("  next    {}\n", field(one, "hint")));
    }
    let (file, count) = (field(answer, "file"), text(&answer["components"]));
    let findings = list(answer, "findings").len();
    let end = match findings {
        0 => format!("{file} holds: {count} components\n"),
        _ => format!("{file} does not hold: {findings} findings in {count} components\n"),
    };
    out + &end
}
