//! Reads locks: TOML in either form, every value with its place, then the lock as a whole. Never guesses what is missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::error::{ParseError, Position, escaped};
use crate::id::{CatalogueId, ComponentId, Reference, SourceId, parse_release_id};
use crate::lockfile::document::{LcpDependency, LcpDocument, LcpTable, LockDocument, LockedTable};
use crate::lockfile::{
    Calls, Edge, FOLLOW, Flaw, Form, LCP_RESOLVER, LCP_SCHEMA_VERSION, LOCK_BYTES_MAX, LOCK_SCHEMA, Lock,
    Locked, LockedFile, NATIVE, Project, RequiredBy, To,
};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, Repository, SshUrl};
use crate::policy::document::At;
use crate::version::{Grammar, Version, VersionReq};

/// Reads a lock in either form.
pub(super) fn read(bytes: &[u8]) -> Result<(Lock, Form), ParseError> {
    if bytes.len() > LOCK_BYTES_MAX {
        let expected = format!("a lock of at most {LOCK_BYTES_MAX} bytes");
        return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = Position::of(bytes, error.valid_up_to());
        ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
    })?;
    let table: toml::Table = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    let reader = Reader { text };
    match (table.contains_key("schema"), table.contains_key("schemaVersion")) {
        (true, _) => Ok((reader.ours()?, Form::Resolverd)),
        (false, true) => Ok((reader.lcp(&table)?, Form::Lcp)),
        (false, false) => {
            let expected = format!("schema = \"{LOCK_SCHEMA}\" or schemaVersion = \"{LCP_SCHEMA_VERSION}\"");
            Err(ParseError::new("input.schema", expected, "neither").at(Position::of(bytes, 0)))
        }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> ParseError {
    let at = error.span().map_or(text.len(), |span| span.start);
    let (found, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), "a lock"));
    ParseError::new("input.toml", escaped(expected), found).at(Position::of(text.as_bytes(), at))
}

/// Reads the values of one text.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// Reads a value, whose faults stand in `field` and where it stands.
    fn value<T>(
        &self,
        at: &At<String>,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        parse(at.value()).map_err(|error| self.placed(error.in_field(field), at))
    }

    fn maybe<T>(
        &self,
        at: Option<&At<String>>,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        at.map(|at| self.value(at, field, parse)).transpose()
    }

    fn all<T>(
        &self,
        all: &[At<String>],
        field: &str,
        parse: impl Fn(&str) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let read = |(index, at)| self.value(at, &format!("{field}[{index}]"), &parse);
        all.iter().enumerate().map(read).collect()
    }

    fn placed<T>(&self, error: ParseError, at: &At<T>) -> ParseError {
        error.at(Position::of(self.text.as_bytes(), at.offset()))
    }

    fn exactly(
        &self,
        at: &At<String>,
        field: &str,
        expected: &str,
        reason: &'static str,
    ) -> Result<(), ParseError> {
        self.value(at, field, |found| match found == expected {
            true => Ok(()),
            false => Err(ParseError::new(reason, expected, found)),
        })
    }

    /// Makes the lock; what is wrong with it as a whole has the place of the block that it is about. `blocks` are the ids as
    /// written, and where they stand.
    fn whole(
        &self,
        project: Option<Project>,
        roots: Vec<Edge>,
        components: Vec<Locked>,
        blocks: &[(&str, usize)],
    ) -> Result<Lock, ParseError> {
        Lock::of(project, roots, components).map_err(|Flaw { error, about }| {
            let is_about = |written: &str| {
                let bare =
                    parse_release_id(written).map(|(id, _)| id).or_else(|_| ComponentId::parse(written));
                about.as_ref().is_some_and(|about| bare.is_ok_and(|id| id == *about))
            };
            let place = blocks.iter().rposition(|(written, _)| is_about(written)).unwrap_or(0);
            let error = error.in_field(format!("components[{place}]"));
            match blocks.get(place) {
                Some((_, offset)) => error.at(Position::of(self.text.as_bytes(), *offset)),
                None => error,
            }
        })
    }

    fn ours(&self) -> Result<Lock, ParseError> {
        let document: LockDocument = toml::from_str(self.text).map_err(|error| syntax(self.text, &error))?;
        self.exactly(&document.schema, "schema", LOCK_SCHEMA, "input.schema")?;
        let mut roots: Vec<Edge> = self.all(&document.natives, "natives", native)?;
        let mut components = Vec::with_capacity(document.components.len());
        for (index, at) in document.components.iter().enumerate() {
            let within = |error: ParseError| self.placed(error.in_field(format!("components[{index}]")), at);
            components.push(self.component(at.value(), &mut roots).map_err(within)?);
        }
        let blocks = document.components.iter().map(|at| (at.value().id.value().as_str(), at.offset()));
        let lock = self.whole(None, roots, components, &blocks.collect::<Vec<_>>())?;
        let tables = document.components.iter().map(|at| (&at.value().id, &at.value().called));
        let lock = self.with_calls(lock, document.calls.as_ref(), &document.called, tables)?;
        let required_by = lock.required_by();
        for (index, at) in document.components.iter().enumerate() {
            let table = at.value();
            let within = |error: ParseError| self.placed(error.in_field(format!("components[{index}]")), at);
            self.dependents(&required_by, &table.id, &table.required_by).map_err(within)?;
        }
        Ok(lock)
    }

    /// Notes what is in a lock because it is called.
    fn with_calls<'t>(
        &self,
        lock: Lock,
        calls: Option<&At<String>>,
        own: &'t [At<String>],
        tables: impl Iterator<Item = (&'t At<String>, &'t Vec<At<String>>)>,
    ) -> Result<Lock, ParseError> {
        let mut called = Calls { project: self.called(own)?, releases: BTreeMap::new() };
        let mut first = own.first();
        for (id, list) in tables {
            first = first.or(list.first());
            let id = self.value(id, "id", |text| {
                parse_release_id(text).map(|(id, _)| id).or_else(|_| ComponentId::parse(text))
            })?;
            let list = self.called(list)?;
            if !list.is_empty() {
                called.releases.insert(id, list);
            }
        }
        let Some(calls) = calls else {
            return match first {
                None => Ok(lock),
                Some(first) => {
                    let expected = format!("calls = \"{FOLLOW}\" where something is called");
                    let error = ParseError::new("lock.inconsistent", expected, first.value());
                    Err(self.placed(error.in_field("called"), first))
                }
            };
        };
        self.exactly(calls, "calls", FOLLOW, "input.field")?;
        lock.with_calls(called).map_err(|error| match first {
            Some(first) => self.placed(error, first),
            None => error,
        })
    }

    fn called(&self, list: &[At<String>]) -> Result<BTreeSet<String>, ParseError> {
        Ok(self.all(list, "called", Reference::parse)?.iter().map(ToString::to_string).collect())
    }

    fn component(&self, table: &LockedTable, roots: &mut Vec<Edge>) -> Result<Locked, ParseError> {
        let id = self.value(&table.id, "id", ComponentId::parse)?;
        for wanted in self.all(&table.requested, "requested", Reference::parse)? {
            roots.push(Edge { wanted, to: To::Component(id.clone()) });
        }
        Ok(Locked {
            version: self.value(&table.version, "version", Version::parse)?,
            owner: CatalogueId {
                source: self.value(&table.source, "source", SourceId::parse)?,
                name: self.value(&table.catalogue, "catalogue", SourceId::parse)?,
            },
            repository: self.maybe(table.repository.as_ref(), "repository", repository)?,
            commit: self.maybe(table.commit.as_ref(), "commit", CommitId::parse)?,
            path: self.maybe(table.path.as_ref(), "path", DocPath::parse)?,
            manifest: self.maybe(table.manifest.as_ref(), "manifest", Digest::parse)?,
            archive: self.all(&table.archive, "archive", Digest::parse)?,
            files: self.all(&table.files, "files", file)?,
            dependencies: self.all(&table.dependencies, "dependencies", edge)?,
            id,
        })
    }

    /// Compares who requires a component with what its block says.
    fn dependents(
        &self,
        required_by: &RequiredBy<'_>,
        id: &At<String>,
        written: &[At<String>],
    ) -> Result<(), ParseError> {
        let id = self.value(id, "id", |text| {
            parse_release_id(text).map(|(id, _)| id).or_else(|_| ComponentId::parse(text))
        })?;
        let said: BTreeSet<&str> = written.iter().map(|at| at.value().as_str()).collect();
        let found: BTreeSet<&str> =
            required_by.get(&id).into_iter().flatten().map(|one| one.as_text()).collect();
        match said.symmetric_difference(&found).next() {
            None => Ok(()),
            Some(_) => {
                let expected = match found.is_empty() {
                    true => "nothing: no other block requires it".to_owned(),
                    false => found.into_iter().collect::<Vec<_>>().join(", "),
                };
                let said = said.into_iter().collect::<Vec<_>>().join(", ");
                Err(ParseError::new("lock.inconsistent", expected, said).in_field("requiredBy"))
            }
        }
    }

    fn lcp(&self, table: &toml::Table) -> Result<Lock, ParseError> {
        let resolver = table.get("resolverVersion").and_then(toml::Value::as_str).unwrap_or_default();
        if resolver != LCP_RESOLVER {
            let expected = format!("an lcp.lock with resolverVersion = \"{LCP_RESOLVER}\"");
            return Err(ParseError::new("lock.foreign", expected, resolver).in_field("resolverVersion"));
        }
        let document: LcpDocument = toml::from_str(self.text).map_err(|error| syntax(self.text, &error))?;
        self.exactly(&document.schema_version, "schemaVersion", LCP_SCHEMA_VERSION, "input.schema")?;
        if let Some(resolver) = &document.resolver_version {
            self.exactly(resolver, "resolverVersion", LCP_RESOLVER, "lock.foreign")?;
        }
        let missing = || ParseError::new("lock.project", "the block of the project first", "none");
        let project = document.project_id.as_ref().ok_or_else(|| missing().in_field("projectId"))?;
        let (id, version) = self.value(project, "projectId", parse_release_id)?;
        let (first, rest) =
            document.components.split_first().ok_or_else(|| missing().in_field("components"))?;
        let own = first.value();
        self.exactly(&own.id, "components[0].id", project.value(), "lock.project")?;
        self.exactly(&own.resolved, "components[0].resolved", project.value(), "lock.project")?;
        self.exactly(&own.source.kind, "components[0].source.type", "path", "lock.project")?;
        if let Some(path) = &own.source.path {
            self.exactly(path, "components[0].source.path", ".", "lock.host_path")?;
        }
        let roots = self.edges(&own.dependencies).map_err(|error| error.in_field("components[0]"))?;
        let mut components = Vec::with_capacity(rest.len());
        for (index, at) in rest.iter().enumerate() {
            let within =
                |error: ParseError| self.placed(error.in_field(format!("components[{}]", index + 1)), at);
            components.push(self.lcp_component(at.value()).map_err(within)?);
        }
        let blocks = document.components.iter().map(|at| (at.value().id.value().as_str(), at.offset()));
        let project = Some(Project { id, version });
        let lock = self.whole(project, roots, components, &blocks.collect::<Vec<_>>())?;
        let tables = rest.iter().map(|at| (&at.value().id, &at.value().source.called));
        let lock = self.with_calls(lock, own.source.calls.as_ref(), &own.source.called, tables)?;
        if let Some(strange) = rest.iter().find_map(|at| at.value().source.calls.as_ref()) {
            let error =
                ParseError::new("lock.inconsistent", "calls in the project's block alone", strange.value());
            return Err(self.placed(error.in_field("source.calls"), strange));
        }
        let required_by = lock.required_by();
        for (index, at) in document.components.iter().enumerate() {
            let within = |error: ParseError| self.placed(error.in_field(format!("components[{index}]")), at);
            self.lcp_agrees(&lock, at.value(), Some(&required_by).filter(|_| index > 0)).map_err(within)?;
        }
        Ok(lock)
    }

    fn lcp_component(&self, table: &LcpTable) -> Result<Locked, ParseError> {
        let (id, version) = self.value(&table.id, "id", parse_release_id)?;
        self.exactly(&table.resolved, "resolved", table.id.value(), "lock.inconsistent")?;
        let source = &table.source;
        let named = |at: Option<&At<String>>, field: &str| {
            let missing = || ParseError::new("input.field", "a text", "nothing").in_field(field);
            self.value(at.ok_or_else(missing)?, field, SourceId::parse)
        };
        let commit = self.maybe(source.rev.as_ref(), "source.rev", CommitId::parse)?;
        let kind = if commit.is_some() { "git" } else { "registry" };
        self.exactly(&source.kind, "source.type", kind, "lock.inconsistent")?;
        if let Some(path) = &source.path {
            let error = ParseError::new("lock.host_path", "no path of a machine", path.value());
            return Err(self.placed(error.in_field("source.path"), path));
        }
        let locked = Locked {
            id,
            version,
            owner: CatalogueId {
                source: named(source.name.as_ref(), "source.name")?,
                name: named(source.catalogue.as_ref(), "source.catalogue")?,
            },
            repository: self.maybe(source.url.as_ref(), "source.url", repository)?,
            commit,
            path: self.maybe(source.subdir.as_ref(), "source.subdir", DocPath::parse)?,
            manifest: self.maybe(source.manifest.as_ref(), "source.manifest", Digest::parse)?,
            archive: self.all(&source.archive, "source.archive", Digest::parse)?,
            files: self.all(&source.files, "source.files", file)?,
            dependencies: self.edges(&table.dependencies)?,
        };
        let integrity = self.maybe(table.integrity.as_ref(), "integrity", Digest::parse)?;
        if integrity.as_ref() != locked.integrity() {
            let expected = locked.integrity().map_or_else(|| "none".to_owned(), ToString::to_string);
            let found = integrity.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            return Err(ParseError::new("lock.inconsistent", expected, found).in_field("integrity"));
        }
        Ok(locked)
    }

    fn edges(&self, all: &[At<LcpDependency>]) -> Result<Vec<Edge>, ParseError> {
        let read = |(index, at): (usize, &At<LcpDependency>)| {
            let within =
                |error: ParseError| self.placed(error.in_field(format!("dependencies[{index}]")), at);
            self.lcp_edge(at.value()).map_err(within)
        };
        all.iter().enumerate().map(read).collect()
    }

    fn lcp_edge(&self, table: &LcpDependency) -> Result<Edge, ParseError> {
        let wanted = self.value(&table.id, "id", Reference::parse)?;
        let requested = self.maybe(table.requested.as_ref(), "requested", |text| {
            VersionReq::parse(text, Grammar::Reference)
        })?;
        if requested.unwrap_or_else(VersionReq::any) != wanted.requirement {
            let found = table.requested.as_ref().map_or("nothing", |at| at.value());
            let expected = wanted.requirement.to_string();
            return Err(ParseError::new("lock.inconsistent", expected, found).in_field("requested"));
        }
        let to = match (&table.resolved, &table.source) {
            (Some(resolved), None) => To::Component(self.value(resolved, "resolved", parse_release_id)?.0),
            (None, Some(source)) => {
                self.exactly(&source.kind, "source.type", NATIVE, "lock.inconsistent")?;
                match self.maybe(source.name.as_ref(), "source.name", Reference::parse)? {
                    None => To::Native,
                    Some(instead) => To::Hosted(instead),
                }
            }
            _ => {
                let expected = "either what it is resolved to or a source of type native";
                return Err(ParseError::new("input.field", expected, table.id.value()).in_field("resolved"));
            }
        };
        Ok(Edge { wanted, to })
    }

    /// Compares what a block of `lcp.lock` repeats with the blocks that decide it.
    fn lcp_agrees(
        &self,
        lock: &Lock,
        table: &LcpTable,
        required_by: Option<&RequiredBy<'_>>,
    ) -> Result<(), ParseError> {
        if let Some(required_by) = required_by {
            self.dependents(required_by, &table.id, &table.source.required_by)
                .map_err(|error| error.in_field("source"))?;
        }
        for (index, at) in table.dependencies.iter().enumerate() {
            let Some(resolved) = &at.value().resolved else { continue };
            let (id, _) = self.value(resolved, "resolved", parse_release_id)?;
            let expected = lock.component(&id).map(Locked::full).unwrap_or_default();
            let field = format!("dependencies[{index}].resolved");
            self.exactly(resolved, &field, &expected, "lock.inconsistent")?;
        }
        Ok(())
    }
}

/// Reads a repository that every machine can name.
fn repository(text: &str) -> Result<Repository, ParseError> {
    if text.starts_with("file:") || text.starts_with('/') {
        return Err(ParseError::new("lock.host_path", "no path of a machine", text));
    }
    match text.starts_with("ssh:") {
        true => SshUrl::parse(text).map(Repository::Ssh),
        false => HttpsUrl::parse(text).map(Repository::Https),
    }
}

fn file(text: &str) -> Result<LockedFile, ParseError> {
    let missing =
        || ParseError::new("input.field", "a digest and a path, such as sha256:… compose.yaml", text);
    let (digest, path) = text.split_once(' ').ok_or_else(missing)?;
    Ok(LockedFile { path: DocPath::parse(path)?, digest: Digest::parse(digest)? })
}

/// Reads what a project asks for and the host answers.
fn native(text: &str) -> Result<Edge, ParseError> {
    let Some((wanted, instead)) = text.split_once(" -> ") else {
        return Ok(Edge { wanted: Reference::parse(text)?, to: To::Native });
    };
    Ok(Edge { wanted: Reference::parse(wanted)?, to: To::Hosted(Reference::parse(instead)?) })
}

fn edge(text: &str) -> Result<Edge, ParseError> {
    let (wanted, to) = text.split_once(" -> ").unwrap_or((text, ""));
    let wanted = Reference::parse(wanted)?;
    let to = match (to, to.split_once(' ')) {
        ("", _) => To::Component(wanted.id.clone()),
        (NATIVE, _) => To::Native,
        (_, Some((NATIVE, instead))) => To::Hosted(Reference::parse(instead)?),
        (other, _) => To::Component(ComponentId::parse(other)?),
    };
    Ok(Edge { wanted, to })
}
