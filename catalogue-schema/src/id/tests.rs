//! Ids and references: the reference table, row by row.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn the_reference_table_holds() {
    let check = |text: &str, id: &str, requirement: &str| {
        let reference = Reference::parse(text).unwrap();
        let expected = VersionReq::parse(requirement, Grammar::Reference).unwrap();
        assert_eq!((reference.id.as_text(), &reference.requirement), (id, &expected), "{text}");
        assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference, "{text}");
    };
    check("lcod://tooling/array/append@^1", "lcod://tooling/array/append", "^1");
    check("lcod://flow/foreach@1", "lcod://flow/foreach", "~1");
    check("lcod://impl/net/fetch@1.2.0", "lcod://impl/net/fetch", "=1.2.0");
    check("lcod://tooling/script", "lcod://tooling/script", "latest");
    check("lcod://tooling/script@latest", "lcod://tooling/script", "*");
    check("estream-wire-fix@^1.0.0", "estream:estream-wire-fix", "^1.0.0");
    check("esf-trading@1.2.0", "estream:esf-trading", "=1.2.0");
    check("@synergy-carbon/impact-counter", "estream:@synergy-carbon/impact-counter", "");
    check(
        "@synergy-carbon/impact-counter@>=1.0.0, <2.0.0",
        "estream:@synergy-carbon/impact-counter",
        ">=1.0.0, <2.0.0",
    );
    check("stellar/stellar-source@v1.2.3", "flowctl:stellar/stellar-source", "=1.2.3");
    check("stellar/stellar-source@^1.2.0", "flowctl:stellar/stellar-source", "^1.2.0");
    check("stellar-live-source@v1.0.0", "estream:stellar-live-source", "=1.0.0");
    check("estream:@pub/name@1", "estream:@pub/name", "1");
    check("flowctl:ns/name", "flowctl:ns/name", "");
    check("estream:@pub/name", "estream:@pub/name", "");
    let manifest = VersionReq::parse("1.2.0", Grammar::Caret).unwrap();
    assert_eq!(manifest, VersionReq::parse("^1.2.0", Grammar::Reference).unwrap());
}

#[test]
fn every_other_reference_is_refused_by_name() {
    let check = |text: &str, reason: &str, hint: &str| {
        let error = Reference::parse(text).expect_err(text);
        assert_eq!(error.reason, reason, "{text}: {error}");
        assert!(error.expected.contains(hint), "{text}: {error}");
    };
    for text in [
        "ghcr.io/org/app:v1",
        "ghcr.io/org/app@sha256:00",
        "localhost/app",
        "localhost:5000/app",
        "nginx:1.0",
    ] {
        check(text, "input.reference", "OCI");
    }
    for text in [
        "{bundle: stellar/s@v1.0.0, component: c, template: t}",
        "stellar/ttp-processing-suite:rpc-pipeline",
        "a/b#c",
        "flowctl-bundle:a/b",
    ] {
        check(text, "input.reference", "bundles");
    }
    for text in ["./x", "/x", "git+https://e.org/r@0", "git+https://e.org/r#p"] {
        check(text, "input.reference", "direct");
    }
    for text in [
        "@foo",
        "Foo/bar",
        "lcod://x",
        "lcod:x/y",
        "a_b",
        "x@latest@1",
        " x",
        "lcod://a/../b",
        "lcod://a/",
        "lcod://a//b",
        "lcod:///b",
        "lcod://A/b",
        "lcod://a/.b",
        "lcod://a/-b",
        "@a/b/c",
        "@/b",
        "@a/",
        "estream:a/b",
        "flowctl:a",
        "lcod://a/b c",
    ] {
        check(text, "input.id", "");
    }
    for text in ["a//b", "a/b/c", "", " "] {
        check(text, "input.reference", "");
    }
    check("x@", "input.reference", "requirement");
    check("x@ ", "input.reference", "requirement");
    check("lcod://a/b@", "input.reference", "requirement");
    check("lcod://a/b@main", "input.requirement", "");
    check("lcod://a/b\n", "input.reference", "ASCII");
    check("lcod://p\u{430}y/b", "input.reference", "ASCII");
    let longest = format!("lcod://a/{}", "b".repeat(503));
    assert_eq!(Reference::parse(&longest).unwrap().to_string(), longest);
    check(&format!("{longest}b"), "input.reference", "512");
    check(&"a".repeat(510), "input.id", "512");
    check(&format!("{}@1.0.0", "a".repeat(500)), "input.reference", "512");
}

#[test]
fn ids_give_their_parts() {
    let check = |text: &str, path: &str, scope: &str, name: &str| {
        let id = ComponentId::parse(text).unwrap();
        assert_eq!((id.path(), id.scope(), id.name()), (path, scope, name));
        assert_eq!(ComponentId::from_path(id.dialect(), id.path()).unwrap(), id);
    };
    check("lcod://tooling/array/append", "tooling/array/append", "tooling/array", "append");
    check("estream:esf", "esf", "", "esf");
    check("estream:@pub/name", "@pub/name", "@pub", "name");
    check("flowctl:ns/name", "ns/name", "ns", "name");
}

#[test]
fn release_ids_need_a_version() {
    let (id, version) = parse_release_id("lcod://a/b@1.0.0").unwrap();
    assert_eq!((id.as_text(), version.to_string()), ("lcod://a/b", "1.0.0".to_owned()));
    let check = |text: &str, reason: &str| assert_eq!(parse_release_id(text).expect_err(text).reason, reason);
    check("lcod://a/b", "version_missing");
    check("lcod://a/b@1", "input.version");
    check("lcod://a/b@", "input.version");
    check("a@1.0.0", "input.id");
    check("@1.0.0", "version_missing");
}

#[test]
fn namespaces_end_at_a_segment_border() {
    let check = |text: &str, inside: &str, outside: &str| {
        let namespace = Namespace::parse(text).unwrap();
        assert!(namespace.contains(&ComponentId::parse(inside).unwrap()), "{text} {inside}");
        assert!(!namespace.contains(&ComponentId::parse(outside).unwrap()), "{text} {outside}");
        assert_eq!(Namespace::parse(&namespace.to_string()).unwrap(), namespace);
    };
    check("lcod://acme/**", "lcod://acme/a/b", "lcod://acme2/a");
    check("lcod://acme/", "lcod://acme/a", "estream:acme");
    check("lcod://acme/pay/**", "lcod://acme/pay/x", "lcod://acme/pay");
    check("lcod://**", "lcod://acme/a", "flowctl:acme/a");
    check("estream:@pub/**", "estream:@pub/x", "estream:x");
    check("flowctl:ns/**", "flowctl:ns/x", "flowctl:ns2/x");
    for text in [
        "",
        "**",
        "acme/**",
        "lcod://acme",
        "lcod://acme**",
        "lcod://acme/*",
        "lcod://ACME/**",
        "lcod:///**",
        "lcod://a/../**",
        "flowctl:a/b/**",
    ] {
        assert_eq!(Namespace::parse(text).expect_err(text).reason, "input.namespace", "{text}");
    }
}

#[test]
fn source_ids_are_plain() {
    for text in ["a", "lcod-default", "tooling/std", "a.b_c-d/e9", &"a".repeat(100)] {
        assert_eq!(SourceId::parse(text).unwrap().as_text(), text);
    }
    for text in
        ["", "-a", "a-", "A", "a b", "/a", "a/", "a//b", "a/../b", "a/./b", "\u{e9}", "a\n", &"a".repeat(101)]
    {
        assert_eq!(SourceId::parse(text).expect_err(text).reason, "input.source_id", "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(text in "(lcod://|estream:|flowctl:|@|)[a-z0-9/._-]{0,20}(@[v^~0-9.]{1,6})?") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&ComponentId::parse(reference.id.as_text()).unwrap(), &reference.id);
        }
        if let Ok(id) = SourceId::parse(&text) {
            prop_assert_eq!(&SourceId::parse(id.as_text()).unwrap(), &id);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,80}") {
        let _ = Reference::parse(&text);
        let _ = ComponentId::parse(&text);
        let _ = Namespace::parse(&text);
        let _ = SourceId::parse(&text);
        let _ = parse_release_id(&text);
    }
}
