//! What an install changes in a workspace. First a [`Plan`] is made, which reads only; then it is carried out as one change.
//!
//! # Where files go
//! A file below `schemas/`, `circuits/`, `fpga/` or `widgets/` in the archive keeps its path; everything else goes to
//! `<directory of the category>/<name>/`. The name of a scoped component takes two directories.
//!
//! | category | directory |
//! |---|---|
//! | `esf-schema`, `data-schema` | `schemas` |
//! | `wire-adapter` | `adapters` |
//! | `smart-circuit` | `circuits` |
//! | `fpga-circuit` | `fpga` |
//! | `integration` | `integrations` |
//! | `console-widget` | `widgets` |
//! | any other | `components` |
//!
//! # What a workspace holds its components to
//! What was noted when a component was installed is held against what comes: a version is one archive for good, and a component comes
//! from another source, from another publisher, or sealed by another key that nobody but a bundle knows, only where its name was said.
//! So does an older version, and one of another line where something stays whose requirements nobody has looked at: what is installed
//! and comes from nowhere any more is noted with what it requires, and not with which versions of it.
//!
//! # What is refused before anything is written
//! Two components with one schema or one place, installed already or new; a file that nobody installed, unless its bytes are those
//! that would come; a file that was changed after it was installed, unless that is forced; a directory that is a link. What is installed and goes
//! is in nobody's way: a file may become a directory, and the other way round.
//!
//! **Source**: seed 002, sections 5.2, 6.3 and 6.4. Off-spec: the seed's sample installs what lies below `schemas/` there although the
//! category is another; that is the first rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use catalogue_schema::dialect::estream::workspace::{Installed, InstalledFile, WORKSPACE, Workspace};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::ComponentId;
use catalogue_schema::key::Fingerprint;
use catalogue_schema::model::Warning;
use catalogue_schema::path::DocPath;
use catalogue_schema::revision::rfc3339;
use catalogue_schema::version::{Version, VersionReq};

use crate::api::files::FileLine;
use crate::api::{Code, Failure};
use crate::estream::journal::{self, Bytes, JournalError, Step, There};
use crate::estream::publish::quoted;
use crate::estream::workspace::{self, Place};
use crate::materialize::names;

/// The directories of an archive that keep their place in a workspace.
const SHARED: [&str; 4] = ["schemas", "circuits", "fpga", "widgets"];
/// How many paths a refusal names.
const NAMED_MAX: usize = 20;

/// A component whose verified files lie in a directory, wherever they came from.
///
/// Whoever makes one vouches for the files: archive, signature and names were verified. Their bytes are compared with their digests
/// once more when they are copied.
#[derive(Debug, Clone)]
pub struct Provided {
    /// Which component.
    pub id: ComponentId,
    /// Its version.
    pub version: Version,
    /// Its category, such as `wire-adapter`.
    pub category: String,
    /// Who publishes it.
    pub publisher: Option<String>,
    /// Which of the publisher's keys signs it.
    pub key_id: Option<String>,
    /// The fingerprint of that key.
    pub key: Option<Fingerprint>,
    /// Who says that it is the publisher's.
    pub vouched: Vouched,
    /// When, as the signer says.
    pub signed_at: Option<String>,
    /// SHA3-256 of its archive.
    pub checksum: Digest,
    /// The id of the source that it was resolved from.
    pub registry: Option<String>,
    /// What it requires, platforms left out.
    pub dependencies: Vec<ComponentId>,
    /// The schemas that it brings.
    pub provides: Vec<String>,
    /// Where its files lie.
    pub directory: PathBuf,
    /// Its files, by their paths in `directory`.
    pub files: Vec<FileLine>,
}

/// Who says that a key is its publisher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// A configured source.
    BySource,
    /// Nobody but the bundle that brings it along.
    ByBundle,
}

/// What becomes of files that were changed after they were installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// They are refused.
    No,
    /// What belongs to a component is replaced, and what was asked for is installed again with everything that it requires.
    Yes,
}

/// What somebody wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What is asked for by name, with what was said of its version.
    pub asked: BTreeMap<ComponentId, VersionReq>,
    /// Whose names somebody wrote down, not the workspace's file and not a bundle.
    pub named: BTreeSet<ComponentId>,
    /// The arguments by which it is said again, for a hint: names, and where a bundle lies.
    pub said: Vec<String>,
    /// Files that are gone are brought back, also of what stays as it is.
    pub restores: bool,
    /// What becomes of changed files.
    pub force: Force,
    /// Now, in seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

impl Wish {
    /// Returns the command that says the same with a component named too.
    fn naming(&self, id: &ComponentId, force: Force) -> String {
        let name = id.path().to_owned();
        let is_said = self.named.contains(id) || self.said.contains(&name);
        let words = self.said.iter().cloned().chain((!is_said).then_some(name));
        let force = (force == Force::Yes || self.force == Force::Yes).then(|| "--force".to_owned());
        let words: Vec<String> = words.chain(force).map(|word| quoted(&word)).collect();
        format!("resolverd install {}", words.join(" "))
    }
}

/// What becomes of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    New,
    /// It takes the place of another version.
    Replaces(Version),
    /// The same version is installed again.
    Again,
    /// It is installed already, and these of its files come back that were gone.
    Restored(Vec<DocPath>),
    /// It is installed already.
    Kept,
    /// Nobody needs it any more.
    Removed,
}

/// What becomes of one component, and its files afterwards; for a removed one those that go, for a restored one those that come back.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which component.
    pub id: ComponentId,
    /// Its version.
    pub version: Version,
    /// What becomes of it.
    pub fate: Fate,
    /// Its files, from the top of the workspace.
    pub files: Vec<DocPath>,
}

/// Everything that an install changes.
#[derive(Debug)]
pub struct Plan {
    /// What becomes of each component, by id.
    pub changes: Vec<Change>,
    /// What the workspace has afterwards.
    pub workspace: Workspace,
    /// What somebody should know of it.
    pub warnings: Vec<Warning>,
    steps: Vec<(Step, Bytes)>,
}

/// Where the bytes of a new file come from.
struct Source {
    sha256: Digest,
    from: PathBuf,
    executable: bool,
}

impl Source {
    fn of(one: &Provided, file: &FileLine) -> Source {
        let from = one.directory.join(file.path.as_text());
        Source { sha256: file.digest.clone(), from, executable: file.executable }
    }
}

/// Plans to install components: everything that the wish leads to, also what is installed already. Reads only.
///
/// What is installed, is not among `provided` and is still needed stays as it is; what nobody needs any more goes.
///
/// **Errors**: E006 `install.other_archive`, E007 `install.other_key`, E015 `install.other_publisher` and `install.other_source`: what
/// comes is not what the workspace noted; E003 `install.older` and `install.breaking`: what stays may not go with it; E014 `schema_conflict`, `install.file_conflict`, `install.file_exists`, `install.file_changed`, `install.link`; E008
/// for a path that is none in a workspace.
pub fn plan(place: &Place, provided: Vec<Provided>, wish: &Wish) -> Result<Plan, Failure> {
    let again = forced(&provided, wish);
    let mut new = place.known.clone();
    let (mut sources, mut fates, mut warnings) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let came: BTreeSet<ComponentId> = provided.iter().map(|one| one.id.clone()).collect();
    for one in provided {
        let before = place.known.components.get(&one.id);
        let is_same = before.is_some_and(|before| {
            // The seed's table notes no files: what lies there is compared with what would come.
            let is_noted = !before.files.is_empty() || one.files.is_empty();
            is_noted && before.version == one.version && before.checksum.as_ref() == Some(&one.checksum)
        });
        let mut fate = match before {
            Some(_) if is_same && !again.contains(&one.id) => Fate::Kept,
            Some(before) if before.version == one.version => Fate::Again,
            Some(before) => Fate::Replaces(before.version.clone()),
            None => Fate::New,
        };
        let entry = match before {
            Some(before) if fate == Fate::Kept => {
                let mut entry = before.clone();
                learn(&mut entry, &one);
                let gone = match wish.restores {
                    true => restore(place, &one, &mut entry, &mut sources)?,
                    false => Vec::new(),
                };
                if !gone.is_empty() {
                    fate = Fate::Restored(gone);
                }
                entry
            }
            Some(before) => {
                warnings.extend(held(before, &one, wish)?);
                entry(&one, before.requested.clone(), wish.now_s, &mut sources)?
            }
            None => entry(&one, None, wish.now_s, &mut sources)?,
        };
        fates.insert(one.id.clone(), fate);
        new.components.insert(one.id, entry);
    }
    for (id, requirement) in &wish.asked {
        if let Some(entry) = new.components.get_mut(id) {
            entry.requested = Some(requirement.clone());
        }
    }
    warnings.extend(fitting(&place.known, &new, &came, wish)?);
    let mut plan = settle(place, new, fates, &sources, wish.force)?;
    plan.warnings.splice(0..0, warnings);
    Ok(plan)
}

/// Notes the key of an installed archive, which older versions did not. A bundle's own word is not taken: anybody may seal an archive.
fn learn(entry: &mut Installed, one: &Provided) {
    let is_alike = |noted: &Option<String>, found: &Option<String>| noted.is_none() || noted == found;
    if entry.key.is_none()
        && one.vouched == Vouched::BySource
        && is_alike(&entry.publisher, &one.publisher)
        && is_alike(&entry.key_id, &one.key_id)
    {
        entry.key = one.key;
    }
}

/// Holds a component that changes to what was noted of it when it was installed; warns of what changes by the wish of whoever named it.
///
/// **Errors**: E006 `install.other_archive`, E007 `install.other_key`, E015 `install.other_publisher`, `install.other_source`.
fn held(before: &Installed, one: &Provided, wish: &Wish) -> Result<Vec<Warning>, Failure> {
    let is_named = wish.named.contains(&one.id);
    let is_forced = is_named && wish.force == Force::Yes;
    let (name, version) = (one.id.path(), &one.version);
    let came = |registry: &Option<String>| registry.clone().unwrap_or_else(|| "an unknown source".to_owned());
    let (was, now) = (came(&before.registry), came(&one.registry));
    let refused = |code: Code, reason: &'static str, detail: String, expected: String, found: String| {
        Failure::new(code, reason, detail)
            .with("component", one.id.as_text())
            .with("expected", expected)
            .with("found", found)
            .with("installedFrom", &was)
            .with("source", &now)
    };
    if let Some(checksum) = before.checksum.as_ref().filter(|noted| **noted != one.checksum)
        && before.version == one.version
        && !is_forced
    {
        let found = &one.checksum;
        let detail = format!(
            "{name} {version} was installed from {was} as the archive {checksum}, and in {now} it is {found}"
        );
        let reason = "install.other_archive";
        return Err(refused(Code::ChecksumMismatch, reason, detail, checksum.to_string(), found.to_string())
            .hint(format!("a version never changes: ask who publishes it. Where {was} is right, let it own the name or place it first; to take the other one: {}; nothing was changed", wish.naming(&one.id, Force::Yes))));
    }
    // Older versions noted no key: then another archive may be anybody's.
    let is_other_archive = before.checksum.as_ref().is_some_and(|noted| *noted != one.checksum);
    let is_other_key = match (before.key, one.key) {
        (Some(noted), Some(found)) => noted != found,
        (None, _) => is_other_archive,
        (Some(_), None) => false,
    };
    if is_other_key && one.vouched == Vouched::ByBundle && !is_forced {
        let publisher = one.publisher.as_deref().unwrap_or("its publisher");
        let told = |key: Option<Fingerprint>| key.map_or_else(|| "no key".to_owned(), |key| key.to_string());
        let (noted, found) = (told(before.key), told(one.key));
        let was = match before.key {
            Some(_) => format!("was by {noted}"),
            None => "has no key noted".to_owned(),
        };
        let detail = format!(
            "{name} {version} is sealed by the key {found} of {publisher}, and {name} {} {was}: nobody here but the bundle says whose that key is",
            before.version
        );
        let reason = "install.other_key";
        return Err(refused(Code::UnknownPublisher, reason, detail, noted, found)
            .hint(format!("ask {publisher} whether the key is new; a registry that knows him says so, as a source; to believe the bundle: {}; nothing was changed", wish.naming(&one.id, Force::Yes))));
    }
    let mut warnings = Vec::new();
    let mut told = |reason: &'static str, noted: &str, found: &str, detail: String| {
        if !is_named {
            let hint = format!(
                "ask whether that is meant; then name it as well: {}; nothing was changed",
                wish.naming(&one.id, Force::No)
            );
            let (noted, found) = (noted.to_owned(), found.to_owned());
            return Err(refused(Code::PermissionDenied, reason, detail, noted, found).hint(hint));
        }
        warnings.push(Warning::new(reason, detail));
        Ok(())
    };
    if let (Some(noted), Some(found)) = (&before.publisher, &one.publisher)
        && noted != found
    {
        let detail = format!("{name} {version} is by {found}, and {name} {} was by {noted}", before.version);
        told("install.other_publisher", noted, found, detail)?;
    }
    // Whom the same key seals is the same publisher, whatever the source is called.
    if let (Some(noted), Some(found)) = (&before.registry, &one.registry)
        && noted != found
        && (before.key.is_none() || before.key != one.key)
    {
        let detail =
            format!("{name} {version} comes from {found}, and {name} {} came from {noted}", before.version);
        told("install.other_source", noted, found, detail)?;
    }
    Ok(warnings)
}

/// Tells that what changes goes with what stays; warns of what changes by the wish of whoever named it. `came` are the components that
/// were chosen together, so that each has what it requires.
///
/// **Errors**: E003 `install.older`, `install.breaking`.
fn fitting(
    before: &Workspace,
    new: &Workspace,
    came: &BTreeSet<ComponentId>,
    wish: &Wish,
) -> Result<Vec<Warning>, Failure> {
    let needed = needed(new);
    let by_name = reached(wish.named.iter(), |id| requires(new, id));
    let mut warnings = Vec::new();
    for (id, one) in new.components.iter().filter(|(id, _)| came.contains(*id) && needed.contains(*id)) {
        let Some(was) = before.components.get(id).filter(|was| was.version != one.version) else { continue };
        let by = |one: &&ComponentId| needed.contains(*one) && requires(new, one).contains(id);
        let stays = new.components.keys().filter(by).find(|by| !came.contains(*by));
        let (name, version, old) = (id.path(), &one.version, &was.version);
        let (reason, mut detail) = match version < old {
            true => ("install.older", format!("{name} {version} is older than {old}, which is installed")),
            false if stays.is_some() && line(version) != line(old) => {
                let detail = format!("{name} {version} may not do for what {old} does, which is installed");
                ("install.breaking", detail)
            }
            false => continue,
        };
        let requiring = stays.or_else(|| new.components.keys().find(by)).map(|by| by.path());
        match (stays, requiring) {
            (Some(_), Some(by)) => detail.push_str(&format!(
                "; {by} requires it and stays, and what was asked here does not list {by}, so that nobody knows which versions it takes"
            )),
            (_, Some(by)) => detail.push_str(&format!("; {by} requires it")),
            _ => {}
        }
        // Whoever names what needs an older one, beside nothing that needs the newer, means that.
        let is_meant = stays.is_none() && was.requested.is_none() && by_name.contains(id);
        if !wish.named.contains(id) && !is_meant {
            return Err(Failure::new(Code::VersionConflict, reason, detail)
                .with("component", id.as_text())
                .with("installed", old)
                .with("found", version)
                .with("requiredBy", requiring)
                .hint(format!(
                    "to take it all the same, name it: {}; nothing was changed",
                    wish.naming(id, Force::No)
                )));
        }
        warnings.push(Warning::new(reason, detail));
    }
    Ok(warnings)
}

/// Returns what tells the compatible versions of a component from others: the first number that is not zero, with those before it.
fn line(version: &Version) -> (u64, u64, u64) {
    let version = version.semver();
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

/// Brings back the files of a component that are gone, and returns where they go.
///
/// **Errors**: E008 for a path that is none in a workspace; a place cannot be looked at.
fn restore(
    place: &Place,
    one: &Provided,
    entry: &mut Installed,
    sources: &mut BTreeMap<DocPath, Source>,
) -> Result<Vec<DocPath>, Failure> {
    let mut gone = Vec::new();
    for file in &one.files {
        let path = target(&one.id, &one.category, &file.path)?;
        let is_it = |noted: &&mut InstalledFile| noted.path == path && noted.sha256 == file.digest;
        let Some(noted) = entry.files.iter_mut().find(is_it) else { continue };
        let there = journal::look(&place.root.join(path.as_text()));
        if there.map_err(|error| workspace::failure(&error))? == There::Nothing {
            noted.adopted = false;
            sources.insert(path.clone(), Source::of(one, file));
            gone.push(path);
        }
    }
    Ok(gone)
}

/// Plans to remove components, and what nobody needs without them. Reads only.
///
/// **Errors**: E001 for one that is not installed; E003 `install.needed` where another one requires it; E014 `install.file_changed`.
pub fn removal(place: &Place, ids: &BTreeSet<ComponentId>, force: Force) -> Result<Plan, Failure> {
    let mut new = place.known.clone();
    for id in ids {
        if new.components.remove(id).is_none() {
            return Err(absent(id));
        }
    }
    for id in ids {
        let mut needs = new.components.iter().filter(|(_, one)| one.dependencies.contains(id));
        if let Some((by, _)) = needs.next() {
            let detail = format!("cannot remove {}: {} requires it", id.path(), by.path());
            return Err(Failure::new(Code::VersionConflict, "install.needed", detail).hint(format!(
                "remove both: resolverd uninstall {} {}",
                id.path(),
                by.path()
            )));
        }
    }
    settle(place, new, BTreeMap::new(), &BTreeMap::new(), force)
}

/// Returns what is said of a component that is not installed.
pub fn absent(id: &ComponentId) -> Failure {
    let detail = format!("{} is not installed here", id.path());
    Failure::new(Code::ComponentNotFound, "install.absent", detail)
        .hint(format!("resolverd install {}", id.path()))
}

impl Plan {
    /// Tells whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a file of the workspace that changes with the others, such as its manifest; `old` is what was read of it.
    pub fn add(&mut self, path: DocPath, old: &[u8], new: Vec<u8>) {
        if old == new {
            return;
        }
        let (old, digest) = (Some(Digest::sha256(old)), Some(Digest::sha256(&new)));
        // The workspace's own file stays the last.
        let is_own = |(step, _): &(Step, Bytes)| step.path.as_text() == WORKSPACE;
        let at = self.steps.iter().position(is_own).unwrap_or(self.steps.len());
        self.steps.insert(at, (Step { path, old, new: digest, executable: false }, Bytes::Text(new)));
    }

    /// Carries the plan out: all of it, or nothing. The place must have been opened, not only looked at.
    ///
    /// **Errors**: why nothing was changed.
    pub fn carry_out(&self, place: &Place) -> Result<(), Failure> {
        if !place.is_locked() {
            let detail = format!("{} is not open to be changed", place.root.display());
            return Err(Failure::new(Code::Internal, "install.unlocked", detail));
        }
        journal::change(&place.root, &self.steps).map_err(|error| workspace::failure(&error))
    }
}

/// Returns the components that are installed again although they are installed: what is asked for, and what that requires.
fn forced(provided: &[Provided], wish: &Wish) -> BTreeSet<ComponentId> {
    if wish.force == Force::No {
        return BTreeSet::new();
    }
    let all: BTreeMap<&ComponentId, &[ComponentId]> =
        provided.iter().map(|one| (&one.id, one.dependencies.as_slice())).collect();
    reached(wish.asked.keys(), |id| all.get(id).copied().unwrap_or_default())
}

/// Returns what is reached from `roots`, which are among it.
fn reached<'a>(
    roots: impl Iterator<Item = &'a ComponentId>,
    next: impl Fn(&ComponentId) -> &'a [ComponentId],
) -> BTreeSet<ComponentId> {
    let mut open: Vec<&ComponentId> = roots.collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id.clone()) {
            open.extend(next(id));
        }
    }
    found
}

/// Returns what a component of a workspace requires.
fn requires<'a>(workspace: &'a Workspace, id: &ComponentId) -> &'a [ComponentId] {
    workspace.components.get(id).map_or(&[], |one| one.dependencies.as_slice())
}

/// Returns what was asked for, with what that requires.
fn needed(workspace: &Workspace) -> BTreeSet<ComponentId> {
    let roots = workspace.components.iter().filter(|(_, one)| one.requested.is_some()).map(|(id, _)| id);
    reached(roots, |id| requires(workspace, id))
}

/// Makes the entry of a component, and notes where its files come from.
fn entry(
    one: &Provided,
    requested: Option<VersionReq>,
    now_s: i64,
    sources: &mut BTreeMap<DocPath, Source>,
) -> Result<Installed, Failure> {
    let mut files = Vec::with_capacity(one.files.len());
    for file in &one.files {
        let path = target(&one.id, &one.category, &file.path)?;
        sources.insert(path.clone(), Source::of(one, file));
        files.push(InstalledFile { path, sha256: file.digest.clone(), adopted: false });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Installed {
        version: one.version.clone(),
        checksum: Some(one.checksum.clone()),
        installed_at: Some(rfc3339(now_s)),
        category: Some(one.category.clone()),
        publisher: one.publisher.clone(),
        key_id: one.key_id.clone(),
        key: one.key,
        signed_at: one.signed_at.clone(),
        registry: one.registry.clone(),
        requested,
        dependencies: one.dependencies.clone(),
        provides: one.provides.clone(),
        files,
    })
}

/// Returns where a file of a component goes.
///
/// **Errors**: E008 where the place would be no good path.
pub fn target(id: &ComponentId, category: &str, path: &DocPath) -> Result<DocPath, Failure> {
    let top = path.segments().next().unwrap_or_default();
    if SHARED.contains(&top) && path.as_text() != top {
        return Ok(path.clone());
    }
    let directory = match category {
        "esf-schema" | "data-schema" => "schemas",
        "wire-adapter" => "adapters",
        "smart-circuit" => "circuits",
        "fpga-circuit" => "fpga",
        "integration" => "integrations",
        "console-widget" => "widgets",
        _ => "components",
    };
    DocPath::parse(&format!("{directory}/{}/{path}", id.path())).map_err(|error| {
        let mut failure = Failure::of(Code::ManifestInvalid, &error);
        failure.detail = format!("cannot install {path} of {}: {error}", id.path());
        failure.hint("its publisher has to give it a shorter path")
    })
}

/// Compares what the workspace will have with what it has and with what lies there.
fn settle(
    place: &Place,
    mut new: Workspace,
    mut fates: BTreeMap<ComponentId, Fate>,
    sources: &BTreeMap<DocPath, Source>,
    force: Force,
) -> Result<Plan, Failure> {
    let needed = needed(&new);
    new.components.retain(|id, _| needed.contains(id));
    fates.retain(|id, _| needed.contains(id));
    schemas(&new)?;
    let owners = owners(&new)?;
    let before: BTreeMap<&DocPath, (&ComponentId, &Digest)> = place
        .known
        .components
        .iter()
        .flat_map(|(id, one)| one.files.iter().map(move |file| (id, file)))
        // What was adopted is somebody's, as it was before.
        .filter(|(_, file)| !file.adopted)
        .map(|(id, file)| (&file.path, (id, &file.sha256)))
        .collect();
    let going: BTreeSet<&DocPath> =
        before.keys().filter(|path| !owners.contains_key(**path)).copied().collect();
    let (foreign, changed, adopted) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut found = Findings { place, before: &before, going: &going, force, foreign, changed, adopted };
    let (mut steps, mut last) = (Vec::new(), Vec::new());
    // A file where a directory is to be, and the other way round, goes before the others come.
    let parents: BTreeSet<DocPath> = owners.keys().flat_map(|path| above(path)).collect();
    for path in &going {
        let Some(old) = found.at(path, None)? else { continue };
        let step = (Step { path: (*path).clone(), old, new: None, executable: false }, Bytes::None);
        let is_in_the_way = parents.contains(*path) || above(path).any(|one| owners.contains_key(&one));
        if is_in_the_way { &mut steps } else { &mut last }.push(step);
    }
    for (path, source) in sources.iter().filter(|(path, _)| owners.contains_key(*path)) {
        let Some(old) = found.at(path, Some(&source.sha256))? else { continue };
        let new = Some(source.sha256.clone());
        let step = Step { path: path.clone(), old, new, executable: source.executable };
        steps.push((step, Bytes::File(source.from.clone())));
    }
    steps.append(&mut last);
    found.refused()?;
    let warnings = adopt(&mut new, &found.adopted);
    let text = new.write().into_bytes();
    let digest = Digest::sha256(&text);
    if place.digest.as_ref() != Some(&digest) && new != place.known {
        let path = DocPath::parse(WORKSPACE).map_err(|error| Failure::of(Code::Internal, &error))?;
        let there = journal::look(&place.root.join(WORKSPACE)).map_err(|error| workspace::failure(&error))?;
        if let There::Other(what) = there {
            let detail = format!("cannot write {WORKSPACE}: it is {what}");
            return Err(Failure::new(Code::SchemaConflict, "install.link", detail)
                .with("path", WORKSPACE)
                .hint("make it a file of the workspace; nothing was changed"));
        }
        let step = Step { path, old: place.digest.clone(), new: Some(digest), executable: false };
        steps.push((step, Bytes::Text(text)));
    }
    let changes = changes(place, &new, fates);
    Ok(Plan { changes, workspace: new, warnings, steps })
}

/// Notes which files were there before their components; they stay when those go.
fn adopt(new: &mut Workspace, adopted: &BTreeSet<DocPath>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (id, one) in &mut new.components {
        let mut found = Vec::new();
        for file in one.files.iter_mut().filter(|file| adopted.contains(&file.path)) {
            file.adopted = true;
            found.push(file.path.as_text());
        }
        if !found.is_empty() {
            let text = format!(
                "there already, with the bytes that {} brings; an uninstall leaves it: {}",
                id.path(),
                listed(&found)
            );
            warnings.push(Warning::new("install.adopted", text));
        }
    }
    warnings
}

/// Returns the first of some paths, and how many there are more.
fn listed(all: &[&str]) -> String {
    let more = all.len().saturating_sub(NAMED_MAX);
    let mut text = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn changes(place: &Place, new: &Workspace, mut fates: BTreeMap<ComponentId, Fate>) -> Vec<Change> {
    let change = |id: &ComponentId, one: &Installed, fate: Fate| Change {
        id: id.clone(),
        version: one.version.clone(),
        fate,
        files: one.files.iter().map(|file| file.path.clone()).collect(),
    };
    let mut all: Vec<Change> = new
        .components
        .iter()
        .map(|(id, one)| change(id, one, fates.remove(id).unwrap_or(Fate::Kept)))
        .collect();
    let gone = place.known.components.iter().filter(|(id, _)| !new.components.contains_key(*id));
    all.extend(gone.map(|(id, one)| {
        let files = one.files.iter().filter(|file| !file.adopted).map(|file| file.path.clone()).collect();
        Change { files, ..change(id, one, Fate::Removed) }
    }));
    for change in &mut all {
        if let Fate::Restored(paths) = &change.fate {
            change.files.clone_from(paths);
        }
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

/// Refuses two components that bring one schema.
fn schemas(new: &Workspace) -> Result<(), Failure> {
    let mut brought: BTreeMap<&str, &ComponentId> = BTreeMap::new();
    for (id, one) in &new.components {
        for schema in &one.provides {
            let Some(other) = brought.insert(schema, id).filter(|other| *other != id) else { continue };
            let detail = format!("{} and {} both provide the schema {schema}", other.path(), id.path());
            return Err(Failure::new(Code::SchemaConflict, "schema_conflict", detail)
                .with("schema", schema)
                .with("providedBy", [other.path(), id.path()])
                .hint("keep one of them; nothing was changed"));
        }
    }
    Ok(())
}

/// Returns who will own which place; refuses places that mean the same on some file system.
fn owners(new: &Workspace) -> Result<BTreeMap<&DocPath, &ComponentId>, Failure> {
    let mut owners: BTreeMap<&DocPath, &ComponentId> = BTreeMap::new();
    let refused = |detail: String| {
        Failure::new(Code::SchemaConflict, "install.file_conflict", detail)
            .hint("keep one of them; nothing was changed")
    };
    for (id, one) in &new.components {
        for file in &one.files {
            if let Some(other) = owners.insert(&file.path, id) {
                let detail = format!("{} and {} both bring {}", other.path(), id.path(), file.path);
                return Err(refused(detail).with("path", file.path.as_text()));
            }
        }
    }
    names::check(&"the workspace", owners.keys().copied()).map_err(|refusal| refused(refusal.to_string()))?;
    Ok(owners)
}

/// Returns the directories above a path, the nearest first.
fn above(path: &DocPath) -> impl Iterator<Item = DocPath> {
    std::iter::successors(path.parent(), DocPath::parent)
}

/// What lies where files are to go.
struct Findings<'a> {
    place: &'a Place,
    before: &'a BTreeMap<&'a DocPath, (&'a ComponentId, &'a Digest)>,
    /// Installed files that will not be there afterwards.
    going: &'a BTreeSet<&'a DocPath>,
    force: Force,
    foreign: Vec<String>,
    changed: Vec<(&'a DocPath, &'a ComponentId)>,
    /// Files that nobody installed, and that have the bytes that would come.
    adopted: BTreeSet<DocPath>,
}

impl<'a> Findings<'a> {
    /// Looks at a place; returns what is there before the step, or `None` where nothing has to be done or it is refused.
    fn at(&mut self, path: &'a DocPath, new: Option<&Digest>) -> Result<Option<Option<Digest>>, Failure> {
        if let Some((at, found)) = journal::blocked(&self.place.root, path) {
            let is_it = |one: &DocPath| self.place.root.join(one.as_text()) == at && self.going.contains(one);
            if found == journal::FILE && new.is_some() && above(path).any(|one| is_it(&one)) {
                return Ok(Some(None));
            }
            let detail = format!("cannot put {path} there: {} is {found}", at.display());
            return Err(Failure::new(Code::SchemaConflict, "install.link", detail)
                .with("path", at.display().to_string())
                .hint("make it a directory of the workspace; nothing was changed"));
        }
        let there = journal::look(&self.place.root.join(path.as_text()));
        let there = there.map_err(|error| workspace::failure(&error))?;
        let own = self.before.get(path).copied();
        match (there, own) {
            (There::Nothing, _) => Ok(new.map(|_| None)),
            (There::File(digest), own) if Some(&digest) == new => {
                if own.is_none() {
                    self.adopted.insert(path.clone());
                }
                Ok(None)
            }
            (There::File(digest), Some((id, recorded))) => {
                if digest != *recorded && self.force == Force::No {
                    self.changed.push((path, id));
                    return Ok(None);
                }
                Ok(Some(Some(digest)))
            }
            (There::Other(journal::DIRECTORY), None) if new.is_some() => match self.stays_in(path)? {
                None => Ok(Some(None)),
                Some(foreign) => {
                    self.foreign.push(foreign);
                    Ok(None)
                }
            },
            (There::File(_) | There::Other(_), None) => {
                self.foreign.push(path.as_text().to_owned());
                Ok(None)
            }
            (There::Other(what), Some(_)) => {
                let detail = format!("cannot replace {path}: it is {what} by now");
                Err(Failure::new(Code::SchemaConflict, "install.file_changed", detail)
                    .with("files", [path.as_text()])
                    .hint("move it aside; nothing was changed"))
            }
        }
    }

    /// Returns what keeps a directory from going with the installed files in it; `None` where nothing does.
    fn stays_in(&self, directory: &DocPath) -> Result<Option<String>, Failure> {
        let mut open = vec![directory.as_text().to_owned()];
        while let Some(path) = open.pop() {
            let place = self.place.root.join(&path);
            let failed = |error: std::io::Error| {
                workspace::failure(&JournalError::File { act: "read", path: place.clone(), source: error })
            };
            let mut is_empty = true;
            for entry in std::fs::read_dir(&place).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let below = format!("{path}/{}", entry.file_name().to_string_lossy());
                is_empty = false;
                match entry.file_type().map_err(failed)?.is_dir() {
                    true => open.push(below),
                    false if DocPath::parse(&below).is_ok_and(|path| self.going.contains(&path)) => {}
                    false => return Ok(Some(below)),
                }
            }
            // Nobody's: it would stay.
            if is_empty {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn refused(&self) -> Result<(), Failure> {
        if !self.foreign.is_empty() {
            let all: Vec<&str> = self.foreign.iter().map(String::as_str).collect();
            let detail = format!("nobody installed what lies there already: {}", listed(&all));
            return Err(Failure::new(Code::SchemaConflict, "install.file_exists", detail)
                .with("files", all)
                .hint("move these files aside and install again; nothing was changed"));
        }
        if !self.changed.is_empty() {
            let all: Vec<&str> = self.changed.iter().map(|(path, _)| path.as_text()).collect();
            let owners: BTreeSet<&str> = self.changed.iter().map(|(_, id)| id.path()).collect();
            let owners: Vec<&str> = owners.into_iter().collect();
            let detail = format!("files of {} were changed by hand: {}", owners.join(", "), listed(&all));
            return Err(Failure::new(Code::SchemaConflict, "install.file_changed", detail)
                .with("files", all)
                .hint("keep a copy of what you changed, then --force replaces it; nothing was changed"));
        }
        Ok(())
    }
}
