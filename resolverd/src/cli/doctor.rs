//! `doctor`: what is wrong with a set-up, each finding with the command or edit that mends it; `--repair` mends what can be
//! mended offline.
//!
//! The places, the store and the shelf are looked at by `daemon/examine`; here are the configuration, the sources file, the
//! environment, the running daemon and the limits of this process. Nothing is changed without `--repair`, no network is
//! touched, and nothing that is missing or unreadable ends the examination.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use catalogue_schema::id::SourceId;
use catalogue_schema::model::Source;
use catalogue_schema::pointer::Location;
use catalogue_schema::policy::lint::Finding as Weakness;
use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::api::{Call, Failure};
use crate::cli::render::{NEEDS_RESTART, Paint, plain};
use crate::cli::{Ended, Env, Globals, Terminal, configured};
use crate::client::Client;
use crate::config::{self, ConfigError, Overrides, Settings};
use crate::daemon::examine::{self, Depth, Finding, Standing};
use crate::daemon::rehearse::{self, Supplier};
use crate::daemon::repair::{Repaired, repair};

/// What `doctor` takes.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// Rebuild the index from the shelf, offline, and put away what is in the way; needs the daemon to be stopped
    #[arg(long)]
    repair: bool,
    /// Recompute the digest of every document on the shelf
    #[arg(long)]
    deep: bool,
}

/// The exit status when something is wrong.
const WRONG: u8 = 1;
/// How long a repair waits for another process to let go of the store, in seconds.
const REPAIR_WAIT_S: u64 = 3;
/// The fewest open files that a daemon gets along with.
const FILES_MIN: u64 = 256;
/// A file that is always there and always empty: with it as configuration, the built-in values are in force.
const NOTHING: &str = "/dev/null";

/// Examines the set-up, after a repair where one is asked for, and returns the exit status: 1 when something is wrong.
///
/// **Errors**: a repair that cannot be carried out, with exit status 9 while another process holds the state directory.
pub fn run(doctor: &Doctor, globals: &Globals, env: Env<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let overrides = globals.overrides();
    let loaded = Settings::load(&overrides, env);
    let repaired = match (doctor.repair, &loaded) {
        (true, Ok(settings)) => Some(repair(settings, globals.wait_or(REPAIR_WAIT_S))?),
        // Nobody knows which store would be repaired.
        (true, Err(error)) => return Err(Ended::from(error.failure())),
        (false, _) => None,
    };
    let mut findings = configuration(&overrides, env, loaded.as_ref().err());
    findings.extend(environment(env));
    let settings = loaded.or_else(|_| substitute(&overrides, env));
    let depth = if doctor.deep { Depth::Deep } else { Depth::Sample };
    if let Ok(settings) = &settings {
        findings.extend(sources(settings));
        findings.extend(examine::examine(settings, depth));
        findings.extend(daemon(settings));
        findings.extend(limits(settings));
    }
    findings.extend(process());
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(Standing::Ok);
    terminal.print(&answer(&findings, worst, repaired.as_ref()), text)?;
    Ok(if worst == Standing::Wrong { WRONG } else { 0 })
}

/// Returns the settings without what cannot be read.
fn substitute(overrides: &Overrides, env: Env<'_>) -> Result<Settings, ConfigError> {
    let away_from_home = Overrides { without_home: true, ..overrides.clone() };
    let nothing = Overrides { config: Some(PathBuf::from(NOTHING)), ..away_from_home.clone() };
    Settings::load(&away_from_home, env).or_else(|_| Settings::load(&nothing, env))
}

fn answer(findings: &[Finding], worst: Standing, repaired: Option<&Repaired>) -> Value {
    let count = |state: Standing| findings.iter().filter(|finding| finding.state == state).count();
    json!({
        "status": worst,
        "ok": count(Standing::Ok),
        "warnings": count(Standing::Warning),
        "wrong": count(Standing::Wrong),
        "repair": repaired,
        "findings": findings,
    })
}

/// Looks at each configuration file by itself, so that one that is wrong hides nothing of the others.
fn configuration(overrides: &Overrides, env: Env<'_>, error: Option<&ConfigError>) -> Vec<Finding> {
    let is_named = overrides.config.is_some() || env("RESOLVERD_CONFIG").is_some_and(|path| !path.is_empty());
    let mut findings: Vec<Finding> = config::looked_for(overrides, env)
        .into_iter()
        .map(|path| config_file(&path, is_named, overrides, env))
        .collect();
    findings.extend(config::wrong_at_home(overrides, env).iter().map(|(path, error)| {
        let finding = of_failure("config", &path.display().to_string(), &error.failure());
        finding.expected("eStream's own configuration").hint(match error {
            ConfigError::Unreadable { .. } => format!("make {} readable for this user", path.display()),
            _ => format!(
                "edit {}, or leave it out: home_config = false below [estream] in config.toml",
                path.display()
            ),
        })
    }));
    if let Some(error @ ConfigError::Homeless { .. }) = error {
        findings.push(of_failure("config", "directories", &error.failure()));
    }
    if error.is_some() {
        findings.push(Finding::warning(
            "config",
            "what follows",
            "was looked at without the configuration that cannot be read",
        ));
    }
    findings
}

fn config_file(path: &Path, is_named: bool, overrides: &Overrides, env: Env<'_>) -> Finding {
    let is_missing = path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_missing && !is_named {
        return Finding::ok("config", path.display(), "not there, not needed");
    }
    let alone = Overrides { config: Some(path.to_owned()), without_home: true, ..overrides.clone() };
    match Settings::load(&alone, env) {
        Ok(_) | Err(ConfigError::Homeless { .. }) => Finding::ok("config", path.display(), "read"),
        Err(error) => of_failure("config", &path.display().to_string(), &error.failure())
            .expected("a configuration with known keys")
            .hint(match (is_missing, &error) {
                (true, _) => "create the file, or name another with --config".to_owned(),
                (_, ConfigError::Unreadable { .. }) => {
                    "make it readable for this user, or name another with --config".to_owned()
                }
                _ => format!("edit {}", path.display()),
            }),
    }
}

fn of_failure(check: &'static str, subject: &str, failure: &Failure) -> Finding {
    let detail = failure.detail.strip_prefix(&format!("{subject}: ")).unwrap_or(&failure.detail);
    let finding = Finding::wrong(check, subject, detail);
    match &failure.hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// Names the variables that override something. A proxy may hold a password, so its value is not printed.
fn environment(env: Env<'_>) -> Vec<Finding> {
    let own = config::VARIABLES
        .into_iter()
        .filter(|name| name.starts_with("RESOLVERD_") || name.starts_with("LCOD_"));
    let shown = own.chain(["RESOLVERD_LOG", "SSL_CERT_FILE", "NO_PROXY"]).filter_map(|name| {
        let value = env(name).filter(|value| !value.is_empty())?;
        Some(Finding::ok("environment", name, value))
    });
    let hidden = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().filter_map(|name| {
        env(name).filter(|value| !value.is_empty())?;
        Some(Finding::ok("environment", name, "set: requests to other machines go through it"))
    });
    shown.chain(hidden).collect()
}

/// Looks at the sources file and at what its sources have to do with each other.
fn sources(settings: &Settings) -> Vec<Finding> {
    let path = &settings.sources_file;
    let sources = match settings.sources() {
        Ok(sources) => sources,
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let hint = "write one (see sources.example.json), or name another with --sources";
            return vec![
                Finding::wrong("sources", path.display(), "not there").expected("a sources file").hint(hint),
            ];
        }
        Err(error) => {
            let finding = of_failure("sources", &path.display().to_string(), &error.failure());
            return vec![finding.hint(match error {
                ConfigError::Unreadable { .. } => {
                    "make it readable for this user, or name another with --sources".to_owned()
                }
                _ => format!("edit {}; a running daemon keeps the one in force", path.display()),
            })];
        }
    };
    let home = settings.home.iter().flat_map(|home| {
        home.files.iter().map(|file| {
            let ids: Vec<&str> = home.sources.iter().map(|source| source.id.as_text()).collect();
            let told = format!("read: eStream's own configuration, with the registries {}", ids.join(", "));
            Finding::ok("config", file, told)
        })
    });
    let home: Vec<Finding> = home.collect();
    let mut findings = vec![match sources.is_empty() {
        true => Finding::warning("sources", path.display(), "no source in it is enabled")
            .hint(format!("edit {}", path.display())),
        false => Finding::ok("sources", path.display(), format!("{} sources", sources.len())),
    }];
    findings.extend(home);
    findings
        .extend(disabled(path).into_iter().map(|id| Finding::ok("sources", id, "disabled: it is left out")));
    findings.extend(sources.iter().map(entry));
    findings.extend(others_of_daemon(settings, &sources));
    findings.extend(unread_keysets(settings, &sources));
    findings.extend(ties(&sources));
    let places = together(&sources, |source| serde_json::to_string(&source.entry).unwrap_or_default());
    findings.extend(places.into_values().map(|ids| {
        Finding::warning(
            "sources",
            ids.join(", "),
            "they name the same document; only the first of them counts",
        )
        .hint(format!("remove all but one from {}", path.display()))
    }));
    let twins = together(&sources, |source| source.id.as_text().replace(['.', '_', '/', '-'], ""));
    findings.extend(twins.into_values().map(|ids| {
        Finding::warning("sources", ids.join(", "), "ids that are easily mistaken for one another")
            .hint("give one of them another id")
    }));
    findings
}

/// Says that the daemon on the socket answers for other sources than the file has that is looked at here.
fn others_of_daemon(settings: &Settings, sources: &[Source]) -> Option<Finding> {
    let of_daemon = configured::of_daemon(settings)?;
    let names = |ids: Vec<&SourceId>| {
        let mut ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
        ids.sort();
        ids.join(", ")
    };
    let theirs = names(of_daemon.iter().map(|one| &one.id).collect());
    let own = names(sources.iter().map(|one| &one.id).collect());
    (theirs != own).then(|| {
        Finding::warning("sources", settings.sources_file.display(), format!("it has {own}"))
            .expected(format!("{theirs}, for which the daemon on {} answers", settings.socket.display()))
            .hint("name the file of that daemon with --sources; resolverd reload has it read its own again")
    })
}

/// Names the publishers of keysets that are no sources.
fn unread_keysets(settings: &Settings, sources: &[Source]) -> Vec<Finding> {
    let suppliers: Vec<Supplier> = sources.iter().map(Supplier::of).collect();
    let unread = |path: &Path| {
        // What is wrong with a policy is said where policies are looked at.
        let linted = rehearse::linted(path, 0).ok();
        linted.map(|found| rehearse::unread(&found.policy.policy, &suppliers)).unwrap_or_default()
    };
    let found = settings.policy_files.iter().flat_map(|file| {
        let path = file.path.clone();
        unread(&path).into_iter().map(move |one| (path.clone(), one))
    });
    let finding = |(path, one): (PathBuf, Weakness)| {
        Finding::warning("policy", path.display(), one.to_string())
            .expected("keysets that a configured source publishes")
            .hint("add that source to the sources file, or name another one in keysets")
    };
    found.map(finding).collect()
}

/// Says how a source is pinned, and whether a local one is there; no network is touched.
fn entry(source: &Source) -> Finding {
    let id = &source.id;
    if let Location::File { path } = &source.entry
        && let Err(error) = std::fs::metadata(path.as_path())
    {
        return Finding::warning("sources", id, format!("{}: {error}", path.as_path().display()))
            .hint("correct its path, or leave it: its last good entries answer");
    }
    let pinned = match (&source.entry, source.is_pinned()) {
        (_, true) => "pinned",
        (Location::Https { .. }, false) => "not pinned: whatever its address serves over https is taken",
        (Location::Git { .. }, false) => "not pinned: it follows its branch",
        (Location::File { .. }, false) => "not pinned: the file as it is",
    };
    let offline = if source.offline { ", offline: never fetched" } else { "" };
    Finding::ok("sources", id, format!("priority {}, {pinned}{offline}", source.place.priority))
}

fn ties(sources: &[Source]) -> Vec<Finding> {
    let tied = together(sources, |source| source.place.priority.to_string());
    let tie = |(priority, ids): (String, Vec<String>)| {
        let found =
            format!("all have priority {priority}, so that their order in the file decides who owns an id");
        Finding::warning("sources", ids.join(", "), found)
            .expected("a priority of its own for every source")
            .hint("give each a priority; lower wins")
    };
    tied.into_iter().map(tie).collect()
}

/// Returns the ids of sources that have the same key, where there are several.
fn together(sources: &[Source], key: impl Fn(&Source) -> String) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        groups.entry(key(source)).or_default().push(source.id.to_string());
    }
    groups.retain(|_, ids| ids.len() > 1);
    groups
}

/// Returns the ids of sources that are disabled, of a file that has been read without an error.
fn disabled(path: &Path) -> Vec<String> {
    let value: Value =
        std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let rows = value["sources"].as_array().cloned().unwrap_or_default();
    let disabled = rows.iter().filter(|row| row["enabled"] == false);
    disabled.filter_map(|row| Some(row["id"].as_str()?.to_owned())).collect()
}

/// Asks the daemon how it is; that its socket cannot be used has been said by then.
fn daemon(settings: &Settings) -> Vec<Finding> {
    let mut client = match Client::connect(&settings.socket) {
        Ok(client) => client.impatient(),
        Err(error) if error.is_absent() => {
            return vec![Finding::ok("daemon", "none", "no daemon runs; verbs answer in process")];
        }
        Err(_) => return Vec::new(),
    };
    let mut ask = |target: &str| -> Result<Value, Failure> {
        let reply = client.call(&Call::get(target)).map_err(|error| error.failure())?;
        Ok(serde_json::from_slice(&reply.body).unwrap_or_default())
    };
    match ask("/v1/health") {
        Ok(health) => health_findings(&health, &settings.socket),
        Err(failure) => vec![of_failure("daemon", &settings.socket.display().to_string(), &failure)],
    }
}

fn health_findings(health: &Value, socket: &Path) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = vec![match health["version"].as_str() {
        Some(version) if version == own => Finding::ok("daemon", "version", version),
        version => Finding::warning("daemon", "version", version.unwrap_or("unknown"))
            .expected(own)
            .hint("restart the daemon, or call the program that belongs to it"),
    }];
    let up = format!("up {} s", health["uptimeSeconds"]);
    findings.push(match health["generation"].as_u64() {
        Some(number) => Finding::ok("daemon", socket.display(), format!("serves generation {number}, {up}")),
        None => Finding::wrong("daemon", socket.display(), format!("serves no generation, {up}")).hint(
            match health["policy"]["state"] == "locked" {
                true => "correct the trust policy: nothing is served before",
                false => "resolverd sync",
            },
        ),
    });
    findings.extend(configuration_in_force(&health["configuration"]));
    for one in health["degraded"].as_array().into_iter().flatten().filter(|one| one["what"] == "catalogue") {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        findings.push(
            Finding::warning("catalogue", text("id"), format!("{}: {}", text("state"), text("text")))
                .hint("resolverd catalogues"),
        );
    }
    findings
}

/// Says what the daemon could not take of the configuration that it read last.
fn configuration_in_force(problem: &Value) -> Option<Finding> {
    if problem.is_null() {
        return None;
    }
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    if text("reason") == NEEDS_RESTART {
        let finding = Finding::warning("daemon", text("subject"), text("found"));
        return Some(finding.hint("restart the daemon, or take the edit back"));
    }
    let found = format!("it keeps the last good configuration: {}", text("found"));
    let finding = Finding::wrong("daemon", text("subject"), found);
    let finding = finding.hint("correct the file, then: resolverd reload");
    Some(match text("expected") {
        none if none.is_empty() => finding,
        expected => finding.expected(expected),
    })
}

/// Limits beyond which nothing is limited in practice.
fn limits(settings: &Settings) -> Vec<Finding> {
    let limits = &settings.limits;
    let sane: [(&str, u64, u64); 7] = [
        ("catalogue_bytes", limits.catalogue_bytes, 1 << 30),
        ("release_document_bytes", limits.release_document_bytes, 256 << 20),
        ("git_object_bytes", limits.git_object_bytes, 1 << 30),
        ("total_bytes", limits.total_bytes, 256 << 30),
        ("depth", limits.depth.into(), 64),
        ("catalogues", limits.catalogues.into(), 100_000),
        ("total_s", limits.total_s, 86_400),
    ];
    let odd = sane.into_iter().filter(|(_, value, most)| value > most || *value == 0);
    odd.map(|(name, value, most)| {
        Finding::warning("limits", name, value)
            .expected(format!("1 to {most}"))
            .hint(format!("set {name} under [limits] in config.toml"))
    })
    .collect()
}

/// Looks at what this process may do: a daemon that is started from the same shell may do the same.
fn process() -> Vec<Finding> {
    let open = getrlimit(Resource::Nofile).current;
    let mut findings = vec![match open {
        Some(most) if most < FILES_MIN => Finding::warning("process", "open files", most)
            .expected(format!("at least {FILES_MIN}"))
            .hint("ulimit -n 1024, or LimitNOFILE= in the unit"),
        most => {
            Finding::ok("process", "open files", most.map_or("no limit".to_owned(), |most| most.to_string()))
        }
    }];
    // Asking for the umask changes it, so the kernel's own account is read.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(mask) = status.lines().find_map(|line| line.strip_prefix("Umask:")) {
        let mask = mask.trim();
        findings.push(match u32::from_str_radix(mask, 8) {
            Ok(bits) if bits & 0o022 != 0o022 => Finding::warning("process", "umask", mask)
                .expected("0022 or stricter")
                .hint("umask 022; what resolverd keeps is private all the same"),
            _ => Finding::ok("process", "umask", mask),
        });
    }
    findings
}

/// Returns the text of an examination.
fn text(answer: &Value, paint: Paint) -> String {
    let mut out = repair_text(&answer["repair"], paint);
    for finding in answer["findings"].as_array().into_iter().flatten() {
        let field = |name: &str| finding[name].as_str().map(lines);
        let word = match finding["state"].as_str() {
            Some("wrong") => paint.bad("wrong  "),
            Some("warning") => paint.note("warning"),
            _ => "ok     ".to_owned(),
        };
        let named = [field("check"), field("subject"), field("found")].map(Option::unwrap_or_default);
        let [check, subject, found] = named;
        out.push_str(&format!("{word}  {check}: {subject}: {found}\n"));
        for (name, word) in [("expected", "expected"), ("hint", "hint")] {
            if let Some(text) = field(name) {
                out.push_str(&format!("         {}: {text}\n", paint.strong(word)));
            }
        }
    }
    out.push_str(&format!(
        "{} ok, {} warnings, {} wrong\n",
        answer["ok"], answer["warnings"], answer["wrong"]
    ));
    out
}

fn repair_text(repair: &Value, paint: Paint) -> String {
    let mut out = String::new();
    let texts = |name: &str| -> Vec<String> {
        repair[name].as_array().into_iter().flatten().filter_map(|one| Some(lines(one.as_str()?))).collect()
    };
    for path in texts("setAside") {
        out.push_str(&format!("set aside: {path}\n"));
    }
    for path in texts("removed") {
        out.push_str(&format!("removed: {path}\n"));
    }
    for what in texts("mended") {
        out.push_str(&format!("mended: {what}\n"));
    }
    let sound = &repair["sound"];
    if !sound.is_null() {
        let snapshot = sound["snapshot"].as_str().map(lines).unwrap_or_default();
        out.push_str(&format!(
            "kept: the index, which agrees with generation {}, {} components, {snapshot}\n",
            sound["generation"], sound["components"]
        ));
    }
    let rebuilt = &repair["rebuilt"];
    if !rebuilt.is_null() {
        let same = match rebuilt["isSame"].as_bool() {
            Some(true) => "answers as before",
            Some(false) => "differs from before: see resolverd status",
            None => "says what the sources pin",
        };
        let snapshot = rebuilt["snapshot"].as_str().map(lines).unwrap_or_default();
        out.push_str(&format!(
            "rebuilt: generation {}, {} components, {snapshot}; it {same}\n",
            rebuilt["generation"], rebuilt["components"]
        ));
    }
    for left in repair["left"].as_array().into_iter().flatten() {
        let field = |name: &str| left[name].as_str().map(lines).unwrap_or_default();
        out.push_str(&format!("{}: {}\n", paint.note("not repaired"), field("what")));
        out.push_str(&format!("         {}: {}\n", paint.strong("hint"), field("hint")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Returns a text for the terminal; further lines of it are set in.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<String>>().join("\n           ")
}
