//! SIGKILL at random moments of syncs: after every restart one complete generation answers, and none that was acknowledged
//! is lost.
//!
//! The federation changes in rounds. Round `k` publishes every component at version `0.k.0`, so the versions that are
//! served say which round a generation is of, and a mix of two rounds shows. Acknowledged means that the reply to
//! `POST /v1/sync` arrived. `RESOLVERD_KILLS` says how many times (30), `RESOLVERD_SEED` where chance starts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::chance::{Chance, number};
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository};
use crate::harness::{http, poll};

/// How many components change in every round.
const COMPONENTS: usize = 150;

const CATALOGUE: &str = "registry/components.std.json";

/// A federation that changes.
struct Changing {
    components: Repository,
    registry: Repository,
}

impl Changing {
    fn set_away(&self, away: Away) {
        for repository in [&self.components, &self.registry] {
            let (here, there) = (&repository.path, repository.path.with_extension("away"));
            match away {
                Away::Gone => std::fs::rename(here, there).unwrap(),
                Away::Back => std::fs::rename(there, here).unwrap(),
            }
        }
    }

    fn publish(&self, round: u64) {
        let all = components(round);
        let mut files = lcod::all_files(&all);
        files.insert(CATALOGUE.to_owned(), lcod::array(&all));
        let commit = self.components.commit(&files);
        let pointer = lcod::pointer("tooling/std", &self.components.url(), &commit, CATALOGUE);
        self.registry.commit(&Files::from([("catalogues.json".to_owned(), lcod::catalogues(&[pointer]))]));
    }
}

/// Whether the repositories of a federation can be read.
#[derive(Clone, Copy)]
enum Away {
    Gone,
    Back,
}

fn components(round: u64) -> Vec<Component> {
    let version = format!("0.{round}.0");
    let requires = format!("lcod://contract/round@{round}.0.0");
    (0..COMPONENTS)
        .map(|n| Component::new(&format!("lcod://kill/part{n:03}"), &version, &[&requires]))
        .collect()
}

/// Returns the round that is served, after comparing every id of the generation with the model.
fn served_round(daemon: &Daemon, rounds: &mut BTreeMap<String, u64>) -> u64 {
    let ids: Vec<String> = components(0).into_iter().map(|one| one.id).collect();
    assert_eq!(daemon.ids(), ids, "every id is served, and no other");
    let requests: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answer = daemon.resolve(&requests).ok();
    let chosen = answer["components"].as_array().unwrap();
    let version = chosen[0]["version"].as_str().unwrap();
    let round: u64 = version.split('.').nth(1).unwrap().parse().unwrap();
    let found: BTreeMap<&str, (&Value, &Value)> = chosen
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), (&one["version"], &one["dependencies"])))
        .collect();
    assert_eq!(found.len(), COMPONENTS);
    for expected in components(round) {
        let (version, dependencies) = found[expected.id.as_str()];
        assert_eq!(version, expected.version.as_str(), "{}: a mix of rounds", expected.id);
        assert_eq!(dependencies, &json!(expected.requires), "{}: a mix of rounds", expected.id);
    }
    // A snapshot is named by its content: one digest, one round.
    let snapshot = answer["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(*rounds.entry(snapshot).or_insert(round), round, "two rounds under one snapshot digest");
    round
}

/// Tells whether the log ends inside a sync.
fn inside_a_sync(log: &str) -> bool {
    let last = |what: &str| log.rfind(what);
    last("sync started") > last("synced")
}

#[test]
fn a_killed_sync_leaves_a_complete_generation() {
    let (kills, mut chance) = (number("RESOLVERD_KILLS", 30), Chance::told());
    let sandbox = Sandbox::new();
    let create = |name: &str| Repository::create(&sandbox.path(name));
    let world = Changing { components: create("components"), registry: create("registry") };
    sandbox.write_sources(&lcod::sources("lcod-default", &world.registry.url(), "catalogues.json"));

    world.publish(1);
    let mut daemon = sandbox.start_synced();
    let mut rounds = BTreeMap::new();
    let (mut published, mut acknowledged) = (1, served_round(&daemon, &mut rounds));
    assert_eq!(acknowledged, 1);
    published += 1;
    world.publish(published);
    let started = Instant::now();
    daemon.sync();
    // How long a sync of a changed round takes here: kills fall within it. Nothing below depends on the number being right;
    // on a machine whose load changes it follows.
    let mut length = started.elapsed();
    acknowledged = published;

    let (mut inside, mut struck) = (0u64, 0u64);
    while struck < kills {
        published += 1;
        world.publish(published);
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let delay = Duration::from_micros(chance.below(micros * 9 / 10));
        let socket = sandbox.socket();
        let before = daemon.log().len();
        let asking = std::thread::spawn(move || http::ask(&socket, "POST", "/v1/sync", Some(&json!({}))));
        poll::until("a sync that starts", || daemon.log()[before..].contains("sync started").then_some(()));
        poll::pause(delay);
        let log = daemon.kill();
        struck += 1;
        if inside_a_sync(&log) {
            inside += 1;
            length = length * 17 / 16;
        } else {
            length = length * 2 / 3;
        }
        if let Ok(Ok(answer)) = asking.join() {
            assert_eq!(answer.status, 200, "{answer}");
            acknowledged = published;
        }

        // The sources are away while the survivor answers: what it serves, it has kept.
        world.set_away(Away::Gone);
        daemon = sandbox.start();
        let round = served_round(&daemon, &mut rounds);
        world.set_away(Away::Back);
        assert!(
            (acknowledged..=published).contains(&round),
            "kill {struck} after {delay:?}: round {round} is served, {acknowledged} was acknowledged, {published} is published"
        );
    }
    eprintln!("{inside} of {struck} kills fell inside a sync of about {length:?}");
    assert!(inside * 2 >= struck, "only {inside} of {struck} kills fell inside a sync");
    daemon.sync();
    assert_eq!(served_round(&daemon, &mut rounds), published, "the last round arrives in the end");
}

#[test]
fn the_log_says_whether_a_sync_is_running() {
    assert!(inside_a_sync("INFO sync started\n"));
    assert!(!inside_a_sync("INFO sync started\nINFO synced\n"));
    assert!(inside_a_sync("INFO sync started\nINFO synced\nINFO sync started\n"));
    assert!(!inside_a_sync("INFO listening\n"));
}
