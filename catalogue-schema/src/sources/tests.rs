//! Sources files: what is read, and what is refused with which field and place.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";
const OTHER: &str = "72efc538e89eecccd90f4107b3120eb27b2e69a1";
const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn read_text(text: &str) -> Result<Vec<Source>, ParseError> {
    read(text.as_bytes(), Path::new("/etc/resolverd"), &Forges::default())
}

/// Reads a file with one source that has `fields` beside its id.
fn one(fields: &str) -> Result<Source, ParseError> {
    let fields = fields.replace("COMMIT", COMMIT).replace("OTHER", OTHER).replace("HEX", HEX);
    read_text(&format!("{{\"sources\":[{{\"id\":\"a\",{fields}}}]}}")).map(|mut sources| sources.remove(0))
}

#[test]
fn the_seed_sample_is_read() {
    let sources = read_text(
        r#"{
  "sources": [
    {
      "id": "lcod-default",
      "url": "https://raw.githubusercontent.com/lcod-team/lcod-registry/main/catalogues.json",
      "priority": 50
    },
    {
      "id": "acme-internal",
      "url": "https://git.acme.com/platform/registry/catalogues.json",
      "priority": 20
    }
  ]
}"#,
    )
    .unwrap();
    let found: Vec<_> = sources
        .iter()
        .map(|source| {
            (source.id.as_text(), source.place.priority, source.place.position, source.entry.to_string())
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "lcod-default",
                50,
                0,
                "https://raw.githubusercontent.com/lcod-team/lcod-registry/main/catalogues.json".to_owned()
            ),
            ("acme-internal", 20, 1, "https://git.acme.com/platform/registry/catalogues.json".to_owned()),
        ]
    );
    assert!(sources.iter().all(|source| !source.is_pinned() && source.dialect == Dialect::Lcod));
}

#[test]
fn the_upstream_schema_is_read_and_mixes_with_the_flat_form() {
    let text = r#"{"$schema":"x","schema":"lcod-resolver/sources@1","description":"d","defaults":{"priority":75},"sources":[
 {"id":"official","entrypoint":{"type":"https","url":"https://e.org/catalogues.jsonl"},"checksum":"sha256-n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=","publicKey":"keys/x.pem","signature":"x.sig","transport":{"headers":{},"timeoutMs":1,"retries":5},"metadata":{}},
 {"id":"off","enabled":false,"url":"https://e.org/off.json"},
 {"id":"local","entrypoint":{"type":"file","path":"../lcod-registry/catalogues.jsonl"},"priority":0},
 {"id":"flat","kind":"git","url":"https://e.org/reg.git","ref":"main","catalogue":"c.json","headers":{},"timeoutMs":5,"retries":1,"owns":["lcod://acme/**","lcod://b/"],"offline":true,"refresh":"30m","dialect":"lcod"}]}"#;
    let sources = read_text(text).unwrap();
    assert_eq!(sources.len(), 3);
    assert_eq!(sources[0].digests, [Digest::parse(HEX).unwrap()]);
    assert!(sources[0].is_pinned());
    let signature = sources[0].signature.as_ref().unwrap();
    assert_eq!(
        (signature.public_key.as_deref(), signature.signature.as_deref()),
        (Some("keys/x.pem"), Some("x.sig"))
    );
    assert_eq!(sources[0].place, Place { priority: 75, position: 0 });
    assert_eq!(sources[1].place, Place { priority: 0, position: 2 });
    assert_eq!(sources[1].entry.to_string(), "/etc/lcod-registry/catalogues.jsonl");
    assert_eq!(sources[2].place, Place { priority: 75, position: 3 });
    assert_eq!(
        sources[2].owns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["lcod://acme/**", "lcod://b/**"]
    );
    assert!(sources[2].offline);
    assert_eq!(sources[2].refresh_s, Some(1800));
}

#[test]
fn every_way_to_name_an_entry_document_is_read() {
    let check = |fields: &str, expected: &str| {
        let expected = expected.replace("COMMIT", COMMIT);
        assert_eq!(one(fields).unwrap().entry.to_string(), expected, "{fields}");
        let nested = format!("\"entrypoint\":{{{fields}}}");
        assert_eq!(one(&nested).unwrap().entry.to_string(), expected, "{nested}");
    };
    check(r#""url":"https://e.org/c.json""#, "https://e.org/c.json");
    check(r#""type":"https","url":"https://e.org/c.json""#, "https://e.org/c.json");
    check(r#""url":"file:///srv/c.json""#, "/srv/c.json");
    check(r#""type":"file","url":"file:/srv/c.json""#, "/srv/c.json");
    check(r#""path":"/srv/./c.json""#, "/srv/c.json");
    check(r#""type":"file","path":"c.json""#, "/etc/resolverd/c.json");
    check(r#""kind":"file","path":"../../srv/c.json""#, "/srv/c.json");
    check(r#""kind":"file","type":"file","url":"./c.json""#, "/etc/resolverd/c.json");
    check(
        r#""type":"git","url":"https://e.org/r.git","commit":"COMMIT","subpath":"a/c.json""#,
        "https://e.org/r.git at COMMIT: a/c.json",
    );
    check(
        r#""type":"git","url":"https://e.org/r.git","ref":"v1","path":"c.json""#,
        "https://e.org/r.git at v1: c.json",
    );
    check(r#""type":"git","url":"https://e.org/r","catalogue":"c.json""#, "https://e.org/r at HEAD: c.json");
    check(r#""url":"https://e.org/r","subpath":"c.json""#, "https://e.org/r at HEAD: c.json");
    check(
        r#""url":"https://e.org/r","ref":"COMMIT","subpath":"c.json""#,
        "https://e.org/r at COMMIT: c.json",
    );
    check(
        r#""type":"git","url":"file:///srv/r.git","subpath":"c.json""#,
        "file:///srv/r.git at HEAD: c.json",
    );
    check(r#""type":"git","url":"/srv/r.git","subpath":"c.json""#, "file:///srv/r.git at HEAD: c.json");
    check(r#""type":"git","url":"../r","subpath":"c.json""#, "file:///etc/r at HEAD: c.json");
    check(r#""type":"git","url":"r","path":"c.json""#, "file:///etc/resolverd/r at HEAD: c.json");
    check(r#""type":"git","path":"r","subpath":"c.json""#, "file:///etc/resolverd/r at HEAD: c.json");
    check(r#""path":"r","commit":"COMMIT","subpath":"c.json""#, "file:///etc/resolverd/r at COMMIT: c.json");
    let forge = r#""url":"https://raw.githubusercontent.com/o/r/main/a/c.json""#;
    check(&format!(r#""type":"git",{forge}"#), "https://github.com/o/r at main: a/c.json");
    check(&format!(r#""type":"git",{forge},"ref":"main""#), "https://github.com/o/r at main: a/c.json");
    check(
        &format!(r#""type":"git",{forge},"commit":"COMMIT""#),
        "https://github.com/o/r at COMMIT: a/c.json",
    );
    check(&format!(r#"{forge},"commit":"COMMIT""#), "https://github.com/o/r at COMMIT: a/c.json");
    check(
        r#""type":"git","url":"https://github.com/o/r/blob/COMMIT/c.json","commit":"COMMIT""#,
        "https://github.com/o/r at COMMIT: c.json",
    );
}

#[test]
fn refusals_name_the_field() {
    let check = |fields: &str, reason: &str, field: &str| {
        let error = one(fields).expect_err(fields);
        let expected = format!("sources[0].{field}");
        assert_eq!(
            (&*error.reason, &*error.field),
            (reason, expected.trim_end_matches('.')),
            "{fields}: {error}"
        );
        assert!(error.position.is_some(), "{fields}: {error}");
    };
    check(r#""url":"https://e.org/c.json","prioritty":1"#, "input.field", "prioritty");
    check(
        r#""entrypoint":{"url":"https://e.org/c.json","sub_path":"x"}"#,
        "input.field",
        "entrypoint.sub_path",
    );
    check(r#""url":"https://e.org/c","entrypoint":{"url":"https://e.org/c"}"#, "input.field", "url");
    check(r#""url":7"#, "input.field", "url");
    check(r#""priority":1"#, "input.field", "");
    check(r#""entrypoint":{}"#, "input.field", "entrypoint");
    check(r#""url":"https://e.org/c","priority":-1"#, "input.field", "priority");
    check(r#""url":"https://e.org/c","priority":1001"#, "input.field", "priority");
    check(r#""url":"https://e.org/c","priority":1.0"#, "input.field", "priority");
    check(r#""url":"https://e.org/c","dialect":"npm""#, "input.dialect", "dialect");
    check(r#""url":"https://e.org/c","dialect":"flowctl""#, "input.dialect", "dialect");
    check(r#""url":"https://e.org/c","dialect":"LCOD""#, "input.dialect", "dialect");
    check(r#""url":"https://e.org/c","owns":["lcod://a/**","acme"]"#, "input.namespace", "owns[1]");
    check(r#""url":"https://e.org/c","checksum":"sha1-x""#, "input.digest", "checksum");
    check(
        r#""url":"https://e.org/c","checksum":"sha256:HEX","metadata":{"checksum":"sha256:00HEX"}"#,
        "input.digest",
        "metadata.checksum",
    );
    check(r#""url":"https://e.org/c","type":"git","kind":"file""#, "input.field", "kind");
    check(r#""url":"https://e.org/c","type":"svn""#, "input.field", "type");
    check(r#""url":"http://e.org/c""#, "input.url_scheme", "url");
    check(r#""url":"https://u:p@e.org/c""#, "input.url", "url");
    check(r#""url":"c.json""#, "input.url_scheme", "url");
    check(r#""url":"https://e.org/c","type":"https","subpath":"x""#, "input.field", "subpath");
    check(r#""type":"https","path":"c.json""#, "input.field", "path");
    check(r#""url":"https://e.org/c","commit":"COMMIT""#, "input.field", "commit");
    check(r#""type":"file","path":"c.json","commit":"COMMIT""#, "input.field", "commit");
    check(r#""type":"file","path":"c.json","url":"file:///c.json""#, "input.field", "path");
    check(r#""type":"file""#, "input.field", "path");
    check(r#""type":"file","path":"../../../c.json""#, "input.path", "path");
    check(r#""type":"file","url":"https://e.org/c""#, "input.path", "url");
    check(r#""type":"file","url":"file://host/c""#, "input.path", "url");
    check(r#""type":"git","url":"https://e.org/r.git""#, "input.field", "subpath");
    check(r#""type":"git","path":"r""#, "input.field", "subpath");
    check(r#""type":"git","subpath":"c.json""#, "input.field", "url");
    check(r#""type":"git","url":"https://e.org/r","subpath":"../c""#, "input.path", "subpath");
    check(
        r#""type":"git","url":"https://e.org/r","subpath":"c","catalogue":"c""#,
        "input.field",
        "catalogue",
    );
    check(
        r#""type":"git","url":"https://e.org/r","subpath":"c","commit":"4a569e8""#,
        "input.commit",
        "commit",
    );
    check(
        r#""entrypoint":{"type":"git","url":"https://e.org/r","subpath":"c","commit":"main"}"#,
        "input.commit",
        "entrypoint.commit",
    );
    check(
        r#""type":"git","url":"https://e.org/r","subpath":"c","commit":"COMMIT","ref":"main""#,
        "input.field",
        "ref",
    );
    check(r#""type":"git","url":"https://e.org/r","subpath":"c","ref":"-x""#, "input.ref", "ref");
    for url in ["e.org:r", "git://e.org/r", "ext::sh -c x", "--upload-pack=x", "http://e.org/r"] {
        check(&format!(r#""type":"git","url":"{url}","subpath":"c""#), "input.url_scheme", "url");
    }
    for url in ["ssh://-oProxyCommand=x/r", "ssh://u:p@e.org/r", "git@-h:r"] {
        check(&format!(r#""type":"git","url":"{url}","subpath":"c""#), "input.url", "url");
    }
    let forge = r#""type":"git","url":"https://raw.githubusercontent.com/o/r/COMMIT/c.json""#;
    check(&format!(r#"{forge},"commit":"OTHER""#), "trust.pin_conflict", "commit");
    check(&format!(r#"{forge},"metadata":{{"commit":"OTHER"}}"#), "trust.pin_conflict", "metadata.commit");
    check(&format!(r#"{forge},"subpath":"c.json""#), "input.field", "subpath");
    check(&format!(r#"{forge},"ref":"main""#), "input.field", "ref");
}

#[test]
fn pins_under_metadata_count_and_must_agree() {
    let check = |fields: &str, reason: Option<&str>| {
        let reason_found = one(fields).err().map(|error| error.reason.into_owned());
        assert_eq!(reason_found.as_deref(), reason, "{fields}");
    };
    let git = r#""type":"git","url":"https://e.org/r","subpath":"c""#;
    assert!(one(&format!(r#"{git},"metadata":{{"commit":"COMMIT"}}"#)).unwrap().is_pinned());
    assert!(one(r#""url":"https://e.org/c","metadata":{"checksum":"sha256:HEX"}"#).unwrap().is_pinned());
    check(&format!(r#"{git},"commit":"COMMIT","metadata":{{"commit":"COMMIT"}}"#), None);
    check(&format!(r#"{git},"commit":"COMMIT","metadata":{{"commit":"OTHER"}}"#), Some("trust.pin_conflict"));
    check(&format!(r#"{git},"metadata":{{"commit":"4a569e8"}}"#), Some("input.commit"));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let https = r#""url":"https://e.org/c","checksum":"HEX""#;
    check(&format!(r#"{https},"metadata":{{"checksum":"sha256-HEX"}}"#), None);
    check(&format!(r#"{https},"metadata":{{"checksum":"sha256:{empty}"}}"#), Some("trust.pin_conflict"));
}

#[test]
fn refresh_is_seconds_or_a_text_with_a_unit() {
    let check = |text: &str, expected: Option<u64>| {
        let found = one(&format!(r#""url":"https://e.org/c","refresh":{text}"#));
        assert_eq!(found.map(|source| source.refresh_s.unwrap()).ok(), expected, "{text}");
    };
    check("60", Some(60));
    check("9007199254740991", Some(9007199254740991));
    check(r#""60s""#, Some(60));
    check(r#""1h""#, Some(3600));
    check(r#""2d""#, Some(172_800));
    for text in
        ["59", "-60", "60.0", "true", "[]", r#""60""#, r#""1w""#, r#""+1h""#, r#""h""#, r#""""#, r#""59s""#]
    {
        check(text, None);
    }
    check(r#""18446744073709551615d""#, None);
    check(r#""1 h""#, None);
}

#[test]
fn a_jsonl_list_is_read_like_the_json_file() {
    let lines = format!(
        "\u{feff}{HEAD}\r\n\r\n{{\"type\":\"list\",\"id\":\"a\",\"url\":\"https://e.org/c\",\"checksum\":\"sha256:{HASH}\",\"priority\":7,\"owns\":[\"lcod://a/**\"],\"offline\":true,\"refresh\":\"30m\",\"maxStale\":\"2d\",\"publicKey\":\"k.pem\"}}\r\n\
         {{\"type\":\"list\",\"id\":\"b\",\"path\":\"../c.jsonl\",\"namespace\":\"ns\",\"version\":\"^1\"}}\n\
         {{\"type\":\"list\",\"id\":\"off\",\"path\":\"x\",\"enabled\":false}}\n\
         {{\"type\":\"list\",\"id\":\"c\",\"url\":\"https://e.org/r.git\",\"path\":\"c.jsonl\",\"metadata\":{{\"commit\":\"{HEX40}\"}}}}\n"
    );
    let json = format!(
        r#"{{"defaults":{{"priority":60}},"sources":[
        {{"id":"a","url":"https://e.org/c","checksum":"sha256:{HASH}","priority":7,"owns":["lcod://a/**"],"offline":true,"refresh":"30m","maxStale":"2d","publicKey":"k.pem"}},
        {{"id":"b","path":"../c.jsonl","namespace":"ns","version":"^1"}},{{"id":"off","path":"x","enabled":false}},
        {{"id":"c","type":"git","url":"https://e.org/r.git","path":"c.jsonl","commit":"{HEX40}"}}]}}"#
    );
    let read = read_text(&lines).unwrap();
    assert_eq!(read, read_text(&json).unwrap());
    assert_eq!(read.iter().map(|source| source.place.position).collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!(read[1].place.priority, 60);
    assert_eq!(read_text(HEAD).unwrap(), []);
}

const HEAD: &str =
    r#"{"type":"manifest","schema":"lcod-manifest/list@1","id":"acme/sources","defaults":{"priority":60}}"#;
const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HEX40: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

#[test]
fn a_broken_line_refuses_the_whole_list_with_its_place() {
    let check = |rows: &str, reason: &str, field: &str, place: (usize, usize)| {
        let error = read_text(&format!("{HEAD}\n{rows}\n")).unwrap_err();
        let found = error.position.map(|at| (at.line, at.column));
        assert_eq!((&*error.reason, &*error.field, found), (reason, field, Some(place)), "{rows}: {error}");
    };
    let good = r#"{"type":"list","id":"a","path":"c"}"#;
    check(&format!("{good}\n{{\"type\":\"list\""), "input.json", "line 3.type", (3, 14));
    check(r#"{"type":"list","id":"a","path":"c","prority":5}"#, "input.field", "line 2.prority", (2, 44));
    check(r#"{"type":"list","path":"c"}"#, "input.field", "line 2.id", (2, 26));
    check(
        r#"{"type":"list","id":"a","path":"c","priority":1001}"#,
        "input.field",
        "line 2.priority",
        (2, 47),
    );
    check(&format!("{good}\n\n{good}"), "input.duplicate_id", "line 4.id", (4, 21));
    check(r#"{"type":"component","id":"a","path":"c"}"#, "input.row_type", "line 2.type", (2, 9));
    check(r#"{"id":"a","path":"c"}"#, "input.row_type", "line 2.type", (2, 1));
    check(
        r#"{"type":"list","id":"a","path":"c","namespace":"A b"}"#,
        "input.namespace",
        "line 2.namespace",
        (2, 48),
    );
    let header = |text: &str, reason: &str| {
        let error = read_text(text).unwrap_err();
        assert_eq!(error.reason, reason, "{text}: {error}");
    };
    header(r#"{"type":"manifest","schema":"lcod-manifest/list@2"}"#, "input.schema");
    header(r#"{"type":"manifest","schema":"lcod-manifest/list@1","sources":[]}"#, "input.field");
    header(
        r#"{"type":"manifest","schema":"lcod-manifest/list@1","defaults":{"priority":-1}}"#,
        "input.field",
    );
}

#[test]
fn the_repository_of_an_https_document_is_where_its_rows_lead() {
    let check = |metadata: &str, expected: Option<&str>| {
        let source = one(&format!(r#""url":"https://e.org/c.jsonl","metadata":{{{metadata}}}"#)).unwrap();
        let found = source.origin.and_then(|origin| Some(origin.repository?.to_string()));
        assert_eq!(found.as_deref(), expected, "{metadata}");
    };
    check("", None);
    check(r#""sourceRepo":"https://e.org/r.git""#, Some("https://e.org/r.git"));
    check(r#""sourceRepo":"the other one""#, None);
}

#[test]
fn the_operators_forges_are_understood_in_the_sources_file_too() {
    let pattern = crate::forge::ForgePattern::parse(
        "https://git.acme.example/{repository}/raw/{revision}/{path}",
        "https://git.acme.example/{repository}.git",
    );
    let forges = Forges::new(vec![pattern.unwrap()]);
    let url = "https://git.acme.example/g/r/raw/main/lists/c.json";
    for fields in [format!(r#""commit":"{HEX40}""#), format!(r#""metadata":{{"commit":"{HEX40}"}}"#)] {
        let text = format!(r#"{{"sources":[{{"id":"a","url":"{url}",{fields}}}]}}"#);
        let source = read(text.as_bytes(), Path::new("/etc"), &forges).unwrap().remove(0);
        let expected = format!("https://git.acme.example/g/r.git at {HEX40}: lists/c.json");
        assert_eq!(source.entry.to_string(), expected);
        assert!(read_text(&text).is_err() || !read_text(&text).unwrap()[0].is_pinned(), "unknown to others");
    }
}

#[test]
fn max_stale_is_a_duration_of_the_source() {
    let check = |text: &str, expected: Option<u64>| {
        let found = one(&format!(r#""url":"https://e.org/c","maxStale":{text}"#));
        assert_eq!(found.map(|source| source.max_stale_s.unwrap()).ok(), expected, "{text}");
    };
    check("1", Some(1));
    check(r#""7d""#, Some(604_800));
    check("0", None);
    check(r#""7 days""#, None);
    assert_eq!(one(r#""url":"https://e.org/c""#).unwrap().max_stale_s, None);
    let error = one(r#""url":"https://e.org/c","maxStale":"soon""#).unwrap_err();
    assert_eq!(error.field, "sources[0].maxStale");
}

#[test]
fn the_document_as_a_whole_is_judged_first() {
    let check = |text: &str, reason: &str, field: &str, place: Option<(usize, usize)>| {
        let error = read_text(text).expect_err(text);
        let found = error.position.map(|at| (at.line, at.column));
        assert_eq!((&*error.reason, &*error.field, found), (reason, field, place), "{text}: {error}");
    };
    check(
        r#"{"schema":"lcod-resolver/sources@2","new":1,"sources":7}"#,
        "input.schema",
        "schema",
        Some((1, 11)),
    );
    check(r#"{"schema":"lcod-registry/catalogues@1","sources":[]}"#, "input.schema", "schema", Some((1, 11)));
    check(r#"{"source":[]}"#, "input.field", "source", Some((1, 9)));
    check(r#"{}"#, "input.field", "sources", Some((1, 2)));
    check(" \n[]", "input.schema", "", Some((1, 1)));
    check(r#"[{"id":"lcod://a/b@1.0.0","composePath":"c"}]"#, "input.schema", "", Some((1, 1)));
    check(r#"{"sources":[["a"]]}"#, "input.field", "sources[0]", Some((1, 17)));
    check(r#"{"sources":[],"sources":[]}"#, "input.duplicate_key", "sources", Some((1, 23)));
    check(
        r#"{"sources":[],"defaults":{"priority":5000}}"#,
        "input.field",
        "defaults.priority",
        Some((1, 38)),
    );
    check(
        "{\"sources\":[\n  {\"id\":\"a\",\"path\":\"x\"},\n  {\"id\":\"A\",\"path\":\"x\"}]}",
        "input.source_id",
        "sources[1].id",
        Some((3, 9)),
    );
    check(
        "{\"sources\":[\n  {\"id\":\"direct\",\"path\":\"x\"}]}",
        "input.source_id",
        "sources[0].id",
        Some((2, 9)),
    );
    check(
        "{\"sources\":[\n  {\"id\":\"a\",\"path\":\"x\"},\n  {\"id\":\"a\",\"path\":\"y\",\"enabled\":false}]}",
        "input.duplicate_id",
        "sources[1].id",
        Some((3, 9)),
    );
    check(
        "{\"sources\":[\n  {\"id\":\"a\",\n  \"path\":7}]}",
        "input.field",
        "sources[0].path",
        Some((3, 10)),
    );
    check("{\"sources\":[", "input.json", "sources[0]", Some((1, 12)));
}

#[test]
fn a_relative_directory_is_refused() {
    let error =
        read(br#"{"sources":[{"id":"a","path":"x"}]}"#, Path::new("etc"), &Forges::default()).unwrap_err();
    assert_eq!((&*error.reason, &*error.field), ("input.path", "sources[0].path"));
}

proptest! {
    #[test]
    fn arbitrary_fields_never_panic(key in "(url|path|commit|ref|subpath|type|refresh|owns|metadata)", value in ".{0,40}") {
        let value = serde_json::to_string(&value).unwrap();
        let _ = one(&format!("\"{key}\":{value}"));
        let _ = one(&format!("\"entrypoint\":{{\"type\":\"git\",\"subpath\":\"c\",\"{key}\":{value}}}"));
    }
}

#[test]
fn the_operator_may_name_a_repository_behind_ssh() {
    for url in ["ssh://git@e.org:2222/o/r.git", "git@e.org:o/r.git"] {
        let source = one(&format!(r#""type":"git","url":"{url}","subpath":"c.json""#)).unwrap();
        let Location::Git { repository, .. } = &source.entry else { panic!("{:?}", source.entry) };
        assert_eq!(repository, &Repository::Ssh(SshUrl::parse(url).unwrap()));
        assert_eq!(source.entry.locality(), crate::pointer::Locality::Remote);
    }
    let error = one(r#""type":"https","url":"ssh://git@e.org/o/r.git""#).unwrap_err();
    assert_eq!(error.reason, "input.url_scheme");
}

#[test]
fn an_estream_source_is_a_registry() {
    let check = |fields: &str, expected: &str| {
        let source = one(&format!("\"dialect\":\"estream\",{fields}")).unwrap();
        assert_eq!(
            (source.dialect, source.entry.to_string()),
            (Dialect::Estream, expected.to_owned()),
            "{fields}"
        );
    };
    let github = "https://github.com/acme/registry";
    check(r#""url":"acme/registry""#, &format!("{github} at HEAD: index"));
    check(r#""url":"acme/registry","ref":"main""#, &format!("{github} at main: index"));
    check(r#""url":"acme/registry","commit":"COMMIT""#, &format!("{github} at {COMMIT}: index"));
    check(
        r#""url":"https://git.e.org/r.git","subpath":"sub/dir""#,
        "https://git.e.org/r.git at HEAD: sub/dir/index",
    );
    check(r#""url":"ssh://git@e.org/r.git""#, "ssh://git@e.org/r.git at HEAD: index");
    check(r#""url":"file:///srv/r.git""#, "file:///srv/r.git at HEAD: index");
    check(r#""type":"git","path":"../r""#, "file:///etc/r at HEAD: index");
    check(r#""path":"../r","commit":"COMMIT""#, &format!("file:///etc/r at {COMMIT}: index"));
    check(r#""path":"parts""#, "/etc/resolverd/parts/index");
    check(r#""type":"file","url":"file:///srv/parts""#, "/srv/parts/index");
    check(
        r#""entrypoint":{"type":"git","url":"acme/registry","ref":"v1"}"#,
        &format!("{github} at v1: index"),
    );
}

#[test]
fn what_is_no_registry_is_refused_by_field() {
    let check = |fields: &str, reason: &str, field: &str| {
        let error = one(&format!("\"dialect\":\"estream\",{fields}")).unwrap_err();
        assert_eq!((&*error.reason, &*error.field), (reason, &*format!("sources[0].{field}")), "{fields}");
    };
    check(r#""type":"https","url":"https://e.org/r""#, "input.field", "type");
    check(r#""url":"http://e.org/r""#, "input.url_scheme", "url");
    check(r#""url":"acme/registry","subpath":"../x""#, "input.path", "subpath");
    check(r#""url":"acme/registry","subpath":"a","path":"b""#, "input.field", "path");
    check(r#""url":"acme/registry","checksum":"HEX""#, "input.field", "checksum");
    check(r#""type":"git""#, "input.field", "url");
    check(r#""url":"acme/registry","namespace":"acme""#, "input.field", "namespace");
    check(r#""url":"acme/registry","package":"x""#, "input.field", "package");
    check(r#""owns":["Acme-*"],"url":"acme/registry""#, "input.namespace", "owns[0]");
}

#[test]
fn an_estream_source_owns_names_by_their_start_and_scopes() {
    let source =
        one(r#""dialect":"estream","url":"a/b","owns":["acme-*","@acme","estream:@other/**"]"#).unwrap();
    let owns = |text: &str| {
        let id = crate::id::ComponentId::parse(text).unwrap();
        source.owns.iter().any(|namespace| namespace.contains(&id))
    };
    let printed: Vec<String> = source.owns.iter().map(ToString::to_string).collect();
    assert_eq!(printed, ["estream:acme-**", "estream:@acme/**", "estream:@other/**"]);
    assert!(owns("estream:acme-x") && owns("estream:@acme/x") && owns("estream:@other/y"));
    assert!(!owns("estream:acm") && !owns("estream:@acme2/x") && !owns("estream:x-acme-y"));
    for text in &printed {
        assert_eq!(Namespace::parse(text).unwrap().to_string(), *text);
    }
}
