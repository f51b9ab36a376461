//! Tests of the walk: wherever it arrives, the search alone arrives at the same versions. Over random worlds and over a real graph.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::solving::{asking, some_question, some_rows, world_of};
use super::*;

/// How a walk ended that agrees with the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Nothing was there to walk from.
    Refused,
    Clash,
    Solution,
    Granted,
}

/// Walks, and searches as if nobody had walked.
fn compared(world: &World, request: &Request) -> Way {
    let ground = Ground::new(world, request, &request.references[0]);
    let (work, mut groups) = (Work::new(&LONG), BTreeMap::new());
    if ask_each(&ground, &mut groups, &work).is_err() {
        return Way::Refused;
    }
    let roots: Vec<(u32, Set)> = groups.iter().map(|(node, group)| (*node, group.met.clone())).collect();
    let (way, missing, walked) = match walk(&ground, &roots, &work).unwrap() {
        Walked::Solution(found) => (Way::Solution, Missing::Refused, found),
        Walked::Granted(found) => (Way::Granted, Missing::Granted, found),
        Walked::Clash => return Way::Clash,
    };
    let Solved::Solution(searched) = solve(&ground, &roots, missing, &work) else {
        panic!("{:?}: the search finds nothing", request.references);
    };
    let list = |found: &Solution| found.iter().collect::<Vec<_>>();
    assert_eq!(list(&walked), list(&searched), "{:?}", request.references);
    if way == Way::Granted {
        assert!(!absent(&ground, &walked).is_empty(), "{:?}", request.references);
    }
    way
}

/// A requirement: which component, from which version on, and of which kind.
type Wanted = (usize, u8, u8);

/// Ten components with up to six versions, each of which requires others from some version on: most of it fits.
fn wide_rows() -> impl Strategy<Value = Vec<(String, String)>> {
    let required = prop::collection::vec((0..10_usize, 1..5_u8, any::<u8>()), 0..5);
    let release = (0..10_usize, 1..7_u8, required);
    prop::collection::vec(release, 10..50).prop_map(|rows| {
        let by_release: BTreeMap<(usize, u8), Vec<Wanted>> =
            rows.into_iter().map(|(name, major, required)| ((name, major), required)).collect();
        let text = |(other, from, kind): Wanted| match kind {
            0..32 => format!("n/c{other}@{from}"),
            32..48 => format!("n/c{other}@<={from}.0.0"),
            48..52 => "k/gone".to_owned(),
            _ => format!("n/c{other}@>={from}.0.0"),
        };
        let row = |((name, major), required): ((usize, u8), Vec<Wanted>)| {
            let required: Vec<String> = required.into_iter().map(text).collect();
            (format!("n/c{name}@{major}.0.0"), required.join(" "))
        };
        by_release.into_iter().map(row).collect()
    })
}

fn wide_question() -> impl Strategy<Value = Vec<Reference>> {
    prop::collection::vec((0..10_usize, 1..4_u8), 1..4).prop_map(|all| {
        let one = |(name, from)| Reference::parse(&format!("lcod://n/c{name}@>={from}.0.0")).unwrap();
        all.into_iter().map(one).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_ends_where_the_search_does(rows in some_rows(), references in some_question()) {
        compared(&world_of(&rows), &asking(&references));
    }

    #[test]
    fn a_walk_through_much_that_fits_ends_where_the_search_does(
        rows in wide_rows(),
        references in wide_question(),
        locked in prop::collection::vec((0..10_usize, 1..7_u8), 0..4),
        natives in prop::collection::vec(0..10_usize, 0..2),
    ) {
        let locked = locked.into_iter().map(|(name, major)| {
            (ComponentId::parse(&format!("lcod://n/c{name}")).unwrap(), Version::parse(&format!("{major}.0.0")).unwrap())
        });
        let natives =
            natives.into_iter().map(|name| Native::Id(Reference::parse(&format!("lcod://n/c{name}@2")).unwrap()));
        let asked = Request { locked: locked.collect(), natives: natives.collect(), ..asking(&references) };
        compared(&world_of(&rows), &asked);
    }
}

/// A release as the data for tests has it.
#[derive(serde::Deserialize)]
struct Published {
    version: String,
    #[serde(default)]
    yanked: bool,
    requires: Vec<Required>,
}

#[derive(serde::Deserialize)]
struct Required {
    id: String,
    version: String,
}

/// Returns the real graph, with `operator` before every version that is required; `None` where there is no data.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where data lies")]
fn real_world(operator: &str) -> Option<(World, Vec<String>)> {
    let folder = std::env::var_os("RESOLVERD_DATA")?;
    let file = std::fs::File::open(std::path::Path::new(&folder).join("graph-bcr.json.gz")).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let graph: BTreeMap<String, Vec<Published>> = serde_json::from_str(&text).unwrap();
    let mut roots = Vec::new();
    let component = |(id, releases): (String, Vec<Published>)| {
        let release = |one: Published| {
            let text =
                |required: Required| format!("{}@{}", required.id, required.version.replace(">=", operator));
            json!({
                "id": id, "version": one.version, "origin": {}, "yanked": one.yanked,
                "dependencies": one.requires.into_iter().map(text).collect::<Vec<_>>(),
                "verdict": {"trusted": {"level": "pinned"}},
            })
        };
        let releases: Vec<Value> = releases.into_iter().map(release).collect();
        let owner = json!({"source": "bcr", "name": "modules"});
        let mut component: Component =
            serde_json::from_value(json!({"id": id, "owner": owner, "releases": releases})).unwrap();
        component.releases.sort_by(|one, other| one.version.cmp(&other.version));
        let newest = component.releases.iter().rev().find(|release| !release.yanked);
        roots.extend(newest.map(|newest| format!("{id}@{}", newest.version)));
        component
    };
    let components = graph.into_iter().map(component).collect();
    Some((world(components), roots))
}

#[test]
fn a_walk_over_a_real_graph_ends_where_the_search_does_from_every_root() {
    for (operator, solved) in [(">=", 1_242), ("~", 1), ("^", 1)] {
        // Whoever has the data sets the variable: cases that need it are told of elsewhere.
        let Some((world, roots)) = real_world(operator) else { return };
        let mut ways: BTreeMap<Way, usize> = BTreeMap::new();
        for root in &roots {
            *ways.entry(compared(&world, &request(&[root], &[]))).or_default() += 1;
        }
        assert_eq!((roots.len(), ways.get(&Way::Refused)), (1_242, None), "{operator}: {ways:?}");
        assert!(ways.get(&Way::Solution).is_some_and(|count| *count >= solved), "{operator}: {ways:?}");
    }
}
