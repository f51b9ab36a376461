//! The policy verbs, with the real binary: a first policy, what is weak in one, and a rehearsal that lists exactly what applying the
//! candidate then changes.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{Component, all_files, array};
use crate::harness::poll;
use crate::harness::repository::Repository;

/// A sandbox with two sources, of which the second has one id of the first as well.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    let publish = |name: &str, ids: &[&str]| {
        let components: Vec<Component> = ids.iter().map(|id| Component::new(id, "1.0.0", &[])).collect();
        let mut files = all_files(&components);
        files.insert("catalogue.json".to_owned(), array(&components));
        let home = Repository::create(&sandbox.path(name));
        home.commit(&files);
        let entrypoint = json!({ "type": "git", "url": home.url(), "subpath": "catalogue.json" });
        json!({ "id": name, "entrypoint": entrypoint })
    };
    let first = publish("first", &["lcod://acme/x", "lcod://acme/y", "lcod://open/z"]);
    let second = publish("second", &["lcod://acme/x", "lcod://free/w"]);
    sandbox.write_sources(&json!({ "sources": [first, second] }));
    for directory in ["config", "config/resolverd"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
        std::fs::set_permissions(sandbox.path(directory), Permissions::from_mode(0o755)).unwrap();
    }
    sandbox
}

/// Writes a policy at a path of the sandbox, as one rename.
fn write(sandbox: &Sandbox, path: &str, text: &str) {
    let fresh = sandbox.path("config/resolverd/fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(fresh, sandbox.path(path)).unwrap();
}

const OWN: &str = "config/resolverd/trust.toml";
const CANDIDATE: &str = "config/resolverd/candidate.toml";

/// How every release stands: source, verdict and reason, by `id@version`.
fn dump(daemon: &Daemon) -> BTreeMap<String, [String; 3]> {
    let mut all = BTreeMap::new();
    for id in daemon.ids() {
        let one = daemon.get(&format!("/v1/components/{}/1.0.0", crate::harness::http::encoded(&id))).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let standing = match one["trust"]["verdict"].as_str() {
            Some(verdict) => {
                [text(&one["source"]["id"]), verdict.to_owned(), text(&one["trust"]["refusal"]["reason"])]
            }
            // A refused release is told as a problem.
            None => [text(&one["source"]), "refused".to_owned(), text(&one["reason"])],
        };
        all.insert(format!("{id}@1.0.0"), standing);
    }
    all
}

fn wait_for(daemon: &Daemon, version: u64) {
    poll::until("the policy", || {
        let policy = daemon.get("/v1/policy").ok();
        let health = daemon.get("/v1/health").ok()["policy"].clone();
        (policy["policies"][0]["version"] == version && health["judgedBy"] == health["digest"]).then_some(())
    });
}

fn test(sandbox: &Sandbox, more: &[&str]) -> Value {
    let candidate = sandbox.path(CANDIDATE).display().to_string();
    let said = sandbox.run(&[&["policy", "test", &candidate, "-o", "json"], more].concat());
    assert_eq!(said.status, 0, "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn a_rehearsal_lists_exactly_what_applying_the_candidate_changes() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    let rule = |namespace: &str, sources: &str, require: &str| {
        format!("[[namespaces]]\nmatch = \"{namespace}\"\nsources = [{sources}]\nrequire = \"{require}\"\n")
    };
    let head = |version: u64, more: &str| {
        format!(
            "schema = \"resolverd/trust@1\"\nversion = {version}\n[defaults]\nrequire_pin = false\n{more}"
        )
    };
    let candidates = [
        // Nobody names free: refused. Only the second may supply acme.
        head(1, &(rule("lcod://acme/**", "\"second\"", "pin") + &rule("lcod://open/**", "\"first\"", "pin"))),
        // Everything is let in again.
        head(2, &rule("**", "\"first\", \"second\"", "pin")),
        // Nothing in these catalogues promises a digest.
        head(3, &rule("**", "\"first\", \"second\"", "digest")),
        head(4, &(rule("**", "\"first\"", "pin") + &rule("lcod://free/w", "\"second\"", "pin"))),
    ];
    for (version, candidate) in (1..).zip(&candidates) {
        write(&sandbox, CANDIDATE, candidate);
        let before = dump(&daemon);
        let told = test(&sandbox, &[]);
        assert_eq!(dump(&daemon), before, "a rehearsal changes nothing");
        assert_eq!(told["problems"], json!([]), "{told:#}");
        write(&sandbox, OWN, candidate);
        wait_for(&daemon, version);
        let after = dump(&daemon);
        let keys = before.keys().chain(after.keys());
        let mut changed: Vec<&str> =
            keys.filter(|key| before.get(*key) != after.get(*key)).map(String::as_str).collect();
        changed.sort_unstable();
        changed.dedup();
        let change =
            |one: &Value| format!("{}@{}", one["id"].as_str().unwrap(), one["version"].as_str().unwrap());
        let rehearsed: Vec<String> = told["changes"].as_array().unwrap().iter().map(change).collect();
        assert_eq!(rehearsed, changed, "version {version}: {told:#}\n{before:#?}\n{after:#?}");
        assert!(!changed.is_empty(), "version {version} changes something");
        for one in told["changes"].as_array().unwrap() {
            let to = after.get(&change(one)).map(|standing| standing[1].as_str());
            assert_eq!(one["to"]["verdict"].as_str(), to, "version {version}: {one:#}");
        }
    }
    // A lower version would not come into force, and the rehearsal says so.
    write(&sandbox, CANDIDATE, &candidates[0]);
    let told = test(&sandbox, &[]);
    assert_eq!(told["problems"][0]["reason"], "policy.version_rollback", "{told:#}");
    assert!(daemon.stop().success());
    let alone = test(&sandbox, &[]);
    assert_eq!(alone, told, "the same in process");
}

#[test]
fn a_long_list_comes_in_parts_and_whole_on_the_command_line() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    let text = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://none/**\"\nsources = [\"first\"]\nrequire = \"pin\"\n";
    write(&sandbox, CANDIDATE, text);
    let whole = test(&sandbox, &[]);
    let all = whole["changes"].as_array().unwrap();
    assert_eq!((all.len() > 2, &whole["changed"]), (true, &json!(all.len())), "{whole:#}");
    assert!(whole["nextCursor"].is_null(), "{whole:#}");
    let ask = |cursor: &Value, limit: usize| {
        daemon.post("/v1/policy/test", &json!({ "policy": text, "cursor": cursor, "limit": limit }))
    };
    let (mut cursor, mut found) = (Value::Null, Vec::new());
    loop {
        let part = ask(&cursor, 1).ok();
        assert_eq!(
            (&part["changed"], part["changes"].as_array().map(Vec::len)),
            (&whole["changed"], Some(1))
        );
        found.extend(part["changes"].as_array().unwrap().clone());
        cursor = part["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(&found, all, "together they are the list");
    assert_eq!(ask(&json!("x"), 1).reason(), "api.cursor");
    assert_eq!(ask(&json!("999-1"), 1).reason(), "snapshot_gone");
    assert_eq!(ask(&Value::Null, 0).reason(), "api.limit");
}

#[test]
fn a_lock_is_compared_and_a_broken_candidate_is_named_with_its_place() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    let lock = daemon.resolve(&["lcod://acme/y", "lcod://open/z"]).ok();
    std::fs::write(sandbox.path("lock.json"), lock.to_string()).unwrap();
    let text = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://open/**\"\nsources = [\"first\"]\nrequire = \"pin\"\n[defaults]\nrequire_pin = false\n";
    write(&sandbox, CANDIDATE, text);
    let path = sandbox.path("lock.json").display().to_string();
    let told = test(&sandbox, &["--lock", &path]);
    assert_eq!(told["locks"][0]["changes"], json!(["lcod://acme/y@1.0.0"]), "{told:#}");
    let candidate = sandbox.path(CANDIDATE).display().to_string();
    let said = sandbox.run(&["policy", "test", &candidate, "--lock", &path]);
    assert!(said.stdout.contains("refused (trust.no_rule)"), "{}", said.stdout);
    assert!(said.stdout.contains("lock.json: 1 of 2 releases would change"), "{}", said.stdout);
    let said = sandbox.run(&["policy", "test", &candidate, "--lock", &candidate]);
    assert_eq!(said.status, 2, "{said:?}");
    write(&sandbox, CANDIDATE, &text.replace("version = 1", "version = 1\nthreshhold = 2"));
    for verb in ["test", "lint"] {
        let said = sandbox.run(&["policy", verb, &candidate]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.contains("line 3") && said.stderr.contains("threshhold"), "{said:?}");
    }
    let refused = daemon.post("/v1/policy/test", &json!({"policy": "version = 1"}));
    assert_eq!(refused.reason(), "policy.syntax");
}

#[test]
fn a_first_policy_is_made_of_the_sources_of_the_daemon_that_runs() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    // Another file lies where this verb would look; the daemon answers for its own.
    let elsewhere = sandbox.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let other = elsewhere.join("sources.json");
    std::fs::write(&other, json!({ "sources": [{ "id": "stranger", "path": "x.json" }] }).to_string())
        .unwrap();
    let run = |verb: &[&str]| {
        let mut command = sandbox.command();
        command.env("RESOLVERD_SOURCES", &other);
        Said::of(command.args(verb))
    };
    let said = run(&["policy", "init"]);
    assert!(said.stdout.contains("sources = [\"first\", \"second\"]"), "{said:?}");
    let named = run(&["--sources", &other.display().to_string(), "policy", "init"]);
    assert!(named.stdout.contains("sources = [\"stranger\"]"), "a file that is named counts: {named:?}");
    let doctor = run(&["doctor"]);
    assert!(doctor.stdout.contains("it has stranger"), "{doctor:?}");
    assert!(doctor.stdout.contains("first, second, for which the daemon on"), "{doctor:?}");
    assert!(daemon.stop().success());
    let said = run(&["policy", "init"]);
    assert!(said.stdout.contains("sources = [\"stranger\"]"), "no daemon runs: {said:?}");
}

#[test]
fn a_first_policy_is_written_checked_and_shown() {
    let sandbox = world();
    let said = sandbox.run(&["policy", "show"]);
    assert!(said.stdout.contains("no trust policy is set"), "{said:?}");
    let said = sandbox.run(&["policy", "init"]);
    assert_eq!(said.status, 0, "{said:?}");
    write(&sandbox, OWN, &said.stdout);
    let said = sandbox.run(&["policy", "lint"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.stdout.contains("can be used") && said.stdout.contains("lint.not_enforced"),
        "{}",
        said.stdout
    );
    let daemon = sandbox.start_synced();
    assert_eq!(daemon.ids().len(), 4, "what was supplied is supplied: {}", daemon.log());
    assert_eq!(daemon.resolve(&["lcod://acme/x", "lcod://free/w"]).status, 200);
    let said = sandbox.run(&["policy", "show"]);
    assert!(said.stdout.contains("first, second") && said.stdout.contains("pin"), "{}", said.stdout);
    // What policies do is written down.
    write(&sandbox, OWN, "nonsense");
    poll::until("the line", || {
        let said = sandbox.run(&["audit", "tail"]);
        said.stdout.contains("policy-rejected").then_some(())
    });
    let said = sandbox.run(&["audit", "tail"]);
    assert!(said.stdout.contains("policy-loaded"), "{}", said.stdout);
}

/// The lines of the audit log with this event that are about versions: subject, versions, source, reason and text.
fn lines(sandbox: &Sandbox, event: &str) -> Vec<[Value; 5]> {
    let said = sandbox.run(&["audit", "tail", "--lines", "1000", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let all = answer["items"].as_array().unwrap().iter();
    let meant = all.filter(|line| line["event"] == event && line["versions"].is_array());
    meant
        .map(|line| ["subject", "versions", "source", "reason", "text"].map(|key| line[key].clone()))
        .collect()
}

#[test]
fn what_an_audit_says_would_be_denied_is_what_is_denied_later() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    let policy = |version: u64, mode: &str| {
        format!(
            "schema = \"resolverd/trust@1\"\nversion = {version}\n[defaults]\nmode = \"{mode}\"\n[[namespaces]]\nmatch = \"lcod://acme/**\"\nsources = [\"first\"]\nrequire = \"digest\"\n"
        )
    };
    write(&sandbox, OWN, &policy(1, "audit"));
    wait_for(&daemon, 1);
    let would_be = lines(&sandbox, "would-deny");
    assert!(would_be.len() >= 3, "{would_be:#?}");
    assert_eq!(lines(&sandbox, "denied"), [[(); 5]; 0].map(|one| one.map(|()| Value::Null)));
    daemon.sync();
    assert_eq!(lines(&sandbox, "would-deny"), would_be, "once");
    write(&sandbox, OWN, &policy(2, "enforce"));
    wait_for(&daemon, 2);
    assert_eq!(lines(&sandbox, "denied"), would_be);
    let status = sandbox.run(&["status"]).stdout;
    let refused = daemon.get("/v1/sources").ok()["items"].as_array().unwrap().clone();
    let refused: u64 = refused.iter().filter_map(|one| one["refused"].as_u64()).sum();
    let told = format!("status      ok, and {refused} releases are refused: ");
    assert!(refused > 1 && status.starts_with(&told), "{status}");
    // What the second source lists and may not supply is told of its catalogue, once, whatever the mode.
    let said = sandbox.run(&["audit", "tail", "--lines", "1000", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let whole: Vec<&Value> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["reason"] == "trust.source_not_allowed" && !line["versions"].is_array())
        .collect();
    assert_eq!(whole.len(), 1, "{answer:#}");
    assert_eq!((&whole[0]["source"], &whole[0]["event"]), (&json!("second"), &json!("denied")));
}
