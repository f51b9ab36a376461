//! Who owns a name and what a name may be, row by row of the list of threats, as the API tells it: several sources on this machine,
//! a real daemon, and its answers.

use std::fs;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::catalogue_rows::{Desk, ELSEWHERE, answer, skipped};
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, catalogues};
use crate::harness::repository::{Files, Repository, write};
use crate::harness::tls::TlsServer;

const X: &str = "lcod://acme/x";

/// Publishes `id@version` in the catalogue `name` of a directory, and returns a pointer to it.
fn catalogue(sandbox: &Sandbox, directory: &str, name: &str, releases: &[&str]) -> Value {
    let (mut files, file) = (Files::new(), name.replace('/', "."));
    let rows: Vec<Value> = releases
        .iter()
        .map(|release| {
            let (id, version) = release.split_once('@').unwrap();
            let one = Component::new(id, version, &[]);
            let (path, bytes) = (format!("{file}/{version}.json"), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
            let row = json!({ "version": version, "manifest": path, "sha256": Digest::sha256(&bytes) });
            files.insert(path, bytes);
            json!({ "id": id, "versions": [row] })
        })
        .collect();
    let document = json!({ "schema": "lcod-registry/catalogue@1", "id": name, "components": rows });
    files.insert(format!("{file}.json"), document.to_string().into_bytes());
    write(&sandbox.path(directory), &files);
    json!({ "id": name, "kind": "file", "path": format!("{file}.json") })
}

/// Writes the list of a directory, and returns a source that reads it.
fn source(sandbox: &Sandbox, directory: &str, priority: i64, pointers: &[Value]) -> Value {
    let list = Files::from([("list.json".to_owned(), catalogues(pointers))]);
    write(&sandbox.path(directory), &list);
    let path = sandbox.path(directory).join("list.json");
    json!({ "id": directory, "priority": priority, "path": path })
}

/// Returns the source that answers for a component, and its version.
fn owner(daemon: &Daemon, id: &str) -> String {
    let answer = daemon.resolve(&[id]).ok();
    let one = &answer["components"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!("{}/{} {}", text(&one["source"]["id"]), text(&one["source"]["catalogue"]), text(&one["version"]))
}

#[test]
fn d4_two_sources_of_one_priority() {
    let sandbox = Sandbox::new();
    let first = catalogue(&sandbox, "first", "all", &["lcod://acme/x@1.0.0"]);
    let second = catalogue(&sandbox, "second", "all", &["lcod://acme/x@9.0.0"]);
    let first = source(&sandbox, "first", 50, &[first]);
    let second = source(&sandbox, "second", 50, &[second]);
    sandbox.write_sources(&json!({ "sources": [first, second] }));
    let daemon = sandbox.start_synced();
    assert_eq!(owner(&daemon, X), "first/all 1.0.0", "the place in the file decides");
    assert_eq!(answer(&daemon, "lcod://acme/x@9"), "version_unknown", "what is shadowed is never used");
    let examined = sandbox.run(&["doctor"]).stdout;
    assert!(
        examined.lines().any(|line| line.starts_with("warning") && line.contains("priority 50")),
        "{examined}"
    );
    // Turned round, and without a restart, the other one owns it.
    sandbox.write_sources(&json!({ "sources": [second, first] }));
    daemon.post("/v1/reload", &json!({})).ok();
    daemon.sync();
    assert_eq!(owner(&daemon, X), "second/all 9.0.0");
}

#[test]
fn d5_a_registry_that_raises_itself() {
    let sandbox = Sandbox::new();
    let trusted = catalogue(&sandbox, "trusted", "all", &["lcod://acme/x@1.0.0"]);
    let mut greedy = catalogue(&sandbox, "greedy", "all", &["lcod://acme/x@9.0.0", "lcod://acme/y@1.0.0"]);
    greedy["priority"] = json!(i64::from(i32::MIN));
    let mut later = catalogue(&sandbox, "greedy", "later", &["lcod://acme/y@2.0.0"]);
    later["priority"] = json!(0);
    let trusted = source(&sandbox, "trusted", 10, &[trusted]);
    let greedy = source(&sandbox, "greedy", 20, &[later, greedy]);
    sandbox.write_sources(&json!({ "sources": [greedy, trusted] }));
    let daemon = sandbox.start_synced();
    assert_eq!(owner(&daemon, X), "trusted/all 1.0.0", "the operator's number comes first");
    assert_eq!(owner(&daemon, "lcod://acme/y"), "greedy/all 1.0.0", "its own orders what is its own");
    let explained = daemon.post("/v1/explain", &json!({ "id": X })).ok();
    assert_eq!(explained["shadowed"][0]["source"], "greedy", "{explained:#}");
}

#[test]
fn d6_a_catalogue_that_is_called_like_somebody_else_s() {
    let sandbox = Sandbox::new();
    let of = |directory: &str, priority: i64, releases: &[&str]| {
        let pointer = catalogue(&sandbox, directory, "tooling/std", releases);
        source(&sandbox, directory, priority, &[pointer])
    };
    let (mine, theirs) = (
        of("mine", 10, &["lcod://acme/x@1.0.0"]),
        of("theirs", 20, &["lcod://acme/x@9.0.0", "lcod://acme/y@1.0.0"]),
    );
    sandbox.write_sources(&json!({ "sources": [mine, theirs] }));
    let daemon = sandbox.start_synced();
    assert_eq!(owner(&daemon, X), "mine/tooling/std 1.0.0");
    assert_eq!(owner(&daemon, "lcod://acme/y"), "theirs/tooling/std 1.0.0");
    let page = daemon.get("/v1/catalogues").ok();
    let named: Vec<(&str, &str)> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["id"] == "tooling/std")
        .map(|row| (row["source"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("mine", "fresh"), ("theirs", "fresh")], "a name is one within its source: {page:#}");
    // What one of them loses, the other does not get.
    fs::remove_file(sandbox.path("mine/tooling.std.json")).unwrap();
    daemon.sync();
    assert_eq!(owner(&daemon, X), "mine/tooling/std 1.0.0", "its last good entries, and its ids");
}

#[test]
fn d9_ids_that_only_look_like_one() {
    let desk = Desk::new();
    let ids = [
        "lcod://acme/p\u{430}y",
        "lcod://acme/pa\u{200d}y",
        "lcod://acme/\u{202e}yap",
        "lcod://acme/\u{ff50}ay",
        "lcod://acme/caf\u{e9}",
        "lcod://Acme/pay",
        "lcod://acme/PAY",
        "lcod://acme/.pay",
        "lcod://acme/-pay",
        "lcod://acme/_pay",
        "lcod://acme/pay ",
        "lcod://acme//pay",
        "lcod://acme/../pay",
        "lcod://acme",
        "lcod://",
        "acme/pay",
        "estream:pay",
        "https://acme/pay",
        "lcod://acme/pay%2e",
    ];
    let row = |id: &&str| json!({ "id": id, "versions": [desk.version("lcod://acme/other", "1.0.0")] });
    let mut rows: Vec<Value> = ids.iter().map(row).collect();
    rows.push(
        json!({ "id": format!("lcod://acme/{}", "x".repeat(600)), "versions": [desk.version(X, "1.0.0")] }),
    );
    desk.publish(&rows);
    let daemon = desk.read();
    let told = skipped(&daemon, "acme");
    assert_eq!(told.len(), rows.len(), "{told:?}");
    for (entry, reason) in &told {
        assert!(["input.id", "input.reference"].contains(&reason.as_str()), "{entry}: {reason}");
    }
    assert!(told.iter().filter(|(_, reason)| reason == "input.id").count() > 8, "{told:?}");
    assert_eq!(daemon.ids(), ["lcod://acme/good"]);
    // Nor is one asked for, in whatever clothes.
    for id in ids {
        let answer = daemon.resolve(&[id]);
        assert!([400, 404].contains(&answer.status), "{id}: {answer}");
    }
}

#[test]
fn d11_versions_that_are_none() {
    let desk = Desk::new();
    let long = format!("1.0.0-{}", "a".repeat(1 << 20));
    let versions = [
        "",
        "v",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-01",
        "vv1.2.3",
        " 1.2.3",
        "1.2.3 ",
        "=1.2.3",
        "1.2.x",
        "latest",
        "1.2.18446744073709551616",
        "-1.2.3",
        "\u{661}.2.3",
        "1.2.3-",
        "1.2.3+",
        "1.2.3-\u{e9}",
        "1,2,3",
        &long,
    ];
    let row = desk.version(X, "1.0.0");
    let of = |version: &&str| {
        let mut row = row.clone();
        row["version"] = json!(version);
        row
    };
    let mut rows: Vec<Value> = versions.iter().map(of).collect();
    rows.push(of(&"v1.0.0"));
    desk.publish(&[json!({ "id": X, "versions": rows })]);
    let daemon = desk.read();
    let told = skipped(&daemon, "acme");
    assert_eq!(told.len(), versions.len(), "{told:?}");
    assert!(told.iter().all(|(_, reason)| reason == "input.version"), "{told:?}");
    assert_eq!(answer(&daemon, X), "1.0.0", "the one that is a version, with a v in front");
}

#[test]
fn d12_requirements_of_other_grammars() {
    let desk = Desk::new();
    let requirements = [
        ">=1.0.0 <2.0.0",
        "1.0.0 - 2.0.0",
        "^1 || ^2",
        "1||2",
        "> =1",
        "=>1",
        "==1",
        "!=1",
        "~>1.2",
        "1..2",
        "1.2.3.4",
        "^",
        "=",
        ",",
        "1,",
        ",1",
        "1.*.3",
        "01",
        "^1.02",
        "vv1",
        "main",
        "sha256:00",
        "[1,2)",
        "18446744073709551616",
    ];
    // As a dependency it spoils the release that has it; as a question it is refused.
    let of = |(at, requirement): (usize, &&str)| {
        let id = format!("lcod://acme/r{at}");
        let one = Component::new(&id, "1.0.0", &[]);
        let mut manifest: Value = serde_json::from_slice(&one.manifest(ELSEWHERE.0, ELSEWHERE.1)).unwrap();
        manifest["dependencies"] = json!([{ "id": "lcod://acme/good", "version": requirement }]);
        let (name, manifest) = (format!("{at}.json"), manifest.to_string());
        desk.put(&name, manifest.as_bytes());
        let row =
            json!({ "version": "1.0.0", "manifest": name, "sha256": Digest::sha256(manifest.as_bytes()) });
        json!({ "id": id, "versions": [row] })
    };
    desk.publish(&requirements.iter().enumerate().map(of).collect::<Vec<_>>());
    let daemon = desk.read();
    for (at, requirement) in requirements.iter().enumerate() {
        assert_eq!(answer(&daemon, &format!("lcod://acme/r{at}")), "input.requirement", "{requirement}");
        let asked = json!({ "requests": [{ "id": "lcod://acme/good", "version": requirement }] });
        let asked = daemon.post("/v1/resolve", &asked);
        assert_eq!(
            (asked.status, asked.reason().as_str()),
            (400, "input.requirement"),
            "{requirement}: {asked}"
        );
        assert!(asked.json()["hint"].is_string() || asked.json()["expected"].is_string(), "{asked}");
    }
    for (requirement, expected) in
        [("1", "1.0.0"), ("^1.0", "1.0.0"), (">=0.9, <2", "1.0.0"), ("v1.0.0", "1.0.0"), ("*", "1.0.0")]
    {
        assert_eq!(answer(&daemon, &format!("lcod://acme/good@{requirement}")), expected, "{requirement}");
    }
}

#[test]
fn d13_prereleases_that_nobody_asked_for() {
    let desk = Desk::new();
    let versions = ["1.0.0", "1.1.0-rc.1", "1.1.0-rc.2", "2.0.0-alpha", "0.9.0-beta"];
    let rows: Vec<Value> = versions.iter().map(|version| desk.version(X, version)).collect();
    desk.publish(&[json!({ "id": X, "versions": rows })]);
    let daemon = desk.read();
    for (requirement, expected) in [
        ("", "1.0.0"),
        ("@^1", "1.0.0"),
        ("@>=0.1", "1.0.0"),
        ("@*", "1.0.0"),
        ("@<=2.0.0", "1.0.0"),
        ("@^2", "only_prerelease"),
        ("@^0.9", "only_prerelease"),
        ("@^1.1.0", "version_unknown"),
        ("@^1.1.0-rc.1", "1.1.0-rc.2"),
        ("@=1.1.0-rc.1", "1.1.0-rc.1"),
        ("@^1.0.0-rc.1", "1.0.0"),
        ("@2.0.0-alpha", "2.0.0-alpha"),
    ] {
        assert_eq!(answer(&daemon, &format!("{X}{requirement}")), expected, "{requirement}");
    }
}

#[test]
fn d14_a_compose_that_names_a_repository() {
    let (desk, trap) = (Desk::new(), TlsServer::start());
    let direct = format!("git+{}@{}#evil", trap.url("/evil.git"), ELSEWHERE.1);
    // What a compose calls is nothing that anybody fetches, whatever it looks like.
    let mut one = Component::new("lcod://acme/calls", "1.0.0", &[]);
    one.calls =
        vec![direct.clone(), trap.url("/evil.json"), "file:///etc/passwd".to_owned(), "../../x".to_owned()];
    let repository = Repository::create(&desk.sandbox.path("repository"));
    let rows = json!([{ "id": one.full(), "composePath": one.file("compose.yaml") }]);
    let mut files = all_files(std::slice::from_ref(&one));
    files.insert("rows.json".to_owned(), rows.to_string().into_bytes());
    let commit = repository.commit(&files);
    // As a dependency of a manifest it is no component of any source, and the release that wants it is refused.
    let needs = Component::new("lcod://acme/needs", "1.0.0", &[]);
    let mut manifest: Value = serde_json::from_slice(&needs.manifest(ELSEWHERE.0, ELSEWHERE.1)).unwrap();
    manifest["dependencies"] = json!([direct]);
    let manifest = manifest.to_string();
    desk.put("needs.json", manifest.as_bytes());
    let row = json!({ "version": "1.0.0", "manifest": "needs.json", "sha256": Digest::sha256(manifest.as_bytes()) });
    desk.publish(&[json!({ "id": "lcod://acme/needs", "versions": [row] })]);
    fs::rename(desk.sandbox.path("published/catalogue.json"), desk.sandbox.path("published/all.json"))
        .unwrap();
    let git =
        json!({ "id": "git", "kind": "git", "url": repository.url(), "commit": commit, "path": "rows.json" });
    desk.put(
        "catalogue.json",
        &catalogues(&[json!({ "id": "all", "kind": "file", "path": "all.json" }), git]),
    );
    let daemon = desk.read();
    assert_eq!(answer(&daemon, "lcod://acme/needs"), "input.id");
    let calls = daemon.resolve(&["lcod://acme/calls"]).ok();
    assert_eq!(calls["components"].as_array().unwrap().len(), 1, "{calls:#}");
    assert_eq!(calls["components"][0]["dependencies"], json!([]), "{calls:#}");
    // Asked for itself it is a direct reference: nobody vouches for the place, so that no machine inside is asked.
    let asked = daemon.resolve(&[&direct]);
    assert_eq!((asked.status, asked.reason().as_str()), (403, "net.address_denied"), "{asked}");
    // As a table in the place of another component it is no other.
    let table = json!({ "type": "git", "url": trap.url("/evil.git"), "commit": ELSEWHERE.1, "path": "evil" });
    let overlay = json!({ "replace": { "lcod://acme/calls": table } });
    let asked = daemon.post("/v1/resolve", &json!({ "requests": ["lcod://acme/calls"], "overlay": overlay }));
    assert_eq!((asked.status, asked.reason().as_str()), (403, "net.address_denied"), "{asked}");
    assert_eq!(trap.connections(), 0, "nobody went there");
}

/// Puts a policy beside a sandbox's configuration.
fn policy(sandbox: &Sandbox, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let text = format!("schema = \"resolverd/trust@1\"\nversion = 1\n{text}");
    let files = Files::from([("trust.toml".to_owned(), text.into_bytes())]);
    write(&sandbox.path("config/resolverd"), &files);
    for (place, mode) in
        [("config", 0o755), ("config/resolverd", 0o755), ("config/resolverd/trust.toml", 0o644)]
    {
        fs::set_permissions(sandbox.path(place), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn d7_dependencies_that_drag_in_another_namespace() {
    let desk = Desk::new();
    let releases: [(&str, &[&str]); 6] = [
        ("lcod://open/app@1.0.0", &["lcod://open/part@1"]),
        ("lcod://open/app@2.0.0", &["lcod://open/part@1", "lcod://acme/secret@1"]),
        ("lcod://open/other@1.0.0", &["lcod://evil/x@1"]),
        ("lcod://open/part@1.0.0", &[]),
        ("lcod://acme/secret@1.0.0", &[]),
        ("lcod://evil/x@1.0.0", &[]),
    ];
    let rows = releases.map(|(release, requires)| {
        let (id, version) = release.split_once('@').unwrap();
        let one = Component::new(id, version, requires);
        let (path, bytes) =
            (format!("{}-{version}.json", one.directory), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
        desk.put(&path, &bytes);
        let row = json!({ "version": version, "manifest": path, "sha256": Digest::sha256(&bytes) });
        json!({ "id": id, "versions": [row] })
    });
    desk.publish(&rows);
    let rules = "[[namespaces]]\nname = \"open\"\nmatch = \"lcod://open/**\"\nsources = [\"acme\"]\nrequire = \"digest\"\n\
         allow_deps = [\"lcod://open/**\", \"lcod://contract/**\"]\n\
         [[namespaces]]\nname = \"rest\"\nmatch = \"**\"\nsources = [\"acme\"]\nrequire = \"digest\"\n";
    policy(&desk.sandbox, rules);
    let daemon = desk.read();
    assert_eq!(answer(&daemon, "lcod://open/app"), "1.0.0", "the newest that leads nowhere else");
    let refused = daemon.resolve(&["lcod://open/app@2"]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "resolve.dep_not_allowed"), "{refused}");
    assert_eq!(refused.json()["code"], "E015", "{refused}");
    assert_eq!(refused.json()["found"], "lcod://acme/secret", "{refused}");
    assert_eq!(answer(&daemon, "lcod://open/other"), "resolve.dep_not_allowed");
    assert_eq!(answer(&daemon, "lcod://acme/secret"), "1.0.0", "whoever may ask for it gets it");
    let explained = daemon.post("/v1/explain", &json!({ "id": "lcod://open/app@2" })).ok();
    let why = explained["release"]["why"].as_array().unwrap();
    let is_step = |step: &Value| step.as_str().unwrap().starts_with("dependencies: resolve.dep_not_allowed");
    assert!(why.iter().any(is_step), "{why:#?}");
    assert!(why.last().unwrap().as_str().unwrap().contains("trust.toml, line "), "{why:#?}");
    let shown = daemon.get("/v1/policy").ok();
    let rule = &shown["policies"][0]["namespaces"][0];
    assert_eq!(rule["allowDeps"], json!(["lcod://open/**", "lcod://contract/**"]), "{rule:#}");
    assert!(desk.sandbox.run(&["audit", "tail"]).stdout.contains("resolve.dep_not_allowed"));
}

#[test]
fn d10_ids_that_could_be_taken_for_another() {
    let sandbox = Sandbox::new();
    let of = |directory: &str, priority: i64, releases: &[&str]| {
        let pointer = catalogue(&sandbox, directory, "all", releases);
        source(&sandbox, directory, priority, &[pointer])
    };
    let mine =
        of("mine", 10, &["lcod://acme/billing@1.0.0", "lcod://acme/billings@1.0.0", "lcod://acme/a.b@1.0.0"]);
    let theirs = of(
        "theirs",
        20,
        &["lcod://acme/biling@9.0.0", "lcod://acme/a_b@1.0.0", "lcod://acme/far-away@1.0.0"],
    );
    sandbox.write_sources(&json!({ "sources": [mine, theirs] }));
    let daemon = sandbox.start_synced();
    let notes = |id: &str| -> Vec<String> {
        let explained = daemon.post("/v1/explain", &json!({ "id": id })).ok();
        let notes = explained["notes"].as_array().unwrap().clone();
        notes.iter().map(|note| note.as_str().unwrap().to_owned()).collect()
    };
    let is_said = |notes: &[String], about: &str| {
        notes.iter().any(|note| note.starts_with(&format!("{about} of source ")))
    };
    let typed = notes("lcod://acme/biling");
    assert!(is_said(&typed, "lcod://acme/billing"), "{typed:?}");
    let text = sandbox.run(&["explain", "lcod://acme/biling"]).stdout;
    assert!(text.contains("lcod://acme/billing of source mine differs from it in one character"), "{text}");
    let meant = notes("lcod://acme/billing");
    assert!(is_said(&meant, "lcod://acme/biling"), "{meant:?}");
    assert!(!is_said(&meant, "lcod://acme/billings"), "one source may call its own as it likes: {meant:?}");
    assert!(is_said(&notes("lcod://acme/a_b"), "lcod://acme/a.b"));
    assert!(!notes("lcod://acme/far-away").iter().any(|note| note.contains("which of the two")));
    // It is advice: what is resolved says nothing of it.
    let answer = daemon.resolve(&["lcod://acme/biling"]).ok();
    assert_eq!((&answer["components"][0]["version"], &answer["warnings"]), (&json!("9.0.0"), &json!([])));
}
