//! Orders: what the reading side asks of the writing side, and the report that comes back.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Health;
use catalogue_schema::id::{CatalogueId, ComponentId, SourceId};
use catalogue_schema::model::Refusal;
use catalogue_schema::version::Version;
use serde::{Deserialize, Serialize};

/// Something for the writer to do. Replies are sent when the work is done and durable.
#[derive(Debug)]
pub enum Order {
    /// Read the sources again; all of them, or the named ones.
    Sync {
        /// Which; empty for all.
        sources: Vec<SourceId>,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read all sources again, and fetch every document of the named components, however many their catalogues have.
    Refresh {
        /// Which components.
        ids: Vec<ComponentId>,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read the configuration again, then sync.
    Reload {
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read the trust policies again, and judge everything by them, without network.
    Judge,
    /// Forget what was accepted, then look again: what is said now is accepted whatever came before.
    Forget {
        /// What.
        what: Accepted,
        /// Why, for the logs.
        why: String,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Say what a policy would change, and change nothing.
    Rehearse {
        /// The policy.
        proposal: Proposal,
        /// Where the answer goes.
        reply: Option<Sender<Rehearsed>>,
    },
    /// Stop after the current work.
    Stop,
}

/// What was accepted and can be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The revisions of a source, or of one of its catalogues only.
    Revisions(SourceId, Option<SourceId>),
    /// The bytes of a version when it was first seen.
    Version(ComponentId, Version),
}

/// A policy that is not in force, with the key files that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its text.
    pub policy: String,
    /// The text of every key file, by the name that the policy has for it.
    pub keys: BTreeMap<String, String>,
}

/// What a policy would change.
pub type Rehearsed = Result<Rehearsal, OrderError>;

/// What a policy would change, release by release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// The generation that it was compared with.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: Digest,
    /// The file that it would take the place of.
    pub replaces: String,
    /// Why it would not come into force.
    pub problems: Vec<Refusal>,
    /// How many releases there are.
    pub releases: u64,
    /// Every release that would be another one, by id and version.
    pub changes: Vec<Change>,
}

/// What would become of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which component.
    pub id: String,
    /// Which version.
    pub version: String,
    /// What it is; nothing where nobody supplies it.
    pub from: Option<Standing>,
    /// What it would be; nothing where nobody would supply it.
    pub to: Option<Standing>,
}

/// How a release stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The source that supplies it.
    pub source: String,
    /// `trusted`, `pinned`, `unpinned` or `refused`.
    pub verdict: String,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// How an order ended: a report, or the text of what went wrong (the last good generation stays).
pub type Outcome = Result<SyncReport, OrderError>;

/// Why an order could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The sources file or the configuration is broken; the one in force stays.
    #[error("{0}")]
    Config(Refusal),
    /// Shelf or store cannot be written.
    #[error("{0}")]
    Store(String),
    /// An unknown source was named.
    #[error("no source is called {0}")]
    NoSuchSource(SourceId),
    /// Nothing is remembered of the version.
    #[error("no version {1} of {0} was ever let in from a configured source")]
    NoSuchVersion(ComponentId, Version),
    /// No revision of the catalogue is remembered.
    #[error("nothing is remembered of a catalogue {0}")]
    NoSuchCatalogue(CatalogueId),
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReport {
    /// The generation that is served now.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: Digest,
    /// Whether this sync made it.
    pub changed: bool,
    /// How many documents were asked of their origins.
    pub documents_fetched: u64,
    /// How many bytes arrived.
    pub bytes_fetched: u64,
    /// How many rows the index received.
    pub rows_written: u64,
    /// Each source and how it stands.
    pub sources: Vec<SourceOutcome>,
}

/// How one source stands after a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOutcome {
    /// Which.
    pub id: SourceId,
    /// How it stands.
    pub health: Health,
    /// Its origin was asked and its entry document accepted just now. Pinned and offline sources are never asked.
    pub checked: bool,
    /// What was wrong: with the source itself, or with the first of its catalogues that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    /// The catalogue that `error` is about; `None` for the source's own entry document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<SourceId>,
    /// How many releases it lists, and how many of them are refused.
    pub releases: u64,
    /// How many of them are refused.
    pub refused: u64,
    /// How many entries were skipped.
    pub skipped: u64,
}
