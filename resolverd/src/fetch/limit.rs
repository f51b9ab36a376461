//! What one run may cost: bytes, documents, depth, seconds. One struct, with defaults, config keys and a test each.
//!
//! Never waits and never reads the date: the deadline is measured on the monotonic clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use catalogue_schema::model::Refusal;
use serde::{Deserialize, Serialize};

use crate::fetch::FetchError;
use crate::fetch::audience::{Audience, Tally};
use crate::fetch::object::{ObjectId, Tree};
use crate::fetch::reach::Reach;
use crate::fetch::trees::Trees;

/// The limits of one sync, mostly of one source in it, and of one resolve. Config table `[limits]`; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest list or catalogue, in bytes. Default 64 MiB.
    pub catalogue_bytes: u64,
    /// The largest document of one release (manifest, descriptor, compose file), in bytes. Default 1 MiB.
    pub release_document_bytes: u64,
    /// The largest Git commit, tree or list of refs on the way to a document, in bytes; 200,000 names of 100 bytes in one directory
    /// take 26 MB. Default 32 MiB.
    pub git_object_bytes: u64,
    /// How many documents one source may need; eight lines of a listing count as one. Default 1,000,000.
    pub documents: u64,
    /// How many releases all sources together may list; a source that would pass it keeps its last good entries. Default
    /// 1,000,000.
    pub releases: u64,
    /// How many bytes one source may bring; signatures that are written in hexadecimal digits count as the bytes that they are. Default
    /// 2 GiB.
    pub total_bytes: u64,
    /// How many lists may lead to a catalogue. Default 8.
    pub depth: u32,
    /// How many lists and catalogues one source may reach. Default 256.
    pub catalogues: u32,
    /// How many documents of releases one catalogue may have fetched one by one over https; the releases behind them stay
    /// listed, and their documents are fetched when somebody asks for them by a refresh. Documents in Git come together and
    /// do not count. Default 5,000.
    pub eager_max: u64,
    /// The largest file of a release that is put on disk, in bytes. Default 16 MiB.
    pub file_bytes: u64,
    /// How many files of one release are put on disk. Default 5,000.
    pub release_files: u64,
    /// How many bytes all files of one release may have that are put on disk. Default 128 MiB.
    pub release_bytes: u64,
    /// How many levels of directories a release may have that is put on disk, up to 32. Default 16.
    pub release_depth: u64,
    /// How many bytes the files of all releases on disk may have together with their archives, as far as nobody needs them: the
    /// daemon removes what was asked for longest ago. Default 0: as many as there is room for.
    pub files_bytes: u64,
    /// The largest archive of a release, in bytes. Default 50 MiB.
    pub archive_bytes: u64,
    /// How many times larger than itself the content of an archive may be, where it is more than 1 MiB. Default 100.
    pub archive_ratio: u64,
    /// How many holds of releases on disk there may be, of all users together. Default 10,000.
    pub holds: u64,
    /// How many holds of releases on disk one user may have. Default 2,000.
    pub holds_per_uid: u64,
    /// How long a connection to the daemon may ask nothing before it is closed, in seconds; at least 1. Default 60. A daemon takes a
    /// new value when it starts.
    pub idle_connection_s: u64,
    /// How long one source may take, in seconds. Default 600.
    pub total_s: u64,
    /// How many commits of a repository's history are looked at to tell which of two revisions is newer. Default 1,000.
    pub history_commits: u32,
    /// How many bytes the cache of remote Git objects may keep on disk, all remotes together. Default 1 GiB.
    pub cache_bytes: u64,
    /// How long a connection to another machine may take, with its encryption, in seconds. Default 10.
    pub connect_s: u64,
    /// How long another machine may be silent, and over which time its rate is measured, in seconds. Default 30.
    pub stall_s: u64,
    /// The fewest bytes a second that another machine may send, on the average over `stall_s`. Default 1024; 0 for none.
    pub rate_bytes_s: u64,
    /// How many redirects are followed. Default 5.
    pub redirects: u32,
    /// How often a request is sent that fails for a reason that may pass. Default 4.
    pub tries: u32,
    /// How long the search for a solution may take, in milliseconds. Default 2,000.
    pub solve_ms: u64,
    /// How many steps the search for a solution may take. Default 1,000,000.
    pub solve_steps: u64,
    /// The largest `compose.yaml` whose calls are read, in bytes, up to 1 MiB. Default 1 MiB.
    pub compose_bytes: u64,
    /// How often one question is answered anew because of calls. Default 64.
    pub call_rounds: u64,
    /// How many undeclared calls one question may lead to. Default 10,000.
    pub calls: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            catalogue_bytes: 64 << 20,
            release_document_bytes: 1 << 20,
            git_object_bytes: 32 << 20,
            documents: 1_000_000,
            releases: 1_000_000,
            total_bytes: 2 << 30,
            depth: 8,
            catalogues: 256,
            eager_max: 5_000,
            file_bytes: 16 << 20,
            release_files: 5_000,
            release_bytes: 128 << 20,
            release_depth: 16,
            files_bytes: 0,
            archive_bytes: 50 << 20,
            archive_ratio: 100,
            holds: 10_000,
            holds_per_uid: 2_000,
            idle_connection_s: 60,
            total_s: 600,
            history_commits: 1_000,
            cache_bytes: 1 << 30,
            connect_s: 10,
            stall_s: 30,
            rate_bytes_s: 1024,
            redirects: 5,
            tries: 4,
            solve_ms: 2_000,
            solve_steps: 1_000_000,
            compose_bytes: 1 << 20,
            call_rounds: 64,
            calls: 10_000,
        }
    }
}

/// So many lines of a listing count as one document: nothing is fetched or kept for a line, and its bytes count as bytes.
const LINES_PER_DOCUMENT: u64 = 8;
/// The reason of work that was given up because nobody waits for it any more.
pub const ABANDONED: &str = "net.abandoned";
/// How often somebody who waits for another machine looks whether anybody still waits for the outcome.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Says that nobody waits for `subject` any more.
pub fn abandoned(subject: impl fmt::Display) -> Refusal {
    Refusal::new(ABANDONED, subject, "somebody who waits for it", "nobody any more")
}

/// What is left of the limits during one run of one source.
///
/// A clone spends from the same purse. The cap of one document is a property of the clone: [`Budget::for_catalogues`] and
/// [`Budget::for_release_documents`] choose it for one call.
#[derive(Debug, Clone)]
pub struct Budget {
    purse: Arc<Purse>,
    reach: Arc<Reach>,
    /// Who waits; `None` where the work is done for its own sake.
    audience: Option<Arc<Audience>>,
    /// Who counts what arrives.
    tally: Option<Arc<Tally>>,
    /// The large directories that were read so far; `None` where each is to be read again.
    trees: Option<Arc<Trees>>,
    /// The key of the cap that holds for one document, and the cap.
    document: (&'static str, u64),
}

#[derive(Debug)]
struct Purse {
    limits: Limits,
    /// `None` when it lies further ahead than the clock can count.
    deadline: Option<Instant>,
    /// What was added to it, in milliseconds.
    given_ms: AtomicU64,
    documents_left: AtomicU64,
    bytes_left: AtomicU64,
}

impl Budget {
    /// Starts a run, with the cap for catalogues.
    pub fn new(limits: &Limits, started: Instant) -> Budget {
        let purse = Purse {
            deadline: started.checked_add(Duration::from_secs(limits.total_s)),
            given_ms: AtomicU64::new(0),
            documents_left: limits.documents.into(),
            bytes_left: limits.total_bytes.into(),
            limits: limits.clone(),
        };
        Budget {
            document: ("catalogue_bytes", purse.limits.catalogue_bytes),
            reach: Arc::default(),
            audience: None,
            tally: None,
            trees: None,
            purse: Arc::new(purse),
        }
    }

    /// Returns the same purse for other machines: without this nobody is named, so that only public addresses are reached.
    pub fn reaching(&self, reach: Reach) -> Budget {
        Budget { reach: Arc::new(reach), ..self.clone() }
    }

    /// Returns the same purse for work that is given up when nobody of `audience` waits any more.
    pub fn heard_by(&self, audience: Arc<Audience>) -> Budget {
        Budget { audience: Some(audience), ..self.clone() }
    }

    /// Returns the same purse for work of which `tally` counts what arrives.
    pub fn counted_by(&self, tally: Arc<Tally>) -> Budget {
        Budget { tally: Some(tally), ..self.clone() }
    }

    /// Notes that a body begins to arrive, and how large its sender says that it is.
    pub(crate) fn begins(&self, size: Option<u64>) {
        if let Some(tally) = &self.tally {
            tally.begins(size);
        }
    }

    /// Notes that bytes have arrived; takes nothing.
    pub(crate) fn arrived(&self, bytes: usize) {
        if let Some(tally) = &self.tally {
            tally.arrived(bytes as u64);
        }
    }

    /// Tells whether somebody has to look from time to time whether anybody still waits.
    pub(crate) fn has_audience(&self) -> bool {
        self.audience.is_some()
    }

    /// Returns the same purse for a run that asks many times for what lies below the same large directories: each is read, and paid
    /// for, once.
    pub fn remembering_trees(&self) -> Budget {
        Budget { trees: Some(Arc::default()), ..self.clone() }
    }

    /// Returns a large directory that this run has read.
    pub(crate) fn known_tree(&self, id: &ObjectId) -> Option<Arc<Tree>> {
        self.trees.as_ref()?.find(id)
    }

    /// Notes that this run has read a directory of `bytes` bytes.
    pub(crate) fn note_tree(&self, id: &ObjectId, tree: &Arc<Tree>, bytes: usize) {
        if let Some(trees) = &self.trees {
            trees.note(id, tree, bytes);
        }
    }

    /// Returns which machines may be asked.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Returns the same purse with the cap for lists and catalogues.
    pub fn for_catalogues(&self) -> Budget {
        self.capped("catalogue_bytes", self.purse.limits.catalogue_bytes)
    }

    /// Returns the same purse with the cap for manifests, descriptors and compose files.
    pub fn for_release_documents(&self) -> Budget {
        self.capped("release_document_bytes", self.purse.limits.release_document_bytes)
    }

    /// Returns the same purse with the cap for files of releases.
    pub fn for_files(&self) -> Budget {
        self.capped("file_bytes", self.purse.limits.file_bytes)
    }

    /// Returns the same purse with the cap for archives of releases.
    pub fn for_archives(&self) -> Budget {
        self.capped("archive_bytes", self.purse.limits.archive_bytes)
    }

    /// Returns the same purse with the cap for commits, trees and lists of refs.
    pub(crate) fn for_git_objects(&self) -> Budget {
        self.capped("git_object_bytes", self.purse.limits.git_object_bytes)
    }

    /// Returns the largest document that may be read now, in bytes.
    pub fn document_bytes(&self) -> u64 {
        self.document.1
    }

    /// Returns the same purse with a cap that is no setting: a document may have `bytes_max` bytes or as many as now, whichever is
    /// less. `reason` is that of a refusal.
    pub fn at_most(&self, reason: &'static str, bytes_max: u64) -> Budget {
        if bytes_max < self.document.1 { self.capped(reason, bytes_max) } else { self.clone() }
    }

    /// Returns how many bytes a reader may take in for one document: the cap, or less where the run has less left.
    pub fn readable_bytes(&self) -> u64 {
        self.document.1.min(self.purse.bytes_left.load(Ordering::Relaxed))
    }

    /// Returns the limits of this run.
    pub(crate) fn limits(&self) -> &Limits {
        &self.purse.limits
    }

    /// Returns when the run has to end; `None` when that lies further ahead than the clock can count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let given = Duration::from_millis(self.purse.given_ms.load(Ordering::Relaxed));
        self.purse.deadline.and_then(|deadline| deadline.checked_add(given))
    }

    /// Gives all views of this budget more time: as much as went by while nothing could be done.
    pub(crate) fn give_time(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // No run waits for longer than a number has room.
        self.purse.given_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// Takes one document and checks the deadline.
    ///
    /// **Errors**: `limit.documents`, `limit.total_s`.
    pub fn take_document(&self, subject: impl fmt::Display) -> Result<(), FetchError> {
        self.check_deadline(&subject)?;
        self.take_documents(1, subject)
    }

    /// Takes `count` documents: one, or the entries of a listing.
    ///
    /// **Errors**: `limit.documents`.
    pub fn take_documents(&self, count: u64, subject: impl fmt::Display) -> Result<(), FetchError> {
        take(&self.purse.documents_left, count).map_err(|left| {
            let expected = expected(self.purse.limits.documents, "documents", "documents");
            let found = format!("{count} more with {left} left");
            FetchError::Limit(Refusal::new("limit.documents", subject, expected, found))
        })
    }

    /// Takes what `more` lines of a listing cost behind `before` others of it.
    ///
    /// **Errors**: `limit.documents`.
    pub fn take_lines(&self, before: u64, more: u64, subject: impl fmt::Display) -> Result<(), FetchError> {
        let documents = |lines: u64| lines.div_ceil(LINES_PER_DOCUMENT);
        self.take_documents(documents(before.saturating_add(more)) - documents(before), subject)
    }

    /// Gives back bytes that were taken, and say nothing that others do not say.
    pub fn give_back(&self, bytes: u64) {
        self.purse.bytes_left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes the bytes of one document, which must also fit under the cap of one document. Nothing is taken on failure.
    ///
    /// **Errors**: `limit.catalogue_bytes`, `limit.release_document_bytes`, `limit.file_bytes`, `limit.archive_bytes` or
    /// `limit.git_object_bytes`, or the reason given to [`Budget::at_most`], whichever cap holds; `limit.total_bytes`.
    pub fn take_bytes(&self, count: u64, subject: impl fmt::Display) -> Result<(), FetchError> {
        let (key, cap) = self.document;
        if count > cap {
            let reason = match key {
                "catalogue_bytes" => "limit.catalogue_bytes",
                "release_document_bytes" => "limit.release_document_bytes",
                "file_bytes" => "limit.file_bytes",
                "archive_bytes" => "limit.archive_bytes",
                "git_object_bytes" => "limit.git_object_bytes",
                reason => reason,
            };
            let expected = match reason == key {
                true => format!("at most {cap} bytes"),
                false => expected(cap, "bytes", key),
            };
            let found = format!("{count} bytes");
            return Err(FetchError::Limit(Refusal::new(reason, subject, expected, found)));
        }
        take(&self.purse.bytes_left, count).map_err(|left| {
            let expected = expected(self.purse.limits.total_bytes, "bytes in one run", "total_bytes");
            let found = format!("{count} more with {left} left");
            FetchError::Limit(Refusal::new("limit.total_bytes", subject, expected, found))
        })
    }

    /// Checks that time is left, and that somebody still waits.
    ///
    /// **Errors**: `limit.total_s`, `net.abandoned`.
    pub fn check_deadline(&self, subject: impl fmt::Display) -> Result<(), FetchError> {
        if self.audience.as_ref().is_some_and(|audience| audience.has_gone()) {
            return Err(FetchError::Unreachable(abandoned(subject)));
        }
        match self.deadline() {
            Some(deadline) if Instant::now() >= deadline => {
                let expected = expected(self.purse.limits.total_s, "seconds in one run", "total_s");
                let found = "the time is over";
                Err(FetchError::Limit(Refusal::new("limit.total_s", subject, expected, found)))
            }
            _ => Ok(()),
        }
    }

    /// Returns how many bytes this run may still bring.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.purse.bytes_left.load(Ordering::Relaxed)
    }

    fn capped(&self, key: &'static str, bytes_max: u64) -> Budget {
        Budget { document: (key, bytes_max), ..self.clone() }
    }
}

fn expected(limit: u64, unit: &str, key: &str) -> String {
    format!("at most {limit} {unit} (config key limits.{key})")
}

/// Takes `count` or nothing; gives back what is left when it is not enough.
fn take(purse: &AtomicU64, count: u64) -> Result<(), u64> {
    let spend = |left: u64| left.checked_sub(count);
    purse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fetch::audience::Gone;

    fn budget(change: impl FnOnce(&mut Limits)) -> Budget {
        let mut limits = Limits::default();
        change(&mut limits);
        Budget::new(&limits, Instant::now())
    }

    #[track_caller]
    fn check(result: Result<(), FetchError>, reason: &str, key: &str) {
        let Err(FetchError::Limit(refusal)) = result else { panic!("not a limit: {result:?}") };
        assert_eq!(refusal.reason, reason);
        assert!(refusal.expected.contains(&format!("limits.{key}")), "{refusal}");
        assert!(!refusal.found.is_empty(), "{refusal}");
    }

    #[test]
    fn documents_are_counted() {
        let budget = budget(|limits| limits.documents = 2);
        assert_eq!(budget.take_document("a"), Ok(()));
        assert_eq!(budget.for_release_documents().take_document("b"), Ok(()));
        check(budget.take_document("c"), "limit.documents", "documents");
    }

    #[test]
    fn lines_of_a_listing_count_as_few_documents() {
        let budget = budget(|limits| limits.documents = 3);
        assert_eq!(budget.take_lines(0, 1, "a"), Ok(()));
        assert_eq!(budget.take_lines(1, 7, "a"), Ok(()));
        assert_eq!(budget.take_lines(8, 9, "a"), Ok(()));
        check(budget.take_lines(17, 8, "a"), "limit.documents", "documents");
        assert_eq!(budget.take_lines(17, 7, "what fits still fits"), Ok(()));
    }

    #[test]
    fn total_bytes_are_counted_over_all_views() {
        let budget = budget(|limits| limits.total_bytes = 10);
        assert_eq!(budget.take_bytes(4, "a"), Ok(()));
        assert_eq!(budget.for_git_objects().take_bytes(5, "b"), Ok(()));
        assert_eq!(budget.readable_bytes(), 1);
        check(budget.for_catalogues().take_bytes(2, "c"), "limit.total_bytes", "total_bytes");
        assert_eq!(budget.take_bytes(1, "what fits still fits"), Ok(()));
        budget.give_back(2);
        check(budget.take_bytes(3, "d"), "limit.total_bytes", "total_bytes");
        assert_eq!(budget.take_bytes(2, "what was given back"), Ok(()));
    }

    #[test]
    fn one_document_is_capped_by_its_kind() {
        let budget = budget(|limits| {
            limits.catalogue_bytes = 30;
            limits.release_document_bytes = 20;
            limits.file_bytes = 15;
            limits.git_object_bytes = 10;
        });
        assert_eq!(budget.document_bytes(), 30);
        check(budget.take_bytes(31, "a"), "limit.catalogue_bytes", "catalogue_bytes");
        let releases = budget.for_release_documents();
        assert_eq!(releases.document_bytes(), 20);
        check(releases.take_bytes(21, "b"), "limit.release_document_bytes", "release_document_bytes");
        check(budget.for_files().take_bytes(16, "f"), "limit.file_bytes", "file_bytes");
        check(budget.for_git_objects().take_bytes(11, "c"), "limit.git_object_bytes", "git_object_bytes");
        assert_eq!(releases.take_bytes(20, "d"), Ok(()));
        assert_eq!(releases.for_catalogues().take_bytes(30, "e"), Ok(()));
    }

    #[test]
    fn the_deadline_stops_the_run() {
        let over = budget(|limits| limits.total_s = 0);
        check(over.check_deadline("a"), "limit.total_s", "total_s");
        check(over.take_document("a"), "limit.total_s", "total_s");
        let never = budget(|limits| limits.total_s = u64::MAX);
        assert_eq!(never.check_deadline("a"), Ok(()));
    }

    #[test]
    fn work_is_given_up_when_all_who_waited_have_gone() {
        let audience = Arc::new(Audience::default());
        let budget = budget(|_| {}).heard_by(Arc::clone(&audience));
        assert_eq!(budget.check_deadline("nobody came yet"), Ok(()));
        let (one, other) = (Gone::default(), Gone::default());
        audience.join(Some(Arc::clone(&one)), None);
        audience.join(Some(Arc::clone(&other)), None);
        one.store(true, Ordering::Relaxed);
        assert_eq!(budget.for_files().take_document("the other waits"), Ok(()));
        other.store(true, Ordering::Relaxed);
        let reason = |found: Result<(), FetchError>| found.unwrap_err().refusal().reason.clone();
        assert_eq!(reason(budget.for_files().take_document("a")), ABANDONED);
        audience.join(None, None);
        assert_eq!(budget.check_deadline("somebody who never goes"), Ok(()));
    }

    #[test]
    fn the_table_has_defaults_and_refuses_unknown_keys() {
        assert_eq!(toml::from_str::<Limits>("").unwrap(), Limits::default());
        let limits: Limits = toml::from_str("release_document_bytes = 5\ntotal_s = 7").unwrap();
        assert_eq!((limits.release_document_bytes, limits.total_s, limits.depth), (5, 7, 8));
        assert!(toml::from_str::<Limits>("document_bytes = 5").is_err());
    }

    #[test]
    fn every_key_is_read_into_its_own_field() {
        let text = "catalogue_bytes = 1\nrelease_document_bytes = 2\ngit_object_bytes = 3\ndocuments = 4\n\
                    total_bytes = 5\ndepth = 6\ncatalogues = 7\ntotal_s = 8\nconnect_s = 9\nstall_s = 10\n\
                    rate_bytes_s = 11\nredirects = 12\ntries = 13\ncache_bytes = 14\nhistory_commits = 15\n\
                     eager_max = 16\nreleases = 17\nsolve_ms = 18\nsolve_steps = 19\nfile_bytes = 20\n\
                     release_files = 21\nrelease_bytes = 22\nrelease_depth = 23\n\
                     archive_bytes = 24\narchive_ratio = 25\nholds = 26\nholds_per_uid = 27\nidle_connection_s = 28\n\
                     compose_bytes = 29\ncall_rounds = 30\ncalls = 31\nfiles_bytes = 32";
        // No `..` here: a new limit does not compile until it stands in this table.
        let expected = Limits {
            catalogue_bytes: 1,
            release_document_bytes: 2,
            git_object_bytes: 3,
            documents: 4,
            releases: 17,
            total_bytes: 5,
            depth: 6,
            catalogues: 7,
            eager_max: 16,
            file_bytes: 20,
            release_files: 21,
            release_bytes: 22,
            release_depth: 23,
            archive_bytes: 24,
            archive_ratio: 25,
            files_bytes: 32,
            holds: 26,
            holds_per_uid: 27,
            idle_connection_s: 28,
            total_s: 8,
            history_commits: 15,
            cache_bytes: 14,
            connect_s: 9,
            stall_s: 10,
            rate_bytes_s: 11,
            redirects: 12,
            tries: 13,
            solve_ms: 18,
            solve_steps: 19,
            compose_bytes: 29,
            call_rounds: 30,
            calls: 31,
        };
        assert_eq!(toml::from_str::<Limits>(text).unwrap(), expected);
    }
}
