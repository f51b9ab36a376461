//! Workspaces of eStream components: installed, replaced, verified and removed by the real binary, from a real repository that is signed
//! with real keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::chance::Chance;
use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::estream::{Part, Registry, sample};
use crate::harness::poll;
use crate::harness::repository::Repository;

const STATE: &str = "estream-workspace.toml";
const STAGING: &str = ".resolverd-install";

type Tree = BTreeMap<String, String>;

/// A registry, whoever reads it, and a workspace.
struct World {
    sandbox: Sandbox,
    repository: Repository,
    workspace: PathBuf,
}

impl World {
    fn new(registry: &Registry) -> World {
        let sandbox = Sandbox::new();
        let repository = Repository::create(&sandbox.path("registry"));
        repository.commit(&registry.files);
        sandbox.write_sources(&json!({ "sources": [{
            "id": "parts", "dialect": "estream", "url": repository.url(), "owns": ["estream-*", "esf-*"],
        }] }));
        let workspace = sandbox.path("workspace");
        std::fs::create_dir_all(&workspace).unwrap();
        World { sandbox, repository, workspace }
    }

    fn run_in(&self, directory: &Path, arguments: &[&str]) -> Said {
        Said::of(self.sandbox.command().current_dir(directory).args(arguments))
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_in(&self.workspace, arguments)
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said.stdout
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Expects a refusal with this exit status and all of these words; nothing in the workspace changes.
    #[track_caller]
    fn refused(&self, arguments: &[&str], status: i32, words: &[&str]) {
        let before = self.tree();
        let said = self.run(arguments);
        assert_eq!(said.status, status, "{arguments:?}: {said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
        }
        assert!(said.stderr.contains("hint: "), "{}", said.stderr);
        assert_eq!(self.tree(), before);
    }

    fn place(&self, path: &str) -> PathBuf {
        self.workspace.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let place = self.place(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.place(path)).unwrap()
    }

    fn tree(&self) -> Tree {
        tree(&self.workspace)
    }
}

fn tree(root: &Path) -> Tree {
    let (mut found, mut open) = (Tree::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let is_link = entry.symlink_metadata().unwrap().is_symlink();
            if entry.is_dir() && !is_link {
                open.push(entry);
            } else {
                let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let text = if is_link { "a link".into() } else { std::fs::read_to_string(entry).unwrap() };
                found.insert(path, text);
            }
        }
    }
    found
}

fn part<'a>(category: &'a str, name: &'a str, version: &'a str, more: &'a str) -> Part<'a> {
    Part { category, name, publisher: "estream", version, more }
}

const WIRE: &str = "\n[component.dependencies]\nesf-trading = \"1.0.0\"\n\n[component.schemas]\nprovides = [\"FixNewOrderSingle\"]\nrequires = [\"EStreamOrder\"]\n";
const TRADING: &str = "\n[component.schemas]\nprovides = [\"EStreamOrder\", \"EStreamFill\"]\n";

/// The components of the seed's sample: an adapter that needs a schema, in two versions each.
fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.publisher("estream");
    registry.publisher("acme");
    let trading = |version| part("esf-schema", "esf-trading", version, TRADING);
    registry.publish_with(&trading("1.1.0"), &[("schemas/order.esf.yaml", "order 1.1\n")]);
    registry.publish_with(
        &trading("1.2.0"),
        &[("schemas/fill.esf.yaml", "fill 1.2\n"), ("schemas/order.esf.yaml", "order 1.2\n")],
    );
    let wire = |version| part("wire-adapter", "estream-wire-fix", version, WIRE);
    registry.publish_with(
        &wire("1.0.0"),
        &[
            ("circuits/fix-parser.circuit.yaml", "parser 1.0\n"),
            ("circuits/fix-router.circuit.yaml", "router 1.0\n"),
            ("schemas/fix-order.esf.yaml", "fix 1.0\n"),
            ("src/lib.rs", "// 1.0\n"),
        ],
    );
    registry.publish_with(
        &wire("1.1.0"),
        &[
            ("circuits/fix-parser.circuit.yaml", "parser 1.1\n"),
            ("schemas/fix-order.esf.yaml", "fix 1.0\n"),
            ("src/lib.rs", "// 1.1\n"),
        ],
    );
    registry.publish_with(
        &Part { publisher: "acme", ..part("console-widget", "@acme/impact", "0.3.0", "") },
        &[("widgets/impact.json", "{}\n")],
    );
    registry
}

fn with_daemon(registry: &Registry) -> (World, Daemon) {
    let world = World::new(registry);
    let daemon = world.sandbox.start_synced();
    (world, daemon)
}

/// Returns what a workspace has by its file: `name@version`, with a star where it was asked for.
fn installed(world: &World) -> Vec<String> {
    let table: toml::Table = world.read(STATE).parse().unwrap();
    let all = table["dependencies"].as_table().unwrap().iter();
    all.map(|(name, one)| {
        let star = if one.get("requested").is_some() { "*" } else { "" };
        format!("{name}@{}{star}", one["version"].as_str().unwrap())
    })
    .collect()
}

#[test]
fn components_are_installed_with_what_they_require_and_shown_as_the_seed_shows_it() {
    let (world, _daemon) = with_daemon(&registry());
    let dry = world.done(&["install", "estream-wire-fix@^1.0.0", "--dry-run"]);
    assert!(
        dry.contains("  circuits/fix-parser.circuit.yaml\n")
            && dry.contains("Would install 2 components (9 files) in "),
        "{dry}"
    );
    assert_eq!(world.tree(), Tree::new());

    let told = world.done(&["marketplace", "install", "estream-wire-fix@1.0.0"]);
    let tree = "Resolving dependencies...\n  estream-wire-fix v1.0.0\n  ├── esf-trading v1.2.0\n  │   ├── EStreamOrder (schema)\n  │   └── EStreamFill (schema)\n  └── FixNewOrderSingle (schema)\n";
    assert!(told.starts_with(tree), "{told}");
    assert!(told.contains("\nDownloading...\n  esf-trading v1.2.0 ........ "), "{told}");
    for (name, version) in [("esf-trading", "1.2.0"), ("estream-wire-fix", "1.0.0")] {
        let archive = world.repository.path.join(format!("archives/{name}-{version}.tar.gz"));
        let size = format!(" ({} KB)\n", archive.metadata().unwrap().len().div_ceil(1_000));
        let line = told.lines().find(|line| line.starts_with(&format!("  {name} v{version} ..."))).unwrap();
        assert!(format!("{line}\n").ends_with(&size), "{line}, and the archive has{size}");
    }
    let verified = "\nVerifying ML-DSA-87 signatures...\n  esf-trading v1.2.0 ✓ (key: estream-1)\n  estream-wire-fix v1.0.0 ✓ (key: estream-1)\n";
    assert!(told.contains(verified), "{told}");
    assert!(told.contains("\nInstalled 2 components (10 files) in "), "{told}");

    let found = world.tree();
    let expected = [
        ("adapters/estream-wire-fix/README.md", "# estream-wire-fix 1.0.0\n"),
        ("adapters/estream-wire-fix/src/lib.rs", "// 1.0\n"),
        ("circuits/fix-router.circuit.yaml", "router 1.0\n"),
        ("schemas/esf-trading/README.md", "# esf-trading 1.2.0\n"),
        ("schemas/fix-order.esf.yaml", "fix 1.0\n"),
        ("schemas/order.esf.yaml", "order 1.2\n"),
    ];
    for (path, text) in expected {
        assert_eq!(found.get(path).map(String::as_str), Some(text), "{path}");
    }
    assert_eq!(found.len(), 11, "{:?}", found.keys());
    assert_eq!(installed(&world), ["esf-trading@1.2.0", "estream-wire-fix@1.0.0*"]);

    // From a directory below, the same workspace; what is installed stays what it is.
    let again = world.run_in(&world.place("circuits"), &["install", "estream-wire-fix", "-o", "json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&again["installed"], &again["files"]), (&json!(0), &json!(0)), "{again:#}");
    assert_eq!(world.tree(), found);

    let widget = world.json(&["mp", "install", "@acme/impact"]);
    assert_eq!(widget["components"][0]["verification"]["keyId"], "acme-1");
    assert_eq!(world.read("widgets/impact.json"), "{}\n");
    assert!(world.read(STATE).contains("[dependencies.\"@acme/impact\"]\nversion = \"0.3.0\"\n"));
    assert!(world.place("widgets/@acme/impact/README.md").is_file());
}

#[test]
fn without_a_daemon_it_is_the_same() {
    let world = World::new(&registry());
    world.done(&["install", "estream-wire-fix"]);
    assert_eq!(installed(&world), ["esf-trading@1.2.0", "estream-wire-fix@1.1.0*"]);
    assert!(world.done(&["verify", "--all"]).ends_with("2 components, 0 wrong\n"));
}

#[test]
fn one_joint_solution_keeps_what_is_installed_while_it_satisfies() {
    let mut registry = registry();
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "esf-trading@1.1.0"]);
    world.done(&["install", "estream-wire-fix@1.0.0"]);
    assert_eq!(installed(&world), ["esf-trading@1.1.0*", "estream-wire-fix@1.0.0*"]);
    // A newer version of what is installed changes nothing by itself.
    world.done(&["install", "@acme/impact"]);
    assert_eq!(installed(&world)[1..], ["esf-trading@1.1.0*", "estream-wire-fix@1.0.0*"]);
    let told = world.done(&["install", "estream-wire-fix@^1.0.0"]);
    assert!(told.contains("Nothing to install: estream-wire-fix v1.0.0 is installed already"), "{told}");

    // What was asked for before counts as well.
    registry.publish_with(
        &part("integration", "hub", "1.0.0", "\n[component.dependencies]\nesf-trading = \"^1.2\"\n"),
        &[],
    );
    world.repository.commit(&registry.files);
    daemon.sync();
    world.refused(&["install", "hub"], 3, &["E003", "esf-trading"]);

    // Replaced, the old version's files go.
    let told = world.done(&["install", "estream-wire-fix@latest"]);
    assert!(told.contains("estream-wire-fix v1.1.0 (replaces v1.0.0)"), "{told}");
    assert!(!world.place("circuits/fix-router.circuit.yaml").exists());
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "parser 1.1\n");
    world.done(&["install", "esf-trading@^1.1.0"]);
    world.done(&["install", "hub"]);
    assert_eq!(installed(&world)[1], "esf-trading@1.2.0*");
    world.refused(&["install", "nobody"], 10, &["E001"]);
    world.refused(&["install", "estream-wire-fix@^9"], 10, &["E002"]);
    world.refused(&["install", "lcod://tooling/text/slug"], 2, &["R001", "resolverd materialize"]);
    world.refused(&["install", "estream-kernel"], 2, &["R001", "--platform"]);
    world.refused(&["install", "hub", "--no-verify"], 6, &["E015", "[[exceptions]]"]);
}

#[test]
fn conflicts_are_found_before_anything_is_written() {
    let mut registry = registry();
    let order = "\n[component.schemas]\nprovides = [\"EStreamOrder\"]\n";
    registry.publish_with(&part("esf-schema", "esf-other", "1.0.0", order), &[]);
    registry
        .publish_with(&part("integration", "clash", "1.0.0", ""), &[("schemas/order.esf.yaml", "mine\n")]);
    registry.publish_with(&part("integration", "case", "1.0.0", ""), &[("schemas/Order.esf.yaml", "mine\n")]);
    registry.publish_with(&part("integration", "below", "1.0.0", ""), &[("schemas/order.esf.yaml/x", "x\n")]);
    let (world, _daemon) = with_daemon(&registry);

    // A file that is somebody's stays his.
    world.write("schemas/order.esf.yaml", "mine\n");
    let exists = ["E014", "install.file_exists", "schemas/order.esf.yaml"];
    world.refused(&["install", "estream-wire-fix"], 3, &exists);
    world.refused(&["install", "estream-wire-fix", "--force"], 3, &exists);
    // With the same bytes it is what would be there.
    world.write("schemas/order.esf.yaml", "order 1.2\n");
    world.done(&["install", "estream-wire-fix"]);

    world.refused(&["install", "esf-other"], 3, &["E014", "EStreamOrder", "esf-trading"]);
    world.refused(&["install", "clash"], 3, &["E014", "install.file_conflict", "esf-trading", "clash"]);
    world.refused(&["install", "case"], 3, &["E014", "install.file_conflict", "schemas/Order.esf.yaml"]);
    world.refused(&["install", "below"], 3, &["E014", "install.file_conflict"]);

    // What was changed by hand is replaced only by force.
    world.write("circuits/fix-parser.circuit.yaml", "by hand\n");
    let changed = ["E014", "install.file_changed", "circuits/fix-parser.circuit.yaml", "--force"];
    world.refused(&["install", "estream-wire-fix@1.0.0"], 3, &changed);
    world.refused(&["uninstall", "estream-wire-fix"], 3, &changed);
    world.done(&["install", "estream-wire-fix", "--force"]);
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "parser 1.1\n");
    world.write("circuits/fix-parser.circuit.yaml", "by hand\n");
    world.done(&["install", "estream-wire-fix@1.0.0", "--force"]);
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "parser 1.0\n");
    // A file that is gone is brought again.
    std::fs::remove_file(world.place("schemas/fill.esf.yaml")).unwrap();
    let told = world.done(&["install", "esf-trading"]);
    assert!(
        told.contains("1 file of esf-trading no longer as installed; resolverd install --force"),
        "{told}"
    );
    world.done(&["install", "esf-trading", "--force"]);
    assert_eq!(world.read("schemas/fill.esf.yaml"), "fill 1.2\n");
}

#[test]
fn no_link_leads_out_of_the_workspace() {
    let (world, _daemon) = with_daemon(&registry());
    let elsewhere = world.sandbox.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let link = |from: &str| std::os::unix::fs::symlink(&elsewhere, world.place(from)).unwrap();
    link("circuits");
    world.refused(&["install", "estream-wire-fix"], 3, &["install.link", "circuits", "a link"]);
    std::fs::remove_file(world.place("circuits")).unwrap();
    std::fs::create_dir_all(world.place("adapters")).unwrap();
    link("adapters/estream-wire-fix");
    world.refused(&["install", "estream-wire-fix"], 3, &["install.link", "adapters/estream-wire-fix"]);
    std::fs::remove_file(world.place("adapters/estream-wire-fix")).unwrap();
    std::fs::create_dir_all(world.place("circuits")).unwrap();
    std::fs::write(elsewhere.join("x"), "parser 1.1\n").unwrap();
    std::os::unix::fs::symlink(elsewhere.join("x"), world.place("circuits/fix-parser.circuit.yaml")).unwrap();
    world.refused(&["install", "estream-wire-fix"], 3, &["install.file_exists", "circuits/fix-parser"]);
    assert_eq!(tree(&elsewhere), Tree::from([("x".to_owned(), "parser 1.1\n".to_owned())]));
    // Nor is the workspace's file one: a dry run says so as well.
    std::fs::write(elsewhere.join("state"), "").unwrap();
    std::os::unix::fs::symlink(elsewhere.join("state"), world.place(STATE)).unwrap();
    for arguments in [&["install", "@acme/impact", "--dry-run"][..], &["install", "@acme/impact"]] {
        world.refused(arguments, 3, &["install.link", STATE]);
    }
    std::fs::remove_file(world.place(STATE)).unwrap();
    // The workspace itself may be reached by one.
    let door = world.sandbox.path("door");
    std::os::unix::fs::symlink(&world.workspace, &door).unwrap();
    std::fs::remove_file(world.place("circuits/fix-parser.circuit.yaml")).unwrap();
    let said = world.run_in(&door, &["install", "estream-wire-fix"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "parser 1.1\n");
}

#[test]
fn force_reads_the_sources_and_fetches_the_archives_again() {
    let mut registry = registry();
    let (world, _daemon) = with_daemon(&registry);
    world.done(&["install", "esf-trading@1.1.0"]);
    let cached = world.json(&["install", "esf-trading@1.1.0"]);
    assert_eq!(cached["components"][0]["from"], "cache");
    let forced = world.json(&["install", "esf-trading@1.1.0", "--force"]);
    let one = &forced["components"][0];
    assert_eq!((&one["from"], &one["fate"]), (&json!("fetched"), &json!("reinstalled")));
    // What was published meanwhile is known without a sync.
    registry.publish_with(&part("integration", "hub", "1.0.0", ""), &[]);
    world.repository.commit(&registry.files);
    world.refused(&["install", "hub"], 10, &["E001"]);
    world.done(&["install", "hub", "--force"]);
    world.refused(&["install", "hub", "--force", "--offline"], 5, &["E012", "offline"]);
    world.done(&["install", "hub", "--offline"]);
    // What the registry sends today is not what it promised: the cache would never know.
    let archive = registry.files.get_mut("archives/hub-1.0.0.tar.gz").unwrap();
    let last = archive.len() - 1;
    archive[last] ^= 1;
    world.repository.commit(&registry.files);
    world.refused(&["install", "hub", "--force"], 7, &["E006"]);
    world.done(&["install", "hub"]);
}

#[test]
fn what_does_not_verify_is_not_installed() {
    let (world, daemon) = with_daemon(&registry());
    let changed = |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut registry = registry();
        change(registry.files.get_mut(path).unwrap());
        world.repository.commit(&registry.files);
        daemon.sync();
    };
    let other = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace(from, to).into_bytes()
        }
    };
    let directory = "index/esf-schema/esf-trading";
    let wire: &[&str] = &["install", "estream-wire-fix"];
    // The newest is spoiled; an older one meets the requirement as well.
    changed(&format!("{directory}/1.2.0/checksum.sha3"), &|bytes| {
        bytes[0] = if bytes[0] == b'0' { b'1' } else { b'0' }
    });
    world.refused(&["install", "esf-trading@1.2.0"], 7, &["E006"]);
    let told = world.done(&["install", "estream-wire-fix", "--dry-run"]);
    assert!(told.contains("esf-trading v1.1.0"), "{told}");
    changed("publishers/estream.json", &other("active", "revoked"));
    world.refused(wire, 7, &["E005", "revoked"]);
    changed("publishers/estream.json", &other("estream-1", "estream-2"));
    world.refused(wire, 7, &["E007"]);
    changed("archives/esf-trading-1.2.0.tar.gz", &|bytes| bytes[100] ^= 1);
    world.refused(wire, 7, &["E006"]);
    changed(
        &format!("{directory}/1.2.0/SIGNATURE.ml-dsa"),
        &other("\"signature_hex\": \"", "\"signature_hex\": \"00"),
    );
    world.refused(&["install", "esf-trading@1.2.0"], 7, &["E005"]);
    assert_eq!(world.tree(), Tree::new());
}

#[test]
fn save_writes_the_requirement_and_keeps_comments() {
    let (world, _daemon) = with_daemon(&registry());
    world.refused(&["install", "esf-trading", "--save"], 2, &["E008", "estream-component.toml"]);
    let manifest = "# ours\n[component]\nname = \"mine\" # its name\n\n[component.dependencies]\n# why\nesf-trading = \"0.9\" # keep\n";
    world.write("estream-component.toml", manifest);
    let told = world.done(&["install", "esf-trading", "estream-wire-fix@1.0.0", "--save", "--dry-run"]);
    assert!(told.contains("Would save the requirement in estream-component.toml"), "{told}");
    assert_eq!(world.read("estream-component.toml"), manifest);
    world.done(&["install", "esf-trading", "estream-wire-fix@1.0.0", "--save"]);
    let expected = manifest.replace("\"0.9\"", "\"^1.2.0\"") + "estream-wire-fix = \"=1.0.0\"\n";
    assert_eq!(world.read("estream-component.toml"), expected);
    world.write("estream-component.toml", "[component\n");
    world.refused(&["install", "@acme/impact", "--save"], 2, &["E008", "line 1"]);
}

#[test]
fn the_workspace_file_is_read_in_either_form_and_its_faults_are_named() {
    let (world, _daemon) = with_daemon(&registry());
    world.write(STATE, "[dependencies]\nesf-trading = \"1.1.0\"\n");
    let told = world.run(&["verify", "--all"]);
    assert!(told.stdout.contains("none are noted; resolverd install esf-trading does"), "{told:?}");
    world.done(&["install", "estream-wire-fix"]);
    assert_eq!(installed(&world), ["esf-trading@1.1.0*", "estream-wire-fix@1.1.0*"]);
    assert_eq!(world.read("schemas/order.esf.yaml"), "order 1.1\n");
    world.write(STATE, "[dependencies.x]\nversion = \"1.0.0\"\nowner = \"me\"\n");
    world.refused(&["install", "@acme/impact"], 2, &["E008", STATE, "owner", "line 1"]);
    world.refused(&["verify", "--all"], 2, &["E008", "owner"]);
    world.write(
        STATE,
        &format!(
            "[dependencies.x]\nversion = \"1.0.0\"\nfiles = [{{ path = \"../x\", sha256 = \"{}\" }}]\n",
            "0".repeat(64)
        ),
    );
    world.refused(&["uninstall", "x"], 2, &["E008", "../x"]);
}

#[test]
fn installed_components_are_verified_and_what_was_looked_at_is_said() {
    let mut registry = registry();
    let (world, daemon) = with_daemon(&registry);
    let nothing = world.run(&["verify", "estream-wire-fix"]);
    assert_eq!(nothing.status, 10, "{nothing:?}");
    world.done(&["install", "estream-wire-fix"]);
    let told = world.done(&["marketplace", "verify", "estream-wire-fix"]);
    let expected = "estream-wire-fix v1.1.0\n  Signature:  ✓ Valid (ML-DSA-87)\n  Key ID:     estream-1\n  Signed at:  2026-02-10T12:00:00Z\n  Publisher:  estream (verified)\n  Checksum:   ✓ SHA3-256 matches\n  Files:      ✓ 5 as installed\n  Checked:    files, registry, archive\n  Result:     Valid\n";
    assert!(told.starts_with(expected), "{told}");
    let outcome = |arguments: &[&str]| {
        let said = world.run(&[arguments, &["-o", "json"]].concat());
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        (said.status, answer["components"].clone())
    };

    // A file that was changed, and one whose change is noted as well.
    let state = world.read(STATE);
    world.write("circuits/fix-parser.circuit.yaml", "by hand\n");
    let (status, found) = outcome(&["verify", "--all"]);
    assert_eq!(
        (status, &found[0]["result"], &found[1]["result"]),
        (7, &json!("Valid"), &json!("ChecksumMismatch"))
    );
    assert_eq!(found[1]["changes"], json!([{"path": "circuits/fix-parser.circuit.yaml", "what": "changed"}]));
    let digest = |text: &str| catalogue_schema::digest::Digest::sha256(text.as_bytes()).hex();
    world.write(STATE, &state.replace(&digest("parser 1.1\n"), &digest("by hand\n")));
    let (status, found) = outcome(&["verify", "estream-wire-fix"]);
    assert_eq!((status, &found[0]["result"]), (7, &json!("ChecksumMismatch")), "{found:#}");
    assert!(found[0]["notes"][0].as_str().unwrap().contains("other files than the archive"), "{found:#}");
    world.write(STATE, &state);
    std::fs::remove_file(world.place("circuits/fix-parser.circuit.yaml")).unwrap();
    let (status, found) = outcome(&["verify", "--all"]);
    assert_eq!((status, &found[1]["changes"][0]["what"]), (7, &json!("missing")));
    world.done(&["install", "estream-wire-fix", "--force"]);

    // What the registry says today counts.
    let publisher = "publishers/estream.json";
    let before = registry.files[publisher].clone();
    for (field, value, expected) in [
        ("status", json!("revoked"), "RevokedKey"),
        ("expires_at", json!("2026-01-02T00:00:00Z"), "ExpiredKey"),
        ("key_id", json!("another"), "UnknownKey"),
    ] {
        registry.change(publisher, |record| record["signing_keys"][0][field] = value.clone());
        world.repository.commit(&registry.files);
        daemon.sync();
        let (status, found) = outcome(&["verify", "estream-wire-fix"]);
        assert_eq!((status, &found[0]["result"]), (7, &json!(expected)), "{found:#}");
        assert_eq!(found[0]["checked"], json!(["files", "registry"]));
        registry.files.insert(publisher.to_owned(), before.clone());
    }
    registry.sign(
        "index/wire-adapter/estream-wire-fix/1.1.0",
        "acme",
        &catalogue_schema::digest::Digest::parse(
            outcome(&["verify", "estream-wire-fix"]).1[0]["checksum"].as_str().unwrap(),
        )
        .unwrap(),
    );
    registry.change("index/wire-adapter/estream-wire-fix/1.1.0/SIGNATURE.ml-dsa", |seal| {
        seal["key_id"] = json!("estream-1")
    });
    world.repository.commit(&registry.files);
    daemon.sync();
    let (status, found) = outcome(&["verify", "estream-wire-fix"]);
    assert_eq!((status, &found[0]["result"]), (7, &json!("InvalidSignature")), "{found:#}");

    // Where nobody knows the component, its files are compared all the same.
    world.sandbox.write_sources(&json!({ "sources": [] }));
    daemon.post("/v1/reload", &json!({})).ok();
    let (status, found) = outcome(&["verify", "estream-wire-fix"]);
    assert_eq!(
        (status, &found[0]["result"], &found[0]["checked"]),
        (0, &Value::Null, &json!(["files"])),
        "{found:#}"
    );
    world.refused(&["verify", "estream-wire-fix", "estream:esf-trading@1.2.0"], 2, &["R011", "id@version"]);
    world.refused(&["verify", "@acme/impact"], 10, &["E001", "resolverd install @acme/impact"]);
}

#[test]
fn a_version_that_no_registry_has_is_wrong_and_so_is_a_key_that_was_revoked() {
    let mut registry = registry();
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "estream-wire-fix"]);
    let state = world.read(STATE);
    let outcome = || {
        let said = world.run(&["verify", "estream-wire-fix", "-o", "json"]);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        (said.status, answer["components"][0]["result"].clone(), answer["components"][0]["notes"].clone())
    };
    // A file, its digest and the version, all by hand.
    let digest = |text: &str| catalogue_schema::digest::Digest::sha256(text.as_bytes()).hex();
    world.write("adapters/estream-wire-fix/src/lib.rs", "by hand\n");
    let edited = state.replace(&digest("// 1.1\n"), &digest("by hand\n"));
    world.write(STATE, &edited.replace("version = \"1.1.0\"", "version = \"9.9.9\""));
    let (status, result, notes) = outcome();
    assert_eq!((status, &result), (7, &json!("UnknownKey")), "{notes}");
    assert!(notes[0].as_str().unwrap().starts_with("the registry has no such version"), "{notes}");
    // Without the archive's checksum the files are compared with the archive all the same.
    let line = |start: &str| edited.lines().rfind(|line| line.starts_with(start)).unwrap().to_owned() + "\n";
    world.write(STATE, &edited.replace(&line("checksum"), ""));
    assert_eq!((outcome().0, outcome().1), (7, json!("ChecksumMismatch")));
    world.write("adapters/estream-wire-fix/src/lib.rs", "// 1.1\n");

    // A name that nobody lists, though the source that it came from was read.
    registry.files.retain(|path, _| !path.starts_with("index/wire-adapter/"));
    world.write(STATE, &state);
    let publish = |registry: &Registry| {
        world.repository.commit(&registry.files);
        daemon.sync();
    };
    publish(&registry);
    assert_eq!((outcome().0, outcome().1), (7, json!("UnknownKey")));
    // What came from elsewhere, such as from a bundle: nobody can tell, but its key is known here.
    world.write(STATE, &state.replace("registry = \"parts\"", "registry = \"elsewhere\""));
    assert_eq!((outcome().0, outcome().1), (0, Value::Null), "{}", outcome().2);
    registry
        .change("publishers/estream.json", |record| record["signing_keys"][0]["status"] = json!("revoked"));
    publish(&registry);
    let (status, result, notes) = outcome();
    assert_eq!((status, &result), (7, &json!("RevokedKey")), "{notes}");
    // It is the same key under another id, and another one under the same id is not.
    registry.change("publishers/estream.json", |record| record["signing_keys"][0]["key_id"] = json!("other"));
    publish(&registry);
    assert_eq!((outcome().0, outcome().1), (7, json!("RevokedKey")));
    registry.publisher_with("estream", "acme");
    publish(&registry);
    assert_eq!((outcome().0, outcome().1), (7, json!("UnknownKey")));
}

#[test]
fn the_seeds_table_is_kept_and_an_entry_without_a_checksum_is_not_wrong() {
    let (world, _daemon) = with_daemon(&registry());
    world.write(
        STATE,
        "[dependencies.esf-trading]\nversion = \"1.1.0\"\ninstalled_at = \"2026-02-10T12:00:00Z\"\n",
    );
    let told = world.done(&["verify", "--all"]);
    assert!(told.contains("none noted") && told.contains("  Result:     it is not there\n"), "{told}");
    assert!(told.contains("no file of it is there; resolverd install esf-trading brings them"), "{told}");
    assert!(told.ends_with("1 component, 0 wrong\n"), "{told}");
    world.done(&["install", "@acme/impact"]);
    assert_eq!(installed(&world), ["@acme/impact@0.3.0*", "esf-trading@1.1.0*"]);
}

#[test]
fn an_entry_that_notes_no_files_has_them_brought_and_is_wrong_without() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "esf-trading@1.1.0"]);
    let is_kept =
        |line: &&str| ["[dependencies", "version", "checksum"].iter().any(|one| line.starts_with(one));
    let bare: Vec<String> = world.read(STATE).lines().filter(is_kept).map(str::to_owned).collect();
    let bare = bare.join("\n") + "\n";
    std::fs::remove_dir_all(world.place("schemas")).unwrap();
    for arguments in [&["install"][..], &["install", "esf-trading"], &["install", "@acme/impact"]] {
        world.write(STATE, &bare);
        let said = world.run(&["verify", "--all"]);
        assert!(said.status == 7 && said.stdout.contains("missing schemas/order.esf.yaml"), "{said:?}");
        world.done(arguments);
        assert_eq!(world.read("schemas/order.esf.yaml"), "order 1.1\n");
        assert!(world.done(&["verify", "--all"]).ends_with(" 0 wrong\n"));
        std::fs::remove_dir_all(world.place("schemas")).unwrap();
        let _ = std::fs::remove_dir_all(world.place("widgets"));
    }
}

#[test]
fn what_was_withdrawn_is_verified_and_kept_in_the_cache_where_it_is_installed() {
    let needs = "\n[component.dependencies]\nhub = \"^1.0.0\"\n";
    let mut registry = registry();
    registry.publish(&hub("1.0.0"));
    registry.publish(&Part { publisher: "acme", ..part("integration", "top", "1.0.0", needs) });
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "top", "esf-trading"]);
    for name in ["top", "hub"] {
        registry.change(&format!("index/integration/{name}/metadata.json"), |metadata| {
            metadata["versions"][0]["yanked"] = json!(true);
        });
    }
    world.repository.commit(&registry.files);
    daemon.sync();
    let told = world.json(&["verify", "--all"]);
    for one in told["components"].as_array().unwrap() {
        assert_eq!(one["checked"], json!(["files", "registry", "archive"]), "{one:#}");
        assert_eq!(one["result"], "Valid", "{one:#}");
    }
    let said = world.run(&["uninstall", "esf-trading"]);
    assert!(said.status == 0 && !said.stderr.contains("gc may remove"), "{said:?}");
    let gone = world.run(&["gc", "--unused", "0", "--dry-run", "-o", "json"]);
    assert!(gone.status == 0 && gone.stdout.contains("esf-trading"), "{gone:?}");
    assert!(!gone.stdout.contains("top@") && !gone.stdout.contains("hub@"), "{gone:?}");
}

#[test]
fn what_is_refused_further_down_keeps_its_code_and_a_contradiction_stays_one() {
    let mut registry = registry();
    let needs = |requirement: &str| format!("\n[component.dependencies]\n{requirement}\n");
    let (old, top) = (needs("esf-trading = \"=1.1.0\""), needs("hub = \"^2\""));
    registry.publish(&part("integration", "hub", "1.0.0", &old));
    registry.publish(&part("integration", "hub", "2.0.0", ""));
    registry.publish(&part("integration", "top", "1.0.0", &top));
    registry.put("index/integration/hub/2.0.0/checksum.sha3", "0".repeat(64));
    let (world, daemon) = with_daemon(&registry);
    let sums = ["E006 estream.checksum_mismatch", "hub@2.0.0 may not be used"];
    world.refused(&["install", "hub@2.0.0"], 7, &sums);
    world.refused(&["install", "top"], 7, &[&sums[..], &["requires estream:hub@^2"]].concat());
    let told = daemon.post("/v1/resolve", &json!({ "requests": ["estream:top"] }));
    let problem = told.json();
    assert_eq!((told.status, &problem["release"]), (502, &json!("estream:hub@2.0.0")), "{problem:#}");
    assert!(problem["derivation"]["facts"].as_array().unwrap().len() > 1, "{problem:#}");
    // Without the refusal the two would still fit together; without the contradiction as well.
    world.refused(&["install", "hub", "esf-trading@1.2.0"], 3, &["E003", "2.0.0 refused"]);
    world.done(&["install", "hub", "--dry-run"]);
}

#[test]
fn who_takes_the_notes_of_changed_files_away_is_found_out() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "esf-trading@1.1.0"]);
    let table = "[dependencies.esf-trading]\nversion = \"1.1.0\"\n";
    world.write(STATE, table);
    let outcome = || {
        let said = world.run(&["verify", "--all", "-o", "json"]);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        (said.status, answer["components"][0].clone())
    };
    let (status, found) = outcome();
    assert_eq!((status, &found["result"], &found["changes"]), (0, &json!("Valid"), &json!([])), "{found:#}");
    world.write("schemas/order.esf.yaml", "by hand\n");
    let (status, found) = outcome();
    assert_eq!((status, &found["result"]), (7, &json!("ChecksumMismatch")), "{found:#}");
    assert_eq!(found["changes"], json!([{ "path": "schemas/order.esf.yaml", "what": "changed" }]));
    let told = world.run(&["verify", "--all"]).stdout;
    assert!(told.contains("✗ 1 are not as in the archive"), "{told}");
}

#[test]
fn the_workspaces_file_claims_no_file_of_the_project() {
    let (world, _daemon) = with_daemon(&registry());
    world.write("src/main.rs", "fn main() {}\n");
    let digest = catalogue_schema::digest::Digest::sha256(b"fn main() {}\n").hex();
    world.write(
        STATE,
        &format!(
            "[dependencies.ghost]\nversion = \"1.0.0\"\nfiles = [{{ path = \"src/main.rs\", sha256 = \"{digest}\" }}]\n"
        ),
    );
    let words = ["E008", "dependencies.ghost.files.path", "src/main.rs", "below schemas/"];
    for arguments in
        [&["install", "@acme/impact", "--force"][..], &["uninstall", "ghost"], &["verify", "--all"]]
    {
        world.refused(arguments, 2, &words);
    }
    // What goes is shown file by file.
    std::fs::remove_file(world.place(STATE)).unwrap();
    world.done(&["install", "estream-wire-fix"]);
    let state = world.read(STATE);
    world.write(STATE, &state.replace("dependencies = [\"esf-trading\"]\n", ""));
    let told = world.done(&["install", "@acme/impact", "--dry-run"]);
    assert!(
        told.contains("  esf-trading v1.2.0 (4 files)\n") && told.contains("\n    schemas/order.esf.yaml\n"),
        "{told}"
    );
}

#[test]
fn a_file_may_become_a_directory_in_another_version_and_back() {
    let mut registry = registry();
    let hub = |version| part("integration", "hub", version, "");
    registry.publish_with(&hub("1.0.0"), &[("src/a", "a file\n")]);
    registry.publish_with(&hub("2.0.0"), &[("src/a/b", "below\n"), ("src/a/c/d", "further below\n")]);
    let (world, _daemon) = with_daemon(&registry);
    world.done(&["install", "hub@1.0.0"]);
    let one = world.tree();
    world.done(&["install", "hub@2.0.0"]);
    assert_eq!(world.read("integrations/hub/src/a/c/d"), "further below\n");
    // A file of somebody else in there stays, and so does everything.
    world.write("integrations/hub/src/a/c/mine", "mine\n");
    let mine = ["E014", "install.file_exists", "integrations/hub/src/a/c/mine"];
    world.refused(&["install", "hub@1.0.0", "--force"], 3, &mine);
    std::fs::remove_file(world.place("integrations/hub/src/a/c/mine")).unwrap();
    // So does what was changed by hand.
    world.write("integrations/hub/src/a/b", "by hand\n");
    world.refused(&["install", "hub@1.0.0"], 3, &["E014", "install.file_changed", "src/a/b"]);
    world.done(&["install", "hub@1.0.0", "--force"]);
    assert_eq!(world.tree().keys().collect::<Vec<_>>(), one.keys().collect::<Vec<_>>());
    assert_eq!(world.read("integrations/hub/src/a"), "a file\n");
    // By somebody else's hand, a file where a directory is to be is no file that goes.
    world.done(&["install", "hub@2.0.0"]);
    std::fs::remove_dir_all(world.place("integrations/hub/src")).unwrap();
    world.write("integrations/hub/src", "mine\n");
    world.refused(&["install", "hub@1.0.0", "--force"], 3, &["E014", "install.link", "integrations/hub/src"]);
}

#[test]
fn what_was_asked_for_stays_however_the_name_is_written() {
    let mut registry = registry();
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "@acme/impact@0.3.0", "esf-trading@^1.1.0"]);
    let state = world.read(STATE);
    assert!(state.contains("requested = \"=0.3.0\""), "{state}");
    world.done(&["install", "estream:@acme/impact", "estream:esf-trading"]);
    assert_eq!(world.read(STATE), state);
    let twice = ["R011", "@acme/impact", "@0.3.0", "^0.3"];
    world.refused(&["install", "@acme/impact@0.3.0", "estream:@acme/impact@^0.3"], 2, &twice);
    // What may not be used any more stands in the way of everything: the hint says what lets go of it.
    registry.change("publishers/acme.json", |record| record["signing_keys"][0]["status"] = json!("revoked"));
    world.repository.commit(&registry.files);
    daemon.sync();
    world.refused(&["install", "estream-wire-fix"], 7, &["E005", "resolverd uninstall @acme/impact lets go"]);
    world.done(&["uninstall", "@acme/impact"]);
    world.done(&["install", "estream-wire-fix"]);
}

#[test]
fn save_keeps_line_ends_and_what_else_is_said_of_a_requirement() {
    let (world, _daemon) = with_daemon(&registry());
    let manifest = "[component]\r\nname = \"mine\"\r\n\r\n[component.dependencies]\r\nesf-trading = { path = \"../x\" } # ours\r\n";
    world.write("estream-component.toml", manifest);
    world.done(&["install", "esf-trading", "--save"]);
    let expected = manifest.replace("\"../x\" }", "\"../x\", version = \"^1.2.0\" }");
    assert_eq!(world.read("estream-component.toml"), expected);
}

#[test]
fn who_looks_while_another_changes_is_told_so() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "@acme/impact"]);
    std::fs::create_dir(world.place(STAGING)).unwrap();
    world.write(&format!("{STAGING}/journal.json"), "{\"schema\": \"resolverd/install@1\", \"steps\": []}");
    let lock = std::fs::File::open(&world.workspace).unwrap();
    lock.lock().unwrap();
    world.refused(&["verify", "--all"], 1, &["locked", "another process changes it"]);
    world.refused(&["install", "@acme/impact", "--dry-run"], 1, &["locked"]);
    drop(lock);
    world.refused(&["verify", "--all"], 1, &["interrupted"]);
    world.done(&["install", "@acme/impact"]);
    world.done(&["verify", "--all"]);
}

#[test]
fn what_nobody_needs_goes_and_what_is_needed_stays() {
    let mut registry = registry();
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "estream-wire-fix", "@acme/impact"]);
    world.write("schemas/own.esf.yaml", "mine\n");
    world.refused(&["uninstall", "esf-trading"], 3, &["E003", "estream-wire-fix requires it"]);
    world.refused(&["uninstall", "nobody"], 10, &["E001"]);
    let told = world.done(&["uninstall", "estream-wire-fix", "--dry-run"]);
    assert!(told.ends_with("Would remove 2 components (9 files)\n"), "{told}");
    world.done(&["uninstall", "estream-wire-fix"]);
    assert_eq!(installed(&world), ["@acme/impact@0.3.0*"]);
    assert!(!world.place("adapters").exists() && world.place("schemas/own.esf.yaml").exists());

    // A version that needs less lets go of what only its predecessor needed.
    world.done(&["install", "estream-wire-fix"]);
    registry.publish_with(&part("wire-adapter", "estream-wire-fix", "2.0.0", ""), &[]);
    world.repository.commit(&registry.files);
    daemon.sync();
    let told = world.done(&["install", "estream-wire-fix@latest"]);
    assert!(
        told.contains("Removing what nobody needs any more...\n  esf-trading v1.2.0 (4 files)\n"),
        "{told}"
    );
    assert_eq!(installed(&world), ["@acme/impact@0.3.0*", "estream-wire-fix@2.0.0*"]);

    // Withdrawn or listed by nobody, what is installed stays and takes part.
    world.done(&["install", "esf-trading@1.1.0"]);
    registry.change("index/esf-schema/esf-trading/metadata.json", |metadata| {
        metadata["versions"][0]["yanked"] = json!(true);
    });
    registry.files.retain(|path, _| !path.contains("@acme"));
    world.repository.commit(&registry.files);
    daemon.sync();
    world.done(&["install", "estream-wire-fix@1.0.0"]);
    let expected = ["@acme/impact@0.3.0*", "esf-trading@1.1.0*", "estream-wire-fix@1.0.0*"];
    assert_eq!(installed(&world), expected);
    assert_eq!(world.read("widgets/impact.json"), "{}\n");

    // What a workspace has, gc leaves in the cache; until it has nothing.
    let gone = world.json(&["gc", "--unused", "0", "--dry-run"]);
    let gone = gone["removed"].to_string();
    assert!(gone.contains("estream-wire-fix@2.0.0") && !gone.contains("estream-wire-fix@1.0.0"), "{gone}");
    world.done(&["uninstall", "@acme/impact", "esf-trading", "estream-wire-fix"]);
    assert_eq!(world.json(&["gc", "--unused", "0", "--dry-run"])["held"], 0);
    assert_eq!(world.tree().into_keys().collect::<Vec<_>>(), [STATE, "schemas/own.esf.yaml"]);
}

#[test]
fn an_install_that_is_killed_at_any_moment_is_finished_or_undone_by_the_next() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "estream-wire-fix@1.0.0"]);
    let clean = |tree: Tree| -> Tree {
        let own = |path: &String| path != STATE;
        tree.into_iter().filter(|(path, _)| own(path)).collect()
    };
    let old = clean(world.tree());
    let begun = Instant::now();
    world.done(&["install", "estream-wire-fix@1.1.0"]);
    let length = begun.elapsed();
    let new = clean(world.tree());
    assert_ne!(old, new);
    let mut chance = Chance::told();
    let (mut at, mut unfinished) = ("1.1.0", 0);
    for _ in 0..crate::harness::chance::number("RESOLVERD_INSTALL_KILLS", 12) {
        let next = if at == "1.0.0" { "1.1.0" } else { "1.0.0" };
        let wanted = format!("estream-wire-fix@{next}");
        let mut command = world.sandbox.command();
        command.current_dir(&world.workspace).args(["install", &wanted]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        // The second half is where it writes.
        let micros = u64::try_from(length.as_micros()).unwrap();
        poll::pause(Duration::from_micros(micros / 2 + chance.below(micros / 2 + 1)));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += usize::from(world.place(STAGING).exists());
        // The next run, whatever it is asked for, leaves one version whole.
        world.done(&["install", "estream-wire-fix"]);
        assert!(!world.place(STAGING).exists());
        let found = clean(world.tree());
        at = if found == old { "1.0.0" } else { "1.1.0" };
        assert!(found == old || found == new, "{found:#?}");
        assert_eq!(installed(&world)[1], format!("estream-wire-fix@{at}*"));
        assert!(world.done(&["verify", "--all"]).ends_with("2 components, 0 wrong\n"));
    }
    eprintln!("{unfinished} were struck while they wrote");
}

#[test]
fn two_installs_at_once_do_not_mix() {
    let (world, _daemon) = with_daemon(&registry());
    let spawn = |reference: &str| {
        let mut command = world.sandbox.command();
        command.current_dir(&world.workspace).args(["install", reference]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let both = [spawn("estream-wire-fix@1.0.0"), spawn("@acme/impact")];
    for child in both {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success() || said.contains("locked"), "{said}");
    }
    world.done(&["install", "estream-wire-fix@1.0.0", "@acme/impact"]);
    assert_eq!(
        installed(&world),
        ["@acme/impact@0.3.0*", "esf-trading@1.2.0*", "estream-wire-fix@1.0.0*"]
            .map(|one| one.replace("1.2.0*", "1.2.0"))
    );
}

#[test]
fn searches_name_category_publisher_and_badges() {
    let world = World::new(&sample());
    let _daemon = world.sandbox.start_synced();
    let table = world.done(&["marketplace", "search", "-o", "table"]);
    let expected = "NAME                  VERSION  CATEGORY        PUBLISHER  BADGES\n@acme/impact-counter  0.3.0    console-widget  acme       Verified, Tested\nesf-trading           1.2.0    esf-schema      estream    ✓ Official, Tested\nestream-wire-fix      1.0.0    wire-adapter    estream    ✓ Official, Tested\n\n3 results found\n";
    assert_eq!(table, expected);
    let one = world.done(&[
        "search",
        "-c",
        "wire-adapter",
        "-t",
        "parts",
        "--verified",
        "--official",
        "--limit",
        "1",
    ]);
    assert!(one.contains("estream-wire-fix") && one.ends_with("\n1 result found\n"), "{one}");
    let more = world.done(&["mp", "search", "--limit", "2"]);
    assert!(more.contains("3 results found; 2 shown, more: --cursor "), "{more}");
    assert!(world.done(&["search", "nothing-like-it"]).starts_with("nothing matches"));
    // Beside components of other registries the table is the one that fits all of them.
    let mut sources = crate::daemon::sample();
    let own: Value =
        serde_json::from_str(&std::fs::read_to_string(world.sandbox.sources()).unwrap()).unwrap();
    sources["sources"].as_array_mut().unwrap().push(own["sources"][0].clone());
    world.sandbox.write_sources(&sources);
    world.done(&["reload"]);
    let mixed = world.done(&["search", "--limit", "100"]);
    assert!(mixed.starts_with("NAME ") && mixed.lines().next().unwrap().contains("KIND"), "{mixed}");
    assert!(mixed.contains("\nestream:esf-trading ") && mixed.contains("\nlcod://"), "{mixed}");
    assert!(world.done(&["search", "fix"]).contains("✓ Official, Tested"));
    let json = world.json(&["search", "fix"]);
    assert_eq!(json["items"][0]["id"], "estream:estream-wire-fix", "json stays what it was");
}

/// A second registry beside the first: its repository, and a sources file that places it before or behind.
fn with_second(world: &World, second: &Registry, is_first: bool) -> Repository {
    let other = Repository::create(&world.sandbox.path("other"));
    other.commit(&second.files);
    let parts = json!({ "id": "parts", "dialect": "estream", "url": world.repository.url() });
    let other_parts = json!({ "id": "other", "dialect": "estream", "url": other.url() });
    let both = if is_first { [other_parts, parts] } else { [parts, other_parts] };
    world.sandbox.write_sources(&json!({ "sources": both }));
    other
}

fn hub<'a>(version: &'a str) -> Part<'a> {
    Part { publisher: "acme", ..part("integration", "hub", version, "") }
}

/// A registry with a component `hub` of acme in these versions, sealed by a key that follows from this name.
fn hubs(key_of: &str, versions: &[&str], text: &str) -> Registry {
    let mut registry = Registry::new();
    registry.publisher_with("acme", key_of);
    for version in versions {
        registry.publish_with(&hub(version), &[("src/hub", text)]);
    }
    registry
}

#[test]
fn an_older_version_comes_with_what_is_named_and_never_by_itself() {
    let needs = |version: &str| format!("\n[component.dependencies]\nhub = \"^{version}\"\n");
    let mut registry = hubs("acme", &["1.0.0", "2.0.0"], "hub\n");
    for version in ["1.0.0", "2.0.0"] {
        let more = needs(version);
        registry.publish(&Part { publisher: "acme", ..part("integration", "top", version, &more) });
    }
    let (world, daemon) = with_daemon(&registry);
    world.done(&["install", "top"]);
    assert_eq!(installed(&world), ["hub@2.0.0", "top@2.0.0*"]);
    let told = world.done(&["install", "top@^1.0.0"]);
    assert!(
        told.contains("warning: hub 1.0.0 is older than 2.0.0, which is installed; top requires it"),
        "{told}"
    );
    assert_eq!(installed(&world), ["hub@1.0.0", "top@1.0.0*"]);
    // The registry takes back what is installed.
    world.done(&["install", "hub@latest", "top@latest"]);
    world.done(&["uninstall", "top"]);
    assert_eq!(installed(&world), ["hub@2.0.0*"]);
    world.repository.commit(&hubs("acme", &["1.0.0"], "hub\n").files);
    daemon.sync();
    let words = ["E003", "install.older", "hub 1.0.0 is older than 2.0.0", "resolverd install hub"];
    world.refused(&["install"], 3, &words);
    world.done(&["install", "hub"]);
    assert_eq!(installed(&world), ["hub@1.0.0*"]);
}

#[test]
fn what_is_installed_is_exchanged_for_other_bytes_only_by_name_and_force() {
    let mut first = registry();
    first.publish_with(&hub("1.0.0"), &[("src/hub", "of parts\n")]);
    let (world, daemon) = with_daemon(&first);
    world.done(&["install", "hub"]);
    assert!(world.read(STATE).contains("\nkey = \"sha256:"), "{}", world.read(STATE));
    // Another source lists it too, and is placed better.
    let _other = with_second(&world, &hubs("acme", &["1.0.0"], "of other\n"), true);
    daemon.post("/v1/reload", &json!({})).ok();
    daemon.sync();
    let words = ["E006", "install.other_archive", "hub 1.0.0 was installed from parts", "in other it is"];
    for arguments in [
        &["install", "esf-trading"][..],
        &["install", "esf-trading", "--force"],
        &["install", "hub"],
        &["install"],
        &["install", "--force"],
    ] {
        world.refused(arguments, 7, &words);
    }
    assert_eq!(world.read("integrations/hub/src/hub"), "of parts\n");
    let told = world.json(&["install", "hub", "--force"]);
    assert_eq!(told["components"][0]["fate"], "reinstalled", "{told:#}");
    assert_eq!(world.read("integrations/hub/src/hub"), "of other\n");

    // One registry, other bytes under the version of what only another component needs.
    world.sandbox.write_sources(&json!({ "sources": [
        { "id": "parts", "dialect": "estream", "url": world.repository.url() },
    ] }));
    daemon.post("/v1/reload", &json!({})).ok();
    world.done(&["uninstall", "hub"]);
    world.done(&["install", "estream-wire-fix@1.0.0"]);
    let mut again = registry();
    again.files.retain(|path, _| !path.contains("esf-trading"));
    again.publish_with(
        &part("esf-schema", "esf-trading", "1.2.0", TRADING),
        &[("schemas/order.esf.yaml", "other\n")],
    );
    world.repository.commit(&again.files);
    daemon.sync();
    world.refused(
        &["install", "estream-wire-fix@1.1.0"],
        7,
        &["E006", "install.other_archive", "esf-trading"],
    );
    world.refused(&["install", "estream-wire-fix@1.1.0", "--force"], 7, &["E006", "esf-trading"]);
}

#[test]
fn a_component_comes_from_another_source_or_publisher_only_where_it_is_named() {
    let needs = "\n[component.dependencies]\nhub = \">=2.0.0\"\n";
    let check = |second: &mut Registry, publisher: &str, reason: &str, text: &str| {
        let mut first = registry();
        first.publish_with(&hub("1.0.0"), &[]);
        let (world, daemon) = with_daemon(&first);
        world.done(&["install", "hub"]);
        second.publish_with(&Part { publisher, ..part("integration", "top", "1.0.0", needs) }, &[]);
        let _other = with_second(&world, second, true);
        daemon.post("/v1/reload", &json!({})).ok();
        daemon.sync();
        for arguments in [&["install", "top"][..], &["install", "top", "--force"]] {
            world.refused(arguments, 6, &["E015", reason, text, "resolverd install top hub"]);
        }
        let told = world.done(&["install", "top", "hub"]);
        assert!(told.contains("warning:") && told.contains(text), "{told}");
        assert_eq!(installed(&world), ["hub@2.0.0*", "top@1.0.0*"]);
    };
    let text = "hub 2.0.0 comes from other, and hub 1.0.0 came from parts";
    check(&mut hubs("mallory", &["2.0.0"], "of other\n"), "acme", "install.other_source", text);
    let mut third = Registry::new();
    third.publisher("mallory");
    third.publish(&Part { publisher: "mallory", ..hub("2.0.0") });
    let text = "hub 2.0.0 is by mallory, and hub 1.0.0 was by acme";
    check(&mut third, "mallory", "install.other_publisher", text);
}

#[test]
fn the_same_key_under_another_source_s_name_is_told_and_no_more() {
    let mut first = registry();
    first.publish_with(&hub("1.0.0"), &[]);
    let (world, daemon) = with_daemon(&first);
    world.done(&["install", "hub"]);
    let mut second = hubs("acme", &["2.0.0"], "newer\n");
    let needs = "\n[component.dependencies]\nhub = \">=2.0.0\"\n";
    second.publish_with(&Part { publisher: "acme", ..part("integration", "top", "1.0.0", needs) }, &[]);
    let _other = with_second(&world, &second, true);
    daemon.post("/v1/reload", &json!({})).ok();
    daemon.sync();
    world.done(&["install", "top"]);
    assert_eq!(installed(&world), ["hub@2.0.0*", "top@1.0.0*"]);
}

#[test]
fn what_an_install_moved_aside_is_never_thrown_away_with_a_lost_journal() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "@acme/impact"]);
    world.write(&format!("{STAGING}/old/0"), "the only copy\n");
    world.write(&format!("{STAGING}/journal.json"), "{\"schema\": \"resolverd/install@1\", \"ste");
    let install: &[&str] = &["install", "@acme/impact"];
    world.refused(
        install,
        1,
        &["E013", "install.journal", "journal.json", "remove nothing yet", "/old holds"],
    );
    std::fs::remove_file(world.place(&format!("{STAGING}/journal.json"))).unwrap();
    world.refused(install, 1, &["E013", "install.journal", "/old holds files", "put its journal.json back"]);
    assert_eq!(world.read(&format!("{STAGING}/old/0")), "the only copy\n");
    std::fs::remove_dir_all(world.place(STAGING)).unwrap();
    world.done(install);
}

#[test]
fn without_a_name_what_the_workspace_lists_is_installed_and_missing_files_come_back() {
    let (world, _daemon) = with_daemon(&registry());
    world.refused(&["install"], 2, &["R011", "lists nothing"]);
    world.done(&["install", "estream-wire-fix@1.0.0", "@acme/impact"]);
    let whole = world.tree();
    // As after a checkout of a repository in which only the file lies.
    for directory in ["adapters", "circuits", "schemas", "widgets"] {
        std::fs::remove_dir_all(world.place(directory)).unwrap();
    }
    let told = world.done(&["install", "--dry-run"]);
    assert!(told.contains("of 3 components") && told.contains("Would restore"), "{told}");
    world.done(&["install"]);
    assert_eq!(world.tree(), whole);
    assert!(world.done(&["install"]).contains("are installed already"));
    // What was changed by hand is nothing that is missing.
    world.write("circuits/fix-parser.circuit.yaml", "by hand\n");
    std::fs::remove_file(world.place("widgets/impact.json")).unwrap();
    let told = world.done(&["install"]);
    assert!(told.contains("1 file of estream-wire-fix no longer as installed"), "{told}");
    assert!(told.contains("Restored 1 file of 1 component"), "{told}");
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "by hand\n");
    assert_eq!(world.read("widgets/impact.json"), "{}\n");
    // Of one component one file comes back, and another one, which was changed, stays and is told of.
    let gone = whole.keys().find(|path| path.starts_with("adapters/")).unwrap();
    std::fs::remove_file(world.place(gone)).unwrap();
    let told = world.json(&["install"]);
    let row = told["components"].as_array().unwrap().iter().find(|row| row["fate"] == "restored").unwrap();
    assert_eq!((&row["id"], &row["files"]), (&json!("estream:estream-wire-fix"), &json!([gone])), "{told:#}");
    assert_eq!((&told["installed"], &told["files"]), (&json!(0), &json!(0)));
    assert_eq!((&told["restored"], &told["filesRestored"]), (&json!(1), &json!(1)));
    let text = told["warnings"].to_string();
    assert!(text.contains("1 file of estream-wire-fix no longer as installed"), "{text}");
    // Whoever names one component hears of what it requires.
    let schema = whole.keys().find(|path| path.starts_with("schemas/")).unwrap();
    std::fs::remove_file(world.place(schema)).unwrap();
    let told = world.done(&["install", "estream-wire-fix"]);
    assert!(told.contains("1 file of esf-trading no longer as installed"), "{told}");
    world.done(&["install", "--force"]);
    assert_eq!(world.read("circuits/fix-parser.circuit.yaml"), "parser 1.0\n");
}

#[test]
fn a_file_of_one_s_own_with_the_same_bytes_stays_when_the_component_goes() {
    let (world, _daemon) = with_daemon(&registry());
    world.write("circuits/fix-parser.circuit.yaml", "parser 1.0\n");
    let told = world.done(&["install", "estream-wire-fix@1.0.0"]);
    assert!(
        told.contains("warning:") && told.contains("leaves it: circuits/fix-parser.circuit.yaml"),
        "{told}"
    );
    assert!(world.read(STATE).contains("adopted = true"));
    // Another version has other bytes for it: it is as much somebody's as before.
    let exists = ["E014", "install.file_exists", "circuits/fix-parser.circuit.yaml"];
    world.refused(&["install", "estream-wire-fix@1.1.0"], 3, &exists);
    let told = world.done(&["uninstall", "estream-wire-fix"]);
    assert!(told.contains("circuits/fix-parser.circuit.yaml stays: it was there before"), "{told}");
    assert_eq!(world.tree().into_keys().collect::<Vec<_>>(), ["circuits/fix-parser.circuit.yaml", STATE]);
}

#[test]
fn an_uninstall_means_the_version_that_it_names_and_each_component_once() {
    let (world, _daemon) = with_daemon(&registry());
    world.done(&["install", "@acme/impact", "esf-trading@1.1.0"]);
    world.refused(&["uninstall", "esf-trading@9"], 10, &["E002", "installed as 1.1.0", "9"]);
    world.done(&["uninstall", "esf-trading@1.1.0", "esf-trading"]);
    world.done(&["uninstall", "@acme/impact", "estream:@acme/impact"]);
}

#[test]
fn files_that_others_may_not_read_stay_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let (world, _daemon) = with_daemon(&registry());
    world.write("estream-component.toml", "[component]\nname = \"mine\"\n");
    world.done(&["install", "@acme/impact"]);
    let files = [STATE, "estream-component.toml"].map(|path| world.place(path));
    for file in &files {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    world.done(&["install", "esf-trading", "--save"]);
    for file in &files {
        assert_eq!(crate::harness::daemon::mode(file), 0o600, "{}", file.display());
    }
}
