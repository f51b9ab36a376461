//! What the suite cannot reach easily: ranks that differ at every height, bounds, and texts.
#![allow(clippy::unwrap_used)]

use catalogue_schema::dialect::{Errand, Stage};
use catalogue_schema::model::Place;

use super::*;
use crate::server::answer::tests::world;

/// A node: its `source/name`, the lists above it, and its rank from the source down, as priority and position.
type Written<'a> = (&'a str, &'a [&'a str], &'a [(i64, u32)]);

fn generation(nodes: &[Written<'_>]) -> Generation {
    let mut generation = world().generation.clone();
    let blank = generation.catalogues[0].clone();
    let id = |name: &str| CatalogueId {
        source: SourceId::parse(name.split('/').next().unwrap()).unwrap(),
        name: SourceId::parse(name.split_once('/').unwrap().1).unwrap(),
    };
    let state = |(name, via, rank): &Written<'_>| {
        let places =
            rank.iter().map(|(priority, position)| Place { priority: *priority, position: *position });
        let node = Node {
            id: id(name),
            via: via.iter().map(|name| id(name)).collect(),
            rank: Rank(places.collect()),
        };
        CatalogueState {
            errand: Errand { stage: Stage::Node(Box::new(node)), ..blank.errand.clone() },
            ..blank.clone()
        }
    };
    generation.catalogues = nodes.iter().map(state).collect();
    generation
}

#[test]
fn who_lost_is_told_by_the_first_place_that_differs() {
    let generation = generation(&[
        ("a/std", &["a/a"], &[(20, 0), (10, 0)]),
        ("a/more", &["a/a"], &[(20, 0), (30, 1)]),
        ("a/last", &["a/a"], &[(20, 0), (10, 2)]),
        ("a/deep", &["a/a", "a/list"], &[(20, 0), (10, 4), (0, 0)]),
        ("b/std", &["b/b"], &[(50, 1), (10, 0)]),
        ("c/std", &["c/c"], &[(20, 2), (10, 0)]),
    ]);
    let check = |loser: &str, expected: &str| {
        let id = |text: &str| CatalogueId {
            source: SourceId::parse(&text[..1]).unwrap(),
            name: SourceId::parse(&text[2..]).unwrap(),
        };
        assert_eq!(why_lost(&id("a/std"), &id(loser), &generation), expected, "{loser}");
    };
    check("b/std", "source a has priority 20, this one 50");
    check("c/std", "source a stands before it in the sources file; both have priority 20");
    check("a/more", "catalogue a/std has priority 10, this one 30");
    check("a/last", "catalogue a/std stands before it in its list; both have priority 10");
    check("a/deep", "catalogue a/std stands before it in its list; both have priority 10");
    check("a/unknown", "a/std stands before it");
}

fn asked(text: &str, prerelease: bool) -> Asked {
    Asked { reference: Reference::parse(text).unwrap(), natives: Vec::new(), prerelease }
}

#[test]
fn every_version_has_a_fate() {
    let world = world();
    let mut component = world.read("lcod://a/one").unwrap();
    let version = |text: &str, yanked: bool| {
        let version = Version::parse(text).unwrap();
        Release { version, yanked, ..component.releases[0].clone() }
    };
    let (yanked, prerelease) = (version("0.3.0", true), version("0.4.0-rc.1", false));
    let mut refused = version("0.3.1", false);
    refused.verdict = world.read("lcod://a/two").unwrap().releases[0].verdict.clone();
    component.releases.extend([yanked, refused, prerelease]);
    let packed = Packed::of(&component).unwrap();
    let check = |text: &str, prerelease: bool, expected: &str| {
        let asked = asked(text, prerelease);
        let chosen = select(&packed, &asked.reference.requirement, prerelease).ok();
        let rows = fates(&component, &asked, chosen.map(|one| &component.releases[one.at()]));
        let told: Vec<String> = rows.iter().map(|row| format!("{} {:?}", row.version, row.fate)).collect();
        assert_eq!(told.join(", "), expected, "{text}");
    };
    check(
        "lcod://a/one",
        false,
        "0.4.0-rc.1 Prerelease, 0.3.1 Refused, 0.3.0 Yanked, 0.2.0 Chosen, 0.1.0 Lower",
    );
    check(
        "lcod://a/one@^0.1",
        false,
        "0.4.0-rc.1 Outside, 0.3.1 Outside, 0.3.0 Outside, 0.2.0 Outside, 0.1.0 Chosen",
    );
    check("lcod://a/one", true, "0.4.0-rc.1 Chosen, 0.3.1 Refused, 0.3.0 Yanked, 0.2.0 Lower, 0.1.0 Lower");
    check(
        "lcod://a/one@^0.3",
        false,
        "0.4.0-rc.1 Outside, 0.3.1 Refused, 0.3.0 Yanked, 0.2.0 Outside, 0.1.0 Outside",
    );
}

#[test]
fn long_lists_are_bounded_and_counted() {
    let world = world();
    let one = world.read("lcod://a/one").unwrap();
    let versions = 0..CANDIDATES_MAX as u64 + 7;
    let many = versions.map(|at| Release {
        version: Version::parse(&format!("1.0.{at}")).unwrap(),
        ..one.releases[0].clone()
    });
    let wide = Component { releases: many.collect(), ..one.clone() };
    let dependents = (0..DEPENDENTS_MAX + 5).map(|at| {
        let id = ComponentId::parse(&format!("lcod://n{at:04}/x")).unwrap();
        let release = Release {
            id: id.clone(),
            dependencies: vec![Reference::parse("lcod://a/one@^1").unwrap()].into(),
            ..one.releases[0].clone()
        };
        Component { id, releases: vec![release], shadowed: Vec::new(), ..one.clone() }
    });
    let snapshot = Snapshot::of(world.generation.clone(), dependents.chain([wide.clone()]));
    let asked = asked("lcod://a/one@^1", false);
    let view = crate::server::answer::View::new(&snapshot);
    let records = Documents::default();
    let (policies, read) = (Policies::default(), |_: &Digest| None);
    let ground = Ground {
        snapshot: &snapshot,
        component: Some(&wide),
        records: &records,
        policies: &policies,
        read: &read,
        ledger: None,
    };
    let found = explain(&asked, ground, &view, |_| Value::Null);
    assert_eq!((found.candidates.len(), found.candidates_count), (CANDIDATES_MAX, CANDIDATES_MAX + 7));
    assert_eq!(
        (found.required_by.items.len(), found.required_by.count),
        (DEPENDENTS_MAX, DEPENDENTS_MAX + 5)
    );
    assert!(found.required_by.items.is_sorted_by_key(|row| &row.id));
    assert_eq!(found.chosen.map(ToString::to_string).as_deref(), Some("1.0.106"));
}

#[test]
fn a_command_is_quoted_where_a_shell_would_read_it() {
    assert_eq!(quoted("lcod://a/b@^1"), "lcod://a/b@^1");
    assert_eq!(quoted("lcod://a/b@>=1, <2"), "'lcod://a/b@>=1, <2'");
}
