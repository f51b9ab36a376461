//! Tests of the graph: small ones by hand, and every requirement against every version.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::Component;
use crate::version::Version;

/// Each row is a name with versions and what they require, separated by spaces.
fn packed(rows: &[(&str, &[(&str, &str)])]) -> Vec<Packed> {
    let mut components: Vec<Packed> = rows.iter().map(|(name, releases)| one(name, releases)).collect();
    components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
    components
}

fn one(name: &str, releases: &[(&str, &str)]) -> Packed {
    let id = format!("lcod://{name}");
    let release = |(version, required): &(&str, &str)| {
        let required: Vec<String> = required.split_whitespace().map(|one| format!("lcod://{one}")).collect();
        json!({
            "id": id, "version": version, "origin": {}, "dependencies": required,
            "verdict": {"trusted": {"level": "pinned"}},
        })
    };
    let mut component: Component = serde_json::from_value(json!({
        "id": id, "owner": {"source": "main", "name": "std"},
        "releases": releases.iter().map(release).collect::<Vec<_>>(),
    }))
    .unwrap();
    component.releases.sort_by(|one, other| one.version.cmp(&other.version));
    Packed::of(&component).unwrap()
}

/// Prints what a release requires: node, text and intervals.
fn told(graph: &Graph, component: u32, version: u32) -> Vec<String> {
    let edges = graph.required(component, version).unwrap();
    edges.map(|edge| format!("{} {:?} {:?}", edge.target, graph.text(edge), graph.met_by(edge))).collect()
}

#[test]
fn requirements_become_nodes_and_intervals() {
    let components = packed(&[
        ("n/a", &[("1.0.0", "n/b@1 x/gone@^2"), ("1.1.0", "n/b@1 x/gone@^2"), ("2.0.0", "n/a@1 n/b x/gone")]),
        (
            "n/b",
            &[
                ("1.0.0", ""),
                ("1.1.0-rc.1", ""),
                ("1.1.0", ""),
                ("2.0.0", "n/b@9"),
                ("3.0.0-a", "n/b@>=1.1.0-a"),
            ],
        ),
    ]);
    let graph = Graph::of(&components);
    assert_eq!((graph.components(), graph.nodes(), graph.versions(0), graph.versions(1)), (2, 3, 3, 5));
    assert_eq!(graph.stranger(2).unwrap().as_text(), "lcod://x/gone");
    assert!(graph.stranger(1).is_none() && graph.stranger(3).is_none() && graph.required(1, 5).is_none());
    // A prerelease stands between the two that meet it.
    assert_eq!(told(&graph, 0, 0), [r#"1 "1" [(0, 1), (2, 3)]"#, r#"2 "^2" [(0, 0)]"#]);
    assert_eq!(told(&graph, 0, 0), told(&graph, 0, 1));
    assert_eq!(told(&graph, 0, 2), [r#"0 "1" [(0, 2)]"#, r#"1 "" [(0, 1), (2, 4)]"#, r#"2 "" [(0, 0)]"#]);
    assert!(told(&graph, 1, 0).is_empty());
    assert_eq!(told(&graph, 1, 3), [r#"1 "9" []"#]);
    assert_eq!(told(&graph, 1, 4), [r#"1 ">=1.1.0-a" [(1, 4)]"#]);
    assert_eq!(graph.lists[0], graph.lists[1], "equal lists are one");
}

#[test]
fn strangers_are_found_by_their_ids_without_looking_at_all_of_them() {
    const STRANGERS: usize = 1_000;
    // In an order that is none of their ids'.
    let required: Vec<String> = (0..STRANGERS).map(|at| format!("x/s{}", at * 7 % STRANGERS)).collect();
    let graph = Graph::of(&packed(&[("n/a", &[("1.0.0", &required.join(" "))])]));
    let check = |id: &str, expected: Option<u32>| {
        assert_eq!(graph.stranger_of(id), expected, "{id}");
        let mut comparisons = 0;
        let counted = graph.stranger_where(|one| {
            comparisons += 1;
            one.as_text().cmp(id)
        });
        assert_eq!(counted, expected, "{id}");
        assert!(comparisons <= STRANGERS.ilog2() + 2, "{id}: {comparisons} comparisons");
    };
    for node in 1..=STRANGERS as u32 {
        let id = graph.stranger(node).unwrap().as_text();
        check(id, Some(node));
    }
    for id in ["lcod://n/a", "lcod://x/s", "lcod://x/s1000", "lcod://x/s999a", "lcod://z/z", ""] {
        check(id, None);
    }
    assert_eq!(Graph::default().stranger_of("lcod://x/s1"), None);
}

#[test]
fn requirements_that_cannot_be_read_are_no_requirements_at_all() {
    let check = |text: &str, expected: Option<&[&str]>| {
        let read: Option<Vec<&str>> = references(text).collect();
        assert_eq!(read.as_deref(), expected, "{text}");
    };
    check(r#"["lcod://a/b@1"]"#, Some(&["lcod://a/b@1"]));
    check(r#"["a","b"]"#, Some(&["a", "b"]));
    check(r#"["a\u0041"]"#, None);
    check("[]", None);
    check("", None);
    let mut maker = Maker::new(&[], &|_| None);
    assert_eq!(maker.list(r#"["nothing at all"]"#), UNREADABLE);
    assert_eq!(maker.list("[]"), 0, "which is no list that cannot be read");
}

fn some_requirement() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["", "=", "^", "~", ">", ">=", "<", "<="]);
    let pre = prop::sample::select(vec!["", "", "-a", "-rc.1"]);
    let one = (operator, 0_u8..3, 0_u8..3, 0_u8..3, pre, 1_u8..4).prop_map(
        |(operator, major, minor, patch, pre, parts)| match parts {
            1 => format!("{operator}{major}"),
            2 => format!("{operator}{major}.{minor}"),
            _ => format!("{operator}{major}.{minor}.{patch}{pre}"),
        },
    );
    prop_oneof![1 => Just(String::new()), 9 => prop::collection::vec(one, 1..3).prop_map(|all| all.join(", "))]
}

fn some_versions() -> impl Strategy<Value = Vec<String>> {
    let pre = prop::sample::select(vec!["", "", "", "-a", "-rc.1", "-rc.2", "+b"]);
    let version = (0_u8..3, 0_u8..3, 0_u8..3, pre);
    prop::collection::btree_set(version, 1..20).prop_map(|all| {
        all.into_iter().map(|(major, minor, patch, pre)| format!("{major}.{minor}.{patch}{pre}")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intervals_agree_with_every_version(versions in some_versions(), text in some_requirement()) {
        let rows: Vec<(&str, &str)> = versions.iter().map(|version| (version.as_str(), "")).collect();
        let component = one("n/a", &rows);
        let requirement = VersionReq::parse(&text, Grammar::Reference).unwrap();
        for prereleases in [Prereleases::Named, Prereleases::Ordinary] {
            let intervals = among(&component, &requirement, prereleases);
            prop_assert!(intervals.is_sorted_by(|one, other| one.0 < one.1 && one.1 < other.0));
            for listed in component.all() {
                let version: Version = listed.version().unwrap();
                let expected = match prereleases {
                    Prereleases::Named => requirement.matches(&version),
                    Prereleases::Ordinary => requirement.matches_prerelease(&version),
                };
                let at = listed.at() as u32;
                let found = intervals.iter().any(|(from, to)| (*from..*to).contains(&at));
                prop_assert_eq!(found, expected, "{} and {}", version, text);
            }
        }
    }
}
