//! The stream of events over the real socket: order, replay, and its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Said, Sandbox};
use crate::harness::lcod::Component;
use crate::harness::poll;
use crate::snapshots::Changing;

/// How long a silent stream is waited for.
const SILENCE: Duration = Duration::from_secs(120);

/// One open stream.
pub(crate) struct Listener {
    stream: BufReader<UnixStream>,
    text: String,
}

/// One event as it was received.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Its id; a word about missed events has none.
    pub(crate) id: Option<u64>,
    /// What happened.
    pub(crate) name: String,
    /// What there is to say.
    pub(crate) data: Value,
}

impl Listener {
    /// Opens a stream and waits until it is open.
    pub(crate) fn open(socket: &Path, last: Option<u64>) -> Listener {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut listener = Listener { stream: BufReader::new(stream), text: String::new() };
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(listener.stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        assert!(listener.block().unwrap().contains(": resolverd"));
        listener
    }

    /// Returns what stands up to the next blank line; `None` at the end of the stream.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// Returns the next event; heartbeats are passed over.
    fn next(&mut self) -> Option<Heard> {
        loop {
            let block = self.block()?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(name) = field("event: ") {
                return Some(Heard {
                    id: field("id: ").map(|id| id.parse().unwrap()),
                    name: name.to_owned(),
                    data: serde_json::from_str(field("data: ").unwrap()).unwrap(),
                });
            }
        }
    }

    /// Returns the next events up to one with the name, that one included.
    pub(crate) fn up_to(&mut self, name: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(event) = self.next() {
            let is_last = event.name == name;
            heard.push(event);
            if is_last {
                return heard;
            }
        }
        panic!("the stream ended before {name}: {heard:?}");
    }
}

/// Returns the names of events, without syncs that changed nothing: the watch makes some, sooner or later.
fn names(heard: &[Heard]) -> Vec<&str> {
    let told = heard.iter().filter(|event| event.name != "synced" || event.data["changed"] == true);
    told.map(|event| event.name.as_str()).collect()
}

#[test]
fn what_happens_is_told_in_order_and_again_to_those_who_missed_it() {
    let world = Changing::keeping(2);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    let mut listener = Listener::open(&world.sandbox.socket(), None);
    let snapshot = world.round(&daemon, &[("n/a", "2.0.0")]);
    let changed = |event: &Heard| event.name == "synced" && event.data["changed"] == true;
    let synced = std::iter::from_fn(|| listener.next()).find(changed).unwrap();
    assert_eq!(
        (synced.name.as_str(), &synced.data["changed"], &synced.data["generation"]),
        ("synced", &json!(true), &json!(2))
    );
    assert_eq!(synced.data["snapshot"], snapshot.as_str());

    world.publish_list(b"{ this is no JSON");
    daemon.sync();
    let broken = listener.up_to("source.stale");
    assert_eq!(names(&broken), ["synced", "source.refused", "source.stale"], "{broken:?}");
    let refused = &broken.iter().find(|event| event.name == "source.refused").unwrap().data;
    assert_eq!(refused["source"], "main", "{refused}");
    for field in ["reason", "subject", "found", "expected"] {
        assert!(refused[field].is_string(), "{field} in {refused}");
    }
    daemon.sync();
    world.round(&daemon, &[("n/a", "3.0.0")]);
    let mended = listener.up_to("source.recovered");
    assert_eq!(names(&mended), ["synced", "source.recovered"], "{mended:?}");

    let good = std::fs::read_to_string(world.sandbox.sources()).unwrap();
    world.sandbox.write_sources_text("{");
    assert_eq!(daemon.post("/v1/reload", &json!({})).status, 422);
    world.sandbox.write_sources_text(&good);
    assert_eq!(daemon.post("/v1/reload", &json!({})).status, 200);
    let mut reloaded = listener.up_to("config.accepted");
    assert_eq!(names(&reloaded), ["config.refused", "config.accepted"], "{reloaded:?}");
    reloaded.extend(listener.up_to("synced"));

    let first = synced.id.unwrap();
    let all: Vec<Heard> = [vec![synced], broken, mended, reloaded].into_iter().flatten().collect();
    let ids: Vec<u64> = all.iter().map(|event| event.id.unwrap()).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    let mut late = Listener::open(&world.sandbox.socket(), Some(first));
    for expected in &all[1..] {
        let found = late.next().unwrap();
        assert_eq!((found.id, &found.name, &found.data), (expected.id, &expected.name, &expected.data));
    }

    assert!(daemon.stop().success(), "open streams do not hold it up");
    assert!(late.next().is_none() && listener.next().is_none(), "the streams ended whole");
    let daemon = world.sandbox.start();
    let mut after = Listener::open(&world.sandbox.socket(), ids.last().copied());
    daemon.sync();
    let heard = after.up_to("synced");
    assert_eq!((heard[0].name.as_str(), &heard[0].data["missed"]), ("missed", &Value::Null), "{heard:?}");
    assert!(heard.last().unwrap().id > ids.last().copied(), "{heard:?} after {ids:?}");
}

#[test]
fn the_verb_prints_a_line_an_event_until_the_daemon_stops() {
    let world = Changing::keeping(2);
    world.publish(&[Component::new("lcod://n/a", "1.0.0", &[])]);
    let daemon = world.sandbox.start_synced();
    let out = |name: &str| std::fs::File::create(world.sandbox.path(name)).unwrap();
    let read = |name: &str| std::fs::read_to_string(world.sandbox.path(name)).unwrap();
    let follow = |arguments: &[&str], name: &str| {
        let mut command = world.sandbox.command();
        command.args(arguments).stdout(out(name)).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut verbs = [follow(&["events"], "text"), follow(&["events", "--json"], "json")];
    // A stream begins with what happens next, so things happen until both verbs have heard one.
    poll::until("a line of each verb", || {
        daemon.sync();
        (!read("text").is_empty() && !read("json").is_empty()).then_some(())
    });
    assert!(daemon.stop().success());
    for verb in &mut verbs {
        assert_eq!(verb.wait().unwrap().code(), Some(9));
    }
    assert!(read("text").lines().all(|line| line.starts_with("synced generation 1 (unchanged) sha256:")));
    for line in read("json").lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!((event["event"].as_str(), event["id"].is_u64()), (Some("synced"), true), "{line}");
    }
}

#[test]
fn without_a_daemon_nothing_happens() {
    let sandbox = Sandbox::new();
    let Said { status, stdout, stderr } = sandbox.run(&["events"]);
    assert_eq!((status, stdout.as_str()), (9, ""), "{stderr}");
    assert!(stderr.contains("hint: start one with: resolverd serve"), "{stderr}");
}
