//! What a sync is served while it runs, and what is kept of it, row by row of the list of threats, as the API tells it: real
//! servers that stop, change or send without end in the middle of a sync, a real daemon, and its answers.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use catalogue_schema::digest::Digest;
use serde_json::json;

use crate::harness::chance;
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::http::encoded;
use crate::harness::lcod::{Component, catalogues};
use crate::harness::repository::{Files, write};
use crate::harness::tls::{GitMount, Route, TlsServer};
use crate::trust::{Revision, Shop, X, answer, check, signed_by_root};

/// A commit of other people's repositories, which manifests name and nobody fetches.
const ELSEWHERE: (&str, &str) = ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");

/// Returns the files of the shelf that hold these bytes.
fn holding(shop: &Shop, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in ["packs", "objects"] {
        let directory = shop.sandbox.state().join("shelf").join(below);
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let held = fs::read(entry.path()).unwrap();
            if held.windows(bytes.len()).any(|window| window == bytes) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a3_what_is_used_is_what_was_verified() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let words = "--key %root.key --id acme";
    let releases = &["lcod://acme/x@1.0.0"];
    // Space that no writer of JSON would leave, and a field order of nobody's.
    let mut sent = Vec::new();
    shop.publish_changed("acme", &Revision { releases, ..Revision::default() }, |files| {
        let text = String::from_utf8(files["catalogue.json"].clone()).unwrap();
        sent = (text.replacen('{', "\n \t{ \"zz\" :\t1e0,", 1) + "  \r\n ").into_bytes();
        files.insert("catalogue.json.sig".to_owned(), shop.signed(&sent, words));
        files.insert("catalogue.json".to_owned(), sent.clone());
    });
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed over these very bytes");
    assert_eq!(daemon.catalogue("acme")["digest"], json!(Digest::sha256(&sent)));
    assert_eq!(holding(&shop, &sent).len(), 1, "they are kept as they came");
    let path = format!("/v1/components/{}/1.0.0/manifest", encoded(X));
    let manifest = daemon.get(&path);
    assert_eq!(manifest.status, 200, "{manifest}");

    // Somebody exchanges bytes on the shelf, behind the daemon's back, for others of the same length.
    for bytes in [&manifest.body, &sent] {
        for file in holding(&shop, bytes) {
            let held = fs::read(&file).unwrap();
            let at = held.windows(bytes.len()).position(|window| window == bytes.as_slice()).unwrap();
            let mut other = held.clone();
            other[at..at + bytes.len()].copy_from_slice(&vec![b' '; bytes.len()]);
            fs::remove_file(&file).unwrap();
            fs::write(&file, other).unwrap();
        }
    }
    let tampered = daemon.get(&path);
    assert_eq!((tampered.status, tampered.reason().as_str()), (500, "document_missing"), "{tampered}");
    // What is judged again is judged by what was verified, or refused: never by what lies there now.
    let (here, away) = (shop.repository("acme"), shop.sandbox.path("away"));
    fs::rename(&here, &away).unwrap();
    shop.reload(&daemon, 2, &signed_by_root(&shop, ""));
    assert_eq!(answer(&daemon, X), "trust.unsigned");
    let explained = daemon.post("/v1/explain", &json!({ "id": X })).ok();
    // Once it was judged again it is asked for again by itself, and nobody is there.
    let told = ["shelf.missing", "git.repository_missing"];
    assert!(told.iter().any(|reason| explained.to_string().contains(reason)), "{explained:#}");
    assert!(daemon.log().contains("shelf.missing"), "{}", daemon.log());
    let examined = shop.run("doctor --deep");
    assert!(examined.status == 1 && examined.stdout.contains("wrong    shelf"), "{examined:?}");
    fs::rename(&away, &here).unwrap();
    check(&daemon, "fresh", "1.0.0 pinned all []", "a sync brings back what is missing");
    assert_eq!(daemon.get(&path).body, manifest.body);
    assert_eq!(holding(&shop, &sent).len(), 1);
}

/// What a server does with one path.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Missing,
    Broken,
    Cut,
}

/// What a server publishes, and what goes wrong with it.
#[derive(Default)]
struct Published {
    documents: HashMap<String, Vec<u8>>,
    /// What is published once so many more requests were answered.
    next: Option<(usize, HashMap<String, Vec<u8>>)>,
    fault: Option<(String, Fault)>,
    asked: Vec<String>,
}

impl Published {
    fn answer(&mut self, path: &str) -> Route {
        match self.next.take() {
            Some((0, documents)) => self.documents = documents,
            Some((left, documents)) => self.next = Some((left - 1, documents)),
            None => {}
        }
        self.asked.push(path.to_owned());
        let Some(bytes) = self.documents.get(path) else { return Route::status(404) };
        match &self.fault {
            Some((at, fault)) if at == path => match fault {
                Fault::Missing => Route::status(404),
                Fault::Broken => Route::status(500),
                Fault::Cut => Route::declared(bytes.len() as u64, &bytes[..bytes.len() / 2]),
            },
            _ => Route::ok(bytes),
        }
    }
}

/// A federation behind one server, in rounds: round `n` lists every component at `n.0.0`, at paths that are the same in every
/// round.
struct Rounds {
    sandbox: Sandbox,
    published: Arc<Mutex<Published>>,
    _server: TlsServer,
}

const PARTS: [&str; 4] = ["lcod://acme/a", "lcod://acme/b", "lcod://acme/c", "lcod://acme/d"];

impl Rounds {
    fn new() -> Rounds {
        let (sandbox, server) = (Sandbox::new(), TlsServer::start());
        configured(&sandbox, &server, "[limits]\ntries = 1\n");
        let published = Arc::new(Mutex::new(Published::default()));
        let answering = Arc::clone(&published);
        let nowhere = sandbox.path("nowhere");
        let every = GitMount::of(&nowhere)
            .before(move |request| Some(answering.lock().unwrap().answer(request.path())));
        server.mount("/", every);
        let url = server.url("/list.json");
        sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "url": url }] }));
        Rounds { sandbox, published, _server: server }
    }

    fn publish(&self, round: u64) {
        let mut published = self.published();
        published.documents = round_of(round);
        published.asked.clear();
        (published.fault, published.next) = (None, None);
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap()
    }
}

/// Writes the configuration of a sandbox that trusts a server.
fn configured(sandbox: &Sandbox, server: &TlsServer, more: &str) {
    let ca_file = server.ca_file().display().to_string();
    let config = format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n{more}");
    let files = Files::from([("config.toml".to_owned(), config.into_bytes())]);
    write(&sandbox.path("config/resolverd"), &files);
}

/// Returns the documents of a round, by path: a list, a catalogue that it pins, and the manifests that the catalogue pins.
fn round_of(round: u64) -> HashMap<String, Vec<u8>> {
    let mut documents = HashMap::new();
    let version = format!("{round}.0.0");
    let rows = PARTS.map(|id| {
        let one = Component::new(id, &version, &[]);
        let (path, manifest) = (one.file("manifest.json"), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
        let row = json!({ "version": version, "manifest": path, "sha256": Digest::sha256(&manifest) });
        documents.insert(format!("/{path}"), manifest);
        json!({ "id": id, "versions": [row] })
    });
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "all", "components": rows });
    let catalogue = catalogue.to_string().into_bytes();
    let digest = Digest::sha256(&catalogue);
    let pointer =
        json!({ "id": "all", "kind": "https", "url": "all.json", "path": "all.json", "checksum": digest });
    documents.insert("/all.json".to_owned(), catalogue);
    documents.insert("/list.json".to_owned(), catalogues(&[pointer]));
    documents
}

/// Returns what every component comes to: its major version, or why it has none.
fn parts(daemon: &Daemon) -> Vec<Result<u64, String>> {
    let one = |id: &&str| {
        let answer = daemon.resolve(&[id]);
        match answer.status {
            200 => {
                let version = answer.json()["components"][0]["version"].as_str().unwrap().to_owned();
                Ok(version.split('.').next().unwrap().parse().unwrap())
            }
            _ => Err(answer.reason()),
        }
    };
    PARTS.iter().map(one).collect()
}

/// Checks that all that is answered is of one of these rounds, and of one only; returns the reasons of what is not answered.
#[track_caller]
fn one_round(daemon: &Daemon, rounds: [u64; 3], when: &str) -> Vec<String> {
    let parts = parts(daemon);
    let mut answered: Vec<u64> = parts.iter().filter_map(|part| part.clone().ok()).collect();
    answered.dedup();
    let is_one = answered.len() <= 1 && answered.iter().all(|round| rounds.contains(round));
    assert!(is_one, "{when}: {parts:?}");
    parts.into_iter().filter_map(Result::err).collect()
}

#[test]
fn a17_a_set_that_is_exchanged_while_it_is_read() {
    let world = Rounds::new();
    world.publish(1);
    let daemon = world.sandbox.start_synced();
    assert_eq!(parts(&daemon), [Ok(1), Ok(1), Ok(1), Ok(1)]);
    let requests = world.published().asked.len();
    assert!(requests >= 6, "{:?}", world.published().asked);
    let mut round = 1;
    let (mut mismatched, mut stayed, mut passed) = (0, 0, 0);
    // Every place at which it can be exchanged, three times; `RESOLVERD_INTERLEAVINGS` says how often in all.
    for interleaving in 0..chance::count("RESOLVERD_INTERLEAVINGS", 21, 210) as usize {
        world.publish(round + 1);
        world.published().next = Some((interleaving % 7, round_of(round + 2)));
        daemon.sync();
        let when = format!("interleaving {interleaving}, round {round}");
        let refused = one_round(&daemon, [round, round + 1, round + 2], &when);
        let refused = match refused.is_empty() && parts(&daemon)[0] == Ok(round) {
            // The list was of one set and its catalogue of the other.
            true => {
                stayed += 1;
                let row = daemon.catalogue("all");
                assert_eq!(
                    (&row["state"], &row["error"]["reason"]),
                    (&json!("stale"), &json!("trust.digest_mismatch")),
                    "{when}: {row:#}"
                );
                refused
            }
            false => refused,
        };
        assert!(refused.iter().all(|reason| reason == "trust.digest_mismatch"), "{when}: {refused:?}");
        mismatched += usize::from(!refused.is_empty());
        passed += usize::from(refused.is_empty());
        // Nobody has to help: the next sync reads the whole new set.
        daemon.sync();
        round += 2;
        assert_eq!(parts(&daemon), [Ok(round), Ok(round), Ok(round), Ok(round)], "{when}");
        assert_eq!(daemon.catalogue("all")["state"], "fresh", "{when}");
    }
    assert!(mismatched > 2 && stayed > 1 && passed > stayed, "{mismatched} {stayed} {passed}");
}

#[test]
fn a18_a_sync_that_is_cut_off_anywhere_leaves_the_next_one_possible() {
    let world = Rounds::new();
    world.publish(1);
    let daemon = world.sandbox.start_synced();
    let mut paths = world.published().asked.clone();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 2 + PARTS.len(), "{paths:?}");
    let mut round = 1;
    for path in &paths {
        for fault in [Fault::Missing, Fault::Broken, Fault::Cut] {
            world.publish(round + 1);
            world.published().fault = Some((path.clone(), fault));
            daemon.sync();
            let when = format!("{fault:?} at {path}");
            let told =
                daemon.get("/v1/sources").ok().to_string() + &daemon.get("/v1/catalogues").ok().to_string();
            let refused = one_round(&daemon, [round, round + 1, round + 1], &when);
            match (path.ends_with("manifest.json"), fault) {
                // The server says that there is no such manifest: its release is refused, and it alone.
                (true, Fault::Missing) => assert_eq!(refused, ["net.not_found"], "{when}"),
                // Nobody could find out: all of it stays as it was.
                (_, Fault::Missing) => {
                    assert!(refused.is_empty() && told.contains("net.not_found"), "{when}: {told}")
                }
                (_, Fault::Broken) => {
                    assert!(refused.is_empty() && told.contains("net.status"), "{when}: {told}")
                }
                (_, Fault::Cut) => assert!(refused.is_empty() && told.contains("net.cut"), "{when}: {told}"),
            }
            if refused.is_empty() {
                assert_eq!(parts(&daemon)[0], Ok(round), "{when}");
                assert!(told.contains("\"stale\""), "{when}: {told}");
            }
            world.published().fault = None;
            daemon.sync();
            round += 1;
            assert_eq!(parts(&daemon), [Ok(round), Ok(round), Ok(round), Ok(round)], "{when}, healed");
            assert_eq!(daemon.catalogue("all")["state"], "fresh", "{when}, healed");
        }
    }
}

#[test]
fn c10_one_source_that_is_blocked_holds_nobody_up_and_leaves_nothing_half_done() {
    let names = ["one", "two", "three", "four", "five"];
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    configured(&sandbox, &server, "[limits]\ntries = 1\n");
    let source = |name: &str| json!({ "id": name, "url": server.url(&format!("/{name}/list.json")) });
    sandbox.write_sources(&json!({ "sources": names.map(source) }));
    let id = |name: &str| format!("lcod://{name}/part");
    let publish = |name: &str, version: &str| {
        let one = Component::new(&id(name), version, &[]);
        let manifest = one.manifest(ELSEWHERE.0, ELSEWHERE.1);
        let row = json!({ "version": version, "manifest": "m.json", "sha256": Digest::sha256(&manifest) });
        server.put(&format!("/{name}/m.json"), &manifest);
        let all = json!({ "schema": "lcod-registry/catalogue@1", "id": name,
            "components": [{ "id": id(name), "versions": [row] }] });
        server.put(&format!("/{name}/list.json"), all.to_string().as_bytes());
    };
    let block = |name: &str| server.route(&format!("/{name}/list.json"), Route::status(503));
    names.iter().for_each(|name| publish(name, "1.0.0"));
    // One that was never read: whoever may be asked for its ids in the first place answers for them, or nobody.
    block("three");
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nrequire_pin = false\n\
        [[namespaces]]\nname = \"third\"\nmatch = \"lcod://three/**\"\nsources = [\"three\", \"one\"]\nrequire = \"pin\"\n\
        [[namespaces]]\nname = \"shared\"\nmatch = \"lcod://four/**\"\nsources = [\"three\", \"four\"]\nrequire = \"pin\"\n\
        [[namespaces]]\nname = \"all\"\nmatch = \"**\"\nsources = [\"one\", \"two\", \"three\", \"four\", \"five\"]\nrequire = \"pin\"\n\
        [[sources]]\nid = \"one\"\nhosts = [\"localhost\"]\n";
    let files = Files::from([("trust.toml".to_owned(), policy.as_bytes().to_vec())]);
    write(&sandbox.path("config/resolverd"), &files);
    closed(&sandbox);
    let daemon = sandbox.start_synced();
    let four = daemon.resolve(&[&id("four")]);
    assert_eq!((four.status, four.reason().as_str()), (503, "sync.source_unavailable"), "{four}");
    assert_eq!(daemon.resolve(&[&id("one")]).status, 200, "which nobody is placed above");
    let sources = daemon.get("/v1/sources").ok();
    let row = |name: &str| {
        let rows = sources["items"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == name).unwrap().clone()
    };
    assert_eq!((&row("three")["state"], &row("three")["ageSeconds"]), (&json!("unread"), &json!(null)));
    assert!(row("two")["ageSeconds"].is_u64(), "{sources:#}");

    // One that was read, and is blocked now: its last good entries answer, with all of the others' new ones.
    publish("three", "1.0.0");
    daemon.sync();
    let all = names.map(id);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let versions = |daemon: &Daemon| -> Vec<String> {
        let found = daemon.resolve(&all).ok();
        let rows = found["components"].as_array().unwrap().clone();
        all.iter()
            .map(|id| {
                rows.iter().find(|row| row["id"] == *id).unwrap()["version"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    assert_eq!(versions(&daemon), ["1.0.0"; 5]);
    names.iter().for_each(|name| publish(name, "2.0.0"));
    block("three");
    daemon.sync();
    assert_eq!(versions(&daemon), ["2.0.0", "2.0.0", "1.0.0", "2.0.0", "2.0.0"]);
    assert_eq!(daemon.resolve(&all).ok()["stale"], json!(["three"]));
    let sources = daemon.get("/v1/sources").ok();
    for row in sources["items"].as_array().unwrap() {
        let state = if row["id"] == "three" { "stale" } else { "fresh" };
        assert_eq!(row["state"], state, "{row:#}");
        assert!(row["ageSeconds"].is_u64(), "{row:#}");
    }
    let said = sandbox.run(&["status"]);
    assert!(said.stdout.contains("three") && said.stdout.contains("net.status"), "{said:?}");
    // What asks for the new version of the blocked one gets all of its question answered, or nothing of it.
    let asked = daemon.resolve(&[&id("one"), &format!("{}@2", id("three"))]);
    assert!(asked.status == 404 && asked.json()["components"].is_null(), "{asked}");
    publish("three", "2.0.0");
    daemon.sync();
    assert_eq!(versions(&daemon), ["2.0.0"; 5]);
}

/// Takes the right to write from everybody but the owner, as a policy asks for.
fn closed(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt as _;
    for (place, mode) in
        [("config", 0o755), ("config/resolverd", 0o755), ("config/resolverd/trust.toml", 0o644)]
    {
        fs::set_permissions(sandbox.path(place), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn c8_data_without_end_of_every_kind() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let limits =
        "catalogue_bytes = 100_000\nrelease_document_bytes = 50_000\ngit_object_bytes = 100_000\ntries = 1\n";
    configured(&sandbox, &server, &format!("[limits]\n{limits}"));
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let endless = |head: Vec<u8>| Route::Endless(head, vec![b' '; 16_384]);
    // No length at all, and a length that is no promise.
    server.route("/silent.json", endless(head("")));
    server.route("/huge.json", endless(head("content-length: 9000000000000000000\r\n")));
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    server.route("/chunks.json", Route::Endless(head("transfer-encoding: chunked\r\n"), chunk));
    server.route("/m.json", endless(head("")));
    server.route(
        "/refs.git/info/refs",
        endless(head("content-type: application/x-git-upload-pack-advertisement\r\n")),
    );
    let said = [
        b"001e# service=git-upload-pack\n0000".as_slice(),
        b"000eversion 2\n000cls-refs\n0019fetch=shallow filter\n0000",
    ];
    let headers = vec!["content-type: application/x-git-upload-pack-advertisement".to_owned()];
    server.route("/pack.git/info/refs", Route::Answer(200, headers, said.concat()));
    let mut pack = head("content-type: application/x-git-upload-pack-result\r\n");
    pack.extend(b"000dpackfile\n");
    let band = [b"fff0\x01".as_slice(), &[0; 0xffeb]].concat();
    server.route("/pack.git/git-upload-pack", Route::Endless(pack, band));
    let row = json!({ "version": "1.0.0", "manifest": "m.json", "sha256": Digest::sha256(b"") });
    let all = json!({ "schema": "lcod-registry/catalogue@1", "id": "all",
        "components": [{ "id": X, "versions": [row] }] });
    server.put("/all.json", all.to_string().as_bytes());
    let https = |id: &str| json!({ "id": id, "kind": "https", "url": server.url(&format!("/{id}.json")) });
    let git = |id: &str| json!({ "id": id, "kind": "git", "url": server.url(&format!("/{id}.git")), "commit": ELSEWHERE.1, "path": "c.json" });
    let pointers = [https("silent"), https("huge"), https("chunks"), https("all"), git("refs"), git("pack")];
    server.put("/list.json", &catalogues(&pointers));
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "url": server.url("/list.json") }] }));
    let daemon = sandbox.start_synced();
    let told = |name: &str| daemon.catalogue(name)["error"]["reason"].as_str().unwrap_or("fresh").to_owned();
    for (name, expected) in [
        ("silent", "limit.catalogue_bytes"),
        ("huge", "limit.catalogue_bytes"),
        ("chunks", "limit.catalogue_bytes"),
        ("all", "fresh"),
        ("refs", "limit.catalogue_bytes"),
        ("pack", "limit.git_object_bytes"),
    ] {
        assert_eq!(told(name), expected, "{:#}", daemon.catalogue(name));
    }
    let answer = daemon.resolve(&[X]);
    assert_eq!(answer.reason(), "limit.release_document_bytes", "{answer}");
    // What it keeps of all that is bounded, whatever the servers would like.
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most_kb: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most_kb < 200_000, "{most_kb} kB");
}
