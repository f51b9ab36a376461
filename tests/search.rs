//! `search` through the real binary: the same hits over the socket and in process, offline, with trust, shadow and staleness.

use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::Sandbox;
use crate::harness::repository;

fn ids(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|hit| format!("{}@{}", hit["id"].as_str().unwrap(), hit["version"].as_str().unwrap_or("-")))
        .collect()
}

#[test]
fn the_sample_federation_is_searched_alike_with_a_daemon_and_without() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let check = |target: &str, arguments: &[&str], expected: &[&str]| {
        let found = daemon.get(&format!("/v1/components/search{target}")).ok();
        assert_eq!(ids(&found), expected, "{target}: {found:#}");
        let said = sandbox.run(&[&["search"], arguments, &["-o", "json"]].concat());
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), found, "{arguments:?}");
        found
    };
    let (slug, wrap) = ("lcod://tooling/text/slug@0.2.0", "lcod://tooling/text/wrap@0.2.0");
    check("?q=TEXT", &["TEXT"], &[slug, wrap]);
    check("?q=text+wrap", &["text", "wrap"], &[wrap]);
    check("?q=Invoice%20lines", &["Invoice lines"], &["lcod://acme/billing/invoice@1.0.0"]);
    check("?type=function", &["--kind", "function"], &["lcod://tooling/list/unique@0.1.0"]);
    check(
        "?source=community&limit=1",
        &["--source", "community", "--limit", "1"],
        &["lcod://community/demo/hello@0.1.0"],
    );
    check("?q=text&verified=true", &["text", "--verified"], &[]);
    check("?q=text&official=true", &["text", "--official"], &[]);
    let found = check("?q=slug", &["slug"], &[slug]);
    let hit = &found["items"][0];
    assert_eq!(
        (&hit["verdict"], &hit["stale"], &hit["catalogue"]),
        (&json!("pinned"), &json!(false), &json!("acme/tooling"))
    );
    let shadow = json!([{"source": "community", "catalogue": "community/std", "versions": ["1.3.0"]}]);
    assert_eq!((&hit["shadowed"], &hit["matched"]), (&shadow, &json!([{"word": "slug", "in": "name"}])));

    assert!(daemon.stop().success());
    let alone = sandbox.run(&["--offline", "search", "slug", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&alone.stdout).unwrap(), found, "{}", alone.stderr);
    let text = sandbox.run(&["--offline", "search", "slug"]).stdout;
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("NAME "), "{text}");
    let line = lines.next().unwrap();
    // No terminal: nothing is cut.
    assert!(
        line.contains("acme/acme/tooling  pinned, shadows 1")
            && line.ends_with("letters of acme's product names kept"),
        "{text}"
    );
}

#[test]
fn a_hit_of_a_source_that_has_gone_is_stale_and_its_keywords_are_still_found() {
    let sandbox = Sandbox::new();
    let row = json!([{ "id": "lcod://a/b@1.0.0", "composePath": "b/compose.yaml", "tags": ["Zebra"], "category": "Animals" }]);
    let files = repository::Files::from([
        ("catalogue.json".to_owned(), row.to_string().into_bytes()),
        ("b/compose.yaml".to_owned(), b"compose: []\n".to_vec()),
        ("b/lcp.toml".to_owned(), b"id = \"lcod://a/b@1.0.0\"\nkind = \"flow\"\n".to_vec()),
    ]);
    repository::write(&sandbox.path("registry-files"), &files);
    let entry = sandbox.path("registry-files/catalogue.json");
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        { "id": "zoo", "entrypoint": { "type": "file", "path": entry } }] }));
    let daemon = sandbox.start_synced();
    let asked = "/v1/components/search?q=zebra&tag=ZEBRA&category=animals&kind=Flow";
    let found = daemon.get(asked).ok();
    assert_eq!(
        (ids(&found), &found["items"][0]["stale"]),
        (vec!["lcod://a/b@1.0.0".to_owned()], &json!(false)),
        "{found:#}"
    );
    assert_eq!(found["items"][0]["matched"][0]["in"], "keyword");
    std::fs::remove_file(&entry).unwrap();
    daemon.sync();
    let found = daemon.get(asked).ok();
    assert_eq!((ids(&found).len(), &found["items"][0]["stale"]), (1, &json!(true)), "{found:#}");
    let text = sandbox.run(&["search", "zebra"]).stdout;
    assert!(text.contains("unpinned, stale"), "{text}");
}
