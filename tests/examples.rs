//! The clients that kernels copy, run against the real daemon: the one-file ones in Python and JavaScript, and the Rust one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use resolverd::client::{AskError, Client};
use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::place;

/// Runs one of the clients in a sandbox; `None` where its language is not here, which is said.
fn run(sandbox: &Sandbox, program: &str, file: &str, arguments: &[&str]) -> Option<Said> {
    let mut command = Command::new(program);
    sandbox.furnish(&mut command);
    // A program that chooses among several of its versions reads its choice from the real home.
    command.env("HOME", place::variable("HOME").unwrap_or_default()).env("PYTHONDONTWRITEBYTECODE", "1");
    if Command::new(program).arg("--version").output().is_err() {
        place::skipped(&format!("{program} is not here"));
        return None;
    }
    Some(Said::of(command.arg(place::root().join("resolverd/examples").join(file)).args(arguments)))
}

fn check(program: &str, file: &str) {
    let sandbox = Sandbox::with_sources(&sample());
    let absent = run(&sandbox, program, file, &["lookup", "lcod://acme/billing/invoice"]);
    let Some(absent) = absent else { return };
    assert!(absent.status != 0 && absent.stderr.contains("hint: resolverd serve"), "{absent:?}");
    let daemon = sandbox.start_synced();
    let asked = |arguments: &[&str]| run(&sandbox, program, file, arguments).unwrap();
    let answer = |arguments: &[&str]| -> Value {
        let said = asked(arguments);
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    };
    let reference = "lcod://tooling/text/slug";
    let natives = ["--native", "lcod://contract/", "--native", "lcod://axiom/"];
    let resolved = answer(&[&["resolve", reference], &natives[..]].concat());
    let body = json!({"requests": [reference], "natives": ["lcod://contract/", "lcod://axiom/"]});
    assert_eq!(resolved, daemon.post("/v1/resolve", &body).ok());
    let looked = answer(&["lookup", reference, "lcod://no/body"]);
    assert_eq!((&looked[0]["id"], &looked[1]["code"]), (&json!(reference), &json!("E001")));
    let locked = answer(&[&["lock", reference], &natives[..]].concat());
    let path = sandbox.path("resolverd.lock");
    std::fs::write(&path, locked["text"].as_str().unwrap()).unwrap();
    assert_eq!(answer(&["check", path.to_str().unwrap()])["holds"], true);
    let text = locked["text"].as_str().unwrap();
    let owner = text.lines().find(|line| line.starts_with("catalogue = ")).unwrap();
    std::fs::write(&path, text.replace(owner, "catalogue = \"nobody/here\"")).unwrap();
    let said = asked(&["check", path.to_str().unwrap()]);
    assert!(said.status == 4 && said.stdout.contains("lock.drifted"), "{said:?}");
    let said = asked(&["resolve", "lcod://no/body"]);
    assert!(said.status != 0 && said.stderr.contains("E001") && said.stderr.contains("hint: "), "{said:?}");
}

#[test]
fn the_python_client_asks_the_daemon() {
    check("python3", "client.py");
}

#[test]
fn the_javascript_client_asks_the_daemon() {
    check("node", "client.js");
}

#[test]
fn the_python_client_outlives_a_daemon_that_starts_again() {
    let script = "\
import sys; sys.path.insert(0, sys.argv[1])
from client import Resolverd
daemon = Resolverd(timeout=20)
for _ in range(3):
    print(daemon.lookup([\"lcod://tooling/text/slug\"])[0][\"id\"], flush=True)
    sys.stdin.readline()
";
    outlives("python3", &["-c", script]);
}

/// Runs a script of one of the languages beside a daemon that goes away and comes back after each line that is asked for.
fn outlives(program: &str, arguments: &[&str]) {
    let sandbox = Sandbox::with_sources(&sample());
    let mut command = Command::new(program);
    sandbox.furnish(&mut command);
    command.env("HOME", place::variable("HOME").unwrap_or_default()).env("PYTHONDONTWRITEBYTECODE", "1");
    if Command::new(program).arg("--version").output().is_err() {
        return place::skipped(&format!("{program} is not here"));
    }
    let mut daemon = sandbox.start_synced();
    command.args(arguments).arg(place::root().join("resolverd/examples"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut input = child.stdin.take().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "lcod://tooling/text/slug");
    for is_killed in [false, true] {
        if is_killed {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
        daemon = sandbox.start_synced();
        input.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "lcod://tooling/text/slug");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_javascript_client_outlives_a_daemon_that_starts_again() {
    let script = "\
const { Resolverd } = require(`${process.argv[1]}/client.js`);
const lines = require('node:readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]();
(async () => {
  const daemon = new Resolverd(undefined, 20000);
  for (let turn = 0; turn < 3; turn++) {
    console.log((await daemon.lookup(['lcod://tooling/text/slug']))[0].id);
    await lines.next();
  }
  daemon.close();
})();
";
    outlives("node", &["-e", script]);
}

/// A server that takes a first request and says nothing, and answers those behind it.
fn silent_once(socket: &std::path::Path) -> std::thread::JoinHandle<()> {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (silent, _) = listener.accept().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(std::io::Read::read(&mut stream, &mut head).unwrap() > 0);
        let body = "[{\"id\":\"answered\"}]";
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        drop(silent);
    })
}

#[test]
fn a_client_does_not_wait_for_ever_and_asks_anew_after_that() {
    let python = "\
import sys; sys.path.insert(0, sys.argv[2])
from client import Resolverd
daemon = Resolverd(sys.argv[1], timeout=0.5)
try:
    daemon.lookup(['lcod://a/b'])
except OSError as error:
    print('gave up', flush=True)
print(daemon.lookup(['lcod://a/b'])[0]['id'])
";
    let javascript = "\
const { Resolverd } = require(`${process.argv[2]}/client.js`);
(async () => {
  const daemon = new Resolverd(process.argv[1], 500);
  await daemon.lookup(['lcod://a/b']).catch((error) => console.log(error.message.includes('says nothing') ? 'gave up' : error.message));
  console.log((await daemon.lookup(['lcod://a/b']))[0].id);
  daemon.close();
})();
";
    for (program, flag, script) in [("python3", "-c", python), ("node", "-e", javascript)] {
        let sandbox = Sandbox::new();
        let socket = sandbox.path("silent.sock");
        if Command::new(program).arg("--version").output().is_err() {
            place::skipped(&format!("{program} is not here"));
            continue;
        }
        let server = silent_once(&socket);
        let mut command = Command::new(program);
        sandbox.furnish(&mut command);
        command.env("HOME", place::variable("HOME").unwrap_or_default()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args([flag, script]).arg(&socket).arg(place::root().join("resolverd/examples"));
        let said = Said::of(&mut command);
        assert_eq!((said.status, said.stdout.as_str()), (0, "gave up\nanswered\n"), "{program}: {said:?}");
        server.join().unwrap();
    }
}

#[test]
fn the_rust_client_asks_without_a_runtime() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let mut client = Client::connect(daemon.socket()).unwrap();
    let natives = ["lcod://contract/", "lcod://axiom/"];
    let resolved = client.resolve(&["lcod://tooling/text/slug"], &natives).unwrap();
    assert_eq!(resolved["components"].as_array().unwrap().last().unwrap()["id"], "lcod://tooling/text/slug");
    let looked = client.lookup(&["lcod://tooling/text/slug", "lcod://no/body"]).unwrap();
    assert_eq!((looked.len(), &looked[1]["reason"]), (2, &json!("component_unknown")));
    let locked = client.lock(&["lcod://tooling/text/slug"], &natives).unwrap();
    let checked = client.check_lock(locked["text"].as_str().unwrap()).unwrap();
    assert_eq!(checked["holds"], true);
    match client.resolve(&["lcod://no/body"], &[]) {
        Err(AskError::Problem(problem)) => assert_eq!(problem["code"], "E001"),
        other => panic!("{other:?}"),
    }
}
