//! What networks do to an answer, at three places of it, to each kind of document that a sync reads: a real daemon, real TLS
//! servers and a real Git server on loopback. Each case is a source of its own, which nothing else may disturb: it is read whole,
//! or it keeps what it had and says one word for why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, catalogues};
use crate::harness::repository::{Files, Repository, write};
use crate::harness::tls::{Gate, GitMount, Route, TlsServer};
use crate::harness::toxic::{POSITIONS, Position, TOXICS, Toxic};
use crate::harness::{chance, http, place, poll, prometheus};

/// A commit of other people's repositories, which manifests name and nobody fetches.
const ELSEWHERE: (&str, &str) = ("https://example.org/elsewhere", "4a569e82930c784d2b4f2a40a39e85daea774a80");

/// What is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Catalogue,
    Manifest,
    Git,
}

/// One source, what happens to it, and where it is.
struct Case {
    name: String,
    toxic: Toxic,
    position: Position,
    server: usize,
}

/// The word for what happened; `None` where it does no harm.
fn expected(toxic: Toxic, position: Position) -> Option<&'static str> {
    match (toxic, position) {
        (Toxic::Latency | Toxic::Slicer, _) | (Toxic::Bandwidth | Toxic::SlowClose, Position::End) => None,
        // Nobody is there when it is tried again.
        (Toxic::Down, _) => Some("net.refused"),
        (Toxic::Timeout, _) | (Toxic::Bandwidth, Position::Head) => Some("net.timeout"),
        (Toxic::Bandwidth, Position::Middle) => Some("net.too_slow"),
        (Toxic::SlowClose | Toxic::ResetPeer | Toxic::LimitData, _) => Some("net.cut"),
    }
}

impl Case {
    fn ids(&self) -> [String; 2] {
        ["a", "b"].map(|part| format!("lcod://{}/{part}", self.name))
    }

    /// Returns the catalogue of a round and its manifests, by path.
    fn documents(&self, round: u64) -> (Vec<u8>, Files) {
        let (mut files, version) = (Files::new(), format!("{round}.0.0"));
        let rows = self.ids().map(|id| {
            let one = Component::new(&id, &version, &[]);
            let (path, manifest) = (one.file("manifest.json"), one.manifest(ELSEWHERE.0, ELSEWHERE.1));
            let row = json!({ "version": version, "manifest": path, "sha256": Digest::sha256(&manifest) });
            files.insert(path, manifest);
            json!({ "id": id, "versions": [row] })
        });
        let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": self.name, "components": rows });
        (catalogue.to_string().into_bytes(), files)
    }
}

/// The cases of one kind: one daemon, one server for all of them, and one for each case that takes it down.
struct World {
    kind: Kind,
    sandbox: Sandbox,
    servers: Vec<TlsServer>,
    cases: Vec<Case>,
    work: Repository,
}

impl World {
    fn new(kind: Kind) -> World {
        let sandbox = Sandbox::new();
        let (mut servers, mut cases) = (vec![TlsServer::start()], Vec::new());
        for toxic in TOXICS {
            for position in POSITIONS {
                let name = format!("{toxic:?}-{position:?}").to_lowercase();
                if toxic == Toxic::Down {
                    servers.push(TlsServer::start());
                }
                let server = if toxic == Toxic::Down { servers.len() - 1 } else { 0 };
                cases.push(Case { name, toxic, position, server });
            }
        }
        let authorities: String =
            servers.iter().map(|server| fs::read_to_string(server.ca_file()).unwrap()).collect();
        let ca_file = sandbox.path("ca.pem").display().to_string();
        fs::write(&ca_file, authorities).unwrap();
        let limits = "connect_s = 2\nstall_s = 2\ntries = 2\n";
        let config = format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n[limits]\n{limits}");
        let files = Files::from([("config.toml".to_owned(), config.into_bytes())]);
        write(&sandbox.path("config/resolverd"), &files);
        let work = Repository::create(&sandbox.path("work"));
        let world = World { kind, sandbox, servers, cases, work };
        let sources: Vec<Value> = world.cases.iter().map(|case| world.source(case)).collect();
        world.sandbox.write_sources(&json!({ "sources": sources }));
        world
    }

    fn source(&self, case: &Case) -> Value {
        let (name, server) = (&case.name, &self.servers[case.server]);
        match self.kind {
            Kind::Git => {
                let url = server.url(&format!("/{name}/r.git"));
                let path = format!("{name}.json");
                json!({ "id": name,
                    "entrypoint": { "type": "git", "url": url, "ref": "main", "subpath": path } })
            }
            _ => json!({ "id": name, "url": server.url(&format!("/{name}/list.json")) }),
        }
    }

    fn publish(&self, round: u64) {
        let mut all = Files::new();
        for case in &self.cases {
            let (name, server) = (&case.name, &self.servers[case.server]);
            let (catalogue, manifests) = case.documents(round);
            if self.kind == Kind::Git {
                all.extend(manifests);
                all.insert(format!("{name}.json"), catalogue);
                continue;
            }
            for (path, manifest) in manifests {
                server.put(&format!("/{name}/{path}"), &manifest);
            }
            let pointer = json!({ "id": format!("all-{name}"), "kind": "https", "url": "all.json",
                "path": "all.json", "checksum": Digest::sha256(&catalogue) });
            server.put(&format!("/{name}/all.json"), &catalogue);
            server.put(&format!("/{name}/list.json"), &catalogues(&[pointer]));
        }
        if self.kind == Kind::Git {
            self.work.commit(&all);
            let root = self.sandbox.path(&format!("served-{round}"));
            fs::create_dir_all(&root).unwrap();
            let bare = self.work.bare_clone(&root.join("r.git"));
            place::git(&bare.path, &["config", "uploadpack.allowFilter", "true"]);
            for case in &self.cases {
                self.servers[case.server].mount(&format!("/{}", case.name), GitMount::of(&root));
            }
        }
    }

    /// Lets everything happen.
    fn poison(&self) {
        for case in &self.cases {
            let (name, server) = (&case.name, &self.servers[case.server]);
            let start = match self.kind {
                Kind::List => format!("/{name}/list.json"),
                Kind::Catalogue => format!("/{name}/all.json"),
                Kind::Manifest => format!("/{name}/packages/"),
                Kind::Git => format!("/{name}/r.git/git-upload-pack"),
            };
            server.poison(&start, case.toxic, case.position);
            if (case.toxic, case.position) == (Toxic::Down, Position::Head) {
                server.take_down();
            }
        }
    }

    /// Returns, for each case, the round of its components, which are all of one, and the rows that tell of errors.
    fn seen(&self, daemon: &Daemon) -> Vec<(u64, Vec<Value>)> {
        let pages = [daemon.get("/v1/sources").ok(), daemon.get("/v1/catalogues").ok()];
        let rows: Vec<&Value> = pages.iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
        let one = |case: &Case| {
            let rounds = case.ids().map(|id| {
                let answer = daemon.resolve(&[&id]).ok();
                let version = answer["components"][0]["version"].as_str().unwrap().to_owned();
                version.split('.').next().unwrap().parse::<u64>().unwrap()
            });
            assert_eq!(rounds[0], rounds[1], "{:?} {}: half of a round", self.kind, case.name);
            let names = [case.name.clone(), format!("all-{}", case.name)];
            let own = rows.iter().filter(|row| names.iter().any(|name| row["id"] == name.as_str()));
            (rounds[0], own.filter(|row| !row["error"].is_null()).map(|row| (*row).clone()).collect())
        };
        self.cases.iter().map(one).collect()
    }

    /// Returns what is wrong with what every case came to while it was struck.
    fn wrong(&self, daemon: &Daemon) -> Vec<String> {
        let mut wrong = Vec::new();
        for (case, (round, told)) in self.cases.iter().zip(self.seen(daemon)) {
            let mut check = |is_right: bool, what: &str| {
                if !is_right {
                    wrong.push(format!("{:?} {}: {what}: round {round}, {told:?}", self.kind, case.name));
                }
            };
            match expected(case.toxic, case.position) {
                None => check(round == 2 && told.is_empty(), "it does no harm"),
                Some(code) => {
                    check(round == 1 && !told.is_empty(), "what was there stays, and somebody is told");
                    let names = |row: &Value| {
                        let error = &row["error"];
                        let is_named = error.to_string().contains(&format!("/{}/", case.name));
                        error["reason"] == code && is_named
                    };
                    check(told.iter().all(names), &format!("{code}, and what was asked for"));
                    check(told.iter().any(|row| row["state"] == "stale"), "it is known to be old");
                }
            }
        }
        wrong
    }

    /// Plays three rounds: nothing happens, everything happens, nothing happens again. Returns what is wrong.
    fn play(&self) -> Vec<String> {
        let all_of = |daemon: &Daemon, round: u64| {
            let seen = self.seen(daemon);
            let odd = self.cases.iter().zip(seen).filter(|(_, seen)| *seen != (round, vec![]));
            let shown = |(case, seen): (&Case, _)| format!("{:?} {}: {seen:?}", self.kind, case.name);
            odd.map(shown).collect::<Vec<_>>()
        };
        self.publish(1);
        let daemon = self.sandbox.start_synced();
        let mut wrong = all_of(&daemon, 1);
        self.publish(2);
        self.poison();
        daemon.sync();
        wrong.extend(self.wrong(&daemon));
        self.servers.iter().for_each(TlsServer::cure);
        daemon.sync();
        wrong.extend(all_of(&daemon, 2));
        assert_eq!(daemon.get("/v1/stats").ok()["panics"], 0);
        wrong
    }
}

#[test]
fn k14_whatever_a_network_does_to_an_answer_it_is_right_or_named_and_the_next_one_is_right() {
    let worlds = [Kind::List, Kind::Catalogue, Kind::Manifest, Kind::Git].map(World::new);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let plays: Vec<_> = worlds.iter().map(|world| scope.spawn(|| world.play())).collect();
        plays.into_iter().flat_map(|play| play.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Answers that are no answers: what is sent, and the word for it.
fn nonsense() -> Vec<(&'static str, Route, &'static str)> {
    let body = br#"{"schema":"lcod-registry/catalogue@1","components":[]}"#;
    let raw = |head: &str| Route::Raw([head.as_bytes(), b"\r\n\r\n", body].concat());
    let ranged = |range: &str| Route::Answer(206, vec![format!("content-range: {range}")], body.to_vec());
    vec![
        ("part", ranged(&format!("bytes 0-{}/{}", body.len() - 1, body.len())), "net.status"),
        ("other-part", ranged("bytes 900-901/2"), "net.status"),
        ("no-range", Route::Answer(206, Vec::new(), body.to_vec()), "net.status"),
        ("busy", Route::status_with(429, "retry-after: 0"), "net.status"),
        ("away", Route::status_with(503, "retry-after: 1"), "net.status"),
        ("away-for-long", Route::status_with(503, "retry-after: 86400"), "net.status"),
        ("too-long", Route::declared(body.len() as u64 + 1, body), "net.cut"),
        ("too-short", Route::declared(body.len() as u64 - 1, body), "input.json"),
        ("two-lengths", raw("HTTP/1.1 200 OK\r\ncontent-length: 53\r\ncontent-length: 54"), "net.protocol"),
        ("less-than-none", raw("HTTP/1.1 200 OK\r\ncontent-length: -54"), "net.protocol"),
        ("no-number", raw("HTTP/1.1 200 OK\r\ncontent-length: 0x36"), "net.protocol"),
        ("bad-chunk", raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"), "net.cut"),
        ("no-http", Route::Raw(b"220 ready for mail\r\n".to_vec()), "net.protocol"),
    ]
}

#[test]
fn k14_answers_that_are_none_are_told_apart_and_the_last_good_one_stays() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let ca_file = server.ca_file().display().to_string();
    let config =
        format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n[limits]\ntries = 2\nstall_s = 2\n");
    let files = Files::from([("config.toml".to_owned(), config.into_bytes())]);
    write(&sandbox.path("config/resolverd"), &files);
    // Somebody who says in the words of the encryption that nothing will come of it.
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let alert = format!("https://localhost:{}/a.json", refusing.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in refusing.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]);
        }
    });
    let rows = nonsense();
    let mut sources: Vec<Value> = rows
        .iter()
        .map(|(name, ..)| json!({ "id": name, "url": server.url(&format!("/{name}.json")) }))
        .collect();
    sources.push(json!({ "id": "alert", "url": alert }));
    sandbox.write_sources(&json!({ "sources": sources }));
    let good = |name: &str| {
        let one = Component::new(&format!("lcod://{name}/a"), "1.0.0", &[]);
        let manifest = one.manifest(ELSEWHERE.0, ELSEWHERE.1);
        server.put(&format!("/{name}-m.json"), &manifest);
        let row = json!({ "version": "1.0.0", "manifest": format!("{name}-m.json"), "sha256": Digest::sha256(&manifest) });
        let all = json!({ "schema": "lcod-registry/catalogue@1", "id": name,
            "components": [{ "id": one.id, "versions": [row] }] });
        server.put(&format!("/{name}.json"), all.to_string().as_bytes());
    };
    rows.iter().for_each(|(name, ..)| good(name));
    let daemon = sandbox.start_synced();
    let told = || {
        let page = daemon.get("/v1/sources").ok();
        let rows = page["items"].as_array().unwrap().clone();
        let one = |row: Value| (row["id"].as_str().unwrap().to_owned(), row["error"]["reason"].clone());
        rows.into_iter().map(one).collect::<BTreeMap<_, _>>()
    };
    let check = |name: &str, expected: Value| {
        assert_eq!(told()[name], expected, "{name}");
        let answer = daemon.resolve(&[&format!("lcod://{name}/a")]).ok();
        assert_eq!(answer["components"][0]["version"], "1.0.0", "{name}");
    };
    rows.iter().for_each(|(name, ..)| check(name, Value::Null));
    assert_eq!(told()["alert"], "net.tls");
    rows.iter().for_each(|(name, route, _)| server.route(&format!("/{name}.json"), route.clone()));
    daemon.sync();
    rows.iter().for_each(|(name, _, expected)| check(name, json!(expected)));
    rows.iter().for_each(|(name, ..)| good(name));
    daemon.sync();
    rows.iter().for_each(|(name, ..)| check(name, Value::Null));
}

#[test]
fn k5_syncs_that_are_asked_for_at_once_are_one_run_behind_the_first() {
    let (sandbox, server) = (Sandbox::new(), TlsServer::start());
    let ca_file = server.ca_file().display().to_string();
    let config = format!("[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n");
    let files = Files::from([("config.toml".to_owned(), config.into_bytes())]);
    write(&sandbox.path("config/resolverd"), &files);
    let body = br#"{"schema":"lcod-registry/catalogue@1","components":[]}"#;
    server.route("/a.json", Route::ok(body));
    sandbox.write_sources(&json!({ "sources": [{ "id": "a", "url": server.url("/a.json") }] }));
    let daemon = sandbox.start_synced();
    let callers = chance::count("RESOLVERD_SYNCS", 28, 30);
    server.forget();
    // The first run waits for its document until everybody has asked: all others are of one run behind it.
    let gate = Gate::default();
    server.script("/a.json", vec![Route::Gated(body.to_vec(), body.len(), gate.clone()), Route::ok(body)]);
    let (socket, generations) = (sandbox.socket(), Mutex::new(BTreeSet::new()));
    let ask = || {
        let answer = http::ask(&socket, "POST", "/v1/sync", Some(&json!({}))).unwrap().ok();
        assert_eq!(answer["sources"][0]["health"], "fresh", "{answer:#}");
        generations.lock().unwrap().insert(answer["generation"].to_string());
    };
    std::thread::scope(|scope| {
        scope.spawn(ask);
        poll::until("the first run", || (!server.requests().is_empty()).then_some(()));
        (1..callers).for_each(|_| drop(scope.spawn(ask)));
        let asked = |metrics: &[u8]| {
            let metrics = prometheus::parse(std::str::from_utf8(metrics).unwrap()).unwrap();
            metrics.value("resolverd_connections", &[]).unwrap() as u64 > callers
        };
        poll::until("every caller", || asked(&daemon.get("/metrics").body).then_some(()));
        gate.open(1);
    });
    let lines = server.lines();
    assert_eq!(lines, ["GET /a.json"; 2], "one run for the first, one for all the others");
    assert_eq!(generations.lock().unwrap().len(), 1, "nothing is new in it");
}
