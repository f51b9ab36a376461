//! Locks through the real binary: made in a project, equal on every machine, kept as far as they can be, merged, and judged again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use catalogue_schema::digest::Digest;
use catalogue_schema::lockfile::{self, Lock};
use serde_json::{Value, json};

use crate::events::Listener;
use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{self, Component, Federation, Form};
use crate::harness::place;
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, TlsServer};

/// What everybody calls the place where authors keep their repositories; it exists on no network.
pub(crate) const FORGE: &str = "https://forge.example";
const CATALOGUE: &str = "registry/components.std.json";

/// A forge of two repositories, and a sandbox that reads them under the forge's name.
pub(crate) struct World {
    /// Where it is read to.
    pub(crate) sandbox: Sandbox,
    components: Repository,
    registry: Repository,
    /// The commits of releases by their bytes: what was published stays where it was.
    written: RefCell<BTreeMap<Vec<u8>, String>>,
}

impl Drop for World {
    fn drop(&mut self) {
        place::open_up(&self.sandbox.path("cache"));
    }
}

/// How a release is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    Plain,
    Yanked,
}

impl World {
    /// Makes a forge that holds nothing yet.
    pub(crate) fn new() -> World {
        let sandbox = Sandbox::new();
        let create = |name: &str| {
            let repository = Repository::create(&sandbox.path("forge").join(name));
            place::git(&repository.path, &["config", "uploadpack.allowFilter", "true"]);
            repository
        };
        let (components, registry) = (create("components"), create("registry"));
        let world = World { sandbox, components, registry, written: RefCell::default() };
        world.reads(&world.sandbox, "", &world.sandbox.path("forge").display().to_string());
        world
    }

    /// Lets a sandbox read the forge, whose files come from `to`.
    fn reads(&self, sandbox: &Sandbox, more: &str, to: &str) {
        sandbox.write_sources(&lcod::sources("main", &format!("{FORGE}/registry"), "catalogues.json"));
        let home = sandbox.path("config/resolverd");
        std::fs::create_dir_all(&home).unwrap();
        let config = format!("{more}[[rewrite]]\nfrom = \"{FORGE}\"\nto = \"{to}\"\n");
        std::fs::write(home.join("config.toml"), config).unwrap();
    }

    /// Publishes exactly these releases.
    pub(crate) fn publish(&self, all: &[Component]) {
        let listed: Vec<(Component, Listing)> = all.iter().map(|one| (one.clone(), Listing::Plain)).collect();
        self.publish_as(&listed);
    }

    /// Publishes exactly these releases; each lies in a directory of its own.
    fn publish_as(&self, all: &[(Component, Listing)]) {
        let url = format!("{FORGE}/components");
        let placed = all.iter().map(|(one, listing)| {
            (Component { directory: format!("{}/{}", one.directory, one.version), ..one.clone() }, *listing)
        });
        let all: Vec<(Component, Listing)> = placed.collect();
        let mut files: Files = all.iter().flat_map(|(one, _)| one.files()).collect();
        let mut rows: Vec<Value> = Vec::new();
        for (one, listing) in &all {
            let mut written = self.written.borrow_mut();
            let commit = written.entry(one.descriptor()).or_insert_with(|| self.components.commit(&files));
            let (path, manifest) = (one.file("manifest.json"), one.manifest(&url, commit));
            let digest = Digest::sha256(&manifest);
            let version = json!({
                "version": one.version, "manifest": path, "sha256": digest, "yanked": *listing == Listing::Yanked,
            });
            files.insert(path, manifest);
            match rows.iter_mut().find(|row| row["id"] == one.id) {
                Some(row) => row["versions"].as_array_mut().unwrap().push(version),
                None => rows.push(json!({ "id": one.id, "versions": [version] })),
            }
        }
        let origin = json!({ "type": "git", "url": url, "commit": self.components.commit(&files) });
        let catalogue = json!({
            "schema": "lcod-registry/catalogue@1", "id": "tooling/std", "origin": origin, "components": rows,
        });
        files.insert(CATALOGUE.to_owned(), serde_json::to_vec(&catalogue).unwrap());
        let commit = self.components.commit(&files);
        let pointer = lcod::pointer("tooling/std", &url, &commit, CATALOGUE);
        let list = lcod::catalogues(&[pointer]);
        self.registry.commit(&Files::from([("catalogues.json".to_owned(), list)]));
    }

    /// Runs a verb in the project.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        run(&self.sandbox, arguments)
    }

    /// Makes the project, which requires `requires`.
    pub(crate) fn project(&self, requires: &[&str]) -> PathBuf {
        project(&self.sandbox, requires)
    }

    /// Returns the lock of the project.
    pub(crate) fn lock(&self) -> String {
        std::fs::read_to_string(self.sandbox.path("app/lcp.lock")).unwrap()
    }
}

fn project(sandbox: &Sandbox, requires: &[&str]) -> PathBuf {
    let app = sandbox.path("app");
    std::fs::create_dir_all(&app).unwrap();
    let requires: String = requires.iter().map(|one| format!("\"{one}\", ")).collect();
    let text =
        format!("schemaVersion = \"2.0\"\nid = \"lcod://demo/app@0.1.0\"\n[deps]\nrequires = [{requires}]\n");
    std::fs::write(app.join("lcp.toml"), text).unwrap();
    app
}

/// Runs a verb in the project.
fn run(sandbox: &Sandbox, arguments: &[&str]) -> Said {
    Said::of(sandbox.command().current_dir(sandbox.path("app")).args(arguments))
}

/// Returns what a verb printed that did what it was asked for.
pub(crate) fn done(said: Said) -> String {
    assert_eq!(said.status, 0, "{said:?}");
    said.stdout
}

/// Makes a component in the namespace of LCOD.
pub(crate) fn release(id: &str, version: &str, requires: &[&str]) -> Component {
    Component::new(&format!("lcod://{id}"), version, requires)
}

/// A project's world: `a` requires `b` and `c`, and the host logs.
pub(crate) fn sample() -> Vec<Component> {
    vec![
        release("x/a", "1.0.0", &["lcod://x/b@1", "lcod://x/c@^1", "lcod://contract/log@1"]),
        release("x/b", "1.0.0", &[]),
        release("x/c", "1.0.0", &["lcod://x/b@1"]),
    ]
}

/// What the project requires of it.
pub(crate) const REQUIRES: &[&str] = &["lcod://x/a@1", "lcod://contract/log@1"];

/// Returns the releases of a lock, by their last names.
pub(crate) fn versions(lock: &str) -> Vec<String> {
    let (lock, _) = Lock::parse(lock.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{lock}"));
    lock.components().iter().map(|one| format!("{}@{}", one.id.name(), one.version)).collect()
}

#[test]
fn a_lock_is_equal_from_the_origin_a_mirror_and_an_offline_copy() {
    let world = World::new();
    world.publish(&sample());
    let lock = |sandbox: &Sandbox, more: &[&str]| {
        project(sandbox, REQUIRES);
        done(run(sandbox, &[&["lock", "--native", "lcod://contract/"], more].concat()));
        done(run(sandbox, &[&["lock", "--native", "lcod://contract/", "lcod://x/c"], more].concat()));
        let read = |name: &str| std::fs::read_to_string(sandbox.path("app").join(name)).unwrap();
        [read("lcp.lock"), read("resolverd.lock")]
    };
    // The origin, over https.
    let server = TlsServer::start();
    server.mount("/git", GitMount::of(&world.sandbox.path("forge")));
    let ca = format!("[https]\nca_file = {:?}\n", server.ca_file().display().to_string());
    let online = Sandbox::new();
    world.reads(&online, &ca, &server.url("/git"));
    let daemon = online.start_synced();
    let expected = lock(&online, &[]);
    assert!(daemon.stop().success());
    for text in &expected {
        assert!(text.contains(&format!("{FORGE}/components")), "{text}");
        for strange in [&server.origin(), "file:", online.path("").to_str().unwrap(), "127.0.0.1"] {
            assert!(!text.contains(strange), "{strange} is in\n{text}");
        }
    }
    // A mirror in a directory of this machine.
    let mirror = Sandbox::new();
    for repository in [&world.components, &world.registry] {
        repository.bare_clone(&mirror.path("mirror").join(repository.path.file_name().unwrap()));
    }
    world.reads(&mirror, "", &mirror.path("mirror").display().to_string());
    assert_eq!(lock(&mirror, &[]), expected, "from a mirror");
    // A copy of what the first one keeps; nothing can be reached.
    let copy = Sandbox::new();
    world.reads(&copy, "", "/nowhere");
    place::copy(&online.state(), &copy.state());
    assert_eq!(lock(&copy, &["--offline"]), expected, "from a copy");
    assert_eq!(versions(&expected[0]), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
    assert_eq!(versions(&expected[1]), ["b@1.0.0", "c@1.0.0"]);
}

#[test]
fn a_lock_is_replayed_without_any_network() {
    let world = World::new();
    world.publish(&sample());
    world.project(REQUIRES);
    done(world.run(&["lock", "--native", "lcod://contract/"]));
    let expected = world.lock();
    let copy = Sandbox::new();
    world.reads(&copy, "", "/nowhere");
    place::copy(&world.sandbox.state(), &copy.state());
    project(&copy, REQUIRES);
    std::fs::write(copy.path("app/lcp.lock"), &expected).unwrap();
    std::fs::remove_dir_all(world.sandbox.path("forge")).unwrap();
    let alone = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--"]).arg(place::binary());
        copy.furnish(&mut command);
        Said::of(command.current_dir(copy.path("app")).args(arguments))
    };
    let said = alone(&["resolve", "--locked", "--offline"]);
    if said.stderr.contains("unshare") {
        return place::skipped("no network namespace can be made here");
    }
    assert!(done(said).contains("lcod://x/c@1.0.0"));
    assert!(done(alone(&["check", "--locked", "--offline"])).ends_with("lcp.lock holds: 3 components\n"));
    std::fs::remove_file(copy.path("app/lcp.lock")).unwrap();
    done(alone(&["lock", "--native", "lcod://contract/", "--offline"]));
    assert_eq!(std::fs::read_to_string(copy.path("app/lcp.lock")).unwrap(), expected);
}

#[test]
fn a_lock_stays_until_an_update_is_asked_for() {
    let world = World::new();
    let mut all = sample();
    world.publish(&all);
    let app = world.project(REQUIRES);
    let daemon = world.sandbox.start_synced();
    let said = done(world.run(&["lock", "--native", "lcod://contract/", "--receipt", "receipt.json"]));
    assert!(said.ends_with("locked 3 components in lcp.lock; the host implements 1 more\n"), "{said}");
    let receipt: Value = serde_json::from_slice(&std::fs::read(app.join("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["schema"], "resolverd/receipt@1");
    assert_eq!(receipt["snapshot"], daemon.get("/v1/health").ok()["snapshot"]);
    let first = world.lock();
    assert_eq!(receipt["lock"], Digest::sha256(first.as_bytes()).to_string());

    all.extend([release("x/b", "1.1.0", &[]), release("x/c", "1.1.0", &["lcod://x/b@1"])]);
    all.push(release("x/d", "1.0.0", &[]));
    world.publish(&all);
    daemon.sync();
    assert!(done(world.run(&["lock"])).starts_with("unchanged: 3 components"));
    assert_eq!(world.lock(), first);
    // Other bytes under a version that is locked are not taken over unasked.
    all[1].kind = "contract".to_owned();
    world.publish(&all);
    daemon.sync();
    let said = world.run(&["lock"]);
    assert_eq!((said.status, said.stderr.contains("lock.mutated")), (4, true), "{said:?}");
    assert_eq!(world.lock(), first, "nothing is lost");
    done(world.run(&["lock", "--update"]));
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.1.0", "c@1.1.0"]);
}

#[test]
fn minimal_updates_keep_what_still_holds() {
    let world = World::new();
    let mut all = sample();
    all.extend([release("x/b", "1.1.0", &[]), release("x/c", "1.1.0", &["lcod://x/b@1"])]);
    all.push(release("x/d", "1.0.0", &["lcod://x/c@1"]));
    world.publish(&all);
    let app = world.project(&["lcod://x/a@1", "lcod://x/b@=1.0.0", "lcod://x/c@=1.0.0"]);
    let _daemon = world.sandbox.start_synced();
    done(world.run(&["lock", "--native", "lcod://contract/"]));
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
    // The project asks for less, so nothing has to change, and nothing does.
    world.project(REQUIRES);
    let said = done(world.run(&["lock"]));
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.0.0", "c@1.0.0"], "{said}");
    let first = world.lock();
    let said = done(world.run(&["lock"]));
    assert!(said.starts_with("unchanged: 3 components"), "{said}");
    let said = done(world.run(&["resolve", "--locked"]));
    assert!(said.contains("lcod://x/b@1.0.0") && !said.contains("1.1.0"), "{said}");

    done(world.run(&["lock", "--update", "lcod://x/b"]));
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.1.0", "c@1.0.0"]);
    let changed = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !first.contains(*line)).map(str::to_owned).collect()
    };
    assert!(
        changed(&world.lock()).iter().all(|line| !line.contains("lcod://x/c")),
        "{:?}",
        changed(&world.lock())
    );
    let said = world.run(&["lock", "--update", "lcod://x/nobody"]);
    assert_eq!((said.status, said.stderr.contains("is not in the lock")), (2, true), "{said:?}");

    // Something new comes, and what is locked stays.
    world.project(&["lcod://x/a@1", "lcod://contract/log@1", "lcod://x/d"]);
    let said = world.run(&["resolve", "--locked"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(
        said.stderr.contains("lock.changed") && said.stderr.contains("lcod://x/d@1.0.0 comes"),
        "{said:?}"
    );
    let said = done(world.run(&["lock"]));
    assert!(said.contains("added    lcod://x/d@1.0.0") && !said.contains("1.1.0"), "{said}");
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.1.0", "c@1.0.0", "d@1.0.0"]);
    done(world.run(&["lock", "--update"]));
    assert_eq!(versions(&world.lock()), ["a@1.0.0", "b@1.1.0", "c@1.1.0", "d@1.0.0"]);
    std::fs::remove_file(app.join("lcp.lock")).unwrap();
    let said = world.run(&["resolve", "--locked"]);
    assert_eq!((said.status, said.stderr.contains("lock.absent")), (4, true), "{said:?}");
}

#[test]
fn changes_to_different_components_merge() {
    let world = World::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let of = |version: &str| -> Vec<Component> {
        names.iter().map(|name| release(&format!("m/{name}"), version, &["lcod://m/z@1"])).collect()
    };
    let z = release("m/z", "1.0.0", &[]);
    world.publish(&[of("1.0.0"), of("1.1.0"), vec![z]].concat());
    let daemon = world.sandbox.start_synced();
    let make = |newer: &[&str]| -> String {
        let wanted = |name: &&str| {
            let version = if newer.contains(name) { "1.1.0" } else { "1.0.0" };
            format!("lcod://m/{name}@{version}")
        };
        let body = json!({"resolve": {"requests": names.iter().map(wanted).collect::<Vec<_>>()}});
        daemon.post("/v1/lock", &body).ok()["text"].as_str().unwrap().to_owned()
    };
    let repository = Repository::create(&world.sandbox.path("merge"));
    let commit =
        |text: String| repository.commit(&Files::from([("resolverd.lock".to_owned(), text.into_bytes())]));
    let git = |arguments: &[&str]| place::git(&repository.path, arguments);
    commit(make(&[]));
    git(&["checkout", "--quiet", "-b", "one"]);
    commit(make(&["b"]));
    git(&["checkout", "--quiet", "main"]);
    commit(make(&["e"]));
    git(&["merge", "--quiet", "--no-edit", "one"]);
    let merged = std::fs::read_to_string(repository.path.join("resolverd.lock")).unwrap();
    assert_eq!(merged, make(&["b", "e"]));
    Lock::parse(merged.as_bytes()).unwrap();
}

/// Locks the sample with a daemon, and returns it with the text of the lock.
fn locked(world: &World) -> (Daemon, String) {
    world.publish(&sample());
    let daemon = world.sandbox.start_synced();
    let body = json!({"resolve": {"requests": ["lcod://x/a@1"], "natives": ["lcod://contract/"]}});
    let answer = daemon.post("/v1/lock", &body).ok();
    assert_eq!((&answer["form"], &answer["file"]), (&json!("resolverd"), &json!("resolverd.lock")));
    assert_eq!(answer["natives"], json!(["lcod://contract/log@1"]));
    (daemon, answer["text"].as_str().unwrap().to_owned())
}

fn findings(daemon: &Daemon, lock: &str) -> Vec<String> {
    let answer = daemon.post("/v1/lock/check", &json!({"lock": lock})).ok();
    let rows = answer["findings"].as_array().unwrap();
    assert_eq!(answer["holds"], rows.is_empty(), "{answer:#}");
    assert!(rows.iter().all(|row| row["hint"].as_str().unwrap().starts_with("resolverd ")), "{answer:#}");
    let told = |row: &Value| {
        format!(
            "{} {}",
            row["id"].as_str().unwrap().trim_start_matches("lcod://"),
            row["reason"].as_str().unwrap()
        )
    };
    rows.iter().map(told).collect()
}

/// Changes what is published, and compares what of a lock no longer holds then.
fn check(change: impl FnOnce(&World), expected: &[&str]) {
    let world = World::new();
    let (daemon, lock) = locked(&world);
    assert_eq!(findings(&daemon, &lock), <[&str; 0]>::default());
    change(&world);
    daemon.sync();
    assert_eq!(findings(&daemon, &lock), expected);
}

fn relisted(listing: impl Fn(&Component) -> Option<Listing>) -> Vec<(Component, Listing)> {
    sample().into_iter().filter_map(|one| Some((one.clone(), listing(&one)?))).collect()
}

#[test]
fn what_no_longer_holds_is_found_with_its_reason() {
    let is = |one: &Component, name: &str| one.id.ends_with(name);
    check(
        |world| {
            let yank = |one: &Component| Some(if is(one, "/b") { Listing::Yanked } else { Listing::Plain });
            world.publish_as(&relisted(yank));
        },
        &["x/b lock.yanked"],
    );
    check(
        |world| {
            let mut all = sample();
            all[1].kind = "contract".to_owned();
            world.publish(&all);
        },
        &["x/b lock.mutated", "x/b lock.drifted"],
    );
    check(
        |world| {
            let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"**\"\nsources = [\"main\"]\nrequire = \"pin\"\n[[namespaces]]\nmatch = \"lcod://x/b\"\nsources = [\"other\"]\nrequire = \"pin\"\n";
            std::fs::write(world.sandbox.path("config/resolverd/trust.toml"), policy).unwrap();
            done(world.sandbox.run(&["reload"]));
        },
        &["x/b lock.refused"],
    );
}

#[test]
fn what_is_gone_is_found() {
    let world = World::new();
    let (daemon, lock) = locked(&world);
    let rest: Vec<Component> = sample().into_iter().filter(|one| one.id != "lcod://x/c").collect();
    world.publish(&rest);
    daemon.sync();
    let found = findings(&daemon, &lock);
    assert!(found.contains(&"x/c lock.missing".to_owned()), "{found:?}");
}

#[test]
fn a_verb_says_what_no_longer_holds_and_how_to_go_on() {
    let world = World::new();
    world.publish(&sample());
    let app = world.project(REQUIRES);
    let daemon = world.sandbox.start_synced();
    done(world.run(&["lock", "--native", "lcod://contract/"]));
    assert_eq!(done(world.run(&["check", "--locked"])), "lcp.lock holds: 3 components\n");
    let yank = |one: &Component| Some(if one.id == "lcod://x/b" { Listing::Yanked } else { Listing::Plain });
    world.publish_as(&relisted(yank));
    daemon.sync();
    let said = world.run(&["check"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.stdout.contains("lock.yanked: lcod://x/b@1.0.0"), "{said:?}");
    assert!(said.stdout.contains("resolverd lock --update lcod://x/b"), "{said:?}");
    assert!(said.stdout.ends_with("lcp.lock does not hold: 1 findings in 3 components\n"), "{said:?}");
    // What the project requires counts as well.
    world.project(&["lcod://x/a@1", "lcod://contract/log@1", "lcod://x/c@^1"]);
    let said = world.run(&["check"]);
    assert!(said.status == 4 && said.stdout.contains("lock.drifted: lcod://demo/app@0.1.0"), "{said:?}");
    assert!(said.stdout.contains("today   lcod://x/c@^1"), "{said:?}");
    world.project(REQUIRES);
    // A withdrawn release stays usable where it is locked, and is not chosen where it is not.
    assert!(done(world.run(&["resolve", "--locked"])).contains("lcod://x/b@1.0.0"));
    std::fs::remove_file(app.join("lcp.lock")).unwrap();
    assert_eq!(world.run(&["lock", "--native", "lcod://contract/"]).status, 3);
}

#[test]
fn a_lock_that_was_changed_by_hand_is_refused_with_its_place() {
    let world = World::new();
    world.publish(&sample());
    let app = world.project(REQUIRES);
    let _daemon = world.sandbox.start_synced();
    done(world.run(&["lock", "--native", "lcod://contract/"]));
    let good = world.lock();
    let check = |text: String, verb: &[&str], status: i32, expected: &str| {
        std::fs::write(app.join("lcp.lock"), &text).unwrap();
        let said = world.run(verb);
        assert!(said.status == status && said.stderr.contains(expected), "{said:?}");
        assert_eq!(world.lock(), text, "nothing is written");
    };
    let manifest = good.lines().find(|line| line.starts_with("manifest = ")).unwrap();
    let other = format!("manifest = \"{}\"", Digest::sha256(b"other"));
    check(good.replace(manifest, &other), &["resolve", "--locked"], 4, "lock.mutated");
    check(good.replace(manifest, &other), &["lock"], 4, "lock.mutated");
    let commit = good.lines().find(|line| line.starts_with("rev = ")).unwrap();
    let elsewhere = good.replace(commit, &format!("rev = \"{}\"", "0".repeat(40)));
    check(elsewhere.clone(), &["resolve", "--locked"], 4, "lock.drifted");
    check(elsewhere, &["lock"], 4, "lock.drifted");
    let owner = good.replace("catalogue = \"tooling/std\"", "catalogue = \"tooling/other\"");
    check(owner, &["lock"], 4, "lock.drifted");
    check(good.replace("x/b@1.0.0", "x/b@2.0.0"), &["check"], 2, "lock.unmet");
    check(
        good.replace("url = \"https://forge.example/", "url = \"file:///"),
        &["check"],
        2,
        "lock.host_path",
    );
    check(format!("{good}<<<<<<< ours\n"), &["lock"], 2, "input.toml");
    let foreign = "schemaVersion = \"1.0\"\nresolverVersion = \"0.1.0\"\n".to_owned();
    check(foreign, &["lock"], 2, "lock.foreign");
    done(world.run(&["lock", "--native", "lcod://contract/", "--overwrite"]));
    assert_eq!(world.lock(), good);
}

#[test]
fn listeners_are_told_when_a_lock_ceases_to_hold() {
    let world = World::new();
    let (daemon, lock) = locked(&world);
    let watched = daemon.post("/v1/lock/check", &json!({"lock": lock, "watch": true})).ok();
    assert_eq!((&watched["holds"], &watched["watchedSeconds"]), (&json!(true), &json!(3600)));
    let mut listener = Listener::open(daemon.socket(), None);
    let yank = |one: &Component| Some(if one.id == "lcod://x/b" { Listing::Yanked } else { Listing::Plain });
    world.publish_as(&relisted(yank));
    daemon.sync();
    let heard = listener.up_to("lock.invalidated");
    let data = &heard.last().unwrap().data;
    assert_eq!(data["lock"], Digest::sha256(lock.as_bytes()).to_string());
    assert_eq!(data["findings"], json!([{"id": "lcod://x/b", "version": "1.0.0", "reason": "lock.yanked"}]));
    // What is known is told once.
    world.publish_as(&[relisted(yank), vec![(release("x/new", "1.0.0", &[]), Listing::Plain)]].concat());
    daemon.sync();
    world.publish(&sample());
    daemon.sync();
    world.publish_as(&relisted(yank));
    daemon.sync();
    let heard = listener.up_to("lock.invalidated");
    assert!(heard.iter().filter(|event| event.name == "synced").count() >= 3, "{heard:?}");
    let said = world.sandbox.run(&["version"]);
    assert_eq!(said.status, 0);
}

#[test]
fn a_project_overrides_by_values_and_what_cannot_be_done_is_said() {
    let world = World::new();
    let mut all = sample();
    all.push(release("y/b", "1.0.0", &[]));
    all.push(release("impl/log", "0.1.0", &[]));
    world.publish(&all);
    let app = world.project(REQUIRES);
    let _daemon = world.sandbox.start_synced();
    let config = json!({
        "replace": {"lcod://x/b@1": "lcod://y/b"},
        "bindings": {"lcod://contract/log@1": "lcod://impl/log@0.1.0"},
        "sources": {"lcod://x/c": {"type": "path", "path": "../c"}},
        "mirrors": {"https://forge.example": "https://mirror.example"},
    });
    std::fs::write(app.join("resolve.config.json"), config.to_string()).unwrap();
    let said = world.run(&["lock"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("project.path_source"), "{said:?}");
    assert!(said.stdout.contains("overlay: resolve.config.json\n"), "{said:?}");
    let lock = world.lock();
    assert_eq!(versions(&lock), ["log@0.1.0", "a@1.0.0", "b@1.0.0"], "{lock}");
    assert!(lock.contains("resolved = \"lcod://y/b@1.0.0\"") && !lock.contains("mirror.example"), "{lock}");

    let elsewhere = world.sandbox.path("elsewhere.json");
    std::fs::write(
        &elsewhere,
        "{\"sources\": {\"lcod://x/b\": {\"type\": \"http\", \"url\": \"https://x\"}}}",
    )
    .unwrap();
    let named = |path: &std::path::Path| {
        let mut command = world.sandbox.command();
        command.env("LCOD_RESOLVER_CONFIG", path).current_dir(&app);
        Said::of(command.arg("lock"))
    };
    let said = named(&elsewhere);
    assert!(said.status == 2 && said.stderr.contains("project.unsupported"), "{said:?}");
    assert!(said.stderr.contains("elsewhere.json") && said.stderr.contains("line 1"), "{said:?}");
    let said = named(&world.sandbox.path("none.json"));
    assert!(said.status == 2 && said.stderr.contains("LCOD_RESOLVER_CONFIG"), "{said:?}");
}

#[test]
fn references_are_locked_without_a_project_and_again() {
    let world = World::new();
    world.publish(&sample());
    std::fs::create_dir_all(world.sandbox.path("app")).unwrap();
    let said = world.run(&["lock"]);
    assert!(said.status == 2 && said.stderr.contains("project.absent"), "{said:?}");
    done(world.run(&["lock", "lcod://x/c@^1"]));
    let read = || std::fs::read_to_string(world.sandbox.path("app/resolverd.lock")).unwrap();
    let first = read();
    assert_eq!(versions(&first), ["b@1.0.0", "c@1.0.0"]);
    let said = done(world.run(&["lock"]));
    assert!(said.starts_with("unchanged: 2 components in resolverd.lock"), "{said}");
    let (lock, form) = Lock::parse(first.as_bytes()).unwrap();
    assert_eq!((lock.roots().len(), form), (1, lockfile::Form::Resolverd));
    assert_eq!(
        done(world.run(&["check", "--locked", "resolverd.lock"])),
        "resolverd.lock holds: 2 components\n"
    );
    let said = world.run(&["check", "none.lock"]);
    assert!(said.status == 2 && said.stderr.contains("lock.absent"), "{said:?}");
}

#[test]
fn a_receipt_takes_the_place_of_no_file_of_the_project_and_comes_first() {
    let world = World::new();
    world.publish(&sample());
    let app = world.project(REQUIRES);
    let _daemon = world.sandbox.start_synced();
    done(world.run(&["lock"]));
    let first = world.lock();
    std::fs::hard_link(app.join("lcp.lock"), app.join("linked.json")).unwrap();
    for receipt in ["lcp.lock", "./lcp.toml", "resolve.config.json", "../app/resolverd.lock", "linked.json"] {
        let said = world.run(&["lock", "--receipt", receipt]);
        assert!(said.status == 2 && said.stderr.contains("lock.receipt"), "{receipt}: {said:?}");
        assert_eq!(world.lock(), first, "{receipt}");
    }
    world.project(&["lcod://x/b"]);
    let said = world.run(&["lock", "--receipt", "none/receipt.json"]);
    assert!(said.status == 2 && said.stderr.contains("lock.write"), "{said:?}");
    assert_eq!(world.lock(), first);
}

#[test]
fn files_of_a_project_that_are_none_are_not_waited_for() {
    let world = World::new();
    world.publish(&sample());
    let app = world.project(REQUIRES);
    let _daemon = world.sandbox.start_synced();
    for (name, verb) in [
        ("resolve.config.json", &["lock"][..]),
        ("lcp.lock", &["check"]),
        ("lcp.lock", &["lock"]),
        ("lcp.toml", &["lock"]),
    ] {
        let path = app.join(name);
        let _ = std::fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let said = world.run(verb);
        assert!(said.status == 2 && said.stderr.contains("it is no regular file"), "{name}: {said:?}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_the_host_implements_instead_of_what_is_named_counts_again() {
    let world = World::new();
    world.publish(&[sample(), vec![release("x/u", "1.0.0", &["lcod://old/log@1"])]].concat());
    let app = world.project(&["lcod://x/u"]);
    let _daemon = world.sandbox.start_synced();
    let config = json!({"replace": {"lcod://old/log": "lcod://host/log@2"}});
    std::fs::write(app.join("resolve.config.json"), config.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = world.sandbox.command();
        command.env_remove("RESOLVERD_NATIVES").current_dir(&app);
        Said::of(command.args(arguments))
    };
    done(run(&["lock", "--native", "lcod://host/"]));
    assert!(world.lock().contains("source = { type = \"native\", name = \"lcod://host/log@2\" }"));
    let said = done(run(&["lock"]));
    assert!(said.starts_with("unchanged: 1 components in lcp.lock; the host implements 1 more"), "{said}");
    assert!(done(run(&["resolve", "--locked"])).contains("lcod://x/u@1.0.0"));
    let references = ["lcod://x/u", "lcod://old/log@1"];
    done(run(&[&["lock", "--native", "lcod://host/"], &references[..]].concat()));
    let text = std::fs::read_to_string(app.join("resolverd.lock")).unwrap();
    assert!(text.contains("    \"lcod://old/log@1 -> lcod://host/log@2\",\n"), "{text}");
    assert!(text.contains("    \"lcod://old/log@1 -> native lcod://host/log@2\",\n"), "{text}");
    done(run(&[&["resolve", "--locked"], &references[..]].concat()));
    // Without the replacement something else is asked for, which is said.
    std::fs::remove_file(app.join("resolve.config.json")).unwrap();
    assert_ne!(run(&["resolve", "--locked"]).status, 0);
}

#[test]
fn a_lock_beside_a_project_without_an_id_is_updated() {
    let world = World::new();
    world.publish(&sample());
    let app = world.project(&["lcod://x/a@1"]);
    let daemon = world.sandbox.start_synced();
    done(world.run(&["lock", "lcod://x/c@^1"]));
    std::fs::write(app.join("lcp.toml"), "schemaVersion = \"2.0\"\n[deps]\nrequires = [\"lcod://x/a@1\"]\n")
        .unwrap();
    world.publish(&[sample(), vec![release("x/b", "1.1.0", &[])]].concat());
    daemon.sync();
    let said = done(world.run(&["lock", "--update", "lcod://x/b"]));
    assert!(said.contains("lcod://x/b 1.0.0 -> 1.1.0"), "{said}");
    assert!(done(world.run(&["resolve", "--locked"])).contains("lcod://x/b@1.1.0"));
    let said = world.run(&["lock"]);
    assert!(said.status == 2 && said.stderr.contains("names no project"), "{said:?}");
}

#[test]
fn a_lock_is_asked_of_one_snapshot() {
    let world = World::new();
    world.publish(&sample());
    let daemon = world.sandbox.start_synced();
    let snapshot = daemon.get("/v1/health").ok()["snapshot"].clone();
    let ask = |inner: Value| {
        let resolve = json!({"requests": ["lcod://x/c"], "snapshot": inner});
        daemon.post("/v1/lock", &json!({"resolve": resolve, "snapshot": snapshot}))
    };
    assert_eq!(ask(snapshot.clone()).status, 200);
    let refused = ask(json!("sha256:000000000000"));
    assert_eq!((refused.status, refused.json()["reason"].clone()), (400, json!("api.snapshot")), "{refused}");
}

#[test]
fn a_lock_beyond_what_other_bodies_hold_is_judged() {
    let world = World::new();
    world.publish(&sample());
    std::fs::create_dir_all(world.sandbox.path("app")).unwrap();
    let _daemon = world.sandbox.start_synced();
    let of = |bytes: usize| {
        let long = "n".repeat(400);
        let line = |one: usize| format!("    \"lcod://contract/{long}/{one}@1\",\n");
        let natives: String = (0..bytes / line(10_000).len()).map(line).collect();
        format!("schema = \"resolverd/lock@1\"\nnatives = [\n{natives}]\n")
    };
    let lock = world.sandbox.path("app/resolverd.lock");
    let text = of(11 << 20);
    assert!(text.len() > 10 << 20);
    std::fs::write(&lock, &text).unwrap();
    assert_eq!(done(world.run(&["check"])), "resolverd.lock holds: 0 components\n");
    // The client reads no more of it than a lock may have.
    std::fs::write(&lock, of(lockfile::LOCK_BYTES_MAX + (1 << 20))).unwrap();
    let said = world.run(&["check"]);
    assert!(said.status == 2 && said.stderr.contains("limit.document_bytes"), "{said:?}");
}

#[test]
fn a_lock_goes_the_whole_way() {
    let world = World::new();
    let mut all = sample();
    all.push(release("x/b", "1.1.0-rc.1", &[]));
    world.publish(&all);
    let app = world.project(REQUIRES);
    let daemon = world.sandbox.start_synced();
    done(world.run(&["lock", "--prerelease", "--native", "lcod://contract/"]));
    let first = world.lock();
    assert_eq!(versions(&first), ["a@1.0.0", "b@1.1.0-rc.1", "c@1.0.0"]);
    // What is locked stays, whether prereleases count or not.
    for verb in
        [&["resolve", "--locked"][..], &["resolve", "--locked", "--prerelease"], &["tree", "--locked"]]
    {
        assert!(done(world.run(verb)).contains("lcod://x/b@1.1.0-rc.1"), "{verb:?}");
    }
    assert!(done(world.run(&["lock"])).starts_with("unchanged: 3 components"));
    assert_eq!(world.lock(), first);
    assert_eq!(done(world.run(&["check", "--locked"])), "lcp.lock holds: 3 components\n");
    let said = done(world.run(&["materialize", "--locked", "-o", "json"]));
    let put: Value = serde_json::from_str(&said).unwrap();
    let releases: Vec<&str> =
        put["items"].as_array().unwrap().iter().map(|row| row["release"].as_str().unwrap()).collect();
    assert_eq!(releases, ["lcod://x/b@1.1.0-rc.1", "lcod://x/c@1.0.0", "lcod://x/a@1.0.0"]);
    let gc = || -> Value {
        let said = done(world.run(&["gc", "--unused", "0", "-o", "json"]));
        serde_json::from_str(&said).unwrap()
    };
    let kept = gc();
    assert_eq!((&kept["removed"], &kept["held"]), (&json!([]), &json!(3)), "the lock holds them");
    // Nothing of it needs an origin any more.
    std::fs::remove_dir_all(world.sandbox.path("forge")).unwrap();
    let again = done(world.run(&["materialize", "--locked", "-o", "json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    for (before, after) in put["items"].as_array().unwrap().iter().zip(again["items"].as_array().unwrap()) {
        assert_eq!((&after["from"], &after["directory"]), (&json!("cache"), &before["directory"]));
    }
    std::fs::remove_file(app.join("lcp.lock")).unwrap();
    let removed = gc()["removed"].clone();
    assert_eq!(removed.as_array().map(Vec::len), Some(3), "{removed}");
    assert_eq!(daemon.get("/v1/files").ok()["holds"], json!([]));
}

#[test]
fn the_published_components_are_locked_in_every_form() {
    let Some(components) = lcod::published() else { return };
    let place = tempfile::tempdir().unwrap();
    let listed: BTreeSet<String> = components.iter().map(|one| one.id.clone()).collect();
    let bare = |text: &String| text.rsplit_once('@').map_or(text.clone(), |(id, _)| id.to_owned());
    let required: BTreeSet<String> =
        components.iter().flat_map(|one| one.requires.iter().map(bare)).collect();
    let natives: Vec<&String> = required.difference(&listed).collect();
    let federation = Federation::build(place.path(), components);
    for form in [Form::Seed, Form::Lines] {
        let sandbox = Sandbox::with_sources(&federation.sources(form));
        let daemon = sandbox.start_synced();
        let requests: Vec<&String> = listed.iter().collect();
        let body = json!({"resolve": {"requests": requests, "natives": natives}});
        let body = json!({"form": "lcp", "project": "lcod://demo/all@0.1.0", "resolve": body["resolve"]});
        let answer = daemon.post("/v1/lock", &body).ok();
        let text = answer["text"].as_str().unwrap();
        let (lock, _) = Lock::parse(text.as_bytes()).unwrap();
        assert_eq!((lock.components().len(), lock.roots().len()), (79, 79));
        assert!(lock.components().iter().all(|one| !one.files.is_empty() && one.commit.is_some()));
        assert!(!text.contains(place.path().to_str().unwrap()), "{text}");
        assert_eq!(findings(&daemon, text), <[&str; 0]>::default());
        assert_eq!(daemon.post("/v1/lock", &body).ok()["text"], answer["text"]);
    }
}
