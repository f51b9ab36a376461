//! The index: which component lies where, and which versions have documents. Reads listings and `config.json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dialect::estream::document::{ConfigDocument, whole};
use crate::dialect::estream::metadata::MetadataTask;
use crate::dialect::estream::pending::{Home, Spot, errand};
use crate::dialect::estream::{IndexTask, KERNEL, Task};
use crate::dialect::{Errand, Finding, Received};
use crate::error::{ParseError, escaped};
use crate::filter::Filter;
use crate::id::{ComponentId, Dialect};
use crate::model::{Refusal, Skipped, Warning};
use crate::path::DocPath;
use crate::pointer::{Location, Want};
use crate::version::Version;

/// The most entries of a listing that are named one by one because nobody can read them; the rest is counted.
const SKIPPED_MAX: usize = 10_000;

/// The reason of a component that lies in two categories.
const CATEGORIES: &str = "estream.two_categories";
/// The reason of the warning that `config.json` cannot be read.
const CONFIG: &str = "estream.config";

/// The most prefixes that a registry reserves: every name is compared with each of them.
pub(super) const PREFIXES_MAX: usize = 64;
/// The longest of them in bytes.
pub(super) const PREFIX_BYTES_MAX: usize = 128;

/// What is known before `config.json` is read: every component.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigTask {
    home: Arc<Home>,
    filter: Filter,
    spots: Vec<Spot>,
}

impl ConfigTask {
    /// Returns how many releases the index names, as far as its listing says it.
    pub(super) fn releases(&self) -> u64 {
        self.spots.iter().map(|spot| spot.versions.len().max(1) as u64).sum()
    }
}

/// What is known of a scoped component before its versions are listed.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionsTask(MetadataTask);

impl VersionsTask {
    pub(super) fn component(&self) -> &ComponentId {
        self.0.component()
    }
}

/// Reads the listing of the index.
///
/// **Errors**: it is no listing; the place of the registry has no room for its paths.
pub(super) fn read(
    task: &IndexTask,
    location: &Location,
    bytes: &[u8],
    received: &Received,
) -> Result<Finding, ParseError> {
    let home = Arc::new(Home::of(location, received)?);
    let mut found = Found::default();
    for line in lines(bytes)? {
        found.take(home.below_index(line.path), line.is_directory);
    }
    let Found { spots, skipped, .. } = found;
    let is_owned = |id: &ComponentId| task.owns.iter().any(|namespace| namespace.contains(id));
    let spots = spots.into_iter().map(|(id, places)| Spot::of(is_owned(&id), id, places)).collect();
    let task = ConfigTask { home, filter: task.filter.clone(), spots };
    let config = DocPath::parse("config.json")?;
    let errands = vec![errand(Want::Blob(task.home.at(&config)?), Task::Config(Box::new(task)))];
    Ok(Finding { errands, skipped, ..Finding::default() })
}

/// What a listing holds.
#[derive(Default)]
struct Found {
    /// Where each component lies: the directory in each category, with the versions below it.
    spots: BTreeMap<ComponentId, BTreeMap<String, Vec<Version>>>,
    skipped: Vec<Skipped>,
}

impl Found {
    /// Takes the entry with these names below the index.
    fn take(&mut self, names: Option<Vec<&str>>, is_directory: bool) {
        // Files that stand beside directories are for people.
        let Some(names) = names.filter(|_| is_directory) else { return };
        let is_category = |name: &str| ComponentId::from_path(Dialect::Estream, name).is_ok();
        if names.len() > 1 && !names.first().is_some_and(|category| is_category(category)) {
            return;
        }
        let taken = match names.as_slice() {
            [category] => ComponentId::from_path(Dialect::Estream, category).map(drop),
            [category, name] if !name.starts_with('@') => self.component(category, name).map(drop),
            [_, scope] => ComponentId::from_path(Dialect::Estream, &format!("{scope}/x")).map(drop),
            [category, scope, name] if scope.starts_with('@') => {
                self.component(category, &format!("{scope}/{name}")).map(drop)
            }
            [category, name, version] => self.version(category, name, version),
            _ => Ok(()),
        };
        if let Err(error) = taken
            && self.skipped.len() < SKIPPED_MAX
        {
            self.skipped.push(Skipped { entry: escaped(&names.join("/")), error });
        }
    }

    fn component(&mut self, category: &str, name: &str) -> Result<&mut Vec<Version>, ParseError> {
        let id = ComponentId::from_path(Dialect::Estream, name)?;
        if id.as_text() == KERNEL {
            let expected = "components; the platform itself is what the host has, and never listed";
            return Err(ParseError::new("estream.platform_listed", expected, name));
        }
        Ok(self.spots.entry(id).or_default().entry(category.to_owned()).or_default())
    }

    fn version(&mut self, category: &str, name: &str, version: &str) -> Result<(), ParseError> {
        let read = version_of(version)?;
        self.component(category, name)?.push(read);
        Ok(())
    }
}

/// Reads the name of a version's directory: the version as it is printed.
fn version_of(name: &str) -> Result<Version, ParseError> {
    let version = Version::parse(name)?;
    match version.to_string() == name {
        true => Ok(version),
        false => Err(ParseError::new("input.version", format!("the directory {version}"), name)),
    }
}

impl Spot {
    /// Returns where a component lies; it is refused where that is more than one place.
    fn of(is_owned: bool, id: ComponentId, places: BTreeMap<String, Vec<Version>>) -> Spot {
        let categories: Vec<&str> = places.keys().map(String::as_str).collect();
        let fault = (categories.len() > 1).then(|| {
            let found = format!("index/{}", categories.join(&format!("/{0} and index/", id.path())));
            let found = format!("{found}/{}", id.path());
            ParseError::new(CATEGORIES, "every name in one category of the index", found)
        });
        let category = categories.first().map_or_else(String::new, |category| (*category).to_owned());
        let mut versions: Vec<Version> = places.into_values().flatten().collect();
        versions.sort();
        versions.dedup();
        Spot { id, is_owned, category, versions, fault }
    }
}

/// One line of a listing.
struct Line<'a> {
    is_directory: bool,
    path: &'a str,
}

/// Reads a listing: lines `mode type oid path`.
fn lines(bytes: &[u8]) -> Result<Vec<Line<'_>>, ParseError> {
    let refused = |line: &str| ParseError::new("input.listing", "lines of mode, type, id and path", line);
    let text = std::str::from_utf8(bytes).map_err(|_| refused("other bytes"))?;
    let line = |line: &'_ str| -> Option<(bool, usize)> {
        let mut words = line.splitn(4, ' ');
        let (_, kind, _, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some((kind == "tree", line.len() - path.len()))
    };
    let read = |text| {
        let (is_directory, at) = line(text).ok_or_else(|| refused(text))?;
        Ok(Line { is_directory, path: &text[at..] })
    };
    text.lines().map(read).collect()
}

/// Reads `config.json`, and asks for every component.
///
/// **Errors**: none: what cannot be read is told, and what always holds is used.
pub(super) fn configured(task: &ConfigTask, bytes: &[u8]) -> Result<Finding, ParseError> {
    match whole::<ConfigDocument>(bytes).and_then(|(config, _)| checked(config)) {
        Ok(mut config) => {
            let warning = bounded(&mut config.reserved_prefixes);
            let mut finding = components(task, config);
            finding.warnings.extend(warning);
            Ok(finding)
        }
        Err(error) => {
            let mut finding = components(task, ConfigDocument::default());
            let text = format!("config.json is not used: {error}");
            finding.warnings.push(Warning::new(CONFIG, text));
            Ok(finding)
        }
    }
}

/// Leaves out the prefixes that are too long or too many, and tells of them.
fn bounded(prefixes: &mut Vec<String>) -> Option<Warning> {
    let before = prefixes.len();
    prefixes.retain(|prefix| !prefix.is_empty() && prefix.len() <= PREFIX_BYTES_MAX);
    prefixes.truncate(PREFIXES_MAX);
    let unused = before - prefixes.len();
    (unused > 0).then(|| {
        let text = format!(
            "prefixes of config.json that are not used, since a registry may reserve {PREFIXES_MAX} of 1 to {PREFIX_BYTES_MAX} bytes: {unused}"
        );
        Warning::new(CONFIG, text)
    })
}

fn checked(config: ConfigDocument) -> Result<ConfigDocument, ParseError> {
    if let Some(archives) = &config.archives {
        DocPath::parse(archives).map_err(|error| error.in_field("archives"))?;
    }
    match config.schema_version {
        None | Some(1) => Ok(config),
        Some(other) => {
            let error = ParseError::new("input.schema", "schema_version 1", other.to_string());
            Err(error.in_field("schema_version"))
        }
    }
}

/// Goes on without `config.json`; that it is not there needs no word.
pub(super) fn without_config(task: &ConfigTask, refusal: &Refusal) -> Finding {
    let mut finding = components(task, ConfigDocument::default());
    if refusal.reason != "file_missing" {
        finding.warnings.push(Warning::new(CONFIG, format!("config.json is not used: {refusal}")));
    }
    finding
}

fn components(task: &ConfigTask, config: ConfigDocument) -> Finding {
    let config = Arc::new(config);
    let mut finding = Finding::default();
    for spot in &task.spots {
        let next = MetadataTask::new(&task.home, &config, &task.filter, spot.clone());
        match asked(next) {
            Ok(errand) => finding.errands.push(errand),
            Err((next, error)) => {
                let refusal = Refusal::of(&spot.id, &error);
                let refused = next.refused(refusal);
                finding.releases.extend(refused.releases);
                finding.skipped.extend(refused.skipped);
            }
        }
    }
    finding
}

/// Returns what is asked for next of a component: the versions of a scoped one, which no listing has named yet, else its metadata.
fn asked(next: MetadataTask) -> Result<Errand, (MetadataTask, ParseError)> {
    let is_scoped = !next.component().scope().is_empty();
    match (is_scoped, next.fault()) {
        (true, _) => match next.directory() {
            Ok(location) => {
                let want = Want::Tree { location, depth: 1 };
                Ok(errand(want, Task::Versions(Box::new(VersionsTask(next)))))
            }
            Err(error) => Err((next, error)),
        },
        (false, Some(error)) => Err((next, error)),
        (false, None) => next.errand(),
    }
}

/// Reads the listing of a scoped component's versions.
///
/// **Errors**: it is no listing.
pub(super) fn versions(task: &VersionsTask, bytes: &[u8]) -> Result<Finding, ParseError> {
    let mut next = task.0.clone();
    let mut finding = Finding::default();
    for line in lines(bytes)?.into_iter().filter(|line| line.is_directory) {
        let name = line.path.rsplit('/').next().unwrap_or_default();
        match version_of(name) {
            Ok(version) => next.add(version),
            Err(error) if finding.skipped.len() < SKIPPED_MAX => {
                let entry = format!("{}/{}", next.component(), escaped(name));
                finding.skipped.push(Skipped { entry, error });
            }
            Err(_) => {}
        }
    }
    let asked = match next.fault() {
        Some(error) => Err((next, error)),
        None => next.errand(),
    };
    match asked {
        Ok(errand) => finding.errands.push(errand),
        Err((next, error)) => {
            let refused = next.refused(Refusal::of(next.component(), &error));
            finding.releases.extend(refused.releases);
            finding.skipped.extend(refused.skipped);
        }
    }
    Ok(finding)
}

/// Refuses a scoped component whose versions could not be listed.
pub(super) fn without_versions(task: &VersionsTask, refusal: Refusal) -> Finding {
    task.0.refused(refusal)
}
