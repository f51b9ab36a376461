//! Documents that lie, row by row of the list of threats, as the API tells them: a real daemon reads catalogues, lists and
//! manifests from this machine, and what became of them is read from the socket.

use std::fs;

use catalogue_schema::digest::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, catalogues, lines};
use crate::harness::repository::{Files, write};
use crate::trust::{Revision, Shop, check, signed_by_root};

/// A commit of other people's repositories, which manifests name and nobody fetches.
pub(crate) const ELSEWHERE: (&str, &str) =
    ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");
const X: &str = "lcod://acme/x";
const GOOD: &str = "lcod://acme/good";

/// A directory that one source reads: a document, and what lies beside it.
pub(crate) struct Desk {
    /// Where the daemon runs.
    pub(crate) sandbox: Sandbox,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let desk = Desk { sandbox: Sandbox::new() };
        let path = desk.sandbox.path("published/catalogue.json");
        desk.sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "path": path }] }));
        desk
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        write(&self.sandbox.path("published"), &Files::from([(name.to_owned(), bytes.to_vec())]));
    }

    /// Writes the manifest of a release, and returns its row in a catalogue.
    pub(crate) fn version(&self, id: &str, version: &str) -> Value {
        let one = Component::new(id, version, &[]);
        let manifest = one.manifest(ELSEWHERE.0, ELSEWHERE.1);
        let path = format!("{}-{version}/manifest.json", one.directory);
        self.put(&path, &manifest);
        json!({ "version": version, "manifest": path, "sha256": Digest::sha256(&manifest) })
    }

    /// Publishes a catalogue of these components, beside a good one.
    pub(crate) fn publish(&self, components: &[Value]) {
        let good = json!({ "id": GOOD, "versions": [self.version(GOOD, "1.0.0")] });
        let all: Vec<&Value> = [&good].into_iter().chain(components).collect();
        let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "all", "components": all });
        self.put("catalogue.json", catalogue.to_string().as_bytes());
    }

    /// Reads what was published; the good component must be served.
    #[track_caller]
    pub(crate) fn read(&self) -> Daemon {
        let daemon = self.sandbox.start_synced();
        assert_eq!(answer(&daemon, GOOD), "1.0.0", "{:#}", daemon.get("/v1/catalogues").ok());
        daemon
    }
}

/// Returns the version that a reference comes to, or the reason why it comes to none.
pub(crate) fn answer(daemon: &Daemon, reference: &str) -> String {
    let answer = daemon.resolve(&[reference]);
    match answer.status {
        200 => answer.json()["components"][0]["version"].as_str().unwrap().to_owned(),
        _ => answer.reason(),
    }
}

/// Returns what became of a catalogue.
pub(crate) fn told(daemon: &Daemon, name: &str) -> String {
    let row = daemon.catalogue(name);
    row["error"]["reason"].as_str().unwrap_or(row["state"].as_str().unwrap_or_default()).to_owned()
}

/// Returns the entries of a catalogue that were skipped, and why.
pub(crate) fn skipped(daemon: &Daemon, name: &str) -> Vec<(String, String)> {
    let row = daemon.catalogue(name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |skipped: &Value| (text(&skipped["entry"]), text(&skipped["error"]["reason"]));
    row["skippedEntries"].as_array().into_iter().flatten().map(one).collect()
}

/// Returns the reasons of a catalogue's warnings.
fn warned(daemon: &Daemon, name: &str) -> Vec<String> {
    let row = daemon.catalogue(name);
    let text = |warning: &Value| warning["reason"].as_str().unwrap_or_default().to_owned();
    row["warnings"].as_array().into_iter().flatten().map(text).collect()
}

#[test]
fn a4_fields_that_nobody_knows() {
    let desk = Desk::new();
    let one = Component::new(X, "1.0.0", &[]);
    let mut manifest: Value = serde_json::from_slice(&one.manifest(ELSEWHERE.0, ELSEWHERE.1)).unwrap();
    manifest["since"] = json!({ "x": [1, 2.5, null] });
    let manifest = manifest.to_string();
    desk.put("x.json", manifest.as_bytes());
    let version = json!({ "version": "1.0.0", "manifest": "x.json", "sha256": Digest::sha256(manifest.as_bytes()), "future": true });
    desk.publish(&[json!({ "id": X, "versions": [version], "later": { "a": "b" } })]);
    let daemon = desk.read();
    assert_eq!(answer(&daemon, X), "1.0.0", "ignored, and digested with the rest");
    // What a person writes to be obeyed is not obeyed in part.
    let asked = daemon.post("/v1/resolve", &json!({ "requests": [X], "prereleases": true }));
    assert_eq!((asked.status, asked.reason().as_str()), (400, "api.body"), "{asked}");
    drop(daemon);
    desk.put("config.toml", b"socet = \"/x\"\n");
    let config = desk.sandbox.path("published/config.toml").display().to_string();
    let said = desk.sandbox.run(&["--config", &config, "sync"]);
    assert!(said.status == 2 && said.stderr.contains("socet"), "{said:?}");
}

#[test]
fn a4_fields_that_nobody_knows_beside_signatures() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let words = "--key %root.key --id acme";
    let revision = |releases| Revision { releases, catalogue: words, ..Revision::default() };
    shop.publish_changed("acme", &revision(&["lcod://acme/x@1.0.0"]), |files| {
        let mut catalogue: Value = serde_json::from_slice(&files["catalogue.json"]).unwrap();
        catalogue["extra"] = json!({ "of": "another time" });
        let bytes = catalogue.to_string().into_bytes();
        files.insert("catalogue.json.sig".to_owned(), shop.signed(&bytes, words));
        files.insert("catalogue.json".to_owned(), bytes);
    });
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "what is signed may have more fields");
    for place in ["", "/signatures/0"] {
        shop.publish_changed("acme", &revision(&["lcod://acme/x@2.0.0"]), |files| {
            let mut envelope: Value = serde_json::from_slice(&files["catalogue.json.sig"]).unwrap();
            envelope.pointer_mut(place).unwrap()["extra"] = json!(1);
            files.insert("catalogue.json.sig".to_owned(), envelope.to_string().into_bytes());
        });
        check(&daemon, "input.field", "1.0.0 pinned all []", "an envelope may not");
    }
}

#[test]
fn a5_no_document_passes_for_another() {
    let desk = Desk::new();
    let sources = json!({ "schema": "lcod-resolver/sources@1", "sources": [] }).to_string().into_bytes();
    let list = catalogues(&[json!({ "id": "below", "kind": "file", "path": "none.json" })]);
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "c", "components": [] });
    let catalogue = catalogue.to_string().into_bytes();
    let manifest = Component::new(X, "1.0.0", &[]).manifest(ELSEWHERE.0, ELSEWHERE.1);
    let descriptor = Component::new(X, "1.0.0", &[]).descriptor();
    let newer = String::from_utf8(catalogue.clone()).unwrap().replace("catalogue@1", "catalogue@2");
    let bare = String::from_utf8(catalogue.clone()).unwrap().replace("lcod-registry/catalogue@1", "");
    // Where a list or catalogue is expected.
    let nodes: [(&str, &[u8]); 5] = [
        ("sources", &sources),
        ("manifest", &manifest),
        ("descriptor", &descriptor),
        ("newer", newer.as_bytes()),
        ("bare", bare.as_bytes()),
    ];
    let mut pointers: Vec<Value> = Vec::new();
    for (name, bytes) in &nodes {
        desk.put(&format!("nodes/{name}.json"), bytes);
        pointers.push(json!({ "id": name, "kind": "file", "path": format!("nodes/{name}.json") }));
    }
    // Where a manifest is expected.
    let manifests: [(&str, &[u8]); 3] = [("sources", &sources), ("list", &list), ("catalogue", &catalogue)];
    let rows = manifests.map(|(name, bytes)| {
        let path = format!("manifests/{name}.json");
        desk.put(&path, bytes);
        let version = json!({ "version": "1.0.0", "manifest": path, "sha256": Digest::sha256(bytes) });
        json!({ "id": format!("lcod://acme/{name}"), "versions": [version] })
    });
    desk.publish(&rows);
    fs::rename(desk.sandbox.path("published/catalogue.json"), desk.sandbox.path("published/all.json"))
        .unwrap();
    pointers.push(json!({ "id": "all", "kind": "file", "path": "all.json" }));
    desk.put("catalogue.json", &catalogues(&pointers));
    let daemon = desk.read();
    for (name, _) in &nodes {
        assert_eq!(told(&daemon, name), "input.schema", "{:#}", daemon.catalogue(name));
    }
    for (name, _) in manifests {
        assert_eq!(answer(&daemon, &format!("lcod://acme/{name}")), "input.schema", "{name}");
    }
    drop(daemon);
    // Where the sources file is expected.
    for (name, bytes) in [("list", &list), ("catalogue", &catalogue), ("manifest", &manifest)] {
        desk.sandbox.write_sources_text(std::str::from_utf8(bytes).unwrap());
        let said = desk.sandbox.run(&["sync"]);
        assert!(said.status == 2 && said.stderr.contains("lcod-resolver/sources@1"), "{name}: {said:?}");
    }
}

#[test]
fn a6_one_release_twice() {
    let desk = Desk::new();
    let (first, other) = (desk.version(X, "1.0.0"), desk.version("lcod://acme/y", "1.0.0"));
    let of = |version: &Value, text: &str| {
        let mut version = version.clone();
        version["version"] = json!(text);
        version
    };
    desk.publish(&[
        json!({ "id": X, "versions": [first, first, of(&other, "1.0.0"), of(&other, "1.0.0+b"), of(&first, "v1.0.0")] }),
        json!({ "id": X, "versions": [of(&other, "1.0.0")] }),
    ]);
    let daemon = desk.read();
    assert_eq!(answer(&daemon, X), "1.0.0", "the first of them");
    let told = skipped(&daemon, "acme");
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.iter().all(|(_, reason)| reason == "catalogue.duplicate"), "{told:?}");
    // One says the very same, one says it in other words; three say something else.
    let warnings = warned(&daemon, "acme");
    assert_eq!(warnings.iter().filter(|reason| *reason == "catalogue.duplicate").count(), 3, "{warnings:?}");
}

#[test]
fn a6_one_release_twice_in_a_catalogue_that_is_signed() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let releases = &["lcod://acme/x@1.0.0"];
    let words = "--key %root.key --id acme";
    shop.publish("acme", &Revision { releases, catalogue: words, ..Revision::default() });
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "once");
    let again = |path: &str| {
        let revision =
            Revision { releases: &["lcod://acme/x@1.0.0", "lcod://acme/y@1.0.0"], ..Revision::default() };
        shop.publish_changed("acme", &revision, |files| {
            let mut catalogue: Value = serde_json::from_slice(&files["catalogue.json"]).unwrap();
            let mut twin = catalogue["components"][0]["versions"][0].clone();
            if !path.is_empty() {
                twin["manifest"] = json!(path);
            }
            catalogue["components"][0]["versions"].as_array_mut().unwrap().push(twin);
            let bytes = catalogue.to_string().into_bytes();
            files.insert("catalogue.json.sig".to_owned(), shop.signed(&bytes, words));
            files.insert("catalogue.json".to_owned(), bytes);
        });
    };
    again("packages/acme.y-1.0.0/manifest.json");
    check(&daemon, "catalogue.duplicate", "1.0.0 pinned all []", "nobody can tell which was meant");
    assert_eq!(answer(&daemon, "lcod://acme/y"), "component_unknown", "nothing of it is used");
    again("");
    check(&daemon, "fresh", "1.0.0 pinned all []", "the very same entry again says nothing else");
}

#[test]
fn a7_a_manifest_of_something_else() {
    let desk = Desk::new();
    let rows = [
        ("lcod://acme/name", desk.version("lcod://acme/other", "1.0.0")),
        ("lcod://acme/version", {
            let mut row = desk.version("lcod://acme/version", "2.0.0");
            row["version"] = json!("1.0.0");
            row
        }),
        ("lcod://acme/both", desk.version("lcod://other/both", "1.0.0")),
    ];
    desk.publish(&rows.clone().map(|(id, version)| json!({ "id": id, "versions": [version] })));
    let daemon = desk.read();
    for (id, _) in rows {
        assert_eq!(answer(&daemon, id), "trust.statement_mismatch", "{id}: its digest is right");
    }
}

/// Returns Base64 with its padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = |at: usize| match at <= three.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn a10_spellings_of_a_digest() {
    let desk = Desk::new();
    let row = desk.version(X, "1.0.0");
    let bytes = fs::read(desk.sandbox.path("published").join(row["manifest"].as_str().unwrap())).unwrap();
    let (sha256, sha512) = (Digest::sha256(&bytes), Digest::of(Algorithm::Sha512, &bytes));
    let (hex, hex512) = (sha256.hex(), sha512.hex());
    let (base, base512) = (base64(sha256.as_bytes()), base64(sha512.as_bytes()));
    let good = [
        hex.clone(),
        format!("sha256:{hex}"),
        format!("sha256-{hex}"),
        format!("sha256-{base}"),
        format!("sha256-{}", base.trim_end_matches('=').replace('+', "-").replace('/', "_")),
    ];
    let bad = [
        String::new(),
        "sha256:".to_owned(),
        hex.to_uppercase(),
        hex[2..].to_owned(),
        format!("{hex}00"),
        hex512.clone(),
        base.clone(),
        format!("SHA256:{hex}"),
        format!("sha-256:{hex}"),
        format!("sha256={hex}"),
        format!("sha256:{base}"),
        format!("sha256:{hex512}"),
        format!("sha256-{base512}"),
        format!("sha512:{hex}"),
        format!("sha512-{base}"),
        format!("sha3-512:{hex}"),
        format!("blake3:{hex}"),
        format!("md5:{}", &hex[..32]),
        format!(" sha256:{hex}"),
        format!("sha256:{hex}\n"),
        format!("sha256-{base} sha512-{base512}"),
        format!("sha256:{hex},sha256:{hex}"),
        format!("sha256-sha256-{base}"),
        format!("sha256:{}", hex.replace(|c: char| c.is_ascii_digit(), "g")),
    ];
    let one = |kind: &str, at: usize, digest: &str| {
        let id = format!("lcod://acme/{kind}{at}");
        let mut version = desk.version(&id, "1.0.0");
        // Every row leads to the manifest whose digest is spelt; the id of the others differs.
        version["manifest"] = row["manifest"].clone();
        version["sha256"] = json!(digest);
        json!({ "id": id, "versions": [version] })
    };
    let mut rows: Vec<Value> = good.iter().enumerate().map(|(at, digest)| one("good", at, digest)).collect();
    rows.extend(bad.iter().enumerate().map(|(at, digest)| one("bad", at, digest)));
    desk.publish(&rows);
    let daemon = desk.read();
    for (at, digest) in good.iter().enumerate() {
        // The digest holds; the manifest is another component's, which is said next.
        let told = answer(&daemon, &format!("lcod://acme/good{at}"));
        assert_eq!(told, "trust.statement_mismatch", "{digest}");
    }
    let told = skipped(&daemon, "acme");
    assert_eq!(told.len(), bad.len(), "{told:?}");
    for (at, digest) in bad.iter().enumerate() {
        let is_told = |(entry, reason): &(String, String)| {
            entry.contains(&format!("lcod://acme/bad{at}@")) && reason == "input.digest"
        };
        assert!(told.iter().any(is_told), "{digest:?}: {told:?}");
    }
    // A digest of other bytes is none of its spellings.
    let wrong = Digest::sha256(b"other bytes").to_string();
    desk.publish(&[one("wrong", 0, &wrong)]);
    daemon.sync();
    assert_eq!(answer(&daemon, "lcod://acme/wrong0"), "trust.digest_mismatch");
}

#[test]
fn a11_every_digest_that_is_stated_must_hold() {
    let desk = Desk::new();
    desk.publish(&[]);
    let published = desk.sandbox.path("published/catalogue.json");
    let bytes = fs::read(&published).unwrap();
    fs::rename(published, desk.sandbox.path("published/all.json")).unwrap();
    let sha512 = |bytes: &[u8]| Digest::of(Algorithm::Sha512, bytes).to_string();
    let (good, wrong) = (Digest::sha256(&bytes).to_string(), Digest::sha256(b"x").to_string());
    let rows = [
        ("both", Some(good.clone()), Some(sha512(&bytes)), "fresh"),
        ("second", Some(good.clone()), Some(sha512(b"x")), "trust.digest_mismatch"),
        ("first", Some(wrong.clone()), Some(sha512(&bytes)), "trust.digest_mismatch"),
        ("conflict", Some(good.clone()), Some(wrong), "trust.pin_conflict"),
        ("unknown", Some(good), Some(format!("blake9:{}", "0".repeat(64))), "input.digest"),
        ("only-unknown", Some(format!("blake9:{}", "0".repeat(64))), None, "input.digest"),
    ];
    let pointers = rows.clone().map(|(id, first, second, _)| {
        json!({ "id": id, "kind": "file", "path": "all.json", "checksum": first, "metadata": { "checksum": second } })
    });
    desk.put("catalogue.json", &catalogues(&pointers));
    let daemon = desk.read();
    for (id, _, _, expected) in rows {
        let told = match expected.starts_with("input.") || expected == "trust.pin_conflict" {
            true => skipped(&daemon, "acme").into_iter().find(|(entry, _)| entry == id).unwrap().1,
            false => told(&daemon, id),
        };
        assert_eq!(told, expected, "{id}");
    }
}

/// What is no path below a root.
const PATHS: [&str; 31] = [
    "",
    ".",
    "..",
    "../x",
    "../../x",
    "/etc/../x",
    "a/../b",
    "a/./b",
    "a//b",
    "a/",
    ".//a",
    "a\\b",
    "..\\x",
    "C:x",
    "a b",
    "a\tb",
    "a\nb",
    "a\u{7f}b",
    "\u{e9}",
    "\u{202e}a",
    "a*",
    "a?",
    "?",
    "a|b",
    ".git/config",
    "a/GIT~1/b",
    "con",
    "nul.txt",
    "a.",
    "...",
    ".resolverd-x",
];

#[test]
fn a12_paths_that_leave_or_hide() {
    let desk = Desk::new();
    let mut rows = Vec::new();
    for (at, path) in PATHS.iter().enumerate() {
        let mut version = desk.version(X, "1.0.0");
        version["manifest"] = json!(path);
        rows.push(json!({ "id": format!("lcod://acme/manifest{at}"), "versions": [version] }));
    }
    desk.publish(&rows);
    fs::rename(desk.sandbox.path("published/catalogue.json"), desk.sandbox.path("published/all.json"))
        .unwrap();
    let composed: Vec<Value> = PATHS
        .iter()
        .enumerate()
        .map(|(at, path)| json!({ "id": format!("lcod://acme/row{at}@1.0.0"), "composePath": path }))
        .collect();
    desk.put("rows.json", Value::from(composed).to_string().as_bytes());
    // What a manifest lists.
    let one = Component::new("lcod://acme/listed", "1.0.0", &[]);
    let listed: Vec<Value> = PATHS
        .iter()
        .enumerate()
        .map(|(at, path)| {
            let id = format!("lcod://acme/file{at}");
            let mut manifest: Value =
                serde_json::from_slice(&one.manifest(ELSEWHERE.0, ELSEWHERE.1)).unwrap();
            manifest["id"] = json!(format!("{id}@1.0.0"));
            manifest["files"][0]["path"] = json!(path);
            let (manifest, name) = (manifest.to_string(), format!("files/{at}.json"));
            desk.put(&name, manifest.as_bytes());
            json!({ "id": id, "versions": [{ "version": "1.0.0", "manifest": name, "sha256": Digest::sha256(manifest.as_bytes()) }] })
        })
        .collect();
    let listed = json!({ "schema": "lcod-registry/catalogue@1", "id": "files", "components": listed });
    desk.put("files.json", listed.to_string().as_bytes());
    let mut pointers = vec![
        json!({ "id": "all", "kind": "file", "path": "all.json" }),
        json!({ "id": "rows", "kind": "file", "path": "rows.json" }),
        json!({ "id": "files", "kind": "file", "path": "files.json" }),
    ];
    for (at, path) in PATHS.iter().enumerate() {
        pointers.push(json!({ "id": format!("pointer{at}"), "kind": "file", "path": path }));
    }
    desk.put("catalogue.json", &catalogues(&pointers));
    let daemon = desk.read();
    let is_path = |reason: &str| ["input.path", "input.url_scheme", "input.field"].contains(&reason);
    for (name, catalogue, count) in
        [("manifest", "all", PATHS.len()), ("row", "rows", PATHS.len()), ("pointer", "acme", PATHS.len())]
    {
        let told = skipped(&daemon, catalogue);
        assert_eq!(told.len(), count, "{name}: {told:?}");
        assert!(told.iter().all(|(_, reason)| is_path(reason)), "{name}: {told:?}");
        assert!(told.iter().filter(|(_, reason)| reason == "input.path").count() > 25, "{name}: {told:?}");
    }
    for (at, path) in PATHS.iter().enumerate() {
        assert_eq!(answer(&daemon, &format!("lcod://acme/file{at}")), "input.path", "{path:?}");
    }
}

#[test]
fn a15_lists_that_lead_back_or_to_very_many() {
    let desk = Desk::new();
    desk.publish(&[]);
    fs::rename(desk.sandbox.path("published/catalogue.json"), desk.sandbox.path("published/all.json"))
        .unwrap();
    let pointer = |id: &str, path: &str| json!({ "type": "list", "id": id, "path": path });
    let list = |rows: &[Value]| lines("lists/x", rows);
    desk.put("a.jsonl", &list(&[pointer("b", "b.jsonl"), pointer("self", "a.jsonl")]));
    desk.put("b.jsonl", &list(&[pointer("a-again", "a.jsonl"), pointer("top", "catalogue.json")]));
    for level in 0..10 {
        let below = if level == 9 { "all.json".to_owned() } else { format!("deep{}.jsonl", level + 1) };
        desk.put(&format!("deep{level}.jsonl"), &list(&[pointer(&format!("deep{level}"), &below)]));
    }
    desk.put(
        "many.jsonl",
        &list(&(0..10_000).map(|n| pointer(&format!("n{n}"), "all.json")).collect::<Vec<_>>()),
    );
    desk.put(
        "catalogue.json",
        &list(&[pointer("all", "all.json"), pointer("a", "a.jsonl"), pointer("deep", "deep0.jsonl")]),
    );
    let daemon = desk.read();
    assert_eq!(warned(&daemon, "a"), ["catalogue.cycle"], "it lists itself");
    assert_eq!(warned(&daemon, "b"), ["catalogue.cycle", "catalogue.cycle"], "{:#}", daemon.catalogue("b"));
    let page = daemon.get("/v1/catalogues").ok();
    let errors: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|row| &row["error"]).collect();
    assert!(errors.iter().any(|error| error["reason"] == "limit.depth"), "{page:#}");
    // Ten thousand entries in one list: as many as the limit says, and the good one beside them.
    desk.put("catalogue.json", &list(&[pointer("all", "all.json"), pointer("many", "many.jsonl")]));
    daemon.sync();
    assert_eq!(answer(&daemon, GOOD), "1.0.0");
    let refused =
        told(&daemon, "acme") + &told(&daemon, "many") + &daemon.get("/v1/catalogues").ok().to_string();
    assert!(refused.contains("limit.catalogues"), "{}", &refused[..refused.len().min(2_000)]);
}
