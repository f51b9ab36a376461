//! The fuzzing targets of `resolverd/fuzz`, driven without a fuzzer: every seed, every document of the sample federation, and
//! as many mutations of them as `RESOLVERD_FUZZ` says (200 a target; 20,000 with `RESOLVERD_FULL=1`). Deterministic: the same
//! count makes the same inputs. `resolverd/fuzz/run.sh` runs the same targets under cargo-fuzz.

use std::path::{Path, PathBuf};
use std::process::Command;

use catalogue_schema::digest::Digest;
use catalogue_schema::documents::Listed;
use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::packed::Packed;
use catalogue_schema::pointer::{HttpsUrl, LocalPath, Location, Want};
use serde_json::json;

use crate::harness::chance::Chance;
use crate::harness::place;
use crate::harness::repository::{Files, Repository};

#[allow(unreachable_pub, reason = "the file is the library of the fuzzing crate as well")]
#[path = "../resolverd/fuzz/src/targets.rs"]
mod targets;

/// How large an input may grow.
const INPUT_BYTES_MAX: usize = 1 << 16;

/// Pieces that parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b"-",
    b"0",
    b"1e400",
    b"18446744073709551616",
    b"9007199254740993",
    b"../",
    b"//",
    b"%00",
    b"%2f",
    b"@",
    b"://",
    b"\xe2\x80\xae",
    b"null",
    b"[[[[[[[[[[[[[[[[",
    b"*",
    b"^",
    b">=",
    b"||",
    b"\x1b[2J",
    b"0000",
    b"ffff",
    b"PACK",
    b"\x78\x9c",
];

/// Changes `bytes` in one to four places, at times with a piece of `other`.
fn mutated(bytes: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + chance.index(4) {
        let at = chance.index(bytes.len() + 1);
        let end = (at + chance.index(32)).min(bytes.len());
        match chance.index(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.index(8),
            1 if at < bytes.len() => bytes[at] = chance.index(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let from = chance.index(other.len() + 1);
                let to = (from + chance.index(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let token = TOKENS[chance.index(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

/// Returns the documents of the sample federation.
fn federation() -> Vec<Vec<u8>> {
    let mut open = vec![place::root().join("tests/federation")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.push(place::root().join("sources.example.json"));
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Returns the seeds of a target: one a line, with the escapes of `printf %b`.
fn seeds(folder: &Path, target: &str) -> Vec<Vec<u8>> {
    let Ok(text) = std::fs::read(folder.join(format!("{target}.txt"))) else { return Vec::new() };
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(unescaped).collect()
}

fn unescaped(line: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), line);
    loop {
        match rest {
            [] => return out,
            [b'\\', b'n', tail @ ..] => (out.push(b'\n'), rest = tail).1,
            [b'\\', b't', tail @ ..] => (out.push(b'\t'), rest = tail).1,
            [b'\\', b'r', tail @ ..] => (out.push(b'\r'), rest = tail).1,
            [b'\\', b'\\', tail @ ..] => (out.push(b'\\'), rest = tail).1,
            [b'\\', b'0', b'0', low, tail @ ..] => (out.push(low - b'0'), rest = tail).1,
            [byte, tail @ ..] => (out.push(*byte), rest = tail).1,
        }
    }
}

/// Returns what Git itself writes: a pack, loose objects and a tree.
fn git() -> Vec<(&'static str, Vec<u8>)> {
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::create(&place.path().join("r"));
    let text = |first: u32| {
        (first..first + 40).map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761))).collect::<String>()
    };
    repository.commit(&Files::from([
        ("a.json".to_owned(), text(0).into_bytes()),
        ("d/b.json".to_owned(), text(1).into_bytes()),
    ]));
    let mut seeds = Vec::new();
    let mut open = vec![repository.path.join(".git/objects"), repository.path.join("objects")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                seeds.push(("git_loose", std::fs::read(path).unwrap()))
            }
        }
    }
    place::git(&repository.path, &["repack", "-q", "-a", "-d", "-f"]);
    let mut open = vec![repository.path.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pack") {
                let (pack, index) =
                    (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("idx")).unwrap());
                seeds.push((
                    "pack_index",
                    [format!("{:08x}", index.len()).as_bytes(), &index, &pack].concat(),
                ));
                seeds.push(("git_pack", pack));
            }
        }
    }
    assert!(
        seeds.iter().any(|(target, _)| *target == "git_pack") && seeds.len() > 3,
        "{} seeds",
        seeds.len()
    );
    seeds
}

/// Returns what a store writes that no text can be a seed of: a row, and a list of documents.
fn stored() -> Vec<(&'static str, Vec<u8>)> {
    let digest = Digest::sha256(b"a document");
    let release = json!({
        "id": "lcod://acme/x", "version": "1.0.0", "kind": "component", "manifest": digest, "origin": {},
        "dependencies": [], "verdict": {"trusted": {"level": "pinned"}},
    });
    let owner = json!({"source": "main", "name": "tooling/std"});
    let component = json!({"id": "lcod://acme/x", "owner": owner, "releases": [release]});
    let component = serde_json::from_value(component).expect("a component");
    let block = Packed::of(&component).expect("it can be packed");
    let record = |location: Location| DocumentRecord {
        want: Want::Blob(location),
        url: "https://example.org/catalogue.json".to_owned(),
        commit: None,
        blob: None,
        digest: digest.clone(),
        size: 7,
        etag: Some("\"7\"".to_owned()),
        modified: None,
        fetched_s: 1_777_896_000,
    };
    let url = HttpsUrl::parse("https://example.org/catalogue.json").expect("a URL");
    let path = LocalPath::parse("/srv/catalogue.json").expect("a path");
    let records = [record(Location::Https { url }), record(Location::File { path })];
    let list = Listed::of(&records).expect("it can be written").content.into_bytes();
    vec![("store_row", [&[0; 7], block.as_bytes()].concat()), ("documents_list", list)]
}

/// Returns archives as other programs write them.
fn archived() -> Vec<(&'static str, Vec<u8>)> {
    let pack = |options: &[&str]| {
        let mut tar = Command::new("tar");
        tar.args(options).args(["-cf", "-", "tests/federation"]).current_dir(place::root());
        let output = tar.output().expect("tar runs");
        assert!(output.status.success(), "{options:?}");
        ("archives", output.stdout)
    };
    let forms: [&[&str]; 4] =
        [&["--format=ustar"], &["--format=pax"], &["--format=gnu"], &["--format=pax", "-z"]];
    forms.into_iter().map(pack).collect()
}

#[test]
fn no_seed_and_no_mutation_of_one_breaks_a_reader() {
    let folder = place::root().join("resolverd/fuzz");
    let usual = if place::variable("RESOLVERD_FULL").is_some() { 20_000 } else { 200 };
    let count = place::variable("RESOLVERD_FUZZ").map_or(usual, |count| count.parse().unwrap());
    let (documents, mut made) = (federation(), git());
    made.extend(stored());
    made.extend(archived());
    for (name, target) in targets::TARGETS {
        let mut corpus = seeds(&folder.join("seeds"), name);
        corpus.extend(made.iter().filter(|(of, _)| of == name).map(|(_, bytes)| bytes.clone()));
        if corpus.is_empty() {
            corpus.clone_from(&documents);
        }
        let mut chance = Chance(0x9e37_79b9);
        corpus.iter().for_each(|seed| target(seed));
        target(b"");
        for round in 0..count {
            let seed = &corpus[chance.index(corpus.len())];
            let other = &corpus[chance.index(corpus.len())];
            let input = mutated(seed, other, &mut chance);
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("{name}, round {round}: {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn every_target_is_a_program_of_the_fuzzing_crate_and_its_workspace_is_its_own() {
    let folder = place::root().join("resolverd/fuzz");
    let manifest: toml::Table = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    assert!(manifest.contains_key("workspace"), "the main workspace knows nothing of it");
    let programs: Vec<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(programs, names);
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("targets::{name}(bytes)")), "{name}");
    }
    let main: toml::Table =
        std::fs::read_to_string(place::root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = main["workspace"]["members"].as_array().unwrap();
    assert!(members.iter().all(|member| !member.as_str().unwrap().contains("fuzz")), "{members:?}");
}
