//! The index: which component lies where, and which versions have documents. Reads names of directories and `config.json`.

use std::sync::Arc;

use crate::dialect::estream::document::{ConfigDocument, whole};
use crate::dialect::estream::metadata::MetadataTask;
use crate::dialect::estream::pending::{Home, Spot, errand};
use crate::dialect::estream::publishers::PublishersTask;
use crate::dialect::estream::{IndexTask, KERNEL, Task};
use crate::dialect::{Finding, Received};
use crate::error::{ParseError, escaped};
use crate::filter::Filter;
use crate::id::{ComponentId, Dialect};
use crate::model::{Refusal, Skipped, Warning};
use crate::path::DocPath;
use crate::pointer::{CommitId, Location, Want};
use crate::version::Version;

/// The most entries of a listing that are named one by one because nobody can read them; the rest is counted.
pub(super) const SKIPPED_MAX: usize = 10_000;

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
    filter: Arc<Filter>,
    spots: Arc<[Spot]>,
}

impl ConfigTask {
    /// Returns how many releases the index names, as far as its listing says it.
    pub(super) fn releases(&self) -> u64 {
        self.spots.iter().map(|spot| spot.versions.len().max(1) as u64).sum()
    }
}

/// Reads the names of the directories below the index.
///
/// **Errors**: they are no such names; the place of the registry has no room for its paths.
pub(super) fn read(
    task: &IndexTask,
    location: &Location,
    bytes: &[u8],
    received: &Received,
) -> Result<Finding, ParseError> {
    let home = Arc::new(Home::of(location, received)?);
    let mut found = Found::default();
    each_directory(bytes, |names| found.take(names))?;
    let Found { places, skipped, .. } = found;
    let is_owned = |id: &ComponentId| task.owns.iter().any(|namespace| namespace.contains(id));
    let spots = spots(places, is_owned).into();
    let task = ConfigTask { home, filter: Arc::new(task.filter.clone()), spots };
    let config = Want::Blob(task.home.at(&DocPath::parse("config.json")?)?);
    let publishers = Want::Tree { location: task.home.at(&DocPath::parse("publishers")?)?, depth: 1 };
    let registered = PublishersTask { filter: Filter::clone(&task.filter) };
    let errands = vec![
        errand(config, Task::Config(Box::new(task))),
        errand(publishers, Task::Publishers(Box::new(registered))),
    ];
    Ok(Finding { errands, skipped, ..Finding::default() })
}

/// One directory of a component.
struct Lies {
    id: ComponentId,
    category: Arc<str>,
    versions: Vec<Version>,
}

/// What the names of directories say.
#[derive(Default)]
struct Found {
    /// Where each component lies, in the order in which it is named.
    places: Vec<Lies>,
    /// The category of what is named now; `None` below what is none.
    category: Option<Arc<str>>,
    /// What is named now lies in the last of `places`.
    is_component: bool,
    skipped: Vec<Skipped>,
}

impl Found {
    /// Takes the directory with these names below the index. What lies below one that cannot be read is left out with it.
    fn take(&mut self, names: &[&str]) {
        let taken = match names {
            [category] => self.category(category),
            _ if self.category.is_none() => return,
            [_, name] if !name.starts_with('@') => self.component(name),
            [_, scope] => {
                self.is_component = false;
                ComponentId::from_path(Dialect::Estream, &format!("{scope}/x")).map(drop)
            }
            [_, scope, name] if scope.starts_with('@') => self.component(&format!("{scope}/{name}")),
            [_, _, version] => self.version(version),
            [_, scope, _, version] if scope.starts_with('@') => self.version(version),
            _ => return,
        };
        if let Err(error) = taken
            && self.skipped.len() < SKIPPED_MAX
        {
            self.skipped.push(Skipped { entry: escaped(&names.join("/")), error });
        }
    }

    fn category(&mut self, name: &str) -> Result<(), ParseError> {
        self.category = None;
        ComponentId::from_path(Dialect::Estream, name)?;
        self.category = Some(name.into());
        Ok(())
    }

    fn component(&mut self, name: &str) -> Result<(), ParseError> {
        self.is_component = false;
        let id = ComponentId::from_path(Dialect::Estream, name)?;
        if id.as_text() == KERNEL {
            let expected = "components; the platform itself is what the host has, and never listed";
            return Err(ParseError::new("estream.platform_listed", expected, name));
        }
        self.is_component = true;
        let category = self.category.clone().unwrap_or_default();
        self.places.push(Lies { id, category, versions: Vec::new() });
        Ok(())
    }

    fn version(&mut self, name: &str) -> Result<(), ParseError> {
        if let Some(last) = self.places.last_mut().filter(|_| self.is_component) {
            last.versions.push(version_of(name)?);
        }
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

/// Puts together what lies in several categories, by id.
fn spots(mut places: Vec<Lies>, is_owned: impl Fn(&ComponentId) -> bool) -> Vec<Spot> {
    places.sort_by(|one, other| (&one.id, &one.category).cmp(&(&other.id, &other.category)));
    let mut spots: Vec<Spot> = Vec::with_capacity(places.len());
    let mut rest = places.into_iter().peekable();
    while let Some(mut first) = rest.next() {
        let mut categories = vec![Arc::clone(&first.category)];
        while let Some(more) = rest.next_if(|next| next.id == first.id) {
            first.versions.extend(more.versions);
            categories.push(more.category);
        }
        categories.dedup();
        spots.push(Spot::of(is_owned(&first.id), first, &categories));
    }
    spots
}

impl Spot {
    /// Returns where a component lies; it is refused where that is more than one place.
    fn of(is_owned: bool, lies: Lies, categories: &[Arc<str>]) -> Spot {
        let Lies { id, category, mut versions } = lies;
        let fault = (categories.len() > 1).then(|| {
            let found = format!("index/{}", categories.join(&format!("/{0} and index/", id.path())));
            let found = format!("{found}/{}", id.path());
            Box::new(ParseError::new(CATEGORIES, "every name in one category of the index", found))
        });
        versions.sort();
        versions.dedup();
        versions.shrink_to_fit();
        Spot { id, is_owned, category, versions, fault }
    }
}

/// Hands the names of each directory to `take`: its own last, those of the directories that it lies in before it.
fn each_directory(bytes: &[u8], mut take: impl FnMut(&[&str])) -> Result<(), ParseError> {
    let refused =
        |line: &str| ParseError::new("input.listing", "an id and a path, then names behind tabs", line);
    let text = std::str::from_utf8(bytes).map_err(|_| refused("other bytes"))?;
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    head.split_once(' ').filter(|(id, _)| CommitId::parse(id).is_ok()).ok_or_else(|| refused(head))?;
    let mut names: Vec<&str> = Vec::new();
    for line in lines {
        let name = line.trim_start_matches('\t');
        let level = line.len() - name.len();
        if level > names.len() || name.is_empty() {
            return Err(refused(line));
        }
        names.truncate(level);
        names.push(name);
        take(&names);
    }
    Ok(())
}

/// Reads a listing, lines `mode type oid path`, and returns types and paths.
pub(super) fn lines(bytes: &[u8]) -> Result<Vec<(&str, &str)>, ParseError> {
    let refused = |line: &str| ParseError::new("input.listing", "lines of mode, type, id and path", line);
    let text = std::str::from_utf8(bytes).map_err(|_| refused("other bytes"))?;
    let read = |line| {
        let mut words = str::splitn(line, 4, ' ');
        Some((words.nth(1)?, words.nth(1)?))
    };
    text.lines().map(|line| read(line).ok_or_else(|| refused(line))).collect()
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
    finding.errands.reserve(task.spots.len());
    for at in 0..task.spots.len() {
        let next = MetadataTask::new((&task.home, &config, &task.filter), (&task.spots, at));
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
    }
    finding
}
