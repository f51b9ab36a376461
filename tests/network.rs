//! The network as an operator meets it, through the real binary and a real TLS server: catalogues too large to be fetched
//! whole, forges that nobody knows, tokens that are renewed, and where bytes really came from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::Sandbox;
use crate::harness::lcod::{Component, all_files, array, catalogues, lines, pointer, row};
use crate::harness::place;
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, TlsServer};

/// A commit of other people's repositories, which manifests name and nobody fetches.
const ELSEWHERE: (&str, &str) = ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");

/// Writes `config.toml`: the server's authority, then `more`.
pub(crate) fn configure(sandbox: &Sandbox, server: &TlsServer, more: &str) {
    let home = sandbox.path("config/resolverd");
    fs::create_dir_all(&home).unwrap();
    let config = format!("[https]\nca_file = {:?}\n{more}", server.ca_file().display().to_string());
    fs::write(home.join("config.toml"), config).unwrap();
}

/// Returns the repository `name` below `served`, with filters allowed.
pub(crate) fn repository(served: &Path, name: &str) -> Repository {
    let home = Repository::create(&served.join(name));
    place::git(&home.path, &["config", "uploadpack.allowFilter", "true"]);
    home
}

fn source(url: &str) -> Value {
    json!({ "sources": [{ "id": "acme", "url": url }] })
}

/// Publishes `catalogue@1` with one manifest a component over https; returns the list's URL and digest.
pub(crate) fn publish(server: &TlsServer, components: &[Component]) -> (String, Digest) {
    let mut entries = Vec::new();
    for one in components {
        let (path, manifest) = (one.file("manifest.json"), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
        server.put(&format!("/reg/{path}"), &manifest);
        let version =
            json!({ "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest) });
        entries.push(json!({ "id": one.id, "versions": [version] }));
    }
    let document = json!({ "schema": "lcod-registry/catalogue@1", "id": "all", "components": entries });
    let bytes = serde_json::to_vec(&document).unwrap();
    server.put("/reg/all.json", &bytes);
    let pointer = json!({ "id": "all", "kind": "https", "url": server.url("/reg/all.json"), "checksum": Digest::sha256(&bytes) });
    let list = catalogues(&[pointer]);
    server.put("/reg/catalogues.json", &list);
    (server.url("/reg/catalogues.json"), Digest::sha256(&list))
}

#[test]
fn a_catalogue_beyond_eager_max_is_listed_and_a_refresh_fetches_what_is_asked_for() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let components = [
        Component::new("lcod://acme/a", "1.0.0", &["lcod://acme/d@1"]),
        Component::new("lcod://acme/b", "1.0.0", &[]),
        Component::new("lcod://acme/c", "1.0.0", &[]),
        Component::new("lcod://acme/d", "1.0.0", &[]),
    ];
    sandbox.write_sources(&source(&publish(&server, &components).0));
    configure(&sandbox, &server, "[limits]\neager_max = 2\n");
    let daemon = sandbox.start_synced();
    let manifest = |one: &Component| format!("GET /reg/{}", one.file("manifest.json"));
    let fetched = || {
        let mut lines: Vec<String> =
            server.lines().into_iter().filter(|line| line.ends_with("manifest.json")).collect();
        lines.sort();
        server.forget();
        lines
    };
    assert_eq!(fetched(), [manifest(&components[0]), manifest(&components[1])]);
    assert_eq!(daemon.ids().len(), 4, "all are listed");

    let said = sandbox.run(&["info", "lcod://acme/d@1.0.0"]);
    assert!(said.status == 0 && said.stdout.contains("unfetched"), "{said:?}");
    let looked = daemon.post("/v1/lookup", &json!({"ids": ["lcod://acme/d@1.0.0"]})).ok();
    assert_eq!(looked[0]["version"], "1.0.0", "an exact lookup answers: {looked:#}");
    for asked in ["lcod://acme/d@1", "lcod://acme/a@1"] {
        let said = sandbox.run(&["resolve", asked]);
        assert!(said.status != 0 && said.stderr.contains("[R002 manifest_unfetched]"), "{asked}: {said:?}");
        assert!(
            said.stderr.contains("hint: resolverd resolve --refresh lcod://acme/d@1.0.0 fetches"),
            "it says what fetches it: {asked}: {said:?}"
        );
    }
    let said = sandbox.run(&["explain", "lcod://acme/d"]);
    assert!(said.stdout.contains("resolverd resolve --refresh lcod://acme/d@1.0.0"), "{said:?}");
    assert!(fetched().is_empty(), "nothing that reads fetches");

    let said = sandbox.run(&["resolve", "--refresh", "lcod://acme/d@1"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(fetched(), [manifest(&components[3])]);
    daemon.resolve(&["lcod://acme/a@1", "lcod://acme/d@1"]).ok();
    assert!(daemon.catalogue("all")["warnings"].to_string().contains("limits.eager_max"));
    assert!(daemon.stop().success());
}

#[test]
fn a_second_sync_of_pinned_remote_sources_opens_no_connection() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let (list, digest) = publish(&server, &[Component::new("lcod://acme/files", "1.0.0", &[])]);
    let served = sandbox.path("served");
    let home = repository(&served, "parts.git");
    server.mount("/git", GitMount::of(&served));
    let components = [Component::new("lcod://acme/forge", "1.0.0", &[])];
    let mut files = all_files(&components);
    files.insert("all.json".to_owned(), array(&components));
    let commit = home.commit(&files);
    let url = server.url("/git/parts.git");
    let listed = [pointer("all", &url, &commit, "all.json")];
    let commit = home.commit(&Files::from([("catalogues.json".to_owned(), catalogues(&listed))]));
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        { "id": "files", "priority": 1, "checksum": digest,
            "entrypoint": { "type": "https", "url": list } },
        { "id": "forge", "priority": 2,
            "entrypoint": { "type": "git", "url": url, "commit": commit, "subpath": "catalogues.json" } },
    ]}));
    configure(&sandbox, &server, "");
    let daemon = sandbox.start_synced();
    assert_eq!(
        daemon.ids(),
        ["lcod://acme/files", "lcod://acme/forge"],
        "{:#}",
        daemon.get("/v1/catalogues").ok()
    );
    assert!(server.connections() > 0 && !server.requests().is_empty(), "{:?}", server.lines());

    // Nothing that was left open may be used again, so that whatever is asked for costs a connection that is counted.
    server.hang_up();
    server.forget();
    let before = server.connections();
    for _ in 0..3 {
        let report = daemon.sync();
        assert_eq!(
            (&report["changed"], &report["documentsFetched"]),
            (&json!(false), &json!(0)),
            "{report:#}"
        );
    }
    assert_eq!((server.connections() - before, server.lines()), (0, Vec::new()));
    // The count counts: what is not pinned is asked for, by a new connection.
    sandbox.write_sources(&source(&list));
    daemon.post("/v1/reload", &json!({})).ok();
    daemon.sync();
    assert!(server.connections() > before, "{:?}", server.lines());
    assert!(daemon.stop().success());
}

#[test]
fn a_forge_that_nobody_knows_is_read_by_the_operator_s_pattern() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let served = sandbox.path("served");
    let home = repository(&served, "team/sub/parts.git");
    server.mount("/scm", GitMount::of(&served));
    let components = [Component::new("lcod://acme/one", "1.0.0", &[])];
    let mut files = all_files(&components);
    let all = lines("all", &components.iter().map(row).collect::<Vec<_>>());
    files.insert("all.jsonl".to_owned(), all);
    let commit = home.commit(&files);
    let file = |revision: &str, path: &str| server.url(&format!("/team/sub/parts/plain/{revision}/{path}"));
    let list = json!({ "type": "list", "id": "all", "url": file(&commit, "all.jsonl"),
        "metadata": { "commit": commit } });
    let listed =
        home.commit(&Files::from([("catalogues.jsonl".to_owned(), lines("acme/catalogues", &[list]))]));
    let origin = server.origin();
    let pattern = format!(
        "[[forge]]\nfile = \"{origin}/{{repository}}/plain/{{revision}}/{{path}}\"\nrepository = \"{origin}/scm/{{repository}}.git\"\n"
    );
    configure(&sandbox, &server, &pattern);
    // The commit beside the address stands in the place of its branch.
    let mut sources = source(&file("main", "catalogues.jsonl"));
    sources["sources"][0]["commit"] = json!(listed);
    sandbox.write_sources(&sources);
    let daemon = sandbox.start_synced();
    let found = daemon.resolve(&["lcod://acme/one@1"]).ok();
    let found = &found["components"][0];
    let repository = format!("{origin}/scm/team/sub/parts.git");
    assert_eq!(
        (&found["source"]["repository"], &found["source"]["commit"], &found["trust"]["verdict"]),
        (&json!(repository), &json!(commit), &json!("pinned"))
    );
    let explained = daemon.post("/v1/explain", &json!({ "id": "lcod://acme/one" })).ok();
    let places: Vec<(&Value, &Value)> =
        explained["chain"].as_array().unwrap().iter().map(|step| (&step["commit"], &step["url"])).collect();
    let url = json!(repository);
    assert_eq!(places, [(&json!(listed), &url), (&json!(commit), &url)], "{explained:#}");
    assert!(server.requests().iter().all(|one| one.path().starts_with("/scm/team/sub/parts.git/")));
    assert!(daemon.stop().success());
}

#[test]
fn explain_says_where_the_bytes_of_every_step_really_came_from() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let mirror = sandbox.path("mirror");
    let home = repository(&mirror, "o/parts.git");
    server.mount("/git", GitMount::of(&mirror));
    let components = [Component::new("lcod://acme/one", "1.0.0", &[])];
    let mut files = all_files(&components);
    files.insert("all.json".to_owned(), array(&components));
    let commit = home.commit(&files);
    let url = "https://forge.example/o/parts";
    server.put("/docs/catalogues.json", &catalogues(&[pointer("all", url, &commit, "all.json")]));
    let rule = |from: &str, to: &str| format!("[[rewrite]]\nfrom = \"{from}\"\nto = \"{to}\"\n");
    let entry = rule("https://registry.example/", &server.url("/docs/"));
    sandbox.write_sources(&source("https://registry.example/catalogues.json"));
    for (to, shown) in [
        (server.url("/git"), server.url("/git/o/parts")),
        (mirror.display().to_string(), format!("file://{}/o/parts.git", mirror.display())),
    ] {
        let _ = fs::remove_dir_all(sandbox.state());
        configure(&sandbox, &server, &format!("{entry}{}", rule("https://forge.example", &to)));
        let daemon = sandbox.start_synced();
        let found = daemon.post("/v1/explain", &json!({ "id": "lcod://acme/one" })).ok();
        let urls: Vec<&str> = [&found["source"]["url"], &found["chain"][0]["url"], &found["chain"][1]["url"]]
            .into_iter()
            .chain(found["release"]["documents"].as_array().unwrap().iter().map(|one| &one["url"]))
            .map(|url| url.as_str().unwrap_or("none"))
            .collect();
        let list = server.url("/docs/catalogues.json");
        assert_eq!(urls, [&*list, &*list, &*shown, &*shown, &*shown], "{found:#}");
        assert_eq!(found["release"]["repository"], json!(url), "what it is called does not change");
        let said = sandbox.run(&["explain", "lcod://acme/one"]);
        assert!(said.stdout.contains(&list) && said.stdout.contains(&shown), "{}", said.stdout);
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_token_that_is_renewed_in_its_file_counts_after_a_reload() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let (url, _) = publish(&server, &[Component::new("lcod://acme/a", "1.0.0", &[])]);
    let token = |text: &str| {
        fs::write(sandbox.path("token"), text).unwrap();
        fs::set_permissions(sandbox.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    token("first\n");
    let bound =
        format!("[[https.tokens]]\nurl = \"{}\"\nfile = {:?}\n", server.url("/reg"), sandbox.path("token"));
    configure(&sandbox, &server, &bound);
    sandbox.write_sources(&source(&url));
    let daemon = sandbox.start_synced();
    server.forget();
    token("second\n");
    assert_eq!(sandbox.run(&["reload"]).status, 0);
    daemon.sync();
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer second"));
    assert!(daemon.stop().success());
}
