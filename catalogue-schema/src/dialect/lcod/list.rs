//! Lists: `catalogues.json` and JSONL lists, whose entries point to catalogues and further lists.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::lcod::document::{
    CataloguesDocument, Entry, Field, LIST_SCHEMA, ListHeader, Pointer, RowType, Within,
};
use crate::dialect::lcod::place::{Base, Named, named, repository};
use crate::dialect::lcod::{NodeTask, Reading, Task, unknown_schema};
use crate::dialect::{Errand, Stage, Unusable};
use crate::digest::Digest;
use crate::error::{ParseError, escaped};
use crate::filter::Filter;
use crate::forge::{ForgeFile, Forges};
use crate::id::SourceId;
use crate::json;
use crate::model::{Place, SignatureClaim};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, Location, RefName, Repository, Revision, Want};

/// The priority of a catalogue whose pointer gives none.
pub(super) const PRIORITY_DEFAULT: i64 = 100;

/// The ids that a list has given out.
pub(super) struct Names {
    /// What an entry without an id is called.
    fallback: SourceId,
    /// The ids of the list itself and of those above it: an entry that is called like one of them for want of an id of its
    /// own would pass for a document already read.
    above: HashSet<SourceId>,
    used: HashSet<SourceId>,
}

impl Reading<'_> {
    /// Reads `lcod-registry/catalogues@1`.
    pub(super) fn catalogues(&mut self, text: &str) -> Result<(), ParseError> {
        let document: CataloguesDocument<&RawValue> = json::document(text)?;
        self.named(document.id.as_deref());
        let mut names = self.names();
        let within = Within::Document(&json::Document::of(text));
        for (index, raw) in document.catalogues.into_iter().enumerate() {
            let entry = Entry { field: Field::Item("catalogues", index), text: raw.get(), within };
            self.pointer(&entry, index, &mut names)?;
        }
        self.withdrawn_of_list(document.withdrawn.as_ref())
    }

    /// Reads `lcod-manifest/list@1`: each line is a document of its own, and a bad line spoils only itself.
    pub(super) fn lines(&mut self, header: &ListHeader, bytes: &[u8]) -> Result<(), ParseError> {
        if header.schema.as_deref() != Some(LIST_SCHEMA) {
            let found =
                header.schema.as_deref().unwrap_or("JSON lines without a header line that names a schema");
            return Err(unknown_schema(Some(found)));
        }
        self.named(header.id.as_deref());
        self.package = header.package.as_ref().and_then(Value::as_str).map(str::to_owned);
        let mut names = self.names();
        for (index, (number, line)) in json::lines(bytes).skip(1).enumerate() {
            if let Some(entry) = self.row(bytes, number, line)? {
                self.line(&entry, index, &mut names)?;
            }
        }
        self.withdrawn_of_list(header.withdrawn.as_ref())
    }

    fn line(&mut self, entry: &Entry<'_>, index: usize, names: &mut Names) -> Result<(), ParseError> {
        let row: RowType = match entry.read() {
            Ok(row) => row,
            Err(error) => return self.skip(entry.field, error),
        };
        // Early bundles name the row's type `kind`; a pointer's `kind` says how its URL is read.
        let word = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let written = word(&row.row).or_else(|| word(&row.kind));
        match written.as_deref() {
            Some("component") => self.component_row(entry),
            Some("list" | "git" | "https" | "file") => self.pointer(entry, index, names),
            Some("manifest") => {
                let error =
                    ParseError::new("input.row_type", "one header, in the first line", "another header");
                self.skip(entry.field, entry.refused(error))
            }
            other => {
                let found = other.unwrap_or("no type");
                let error = ParseError::new("input.row_type", "a row of type list or component", found);
                let id = word(&row.id).unwrap_or_default();
                let named: &dyn fmt::Display = if id.is_empty() { &entry.field } else { &id };
                self.skip(named, entry.refused(error))
            }
        }
    }

    pub(super) fn names(&self) -> Names {
        let own = self.finding.named.clone();
        let above = self.node.via.iter().chain([&self.node.id]).map(|id| id.name.clone()).collect();
        Names { fallback: own.unwrap_or_else(|| self.node.id.name.clone()), above, used: HashSet::new() }
    }

    fn pointer(&mut self, entry: &Entry<'_>, index: usize, names: &mut Names) -> Result<(), ParseError> {
        let pointer: Pointer = match entry.read() {
            Ok(pointer) => pointer,
            Err(error) => {
                let id = entry.read().ok().and_then(|row: RowType| Some(row.id?.as_str()?.to_owned()));
                self.unusable(id.as_deref(), PRIORITY_DEFAULT, index, &error);
                return self.skip(entry.field, error);
            }
        };
        match self.errand(&pointer, index, names) {
            Ok(errand) if self.leads_back(&errand.want) => {
                let name = errand.node().map(|node| node.id.name.to_string()).unwrap_or_default();
                let text = format!("{name} leads back to {}, which is read once", errand.want);
                self.warn("catalogue.cycle", text);
            }
            Ok(errand) => self.finding.errands.push(errand),
            Err(error) => {
                let error = entry.refused(error);
                self.unusable(
                    pointer.id.as_deref(),
                    pointer.priority.unwrap_or(PRIORITY_DEFAULT),
                    index,
                    &error,
                );
                match &pointer.id {
                    Some(id) => self.skip(id, error)?,
                    None => self.skip(entry.field, error)?,
                }
            }
        }
        Ok(())
    }

    /// Notes a pointer that cannot be used, where it says which catalogue it means: one that was read before keeps its ids.
    pub(super) fn unusable(&mut self, id: Option<&str>, priority: i64, index: usize, error: &ParseError) {
        let Some(name) = id.and_then(|id| SourceId::parse(id).ok()) else { return };
        let place = Place { priority, position: u32::try_from(index).unwrap_or(u32::MAX) };
        let node = self.node.child(name, place);
        self.finding.unusable.push(Unusable { node, error: error.clone() });
    }

    /// Tells whether a pointer leads to this list or to one above it.
    fn leads_back(&self, want: &Want) -> bool {
        let Want::Blob(location) = want else { return false };
        let here = [self.location.clone(), self.location_read()];
        here.iter().chain(self.above).any(|above| above == location)
    }

    /// Returns where this list lies, at the commit at which it was read.
    pub(super) fn location_read(&self) -> Location {
        match (self.location, &self.received.commit) {
            (Location::Git { repository, path, .. }, Some(commit)) => Location::Git {
                repository: repository.clone(),
                revision: Revision::Commit(commit.clone()),
                path: path.clone(),
            },
            (location, _) => location.clone(),
        }
    }

    /// Returns what the reader of a document below this one must know.
    pub(super) fn task_below(&self, base: Option<Base>, filter: &Filter) -> Task {
        let mut above = self.above.to_vec();
        for location in [self.location.clone(), self.location_read()] {
            if !above.contains(&location) {
                above.push(location);
            }
        }
        Task::Node(Box::new(NodeTask { base, filter: self.filter.and(filter), above }))
    }

    fn errand(&self, pointer: &Pointer, index: usize, names: &mut Names) -> Result<Errand, ParseError> {
        let url_file = pointer.url.as_deref().and_then(|url| self.forges.file(&HttpsUrl::parse(url).ok()?));
        let pins = Pins::of(pointer, url_file.as_ref())?;
        let (location, base) = self.target(pointer, url_file, &pins)?;
        let filter = filter(pointer)?;
        if let (Some(commit), None, []) = (&pins.commit, location.commit(), pins.digests.as_slice()) {
            let expected = "a checksum beside it, or kind git with the url of the repository and the path of the file, since a plain file cannot be checked against a commit";
            return Err(ParseError::new("input.commit", expected, commit.as_text()).in_field("commit"));
        }
        let name = names.give(pointer.id.as_deref(), index)?;
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        let place = Place { priority: pointer.priority.unwrap_or(PRIORITY_DEFAULT), position };
        let signature = (pointer.public_key.is_some() || pointer.signature.is_some()).then(|| {
            let (public_key, signature) = (pointer.public_key.clone(), pointer.signature.clone());
            Box::new(SignatureClaim { public_key, signature })
        });
        Ok(Errand {
            want: Want::Blob(location),
            digests: pins.digests.into(),
            size: None,
            signature,
            stage: Stage::Node(Box::new(self.node.child(name, place))),
            task: crate::dialect::Task::Lcod(self.task_below(base, &filter)),
        })
    }

    /// Returns where the pointed document lies, and where its rows lead if that is not the same place.
    fn target(
        &self,
        pointer: &Pointer,
        url_file: Option<ForgeFile>,
        pins: &Pins,
    ) -> Result<(Location, Option<Base>), ParseError> {
        let kind = Kind::of(pointer)?;
        let path = written_path(pointer)?;
        let url = pointer.url.as_deref().map(|url| ("url", url));
        let (field, text) = url.or(path).ok_or_else(|| {
            ParseError::new("input.field", "the url or path of a catalogue or list", "neither")
                .in_field("url")
        })?;
        let in_field = |error: ParseError| error.in_field(field);
        match (kind, named(text, self.locality)) {
            (Kind::Git, Ok(Named::Relative(_))) if pointer.url.is_none() => {
                self.beside(text, pins).map_err(in_field)
            }
            (Kind::Git, _) => Ok((self.in_repository(pointer, path, url_file, pins)?, None)),
            (_, Ok(Named::Relative(_))) => self.beside(text, pins).map_err(in_field),
            // Plain https cannot keep the promise that a commit makes, so the file is read from the repository.
            (Kind::Https | Kind::Any, Ok(Named::Https(_)))
                if url_file.is_some() && pins.commit.is_some() && pins.digests.is_empty() =>
            {
                Ok((self.in_repository(pointer, path, url_file, pins)?, None))
            }
            (Kind::Https | Kind::Any, Ok(Named::Https(url))) => {
                https(pointer, url, url_file, pins, self.forges)
            }
            (Kind::File | Kind::Any, Ok(Named::Local(path))) => Ok((Location::File { path }, None)),
            (Kind::File, Ok(Named::Https(_))) => {
                Err(in_field(ParseError::new("input.url_scheme", "a path, since the kind is file", text)))
            }
            (Kind::Https, Ok(Named::Local(_))) => {
                let expected = "an https:// URL, since the kind is https";
                Err(in_field(ParseError::new("input.url_scheme", expected, text)))
            }
            (_, Err(error)) => Err(in_field(error)),
        }
    }

    /// Returns the file at a relative path: in the same tree at the same commit, or below the list's own directory.
    pub(super) fn beside(&self, text: &str, pins: &Pins) -> Result<(Location, Option<Base>), ParseError> {
        let path = DocPath::parse(text)?;
        Ok(match self.location {
            Location::Git { repository, revision, .. } => {
                let commit = pins.commit.as_ref().or(self.received.commit.as_ref());
                let revision = commit.cloned().map_or_else(|| revision.clone(), Revision::Commit);
                (Location::Git { repository: repository.clone(), revision, path }, None)
            }
            Location::File { path: list } => {
                let directory = list.parent().unwrap_or_else(|| list.clone());
                (Location::File { path: directory.join(&path) }, None)
            }
            Location::Https { url } => {
                let url = url.sibling(&path)?;
                let base = Base::of_url(&url, self.forges);
                (Location::Https { url }, base)
            }
        })
    }

    fn in_repository(
        &self,
        pointer: &Pointer,
        path: Option<(&'static str, &str)>,
        url_file: Option<ForgeFile>,
        pins: &Pins,
    ) -> Result<Location, ParseError> {
        let branch = pointer.branch.as_deref().map(RefName::parse).transpose();
        let branch = branch.map_err(|error| error.in_field("ref"))?.map(Revision::Ref);
        let pinned = pins.commit.clone().map(Revision::Commit);
        let listed = pointer.metadata.as_ref().and_then(|metadata| metadata.manifest_path.as_deref());
        let listed = listed.map(|text| ("metadata.manifestPath", text));
        let mut named = None;
        for (field, text) in [path, listed].into_iter().flatten() {
            let given = DocPath::parse(text).map_err(|error| error.in_field(field))?;
            let known = url_file.as_ref().map(|file| &file.path).or(named.as_ref());
            if let Some(known) = known.filter(|known| **known != given) {
                return Err(path_conflict(known.as_text(), text).in_field(field));
            }
            named = Some(given);
        }
        if let Some(ForgeFile { repository, revision, path }) = url_file {
            let repository = Repository::Https(repository);
            return Ok(Location::Git { repository, revision: pinned.unwrap_or(revision), path });
        }
        let url = pointer.url.as_deref().unwrap_or_default();
        let repository = repository(url, self.locality).map_err(|error| error.in_field("url"))?;
        let path = named.ok_or_else(|| {
            let expected = "the path of the file in the repository, or a forge's file URL as url";
            ParseError::new("input.field", expected, "nothing").in_field("path")
        })?;
        Ok(Location::Git { repository, revision: pinned.or(branch).unwrap_or(Revision::Head), path })
    }
}

/// Returns what a row of a JSONL list takes of what it points to; other pointers may call anything `version`.
fn filter(pointer: &Pointer) -> Result<Filter, ParseError> {
    if pointer.row.as_deref() != Some("list") {
        return Ok(Filter::default());
    }
    let text = |field: &str, value: &Option<Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(ParseError::new("input.field", "a text", other.to_string()).in_field(field)),
    };
    let namespace = text("namespace", &pointer.namespace)?;
    let package = text("package", &pointer.package)?;
    let version = text("version", &pointer.version)?;
    Filter::parse(namespace.as_deref(), package.as_deref(), version.as_deref())
}

/// Returns the path that a pointer gives, and the field that holds it.
///
/// **Errors**: `input.path` when its two spellings differ.
fn written_path(pointer: &Pointer) -> Result<Option<(&'static str, &str)>, ParseError> {
    match (pointer.path.as_deref(), pointer.subpath.as_deref()) {
        (Some(path), Some(subpath)) if path != subpath => {
            Err(path_conflict(path, subpath).in_field("subpath"))
        }
        (Some(path), _) => Ok(Some(("path", path))),
        (None, subpath) => Ok(subpath.map(|text| ("subpath", text))),
    }
}

fn path_conflict(known: &str, found: &str) -> ParseError {
    ParseError::new("input.path", format!("the path that the pointer's other fields name, {known}"), found)
}

/// How a pointer's URL is read.
#[derive(Clone, Copy)]
enum Kind {
    Git,
    Https,
    File,
    /// Nothing says it: the URL does.
    Any,
}

impl Kind {
    fn of(pointer: &Pointer) -> Result<Kind, ParseError> {
        let row = pointer.row.as_deref().filter(|row| *row != "list");
        let (field, written) = match (pointer.kind.as_deref(), row) {
            (Some(kind), Some(row)) if kind != row => {
                let expected = format!("the same as type, {}", escaped(row));
                return Err(ParseError::new("input.kind", expected, kind).in_field("kind"));
            }
            (None, row) => ("type", row),
            (kind, _) => ("kind", kind),
        };
        match written {
            Some("git") => Ok(Kind::Git),
            Some("https") => Ok(Kind::Https),
            Some("file") => Ok(Kind::File),
            Some("list") | None
                if pointer.url.is_some() && (pointer.path.is_some() || pointer.subpath.is_some()) =>
            {
                Ok(Kind::Git)
            }
            Some("list") | None => Ok(Kind::Any),
            Some(other) => {
                Err(ParseError::new("input.kind", "kind git, https or file", other).in_field(field))
            }
        }
    }
}

/// Returns an https document, at the pinned commit where its URL names a branch, and the repository that its rows lie in.
fn https(
    pointer: &Pointer,
    url: HttpsUrl,
    url_file: Option<ForgeFile>,
    pins: &Pins,
    forges: &Forges,
) -> Result<(Location, Option<Base>), ParseError> {
    let source = pointer.metadata.as_ref().and_then(|metadata| metadata.source_repo.as_deref());
    let source = source.map(|text| HttpsUrl::parse(text).map(Repository::Https)).transpose();
    let source = source.map_err(|error| error.in_field("metadata.sourceRepo"))?;
    let url = match &pins.commit {
        Some(commit) => forges.at_commit(&url, commit)?,
        None => url,
    };
    let revision = pins.commit.clone().map(Revision::Commit);
    let revision = revision.or_else(|| Some(url_file.as_ref()?.revision.clone()));
    let repository = source.or(url_file.map(|file| Repository::Https(file.repository)));
    let base = repository.zip(revision).map(|(repository, revision)| Base { repository, revision });
    Ok((Location::Https { url }, base))
}

/// What a pointer promises about its document, gathered from every place where it may stand.
#[derive(Default)]
pub(super) struct Pins {
    commit: Option<CommitId>,
    digests: Vec<Digest>,
}

impl Pins {
    /// **Errors**: `input.commit`, `input.digest`; `trust.pin_conflict` when two of them disagree.
    fn of(pointer: &Pointer, url_file: Option<&ForgeFile>) -> Result<Pins, ParseError> {
        let metadata = pointer.metadata.as_ref();
        let mut pins = Pins { commit: None, digests: Vec::new() };
        let commits = [
            ("commit", pointer.commit.as_deref()),
            ("metadata.commit", metadata.and_then(|metadata| metadata.commit.as_deref())),
        ];
        for (field, text) in commits {
            let Some(text) = text else { continue };
            pins.commit(CommitId::parse(text).map_err(|error| error.in_field(field))?, field)?;
        }
        if let Some(Revision::Commit(commit)) = url_file.map(|file| &file.revision) {
            pins.commit(commit.clone(), "url")?;
        }
        let digests = [
            ("checksum", pointer.checksum.as_deref()),
            ("metadata.checksum", metadata.and_then(|metadata| metadata.checksum.as_deref())),
        ];
        for (field, text) in digests {
            let Some(text) = text else { continue };
            pins.digest(Digest::parse(text).map_err(|error| error.in_field(field))?, field)?;
        }
        Ok(pins)
    }

    fn commit(&mut self, commit: CommitId, field: &str) -> Result<(), ParseError> {
        match self.commit.get_or_insert_with(|| commit.clone()) {
            known if *known == commit => Ok(()),
            known => Err(conflict(known.as_text(), commit.as_text(), field)),
        }
    }

    fn digest(&mut self, digest: Digest, field: &str) -> Result<(), ParseError> {
        match self.digests.iter().find(|known| known.algorithm() == digest.algorithm()) {
            Some(known) if *known == digest => Ok(()),
            Some(known) => Err(conflict(&known.to_string(), &digest.to_string(), field)),
            None => {
                self.digests.push(digest);
                Ok(())
            }
        }
    }
}

fn conflict(known: &str, found: &str, field: &str) -> ParseError {
    let expected = format!("pins that agree, {known} as in the pointer's other pins");
    ParseError::new("trust.pin_conflict", expected, found).in_field(field)
}

impl Names {
    /// Gives an entry its id, once.
    ///
    /// **Errors**: `input.source_id`; `catalogue.duplicate` for an id that an entry before it has.
    pub(super) fn give(&mut self, id: Option<&str>, index: usize) -> Result<SourceId, ParseError> {
        let name = match id {
            Some(id) => SourceId::parse(id).map_err(|error| error.in_field("id"))?,
            None if self.used.contains(&self.fallback) || self.above.contains(&self.fallback) => {
                SourceId::parse(&format!("{}-{index}", self.fallback))?
            }
            None => self.fallback.clone(),
        };
        if !self.used.insert(name.clone()) {
            let expected = "an id that no entry before it has";
            return Err(ParseError::new("catalogue.duplicate", expected, name.as_text()));
        }
        Ok(name)
    }
}
