//! `explain`, `why`, `status` and `sync` through the real binary: chains against expectations written by hand, and texts that a
//! person reads. One federation overlaps on purpose, the other is the sample.

use std::path::Path;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, array, catalogues, pointer};
use crate::harness::repository::{self, Files, Repository};

fn explained(daemon: &Daemon, body: &Value) -> Value {
    daemon.post("/v1/explain", body).ok()
}

/// Returns the whole text of `resolverd VERB REF…`.
fn text(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let said = sandbox.run(arguments);
    assert_eq!(said.status, 0, "{arguments:?}: {}", said.stderr);
    said.stdout
}

/// Returns `version fate` of every candidate.
fn fates(answer: &Value) -> Vec<String> {
    let rows = answer["candidates"].as_array().unwrap();
    rows.iter()
        .map(|row| format!("{} {}", row["version"].as_str().unwrap(), row["fate"].as_str().unwrap()))
        .collect()
}

fn source(id: &str, priority: u32, owns: &Value, entrypoint: &Value) -> Value {
    json!({ "id": id, "priority": priority, "owns": owns, "entrypoint": entrypoint })
}

/// Writes an array catalogue of these `id@version` below the sandbox and returns its entry point.
fn publish(sandbox: &Sandbox, name: &str, releases: &[(&str, &[&str])]) -> Value {
    let components: Vec<Component> = releases
        .iter()
        .map(|(full, requires)| {
            let (id, version) = full.rsplit_once('@').unwrap();
            Component::new(id, version, requires)
        })
        .collect();
    let mut files = all_files(&components);
    files.insert("catalogue.json".to_owned(), array(&components));
    repository::write(&sandbox.path(name), &files);
    json!({ "type": "file", "path": sandbox.path(name).join("catalogue.json") })
}

/// A git registry whose list pins one catalogue by commit and reaches another through a branch.
struct Registry {
    entry: Value,
    url: String,
    list: String,
    files: String,
}

fn registry(root: &Path) -> Registry {
    let home = Repository::create(&root.join("home"));
    let components =
        [Component::new("lcod://core/pinned", "1.0.0", &[]), Component::new("lcod://shared/x", "1.0.0", &[])];
    let mut files = all_files(&components);
    files.insert("pinned.json".to_owned(), array(&components));
    files.insert("loose.json".to_owned(), array(&[Component::new("lcod://core/loose", "1.0.0", &[])]));
    files.extend(all_files(&[Component::new("lcod://core/loose", "1.0.0", &[])]));
    let commit = home.commit(&files);
    let url = home.url();
    let mut loose = pointer("loose", &url, &commit, "loose.json");
    loose.as_object_mut().unwrap().remove("commit");
    loose["ref"] = json!("main");
    let list = Repository::create(&root.join("list"));
    let listed = list.commit(&Files::from([(
        "catalogues.json".to_owned(),
        catalogues(&[pointer("pinned", &url, &commit, "pinned.json"), loose]),
    )]));
    let entry = json!({ "type": "git", "url": list.url(), "ref": "main", "subpath": "catalogues.json" });
    Registry { entry, url, list: listed, files: commit }
}

#[test]
fn a_chain_of_repositories_is_explained_down_to_the_bytes() {
    let sandbox = Sandbox::new();
    let registry = registry(&sandbox.path("git"));
    let other = publish(
        &sandbox,
        "other",
        &[("lcod://shared/x@9.0.0", &[]), ("lcod://app/main@0.1.0", &["lcod://shared/x@^1"])],
    );
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        source("core", 10, &json!([]), &registry.entry), source("other", 50, &json!([]), &other)] }));
    let daemon = sandbox.start_synced();

    let found = explained(&daemon, &json!({"id": "lcod://shared/x@^1"}));
    let component = Component::new("lcod://shared/x", "1.0.0", &[]);
    let at = |path: &str| format!("{} at {}: {path}", registry.url, registry.files);
    let list_url = sandbox.path("git/list").display().to_string();
    assert_eq!(
        (&found["outcome"], &found["chosen"], &found["problem"]),
        (&json!("chosen"), &json!("1.0.0"), &Value::Null),
        "{found:#}"
    );
    assert_eq!(
        found["reference"],
        json!({"id": "lcod://shared/x", "requirement": "^1", "prerelease": false})
    );
    let origin = &found["source"];
    assert_eq!(
        (&origin["id"], &origin["place"], &origin["of"], &origin["priority"], &origin["state"]),
        (&json!("core"), &json!(1), &json!(2), &json!(10), &json!("fresh"))
    );
    assert_eq!(
        (&origin["commit"], &origin["location"]),
        (&json!(registry.list), &json!(format!("file://{list_url} at main: catalogues.json")))
    );
    let [entry, catalogue] = found["chain"].as_array().unwrap().as_slice() else {
        panic!("two steps: {found:#}")
    };
    assert_eq!(
        (&entry["role"], &entry["id"], &entry["branch"]),
        (&json!("entry"), &json!("core/core"), &json!("main"))
    );
    assert!(entry["url"].as_str().unwrap().contains(&list_url), "{entry:#}");
    assert_eq!(
        (&catalogue["role"], &catalogue["id"], &catalogue["branch"]),
        (&json!("catalogue"), &json!("core/pinned"), &Value::Null)
    );
    assert_eq!(
        (&catalogue["location"], &catalogue["pin"]["commit"]),
        (&json!(at("pinned.json")), &json!(registry.files))
    );
    assert_eq!(catalogue["commit"], json!(registry.files));
    let release = &found["release"];
    assert_eq!(
        (&release["repository"], &release["commit"], &release["path"]),
        (&json!(registry.url), &json!(registry.files), &json!(component.directory))
    );
    let documents: Vec<(&Value, &Value)> = release["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["location"], &one["digest"]))
        .collect();
    assert_eq!(
        documents,
        [
            (&json!(at(&component.file("compose.yaml"))), &json!(Digest::sha256(&component.compose()))),
            (&json!(at(&component.file("lcp.toml"))), &json!(Digest::sha256(&component.descriptor()))),
        ]
    );
    assert_eq!(
        release["because"],
        json!(["no trust policy is set: pins must hold, and nothing must be signed"])
    );
    assert_eq!(fates(&found), ["1.0.0 chosen"]);
    assert_eq!(
        found["shadowed"],
        json!([{"source": "other", "catalogue": "other", "versions": ["9.0.0"], "place": 2, "why": "source core has priority 10, this one 50"}])
    );
    let needs =
        json!({"count": 1, "items": [{"id": "lcod://app/main", "version": "0.1.0", "requirement": "^1"}]});
    assert_eq!(found["requiredBy"], needs);
    assert_eq!(
        found["notes"],
        json!([
            format!("core/core was read through main, which named {}: a branch is not a pin", registry.list),
            "a pinned id proves content, not membership of a branch"
        ])
    );
    // Equal questions have equal bytes.
    let again = || daemon.post("/v1/explain", &json!({"id": "lcod://shared/x@^1"})).body;
    assert_eq!(again(), again());

    let loose = explained(&daemon, &json!({"id": "lcod://core/loose"}));
    assert_eq!(
        (&loose["release"]["trust"]["verdict"], &loose["release"]["because"][0]),
        (
            &json!("unpinned"),
            &json!("unpinned: core/core points to core/loose through main, without a commit or checksum")
        )
    );
    let said = text(&sandbox, &["why", "lcod://shared/x@^1"]);
    let short = &registry.files[..12];
    assert_eq!(
        said,
        format!(
            "lcod://shared/x@1.0.0 (asked: ^1)\n\
             from        core -> pinned -> {}@{short}:{}\n\
             trust       pinned (no trust policy is set: pins must hold, and nothing must be signed)\n\
             source      core/pinned is the best-placed of 2 catalogues that list it\n\
             version     the newest that may be used of 1 (of 1) that meet ^1\n\
             needed by   1: lcod://app/main@0.1.0 (^1)\n\
             lost        other/other (9.0.0): source core has priority 10, this one 50\n",
            registry.url, component.directory
        )
    );
    assert!(text(&sandbox, &["explain", "lcod://shared/x@^1"]).lines().count() <= 40);
}

#[test]
fn the_sample_federation_is_explained() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let invoice = "lcod://acme/billing/invoice";
    let check = |body: Value, outcome: &str, chosen: Value, expected: &[&str]| {
        let found = explained(&daemon, &body);
        assert_eq!((&found["outcome"], &found["chosen"]), (&json!(outcome), &chosen), "{found:#}");
        assert_eq!(fates(&found), expected, "{body}");
        found
    };
    let outside = ["2.0.0-rc.1 outside", "1.1.0 yanked", "1.0.0 chosen", "0.2.0 outside", "0.1.0 outside"];
    let plain = check(json!({"id": format!("{invoice}@^1")}), "chosen", json!("1.0.0"), &outside);
    assert_eq!(plain["whyVersion"], "the newest that may be used of 2 (of 5) that meet ^1");
    assert_eq!(plain["shadowed"][0]["why"], "source acme has priority 20, this one 50");
    assert_eq!(plain["next"], Value::Null);
    check(
        json!({"id": invoice}),
        "chosen",
        json!("1.0.0"),
        &["2.0.0-rc.1 prerelease", "1.1.0 yanked", "1.0.0 chosen", "0.2.0 lower", "0.1.0 lower"],
    );
    let none = check(
        json!({"id": format!("{invoice}@^2")}),
        "no_version",
        Value::Null,
        &["2.0.0-rc.1 prerelease", "1.1.0 outside", "1.0.0 outside", "0.2.0 outside", "0.1.0 outside"],
    );
    assert_eq!(
        (&none["problem"]["code"], &none["next"]),
        (&json!("E002"), &json!(format!("resolverd explain {invoice}@^2 --prerelease")))
    );
    check(
        json!({"id": format!("{invoice}@^2"), "prerelease": true}),
        "chosen",
        json!("2.0.0-rc.1"),
        &["2.0.0-rc.1 chosen", "1.1.0 outside", "1.0.0 outside", "0.2.0 outside", "0.1.0 outside"],
    );
    let yanked = check(
        json!({"id": format!("{invoice}@1.1.0")}),
        "no_version",
        Value::Null,
        &["2.0.0-rc.1 outside", "1.1.0 yanked", "1.0.0 outside", "0.2.0 outside", "0.1.0 outside"],
    );
    assert_eq!(yanked["problem"]["reason"], "only_yanked");

    let native =
        explained(&daemon, &json!({"id": "lcod://tooling/text/slug@^0.2", "natives": ["lcod://tooling/"]}));
    assert_eq!(
        (&native["outcome"], &native["native"], &native["chain"]),
        (&json!("native"), &json!("lcod://tooling/"), &json!([]))
    );
    let losers: Vec<String> = native["shadowed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["catalogue"], one["why"]))
        .collect();
    assert_eq!(
        losers,
        [
            "\"acme/tooling\" \"the caller implements it itself\"",
            "\"community/std\" \"source acme has priority 20, this one 50\""
        ]
    );

    let unknown = explained(&daemon, &json!({"id": "lcod://tooling/text/sulg"}));
    assert_eq!(
        (&unknown["outcome"], &unknown["problem"]["nearest"][0], &unknown["next"]),
        (
            &json!("unknown"),
            &json!("lcod://tooling/text/slug"),
            &json!("resolverd explain lcod://tooling/text/slug")
        )
    );
    let said = text(&sandbox, &["why", "lcod://tooling/text/sulg"]);
    assert!(
        said.contains("resembling  lcod://tooling/text/slug")
            && said.contains("next        resolverd explain"),
        "{said}"
    );
    let problem = daemon.post("/v1/explain", &json!({"id": "lcod://A"}));
    assert_eq!((problem.status, problem.json()["code"].as_str()), (400, Some("R001")), "{problem}");

    // The same bytes in process.
    let verb = ["explain", invoice, "-o", "json"];
    let through = text(&sandbox, &verb);
    assert!(daemon.stop().success());
    assert_eq!(text(&sandbox, &verb), through);
}

#[test]
fn what_is_blocked_names_the_source_that_it_waits_for() {
    let sandbox = Sandbox::new();
    let public = publish(
        &sandbox,
        "public",
        &[("lcod://acme/taken@9.0.0", &[]), ("lcod://app/x@1.0.0", &["lcod://acme/taken@^1"])],
    );
    let missing = json!({ "type": "file", "path": sandbox.path("nowhere.json") });
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        source("owner", 20, &json!(["lcod://acme/**"]), &missing), source("public", 50, &json!([]), &public)] }));
    let daemon = sandbox.start_synced();
    let found = explained(&daemon, &json!({"id": "lcod://acme/taken"}));
    assert_eq!(
        (&found["outcome"], &found["next"]),
        (&json!("blocked"), &json!("resolverd sync owner")),
        "{found:#}"
    );
    assert_eq!(
        found["blocked"],
        json!([{"namespace": "lcod://acme/**", "source": "owner", "effect": "nobody placed below this source may answer until it has been read"}])
    );
    assert_eq!((&found["source"]["id"], &found["source"]["state"]), (&json!("owner"), &json!("unread")));
    assert_eq!((&found["chain"][0]["state"], &found["chain"][0]["digest"]), (&json!("unread"), &Value::Null));
    assert_eq!(found["requiredBy"]["items"][0]["id"], "lcod://app/x");
    assert_eq!(found["notes"][0], "catalogues placed below may list it; what they list was left out");
    let said = text(&sandbox, &["explain", "lcod://acme/taken"]);
    assert!(
        said.contains("blocked     lcod://acme/** waits for owner")
            && said.contains("next        resolverd sync owner"),
        "{said}"
    );
    let status = text(&sandbox, &["status"]);
    assert!(status.starts_with("status      degraded: source owner is unread\n"), "{status}");
    assert!(status.contains("resolverd sync owner, once it can be reached"), "{status}");
}

/// A seed catalogue with one release whose manifest is not what its checksum promises, and one that is.
fn seed(sandbox: &Sandbox) -> Value {
    let component = Component::new("lcod://acme/bad", "1.0.0", &[]);
    let good = Component::new("lcod://acme/good", "1.0.0", &[]);
    let manifest = |one: &Component| {
        let mut manifest: Value =
            serde_json::from_slice(&one.manifest("https://example.org/r", &"8".repeat(40))).unwrap();
        manifest["source"] = json!({ "type": "file", "path": one.directory });
        manifest.to_string().into_bytes()
    };
    let row = |one: &Component, digest: Digest| json!({ "id": one.id, "versions": [{ "version": one.version, "manifest": one.file("manifest.json"), "sha256": digest }] });
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "acme/all", "components": [
        row(&component, Digest::sha256(b"promised")), row(&good, Digest::sha256(&manifest(&good)))] });
    let catalogue = catalogue.to_string().into_bytes();
    let list = json!([{ "id": "acme/all", "kind": "file", "url": "all.json", "checksum": Digest::sha256(&catalogue) }]);
    let files = Files::from([
        (component.file("manifest.json"), manifest(&component)),
        (good.file("manifest.json"), manifest(&good)),
        ("all.json".to_owned(), catalogue),
        ("catalogues.json".to_owned(), catalogues(list.as_array().unwrap())),
    ]);
    repository::write(&sandbox.path("acme"), &files);
    json!({ "type": "file", "path": sandbox.path("acme/catalogues.json") })
}

#[test]
fn what_is_refused_shows_both_digests_and_what_is_stale_says_so() {
    let sandbox = Sandbox::new();
    let entry = seed(&sandbox);
    sandbox.write_sources(
        &json!({ "schema": "lcod-resolver/sources@1", "sources": [source("acme", 20, &json!([]), &entry)] }),
    );
    let daemon = sandbox.start_synced();
    let found = explained(&daemon, &json!({"id": "lcod://acme/bad"}));
    assert_eq!(
        (&found["outcome"], &found["problem"]["code"], &found["chosen"]),
        (&json!("refused"), &json!("E006"), &Value::Null),
        "{found:#}"
    );
    let refusal = &found["candidates"][0]["refusal"];
    assert_eq!(
        (&refusal["reason"], &refusal["expected"]),
        (&json!("trust.digest_mismatch"), &json!(Digest::sha256(b"promised")))
    );
    assert_eq!(
        (&found["release"]["version"], &found["release"]["trust"]["verdict"]),
        (&json!("1.0.0"), &json!("refused"))
    );
    let document = &found["release"]["documents"][0];
    assert_eq!((&document["digest"], &document["refusal"]), (&Value::Null, refusal), "{found:#}");
    assert!(document["location"].as_str().unwrap().ends_with("acme.bad/manifest.json"), "{document:#}");
    assert_eq!(found["next"], "resolverd versions lcod://acme/bad");
    let said = text(&sandbox, &["why", "lcod://acme/bad"]);
    assert!(said.contains("trust.digest_mismatch") && said.lines().count() <= 8, "{said}");

    // The list promises other bytes than lie there: the catalogue keeps its last good copy, its source is fresh.
    let list =
        json!([{ "id": "acme/all", "kind": "file", "url": "all.json", "checksum": Digest::sha256(b"next") }]);
    std::fs::write(sandbox.path("acme/catalogues.json"), catalogues(list.as_array().unwrap())).unwrap();
    let synced = sandbox.run(&["sync"]);
    assert_eq!((synced.status, synced.stderr.as_str()), (0, ""), "{}", synced.stdout);
    let named = "warning: catalogue acme/acme/all is stale: ";
    assert_eq!(synced.stdout.matches("trust.digest_mismatch").count(), 1, "{}", synced.stdout);
    assert!(synced.stdout.contains(named), "{}", synced.stdout);
    let found = explained(&daemon, &json!({"id": "lcod://acme/good"}));
    assert_eq!(
        (&found["outcome"], &found["chain"][1]["state"], &found["next"]),
        (&json!("chosen"), &json!("stale"), &json!("resolverd sync acme")),
        "{found:#}"
    );
    assert!(
        found["notes"][0]
            .as_str()
            .unwrap()
            .starts_with("acme/acme/all is stale: its last good document answers: "),
        "{found:#}"
    );
    assert!(text(&sandbox, &["why", "lcod://acme/good"]).contains("trust.digest_mismatch"));
    let status = text(&sandbox, &["status"]);
    assert!(status.starts_with("status      degraded: 1 catalogue is not fresh\n"), "{status}");
    assert!(status.contains("catalogue acme/acme/all is stale: "), "{status}");

    // In process the log says nothing that the report says.
    assert!(daemon.stop().success());
    let alone = sandbox.run_bare(&["sync"]);
    assert_eq!((alone.status, alone.stderr.as_str()), (0, ""), "{}", alone.stdout);
    assert!(alone.stdout.contains(named), "{}", alone.stdout);
    sandbox.write_sources_text("{\n  \"schema\": 7,\n}");
    let status = text(&sandbox, &["status"]);
    assert!(status.starts_with("status      degraded: the configuration is broken"), "{status}");
    assert!(status.contains("line 3, column 1"), "{status}");
}
