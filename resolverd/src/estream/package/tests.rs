//! Directories of components, from whole ones to such as nobody may publish.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::LazyLock;

use catalogue_schema::version::Version;
use tempfile::TempDir;

use super::*;
use crate::estream::package::against::{Against, Increment, NAMES, Outcome};

const MANIFEST_TEXT: &str = r#"[component]
name = "fix-tools"
version = "1.2.0"
category = "wire-adapter"
description = "Tools for FIX"

[component.schemas]
provides = ["FixNewOrderSingle", "IoTTelemetry"]
requires = ["EStreamOrder"]

[component.dependencies]
esf-trading = "^1.0.0"

[component.circuits]
provides = ["fix_parser_circuit", "other_name"]

[component.include]
schemas = ["schemas/*.esf.yaml"]
circuits = ["circuits/*.circuit.yaml"]
tests = ["tests/golden/**"]
fpga = ["fpga/*.bit"]
"#;

static BOUNDS: LazyLock<Bounds> = LazyLock::new(bounds);

fn bounds() -> Bounds {
    super::bounds(&Limits::default())
}

fn component(manifest: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let files = [
        ("estream-component.toml", manifest),
        ("README.md", "# Tools\n"),
        ("LICENSE", "…"),
        ("notes.txt", "not published"),
        (".env", "SECRET=1"),
        ("schemas/fix-new-order-single.esf.yaml", "fields: {}\n"),
        ("schemas/telemetry.esf.yaml", "schemas:\n  IoTTelemetry: {}\n"),
        ("circuits/fix-parser.circuit.yaml", "name: fix_parser\n"),
        ("circuits/second.circuit.yaml", "name: other_name\n"),
        ("tests/golden/one.json", "{\"input\": 1.5}"),
        ("tests/golden/deep/two.yaml", "- 1\n"),
        ("tests/golden/.gitkeep", ""),
    ];
    for (name, text) in files {
        put(&place, name, text);
    }
    place
}

fn put(place: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    let path = place.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(package: &Package) -> Vec<String> {
    package.files.keys().map(|path| path.to_string()).collect()
}

/// Returns `check reason line` of everything that is wrong.
fn faults<'a>(place: &TempDir, against: impl FnOnce(Against<'a>) -> Against<'a>) -> Vec<String> {
    let held = against(Against::nothing(&BOUNDS));
    let checks = Package::read(place.path(), &BOUNDS).unwrap().validate(&held);
    assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), NAMES);
    let told = checks.iter().flat_map(|check| {
        check.failures().iter().map(|failure| {
            assert!(failure.hint.is_some(), "{failure}");
            let line = failure.context.get("line").map(|line| format!(" {line}")).unwrap_or_default();
            format!("{} {} {}{line}", check.name, failure.code.row().text, failure.reason)
        })
    });
    told.collect()
}

#[test]
fn what_belongs_to_a_component_is_read_and_nothing_else() {
    let place = component(MANIFEST_TEXT);
    put(&place, "tests/golden/one.json", "{\"input\": 18446744073709551615, \"input\": 1e400}");
    let package = Package::read(place.path(), &bounds()).unwrap();
    assert_eq!(
        names(&package),
        [
            "LICENSE",
            "README.md",
            "circuits/fix-parser.circuit.yaml",
            "circuits/second.circuit.yaml",
            "estream-component.toml",
            "schemas/fix-new-order-single.esf.yaml",
            "schemas/telemetry.esf.yaml",
            "tests/golden/deep/two.yaml",
            "tests/golden/one.json",
        ]
    );
    assert_eq!(package.left_out, [".env", "notes.txt", "tests/golden/.gitkeep"]);
    assert_eq!(package.unmatched, ["fpga/*.bit"]);
    assert_eq!(package.file_name().unwrap(), "fix-tools-1.2.0.tar.gz");
    assert_eq!(faults(&place, |held| held), Vec::<String>::new());

    let without: String = MANIFEST_TEXT.split("[component.include]").next().unwrap().to_owned();
    let place = component(&without);
    for name in ["target/debug/x", "src/lib.rs", "src/lib.rs~", "fix-tools-1.1.0.tar.gz", "docs/.git/x"] {
        put(&place, name, "x");
    }
    let found = names(&Package::read(place.path(), &bounds()).unwrap());
    assert!(found.contains(&"src/lib.rs".to_owned()) && found.contains(&"notes.txt".to_owned()));
    let noise = |name: &String| {
        name.starts_with("target") || name.contains('~') || name.contains("tar.gz") || name.contains("/.")
    };
    assert!(!found.iter().any(noise), "{found:?}");
}

#[test]
fn private_keys_are_told_wherever_they_stand() {
    let line = "MDQCAQAwCwYJYIZIAWUDBAMTBCKAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ";
    let begin = |label: &str| format!("-----BEGIN {label}-----");
    let check = |text: &str, expected: bool| {
        let place = component(MANIFEST_TEXT);
        put(&place, "tests/golden/x.bin", text);
        let found = faults(&place, |held| held);
        assert_eq!(found == ["files E008 package.private_key"], expected, "{text}: {found:?}");
    };
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        check(&format!("{}\n{line}\n", begin(label)), true);
    }
    let private = begin("PRIVATE KEY");
    check(&format!("key: |\n  {private}\r\n  {line}\r\n"), true);
    check(&format!("{{\"key\": \"{private}\\n{line}\"}}"), true);
    check(
        &format!("{}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{line}\n", begin("EC PRIVATE KEY")),
        true,
    );
    check(&format!("{}\n\n{line}\n", begin("PGP PRIVATE KEY BLOCK")), true);
    check(&format!("{}\n{line}\n", begin("PUBLIC KEY")), false);
    check(&format!("a block of {private} and what follows, {line}").replace(line, "MDQCAQ..."), false);
    check(&format!("{}{line}", "-----BEGIN ".repeat(20_000)), false);
}

#[test]
fn private_keys_are_told_in_der_as_well() {
    let place = component(MANIFEST_TEXT);
    let ed25519 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let ml_dsa = b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x04\x22\x80\x20";
    let public = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    for (head, expected) in [(&ed25519[..], true), (&ml_dsa[..], true), (&public[..], false)] {
        put(&place, "tests/golden/x.bin", [head, &[7; 32]].concat());
        let found = faults(&place, |held| held);
        assert_eq!(found == ["files E008 package.private_key"], expected, "{head:?}: {found:?}");
    }
}

#[test]
fn every_fault_is_told_at_once_with_its_code_and_line() {
    let place = component(
        r#"[component]
name = "Bad_Name"
version = "1.2"
description = 7

[component.schemas]
provides = ["Missing", "Missing"]

[component.dependencies]
"UPPER" = "^1"
esf-trading = "1 - 2"

[component.include]
schemas = ["/etc/*"]

[component.author]
name = 1
"#,
    );
    put(&place, "README.md", "x");
    assert_eq!(
        faults(&place, |held| held),
        [
            "manifest E008 input.version 3",
            "manifest E008 input.field 1",
            "manifest E008 input.field 4",
            "manifest E008 input.field 17",
            "manifest E008 input.id 10",
            "manifest E008 input.requirement 11",
            "manifest E008 input.field 7",
            "manifest E008 estream.include 14",
            "name E008 estream.name 2",
            "schemas E008 estream.schema_missing 7",
        ]
    );
    for (text, reason) in [("[component", "input.toml"), ("\u{feff}[x]\ny = ", "input.toml")] {
        let place = component(text);
        let failure = Package::read(place.path(), &bounds()).unwrap_err();
        assert_eq!((failure.code, &*failure.reason), (Code::ManifestInvalid, reason));
    }
    let linked = tempfile::tempdir().unwrap();
    symlink(place.path().join("estream-component.toml"), linked.path().join("estream-component.toml"))
        .unwrap();
    let failure = Package::read(linked.path(), &bounds()).unwrap_err();
    assert!(failure.detail.contains("it is a symbolic link"), "{failure}");
    let empty = tempfile::tempdir().unwrap();
    let failure = Package::read(empty.path(), &bounds()).unwrap_err();
    assert_eq!(&*failure.reason, "package.manifest");
    assert_eq!(&*Package::read(&empty.path().join("no"), &bounds()).unwrap_err().reason, "package.directory");
}

#[test]
fn names_are_for_their_publishers() {
    let own = ["core-".to_owned()];
    let check = |name: &str, publisher: Option<&str>, expected: &str| {
        let place = component(&MANIFEST_TEXT.replace("\"fix-tools\"", &format!("\"{name}\"")));
        let found = faults(&place, |held| Against { publisher, reserved_prefixes: &own, ..held });
        assert_eq!(found.join(", "), expected, "{name} by {publisher:?}");
    };
    check("fix", Some("acme"), "");
    check("@acme/fix", Some("acme"), "");
    check("@acme/estream-fix", Some("acme"), "");
    check("@zed/fix", Some("acme"), "name E015 estream.scope 2");
    check("estream-fix", Some("acme"), "name E009 estream.name_reserved 2");
    check("esf-fix", Some("acme"), "name E009 estream.name_reserved 2");
    check("core-fix", Some("acme"), "name E009 estream.name_reserved 2");
    check("estream-fix", Some("estream"), "");
    check("estream-fix", None, "");
    check("estream-kernel", Some("estream"), "name E008 estream.platform_listed 2");
    check("-fix", None, "name E008 estream.name 2");
    check("fix-", None, "name E008 estream.name 2");
    check("@acme/-", None, "name E008 estream.name 2");
    check(&"a".repeat(100), None, "");
    check(&format!("@{}/{}", "a".repeat(99), "b".repeat(100)), None, "");
    check(&"a".repeat(101), None, "name E008 estream.name 2");
    check(&format!("@{}/b", "a".repeat(100)), None, "name E008 estream.name 2");
    check("nul", None, "name E008 estream.name 2");
}

#[test]
fn a_version_is_higher_than_what_was_published() {
    let place = component(MANIFEST_TEXT);
    let check = |published: &[&str], increment: Increment, expected: &str| {
        let published: Vec<Version> = published.iter().map(|text| Version::parse(text).unwrap()).collect();
        let found = faults(&place, |held| Against { published: Some(&published), increment, ..held });
        assert_eq!(found.join(", "), expected, "{published:?}");
    };
    let wrong = "version E010 estream.version_increment 3";
    check(&[], Increment::Any, "");
    check(&["1.1.9", "1.2.0-rc.1"], Increment::Any, "");
    check(&["1.2.0"], Increment::Any, wrong);
    check(&["1.2.0+build"], Increment::Any, wrong);
    check(&["1.1.0", "2.0.0"], Increment::Any, wrong);
    check(&["1.1.0", "2.0.0"], Increment::PerMajor, "");
    check(&["1.3.0", "0.1.0"], Increment::PerMajor, wrong);
}

#[test]
fn schemas_and_circuits_are_there_and_what_is_required_comes_from_somewhere() {
    let place = component(MANIFEST_TEXT);
    put(&place, "circuits/second.circuit.yaml", "name: [\n");
    put(&place, "circuits/fix-parser.circuit.yaml", "name: another\n");
    put(&place, "schemas/telemetry.esf.yaml", "name: x\n");
    put(&place, "tests/golden/one.json", "{\"a\": 1,}");
    put(&place, "tests/golden/deep/two.yaml", "a: [1\n");
    let nothing = BTreeMap::new();
    assert_eq!(
        faults(&place, |held| Against { provided: Some(&nothing), ..held }),
        [
            "schemas E008 estream.schema_missing 8",
            "requires E008 requires_unmet 9",
            "circuits E008 input.yaml 1",
            "circuits E008 estream.circuit_name 15",
            "circuits E008 estream.circuit_missing 15",
            "vectors E008 input.yaml 1",
            "vectors E008 input.json 1",
        ]
    );
    let trading = |name: &str| catalogue_schema::id::ComponentId::parse(name).unwrap();
    let order = vec!["EStreamOrder".to_owned()];
    let other = BTreeMap::from([(trading("estream:esf-other"), order.clone())]);
    let place = component(MANIFEST_TEXT);
    let unmet = ["requires E008 requires_unmet 9"];
    assert_eq!(
        faults(&place, |held| Against { provided: Some(&other), ..held }),
        unmet,
        "nobody declares it"
    );
    let provided = BTreeMap::from([(trading("estream:esf-trading"), order)]);
    assert_eq!(faults(&place, |held| Against { provided: Some(&provided), ..held }), Vec::<String>::new());
    let alone = component(&MANIFEST_TEXT.replace("esf-trading = \"^1.0.0\"", "estream-kernel = \"*\""));
    assert_eq!(faults(&alone, |held| held), unmet, "no dependency could have it");
}

#[test]
fn what_no_reader_of_archives_takes_is_refused_by_name() {
    let check = |make: &dyn Fn(&TempDir), expected: &[&str], shown: &str| {
        let place = component(MANIFEST_TEXT);
        make(&place);
        let bounds = bounds();
        let package = Package::read(place.path(), &bounds).unwrap();
        let told: Vec<String> = package.refused.iter().map(|refusal| refusal.reason.to_string()).collect();
        assert_eq!(told, expected, "{shown}");
        assert!(package.refused.iter().all(|refusal| refusal.found.contains(shown)), "{:?}", package.refused);
        assert_eq!(package.archive(&bounds).is_err(), !expected.is_empty());
        let checks = package.validate(&Against::nothing(&bounds));
        assert_eq!(checks[3].failures().len(), expected.len());
        assert!(expected.is_empty() || matches!(checks[9].outcome, Outcome::Skipped(_)));
    };
    let link = |to: &'static str, at: &'static str| {
        move |place: &TempDir| {
            let at = place.path().join(at);
            let _ = fs::remove_file(&at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(to, at).unwrap();
        }
    };
    const TYPE: &[&str] = &["package.entry_type"];
    check(&link("/etc/passwd", "tests/golden/passwd"), TYPE, "tests/golden/passwd");
    check(&link("../schemas", "tests/golden/schemas"), TYPE, "tests/golden/schemas");
    check(&link("telemetry.esf.yaml", "schemas/x.esf.yaml"), TYPE, "schemas/x.esf.yaml");
    check(&link("/usr", "fpga"), TYPE, "fpga, which is a symbolic link");
    check(&link("README.md", "LICENSE"), TYPE, "LICENSE");
    check(&link("/etc/passwd", "docs"), &[], "nobody asks for it");
    let pipe = |place: &TempDir| {
        let path = place.path().join("tests/golden/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    check(&pipe, TYPE, "tests/golden/pipe, which is a pipe");
    check(&|place| put(place, "tests/golden/a b.json", "{}"), &["input.path"], "a b.json");
    check(&|place| put(place, "tests/golden/Straße", "{}"), &["input.path"], "Straße");
    check(&|place| put(place, "tests/golden/nul.txt", "{}"), &["input.path"], "nul.txt");
    check(
        &|place| put(place, "tests/golden/ONE.json", "{}"),
        &["archive.duplicate"],
        "tests/golden/ONE.json",
    );
    check(
        &|place| put(place, "tests/golden/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o", ""),
        &["archive.too_deep"],
        "golden/a",
    );
}

#[test]
fn what_is_too_large_or_too_good_to_be_taken_is_refused() {
    let place = component(MANIFEST_TEXT);
    let bounds = Bounds { file_bytes: 100, ..bounds() };
    put(&place, "tests/golden/large", "x".repeat(101));
    let package = Package::read(place.path(), &bounds).unwrap();
    assert_eq!(package.refused[0].reason, "archive.too_large");
    let failure = package.archive(&bounds).unwrap_err();
    assert_eq!(failure.code, Code::PackageTooLarge);
    let few = Bounds { entries: 3, ..self::bounds() };
    assert_eq!(&*Package::read(place.path(), &few).unwrap_err().reason, "archive.too_many");

    let place = component(MANIFEST_TEXT);
    put(&place, "tests/golden/zeros", "\0".repeat(4 << 20));
    let found = faults(&place, |held| held);
    assert_eq!(found, ["size E011 archive.too_large"], "a reader takes no such bomb");
    let place = component(MANIFEST_TEXT);
    assert_eq!(
        faults(&place, |held| Against { package_bytes: 500, ..held }),
        ["size E011 archive.too_large"]
    );
    let bounds = self::bounds();
    let package = Package::read(place.path(), &bounds).unwrap();
    let archive = package.archive(&bounds).unwrap();
    let size = archive.len() as u64;
    assert_eq!(faults(&place, |held| Against { package_bytes: size + 1, ..held }), Vec::<String>::new());
    assert_eq!(
        faults(&place, |held| Against { package_bytes: size, ..held }),
        ["size E011 archive.too_large"]
    );
}

#[test]
fn a_registry_s_rules_are_those_of_its_config() {
    let config = |text: &str| catalogue_schema::dialect::estream::document::config(text.as_bytes()).unwrap();
    let usual = config("{}");
    let held = Against::nothing(&BOUNDS).rules(&usual);
    assert_eq!(
        (held.package_bytes, held.increment, held.reserved_prefixes.len()),
        (50 << 20, Increment::Any, 0)
    );
    let own = config(r#"{"max_package_mb": 2, "increment_per_major": true, "reserved_prefixes": ["core-"]}"#);
    let held = Against::nothing(&BOUNDS).rules(&own);
    assert_eq!(
        (held.package_bytes, held.increment, held.reserved_prefixes.len()),
        (2 << 20, Increment::PerMajor, 1)
    );
    assert_eq!(held.archive_bounds().archive_bytes, 2 << 20);

    // Nothing that can be compressed, so that the archive is as large as the file.
    let noise: String = (0..3u64 << 18)
        .map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(at ^ 0xff51_afd7_ed55_8ccd))
        .map(|number| format!("{:04x}", number >> 48))
        .collect();
    let place = component(MANIFEST_TEXT);
    put(&place, "tests/golden/noise", &noise);
    let small = config(r#"{"max_package_mb": 1}"#);
    assert_eq!(faults(&place, |held| held.rules(&small)), ["size E011 archive.too_large"]);
    assert_eq!(faults(&place, |held| held.rules(&own)), Vec::<String>::new());
}
