//! The published federation in the seed's form, as JSONL, as an array and as `packages.jsonl` gives equal answers.
//!
//! Taken out before the comparison: `source` and `integrity` (with `manifest`, the digest of it), because the forms place
//! their documents differently and only one of them has manifests; `snapshot`, because it is a digest over the catalogues'
//! bytes and pins; and `generation`, because it counts the changes that this one daemon has seen.

use serde_json::Value;

use crate::harness::daemon::{NATIVES, Sandbox};
use crate::harness::http::encoded;
use crate::harness::lcod::{FORMS, Federation, Form, published};

/// What they may differ in: where the document lay and which digests it stated. The head of this file says why.
const DIFFERS: [&str; 5] = ["source", "integrity", "manifest", "snapshot", "generation"];

/// Removes the fields that may differ, at every depth.
fn without_provenance(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !DIFFERS.contains(&name.as_str()));
            fields.values_mut().for_each(without_provenance);
        }
        Value::Array(items) => items.iter_mut().for_each(without_provenance),
        _ => {}
    }
}

/// What one form answers, without what may differ.
struct Answers {
    /// Every release asked alone, with the versions of its component.
    each: Vec<(Value, Value)>,
    /// All of them asked at once.
    joint: Value,
}

#[test]
fn all_publications_of_the_same_components_give_equal_answers() {
    let Some(components) = published() else { return };
    let place = tempfile::tempdir().unwrap();
    let federation = Federation::build(place.path(), components);
    let [seed, others @ ..] = FORMS.map(|form| (form, answers(&federation, form)));
    for (form, answers) in &others {
        for ((one, left), right) in federation.components.iter().zip(&seed.1.each).zip(&answers.each) {
            assert_eq!(left, right, "{} in {form:?}", one.full());
        }
        assert_eq!(seed.1.joint, answers.joint, "all at once in {form:?}");
    }
}

fn answers(federation: &Federation, form: Form) -> Answers {
    let sandbox = Sandbox::with_sources(&federation.sources(form));
    let daemon = sandbox.start_synced();
    let mut ids: Vec<&str> = federation.components.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(daemon.ids(), ids, "{form:?}: {:#}", daemon.get("/v1/catalogues").ok());
    let plain = |mut answer: Value| {
        without_provenance(&mut answer);
        answer
    };
    let each = federation.components.iter().map(|one| {
        let answer = plain(daemon.resolve(&[&one.full()]).ok());
        assert_eq!(answer["roots"], Value::from(vec![one.full()]), "{form:?}");
        let chosen = answer["components"].as_array().unwrap();
        assert!(chosen.iter().any(|found| found["id"] == one.id.as_str()), "{form:?}: {answer:#}");
        assert!(chosen.iter().all(|found| found["trust"]["verdict"] == "pinned"), "{form:?}: {answer:#}");
        let versions = plain(daemon.get(&format!("/v1/components/{}/versions", encoded(&one.id))).ok());
        assert_eq!(versions["items"][0]["version"], one.version.as_str(), "{form:?}");
        assert_eq!(versions["items"][0]["verdict"], "pinned", "{form:?}");
        (answer, versions)
    });
    let each = each.collect();
    let all: Vec<String> = federation.components.iter().map(|one| one.full()).collect();
    let joint = plain(daemon.resolve(&all.iter().map(String::as_str).collect::<Vec<_>>()).ok());
    assert_eq!(joint["components"].as_array().map(Vec::len), Some(all.len()), "{form:?}");
    Answers { each, joint }
}

#[test]
fn the_whole_federation_is_one_joint_answer_with_its_natives() {
    let Some(components) = published() else { return };
    let place = tempfile::tempdir().unwrap();
    let federation = Federation::build(place.path(), components);
    let sandbox = Sandbox::with_sources(&federation.sources(Form::Seed));
    let daemon = sandbox.start_synced();
    let all: Vec<String> = federation.components.iter().map(|one| one.full()).collect();
    let body = serde_json::json!({
        "requests": all.iter().map(String::as_str).chain(["lcod://contract/core/array/map@1"]).collect::<Vec<_>>(),
        "natives": NATIVES,
    });
    let first = daemon.post("/v1/resolve", &body);
    let answer = first.ok();
    assert_eq!(answer["roots"].as_array().map(Vec::len), Some(all.len() + 1));
    assert_eq!(answer["components"].as_array().map(Vec::len), Some(all.len()));
    let natives = answer["natives"].as_array().unwrap();
    assert!(
        natives.contains(&serde_json::json!("lcod://contract/core/array/map@1")) && natives.len() > 30,
        "{natives:?}"
    );
    assert_eq!(daemon.post("/v1/resolve", &body).body, first.body, "equal questions give equal bytes");

    let again = daemon.sync();
    let moved = ["changed", "documentsFetched", "rowsWritten"].map(|field| again[field].clone());
    // The entry is a branch: its one document is asked for again, and nothing behind its pins is.
    assert_eq!(moved[0], false, "{again:#}");
    assert!(moved[1].as_u64().is_some_and(|asked| asked <= 1), "{again:#}");
    assert_eq!(moved[2], 0, "{again:#}");
}
