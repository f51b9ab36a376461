//! Catalogues and manifests that are plain JSON ([`crate::json::plain`]), read in one walk without copies.
//!
//! Takes what the types of `document` take and means the same by it, or takes nothing: whatever is unusual or wrong is `None`,
//! and read again by the strict reader, which says what is wrong and where.

use serde_json::{Map, Value};

use crate::dialect::lcod::document::{CATALOGUE_SCHEMA, CatalogueOrigin, MANIFEST_SCHEMA, Required};
use crate::json::plain::{Carried, Plain, carry, document, once};
use crate::pace;

/// About how many bytes of a catalogue are about one version: what is set aside for all of them is less than the document.
const VERSION_BYTES: usize = 160;

/// Most manifests require no more than so many.
const DEPENDENCIES: usize = 16;

/// A plain catalogue.
pub(super) struct Catalogue<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) origin: Option<CatalogueOrigin>,
    pub(super) components: Vec<Component<'a>>,
    /// The versions of all components, in their order, and the text that each was read from: one list, since a list for each
    /// component would grow step by step thousands of times.
    pub(super) versions: Vec<(Version<'a>, &'a str)>,
}

/// A component of it, and the text that it was read from.
pub(super) struct Component<'a> {
    pub(super) id: &'a str,
    /// How many versions it has.
    pub(super) count: usize,
    pub(super) extra: Carried,
    pub(super) text: &'a str,
}

/// One version of a component as a catalogue writes it.
pub(super) struct Version<'a> {
    pub(super) version: &'a str,
    pub(super) manifest: &'a str,
    pub(super) sha256: Option<&'a str>,
    pub(super) yanked: Option<bool>,
    pub(super) dependencies: Option<Vec<Required<'a>>>,
    pub(super) extra: Carried,
}

/// A component manifest.
pub(super) struct Manifest<'a> {
    pub(super) id: &'a str,
    pub(super) source: Source<'a>,
    pub(super) files: Vec<File<'a>>,
    pub(super) dependencies: Vec<Required<'a>>,
    pub(super) extra: Carried,
}

/// Where its author keeps it.
#[derive(Default)]
pub(super) struct Source<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) url: Option<&'a str>,
    pub(super) commit: Option<&'a str>,
    pub(super) path: Option<&'a str>,
}

/// One of its files.
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) sha256: &'a str,
    pub(super) size: Option<u64>,
}

/// Reads a plain catalogue; `None` for any other document.
pub(super) fn catalogue(text: &str) -> Option<Catalogue<'_>> {
    document(text, |plain| {
        let (mut schema, mut id, mut origin, mut components) = (None, None, None, None);
        let (mut versions, mut ignored) = (Vec::with_capacity(text.len() / VERSION_BYTES), Carried::new());
        plain.object(|plain, name| match name {
            "schema" => once(&mut schema, plain.text().filter(|schema| *schema == CATALOGUE_SCHEMA)),
            "id" => once(&mut id, plain.text()),
            "origin" => once(&mut origin, source(plain)),
            "components" => once(&mut components, list(plain, |plain| component(plain, &mut versions))),
            // A claim is noted by the reader of headers.
            "publicKey" | "signature" => None,
            // Nearly no catalogue has taken anything back.
            "withdrawn" => None,
            other => carry(&mut ignored, other, plain.value()?),
        })?;
        let origin = origin.map(|Source { kind, url, commit, path }| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            CatalogueOrigin { kind: owned(kind), url: owned(url), commit: owned(commit), path: owned(path) }
        });
        schema?;
        Some(Catalogue { id, origin, components: components?, versions })
    })
}

fn component<'a>(plain: &mut Plain<'a>, versions: &mut Vec<(Version<'a>, &'a str)>) -> Option<Component<'a>> {
    let (mut id, mut count, mut extra) = (None, None, Carried::new());
    let before = versions.len();
    let ((), text) = plain.spelled(|plain| {
        plain.object(|plain, name| match name {
            "id" => once(&mut id, plain.text()),
            "versions" => {
                plain.array(|plain| {
                    pace::spent(VERSION_BYTES);
                    versions.push(plain.spelled(version)?);
                    Some(())
                })?;
                once(&mut count, versions.len().checked_sub(before))
            }
            other => carry(&mut extra, other, plain.value()?),
        })
    })?;
    Some(Component { id: id?, count: count?, extra, text })
}

fn version<'a>(plain: &mut Plain<'a>) -> Option<Version<'a>> {
    let (mut version, mut manifest, mut sha256, mut yanked, mut dependencies) =
        (None, None, None, None, None);
    let mut extra = Carried::new();
    plain.object(|plain, name| match name {
        "version" => once(&mut version, plain.text()),
        "manifest" => once(&mut manifest, plain.text()),
        "sha256" => once(&mut sha256, plain.text()),
        "yanked" => once(&mut yanked, plain.truth()),
        "dependencies" => once(&mut dependencies, list(plain, required)),
        other => carry(&mut extra, other, plain.value()?),
    })?;
    Some(Version { version: version?, manifest: manifest?, sha256, yanked, dependencies, extra })
}

/// Reads a plain manifest; `None` for any other document.
pub(super) fn manifest(bytes: &[u8]) -> Option<Manifest<'_>> {
    document(std::str::from_utf8(bytes).ok()?, |plain| {
        let (mut schema, mut id, mut from, mut files, mut dependencies) = (None, None, None, None, None);
        let mut extra = Carried::new();
        plain.object(|plain, name| match name {
            "schema" => once(&mut schema, plain.text().filter(|schema| *schema == MANIFEST_SCHEMA)),
            "id" => once(&mut id, plain.text()),
            "source" => once(&mut from, source(plain)),
            "files" => once(&mut files, list(plain, file)),
            "dependencies" => once(&mut dependencies, list_of(plain, DEPENDENCIES, required)),
            other => carry(&mut extra, other, plain.value()?),
        })?;
        schema?;
        let (files, dependencies) = (files.unwrap_or_default(), dependencies.unwrap_or_default());
        Some(Manifest { id: id?, source: from?, files, dependencies, extra })
    })
}

/// Returns carried fields as a map; nearly all versions carry none, and then there is nothing to put in order.
pub(super) fn fields(carried: Carried) -> Map<String, Value> {
    if carried.is_empty() { Map::new() } else { carried.into_iter().collect() }
}

fn source<'a>(plain: &mut Plain<'a>) -> Option<Source<'a>> {
    let (mut source, mut ignored) = (Source::default(), Carried::new());
    plain.object(|plain, name| match name {
        "type" => once(&mut source.kind, plain.text()),
        "url" => once(&mut source.url, plain.text()),
        "commit" => once(&mut source.commit, plain.text()),
        "path" => once(&mut source.path, plain.text()),
        other => carry(&mut ignored, other, plain.value()?),
    })?;
    Some(source)
}

fn file<'a>(plain: &mut Plain<'a>) -> Option<File<'a>> {
    let (mut path, mut sha256, mut size, mut ignored) = (None, None, None, Carried::new());
    plain.object(|plain, name| match name {
        "path" => once(&mut path, plain.text()),
        "sha256" => once(&mut sha256, plain.text()),
        "size" => once(&mut size, plain.integer()),
        other => carry(&mut ignored, other, plain.value()?),
    })?;
    Some(File { path: path?, sha256: sha256?, size })
}

fn required<'a>(plain: &mut Plain<'a>) -> Option<Required<'a>> {
    plain.text().map(Required::Text)
}

fn list<'a, T>(plain: &mut Plain<'a>, read: impl FnMut(&mut Plain<'a>) -> Option<T>) -> Option<Vec<T>> {
    list_of(plain, 0, read)
}

/// Reads a list that has about so many items.
fn list_of<'a, T>(
    plain: &mut Plain<'a>,
    count: usize,
    mut read: impl FnMut(&mut Plain<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut items = Vec::with_capacity(count);
    plain.array(|plain| {
        items.push(read(plain)?);
        Some(())
    })?;
    Some(items)
}
