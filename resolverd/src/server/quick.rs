//! Plain questions for single releases, answered before the full server sees them: a connection begins here.
//!
//! A request is plain if it is a GET below `/v1/components/`, its target has no other bytes than [`is_plain_target`] lets
//! through, and its headers are few, known, and change nothing ([`is_plain_header`]). Where its answer is encoded, it is sent
//! with the head that hyper writes. The first request that is anything else goes to hyper with all that was read behind it,
//! and the connection stays there. So nothing is refused here, nothing is read here that has a body or could have one, and
//! every limit, timer and fault is that of the full server: a head that does not fit into the buffer goes there as well.
//!
//! Several plain requests that arrive together are answered with one write, before more is read. Of those that arrive on several
//! connections `together` knows.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use catalogue_schema::revision::rfc3339;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::api::{BELOW_COMPONENTS, JSON};
use crate::server::encoded::Encoded;
use crate::server::route::Operation;
use crate::server::{Clock, State};

/// The largest head that is read here; also how much is read at once.
const INBOX_BYTES: usize = 8 << 10;
/// From here on answers are sent before more are written.
const OUTBOX_BYTES: usize = 64 << 10;
/// The most headers of a plain request; fewer than the full server takes.
const PLAIN_HEADERS_MAX: usize = 16;

/// The first reader of a connection, and what it has read and not sent.
#[derive(Debug)]
pub(crate) struct Quick {
    inbox: Box<[u8]>,
    /// What of the inbox is read and not answered.
    start: usize,
    end: usize,
    outbox: Outbox,
    sent: usize,
    has_answered: bool,
}

/// How a connection goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It does not: the peer has closed it, or it is idle and the daemon stops.
    Closed,
    /// The full server takes it, and reads this first.
    Full(Vec<u8>),
}

/// What is to be done when no further request can be answered.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Send,
    Read,
    HandOver,
}

impl Quick {
    /// Makes the first reader of a connection.
    pub(crate) fn new() -> Quick {
        Quick {
            inbox: vec![0; INBOX_BYTES].into(),
            start: 0,
            end: 0,
            outbox: Outbox::default(),
            sent: 0,
            has_answered: false,
        }
    }

    /// Answers plain requests until there is another one. May be dropped at any time, and gone on with.
    ///
    /// **Errors**: those of the stream.
    pub(crate) async fn serve<S>(&mut self, stream: &mut S, state: &State) -> io::Result<Next>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            self.send(stream).await?;
            match self.answer(state) {
                Step::Send => {}
                Step::HandOver => {
                    self.send(stream).await?;
                    return Ok(self.rest());
                }
                Step::Read => {
                    self.send(stream).await?;
                    self.make_room();
                    match stream.read(&mut self.inbox[self.end..]).await? {
                        0 if self.start == self.end => return Ok(Next::Closed),
                        0 => return Ok(self.rest()),
                        count => self.end += count,
                    }
                    if state.metrics().is_shared()
                        && let Head::Plain { target, .. } = head(&self.inbox[self.start..self.end])
                        && state.announce(target)
                    {
                        behind_others().await;
                        state.fetch();
                    }
                }
            }
        }
    }

    /// Sends what is to be sent when the daemon stops. A connection that waits for its next request is closed; the full server
    /// decides about one whose first request has begun to arrive.
    ///
    /// **Errors**: those of the stream.
    pub(crate) async fn stop<S>(&mut self, stream: &mut S, state: &State) -> io::Result<Next>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            self.send(stream).await?;
            // A request that has let others go first is read and not answered.
            let step = self.answer(state);
            if step != Step::Send {
                self.send(stream).await?;
                let is_over = step == Step::Read && self.has_answered;
                return Ok(if is_over { Next::Closed } else { self.rest() });
            }
        }
    }

    fn rest(&mut self) -> Next {
        Next::Full(self.inbox[std::mem::take(&mut self.start)..std::mem::take(&mut self.end)].to_vec())
    }

    async fn send<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        let outbox = &mut self.outbox.bytes;
        while self.sent < outbox.len() {
            match stream.write(&outbox[self.sent..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.sent += count,
            }
        }
        self.sent = 0;
        outbox.clear();
        outbox.shrink_to(OUTBOX_BYTES);
        Ok(())
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.inbox.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Writes the answers to the plain requests that are there.
    fn answer(&mut self, state: &State) -> Step {
        let Some(clock) = state.clock else { return Step::HandOver };
        let mut started = None;
        while self.outbox.bytes.len() < OUTBOX_BYTES {
            let unread = &self.inbox[self.start..self.end];
            let (target, length) = match head(unread) {
                Head::Plain { target, length } => (target, length),
                Head::Partial if unread.len() < INBOX_BYTES => return Step::Read,
                Head::Partial | Head::Other => return Step::HandOver,
            };
            let began = started.unwrap_or_else(Instant::now);
            if started.is_none() {
                self.outbox.stamp.set(began, clock);
            }
            let before = self.outbox.bytes.len();
            let outbox = &mut self.outbox;
            let Some(operation) = state.encoded("GET", target, &[], |answer| outbox.put(&answer)) else {
                self.outbox.bytes.truncate(before);
                return Step::HandOver;
            };
            self.start += length;
            self.has_answered = true;
            started = Some(counted(state, operation, began));
        }
        Step::Send
    }
}

/// Is ready once every task has run that was to be run before this one.
async fn behind_others() {
    let mut is_behind = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_behind, true) {
            return Poll::Ready(());
        }
        // Not the runtime's own yield, which waits until the system was asked for news.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Answers that are not sent, each with its head as hyper writes it.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    stamp: Stamp,
}

impl Outbox {
    fn put(&mut self, answer: &Encoded<'_>) {
        match answer {
            Encoded::Parts(parts) => self.put_parts(parts),
            Encoded::Whole(body) => self.put_parts(&[body]),
        }
    }

    fn put_parts(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut digits = [0; 20];
        let out = &mut self.bytes;
        out.reserve(length + 160);
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: ");
        out.extend_from_slice(JSON.as_bytes());
        out.extend_from_slice(b"\r\ncontent-length: ");
        out.extend_from_slice(decimal(length, &mut digits));
        out.extend_from_slice(b"\r\ndate: ");
        out.extend_from_slice(self.stamp.text.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// Counts a request and returns when it was answered.
fn counted(state: &State, operation: Operation, began: Instant) -> Instant {
    let now = Instant::now();
    state.request_id();
    state.metrics().observe(Some(operation), 200, now.saturating_duration_since(began));
    now
}

/// Writes a number; the digits are the end of `room`.
fn decimal(mut number: usize, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &room[at..];
        }
    }
}

/// How long the date of answers may lag behind the clock.
const STAMP_AGE_MAX: Duration = Duration::from_millis(50);

/// The date of an answer, written once a second.
#[derive(Debug, Default)]
struct Stamp {
    /// When the clock was asked.
    asked: Option<Instant>,
    second: Option<i64>,
    text: String,
}

impl Stamp {
    /// Asks the clock, where that was not done a moment before `now`.
    fn set(&mut self, now: Instant, clock: Clock) {
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < STAMP_AGE_MAX) {
            return;
        }
        self.asked = Some(now);
        let second = clock();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = http_date(second);
        }
    }
}

/// Returns a time in seconds since 1970-01-01 UTC as RFC 9110 section 5.6.7 writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let day = DAYS[seconds.div_euclid(86_400).rem_euclid(7) as usize];
    let text = rfc3339(seconds);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).clamp(1, 12);
    format!("{day}, {} {} {} {} GMT", part(8..10), MONTHS[month - 1], part(0..4), part(11..19))
}

/// What the bytes that a connection sent begin with.
#[derive(Debug, PartialEq, Eq)]
enum Head<'a> {
    /// A plain request.
    Plain {
        target: &'a str,
        /// How many bytes it has.
        length: usize,
    },
    /// What can become a plain request, or nothing.
    Partial,
    /// Something else.
    Other,
}

const METHOD: &[u8] = b"GET ";
const PROTOCOL: &[u8] = b" HTTP/1.1\r\n";

/// Reads the head of a request as far as it is plain.
fn head(bytes: &[u8]) -> Head<'_> {
    let Some(rest) = bytes.strip_prefix(METHOD) else { return unless(METHOD.starts_with(bytes)) };
    let below = BELOW_COMPONENTS.as_bytes();
    if !rest.starts_with(below) {
        return unless(below.starts_with(rest));
    }
    let Some(target_end) = rest.iter().position(|byte| !is_plain_target(*byte)) else { return Head::Partial };
    let (target, rest) = rest.split_at(target_end);
    let Some(mut rest) = rest.strip_prefix(PROTOCOL) else { return unless(PROTOCOL.starts_with(rest)) };
    for _ in 0..=PLAIN_HEADERS_MAX {
        if let Some(behind) = rest.strip_prefix(b"\r\n") {
            let length = bytes.len() - behind.len();
            return str::from_utf8(target).map_or(Head::Other, |target| Head::Plain { target, length });
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\r') else {
            return unless(!rest.contains(&b'\n'));
        };
        if !is_plain_header(&rest[..end]) {
            return unless(end == 0 && rest.len() == 1);
        }
        match rest.get(end + 1) {
            Some(b'\n') => rest = &rest[end + 2..],
            Some(_) => return Head::Other,
            None => return Head::Partial,
        }
    }
    Head::Other
}

fn unless(is_partial: bool) -> Head<'static> {
    if is_partial { Head::Partial } else { Head::Other }
}

/// Tells whether a byte of a target means itself, or begins an escape.
fn is_plain_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'.' | b'-' | b'_' | b'~' | b'%' | b'@' | b':' | b'^' | b'*' | b',' | b'=' | b'+'
        )
}

/// Tells whether a header is one of those that clients send with every request and that change nothing.
fn is_plain_header(line: &[u8]) -> bool {
    const KNOWN: [&[u8]; 6] =
        [b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"content-type", b"cache-control"];
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return false;
    }
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if is(b"host") {
        return str::from_utf8(value.trim_ascii()).is_ok_and(is_local_name);
    }
    if is(b"connection") {
        return value.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
    }
    KNOWN.into_iter().any(is)
}

/// Tells whether `host` is empty or a name without a dot, such as `localhost`, with or without a port. What starts with a digit
/// may be an address in another form, such as `0x7f000001`.
pub(crate) fn is_local_name(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    host.is_empty() || (is_plain && name.starts_with(|c: char| c.is_ascii_alphabetic()) && is_number(port))
}

#[cfg(test)]
mod tests;
