//! More releases than all sources together may list: who is refused hangs on the order of places, on nothing else.

use super::*;

/// `source: health, reason of its error: versions that it answers with`, in the order of the sources.
fn told(world: &World) -> Vec<String> {
    let snapshot = world.snapshot();
    let owned = |id: &SourceId| -> Vec<String> {
        let components = snapshot.read_all().into_iter();
        let own = components.filter(|component| component.owner.source == *id);
        own.flat_map(|one| {
            one.releases.iter().map(|release| format!("{}", release.version)).collect::<Vec<_>>()
        })
        .collect()
    };
    let one = |state: &SourceState| {
        let id = &state.source.id;
        let reason = state.error.as_ref().map_or("", |error| &*error.reason);
        format!("{id} {:?} {reason} {}", state.health, owned(id).join(" "))
    };
    snapshot.generation.sources.iter().map(one).collect()
}

const SOURCES: [(&str, &str); 4] = [("a", "a.jsonl"), ("b", "b.jsonl"), ("c", "c.jsonl"), ("d", "d.jsonl")];

fn world() -> World {
    let world = World::new();
    world.rows("a.jsonl", &["a/x@1.0.0", "a/y@1.0.0"]);
    world.rows("b.jsonl", &["b/x@1.0.0", "b/y@1.0.0", "b/z@1.0.0"]);
    world.rows("c.jsonl", &["c/x@1.0.0"]);
    world.rows("d.jsonl", &["d/x@1.0.0"]);
    world
}

#[test]
fn the_source_that_would_pass_the_limit_is_refused_in_the_order_of_places() {
    for (limit, expected) in [
        (7, ["a Fresh  1.0.0 1.0.0", "b Fresh  1.0.0 1.0.0 1.0.0", "c Fresh  1.0.0", "d Fresh  1.0.0"]),
        (
            6,
            [
                "a Fresh  1.0.0 1.0.0",
                "b Fresh  1.0.0 1.0.0 1.0.0",
                "c Fresh  1.0.0",
                "d Unread limit.releases ",
            ],
        ),
        (4, ["a Fresh  1.0.0 1.0.0", "b Unread limit.releases ", "c Fresh  1.0.0", "d Fresh  1.0.0"]),
        (
            3,
            [
                "a Fresh  1.0.0 1.0.0",
                "b Unread limit.releases ",
                "c Fresh  1.0.0",
                "d Unread limit.releases ",
            ],
        ),
        (0, ["a", "b", "c", "d"]),
    ] {
        // Four threads read them: which of them comes first is chance.
        for _ in 0..4 {
            let mut world = world();
            world.limits.releases = limit;
            world.sync(&SOURCES);
            let expected = match limit {
                0 => expected.map(|id| format!("{id} Unread limit.releases ")).to_vec(),
                _ => expected.map(str::to_owned).to_vec(),
            };
            assert_eq!(told(&world), expected, "{limit}");
        }
    }
}

#[test]
fn a_refused_source_keeps_its_last_good_entries_and_its_ids() {
    let mut world = world();
    world.limits.releases = 7;
    world.sync(&SOURCES);
    // It grows beyond the limit.
    world.rows("b.jsonl", &["b/u@1.0.0", "b/v@1.0.0", "b/x@1.1.0", "b/y@1.0.0", "b/z@1.0.0", "d/x@9.0.0"]);
    let report = world.sync(&SOURCES);
    assert_eq!(
        told(&world),
        [
            "a Fresh  1.0.0 1.0.0",
            "b Stale limit.releases 1.0.0 1.0.0 1.0.0",
            "c Fresh  1.0.0",
            "d Fresh  1.0.0"
        ]
    );
    let error = report.sources[1].error.as_ref().expect("an error");
    assert!(
        error.expected.contains("at most 7 releases of all sources together (limits.releases)"),
        "{error}"
    );
    assert!(error.found.starts_with("6 in this source, and 5 left"), "{error}");
    assert!(!world.sync(&SOURCES).changed, "it stays so");
    world.run(&SOURCES, Scope::Named(&[SourceId::parse("a").expect("an id")]));
    assert_eq!(told(&world)[1], "b Stale limit.releases 1.0.0 1.0.0 1.0.0", "while others are read");

    world.limits.releases = 10;
    world.sync(&SOURCES);
    assert_eq!(told(&world)[1], "b Fresh  1.0.0 1.0.0 1.1.0 1.0.0 1.0.0 9.0.0");
    // A held source is not refused by a lowered limit; a source that is read is.
    world.limits.releases = 5;
    world.run(&SOURCES, Scope::Rebuild);
    assert_eq!(told(&world)[1], "b Fresh  1.0.0 1.0.0 1.1.0 1.0.0 1.0.0 9.0.0");
}
