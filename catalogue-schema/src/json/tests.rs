//! What the strict reader accepts and refuses, with the place of each refusal.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn check_refused(bytes: impl AsRef<[u8]>, reason: &str, field: &str, place: (usize, usize)) {
    let bytes = bytes.as_ref();
    let text = String::from_utf8_lossy(bytes);
    let error = check(bytes).expect_err(&text);
    let position = error.position.map(|at| (at.line, at.column));
    assert_eq!(
        (&*error.reason, &*error.field, position),
        (reason, field, Some(place)),
        "{text:.80}: {error}"
    );
}

#[test]
fn refusals_carry_reason_field_and_place() {
    check_refused(b"\"a\xff\"", "input.encoding", "", (1, 3));
    check_refused(b"{\"a\":\n \"\xc3\"}", "input.encoding", "", (2, 3));
    check_refused(b"\xff\xfe{\0}\0", "input.encoding", "", (1, 4));
    check_refused("[\"a\0\"]", "input.encoding", "", (1, 4));
    check_refused(r#"{"a":"x\u0000y"}"#, "input.encoding", "a", (1, 15));
    check_refused(r#"{"x\u0000y":1}"#, "input.encoding", r"x\u{0}y", (1, 11));
    check_refused(r#"["\ud800"]"#, "input.encoding", "[0]", (1, 9));
    check_refused(r#"["\udc00x"]"#, "input.encoding", "[0]", (1, 8));
    check_refused(r#"{"a":1,"\u0061":2}"#, "input.duplicate_key", "a", (1, 15));
    check_refused("{\"a\":[\n{\"b\":1,\n\"b\":2}]}", "input.duplicate_key", "a[0].b", (3, 3));
    check_refused(
        r#"{"a":{"$serde_json::private::RawValue":"1"}}"#,
        "input.reserved_key",
        "a.$serde_json::private::RawValue",
        (1, 38),
    );
    check_refused(r#"{"":1,"":2}"#, "input.duplicate_key", "", (1, 8));
    check_refused("9007199254740992", "input.number", "", (1, 16));
    check_refused("[1,-9007199254740992]", "input.number", "[1]", (1, 20));
    check_refused(r#"{"n":123456789012345678901234567890}"#, "input.number", "n", (1, 35));
    check_refused(r#"{"n":[1.5,-18446744073709551616 ]}"#, "input.number", "n[1]", (1, 31));
    check_refused("[1e400]", "input.number", "[0]", (1, 6));
    check_refused("[-1e999]", "input.number", "[0]", (1, 7));
    check_refused("{} {}", "input.json", "", (1, 4));
    check_refused("[1]x", "input.json", "", (1, 4));
    check_refused("[1,]", "input.json", "", (1, 4));
    check_refused("{\"a\":1,}", "input.json", "", (1, 8));
    check_refused("{\"a\":\n  nul}", "input.json", "", (2, 6));
    check_refused("[NaN]", "input.json", "[0]", (1, 2));
    check_refused("{a:1}", "input.json", "", (1, 2));
    check_refused("[01]", "input.json", "[0]", (1, 3));
    check_refused("[\"a\nb\"]", "input.json", "[0]", (2, 1));
    check_refused("[", "input.json", "[0]", (1, 1));
    check_refused("{\"a\":\"", "input.json", "a", (1, 6));
}

#[test]
fn an_empty_document_is_not_json() {
    for text in ["", " ", "\n\n", "\u{feff}"] {
        assert_eq!(check(text.as_bytes()).unwrap_err().reason, "input.json", "{text:?}");
    }
}

#[test]
fn documents_nest_64_levels_and_no_more() {
    let nested = |open: &str, close: &str, levels: usize| open.repeat(levels) + "1" + &close.repeat(levels);
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[ ", "\n]")] {
        for levels in [1, 63, 64] {
            assert!(check(nested(open, close, levels).as_bytes()).is_ok(), "{open} {levels}");
        }
        for levels in [65, 66, 127, 200] {
            assert_eq!(
                check(nested(open, close, levels).as_bytes()).unwrap_err().reason,
                "input.depth",
                "{open}"
            );
        }
    }
    check_refused("[".repeat(100_000), "input.depth", &"[0]".repeat(65), (1, 65));
    check_refused("{\"a\":".repeat(100_000), "input.depth", &["a"; 64].join("."), (1, 321));
    assert!(check(("[".repeat(64) + &"]".repeat(64)).as_bytes()).is_ok());
}

#[test]
fn what_every_reader_understands_is_accepted() {
    for text in [
        "null",
        "\u{feff}{\"a\":1}\r\n",
        r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#,
        "[9007199254740991,-9007199254740991,-0,0.1,1E22,123e45,1e308,1e-400]",
        r#""12345678901234567890 is text""#,
        r#"{"12345678901234567890":1e99}"#,
        r#""\ud83d\ude00 \u00e9 \\ \"""#,
    ] {
        let accepted = check(text.as_bytes()).unwrap();
        assert_eq!(accepted, text.trim_start_matches('\u{feff}'));
        serde_json::from_str::<Value>(accepted).unwrap();
    }
}

#[test]
fn duplicates_are_noticed_among_many_keys() {
    let keys = |count: usize| (0..count).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    for count in [15, 16, 17, 1000] {
        assert!(check(format!("{{{}}}", keys(count)).as_bytes()).is_ok());
        for twice in [0, count / 2, count - 1] {
            let text = format!("{{{},\"k{twice}\":0}}", keys(count));
            let error = check(text.as_bytes()).unwrap_err();
            assert_eq!((&*error.reason, error.field), ("input.duplicate_key", format!("k{twice}")));
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[allow(dead_code)]
    id: String,
    #[allow(dead_code)]
    size: Option<u64>,
    #[allow(dead_code)]
    inner: Option<Vec<Row>>,
}

#[derive(Debug, Deserialize)]
struct Rows<'a> {
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
}

#[test]
fn type_mismatches_name_field_place_expected_and_found() {
    let check = |row: &str, field: &str, expected: &str, found: &str, place: (usize, usize)| {
        let text = format!("{{\"rows\":[{{\"id\":\"ok\"}},\n  {row}]}}");
        let text = check(text.as_bytes()).unwrap();
        let document = Document::of(text);
        let rows: Rows<'_> = super::document(text).unwrap();
        assert!(document.entry::<Row>(rows.rows[0]).is_ok());
        let error = document.entry::<Row>(rows.rows[1]).unwrap_err();
        let position = error.position.map(|at| (at.line, at.column)).unwrap();
        assert_eq!(
            (&*error.reason, &*error.field, &*error.expected, &*error.found, position),
            ("input.field", field, expected, found, place)
        );
    };
    check(r#"{"id":7}"#, "id", "a string", "\"integer `7`\"", (2, 9));
    check(r#"{"size":1}"#, "id", "this field", "\"nothing\"", (2, 12));
    check(
        r#"{"id":"a","size":1.0}"#,
        "size",
        "an integer that is not negative",
        "\"floating point `1.0`\"",
        (2, 22),
    );
    check(r#"{"id":"a","size":-1}"#, "size", "an integer that is not negative", "\"integer `-1`\"", (2, 21));
    check(
        "{\"id\":\"a\",\n\"inner\":[{\"id\":\"b\"},{\"id\":null}]}",
        "inner[1].id",
        "a string",
        "\"null\"",
        (3, 30),
    );
    check(r#"{"id":"a","inner":[{}]}"#, "inner[0].id", "this field", "\"nothing\"", (2, 23));
    check(r#"{"idd":"a"}"#, "idd", "one of `id`, `size`, `inner`", "\"idd\"", (2, 8));
    check(r#"7"#, "", "an object", "\"integer `7`\"", (2, 3));
}

#[test]
fn mismatches_are_told_in_the_words_of_json() {
    let check = |text: &str, expected: &str, found: &str| {
        let error = super::document::<Vec<Row>>(text).unwrap_err();
        assert_eq!((&*error.expected, &*error.found), (expected, found), "{text}");
    };
    check("{}", "an array", "\"object\"");
    check("[7]", "an object", "\"integer `7`\"");
    check(r#"[["a"]]"#, "an object", "\"array\"");
    check(r#"[{"id":[]}]"#, "a string", "\"array\"");
    check(r#"[{"id":"a","inner":{}}]"#, "an array", "\"object\"");
    let error = super::check(b"{}\n{}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected the end of the document behind its first value, found \"more text\" (line 2, column 1)"
    );
}

#[test]
fn broken_json_is_told_in_words() {
    let check = |text: &str, expected: &str, found: &str| {
        let error = check(text.as_bytes()).unwrap_err();
        assert_eq!((&*error.expected, &*error.found), (expected, &*format!("\"{found}\"")), "{text}");
    };
    check("", "a whole JSON document", "the end of the text");
    check("{\"a\":[1", "a whole JSON document", "the end of the text");
    check("<html>", "a JSON value", "something else");
    check("nul1", "a JSON value", "something else");
    check("{a:1}", "a key in double quotes", "something else");
    check("{\"a\" 1}", "`:`", "something else");
    check("[1 2]", "`,` or `]`", "something else");
    check("[1,]", "a value behind the comma", "none");
    check("{} {}", "the end of the document behind its first value", "more text");
}

#[test]
fn an_error_about_a_field_gets_its_place() {
    let text = "{\"a\": {\"b\":\n [1, {\"c\": \"x\"}]},\n \"\\u0064\": 2}";
    let check = |field: &str, place: Option<(usize, usize)>| {
        let error = located(ParseError::new("input.id", "x", "y").in_field(field), text);
        assert_eq!(error.position.map(|at| (at.line, at.column)), place, "{field}");
    };
    check("", Some((1, 1)));
    check("a", Some((1, 7)));
    check("a.b", Some((2, 2)));
    check("a.b[0]", Some((2, 3)));
    check("a.b[1].c", Some((2, 12)));
    check("d", Some((3, 12)));
    for missing in ["e", "a.c", "a.b[2]", "a.b.c", "a.b[0].c", "d.e", "d[0]", "a[0]"] {
        check(missing, None);
    }
}

#[test]
fn the_place_of_foreign_text_is_unknown() {
    let text = String::from("[1]");
    let other = String::from("[1]");
    assert_eq!(Document::of(&text).position(&other), None);
    assert_eq!(Document::of(&text).position(&text[1..]), Some(Position { line: 1, column: 2 }));
    assert_eq!(Document::of(&text[..2]).position(&text[1..]), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes);
    }

    #[test]
    fn near_json_never_panics_and_accepted_text_parses(text in "[\\[\\]{}:,\"\\\\u0-9a-e.\\- \n\u{e9}]{0,60}") {
        if let Ok(text) = check(text.as_bytes()) {
            prop_assert!(serde_json::from_str::<Value>(text).is_ok());
            prop_assert!(serde_json::from_str::<Row>(text).is_err());
            let _ = document::<Row>(text);
        }
    }
}

#[test]
fn a_long_path_is_told_by_its_end() {
    // Each byte of such a key takes six characters.
    let key = format!("\"{}\":", "\u{7f}".repeat(30));
    let text =
        format!("{}{}1,\"last\":1,\"last\":2", "{".to_owned() + &key, ("{".to_owned() + &key).repeat(40));
    let text = text.replacen("1,\"last\"", "{\"last\"", 1);
    let error = super::check(text.as_bytes()).unwrap_err();
    assert_eq!(&*error.reason, "input.duplicate_key");
    assert!(error.field.starts_with('…') && error.field.ends_with(".last"), "{}", error.field);
    assert!(error.to_string().chars().count() < 1500, "{}", error.to_string().chars().count());
}
