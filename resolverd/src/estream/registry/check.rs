//! What a registry holds, verified as its continuous integration does it (seed 002 §7.4), in one place: nobody else judges a change.
//!
//! Without a base every version is looked at. With one, those that differ from it, and nothing else may have changed that a registry
//! promises to keep: a published version with all of its files, a publisher's keys, and that whoever could use a version still can.
//! What may change is told, so that whoever merges
//! sees it: versions withdrawn, keys replaced or revoked, words.
//!
//! 1. The documents of a version are read by the reader of the daemon, and its seal is looked at as there.
//! 2. Its archive is had: out of the registry, from its address, or from a directory that the caller names. Its SHA3-256 is the one
//!    that all documents state.
//! 3. It can be unpacked within bounds, and its manifest is the copy in the index, byte for byte.
//! 4. It passes the validations of [`crate::estream::package`], against what was published before.
//! 5. Of a version that is new: its key is active now, and it was not published in the future, nor before those that it follows.
//!    `published_at` is written by whoever asks for the change, so that the holder of a replaced key could write one of better days.
//!
//! Never writes into the registry, and runs nothing that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::document::ConfigDocument;
use catalogue_schema::dialect::estream::{INDEX, KERNEL, MANIFEST, PREFIX, Publisher};
use catalogue_schema::digest::Hashed;
use catalogue_schema::error::escaped;
use catalogue_schema::id::{ComponentId, Dialect, Reference};
use catalogue_schema::json;
use catalogue_schema::key::Fingerprint;
use catalogue_schema::model::{Refusal, Release, Verdict};
use catalogue_schema::path::DocPath;
use catalogue_schema::revision::rfc3339;
use catalogue_schema::seal::{KEY_EXPIRED, KEY_REVOKED, KEY_ROTATED, KeyStatus, PublisherKey, Seal};
use catalogue_schema::version::Version;
use serde_json::{Map, Value};

use crate::api::{Code, Failure};
use crate::estream::git::{Git, GitError};
use crate::estream::package::Package;
use crate::estream::package::against::{Against, Increment};
use crate::estream::package::command::CheckCommand;
use crate::estream::registry::keep::for_archives;
use crate::estream::registry::view::{Eyes, Home, PUBLISHERS, View};
use crate::fetch::limit::Limits;
use crate::materialize::archive::{self, ArchiveError, Bounds};
use crate::trust::keys::KEY_WEAK;
use crate::trust::signature::is_weak;
use crate::trust::verify::{Evidence, judge};

/// A published version was changed or removed.
pub const VERSION_CHANGED: &str = "registry.version_changed";
/// A key of a publisher was changed, removed or brought back.
pub const KEY_CHANGED: &str = "registry.key_changed";
/// A component is somebody else's now.
pub const PUBLISHER_CHANGED: &str = "registry.publisher_changed";
/// A file that belongs to nothing in a registry.
pub const FILE_UNKNOWN: &str = "registry.file_unknown";
/// More versions at once than are looked at.
pub const TOO_MANY: &str = "registry.too_many_versions";
/// A version that is said to be published at a time that cannot be.
pub const PUBLISHED_AT: &str = "registry.published_at";
/// The fields of metadata that are compared by themselves, or follow from the versions.
const COVERED: [&str; 5] = ["name", "category", "publisher", "versions", "latest"];
/// The fields of metadata that come with a new version.
const OWN_WORDS: [&str; 2] = ["description", "keywords"];
/// What may lie in the directory of a version.
const VERSION_FILES: [&str; 3] = [MANIFEST, "SIGNATURE.ml-dsa", "checksum.sha3"];
/// A file without meaning, by which Git keeps an empty directory.
pub const PLACEHOLDER: &str = ".gitkeep";
/// How far another machine's clock may be ahead, in seconds.
const AHEAD_S: i64 = 3_600;
/// How many versions a line names.
const NAMED_MAX: usize = 8;
/// How many files may differ from a base.
const CHANGES_MAX: usize = 100_000;
/// How many versions one change may publish: of each an archive is read.
const NEW_VERSIONS_MAX: usize = 10_000;
/// How many directories Git is asked for at once.
const LISTED_MAX: usize = 500;
/// How the names of archives end.
const ARCHIVE_ENDS: [&str; 2] = [".tar.gz", ".tgz"];
/// The reason for which readers refuse a path that could be another one where case does not count.
const AMBIGUOUS: &str = "git.ambiguous_path";
/// The modes of files that Git keeps: plain ones.
const PLAIN_MODES: [&str; 3] = ["100644", "100755", "000000"];

/// What is checked.
pub struct Question<'a> {
    /// The registry.
    pub home: &'a Home,
    /// What it is compared with, and the files that differ.
    pub base: Option<(&'a Home, &'a [Change])>,
    /// A directory of archives, called `NAME-VERSION.tar.gz`, that are taken from there.
    pub archives: Option<&'a Path>,
    /// What judges circuits and test vectors.
    pub command: Option<&'a CheckCommand>,
    /// The limits of what is read.
    pub limits: &'a Limits,
    /// What time it is, in seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path from the registry's root; from that of the repository where it lies outside of the registry.
    pub path: String,
    /// It lies in the registry.
    pub is_own: bool,
    /// Its mode now, as Git writes it; `000000` where it is gone.
    pub mode: String,
    /// It was there before.
    pub was_there: bool,
    /// What stands beside it, or beside a directory of it, by a name that differs in the case of letters alone; of files that are new.
    pub twin: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// The versions that were looked at.
    pub versions: Vec<Looked>,
    /// What changed besides, a line each, for whoever merges.
    pub changes: Vec<String>,
    /// Everything that is wrong.
    pub findings: Vec<Failure>,
    /// What stops nothing.
    pub warnings: Vec<String>,
    /// Why nobody should merge this without having looked; none where that is right for verified publishers' new versions.
    pub attention: Vec<String>,
}

/// A version that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The version, as `name@version`.
    pub version: String,
    /// Its publisher, where that could be read.
    pub publisher: Option<String>,
    /// The key that signs it.
    pub key_id: Option<String>,
    /// It is as it has to be.
    pub is_good: bool,
}

/// Returns the files of a repository that differ between two commits; `root` is the registry's directory in it, with a slash at its
/// end, or nothing.
///
/// **Errors**: R011: Git cannot tell all of them, or they are more than are looked at.
pub fn changes(git: &Git, (base, head): (&str, &str), root: &str) -> Result<Vec<Change>, Failure> {
    let failed = |why: String| {
        Failure::new(Code::RequestInvalid, "registry.base", format!("cannot compare with {base}: {why}"))
            .hint(
                "in a clone without all of its objects (--filter) fetch them first: nothing is fetched here",
            )
    };
    // What the change itself says of its submodules hides none of them.
    let arguments = [
        "diff-tree",
        "-r",
        "-z",
        "--raw",
        "--no-renames",
        "--full-index",
        "--ignore-submodules=none",
        base,
        head,
        "--",
    ];
    let listed = git.run(&arguments).map_err(|error| failed(error.to_string()))?;
    let mut changes = changes_of(&listed, root).map_err(failed)?;
    note_twins(git, head, root, &mut changes).map_err(|error| failed(error.to_string()))?;
    Ok(changes)
}

/// Notes what of the new files readers could not tell from others: where case does not count they would be one, so that neither is read.
fn note_twins(git: &Git, head: &str, root: &str, changes: &mut [Change]) -> Result<(), GitError> {
    let directories: BTreeSet<String> =
        changes.iter().flat_map(|change| change.steps(root)).map(|(above, _)| above).collect();
    let mut alike: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let (top, below): (Vec<&String>, Vec<&String>) = directories.iter().partition(|one| one.is_empty());
    let asked = top.chunks(1).map(|_| &[][..]).chain(below.chunks(LISTED_MAX));
    for directories in asked {
        let fixed = ["ls-tree", "-z", "--name-only", "--full-tree", head, "--"];
        let listed = fixed.into_iter().chain(directories.iter().map(|one| one.as_str()));
        let listed = git.run(&listed.collect::<Vec<&str>>())?;
        for path in listed.split('\0') {
            let (above, name) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
            alike.entry((above.to_owned(), name.to_ascii_lowercase())).or_default().push(path.to_owned());
        }
    }
    for change in changes {
        let twin = change.steps(root).into_iter().find_map(|(above, name)| {
            let own = format!("{above}{name}");
            alike.get(&(above, name.to_ascii_lowercase()))?.iter().find(|other| **other != own).cloned()
        });
        change.twin = twin;
    }
    Ok(())
}

impl Change {
    /// Returns the directories that lead to a new file from the root of its repository, each with the name that follows in it; of a file
    /// outside of the registry those that lead to the registry as well, for whom case does not count.
    fn steps(&self, root: &str) -> Vec<(String, String)> {
        if self.was_there || self.mode == "000000" {
            return Vec::new();
        }
        let path = if self.is_own { format!("{root}{}", self.path) } else { self.path.clone() };
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).collect();
        let steps = ends.iter().map(|end| path[..*end].rfind('/').map_or(0, |at| at + 1)).zip(&ends);
        let is_read = |(_, end): &(usize, &usize)| {
            self.is_own
                || root.get(..=**end).is_some_and(|lead| {
                    lead.ends_with('/') && lead[..**end].eq_ignore_ascii_case(&path[..**end])
                })
        };
        let named = |(start, end): (usize, &usize)| (path[..start].to_owned(), path[start..*end].to_owned());
        steps.filter(is_read).map(named).collect()
    }
}

/// Reads what Git lists: two fields for each file, `:MODE MODE OBJECT OBJECT STATUS` and its path, with NUL behind each. A list that is
/// cut off would hide the rest, and is none.
fn changes_of(listed: &str, root: &str) -> Result<Vec<Change>, String> {
    let Some(listed) = listed.strip_suffix('\0') else {
        return if listed.is_empty() {
            Ok(Vec::new())
        } else {
            Err("the list of changes is cut off".to_owned())
        };
    };
    let fields: Vec<&str> = listed.split('\0').collect();
    if fields.len() / 2 > CHANGES_MAX {
        return Err(format!("{} files differ, and at most {CHANGES_MAX} are looked at", fields.len() / 2));
    }
    let read = |pair: &[&str]| {
        let [about, path] = pair else { return None };
        let words: Vec<&str> = about.strip_prefix(':')?.split(' ').collect();
        let [was, mode, _, _, _] = words.as_slice() else { return None };
        let own = path.strip_prefix(root);
        Some(Change {
            path: own.unwrap_or(path).to_owned(),
            is_own: own.is_some(),
            mode: (*mode).to_owned(),
            was_there: *was != "000000",
            twin: None,
        })
    };
    let changes: Option<Vec<Change>> = fields.chunks(2).map(read).collect();
    changes.ok_or_else(|| "the list of changes cannot be read".to_owned())
}

/// Checks a registry.
///
/// **Errors**: nobody could find out; what is wrong with the registry is in the report.
pub fn check(eyes: &Eyes, question: &Question<'_>) -> Result<Report, Failure> {
    let view = eyes.view(question.home)?;
    let mut report = Report::default();
    let config = match eyes.config(question.home) {
        Ok(config) => config,
        Err(failure) => {
            report.findings.push(failure);
            ConfigDocument::default()
        }
    };
    let mut work =
        Work { eyes, question, view: &view, config: &config, report, fresh: BTreeMap::new(), holders: None };
    match question.base {
        Some((base, changes)) => {
            let known = work.base(base)?;
            work.differing(base, &known, changes)?;
            work.files_beside(&known, changes);
            work.keeps(&known);
        }
        None => work.everything()?,
    }
    work.look_at_versions()?;
    let mut report = work.report;
    report.warnings.extend(view.warnings.iter().map(|warning| warning.text.clone()));
    report.findings.dedup();
    Ok(report)
}

/// What was published before a version that is looked at.
#[derive(Debug, Clone, Default)]
struct Before {
    /// The highest of the versions that it has to be higher than.
    highest: Option<Version>,
    /// When the newest of them was published, in seconds since 1970-01-01 UTC; of a version that is new.
    newest_s: Option<i64>,
    /// It is new in comparison with a base.
    is_new: bool,
}

/// The versions of a component that others have to follow: all in one line, or a line for each major version. Of a line only its end is
/// kept, so that many versions cost no more than their number.
#[derive(Debug)]
struct Lines<'v> {
    increment: Increment,
    ends: BTreeMap<u64, End<'v>>,
}

/// The end of a line.
#[derive(Debug)]
struct End<'v> {
    highest: &'v Version,
    newest_s: Option<i64>,
}

impl<'v> Lines<'v> {
    fn new(config: &ConfigDocument) -> Lines<'v> {
        let increment = if config.increment_per_major { Increment::PerMajor } else { Increment::Any };
        Lines { increment, ends: BTreeMap::new() }
    }

    fn line(&self, version: &Version) -> u64 {
        match self.increment {
            Increment::Any => 0,
            Increment::PerMajor => version.semver().major,
        }
    }

    fn add(&mut self, version: &'v Version, published_s: Option<i64>) {
        let end = End { highest: version, newest_s: published_s };
        let known = self.ends.entry(self.line(version)).or_insert(end);
        if known.highest.semver().cmp_precedence(version.semver()).is_lt() {
            known.highest = version;
        }
        known.newest_s = known.newest_s.max(published_s);
    }

    fn before(&self, version: &Version) -> Before {
        let end = self.ends.get(&self.line(version));
        Before {
            highest: end.map(|end| end.highest.clone()),
            newest_s: end.and_then(|end| end.newest_s),
            is_new: false,
        }
    }
}

/// Returns the time that a version of `id` is published at which is made now: not before those that it follows, whose clocks may have
/// been ahead as far as is let through.
pub fn dated(
    view: &View,
    config: &ConfigDocument,
    (id, version): (&ComponentId, &Version),
    now_s: i64,
) -> i64 {
    let mut lines = Lines::new(config);
    view.of(id).iter().for_each(|one| lines.add(&one.version, view.published_s(id, &one.version)));
    let newest_s =
        lines.before(version).newest_s.filter(|newest_s| *newest_s <= now_s.saturating_add(AHEAD_S));
    newest_s.map_or(now_s, |newest_s| newest_s.max(now_s))
}

/// What a base holds.
#[derive(Debug, Default)]
struct Known {
    view: View,
    config: ConfigDocument,
}

/// A check on its way.
struct Work<'a> {
    eyes: &'a Eyes,
    question: &'a Question<'a>,
    view: &'a View,
    config: &'a ConfigDocument,
    report: Report,
    /// The versions that are to be looked at.
    fresh: BTreeMap<(ComponentId, Version), Before>,
    /// Whose every key is, once that was asked for.
    holders: Option<Holders>,
}

/// The publishers that have a key, each with its id there.
type Holders = BTreeMap<Fingerprint, Vec<(String, String)>>;

/// What a path of a registry belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Belongs<'p> {
    Publisher(&'p str),
    Config,
    Metadata {
        directory: String,
        name: String,
    },
    Version {
        name: String,
        version: &'p str,
        file: &'p str,
    },
    /// Below the index or the publishers, and nothing that a registry knows.
    Unknown,
    Other,
}

impl Belongs<'_> {
    fn of(path: &str) -> Belongs<'_> {
        let segments: Vec<&str> = path.split('/').collect();
        if is_word(path) {
            return Belongs::Other;
        }
        match segments.as_slice() {
            ["config.json"] => Belongs::Config,
            [PUBLISHERS, file] => match file.strip_suffix(".json") {
                Some(name) => Belongs::Publisher(name),
                None => Belongs::Unknown,
            },
            [INDEX, category, scope, name, rest @ ..] if scope.starts_with('@') => {
                below(category, &format!("{scope}/{name}"), rest)
            }
            [INDEX, category, name, rest @ ..] => below(category, name, rest),
            [INDEX | PUBLISHERS, ..] => Belongs::Unknown,
            _ => Belongs::Other,
        }
    }
}

fn below<'p>(category: &str, name: &str, rest: &[&'p str]) -> Belongs<'p> {
    match rest {
        ["metadata.json"] => {
            Belongs::Metadata { directory: format!("{INDEX}/{category}/{name}"), name: name.to_owned() }
        }
        [version, file] => Belongs::Version { name: name.to_owned(), version, file },
        _ => Belongs::Unknown,
    }
}

impl Work<'_> {
    fn find(&mut self, code: Code, reason: &'static str, detail: String, hint: &str) {
        self.report.findings.push(Failure::new(code, reason, detail).hint(hint));
    }

    /// Looks at all of it.
    fn everything(&mut self) -> Result<(), Failure> {
        let view = self.view;
        for same in view.releases.chunk_by(|one, other| one.id == other.id) {
            // What the registry attests says in which order they came.
            let mut timed: Vec<(Option<i64>, &Release)> = same
                .iter()
                .map(|release| (view.published_s(&release.id, &release.version), release))
                .collect();
            timed.sort_by_key(|(published_s, _)| *published_s);
            let mut lines = Lines::new(self.config);
            for at_once in timed.chunk_by(|(one_s, _), (other_s, _)| one_s == other_s) {
                for (published_s, release) in at_once {
                    let before = published_s.map(|_| lines.before(&release.version)).unwrap_or_default();
                    self.fresh.insert((release.id.clone(), release.version.clone()), before);
                }
                at_once.iter().for_each(|(published_s, release)| lines.add(&release.version, *published_s));
            }
        }
        for name in self.eyes.publishers(self.question.home)? {
            self.publisher(&name, None)?;
        }
        let skipped = self.view.skipped.iter();
        let skipped = skipped.map(|one| (one.entry.clone(), Failure::of(Code::ManifestInvalid, &one.error)));
        self.report.findings.extend(skipped.map(|(entry, failure)| about(&entry, failure)));
        Ok(())
    }

    /// Looks at what differs from a base.
    fn differing(&mut self, base: &Home, known: &Known, changes: &[Change]) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        for change in changes {
            let path = escaped(&change.path);
            if let Some(twin) = &change.twin {
                let expected = "one file, whatever the case of its letters";
                let refusal = Refusal::new(AMBIGUOUS, &path, expected, format!("{} as well", escaped(twin)));
                let failure =
                    Failure::of_refusal(&refusal).hint("put it where the other is, or name it otherwise");
                self.report.findings.push(failure);
            }
            if !change.is_own {
                self.attend(format!("{path} changes, outside of the registry"));
                continue;
            }
            if !PLAIN_MODES.contains(&change.mode.as_str()) {
                let detail = format!("{path}: expected a plain file, found a link or another repository");
                self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "put the file itself in its place");
            }
            match Belongs::of(&change.path) {
                Belongs::Publisher(name) => self.publisher(name, Some(base))?,
                Belongs::Metadata { directory, name } => {
                    names.insert(escaped(&name));
                    self.metadata((base, known), &directory, &name)?;
                }
                Belongs::Version { name, version, file } => {
                    names.insert(escaped(&name));
                    self.version_file(change, &name, version, file);
                }
                Belongs::Unknown => {
                    let detail = format!("{path}: a registry has no such file");
                    self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "leave it out of the change");
                }
                Belongs::Config | Belongs::Other => {}
            }
        }
        // What stood wrong before is not this change's fault, and neither is what is wrong with others.
        let before: BTreeSet<(&str, String)> =
            known.view.skipped.iter().map(|one| (one.entry.as_str(), one.error.to_string())).collect();
        for one in &self.view.skipped {
            let is_own = names_of(&one.entry).iter().any(|name| names.contains(name));
            if is_own && !before.contains(&(one.entry.as_str(), one.error.to_string())) {
                let failure = Failure::of(Code::ManifestInvalid, &one.error);
                self.report.findings.push(about(&one.entry, failure));
            }
        }
        Ok(())
    }

    /// Notes what nobody should merge unseen.
    fn attend(&mut self, told: String) {
        self.report.changes.push(told.clone());
        self.report.attention.push(told);
    }

    /// Reads what the change is compared with. A base that is no registry has nothing to keep, and is told.
    fn base(&mut self, base: &Home) -> Result<Known, Failure> {
        let is_own_fault =
            |failure: &Failure| matches!(failure.code, Code::ManifestInvalid | Code::UnknownPublisher);
        let is_new = self.eyes.is_empty(base)?;
        let (view, config) = match is_new {
            true => (Ok(View::default()), Ok(ConfigDocument::default())),
            false => (self.eyes.view(base), self.eyes.config(base)),
        };
        if is_new {
            self.report.attention.push("the base has no index".to_owned());
        }
        let mut told = |failure: Failure| match is_own_fault(&failure) {
            true => {
                self.report.attention.push(format!("the base is none that readers take: {}", failure.detail));
                Ok(())
            }
            false => Err(failure),
        };
        let view = view.or_else(|failure| told(failure).map(|()| View::default()))?;
        let config = config.or_else(|failure| told(failure).map(|()| ConfigDocument::default()))?;
        Ok(Known { view, config })
    }

    /// Looks at the files that are neither documents nor publishers: an archive belongs to a version of this change, or stays.
    fn files_beside(&mut self, known: &Known, changes: &[Change]) {
        let Some((base, _)) = self.question.base else { return };
        let before: BTreeSet<String> = known.view.releases.iter().filter_map(|one| base.own(one)).collect();
        let fresh = self.view.releases.iter().filter(|one| {
            let before = self.fresh.get(&(one.id.clone(), one.version.clone()));
            before.is_some_and(|before| before.is_new)
        });
        let fresh: BTreeSet<String> = fresh.filter_map(|one| self.question.home.own(one)).collect();
        for change in changes.iter().filter(|change| change.is_own) {
            let path = escaped(&change.path);
            if !matches!(Belongs::of(&change.path), Belongs::Config | Belongs::Other) {
                continue;
            }
            let is_kept = is_archive(&change.path, self.config) || is_archive(&change.path, &known.config);
            let is_gone = change.mode == "000000";
            if before.contains(&change.path) {
                let detail = format!("{path}: the archive of a published version changes");
                self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
            } else if fresh.contains(&change.path) && !may_be_archive(&change.path) {
                // What a forge or Git acts on is no archive, whatever the index calls it.
                let detail = format!("{path}: a version has its archive there, where no archive may lie");
                let hint = "put it below a directory such as archives, and correct its archive_url";
                self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, hint);
            } else if fresh.contains(&change.path) && !change.was_there {
                // It is looked at with its version. What else would make something of it nobody knows.
                if !is_archive(&change.path, &known.config) && !is_called_archive(&change.path) {
                    self.attend(format!("{path} is new, and not called as an archive in a directory is"));
                }
            } else if is_kept && !is_gone && !is_word(&change.path) {
                let detail = format!("{path}: no version of this change has its archive there");
                self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "leave it out of the change");
            } else {
                self.attend(format!("{path} changes"));
            }
        }
    }

    /// Compares what readers of the base may use with what they may use now: whatever a change does, it takes nothing from them, unless
    /// it revokes a key.
    fn keeps(&mut self, known: &Known) {
        let Some((base, _)) = self.question.base else { return };
        let mut revoked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let usable = known.view.releases.iter().filter(|one| matches!(one.verdict, Verdict::Trusted(_)));
        for release in usable {
            let of = (release.id.clone(), release.version.clone());
            let full = format!("{}@{}", release.id.path(), release.version);
            match self.view.release(&release.id, &release.version) {
                None => {
                    let detail = format!("{full} was published, and is there no more");
                    self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
                }
                Some(now) => match &now.verdict {
                    Verdict::Refused(refusal) if refusal.reason == KEY_REVOKED => {
                        let key = known.view.seals.get(&of).map(|seal| seal.key.id.clone());
                        revoked.entry(key.unwrap_or_default()).or_default().push(full);
                    }
                    // What is looked at anyway says so itself.
                    Verdict::Refused(_) if self.fresh.contains_key(&of) => {}
                    Verdict::Refused(refusal) => {
                        let failure = Failure::of_refusal(refusal);
                        let detail = format!("{full} could be used, and is refused now: {}", failure.detail);
                        self.report.findings.push(Failure { detail, ..failure }.hint(PUBLISH_ANOTHER));
                    }
                    // Its archive is to be had elsewhere now, and has to be the same.
                    Verdict::Trusted(_) if base.own(release) != self.question.home.own(now) => {
                        self.fresh.entry(of).or_default();
                    }
                    Verdict::Trusted(_) => {}
                },
            }
        }
        for (key, versions) in revoked {
            let named = versions.iter().take(NAMED_MAX).cloned().collect::<Vec<String>>().join(", ");
            let more = if versions.len() > NAMED_MAX { ", …" } else { "" };
            let told = format!(
                "the key {} is revoked, and {} versions count no more: {named}{more}",
                escaped(&key),
                versions.len()
            );
            self.report.attention.push(told);
        }
    }

    fn version_file(&mut self, change: &Change, name: &str, version: &str, file: &str) {
        let path = escaped(&change.path);
        if !VERSION_FILES.contains(&file) {
            let detail = format!("{path}: expected nothing but {}", VERSION_FILES.join(", "));
            self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "leave it out of the change");
            return;
        }
        if change.was_there {
            let act = if change.mode == "000000" { "is removed" } else { "changes" };
            let detail = format!("{path} {act}: what was published stays as it is");
            self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
        }
        let read = ComponentId::from_path(Dialect::Estream, name).ok().zip(Version::parse(version).ok());
        if let Some(of) = read.filter(|_| change.mode != "000000") {
            self.fresh.entry(of).or_default();
        }
    }

    /// Compares what the metadata of a component says with what it said.
    fn metadata(
        &mut self,
        (base, known): (&Home, &Known),
        directory: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let path = format!("{directory}/metadata.json");
        let Ok(id) = ComponentId::from_path(Dialect::Estream, name) else { return Ok(()) };
        let before = self.eyes.read(base, &path)?.as_deref().and_then(object).unwrap_or_default();
        let read = self.eyes.read(self.question.home, &path)?;
        let Some(now) = read.as_deref().and_then(object) else {
            if before.is_empty() && read.is_some() {
                let detail = format!("{path}: expected a JSON object, found something else");
                self.find(Code::ManifestInvalid, "input.json", detail, "resolverd publish writes such files");
            }
            if !before.is_empty() {
                let detail = format!("{path} is removed, or cannot be read any more");
                self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
            }
            return Ok(());
        };
        for field in ["name", "category", "publisher"] {
            if let Some(known) = before.get(field).filter(|known| Some(*known) != now.get(field)) {
                let detail = format!("{path}: {field} was {known}, and changes");
                let hint = "a component stays with its publisher; the registry's keepers change it by hand";
                self.find(Code::PermissionDenied, PUBLISHER_CHANGED, detail, hint);
            }
        }
        let (old, new) = (entries(&before), entries(&now));
        for (version, entry) in &old {
            match new.get(version) {
                None => {
                    let detail = format!("{path}: the published version {version} is removed");
                    let hint = "resolverd yank withdraws a version; its entry stays";
                    self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, hint);
                }
                Some(now) if kept(entry) != kept(now) => {
                    let detail = format!("{path}: the entry of the published version {version} changes");
                    self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
                    self.fresh.entry((id.clone(), version.clone())).or_default();
                }
                Some(now) if is_yanked(entry) != is_yanked(now) => {
                    let act = if is_yanked(now) { "withdrawn" } else { "no longer withdrawn" };
                    self.attend(format!("{name}@{version} is {act}"));
                }
                Some(now) if entry.get("yank_reason") != now.get("yank_reason") => {
                    self.attend(format!("{name}@{version}: yank_reason changes"));
                }
                Some(_) => {}
            }
        }
        if new.is_empty() && old.is_empty() {
            self.attend(format!("{name} is named without a version"));
        }
        if before.get("latest") != now.get("latest") && now.get("latest") != newest(&new).as_ref() {
            self.attend(format!("{name}: latest changes, and is not the newest version"));
        }
        self.words(name, (&before, &now), new.keys().any(|version| !old.contains_key(version)));
        let mut lines = Lines::new(self.config);
        old.keys().for_each(|version| lines.add(version, known.view.published_s(&id, version)));
        // Of two that come at once the smaller one comes first.
        for version in new.keys().filter(|version| !old.contains_key(*version)) {
            if self.fresh.len() >= NEW_VERSIONS_MAX {
                let detail = format!(
                    "{path}: a change publishes at most {NEW_VERSIONS_MAX} versions, and this one more"
                );
                self.find(Code::ManifestInvalid, TOO_MANY, detail, "publish them in several changes");
                break;
            }
            let before = Before { is_new: true, ..lines.before(version) };
            lines.add(version, self.view.published_s(&id, version));
            self.fresh.insert((id.clone(), version.clone()), before);
            self.report.changes.push(format!("{name}@{version} is published"));
        }
        Ok(())
    }

    /// Notes what changes in metadata that no seal covers: what its publisher may say with a new version, and what nobody may without
    /// being seen.
    fn words(
        &mut self,
        name: &str,
        (before, now): (&Map<String, Value>, &Map<String, Value>),
        has_new: bool,
    ) {
        let usual = |field: &str| match field {
            "badges" | "keywords" => Value::Array(Vec::new()),
            "stats" => serde_json::json!({ "downloads": 0, "stars": 0 }),
            _ => Value::Null,
        };
        let fields: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for field in fields {
            let is_covered = COVERED.contains(&field.as_str());
            let is_own = has_new && OWN_WORDS.contains(&field.as_str());
            let value =
                |fields: &Map<String, Value>| fields.get(field).cloned().unwrap_or_else(|| usual(field));
            if is_covered || is_own || value(before) == value(now) {
                continue;
            }
            self.attend(format!("{name}: {} changes", escaped(field)));
        }
    }

    /// Reads the record of a publisher, and compares it with what it was.
    fn publisher(&mut self, name: &str, base: Option<&Home>) -> Result<(), Failure> {
        let before = match base {
            Some(base) => self.eyes.publisher(base, name).unwrap_or_default(),
            None => None,
        };
        if base.is_some() {
            let act = if before.is_some() { "changes" } else { "is registered" };
            self.attend(format!("the publisher {} {act}", escaped(name)));
        }
        let now = match self.eyes.publisher(self.question.home, name) {
            Ok(Some(now)) => now,
            Ok(None) => {
                let detail = format!("{PUBLISHERS}/{name}.json is removed, and with it the keys of {name}");
                self.find(Code::UnknownPublisher, KEY_CHANGED, detail, KEYS_STAY);
                return Ok(());
            }
            Err(failure) => {
                self.report.findings.push(failure);
                return Ok(());
            }
        };
        for (id, key) in &now.keys {
            match key {
                Err(error) => {
                    let failure = Failure::of(Code::UnknownPublisher, error);
                    self.report.findings.push(about(&format!("{PUBLISHERS}/{name}.json"), failure));
                }
                Ok(key) if is_weak(&key.key) => {
                    let detail = format!(
                        "{PUBLISHERS}/{name}.json: the key {}: anybody could sign for it",
                        escaped(id)
                    );
                    self.find(Code::UnknownPublisher, KEY_WEAK, detail, "have another key registered");
                }
                Ok(_) => {}
            }
        }
        for told in before.iter().flat_map(|before| keys_told(before, &now)) {
            self.report.attention.push(format!("the publisher {}: {told}", escaped(name)));
        }
        if base.is_some() {
            self.other_keys(name, before.as_ref(), &now)?;
        }
        let now_s = self.question.now_s;
        for (id, found) in before.iter().flat_map(|before| keys_changed(before, &now, now_s)) {
            let detail = format!("{PUBLISHERS}/{name}.json: the key {}: {found}", escaped(&id));
            self.find(Code::UnknownPublisher, KEY_CHANGED, detail, KEYS_STAY);
        }
        Ok(())
    }

    /// Finds keys that are new in a record and known by another id: what became of a key would say nothing of its copy.
    fn other_keys(&mut self, name: &str, before: Option<&Publisher>, now: &Publisher) -> Result<(), Failure> {
        let read = |record: &Publisher| -> BTreeSet<(String, Fingerprint)> {
            let read = |(id, key): &(String, Result<PublisherKey, _>)| {
                Some((id.clone(), key.as_ref().ok()?.key.fingerprint()))
            };
            record.keys.iter().filter_map(read).collect()
        };
        let known = before.map(read).unwrap_or_default();
        let fresh: Vec<(String, Fingerprint)> = read(now).difference(&known).cloned().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let holders = match self.holders.take() {
            Some(holders) => holders,
            None => self.eyes.holders(self.question.home)?,
        };
        for (id, key) in fresh {
            let own = known.iter().map(|(id, key)| (name, id, key));
            let all = holders.get(&key).into_iter().flatten();
            let others = own.chain(all.map(|(publisher, id)| (publisher.as_str(), id, &key)));
            let mut others =
                others.filter(|(who, other, held)| **held == key && (*who, *other) != (name, &id));
            if let Some((who, other, _)) = others.next() {
                let place = if who == name {
                    "the same record".to_owned()
                } else {
                    format!("{PUBLISHERS}/{who}.json")
                };
                let detail = format!(
                    "{PUBLISHERS}/{name}.json: the key {}: it is the key {} of {place}",
                    escaped(&id),
                    escaped(other)
                );
                self.find(Code::UnknownPublisher, KEY_CHANGED, detail, ONE_KEY);
            }
        }
        self.holders = Some(holders);
        Ok(())
    }

    fn look_at_versions(&mut self) -> Result<(), Failure> {
        for ((id, version), before) in std::mem::take(&mut self.fresh) {
            let full = format!("{}@{version}", id.path());
            let found = match self.view.release(&id, &version) {
                Some(release) => self.version(release, &before)?,
                None => {
                    let detail = format!("{full}: the index has no entry of it that can be read");
                    vec![Failure::new(Code::ManifestInvalid, "estream.version_unlisted", detail)]
                }
            };
            let warnings = self.view.release(&id, &version).map_or(&[][..], |release| &release.warnings);
            self.report.warnings.extend(warnings.iter().map(|warning| format!("{full}: {}", warning.text)));
            let seal = self.view.seals.get(&(id, version));
            if before.is_new
                && let Some(seal) = seal.filter(|seal| !seal.is_verified)
            {
                self.report.attention.push(format!("{} is not a verified publisher", seal.publisher));
            }
            self.report.versions.push(Looked {
                version: full.clone(),
                publisher: seal.map(|seal| seal.publisher.clone()),
                key_id: seal.map(|seal| seal.key.id.clone()),
                is_good: found.is_empty(),
            });
            self.report.findings.extend(found.into_iter().map(|failure| about(&full, failure)));
        }
        Ok(())
    }

    /// Returns what is wrong with a version.
    fn version(&self, release: &Release, before: &Before) -> Result<Vec<Failure>, Failure> {
        if let Verdict::Refused(refusal) = &release.verdict {
            return Ok(vec![Failure::of_refusal(refusal)]);
        }
        let seal = self.view.seals.get(&(release.id.clone(), release.version.clone()));
        let mut found = Vec::new();
        if let Some(seal) = seal.filter(|_| before.is_new) {
            found.extend(standing_now(seal, self.question.now_s, release));
            found.extend(order(seal, before, release));
        }
        let archive = match self.archive(release) {
            Ok(archive) => archive,
            // Whether it is there nobody knows who cannot reach it; the check has not been done then.
            Err(failure) => return Ok([found, vec![failure]].concat()),
        };
        let publisher = seal.map(|seal| seal.publisher.as_str());
        let subject = format!("the archive of {}@{}", release.id.path(), release.version);
        // It may be a stranger's, and made to be looked at for hours.
        let looked = self.eyes.look(&subject, |goes_on| {
            let directory = self.unpacked(release, &archive)?;
            let package =
                Package::read_while(directory.path(), &Bounds::from(self.question.limits), goes_on)?;
            goes_on()?;
            found.extend(self.validated(release, publisher, before, &package, &archive));
            Ok((directory, package))
        });
        match looked {
            // The command has its own time.
            Ok((_directory, package)) => {
                found.extend_from_slice(package.command_check(self.question.command).failures());
            }
            Err(failure) => found.push(failure),
        }
        Ok(found)
    }

    /// Returns the archive of a version, which is the one that its documents state.
    fn archive(&self, release: &Release) -> Result<Vec<u8>, Failure> {
        let subject = format!("the archive of {}@{}", release.id.path(), release.version);
        let Some(stated) = &release.archive else {
            return Err(Failure::new(Code::ManifestInvalid, "archive.missing", format!("{subject}: none")));
        };
        let given = self.question.archives.map(|archives| archives.join(file_name(release)));
        let bytes = match given.filter(|path| path.exists()) {
            Some(path) => self.eyes.archive(&file(&path)?)?,
            None => self.eyes.archive(&stated.location)?,
        };
        let content = Hashed::of(bytes);
        let evidence = Evidence {
            subject: &subject,
            digests: &stated.digests,
            size: stated.size,
            commit_pinned: false,
            signature: None,
            named_by: None,
        };
        match judge(&evidence, &content) {
            Verdict::Trusted(_) => Ok(content.into_bytes()),
            Verdict::Refused(refusal) => Err(Failure::of_refusal(&refusal)),
        }
    }

    /// Unpacks an archive aside, and compares its manifest with that in the index.
    fn unpacked(&self, release: &Release, bytes: &[u8]) -> Result<tempfile::TempDir, Failure> {
        let subject = format!("the archive of {}@{}", release.id.path(), release.version);
        let failed = |error: std::io::Error| {
            Failure::new(
                Code::StoreUnavailable,
                "registry.temporary",
                format!("cannot unpack {subject}: {error}"),
            )
        };
        let directory = tempfile::tempdir().map_err(failed)?;
        let (mut manifest, mut taken) = (None, Vec::new());
        let bounds = Bounds::from(self.question.limits);
        let mut take = |one: archive::Unpacked| {
            if one.path.as_text() == MANIFEST {
                manifest = Some(one.content.digest().clone());
            }
            taken.push((one.path, one.content.into_bytes()));
            Ok(())
        };
        archive::read(bytes, &bounds, None, &subject, &mut take).map_err(|error| match error {
            ArchiveError::Refused(refusal) => Failure::of_refusal(&refusal),
            ArchiveError::Taken(error) => Failure::new(Code::Internal, "archive", error.to_string()),
        })?;
        for (path, bytes) in taken {
            put(directory.path(), &path, &bytes).map_err(failed)?;
        }
        let expected = || release.manifest.as_ref().map(ToString::to_string).unwrap_or_default();
        let refused = |reason, found: String| {
            let subject = format!("{MANIFEST} of {subject}");
            Err(Failure::of_refusal(&Refusal::new(
                reason,
                subject,
                format!("{}, as in the index", expected()),
                found,
            )))
        };
        match manifest {
            None => refused("archive.missing", "none".to_owned()),
            Some(found) if Some(&found) != release.manifest.as_ref() => {
                refused("archive.digest", found.to_string())
            }
            Some(_) => Ok(directory),
        }
    }

    /// Returns what the validations before publishing say of a version, but for the configured command.
    fn validated(
        &self,
        release: &Release,
        publisher: Option<&str>,
        before: &Before,
        package: &Package,
        archive: &[u8],
    ) -> Vec<Failure> {
        let bounds = Bounds::from(self.question.limits);
        let dependencies: Vec<Reference> = release.dependencies.iter().collect();
        let provided = self.view.given(&dependencies);
        // What became of a dependency later is no fault of a version that was published before.
        let is_known = before.is_new || provided.len() >= components(release);
        let against = Against {
            publisher,
            published: Some(before.highest.as_slice()),
            provided: Some(&provided).filter(|_| is_known),
            archive: Some(archive),
            ..Against::nothing(&bounds).rules(self.config)
        };
        package.validate(&against).iter().flat_map(|check| check.failures().to_vec()).collect()
    }
}

/// Counts the components that a version requires; the platform is none.
fn components(release: &Release) -> usize {
    release.dependencies.iter().filter(|reference| reference.id.as_text() != KERNEL).count()
}

const PUBLISH_ANOTHER: &str = "leave it as it was, and publish another version";
const KEYS_STAY: &str =
    "keys stay in the record; resolverd registry publisher rotate and revoke say what became of them";

const ONE_KEY: &str = "have a key made that nobody has: resolverd keys generate ml-dsa-87 NAME";

/// Names what a failure is about, where it does not.
fn about(subject: &str, failure: Failure) -> Failure {
    let detail = match failure.detail.contains(subject) {
        true => failure.detail.clone(),
        false => format!("{}: {}", escaped(subject), failure.detail),
    };
    Failure { detail, ..failure }.with("subject", subject)
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    json::document(json::check(bytes).ok()?).ok()
}

/// Returns the versions of metadata with their entries.
fn entries(metadata: &Map<String, Value>) -> BTreeMap<Version, Value> {
    let rows = metadata.get("versions").and_then(Value::as_array).into_iter().flatten();
    let read = |row: &Value| Some((Version::parse(row.get("version")?.as_str()?).ok()?, row.clone()));
    rows.filter_map(read).collect()
}

fn is_yanked(entry: &Value) -> bool {
    entry.get("yanked").and_then(Value::as_bool).unwrap_or_default()
}

/// Returns the newest version that may be chosen, as `latest` names it.
fn newest(entries: &BTreeMap<Version, Value>) -> Option<Value> {
    let may_be = |(_, entry): &(&Version, &Value)| !is_yanked(entry);
    let stable = entries.iter().filter(may_be).rfind(|(version, _)| !version.is_prerelease());
    let newest = stable.or_else(|| entries.iter().rfind(may_be)).map(|(version, _)| version);
    newest.map(|version| version.to_string().into())
}

/// Returns what of an entry never changes.
fn kept(entry: &Value) -> Value {
    let mut entry = entry.clone();
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("yanked");
        fields.remove("yank_reason");
    }
    entry
}

/// Tells whether archives may lie at a path.
fn may_be_archive(path: &str) -> bool {
    DocPath::parse(path).is_ok_and(|path| for_archives(&path).is_ok())
}

fn is_archive(path: &str, config: &ConfigDocument) -> bool {
    let archives = config.archives.as_deref().unwrap_or_default().trim_end_matches('/');
    may_be_archive(path)
        && !archives.is_empty()
        && path.strip_prefix(archives).is_some_and(|rest| rest.starts_with('/'))
}

/// Tells whether a file is called as archives are that lie in a directory of their own: what nobody takes for something else.
fn is_called_archive(path: &str) -> bool {
    path.contains('/') && ARCHIVE_ENDS.iter().any(|end| path.ends_with(end))
}

/// Returns the names that a component may have about which an entry is that could not be read: `id`, with what follows, or
/// `category/name`, with what follows.
fn names_of(entry: &str) -> Vec<String> {
    let path = entry.split(' ').next().unwrap_or_default();
    let path = match path.strip_prefix(PREFIX) {
        Some(path) => path,
        None => path.split_once('/').map_or("", |(_, path)| path),
    };
    let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    // A plain name, or a scope with a name.
    ends.by_ref().take(2).map(|end| path[..end].to_owned()).collect()
}

/// Tells whether a file is a word to people, or keeps a directory.
fn is_word(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some(PLACEHOLDER | "README.md"))
}

/// Returns what became of keys that no change may do to them.
fn keys_changed(before: &Publisher, now: &Publisher, now_s: i64) -> Vec<(String, String)> {
    let mut changed = Vec::new();
    for (id, known) in &before.keys {
        let Ok(known) = known else { continue };
        let found = match now.keys.iter().find(|(other, _)| other == id).map(|(_, key)| key) {
            None => Some("it is removed".to_owned()),
            // What is wrong with it is told anyway.
            Some(Err(_)) => None,
            Some(Ok(key)) => key_changed(known, key, now_s),
        };
        changed.extend(found.map(|found| (id.clone(), found)));
    }
    changed
}

/// Says how the keys of a publisher stand now that stood otherwise.
fn keys_told(before: &Publisher, now: &Publisher) -> Vec<String> {
    let whole = |key: &PublisherKey| {
        let rotated = key.rotated_s.map(|at_s| format!(", rotated {}", rfc3339(at_s))).unwrap_or_default();
        format!("{}{rotated}", told(key))
    };
    let stands = |(id, key): &(String, Result<PublisherKey, _>)| {
        let key = key.as_ref().ok()?;
        let known =
            before.keys.iter().find(|(other, _)| other == id).and_then(|(_, known)| known.as_ref().ok());
        match known {
            None => Some(format!("the key {} is new: {}", escaped(id), whole(key))),
            Some(known) if whole(known) != whole(key) => {
                Some(format!("the key {} was {}, and is {}", escaped(id), whole(known), whole(key)))
            }
            Some(_) => None,
        }
    };
    now.keys.iter().filter_map(stands).collect()
}

fn key_changed(known: &PublisherKey, now: &PublisherKey, now_s: i64) -> Option<String> {
    let time = |at_s: Option<i64>| at_s.map_or_else(|| "never".to_owned(), rfc3339);
    let is_over = known.status != KeyStatus::Active || known.expires_s.is_some_and(|at_s| at_s < now_s);
    let is_longer = match (known.expires_s, now.expires_s) {
        (Some(known_s), Some(now_s)) => known_s < now_s,
        (known_s, _) => known_s.is_some(),
    };
    let is_back = match (known.status, now.status) {
        (KeyStatus::Revoked, KeyStatus::Active | KeyStatus::Rotated) => {
            Some("it was revoked, and comes back")
        }
        (KeyStatus::Rotated, KeyStatus::Active) => Some("it was replaced, and comes back"),
        _ => None,
    };
    if known.key != now.key {
        return Some("its public key is another one".to_owned());
    }
    if known.created_s != now.created_s {
        return Some(format!("created_at was {}, and is {}", time(known.created_s), time(now.created_s)));
    }
    if known.status == KeyStatus::Rotated && known.rotated_s != now.rotated_s {
        return Some(format!("rotated_at was {}, and is {}", time(known.rotated_s), time(now.rotated_s)));
    }
    if is_over && is_longer {
        let [was, is] = [known.expires_s, now.expires_s].map(time);
        return Some(format!("it signs no more, and its expires_at was {was}, and is {is}"));
    }
    if known.status == KeyStatus::Active
        && now.status == KeyStatus::Rotated
        && now.rotated_s.is_some_and(|at_s| at_s > now_s + AHEAD_S)
    {
        return Some(format!("it is replaced at {}, which is not now", time(now.rotated_s)));
    }
    is_back.map(str::to_owned)
}

/// Says why a key may not sign a new version now.
fn standing_now(seal: &Seal, now_s: i64, release: &Release) -> Vec<Failure> {
    let subject = format!("{}@{}", release.id.path(), release.version);
    let mut found = Vec::new();
    if seal.published_s > now_s + AHEAD_S {
        let (expected, at) = (format!("published_at up to {}", rfc3339(now_s)), rfc3339(seal.published_s));
        found.push(Failure::of_refusal(&Refusal::new(PUBLISHED_AT, &subject, expected, at)));
    }
    if let Some(reason) = unfit(&seal.key, now_s) {
        let expected = format!("a key of {} that is active now", seal.publisher);
        let key = format!("{}, {}", seal.key.id, told(&seal.key));
        found.push(Failure::of_refusal(&Refusal::new(reason, &subject, expected, key)));
    }
    found
}

/// Says why a version cannot be newer than those that it has to follow.
fn order(seal: &Seal, before: &Before, release: &Release) -> Option<Failure> {
    let newest_s = before.newest_s.filter(|newest_s| seal.published_s < *newest_s)?;
    let subject = format!("{}@{}", release.id.path(), release.version);
    let highest = before.highest.as_ref().map(ToString::to_string).unwrap_or_default();
    let expected = format!("published_at from {}, since it follows {highest}", rfc3339(newest_s));
    let refusal = Refusal::new(PUBLISHED_AT, subject, expected, rfc3339(seal.published_s));
    let from = rfc3339(newest_s.saturating_sub(AHEAD_S));
    Some(Failure::of_refusal(&refusal).hint(format!(
        "publish it anew, at {from} or later: resolverd publish dates it no earlier than what it follows"
    )))
}

/// Says why a key does not sign new versions now; `None` where it does.
pub fn unfit(key: &PublisherKey, now_s: i64) -> Option<&'static str> {
    match key.status {
        KeyStatus::Revoked => Some(KEY_REVOKED),
        KeyStatus::Rotated => Some(KEY_ROTATED),
        KeyStatus::Active if key.created_s.is_some_and(|at_s| now_s + AHEAD_S < at_s) => Some(KEY_EXPIRED),
        KeyStatus::Active if key.expires_s.is_some_and(|at_s| now_s > at_s) => Some(KEY_EXPIRED),
        KeyStatus::Active => None,
    }
}

/// Says how a key stands.
pub fn told(key: &PublisherKey) -> String {
    let status = match key.status {
        KeyStatus::Active => "active",
        KeyStatus::Rotated => "rotated",
        KeyStatus::Revoked => "revoked",
    };
    let time = |word: &str, at_s: Option<i64>| {
        at_s.map(|at_s| format!(", {word} {}", rfc3339(at_s))).unwrap_or_default()
    };
    format!("{status}{}{}", time("from", key.created_s), time("until", key.expires_s))
}

/// Returns the name of the file that an archive is given as.
pub fn file_name(release: &Release) -> String {
    format!("{}-{}.tar.gz", release.id.path().trim_start_matches('@').replace('/', "-"), release.version)
}

fn file(path: &Path) -> Result<catalogue_schema::pointer::Location, Failure> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match Home::directory(&absolute)? {
        Home::Directory(path) => Ok(catalogue_schema::pointer::Location::File { path }),
        Home::Commit { .. } => {
            Err(Failure::new(Code::Internal, "registry.path", "a directory that is none".to_owned()))
        }
    }
}

/// Writes a file that was unpacked below a fresh directory of our own.
fn put(directory: &Path, path: &DocPath, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let place: PathBuf = directory.join(path.as_text());
    place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::File::create_new(place)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_list_of_changes_is_whole_or_none() {
        let object = "0".repeat(40);
        let one = |path: &str| format!(":000000 100644 {object} {object} A\0{path}\0");
        let whole = [one("index/a"), one("sub/index/b")].concat();
        let read = changes_of(&whole, "sub/").unwrap();
        let told: Vec<(&str, bool)> = read.iter().map(|one| (one.path.as_str(), one.is_own)).collect();
        assert_eq!(told, [("index/a", false), ("index/b", true)]);
        assert_eq!(changes_of("", ""), Ok(Vec::new()));
        for at in 1..whole.len() {
            // What ends behind a file could be all of them; Git itself says then that something was cut off.
            assert_eq!(changes_of(&whole[..at], "").is_ok(), at == one("index/a").len(), "{at}");
        }
        assert!(changes_of(&one("x").replace(" A\0", "\0"), "").is_err());
        assert!(changes_of(&one("x").repeat(CHANGES_MAX + 1), "").is_err());
    }

    #[test]
    fn an_entry_is_about_the_component_that_it_names_and_no_other() {
        let check = |entry: &str, expected: &[&str]| assert_eq!(names_of(entry), expected, "{entry}");
        check("esf-schema/orders", &["orders"]);
        check("esf-schema/orders/1.x", &["orders", "orders/1.x"]);
        check("esf-schema/@acme/orders", &["@acme", "@acme/orders"]);
        check("estream:orders versions[3]", &["orders"]);
        check("estream:@acme/orders/1.x", &["@acme", "@acme/orders"]);
    }

    #[test]
    fn of_many_versions_only_the_ends_of_their_lines_are_kept() {
        let version = |text: &str| Version::parse(text).unwrap();
        let all: Vec<Version> = (0..10_000).map(|at| version(&format!("{}.0.{at}", at % 3))).collect();
        for (per_major, ends, highest, newest_s) in
            [(false, 1, "2.0.9998", 9_999), (true, 3, "1.0.9997", 9_997)]
        {
            let mut lines =
                Lines::new(&ConfigDocument { increment_per_major: per_major, ..ConfigDocument::default() });
            assert!(lines.before(&version("1.1.0")).highest.is_none());
            all.iter().zip(0..).for_each(|(one, at)| lines.add(one, Some(at)));
            let before = lines.before(&version("1.1.0"));
            assert_eq!(
                (lines.ends.len(), before.highest, before.newest_s),
                (ends, Some(version(highest)), Some(newest_s))
            );
        }
    }
}
