//! Lists: `catalogues.json` and JSONL lists, whose entries point to catalogues and further lists.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::lcod::document::{
    CataloguesDocument, LIST_SCHEMA, ListHeader, Places, Pointer, RowType, parse,
};
use crate::dialect::lcod::place::{Base, Named, named, repository};
use crate::dialect::lcod::{NodeTask, Reading, START, Task, unknown_schema};
use crate::dialect::{Errand, Stage};
use crate::digest::Digest;
use crate::error::{ParseError, Position};
use crate::id::SourceId;
use crate::json;
use crate::model::{Place, SignatureClaim};
use crate::path::DocPath;
use crate::pointer::{CommitId, ForgeFile, HttpsUrl, Location, RefName, Repository, Revision, Want};

/// The priority of a catalogue whose pointer gives none.
const PRIORITY_DEFAULT: i64 = 100;

/// The ids that a list has given out.
struct Names {
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
        let document: CataloguesDocument<&RawValue> = parse(text, START)?;
        self.named(document.id.as_deref());
        let mut names = self.names();
        let mut places = Places::new(text);
        for (index, entry) in document.catalogues.into_iter().enumerate() {
            let at = places.of(entry.get());
            self.pointer(entry.get(), at, index, &format!("catalogues[{index}]"), &mut names)?;
        }
        Ok(())
    }

    /// Reads `lcod-manifest/list@1`: each line is a document of its own, and a bad line spoils only itself.
    pub(super) fn lines(&mut self, header: &ListHeader, bytes: &[u8]) -> Result<(), ParseError> {
        if header.schema.as_deref() != Some(LIST_SCHEMA) {
            let found =
                header.schema.as_deref().unwrap_or("JSON lines without a header line that names a schema");
            return Err(unknown_schema(Some(found)));
        }
        self.named(header.id.as_deref());
        let mut names = self.names();
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let rows = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).skip(1);
        for (index, (number, line)) in rows.enumerate() {
            let entry = format!("line {}", number + 1);
            let start = Position { line: number + 1, column: 1 };
            match json::check(line) {
                Ok(text) => self.line(text, start, index, &entry, &mut names)?,
                Err(error) => {
                    let column = error.position.map_or(1, |at| at.column);
                    let error = ParseError { position: Some(Position { column, ..start }), ..error };
                    self.skip(&entry, error)?;
                }
            }
        }
        Ok(())
    }

    fn line(
        &mut self,
        text: &str,
        start: Position,
        index: usize,
        entry: &str,
        names: &mut Names,
    ) -> Result<(), ParseError> {
        let row: RowType = match parse(text, start) {
            Ok(row) => row,
            Err(error) => return self.skip(entry, error),
        };
        // Early bundles name the row's type `kind`; a pointer's `kind` says how its URL is read.
        let word = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let written = word(&row.row).or_else(|| word(&row.kind));
        match written.as_deref() {
            Some("component") => self.component_row(text, start, entry),
            Some("list" | "git" | "https" | "file") => self.pointer(text, start, index, entry, names),
            Some("manifest") => {
                let error =
                    ParseError::new("input.row_type", "one header, in the first line", "another header");
                self.skip(entry, error.at(start))
            }
            other => {
                let found = other.unwrap_or("no type");
                let error = ParseError::new("input.row_type", "a row of type list or component", found);
                let id = word(&row.id).unwrap_or_default();
                self.skip(if id.is_empty() { entry } else { &id }, error.in_field(entry).at(start))
            }
        }
    }

    fn names(&self) -> Names {
        let own = self.finding.named.clone();
        let above = self.node.via.iter().chain([&self.node.id]).map(|id| id.name.clone()).collect();
        Names { fallback: own.unwrap_or_else(|| self.node.id.name.clone()), above, used: HashSet::new() }
    }

    fn pointer(
        &mut self,
        text: &str,
        at: Position,
        index: usize,
        entry: &str,
        names: &mut Names,
    ) -> Result<(), ParseError> {
        let pointer: Pointer = match parse(text, at) {
            Ok(pointer) => pointer,
            Err(error) => return self.skip(entry, error.in_field(entry)),
        };
        let called = pointer.id.clone().unwrap_or_else(|| entry.to_owned());
        match self.errand(&pointer, index, names) {
            Ok(errand) => self.finding.errands.push(errand),
            Err(error) => self.skip(&called, error.in_field(entry).at(at))?,
        }
        Ok(())
    }

    fn errand(&self, pointer: &Pointer, index: usize, names: &mut Names) -> Result<Errand, ParseError> {
        let url_file = pointer.url.as_deref().and_then(|url| ForgeFile::parse(&HttpsUrl::parse(url).ok()?));
        let pins = Pins::of(pointer, url_file.as_ref())?;
        let (location, base) = self.target(pointer, url_file, &pins)?;
        let name = names.give(pointer.id.as_deref(), index)?;
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        let place = Place { priority: pointer.priority.unwrap_or(PRIORITY_DEFAULT), position };
        let signature = (pointer.public_key.is_some() || pointer.signature.is_some()).then(|| {
            SignatureClaim { public_key: pointer.public_key.clone(), signature: pointer.signature.clone() }
        });
        Ok(Errand {
            want: Want::Blob(location),
            digests: pins.digests,
            size: None,
            signature,
            stage: Stage::Node(self.node.child(name, place)),
            task: crate::dialect::Task::Lcod(Box::new(Task::Node(NodeTask { base }))),
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
        let path = pointer.path.as_deref().or(pointer.subpath.as_deref());
        let text = pointer.url.as_deref().or(path).ok_or_else(|| {
            ParseError::new("input.field", "the url or path of a catalogue or list", "neither")
        })?;
        match (kind, named(text, self.locality)) {
            (Kind::Git, Ok(Named::Relative(_))) if pointer.url.is_none() => Ok(self.beside(text, pins)?),
            (Kind::Git, _) => Ok((self.in_repository(pointer, path, url_file, pins)?, None)),
            (_, Ok(Named::Relative(_))) => self.beside(text, pins),
            (Kind::Https | Kind::Any, Ok(Named::Https(url))) => https(pointer, url, url_file, pins),
            (Kind::File | Kind::Any, Ok(Named::Local(path))) => Ok((Location::File { path }, None)),
            (Kind::File, Ok(Named::Https(_))) => {
                Err(ParseError::new("input.url_scheme", "a path, since the kind is file", text))
            }
            (Kind::Https, Ok(Named::Local(_))) => {
                Err(ParseError::new("input.url_scheme", "an https:// URL, since the kind is https", text))
            }
            (_, Err(error)) => Err(error),
        }
    }

    /// Returns the file at a relative path: in the same tree at the same commit, or below the list's own directory.
    fn beside(&self, text: &str, pins: &Pins) -> Result<(Location, Option<Base>), ParseError> {
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
                let base = Base::of_url(&url);
                (Location::Https { url }, base)
            }
        })
    }

    fn in_repository(
        &self,
        pointer: &Pointer,
        path: Option<&str>,
        url_file: Option<ForgeFile>,
        pins: &Pins,
    ) -> Result<Location, ParseError> {
        let branch = pointer.branch.as_deref().map(RefName::parse).transpose()?.map(Revision::Ref);
        let pinned = pins.commit.clone().map(Revision::Commit);
        if let Some(file) = url_file {
            let given = path.map(DocPath::parse).transpose()?;
            if given.as_ref().is_some_and(|given| *given != file.path) {
                return Err(ParseError::new(
                    "input.path",
                    format!("the path that the URL names, {}", file.path),
                    path.unwrap_or_default(),
                ));
            }
            let repository = Repository::Https(file.repository);
            return Ok(Location::Git {
                repository,
                revision: pinned.unwrap_or(file.revision),
                path: file.path,
            });
        }
        let url = pointer.url.as_deref().unwrap_or_default();
        let repository = repository(url, self.locality)?;
        let listed = pointer.metadata.as_ref().and_then(|metadata| metadata.manifest_path.as_deref());
        let path = path.or(listed).ok_or_else(|| {
            ParseError::new(
                "input.field",
                "the path of the file in the repository, or a forge's file URL",
                url,
            )
        })?;
        Ok(Location::Git {
            repository,
            revision: pinned.or(branch).unwrap_or(Revision::Head),
            path: DocPath::parse(path)?,
        })
    }
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
        let written = pointer.kind.as_deref().or(pointer.row.as_deref().filter(|row| *row != "list"));
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
            Some(other) => Err(ParseError::new("input.kind", "kind git, https or file", other)),
        }
    }
}

/// Returns an https document, at the pinned commit where its URL names a branch, and the repository that its rows lie in.
fn https(
    pointer: &Pointer,
    url: HttpsUrl,
    url_file: Option<ForgeFile>,
    pins: &Pins,
) -> Result<(Location, Option<Base>), ParseError> {
    let source = pointer.metadata.as_ref().and_then(|metadata| metadata.source_repo.as_deref());
    let source = source.map(|text| HttpsUrl::parse(text).map(Repository::Https)).transpose();
    let source = source.map_err(|error| error.in_field("metadata.sourceRepo"))?;
    let url = match (&url_file, &pins.commit) {
        (Some(file), Some(commit)) => at_commit(&url, file, commit)?,
        _ => url,
    };
    let revision = pins.commit.clone().map(Revision::Commit);
    let revision = revision.or_else(|| Some(url_file.as_ref()?.revision.clone()));
    let repository = source.or(url_file.map(|file| Repository::Https(file.repository)));
    let base = repository.zip(revision).map(|(repository, revision)| Base { repository, revision });
    Ok((Location::Https { url }, base))
}

/// Replaces the branch or tag in a forge's file URL by a commit.
fn at_commit(url: &HttpsUrl, file: &ForgeFile, commit: &CommitId) -> Result<HttpsUrl, ParseError> {
    let Revision::Ref(name) = &file.revision else { return Ok(url.clone()) };
    let whole = url.as_text();
    let (address, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
    let Some(start) = address.strip_suffix(&format!("/{name}/{}", file.path)) else {
        return Err(ParseError::new("input.url", "a URL in which the commit can replace the branch", whole));
    };
    let start = ["/raw/branch", "/raw/tag"]
        .iter()
        .find_map(|form| start.strip_suffix(form))
        .map_or_else(|| start.to_owned(), |project| format!("{project}/raw/commit"));
    HttpsUrl::parse(&format!("{start}/{commit}/{}{query}", file.path))
}

/// What a pointer promises about its document, gathered from every place where it may stand.
struct Pins {
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
    fn give(&mut self, id: Option<&str>, index: usize) -> Result<SourceId, ParseError> {
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
