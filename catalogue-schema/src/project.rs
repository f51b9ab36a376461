//! A project's own files: `lcp.toml` as the list of what it requires, and `resolve.config.json` as what it overrides.
//!
//! # `resolve.config.json`
//! ```json
//! {
//!   "replace":   {"lcod://impl/net/fetch@1": "lcod://org/fetch@1"},
//!   "bindings":  {"lcod://contract/net/http-client@1": "lcod://impl/net/fetch@1.2.0"},
//!   "allowlist": ["lcod://acme/", "lcod://contract/*", "lcod://tooling/script"],
//!   "sources":   {"lcod://demo/local@1": {"type": "path", "path": "../local"},
//!                 "lcod://demo/tax": {"type": "git", "url": "https://forge.example/tax.git", "commit": "…", "path": "component"}},
//!   "mirrors":   {"https://registry.example": "https://mirror.example"},
//!   "registry":  {"sources": [{"id": "acme"}]}
//! }
//! ```
//! What is named is values, never places: a daemon reads no file of a project. So a source of type `path` becomes something that
//! the project implements itself, with a warning; one of type `git` is a direct reference, which needs the full id of a commit; one
//! of type `http` is an error, since another component than the one that is asked for would be locked; `registry` sources say which
//! of the daemon's own sources may answer; and `mirrors` say from where files are fetched for the project's own requests, never what
//! a sync reads. `replace` takes a table with `type` as `sources` does, and a direct reference as a text. Fields that nobody knows
//! are warned of. A version in the name of what is replaced or bound changes nothing, since one version of each id is used; so two
//! entries for one id are an error.
//!
//! Never opens a file, never chooses a version.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::compose::Package;
use crate::dialect::lcod::descriptor::{self, Own};
use crate::direct::{DirectReference, DirectTable, PREFIX};
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
    /// The package that it is, from which relative calls count; `None` where it has no `[workspace]` table or no id.
    pub package: Option<Package>,
    /// What the first segment of a relative call stands for in its workspace; `None` where it has no `[workspace]` table.
    pub aliases: Option<BTreeMap<String, String>>,
    /// What kind of component it is, as written.
    pub kind: Option<String>,
    /// Which contracts it says it implements, sorted by id, each once.
    pub implements: Vec<Reference>,
    /// What could not be read and does not count.
    pub warnings: Vec<Warning>,
}

impl ProjectFile {
    /// Reads an `lcp.toml` in schema version 1.0 or 2.0. Of a project every requirement counts, so that one which cannot be read
    /// is an error.
    ///
    /// **Errors**: `limit.document_bytes`, `input.encoding`, `input.toml`, `input.schema`, `input.id`, `input.version`,
    /// `input.requirement`, `input.field`.
    pub fn parse(bytes: &[u8]) -> Result<ProjectFile, ParseError> {
        let Own { id, version, requires, aliases, kind, implements, warnings } = descriptor::project(bytes)?;
        let project = match (id.as_deref(), version.as_deref()) {
            (Some(id), version) => named(id, version)?,
            (None, _) => None,
        };
        let package = project.as_ref().zip(aliases.clone()).map(|(project, aliases)| Package {
            base: project.id.clone(),
            version: project.version.clone(),
            aliases,
        });
        Ok(ProjectFile { project, requires, package, aliases, kind, implements, warnings })
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
    /// Which directory of a commit is used instead of what is required.
    pub replaced: Vec<(Reference, DirectReference)>,
    /// From which directory of a commit a component comes.
    pub direct: Vec<(Reference, DirectReference)>,
    /// Where files are fetched from instead: the start of an address, and what it becomes.
    pub mirrors: Vec<(String, String)>,
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
        let mut seen = Seen::new();
        for (key, value) in entries(raw)? {
            let wanted = reference(&key)?;
            match read::<String>(value) {
                Ok(text) if text.starts_with(PREFIX) => {
                    let direct = DirectReference::parse(&text).map_err(|error| error.in_field(&key))?;
                    once(&mut seen, &wanted)?;
                    self.replaced.push((wanted, direct));
                }
                Ok(text) => {
                    let by = reference(&text).map_err(|error| error.in_field(&key))?;
                    once(&mut seen, &wanted)?;
                    self.replace.push((wanted, by));
                }
                Err(_) => {
                    let direct = self.placed(wanted.clone(), value).map_err(|error| error.in_field(&key))?;
                    if let Some(direct) = direct {
                        once(&mut seen, &wanted)?;
                        self.replaced.push((wanted, direct));
                    }
                }
            }
        }
        Ok(())
    }

    fn comes_directly(
        &mut self,
        seen: &mut Seen,
        wanted: Reference,
        direct: Option<DirectReference>,
    ) -> Result<(), ParseError> {
        let Some(direct) = direct else { return Ok(()) };
        once(seen, &wanted)?;
        self.direct.push((wanted, direct));
        Ok(())
    }

    fn binds(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        let mut seen = Seen::new();
        for (key, value) in entries(raw)? {
            let text: String = read(value).map_err(|error| error.in_field(&key))?;
            let (contract, by) = (reference(&key)?, reference(&text).map_err(|error| error.in_field(&key))?);
            once(&mut seen, &contract)?;
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
        let mut seen = Seen::new();
        if raw.get().trim_start().starts_with('[') {
            for row in read::<Vec<Row<'_>>>(raw)? {
                let wanted = reference(&row.id)?;
                let direct =
                    self.placed(wanted.clone(), row.spec).map_err(|error| error.in_field(&row.id))?;
                self.comes_directly(&mut seen, wanted, direct)?;
            }
            return Ok(());
        }
        for (key, value) in entries(raw)? {
            let wanted = reference(&key)?;
            let direct = self.placed(wanted.clone(), value).map_err(|error| error.in_field(&key))?;
            self.comes_directly(&mut seen, wanted, direct)?;
        }
        Ok(())
    }

    /// Takes note of where one component comes from, or returns the directory of a commit that it is.
    fn placed(&mut self, wanted: Reference, spec: &RawValue) -> Result<Option<DirectReference>, ParseError> {
        #[derive(Deserialize)]
        struct Spec {
            #[serde(rename = "type")]
            kind: String,
        }
        match read::<Spec>(spec)?.kind.as_str() {
            "registry" => Ok(None),
            "git" => read::<DirectTable>(spec)?.reference().map(Some),
            "path" | "file" => {
                let text = format!(
                    "{wanted} comes from a directory of the project: it counts as implemented by the project itself, and what it requires is not followed"
                );
                self.warn("project.path_source", text);
                self.natives.push(wanted);
                Ok(None)
            }
            other => {
                let expected = "a source of type registry, path or git: list the component in a catalogue of a configured source instead";
                Err(ParseError::new("project.unsupported", expected, other).in_field("type"))
            }
        }
    }

    fn mirrors(&mut self, raw: &RawValue) -> Result<(), ParseError> {
        for (from, to) in entries(raw)? {
            let to: String = read(to).map_err(|error| error.in_field(&from))?;
            self.mirrors.push((from, to));
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

/// What a project makes of an id, where that is not what everybody else gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// It uses this instead, to the end of the chain; the word is that of the field.
    Instead(Reference, &'static str),
    /// It uses a directory of a commit instead.
    Direct(DirectReference),
    /// It implements the component itself.
    Own,
    /// Its allowlist does not name the component.
    NotAllowed,
}

impl Overrides {
    /// Returns what the project makes of a component; `None` where it takes it as it is. Who owns it is not known here.
    pub fn other(&self, id: &ComponentId) -> Option<Other> {
        let direct = |all: &[(Reference, DirectReference)], at: &ComponentId| {
            all.iter().find(|(wanted, _)| wanted.id == *at).map(|(_, direct)| direct.clone())
        };
        let step = |at: &ComponentId| {
            let of = |all: &[(Reference, Reference)], word| {
                all.iter().find(|(wanted, _)| wanted.id == *at).map(|(_, by)| (by.clone(), word))
            };
            of(&self.replace, "replace").or_else(|| of(&self.bindings, "bindings"))
        };
        let mut end: Option<(Reference, &'static str)> = None;
        // A chain that never ends is the resolver's to refuse.
        for _ in 0..=self.replace.len() + self.bindings.len() {
            let at = end.as_ref().map_or(id, |(by, _)| &by.id);
            if let Some(found) = direct(&self.replaced, at).or_else(|| direct(&self.direct, at)) {
                return Some(Other::Direct(found));
            }
            let Some((by, word)) = step(at) else { break };
            end = Some((by, end.map_or(word, |(_, first)| first)));
        }
        let at = end.as_ref().map_or(id, |(by, _)| &by.id);
        if self.natives.iter().any(|one| one.id == *at) {
            return Some(Other::Own);
        }
        let is_allowed = |pattern: &String| Allowed::parse(pattern).is_ok_and(|one| one.holds(at.as_text()));
        if !self.allowlist.is_empty() && !self.allowlist.iter().any(is_allowed) {
            return Some(Other::NotAllowed);
        }
        end.map(|(by, word)| Other::Instead(by, word))
    }
}

/// Ids that may be used: `lcod://ns/name` and what lies below it, `lcod://ns/`, `lcod://ns/na*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Box<str>);

impl Allowed {
    /// Reads a pattern.
    ///
    /// **Errors**: `input.allowlist` for an empty text and for a `*` that does not end it.
    pub fn parse(text: &str) -> Result<Allowed, ParseError> {
        let refused = || {
            ParseError::new("input.allowlist", "an id, a prefix that ends in /, or one that ends in *", text)
        };
        let inner = text.strip_suffix('*').unwrap_or(text);
        let is_fine =
            !text.is_empty() && !inner.contains('*') && inner.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        is_fine.then(|| Allowed(text.into())).ok_or_else(refused)
    }

    /// Tells whether it names an id.
    pub fn holds(&self, id: &str) -> bool {
        match (self.0.strip_suffix('*'), self.0.ends_with('/')) {
            (Some(prefix), _) => id.starts_with(prefix),
            (None, true) => id.starts_with(&*self.0),
            (None, false) => {
                id.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
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

/// The entries of one field by their ids: to look through all that were read for each would take its time.
type Seen = BTreeMap<ComponentId, Reference>;

/// Refuses a second entry for one id.
fn once(seen: &mut Seen, wanted: &Reference) -> Result<(), ParseError> {
    match seen.insert(wanted.id.clone(), wanted.clone()) {
        None => Ok(()),
        Some(other) => {
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

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn what_a_project_makes_of_an_id_is_known() {
        let text = r#"{
            "replace": {"lcod://a/b": "lcod://a/c@^2", "lcod://a/c": "lcod://a/d", "lcod://a/g": "git+https://x/r@ID#x",
                        "lcod://a/h": "lcod://a/g", "lcod://a/round": "lcod://a/round"},
            "bindings": {"lcod://contract/x@1": "lcod://a/b"},
            "sources": {"lcod://a/own": {"type": "path", "path": "x"},
                        "lcod://a/s": {"type": "git", "url": "https://x/r", "rev": "ID", "path": "y"}},
            "mirrors": {"https://a.example": "https://b.example"},
            "allowlist": ["lcod://a/"]
        }"#;
        let overrides = Overrides::parse(text.replace("ID", ID).as_bytes()).unwrap();
        assert_eq!(overrides.mirrors, [("https://a.example".to_owned(), "https://b.example".to_owned())]);
        let check = |id: &str, expected: &str| {
            let found = match overrides.other(&ComponentId::parse(id).unwrap()) {
                None => "as it is".to_owned(),
                Some(Other::Instead(by, word)) => format!("{word} {by}"),
                Some(Other::Direct(direct)) => format!("direct {}", direct.path),
                Some(Other::Own) => "own".to_owned(),
                Some(Other::NotAllowed) => "not allowed".to_owned(),
            };
            assert_eq!(found, expected, "{id}");
        };
        check("lcod://a/b", "replace lcod://a/d");
        check("lcod://contract/x", "bindings lcod://a/d");
        check("lcod://a/g", "direct x");
        check("lcod://a/h", "direct x");
        check("lcod://a/s", "direct y");
        check("lcod://a/own", "own");
        check("lcod://a/z", "as it is");
        check("lcod://b/z", "not allowed");
        check("lcod://a/round", "replace lcod://a/round");
    }

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
            "replace bindings allow  sources acme lab  natives warnings project.unknown_field project.registry_source",
        );
        check(
            r#"{"replace": {"lcod://a/b@1": {"type": "path", "path": "x"}}}"#,
            "replace bindings allow  sources all natives lcod://a/b@1 warnings project.path_source",
        );
    }

    #[test]
    fn what_would_lock_something_else_is_refused_with_its_place() {
        check(
            r#"{"sources": {"lcod://a/b@1": {"type": "http", "url": "https://x"}}}"#,
            "project.unsupported sources.lcod://a/b@1.type true",
        );
        check(
            r#"{"sources": {"lcod://a/b@1": {"type": "git", "url": "https://x", "rev": "abc", "path": "x"}}}"#,
            "input.commit sources.lcod://a/b@1.commit true",
        );
        check(
            r#"{"replace": {"lcod://a/b@1": {"type": "git", "url": "https://x", "path": "x"}}}"#,
            "input.commit replace.lcod://a/b@1.commit true",
        );
        check(
            &r#"{"replace": {"lcod://a/b@1": "git+https://x/r@ID#x", "lcod://a/b": "lcod://c/d"}}"#
                .replace("ID", ID),
            "project.twice replace true",
        );
        check(r#"{"mirrors": {"https://a": 7}}"#, "input.field mirrors.https://a true");
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
                Ok(ProjectFile { project, requires, .. }) => {
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
