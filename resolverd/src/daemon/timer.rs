//! When which source is checked again. Pure: time comes in as the span since one fixed start on the monotonic clock.
//!
//! An unpinned source is checked every `refresh` seconds, give or take a tenth, so that many daemons do not ask one origin
//! at the same instant. A source that failed is tried again after an eighth of that, then a fourth, a half, and from then
//! on as usual. A pinned source is never checked; only while its last reading failed is it tried again the same way.
//! Never reads a clock, never starts work.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use catalogue_schema::id::SourceId;
use catalogue_schema::model::Source;
use catalogue_schema::sources::REFRESH_S_MIN;

/// The shortest time between two checks.
const SHORTEST: Duration = Duration::from_secs(REFRESH_S_MIN);
/// Sources that are due so soon after another one are read in the same order.
const TOGETHER: Duration = Duration::from_secs(5);
/// The first try after a failure comes after this part of the usual time.
const FIRST_RETRY_PART: u32 = 8;
/// How far a check may lie from its time, in thousandths of the usual time.
const JITTER_MAX: u64 = 100;

/// How the reading of a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// It was read, and so was everything below it.
    Well,
    /// Something could not be read or was refused.
    Wrong,
}

/// Every source and when it is checked next.
#[derive(Debug)]
pub(super) struct Schedule {
    /// What tells this process from others in the jitter.
    seed: u64,
    turns: BTreeMap<SourceId, Turn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    pace: Pace,
    failures: u32,
    checks: u64,
    due: Option<Duration>,
}

/// How often a source is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    every: Duration,
    is_pinned: bool,
}

impl Schedule {
    /// Makes a schedule without sources.
    pub(super) fn new(seed: u64) -> Schedule {
        Schedule { seed, turns: BTreeMap::new() }
    }

    /// Takes the sources that are in force at `now`. Those that are checked as often as before keep their time; `refresh_s`
    /// is for sources that do not say it themselves. Offline sources have no time.
    pub(super) fn arrange(&mut self, sources: &[Source], refresh_s: u64, now: Duration) {
        let mut before = std::mem::take(&mut self.turns);
        for source in sources.iter().filter(|source| !source.offline) {
            let every = Duration::from_secs(source.refresh_s.unwrap_or(refresh_s)).max(SHORTEST);
            let pace = Pace { every, is_pinned: source.is_pinned() };
            let turn = before.remove(&source.id).filter(|turn| turn.pace == pace).unwrap_or_else(|| {
                let due = (!pace.is_pinned).then(|| now + self.jittered(&source.id, 0, every));
                Turn { pace, failures: 0, checks: 0, due }
            });
            self.turns.insert(source.id.clone(), turn);
        }
    }

    /// Returns when the first source is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.turns.values().filter_map(|turn| turn.due).min()
    }

    /// Returns the sources that one order should check at `now`: none, or those that are due and those that nearly are.
    pub(super) fn due(&self, now: Duration) -> Vec<SourceId> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let is_due = |turn: &Turn| turn.due.is_some_and(|due| due <= now + TOGETHER);
        self.turns.iter().filter(|(_, turn)| is_due(turn)).map(|(id, _)| id.clone()).collect()
    }

    /// Notes how sources went that were read just now, whoever ordered it.
    pub(super) fn ran(&mut self, now: Duration, outcomes: &[(SourceId, Went)]) {
        for (id, went) in outcomes {
            let Some(turn) = self.turns.get(id) else { continue };
            let Turn { pace, mut failures, checks, .. } = turn.clone();
            let checks = checks + 1;
            failures = if *went == Went::Well { 0 } else { failures.saturating_add(1) };
            let pause = match failures {
                0 if pace.is_pinned => None,
                0 => Some(pace.every),
                many => Some(backoff(pace.every, many)),
            };
            let due = pause.map(|pause| now + self.jittered(id, checks, pause));
            self.turns.insert(id.clone(), Turn { pace, failures, checks, due });
        }
    }

    /// Returns `span` give or take a tenth, never below the shortest. The same source at the same turn gets the same.
    fn jittered(&self, id: &SourceId, checks: u64, span: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.seed, id.as_text(), checks).hash(&mut hasher);
        let thousandths = 1_000 - JITTER_MAX + hasher.finish() % (2 * JITTER_MAX + 1);
        let span = span.as_secs().saturating_mul(1_000).saturating_mul(thousandths) / 1_000;
        Duration::from_millis(span).max(SHORTEST)
    }
}

fn backoff(every: Duration, failures: u32) -> Duration {
    let doubled = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
    (every / FIRST_RETRY_PART).max(SHORTEST).saturating_mul(doubled).min(every)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use catalogue_schema::forge::Forges;

    use super::*;

    const HOUR: u64 = 3_600;

    fn sources(entries: &str) -> Vec<Source> {
        let text = format!("{{\"sources\": [{entries}]}}");
        catalogue_schema::sources::read(text.as_bytes(), Path::new("/"), &Forges::default()).expect("sources")
    }

    fn id(text: &str) -> SourceId {
        SourceId::parse(text).expect("an id")
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the due second of `a` in a schedule where it goes through `steps` (time, how it went).
    fn after(entry: &str, steps: &[(u64, Went)]) -> Option<u64> {
        let mut schedule = Schedule::new(7);
        schedule.arrange(&sources(entry), HOUR, s(0));
        for (now, went) in steps {
            schedule.ran(s(*now), &[(id("a"), *went)]);
        }
        schedule.next().map(|due| due.as_secs())
    }

    const PLAIN: &str = r#"{"id": "a", "url": "https://example.org/c.json"}"#;
    const OFTEN: &str = r#"{"id": "a", "url": "https://example.org/c.json", "refresh": "1m"}"#;
    const OFFLINE: &str = r#"{"id": "a", "url": "https://example.org/c.json", "offline": true}"#;
    const PINNED: &str = r#"{"id": "a", "entrypoint": {"type": "git", "url": "https://example.org/r.git",
        "commit": "4a569e82930c784d2b4f2a40a39e85daea774a80", "subpath": "c.json"}}"#;

    #[test]
    fn a_source_has_its_time_give_or_take_a_tenth() {
        use Went::{Well, Wrong};
        let check = |entry: &str, steps: &[(u64, Went)], expected: Option<(u64, u64)>| {
            let found = after(entry, steps);
            let agrees = match (found, expected) {
                (Some(found), Some((from, to))) => (from..=to).contains(&found),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(agrees, "{entry} {steps:?}: {found:?}, not {expected:?}");
        };
        check(PLAIN, &[], Some((3240, 3960)));
        check(PLAIN, &[(100, Well)], Some((3340, 4060)));
        check(PLAIN, &[(100, Wrong)], Some((505, 595)));
        check(PLAIN, &[(0, Wrong), (0, Wrong)], Some((810, 990)));
        check(PLAIN, &[(0, Wrong), (0, Wrong), (0, Wrong)], Some((1620, 1980)));
        check(PLAIN, &[(0, Wrong); 4], Some((3240, 3960)));
        check(PLAIN, &[(0, Wrong); 40], Some((3240, 3960)));
        check(PLAIN, &[(0, Wrong), (0, Wrong), (0, Well), (0, Wrong)], Some((405, 495)));
        // Never more often than once a minute, whatever the jitter says.
        check(OFTEN, &[], Some((60, 66)));
        check(OFTEN, &[(0, Wrong)], Some((60, 66)));
        check(OFFLINE, &[], None);
        check(OFFLINE, &[(0, Wrong)], None);
        check(PINNED, &[], None);
        check(PINNED, &[(0, Well)], None);
        check(PINNED, &[(0, Wrong)], Some((405, 495)));
        check(PINNED, &[(0, Wrong), (9, Well)], None);
    }

    #[test]
    fn sources_that_are_due_together_are_one_order() {
        let mut schedule = Schedule::new(1);
        assert_eq!((schedule.next(), schedule.due(s(9))), (None, vec![]));
        let entries = ["a", "b", "c"].map(|id| PLAIN.replace("\"a\"", &format!("\"{id}\"")));
        schedule.arrange(&sources(&entries.join(",")), 60, s(0));
        let first = schedule.next().expect("a time");
        assert!(schedule.due(first - s(1)).is_empty());
        // A minute with jitter lies between 60 and 66 seconds: within five of the first, most are due.
        assert!(!schedule.due(first).is_empty());
        assert_eq!(schedule.due(s(66)), [id("a"), id("b"), id("c")]);
        schedule.ran(s(66), &[(id("a"), Went::Well), (id("c"), Went::Well), (id("gone"), Went::Well)]);
        assert_eq!(schedule.due(s(66)), [id("b")]);
    }

    #[test]
    fn an_unchanged_source_keeps_its_time_over_a_reload() {
        let mut schedule = Schedule::new(1);
        schedule.arrange(&sources(PLAIN), HOUR, s(0));
        let due = schedule.next();
        schedule.arrange(&sources(PLAIN), HOUR, s(500));
        assert_eq!(schedule.next(), due);
        schedule.arrange(&sources(PLAIN), 2 * HOUR, s(500));
        assert!(schedule.next() > Some(s(500 + 6480)));
        schedule.arrange(&[], HOUR, s(500));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn processes_do_not_ask_at_the_same_instant() {
        let dues = (0..50).map(|seed| {
            let mut schedule = Schedule::new(seed);
            schedule.arrange(&sources(PLAIN), HOUR, s(0));
            schedule.next()
        });
        assert!(dues.collect::<std::collections::BTreeSet<_>>().len() > 40);
    }
}
