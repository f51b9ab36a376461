//! The verbs `tree` and `outdated`, and `why --in`: what one solution says, as trees and tables. Chooses nothing itself.
//!
//! Walks with a stack of its own: how deep a solution is, others have published.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::id::Reference;
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use crate::api::{Call, Failure, REFERENCES_MAX};
use crate::cli::render::{Paint, field, list, table, text, texts};

/// How many ways from a request to a component are told.
const WAYS_MAX: usize = 20;

/// The releases of an answer by their ids.
struct Solution<'a> {
    by_id: BTreeMap<&'a str, &'a Value>,
    substitutes: BTreeMap<&'a str, &'a str>,
}

impl<'a> Solution<'a> {
    fn of(answer: &'a Value) -> Solution<'a> {
        let by_id = list(answer, "components").iter().filter_map(|one| Some((one["id"].as_str()?, one)));
        let substitutes = list(answer, "substitutions").iter();
        let substitutes = substitutes.filter_map(|one| Some((one["id"].as_str()?, one["to"].as_str()?)));
        Solution { by_id: by_id.collect(), substitutes: substitutes.collect() }
    }

    /// Returns the id that answers a reference, after the overlay.
    fn end(&self, reference: &str) -> Option<String> {
        let id = Reference::parse(reference).ok()?.id;
        Some(self.substitutes.get(id.as_text()).copied().unwrap_or(id.as_text()).to_owned())
    }

    /// Returns the release that meets a reference of a release; `None` where a native does.
    fn found(&self, asker: &Value, reference: &str) -> Option<&'a Value> {
        let is_native = list(asker, "native").iter().any(|native| native == reference);
        let id = self.end(reference).filter(|_| !is_native)?;
        self.by_id.get(id.as_str()).copied()
    }
}

/// Returns the release that answers each request; `None` where a native does.
fn roots(answer: &Value) -> Vec<(String, Option<&Value>)> {
    let mut by_request = BTreeMap::new();
    for one in list(answer, "components") {
        for asker in list(one, "requiredBy").iter().filter_map(Value::as_str) {
            by_request.insert(asker, one);
        }
    }
    let root = |(position, root): (usize, &Value)| {
        (text(root), by_request.get(format!("request {position}").as_str()).copied())
    };
    list(answer, "roots").iter().enumerate().map(root).collect()
}

fn name(release: &Value) -> String {
    format!("{}@{}", field(release, "id"), field(release, "version"))
}

/// Turns a resolution into the rows of a tree, from the requests downwards. A release is followed where it comes first.
pub fn tree(answer: &Value) -> Value {
    let solution = Solution::of(answer);
    let mut followed = BTreeSet::new();
    let mut rows = Vec::new();
    let mut left: Vec<(usize, String, Option<&Value>, bool)> =
        roots(answer).into_iter().rev().map(|(root, release)| (0, root, release, false)).collect();
    while let Some((depth, reference, release, is_called)) = left.pop() {
        let Some(release) = release else {
            rows.push(json!({"depth": depth, "requirement": reference, "native": true, "called": is_called}));
            continue;
        };
        let is_first = followed.insert(name(release));
        let below = list(release, "dependencies");
        rows.push(json!({
            "depth": depth, "requirement": reference, "id": release["id"], "version": release["version"],
            "followed": is_first || below.is_empty(), "called": is_called,
        }));
        if is_first {
            let below = below.iter().rev().map(text);
            let is_called = |one: &String| list(release, "called").iter().any(|called| called == one);
            left.extend(
                below.map(|one| (depth + 1, one.clone(), solution.found(release, &one), is_called(&one))),
            );
        }
    }
    json!({"snapshot": answer["snapshot"], "generation": answer["generation"], "rows": rows, "warnings": answer["warnings"]})
}

/// Returns the text of a tree.
pub fn tree_text(tree: &Value, paint: Paint) -> String {
    let mut out = String::new();
    for row in list(tree, "rows") {
        // A hundred columns of spaces say no more than twenty.
        let depth = usize::try_from(row["depth"].as_u64().unwrap_or_default()).unwrap_or_default();
        let indent = "  ".repeat(depth.min(20));
        let deep = if depth > 20 { format!("({depth}) ") } else { String::new() };
        let line = match (row["native"] == true, row["followed"] == true) {
            (true, _) => format!("{} {}", field(row, "requirement"), paint.note("native")),
            (false, true) => name(row),
            (false, false) => format!("{} (above)", name(row)),
        };
        let called =
            if row["called"] == true { paint.note(" (called, not declared)") } else { String::new() };
        out.push_str(&format!("{indent}{deep}{line}{called}\n"));
    }
    for warning in list(tree, "warnings") {
        out.push_str(&format!("{} {}\n", paint.note("warning:"), field(warning, "text")));
    }
    out
}

/// Turns a resolution into the ways from its requests to one component, shortest first.
///
/// **Errors**: R001 for an id that cannot be read.
pub fn ways(answer: &Value, wanted: &str) -> Result<Value, Failure> {
    let id = Reference::parse(wanted).map_err(|error| Failure::of_reference(&error))?.id;
    let solution = Solution::of(answer);
    let mut ways: Vec<Vec<String>> = Vec::new();
    let mut askers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in list(answer, "components") {
        askers.insert(name(one), texts(list(one, "requiredBy")));
    }
    let target = solution.by_id.get(id.as_text()).map(|release| name(release));
    let is_meant = |reference: &str| solution.end(reference).as_deref() == Some(id.as_text());
    let natives: Vec<String> =
        texts(list(answer, "natives")).into_iter().filter(|native| is_meant(native)).collect();
    // Each release is gone through once, so that the ways are few and short however many there are.
    let mut seen = BTreeSet::new();
    let mut queue: std::collections::VecDeque<Vec<String>> =
        target.iter().map(|target| vec![target.clone()]).collect();
    if !natives.is_empty() {
        let has = |one: &&Value| list(one, "native").iter().filter_map(Value::as_str).any(is_meant);
        let first = list(answer, "components").iter().filter(has);
        queue.extend(first.map(|one| vec![id.to_string(), name(one)]));
    }
    while let Some(way) = queue.pop_front() {
        let Some(last) = way.last() else { continue };
        for asker in askers.get(last).into_iter().flatten() {
            let longer: Vec<String> = way.iter().cloned().chain([asker.clone()]).collect();
            if asker.starts_with("request ") {
                ways.push(longer.into_iter().rev().collect());
            } else if seen.insert(asker.clone()) {
                queue.push_back(longer);
            }
        }
        if ways.len() >= WAYS_MAX {
            break;
        }
    }
    Ok(json!({
        "id": id, "release": target, "natives": natives, "ways": ways,
        "snapshot": answer["snapshot"], "generation": answer["generation"],
    }))
}

/// Returns the text of the ways to a component.
pub fn ways_text(answer: &Value, paint: Paint) -> String {
    let id = field(answer, "id");
    let mut out = match (answer["release"].as_str(), list(answer, "natives")) {
        (Some(release), _) => format!("{} is part of the solution\n", paint.strong(release)),
        (None, []) => format!("nothing in the solution requires {id}\n"),
        (None, natives) => {
            format!("{} is the caller's own: {}\n", paint.strong(&id), texts(natives).join(", "))
        }
    };
    if let (true, natives @ [_, ..]) = (answer["release"].is_string(), list(answer, "natives")) {
        out.push_str(&format!("the caller has some of it itself: {}\n", texts(natives).join(", ")));
    }
    for way in list(answer, "ways") {
        let steps = way.as_array().map_or(&[][..], Vec::as_slice);
        out.push_str(&format!("  {}\n", texts(steps).join(" -> ")));
    }
    out
}

/// Returns the questions which versions the components of an answer have by now, as many as one may ask at once in each.
pub fn latest_calls(answer: &Value) -> Vec<Call> {
    let ids: Vec<String> = list(answer, "components").iter().map(|one| field(one, "id")).collect();
    ids.chunks(REFERENCES_MAX).map(|ids| Call::post("/v1/lookup", &json!({"ids": ids}))).collect()
}

/// Turns a resolution and the newest release of each of its components into the rows of what is newer.
pub fn outdated(answer: &Value, newest: &[Value]) -> Value {
    let version = |row: &Value| Version::parse(row["version"].as_str()?).ok();
    let is_newer = |one: &Value, newest: &Value| version(newest).is_some_and(|new| version(one) < Some(new));
    let rows: Vec<Value> = list(answer, "components")
        .iter()
        .zip(newest)
        .filter(|(one, newest)| is_newer(one, newest))
        .map(|(one, newest)| {
            json!({
                "id": one["id"], "version": one["version"], "latest": newest["version"],
                "requested": one["requested"], "requiredBy": one["requiredBy"],
            })
        })
        .collect();
    json!({"snapshot": answer["snapshot"], "generation": answer["generation"], "items": rows})
}

/// Returns the table of what is newer.
pub fn outdated_text(answer: &Value, _paint: Paint) -> String {
    let items = list(answer, "items");
    if items.is_empty() {
        return "every component is the newest that may be used\n".to_owned();
    }
    let row = |one: &Value| {
        let askers = texts(list(one, "requiredBy"));
        let first = askers.first().cloned().unwrap_or_default();
        let more = if askers.len() > 1 { format!(" (+{} more)", askers.len() - 1) } else { String::new() };
        vec![
            field(one, "id"),
            field(one, "version"),
            field(one, "latest"),
            texts(list(one, "requested")).join(", "),
            format!("{first}{more}"),
        ]
    };
    table(&["COMPONENT", "CHOSEN", "NEWEST", "REQUESTED", "REQUIRED BY"], items.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        let one = |id: &str, version: &str, below: &[&str], askers: &[&str]| json!({"id": id, "version": version, "dependencies": below, "requiredBy": askers, "requested": ["1"]});
        let mut answer = json!({
            "roots": ["lcod://n/a@1.0.0", "lcod://k/x@1"],
            "components": [
                one("lcod://n/c", "1.0.0", &["lcod://n/a@1"], &["lcod://n/a@1.0.0", "lcod://n/b@1.0.0"]),
                one("lcod://n/b", "1.0.0", &["lcod://n/c", "lcod://k/map@1"], &["lcod://n/a@1.0.0"]),
                one("lcod://n/a", "1.0.0", &["lcod://n/b@1", "lcod://n/old@^2"], &["request 0", "lcod://n/c@1.0.0"]),
            ],
            "natives": ["lcod://k/map@1", "lcod://k/x@1"],
            "substitutions": [{"id": "lcod://n/old", "to": "lcod://n/c", "by": "replace"}],
        });
        answer["components"][1]["native"] = json!(["lcod://k/map@1"]);
        answer
    }

    #[test]
    fn a_tree_follows_each_release_once() {
        let shown = tree_text(&tree(&answer()), Paint::Plain);
        let expected = "lcod://n/a@1.0.0\n  lcod://n/b@1.0.0\n    lcod://n/c@1.0.0\n      lcod://n/a@1.0.0 (above)\n    \
                        lcod://k/map@1 native\n  lcod://n/c@1.0.0 (above)\nlcod://k/x@1 native\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn ways_lead_from_requests_to_what_is_asked_about() {
        let check = |wanted: &str, expected: &str| {
            let ways = ways(&answer(), wanted).expect("an id");
            assert_eq!(ways_text(&ways, Paint::Plain), expected, "{wanted}");
        };
        check(
            "lcod://n/c",
            "lcod://n/c@1.0.0 is part of the solution\n  request 0 -> lcod://n/a@1.0.0 -> lcod://n/c@1.0.0\n",
        );
        check(
            "lcod://k/map",
            "lcod://k/map is the caller's own: lcod://k/map@1\n  request 0 -> lcod://n/a@1.0.0 -> lcod://n/b@1.0.0 -> lcod://k/map\n",
        );
        check("lcod://n/gone", "nothing in the solution requires lcod://n/gone\n");
        assert!(ways(&answer(), "A b").is_err());
    }

    #[test]
    fn what_is_newer_is_told_with_who_holds_it() {
        // The first is newer, the second older than what was chosen, and nobody knows the third.
        let latest = [json!({"version": "2.0.0"}), json!({"version": "1.0.0-rc.1"}), json!({"code": "E002"})];
        let told = outdated(&answer(), &latest);
        let shown = outdated_text(&told, Paint::Plain);
        assert!(
            shown.contains("lcod://n/c") && shown.contains("2.0.0") && shown.contains("(+1 more)"),
            "{shown}"
        );
        assert_eq!(told["items"].as_array().map(Vec::len), Some(1));
        let none = outdated_text(&outdated(&answer(), &[]), Paint::Plain);
        assert_eq!(none, "every component is the newest that may be used\n");
    }

    #[test]
    fn a_native_is_one_beside_a_release_of_the_same_id() {
        let answer = json!({
            "roots": ["lcod://k/x@1", "lcod://n/a@1.0.0"],
            "components": [
                {"id": "lcod://k/x", "version": "2.0.0", "dependencies": [], "requiredBy": ["lcod://n/b@1.0.0"]},
                {"id": "lcod://n/b", "version": "1.0.0", "dependencies": ["lcod://k/x@2"], "requiredBy": ["lcod://n/a@1.0.0"]},
                {"id": "lcod://n/a", "version": "1.0.0", "dependencies": ["lcod://k/x@1", "lcod://n/b@1", "lcod://o/x@1"],
                 "native": ["lcod://k/x@1", "lcod://o/x@1"], "requiredBy": ["request 1"]},
            ],
            "natives": ["lcod://k/x@1"],
            "substitutions": [{"id": "lcod://o/x", "to": "lcod://k/x", "by": "replace"}],
        });
        let shown = tree_text(&tree(&answer), Paint::Plain);
        let expected = "lcod://k/x@1 native\nlcod://n/a@1.0.0\n  lcod://k/x@1 native\n  lcod://n/b@1.0.0\n    \
                        lcod://k/x@2.0.0\n  lcod://o/x@1 native\n";
        assert_eq!(shown, expected);
        let shown = ways_text(&ways(&answer, "lcod://k/x").expect("an id"), Paint::Plain);
        assert!(shown.contains("the caller has some of it itself: lcod://k/x@1\n"), "{shown}");
        assert!(shown.contains("  request 1 -> lcod://n/a@1.0.0 -> lcod://k/x\n"), "{shown}");
        assert!(shown.contains(" -> lcod://n/b@1.0.0 -> lcod://k/x@2.0.0\n"), "{shown}");
    }

    #[test]
    fn more_components_than_one_question_may_name_are_asked_for_in_several() {
        let ids = |count: usize| json!({"components": vec![json!({"id": "lcod://n/a"}); count]});
        let check =
            |count: usize, expected: usize| assert_eq!(latest_calls(&ids(count)).len(), expected, "{count}");
        check(0, 0);
        check(REFERENCES_MAX, 1);
        check(REFERENCES_MAX + 1, 2);
    }
}
