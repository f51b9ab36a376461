//! A store whose newest generation another version of the program wrote, older or newer: where every source is pinned, it is made anew
//! from the shelf, the cache and the repositories of this machine, by whoever comes first, and no other machine is asked. Where
//! something is missing or not pinned, it is named and everything stays.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::faults::{Mount, fill};
use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{Component, all_files, array, catalogues, pointer};
use crate::harness::place;
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, TlsServer};
use crate::harness::world::{copy, named};
use crate::network::{configure, publish, repository};
use crate::trust::{Revision, Shop, X, answer, rules};

const FORMATS: [(&str, &str); 2] =
    [("resolverd/generation@1", "store.older_format"), ("resolverd/generation@3", "store.newer_format")];
const IDS: [&str; 3] = ["lcod://acme/files", "lcod://acme/forge", "lcod://acme/here"];

/// What is done to a sandbox.
type Strike<'a> = &'a dyn Fn(&Sandbox);

/// Three pinned sources: documents over https, a repository over https, and one on this machine.
struct World {
    sandbox: Sandbox,
    server: TlsServer,
    here: Repository,
    sources: Value,
    /// What is answered of every id.
    answers: Value,
}

/// Commits a catalogue of `components` and a list that names it; returns the commit of the list.
fn commit(home: &Repository, url: &str, components: &[Component]) -> String {
    let mut files = all_files(components);
    files.insert("all.json".to_owned(), array(components));
    let listed = home.commit(&files);
    let list = catalogues(&[pointer("all", url, &listed, "all.json")]);
    home.commit(&Files::from([("catalogues.json".to_owned(), list)]))
}

impl World {
    fn synced() -> World {
        let (sandbox, server) = (Sandbox::new(), TlsServer::start());
        let (list, digest) = publish(&server, &[Component::new(IDS[0], "1.0.0", &[])]);
        let forge = repository(&sandbox.path("served"), "parts.git");
        server.mount("/git", GitMount::of(&sandbox.path("served")));
        let url = server.url("/git/parts.git");
        let there = commit(&forge, &url, &[Component::new(IDS[1], "1.0.0", &[IDS[0]])]);
        let here = Repository::create(&sandbox.path("here"));
        let own = commit(&here, &here.url(), &[Component::new(IDS[2], "1.0.0", &[IDS[1]])]);
        let entry = |url: &str, commit: &str| json!({ "type": "git", "url": url, "commit": commit, "subpath": "catalogues.json" });
        let sources = json!({ "schema": "lcod-resolver/sources@1", "sources": [
            { "id": "files", "priority": 1, "checksum": digest, "entrypoint": { "type": "https", "url": list } },
            { "id": "forge", "priority": 2, "entrypoint": entry(&url, &there) },
            { "id": "here", "priority": 3, "entrypoint": entry(&here.url(), &own) },
        ]});
        sandbox.write_sources(&sources);
        configure(&sandbox, &server, "");
        assert_eq!(sandbox.run(&["sync"]).status, 0);
        let answers = answered(&sandbox.run(&resolve(true)));
        World { sandbox, server, here, sources, answers }
    }

    /// Returns a sandbox with a copy of everything that is kept, and a newest generation of `format`. Nothing that was open before may
    /// be used again, so that whoever asks is counted.
    fn of(&self, format: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        self.copy_to(&sandbox, format);
        sandbox
    }

    fn copy_to(&self, sandbox: &Sandbox, format: &str) {
        sandbox.write_sources(&self.sources);
        configure(sandbox, &self.server, "");
        // The state directory may be there: a file system of its own.
        std::fs::create_dir_all(sandbox.state()).unwrap();
        for entry in std::fs::read_dir(self.sandbox.state()).unwrap() {
            let (from, to) =
                (entry.as_ref().unwrap().path(), sandbox.state().join(entry.unwrap().file_name()));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(from, to).unwrap();
            }
        }
        std::fs::set_permissions(sandbox.state(), Permissions::from_mode(0o700)).unwrap();
        copy(&self.sandbox.path("cache"), &sandbox.path("cache"));
        written_by(sandbox, format);
        self.server.hang_up();
        self.server.forget();
    }
}

/// Rewrites the file of the generation in force to another format, and the pointer to it.
fn written_by(sandbox: &Sandbox, format: &str) {
    let pointer = sandbox.state().join("current");
    let mut current: Value = serde_json::from_slice(&std::fs::read(&pointer).unwrap()).unwrap();
    let path = sandbox.state().join(format!("generations/{}.json", current["number"]));
    let text = std::fs::read_to_string(&path).unwrap().replace("resolverd/generation@2", format);
    assert!(text.contains(format));
    std::fs::write(&path, &text).unwrap();
    current["digest"] = Digest::sha256(text.as_bytes()).to_string().into();
    std::fs::write(pointer, current.to_string()).unwrap();
}

fn resolve(is_offline: bool) -> Vec<&'static str> {
    let offline = if is_offline { &["--offline"][..] } else { &[] };
    ["resolve", "-o", "json"].into_iter().chain(offline.iter().copied()).chain(IDS).collect()
}

/// Returns the components and the snapshot of a resolution.
fn answered(said: &Said) -> Value {
    assert_eq!(said.status, 0, "{said:?}");
    chosen(&serde_json::from_str(&said.stdout).unwrap())
}

fn chosen(answer: &Value) -> Value {
    assert_eq!(answer["components"].as_array().map(Vec::len), Some(IDS.len()), "{answer:#}");
    json!([answer["components"], answer["snapshot"]])
}

/// Every file of the store but the lock and those that a start may write.
fn kept(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![state.join("shelf"), state.join("generations"), state.join("current")];
    left.extend(["trust-state.json", "first-seen.log", "checks.json"].map(|name| state.join(name)));
    while let Some(path) = left.pop() {
        match path.is_dir() {
            true => left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false if path.exists() => drop(found.insert(path.clone(), std::fs::read(path).unwrap())),
            false => {}
        }
    }
    found
}

fn serving(sandbox: &Sandbox, flags: &[&str]) -> Daemon {
    let mut daemon = sandbox.spawn_with(flags);
    daemon.wait_for("/readyz");
    daemon
}

#[test]
fn a_pinned_store_of_another_version_is_made_anew_by_whoever_comes_first_and_nobody_is_asked() {
    let world = World::synced();
    for (format, _) in FORMATS {
        for first in [
            &resolve(true)[..],
            &resolve(false),
            &["status", "--offline"],
            &["components", "--offline"],
            &["doctor", "--repair"],
            &["serve", "--offline"],
        ] {
            let (sandbox, what) = (world.of(format), format!("{format} {first:?}"));
            let before = world.server.connections();
            if first[0] == "serve" {
                let daemon = serving(&sandbox, &["--offline"]);
                assert_eq!(chosen(&daemon.resolve(&IDS).ok()), world.answers, "{what}");
                assert!(daemon.stop().success(), "{what}");
            } else {
                let said = sandbox.run(first);
                assert_eq!(said.status, 0, "{what}: {said:?}");
                let text = format!("{}{}", said.stdout, said.stderr);
                assert!(text.contains(format), "{what}: what was done is said: {said:?}");
            }
            // Whoever comes next finds nothing to say.
            let said = sandbox.run(&resolve(true));
            assert!(!said.stderr.contains("generation@"), "{what}: {said:?}");
            assert_eq!(answered(&said), world.answers, "{what}");
            let doctor = sandbox.run(&["doctor", "--deep"]);
            assert_eq!(doctor.status, 0, "{what}: {doctor:?}");
            assert_eq!(world.server.connections(), before, "{what}: {:?}", world.server.lines());
            assert!(sandbox.state().join("generations/2.json").exists(), "{what}");
            // What was accepted before is as it was, and a sync finds nothing new.
            let said = sandbox.run(&["sync", "-o", "json"]);
            let report: Value = serde_json::from_str(&said.stdout).unwrap();
            assert_eq!(
                (&report["changed"], &report["bytesFetched"]),
                (&json!(false), &json!(0)),
                "{what}: {report:#}"
            );
            assert_eq!(answered(&sandbox.run(&resolve(true))), world.answers, "{what}");
        }
    }
}

#[test]
fn a_store_of_another_version_of_which_anything_is_missing_or_not_pinned_is_named_and_stays() {
    let world = World::synced();
    let away =
        |sandbox: &Sandbox, name: &str| std::fs::rename(sandbox.path(name), sandbox.path("away")).unwrap();
    // What is done to the sandbox, what has to be said of it.
    let cases: [(&str, Strike<'_>); 5] = [
        ("the cache is gone", &|sandbox| away(sandbox, "cache")),
        ("the shelf is gone", &|sandbox| {
            std::fs::rename(sandbox.state().join("shelf"), sandbox.path("away")).unwrap();
        }),
        ("a source is not pinned", &|sandbox| {
            let mut sources = world.sources.clone();
            let path = sandbox.path("more.json");
            std::fs::write(&path, array(&[Component::new("lcod://acme/more", "1.0.0", &[])])).unwrap();
            let more = json!({ "id": "more", "priority": 4, "entrypoint": { "type": "file", "path": path } });
            sources["sources"].as_array_mut().unwrap().push(more);
            sandbox.write_sources(&sources);
        }),
        ("a pin names a commit that was never read", &|sandbox| {
            let mut sources = world.sources.clone();
            sources["sources"][1]["entrypoint"]["commit"] = "4a569e82930c784d2b4f2a40a39e85daea774a80".into();
            sandbox.write_sources(&sources);
        }),
        ("the sources file cannot be read", &|sandbox| sandbox.write_sources_text("{")),
    ];
    for ((format, reason), (what, strike)) in
        FORMATS.into_iter().flat_map(|one| cases.iter().map(move |case| (one, *case)))
    {
        let sandbox = world.of(format);
        strike(&sandbox);
        let (before, connections) = (kept(&sandbox.state()), world.server.connections());
        for arguments in [&resolve(true)[..], &["components", "--offline"], &["doctor", "--repair"]] {
            let said = sandbox.run(arguments);
            let what = format!("{format}, {what}, {arguments:?}: {said:?}");
            assert_ne!(said.status, 0, "{what}");
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains(format) && text.contains("nothing was thrown away"), "{what}");
            assert!(arguments[0] == "doctor" || named(&said).contains(reason), "{what}");
            // What was read in a repository here may lie on the shelf now; nothing else is new, and nothing is gone.
            let mut now = kept(&sandbox.state());
            now.retain(|path, _| {
                before.contains_key(path) || !path.starts_with(sandbox.state().join("shelf"))
            });
            assert!(now == before, "{what}: something changed");
        }
        assert_eq!(world.server.connections(), connections, "{format}, {what}: {:?}", world.server.lines());
    }
}

#[test]
fn a_store_of_another_version_does_not_go_back_behind_what_was_accepted() {
    let mut world = World::synced();
    let first = world.sources["sources"][2]["entrypoint"]["commit"].clone();
    let newer = commit(&world.here, &world.here.url(), &[Component::new(IDS[2], "2.0.0", &[IDS[1]])]);
    world.sources["sources"][2]["entrypoint"]["commit"] = newer.into();
    world.sandbox.write_sources(&world.sources);
    assert_eq!(world.sandbox.run(&["sync"]).status, 0);
    world.sources["sources"][2]["entrypoint"]["commit"] = first;
    let sandbox = world.of("resolverd/generation@3");
    let said = sandbox.run(&resolve(true));
    assert!(named(&said).contains("store.newer_format"), "{said:?}");
    assert!(said.stderr.contains("trust.rollback"), "why nothing was made is said: {said:?}");
}

#[test]
fn a_store_of_another_version_is_judged_by_the_policy_of_today() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = |version, more: &str| {
        let signers = "[[signers]]\nname = \"roots\"\nkeys = [\"root\"]\nthreshold = 1\nalgorithms = { any = [\"ed25519\"] }\n";
        let rules = rules("", "require = \"signature\"\nsigned_by = \"roots\"\n");
        shop.policy(version, &format!("{}{signers}{rules}", shop.key("root", "ed25519", more)));
    };
    policy(1, "");
    let releases = &["lcod://acme/x@1.0.0"];
    shop.publish("acme", &Revision { releases, packages: "--key %root.key", ..Revision::default() });
    let url = format!("file://{}", shop.repository("acme").display());
    let commit = place::git(&shop.repository("acme"), &["rev-parse", "HEAD"]);
    let entry = json!({ "type": "git", "url": url, "commit": commit.trim(), "subpath": "catalogue.json" });
    shop.sandbox
        .write_sources(&json!({ "sources": [{ "id": "acme", "priority": 10, "entrypoint": entry }] }));
    shop.sandbox.start_synced().stop();
    let kept = shop.sandbox.path("kept");
    copy(&shop.sandbox.state(), &kept);
    let revoked = "revoked = { at = 2026-05-04T00:00:00Z, reason = \"compromised\" }";
    for (version, more, expected) in
        [(1, "", "1.0.0 trusted all [\"root\"]"), (2, revoked, "trust.key_revoked")]
    {
        std::fs::remove_dir_all(shop.sandbox.state()).unwrap();
        copy(&kept, &shop.sandbox.state());
        written_by(&shop.sandbox, "resolverd/generation@1");
        policy(version, more);
        let daemon = serving(&shop.sandbox, &["--offline"]);
        assert_eq!(answer(&daemon, X), expected);
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_store_of_another_version_is_made_anew_only_with_every_document_of_every_release() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let components = [Component::new(IDS[0], "1.0.0", &[]), Component::new("lcod://acme/lost", "1.0.0", &[])];
    let (list, digest) = publish(&server, &components);
    // It was not there when everything else was read, so that the shelf has all but this.
    let missing = format!("/reg/{}", components[1].file("manifest.json"));
    server.remove(&missing);
    let entry = json!({ "type": "https", "url": list });
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        { "id": "files", "priority": 1, "checksum": digest, "entrypoint": entry },
    ]}));
    configure(&sandbox, &server, "");
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    written_by(&sandbox, "resolverd/generation@3");
    let (before, connections) = (kept(&sandbox.state()), server.connections());
    let said = sandbox.run(&["resolve", "--offline", IDS[0]]);
    assert!(named(&said).contains("store.newer_format") && said.stderr.contains(&missing), "{said:?}");
    assert!(kept(&sandbox.state()) == before && server.connections() == connections, "{said:?}");
    // Who may ask gets an answer.
    assert_eq!(sandbox.run(&["resolve", IDS[0]]).status, 0);
}

#[test]
fn a_catalogue_beyond_eager_max_is_not_made_anew_without_all_of_its_documents() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let ids = ["a", "b", "c", "d"].map(|name| format!("lcod://acme/{name}"));
    let components: Vec<Component> = ids.iter().map(|id| Component::new(id, "1.0.0", &[])).collect();
    let (list, digest) = publish(&server, &components);
    let entry = json!({ "type": "https", "url": list });
    sandbox.write_sources(&json!({ "schema": "lcod-resolver/sources@1", "sources": [
        { "id": "files", "priority": 1, "checksum": digest, "entrypoint": entry },
    ]}));
    configure(&sandbox, &server, "[limits]\neager_max = 2\n");
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    // One of the others is asked for; of the last one nobody knows anything.
    assert_eq!(sandbox.run(&["resolve", "--refresh", &ids[3]]).status, 0);
    written_by(&sandbox, "resolverd/generation@1");
    let (before, connections) = (kept(&sandbox.state()), server.connections());
    for arguments in [&["resolve", "--offline", &ids[0]][..], &["doctor", "--repair"]] {
        let said = sandbox.run(arguments);
        assert!(said.status != 0 && format!("{said:?}").contains("nothing was thrown away"), "{said:?}");
        assert!(kept(&sandbox.state()) == before, "{arguments:?}: something changed");
    }
    assert_eq!(server.connections(), connections, "{:?}", server.lines());
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    assert_eq!(sandbox.run(&["resolve", "--offline", &ids[0]]).status, 0);
}

#[test]
fn a_store_of_another_version_keeps_its_documents_on_a_full_disk() {
    let world = World::synced();
    for left in [0, 4_096] {
        let sandbox = Sandbox::new();
        let Some(_mount) = Mount::tmpfs(&sandbox.state(), "size=24m") else { return };
        world.copy_to(&sandbox, "resolverd/generation@3");
        let before = kept(&sandbox.state());
        let ballast = fill(&sandbox.state(), left);
        for arguments in [&resolve(true)[..], &["components", "--offline"]] {
            let said = sandbox.run(arguments);
            assert!(said.status != 0 && said.stderr.contains("No space left"), "{left}: {said:?}");
            // Nothing that another program may need is gone.
            let now = kept(&sandbox.state());
            let lost: Vec<&PathBuf> = before.keys().filter(|path| !now.contains_key(*path)).collect();
            assert!(lost.is_empty(), "{left}: {lost:?}: {said:?}");
        }
        std::fs::remove_file(ballast).unwrap();
        assert_eq!(answered(&sandbox.run(&resolve(true))), world.answers, "{left}");
    }
}
