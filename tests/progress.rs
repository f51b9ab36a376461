//! How far files come, told by a real daemon that fetches from a real TLS server whose bytes pass a gate: lines before an answer, who
//! reads them slowly, not at all or no longer, and the bars that a person sees.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::estream::{Part, Registry};
use crate::harness::http::Lines;
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{Gate, GitMount, Route, TlsServer};
use crate::harness::{place, poll};

const TRADING: &str = "estream:esf-trading@1.2.0";
const PATH: &str = "/esf-trading.tar.gz";
const ACCEPT: &str = "accept: application/x-ndjson";
/// How many bytes pass the gate at once.
const PIECE: usize = 8_000;

/// A registry whose archives lie on a server.
struct World {
    sandbox: Sandbox,
    server: TlsServer,
    /// The archive of [`TRADING`].
    archive: Vec<u8>,
    gate: Gate,
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever still waits may end.
        self.gate.open(1_000_000);
        place::open_up(&self.sandbox.path("cache"));
    }
}

impl World {
    fn new() -> World {
        let mut registry = Registry::new();
        registry.publisher("estream");
        let table: String = (0..30_000).map(|line| format!("{line:07} and more\n")).collect();
        let part =
            |name, more| Part { category: "esf-schema", name, publisher: "estream", version: "1.2.0", more };
        registry.publish_with(&part("esf-trading", ""), &[("schemas/table.txt", &table)]);
        registry.publish(&part("esf-orders", "\n[component.dependencies]\nesf-trading = \"1.2.0\"\n"));
        for name in ["esf-trading", "esf-orders"] {
            registry.change(&format!("index/esf-schema/{name}/metadata.json"), |metadata| {
                metadata["versions"][0]["archive_url"] =
                    json!(format!("https://archives.example.org/{name}.tar.gz"));
            });
        }
        let (server, sandbox, gate) = (TlsServer::start(), Sandbox::new(), Gate::default());
        let archive = registry.files["archives/esf-trading-1.2.0.tar.gz"].clone();
        server.route(PATH, Route::Gated(archive.clone(), PIECE, gate.clone()));
        server.route("/esf-orders.tar.gz", Route::ok(&registry.files["archives/esf-orders-1.2.0.tar.gz"]));
        let repository = Repository::create(&sandbox.path("registry"));
        repository.commit(&registry.files);
        sandbox.write_sources(&json!({ "sources": [{
            "id": "parts", "dialect": "estream", "url": repository.url(), "owns": ["estream-*", "esf-*"],
        }] }));
        let home = sandbox.path("config/resolverd");
        std::fs::create_dir_all(&home).unwrap();
        let config = format!(
            "[https]\nca_file = \"{}\"\n[[rewrite]]\nfrom = \"https://archives.example.org\"\nto = \"{}\"\n",
            server.ca_file().display(),
            server.origin()
        );
        std::fs::write(home.join("config.toml"), config).unwrap();
        World { sandbox, server, archive, gate }
    }

    fn pieces(&self) -> usize {
        self.archive.len().div_ceil(PIECE)
    }

    fn asked(&self) -> usize {
        self.server.requests().iter().filter(|request| request.path() == PATH).count()
    }

    /// Waits until the archive has been asked for so often.
    fn wait_asked(&self, times: usize) {
        poll::until("the archive is asked for", || (self.asked() == times).then_some(()));
    }
}

fn body() -> Value {
    json!({ "releases": [TRADING] })
}

fn lines(daemon: &Daemon, body: &Value) -> Lines {
    Lines::ask(daemon.socket(), "/v1/materialize", ACCEPT, body)
}

fn number(row: &Value, name: &str) -> u64 {
    row["progress"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// Returns the steps of a release, each once, and checks that its bytes never go back.
fn steps(lines: &[Value], release: &Value) -> Vec<String> {
    let (mut steps, mut received): (Vec<String>, u64) = (Vec::new(), 0);
    for row in
        lines.iter().filter(|row| row["progress"].is_object() && row["progress"]["release"] == *release)
    {
        let now = number(row, "received");
        assert!(now >= received, "{lines:#?}");
        received = now;
        let step = row["progress"]["step"].as_str().unwrap().to_owned();
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    steps
}

#[test]
fn lines_come_before_the_answer_which_is_the_one_that_others_get() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let size = world.archive.len() as u64;
    world.gate.open(1);
    let mut stream = lines(&daemon, &body());
    assert_eq!(stream.answer.status, 200);
    assert_eq!(stream.answer.header("content-type"), Some("application/x-ndjson"));
    let mut all = vec![stream.next().unwrap()];
    while all.last().is_some_and(|row| number(row, "received") == 0) {
        all.push(stream.next().unwrap());
    }
    // Each piece is seen, since nobody goes on before.
    let mut seen = 0;
    for _ in 1..world.pieces() {
        world.gate.open(1);
        let before = number(all.last().unwrap(), "received");
        while number(all.last().unwrap(), "received") == before {
            all.push(stream.next().unwrap());
        }
        seen += 1;
        if seen == 5 {
            break;
        }
    }
    let row = &all.last().unwrap()["progress"];
    assert_eq!(
        (&row["release"], &row["step"], &row["size"]),
        (&json!(TRADING), &json!("fetching"), &json!(size))
    );
    assert!(row["received"].as_u64().unwrap() < size, "{row}");
    world.gate.open(world.pieces());
    all.extend(stream.rest());
    let mut answer = all.pop().unwrap();
    assert!(all.iter().all(|row| row["progress"].is_object()), "{all:#?}");
    assert_eq!(
        steps(&all, &json!(TRADING)),
        ["waiting", "fetching", "fetched", "verified", "unpacked", "ready"]
    );
    assert_eq!(number(all.last().unwrap(), "received"), size);
    // What is in the cache by now is an ordinary answer, byte for byte, whoever takes lines.
    let plain = daemon.post("/v1/materialize", &body());
    let again = lines(&daemon, &body());
    assert_eq!(again.answer.header("content-type"), Some("application/json"));
    assert_eq!(again.answer.body, plain.body);
    assert_eq!(answer["items"][0]["from"], "fetched");
    assert_eq!(answer["items"][0]["archiveBytes"], json!(size));
    answer["items"][0]["from"] = json!("cache");
    assert_eq!(answer, plain.ok());
    // Fetched anew, and nothing of lines without the header.
    world.gate.open(world.pieces());
    let anew = daemon.post("/v1/materialize", &json!({ "releases": [TRADING], "refetch": true }));
    assert_eq!(anew.header("content-type"), Some("application/json"));
    assert_eq!(anew.ok()["items"][0]["from"], "fetched");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_closure_tells_of_every_release() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.gate.open(world.pieces());
    let mut stream = lines(&daemon, &json!({ "resolve": { "requests": ["estream:esf-orders"] } }));
    let all = stream.rest();
    let answer = all.last().unwrap();
    assert_eq!(answer["roots"], json!(["estream:esf-orders@1.2.0"]));
    for name in [TRADING, "estream:esf-orders@1.2.0"] {
        let steps = steps(&all, &json!(name));
        assert_eq!(steps.first().unwrap(), "waiting", "{all:#?}");
        assert_eq!(steps.last().unwrap(), "ready", "{all:#?}");
    }
}

#[test]
fn what_is_in_the_cache_is_told_beside_what_is_fetched() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.gate.open(world.pieces());
    daemon.post("/v1/materialize", &body()).ok();
    let mut stream = lines(&daemon, &json!({ "resolve": { "requests": ["estream:esf-orders"] } }));
    assert_eq!(stream.answer.header("content-type"), Some("application/x-ndjson"), "{}", stream.answer);
    let all = stream.rest();
    assert_eq!(steps(&all, &json!(TRADING)), ["cached"]);
    assert_eq!(steps(&all, &json!("estream:esf-orders@1.2.0")).last().unwrap(), "ready");
    let from: Vec<&Value> =
        all.last().unwrap()["items"].as_array().unwrap().iter().map(|item| &item["from"]).collect();
    assert_eq!(from, ["cache", "fetched"]);
}

#[test]
fn what_is_wrong_after_bytes_have_come_is_the_last_line_and_what_was_wrong_before_keeps_its_status() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let mut other = world.archive.clone();
    *other.last_mut().unwrap() ^= 1;
    world.server.route(PATH, Route::Gated(other, PIECE, world.gate.clone()));
    world.gate.open(world.pieces());
    let mut stream = lines(&daemon, &body());
    assert_eq!(stream.answer.status, 200);
    let all = stream.rest();
    let problem = all.last().unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("E006"), &json!(502)), "{problem:#}");
    assert_eq!(problem["reason"], "trust.digest_mismatch");
    assert_eq!(steps(&all, &json!(TRADING)), ["waiting", "fetching", "fetched", "failed"]);
    // The same problem as without lines, but for the id of the request.
    world.gate.open(world.pieces());
    let mut plain = daemon.post("/v1/materialize", &body());
    assert_eq!(plain.status, 502);
    let without = |value: &Value| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove("requestId").unwrap();
        value
    };
    assert_eq!(without(&plain.json()), without(problem));
    // Nothing has been had: an ordinary problem.
    world.server.route(PATH, Route::status(404));
    let refused = lines(&daemon, &body());
    plain = daemon.post("/v1/materialize", &body());
    assert_eq!(refused.answer.status, plain.status);
    assert_eq!(refused.answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(without(&refused.answer.json()), without(&plain.json()));
    let offline = lines(&daemon, &json!({ "releases": [TRADING], "offline": true }));
    assert_eq!((offline.answer.status, offline.answer.reason().as_str()), (503, "offline"));
    let unknown = lines(&daemon, &json!({ "releases": ["estream:none"] }));
    assert_eq!(unknown.answer.status, 404);
}

#[test]
fn an_archive_that_was_cut_off_begins_anew_and_says_so() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let before = Gate::default();
    let gated = |gate: &Gate| Route::Gated(world.archive.clone(), PIECE, gate.clone());
    world.server.script(PATH, vec![gated(&before), gated(&world.gate)]);
    before.open(2);
    let mut stream = lines(&daemon, &body());
    let received = |row: &Value| row["progress"]["received"].as_u64();
    let mut all = vec![stream.next().unwrap()];
    while received(all.last().unwrap()) != Some(2 * PIECE as u64) {
        all.push(stream.next().unwrap());
    }
    world.server.hang_up();
    before.open(1);
    world.wait_asked(2);
    world.gate.open(1);
    while received(all.last().unwrap()) != Some(PIECE as u64) {
        all.push(stream.next().unwrap());
    }
    world.gate.open(world.pieces());
    all.extend(stream.rest());
    assert_eq!(all.last().unwrap()["items"][0]["from"], "fetched");
}

#[test]
fn a_reader_that_stops_reading_holds_nobody_up_and_has_the_answer_in_the_end() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.gate.open(1);
    let mut stream = lines(&daemon, &body());
    world.gate.open(world.pieces());
    // It is there for others, although the first one reads nothing.
    let other = daemon.post("/v1/materialize", &body());
    assert_eq!(other.ok()["items"][0]["release"], TRADING);
    let all = stream.rest();
    assert!(all.len() < 3 * world.pieces(), "{}", all.len());
    assert_eq!(all.last().unwrap()["items"][0]["release"], TRADING);
}

#[test]
fn who_has_nothing_more_to_say_still_gets_lines_and_the_answer() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.gate.open(1);
    let mut stream = lines(&daemon, &body());
    stream.end_asking();
    assert_eq!(stream.next().unwrap()["progress"]["release"], TRADING);
    world.gate.open(world.pieces());
    assert_eq!(stream.rest().last().unwrap()["items"][0]["release"], TRADING);
}

#[test]
fn a_reader_that_goes_away_ends_the_fetch() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.server.route(PATH, Route::Gated(world.archive.clone(), 200, world.gate.clone()));
    world.gate.open(1);
    let mut stream = lines(&daemon, &body());
    stream.next().unwrap();
    drop(stream);
    poll::until("the fetch ends", || {
        world.gate.open(1);
        world.gate.is_broken().then_some(())
    });
    // Whoever comes then begins anew.
    world.gate.open(1_000_000);
    let again = daemon.post("/v1/materialize", &body());
    assert_eq!(again.ok()["items"][0]["from"], "fetched");
    assert_eq!(world.asked(), 2);
}

#[test]
fn a_daemon_that_stops_ends_the_lines_without_an_answer() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    world.gate.open(1);
    let mut stream = lines(&daemon, &body());
    stream.next().unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "although the archive never comes");
    assert!(stream.is_cut());
    // Nothing of it is in the way of the next one.
    world.gate.open(2 * world.pieces());
    let daemon = world.sandbox.start();
    let again = daemon.post("/v1/materialize", &body());
    assert_eq!(again.ok()["items"][0]["from"], "fetched");
}

#[test]
fn two_who_ask_for_one_release_hear_of_one_fetch() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    // So many pieces that the second one comes in time on a busy machine.
    world.server.route(PATH, Route::Gated(world.archive.clone(), 100, world.gate.clone()));
    world.gate.open(1);
    let begun = Instant::now();
    let mut first = lines(&daemon, &body());
    first.next().unwrap();
    // The second one is answered only when more has come, so that it is asked beside.
    let (socket, gate) = (daemon.socket().to_path_buf(), world.gate.clone());
    let second = std::thread::spawn(move || Lines::ask(&socket, "/v1/materialize", ACCEPT, &body()));
    poll::until("the second one hears of it", || {
        gate.open(1);
        second.is_finished().then_some(())
    });
    let mut second = second.join().unwrap();
    assert_eq!(second.answer.header("content-type"), Some("application/x-ndjson"));
    // The first one goes; the second one still waits, so that nothing ends.
    drop(first);
    world.gate.open(1_000_000);
    let all = second.rest();
    // However many pieces there were: a line of each step, and ten times a second what is newest.
    let most = 10 + begun.elapsed().as_millis() / 100;
    assert!((all.len() as u128) < most, "{} lines of {most}", all.len());
    let steps = steps(&all, &json!(TRADING));
    assert_eq!(
        (steps.first().unwrap().as_str(), steps.last().unwrap().as_str()),
        ("waiting", "ready"),
        "{all:#?}"
    );
    assert!(steps.contains(&"fetching".to_owned()), "{all:#?}");
    assert_eq!(all.last().unwrap()["items"][0]["release"], TRADING);
    assert_eq!(world.asked(), 1);
    assert!(!world.gate.is_broken());
}

#[test]
fn directories_of_one_commit_come_together_and_say_how_many_files_are_there() {
    let world = World::new();
    let home = Repository::create(&world.sandbox.path("home"));
    let mut files = Files::new();
    for (name, count) in [("a", 40), ("b", 3)] {
        for at in 0..count {
            files.insert(format!("packages/{name}/file-{at}.txt"), format!("{name} {at}\n").into_bytes());
        }
    }
    let commit = home.commit(&files);
    home.bare_clone(&world.sandbox.path("served/home.git"));
    place::git(&world.sandbox.path("served/home.git"), &["config", "uploadpack.allowFilter", "true"]);
    place::git(&world.sandbox.path("served/home.git"), &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    world.server.mount("/git", GitMount::of(&world.sandbox.path("served")));
    let daemon = world.sandbox.start_synced();
    let named =
        |name: &str| format!("git+https://archives.example.org/git/home.git@{commit}#packages/{name}");
    let mut stream = lines(&daemon, &json!({ "releases": [named("a"), named("b")] }));
    assert_eq!(stream.answer.header("content-type"), Some("application/x-ndjson"), "{}", stream.answer);
    let all = stream.rest();
    assert_eq!(all.last().unwrap()["items"][1]["files"].as_array().unwrap().len(), 3);
    let together: Vec<&Value> =
        all.iter().filter(|row| row["progress"]["releases"] == 2).map(|row| &row["progress"]).collect();
    assert!(
        !together.is_empty() && together.iter().all(|row| row["release"].is_null() && row["size"].is_null())
    );
    assert!(together.last().unwrap()["received"].as_u64().unwrap() > 0);
    for (name, count) in [("a", 40), ("b", 3)] {
        let name = json!(named(name));
        assert_eq!(steps(&all, &name), ["waiting", "fetching", "verified", "ready"], "{all:#?}");
        let last = all.iter().rfind(|row| row["progress"]["release"] == name).unwrap();
        assert_eq!((number(last, "filesReceived"), number(last, "files")), (count, count));
        assert!(last["progress"]["size"].is_null(), "{last}");
    }
    // One alone: what comes is its own.
    let commit = home.commit(&Files::from([("one/file.txt".to_owned(), b"alone".to_vec())]));
    place::git(&world.sandbox.path("served/home.git"), &["fetch", "--quiet", "../../home", "HEAD:main"]);
    let name = format!("git+https://archives.example.org/git/home.git@{commit}#one");
    let all = lines(&daemon, &json!({ "releases": [&name] })).rest();
    let last = all.iter().rfind(|row| row["progress"]["release"] == json!(name)).unwrap();
    assert!(number(last, "received") > 0, "{all:#?}");
    assert!(all.iter().all(|row| row["progress"]["releases"].is_null()), "{all:#?}");
}

/// Runs the binary at a terminal of its own and returns its exit status with everything that it showed there.
fn shown(world: &World, workspace: &PathBuf, arguments: &str) -> (Option<i32>, String) {
    let command = world.sandbox.command();
    let program = command.get_program().to_str().unwrap().to_owned();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty cols 100 rows 30; exec '{program}' {arguments}"), "/dev/null"]);
    world.sandbox.furnish(&mut script);
    script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh").current_dir(workspace);
    let mut child =
        script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = poll::until("the verb ends", || {
        world.gate.open(1);
        child.try_wait().unwrap()
    });
    (status.code(), reader.join().unwrap())
}

/// Tells whether there is a program that gives another one a terminal.
fn has_terminal() -> bool {
    let is_there = Command::new("script").arg("--version").output().is_ok();
    if !is_there {
        place::skipped("script is not here");
    }
    is_there
}

#[test]
fn what_goes_wrong_behind_a_bar_ends_a_verb_as_ever() {
    if !has_terminal() {
        return;
    }
    for has_daemon in [true, false] {
        let world = World::new();
        let workspace = world.sandbox.path("workspace");
        std::fs::create_dir_all(&workspace).unwrap();
        let daemon = has_daemon.then(|| world.sandbox.start_synced());
        let mut other = world.archive.clone();
        *other.last_mut().unwrap() ^= 1;
        world.server.route(PATH, Route::Gated(other, PIECE, world.gate.clone()));
        let (status, text) = shown(&world, &workspace, "install esf-trading");
        assert_eq!(status, Some(7), "{text:?}");
        assert!(text.contains("esf-trading v1.2.0 [") && text.contains("E006"), "{text:?}");
        assert!(std::fs::read_dir(&workspace).unwrap().next().is_none(), "nothing was written");
        drop(daemon);
    }
}

#[test]
fn a_terminal_shows_bars_and_a_pipe_nothing_of_them() {
    if !has_terminal() {
        return;
    }
    let size = format!("({} KB)", World::new().archive.len().div_ceil(1_000));
    // With a daemon, and by the process itself.
    for has_daemon in [true, false] {
        let world = World::new();
        let workspace = world.sandbox.path("workspace");
        std::fs::create_dir_all(&workspace).unwrap();
        let daemon = has_daemon.then(|| world.sandbox.start_synced());
        let (status, text) = shown(&world, &workspace, "install esf-trading");
        assert_eq!(status, Some(0), "{text:?}");
        assert!(text.contains("\u{1b}[") && text.contains("esf-trading v1.2.0 ["), "{text:?}");
        assert!(text.contains(&format!("esf-trading v1.2.0 ... done {size}")), "{text:?}");
        // The same once more, at a terminal and with nobody to look at it.
        let others = world.sandbox.path("others");
        std::fs::create_dir_all(&others).unwrap();
        for quiet in ["--no-progress", "--quiet", "-o json"] {
            let (status, text) = shown(&world, &others, &format!("install esf-trading --force {quiet}"));
            assert_eq!(status, Some(0), "{text:?}");
            assert!(!text.contains('\u{1b}'), "{quiet}: {text:?}");
        }
        world.gate.open(10 * world.pieces());
        let arguments = ["install", "esf-trading", "--force"];
        let said = Said::of(world.sandbox.command().current_dir(&workspace).args(arguments));
        assert_eq!(said.status, 0, "{said:?}");
        assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{said:?}");
        assert!(said.stdout.contains(&size), "{said:?}");
        drop(daemon);
    }
}
