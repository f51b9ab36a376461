//! Policies: what the worked example says, and one broken file for every rule, with the place of the fault.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::error::Position;

pub(super) const GOOD: &str = r#"schema  = "resolverd/trust@1"
version = 17

[defaults]
digests        = ["sha256", "sha512", "sha3-256"]
require_pin    = true
max_clock_skew = "5m"
max_stale      = "30d"

[limits]
catalogue_bytes = 67_108_864

[[keys]]
id          = "acme-root-ed-1"
algorithm   = "ed25519"
file        = "keys/acme/root-ed-1.pem"
fingerprint = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
usage       = ["catalogue", "keyset", "package"]
not_before  = 2026-01-01T00:00:00Z
not_after   = 2028-01-01T00:00:00Z
revoked     = { at = 2026-05-04T02:00:00+02:00, reason = "retired" }

[[keys]]
id          = "acme-root-pq-1"
algorithm   = "ml-dsa-87"
file        = "/etc/keys/pq.pem"
fingerprint = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
usage       = ["catalogue", "package"]

[[keys]]
id          = "acme-ci"
algorithm   = "ed25519"
file        = "keys/acme/ci.pem"
fingerprint = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
usage       = ["package"]

[[signers]]
name       = "acme-hybrid"
keys       = ["acme-root-ed-1", "acme-root-pq-1"]
threshold  = 2
algorithms = { all = ["ed25519", "ml-dsa-87"] }

[[signers]]
name       = "acme-ci"
keys       = ["acme-ci"]
threshold  = 1

[[sources]]
id        = "acme-internal"
hosts     = ["git.acme.example", "10.0.0.1"]
allow_private_addresses = true
signed_by = "acme-hybrid"

[[namespaces]]
name      = "acme"
match     = "lcod://acme/**"
sources   = ["acme-internal"]
require   = "signature"
signed_by = "acme-ci"
min_age   = "7d"
agree     = 1
allow_deps = ["lcod://acme/**", "lcod://contract/x"]

[[namespaces]]
match     = "lcod://tooling/**"
sources   = ["lcod-default", "acme-internal"]
require   = "pin"
mode      = "audit"
digests   = ["sha512"]

[[exceptions]]
id = "EX-2026-014"
match = "lcod://lab/probe"
versions = ">=0.1.0, <0.2.0"
source = "lab-usb"
allow = ["unsigned"]
digest = "sha256:0f34000000000000000000000000000000000000000000000000000000000000"
created = 2026-10-15T00:00:00Z
not_after = 2026-12-31T00:00:00Z
reason = "vendor probe, signed build due in December"
"#;

#[test]
fn the_worked_example_is_read() {
    let policy = Policy::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(policy.version, 17);
    assert_eq!(policy.defaults.max_stale_s, 30 * 86_400);
    assert_eq!(policy.limits, [("catalogue_bytes", 64 << 20)]);
    let [root, pq, ci] = &policy.keys[..] else { panic!() };
    assert_eq!(root.not_before_s, Some(1_767_225_600));
    assert_eq!(root.revoked, Some(Revoked { at_s: 1_777_852_800, reason: Revocation::Retired }));
    assert_eq!((root.place, root.file_place), (place(14, 15), place(16, 15)));
    assert_eq!((pq.algorithm, pq.not_after_s), (KeyAlgorithm::MlDsa87, None));
    assert_eq!(ci.usage, [Usage::Package]);
    let [hybrid, single] = &policy.signers[..] else { panic!() };
    assert_eq!((&hybrid.keys[..], hybrid.threshold), (&[0, 1][..], 2));
    assert_eq!(hybrid.algorithms, Algorithms::All(KeyAlgorithm::ALL.to_vec()));
    assert_eq!(single.algorithms, Algorithms::Any(vec![KeyAlgorithm::Ed25519]));
    let source = policy.source(&SourceId::parse("acme-internal").unwrap()).unwrap();
    assert_eq!((source.signed_by, source.allow_private_addresses), (Some(0), true));
    let rule = policy.rule(&ComponentId::parse("lcod://acme/a/b").unwrap()).unwrap();
    assert_eq!((rule.name.as_text(), rule.signed_by, rule.min_age_s), ("acme", Some(1), 7 * 86_400));
    assert_eq!((rule.mode, rule.agree, rule.place.line), (Mode::Enforce, 1, 56));
    let allowed = rule.allow_deps.as_ref().unwrap().iter().map(ToString::to_string);
    assert_eq!(allowed.collect::<Vec<_>>(), ["lcod://acme/**", "lcod://contract/x"]);
    let rule = policy.rule(&ComponentId::parse("lcod://tooling/a").unwrap()).unwrap();
    assert_eq!(rule.allow_deps, None);
    assert_eq!((rule.name.as_text(), rule.require), ("lcod://tooling/**", Require::Pin));
    assert_eq!((rule.mode, &rule.digests[..]), (Mode::Audit, &[DigestName::Sha512][..]));
    assert_eq!(policy.rule(&ComponentId::parse("lcod://other/a").unwrap()), None);
    assert_eq!(policy.exceptions[0].waiver, Waiver::Unsigned);
}

#[test]
fn signers_may_publish_their_own_keys_where_the_operator_says() {
    let rotating = "threshold  = 1\nkeysets = { source = \"acme-internal\"";
    let read = |more: &str| {
        let keysets = format!("{rotating}{more} }}\n[[sources]]");
        let text = GOOD.replace("usage       = [\"package\"]", "usage = [\"package\", \"keyset\"]");
        Policy::parse(text.replacen("threshold  = 1\n\n[[sources]]", &keysets, 1).as_bytes())
    };
    let keysets = |more: &str| read(more).unwrap().signers[1].keysets.clone().unwrap();
    let found = keysets("");
    assert_eq!(
        (found.source.as_text(), found.directory.as_text(), found.version),
        ("acme-internal", "keysets", 1)
    );
    let found = keysets(", directory = \"trust/keysets\", version = 7");
    assert_eq!((found.directory.as_text(), found.version), ("trust/keysets", 7));
    let refused = |more: &str, expected: (&str, &str)| {
        let error = read(more).expect_err(more);
        assert_eq!((error.reason.as_ref(), error.field.as_str()), expected, "{error}");
    };
    refused(", version = 0", ("policy.version", "signers[1].keysets.version"));
    refused(", directory = \"../x\"", ("input.path", "signers[1].keysets.directory"));
    refused(", more = 1", ("policy.syntax", ""));
    // Keys that may not sign a keyset could never replace themselves.
    let text = GOOD.replacen("threshold  = 1\n\n[[sources]]", &format!("{rotating} }}\n[[sources]]"), 1);
    let error = Policy::parse(text.as_bytes()).expect_err("no key for keysets");
    assert_eq!((error.reason.as_ref(), error.field.as_str()), ("policy.threshold", "signers[1].keysets"));
    let text = text.replace("name       = \"acme-ci\"", "name = \"acme/ci\"");
    let text = text.replace("signed_by = \"acme-ci\"", "signed_by = \"acme/ci\"");
    let text = text.replace("usage       = [\"package\"]", "usage = [\"package\", \"keyset\"]");
    assert_eq!(Policy::parse(text.as_bytes()).expect_err("no name of a file").reason, "policy.name");
}

fn place(line: usize, column: usize) -> Position {
    Position { line, column }
}

#[test]
fn the_smallest_policy_asks_for_everything() {
    let policy = Policy::parse(b"schema = \"resolverd/trust@1\"\nversion = 1").unwrap();
    assert!(policy.defaults.require_pin && policy.namespaces.is_empty());
    assert_eq!(policy.defaults.mode, Mode::Enforce);
    assert_eq!(policy.defaults.digests, DigestName::ALL);
}

/// Replaces `from` in the good policy and expects a refusal with this reason that is about the line where `at` stands.
#[track_caller]
fn check(from: &str, to: &str, reason: &str, at: &str) {
    let bad = GOOD.replacen(from, to, 1);
    assert_ne!(bad, GOOD, "{from} does not stand there");
    let error = Policy::parse(bad.as_bytes()).expect_err(to);
    assert_eq!(error.reason, reason, "{error}");
    let found = error.position.expect("a place");
    let line = bad.lines().nth(found.line - 1).unwrap_or_default();
    assert!(line.contains(at), "{error} is about {line:?}, not about {at}");
    assert!(found.column <= line.len() + 1, "{error}");
}

#[test]
fn what_was_expected_is_said_in_the_form_in_which_it_is_written() {
    let check = |from: &str, to: &str, expected: &str| {
        let error = Policy::parse(GOOD.replacen(from, to, 1).as_bytes()).expect_err(to);
        assert_eq!(error.expected, expected, "{to}");
    };
    check("\"7d\"", "\"7 days\"", "a whole number with s, m, h or d behind it, such as 7d");
    let least = "a whole number with s, m, h or d behind it, such as 7d, and at least 1s";
    check("\"30d\"", "\"0s\"", least);
    check("lcod://lab/probe", "lcod://lab/**", "one id: an exception is never for a pattern");
    check("lcod://lab/probe", "probe", "the id of one component, such as lcod://acme/x");
}

#[test]
fn a_broken_policy_is_refused_whole_with_its_place() {
    // TOML and fields.
    check("threshold  = 2", "threshhold = 2", "policy.syntax", "threshhold");
    check("[limits]", "[limit]", "policy.syntax", "[limit]");
    check("catalogue_bytes", "catalog_bytes", "policy.syntax", "catalog_bytes");
    check("version = 17", "version = 17\nversion = 18", "policy.syntax", "version = 18");
    check("version = 17", "version = -1", "policy.syntax", "version");
    check("version = 17", "version = \"17\"", "policy.syntax", "version");
    check("version = 17", "", "policy.syntax", "");
    check("[defaults]", "[defaults", "policy.syntax", "[defaults");
    check("require_pin    = true", "require_pin = \"true\"", "policy.syntax", "require_pin");
    check("\"sha256\", ", "\"md5\", ", "policy.syntax", "md5");
    check("\"ml-dsa-87\"\nfile", "\"ml-dsa-65\"\nfile", "policy.syntax", "ml-dsa-65");
    check("\"retired\"", "\"lost\"", "policy.syntax", "lost");
    check("\"pin\"", "\"nothing\"", "policy.syntax", "nothing");
    check("\"audit\"", "\"off\"", "policy.syntax", "off");
    check("[\"unsigned\"]", "[\"everything\"]", "policy.syntax", "everything");
    check("not_before  = 2026-01-01T00:00:00Z", "not_before = \"2026-01-01\"", "policy.syntax", "not_before");
    // What stands at the top.
    check("trust@1", "trust@2", "policy.schema", "schema");
    check("version = 17", "version = 0", "policy.version", "version");
    check("version = 17", "version = 9007199254740992", "policy.version", "version");
    check("\"5m\"", "\"2d\"", "policy.clock_skew", "max_clock_skew");
    check("\"5m\"", "\"soon\"", "input.field", "max_clock_skew");
    check("\"30d\"", "\"0s\"", "input.field", "max_stale");
    check("\"7d\"", "\"7 days\"", "input.field", "7 days");
    check("\"sha256\", ", "\"sha512\", ", "policy.duplicate", "digests");
    check("[\"sha512\"]", "[]", "policy.duplicate", "digests");
    check("67_108_864", "0", "policy.limit", "catalogue_bytes");
    check("67_108_864", "68_719_476_736", "policy.limit", "catalogue_bytes");
    // Keys.
    check("\"acme-root-ed-1\"", "\"\"", "policy.name", "id ");
    check("\"acme-root-ed-1\"", "\"a b\"", "policy.name", "a b");
    check("\"acme-root-ed-1\"\nalgorithm", "\"acme-ci\"\nalgorithm", "policy.duplicate", "acme-ci");
    check("sha256:1111", "sha256:111", "input.fingerprint", "fingerprint");
    check(&"1".repeat(64), &"2".repeat(64), "policy.duplicate", "fingerprint");
    check("[\"package\"]", "[]", "policy.duplicate", "usage");
    check("keys/acme/ci.pem", "../ci.pem", "policy.file", "../ci.pem");
    check("keys/acme/ci.pem", "", "policy.file", "file");
    check("2028-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "policy.window", "not_after");
    check("2028-01-01T00:00:00Z", "2028-01-01T00:00:00", "policy.time", "not_after");
    check("2028-01-01T00:00:00Z", "2028-01-01", "policy.time", "not_after");
    check("2028-01-01T00:00:00Z", "2028-01-01T00:00:00.5Z", "policy.time", "not_after");
    // Sets of signers.
    check("[\"acme-ci\"]", "[\"acme-cd\"]", "policy.unknown_key", "acme-cd");
    check("[\"acme-ci\"]", "[\"acme-ci\", \"acme-ci\"]", "policy.duplicate", "acme-ci");
    check("[\"acme-ci\"]", "[]", "policy.threshold", "threshold");
    check("threshold  = 2", "threshold = 0", "policy.threshold", "threshold");
    check("threshold  = 2", "threshold = 3", "policy.threshold", "threshold");
    check("threshold  = 2", "threshold = 1", "policy.threshold", "threshold");
    check("{ all = [\"ed25519\", \"ml-dsa-87\"] }", "{}", "policy.algorithms", "algorithms");
    check("{ all = [\"ed25519\", \"ml-dsa-87\"] }", "{ any = [] }", "policy.algorithms", "algorithms");
    check("{ all = [\"ed25519\", \"ml-dsa-87\"] }", "{ any = [\"ed25519\"] }", "policy.algorithms", "keys");
    check("name       = \"acme-ci\"", "name = \"acme-hybrid\"", "policy.duplicate", "acme-hybrid");
    // Sources.
    check("\"git.acme.example\", ", "\"https://git.acme.example\", ", "policy.hosts", "hosts");
    check("\"git.acme.example\", ", "\"Git.acme.example\", ", "policy.hosts", "hosts");
    check("\"10.0.0.1\"", "\"0x0a000001\"", "policy.hosts", "hosts");
    check("[\"git.acme.example\", \"10.0.0.1\"]", "[]", "policy.hosts", "hosts");
    check(
        "\"acme-hybrid\"\n\n[[namespaces]]",
        "\"nobody\"\n\n[[namespaces]]",
        "policy.unknown_signers",
        "nobody",
    );
    check(
        "\"acme-hybrid\"\n\n[[namespaces]]",
        "\"acme-ci\"\n\n[[namespaces]]",
        "policy.threshold",
        "acme-ci",
    );
    check("id        = \"acme-internal\"", "id = \"Acme\"", "input.source_id", "Acme");
    // Namespaces.
    check("lcod://acme/**", "lcod://acme", "policy.match", "lcod://acme");
    check("lcod://acme/**", "lcod://acme**", "policy.match", "lcod://acme**");
    check("lcod://acme/**", "lcod://**/acme", "policy.match", "lcod://**/acme");
    check("lcod://acme/**", "lcod://ac*", "policy.match", "lcod://ac*");
    check("lcod://acme/**", "lcod://tooling/**", "policy.duplicate", "lcod://tooling/**");
    check("name      = \"acme\"", "name = \"lcod://tooling/**\"", "policy.duplicate", "lcod://tooling/**");
    check("[\"lcod-default\", \"acme-internal\"]", "[]", "policy.sources", "sources");
    check("[\"lcod-default\", ", "[\"acme-internal\", ", "policy.duplicate", "sources");
    check("\"signature\"", "\"digest\"", "policy.signers", "signed_by");
    check("\"pin\"", "\"signature\"", "policy.signers", "require");
    check("agree     = 1", "agree = 2", "policy.agree", "agree");
    check("agree     = 1", "agree = 0", "policy.agree", "agree");
    check("\"lcod://contract/x\"", "\"lcod://x/**/y\"", "policy.match", "allow_deps");
    check("\"lcod://contract/x\"", "\"lcod://acme/**\"", "policy.duplicate", "allow_deps");
    check("\"7d\"", "\"7w\"", "input.field", "min_age");
    // Exceptions.
    check("lcod://lab/probe", "lcod://lab/**", "policy.exception", "lcod://lab/**");
    check("lcod://lab/probe", "probe", "policy.exception", "probe");
    check("[\"unsigned\"]", "[]", "policy.exception", "allow");
    check("[\"unsigned\"]", "[\"unsigned\", \"unpinned\"]", "policy.exception", "allow");
    check("2026-12-31T00:00:00Z", "2027-01-13T00:00:01Z", "policy.exception", "not_after");
    check("2026-12-31T00:00:00Z", "2026-10-15T00:00:00Z", "policy.exception", "not_after");
    check("vendor probe, signed build due in December", " ", "policy.exception", "reason");
    check(">=0.1.0, <0.2.0", "1 || 2", "input.requirement", "versions");
    check("sha256:0f34", "md5:0f34", "input.digest", "digest");
    check("digest = \"sha256:0f34", "size = \"sha256:0f34", "policy.syntax", "size");
}

#[test]
fn every_cut_and_every_changed_byte_is_refused_or_read_but_never_a_panic() {
    for at in 0..GOOD.len() {
        let _ = Policy::parse(&GOOD.as_bytes()[..at]);
        let mut changed = GOOD.as_bytes().to_vec();
        changed[at] = 0xff;
        assert_eq!(Policy::parse(&changed).unwrap_err().reason, "policy.syntax");
    }
    let large = vec![b' '; 2 << 20];
    assert_eq!(Policy::parse(&large).unwrap_err().reason, "policy.too_large");
}

#[test]
fn a_policy_has_a_bounded_number_of_entries() {
    let with = |count: usize| {
        let sources: String = (0..count).map(|number| format!("[[sources]]\nid = \"s{number}\"\n")).collect();
        Policy::parse(format!("schema = \"resolverd/trust@1\"\nversion = 1\n{sources}").as_bytes())
    };
    assert_eq!(with(ENTRIES_MAX).unwrap().sources.len(), ENTRIES_MAX);
    let error = with(ENTRIES_MAX + 1).unwrap_err();
    assert_eq!((&*error.reason, &*error.field), ("policy.too_large", "sources"));
    assert!(error.position.is_some());
}

#[test]
fn the_most_specific_match_decides() {
    let rules = |patterns: &[&str]| {
        let mut text = "schema = \"resolverd/trust@1\"\nversion = 1\n".to_owned();
        for pattern in patterns {
            text += &format!("[[namespaces]]\nmatch = \"{pattern}\"\nsources = [\"s\"]\nrequire = \"pin\"\n");
        }
        Policy::parse(text.as_bytes()).unwrap()
    };
    let all = [
        "**",
        "lcod://**",
        "lcod://acme/**",
        "lcod://acme/*",
        "lcod://acme/pay*",
        "lcod://acme/pay/**",
        "lcod://acme/pay",
        "lcod://acme/pay/card",
        "estream:**",
        "estream:*",
        "estream:esf-*",
        "estream:@acme/**",
        "flowctl:acme/*",
    ];
    let turned: Vec<&str> = all.iter().rev().copied().collect();
    for (id, expected) in [
        ("lcod://other/x", "lcod://**"),
        ("lcod://acme/x", "lcod://acme/*"),
        ("lcod://acme/x/y", "lcod://acme/**"),
        ("lcod://acme/pay", "lcod://acme/pay"),
        ("lcod://acme/payment", "lcod://acme/pay*"),
        ("lcod://acme/payment/x", "lcod://acme/**"),
        ("lcod://acme/pay/cash", "lcod://acme/pay/**"),
        ("lcod://acme/pay/card", "lcod://acme/pay/card"),
        ("lcod://acmepay/card", "lcod://**"),
        ("estream:esf-trading", "estream:esf-*"),
        ("estream:esf-", "estream:*"),
        ("estream:other", "estream:*"),
        ("estream:@acme/x", "estream:@acme/**"),
        ("estream:@other/x", "estream:**"),
        ("flowctl:acme/x", "flowctl:acme/*"),
        ("flowctl:other/x", "**"),
    ] {
        let id = ComponentId::parse(id).unwrap();
        for order in [&all[..], &turned] {
            assert_eq!(rules(order).rule(&id).unwrap().name.as_text(), expected, "{id}");
        }
    }
}

proptest! {
    /// The rule that decides has the longest prefix of those that match.
    #[test]
    fn no_rule_that_matches_has_a_longer_prefix(
        patterns in proptest::collection::btree_set("lcod://[ab]/([ab]/)?([ab]/)?(\\*\\*|[ab]?\\*|[ab])", 0..8),
        id in "lcod://[ab]/[ab]{1,2}(/[ab])?(/[ab])?",
    ) {
        let mut text = "schema = \"resolverd/trust@1\"\nversion = 1\n".to_owned();
        for pattern in &patterns {
            text += &format!("[[namespaces]]\nmatch = \"{pattern}\"\nsources = [\"s\"]\nrequire = \"pin\"\n");
        }
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let id = ComponentId::parse(&id).unwrap();
        let matching = policy.namespaces.iter().filter(|rule| rule.pattern.matches(&id));
        let longest = matching.map(|rule| rule.name.as_text().trim_end_matches('*').len()).max();
        let chosen = policy.rule(&id).map(|rule| rule.name.as_text().trim_end_matches('*').len());
        prop_assert_eq!(chosen, longest);
    }
}
