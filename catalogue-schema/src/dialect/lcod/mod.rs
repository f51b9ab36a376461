//! The LCOD dialect: federated catalogues (seed 001) in every form in which they were ever published.
//!
//! | document | told by | read in |
//! |---|---|---|
//! | list of catalogues | `lcod-registry/catalogues@1` | `list` |
//! | JSONL list, or catalogue as JSONL | header line with `lcod-manifest/list@1` | `list`, `row` |
//! | catalogue | `lcod-registry/catalogue@1` | `catalogue` |
//! | catalogue as JSON array | `[{id, composePath}]` | `row` |
//! | the layout before the federation, `packages.jsonl` | lines with `kind` component or registry, no header | `packages` |
//! | its `registry.json` or `catalog.json` | `lcod-registry@1` | `packages` |
//! | its `versions.json` | `lcod-registry/versions@1` | `packages` |
//! | component manifest | `lcod-registry/manifest@1` | `manifest` |
//! | component descriptor `lcp.toml` | schema version 1.0 or 2.0 | `descriptor` |
//!
//! Content decides which of them an entry, list or catalogue is, never its name. A release comes either from a manifest (one
//! further document) or from a row (two: `lcp.toml`, then `compose.yaml`). A byte-order mark and CRLF are accepted.
//!
//! Keeps no state between documents: what a later document needs travels in its [`Task`]. Never fetches or judges, and never
//! looks at the bytes of `compose.yaml`.

mod catalogue;
pub mod convert;
pub(crate) mod descriptor;
pub mod document;
mod list;
mod manifest;
mod packages;
mod pending;
mod place;
mod plain;
mod row;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::basis::{Basis, Parts};
use crate::dialect::lcod::descriptor::{ComposeTask, DescriptorTask};
use crate::dialect::lcod::document::{
    CATALOGUE_SCHEMA, CATALOGUES_SCHEMA, Entry, Field, LIST_SCHEMA, ListHeader, REGISTRY_SCHEMA,
    VERSIONS_SCHEMA, Within, without_mark,
};
use crate::dialect::lcod::manifest::ManifestTask;
use crate::dialect::lcod::pending::{Ledger, Pending};
use crate::dialect::lcod::place::{Base, Root};
use crate::dialect::{Errand, Finding, Node, Received, Stage};
use crate::digest::Digest;
use crate::error::{ParseError, Position, escaped};
use crate::filter::Filter;
use crate::forge::Forges;
use crate::id::{ComponentId, SourceId};
use crate::json;
use crate::lexicon::Lexicon;
use crate::model::{Level, Refusal, Release, Skipped, Source, Trust, Warning};
use crate::pointer::{Locality, Location, Repository, Revision, Want};
use crate::references::References;
use crate::version::Version;

/// The most entries of one document that may be unreadable; a document with more is refused as a whole.
pub const SKIPPED_MAX: usize = 10_000;

/// What the reader remembers about an errand. In boxes, since there is one for each release of a catalogue that is being read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// An entry document, list or catalogue.
    Node(Box<NodeTask>),
    /// The manifest of a release.
    Manifest(Box<ManifestTask>),
    /// The `lcp.toml` of a release that has no manifest.
    Descriptor(Box<DescriptorTask>),
    /// The `compose.yaml` of a release that has no manifest.
    Compose(Box<ComposeTask>),
}

/// What is known about an entry document, list or catalogue before it is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeTask {
    /// Where its rows lead when it was served over https and its pointer names a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    /// Which of its releases, and of those below it, are taken.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    filter: Filter,
    /// Where the lists that lead here lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    above: Vec<Location>,
}

/// Returns the task of a source's entry document.
pub fn start(source: &Source, forges: &Forges) -> Task {
    let base = match &source.entry {
        Location::Https { url } => {
            source.origin.as_ref().and_then(Base::of_origin).or_else(|| Base::of_url(url, forges))
        }
        Location::Git { .. } | Location::File { .. } => None,
    };
    Task::Node(Box::new(NodeTask { base, filter: source.filter.clone(), above: Vec::new() }))
}

/// Reads one document.
///
/// **Errors**: the document as a whole cannot be used; a release's document is then given to [`refuse`].
pub fn read(
    errand: &Errand,
    task: &Task,
    bytes: &[u8],
    received: &Received,
    forges: &Forges,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    let (Want::Blob(location) | Want::Tree { location, .. }) = &errand.want else {
        return Err(ParseError::new("input.want", "the location of a document", errand.want.to_string()));
    };
    let finding = match task {
        Task::Node(node_task) => {
            let Stage::Node(node) = &errand.stage else {
                return Err(ParseError::new("input.want", "a list or catalogue", errand.want.to_string()));
            };
            Reading::new(location, node, node_task, received, forges, lexicon).document(bytes)
        }
        Task::Manifest(task) => manifest::read(task, location.locality(), bytes, received, lexicon),
        Task::Descriptor(task) => descriptor::read(task, location, bytes, received, lexicon),
        Task::Compose(task) => Ok(descriptor::complete(task, location, received)),
    };
    // A list may name any file of this machine that its reader may read, and errors are answered to others.
    finding.map_err(|error| match (location.locality(), task) {
        (Locality::Local, Task::Descriptor(_)) if !descriptor::is_ours(bytes) => error.unquoted(),
        // What is no JSON at all was never quoted.
        (Locality::Local, Task::Node(_)) if !is_ours(bytes) && is_like_json(bytes) => error.unquoted(),
        (Locality::Local, Task::Manifest(_)) if !is_ours(bytes) => error.unquoted(),
        _ => error,
    })
}

/// Tells whether a document, however wrong, says that it is one of those that are read here.
fn is_ours(bytes: &[u8]) -> bool {
    let whole = || json::document::<ListHeader>(json::check(bytes).ok()?).ok();
    let header = first_line(without_mark(bytes)).or_else(whole);
    header.is_some_and(|header| {
        header.is_package_row() || header.schema.is_some_and(|schema| schema.starts_with("lcod"))
    })
}

/// Says what becomes of a release whose document was refused: it stays listed, refused. Lists and catalogues yield nothing.
pub fn refuse(task: &Task, refusal: Refusal) -> Finding {
    let release = task.pending().map(|pending| pending.refused(refusal));
    Finding { releases: release.into_iter().collect(), ..Finding::default() }
}

/// Says what becomes of a release whose documents are not fetched for now.
pub fn defer(errand: &Errand, task: &Task, trust: &Trust) -> Option<Finding> {
    let pin = errand.digests.first();
    let (pending, dependencies) = match task {
        Task::Manifest(task) => (&task.pending, task.declared.clone().unwrap_or_default()),
        Task::Descriptor(task) => (&task.pending, References::default()),
        Task::Node(_) | Task::Compose(_) => return None,
    };
    let release = Release { unfetched: true, dependencies, ..pending.trusted(trust.unread(pin)) };
    Some(Finding { releases: vec![release], ..Finding::default() })
}

/// Which releases the readers of this dialect make of the same documents; grows with every change of what they make.
pub const READER_REVISION: u32 = 3;

/// Returns what makes the release of a manifest; `None` for the other documents.
pub fn basis(
    errand: &Errand,
    task: &Task,
    (document, above): (&Digest, &Trust),
    lexicon: &mut Lexicon,
) -> Option<Basis> {
    let Task::Manifest(task) = task else { return None };
    let ManifestTask { pending, declared } = &**task;
    let Want::Blob(location) = &errand.want else { return None };
    let begun = lexicon.begun();
    let mut parts = Parts::of("lcod manifest", READER_REVISION, begun);
    leave(&mut parts, errand, above);
    place(&mut parts, location);
    parts.maybe(pending.origin.repository.as_ref(), of_repository);
    parts.shared_so_far();
    parts.digest(document);
    promised(&mut parts, errand, document);
    let path = path(location);
    parts.text(&path);
    pending.parts(&mut parts, &path);
    parts.maybe(declared.as_ref(), |parts, declared| {
        let texts: Vec<&str> = declared.texts().collect();
        parts.each(texts.into_iter(), |parts, text| {
            // No id of this dialect holds the sign.
            let (id, requirement) = text.rsplit_once('@').unwrap_or((text, ""));
            parts.text(id);
            parts.text(requirement);
        });
    });
    Some(parts.basis(begun))
}

/// Adds what the judge goes by that documents of one catalogue share.
fn leave(parts: &mut Parts, errand: &Errand, above: &Trust) {
    parts.number(u64::from(errand.want.is_pinned()));
    parts.text(match above.level() {
        Level::Unpinned => "unpinned",
        Level::Pinned => "pinned",
    });
    parts.maybe(above.rule(), Parts::text);
    parts.each(above.signers().iter(), |parts, signer| parts.text(signer));
    parts.number(u64::from(above.has_unchecked_signature()));
}

/// Adds what the judge goes by besides: what is promised of the document. Mostly that is its digest.
fn promised(parts: &mut Parts, errand: &Errand, document: &Digest) {
    let is_document = *errand.digests == *std::slice::from_ref(document);
    parts.number(u64::from(is_document));
    if !is_document {
        parts.each(errand.digests.iter(), Parts::digest);
    }
    parts.maybe(errand.size, Parts::number);
    parts.maybe(errand.signature.as_deref(), |parts, claim| {
        parts.maybe(claim.public_key.as_deref(), Parts::text);
        parts.maybe(claim.signature.as_deref(), Parts::text);
    });
}

/// Adds where a document lies, without the commit and the path.
fn place(parts: &mut Parts, location: &Location) {
    match location {
        Location::Git { repository, revision, .. } => {
            parts.text("git");
            of_repository(parts, repository);
            match revision {
                Revision::Commit(_) => parts.text("commit"),
                Revision::Ref(name) => {
                    parts.text("ref");
                    parts.text(name.as_text());
                }
                Revision::Head => parts.text("head"),
            }
        }
        Location::File { .. } => parts.text("file"),
        Location::Https { .. } => parts.text("https"),
    }
}

fn path(location: &Location) -> Cow<'_, str> {
    match location {
        Location::Git { path, .. } => path.as_text().into(),
        Location::File { path } => path.to_string().into(),
        Location::Https { url } => url.as_text().into(),
    }
}

fn of_repository(parts: &mut Parts, repository: &Repository) {
    match repository {
        Repository::Https(url) => parts.text(url.as_text()),
        Repository::Ssh(url) => parts.text(url.as_text()),
        Repository::Local(path) => match path.as_path().to_str() {
            Some(text) => parts.text(text),
            None => parts.text(&path.to_string()),
        },
    }
}

/// Tells whether a release says at which commit its document was asked for: where a manifest names none, its catalogue's is
/// its own. Where it names the very same one, nobody can tell them apart.
pub fn tells_commit(task: &Task, release: &Release) -> bool {
    let known = task.pending().and_then(|pending| pending.origin.commit.as_ref());
    known.is_some() && release.origin.commit.as_ref() == known
}

impl Task {
    /// Returns the component and the version that it is about.
    pub fn described(&self) -> Option<(&ComponentId, &Version)> {
        self.pending().map(|pending| (&pending.id, &pending.version))
    }

    /// Returns the component whose release it is for.
    pub fn component(&self) -> Option<&ComponentId> {
        self.pending().map(|pending| &pending.id)
    }

    /// Returns how many documents a release needs from this one on.
    pub fn documents(&self) -> u64 {
        match self {
            Task::Manifest(_) => 1,
            Task::Descriptor(_) => 2,
            Task::Node(_) | Task::Compose(_) => 0,
        }
    }

    fn pending(&self) -> Option<&Pending> {
        match self {
            Task::Node(_) => None,
            Task::Manifest(task) => Some(&task.pending),
            Task::Descriptor(task) => Some(&task.pending),
            Task::Compose(task) => Some(&task.pending),
        }
    }
}

/// One entry document, list or catalogue while it is read.
struct Reading<'a> {
    location: &'a Location,
    locality: Locality,
    node: &'a Node,
    received: &'a Received,
    forges: &'a Forges,
    lexicon: &'a mut Lexicon,
    root: Root,
    filter: &'a Filter,
    above: &'a [Location],
    /// The package that the document's rows belong to when they say nothing else.
    package: Option<String>,
    /// How many releases the filters leave out.
    filtered: u64,
    ledger: Ledger,
    finding: Finding,
}

impl<'a> Reading<'a> {
    fn new(
        location: &'a Location,
        node: &'a Node,
        task: &'a NodeTask,
        received: &'a Received,
        forges: &'a Forges,
        lexicon: &'a mut Lexicon,
    ) -> Reading<'a> {
        Reading {
            location,
            locality: location.locality(),
            node,
            received,
            forges,
            lexicon,
            root: Root::of(location, received.commit.as_ref(), task.base.as_ref()),
            filter: &task.filter,
            above: &task.above,
            package: None,
            filtered: 0,
            ledger: Ledger::default(),
            finding: Finding::default(),
        }
    }

    /// Tells by content what the document is, and reads it.
    fn document(mut self, bytes: &[u8]) -> Result<Finding, ParseError> {
        let bytes = without_mark(bytes);
        match first(bytes) {
            Some(b'[') => {
                let text = json::check(bytes)?;
                let entries: Vec<&RawValue> = json::document(text)?;
                let within = Within::Document(&json::Document::of(text));
                for (index, raw) in entries.into_iter().enumerate() {
                    self.component_row(&Entry { field: Field::Item("", index), text: raw.get(), within })?;
                }
            }
            Some(b'{') => self.object(bytes)?,
            _ => return Err(not_json(bytes, self.locality)),
        }
        if self.filtered > 0 {
            let text = format!(
                "releases left out by the filters of the lists that lead here ({}): {}",
                self.filter, self.filtered
            );
            self.finding.warnings.push(Warning::new("catalogue.filtered", text));
        }
        Ok(self.finding)
    }

    fn object(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Some(document) = plain::catalogue(text)
        {
            return self.plain_catalogue(document, text);
        }
        if let Some(header) = first_line(bytes)
            && !matches!(
                header.schema.as_deref(),
                Some(CATALOGUES_SCHEMA | CATALOGUE_SCHEMA | VERSIONS_SCHEMA | REGISTRY_SCHEMA)
            )
        {
            self.finding.signature = header.claim();
            return match header.is_package_row() {
                true => self.package_lines(bytes),
                false => self.lines(&header, bytes),
            };
        }
        let text = json::check(bytes)?;
        let header: ListHeader = json::document(text)?;
        self.finding.signature = header.claim();
        match header.schema.as_deref() {
            Some(CATALOGUES_SCHEMA) => self.catalogues(text),
            Some(CATALOGUE_SCHEMA) => self.catalogue(text),
            Some(VERSIONS_SCHEMA) => self.versions(text),
            Some(REGISTRY_SCHEMA) => self.registry(text),
            None if header.is_package_row() => self.package_lines(bytes),
            Some(LIST_SCHEMA) => {
                self.named(header.id.as_deref());
                self.withdrawn_of_list(header.withdrawn.as_ref())
            }
            schema => Err(json::located(unknown_schema(schema), text)),
        }
    }

    /// Takes the id that the document gives itself.
    fn named(&mut self, id: Option<&str>) {
        match id.map(SourceId::parse) {
            None => {}
            Some(Ok(id)) => self.finding.named = Some(id),
            Some(Err(error)) => {
                self.finding.warnings.push(Warning::new("catalogue.id", error.in_field("id").to_string()));
            }
        }
    }

    /// Returns a line of the JSONL document `bytes`, which is a document of its own; `None` for one that is no JSON, which
    /// spoils only itself and is left out.
    ///
    /// **Errors**: `limit.skipped`; what [`json::check`] refuses in a last line that no newline ends.
    fn row<'b>(
        &mut self,
        bytes: &'b [u8],
        number: usize,
        line: &'b [u8],
    ) -> Result<Option<Entry<'b>>, ParseError> {
        let field = Field::Line(number);
        let error = match json::check(line) {
            Ok(text) => return Ok(Some(Entry { field, text, within: Within::Line(number) })),
            Err(error) => {
                json::moved(error.in_field(field.to_string()), Position { line: number, column: 1 })
            }
        };
        // The document was cut off, and nobody can tell whose ids the rest would have brought.
        if bytes.as_ptr_range().end == line.as_ptr_range().end {
            return Err(error);
        }
        self.skip(field, error)?;
        Ok(None)
    }

    /// Leaves an entry out, under the name that it gives itself or its field.
    ///
    /// **Errors**: `limit.skipped` when nothing but leaving out goes on.
    fn skip(&mut self, named: impl fmt::Display, error: ParseError) -> Result<(), ParseError> {
        if self.finding.skipped.len() == SKIPPED_MAX {
            let expected = format!("at most {SKIPPED_MAX} entries that cannot be read");
            return Err(ParseError::new("limit.skipped", expected, "more"));
        }
        self.finding.skipped.push(Skipped { entry: escaped(&named.to_string()), error });
        Ok(())
    }
}

/// Returns the first byte that is not blank.
fn first(bytes: &[u8]) -> Option<&u8> {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace())
}

fn is_like_json(bytes: &[u8]) -> bool {
    matches!(first(without_mark(bytes)), Some(b'[' | b'{'))
}

/// Where a document starts.
const START: Position = Position { line: 1, column: 1 };

/// Returns the first line that is not blank when it is a whole object and more follows: the header of a JSONL list.
fn first_line(bytes: &[u8]) -> Option<ListHeader> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let end = bytes[start..].iter().position(|byte| *byte == b'\n').map(|length| start + length)?;
    if bytes[end..].iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let text = json::check(&bytes[start..end]).ok()?;
    json::document(text).ok()
}

fn unknown_schema(found: Option<&str>) -> ParseError {
    let expected = format!(
        "a list or catalogue with schema {CATALOGUES_SCHEMA}, {CATALOGUE_SCHEMA}, {LIST_SCHEMA}, or a JSON array of {{id, composePath}}"
    );
    ParseError::new("input.schema", expected, found.unwrap_or("no schema")).in_field("schema")
}

/// Says what stands where a list or catalogue was expected; of a file of this machine only what it looks like.
fn not_json(bytes: &[u8], locality: Locality) -> ParseError {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let text = text.trim_start();
    let lower = text.to_ascii_lowercase();
    let kind = if text.is_empty() {
        "an empty document"
    } else if ["<!doctype html", "<html", "<head", "<body"].iter().any(|start| lower.starts_with(start)) {
        "an HTML page (a login or error page?)"
    } else if text.starts_with("version https://git-lfs") {
        "a Git LFS pointer instead of the file"
    } else {
        ""
    };
    let found = match (kind, locality) {
        ("", Locality::Remote) => text.to_owned(),
        ("", Locality::Local) => "something else, which is not repeated here".to_owned(),
        (kind, Locality::Remote) if !text.is_empty() => format!("{kind}: {text}"),
        (kind, _) => kind.to_owned(),
    };
    let expected = format!(
        "a JSON document with schema {CATALOGUES_SCHEMA} or {CATALOGUE_SCHEMA}, JSON lines with {LIST_SCHEMA}, or a JSON array"
    );
    ParseError::new("input.schema", expected, found).at(START)
}
