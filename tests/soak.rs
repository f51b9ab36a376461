//! A daemon under mixed load for as long as `RESOLVERD_SOAK` says, in seconds: four clients resolve, look up, search and cut
//! themselves off, a sync every 10 seconds, a reload every 5. Opt-in: without the variable nothing runs.
//!
//! Prints what the daemon has every ten seconds, and at the end how memory and descriptors grew in the second half, when
//! everything has been used once. The memory is printed and not asserted; every answer is checked.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::attack::Footprint;
use crate::daemon::sample;
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::{place, poll};

/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

fn client(daemon: &Daemon, seen: &Seen) {
    while seen.goes_on() {
        daemon.resolve(&["lcod://acme/billing/invoice", "lcod://tooling/text/slug"]).ok();
        daemon.post("/v1/lookup", &json!({ "ids": vec!["lcod://tooling/text/slug"; 300] })).ok();
        daemon.get("/v1/components/search?q=text").ok();
        assert_eq!(daemon.get("/v1/components/lcod/nobody/here").status, 404);
        let mut cut = UnixStream::connect(daemon.socket()).unwrap();
        let _ = cut.write_all(b"POST /v1/resolve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{");
        seen.answers.fetch_add(4, Ordering::Relaxed);
    }
}

fn orders(daemon: &Daemon, seen: &Seen, target: &str, every: Duration) {
    while seen.goes_on() {
        daemon.post(target, &json!({})).ok();
        poll::pause(every);
    }
}

#[test]
fn a_daemon_under_mixed_load_keeps_its_memory_and_descriptors() {
    let Some(seconds) = place::variable("RESOLVERD_SOAK").map(|text| text.parse::<u64>().unwrap()) else {
        return;
    };
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let seen = Seen::default();
    let start = Instant::now();
    let mut looks = Vec::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client(&daemon, &seen));
        }
        scope.spawn(|| orders(&daemon, &seen, "/v1/sync", Duration::from_secs(10)));
        scope.spawn(|| orders(&daemon, &seen, "/v1/reload", Duration::from_secs(5)));
        while start.elapsed() < Duration::from_secs(seconds) {
            poll::pause(LOOK);
            let (at_s, now) = (start.elapsed().as_secs(), Footprint::of(&daemon));
            eprintln!("{at_s} s: {now:?}, {} answers", seen.answers.load(Ordering::Relaxed));
            looks.push((at_s as f64, now));
        }
        seen.is_over.store(true, Ordering::Relaxed);
    });
    let later = &looks[looks.len() / 2..];
    let rss = slope(later.iter().map(|(at_s, now)| (*at_s, now.rss_kib as f64)));
    let descriptors = slope(later.iter().map(|(at_s, now)| (*at_s, now.descriptors as f64)));
    eprintln!(
        "an hour adds {:.0} KiB and {:.1} descriptors, by the second half",
        rss * 3600.0,
        descriptors * 3600.0
    );
    let stats = daemon.get("/v1/stats").ok();
    assert_eq!(stats["panics"], 0, "{stats:#}");
    assert!(daemon.stop().success());
}

/// Returns the slope of the line that is nearest to the points, per second.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let mean = |pick: fn((f64, f64)) -> f64| points.clone().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.clone().map(|point| (point.0 - x) * (point.1 - y)).sum();
    along / points.map(|point| (point.0 - x).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE)
}
