//! Tests of conversion: what comes back equal, what is lost and said, what no form can hold.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::forge::Forges;
use crate::json;

fn format(name: &str) -> Format {
    FORMATS.into_iter().find(|form| form.name() == name).unwrap()
}

/// Converts along `forms` and returns the last text with everything that was dropped on the way, as `entry field`.
fn along(text: &str, forms: &[&str]) -> (String, Vec<String>) {
    let mut dropped = Vec::new();
    let mut text = text.to_owned();
    for form in forms {
        let converted = convert(text.as_bytes(), format(form)).unwrap();
        dropped.extend(converted.dropped.iter().map(|one| format!("{} {}", one.entry, one.field)));
        text = converted.text;
    }
    (text, dropped)
}

#[track_caller]
fn check(text: &str, forms: &[&str], expected: &str, dropped: &[&str]) {
    let (found, lost) = along(text, forms);
    assert_eq!(values(&found), values(expected), "{forms:?}\n{found}");
    assert_eq!(lost, dropped, "{forms:?}");
}

/// The JSON values of a document or of its lines.
fn values(text: &str) -> Vec<Value> {
    match json::check(text.as_bytes()) {
        Ok(text) => vec![json::document(text).unwrap()],
        Err(_) => text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

const LIST: &str = r#"{"type":"manifest","schema":"lcod-manifest/list@1","id":"r/c","note":{"x":1}}
{"type":"list","id":"std","url":"https://e.org/c.jsonl","priority":50,"metadata":{"commit":"c","checksum":"s","more":[1]},"new":true}
{"type":"list","id":"own","path":"own.jsonl","kind":"file"}
"#;
const CATALOGUES: &str = r#"{"schema":"lcod-registry/catalogues@1","id":"r/c","note":{"x":1},"catalogues":[
{"id":"std","url":"https://e.org/c.jsonl","priority":50,"metadata":{"commit":"c","checksum":"s","more":[1]},"new":true},
{"id":"own","path":"own.jsonl","kind":"file"}]}"#;

#[test]
fn lists_and_catalogues_are_the_same_in_two_forms() {
    check(LIST, &["catalogues"], CATALOGUES, &[]);
    check(CATALOGUES, &["list"], LIST, &[]);
    check(LIST, &["catalogues", "list"], LIST, &[]);
    check(&format!("\u{feff}{}", LIST.replace('\n', "\r\n")), &["list"], LIST, &[]);
    let filtered =
        LIST.replace(r#""path":"own.jsonl""#, r#""path":"own.jsonl","namespace":"ns","version":"1""#);
    check(&filtered, &["list"], &filtered, &[]);
    check(&filtered, &["catalogues"], CATALOGUES, &["own namespace", "own version"]);
    let signed = LIST.replace(r#""note""#, r#""signature":"s","note""#);
    check(&signed, &["list"], LIST, &["header signature"]);
}

#[test]
fn rows_lose_in_an_array_and_say_so() {
    let rows = r#"{"type":"manifest","schema":"lcod-manifest/list@1","id":"c/std"}
{"type":"component","id":"lcod://a/b@1.0.0","compose":"p/b/compose.yaml","lcp":"p/b/lcp.toml","package":"std"}
{"type":"component","id":"lcod://a/c@1.0.0","compose":"p/c/compose.yaml","lcp":"other.toml"}
{"type":"component","id":"lcod://a/d@1.0.0","url":"https://e.org/compose.yaml"}
"#;
    let array = r#"[{"id":"lcod://a/b@1.0.0","composePath":"p/b/compose.yaml"},{"id":"lcod://a/c@1.0.0","composePath":"p/c/compose.yaml"}]"#;
    let lost = ["header id", "lcod://a/b@1.0.0 package", "lcod://a/c@1.0.0 lcp", "lcod://a/d@1.0.0 "];
    check(rows, &["array"], array, &lost);
    check(rows, &["list"], rows, &[]);
    check(array, &["list", "array"], array, &[]);
}

#[test]
fn catalogues_with_manifests_go_into_packages_and_back() {
    let catalogue = r#"{"schema":"lcod-registry/catalogue@1","id":"std","origin":{"type":"git","url":"u"},"registries":[{"id":"official","type":"git","url":"u"}],
        "components":[{"id":"lcod://a/b","versions":[{"version":"1.0.0","manifest":"m1","sha256":"x"},{"version":"1.1.0","manifest":"m2","yanked":true,"tags":["t"]}]},
        {"id":"lcod://a/c","versions":[{"version":"2.0.0","manifest":"m3","registryId":"official"}]}]}"#;
    let packages = r#"{"kind":"registry","id":"official","type":"git","url":"u"}
{"kind":"component","id":"lcod://a/b","version":"1.0.0","manifest":"m1","sha256":"x"}
{"kind":"component","id":"lcod://a/b","version":"1.1.0","manifest":"m2","yanked":true,"tags":["t"]}
{"kind":"component","id":"lcod://a/c","version":"2.0.0","manifest":"m3","registryId":"official"}
"#;
    let lost = ["header id", "header origin"];
    check(catalogue, &["packages"], packages, &lost);
    check(catalogue, &["catalogue"], catalogue, &[]);
    check(packages, &["catalogue", "packages"], packages, &[]);
    let versions = r#"{"schema":"lcod-registry/versions@1","id":"lcod://a/b","versions":[{"version":"1.0.0","manifest":"m"}]}"#;
    let one = r#"{"kind":"component","id":"lcod://a/b","version":"1.0.0","manifest":"m"}"#;
    check(versions, &["packages"], one, &[]);
    check(one, &["packages"], one, &[]);
}

#[test]
fn the_registry_before_the_federation_becomes_a_list() {
    let catalog = r#"{"schema":"lcod-registry@1","packages":[{"id":"lcod://a/b","registryId":"o","versionsPath":"packages/a/b/versions.json"}]}"#;
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"a/b","path":"packages/a/b/versions.json","registryId":"o"}
"#;
    check(catalog, &["list"], list, &[]);
    let registry = r#"{"schema":"lcod-registry@1","packages":{"lcod://a/b":{"registry":"o"}}}"#;
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"packages","path":"packages.jsonl"}
"#;
    check(registry, &["list"], list, &["lcod://a/b "]);
}

/// What a reader takes as said must not be lost, and what no reader takes must not begin to mean something.
#[test]
fn nothing_is_lost_in_silence_and_nothing_gains_a_meaning() {
    let rows = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"component","id":"lcod://a/b@1.0.0","composePath":"p"}
{"type":"component","id":"lcod://a/c@1.0.0","compose":null,"composePath":"q"}
{"kind":"component","id":"lcod://a/d@1.0.0","compose":"r","composePath":"s"}
"#;
    let array = r#"[{"id":"lcod://a/b@1.0.0","composePath":"p"},{"id":"lcod://a/c@1.0.0","composePath":"q"},{"id":"lcod://a/d@1.0.0","composePath":"r"}]"#;
    check(rows, &["array"], array, &["lcod://a/d@1.0.0 composePath"]);
    let catalogue = r#"{"schema":"lcod-registry/catalogue@1","components":[{"id":"lcod://a/none","versions":[]},
        {"id":"lcod://a/b","yanked":true,"note":1,"versions":[{"version":"1.0.0","manifest":"m","id":"lcod://a/x","kind":"flow"}]}]}"#;
    let packages = r#"{"kind":"component","id":"lcod://a/b","version":"1.0.0","manifest":"m","note":1}"#;
    let lost = ["lcod://a/none ", "lcod://a/b yanked", "lcod://a/b@1.0.0 id", "lcod://a/b@1.0.0 kind"];
    check(catalogue, &["packages"], packages, &lost);
    let unfiltered = r#"{"schema":"lcod-registry/catalogues@1","type":"t","catalogues":[{"id":"a","url":"u","version":"1"},{"id":"b","type":"list","url":"u","version":"1"}]}"#;
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"a","url":"u"}
{"type":"list","id":"b","url":"u","version":"1"}
"#;
    check(unfiltered, &["list"], list, &["a version", "header type"]);
    let typed = list.replace(r#""type":"list","id":"a""#, r#""type":"git","id":"a","package":"p""#);
    let kind = list.replace(r#""id":"a""#, r#""id":"a","kind":"git""#);
    check(&typed, &["list"], &kind, &["a package"]);
    let catalog =
        r#"{"schema":"lcod-registry@1","packages":[{"id":"lcod://a/b","url":"u","versionsPath":"v"}]}"#;
    let pointers = r#"{"schema":"lcod-registry/catalogues@1","catalogues":[{"id":"a/b","path":"v"}]}"#;
    check(catalog, &["catalogues"], pointers, &["lcod://a/b url"]);
    let none = r#"{"schema":"lcod-registry@1","packages":{}}"#;
    check(none, &["catalogues"], r#"{"schema":"lcod-registry/catalogues@1","catalogues":[]}"#, &[]);
}

/// Every pointer that a list can have becomes a source that is read, or is named as left behind.
#[test]
fn sources_made_of_pointers_are_read() {
    let check = |pointer: &str, entry: &str, lost: &[&str]| {
        for head in ["", r#""type":"list","#] {
            let list = format!(
                "{{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\"}}\n{{\"type\":\"list\",\"id\":\"a\",{pointer}}}\n"
            );
            let document = format!(
                r#"{{"schema":"lcod-registry/catalogues@1","catalogues":[{{{head}"id":"a",{pointer}}}]}}"#
            );
            for (text, form) in [(&list, "sources"), (&list, "sources-list"), (&document, "sources")] {
                let (text, dropped) = along(text, &[form]);
                let sources = crate::sources::read(text.as_bytes(), Path::new("/etc"), &Forges::default());
                let sources = sources.unwrap_or_else(|error| panic!("{pointer}: {error}\n{text}"));
                let entries: Vec<String> = sources.iter().map(|source| source.entry.to_string()).collect();
                assert_eq!(entries.join(" "), entry, "{pointer} {form}");
                assert_eq!(dropped, lost, "{pointer} {form}");
            }
        }
    };
    let pinned =
        format!(r#""url":"https://e.org/r","metadata":{{"manifestPath":"x.jsonl","commit":"{COMMIT}"}}"#);
    check(&format!(r#""kind":"git",{pinned}"#), &format!("https://e.org/r at {COMMIT}: x.jsonl"), &[]);
    let both =
        format!(r#""url":"https://e.org/r","path":"c","subpath":"c","ref":"main","commit":"{COMMIT}""#);
    check(&both, &format!("https://e.org/r at {COMMIT}: c"), &["a ref"]);
    check(
        r#""kind":"git","url":"https://e.org/r","path":"c","ref":"main""#,
        "https://e.org/r at main: c",
        &[],
    );
    let raw = format!(
        r#""kind":"git","url":"https://raw.githubusercontent.com/o/r/main/c.json","path":"c.json","metadata":{{"manifestPath":"c.json","commit":"{COMMIT}"}}"#
    );
    check(&raw, &format!("https://github.com/o/r at {COMMIT}: c.json"), &["a path"]);
    check(
        r#""kind":"https","url":"https://e.org/c","path":"x","ref":"main""#,
        "https://e.org/c",
        &["a path", "a ref"],
    );
    check(r#""url":"sub/c.json""#, "/etc/sub/c.json", &[]);
    check(r#""kind":"file","url":"c.json","path":"d""#, "/etc/c.json", &["a path"]);
    check(&format!(r#""path":"c.json","commit":"{COMMIT}""#), "", &["a "]);
    check(r#""kind":"git","path":"c.json""#, "", &["a "]);
    let conflict = format!(r#""url":"https://e.org/c","commit":"{COMMIT}","metadata":"text""#);
    let (_, dropped) = along(
        &format!(r#"{{"schema":"lcod-registry/catalogues@1","catalogues":[{{"id":"a",{conflict}}}]}}"#),
        &["sources"],
    );
    assert_eq!(dropped, ["a commit"]);
}

#[test]
fn a_source_in_a_repository_on_this_machine_becomes_a_pointer_into_it() {
    let sources = r#"{"sources":[{"id":"a","type":"git","path":"/srv/r","ref":"main","subpath":"c"},{"id":"b","type":"git","path":"../r","subpath":"c"},
        {"id":"c","url":"ssh://git@e.org/r","subpath":"c"},{"id":"d","url":"git@e.org:r","subpath":"c"}]}"#;
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"a","kind":"git","url":"/srv/r","ref":"main","subpath":"c"}
"#;
    check(sources, &["list"], list, &["b ", "c ", "d "]);
}

const HASH: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

#[test]
fn sources_are_equal_in_both_forms() {
    let text = format!(
        r#"{{"schema":"lcod-resolver/sources@1","defaults":{{"priority":75}},"sources":[
        {{"id":"a","entrypoint":{{"type":"https","url":"https://e.org/c"}},"checksum":"{HASH}","owns":["lcod://a/**"],"refresh":"30m","maxStale":"2d"}},
        {{"id":"b","entrypoint":{{"type":"file","path":"../c.jsonl"}},"namespace":"ns","enabled":false}},
        {{"id":"c","entrypoint":{{"type":"git","url":"https://e.org/r.git","commit":"{COMMIT}","subpath":"c.jsonl"}},"priority":5}}]}}"#
    );
    let read =
        |text: &str| crate::sources::read(text.as_bytes(), Path::new("/etc"), &Forges::default()).unwrap();
    check(&text, &["sources-list", "sources"], &text, &[]);
    check(&text, &["sources"], &text, &[]);
    assert_eq!(read(&along(&text, &["sources-list"]).0), read(&text));
    let flat = format!(
        r#"{{"sources":[{{"id":"a","url":"https://raw.githubusercontent.com/o/r/main/c.json","commit":"{COMMIT}"}},{{"id":"b","type":"git","path":"/srv/r","catalogue":"c"}},{{"id":"c","path":"c"}}]}}"#
    );
    for forms in [&["sources"][..], &["sources-list"], &["sources", "sources-list"]] {
        assert_eq!(read(&along(&flat, forms).0), read(&flat), "{forms:?}");
    }
}

#[test]
fn pointers_become_sources_and_lose_what_a_sources_file_refuses() {
    let sources = r#"{"schema":"lcod-resolver/sources@1","sources":[
        {"id":"std","entrypoint":{"type":"https","url":"https://e.org/c.jsonl"},"priority":50,"metadata":{"commit":"c","checksum":"s","more":[1]}},
        {"id":"own","entrypoint":{"type":"file","path":"own.jsonl"}}]}"#;
    check(LIST, &["sources"], sources, &["header note", "std new", "header id"]);
    let operators = r#"{"defaults":{"priority":7},"sources":[{"id":"a","path":"c","owns":[],"offline":true},{"id":"b","path":"d","enabled":false}]}"#;
    let list = r#"{"type":"manifest","schema":"lcod-manifest/list@1"}
{"type":"list","id":"a","path":"c","priority":7}
"#;
    check(operators, &["list"], list, &["b ", "a owns", "a offline"]);
    let unnamed = LIST.replace(r#""id":"own","#, "");
    assert_eq!(convert(unnamed.as_bytes(), Format::Sources).unwrap_err().field, "line 3");
}

#[test]
fn what_a_form_cannot_hold_is_refused_with_the_forms_that_can() {
    let check = |text: &str, form: &str, able: &str| {
        let error = convert(text.as_bytes(), format(form)).unwrap_err();
        assert_eq!(error.reason, "input.format", "{error}");
        assert!(error.expected.ends_with(&format!("({able})")), "{error}");
    };
    for form in ["array", "catalogue", "packages"] {
        check(LIST, form, "catalogues, list, sources, sources-list");
    }
    let row = r#"[{"id":"lcod://a/b@1.0.0","composePath":"c"}]"#;
    for form in ["catalogues", "catalogue", "packages", "sources", "sources-list"] {
        check(row, form, "list, array");
    }
    let one = r#"{"kind":"component","id":"lcod://a/b","version":"1.0.0","manifest":"m"}"#;
    for form in ["catalogues", "list", "array", "sources", "sources-list"] {
        check(one, form, "catalogue, packages");
    }
    let mixed = format!("{LIST}{{\"type\":\"component\",\"id\":\"lcod://a/b@1.0.0\",\"compose\":\"c\"}}\n");
    check(&mixed, "catalogues", "list");
}

#[test]
fn a_broken_document_is_refused_with_its_place() {
    let check = |text: &str, reason: &str, line: usize| {
        let error = convert(text.as_bytes(), Format::List).unwrap_err();
        assert_eq!((&*error.reason, error.position.map(|at| at.line)), (reason, Some(line)), "{error}");
    };
    check(&format!("{LIST}{{"), "input.json", 4);
    check(&format!("{LIST}{{\"type\":\"x\"}}"), "input.row_type", 4);
    check("{\n\"schema\":1,\n\"schema\":2}", "input.duplicate_key", 3);
    check("[\n1]", "input.field", 2);
    assert_eq!(convert(b"{}", Format::List).unwrap_err().reason, "input.schema");
    assert_eq!(convert(b"7", Format::List).unwrap_err().reason, "input.schema");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        head in "(\\{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\"\\}\n|\\{\"schema\":\"lcod-registry/catalogue(s?)@1\",\"(catalogues|components)\":\\[|)",
        rest in "([\\[\\]{},:]|\"(id|type|kind|component|list|registry|versions|sources|entrypoint|packages|schema)\"|1|\n){0,24}",
        form in 0usize..7,
    ) {
        let _ = convert(format!("{head}{rest}").as_bytes(), FORMATS[form]);
    }
}
