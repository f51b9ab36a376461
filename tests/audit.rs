//! The first-seen ledger and the audit log, with the real binary: bytes that change under a known version are told for ever, also
//! after the store is lost, until an operator says why not; and nobody changes what was written down without being noticed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{Component, all_files, array};
use crate::harness::poll;
use crate::harness::repository::{self, Files, Repository};

const ID: &str = "lcod://acme/x";

/// A sandbox whose one source is a directory that was never read.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    let entrypoint = json!({ "type": "file", "path": sandbox.path("published/catalogue.json") });
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
    publish(&sandbox, &[]);
    sandbox
}

/// Publishes version 1.0.0 with these requirements: with others its bytes are others.
fn publish(sandbox: &Sandbox, requires: &[&str]) {
    repository::write(&sandbox.path("published"), &published(requires));
}

fn published(requires: &[&str]) -> Files {
    let components = [Component::new(ID, "1.0.0", requires), Component::new("lcod://acme/y", "1.0.0", &[])];
    let mut files = all_files(&components);
    files.insert("catalogue.json".to_owned(), array(&components));
    files
}

/// The reasons of the warnings on the version.
fn warnings(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.get("/v1/components/lcod/acme/x/1.0.0").ok();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|one| one["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The events of the log, oldest first.
fn events(sandbox: &Sandbox) -> Vec<String> {
    let said = sandbox.run(&["audit", "tail", "-o", "json"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    answer["items"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap().to_owned()).collect()
}

fn verify(sandbox: &Sandbox) -> Said {
    sandbox.run(&["audit", "verify"])
}

fn lose_the_store(state: &Path) {
    for entry in ["current", "generations", "index", "shelf", "checks.json"] {
        let path = state.join(entry);
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
}

#[test]
fn a20_other_bytes_under_a_known_version_are_told_until_an_operator_says_why_not() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    assert_eq!((warnings(&daemon), events(&sandbox)), (Vec::new(), Vec::new()));
    let ledger = sandbox.state().join("first-seen.log");
    let before = std::fs::read_to_string(&ledger).unwrap();
    assert_eq!(before.lines().count(), 2, "{before}");
    daemon.sync();
    assert_eq!(std::fs::read_to_string(&ledger).unwrap(), before, "an unchanged sync writes nothing");

    publish(&sandbox, &["lcod://acme/y@1.0.0"]);
    daemon.sync();
    assert_eq!(warnings(&daemon), ["trust.version_mutated"]);
    assert_eq!(events(&sandbox), ["mutated"]);
    assert!(daemon.stop().success());

    // A store that is lost cannot tell what was there before; the ledger can.
    lose_the_store(&sandbox.state());
    let daemon = sandbox.start_synced();
    assert_eq!(warnings(&daemon), ["trust.version_mutated"]);
    assert_eq!(std::fs::read_to_string(&ledger).unwrap(), before, "what was seen first stays");

    let said = sandbox.run(&["trust", "forget", "lcod://acme/x@1.0.0"]);
    assert_eq!(said.status, 2, "no reason was given: {said:?}");
    let said = sandbox.run(&["trust", "forget", "lcod://acme/x@9.0.0", "--reason", "a case"]);
    assert!(said.status == 2 && said.stderr.contains("resolverd versions lcod://acme/x"), "{said:?}");
    let said = sandbox.run(&["trust", "forget", "lcod://acme/x@1.0.0", "--reason", "the owner fixed a typo"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(warnings(&daemon), [""; 0], "{}", daemon.log());
    assert!(events(&sandbox).ends_with(&["forgotten".to_owned()]), "{:?}", events(&sandbox));
    let said = sandbox.run(&["audit", "tail"]);
    assert!(said.stdout.contains("the owner fixed a typo"), "{}", said.stdout);
    daemon.sync();
    assert_eq!(warnings(&daemon), [""; 0]);

    // What was forgotten was learnt anew.
    publish(&sandbox, &[]);
    daemon.sync();
    assert_eq!(warnings(&daemon), ["trust.version_mutated"]);
    assert_eq!(verify(&sandbox).status, 0);
}

#[test]
fn what_is_refused_is_written_down_once_and_never_noted_as_seen() {
    let sandbox = Sandbox::new();
    let home = Repository::create(&sandbox.path("home"));
    let one = Component::new(ID, "1.0.0", &[]);
    let (path, written) = (one.file("manifest.json"), home.commit(&one.files()));
    let manifest = one.manifest(&home.url(), &written);
    let mut files = one.files();
    files.insert(path.clone(), manifest.clone());
    let described = home.commit(&files);
    let publish = |promised: Digest| {
        let version = json!({ "version": "1.0.0", "manifest": path, "sha256": promised });
        let catalogue = json!({
            "schema": "lcod-registry/catalogue@1", "id": "acme",
            "origin": { "type": "git", "url": home.url(), "commit": described },
            "components": [{ "id": ID, "versions": [version] }],
        });
        home.commit(&Files::from([("catalogue.json".to_owned(), catalogue.to_string().into_bytes())]));
    };
    let entrypoint = json!({ "type": "git", "url": home.url(), "subpath": "catalogue.json" });
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
    publish(Digest::sha256(b"other bytes"));
    let daemon = sandbox.start_synced();
    daemon.sync();
    let said = sandbox.run(&["audit", "tail", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let line = &answer["items"][0];
    assert_eq!(answer["items"].as_array().unwrap().len(), 1, "{answer:#}");
    assert_eq!((&line["event"], &line["subject"]), (&json!("denied"), &json!(ID)), "{line:#}");
    assert_eq!((&line["versions"], &line["source"]), (&json!(["1.0.0"]), &json!("acme")), "{line:#}");
    assert_eq!(line["reason"], "trust.digest_mismatch", "{line:#}");
    let ledger = sandbox.state().join("first-seen.log");
    assert!(!std::fs::read_to_string(&ledger).unwrap_or_default().contains(ID));
    publish(Digest::sha256(&manifest));
    daemon.sync();
    assert_eq!(warnings(&daemon), [""; 0], "bad bytes claim no version");
    assert!(std::fs::read_to_string(&ledger).unwrap().contains(ID));
}

#[test]
fn an_edit_a_deletion_and_a_cut_of_the_log_are_found() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    for requires in [&["lcod://acme/y@1.0.0"][..], &[], &["lcod://acme/y@^1"]] {
        publish(&sandbox, requires);
        daemon.sync();
    }
    let said = sandbox.run(&["trust", "forget", "acme", "--reason", "a case"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(daemon.stop().success());
    let path = sandbox.state().join("audit.jsonl");
    let log = std::fs::read_to_string(&path).unwrap();
    let said = verify(&sandbox);
    assert!(said.status == 0 && said.stdout.contains("as they were written"), "{said:?}");
    let seen = said.stdout.lines().find_map(|line| line.strip_prefix("last: ")).unwrap().to_owned();
    assert_eq!(sandbox.run(&["audit", "verify", "--seen", &seen]).status, 0);
    assert_eq!(sandbox.run(&["audit", "verify", "--seen", "nonsense"]).status, 2);
    let zeroes = format!("1:sha256:{}", "0".repeat(64));
    let said = sandbox.run(&["audit", "verify", "--seen", &zeroes]);
    assert!(said.status == 7 && said.stdout.contains("was noted"), "{said:?}");

    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() >= 3, "{log}");
    let without = |gone: usize| -> String {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != gone);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    for (what, text) in [
        ("an edit", log.replacen("mutated", "denied", 1)),
        ("a deletion", without(1)),
        ("a cut", without(lines.len() - 1)),
        ("everything", String::new()),
    ] {
        std::fs::write(&path, text).unwrap();
        let said = verify(&sandbox);
        assert_eq!(said.status, 7, "{what}: {said:?}");
        assert!(
            said.stderr.contains("audit.jsonl") || said.stderr.contains("audit.head"),
            "{what}: {said:?}"
        );
        let said = sandbox.run(&["doctor"]);
        assert!(said.stdout.contains("store.audit"), "{what}: {}", said.stdout);
    }
    // The daemon goes on behind the gap and says so; the gap stays.
    let mut daemon = sandbox.spawn();
    daemon.wait_for("/readyz");
    let health = daemon.get("/v1/health").ok();
    let reasons: Vec<&Value> =
        health["degraded"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert!(reasons.contains(&&json!("trust.audit_damaged")), "{health:#}");
    assert!(daemon.stop().success());
    assert_eq!(verify(&sandbox).status, 7);
    assert_eq!(events(&sandbox), ["damaged"]);
}

#[test]
fn a_line_that_a_power_cut_tore_is_mended_and_that_is_said() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    publish(&sandbox, &["lcod://acme/y@1.0.0"]);
    daemon.sync();
    assert!(daemon.stop().success());
    let path = sandbox.state().join("audit.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"seq\":2,\"prev\"")).unwrap();
    assert!(sandbox.start_synced().stop().success());
    assert_eq!(events(&sandbox), ["mutated", "mended"]);
    let said = verify(&sandbox);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with(&whole));
}

/// Puts a policy in force that lets in what the source supplies, and waits until everything was judged by it.
fn enforce(sandbox: &Sandbox, daemon: &Daemon) {
    let directory = sandbox.path("config/resolverd");
    std::fs::create_dir_all(&directory).unwrap();
    for path in [directory.parent().unwrap(), &directory] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let text = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nrequire_pin = false\n[[namespaces]]\nmatch = \"**\"\nsources = [\"acme\"]\nrequire = \"pin\"\nimmutable = true\n";
    let fresh = directory.join("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(fresh, directory.join("trust.toml")).unwrap();
    poll::until("the policy", || {
        let health = daemon.get("/v1/health").ok()["policy"].clone();
        (health["digest"].is_string() && health["judgedBy"] == health["digest"]).then_some(())
    });
}

fn degraded(daemon: &Daemon) -> Vec<String> {
    let health = daemon.get("/v1/health").ok();
    let all = health["degraded"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| one["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_lost_or_damaged_ledger_lets_no_other_bytes_in() {
    for (spoil, reason) in [
        ((|path| std::fs::remove_file(path).unwrap()) as fn(&Path), "trust.ledger_lost"),
        (|path| std::fs::write(path, "").unwrap(), "trust.ledger_lost"),
        (
            |path| {
                let text = std::fs::read_to_string(path).unwrap();
                std::fs::write(path, text.replace("acme/x\t", "acme/z\t")).unwrap();
            },
            "trust.ledger_damaged",
        ),
    ] {
        let sandbox = Sandbox::new();
        let home = Repository::create(&sandbox.path("home"));
        let entrypoint = json!({ "type": "git", "url": home.url(), "subpath": "catalogue.json" });
        sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
        home.commit(&published(&[]));
        let daemon = sandbox.start_synced();
        enforce(&sandbox, &daemon);
        let verdict = || daemon.get("/v1/components/lcod/acme/x/1.0.0").json()["trust"]["verdict"].clone();
        assert_ne!(verdict(), "refused", "{}", daemon.log());
        assert!(daemon.stop().success());
        let ledger = sandbox.state().join("first-seen.log");
        let before = std::fs::read_to_string(&ledger).unwrap();
        spoil(&ledger);
        home.commit(&published(&["lcod://acme/y@1.0.0"]));
        let daemon = sandbox.start_synced();
        let refused = |daemon: &Daemon| {
            let found = daemon.get("/v1/components/lcod/acme/x/1.0.0").json();
            found["trust"]["refusal"]["reason"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(refused(&daemon), "trust.version_mutated", "{reason}: {}", daemon.log());
        assert!(degraded(&daemon).contains(&reason.to_owned()), "{reason}: {:?}", degraded(&daemon));
        assert!(events(&sandbox).contains(&"damaged".to_owned()), "{:?}", events(&sandbox));
        let digest = |text: &str| -> String {
            let line = text.lines().rfind(|line| line.contains("acme/x\t")).unwrap();
            line.split('\t').nth(5).unwrap().to_owned()
        };
        assert_eq!(digest(&std::fs::read_to_string(&ledger).unwrap()), digest(&before), "{reason}");
        assert!(daemon.stop().success());
        let daemon = sandbox.start_synced();
        assert!(!degraded(&daemon).contains(&reason.to_owned()), "it is told once");
        assert_eq!(refused(&daemon), "trust.version_mutated");
        assert_eq!(verify(&sandbox).status, 0, "the log itself is whole");
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_one_line_however_many_verbs_meet_it() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    enforce(&sandbox, &daemon);
    assert!(daemon.stop().success());
    let path = sandbox.path("config/resolverd/trust.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for (wrong, lines) in [("require = 1\n", 1), ("required = 3\n", 2)] {
        std::fs::write(&path, text.replace("require = \"pin\"\n", wrong)).unwrap();
        for verb in [["policy", "show"], ["catalogues", "--offline"], ["trust", "state"]] {
            sandbox.run(&verb);
        }
        let told = events(&sandbox).iter().filter(|event| *event == "policy-rejected").count();
        assert_eq!(told, lines, "{wrong}");
    }
    // Nor do two of them that are met in turn.
    for (name, wrong) in [("one.toml", "require = 1\n"), ("two.toml", "required = 3\n")] {
        let path = sandbox.path(&format!("config/resolverd/{name}"));
        std::fs::write(&path, text.replace("require = \"pin\"\n", wrong)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    for _ in 0..3 {
        for name in ["one.toml", "two.toml"] {
            let path = sandbox.path(&format!("config/resolverd/{name}")).display().to_string();
            sandbox.run(&["--policy", &path, "policy", "show"]);
        }
    }
    let told = events(&sandbox).iter().filter(|event| *event == "policy-rejected").count();
    assert_eq!(told, 4, "{:?}", events(&sandbox));
}

#[test]
fn who_looks_at_the_newest_lines_is_told_that_they_were_changed() {
    let sandbox = world();
    let daemon = sandbox.start_synced();
    for requires in [&["lcod://acme/y@1.0.0"][..], &[], &["lcod://acme/y@^1"]] {
        publish(&sandbox, requires);
        daemon.sync();
    }
    let tail = || sandbox.run(&["audit", "tail"]);
    assert!(!tail().stdout.contains("not what was written"), "{:?}", tail());
    let path = sandbox.state().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("mutated", "removed", 1)).unwrap();
    let said = tail();
    assert!(said.stdout.contains("does not continue line 1"), "{said:?}");
    assert!(said.stdout.contains("resolverd audit verify"), "{said:?}");
    let said = sandbox.run(&["audit", "tail", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["faults"].as_array().map(Vec::len), Some(1), "{answer:#}");
}

#[test]
fn a_cut_log_without_its_head_is_found_before_and_after_a_start() {
    for is_all in [false, true] {
        let sandbox = world();
        let daemon = sandbox.start_synced();
        for requires in [&["lcod://acme/y@1.0.0"][..], &[], &["lcod://acme/y@^1"]] {
            publish(&sandbox, requires);
            daemon.sync();
        }
        assert!(daemon.stop().success());
        let path = sandbox.state().join("audit.jsonl");
        std::fs::remove_file(sandbox.state().join("audit.head")).unwrap();
        let log = std::fs::read_to_string(&path).unwrap();
        match is_all {
            true => std::fs::remove_file(&path).unwrap(),
            false => std::fs::write(&path, log.lines().next().unwrap().to_owned() + "\n").unwrap(),
        }
        assert_eq!(verify(&sandbox).status, 7);
        let daemon = sandbox.start_synced();
        assert!(degraded(&daemon).contains(&"trust.audit_damaged".to_owned()), "{:?}", degraded(&daemon));
        assert!(daemon.stop().success());
        let said = verify(&sandbox);
        assert!(said.status == 7 && said.stdout.contains("follows line"), "{said:?}");
    }
}
