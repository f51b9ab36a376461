//! A small HTTP/1.1 client over a Unix socket, of the standard library only: one request per connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long a silent server is waited for.
const SILENCE: Duration = Duration::from_secs(120);

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The header lines, lower case names.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// Returns the body as JSON of a 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        self.json()
    }

    /// Returns the release of `id` that a 200 has chosen; what it requires stands before it.
    pub(crate) fn chosen(&self, id: &str) -> Value {
        let answer = self.ok();
        let components = answer["components"].as_array().unwrap();
        let found: Vec<&Value> = components.iter().filter(|one| one["id"] == id).collect();
        assert_eq!(found.len(), 1, "one release of {id}: {self}");
        found[0].clone()
    }

    /// Returns the `reason` of a problem.
    pub(crate) fn reason(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// Asks the server on `socket`.
pub(crate) fn ask(socket: &Path, method: &str, target: &str, body: Option<&Value>) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "half an answer"))
}

/// An answer that goes on: its head, and its lines as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The status, the header lines, and the body where it has a length.
    pub(crate) answer: Answer,
    stream: BufReader<UnixStream>,
    text: Vec<u8>,
    is_over: bool,
}

impl Lines {
    /// Asks the server on `socket` with one more header line, and reads the head of the answer.
    pub(crate) fn ask(socket: &Path, target: &str, header: &str, body: &Value) -> Lines {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let (mut stream, body) = (BufReader::new(stream), body.to_string());
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\n{header}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "half a head: {head}");
        }
        let mut answer = parse_head(&head).unwrap();
        let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if let Some(length) = length {
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).unwrap();
        }
        Lines { answer, stream, text: Vec::new(), is_over: length.is_some() }
    }

    /// Says that nothing more is asked; what is answered is still read.
    pub(crate) fn end_asking(&self) {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Returns the next line as JSON; `None` at the end, which has to be one.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            if self.is_over {
                assert!(self.text.is_empty(), "half a line");
                return None;
            }
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let size =
                usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
            let mut piece = vec![0; size + 2];
            self.stream.read_exact(&mut piece).unwrap();
            self.text.extend(&piece[..size]);
            self.is_over = size == 0;
        }
    }

    /// Reads to the end of the connection and tells whether that came before the end of the answer.
    pub(crate) fn is_cut(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        read.is_err() || !rest.ends_with(b"0\r\n\r\n")
    }

    /// Returns all lines that are still to come.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

fn parse_head(head: &str) -> Option<Answer> {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer { status, headers, body: Vec::new() })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n")?;
    let mut answer = parse_head(std::str::from_utf8(&bytes[..end]).ok()?)?;
    answer.body = bytes[end + 4..].to_vec();
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body)?;
    }
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    (length.is_none() || length == Some(answer.body.len())).then_some(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|at| at == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// Returns `text` as one percent-encoded path segment.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
