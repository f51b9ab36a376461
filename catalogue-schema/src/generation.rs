//! What a generation remembers besides its components: the state of each source and catalogue, and which documents it rests on.
//!
//! The generation file is the durable truth (the index is a cache of it and of the shelf). It is JSON, written once,
//! atomically, and never changed; `schema` says how to read it. The list of its documents is long and needed by whoever
//! reads sources again only: it is a file of its own (see [`crate::documents`]), named here by its digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::dialect::Errand;
use crate::digest::Digest;
use crate::id::{ComponentId, Namespace, SourceId};
use crate::model::{Place, Refusal, SignatureClaim, Skipped, Source, Warning};
use crate::pointer::{CommitId, Want};

/// The schema of the generation file.
pub const GENERATION_SCHEMA: &str = "resolverd/generation@2";

/// The reason why a store answers nothing whose newest generation a newer version of the program wrote, in a format of its own.
pub const NEWER_FORMAT: &str = "store.newer_format";
/// The same for an older version of the program.
pub const OLDER_FORMAT: &str = "store.older_format";

/// Tells whether a reason says that another version of the program wrote the newest generation.
pub fn is_of_another_format(reason: &str) -> bool {
    matches!(reason, NEWER_FORMAT | OLDER_FORMAT)
}

/// The reason why the releases of a source may not be used that has not been checked for longer than `max_stale`.
pub const SOURCE_EXPIRED: &str = "source.expired";

/// One complete merged result, as its file states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// [`GENERATION_SCHEMA`].
    pub schema: String,
    /// The number; grows by one with every accepted change.
    pub number: u64,
    /// When it was committed, in seconds since 1970-01-01 UTC.
    pub committed_s: i64,
    /// The digest that names it for readers: equal for equal answers on any machine.
    pub snapshot: Digest,
    /// How many components the index holds for it.
    pub components: u64,
    /// The digest over the index rows that belong to it.
    pub root: Digest,
    /// The sources, in their order.
    pub sources: Vec<SourceState>,
    /// The catalogues and lists, best place first.
    pub catalogues: Vec<CatalogueState>,
    /// Namespaces that nobody may answer for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// The list of every document it rests on.
    pub documents: DocumentList,
    /// The digest over everything besides the sources and their documents that decided what they say, as far as all sources
    /// were read from their origins with it: program, forges, limits, rules.
    pub settings: Digest,
    /// What the operator's policies had to say; `None` where none was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Ruled>,
    /// Documents of releases that could not be had or were refused, and why, sorted by what was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<DocumentRefusal>,
}

/// Returns the ids of the sources that answer, at least in part, with entries that the last sync could not confirm, sorted.
pub fn stale(sources: &[SourceState], catalogues: &[CatalogueState]) -> BTreeSet<SourceId> {
    let own = sources
        .iter()
        .filter(|state| matches!(state.health, Health::Stale | Health::Expired))
        .map(|state| &state.source.id);
    let below = catalogues
        .iter()
        .filter(|state| state.health == Health::Stale)
        .filter_map(|state| state.errand.node());
    own.chain(below.map(|node| &node.id.source)).cloned().collect()
}

/// The source whose the names of a registered namespace are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holder<'a> {
    /// The source.
    pub source: &'a SourceId,
    /// The namespace that is registered, or that the operator gives to the source.
    pub namespace: &'a Namespace,
    /// The operator gives it to the source; else it is registered there.
    pub owns: bool,
}

impl Generation {
    /// Returns the source whose the name `id` is, of those that `may_supply` it, by the rule of the merge: the operator's word, else the
    /// best-placed one where the narrowest namespace is registered. `None` where nobody registers one.
    pub fn holder(&self, id: &ComponentId, may_supply: impl Fn(&SourceId) -> bool) -> Option<Holder<'_>> {
        let registered = self.registered(id);
        let (_, first) = registered.first()?;
        let mut placed: Vec<&Source> = self.sources.iter().map(|state| &state.source).collect();
        placed.sort_by_key(|source| (source.place, &source.id));
        let given = placed.into_iter().find_map(|Source { id: source, owns, .. }| {
            let is_given = |one: &&Namespace| one.is_within(first) && one.contains(id);
            owns.iter().find(is_given).map(|namespace| Holder { source, namespace, owns: true })
        });
        given.or_else(|| {
            let (source, namespace) = registered.into_iter().find(|(source, _)| may_supply(source))?;
            Some(Holder { source, namespace, owns: false })
        })
    }

    /// Tells whether a namespace that `id` lies in counts as registered in a source.
    pub fn is_registered(&self, id: &ComponentId, source: &SourceId) -> bool {
        self.registered(id).iter().any(|(registrar, _)| *registrar == source)
    }

    /// Returns where the narrowest registered namespace is registered that `id` lies in, the best-placed first.
    fn registered(&self, id: &ComponentId) -> Vec<(&SourceId, &Namespace)> {
        let text = id.as_text();
        let mut borders = text.rmatch_indices('/').map(|(at, _)| &text[..=at]);
        let holding = |prefix: &str| {
            let each = self.catalogues.iter().filter_map(|state| {
                let holds = state.holds();
                let at = holds.binary_search_by(|namespace| namespace.prefix().cmp(prefix)).ok()?;
                Some((&state.errand.node()?.id.source, holds.get(at)?))
            });
            Some(each.collect::<Vec<_>>()).filter(|found| !found.is_empty())
        };
        borders.find_map(holding).unwrap_or_default()
    }
}

/// Whether a source or catalogue speaks for itself today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Read and checked by the last sync.
    Fresh,
    /// The last sync could not read or accept it; its last good entries are used and keep their ids.
    Stale,
    /// Never read successfully.
    Unread,
    /// A source whose last successful check is longer ago than `max_stale`: its ids are unavailable, and stay its own. Catalogues
    /// are never expired by themselves.
    Expired,
}

/// What a generation knows about a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// The source as configured.
    pub source: Source,
    /// How it stands.
    pub health: Health,
    /// The commit at which the entry document was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The digest of the entry document as accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why the last sync could not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// What a generation knows about a catalogue or list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueState {
    /// Where it lies, what pins it, its id and rank: enough to read it again.
    pub errand: Errand,
    /// How it stands.
    pub health: Health,
    /// The commit at which it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The digest of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The id that the document gives itself, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<SourceId>,
    /// A signature that the document claims for itself, which nobody has checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureClaim>,
    /// The labels of the keys whose signatures over it, or over what pins it, the policies accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// Neither its bytes nor those of any document of its releases can ever be others: all are pinned by commit or digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// How many releases it lists.
    pub releases: u64,
    /// How many of those are refused.
    pub refused: u64,
    /// Entries that could not be read; the first [`SKIPPED_NAMED_MAX`] are named in `skipped`.
    pub skipped_count: u64,
    /// The first entries that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What a reader of this catalogue should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The namespaces that are registered here, sorted, whether or not anything in them is listed. They stay while the catalogue falls
    /// back. `None` where nobody knows them: no document says it, it could not be read, or whoever wrote this did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<Vec<Namespace>>,
    /// The namespaces of what it lists that are taken for registered here as long as nobody knows which ones are, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Namespace>,
    /// The catalogues that it left out without a word, until it says what became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Why the last sync could not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

impl CatalogueState {
    /// Returns the namespaces that count as registered here, sorted: those that are, or of what it lists where that is not known.
    pub fn holds(&self) -> &[Namespace] {
        self.registers.as_deref().unwrap_or(&self.scopes)
    }
}

/// A catalogue that a signed list left out with what it listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its id in the list.
    pub catalogue: SourceId,
    /// The first of the releases that are gone with it, as `id@version`.
    pub releases: Vec<String>,
    /// How many more there are.
    #[serde(default)]
    pub more: u64,
}

/// How many skipped entries of one catalogue are named; all are counted.
pub const SKIPPED_NAMED_MAX: usize = 100;

/// By which policies a generation was judged, and when. What is needed to decide the same again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruled {
    /// The digest over the policies, which names their keys as well.
    pub digest: Digest,
    /// The instant, in seconds since 1970-01-01 UTC.
    pub judged_s: i64,
    /// The earliest instant at which a verdict may be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change_s: Option<i64>,
    /// When each source was last compared with its origin, as far as ages count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checked: BTreeMap<SourceId, i64>,
    /// The sources that carry the same bytes, of the releases of which several must: by `id@version`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<String, Vec<SourceId>>,
    /// What releases were when they were first seen, and when, in seconds since 1970-01-01 UTC, where that decides something: by
    /// `id@version`. One that is not here and would be was seen long ago with the bytes that it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<String, (Digest, i64)>,
}

/// A namespace that nobody may answer for, because something of the source that owns it has never been read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blocked {
    /// The namespace.
    pub namespace: Namespace,
    /// The source that owns it.
    pub source: SourceId,
    /// The place of that source: ids of better-placed sources are not blocked.
    pub place: Place,
}

/// A document of a release that could not be had or was refused, so that a rebuild without its origin says the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentRefusal {
    /// What was asked for.
    pub want: Want,
    /// Why it is not used.
    pub refusal: Refusal,
}

/// The name of a list of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentList {
    /// How many there are.
    pub count: u64,
    /// The digest of the list in the form of [`crate::documents`].
    pub digest: Digest,
}

impl Default for DocumentList {
    /// Names the empty list.
    fn default() -> DocumentList {
        DocumentList { count: 0, digest: Digest::sha256(b"") }
    }
}

/// One document that a generation rests on: what was asked for and which bytes on the shelf answer it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// What was asked for.
    pub want: Want,
    /// Where the bytes really came from.
    pub url: String,
    /// The commit that a ref was resolved to, or the pinned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Its Git object id, where it was read from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<CommitId>,
    /// The digest of the bytes: their name on the shelf.
    pub digest: Digest,
    /// Their size in bytes.
    pub size: u64,
    /// The HTTP entity tag, for conditional requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The HTTP date of the last modification as it was sent, for conditional requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// When they arrived, in seconds since 1970-01-01 UTC.
    pub fetched_s: i64,
}
