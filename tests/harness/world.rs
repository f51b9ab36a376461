//! A federation of one directory that changes in rounds, and a look at what a state directory answers of it, without network.
//!
//! Round `k` publishes every component at version `0.k.0` and lets it require `lcod://contract/round@k.0.0`: a mix of two rounds
//! shows. One component is too long for a row of the index, and the catalogue lies on the shelf by itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::daemon::{Said, Sandbox};
use crate::harness::lcod::{self, Component, all_files, array};
use crate::harness::place;
use crate::harness::repository::{self, Files, Repository};
use crate::harness::tls::{GitMount, TlsServer};

/// How many components change in every round.
const COMPONENTS: usize = 12;
/// How many requirements make a component too long for a row.
const LONG: usize = 600;
/// How many rounds lie in the directory.
const ROUNDS_KEPT: u64 = 8;
/// How long the catalogue is, so that it lies on the shelf by itself.
const LARGE_BYTES: usize = 1_200_000;

/// The federation, with a sandbox that reads it.
#[derive(Debug)]
pub(crate) struct World {
    /// Where it is read to.
    pub(crate) sandbox: Sandbox,
    /// Where it is read from, if not from a directory.
    remote: Option<Remote>,
}

/// Two real repositories behind a real server: a list of catalogues, and what it pins.
#[derive(Debug)]
struct Remote {
    server: TlsServer,
    registry: Repository,
    components: Repository,
    round: AtomicU64,
}

impl Remote {
    fn publish(&self, sandbox: &Sandbox, round: u64) {
        if self.round.swap(round, Ordering::Relaxed) == round {
            return;
        }
        let all = components(round);
        let mut files = all_files(&all);
        files.insert("catalogue.json".to_owned(), array(&all));
        let commit = self.components.commit(&files);
        let url = self.server.url("/git/components.git");
        let pointer = lcod::pointer("changing", &url, &commit, "catalogue.json");
        self.registry.commit(&Files::from([("catalogues.json".to_owned(), lcod::catalogues(&[pointer]))]));
        for (name, repository) in [("components.git", &self.components), ("registry.git", &self.registry)] {
            let served = sandbox.path("served").join(name);
            if !served.exists() {
                std::fs::create_dir_all(served.parent().unwrap()).unwrap();
                repository.bare_clone(&served);
                place::git(&served, &["config", "uploadpack.allowFilter", "true"]);
            }
            let to = served.to_str().unwrap();
            place::git(&repository.path, &["push", "--quiet", "--force", to, "refs/*:refs/*"]);
        }
    }
}

/// What a state directory answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// A whole round.
    Round(u64),
    /// Nothing, and why.
    Refused(String),
}

impl World {
    /// Makes a federation at round 1 that nobody has read.
    pub(crate) fn new() -> World {
        let world = World { sandbox: Sandbox::new(), remote: None };
        world.sandbox.write_sources(&json!({ "sources": [{
            "id": "changing", "priority": 10,
            "entrypoint": { "type": "file", "path": world.sandbox.path("published/catalogue.json") },
        }]}));
        world.publish(1);
        world
    }

    /// Makes a federation at round 1 that is read from repositories behind a server, so that what was read of them is kept by Git's ids.
    pub(crate) fn in_git() -> World {
        let (sandbox, server) = (Sandbox::new(), TlsServer::start());
        let create = |name: &str| Repository::create(&sandbox.path(name));
        let (registry, components) = (create("registry"), create("components"));
        server.mount("/git", GitMount::of(&sandbox.path("served")));
        let config =
            format!("[https]\nca_file = {:?}\nproxy = \"none\"\n", server.ca_file().display().to_string());
        let files = Files::from([("config/resolverd/config.toml".to_owned(), config.into_bytes())]);
        repository::write(&sandbox.path(""), &files);
        let url = server.url("/git/registry.git");
        sandbox.write_sources(&lcod::sources("changing", &url, "catalogues.json"));
        let remote = Remote { server, registry, components, round: AtomicU64::new(0) };
        let world = World { sandbox, remote: Some(remote) };
        world.publish(1);
        world
    }

    /// Makes a federation of which rounds 1 to `rounds` were synced.
    pub(crate) fn synced(rounds: u64) -> World {
        let world = World::new();
        for round in 1..=rounds {
            world.publish(round);
            sync(&world.sandbox);
        }
        world
    }

    /// Publishes a round.
    pub(crate) fn publish(&self, round: u64) {
        if let Some(remote) = &self.remote {
            return remote.publish(&self.sandbox, round);
        }
        // A daemon may read at any time, since it watches: a round has files of its own, which never change, and the catalogue that
        // names them comes into sight whole. What is read is never a mix of two rounds.
        let published = self.sandbox.path("published");
        let of = |round: u64| format!("rounds/{round}");
        let mut all = components(round);
        all.iter_mut().for_each(|one| one.directory = format!("{}/{}", of(round), one.directory));
        if !published.join(of(round)).exists() {
            repository::write(&published, &all_files(&all));
        }
        let mut catalogue = array(&all);
        // Space behind JSON says nothing, and this is much of it.
        catalogue.resize(LARGE_BYTES, b' ');
        std::fs::write(published.join("catalogue.new"), catalogue).unwrap();
        std::fs::rename(published.join("catalogue.new"), published.join("catalogue.json")).unwrap();
        // Thousands of rounds are too many to be kept, and nobody reads one so old.
        let _ = std::fs::remove_dir_all(published.join(of(round.wrapping_sub(ROUNDS_KEPT))));
    }

    /// Returns another sandbox that reads the same federation, with a copy of `state` as its state directory.
    pub(crate) fn beside(&self, state: &Path) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write_sources_text(&std::fs::read_to_string(self.sandbox.sources()).unwrap());
        for (from, to) in [(state, sandbox.state()), (&self.sandbox.path("config"), sandbox.path("config"))] {
            if from.exists() {
                copy(from, &to);
            }
        }
        sandbox
    }

    /// Returns the server behind which the repositories lie.
    pub(crate) fn server(&self) -> &TlsServer {
        &self.remote.as_ref().unwrap().server
    }

    /// Returns the list of catalogues of the round that is published in Git.
    pub(crate) fn list(&self) -> Vec<u8> {
        std::fs::read(self.remote.as_ref().unwrap().registry.path.join("catalogues.json")).unwrap()
    }

    /// Puts a policy in force that lets everything in, so that there is an audit log and a ledger of what was seen.
    pub(crate) fn govern(&self) {
        let directory = self.sandbox.path("config/resolverd");
        std::fs::create_dir_all(&directory).unwrap();
        let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nrequire_pin = false\n[[namespaces]]\nmatch = \"**\"\nsources = [\"changing\"]\nrequire = \"pin\"\nmode = \"warn\"\nimmutable = true\n";
        std::fs::write(directory.join("trust.toml"), policy).unwrap();
        for (path, mode) in
            [("config", 0o755), ("config/resolverd", 0o755), ("config/resolverd/trust.toml", 0o644)]
        {
            std::fs::set_permissions(self.sandbox.path(path), Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Returns the components of a round.
pub(crate) fn components(round: u64) -> Vec<Component> {
    let version = format!("0.{round}.0");
    let requires = format!("lcod://contract/round@{round}.0.0");
    let long: Vec<String> =
        (0..LONG).map(|n| format!("lcod://contract/one-of-very-many-{n:03}@{round}.0.0")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let small = |n| Component::new(&format!("lcod://crash/part{n:02}"), &version, &[&requires]);
    let mut all: Vec<Component> = (0..COMPONENTS).map(small).collect();
    all.push(Component::new("lcod://crash/x-long", &version, &long));
    all
}

/// Syncs in process; it must succeed.
pub(crate) fn sync(sandbox: &Sandbox) {
    let said = sandbox.run(&["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
}

/// Returns what a state directory answers without network, after comparing every id with the model. A process that ends in
/// any other way than with an answer or a named error fails the case.
pub(crate) fn served(sandbox: &Sandbox) -> Served {
    let ids: Vec<String> = components(0).into_iter().map(|one| one.id).collect();
    let mut arguments = vec!["resolve", "--offline", "-o", "json"];
    arguments.extend(ids.iter().map(String::as_str));
    let said = sandbox.run(&arguments);
    if said.status != 0 {
        return Served::Refused(named(&said));
    }
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    Served::Round(round_of(&answer))
}

/// Returns the round of a resolution of every id.
pub(crate) fn round_of(answer: &Value) -> u64 {
    let chosen = answer["components"].as_array().unwrap();
    let round: u64 = chosen[0]["version"].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap();
    let expected = components(round);
    assert_eq!(chosen.len(), expected.len(), "every id is served, and no other: {answer:#}");
    for expected in expected {
        let found = chosen.iter().find(|one| one["id"] == expected.id.as_str()).unwrap();
        assert_eq!(found["version"], expected.version.as_str(), "{}: a mix of rounds", expected.id);
        assert_eq!(found["dependencies"], json!(expected.requires), "{}: a mix of rounds", expected.id);
    }
    round
}

/// Returns what a verb that failed said; it must have named an error.
pub(crate) fn named(said: &Said) -> String {
    assert!((1..101).contains(&said.status), "no orderly end: {said:?}");
    assert!(
        said.stderr.contains("error: ") && !said.stderr.contains("panicked at"),
        "no named error: {said:?}"
    );
    said.stderr.clone()
}

/// Copies a directory with the modes of everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, there) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&path, &there);
        } else {
            std::fs::copy(&path, &there).unwrap();
        }
    }
    let mode = std::fs::metadata(from).unwrap().permissions().mode();
    std::fs::set_permissions(to, Permissions::from_mode(mode)).unwrap();
}
