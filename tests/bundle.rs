//! Bundles: what is exported here is what was published, and installs there without a network, or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::chance::{self, Chance};
use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::estream::{Part, Registry, sample};
use crate::harness::poll;
use crate::harness::repository::{Files, Repository};
use crate::harness::trace::{self, Point};

/// Where an import is prepared, below the workspace.
const STAGING: &str = ".resolverd-install/";
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

/// A site without network: a sandbox with a workspace, and no source at all unless it is given some.
struct Site {
    sandbox: Sandbox,
}

impl Site {
    fn new() -> Site {
        let sandbox = Sandbox::with_sources(&json!({"sources": []}));
        std::fs::create_dir(sandbox.path("work")).unwrap();
        Site { sandbox }
    }

    fn work(&self) -> PathBuf {
        self.sandbox.path("work")
    }

    fn install(&self, bundle: &Path, more: &[&str]) -> Said {
        let mut command = self.sandbox.command();
        command.current_dir(self.work()).args(["install", "--from", bundle.to_str().unwrap()]).args(more);
        Said::of(&mut command)
    }

    /// Nothing of this bundle is installed, for this code and reason.
    #[track_caller]
    fn refuses(&self, bundle: &Path, more: &[&str], status: i32, code: &str, named: &str) {
        let before = files(&self.work());
        let said = self.install(bundle, more);
        assert_eq!(said.status, status, "{said:?}");
        assert!(said.stderr.contains(code) && said.stderr.contains(named), "{code} {named}: {said:?}");
        assert!(said.stderr.contains("hint: "), "{said:?}");
        assert!(files(&self.work()) == before, "something was written: {said:?}");
    }
}

/// Makes a copy of a bundle with something changed, and with a `bundle.json` that says so.
fn forged(bundle: &Path, place: &Path, change: impl FnOnce(&mut Files)) {
    let mut found = files(bundle);
    change(&mut found);
    let mut document: Value = serde_json::from_slice(&found.remove("bundle.json").unwrap()).unwrap();
    document["files"] = found
        .iter()
        .map(|(path, bytes)| json!({"path": path, "digest": Digest::sha256(bytes), "size": bytes.len()}))
        .collect();
    found.insert("bundle.json".to_owned(), document.to_string().into_bytes());
    let _ = std::fs::remove_dir_all(place);
    crate::harness::repository::write(place, &found);
}

#[test]
fn a_bundle_installs_without_a_network_and_is_pinned_by_one_digest() {
    let world = World::new();
    world.sandbox.run(&["sync"]);
    let (bundle, checksum) = world.export("bundle", &["estream-wire-fix"]);
    let carried = Sandbox::new();
    crate::harness::place::copy(&bundle, &carried.path("bundle"));
    drop(world);
    let bundle = carried.path("bundle");

    let site = Site::new();
    let mut command = site.sandbox.command();
    let arguments = ["install", "--from", bundle.to_str().unwrap(), "--checksum", &checksum];
    command.current_dir(site.work()).args(arguments);
    // In a network of its own a process has no way to any other machine.
    let mut alone = std::process::Command::new("unshare");
    site.sandbox.furnish(&mut alone);
    alone.current_dir(site.work()).arg("-rn").arg(command.get_program()).args(arguments);
    let can_unshare =
        std::process::Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|s| s.success());
    let said = Said::of(if can_unshare { &mut alone } else { &mut command });
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("Installed 2 components"), "{said:?}");
    assert!(!said.stderr.contains("nothing has been synced"), "{said:?}");
    let found = files(&site.work());
    assert!(found.contains_key("adapters/estream-wire-fix/README.md"), "{:?}", found.keys());
    let workspace = String::from_utf8(found["estream-workspace.toml"].clone()).unwrap();
    assert!(workspace.contains("registry = \"parts\""), "{workspace}");
    assert!(!workspace.contains("/tmp"), "{workspace}");
    let again = site.install(&bundle, &["--offline"]);
    assert!(again.status == 0 && again.stdout.contains("Nothing to install"), "{again:?}");
    assert!(files(&site.work()) == found);

    // Nothing stays behind, and nothing was read into the state of this site.
    assert_eq!(site.sandbox.run(&["components", "--offline"]).stdout.lines().count().min(2), 0);
    let other = format!("sha256:{}", "0".repeat(64));
    site.refuses(&bundle, &["--checksum", &other], 7, "E006", "bundle.json");
    site.refuses(&bundle, &["--checksum", "latest"], 2, "R011", "--checksum");
    site.refuses(&carried.path("nowhere"), &[], 5, "E012", "nowhere");
    site.refuses(&bundle, &["esf-nothing"], 10, "E001", "esf-nothing");
}

#[test]
fn a_machine_on_which_nobody_has_named_a_source_takes_a_bundle_and_brings_its_files_back() {
    let world = World::new();
    world.sandbox.run(&["sync"]);
    let (bundle, _) = world.export("bundle", &["estream-wire-fix"]);
    let bundle = bundle.to_str().unwrap();
    let site = Site { sandbox: Sandbox::new() };
    std::fs::create_dir(site.work()).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = site.sandbox.command();
        command.current_dir(site.work()).env_remove("RESOLVERD_SOURCES").args(arguments);
        command
    };
    let run = |arguments: &[&str]| Said::of(&mut command(arguments));
    // A file that was named has to be there, and one that is there has to be read.
    let missing = site.install(Path::new(bundle), &[]);
    assert!(missing.status == 2 && missing.stderr.contains("sources.json"), "{missing:?}");
    let usual = site.sandbox.path("config/resolverd/sources.json");
    std::fs::create_dir_all(&usual).unwrap();
    assert_eq!(run(&["install", "--from", bundle]).status, 2);
    std::fs::remove_dir(&usual).unwrap();
    assert!(files(&site.work()).is_empty());

    let said = run(&["install", "--from", bundle]);
    assert!(said.status == 0 && said.stdout.contains("Installed 2 components"), "{said:?}");
    let whole = files(&site.work());
    std::fs::create_dir_all(site.sandbox.path("home/.estream")).unwrap();
    std::fs::write(site.sandbox.path("home/.estream/config.toml"), "[cache]\nttl_hours = 1\n").unwrap();
    let said = run(&["install", "--from", bundle]);
    assert!(said.status == 0 && said.stdout.contains("Nothing to install"), "{said:?}");
    let said = run(&["install"]);
    assert!(said.status == 0 && said.stdout.contains("Nothing to install"), "{said:?}");
    assert!(!said.stdout.contains("warning"), "{said:?}");

    // What is missing is told of wherever it is not brought back, with what does.
    let (readme, schema) = ("adapters/estream-wire-fix/README.md", "schemas/esf-trading/README.md");
    for path in [readme, schema] {
        std::fs::remove_file(site.work().join(path)).unwrap();
    }
    let told = run(&["install"]).stdout;
    for name in ["estream-wire-fix", "esf-trading"] {
        let way = format!(
            "1 file of {name} no longer as installed; no source lists it: resolverd install --from DIR --force {name}"
        );
        assert!(told.contains(&way), "{told}");
    }
    let told = run(&["install", "--from", bundle, "estream-wire-fix"]).stdout;
    let way = format!(
        "1 file of esf-trading no longer as installed; resolverd install --from {bundle} --force esf-trading"
    );
    assert!(told.contains(&way), "{told}");
    let told = run(&["install", "--from", bundle, "--dry-run"]).stdout;
    assert!(told.contains("Would restore 2 files of 2 components") && !told.contains("no longer"), "{told}");
    let told = run(&["install", "--from", bundle]).stdout;
    assert!(told.contains("Restored 2 files of 2 components") && !told.contains("no longer"), "{told}");
    assert!(files(&site.work()) == whole);
    std::fs::remove_file(site.work().join(schema)).unwrap();
    assert_eq!(run(&["install", "--from", bundle, "--force", "esf-trading"]).status, 0);
    assert!(files(&site.work()).keys().eq(whole.keys()));

    // The other verbs of a workspace have nobody to ask either.
    let said = run(&["verify", "--all"]);
    assert!(said.status == 0 && said.stdout.ends_with("2 components, 0 wrong\n"), "{said:?}");
    let said = run(&["uninstall", "estream-wire-fix"]);
    assert!(said.status == 0 && said.stderr.is_empty(), "{said:?}");
}

impl Site {
    /// Makes a site with a copy of everything of this one.
    fn copy(&self) -> Site {
        let site = Site { sandbox: Sandbox::new() };
        crate::harness::place::copy(&self.sandbox.path(""), &site.sandbox.path(""));
        site
    }

    /// Returns every file of the workspace; the times at which something was installed are left out.
    fn tree(&self) -> Files {
        let mut found = files(&self.work());
        if let Some(workspace) = found.get_mut("estream-workspace.toml") {
            let text = String::from_utf8(std::mem::take(workspace)).unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("installed_at")).collect();
            *workspace = lines.join("\n").into_bytes();
        }
        found
    }

    fn trace(&self, flags: &[&str], bundle: &Path) -> (Said, String) {
        let arguments = ["install", "--from", bundle.to_str().unwrap()];
        trace::run_in(&self.sandbox, &self.work(), flags, &arguments)
    }

    /// Checks that a workspace has what it says that it has.
    #[track_caller]
    fn verify(&self, what: &str) {
        let mut command = self.sandbox.command();
        let said = Said::of(command.current_dir(self.work()).args(["verify", "--all"]));
        assert!(said.status == 0 && said.stdout.ends_with(" 0 wrong\n"), "{what}: {said:?}");
    }
}

#[test]
fn an_import_that_is_struck_at_any_of_its_calls_is_whole_or_undone_and_the_next_one_is_whole() {
    if !trace::is_here() {
        return;
    }
    let world = World::new();
    world.sandbox.run(&["sync"]);
    let (first, _) = world.export("first", &["esf-trading@1.1.0", "@acme/impact-counter@0.3.0"]);
    let (second, _) = world.export("second", &["estream-wire-fix"]);
    let site = Site::new();
    assert_eq!(site.install(&first, &[]).status, 0);
    site.verify("the first import");
    let old = site.tree();
    let reference = site.copy();
    let which = format!("trace={},{}", trace::WRITES, trace::SYNCS);
    let (said, log) = reference.trace(&["-y", "-e", &which], &second);
    assert_eq!(said.status, 0, "{said:?}");
    reference.verify("the second import");
    let new = reference.tree();
    assert_ne!(old, new);

    let points = trace::points(&log);
    let strikes = ["signal=SIGKILL:when=", "error=ENOSPC:when=", "error=ENOSPC:when=+", "error=EIO:when="];
    let all: Vec<(&Point, &str)> =
        points.iter().flat_map(|point| strikes.map(|strike| (point, strike))).collect();
    let tries = chance::count("RESOLVERD_IMPORTS", 6, all.len() as u64);
    let (offset, next) = (Chance::told().index(all.len()), AtomicUsize::new(0));
    let counts: [AtomicUsize; 4] = Default::default();
    chance::shared(tries, |_, share| {
        let [struck, whole, undone, unfinished] = &counts;
        for _ in 0..share {
            let nth = next.fetch_add(1, Ordering::Relaxed) as u64;
            let at = offset + usize::try_from(nth * all.len() as u64 / tries).unwrap();
            let (Point { call, number }, strike) = all[at % all.len()];
            let more = if strike.ends_with('+') { "+" } else { "" };
            let what = format!("{call}:{}{number}{more}", strike.trim_end_matches('+'));
            let site = site.copy();
            let flags = ["-e", &format!("trace={call}"), "-e", &format!("inject={what}")];
            let (said, log) = site.trace(&flags, &second);
            let is_killed = said.status < 0;
            struck.fetch_add(usize::from(is_killed || log.contains("(INJECTED)")), Ordering::Relaxed);
            // The number of a thread's call may be that of one by which the process was being loaded.
            let is_unbegun = said.status == 127;
            assert!(is_killed || is_unbegun || (0..101).contains(&said.status), "{what}: {said:?}");
            assert!(!said.stderr.contains("panicked at"), "{what}: {said:?}");
            let found = site.tree();
            let is_staged = found.keys().any(|path| path.starts_with(STAGING));
            match () {
                () if found == old => undone.fetch_add(1, Ordering::Relaxed),
                () if found == new => whole.fetch_add(1, Ordering::Relaxed),
                // What lies aside says how to go on.
                () => {
                    assert!(is_staged, "{what}: a part of it, and nothing that says so: {:?}", found.keys());
                    unfinished.fetch_add(1, Ordering::Relaxed)
                }
            };
            // With every write failing a process cannot even say what is wrong.
            if said.status > 0 && more.is_empty() && !is_unbegun {
                assert!(said.stderr.contains("error: "), "{what}: {said:?}");
            }
            let again = site.install(&second, &[]);
            assert_eq!(again.status, 0, "{what}: {again:?}");
            let found = site.tree();
            assert!(found == new, "{what}: {:?}", found.keys());
            site.verify(&what);
        }
    });
    let [struck, whole, undone, unfinished] = counts.map(AtomicUsize::into_inner);
    eprintln!(
        "{tries} of {} strikes at {} points from number {offset} on: {struck} met; {whole} were whole, {undone} undone, {unfinished} for the next one to finish",
        all.len(),
        points.len()
    );
    assert!((struck as u64 + 1) * 10 >= tries * 9, "most points are met again: {struck} of {tries}");
}

#[test]
fn whatever_is_changed_in_a_bundle_is_refused_and_nothing_is_written() {
    let world = World::new();
    world.sandbox.run(&["sync"]);
    let (bundle, checksum) = world.export("bundle", &["estream-wire-fix", "@acme/impact-counter@0.3.0"]);
    let site = Site::new();
    let whole = files(&bundle);
    let place = world.sandbox.path("forged");
    for path in whole.keys() {
        let mut changed = whole.clone();
        let bytes = changed.get_mut(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let _ = std::fs::remove_dir_all(&place);
        crate::harness::repository::write(&place, &changed);
        if path == "bundle.json" {
            site.refuses(&place, &["--checksum", &checksum], 7, "E006", "bundle.json");
            continue;
        }
        site.refuses(&place, &[], 7, "E006", path);
        changed.remove(path);
        let _ = std::fs::remove_dir_all(&place);
        crate::harness::repository::write(&place, &changed);
        site.refuses(&place, &[], 7, "E006", path);
    }
    let mut more = whole.clone();
    more.insert("index/wire-adapter/estream-wire-fix/2.0.0/estream-component.toml".to_owned(), b"x".to_vec());
    let _ = std::fs::remove_dir_all(&place);
    crate::harness::repository::write(&place, &more);
    site.refuses(&place, &[], 7, "E006", "2.0.0/estream-component.toml");
    let _ = std::fs::remove_dir_all(&place);
    crate::harness::repository::write(&place, &whole);
    std::fs::rename(place.join("publishers"), world.sandbox.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(world.sandbox.path("elsewhere"), place.join("publishers")).unwrap();
    site.refuses(&place, &[], 7, "E006", "publishers");
}

#[test]
fn a_bundle_that_was_forged_whole_is_refused_by_what_its_publishers_sign() {
    let world = World::new();
    world.sandbox.run(&["sync"]);
    let (bundle, checksum) = world.export("bundle", &["esf-trading"]);
    let (site, place) = (Site::new(), world.sandbox.path("forged"));
    let component = "index/esf-schema/esf-trading";
    let version = format!("{component}/1.2.0");
    let archive = "packages/esf-trading/1.2.0/package.tar.gz";
    let json = |files: &mut Files, path: &str, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&files[path]).unwrap();
        change(&mut value);
        files.insert(path.to_owned(), value.to_string().into_bytes());
    };
    // What seals a release is its own concern, so that each of them is told from the others by its code.
    forged(&bundle, &place, |files| files.get_mut(archive).unwrap().push(0));
    site.refuses(&place, &[], 7, "E006", "archive");
    forged(&bundle, &place, |files| {
        files.insert(format!("{version}/checksum.sha3"), format!("{}\n", "0".repeat(64)).into_bytes());
    });
    site.refuses(&place, &[], 7, "E006", "checksum");
    forged(&bundle, &place, |files| {
        json(files, &format!("{version}/SIGNATURE.ml-dsa"), &|signature| {
            let text = signature["signature_hex"].as_str().unwrap();
            let turned = format!("{}{}", if text.starts_with('0') { "1" } else { "0" }, &text[1..]);
            signature["signature_hex"] = turned.into();
        });
    });
    site.refuses(&place, &[], 7, "E005", "signature");
    forged(&bundle, &place, |files| {
        json(files, &format!("{component}/metadata.json"), &|metadata| {
            metadata["versions"][1]["checksum_sha3"] = "0".repeat(64).into();
        });
    });
    site.refuses(&place, &[], 7, "E006", "checksum");
    forged(&bundle, &place, |files| {
        json(files, "publishers/estream.json", &|publisher| {
            let key = crate::harness::estream::key("acme").public().to_hex();
            publisher["signing_keys"][0]["public_key_hex"] = key.into();
        });
    });
    site.refuses(&place, &[], 7, "E005", "signature");
    forged(&bundle, &place, |files| {
        json(files, "publishers/estream.json", &|publisher| publisher["signing_keys"] = json!([]));
    });
    site.refuses(&place, &[], 7, "E007", "estream-1");
    forged(&bundle, &place, |files| {
        json(files, "publishers/estream.json", &|publisher| {
            publisher["signing_keys"][0]["status"] = "revoked".into();
        });
    });
    site.refuses(&place, &[], 7, "E005", "revoked");
    forged(&bundle, &place, |files| {
        files.get_mut(&format!("{version}/estream-component.toml")).unwrap().extend(b"# more\n");
    });
    site.refuses(&place, &[], 2, "E008", "estream-component.toml");
    forged(&bundle, &place, |files| {
        files.insert("config.json".to_owned(), b"{\"schema_version\": 1}".to_vec());
    });
    site.refuses(&place, &[], 2, "E008", "config.json");

    // Everything again, signed by another key that the bundle brings itself: only what is known beside it tells.
    let mut registry = sample();
    let other = crate::harness::estream::key("acme");
    registry.change("publishers/estream.json", |publisher| {
        publisher["signing_keys"][0]["public_key_hex"] = other.public().to_hex().into();
    });
    forged(&bundle, &place, |files| {
        files.insert("publishers/estream.json".to_owned(), registry.files["publishers/estream.json"].clone());
        json(files, &format!("{version}/SIGNATURE.ml-dsa"), &|document| {
            let checksum =
                Digest::parse(&format!("sha3-256:{}", document["checksum"].as_str().unwrap())).unwrap();
            let signature = other.sign(checksum.as_bytes(), &[0; 32]).unwrap();
            document["signature_hex"] = catalogue_schema::digest::hex(&signature).into();
        });
    });
    site.refuses(&place, &["--checksum", &checksum], 7, "E006", "bundle.json");
    assert_eq!(site.install(&place, &["--dry-run"]).status, 0, "nobody here knows the publisher");
    let source = json!({"id": "parts", "dialect": "estream", "url": world.repository.url()});
    site.sandbox.write_sources(&json!({"sources": [source]}));
    site.sandbox.run(&["sync"]);
    site.refuses(&place, &[], 7, "E007", "whom parts knows by others");
    let daemon = site.sandbox.start_synced();
    site.refuses(&place, &[], 7, "E007", "whom parts knows by others");
    assert_eq!(site.install(&bundle, &["--dry-run"]).status, 0);
    let mut registry = sample();
    registry.change("publishers/estream.json", |publisher| {
        publisher["signing_keys"][0]["status"] = "revoked".into();
    });
    world.repository.commit(&registry.files);
    daemon.sync();
    site.refuses(&bundle, &["--checksum", &checksum], 7, "E005", "parts says that it is revoked");
    drop(daemon);

    // And the operator's policy holds for bundles as for everything else.
    let site = Site::new();
    let policy = site.sandbox.path("trust.toml");
    std::fs::write(
        &policy,
        "schema = \"resolverd/trust@1\"\nversion = 1\n\n[defaults]\nrequire_pin = true\n",
    )
    .unwrap();
    site.refuses(&bundle, &["--policy", policy.to_str().unwrap()], 6, "E015", "");
}

/// Exports one component of a registry that is changed from the sample.
fn carried(name: &str, component: &str, change: impl FnOnce(&mut Registry)) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let mut registry = sample();
    change(&mut registry);
    let repository = Repository::create(&sandbox.path("registry"));
    repository.commit(&registry.files);
    let source = json!({"id": "parts", "dialect": "estream", "url": repository.url()});
    sandbox.write_sources(&json!({"sources": [source]}));
    let directory = sandbox.path(name);
    let said = sandbox.run(&["export", component, "--output-dir", directory.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
    (sandbox, directory)
}

/// A site whose one source is the sample with something changed.
fn site_of(change: impl FnOnce(&mut Registry), more: &Value) -> (Site, Repository) {
    let site = Site::new();
    let mut registry = sample();
    change(&mut registry);
    let repository = Repository::create(&site.sandbox.path("registry"));
    repository.commit(&registry.files);
    let mut source = json!({"id": "parts", "dialect": "estream", "url": repository.url()});
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    site.sandbox.write_sources(&json!({"sources": [source]}));
    site.sandbox.run(&["sync"]);
    (site, repository)
}

const ROUTER: Part<'_> =
    Part { category: "integration", name: "acme-router", publisher: "acme", version: "1.0.0", more: "" };

#[test]
fn a_bundle_gives_nobody_a_name_that_is_another_s_here() {
    let (_sandbox, bundle) = carried("bundle", "acme-router", |registry| {
        registry.publisher("mallory");
        registry.publish(&Part { publisher: "mallory", version: "1.5.0", ..ROUTER });
    });
    let (site, repository) = site_of(|registry| registry.publish(&ROUTER), &json!({}));
    let said = "by mallory in the bundle, and by acme in parts";
    site.refuses(&bundle, &[], 6, "E015", said);
    // Also where all that is known of it was withdrawn, and through a daemon.
    let mut registry = sample();
    registry.publish(&ROUTER);
    registry.change("index/integration/acme-router/metadata.json", |metadata| {
        metadata["versions"][0]["yanked"] = json!(true);
    });
    repository.commit(&registry.files);
    let daemon = site.sandbox.start_synced();
    site.refuses(&bundle, &[], 6, "E015", said);
    drop(daemon);

    // What no source lists is free, unless the operator has given the name away.
    let (site, _repository) = site_of(|_| {}, &json!({}));
    assert_eq!(site.install(&bundle, &["--dry-run"]).status, 0);
    let (site, _repository) = site_of(|_| {}, &json!({"owns": ["acme-*"]}));
    site.refuses(&bundle, &[], 6, "E015", "parts does not list it, which owns estream:acme-**");
    // Even where nothing of it was ever read.
    let site = Site::new();
    let source = json!({"id": "far", "dialect": "estream", "url": "file:///nowhere", "owns": ["acme-*"]});
    site.sandbox.write_sources(&json!({"sources": [source]}));
    site.refuses(&bundle, &["--offline"], 6, "E015", "far does not list it");

    let (_sandbox, bundle) = carried("bundle", "@acme/backdoor", |registry| {
        registry.publish(&Part { name: "@acme/backdoor", ..ROUTER });
    });
    let (site, _repository) = site_of(|_| {}, &json!({}));
    site.refuses(&bundle, &[], 6, "E015", "parts does not list it, where the names of @acme are registered");
    assert_eq!(Site::new().install(&bundle, &["--dry-run"]).status, 0);
}

#[test]
fn a_bundle_has_the_archive_that_a_known_version_has_here() {
    let (_sandbox, bundle) = carried("bundle", "acme-router", |registry| {
        registry.publish_with(&ROUTER, &[("src/lib.rs", "// other bytes\n")]);
    });
    let (site, _repository) = site_of(|registry| registry.publish(&ROUTER), &json!({}));
    site.refuses(&bundle, &[], 7, "E006", "the archive sha3-256:");
    let (_sandbox, bundle) = carried("bundle", "acme-router", |registry| registry.publish(&ROUTER));
    assert_eq!(site.install(&bundle, &[]).status, 0);
}

#[test]
fn a_key_that_is_no_longer_in_use_here_seals_nothing_that_is_new_in_a_bundle() {
    let newer = Part { version: "2.0.0", ..ROUTER };
    let (_sandbox, bundle) = carried("bundle", "acme-router@2.0.0", |registry| registry.publish(&newer));
    let (_other, known) = carried("known", "acme-router", |registry| registry.publish(&ROUTER));
    let site = |change: &dyn Fn(&mut Value)| {
        let changed = |registry: &mut Registry| {
            registry.publish(&ROUTER);
            registry.change("publishers/acme.json", |publisher| change(&mut publisher["signing_keys"][0]));
        };
        site_of(changed, &json!({}))
    };
    let (fine, _repository) = site(&|_| {});
    assert_eq!(fine.install(&bundle, &["--dry-run"]).status, 0);
    let rotated = |at: &'static str| {
        move |key: &mut Value| {
            key["status"] = json!("rotated");
            key["rotated_at"] = json!(at);
        }
    };
    // The bundle says that it was published before, and nobody here can tell.
    let (gone, _repository) = site(&rotated("2026-05-01T00:00:00Z"));
    gone.refuses(&bundle, &[], 7, "E005", "parts says that it was replaced, 2026-05-01T00:00:00Z");
    assert_eq!(gone.install(&known, &["--dry-run"]).status, 0, "what was published before stays");
    let (before, _repository) = site(&rotated("2026-02-01T00:00:00Z"));
    before.refuses(&known, &[], 7, "E005", "it was replaced");
    let (expired, _repository) = site(&|key| key["expires_at"] = json!("2026-02-20T00:00:00Z"));
    expired.refuses(&bundle, &[], 7, "E005", "it has expired, 2026-02-20T00:00:00Z");
    assert_eq!(expired.install(&known, &["--dry-run"]).status, 0);
    let (early, _repository) = site(&|key| key["expires_at"] = json!("2026-02-01T00:00:00Z"));
    early.refuses(&known, &[], 7, "E005", "it has expired");
    let (late, _repository) = site(&|key| key["created_at"] = json!("2026-03-01T00:00:00Z"));
    late.refuses(&bundle, &[], 7, "E005", "published from 2026-03-01T00:00:00Z on");

    // A record that nobody can read tells of no key.
    let (broken, _repository) = site_of(
        |registry| {
            registry.publish(&ROUTER);
            registry.put("publishers/acme.json", "{");
        },
        &json!({}),
    );
    broken.refuses(&bundle, &[], 7, "E007", "has no record of acme");
}

#[test]
fn a_workspace_without_sources_knows_the_keys_of_what_it_has() {
    let (_good, good) = carried("bundle", "acme-router", |registry| registry.publish(&ROUTER));
    let evil = |version: &'static str| {
        carried("bundle", "acme-router", |registry| {
            registry.publisher_with("acme", "mallory");
            let part = Part { version, ..ROUTER };
            registry.files.retain(|path, _| !path.contains("@acme"));
            registry.publish_with(&part, &[("src/lib.rs", "// another's\n")]);
        })
    };
    let (_same, same) = evil("1.0.0");
    let (_newer, newer) = evil("1.1.0");
    let site = Site::new();
    assert_eq!(site.install(&good, &[]).status, 0);
    for more in [&[][..], &["--force"], &["acme-router"]] {
        site.refuses(&same, more, 7, "E006", "install.other_archive");
    }
    for more in [&[][..], &["--force"], &["acme-router@latest"]] {
        site.refuses(&newer, more, 7, "E007", "nobody here but the bundle says whose that key is");
    }
    // Older versions of this program noted no key.
    let state = site.work().join("estream-workspace.toml");
    let text = std::fs::read_to_string(&state).unwrap();
    let key = |text: &str| text.lines().find(|line| line.starts_with("key = ")).map(str::to_owned);
    let keyless = text.replace(&format!("{}\n", key(&text).unwrap()), "");
    std::fs::write(&state, &keyless).unwrap();
    for more in [&[][..], &["--force"], &["acme-router@latest"]] {
        site.refuses(&newer, more, 7, "E007", "has no key noted");
    }
    // Nor does the bundle's own word fill it in; a source's does.
    assert_eq!(site.install(&good, &[]).status, 0);
    assert_eq!(std::fs::read_to_string(&state).unwrap(), keyless);
    let said = site.install(&newer, &["acme-router@latest", "--force"]);
    assert_eq!(said.status, 0, "{said:?}");
    let (listing, _repository) = site_of(|registry| registry.publish(&ROUTER), &json!({}));
    std::fs::write(listing.work().join("estream-workspace.toml"), &keyless).unwrap();
    let mut command = listing.sandbox.command();
    let said = Said::of(command.current_dir(listing.work()).args(["install"]));
    assert_eq!(said.status, 0, "{said:?}");
    let found = files(&listing.work());
    assert_eq!(key(str::from_utf8(&found["estream-workspace.toml"]).unwrap()), key(&text));
}

#[test]
fn the_keys_of_a_component_are_those_of_its_own_source() {
    // Two registries have a publisher of one name, and each its own key for it.
    let site = Site::new();
    let registry = |key_of: &str| {
        let mut registry = Registry::new();
        registry.publisher_with("acme", key_of);
        registry
    };
    let (mut first, mut second) = (registry("mallory"), registry("acme"));
    first.publish(&Part { name: "acme-other", ..ROUTER });
    second.publish(&ROUTER);
    let [a, b] = [("a", &first), ("b", &second)].map(|(name, registry)| {
        let repository = Repository::create(&site.sandbox.path(name));
        repository.commit(&registry.files);
        (json!({"id": name, "dialect": "estream", "url": repository.url()}), repository)
    });
    site.sandbox.write_sources(&json!({"sources": [a.0, b.0]}));
    site.sandbox.run(&["sync"]);
    let bundle = site.sandbox.path("bundle");
    let said = site.sandbox.run(&["export", "acme-router", "--output-dir", bundle.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
    let said = site.install(&bundle, &[]);
    assert_eq!(said.status, 0, "{said:?}");
    // The other one's key seals nothing of it.
    let (_sandbox, forged) = carried("forged", "acme-router", |registry| {
        registry.publisher_with("acme", "mallory");
        registry.files.retain(|path, _| !path.contains("@acme"));
        registry.publish(&Part { version: "1.1.0", ..ROUTER });
    });
    site.refuses(&forged, &["acme-router@latest", "--force"], 7, "E007", "whom b knows by others");
    // Nor does verify ask a publisher of the same name, where the source lists the component no more.
    second.files.retain(|path, _| !path.starts_with("index/"));
    second.publish(&Part { name: "acme-third", ..ROUTER });
    b.1.commit(&second.files);
    let state = site.work().join("estream-workspace.toml");
    let text = std::fs::read_to_string(&state).unwrap();
    site.sandbox.run(&["sync"]);
    let verify = || {
        let mut command = site.sandbox.command();
        Said::of(command.current_dir(site.work()).args(["verify", "--all"]))
    };
    let said = verify();
    assert!(said.status == 7 && said.stdout.contains("the registry has no such version"), "{said:?}");
    assert!(!said.stdout.contains("a knows acme"), "{said:?}");
    std::fs::write(&state, text.replace("registry = \"b\"", "registry = \"a\"")).unwrap();
    let said = verify();
    assert!(said.status == 7, "{said:?}");
}

#[test]
fn what_is_listed_here_and_cannot_be_read_or_used_protects_all_the_same() {
    let (_sandbox, bundle) = carried("bundle", "acme-router", |registry| registry.publish(&ROUTER));
    let site = |change: &dyn Fn(&mut Registry)| {
        site_of(
            |registry| {
                registry.publish(&ROUTER);
                change(registry);
            },
            &json!({}),
        )
    };
    let metadata = "index/integration/acme-router/metadata.json";
    let (unread, _repository) = site(&|registry| registry.put(metadata, "{"));
    unread.refuses(&bundle, &[], 6, "E015", "parts lists estream:acme-router and does not say whose it is");
    let (unnamed, _repository) = site(&|registry| {
        registry.change(metadata, |metadata| metadata["versions"][0]["checksum_sha3"] = json!(7));
    });
    let said = unnamed.install(&bundle, &[]);
    assert!([6, 7].contains(&said.status), "{said:?}");
    let (spoiled, _repository) = site(&|registry| {
        registry.put("index/integration/acme-router/1.0.0/checksum.sha3", format!("{}\n", "0".repeat(64)));
    });
    spoiled.refuses(&bundle, &[], 7, "E006", "may not be used here, says parts");

    // That a source was not read for long says nothing of a version: what it said of it counts.
    let (old, _repository) = site_of(|registry| registry.publish(&ROUTER), &json!({"maxStale": "1s"}));
    let daemon = old.sandbox.start_synced();
    poll::until("the source's expiry", || {
        let answer = daemon.resolve(&["estream:acme-router"]);
        (answer.status != 200).then(|| assert_eq!(answer.reason(), "source.expired", "{answer}"))
    });
    let said = old.install(&bundle, &[]);
    assert_eq!(said.status, 0, "{said:?}");
    drop(daemon);

    // What was withdrawn stays where it is, and comes to nobody else.
    let withdrawn = |registry: &mut Registry| {
        registry.change(metadata, |metadata| metadata["versions"][0]["yanked"] = json!(true));
    };
    let (new, _repository) = site(&withdrawn);
    new.refuses(&bundle, &[], 10, "E002", "withdrawn by its publisher, says parts");
    let (has, repository) = site(&|_| {});
    assert_eq!(has.install(&bundle, &[]).status, 0);
    let mut registry = sample();
    registry.publish(&ROUTER);
    withdrawn(&mut registry);
    repository.commit(&registry.files);
    has.sandbox.run(&["sync"]);
    let said = has.install(&bundle, &[]);
    assert!(said.status == 0 && said.stdout.contains("withdrawn by its publisher"), "{said:?}");
}

#[test]
fn what_came_in_a_bundle_is_kept_by_its_name_and_stands_in_nobody_s_way() {
    let (_sandbox, bundle) = carried("bundle", "acme-router", |registry| registry.publish(&ROUTER));
    let (site, _repository) = site_of(|_| {}, &json!({}));
    assert_eq!(site.install(&bundle, &[]).status, 0);
    let run = |arguments: &[&str]| {
        let mut command = site.sandbox.command();
        Said::of(command.current_dir(site.work()).args(arguments))
    };
    let said = run(&["install", "acme-router"]);
    assert!(
        said.status == 0 && said.stdout.contains("Nothing to install: acme-router v1.0.0 is"),
        "{said:?}"
    );
    let said = run(&["install", "acme-router@^1.0.0", "estream-wire-fix"]);
    assert_eq!(said.status, 0, "{said:?}");
    let state = std::fs::read_to_string(site.work().join("estream-workspace.toml")).unwrap();
    assert!(state.contains("requested = \"^1.0.0\""), "{state}");
    assert_eq!(run(&["install", "acme-router@^2.0.0"]).status, 10);
    assert_eq!(run(&["install", "acme-router", "--force"]).status, 10);
    assert_eq!(run(&["install"]).status, 0);
    // The cache keeps the rest, also when something goes.
    assert_eq!(run(&["install", "@acme/impact-counter"]).status, 0);
    let said = run(&["uninstall", "estream-wire-fix"]);
    assert!(said.status == 0 && !said.stderr.contains("gc may remove"), "{said:?}");
    let gone = run(&["gc", "--unused", "0", "--dry-run", "-o", "json"]);
    assert!(!gone.stdout.contains("impact-counter@"), "{gone:?}");
}

/// Publishes a component that requires a version of `acme-lib`, with one version of that.
fn with_lib(registry: &mut Registry, name: &str, requirement: &str, version: &str) {
    let more = format!("\n[component.dependencies]\nacme-lib = \"{requirement}\"\n");
    registry.publish(&Part { name: "acme-lib", version, ..ROUTER });
    registry.publish(&Part { name, more: &more, ..ROUTER });
}

#[test]
fn what_stays_is_not_left_with_another_version_of_what_it_requires_unless_that_is_named() {
    let (_top, top) = carried("top", "acme-top", |all| with_lib(all, "acme-top", "^1.2.0", "1.2.0"));
    let (_side, side) = carried("side", "acme-side", |all| with_lib(all, "acme-side", "^1.0.0", "1.0.0"));
    let (_far, far) = carried("far", "acme-far", |all| with_lib(all, "acme-far", "^2.0.0", "2.0.0"));
    let site = Site::new();
    assert_eq!(site.install(&top, &[]).status, 0);
    let stays = "acme-top requires it and stays";
    for more in [&[][..], &["--force"], &["acme-side"], &["--dry-run"]] {
        site.refuses(&side, more, 3, "E003", "acme-lib 1.0.0 is older than 1.2.0, which is installed");
        site.refuses(&side, more, 3, "install.older", stays);
        site.refuses(&far, &["acme-far"], 3, "install.breaking", stays);
    }
    // The command of the hint does it, and says what may be wrong afterwards.
    let command = format!("resolverd install --from {} acme-side acme-lib;", side.to_str().unwrap());
    site.refuses(&side, &[], 3, "E003", &command);
    let said = site.install(&side, &["acme-side", "acme-lib", "--dry-run"]);
    assert!(said.status == 0 && said.stdout.contains("warning:") && said.stdout.contains(stays), "{said:?}");

    // The same where a source has the older one.
    let (near, _repository) = site_of(|all| with_lib(all, "acme-side", "^1.0.0", "1.0.0"), &json!({}));
    assert_eq!(near.install(&top, &[]).status, 0);
    let install = |names: &[&str]| {
        let mut command = near.sandbox.command();
        Said::of(command.current_dir(near.work()).arg("install").args(names))
    };
    let said = install(&["acme-side"]);
    assert!(said.status == 3 && said.stderr.contains("install.older"), "{said:?}");
    assert!(said.stderr.contains("resolverd install acme-side acme-lib;"), "{said:?}");
    assert_eq!(install(&["acme-side", "acme-lib"]).status, 0);
}

#[test]
fn an_archive_that_is_damaged_in_the_cache_is_fetched_again_for_an_export() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let (_, before) = world.export("before", &["esf-trading"]);
    let answer = daemon.post("/v1/materialize", &json!({"releases": [TRADING], "hold": "lock:/a"})).ok();
    let archive = PathBuf::from(answer["items"][0]["archive"].as_str().unwrap());
    let damage = || {
        let mut bytes = std::fs::read(&archive).unwrap();
        bytes[50] ^= 1;
        std::fs::write(&archive, bytes).unwrap();
    };
    damage();
    let (_, after) = world.export("after", &["esf-trading"]);
    assert_eq!(before, after);
    std::fs::remove_file(&archive).unwrap();
    assert_eq!(world.export("gone", &["esf-trading"]).1, before);
    damage();
    let place = world.sandbox.path("offline");
    let arguments = ["--offline", "export", "esf-trading", "--output-dir", place.to_str().unwrap()];
    let said = world.sandbox.run(&arguments);
    assert!(said.status == 7 && said.stderr.contains("export again without --offline"), "{said:?}");
}

#[test]
fn documents_that_are_asked_for_twice_are_told_once() {
    let world = World::new();
    let daemon = world.sandbox.start_synced();
    let one = daemon.post("/v1/documents", &json!({"releases": [TRADING], "publishers": ["acme"]})).ok();
    let many = json!({"releases": vec![TRADING; 3000], "publishers": vec!["acme"; 10_000]});
    let many = daemon.post("/v1/documents", &many).ok();
    assert_eq!(many["contents"], one["contents"]);
    assert_eq!(many["publishers"], one["publishers"]);
    assert_eq!(many["publishers"][0]["keys"][0]["expiresAt"], "2028-01-01T00:00:00Z");
    let items = many["items"].as_array().unwrap();
    assert!(items.len() == 3000 && items.iter().all(|row| *row == one["items"][0]));
}

#[test]
fn what_came_in_a_bundle_provides_its_schemas_to_what_comes_from_a_source() {
    let foreign = Part {
        category: "esf-schema",
        name: "foreign",
        more: "\n[component.schemas]\nprovides = [\"ForeignRecord\"]\n",
        ..ROUTER
    };
    let (_sandbox, bundle) = carried("bundle", "foreign", |registry| registry.publish(&foreign));
    let needs = "\n[component.dependencies]\nforeign = \"^1\"\n\n[component.schemas]\nrequires = [\"ForeignRecord\"]\n";
    let lost = "\n[component.dependencies]\nforeign = \"^1\"\n\n[component.schemas]\nrequires = [\"NobodysRecord\"]\n";
    let (site, _repository) = site_of(
        |registry| {
            registry.publish(&Part { name: "acme-needs", more: needs, ..ROUTER });
            registry.publish(&Part { name: "acme-lost", more: lost, ..ROUTER });
            registry.publish(&Part { name: "acme-twin", more: foreign.more, ..ROUTER });
        },
        &json!({}),
    );
    let install = |name: &str| {
        let mut command = site.sandbox.command();
        Said::of(command.current_dir(site.work()).args(["install", name]))
    };
    // Without it nobody has what is required.
    assert!(install("acme-needs").stderr.contains("E001"));
    assert_eq!(site.install(&bundle, &[]).status, 0);
    let refused = |name: &str, status: i32, words: &[&str]| {
        let before = files(&site.work());
        let said = install(name);
        assert_eq!(said.status, status, "{said:?}");
        assert!(words.iter().all(|word| said.stderr.contains(word)), "{words:?}: {said:?}");
        assert!(files(&site.work()) == before);
    };
    refused("acme-lost", 2, &["E008", "NobodysRecord"]);
    refused("acme-twin", 3, &["E014", "ForeignRecord", "estream:foreign@1.0.0"]);
    let said = install("acme-needs");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(files(&site.work()).contains_key("integrations/acme-needs/README.md"));
    let said = install("acme-needs");
    assert!(said.status == 0 && said.stdout.contains("Nothing to install"), "{said:?}");

    // Whoever asks the API says so, or does not.
    let daemon = site.sandbox.start_synced();
    let ask = |native: Value| {
        daemon.post("/v1/resolve", &json!({ "requests": ["estream:acme-needs"], "natives": [native] }))
    };
    let all = json!({ "id": "estream:foreign", "version": "1.0.0", "provides": ["ForeignRecord"] });
    assert_eq!(ask(all).status, 200);
    let every = json!({ "id": "estream:foreign@^1", "provides": ["ForeignRecord", "Other"] });
    assert_eq!(ask(every).status, 200);
    for silent in [json!("estream:foreign@1.0.0"), json!({ "id": "estream:foreign", "version": null })] {
        let refused = ask(silent);
        assert_eq!((refused.status, refused.reason()), (422, "requires_unmet".to_owned()), "{refused}");
    }
    for (wrong, status) in [
        (json!({ "id": "estream:foreign@1", "version": "1" }), 400),
        (json!({ "id": "estream:", "provides": ["x"] }), 400),
        (json!({ "id": "estream:foreign", "provide": ["x"] }), 400),
        (json!({ "id": "estream:foreign", "provides": vec!["x"; 10_001] }), 413),
    ] {
        let refused = ask(wrong);
        assert_eq!(refused.status, status, "{refused}");
    }
}
