//! Component descriptors (`lcp.toml`, schema versions 1.0 and 2.0), and the release that a row, its descriptor and its
//! `compose.yaml` make together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dialect::lcod::Task;
use crate::dialect::lcod::document::{
    Dependency, Descriptor, DescriptorWorkspace, SchemaVersion, without_mark,
};
use crate::dialect::lcod::pending::{Pending, WARNINGS_MAX, dependency, implemented, in_order};
use crate::dialect::lcod::place::Spot;
use crate::dialect::{Errand, Finding, Received, Stage};
use crate::digest::Digest;
use crate::error::{ParseError, Position, escaped};
use crate::id::Reference;
use crate::lexicon::Lexicon;
use crate::model::{File, Trust, Warning};
use crate::path::DocPath;
use crate::pointer::{CommitId, Location, Revision, Want};

/// The longest `lcp.toml` in bytes; checked before parsing.
pub(super) const DESCRIPTOR_BYTES_MAX: usize = 256 << 10;

/// What is known about a release before its `lcp.toml` is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescriptorTask {
    pub(super) pending: Pending,
    /// The path of `lcp.toml` as the release lists it.
    pub(super) lcp: DocPath,
    pub(super) compose: Spot,
    /// What `compose.yaml` must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) digests: Vec<Digest>,
}

/// What is known about a release before its `compose.yaml` is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComposeTask {
    pub(super) pending: Pending,
    lcp: File,
    lcp_trust: Trust,
    compose: DocPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    implements: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Reads an `lcp.toml` and asks for the `compose.yaml`.
///
/// **Errors**: `input.toml`, `input.schema`, `limit.document_bytes`.
pub(super) fn read(
    task: &DescriptorTask,
    location: &Location,
    bytes: &[u8],
    received: &Received,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    let document = document(bytes)?;
    let mut warnings: Vec<Warning> = id_mismatch(&document, &task.pending).into_iter().collect();
    let requires = document.deps.map(|deps| deps.requires).unwrap_or_default();
    let mut dependencies = Vec::with_capacity(requires.len());
    for (index, value) in requires.into_iter().enumerate() {
        let found = value.to_string();
        let wrong_type = |_| ParseError::new("input.field", "a text or a table with id and version", found);
        let read = serde_json::from_value::<Dependency>(value).map_err(wrong_type);
        match read.and_then(|written| dependency(written.required(), lexicon)) {
            Ok(reference) => dependencies.push(reference),
            Err(error) if warnings.len() < WARNINGS_MAX => {
                let error = error.in_field(format!("deps.requires[{index}]"));
                warnings.push(Warning::new("descriptor.requirement", format!("left out: {error}")));
            }
            Err(_) => {}
        }
    }
    let implements = match &document.implements {
        Some(value) => contracts(value, lexicon, &mut warnings),
        // Where the descriptor says nothing, the row may.
        None => {
            let said = task.pending.extra.get("implements");
            said.and_then(|value| implemented(value, lexicon).ok()).unwrap_or_default()
        }
    };
    let next = ComposeTask {
        pending: task.pending.clone(),
        lcp: file(&task.lcp, received),
        lcp_trust: received.trust.clone(),
        compose: task.compose.path.clone(),
        kind: document.kind,
        summary: document.summary,
        dependencies: in_order(dependencies),
        implements,
        warnings,
    };
    let errand = Errand {
        want: Want::Blob(at_one_commit(&task.compose.location, location, received.commit.as_ref())),
        digests: task.digests.clone().into(),
        size: None,
        signature: None,
        stage: Stage::Release,
        task: crate::dialect::Task::Lcod(Task::Compose(Box::new(next))),
    };
    Ok(Finding { errands: vec![errand], ..Finding::default() })
}

/// Returns which contracts a descriptor says its component implements: none, with a warning, where that cannot be read.
fn contracts(value: &Value, lexicon: &mut Lexicon, warnings: &mut Vec<Warning>) -> Vec<Reference> {
    implemented(value, lexicon).unwrap_or_else(|error| {
        let error = error.in_field("implements");
        warnings.push(Warning::new("descriptor.implements", format!("left out: {error}")));
        Vec::new()
    })
}

/// Returns where `compose.yaml` lies. When `lcp.toml` was read through the same branch, it is the commit that the branch meant
/// then: both files of a release come from one tree.
fn at_one_commit(compose: &Location, lcp: &Location, commit: Option<&CommitId>) -> Location {
    match (compose, lcp, commit) {
        (
            Location::Git { repository, revision, path },
            Location::Git { repository: lcp_repository, revision: lcp_revision, .. },
            Some(commit),
        ) if repository == lcp_repository && revision == lcp_revision => Location::Git {
            repository: repository.clone(),
            revision: Revision::Commit(commit.clone()),
            path: path.clone(),
        },
        _ => compose.clone(),
    }
}

/// What a project's own descriptor says.
pub(crate) struct Own {
    /// Its id as written, with or without a version.
    pub(crate) id: Option<String>,
    /// Its version as written.
    pub(crate) version: Option<String>,
    /// What it requires.
    pub(crate) requires: Vec<Reference>,
    /// The aliases of a package's scopes; `None` where it is no package.
    pub(crate) aliases: Option<BTreeMap<String, String>>,
    /// What kind of component it is, as written.
    pub(crate) kind: Option<String>,
    /// Which contracts it says it implements.
    pub(crate) implements: Vec<Reference>,
    /// What was left out.
    pub(crate) warnings: Vec<Warning>,
}

/// Returns what a project's own descriptor says: its id and version as written, and what it requires.
///
/// **Errors**: those of [`read`], and of the first requirement that cannot be read.
pub(crate) fn project(bytes: &[u8]) -> Result<Own, ParseError> {
    let Descriptor { id, version, deps, workspace, kind, implements, .. } = document(bytes)?;
    let mut lexicon = Lexicon::default();
    let mut requires = Vec::new();
    for (index, value) in deps.unwrap_or_default().requires.into_iter().enumerate() {
        let found = value.to_string();
        let wrong_type = |_| ParseError::new("input.field", "a text or a table with id and version", found);
        let read = serde_json::from_value::<Dependency>(value).map_err(wrong_type);
        let reference = read.and_then(|written| dependency(written.required(), &mut lexicon));
        requires.push(reference.map_err(|error| error.in_field(format!("deps.requires[{index}]")))?);
    }
    let workspace = workspace.map(|table| {
        let found = table.to_string();
        serde_json::from_value::<DescriptorWorkspace>(table).map_err(|_| {
            ParseError::new("input.field", "a table with scopeAliases", found).in_field("workspace")
        })
    });
    let aliases = workspace.transpose()?.map(|workspace| workspace.scope_aliases);
    let mut warnings = Vec::new();
    let implements = implements.map(|value| contracts(&value, &mut lexicon, &mut warnings));
    let implements = implements.unwrap_or_default();
    Ok(Own { id, version, requires, aliases, kind, implements, warnings })
}

/// Returns the release whose last document, `compose.yaml`, has arrived; its content is not looked at.
pub(super) fn complete(task: &ComposeTask, location: &Location, received: &Received) -> Finding {
    let mut release = task.pending.trusted(task.lcp_trust.and(&received.trust));
    if let Location::Git { .. } = location {
        release.origin.commit = received.commit.clone().or(release.origin.commit);
    }
    release.files = vec![file(&task.compose, received), task.lcp.clone()];
    release.kind = task.kind.clone();
    release.summary = task.summary.clone();
    release.dependencies = task.dependencies.clone().into();
    release.implements = task.implements.clone();
    release.warnings = task.warnings.clone();
    Finding { releases: vec![release], ..Finding::default() }
}

fn file(path: &DocPath, received: &Received) -> File {
    File {
        path: path.clone(),
        digest: Some(received.digest.clone()),
        blob: received.blob.clone(),
        size: Some(received.size),
    }
}

/// Tells whether a text, however wrong, says that it is a descriptor.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(without_mark(bytes)).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("schemaVersion"))
}

fn document(bytes: &[u8]) -> Result<Descriptor, ParseError> {
    if bytes.len() > DESCRIPTOR_BYTES_MAX {
        let expected = format!("an lcp.toml of at most {DESCRIPTOR_BYTES_MAX} bytes");
        return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
    }
    let bytes = without_mark(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = Position::of(bytes, error.valid_up_to());
        ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
    })?;
    let document: Descriptor = toml::from_str(text).map_err(|error| {
        let found = ParseError::new("input.toml", "an lcp.toml that can be read", error.message());
        match error.span() {
            Some(span) => found.at(Position::of(bytes, span.start)),
            None => found,
        }
    })?;
    let version = match &document.schema_version {
        None => return Ok(document),
        Some(SchemaVersion::Text(text)) => text.clone(),
        Some(SchemaVersion::Number(number)) => number.to_string(),
    };
    match version.split('.').next() {
        Some("1" | "2") => Ok(document),
        _ => {
            Err(ParseError::new("input.schema", "schemaVersion 1.0 or 2.0", version)
                .in_field("schemaVersion"))
        }
    }
}

/// Published descriptors do carry other ids than the row that names them; that is worth a warning and stops nothing.
fn id_mismatch(document: &Descriptor, pending: &Pending) -> Option<Warning> {
    let found = document.id.as_deref()?;
    let expected = format!("{}@{}", pending.id, pending.version);
    let version = document.version.as_deref().unwrap_or_default();
    let bare =
        found == pending.id.as_text() && (version.is_empty() || version == pending.version.to_string());
    (found != expected && !bare).then(|| {
        let text =
            format!("lcp.toml says that it describes {}, the catalogue says {expected}", escaped(found));
        Warning::new("descriptor.id_mismatch", text)
    })
}
