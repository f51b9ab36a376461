//! The socket and the verbs as a caller meets them: equal answers with a daemon and without, refusals that say what to do.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::http::encoded;

/// Every verb that reads, with good and bad arguments.
const VERBS: &[&[&str]] = &[
    &["resolve", "lcod://acme/billing/invoice", "lcod://tooling/text/slug@^0.1"],
    &["resolve", "lcod://acme/billing/invoice@^2", "--prerelease"],
    &["resolve", "lcod://contract/a/b@1", "--native", "lcod://contract/"],
    &["resolve", "lcod://acme/billing/invoice@>=1 <2"],
    &["resolve", "oci://registry/x"],
    &["resolve", "lcod://acme/billing/invoise"],
    &["info", "lcod://acme/billing/invoice"],
    &["info", "lcod://acme/billing/invoice@1.1.0"],
    &["info", "lcod://acme/billing/invoice@^7"],
    &["versions", "lcod://acme/billing/invoice"],
    &["versions", "lcod://acme/billing/invoice@1"],
    &["catalogues"],
    &["components"],
    &["components", "--limit", "2", "--kind", "component"],
    &["components", "--limit", "0"],
    &["components", "--source", "nobody"],
    &["search", "text"],
    &["search", "text", "--source", "nobody"],
    &["search", "--limit", "101"],
    &["explain", "lcod://acme/billing/invoice@^1"],
    &["explain", "lcod://acme/billing/invoise"],
    &["why", "lcod://A"],
    &["why", "lcod://contract/a/b@1", "--native", "lcod://contract/"],
    &["sync", "nobody"],
];

#[test]
fn every_verb_says_the_same_with_a_daemon_and_without() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let all = || -> Vec<(i32, String, String)> {
        let lines = VERBS.iter().flat_map(|verb| [verb.to_vec(), [verb, &["-o", "json"][..]].concat()]);
        // Time passes between the two.
        let ageless = |text: String| -> String {
            text.lines()
                .filter(|line| !line.contains("\"ageSeconds\""))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        let told = lines.map(|line| sandbox.run(&line));
        told.map(|said| (said.status, ageless(said.stdout), said.stderr)).collect()
    };
    let through = all();
    assert!(daemon.stop().success());
    for ((through, alone), verb) in through.iter().zip(all()).zip(VERBS.iter().flat_map(|verb| [verb, verb]))
    {
        assert_eq!(*through, alone, "{verb:?}");
        assert_eq!(through.0 == 0, through.2.is_empty(), "{verb:?}: {}", through.2);
        assert!(through.0 == 0 || through.2.contains("hint: "), "{verb:?}: {}", through.2);
    }
}

#[test]
fn ten_verbs_at_once_without_a_daemon_wait_for_each_other() {
    let sandbox = Sandbox::with_sources(&sample());
    let ask = || sandbox.run(&["resolve", "lcod://acme/billing/invoice", "--wait", "120"]);
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..10).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let syncs = answers.iter().filter(|said| said.stderr.contains("nothing has been synced yet")).count();
    assert_eq!(syncs, 1, "{answers:?}");
    let texts: BTreeSet<&str> = answers.iter().map(|said| said.stdout.as_str()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(answers.iter().all(|said| said.status == 0), "{answers:?}");
}

#[test]
fn a_place_where_no_socket_can_be_is_refused_and_left_alone() {
    let sandbox = Sandbox::with_sources(&sample());
    let (file, directory) = (sandbox.path("precious"), sandbox.path("directory"));
    std::fs::write(&file, "kept").unwrap();
    std::fs::create_dir(&directory).unwrap();
    let long = sandbox.path(&"x".repeat(108));
    let check = |socket: &std::path::Path, found: &str, hint: &str| {
        for (verb, status) in [("status", 9), ("serve", 1)] {
            let said = sandbox.run(&[verb, "--socket", socket.to_str().unwrap()]);
            assert_eq!((said.status, said.stdout.as_str()), (status, ""), "{verb}: {}", said.stderr);
            assert!(said.stderr.contains(found) && said.stderr.contains(hint), "{verb}: {}", said.stderr);
        }
    };
    check(&file, "is not a socket", "hint: name");
    check(&directory, "is not a socket", "hint: name");
    check(&long, "at most 107 bytes", "hint: name a");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    // What a dead process left behind is no daemon: the verb answers itself.
    let left = sandbox.path("left");
    drop(UnixListener::bind(&left).unwrap());
    let said = sandbox.run(&["status", "--socket", left.to_str().unwrap()]);
    assert!(said.status == 0 && said.stdout.contains("no daemon runs"), "{said:?}");
}

#[test]
fn a_status_without_a_daemon_says_what_is_wrong_with_the_sources_file() {
    let sandbox = Sandbox::with_sources(&sample());
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    sandbox.write_sources_text("{\"sources\": ");
    let said = sandbox.run(&["status"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(said.stdout.contains("configuration: ") && said.stdout.contains("line 1"), "{}", said.stdout);
    assert!(said.stdout.contains("no trust policy is set"), "{}", said.stdout);
    let answer: Value = serde_json::from_str(&sandbox.run(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(answer["health"]["status"], "degraded", "{answer:#}");
    assert_eq!(answer["answers"], "in-process");
}

#[test]
fn nobody_reading_the_answer_is_no_fault() {
    let sandbox = Sandbox::with_sources(&sample());
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    let mut command = sandbox.command();
    let mut child = command
        .args(["components", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn routes_answer_in_every_form_and_refuse_in_one() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let id = encoded("lcod://acme/billing/invoice");
    let path = "lcod/acme/billing/invoice";
    for rest in ["", "/versions", "/latest", "/1.0.0", "/%5E0.1", "/1.0.0/manifest"] {
        let (one, other) = (
            daemon.get(&format!("/v1/components/{id}{rest}")),
            daemon.get(&format!("/v1/components/{path}{rest}")),
        );
        assert_eq!((one.status, &one.body), (200, &other.body), "{rest}");
    }
    let check = |method: &str, target: &str, body: Option<Value>, status: u16, reason: &str| {
        let answer = daemon.try_ask(method, target, body.as_ref()).unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (status, reason),
            "{method} {target}: {answer}"
        );
        answer
    };
    check("GET", "/v1/nothing", None, 404, "api.route");
    check("GET", "/v1/sources?x=1", None, 400, "api.parameter");
    check("GET", "/v1/components?colour=x", None, 400, "api.parameter");
    check("GET", "/v1/components?limit=1&limit=2", None, 400, "api.parameter");
    check(
        "GET",
        &format!("/v1/components/{}/1/manifest", encoded("lcod://acme/x")),
        None,
        404,
        "component_unknown",
    );
    for (method, target, allow) in
        [("OPTIONS", "/v1/resolve", "POST"), ("PUT", "/v1/sources", "GET"), ("POST", "/livez", "GET")]
    {
        assert_eq!(check(method, target, None, 405, "api.method").header("allow"), Some(allow), "{target}");
    }
    check("POST", "/v1/resolve", Some(json!([["lcod://acme/billing/tax"]])), 400, "api.body");
    check("POST", "/v1/resolve", Some(json!({"requests": [], "frefresh": true})), 400, "api.body");
    let kept = json!({"requests": [], "materialize": true, "snapshot": "sha256:0123456789ab"});
    check("POST", "/v1/resolve", Some(kept), 400, "api.unsupported");
    let locked = json!({"resolve": {"requests": [], "materialize": true}});
    check("POST", "/v1/lock", Some(locked), 400, "api.unsupported");
    check("POST", "/v1/materialize", Some(json!({})), 400, "api.body");
    let again = json!({"resolve": {"requests": ["lcod://acme/billing/tax"], "refresh": true}});
    check("POST", "/v1/materialize", Some(again), 400, "api.unsupported");
    let both = json!({"releases": ["lcod://acme/billing/tax"], "resolve": {"requests": []}});
    check("POST", "/v1/materialize", Some(both), 400, "api.body");
    check("POST", "/v1/sync", Some(json!({"sources": ["nobody"]})), 400, "api.source");
}

#[test]
fn ten_thousand_ids_are_looked_up_at_once_and_one_more_is_refused() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let ids = |count: usize| json!({ "ids": vec!["lcod://acme/billing/tax@^1"; count] });
    let one = daemon.get("/v1/components/lcod/acme/billing/tax/latest");
    let many = daemon.post("/v1/lookup", &ids(10_000)).ok();
    let many = many.as_array().unwrap();
    assert_eq!(many.len(), 10_000);
    assert!(many.iter().all(|row| *row == one.json()));
    let refused = daemon.post("/v1/lookup", &ids(10_001));
    assert_eq!((refused.status, refused.reason().as_str()), (413, "api.references"));
    assert_eq!(refused.json()["limit"], 10_000);
}

#[test]
fn releases_are_told_alike_whether_encoded_ahead_or_for_the_question() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let snapshot = daemon.get("/v1/snapshots").ok()["items"][0]["snapshot"].as_str().unwrap().to_owned();
    let ids = daemon.ids();
    let mut references = vec!["lcod://no/body".to_owned(), "no reference".to_owned()];
    for id in &ids {
        let path = format!("/v1/components/{}", encoded(id));
        let versions = daemon.get(&format!("{path}/versions")).ok();
        let versions = versions["items"].as_array().unwrap().iter();
        let mut asked: Vec<String> =
            versions.map(|row| row["version"].as_str().unwrap().to_owned()).collect();
        asked.extend(["latest", "^0.1", "~1", ">=0.1, <2", "<1.0.0", "*"].map(str::to_owned));
        for version in asked {
            let path = format!("{path}/{}", encoded(&version));
            // A generation that is asked for by its digest is answered from the snapshot, whichever it is.
            let (ahead, now) = (daemon.get(&path), daemon.get(&format!("{path}?snapshot={snapshot}")));
            assert_eq!(ahead.status, now.status, "{path}");
            assert!(ahead.status != 200 || ahead.body == now.body, "{path}: {ahead} and {now}");
            references.push(format!("{id}@{version}"));
        }
    }
    assert!(ids.len() > 5 && references.len() > 40, "{ids:?}");
    let ahead = daemon.post("/v1/lookup", &json!({ "ids": references }));
    let now = daemon.post("/v1/lookup", &json!({ "ids": references, "snapshot": snapshot }));
    assert_eq!((ahead.status, &ahead.body), (200, &now.body));
}

#[test]
fn settings_that_cannot_hold_are_refused_by_name() {
    let sandbox = Sandbox::with_sources(&sample());
    let long = format!("{}/resolverd.sock", "x".repeat(150));
    let rows = [
        ("state_dir = \"\"", &["status", "serve", "sync", "doctor"][..], "state_dir: expected a path"),
        (&*format!("socket = \"/tmp/{long}\""), &["status", "serve", "sync", "doctor"], "107 bytes"),
        ("admin_group = \"nobody-s-group\"", &["status", "serve", "doctor"], "nobody-s-group"),
    ];
    for (config, verbs, expected) in rows {
        std::fs::write(sandbox.path("config.toml"), config).unwrap();
        for verb in verbs {
            let mut command = sandbox.command();
            command.env_remove("RESOLVERD_SOCKET").env_remove("RESOLVERD_STATE_DIR");
            command.args([verb, "--config", sandbox.path("config.toml").to_str().unwrap()]);
            let said = Said::of(&mut command);
            assert!(format!("{said:?}").contains(expected), "{config} {verb}: {said:?}");
            // A status shows what is wrong; whoever would do something with it is refused.
            assert!(said.status != 0 || *verb == "status", "{config} {verb}: {said:?}");
        }
    }
}
