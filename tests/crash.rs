//! SIGKILL at any moment of an open, a rebuild, a reload, a repair and a verb's own sync; many daemons at once; starts and stops
//! back to back. After each, a whole round answers, and none that was acknowledged is lost. (`kill.rs` strikes the syncs of a
//! daemon that Git sources feed.)
//!
//! `RESOLVERD_CRASHES`, `RESOLVERD_FIRST`, `RESOLVERD_STARTS` and `RESOLVERD_DAEMONS` say how many; `RESOLVERD_FULL=1` runs the full counts.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::chance::{self, Chance};
use crate::harness::daemon::Sandbox;
use crate::harness::poll;
use crate::harness::world::{Served, World, served, sync};

/// What a process is doing when it is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Open,
    Rebuild,
    Reload,
    Repair,
    Sync,
}

const ALL: [Doing; 5] = [Doing::Open, Doing::Rebuild, Doing::Reload, Doing::Repair, Doing::Sync];

/// How a process that was to be killed ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was struck while it did what it was to be struck in.
    Struck,
    /// It was done with that already.
    Done,
    /// It ended well by itself.
    Ended,
}

/// Starts what is to be done, lets `delay` pass, and strikes.
fn strike(sandbox: &Sandbox, doing: Doing, delay: Duration) -> End {
    match doing {
        Doing::Open | Doing::Rebuild => {
            if doing == Doing::Rebuild {
                std::fs::remove_dir_all(sandbox.state().join("index")).unwrap();
            }
            let daemon = sandbox.spawn();
            poll::pause(delay);
            if daemon.kill().contains("serving") { End::Done } else { End::Struck }
        }
        Doing::Reload => {
            let daemon = sandbox.start();
            let before = daemon.log().matches("sync started").count();
            daemon.signal(Signal::HUP);
            poll::pause(delay);
            let log = daemon.kill();
            let is_begun = log.matches("sync started").count() > before;
            let last = |what: &str| log.rfind(what);
            if is_begun && last("synced") > last("sync started") { End::Done } else { End::Struck }
        }
        Doing::Repair => struck(sandbox, &["doctor", "--repair"], delay),
        Doing::Sync => struck(sandbox, &["sync"], delay),
    }
}

fn struck(sandbox: &Sandbox, arguments: &[&str], delay: Duration) -> End {
    let mut command = sandbox.command();
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = command.spawn().unwrap();
    poll::pause(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    match status.code() {
        None => End::Struck,
        Some(0) => End::Ended,
        Some(code) => panic!("{arguments:?} ended by itself with {code}"),
    }
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing() {
    chance::shared(chance::count("RESOLVERD_CRASHES", 20, 9_000), struck_often);
}

fn struck_often(mut chance: Chance, crashes: u64) {
    let world = World::synced(1);
    let sandbox = &world.sandbox;
    let (mut published, mut acknowledged) = (1, 1);
    // How long each takes here, about: strikes fall within it. Nothing depends on the numbers being right.
    let mut lengths: BTreeMap<Doing, Duration> = ALL.map(|doing| (doing, Duration::from_millis(400))).into();
    let mut inside: BTreeMap<Doing, u64> = BTreeMap::new();
    for crash in 0..crashes {
        let doing = ALL[usize::try_from(crash).unwrap() % ALL.len()];
        published += 1;
        world.publish(published);
        let length = lengths.get_mut(&doing).unwrap();
        let micros = u64::try_from(length.as_micros()).unwrap();
        let delay = Duration::from_micros(chance.below(micros));
        let end = strike(sandbox, doing, delay);
        *length = if end == End::Struck { *length * 17 / 16 } else { *length / 2 };
        *inside.entry(doing).or_default() += u64::from(end == End::Struck);
        if (doing, &end) == (Doing::Sync, &End::Ended) {
            acknowledged = published;
        }
        let what = format!("crash {crash}, {doing:?} after {delay:?}, {end:?}");
        match served(sandbox) {
            Served::Round(round) => {
                assert!(
                    (acknowledged..=published).contains(&round),
                    "{what}: round {round}, acknowledged {acknowledged}"
                );
                // What was served once stays.
                acknowledged = round;
            }
            Served::Refused(why) => panic!("{what}: {why}"),
        }
    }
    eprintln!("{crashes} crashes; struck inside: {inside:?}");
    // A few strikes have to find out how long everything takes here; of many, most fall inside.
    let least = if crashes < 200 { crashes / 10 } else { crashes / 2 };
    assert!(inside.values().sum::<u64>() >= least, "too few strikes fall inside: {inside:?}");
    sync(sandbox);
    assert_eq!(served(sandbox), Served::Round(published));
}

#[test]
fn a_first_sync_that_is_killed_leaves_nothing_in_the_way() {
    let world = World::new();
    chance::shared(chance::count("RESOLVERD_FIRST", 8, 1_000), |mut chance, crashes| {
        // About how long a first sync takes here; nothing depends on the number being right.
        let mut length = Duration::from_millis(400);
        let mut inside = 0;
        for crash in 0..crashes {
            let sandbox = world.beside(&world.sandbox.path("nowhere"));
            let delay = Duration::from_micros(chance.below(u64::try_from(length.as_micros()).unwrap()));
            let end = struck(&sandbox, &["sync"], delay);
            inside += u64::from(end == End::Struck);
            length = if end == End::Struck { length * 17 / 16 } else { length * 3 / 4 };
            let found = served(&sandbox);
            let is_served = found == Served::Round(1);
            assert!(
                is_served || end == End::Struck && matches!(found, Served::Refused(_)),
                "{crash}: {end:?}, {found:?}"
            );
            sync(&sandbox);
            assert_eq!(served(&sandbox), Served::Round(1), "{crash}");
        }
        eprintln!("{crashes} crashes of a first sync; struck inside: {inside}");
    });
}

#[test]
fn starts_and_stops_back_to_back_find_the_store_as_it_was() {
    let world = World::synced(1);
    for _ in 0..chance::count("RESOLVERD_STARTS", 6, 100) {
        let daemon = world.sandbox.start();
        assert!(daemon.stop().success());
    }
    assert_eq!(served(&world.sandbox), Served::Round(1));
    let names = std::fs::read_dir(world.sandbox.state()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains(".bad-")), "{names:?}");
}

#[test]
fn of_many_daemons_at_once_one_serves() {
    let world = World::synced(1);
    let sandbox = &world.sandbox;
    let count = usize::try_from(chance::count("RESOLVERD_DAEMONS", 8, 50)).unwrap();
    let mut daemons: Vec<_> = (0..count).map(|_| sandbox.spawn()).collect();
    poll::until("all but one to end", || {
        daemons.retain_mut(|daemon| !daemon.has_ended());
        (daemons.len() <= 1).then_some(())
    });
    let mut daemon = daemons.pop().expect("one is left");
    daemon.wait_for("/readyz");
    let held = std::fs::read_to_string(sandbox.state().join("lock")).unwrap();
    assert_eq!(held.trim(), daemon.pid().to_string(), "the one that serves holds the lock");
    daemon.kill();
    sandbox.start().stop();
    assert_eq!(served(sandbox), Served::Round(1));
}
