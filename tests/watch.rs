//! Edits of the sources file, the configuration and local catalogues, against the real daemon: a good one becomes a
//! generation, a broken one is shown and changes nothing.

use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository};
use crate::harness::{place, poll};

/// Returns the sample's sources under the given ids, in turn.
fn named(ids: &[&str]) -> Value {
    let sample = sample();
    let entries = sample["sources"].as_array().unwrap();
    let entry = |(id, entry): (&&str, &Value)| {
        let mut entry = entry.clone();
        entry["id"] = (*id).into();
        entry
    };
    json!({ "sources": ids.iter().zip(entries).map(entry).collect::<Vec<_>>() })
}

fn ids(daemon: &Daemon) -> Vec<String> {
    let page = daemon.get("/v1/sources").ok();
    page["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn degraded(daemon: &Daemon) -> String {
    daemon.get("/readyz").ok()["degraded"].to_string()
}

#[test]
fn an_edit_of_the_sources_file_is_in_force_without_a_word() {
    let sandbox = Sandbox::with_sources(&named(&["one"]));
    let daemon = sandbox.start_synced();
    assert_eq!(ids(&daemon), ["one"]);
    sandbox.write_sources(&named(&["one", "two"]));
    poll::until("both sources", || (ids(&daemon) == ["one", "two"]).then_some(()));
    // In place, as some editors write.
    std::fs::write(sandbox.sources(), named(&["three"]).to_string()).unwrap();
    poll::until("the third source", || (ids(&daemon) == ["three"]).then_some(()));
}

#[test]
fn a_broken_edit_is_shown_with_its_place_and_changes_nothing() {
    let sandbox = Sandbox::with_sources(&named(&["one"]));
    let daemon = sandbox.start_synced();
    let before = daemon.get("/v1/health").ok()["generation"].clone();
    sandbox.write_sources_text("{\"sources\": [\n  {\"id\": \"one\", \"pth\": \"x\"}\n]}");
    let shown = poll::until("a word about the broken file", || {
        Some(degraded(&daemon)).filter(|text| text.contains("sources.json"))
    });
    assert!(shown.contains("line 2") && shown.contains("column"), "{shown}");
    let status = sandbox.run(&["status"]);
    assert!(status.stdout.contains("line 2") && status.stdout.contains("pth"), "{status:?}");
    assert!(status.stdout.contains("the configuration is broken"), "{status:?}");
    assert!(status.stdout.contains("correct the file, then resolverd reload"), "{status:?}");
    assert_eq!(
        (ids(&daemon), &daemon.get("/v1/health").ok()["generation"]),
        (vec!["one".to_owned()], &before)
    );
    assert_eq!(daemon.resolve(&["lcod://acme/billing/invoice"]).status, 200);

    std::fs::remove_file(sandbox.sources()).unwrap();
    poll::until("a word about the missing file", || degraded(&daemon).contains("cannot read").then_some(()));
    sandbox.write_sources(&named(&["one"]));
    poll::until("the end of the trouble", || (!degraded(&daemon).contains("sources.json")).then_some(()));
    assert_eq!(ids(&daemon), ["one"]);
}

#[test]
fn a_hundred_edits_in_a_row_end_in_the_last_good_one() {
    let sandbox = Sandbox::with_sources(&named(&["start"]));
    let daemon = sandbox.start_synced();
    for number in 0..100 {
        match number % 4 {
            0 => sandbox.write_sources_text("{ \"sources\": ["),
            1 => sandbox.write_sources(&named(&[&format!("edit-{number}"), "beside"])),
            2 => std::fs::write(sandbox.sources(), named(&[&format!("edit-{number}")]).to_string()).unwrap(),
            _ => std::fs::remove_file(sandbox.sources()).unwrap(),
        }
        if number % 10 == 0 {
            // Long enough for some of them to be taken.
            poll::pause(std::time::Duration::from_millis(300));
        }
    }
    sandbox.write_sources(&named(&["the-last", "beside"]));
    poll::until("the last edit", || (ids(&daemon) == ["the-last", "beside"]).then_some(()));
    poll::until("no trouble", || (!degraded(&daemon).contains("sources.json")).then_some(()));
    // Nothing that came before comes back.
    daemon.sync();
    assert_eq!(ids(&daemon), ["the-last", "beside"]);
    // A broken one behind it leaves it in force.
    sandbox.write_sources_text("[]");
    poll::until("a word about the broken file", || degraded(&daemon).contains("sources.json").then_some(()));
    assert_eq!(ids(&daemon), ["the-last", "beside"]);
}

#[test]
fn a_configuration_that_appears_later_is_read_and_says_what_needs_a_restart() {
    let sandbox = Sandbox::with_sources(&named(&["one"]));
    let daemon = sandbox.start_synced();
    let directory = sandbox.path("config/resolverd");
    std::fs::create_dir_all(&directory).unwrap();
    let config = directory.join("config.toml");
    std::fs::write(&config, "\nrefresh = \"1s\"\n").unwrap();
    let shown = poll::until("a word about the broken file", || {
        Some(degraded(&daemon)).filter(|text| text.contains("config.toml"))
    });
    assert!(shown.contains("line 2"), "{shown}");
    std::fs::write(&config, "refresh = \"2h\"\nidle_exit = \"9h\"\n").unwrap();
    poll::until("what needs a restart", || {
        let text = degraded(&daemon);
        (text.contains("idle_exit") && text.contains("restart")).then_some(())
    });
    let status = sandbox.run(&["status"]);
    assert!(status.stdout.contains("the configuration needs a restart"), "{status:?}");
    assert!(status.stdout.contains("restart the daemon, or take the edit back"), "{status:?}");
    let doctor = sandbox.run(&["doctor"]);
    assert_eq!(doctor.status, 0, "a good configuration is nothing wrong: {doctor:?}");
    assert!(doctor.stdout.contains("hint: restart the daemon, or take the edit back"), "{doctor:?}");
    std::fs::write(&config, "refresh = \"2h\"\n").unwrap();
    poll::until("the end of the trouble", || (!degraded(&daemon).contains("restart")).then_some(()));
}

#[test]
fn a_local_catalogue_that_appears_or_changes_is_read_again() {
    let sandbox = Sandbox::new();
    let registry = sandbox.path("registry");
    let entry = registry.join("catalogues.jsonl");
    sandbox.write_sources(&json!({"sources": [{"id": "local", "path": entry}]}));
    let daemon = sandbox.start_synced();
    assert_eq!(daemon.ids(), <[&str; 0]>::default());

    // The whole directory appears, and its list names files without digests, so that they may change.
    let fresh = sandbox.path("fresh");
    place::copy(&place::root().join("tests/federation/community"), &fresh);
    let row = json!({"type": "list", "id": "community/std", "path": "registry/components.std.jsonl"});
    let list = lcod::lines("community/catalogues", &[row]);
    std::fs::write(fresh.join("catalogues.jsonl"), list).unwrap();
    std::fs::rename(&fresh, &registry).unwrap();
    let wrap = "lcod://tooling/text/wrap".to_owned();
    poll::until("the ids of the new directory", || daemon.ids().contains(&wrap).then_some(()));

    let components = registry.join("registry/components.std.jsonl");
    let text = std::fs::read_to_string(&components).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains(&wrap)).map(|l| format!("{l}\n")).collect();
    std::fs::write(&components, without).unwrap();
    poll::until("the end of one id", || (!daemon.ids().contains(&wrap)).then_some(()));
    // The very bytes of before would be a rollback.
    std::fs::write(&components, format!("{text}\n")).unwrap();
    poll::until("its return", || daemon.ids().contains(&wrap).then_some(()));
}

#[test]
fn a_commit_to_a_local_repository_is_read() {
    let sandbox = Sandbox::new();
    let work = Repository::create(&sandbox.path("work"));
    let one = Component::new("lcod://demo/one", "1.0.0", &[]);
    let two = Component::new("lcod://demo/two", "1.0.0", &[]);
    let commit = |components: &[Component]| {
        let mut files: Files = lcod::all_files(components);
        let described = work.commit(&files);
        files.insert("components.json".to_owned(), lcod::array(components));
        let published = work.commit(&files);
        let pointer = lcod::pointer("demo", &work.url(), &published, "components.json");
        files.insert("catalogues.json".to_owned(), lcod::catalogues(&[pointer]));
        assert_ne!(described, work.commit(&files));
    };
    commit(std::slice::from_ref(&one));
    let bare = work.bare_clone(&sandbox.path("bare.git"));
    let entry = |id: &str, repository: &Repository, reference: Option<&str>| {
        let mut entrypoint = json!({"type": "git", "url": repository.url(), "subpath": "catalogues.json"});
        if let Some(reference) = reference {
            entrypoint["ref"] = reference.into();
        }
        json!({"id": id, "entrypoint": entrypoint})
    };
    for (repository, reference) in
        [(&work, None), (&work, Some("main")), (&bare, None), (&bare, Some("main"))]
    {
        commit(std::slice::from_ref(&one));
        let push =
            || place::git(&work.path, &["push", "--quiet", "--force", bare.path.to_str().unwrap(), "main"]);
        push();
        sandbox.write_sources(&json!({"sources": [entry("local", repository, reference)]}));
        let daemon = sandbox.start_synced();
        assert_eq!(daemon.ids(), ["lcod://demo/one"], "{}", daemon.log());
        commit(&[one.clone(), two.clone()]);
        push();
        poll::until("the new commit", || (daemon.ids().len() == 2).then_some(()));
        assert!(daemon.stop().success());
    }
}
