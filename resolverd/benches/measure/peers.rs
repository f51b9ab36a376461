//! What people run today, asked by the same client: Redis, nginx, Verdaccio. What is not installed is skipped with a word.
//! Never installs anything, never asks the network, and leaves no process behind: each peer is one process that is killed.
//!
//! Redis and nginx answer with as many bytes as the daemon does on the average. Verdaccio answers what its clients ask it for: the
//! whole document of a package, of which the one chosen has as many versions as the component that a random id most likely belongs to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Trouble;
use crate::data::{Federation, Random};
use crate::load::{Framing, Plan, Seen, write_requests};
use crate::machine::load;
use crate::requests::{
    CLIENT_CPU, CONNECTIONS, Pairs, REQUESTS, SERVER_CPU, at_rest, by_id, plan, random_of,
};
use crate::servers::{Place, Server, load as run_load};
use crate::table::{Goal, Row};

/// What every peer is started with.
struct Wanted<'a> {
    directory: &'a Path,
    federation: &'a Federation,
    /// How many bytes an answer of the daemon has on the average.
    body_bytes: usize,
    seconds: f64,
}

/// A peer that runs, and what it is asked.
struct Peer {
    server: Server,
    plan: Plan,
    /// What its answers are, for the name of the row.
    answers: String,
    /// How many bytes each of its answers has; `None` where it is asked nothing that this program wrote itself.
    body_bytes: Option<usize>,
}

/// Starts a peer; `None` where it is not installed.
type Starter = fn(&Wanted<'_>) -> Result<Option<Peer>, Trouble>;

/// Measures the daemon against every peer that is installed.
pub(crate) fn rows(
    place: &Path,
    federation: &Federation,
    runs: usize,
    seconds: f64,
) -> Result<Vec<Row>, Trouble> {
    let home = Place::new(place.join("peers"))?;
    let daemon = at_rest(&home, federation)?;
    let one = by_id(&place.join("by-id"), federation)?;
    let own = plan(&daemon, &one, CONNECTIONS, 1, seconds, None);
    let first = answered("the daemon", &own)?;
    let body_bytes = (first.body_bytes / first.requests.max(1)) as usize;
    println!("an answer of the daemon has {body_bytes} bytes on the average");
    let wanted = Wanted { directory: &home.directory, federation, body_bytes, seconds };
    let mut rows = Vec::new();
    let peers: [(&str, Starter, f64, f64); 3] =
        [("Redis GET", redis, 0.75, 0.9), ("nginx", nginx, 1.0, 1.5), ("Verdaccio", verdaccio, 30.0, 60.0)];
    for (name, start, must, ambitious) in peers {
        let Some(peer) = start(&wanted)? else {
            println!("skipped: {name} is not installed");
            continue;
        };
        let mut rates = Pairs::default();
        for run in 0..runs {
            let theirs = answered(name, &peer.plan)?;
            let mean = (theirs.body_bytes / theirs.requests.max(1)) as usize;
            if let Some(bytes) = peer.body_bytes.filter(|bytes| *bytes != mean) {
                return Err(Trouble::say(format!("{name} answered {mean} bytes instead of {bytes}")));
            }
            let ours = answered("the daemon", &own)?;
            println!(
                "run {run}: {:.0}/s of {body_bytes} bytes, {name} {:.0}/s of {mean} bytes; p99 {:.0} and {:.0} us; load {}",
                ours.rate(),
                theirs.rate(),
                ours.p99_us,
                theirs.p99_us,
                load()
            );
            rates.push(ours.rate(), theirs.rate());
        }
        rows.push(rates.row(
            format!("resolve by id, 32 connections, random ids, vs {name}, {}", peer.answers),
            "/s",
            Goal::AtLeast(must, ambitious),
        ));
        drop(peer.server);
    }
    Ok(rows)
}

/// Runs a load of which every request has to be answered.
fn answered(name: &str, plan: &Plan) -> Result<Seen, Trouble> {
    let seen = run_load(plan, Some(CLIENT_CPU))?;
    match seen.failures {
        0 => Ok(seen),
        failures => {
            Err(Trouble::say(format!("{failures} of {} answers of {name} were no 200", seen.requests)))
        }
    }
}

/// How many values are sent to Redis at once.
const SET_AT_ONCE: usize = 1000;

/// Every version that is served is a key, with a value of as many bytes as an answer has; what is asked is as random as elsewhere.
fn redis(wanted: &Wanted<'_>) -> Result<Option<Peer>, Trouble> {
    if !is_installed("redis-server") {
        return Ok(None);
    }
    let socket = wanted.directory.join("redis.sock");
    let mut command = pinned_program("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"]).arg(wanted.directory);
    command.arg("--unixsocket").arg(&socket);
    let server = started("redis", command, socket, wanted.directory)?;
    let value = "x".repeat(wanted.body_bytes);
    let ids = wanted.federation.ids.iter();
    let keys: Vec<String> =
        ids.flat_map(|(id, versions)| (0..*versions).map(move |at| format!("{id}@1.{at}.0"))).collect();
    let mut stream = std::os::unix::net::UnixStream::connect(&server.socket)?;
    for keys in keys.chunks(SET_AT_ONCE) {
        let mut text = String::new();
        for key in keys {
            let _ =
                write!(text, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len());
        }
        stream.write_all(text.as_bytes())?;
        let mut replies = vec![0; keys.len() * 5];
        stream.read_exact(&mut replies)?;
        if replies != "+OK\r\n".repeat(keys.len()).as_bytes() {
            return Err(Trouble::say("Redis did not take a value"));
        }
    }
    let mut random = Random(3);
    let gets = (0..REQUESTS).map(|_| {
        let (id, versions) = random_of(&mut random, wanted.federation);
        let key = format!("{id}@1.{}.0", random.below(versions));
        format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
    });
    let requests = write_requests(&wanted.directory.join("redis-requests"), gets)?;
    let plan = plan(&server, &requests, CONNECTIONS, 1, wanted.seconds, None);
    Ok(Some(Peer {
        server,
        plan: Plan { framing: Framing::Redis, ..plan },
        answers: "as many random keys, as many bytes".to_owned(),
        body_bytes: Some(wanted.body_bytes),
    }))
}

/// One file, always the same, with what makes nginx fast; without a master, whose worker would live on when it is killed.
fn nginx(wanted: &Wanted<'_>) -> Result<Option<Peer>, Trouble> {
    if !is_installed("nginx") {
        return Ok(None);
    }
    let (root, socket) = (wanted.directory.join("www"), wanted.directory.join("nginx.sock"));
    std::fs::create_dir_all(&root)?;
    std::fs::write(root.join("body"), "x".repeat(wanted.body_bytes))?;
    let config = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx-errors.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; sendfile on; open_file_cache max=16; keepalive_requests 1000000000;\n\
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen unix:{1}; root {2}; }} }}\n",
        wanted.directory.display(),
        socket.display(),
        root.display()
    );
    let path = wanted.directory.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut command = pinned_program("nginx");
    command.arg("-p").arg(wanted.directory).arg("-e").arg(wanted.directory.join("nginx-errors.log"));
    command.arg("-c").arg(&path);
    let server = started("nginx", command, socket, wanted.directory)?;
    let get = std::iter::once("GET /body HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned());
    let requests = write_requests(&wanted.directory.join("nginx-requests"), get)?;
    let plan = plan(&server, &requests, CONNECTIONS, 1, wanted.seconds, None);
    Ok(Some(Peer {
        server,
        plan,
        answers: "one static file of as many bytes".to_owned(),
        body_bytes: Some(wanted.body_bytes),
    }))
}

/// The package that is asked for.
const PACKAGE: &str = "component";

/// A package is put into its storage as a file, and its metadata is asked for, as a client does before it chooses a version.
fn verdaccio(wanted: &Wanted<'_>) -> Result<Option<Peer>, Trouble> {
    if !is_installed("verdaccio") {
        return Ok(None);
    }
    let directory = wanted.directory.join("verdaccio");
    let (storage, socket) = (directory.join("storage"), directory.join("verdaccio.sock"));
    std::fs::create_dir_all(storage.join(PACKAGE))?;
    let versions = usual_versions(wanted.federation);
    std::fs::write(storage.join(PACKAGE).join("package.json"), package(versions).to_string())?;
    let config = format!(
        "storage: {}\nuplinks: {{}}\nweb: {{enable: false}}\nauth: {{htpasswd: {{file: {}}}}}\n\
         packages:\n  '**':\n    access: $all\nlog: {{type: stdout, format: json, level: fatal}}\n",
        storage.display(),
        directory.join("htpasswd").display()
    );
    let path = directory.join("config.yaml");
    std::fs::write(&path, config)?;
    let mut command = pinned_program("verdaccio");
    command.env("HOME", &directory).current_dir(&directory);
    command.arg("--config").arg(&path).arg("--listen").arg(format!("unix:{}", socket.display()));
    let mut server = started("verdaccio", command, socket, wanted.directory)?;
    let (status, body) = server.ask("GET", &format!("/{PACKAGE}"), "")?;
    let listed = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    if status != 200 || listed["versions"].as_object().map_or(0, |versions| versions.len()) != versions {
        return Err(Trouble::say(format!("Verdaccio: {status} {}", String::from_utf8_lossy(&body))));
    }
    let get = std::iter::once(format!("GET /{PACKAGE} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let requests = write_requests(&wanted.directory.join("verdaccio-requests"), get)?;
    let plan = plan(&server, &requests, CONNECTIONS, 1, wanted.seconds, None);
    let answers = format!(
        "the whole document of one package of {versions} versions, {:.1} kB",
        body.len() as f64 / 1e3
    );
    Ok(Some(Peer { server, plan, answers, body_bytes: None }))
}

/// Returns how many versions the component has that the middle one of all versions belongs to.
fn usual_versions(federation: &Federation) -> usize {
    let mut counts: Vec<usize> = federation.ids.iter().map(|(_, versions)| *versions).collect();
    counts.sort_unstable();
    let mut left = federation.versions() / 2;
    let middle = counts.into_iter().find(|count| {
        let is_here = left < *count;
        left = left.saturating_sub(*count);
        is_here
    });
    middle.unwrap_or(1)
}

/// Returns a package of so many versions, each with the fields that a registry shows and five requirements, as the middle version of
/// the real graph has.
fn package(versions: usize) -> Value {
    let version = |at: usize| {
        let version = format!("1.{at}.0");
        let (sha1, sha512) = (format!("{at:040x}"), format!("sha512-{}==", "Q".repeat(86)));
        let required: BTreeMap<String, String> =
            (0..5).map(|other| (format!("component-{other}"), format!("^1.{at}.0"))).collect();
        let entry = json!({
            "name": PACKAGE, "version": version, "description": "One line that says what this component is for.",
            "main": "index.js", "type": "module", "license": "Apache-2.0", "keywords": ["one", "two", "three"],
            "author": {"name": "A Bench", "email": "bench@example.org"},
            "repository": {"type": "git", "url": "git+https://git.example.org/bench/components.git"},
            "bugs": {"url": "https://git.example.org/bench/components/issues"},
            "homepage": "https://git.example.org/bench/components#readme",
            "scripts": {"test": "node --test", "build": "node build.js"}, "engines": {"node": ">=18"},
            "dependencies": required, "_id": format!("{PACKAGE}@{version}"), "_nodeVersion": "20.20.2",
            "dist": {
                "integrity": sha512, "shasum": sha1, "fileCount": 12, "unpackedSize": 65536,
                "tarball": format!("http://localhost/{PACKAGE}/-/{PACKAGE}-{version}.tgz"),
            },
        });
        (version, entry)
    };
    let versions: BTreeMap<String, Value> = (0..versions).map(version).collect();
    let time: BTreeMap<&String, &str> =
        versions.keys().map(|version| (version, "2025-10-14T17:11:24.000Z")).collect();
    json!({
        "name": PACKAGE, "versions": versions, "time": time, "users": {}, "readme": "x".repeat(2000), "_distfiles": {},
        "_attachments": {}, "_uplinks": {}, "_rev": "1", "dist-tags": {"latest": versions.keys().next_back()},
    })
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok()
}

fn pinned_program(program: &str) -> Command {
    crate::machine::pinned(Path::new(program), Some(SERVER_CPU))
}

/// Starts a peer and waits until it listens; what it complains of lies in a file beside it.
fn started(name: &str, mut command: Command, socket: PathBuf, directory: &Path) -> Result<Server, Trouble> {
    let complaints = directory.join(format!("{name}.log"));
    command.stderr(File::create(&complaints)?);
    let mut server = Server::spawn(command, socket)?;
    let since = Instant::now();
    while std::os::unix::net::UnixStream::connect(&server.socket).is_err() {
        let has_ended = server.has_ended()?;
        if has_ended || since.elapsed() > Duration::from_secs(30) {
            let why = std::fs::read_to_string(&complaints).unwrap_or_default();
            return Err(Trouble::say(format!("{name} does not come up: {}", why.trim())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}
