//! The limits as an operator meets them: the README's table, and each key of `config.toml` through the real binary.

use std::collections::BTreeMap;

use resolverd::fetch::limit::Limits;
use serde_json::{Value, json};

use crate::harness::daemon::Sandbox;
use crate::harness::lcod::{Component, Federation, Form};
use crate::harness::place;

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
