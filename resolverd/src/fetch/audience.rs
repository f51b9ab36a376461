//! Who waits for what is fetched: whether anybody still does, and who hears how far it has come.
//!
//! Whoever works never waits for anybody here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use catalogue_schema::digest::Digest;

use crate::fetch::progress::{Progress, Standing, Step, Subject};

/// Set where whoever asked has gone away.
pub type Gone = Arc<AtomicBool>;

/// Who waits for what is fetched; it is given up when all of them have gone.
#[derive(Debug, Default)]
pub struct Audience {
    members: Mutex<Vec<Option<Gone>>>,
    listeners: Mutex<Vec<Arc<Progress>>>,
}

impl Audience {
    /// Adds somebody who waits; one of whom nobody can tell whether it has gone never goes. `listener` hears how far the work comes.
    pub fn join(&self, gone: Option<Gone>, listener: Option<&Arc<Progress>>) {
        if let Some(listener) = listener {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            if !listeners.iter().any(|known| Arc::ptr_eq(known, listener)) {
                listeners.push(Arc::clone(listener));
            }
        }
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here = |last: &Option<Gone>| last.as_ref().map(Arc::as_ptr) == gone.as_ref().map(Arc::as_ptr);
        // Whoever wants thousands of releases waits once.
        if !members.last().is_some_and(is_here) {
            members.push(gone);
        }
    }

    /// Tells whether all have gone; nobody who ever came has not.
    pub(super) fn has_gone(&self) -> bool {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let has_gone = |one: &Option<Gone>| one.as_ref().is_some_and(|gone| gone.load(Ordering::Relaxed));
        !members.is_empty() && members.iter().all(has_gone)
    }

    /// Says that a piece of work has come to a step without anything that could be counted.
    pub fn hear(&self, claim: &Digest, step: Step) {
        self.each(|listener| listener.hear(claim, step));
    }

    /// Tells every listener something.
    fn each(&self, tell: impl Fn(&Progress)) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| tell(listener));
    }
}

/// How far one piece of work has come, and who is told.
#[derive(Debug)]
pub struct Tally {
    audience: Arc<Audience>,
    subject: Subject,
    releases: Option<usize>,
    /// It is one body: what begins to arrive is all of it.
    is_one: bool,
    standing: Mutex<Standing>,
}

impl Tally {
    /// Counts for a release that comes as one archive, of `size` bytes where the catalogue says so.
    pub fn of_archive(audience: &Arc<Audience>, claim: &Digest, size: Option<u64>) -> Tally {
        let standing = Standing { size, ..Standing::at(Step::Waiting) };
        Tally::new(audience, Subject::One(claim.clone()), standing)
    }

    /// Counts for a release that comes file by file.
    pub fn of_files(audience: &Arc<Audience>, claim: &Digest) -> Tally {
        let standing = Standing { files_received: Some(0), ..Standing::at(Step::Waiting) };
        Tally { is_one: false, ..Tally::new(audience, Subject::One(claim.clone()), standing) }
    }

    /// Counts what comes for several releases at once, of which the first has `claim`.
    pub fn together(audience: &Arc<Audience>, claim: &Digest, releases: usize) -> Tally {
        let own = Tally::new(audience, Subject::Together(claim.clone()), Standing::at(Step::Fetching));
        Tally { is_one: false, releases: Some(releases), ..own }
    }

    fn new(audience: &Arc<Audience>, subject: Subject, standing: Standing) -> Tally {
        let (audience, standing) = (Arc::clone(audience), Mutex::new(standing));
        Tally { audience, subject, releases: None, is_one: true, standing }
    }

    /// Says that a step was reached.
    pub fn step(&self, step: Step) {
        self.change(|standing| standing.step = step);
    }

    /// Says that all of it has arrived, so many bytes.
    pub fn whole(&self, bytes: u64) {
        self.change(|standing| {
            *standing = Standing { step: Step::Fetched, received: bytes, size: Some(bytes), ..*standing };
        });
    }

    /// Says how many files there are.
    pub fn files(&self, files: usize) {
        self.change(|standing| standing.files = Some(files as u64));
    }

    /// Says that one more file is there.
    pub fn file(&self) {
        self.change(|standing| standing.files_received = standing.files_received.map(|files| files + 1));
    }

    /// Says that one file fewer is to come than was said.
    pub fn one_fewer(&self) {
        self.change(|standing| standing.files = standing.files.map(|files| files.saturating_sub(1)));
    }

    /// Says that a body begins to arrive, and how large its sender says that it is.
    pub(crate) fn begins(&self, size: Option<u64>) {
        if self.is_one {
            self.change(|standing| {
                (standing.received, standing.size) = (0, standing.size.or(size));
            });
        }
    }

    /// Says that more bytes have arrived.
    pub(crate) fn arrived(&self, bytes: u64) {
        self.change(|standing| standing.received = standing.received.saturating_add(bytes));
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *standing;
        change(&mut standing);
        // What is counted before it is asked for is nobody's news.
        if *standing != before && standing.step != Step::Waiting {
            // Under the lock, so that nobody hears of two changes in the wrong order.
            self.audience.each(|listener| listener.told(&self.subject, self.releases, *standing));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::fetch::progress::Row;

    fn claim(name: &str) -> Digest {
        Digest::sha256(name.as_bytes())
    }

    fn listening(names: &[&str]) -> (Arc<Progress>, Arc<Audience>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let progress = Progress::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        names.iter().for_each(|name| progress.expect(&claim(name), name));
        let audience = Arc::<Audience>::default();
        audience.join(None, Some(&progress));
        (progress, audience, woken)
    }

    fn told(progress: &Progress) -> Vec<String> {
        let one = |row: Row| {
            let Standing { step, received, size, files_received, files } = row.standing;
            let name = row.release.unwrap_or_else(|| format!("{:?} together", row.releases));
            format!("{name} {step:?} {received}/{size:?} {files_received:?}/{files:?}")
        };
        progress.take().into_iter().map(one).collect()
    }

    #[test]
    fn of_each_step_the_newest_standing_is_kept_and_nothing_twice() {
        let (progress, audience, woken) = listening(&["a"]);
        let tally = Tally::of_archive(&audience, &claim("a"), None);
        tally.step(Step::Fetching);
        assert!(!progress.has_begun(), "nothing has arrived");
        tally.begins(Some(30));
        (0..1000).for_each(|_| tally.arrived(1));
        assert!(progress.has_begun());
        assert_eq!(told(&progress), ["a Fetching 1000/Some(30) None/None"]);
        assert_eq!(told(&progress), [""; 0]);
        tally.arrived(5);
        tally.whole(1005);
        tally.step(Step::Verified);
        tally.step(Step::Verified);
        assert_eq!(
            told(&progress),
            [
                "a Fetching 1005/Some(30) None/None",
                "a Fetched 1005/Some(1005) None/None",
                "a Verified 1005/Some(1005) None/None"
            ]
        );
        assert_eq!(woken.load(Ordering::Relaxed), 1005, "what says nothing new wakes nobody");
    }

    #[test]
    fn what_begins_anew_is_told_so_and_a_size_that_was_promised_stays() {
        let (progress, audience, _) = listening(&["a"]);
        let tally = Tally::of_archive(&audience, &claim("a"), Some(20));
        tally.step(Step::Fetching);
        tally.begins(Some(99));
        tally.arrived(7);
        assert_eq!(told(&progress), ["a Fetching 7/Some(20) None/None"]);
        tally.begins(Some(98));
        tally.arrived(3);
        assert_eq!(told(&progress), ["a Fetching 3/Some(20) None/None"]);
    }

    #[test]
    fn nobody_hears_of_what_others_wait_for() {
        let (progress, audience, _) = listening(&["a"]);
        let (other, _, _) = listening(&["b"]);
        audience.join(None, Some(&other));
        audience.join(None, Some(&other));
        let tallies = ["a", "b"].map(|name| Tally::of_files(&audience, &claim(name)));
        for tally in &tallies {
            tally.files(2);
            tally.step(Step::Fetching);
            tally.file();
            tally.one_fewer();
        }
        Tally::together(&audience, &claim("a"), 2).arrived(9);
        assert_eq!(
            told(&progress),
            ["a Fetching 0/None Some(1)/Some(1)", "Some(2) together Fetching 9/None None/None"]
        );
        assert_eq!(
            told(&other),
            ["b Fetching 0/None Some(1)/Some(1)", "Some(2) together Fetching 9/None None/None"]
        );
    }

    #[test]
    fn a_listener_that_takes_nothing_costs_a_few_standings_of_each_release() {
        let (progress, audience, _) = listening(&["a"]);
        let tally = Tally::of_archive(&audience, &claim("a"), None);
        for _ in 0..100 {
            tally.step(Step::Fetching);
            tally.begins(None);
            (0..100).for_each(|_| tally.arrived(1));
            tally.whole(100);
        }
        tally.step(Step::Ready);
        progress.hear(&claim("a"), Step::Ready);
        assert_eq!(
            told(&progress),
            [
                "a Fetching 100/Some(100) None/None",
                "a Fetched 100/Some(100) None/None",
                "a Ready 0/None None/None"
            ]
        );
    }
}
