//! Signers who let others sign: how far a run follows keysets, when it looks for them, and how many keys lists may name.

use catalogue_schema::key::{KeyAlgorithm, SEED_BYTES};
use catalogue_schema::keyset::{Keyset, KeysetKey};
use catalogue_schema::policy::{Name, Policy};
use catalogue_schema::signature::{Envelope, Signature, Statement, Usage};
use zeroize::Zeroizing;

use super::unchanged::{Run, catalogue};
use super::*;
use crate::trust::policy::InForce;
use crate::trust::signature::Signer;

/// The key with this number.
fn signer(number: u8) -> Signer {
    let private = Signer::seeded(KeyAlgorithm::Ed25519, Zeroizing::new([number; SEED_BYTES]));
    Signer::of(&private).expect("a key")
}

/// A policy by which key 1 signs the catalogues of `a`, where nothing but that is asked for.
fn policy(keysets: &str) -> Arc<Policies> {
    let text = format!(
        "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\nrequire_pin = false\n[[keys]]\nid = \"one\"\nalgorithm = \"ed25519\"\nfile = \"one.pem\"\nfingerprint = \"{}\"\nusage = [\"catalogue\", \"keyset\"]\n[[signers]]\nname = \"roots\"\nkeys = [\"one\"]\nthreshold = 1\n{keysets}\n[[sources]]\nid = \"a\"\nsigned_by = \"roots\"\n[[namespaces]]\nmatch = \"**\"\nsources = [\"a\", \"b\"]\nrequire = \"digest\"\n",
        signer(1).public().fingerprint()
    );
    Arc::new(Policies::of(vec![InForce::new(
        "/etc/trust.toml".into(),
        Digest::sha256(text.as_bytes()),
        Policy::parse(text.as_bytes()).expect("a policy"),
        [signer(1).public().clone()].into_iter().collect(),
    )]))
}

/// Writes the signatures of these keys behind a file.
fn sign(world: &World, file: &str, (usage, id, version): (Usage, &str, Option<u64>), keys: &[u8]) {
    let content = std::fs::read(world.path(file)).expect("read");
    let statement = Statement {
        usage,
        id: id.to_owned(),
        version: version.map(|version| version.to_string()),
        digests: vec![Digest::sha256(&content)],
        size: content.len() as u64,
        signed_at_s: 1,
        algorithms: vec![KeyAlgorithm::Ed25519],
        catalogue_version: None,
        expires_s: None,
        origin_commit: None,
    };
    let payload = statement.to_bytes();
    let message = usage.encoded(&payload);
    let signature = |number: &u8| Signature {
        key: signer(*number).public().fingerprint(),
        algorithm: "ed25519".to_owned(),
        bytes: signer(*number).sign(&message, &[0; SEED_BYTES]).expect("signed"),
    };
    let signatures = keys.iter().map(signature).collect();
    world.write(&format!("{file}.sig"), &Envelope::new(payload, signatures).to_json());
}

/// Writes keyset `version` of the roots, whose only key is this one.
fn keyset(world: &World, version: u64, key: u8, signed_by: &[u8]) {
    let name = |text: &str| Name::parse(text).expect("a name");
    let key = KeysetKey {
        id: name(&format!("key-{key}")),
        public: signer(key).public().clone(),
        usage: vec![Usage::Catalogue, Usage::Keyset],
        not_before_s: None,
        not_after_s: None,
        revoked: None,
    };
    let keyset = Keyset { name: name("roots"), version, threshold: 1, keys: vec![key] };
    let file = format!("keysets/roots.{version}.json");
    world.write(&file, &keyset.to_json());
    sign(world, &file, (Usage::Keyset, "roots", Some(version)), signed_by);
}

/// Returns the version of the keyset that is remembered.
fn reached(world: &World) -> u64 {
    world.store.memory().keysets().first().map_or(1, |one| one.version)
}

#[test]
fn one_run_follows_so_many_keysets_and_the_next_goes_on() {
    let mut world = World::new();
    world.rules.policies = policy("keysets = { source = \"a\" }");
    for version in 2..=257 {
        keyset(&world, version, 1, &[1]);
    }
    keyset(&world, 258, 2, &[1, 2]);
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[1, 2]);
    world.sync(&[("a", "a.json")]);
    assert_eq!((reached(&world), world.shown().as_str()), (257, "n/x = a/a: 1.0.0 trusted"));
    world.sync(&[("a", "a.json")]);
    assert_eq!((reached(&world), world.shown().as_str()), (258, "n/x = a/a: 1.0.0 trusted"));
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[1]);
    world.sync(&[("a", "a.json")]);
    assert_eq!(world.health(), ["a/a Stale trust.key_unknown"]);
}

#[test]
fn keysets_are_looked_for_where_their_source_is_read() {
    let mut world = World::new();
    world.rules.policies = policy("keysets = { source = \"a\" }");
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    catalogue(&world, "b.json", &[("y", "1.0.0")]);
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[1]);
    let both = [("a", "a.json"), ("b", "b.json")];
    world.sync(&both);
    keyset(&world, 2, 2, &[1, 2]);
    let sources = world.sources(&both);
    let other = [SourceId::parse("b").expect("an id")];
    let named = Run { scope: Scope::Named(&other), ..Run::of(&sources) };
    let offline = Run { offline: true, ..Run::of(&sources) };
    let rebuilt = Run { scope: Scope::Rebuild, ..Run::of(&sources) };
    for run in [named, offline, rebuilt] {
        run.go(&mut world);
        assert_eq!(reached(&world), 1);
    }
    Run::of(&sources).go(&mut world);
    assert_eq!(reached(&world), 2);
    // The catalogue is not signed by the new key yet: what was read is judged by it all the same.
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trust.key_unknown\nn/y = b/b: 1.0.0 trusted");
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[2]);
    Run::of(&sources).go(&mut world);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted\nn/y = b/b: 1.0.0 trusted");
}

#[test]
fn a_keyset_that_is_refused_leaves_every_source_of_its_signers_as_it_was() {
    let mut world = World::new();
    world.rules.policies = policy("keysets = { source = \"b\" }");
    catalogue(&world, "a.json", &[("x", "1.0.0")]);
    catalogue(&world, "b.json", &[("y", "1.0.0")]);
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[1]);
    let both = [("a", "a.json"), ("b", "b.json")];
    world.sync(&both);
    keyset(&world, 2, 2, &[2]);
    catalogue(&world, "a.json", &[("x", "2.0.0")]);
    sign(&world, "a.json", (Usage::Catalogue, "a", None), &[1]);
    catalogue(&world, "b.json", &[("y", "2.0.0")]);
    let refused = ["a/a Stale trust.rotation", "b/b Stale trust.rotation"];
    for _ in 0..2 {
        world.sync(&both);
        assert_eq!((world.health(), reached(&world)), (refused.map(str::to_owned).into(), 1));
        assert_eq!(world.shown(), "n/x = a/a: 1.0.0 trusted\nn/y = b/b: 1.0.0 trusted");
    }
    // It says so until they publish a good one, or none.
    world.remove("keysets/roots.2.json");
    world.sync(&both);
    assert_eq!(world.health(), ["a/a Fresh", "b/b Fresh"]);
    assert_eq!(world.shown(), "n/x = a/a: 2.0.0 trusted\nn/y = b/b: 2.0.0 trusted");
}

#[test]
fn so_many_catalogues_of_a_source_may_be_signed_by_keys_that_its_lists_name() {
    let mut world = World::new();
    world.rules.policies = policy("");
    let key = signer(2).public().to_hex();
    let mut pointers = Vec::new();
    for number in 0..34 {
        let (file, id) = (format!("c{number:02}.json"), format!("c{number:02}"));
        catalogue(&world, &file, &[(&format!("x{number:02}"), "1.0.0")]);
        sign(&world, &file, (Usage::Catalogue, &id, None), &[2]);
        pointers.push(format!(
            "{{\"id\":\"{id}\",\"kind\":\"file\",\"url\":\"{file}\",\"publicKey\":\"{key}\"}}"
        ));
    }
    let list =
        format!("{{\"schema\":\"lcod-registry/catalogues@1\",\"catalogues\":[{}]}}", pointers.join(","));
    world.write("list.json", &list);
    sign(&world, "list.json", (Usage::Catalogue, "a", None), &[1]);
    world.rules.unknown_order = UnknownOrder::Accept;
    for _ in 0..2 {
        world.sync(&[("a", "list.json")]);
        let health = world.health();
        assert_eq!(health.iter().filter(|one| one.ends_with("Fresh")).count(), 33, "{health:?}");
        assert_eq!(
            health[33..],
            ["a/c32 Unread sync.delegation_limit", "a/c33 Unread sync.delegation_limit"]
        );
    }
}
