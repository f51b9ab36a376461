//! What a project's own `compose.yaml` calls and its `lcp.toml` does not require. The client reads both; a daemon is told values.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use catalogue_schema::compose::{self, Target};
use catalogue_schema::error::{ParseError, Position};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::lockfile::Locked;
use catalogue_schema::model::Warning;
use catalogue_schema::project::ProjectFile;
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::project::{read, refused, unreadable};

/// The file that says what a component does.
const COMPOSE: &str = "compose.yaml";
/// How many of a list a sentence names.
const NAMED: usize = 5;

/// What a project calls undeclared.
#[derive(Debug, Default)]
pub struct OwnCalls {
    /// The components, in the order of the file, each once.
    pub undeclared: Vec<Reference>,
    /// What there is to say of them, and of calls that lead nowhere.
    told: Vec<(Warning, String, Position)>,
    /// What it calls and requires: which, as written, where.
    declared: Vec<(Reference, String, Position)>,
    /// What was seen already.
    known: HashSet<String>,
}

impl OwnCalls {
    /// Reads the compose file of a directory, whose `lcp.toml` is `file`; nothing is called where there is none.
    ///
    /// **Errors**: E008: it cannot be read.
    pub fn read(directory: &Path, file: &ProjectFile) -> Result<OwnCalls, Failure> {
        let path = directory.join(COMPOSE);
        let Some(bytes) = read(&path).map_err(|error| unreadable(&path, &error))? else {
            return Ok(OwnCalls::default());
        };
        let calls = compose::calls(&bytes).map_err(|error| {
            refused(Code::ManifestInvalid, &path, &error)
                .hint("correct it, or leave --calls and --strict away: then it is not read")
        })?;
        let mut own = OwnCalls::default();
        for call in calls {
            own.take(call.target, call.position, file);
        }
        Ok(own)
    }

    fn take(&mut self, target: Target, at: Position, file: &ProjectFile) {
        let expanded = |text: &str| -> Option<Result<Reference, ParseError>> {
            Some(file.package.as_ref()?.expand(text))
        };
        let place = place(at);
        let (reference, call) = match target {
            Target::Component(reference) => (reference.clone(), reference.to_string()),
            Target::Relative(text) => match expanded(&text) {
                Some(Ok(reference)) => (reference, text),
                _ => {
                    let said = format!(
                        "the project calls {text} ({place}), which counts from a package that is not known here"
                    );
                    self.told.push((Warning::new("call.relative", said), text, at));
                    return;
                }
            },
            Target::Unreadable(error) => {
                let said = format!("the project calls {} ({place}), which names no component", error.found);
                self.told.push((Warning::new("call.unreadable", said), error.found, at));
                return;
            }
        };
        let is_own = file.project.as_ref().is_some_and(|project| project.id == reference.id);
        let is_declared = is_own || file.requires.iter().any(|one| one.id == reference.id);
        if !self.known.insert(reference.to_string()) {
            return;
        }
        if is_declared {
            self.declared.push((reference, call, at));
        } else {
            let said = format!("the project calls {reference} ({place}) and does not require it");
            self.told.push((Warning::new("call.undeclared", said), call, at));
            self.undeclared.push(reference);
        }
    }

    /// Takes note of calls of other versions than those that are locked.
    pub fn compare(&mut self, locked: &[Locked]) {
        let versions: HashMap<&ComponentId, &Version> =
            locked.iter().map(|one| (&one.id, &one.version)).collect();
        for (wanted, call, at) in &self.declared {
            // Where a prerelease was chosen, somebody asked for it.
            let chosen = versions.get(&wanted.id);
            if let Some(chosen) = chosen.filter(|chosen| !wanted.requirement.matches_prerelease(chosen)) {
                let said = format!("the project calls {wanted} ({}), and {chosen} is chosen", place(*at));
                self.told.push((Warning::new("call.version", said), call.clone(), *at));
            }
        }
    }

    /// Returns what there is to say.
    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.told.iter().map(|(warning, ..)| warning.clone())
    }

    /// Refuses calls that are not declared, or not in the version that is chosen, or whose meaning nobody knows.
    ///
    /// **Errors**: E003 `call.undeclared`, `call.version` or `call.relative`, with every call.
    pub fn refuse(&self) -> Result<(), Failure> {
        let Some((first, ..)) = self.told.first() else { return Ok(()) };
        let undeclared = self.told.iter().find(|(warning, ..)| warning.reason == "call.undeclared");
        let reason = undeclared.map_or(first, |(warning, ..)| warning).reason.clone();
        let row = |(warning, call, at): &(Warning, String, Position)| json!({"reason": warning.reason, "release": null, "call": call, "line": at.line, "column": at.column});
        let mut named: Vec<&str> =
            self.told.iter().take(NAMED).map(|(warning, ..)| warning.text.as_str()).collect();
        let more = match self.told.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("and {more} more"),
        };
        named.extend((!more.is_empty()).then_some(more.as_str()));
        let as_what = if reason == "call.version" { "declared as they are made" } else { "declared" };
        let detail =
            format!("{} calls of the project are not {as_what}: {}", self.told.len(), named.join("; "));
        Err(Failure::new(Code::VersionConflict, reason, detail)
            .with("calls", self.told.iter().map(row).collect::<Vec<Value>>())
            .hint("add them to requires in lcp.toml, with the versions that are called, or use --calls instead of --strict: then they are locked with a warning"))
    }
}

fn place(at: Position) -> String {
    format!("{COMPOSE}, line {}, column {}", at.line, at.column)
}
