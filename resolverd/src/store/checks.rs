//! When each source was last checked at its origin: a small file beside the store, written whole and atomically.
//!
//! It belongs to no generation, since an unchanged source changes nothing. Where it is lost, ages count from the last generation.
//!
//! **Two clocks.** The highest clock seen (see `memory.rs`) stands still while the system's clock is behind it, for 80 years where that
//! one stood at 2106 once. Each check is therefore noted by both, and a source is too old by whichever says so:
//!
//! - `seen_s`, by the highest clock, serves against a clock that is set back: no source becomes younger by that.
//! - `clock_s`, by the system's clock, serves against a clock that once stood too far ahead: ages go on while the highest stands still.
//!   It is kept only while the clock is behind, and counts only then. Where it lies in the future of the clock by more than
//!   [`CLOCK_SLACK_S`] it is no evidence, and ages count from the moment that this is noticed, which is written down. A clock before
//!   2024 is not set, and nothing is noted by it.
//!
//! It can only make a source older than `seen_s` says. A `seen_s` behind the highest clock, which only an operator can take back or a
//! file from elsewhere bring, gives way to `clock_s`, or counts from when it is noticed.
//!
//! **Shape** of `checks.json`, format `resolverd/checks@1` (see `sealed.rs`): the content is `{"<source>": <seconds>, …}`, with
//! `{"seen_s": <seconds>, "clock_s": <seconds>}` in the place of the seconds where the two differ. A program that does not know the
//! second form takes the file for damaged, which costs ages only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalogue_schema::generation::{Generation, Health, SourceState};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Source;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::shelf::durable::{read, write};
use crate::store::memory::{CLOCK_SLACK_S, Clock};
use crate::store::{StoreError, sealed};

/// The file's name in the state directory.
const FILE: &str = "checks.json";
const SCHEMA: &str = "resolverd/checks@1";

/// The times of the last successful checks, in seconds since 1970-01-01 UTC. Pinned and offline sources are never checked.
#[derive(Debug)]
pub struct Checks {
    path: PathBuf,
    times: BTreeMap<SourceId, Check>,
}

/// When a source was checked, in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CheckForm", into = "CheckForm")]
struct Check {
    /// By the highest clock seen.
    seen_s: i64,
    /// By the system's clock, where that stood behind.
    clock_s: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CheckForm {
    Seen(i64),
    Both { seen_s: i64, clock_s: i64 },
}

impl From<CheckForm> for Check {
    fn from(form: CheckForm) -> Check {
        match form {
            CheckForm::Seen(seen_s) => Check { seen_s, clock_s: None },
            CheckForm::Both { seen_s, clock_s } => Check { seen_s, clock_s: Some(clock_s) },
        }
    }
}

impl From<Check> for CheckForm {
    fn from(Check { seen_s, clock_s }: Check) -> CheckForm {
        clock_s.map_or(CheckForm::Seen(seen_s), |clock_s| CheckForm::Both { seen_s, clock_s })
    }
}

impl Check {
    /// Returns the time by the highest clock seen from which the source's age counts by both clocks.
    fn counts_from(self, clock: Clock) -> i64 {
        let behind_s = clock.behind_s();
        let evident = self.clock_s.filter(|at_s| behind_s > 0 && !lies_ahead(*at_s, clock.now_s));
        evident.map_or(self.seen_s, |at_s| self.seen_s.min(at_s.saturating_add(behind_s)))
    }

    /// Returns what is noted of it while the time is `clock`.
    fn settled(self, clock: Clock) -> Check {
        let seen_s = match lies_ahead(self.seen_s, clock.latest_s) {
            true => self.clock_s.filter(|at_s| !lies_ahead(*at_s, clock.now_s)).unwrap_or(clock.latest_s),
            false => self.seen_s,
        };
        let clock_s = match (clock.behind_s(), self.clock_s) {
            (0, _) => None,
            (_, Some(at_s)) if !lies_ahead(at_s, clock.now_s) => Some(at_s),
            (_, known) => {
                if clock.is_set() {
                    Some(clock.now_s)
                } else {
                    known
                }
            }
        };
        Check { seen_s, clock_s }
    }
}

/// Tells whether a time lies in the future of a clock, by more than is passed over.
fn lies_ahead(at_s: i64, now_s: i64) -> bool {
    at_s > now_s.saturating_add(CLOCK_SLACK_S)
}

impl Checks {
    /// Reads the file in `state_dir`; one that is missing or damaged counts as empty.
    pub fn load(state_dir: &Path) -> Checks {
        let path = state_dir.join(FILE);
        let lost = |error: &dyn std::fmt::Display| {
            warn!(path = %path.display(), %error, "the times of the last checks are lost");
            BTreeMap::new()
        };
        let times = match read(&path) {
            Ok(None) => BTreeMap::new(),
            Ok(Some(bytes)) => sealed::unseal(SCHEMA, &bytes).unwrap_or_else(|error| lost(&error)),
            Err(error) => lost(&error),
        };
        Checks { path, times }
    }

    /// Tells what is wrong with the file in `state_dir`; a missing one is fine.
    ///
    /// **Errors**: what is wrong.
    pub fn look(state_dir: &Path) -> Result<(), String> {
        let bytes = read(&state_dir.join(FILE)).map_err(|error| error.to_string())?;
        bytes.map_or(Ok(()), |bytes| sealed::unseal::<BTreeMap<SourceId, Check>>(SCHEMA, &bytes).map(drop))
    }

    /// Returns how many seconds ago each source was checked; a check that seems to lie ahead counts as now.
    pub fn ages(&self, clock: Clock) -> BTreeMap<SourceId, u64> {
        let age = |at_s: i64| u64::try_from(clock.latest_s.saturating_sub(at_s)).unwrap_or_default();
        self.known(clock).into_iter().map(|(source, at_s)| (source, age(at_s))).collect()
    }

    /// Takes notice of a clock that was set back, or that was taken for right: see the module. A failure to write is logged only.
    pub fn settle(&mut self, clock: Clock) {
        let settled: BTreeMap<SourceId, Check> =
            self.times.iter().map(|(source, check)| (source.clone(), check.settled(clock))).collect();
        if settled == self.times {
            return;
        }
        self.times = settled;
        if let Err(error) = self.save() {
            warn!(path = %self.path.display(), %error, "the times of the last checks are not written");
        }
    }

    /// Notes that `sources` were checked now and forgets what is not in `configured`. A failure to write is logged only.
    pub fn note(&mut self, sources: &[SourceId], configured: &[SourceId], clock: Clock) {
        self.times.retain(|known, _| configured.contains(known));
        let clock_s = (clock.behind_s() > 0 && clock.is_set()).then_some(clock.now_s);
        let check = Check { seen_s: clock.latest_s, clock_s };
        self.times.extend(sources.iter().map(|source| (source.clone(), check)));
        if sources.is_empty() {
            return;
        }
        if let Err(error) = self.save() {
            warn!(path = %self.path.display(), %error, "the times of the last checks are not written");
        }
    }

    /// Returns when each source was checked, told by the highest clock seen.
    pub fn known(&self, clock: Clock) -> BTreeMap<SourceId, i64> {
        self.times.iter().map(|(source, check)| (source.clone(), check.counts_from(clock))).collect()
    }

    /// Returns the newest time that is noted, by the highest clock seen; `None` where there is none.
    pub fn newest_s(&self) -> Option<i64> {
        self.times.values().map(|check| check.seen_s).max()
    }

    /// Takes the time of `generation` for the sources that it has read and of which no check is known: since then at the latest
    /// they count as unchecked. What has expired already stays without a time: only a check brings it back.
    pub fn assume(&mut self, generation: &Generation) {
        let unknown: Vec<SourceId> = generation
            .sources
            .iter()
            .filter(|state| has_age(state) && state.health != Health::Expired)
            .filter(|state| !self.times.contains_key(&state.source.id))
            .map(|state| state.source.id.clone())
            .collect();
        if unknown.is_empty() {
            return;
        }
        let check = Check { seen_s: generation.committed_s, clock_s: None };
        self.times.extend(unknown.into_iter().map(|source| (source, check)));
        if let Err(error) = self.save() {
            warn!(path = %self.path.display(), %error, "the times of the last checks are not written");
        }
    }

    /// Returns when the source of `state` becomes unavailable unless it is checked before, told by the highest clock seen in seconds
    /// since 1970-01-01 UTC; `None` for one that never does, and for one that is unavailable already.
    pub fn expires(&self, state: &SourceState, max_stale_default_s: u64, clock: Clock) -> Option<i64> {
        let checked_s = self.times.get(&state.source.id)?.counts_from(clock);
        let is_running = has_age(state) && state.health != Health::Expired;
        is_running.then(|| expiry(checked_s, max_stale_s(&state.source, max_stale_default_s)))
    }

    /// Returns the earliest of [`Checks::expires`]: when a new generation is due although nobody publishes anything.
    pub fn next_change(
        &self,
        sources: &[SourceState],
        max_stale_default_s: u64,
        clock: Clock,
    ) -> Option<i64> {
        sources.iter().filter_map(|state| self.expires(state, max_stale_default_s, clock)).min()
    }

    fn save(&self) -> Result<(), StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        write(directory, FILE, &[&sealed::seal(FILE, SCHEMA, &self.times)?])?;
        Ok(())
    }
}

/// Returns how long the last good entries of `source` are used, in seconds.
pub fn max_stale_s(source: &Source, default_s: u64) -> u64 {
    source.max_stale_s.unwrap_or(default_s)
}

/// Returns when a source that was checked at `checked_s` becomes unavailable.
pub fn expiry(checked_s: i64, max_stale_s: u64) -> i64 {
    checked_s.saturating_add_unsigned(max_stale_s)
}

/// Tells whether the age of a source counts. A pinned entry document says the same for ever, an offline source is never asked,
/// and one that was never read has nothing to lose.
fn has_age(state: &SourceState) -> bool {
    !state.source.is_pinned() && !state.source.offline && state.health != Health::Unread
}

#[cfg(test)]
mod tests {
    use catalogue_schema::forge::Forges;

    use super::*;
    use crate::store::memory::CLOCK_MIN_S;

    fn id(text: &str) -> SourceId {
        SourceId::parse(text).expect("an id")
    }

    /// A clock that stands at the highest one seen.
    fn at(now_s: i64) -> Clock {
        Clock { now_s, latest_s: now_s }
    }

    /// A source of each kind, all of one health.
    fn states(health: Health) -> Vec<SourceState> {
        let text = format!(
            r#"{{"sources":[{{"id":"a","path":"a"}},{{"id":"soon","path":"b","maxStale":10}},
                {{"id":"off","path":"c","offline":true}},{{"id":"pin","path":"d","checksum":"{}"}}]}}"#,
            catalogue_schema::digest::Digest::sha256(b"")
        );
        let sources = catalogue_schema::sources::read(text.as_bytes(), Path::new("/"), &Forges::default());
        let state = |source| SourceState { source, health, commit: None, digest: None, error: None };
        sources.expect("good sources").into_iter().map(state).collect()
    }

    #[test]
    fn times_survive_and_damage_costs_only_ages() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut checks = Checks::load(directory.path());
        checks.note(&[id("a"), id("b")], &[id("a"), id("b")], at(7));
        checks.note(&[id("a")], &[id("a")], at(9));
        assert_eq!(Checks::load(directory.path()).ages(at(12)), BTreeMap::from([(id("a"), 3)]));
        assert_eq!(Checks::load(directory.path()).ages(at(1)), BTreeMap::from([(id("a"), 0)]));

        let path = directory.path().join("checks.json");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains("\"a\":9"), "{text}");
        for bad in [
            "{\"a\":",
            "{\"a\":9}",
            &text.replace("\"a\":9", "\"a\":8"),
            &text.replace("checks@1", "checks@2"),
        ] {
            std::fs::write(&path, bad).expect("written");
            assert!(Checks::load(directory.path()).ages(at(9)).is_empty(), "{bad}");
        }
    }

    #[test]
    fn the_next_change_is_that_of_the_source_that_expires_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut checks = Checks::load(directory.path());
        let all = ["a", "soon", "off", "pin"].map(id);
        checks.note(&all, &all, at(100));
        let check = |health: Health, max_stale_s: u64, expected: Option<i64>| {
            assert_eq!(checks.next_change(&states(health), max_stale_s, at(100)), expected, "{health:?}");
        };
        check(Health::Fresh, 1_000, Some(110));
        check(Health::Stale, 5, Some(105));
        check(Health::Unread, 1_000, None);
        check(Health::Expired, 1_000, None);
        assert_eq!(checks.next_change(&states(Health::Fresh)[..1], u64::MAX, at(100)), Some(i64::MAX));
        assert_eq!(
            checks.next_change(&states(Health::Fresh)[2..], 1, at(100)),
            None,
            "neither offline nor pinned"
        );
    }

    #[test]
    fn ages_go_on_while_the_highest_clock_stands_still() {
        let directory = tempfile::tempdir().expect("a directory");
        let (right_s, far_s, day_s) = (CLOCK_MIN_S + 1_000_000, i64::from(u32::MAX), 86_400);
        let all = [id("a")];
        let age = |checks: &Checks, now_s: i64, latest_s: i64| {
            let ages = checks.ages(Clock { now_s, latest_s });
            ages.get(&all[0]).copied().map(|age_s| i64::try_from(age_s).expect("a span"))
        };
        let behind = |now_s: i64| Clock { now_s, latest_s: far_s };
        let mut checks = Checks::load(directory.path());
        checks.note(&all, &all, at(far_s));
        assert_eq!(age(&checks, right_s + 60 * day_s, far_s), Some(0), "nobody has noticed yet");

        // Noticed, whoever reads the file later.
        checks.settle(behind(right_s));
        let mut checks = Checks::load(directory.path());
        assert_eq!(age(&checks, right_s + 60 * day_s, far_s), Some(60 * day_s));
        let expires = checks.next_change(&states(Health::Fresh)[..1], 1_000, behind(right_s + 7));
        assert_eq!(expires.map(|at_s| at_s - behind(right_s + 7).behind_s()), Some(right_s + 1_000));
        // A clock that is not set changes nothing, one that is set further back begins anew.
        checks.settle(behind(0));
        assert_eq!(age(&checks, right_s + day_s, far_s), Some(day_s));
        checks.settle(behind(right_s - 9 * day_s));
        assert_eq!(age(&checks, right_s, far_s), Some(9 * day_s));

        // A check by the right clock, and the highest one taken back behind it.
        checks.note(&all, &all, behind(right_s));
        assert_eq!(age(&checks, right_s + day_s, far_s), Some(day_s));
        checks.settle(at(right_s + day_s));
        let mut checks = Checks::load(directory.path());
        assert_eq!(age(&checks, right_s + 3 * day_s, right_s + 3 * day_s), Some(3 * day_s));

        // A clock that is set back makes nothing younger than the highest one says.
        let later_s = right_s + 31 * day_s;
        for now_s in [right_s + 30 * day_s, right_s, right_s - 400 * day_s, CLOCK_MIN_S, 0, i64::MIN] {
            checks.settle(Clock { now_s, latest_s: later_s });
            assert!(age(&checks, now_s, later_s) >= Some(31 * day_s), "{now_s}");
        }
        for end_s in [i64::MIN, i64::MAX] {
            checks.note(&all, &all, at(end_s));
            checks.settle(behind(right_s));
            checks.settle(at(right_s));
        }
        assert_eq!(age(&checks, right_s, right_s), Some(0));
    }
}
