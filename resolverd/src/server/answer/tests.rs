//! Answers over a hand-made snapshot, and the OpenAPI document against routes and codes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use catalogue_schema::dialect::{Errand, Node, start};
use catalogue_schema::filter::Filter;
use catalogue_schema::forge::Forges;
use catalogue_schema::generation::{Blocked, DocumentList, GENERATION_SCHEMA, Generation};
use catalogue_schema::id::{Dialect, Namespace};
use catalogue_schema::model::{
    Component, Level, Origin, Place, Rank, Release, Shadow, Source, Trust, Verdict,
};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, LocalPath, Location};

use super::*;
use crate::api::{Call, TABLE, code_of};
use crate::server::route::{ROUTES, route};

fn place(position: u32) -> Place {
    Place { priority: 0, position }
}

fn source(id: &str, health: Health) -> SourceState {
    SourceState {
        source: Source {
            id: SourceId::parse(id).unwrap(),
            dialect: Dialect::Lcod,
            place: place(0),
            entry: Location::File { path: LocalPath::parse("/srv/catalogues.json").unwrap() },
            digests: Vec::new(),
            owns: Vec::new(),
            offline: false,
            refresh_s: None,
            max_stale_s: None,
            filter: Filter::default(),
            origin: None,
            signature: None,
            declared_in: None,
        },
        health,
        commit: None,
        digest: (health != Health::Unread).then(|| Digest::sha256(id.as_bytes())),
        error: (health != Health::Fresh).then(|| Refusal::new("git.missing", id, "a repository", "nothing")),
    }
}

fn catalogue(state: &SourceState, name: &str, via: bool, health: Health) -> CatalogueState {
    let id = CatalogueId { source: state.source.id.clone(), name: SourceId::parse(name).unwrap() };
    let node = Node { via: if via { vec![id.clone()] } else { Vec::new() }, id, rank: Rank(vec![place(0)]) };
    CatalogueState {
        errand: Errand { stage: Stage::Node(Box::new(node)), ..start(&state.source, &Forges::default()) },
        health,
        commit: None,
        digest: Some(Digest::sha256(name.as_bytes())),
        named: None,
        signature: None,
        signers: Vec::new(),
        settled: false,
        releases: 2,
        refused: 1,
        skipped_count: 0,
        skipped: Vec::new(),
        warnings: Vec::new(),
        missing: Vec::new(),
        registers: None,
        scopes: Vec::new(),
        error: None,
    }
}

/// A catalogue below the entry document of a source.
pub(crate) fn catalogue_of(
    source_id: &str,
    name: &str,
    health: Health,
    error: Option<Refusal>,
) -> CatalogueState {
    CatalogueState { error, ..catalogue(&source(source_id, Health::Fresh), name, true, health) }
}

fn release(id: &str, version: &str) -> Release {
    Release {
        id: ComponentId::parse(id).unwrap(),
        version: Version::parse(version).unwrap(),
        origin: Origin {
            repository: None,
            commit: Some(CommitId::parse(&"8".repeat(40)).unwrap()),
            path: Some(DocPath::parse("packages/x").unwrap()),
        },
        manifest: Some(Digest::sha256(version.as_bytes())),
        unfetched: false,
        archive: None,
        files: Vec::new(),
        kind: Some("component".to_owned()),
        summary: None,
        dependencies: vec![Reference::parse("lcod://contract/core/array/map@1").unwrap()].into(),
        implements: Vec::new(),
        yanked: false,
        verdict: Verdict::Trusted(Trust::grant(Level::Pinned, true)),
        warnings: Vec::new(),
        basis: None,
        promised: false,
        extra: Default::default(),
    }
}

fn listed(id: &str, releases: Vec<Release>) -> Component {
    let id = ComponentId::parse(id).unwrap();
    let owner =
        |name| CatalogueId { source: SourceId::parse("main").unwrap(), name: SourceId::parse(name).unwrap() };
    let shadowed =
        vec![Shadow { catalogue: owner("copy"), versions: vec![Version::parse("9.0.0").unwrap()] }];
    Component { id, owner: owner("std"), releases, shadowed }
}

/// `lcod://a/one` 0.1.0, 0.2.0 · `lcod://a/two` 1.0.0 refused, without a manifest · `lcod://a/two/1.0.0` · `lcod://away/**` blocked.
pub(crate) fn world() -> Snapshot {
    let mut refused = release("lcod://a/two", "1.0.0");
    refused.manifest = None;
    refused.verdict =
        Verdict::Refused(Refusal::new("trust.digest_mismatch", "two.json", "sha256:1", "sha256:2"));
    let main = source("main", Health::Fresh);
    let catalogues =
        vec![catalogue(&main, "main", false, Health::Fresh), catalogue(&main, "std", true, Health::Stale)];
    let generation = Generation {
        schema: GENERATION_SCHEMA.to_owned(),
        number: 12,
        committed_s: 7,
        snapshot: Digest::sha256(b"snapshot"),
        components: 3,
        root: Digest::sha256(b"root"),
        sources: vec![main, source("away", Health::Unread)],
        catalogues,
        blocked: vec![Blocked {
            namespace: Namespace::parse("lcod://away/**").unwrap(),
            source: SourceId::parse("away").unwrap(),
            place: place(1),
        }],
        documents: DocumentList::default(),
        settings: Digest::sha256(b""),
        policy: None,
        refusals: Vec::new(),
    };
    let components = vec![
        listed("lcod://a/one", vec![release("lcod://a/one", "0.1.0"), release("lcod://a/one", "0.2.0")]),
        listed("lcod://a/two", vec![refused]),
        listed("lcod://a/two/1.0.0", vec![release("lcod://a/two/1.0.0", "3.0.0")]),
    ];
    Snapshot::of(generation, components)
}

fn times() -> Times {
    let main = SourceId::parse("main").unwrap();
    let known = Known {
        source: main.clone(),
        catalogue: None,
        revisions: 2,
        commit: None,
        digest: Digest::sha256(b"main"),
        accepted: rfc3339(7),
        order_unknown: false,
    };
    Times { seen_s: 0, expires: [(main, 60)].into(), known: vec![known], problems: Vec::new() }
}

fn facts() -> Facts {
    let known = [(SourceId::parse("main").unwrap(), 3600)].into();
    let ages = Arc::new(Ages { known, since: std::time::Instant::now() });
    Facts {
        uptime_s: 5,
        requests: 4,
        failures: 3,
        panics: 0,
        problem: None,
        policies: Arc::default(),
        documents: crate::server::answer::Shelved::default(),
        solving: Default::default(),
        ages,
        times: Arc::new(times()),
        records: None,
    }
}

fn asked(call: &Call, snapshot: Option<&Snapshot>) -> (u16, Value) {
    let answer = route(call).and_then(|query| answer(&query, snapshot, &facts()));
    match answer {
        Ok(Answer::Body(status, body)) => (status, serde_json::from_slice(&body).unwrap()),
        Ok(Answer::Document(digest)) => (200, json!(digest)),
        Ok(Answer::Log { source, limit }) => (200, json!({"source": source, "limit": limit})),
        Err(failure) => {
            let problem = failure.problem(None);
            (u16::try_from(problem["status"].as_u64().unwrap()).unwrap(), problem)
        }
    }
}

fn get(target: &str) -> (u16, Value) {
    asked(&Call::get(target), Some(&world()))
}

/// Asks and compares the value at `pointer`.
fn check(target: &str, status: u16, pointer: &str, expected: Value) {
    let (found, body) = get(target);
    assert_eq!((found, body.pointer(pointer)), (status, Some(&expected)), "{target}: {body:#}");
}

#[test]
fn health_says_what_is_degraded() {
    check("/livez", 200, "/status", json!("ok"));
    check("/readyz", 200, "/degraded/0/id", json!("away"));
    check("/readyz", 200, "/degraded/1/id", json!("main/std"));
    check("/v1/health", 200, "/status", json!("degraded"));
    check("/v1/version", 200, "/api", json!("v1"));
    check("/v1/stats", 200, "/releases", json!(4));
    let empty = asked(&Call::get("/readyz"), None);
    assert_eq!(empty, (503, json!({"ready": false, "degraded": []})));
    assert_eq!(asked(&Call::get("/v1/health"), None).1["status"], "unavailable");
    assert_eq!(asked(&Call::get("/v1/sources"), None).1["code"], "R010");
}

#[test]
fn sources_and_catalogues_carry_state_and_reason() {
    check("/v1/sources", 200, "/items/0/verdict", json!("unpinned"));
    check("/v1/sources", 200, "/items/0/catalogues", json!(2));
    check("/v1/sources", 200, "/items/1/state", json!("unread"));
    check("/v1/sources", 200, "/items/1/verdict", Value::Null);
    check("/v1/sources", 200, "/items/1/error/reason", json!("git.missing"));
    check("/v1/sources", 200, "/items/0/ageSeconds", json!(3600));
    check("/v1/sources", 200, "/items/1/ageSeconds", Value::Null);
    check("/v1/catalogues", 200, "/items/0/verdict", json!("unpinned"));
    check("/v1/catalogues", 200, "/items/1/verdict", json!("unpinned"));
    check("/v1/catalogues", 200, "/items/1/via", json!(["main/std"]));
    check("/v1/catalogues", 200, "/items/1/ageSeconds", json!(3600));
    check("/v1/sources", 200, "/items/0/origin", json!("file"));
    check("/v1/components/lcod/a/one/versions", 200, "/items/0/signature", json!("unchecked"));
    check("/v1/components", 200, "/items/0/signature", json!("unchecked"));
}

#[test]
fn components_are_found_by_id_version_and_requirement() {
    check("/v1/components/lcod/a/one", 200, "/releases/0/version", json!("0.2.0"));
    check("/v1/components/lcod/a/one/versions", 200, "/items/1/version", json!("0.1.0"));
    check("/v1/components/lcod/a/one/0.1.0", 200, "/version", json!("0.1.0"));
    check("/v1/components/lcod/a/one/0.1.0", 200, "/trust/signature", json!("unchecked"));
    check("/v1/components/lcod/a/one/0.1.0/manifest", 200, "", json!(Digest::sha256(b"0.1.0")));
    check(
        "/v1/components/lcod%3A%2F%2Fa%2Ftwo/1.0.0",
        200,
        "/trust/refusal/reason",
        json!("trust.digest_mismatch"),
    );
    check("/v1/components/lcod%3A%2F%2Fa%2Ftwo/1.0.0/manifest", 404, "/reason", json!("manifest_absent"));
    check("/v1/components/lcod/a/two/1.0.0", 400, "/reason", json!("api.ambiguous"));
    check("/v1/components/lcod/a/ones", 404, "/nearest/0", json!("lcod://a/one"));
    check("/v1/components/lcod/away/x", 503, "/source", json!("away"));
}

#[test]
fn lists_are_paged() {
    check("/v1/components?limit=2", 200, "/items/1/id", json!("lcod://a/two"));
    let (_, page) = get("/v1/components?limit=2");
    let cursor = page["nextCursor"].as_str().unwrap();
    check(
        &format!("/v1/components?limit=2&cursor={cursor}"),
        200,
        "/items/0/id",
        json!("lcod://a/two/1.0.0"),
    );
    check(&format!("/v1/components?limit=2&cursor={cursor}"), 200, "/nextCursor", Value::Null);
    check(
        "/v1/components?namespace=lcod%3A%2F%2Fa%2Ftwo%2F",
        200,
        "/items/0/id",
        json!("lcod://a/two/1.0.0"),
    );
    check("/v1/components?source=away", 200, "/items", json!([]));
    check("/v1/components?source=other", 400, "/reason", json!("api.source"));
    check("/v1/components?kind=contract", 200, "/items", json!([]));
    check("/v1/components", 200, "/items/1/latest", Value::Null);
    check("/v1/components", 200, "/items/1/verdict", json!("refused"));
}

#[test]
fn a_resolution_has_the_shape_of_the_document() {
    let body = json!({"requests": ["lcod://a/one@^0.2"], "natives": ["lcod://contract/"]});
    let (status, found) = asked(&Call::post("/v1/resolve", &body), Some(&world()));
    assert_eq!(status, 200, "{found:#}");
    assert_eq!(
        found["components"],
        json!([{
            "id": "lcod://a/one", "version": "0.2.0", "requested": ["^0.2"], "requiredBy": ["request 0"],
            "dependencies": ["lcod://contract/core/array/map@1"],
            "native": ["lcod://contract/core/array/map@1"],
            "source": {"id": "main", "catalogue": "std", "repository": null, "commit": "8".repeat(40), "path": "packages/x"},
            "integrity": {"manifest": Digest::sha256(b"0.2.0"), "files": []},
            "trust": {"verdict": "pinned", "rule": null, "signers": [], "signature": "unchecked"},
            "yanked": false,
            "shadowed": [{"source": "main", "catalogue": "copy", "versions": ["9.0.0"]}],
            "directory": null
        }])
    );
    assert_eq!((&found["generation"], &found["stale"]), (&json!(12), &json!(["main"])));
    assert_eq!(found["roots"], json!(["lcod://a/one@0.2.0"]));
    let again = asked(&Call::post("/v1/resolve", &body), Some(&world())).1;
    assert_eq!(found.to_string(), again.to_string());
}

#[test]
fn what_cannot_be_resolved_says_why() {
    let check = |body: Value, status: u16, code: &str, reason: &str| {
        let (found, problem) = asked(&Call::post("/v1/resolve", &body), Some(&world()));
        assert_eq!(
            (found, problem["code"].as_str(), problem["reason"].as_str()),
            (status, Some(code), Some(reason)),
            "{problem:#}"
        );
    };
    check(json!({"requests": ["lcod://a/oen"]}), 404, "E001", "component_unknown");
    let (_, problem) =
        asked(&Call::post("/v1/resolve", &json!({"requests": ["lcod://a/oen"]})), Some(&world()));
    assert_eq!(problem["unread"], json!(["away"]), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().ends_with("never read: away"), "{problem:#}");
    check(json!({"requests": ["lcod://a/one@^7"]}), 404, "E002", "version_unknown");
    check(json!({"requests": ["lcod://a/two"]}), 502, "E006", "trust.digest_mismatch");
    check(json!({"requests": ["lcod://away/x"]}), 503, "R002", "source_unread");
    check(
        json!({"requests": ["lcod://a/one@0.1.0", "lcod://a/one@0.2.0"]}),
        409,
        "E003",
        "requirements_disjoint",
    );
    let other = Digest::sha256(b"other");
    check(json!({"requests": ["lcod://a/one"], "snapshot": other}), 410, "R004", "snapshot_gone");
}

#[test]
fn lookups_are_answered_one_by_one() {
    let body = json!({"ids": ["lcod://a/one", "lcod://A", "lcod://a/zzz", "lcod://a/one@9"]});
    let (status, found) = asked(&Call::post("/v1/lookup", &body), Some(&world()));
    assert_eq!(status, 200);
    assert_eq!(found[0], get("/v1/components/lcod/a/one/latest").1);
    assert_eq!(found[3]["hint"], "resolverd versions lcod://a/one lists every version");
    assert_eq!(found[1]["hint"].as_str().map(|hint| hint.starts_with("write an id")), Some(true));
    let codes: Vec<&str> =
        found.as_array().unwrap()[1..].iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["R001", "E001", "E002"]);
}

#[test]
fn hits_carry_trust_staleness_shadows_and_the_place_of_each_word() {
    check(
        "/v1/components/search?q=ONE",
        200,
        "/items",
        json!([{
            "id": "lcod://a/one", "version": "0.2.0", "kind": "component", "summary": null, "source": "main",
            "catalogue": "std", "verdict": "pinned", "signature": "unchecked", "stale": true,
            "shadowed": [{"source": "main", "catalogue": "copy", "versions": ["9.0.0"]}],
            "matched": [{"word": "one", "in": "name"}]
        }]),
    );
    check("/v1/components/search", 200, "/total", json!(3));
    check("/v1/components/search?q=a&limit=1", 200, "/items/0/id", json!("lcod://a/one"));
    let (_, page) = get("/v1/components/search?q=a&limit=1");
    let cursor = page["nextCursor"].as_str().unwrap();
    check(&format!("/v1/components/search?q=a&cursor={cursor}"), 200, "/items/0/id", json!("lcod://a/two"));
    check("/v1/components/search?q=two", 200, "/items/0/version", Value::Null);
    check("/v1/components/search?q=one&verified=true", 200, "/items", json!([]));
    check("/v1/components/search?q=one&official=false", 200, "/total", json!(1));
    check("/v1/components/search?source=other", 400, "/reason", json!("api.source"));
    check("/v1/components/search?verified=maybe", 400, "/field", json!("verified"));
    check("/v1/components/search?limit=101", 400, "/field", json!("limit"));
    check("/v1/components/search?cursor=zz", 400, "/field", json!("cursor"));
    check("/v1/components/search?colour=red", 400, "/field", json!("colour"));
    check(&format!("/v1/components/search?q={}", "x".repeat(1_025)), 413, "/limit", json!(1_024));
    let words: Vec<String> = (0..17).map(|at| at.to_string()).collect();
    check(&format!("/v1/components/search?q={}", words.join("+")), 413, "/limit", json!(16));
}

#[test]
fn every_readable_reference_is_explained() {
    let explained = |body: Value| asked(&Call::post("/v1/explain", &body), Some(&world()));
    let check = |body: Value, outcome: &str, next: Value| {
        let (status, found) = explained(body);
        assert_eq!((status, &found["outcome"], &found["next"]), (200, &json!(outcome), &next), "{found:#}");
    };
    check(json!({"id": "lcod://a/one"}), "chosen", json!("resolverd sync main"));
    check(json!({"id": "lcod://a/one@^7"}), "no_version", json!("resolverd versions lcod://a/one"));
    check(json!({"id": "lcod://a/two"}), "refused", json!("resolverd versions lcod://a/two"));
    check(json!({"id": "lcod://away/x"}), "blocked", json!("resolverd sync away"));
    check(json!({"id": "lcod://a/oen"}), "unknown", json!("resolverd explain lcod://a/one"));
    check(json!({"id": "lcod://zzzzzzzz/qqqqqqqq"}), "unknown", json!("resolverd search qqqqqqqq"));
    check(json!({"id": "lcod://a/one", "natives": ["lcod://a/"], "snapshot": null}), "native", Value::Null);
    check(json!({"id": "some-stream"}), "unknown", json!("resolverd search some-stream"));
    for (body, status, code) in [
        (json!({"id": "lcod://A"}), 400, "R001"),
        (json!({"id": "lcod://a/one", "natives": ["A/"]}), 400, "R001"),
        (json!({"id": "lcod://a/one", "colour": 1}), 400, "R011"),
        (json!({"id": "lcod://a/one", "snapshot": Digest::sha256(b"other")}), 410, "R004"),
    ] {
        let (found, problem) = explained(body);
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{problem:#}");
    }
}

#[test]
fn reasons_have_codes() {
    for (reason, code) in [
        ("trust.digest_mismatch", Code::ChecksumMismatch),
        ("trust.size_mismatch", Code::ChecksumMismatch),
        ("trust.rollback", Code::Rollback),
        ("input.duplicate_key", Code::ManifestInvalid),
        ("version_missing", Code::ManifestInvalid),
        ("git.path_missing", Code::ManifestInvalid),
        ("net.offline", Code::SourceUnavailable),
        ("sync.deadline", Code::SourceUnavailable),
    ] {
        assert_eq!(code_of(reason), code, "{reason}");
    }
}

/// The definition, without any shortcut.
fn edits(one: &[u8], other: &[u8]) -> usize {
    match (one, other) {
        ([], rest) | (rest, []) => rest.len(),
        ([a, one_left @ ..], [b, other_left @ ..]) => {
            let replaced = edits(one_left, other_left) + usize::from(a != b);
            replaced.min(edits(one_left, other) + 1).min(edits(one, other_left) + 1)
        }
    }
}

#[test]
fn the_distance_agrees_with_its_definition() {
    let mut words = vec![Vec::new()];
    for length in 0..4 {
        let longest: Vec<Vec<u8>> = words.iter().filter(|word| word.len() == length).cloned().collect();
        words.extend(
            longest.iter().flat_map(|word| b"abc".map(|letter| [word.as_slice(), &[letter]].concat())),
        );
    }
    for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (one, other))) {
        let edits = edits(one, other);
        for most in 0..5 {
            let expected = Some(edits).filter(|edits| *edits <= most);
            assert_eq!(distance(one, other, most), expected, "{one:?} {other:?} {most}");
        }
    }
}

#[test]
fn what_resembles_a_miss_is_found_in_a_large_index() {
    let all: Vec<Packed> = (0..20_000)
        .map(|at| {
            Packed::of(&listed(&format!("lcod://n{:02}/part/name{at:05}", at / 250), Vec::new())).unwrap()
        })
        .collect();
    assert!(all.is_sorted_by_key(|one| one.id_text()));
    let check = |wanted: &str, expected: &str| {
        let found = nearest(&all, &ComponentId::parse(wanted).unwrap());
        assert_eq!(found.first().map(ToString::to_string).as_deref(), Some(expected), "{wanted}");
        assert!(found.len() <= NEAREST, "{found:?}");
    };
    check("lcod://n60/part/name15007x", "lcod://n60/part/name15007");
    check("lcod://n60/prat/name15007", "lcod://n60/part/name15007");
    check("lcod://m60/part/name00003", "lcod://n00/part/name00003");
    check("lcod://n6/part/name15007", "lcod://n60/part/name15007");
}

#[test]
fn the_distance_counts_edits() {
    for (one, other, expected) in
        [("abc", "abc", Some(0)), ("abc", "abd", Some(1)), ("abc", "ac", Some(1)), ("abc", "xyz", None)]
    {
        assert_eq!(distance(one.as_bytes(), other.as_bytes(), 2), expected, "{one} {other}");
    }
}

#[test]
fn routes_and_openapi_document_agree() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|route| (route.method.to_owned(), route.pattern.to_owned())).collect();
    assert_eq!(documented, routed);
    let codes: Vec<&str> = TABLE.iter().map(|row| row.text).collect();
    let problem = &document["components"]["schemas"]["Problem"];
    assert_eq!(problem["properties"]["code"]["enum"], json!(codes));
    let text = problem["description"].as_str().unwrap();
    for row in TABLE {
        assert!(text.contains(&format!("| {} | {} |", row.text, row.name)), "{}", row.text);
    }
}

#[test]
fn every_reference_and_required_field_of_the_document_exists() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(target) = value["$ref"].as_str() {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        if let (Some(required), Some(properties)) =
            (value["required"].as_array(), value["properties"].as_object())
        {
            for name in required {
                assert!(properties.contains_key(name.as_str().unwrap()), "{name}");
            }
        }
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(values) => open.extend(values.values()),
            _ => {}
        }
    }
}

/// Holds an answer to the fields that its schema demands and knows.
fn conforms(value: &Value, schema: &Value, document: &Value, at: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        return conforms(value, document.pointer(target.trim_start_matches('#')).unwrap(), document, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        if let (false, Some(choice)) = (value.is_null(), choices.first()) {
            conforms(value, choice, document, at);
        }
        return;
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}");
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, field) in fields {
            match known.get(name) {
                Some(schema) => conforms(field, schema, document, &format!("{at}.{name}")),
                // A problem carries whatever its reason needs.
                None => assert_eq!(schema["additionalProperties"], true, "{at}.{name} is not documented"),
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(item, &schema["items"], document, at);
    }
}

#[test]
fn answers_conform_to_their_schemas() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let calls = [
        ("/livez", Call::get("/livez")),
        ("/readyz", Call::get("/readyz")),
        ("/v1/health", Call::get("/v1/health")),
        ("/v1/version", Call::get("/v1/version")),
        ("/v1/stats", Call::get("/v1/stats")),
        ("/v1/sources", Call::get("/v1/sources")),
        ("/v1/catalogues", Call::get("/v1/catalogues")),
        ("/v1/trust/revisions", Call::get("/v1/trust/revisions")),
        ("/v1/components", Call::get("/v1/components")),
        ("/v1/components/search", Call::get("/v1/components/search?q=one")),
        ("/v1/explain", Call::post("/v1/explain", &json!({"id": "lcod://a/one"}))),
        ("/v1/explain", Call::post("/v1/explain", &json!({"id": "lcod://a/two"}))),
        ("/v1/explain", Call::post("/v1/explain", &json!({"id": "lcod://a/oen"}))),
        ("/v1/explain", Call::post("/v1/explain", &json!({"id": "lcod://away/x"}))),
        (
            "/v1/lock",
            Call::post(
                "/v1/lock",
                &json!({"resolve": {"requests": ["lcod://a/one"], "natives": ["lcod://contract/"]}}),
            ),
        ),
        (
            "/v1/lock/check",
            Call::post(
                "/v1/lock/check",
                &json!({"lock": "schema = \"resolverd/lock@1\"\n[[components]]\nid = \"lcod://a/gone\"\nversion = \"1.0.0\"\nsource = \"s\"\ncatalogue = \"s\"\nrequested = [\"lcod://a/gone\"]\n"}),
            ),
        ),
        ("/v1/components/{id}/versions", Call::get("/v1/components/lcod/a/one/versions")),
        ("/v1/components/{id}/{version}", Call::get("/v1/components/lcod/a/one/0.1.0")),
        ("/v1/snapshots", Call::get("/v1/snapshots")),
        ("/v1/snapshots/diff", Call::get(format!("/v1/snapshots/diff?from={}", Digest::sha256(b"snapshot")))),
        (
            "/v1/resolve",
            Call::post(
                "/v1/resolve",
                &json!({"requests": ["lcod://a/one"], "natives": ["lcod://contract/"]}),
            ),
        ),
    ];
    for (path, call) in calls {
        let (status, body) = asked(&call, Some(&world()));
        assert_eq!(status, 200, "{path}");
        let operation = &document["paths"][path][call.method.to_lowercase()];
        conforms(
            &body,
            &operation["responses"]["200"]["content"]["application/json"]["schema"],
            &document,
            path,
        );
    }
}
