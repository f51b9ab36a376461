//! Files on disk where it gets narrow: who may hold them, read them and end a hold; a disk that is full; a cache that another user
//! has touched; references that a policy only warns of; connections that ask nothing; many clients while everything changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use resolverd::client::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::events::Listener;
use crate::faults::Mount;
use crate::harness::chance::count;
use crate::harness::daemon::{Daemon, Said, Sandbox, mode};
use crate::harness::lcod::{Component, Form};
use crate::harness::repository::Files;
use crate::harness::{http, place, poll};
use crate::materialize::{World, ask, directory, tree};
use crate::snapshots::Changing;
use crate::system::{self, SOMEBODY};

const ONE: &str = "lcod://acme/tools/one";
const TWO: &str = "lcod://acme/tools/two";

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        place::skipped("only root can be another user");
    }
    is_root
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Starts a daemon for a whole machine that everybody may ask, with its cache in the sandbox.
fn for_everybody(world: &World) -> Daemon {
    let sandbox = &world.sandbox;
    // As the service's unit makes it.
    fs::create_dir_all(sandbox.path("cache/resolverd")).unwrap();
    let config = sandbox.path("system.toml");
    let text = format!("cache_dir = \"{}\"\n", sandbox.path("cache/resolverd").display());
    fs::write(&config, text).unwrap();
    let mut daemon = sandbox.spawn_with(&["--system", "--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    daemon.sync();
    for place in [sandbox.path(""), sandbox.path("cache"), sandbox.path("cache/resolverd")] {
        open(&place, 0o755);
    }
    open(sandbox.socket().parent().unwrap(), 0o755);
    open(&sandbox.socket(), 0o666);
    daemon
}

#[test]
fn a_hold_is_that_of_the_user_who_asked_for_it() {
    if !is_root() {
        return;
    }
    let world = World::few(Form::Lines);
    let daemon = for_everybody(&world);
    let theirs = |target: &str, body: Value| {
        let (status, answer) = system::ask(&world.sandbox, target, Some(&body.to_string()));
        assert_eq!(status, "200", "{target}: {answer:#}");
        answer
    };
    let held = |answer: &Value| -> Vec<(String, u64, usize)> {
        let row = |hold: &Value| {
            let count = hold["releases"].as_array().unwrap().len();
            (hold["name"].as_str().unwrap().to_owned(), hold["uid"].as_u64().unwrap(), count)
        };
        answer["holds"].as_array().unwrap().iter().map(row).collect()
    };
    let somebody = u64::from(SOMEBODY);
    daemon.post("/v1/materialize", &json!({"releases": [ONE, TWO], "hold": "build"})).ok();
    theirs("/v1/materialize", json!({"releases": [ONE], "hold": "build"}));
    let all = vec![("build".to_owned(), 0, 2), ("build".to_owned(), somebody, 1)];
    assert_eq!(held(&daemon.get("/v1/files").ok()), all, "nobody replaces another's");
    let (_, seen) = system::ask(&world.sandbox, "/v1/files", None);
    assert_eq!(held(&seen), all[1..], "the names of others are not shown");

    daemon.post("/v1/materialize", &json!({"releases": [TWO], "hold": "mine"})).ok();
    let nothing = theirs("/v1/files/release", json!({"holds": ["mine"]}));
    assert_eq!(nothing["released"], json!([]));
    let released = theirs("/v1/files/release", json!({"holds": ["build", "mine"]}));
    assert_eq!(released["released"][0]["uid"], somebody);
    let left = vec![("build".to_owned(), 0, 2), ("mine".to_owned(), 0, 1)];
    assert_eq!(held(&daemon.get("/v1/files").ok()), left);
    let (status, refused) = system::ask(&world.sandbox, "/v1/files/gc", Some(r#"{"ended": ["build"]}"#));
    assert_eq!((status.as_str(), &refused["code"]), ("403", &json!("E015")));
    // Root ends those of everybody.
    theirs("/v1/materialize", json!({"releases": [ONE], "hold": "theirs"}));
    let said = world.sandbox.run(&["release", "theirs", "nobody"]);
    assert!(
        said.status == 10 && said.stdout.contains("released theirs") && said.stdout.contains("nobody"),
        "{said:?}"
    );
    assert_eq!(world.sandbox.run(&["release", "build", "mine"]).status, 0);
    assert_eq!(held(&daemon.get("/v1/files").ok()), []);
    let said = world.sandbox.run(&["gc", "--unused", "0"]);
    assert!(said.status == 0 && world.kept("trees").is_empty(), "{said:?}");
}

#[test]
fn holds_are_bounded_for_each_user() {
    let world = World::few(Form::Lines);
    let config = world.sandbox.path("config.toml");
    fs::write(&config, "[limits]\nholds_per_uid = 1\n").unwrap();
    let run = |name: &str| {
        world.sandbox.run(&["materialize", ONE, "--hold", name, "--config", config.to_str().unwrap()])
    };
    assert_eq!(run("first").status, 0);
    assert_eq!(run("first").status, 0);
    let said = run("second");
    assert!(said.status == 1 && said.stderr.contains("limit.holds_per_uid"), "{said:?}");
    assert!(said.stderr.contains("resolverd release"), "it says what to do: {said:?}");
    assert_eq!(world.sandbox.run(&["release", "first"]).status, 0);
    assert_eq!(run("second").status, 0);
}

#[test]
fn a_full_disk_is_named_and_nothing_half_is_seen() {
    let large = Files::from([("packages/acme.x/large.bin".to_owned(), vec![7; 6 << 20])]);
    let world = World::of_files(&large, |_| {});
    fs::create_dir_all(world.sandbox.path("cache/resolverd")).unwrap();
    let Some(mount) = Mount::tmpfs(&world.cache(), "size=3m") else { return };
    let daemon = world.sandbox.start_synced();
    for _ in 0..2 {
        let refused = ask(&daemon, &["lcod://acme/x"]);
        assert_eq!((refused.json()["code"].as_str(), refused.reason().as_str()), (Some("R010"), "no_space"));
        assert!(refused.json()["hint"].as_str().unwrap().contains("gc"), "{refused}");
        let left: Vec<_> = fs::read_dir(world.cache().join("trees")).unwrap().collect();
        assert!(left.is_empty() && world.kept("about").is_empty(), "nothing half is there: {left:?}");
    }
    assert_eq!(daemon.get("/readyz").status, 200, "everything else goes on");
    mount.remount("size=64m");
    let row = ask(&daemon, &["lcod://acme/x"]).ok()["items"][0].clone();
    assert_eq!(row["from"], "fetched");
    assert_eq!(fs::read(directory(&row).join("large.bin")).unwrap(), large["packages/acme.x/large.bin"]);
    // So with a directory of one's own, on another file system.
    let to = world.sandbox.path("small");
    let Some(small) = Mount::tmpfs(&to, "size=2m") else { return };
    let put = || world.sandbox.run(&["materialize", "lcod://acme/x", "--to", to.join("v").to_str().unwrap()]);
    let said = put();
    assert!(said.status != 0 && said.stderr.contains("no_space"), "{said:?}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "nothing half is there");
    small.remount("size=64m");
    assert_eq!(put().status, 0);
    assert_eq!(fs::read(to.join("v/acme/x/1.0.0/large.bin")).unwrap().len(), 6 << 20);
    // What nobody may write in is removed with the sandbox.
    drop(daemon);
    crate::harness::place::open_up(&world.cache());
}

#[test]
fn the_cache_of_a_machine_is_read_by_its_group_and_by_nobody_else() {
    if !is_root() {
        return;
    }
    let world = World::few(Form::Lines);
    let daemon = for_everybody(&world);
    let row = ask(&daemon, &[ONE]).ok()["items"][0].clone();
    let compose = directory(&row).join("compose.yaml");
    assert_eq!((mode(&world.cache()), mode(&world.cache().join("trees"))), (0o750, 0o750));
    assert_eq!((mode(&world.cache().join("about")), mode(&world.cache().join("holds"))), (0o700, 0o700));
    let read = |gid: u32, path: &Path| {
        Said::of(Command::new("cat").arg(path).current_dir("/").uid(SOMEBODY).gid(gid))
    };
    let group = rustix::process::getegid().as_raw();
    let said = read(group, &compose);
    assert_eq!((said.status, said.stdout.as_bytes()), (0, &*world.components[0].compose()), "{said:?}");
    let said = read(SOMEBODY, &compose);
    assert!(said.status != 0 && said.stderr.contains("Permission denied"), "{said:?}");
    // The group reads, and writes nothing; who needs what is nobody's business.
    let write = |path: PathBuf| {
        Said::of(Command::new("touch").arg(path).current_dir("/").uid(SOMEBODY).gid(group)).status
    };
    assert_ne!(write(compose), 0);
    assert_ne!(write(world.cache().join("trees/x")), 0);
    let list = Said::of(
        Command::new("ls").arg(world.cache().join("holds")).current_dir("/").uid(SOMEBODY).gid(group),
    );
    assert_ne!(list.status, 0);
}

#[test]
fn a_file_that_another_user_has_made_unreadable_is_named_and_made_good() {
    if !is_root() {
        return;
    }
    let world = World::few(Form::Lines);
    let sandbox = &world.sandbox;
    let binary = sandbox.path("resolverd");
    fs::copy(place::binary(), &binary).unwrap();
    assert_eq!(sandbox.run(&["materialize", ONE]).status, 0);
    hand_over(&sandbox.path(""));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        sandbox.furnish(&mut command);
        Said::of(command.uid(SOMEBODY).gid(SOMEBODY).args(arguments))
    };
    let said = run(&["materialize", ONE, "--offline", "-o", "json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let row = serde_json::from_str::<Value>(&said.stdout).unwrap()["items"][0].clone();
    let compose = directory(&row).join("compose.yaml");
    // Root's, and for root alone: the daemon's user cannot look into it.
    chown(&compose, Some(0), Some(0)).unwrap();
    open(&compose, 0o400);
    let said = run(&["verify"]);
    assert!(
        said.status == 7 && said.stdout.contains("unreadable") && said.stdout.contains("compose.yaml"),
        "{said:?}"
    );
    let said = run(&["materialize", ONE, "--offline"]);
    assert!(said.status != 0 && said.stderr.contains("cache.changed"), "{said:?}");
    let said = run(&["materialize", ONE, "-o", "json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let row = serde_json::from_str::<Value>(&said.stdout).unwrap()["items"][0].clone();
    assert_eq!(row["from"], "fetched");
    assert_eq!(fs::read(directory(&row).join("compose.yaml")).unwrap(), world.components[0].compose());
    assert_eq!(run(&["verify"]).status, 0);
}

/// Gives everything below a directory to somebody else.
fn hand_over(place: &Path) {
    std::os::unix::fs::lchown(place, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if place.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(place).unwrap().for_each(|entry| hand_over(&entry.unwrap().path()));
    }
}

#[test]
fn a_component_below_the_name_of_another_lies_beside_its_versions() {
    let ids = ["lcod://acme/a/b", "lcod://acme/a/b/c", "lcod://acme/a/b-c", "lcod://acme/a"];
    let components = ids.map(|id| Component::new(id, "1.0.0", &[])).to_vec();
    let world = World::new(components, Form::Lines);
    let _daemon = world.sandbox.start_synced();
    let view = world.sandbox.path("view");
    let mut arguments = vec!["materialize"];
    arguments.extend(ids);
    arguments.extend(["--layout", "lcod-view", view.to_str().unwrap()]);
    for _ in 0..2 {
        let said = world.sandbox.run(&arguments);
        assert!(said.status == 0 && said.stdout.contains("4 components in"), "{said:?}");
        for one in &world.components {
            let path = one.id.strip_prefix("lcod://").unwrap();
            let place = view.join("packages/view/components").join(path).join("1.0.0");
            assert_eq!(fs::read(place.join("compose.yaml")).unwrap(), one.compose(), "{path}");
            assert_eq!(fs::read(place.join("lcp.toml")).unwrap(), one.descriptor(), "{path}");
        }
    }
    let rows = fs::read_to_string(view.join("registry/components.std.jsonl")).unwrap();
    for row in rows.lines().skip(1).map(|row| serde_json::from_str::<Value>(row).unwrap()) {
        let compose = fs::read_to_string(view.join(row["compose"].as_str().unwrap()));
        assert!(compose.unwrap().contains(row["id"].as_str().unwrap()), "{row}");
    }
    // One that stays when the others go takes nothing of them along.
    let said = world.sandbox.run(&["materialize", ids[1], "--layout", "lcod-view", view.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
    let left = tree(&view.join("packages/view/components"));
    let left: Vec<&str> = left.keys().map(String::as_str).collect();
    assert!(left.len() >= 2 && left.iter().all(|path| path.starts_with("acme/a/b/c/1.0.0/")), "{left:?}");
}

#[test]
fn a_direct_reference_follows_the_mode_of_the_policy_and_is_told() {
    let policy = |mode: &str| {
        format!(
            "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nmode = \"{mode}\"\n[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"lcod-default\"]\nrequire = \"pin\"\n"
        )
    };
    for (mode, status, event, line) in [
        ("enforce", 403, "policy.denied", "denied"),
        ("warn", 200, "policy.would_deny", "would-deny"),
        ("audit", 200, "policy.would_deny", "would-deny"),
    ] {
        let world = World::few(Form::Lines);
        let home = world.sandbox.path("world/components");
        let commit = place::git(&home, &["rev-parse", "HEAD"]).trim().to_owned();
        let direct = format!("git+file://{}@{commit}#packages/acme.tools.one", home.display());
        let file = world.sandbox.path("trust.toml");
        fs::write(&file, policy(mode)).unwrap();
        open(&file, 0o600);
        let mut daemon = world.sandbox.spawn_with(&["--policy", file.to_str().unwrap()]);
        daemon.wait_for("/readyz");
        daemon.sync();
        let mut listener = Listener::open(&world.sandbox.socket(), None);
        for _ in 0..3 {
            let answer = ask(&daemon, &[&direct]);
            assert_eq!(answer.status, status, "{mode}: {answer}");
            let told = answer.json()["items"][0]["warnings"].clone();
            match mode {
                "enforce" => assert_eq!(answer.reason(), "policy.direct"),
                "warn" => assert_eq!(told[0]["reason"], "policy.direct", "{answer}"),
                _ => assert_eq!(told, json!([]), "{answer}"),
            }
        }
        let located = daemon.post("/v1/locate", &json!({"id": direct}));
        if mode == "warn" {
            assert!(located.ok()["warnings"][0].as_str().unwrap().contains("policy.direct"), "{located}");
        }
        let heard = listener.up_to(event).pop().unwrap();
        assert_eq!((&heard.data["subject"], &heard.data["mode"]), (&json!(direct), &json!(mode)));
        assert!(daemon.stop().success(), "what was decided is written down before the end");
        let lines = |sandbox: &Sandbox| -> Vec<Value> {
            let said = sandbox.run(&["audit", "tail", "-o", "json"]);
            let answer: Value = serde_json::from_str(&said.stdout).unwrap();
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            items.into_iter().filter(|item| item["reason"] == "policy.direct").collect()
        };
        let told = lines(&world.sandbox);
        assert_eq!(told.len(), 1, "once, however often it is asked: {told:?}");
        assert_eq!((&told[0]["event"], &told[0]["subject"]), (&json!(line), &json!(direct)), "{mode}");
        // A verb in process writes its own.
        let said = world.sandbox.run(&["--policy", file.to_str().unwrap(), "materialize", &direct]);
        assert_eq!(said.status, if status == 200 { 0 } else { 6 }, "{mode}: {said:?}");
        assert_eq!(said.stdout.contains("warning:"), mode == "warn", "{said:?}");
        assert_eq!(lines(&world.sandbox).len(), 2, "{mode}");
        assert_eq!(world.sandbox.run(&["audit", "verify"]).status, 0);
    }
}

#[test]
fn a_connection_that_asks_nothing_is_closed_after_its_time() {
    let sandbox = Sandbox::with_sources(&crate::daemon::sample());
    let config = sandbox.path("config.toml");
    fs::write(&config, "[limits]\nidle_connection_s = 1\n").unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    for plain in ["/v1/components/lcod/tooling/text/slug", "/v1/health"] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        write!(stream, "GET {plain} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // The answer, and then the end: nobody else ends it.
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("HTTP/1.1 200") && !text.contains("connection: close"), "{text}");
    }
    // A client that comes back after that is none the wiser.
    let mut client = Client::connect(daemon.socket()).unwrap();
    client.lookup(&["lcod://tooling/text/slug"]).unwrap();
    let log = || daemon.log();
    poll::until("the end of an idle connection", || {
        let answer = daemon.get("/metrics");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let open = text.lines().find(|line| line.starts_with("resolverd_connections ")).map(str::to_owned);
        // The one that asks, and no other.
        open.unwrap_or_else(|| panic!("no such metric: {text}")).ends_with(" 1").then_some(())
    });
    client.lookup(&["lcod://tooling/text/slug"]).unwrap();
    assert!(!log().contains("panic"));
}

#[test]
fn many_clients_are_answered_while_everything_is_read_anew() {
    const CLIENTS: usize = 64;
    let asked = usize::try_from(count("RESOLVERD_CROWD", 50, 1_000)).unwrap();
    let world = Changing::keeping(2);
    let ids: Vec<String> = (0..60).map(|number| format!("lcod://crowd/part{number:02}")).collect();
    let publish = |round: usize| {
        let version = format!("{round}.0.0");
        let all: Vec<Component> = ids.iter().map(|id| Component::new(id, &version, &[])).collect();
        world.publish(&all);
    };
    publish(1);
    let daemon = world.sandbox.start_synced();
    let generation = || daemon.get("/v1/health").ok()["generation"].as_u64().unwrap();
    let first = generation();
    let (admin, done) = (daemon.socket().with_file_name("admin.sock"), AtomicUsize::new(0));
    let rounds = AtomicUsize::new(1);
    // One user may have half of them at either socket. Nobody is done before there were two refreshes, however fast they are answered.
    let client = |number: usize| {
        let socket = if number < CLIENTS / 2 { daemon.socket() } else { &admin };
        let mut client = poll::until("a place", || Client::connect(socket).ok());
        let is_due = |turn: &usize| *turn < asked || rounds.load(Ordering::Relaxed) <= 2;
        for turn in (0..1_000 * asked).take_while(is_due) {
            let wanted = [&*ids[(number * 7 + turn) % ids.len()], &*ids[(number + turn * 11) % ids.len()]];
            let answer = client.resolve(&wanted, &[]).unwrap_or_else(|error| panic!("{error}"));
            let versions: Vec<&Value> =
                answer["components"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
            assert!(
                versions.windows(2).all(|pair| pair[0] == pair[1]),
                "two generations in one answer: {answer}"
            );
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        let is_over =
            || done.load(Ordering::Relaxed) == CLIENTS || clients.iter().all(|one| one.is_finished());
        // A signal needs no place among the connections. Every document is another one each time.
        while !is_over() {
            publish(rounds.load(Ordering::Relaxed) + 1);
            daemon.signal(Signal::HUP);
            let before = daemon.log().matches("sync started").count();
            poll::until("a refresh", || {
                (is_over() || daemon.log().matches("sync started").count() > before).then_some(())
            });
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        clients.into_iter().for_each(|one| one.join().unwrap());
    });
    assert_eq!(done.load(Ordering::Relaxed), CLIENTS);
    daemon.sync();
    let rounds = rounds.into_inner();
    assert!(generation() > first && rounds > 2, "{rounds} rounds, generation {}", generation());
    let stats = daemon.get("/v1/stats").ok();
    assert_eq!((&stats["panics"], &stats["failures"]), (&json!(0), &json!(0)), "{stats:#}");
    assert!(daemon.stop().success());
}

/// Says that it is over when it is dropped, also where the case fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each round is one sync and one reload. `RESOLVERD_RELOADS` says how many there are.
#[test]
fn k3_no_answer_mixes_two_generations_however_often_everything_is_reloaded() {
    const CLIENTS: usize = 8;
    let reloads = count("RESOLVERD_RELOADS", 12, 1_000);
    let world = Changing::keeping(2);
    let ids: Vec<String> = (0..40).map(|number| format!("lcod://turn/part{number:02}")).collect();
    let publish = |round: u64| {
        let one = |id: &String| Component::new(id, &format!("{round}.0.0"), &[]);
        world.publish(&ids.iter().map(one).collect::<Vec<_>>());
    };
    publish(1);
    let daemon = world.sandbox.start_synced();
    let generation = || daemon.get("/v1/health").ok()["generation"].as_u64().unwrap();
    let mut rounds = BTreeMap::from([(generation(), 1)]);
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    // What each answer said: its generation, and the rounds of what it chose.
    let client = |number: usize| {
        let mut client = Client::connect(daemon.socket()).unwrap();
        let mut seen = BTreeSet::new();
        for turn in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let wanted: Vec<&str> = (0..6).map(|at| &*ids[(number + turn + at * 7) % ids.len()]).collect();
            let answer = client.resolve(&wanted, &[]).unwrap();
            let components = answer["components"].as_array().unwrap();
            assert_eq!(components.len(), wanted.len(), "{answer:#}");
            for one in components {
                let version = one["version"].as_str().unwrap();
                let round: u64 = version.split('.').next().unwrap().parse().unwrap();
                seen.insert((answer["generation"].as_u64().unwrap(), round));
            }
            asked.fetch_add(1, Ordering::Relaxed);
        }
        seen
    };
    let admin = daemon.socket().with_file_name("admin.sock");
    let order = |target: &str| http::ask(&admin, "POST", target, Some(&json!({}))).unwrap().ok();
    let seen: BTreeSet<(u64, u64)> = std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        let over = Over(&is_over);
        for round in 2..reloads + 2 {
            publish(round);
            rounds.insert(order("/v1/sync")["generation"].as_u64().unwrap(), round);
            order("/v1/reload");
            rounds.insert(generation(), round);
        }
        drop(over);
        clients.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    let asked = asked.into_inner();
    eprintln!("{asked} answers of {} generations in {reloads} rounds", seen.len());
    assert!(seen.len() > 2, "{seen:?}");
    for (generation, round) in &seen {
        assert_eq!(
            rounds.get(generation),
            Some(round),
            "generation {generation} is of one round: {rounds:?}"
        );
    }
    assert_eq!(daemon.get("/v1/stats").ok()["panics"], 0);
}
