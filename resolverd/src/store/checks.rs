//! When each source was last checked at its origin: a small file beside the store, written whole and atomically.
//!
//! It belongs to no generation, since an unchanged source changes nothing. Where it is lost, ages count from the last generation.
//!
//! **Shape** of `checks.json`, format `resolverd/checks@1` (see `sealed.rs`): the content is `{"<source>": <seconds>, …}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalogue_schema::generation::{Generation, Health, SourceState};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Source;
use tracing::warn;

use crate::shelf::durable::{read, write};
use crate::store::{StoreError, sealed};

/// The file's name in the state directory.
const FILE: &str = "checks.json";
const SCHEMA: &str = "resolverd/checks@1";

/// The times of the last successful checks, in seconds since 1970-01-01 UTC. Pinned and offline sources are never checked.
#[derive(Debug)]
pub struct Checks {
    path: PathBuf,
    times: BTreeMap<SourceId, i64>,
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
        bytes.map_or(Ok(()), |bytes| sealed::unseal::<BTreeMap<SourceId, i64>>(SCHEMA, &bytes).map(drop))
    }

    /// Returns how many seconds before `now_s` each source was checked; a check that seems to lie ahead counts as now.
    pub fn ages(&self, now_s: i64) -> BTreeMap<SourceId, u64> {
        let age = |time: &i64| u64::try_from(now_s.saturating_sub(*time)).unwrap_or_default();
        self.times.iter().map(|(source, time)| (source.clone(), age(time))).collect()
    }

    /// Notes that `sources` were checked at `now_s` and forgets what is not in `configured`. A failure to write is logged only.
    pub fn note(&mut self, sources: &[SourceId], configured: &[SourceId], now_s: i64) {
        self.times.retain(|known, _| configured.contains(known));
        self.times.extend(sources.iter().map(|source| (source.clone(), now_s)));
        if sources.is_empty() {
            return;
        }
        if let Err(error) = self.save() {
            warn!(path = %self.path.display(), %error, "the times of the last checks are not written");
        }
    }

    /// Returns the times themselves.
    pub fn times(&self) -> &BTreeMap<SourceId, i64> {
        &self.times
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
        self.times.extend(unknown.into_iter().map(|source| (source, generation.committed_s)));
        if let Err(error) = self.save() {
            warn!(path = %self.path.display(), %error, "the times of the last checks are not written");
        }
    }

    /// Returns when the source of `state` becomes unavailable unless it is checked before, in seconds since 1970-01-01 UTC;
    /// `None` for one that never does, and for one that is unavailable already.
    pub fn expires(&self, state: &SourceState, max_stale_default_s: u64) -> Option<i64> {
        let checked_s = self.times.get(&state.source.id)?;
        let is_running = has_age(state) && state.health != Health::Expired;
        is_running.then(|| expiry(*checked_s, max_stale_s(&state.source, max_stale_default_s)))
    }

    /// Returns the earliest of [`Checks::expires`]: when a new generation is due although nobody publishes anything.
    pub fn next_change(&self, sources: &[SourceState], max_stale_default_s: u64) -> Option<i64> {
        sources.iter().filter_map(|state| self.expires(state, max_stale_default_s)).min()
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

    fn id(text: &str) -> SourceId {
        SourceId::parse(text).expect("an id")
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
        checks.note(&[id("a"), id("b")], &[id("a"), id("b")], 7);
        checks.note(&[id("a")], &[id("a")], 9);
        assert_eq!(Checks::load(directory.path()).ages(12), BTreeMap::from([(id("a"), 3)]));
        assert_eq!(Checks::load(directory.path()).ages(1), BTreeMap::from([(id("a"), 0)]));

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
            assert!(Checks::load(directory.path()).ages(9).is_empty(), "{bad}");
        }
    }

    #[test]
    fn the_next_change_is_that_of_the_source_that_expires_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut checks = Checks::load(directory.path());
        let all = ["a", "soon", "off", "pin"].map(id);
        checks.note(&all, &all, 100);
        let check = |health: Health, max_stale_s: u64, expected: Option<i64>| {
            assert_eq!(checks.next_change(&states(health), max_stale_s), expected, "{health:?}");
        };
        check(Health::Fresh, 1_000, Some(110));
        check(Health::Stale, 5, Some(105));
        check(Health::Unread, 1_000, None);
        check(Health::Expired, 1_000, None);
        assert_eq!(checks.next_change(&states(Health::Fresh)[..1], u64::MAX), Some(i64::MAX));
        assert_eq!(checks.next_change(&states(Health::Fresh)[2..], 1), None, "neither offline nor pinned");
    }
}
