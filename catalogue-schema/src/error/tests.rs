//! Errors are one short line, whatever the text that caused them.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::dialect::estream::{component, settings::Settings, workspace::Workspace};
use crate::lockfile::Lock;
use crate::policy::Policy;
use crate::project::{Overrides, ProjectFile};

thread_local! {
    /// How many bytes were walked to find places.
    pub(crate) static WALKED: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn a_refusal_reads_as_one_line() {
    let error = ParseError::new("input.id", "lower-case letters", "A\n\u{202e}\"")
        .in_field("id")
        .in_field("[0]")
        .in_field("sources")
        .at(Position { line: 3, column: 9 })
        .at(Position { line: 1, column: 1 });
    let expected =
        r#"sources[0].id: expected lower-case letters, found "A\u{a}\u{202e}\"" (line 3, column 9)"#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn places_count_from_one() {
    let check = |offset: usize, line: usize, column: usize| {
        assert_eq!(Position::of(b"ab\nc\n", offset), Position { line, column }, "{offset}");
    };
    check(0, 1, 1);
    check(2, 1, 3);
    check(3, 2, 1);
    check(5, 3, 1);
    check(99, 3, 1);
}

/// Against the one that walks the whole text, on both sides of every block and line border.
#[test]
fn places_are_found_in_texts_of_any_length() {
    for line in [0, 1, 99, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES] {
        let text = ("x".repeat(line) + "\n").repeat(3 * BLOCK_BYTES / (line + 1) + 2);
        let places = Places::of(text.as_bytes());
        let around = |border: usize| border.saturating_sub(2)..=border + 2;
        for offset in
            [0, BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES, text.len()].into_iter().flat_map(around)
        {
            let expected = Position::of(text.as_bytes(), offset);
            assert_eq!(places.at(offset), expected, "lines of {line}, byte {offset}");
        }
    }
    let wide = "\n".repeat(64 * BLOCK_BYTES);
    let places = Places::of(wide.as_bytes());
    places.at(0);
    assert_eq!(places.marks.get().map(Vec::len), Some(65), "one mark a block, however many lines");
    assert_eq!(Places::of(b"").at(7), Position { line: 1, column: 1 });
}

/// Reads a document of so many entries.
type Reading = fn(usize);

/// Every reader of a text whose entries have places. What it walks to find them must not grow faster than the text does.
const READINGS: &[(&str, Reading)] = &[
    ("sources of a policy", |count| {
        let rules = entries(count, |n| format!("[[sources]]\nid = \"s{n}\"\n"));
        let read = Policy::parse(format!("{POLICY}{rules}").as_bytes()).unwrap();
        assert_eq!(read.sources.len(), count);
    }),
    ("namespaces of a policy", |count| {
        let rules = entries(count, |n| {
            format!("[[namespaces]]\nmatch = \"lcod://s/p{n}/**\"\nsources = [\"s\"]\nrequire = \"digest\"\n")
        });
        let read = Policy::parse(format!("{POLICY}{rules}").as_bytes()).unwrap();
        assert_eq!(read.namespaces.len(), count);
    }),
    ("registries of eStream", |count| {
        let rows = entries(count, |n| format!("[[registry.sources]]\nname = \"s{n}\"\nurl = \"a/b\"\n"));
        assert_eq!(Settings::parse(&rows, Path::new("/h")).unwrap().registries.len(), count);
    }),
    ("a component of eStream", |count| {
        let names = entries(count, |n| format!("\"src/part-{n}.fl\",\n"));
        let text = format!("[component]\nname = 3\n[component.include]\ncircuits = [\n{names}]\n");
        assert!(component::read(text.as_bytes()).unwrap().component.is_none());
    }),
    ("a workspace of eStream", |count| {
        let rows = entries(count, |n| format!("[dependencies.part-{n}]\nversion = \"1.0.0\"\n"));
        assert!(Workspace::read(rows.as_bytes()).is_ok());
    }),
    ("a lock", |count| {
        let rows = entries(count, |n| {
            format!(
                "[[components]]\nid = \"lcod://a/p{n}\"\nversion = \"1.0.0\"\nsource = \"a\"\ncatalogue = \"a\"\nrequested = [\"lcod://a/p{n}\"]\n"
            )
        });
        Lock::parse(format!("schema = \"resolverd/lock@1\"\n{rows}").as_bytes()).unwrap();
    }),
    ("a project", |count| {
        let rows = entries(count, |n| format!("\"lcod://a/p{n}@^1.0\",\n"));
        let text = format!("schemaVersion = \"2.0\"\n[deps]\nrequires = [\n{rows}]\n");
        assert_eq!(ProjectFile::parse(text.as_bytes()).unwrap().requires.len(), count);
    }),
    ("what a project overrides", |count| {
        let rows = entries(count, |n| format!("\"lcod://a/p{n}\": \"lcod://b/p{n}\",\n"));
        let text = format!("{{\"replace\": {{{rows}\"lcod://a/p\": \"lcod://b/p\"}}}}");
        Overrides::parse(text.as_bytes()).unwrap();
    }),
];

const POLICY: &str = "schema = \"resolverd/trust@1\"\nversion = 1\n";

fn entries(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(|n| entry(n + 1_000)).collect()
}

#[test]
fn no_reader_walks_its_text_again_for_each_entry() {
    for (name, read) in READINGS {
        let walked = |count: usize| {
            WALKED.set(0);
            read(count);
            WALKED.get()
        };
        let (half, whole) = (walked(400), walked(800));
        assert!(whole * 10 <= half * 23, "{name}: {half} bytes walked for 400 entries, {whole} for 800");
    }
}

#[test]
fn users_and_passwords_of_urls_are_not_repeated() {
    let check = |text: &str, shown: &str| {
        assert_eq!(ParseError::new("input.url", "x", text).found, format!("\"{shown}\""));
    };
    check("https://me:secret@h.io/c@1.json", "https://***@h.io/c@1.json");
    check("ssh://git@h.io:22/c and http://a:b@c@d/", "ssh://***@h.io:22/c and http://***@d/");
    check("https://h.io/a@b", "https://h.io/a@b");
    check("lcod://a@1.0.0", "lcod://a@1.0.0");
    check("://@://", "://***@://");
}

proptest! {
    #[test]
    fn foreign_text_is_cut_and_cannot_break_the_line(text in any::<String>()) {
        let error = ParseError::new("input.id", "x", &text).to_string();
        prop_assert!(!error.chars().any(char::is_control));
        prop_assert!(error.chars().count() < FOUND_CHARS_MAX * 11);
    }

    #[test]
    fn foreign_names_of_fields_are_cut_and_cannot_break_the_line(name in any::<String>(), times in 1..2000_usize) {
        let error = ParseError::new("input.id", "x", "y").in_field(name.repeat(times)).to_string();
        let bidirectional = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        prop_assert!(!error.chars().any(|c| c.is_control() || bidirectional(c)));
        prop_assert!(error.chars().count() < PATH_CHARS_MAX + 50);
    }
}

#[test]
fn a_plain_field_path_is_told_as_it_is_and_of_a_long_one_its_end() {
    let told = |field: &str| ParseError::new("input.id", "x", "y").in_field(field).to_string();
    assert_eq!(told("bindings.lcod://é/b@1[3].id"), "bindings.lcod://é/b@1[3].id: expected x, found \"y\"");
    assert_eq!(told("bindings.a\tb\u{202e}"), "bindings.a\\u{9}b\\u{202e}: expected x, found \"y\"");
    let long = told(&format!("{}last", "a".repeat(PATH_CHARS_MAX)));
    assert_eq!(long, format!("…{}last: expected x, found \"y\"", "a".repeat(PATH_CHARS_MAX - 4)));
    let cut = told(&format!("\t{}", "a".repeat(PATH_CHARS_MAX - 4)));
    assert_eq!(
        cut,
        format!("…{}: expected x, found \"y\"", "a".repeat(PATH_CHARS_MAX - 4)),
        "no half of an escape"
    );
}
