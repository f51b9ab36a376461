//! The verbs: each makes a call and says how its answer is shown.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use catalogue_schema::dialect::estream::write::Withdrawal;
use catalogue_schema::id::{ComponentId, Reference};
use serde_json::{Value, json};

use crate::api::{Call, Code, Failure, encoded, encoded_path, resolve_body};
use crate::cli::ask::{self, Asker};
use crate::cli::estream::verify::Targets;
use crate::cli::estream::workspace::WorkspacePlace;
use crate::cli::explain::Explain;
use crate::cli::project::{Wishes, keep_note, note_text};
use crate::cli::terms::add_offline;
use crate::cli::{
    Components, Ended, Env, Globals, Resolve, Terminal, TrustAct, Verb, Why, audit, convert, doctor,
    documents, estream, events, explain, files, keys, lock, policy, render, search, snapshots, solve,
};
use crate::client::Client;
use crate::config::{ConfigError, Settings};
use crate::daemon;
use crate::daemon::notify::Supervisor;

/// The largest file of natives in bytes.
const NATIVES_BYTES_MAX: u64 = 1 << 20;
/// How long a starting daemon waits for another process to let go of the store, in seconds: one that restarts gets it, a
/// second one is told soon.
const SERVE_WAIT_S: u64 = 3;
/// The exit status of a sync after which no source is fresh.
const NOTHING_FRESH: u8 = 5;

/// Runs a verb and returns the exit status.
///
/// **Errors**: what the caller is told instead of an answer.
pub fn run(verb: &Verb, globals: &Globals, env: Env<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    if let Verb::Marketplace { act } = verb {
        return run(&act.verb(), globals, env, terminal);
    }
    snapshots::refuse_where_unheard(verb, globals)?;
    match verb {
        Verb::Convert(arguments) => return convert::run(arguments, terminal),
        Verb::Keys { act } => return keys::keys(act, terminal),
        Verb::Sign(arguments) => return keys::sign(arguments, terminal),
        Verb::Verify(arguments) => {
            if let Some(signed) = arguments.of_file()? {
                return keys::verify(&signed, terminal);
            }
        }
        Verb::Doctor(arguments) => return doctor::run(arguments, globals, env, terminal),
        Verb::Completions(arguments) => return documents::completions(arguments, terminal).map(|()| 0),
        Verb::Man(arguments) => return documents::manual(arguments, terminal).map(|()| 0),
        Verb::Scaffold(arguments) => return estream::scaffold::run(arguments, terminal).map(|()| 0),
        _ => {}
    }
    let mut overrides = globals.overrides();
    if let Verb::Serve(arguments) = verb {
        overrides.idle_exit_s = arguments.idle_exit;
    }
    let settings = Settings::load(&overrides, env);
    if matches!(verb, Verb::Version) {
        return terminal.print(&version(settings.ok().as_ref()), render::version).map(|()| 0);
    }
    let settings = settings.map_err(|error| Ended::from(error.failure()))?;
    match verb {
        Verb::Publish(arguments) => return estream::publish::publish(arguments, &settings, env, terminal),
        Verb::Yank(arguments) => {
            return estream::publish::withdraw(arguments, Withdrawal::Yank, &settings, env, terminal);
        }
        Verb::Unyank(arguments) => {
            return estream::publish::withdraw(arguments, Withdrawal::Unyank, &settings, env, terminal);
        }
        Verb::Registry { act } => return estream::registry::run(act, &settings, env, terminal),
        _ => {}
    }
    if let Verb::Audit { act } = verb {
        return audit::run(act, &settings, terminal);
    }
    if let Verb::Policy { act } = verb
        && policy::run_alone(act, &settings, globals, terminal)?
    {
        return Ok(0);
    }
    if let Verb::Pack(arguments) = verb {
        return estream::pack::run(arguments, &settings, env, terminal).map(|()| 0);
    }
    if matches!(verb, Verb::Serve(_)) {
        return daemon::serve(&settings, globals.wait_or(SERVE_WAIT_S), &Supervisor::of(env))
            .map(|()| 0)
            .map_err(|error| error.failure().into());
    }
    if globals.starts_a_daemon(env) {
        ask::start_daemon(&settings, globals, terminal)?;
    }
    let mut asker = Asker::new(settings, globals, terminal)?;
    match verb {
        // Handled above: they need no answer.
        Verb::Serve(_)
        | Verb::Version
        | Verb::Convert(_)
        | Verb::Keys { .. }
        | Verb::Sign(_)
        | Verb::Doctor(_)
        | Verb::Audit { .. }
        | Verb::Completions(_)
        | Verb::Marketplace { .. }
        | Verb::Publish(_)
        | Verb::Yank(_)
        | Verb::Unyank(_)
        | Verb::Registry { .. }
        | Verb::Scaffold(_)
        | Verb::Pack(_)
        | Verb::Man(_) => {}
        Verb::Install(arguments) => return estream::install::run(arguments, &mut asker, terminal),
        Verb::Uninstall(arguments) => return estream::uninstall::run(arguments, &mut asker, terminal),
        Verb::Lock(arguments) => {
            let natives = all_natives(&arguments.natives, arguments.natives_file.as_deref(), env)?;
            lock::run(arguments, natives, &mut asker, env, terminal)?;
        }
        Verb::Check(arguments) => return lock::check(arguments, &mut asker, terminal),
        Verb::Export(arguments) => return estream::export::run(arguments, &mut asker, terminal),
        Verb::Verify(arguments) => {
            if let Some(names) = arguments.of_workspace()? {
                let place = WorkspacePlace::of(arguments.workspace.clone());
                return estream::verify::run(&Targets { names, place }, &mut asker, terminal);
            }
            return files::verify(arguments, &mut asker, terminal);
        }
        Verb::Gc(arguments) => return files::gc(arguments, &mut asker, terminal),
        Verb::Release(arguments) => return files::release(arguments, &mut asker, terminal),
        Verb::Materialize(arguments) => {
            let natives = all_natives(&arguments.natives, arguments.natives_file.as_deref(), env)?;
            return files::materialize(arguments, natives, globals.is_offline(), &mut asker, env, terminal);
        }
        Verb::Locate(arguments) => {
            return files::locate(arguments, globals.is_offline(), &mut asker, env, terminal);
        }
        Verb::Resolve(arguments) => {
            let answer = resolved(&mut asker, arguments, env, terminal)?;
            terminal
                .print(&answer, |answer, paint| render::resolution(answer, paint) + &note_text(answer))?;
        }
        Verb::Info { reference } => {
            let (call, view) = info_call(reference)?;
            terminal.print(&asker.ask(&call)?, view)?;
        }
        Verb::Versions { id } => {
            let call = Call::get(format!("{}/versions", encoded_path(&plain_id(id)?)));
            terminal.print(&asker.ask(&call)?, render::versions)?;
        }
        Verb::Sources => terminal.print(&asker.ask(&Call::get("/v1/sources"))?, render::sources)?,
        Verb::Catalogues => terminal.print(&asker.ask(&Call::get("/v1/catalogues"))?, render::catalogues)?,
        Verb::Components(arguments) => {
            terminal.print(&asker.ask(&components_call(arguments))?, render::components)?;
        }
        Verb::Search(arguments) => {
            let mut answer = asker.ask(&search::call(arguments))?;
            let facts = match terminal.prints_text() {
                true => estream::search::facts(&answer, &mut asker)?,
                false => estream::search::add(&mut answer, &mut asker).map(|()| None)?,
            };
            terminal.print(&answer, |answer, paint| match &facts {
                Some(facts) => estream::search::text(answer, facts, paint),
                None => search::text(answer, paint, terminal.columns),
            })?;
        }
        Verb::Explain(arguments) => {
            terminal.print(&explained(&mut asker, arguments, env)?, explain::whole_text)?;
        }
        Verb::Why(arguments) if arguments.within.is_empty() => {
            if !arguments.platforms.is_empty() {
                let detail = "--platform counts for a solution, and none is asked for";
                return Err(Failure::new(Code::RequestInvalid, "arguments", detail)
                    .hint("name the reference whose solution is looked at with --in REF")
                    .into());
            }
            terminal.print(&explained(&mut asker, &arguments.explain, env)?, explain::short_text)?
        }
        Verb::Why(Why { explain, within, platforms }) => {
            let natives = all_natives(&explain.natives, explain.natives_file.as_deref(), env)?;
            let mut body = resolve_body(within, &natives, explain.prerelease, false);
            platforms.add(&mut body)?;
            add_offline(&mut body, asker.is_offline());
            let wishes = explain.place.wishes(env)?;
            let answer = wished(&mut asker, &mut body, wishes.as_ref(), terminal)?;
            let mut ways = solve::ways(&answer, &explain.reference)?;
            keep_note(&answer, &mut ways);
            terminal.print(&ways, |ways, paint| solve::ways_text(ways, paint) + &note_text(ways))?;
        }
        Verb::Tree(arguments) => {
            let answer = resolved(&mut asker, arguments, env, terminal)?;
            let mut tree = solve::tree(&answer);
            keep_note(&answer, &mut tree);
            terminal.print(&tree, |tree, paint| solve::tree_text(tree, paint) + &note_text(tree))?;
        }
        Verb::Outdated(arguments) => {
            let answer = resolved(&mut asker, arguments, env, terminal)?;
            let mut latest = Vec::new();
            for call in solve::latest_calls(&answer) {
                latest.extend(asker.ask(&call)?.as_array().cloned().unwrap_or_default());
            }
            let mut outdated = solve::outdated(&answer, &latest);
            keep_note(&answer, &mut outdated);
            terminal.print(&outdated, |rows, paint| solve::outdated_text(rows, paint) + &note_text(rows))?;
        }
        Verb::Sync { sources } => return sync(&mut asker, sources, terminal),
        Verb::Snapshots { command } => snapshots::run(command.as_ref(), &mut asker, terminal)?,
        Verb::Events { json } => return events::run(*json, &mut asker, terminal),
        Verb::Policy { act } => policy::run(act, &mut asker, terminal)?,
        Verb::Trust { act } => return trust(&mut asker, act, terminal),
        Verb::Reload => return reload(&mut asker, terminal),
        Verb::Status => terminal.print(&status(&mut asker)?, render::status)?,
    }
    Ok(0)
}

fn explain_call(arguments: &Explain, wishes: Option<&Wishes>, is_offline: bool) -> Result<Call, Failure> {
    let natives = natives(&arguments.natives, arguments.natives_file.as_deref())?;
    let mut body = explain::body(arguments, &natives);
    add_offline(&mut body, is_offline);
    if let Some(wishes) = wishes {
        body["mirrors"] = wishes.mirrors();
    }
    Ok(Call::post("/v1/explain", &body))
}

/// Returns the natives that were named, and those of a file.
fn natives(named: &[String], file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let mut natives = named.to_vec();
    if let Some(path) = file {
        natives.extend(natives_of(path)?);
    }
    Ok(natives)
}

/// Explains, with what the project here makes of the component.
fn explained(asker: &mut Asker<'_>, arguments: &Explain, env: Env<'_>) -> Result<Value, Ended> {
    let wishes = arguments.place.wishes(env)?;
    let call = explain_call(arguments, wishes.as_ref(), asker.is_offline())?;
    let mut answer = asker.ask(&call)?;
    if let Some(wishes) = wishes {
        wishes.note_other(&mut answer);
    }
    Ok(answer)
}

fn resolved(
    asker: &mut Asker<'_>,
    arguments: &Resolve,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<Value, Ended> {
    let natives = all_natives(&arguments.natives, arguments.natives_file.as_deref(), env)?;
    if arguments.locked {
        let wish = lock::Wish::locked(arguments, arguments.place.directory()?, natives);
        return lock::resolve(&wish, asker, env, terminal);
    }
    let mut body = resolve_body(&arguments.references, &natives, arguments.prerelease, arguments.refresh);
    arguments.terms.add(&mut body, asker.is_offline())?;
    let wishes = arguments.place.wishes(env)?;
    wished(asker, &mut body, wishes.as_ref(), terminal)
}

/// Resolves with the wishes of a project, and notes that they counted.
fn wished(
    asker: &mut Asker<'_>,
    body: &mut Value,
    wishes: Option<&Wishes>,
    terminal: &Terminal,
) -> Result<Value, Ended> {
    if let Some(wishes) = wishes {
        wishes.add_to(body, terminal);
    }
    let doing = match (body["refresh"] == true, body["calls"].is_string()) {
        (true, _) => "reading the sources",
        (false, true) => "reading what is called",
        (false, false) => "resolving",
    };
    let mut answer = asker.ask_slowly(&Call::post("/v1/resolve", body), doing)?;
    if let Some(wishes) = wishes {
        wishes.note(&mut answer);
    }
    Ok(answer)
}

/// The variable that names natives besides those of the arguments, separated by commas or spaces.
const NATIVES: &str = "RESOLVERD_NATIVES";

/// Returns the natives of the arguments, and those that the environment names for every solution.
fn all_natives(named: &[String], file: Option<&Path>, env: Env<'_>) -> Result<Vec<String>, Failure> {
    let mut all = natives(named, file)?;
    let more = env(NATIVES).unwrap_or_default();
    all.extend(more.split([',', ' ', '\n']).filter(|one| !one.is_empty()).map(str::to_owned));
    Ok(all)
}

fn natives_of(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = |found: &str| {
        Failure::new(Code::RequestInvalid, "natives_file", format!("cannot read {}: {found}", path.display()))
            .hint("one id or prefix a line; # starts a comment")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(&error.to_string()))?;
    file.take(NATIVES_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(&error.to_string()))?;
    if text.len() as u64 > NATIVES_BYTES_MAX {
        return Err(failed("it is larger than 1 MiB"));
    }
    Ok(natives_in(&text))
}

/// Returns the natives of a file's text. A `#` starts a comment at the start of a line or behind a space.
pub(super) fn natives_in(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// How an answer is shown.
type View = fn(&Value, render::Paint) -> String;

fn info_call(text: &str) -> Result<(Call, View), Failure> {
    let reference = read(text)?;
    let path = encoded_path(&reference.id);
    if has_requirement(text) {
        let version = encoded(&reference.requirement.to_string());
        return Ok((Call::get(format!("{path}/{version}")), render::release));
    }
    Ok((Call::get(path), render::component))
}

fn plain_id(text: &str) -> Result<ComponentId, Failure> {
    let reference = read(text)?;
    if has_requirement(text) {
        let detail = format!("expected an id alone, found a requirement behind {}", reference.id);
        return Err(Failure::new(Code::ReferenceInvalid, "input.id", detail)
            .hint(format!("resolverd versions {}", reference.id)));
    }
    Ok(reference.id)
}

/// Tells whether a reference that was read names a requirement. A leading @ is a publisher.
fn has_requirement(text: &str) -> bool {
    text.rfind('@').is_some_and(|at| at > 0 && !text[at..].contains('/'))
}

fn read(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| Failure::of_reference(&error))
}

fn components_call(arguments: &Components) -> Call {
    let Components { namespace, source, kind, limit, cursor } = arguments;
    let limit = limit.map(|limit| limit.to_string());
    let parameters =
        [("namespace", namespace), ("source", source), ("kind", kind), ("limit", &limit), ("cursor", cursor)];
    let given: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", encoded(value))))
        .collect();
    let query = if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) };
    Call::get(format!("/v1/components{query}"))
}

fn trust(asker: &mut Asker<'_>, act: &TrustAct, terminal: &Terminal) -> Result<u8, Ended> {
    match act {
        TrustAct::State => {
            terminal.print(&asker.ask(&Call::get("/v1/trust/revisions"))?, render::revisions)?
        }
        TrustAct::Log { source, limit } => {
            let source = source.as_ref().map(|source| format!("source={}", encoded(source)));
            let limit = limit.map(|limit| format!("limit={limit}"));
            let given: Vec<String> = source.into_iter().chain(limit).collect();
            let call = Call::get(format!("/v1/trust/log?{}", given.join("&")));
            terminal.print(&asker.ask(&call)?, render::revision_log)?;
        }
        TrustAct::Forget { target, reason } => {
            if let Some((id, _)) = target.rsplit_once('@')
                && ComponentId::parse(id).is_ok()
            {
                let body = json!({"release": target, "reason": reason});
                return synced(asker, &Call::post("/v1/trust/forget", &body), terminal);
            }
            let known = asker.ask(&Call::get("/v1/trust/revisions"))?;
            let (source, catalogue) = named(target, &known);
            let body = json!({"source": source, "catalogue": catalogue, "reason": reason});
            return synced(asker, &Call::post("/v1/trust/forget", &body), terminal);
        }
        TrustAct::Reset { clock, reason } => {
            let body = match clock {
                true => json!({"clock": true, "reason": reason}),
                false => json!({"reason": reason}),
            };
            return synced(asker, &Call::post("/v1/trust/reset", &body), terminal);
        }
    }
    Ok(0)
}

/// Splits `SOURCE/CATALOGUE` where a source of that name is remembered; ids of sources may hold slashes themselves.
pub(super) fn named<'a>(target: &'a str, known: &Value) -> (&'a str, Option<&'a str>) {
    let rows = known["items"].as_array().map_or(&[][..], Vec::as_slice);
    let is_source = |name: &str| rows.iter().any(|row| row["source"] == name);
    let slashes = target.match_indices('/').map(|(at, _)| at);
    let split = slashes.rev().find(|at| is_source(&target[..*at])).filter(|_| !is_source(target));
    match split {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

fn sync(asker: &mut Asker<'_>, sources: &[String], terminal: &Terminal) -> Result<u8, Ended> {
    synced(asker, &Call::post("/v1/sync", &json!({"sources": sources})), terminal)
}

fn reload(asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let call = Call::post("/v1/reload", &json!({}));
    let answer = asker.ask_slowly(&call, "reading the configuration and the sources")?;
    reported(asker, &answer, terminal)
}

fn synced(asker: &mut Asker<'_>, call: &Call, terminal: &Terminal) -> Result<u8, Ended> {
    let answer = asker.ask_slowly(call, "reading the sources")?;
    reported(asker, &answer, terminal)
}

/// Prints a report, and what is wrong beside it; returns the exit status.
fn reported(asker: &mut Asker<'_>, answer: &Value, terminal: &Terminal) -> Result<u8, Ended> {
    // A report names the first failure of each source; what a source that is fresh lists may be stale all the same.
    let health = asker.ask(&Call::get("/v1/health"))?;
    terminal.print(answer, |answer, paint| {
        let below = render::stale_catalogues(&health, answer, paint);
        render::report(answer, paint) + &below
    })?;
    if asker.has_daemon() {
        // What was read is what the daemon has in force, which is not the file when the file is broken.
        if let Some(problem) = render::configuration(&health) {
            terminal.say(&format!("warning: the sources read were those in force; {problem}"));
        }
    }
    let all = answer["sources"].as_array().map_or(&[][..], Vec::as_slice);
    let fresh = all.iter().any(|source| source["health"] == "fresh");
    Ok(if fresh || all.is_empty() { 0 } else { NOTHING_FRESH })
}

fn status(asker: &mut Asker<'_>) -> Result<Value, Ended> {
    let mut health = asker.ask(&Call::get("/v1/health"))?;
    let settings = asker.settings();
    if !asker.has_daemon()
        && let Err(problem) = settings.sources().map(drop).and_then(|()| settings.admin_gid().map(drop))
    {
        // A daemon says so itself; in process the sources file is not read for a status.
        let Failure { reason, detail, .. } = problem.failure();
        let subject = if matches!(problem, ConfigError::Group { .. }) { "admin_group" } else { "sources" };
        let configuration = json!({"subject": subject, "reason": reason, "expected": "", "found": detail});
        health["configuration"] = configuration;
        if health["status"] == "ok" {
            health["status"] = json!("degraded");
        }
    }
    // Listing the sources of an empty store would start a sync, which nobody asked for.
    let sources = match health["generation"].is_null() {
        true => json!([]),
        false => asker.ask(&Call::get("/v1/sources"))?["items"].clone(),
    };
    Ok(json!({
        "socket": asker.settings().socket,
        "estream": asker.settings().home.as_ref().map(|home| json!({
            "files": home.files, "registries": home.sources.iter().map(|one| &one.id).collect::<Vec<_>>(),
        })),
        "answers": if asker.has_daemon() { "daemon" } else { "in-process" },
        "health": health,
        "stats": asker.ask(&Call::get("/v1/stats"))?,
        "sources": sources,
    }))
}

/// Returns the versions. Never fails: whoever reports a fault needs it most when the rest is broken.
fn version(settings: Option<&Settings>) -> Value {
    let client = settings.and_then(|settings| Client::connect(&settings.socket).ok());
    let reply = client.and_then(|client| client.impatient().call(&Call::get("/v1/version")).ok());
    let daemon: Value = reply.and_then(|reply| serde_json::from_slice(&reply.body).ok()).unwrap_or_default();
    json!({"name": "resolverd", "version": env!("CARGO_PKG_VERSION"), "api": "v1", "daemon": daemon["version"]})
}
