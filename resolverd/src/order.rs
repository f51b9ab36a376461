//! Orders: what the reading side asks of the writing side, and the report that comes back.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Health;
use catalogue_schema::id::{CatalogueId, ComponentId, SourceId};
use catalogue_schema::model::Refusal;
use catalogue_schema::version::Version;
use serde::{Deserialize, Serialize};

/// Something for the writer to do. Replies are sent when the work is done and durable.
#[derive(Debug)]
pub enum Order {
    /// Read the sources again; all of them, or the named ones.
    Sync {
        /// Which; empty for all.
        sources: Vec<SourceId>,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read all sources again, and fetch every document of the named components, however many their catalogues have.
    Refresh {
        /// Which components.
        ids: Vec<ComponentId>,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read the configuration again, then sync.
    Reload {
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Read the trust policies again, and judge everything by them, without network.
    Judge,
    /// Forget what was accepted, then look again: what is said now is accepted whatever came before.
    Forget {
        /// What.
        what: Accepted,
        /// Why, for the logs.
        why: String,
        /// Where the report goes.
        reply: Option<Sender<Outcome>>,
    },
    /// Say what a policy would change, and change nothing.
    Rehearse {
        /// The policy.
        proposal: Proposal,
        /// Which part of the list is meant.
        part: Part,
        /// Where the answer goes.
        reply: Option<Sender<Rehearsed>>,
    },
    /// Write down what was decided while something was answered.
    Note {
        /// What.
        decided: Vec<Decided>,
    },
    /// Stop after the current work.
    Stop,
}

/// What a policy has decided against while something was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Against what, and why.
    pub refusal: Refusal,
    /// It was refused; where it was not, the policy only warns or watches.
    pub is_enforced: bool,
}

/// What was accepted and can be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The revisions of a source, or of one of its catalogues only.
    Revisions(SourceId, Option<SourceId>),
    /// The bytes of a version when it was first seen.
    Version(ComponentId, Version),
    /// All that is lost of it already.
    Lost,
    /// The highest clock seen, where the clock stands behind it.
    Clock,
}

/// A policy that is not in force, with the key files that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its text.
    pub policy: String,
    /// The text of every key file, by the name that the policy has for it.
    pub keys: BTreeMap<String, String>,
}

/// How many changes one answer about a policy lists at most.
pub const CHANGES_MAX: usize = 20_000;
/// How many bytes of texts one answer about a policy has at most, but for its last change.
pub const CHANGES_BYTES_MAX: usize = 16 << 20;

/// A part of the list of what a policy would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins; `None` for the beginning.
    pub from: Option<PartStart>,
    /// How many changes at most, up to [`CHANGES_MAX`].
    pub limit: usize,
}

/// Where a part begins. **Shape**: `12-20000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartStart {
    /// The generation of which the list is.
    pub generation: u64,
    /// How many changes come before.
    pub at: usize,
}

impl PartStart {
    /// Reads what an answer gave as its next cursor; `None` for anything else.
    pub fn parse(text: &str) -> Option<PartStart> {
        let (generation, at) = text.split_once('-')?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        Some(PartStart { generation: number(generation)?, at: usize::try_from(number(at)?).ok()? })
    }
}

/// What a policy would change.
pub type Rehearsed = Result<Rehearsal, OrderError>;

/// What a policy would change, release by release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// The generation that it was compared with.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: Digest,
    /// The file that it would take the place of.
    pub replaces: String,
    /// Why it would not come into force.
    pub problems: Vec<Refusal>,
    /// How many releases there are.
    pub releases: u64,
    /// How many of them would be other ones.
    pub changed: u64,
    /// Those, by id and version; one part of them where there are many.
    pub changes: Vec<Change>,
    /// Where the next part begins; nothing where this is the last.
    pub next_cursor: Option<String>,
}

impl Rehearsal {
    /// Returns one part of a whole one.
    ///
    /// **Errors**: the part is one of another generation.
    pub fn part(&self, part: Part) -> Result<Rehearsal, OrderError> {
        let generation = self.generation;
        let start = part.from.unwrap_or(PartStart { generation, at: 0 });
        if start.generation != generation {
            return Err(OrderError::Moved { began: start.generation, now: generation });
        }
        let rest = self.changes.get(start.at..).unwrap_or_default();
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let has_room = bytes < CHANGES_BYTES_MAX;
            bytes += change.bytes();
            has_room
        };
        let changes: Vec<Change> =
            rest.iter().take(part.limit.min(CHANGES_MAX)).take_while(fits).cloned().collect();
        let at = start.at.saturating_add(changes.len());
        let next_cursor = (at < self.changes.len()).then(|| format!("{generation}-{at}"));
        let (snapshot, replaces) = (self.snapshot.clone(), self.replaces.clone());
        let (problems, releases) = (self.problems.clone(), self.releases);
        let changed = self.changed;
        Ok(Rehearsal { generation, snapshot, replaces, problems, releases, changed, changes, next_cursor })
    }
}

/// What would become of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which component.
    pub id: String,
    /// Which version.
    pub version: String,
    /// What it is; nothing where nobody supplies it.
    pub from: Option<Standing>,
    /// What it would be; nothing where nobody would supply it.
    pub to: Option<Standing>,
}

impl Change {
    /// Returns how many bytes of texts it has, roughly.
    fn bytes(&self) -> usize {
        let standing = |one: &Standing| {
            let refusal = one.refusal.as_ref();
            let texts =
                refusal.map_or(0, |one| one.subject.len() + one.expected.len() + one.found.len() + 100);
            one.source.len() + one.verdict.len() + texts + 50
        };
        let standings = self.from.iter().chain(&self.to).map(standing).sum::<usize>();
        self.id.len() + self.version.len() + standings
    }
}

/// How a release stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The source that supplies it.
    pub source: String,
    /// `trusted`, `pinned`, `unpinned` or `refused`.
    pub verdict: String,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// How an order ended: a report, or the text of what went wrong (the last good generation stays).
pub type Outcome = Result<SyncReport, OrderError>;

/// Why an order could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The sources file or the configuration is broken; the one in force stays.
    #[error("{0}")]
    Config(Refusal),
    /// The trust policy cannot be used, and there is none in force by which anything could be judged.
    #[error("{0}")]
    Locked(Refusal),
    /// What was accepted before is lost, and nobody has accepted that.
    #[error("{0}")]
    Lost(Refusal),
    /// Nothing was lost that could be accepted.
    #[error("nothing of what was accepted so far is lost")]
    NothingLost,
    /// The clock stands behind no other that was seen.
    #[error("the clock is not behind the highest one seen")]
    ClockNotBehind,
    /// The clock cannot be right.
    #[error("the clock stands before 2024, which cannot be right")]
    ClockNotSet,
    /// Shelf or store cannot be written.
    #[error("{0}")]
    Store(String),
    /// An unknown source was named.
    #[error("no source is called {0}")]
    NoSuchSource(SourceId),
    /// Nothing is remembered of the version.
    #[error("no version {1} of {0} was ever let in from a configured source")]
    NoSuchVersion(ComponentId, Version),
    /// A list was asked for in parts, and another generation is in force now.
    #[error("generation {now} is in force, and the list began with generation {began}")]
    Moved {
        /// The generation with which it began.
        began: u64,
        /// The one in force.
        now: u64,
    },
    /// No revision of the catalogue is remembered.
    #[error("nothing is remembered of a catalogue {0}")]
    NoSuchCatalogue(CatalogueId),
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReport {
    /// The generation that is served now.
    pub generation: u64,
    /// Its snapshot.
    pub snapshot: Digest,
    /// Whether this sync made it.
    pub changed: bool,
    /// How many documents were asked of their origins.
    pub documents_fetched: u64,
    /// How many bytes arrived.
    pub bytes_fetched: u64,
    /// How many rows the index received.
    pub rows_written: u64,
    /// Each source and how it stands.
    pub sources: Vec<SourceOutcome>,
}

/// How one source stands after a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOutcome {
    /// Which.
    pub id: SourceId,
    /// How it stands.
    pub health: Health,
    /// Its origin was asked and its entry document accepted just now. Pinned and offline sources are never asked.
    pub checked: bool,
    /// What was wrong: with the source itself, or with the first of its catalogues that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    /// The catalogue that `error` is about; `None` for the source's own entry document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<SourceId>,
    /// How many releases it lists, and how many of them are refused.
    pub releases: u64,
    /// How many of them are refused.
    pub refused: u64,
    /// How many entries were skipped.
    pub skipped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rehearsal(count: usize, text: usize) -> Rehearsal {
        let change = |at: usize| Change {
            id: format!("lcod://n/x{at}"),
            version: "1.0.0".to_owned(),
            from: None,
            to: Some(Standing {
                source: "s".to_owned(),
                verdict: "refused".to_owned(),
                refusal: Some(Refusal::new("trust.unsigned", "", "", "x".repeat(text))),
            }),
        };
        Rehearsal {
            generation: 7,
            snapshot: Digest::sha256(b""),
            replaces: String::new(),
            problems: Vec::new(),
            releases: count as u64,
            changed: count as u64,
            changes: (0..count).map(change).collect(),
            next_cursor: None,
        }
    }

    #[test]
    fn parts_are_bounded_and_together_they_are_the_whole_list() {
        let check = |count: usize, text: usize, limit: usize, expected: &[usize]| {
            let whole = rehearsal(count, text);
            let (mut from, mut sizes, mut all) = (None, Vec::new(), Vec::new());
            loop {
                let part = whole.part(Part { from, limit }).expect("the same generation");
                assert_eq!(part.changed, count as u64);
                sizes.push(part.changes.len());
                all.extend(part.changes);
                let Some(next) = part.next_cursor else { break };
                from = PartStart::parse(&next);
                assert!(from.is_some(), "{next}");
            }
            assert_eq!((sizes.as_slice(), all), (expected, whole.changes), "{count} of {text} by {limit}");
        };
        check(0, 1, 5, &[0]);
        check(5, 1, 5, &[5]);
        check(5, 1, 2, &[2, 2, 1]);
        check(CHANGES_MAX + 1, 1, usize::MAX, &[CHANGES_MAX, 1]);
        check(3, CHANGES_BYTES_MAX, 3, &[1, 1, 1]);
        check(5, CHANGES_BYTES_MAX / 2, 5, &[2, 2, 1]);
    }

    #[test]
    fn a_part_of_another_generation_is_no_part() {
        let check = |text: &str, expected: Option<(u64, usize)>| {
            let found = PartStart::parse(text).map(|start| (start.generation, start.at));
            assert_eq!(found, expected, "{text}");
        };
        check("7-0", Some((7, 0)));
        for wrong in ["", "7", "-", "7-", "-7", "7--1", "+7-1", "7-99999999999999999999", "7-1-1"] {
            check(wrong, None);
        }
        let moved = rehearsal(2, 1).part(Part { from: PartStart::parse("6-1"), limit: 1 });
        assert_eq!(moved, Err(OrderError::Moved { began: 6, now: 7 }));
        let past = rehearsal(2, 1).part(Part { from: PartStart::parse("7-9"), limit: 1 }).expect("nothing");
        assert_eq!((past.changes.len(), past.next_cursor), (0, None));
    }
}
