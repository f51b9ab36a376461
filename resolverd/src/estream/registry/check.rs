//! What a registry holds, verified as its continuous integration does it (seed 002 §7.4), in one place: nobody else judges a change.
//!
//! Without a base every version is looked at. With one, those that differ from it, and nothing else may have changed that a registry
//! promises to keep: a published version with all of its files, a publisher's keys. What may change is told, so that whoever merges
//! sees it: versions withdrawn, keys replaced or revoked, words.
//!
//! 1. The documents of a version are read by the reader of the daemon, and its seal is looked at as there.
//! 2. Its archive is had: out of the registry, from its address, or from a directory that the caller names. Its SHA3-256 is the one
//!    that all documents state.
//! 3. It can be unpacked within bounds, and its manifest is the copy in the index, byte for byte.
//! 4. It passes the validations of [`crate::estream::package`], against what was published before.
//! 5. Of a version that is new: its key is active now, and it was not published in the future. `published_at` is written by whoever
//!    asks for the change, so that the holder of a replaced key could write one of better days.
//!
//! Never writes into the registry, and runs nothing that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::document::ConfigDocument;
use catalogue_schema::dialect::estream::{INDEX, KERNEL, MANIFEST, Publisher};
use catalogue_schema::digest::Hashed;
use catalogue_schema::error::escaped;
use catalogue_schema::id::{ComponentId, Dialect};
use catalogue_schema::json;
use catalogue_schema::model::{Refusal, Release, Verdict};
use catalogue_schema::path::DocPath;
use catalogue_schema::revision::rfc3339;
use catalogue_schema::seal::{KEY_EXPIRED, KEY_REVOKED, KEY_ROTATED, KeyStatus, PublisherKey, Seal};
use catalogue_schema::version::Version;
use serde_json::{Map, Value};

use crate::api::{Code, Failure};
use crate::estream::git::Git;
use crate::estream::package::Package;
use crate::estream::package::against::Against;
use crate::estream::package::command::CheckCommand;
use crate::estream::registry::view::{Eyes, Home, PUBLISHERS, View};
use crate::fetch::limit::Limits;
use crate::materialize::archive::{self, ArchiveError, Bounds};
use crate::trust::verify::{Evidence, judge};

/// A published version was changed or removed.
pub const VERSION_CHANGED: &str = "registry.version_changed";
/// A key of a publisher was changed, removed or brought back.
pub const KEY_CHANGED: &str = "registry.key_changed";
/// A component is somebody else's now.
pub const PUBLISHER_CHANGED: &str = "registry.publisher_changed";
/// A file that belongs to nothing in a registry.
pub const FILE_UNKNOWN: &str = "registry.file_unknown";
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
    /// Its path from the registry's root.
    pub path: String,
    /// Its mode now, as Git writes it; `000000` where it is gone.
    pub mode: String,
    /// It was there before.
    pub was_there: bool,
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

/// Returns the files that differ between two commits, below the registry's directory.
///
/// **Errors**: Git cannot tell.
pub fn changes(git: &Git, (base, head): (&str, &str), root: &str) -> Result<Vec<Change>, Failure> {
    let arguments = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", base, head, "--"]
        .map(str::to_owned);
    let listed = git.run(&arguments).map_err(|error| {
        Failure::new(Code::RequestInvalid, "registry.base", format!("cannot compare with {base}: {error}"))
    })?;
    let mut changes = Vec::new();
    let mut fields = listed.split('\0');
    while let (Some(about), Some(path)) = (fields.next(), fields.next()) {
        let words: Vec<&str> = about.trim_start_matches(':').split(' ').collect();
        let [was, mode, ..] = words.as_slice() else { continue };
        if let Some(path) = path.strip_prefix(root) {
            let (path, mode) = (path.to_owned(), (*mode).to_owned());
            changes.push(Change { path, mode, was_there: *was != "000000" });
        }
    }
    Ok(changes)
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
    let mut work = Work { eyes, question, view: &view, config: &config, report, fresh: BTreeMap::new() };
    match question.base {
        Some((base, changes)) => work.differing(base, changes)?,
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
    versions: Vec<Version>,
    /// It is new in comparison with a base.
    is_new: bool,
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
}

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
        if segments.last() == Some(&PLACEHOLDER) || segments.last() == Some(&"README.md") {
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
        for release in &self.view.releases {
            let published_s = |version: &Version| {
                self.view.seals.get(&(release.id.clone(), version.clone())).map(|seal| seal.published_s)
            };
            let own_s = published_s(&release.version);
            // What the registry attests says in which order they came.
            let earlier = self.view.versions(&release.id).into_iter().filter(|version| {
                *version != release.version && own_s.is_some() && published_s(version) < own_s
            });
            let before = Before { versions: earlier.collect(), is_new: false };
            self.fresh.insert((release.id.clone(), release.version.clone()), before);
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
    fn differing(&mut self, base: &Home, changes: &[Change]) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        for change in changes {
            let path = escaped(&change.path);
            if !PLAIN_MODES.contains(&change.mode.as_str()) {
                let detail = format!("{path}: expected a plain file, found a link or another repository");
                self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "put the file itself in its place");
            }
            match Belongs::of(&change.path) {
                Belongs::Publisher(name) => self.publisher(name, Some(base))?,
                Belongs::Metadata { directory, name } => {
                    names.insert(name.clone());
                    self.metadata(base, &directory, &name)?;
                }
                Belongs::Version { name, version, file } => {
                    names.insert(name.clone());
                    self.version_file(change, &name, version, file);
                }
                Belongs::Unknown => {
                    let detail = format!("{path}: a registry has no such file");
                    self.find(Code::ManifestInvalid, FILE_UNKNOWN, detail, "leave it out of the change");
                }
                Belongs::Config | Belongs::Other => {
                    if !is_archive(&change.path, self.config) {
                        self.report.attention.push(format!("{path} changes"));
                        self.report.changes.push(format!("{path} changes"));
                    } else if change.was_there {
                        let detail = format!("{path}: the archive of a published version changes");
                        self.find(Code::VersionNotIncremented, VERSION_CHANGED, detail, PUBLISH_ANOTHER);
                    }
                }
            }
        }
        // What stood wrong before is not this change's fault.
        for one in &self.view.skipped {
            let is_own = |name: &String| one.entry.contains(name.as_str());
            if names.iter().any(is_own) {
                let failure = Failure::of(Code::ManifestInvalid, &one.error);
                self.report.findings.push(about(&one.entry, failure));
            }
        }
        Ok(())
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
    fn metadata(&mut self, base: &Home, directory: &str, name: &str) -> Result<(), Failure> {
        let path = format!("{directory}/metadata.json");
        let Ok(id) = ComponentId::from_path(Dialect::Estream, name) else { return Ok(()) };
        let before = self.eyes.read(base, &path)?.as_deref().and_then(object).unwrap_or_default();
        let Some(now) = self.eyes.read(self.question.home, &path)?.as_deref().and_then(object) else {
            // Where it cannot be read, the reader of its versions has said so.
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
        let published: Vec<Version> = old.keys().cloned().collect();
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
                    self.report.changes.push(format!("{name}@{version} is {act}"));
                    self.report.attention.push(format!("{name}@{version} is {act}"));
                }
                Some(_) => {}
            }
        }
        self.words(name, (&before, &now), new.keys().any(|version| !old.contains_key(version)));
        for version in new.keys().filter(|version| !old.contains_key(*version)) {
            let before = Before { versions: published.clone(), is_new: true };
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
            let told = format!("{name}: {} changes", escaped(field));
            self.report.changes.push(told.clone());
            self.report.attention.push(told);
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
            self.report.changes.push(format!("the publisher {} {act}", escaped(name)));
            self.report.attention.push(format!("the publisher {} {act}", escaped(name)));
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
        for (_, key) in &now.keys {
            if let Err(error) = key {
                let failure = Failure::of(Code::UnknownPublisher, error);
                self.report.findings.push(about(&format!("{PUBLISHERS}/{name}.json"), failure));
            }
        }
        for (id, found) in before.iter().flat_map(|before| keys_changed(before, &now)) {
            let detail = format!("{PUBLISHERS}/{name}.json: the key {}: {found}", escaped(&id));
            self.find(Code::UnknownPublisher, KEY_CHANGED, detail, KEYS_STAY);
        }
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
        }
        let archive = match self.archive(release) {
            Ok(archive) => archive,
            // Whether it is there nobody knows who cannot reach it; the check has not been done then.
            Err(failure) => return Ok([found, vec![failure]].concat()),
        };
        match self.unpacked(release, &archive) {
            Ok(directory) => {
                let publisher = seal.map(|seal| seal.publisher.as_str());
                found.extend(self.validated(release, publisher, before, directory.path(), &archive));
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

    /// Returns what the validations before publishing say of a version.
    fn validated(
        &self,
        release: &Release,
        publisher: Option<&str>,
        before: &Before,
        directory: &Path,
        archive: &[u8],
    ) -> Vec<Failure> {
        let bounds = Bounds::from(self.question.limits);
        let package = match Package::read(directory, &bounds) {
            Ok(package) => package,
            Err(failure) => return vec![failure],
        };
        let provided = self.view.given(&release.dependencies);
        // What became of a dependency later is no fault of a version that was published before.
        let is_known = before.is_new || provided.len() >= components(release);
        let against = Against {
            publisher,
            published: Some(&before.versions),
            provided: Some(&provided).filter(|_| is_known),
            command: self.question.command,
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

/// Returns what of an entry never changes.
fn kept(entry: &Value) -> Value {
    let mut entry = entry.clone();
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("yanked");
        fields.remove("yank_reason");
    }
    entry
}

fn is_archive(path: &str, config: &ConfigDocument) -> bool {
    let archives = config.archives.as_deref().unwrap_or_default().trim_end_matches('/');
    !archives.is_empty() && path.strip_prefix(archives).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns what became of keys that no change may do to them.
fn keys_changed(before: &Publisher, now: &Publisher) -> Vec<(String, String)> {
    let mut changed = Vec::new();
    for (id, known) in &before.keys {
        let Ok(known) = known else { continue };
        let found = match now.keys.iter().find(|(other, _)| other == id).map(|(_, key)| key) {
            None => Some("it is removed".to_owned()),
            // What is wrong with it is told anyway.
            Some(Err(_)) => None,
            Some(Ok(key)) => key_changed(known, key),
        };
        changed.extend(found.map(|found| (id.clone(), found)));
    }
    changed
}

fn key_changed(known: &PublisherKey, now: &PublisherKey) -> Option<String> {
    let time = |at_s: Option<i64>| at_s.map_or_else(|| "never".to_owned(), rfc3339);
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
