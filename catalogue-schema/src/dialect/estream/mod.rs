//! The eStream dialect: a registry in one repository (seed 002), read at one commit.
//!
//! ```text
//! index/{category}/{name}/metadata.json                         a component, all of its versions
//! index/{category}/{name}/{version}/estream-component.toml      what its author says of a version
//! index/{category}/{name}/{version}/checksum.sha3               SHA3-256 of its archive
//! index/{category}/{name}/{version}/SIGNATURE.ml-dsa            ML-DSA-87 over that checksum
//! publishers/{name}.json                                        who somebody is, and with which keys they sign
//! config.json                                                   what holds for the registry; may be missing
//! ```
//! The name of a scoped component, `@publisher/name`, takes two directories.
//!
//! # How it is read
//! The source's entry names the directories below `index`: which name lies in which category, and which versions have documents. Then
//! come `config.json` and the listing of `publishers`, and per component `metadata.json` and the record of its publisher, and per version manifest, checksum and
//! signature, in this order. What a later document needs travels in its [`Task`]. From the listing on every document is asked for
//! at the commit at which it was read. A component or version that something is wrong with stays listed, refused: its id does not
//! fall to others, and its neighbours are what they are. Registries in a plain directory are read as well; nothing pins those.
//!
//! A publisher is registered where `publishers` holds his record, whatever that says and whatever he publishes there: the names that he
//! scopes, `@publisher/name`, belong to that registry ([`Finding::registers`]).
//!
//! The reader compares what documents say of each other. Whether a key may sign and a signature holds is not its business: it hands
//! out [`crate::seal::Seal`]s.

pub mod bundle;
pub mod component;
pub mod document;
mod index;
mod manifest;
mod metadata;
pub mod outline;
mod pending;
mod publisher;
mod publishers;
pub mod settings;
mod signature;
#[cfg(test)]
mod tests;
pub mod workspace;
pub mod write;

use serde::{Deserialize, Serialize};

use crate::dialect::estream::index::ConfigTask;
use crate::dialect::estream::manifest::ManifestTask;
use crate::dialect::estream::metadata::MetadataTask;
use crate::dialect::estream::pending::{Home, directory};
use crate::dialect::estream::publisher::PublisherTask;
use crate::dialect::estream::publishers::PublishersTask;
use crate::dialect::estream::signature::{ChecksumTask, SignatureTask};
use crate::dialect::{Errand, Finding, Received};
use crate::error::ParseError;
use crate::filter::Filter;
use crate::id::{ComponentId, Dialect, Namespace, Reference};
use crate::lexicon::Lexicon;
use crate::model::{Refusal, Release, Source};
use crate::path::DocPath;
use crate::pointer::{CommitId, Locality, Location, Want};
use crate::seal::{
    CHECKSUM_MISSING, PUBLISHER_MALFORMED, PUBLISHER_UNKNOWN, PublisherKey, SIGNATURE_MISSING,
};
use crate::version::Version;

/// The directory that a registry's components lie in: what the entry of a source names.
pub const INDEX: &str = "index";
/// What the author of a version says of it: beside its signature in the index, and at the top of its archive.
pub const MANIFEST: &str = "estream-component.toml";
/// What official components start with; nobody but the publisher [`OFFICIAL`] has such names.
pub const RESERVED_PREFIXES: [&str; 2] = ["estream-", "esf-"];
/// The publisher of official components.
pub const OFFICIAL: &str = "estream";
/// How the ids of its components start.
pub const PREFIX: &str = "estream:";
/// The id of the platform: what requires it is met by the caller's version of it, and no source lists it.
pub const KERNEL: &str = "estream:estream-kernel";
/// The name by which callers and configuration give the version of [`KERNEL`].
pub const PLATFORM: &str = "estream";
/// How many levels of the index are named: categories, names, and below them versions, or scoped names and their versions.
const INDEX_LEVELS: u8 = 4;
/// The largest signature file in bytes; checked before it is read.
pub const SIGNATURE_BYTES_MAX: usize = 64 << 10;
/// The largest record of a publisher in bytes: four dozen keys. It is read for each of his components.
pub const PUBLISHER_BYTES_MAX: usize = 256 << 10;
/// The reason by which a larger record is not fetched; whoever hears of it hears that the record is malformed.
const PUBLISHER_TOO_LARGE: &str = "limit.publisher_document_bytes";
/// The largest checksum file in bytes.
pub const CHECKSUM_BYTES_MAX: usize = 4 << 10;

/// Which releases the readers of this dialect make of the same documents; grows with every change of what they make.
pub const READER_REVISION: u32 = 5;

/// What the reader remembers about an errand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The names below the index: the only one that outlives a run.
    Index(Box<IndexTask>),
    /// `config.json`.
    #[serde(skip)]
    Config(Box<ConfigTask>),
    /// The listing of the records of publishers.
    #[serde(skip)]
    Publishers(Box<PublishersTask>),
    /// The `metadata.json` of a component.
    #[serde(skip)]
    Metadata(Box<MetadataTask>),
    /// The record of a component's publisher.
    #[serde(skip)]
    Publisher(Box<PublisherTask>),
    /// The `estream-component.toml` of a version.
    #[serde(skip)]
    Manifest(Box<ManifestTask>),
    /// The `checksum.sha3` of a version.
    #[serde(skip)]
    Checksum(Box<ChecksumTask>),
    /// The `SIGNATURE.ml-dsa` of a version.
    #[serde(skip)]
    Signature(Box<SignatureTask>),
}

/// What is known about a registry before it is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexTask {
    /// Which of its releases are taken.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    filter: Filter,
    /// What its source says it owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owns: Vec<Namespace>,
}

/// Returns what is wanted first of a source, and its task.
pub fn start(source: &Source) -> (Want, Task) {
    let want = Want::Directories { location: source.entry.clone(), depth: INDEX_LEVELS };
    let task = IndexTask { filter: source.filter.clone(), owns: source.owns.clone() };
    (want, Task::Index(Box::new(task)))
}

/// Returns the id of a platform by the name that callers and configuration give it: `estream`, or an id. A name alone is that of the
/// kernel: a misspelt one would be the id of a component that nobody requires, and change nothing.
///
/// **Errors**: `input.reference`, `input.id`, `input.platform`.
pub fn platform(name: &str) -> Result<ComponentId, ParseError> {
    if name == PLATFORM {
        return ComponentId::parse(KERNEL);
    }
    let Reference { id, requirement } = Reference::parse(name)?;
    let is_whole = id.as_text() == KERNEL || id.dialect() != Dialect::Estream || name.starts_with(PREFIX);
    match is_whole && requirement.is_any() {
        true => Ok(id),
        false => {
            let expected = "estream, or the whole id of what the host has, such as lcod://kernel/rs";
            Err(ParseError::new("input.platform", expected, name))
        }
    }
}

/// Returns what the ids start with that the publisher of a scoped component has: `estream:@acme/` of `estream:@acme/x`.
pub fn scope(id: &str) -> Option<&str> {
    let scope = id.strip_prefix(PREFIX)?.strip_prefix('@')?.find('/')?;
    id.get(..PREFIX.len() + 1 + scope + 1)
}

/// Reads one document.
///
/// **Errors**: the document as a whole cannot be used; a release's document is then given to [`refuse`].
pub fn read(
    errand: &Errand,
    task: &Task,
    bytes: &[u8],
    received: &Received,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    let Some(location) = errand.want.location() else {
        return Err(ParseError::new("input.want", "a place in a registry", errand.want.to_string()));
    };
    let finding = match task {
        Task::Index(task) => index::read(task, location, bytes, received),
        Task::Config(task) => index::configured(task, bytes),
        Task::Publishers(task) => publishers::read(task, bytes),
        Task::Metadata(task) => metadata::read(task, bytes, received),
        Task::Publisher(task) => publisher::read(task, bytes, received, lexicon),
        Task::Manifest(task) => manifest::read(task, bytes, received),
        Task::Checksum(task) => signature::checksum(task, bytes, received),
        Task::Signature(task) => signature::read(task, bytes, received),
    };
    // A link in a directory of this machine may lead to any file that its reader may read, and errors are answered to others.
    finding.map_err(|error| match (location, location.locality()) {
        (Location::File { .. }, Locality::Local) if !is_ours(bytes) => error.unquoted(),
        _ => error,
    })
}

/// Tells whether a document, however wrong, says that it is one of those that are read here.
fn is_ours(bytes: &[u8]) -> bool {
    const FIELDS: [&str; 5] = ["publisher", "signing_keys", "signature_hex", "schema_version", "component"];
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let json = || serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok();
    let named = |has: &dyn Fn(&str) -> bool| FIELDS.iter().any(|field| has(field));
    match text.trim_start().starts_with('{') {
        true => json().is_some_and(|fields| named(&|field| fields.contains_key(field))),
        false => text.parse::<toml::Table>().is_ok_and(|table| named(&|field| table.contains_key(field))),
    }
}

/// What the record of a publisher says.
#[derive(Debug, Clone, PartialEq)]
pub struct Publisher {
    /// The registry has verified who they are.
    pub is_verified: bool,
    /// The keys by their ids, in the record's order; in place of one that cannot be used the reason.
    pub keys: Vec<(String, Result<PublisherKey, ParseError>)>,
}

/// Reads the record of a publisher for itself: `publishers/{name}.json`.
///
/// **Errors**: `estream.publisher_malformed`, whatever is wrong with it.
pub fn publisher(name: &str, bytes: &[u8]) -> Result<Publisher, ParseError> {
    let record = publisher::record(name, bytes)?;
    Ok(Publisher { is_verified: record.is_verified, keys: record.keys })
}

/// Reads an instant as registries write it, in RFC 3339 and UTC, and returns seconds since 1970-01-01; parts of a second are left out.
///
/// **Errors**: those of [`crate::instant::parse`].
pub fn instant(text: &str) -> Result<i64, ParseError> {
    document::instant_of(text)
}

/// Returns the documents that a release of `source` rests on, and where each was read: their paths count from the registry's root.
/// `config.json` is not among them: it is the registry's, and none of a release.
///
/// **Errors**: `input.want` where the source is no registry of this dialect; `input.path`; `input.field` where the release names no
/// publisher, as one of which the documents were not read.
pub fn documents(source: &Source, release: &Release) -> Result<Vec<(DocPath, Want)>, ParseError> {
    let text = |field: &str| release.extra.get(field).and_then(serde_json::Value::as_str);
    let absent =
        |field: &str| ParseError::new("input.field", "a release that was read", "none").in_field(field);
    let publisher = text("publisher").ok_or_else(|| absent("publisher"))?;
    let category = text("category").ok_or_else(|| absent("category"))?;
    let home = Home::at_commit(&source.entry, release.origin.commit.clone())?;
    let component = directory(category, &release.id, None)?;
    let version = directory(category, &release.id, Some(&release.version))?;
    let paths = [
        format!("{component}/metadata.json"),
        format!("{version}/{MANIFEST}"),
        format!("{version}/checksum.sha3"),
        format!("{version}/SIGNATURE.ml-dsa"),
        format!("publishers/{publisher}.json"),
    ];
    paths
        .iter()
        .map(|path| {
            let path = DocPath::parse(path)?;
            let want = Want::Blob(home.at(&path)?);
            Ok((path, want))
        })
        .collect()
}

/// Returns where the record of the publisher `name` lies in the registry of `source` at `commit`.
///
/// **Errors**: `input.want`, `input.path`, `input.id`.
pub fn publisher_record(source: &Source, commit: Option<&CommitId>, name: &str) -> Result<Want, ParseError> {
    ComponentId::from_path(Dialect::Estream, name)?;
    let home = Home::at_commit(&source.entry, commit.cloned())?;
    Ok(Want::Blob(home.at(&DocPath::parse(&format!("publishers/{name}.json"))?)?))
}

/// Says what becomes of the releases whose document could not be had or was refused: they stay listed, refused. A registry
/// without `config.json` is read all the same.
pub fn refuse(task: &Task, refusal: Refusal) -> Finding {
    match task {
        Task::Index(_) => Finding::default(),
        Task::Config(task) => index::without_config(task, &refusal),
        Task::Publishers(_) => publishers::without(refusal),
        Task::Metadata(task) => task.refused(refusal),
        Task::Publisher(task) if refusal.reason == PUBLISHER_TOO_LARGE => {
            task.refused(&Refusal { reason: PUBLISHER_MALFORMED.into(), ..refusal })
        }
        Task::Publisher(task) => task.refused(&missing_as(refusal, PUBLISHER_UNKNOWN)),
        Task::Manifest(task) => task.refused(refusal),
        Task::Checksum(task) => task.refused(missing_as(refusal, CHECKSUM_MISSING)),
        Task::Signature(task) => task.refused(missing_as(refusal, SIGNATURE_MISSING)),
    }
}

/// Gives the refusal of a file that is not there the reason that says what it means.
fn missing_as(refusal: Refusal, reason: &'static str) -> Refusal {
    match &*refusal.reason {
        "file_missing" => Refusal { reason: reason.into(), ..refusal },
        _ => refusal,
    }
}

impl Task {
    /// Returns the component whose releases it is for.
    pub fn component(&self) -> Option<&ComponentId> {
        match self {
            Task::Index(_) | Task::Config(_) | Task::Publishers(_) => None,
            Task::Metadata(task) => Some(task.component()),
            Task::Publisher(task) => Some(task.component()),
            Task::Manifest(task) => Some(&task.pending.listing.id),
            Task::Checksum(task) => Some(&task.pending.listing.id),
            Task::Signature(task) => Some(&task.pending.listing.id),
        }
    }

    /// Returns how many releases follow from the document, as far as it is known before it is read; none where another document
    /// has counted them.
    pub fn releases(&self) -> u64 {
        match self {
            Task::Config(task) => task.releases(),
            _ => 0,
        }
    }

    /// Tells whether other components ask for the same document.
    pub fn is_shared(&self) -> bool {
        matches!(self, Task::Publisher(_))
    }

    /// Returns how many bytes the document may have, and the reason of a refusal where it has more; `None` where what holds for every
    /// document of a release is enough.
    pub fn bytes_max(&self) -> Option<(&'static str, u64)> {
        matches!(self, Task::Publisher(_)).then_some((PUBLISHER_TOO_LARGE, PUBLISHER_BYTES_MAX as u64))
    }

    /// Returns how many of the `bytes` of the document say nothing: half of those of a signature, up to the most that one may have.
    pub fn redundant_bytes(&self, bytes: u64) -> u64 {
        match self {
            Task::Signature(_) => bytes.min(SIGNATURE_BYTES_MAX as u64) / 2,
            _ => 0,
        }
    }

    /// Returns the version that it is about.
    pub fn described(&self) -> Option<(&ComponentId, &Version)> {
        match self {
            Task::Manifest(task) => Some(task.pending.described()),
            Task::Checksum(task) => Some(task.pending.described()),
            Task::Signature(task) => Some(task.pending.described()),
            Task::Index(_)
            | Task::Config(_)
            | Task::Publishers(_)
            | Task::Metadata(_)
            | Task::Publisher(_) => None,
        }
    }
}
