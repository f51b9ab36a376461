//! Versions and requirements: what each dialect's table says.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn versions_are_semver_with_an_optional_v() {
    for (text, expected) in
        [("1.2.3", "1.2.3"), ("v1.2.3", "1.2.3"), ("V0.0.0", "0.0.0"), ("1.0.0-rc.1+b.5", "1.0.0-rc.1+b.5")]
    {
        assert_eq!(version(text).to_string(), expected);
    }
    for text in [
        "",
        "v",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-01",
        "vv1.2.3",
        " 1.2.3",
        "1.2.3 ",
        "=1.2.3",
        "1.2.x",
        "latest",
        "1.2.18446744073709551616",
        "-1.2.3",
        "\u{661}.2.3",
        "1.2.3-",
        "1.2.3+",
        "1.2.3-\u{e9}",
        "1,2,3",
    ] {
        assert_eq!(Version::parse(text).expect_err(text).reason, "input.version", "{text}");
    }
    assert!(Version::parse(&format!("1.0.0-{}", "a".repeat(122))).is_ok());
    assert!(Version::parse(&format!("1.0.0-{}", "a".repeat(123))).is_err());
    assert!(version("1.0.0+a").is_twin_of(&version("1.0.0+b")));
    assert!(!version("1.0.0").is_twin_of(&version("1.0.0-a")));
}

#[test]
fn a_requirement_that_is_a_version_names_it() {
    let check = |text: &str, expected: Option<&str>| {
        let requirement = VersionReq::parse(text, Grammar::Reference).unwrap();
        assert_eq!(requirement.named().map(|version| version.to_string()).as_deref(), expected, "{text}");
        assert_eq!(requirement.as_text(), text.trim(), "{text}");
    };
    check("1.2.3", Some("1.2.3"));
    check(" v1.2.3-rc.1+b ", Some("1.2.3-rc.1+b"));
    check("1.2", None);
    check("=1.2.3", None);
    check("^1.2.3", None);
    check("1.2.*", None);
    check("", None);
    let long = |bytes: usize| format!("v1.0.0-{}", "a".repeat(bytes - 7));
    check(&long(128), Some(&long(128)[1..]));
    assert!(VersionReq::parse(&long(129), Grammar::Reference).is_err());
    assert!(VersionReq::parse(&long(128)[1..], Grammar::Reference).is_ok());
}

#[test]
fn requirements_choose_what_the_table_says() {
    let check = |text: &str, grammar: Grammar, inside: &[&str], outside: &[&str]| {
        let requirement = VersionReq::parse(text, grammar).unwrap();
        for candidate in inside {
            assert!(requirement.matches(&version(candidate)), "{text} {grammar:?} {candidate}");
        }
        for candidate in outside {
            assert!(!requirement.matches(&version(candidate)), "{text} {grammar:?} {candidate}");
        }
    };
    use Grammar::{Caret, Reference};
    for text in ["1", "v1", "1.x", "1.*", "^1", "~1", "1.X.X"] {
        check(text, Reference, &["1.0.0", "1.9.9"], &["0.9.9", "2.0.0", "1.5.0-rc.1"]);
    }
    for text in ["1.2", "v1.2", "1.2.x", "~1.2", "~v1.2.0"] {
        check(text, Reference, &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0", "1.2.3-rc.1"]);
    }
    for text in ["1.2.3", "v1.2.3", "=1.2.3", "= v1.2.3", " 1.2.3 "] {
        check(text, Reference, &["1.2.3", "1.2.3+build"], &["1.2.2", "1.2.4", "1.2.3-rc.1"]);
    }
    check("0", Reference, &["0.0.1", "0.9.0"], &["1.0.0"]);
    check("0.1", Reference, &["0.1.9"], &["0.2.0"]);
    check("1.2.3-rc.1", Reference, &["1.2.3-rc.1"], &["1.2.3", "1.2.3-rc.2"]);
    check("^v1.2", Reference, &["1.2.0", "1.9.0"], &["1.1.0", "2.0.0"]);
    check("^0.1", Reference, &["0.1.9"], &["0.2.0"]);
    check("^1.5.1-beta.1", Reference, &["1.5.1-beta.2", "1.5.1", "1.6.0"], &["1.6.0-beta.1", "1.5.1-alpha"]);
    check(">=1.0.0, <2.0.0", Reference, &["1.0.0", "1.9.9"], &["2.0.0", "1.5.0-rc.1", "2.0.0-rc.1"]);
    check(">=v1.0,<v2", Reference, &["1.0.0", "1.9.9"], &["2.0.0"]);
    check(">1.2, <=1.4", Reference, &["1.3.0", "1.4.9"], &["1.2.9", "1.5.0"]);
    for text in ["", " ", "*", "latest", "x"] {
        check(text, Reference, &["0.0.1", "9.9.9"], &["1.0.0-rc.1"]);
        assert!(VersionReq::parse(text, Reference).unwrap().is_any(), "{text}");
    }
    check("1.2.3", Caret, &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]);
    check("v1.2", Caret, &["1.2.0", "1.9.0"], &["2.0.0"]);
    check("1", Caret, &["1.0.0", "1.9.0"], &["2.0.0"]);
    check("=1.2.3", Caret, &["1.2.3"], &["1.2.4"]);
}

#[test]
fn other_grammars_are_refused() {
    for text in [
        ">=1.0.0 <2.0.0",
        "1.0.0 - 2.0.0",
        "^1 || ^2",
        "1||2",
        "> =1",
        "^ ~1",
        "=>1",
        "==1",
        "!=1",
        "~>1.2",
        "1..2",
        "1.2.3.4",
        "^",
        "=",
        ",",
        "1,",
        ",1",
        "1,,2",
        "*, >=1",
        ">=1, *",
        "1.*.3",
        "01",
        "^1.02",
        "vv1",
        "Latest",
        "main",
        "sha256:00",
        "1.2.3\t",
        "\u{661}",
        "[1,2)",
        "^1@2",
        "18446744073709551616",
    ] {
        assert_eq!(
            VersionReq::parse(text, Grammar::Reference).expect_err(text).reason,
            "input.requirement",
            "{text}"
        );
    }
    assert!(VersionReq::parse(&">=1,".repeat(80), Grammar::Reference).is_err());
    let error = VersionReq::parse(">=1.0.0 <2.0.0", Grammar::Reference).unwrap_err();
    assert!(error.expected.contains(">=1.0.0, <2.0.0"), "{error}");
    assert!(VersionReq::parse("^1 || ^2", Grammar::Reference).unwrap_err().expected.contains("commas"));
}

#[test]
fn prereleases_that_are_asked_for_still_respect_a_full_lower_bound() {
    let check = |text: &str, candidate: &str, expected: bool| {
        let requirement = VersionReq::parse(text, Grammar::Reference).unwrap();
        assert_eq!(requirement.matches_prerelease(&version(candidate)), expected, "{text} {candidate}");
    };
    check("^1", "1.5.0-rc.1", true);
    check("*", "1.0.0-rc.1", true);
    check("1", "1.0.0-rc.1", true);
    check("^1", "2.0.0-rc.1", false);
    check("1.0.0", "1.0.0-rc.1", false);
    check(">=1.0.0", "1.0.0-rc.1", false);
    check("^1.0.0", "1.0.0-rc.1", false);
    check("^1.0.0", "1.0.1-rc.1", true);
    check(">=1.0.0-rc.5", "1.0.0-rc.1", false);
    check(">=1.0.0-rc.5", "1.0.0-rc.6", true);
    check("<=1.0.0", "1.0.0-rc.6", true);
}

#[test]
fn an_exact_requirement_reads_back() {
    for text in ["1.2.3", "1.2.3-rc.1", "1.2.3+b"] {
        let exact = VersionReq::exact(&version(text));
        assert_eq!(VersionReq::parse(&exact.to_string(), Grammar::Reference).unwrap(), exact);
        assert!(exact.matches(&version(text)));
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(text in "[v^~<>=]{0,2}[0-9x*]{1,2}(\\.[0-9x]{1,2}){0,2}(-rc\\.[0-9])?(, ?[<>]=?[0-9]\\.[0-9])?") {
        for grammar in [Grammar::Reference, Grammar::Caret] {
            if let Ok(requirement) = VersionReq::parse(&text, grammar) {
                let printed = requirement.to_string();
                prop_assert_eq!(&VersionReq::parse(&printed, Grammar::Reference).unwrap(), &requirement, "{} {}", text, printed);
            }
        }
        if let Ok(version) = Version::parse(&text) {
            prop_assert_eq!(&Version::parse(&version.to_string()).unwrap(), &version);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,60}") {
        let _ = Version::parse(&text);
        let _ = VersionReq::parse(&text, Grammar::Reference);
        let _ = VersionReq::parse(&text, Grammar::Caret);
    }
}

/// Found by fuzzing: a version of the greatest length, and the caret that stands before it once it is printed.
#[test]
fn a_requirement_reads_its_own_text_at_the_greatest_length() {
    for (length, is_read) in [(126, true), (127, true), (128, false), (129, false)] {
        let text = format!("1.0.0+{}", "b".repeat(length - 6));
        for grammar in [Grammar::Reference, Grammar::Caret] {
            let read = VersionReq::parse(&text, grammar);
            assert_eq!(read.is_ok(), is_read, "{length} {grammar:?}");
            let again = read.map(|requirement| VersionReq::parse(&requirement.to_string(), grammar).is_ok());
            assert_eq!(again.ok(), is_read.then_some(true), "{length} {grammar:?}");
        }
    }
}
