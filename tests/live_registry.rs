//! The LCOD registry in the shape in which it is published today, at the URLs under which it is published, fetched from a
//! mirror: `rewrite` changes where bytes come from and nothing else.

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, all_files, lines, published, row};
use crate::harness::place;
use crate::harness::repository::Repository;
use crate::harness::tls::{GitMount, TlsServer};

/// Where the registry and the components are published.
const RAW: &str = "https://raw.githubusercontent.com/lcod-team";
const REPOSITORY: &str = "https://github.com/lcod-team/lcod-components";
const CATALOGUE: &str = "registry/components.std.jsonl";

/// A mirror of both, and what it serves.
struct Mirror {
    server: TlsServer,
    commit: String,
    components: Vec<Component>,
}

impl Mirror {
    /// Builds the repository of components and serves it, its catalogue and the registry's list.
    fn build(sandbox: &Sandbox, components: Vec<Component>) -> Mirror {
        let home = Repository::create(&sandbox.path("mirror/lcod-components"));
        place::git(&home.path, &["config", "uploadpack.allowFilter", "true"]);
        let mut files = all_files(&components);
        let rows: Vec<Value> = components.iter().map(row).collect();
        let catalogue = lines("lcod-components/std", &rows);
        files.insert(CATALOGUE.to_owned(), catalogue.clone());
        let commit = home.commit(&files);
        let pins = json!({
            "sourceRepo": REPOSITORY,
            "manifestPath": CATALOGUE,
            "commit": commit,
            "checksum": Digest::sha256(&catalogue).to_string().replace(":", "-"),
        });
        let url = format!("{RAW}/lcod-components/{commit}/{CATALOGUE}");
        let list = json!({ "type": "list", "id": "tooling/std", "url": url, "metadata": pins });
        let server = TlsServer::start();
        server.put(&format!("/raw/lcod-components/{commit}/{CATALOGUE}"), &catalogue);
        server.put("/raw/lcod-registry/main/catalogues.jsonl", &lines("lcod-registry/catalogues", &[list]));
        server.mount("/git", GitMount::of(&sandbox.path("mirror")));
        Mirror { server, commit, components }
    }

    /// Writes what a site would write: the published source, and the rules that lead to its mirror.
    fn configure(&self, sandbox: &Sandbox) {
        let origin = self.server.origin();
        let rule = |from: &str, to: &str| format!("[[rewrite]]\nfrom = \"{from}\"\nto = \"{origin}{to}\"\n");
        let config = format!(
            "[https]\nca_file = {:?}\n{}{}",
            self.server.ca_file().display().to_string(),
            rule(&format!("{RAW}/"), "/raw/"),
            rule("https://github.com/lcod-team/", "/git/"),
        );
        let home = sandbox.path("config/resolverd");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("config.toml"), config).unwrap();
        let url = format!("{RAW}/lcod-registry/main/catalogues.jsonl");
        sandbox.write_sources(&json!({ "sources": [{ "id": "lcod", "url": url }] }));
    }
}

/// Compares a release with what was published.
fn check(daemon: &Daemon, mirror: &Mirror, one: &Component) {
    let found = daemon.resolve(&[&one.full()]).chosen(&one.id);
    let source = json!({
        "id": "lcod", "catalogue": "tooling/std", "repository": REPOSITORY, "commit": mirror.commit, "path": one.directory,
    });
    assert_eq!(found["source"], source, "{}", one.id);
    assert_eq!(found["trust"]["verdict"], "pinned", "{found:#}");
    let digests: Vec<(String, String)> = found["integrity"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap().to_owned(), file["digest"].as_str().unwrap().to_owned()))
        .collect();
    let files = one.files();
    let expected: Vec<(String, String)> = ["compose.yaml", "lcp.toml"]
        .map(|name| (one.file(name), Digest::sha256(&files[&one.file(name)]).to_string()))
        .to_vec();
    let mut digests = digests;
    digests.sort();
    assert_eq!(digests, expected, "{}", one.id);
}

#[test]
fn the_published_registry_resolves_through_a_mirror() {
    let Some(components) = published() else { return };
    let sandbox = Sandbox::new();
    let mirror = Mirror::build(&sandbox, components);
    mirror.configure(&sandbox);
    let daemon = sandbox.start_synced();
    let mut ids: Vec<String> = mirror.components.iter().map(|one| one.id.clone()).collect();
    ids.sort();
    assert_eq!(daemon.ids(), ids);
    for one in &mirror.components {
        check(&daemon, &mirror, one);
    }

    let one = &mirror.components[0];
    let explained = daemon.post("/v1/explain", &json!({ "id": one.full() })).ok().to_string();
    assert!(
        explained.contains(&mirror.server.origin()),
        "it says where the bytes really came from: {explained}"
    );

    // What is pinned and here is not asked for again: one conditional request for the list is all.
    mirror.server.forget();
    let report = daemon.sync();
    assert_eq!((&report["changed"], &report["bytesFetched"]), (&json!(false), &json!(0)), "{report:#}");
    assert_eq!(mirror.server.lines(), ["GET /raw/lcod-registry/main/catalogues.jsonl"]);

    drop(mirror.server);
    assert!(daemon.stop().success());
}
