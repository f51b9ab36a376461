//! What people run today, asked the same number of bytes by the same client: Redis, nginx, Verdaccio. What is not installed is
//! skipped with a word. Never installs anything.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Trouble;
use crate::data::Federation;
use crate::load::{Framing, Plan, write_requests};
use crate::requests::{CLIENT_CPU, CONNECTIONS, Pairs, SERVER_CPU, at_rest, by_id, plan};
use crate::servers::{Place, Server, load as run_load};
use crate::table::{Goal, Row};

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
    let first = run_load(&own, Some(CLIENT_CPU))?;
    let body_bytes = (first.body_bytes / first.requests.max(1)) as usize;
    let mut rows = Vec::new();
    let peers: [(&str, Starter, f64, f64); 3] = [
        ("Redis GET", redis, 0.75, 0.9),
        ("nginx, a static file", nginx, 1.0, 1.5),
        ("Verdaccio, package metadata", verdaccio, 30.0, 60.0),
    ];
    for (name, start, must, ambitious) in peers {
        let Some((peer, peer_plan)) = start(&home.directory, body_bytes, seconds)? else {
            println!("skipped: {name} is not installed");
            continue;
        };
        let mut rates = Pairs::default();
        for _ in 0..runs {
            let theirs = run_load(&peer_plan, Some(CLIENT_CPU))?;
            let ours = run_load(&own, Some(CLIENT_CPU))?;
            rates.push(ours.rate(), theirs.rate());
        }
        drop(peer);
        rows.push(rates.row(
            format!("resolve by id, 32 connections, vs {name}"),
            "/s",
            Goal::AtLeast(must, ambitious),
        ));
    }
    Ok(rows)
}

/// Starts a peer that answers with so many bytes for so many seconds of load; `None` where it is not installed.
type Starter = fn(&Path, usize, f64) -> Result<Option<(Server, Plan)>, Trouble>;

fn redis(directory: &Path, body_bytes: usize, seconds: f64) -> Result<Option<(Server, Plan)>, Trouble> {
    if !is_installed("redis-server") {
        return Ok(None);
    }
    let socket = directory.join("redis.sock");
    let mut command = pinned_program("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    let server = Server::spawn(command, socket)?;
    wait_for_socket(&server)?;
    let set = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${body_bytes}\r\n{}\r\n", "x".repeat(body_bytes));
    let mut stream = std::os::unix::net::UnixStream::connect(&server.socket)?;
    std::io::Write::write_all(&mut stream, set.as_bytes())?;
    std::io::Read::read_exact(&mut stream, &mut [0; 5])?;
    let get = std::iter::once("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".to_owned());
    let requests = write_requests(&directory.join("redis-requests"), get)?;
    let plan = Plan { framing: Framing::Redis, ..plan(&server, &requests, CONNECTIONS, 1, seconds, None) };
    Ok(Some((server, plan)))
}

fn nginx(directory: &Path, body_bytes: usize, seconds: f64) -> Result<Option<(Server, Plan)>, Trouble> {
    if !is_installed("nginx") {
        return Ok(None);
    }
    let (root, socket) = (directory.join("www"), directory.join("nginx.sock"));
    std::fs::create_dir_all(&root)?;
    std::fs::write(root.join("body"), "x".repeat(body_bytes))?;
    let config = format!(
        "daemon off; worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {0}; proxy_temp_path {0};\n\
         fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen unix:{1}; root {2}; }} }}\n",
        directory.display(),
        socket.display(),
        root.display()
    );
    let path = directory.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut command = pinned_program("nginx");
    command.arg("-c").arg(&path);
    let server = Server::spawn(command, socket)?;
    wait_for_socket(&server)?;
    let get = std::iter::once("GET /body HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned());
    let requests = write_requests(&directory.join("nginx-requests"), get)?;
    let plan = plan(&server, &requests, CONNECTIONS, 1, seconds, None);
    Ok(Some((server, plan)))
}

/// A package is published into its storage as files, and its metadata is asked for.
fn verdaccio(directory: &Path, body_bytes: usize, seconds: f64) -> Result<Option<(Server, Plan)>, Trouble> {
    if !is_installed("verdaccio") {
        return Ok(None);
    }
    let (storage, socket) = (directory.join("storage"), directory.join("verdaccio.sock"));
    std::fs::create_dir_all(storage.join("one"))?;
    let readme = "x".repeat(body_bytes.saturating_sub(400));
    let package = serde_json::json!({
        "name": "one", "versions": {"1.0.0": {"name": "one", "version": "1.0.0", "dist": {"shasum": "", "tarball": "http://localhost/one/-/one-1.0.0.tgz"}}},
        "dist-tags": {"latest": "1.0.0"}, "time": {}, "readme": readme, "_distfiles": {}, "_attachments": {}, "_uplinks": {}, "_rev": "1"
    });
    std::fs::write(storage.join("one/package.json"), package.to_string())?;
    let config = format!(
        "storage: {}\npackages:\n  '**':\n    access: $all\nlog: {{type: stdout, format: json, level: fatal}}\n",
        storage.display()
    );
    let path = directory.join("verdaccio.yaml");
    std::fs::write(&path, config)?;
    let mut command = pinned_program("verdaccio");
    command.arg("--config").arg(&path).arg("--listen").arg(format!("unix:{}", socket.display()));
    let server = Server::spawn(command, socket)?;
    wait_for_socket(&server)?;
    let get = std::iter::once("GET /one HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned());
    let requests = write_requests(&directory.join("verdaccio-requests"), get)?;
    let plan = plan(&server, &requests, CONNECTIONS, 1, seconds, None);
    Ok(Some((server, plan)))
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok()
}

fn pinned_program(program: &str) -> Command {
    crate::machine::pinned(Path::new(program), Some(SERVER_CPU))
}

fn wait_for_socket(server: &Server) -> Result<(), Trouble> {
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&server.socket).is_err() {
        if started.elapsed() > Duration::from_secs(30) {
            return Err(Trouble::say("a peer does not come up"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
