//! The search itself, by PubGrub over numbers: packages are nodes of the graph, versions are places among the releases. Every
//! candidate comes from the graph; never reads a requirement that the overlay leaves alone.
//!
//! What is decided first decides what is newest: what the caller names, then whatever was part of most conflicts, then whatever has
//! the fewest versions left. PubGrub numbers packages as it meets them, so that components nobody asks for change nothing.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::ops::Bound;

use catalogue_schema::graph::Interval;
use pubgrub::{
    Dependencies, DependencyConstraints, DependencyProvider, DerivationTree, PackageResolutionStatistics,
    PubGrubError, Ranges, VersionSet,
};

use crate::resolve::Limits;
use crate::resolve::ground::{Ground, Step};

/// The package whose requirements are those of the caller.
pub(super) const ROOT: u32 = u32::MAX;

/// How many steps lie between two looks at whether the time is over.
const STEPS_PER_LOOK: u64 = 8;

/// How many requirements, intervals or versions that are gone through count as one step: so many take about as long as a turn of a
/// small search (2026-11).
pub(super) const ITEMS_PER_STEP: u64 = 8;

/// What becomes of ids that nobody lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing meets a requirement on them.
    Refused,
    /// They are taken for there, to find out which ones an answer lacks.
    Granted,
}

/// How a search ended.
pub(super) enum Solved {
    /// With a version for each node that is needed.
    Solution(BTreeMap<u32, u32>),
    /// There is none, and this proves it.
    Impossible(Box<Proof>),
    /// Nobody knows.
    Undecided(Undecided),
}

/// Why there is no solution.
pub(super) type Proof = DerivationTree<u32, Set, Broken>;

/// Why a search ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// So many steps were allowed.
    Steps(u64),
    /// The time was over.
    Time,
}

/// Why one release cannot be chosen whatever else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// What it requires cannot be read.
    Unreadable,
    /// It requires another version of itself.
    OfItself,
}

/// What has been done for a question, and how much of it is allowed. A step stands for [`ITEMS_PER_STEP`] requirements, intervals or
/// versions that were gone through, or for one turn of the search.
pub(super) struct Work<'l> {
    limits: &'l Limits<'l>,
    steps: Cell<u64>,
}

impl<'l> Work<'l> {
    pub(super) fn new(limits: &'l Limits<'l>) -> Work<'l> {
        Work { limits, steps: Cell::new(0) }
    }

    /// Counts a turn of the search, and what the ground has spent.
    pub(super) fn step(&self, ground: &Ground<'_>) -> Result<(), Undecided> {
        self.add(ground.spent() + 1)
    }

    /// Counts what the ground has spent.
    pub(super) fn charge(&self, ground: &Ground<'_>) -> Result<(), Undecided> {
        self.add(ground.spent())
    }

    fn add(&self, more: u64) -> Result<(), Undecided> {
        let before = self.steps.get();
        let steps = before.saturating_add(more);
        self.steps.set(steps);
        if steps > self.limits.steps {
            return Err(Undecided::Steps(self.limits.steps));
        }
        if steps / STEPS_PER_LOOK != before / STEPS_PER_LOOK { self.look() } else { Ok(()) }
    }

    /// Looks whether the time is over.
    pub(super) fn look(&self) -> Result<(), Undecided> {
        if (self.limits.is_over)() { Err(Undecided::Time) } else { Ok(()) }
    }
}

/// Versions, as half-open intervals: neighbours grow together, so that hundreds of versions that require the same stay one
/// interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set(Ranges<u32>);

impl Set {
    pub(super) fn of(intervals: &[Interval]) -> Set {
        match intervals {
            [] => Set(Ranges::empty()),
            [(from, to)] => Set(Ranges::between(*from, *to)),
            // Sorted ones are each put at the end.
            several => {
                let bounds = |(from, to): &Interval| (Bound::Included(*from), Bound::Excluded(*to));
                Set(several.iter().map(bounds).collect())
            }
        }
    }

    /// Returns the same with one more version.
    pub(super) fn with(&self, version: u32) -> Set {
        self.union(&Set::singleton(version))
    }

    /// Returns how many intervals it is made of.
    pub(super) fn size(&self) -> u64 {
        self.0.iter().count() as u64
    }

    /// Returns its intervals among `count` versions, lowest first.
    pub(super) fn intervals(&self, count: u32) -> impl Iterator<Item = Interval> {
        self.0.iter().filter_map(move |(start, end)| {
            let from = match start {
                Bound::Unbounded => 0,
                Bound::Included(from) => *from,
                Bound::Excluded(before) => before.saturating_add(1),
            };
            let to = match end {
                Bound::Unbounded => count,
                Bound::Included(last) => last.saturating_add(1),
                Bound::Excluded(to) => *to,
            };
            let to = to.min(count);
            (from < to).then_some((from, to))
        })
    }

    /// Returns how many of `count` versions it holds.
    pub(super) fn count(&self, count: u32) -> u32 {
        self.intervals(count).map(|(from, to)| to - from).sum()
    }

    /// Tells whether it holds none of `count` versions.
    pub(super) fn holds_none(&self, count: u32) -> bool {
        self.intervals(count).next().is_none()
    }
}

impl VersionSet for Set {
    type V = u32;

    fn empty() -> Set {
        Set(Ranges::empty())
    }

    fn singleton(version: u32) -> Set {
        Set(Ranges::between(version, version.saturating_add(1)))
    }

    fn complement(&self) -> Set {
        Set(self.0.complement())
    }

    fn intersection(&self, other: &Set) -> Set {
        Set(self.0.intersection(&other.0))
    }

    fn contains(&self, version: &u32) -> bool {
        self.0.contains(version)
    }

    fn full() -> Set {
        Set(Ranges::full())
    }

    fn union(&self, other: &Set) -> Set {
        Set(self.0.union(&other.0))
    }

    fn is_disjoint(&self, other: &Set) -> bool {
        self.0.is_disjoint(&other.0)
    }

    fn subset_of(&self, other: &Set) -> bool {
        self.0.subset_of(&other.0)
    }
}

/// Searches for versions that meet `roots`.
pub(super) fn solve(ground: &Ground<'_>, roots: &[(u32, Set)], missing: Missing, work: &Work<'_>) -> Solved {
    let named = roots.iter().map(|(node, _)| *node).collect();
    let search = Search { ground, roots, named, missing, work };
    match pubgrub::resolve(&search, ROOT, 0_u32) {
        Ok(solution) => Solved::Solution(solution.into_iter().filter(|(node, _)| *node != ROOT).collect()),
        Err(PubGrubError::NoSolution(proof)) => Solved::Impossible(Box::new(proof)),
        Err(PubGrubError::ErrorInShouldCancel(stopped)) => Solved::Undecided(stopped),
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. },
        ) => Solved::Undecided(source),
    }
}

/// Returns the newest version of a node in a set that may be chosen; the one that a lock holds before all.
pub(super) fn newest(ground: &Ground<'_>, node: u32, set: &Set) -> Option<u32> {
    if let Some(locked) = ground.locked(node)
        && set.contains(&locked)
        && ground.is_usable(node, locked)
    {
        return Some(locked);
    }
    let intervals: Vec<Interval> = set.intervals(ground.versions(node)).collect();
    let mut newest_first = intervals.into_iter().rev().flat_map(|(from, to)| (from..to).rev());
    newest_first.find(|version| ground.is_usable(node, *version))
}

struct Search<'s, 'a> {
    ground: &'s Ground<'a>,
    roots: &'s [(u32, Set)],
    named: BTreeSet<u32>,
    missing: Missing,
    work: &'s Work<'s>,
}

impl Search<'_, '_> {
    fn is_component(&self, node: u32) -> bool {
        node < self.ground.graph.components()
    }
}

impl DependencyProvider for Search<'_, '_> {
    type P = u32;
    type V = u32;
    type VS = Set;
    type Priority = (bool, u32, Reverse<u32>);
    type M = Broken;
    type Err = Undecided;

    fn prioritize(&self, node: &u32, range: &Set, conflicts: &PackageResolutionStatistics) -> Self::Priority {
        self.ground.spend(range.size());
        let left = if self.is_component(*node) { range.count(self.ground.versions(*node)) } else { 1 };
        (self.named.contains(node), conflicts.conflict_count(), Reverse(left))
    }

    fn choose_version(&self, node: &u32, range: &Set) -> Result<Option<u32>, Undecided> {
        Ok(match *node {
            ROOT => Some(0),
            node if self.is_component(node) => match self.ground.closed(node) {
                None => newest(self.ground, node, range),
                Some(_) => None,
            },
            _ => Some(0).filter(|version| self.missing == Missing::Granted && range.contains(version)),
        })
    }

    fn get_dependencies(
        &self,
        node: &u32,
        version: &u32,
    ) -> Result<Dependencies<u32, Set, Broken>, Undecided> {
        if *node == ROOT {
            return Ok(Dependencies::Available(self.roots.iter().cloned().collect()));
        }
        if !self.is_component(*node) {
            return Ok(Dependencies::Available(DependencyConstraints::default()));
        }
        let Some(required) = self.ground.graph.required(*node, *version) else {
            return Ok(Dependencies::Unavailable(Broken::Unreadable));
        };
        let mut constraints = Vec::with_capacity(required.len());
        for edge in required {
            let Step::Node(target, met) = self.ground.step(edge) else { continue };
            self.work.charge(self.ground)?;
            let set =
                if self.is_component(target) || self.ground.is_hosted(target) { met } else { Set::full() };
            if target != *node {
                constraints.push((target, set));
            } else if !set.contains(version) {
                return Ok(Dependencies::Unavailable(Broken::OfItself));
            }
        }
        Ok(Dependencies::Available(constraints.into_iter().collect()))
    }

    fn should_cancel(&self) -> Result<(), Undecided> {
        self.work.step(self.ground)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Broken::Unreadable => "what it requires cannot be read",
            Broken::OfItself => "it requires another version of itself",
        })
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecided::Steps(steps) => write!(out, "undecided after {steps} steps"),
            Undecided::Time => out.write_str("undecided when the time was over"),
        }
    }
}

impl Error for Undecided {}
