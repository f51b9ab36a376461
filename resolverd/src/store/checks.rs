//! When each source was last checked at its origin: a small file beside the store, written whole and atomically.
//!
//! It belongs to no generation, since an unchanged source changes nothing. Losing it loses ages, never an answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalogue_schema::id::SourceId;
use tracing::warn;

use crate::shelf::durable::{Failed, read, write};

/// The file's name in the state directory.
const FILE: &str = "checks.json";

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
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| lost(&error)),
            Err(error) => lost(&error),
        };
        Checks { path, times }
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

    fn save(&self) -> Result<(), Failed> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let text = serde_json::to_string(&self.times).unwrap_or_default();
        write(directory, FILE, &[text.as_bytes()]).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_and_damage_costs_only_ages() {
        let directory = tempfile::tempdir().expect("a directory");
        let id = |text: &str| SourceId::parse(text).expect("an id");
        let mut checks = Checks::load(directory.path());
        checks.note(&[id("a"), id("b")], &[id("a"), id("b")], 7);
        checks.note(&[id("a")], &[id("a")], 9);
        assert_eq!(Checks::load(directory.path()).ages(12), BTreeMap::from([(id("a"), 3)]));
        assert_eq!(Checks::load(directory.path()).ages(1), BTreeMap::from([(id("a"), 0)]));

        std::fs::write(directory.path().join("checks.json"), b"{\"a\":").expect("written");
        assert!(Checks::load(directory.path()).ages(9).is_empty());
    }
}
