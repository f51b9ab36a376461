//! What every verb of a workspace shares: where it is, which names are meant, and who keeps its archives in the cache.

use std::path::{Path, PathBuf, absolute};

use catalogue_schema::dialect::estream::workspace::WORKSPACE;
use catalogue_schema::dialect::estream::{KERNEL, PREFIX};
use catalogue_schema::id::{ComponentId, Dialect, Reference};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::files;
use crate::cli::render::{field, plain};
use crate::cli::{Ended, Terminal};
use crate::estream::workspace;

/// Where the workspace is.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkspacePlace {
    /// The workspace [default: the nearest directory upwards with estream-workspace.toml]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

impl WorkspacePlace {
    /// Means the directory that was named; the nearest workspace where none was.
    pub fn of(workspace: Option<PathBuf>) -> WorkspacePlace {
        WorkspacePlace { workspace }
    }

    /// Returns the directory, absolute; the current one where none is a workspace yet.
    ///
    /// **Errors**: R011 for a directory that was named and is none.
    pub fn or_here(&self) -> Result<PathBuf, Failure> {
        match self.found()? {
            Some(root) => Ok(root),
            None => here(Path::new(".")),
        }
    }

    /// Returns the directory, absolute; `None` where none was named and none is found.
    ///
    /// **Errors**: R011 for a directory that was named and is none.
    pub fn found(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.workspace {
            Some(named) if named.is_dir() => here(named).map(Some),
            Some(named) => {
                let detail = format!("--workspace {}: there is no such directory", named.display());
                Err(Failure::new(Code::RequestInvalid, "arguments", detail).hint("make it, or name another"))
            }
            None => Ok(workspace::nearest(&here(Path::new("."))?)),
        }
    }
}

fn here(place: &Path) -> Result<PathBuf, Failure> {
    absolute(place).map_err(|error| {
        Failure::new(Code::RequestInvalid, "arguments", format!("{}: {error}", place.display()))
    })
}

/// Reads the name of a component, with or without a version behind it.
///
/// **Errors**: R001 for what is no reference of an eStream registry.
pub fn component(text: &str) -> Result<Reference, Failure> {
    let read = Reference::parse(text).map_err(|error| {
        let failure = Failure::of_reference(&error);
        let hint = "write a name such as estream-wire-fix or @acme/impact-counter, with @^1.0.0 behind it";
        match &*error.reason {
            "input.requirement" => failure,
            _ => failure.hint(hint),
        }
    })?;
    if read.id.dialect() != Dialect::Estream {
        let detail = format!("{} is no component of an eStream registry", read.id);
        return Err(Failure::new(Code::ReferenceInvalid, "input.reference", detail)
            .hint(format!("resolverd materialize {} puts its files on disk", read.id)));
    }
    if read.id.as_text() == KERNEL {
        let detail = "estream-kernel is the platform itself, which nobody installs";
        return Err(Failure::new(Code::ReferenceInvalid, "input.reference", detail).hint(
            "say its version with --platform estream=VERSION, or below [platforms.estream] in config.toml",
        ));
    }
    Ok(read)
}

/// Returns a component as it is printed here: `name` or `@publisher/name`.
pub fn name(id: &ComponentId) -> String {
    plain(id.path())
}

/// Returns the name of an id in an answer.
pub fn name_in(value: &Value) -> String {
    let id = field(value, "id");
    id.strip_prefix(PREFIX).map(str::to_owned).unwrap_or(id)
}

/// Keeps in the cache what a workspace has, by the hold `workspace:PATH`: `kept` are bodies of a materialize that say what, of which the
/// first that is answered counts, and without any the hold ends. That the daemon cannot do it is said and spoils nothing: what is
/// installed is complete without the cache.
pub fn hold(root: &Path, kept: Vec<Value>, asker: &mut Asker<'_>, terminal: &Terminal) {
    let held =
        files::hold_of(files::WORKSPACE, &root.join(WORKSPACE)).map_err(Ended::from).and_then(|hold| {
            if kept.is_empty() {
                return asker.ask(&Call::post("/v1/files/release", &json!({ "holds": [hold] })));
            }
            let mut held = Ok(Value::Null);
            for mut body in kept {
                body["hold"] = json!(hold);
                body["offline"] = json!(true);
                held = asker.ask(&Call::post("/v1/materialize", &body));
                if held.is_ok() {
                    break;
                }
            }
            held
        });
    if let Err(Ended::Refused(problem)) = held {
        let why = field(&problem, "detail");
        terminal.say(&format!("note: gc may remove the archives of this workspace from the cache: {why}"));
    }
}
