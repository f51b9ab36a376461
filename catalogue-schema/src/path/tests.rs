//! The path grammar, row by row.

#![allow(clippy::unwrap_used)]

use std::path::{Component, Path};

use proptest::prelude::*;

use super::*;

#[test]
fn paths_below_the_root_are_accepted() {
    let check = |text: &str, expected: &str| assert_eq!(DocPath::parse(text).unwrap().as_text(), expected);
    check("lcp.toml", "lcp.toml");
    check("./lcp.toml", "lcp.toml");
    check(
        "packages/std/components/tooling/array.append/0.1.0/manifest.json",
        "packages/std/components/tooling/array.append/0.1.0/manifest.json",
    );
    for text in [
        ".github/x",
        "-x",
        "a..b",
        "...a",
        "com",
        "com0",
        "com10",
        "console",
        "git~",
        "git~x",
        "~",
        "a+b@c#d%e&f=(g)[h]{i}",
        "gitmodules",
    ] {
        check(text, text);
    }
    check(&"a".repeat(100), &"a".repeat(100));
    check(&vec!["a"; 32].join("/"), &vec!["a"; 32].join("/"));
}

#[test]
fn every_other_path_is_refused() {
    let check = |text: &str| assert_eq!(DocPath::parse(text).expect_err(text).reason, "input.path", "{text}");
    for text in [
        "",
        ".",
        "..",
        "./",
        "/",
        "//",
        "/etc/passwd",
        "../x",
        "../../x",
        "a/../b",
        "a/..",
        "a/./b",
        "a//b",
        "a/",
        "././a",
        ".//a",
        "../lcod-components/x",
        "a\\b",
        "C:/x",
        "C:x",
        "a b",
        "a\tb",
        "a\nb",
        "a\0b",
        "a\x7fb",
        "\u{e9}",
        "\u{202e}a",
        "a*",
        "a?",
        "a|b",
        "a<b",
        "a>b",
        "a\"b",
        "a.",
        "a./b",
        "...",
        ".git",
        ".GIT",
        ".Git/config",
        "a/.git",
        "git~1",
        "GIT~12",
        "a/git~1/b",
        ".gitmodules",
        ".gitattributes",
        ".resolverd",
        ".resolverd-x",
        ".RESOLVERD/x",
        "con",
        "CON",
        "con.txt",
        "nul.tar.gz",
        "aux",
        "PRN.json",
        "com1",
        "LPT9.x",
        "a/com5/b",
    ] {
        check(text);
    }
    check(&"a".repeat(101));
    check(&vec!["a"; 33].join("/"));
    check(&vec!["a".repeat(99); 3].join("/"));
}

#[test]
fn siblings_are_one_segment() {
    let path = DocPath::parse("a/b/compose.yaml").unwrap();
    assert_eq!(path.sibling("lcp.toml").unwrap().as_text(), "a/b/lcp.toml");
    assert_eq!(DocPath::parse("x").unwrap().sibling("y").unwrap().as_text(), "y");
    for name in ["", "..", "../x", "x/y", "/x", ".git"] {
        assert!(path.sibling(name).is_err(), "{name}");
    }
}

#[test]
fn below_ends_at_a_segment_border() {
    let check = |path: &str, directory: &str, expected: bool| {
        let (path, directory) = (DocPath::parse(path).unwrap(), DocPath::parse(directory).unwrap());
        assert_eq!(path.is_below(&directory), expected, "{path} {directory}");
    };
    check("a/b", "a", true);
    check("a/b", "a/b", true);
    check("ab", "a", false);
    check("a", "a/b", false);
}

#[test]
fn reserved_names_are_known_in_any_case() {
    let check = |segment: &str, expected: bool| {
        assert_eq!(is_reserved(segment), expected, "{segment}");
        assert_eq!(is_reserved(&segment.to_ascii_uppercase()), expected, "{segment} in capitals");
    };
    for segment in [".git", ".gitmodules", ".gitattributes", ".resolverd", ".resolverd-x", "git~1", "git~12"]
    {
        check(segment, true);
    }
    for segment in ["con", "nul.txt", "aux.a.b", "prn", "com1", "com9.x", "lpt5"] {
        check(segment, true);
    }
    for segment in
        ["", "x", "git", ".gitx", ".gi", "git~", "git~x", "git~1x", "cons", "com", "com0", "com10", "lpt"]
    {
        check(segment, false);
    }
}

proptest! {
    #[test]
    fn what_is_beyond_doubt_has_no_fault(path in "(?i)((con|prn|aux|nul|com|lpt|git|\\.|[a-z0-9]){0,3}[0-9~._-]{0,2}/?){1,4}") {
        if is_plain(path.as_bytes()) {
            prop_assert_eq!(path.split('/').find_map(segment_fault), None);
        }
    }

    #[test]
    fn accepted_paths_print_the_same_and_stay_inside(text in "[a-zA-Z0-9./~:\\\\ _-]{0,40}") {
        if let Ok(path) = DocPath::parse(&text) {
            prop_assert_eq!(&DocPath::parse(path.as_text()).unwrap(), &path);
            let parts: Vec<_> = Path::new(path.as_text()).components().collect();
            prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
            prop_assert_eq!(parts.len(), path.segments().count());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,300}") {
        let _ = DocPath::parse(&text);
    }
}
