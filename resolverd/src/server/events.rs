//! Events: what happened, told to whoever listens (`GET /v1/events`, server-sent events).
//!
//! The writer emits, and never waits: what it emits goes into a small ring, from which each stream reads at its own pace. A
//! listener that is too slow misses events and is told how many; one that reads nothing at all is cut off by its connection.
//! Nothing here is read or held on the path of a resolve.
//!
//! # The text (server-sent events)
//! `id:`, `event:` and `data:` lines, then a blank one; `data` is one line of JSON. Ids grow, across restarts too. A stream
//! begins with `retry:` and a comment; further comments only keep it alive. `Last-Event-ID` brings what the ring still
//! holds; where something is gone, `missed` comes first, with how many events it were (`null` where nobody knows).

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use catalogue_schema::generation::{CatalogueState, Generation, Health, SourceState};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Refusal;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::api::{Code, Failure};
use crate::order::SyncReport;
use crate::server::stream::Flight;

/// The media type of a stream.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The most streams at once.
pub const STREAMS_MAX: usize = 32;
/// How many events can be replayed.
pub const RING_EVENTS: usize = 256;
/// How long a stream is silent at most.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a stream says first: when to come back after a break, and that it is open.
const OPENING: &str = "retry: 3000\n: resolverd\n\n";
/// How far the ids of two processes are apart for each millisecond between their starts.
const IDS_PER_MS: u64 = 1 << 10;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its dotted name.
    pub name: &'static str,
    /// What there is to say.
    pub data: Value,
}

/// Who tells and who listens.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    /// The last id, so that streams wake up.
    newest: watch::Sender<u64>,
    streams: AtomicUsize,
}

#[derive(Debug, Default)]
struct Ring {
    /// Ids up to here belong to processes before this one.
    base: u64,
    last: u64,
    /// Each event as it is sent, oldest first; the ids follow each other without a gap.
    sent: VecDeque<Bytes>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// Behind an event that the listener has had.
    After(u64),
    /// Behind something that is no id of ours.
    Unknown,
}

impl Start {
    /// Reads `Last-Event-ID`.
    pub fn of(headers: &HeaderMap) -> Start {
        let Some(value) = headers.get("last-event-id") else { return Start::Now };
        let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        number.map_or(Start::Unknown, Start::After)
    }
}

impl Default for Events {
    fn default() -> Events {
        let (newest, _) = watch::channel(0);
        Events { ring: Mutex::default(), newest, streams: AtomicUsize::new(0) }
    }
}

impl Events {
    /// Begins the ids of a process that started at `now_ms`, so that they are higher than those of the processes before it.
    pub fn begin(&self, now_ms: i64) {
        let base = u64::try_from(now_ms).unwrap_or(0).saturating_mul(IDS_PER_MS);
        let mut ring = self.ring();
        if ring.sent.is_empty() {
            (ring.base, ring.last) = (base, base);
            self.newest.send_replace(base);
        }
    }

    /// Tells what happened. Never waits for a listener.
    pub fn emit(&self, events: impl IntoIterator<Item = Event>) {
        let mut ring = self.ring();
        for Event { name, data } in events {
            ring.last += 1;
            let text = format!("id: {}\nevent: {name}\ndata: {data}\n\n", ring.last);
            ring.sent.push_back(Bytes::from(text));
            if ring.sent.len() > RING_EVENTS {
                ring.sent.pop_front();
            }
        }
        self.newest.send_replace(ring.last);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Whoever panicked here left whole events behind: they are pushed as one.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Returns what comes behind `position`, with `missed` before it where something is gone, and the new position.
    fn behind(&self, position: Option<u64>) -> (Vec<Bytes>, u64) {
        let first = self.last + 1 - self.sent.len() as u64;
        let (known, missed) = match position {
            Some(position) if (self.base..=self.last).contains(&position) => {
                (position, Some(first.saturating_sub(position + 1)))
            }
            // Nobody knows how many there were since an id of another process.
            _ => (first - 1, None),
        };
        let skipped = usize::try_from((known + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut texts = Vec::new();
        if missed != Some(0) {
            texts.push(Bytes::from(format!("event: missed\ndata: {}\n\n", json!({ "missed": missed }))));
        }
        texts.extend(self.sent.iter().skip(skipped).cloned());
        (texts, self.last)
    }
}

/// The body of an answer that goes on until one side ends it.
#[derive(Debug)]
pub struct EventBody {
    texts: mpsc::Receiver<Bytes>,
    _seat: Seat,
    /// The connection is busy as long as the stream is open.
    _flight: Flight,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.texts.poll_recv(cx).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// One of [`STREAMS_MAX`].
#[derive(Debug)]
struct Seat(Arc<Events>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a stream; it ends when the listener goes or `drained` does.
///
/// **Errors**: R005 when [`STREAMS_MAX`] are open.
pub fn open(
    events: &Arc<Events>,
    start: Start,
    flight: Flight,
    drained: watch::Receiver<()>,
) -> Result<EventBody, Failure> {
    if events.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
        events.streams.fetch_sub(1, Ordering::Relaxed);
        return Err(Failure::new(
            Code::LimitExceeded,
            "api.streams",
            format!("{STREAMS_MAX} streams of events are open"),
        )
        .status(429)
        .with("limit", STREAMS_MAX)
        .hint("close streams that are not needed, and try again"));
    }
    let seat = Seat(Arc::clone(events));
    // One text waits while another is written, so a slow listener holds nothing but its place.
    let (sender, texts) = mpsc::channel(1);
    let position = match start {
        Start::Now => Some(events.ring().last),
        Start::After(id) => Some(id),
        Start::Unknown => None,
    };
    tokio::spawn(pump(Arc::clone(events), position, sender, drained));
    Ok(EventBody { texts, _seat: seat, _flight: flight })
}

/// Sends what happens until the listener or the daemon goes.
async fn pump(
    events: Arc<Events>,
    mut position: Option<u64>,
    sender: mpsc::Sender<Bytes>,
    mut drained: watch::Receiver<()>,
) {
    let mut newest = events.newest.subscribe();
    let mut texts = vec![Bytes::from_static(OPENING.as_bytes())];
    loop {
        newest.mark_unchanged();
        let (behind, last) = events.ring().behind(position);
        texts.extend(behind);
        position = Some(last);
        for text in texts.drain(..) {
            tokio::select! {
                sent = sender.send(text) => if sent.is_err() { return },
                _ = drained.changed() => return,
            }
        }
        tokio::select! {
            _ = newest.changed() => {}
            () = sleep(HEARTBEAT) => texts.push(Bytes::from_static(b":\n\n")),
            () = sender.closed() => return,
            _ = drained.changed() => return,
        }
    }
}

/// Returns the event of a sync that ended well.
pub fn synced(report: &SyncReport) -> Event {
    let sum =
        |count: fn(&crate::order::SourceOutcome) -> u64| -> u64 { report.sources.iter().map(count).sum() };
    let data = json!({
        "generation": report.generation, "snapshot": report.snapshot, "changed": report.changed,
        "sources": report.sources.len(),
        "releases": sum(|source| source.releases),
        "refused": sum(|source| source.refused),
        "skipped": sum(|source| source.skipped),
        "documentsFetched": report.documents_fetched,
        "bytesFetched": report.bytes_fetched,
    });
    Event { name: "synced", data }
}

/// Returns the event of a configuration that was read again: in force, or refused.
pub fn configured(problem: Option<&Refusal>) -> Event {
    match problem {
        None => Event { name: "config.accepted", data: json!({}) },
        Some(refusal) => Event { name: "config.refused", data: told(refusal) },
    }
}

/// Returns what happened to sources from one generation to the next, in the order of the sources.
///
/// A document that is refused for the first time, or for another reason or other bytes than before, is an event; so is a
/// source that begins or ceases to rest on something that could not be confirmed. A document that merely could not be read
/// is told by `source.stale` alone.
pub fn changes(previous: Option<&Generation>, now: &Generation) -> Vec<Event> {
    let mut events = Vec::new();
    for state in &now.sources {
        let id = &state.source.id;
        let known: BTreeSet<Told<'_>> = previous.map(|before| refusals(before, id)).unwrap_or_default();
        for (catalogue, refusal) in refusals(now, id).difference(&known).map(|told| (told.0, told.1.0)) {
            let Some(name) = name_of(&refusal.reason) else { continue };
            let mut data = told(refusal);
            data["source"] = json!(id);
            if let Some(catalogue) = catalogue {
                data["catalogue"] = json!(catalogue);
            }
            events.push(Event { name, data });
        }
        if is_expired(now, id) && !previous.is_some_and(|before| is_expired(before, id)) {
            let mut data = state.error.as_ref().map_or_else(|| json!({}), told);
            (data["source"], data["state"]) = (json!(id), json!(state.health));
            events.push(Event { name: "source.expired", data });
        }
        let was_degraded = previous.is_some_and(|before| worst(before, id).is_some());
        match (was_degraded, worst(now, id)) {
            (false, Some((health, error))) => {
                let mut data = error.map_or_else(|| json!({}), told);
                (data["source"], data["state"]) = (json!(id), json!(health));
                events.push(Event { name: "source.stale", data });
            }
            (true, None) => events.push(Event { name: "source.recovered", data: json!({ "source": id }) }),
            _ => {}
        }
    }
    events
}

/// A refusal and where it happened, in an order.
type Told<'a> = (Option<&'a SourceId>, ByText<'a>);

/// Refusals are the same where they read the same.
struct ByText<'a>(&'a Refusal);

impl ByText<'_> {
    fn key(&self) -> (&str, &str, &str, &str) {
        let Refusal { reason, subject, expected, found, .. } = self.0;
        (reason, subject, expected, found)
    }
}

impl PartialEq for ByText<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByText<'_> {}

impl PartialOrd for ByText<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByText<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Returns what is wrong with a source and the catalogues below it.
fn refusals<'a>(generation: &'a Generation, source: &SourceId) -> BTreeSet<Told<'a>> {
    let own =
        state(generation, source).and_then(|state| state.error.as_ref()).map(|error| (None, ByText(error)));
    let below = below(generation, source)
        .filter_map(|(state, name)| Some((Some(name), ByText(state.error.as_ref()?))));
    own.into_iter().chain(below).collect()
}

/// Returns the first node of a source that does not speak for itself today, and why: the source, else a catalogue of it.
fn worst<'a>(generation: &'a Generation, source: &SourceId) -> Option<(Health, Option<&'a Refusal>)> {
    let own = state(generation, source).map(|state| (state.health, state.error.as_ref()));
    let below = below(generation, source).map(|(state, _)| (state.health, state.error.as_ref()));
    own.into_iter().chain(below).find(|(health, _)| *health != Health::Fresh)
}

/// Tells whether a source has not been checked for so long that its ids are unavailable.
fn is_expired(generation: &Generation, source: &SourceId) -> bool {
    state(generation, source).is_some_and(|state| json!(state.health) == "expired")
}

fn state<'a>(generation: &'a Generation, source: &SourceId) -> Option<&'a SourceState> {
    generation.sources.iter().find(|state| state.source.id == *source)
}

/// Returns the lists and catalogues of a source, without its entry document, whose state is that of the source.
fn below<'a>(
    generation: &'a Generation,
    source: &SourceId,
) -> impl Iterator<Item = (&'a CatalogueState, &'a SourceId)> {
    generation.catalogues.iter().filter_map(move |state| {
        let node = state.errand.node()?;
        (node.id.source == *source && !node.via.is_empty()).then_some((state, &node.id.name))
    })
}

/// Returns the event that a reason makes; none for what could not be read at all.
fn name_of(reason: &str) -> Option<&'static str> {
    const UNREAD: [&str; 7] = ["file", "git", "net", "offline", "shelf", "ssh", "sync"];
    let (family, rest) = reason.split_once('.').unwrap_or(("", reason));
    match rest {
        _ if rest.contains("rollback") => Some("source.rolled_back"),
        _ if rest.contains("expired") || rest.contains("max_stale") => Some("source.expired"),
        _ if UNREAD.contains(&family) => None,
        _ => Some("source.refused"),
    }
}

pub(super) fn told(refusal: &Refusal) -> Value {
    let Refusal { reason, subject, expected, found, .. } = refusal;
    json!({ "reason": reason, "subject": subject, "expected": expected, "found": found })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use catalogue_schema::digest::Digest;

    use super::*;

    /// `a=fresh b=stale:net.timeout b/x=fresh:trust.digest_mismatch` are sources and catalogues, how they stand, and why.
    fn generation(text: &str) -> Generation {
        let (mut sources, mut catalogues) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let (id, state) = word.split_once('=').unwrap();
            let (health, reason) = state.split_once(':').unwrap_or((state, ""));
            let error = json!({"reason": reason, "subject": "s", "expected": "e", "found": "f"});
            let mut state = json!({"health": health});
            if !reason.is_empty() {
                state["error"] = error;
            }
            match id.split_once('/') {
                None => {
                    state["source"] = json!({
                        "id": id, "dialect": "lcod", "place": {"priority": 0, "position": 0},
                        "entry": {"file": {"path": "/srv/x.json"}}, "digests": [], "owns": [], "offline": false,
                    });
                    sources.push(state);
                }
                Some((source, name)) => catalogues.push((source.to_owned(), name.to_owned(), state)),
            }
        }
        let generation = json!({
            "schema": "", "number": 1, "committedS": 0, "components": 0, "root": Digest::sha256(b""),
            "snapshot": Digest::sha256(b""), "sources": sources, "catalogues": [], "documents": catalogue_schema::generation::DocumentList::default(),
            "settings": Digest::sha256(b""),
        });
        let mut generation: Generation = serde_json::from_value(generation).unwrap();
        generation.catalogues =
            catalogues.iter().map(|(source, name, state)| catalogue(source, name, state)).collect();
        generation
    }

    fn catalogue(source: &str, name: &str, state: &Value) -> CatalogueState {
        crate::server::answer::tests::catalogue_of(
            source,
            name,
            serde_json::from_value(state["health"].clone()).unwrap(),
            serde_json::from_value(state["error"].clone()).unwrap(),
        )
    }

    fn check(before: Option<&str>, now: &str, expected: &str) {
        let previous = before.map(generation);
        let told = |event: &Event| {
            let field =
                |name: &str| event.data[name].as_str().map(|text| format!(" {text}")).unwrap_or_default();
            format!(
                "{}{}{}{}{}",
                event.name,
                field("source"),
                field("catalogue"),
                field("state"),
                field("reason")
            )
        };
        let events: Vec<String> = changes(previous.as_ref(), &generation(now)).iter().map(told).collect();
        assert_eq!(events.join(", "), expected, "{before:?} to {now}");
    }

    #[test]
    fn two_generations_make_events() {
        check(None, "a=fresh", "");
        check(None, "a=unread:net.timeout", "source.stale a unread net.timeout");
        check(Some("a=fresh"), "a=fresh", "");
        check(Some("a=fresh"), "a=stale:net.timeout", "source.stale a stale net.timeout");
        check(Some("a=stale:net.timeout"), "a=stale:net.refused", "");
        check(Some("a=stale:net.timeout"), "a=fresh", "source.recovered a");
        check(Some("a=unread:net.timeout"), "a=fresh", "source.recovered a");
        check(
            Some("a=fresh"),
            "a=stale:trust.digest_mismatch",
            "source.refused a trust.digest_mismatch, source.stale a stale trust.digest_mismatch",
        );
        check(Some("a=stale:trust.digest_mismatch"), "a=stale:trust.digest_mismatch", "");
        check(Some("a=stale:net.timeout"), "a=stale:input.json", "source.refused a input.json");
        check(Some("a=stale:net.timeout"), "a=stale:trust.rollback", "source.rolled_back a trust.rollback");
        check(Some("a=stale:net.timeout"), "a=stale:source.expired", "source.expired a source.expired");
        check(Some("a=stale:net.timeout"), "a=stale:sync.max_stale", "source.expired a sync.max_stale");
        check(Some("a=fresh b=fresh"), "b=fresh", "");
        check(Some("a=fresh"), "a=fresh b=fresh", "");
    }

    #[test]
    fn catalogues_below_a_source_count_too() {
        check(
            Some("a=fresh a/std=fresh"),
            "a=fresh a/std=stale:trust.digest_mismatch",
            "source.refused a std trust.digest_mismatch, source.stale a stale trust.digest_mismatch",
        );
        check(Some("a=fresh a/std=stale:git.missing"), "a=fresh a/std=fresh", "source.recovered a");
        check(Some("a=fresh a/x=stale:net.x a/y=fresh"), "a=fresh a/x=stale:net.x a/y=stale:net.x", "");
    }

    fn event(number: u64) -> Event {
        Event { name: "synced", data: json!(number) }
    }

    /// What a stream gets: `m<count>` for missed events, else the ids.
    fn replay(events: &Events, position: Option<u64>) -> String {
        let (texts, _) = events.ring().behind(position);
        let told = texts.iter().map(|text| {
            let text = std::str::from_utf8(text).unwrap();
            match text.strip_prefix("event: missed\ndata: ") {
                Some(data) => format!("m{}", data.trim_end()),
                None => text.lines().next().unwrap().trim_start_matches("id: ").to_owned(),
            }
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_the_ring_still_holds_is_replayed() {
        let events = Events::default();
        assert_eq!(replay(&events, Some(0)), "");
        events.emit([event(1), event(2), event(3)]);
        assert_eq!(replay(&events, Some(0)), "1 2 3");
        assert_eq!(replay(&events, Some(2)), "3");
        assert_eq!(replay(&events, Some(3)), "");
        assert_eq!(replay(&events, Some(4)), "m{\"missed\":null} 1 2 3", "an id of somebody else");
        assert_eq!(replay(&events, None), "m{\"missed\":null} 1 2 3");
        events.emit((4..=RING_EVENTS as u64 + 5).map(event));
        let found = replay(&events, Some(2));
        assert!(found.starts_with("m{\"missed\":3} 6 7 "), "{}", &found[..40]);
        assert!(replay(&events, Some(5)).starts_with("6 7 "));
        assert_eq!(events.ring().sent.len(), RING_EVENTS);
    }

    #[test]
    fn ids_grow_across_restarts() {
        let (first, second) = (Events::default(), Events::default());
        first.begin(1_000);
        first.emit([event(1)]);
        first.begin(5_000);
        second.begin(1_001);
        second.emit([event(1)]);
        let (old, new) = (first.ring().last, second.ring().last);
        assert!(old < new, "{old} {new}");
        assert_eq!(replay(&second, Some(old)), format!("m{{\"missed\":null}} {new}"));
    }

    #[test]
    fn a_start_is_read_from_the_header() {
        let check = |value: Option<&str>, expected: Start| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("last-event-id", value.parse().unwrap());
            }
            assert_eq!(Start::of(&headers), expected, "{value:?}");
        };
        check(None, Start::Now);
        check(Some("17"), Start::After(17));
        check(Some(" 17 "), Start::After(17));
        check(Some("-1"), Start::Unknown);
        check(Some(""), Start::Unknown);
        check(Some("99999999999999999999"), Start::Unknown);
    }
}
