//! Seven sources, one of each kind in which the world publishes, overlapping on purpose: what they say together equals a
//! table written by hand, and a fault of one changes what must change and nothing else.
//!
//! Source `k` lists `lcod://own/k`, and `lcod://shared/j` for every `j` up to `k`, all at version `k.0.0`. So `shared/j`
//! belongs to source `j` and is shadowed by the sources behind it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::dump::{check, everything};
use crate::harness::lcod::{Component, all_files, array, catalogues, lines, pointer, row};
use crate::harness::place;
use crate::harness::repository::{Files, Repository, write};
use crate::harness::tls::{GitMount, Logged, Route, TlsServer};

/// Every component: its owner, its version, how far it is vouched for, and who lists it too.
const TABLE: [(&str, &str, &str, &str, &str); 14] = [
    ("lcod://own/1", "file", "1.0.0", "pinned", ""),
    ("lcod://own/2", "git-file", "2.0.0", "pinned", ""),
    ("lcod://own/3", "git-https", "3.0.0", "pinned", ""),
    ("lcod://own/4", "https", "4.0.0", "pinned", ""),
    ("lcod://own/5", "array", "5.0.0", "pinned", ""),
    ("lcod://own/6", "lists", "6.0.0", "pinned", ""),
    ("lcod://own/7", "packages", "7.0.0", "pinned", ""),
    ("lcod://shared/1", "file", "1.0.0", "pinned", "git-file git-https https array lists packages"),
    ("lcod://shared/2", "git-file", "2.0.0", "pinned", "git-https https array lists packages"),
    ("lcod://shared/3", "git-https", "3.0.0", "pinned", "https array lists packages"),
    ("lcod://shared/4", "https", "4.0.0", "pinned", "array lists packages"),
    ("lcod://shared/5", "array", "5.0.0", "pinned", "lists packages"),
    ("lcod://shared/6", "lists", "6.0.0", "pinned", "packages"),
    ("lcod://shared/7", "packages", "7.0.0", "pinned", ""),
];

/// The sources in their order.
const SOURCES: [&str; 7] = ["file", "git-file", "git-https", "https", "array", "lists", "packages"];

/// What can happen to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody answers.
    Unreachable,
    /// Somebody answers, and never comes to an end.
    Slow,
    /// The entry document is a page for people.
    Wrong,
    /// The entry document is that of yesterday.
    RolledBack,
    /// The entry document ends in the middle.
    Broken,
    /// The entry document has no bytes.
    Empty,
    /// The entry document is not there any more.
    Moved,
}

const FAULTS: [Fault; 7] = [
    Fault::Unreachable,
    Fault::Slow,
    Fault::Wrong,
    Fault::RolledBack,
    Fault::Broken,
    Fault::Empty,
    Fault::Moved,
];

/// A federation that can be published, disturbed and repaired.
struct World {
    sandbox: Sandbox,
    server: TlsServer,
    /// The entry documents of the sources that are served as documents.
    served: RefCell<BTreeMap<String, Vec<u8>>>,
}

/// The components that source `k` publishes, counted from 1.
fn listed(k: usize) -> Vec<Component> {
    let version = format!("{k}.0.0");
    let shared = (1..=k).map(|j| format!("lcod://shared/{j}"));
    shared.chain([format!("lcod://own/{k}")]).map(|id| Component::new(&id, &version, &[])).collect()
}

/// Returns `catalogue@1` of `components` whose manifests lie beside it, and the files of those manifests.
fn catalogue(components: &[Component], repository: &str, commit: &str, origin: &Value) -> (Vec<u8>, Files) {
    let mut manifests = Files::new();
    let mut entries = Vec::new();
    for one in components {
        let (path, manifest) = (one.file("manifest.json"), one.manifest(repository, commit));
        let version =
            json!({ "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest) });
        entries.push(json!({ "id": one.id, "versions": [version] }));
        manifests.insert(path, manifest);
    }
    let mut document = json!({ "schema": "lcod-registry/catalogue@1", "id": "all", "components": entries });
    if !origin.is_null() {
        document["origin"] = origin.clone();
    }
    (serde_json::to_vec_pretty(&document).unwrap(), manifests)
}

/// A commit of other people's repositories, which manifests name and nobody fetches.
const ELSEWHERE: (&str, &str) = ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");

impl World {
    /// Publishes all seven.
    fn build() -> World {
        let sandbox = Sandbox::new();
        let served = sandbox.path("served");
        std::fs::create_dir_all(&served).unwrap();
        let server = TlsServer::start();
        server.mount("/git", GitMount::of(&served));
        let world = World { sandbox, server, served: RefCell::default() };
        world.publish_file();
        world.publish_git_file();
        world.publish_git_https();
        world.publish_https();
        world.publish_array();
        world.publish_lists();
        world.publish_packages();
        let home = world.sandbox.path("config/resolverd");
        std::fs::create_dir_all(&home).unwrap();
        let config = format!(
            "[https]\nca_file = {:?}\n[limits]\nstall_s = 1\ntries = 1\n",
            world.server.ca_file().display().to_string()
        );
        std::fs::write(home.join("config.toml"), config).unwrap();
        world.sandbox.write_sources(&world.sources());
        world
    }

    fn sources(&self) -> Value {
        let git =
            |url: String, path: &str| json!({ "type": "git", "url": url, "ref": "main", "subpath": path });
        let entry = |name: &str| match name {
            "file" => json!({ "type": "file", "path": "file/catalogues.json" }),
            "git-file" => git(self.local("git-file").url(), "catalogues.jsonl"),
            "git-https" => git(format!("{}/git/git-https", self.server.origin()), "catalogues.json"),
            "array" => git(self.local("array").url(), "components.json"),
            "packages" => git(self.local("packages").url(), "packages.jsonl"),
            static_name => json!({ "type": "https", "url": self.url(&format!("{static_name}/entry.json")) }),
        };
        let source = |(place, name): (usize, &&str)| json!({ "id": name, "priority": 10 * (place + 1), "entrypoint": entry(name) });
        let sources: Vec<Value> = SOURCES.iter().enumerate().map(source).collect();
        json!({ "schema": "lcod-resolver/sources@1", "sources": sources })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.server.origin())
    }

    /// Returns the repository of a source: beside the sandbox, or among those that are served.
    fn local(&self, name: &str) -> Repository {
        let place = if matches!(name, "git-https" | "lists") { "served/" } else { "" };
        Repository { path: self.sandbox.path(&format!("{place}{name}")) }
    }

    fn repository(&self, name: &str) -> Repository {
        let repository = Repository::create(&self.local(name).path);
        place::git(&repository.path, &["config", "uploadpack.allowFilter", "true"]);
        repository
    }

    fn publish_file(&self) {
        let (bytes, mut files) = catalogue(&listed(1), ELSEWHERE.0, ELSEWHERE.1, &Value::Null);
        let pointer =
            json!({ "id": "all", "kind": "file", "url": "all.json", "checksum": Digest::sha256(&bytes) });
        files.insert("all.json".to_owned(), bytes);
        files.insert("catalogues.json".to_owned(), catalogues(&[pointer]));
        write(&self.sandbox.path("file"), &files);
    }

    fn publish_git_file(&self) {
        let home = self.repository("git-file");
        let mut files = all_files(&listed(2));
        let rows: Vec<Value> = listed(2).iter().map(row).collect();
        files.insert("all.jsonl".to_owned(), lines("all", &rows));
        let commit = home.commit(&files);
        let pins = json!({ "manifestPath": "all.jsonl", "commit": commit });
        let list = json!({ "type": "list", "id": "all", "kind": "git", "url": home.url(), "metadata": pins });
        files.insert("catalogues.jsonl".to_owned(), lines("registry", &[list]));
        home.commit(&files);
    }

    fn publish_git_https(&self) {
        let home = self.repository("git-https");
        let url = self.url("git/git-https");
        let written = home.commit(&all_files(&listed(3)));
        let (_, manifests) = catalogue(&listed(3), &url, &written, &Value::Null);
        let mut files = all_files(&listed(3));
        files.extend(manifests);
        let described = home.commit(&files);
        let origin = json!({ "type": "git", "url": url, "commit": described });
        let (bytes, _) = catalogue(&listed(3), &url, &written, &origin);
        files.insert("all.json".to_owned(), bytes);
        let published = home.commit(&files);
        files.insert(
            "catalogues.json".to_owned(),
            catalogues(&[pointer("all", &url, &published, "all.json")]),
        );
        home.commit(&files);
    }

    fn publish_https(&self) {
        let (bytes, manifests) = catalogue(&listed(4), ELSEWHERE.0, ELSEWHERE.1, &Value::Null);
        let checksum = Digest::sha256(&bytes);
        let pointer =
            json!({ "id": "all", "kind": "https", "url": self.url("https/all.json"), "checksum": checksum });
        self.server.put("/https/all.json", &bytes);
        for (path, manifest) in manifests {
            self.server.put(&format!("/https/{path}"), &manifest);
        }
        self.set_entry("https", Some(&catalogues(&[pointer])));
    }

    fn publish_array(&self) {
        let mut files = all_files(&listed(5));
        files.insert("components.json".to_owned(), array(&listed(5)));
        self.repository("array").commit(&files);
    }

    /// A list that names a list that names a catalogue, whose rows lie in a repository.
    fn publish_lists(&self) {
        let home = self.repository("lists");
        let commit = home.commit(&all_files(&listed(6)));
        let rows: Vec<Value> = listed(6).iter().map(row).collect();
        let all = lines("all", &rows);
        let pins = json!({ "sourceRepo": self.url("git/lists"), "commit": commit, "checksum": Digest::sha256(&all) });
        let inner =
            json!({ "type": "list", "id": "all", "url": self.url("lists/all.jsonl"), "metadata": pins });
        let inner = lines("inner", &[inner]);
        let pins = json!({ "checksum": Digest::sha256(&inner) });
        let outer =
            json!({ "type": "list", "id": "inner", "url": self.url("lists/inner.jsonl"), "metadata": pins });
        self.server.put("/lists/all.jsonl", &all);
        self.server.put("/lists/inner.jsonl", &inner);
        self.set_entry("lists", Some(&lines("outer", &[outer])));
    }

    fn publish_packages(&self) {
        let home = self.repository("packages");
        let written = home.commit(&all_files(&listed(7)));
        let mut files = all_files(&listed(7));
        let mut rows = String::new();
        for one in &listed(7) {
            let path = one.file("manifest.json");
            files.insert(path.clone(), one.manifest(&home.url(), &written));
            let row = json!({ "kind": "component", "id": one.id, "version": one.version, "manifest": path, "registryId": "official" });
            rows.push_str(&format!("{row}\n"));
        }
        rows.push_str("{\"kind\":\"registry\",\"id\":\"official\",\"type\":\"git\",\"url\":\"https://example.org/r\"}\n");
        files.insert("packages.jsonl".to_owned(), rows.into_bytes());
        home.commit(&files);
    }

    /// Returns the name of a source's entry document.
    fn entry_name(name: &str) -> &'static str {
        match name {
            "file" | "git-https" => "catalogues.json",
            "git-file" => "catalogues.jsonl",
            "array" => "components.json",
            "packages" => "packages.jsonl",
            _ => "entry.json",
        }
    }

    fn entry(&self, name: &str) -> Vec<u8> {
        match name {
            "https" | "lists" => self.served.borrow()[name].clone(),
            _ => std::fs::read(self.entry_path(name)).unwrap(),
        }
    }

    fn entry_path(&self, name: &str) -> PathBuf {
        self.local(name).path.join(World::entry_name(name))
    }

    /// Publishes other bytes as a source's entry document; `None` takes it away.
    fn set_entry(&self, name: &str, bytes: Option<&[u8]>) {
        if matches!(name, "https" | "lists") {
            let path = format!("/{name}/entry.json");
            let Some(bytes) = bytes else { return self.server.remove(&path) };
            self.served.borrow_mut().insert(name.to_owned(), bytes.to_vec());
            return self.server.put(&path, bytes);
        }
        match bytes {
            Some(bytes) => std::fs::write(self.entry_path(name), bytes).unwrap(),
            None => std::fs::remove_file(self.entry_path(name)).unwrap(),
        }
        if name != "file" {
            let path = self.local(name).path;
            place::git(&path, &["add", "--all", "--force", "."]);
            place::git(&path, &["commit", "--quiet", "--message", "a revision"]);
        }
    }
}

impl World {
    /// Makes a fault happen.
    fn disturb(&self, name: &str, fault: Fault, entry: &[u8]) {
        match fault {
            Fault::Unreachable if is_remote(name) => self.answer(name, &Route::Raw(Vec::new())),
            Fault::Unreachable => self.carry(name, "", ".away"),
            Fault::Slow if is_remote(name) => self.answer(name, &Route::Stall(Vec::new())),
            Fault::Slow => self.block(name),
            Fault::Wrong => self.set_entry(name, Some(b"<!doctype html><title>Sign in</title>")),
            Fault::Broken => self.set_entry(name, Some(&entry[..entry.len() * 2 / 3])),
            Fault::Empty => self.set_entry(name, Some(b"")),
            Fault::Moved => self.set_entry(name, None),
            Fault::RolledBack => self.step_back(name, entry),
        }
    }

    /// Ends a fault of a source whose entry document was `entry`.
    fn repair(&self, name: &str, fault: Fault, entry: &[u8]) {
        match fault {
            Fault::Unreachable | Fault::Slow if is_remote(name) => self.calm(name),
            Fault::Unreachable => self.carry(name, ".away", ""),
            Fault::Slow => std::fs::rename(self.sandbox.path("aside"), self.first_read(name)).unwrap(),
            Fault::RolledBack if is_repository(name) => {
                place::git(&self.local(name).path, &["reset", "--quiet", "--hard", "HEAD@{1}"]);
            }
            Fault::RolledBack => self.set_entry(name, Some(&[entry, b"\n"].concat())),
            _ => self.step_back(name, entry),
        }
    }

    /// Publishes the entry document that was there before the last revision, as its history has it.
    fn step_back(&self, name: &str, entry: &[u8]) {
        if !is_repository(name) {
            return self.set_entry(name, Some(entry));
        }
        place::git(&self.local(name).path, &["reset", "--quiet", "--hard", "HEAD~1"]);
    }

    /// Answers every request to a source's entry so.
    fn answer(&self, name: &str, route: &Route) {
        if is_repository(name) {
            let (route, prefix) = (route.clone(), format!("/git/{name}/"));
            let mount = GitMount::of(&self.sandbox.path("served"));
            let answered = move |request: &Logged| request.target.starts_with(&prefix).then(|| route.clone());
            return self.server.mount("/git", mount.before(answered));
        }
        self.server.route(&format!("/{name}/entry.json"), route.clone());
    }

    fn calm(&self, name: &str) {
        match is_repository(name) {
            true => self.server.mount("/git", GitMount::of(&self.sandbox.path("served"))),
            false => self.set_entry(name, Some(&self.entry(name))),
        }
    }

    /// Puts a pipe that nobody writes into where a source on a disk is read first: whoever waits for it waits without end.
    fn block(&self, name: &str) {
        let path = self.first_read(name);
        std::fs::rename(&path, self.sandbox.path("aside")).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    }

    /// Returns the file of a source on a disk that is read first: its entry, or the branch that holds it.
    fn first_read(&self, name: &str) -> PathBuf {
        match is_repository(name) {
            true => self.local(name).path.join(".git/refs/heads/main"),
            false => self.entry_path(name),
        }
    }

    fn carry(&self, name: &str, from: &str, to: &str) {
        let path = |ending: &str| self.sandbox.path(&format!("{name}{ending}"));
        std::fs::rename(path(from), path(to)).unwrap();
    }
}

fn is_remote(name: &str) -> bool {
    matches!(name, "git-https" | "https" | "lists")
}

fn is_repository(name: &str) -> bool {
    matches!(name, "git-file" | "git-https" | "array" | "packages")
}

/// Returns how a source stands, from the rows of a report or list.
fn health(rows: &Value, name: &str) -> String {
    let row = row_of(rows, name);
    row.get("health").or(row.get("state")).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn row_of(rows: &Value, name: &str) -> Value {
    let found = rows.as_array().unwrap().iter().find(|row| row["id"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {rows:#}")).clone()
}

/// Compares what is served with the table.
fn check_table(daemon: &Daemon) {
    assert_eq!(daemon.ids(), TABLE.map(|(id, ..)| id));
    for (id, owner, version, verdict, shadows) in TABLE {
        let answer = daemon.resolve(&[id]).ok();
        let found = &answer["components"][0];
        let shadowed: Vec<&str> =
            found["shadowed"].as_array().unwrap().iter().map(|one| one["source"].as_str().unwrap()).collect();
        let said = (
            found["source"]["id"].as_str().unwrap(),
            found["version"].as_str().unwrap(),
            found["trust"]["verdict"].as_str().unwrap(),
            shadowed.join(" "),
        );
        assert_eq!(said, (owner, version, verdict, shadows.to_owned()), "{id}: {found:#}");
    }
}

#[test]
fn seven_sources_are_merged_as_the_table_says() {
    let world = World::build();
    let daemon = world.sandbox.start_synced();
    check_table(&daemon);
    // A second sync of what has not changed brings nothing: what is pinned is not asked for, the rest says so.
    let report = daemon.sync();
    assert_eq!((&report["changed"], &report["rowsWritten"]), (&json!(false), &json!(0)), "{report:#}");
}

#[test]
fn a_fault_of_one_source_changes_what_must_change_and_nothing_else() {
    let world = World::build();
    let daemon = world.sandbox.start_synced();
    check_table(&daemon);
    let mut before = everything(&daemon);
    for name in SOURCES {
        for fault in FAULTS {
            let when = format!("{name} is {fault:?}");
            let entry = world.entry(name);
            if fault == Fault::RolledBack {
                // The newer revision is accepted first; a commit of its own is part of the answers.
                world.set_entry(name, Some(&[entry.as_slice(), b"\n"].concat()));
                let report = daemon.sync();
                assert_eq!(health(&report["sources"], name), "fresh", "{report:#}");
                before = everything(&daemon);
            }
            world.disturb(name, fault, &entry);
            daemon.sync();
            check(&daemon, &before, &when);
            check_sources(&daemon, name, &when);
            world.repair(name, fault, &entry);
            let report = daemon.sync();
            for other in SOURCES {
                assert_eq!(health(&report["sources"], other), "fresh", "after {when}: {report:#}");
            }
        }
    }
    check(&daemon, &before, "after all faults");
}

/// Checks that exactly `name` is stale, and that its refusal says everything that an operator needs.
fn check_sources(daemon: &Daemon, name: &str, when: &str) {
    let rows = daemon.get("/v1/sources").ok()["items"].clone();
    for other in SOURCES {
        let expected = if other == name { "stale" } else { "fresh" };
        assert_eq!(health(&rows, other), expected, "{when}: {rows:#}");
    }
    let error = row_of(&rows, name)["error"].clone();
    for field in ["reason", "subject", "expected", "found", "hint"] {
        let said = error[field].as_str().unwrap_or_default();
        assert!(!said.is_empty(), "{when}: no {field} in {error:#}");
    }
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("resolverd ") && hint.contains(name), "{when}: {hint}");
    assert_eq!(error["reason"] == "trust.rollback", when.ends_with("RolledBack"), "{when}: {error:#}");
}
