//! What nobody needs any more: releases that no hold names and nobody has asked for lately.
//!
//! A hold is a name with the releases that somebody needs: a workspace that was laid out, a lockfile, or what an operator wants to
//! keep. It stays until whoever made it says that it has ended; this program never looks whether a name is that of a file.
//! Removing takes the whole lock, so that nothing goes that is being worked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, SystemTime};

use catalogue_schema::digest::Digest;
use catalogue_schema::model::Refusal;
use serde::{Deserialize, Serialize};

use crate::api::files::{Collected, HoldRow};
use crate::materialize::Cache;
use crate::materialize::about::About;
use crate::materialize::gate::{directories, note};
use crate::materialize::stage::{retire, sweep};
use crate::shelf::durable;

/// How long something must not have been asked for to go, in seconds, unless something else is said.
pub const UNUSED_S: u64 = 3600;
/// How many holds there may be.
pub const HOLDS_MAX: usize = 10_000;

/// The schema of a hold.
const SCHEMA: &str = "resolverd/hold@1";

/// What somebody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    schema: String,
    name: String,
    /// Each promise with the release that it is of.
    releases: BTreeMap<String, Digest>,
}

/// What may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// Only say it.
    pub dry_run: bool,
    /// The holds that have ended.
    pub ended: Vec<String>,
    /// How long something must not have been asked for, in seconds.
    pub unused_s: u64,
    /// The workspaces in the cache go too.
    pub views: bool,
}

impl Cache {
    /// Notes that `name` needs these releases, and no others.
    ///
    /// **Errors**: `limit.holds`, `cache.unusable`.
    pub fn hold(&self, name: &str, releases: &[(String, Digest)]) -> Result<(), Refusal> {
        self.furnish().map_err(|error| self.unusable(name, error))?;
        let file = Digest::sha256(name.as_bytes()).hex();
        let known = durable::entries(&self.holds()).map_err(|error| self.unusable(name, error))?;
        if known.len() >= HOLDS_MAX && !known.iter().any(|(known, _)| *known == file) {
            let found = format!("{} already; resolverd gc ends those whose workspaces are gone", known.len());
            return Err(Refusal::new("limit.holds", name, format!("at most {HOLDS_MAX} holds"), found));
        }
        let releases = releases.iter().cloned().collect();
        let hold = Hold { schema: SCHEMA.to_owned(), name: name.to_owned(), releases };
        let bytes = serde_json::to_vec(&hold).map_err(|error| self.unusable(name, error))?;
        durable::write(&self.holds(), &file, &[&bytes]).map(drop).map_err(|error| self.unusable(name, error))
    }

    /// Returns the holds that are here, by name.
    ///
    /// **Errors**: the system's. What cannot be read is left out, and is among [`Cache::strangers`].
    pub fn all_holds(&self) -> io::Result<Vec<HoldRow>> {
        let rows = self.holding()?.into_iter();
        Ok(rows
            .map(|hold| HoldRow { name: hold.name, releases: hold.releases.into_keys().collect() })
            .collect())
    }

    fn holding(&self) -> io::Result<Vec<Hold>> {
        if !self.check()? {
            return Ok(Vec::new());
        }
        let named = durable::entries(&self.holds())?;
        let mut holds: Vec<Hold> = named.iter().filter_map(|(name, _)| self.hold_at(name)).collect();
        holds.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(holds)
    }

    /// Returns the hold in the file `name`; `None` where that is none of ours.
    pub(super) fn hold_at(&self, name: &str) -> Option<Hold> {
        let hold: Hold = serde_json::from_slice(&note(&self.holds().join(name))?).ok()?;
        (hold.schema == SCHEMA && Digest::sha256(hold.name.as_bytes()).hex() == name).then_some(hold)
    }

    /// Removes what nobody needs. `now` is the time of the day.
    ///
    /// **Errors**: the system's; what was removed until then stays removed.
    pub fn collect(&self, collection: &Collection, now: SystemTime) -> io::Result<Collected> {
        let mut told = Collected { dry_run: collection.dry_run, ..Collected::default() };
        if !self.check()? {
            return Ok(told);
        }
        let lock = self.lock()?;
        lock.lock()?;
        let is_ended = |hold: &Hold| collection.ended.contains(&hold.name);
        let (ended, holds): (Vec<Hold>, Vec<Hold>) = self.holding()?.into_iter().partition(is_ended);
        let held: BTreeSet<&Digest> = holds.iter().flat_map(|hold| hold.releases.values()).collect();
        let before =
            now.checked_sub(Duration::from_secs(collection.unused_s)).unwrap_or(SystemTime::UNIX_EPOCH);
        let (mut going, mut staying) = (Vec::new(), BTreeSet::new());
        for about in self.all()? {
            let is_held = held.contains(&about.promise);
            if is_held || self.was_used_after(&about, before) {
                told.kept += 1;
                told.held += u64::from(is_held);
                staying.insert(about.content.hex());
            } else {
                going.push(about);
            }
        }
        let mut trees: BTreeMap<String, u64> = BTreeMap::new();
        for about in &going {
            told.removed.push(about.release.clone());
            if !staying.contains(&about.content.hex()) {
                trees.insert(about.content.hex(), about.files.iter().map(|file| file.size).sum());
            }
        }
        told.bytes = trees.values().sum();
        told.removed.sort();
        told.skipped = self.strangers()?;
        told.views = if collection.views { self.all_views()?.len() as u64 } else { 0 };
        if !collection.dry_run {
            self.remove(&ended, &going, collection)?;
            self.remove_stray(&staying)?;
        }
        Ok(told)
    }

    fn was_used_after(&self, about: &About, before: SystemTime) -> bool {
        let place = self.abouts().join(about.promise.hex());
        place.symlink_metadata().and_then(|found| found.modified()).is_ok_and(|used| used > before)
    }

    fn remove(&self, ended: &[Hold], going: &[About], collection: &Collection) -> io::Result<()> {
        let holds = ended.iter().map(|hold| self.holds().join(Digest::sha256(hold.name.as_bytes()).hex()));
        let abouts = going.iter().map(|about| self.abouts().join(about.promise.hex()));
        holds.chain(abouts).try_for_each(|place| durable::remove(&place))?;
        if collection.views {
            for (place, _) in self.all_views()? {
                retire(&place)?;
            }
        }
        Ok(())
    }

    /// Removes the directories that no description names: those of what has gone, and what a killed process had published and not
    /// described.
    fn remove_stray(&self, staying: &BTreeSet<String>) -> io::Result<()> {
        for place in [self.trees(), self.views()] {
            sweep(&place)?;
        }
        for (name, place) in directories(&self.trees())? {
            if !staying.contains(&name) {
                retire(&place)?;
            }
        }
        Ok(())
    }
}
