//! Tables of compose files and what they call, and of files that are refused; properties over any text.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Returns the calls of a file: what is called, `~` before a relative one and `!` before what is none, and where.
fn told(text: &str) -> String {
    let one = |call: Call| {
        let Position { line, column } = call.position;
        match call.target {
            Target::Component(reference) => format!("{reference} {line}:{column}"),
            Target::Relative(text) => format!("~{text} {line}:{column}"),
            Target::Unreadable(error) => format!("!{} {line}:{column}", error.reason),
        }
    };
    calls(text.as_bytes()).unwrap().into_iter().map(one).collect::<Vec<String>>().join(", ")
}

#[test]
fn every_call_of_a_step_is_listed_and_no_data() {
    let check = |text: &str, expected: &str| assert_eq!(told(text), expected, "{text}");
    check("compose:\n  - call: lcod://n/a@1\n", "lcod://n/a@1 2:11");
    check(
        "\u{feff}compose:\r\n  - call: \"lcod://n/a@1\"\r\n  - call: lcod://n/b\r\n",
        "lcod://n/a@1 2:11, lcod://n/b 3:11",
    );
    check("compose: [{call: lcod://n/a, in: {call: lcod://n/b}}]", "lcod://n/a 1:18");
    check("# é\ncompose:\n- {in: é, call: lcod://n/a}\n", "lcod://n/a 3:18");
    // What a step is given and gives is data.
    check(
        "compose:\n- call: lcod://n/a\n  in:\n    compose:\n    - call: lcod://n/b\n  out: [{call: lcod://n/c}]\n",
        "lcod://n/a 2:9",
    );
    // Slots and children hold steps, as lists or by name.
    check(
        "compose:\n- call: lcod://n/a\n  children:\n    body:\n    - call: lcod://n/b\n      slots:\n      - call: lcod://n/c\n    call:\n    - call: lcod://n/d\n",
        "lcod://n/a 2:9, lcod://n/b 5:13, lcod://n/c 7:15, lcod://n/d 9:13",
    );
    check(
        "compose:\n- call: lcod://n/a\n  children:\n    call: lcod://n/b\n    in: {call: lcod://n/c}\n",
        "lcod://n/a 2:9, lcod://n/b 4:11",
    );
    // Helpers of the same file.
    check(
        "helpers:\n  one:\n    compose:\n    - call: lcod://n/a\ncall: lcod://n/none\ncompose: []\n",
        "lcod://n/a 4:13",
    );
    check("compose:\n- compose:\n  - call: lcod://n/a\n", "lcod://n/a 3:11");
    // What names no id is told as it stands.
    check("compose:\n- call: internal/load-config\n- call: ./x\n", "~internal/load-config 2:9, ~./x 3:9");
    check(
        "compose:\n- call: ../x\n- call: $.f\n- call: lcod://N/\n- call: ''\n",
        "!compose.call 2:9, !compose.call 3:9, !input.id 4:9, !compose.call 5:9",
    );
    let long = |bytes: usize| format!("compose:\n- call: {}\n", "x".repeat(bytes));
    check(&long(512), &format!("~{} 2:9", "x".repeat(512)));
    check(&long(513), "!compose.call 2:9");
    check("compose: []\n", "");
    check("compose:\n", "");
    // An alias that stands for data hides no call.
    check("a: &x {call: lcod://n/z}\ncompose:\n- call: lcod://n/a\n  in: *x\n", "lcod://n/a 3:9");
    check("compose:\n- &s\n  call: !!str lcod://n/a\n", "lcod://n/a 3:15");
}

#[test]
fn what_cannot_be_read_is_refused_by_name_and_place() {
    let check = |text: &[u8], expected: &str| {
        let error = calls(text).unwrap_err();
        let at = error.position.map(|at| format!(" {}:{}", at.line, at.column)).unwrap_or_default();
        assert_eq!(format!("{}{at}", error.reason), expected, "{}", String::from_utf8_lossy(text));
    };
    check(b"compose:\n\t- call: x\n", "input.yaml 2:2");
    check(b"compose: [", "input.yaml 1:10");
    check(b"compose:\n- call: \xff\n", "input.encoding 2:9");
    check(b"- call: lcod://n/a\n", "compose.root 1:1");
    check(b"text", "compose.root 1:1");
    check(b"compose: []\n---\ncompose: []\n", "compose.documents 2:1");
    check(b"compose:\n- call: lcod://n/a\n  call: lcod://n/b\n", "compose.duplicate_key 3:3");
    check(b"compose: []\ncompose: []\n", "compose.duplicate_key 2:1");
    check(b"compose:\n- call: [lcod://n/a]\n", "compose.call 2:9");
    check(b"compose:\n- call: {a: b}\n", "compose.call 2:9");
    check(b"a: &x lcod://n/a\ncompose:\n- call: *x\n", "compose.alias 3:9");
    check(b"a: &x []\ncompose: *x\n", "compose.alias 2:10");
    check(b"compose:\n- &s {call: lcod://n/a}\n- *s\n", "compose.alias 3:3");
    check(b"a: &x {call: lcod://n/a}\ncompose:\n- <<: *x\n", "compose.alias 3:7");
    check(b"compose:\n- call: *nobody\n", "input.yaml 2:9");
    check(&[b' '; COMPOSE_BYTES_MAX + 1], "limit.document_bytes");
}

#[test]
fn no_file_is_too_deep_too_long_or_too_clever() {
    let reason = |text: &str| calls(text.as_bytes()).unwrap_err().reason.into_owned();
    let deep = |open: &str, count: usize| format!("a: {}", open.repeat(count));
    // One map is around them.
    let closed = |count: usize| format!("a: {}{}", "[".repeat(count), "]".repeat(count));
    assert_eq!(calls(closed(COMPOSE_DEPTH_MAX - 1).as_bytes()), Ok(vec![]));
    assert_eq!(reason(&closed(COMPOSE_DEPTH_MAX)), "limit.compose_depth");
    for open in ["[", "{a: ", "- ", "? ", "[{a: "] {
        let found = reason(&deep(open, 100_000));
        assert!(["limit.compose_depth", "input.yaml"].contains(&found.as_str()), "{open}: {found}");
    }
    let block: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(reason(&block), "limit.compose_depth");
    let many = "- a\n".repeat(COMPOSE_EVENTS_MAX);
    assert_eq!(reason(&format!("a:\n{many}")), "limit.compose_events");
    let steps = |count: usize| format!("compose:\n{}", "- call: lcod://n/a\n".repeat(count));
    assert_eq!(calls(steps(COMPOSE_CALLS_MAX).as_bytes()).unwrap().len(), COMPOSE_CALLS_MAX);
    assert_eq!(reason(&steps(COMPOSE_CALLS_MAX + 1)), "limit.compose_calls");
    // A bomb of aliases is read once, as it is written.
    let mut bomb = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..60 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} {{in: [{}]}}\n", ["x"; 3].join(", ")));
        bomb.push_str(&format!("b{level}: {{compose: [{{call: lcod://n/a, in: [{before}, {before}]}}]}}\n"));
    }
    assert_eq!(calls(bomb.as_bytes()).unwrap().len(), 59);
}

#[test]
fn a_relative_call_counts_from_its_package() {
    let package = Package {
        base: ComponentId::parse("lcod://tooling/resolver").unwrap(),
        version: Version::parse("0.1.0").unwrap(),
        aliases: BTreeMap::from([("internal".to_owned(), "private".to_owned())]),
    };
    let check = |relative: &str, expected: &str| {
        let found = package.expand(relative);
        let told = found.map_or_else(|error| error.reason.into_owned(), |one| one.to_string());
        assert_eq!(told, expected, "{relative}");
    };
    check("internal/load-config", "lcod://tooling/resolver/private/load-config@0.1.0");
    check("./internal/x", "lcod://tooling/resolver/private/x@0.1.0");
    check("other/x", "lcod://tooling/resolver/other/x@0.1.0");
    check("x", "lcod://tooling/resolver/x@0.1.0");
    check("../x", "compose.call");
    check("lcod://n/a", "compose.call");
    check("x@1", "compose.call");
    check("", "compose.call");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = calls(&bytes);
    }

    #[test]
    fn no_text_of_yaml_signs_makes_it_panic(text in "[a-c \n\t\\[\\]{}:,?&*!|>%@`'\"#\\-]{0,80}") {
        let _ = calls(text.as_bytes());
    }

    #[test]
    fn every_call_that_is_written_is_found(names in proptest::collection::vec("[a-z]{1,6}", 0..40)) {
        let text: String = names.iter().map(|name| format!("- call: lcod://n/{name}\n  in: {{call: no}}\n")).collect();
        let found = calls(format!("compose:\n{text}").as_bytes());
        let ids: Vec<String> = found.unwrap().into_iter().map(|call| match call.target {
            Target::Component(reference) => reference.id.name().to_owned(),
            other => format!("{other:?}"),
        }).collect();
        prop_assert_eq!(if names.is_empty() { vec![] } else { ids }, names);
    }
}
