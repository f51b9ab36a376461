//! `owns` through the daemon: nobody in a worse place fills a namespace whose owner has never been read.

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, array};
use crate::harness::repository;

/// Writes a catalogue of these `id@version` below the sandbox, where the source of that name finds it.
fn publish(sandbox: &Sandbox, source: &str, releases: &[&str]) {
    let component = |full: &&str| {
        let (id, version) = full.rsplit_once('@').unwrap();
        Component::new(id, version, &[])
    };
    let components: Vec<Component> = releases.iter().map(component).collect();
    let mut files = all_files(&components);
    files.insert("catalogue.json".to_owned(), array(&components));
    repository::write(&sandbox.path(source), &files);
}

/// Checks which version from which source answers.
fn check(daemon: &Daemon, id: &str, version: &str, source: &str) {
    let answer = daemon.resolve(&[id]).ok();
    let chosen = &answer["components"][0];
    assert_eq!(
        (&chosen["version"], &chosen["source"]["id"]),
        (&json!(version), &json!(source)),
        "{answer:#}"
    );
}

#[test]
fn a_namespace_of_a_source_that_was_never_read_is_answered_by_better_places_only() {
    let sandbox = Sandbox::new();
    publish(&sandbox, "best", &["lcod://acme/first@1.0.0"]);
    publish(
        &sandbox,
        "public",
        &["lcod://acme/first@9.0.0", "lcod://acme/taken@9.0.0", "lcod://other/x@9.0.0"],
    );
    let source = |id: &str, priority: u32, owns: Value| {
        let entrypoint = json!({ "type": "file", "path": sandbox.path(id).join("catalogue.json") });
        json!({ "id": id, "priority": priority, "owns": owns, "entrypoint": entrypoint })
    };
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        source("best", 10, json!([])),
        source("owner", 20, json!(["lcod://acme/**"])),
        source("public", 50, json!([])),
    ] }));

    let daemon = sandbox.start_synced();
    for reference in ["lcod://acme/taken", "lcod://acme/taken@9.0.0", "lcod://acme/nobody-lists-it"] {
        let problem = daemon.resolve(&[reference]);
        assert_eq!((problem.status, problem.reason().as_str()), (503, "source_unread"), "{problem}");
        let said = problem.json();
        assert_eq!(
            (&said["code"], &said["hint"]),
            (&json!("R002"), &json!("resolverd sync owner")),
            "{problem}"
        );
        assert_eq!(
            (&said["source"], &said["namespace"]),
            (&json!("owner"), &json!("lcod://acme/**")),
            "{problem}"
        );
    }
    check(&daemon, "lcod://acme/first", "1.0.0", "best");
    check(&daemon, "lcod://other/x", "9.0.0", "public");
    assert_eq!(daemon.ids(), ["lcod://acme/first", "lcod://other/x"]);
    let said = sandbox.run(&["resolve", "lcod://acme/taken"]);
    assert_eq!((said.status, said.stdout.as_str()), (5, ""), "{}", said.stderr);
    assert!(said.stderr.contains("hint: resolverd sync owner"), "{}", said.stderr);

    publish(&sandbox, "owner", &["lcod://acme/taken@0.1.0"]);
    daemon.sync();
    check(&daemon, "lcod://acme/taken", "0.1.0", "owner");
    check(&daemon, "lcod://acme/first", "1.0.0", "best");
    let problem = daemon.resolve(&["lcod://acme/taken@9.0.0"]);
    assert_eq!((problem.status, problem.json()["code"].as_str()), (404, Some("E002")), "{problem}");

    std::fs::remove_file(sandbox.path("owner").join("catalogue.json")).unwrap();
    daemon.sync();
    check(&daemon, "lcod://acme/taken", "0.1.0", "owner");
}
