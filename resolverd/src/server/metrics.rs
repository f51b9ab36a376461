//! Counting: what was asked and how it ended, in a fixed table of atomics, and the text in which Prometheus reads it.
//!
//! Never locks and never allocates where a request is counted. A label is the template of a route, never a path that
//! somebody sent, so nobody outside decides how many series there are.
//!
//! # The text (exposition format 0.0.4)
//! Per family one `# HELP`, one `# TYPE`, then its samples: `name{label="value"} number`. In a label value `\`, `"` and line
//! ends are escaped. Counters start at zero with the process.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use catalogue_schema::generation::{CatalogueState, Generation, Health};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Refusal, Verdict};
use catalogue_schema::pace;
use catalogue_schema::packed::{Listed, Packed};

use crate::order::{OrderError, Outcome};
use crate::server::answer::Facts;
use crate::server::route::{Operation, ROUTES};
use crate::store::Snapshot;

/// The media type of the text.
pub const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How many pairs of source and reason are counted apart; what comes later counts as `other`.
pub const REFUSED_PAIRS_MAX: usize = 1_000;

/// The statuses that are counted apart; any other counts as `other`.
const STATUSES: [u16; 16] = [200, 400, 403, 404, 405, 408, 409, 410, 413, 422, 429, 431, 500, 502, 503, 504];

/// The upper ends of the histogram's buckets, in microseconds and as the text has them, in seconds.
const BUCKETS: [(u64, &str); 17] = [
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// How a sync can end.
const OUTCOMES: [&str; 4] = ["changed", "unchanged", "failed", "refused"];

/// The template under which requests are counted that no route takes.
const NO_ROUTE: &str = "other";

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// By the number of the operation; the last row is for requests that no route takes.
    routes: Box<[Row]>,
    connections: AtomicU64,
    syncs: [AtomicU64; OUTCOMES.len()],
    sync_bytes: AtomicU64,
    store_bytes: AtomicU64,
    started_s: AtomicI64,
    shadowed: AtomicU64,
    refused: ArcSwap<Refused>,
}

/// How often something was refused, by source and reason.
type Refused = BTreeMap<(String, String), u64>;

/// What is counted of one route.
#[derive(Debug, Default)]
struct Row {
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// Each bucket by itself; the text adds them up.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let last = ROUTES.iter().map(|route| route.operation as usize).max().unwrap_or(0);
        Metrics {
            routes: (0..last + 2).map(|_| Row::default()).collect(),
            connections: AtomicU64::new(0),
            syncs: Default::default(),
            sync_bytes: AtomicU64::new(0),
            store_bytes: AtomicU64::new(0),
            started_s: AtomicI64::new(0),
            shadowed: AtomicU64::new(0),
            refused: ArcSwap::from_pointee(Refused::new()),
        }
    }
}

impl Metrics {
    /// Counts a request that took `elapsed`; `None` where no route takes it.
    pub fn observe(&self, operation: Option<Operation>, status: u16, elapsed: Duration) {
        let index = operation.map_or(self.routes.len() - 1, |operation| operation as usize);
        let Some(row) = self.routes.get(index).or(self.routes.last()) else { return };
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let bucket = BUCKETS.partition_point(|(end, _)| Duration::from_micros(*end) < elapsed);
        row.statuses[status].fetch_add(1, Ordering::Relaxed);
        row.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        row.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Counts a connection as open until [`Metrics::disconnected`].
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether more than one connection is open.
    pub fn is_shared(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 1
    }

    /// Counts a connection as closed.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes when the process started, in seconds since 1970-01-01 UTC.
    pub fn started(&self, now_s: i64) {
        self.started_s.store(now_s, Ordering::Relaxed);
    }

    /// Notes how many bytes the state directory holds.
    pub fn stored(&self, bytes: u64) {
        self.store_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts how a sync ended. An order for a source that does not exist was no sync.
    pub fn synced(&self, outcome: &Outcome) {
        let index = match outcome {
            Ok(report) if report.changed => 0,
            Ok(_) => 1,
            Err(OrderError::Store(_) | OrderError::Lost(_)) => 2,
            Err(OrderError::Config(_) | OrderError::Locked(_)) => 3,
            Err(_) => return,
        };
        self.syncs[index].fetch_add(1, Ordering::Relaxed);
        let bytes = outcome.as_ref().map_or(0, |report| report.bytes_fetched);
        self.sync_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what `now` refuses and `previous` did not, and what it shadows. Only the writer calls this.
    pub fn published(&self, previous: Option<&Snapshot>, now: &Snapshot) {
        let shadowed = now.components().iter().filter(|one| one.is_shadowing()).count();
        self.shadowed.store(shadowed as u64, Ordering::Relaxed);
        let fresh = refused_anew(previous, now);
        if fresh.is_empty() {
            return;
        }
        let mut all = Refused::clone(&self.refused.load());
        for (pair, count) in fresh {
            let full = all.len() >= REFUSED_PAIRS_MAX && !all.contains_key(&pair);
            let pair = if full { (NO_ROUTE.to_owned(), NO_ROUTE.to_owned()) } else { pair };
            *all.entry(pair).or_default() += count;
        }
        self.refused.store(Arc::new(all));
    }

    /// Returns the text.
    pub fn text(&self, snapshot: Option<&Snapshot>, facts: &Facts) -> String {
        let mut page = Page(String::with_capacity(16 << 10));
        self.requests(&mut page);
        self.histogram(&mut page);
        sources(&mut page, snapshot.map(|snapshot| &snapshot.generation), facts);
        page.family(
            "resolverd_refused_total",
            "counter",
            "Documents, catalogues and releases that were refused.",
        );
        for ((source, reason), count) in self.refused.load().iter() {
            page.sample("resolverd_refused_total", &[("source", source), ("reason", reason)], count);
        }
        page.family("resolverd_syncs_total", "counter", "Syncs, by how they ended.");
        for (outcome, count) in OUTCOMES.iter().zip(&self.syncs) {
            page.sample("resolverd_syncs_total", &[("outcome", outcome)], count.load(Ordering::Relaxed));
        }
        self.singles(&mut page, snapshot, facts);
        page.0
    }

    fn requests(&self, page: &mut Page) {
        page.family("resolverd_requests_total", "counter", "Requests, by route and HTTP status.");
        for (route, row) in self.rows() {
            for (index, count) in row.statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let code = STATUSES.get(index).map_or(NO_ROUTE.to_owned(), ToString::to_string);
                    page.sample("resolverd_requests_total", &[("route", route), ("code", &code)], count);
                }
            }
        }
    }

    fn histogram(&self, page: &mut Page) {
        const NAME: &str = "resolverd_request_seconds";
        page.family(
            NAME,
            "histogram",
            "How long requests took, by route; a stream of events counts until it opens.",
        );
        for (route, row) in self.rows() {
            let buckets: Vec<u64> = row.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let total: u64 = buckets.iter().sum();
            if total == 0 {
                continue;
            }
            let mut below = 0;
            for ((_, end), count) in BUCKETS.iter().zip(&buckets) {
                below += count;
                page.sample(&format!("{NAME}_bucket"), &[("route", route), ("le", end)], below);
            }
            page.sample(&format!("{NAME}_bucket"), &[("route", route), ("le", "+Inf")], total);
            let seconds = Duration::from_nanos(row.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
            page.sample(&format!("{NAME}_sum"), &[("route", route)], seconds);
            page.sample(&format!("{NAME}_count"), &[("route", route)], total);
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &Row)> {
        let routed = ROUTES
            .iter()
            .filter_map(|route| self.routes.get(route.operation as usize).map(|row| (route.pattern, row)));
        routed.chain(self.routes.last().map(|row| (NO_ROUTE, row)))
    }

    fn singles(&self, page: &mut Page, snapshot: Option<&Snapshot>, facts: &Facts) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let generation = snapshot.map_or(0, |snapshot| snapshot.generation.number);
        let components = snapshot.map_or(0, |snapshot| snapshot.count() as u64);
        let started = u64::try_from(self.started_s.load(Ordering::Relaxed)).unwrap_or(0);
        for (name, kind, help, value) in [
            (
                "resolverd_shadowed",
                "gauge",
                "Components that a lower-placed catalogue lists too.",
                read(&self.shadowed),
            ),
            ("resolverd_generation", "gauge", "The generation that is served; 0 for none.", generation),
            ("resolverd_components", "gauge", "Components of the generation that is served.", components),
            (
                "resolverd_store_bytes",
                "gauge",
                "Bytes in the state directory after the last commit.",
                read(&self.store_bytes),
            ),
            ("resolverd_sync_bytes_total", "counter", "Bytes that syncs fetched.", read(&self.sync_bytes)),
            ("resolverd_panics_total", "counter", "Panics that were contained.", facts.panics),
            ("resolverd_connections", "gauge", "Open connections.", read(&self.connections)),
            ("resolverd_uptime_seconds", "gauge", "How long the process has been up.", facts.uptime_s),
            (
                "process_start_time_seconds",
                "gauge",
                "When the process started, since 1970-01-01 UTC.",
                started,
            ),
        ] {
            page.family(name, kind, help);
            page.sample(name, &[], value);
        }
    }
}

/// Returns what is refused in `now` and was not, for the same reason, in `previous`: states of sources and catalogues, and
/// releases.
fn refused_anew(previous: Option<&Snapshot>, now: &Snapshot) -> Refused {
    let mut fresh = Refused::new();
    let mut count = |source: &SourceId, refusal: &Refusal| {
        *fresh.entry((source.to_string(), refusal.reason.to_string())).or_default() += 1;
    };
    let before = previous.map(|snapshot| &snapshot.generation);
    for state in &now.generation.catalogues {
        let (Some(node), Some(error)) = (state.errand.node(), &state.error) else { continue };
        let same = |old: &CatalogueState| {
            old.errand
                .node()
                .is_some_and(|old| old.id == node.id && old.via.is_empty() == node.via.is_empty())
                && old.error.as_ref().is_some_and(|old| old.reason == error.reason)
        };
        if !before.is_some_and(|before| before.catalogues.iter().any(same)) {
            count(&node.id.source, error);
        }
    }
    let mut before = previous.map(Snapshot::components).unwrap_or_default().iter().peekable();
    for component in pace::each(now.components(), pace::COMPONENT_NS) {
        while before.next_if(|old| old.id_bytes() < component.id_bytes()).is_some() {}
        let old = before.next_if(|old| old.id_bytes() == component.id_bytes());
        if old == Some(component) {
            continue;
        }
        for release in component.all().filter(Listed::is_refused) {
            let Some((source, refusal)) = refusal(component, &release) else { continue };
            let same = release.version().and_then(|version| old?.exact(&version));
            let known = same.filter(Listed::is_refused).and_then(|same| self::refusal(component, &same));
            if known.is_none_or(|(_, known)| known.reason != refusal.reason) {
                count(&source, &refusal);
            }
        }
    }
    fresh
}

/// Returns why a release is refused, and whose it is.
fn refusal(component: &Packed, release: &Listed<'_>) -> Option<(SourceId, Refusal)> {
    let source = SourceId::parse(component.owner_texts().0).ok()?;
    match release.release().ok()?.verdict {
        Verdict::Refused(refusal) => Some((source, refusal)),
        Verdict::Trusted(_) => None,
    }
}

/// A source is up where it and every catalogue below it were read and accepted by the last sync.
fn sources(page: &mut Page, generation: Option<&Generation>, facts: &Facts) {
    let sources = generation.map_or(&[][..], |generation| &generation.sources);
    let below = |source: &SourceId| -> Vec<&CatalogueState> {
        let all = generation.into_iter().flat_map(|generation| &generation.catalogues);
        all.filter(|state| state.errand.node().is_some_and(|node| node.id.source == *source)).collect()
    };
    page.family(
        "resolverd_source_up",
        "gauge",
        "Whether the last sync could read and accept a source whole.",
    );
    for state in sources {
        let id = &state.source.id;
        let up = state.health == Health::Fresh && below(id).iter().all(|one| one.health == Health::Fresh);
        page.sample("resolverd_source_up", &[("source", &id.to_string())], u8::from(up));
    }
    page.family("resolverd_source_age_seconds", "gauge", "How long ago a source was checked at its origin.");
    for state in sources {
        let id = &state.source.id;
        if let Some(age) = facts.ages.seconds(id) {
            page.sample("resolverd_source_age_seconds", &[("source", &id.to_string())], age);
        }
    }
    page.family("resolverd_source_releases", "gauge", "Releases that the catalogues of a source list.");
    for state in sources {
        let id = &state.source.id;
        let releases: u64 = below(id).iter().map(|one| one.releases).sum();
        page.sample("resolverd_source_releases", &[("source", &id.to_string())], releases);
    }
}

/// The text while it is written.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.0, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::server::answer::{Ages, tests::world};

    fn facts() -> Facts {
        let ages = Arc::new(Ages { known: BTreeMap::new(), since: Instant::now() });
        Facts {
            uptime_s: 5,
            requests: 4,
            failures: 3,
            panics: 2,
            problem: None,
            policies: Arc::default(),
            documents: crate::server::answer::Shelved::default(),
            solving: Default::default(),
            ages,
            times: Arc::default(),
            records: None,
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page(String::new());
        page.sample("x", &[("a", "q\"b\\s\nn"), ("b", "é")], 7);
        assert_eq!(page.0, "x{a=\"q\\\"b\\\\s\\nn\",b=\"é\"} 7\n");
    }

    #[test]
    fn times_fall_into_the_first_bucket_that_holds_them() {
        let check = |microseconds: u64, expected: &str| {
            let metrics = Metrics::default();
            metrics.observe(Some(Operation::Live), 200, Duration::from_micros(microseconds));
            let text = metrics.text(None, &facts());
            let full = text.lines().find(|line| line.contains("_bucket") && line.ends_with(" 1"));
            let found = full.and_then(|line| line.split("le=\"").nth(1)?.split('"').next());
            assert_eq!(found, Some(expected), "{microseconds}");
            assert!(text.contains("resolverd_request_seconds_count{route=\"/livez\"} 1\n"), "{text}");
        };
        check(0, "0.00005");
        check(50, "0.00005");
        check(51, "0.0001");
        check(9_999_999, "10");
        check(10_000_001, "+Inf");
    }

    #[test]
    fn what_no_route_takes_and_unknown_statuses_are_counted_as_other() {
        let metrics = Metrics::default();
        metrics.observe(None, 404, Duration::ZERO);
        metrics.observe(Some(Operation::Events), 299, Duration::ZERO);
        let text = metrics.text(None, &facts());
        assert!(text.contains("resolverd_requests_total{route=\"other\",code=\"404\"} 1\n"), "{text}");
        assert!(text.contains("resolverd_requests_total{route=\"/v1/events\",code=\"other\"} 1\n"), "{text}");
    }

    #[test]
    fn refusals_are_counted_once_however_long_they_last() {
        let metrics = Metrics::default();
        let (first, second) = (world(), world());
        metrics.published(None, &first);
        let before = metrics.text(Some(&first), &facts());
        assert!(before.contains("reason=\"trust.digest_mismatch\"} 1\n"), "{before}");
        metrics.published(Some(&first), &second);
        assert_eq!(metrics.text(Some(&second), &facts()), before);
        assert!(before.contains("resolverd_shadowed 3\n"), "{before}");
    }
}
