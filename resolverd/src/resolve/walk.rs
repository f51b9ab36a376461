//! A walk ahead of the search: decides what the search would decide, in its order, for as long as nothing contradicts anything. Most
//! questions have their answer then, for a fraction of what the search spends on what it may have to take back.
//!
//! PubGrub decides the package of the highest priority, among equals the one that it met first, and chooses the newest version of
//! those that everything decided so far leaves. As long as no decided version is outside of a later requirement and some version
//! is left of every package, it takes nothing back and learns nothing, so that its answer is the one of this walk, version for
//! version. At the first contradiction the walk is forgotten: it never tells that there is no answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pubgrub::VersionSet;
use rustc_hash::FxHashMap;

use crate::resolve::ground::Ground;
use crate::resolve::set::Set;
use crate::resolve::solver::{Missing, Solution, Undecided, Work, chosen, left, required};

/// How a walk ended.
pub(super) enum Walked {
    /// With the answer of the search.
    Solution(Solution),
    /// With the answer of a search to which ids that nobody lists are granted; there are such.
    Granted(Solution),
    /// At a contradiction.
    Clash,
}

/// How urgent a node is: whether the caller names it, how few versions are left, how early it was met. It is what the search goes by
/// while there is no conflict.
type Urgency = (bool, Reverse<u32>, Reverse<u32>);

/// What is known of a node.
struct Met {
    node: u32,
    is_named: bool,
    /// The versions that are left.
    set: Set,
    /// How many those are.
    left: u32,
    decided: Option<u32>,
}

/// Walks from `roots` to everything that is needed. What it does counts as what is gone through, not as turns.
pub(super) fn walk(ground: &Ground<'_>, roots: &[(u32, Set)], work: &Work<'_>) -> Result<Walked, Undecided> {
    let mut walk = Walk { ground, met: Vec::new(), places: FxHashMap::default(), queue: BinaryHeap::new() };
    for (node, set) in roots {
        walk.meet(*node, set.clone(), true);
    }
    while let Some((_, Reverse(left), Reverse(place))) = walk.queue.pop() {
        let Met { node, ref set, left: now, decided, .. } = walk.met[place as usize];
        // It is in the queue once for each time that something was taken off it.
        if decided.is_some() || left != now {
            continue;
        }
        let Some(version) = chosen(ground, node, set, Missing::Granted) else { return Ok(Walked::Clash) };
        walk.met[place as usize].decided = Some(version);
        ground.spend(1);
        let mut is_held = true;
        let found = required(ground, (node, version), work, |target, set| {
            is_held = is_held && walk.meet(target, set, false);
        })?;
        if found.is_err() || !is_held {
            return Ok(Walked::Clash);
        }
        work.charge(ground)?;
    }
    let strangers = walk.met.iter().any(|met| met.node >= ground.graph.components());
    let solution = Solution::of(walk.met.iter().filter_map(|met| Some((met.node, met.decided?))));
    Ok(if strangers { Walked::Granted(solution) } else { Walked::Solution(solution) })
}

struct Walk<'w, 'a> {
    ground: &'w Ground<'a>,
    /// In the order in which they were met.
    met: Vec<Met>,
    places: FxHashMap<u32, u32>,
    queue: BinaryHeap<Urgency>,
}

impl Walk<'_, '_> {
    /// Takes a requirement into account; returns whether it leaves what is decided.
    fn meet(&mut self, node: u32, set: Set, is_named: bool) -> bool {
        let place = *self.places.entry(node).or_insert_with(|| {
            // Each is met at one of the graph's edges, of which there are fewer than 2^32.
            let place = u32::try_from(self.met.len()).unwrap_or(u32::MAX);
            self.met.push(Met { node, is_named, set: Set::full(), left: u32::MAX, decided: None });
            place
        });
        let met = &mut self.met[place as usize];
        if let Some(version) = met.decided {
            return set.contains(&version);
        }
        met.set = met.set.intersection(&set);
        let left = left(self.ground, node, &met.set);
        if met.left != left {
            met.left = left;
            self.queue.push((met.is_named, Reverse(left), Reverse(place)));
        }
        true
    }
}
