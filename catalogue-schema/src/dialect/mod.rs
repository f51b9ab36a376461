//! Dialects: readers that turn one verified document into findings (releases, and the further documents they need).
//!
//! A dialect never fetches, judges, merges or resolves. It is asked for the first [`Errand`] of a source, and then once per
//! document: `read` for bytes that were verified, `refuse` for a release's document that could not be had. What a reader must
//! remember between a document and the next travels inside the errand, so a dialect keeps no state.

pub mod estream;
pub mod lcod;

use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::digest::{Digest, Digests};
use crate::error::ParseError;
use crate::forge::Forges;
use crate::id::{CatalogueId, ComponentId, Dialect, Namespace, SourceId};
use crate::lexicon::Lexicon;
use crate::model::{Place, Rank, Refusal, Release, SignatureClaim, Skipped, Source, Trust, Warning};
use crate::pointer::{CommitId, Want};
use crate::seal::Sealed;
use crate::version::Version;

/// One document to fetch, what it must be, and what its reader will need.
///
/// What only few have lies in boxes, since there is one of these for each release of a catalogue that is being read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errand {
    /// What to fetch.
    pub want: Want,
    /// Digests that the bytes must have, all of them.
    #[serde(default, skip_serializing_if = "no_digests")]
    pub digests: Digests,
    /// The size that the bytes must have, where the document that names them says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A signature that is claimed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Box<SignatureClaim>>,
    /// What it is for.
    pub stage: Stage,
    /// What the dialect remembers.
    pub task: Task,
}

fn no_digests(digests: &Digests) -> bool {
    digests.is_empty()
}

impl Errand {
    /// Returns the list or catalogue that this errand is for; `None` for a document of a release.
    pub fn node(&self) -> Option<&Node> {
        match &self.stage {
            Stage::Node(node) => Some(node),
            Stage::Release => None,
        }
    }

    /// Tells whether its document speaks of many releases, so that it may be as large as a catalogue: a list, a catalogue, a listing.
    pub fn is_long(&self) -> bool {
        self.node().is_some() || matches!(self.want, Want::Tree { .. } | Want::Directories { .. })
    }

    /// Returns the component whose release this errand's document belongs to; `None` for a list or catalogue.
    pub fn component(&self) -> Option<&ComponentId> {
        match &self.task {
            Task::Lcod(task) => task.component(),
            Task::Estream(task) => task.component(),
        }
    }

    /// Returns how many documents the release needs from this one on; 0 for one that another has asked for, and for nodes.
    pub fn documents(&self) -> u64 {
        match &self.task {
            Task::Lcod(task) => task.documents(),
            // They come together out of a repository, and are never waited for one by one.
            Task::Estream(_) => 0,
        }
    }

    /// Returns how many releases follow from this document, as far as that is known before it is read; 0 where another one has
    /// counted them, and for nodes.
    pub fn releases(&self) -> u64 {
        match &self.task {
            Task::Lcod(task) => task.documents().min(1),
            Task::Estream(task) => task.releases(),
        }
    }
}

/// What an errand's document is for, as far as everybody needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A list or catalogue: its failure concerns everything below it.
    Node(Box<Node>),
    /// A document of one release: its failure concerns that release.
    Release,
}

/// A list or catalogue, before its content is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id: the source's own id for an entry document.
    pub id: CatalogueId,
    /// The lists that lead here, nearest last; empty for a source's entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<CatalogueId>,
    /// Its place in the federation.
    pub rank: Rank,
}

/// What a dialect remembers about an errand; opaque to everybody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// An LCOD document.
    Lcod(lcod::Task),
    /// A document of an eStream registry.
    Estream(estream::Task),
}

/// What the verify function and the fetcher know about bytes that may be read.
#[derive(Debug, Clone)]
pub struct Received {
    /// The leave to use them.
    pub trust: Trust,
    /// Their SHA-256 digest.
    pub digest: Digest,
    /// Their size in bytes.
    pub size: u64,
    /// The commit at which they were read.
    pub commit: Option<CommitId>,
    /// Their Git object id.
    pub blob: Option<CommitId>,
}

/// A list or catalogue whose pointer cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Which, and its place.
    pub node: Node,
    /// What is wrong with the pointer.
    pub error: ParseError,
}

/// What a document said.
#[derive(Debug, Default)]
pub struct Finding {
    /// Further documents: nodes below this one, or documents of its releases.
    pub errands: Vec<Errand>,
    /// Lists and catalogues that this document names and whose pointers cannot be used: their ids must not fall to others.
    pub unusable: Vec<Unusable>,
    /// Releases that need no further document.
    pub releases: Vec<Release>,
    /// Releases that need no further document, each with a signature that somebody has to look at first.
    pub sealed: Vec<Sealed>,
    /// Entries that could not be read.
    pub skipped: Vec<Skipped>,
    /// What a reader of this catalogue should know.
    pub warnings: Vec<Warning>,
    /// The id that the document gives itself, where it does.
    pub named: Option<SourceId>,
    /// A signature that the document claims for itself.
    pub signature: Option<SignatureClaim>,
    /// What the document says that it listed once and lists no more.
    pub withdrawn: Vec<Withdrawn>,
    /// The catalogues that it says it led to once and leads to no more.
    pub withdrawn_catalogues: Vec<SourceId>,
    /// The namespaces that are registered here: what is in them belongs to this source, as long as no better-placed one has registered
    /// them and the operator says nothing else. Each ends at a segment border. `None` where the document says nothing of it.
    pub registers: Option<Vec<Namespace>>,
    /// Why a document says nothing without which the catalogue is not known: what was known of all of it before is used.
    pub gap: Option<Refusal>,
    /// What it lists again with other content than before: the first of them. Unlike a warning it is never left out.
    pub contradiction: Option<String>,
}

/// What a catalogue says that it lists no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Which component.
    pub id: ComponentId,
    /// Which of its versions; all of them without one.
    pub version: Option<Version>,
}

/// Returns the first errand of a source: its entry document. `forges` are those whose file URLs are understood.
pub fn start(source: &Source, forges: &Forges) -> Errand {
    let node = Node {
        id: CatalogueId { source: source.id.clone(), name: source.id.clone() },
        via: Vec::new(),
        rank: Rank(vec![source.place]),
    };
    let (want, task) = match source.dialect {
        Dialect::Estream => {
            let (want, task) = estream::start(source);
            (want, Task::Estream(task))
        }
        // The sources file refuses dialects that have no reader.
        Dialect::Lcod | Dialect::Flowctl => {
            (Want::Blob(source.entry.clone()), Task::Lcod(lcod::start(source, forges)))
        }
    };
    Errand {
        want,
        digests: source.digests.clone().into(),
        size: None,
        signature: source.signature.clone().map(Box::new),
        stage: Stage::Node(Box::new(node)),
        task,
    }
}

/// Reads the verified bytes of an errand.
///
/// **Errors**: the document as a whole cannot be used. Bad entries of a good document are in [`Finding::skipped`].
pub fn read(
    errand: &Errand,
    bytes: &[u8],
    received: &Received,
    forges: &Forges,
) -> Result<Finding, ParseError> {
    read_with(errand, bytes, received, forges, &mut Lexicon::default())
}

/// Does what [`read`] does, and remembers in `lexicon` what texts mean, for the documents of the same run: what comes out is
/// the same.
///
/// **Errors**: as [`read`].
pub fn read_with(
    errand: &Errand,
    bytes: &[u8],
    received: &Received,
    forges: &Forges,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    match &errand.task {
        Task::Lcod(task) => lcod::read(errand, task, bytes, received, forges, lexicon),
        Task::Estream(task) => estream::read(errand, task, bytes, received, lexicon),
    }
}

/// Returns what makes the release of an errand whose document has the digest `document` and is named by a document that may be
/// used by `above`; `None` where a release rests on more than that.
///
/// **Shape**: over everything that [`read`] and the judge are given and that may show in a release, except the commit at which the
/// document is asked for.
pub fn basis(errand: &Errand, document: &Digest, above: &Trust, lexicon: &mut Lexicon) -> Option<Basis> {
    match &errand.task {
        Task::Lcod(task) => lcod::basis(errand, task, (document, above), lexicon),
        // It rests on six documents.
        Task::Estream(_) => None,
    }
}

/// Tells whether a release says at which commit its document was asked for, which its basis does not know.
pub fn tells_commit(errand: &Errand, release: &Release) -> bool {
    match &errand.task {
        Task::Lcod(task) => lcod::tells_commit(task, release),
        Task::Estream(_) => release.origin.commit.is_some(),
    }
}

/// Returns which version of which component an errand's document describes, where it is a release's.
pub fn described(errand: &Errand) -> Option<(&ComponentId, &Version)> {
    match &errand.task {
        Task::Lcod(task) => task.described(),
        Task::Estream(task) => task.described(),
    }
}

/// Returns what the ids of the namespace start with that a component lies in and that can be registered; `None` where there is none.
/// `id` is a canonical id.
pub fn scope(id: &str) -> Option<&str> {
    // Of the other dialects no catalogue says who is registered.
    estream::scope(id)
}

/// Tells whether several releases of a source may ask for the same document, which is the same for each of them: it is asked for once.
pub fn is_shared(errand: &Errand) -> bool {
    match &errand.task {
        Task::Lcod(_) => false,
        Task::Estream(task) => task.is_shared(),
    }
}

/// Returns how many bytes a document of a release may have where that is a matter of its dialect, and the reason of a refusal where
/// it has more; `None` where what holds for all of them is enough.
pub fn bytes_max(errand: &Errand) -> Option<(&'static str, u64)> {
    match &errand.task {
        Task::Lcod(_) => None,
        Task::Estream(task) => task.bytes_max(),
    }
}

/// Returns how many of the `bytes` of a document say nothing, since it is written in hexadecimal digits, two for each byte that it is.
pub fn redundant_bytes(errand: &Errand, bytes: u64) -> u64 {
    match &errand.task {
        Task::Lcod(_) => 0,
        Task::Estream(task) => task.redundant_bytes(bytes),
    }
}

/// Says what becomes of a release whose document could not be had or was refused: it stays listed, refused, with the reason.
pub fn refuse(errand: &Errand, refusal: Refusal) -> Finding {
    match &errand.task {
        Task::Lcod(task) => lcod::refuse(task, refusal),
        Task::Estream(task) => estream::refuse(task, refusal),
    }
}

/// Says what becomes of a release whose documents are not fetched for now: it stays listed, with `trust` as the leave of the
/// document that names it. `None` for what cannot wait: nodes, and documents of which another one is here already.
pub fn defer(errand: &Errand, trust: &Trust) -> Option<Finding> {
    match &errand.task {
        Task::Lcod(task) => lcod::defer(errand, task, trust),
        Task::Estream(_) => None,
    }
}

impl Node {
    /// Returns the node of a document that this one lists at `place` under `name`.
    pub fn child(&self, name: SourceId, place: Place) -> Node {
        let mut via = self.via.clone();
        via.push(self.id.clone());
        Node { id: CatalogueId { source: self.id.source.clone(), name }, via, rank: self.rank.below(place) }
    }
}
