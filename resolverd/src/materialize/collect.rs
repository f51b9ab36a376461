//! What nobody needs any more: releases that no hold names and nobody has asked for lately.
//!
//! A hold is a name with the releases that somebody needs: a workspace that was laid out, a lockfile, or what an operator wants to
//! keep. It is that of the user who asked for it: two users may have one of the same name, nobody replaces or ends that of another,
//! and root alone may end all of them. It stays until whoever made it says that it has ended; this program never looks whether a
//! name is that of a file. Removing takes the whole lock, so that nothing goes that is being worked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use catalogue_schema::digest::Digest;
use catalogue_schema::model::Refusal;
use serde::{Deserialize, Serialize};

use crate::api::files::{Collected, HoldRow};
use crate::fetch::limit::Limits;
use crate::materialize::Cache;
use crate::materialize::about::About;
use crate::materialize::gate::{directories, note};
use crate::materialize::stage::{retire, sweep};
use crate::materialize::tree::at_most;
use crate::shelf::durable;

/// How long something must not have been asked for to go, in seconds, unless something else is said.
pub const UNUSED_S: u64 = 3600;

/// The schema of a hold.
const SCHEMA: &str = "resolverd/hold@2";
/// The schema of a hold of which nobody noted who made it: it is that of the user of this process.
const ANYBODY_S: &str = "resolverd/hold@1";
/// The user who may end the holds of all others.
const ROOT: u32 = 0;

/// What somebody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    schema: String,
    /// Who made it.
    #[serde(default)]
    uid: Option<u32>,
    name: String,
    /// Each promise with the release that it is of.
    releases: BTreeMap<String, Digest>,
}

impl Hold {
    fn owner(&self) -> u32 {
        self.uid.unwrap_or_else(own_uid)
    }

    /// Tells whether `uid` may end it.
    fn is_for(&self, uid: u32) -> bool {
        uid == ROOT || uid == self.owner()
    }

    fn row(self) -> HoldRow {
        HoldRow { uid: self.owner(), name: self.name, releases: self.releases.into_keys().collect() }
    }

    /// Returns the name of its file.
    fn file(&self) -> String {
        match self.uid {
            Some(uid) => file_of(uid, &self.name),
            None => Digest::sha256(self.name.as_bytes()).hex(),
        }
    }
}

fn within(name: &str, known: u64, limit: u64, (reason, what): (&'static str, &str)) -> Result<(), Refusal> {
    if known < limit {
        return Ok(());
    }
    let found =
        format!("{known} already; resolverd release NAME ends one, gc those whose directories are gone");
    let key = reason.trim_start_matches("limit.");
    Err(Refusal::new(reason, name, at_most(limit, what, key), found))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn file_of(uid: u32, name: &str) -> String {
    Digest::sha256(format!("{uid}\n{name}").as_bytes()).hex()
}

/// How many holds there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Of all users together.
    pub all: u64,
    /// Of one user.
    pub per_uid: u64,
}

impl From<&Limits> for HoldLimits {
    fn from(limits: &Limits) -> HoldLimits {
        HoldLimits { all: limits.holds, per_uid: limits.holds_per_uid }
    }
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Only say it.
    pub dry_run: bool,
    /// Who asks.
    pub uid: u32,
    /// The holds that have ended; only those that the one who asks may end do.
    pub ended: Vec<String>,
    /// How long something must not have been asked for, in seconds.
    pub unused_s: u64,
    /// The workspaces in the cache go too.
    pub views: bool,
    /// Only as much goes as brings what is here to so many bytes, what was asked for longest ago first.
    pub max_bytes: Option<u64>,
}

impl Cache {
    /// Notes that the user `uid` needs these releases under `name`, and no others.
    ///
    /// **Errors**: `limit.holds`, `limit.holds_per_uid`, `cache.unusable`.
    pub fn hold(
        &self,
        uid: u32,
        name: &str,
        releases: &[(String, Digest)],
        limits: HoldLimits,
    ) -> Result<(), Refusal> {
        self.furnish().map_err(|error| self.unusable(name, error))?;
        // One at a time, so that two that come together do not both find the last free place.
        let _turn = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = Hold {
            schema: SCHEMA.to_owned(),
            uid: Some(uid),
            name: name.to_owned(),
            releases: releases.iter().cloned().collect(),
        };
        let file = hold.file();
        let known = durable::entries(&self.holds()).map_err(|error| self.unusable(name, error))?;
        let is_new = !known.iter().any(|(known, _)| *known == file);
        if is_new {
            let all = self.holding_all().map_err(|error| self.unusable(name, error))?;
            let own = all.iter().filter(|hold| hold.owner() == uid).count();
            within(name, own as u64, limits.per_uid, ("limit.holds_per_uid", "holds of one user"))?;
            within(name, known.len() as u64, limits.all, ("limit.holds", "holds"))?;
        }
        let bytes = serde_json::to_vec(&hold).map_err(|error| self.unusable(name, error))?;
        durable::write(&self.holds(), &file, &[&bytes])
            .map(drop)
            .map_err(|error| self.unusable(name, error))?;
        let unowned = Hold { uid: None, ..hold }.file();
        match uid == own_uid() && known.iter().any(|(known, _)| *known == unowned) {
            true => durable::remove(&self.holds().join(unowned)).map_err(|error| self.unusable(name, error)),
            false => Ok(()),
        }
    }

    /// Ends the holds of these names that the user `uid` has made; root ends those of everybody. Returns those that have ended.
    ///
    /// **Errors**: the system's; what has ended until then stays so.
    pub fn release(&self, uid: u32, names: &[String]) -> io::Result<Vec<HoldRow>> {
        let ending =
            self.holding_all()?.into_iter().filter(|hold| names.contains(&hold.name) && hold.is_for(uid));
        ending
            .map(|hold| {
                durable::remove(&self.holds().join(hold.file()))?;
                Ok(hold.row())
            })
            .collect()
    }

    /// Returns the holds that are here, by name.
    ///
    /// **Errors**: the system's. What cannot be read is left out, and is among [`Cache::strangers`].
    pub fn all_holds(&self) -> io::Result<Vec<HoldRow>> {
        Ok(self.holding_all()?.into_iter().map(Hold::row).collect())
    }

    fn holding_all(&self) -> io::Result<Vec<Hold>> {
        if !self.check()? {
            return Ok(Vec::new());
        }
        let named = durable::entries(&self.holds())?;
        let mut holds: Vec<Hold> = named.iter().filter_map(|(name, _)| self.hold_at(name)).collect();
        holds.sort_by(|one, other| (&one.name, one.uid).cmp(&(&other.name, other.uid)));
        Ok(holds)
    }

    /// Returns the hold in the file `name`; `None` where that is none of ours.
    pub(super) fn hold_at(&self, name: &str) -> Option<Hold> {
        let hold: Hold = serde_json::from_slice(&note(&self.holds().join(name))?).ok()?;
        let is_ours = match hold.uid {
            Some(_) => hold.schema == SCHEMA,
            None => hold.schema == ANYBODY_S,
        };
        (is_ours && hold.file() == name).then_some(hold)
    }

    /// Removes what nobody needs. `now` is the time of the day.
    ///
    /// **Errors**: the system's; what was removed until then stays removed.
    pub fn collect(&self, collection: &Collection, now: SystemTime) -> io::Result<Collected> {
        let told = Collected { dry_run: collection.dry_run, ..Collected::default() };
        if !self.check()? {
            return Ok(told);
        }
        let lock = self.lock()?;
        lock.lock()?;
        self.collected(collection, now, told).map(|(told, _)| told)
    }

    /// Removes what nobody needs until what is here has at most `max_bytes`, and tells how many bytes are left; `None` where others work
    /// here, so that it would have to be waited for. Reads every description.
    ///
    /// **Errors**: as [`Cache::collect`].
    pub fn trim(&self, max_bytes: u64, now: SystemTime) -> io::Result<Option<(Collected, u64)>> {
        if !self.check()? {
            return Ok(None);
        }
        let lock = self.lock()?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        let collection = Collection {
            dry_run: false,
            uid: own_uid(),
            ended: Vec::new(),
            unused_s: UNUSED_S,
            views: false,
            max_bytes: Some(max_bytes),
        };
        self.collected(&collection, now, Collected::default()).map(Some)
    }

    fn collected(
        &self,
        collection: &Collection,
        now: SystemTime,
        mut told: Collected,
    ) -> io::Result<(Collected, u64)> {
        let is_ended = |hold: &Hold| collection.ended.contains(&hold.name) && hold.is_for(collection.uid);
        let (ended, holds): (Vec<Hold>, Vec<Hold>) = self.holding_all()?.into_iter().partition(is_ended);
        let held: BTreeSet<&Digest> = holds.iter().flat_map(|hold| hold.releases.values()).collect();
        let before =
            now.checked_sub(Duration::from_secs(collection.unused_s)).unwrap_or(SystemTime::UNIX_EPOCH);
        let (mut going, mut kept) = (Vec::new(), Vec::new());
        for about in self.all()? {
            let is_held = held.contains(&about.promise);
            told.held += u64::from(is_held);
            match is_held || self.was_used_after(&about, before) {
                true => kept.push(about),
                false => going.push(about),
            }
        }
        let mut left = 0;
        if let Some(max_bytes) = collection.max_bytes {
            let (spared, bytes) = self.spared(&mut going, &kept, max_bytes);
            kept.extend(spared);
            left = bytes;
        }
        told.kept = kept.len() as u64;
        let staying: BTreeSet<String> = kept.iter().map(|about| about.content.hex()).collect();
        let mut trees: BTreeMap<String, u64> = BTreeMap::new();
        for about in &going {
            told.removed.push(about.release.clone());
            if !staying.contains(&about.content.hex()) {
                trees.insert(about.content.hex(), about.files.iter().map(|file| file.size).sum());
            }
        }
        let archives = going.iter().map(|about| self.archive_bytes(about)).sum::<u64>();
        told.bytes = trees.values().sum::<u64>() + archives;
        told.removed.sort();
        told.skipped = self.strangers()?;
        told.views = if collection.views { self.all_views()?.len() as u64 } else { 0 };
        if !collection.dry_run {
            self.remove(&ended, &going, collection)?;
            self.remove_stray(&staying)?;
        }
        Ok((told, left))
    }

    fn archive_bytes(&self, about: &About) -> u64 {
        let place = self.archives().join(about.promise.hex());
        place.symlink_metadata().map_or(0, |found| found.len())
    }

    /// Takes what need not go out of `going`, so that it and what is kept have at most `max_bytes` together: what was asked for last
    /// stays. Files that several releases share count once, and go with the last of them. Returns how many bytes stay as well.
    fn spared(&self, going: &mut Vec<About>, kept: &[About], max_bytes: u64) -> (Vec<About>, u64) {
        let mut sharing: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut bytes = 0;
        for about in kept.iter().chain(going.iter()) {
            bytes += self.archive_bytes(about);
            let size = about.files.iter().map(|file| file.size).sum();
            sharing.entry(about.content.hex()).or_insert((0, size)).0 += 1;
        }
        bytes += sharing.values().map(|(_, size)| size).sum::<u64>();
        let used = |about: &About| {
            let place = self.abouts().join(about.promise.hex());
            place.symlink_metadata().and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        going.sort_by_cached_key(|about| (used(about), about.release.clone()));
        let mut many = 0;
        for about in going.iter() {
            if bytes <= max_bytes {
                break;
            }
            many += 1;
            bytes = bytes.saturating_sub(self.archive_bytes(about));
            if let Some((sharers, size)) = sharing.get_mut(&about.content.hex()) {
                *sharers -= 1;
                bytes = bytes.saturating_sub(if *sharers == 0 { *size } else { 0 });
            }
        }
        (going.split_off(many), bytes)
    }

    fn was_used_after(&self, about: &About, before: SystemTime) -> bool {
        let place = self.abouts().join(about.promise.hex());
        place.symlink_metadata().and_then(|found| found.modified()).is_ok_and(|used| used > before)
    }

    fn remove(&self, ended: &[Hold], going: &[About], collection: &Collection) -> io::Result<()> {
        let holds = ended.iter().map(|hold| self.holds().join(hold.file()));
        let promises = || going.iter().map(|about| about.promise.hex());
        let abouts = promises().map(|name| self.abouts().join(name));
        let archives = promises().map(|name| self.archives().join(name));
        holds.chain(abouts).chain(archives).try_for_each(|place| durable::remove(&place))?;
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
        for (name, place) in durable::entries(&self.archives())? {
            let promise = Digest::parse(&format!("sha256:{name}"));
            if promise.is_ok_and(|promise| self.about(&promise).is_none()) {
                durable::remove(&place)?;
            }
        }
        Ok(())
    }
}
