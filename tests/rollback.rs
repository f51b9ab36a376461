//! Never go back, with the real binary on real repositories: what was accepted before is refused until it is forgotten, whatever
//! happens to the process or to its files in between.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, array};
use crate::harness::repository::{Files, Repository};
use crate::harness::{place, poll};

/// What a registry holds that lists `lcod://acme/x` in one version.
fn files(version: &str) -> Files {
    let components = [Component::new("lcod://acme/x", version, &[])];
    let mut files = all_files(&components);
    files.insert("catalogue.json".to_owned(), array(&components));
    files
}

/// A sandbox whose one source is the head of a repository.
fn world() -> (Sandbox, Repository) {
    let sandbox = Sandbox::new();
    let registry = Repository::create(&sandbox.path("registry"));
    let entrypoint = json!({ "type": "git", "url": registry.url(), "subpath": "catalogue.json" });
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
    (sandbox, registry)
}

fn reset(registry: &Repository, commit: &str) {
    place::git(&registry.path, &["reset", "--quiet", "--hard", commit]);
}

fn source(daemon: &Daemon) -> Value {
    daemon.get("/v1/sources").ok()["items"][0].clone()
}

/// Syncs and compares: which version answers, how the source stands, what its catalogue warns of.
fn check(daemon: &Daemon, version: &str, state: &str, warning: Option<&str>, when: &str) {
    daemon.sync();
    let answer = daemon.resolve(&["lcod://acme/x"]).ok();
    assert_eq!(answer["components"][0]["version"], version, "{when}: {answer:#}");
    let row = source(daemon);
    let found = row["error"]["reason"].as_str().unwrap_or("fresh");
    assert_eq!(found, state, "{when}: {row:#}");
    let warnings = daemon.catalogue("acme")["warnings"].clone();
    assert_eq!(warnings[0]["reason"].as_str(), warning, "{when}: {warnings:#}");
}

#[test]
fn a_branch_that_is_moved_back_is_refused_until_an_operator_forgets() {
    let (sandbox, registry) = world();
    let commits: Vec<String> = ["1.0.0", "2.0.0", "3.0.0"].map(|v| registry.commit(&files(v))).into();
    reset(&registry, &commits[1]);
    let daemon = sandbox.start_synced();
    check(&daemon, "2.0.0", "fresh", None, "the first revision");
    reset(&registry, &commits[2]);
    check(&daemon, "3.0.0", "fresh", None, "a descendant follows");
    for (commit, when) in [(&commits[1], "it was accepted before"), (&commits[0], "only history knows it")] {
        reset(&registry, commit);
        check(&daemon, "3.0.0", "trust.rollback", None, when);
        let error = source(&daemon)["error"].clone();
        assert!(error["expected"].as_str().unwrap().starts_with(&commits[2]), "{error:#}");
        let found = error["found"].as_str().unwrap();
        assert!(
            found.starts_with(commit) && found.ends_with("resolverd trust forget acme --reason TEXT"),
            "{error:#}"
        );
        assert_eq!(daemon.resolve(&["lcod://acme/x"]).ok()["stale"], json!(["acme"]));
    }
    let said = sandbox.run(&["status"]);
    assert!(said.stdout.contains("resolverd trust forget acme"), "{}", said.stdout);
    let why = daemon.post("/v1/explain", &json!({"id": "lcod://acme/x"})).ok();
    assert_eq!(
        why["next"], "resolverd trust forget acme --reason TEXT",
        "a sync would only refuse it again: {why:#}"
    );

    let said = sandbox.run(&["trust", "forget", "acme", "--reason", "the owner withdrew 2 and 3"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    check(&daemon, "1.0.0", "fresh", None, "what was forgotten is no longer compared with");
    let said = sandbox.run(&["trust", "log", "acme"]);
    let words: Vec<&str> = said.stdout.lines().skip(1).filter_map(|l| l.split_whitespace().nth(1)).collect();
    assert_eq!(words, ["accepted", "accepted", "forgotten", "accepted"], "{}", said.stdout);
    assert!(said.stdout.contains("the owner withdrew 2 and 3"), "{}", said.stdout);
    let said = sandbox.run(&["trust", "state"]);
    assert!(said.stdout.contains(&commits[0][..12]), "{}", said.stdout);

    // A rewritten branch is neither before nor behind.
    place::git(&registry.path, &["checkout", "--quiet", "--orphan", "anew"]);
    registry.commit(&files("4.0.0"));
    check(&daemon, "4.0.0", "fresh", Some("trust.order_unknown"), "nobody can tell");
    assert_eq!(daemon.sync()["changed"], false, "the warning is stable");
}

#[test]
fn what_went_back_until_it_expired_is_still_accepted_by_the_same_command() {
    let (sandbox, registry) = world();
    std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    std::fs::write(sandbox.path("config/resolverd/config.toml"), "max_stale = \"1s\"\n").unwrap();
    let first = registry.commit(&files("1.0.0"));
    registry.commit(&files("2.0.0"));
    let daemon = sandbox.start_synced();
    reset(&registry, &first);
    daemon.sync();
    let row = poll::until("the expiry", || Some(source(&daemon)).filter(|row| row["state"] == "expired"));
    assert_eq!(row["error"]["hint"], "resolverd trust forget acme --reason TEXT accepts it", "{row:#}");
    let health = daemon.get("/v1/health").ok();
    assert_eq!(
        health["degraded"][0]["hint"], "resolverd trust forget acme --reason TEXT accepts it",
        "{health:#}"
    );
    let why = daemon.post("/v1/explain", &json!({"id": "lcod://acme/x"})).ok();
    assert_eq!(why["next"], "resolverd trust forget acme --reason TEXT", "{why:#}");
}

#[test]
fn where_order_is_required_a_rewritten_branch_is_refused() {
    let (sandbox, registry) = world();
    std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    std::fs::write(sandbox.path("config/resolverd/config.toml"), "require_order = true\n").unwrap();
    registry.commit(&files("1.0.0"));
    let daemon = sandbox.start_synced();
    registry.commit(&files("2.0.0"));
    check(&daemon, "2.0.0", "fresh", None, "a descendant follows");
    place::git(&registry.path, &["checkout", "--quiet", "--orphan", "anew"]);
    registry.commit(&files("3.0.0"));
    check(&daemon, "2.0.0", "trust.order_unknown", None, "nobody can tell");
}

#[test]
fn history_is_searched_as_far_as_its_limit_says() {
    let (sandbox, registry) = world();
    std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    // Under a far name nobody watches it, so the daemon reads it when it is told to and not between two commits.
    let far = "https://far.example/registry";
    let config = format!(
        "[limits]\nhistory_commits = 2\n[[rewrite]]\nfrom = \"{far}\"\nto = \"{}\"\n",
        registry.path.display()
    );
    std::fs::write(sandbox.path("config/resolverd/config.toml"), config).unwrap();
    let entrypoint = json!({ "type": "git", "url": far, "subpath": "catalogue.json" });
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
    registry.commit(&files("1.0.0"));
    let daemon = sandbox.start_synced();
    registry.commit(&files("2.0.0"));
    check(&daemon, "2.0.0", "fresh", None, "the commit and its parent are looked at");
    registry.commit(&files("3.0.0"));
    registry.commit(&files("4.0.0"));
    check(&daemon, "4.0.0", "fresh", Some("trust.order_unknown"), "its grandparent is not");
}

#[test]
fn only_what_is_known_can_be_forgotten() {
    let (sandbox, registry) = world();
    registry.commit(&files("1.0.0"));
    let daemon = sandbox.start_synced();
    let ask = |body: Value| daemon.post("/v1/trust/forget", &body).reason();
    assert_eq!(ask(json!({ "source": "nobody", "reason": "a case" })), "api.source");
    assert_eq!(ask(json!({ "source": "acme", "catalogue": "none", "reason": "a case" })), "api.catalogue");
    assert_eq!(ask(json!({ "source": "acme", "reason": "a case", "why": "x" })), "api.body");
    assert_eq!(ask(json!({ "source": "acme", "reason": "two\nlines" })), "api.body");
    assert_eq!(ask(json!({ "source": "acme" })), "api.body", "no reason");
    assert_eq!(ask(json!({ "source": "acme", "reason": " " })), "api.body", "a blank reason");
    assert_eq!(sandbox.run(&["trust", "forget", "acme"]).status, 2, "no reason");
    let said = sandbox.run(&["trust", "forget", "acme/none", "--reason", "a case"]);
    assert_eq!(said.status, 2, "{}", said.stderr);
    assert!(said.stderr.contains("hint: resolverd trust state"), "{}", said.stderr);
}

#[test]
fn a_kill_between_memory_and_generation_accepts_the_same_revision_again() {
    let (sandbox, registry) = world();
    let first = registry.commit(&files("1.0.0"));
    assert!(sandbox.start_synced().stop().success());
    place::copy(&sandbox.state(), &sandbox.path("before"));
    registry.commit(&files("2.0.0"));
    assert!(sandbox.start_synced().stop().success());

    // The memory is written first: the generation of before, the memory of after.
    let memory = std::fs::read(sandbox.state().join("trust-state.json")).unwrap();
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    place::copy(&sandbox.path("before"), &sandbox.state());
    std::fs::write(sandbox.state().join("trust-state.json"), memory).unwrap();
    let daemon = sandbox.start();
    check(&daemon, "2.0.0", "fresh", None, "the same revision again");
    reset(&registry, &first);
    check(&daemon, "2.0.0", "trust.rollback", None, "and still no way back");
    let log = daemon.get("/v1/trust/log").ok();
    assert_eq!(log["items"].as_array().map(Vec::len), Some(2), "one line per revision: {log:#}");
}

/// The reasons for which the daemon says that it is degraded.
fn degraded(daemon: &Daemon) -> Vec<String> {
    let health = daemon.get("/v1/health").ok();
    let all = health["degraded"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| one["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The events of the audit log with their reasons, oldest first.
fn audited(sandbox: &Sandbox) -> Vec<(String, String)> {
    let said = sandbox.run(&["audit", "tail", "-o", "json"]);
    let lines: Value = serde_json::from_str(&said.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines["items"].as_array().unwrap().iter().map(|one| (text(&one["event"]), text(&one["reason"]))).collect()
}

#[test]
fn c6_a_lost_memory_stops_syncs_until_an_operator_resets_it() {
    type Spoil = fn(&Sandbox);
    let state = |sandbox: &Sandbox| sandbox.state().join("trust-state.json");
    let spoils: [(&str, Spoil); 4] = [
        ("removed", |sandbox| std::fs::remove_file(sandbox.state().join("trust-state.json")).unwrap()),
        ("damaged", |sandbox| std::fs::write(sandbox.state().join("trust-state.json"), "").unwrap()),
        ("older", |sandbox| {
            std::fs::copy(sandbox.path("older"), sandbox.state().join("trust-state.json")).unwrap();
        }),
        ("removed with everything that could tell", |sandbox| {
            for name in ["trust-state.json", "audit.jsonl", "audit.head", "first-seen.log", "revisions.jsonl"]
            {
                let _ = std::fs::remove_file(sandbox.state().join(name));
            }
        }),
    ];
    for (how, spoil) in spoils {
        let (sandbox, registry) = world();
        let first = registry.commit(&files("1.0.0"));
        assert!(sandbox.start_synced().stop().success());
        std::fs::copy(state(&sandbox), sandbox.path("older")).unwrap();
        let second = registry.commit(&files("2.0.0"));
        assert!(sandbox.start_synced().stop().success());
        spoil(&sandbox);
        registry.commit(&files("3.0.0"));
        for round in ["the first start", "a later one"] {
            let daemon = sandbox.start();
            assert!(degraded(&daemon).contains(&"trust.state_lost".to_owned()), "{how}: {round}");
            let answer = daemon.resolve(&["lcod://acme/x"]).ok();
            assert_eq!(answer["components"][0]["version"], "2.0.0", "{how}: it serves what it served");
            let refused = daemon.post("/v1/sync", &json!({}));
            assert_eq!(
                (refused.status, refused.reason().as_str()),
                (503, "trust.state_lost"),
                "{how}: {round}"
            );
            let forget = daemon.post("/v1/trust/forget", &json!({ "source": "acme", "reason": "a case" }));
            assert_eq!(
                forget.reason(),
                "trust.state_lost",
                "{how}: what it says next is not to be trusted either"
            );
            assert!(sandbox.run(&["status"]).stdout.contains("resolverd trust reset --reason TEXT"), "{how}");
            assert_eq!(sandbox.run(&["doctor"]).status, 1, "{how}");
            assert!(daemon.stop().success());
        }
        let said = sandbox.run(&["sync"]);
        assert_eq!(said.status, 1, "{how}: in process as well: {said:?}");
        assert!(said.stderr.contains("resolverd trust reset"), "{how}: {said:?}");

        let daemon = sandbox.start();
        assert_eq!(daemon.post("/v1/trust/reset", &json!({ "reason": " " })).reason(), "api.body");
        let said = sandbox.run(&["trust", "reset", "--reason", "a disk was replaced"]);
        assert_eq!(said.status, 0, "{how}: {said:?}");
        check(&daemon, "3.0.0", "fresh", None, how);
        assert!(!degraded(&daemon).contains(&"trust.state_lost".to_owned()), "{how}");
        let told = audited(&sandbox);
        for event in ["damaged", "reset"] {
            let is_told = |(name, reason): &(String, String)| name == event && reason == "trust.state_lost";
            assert_eq!(told.iter().filter(|one| is_told(one)).count(), 1, "{how}: {event} once: {told:?}");
        }
        for commit in [&second, &first] {
            reset(&registry, commit);
            check(&daemon, "3.0.0", "trust.rollback", None, how);
        }
        assert_eq!(daemon.post("/v1/trust/reset", &json!({ "reason": "again" })).reason(), "api.reset");
        assert!(daemon.stop().success());
    }
}

#[test]
fn c6_a_memory_that_is_lost_with_every_generation_is_noticed_by_what_is_left() {
    for left in ["audit.jsonl", "audit.head", "first-seen.log"] {
        let (sandbox, registry) = world();
        let directory = sandbox.path("config/resolverd");
        std::fs::create_dir_all(&directory).unwrap();
        for directory in [&sandbox.path("config"), &directory] {
            std::fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        }
        let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"**\"\nsources = [\"acme\"]\nrequire = \"pin\"\n";
        std::fs::write(directory.join("trust.toml"), policy).unwrap();
        registry.commit(&files("1.0.0"));
        assert!(sandbox.start_synced().stop().success());
        let kept = std::fs::read(sandbox.state().join(left)).unwrap();
        std::fs::remove_dir_all(sandbox.state()).unwrap();
        let daemon = sandbox.start();
        assert!(!degraded(&daemon).contains(&"trust.state_lost".to_owned()), "{left}: nothing is left");
        assert!(daemon.stop().success());
        std::fs::remove_dir_all(sandbox.state()).unwrap();
        std::fs::create_dir(sandbox.state()).unwrap();
        std::fs::set_permissions(sandbox.state(), Permissions::from_mode(0o700)).unwrap();
        std::fs::write(sandbox.state().join(left), kept).unwrap();
        // It has nothing to serve, and takes nothing.
        let mut daemon = sandbox.spawn();
        daemon.wait_for("/v1/health");
        assert!(degraded(&daemon).contains(&"trust.state_lost".to_owned()), "{left}");
        assert_eq!(daemon.post("/v1/sync", &json!({})).reason(), "trust.state_lost", "{left}");
        let said = sandbox.run(&["trust", "reset", "--reason", "a disk was replaced"]);
        assert_eq!(said.status, 0, "{left}: {said:?}");
        check(&daemon, "1.0.0", "fresh", None, left);
        assert!(daemon.stop().success());
    }
}

#[test]
fn c6_a_memory_that_a_newer_program_wrote_is_left_alone() {
    let (sandbox, registry) = world();
    registry.commit(&files("1.0.0"));
    assert!(sandbox.start_synced().stop().success());
    let path = sandbox.state().join("trust-state.json");
    let own = std::fs::read_to_string(&path).unwrap();
    let content = own.split_once("\"content\":").unwrap().1.strip_suffix('}').unwrap();
    let schema = "resolverd/trust-state@3";
    let checksum = Digest::sha256(format!("{schema}\n{content}").as_bytes());
    let newer = format!("{{\"schema\":\"{schema}\",\"checksum\":\"{checksum}\",\"content\":{content}}}");
    std::fs::write(&path, &newer).unwrap();
    for verb in [&["resolve", "lcod://acme/x"][..], &["sync"], &["doctor", "--repair"]] {
        let said = sandbox.run(verb);
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(said.status != 0 && told.contains("resolverd/trust-state@3"), "{verb:?}: {said:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer, "{verb:?}");
    }
    let said = sandbox.run(&["doctor"]);
    assert!(said.status == 1 && said.stdout.contains("resolverd/trust-state@3"), "{said:?}");
    // One flipped bit says the same of a file that this program wrote, and is damage.
    std::fs::write(&path, own.replace("trust-state@2", schema.rsplit('/').next().unwrap())).unwrap();
    let said = sandbox.run(&["sync"]);
    assert!(said.status != 0 && said.stderr.contains("trust.state_lost"), "{said:?}");
    let said = sandbox.run(&["trust", "reset", "--reason", "a flipped bit"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(sandbox.run(&["sync"]).status, 0);
}

#[test]
fn an_older_copy_of_everything_is_not_taken_for_a_loss_and_still_knows_what_it_knew() {
    let (sandbox, registry) = world();
    let first = registry.commit(&files("1.0.0"));
    registry.commit(&files("2.0.0"));
    assert!(sandbox.start_synced().stop().success());
    place::copy(&sandbox.state(), &sandbox.path("before"));
    registry.commit(&files("3.0.0"));
    assert!(sandbox.start_synced().stop().success());
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    place::copy(&sandbox.path("before"), &sandbox.state());
    // Nothing in it is newer than the rest: only what lies elsewhere could tell.
    reset(&registry, &first);
    let daemon = sandbox.start();
    check(&daemon, "2.0.0", "trust.rollback", None, "what the copy knew holds");
    assert!(!degraded(&daemon).contains(&"trust.state_lost".to_owned()));
}

#[test]
fn the_log_of_revisions_mends_itself_after_a_kill() {
    let (sandbox, registry) = world();
    registry.commit(&files("1.0.0"));
    assert!(sandbox.start_synced().stop().success());
    let log = sandbox.state().join("revisions.jsonl");
    let first = std::fs::read_to_string(&log).unwrap();
    registry.commit(&files("2.0.0"));
    assert!(sandbox.start_synced().stop().success());
    let both = std::fs::read_to_string(&log).unwrap();
    assert_eq!((first.lines().count(), both.lines().count()), (1, 2), "{both}");
    let line: Value = serde_json::from_str(both.lines().next_back().unwrap()).unwrap();
    assert_eq!((&line["source"], &line["event"]), (&json!("acme"), &json!("accepted")), "{line:#}");
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["commit"].is_string(), "{line:#}");

    // Killed before the line was written, in the middle of it, and before anything was.
    for left in [first.clone(), format!("{first}{{\"time\":\"20"), both.clone()] {
        std::fs::write(&log, left).unwrap();
        assert!(sandbox.start_synced().stop().success());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), both);
    }
}
