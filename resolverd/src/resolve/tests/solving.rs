//! Tests of following requirements: tables over written worlds, and properties against brute force.

use std::cell::Cell;

use catalogue_schema::project::Allowed;

use super::*;

/// Releases with what they require; marks behind a version as in [`component`].
fn written_world(rows: &[(&str, &str)]) -> World {
    let mut components: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (release_text, required) in rows {
        let (name, version) = release_text.split_once('@').unwrap();
        let id = format!("lcod://{name}");
        let mut release = release(&id, version);
        let required: Vec<String> = required.split_whitespace().map(|one| format!("lcod://{one}")).collect();
        release["dependencies"] = json!(required);
        if version.contains('%') {
            release["unfetched"] = json!(true);
            release["version"] = json!(version.trim_end_matches('%'));
        }
        components.entry(id).or_default().push(release);
    }
    let components = components.into_iter().map(|(id, releases)| {
        let owner = json!({"source": "main", "name": "std"});
        let mut component: Component =
            serde_json::from_value(json!({"id": id, "owner": owner, "releases": releases})).unwrap();
        component.releases.sort_by(|one, other| one.version.cmp(&other.version));
        component
    });
    world(components.collect())
}

/// Resolves ids below `lcod://`, and prints the picks in their order, or why there is none.
fn solved(world: &World, request: &Request) -> String {
    match resolve(world, request, &LONG) {
        Ok(resolution) => picks(&resolution).join(" ").replace("lcod://", ""),
        failed => told(&failed).replace("lcod://", ""),
    }
}

fn check(rows: &[(&str, &str)], references: &[&str], natives: &[&str], expected: &str) {
    let ids = |texts: &[&str]| texts.iter().map(|text| format!("lcod://{text}")).collect::<Vec<_>>();
    let (references, natives) = (ids(references), ids(natives));
    let texts = |all: &'_ [String]| all.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let request = request(
        &references.iter().map(String::as_str).collect::<Vec<_>>(),
        &natives.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let found = solved(&written_world(rows), &request);
    assert_eq!(found, expected, "{} {}", texts(&references), texts(&natives));
}

const APP: &[(&str, &str)] = &[
    ("n/app@1.0.0", "n/lib@^1 n/log@1"),
    ("n/app@2.0.0", "n/lib@^2 n/log@1"),
    ("n/lib@1.0.0", ""),
    ("n/lib@1.1.0", "k/map@1"),
    ("n/lib@2.0.0", "n/log@2"),
    ("n/log@1.0.0", ""),
    ("n/log@1.5.0", ""),
    ("n/log@1.6.0!", ""),
    ("n/log@1.7.0~", ""),
    ("n/log@2.0.0", ""),
];

#[test]
fn requirements_are_followed_and_what_contradicts_is_given_up() {
    // The newest app needs two versions of the log at once; the newest lib of the one before needs what nobody has.
    check(APP, &["n/app"], &[], "n/lib@1.0.0 n/log@1.5.0 n/app@1.0.0");
    check(APP, &["n/app"], &["k/map@1"], "n/lib@1.1.0 n/log@1.5.0 n/app@1.0.0");
    check(APP, &["n/app", "n/log@1.0.0"], &[], "n/lib@1.0.0 n/log@1.0.0 n/app@1.0.0");
    check(APP, &["n/lib@2"], &[], "n/log@2.0.0 n/lib@2.0.0");
    check(APP, &["n/app"], &["n/lib", "n/log/"], "n/log@1.5.0 n/app@2.0.0");
    check(APP, &["n/app"], &["n/"], "");
    check(APP, &["n/lib@1.1.0"], &[], "n/lib@1.1.0: missing k/map@1 for n/lib@1.1.0");
    check(APP, &["n/lib@1.1.0"], &["k/map@2"], "n/lib@1.1.0: missing k/map@1 for n/lib@1.1.0");
    check(APP, &["n/lib@1.1.0"], &["k/map@1.4"], "n/lib@1.1.0");
}

#[test]
fn a_contradiction_names_who_requires_what_of_whom() {
    check(
        APP,
        &["n/app@2"],
        &[],
        "n/app@2: no choice of versions meets every requirement:\n\
         - request 0 asks for n/app@2\n\
         - n/app@2.0.0 (main/std) requires n/log@1\n\
         - n/app@2.0.0 (main/std) requires n/lib@^2\n\
         - n/lib@2.0.0 (main/std) requires n/log@2",
    );
    check(
        &[("n/a@1.0.0", "n/b@^9"), ("n/b@1.0.0", ""), ("n/b@2.0.0", "")],
        &["n/a"],
        &[],
        "n/a: no choice of versions meets every requirement:\n\
         - request 0 asks for n/a\n\
         - n/a@1.0.0 (main/std) requires n/b@^9, which no version meets (there are 2.0.0, 1.0.0)",
    );
    check(
        &[("n/a@1.0.0", "n/b@^1"), ("n/b@1.0.0!", ""), ("n/b@1.1.0~", "")],
        &["n/a"],
        &[],
        "n/a: no choice of versions meets every requirement:\n\
         - request 0 asks for n/a\n\
         - n/a@1.0.0 (main/std) requires n/b@^1\n\
         - n/b, every version (the newest of 2 is 1.1.0) (main/std) may not be chosen: 1.1.0 withdrawn by its author; \
         1.0.0 refused: trust.digest_mismatch: found x",
    );
}

#[test]
fn missing_ids_are_all_named_where_nothing_else_is_wrong() {
    let rows =
        &[("n/a@1.0.0", "k/one@1 n/b"), ("n/b@1.0.0", "k/two@2 blocked/x@1"), ("n/c@1.0.0", "n/b@^7 k/one")];
    check(rows, &["n/a"], &["blocked/"], "n/a: missing k/one@1 for n/a@1.0.0, k/two@2 for n/b@1.0.0");
    let World { .. } = written_world(rows);
    let found = resolve(&written_world(rows), &request(&["lcod://n/a"], &[]), &LONG).unwrap_err();
    let Cause::Missing(absent) = found.cause else { panic!("{found:?}") };
    assert_eq!(absent.iter().filter(|one| one.blocked.is_some()).count(), 1, "{absent:?}");
    let found = resolve(&written_world(rows), &request(&["lcod://n/c"], &[]), &LONG).unwrap_err();
    assert!(matches!(found.cause, Cause::Impossible(_)), "{found:?}");
}

#[test]
fn what_requires_itself_in_a_circle_is_chosen_and_said() {
    let rows = &[
        ("n/a@1.0.0", "n/b"),
        ("n/b@1.0.0", "n/c@1"),
        ("n/c@1.0.0", "n/a@1 n/d"),
        ("n/d@1.0.0", "n/d@1"),
        ("n/e@1.0.0", "n/a"),
        ("n/f@1.0.0", "n/f@2"),
    ];
    let world = written_world(rows);
    let asked = request(&["lcod://n/e"], &[]);
    let resolution = resolve(&world, &asked, &LONG).unwrap();
    let order = picks(&resolution).join(" ").replace("lcod://", "");
    assert_eq!(order, "n/d@1.0.0 n/a@1.0.0 n/b@1.0.0 n/c@1.0.0 n/e@1.0.0");
    let circles: Vec<String> = resolution
        .warnings
        .iter()
        .map(|one| format!("{} {}", one.reason, one.text.replace("lcod://", "")))
        .collect();
    assert_eq!(
        circles,
        [
            "resolve.cycle releases require each other in a circle: n/a@1.0.0 -> n/b@1.0.0 -> n/c@1.0.0 -> n/a@1.0.0",
            "resolve.cycle releases require each other in a circle: n/d@1.0.0 -> n/d@1.0.0",
        ]
    );
    let said = solved(&world, &request(&["lcod://n/f"], &[]));
    assert!(
        said.contains("n/f@1.0.0 (main/std) cannot be chosen: it requires another version of itself"),
        "{said}"
    );
}

#[test]
fn picks_say_who_required_them_and_what_met_what_they_require() {
    let world = written_world(APP);
    let asked = request(&["lcod://n/log@1", "lcod://n/app"], &["lcod://k/map@1"]);
    let resolution = resolve(&world, &asked, &LONG).unwrap();
    let rows: Vec<String> = resolution
        .picks
        .iter()
        .map(|pick| {
            let links: Vec<String> = pick
                .dependencies
                .iter()
                .map(|link| format!("{} {} {:?}", link.id, link.requirement, link.to))
                .collect();
            format!("{} {:?} {:?} {links:?}", pick.name(), pick.requested, pick.required_by)
        })
        .collect();
    assert_eq!(
        rows,
        [
            r#"lcod://n/lib@1.1.0 ["^1"] [Pick(2)] ["lcod://k/map 1 Native"]"#,
            r#"lcod://n/log@1.5.0 ["1"] [Request(0), Pick(2)] []"#,
            r#"lcod://n/app@1.0.0 [""] [Request(1)] ["lcod://n/lib ^1 Pick(0)", "lcod://n/log 1 Pick(1)"]"#,
        ]
    );
    assert_eq!(resolution.roots, ["lcod://n/log@1.5.0", "lcod://n/app@1.0.0"]);
    assert_eq!(resolution.natives, ["lcod://k/map@1"]);
    assert_eq!(
        resolution.warnings.len(),
        1,
        "of the log that is newer and refused: {:?}",
        resolution.warnings
    );
}

#[test]
fn a_lock_is_preferred_and_may_hold_what_was_withdrawn() {
    let world = written_world(APP);
    let check = |locked: &[&str], references: &[&str], expected: &str| {
        let references: Vec<String> = references.iter().map(|text| format!("lcod://{text}")).collect();
        let asked = request(&references.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let read = |text: &&str| catalogue_schema::id::parse_release_id(&format!("lcod://{text}")).unwrap();
        let asked = Request { locked: locked.iter().map(read).collect(), ..asked };
        assert_eq!(solved(&world, &asked), expected, "{locked:?}");
    };
    check(&["n/log@1.0.0"], &["n/app"], "n/lib@1.0.0 n/log@1.0.0 n/app@1.0.0");
    check(&["n/log@1.7.0"], &["n/app"], "n/lib@1.0.0 n/log@1.7.0 n/app@1.0.0");
    check(&["n/log@1.6.0"], &["n/app"], "n/lib@1.0.0 n/log@1.5.0 n/app@1.0.0");
    check(&["n/log@2.0.0"], &["n/app"], "n/lib@1.0.0 n/log@1.5.0 n/app@1.0.0");
    check(&["n/log@1.0.0"], &["n/log@1.5.0"], "n/log@1.5.0");
    check(&["n/log@1.7.0"], &["n/log@1"], "n/log@1.7.0");
    check(&["n/log@9.9.9", "n/gone@1.0.0"], &["n/log@1"], "n/log@1.5.0");
}

fn overlaid(
    replace: &[(&str, &str)],
    bindings: &[(&str, &str)],
    allowed: &[&str],
    sources: Option<&[&str]>,
) -> Overlay {
    let map = |rows: &[(&str, &str)]| {
        rows.iter()
            .map(|(from, to)| {
                let id = ComponentId::parse(&format!("lcod://{from}")).unwrap();
                (id, Reference::parse(&format!("lcod://{to}")).unwrap())
            })
            .collect()
    };
    let allowed = allowed.iter().map(|text| Allowed::parse(&format!("lcod://{text}")).unwrap());
    let sources = sources.map(|sources| {
        sources.iter().map(|text| catalogue_schema::id::SourceId::parse(text).unwrap()).collect()
    });
    Overlay::new(map(replace), map(bindings), allowed.collect(), sources).unwrap()
}

#[test]
fn a_project_replaces_binds_and_narrows() {
    let rows = &[
        ("n/app@1.0.0", "n/old@^1 c/map@1"),
        ("n/old@1.0.0", ""),
        ("n/new@1.2.0", ""),
        ("n/new@2.0.0", ""),
        ("i/map@0.3.0", ""),
    ];
    let world = written_world(rows);
    let check = |overlay: Overlay, natives: &[&str], expected: &str| {
        let asked = Request { overlay, ..request(&["lcod://n/app"], natives) };
        let found = solved(&world, &asked);
        assert!(found.starts_with(expected), "{asked:?}: {found}");
    };
    let bound: &[(&str, &str)] = &[("c/map", "i/map")];
    check(overlaid(&[], bound, &[], None), &[], "i/map@0.3.0 n/old@1.0.0 n/app@1.0.0");
    check(overlaid(&[], bound, &[], None), &["lcod://c/"], "i/map@0.3.0 n/old@1.0.0 n/app@1.0.0");
    check(overlaid(&[], &[], &[], None), &["lcod://c/"], "n/old@1.0.0 n/app@1.0.0");
    check(overlaid(&[("n/old", "n/new")], bound, &[], None), &[], "i/map@0.3.0 n/new@1.2.0 n/app@1.0.0");
    check(overlaid(&[("n/old", "n/new@2")], bound, &[], None), &[], "i/map@0.3.0 n/new@2.0.0 n/app@1.0.0");
    check(
        overlaid(&[("n/old", "k/gone")], bound, &[], None),
        &[],
        "n/app: missing k/gone@^1 (in place of n/old@^1: the overlay's replace) for n/app@1.0.0",
    );
    check(overlaid(&[("n/app", "n/new")], &[], &[], None), &[], "n/new@2.0.0");
    check(overlaid(&[], bound, &["n/", "i/map"], None), &[], "i/map@0.3.0 n/old@1.0.0");
    check(overlaid(&[], bound, &["n/"], None), &[], "n/app: no choice");
    check(overlaid(&[], bound, &["i/"], None), &[], "n/app: is not on the project's allowlist");
    check(overlaid(&[], bound, &[], Some(&["main"])), &[], "i/map@0.3.0 n/old@1.0.0");
    check(overlaid(&[], bound, &[], Some(&["other"])), &[], "n/app: belongs to source main");
    let asked = Request {
        overlay: overlaid(&[("n/old", "n/new")], bound, &[], None),
        ..request(&["lcod://n/app"], &[])
    };
    let resolution = resolve(&world, &asked, &LONG).unwrap();
    let told: Vec<String> = resolution
        .substitutions
        .iter()
        .map(|one| format!("{} {} {}", one.id, one.to, one.by.word()))
        .collect();
    assert_eq!(told, ["lcod://c/map lcod://i/map binding", "lcod://n/old lcod://n/new replace"]);
}

#[test]
fn a_host_meets_what_its_version_meets_and_nothing_else_does() {
    let rows = &[("n/app@1.0.0", "n/host@^1"), ("n/app@2.0.0", "n/host@^2"), ("n/host@2.5.0", "")];
    let world = written_world(rows);
    let check = |version: &str, reference: &str, expected: &str| {
        let id = ComponentId::parse("lcod://n/host").unwrap();
        let natives = vec![Native::Host(id, Version::parse(version).unwrap())];
        let found = solved(&world, &Request { natives, ..request(&[reference], &[]) });
        assert!(found.contains(expected), "{version} {reference}: {found}");
    };
    check("1.3.0", "lcod://n/app", "n/app@1.0.0");
    check("2.0.0", "lcod://n/app", "n/app@2.0.0");
    check("3.0.0", "lcod://n/app", "requires n/host@^2 or n/host@^1, and the host has 3.0.0");
    check("3.0.0", "lcod://n/host@2", "n/host@2: host 3.0.0");
}

#[test]
fn what_was_not_fetched_is_no_answer_unless_its_catalogue_says_what_it_requires() {
    let rows = &[("n/a@1.0.0", "n/b@^1"), ("n/b@1.0.0", ""), ("n/b@1.1.0%", ""), ("n/c@1.0.0%", "n/b@1.0.0")];
    check(rows, &["n/a"], &[], "n/a: unfetched n/b@1.1.0");
    check(rows, &["n/b@1.1.0"], &[], "n/b@1.1.0: unfetched n/b@1.1.0");
    check(rows, &["n/c"], &[], "n/b@1.0.0 n/c@1.0.0");
}

#[test]
fn a_search_ends_where_it_is_told_to() {
    let world = written_world(APP);
    let asked = request(&["lcod://n/app"], &[]);
    let steps = Limits { steps: 2, is_over: &never };
    let found = resolve(&world, &asked, &steps).unwrap_err();
    assert_eq!(found.cause, Cause::Undecided(Undecided::Steps(2)));
    // A chain that is long enough for somebody to look at the clock.
    let rows: Vec<(String, String)> = (0..100)
        .map(|n| (format!("n/c{n}@1.0.0"), format!("n/c{}", n + 1)))
        .chain([("n/c100@1.0.0".to_owned(), String::new())])
        .collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    let world = written_world(&rows);
    let looks = Cell::new(0);
    let is_over = || {
        looks.set(looks.get() + 1);
        looks.get() > 3
    };
    let asked = request(&["lcod://n/c0"], &[]);
    let found = resolve(&world, &asked, &Limits { steps: 1_000, is_over: &is_over }).unwrap_err();
    assert_eq!((found.cause, looks.get()), (Cause::Undecided(Undecided::Time), 4));
    assert_eq!(resolve(&world, &asked, &LONG).unwrap().picks.len(), 101);
}

#[test]
fn a_chain_of_any_length_is_followed_and_its_end_is_told() {
    let length = 3_000;
    let mut rows: Vec<(String, String)> =
        (0..length).map(|n| (format!("n/c{n}@1.0.0"), format!("n/c{}@1", n + 1))).collect();
    let chain = |rows: &[(String, String)]| {
        let rows: Vec<(&str, &str)> =
            rows.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
        written_world(&rows)
    };
    rows.push((format!("n/c{length}@1.0.0"), String::new()));
    let asked = request(&["lcod://n/c0"], &[]);
    assert_eq!(resolve(&chain(&rows), &asked, &LONG).unwrap().picks.len(), length + 1);
    rows.last_mut().unwrap().0 = format!("n/c{length}@2.0.0");
    let found = resolve(&chain(&rows), &asked, &LONG).unwrap_err();
    let Cause::Impossible(derivation) = found.cause else { panic!("{:?}", found.cause) };
    assert!(derivation.is_cut && derivation.text().lines().count() <= reason::LINES_MAX);
}

#[test]
fn a_conflict_blames_whom_the_overlay_puts_there() {
    let rows = &[("n/app@1.0.0", "n/old@^1"), ("n/old@1.0.0", ""), ("n/new@2.0.0", ""), ("i/map@0.3.0", "")];
    let world = written_world(rows);
    let failed = |references: &[&str], overlay: Overlay| {
        let asked = Request { overlay, ..request(references, &[]) };
        resolve(&world, &asked, &LONG).unwrap_err()
    };
    let found = failed(&["lcod://n/app"], overlaid(&[("n/old", "n/new@3")], &[], &[], None));
    let Cause::Impossible(derivation) = found.cause else { panic!("{found:?}") };
    let expected = "requires lcod://n/new@3 (in place of lcod://n/old@^1: the overlay's replace), which no version meets";
    assert!(derivation.text().contains(expected), "{}", derivation.text());
    let check = |references: &[&str], overlay: Overlay, expected: (&str, By)| {
        let found = failed(references, overlay);
        let (asked, by) = found.instead_of.clone().unwrap();
        assert_eq!((found.reference.to_string().as_str(), by), expected);
        assert_eq!(asked.to_string(), references[0]);
    };
    check(
        &["lcod://n/old@^1"],
        overlaid(&[("n/old", "n/new")], &[], &[], None),
        ("lcod://n/new@^1", By::Replace),
    );
    check(
        &["lcod://c/map@1"],
        overlaid(&[], &[("c/map", "i/map@^1")], &[], None),
        ("lcod://i/map@^1", By::Binding),
    );
}

#[test]
fn a_lock_may_hold_a_prerelease_as_it_may_hold_what_was_withdrawn() {
    let rows = &[
        ("n/app@1.0.0", "n/log@^1"),
        ("n/log@1.0.0", ""),
        ("n/log@1.1.0-rc.1", ""),
        ("n/log@1.1.0-rc.2", ""),
        ("n/log@1.2.0-rc.1!", ""),
        ("n/log@2.0.0-rc.1", ""),
    ];
    let world = written_world(rows);
    let check = |locked: &str, reference: &str, natives: &[&str], expected: &str| {
        let asked = request(&[reference], natives);
        let locked = catalogue_schema::id::parse_release_id(locked).unwrap();
        let asked = Request { locked: vec![locked], ..asked };
        assert_eq!(solved(&world, &asked), expected, "{:?}", asked.locked);
    };
    for natives in [&[][..], &["lcod://k/"]] {
        check("lcod://n/log@1.1.0-rc.1", "lcod://n/app", natives, "n/log@1.1.0-rc.1 n/app@1.0.0");
        check("lcod://n/log@1.1.0-rc.1", "lcod://n/log@1", natives, "n/log@1.1.0-rc.1");
        check("lcod://n/log@1.2.0-rc.1", "lcod://n/app", natives, "n/log@1.0.0 n/app@1.0.0");
        check("lcod://n/log@2.0.0-rc.1", "lcod://n/app", natives, "n/log@1.0.0 n/app@1.0.0");
        check("lcod://n/log@1.1.0-rc.1", "lcod://n/log@1.0.0", natives, "n/log@1.0.0");
    }
}

#[test]
fn requirements_and_intervals_count_as_work() {
    let texts: Vec<(String, String)> = (0..400)
        .map(|n| (format!("n/v@1.{n}.0{}", if n % 2 == 0 { "-rc.1" } else { "" }), String::new()))
        .chain([(
            "n/many@1.0.0".to_owned(),
            (0..200).map(|n| format!("n/v@>=1.{n}.0,<2.0.0")).collect::<Vec<_>>().join(" "),
        )])
        .collect();
    let world = world_of(&texts);
    let asked = request(&["lcod://n/many"], &[]);
    // Two releases, but two hundred requirements of a hundred intervals and more each.
    let few = Limits { steps: 1_000, is_over: &never };
    let found = resolve(&world, &asked, &few).unwrap_err();
    assert_eq!(found.cause, Cause::Undecided(Undecided::Steps(1_000)));
    assert_eq!(resolve(&world, &asked, &LONG).unwrap().picks.len(), 2);
}

#[test]
fn what_is_asked_often_is_looked_at_once_and_told_once() {
    let world = written_world(&[("n/a@1.0.0", "n/b@1"), ("n/b@1.0.0", "n/c@2"), ("n/c@1.0.0", "")]);
    let mut asked = request(&["lcod://n/a@1"], &[]);
    asked.references = vec![asked.references[0].clone(); 10_000];
    // Not enough for one step for each.
    let found = resolve(&world, &asked, &Limits { steps: 200, is_over: &never }).unwrap_err();
    let Cause::Impossible(derivation) = found.cause else { panic!("{found:?}") };
    let told = derivation.facts.iter().find_map(|fact| match &fact.what {
        reason::What::Requires { requests, references, .. } if fact.about.is_none() => {
            Some((requests.len(), references.len()))
        }
        _ => None,
    });
    assert_eq!(told, Some((10_000, 1)));
}

#[test]
fn before_and_after_the_search_somebody_looks_at_the_time() {
    let rows: Vec<(String, String)> = (0..300).map(|n| (format!("n/v@1.{n}.0"), String::new())).collect();
    let world = world_of(&rows);
    let over = || true;
    let references: Vec<String> = (0..100).map(|n| format!("lcod://n/v@>=1.{n}.0")).collect();
    let asked = request(&references.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let found = resolve(&world, &asked, &Limits { steps: 1_000_000, is_over: &over }).unwrap_err();
    assert_eq!(found.cause, Cause::Undecided(Undecided::Time), "before");
    let world = written_world(APP);
    let asked = request(&["lcod://n/log@1"], &[]);
    let found = resolve(&world, &asked, &Limits { steps: 1_000, is_over: &over }).unwrap_err();
    assert_eq!(found.cause, Cause::Undecided(Undecided::Time), "after");
}

const MANY: [&str; 5] = ["n/a", "n/b", "n/c", "n/d", "k/gone"];

/// A world of four components with up to four versions each, and requirements among them and on one id that nobody lists.
pub(super) fn some_rows() -> impl Strategy<Value = Vec<(String, String)>> {
    let requirement =
        prop::sample::select(vec!["", "@1", "@2", "@3", "@^1", "@<3.0.0", "@>=2.0.0", "@=2.0.0"]);
    // What nobody lists is required more rarely than what somebody does.
    let target = prop::sample::select(vec![0_usize, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]);
    let required = prop::collection::vec((target, requirement), 0..3);
    let mark = prop::sample::select(vec!["", "", "", "", "!", "~"]);
    let release = (0..4_usize, 1..5_u8, mark, required);
    prop::collection::vec(release, 1..14).prop_map(|rows| {
        let mut by_release: BTreeMap<(usize, u8), (String, String)> = BTreeMap::new();
        for (name, major, mark, required) in rows {
            let required: Vec<String> =
                required.into_iter().map(|(target, text)| format!("{}{text}", MANY[target])).collect();
            let row = (format!("{}@{major}.0.0{mark}", MANY[name]), required.join(" "));
            by_release.insert((name, major), row);
        }
        by_release.into_values().collect()
    })
}

pub(super) fn world_of(rows: &[(String, String)]) -> World {
    let rows: Vec<(&str, &str)> = rows.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    written_world(&rows)
}

/// Tries every choice of at most one version for each component.
fn brute(rows: &[(String, String)], references: &[Reference]) -> bool {
    let mut releases: BTreeMap<&str, Vec<(Version, Vec<Reference>)>> = BTreeMap::new();
    for (text, required) in rows {
        let (name, version) = text.split_once('@').unwrap();
        if version.ends_with(['!', '~']) {
            continue;
        }
        let required =
            required.split_whitespace().map(|one| Reference::parse(&format!("lcod://{one}")).unwrap());
        releases.entry(name).or_default().push((Version::parse(version).unwrap(), required.collect()));
    }
    let names: Vec<&str> = releases.keys().copied().collect();
    let choices: usize = names.iter().map(|name| releases[name].len() + 1).product();
    (0..choices).any(|mut code| {
        let mut chosen: BTreeMap<&str, &(Version, Vec<Reference>)> = BTreeMap::new();
        for name in &names {
            let count = releases[name].len() + 1;
            if let Some(release) = releases[name].get(code % count) {
                chosen.insert(name, release);
            }
            code /= count;
        }
        let is_met = |wanted: &Reference| {
            chosen.get(wanted.id.path()).is_some_and(|(version, _)| wanted.requirement.matches(version))
        };
        references.iter().all(is_met) && chosen.values().all(|(_, required)| required.iter().all(is_met))
    })
}

pub(super) fn some_question() -> impl Strategy<Value = Vec<Reference>> {
    let requirement = prop::sample::select(vec!["", "@1", "@2", "@>=2.0.0", "@<3.0.0"]);
    prop::collection::vec((0..4_usize, requirement), 1..4).prop_map(|all| {
        all.into_iter()
            .map(|(name, text)| Reference::parse(&format!("lcod://{}{text}", MANY[name])).unwrap())
            .collect()
    })
}

pub(super) fn asking(references: &[Reference]) -> Request {
    Request { references: references.to_vec(), ..Request::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn solving_agrees_with_trying_everything(rows in some_rows(), references in some_question()) {
        let (world, asked) = (world_of(&rows), asking(&references));
        let found = resolve(&world, &asked, &LONG);
        prop_assert_eq!(found.is_ok(), brute(&rows, &references), "{:?}", found.as_ref().err());
        if let Ok(resolution) = &found {
            for pick in &resolution.picks {
                prop_assert!(pick.release.is_usable());
                let release = pick.release.release().unwrap();
                for wanted in release.dependencies.iter() {
                    let met = resolution.picks.iter().find(|one| one.component.id_text() == wanted.id.as_text());
                    prop_assert!(wanted.requirement.matches(&met.unwrap().release.version().unwrap()));
                }
            }
        }
    }

    #[test]
    fn fewer_requirements_never_break_an_answer(
        rows in some_rows(),
        references in some_question(),
        at in any::<prop::sample::Index>(),
    ) {
        if resolve(&world_of(&rows), &asking(&references), &LONG).is_ok() {
            let mut fewer = rows.clone();
            fewer[at.index(rows.len())].1 = String::new();
            prop_assert!(resolve(&world_of(&fewer), &asking(&references), &LONG).is_ok());
        }
    }

    #[test]
    fn what_is_called_counts_like_what_is_required(
        rows in some_rows(),
        references in some_question(),
        calls in prop::collection::vec(any::<bool>(), 14),
    ) {
        // Some releases do not say what they need.
        let (mut bare, mut called) = (rows.clone(), Vec::new());
        for ((name, required), _) in bare.iter_mut().zip(&calls).filter(|(_, calls)| **calls) {
            let needs = std::mem::take(required);
            let needs: Vec<Reference> =
                needs.split_whitespace().map(|one| Reference::parse(&format!("lcod://{one}")).unwrap()).collect();
            called.push((name.trim_end_matches(['!', '~']).to_owned(), needs));
        }
        let (whole, part) = (world_of(&rows), world_of(&bare));
        let place = |name: &str| {
            let (id, version) = name.split_once('@').unwrap();
            let node = catalogue_schema::graph::place_of(&format!("lcod://{id}"), &part.components).unwrap();
            let listed = part.components[node as usize].exact(&Version::parse(version).unwrap()).unwrap();
            (node, u32::try_from(listed.at()).unwrap())
        };
        let lists = called.iter().map(|(name, needs)| (place(name), needs.as_slice()));
        let calls = Some(Arc::new(Additions::of(&part.graph, &part.components, lists)));
        let (asked, with_calls) = (asking(&references), Request { calls, ..asking(&references) });
        let (expected, found) = (resolve(&whole, &asked, &LONG), resolve(&part, &with_calls, &LONG));
        prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?}", found.as_ref().err());
        match (&expected, &found) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(picks(expected), picks(found)),
            // What a release calls is told as called, beside what other versions of it require.
            _ if told(&found).contains(" calls ") => {}
            _ => prop_assert_eq!(told(&expected), told(&found)),
        }
    }

    #[test]
    fn what_nobody_asks_for_changes_nothing_and_neither_does_asking_again(
        rows in some_rows(),
        references in some_question(),
    ) {
        let mut more = rows.clone();
        for name in ["a/first", "n/bb", "z/last"] {
            more.push((format!("{name}@1.0.0"), "n/a n/b@1 k/gone".to_owned()));
        }
        let told_of = |rows: &[(String, String)]| {
            let (world, asked) = (world_of(rows), asking(&references));
            let found = resolve(&world, &asked, &LONG);
            match &found {
                Ok(resolution) => format!("{:?} {:?}", picks(resolution), resolution.warnings),
                Err(_) => told(&found),
            }
        };
        let once = told_of(&rows);
        prop_assert_eq!(&once, &told_of(&rows));
        // What resembles an id may change; what is chosen may not.
        if !once.contains("near") {
            prop_assert_eq!(once, told_of(&more));
        }
    }

    /// One component of a lock is chosen anew after more was published. Whatever else changes has a reason: put back alone, it would
    /// no longer fit; and where what is locked fits the new version as it is, nothing else changes at all.
    #[test]
    fn an_update_of_one_component_changes_nothing_else_without_a_reason(
        rows in some_rows(),
        references in some_question(),
        published in any::<u16>(),
        at in any::<prop::sample::Index>(),
    ) {
        let older: Vec<(String, String)> =
            rows.iter().enumerate().filter(|(row, _)| published & (1 << row) != 0).map(|(_, row)| row.clone()).collect();
        let (before_world, after_world) = (world_of(&older), world_of(&rows));
        let asked = asking(&references);
        let chosen = |resolution: &Resolution<'_>| -> BTreeMap<ComponentId, Version> {
            let pair = |pick: &Pick<'_>| (pick.component.id().unwrap(), pick.release.version().unwrap());
            resolution.picks.iter().map(pair).collect()
        };
        let Ok(first) = resolve(&before_world, &asked, &LONG) else { return Ok(()) };
        let before = chosen(&first);
        if before.is_empty() {
            return Ok(());
        }
        let updated = before.keys().nth(at.index(before.len())).unwrap().clone();
        let locked: Vec<(ComponentId, Version)> =
            before.iter().filter(|(id, _)| **id != updated).map(|(id, version)| (id.clone(), version.clone())).collect();
        let request = Request { locked, ..asked };
        let second = resolve(&after_world, &request, &LONG);
        prop_assert!(second.is_ok(), "what was locked is a solution still: {}", told(&second));
        let after = chosen(second.as_ref().unwrap());
        for (id, version) in before.iter().filter(|(id, _)| **id != updated) {
            let Some(now) = after.get(id).filter(|now| *now != version) else { continue };
            let mut put_back = after.clone();
            put_back.insert(id.clone(), version.clone());
            prop_assert!(!fits_together(&rows, &references, &put_back), "{id} {version} -> {now} in {before:?} -> {after:?}");
        }
        if let Some(now) = after.get(&updated) {
            let mut alone = before.clone();
            alone.insert(updated.clone(), now.clone());
            if fits_together(&rows, &references, &alone) {
                let others = |all: &BTreeMap<ComponentId, Version>| -> BTreeMap<ComponentId, Version> {
                    all.iter().filter(|(id, _)| **id != updated && after.contains_key(*id)).map(|(id, version)| (id.clone(), version.clone())).collect()
                };
                prop_assert_eq!(others(&before), others(&after));
            }
        }
    }
}

/// Tells whether these versions meet what is asked for and what they require of each other.
fn fits_together(
    rows: &[(String, String)],
    references: &[Reference],
    chosen: &BTreeMap<ComponentId, Version>,
) -> bool {
    let is_met = |wanted: &Reference| {
        chosen.get(&wanted.id).is_some_and(|version| wanted.requirement.matches(version))
    };
    let required = |id: &ComponentId, version: &Version| {
        let name = format!("{}@{version}", id.path());
        let row = rows.iter().find(|(text, _)| text.trim_end_matches(['!', '~']) == name).unwrap();
        row.1
            .split_whitespace()
            .map(|one| Reference::parse(&format!("lcod://{one}")).unwrap())
            .collect::<Vec<_>>()
    };
    references.iter().all(is_met)
        && chosen.iter().all(|(id, version)| required(id, version).iter().all(is_met))
}
