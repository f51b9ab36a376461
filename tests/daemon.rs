//! The daemon as its user sees it: the socket and its modes, one daemon per state directory, signals, a warm start.

use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, NATIVES, Sandbox, mode};
use crate::harness::{place, poll};

/// Returns the sample federation's sources with absolute paths, since the sandbox keeps its own sources file.
pub(crate) fn sample() -> Value {
    let root = place::root();
    let text = std::fs::read_to_string(root.join("sources.example.json")).unwrap();
    let mut sources: Value = serde_json::from_str(&text).unwrap();
    // Registries of other dialects have tests of their own.
    sources["sources"].as_array_mut().unwrap().retain(|source| source["dialect"].is_null());
    for source in sources["sources"].as_array_mut().unwrap() {
        let path = root.join(source["entrypoint"]["path"].as_str().unwrap());
        source["entrypoint"]["path"] = path.to_str().unwrap().into();
    }
    sources
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = sandbox.start();
    assert_eq!(mode(&sandbox.socket()), 0o600);
    assert_eq!(mode(sandbox.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&sandbox.state()) & 0o077, 0, "nobody else reads the state");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_told_the_pid() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start();
    let mut second = sandbox.spawn();
    assert!(!second.wait().success());
    assert!(second.log().contains(&daemon.pid().to_string()), "{}", second.log());
    assert_eq!(daemon.get("/livez").status, 200, "the first one keeps its socket");
}

#[test]
fn a_killed_daemon_s_socket_is_no_obstacle() {
    let sandbox = Sandbox::with_sources(&sample());
    sandbox.start().kill();
    assert!(sandbox.socket().exists());
    let daemon = sandbox.start();
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn sighup_takes_a_changed_sources_file_and_keeps_the_old_one_where_it_is_broken() {
    let mut sources = sample();
    sources["sources"].as_array_mut().unwrap().truncate(1);
    let sandbox = Sandbox::with_sources(&sources);
    let daemon = sandbox.start_synced();
    let source_ids = || -> Vec<Value> {
        let page = daemon.get("/v1/sources").ok();
        page["items"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect()
    };
    assert_eq!(source_ids(), ["acme"]);

    sandbox.write_sources_text("{ \"sources\": [ { \"id\": ");
    let before = daemon.log().len();
    daemon.signal(Signal::HUP);
    poll::until("a word about the broken file", || {
        daemon.log()[before..].contains("sources.json").then_some(())
    });
    assert_eq!(source_ids(), ["acme"]);
    assert_eq!(daemon.resolve(&["lcod://acme/billing/invoice"]).status, 200);
    let said = sandbox.run(&["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("warning:") && said.stderr.contains("sources.json"), "{said:?}");

    sandbox.write_sources(&sample());
    daemon.signal(Signal::HUP);
    poll::until("both sources", || (source_ids() == ["acme", "community"]).then_some(()));
    poll::until("the new source's ids", || {
        (daemon.resolve(&["lcod://community/demo/hello"]).status == 200).then_some(())
    });
}

#[test]
fn a_sources_file_that_is_broken_at_the_start_leaves_the_last_generation_and_its_sources() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let (ids, pages) = (daemon.ids(), daemon.get("/v1/sources").ok()["items"].as_array().unwrap().len());
    assert!(daemon.stop().success());
    for broken in [Some("{"), Some("{\"sources\": 7}"), None] {
        match broken {
            Some(text) => sandbox.write_sources_text(text),
            None => std::fs::remove_file(sandbox.sources()).unwrap(),
        }
        let daemon = sandbox.start();
        let synced = daemon.sync();
        assert_eq!(synced["changed"], false, "{broken:?}: {synced:#}");
        assert_eq!(daemon.ids(), ids, "{broken:?}");
        assert_eq!(daemon.get("/v1/sources").ok()["items"].as_array().unwrap().len(), pages, "{broken:?}");
        let ready = daemon.get("/readyz").ok().to_string();
        assert!(ready.contains("sources.json"), "{broken:?}: {ready}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn of_many_daemons_that_start_at_once_one_serves() {
    let sandbox = Sandbox::with_sources(&sample());
    let mut all: Vec<Daemon> = (0..8).map(|_| sandbox.spawn()).collect();
    let mut ended: Vec<Daemon> = Vec::new();
    while all.len() > 1 {
        poll::until("a daemon that gives up", || {
            let at = all.iter_mut().position(Daemon::has_ended)?;
            ended.push(all.remove(at));
            Some(())
        });
    }
    let serving = &mut all[0];
    serving.wait_for("/readyz");
    for mut daemon in ended {
        assert!(!daemon.wait().success());
        assert!(daemon.log().contains(&serving.pid().to_string()), "{}", daemon.log());
    }
}

#[test]
fn a_daemon_that_takes_over_from_a_stopping_one_keeps_its_socket() {
    let sandbox = Sandbox::with_sources(&sample());
    let mut daemon = sandbox.start();
    for _ in 0..10 {
        daemon.signal(Signal::TERM);
        let next = sandbox.spawn();
        assert!(daemon.wait().success(), "{}", daemon.log());
        daemon = next;
        daemon.wait_for("/readyz");
    }
}

#[test]
fn sigterm_ends_it_and_takes_the_socket_away() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start();
    // A connection that says nothing must not hold it up for longer than the grace.
    let silent = UnixStream::connect(sandbox.socket()).unwrap();
    assert!(daemon.stop().success());
    drop(silent);
    assert!(!sandbox.socket().exists());
}

#[test]
fn first_match_wins_over_a_higher_version_and_the_loser_is_reported() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let answer = daemon.resolve(&["lcod://tooling/text/slug"]).ok();
    let chosen = &answer["components"][0];
    assert_eq!(
        (chosen["version"].as_str(), chosen["source"]["id"].as_str()),
        (Some("0.2.0"), Some("acme")),
        "{answer:#}"
    );
    assert_eq!(chosen["shadowed"][0]["source"], "community", "{answer:#}");
    assert_eq!(chosen["shadowed"][0]["versions"], json!(["1.3.0"]), "{answer:#}");
    let problem = daemon.resolve(&["lcod://tooling/text/slug@1.3.0"]);
    assert_eq!((problem.status, problem.json()["code"].as_str()), (404, Some("E002")), "{problem}");
}

#[test]
fn yanked_and_prerelease_versions_are_not_chosen_unasked() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let invoice = "lcod://acme/billing/invoice";
    for (requirement, expected) in
        [("", "1.0.0"), ("@1", "1.0.0"), ("@^0.1", "0.1.0"), ("@2.0.0-rc.1", "2.0.0-rc.1")]
    {
        let answer = daemon.resolve(&[&format!("{invoice}{requirement}")]).ok();
        assert_eq!(answer["roots"], json!([format!("{invoice}@{expected}")]), "{requirement}: {answer:#}");
    }
    for requirement in ["@1.1.0", "@^2", "@9.9.9"] {
        let problem = daemon.resolve(&[&format!("{invoice}{requirement}")]);
        assert_eq!(problem.status, 404, "{requirement}: {problem}");
    }
    let body =
        json!({ "requests": [format!("{invoice}@^2.0.0-rc")], "prerelease": true, "natives": NATIVES });
    assert_eq!(daemon.post("/v1/resolve", &body).ok()["roots"], json!([format!("{invoice}@2.0.0-rc.1")]));
}

#[test]
fn a_verb_gives_the_same_answer_with_a_daemon_and_without() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let arguments = ["resolve", "lcod://acme/billing/invoice@1", "-o", "json"];
    let through = sandbox.run(&arguments);
    assert_eq!(through.status, 0, "{}", through.stderr);
    let answer: Value = serde_json::from_str(&through.stdout).unwrap();
    assert_eq!(answer["roots"], json!(["lcod://acme/billing/invoice@1.0.0"]));
    assert!(daemon.stop().success());
    let alone = sandbox.run(&arguments);
    assert_eq!((alone.status, alone.stdout), (0, through.stdout), "{}", alone.stderr);
    let missing = sandbox.run(&["resolve", "lcod://acme/billing/invoise"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (10, ""), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("lcod://acme/billing/invoice"),
        "the nearest id is named: {}",
        missing.stderr
    );
}

/// Returns the names and the niceness of the threads of a daemon, its first one first. Of `/proc/PID/task/TID/stat`, what stands behind
/// the name begins with the third field.
fn niceness(daemon: &Daemon) -> Vec<(String, i32)> {
    let mut ids: Vec<u32> = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    let niceness = |id| {
        // It may have ended meanwhile.
        let stat = std::fs::read_to_string(format!("/proc/{}/task/{id}/stat", daemon.pid())).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        Some((head.split_once('(')?.1.to_owned(), tail.split_whitespace().nth(16)?.parse().ok()?))
    };
    ids.into_iter().filter_map(niceness).collect()
}

#[test]
fn who_syncs_and_who_gives_memory_back_is_the_last_to_be_given_a_processor() {
    let sandbox = Sandbox::with_sources(&sample());
    for start in ["with nothing to serve", "with a generation"] {
        let daemon = sandbox.start_synced();
        // Whatever began while it started has begun by now.
        daemon.sync();
        let threads = niceness(&daemon);
        for name in ["writer", "jemalloc_bg_thd", "sled-io-"] {
            let mut named = threads.iter().filter(|(found, _)| found.starts_with(name)).peekable();
            assert!(named.peek().is_some(), "{start}: no {name} in {threads:?}");
            assert!(named.all(|(_, nice)| *nice == 19), "{start}: {threads:?}");
        }
        // What started this test decides how urgent the server is, as long as it is more so than the writer.
        assert!(threads[0].1 < 19, "{start}: {threads:?}");
        daemon.stop();
    }
}
