//! Sets of versions, as the search handles them, and what going through one costs.
//!
//! A version is a place among the releases of its component. Nearly every component has few releases, so that a set is mostly two
//! words of bits, and what the search does with sets mostly two instructions. Equal sets have one form.

use std::fmt;
use std::iter::Peekable;

use catalogue_schema::graph::Interval;
use pubgrub::VersionSet;

/// How many requirements, intervals or versions that are gone through count as one step: so many take about as long as a turn of a
/// small search (2026-11).
pub(super) const ITEMS_PER_STEP: u64 = 8;

/// How many bits tell a set apart; the last stands for its version and every later one.
const BITS: u32 = u128::BITS;

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Each version is a bit; the last bit is its version and all behind it.
    Bits(u128),
    /// What bits cannot say, by its borders: each is the first version that is inside where the one before it is not, or the other
    /// way round. Sorted, and the last is at least [`BITS`].
    Borders(Box<[u32]>),
}

impl Set {
    /// Returns the versions in any of these intervals, which are sorted and do not touch.
    pub(super) fn of(intervals: &[Interval]) -> Set {
        match intervals {
            [(from, to)] => Set::span(*from, *to),
            several => {
                Set::within(several.iter().filter(|(from, to)| from < to).flat_map(|(from, to)| [*from, *to]))
            }
        }
    }

    /// Returns the versions from the first up to and without the second.
    fn span(from: u32, to: u32) -> Set {
        match to {
            _ if from >= to => Set(Form::Bits(0)),
            0..BITS => Set(Form::Bits((1 << to) - (1 << from))),
            _ => Set(Form::Borders(Box::new([from, to]))),
        }
    }

    /// Returns the set that has these borders.
    fn within(borders: impl Iterator<Item = u32> + Clone) -> Set {
        match borders.clone().last() {
            Some(last) if last >= BITS => Set(Form::Borders(borders.collect())),
            _ => {
                let mut bits = borders.fold(0, |bits, border| bits | (1_u128 << border));
                // A version is inside where an odd number of borders lies at or before it.
                for shift in [1, 2, 4, 8, 16, 32, 64] {
                    bits ^= bits << shift;
                }
                Set(Form::Bits(bits))
            }
        }
    }

    /// Returns the same with one more version.
    pub(super) fn with(&self, version: u32) -> Set {
        self.union(&Set::singleton(version))
    }

    /// Returns how many intervals it is made of.
    pub(super) fn size(&self) -> u64 {
        let borders = match &self.0 {
            Form::Bits(bits) => u64::from((bits ^ (bits << 1)).count_ones()),
            Form::Borders(borders) => borders.len() as u64,
        };
        borders.div_ceil(2)
    }

    /// Returns its intervals among `count` versions, lowest first.
    pub(super) fn intervals(&self, count: u32) -> impl Iterator<Item = Interval> {
        let mut borders = self.borders();
        std::iter::from_fn(move || {
            let from = borders.next()?;
            let to = borders.next().unwrap_or(count).min(count);
            (from < to).then_some((from, to))
        })
    }

    /// Returns its versions among `count`, highest first.
    pub(super) fn newest_first(&self, count: u32) -> impl Iterator<Item = u32> {
        let (bits, several): (u128, &[u32]) = match &self.0 {
            Form::Bits(bits) => (*bits, &[]),
            Form::Borders(borders) => (0, borders),
        };
        let behind = if bits >> (BITS - 1) == 0 { count } else { BITS };
        let mut bits = if count < BITS { bits & ((1 << count) - 1) } else { bits };
        let early = std::iter::from_fn(move || {
            let top = bits.checked_ilog2()?;
            bits ^= 1 << top;
            Some(top)
        });
        let interval = move |borders: &[u32]| match *borders {
            [from, to] => (from..to.min(count)).rev(),
            [from] => (from..count).rev(),
            _ => (0..0).rev(),
        };
        (behind..count).rev().chain(early).chain(several.chunks(2).rev().flat_map(interval))
    }

    /// Returns how many of `count` versions it holds.
    pub(super) fn count(&self, count: u32) -> u32 {
        match &self.0 {
            Form::Bits(bits) if count < BITS => (bits & ((1 << count) - 1)).count_ones(),
            _ => self.intervals(count).map(|(from, to)| to - from).sum(),
        }
    }

    /// Tells whether it holds none of `count` versions.
    pub(super) fn holds_none(&self, count: u32) -> bool {
        self.intervals(count).next().is_none()
    }

    /// Returns its borders, lowest first.
    fn borders(&self) -> Borders<'_> {
        match &self.0 {
            Form::Bits(bits) => Borders { bits: bits ^ (bits << 1), several: &[] },
            Form::Borders(borders) => Borders { bits: 0, several: borders },
        }
    }

    /// Returns the versions that are inside where `keeps` says so of being in one and in the other. Neither is outside.
    fn combined(&self, other: &Set, keeps: impl Fn(bool, bool) -> bool + Clone) -> Set {
        let is_kept = move |(at, one, other): (u32, bool, bool)| (at, keeps(one, other));
        let kept = Parts::of(self, other).map(is_kept);
        let changed =
            kept.scan(false, |before, (at, now)| Some((std::mem::replace(before, now) != now).then_some(at)));
        Set::within(changed.flatten())
    }
}

/// The borders of a set that are still to come.
#[derive(Clone)]
struct Borders<'a> {
    bits: u128,
    several: &'a [u32],
}

impl Iterator for Borders<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.bits != 0 {
            let border = self.bits.trailing_zeros();
            self.bits &= self.bits - 1;
            return Some(border);
        }
        let (border, rest) = self.several.split_first()?;
        self.several = rest;
        Some(*border)
    }
}

/// Where two sets begin to stand otherwise to versions than before, and how.
#[derive(Clone)]
struct Parts<'a> {
    one: Peekable<Borders<'a>>,
    other: Peekable<Borders<'a>>,
    now: (bool, bool),
}

impl<'a> Parts<'a> {
    fn of(one: &'a Set, other: &'a Set) -> Parts<'a> {
        Parts { one: one.borders().peekable(), other: other.borders().peekable(), now: (false, false) }
    }
}

impl Iterator for Parts<'_> {
    type Item = (u32, bool, bool);

    fn next(&mut self) -> Option<(u32, bool, bool)> {
        let at = match (self.one.peek(), self.other.peek()) {
            (Some(one), Some(other)) => *one.min(other),
            (one, other) => *one.or(other)?,
        };
        self.now.0 ^= self.one.next_if_eq(&at).is_some();
        self.now.1 ^= self.other.next_if_eq(&at).is_some();
        Some((at, self.now.0, self.now.1))
    }
}

impl VersionSet for Set {
    type V = u32;

    fn empty() -> Set {
        Set(Form::Bits(0))
    }

    fn full() -> Set {
        Set(Form::Bits(u128::MAX))
    }

    fn singleton(version: u32) -> Set {
        Set::span(version, version.saturating_add(1))
    }

    fn complement(&self) -> Set {
        match &self.0 {
            Form::Bits(bits) => Set(Form::Bits(!bits)),
            Form::Borders(borders) => Set(Form::Borders(match borders.split_first() {
                Some((0, rest)) => rest.into(),
                _ => std::iter::once(0).chain(borders.iter().copied()).collect(),
            })),
        }
    }

    fn contains(&self, version: &u32) -> bool {
        match &self.0 {
            Form::Bits(bits) => (bits >> (*version).min(BITS - 1)) & 1 == 1,
            Form::Borders(borders) => borders.partition_point(|border| border <= version) % 2 == 1,
        }
    }

    fn intersection(&self, other: &Set) -> Set {
        match (&self.0, &other.0) {
            (Form::Bits(one), Form::Bits(other)) => Set(Form::Bits(one & other)),
            _ => self.combined(other, |one, other| one && other),
        }
    }

    fn union(&self, other: &Set) -> Set {
        match (&self.0, &other.0) {
            (Form::Bits(one), Form::Bits(other)) => Set(Form::Bits(one | other)),
            _ => self.combined(other, |one, other| one || other),
        }
    }

    fn is_disjoint(&self, other: &Set) -> bool {
        match (&self.0, &other.0) {
            (Form::Bits(one), Form::Bits(other)) => one & other == 0,
            _ => !Parts::of(self, other).any(|(_, one, other)| one && other),
        }
    }

    fn subset_of(&self, other: &Set) -> bool {
        match (&self.0, &other.0) {
            (Form::Bits(one), Form::Bits(other)) => one & !other == 0,
            _ => !Parts::of(self, other).any(|(_, one, other)| one && !other),
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let intervals = self.intervals(u32::MAX).map(|(from, to)| format!("{from}..{to}"));
        out.write_str(&intervals.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// More than fits into bits, so that borders lie on both sides of the last.
    const VERSIONS: u32 = 150;

    /// Says of each version whether it is inside; the last stands for all behind it.
    fn of(inside: &[bool]) -> Set {
        let mut set = inside
            .iter()
            .zip(0..)
            .filter(|(is_inside, _)| **is_inside)
            .fold(Set::empty(), |set, (_, version)| set.with(version));
        if inside.last() == Some(&true) {
            set = set.union(&Set::of(&[(0, VERSIONS)]).complement());
        }
        set
    }

    fn inside() -> impl Strategy<Value = Vec<bool>> {
        // Runs, as requirements make them, and as few or as many as there may be.
        let runs = prop::collection::vec((any::<bool>(), 1..60_usize), 1..20);
        runs.prop_map(|runs| {
            let all = runs.into_iter().flat_map(|(is_inside, length)| std::iter::repeat_n(is_inside, length));
            all.chain(std::iter::repeat(false)).take(VERSIONS as usize).collect()
        })
    }

    proptest! {
        #[test]
        fn sets_do_what_versions_do_one_by_one(one in inside(), other in inside()) {
            let (a, b) = (of(&one), of(&other));
            let pairs = || one.iter().copied().zip(other.iter().copied());
            let alike = |keeps: fn(bool, bool) -> bool| of(&pairs().map(|(a, b)| keeps(a, b)).collect::<Vec<_>>());
            prop_assert_eq!(a.intersection(&b), alike(|a, b| a && b));
            prop_assert_eq!(a.union(&b), alike(|a, b| a || b));
            prop_assert_eq!(a.complement().complement(), a.clone());
            prop_assert_eq!(a.intersection(&a.complement()), Set::empty());
            prop_assert_eq!(a.union(&a.complement()), Set::full());
            prop_assert_eq!(a.is_disjoint(&b), pairs().all(|(a, b)| !(a && b)));
            prop_assert_eq!(a.subset_of(&b), pairs().all(|(a, b)| !a || b));
            for count in [0, 1, 40, 127, 128, 129, VERSIONS] {
                let held: Vec<u32> = (0..count).filter(|at| one[*at as usize]).collect();
                prop_assert_eq!(held.iter().all(|version| a.contains(version)), true);
                prop_assert_eq!(a.count(count), held.len() as u32);
                prop_assert_eq!(a.holds_none(count), held.is_empty());
                prop_assert_eq!(a.newest_first(count).collect::<Vec<_>>(), held.iter().rev().copied().collect::<Vec<_>>());
                let listed: Vec<u32> = a.intervals(count).flat_map(|(from, to)| from..to).collect();
                prop_assert_eq!(&listed, &held);
                prop_assert_eq!(Set::of(&a.intervals(VERSIONS).collect::<Vec<_>>()).count(count), a.count(count));
            }
        }
    }

    #[test]
    fn what_is_equal_has_one_form() {
        let check = |one: Set, other: Set| assert_eq!(one, other);
        check(Set::of(&[]), Set::empty());
        check(Set::of(&[(3, 3)]), Set::empty());
        check(Set::of(&[(0, 127)]).complement().complement(), Set::of(&[(0, 127)]));
        check(Set::of(&[(120, 140)]).intersection(&Set::of(&[(0, 127)])), Set::of(&[(120, 127)]));
        check(Set::of(&[(120, 140)]).union(&Set::of(&[(120, 140)]).complement()), Set::full());
        check(Set::singleton(126).union(&Set::singleton(127)), Set::of(&[(126, 128)]));
        assert_eq!(Set::of(&[(1, 2), (126, 128), (140, 141)]).to_string(), "1..2 126..128 140..141");
        assert_eq!(Set::of(&[(1, 2), (126, 128), (140, 141)]).size(), 3);
        assert_eq!((Set::full().size(), Set::empty().size(), Set::of(&[(0, 4), (8, 9)]).size()), (1, 0, 2));
    }
}
