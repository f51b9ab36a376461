//! The load client: one thread, canned requests, a number of connections that are served in turn. The same for every server, and
//! cheaper than any of them. Never parses an answer beyond its status and length.
//!
//! Each connection has one request (or one pipeline of requests) in flight; the client waits for the oldest one, sends the
//! next on the same connection and goes on to the next connection. So no time is spent on readiness calls, and every
//! server sees all connections busy.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Trouble;
use crate::machine::cpu_s;

/// What the client is told: the program's second argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) socket: PathBuf,
    /// A file with requests: each behind its length, four bytes, little endian.
    pub(crate) requests: PathBuf,
    /// How many connections are open.
    pub(crate) connections: usize,
    /// How many requests are in flight on each.
    pub(crate) pipeline: usize,
    /// How long it goes on, in seconds.
    pub(crate) seconds: f64,
    /// How many requests are sent in a second, evenly spread; as many as possible where it is missing.
    pub(crate) rate: Option<f64>,
    /// After so many requests it ends, whatever the time.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// It ends when there is a file of this name, whatever the time.
    #[serde(default)]
    pub(crate) until: Option<PathBuf>,
    /// The answers' status is no matter: Redis knows none.
    pub(crate) framing: Framing,
}

/// How the end of an answer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Framing {
    /// `Content-Length`.
    Http,
    /// `$<length>\r\n<bytes>\r\n`.
    Redis,
}

/// What the client saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) seconds: f64,
    pub(crate) body_bytes: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    /// Processor time of the client itself.
    pub(crate) cpu_s: f64,
}

impl Seen {
    /// Returns requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds.max(1e-9)
    }

    /// Returns which part of a processor the client needed: near 1 it measures itself.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_s / self.seconds.max(1e-9)
    }
}

/// Connections that are slow: the program's second argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slow {
    /// The server.
    pub(crate) socket: PathBuf,
    /// How many connections are open.
    pub(crate) connections: usize,
    /// What each of them sends before it falls silent; no answer is ever read.
    pub(crate) text: String,
}

/// Opens slow connections, says so with a line, and holds them until its input ends.
pub(crate) fn hold(slow: &Slow) -> Result<(), Trouble> {
    let mut held = Vec::with_capacity(slow.connections);
    for _ in 0..slow.connections {
        let mut stream = connect(&slow.socket)?;
        stream.write_all(slow.text.as_bytes())?;
        held.push(stream);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", held.len())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

struct Line {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
    sent: Instant,
}

struct Client {
    requests: Vec<Vec<u8>>,
    next: usize,
    framing: Framing,
    seen: Seen,
    latencies: Vec<u32>,
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &Plan) -> Result<Seen, Trouble> {
    let requests = read_requests(&plan.requests)?;
    let mut client =
        Client { requests, next: 0, framing: plan.framing, seen: Seen::default(), latencies: Vec::new() };
    client.latencies.reserve(4 << 20);
    let mut lines = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let stream = connect(&plan.socket)?;
        lines.push(Line { stream, buffer: vec![0; 64 << 10], filled: 0, sent: Instant::now() });
    }
    let (started, before) = (Instant::now(), cpu_s(std::process::id())?);
    match plan.rate {
        None => client.closed(&mut lines, plan.pipeline, Duration::from_secs_f64(plan.seconds))?,
        Some(rate) => client.paced(&mut lines, rate, plan)?,
    }
    client.seen.seconds = started.elapsed().as_secs_f64();
    client.seen.cpu_s = cpu_s(std::process::id())? - before;
    Ok(client.finished())
}

/// Connects; a server that has just been started is waited for.
fn connect(socket: &Path) -> Result<UnixStream, Trouble> {
    let started = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                return Ok(stream);
            }
            Err(error) if started.elapsed() > Duration::from_secs(5) => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Client {
    /// As many requests as the server takes, each connection busy all the time.
    fn closed(&mut self, lines: &mut [Line], pipeline: usize, length: Duration) -> Result<(), Trouble> {
        let started = Instant::now();
        for line in lines.iter_mut() {
            self.send(line, pipeline)?;
        }
        loop {
            let is_over = started.elapsed() >= length;
            for line in lines.iter_mut() {
                for _ in 0..pipeline {
                    self.receive(line)?;
                }
                if !is_over {
                    self.send(line, pipeline)?;
                }
            }
            if is_over {
                return Ok(());
            }
        }
    }

    /// So many requests a second, in bursts of one per connection; what is late is sent at once and counts from when it was due.
    fn paced(&mut self, lines: &mut [Line], rate: f64, plan: &Plan) -> Result<(), Trouble> {
        let step = Duration::from_secs_f64(lines.len() as f64 / rate.max(1.0));
        let length = Duration::from_secs_f64(plan.seconds);
        let started = Instant::now();
        let mut due = started;
        let is_full = |count: u64| plan.count.is_some_and(|most| count >= most);
        let is_told = || plan.until.as_ref().is_some_and(|file| file.exists());
        while started.elapsed() < length && !is_full(self.seen.requests) && !is_told() {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            // The time that this process overslept is not the server's.
            due = if wait.is_zero() { due } else { Instant::now() };
            for line in lines.iter_mut() {
                self.send(line, 1)?;
                line.sent = due;
            }
            for line in lines.iter_mut() {
                self.receive(line)?;
            }
            due += step;
        }
        Ok(())
    }

    fn send(&mut self, line: &mut Line, count: usize) -> Result<(), Trouble> {
        line.sent = Instant::now();
        if count == 1 {
            line.stream.write_all(&self.requests[self.next])?;
            self.next = (self.next + 1) % self.requests.len();
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(count * 160);
        for _ in 0..count {
            bytes.extend_from_slice(&self.requests[self.next]);
            self.next = (self.next + 1) % self.requests.len();
        }
        Ok(line.stream.write_all(&bytes)?)
    }

    fn receive(&mut self, line: &mut Line) -> Result<(), Trouble> {
        let (total, body) = loop {
            match self.framed(&line.buffer[..line.filled]) {
                Some(found) if found.0 <= line.filled => break found,
                Some((total, _)) if total > line.buffer.len() => line.buffer.resize(total + (16 << 10), 0),
                _ if line.filled == line.buffer.len() => line.buffer.resize(line.filled * 2, 0),
                _ => {}
            }
            let count = line.stream.read(&mut line.buffer[line.filled..])?;
            if count == 0 {
                return Err(Trouble::say("the server closed a connection"));
            }
            line.filled += count;
        };
        if self.framing == Framing::Http && !line.buffer.starts_with(b"HTTP/1.1 200") {
            self.seen.failures += 1;
        }
        if total < line.filled {
            line.buffer.copy_within(total..line.filled, 0);
        }
        line.filled -= total;
        self.seen.requests += 1;
        self.seen.body_bytes += body as u64;
        if self.latencies.len() < self.latencies.capacity() {
            self.latencies.push(line.sent.elapsed().as_nanos().min(u32::MAX.into()) as u32);
        }
        Ok(())
    }

    /// Returns the length of the first answer and of its body once its head is complete.
    fn framed(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        if self.framing == Framing::Redis {
            let end = bytes.iter().position(|byte| *byte == b'\n')? + 1;
            let length = number(bytes.get(1..)?);
            return Some((end + length + 2, length));
        }
        let mut at = 0;
        let mut length = 0;
        loop {
            let line = &bytes[at..];
            let end = line.iter().position(|byte| *byte == b'\n')? + 1;
            if end <= 2 {
                return Some((at + end + length, length));
            }
            const NAME: &[u8] = b"content-length: ";
            if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
                length = number(&line[NAME.len()..]);
            }
            at += end;
        }
    }

    fn finished(mut self) -> Seen {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let place = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().max(1) - 1);
            self.latencies.get(place).map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
        };
        (self.seen.p50_us, self.seen.p99_us, self.seen.max_us) = (at(0.5), at(0.99), at(1.0));
        self.seen
    }
}

fn number(bytes: &[u8]) -> usize {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

fn read_requests(path: &Path) -> Result<Vec<Vec<u8>>, Trouble> {
    let bytes = std::fs::read(path)?;
    let requests: Vec<Vec<u8>> = framed_file(&bytes).map(<[u8]>::to_vec).collect();
    match requests.is_empty() {
        true => Err(Trouble::say("no requests")),
        false => Ok(requests),
    }
}

/// Takes a file of pieces apart, each behind its length.
pub(crate) fn framed_file(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let (piece, left) = tail.split_at_checked(u32::from_le_bytes(*head) as usize)?;
        rest = left;
        Some(piece)
    })
}

/// Writes requests as the client reads them.
pub(crate) fn write_requests(
    path: &Path,
    requests: impl Iterator<Item = String>,
) -> Result<PathBuf, Trouble> {
    let mut bytes = Vec::new();
    for request in requests {
        bytes.extend_from_slice(&u32::try_from(request.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(request.as_bytes());
    }
    std::fs::write(path, bytes)?;
    Ok(path.to_owned())
}
