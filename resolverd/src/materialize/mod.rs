//! Materialize: the verified files of releases, as read-only directories below the cache.
//!
//! ```text
//! <cache_dir>/files/lock               shared by whoever works here, exclusive for who removes
//!                   about/<promise>    what is known of a release: its files, and how the file system knew them
//!                   archives/<promise> the archive of a release that is one, as it came
//!                   trees/<content>/   the files of a release; two releases with equal files share one
//!                   holds/<name>       who needs which releases
//!                   views/<content>/   workspaces for kernels, made of copies: kernels write beside components
//! ```
//! Every byte passes the one verify function, and what the shelf has is not fetched. A directory is written aside, synced, and
//! comes into sight by one rename; the description follows. Whoever asks for one release at the same time shares one piece of
//! work. Everything here may be deleted at any time: answers of the resolver do not hang on it. Never writes elsewhere, and never
//! follows a link out of it.

pub mod about;
pub mod archive;
pub mod collect;
pub mod compose;
mod gate;
pub mod names;
mod packed;
pub mod plan;
pub mod stage;
pub mod tree;
pub mod view;
mod work;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use catalogue_schema::digest::Digest;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::Want;
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW};
use tracing::warn;

use crate::api::files::{Changed, FileChange, FilesRow, Found, VerifyRow};
use crate::fetch::Fetch;
use crate::fetch::audience::{Audience, Gone, Tally};
use crate::fetch::limit::{ABANDONED, LOOK_EVERY, Limits, abandoned};
use crate::fetch::progress::{Progress, Step};
use crate::materialize::about::{About, SCHEMA, changes, stamps};
use crate::materialize::plan::Plan;
use crate::shelf::durable::{self, Failed, TEMPORARY_PREFIX};

/// How many pieces of work are done at the same time; the others wait.
pub const WORKERS: usize = 2;

/// The reason of a directory in the cache that is not as it was published.
pub const CHANGED: &str = "cache.changed";

/// The reason of a disk that is full.
pub const NO_SPACE: &str = "no_space";

/// Who may look into the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The user of this process.
    Owner,
    /// Whoever is in the group of this process, as with the socket.
    Group,
}

/// Whether bytes may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// They may.
    Allowed,
    /// They may, and what the cache has of releases is not used.
    Anew,
    /// What neither cache nor shelf has is refused.
    Forbidden,
}

/// What a piece of work needs.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where bytes come from.
    pub origins: &'a dyn Fetch,
    /// Reads a document from the shelf.
    pub shelf: &'a dyn Fn(&Digest) -> Option<Vec<u8>>,
    /// Says where a document with this digest was read.
    pub recorded: &'a dyn Fn(&Digest) -> Option<Want>,
    /// What a release may cost.
    pub limits: &'a Limits,
    /// Whether the origins are asked.
    pub fetching: Fetching,
    /// Tells that whoever asks has gone away; `None` where that never happens.
    pub gone: Option<&'a Gone>,
    /// Who hears how far it comes.
    pub progress: Option<&'a Arc<Progress>>,
    /// Who waits for a piece of work, once it has begun.
    pub audience: Option<&'a Arc<Audience>>,
    /// Who counts what comes for several releases of a piece of work at once.
    pub together: Option<&'a Arc<Tally>>,
}

impl Tools<'_> {
    /// Tells whether what the cache has of a release is not used.
    fn is_anew(&self, plan: &Plan) -> bool {
        self.fetching == Fetching::Anew && !plan.is_offline
    }

    fn is_gone(&self) -> bool {
        self.gone.is_some_and(|gone| gone.load(Ordering::Relaxed))
    }
}

/// The files of releases below a cache directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    access: Access,
    /// What is being worked at, by [`Plan::claim`].
    open: Mutex<HashMap<Digest, Arc<Slot>>>,
    /// Held by whoever notes who needs what.
    holding: Mutex<()>,
    desks: Desks,
}

/// What a promise came to.
type Outcome = Result<FilesRow, Refusal>;

/// A piece of work that others may wait for.
#[derive(Debug, Default)]
struct Slot {
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
    audience: Arc<Audience>,
}

impl Slot {
    fn finish(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.done.notify_all();
    }

    /// Waits for the outcome, for as long as whoever asks is there.
    fn wait(&self, plan: &Plan, tools: &Tools<'_>) -> Outcome {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*outcome {
                Some(done) => return done.clone(),
                None if tools.is_gone() => return Err(abandoned(&plan.release)),
                None => {
                    let waited = self.done.wait_timeout(outcome, LOOK_EVERY);
                    outcome = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// A bounded number of desks to work at.
#[derive(Debug)]
struct Desks {
    free: Mutex<usize>,
    left: Condvar,
}

impl Desks {
    /// Waits for a desk, for as long as whoever asks is there.
    fn take(&self, tools: &Tools<'_>) -> Option<Desk<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            if tools.is_gone() {
                return None;
            }
            free = self.left.wait_timeout(free, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Desk(self))
    }
}

struct Desk<'a>(&'a Desks);

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}

/// What one caller works at. Whatever ends it, those who wait are told.
struct Claims<'a> {
    cache: &'a Cache,
    audience: Arc<Audience>,
    held: Vec<(usize, Digest, Arc<Slot>)>,
}

impl Claims<'_> {
    fn finish(&mut self, outcomes: Vec<Outcome>) -> Vec<(usize, Outcome)> {
        let mut finished = Vec::new();
        let held = std::mem::take(&mut self.held);
        for ((index, promise, slot), outcome) in held.into_iter().zip(outcomes) {
            self.cache.settle(&promise, &slot, outcome.clone());
            finished.push((index, outcome));
        }
        finished
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for (_, promise, slot) in std::mem::take(&mut self.held) {
            let found = "a fault of this program ended it; the log has more";
            let lost = Refusal::new("cache.lost", &promise, "the files of a release", found);
            self.cache.settle(&promise, &slot, Err(lost));
        }
    }
}

/// A directory in the cache, after a look at it.
enum Look {
    /// As it was published.
    Good(Box<About>),
    /// Not known, or gone.
    Absent,
    /// It was changed since.
    Changed(Refusal),
}

impl Cache {
    /// Names the place below `cache_dir`; nothing is made before something is put there.
    pub fn below(cache_dir: &Path, access: Access) -> Cache {
        Cache {
            root: cache_dir.join("files"),
            access,
            open: Mutex::default(),
            holding: Mutex::default(),
            desks: Desks { free: Mutex::new(WORKERS), left: Condvar::new() },
        }
    }

    /// Removes what killed processes left, where nobody else works here.
    ///
    /// **Errors**: the system's.
    pub fn sweep(&self) -> io::Result<()> {
        if !self.check()? {
            return Ok(());
        }
        let lock = self.lock()?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        for place in [self.trees(), self.views()] {
            stage::sweep(&place)?;
        }
        for place in [self.abouts(), self.holds(), self.archives()] {
            durable::remove_temporaries(&place)?;
        }
        Ok(())
    }

    /// Puts the files of releases on disk, where they are not there already, and answers each plan in order.
    ///
    /// What is there is answered without waiting for anybody. What has changed on disk is never answered as good: it is fetched
    /// again, or refused where nothing may be fetched.
    pub fn provide(&self, plans: &[Plan], tools: &Tools<'_>) -> Vec<Outcome> {
        if let Err(error) = self.check() {
            return plans.iter().map(|plan| Err(self.unusable(&plan.release, error_of(&error)))).collect();
        }
        let mut answers: Vec<Option<Outcome>> = plans.iter().map(|plan| self.ready(plan, tools)).collect();
        if let Some(progress) = tools.progress {
            for (plan, answer) in plans.iter().zip(&answers) {
                let claim = plan.claim();
                progress.expect(&claim, &plan.release);
                progress.hear(&claim, standing(answer.as_ref()));
            }
        }
        let mut missing: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.is_none())
            .map(|(index, _)| index)
            .collect();
        while !missing.is_empty() {
            let (mut claims, others) = self.claim(plans, &missing, tools);
            if !claims.held.is_empty() {
                let outcomes = self.worked(plans, &claims, tools);
                for (index, outcome) in claims.finish(outcomes) {
                    answers[index] = Some(outcome);
                }
            }
            for (index, slot) in others {
                answers[index] = Some(slot.wait(&plans[index], tools));
            }
            // What was given up at the moment at which this caller came is begun anew, and so is what somebody else found in the cache
            // where this caller wants it fetched.
            missing.retain(|index| match &answers[*index] {
                Some(Err(refusal)) => refusal.reason == ABANDONED,
                Some(Ok(row)) => row.from == Found::Cache && tools.is_anew(&plans[*index]),
                None => false,
            });
            if tools.is_gone() {
                break;
            }
        }
        let unanswered = |plan: &Plan| Refusal::new("cache.lost", &plan.release, "an answer", "none");
        plans
            .iter()
            .zip(answers)
            .map(|(plan, answer)| answer.unwrap_or_else(|| Err(unanswered(plan))))
            .collect()
    }

    /// Takes every piece of work that nobody has begun, and finds who does the others.
    fn claim(
        &self,
        plans: &[Plan],
        missing: &[usize],
        tools: &Tools<'_>,
    ) -> (Claims<'_>, Vec<(usize, Arc<Slot>)>) {
        let (mut held, mut others) = (Vec::new(), Vec::new());
        let audience = Arc::<Audience>::default();
        audience.join(tools.gone.cloned(), tools.progress);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for index in missing {
            let claim = plans[*index].claim();
            match open.get(&claim) {
                Some(slot) => {
                    slot.audience.join(tools.gone.cloned(), tools.progress);
                    others.push((*index, Arc::clone(slot)));
                }
                None => {
                    let slot = Arc::new(Slot { audience: Arc::clone(&audience), ..Slot::default() });
                    open.insert(claim.clone(), Arc::clone(&slot));
                    held.push((*index, claim, slot));
                }
            }
        }
        (Claims { cache: self, audience, held }, others)
    }

    fn settle(&self, promise: &Digest, slot: &Slot, outcome: Outcome) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(promise);
        slot.finish(outcome);
    }

    /// Works at what was claimed, with a desk of its own and a share of the lock.
    fn worked(&self, plans: &[Plan], claims: &Claims<'_>, tools: &Tools<'_>) -> Vec<Outcome> {
        let claimed: Vec<&Plan> = claims.held.iter().map(|(index, ..)| &plans[*index]).collect();
        let Some(_desk) = self.desks.take(tools) else {
            return claimed.iter().map(|plan| Err(abandoned(&plan.release))).collect();
        };
        let lock = self.furnish().and_then(|()| {
            let lock = self.lock()?;
            lock.lock_shared()?;
            Ok(lock)
        });
        if let Err(error) = lock {
            let refused = |plan: &&Plan| Err(self.unusable(&plan.release, error_of(&error)));
            return claimed.iter().map(refused).collect();
        }
        // Whoever looked before the last work at a release ended may have claimed it behind that: it is not done twice.
        let there: Vec<Option<Outcome>> =
            claimed.iter().map(|plan| self.there_by_now(plan, &claims.audience, tools)).collect();
        let missing: Vec<&Plan> =
            claimed.iter().zip(&there).filter(|(_, there)| there.is_none()).map(|(plan, _)| *plan).collect();
        let first = missing.first().filter(|_| missing.len() > 1);
        let together =
            first.map(|plan| Arc::new(Tally::together(&claims.audience, &plan.claim(), missing.len())));
        let tools = Tools { audience: Some(&claims.audience), together: together.as_ref(), ..*tools };
        let mut done = work::all(self, &missing, &tools).into_iter();
        there.into_iter().filter_map(|there| there.or_else(|| done.next())).collect()
    }

    /// Answers a plan whose files came into sight meanwhile, and tells those who wait for them.
    fn there_by_now(&self, plan: &Plan, audience: &Arc<Audience>, tools: &Tools<'_>) -> Option<Outcome> {
        if tools.is_anew(plan) {
            return None;
        }
        let Look::Good(about) = self.look(plan, tools.limits) else { return None };
        audience.hear(&plan.claim(), Step::Ready);
        Some(Ok(self.found(&about, plan)))
    }

    /// Answers a plan whose files are there as they were published; `None` where they have to be put there.
    fn ready(&self, plan: &Plan, tools: &Tools<'_>) -> Option<Outcome> {
        if tools.is_anew(plan) {
            return None;
        }
        match self.look(plan, tools.limits) {
            Look::Good(about) => Some(Ok(self.found(&about, plan))),
            Look::Absent => None,
            Look::Changed(refusal) => {
                warn!(release = plan.release, %refusal, "files in the cache were changed");
                let is_fetched = tools.fetching != Fetching::Forbidden && !plan.is_offline;
                (!is_fetched).then_some(Err(refusal))
            }
        }
    }

    /// Answers with what is in the cache, and notes that it was asked for.
    fn found(&self, about: &About, plan: &Plan) -> FilesRow {
        let directory = self.tree(&about.content);
        self.touch(&plan.promise);
        self.with_archive(about.row(&directory, Found::Cache), plan)
    }

    fn look(&self, plan: &Plan, limits: &Limits) -> Look {
        let Some(mut about) = self.about(&plan.promise) else { return Look::Absent };
        let directory = self.tree(&about.content);
        if let Err(found) = about.keeps(plan) {
            let expected = "a description of the files that are promised";
            return Look::Changed(Refusal::new(CHANGED, &plan.release, expected, found));
        }
        if about.is_untouched(&directory) {
            return Look::Good(about.into());
        }
        // Copied, or touched: then its content tells.
        match changes(&directory, &about.files) {
            changes if changes.is_empty() => {
                let is_proven = about.is_proven(&directory, plan);
                if let Err(found) = is_proven.and_then(|()| self.is_of_archive(plan, &about.files, limits)) {
                    let expected = "files of the directory that is promised";
                    return Look::Changed(Refusal::new(CHANGED, &plan.release, expected, found));
                }
                if let Ok(stamps) = stamps(&directory, &about.files) {
                    about.stamps = stamps;
                    // It is looked at again the next time where this fails.
                    let _ = self.describe(&about);
                }
                Look::Good(about.into())
            }
            changes if changes.iter().all(|change| change.path.is_empty() && is_missing(change)) => {
                Look::Absent
            }
            changes => {
                let named: Vec<String> = changes
                    .iter()
                    .take(CHANGES_NAMED)
                    .map(|one| format!("{} ({:?})", one.path, one.what))
                    .collect();
                let expected = "the files as they were published";
                let found = format!("{} changed on disk: {}", changes.len(), named.join(", "));
                Look::Changed(Refusal::new(CHANGED, &about.release, expected, found))
            }
        }
    }

    /// Compares what is in the cache with what was published: the releases named, all of them where none is.
    ///
    /// **Errors**: the cache cannot be read.
    pub fn verify(&self, releases: &[String]) -> io::Result<Vec<VerifyRow>> {
        if !self.check()? {
            return Ok(Vec::new());
        }
        let lock = self.lock()?;
        lock.lock_shared()?;
        let mut rows = Vec::new();
        for about in self.all()? {
            if !releases.is_empty() && !releases.contains(&about.release) {
                continue;
            }
            let directory = self.tree(&about.content);
            let mut changes = changes(&directory, &about.files);
            if !about.is_sound() {
                // The list of its files is another than the one that names the directory.
                changes.insert(0, FileChange { path: String::new(), what: Changed::Changed });
            }
            rows.push(VerifyRow {
                release: about.release.clone(),
                directory: directory.display().to_string(),
                integrity: about.content.clone(),
                changes,
            });
        }
        rows.sort_by(|one, other| (&one.release, &one.directory).cmp(&(&other.release, &other.directory)));
        Ok(rows)
    }

    /// Returns the descriptions that are here.
    fn all(&self) -> io::Result<Vec<About>> {
        let named = durable::entries(&self.abouts())?;
        let names = named.into_iter().filter_map(|(name, _)| Digest::parse(&format!("sha256:{name}")).ok());
        Ok(names.filter_map(|promise| self.about(&promise)).collect())
    }

    fn about(&self, promise: &Digest) -> Option<About> {
        let bytes = gate::note(&self.abouts().join(promise.hex()))?;
        let about: About = serde_json::from_slice(&bytes).ok()?;
        (about.schema == SCHEMA && about.promise == *promise).then_some(about)
    }

    fn describe(&self, about: &About) -> Result<(), Failed> {
        let bytes = serde_json::to_vec(about).unwrap_or_default();
        durable::write(&self.abouts(), &about.promise.hex(), &[&bytes]).map(drop)
    }

    /// Notes that a release was asked for, which `collect` goes by.
    fn touch(&self, promise: &Digest) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        // At worst it is fetched again one day.
        let _ =
            rustix::fs::utimensat(CWD, self.abouts().join(promise.hex()), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Makes the directories that are missing.
    fn furnish(&self) -> io::Result<()> {
        self.check()?;
        let rooms = [self.trees(), self.abouts(), self.holds(), self.views(), self.archives()];
        let places = [self.root.clone()].into_iter().chain(rooms);
        for place in places {
            durable::make_directory(&place)?;
        }
        // What was made is for its owner alone so far.
        self.check().map(drop)
    }

    fn lock(&self) -> io::Result<File> {
        let place = self.root.join("lock");
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        let lock = options.open(&place)?;
        match durable::foreign(&lock.metadata()?, durable::Kind::File) {
            Some(found) => Err(io::Error::other(format!("{}: {found}; remove it by hand", place.display()))),
            None => Ok(lock),
        }
    }

    fn unusable(&self, subject: &str, error: impl Into<io::Error>) -> Refusal {
        let error = error.into();
        if is_full(&error) {
            let found = format!(
                "{error}; make room at {}, resolverd gc removes what nobody needs",
                self.root.display()
            );
            return Refusal::new(NO_SPACE, subject, "room for files", found);
        }
        let found = format!("{error}; look at the rights and the room of {}", self.root.display());
        Refusal::new("cache.unusable", subject, "a cache directory to write in", found)
    }

    fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    fn tree(&self, content: &Digest) -> PathBuf {
        self.trees().join(content.hex())
    }

    fn abouts(&self) -> PathBuf {
        self.root.join("about")
    }

    fn holds(&self) -> PathBuf {
        self.root.join("holds")
    }

    fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    fn views(&self) -> PathBuf {
        self.root.join("views")
    }
}

/// Tells where a release stands of which a look has said this.
fn standing(looked: Option<&Outcome>) -> Step {
    match looked {
        Some(Ok(_)) => Step::Cached,
        Some(Err(_)) => Step::Failed,
        None => Step::Waiting,
    }
}

/// How many changed files a message names.
const CHANGES_NAMED: usize = 5;

fn is_missing(change: &FileChange) -> bool {
    change.what == Changed::Missing
}

/// Tells whether there is no room left, for everybody or for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns the same error once more: each of several refusals says it.
fn error_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Tells whether a name is that of something half-made.
fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

#[cfg(test)]
mod tests;
