//! The limits as an operator meets them: the README's table, and each key of `config.toml` through the real binary.

use std::collections::BTreeMap;

use catalogue_schema::digest::Digest;
use resolverd::fetch::limit::Limits;
use serde_json::{Value, json};

use crate::harness::daemon::Sandbox;
use crate::harness::lcod::{Component, Federation, Form, catalogues};
use crate::harness::place;
use crate::harness::repository::{Files, Repository};

/// The limits that only another machine can meet, or that stop nothing: `https`, `git_wire`, `rollback` and the sync's own
/// tests show them in force; `solve` and `calls` show those of a resolve, `materialize`, `files` and the tests of archives those of files on disk
/// and of connections.
const ELSEWHERE: [&str; 23] = [
    "archive_bytes",
    "archive_ratio",
    "cache_bytes",
    "call_rounds",
    "calls",
    "compose_bytes",
    "connect_s",
    "eager_max",
    "file_bytes",
    "files_bytes",
    "history_commits",
    "holds",
    "holds_per_uid",
    "idle_connection_s",
    "rate_bytes_s",
    "redirects",
    "release_bytes",
    "release_depth",
    "release_files",
    "solve_ms",
    "solve_steps",
    "stall_s",
    "tries",
];

/// Returns the built-in limits by key.
fn defaults() -> BTreeMap<String, u64> {
    let Ok(Value::Object(fields)) = serde_json::to_value(Limits::default()) else { panic!("not a table") };
    fields.into_iter().map(|(key, value)| (key, value.as_u64().unwrap())).collect()
}

#[test]
fn the_readme_s_table_of_limits_is_the_built_in_one() {
    let readme = std::fs::read_to_string(place::root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("`[limits]` and their defaults:").unwrap();
    let rows =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(!cells[3].is_empty(), "{line} says what the limit bounds");
        (cells[1].trim_matches('`').to_owned(), cells[2].parse::<u64>().unwrap())
    };
    let rows: Vec<(String, u64)> = rows.skip(2).map(row).collect();
    assert_eq!(rows.len(), defaults().len(), "each key stands once");
    assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), defaults());
}

#[test]
fn every_limit_of_a_config_file_is_in_force_and_named_where_it_stops_something() {
    let place = tempfile::tempdir().unwrap();
    let components = vec![Component::new("lcod://acme/limited", "1.0.0", &[])];
    let federation = Federation::build(place.path(), components);
    for key in defaults().keys().filter(|key| !ELSEWHERE.contains(&key.as_str())) {
        let sandbox = Sandbox::with_sources(&federation.sources(Form::Seed));
        let config = sandbox.path("config.toml");
        std::fs::write(&config, format!("[limits]\n{key} = 0\n")).unwrap();
        let said = |verb: &[&str]| {
            let said = sandbox.run(&[verb, &["-o", "json", "--config", config.to_str().unwrap()]].concat());
            format!("{}{}", said.stdout, said.stderr)
        };
        let shown: String =
            [&["sync"][..], &["sources"], &["catalogues"], &["info", "lcod://acme/limited@1.0.0"]]
                .map(said)
                .concat();
        assert!(shown.contains(&format!("limit.{key}")), "{key}: {shown}");
        assert!(shown.contains(&format!("limits.{key})")), "{key}: {shown}");
    }
}

#[test]
fn a_source_says_which_of_its_catalogues_a_limit_leaves_out() {
    let acme = place::root().join("tests/federation/acme");
    let bytes = |name: &str| std::fs::metadata(acme.join(name)).unwrap().len();
    let limit = bytes("billing.json") - 1;
    assert!(bytes("tooling.json").max(bytes("catalogues.json")) <= limit, "one catalogue alone is too large");
    let sandbox = Sandbox::with_sources(&json!({
        "schema": "lcod-resolver/sources@1",
        "sources": [{
            "id": "acme", "priority": 1,
            "entrypoint": {"type": "file", "path": acme.join("catalogues.json")},
        }],
    }));
    let config = sandbox.path("config.toml");
    std::fs::write(&config, format!("[limits]\ncatalogue_bytes = {limit}\n")).unwrap();
    let said = |verb: &[&str]| sandbox.run(&[verb, &["--config", config.to_str().unwrap()]].concat()).stdout;
    said(&["sync"]);
    let answer: Value = serde_json::from_str(&said(&["sources", "-o", "json"])).unwrap();
    let source = &answer["items"][0];
    assert_eq!(
        (&source["state"], &source["failed"]),
        (&json!("fresh"), &json!("acme/billing")),
        "{source:#}"
    );
    assert_eq!(source["error"]["reason"], "limit.catalogue_bytes", "{source:#}");
    assert!(source["error"]["hint"].as_str().unwrap().contains("[limits]"), "{source:#}");
    assert_eq!(source["releases"], 2, "{source:#}");
    let shown = said(&["sources"]);
    assert!(shown.contains("warning: acme/acme/billing: "), "{shown}");
    let shown = said(&["status"]);
    assert_eq!(shown.matches("limits.catalogue_bytes").count(), 1, "{shown}");
}

/// How many sources the crowd has, how many catalogues a source, and how many releases a catalogue.
const CROWD: [usize; 3] = [4, 10, 50];

/// Publishes a crowd in one repository, each source pinned to its commit: a list, its catalogues, and one manifest a release.
fn crowd(sandbox: &Sandbox) -> Value {
    let [sources, lists, releases] = CROWD;
    let mut files = Files::new();
    for source in 0..sources {
        let mut pointers = Vec::new();
        for list in 0..lists {
            let id = format!("lcod://crowd/source-{source}/part-{list}");
            let version = |at: usize| {
                let one = Component::new(&id, &format!("1.{at}.0"), &[]);
                let manifest = one.manifest("https://git.example.org/crowd", &"a".repeat(40));
                let path = format!("packages/{source}-{list}/1.{at}.0.json");
                let row =
                    json!({ "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest) });
                ((path, manifest), row)
            };
            let (manifests, rows): (Files, Vec<Value>) = (0..releases).map(version).unzip();
            files.extend(manifests);
            let name = format!("catalogue-{source}-{list}");
            let document = json!({
                "schema": "lcod-registry/catalogue@1", "id": name, "components": [{ "id": id, "versions": rows }],
            });
            let (path, bytes) = (format!("{name}.json"), serde_json::to_vec(&document).unwrap());
            pointers
                .push(json!({ "id": name, "kind": "file", "url": path, "checksum": Digest::sha256(&bytes) }));
            files.insert(path, bytes);
        }
        files.insert(format!("source-{source}.json"), catalogues(&pointers));
    }
    let home = Repository::create(&sandbox.path("crowd"));
    let commit = home.commit(&files);
    let source = |number: usize| {
        json!({
            "id": format!("source-{number}"), "priority": number,
            "entrypoint": {
                "type": "git", "url": home.url(), "commit": commit, "subpath": format!("source-{number}.json"),
            },
        })
    };
    let sources: Vec<Value> = (0..sources).map(source).collect();
    json!({ "schema": "lcod-resolver/sources@1", "sources": sources })
}

/// Reads a crowd under limits into a daemon of its own; returns what each source is, and what verbs say of it.
fn crowded(sandbox: &Sandbox, limits: &str) -> (Vec<Value>, Vec<Value>, [String; 2]) {
    let config = sandbox.path("config.toml");
    std::fs::write(&config, format!("[limits]\n{limits}\n")).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let mut daemon = sandbox.spawn_with(&flags);
    daemon.wait_for("/readyz");
    daemon.sync();
    let items = |target: &str| daemon.get(target).ok()["items"].as_array().unwrap().clone();
    let said = ["status", "doctor"].map(|verb| sandbox.run(&[&[verb], &flags[..]].concat()).stdout);
    let found = (items("/v1/sources"), items("/v1/catalogues"), said);
    assert!(daemon.stop().success());
    found
}

#[test]
fn what_passes_the_releases_of_all_sources_is_refused_source_by_source_and_never_left_out_in_silence() {
    let sandbox = Sandbox::new();
    sandbox.write_sources(&crowd(&sandbox));
    let told = |sources: &[Value]| -> Vec<String> {
        let one = |row: &Value| format!("{} {} {}", row["state"], row["releases"], row["error"]["reason"]);
        sources.iter().map(|row| one(row).replace('"', "")).collect()
    };
    let (sources, catalogues, said) = crowded(&sandbox, "releases = 1000");
    assert_eq!(
        told(&sources),
        ["fresh 500 null", "fresh 500 null", "unread 0 limit.releases", "unread 0 limit.releases"]
    );
    assert_eq!(catalogues.iter().filter(|row| row["releases"] == 50).count(), 20, "whole sources");
    for row in &sources[2..] {
        let (id, error) = (row["id"].as_str().unwrap(), &row["error"]);
        for (field, part) in [
            ("expected", "at most 1000 releases of all sources together (limits.releases)"),
            ("found", "500 in this source, and 0 left by better-placed ones"),
            ("hint", "once config.toml allows more below [limits]"),
        ] {
            assert!(error[field].as_str().unwrap().contains(part), "{id}: {error:#}");
        }
        for text in &said {
            let line =
                text.lines().find(|line| line.contains(&format!("{id}: limit.releases"))).unwrap_or_default();
            assert!(
                line.contains("500 in this source") && text.contains(&format!("resolverd sync {id}, once")),
                "{text}"
            );
        }
    }

    // What was good stays when the sources outgrow the limit, and is no less told.
    assert_eq!(told(&crowded(&sandbox, "releases = 2000").0), ["fresh 500 null"; 4]);
    let (sources, ..) = crowded(&sandbox, "releases = 1999");
    assert_eq!(
        told(&sources),
        ["fresh 500 null", "fresh 500 null", "fresh 500 null", "stale 500 limit.releases"],
        "{sources:#?}"
    );
}

#[test]
fn each_source_that_runs_out_of_a_limit_names_the_catalogues_that_it_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write_sources(&crowd(&sandbox));
    let config = sandbox.path("config.toml");
    std::fs::write(&config, "[limits]\ndocuments = 160\n").unwrap();
    let said =
        |words: &[&str]| sandbox.run(&[words, &["--config", config.to_str().unwrap()]].concat()).stdout;
    let items = |verb: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(&said(&[verb, "-o", "json"])).unwrap();
        answer["items"].as_array().unwrap().clone()
    };
    said(&["sync"]);
    let [sources, catalogues] = ["sources", "catalogues"].map(items);
    let [status, doctor] = ["status", "doctor"].map(|verb| said(&[verb]));
    // The list, three catalogues with their releases, the fourth and five of its releases.
    for row in &sources {
        let id = row["id"].as_str().unwrap();
        assert_eq!(
            (&row["state"], &row["error"]["reason"]),
            (&json!("fresh"), &json!("limit.documents")),
            "{row:#}"
        );
        let own: Vec<&Value> = catalogues.iter().filter(|one| one["source"] == id).collect();
        let [fresh, stale, unread] =
            ["fresh", "stale", "unread"].map(|state| own.iter().filter(|one| one["state"] == state).count());
        assert_eq!((own.len(), fresh, stale, unread), (11, 4, 1, 6), "{own:#?}");
        let is_named = |one: &&&Value| one["error"]["reason"] == "limit.documents";
        assert_eq!(own.iter().filter(is_named).count(), stale + unread, "{own:#?}");
        assert_eq!((&row["releases"], &row["refused"]), (&json!(200), &json!(45)), "{row:#}");
        assert_eq!(status.matches(&format!("catalogue {id}/")).count(), stale + unread, "{status}");
        // The first five, and how many more there are, of every source.
        assert!(
            doctor.contains(&format!("{id}: 2 more of its catalogues are stale or were never read")),
            "{doctor}"
        );
    }

    // What lies on the shelf is not paid for again, so that each sync reads on where the last one stopped.
    (0..3).for_each(|_| drop(said(&["sync"])));
    let told = |row: &Value| (row["releases"].clone(), row["refused"].clone(), row["error"].clone());
    let all: Vec<_> = items("sources").iter().map(told).collect();
    assert_eq!(all, vec![(json!(500), json!(0), Value::Null); 4]);
}
