//! What the verbs print: one JSON document where JSON is asked for, and nothing for a terminal where there is none.

use serde_json::Value;

use crate::daemon::sample;
use crate::harness::daemon::Sandbox;

/// Every verb that ends by itself, with arguments that succeed on the sample federation.
const VERBS: &[&[&str]] = &[
    &["sync"],
    &["resolve", "lcod://acme/billing/invoice@1", "lcod://tooling/text/slug"],
    &["resolve", "lcod://tooling/text/slug", "--refresh"],
    &["info", "lcod://acme/billing/invoice"],
    &["info", "lcod://acme/billing/invoice@1.0.0"],
    &["versions", "lcod://acme/billing/invoice"],
    &["components"],
    &["search", "text"],
    &["explain", "lcod://tooling/text/slug"],
    &["explain", "lcod://tooling/text/sulg"],
    &["why", "lcod://tooling/text/slug"],
    &["sources"],
    &["catalogues"],
    &["status"],
    &["version"],
    &["doctor"],
    &["audit", "tail"],
    &["audit", "verify"],
];

/// The control character with which escape codes begin, and the one that a progress line needs.
const FOR_TERMINALS: [char; 2] = ['\x1b', '\r'];

/// Runs `check` with a daemon and, on the same state, without one.
fn with_a_daemon_and_without(check: impl Fn(&Sandbox)) {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    check(&sandbox);
    assert!(daemon.stop().success());
    check(&sandbox);
}

#[test]
fn every_verb_prints_one_json_document() {
    with_a_daemon_and_without(|sandbox| {
        for verb in VERBS {
            let said = sandbox.run_bare(&[*verb, &["-o", "json"]].concat());
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{verb:?}");
            // A second document behind the first would be an error.
            let answer: Value = serde_json::from_str(&said.stdout)
                .unwrap_or_else(|error| panic!("{verb:?}: {error} in {}", said.stdout));
            assert!(answer.as_object().is_some_and(|fields| !fields.is_empty()), "{verb:?}: {answer:#}");
        }
    });
}

#[test]
fn a_pipe_gets_no_escape_codes_and_no_progress() {
    let first = Sandbox::with_sources(&sample());
    let said = first.run_bare(&["resolve", "lcod://tooling/text/slug"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "only the word that it syncs first: {}", said.stderr);
    assert!(!said.stderr.contains(FOR_TERMINALS), "{:?}", said.stderr);
    with_a_daemon_and_without(|sandbox| {
        for verb in VERBS {
            let said = sandbox.run_bare(verb);
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{verb:?}");
            assert!(!said.stdout.contains(FOR_TERMINALS), "{verb:?}: {:?}", said.stdout);
        }
        let said = sandbox.run_bare(&["resolve", "lcod://tooling/text/sulg"]);
        assert!(said.status == 10 && !said.stderr.contains(FOR_TERMINALS), "{said:?}");
    });
}

#[test]
fn colours_that_are_asked_for_are_printed_and_never_into_json() {
    // Only what deserves a look has a colour: this answer has natives.
    const WARNED: &[&str] = &["tree", "lcod://tooling/text/slug"];
    with_a_daemon_and_without(|sandbox| {
        let always = |verb: &[&str]| sandbox.run_bare(&[verb, &["--color", "always"]].concat());
        let said = always(WARNED);
        assert!(said.status == 0 && said.stdout.contains("\x1b["), "{said:?}");
        let said = always(&["resolve", "lcod://tooling/text/sulg"]);
        assert!(said.status == 10 && said.stderr.contains("\x1b["), "{said:?}");
        let said = always(&[WARNED, &["-o", "json"]].concat());
        assert!(said.status == 0 && !said.stdout.contains('\x1b'), "{said:?}");
        // Asked for is asked for, whatever the environment says.
        let said = sandbox.run(&[WARNED, &["--color", "always"]].concat());
        assert!(said.stdout.contains("\x1b["), "{said:?}");
        let said = sandbox.run_bare(&[WARNED, &["--color", "never"]].concat());
        assert!(!said.stdout.contains('\x1b'), "{said:?}");
    });
}
