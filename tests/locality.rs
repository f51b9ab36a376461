//! Locality is inherited: a list from a Git repository at a `file:` URL may name what lies beside it and anything local.

use serde_json::json;

use crate::harness::daemon::Sandbox;
use crate::harness::lcod::{Component, all_files, array, catalogues, sources};
use crate::harness::repository::{self, Files, Repository};

/// Returns a catalogue called `name` with one component, and the component's files, below `folder`.
fn catalogue(folder: &str, name: &str) -> Files {
    let components = [Component::new(&format!("lcod://local/{name}"), "1.0.0", &[])];
    let mut files = all_files(&components);
    files.insert(format!("{folder}{name}.json"), array(&components));
    files
}

#[test]
fn a_list_in_a_local_repository_names_files_beside_it_by_url_and_by_absolute_path() {
    let sandbox = Sandbox::new();
    let (url, path) = (sandbox.path("by url"), sandbox.path("by-path"));
    repository::write(&url, &catalogue("", "url"));
    repository::write(&path, &catalogue("", "path"));
    let url = format!("file://{}/url.json", url.to_str().unwrap().replace(' ', "%20"));
    let pointers = [
        json!({ "id": "beside", "kind": "file", "path": "lists/beside.json" }),
        json!({ "id": "url", "kind": "file", "url": url }),
        json!({ "id": "path", "kind": "file", "path": path.join("path.json") }),
    ];
    let mut files = catalogue("lists/", "beside");
    files.insert("catalogues.json".to_owned(), catalogues(&pointers));
    let registry = Repository::create(&sandbox.path("registry"));
    let commit = registry.commit(&files);
    // What lies in the work tree is not what was committed, and only the latter counts.
    std::fs::write(registry.path.join("lists/beside.json"), "not this one").unwrap();
    sandbox.write_sources(&sources("mine", &registry.url(), "catalogues.json"));

    let daemon = sandbox.start_synced();
    let listed = format!("{:#}", daemon.get("/v1/catalogues").ok());
    assert_eq!(daemon.ids(), ["lcod://local/beside", "lcod://local/path", "lcod://local/url"], "{listed}");
    for (name, expected) in [("beside", json!(commit)), ("url", json!(null)), ("path", json!(null))] {
        let row = daemon.catalogue(name);
        assert_eq!((&row["state"], &row["error"]), (&json!("fresh"), &json!(null)), "{row:#}");
        let answer = daemon.resolve(&[&format!("lcod://local/{name}@1")]).ok();
        let source = &answer["components"][0]["source"];
        assert_eq!((&source["catalogue"], &source["commit"]), (&json!(name), &expected), "{answer:#}");
    }
}
