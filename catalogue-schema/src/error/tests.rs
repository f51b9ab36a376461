//! Errors are one short line, whatever the text that caused them.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

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
}
