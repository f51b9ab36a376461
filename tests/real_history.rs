//! What the published history of the LCOD federation really holds, each as one case in a federation that stays usable.
//!
//! The names of the cases are the specification: what is refused, with which reason, and that the neighbours keep answering.

use std::path::PathBuf;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository};

/// The reason that each case has to give. Programs read these words.
const COMMIT_MISSING: &str = "git.commit_missing";
const DIGEST_MISMATCH: &str = "trust.digest_mismatch";
const REPOSITORY_MISSING: &str = "git.repository_missing";
const FILE_MISSING: &str = "file_missing";
const VERSION_MUTATED: &str = "trust.version_mutated";
const PATH: &str = "input.path";
const DESCRIPTOR_ID: &str = "descriptor.id_mismatch";
const STATEMENT_MISMATCH: &str = "trust.statement_mismatch";

/// A catalogue that is whole, beside whatever a case does to the other one.
struct World {
    directory: TempDir,
    components: Repository,
    registry: Repository,
    good: Vec<Component>,
    good_commit: String,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let good = vec![
            Component::new("lcod://good/array/append", "0.1.0", &["lcod://contract/core/array/append@1"]),
            Component::new("lcod://good/array/pluck", "0.1.0", &["lcod://good/array/append@0.1.0"]),
        ];
        let home = Repository::create(&directory.path().join("good"));
        let good_commit = home.commit(&published(&good));
        let components = Repository::create(&directory.path().join("components"));
        let registry = Repository::create(&directory.path().join("registry"));
        World { directory, components, registry, good, good_commit }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Publishes a registry whose second catalogue is `pointer`.
    fn list(&self, pointer: Value) {
        let good = format!("file://{}", self.path("good").display());
        let good = lcod::pointer("good/tools", &good, &self.good_commit, CATALOGUE);
        let list = lcod::catalogues(&[pointer, good]);
        self.registry.commit(&Files::from([("catalogues.json".to_owned(), list)]));
    }

    /// Publishes a registry whose second catalogue is the array at `commit`.
    fn list_array(&self, commit: &str) {
        self.list(lcod::pointer("other/tools", &self.components.url(), commit, CATALOGUE));
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::with_sources(&lcod::sources("lcod-default", &self.registry.url(), "catalogues.json"))
    }

    /// Every id of the whole catalogue answers, from the commit that its pointer pins.
    fn good_answers(&self, daemon: &Daemon) {
        for one in &self.good {
            let chosen = daemon.resolve(&[&one.full()]).chosen(&one.id);
            assert_eq!(chosen["source"]["commit"], self.good_commit.as_str(), "{chosen:#}");
            assert_eq!(chosen["trust"]["verdict"], "pinned", "{chosen:#}");
        }
        assert_eq!(daemon.catalogue("good/tools")["state"], "fresh");
    }
}

const CATALOGUE: &str = "registry/components.std.json";

/// Returns the files of components with their array catalogue.
fn published(components: &[Component]) -> Files {
    let mut files = lcod::all_files(components);
    files.insert(CATALOGUE.to_owned(), lcod::array(components));
    files
}

fn two() -> Vec<Component> {
    vec![
        Component::new("lcod://other/text/upper", "0.1.0", &[]),
        Component::new("lcod://other/text/lower", "0.1.0", &["lcod://other/text/upper@0.1.0"]),
    ]
}

/// The catalogue has never been read: it is unread with this reason, its ids are unknown, the neighbours answer.
fn check_refused_catalogue(world: &World, reason: &str) {
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    let row = daemon.catalogue("other/tools");
    assert_eq!(
        (row["state"].as_str(), row["error"]["reason"].as_str()),
        (Some("unread"), Some(reason)),
        "{row:#}"
    );
    for one in two() {
        let answer = daemon.resolve(&[&one.full()]);
        assert!([404, 503].contains(&answer.status), "{answer}");
    }
    world.good_answers(&daemon);
}

/// The catalogue was read once and is bad now: its last good entries answer, it is stale with this reason.
fn check_stale_catalogue(world: &World, bad: Value, reason: &str) {
    let commit = world.components.commit(&published(&two()));
    world.list_array(&commit);
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    let before: Vec<Value> =
        two().iter().map(|one| daemon.resolve(&[&one.full()]).ok()["components"].clone()).collect();
    world.list(bad);
    daemon.sync();
    let row = daemon.catalogue("other/tools");
    assert_eq!(
        (row["state"].as_str(), row["error"]["reason"].as_str()),
        (Some("stale"), Some(reason)),
        "{row:#}"
    );
    for (one, before) in two().iter().zip(before) {
        let after = daemon.resolve(&[&one.full()]).ok();
        assert_eq!(after["components"], before, "the last good copy answers");
        assert_eq!(after["stale"], json!(["lcod-default"]), "{after:#}");
    }
    world.good_answers(&daemon);
}

#[test]
fn pin_that_does_not_exist() {
    let world = World::new();
    let commit = world.components.commit(&published(&two()));
    // As in the real history: only the first seven digits are those of a commit.
    let invented = format!("{}{}", &commit[..7], "0".repeat(33));
    let bad = lcod::pointer("other/tools", &world.components.url(), &invented, CATALOGUE);
    world.list(bad.clone());
    check_refused_catalogue(&world, COMMIT_MISSING);
    check_stale_catalogue(&world, bad, COMMIT_MISSING);
}

#[test]
fn stale_checksum() {
    let world = World::new();
    let older = lcod::array(&two()[..1]);
    let commit = world.components.commit(&published(&two()));
    let mut bad = lcod::pointer("other/tools", &world.components.url(), &commit, CATALOGUE);
    bad["checksum"] = Digest::sha256(&older).to_string().into();
    world.list(bad.clone());
    check_refused_catalogue(&world, DIGEST_MISMATCH);
    check_stale_catalogue(&world, bad, DIGEST_MISMATCH);
}

#[test]
fn unreachable_repository() {
    let world = World::new();
    let nowhere = format!("file://{}", world.path("nowhere").display());
    let bad = lcod::pointer("other/tools", &nowhere, &"1".repeat(40), CATALOGUE);
    world.list(bad.clone());
    check_refused_catalogue(&world, REPOSITORY_MISSING);
    check_stale_catalogue(&world, bad, REPOSITORY_MISSING);
}

/// One release is refused with this reason, its neighbour in the same catalogue answers.
fn check_refused_release(
    world: &World,
    commit: &str,
    refused: &Component,
    answers: &Component,
    reason: &str,
) {
    world.list_array(commit);
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    let problem = daemon.resolve(&[&refused.full()]);
    assert!((400..600).contains(&problem.status), "{problem}");
    assert_eq!(problem.reason(), reason, "{problem}");
    let row = daemon.catalogue("other/tools");
    assert_eq!((row["state"].as_str(), row["refused"].as_u64()), (Some("fresh"), Some(1)), "{row:#}");
    daemon.resolve(&[&answers.full()]).ok();
    world.good_answers(&daemon);
}

#[test]
fn entry_without_file() {
    for name in ["compose.yaml", "lcp.toml"] {
        let world = World::new();
        let [whole, bare] = two().try_into().unwrap();
        let mut files = published(&two());
        files.remove(&bare.file(name));
        let commit = world.components.commit(&files);
        check_refused_release(&world, &commit, &bare, &whole, FILE_MISSING);
    }
}

/// As published: such an entry is used under the id of its catalogue, and the answer says what its descriptor claims.
#[test]
fn descriptor_id_differs() {
    let world = World::new();
    let [whole, liar] = two().try_into().unwrap();
    let mut files = published(&two());
    let other = Component::new("lcod://other/text/capital", "0.1.0", &[]);
    files.insert(liar.file("lcp.toml"), other.descriptor());
    world.list_array(&world.components.commit(&files));
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    assert!(warnings(&daemon, &liar.full()).contains(&DESCRIPTOR_ID.to_owned()));
    assert!(!warnings(&daemon, &whole.full()).contains(&DESCRIPTOR_ID.to_owned()));
    assert_eq!(daemon.resolve(&[&other.full()]).status, 404, "what a descriptor claims is not an id");
    world.good_answers(&daemon);
}

#[test]
fn manifest_id_differs() {
    let world = World::new();
    let [whole, liar] = two().try_into().unwrap();
    let mut files = lcod::all_files(&two());
    let url = world.components.url();
    let written = world.components.commit(&files);
    let mut rows = Vec::new();
    for (one, claims) in [(&whole, &whole), (&liar, &whole)] {
        let (path, manifest) = (one.file("manifest.json"), claims.manifest(&url, &written));
        let version =
            json!({ "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest) });
        rows.push(json!({ "id": one.id, "versions": [version] }));
        files.insert(path, manifest);
    }
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "other/tools", "components": rows });
    files.insert(CATALOGUE.to_owned(), catalogue.to_string().into_bytes());
    let commit = world.components.commit(&files);
    check_refused_release(&world, &commit, &liar, &whole, STATEMENT_MISMATCH);
}

/// Returns the reasons of the warnings of an answer.
fn warnings(daemon: &Daemon, full: &str) -> Vec<String> {
    let answer = daemon.resolve(&[full]).ok();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().filter_map(|warning| Some(warning["reason"].as_str()?.to_owned())).collect()
}

#[test]
fn changed_bytes_under_one_id() {
    let world = World::new();
    let [same, changed] = two().try_into().unwrap();
    let mut files = published(&two());
    world.list_array(&world.components.commit(&files));
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    let reasons = |full: &str| warnings(&daemon, full);
    assert!(!reasons(&changed.full()).contains(&VERSION_MUTATED.to_owned()));
    files.insert(changed.file("compose.yaml"), b"# other bytes, same version\ncompose: []\n".to_vec());
    let commit = world.components.commit(&files);
    world.list_array(&commit);
    daemon.sync();
    assert!(reasons(&changed.full()).contains(&VERSION_MUTATED.to_owned()), "{:?}", reasons(&changed.full()));
    assert!(!reasons(&same.full()).contains(&VERSION_MUTATED.to_owned()), "{:?}", reasons(&same.full()));
    for one in [&changed, &same] {
        let chosen = daemon.resolve(&[&changed.full()]).chosen(&one.id);
        assert_eq!(chosen["source"]["commit"], commit.as_str(), "the new pin is what is served: {chosen:#}");
    }
    world.good_answers(&daemon);
}

#[test]
fn path_that_leaves_its_root() {
    let world = World::new();
    let [inside, outside] = two().try_into().unwrap();
    let mut files = published(&two());
    let rows = json!([
        { "id": inside.full(), "composePath": inside.file("compose.yaml") },
        { "id": outside.full(), "composePath": format!("../components/{}", outside.file("compose.yaml")) },
    ]);
    files.insert(CATALOGUE.to_owned(), rows.to_string().into_bytes());
    world.list_array(&world.components.commit(&files));
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    let row = daemon.catalogue("other/tools");
    assert_eq!((row["state"].as_str(), row["skipped"].as_u64()), (Some("fresh"), Some(1)), "{row:#}");
    assert_eq!(row["skippedEntries"][0]["error"]["reason"], PATH, "{row:#}");
    assert_eq!(daemon.resolve(&[&outside.full()]).status, 404);
    daemon.resolve(&[&inside.full()]).ok();
    world.good_answers(&daemon);
}

#[test]
fn origin_commit_local() {
    let world = World::new();
    let mut files = lcod::all_files(&two());
    let rows: Vec<Value> = two()
        .iter()
        .map(|one| {
            let mut row = lcod::row(one);
            row["origin"] = json!({ "source_repo": world.components.url(), "commit": "local" });
            row
        })
        .collect();
    files.insert(CATALOGUE.to_owned(), lcod::lines("other/tools", &rows));
    let commit = world.components.commit(&files);
    world.list_array(&commit);
    let sandbox = world.sandbox();
    let daemon = sandbox.start_synced();
    for one in two() {
        let chosen = daemon.resolve(&[&one.full()]).chosen(&one.id);
        assert_eq!(
            chosen["source"]["commit"],
            commit.as_str(),
            "local means the pointer's commit: {chosen:#}"
        );
        assert_eq!(chosen["trust"]["verdict"], "pinned", "{chosen:#}");
    }
    world.good_answers(&daemon);
}

/// The sample of seed 001, section 2.1, byte for byte: a raw file URL of kind git, and a checksum that is only sketched.
const SEED_LIST: &str = r#"{
  "schema": "lcod-registry/catalogues@1",
  "catalogues": [
    {
      "id": "tooling/std",
      "description": "Standard tooling components maintained by the LCOD team",
      "url": "https://raw.githubusercontent.com/lcod-team/lcod-components/main/registry/components.std.json",
      "kind": "git",
      "commit": "4a569e82930c784d2b4f2a40a39e85daea774a80",
      "publicKey": "keys/tooling/lcod-team.pem",
      "priority": 50
    },
    {
      "id": "acme/payments",
      "description": "Acme Corp payment building blocks",
      "url": "https://git.acme.com/platform/payments/registry/components.json",
      "kind": "https",
      "checksum": "sha256-…",
      "priority": 90
    }
  ]
}
"#;

#[test]
fn the_seeds_own_list_is_read_and_its_repository_cannot_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Repository::create(&directory.path().join("registry"));
    registry.commit(&Files::from([("catalogues.json".to_owned(), SEED_LIST.as_bytes().to_vec())]));
    let sandbox = Sandbox::with_sources(&lcod::sources("lcod-default", &registry.url(), "catalogues.json"));
    let daemon = sandbox.start_synced();
    let row = daemon.catalogue("tooling/std");
    let location = "https://github.com/lcod-team/lcod-components at 4a569e82930c784d2b4f2a40a39e85daea774a80: registry/components.std.json";
    assert_eq!(
        (row["state"].as_str(), row["location"].as_str()),
        (Some("unread"), Some(location)),
        "{row:#}"
    );
    assert_eq!(row["signature"], "unchecked", "{row:#}");
    assert!(row["error"]["reason"].as_str().is_some_and(|reason| reason.starts_with("net.")), "{row:#}");
    let list = daemon.catalogue("lcod-default");
    assert_eq!((list["state"].as_str(), list["skipped"].as_u64()), (Some("fresh"), Some(1)), "{list:#}");
    let skipped = &list["skippedEntries"][0];
    assert_eq!(skipped["entry"], "acme/payments");
    assert_eq!(skipped["error"]["reason"], "input.digest");
    assert_eq!(skipped["error"]["field"], "catalogues[1].checksum");
    assert_eq!(skipped["error"]["position"], json!({ "line": 18, "column": 19 }));
}
