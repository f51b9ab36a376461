//! Peers of the socket that misbehave, or that are somebody else: a process of this same test binary, remote-controlled by
//! lines of JSON, holds their connections. Asserts nothing about answers.
//!
//! A process of its own, since a connection belongs to the user of the process that makes it, and since it needs thousands
//! of file descriptors that the other cases must not miss.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::harness::place;

/// The variable that makes [`as_a_peer`] hold connections, and names the socket.
const SOCKET: &str = "RESOLVERD_PEER_SOCKET";
/// What an answer of a peer process starts with, among what the test runner prints.
const MARK: &str = "peer: ";
/// How long a silent server is waited for.
const SILENCE: Duration = Duration::from_secs(120);

/// A process that holds connections as one user.
#[derive(Debug)]
pub(crate) struct Peers {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts a process as `uid`; `None` is the user who runs the tests.
    pub(crate) fn start(socket: &Path, uid: Option<u32>) -> Peers {
        let binary = std::env::current_exe().unwrap();
        let mut command = Command::new(binary);
        command.args(["--exact", "harness::peers::as_a_peer", "--nocapture", "--test-threads=1"]);
        command.env_clear().env(SOCKET, socket).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run as {uid:?}: {error}"));
        let (orders, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Peers { child, orders, answers }
    }

    /// Gives an order without waiting for what comes of it.
    pub(crate) fn order(&mut self, order: &Value) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Waits for what came of the oldest order that nobody waited for.
    pub(crate) fn outcome(&mut self) -> Value {
        let mut line = String::new();
        while self.answers.read_line(&mut line).unwrap() > 0 {
            if let Some((_, answer)) = line.split_once(MARK) {
                return serde_json::from_str(answer).unwrap();
            }
            line.clear();
        }
        panic!("the peers ended: {:?}", self.child.wait());
    }

    /// Gives an order and waits for what comes of it.
    pub(crate) fn told(&mut self, order: &Value) -> Value {
        self.order(order);
        self.outcome()
    }

    /// Opens `count` more connections and returns how many could be made.
    pub(crate) fn open(&mut self, count: usize) -> usize {
        self.told(&json!({"do": "open", "count": count})).as_u64().unwrap() as usize
    }

    /// Sends `text` on every connection, as far as the other side takes it.
    pub(crate) fn send(&mut self, text: &str) {
        self.told(&json!({"do": "send", "text": text}));
    }

    /// Reads one answer on every connection and returns the heads' status lines and the bodies.
    pub(crate) fn answers(&mut self) -> Vec<(String, String)> {
        serde_json::from_value(self.told(&json!({"do": "answers"}))).unwrap()
    }

    /// Reads every connection to its end and returns how many bytes came and how they begin.
    pub(crate) fn ends(&mut self) -> Vec<(usize, String)> {
        serde_json::from_value(self.told(&json!({"do": "ends"}))).unwrap()
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        self.told(&json!({"do": "close"}));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // It ends by itself when its orders do; if it hangs, it is killed.
        drop(self.orders.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`Peers`]. Does nothing unless it is started by it.
#[test]
fn as_a_peer() {
    let Some(socket) = place::variable(SOCKET).map(PathBuf::from) else { return };
    // As many descriptors as the system lets it have; how many connections it made is told, whatever was asked for.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut held = Vec::new();
    for line in io::stdin().lines() {
        let order: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = carried_out(&order, &socket, &mut held);
        // Written past the runner's capture, and at the start of a line.
        let mut out = io::stdout().lock();
        writeln!(out, "\n{MARK}{answer}").unwrap();
        out.flush().unwrap();
    }
}

fn carried_out(order: &Value, socket: &Path, held: &mut Vec<UnixStream>) -> Value {
    let text = order["text"].as_str().unwrap_or_default();
    match order["do"].as_str().unwrap() {
        "open" => {
            let before = held.len();
            let count = order["count"].as_u64().unwrap();
            held.extend((0..count).map_while(|_| UnixStream::connect(socket).ok()));
            held.iter().for_each(|one| one.set_read_timeout(Some(SILENCE)).unwrap());
            json!(held.len() - before)
        }
        "send" => {
            held.iter().for_each(|one| one.set_write_timeout(Some(Duration::from_millis(200))).unwrap());
            json!(held.iter_mut().filter_map(|one| one.write_all(text.as_bytes()).ok()).count())
        }
        "answers" => json!(held.iter_mut().map(answer).collect::<Vec<_>>()),
        "ends" => json!(held.drain(..).map(end).collect::<Vec<_>>()),
        "flood" => json!(held.iter_mut().map(|one| flood(one, text, &order["bytes"])).collect::<Vec<_>>()),
        "hammer" => json!(hammer(socket, Path::new(text))),
        "close" => {
            held.clear();
            json!(null)
        }
        other => panic!("no such order: {other}"),
    }
}

/// Reads one answer: its status line and its body. Nothing at all is two empty texts.
fn answer(stream: &mut UnixStream) -> (String, String) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        body.clear();
    }
    let status = head.lines().next().unwrap_or_default().trim_end().to_owned();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn end(mut stream: UnixStream) -> (usize, String) {
    let mut bytes = Vec::new();
    // A reset behind the last byte is an end too.
    let _ = stream.read_to_end(&mut bytes);
    let start = &bytes[..bytes.len().min(2_000)];
    (bytes.len(), String::from_utf8_lossy(start).into_owned())
}

/// Sends `text` over and over until so many bytes are sent or the other side takes no more; returns how many it took.
fn flood(stream: &mut UnixStream, text: &str, bytes: &Value) -> u64 {
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut sent = 0;
    while sent < bytes.as_u64().unwrap() && stream.write_all(text.as_bytes()).is_ok() {
        sent += text.len() as u64;
    }
    sent
}

/// Connects until the file `stop` is there; returns how often it tried and how often it was let in.
fn hammer(socket: &Path, stop: &Path) -> (u64, u64) {
    let (mut tries, mut in_all) = (0, 0);
    while !stop.exists() {
        tries += 1;
        in_all += u64::from(UnixStream::connect(socket).is_ok());
    }
    (tries, in_all)
}
