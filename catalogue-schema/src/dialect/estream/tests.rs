//! Tests of the eStream reader: one registry in memory, read whole, with one thing after the other changed in it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::estream::publishers::PublishersTask;
use crate::dialect::{self, Node, Stage};
use crate::digest::{Algorithm, Digest, Digests};
use crate::forge::Forges;
use crate::id::{CatalogueId, Dialect};
use crate::lexicon::Lexicon;
use crate::model::{Level, Place, Rank, Release, Trust, Verdict};
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Repository, Revision};
use crate::seal::{self, VERIFICATION};

const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

/// The files of a registry by their paths.
type Files = BTreeMap<String, Vec<u8>>;

/// Everything that reading a registry gives.
#[derive(Default)]
struct Read {
    releases: Vec<Release>,
    sealed: Vec<crate::seal::Sealed>,
    skipped: Vec<String>,
    warnings: Vec<String>,
    registers: Vec<String>,
    gap: Option<Refusal>,
}

impl Read {
    /// Returns what became of a release: `sealed`, or why it is refused.
    fn fate(&self, full: &str) -> String {
        let is = |release: &&Release| format!("{}@{}", release.id, release.version) == full;
        let sealed = self.sealed.iter().map(|sealed| &sealed.release).filter(is).count();
        let refused: Vec<&Release> = self.releases.iter().filter(is).collect();
        match (sealed, refused.as_slice()) {
            (1, []) => "sealed".to_owned(),
            (0, [one]) => one.verdict.refusal().map_or("unsealed".to_owned(), |one| one.reason.to_string()),
            (0, []) => "nothing".to_owned(),
            _ => "several".to_owned(),
        }
    }

    fn release(&self, full: &str) -> &Release {
        let all = self.releases.iter().chain(self.sealed.iter().map(|sealed| &sealed.release));
        all.into_iter().find(|release| format!("{}@{}", release.id, release.version) == full).unwrap()
    }
}

fn repository() -> Repository {
    Repository::Https(HttpsUrl::parse("https://git.acme.com/registry.git").unwrap())
}

fn entry(root: &str) -> Location {
    let path = format!("{root}index").parse().unwrap();
    Location::Git { repository: repository(), revision: Revision::Head, path }
}

fn received(bytes: &[u8]) -> Received {
    Received {
        trust: serde_json::from_str::<Trust>(r#"{"level":"pinned"}"#).unwrap(),
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
        commit: Some(CommitId::parse(COMMIT).unwrap()),
        blob: None,
    }
}

/// Returns the listing of a directory as a fetcher writes it.
fn listing(files: &Files, directory: &str, depth: usize) -> Option<Vec<u8>> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for path in files.keys() {
        let Some(rest) = path.strip_prefix(&format!("{directory}/")) else { continue };
        let names: Vec<&str> = rest.split('/').collect();
        for count in 1..=names.len().min(depth) {
            let below = format!("{directory}/{}", names[..count].join("/"));
            let kind = if count == names.len() { "100644 blob" } else { "040000 tree" };
            lines.insert(below.clone(), format!("{kind} {COMMIT} {below}\n"));
        }
    }
    (!lines.is_empty()).then(|| lines.into_values().collect::<String>().into_bytes())
}

/// Returns the names of the directories below one as a fetcher writes them.
fn directories(files: &Files, directory: &str, depth: usize) -> Option<Vec<u8>> {
    let mut names: BTreeSet<Vec<&str>> = BTreeSet::new();
    for path in files.keys() {
        let Some(rest) = path.strip_prefix(&format!("{directory}/")) else { continue };
        let parents: Vec<&str> = rest.split('/').collect();
        names.extend((1..parents.len().min(depth + 1)).map(|count| parents[..count].to_vec()));
    }
    let mut text = format!("{COMMIT} {directory}\n");
    for name in &names {
        text.push_str(&format!("{}{}\n", "\t".repeat(name.len() - 1), name[name.len() - 1]));
    }
    (!names.is_empty()).then(|| text.into_bytes())
}

fn answer(files: &Files, want: &Want) -> Option<Vec<u8>> {
    match want {
        Want::Directories { location: Location::Git { path, .. }, depth } => {
            directories(files, path.as_text(), usize::from(*depth))
        }
        Want::Tree { location: Location::Git { path, .. }, depth } => {
            listing(files, path.as_text(), usize::from(*depth))
        }
        Want::Blob(Location::Git { path, revision, .. }) => {
            assert_eq!(*revision, Revision::Commit(CommitId::parse(COMMIT).unwrap()), "{want}");
            files.get(path.as_text()).cloned()
        }
        other => panic!("{other}"),
    }
}

fn read_registry(files: &Files, root: &str, filter: Filter) -> Result<Read, ParseError> {
    let id = CatalogueId { source: "acme".parse().unwrap(), name: "acme".parse().unwrap() };
    let rank = Rank(vec![Place { priority: 50, position: 0 }]);
    let owns = vec![Namespace::parse("estream:estream-*").unwrap()];
    let first = Errand {
        want: Want::Directories { location: entry(root), depth: INDEX_LEVELS },
        digests: Digests::default(),
        size: None,
        signature: None,
        stage: Stage::Node(Box::new(Node { id, via: Vec::new(), rank })),
        task: dialect::Task::Estream(Task::Index(Box::new(IndexTask { filter, owns }))),
    };
    let mut read = Read::default();
    let (mut errands, mut lexicon) = (vec![first], Lexicon::default());
    while let Some(errand) = errands.pop() {
        let found = match answer(files, &errand.want) {
            Some(bytes) => {
                let received = received(&bytes);
                let found = dialect::read_with(&errand, &bytes, &received, &Forges::default(), &mut lexicon);
                match (found, errand.node()) {
                    (Err(error), Some(_)) => return Err(error),
                    (Err(error), None) => dialect::refuse(&errand, Refusal::of(&errand.want, &error)),
                    (Ok(found), _) => found,
                }
            }
            None => {
                let refusal = Refusal::new("file_missing", &errand.want, "a file", "nothing");
                dialect::refuse(&errand, refusal)
            }
        };
        errands.extend(found.errands);
        read.releases.extend(found.releases);
        read.sealed.extend(found.sealed);
        read.skipped.extend(found.skipped.iter().map(|one| format!("{} {}", one.entry, one.error)));
        read.registers.extend(found.registers.iter().flatten().map(ToString::to_string));
        read.gap = read.gap.or(found.gap);
        read.warnings.extend(found.warnings.iter().map(|one| format!("{} {}", one.reason, one.text)));
    }
    Ok(read)
}

fn read(files: &Files) -> Read {
    read_registry(files, "", Filter::default()).unwrap()
}

fn put(files: &mut Files, path: &str, bytes: impl AsRef<[u8]>) {
    files.insert(path.to_owned(), bytes.as_ref().to_vec());
}

fn put_json(files: &mut Files, path: &str, value: &Value) {
    put(files, path, value.to_string());
}

fn json_of(files: &Files, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

fn change(files: &mut Files, path: &str, change: impl FnOnce(&mut Value)) {
    let mut value = json_of(files, path);
    change(&mut value);
    put_json(files, path, &value);
}

fn replace(files: &mut Files, path: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[path].clone()).unwrap();
    assert!(text.contains(from), "{path} holds no {from}");
    put(files, path, text.replace(from, to));
}

fn checksum(name: &str, version: &str) -> String {
    Digest::of(Algorithm::Sha3_256, format!("{name} {version}").as_bytes()).hex()
}

/// Adds a version of a component to its metadata and its documents to the index.
fn publish(files: &mut Files, category: &str, name: &str, publisher: &str, version: &str, more: &str) {
    let directory = format!("index/{category}/{name}");
    let checksum = checksum(name, version);
    let metadata = format!("{directory}/metadata.json");
    if !files.contains_key(&metadata) {
        let document = json!({
            "name": name, "category": category, "publisher": publisher, "description": "from the index",
            "versions": [], "latest": version, "keywords": ["parts"], "badges": ["tested"],
            "stats": {"downloads": 3, "stars": 1}
        });
        put_json(files, &metadata, &document);
    }
    change(files, &metadata, |metadata| {
        metadata["latest"] = json!(version);
        metadata["versions"].as_array_mut().unwrap().push(json!({
            "version": version, "published_at": "2026-02-10T12:00:00Z", "checksum_sha3": checksum,
            "signature_pubkey_id": format!("{publisher}-1"), "yanked": false, "estream_min_version": "0.8.0",
            "archive_url": format!("https://dl.acme.com/{version}/package.tar.gz")
        }));
    });
    let manifest = format!(
        "[component]\nname = \"{name}\"\nversion = \"{version}\"\ncategory = \"{category}\"\ndescription = \"a part\"\n{more}"
    );
    put(files, &format!("{directory}/{version}/estream-component.toml"), manifest);
    put(files, &format!("{directory}/{version}/checksum.sha3"), format!("{checksum}  package.tar.gz\n"));
    let signature = json!({
        "algorithm": "ML-DSA-87", "key_id": format!("{publisher}-1"), "signed_at": "2026-02-10T12:00:00Z",
        "checksum_algorithm": "SHA3-256", "checksum": checksum, "signature_hex": "ab".repeat(4627)
    });
    put_json(files, &format!("{directory}/{version}/SIGNATURE.ml-dsa"), &signature);
}

fn publisher(files: &mut Files, name: &str) {
    let record = json!({
        "name": name, "display_name": "Somebody", "url": "https://acme.com", "verified": true,
        "signing_keys": [{
            "key_id": format!("{name}-1"), "algorithm": "ML-DSA-87", "public_key_hex": "0c".repeat(2592),
            "created_at": "2026-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "status": "active"
        }]
    });
    put_json(files, &format!("publishers/{name}.json"), &record);
}

/// A registry of three publishers, four components and five versions.
fn sample() -> Files {
    let mut files = Files::new();
    put_json(&mut files, "config.json", &json!({"schema_version": 1, "reserved_prefixes": ["core-"]}));
    put(&mut files, "README.md", "for people");
    for name in ["acme", "estream", "zed"] {
        publisher(&mut files, name);
    }
    publish(&mut files, "smart-circuit", "mint", "acme", "1.0.0", "");
    let more = "[component.dependencies]\nmint = \"1.0\"\n";
    publish(&mut files, "smart-circuit", "mint", "acme", "1.1.0", "");
    publish(&mut files, "wire-adapter", "fix", "acme", "0.3.0", more);
    publish(&mut files, "esf-schema", "esf-iot", "estream", "1.0.0", "");
    publish(&mut files, "console-widget", "@zed/counter", "zed", "2.0.0", "");
    files
}

const MINT: &str = "index/smart-circuit/mint";
const FULL: &str = "estream:mint@1.0.0";

#[test]
fn every_version_of_a_registry_becomes_a_sealed_release() {
    let files = sample();
    let found = read(&files);
    for full in [
        FULL,
        "estream:mint@1.1.0",
        "estream:fix@0.3.0",
        "estream:esf-iot@1.0.0",
        "estream:@zed/counter@2.0.0",
    ] {
        assert_eq!(found.fate(full), "sealed", "{full}");
    }
    assert_eq!((found.releases.len(), found.sealed.len()), (0, 5));
    assert_eq!((found.skipped, found.warnings), (Vec::<String>::new(), Vec::<String>::new()));
}

#[test]
fn a_release_says_what_index_and_manifest_say() {
    let mut files = sample();
    let more = r#"
license = "Apache-2.0"
keywords = ["fix", "Trading"]
verification = "forged"
official = true
launched = 2026-01-01T00:00:00Z
[component.author]
name = "Acme"
[component.marketplace]
pricing = "one-time"
[component.estream]
min_version = "0.8.1"
max_version = "1.0.0"
[component.dependencies]
mint = "1.2.3"
"@zed/counter" = { version = "~2.0" }
estream-kernel = ">=0.8.0"
esf-iot = "*"
[component.schemas]
provides = ["A"]
requires = ["B"]
[component.fpga]
resource_estimate = { luts = 5, brams = 1.5 }
[elsewhere]
x = 1
"#;
    publish(&mut files, "wire-adapter", "estream-wire", "estream", "1.0.0", more);
    let found = read(&files);
    let release = found.release("estream:estream-wire@1.0.0");
    assert_eq!(release.kind.as_deref(), Some("wire-adapter"));
    assert_eq!(release.summary.as_deref(), Some("a part"));
    let manifest = &files["index/wire-adapter/estream-wire/1.0.0/estream-component.toml"];
    assert_eq!(release.manifest, Some(Digest::sha256(manifest)));
    let dependencies: Vec<String> = release.dependencies.texts().map(str::to_owned).collect();
    assert_eq!(
        dependencies,
        [
            "estream:@zed/counter@~2.0",
            "estream:esf-iot@*",
            "estream:estream-kernel@<=1.0.0, >=0.8.0, >=0.8.1",
            "estream:mint@^1.2.3",
        ]
    );
    let archive = release.archive.clone().unwrap();
    assert_eq!(archive.location.to_string(), "https://dl.acme.com/1.0.0/package.tar.gz");
    assert_eq!(archive.digests, [Digest::of(Algorithm::Sha3_256, b"estream-wire 1.0.0")]);
    assert_eq!(release.origin.commit.as_ref().map(CommitId::as_text), Some(COMMIT));
    assert_eq!(release.origin.path.as_ref().unwrap().as_text(), "index/wire-adapter/estream-wire/1.0.0");
    assert!(release.promised && !release.yanked && release.warnings.is_empty());
    let extra = serde_json::to_value(&release.extra).unwrap();
    let expected = [
        ("license", json!("Apache-2.0")),
        ("keywords", json!(["parts", "fix", "Trading"])),
        ("badges", json!(["tested"])),
        ("stats", json!({"downloads": 3, "stars": 1})),
        ("author", json!({"name": "Acme"})),
        ("marketplace", json!({"pricing": "one-time"})),
        ("schemas", json!({"provides": ["A"], "requires": ["B"]})),
        ("fpga", json!({"resource_estimate": {"luts": 5, "brams": 1.5}})),
        ("launched", json!("2026-01-01T00:00:00Z")),
        ("manifest", json!({"elsewhere": {"x": 1}})),
        ("publisher", json!("estream")),
        ("publisherVerified", json!(true)),
        ("official", json!(true)),
        ("category", json!("wire-adapter")),
        ("publishedAt", json!("2026-02-10T12:00:00Z")),
        ("description", json!("from the index")),
    ];
    for (field, value) in expected {
        assert_eq!(extra[field], value, "{field}");
    }
    assert_eq!(extra.get(VERIFICATION), None, "nobody says of himself that he was verified");
    assert_eq!(found.release(FULL).extra["official"], json!(false));
    // By the same verified publisher; the source does not own it.
    let other = &found.release("estream:esf-iot@1.0.0").extra;
    assert_eq!((&other["publisher"], &other["publisherVerified"]), (&json!("estream"), &json!(true)));
    assert_eq!(other["official"], json!(false));
    let sealed = found.sealed.iter().find(|one| one.release.id.name() == "estream-wire").unwrap();
    assert_eq!((sealed.seal.key.id.as_str(), sealed.seal.published_s), ("estream-1", 1_770_724_800));
    assert_eq!((sealed.seal.signature.len(), sealed.seal.is_verified), (4627, true));
    let Verdict::Trusted(leave) = &sealed.release.verdict else { panic!("refused") };
    assert_eq!(leave.level(), Level::Pinned);
}

#[test]
fn what_the_manifest_says_or_leaves_out_is_not_said_by_the_registry() {
    let mut files = sample();
    let told = "license = \"MIT\"\ndescription2 = \"own\"\n[component.schemas]\nprovides = [\"Real\"]\n";
    publish(&mut files, "smart-circuit", "mint", "acme", "1.2.0", told);
    let word = json!({
        "schemas": {"provides": [], "requires": ["Absent"]}, "circuits": {"provides": ["x"]}, "dependencies": {"fix": "1"},
        "estream": {"min_version": "9.0.0"}, "manifest": {"x": 1}, "license": "GPL-3.0", "description2": "theirs",
        "publisherName": "Estream", "unknown": 1
    });
    let extend = |value: &mut Value| value.as_object_mut().unwrap().extend(word.as_object().unwrap().clone());
    let check = |files: &Files| {
        let found = read(files);
        let extra = &found.release("estream:mint@1.2.0").extra;
        assert_eq!(extra["schemas"], json!({"provides": ["Real"]}));
        assert_eq!((&extra["license"], &extra["description2"]), (&json!("MIT"), &json!("own")));
        assert_eq!((&extra["unknown"], &extra["publisherName"]), (&json!(1), &json!("Somebody")));
        let silent = &found.release(FULL).extra;
        for field in ["schemas", "circuits", "dependencies", "estream", "manifest"] {
            assert_eq!(silent.get(field), None, "{field}");
        }
        assert_eq!((&silent["license"], &silent["unknown"]), (&json!("GPL-3.0"), &json!(1)));
    };
    let metadata = format!("{MINT}/metadata.json");
    let mut listed = files.clone();
    change(&mut listed, &metadata, extend);
    check(&listed);
    let mut rows = files.clone();
    change(&mut rows, &metadata, |document| {
        document["versions"].as_array_mut().unwrap().iter_mut().for_each(extend);
    });
    check(&rows);

    // A release that is refused before its manifest is read carries nothing of its author's either.
    put(&mut listed, &format!("{MINT}/1.0.0/estream-component.toml"), "[");
    let found = read(&listed);
    assert_eq!(found.fate(FULL), "input.toml");
    assert_eq!(found.release(FULL).extra.get("schemas"), None);
}

/// Changes one thing in the sample, and checks what becomes of `mint@1.0.0`; its neighbours stay what they are.
#[track_caller]
fn check(expected: &str, change: impl FnOnce(&mut Files)) -> Read {
    let mut files = sample();
    change(&mut files);
    let found = read(&files);
    assert_eq!(found.fate(FULL), expected, "{:?}", found.skipped);
    for neighbour in ["estream:esf-iot@1.0.0", "estream:@zed/counter@2.0.0"] {
        assert_eq!(found.fate(neighbour), "sealed", "{neighbour}");
    }
    if let Some(refusal) = found.releases.first().and_then(|release| release.verdict.refusal()) {
        assert!(!refusal.expected.is_empty() && !refusal.found.is_empty(), "{refusal}");
    }
    found
}

#[test]
fn what_is_wrong_with_a_signature_refuses_its_version() {
    let path = format!("{MINT}/1.0.0/SIGNATURE.ml-dsa");
    let with = |field: &'static str, value: Value| {
        let path = path.clone();
        move |files: &mut Files| change(files, &path, |document| document[field] = value)
    };
    let found = check(seal::SIGNATURE_MISSING, |files| drop(files.remove(&path)));
    assert_eq!(found.release(FULL).extra[VERIFICATION], json!({"result": "InvalidSignature"}));
    assert_eq!(found.fate("estream:mint@1.1.0"), "sealed");
    check(seal::SIGNATURE_MALFORMED, |files| put(files, &path, "{"));
    check(seal::SIGNATURE_MALFORMED, |files| put(files, &path, vec![b' '; SIGNATURE_BYTES_MAX + 1]));
    check(seal::SIGNATURE_MALFORMED, with("signature_hex", json!("ab".repeat(4626))));
    check(seal::SIGNATURE_MALFORMED, with("signature_hex", json!("zz".repeat(4627))));
    check(seal::SIGNATURE_MALFORMED, with("checksum", json!("ab")));
    check(seal::UNSUPPORTED_ALGORITHM, with("algorithm", json!("ML-DSA-65")));
    check(seal::UNSUPPORTED_ALGORITHM, with("algorithm", json!("ml-dsa-87")));
    check(seal::UNSUPPORTED_ALGORITHM, with("checksum_algorithm", json!("SHA-256")));
    check(seal::KEY_ID_MISMATCH, with("key_id", json!("zed-1")));
    let found = check(seal::CHECKSUM_MISMATCH, with("checksum", json!(checksum("mint", "other"))));
    let refusal = found.release(FULL).verdict.refusal().unwrap().to_string();
    assert!(refusal.contains("SIGNATURE.ml-dsa") && refusal.contains("metadata.json"), "{refusal}");
    check("sealed", with("signature_hex", json!("AB".repeat(4627))));
    check("sealed", with("checksum", json!(checksum("mint", "1.0.0").to_uppercase())));
}

#[test]
fn what_is_wrong_with_a_checksum_file_refuses_its_version() {
    let path = format!("{MINT}/1.0.0/checksum.sha3");
    let text = |text: String| {
        let path = path.clone();
        move |files: &mut Files| put(files, &path, text)
    };
    let own = checksum("mint", "1.0.0");
    check(seal::CHECKSUM_MISSING, |files| drop(files.remove(&path)));
    check(seal::CHECKSUM_MALFORMED, text(String::new()));
    check(seal::CHECKSUM_MALFORMED, text(own[1..].to_owned()));
    check(seal::CHECKSUM_MALFORMED, text(format!("{own}{}", " ".repeat(CHECKSUM_BYTES_MAX))));
    let found = check(seal::CHECKSUM_MISMATCH, text(checksum("mint", "1.1.0")));
    assert_eq!(found.release(FULL).extra[VERIFICATION], json!({"result": "ChecksumMismatch"}));
    check("sealed", text(own.clone()));
    check("sealed", text(format!("{}\n", own.to_uppercase())));
}

#[test]
fn a_key_is_one_of_the_publisher_and_of_nobody_else() {
    let acme = "publishers/acme.json";
    let key = |field: &'static str, value: Value| {
        move |files: &mut Files| change(files, acme, |record| record["signing_keys"][0][field] = value)
    };
    check(seal::PUBLISHER_UNKNOWN, |files| drop(files.remove(acme)));
    check(seal::PUBLISHER_MALFORMED, |files| put(files, acme, "[]"));
    check(seal::PUBLISHER_MALFORMED, |files| change(files, acme, |record| record["name"] = json!("zed")));
    check(seal::PUBLISHER_MALFORMED, |files| {
        change(files, acme, |record| record["display_name"] = json!("x".repeat(300)));
    });
    check(seal::PUBLISHER_MALFORMED, |files| {
        change(files, acme, |record| record["url"] = json!("x".repeat(PUBLISHER_BYTES_MAX)));
    });
    check(seal::KEY_UNKNOWN, key("key_id", json!("acme-2")));
    check(seal::KEY_UNKNOWN, key("status", json!("lost")));
    check(seal::KEY_UNKNOWN, key("algorithm", json!("ML-DSA-65")));
    check(seal::KEY_UNKNOWN, key("created_at", json!("yesterday")));
    let found = check(seal::KEY_UNKNOWN, key("public_key_hex", json!("0c".repeat(1952))));
    let refusal = found.release(FULL).verdict.refusal().unwrap();
    assert!(refusal.found.contains("2592 bytes"), "{refusal}");
    check(seal::KEY_UNKNOWN, |files| {
        change(files, acme, |record| {
            let twice = record["signing_keys"][0].clone();
            record["signing_keys"].as_array_mut().unwrap().push(twice);
        });
    });
    // The key of another publisher says nothing, although it is there.
    check(seal::KEY_UNKNOWN, |files| {
        change(files, &format!("{MINT}/metadata.json"), |document| {
            document["versions"][0]["signature_pubkey_id"] = json!("zed-1");
        });
        change(files, &format!("{MINT}/1.0.0/SIGNATURE.ml-dsa"), |document| {
            document["key_id"] = json!("zed-1")
        });
    });
    let found = check("sealed", key("status", json!("revoked")));
    assert_eq!(found.sealed.iter().filter(|one| one.seal.key.status == seal::KeyStatus::Revoked).count(), 3);
}

#[test]
fn what_is_wrong_with_a_manifest_refuses_its_version() {
    let path = format!("{MINT}/1.0.0/estream-component.toml");
    let edit = |from: &'static str, to: &'static str| {
        let path = path.clone();
        move |files: &mut Files| replace(files, &path, from, to)
    };
    check("file_missing", |files| drop(files.remove(&path)));
    check("input.toml", |files| put(files, &path, "[component"));
    check("input.toml", |files| put(files, &path, format!("x = {}", "[".repeat(10_000))));
    check("input.toml", edit("description = \"a part\"", ""));
    check("input.encoding", |files| put(files, &path, [0xff]));
    check("estream.manifest_mismatch", edit("name = \"mint\"", "name = \"mine\""));
    check("estream.manifest_mismatch", edit("version = \"1.0.0\"", "version = \"1.0.1\""));
    let found = check("estream.manifest_mismatch", edit("smart-circuit", "wire-adapter"));
    let refusal = found.release(FULL).verdict.refusal().unwrap();
    assert!(refusal.subject.contains("estream-component.toml"), "{refusal}");
    assert!(refusal.found.contains("component.category (line 4"), "{refusal}");
    let dependency = |text: &'static str| {
        let path = path.clone();
        move |files: &mut Files| {
            let mut manifest = files[&path].clone();
            manifest.extend(format!("[component.dependencies]\n{text}\n").bytes());
            put(files, &path, manifest);
        }
    };
    check("input.requirement", dependency("fix = \"^1 || ^2\""));
    check("input.id", dependency("Fix = \"1\""));
    check("input.field", dependency("fix = 1"));
    check("input.version", |files| {
        let mut manifest = files[&path].clone();
        manifest.extend(b"[component.estream]\nmin_version = \"new\"\n");
        put(files, &path, manifest);
    });
    check("sealed", dependency("fix = \"1\""));
}

#[test]
fn the_platform_is_required_by_every_spelling() {
    let check = |table: &str, expected: &str| {
        let mut files = sample();
        let row = |document: &mut Value| {
            drop(document["versions"][0].as_object_mut().unwrap().remove("estream_min_version"))
        };
        change(&mut files, &format!("{MINT}/metadata.json"), row);
        let path = format!("{MINT}/1.0.0/estream-component.toml");
        let mut manifest = files[&path].clone();
        manifest.extend(table.bytes());
        put(&mut files, &path, manifest);
        let found = read(&files);
        let told: Vec<String> = found.release(FULL).dependencies.texts().map(str::to_owned).collect();
        assert_eq!(told.join(" "), expected, "{table}");
    };
    check("", "");
    check("[component.estream]\nmin_version = \"0.8.0\"\n", "estream:estream-kernel@>=0.8.0");
    check("[component.estream]\nmax_version = \"1.0.0\"\n", "estream:estream-kernel@<=1.0.0");
    check("[component.estream]\nplatform = \"0.9.0\"\n", "estream:estream-kernel@>=0.9.0");
    check("[component.estream]\nplatform = \"^0.9\"\n", "estream:estream-kernel@^0.9");
    check("[component.estream]\nplatform = \"*\"\n", "");
    check("[component.dependencies]\nestream-kernel = \"0.8\"\n", "estream:estream-kernel@^0.8");
}

#[test]
fn what_is_wrong_with_metadata_refuses_what_it_is_about() {
    let path = format!("{MINT}/metadata.json");
    let with = |field: &'static str, value: Value| {
        let path = path.clone();
        move |files: &mut Files| change(files, &path, |document| document[field] = value)
    };
    let version = |field: &'static str, value: Value| {
        let path = path.clone();
        move |files: &mut Files| change(files, &path, |document| document["versions"][0][field] = value)
    };
    let found = check("file_missing", |files| drop(files.remove(&path)));
    assert_eq!(found.fate("estream:mint@1.1.0"), "file_missing");
    check("input.json", |files| put(files, &path, "{\"name\":"));
    check("limit.carried_bytes", with("keywords", json!(["x".repeat(metadata::CARRIED_BYTES_MAX)])));
    check("estream.metadata_mismatch", with("name", json!("fix")));
    check("estream.metadata_mismatch", with("category", json!("wire-adapter")));
    check("input.field", with("publisher", json!("../acme")));
    for (field, value, reason) in [
        ("version", json!("one"), "estream.version_unlisted"),
        ("published_at", json!("2026-02-30T12:00:00Z"), "input.time"),
        ("checksum_sha3", json!("sha256:00"), "input.digest"),
        ("archive_url", json!("http://dl.acme.com/x"), "input.url_scheme"),
        ("archive_url", json!("file:///etc/passwd"), "input.url_scheme"),
        ("archive_url", json!("../../x"), "input.path"),
        ("estream_min_version", json!("old"), "input.version"),
        ("yanked", json!("no"), "input.field"),
    ] {
        let found = check(reason, version(field, value));
        assert_eq!(found.fate("estream:mint@1.1.0"), "sealed", "{field}");
        let [skipped] = found.skipped.as_slice() else { panic!("{:?}", found.skipped) };
        assert!(skipped.contains(&format!("versions[0].{field}")) && skipped.contains("line 1"), "{skipped}");
        // Whoever asks for the version hears it too.
        let refusal = found.release(FULL).verdict.refusal().unwrap();
        assert!(field == "version" || refusal.found.contains(&format!("versions[0].{field}")), "{refusal}");
    }
    check("sealed", version("published_at", json!("2026-02-10T12:00:00.25Z")));
    let found = check("sealed", version("yanked", json!(true)));
    assert!(found.release(FULL).yanked && !found.release("estream:mint@1.1.0").yanked);
    let found = check("sealed", version("archive_url", json!("archives/mint.tar.gz")));
    let archive = found.release(FULL).archive.clone().unwrap().location;
    assert_eq!(
        archive.to_string(),
        format!("https://git.acme.com/registry.git at {COMMIT}: archives/mint.tar.gz")
    );
    let found = check("sealed", |files| {
        change(files, &path, |document| {
            let again = document["versions"][0].clone();
            document["versions"].as_array_mut().unwrap().push(again);
        });
    });
    assert!(found.skipped[0].contains("every version once"), "{:?}", found.skipped);
}

#[test]
fn many_versions_do_not_each_carry_much() {
    let check = |words: usize, versions: usize, is_carried: bool| {
        let mut files = sample();
        let path = format!("{MINT}/metadata.json");
        change(&mut files, &path, |document| {
            document["description"] = json!("x".repeat(words));
            let rows = document["versions"].as_array_mut().unwrap();
            let one = rows[0].clone();
            rows.extend((2..versions).map(|at| {
                let mut row = one.clone();
                row["version"] = json!(format!("2.{at}.0"));
                row
            }));
        });
        let found = read(&files);
        assert_eq!(found.fate(FULL), "sealed");
        let extra = &found.release(FULL).extra;
        assert_eq!((extra.get("badges").is_some(), &extra["publisher"]), (is_carried, &json!("acme")));
        match found.warnings.as_slice() {
            [] => assert!(is_carried),
            [one] => {
                assert!(!is_carried);
                let says = one.starts_with("estream.carried estream:mint: its ");
                assert!(says && one.contains(&format!("{versions} versions")), "{one}");
            }
            more => panic!("{more:?}"),
        }
    };
    check(8_000, 500, true);
    check(8_000, 600, false);
    check(500, 600, true);
}

#[test]
fn latest_has_no_say() {
    let check = |latest: &str, expected: &[&str]| {
        let mut files = sample();
        change(&mut files, &format!("{MINT}/metadata.json"), |document| document["latest"] = json!(latest));
        let found = read(&files);
        let warned: Vec<&str> =
            found.release("estream:mint@1.1.0").warnings.iter().map(|one| &*one.reason).collect();
        assert_eq!(warned, expected, "{latest}");
        assert!(found.release(FULL).warnings.is_empty());
    };
    check("1.1.0", &[]);
    check("1.0.0", &["estream.latest"]);
    check("9.9.9", &["estream.latest"]);
    check("newest", &["estream.latest"]);
}

#[test]
fn names_and_places_decide_who_may_publish_what() {
    let add = |category: &'static str, name: &'static str, publisher: &'static str| {
        move |files: &mut Files| publish(files, category, name, publisher, "1.0.0", "")
    };
    let fate = |change: &dyn Fn(&mut Files), full: &str| {
        let mut files = sample();
        change(&mut files);
        read(&files).fate(full)
    };
    assert_eq!(
        fate(&add("integration", "estream-x", "acme"), "estream:estream-x@1.0.0"),
        seal::NAME_RESERVED
    );
    assert_eq!(fate(&add("integration", "estream-x", "estream"), "estream:estream-x@1.0.0"), "sealed");
    assert_eq!(fate(&add("esf-schema", "esf-x", "zed"), "estream:esf-x@1.0.0"), seal::NAME_RESERVED);
    assert_eq!(fate(&add("integration", "core-x", "acme"), "estream:core-x@1.0.0"), seal::NAME_RESERVED);
    assert_eq!(fate(&add("integration", "plain", "acme"), "estream:plain@1.0.0"), "sealed");
    assert_eq!(fate(&add("integration", "-", "acme"), "estream:-@1.0.0"), "sealed");
    assert_eq!(fate(&add("payment-protocol", "pay", "acme"), "estream:pay@1.0.0"), "sealed");
    let scoped = "estream:@zed/x@1.0.0";
    assert_eq!(fate(&add("integration", "@zed/x", "zed"), scoped), "sealed");
    assert_eq!(fate(&add("integration", "@zed/x", "acme"), scoped), "estream.metadata_mismatch");
    for (name, full) in [("Upper", "estream:Upper@1.0.0"), ("estream-kernel", "estream:estream-kernel@1.0.0")]
    {
        let mut files = sample();
        publish(&mut files, "integration", name, "acme", "1.0.0", "");
        let found = read(&files);
        assert_eq!((found.fate(full).as_str(), found.skipped.is_empty()), ("nothing", false), "{name}");
    }
}

#[test]
fn a_name_in_two_categories_is_refused_naming_both() {
    for (name, full, other) in [
        ("mint", "estream:mint@3.0.0", "index/smart-circuit/mint"),
        // The versions of a scoped name are those of its first category; none of it may be used anyway.
        ("@zed/counter", "estream:@zed/counter@2.0.0", "index/wire-adapter/@zed/counter"),
    ] {
        let mut files = sample();
        let category = if name == "mint" { "integration" } else { "wire-adapter" };
        publish(&mut files, category, name, "zed", "3.0.0", "");
        let found = read(&files);
        assert_eq!(found.fate(full), "estream.two_categories");
        let refusal = found.release(full).verdict.refusal().unwrap().to_string();
        assert!(refusal.contains(other) && refusal.matches("index/").count() == 2, "{refusal}");
        assert_eq!(found.fate("estream:fix@0.3.0"), "sealed");
    }
}

#[test]
fn the_configuration_of_a_registry_may_be_missing_or_wrong() {
    let mut files = sample();
    files.remove("config.json");
    let found = read(&files);
    assert_eq!((found.sealed.len(), found.warnings.len()), (5, 0));
    for text in ["{", "{\"schema_version\": 2}", "{\"reserved_prefixes\": 1}"] {
        put(&mut files, "config.json", text);
        let found = read(&files);
        assert_eq!(found.sealed.len(), 5, "{text}");
        assert!(found.warnings[0].starts_with("estream.config"), "{:?}", found.warnings);
    }
    // So many prefixes, and none of a size that makes names slow to compare.
    let others = |count: usize| (0..count).map(|number| format!("p{number}-"));
    let long = "m".repeat(index::PREFIX_BYTES_MAX + 1);
    let check = |prefixes: Vec<String>, fate: &str, warnings: usize| {
        let mut files = sample();
        put_json(&mut files, "config.json", &json!({"reserved_prefixes": prefixes}));
        let found = read(&files);
        assert_eq!(
            (found.fate(FULL).as_str(), found.warnings.len()),
            (fate, warnings),
            "{:?}",
            found.warnings
        );
    };
    let last = || others(index::PREFIXES_MAX - 1).chain(["min".to_owned()]);
    check(last().collect(), seal::NAME_RESERVED, 0);
    check([long, String::new()].into_iter().chain(last()).collect(), seal::NAME_RESERVED, 1);
    check(others(index::PREFIXES_MAX).chain(["min".to_owned()]).collect(), "sealed", 1);
}

#[test]
fn a_registry_may_lie_below_the_root_of_its_repository() {
    let files: Files = sample().into_iter().map(|(path, bytes)| (format!("sub/reg/{path}"), bytes)).collect();
    let found = read_registry(&files, "sub/reg/", Filter::default()).unwrap();
    assert_eq!((found.sealed.len(), found.releases.len()), (5, 0));
    let path = found.release(FULL).origin.path.clone().unwrap();
    assert_eq!(path.as_text(), "sub/reg/index/smart-circuit/mint/1.0.0");
}

#[test]
fn a_source_takes_the_versions_that_it_asks_for() {
    let filter = Filter::parse(None, None, Some("^1.1")).unwrap();
    let found = read_registry(&sample(), "", filter).unwrap();
    assert_eq!((found.fate("estream:mint@1.1.0"), found.sealed.len()), ("sealed".to_owned(), 1));
    assert!(found.releases.is_empty());
}

#[test]
fn a_file_of_this_machine_that_is_none_of_ours_is_not_quoted() {
    let home = Location::File { path: LocalPath::parse("/srv/reg/index").unwrap() };
    let secret = b"root:x:0:0:secret";
    let task = Task::Index(Box::default());
    let index = Errand {
        want: Want::Directories { location: home, depth: INDEX_LEVELS },
        digests: Digests::default(),
        size: None,
        signature: None,
        stage: Stage::Release,
        task: dialect::Task::Estream(task),
    };
    let names = format!("{COMMIT} index\na\n\tb\n");
    let found = dialect::read(&index, names.as_bytes(), &received(b""), &Forges::default()).unwrap();
    let config = &found.errands[0];
    assert_eq!(config.want.to_string(), "/srv/reg/config.json");
    let found = dialect::refuse(config, Refusal::new("file_missing", "x", "a file", "nothing"));
    let metadata = &found.errands[0];
    assert_eq!(metadata.want.to_string(), "/srv/reg/index/a/b/metadata.json");
    let error = dialect::read(metadata, secret, &received(secret), &Forges::default()).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn an_errand_that_is_kept_is_read_back() {
    let source = crate::sources::read(
        br#"{"sources":[{"id":"a","dialect":"estream","url":"acme/reg","version":"^1"}]}"#,
        std::path::Path::new("/"),
        &Forges::default(),
    );
    let errand = dialect::start(&source.unwrap()[0], &Forges::default());
    let text = serde_json::to_string(&errand).unwrap();
    assert_eq!(serde_json::from_str::<Errand>(&text).unwrap(), errand);
    assert!(matches!(errand.want, Want::Directories { depth: INDEX_LEVELS, .. }));
    assert_eq!(ComponentId::parse(KERNEL).unwrap().dialect(), Dialect::Estream);
    assert_eq!(platform(PLATFORM).unwrap().as_text(), KERNEL);
}

#[test]
fn whoever_has_a_record_is_registered_whatever_it_says() {
    let mut files = sample();
    put(&mut files, "publishers/broken.json", "{");
    put(&mut files, "publishers/idle.json", "{}");
    put(&mut files, "publishers/README.md", "for people");
    put(&mut files, "publishers/Upper.json", "{}");
    put(&mut files, "publishers/@x.json", "{}");
    put(&mut files, "publishers/deep/x.json", "{}");
    put(&mut files, "publishers/dir.json/x", "{}");
    put(&mut files, "publishers/-bad.json", "{}");
    put(&mut files, "publishers/bad-.json", "{}");
    let found = read(&files);
    let names = |names: &[&str]| names.iter().map(|name| format!("estream:@{name}/**")).collect::<Vec<_>>();
    assert_eq!(found.registers, names(&["acme", "broken", "estream", "idle", "zed"]));
    let skipped: Vec<&str> =
        found.skipped.iter().filter_map(|one| one.split_once(' ')).map(|one| one.0).collect();
    let entries = ["-bad", "@x", "Upper", "bad-", "dir"].map(|name| format!("publishers/{name}.json"));
    assert_eq!(skipped, entries);
    assert!(found.skipped[0].contains("a publisher's name"), "{:?}", found.skipped);
    assert!(found.skipped[4].contains("found \"tree\""), "{:?}", found.skipped);

    // What a source takes nothing of it does not hold.
    let held = |filter: Filter| read_registry(&files, "", filter).unwrap().registers.len();
    assert_eq!(held(Filter::parse(None, None, Some("^9")).unwrap()), 5, "any version may come");
    assert_eq!(held(Filter::parse(Some("acme"), None, None).unwrap()), 0);
    assert_eq!(held(Filter::parse(None, Some("some"), None).unwrap()), 0);

    files.retain(|path, _| !path.starts_with("publishers/"));
    let found = read(&files);
    assert_eq!((found.registers.len(), found.gap), (0, None), "a registry may have none");
    put(&mut files, "publishers", "a file");
    let task =
        dialect::Task::Estream(Task::Publishers(Box::new(PublishersTask { filter: Filter::default() })));
    let want = Want::Tree { location: entry(""), depth: 1 };
    let errand = Errand {
        want,
        digests: Digests::default(),
        size: None,
        signature: None,
        stage: Stage::Release,
        task,
    };
    let refused =
        dialect::refuse(&errand, Refusal::new("git.not_a_tree", "publishers", "a directory", "a file"));
    assert_eq!(refused.gap.unwrap().reason, "git.not_a_tree", "who is registered is not known");
    assert!(errand.is_long());
}

#[test]
fn names_of_directories_that_are_none_are_refused_and_what_lies_deep_is_read() {
    let location = entry("");
    let read = |text: &str| {
        let errand = Errand {
            want: Want::Directories { location: location.clone(), depth: INDEX_LEVELS },
            digests: Digests::default(),
            size: None,
            signature: None,
            stage: Stage::Release,
            task: dialect::Task::Estream(Task::Index(Box::default())),
        };
        let head = format!("{COMMIT} index\n");
        let found = dialect::read(&errand, (head + text).as_bytes(), &received(b""), &Forges::default())?;
        let next = dialect::refuse(&found.errands[0], Refusal::new("file_missing", "x", "a file", "nothing"));
        let asked = next.errands.iter().map(|errand| errand.want.to_string()).collect::<Vec<_>>();
        let skipped = found.skipped.iter().map(|one| one.entry.clone()).collect::<Vec<_>>();
        Ok::<_, ParseError>((asked, skipped))
    };
    for wrong in ["\ta\n", "a\n\t\tb\n", "\n", "a\n\t\n"] {
        assert_eq!(read(wrong).unwrap_err().reason, "input.listing", "{wrong:?}");
    }
    let text =
        "a\n\t@p\n\t\tx\n\t\t\t1.0.0\n\t\t\tno\n\t@-\n\tB\n\t\t1.0.0\n\tc\n\t\t2.0.0\n\t\t\tdeep\nA\n\tx\n";
    let (asked, skipped) = read(text).unwrap();
    assert_eq!(skipped, ["a/@p/x/no", "a/B", "A"]);
    let asked: Vec<&str> = asked.iter().map(|want| want.split("index/").nth(1).unwrap()).collect();
    assert_eq!(asked, ["a/@p/x/metadata.json", "a/c/metadata.json"]);
    assert!(read("").unwrap().0.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(which in 0..6_usize, at in 0..4000_usize, byte: u8, cut: bool) {
        let mut files = sample();
        let paths = ["config.json", "publishers/acme.json", "index/smart-circuit/mint/metadata.json",
            "index/smart-circuit/mint/1.0.0/estream-component.toml", "index/smart-circuit/mint/1.0.0/checksum.sha3",
            "index/smart-circuit/mint/1.0.0/SIGNATURE.ml-dsa"];
        let bytes = files.get_mut(paths[which]).unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let found = read(&files);
        prop_assert_ne!(found.fate(FULL), "nothing");
        prop_assert_eq!(found.fate("estream:@zed/counter@2.0.0"), "sealed");
    }
}
