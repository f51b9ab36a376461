//! The machine's clock, stepped back and forward, to 1970 and behind 2038 and 2106, while verbs and daemons start and sync:
//! nothing wrong is answered, ages stay sane, ids of events grow, and with the right clock again all is as ever. What a clock far ahead
//! leaves behind ends by one step of an operator; until then what has ended stays so, and sources go on ageing.
//!
//! The real program, under a library that answers for the system's clock (`libfaketime`); the monotonic clock goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::events::Listener;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::tls::{Gate, Route};
use crate::harness::world::{Served, World, named, round_of, sync};
use crate::harness::{place, poll};
use crate::trust::{Revision, Shop, X, signed_by_root};

/// The library, and where systems keep it.
const LIBRARY: &str = "faketime/libfaketime.so.1";
const PLACES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// What each clock says: how far it is from the machine's own, or what it stands at.
const CLOCKS: [&str; 7] =
    ["-2d", "+40d", "-30y", "1970-01-02 00:00:00", "2038-01-19 03:14:08", "2106-02-07 06:28:16", "+0"];
/// Those behind the machine's own by more than is passed over.
const BEHIND: [&str; 3] = ["-2d", "-30y", "1970-01-02 00:00:00"];
/// How old, in seconds, a source that was just checked may seem to be; the machine may be slow.
const YOUNG_S: u64 = 900;

/// Returns the library; says so where it is not there.
fn library() -> Option<PathBuf> {
    let found = PLACES.iter().map(|place| Path::new(place).join(LIBRARY)).find(|path| path.is_file());
    if found.is_none() {
        place::skipped("libfaketime is not there (the package is called faketime)");
    }
    found
}

/// Gives a command the clock that a file names; the file may change.
fn clocked(mut command: Command, library: &Path, file: &Path) -> Command {
    command.env("LD_PRELOAD", library).env("TZ", "UTC");
    command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command
}

/// A sandbox whose verbs have a clock of their own.
struct Clocked<'a> {
    sandbox: &'a Sandbox,
    library: &'a Path,
}

impl Clocked<'_> {
    fn set(&self, clock: &str) {
        let fresh = self.sandbox.path("clock.new");
        std::fs::write(&fresh, clock).unwrap();
        std::fs::rename(fresh, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.sandbox.path("clock")
    }

    fn command(&self) -> Command {
        clocked(self.sandbox.command(), self.library, &self.file())
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command().args(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// Returns what is answered from what is kept. Not `--offline`: then nothing would ever expire.
    fn served(&self) -> Served {
        let said = self.run(&["resolve", "-o", "json", "lcod://crash/part00", "lcod://crash/part11"]);
        if said.status != 0 {
            return Served::Refused(named(&said));
        }
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        let versions: Vec<&str> = answer["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["version"].as_str().unwrap())
            .collect();
        assert!(versions.len() == 2 && versions[0] == versions[1], "a mix of rounds: {answer:#}");
        Served::Round(versions[0].split('.').nth(1).unwrap().parse().unwrap())
    }

    fn age_s(&self) -> u64 {
        let sources = self.json(&["sources"]);
        sources["items"][0]["ageSeconds"].as_u64().unwrap_or_else(|| panic!("no age: {sources:#}"))
    }
}

/// Checks that a command has the clock at all, so that the cases mean something.
fn has_clock(clocked_by: &Clocked<'_>) {
    clocked_by.set("1970-01-02 00:00:00");
    let said = clocked_by.run(&["doctor", "--offline"]);
    assert!(said.stdout.contains("before 2024"), "the program has not the clock that was set: {said:?}");
}

#[test]
fn no_clock_changes_what_is_answered_or_stops_a_sync() {
    let Some(library) = library() else { return };
    let world = World::synced(1);
    for clock in CLOCKS {
        let sandbox = world.beside(&world.sandbox.state());
        let stepped = Clocked { sandbox: &sandbox, library: &library };
        stepped.set(clock);
        // A clock far ahead makes a source that was never checked since too old; one behind makes nothing younger.
        match stepped.served() {
            Served::Round(round) => assert_eq!(round, 1, "{clock}"),
            Served::Refused(why) => {
                assert!(why.contains("source.expired") && !BEHIND.contains(&clock), "{clock}: {why}");
            }
        }
        world.publish(2);
        stepped.json(&["sync"]);
        assert_eq!(stepped.served(), Served::Round(2), "{clock}");
        assert!(stepped.age_s() < YOUNG_S, "{clock}: {} s", stepped.age_s());
        let said = stepped.json(&["status"]).to_string().contains("clock.backwards");
        assert_eq!(said, BEHIND.contains(&clock), "{clock}: a clock behind the memory is said");

        // The right clock again: what was checked in the future is not for ever fresh or gone, and syncs go on.
        stepped.set("+0");
        assert_eq!(stepped.served(), Served::Round(2), "{clock}, and back");
        assert!(stepped.age_s() < YOUNG_S, "{clock}, and back: {} s", stepped.age_s());
        world.publish(3);
        sync(&sandbox);
        assert_eq!(stepped.served(), Served::Round(3), "{clock}, and back");
        world.publish(1);
    }
}

#[test]
fn a_source_that_nobody_checks_expires_by_the_latest_clock_and_never_comes_back_by_itself() {
    let Some(library) = library() else { return };
    let world = World::synced(1);
    let stepped = Clocked { sandbox: &world.sandbox, library: &library };
    has_clock(&stepped);
    let expect = |clock: &str, round: Option<u64>| {
        stepped.set(clock);
        match (stepped.served(), round) {
            (Served::Round(found), Some(round)) => assert_eq!(found, round, "{clock}"),
            (Served::Refused(why), None) => assert!(why.contains("source.expired"), "{clock}: {why}"),
            (found, _) => panic!("{clock}: {found:?}"),
        }
    };
    // The usual `max_stale` is 30 days.
    expect("+29d", Some(1));
    expect("-29d", Some(1));
    expect("+31d", None);
    expect("+0", None);
    expect("1970-01-02 00:00:00", None);
    stepped.json(&["sync"]);
    expect("1970-01-02 00:00:00", Some(1));
    expect("+0", Some(1));
}

#[test]
fn a_daemon_whose_clock_is_stepped_answers_and_tells_events_in_order() {
    let Some(library) = library() else { return };
    let world = World::synced(1);
    let sandbox = &world.sandbox;
    let stepped = Clocked { sandbox, library: &library };
    let ids: Vec<String> = crate::harness::world::components(0).into_iter().map(|one| one.id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (mut round, mut last) = (1, 0);
    for (start, steps) in
        [("+0", &CLOCKS[..]), ("-2d", &["+1d"][..]), ("1970-01-02 00:00:00", &["+0"]), ("+0", &[])]
    {
        stepped.set(start);
        let mut daemon = sandbox.spawn_as(stepped.command());
        daemon.wait_for("/readyz");
        daemon.sync();
        let mut listener = Listener::open(&sandbox.socket(), Some(last));
        for clock in [&[start], steps].concat() {
            stepped.set(clock);
            round += 1;
            world.publish(round);
            // The watch may have been first.
            daemon.sync();
            assert_eq!(round_of(&daemon.resolve(&ids).ok()), round, "{clock}");
            let source = daemon.get("/v1/sources").ok()["items"][0].clone();
            assert_eq!(source["state"], "fresh", "{clock}: {source:#}");
            assert!(source["ageSeconds"].as_u64().unwrap() < YOUNG_S, "{clock}: {source:#}");
            for event in listener.up_to("synced") {
                if let Some(id) = event.id {
                    assert!(id > last, "{start}, {clock}: {event:?} behind {last}");
                    last = id;
                }
            }
        }
        assert_eq!(daemon.get("/v1/health").ok()["panics"], Value::Null);
        assert!(daemon.stop().success(), "{start}");
    }
    assert_eq!(stepped.served(), Served::Round(round));
}

#[test]
fn a_clock_that_is_stepped_in_the_middle_of_a_sync_ends_none_of_its_waits() {
    let Some(library) = library() else { return };
    let world = World::in_git();
    let (sandbox, server) = (&world.sandbox, world.server());
    sandbox.write_sources(&json!({ "sources": [{ "id": "changing", "url": server.url("/list.json") }] }));
    server.route("/list.json", Route::ok(&world.list()));
    let stepped = Clocked { sandbox, library: &library };
    has_clock(&stepped);
    stepped.set("+0");
    let mut daemon = sandbox.spawn_as(stepped.command());
    daemon.wait_for("/readyz");
    daemon.sync();
    let ids: Vec<String> = daemon.ids();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (round, clock) in [(2, "+1h"), (3, "+0"), (4, "+1d")] {
        world.publish(round);
        let (list, gate) = (world.list(), Gate::default());
        server.route("/list.json", Route::Gated(list.clone(), list.len() / 4 + 1, gate.clone()));
        server.forget();
        let answer = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| daemon.post("/v1/sync", &json!({})));
            gate.open(1);
            poll::until("the first piece of the list", || {
                let asked = server.requests().into_iter().find(|one| one.path() == "/list.json")?;
                (asked.sent > list.len() as u64 / 4).then_some(())
            });
            stepped.set(clock);
            // It answers meanwhile, and has seen the clock.
            assert_eq!(round_of(&daemon.resolve(&ids).ok()), round - 1, "{clock}");
            gate.open(100);
            syncing.join().unwrap()
        });
        assert!(!gate.is_broken(), "{clock}: it was not waited for");
        let report = answer.ok();
        assert!(report["sources"][0]["error"].is_null(), "{clock}: {report:#}");
        assert_eq!(round_of(&daemon.resolve(&ids).ok()), round, "{clock}");
        let source = daemon.get("/v1/sources").ok()["items"][0].clone();
        assert_eq!(source["state"], "fresh", "{clock}: {source:#}");
    }
    // It had the clock: the day of tomorrow stands in its log.
    let tomorrow = Said::of(Command::new("date").args(["-u", "-d", "+1 day", "+%Y-%m-%dT"])).stdout;
    let log = daemon.log();
    assert!(log.lines().any(|line| line.starts_with(tomorrow.trim()) && line.contains("synced")), "{log}");
    assert!(daemon.stop().success());
}

/// Returns the machine's own time, in seconds since 1970-01-01 UTC.
fn now_s() -> i64 {
    let said = Said::of(Command::new("date").args(["-u", "+%s"]));
    said.stdout.trim().parse().unwrap()
}

/// A clock that is far ahead, as the machine's battery may have it.
const FAR: &str = "2106-02-07 06:28:16";
const RESET: [&str; 5] = ["trust", "reset", "--clock", "--reason", "the clock stood at 2106"];

#[test]
fn after_a_clock_far_ahead_sources_go_on_ageing_and_an_operator_ends_it_by_one_step() {
    let Some(library) = library() else { return };
    let world = World::synced(1);
    let stepped = Clocked { sandbox: &world.sandbox, library: &library };
    has_clock(&stepped);
    let today_s = now_s();
    let checked = || {
        let text = std::fs::read_to_string(world.sandbox.state().join("checks.json")).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        file["content"].as_object().unwrap().values().next().unwrap().clone()
    };
    let is_today = |time: &Value| (today_s..today_s + 900).contains(&time.as_i64().unwrap());
    let expired = |why: &str| match stepped.served() {
        Served::Refused(said) => assert!(said.contains("source.expired"), "{why}: {said}"),
        found => panic!("{why}: {found:?}"),
    };

    stepped.set(FAR);
    stepped.json(&["sync"]);
    // Where nothing can be synced: served from what is kept, and no longer than usual.
    let beside = world.beside(&world.sandbox.state());
    let alone = Clocked { sandbox: &beside, library: &library };
    for (clock, is_served) in [("+0", true), ("+29d", true), ("+31d", false), ("+0", false)] {
        alone.set(clock);
        assert_eq!(alone.served() == Served::Round(1), is_served, "{clock}");
    }

    stepped.set("+0");
    stepped.json(&["sync"]);
    assert!(is_today(&checked()["clock_s"]), "{}", checked());
    assert!(stepped.age_s() < YOUNG_S);
    let status = stepped.json(&["status"]);
    let next = status["health"]["nextChange"].as_str().unwrap();
    assert!(!next.starts_with("21"), "told by the clock of today: {status:#}");
    let said = status.to_string();
    assert!(said.contains("clock.backwards") && said.contains("resolverd trust reset --clock"), "{said}");
    // Nor does a clock that is set back bring back what has expired, however far ahead the highest one stands.
    let beside = world.beside(&world.sandbox.state());
    let alone = Clocked { sandbox: &beside, library: &library };
    let (published, away) = (world.sandbox.path("published"), world.sandbox.path("away"));
    std::fs::rename(&published, &away).unwrap();
    for (clock, is_served) in [("+29d", true), ("+31d", false), ("+0", false), ("+20d", false)] {
        alone.set(clock);
        assert_eq!(alone.served() == Served::Round(1), is_served, "{clock}");
        assert_ne!(alone.run(&["sync"]).status, 0, "{clock}: nothing is there to be synced");
        assert_eq!(alone.served() == Served::Round(1), is_served, "{clock}, after a sync that failed");
    }
    std::fs::rename(away, published).unwrap();
    stepped.set("+60d");
    expired("60 days unchecked, and nobody has reset the clock");

    stepped.set("1970-01-02 00:00:00");
    let said = stepped.run(&RESET);
    assert!(said.status != 0 && said.stderr.contains("before 2024"), "{said:?}");
    stepped.set("+0");
    assert_eq!(stepped.run(&RESET).status, 0);
    assert_eq!(stepped.served(), Served::Round(1));
    assert!(is_today(&checked()), "{}", checked());
    assert!(!stepped.json(&["status"]).to_string().contains("clock.backwards"));
    let doctor = stepped.run(&["doctor", "--offline"]);
    assert!(!doctor.stdout.contains("ahead of it"), "{doctor:?}");
    let audit = std::fs::read_to_string(world.sandbox.state().join("audit.jsonl")).unwrap();
    assert!(audit.contains("the clock stood at 2106 (the highest clock seen was 2106-02-07T"), "{audit}");
    let said = stepped.run(&RESET);
    assert!(said.status != 0 && said.stderr.contains("not behind"), "{said:?}");

    stepped.set("+29d");
    assert_eq!(stepped.served(), Served::Round(1));
    stepped.set("+60d");
    expired("60 days unchecked");
    // The guard goes on from there.
    stepped.set("+0");
    expired("a clock that is set back brings nothing back");
    assert!(stepped.json(&["status"]).to_string().contains("clock.backwards"));

    // The same of a daemon that runs.
    let mut daemon = world.sandbox.spawn_as(stepped.command());
    daemon.wait_for("/readyz");
    let reset = |body: Value| daemon.post("/v1/trust/reset", &body);
    assert_eq!(reset(json!({"clock": true, "reason": " "})).reason(), "api.body");
    assert_eq!(reset(json!({"reason": "nothing is lost"})).reason(), "api.reset");
    assert!(daemon.get("/v1/health").ok().to_string().contains("clock.backwards"));
    reset(json!({"clock": true, "reason": "it is right now"})).ok();
    assert!(!daemon.get("/v1/health").ok().to_string().contains("clock.backwards"));
    assert_eq!(daemon.get("/v1/sources").ok()["items"][0]["state"], "fresh");
    assert_eq!(reset(json!({"clock": true, "reason": "again"})).reason(), "api.reset");
    assert!(daemon.stop().success());
}

#[test]
fn what_is_signed_until_a_day_ends_once_unless_an_operator_says_that_the_clock_was_wrong() {
    let Some(library) = library() else { return };
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &format!("[defaults]\nmax_stale = \"2d\"\n{}", signed_by_root(&shop, "")));
    let publish = |release: &str, expires: &str| {
        let signed = format!("--key %root.key --id acme --expires {expires}");
        shop.publish("acme", &Revision { releases: &[release], catalogue: &signed, ..Revision::default() });
    };
    let stepped = Clocked { sandbox: &shop.sandbox, library: &library };
    let expect = |clock: &str, is_synced: bool, is_frozen: bool| {
        stepped.set(clock);
        if is_synced {
            stepped.run(&["sync"]);
        }
        let said = stepped.run(&["resolve", X]);
        let found = said.status != 0 && said.stderr.contains("trust.frozen");
        assert!(found == is_frozen && (found || said.status == 0), "{clock}, {is_synced}: {said:?}");
    };
    publish("lcod://acme/x@1.0.0", "2100-01-01T00:00:00Z");
    expect("+0", true, false);
    expect(FAR, true, true);
    expect("+0", true, true);
    assert_eq!(stepped.run(&RESET).status, 0);
    expect("+0", false, false);
    expect("+3d", false, true);
    expect("+0", false, true);
    expect("+0", true, false);
    // What lasts longer than the far clock, and is not checked while the highest one stands still.
    publish("lcod://acme/x@2.0.0", "2126-01-01T00:00:00Z");
    expect(FAR, true, false);
    expect("+4d", true, false);
    expect("+5d", false, false);
    expect("+7d", false, true);
    expect("+7d", true, false);
}
