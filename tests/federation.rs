//! The sample federation is what it claims to be: every digest, size, path and id in it is recomputed from its files.
//!
//! A test does not write the files: where a digest is wrong it says which text belongs where.

use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use serde_json::Value;

use crate::harness::place;

/// Collects what is wrong, so that one run names everything.
struct Findings(Vec<String>);

impl Findings {
    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// Compares a digest as written with the bytes of `path`.
    fn digest(&mut self, document: &Path, written: &Value, path: &Path) {
        let Ok(bytes) = std::fs::read(path) else {
            return self.0.push(format!("{}: {} is not there", document.display(), path.display()));
        };
        let real = Digest::sha256(&bytes);
        let text = written.as_str().unwrap_or_default();
        let hex = real.to_string().replace(':', "-");
        self.require(Digest::parse(text).as_ref() == Ok(&real), || {
            format!("{}: write {hex} for {} instead of {text:?}", document.display(), path.display())
        });
    }
}

#[test]
fn federation_is_consistent() {
    let root = place::root();
    let sources = json(&root.join("sources.example.json"));
    let mut findings = Findings(Vec::new());
    let mut ids = Vec::new();
    for source in list(&sources, "sources").iter().filter(|source| source["dialect"].is_null()) {
        let entry = root.join(text(source, "/entrypoint/path"));
        ids.push(entry_ids(&entry, &mut findings));
    }
    assert!(findings.0.is_empty(), "{}", findings.0.join("\n"));

    let [acme, community] = ids.as_slice() else { panic!("two sources, not {}", ids.len()) };
    let versions = |ids: &[String], id: &str| -> Vec<String> {
        ids.iter().filter_map(|full| full.strip_prefix(&format!("{id}@")).map(str::to_owned)).collect()
    };
    let (slug, invoice) = ("lcod://tooling/text/slug", "lcod://acme/billing/invoice");
    assert_eq!(versions(acme, slug), ["0.1.0", "0.2.0"], "acme owns an id …");
    assert_eq!(versions(community, slug), ["1.3.0"], "… of which the community has a higher version");
    assert_eq!(versions(acme, invoice), ["0.1.0", "0.2.0", "1.0.0", "1.1.0", "2.0.0-rc.1"]);
    assert_eq!(versions(community, invoice), ["9.9.9"]);
}

/// Returns every `id@version` that the list at `entry` leads to.
fn entry_ids(entry: &Path, findings: &mut Findings) -> Vec<String> {
    let folder = entry.parent().unwrap();
    let rows = if entry.extension().is_some_and(|extension| extension == "jsonl") {
        lines(entry).into_iter().filter(|row| row["type"] == "list").collect()
    } else {
        list(&json(entry), "catalogues").to_vec()
    };
    findings.require(!rows.is_empty(), || format!("{}: lists nothing", entry.display()));
    let mut ids = Vec::new();
    for row in rows {
        let path = row.get("path").or(row.get("url")).and_then(Value::as_str).unwrap_or_default();
        let catalogue = folder.join(path);
        let written = row.get("checksum").unwrap_or(&row["metadata"]["checksum"]);
        findings.digest(entry, written, &catalogue);
        let bytes = std::fs::read_to_string(&catalogue).unwrap_or_default();
        let found = match bytes.trim_start().chars().next() {
            Some('[') => array_ids(&catalogue, findings),
            Some('{') if catalogue.extension().is_some_and(|extension| extension == "jsonl") => {
                row_ids(&catalogue, findings)
            }
            _ => seed_ids(&catalogue, text(&row, "/id"), findings),
        };
        findings.require(!found.is_empty(), || format!("{}: no components", catalogue.display()));
        ids.extend(found);
    }
    ids
}

fn seed_ids(catalogue: &Path, named: &str, findings: &mut Findings) -> Vec<String> {
    let document = json(catalogue);
    findings.require(document["id"] == named, || format!("{}: is not called {named}", catalogue.display()));
    let mut ids = Vec::new();
    for component in list(&document, "components") {
        for version in list(component, "versions") {
            let id = format!("{}@{}", text(component, "/id"), text(version, "/version"));
            let manifest = catalogue.parent().unwrap().join(text(version, "/manifest"));
            findings.digest(catalogue, &version["sha256"], &manifest);
            check_manifest(&manifest, catalogue.parent().unwrap(), &id, findings);
            ids.push(id);
        }
    }
    ids
}

fn check_manifest(path: &Path, root: &Path, id: &str, findings: &mut Findings) {
    let manifest = json(path);
    findings.require(manifest["id"] == id, || format!("{}: its id is not {id}", path.display()));
    let folder = root.join(text(&manifest, "/source/path"));
    for file in list(&manifest, "files") {
        let file_path = folder.join(text(file, "/path"));
        findings.digest(path, &file["sha256"], &file_path);
        let size = std::fs::metadata(&file_path).map_or(0, |meta| meta.len());
        findings.require(file["size"] == size, || {
            format!("{}: write size {size} for {}", path.display(), file_path.display())
        });
    }
    let requires = check_descriptor(&folder.join("lcp.toml"), id, findings);
    findings.require(manifest["dependencies"] == Value::from(requires), || {
        format!("{}: other dependencies than its lcp.toml", path.display())
    });
}

fn row_ids(catalogue: &Path, findings: &mut Findings) -> Vec<String> {
    // A catalogue in a folder named `registry` counts its paths from the folder above.
    let root = catalogue.parent().and_then(Path::parent).unwrap().to_path_buf();
    let rows: Vec<Value> = lines(catalogue).into_iter().filter(|row| row["type"] == "component").collect();
    rows.iter()
        .map(|row| pair_id(&root, row, text(row, "/compose"), Some(text(row, "/lcp")), findings))
        .collect()
}

fn array_ids(catalogue: &Path, findings: &mut Findings) -> Vec<String> {
    let root = catalogue.parent().and_then(Path::parent).unwrap().to_path_buf();
    let rows = json(catalogue);
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| pair_id(&root, row, text(row, "/composePath"), None, findings)).collect()
}

fn pair_id(root: &Path, row: &Value, compose: &str, lcp: Option<&str>, findings: &mut Findings) -> String {
    let id = text(row, "/id").to_owned();
    let compose: PathBuf = root.join(compose);
    let lcp = lcp.map_or_else(|| compose.with_file_name("lcp.toml"), |lcp| root.join(lcp));
    findings.require(compose.is_file(), || format!("{id}: {} is not there", compose.display()));
    check_descriptor(&lcp, &id, findings);
    id
}

/// Compares the id and version of an `lcp.toml` and returns what it requires.
fn check_descriptor(path: &Path, id: &str, findings: &mut Findings) -> Vec<String> {
    let descriptor: toml::Table = std::fs::read_to_string(path).unwrap_or_default().parse().unwrap();
    let field =
        |name: &str| descriptor.get(name).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let version = id.rsplit_once('@').map_or("", |(_, version)| version);
    findings.require(field("id") == id && field("version") == version, || {
        format!("{}: does not describe {id}", path.display())
    });
    let requires =
        descriptor.get("deps").and_then(|deps| deps.get("requires")).and_then(toml::Value::as_array);
    requires.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
