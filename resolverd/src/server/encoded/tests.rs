//! What was encoded ahead, against what serde says of the same question.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::api::Call;
use crate::server::answer::{Ages, Answer, Facts, answer, tests::world};
use crate::server::route::route;

fn facts() -> Facts {
    let ages = Arc::new(Ages { known: BTreeMap::new(), since: Instant::now() });
    Facts {
        uptime_s: 0,
        requests: 0,
        failures: 0,
        panics: 0,
        problem: None,
        ages,
        times: Arc::default(),
        records: None,
    }
}

/// `one` has many versions: withdrawn, refused and prereleases among them.
fn crowded() -> Snapshot {
    let world = world();
    let components = world.components().iter().map(|component| {
        let mut component = Component::clone(component);
        let refused = world.component(&ComponentId::parse("lcod://a/two").unwrap()).unwrap();
        let pattern = component.releases[0].clone();
        for (text, is_yanked, is_refused) in [
            ("0.2.1", true, false),
            ("0.2.2", false, true),
            ("1.0.0-rc.1", false, false),
            ("1.0.0", false, false),
            ("1.0.0+build", false, false),
            ("1.4.0", false, false),
            ("1.5.0", false, true),
            ("2.0.0-a", false, false),
        ] {
            let mut release = pattern.clone();
            release.version = Version::parse(text).unwrap();
            release.yanked = is_yanked;
            if is_refused {
                release.verdict = refused.releases[0].verdict.clone();
            }
            component.releases.push(release);
        }
        component.releases.sort_by(|one, other| one.version.cmp(&other.version));
        Arc::new(component)
    });
    Snapshot::new(world.generation.clone(), components.collect())
}

#[derive(Debug, PartialEq)]
enum By {
    Encoded,
    Serde,
}

fn check(snapshot: &Snapshot, call: &Call, expected: By) {
    let query = route(call).unwrap();
    let encoded = Encoded::of(snapshot, None).answer(&query, snapshot);
    let by = if encoded.is_some() { By::Encoded } else { By::Serde };
    assert_eq!(by, expected, "{call:?}");
    if let Some(encoded) = encoded {
        let Answer::Body(200, body) = answer(&query, Some(snapshot), &facts()).unwrap() else {
            panic!("{call:?} has no body");
        };
        assert_eq!(String::from_utf8(encoded).unwrap(), String::from_utf8(body).unwrap(), "{call:?}");
    }
}

#[test]
fn releases_are_told_in_the_bytes_of_serde() {
    let (plain, crowded) = (world(), crowded());
    for snapshot in [&plain, &crowded] {
        for component in snapshot.components() {
            for release in &component.releases {
                let path = crate::api::encoded_path(&component.id);
                check(snapshot, &Call::get(format!("{path}/{}", release.version)), By::Encoded);
            }
        }
    }
    for version in ["latest", "%5E0.2", "~1", "1", "1.0", "%3C1.4.0", "%3E%3D1,%3C2", "v1.0.0", "*"] {
        check(&crowded, &Call::get(format!("/v1/components/lcod%3A%2F%2Fa%2Fone/{version}")), By::Encoded);
    }
    check(&plain, &Call::get("/v1/components/lcod/a/one/0.1.0"), By::Encoded);
}

#[test]
fn what_is_no_release_is_left_to_the_snapshot() {
    let world = world();
    for path in
        ["lcod/a/one", "lcod/a/one/versions", "lcod/a/one/9.9.9", "lcod/a/none/1.0.0", "lcod/a/one/%5E7"]
    {
        check(&world, &Call::get(format!("/v1/components/{path}")), By::Serde);
    }
    // A version of one id and another id: neither is guessed.
    check(&world, &Call::get("/v1/components/lcod/a/two/1.0.0"), By::Serde);
    check(&world, &Call::get("/v1/components/lcod/a/one/0.1.0/manifest"), By::Serde);
}

#[test]
fn a_batch_is_told_in_the_bytes_of_serde() {
    let (plain, crowded) = (world(), crowded());
    let lookup = |ids: &[&str]| Call::post("/v1/lookup", &serde_json::json!({ "ids": ids }));
    for snapshot in [&plain, &crowded] {
        check(snapshot, &lookup(&[]), By::Encoded);
        check(snapshot, &lookup(&["lcod://a/one"]), By::Encoded);
        check(
            snapshot,
            &lookup(&[
                "lcod://a/two",
                "lcod://a/one@^0.1",
                "lcod://a/one@9",
                "lcod://a/on",
                "no reference",
                "lcod://away/x",
                "lcod://a/one@0.2.1",
                "lcod://a/one@1.0.0",
            ]),
            By::Encoded,
        );
        check(snapshot, &lookup(&["lcod://a/ona"; 20]), By::Encoded);
    }
}

#[test]
fn what_did_not_change_is_shared_with_the_generation_before() {
    let (old, other) = (world(), crowded());
    let changed = ComponentId::parse("lcod://a/one").unwrap();
    let components = old.components().iter().map(|component| match component.id == changed {
        true => Arc::clone(other.component(&changed).unwrap()),
        false => Arc::clone(component),
    });
    let mut generation = old.generation.clone();
    generation.snapshot = catalogue_schema::digest::Digest::sha256(b"the next");
    let new = Snapshot::new(generation, components.collect());
    let before = Encoded::of(&old, None);
    let after = Encoded::of(&new, Some((&old, &before)));
    for (place, component) in new.components().iter().enumerate() {
        let (one, two) = (before.rows[place].as_ref().unwrap(), after.rows[place].as_ref().unwrap());
        assert_eq!(Arc::ptr_eq(one, two), component.id != changed, "{}", component.id);
        for release in &component.releases {
            let call = Call::get(format!("{}/{}", crate::api::encoded_path(&component.id), release.version));
            let query = route(&call).unwrap();
            let Answer::Body(200, body) = answer(&query, Some(&new), &facts()).unwrap() else {
                panic!("no body")
            };
            assert_eq!(after.answer(&query, &new).unwrap(), body);
        }
    }
}
