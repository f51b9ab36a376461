//! `resolverd policy`: what is in force, what is weak in a file, a first file, and what a candidate would change before anybody
//! applies it. Puts nothing in force, and writes no file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::render::{Paint, field, list, plain, refusal, table, text, texts};
use crate::cli::{Ended, Globals, Terminal, configured};
use crate::config::Settings;
use crate::daemon::rehearse;

/// How often a long list is asked for anew because another generation came into force meanwhile.
const TRIES_MAX: u32 = 3;

/// The largest lockfile in bytes.
const LOCK_BYTES_MAX: u64 = 16 << 20;

/// What is told beside releases that would be refused as unsigned.
const NEVER_FETCHED: &str = "signatures that nobody asks for yet were never fetched, and count as missing: under mode = \"audit\" they are fetched, and nothing is refused\n";

/// What `policy` does.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyAct {
    /// Show the policies in force and what they ask for
    Show,
    /// Read a policy as the daemon does, and say what is weak in it; needs no daemon
    Lint {
        /// The policy [default: the user's own]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a first policy, made of the sources in use: those of the daemon where one runs; needs none
    Init,
    /// List every release that a policy would change, before it is in force
    Test {
        /// The policy to try; its key files are found from its directory
        #[arg(value_name = "CANDIDATE")]
        candidate: PathBuf,
        /// A lockfile, or a resolution as resolve -o json prints it: which of its releases would be others
        #[arg(long = "lock", value_name = "FILE")]
        locks: Vec<PathBuf>,
    },
}

/// Runs an act that needs no daemon; tells whether this was one.
///
/// **Errors**: a file cannot be read, or is no policy.
pub(super) fn run_alone(
    act: &PolicyAct,
    settings: &Settings,
    globals: &Globals,
    terminal: &Terminal,
) -> Result<bool, Ended> {
    match act {
        PolicyAct::Lint { file } => {
            let path = file.clone().unwrap_or_else(|| rehearse::own(settings));
            let mut found = rehearse::linted(&path, now_s())?;
            // Whether a source is configured can be told where the sources can be read; the policy can be used in any case.
            let unread = configured::suppliers(settings, globals)
                .map(|sources| rehearse::unread(&found.policy.policy, &sources));
            found.findings.extend(unread.unwrap_or_default());
            found.findings.sort_by_key(|finding| finding.place.line);
            let finding = |one: &catalogue_schema::policy::lint::Finding| json!({"reason": one.reason, "line": one.place.line, "column": one.place.column, "text": one.text});
            let answer = json!({
                "file": path.display().to_string(),
                "version": found.policy.policy.version,
                "digest": found.policy.digest,
                "findings": found.findings.iter().map(finding).collect::<Vec<Value>>(),
            });
            terminal.print(&answer, linted)?;
        }
        PolicyAct::Init => {
            let sources =
                configured::suppliers(settings, globals).map_err(|error| Ended::from(error.failure()))?;
            let starter = rehearse::starter(&sources);
            terminal.print(&json!({"policy": starter}), |answer, _| {
                answer["policy"].as_str().unwrap_or_default().to_owned()
            })?;
            terminal.say(&format!(
                "write it with: resolverd policy init > {}",
                rehearse::own(settings).display()
            ));
        }
        PolicyAct::Show | PolicyAct::Test { .. } => return Ok(false),
    }
    Ok(true)
}

/// Runs an act that asks.
///
/// **Errors**: the candidate or a lockfile cannot be used; what the daemon says.
pub(super) fn run(act: &PolicyAct, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<(), Ended> {
    let PolicyAct::Test { candidate, locks } = act else {
        return terminal.print(&asker.ask(&Call::get("/v1/policy"))?, shown);
    };
    let proposal = rehearse::proposal(candidate)?;
    let locks: Vec<(String, BTreeSet<String>)> =
        locks.iter().map(|path| locked(path)).collect::<Result<_, _>>()?;
    let body = json!({"policy": proposal.policy, "keys": proposal.keys});
    let mut answer = tried(body, asker)?;
    let release = |change: &Value| format!("{}@{}", field(change, "id"), field(change, "version"));
    let changed: BTreeSet<String> = list(&answer, "changes").iter().map(release).collect();
    let lock = |(file, releases): &(String, BTreeSet<String>)| json!({"file": file, "releases": releases.len(), "changes": releases.intersection(&changed).collect::<Vec<_>>()});
    answer["locks"] = locks.iter().map(lock).collect();
    terminal.print(&answer, rehearsed)
}

/// Asks what a policy would change, part by part, and returns one answer with the whole list. A generation that comes between two
/// parts makes it begin anew, a few times.
fn tried(mut body: Value, asker: &mut Asker<'_>) -> Result<Value, Ended> {
    let mut answer = Value::Null;
    let mut rounds = 0;
    loop {
        let mut part = match asker.ask_slowly(&Call::post("/v1/policy/test", &body), "trying the policy") {
            Err(Ended::Refused(problem)) if problem["code"] == "R004" && rounds < TRIES_MAX => {
                (answer, body["cursor"], rounds) = (Value::Null, Value::Null, rounds + 1);
                continue;
            }
            other => other?,
        };
        body["cursor"] = part["nextCursor"].take();
        match (answer["changes"].as_array_mut(), part["changes"].as_array_mut()) {
            (Some(all), Some(more)) => all.append(more),
            _ => answer = part,
        }
        if body["cursor"].is_null() {
            return Ok(answer);
        }
    }
}

/// Reads the releases of a lockfile: every object in it that has an id and a version.
fn locked(path: &Path) -> Result<(String, BTreeSet<String>), Failure> {
    let refused = |found: String| {
        Failure::new(Code::RequestInvalid, "input.lock", format!("cannot read {}: {found}", path.display()))
            .hint("a JSON file with components, each with id and version, as resolve -o json prints them")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    file.take(LOCK_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > LOCK_BYTES_MAX {
        return Err(refused("it is larger than 16 MiB".to_owned()));
    }
    let lock: Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let Some(components) = lock["components"].as_array() else {
        return Err(refused("it has no components".to_owned()));
    };
    let release = |one: &Value| Some(format!("{}@{}", one["id"].as_str()?, one["version"].as_str()?));
    Ok((path.display().to_string(), components.iter().filter_map(release).collect()))
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "a verb is where the clock is read")]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn linted(answer: &Value, paint: Paint) -> String {
    let mut out = format!("{}: version {}, can be used\n", field(answer, "file"), text(&answer["version"]));
    for one in list(answer, "findings") {
        let line = format!("line {}: {} [{}]", text(&one["line"]), field(one, "text"), field(one, "reason"));
        out.push_str(&format!("{} {line}\n", paint.note("-")));
    }
    if list(answer, "findings").is_empty() {
        out.push_str("nothing weak was found\n");
    }
    out
}

/// Returns the text of the policies in force: their rules, most specific first.
fn shown(answer: &Value, paint: Paint) -> String {
    let mut out = String::new();
    if !answer["problem"].is_null() {
        out.push_str(&format!("{} {}\n", paint.bad("problem:"), refusal(&answer["problem"])));
    }
    if answer["state"] == "locked" {
        return out + "no trust policy is in force, and nothing is served before this one can be used\n";
    }
    if list(answer, "policies").is_empty() {
        return out + "no trust policy is set: documents must satisfy their pins, nothing must be signed\n";
    }
    for policy in list(answer, "policies") {
        out.push_str(&format!("{}: version {}\n", field(policy, "file"), text(&policy["version"])));
        for keyset in list(policy, "keysets") {
            let (signers, version) = (field(keyset, "signers"), text(&keyset["version"]));
            let source = field(keyset, "source");
            out.push_str(&format!("signers {signers}: keyset version {version}, published by {source}\n"));
        }
        let rows = list(policy, "namespaces").iter().map(|rule| {
            let sources = texts(list(rule, "sources")).join(", ");
            vec![
                field(rule, "name"),
                field(rule, "match"),
                sources,
                field(rule, "require"),
                field(rule, "mode"),
            ]
        });
        out.push_str(&table(&["RULE", "MATCH", "SOURCES", "REQUIRES", "MODE"], rows.collect()));
    }
    out
}

fn rehearsed(answer: &Value, paint: Paint) -> String {
    let mut out = String::new();
    for problem in list(answer, "problems") {
        let text = format!("{}: {}", field(problem, "reason"), field(problem, "found"));
        out.push_str(&format!("{} it would not come into force: {text}\n", paint.bad("problem:")));
    }
    for change in list(answer, "changes") {
        let release = format!("{}@{}", field(change, "id"), field(change, "version"));
        let (from, to) = (standing(&change["from"]), standing(&change["to"]));
        let sign = match change["to"]["verdict"].as_str() {
            None | Some("refused") => paint.bad("-"),
            Some(_) if change["from"].is_null() || change["from"]["verdict"] == "refused" => "+".to_owned(),
            Some(_) => paint.note("~"),
        };
        out.push_str(&format!("{sign} {release}: {from} to {to}\n"));
        let refusal = &change["to"]["refusal"];
        if !refusal.is_null() {
            out.push_str(&format!(
                "    expected {}, found {}\n",
                field(refusal, "expected"),
                field(refusal, "found")
            ));
        }
    }
    let (changed, all) = (text(&answer["changed"]), text(&answer["releases"]));
    out.push_str(&format!("{changed} of {all} releases would change\n"));
    if list(answer, "changes").iter().any(|change| change["to"]["refusal"]["reason"] == "trust.unsigned") {
        out.push_str(NEVER_FETCHED);
    }
    for lock in list(answer, "locks") {
        let changes = texts(list(lock, "changes"));
        let told = format!(
            "{}: {} of {} releases would change",
            field(lock, "file"),
            changes.len(),
            text(&lock["releases"])
        );
        out.push_str(&format!("{}\n", plain(&told)));
        for release in changes {
            out.push_str(&format!("  {}\n", plain(&release)));
        }
    }
    out
}

fn standing(one: &Value) -> String {
    if one.is_null() {
        return "nothing".to_owned();
    }
    match one["refusal"]["reason"].as_str() {
        Some(reason) => format!("refused ({}) from {}", plain(reason), field(one, "source")),
        None => format!("{} from {}", field(one, "verdict"), field(one, "source")),
    }
}
