//! `metadata.json`: a component and all of its versions. Asks for the record of its publisher.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::dialect::estream::bundle;
use crate::dialect::estream::document::{ConfigDocument, MetadataDocument, VersionEntry, instant_of, sha3};
use crate::dialect::estream::pending::{Home, Listing, Row, Spot, admits, bare, directory, errand};
use crate::dialect::estream::publisher::PublisherTask;
use crate::dialect::estream::{OFFICIAL, RESERVED_PREFIXES, Task};
use crate::dialect::{Errand, Finding, Received};
use crate::error::{ParseError, escaped};
use crate::filter::Filter;
use crate::id::{ComponentId, Dialect};
use crate::json;
use crate::model::{Refusal, Skipped, Verdict, Warning};
use crate::path::DocPath;
use crate::pointer::{HttpsUrl, LocalPath, Location, Want};
use crate::seal::NAME_RESERVED;
use crate::version::Version;

/// The reason of a component whose metadata says that it is another one.
const MISMATCH: &str = "estream.metadata_mismatch";
/// The reason of a version that has documents and that the metadata does not name.
const UNLISTED: &str = "estream.version_unlisted";

/// The most entries of one metadata document that are named because nobody can read them.
const SKIPPED_MAX: usize = 100;
/// The most bytes of fields that every version of a component carries: a short document would make much of itself otherwise.
pub(super) const CARRIED_BYTES_MAX: usize = 8 << 10;
/// The most bytes of them in all versions of a component together: each has its own copy, and versions are many.
pub(super) const COPIED_BYTES_MAX: usize = 4 << 20;

/// The reason of the warning that the versions of a component do not carry what its metadata says of all of them.
const CARRIED: &str = "estream.carried";

/// What is known of a component before its metadata is read.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataTask {
    home: Arc<Home>,
    config: Arc<ConfigDocument>,
    filter: Arc<Filter>,
    /// Where all of them lie, and which one this is.
    spots: Arc<[Spot]>,
    at: usize,
}

impl MetadataTask {
    pub(super) fn new(
        (home, config, filter): (&Arc<Home>, &Arc<ConfigDocument>, &Arc<Filter>),
        (spots, at): (&Arc<[Spot]>, usize),
    ) -> MetadataTask {
        let (home, config, filter) = (Arc::clone(home), Arc::clone(config), Arc::clone(filter));
        MetadataTask { home, config, filter, spots: Arc::clone(spots), at }
    }

    fn spot(&self) -> &Spot {
        &self.spots[self.at]
    }

    pub(super) fn component(&self) -> &ComponentId {
        &self.spot().id
    }

    /// Returns why none of the component may be used, where the index says so.
    pub(super) fn fault(&self) -> Option<ParseError> {
        self.spot().fault.as_deref().cloned()
    }

    /// Returns the errand of the metadata.
    ///
    /// **Errors**: its path is too long.
    pub(super) fn errand(self) -> Result<Errand, (MetadataTask, ParseError)> {
        let place = directory(&self.spot().category, &self.spot().id, None)
            .and_then(|directory| DocPath::parse(&format!("{directory}/metadata.json")))
            .and_then(|path| self.home.at(&path));
        match place {
            Ok(location) => Ok(errand(Want::Blob(location), Task::Metadata(Box::new(self)))),
            Err(error) => Err((self, error)),
        }
    }

    /// Refuses every version that has documents; where none is known, the component is left out, and that is told.
    pub(super) fn refused(&self, refusal: Refusal) -> Finding {
        let Spot { id, category, versions, .. } = self.spot();
        let refused =
            |version: &Version| bare((&self.home, category), id, version, Verdict::Refused(refusal.clone()));
        let releases: Vec<_> =
            versions.iter().filter(|version| admits(&self.filter, id, version)).map(refused).collect();
        let mut finding = Finding { releases, ..Finding::default() };
        if versions.is_empty() {
            let Refusal { reason, expected, found, .. } = refusal;
            let error = ParseError { reason, field: String::new(), position: None, expected, found };
            finding.skipped.push(Skipped { entry: id.to_string(), error });
        }
        finding
    }
}

/// Reads the metadata of a component.
///
/// **Errors**: it cannot be read, or is about another component; its name is reserved.
pub(super) fn read(task: &MetadataTask, bytes: &[u8], received: &Received) -> Result<Finding, ParseError> {
    let text = json::check(bytes)?;
    let document: MetadataDocument<&RawValue> = json::document(text)?;
    of_component(task, &document).map_err(|error| json::located(error, text))?;
    let carried = carries_little(&document).map_err(|error| json::located(error, text))?;
    let mut finding = Finding::default();
    let (mut rows, unread) = rows(task, &document.versions, &json::Document::of(text), &mut finding);
    note_latest(&mut rows, document.latest);
    refuse_unlisted(task, &rows, &unread, &mut finding);
    let rows: Vec<(Version, Arc<Row>)> = rows
        .into_iter()
        .filter(|(version, _)| admits(&task.filter, &task.spot().id, version))
        .map(|(version, row)| (version, Arc::new(row)))
        .collect();
    if rows.is_empty() {
        return Ok(finding);
    }
    let mut extra = document.extra;
    extra.extend(document.description.map(|text| ("description".to_owned(), text.into())));
    if carried.saturating_mul(rows.len()) > COPIED_BYTES_MAX {
        extra = Map::new();
        let text = format!(
            "{}: its {} versions do not carry what metadata.json says of all of them: {carried} bytes in each would be more than {COPIED_BYTES_MAX}",
            task.spot().id,
            rows.len()
        );
        finding.warnings.push(Warning::new(CARRIED, text));
    }
    let listing = Listing {
        home: Arc::clone(&task.home),
        config: Arc::clone(&task.config),
        id: task.spot().id.clone(),
        is_owned: task.spot().is_owned,
        category: task.spot().category.clone(),
        publisher: document.publisher,
        record: Arc::default(),
        extra,
    };
    let next = PublisherTask { listing, rows, trust: received.trust.clone() };
    match next.errand() {
        Ok(errand) => finding.errands.push(errand),
        Err((next, error)) => {
            finding.releases.extend(next.refused(&Refusal::of(&task.spot().id, &error)).releases);
        }
    }
    Ok(finding)
}

/// Checks that the metadata is about the component in whose directory it lies, and that its publisher may use the name.
fn of_component(task: &MetadataTask, document: &MetadataDocument<&RawValue>) -> Result<(), ParseError> {
    let Spot { id, category, .. } = task.spot();
    let differs = |expected: &str, found: &str, field: &str| {
        let expected = format!("{expected}, as its directory says");
        Err(ParseError::new(MISMATCH, expected, found).in_field(field))
    };
    if document.name != id.path() {
        return differs(id.path(), &document.name, "name");
    }
    if document.category != **category {
        return differs(category, &document.category, "category");
    }
    let publisher = &document.publisher;
    ComponentId::from_path(Dialect::Estream, publisher).map_err(|_| {
        ParseError::new("input.field", "a name of a-z, 0-9 and -", publisher).in_field("publisher")
    })?;
    match id.scope().strip_prefix('@') {
        Some(scope) if scope != publisher => differs(scope, publisher, "publisher"),
        Some(_) => Ok(()),
        None => {
            let own = task.config.reserved_prefixes.iter().map(String::as_str);
            let mut reserved = RESERVED_PREFIXES.into_iter().chain(own);
            let prefix = reserved.find(|prefix| id.path().starts_with(*prefix) && publisher != OFFICIAL);
            prefix.map_or(Ok(()), |prefix| {
                let expected = format!("names that start with {prefix} published by {OFFICIAL} alone");
                let found = format!("{} by {publisher}", id.path());
                Err(ParseError::new(NAME_RESERVED, expected, found).in_field("publisher"))
            })
        }
    }
}

/// Returns how many bytes of the metadata every version would have to carry, and refuses too many.
fn carries_little(document: &MetadataDocument<&RawValue>) -> Result<usize, ParseError> {
    let description = document.description.as_ref().map_or(0, String::len);
    let bytes = description + serde_json::to_string(&document.extra).map_or(usize::MAX, |text| text.len());
    if bytes <= CARRIED_BYTES_MAX {
        return Ok(bytes);
    }
    let expected = format!("at most {CARRIED_BYTES_MAX} bytes beside the versions");
    Err(ParseError::new("limit.carried_bytes", expected, format!("{bytes} bytes")))
}

/// Why entries of versions cannot be read, by version without its build.
type Unread = HashMap<semver::Version, ParseError>;

/// Reads what the metadata says of each version; what cannot be read is left out, and told.
fn rows(
    task: &MetadataTask,
    versions: &[&RawValue],
    entries: &json::Document<'_>,
    finding: &mut Finding,
) -> (BTreeMap<Version, Row>, Unread) {
    let (mut rows, mut known, mut unread) = (BTreeMap::new(), HashSet::new(), Unread::new());
    for (index, raw) in versions.iter().enumerate() {
        let read = entries
            .entry::<VersionEntry>(raw)
            .and_then(|entry| row(task, entry).map_err(|error| entries.in_entry(error, raw)));
        let error = match read {
            Ok((version, row)) if known.insert(without_build(&version)) => {
                rows.insert(version, row);
                continue;
            }
            Ok((version, _)) => {
                let error = ParseError::new("catalogue.duplicate", "every version once", version.to_string());
                entries.in_entry(error.in_field("version"), raw)
            }
            Err(error) => error,
        };
        let field = format!("versions[{index}]");
        let error = error.in_field(&field);
        if let Some(version) = named(raw) {
            unread.entry(version).or_insert_with(|| error.clone());
        }
        if finding.skipped.len() < SKIPPED_MAX {
            let entry = escaped(&format!("{} {field}", task.spot().id));
            finding.skipped.push(Skipped { entry, error });
        }
    }
    (rows, unread)
}

/// Returns the version that an entry names that cannot be read.
fn named(raw: &RawValue) -> Option<semver::Version> {
    #[derive(Deserialize)]
    struct Named {
        version: String,
    }
    let named: Named = serde_json::from_str(raw.get()).ok()?;
    Version::parse(&named.version).ok().as_ref().map(without_build)
}

/// Returns a version as resolution tells it from others.
fn without_build(version: &Version) -> semver::Version {
    let mut version = version.semver().clone();
    version.build = semver::BuildMetadata::EMPTY;
    version
}

/// Reads what the metadata says of one version.
fn row(task: &MetadataTask, entry: VersionEntry) -> Result<(Version, Row), ParseError> {
    let version = Version::parse(&entry.version).map_err(|error| error.in_field("version"))?;
    let published_s = instant_of(&entry.published_at).map_err(|error| error.in_field("published_at"))?;
    let checksum = sha3(&entry.checksum_sha3).map_err(|error| error.in_field("checksum_sha3"))?;
    let archive = match &task.config.archives {
        Some(archives) => task.home.at(&bundle::archive(archives, &task.spot().id, &version)?)?,
        None => archive(task, &entry.archive_url).map_err(|error| error.in_field("archive_url"))?,
    };
    let min_version = entry.estream_min_version.as_deref().map(Version::parse).transpose();
    let min_version = min_version.map_err(|error| error.in_field("estream_min_version"))?;
    let VersionEntry { published_at, signature_pubkey_id: key_id, yanked, extra, .. } = entry;
    let row = Row {
        checksum,
        archive,
        key_id,
        published_at,
        published_s,
        yanked,
        min_version,
        latest_said: None,
        extra,
    };
    Ok((version, row))
}

fn archive(task: &MetadataTask, text: &str) -> Result<Location, ParseError> {
    if text.starts_with("https:") {
        return Ok(Location::Https { url: HttpsUrl::parse(text)? });
    }
    match (text.starts_with("file:") || text.starts_with('/'), &*task.home) {
        (true, Home::Directory(_)) => Ok(Location::File { path: LocalPath::parse(text)? }),
        // Whoever can push to a repository, even to one of this machine, has no say about the machine's files.
        (true, Home::Git { .. }) => {
            Err(ParseError::new("input.url_scheme", "an https:// URL, or a path in the registry", text))
        }
        (false, _) if text.contains(':') => {
            Err(ParseError::new("input.url_scheme", "an https:// URL, or a path in the registry", text))
        }
        (false, _) => task.home.at(&DocPath::parse(text)?),
    }
}

/// Notes on the newest version that may be chosen that the metadata calls another one `latest`: the field has no say.
fn note_latest(rows: &mut BTreeMap<Version, Row>, latest: Option<String>) {
    let newest = rows.iter_mut().rfind(|(version, row)| !row.yanked && !version.is_prerelease());
    if let (Some((version, row)), Some(said)) = (newest, latest)
        && Version::parse(&said).ok().as_ref() != Some(version)
    {
        row.latest_said = Some(escaped(&said));
    }
}

/// Refuses versions that have documents and that the metadata does not name, or not so that it can be read.
fn refuse_unlisted(
    task: &MetadataTask,
    rows: &BTreeMap<Version, Row>,
    unread: &Unread,
    finding: &mut Finding,
) {
    let Spot { id, category, versions, .. } = task.spot();
    let listed: HashSet<semver::Version> = rows.keys().map(without_build).collect();
    let is_unlisted =
        |version: &&Version| !listed.contains(&without_build(version)) && admits(&task.filter, id, version);
    for version in versions.iter().filter(is_unlisted) {
        let subject = format!("{id}@{version}");
        let refusal = match unread.get(&without_build(version)) {
            Some(error) => Refusal::of(subject, error),
            None => Refusal::new(UNLISTED, subject, "an entry in versions of metadata.json", "none"),
        };
        finding.releases.push(bare((&task.home, category), id, version, Verdict::Refused(refusal)));
    }
}
