//! Writes locks as TOML, by hand: what is equal is written equally, one entry a line, whatever a library prefers.
//!
//! # `lcp.lock`
//! The project first, then one block for each component, sorted by id. `id` and `resolved` name the release, `integrity` is the
//! digest of its `lcp.toml` as kernels write it, and `source` holds what `resolverd.lock` has beside that: `name` is the source,
//! `rev` the commit, `url` the repository and `subdir` the path.
//! ```toml
//! schemaVersion = "1.0"
//! resolverVersion = "resolverd/lock@1"
//! projectId = "lcod://demo/app@0.1.0"
//!
//! [[components]]
//! id = "lcod://demo/app@0.1.0"
//! resolved = "lcod://demo/app@0.1.0"
//! source = { type = "path", path = "." }
//!
//! [[components.dependencies]]
//! id = "lcod://acme/tax@^1"
//! requested = "^1"
//! resolved = "lcod://acme/tax@1.0.1"
//! ```
//! A dependency that the host answers has `source = { type = "native" }` and nothing resolved; `name` in it is what the host
//! implements, where that is used instead of what is named. Where calls were followed, `calls` and `called` stand in `source` as they
//! stand in `resolverd.lock`.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::ComponentId;
use crate::lockfile::{
    Edge, FOLLOW, LCP_RESOLVER, LCP_SCHEMA_VERSION, LOCK_SCHEMA, Lock, Locked, NATIVE, RequiredBy, To,
};

const HEAD: &str =
    "# Written by resolverd. Change what the project asks for instead, then run: resolverd lock\n";

/// Returns the text of `resolverd.lock`.
pub(super) fn resolverd(lock: &Lock) -> String {
    let mut out = Text(HEAD.to_owned());
    out.value("schema", LOCK_SCHEMA);
    out.calls(lock);
    let native = lock.roots().iter().filter_map(|edge| match &edge.to {
        To::Native => Some(edge.wanted.to_string()),
        To::Hosted(instead) => Some(format!("{} -> {instead}", edge.wanted)),
        To::Component(_) => None,
    });
    out.list("natives", native);
    let required_by = lock.required_by();
    let mut requested: BTreeMap<&ComponentId, Vec<String>> = BTreeMap::new();
    for edge in lock.roots() {
        if let To::Component(to) = &edge.to {
            requested.entry(to).or_default().push(edge.wanted.to_string());
        }
    }
    for one in lock.components() {
        out.0.push_str("\n[[components]]\n");
        out.value("id", one.id.as_text());
        out.value("version", &one.version.to_string());
        out.value("source", one.owner.source.as_text());
        out.value("catalogue", one.owner.name.as_text());
        out.maybe("repository", one.repository.as_ref());
        out.maybe("commit", one.commit.as_ref());
        out.maybe("path", one.path.as_ref());
        out.maybe("manifest", one.manifest.as_ref());
        out.list("archive", one.archive.iter().map(Digest::to_string));
        out.list("files", files(one));
        out.list("requested", requested.remove(&one.id).into_iter().flatten());
        out.list("dependencies", one.dependencies.iter().map(told));
        out.list("called", called(lock, one));
        out.list("requiredBy", dependents(one, &required_by));
    }
    out.0
}

/// Returns the text of `lcp.lock`.
pub(super) fn lcp(lock: &Lock) -> Result<String, ParseError> {
    let Some(project) = lock.project() else {
        let expected = "a project with an id and a version";
        return Err(ParseError::new("lock.project", expected, "references alone"));
    };
    let own = format!("{}@{}", project.id, project.version);
    let mut out = Text(HEAD.to_owned());
    out.value("schemaVersion", LCP_SCHEMA_VERSION);
    out.value("resolverVersion", LCP_RESOLVER);
    out.value("projectId", &own);
    out.block(&own);
    match lock.calls() {
        None => out.0.push_str("source = { type = \"path\", path = \".\" }\n"),
        Some(_) => {
            out.0.push_str("\n[components.source]\n");
            out.value("type", "path");
            out.value("path", ".");
            out.calls(lock);
        }
    }
    out.edges(lock, lock.roots());
    let required_by = lock.required_by();
    for one in lock.components() {
        out.block(&one.full());
        if let Some(integrity) = one.integrity() {
            out.value("integrity", &format!("{}-{}", integrity.algorithm().name(), integrity.hex()));
        }
        out.0.push_str("\n[components.source]\n");
        out.value("type", if one.commit.is_some() { "git" } else { "registry" });
        out.maybe("url", one.repository.as_ref());
        out.maybe("rev", one.commit.as_ref());
        out.maybe("subdir", one.path.as_ref());
        out.value("name", one.owner.source.as_text());
        out.value("catalogue", one.owner.name.as_text());
        out.maybe("manifest", one.manifest.as_ref());
        out.list("archive", one.archive.iter().map(Digest::to_string));
        out.list("files", files(one));
        out.list("called", called(lock, one));
        out.list("requiredBy", dependents(one, &required_by));
        out.edges(lock, &one.dependencies);
    }
    Ok(out.0)
}

fn files(one: &Locked) -> impl Iterator<Item = String> {
    one.files.iter().map(|file| format!("{} {}", file.digest, file.path))
}

fn dependents<'a>(one: &Locked, required_by: &'a RequiredBy<'_>) -> impl Iterator<Item = String> + use<'a> {
    required_by.get(&one.id).into_iter().flatten().map(ToString::to_string)
}

/// Returns what a release calls and does not declare.
fn called(lock: &Lock, one: &Locked) -> impl Iterator<Item = String> {
    let called = lock.calls().and_then(|calls| calls.releases.get(&one.id));
    called.into_iter().flatten().cloned()
}

/// Returns an edge as `resolverd.lock` writes it.
fn told(edge: &Edge) -> String {
    match &edge.to {
        To::Native => format!("{} -> {NATIVE}", edge.wanted),
        To::Hosted(instead) => format!("{} -> {NATIVE} {instead}", edge.wanted),
        To::Component(to) if *to == edge.wanted.id => edge.wanted.to_string(),
        To::Component(to) => format!("{} -> {to}", edge.wanted),
    }
}

/// TOML as it grows.
struct Text(String);

impl Text {
    fn value(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("{name} = {}\n", quoted(value)));
    }

    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.value(name, &value.to_string());
        }
    }

    /// Writes a list, one entry a line; nothing where there is none.
    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        self.0.push_str(&format!("{name} = [\n"));
        values.for_each(|value| self.0.push_str(&format!("    {},\n", quoted(&value))));
        self.0.push_str("]\n");
    }

    /// Writes that calls were followed, and what the project calls; nothing where they were not.
    fn calls(&mut self, lock: &Lock) {
        if let Some(calls) = lock.calls() {
            self.value("calls", FOLLOW);
            self.list("called", calls.project.iter().cloned());
        }
    }

    /// Begins a component of `lcp.lock`.
    fn block(&mut self, full: &str) {
        self.0.push_str("\n[[components]]\n");
        self.value("id", full);
        self.value("resolved", full);
    }

    fn edges(&mut self, lock: &Lock, edges: &[Edge]) {
        for edge in edges {
            self.0.push_str("\n[[components.dependencies]]\n");
            self.value("id", &edge.wanted.to_string());
            if !edge.wanted.requirement.as_text().is_empty() {
                self.value("requested", edge.wanted.requirement.as_text());
            }
            match &edge.to {
                To::Native => self.0.push_str(&format!("source = {{ type = \"{NATIVE}\" }}\n")),
                To::Hosted(instead) => {
                    let name = quoted(&instead.to_string());
                    self.0.push_str(&format!("source = {{ type = \"{NATIVE}\", name = {name} }}\n"));
                }
                To::Component(to) => self.maybe("resolved", lock.component(to).map(Locked::full).as_ref()),
            }
        }
    }
}

/// Returns a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
