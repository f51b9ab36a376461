//! Bundles: what is exported here is what was published, and installs there without a network, or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::estream::{Registry, sample};
use crate::harness::repository::{Files, Repository};

const WIRE: &str = "estream:estream-wire-fix@1.0.0";
const TRADING: &str = "estream:esf-trading@1.2.0";

/// A place with a daemon's configuration, and a registry that it reads.
struct World {
    sandbox: Sandbox,
    repository: Repository,
    registry: Registry,
}

impl World {
    fn new() -> World {
        let sandbox = Sandbox::new();
        let repository = Repository::create(&sandbox.path("registry"));
        let registry = sample();
        repository.commit(&registry.files);
        let source = json!({"id": "parts", "dialect": "estream", "url": repository.url()});
        sandbox.write_sources(&json!({"sources": [source]}));
        World { sandbox, repository, registry }
    }

    /// Exports to a directory of this name, and returns it with the digest that is printed.
    #[track_caller]
    fn export(&self, name: &str, components: &[&str]) -> (PathBuf, String) {
        let directory = self.sandbox.path(name);
        let mut arguments = vec!["-o", "json", "export", "--output-dir", directory.to_str().unwrap()];
        arguments.extend(components);
        let said = self.sandbox.run(&arguments);
        assert_eq!(said.status, 0, "{said:?}");
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        (directory, answer["checksum"].as_str().unwrap().to_owned())
    }
}

/// Returns every file below a directory.
fn files(root: &Path) -> Files {
    let (mut found, mut open) = (Files::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => open.push(entry),
                false => {
                    let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.insert(path, std::fs::read(entry).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn an_export_is_a_registry_of_what_was_published_byte_for_byte() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let (directory, checksum) = world.export("bundle", &["estream-wire-fix", "@acme/impact-counter@0.3.0"]);
    let found = files(&directory);
    let wanted = [
        ("index/wire-adapter/estream-wire-fix", "1.0.0", "estream-wire-fix"),
        ("index/esf-schema/esf-trading", "1.2.0", "esf-trading"),
        ("index/console-widget/@acme/impact-counter", "0.3.0", "@acme/impact-counter"),
    ];
    let mut expected = Files::new();
    for (component, version, name) in wanted {
        let mut take = |path: &str| expected.insert(path.to_owned(), world.registry.files[path].clone());
        take(&format!("{component}/metadata.json"));
        for document in ["estream-component.toml", "checksum.sha3", "SIGNATURE.ml-dsa"] {
            take(&format!("{component}/{version}/{document}"));
        }
        let archive = format!("archives/{}-{version}.tar.gz", name.trim_start_matches('@').replace('/', "-"));
        let packed = format!("packages/{name}/{version}/package.tar.gz");
        expected.insert(packed, world.registry.files[&archive].clone());
    }
    for publisher in ["publishers/acme.json", "publishers/estream.json"] {
        expected.insert(publisher.to_owned(), world.registry.files[publisher].clone());
    }
    let own: Vec<&str> =
        found.keys().map(String::as_str).filter(|path| !expected.contains_key(*path)).collect();
    assert_eq!(own, ["bundle.json", "config.json"]);
    assert!(expected.iter().all(|(path, bytes)| found.get(path) == Some(bytes)), "{:?}", found.keys());

    assert_eq!(Digest::sha256(&found["bundle.json"]).to_string(), checksum);
    let bundle: Value = serde_json::from_slice(&found["bundle.json"]).unwrap();
    assert_eq!(bundle["requested"], json!(["estream:@acme/impact-counter@0.3.0", WIRE]));
    assert_eq!(bundle["sources"][0]["id"], "parts");
    let listed: BTreeMap<String, String> = bundle["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap().into(), file["digest"].as_str().unwrap().into()))
        .collect();
    assert_eq!(listed.len() + 1, found.len());
    for (path, digest) in &listed {
        assert_eq!(*digest, Digest::sha256(&found[path]).to_string(), "{path}");
    }

    // It says nothing of where it was made and when, so that it is made again alike: by the daemon, and in process without it.
    let (again, same) = world.export("again", &["@acme/impact-counter@0.3.0", "estream-wire-fix"]);
    assert_eq!((files(&again) == found, same), (true, checksum.clone()));
    drop(daemon);
    let (alone, same) = world.export("alone", &["@acme/impact-counter@0.3.0", "estream-wire-fix"]);
    assert_eq!((files(&alone) == found, same), (true, checksum));

    // Elsewhere it is a source like any other, whose archives come from itself.
    std::fs::rename(world.sandbox.path("registry"), world.sandbox.path("gone")).unwrap();
    let other = Sandbox::with_sources(&json!({"sources": [
        {"id": "carried", "dialect": "estream", "entrypoint": {"type": "file", "path": directory.to_str().unwrap()}}
    ]}));
    let daemon = other.start_synced();
    let answer = daemon.post("/v1/materialize", &json!({"resolve": {"requests": ["estream-wire-fix"]}})).ok();
    let releases: Vec<&str> =
        answer["items"].as_array().unwrap().iter().map(|row| row["release"].as_str().unwrap()).collect();
    assert_eq!(releases, [TRADING, WIRE]);
}

#[test]
fn an_export_replaces_an_earlier_bundle_and_nothing_else() {
    let world = World::new();
    let _daemon: Daemon = world.sandbox.start_synced();
    let (directory, first) = world.export("bundle", &["esf-trading@1.1.0"]);
    let (_, second) = world.export("bundle", &["esf-trading"]);
    assert_ne!(first, second);
    let found = files(&directory);
    assert!(found.contains_key("packages/esf-trading/1.2.0/package.tar.gz"));
    assert!(!found.contains_key("packages/esf-trading/1.1.0/package.tar.gz"), "the earlier one is gone");

    let export = |place: &Path| -> Said {
        world.sandbox.run(&["export", "esf-trading", "--output-dir", place.to_str().unwrap()])
    };
    let refused = |place: &Path, named: &str| {
        let before = files(&directory);
        let said = export(place);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.contains("R011") && said.stderr.contains(named), "{said:?}");
        assert!(said.stderr.contains("nothing was changed"), "{said:?}");
        assert!(files(&directory) == before);
    };
    std::fs::write(directory.join("index/mine.txt"), "mine").unwrap();
    refused(&directory, "index/mine.txt");
    std::fs::remove_file(directory.join("index/mine.txt")).unwrap();
    let file = world.sandbox.path("file");
    std::fs::write(&file, "mine").unwrap();
    refused(&file, "no directory");
    let linked = world.sandbox.path("linked");
    std::os::unix::fs::symlink(&directory, &linked).unwrap();
    refused(&linked, "no directory");
    refused(&world.sandbox.path("no/such/parent"), "cannot write");
    let other = world.sandbox.path("other");
    std::fs::create_dir(&other).unwrap();
    assert_eq!(export(&other).status, 0, "an empty directory is free");

    // What cannot be exported leaves what is there.
    for (component, code) in [("esf-tradin", "E001"), ("esf-trading@9.9.9", "E002")] {
        let before = files(&directory);
        let said = world.sandbox.run(&["export", component, "--output-dir", directory.to_str().unwrap()]);
        assert!(said.stderr.contains(code), "{said:?}");
        assert!(files(&directory) == before);
    }
    let aside: Vec<_> = std::fs::read_dir(world.sandbox.path("."))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(".tmp"))
        .collect();
    assert!(aside.is_empty(), "{aside:?}");
    drop(world.repository);
}
