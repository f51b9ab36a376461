//! The machine's clock, stepped back and forward, to 1970 and behind 2038 and 2106, while verbs and daemons start and sync:
//! nothing wrong is answered, ages stay sane, ids of events grow, and with the right clock again all is as ever.
//!
//! The real program, under a library that answers for the system's clock (`libfaketime`); the monotonic clock goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::events::Listener;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::place;
use crate::harness::world::{Served, World, named, round_of, sync};

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
