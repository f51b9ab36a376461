//! New components, their checks and their archives, through the real binary: `scaffold` and `pack`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use resolverd::estream::package::Package;
use resolverd::fetch::limit::Limits;
use resolverd::materialize::archive::{Bounds, read};
use serde_json::Value;

use crate::harness::daemon::{Said, Sandbox};
use crate::harness::place;
use crate::harness::poll;

const CATEGORIES: [&str; 8] = [
    "esf-schema",
    "wire-adapter",
    "smart-circuit",
    "fpga-circuit",
    "integration",
    "console-widget",
    "data-schema",
    "payment-protocol",
];

/// A component with a file of every kind.
const FILES: [(&str, &str); 8] = [
    (
        "estream-component.toml",
        "[component]\nname = \"fix-tools\"\nversion = \"1.0.0\"\ncategory = \"wire-adapter\"\ndescription = \"Tools for FIX\"\n\n\
         [component.schemas]\nprovides = [\"FixNewOrderSingle\"]\n\n[component.circuits]\nprovides = [\"fix_parser_circuit\"]\n\n\
         [component.include]\nschemas = [\"schemas/*.esf.yaml\"]\ncircuits = [\"circuits/*.circuit.yaml\"]\ntests = [\"tests/golden/**\"]\n",
    ),
    ("README.md", "# FIX\n"),
    ("LICENSE", "As is.\n"),
    ("schemas/fix-new-order-single.esf.yaml", "fields: { a: { type: string } }\n"),
    ("schemas/Zeta.esf.yaml", "fields: {}\n"),
    ("circuits/fix-parser.circuit.yaml", "name: fix_parser\n"),
    ("tests/golden/one.json", "{}\n"),
    ("tests/golden/aa/two.json", "[]\n"),
];

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn component(directory: &Path) -> PathBuf {
    FILES.iter().for_each(|(name, text)| write(directory, name, text));
    directory.to_owned()
}

fn in_directory(sandbox: &Sandbox, directory: &Path, arguments: &[&str]) -> Said {
    Said::of(sandbox.command().args(arguments).current_dir(directory))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the answer of a verb that succeeds.
#[track_caller]
fn json(said: &Said) -> Value {
    assert_eq!(said.status, 0, "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

/// Returns the paths in an archive.
fn listed(archive: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut take = |file: resolverd::materialize::archive::Unpacked| {
        assert!(!file.executable);
        names.push(file.path.to_string());
        Ok(())
    };
    let bytes = fs::read(archive).unwrap();
    read(bytes.as_slice(), &Bounds::from(&Limits::default()), None, "it", &mut take).unwrap();
    names
}

#[test]
fn every_category_begins_with_a_component_that_packs_as_it_is() {
    let sandbox = Sandbox::new();
    for category in CATEGORIES {
        for name in [
            format!("x-{category}"),
            format!("@acme/{category}"),
            "9-to-5".to_owned(),
            "long-name-".repeat(9) + "1234567890",
        ] {
            let place = sandbox.path(&format!("new/{category}/{}", name.replace('/', "-")));
            let made = json(&sandbox.run(&[
                "scaffold",
                category,
                &name,
                "--output-dir",
                text(&place),
                "-o",
                "json",
            ]));
            assert_eq!((&made["name"], &made["category"]), (&name.as_str().into(), &category.into()));
            for file in made["files"].as_array().unwrap() {
                assert!(place.join(file["path"].as_str().unwrap()).is_file(), "{file}");
            }
            let mode = fs::metadata(&place).unwrap().permissions().mode() & 0o700;
            assert_eq!(mode, 0o700);
            let packed = json(&sandbox.run(&["pack", text(&place), "--publisher", "acme", "-o", "json"]));
            let archive = PathBuf::from(packed["archive"].as_str().unwrap());
            let plain = name.trim_start_matches('@').replace('/', "-");
            assert_eq!(
                archive,
                place.parent().unwrap().canonicalize().unwrap().join(format!("{plain}-0.1.0.tar.gz"))
            );
            let names: Vec<&str> = packed["files"]
                .as_array()
                .unwrap()
                .iter()
                .map(|file| file["path"].as_str().unwrap())
                .collect();
            assert_eq!(listed(&archive), names);
            assert!(names.contains(&"estream-component.toml") && names.contains(&"README.md"), "{names:?}");
            assert!(!names.iter().any(|name| name.contains("/.")), "{names:?}");
        }
    }
}

#[test]
fn the_tree_of_a_new_wire_adapter_is_the_seed_s_and_its_source_compiles() {
    let sandbox = Sandbox::new();
    let here = sandbox.path("here");
    fs::create_dir(&here).unwrap();
    let said = in_directory(&sandbox, &here, &["scaffold", "wire-adapter", "estream-wire-amqp"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(
        said.stdout,
        "Created estream-wire-amqp/\n\
         ├── estream-component.toml\n\
         ├── README.md\n\
         ├── schemas/\n\
         │   └── .gitkeep\n\
         ├── circuits/\n\
         │   └── amqp-adapter.circuit.yaml\n\
         ├── tests/\n\
         │   └── golden/\n\
         │       └── .gitkeep\n\
         └── src/\n    └── lib.rs (WireAdapter implementation skeleton)\n"
    );
    let docs = fs::read_to_string(place::root().join("resolverd/docs/estream.md")).unwrap();
    assert!(docs.contains(&said.stdout), "the documentation shows what is printed");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1, "nothing is left beside it");
    let said = in_directory(&sandbox, &here, &["scaffold", "smart-circuit", "@acme/router"]);
    assert!(said.status == 0 && here.join("@acme/router/estream-component.toml").is_file(), "{said:?}");

    let source = here.join("estream-wire-amqp/src/lib.rs");
    let compiled = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "-D",
            "warnings",
            "-D",
            "missing_docs",
            "-o",
        ])
        .arg(sandbox.path("skeleton.rmeta"))
        .arg(&source)
        .output();
    match compiled {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => place::skipped("rustc is not here"),
    }
}

#[test]
fn a_new_component_takes_nobody_s_place() {
    let sandbox = Sandbox::new();
    let taken = sandbox.path("taken");
    let refused = |arguments: &[&str], reason: &str, status: i32| {
        let said = sandbox.run(&[&["scaffold"], arguments].concat());
        assert!(said.status == status && said.stderr.contains(reason), "{arguments:?}: {said:?}");
    };
    let make: [&dyn Fn(); 4] = [
        &|| fs::write(&taken, "mine").unwrap(),
        &|| fs::create_dir(&taken).unwrap(),
        &|| write(&taken, "README.md", "mine"),
        &|| symlink(sandbox.path("nowhere"), &taken).unwrap(),
    ];
    for make in make {
        make();
        refused(&["integration", "one", "-o", text(&taken)], "scaffold.exists", 2);
        let _ = fs::remove_file(&taken);
        let _ = fs::remove_dir_all(&taken);
    }
    assert!(!sandbox.path("nowhere").exists());
    let free = sandbox.path("free");
    for (arguments, reason) in [
        (&["integration", "Bad"][..], "estream.name"),
        (&["integration", "../bad"], "estream.name"),
        (&["integration", "@acme/x/y"], "estream.name"),
        (&["integration", "estream-kernel"], "estream.platform_listed"),
        (&["../bad", "good"], "estream.category"),
        (&["@a/b", "good"], "estream.category"),
        (&["integration", "good", "--author", "a\nb"], "scaffold.author"),
        (&["integration", "good", "--author", ""], "scaffold.author"),
        (&["integration", "good", "--license", "\"MIT\""], "scaffold.license"),
        (&["integration", "good", "--output-dir", "x"], "two directories"),
    ] {
        refused(&[arguments, &["-o", text(&free)]].concat(), reason, 2);
        assert!(!free.exists(), "{arguments:?}");
    }
    let said = sandbox.run(&[
        "scaffold",
        "integration",
        "good",
        "--author",
        "Ann \"A\" \\ Ünal",
        "--license",
        "MIT OR Apache-2.0",
        "-o",
        text(&free),
    ]);
    assert_eq!(said.status, 0, "{said:?}");
    let manifest: toml::Table =
        fs::read_to_string(free.join("estream-component.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["component"]["author"]["name"].as_str(), Some("Ann \"A\" \\ Ünal"));
    assert_eq!(manifest["component"]["license"].as_str(), Some("MIT OR Apache-2.0"));
}

#[test]
fn one_flag_names_a_form_everywhere_and_a_directory_where_one_is_made() {
    let sandbox = Sandbox::new();
    let here = sandbox.path("here");
    fs::create_dir(&here).unwrap();
    for (arguments, made, is_json) in [
        (&["scaffold", "integration", "a", "-o", "d1"][..], "d1", false),
        (&["scaffold", "integration", "a", "--output", "d2/deep"], "d2/deep", false),
        (&["scaffold", "integration", "a", "-o", "./json"], "json", false),
        (&["scaffold", "integration", "a", "-o", "json"], "a", true),
        (&["-o", "json", "scaffold", "integration", "b"], "b", true),
        (&["-o", "json", "scaffold", "integration", "b", "-o", "d3"], "d3", false),
        (&["scaffold", "integration", "c", "-o", "table"], "c", false),
        (&["scaffold", "integration", "c", "--output-dir", "d4", "-o", "json"], "d4", true),
    ] {
        let said = in_directory(&sandbox, &here, arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        assert!(here.join(made).join("README.md").is_file(), "{arguments:?}");
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).is_ok(), is_json, "{arguments:?}");
    }
    for verb in [&["version"][..], &["pack"], &["status"]] {
        let said = in_directory(&sandbox, &here, &[verb, &["-o", "d5"]].concat());
        assert_eq!(said.status, 2);
        assert!(
            said.stderr.contains("invalid value 'd5'")
                && said.stderr.contains("[possible values: text, json]"),
            "{said:?}"
        );
    }
    let said = in_directory(&sandbox, &here, &["-o", "d6", "scaffold", "integration", "d"]);
    assert!(said.status == 2 && !here.join("d").exists(), "{said:?}");
    let table = in_directory(&sandbox, &here, &["version", "-o", "table"]);
    assert_eq!((table.status, &table.stdout), (0, &in_directory(&sandbox, &here, &["version"]).stdout));
}

#[test]
fn equal_files_give_equal_archives_whoever_packs_them_where_and_when() {
    let sandbox = Sandbox::new();
    let first = component(&sandbox.path("first/fix"));
    let answer = json(&sandbox.run(&["pack", text(&first), "-o", "json"]));
    let expected = fs::read(answer["archive"].as_str().unwrap()).unwrap();
    assert_eq!(answer["bytes"], expected.len());
    // Another order in the directory, other times, other modes, other names of the directory.
    let second = sandbox.path("second/other name");
    for (name, text) in FILES.iter().rev() {
        write(&second, name, text);
    }
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    for (at, (name, _)) in FILES.iter().enumerate() {
        let path = second.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode([0o400, 0o755, 0o666][at % 3])).unwrap();
        fs::File::open(&path).unwrap().set_modified(old).unwrap();
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4321), Some(1234)).unwrap();
        }
    }
    write(&second, "left-out.txt", "another component's");
    let out = sandbox.path("out.tar.gz");
    let pack = |before: &[&str], directory: &Path, env: &[(&str, &str)]| {
        let _ = fs::remove_file(&out);
        let program = place::binary();
        let words: Vec<&str> = before
            .iter()
            .copied()
            .chain([text(&program), "pack", text(directory), "--out", text(&out)])
            .collect();
        let mut command = Command::new(words[0]);
        sandbox.furnish(command.args(&words[1..]));
        let said = Said::of(command.envs(env.iter().copied()));
        assert_eq!(said.status, 0, "{words:?} {env:?}: {said:?}");
        assert!(fs::read(&out).unwrap() == expected, "{words:?} {env:?}");
    };
    for directory in [&first, &second] {
        pack(&[], directory, &[]);
        for env in [
            &[("TZ", "Pacific/Kiritimati")][..],
            &[("TZ", "America/St_Johns"), ("SOURCE_DATE_EPOCH", "1")],
            &[("LANG", "tr_TR.UTF-8"), ("LC_ALL", "C.UTF-8")],
            &[("LC_ALL", "C"), ("LANG", "C")],
            &[("GZIP", "-1"), ("TAR_OPTIONS", "--format=pax"), ("USER", "somebody")],
        ] {
            pack(&[], directory, env);
        }
        for umask in ["0777", "0000", "0027"] {
            pack(&["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")], directory, &[]);
        }
    }
    // As another user; the files are still its own.
    let other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
    let can = Command::new(other[0])
        .args(&other[1..])
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success());
    match can {
        true => pack(&other, &first, &[]),
        false => place::skipped("unshare cannot make another user here"),
    }
    // What the listing says is what the archive holds, in the order of bytes.
    let listed = listed(&out);
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    assert_eq!(listed[0], "LICENSE");
}

#[test]
fn what_is_wrong_is_told_at_once_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let place = component(&sandbox.path("all/fix"));
    write(
        &place,
        "estream-component.toml",
        "[component]\nname = \"fix\"\nversion = \"one\"\ncategory = \"x\"\n\n[component.schemas]\nprovides = [\"Missing\"]\nrequires = [\"Other\"]\n",
    );
    write(&place, "tests/golden/one.json", "{");
    symlink("/etc/passwd", place.join("passwd")).unwrap();
    let said = sandbox.run(&["pack", text(&place)]);
    assert_eq!(said.status, 2, "{said:?}");
    for told in [
        "estream-component.toml: component.version: expected major.minor.patch, such as 1.0.0, found \"one\" (line 3, column 11) [E008 input.version]",
        "component.description: expected a text, found \"nothing\" (line 1",
        "passwd, which is a symbolic link [E008 package.entry_type]",
        "schemas/missing.esf.yaml",
        "tests/golden/one.json: ",
    ] {
        assert!(said.stdout.contains(told), "{told}: {}", said.stdout);
    }
    assert!(
        said.stderr.contains("5 things are wrong, and nothing was packed [E008 package.checks]"),
        "{}",
        said.stderr
    );
    assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    let said = sandbox.run(&["pack", text(&place), "-o", "json", "--dry-run"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let outcomes: Vec<String> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            format!(
                "{} {} {}",
                check["name"].as_str().unwrap(),
                check["outcome"].as_str().unwrap(),
                check["failures"].as_array().map_or(0, Vec::len)
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            "manifest failed 2",
            "name passed 0",
            "version skipped 0",
            "files failed 1",
            "schemas failed 1",
            "requires skipped 0",
            "circuits passed 0",
            "vectors failed 1",
            "command skipped 0",
            "size skipped 0",
        ]
    );
    assert_eq!(answer["checks"][0]["failures"][1]["line"], 1);
    assert!(answer["archive"].is_null() && said.status == 2);

    let reserved = component(&sandbox.path("reserved"));
    let manifest = FILES[0].1.replace("fix-tools", "estream-fix");
    write(&reserved, "estream-component.toml", &manifest);
    let said = sandbox.run(&["pack", "--dry-run", text(&reserved), "--publisher", "acme"]);
    assert!(said.status == 4 && said.stdout.contains("[E009 estream.name_reserved]"), "{said:?}");
    let said = sandbox.run(&["pack", "--dry-run", text(&sandbox.path("nowhere"))]);
    assert!(
        said.status == 2 && said.stderr.contains("package.directory") && said.stderr.contains("hint:"),
        "{said:?}"
    );
}

#[test]
fn an_archive_goes_where_it_is_meant_to_go() {
    let sandbox = Sandbox::new();
    let place = component(&sandbox.path("all/fix"));
    let beside = sandbox.path("all/fix-tools-1.0.0.tar.gz");
    let said = in_directory(&sandbox, &place, &["pack", "--dry-run"]);
    assert!(said.status == 0 && said.stdout.contains("Would write ") && !beside.exists(), "{said:?}");
    for _ in 0..2 {
        let said = in_directory(&sandbox, &place, &["pack"]);
        assert!(said.status == 0 && said.stdout.contains("Wrote "), "{said:?}");
    }
    let checksum = said_checksum(&sandbox, &place);
    let python = "import hashlib, sys; print(hashlib.sha3_256(open(sys.argv[1], 'rb').read()).hexdigest())";
    match Command::new("python3").args(["-c", python, text(&beside)]).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), checksum),
        Err(_) => place::skipped("python3 is not here"),
    }
    let mode = fs::metadata(&beside).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o600, 0o600);
    for (out, status, reason) in [
        ("-", 2, "pack.out"),
        (".", 2, "pack.out"),
        ("README.md", 2, "pack.out"),
        ("schemas/../README.md", 2, "pack.out"),
        ("nowhere/x.tar.gz", 2, "pack.out"),
    ] {
        let said = in_directory(&sandbox, &place, &["pack", "--out", out]);
        assert!(
            said.status == status && said.stderr.contains(reason) && said.stderr.contains("hint:"),
            "{out}: {said:?}"
        );
    }
    assert_eq!(fs::read_to_string(place.join("README.md")).unwrap(), FILES[1].1);
    let said = in_directory(&sandbox, &place, &["pack", "--out", "../named.tgz"]);
    assert!(
        said.status == 0 && fs::read(sandbox.path("all/named.tgz")).unwrap() == fs::read(&beside).unwrap()
    );
}

fn said_checksum(sandbox: &Sandbox, place: &Path) -> String {
    let answer = json(&in_directory(sandbox, place, &["pack", "--dry-run", "-o", "json"]));
    answer["sha3_256"].as_str().unwrap().to_owned()
}

/// Writes a program of the shell.
fn program(path: &Path, text: &str) {
    write(
        path.parent().unwrap(),
        path.file_name().unwrap().to_str().unwrap(),
        &format!("#!/bin/sh\n{text}\n"),
    );
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_configured_command_judges_and_the_component_s_own_never_runs() {
    let sandbox = Sandbox::new();
    let place = component(&sandbox.path("all/fix"));
    let tools = sandbox.path("config/resolverd/tools");
    program(&tools.join("good"), "pwd; ls circuits; echo \"$1\" >&2");
    program(&tools.join("bad"), "echo 'line one\u{1b}[31m'; exit 3");
    let own = sandbox.path("ran");
    program(&place.join("good"), &format!("touch {}", own.display()));
    program(&place.join("tools/good"), &format!("touch {}", own.display()));
    let config = |text: &str| write(&sandbox.path("config/resolverd"), "config.toml", text);
    let pack = |more: &[&str]| in_directory(&sandbox, &place, &[&["pack", "--dry-run"], more].concat());

    config("[estream]\ncheck_command = [\"tools/good\", \"two words\"]\n");
    let said = pack(&[]);
    let directory = place.canonicalize().unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    for told in [
        &format!("| {}", directory.display()),
        "| fix-parser.circuit.yaml",
        "| two words",
        "ESCIR is judged by the command",
    ] {
        assert!(said.stdout.contains(told), "{told}: {}", said.stdout);
    }
    // The flag goes before the file; a relative path is the caller's, and here it is the component's own program by its own words.
    let said = pack(&["--check-command", text(&tools.join("bad"))]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stdout.contains("| line one\\u{1b}[31m")
            && said.stdout.contains("exit status: 3 [E008 estream.check_failed]"),
        "{}",
        said.stdout
    );
    let answer: Value =
        serde_json::from_str(&pack(&["--check-command", text(&tools.join("bad")), "-o", "json"]).stdout)
            .unwrap();
    assert_eq!(answer["checks"][8]["output"], "line one\u{1b}[31m\n");

    // Neither an empty nor a relative directory of PATH leads into the component.
    config("[estream]\ncheck_command = [\"good\"]\n");
    for path in ["", ".", ":/usr/bin", "tools:/usr/bin"] {
        let said =
            Said::of(sandbox.command().args(["pack", "--dry-run"]).current_dir(&place).env("PATH", path));
        assert!(said.status == 2 && said.stderr.contains("[R008 estream.check_command]"), "{path}: {said:?}");
    }
    let path = format!("tools:{}:/usr/bin:/bin", tools.display());
    let said = Said::of(sandbox.command().args(["pack", "--dry-run"]).current_dir(&place).env("PATH", path));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(!own.exists());
    for text in [
        "check_command = []",
        "check_command = [\"\"]",
        "check_command = [\"/nowhere/x\"]",
        "check_command = [\"/etc/passwd\"]",
    ] {
        config(&format!("[estream]\n{text}\n"));
        let said = pack(&[]);
        assert!(said.status == 2 && said.stderr.contains("[R008 estream.check_command]"), "{text}: {said:?}");
    }
    for text in ["check_command = \"good\"", "check = []"] {
        config(&format!("[estream]\n{text}\n"));
        let said = pack(&[]);
        assert!(said.status == 2 && said.stderr.contains("[R008 config]"), "{text}: {said:?}");
    }
}

#[test]
fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
    let sandbox = Sandbox::new();
    let place = component(&sandbox.path("all/fix"));
    let pids = sandbox.path("pids");
    let slow = sandbox.path("slow");
    program(
        &slow,
        &format!("sleep 600 & echo $! >>{0}; echo begun; sleep 600 & echo $! >>{0}; wait", pids.display()),
    );
    let said =
        in_directory(&sandbox, &place, &["pack", "--check-command", text(&slow), "--check-timeout", "1"]);
    assert!(said.status == 2 && said.stdout.contains("[E008 estream.check_timeout]"), "{said:?}");
    assert!(said.stdout.contains("| begun"), "{}", said.stdout);
    let pids = fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    let lives = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // What nobody has waited for yet is dead all the same.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    poll::until("what it started has ended", || (!pids.lines().any(lives)).then_some(()));
}

#[test]
fn a_directory_that_is_swapped_for_a_link_gives_nothing_of_where_it_leads() {
    let sandbox = Sandbox::new();
    let place = component(&sandbox.path("all/fix"));
    let outside = sandbox.path("outside");
    write(&outside, "golden/one.json", "\"secret\"");
    write(&outside, "golden/secret.json", "\"secret\"");
    symlink(&outside, sandbox.path("link")).unwrap();
    let (tests, aside, link) = (place.join("tests"), sandbox.path("aside"), sandbox.path("link"));
    let is_over = AtomicBool::new(false);
    let (mut whole, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&tests, &aside).unwrap();
                fs::rename(&link, &tests).unwrap();
                fs::rename(&tests, &link).unwrap();
                fs::rename(&aside, &tests).unwrap();
            }
        });
        for _ in 0..500 {
            let Ok(package) = Package::read(&place, &Bounds::from(&Limits::default())) else { continue };
            assert!(
                !package.files.values().any(|bytes| bytes == b"\"secret\""),
                "{:?}",
                package.files.keys()
            );
            let all = package.archive(&Bounds::from(&Limits::default())).is_ok();
            (whole, refused) = if all { (whole + 1, refused) } else { (whole, refused + 1) };
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(whole > 0, "{whole} whole, {refused} refused");
}
