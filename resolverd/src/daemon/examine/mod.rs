//! What is wrong with a set-up, looked at from the outside: places, rights, the store, the shelf, the clock.
//!
//! Never changes anything, never follows a symbolic link out of the state directory, and never fails: what cannot be looked
//! at is a finding too. `daemon/repair.rs` is what acts.

pub(super) mod kept;
pub(super) mod places;
pub(super) mod walk;

use std::path::Path;

use catalogue_schema::model::Refusal;
use serde::Serialize;

use crate::config::Settings;
use crate::daemon::log_contained_panics;
use crate::daemon::writer::now_s;
use crate::fetch::https;
use crate::store::memory::Memory;
use crate::sync::standing;
use crate::trust::policy::PolicyFile;

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It does not work, or is not safe.
    Wrong,
}

/// One thing that was looked at.
///
/// **Shape**: `{"check": "socket", "state": "wrong", "subject": "/run/…", "found": "…", "expected": "…", "hint": "…"}`;
/// `expected` and `hint` are `null` where there is nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check, such as `socket`.
    pub check: &'static str,
    /// How it stands.
    pub state: Standing,
    /// What was looked at: a path or an id.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: Option<String>,
    /// The command or the edit that mends it.
    pub hint: Option<String>,
}

impl Finding {
    /// Says that something is as it should be.
    pub fn ok(check: &'static str, subject: impl ToString, found: impl ToString) -> Finding {
        Finding::new(check, Standing::Ok, subject, found)
    }

    /// Says that somebody should know something.
    pub fn warning(check: &'static str, subject: impl ToString, found: impl ToString) -> Finding {
        Finding::new(check, Standing::Warning, subject, found)
    }

    /// Says that something is wrong.
    pub fn wrong(check: &'static str, subject: impl ToString, found: impl ToString) -> Finding {
        Finding::new(check, Standing::Wrong, subject, found)
    }

    fn new(check: &'static str, state: Standing, subject: impl ToString, found: impl ToString) -> Finding {
        let (subject, found) = (subject.to_string(), found.to_string());
        Finding { check, state, subject, found, expected: None, hint: None }
    }

    /// Adds what was expected.
    pub fn expected(mut self, expected: impl ToString) -> Finding {
        self.expected = Some(expected.to_string());
        self
    }

    /// Adds the command or the edit that mends it.
    pub fn hint(mut self, hint: impl ToString) -> Finding {
        self.hint = Some(hint.to_string());
        self
    }
}

/// How much of the shelf is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every document must be there, a sample of them is digested.
    Sample,
    /// Every document is digested.
    Deep,
}

/// The command that mends what can be mended offline.
pub(super) const REPAIR: &str = "resolverd doctor --repair";

/// Looks at one trust policy and the keys that it names; `known` is the highest version of it that was in force here.
fn policy(path: &Path, told: Result<Option<String>, Refusal>, known: Option<u64>) -> Finding {
    let (check, subject) = ("policy", path.display());
    match (told, known) {
        (Ok(None), None) => Finding::ok(check, subject, "not there, so that it asks for nothing"),
        (Ok(None), Some(version)) => {
            Finding::warning(check, subject, format!("not there, and version {version} of it was in force here"))
                .expected("the policy, or nobody who relies on it")
                .hint("put it back: a daemon that starts without it asks for nothing that it asked for")
        }
        (Ok(Some(short)), _) => Finding::ok(check, subject, short),
        (Err(refusal), _) => Finding::wrong(check, subject, format!("{}: {}", refusal.reason, refusal.found))
            .expected("a trust policy that can be used, with its keys")
            .hint("correct it: a daemon reads it again by itself, and serves nothing where it starts with this one"),
    }
}

/// Looks at the places, the store, the shelf and the clock of these settings.
pub fn examine(settings: &Settings, depth: Depth) -> Vec<Finding> {
    log_contained_panics();
    let mut findings = places::socket(settings);
    let places = places::state_directory(settings);
    findings.extend(places.findings);
    if let Some(blocked) = &places.blocked {
        findings.extend(kept::examine(settings, depth, blocked, now_s()));
    }
    let memory = Memory::to_read(&settings.state_dir);
    let looked =
        |file: &PolicyFile| policy(&file.path, standing::told(file), memory.policy_version(&file.path));
    findings.extend(settings.policy_files.iter().map(looked));
    findings.extend(settings.network.cache_dir.as_deref().map(places::cache_directory).unwrap_or_default());
    findings.extend(https::token_problems(&settings.network.https.tokens).iter().map(token));
    findings.push(kept::year(now_s()));
    findings
}

/// Says which token this process cannot have; the daemon may have another environment.
fn token(refusal: &Refusal) -> Finding {
    let found = format!("{}; sources behind it cannot be read by this process", refusal.found);
    Finding::warning("token", &refusal.subject, found)
        .expected(&refusal.expected)
        .hint("correct [[https.tokens]], or set it for the process that reads the sources")
}
