//! A project's own files: `lcp.toml` as the list of what it requires, and `resolve.config.json` as what it overrides.
//!
//! # `resolve.config.json`
//! ```json
//! {
//!   "replace":   {"lcod://impl/net/fetch@1": "lcod://org/fetch@1"},
//!   "bindings":  {"lcod://contract/net/http-client@1": "lcod://impl/net/fetch@1.2.0"},
//!   "allowlist": ["lcod://acme/", "lcod://contract/*", "lcod://tooling/script"],
//!   "sources":   {"lcod://demo/local@1": {"type": "path", "path": "../local"}},
//!   "mirrors":   {"https://registry.example": "https://mirror.example"},
//!   "registry":  {"sources": [{"id": "acme"}]}
//! }
//! ```
//! What is named is values, never places: a daemon reads no file of a project. So a source of type `path` becomes something that
//! the project implements itself, with a warning; one of type `git` or `http` is an error, since another component than the one
//! that is asked for would be locked; `registry` sources say which of the daemon's own sources may answer; and `mirrors` are
//! where files come from, which is the daemon's to say. `replace` takes a table with `type` as `sources` does. Fields that nobody
//! knows are warned of. A version in the name of what is replaced or bound changes nothing, since one version of each id is used;
//! so two entries for one id are an error.
//!
//! Never opens a file, never chooses a version.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::lcod::descriptor::{self, Own};
use crate::error::{ParseError, escaped};
use crate::id::{ComponentId, Reference, SourceId};
use crate::json;
use crate::lockfile::Project;
use crate::model::Warning;
use crate::version::Version;

/// The largest `resolve.config.json` in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// How many entries one field of it may have.
pub const ENTRIES_MAX: usize = 10_000;

/// What an `lcp.toml` says of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectFile {
    /// The project; `None` where it has no id or no version.
    pub project: Option<Project>,
    /// What it requires, in the order of the file.
    pub requires: Vec<Reference>,
}

impl ProjectFile {
    /// Reads an `lcp.toml` in schema version 1.0 or 2.0. Of a project every requirement counts, so that one which cannot be read
    /// is an error.
    ///
    /// **Errors**: `limit.document_bytes`, `input.encoding`, `input.toml`, `input.schema`, `input.id`, `input.version`,
    /// `input.requirement`, `input.field`.
    pub fn parse(bytes: &[u8]) -> Result<ProjectFile, ParseError> {
        let Own { id, version, requires } = descriptor::project(bytes)?;
        let project = match (id.as_deref(), version.as_deref()) {
            (Some(id), version) => named(id, version)?,
            (None, _) => None,
        };
        Ok(ProjectFile { project, requires })
    }
}

/// Reads `id@version`, or an id with the version beside it.
fn named(id: &str, version: Option<&str>) -> Result<Option<Project>, ParseError> {
    let (id, version) = match (id.rsplit_once('@'), version) {
        (Some((id, version)), _) => (id, version),
        (None, Some(version)) => (id, version),
        (None, None) => return Ok(None),
    };
    Ok(Some(Project {
        id: ComponentId::parse(id).map_err(|error| error.in_field("id"))?,
        version: Version::parse(version).map_err(|error| error.in_field("version"))?,
    }))
}

/// What a project overrides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// What is used instead of what is required.
    pub replace: Vec<(Reference, Reference)>,
    /// Which component implements a contract.
    pub bindings: Vec<(Reference, Reference)>,
    /// What may be used: ids, `prefix/`, `prefix*`; everything where it is empty.
    pub allowlist: Vec<String>,
    /// Which sources may answer; all where it is `None`.
    pub sources: Option<Vec<SourceId>>,
    /// What the project implements itself.
    pub natives: Vec<Reference>,
    /// What was understood and is not done.
    pub warnings: Vec<Warning>,
}

/// The fields of an object, each still text.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl Overrides {
    /// Reads a `resolve.config.json`.
    ///
    /// **Errors**: `limit.document_bytes`, `input.*` of JSON and of the values, `project.unsupported` (a component that comes from
    /// a place which a daemon reads nothing from).
    pub fn parse(bytes: &[u8]) -> Result<Overrides, ParseError> {
        if bytes.len() > CONFIG_BYTES_MAX {
            let expected = format!("a resolve.config.json of at most {CONFIG_BYTES_MAX} bytes");
            return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
        }
        let text = json::check(bytes)?;
        let document = json::Document::of(text);
        let fields: Fields<'_> = json::document(text)?;
        let mut overrides = Overrides::default();
        for (name, raw) in &fields {
            let read = match name.as_str() {
                "replace" => overrides.replaces(raw),
                "bindings" => overrides.binds(raw),
                "allowlist" => read::<Vec<String>>(raw).map(|list| overrides.allowlist = list),
                "sources" => overrides.comes_from(raw),
                "mirrors" => overrides.mirrors(raw),
                "registry" => overrides.registry(raw),
                // Where a kernel finds its own tools: nothing is resolved by it.
                "tooling" | "$schema" => Ok(()),
                _ => {
                    let text = format!("{} is a field that nobody here knows", escaped(name));
                    overrides.warn("project.unknown_field", text);
                    Ok(())
                }
            };
            // A value that was read on its own knows only its place in itself.
            let placed = |error: ParseError| {
                let error = json::located(ParseError { position: None, ..error }.in_field(name), text);
                document.position(raw.get()).map_or(error.clone(), |start| error.at(start))
            };
            read.map_err(placed)?;
        }
        Ok(overrides)
    }

    fn warn(&mut self, reason: &'static str, text: String) {
        self.warnings.push(Warning::new(reason, text));
    }

    fn replaces(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        for (key, value) in entries(raw)? {
            let wanted = reference(&key)?;
            match read::<String>(value) {
                Ok(text) => {
                    let by = reference(&text).map_err(|error| error.in_field(&key))?;
                    once(&self.replace, &wanted)?;
                    self.replace.push((wanted, by));
                }
                Err(_) => self.placed(wanted, value).map_err(|error| error.in_field(&key))?,
            }
        }
        Ok(())
    }

    fn binds(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        for (key, value) in entries(raw)? {
            let text: String = read(value).map_err(|error| error.in_field(&key))?;
            let (contract, by) = (reference(&key)?, reference(&text).map_err(|error| error.in_field(&key))?);
            once(&self.bindings, &contract)?;
            self.bindings.push((contract, by));
        }
        Ok(())
    }

    /// Reads where single components come from: a table by id, or an array of `{id, spec}`.
    fn comes_from(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        #[derive(Deserialize)]
        struct Row<'a> {
            #[serde(alias = "target")]
            id: String,
            #[serde(borrow)]
            spec: &'a RawValue,
        }
        if raw.get().trim_start().starts_with('[') {
            for row in read::<Vec<Row<'_>>>(raw)? {
                self.placed(reference(&row.id)?, row.spec).map_err(|error| error.in_field(&row.id))?;
            }
            return Ok(());
        }
        for (key, value) in entries(raw)? {
            self.placed(reference(&key)?, value).map_err(|error| error.in_field(&key))?;
        }
        Ok(())
    }

    /// Takes note of where one component comes from.
    fn placed(&mut self, wanted: Reference, spec: &RawValue) -> Result<(), ParseError> {
        #[derive(Deserialize)]
        struct Spec {
            #[serde(rename = "type")]
            kind: String,
        }
        match read::<Spec>(spec)?.kind.as_str() {
            "registry" => Ok(()),
            "path" | "file" => {
                let text = format!(
                    "{wanted} comes from a directory of the project: it counts as implemented by the project itself, and what it requires is not followed"
                );
                self.warn("project.path_source", text);
                self.natives.push(wanted);
                Ok(())
            }
            other => {
                let expected = "a source of type registry or path: list the component in a catalogue of a configured source instead";
                Err(ParseError::new("project.unsupported", expected, other).in_field("type"))
            }
        }
    }

    fn mirrors(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        let mirrors = entries(raw)?;
        if !mirrors.is_empty() {
            let text = format!(
                "mirrors is not used: where files come from is the daemon's to say ({} of them; add each below [[rewrite]] of config.toml)",
                mirrors.len()
            );
            self.warn("project.mirrors", text);
        }
        Ok(())
    }

    /// Reads which sources may answer.
    fn registry(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        #[derive(Deserialize)]
        struct Registry {
            #[serde(default)]
            sources: Option<Vec<Row>>,
        }
        #[derive(Deserialize)]
        struct Row {
            id: String,
            #[serde(rename = "type")]
            kind: Option<String>,
        }
        let Some(rows) = read::<Registry>(raw)?.sources else { return Ok(()) };
        let mut sources = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let id = SourceId::parse(&row.id);
            let id = id.map_err(|error| error.in_field(format!("sources[{index}].id")))?;
            if let Some(kind) = &row.kind {
                let text = format!(
                    "registry source {id} has type {}: a daemon reads only the source of this name in its own configuration",
                    escaped(kind)
                );
                self.warn("project.registry_source", text);
            }
            sources.push(id);
        }
        self.sources = Some(sources);
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, ParseError> {
    json::document(raw.get())
}

fn entries(raw: &RawValue) -> Result<Fields<'_>, ParseError> {
    let fields: Fields<'_> = read(raw)?;
    match fields.len() > ENTRIES_MAX {
        true => {
            let expected = format!("at most {ENTRIES_MAX} entries");
            Err(ParseError::new("limit.entries", expected, fields.len().to_string()))
        }
        false => Ok(fields),
    }
}

/// Refuses a second entry for one id.
fn once(known: &[(Reference, Reference)], wanted: &Reference) -> Result<(), ParseError> {
    match known.iter().find(|(other, _)| other.id == wanted.id) {
        None => Ok(()),
        Some((other, _)) => {
            let expected = format!("one entry for {}", wanted.id);
            Err(ParseError::new("project.twice", expected, format!("{other} and {wanted}")))
        }
    }
}

fn reference(text: &str) -> Result<Reference, ParseError> {
    Reference::parse(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match Overrides::parse(text.as_bytes()) {
            Ok(found) => {
                let pairs = |pairs: &[(Reference, Reference)]| {
                    pairs.iter().map(|(one, other)| format!("{one}={other} ")).collect::<String>()
                };
                let natives: String = found.natives.iter().map(|one| format!("{one} ")).collect();
                let sources = found
                    .sources
                    .as_ref()
                    .map(|all| all.iter().map(|id| format!("{id} ")).collect::<String>());
                let warnings: String = found.warnings.iter().map(|one| format!("{} ", one.reason)).collect();
                format!(
                    "replace {}bindings {}allow {} sources {} natives {natives}warnings {warnings}",
                    pairs(&found.replace),
                    pairs(&found.bindings),
                    found.allowlist.join(" "),
                    sources.unwrap_or_else(|| "all".to_owned()),
                )
            }
            Err(error) => format!("{} {} {}", error.reason, error.field, error.position.is_some()),
        };
        assert_eq!(found.trim_end(), expected, "{text}");
    }

    #[test]
    fn what_a_project_overrides_is_read() {
        check("{}", "replace bindings allow  sources all natives warnings");
        check(
            r#"{"replace": {"lcod://a/b@1": "lcod://c/d@^2"}, "bindings": {"lcod://contract/x@1": "lcod://impl/x@1.2.0"}, "allowlist": ["lcod://a/", "lcod://c*"]}"#,
            "replace lcod://a/b@1=lcod://c/d@^2 bindings lcod://contract/x@1=lcod://impl/x@1.2.0 allow lcod://a/ lcod://c* sources all natives warnings",
        );
        check(
            r#"{"sources": {"lcod://a/b@1": {"type": "path", "path": "../b"}, "lcod://a/c": {"type": "registry"}}, "tooling": {"specRoot": "x"}}"#,
            "replace bindings allow  sources all natives lcod://a/b@1 warnings project.path_source",
        );
        check(
            r#"{"sources": [{"id": "lcod://a/b@1", "spec": {"type": "path"}}, {"target": "lcod://a/c", "spec": {"type": "registry"}}]}"#,
            "replace bindings allow  sources all natives lcod://a/b@1 warnings project.path_source",
        );
        check(
            r#"{"registry": {"sources": [{"id": "acme"}, {"id": "lab", "type": "path", "path": "x"}]}, "mirrors": {"https://a": "https://b"}, "colour": 1}"#,
            "replace bindings allow  sources acme lab  natives warnings project.unknown_field project.mirrors project.registry_source",
        );
        check(
            r#"{"replace": {"lcod://a/b@1": {"type": "path", "path": "x"}}}"#,
            "replace bindings allow  sources all natives lcod://a/b@1 warnings project.path_source",
        );
    }

    #[test]
    fn what_would_lock_something_else_is_refused_with_its_place() {
        check(
            r#"{"sources": {"lcod://a/b@1": {"type": "git", "url": "https://x", "rev": "abc"}}}"#,
            "project.unsupported sources.lcod://a/b@1.type true",
        );
        check(r#"{"replace": {"a b": "lcod://c/d"}}"#, "input.id replace true");
        check(r#"{"replace": {"lcod://a/b": "c d"}}"#, "input.id replace.lcod://a/b true");
        check(r#"{"replace": {"lcod://a/b": 7}}"#, "input.field replace.lcod://a/b true");
        check(r#"{"bindings": 7}"#, "input.field bindings true");
        check(r#"{"allowlist": "lcod://a/"}"#, "input.field allowlist true");
        check(r#"{"registry": {"sources": [{"id": "A B"}]}}"#, "input.source_id registry.sources[0].id true");
        check(r#"{"replace": {}, "replace": {}}"#, "input.duplicate_key replace true");
        check(
            r#"{"bindings": {"lcod://a/b@1": "lcod://c/d", "lcod://a/b@2": "lcod://c/d"}}"#,
            "project.twice bindings true",
        );
        check("7", "input.field  true");
    }

    #[test]
    fn a_project_says_what_it_requires() {
        let check = |text: &str, expected: &str| {
            let found = match ProjectFile::parse(text.as_bytes()) {
                Ok(ProjectFile { project, requires }) => {
                    let own =
                        project.map_or("nobody".to_owned(), |one| format!("{}@{}", one.id, one.version));
                    let requires: String = requires.iter().map(|one| format!(" {one}")).collect();
                    format!("{own}:{requires}")
                }
                Err(error) => format!("{} {}", error.reason, error.field),
            };
            assert_eq!(found, expected, "{text}");
        };
        let two = "schemaVersion = \"2.0\"\nid = \"lcod://demo/app@0.1.0\"\n[deps]\nrequires = [\"lcod://a/b@1\", {id = \"lcod://c/d\", version = \"^2\"}]\n";
        check(two, "lcod://demo/app@0.1.0: lcod://a/b@1 lcod://c/d@^2");
        let one = "schemaVersion = \"1.0\"\nid = \"lcod://demo/app\"\nversion = \"0.1.0\"\nname = \"app\"\n";
        check(one, "lcod://demo/app@0.1.0:");
        check("schemaVersion = \"2.0\"\n", "nobody:");
        check("schemaVersion = \"3.0\"\n", "input.schema schemaVersion");
        check(&two.replace("lcod://a/b@1", "lcod://a/b@one"), "input.requirement deps.requires[0]");
        check(&two.replace("\"lcod://a/b@1\"", "7"), "input.field deps.requires[0]");
        check(&two.replace("0.1.0", "x"), "input.version version");
    }
}
