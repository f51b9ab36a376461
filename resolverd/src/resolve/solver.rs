//! The search itself, by PubGrub over numbers: packages are nodes of the graph, versions are places among the releases. Every
//! candidate comes from the graph; never reads a requirement that the overlay leaves alone.
//!
//! What is decided first decides what is newest: what the caller names, then whatever was part of most conflicts, then whatever has
//! the fewest versions left. PubGrub numbers packages as it meets them, so that components nobody asks for change nothing.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use pubgrub::{
    Dependencies, DependencyProvider, DerivationTree, PackageResolutionStatistics, PubGrubError, VersionSet,
};

use crate::resolve::Limits;
use crate::resolve::ground::{Ground, Step};
use crate::resolve::set::Set;

/// The package whose requirements are those of the caller.
pub(super) const ROOT: u32 = u32::MAX;

/// How many steps lie between two looks at whether the time is over.
const STEPS_PER_LOOK: u64 = 8;
/// Behind so many steps there is a look before each: the more a search has learnt, the longer one turn takes, and nobody can
/// interrupt one.
const STEPS_QUICK: u64 = 1_000;

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
    Solution(Solution),
    /// There is none, and this proves it.
    Impossible {
        /// Why.
        proof: Box<Proof>,
        /// Nobody came to an id that nobody lists: what becomes of those would change nothing.
        is_all_listed: bool,
    },
    /// Nobody knows.
    Undecided(Undecided),
}

/// The version of every node that is needed.
pub(super) struct Solution(Vec<(u32, u32)>);

impl Solution {
    pub(super) fn of(versions: impl Iterator<Item = (u32, u32)>) -> Solution {
        let mut versions: Vec<(u32, u32)> = versions.collect();
        versions.sort_unstable();
        Solution(versions)
    }

    /// Returns how many nodes are needed.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns nodes and versions, sorted by node.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }

    /// Returns the place of a node among those that are needed, and its version.
    pub(super) fn find(&self, node: u32) -> Option<(usize, u32)> {
        let place = self.0.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        Some((place, self.0[place].1))
    }
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
        let is_due = steps / STEPS_PER_LOOK != before / STEPS_PER_LOOK || steps > STEPS_QUICK.max(before);
        if is_due { self.look() } else { Ok(()) }
    }

    /// Looks whether the time is over.
    pub(super) fn look(&self) -> Result<(), Undecided> {
        if (self.limits.is_over)() { Err(Undecided::Time) } else { Ok(()) }
    }
}

/// Searches for versions that meet `roots`.
pub(super) fn solve(ground: &Ground<'_>, roots: &[(u32, Set)], missing: Missing, work: &Work<'_>) -> Solved {
    let named = roots.iter().map(|(node, _)| *node).collect();
    let search = Search { ground, roots, named, missing, work, is_all_listed: Cell::new(true) };
    match pubgrub::resolve(&search, ROOT, 0_u32) {
        Ok(solution) => {
            Solved::Solution(Solution::of(solution.into_iter().filter(|(node, _)| *node != ROOT)))
        }
        Err(PubGrubError::NoSolution(proof)) => {
            Solved::Impossible { proof: Box::new(proof), is_all_listed: search.is_all_listed.get() }
        }
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
    set.newest_first(ground.versions(node)).find(|version| ground.is_usable(node, *version))
}

/// Returns how many versions of a node a set leaves. Going through them counts.
pub(super) fn left(ground: &Ground<'_>, node: u32, set: &Set) -> u32 {
    ground.spend(set.size());
    if is_component(ground, node) { set.count(ground.versions(node)) } else { 1 }
}

/// Returns the version of a set that is chosen for a node, if there is one.
pub(super) fn chosen(ground: &Ground<'_>, node: u32, set: &Set, missing: Missing) -> Option<u32> {
    match is_component(ground, node) {
        true if ground.closed(node).is_some() => None,
        true => newest(ground, node, set),
        false => Some(0).filter(|version| missing == Missing::Granted && set.contains(version)),
    }
}

/// Tells `each` what a release requires of other nodes, in its order; or why it cannot be chosen, behind a part of that perhaps.
pub(super) fn required(
    ground: &Ground<'_>,
    (node, version): (u32, u32),
    work: &Work<'_>,
    mut each: impl FnMut(u32, Set),
) -> Result<Result<(), Broken>, Undecided> {
    if !is_component(ground, node) {
        return Ok(Ok(()));
    }
    let Some(required) = ground.required(node, version) else { return Ok(Err(Broken::Unreadable)) };
    for edge in required {
        let Step::Node(target, met) = ground.step(edge) else { continue };
        work.charge(ground)?;
        let set = if is_component(ground, target) || ground.is_hosted(target) { met } else { Set::full() };
        if target != node {
            each(target, set);
        } else if !set.contains(&version) {
            return Ok(Err(Broken::OfItself));
        }
    }
    Ok(Ok(()))
}

fn is_component(ground: &Ground<'_>, node: u32) -> bool {
    node < ground.graph.components()
}

struct Search<'s, 'a> {
    ground: &'s Ground<'a>,
    roots: &'s [(u32, Set)],
    named: BTreeSet<u32>,
    missing: Missing,
    work: &'s Work<'s>,
    /// No version was wanted of an id that nobody lists.
    is_all_listed: Cell<bool>,
}

impl DependencyProvider for Search<'_, '_> {
    type P = u32;
    type V = u32;
    type VS = Set;
    type Priority = (bool, u32, Reverse<u32>);
    type M = Broken;
    type Err = Undecided;

    fn prioritize(&self, node: &u32, range: &Set, conflicts: &PackageResolutionStatistics) -> Self::Priority {
        let left = left(self.ground, *node, range);
        (self.named.contains(node), conflicts.conflict_count(), Reverse(left))
    }

    fn choose_version(&self, node: &u32, range: &Set) -> Result<Option<u32>, Undecided> {
        Ok(match *node {
            ROOT => Some(0),
            node => {
                self.is_all_listed.set(self.is_all_listed.get() && is_component(self.ground, node));
                chosen(self.ground, node, range, self.missing)
            }
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
        let mut constraints = Vec::new();
        let release = (*node, *version);
        Ok(match required(self.ground, release, self.work, |target, set| constraints.push((target, set)))? {
            Ok(()) => Dependencies::Available(constraints.into_iter().collect()),
            Err(broken) => Dependencies::Unavailable(broken),
        })
    }

    fn should_cancel(&self) -> Result<(), Undecided> {
        self.work.step(self.ground)
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
