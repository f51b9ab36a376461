//! Component manifests with schema `lcod-registry/manifest@1`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dialect::lcod::document::{
    Dependency, ListHeader, MANIFEST_SCHEMA, ManifestDocument, ManifestFile,
};
use crate::dialect::lcod::pending::{Pending, dependencies, implemented, sha256};
use crate::dialect::lcod::place::{prefix, repository};
use crate::dialect::lcod::plain::{self, Manifest};
use crate::dialect::{Finding, Received};
use crate::error::ParseError;
use crate::id::Reference;
use crate::json;
use crate::json::plain::Carried;
use crate::lexicon::Lexicon;
use crate::model::{File, Origin, Release, SignatureClaim};
use crate::path::DocPath;
use crate::pointer::{Locality, Repository};
use crate::references::References;

/// What is known about a release before its manifest is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestTask {
    pub(super) pending: Pending,
    /// The dependencies that the catalogue states; the manifest's must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) declared: Option<References>,
}

/// Reads a manifest.
///
/// **Errors**: `input.schema`, `input.field`, `input.commit`, `input.path`, …; `trust.statement_mismatch` when it is the
/// manifest of another release or states other dependencies than the catalogue.
pub(super) fn read(
    task: &ManifestTask,
    locality: Locality,
    bytes: &[u8],
    received: &Received,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    // Nearly every one is plain and in order, and is read once; the strict reader finds out what is wrong with the others.
    if let Some(manifest) = plain::manifest(bytes)
        && let Ok(release) = release(task, locality, manifest, received, lexicon)
    {
        return Ok(Finding { releases: vec![release], ..Finding::default() });
    }
    let text = json::check(bytes)?;
    let mut document = document(text).map_err(|error| json::located(error, text))?;
    let manifest = plain_form(&mut document);
    let release =
        release(task, locality, manifest, received, lexicon).map_err(|error| json::located(error, text))?;
    Ok(Finding { releases: vec![release], ..Finding::default() })
}

fn release(
    task: &ManifestTask,
    locality: Locality,
    document: Manifest<'_>,
    received: &Received,
    lexicon: &mut Lexicon,
) -> Result<Release, ParseError> {
    let Pending { id, version, .. } = &task.pending;
    let written = document.id.strip_prefix(id.as_text()).and_then(|rest| rest.strip_prefix('@'));
    if !written.is_some_and(|written| version.is_written(written)) {
        let expected = format!("{id}@{version}");
        return Err(ParseError::new("trust.statement_mismatch", expected, document.id).in_field("id"));
    }
    let origin = origin(&document.source, &task.pending.origin, locality, lexicon)
        .map_err(|error| error.in_field("source"))?;
    let files = files(&document.files, origin.path.as_ref())?;
    let dependencies = dependencies(&document.dependencies, lexicon)?;
    if task.declared.as_ref().is_some_and(|declared| *declared != dependencies) {
        let declared = task.declared.clone().unwrap_or_default();
        let expected = format!("the dependencies that the catalogue states, {}", listed(&declared));
        let error = ParseError::new("trust.statement_mismatch", expected, listed(&dependencies));
        return Err(error.in_field("dependencies"));
    }
    let mut extra = document.extra;
    let implements = taken_implements(&mut extra, lexicon);
    let claimed = |name: &str| extra.iter().find(|(field, _)| field == name).map(|(_, value)| value);
    let claim = SignatureClaim::of(claimed("publicKey"), claimed("signature"));
    let verdict = task.pending.verdict(received.trust.clone().noting(claim.as_ref()));
    let (kind, summary) = (taken(&mut extra, "kind"), taken(&mut extra, "summary"));
    let manifest = Some(received.digest.clone());
    let listed = task.pending.release_at(origin, verdict);
    let mut release = Release { manifest, files, kind, summary, dependencies, implements, ..listed };
    release.extra.extend(extra);
    Ok(release)
}

fn document(text: &str) -> Result<ManifestDocument, ParseError> {
    if let Ok(document) = json::document::<ManifestDocument>(text)
        && document.schema == MANIFEST_SCHEMA
    {
        return Ok(document);
    }
    let header: ListHeader = json::document(text)?;
    match header.schema.as_deref() {
        Some(MANIFEST_SCHEMA) => json::document(text),
        schema => {
            let expected = format!("a manifest with schema {MANIFEST_SCHEMA}");
            Err(ParseError::new("input.schema", expected, schema.unwrap_or("no schema")).in_field("schema"))
        }
    }
}

fn plain_form(document: &mut ManifestDocument) -> Manifest<'_> {
    let ManifestDocument { id, source, files, dependencies, extra, schema: _ } = document;
    Manifest {
        id,
        source: plain::Source {
            kind: source.kind.as_deref(),
            url: source.url.as_deref(),
            commit: source.commit.as_deref(),
            path: source.path.as_deref(),
        },
        files: files
            .iter()
            .map(|ManifestFile { path, sha256, size }| plain::File { path, sha256, size: *size })
            .collect(),
        dependencies: dependencies.iter().map(Dependency::required).collect(),
        extra: std::mem::take(extra).into_iter().collect(),
    }
}

fn origin(
    source: &plain::Source<'_>,
    known: &Origin,
    locality: Locality,
    lexicon: &mut Lexicon,
) -> Result<Origin, ParseError> {
    let path = prefix(source.path).map_err(|error| error.in_field("path"))?;
    let required = |field: &'static str, value: Option<&str>| {
        let missing = || {
            ParseError::new("input.field", format!("the field {field}, which type git requires"), "nothing")
        };
        value.map(drop).ok_or_else(missing).map_err(|error| error.in_field(field))
    };
    match (source.kind, locality) {
        (None | Some("git"), _) => {
            required("url", source.url)?;
            required("commit", source.commit)?;
            let (url, commit) = (source.url.unwrap_or_default(), source.commit.unwrap_or_default());
            let repository = match url.starts_with("https:") {
                true => lexicon.url(url).map(Repository::Https),
                false => repository(url, locality),
            };
            let repository = repository.map_err(|error| error.in_field("url"))?;
            let commit = lexicon.commit(commit).map_err(|error| error.in_field("commit"))?;
            Ok(Origin { repository: Some(repository), commit: Some(commit), path })
        }
        // Beside its catalogue, wherever that lies; named by local documents only, like every local file.
        (Some("file"), Locality::Local) if source.url.is_none() && source.commit.is_none() => {
            Ok(Origin { path, ..known.clone() })
        }
        (Some("file"), Locality::Local) => {
            let found = "a url or commit beside type file";
            Err(ParseError::new("input.kind", "only a path beside type file", found).in_field("type"))
        }
        (Some(kind), _) => Err(ParseError::new("input.kind", "type git", kind).in_field("type")),
    }
}

/// Returns the files with paths from the repository's root. Published manifests write them so, the seed's sample writes them
/// below `source.path`: a path that starts with `source.path` is read as the former.
fn files(written: &[plain::File<'_>], directory: Option<&DocPath>) -> Result<Vec<File>, ParseError> {
    let mut seen = HashSet::new();
    let mut files = Vec::with_capacity(written.len());
    for (index, one) in written.iter().enumerate() {
        let file = file(one, directory).map_err(|error| error.in_field(format!("files[{index}]")))?;
        // One file alone, as most have, cannot come twice.
        if written.len() > 1 && !seen.insert(file.path.clone()) {
            let error = ParseError::new("input.path", "each file once", file.path.as_text());
            return Err(error.in_field(format!("files[{index}].path")));
        }
        files.push(file);
    }
    Ok(files)
}

fn file(written: &plain::File<'_>, directory: Option<&DocPath>) -> Result<File, ParseError> {
    let path = DocPath::parse(written.path).map_err(|error| error.in_field("path"))?;
    let path = match directory {
        Some(directory) if !path.is_below(directory) => {
            directory.join(&path).map_err(|error| error.in_field("path"))?
        }
        _ => path,
    };
    let digest = sha256(written.sha256).map_err(|error| error.in_field("sha256"))?;
    Ok(File { path, digest: Some(digest), blob: None, size: written.size })
}

/// Takes a text out of the fields that are carried through; anything but a text stays there.
fn taken(extra: &mut Carried, field: &str) -> Option<String> {
    let at = extra.iter().position(|(name, value)| name == field && value.is_string())?;
    match extra.swap_remove(at) {
        (_, Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Takes what a component implements out of the fields that are carried through; what cannot be read stays there.
fn taken_implements(extra: &mut Carried, lexicon: &mut Lexicon) -> Vec<Reference> {
    let Some(at) = extra.iter().position(|(name, _)| name == "implements") else { return Vec::new() };
    let read = extra.get(at).map(|(_, value)| implemented(value, lexicon));
    let Some(Ok(implements)) = read else { return Vec::new() };
    extra.swap_remove(at);
    implements
}

fn listed(references: &References) -> String {
    match references.is_empty() {
        true => "none".to_owned(),
        false => references.texts().collect::<Vec<_>>().join(", "),
    }
}
