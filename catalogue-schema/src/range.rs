//! Ranges over versions: whether some version meets two requirements at once, and where among sorted versions those stand
//! that can meet one. Never looks at what is published.
//!
//! The answer is exact, without interval arithmetic. Over stable versions every comparator is one interval, so if any
//! version meets all of them, the greatest of their lower bounds does; over the prereleases of one triple the same holds.
//! It is therefore enough to try every lower bound that a comparator can have.

use std::ops::Range;

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version};

use crate::version::VersionReq;

/// Tells whether some version meets both requirements. Prereleases follow Cargo's rule: each requirement must name a
/// prerelease of the same triple.
pub fn meet(one: &VersionReq, other: &VersionReq) -> bool {
    let both = [one.semver(), other.semver()];
    let comparators = || both.iter().flat_map(|requirement| &requirement.comparators);
    let witness = |version: Version| both.iter().all(|requirement| requirement.matches(&version));
    witness(Version::new(0, 0, 0))
        || comparators().flat_map(stable_bounds).any(witness)
        || comparators().any(|comparator| {
            comparators().flat_map(prerelease_bounds).any(|pre| witness(with_prerelease(comparator, pre)))
        })
}

/// Major, minor and patch version.
pub type Triple = (u64, u64, u64);

const HIGHEST: u64 = u64::MAX;

/// The least and the greatest triple that a version can have which meets a requirement, prereleases included. Not every
/// version between them meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    least: Triple,
    greatest: Triple,
}

impl Span {
    /// Returns the span of a requirement.
    pub fn of(requirement: &VersionReq) -> Span {
        let all = Span { least: (0, 0, 0), greatest: (HIGHEST, HIGHEST, HIGHEST) };
        requirement.semver().comparators.iter().map(span_of).fold(all, Span::and)
    }

    /// Returns the span of one comparator.
    pub fn of_one(comparator: &Comparator) -> Span {
        span_of(comparator)
    }

    /// Returns what both spans hold; nothing where they do not touch.
    pub fn and(self, other: Span) -> Span {
        Span { least: self.least.max(other.least), greatest: self.greatest.min(other.greatest) }
    }

    /// Returns which of `count` versions, oldest first, can meet the requirement; `triple` gives major, minor and patch version at
    /// a place.
    pub fn among(&self, count: usize, triple: impl Fn(usize) -> Triple) -> Range<usize> {
        let first = |is_reached: &dyn Fn(Triple) -> bool| {
            let (mut low, mut high) = (0, count);
            while low < high {
                let middle = low.midpoint(high);
                if is_reached(triple(middle)) { high = middle } else { low = middle + 1 }
            }
            low
        };
        let start = first(&|one| one >= self.least);
        let end = first(&|one| one > self.greatest);
        start..end.max(start)
    }

    /// Returns the places of [`Span::among`] from the newest version down, and looks at the newest first: mostly that is the one that
    /// is wanted, and nothing else has to be looked at.
    pub fn newest_first(
        self,
        count: usize,
        triple: impl Fn(usize) -> Triple + Copy,
    ) -> impl Iterator<Item = usize> {
        let is_newest_within = count.checked_sub(1).is_some_and(|newest| triple(newest) <= self.greatest);
        let end = if is_newest_within { count } else { self.among(count, triple).end };
        (0..end).rev().take_while(move |at| triple(*at) >= self.least)
    }
}

fn span_of(comparator: &Comparator) -> Span {
    let Comparator { op, major, minor, patch, .. } = *comparator;
    let least = (major, minor.unwrap_or(0), patch.unwrap_or(0));
    let open = (major, minor.unwrap_or(HIGHEST), patch.unwrap_or(HIGHEST));
    let below = Span { least: (0, 0, 0), greatest: open };
    let greatest = match op {
        Op::Exact => open,
        Op::LessEq => return below,
        Op::Less => return Span { greatest: least, ..below },
        Op::Tilde | Op::Wildcard => (open.0, open.1, HIGHEST),
        Op::Caret => match (major, minor, patch) {
            (0, Some(0), Some(patch)) => (0, 0, patch),
            (0, Some(minor), _) => (0, minor, HIGHEST),
            (major, ..) => (major, HIGHEST, HIGHEST),
        },
        // Whatever operator there may be one day: the whole is always right.
        Op::Greater | Op::GreaterEq => (HIGHEST, HIGHEST, HIGHEST),
        _ => return Span { least: (0, 0, 0), greatest: (HIGHEST, HIGHEST, HIGHEST) },
    };
    Span { least, greatest }
}

/// The versions at which the stable range of a comparator can start: the one that it names, and the next one after its
/// patch, minor or major version.
fn stable_bounds(comparator: &Comparator) -> Vec<Version> {
    let (major, minor) = (comparator.major, comparator.minor.unwrap_or(0));
    let patch = comparator.patch.unwrap_or(0);
    let mut bounds = vec![Version::new(major, minor, patch)];
    bounds.extend(patch.checked_add(1).map(|patch| Version::new(major, minor, patch)));
    bounds.extend(minor.checked_add(1).map(|minor| Version::new(major, minor, 0)));
    bounds.extend(major.checked_add(1).map(|major| Version::new(major, 0, 0)));
    bounds
}

/// The prereleases at which a range within one triple can start: the least of all (`0`), the one that the comparator
/// names, and its direct successor (`rc.1` is followed by `rc.1.0`).
fn prerelease_bounds(comparator: &Comparator) -> Vec<Prerelease> {
    let named = comparator.pre.as_str();
    if named.is_empty() {
        return Vec::new();
    }
    ["0", named, &format!("{named}.0")].into_iter().filter_map(|text| Prerelease::new(text).ok()).collect()
}

fn with_prerelease(comparator: &Comparator, pre: Prerelease) -> Version {
    Version {
        major: comparator.major,
        minor: comparator.minor.unwrap_or(0),
        patch: comparator.patch.unwrap_or(0),
        pre,
        build: BuildMetadata::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::version::{self, Grammar};

    fn triple_of(version: &version::Version) -> Triple {
        let semver = version.semver();
        (semver.major, semver.minor, semver.patch)
    }

    fn requirement(text: &str) -> VersionReq {
        VersionReq::parse(text, Grammar::Reference).unwrap()
    }

    fn check(one: &str, other: &str, expected: Meet) {
        let (one_read, other_read) = (requirement(one), requirement(other));
        let found = if meet(&one_read, &other_read) { Meet::Somewhere } else { Meet::Nowhere };
        assert_eq!(found, expected, "{one} and {other}");
        assert_eq!(meet(&one_read, &other_read), meet(&other_read, &one_read));
    }

    #[derive(Debug, PartialEq)]
    enum Meet {
        Somewhere,
        Nowhere,
    }
    use Meet::{Nowhere, Somewhere};

    #[test]
    fn requirements_meet_where_some_version_meets_both() {
        check("", "1", Somewhere);
        check("^1.2", "1", Somewhere);
        check("2", "1", Nowhere);
        check("^0.1", "^0.2", Nowhere);
        check(">1.2", "~1.2", Nowhere);
        check(">1.2.3", "~1.2", Somewhere);
        check(">=1.0.0, <2.0.0", "^1.9", Somewhere);
        check(">=1.0.0, <2.0.0", "2", Nowhere);
        check("<1.0.0", "0.9.9", Somewhere);
        check("<0.0.0", "*", Nowhere);
        check(">1.2.3, <1.2.4", "*", Nowhere);
        check(">=18446744073709551615.0.0", ">18446744073709551615", Nowhere);
        check(">1.2.18446744073709551615", "<1.4.0", Somewhere);
        check("1.0.0-rc.1", "1", Nowhere);
        check("1.0.0-rc.1", ">=1.0.0-beta", Somewhere);
        check(">1.0.0-rc.1, <1.0.0-rc.1.0", "*", Nowhere);
        check(">1.0.0-rc.1, <1.0.0-rc.2", ">=1.0.0-beta", Somewhere);
        check("<1.0.0-alpha", "<1.0.0-alpha", Somewhere);
    }

    fn comparator() -> impl Strategy<Value = String> {
        let operator = prop::sample::select(vec!["", "=", "^", "~", ">", ">=", "<", "<="]);
        let number = 0_u64..3;
        let full = (
            number.clone(),
            number.clone(),
            number.clone(),
            prop::sample::select(vec!["", "-a", "-a.0", "-b"]),
        )
            .prop_map(|(major, minor, patch, pre)| format!("{major}.{minor}.{patch}{pre}"));
        let version = prop_oneof![
            number.clone().prop_map(|major| major.to_string()),
            (number.clone(), number).prop_map(|(major, minor)| format!("{major}.{minor}")),
            full,
        ];
        (operator, version).prop_map(|(operator, version)| format!("{operator}{version}"))
    }

    fn any_requirement() -> impl Strategy<Value = VersionReq> {
        prop::collection::vec(comparator(), 0..3).prop_map(|parts| requirement(&parts.join(", ")))
    }

    /// Every version that can tell two requirements of the strategy above apart.
    fn universe() -> Vec<Version> {
        let mut versions = Vec::new();
        for code in 0..64 {
            for pre in ["", "-0", "-a", "-a.0", "-a.0.0", "-a.1", "-b", "-b.0"] {
                let text = format!("{}.{}.{}{pre}", code / 16, code / 4 % 4, code % 4);
                versions.push(Version::parse(&text).unwrap());
            }
        }
        versions
    }

    #[test]
    fn a_span_ends_where_the_requirement_does() {
        let versions: Vec<version::Version> =
            ["0.0.3", "0.1.0", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.2.9", "1.3.0", "2.0.0", "2.0.1"]
                .map(|text| version::Version::parse(text).unwrap())
                .into();
        let triple = |at: usize| triple_of(&versions[at]);
        let check = |text: &str, expected: &[&str]| {
            let span = Span::of(&requirement(text));
            let range = span.among(versions.len(), triple);
            let found: Vec<String> = versions[range.clone()].iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
            assert!(span.newest_first(versions.len(), triple).eq(range.rev()), "{text}");
            assert_eq!(span.newest_first(0, triple).next(), None, "{text}");
        };
        check("1.2.0", &["1.2.0"]);
        check("1.2", &["1.2.0", "1.2.9"]);
        check("^1.2", &["1.2.0", "1.2.9", "1.3.0"]);
        check("^0.0.3", &["0.0.3"]);
        check("^0.1", &["0.1.0"]);
        check(">=1.2, <2.0.0", &["1.2.0", "1.2.9", "1.3.0", "2.0.0"]);
        check(">=2, <1", &[]);
        check("<=1.0.0", &["0.0.3", "0.1.0", "1.0.0-rc.1", "1.0.0"]);
        check("1.*", &["1.0.0-rc.1", "1.0.0", "1.2.0", "1.2.9", "1.3.0"]);
        check(">9", &[]);
        assert_eq!(Span::of(&VersionReq::any()).among(versions.len(), triple), 0..versions.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn meeting_agrees_with_trying_every_version(one in any_requirement(), other in any_requirement()) {
            let brute = universe().iter().any(|v| one.semver().matches(v) && other.semver().matches(v));
            prop_assert_eq!(meet(&one, &other), brute, "{} and {}", one, other);
        }

        #[test]
        fn a_span_holds_every_version_that_meets_its_requirement(wanted in any_requirement()) {
            let mut versions: Vec<version::Version> =
                universe().iter().map(|one| version::Version::parse(&one.to_string()).unwrap()).collect();
            versions.sort();
            let triple = |at: usize| triple_of(&versions[at]);
            let range = Span::of(&wanted).among(versions.len(), triple);
            prop_assert!(Span::of(&wanted).newest_first(versions.len(), triple).eq(range.clone().rev()));
            for (place, version) in versions.iter().enumerate() {
                let meets = wanted.matches(version) || wanted.matches_prerelease(version);
                prop_assert!(!meets || range.contains(&place), "{} and {}", wanted, version);
            }
        }
    }
}
