//! What policies make of what was read: instants that come, copies that count, and rules that only watch.

use catalogue_schema::digest::Algorithm;
use catalogue_schema::key::{KeyAlgorithm, SEED_BYTES};
use catalogue_schema::policy::Policy;
use catalogue_schema::signature::{Envelope, Signature, Statement, Usage};
use zeroize::Zeroizing;

use super::unchanged::{Run, catalogue, configured, pinned};
use super::*;
use crate::trust::policy::InForce;
use crate::trust::signature::Signer;

fn root() -> Signer {
    let private = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new([1; SEED_BYTES]));
    Signer::of(&private).expect("a key")
}

/// The key `root`, and a set of it.
fn roots() -> String {
    format!(
        "[[keys]]\nid = \"root\"\nalgorithm = \"ed25519\"\nfile = \"root.pem\"\nfingerprint = \"{}\"\nusage = [\"catalogue\", \"package\"]\n[[signers]]\nname = \"roots\"\nkeys = [\"root\"]\nthreshold = 1\nalgorithms = {{ any = [\"ed25519\"] }}\n",
        root().public().fingerprint()
    )
}

/// Puts policies in force, each written without its first two lines.
fn policies(texts: &[&str]) -> Arc<Policies> {
    let one = |text: &&str| {
        let text = format!("schema = \"resolverd/trust@1\"\nversion = 1\n{text}");
        InForce::new(
            "/etc/trust.toml".into(),
            Digest::sha256(text.as_bytes()),
            Policy::parse(text.as_bytes()).expect("a policy"),
            [root().public().clone()].into_iter().collect(),
        )
    };
    Arc::new(Policies::of(texts.iter().map(one).collect()))
}

/// One rule for everything.
fn rule(sources: &str, more: &str) -> String {
    format!(
        "[defaults]\nrequire_pin = false\nmax_stale = \"1000s\"\n[[namespaces]]\nmatch = \"**\"\nsources = {sources}\n{more}\n"
    )
}

#[test]
fn a_verdict_whose_time_has_come_gives_a_sync_something_to_do() {
    let (mut world, sources) = pinned();
    world.rules.policies = policies(&[&rule("[\"a\", \"b\"]", "require = \"digest\"\nmin_age = \"100s\"")]);
    let run = Run::of(&sources);
    run.go(&mut world);
    assert!(world.shown().contains("n/z = b/b: 1.0.0 trust.too_young"), "{}", world.shown());
    world.now_s = 50;
    assert!(run.is_short(&mut world), "nothing is due");
    world.now_s = 5_000;
    assert!(!run.is_short(&mut world), "a verdict is due");
    run.go(&mut world);
    assert!(world.shown().contains("n/z = b/b: 1.0.0 trusted"), "{}", world.shown());
    assert!(run.is_short(&mut world), "it was published");
}

/// A source of one release whose manifest says `text`, pinned by its digest.
fn saying(world: &World, file: &str, text: &str) -> Vec<Source> {
    let manifest = format!(
        "{{\"schema\":\"lcod-registry/manifest@1\",\"id\":\"lcod://n/x@1.0.0\",\"summary\":\"{text}\",\"source\":{{\"type\":\"file\"}},\"files\":[],\"dependencies\":[]}}"
    );
    world.write("x.json", &manifest);
    let digest = Digest::sha256(manifest.as_bytes());
    let text = format!(
        "{{\"schema\":\"lcod-registry/catalogue@1\",\"components\":[{{\"id\":\"lcod://n/x\",\"versions\":[{{\"version\":\"1.0.0\",\"manifest\":\"x.json\",\"sha256\":\"{}\"}}]}}]}}",
        digest.hex()
    );
    world.write(file, &text);
    configured(world, &[("a", file, &Digest::sha256(text.as_bytes()))])
}

#[test]
fn other_bytes_under_a_known_version_have_no_age() {
    let mut world = World::new();
    world.rules.policies = policies(&[&rule("[\"a\"]", "require = \"pin\"\nmin_age = \"100s\"")]);
    let sources = saying(&world, "one.json", "what it does");
    Run::of(&sources).go(&mut world);
    world.now_s = 5_000;
    Run::of(&sources).go(&mut world);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 pinned");
    let sources = saying(&world, "two.json", "something else");
    for now_s in [5_001, 50_000] {
        world.now_s = now_s;
        Run::of(&sources).go(&mut world);
        assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trust.age_unknown", "{now_s}");
    }
    let component = world.snapshot().read_all().remove(0);
    let refusal = component.releases[0].verdict.refusal().expect("refused");
    assert!(refusal.found.contains("resolverd trust forget lcod://n/x@1.0.0"), "{refusal}");
}

#[test]
fn a_catalogue_freezes_also_where_nothing_may_be_fetched() {
    let mut world = World::new();
    world.rules.policies = policies(&[&rule("[\"a\"]", "require = \"digest\"")]);
    world.rules.max_stale_s = 1_000_000;
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    world.sync(&[("a", "a.json")]);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted");
    world.rules.checked = [("a", 7)].map(|(id, at_s)| (SourceId::parse(id).expect("an id"), at_s)).into();
    let sources = world.sources(&[("a", "a.json")]);
    let offline = Run { offline: true, scope: Scope::Rebuild, ..Run::of(&sources) };
    for (now_s, expected) in [(500, "trusted"), (5_000, "trust.frozen")] {
        world.now_s = now_s;
        offline.go(&mut world);
        assert_eq!(world.shown(), format!("n/x = a/a: 1.0.0 {expected}"), "{now_s}");
    }
}

#[test]
fn a_copy_that_may_not_be_used_agrees_with_nobody() {
    let mut world = World::new();
    world.rules.policies =
        policies(&[&rule("[\"a\", \"b\"]", "require = \"digest\"\nagree = 2").replace("1000s", "30d")]);
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    catalogue(&world, "b.json", &[("x", "1.0.0")]);
    let both = [("a", "a.json"), ("b", "b.json")];
    world.sync(&both);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted");
    world.remove("b.json");
    world.rules.checked = [("b", 7)].map(|(id, at_s)| (SourceId::parse(id).expect("an id"), at_s)).into();
    world.now_s = 5_000;
    world.sync(&both);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trust.no_agreement");
}

#[test]
fn only_a_rule_that_is_enforced_keeps_a_namespace_for_a_source() {
    for (mode, expected) in [("enforce", 1), ("warn", 0), ("audit", 0)] {
        let mut world = World::new();
        let more = format!("require = \"digest\"\nmode = \"{mode}\"");
        world.rules.policies = policies(&[&rule("[\"gone\", \"a\"]", &more)]);
        catalogue(&world, "a.json", &[("x", "1.0.0")]);
        world.sync(&[("gone", "gone.json"), ("a", "a.json")]);
        let kept = &world.snapshot().generation.blocked;
        let kept = kept.iter().filter(|one| one.namespace.to_string() == everything(Dialect::Lcod)).count();
        assert_eq!(kept, expected, "{mode}");
    }
}

/// Writes a catalogue of one release, signed by `root` as the version `version` of it.
fn signed(world: &World, release: &str, version: u64) {
    catalogue(world, "a.json", &[("x", release)]);
    let content = std::fs::read(world.path("a.json")).expect("read");
    let statement = Statement {
        usage: Usage::Catalogue,
        id: "a".to_owned(),
        version: None,
        digests: [Algorithm::Sha256, Algorithm::Sha512].map(|one| Digest::of(one, &content)).to_vec(),
        size: content.len() as u64,
        signed_at_s: 1,
        algorithms: vec![KeyAlgorithm::Ed25519],
        catalogue_version: Some(version),
        expires_s: None,
        origin_commit: None,
    };
    let payload = statement.to_bytes();
    let signature = Signature {
        key: root().public().fingerprint(),
        algorithm: "ed25519".to_owned(),
        bytes: root().sign(&Usage::Catalogue.encoded(&payload), &[0; SEED_BYTES]).expect("signed"),
    };
    world.write("a.json.sig", &Envelope::new(payload, vec![signature]).to_json());
}

#[test]
fn a_policy_that_only_watches_takes_no_other_s_memory_away() {
    let source = "[[sources]]\nid = \"a\"\nsigned_by = \"roots\"\n";
    let strict = format!("{}{}{source}", rule("[\"a\"]", "require = \"digest\""), roots());
    let lax =
        rule("[\"a\"]", "require = \"digest\"").replace("[defaults]\n", "[defaults]\nmode = \"audit\"\n");
    let sources = [("a", "a.json")];
    let check = |texts: &[&str], expected: [&str; 4]| {
        let mut world = World::new();
        world.rules.policies = policies(texts);
        let steps = [("42.0.0", 42), ("41.0.0", 41), ("42.1.0", 42), ("43.0.0", 43)];
        for ((release, version), expected) in steps.into_iter().zip(expected) {
            signed(&world, release, version);
            for scope in [Scope::All, Scope::Rebuild, Scope::All] {
                world.now_s += 1;
                world.run(&sources, scope);
                assert_eq!(world.shown(), format!("n/x = a/a: {expected}"), "{} {version}", texts.len());
            }
        }
    };
    check(&[&strict], ["42.0.0 trusted", "42.0.0 trusted", "42.0.0 trusted", "43.0.0 trusted"]);
    let expected =
        ["42.0.0 trusted", "41.0.0 trust.rollback", "42.1.0 trust.version_mutated", "43.0.0 trusted"];
    check(&[&strict, &lax], expected);
    check(&[&lax, &strict], expected);
}

#[test]
fn what_another_source_has_beside_the_same_manifest_says_nothing() {
    let mut world = World::new();
    let asks = format!("{}{}", rule("[\"a\"]", "require = \"signature\"\nsigned_by = \"roots\""), roots());
    world.rules.policies = policies(&[&asks]);
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    world.write("b/nothing", "");
    for file in ["a.json", "x-1.0.0.json"] {
        std::fs::copy(world.path(file), world.path("b").join(file)).expect("copied");
    }
    let manifest = std::fs::read(world.path("x-1.0.0.json")).expect("read");
    let signature = root().sign(&manifest, &[0; SEED_BYTES]).expect("signed");
    std::fs::write(world.path("x-1.0.0.json.sig"), &signature).expect("written");
    std::fs::write(world.path("b/x-1.0.0.json.sig"), [0; 64]).expect("written");
    world.sync(&[("a", "a.json"), ("b", "b/a.json")]);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted");
    world.sync(&[("b", "b/a.json"), ("a", "a.json")]);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted");
}
