//! Sets of versions, as the search handles them, and what going through one costs.

use std::fmt;
use std::ops::Bound;

use catalogue_schema::graph::Interval;
use pubgrub::{Ranges, VersionSet};

/// How many requirements, intervals or versions that are gone through count as one step: so many take about as long as a turn of a
/// small search (2026-11).
pub(super) const ITEMS_PER_STEP: u64 = 8;

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

impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}
