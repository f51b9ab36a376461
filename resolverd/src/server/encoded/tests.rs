//! What is copied, against what serde says of the same release, and against the answer to the same question.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use catalogue_schema::model::{Component, Release};
use catalogue_schema::row::{IntegrityRow, ShadowRow, SourceRow, TrustRow};
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use super::*;
use crate::api::Call;
use crate::server::answer::{Ages, Answer, Facts, answer, at_once, tests::world};
use crate::server::route::route;

fn facts() -> Facts {
    let ages = Arc::new(Ages { known: BTreeMap::new(), since: Instant::now() });
    Facts {
        uptime_s: 0,
        requests: 0,
        failures: 0,
        panics: 0,
        problem: None,
        policies: Arc::default(),
        documents: crate::server::answer::Shelved::default(),
        solving: Default::default(),
        ages,
        times: Arc::default(),
        records: None,
    }
}

/// `one` has many versions: withdrawn, refused and prereleases among them.
pub(crate) fn crowded() -> Snapshot {
    let world = world();
    let refused = world.read("lcod://a/two").unwrap();
    let components = world.read_all().into_iter().map(|mut component| {
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
        component.releases.dedup_by(|later, first| later.version == first.version);
        component
    });
    Snapshot::of(world.generation.clone(), components)
}

#[derive(Debug, PartialEq)]
enum By {
    Copy,
    Answer,
}

/// What is answered at once is what is answered.
fn check(snapshot: &Snapshot, call: &Call, expected: By) {
    let query = route(call).unwrap();
    let copied = at_once(&query, snapshot);
    let by = if copied.is_some() { By::Copy } else { By::Answer };
    assert_eq!(by, expected, "{call:?}");
    if let Some(copied) = copied {
        let Answer::Body(200, body) = answer(&query, Some(snapshot), &facts()).unwrap() else {
            panic!("{call:?} has no body");
        };
        assert_eq!(String::from_utf8(copied).unwrap(), String::from_utf8(body).unwrap(), "{call:?}");
    }
}

fn told(component: &Component, release: &Release, snapshot: &Snapshot) -> Value {
    json!({
        "snapshot": snapshot.generation.snapshot,
        "id": release.id,
        "version": release.version,
        "kind": release.kind,
        "summary": release.summary,
        "dependencies": release.dependencies,
        "source": SourceRow::of(&component.owner, release),
        "integrity": IntegrityRow::of(release),
        "trust": TrustRow::of(&release.verdict),
        "yanked": release.yanked,
        "shadowed": ShadowRow::all(&component.shadowed),
        "warnings": release.warnings,
        "extra": release.extra,
    })
}

#[test]
fn releases_are_told_as_serde_tells_them() {
    let (plain, crowded) = (world(), crowded());
    for snapshot in [&plain, &crowded] {
        for component in snapshot.read_all() {
            for release in &component.releases {
                let call =
                    Call::get(format!("{}/{}", crate::api::encoded_path(&component.id), release.version));
                check(snapshot, &call, By::Copy);
                let body = at_once(&route(&call).unwrap(), snapshot).unwrap();
                assert!(body.starts_with(b"{\"snapshot\":\"sha256:"));
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body, told(&component, release, snapshot));
            }
        }
    }
    for version in ["latest", "%5E0.2", "~1", "1", "1.0", "%3C1.4.0", "%3E%3D1,%3C2", "v1.0.0", "*"] {
        check(&crowded, &Call::get(format!("/v1/components/lcod%3A%2F%2Fa%2Fone/{version}")), By::Copy);
    }
    check(&plain, &Call::get("/v1/components/lcod/a/one/0.1.0"), By::Copy);
}

#[test]
fn what_is_no_release_is_left_to_the_snapshot() {
    let world = world();
    for path in
        ["lcod/a/one", "lcod/a/one/versions", "lcod/a/one/9.9.9", "lcod/a/none/1.0.0", "lcod/a/one/%5E7"]
    {
        check(&world, &Call::get(format!("/v1/components/{path}")), By::Answer);
    }
    // A version of one id and another id: neither is guessed.
    check(&world, &Call::get("/v1/components/lcod/a/two/1.0.0"), By::Answer);
    check(&world, &Call::get("/v1/components/lcod/a/one/0.1.0/manifest"), By::Answer);
}

#[test]
fn a_batch_is_told_at_once() {
    let (plain, crowded) = (world(), crowded());
    let lookup = |ids: &[&str]| Call::post("/v1/lookup", &serde_json::json!({ "ids": ids }));
    for snapshot in [&plain, &crowded] {
        check(snapshot, &lookup(&[]), By::Copy);
        check(snapshot, &lookup(&["lcod://a/one"]), By::Copy);
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
            By::Copy,
        );
        check(snapshot, &lookup(&["lcod://a/ona"; 20]), By::Copy);
    }
}
