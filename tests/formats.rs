//! Every published form as the entry of a source, every form of the sources file, filters and cycles across lists, and
//! `convert`: the same components give the same releases.

use std::collections::BTreeSet;
use std::path::Path;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{Component, all_files, array, lines, row};
use crate::harness::repository::{Files, Repository, write};

fn components() -> Vec<Component> {
    vec![
        Component::new("lcod://acme/pay/charge", "1.0.0", &["lcod://acme/log@1"]),
        Component::new("lcod://acme/log", "1.2.0", &[]),
        Component::new("lcod://other/tool", "2.0.0", &[]),
    ]
}

/// The forms in which [`publish`] writes the components, by the path of the document.
const DOCUMENTS: [&str; 8] = [
    "registry/catalogue.json",
    "registry/components.json",
    "registry/rows.json",
    "registry/array.json",
    "packages.jsonl",
    "registry.json",
    "catalog.json",
    "lists/catalogues.json",
];

/// Returns the files of a repository at `url` in which `commit` holds the components; every form lies in it.
fn publish(url: &str, commit: &str) -> Files {
    let components = components();
    let mut files = all_files(&components);
    let (mut versions, mut packages, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    let mut registered = serde_json::Map::new();
    for one in &components {
        let (path, manifest) = (one.file("manifest.json"), one.manifest(url, commit));
        let digest = Digest::sha256(&manifest);
        versions.push(
            json!({"id": one.id, "versions": [{"version": one.version, "manifest": path, "sha256": digest}]}),
        );
        packages.push(json!({"kind": "component", "id": one.id, "version": one.version, "manifest": path, "registryId": "official"}));
        let place = format!("packages/{}/versions.json", one.id.trim_start_matches("lcod://"));
        // Published ones write the manifest's path from the root.
        let beside = place.replace("versions.json", "manifest.json");
        let document = json!({"schema": "lcod-registry/versions@1", "id": one.id,
            "versions": [{"version": one.version, "manifest": beside}]});
        files.insert(place.clone(), document.to_string().into_bytes());
        listed.push(json!({"id": one.id, "registryId": "official", "versionsPath": place}));
        registered.insert(one.id.clone(), json!({"registry": "official"}));
        files.insert(path, manifest.clone());
        files.insert(beside, manifest);
    }
    let text = |value: Value| serde_json::to_vec(&value).unwrap();
    let rows: Vec<Value> = components.iter().map(row).collect();
    let jsonl = String::from_utf8(lines("components/std", &rows)).unwrap();
    let packages: String = packages.iter().map(|row| format!("{row}\n")).collect();
    let registry = json!({"kind": "registry", "id": "official", "type": "git", "url": url});
    let seed = json!({"schema": "lcod-registry/catalogue@1", "id": "std", "components": versions});
    for (name, bytes) in [
        ("registry/catalogue.json", text(seed)),
        ("registry/components.json", jsonl.clone().into_bytes()),
        // A byte-order mark, CRLF, `local` and both spellings of the repository, as published lists have them.
        ("registry/rows.json", published_rows(&rows, url)),
        ("registry/array.json", array(&components)),
        ("packages.jsonl", format!("{registry}\n{packages}").into_bytes()),
        ("registry.json", text(json!({"schema": "lcod-registry@1", "packages": registered}))),
        ("catalog.json", text(json!({"schema": "lcod-registry@1", "packages": listed}))),
        (
            "lists/catalogues.json",
            text(json!({"schema": "lcod-registry/catalogues@1",
                "catalogues": [{"id": "std", "kind": "git", "url": url, "commit": commit, "path": "registry/first.json"}]})),
        ),
    ] {
        files.insert(name.to_owned(), bytes);
    }
    files
}

fn published_rows(rows: &[Value], url: &str) -> Vec<u8> {
    let origins = [
        json!({"source_repo": url, "commit": "local"}),
        json!({"sourceRepo": url, "commit": "local"}),
        json!({"source_repo": url}),
    ];
    let rows = rows.iter().zip(&origins).map(|(row, origin)| {
        let mut row = row.clone();
        row["origin"] = origin.clone();
        row
    });
    let text = String::from_utf8(lines("components/std", &rows.collect::<Vec<_>>())).unwrap();
    format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes()
}

/// A repository that holds everything, and the commit at which it does.
fn repository(directory: &Path) -> (Repository, String) {
    let repository = Repository::create(directory);
    let url = repository.url();
    let mut files = all_files(&components());
    let rows: Vec<Value> = components().iter().map(row).collect();
    files.insert("registry/first.json".to_owned(), lines("components/std", &rows));
    let first = repository.commit(&files);
    files.extend(publish(&url, &first));
    let whole = repository.commit(&files);
    (repository, whole)
}

/// What every form must say: each release with what it requires.
fn releases(daemon: &Daemon) -> BTreeSet<String> {
    let one = |id: &String| {
        let answer = daemon.resolve(&[id]).ok();
        let components = answer["components"].as_array().unwrap();
        let found = components.iter().find(|one| one["id"] == id.as_str()).unwrap();
        format!("{} {} {}", found["id"], found["version"], found["dependencies"])
    };
    daemon.ids().iter().map(one).collect()
}

fn expected() -> BTreeSet<String> {
    let one = |one: &Component| format!("\"{}\" \"{}\" {}", one.id, one.version, json!(one.requires));
    components().iter().map(one).collect()
}

#[test]
fn a_source_may_point_straight_at_every_form() {
    let place = tempfile::tempdir().unwrap();
    let (repository, commit) = repository(&place.path().join("r"));
    for document in DOCUMENTS {
        for pin in [json!({"commit": commit}), json!({"ref": "main"})] {
            let mut source =
                json!({"id": "one", "type": "git", "url": repository.url(), "subpath": document});
            source.as_object_mut().unwrap().extend(pin.as_object().unwrap().clone());
            let sandbox = Sandbox::with_sources(&json!({"sources": [source]}));
            let daemon = sandbox.start_synced();
            assert_eq!(
                releases(&daemon),
                expected(),
                "{document} {pin}: {:#}",
                daemon.get("/v1/catalogues").ok()
            );
            let again = daemon.sync();
            assert_eq!(again["changed"], false, "{document}");
        }
    }
}

#[test]
fn the_same_forms_are_read_from_plain_files() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    for document in DOCUMENTS {
        let source = json!({"id": "one", "path": repository.path.join(document)});
        let daemon_sources = json!({"sources": [source]});
        let sandbox = Sandbox::with_sources(&daemon_sources);
        let daemon = sandbox.start_synced();
        assert_eq!(releases(&daemon), expected(), "{document}: {:#}", daemon.get("/v1/catalogues").ok());
    }
}

#[test]
fn a_jsonl_sources_file_is_read_and_a_broken_line_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (repository, commit) = repository(&place.path().join("r"));
    let head = json!({"type": "manifest", "schema": "lcod-manifest/list@1", "id": "acme/sources"});
    let one = json!({"type": "list", "id": "one", "kind": "git", "url": repository.url(), "path": "packages.jsonl",
        "metadata": {"commit": commit}, "owns": ["lcod://acme/**"], "maxStale": "7d"});
    let sandbox = Sandbox::new();
    sandbox.write_sources_text(&format!("{head}\n{one}\n"));
    let daemon = sandbox.start_synced();
    assert_eq!(releases(&daemon), expected());
    sandbox
        .write_sources_text(&format!("{head}\n{one}\n{{\"type\":\"list\",\"id\":\"two\",\"pth\":\"x\"}}\n"));
    let problem = daemon.post("/v1/reload", &json!({}));
    assert_eq!(problem.status, 422);
    let text = String::from_utf8_lossy(&problem.body).into_owned();
    assert!(text.contains("line 3") && text.contains("pth"), "{text}");
    assert_eq!(releases(&daemon), expected(), "the sources in force stay");
}

#[test]
fn without_sources_json_the_jsonl_file_beside_it_is_read() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    let sandbox = Sandbox::new();
    let config = sandbox.path("config/resolverd");
    let head = json!({"type": "manifest", "schema": "lcod-manifest/list@1"});
    let one = json!({"type": "list", "id": "one", "path": repository.path.join("registry/array.json")});
    write(&config, &Files::from([("sources.jsonl".to_owned(), format!("{head}\n{one}\n").into_bytes())]));
    let mut command = sandbox.command();
    command.env_remove("RESOLVERD_SOURCES").args(["components", "-o", "json"]);
    let said = Said::of(&mut command);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(3));
}

#[test]
fn filters_hold_for_everything_below_a_list_and_cycles_end() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    let list = |rows: &[Value]| lines("lists/x", rows);
    let pointer = |id: &str, path: &str| json!({"type": "list", "id": id, "path": path});
    let with = |mut row: Value, field: &str, text: &str| {
        row[field] = text.into();
        row
    };
    let top = list(&[
        with(pointer("mid", "mid.jsonl"), "namespace", "acme"),
        with(pointer("tools", "registry/catalogue.json"), "version", "^9"),
        with(pointer("broken", "registry/catalogue.json"), "version", "1 || 2"),
    ]);
    let mid = list(&[
        with(pointer("rows", "registry/first.json"), "version", "1.0"),
        pointer("again", "top.jsonl"),
        pointer("self", "mid.jsonl"),
    ]);
    write(&repository.path, &Files::from([("top.jsonl".to_owned(), top), ("mid.jsonl".to_owned(), mid)]));
    let registry = repository.path.join("registry");
    assert!(registry.is_dir());
    let sandbox = Sandbox::with_sources(
        &json!({"sources": [{"id": "one", "path": repository.path.join("top.jsonl")}]}),
    );
    let daemon = sandbox.start_synced();
    assert_eq!(daemon.ids(), ["lcod://acme/pay/charge"]);
    let text = |name: &str| daemon.catalogue(name)["warnings"].to_string();
    assert!(text("rows").contains("catalogue.filtered") && text("rows").contains(": 2"), "{}", text("rows"));
    assert!(text("tools").contains(": 3"), "{}", text("tools"));
    assert_eq!(text("mid").matches("catalogue.cycle").count(), 2, "{}", text("mid"));
    assert!(daemon.catalogue("broken")["error"].to_string().contains("input.requirement"));
}

#[test]
fn lists_of_lists_are_followed_eight_deep() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    let mut files = Files::new();
    for level in 0..10 {
        let below =
            if level == 9 { "registry/first.json".to_owned() } else { format!("level{}.jsonl", level + 1) };
        let row = json!({"type": "list", "id": format!("below{level}"), "path": below});
        files.insert(format!("level{level}.jsonl"), lines("lists/x", &[row]));
    }
    write(&repository.path, &files);
    let ids = |entry: &str| {
        let path = repository.path.join(entry);
        let sandbox = Sandbox::with_sources(&json!({"sources": [{"id": "one", "path": path}]}));
        let daemon = sandbox.start_synced();
        (daemon.ids().len(), daemon.get("/v1/catalogues").ok().to_string().contains("limit.depth"))
    };
    assert_eq!(ids("level2.jsonl"), (3, false), "eight lists above the catalogue");
    assert_eq!(ids("level1.jsonl"), (0, true), "nine");
}

#[test]
fn convert_writes_every_form_and_what_it_wrote_is_read() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    let sandbox = Sandbox::new();
    for (from, to) in [
        ("registry/rows.json", "list"),
        ("registry/first.json", "array"),
        ("registry/array.json", "list"),
        ("registry/catalogue.json", "packages"),
        ("packages.jsonl", "catalogue"),
        ("catalog.json", "list"),
        ("catalog.json", "catalogues"),
        ("lists/catalogues.json", "list"),
    ] {
        let input = repository.path.join(from);
        let said = sandbox.run(&["convert", input.to_str().unwrap(), "--to", to]);
        assert_eq!(said.status, 0, "{from} {to}: {}", said.stderr);
        let converted = repository.path.join("converted");
        std::fs::write(&converted, &said.stdout).unwrap();
        let reader = Sandbox::with_sources(&json!({"sources": [{"id": "one", "path": converted}]}));
        let daemon = reader.start_synced();
        assert_eq!(releases(&daemon), expected(), "{from} {to}: {:#}", daemon.get("/v1/catalogues").ok());
    }
}

#[test]
fn convert_says_what_it_left_behind_and_what_cannot_be() {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = repository(&place.path().join("r"));
    let sandbox = Sandbox::new();
    let rows = repository.path.join("registry/first.json");
    let rows = rows.to_str().unwrap();
    let said = sandbox.run(&["convert", rows, "--to", "array", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["format"], "array");
    assert_eq!(
        answer["dropped"][0],
        json!({"entry": "header", "field": "id", "why": "the form has no place for it"})
    );
    assert!(said.stderr.contains("left behind: 7") && said.stderr.contains("more"), "{}", said.stderr);
    let directory = sandbox.path("");
    let said = sandbox.run(&["convert", rows, "--to", "array", "--write", directory.to_str().unwrap()]);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(sandbox.path("components.json")).unwrap(), answer["text"]);
    let refused = sandbox.run(&["convert", rows, "--to", "sources"]);
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("(list, array)"), "{}", refused.stderr);
    let missing = sandbox.run(&["convert", "nowhere.json", "--to", "list"]);
    assert_ne!(missing.status, 0);
    assert!(missing.stderr.contains("nowhere.json"), "{}", missing.stderr);
}
