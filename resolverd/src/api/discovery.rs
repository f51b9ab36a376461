//! What a search answers, and what an explanation is asked and answers. Types only.

use std::collections::BTreeMap;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Health;
use catalogue_schema::id::{ComponentId, Namespace, SourceId};
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::CommitId;
use catalogue_schema::row::{IntegrityRow, ShadowRow, TrustRow};
use catalogue_schema::version::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Page, PinRow};

/// The body of `POST /v1/explain`. `null` means the same as leaving a field out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// A reference, such as `lcod://tooling/array/pluck@^0.1`.
    pub id: String,
    /// Ids and prefixes that the caller implements itself.
    #[serde(default)]
    pub natives: Option<Vec<String>>,
    /// Prereleases count as ordinary versions.
    #[serde(default)]
    pub prerelease: Option<bool>,
    /// The snapshot that must answer.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Fetch nothing: a directory of a commit that is not in the cache is refused.
    #[serde(default)]
    pub offline: Option<bool>,
    /// Where files are fetched from instead: the start of an `https://` address, and what it becomes.
    #[serde(default)]
    pub mirrors: Option<BTreeMap<String, String>>,
}

/// One page of a search, the best hits first.
#[derive(Debug, Serialize)]
pub struct HitPage<'a> {
    /// The page.
    #[serde(flatten)]
    pub page: Page<'a, HitRow<'a>>,
    /// How many there are on all pages together.
    pub total: usize,
}

/// A component that a search found.
#[derive(Debug, Serialize)]
pub struct HitRow<'a> {
    /// Its id.
    pub id: &'a ComponentId,
    /// The newest version that may be chosen; `null` where none may.
    pub version: Option<&'a Version>,
    /// `component`, `contract`, … where a descriptor says so.
    pub kind: Option<&'a str>,
    /// One line that describes it.
    pub summary: Option<&'a str>,
    /// The source that owns it.
    pub source: &'a SourceId,
    /// The catalogue that owns it.
    pub catalogue: &'a SourceId,
    /// `pinned`, `unpinned` or `refused`.
    pub verdict: &'static str,
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// The last good documents of its source answer, at least in part.
    pub stale: bool,
    /// Catalogues that list it too and are not used.
    pub shadowed: Vec<ShadowRow<'a>>,
    /// Where each word of the query was found.
    pub matched: Vec<MatchRow<'a>>,
}

/// Where one word was found.
#[derive(Debug, Serialize)]
pub struct MatchRow<'a> {
    /// The word, folded.
    pub word: &'a str,
    /// `name`, `name-prefix`, `name-segment`, `name-part`, `keyword` or `description`.
    #[serde(rename = "in")]
    pub place: &'static str,
}

/// How the reference of an explanation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A release is chosen.
    Chosen,
    /// Releases fit, and none of them may be used.
    Refused,
    /// The id's namespace waits for a source.
    Blocked,
    /// Nobody lists the id.
    Unknown,
    /// The id is there, and no version of it fits.
    NoVersion,
    /// The caller implements it itself.
    Native,
}

/// The answer to an explanation: the whole chain from source to bytes for one reference, and what lost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained<'a> {
    /// The snapshot that answered.
    pub snapshot: &'a Digest,
    /// Its generation.
    pub generation: u64,
    /// The reference as read.
    pub reference: ReferenceRow<'a>,
    /// How it ends.
    pub outcome: Outcome,
    /// The chosen version.
    pub chosen: Option<&'a Version>,
    /// The caller's native that satisfies it.
    pub native: Option<String>,
    /// The problem document that a resolve answers; `null` where something is chosen.
    pub problem: Option<Value>,
    /// Why this source.
    pub why_source: Option<String>,
    /// Why this version.
    pub why_version: Option<String>,
    /// The source that owns the id, or for which its namespace waits.
    pub source: Option<OriginRow<'a>>,
    /// The documents from the source's entry down to the catalogue; of a blocked id those that were never read.
    pub chain: Vec<StepRow<'a>>,
    /// The chosen release, or the newest that was refused.
    pub release: Option<ExplainedRelease<'a>>,
    /// The owner's versions, newest first, at most [`CANDIDATES_MAX`].
    pub candidates: Vec<CandidateRow<'a>>,
    /// How many there are.
    pub candidates_count: usize,
    /// Catalogues that list the id and are not used, best place first.
    pub shadowed: Vec<LoserRow<'a>>,
    /// Who requires it.
    pub required_by: Dependents,
    /// Namespaces that wait for a source and hold the id.
    pub blocked: Vec<BlockedRow<'a>>,
    /// What else a reader should know.
    pub notes: Vec<String>,
    /// The command that helps on.
    pub next: Option<String>,
}

/// How many versions of a component an explanation lists.
pub const CANDIDATES_MAX: usize = 100;
/// How many dependents an explanation lists.
pub const DEPENDENTS_MAX: usize = 100;

/// A reference as it was read.
#[derive(Debug, Serialize)]
pub struct ReferenceRow<'a> {
    /// The id, canonical.
    pub id: &'a ComponentId,
    /// The requirement; `latest` where none was given.
    pub requirement: String,
    /// Prereleases count as ordinary versions.
    pub prerelease: bool,
}

/// A source, as an explanation shows it.
#[derive(Debug, Serialize)]
pub struct OriginRow<'a> {
    /// Its id.
    pub id: &'a SourceId,
    /// Its place among the sources, from 1.
    pub place: usize,
    /// How many sources there are.
    pub of: usize,
    /// Its priority; lower wins.
    pub priority: i64,
    /// How it stands.
    pub state: Health,
    /// Never fetched.
    pub offline: bool,
    /// Where its entry document lies.
    pub location: String,
    /// Where the bytes of its entry document really came from.
    pub url: Option<String>,
    /// What pins its entry document.
    pub pin: PinRow<'a>,
    /// The commit at which it was read.
    pub commit: Option<&'a CommitId>,
    /// The digest of its entry document.
    pub digest: Option<&'a Digest>,
    /// Why the last sync could not use it.
    pub error: Option<&'a Refusal>,
}

/// One document on the way from a source to a catalogue.
#[derive(Debug, Serialize)]
pub struct StepRow<'a> {
    /// `entry`, `list` or `catalogue`.
    pub role: &'static str,
    /// Its id: source and name.
    pub id: String,
    /// The priority that the document above gives it; the source's for an entry.
    pub priority: Option<i64>,
    /// How it stands.
    pub state: Health,
    /// Where it lies.
    pub location: String,
    /// Where its bytes really came from.
    pub url: Option<String>,
    /// What pins it.
    pub pin: PinRow<'a>,
    /// The commit at which it was read.
    pub commit: Option<&'a CommitId>,
    /// The digest of its bytes.
    pub digest: Option<&'a Digest>,
    /// Their size in bytes.
    pub size: Option<u64>,
    /// The branch or tag through which it was read, `HEAD` where none was named; `null` where something else names the bytes.
    pub branch: Option<&'a str>,
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// Why the last sync could not use it.
    pub error: Option<&'a Refusal>,
}

/// A release, as an explanation shows it.
#[derive(Debug, Serialize)]
pub struct ExplainedRelease<'a> {
    /// Its version.
    pub version: &'a Version,
    /// `component`, `contract`, … where a descriptor says so.
    pub kind: Option<&'a str>,
    /// One line that describes it.
    pub summary: Option<&'a str>,
    /// The repository; `null` for plain files.
    pub repository: Option<String>,
    /// The commit.
    pub commit: Option<&'a CommitId>,
    /// The component's directory.
    pub path: Option<&'a DocPath>,
    /// What it requires.
    pub dependencies: Vec<String>,
    /// The contracts that it says it implements; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implements: Vec<String>,
    /// What its bytes must be.
    pub integrity: IntegrityRow<'a>,
    /// The documents that were read for it.
    pub documents: Vec<DocumentRow<'a>>,
    /// How far it is vouched for.
    pub trust: TrustRow<'a>,
    /// What was found of the publisher's signature on its archive, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<&'a Value>,
    /// Every reason why it is not vouched for better.
    pub because: Vec<String>,
    /// The steps by which the trust policies decided, each policy's below its file; the last line says what would change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Withdrawn by its author.
    pub yanked: bool,
    /// What a reader of it should know.
    pub warnings: &'a [Warning],
}

/// A document that was read for a release, or that could not be had.
#[derive(Debug, Serialize)]
pub struct DocumentRow<'a> {
    /// What was asked for.
    pub location: String,
    /// Where the bytes really came from.
    pub url: Option<String>,
    /// The commit at which it was read.
    pub commit: Option<CommitId>,
    /// Its Git object id.
    pub blob: Option<CommitId>,
    /// The digest of its bytes.
    pub digest: Option<Digest>,
    /// Their size in bytes.
    pub size: Option<u64>,
    /// Why it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a Refusal>,
}

/// One version of the owner and what became of it.
#[derive(Debug, Serialize)]
pub struct CandidateRow<'a> {
    /// The version.
    pub version: &'a Version,
    /// What became of it.
    pub fate: Fate,
    /// Why it may not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a Refusal>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is the answer.
    Chosen,
    /// It fits, and a newer one is the answer.
    Lower,
    /// It would fit, and its author has withdrawn it.
    Yanked,
    /// It would fit if prereleases counted.
    Prerelease,
    /// It fits and may not be used.
    Refused,
    /// The requirement leaves it out.
    Outside,
    /// The caller's native answers instead.
    Hidden,
}

/// A catalogue that lists the id and is not used.
#[derive(Debug, Serialize)]
pub struct LoserRow<'a> {
    /// Its source.
    pub source: &'a SourceId,
    /// The catalogue.
    pub catalogue: &'a SourceId,
    /// The versions that it lists.
    pub versions: Vec<&'a Version>,
    /// The place of its source among the sources, from 1.
    pub place: Option<usize>,
    /// Why it lost.
    pub why: String,
}

/// Who requires a component.
#[derive(Debug, Serialize)]
pub struct Dependents {
    /// How many components do.
    pub count: usize,
    /// The first [`DEPENDENTS_MAX`], sorted by id.
    pub items: Vec<DependentRow>,
}

/// A component of which a release requires the id.
#[derive(Debug, Serialize)]
pub struct DependentRow {
    /// Its id.
    pub id: ComponentId,
    /// Its newest release that does.
    pub version: Version,
    /// What it requires; `latest` where it names no version.
    pub requirement: String,
}

/// A namespace that waits for a source.
#[derive(Debug, Serialize)]
pub struct BlockedRow<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The source that owns it.
    pub source: &'a SourceId,
    /// What that means for the id.
    pub effect: &'static str,
}
