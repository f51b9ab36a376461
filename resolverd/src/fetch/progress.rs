//! How far the files of releases have come, for whoever waits for them and wants to see it.
//!
//! Whoever works tells, and never waits for whoever listens: a listener keeps of each release the newest standing of each step that it
//! has not taken yet, and nothing else, so that what is in memory hangs on the number of releases and not on how slowly somebody reads.
//! Knows no clock: how often a listener looks is its own affair.
//!
//! What is told is what was seen: bytes that have arrived, a size that somebody has said. Nothing is guessed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalogue_schema::digest::Digest;
use serde::Serialize;

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It was in the cache: nothing is done for it.
    Cached,
    /// It waits for its turn, or for somebody else who has begun with it.
    Waiting,
    /// It is asked for, or arrives.
    Fetching,
    /// All of it has arrived.
    Fetched,
    /// Its bytes are those that were promised.
    Verified,
    /// Its archive was taken apart.
    Unpacked,
    /// It is in the cache.
    Ready,
    /// It cannot be had; the answer says why.
    Failed,
}

/// How far something has come, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The step.
    pub step: Step,
    /// How many bytes have arrived. An archive that arrives anew, because it was cut off, begins with 0 again.
    pub received: u64,
    /// How many bytes there are in all, where somebody says so: the catalogue, else the machine that sends them.
    pub size: Option<u64>,
    /// How many of its files are there; `None` for an archive, which comes as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_received: Option<u64>,
    /// How many files it has; `None` before that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

impl Standing {
    pub(super) fn at(step: Step) -> Standing {
        Standing { step, received: 0, size: None, files_received: None, files: None }
    }

    /// Tells whether something of it has been had by now, from wherever.
    fn has_begun(&self) -> bool {
        self.received > 0 || matches!(self.step, Step::Fetched | Step::Verified | Step::Unpacked)
    }
}

/// A line of progress: what it is about, and how far that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The release, as `id@version` or as its direct reference; `None` for what several releases have on their way together, such as
    /// the objects of one commit.
    pub release: Option<String>,
    /// How many releases have it on their way together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub releases: Option<usize>,
    /// How far it has come.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What one listener hears of.
pub struct Progress {
    board: Mutex<Board>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Board {
    shown: Vec<Shown>,
    at: HashMap<Subject, usize>,
    /// Which of `shown` have something that was not taken yet, in the order in which it came.
    changed: Vec<usize>,
    has_begun: bool,
}

/// A row, and what was not taken of it.
#[derive(Debug)]
struct Shown {
    release: Option<String>,
    releases: Option<usize>,
    untaken: Vec<Standing>,
}

/// What is told of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// One piece of work, by its claim.
    One(Digest),
    /// What a piece of work brings for several releases at once, by the claim of the first.
    Together(Digest),
}

impl fmt::Debug for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Progress").field("board", &self.board()).finish_non_exhaustive()
    }
}

impl Progress {
    /// Makes a listener; `wake` is called after each change, must not wait, and must not take.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Progress> {
        Arc::new(Progress { board: Mutex::default(), wake: Box::new(wake) })
    }

    /// Listens to a piece of work from now on; what is heard of others is forgotten.
    pub fn expect(&self, claim: &Digest, release: &str) {
        let mut board = self.board();
        let place = board.shown.len();
        if let std::collections::hash_map::Entry::Vacant(free) = board.at.entry(Subject::One(claim.clone())) {
            free.insert(place);
            let release = Some(release.to_owned());
            board.shown.push(Shown { release, releases: None, untaken: Vec::new() });
        }
    }

    /// Hears of a step of a piece of work of which nothing else is to say.
    pub fn hear(&self, claim: &Digest, step: Step) {
        self.told(&Subject::One(claim.clone()), None, Standing::at(step));
    }

    /// Takes what was not taken before, each row's oldest step first.
    pub fn take(&self) -> Vec<Row> {
        let mut board = self.board();
        let mut rows = Vec::new();
        for place in std::mem::take(&mut board.changed) {
            let Shown { release, releases, untaken } = &mut board.shown[place];
            let row = |standing| Row { release: release.clone(), releases: *releases, standing };
            rows.extend(std::mem::take(untaken).into_iter().map(row));
        }
        rows
    }

    /// Tells whether a byte of anything has been had, or will not have to be.
    pub fn has_begun(&self) -> bool {
        self.board().has_begun
    }

    /// Hears how far something has come; `releases` says how many come together where it is not one.
    pub(super) fn told(&self, subject: &Subject, releases: Option<usize>, standing: Standing) {
        let mut board = self.board();
        let place = match (board.at.get(subject), releases) {
            (Some(place), _) => *place,
            // Several come together: whoever waits for one of them may see it.
            (None, Some(_)) => {
                let place = board.shown.len();
                board.at.insert(subject.clone(), place);
                board.shown.push(Shown { release: None, releases, untaken: Vec::new() });
                place
            }
            (None, None) => return,
        };
        board.has_begun |= standing.has_begun();
        let untaken = &mut board.shown[place].untaken;
        if untaken.is_empty() {
            untaken.push(standing);
            board.changed.push(place);
        } else {
            // Of one step the newest standing is enough; what came behind its older one was before it began anew.
            let known = untaken.iter().position(|known| known.step == standing.step);
            untaken.truncate(known.unwrap_or(untaken.len()));
            untaken.push(standing);
        }
        drop(board);
        (self.wake)();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
