//! The client's side of the socket: blocking, without a runtime, one connection at a time.
//!
//! Reads answers with a length or in chunks, bounded in bytes and time. Never opens a store, never starts a daemon.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{
    Call, Code, Failure, JSON, NDJSON, PROBLEM_JSON, Reply, SHORTER_SOCKET, socket_path_too_long,
};

/// The largest answer in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long the daemon may take to answer a read.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// How long the daemon may take to say how it is, which it knows without work.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to take a request.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a stream of events may be silent: three of its heartbeats.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(45);

const HEAD_LINE_BYTES_MAX: u64 = 16 << 10;
const HEAD_LINES_MAX: usize = 100;
/// What a client does while it waits for an answer.
const HEAR: &str = "hear from";

/// After what time a first call comes late: a daemon waits a few seconds for it.
const LATE: Duration = Duration::from_secs(1);

/// What somebody sends who hears how far a call comes.
const LINES_TOO: &str = "Accept: application/x-ndjson, application/json\r\n";

/// Hears how far a call comes.
type Each<'a> = &'a mut dyn FnMut(&Value);

/// What is found where a connection ends before an answer.
const CLOSED: &str = "the connection was closed";

/// A connection to a daemon; usable for one call after the other, and made anew where the daemon has closed it.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
    patience: Duration,
    state: State,
    /// When it was made.
    since: Instant,
}

/// How far a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was answered on it yet.
    New,
    /// It has answered, and waits for the next call.
    Kept,
    /// An answer has begun, or a call failed: what comes on it is nobody's answer any more.
    Spent,
}

/// Why a daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no daemon answers on {}: {source}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No socket can be there.
    #[error("{found}")]
    Misplaced {
        /// Why not.
        found: String,
        /// The next step.
        hint: &'static str,
    },
    /// Somebody listens, and the connection cannot be made or broke.
    #[error("cannot {action} the daemon on {}: {source}", socket.display())]
    Broken {
        /// What was tried.
        action: &'static str,
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came back is not an HTTP answer within the bounds.
    #[error("cannot read the answer of {}: {found}", socket.display())]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What was found.
        found: &'static str,
    },
}

impl ClientError {
    /// Tells whether nobody listens: the socket is missing, or was left behind.
    pub fn is_absent(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. })
    }

    /// Returns what people are told: R007, with the way to start a daemon.
    pub fn failure(&self) -> Failure {
        let failure = Failure::new(Code::DaemonUnreachable, "daemon_unreachable", self.to_string());
        match self {
            ClientError::Unreachable { .. } => failure.hint("start one with: resolverd serve"),
            ClientError::Misplaced { hint, .. } => failure.hint(*hint),
            ClientError::Broken { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                failure.hint("join the group that owns the socket, or name your own with --socket")
            }
            ClientError::Broken { .. } | ClientError::Garbled { .. } => {
                failure.hint("look at the daemon's log, or name another socket with --socket")
            }
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon answers, or not as one does.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon says why: a problem document with `code`, `reason`, `detail` and `hint`.
    #[error("{}", _0["detail"].as_str().unwrap_or("the daemon refuses, and does not say why"))]
    Problem(Value),
}

/// How an answer's body is framed.
enum Framing {
    Length(usize),
    Chunks,
    /// The server closes behind the body.
    Close,
}

struct Head {
    status: u16,
    content_type: &'static str,
    framing: Framing,
}

impl Client {
    /// Connects to the daemon that listens on `socket`.
    ///
    /// **Errors**: [`ClientError::Unreachable`] when nobody listens, [`ClientError::Misplaced`] when nobody can,
    /// [`ClientError::Broken`] for anything else.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        if let Some(found) = socket_path_too_long(socket) {
            let found = format!("cannot connect to the daemon on {}: {found}", socket.display());
            return Err(ClientError::Misplaced { found, hint: SHORTER_SOCKET });
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::ConnectionRefused if !is_socket(socket) => ClientError::Misplaced {
                found: format!("{} is not a socket", socket.display()),
                hint: "name the daemon's socket with --socket",
            },
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable { socket: socket.into(), source }
            }
            _ => ClientError::Broken { action: "connect to", socket: socket.into(), source },
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(failed)?;
        Ok(Client {
            socket: socket.into(),
            stream: BufReader::new(stream),
            patience: ANSWER_TIMEOUT,
            state: State::New,
            since: Instant::now(),
        })
    }

    /// Waits at most [`HEALTH_TIMEOUT`] for each answer to a read: for questions that a daemon answers at once or never.
    pub fn impatient(mut self) -> Client {
        self.patience = HEALTH_TIMEOUT;
        self
    }

    /// Chooses versions for all references together, with everything that they require; `natives` are ids and prefixes that the
    /// caller implements itself. Returns the answer of `POST /v1/resolve`.
    ///
    /// **Errors**: as [`Client::ask`].
    pub fn resolve(&mut self, references: &[&str], natives: &[&str]) -> Result<Value, AskError> {
        self.ask(&Call::post("/v1/resolve", &json!({"requests": references, "natives": natives})))
    }

    /// Answers each reference on its own, in order: a release, or a problem document with `code`.
    ///
    /// **Errors**: as [`Client::ask`].
    pub fn lookup(&mut self, references: &[&str]) -> Result<Vec<Value>, AskError> {
        match self.ask(&Call::post("/v1/lookup", &json!({"ids": references})))? {
            Value::Array(answers) => Ok(answers),
            _ => Err(self.garbled("no array").into()),
        }
    }

    /// Returns the answer of `POST /v1/lock`, whose `text` is a `resolverd.lock`.
    ///
    /// **Errors**: as [`Client::ask`].
    pub fn lock(&mut self, references: &[&str], natives: &[&str]) -> Result<Value, AskError> {
        let resolve = json!({"requests": references, "natives": natives});
        self.ask(&Call::post("/v1/lock", &json!({"resolve": resolve})))
    }

    /// Returns what of a lock no longer holds: the answer of `POST /v1/lock/check` to the text of a lock in either form.
    ///
    /// **Errors**: as [`Client::ask`].
    pub fn check_lock(&mut self, text: &str) -> Result<Value, AskError> {
        self.ask(&Call::post("/v1/lock/check", &json!({"lock": text})))
    }

    /// Sends a call and returns the JSON of its answer.
    ///
    /// **Errors**: [`AskError::Problem`] where the daemon refuses, else as [`Client::call`].
    pub fn ask(&mut self, call: &Call) -> Result<Value, AskError> {
        let reply = self.call(call)?;
        let answer =
            serde_json::from_slice(&reply.body).map_err(|_| self.garbled("a body that is not JSON"))?;
        if reply.status < 400 { Ok(answer) } else { Err(AskError::Problem(answer)) }
    }

    /// Sends a call and returns its reply, which may be a problem. A sync may take as long as it takes. A daemon closes what is
    /// idle, and starts again: what it has not begun to answer on a connection that was kept is asked once more on a new one.
    ///
    /// **Errors**: those of [`Client::connect`], [`ClientError::Broken`], [`ClientError::Garbled`]; the next call begins anew.
    pub fn call(&mut self, call: &Call) -> Result<Reply, ClientError> {
        self.call_with(call, None)
    }

    /// Sends a call as [`Client::call`] does; `each` hears how far it comes, where the daemon says so on the way: what stands under
    /// `progress` in each line before the answer. A daemon that says nothing on the way is understood as well.
    ///
    /// **Errors**: as [`Client::call`]; also when the lines end without an answer.
    pub fn call_heard(&mut self, call: &Call, each: &mut dyn FnMut(&Value)) -> Result<Reply, ClientError> {
        self.call_with(call, Some(each))
    }

    fn call_with(&mut self, call: &Call, mut each: Option<Each<'_>>) -> Result<Reply, ClientError> {
        if self.state == State::Spent {
            self.connect_again()?;
        }
        let found = match self.called(call, &mut each) {
            Err(error) if self.may_be_closed() && is_over(&error) => {
                self.connect_again()?;
                self.called(call, &mut each)
            }
            found => found,
        };
        self.state = if found.is_ok() { State::Kept } else { State::Spent };
        found
    }

    /// Tells whether the daemon may have closed the connection for nothing but time: after an answer, and where the first call came
    /// late.
    fn may_be_closed(&self) -> bool {
        self.state == State::Kept || self.state == State::New && self.since.elapsed() >= LATE
    }

    fn connect_again(&mut self) -> Result<(), ClientError> {
        self.state = State::Spent;
        *self = Client { patience: self.patience, ..Client::connect(&self.socket)? };
        Ok(())
    }

    fn called(&mut self, call: &Call, each: &mut Option<Each<'_>>) -> Result<Reply, ClientError> {
        let endless =
            call.method == "POST" && !matches!(call.target.as_str(), "/v1/lookup" | "/v1/lock/check");
        let patience = if endless { None } else { Some(self.patience) };
        self.stream.get_ref().set_read_timeout(patience).map_err(|error| self.broken("call", error))?;
        let accept = each.as_ref().map_or("", |_| LINES_TOO);
        let head = self.asked(call, accept)?;
        match each {
            Some(each) if head.content_type == NDJSON => self.last(&head, each),
            _ => self.reply(head),
        }
    }

    /// Sends a call and reads the head of its answer. A daemon that turns a caller away says why and closes before the call
    /// has arrived, so what it said is looked for when sending fails.
    fn asked(&mut self, call: &Call, accept: &str) -> Result<Head, ClientError> {
        match self.send(call, accept) {
            Ok(()) => self.head(),
            Err(error) => self.head().map_err(|_| self.broken("call", error)),
        }
    }

    /// Sends a call whose answer goes on, and hands each line of it to `each` until that says stop or the daemon ends it. An
    /// answer that is a problem is returned.
    ///
    /// **Errors**: as [`Client::call`]; also when the daemon is silent for longer than any stream of events.
    pub fn follow(
        &mut self,
        call: &Call,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Option<Reply>, ClientError> {
        let quiet = self.stream.get_ref().set_read_timeout(Some(STREAM_TIMEOUT));
        quiet.map_err(|error| self.broken("call", error))?;
        let head = self.asked(call, "")?;
        if head.status >= 400 || !matches!(head.framing, Framing::Chunks) {
            return self.reply(head).map(Some);
        }
        let mut text = Vec::new();
        while let Some(more) = self.chunk()? {
            text.extend(more);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if each(String::from_utf8_lossy(&line).trim_end()).is_break() {
                    return Ok(None);
                }
            }
            if text.len() as u64 > HEAD_LINE_BYTES_MAX {
                return Err(self.garbled("a line above 16 KiB"));
            }
        }
        Ok(None)
    }

    /// Reads lines to their end, hands those that say how far the work comes to `each`, and returns the one that is the answer.
    fn last(&mut self, head: &Head, each: &mut Each<'_>) -> Result<Reply, ClientError> {
        if !matches!(head.framing, Framing::Chunks) {
            return Err(self.garbled("lines that are not in chunks"));
        }
        let (mut text, mut looked_at, mut last) = (Vec::new(), 0, None);
        while let Some(more) = self.chunk()? {
            if text.len() + more.len() > ANSWER_BYTES_MAX {
                return Err(self.garbled("a line above 64 MiB"));
            }
            text.extend(more);
            while let Some(end) = text[looked_at..].iter().position(|byte| *byte == b'\n') {
                let rest = text.split_off(looked_at + end + 1);
                let body = std::mem::replace(&mut text, rest);
                looked_at = 0;
                let line: Value =
                    serde_json::from_slice(&body).map_err(|_| self.garbled("a line that is not JSON"))?;
                match &line["progress"] {
                    Value::Null => last = Some((line, body)),
                    progress => each(progress),
                }
            }
            looked_at = text.len();
        }
        let (line, body) = last.ok_or_else(|| self.garbled("lines that end without an answer"))?;
        // What has gone wrong on the way says so itself: the status line was written before it.
        let status = line["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        Ok(match status.filter(|_| line["code"].is_string()) {
            Some(status) => Reply { status, content_type: PROBLEM_JSON, body },
            None => Reply { status: head.status, content_type: JSON, body },
        })
    }

    /// Reads the next chunk of a body that goes on; `None` at its end.
    fn chunk(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16);
        let size = size.ok().filter(|size| *size <= ANSWER_BYTES_MAX);
        let size = size.ok_or_else(|| self.garbled("a chunk without a size"))?;
        let piece = self.exactly(size)?;
        self.line()?;
        Ok((size > 0).then_some(piece))
    }

    fn reply(&mut self, head: Head) -> Result<Reply, ClientError> {
        let body = match head.framing {
            Framing::Length(bytes) => self.exactly(bytes)?,
            Framing::Chunks => self.chunks()?,
            Framing::Close => self.rest()?,
        };
        Ok(Reply { status: head.status, content_type: head.content_type, body })
    }

    fn broken(&self, action: &'static str, source: io::Error) -> ClientError {
        // What the system says about a time that has passed is "resource temporarily unavailable".
        let source = match (source.kind(), self.stream.get_ref().read_timeout()) {
            (io::ErrorKind::WouldBlock, Ok(Some(patience))) if action == HEAR => {
                let found = format!("it said nothing for {} s", patience.as_secs());
                io::Error::new(io::ErrorKind::TimedOut, found)
            }
            _ => source,
        };
        ClientError::Broken { action, socket: self.socket.clone(), source }
    }

    fn garbled(&self, found: &'static str) -> ClientError {
        ClientError::Garbled { socket: self.socket.clone(), found }
    }

    fn send(&mut self, call: &Call, accept: &str) -> io::Result<()> {
        let Call { method, target, body } = call;
        if target.bytes().any(|byte| !matches!(byte, b'!'..=b'~')) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the target is not percent-encoded"));
        }
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{accept}").into_bytes();
        if *method == "POST" {
            let head = format!("Content-Type: {JSON}\r\nContent-Length: {}\r\n", body.len());
            request.extend_from_slice(head.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)
    }

    /// Reads a head; interim (1xx) answers are skipped.
    fn head(&mut self) -> Result<Head, ClientError> {
        loop {
            let line = self.line()?;
            self.state = State::Spent;
            let status = line
                .strip_prefix("HTTP/1.")
                .and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok())
                .ok_or_else(|| self.garbled("no HTTP/1.1 status line"))?;
            let head = self.headers(status)?;
            if status >= 200 {
                return Ok(head);
            }
        }
    }

    fn headers(&mut self, status: u16) -> Result<Head, ClientError> {
        let mut head = Head { status, content_type: JSON, framing: Framing::Close };
        for _ in 0..HEAD_LINES_MAX {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| self.garbled("a header without a colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let bytes = value.parse().ok().filter(|bytes| *bytes <= ANSWER_BYTES_MAX);
                head.framing =
                    Framing::Length(bytes.ok_or_else(|| self.garbled("a length above 64 MiB, or none"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(self.garbled("an unknown transfer encoding"));
                }
                head.framing = Framing::Chunks;
            } else if name.eq_ignore_ascii_case("content-type") {
                let known = [PROBLEM_JSON, NDJSON].into_iter().find(|known| value.starts_with(known));
                head.content_type = known.unwrap_or(JSON);
            }
        }
        Err(self.garbled("more than 100 headers"))
    }

    fn line(&mut self) -> Result<String, ClientError> {
        let mut bytes = Vec::new();
        let limited = &mut (&mut self.stream).take(HEAD_LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut bytes);
        read.map_err(|error| self.broken(HEAR, error))?;
        match bytes.strip_suffix(b"\n") {
            Some(line) => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                String::from_utf8(line.to_vec()).map_err(|_| self.garbled("a head that is not UTF-8"))
            }
            None if bytes.is_empty() => Err(self.garbled(CLOSED)),
            None => Err(self.garbled("a head that does not end")),
        }
    }

    fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        let read = (&mut self.stream).take(bytes as u64).read_to_end(&mut body);
        read.map_err(|error| self.broken(HEAR, error))?;
        if body.len() < bytes { Err(self.garbled("a body that ends early")) } else { Ok(body) }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| self.garbled("a chunk without a size"))?;
            if size > ANSWER_BYTES_MAX - body.len() {
                return Err(self.garbled("more than 64 MiB"));
            }
            body.extend(self.exactly(size)?);
            if size == 0 {
                for _ in 0..HEAD_LINES_MAX {
                    if self.line()?.is_empty() {
                        return Ok(body);
                    }
                }
                return Err(self.garbled("more than 100 trailers"));
            }
            if !self.line()?.is_empty() {
                return Err(self.garbled("a chunk longer than its size"));
            }
        }
    }

    fn rest(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        let read = (&mut self.stream).take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut body);
        read.map_err(|error| self.broken(HEAR, error))?;
        if body.len() > ANSWER_BYTES_MAX { Err(self.garbled("more than 64 MiB")) } else { Ok(body) }
    }
}

/// Tells whether a connection had ended before it was asked.
fn is_over(error: &ClientError) -> bool {
    match error {
        ClientError::Broken { source, .. } => {
            matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        }
        ClientError::Garbled { found, .. } => *found == CLOSED,
        ClientError::Unreachable { .. } | ClientError::Misplaced { .. } => false,
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers every connection's calls with `answers`, one after the other, then closes.
    fn check(answers: &[&str], expected: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heads = Vec::new();
            for answer in answers {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                    head.push(byte[0]);
                }
                heads.push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            heads
        });
        let mut client = Client::connect(&socket).unwrap();
        for expected in expected {
            let found = match client.call(&Call::get("/livez")) {
                Ok(reply) => {
                    format!(
                        "{} {} {}",
                        reply.status,
                        reply.content_type,
                        String::from_utf8(reply.body).unwrap()
                    )
                }
                Err(ClientError::Garbled { found, .. }) => found.to_owned(),
                Err(other) => other.to_string(),
            };
            assert_eq!(found, *expected);
        }
        drop(client);
        let heads = server.join().unwrap();
        assert!(
            heads.iter().all(|head| head == "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            "{heads:?}"
        );
    }

    #[test]
    fn answers_are_read_in_every_framing() {
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let problem =
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n[]";
        check(
            &[length, problem, length],
            &["200 application/json {}", "404 application/problem+json []", "200 application/json {}"],
        );
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nt: u\r\n\r\n";
        check(&[chunked, length], &["200 application/json {}", "200 application/json {}"]);
        check(&["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}"], &["200 application/json {}"]);
    }

    /// Answers one call with `answer`, heard: every line on the way, then the reply or what was garbled.
    fn heard(answer: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = answer.to_owned();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let mut lines = Vec::new();
        let mut client = Client::connect(&socket).unwrap();
        let reply = client.call_heard(&Call::get("/livez"), &mut |line| lines.push(line.to_string()));
        lines.push(match reply {
            Ok(Reply { status, content_type, body }) => {
                format!("{status} {content_type} {}", String::from_utf8_lossy(&body).trim_end())
            }
            Err(error) => error.to_string().rsplit(": ").next().unwrap().to_owned(),
        });
        assert!(server.join().unwrap().contains("\r\nAccept: application/x-ndjson, application/json\r\n"));
        lines
    }

    fn chunked(pieces: &[&str]) -> String {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = |piece: &&str| format!("{:x}\r\n{piece}\r\n", piece.len());
        format!("{head}{}0\r\n\r\n", pieces.iter().map(chunk).collect::<String>())
    }

    #[test]
    fn lines_before_an_answer_are_heard_and_the_last_one_is_the_answer() {
        assert_eq!(
            heard(&chunked(&[
                "{\"progress\":{\"received\":1}}\n{\"prog",
                "ress\":{\"received\":2}}",
                "\n{\"items\":[]}\n"
            ])),
            ["{\"received\":1}", "{\"received\":2}", "200 application/json {\"items\":[]}"]
        );
        let problem = "{\"code\":\"E006\",\"status\":502}\n";
        assert_eq!(
            heard(&chunked(&["{\"progress\":{}}\n", problem])),
            ["{}", "502 application/problem+json {\"code\":\"E006\",\"status\":502}"]
        );
        let plain = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(heard(plain), ["200 application/json {}"], "a daemon of an older version");
        assert_eq!(heard(&chunked(&["{\"progress\":{}}\n"])), ["{}", "lines that end without an answer"]);
        assert_eq!(heard(&chunked(&["{\"progress\"\n"])), ["a line that is not JSON"]);
        let cut = chunked(&["{\"progress\":{}}\n"]).replace("0\r\n\r\n", "");
        assert_eq!(heard(&cut), ["{}", "the connection was closed"]);
    }

    #[test]
    fn garbled_answers_are_refused() {
        check(&["SSH-2.0-x\r\n\r\n"], &["no HTTP/1.1 status line"]);
        check(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"], &["a body that ends early"]);
        check(
            &["HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"],
            &["a length above 64 MiB, or none"],
        );
        check(&["HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], &["a length above 64 MiB, or none"]);
        check(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"], &["an unknown transfer encoding"]);
        check(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], &["a chunk without a size"]);
        check(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"], &["more than 64 MiB"]);
        check(
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"],
            &["a chunk longer than its size"],
        );
        check(&["HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"], &["a header without a colon"]);
        check(&[""], &["the connection was closed"]);
    }

    #[test]
    fn a_missing_daemon_is_told_apart_from_a_broken_one() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Client::connect(&directory.path().join("none")).unwrap_err();
        assert!(missing.is_absent());
        assert_eq!(missing.failure().code, Code::DaemonUnreachable);
        let socket = directory.path().join("left");
        drop(UnixListener::bind(&socket).unwrap());
        assert!(Client::connect(&socket).unwrap_err().is_absent());
        let long = Client::connect(Path::new(&"x".repeat(108))).unwrap_err();
        assert!(!long.is_absent() && long.to_string().ends_with("at most 107 bytes, this one has 108"));
        assert!(Client::connect(Path::new(&"x".repeat(107))).unwrap_err().is_absent());
        let file = directory.path().join("file");
        std::fs::File::create(&file).unwrap();
        for path in [directory.path(), &file] {
            let misplaced = Client::connect(path).unwrap_err();
            assert!(!misplaced.is_absent(), "{misplaced}");
            assert!(misplaced.to_string().ends_with("is not a socket"), "{misplaced}");
        }
    }

    #[test]
    fn a_daemon_that_turns_away_before_it_has_read_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut client = Client::connect(&socket).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 503 \r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy").unwrap();
        drop(stream);
        let reply = client.call(&Call::get("/livez")).unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (503, &b"busy"[..]));
        // What it is asked then, it is asked on a new connection.
        drop(listener);
        assert!(client.call(&Call::get("/livez")).unwrap_err().is_absent());
    }

    #[test]
    fn a_connection_that_the_daemon_has_closed_is_made_anew_once() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let mut asked = 0;
            // Each connection answers once and is closed; the last one before it answers.
            for answers in [true, true, false] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 1024];
                asked += usize::from(stream.read(&mut head).unwrap() > 0);
                if answers {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                }
            }
            asked
        });
        let mut client = Client::connect(&socket).unwrap();
        for _ in 0..2 {
            assert_eq!(client.call(&Call::get("/livez")).unwrap().body, b"{}");
        }
        assert!(matches!(client.call(&Call::get("/livez")), Err(ClientError::Garbled { found: CLOSED, .. })));
        assert_eq!(server.join().unwrap(), 3);
        assert!(client.call(&Call::get("/livez")).unwrap_err().is_absent());
    }
}
