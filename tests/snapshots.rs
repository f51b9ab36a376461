//! Kept generations: what an older one answered it answers again, byte by byte, after newer ones, a restart and a kill; what
//! is no longer kept says so.

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::daemon::sample;
use crate::documents::verbs;
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::http;
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository};

const CATALOGUE: &str = "registry/components.std.json";

/// A federation of one source that publishes anew.
pub(crate) struct Changing {
    pub(crate) sandbox: Sandbox,
    components: Repository,
    registry: Repository,
}

impl Changing {
    /// Makes the federation; its daemon keeps `generations`.
    pub(crate) fn keeping(generations: u32) -> Changing {
        let sandbox = Sandbox::new();
        let create = |name: &str| Repository::create(&sandbox.path(name));
        let (components, registry) = (create("components"), create("registry"));
        sandbox.write_sources(&lcod::sources("main", &registry.url(), "catalogues.json"));
        let changing = Changing { sandbox, components, registry };
        changing.keep(generations);
        changing
    }

    /// Says in the configuration how many generations are kept.
    pub(crate) fn keep(&self, generations: u32) {
        let directory = self.sandbox.path("config/resolverd");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("config.toml"), format!("generations = {generations}\n")).unwrap();
    }

    /// Publishes `all` and nothing else.
    pub(crate) fn publish(&self, all: &[Component]) {
        let mut files = lcod::all_files(all);
        let url = self.components.url();
        let written = self.components.commit(&files);
        let mut rows = Vec::new();
        for one in all {
            let (path, manifest) = (one.file("manifest.json"), one.manifest(&url, &written));
            let digest = Digest::sha256(&manifest);
            let version = json!({ "version": one.version, "manifest": path, "sha256": digest });
            rows.push(json!({ "id": one.id, "versions": [version] }));
            files.insert(path, manifest);
        }
        let origin = json!({ "type": "git", "url": url, "commit": self.components.commit(&files) });
        let catalogue = json!({
            "schema": "lcod-registry/catalogue@1", "id": "tooling/std", "origin": origin, "components": rows,
        });
        files.insert(CATALOGUE.to_owned(), serde_json::to_vec(&catalogue).unwrap());
        let commit = self.components.commit(&files);
        let pointer = lcod::pointer("tooling/std", &url, &commit, CATALOGUE);
        self.publish_list(&lcod::catalogues(&[pointer]));
    }

    /// Publishes the bytes of the entry document.
    pub(crate) fn publish_list(&self, bytes: &[u8]) {
        self.registry.commit(&Files::from([("catalogues.json".to_owned(), bytes.to_vec())]));
    }

    /// Publishes one release of each name and syncs; returns the digest of the snapshot.
    pub(crate) fn round(&self, daemon: &Daemon, names: &[(&str, &str)]) -> String {
        let all: Vec<Component> =
            names.iter().map(|(id, version)| Component::new(&format!("lcod://{id}"), version, &[])).collect();
        let before = daemon.get("/v1/health").ok()["snapshot"].clone();
        self.publish(&all);
        // The watch may have been quicker, and then this sync changes nothing any more.
        let report = daemon.sync();
        assert_ne!(report["snapshot"], before, "{report:#}");
        report["snapshot"].as_str().unwrap().to_owned()
    }
}

/// Returns the bytes of everything that a snapshot answers about the ids of these tests.
fn everything(daemon: &Daemon, snapshot: &str) -> Vec<(String, u16, Vec<u8>)> {
    let mut said = Vec::new();
    let at = format!("snapshot={}", http::encoded(snapshot));
    let mut targets = vec!["/v1/catalogues".to_owned(), "/v1/components".to_owned()];
    for id in ["lcod://n/a", "lcod://n/b", "lcod://n/c"] {
        let path = format!("/v1/components/{}", http::encoded(id));
        targets.extend(["", "/versions", "/latest", "/latest/manifest"].map(|tail| format!("{path}{tail}")));
        let body = json!({"requests": [id], "snapshot": snapshot});
        let answer = daemon.post("/v1/resolve", &body);
        said.push((id.to_owned(), answer.status, timeless(answer.status, answer.body)));
    }
    let lookup =
        daemon.post("/v1/lookup", &json!({"ids": ["lcod://n/a", "lcod://n/c"], "snapshot": snapshot}));
    said.push(("lookup".to_owned(), lookup.status, lookup.body));
    for target in targets {
        let answer = daemon.get(&format!("{target}?{at}"));
        said.push((target, answer.status, timeless(answer.status, answer.body)));
    }
    said
}

/// A problem carries the id of its request, and a catalogue how long ago it was checked; nothing else tells two equal
/// questions apart.
fn timeless(status: u16, body: Vec<u8>) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != 200 {
        answer.as_object_mut().unwrap().remove("requestId");
        return answer.to_string().into_bytes();
    }
    let ages: Vec<String> = answer["items"].as_array().into_iter().flatten().map(age).collect();
    let mut text = String::from_utf8(body).unwrap();
    for age in ages {
        text = text.replacen(&age, "", 1);
    }
    text.into_bytes()
}

/// Returns the age in an item as it is spelled.
fn age(item: &Value) -> String {
    format!("\"ageSeconds\":{}", item["ageSeconds"])
}

fn check(daemon: &Daemon, snapshot: &str, before: &[(String, u16, Vec<u8>)], when: &str) {
    for (one, other) in before.iter().zip(everything(daemon, snapshot)) {
        assert_eq!(*one, other, "{when}: {}", String::from_utf8_lossy(&other.2));
    }
}

#[test]
fn an_older_snapshot_answers_as_it_did_until_it_is_dropped() {
    let world = Changing::keeping(3);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[]), Component::new("lcod://n/b", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    let first = daemon.resolve(&["lcod://n/a"]).ok()["snapshot"].as_str().unwrap().to_owned();
    let before = everything(&daemon, &first);
    assert_eq!(before.iter().filter(|(_, status, _)| *status == 200).count(), 13, "a and b are there");

    let second = world.round(&daemon, &[("n/b", "1.1.0"), ("n/c", "1.0.0")]);
    check(&daemon, &first, &before, "behind one newer");
    let of_second = everything(&daemon, &second);
    assert_ne!(before, of_second);
    assert!(daemon.stop().success());
    let daemon = world.sandbox.start();
    check(&daemon, &first, &before, "after a restart");
    check(&daemon, &first[7..7 + 12], &before, "by the start of its digest");

    world.round(&daemon, &[("n/a", "3.0.0")]);
    check(&daemon, &first, &before, "behind two newer");
    daemon.kill();
    let daemon = world.sandbox.start();
    check(&daemon, &first, &before, "after a kill");
    check(&daemon, &second, &of_second, "after a kill");

    let fourth = world.round(&daemon, &[("n/a", "4.0.0")]);
    for target in ["/v1/components", "/v1/sources", "/v1/components/lcod/n/a/latest/manifest"] {
        let gone = daemon.get(&format!("{target}?snapshot={first}"));
        assert_eq!((gone.status, gone.json()["code"].as_str()), (410, Some("R004")), "{target}: {gone}");
        let kept = gone.json()["kept"].as_array().unwrap().len();
        assert_eq!(kept, 3, "{gone}");
        assert!(gone.json()["hint"].as_str().unwrap().contains("resolverd snapshots"), "{gone}");
    }
    let gone = daemon.post("/v1/resolve", &json!({"requests": ["lcod://n/a"], "snapshot": first}));
    assert_eq!(gone.status, 410, "{gone}");
    check(&daemon, &second, &of_second, "the oldest that is kept");
    let listed = daemon.get("/v1/snapshots").ok();
    let numbers: Vec<&Value> =
        listed["items"].as_array().unwrap().iter().map(|row| &row["generation"]).collect();
    assert_eq!(numbers, [4, 3, 2], "{listed:#}");
    assert_eq!(listed["snapshot"], fourth.as_str());
}

#[test]
fn a_lowered_number_takes_effect_at_the_next_commit() {
    let world = Changing::keeping(4);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    for version in ["2.0.0", "3.0.0"] {
        world.round(&daemon, &[("n/a", version)]);
    }
    let kept = || daemon.get("/v1/snapshots").ok()["items"].as_array().unwrap().len();
    assert_eq!(kept(), 3);
    world.keep(2);
    assert_eq!(daemon.post("/v1/reload", &json!({})).status, 200);
    assert_eq!(kept(), 3, "nothing was committed yet");
    world.round(&daemon, &[("n/a", "4.0.0")]);
    assert_eq!(kept(), 2);
    let files = |ending: &str| {
        let entries = std::fs::read_dir(world.sandbox.state().join("generations")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).count()
    };
    assert_eq!((files(".json"), files(".documents")), (2, 2));
}

#[test]
fn verbs_ask_older_snapshots_with_a_daemon_and_without() {
    let world = Changing::keeping(2);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[]), Component::new("lcod://n/b", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    let first = daemon.resolve(&["lcod://n/a"]).ok()["snapshot"].as_str().unwrap().to_owned();
    let second = world.round(&daemon, &[("n/a", "2.0.0"), ("n/c", "1.0.0")]);
    let short = &first[..7 + 12];
    let verbs: Vec<Vec<&str>> = vec![
        vec!["resolve", "lcod://n/b", "--snapshot", short, "-o", "json"],
        vec!["info", "lcod://n/a", "--snapshot", short],
        vec!["versions", "lcod://n/a", "--snapshot", &first],
        vec!["components", "--limit", "1", "--snapshot", short],
        vec!["catalogues", "--snapshot", short],
        vec!["snapshots", "-o", "json"],
        vec!["snapshots", "diff", short],
        vec!["snapshots", "diff", short, &second, "-o", "json"],
    ];
    let run = || -> Vec<(i32, String)> {
        let said = verbs.iter().map(|verb| world.sandbox.run(verb));
        said.map(|said| (said.status, said.stdout)).collect()
    };
    let through = run();
    for (verb, (status, stdout)) in verbs.iter().zip(&through) {
        assert_eq!(*status, 0, "{verb:?}: {stdout}");
    }
    assert!(through[1].1.contains("1.0.0") && !through[1].1.contains("2.0.0"), "{}", through[1].1);
    let diff = &through[6].1;
    for line in ["~ lcod://n/a: -1.0.0, +2.0.0", "- lcod://n/b: -1.0.0", "+ lcod://n/c: +1.0.0"] {
        assert!(diff.lines().any(|found| found == line), "{line} in\n{diff}");
    }
    assert!(diff.contains("~ source main: revision sha256:"), "{diff}");
    let gone = world.sandbox.run(&["info", "lcod://n/a", "--snapshot", &"0".repeat(12)]);
    assert_eq!(gone.status, 10, "{gone:?}");
    assert!(gone.stderr.contains("R004") && gone.stderr.contains("hint:"), "{gone:?}");
    assert!(daemon.stop().success());
    assert_eq!(run(), through);
}

#[test]
fn a_verb_asks_the_snapshot_that_is_named_or_refuses_to() {
    let sandbox = Sandbox::with_sources(&sample());
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    let reference = "lcod://acme/billing/tax";
    let argument = |verb: &str| match verb {
        "resolve" | "lock" | "tree" | "outdated" | "info" | "versions" | "explain" | "why" | "search"
        | "materialize" | "locate" => Some(reference),
        "check" => Some("x.lock"),
        "completions" => Some("bash"),
        "convert" => Some("x.json"),
        "release" | "install" | "uninstall" | "export" => Some("x"),
        "yank" | "unyank" => Some("x@1.0.0"),
        _ => None,
    };
    // All of them see that it is not kept, which they could not without asking.
    std::fs::write(sandbox.path("x.lock"), "schema = \"resolverd/lock@1\"\n").unwrap();
    let asking =
        "resolve lock check tree outdated info versions sources catalogues components search explain why";
    for verb in verbs(&sandbox) {
        let mut line = vec![verb.as_str(), "--snapshot", "0123456789ab", "--offline"];
        line.extend(argument(&verb));
        if verb == "convert" {
            line.extend(["--to", "array"]);
        }
        line.extend(match verb.as_str() {
            "trust" => &["state"][..],
            "policy" => &["show"],
            "audit" => &["verify"],
            "keys" => &["inspect", "x.pem"],
            "sign" => &["x.json", "--key", "x.key", "--id", "x"],
            "verify" => &["x.json", "--key", "x.pem"],
            "scaffold" => &["esf-schema", "x"],
            "registry" => &["check"],
            "marketplace" => &["install", "x"],
            _ => &[],
        });
        let said = sandbox.run(&line);
        let expected =
            if asking.split(' ').any(|one| one == verb) { (10, "R004") } else { (2, "api.snapshot") };
        assert!(said.status == expected.0 && said.stderr.contains(expected.1), "{verb}: {said:?}");
        assert!(said.stdout.is_empty() && said.stderr.contains("hint: "), "{verb}: {said:?}");
    }
}
