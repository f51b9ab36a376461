//! Time, with the real binary: the ids of a source that was not checked for longer than `max_stale` are nobody's, by themselves
//! and without network, and come back with the next check.

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, array};
use crate::harness::{place, poll, repository};

/// A sandbox in which nothing lasts longer than a second.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    std::fs::write(sandbox.path("config/resolverd/config.toml"), "max_stale = \"1s\"\n").unwrap();
    sandbox
}

/// Writes a catalogue of one release where the source of that name finds it.
fn publish(sandbox: &Sandbox, source: &str, id: &str, version: &str) {
    let components = [Component::new(id, version, &[])];
    let mut files = all_files(&components);
    files.insert("catalogue.json".to_owned(), array(&components));
    repository::write(&sandbox.path(source), &files);
}

fn entry(sandbox: &Sandbox, source: &str, priority: u32) -> Value {
    let entrypoint = json!({ "type": "file", "path": sandbox.path(source).join("catalogue.json") });
    json!({ "id": source, "priority": priority, "entrypoint": entrypoint })
}

fn state(daemon: &Daemon, source: &str) -> Value {
    let page = daemon.get("/v1/sources").ok();
    let rows = page["items"].as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row["id"] == source).unwrap()
}

#[test]
fn ids_become_unavailable_by_themselves_and_come_back_with_a_check() {
    let sandbox = world();
    publish(&sandbox, "owner", "lcod://acme/x", "1.0.0");
    publish(&sandbox, "public", "lcod://acme/x", "9.0.0");
    let mut public = entry(&sandbox, "public", 90);
    let bytes = std::fs::read(sandbox.path("public").join("catalogue.json")).unwrap();
    public["checksum"] = json!(catalogue_schema::digest::Digest::sha256(&bytes).to_string());
    sandbox.write_sources(&json!({ "sources": [entry(&sandbox, "owner", 10), public] }));
    let daemon = sandbox.start_synced();

    let problem = poll::until("the owner's expiry", || {
        Some(daemon.resolve(&["lcod://acme/x"])).filter(|answer| answer.status != 200)
    });
    assert_eq!((problem.status, problem.reason().as_str()), (503, "source.expired"), "{problem}");
    let said = problem.json();
    assert_eq!((&said["code"], &said["source"]), (&json!("R002"), &json!("owner")), "{problem}");
    assert_eq!(said["hint"], "resolverd sync owner", "{problem}");
    assert!(said["detail"].as_str().unwrap().contains("max_stale"), "{problem}");
    let other = daemon.resolve(&["lcod://acme/x@9.0.0"]);
    assert_eq!(other.reason(), "source.expired", "nobody else answers: {other}");
    assert_eq!(state(&daemon, "owner")["state"], "expired");
    assert_eq!(state(&daemon, "public")["state"], "fresh", "what is pinned never ages");
    assert_eq!(state(&daemon, "public")["nextChange"], Value::Null);
    let versions = daemon.get("/v1/components/lcod/acme/x/versions").ok();
    assert_eq!(versions["items"][0]["refusal"]["reason"], "source.expired", "{versions:#}");
    assert_eq!(daemon.get("/readyz").status, 200);
    let health = daemon.get("/v1/health").ok();
    assert_eq!((&health["nextChange"], &health["degraded"][0]["state"]), (&Value::Null, &json!("expired")));

    // A check brings the ids back, with what the source says today.
    publish(&sandbox, "owner", "lcod://acme/x", "1.1.0");
    let answer = poll::until("an answer within the second after a sync", || {
        daemon.sync();
        Some(daemon.resolve(&["lcod://acme/x"])).filter(|answer| answer.status == 200)
    });
    assert_eq!(answer.json()["components"][0]["version"], "1.1.0", "{answer}");
}

#[test]
fn what_expired_while_no_process_looked_is_not_served_for_a_moment() {
    let sandbox = world();
    publish(&sandbox, "owner", "lcod://acme/x", "1.0.0");
    sandbox.write_sources(&json!({ "sources": [entry(&sandbox, "owner", 10)] }));
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    std::fs::remove_dir_all(sandbox.path("owner")).unwrap();
    let said = poll::until("the expiry", || {
        Some(sandbox.run(&["resolve", "lcod://acme/x"])).filter(|said| said.status != 0)
    });
    assert_eq!(said.status, 5, "{}", said.stderr);
    assert!(said.stderr.contains("source.expired") && said.stderr.contains("hint: resolverd sync owner"));
    // Neither the loss of the times nor a daemon that finds nothing brings it back.
    std::fs::remove_file(sandbox.state().join("checks.json")).unwrap();
    let daemon = sandbox.start_synced();
    assert_eq!(daemon.resolve(&["lcod://acme/x"]).reason(), "source.expired");
    assert_eq!(state(&daemon, "owner")["state"], "expired");
    drop(daemon);
    assert_eq!(sandbox.run(&["--offline", "resolve", "lcod://acme/x"]).status, 5, "nor does a flag");
}

#[test]
fn a_clock_that_went_back_is_said_and_makes_nothing_younger() {
    let sandbox = Sandbox::new();
    publish(&sandbox, "owner", "lcod://acme/x", "1.0.0");
    sandbox.write_sources(&json!({ "sources": [entry(&sandbox, "owner", 10)] }));
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    std::fs::remove_dir_all(sandbox.path("owner")).unwrap();

    // The clock was a hundred years ahead when the memory was written.
    place::reseal(&sandbox.state().join("trust-state.json"), |content| {
        let highest_s = content["highest_s"].as_i64().unwrap();
        content["highest_s"] = json!(highest_s + 100 * 366 * 86_400);
    });

    let daemon = sandbox.start_synced();
    let health = daemon.get("/v1/health").ok();
    assert!(health.to_string().contains("clock.backwards"), "{health:#}");
    assert_eq!(daemon.resolve(&["lcod://acme/x"]).reason(), "source.expired");
    publish(&sandbox, "owner", "lcod://acme/x", "1.0.0");
    daemon.sync();
    assert_eq!(daemon.resolve(&["lcod://acme/x"]).status, 200, "syncs go on");
}
