//! With every source gone, a restarted daemon answers everything that it answered before and names what is stale.
//!
//! An answer names its stale sources, so the digest of the snapshot changes with them and comes back with them.

use serde_json::json;

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::dump::{check, everything};
use crate::harness::lcod::{Component, Federation, Form};
use crate::harness::place;

#[test]
fn a_restarted_daemon_answers_everything_with_every_source_gone() {
    let sandbox = Sandbox::new();
    let components = vec![
        Component::new("lcod://git/array/append", "0.1.0", &["lcod://contract/core/array/append@1"]),
        Component::new("lcod://git/array/pluck", "0.1.0", &["lcod://git/array/append@0.1.0"]),
    ];
    let world = sandbox.path("world");
    let federation = Federation::build(&world, components);
    place::copy(&place::root().join("tests/federation"), &world.join("files"));
    let mut sources = federation.sources(Form::Seed);
    let file = |id: &str, name: &str, priority: u32| {
        let path = world.join("files").join(name);
        json!({ "id": id, "priority": priority, "entrypoint": { "type": "file", "path": path } })
    };
    let rows = sources["sources"].as_array_mut().unwrap();
    rows.push(file("acme", "acme/catalogues.json", 20));
    rows.push(file("community", "community/catalogues.jsonl", 60));
    sandbox.write_sources(&sources);

    let daemon = sandbox.start_synced();
    let before = everything(&daemon);
    let snapshot = |daemon: &Daemon| daemon.resolve(&["lcod://git/array/pluck"]).ok()["snapshot"].clone();
    let fresh = snapshot(&daemon);
    assert!(before.len() >= 4 * 7, "only {} answers", before.len());
    assert!(daemon.stop().success());
    std::fs::rename(&world, sandbox.path("gone")).unwrap();

    let daemon = sandbox.start();
    check(&daemon, &before, "warm, whatever the first sync has found");
    daemon.sync();
    check(&daemon, &before, "after a sync that found nothing");
    let answer = daemon.resolve(&["lcod://git/array/pluck"]).ok();
    assert_eq!(answer["stale"], json!(["acme", "community", "lcod-default"]));
    for row in daemon.get("/v1/sources").ok()["items"].as_array().unwrap() {
        assert_eq!(row["state"], "stale", "{row:#}");
        assert!(row["error"]["reason"].is_string(), "{row:#}");
    }
    assert_eq!(daemon.get("/readyz").status, 200, "a dead source does not unready the daemon");

    std::fs::rename(sandbox.path("gone"), &world).unwrap();
    daemon.sync();
    assert_eq!(daemon.resolve(&["lcod://git/array/pluck"]).ok()["stale"], json!([]));
    check(&daemon, &before, "when everything is back");
    assert_eq!(snapshot(&daemon), fresh);
}
