//! Decisions: every worked one, the borders of every window, and the properties that hold for all of them.
#![allow(clippy::unwrap_used)]

use catalogue_schema::instant;
use catalogue_schema::key::KeyAlgorithm;
use catalogue_schema::policy::{Algorithms, Pattern, Revocation, Revoked};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;

const POLICY: &str = r#"schema = "resolverd/trust@1"
version = 1

[[keys]]
id = "ed"
algorithm = "ed25519"
file = "ed.pem"
fingerprint = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
usage = ["catalogue", "package"]
not_before = 2026-01-01T00:00:00Z
not_after = 2028-01-01T00:00:00Z

[[keys]]
id = "pq"
algorithm = "ml-dsa-87"
file = "pq.pem"
fingerprint = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
usage = ["catalogue", "package"]

[[keys]]
id = "ci"
algorithm = "ed25519"
file = "ci.pem"
fingerprint = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
usage = ["package"]

[[keys]]
id = "alone"
algorithm = "ed25519"
file = "alone.pem"
fingerprint = "sha256:4444444444444444444444444444444444444444444444444444444444444444"
usage = ["catalogue"]

[[signers]]
name = "hybrid"
keys = ["ed", "pq"]
threshold = 2
algorithms = { all = ["ed25519", "ml-dsa-87"] }

[[signers]]
name = "any"
keys = ["ed", "pq", "ci", "alone"]
threshold = 1

[[sources]]
id = "signed"
signed_by = "hybrid"

[[namespaces]]
name = "acme"
match = "lcod://acme/**"
sources = ["internal", "mirror"]
require = "signature"
signed_by = "hybrid"

[[namespaces]]
name = "strong"
match = "lcod://acme/pay/**"
sources = ["internal"]
require = "digest"
digests = ["sha512"]

[[namespaces]]
name = "tooling"
match = "lcod://tooling/**"
sources = ["internal", "public", "signed", "mirror"]
require = "pin"

[[exceptions]]
id = "EX-1"
match = "lcod://acme/probe"
versions = ">=0.1.0, <0.2.0"
source = "internal"
allow = ["unsigned"]
digest = "sha256:a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
created = 2026-10-15T00:00:00Z
not_after = 2026-12-31T00:00:00Z
reason = "vendor probe"
"#;

/// An instant at which every window above is open.
const NOW: &str = "2026-11-01T00:00:00Z";

/// A policy and facts that own what they say. By default: `lcod://acme/a@1.0.0` from `internal`, signed by both halves.
#[derive(Debug, Clone)]
struct World {
    policy: Policy,
    id: ComponentId,
    version: Version,
    source: SourceId,
    missing: Vec<SourceId>,
    pinned: bool,
    catalogue: SourceId,
    catalogue_digest: Digest,
    catalogue_proofs: Vec<(Fingerprint, Proof)>,
    catalogue_statement: Option<Statement>,
    /// Signatures over the list above, and the key to which that gives the right to sign the catalogue.
    list_proofs: Vec<(Fingerprint, Proof)>,
    delegate: Option<Fingerprint>,
    scope: Vec<Namespace>,
    rollback: Option<Refusal>,
    expires_s: Option<i64>,
    checked_s: Option<i64>,
    digests: Vec<Digest>,
    has_unknown_digests: bool,
    first_seen: Option<(Digest, i64)>,
    proofs: Vec<(Fingerprint, Proof)>,
    statement: Option<Statement>,
    published_s: Option<i64>,
    carried_by: Vec<SourceId>,
    dependencies: References,
    is_unfetched: bool,
    now_s: i64,
}

fn key(digit: u8) -> Fingerprint {
    Fingerprint::parse(&format!("sha256:{}", digit.to_string().repeat(64))).unwrap()
}

fn at(text: &str) -> i64 {
    instant::parse(text).unwrap()
}

fn id(text: &str) -> ComponentId {
    ComponentId::parse(text).unwrap()
}

fn source(text: &str) -> SourceId {
    SourceId::parse(text).unwrap()
}

fn bytes() -> Digest {
    Digest::parse("sha256:a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a").unwrap()
}

fn world() -> World {
    World {
        policy: Policy::parse(POLICY.as_bytes()).unwrap(),
        id: id("lcod://acme/a"),
        version: Version::parse("1.0.0").unwrap(),
        source: source("internal"),
        missing: Vec::new(),
        pinned: true,
        catalogue: source("acme/tooling"),
        catalogue_digest: Digest::sha256(b"catalogue"),
        catalogue_proofs: Vec::new(),
        catalogue_statement: None,
        list_proofs: Vec::new(),
        delegate: None,
        scope: Vec::new(),
        rollback: None,
        expires_s: None,
        checked_s: None,
        digests: vec![bytes()],
        has_unknown_digests: false,
        first_seen: None,
        proofs: vec![(key(1), Proof::Holds), (key(2), Proof::Holds)],
        statement: Some(statement()),
        published_s: None,
        carried_by: Vec::new(),
        dependencies: vec![Reference::parse("lcod://acme/b@1").unwrap()].into(),
        is_unfetched: false,
        now_s: at(NOW),
    }
}

fn statement() -> Statement {
    Statement {
        usage: Usage::Package,
        id: "lcod://acme/a".to_owned(),
        version: Some("1.0.0".to_owned()),
        digests: vec![bytes()],
        size: 4,
        signed_at_s: at("2026-10-01T00:00:00Z"),
        algorithms: KeyAlgorithm::ALL.to_vec(),
        catalogue_version: None,
        expires_s: None,
        origin_commit: None,
    }
}

impl World {
    /// Decides, and hands the decision on, since it borrows what this owns.
    fn decide<T>(&self, then: impl FnOnce(&Decision<'_>) -> T) -> T {
        let facts = Facts {
            id: &self.id,
            version: &self.version,
            source: &self.source,
            missing: &self.missing,
            pinned: self.pinned,
            catalogue: CatalogueFacts {
                name: &self.catalogue,
                digest: &self.catalogue_digest,
                signed: Signed {
                    proofs: &self.catalogue_proofs,
                    statement: self.catalogue_statement.as_ref(),
                    fault: None,
                },
                delegated: self.delegated(),
                rollback: self.rollback.as_ref(),
                expires_s: self.expires_s,
                checked_s: self.checked_s,
            },
            digests: &self.digests,
            has_unknown_digests: self.has_unknown_digests,
            content: self.digests.first(),
            first_seen: self.first_seen.as_ref().map(|(digest, at_s)| FirstSeen { digest, at_s: *at_s }),
            signed: Signed { proofs: &self.proofs, statement: self.statement.as_ref(), fault: None },
            published_s: self.published_s,
            carried_by: &self.carried_by,
            dependencies: &self.dependencies,
            is_unfetched: self.is_unfetched,
        };
        then(&decide(&self.policy, &facts, self.now_s))
    }

    fn delegated(&self) -> Option<Delegated<'_>> {
        Some(Delegated {
            by: &self.catalogue,
            digest: &self.catalogue_digest,
            signed: Signed { proofs: &self.list_proofs, ..Signed::default() },
            key: self.delegate?,
            scope: &self.scope,
        })
    }

    /// Returns `ok`, with the exceptions that were needed, or the reason.
    fn verdict(&self) -> String {
        self.decide(|decision| match &decision.refusal {
            Some(refusal) => refusal.reason.to_string(),
            None => {
                let needed = decision.exceptions.iter().map(|exception| format!(" by {}", exception.id));
                std::iter::once("ok".to_owned()).chain(needed).collect()
            }
        })
    }

    fn is_allowed(&self) -> bool {
        self.decide(|decision| decision.is_allowed())
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut World), expected: &str) {
    let mut world = world();
    change(&mut world);
    assert_eq!(world.verdict(), expected, "{:#?}", world.decide(|decision| decision.lines(&"trust.toml")));
}

/// The rule of a namespace by its name.
fn rule<'w>(world: &'w mut World, name: &str) -> &'w mut NamespaceRule {
    world.policy.namespaces.iter_mut().find(|rule| rule.name.as_text() == name).unwrap()
}

fn probe(world: &mut World) {
    world.id = id("lcod://acme/probe");
    world.version = Version::parse("0.1.5").unwrap();
    world.proofs.clear();
    world.statement = None;
}

#[test]
fn the_worked_decisions() {
    check(|_| {}, "ok");
    check(|world| world.source = source("public"), "trust.source_not_allowed");
    check(|world| world.proofs.truncate(1), "trust.threshold");
    check(|world| world.proofs[1].0 = key(1), "trust.threshold");
    check(
        |world| {
            let revoked = Revoked { at_s: at("2026-10-31T00:00:00Z"), reason: Revocation::Compromised };
            world.policy.keys[0].revoked = Some(revoked);
        },
        "trust.key_revoked",
    );
    check(|world| world.now_s = at("2028-01-01T00:00:00Z"), "trust.key_expired");
    check(|world| world.id = id("lcod://acme/pay/card"), "trust.digest_weak");
    check(
        |world| {
            let expected = "42, the newest revision accepted, or a later one";
            world.rollback = Some(Refusal::new("trust.rollback", "the catalogue", expected, "41"));
        },
        "trust.rollback",
    );
    check(probe, "ok by EX-1");
    check(
        |world| {
            probe(world);
            world.now_s = at("2027-01-01T00:00:00Z");
        },
        "trust.exception_expired",
    );
    check(|world| world.id = id("lcod://other/a"), "trust.no_rule");
    check(|world| world.proofs[0].1 = Proof::OtherAlgorithm, "trust.algorithm_mismatch");
    check(|world| world.id = id("lcod://acme/b"), "trust.statement_mismatch");
    check(
        |world| {
            world.source = source("mirror");
            world.missing = vec![source("internal")];
        },
        "sync.source_unavailable",
    );
    check(|world| world.expires_s = Some(world.now_s - 1), "trust.frozen");
}

#[test]
fn a_release_without_enough_signatures_is_refused_for_what_says_most() {
    check(|world| world.proofs.clear(), "trust.unsigned");
    check(|world| world.proofs[1].1 = Proof::Fails, "trust.signature_invalid");
    check(|world| world.proofs = vec![(key(9), Proof::NoKey)], "trust.key_unknown");
    check(|world| world.proofs[1] = (key(9), Proof::NoKey), "trust.threshold");
    // A key of the policy that is not in the set is a stranger too.
    check(|world| world.proofs[1] = (key(3), Proof::Holds), "trust.threshold");
    // Nothing that is wrong beside enough that is right does harm.
    check(|world| world.proofs.push((key(3), Proof::Fails)), "ok");
    check(|world| world.proofs.push((key(1), Proof::Fails)), "ok");
    check(|world| world.statement.as_mut().unwrap().usage = Usage::Catalogue, "trust.statement_mismatch");
    check(|world| world.statement.as_mut().unwrap().version = None, "trust.statement_mismatch");
    check(
        |world| world.statement.as_mut().unwrap().digests = vec![Digest::sha256(b"x")],
        "trust.statement_mismatch",
    );
    // One digest that nobody can compare, and one that holds.
    check(
        |world| {
            let other = Digest::of(catalogue_schema::digest::Algorithm::Sha512, b"x");
            world.statement.as_mut().unwrap().digests.push(other);
        },
        "ok",
    );
    // Raw signatures are over the bytes themselves.
    check(|world| world.statement = None, "ok");
    let with_any = |world: &mut World| {
        let signers = world.policy.signers.iter().position(|set| set.name.as_text() == "any");
        rule(world, "acme").signed_by = signers;
    };
    // B12: a half that was taken away is missed even where either would do.
    check(
        |world| {
            with_any(world);
            world.proofs.pop();
        },
        "trust.algorithm_missing",
    );
    check(
        |world| {
            with_any(world);
            world.proofs.pop();
            world.statement.as_mut().unwrap().algorithms.pop();
        },
        "ok",
    );
    check(
        |world| {
            with_any(world);
            world.proofs = vec![(key(4), Proof::Holds)];
            world.statement = None;
        },
        "trust.key_usage",
    );
    check(
        |world| {
            with_any(world);
            world.proofs = vec![(key(4), Proof::Holds), (key(3), Proof::Holds)];
            world.statement = None;
        },
        "ok",
    );
}

#[test]
fn the_window_of_a_key_holds_its_start_and_not_its_end() {
    let now = |text: &str, seconds: i64, expected: &str| {
        check(
            |world| {
                world.now_s = at(text) + seconds;
                world.statement = None;
            },
            expected,
        );
    };
    now("2026-01-01T00:00:00Z", -1, "trust.key_not_yet_valid");
    now("2026-01-01T00:00:00Z", 0, "ok");
    now("2028-01-01T00:00:00Z", -1, "ok");
    now("2028-01-01T00:00:00Z", 0, "trust.key_expired");
    now("2028-01-01T00:00:00Z", 1, "trust.key_expired");
    let signed_at = |signed_at_s: i64, expected: &str| {
        check(|world| world.statement.as_mut().unwrap().signed_at_s = signed_at_s, expected);
    };
    signed_at(at("2026-01-01T00:00:00Z") - 1, "trust.key_not_yet_valid");
    signed_at(at("2026-01-01T00:00:00Z"), "ok");
    signed_at(at("2028-01-01T00:00:00Z"), "trust.key_expired");
    signed_at(at(NOW) + 300, "ok");
    signed_at(at(NOW) + 301, "trust.from_future");
    signed_at(i64::MAX, "trust.key_expired");
    signed_at(i64::MIN, "trust.key_not_yet_valid");
}

/// B8, B9: what somebody else may have signed says nothing; what a retired key signed counts where we saw it in time.
#[test]
fn a_revoked_key_counts_only_where_it_was_retired_after_we_had_seen_the_bytes() {
    let day = 86_400;
    let revoked = |reason: Revocation, first_seen: Option<(Digest, i64)>, expected: &str| {
        check(
            |world| {
                let at_s = world.now_s - 10 * day;
                world.policy.keys[0].revoked = Some(Revoked { at_s, reason });
                world.first_seen = first_seen.map(|(digest, before_s)| (digest, at_s - before_s));
                // It says that it was signed long ago.
                world.statement.as_mut().unwrap().signed_at_s = at_s - 100 * day;
            },
            expected,
        );
    };
    revoked(Revocation::Compromised, None, "trust.key_revoked");
    revoked(Revocation::Compromised, Some((bytes(), day)), "trust.key_revoked");
    revoked(Revocation::Retired, None, "trust.key_revoked");
    revoked(Revocation::Retired, Some((bytes(), day)), "ok");
    revoked(Revocation::Retired, Some((bytes(), 0)), "trust.key_revoked");
    revoked(Revocation::Retired, Some((bytes(), -day)), "trust.key_revoked");
    revoked(Revocation::Retired, Some((Digest::sha256(b"other"), day)), VERSION_MUTATED);
    check(
        |world| {
            let at_s = world.now_s + day;
            world.policy.keys[0].revoked = Some(Revoked { at_s, reason: Revocation::Retired });
        },
        "ok",
    );
}

#[test]
fn what_holds_for_the_source_comes_first() {
    let tooling = |change: fn(&mut World)| {
        move |world: &mut World| {
            world.id = id("lcod://tooling/a");
            world.proofs.clear();
            world.statement = None;
            change(world);
        }
    };
    check(tooling(|_| {}), "ok");
    check(tooling(|world| world.pinned = false), "trust.unpinned");
    check(
        tooling(|world| {
            world.pinned = false;
            world.policy.defaults.require_pin = false;
        }),
        "ok",
    );
    check(
        tooling(|world| {
            world.pinned = false;
            world.policy.defaults.require_pin = false;
            world.digests.clear();
        }),
        "trust.unpinned",
    );
    check(tooling(|world| world.digests.clear()), "ok");
    check(tooling(|world| world.source = source("signed")), "trust.unsigned");
    let signed = |world: &mut World| {
        world.source = source("signed");
        world.catalogue_proofs = vec![(key(1), Proof::Holds), (key(2), Proof::Holds)];
        world.catalogue_statement = Some(Statement {
            usage: Usage::Catalogue,
            id: "acme/tooling".to_owned(),
            version: None,
            digests: vec![world.catalogue_digest.clone()],
            ..statement()
        });
    };
    check(tooling(signed), "ok");
    check(
        tooling(|world| {
            world.source = source("signed");
            world.catalogue_proofs = vec![(key(1), Proof::Holds), (key(2), Proof::Holds)];
            world.catalogue_statement = Some(statement());
        }),
        "trust.statement_mismatch",
    );
    check(tooling(|world| world.missing = vec![source("public")]), "sync.source_unavailable");
    check(tooling(|world| world.missing = vec![source("stranger")]), "ok");
    check(tooling(|world| world.checked_s = Some(world.now_s - 30 * 86_400 + 1)), "ok");
    check(tooling(|world| world.checked_s = Some(world.now_s - 30 * 86_400)), "trust.frozen");
    check(tooling(|world| world.expires_s = Some(world.now_s + 1)), "ok");
    check(tooling(|world| world.first_seen = Some((Digest::sha256(b"x"), 0))), "ok");
    check(
        tooling(|world| {
            world.first_seen = Some((Digest::sha256(b"x"), 0));
            rule(world, "tooling").immutable = true;
        }),
        VERSION_MUTATED,
    );
    let mut mutated = world();
    tooling(|world| world.first_seen = Some((Digest::sha256(b"x"), 0)))(&mut mutated);
    assert_eq!(mutated.decide(|decision| decision.warnings[0].reason.clone()), VERSION_MUTATED);
}

#[test]
fn digests_age_and_agreement() {
    let strong = |change: fn(&mut World)| {
        move |world: &mut World| {
            world.id = id("lcod://acme/pay/card");
            world.digests.push(Digest::of(catalogue_schema::digest::Algorithm::Sha512, b"x"));
            change(world);
        }
    };
    check(strong(|_| {}), "ok");
    check(strong(|world| drop(world.digests.pop())), "trust.digest_weak");
    check(strong(|world| world.digests.clear()), "trust.digest_missing");
    check(
        strong(|world| {
            world.digests.clear();
            world.has_unknown_digests = true;
        }),
        "trust.digest_weak",
    );
    check(strong(|world| world.has_unknown_digests = true), "ok");
    let aged = |published_s: Option<i64>, expected: &str| {
        check(
            |world| {
                rule(world, "acme").min_age_s = 7 * 86_400;
                world.published_s = published_s;
            },
            expected,
        );
    };
    aged(None, "trust.age_unknown");
    aged(Some(at(NOW) - 7 * 86_400), "ok");
    aged(Some(at(NOW) - 7 * 86_400 + 1), "trust.too_young");
    aged(Some(at(NOW) + 301), "trust.from_future");
    aged(Some(i64::MAX), "trust.from_future");
    let agreeing = |carried_by: &[&str], expected: &str| {
        check(
            |world| {
                rule(world, "acme").agree = 2;
                world.carried_by = carried_by.iter().map(|text| source(text)).collect();
            },
            expected,
        );
    };
    agreeing(&[], "trust.no_agreement");
    agreeing(&["internal", "internal"], "trust.no_agreement");
    agreeing(&["public", "stranger"], "trust.no_agreement");
    agreeing(&["mirror"], "ok");
}

#[test]
fn an_exception_is_for_one_id_one_source_these_bytes_and_one_rule() {
    let change = |change: fn(&mut World), expected: &str| {
        check(
            |world| {
                probe(world);
                change(world);
            },
            expected,
        );
    };
    change(|world| world.version = Version::parse("0.2.0").unwrap(), "trust.unsigned");
    change(|world| world.id = id("lcod://acme/probes"), "trust.unsigned");
    change(|world| world.source = source("mirror"), "trust.unsigned");
    change(|world| world.digests = vec![Digest::sha256(b"other")], "trust.unsigned");
    change(|world| world.pinned = false, "trust.unpinned");
    change(|world| world.now_s = at("2026-10-15T00:00:00Z") - 1, "trust.unsigned");
    change(|world| world.now_s = at("2026-10-15T00:00:00Z"), "ok by EX-1");
    change(|world| world.now_s = at("2026-12-31T00:00:00Z") - 1, "ok by EX-1");
    change(|world| world.now_s = at("2026-12-31T00:00:00Z"), "trust.exception_expired");
    // Otherwise taking a bad signature away would let the bytes in.
    change(|world| world.proofs = vec![(key(1), Proof::Fails)], "ok by EX-1");
}

#[test]
fn what_is_refused_is_used_under_warn_and_audit_with_the_same_refusal() {
    for (mode, is_allowed) in [(Mode::Enforce, false), (Mode::Warn, true), (Mode::Audit, true)] {
        let mut world = world();
        world.proofs.clear();
        rule(&mut world, "acme").mode = mode;
        assert_eq!((world.verdict(), world.is_allowed()), ("trust.unsigned".to_owned(), is_allowed));
        world.id = id("lcod://other/a");
        world.policy.defaults.mode = mode;
        assert_eq!((world.verdict(), world.is_allowed()), ("trust.no_rule".to_owned(), is_allowed));
    }
}

#[test]
fn dependencies_lead_only_where_the_rule_lets_them() {
    let leading = |allowed: &[&str], edges: &[&str], expected: &str| {
        let change = |world: &mut World| {
            let patterns = allowed.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            rule(world, "acme").allow_deps = Some(patterns);
            let edges: Vec<Reference> = edges.iter().map(|text| Reference::parse(text).unwrap()).collect();
            world.dependencies = edges.into();
        };
        check(change, expected);
    };
    let refused = DEP_NOT_ALLOWED;
    leading(&[], &[], "ok");
    leading(&[], &["lcod://acme/b@1"], refused);
    leading(&["lcod://acme/**"], &["lcod://acme/b@1", "lcod://acme/c/d"], "ok");
    leading(&["lcod://acme/**"], &["lcod://acme/b@1", "lcod://evil/x"], refused);
    leading(&["lcod://acme/**"], &["lcod://acme-evil/x"], refused);
    leading(&["lcod://acme/b*", "lcod://std/x"], &["lcod://acme/bc", "lcod://std/x@^2"], "ok");
    leading(&["lcod://acme/b*", "lcod://std/x"], &["lcod://std/xy"], refused);
    leading(&["**"], &["estream:anything"], "ok");
}

#[test]
fn what_nobody_knows_yet_leads_nowhere_that_is_allowed() {
    let unfetched = |allowed: Option<&[&str]>, expected: &str| {
        let change = |world: &mut World| {
            let patterns = |all: &[&str]| all.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            rule(world, "acme").allow_deps = allowed.map(patterns);
            world.is_unfetched = true;
        };
        check(change, expected);
    };
    unfetched(None, "ok");
    unfetched(Some(&["lcod://acme/**"]), DEP_NOT_ALLOWED);
    unfetched(Some(&[]), DEP_NOT_ALLOWED);
    let mut world = world();
    rule(&mut world, "acme").allow_deps = Some(vec![Pattern::parse("lcod://acme/**").unwrap()]);
    world.is_unfetched = true;
    let found = world.decide(|decision| decision.refusal.as_ref().unwrap().found.to_string());
    assert!(
        found.contains("not known yet") && found.contains("resolve --refresh lcod://acme/a@1.0.0"),
        "{found}"
    );
}

#[test]
fn the_place_that_would_change_a_verdict_is_the_one_that_made_it() {
    let check = |change: &dyn Fn(&mut World), reason: &str, line: usize| {
        let mut world = world();
        change(&mut world);
        let found = world.decide(|decision| {
            let reason = decision.refusal.as_ref().map(|refusal| refusal.reason.to_string());
            (reason.unwrap_or_default(), decision.place.map(|place| place.line))
        });
        assert_eq!(found, (reason.to_owned(), Some(line)));
    };
    let lost = Some(Revoked { at_s: 0, reason: Revocation::Compromised });
    check(&|world| world.policy.keys[0].revoked = lost, "trust.key_revoked", 5);
    check(&|world| world.policy.keys[1].revoked = lost, "trust.key_revoked", 14);
    check(&|world| world.policy.keys[0].not_after_s = Some(0), "trust.key_expired", 5);
    check(&|world| world.proofs = vec![(key(9), Proof::Holds)], "trust.key_unknown", 35);
    check(&|world| world.proofs.clear(), "trust.unsigned", 51);
    // Its signers said how long it says something, or the policy itself.
    check(&|world| world.expires_s = Some(0), "trust.frozen", 51);
    let stale = |world: &mut World| world.checked_s = Some(world.now_s - 400 * 86_400);
    check(&stale, "trust.frozen", 51);
    let said = |world: &mut World| {
        stale(world);
        world.policy.defaults.max_stale_place = Some(Position { line: 3, column: 1 });
    };
    check(&said, "trust.frozen", 3);
    let signed = |world: &mut World| {
        world.id = id("lcod://tooling/x");
        world.source = source("signed");
        world.policy.keys[0].revoked = lost;
        world.catalogue_proofs = vec![(key(1), Proof::Holds), (key(2), Proof::Holds)];
    };
    check(&signed, "trust.key_revoked", 5);
}

#[test]
fn the_steps_read_as_an_explanation() {
    let lines = |world: &World| world.decide(|decision| decision.lines(&"/etc/resolverd/trust.toml"));
    let good = lines(&world());
    let expected = [
        "namespace: rule acme (lcod://acme/**, line 51)",
        "source: internal",
        "preferred: ok",
        "pin: ok",
        "catalogue: not asked for",
        "revision: ok",
        "expiry: ok",
        "digest: sha256:a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        "first seen: ok",
        "signatures: 2 of the keys of hybrid, which asks for 2",
        "age: not asked for",
        "agreement: 1, where 1 is asked for",
        "dependencies: not asked for",
        "to change this: /etc/resolverd/trust.toml, line 51",
    ];
    assert_eq!(good, expected);
    let mut other = world();
    other.source = source("public");
    let refused = lines(&other);
    let step = "source: trust.source_not_allowed: expected internal, mirror, found public";
    assert_eq!(&refused[1..], [step, "to change this: /etc/resolverd/trust.toml, line 51"]);
    let mut excepted = world();
    probe(&mut excepted);
    let waived = lines(&excepted);
    assert!(
        waived.contains(&"signatures: trust.unsigned, waived by exception EX-1: vendor probe".to_owned())
    );
    assert!(waived.last().unwrap().ends_with("line 70"), "{waived:#?}");
    other.id = id("lcod://none/a");
    assert!(
        lines(&other).last().unwrap().ends_with("add a [[namespaces]] rule to /etc/resolverd/trust.toml")
    );
}

#[test]
fn a_list_gives_the_right_to_sign_a_catalogue_within_what_its_source_owns() {
    let check = |change: &dyn Fn(&mut World), expected: &str| {
        check(
            |world| {
                world.policy.sources[0].id = source("internal");
                world.list_proofs = vec![(key(1), Proof::Holds), (key(2), Proof::Holds)];
                world.delegate = Some(key(7));
                world.catalogue_proofs = vec![(key(7), Proof::Holds)];
                world.scope = vec![Namespace::parse("lcod://acme/**").unwrap()];
                change(world);
            },
            expected,
        );
    };
    check(&|_| {}, "ok");
    // Who owns nothing has nothing to give, and is told what to do.
    check(&|world| world.scope.clear(), "trust.delegation_scope");
    let beside = |world: &mut World| world.scope = vec![Namespace::parse("lcod://acme/a/**").unwrap()];
    check(&beside, "trust.delegation_scope");
    // Who owns both must sign it himself, and then no scope matters.
    check(
        &|world| {
            beside(world);
            world.catalogue_proofs = world.list_proofs.clone();
        },
        "ok",
    );
    // A list that is not signed as it must be gives nothing.
    check(&|world| world.list_proofs.truncate(1), "trust.key_unknown");
    check(&|world| world.list_proofs[1].1 = Proof::Fails, "trust.key_unknown");
    check(&|world| world.delegate = None, "trust.key_unknown");
    // Nor does a key that has not signed, or that another list names.
    check(&|world| world.catalogue_proofs.clear(), "trust.unsigned");
    check(&|world| world.catalogue_proofs[0].0 = key(8), "trust.key_unknown");
    check(&|world| world.catalogue_proofs[0].1 = Proof::Fails, "trust.signature_invalid");
    check(&|world| world.catalogue_proofs[0].1 = Proof::OtherAlgorithm, "trust.algorithm_mismatch");
    // What is signed must be this catalogue, by all whose algorithms are named.
    let stating = |world: &mut World, change: &dyn Fn(&mut Statement)| {
        let mut stated = Statement {
            usage: Usage::Catalogue,
            id: "acme/tooling".to_owned(),
            version: None,
            digests: vec![world.catalogue_digest.clone()],
            algorithms: vec![KeyAlgorithm::Ed25519],
            ..statement()
        };
        change(&mut stated);
        world.catalogue_statement = Some(stated);
    };
    check(&|world| stating(world, &|_| {}), "ok");
    check(&|world| stating(world, &|stated| stated.id = "other".to_owned()), "trust.statement_mismatch");
    check(
        &|world| stating(world, &|stated| stated.algorithms = KeyAlgorithm::ALL.to_vec()),
        "trust.statement_mismatch",
    );
    check(
        &|world| stating(world, &|stated| stated.signed_at_s = at("2027-01-01T00:00:00Z")),
        "trust.from_future",
    );
    // What the policy says of a key holds wherever it is named.
    let known = |world: &mut World| {
        world.delegate = Some(key(4));
        world.catalogue_proofs = vec![(key(4), Proof::Holds)];
    };
    check(&known, "ok");
    // What signers say of it in a keyset holds for their own set only.
    check(
        &|world| {
            known(world);
            let revoked = Revoked { at_s: at("2026-10-31T00:00:00Z"), reason: Revocation::Compromised };
            let published = Key { revoked: Some(revoked), published: true, ..world.policy.keys[3].clone() };
            world.policy.keys.push(published);
        },
        "ok",
    );
    check(
        &|world| {
            known(world);
            let revoked = Revoked { at_s: at("2026-10-31T00:00:00Z"), reason: Revocation::Compromised };
            world.policy.keys[3].revoked = Some(revoked);
        },
        "trust.key_revoked",
    );
    check(
        &|world| {
            known(world);
            world.policy.keys[3].usage = vec![Usage::Package];
        },
        "trust.key_usage",
    );
}

prop_compose! {
    fn proofs()(found in proptest::collection::vec((1u8..=5, 0u8..5), 0..5)) -> Vec<(Fingerprint, Proof)> {
        let proof = |number| match number {
            0 => Proof::Fails,
            1 => Proof::OtherAlgorithm,
            _ => Proof::Holds,
        };
        found.into_iter().map(|(digit, number)| (key(digit), proof(number))).collect()
    }
}

prop_compose! {
    /// A world near the one above: everything that a decision looks at may be otherwise.
    fn worlds()(
        (proofs, catalogue_proofs, list_proofs) in (proofs(), proofs(), proofs()),
        (delegate, is_narrow) in (proptest::option::weighted(0.5, 1u8..=5), proptest::bool::weighted(0.2)),
        (signed, threshold, all, statement_kind) in (proptest::bool::weighted(0.2), 1usize..3, any::<bool>(), 0u8..6),
        (require, require_pin, pinned, digests, stronger) in (0u8..3, any::<bool>(), proptest::bool::weighted(0.8), 0u8..3, proptest::bool::weighted(0.3)),
        (own, missing, carried, agree) in (0u8..3, prop_oneof![4 => Just(3u8), 1 => 0u8..3], 0u8..3, prop_oneof![2 => Just(1usize), 1 => Just(2)]),
        (min_age_s, published_s) in (prop_oneof![Just(0u64), 0u64..20], proptest::option::of(-30i64..30)),
        (revoked, is_retired, first_seen, immutable) in (proptest::option::weighted(0.2, -20i64..20), any::<bool>(), proptest::option::weighted(0.4, (any::<bool>(), -30i64..0)), any::<bool>()),
        (windows, signed_at, expires, checked) in (proptest::collection::vec((-20i64..0, -5i64..20), 4), -30i64..10, proptest::option::weighted(0.3, -5i64..20), proptest::option::weighted(0.3, -20i64..0)),
        (exceptions, mode) in (proptest::collection::vec((0u8..4, -20i64..5, 1i64..30), 0..3), 0u8..3),
    ) -> World {
        let mut world = world();
        let base = world.policy.exceptions[0].clone();
        world.now_s = 1_000;
        let now_s = world.now_s;
        for (key, (start_s, end_s)) in world.policy.keys.iter_mut().zip(windows) {
            key.not_before_s = Some(now_s + start_s);
            key.not_after_s = Some(now_s + end_s);
        }
        world.policy.keys[0].revoked = revoked.map(|at_s| Revoked {
            at_s: now_s + at_s,
            reason: if is_retired { Revocation::Retired } else { Revocation::Compromised },
        });
        world.policy.defaults.max_clock_skew_s = 3;
        world.policy.defaults.max_stale_s = 15;
        world.policy.defaults.require_pin = require_pin;
        world.policy.signers[1].threshold = threshold;
        if all {
            world.policy.signers[1].algorithms = Algorithms::All(KeyAlgorithm::ALL.to_vec());
        }
        world.policy.sources[0].id = source("internal");
        world.policy.sources[0].signed_by = signed.then_some(1);
        let rule = rule(&mut world, "acme");
        rule.require = [Require::Pin, Require::Digest, Require::Signature][usize::from(require)];
        rule.signed_by = (rule.require == Require::Signature).then_some(1);
        rule.min_age_s = min_age_s;
        rule.agree = agree;
        rule.immutable = immutable;
        rule.mode = [Mode::Audit, Mode::Warn, Mode::Enforce][usize::from(mode)];
        if stronger {
            rule.digests.retain(|digest| digest.name() == "sha512");
        }
        let sources = ["internal", "mirror", "public"].map(source);
        world.source = sources[usize::from(own)].clone();
        world.missing = sources.iter().skip(usize::from(missing)).take(1).cloned().collect();
        world.carried_by = sources.iter().take(usize::from(carried)).cloned().collect();
        world.digests.truncate(usize::from(digests));
        if digests == 2 {
            world.digests.push(Digest::of(catalogue_schema::digest::Algorithm::Sha512, b"x"));
        }
        world.pinned = pinned;
        world.proofs = proofs;
        world.catalogue_proofs = catalogue_proofs;
        world.list_proofs = list_proofs;
        world.delegate = delegate.map(key);
        world.scope = is_narrow.then(|| Namespace::parse("lcod://other/**").unwrap()).into_iter().collect();
        match statement_kind {
            0 => world.statement = None,
            1 => world.statement.as_mut().unwrap().id = "lcod://acme/b".to_owned(),
            2 => world.statement.as_mut().unwrap().algorithms.truncate(1),
            _ => {}
        }
        if let Some(statement) = &mut world.statement {
            statement.signed_at_s = now_s + signed_at;
        }
        world.expires_s = expires.map(|at_s| now_s + at_s);
        world.checked_s = checked.map(|at_s| now_s + at_s);
        world.published_s = published_s.map(|at_s| now_s + at_s);
        world.first_seen = first_seen.map(|(same, at_s)| {
            (if same { bytes() } else { Digest::sha256(b"other") }, now_s + at_s)
        });
        let waivers = [Waiver::Unsigned, Waiver::Unpinned, Waiver::TooYoung, Waiver::NoAgreement];
        world.policy.exceptions = exceptions
            .into_iter()
            .map(|(waiver, created_s, lasts_s)| Exception {
                component: world.id.clone(),
                versions: catalogue_schema::version::VersionReq::any(),
                waiver: waivers[usize::from(waiver)],
                created_s: now_s + created_s,
                not_after_s: now_s + created_s + lasts_s,
                ..base.clone()
            })
            .collect();
        world
    }
}

#[test]
fn the_random_worlds_are_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let mut verdicts: Vec<String> =
        (0..400).map(|_| worlds().new_tree(&mut runner).unwrap().current().verdict()).collect();
    let good = verdicts.iter().filter(|verdict| verdict.starts_with("ok")).count();
    verdicts.sort();
    verdicts.dedup();
    assert!((20..300).contains(&good) && verdicts.len() > 15, "{good}, {verdicts:?}");
}

/// Asks for more, or takes something away that could have helped.
fn tighten(world: &mut World, way: u8, which: usize) {
    fn remove<T>(list: &mut Vec<T>, which: usize) {
        if !list.is_empty() {
            list.remove(which % list.len());
        }
    }
    let key = which % world.policy.keys.len();
    match way {
        0 => remove(&mut world.proofs, which),
        1 => remove(&mut world.catalogue_proofs, which),
        2 => remove(&mut world.policy.signers[1].keys, which),
        3 => {
            let own = world.source.clone();
            rule(world, "acme").sources.retain(|source| *source != own);
        }
        4 => world.policy.signers[1].threshold += 1,
        5 => {
            let rule = rule(world, "acme");
            rule.require = if rule.require == Require::Pin { Require::Digest } else { Require::Signature };
            rule.signed_by = (rule.require == Require::Signature).then_some(1);
        }
        6 => rule(world, "acme").min_age_s += 5,
        7 => rule(world, "acme").agree += 1,
        8 => remove(&mut world.policy.exceptions, which),
        9 => rule(world, "acme").mode = Mode::Enforce,
        10 => {
            let at_s = world.now_s - 5;
            world.policy.keys[key].revoked = Some(Revoked { at_s, reason: Revocation::Compromised });
        }
        11 => remove(&mut rule(world, "acme").digests, which),
        12 => world.policy.signers[1].algorithms = Algorithms::All(KeyAlgorithm::ALL.to_vec()),
        13 => rule(world, "acme").immutable = true,
        14 => world.policy.defaults.require_pin = true,
        15 => world.policy.keys[key].not_after_s = Some(world.now_s),
        16 => world.policy.sources[0].signed_by = Some(1),
        17 => remove(&mut world.carried_by, which),
        18 => world.policy.defaults.max_stale_s = 1,
        19 => world.policy.defaults.max_clock_skew_s = 0,
        20 => world.policy.namespaces.clear(),
        21 => remove(&mut world.list_proofs, which),
        22 => world.delegate = None,
        23 => world.scope = vec![Namespace::parse("lcod://other/**").unwrap()],
        24 => rule(world, "acme").allow_deps = Some(Vec::new()),
        _ => world.policy.keys[key].usage.clear(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn asking_for_more_never_lets_anything_in(world in worlds(), way in 0u8..26, which in 0usize..8) {
        let mut stricter = world.clone();
        tighten(&mut stricter, way, which);
        // Without any rule the mode is that of the defaults.
        prop_assert!(world.is_allowed() || !stricter.is_allowed(), "way {}: {}", way, stricter.verdict());
        let (before, after) = (world.verdict(), stricter.verdict());
        prop_assert!(before.starts_with("ok") || !after.starts_with("ok"), "way {}: {} then {}", way, before, after);
    }

    #[test]
    fn a_decision_is_its_steps_and_the_same_every_time(world in worlds()) {
        let shown = |decision: &Decision<'_>| format!("{decision:?}");
        prop_assert_eq!(world.decide(shown), world.decide(shown));
        world.decide(|decision| {
            let (last, before) = decision.why.split_last().unwrap();
            let refused = |step: &Step<'_>| match &step.outcome {
                Outcome::Refused(refusal) => Some(refusal.clone()),
                _ => None,
            };
            assert_eq!(refused(last), decision.refusal);
            assert!(before.iter().all(|step| refused(step).is_none()));
        });
    }

    #[test]
    fn nothing_changes_before_the_next_change(world in worlds(), ahead in 0i64..60) {
        let shown = |decision: &Decision<'_>| format!("{:?} {:?} {:?}", decision.refusal, decision.exceptions, decision.signers);
        let next_s = world.decide(|decision| decision.next_change_s);
        let later_s = world.now_s + ahead;
        if next_s.is_none_or(|next_s| later_s < next_s) {
            let mut later = world.clone();
            later.now_s = later_s;
            prop_assert_eq!(later.decide(shown), world.decide(shown));
        }
    }
}
