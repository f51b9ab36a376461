//! Tests of resolve: tables over one small world, and properties against brute force.
#![allow(clippy::unwrap_used)]

use catalogue_schema::model::Component;
use catalogue_schema::version::Grammar;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod solving;
mod walking;

/// Components, sorted by id.
#[derive(Debug)]
struct World {
    components: Vec<Packed>,
    graph: Graph,
    blocked: Blocked,
}

fn never() -> bool {
    false
}

/// As long as it takes.
const LONG: Limits<'static> = Limits { steps: 100_000, is_over: &never };

impl Candidates for World {
    fn standing(&self, id: &ComponentId) -> Standing<'_> {
        if let Some(component) = self.components.iter().find(|component| component.id_text() == id.as_text())
        {
            return Standing::Known(component);
        }
        match self.blocked.namespace.contains(id) {
            true => Standing::Blocked(&self.blocked),
            false => Standing::Unknown,
        }
    }

    fn nearest(&self, _id: &ComponentId) -> Vec<ComponentId> {
        self.components.iter().map(|component| component.id().unwrap()).take(1).collect()
    }

    fn all(&self) -> (&[Packed], &Graph) {
        (&self.components, &self.graph)
    }
}

fn release(id: &str, text: &str) -> Value {
    let version = text.trim_end_matches(['!', '~', '&', '?']);
    let verdict = match text.contains('!') {
        true => json!({"refused": {"reason": "trust.digest_mismatch", "subject": id, "found": "x"}}),
        false => json!({"trusted": {"level": "pinned"}}),
    };
    let dependencies = if text.contains('&') { json!(["lcod://n/dep@1"]) } else { json!([]) };
    let warnings = match text.contains('?') {
        true => json!([{"reason": "input.odd", "text": "odd"}]),
        false => json!([]),
    };
    json!({
        "id": id, "version": version, "origin": {}, "verdict": verdict, "yanked": text.contains('~'),
        "dependencies": dependencies, "warnings": warnings,
    })
}

/// Marks behind a version: `!` refused, `~` yanked, `&` has a dependency, `?` has a warning.
fn component(name: &str, versions: &[&str]) -> Component {
    let id = format!("lcod://{name}");
    let releases: Vec<Value> = versions.iter().map(|text| release(&id, text)).collect();
    let owner = json!({"source": "main", "name": "std"});
    let mut component: Component =
        serde_json::from_value(json!({"id": id, "owner": owner, "releases": releases})).unwrap();
    component.releases.sort_by(|one, other| one.version.cmp(&other.version));
    component
}

fn world(components: Vec<Component>) -> World {
    let place = json!({"priority": 0, "position": 0});
    let blocked = json!({"namespace": "lcod://blocked/**", "source": "down", "place": place});
    let mut components: Vec<Packed> =
        components.iter().map(|component| Packed::of(component).unwrap()).collect();
    components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
    let graph = Graph::of(&components);
    World { components, graph, blocked: serde_json::from_value(blocked).unwrap() }
}

fn small_world() -> World {
    world(vec![
        component("n/a", &["1.0.0", "1.1.0", "1.2.0?", "2.0.0&", "2.1.0~", "3.0.0-rc.1"]),
        component("n/dep", &["1.0.0"]),
        component("n/b", &["0.1.0", "0.1.5", "0.2.0!", "0.2.1!"]),
        component("n/refused", &["1.0.0!", "1.1.0!"]),
        component("n/yanked", &["1.0.0~"]),
        component("n/pre", &["1.0.0-rc.1", "1.0.0-rc.2"]),
    ])
}

fn request(references: &[&str], natives: &[&str]) -> Request {
    let native = |text: &&str| match text.ends_with('/') {
        true => Native::Prefix((*text).into()),
        false => Native::Id(Reference::parse(text).unwrap()),
    };
    Request {
        references: references.iter().map(|text| Reference::parse(text).unwrap()).collect(),
        natives: natives.iter().map(native).collect(),
        ..Request::default()
    }
}

/// Prints an answer: the roots, or the reference and the cause that failed.
fn told(answer: &Result<Resolution<'_>, Conflict>) -> String {
    match answer {
        Ok(resolution) => resolution.roots.join(" "),
        Err(conflict) => {
            let cause = match &conflict.cause {
                Cause::Unknown { nearest } => format!("unknown, near {}", nearest[0]),
                Cause::Blocked(blocked) => format!("blocked by {}", blocked.source),
                Cause::NoVersion { available, yanked, prerelease } => {
                    let text = |version: &Option<Version>| version.as_ref().map(Version::to_string);
                    let (yanked, prerelease) = (text(yanked), text(prerelease));
                    format!("no version of {}, yanked {yanked:?}, pre {prerelease:?}", available.len())
                }
                Cause::Refused { version, refusal } => format!("refused {version}: {}", refusal.reason),
                Cause::Unreadable { found } => found.clone(),
                Cause::Disjoint { requirements } => {
                    let texts: Vec<String> = requirements.iter().map(VersionReq::to_string).collect();
                    format!("disjoint {}", texts.join(" | "))
                }
                Cause::Closed(closed) => closed.to_string(),
                Cause::Host(version) => format!("host {version}"),
                Cause::Missing(absent) => {
                    let row = |one: &Absent| {
                        format!("{} for {}", one.references.join(" "), one.required_by.join(" "))
                    };
                    format!("missing {}", absent.iter().map(row).collect::<Vec<_>>().join(", "))
                }
                Cause::Circular(how) => how.clone(),
                Cause::SchemaTwice(twice) => format!("{} twice", twice.schema),
                Cause::SchemasUnmet(unmet) => format!("{} schemas unmet", unmet.len()),
                Cause::Unfetched { releases } => format!("unfetched {}", releases.join(" ")),
                Cause::Impossible(derivation) => derivation.text(),
                Cause::Undecided(undecided) => undecided.to_string(),
            };
            format!("{}: {cause}", conflict.reference)
        }
    }
}

fn check(references: &[&str], natives: &[&str], expected: &str) {
    let world = small_world();
    assert_eq!(
        told(&resolve(&world, &request(references, natives), &LONG)),
        expected,
        "{references:?} {natives:?}"
    );
}

#[test]
fn the_newest_release_that_may_be_used_is_chosen() {
    check(&[], &[], "");
    check(&["lcod://n/a"], &[], "lcod://n/a@2.0.0");
    check(&["lcod://n/a@1"], &[], "lcod://n/a@1.2.0");
    check(&["lcod://n/a@~1.1"], &[], "lcod://n/a@1.1.0");
    check(&["lcod://n/a@>=3.0.0-rc.1"], &[], "lcod://n/a@3.0.0-rc.1");
    check(&["lcod://n/b"], &[], "lcod://n/b@0.1.5");
    check(&["lcod://n/b", "lcod://n/a@1.0.0"], &[], "lcod://n/b@0.1.5 lcod://n/a@1.0.0");
    check(&["lcod://n/a@^1", "lcod://n/a@<1.2.0"], &[], "lcod://n/a@1.1.0 lcod://n/a@1.1.0");
}

#[test]
fn a_failure_names_the_first_reference_without_an_answer_and_its_cause() {
    check(&["lcod://n/nothing"], &[], "lcod://n/nothing: unknown, near lcod://n/a");
    check(&["lcod://blocked/x@1"], &[], "lcod://blocked/x@1: blocked by down");
    check(&["lcod://n/a@2.1"], &[], "lcod://n/a@2.1: no version of 5, yanked Some(\"2.1.0\"), pre None");
    check(&["lcod://n/a@3"], &[], "lcod://n/a@3: no version of 5, yanked None, pre Some(\"3.0.0-rc.1\")");
    check(&["lcod://n/yanked"], &[], "lcod://n/yanked: no version of 0, yanked Some(\"1.0.0\"), pre None");
    check(&["lcod://n/pre"], &[], "lcod://n/pre: no version of 2, yanked None, pre Some(\"1.0.0-rc.2\")");
    check(&["lcod://n/refused"], &[], "lcod://n/refused: refused 1.1.0: trust.digest_mismatch");
    check(&["lcod://n/b@0.2"], &[], "lcod://n/b@0.2: refused 0.2.1: trust.digest_mismatch");
    check(&["lcod://n/a@1", "lcod://n/a@2"], &[], "lcod://n/a@2: disjoint 1 | 2");
    check(
        &["lcod://n/a@1", "lcod://n/nothing", "lcod://n/a@2"],
        &[],
        "lcod://n/nothing: unknown, near lcod://n/a",
    );
    check(&["lcod://n/b", "lcod://n/b@0.2"], &[], "lcod://n/b@0.2: refused 0.2.1: trust.digest_mismatch");
}

#[test]
fn a_native_wins_over_any_catalogue_where_its_versions_do() {
    let prefix = ["lcod://n/"];
    check(&["lcod://n/a@7"], &prefix, "lcod://n/a@7");
    check(&["lcod://n/nothing"], &prefix, "lcod://n/nothing");
    check(&["lcod://blocked/x"], &["lcod://blocked/x"], "lcod://blocked/x");
    check(&["lcod://n/a@^1.1"], &["lcod://n/a@1"], "lcod://n/a@^1.1");
    check(&["lcod://n/a@2"], &["lcod://n/a@1"], "lcod://n/a@2.0.0");
    check(&["lcod://n/a@2", "lcod://n/a@1"], &["lcod://n/a@1"], "lcod://n/a@2.0.0 lcod://n/a@1");
    check(&["lcod://n/a@9.0.0-rc.1"], &["lcod://n/a"], "lcod://n/a@9.0.0-rc.1");
    let world = small_world();
    let asked = request(&["lcod://n/b@7", "lcod://n/a@7", "lcod://n/a@7", "lcod://n/nothing"], &prefix);
    let resolution = resolve(&world, &asked, &LONG).unwrap();
    assert!(resolution.picks.is_empty() && resolution.warnings.is_empty());
    assert_eq!(resolution.natives, ["lcod://n/a@7", "lcod://n/b@7", "lcod://n/nothing"]);
    let hidden: Vec<&str> = resolution.hidden_by_natives.iter().map(|found| found.id_text()).collect();
    assert_eq!(hidden, ["lcod://n/a", "lcod://n/b"]);
}

#[test]
fn picks_say_who_asked_and_warnings_say_what_to_know() {
    let world = small_world();
    let asked = request(&["lcod://n/b", "lcod://n/a@^1", "lcod://n/a@1", "lcod://n/a@^1"], &[]);
    let resolution = resolve(&world, &asked, &LONG).unwrap();
    let picks: Vec<String> = resolution
        .picks
        .iter()
        .map(|pick| format!("{} {:?} {:?}", pick.component.id_text(), pick.requested, pick.required_by))
        .collect();
    assert_eq!(
        picks,
        [r#"lcod://n/a ["1", "^1"] [Request(1), Request(2), Request(3)]"#, r#"lcod://n/b [""] [Request(0)]"#]
    );
    let reasons = |resolution: &Resolution<'_>| -> Vec<String> {
        resolution.warnings.iter().map(|warning| format!("{}: {}", warning.reason, warning.text)).collect()
    };
    let found = reasons(&resolution);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "input.odd: lcod://n/a@1.2.0: odd");
    assert!(found[1].starts_with("resolve.refused_newer: lcod://n/b@0.2.0 is newer than 0.1.5"));
    assert!(found[2].contains("lcod://n/b@0.2.1") && found[2].contains("trust.digest_mismatch"));
}

#[test]
fn a_request_may_ask_for_prereleases() {
    let world = small_world();
    let asked = Request { prerelease: true, ..request(&["lcod://n/pre", "lcod://n/a@3"], &[]) };
    assert_eq!(told(&resolve(&world, &asked, &LONG)), "lcod://n/pre@1.0.0-rc.2 lcod://n/a@3.0.0-rc.1");
}

const NAMES: [&str; 3] = ["n/a", "n/b", "n/c"];

fn some_component(name: &'static str) -> impl Strategy<Value = Component> {
    let mark = prop::sample::select(vec!["", "", "", "!", "~", "!~", "&", "?"]);
    let pre = prop::sample::select(vec!["", "", "", "-rc.1"]);
    let version = (0_u8..3, 0_u8..3, 0_u8..2, pre, mark);
    prop::collection::vec(version, 1..8).prop_map(move |rows| {
        let mut by_version: BTreeMap<String, &str> = BTreeMap::new();
        for (major, minor, patch, pre, mark) in rows {
            by_version.insert(format!("{major}.{minor}.{patch}{pre}"), mark);
        }
        let texts: Vec<String> =
            by_version.iter().map(|(version, mark)| format!("{version}{mark}")).collect();
        component(name, &texts.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

fn some_world() -> impl Strategy<Value = World> {
    (some_component(NAMES[0]), some_component(NAMES[1]))
        .prop_map(|(a, b)| world(vec![a, b, component("n/dep", &["1.0.0"])]))
}

fn some_requirement() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["", "^", "~", ">=", "<", "<=", ">", "="]);
    let version = (0_u8..3, 0_u8..3, 0_u8..2, prop::sample::select(vec!["", "", "-rc.0"]), 1_u8..4);
    let single = (operator, version).prop_map(|(operator, (major, minor, patch, pre, parts))| match parts {
        1 => format!("{operator}{major}"),
        2 => format!("{operator}{major}.{minor}"),
        _ => format!("{operator}{major}.{minor}.{patch}{pre}"),
    });
    prop_oneof![Just(String::new()), single]
}

fn some_request() -> impl Strategy<Value = Request> {
    let name = prop::sample::select(NAMES.to_vec());
    let reference = (name, some_requirement()).prop_map(|(name, requirement)| match requirement.as_str() {
        "" => format!("lcod://{name}"),
        requirement => format!("lcod://{name}@{requirement}"),
    });
    let native = prop::sample::select(vec!["lcod://n/a@1", "lcod://n/c", "lcod://n/b@<1.0.0"]);
    let lists = (prop::collection::vec(reference, 0..5), prop::collection::vec(native, 0..3), any::<bool>());
    lists.prop_map(|(references, natives, prerelease)| {
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        Request { prerelease, ..request(&references, &natives) }
    })
}

fn picks(resolution: &Resolution<'_>) -> Vec<String> {
    resolution.picks.iter().map(Pick::name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selecting_agrees_with_brute_force(
        component in some_component("n/a"),
        requirement in some_requirement(),
        prerelease: bool,
    ) {
        let requirement = VersionReq::parse(&requirement, Grammar::Reference).unwrap();
        let fits = |version: &Version| {
            requirement.matches(version) || (prerelease && requirement.matches_prerelease(version))
        };
        let mut usable: Vec<&Version> = component
            .releases
            .iter()
            .filter(|release| !release.yanked && release.verdict.refusal().is_none() && fits(&release.version))
            .map(|release| &release.version)
            .collect();
        usable.sort();
        let packed = Packed::of(&component).unwrap();
        let found = select(&packed, &requirement, prerelease).map(|release| release.version().unwrap());
        match usable.last() {
            Some(newest) => prop_assert_eq!(found.as_ref(), Ok(*newest)),
            None => prop_assert!(found.is_err()),
        }
    }

    #[test]
    fn an_answer_meets_every_reference(world in some_world(), request in some_request()) {
        if let Ok(resolution) = resolve(&world, &request, &LONG) {
            for (wanted, root) in request.references.iter().zip(&resolution.roots) {
                if resolution.natives.contains(root) && *root == wanted.to_string() {
                    continue;
                }
                let is_it = |pick: &&Pick<'_>| pick.component.id_text() == wanted.id.as_text();
                let pick = resolution.picks.iter().find(is_it).unwrap();
                prop_assert!(fits(&pick.release, &[&wanted.requirement], request.prerelease));
                prop_assert!(pick.release.is_usable());
            }
        }
    }

    #[test]
    fn removing_a_reference_never_breaks_an_answer(
        world in some_world(),
        request in some_request(),
        position in any::<prop::sample::Index>(),
    ) {
        if resolve(&world, &request, &LONG).is_ok() && !request.references.is_empty() {
            let mut fewer = request.clone();
            fewer.references.remove(position.index(request.references.len()));
            prop_assert!(resolve(&world, &fewer, &LONG).is_ok());
        }
    }

    #[test]
    fn the_order_of_references_changes_no_pick(world in some_world(), request in some_request()) {
        let mut turned = request.clone();
        turned.references.reverse();
        let (one, other) = (resolve(&world, &request, &LONG), resolve(&world, &turned, &LONG));
        prop_assert_eq!(one.is_ok(), other.is_ok());
        if let (Ok(one), Ok(other)) = (one, other) {
            prop_assert_eq!(picks(&one), picks(&other));
            prop_assert_eq!(&one.warnings, &other.warnings);
            prop_assert_eq!(&one.natives, &other.natives);
        }
    }
}
