//! Signers that replace their keys, with the real binary on real repositories: keysets that follow and those that must not, counters
//! that begin anew with other signers, lists that let other keys sign, releases that vanish, a
//! catalogue that ends while it is read. Each case is a row of the list of threats and asserts the reason that the answer gives.

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use catalogue_schema::digest::Digest;
use catalogue_schema::key::{PrivateKey, PublicKey};
use catalogue_schema::revision::rfc3339;
use catalogue_schema::signature::{Envelope, Signature, Usage};
use resolverd::trust::signature::Signer;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said};
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, Logged, Route, TlsServer};
use crate::harness::{lcod, place, poll};
use crate::trust::{Revision, Shop, X, answer, check, rules, signed_by_root, source_reason, why};

/// One source whose catalogue a set of signers signs that publishes its own keys.
struct Team {
    shop: Shop,
    /// The keysets that are published, beside the catalogue.
    published: RefCell<Files>,
}

impl Team {
    /// Makes a team of these keys; the policy names those in `own` and how many of them must sign.
    fn new(keys: &[&str], own: &[&str], threshold: usize) -> Team {
        let shop = Shop::new(&["acme"]);
        shop.keys(&keys.iter().map(|name| (*name, "ed25519")).collect::<Vec<_>>());
        let team = Team { shop, published: RefCell::default() };
        team.shop.policy(1, &team.policy(own, threshold));
        team
    }

    fn policy(&self, own: &[&str], threshold: usize) -> String {
        let keys: String = own.iter().map(|name| self.shop.key(name, "ed25519", "")).collect();
        let keys = keys.replace("[\"catalogue\", \"package\"]", "[\"catalogue\", \"keyset\"]");
        let labels: Vec<String> = own.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            "{keys}[[signers]]\nname = \"roots\"\nkeys = [{}]\nthreshold = {threshold}\nkeysets = {{ source = \"acme\" }}\n{}",
            labels.join(", "),
            rules("signed_by = \"roots\"\n", "require = \"pin\"\n")
        )
    }

    /// Writes a keyset of these keys, signed by others, under a number of its own.
    fn keyset(&self, file: u64, number: u64, keys: &str, threshold: usize, signed_by: &str) {
        let names: String = keys.split(' ').map(|name| format!(" %{name}.pem")).collect();
        let document = self.shop.good(&format!(
            "keys keyset roots --release {number} --threshold {threshold} --usage catalogue --usage keyset{names}"
        ));
        let signers: String = signed_by.split(' ').map(|name| format!(" --key %{name}.key")).collect();
        let claims = format!("--type keyset --id roots --release {number}{signers}");
        let signature = self.shop.signed(document.as_bytes(), &claims);
        let path = format!("keysets/roots.{file}.json");
        let mut published = self.published.borrow_mut();
        published.insert(format!("{path}.sig"), signature);
        published.insert(path, document.into_bytes());
    }

    /// Publishes one release in a catalogue that these keys sign, with the keysets beside it.
    fn publish(&self, version: &str, signed_by: &str) {
        self.publish_as(version, signed_by, "");
    }

    fn publish_as(&self, version: &str, signed_by: &str, more: &str) {
        let signers: String = signed_by.split(' ').map(|name| format!("--key %{name}.key ")).collect();
        let release = format!("{X}@{version}");
        let revision = Revision {
            releases: &[&release],
            catalogue: &format!("{signers}--id acme {more}"),
            ..Revision::default()
        };
        self.shop.publish_changed("acme", &revision, |files| files.extend(self.published.borrow().clone()));
    }
}

/// Returns the version of the keyset in force, which the status and the text for people say as well.
fn in_force(team: &Team, daemon: &Daemon) -> u64 {
    let policy = daemon.get("/v1/policy").ok()["policies"][0].clone();
    let version = policy["keysets"][0]["version"].as_u64().unwrap();
    assert_eq!(policy["keysets"][0]["signers"], "roots");
    assert_eq!(policy["keysets"][0]["digest"].is_null(), version == 1, "{policy:#}");
    let health = daemon.get("/v1/health").ok();
    assert_eq!(health["policy"]["files"][0]["keysets"][0]["version"], version, "{health:#}");
    let shown = team.shop.good("policy show");
    assert!(shown.contains(&format!("roots: keyset version {version}, published by acme")), "{shown}");
    let status = team.shop.good("status");
    assert!(status.contains(&format!("roots at keyset {version}")), "{status}");
    version
}

fn audited(team: &Team, event: &str) -> Vec<Value> {
    let log: Value = serde_json::from_str(&team.shop.good("audit tail -n 200 -o json")).unwrap();
    log["items"].as_array().unwrap().iter().filter(|line| line["event"] == event).cloned().collect()
}

#[test]
fn b4_keysets_are_signed_by_the_old_keys_and_the_new() {
    // Keys and threshold in the policy; those of keyset 2, and who signs it; whether it is taken.
    let table = [
        ("a", 1, "b", 1, "b", "trust.rotation"),
        ("a", 1, "b", 1, "a", "trust.rotation"),
        ("a", 1, "b", 1, "c", "trust.rotation"),
        ("a", 1, "b", 1, "a b", "fresh"),
        ("a b", 2, "b c", 2, "b c", "trust.rotation"),
        ("a b", 2, "b c", 2, "a b", "trust.rotation"),
        ("a b", 2, "b c", 2, "a b c", "fresh"),
        ("a b", 2, "a", 1, "a", "trust.rotation"),
        ("a b", 2, "a", 1, "a b", "fresh"),
        ("a", 1, "a b c", 3, "a b", "trust.rotation"),
        ("a", 1, "a b c", 3, "a b c", "fresh"),
    ];
    for (old, old_threshold, new, threshold, signed_by, expected) in table {
        let what = format!("{old_threshold} of {old} to {threshold} of {new}, signed by {signed_by}");
        let own: Vec<&str> = old.split(' ').collect();
        let team = Team::new(&["a", "b", "c"], &own, old_threshold);
        team.publish("1.0.0", old);
        let daemon = team.shop.sandbox.start();
        check(&daemon, "fresh", "1.0.0 pinned all []", &what);
        assert_eq!(in_force(&team, &daemon), 1);
        team.keyset(2, 2, new, threshold, signed_by);
        team.publish("2.0.0", new);
        let is_taken = expected == "fresh";
        let served = if is_taken { "2.0.0 pinned all []" } else { "1.0.0 pinned all []" };
        check(&daemon, expected, served, &what);
        assert_eq!(in_force(&team, &daemon), if is_taken { 2 } else { 1 }, "{what}");
        let lines = audited(&team, "rotated");
        assert_eq!(lines.len(), usize::from(is_taken), "{what}: {lines:#?}");
        if !is_taken {
            let denied = audited(&team, "denied");
            assert!(denied.iter().any(|line| line["reason"] == "trust.rotation"), "{what}: {denied:#?}");
        }
    }
}

#[test]
fn b4_what_was_reached_stays_reached() {
    let team = Team::new(&["a", "b", "c"], &["a"], 1);
    team.publish("1.0.0", "a");
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "the keys of the policy");
    team.keyset(2, 2, "b", 1, "a b");
    team.publish("2.0.0", "b");
    check(&daemon, "fresh", "2.0.0 pinned all []", "its successors");
    // Whoever has the old key publishes as if nothing had happened.
    team.published.borrow_mut().clear();
    team.publish("3.0.0", "a");
    check(&daemon, "trust.key_unknown", "2.0.0 pinned all []", "a key that was given up");
    daemon.stop();
    let daemon = team.shop.sandbox.start();
    assert_eq!(in_force(&team, &daemon), 2, "behind a restart");
    check(&daemon, "trust.key_unknown", "2.0.0 pinned all []", "behind a restart");
    // Nor does another keyset 2 that the old key signs.
    team.keyset(2, 2, "c", 1, "a c");
    team.publish("4.0.0", "c");
    check(&daemon, "trust.key_unknown", "2.0.0 pinned all []", "another way from the same start");
    team.keyset(3, 3, "c", 1, "b c");
    team.publish("5.0.0", "c");
    check(&daemon, "fresh", "5.0.0 pinned all []", "the next one");
    // An edit of the policy that leaves the set as it is changes nothing; one that names other keys begins anew.
    team.shop.reload(&daemon, 2, &team.policy(&["a"], 1));
    check(&daemon, "fresh", "5.0.0 pinned all []", "the same set");
    assert_eq!(in_force(&team, &daemon), 3);
    let other = team.policy(&["c"], 1).replace("source = \"acme\"", "source = \"acme\", version = 3");
    team.shop.reload(&daemon, 3, &other);
    check(&daemon, "fresh", "5.0.0 pinned all []", "the operator names the keys of today");
    let keyset = daemon.get("/v1/policy").ok()["policies"][0]["keysets"][0].clone();
    assert_eq!((&keyset["version"], &keyset["digest"]), (&json!(3), &Value::Null), "{keyset:#}");
}

#[test]
fn b4_a_source_is_read_by_the_keys_that_another_one_publishes() {
    let team = Team::new(&["a", "b"], &["a"], 1);
    Repository::create(&team.shop.repository("other"));
    team.shop.list(&["acme", "other"]);
    let policy = team.policy(&["a"], 1);
    let both = policy
        .replace("[[namespaces]]", "[[sources]]\nid = \"other\"\nsigned_by = \"roots\"\n[[namespaces]]");
    team.shop.policy(1, &both.replace("sources = [\"acme\"]", "sources = [\"acme\", \"other\"]"));
    let y = "lcod://acme/y";
    let publish = |version: &str, key: &str| {
        let signed = format!("--key %{key}.key --id other");
        let releases = [format!("{y}@{version}")];
        let releases: Vec<&str> = releases.iter().map(String::as_str).collect();
        team.shop
            .publish("other", &Revision { releases: &releases, catalogue: &signed, ..Revision::default() });
    };
    team.publish("1.0.0", "a");
    publish("1.0.0", "a");
    let daemon = team.shop.sandbox.start();
    daemon.sync();
    assert_eq!(answer(&daemon, y), "1.0.0 pinned all []");
    // Who has the key that is given up publishes once more, and only that source is read.
    team.keyset(2, 2, "b", 1, "a b");
    team.publish("2.0.0", "b");
    publish("6.6.6", "a");
    let report = daemon.post("/v1/sync", &json!({ "sources": ["other"] })).ok();
    assert_eq!(in_force(&team, &daemon), 2, "{report:#}");
    let row = daemon.get("/v1/sources").ok()["items"][1].clone();
    assert_eq!(row["error"]["reason"], "trust.key_unknown", "{row:#}");
    assert_eq!(answer(&daemon, y), "trust.key_unknown", "what only that key has signed");
    publish("2.0.0", "b");
    daemon.post("/v1/sync", &json!({ "sources": ["other"] })).ok();
    assert_eq!(answer(&daemon, y), "2.0.0 pinned all []");
}

#[test]
fn b4_publisher_of_keysets_that_is_no_source_is_named() {
    let team = Team::new(&["a"], &["a"], 1);
    let found = |what: &str| {
        let lint: Value = serde_json::from_str(&team.shop.good("policy lint -o json")).unwrap();
        let lint: Vec<&Value> = lint["findings"].as_array().unwrap().iter().collect();
        let is_linted = lint.iter().any(|one| one["reason"] == "lint.keysets_unread");
        let doctor = team.shop.run("doctor").stdout;
        assert_eq!(doctor.contains("its keysets are published by acme"), is_linted, "{what}: {doctor}");
        is_linted
    };
    assert!(!found("it is a source"));
    team.shop.list(&["elsewhere"]);
    Repository::create(&team.shop.repository("elsewhere"));
    assert!(found("it is none"));
}

#[test]
fn b1_two_of_three_keys_of_one_source() {
    let team = Team::new(&["a", "b", "c", "x"], &["a", "b", "c"], 2);
    team.publish("1.0.0", "a b");
    let daemon = team.shop.sandbox.start();
    let step = "catalogue: 2 of the keys of roots, which asks for 2";
    for (version, signed_by, signers) in [
        ("1.0.0", "a b", json!(["a", "b"])),
        ("2.0.0", "c a", json!(["a", "c"])),
        ("3.0.0", "b c x", json!(["b", "c"])),
    ] {
        team.publish(version, signed_by);
        check(&daemon, "fresh", &format!("{version} pinned all []"), signed_by);
        let mut found: Vec<Value> = daemon.catalogue("acme")["signers"].as_array().unwrap().clone();
        found.sort_by_key(Value::to_string);
        assert_eq!(json!(found), signers, "{signed_by}");
        let steps = why(&team.shop, &daemon, X);
        assert!(steps.iter().any(|line| line == step), "{signed_by}: {steps:#?}");
    }
    for signed_by in ["a", "b", "c", "a x"] {
        team.publish("4.0.0", signed_by);
        check(&daemon, "trust.threshold", "3.0.0 pinned all []", signed_by);
        let found = daemon.get("/v1/sources").ok()["items"][0]["error"].clone();
        assert_eq!(found["expected"], "signatures by 2 keys of roots", "{found:#}");
    }
    team.publish("4.0.0", "a b c");
    check(&daemon, "fresh", "4.0.0 pinned all []", "all of them");
}

#[test]
fn b5_skipped_or_replayed_keyset() {
    let team = Team::new(&["a", "b"], &["a"], 1);
    team.publish("1.0.0", "a");
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "version 1");
    for number in [1, 3, 9_007_199_254_740_991] {
        team.keyset(2, number, "b", 1, "a b");
        team.publish("2.0.0", "b");
        check(
            &daemon,
            "trust.rotation_gap",
            "1.0.0 pinned all []",
            &format!("version {number} where 2 is next"),
        );
    }
    assert_eq!(in_force(&team, &daemon), 1);
    // Several at once are taken one after the other.
    for number in 2..=7 {
        let (old, new) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
        team.keyset(number, number, new, 1, &format!("{old} {new}"));
    }
    team.publish("3.0.0", "a");
    check(&daemon, "fresh", "3.0.0 pinned all []", "2 to 7");
    assert_eq!(in_force(&team, &daemon), 7);
    let lines = audited(&team, "rotated");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(lines[5]["text"].as_str().unwrap().starts_with("keyset version 7, sha256:"), "{lines:#?}");
    assert!(team.shop.run("audit verify").status == 0);
    // The one that is in force, published again under the next number.
    team.keyset(8, 7, "a", 1, "a b");
    team.publish("4.0.0", "a");
    check(&daemon, "trust.rotation_gap", "3.0.0 pinned all []", "version 7 again");
}

/// Signs a statement about a catalogue, whatever it says.
fn envelope(signer: &Signer, statement: &Value) -> String {
    let payload = statement.to_string().into_bytes();
    let signature = Signature {
        key: signer.public().fingerprint(),
        algorithm: signer.public().algorithm().name().to_owned(),
        bytes: signer.sign(&Usage::Catalogue.encoded(&payload), &[0; 32]).unwrap(),
    };
    Envelope::new(payload, vec![signature]).to_json()
}

/// The highest version that a catalogue can have.
const HIGHEST: u64 = (1 << 53) - 1;

#[test]
fn b23_other_signers_count_anew() {
    let team = Team::new(&["a", "b"], &["a"], 1);
    let numbered = |version: &str, key: &str, number: u64| {
        team.publish_as(version, key, &format!("--catalogue-version {number}"));
    };
    numbered("42.0.0", "a", 42);
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "42.0.0 pinned all []", "version 42");
    // Whoever has stolen the key makes sure that nothing follows.
    numbered("66.6.6", "a", HIGHEST);
    check(&daemon, "fresh", "66.6.6 pinned all []", "the highest version there is");
    numbered("43.0.0", "a", 43);
    check(&daemon, "trust.rollback", "66.6.6 pinned all []", "version 43 by the same key");
    team.keyset(2, 2, "b", 1, "a b");
    numbered("44.0.0", "b", 44);
    check(&daemon, "fresh", "44.0.0 pinned all []", "version 44 by other signers");
    numbered("43.5.0", "b", 43);
    check(&daemon, "trust.rollback", "44.0.0 pinned all []", "and these cannot go back");
}

#[test]
fn b23_a_key_that_stays_counts_on() {
    let team = Team::new(&["a", "b", "c"], &["a", "b"], 1);
    let numbered = |version: &str, key: &str, number: u64| {
        team.publish_as(version, key, &format!("--catalogue-version {number}"));
    };
    numbered("42.0.0", "a", 42);
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "42.0.0 pinned all []", "version 42, signed by a");
    // Another set of signers, of which the key is one still: what it signed before version 42 stays behind it.
    team.keyset(2, 2, "a c", 1, "a c");
    numbered("41.0.0", "a", 41);
    check(&daemon, "trust.rollback", "42.0.0 pinned all []", "version 41 by the key that stays");
    assert_eq!(in_force(&team, &daemon), 2);
    numbered("40.0.0", "c", 40);
    check(&daemon, "trust.rollback", "42.0.0 pinned all []", "version 40 by one that is new beside it");
    numbered("43.0.0", "c", 43);
    check(&daemon, "fresh", "43.0.0 pinned all []", "version 43");
    // The policy names another key beside it, and one less.
    let other =
        team.policy(&["a", "b", "c"], 1).replace("source = \"acme\"", "source = \"acme\", version = 3");
    team.shop.reload(&daemon, 2, &other);
    numbered("42.5.0", "a", 42);
    check(&daemon, "trust.rollback", "43.0.0 pinned all []", "an edit of the policy");
    // Who signed the highest version is gone: those who are left count from what they signed themselves.
    team.shop.reload(&daemon, 3, &other.replace("[\"a\", \"b\", \"c\"]", "[\"a\", \"b\"]"));
    numbered("41.5.0", "a", 41);
    check(&daemon, "trust.rollback", "trust.key_unknown", "version 41 behind 42 by the same key");
    numbered("42.6.0", "a", 44);
    check(&daemon, "fresh", "42.6.0 pinned all []", "version 44");
}

#[test]
fn b23_a_key_that_a_list_names_counts_on_when_the_signers_of_the_list_change() {
    let lists = Lists::new(&[("acme", &["lcod://acme/**"])]);
    let numbered = |version: &str, number: u64| {
        let release = format!("{X}@{version}");
        let signed = format!("--key %own.key --id home --catalogue-version {number}");
        lists
            .shop
            .publish("home", &Revision { releases: &[&release], catalogue: &signed, ..Revision::default() });
    };
    numbered("42.0.0", 42);
    lists.list("acme", &lists.public("own").to_hex(), "root");
    let daemon = lists.shop.sandbox.start();
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
    let policy = std::fs::read_to_string(lists.shop.policy_file()).unwrap();
    let (_, text) = policy.split_once("version = 1\n").unwrap();
    let other = lists.shop.key("other", "ed25519", "");
    let text = text.replace("[[signers]]", &format!("{other}[[signers]]"));
    let text = text.replace("keys = [\"root\"]", "keys = [\"root\", \"other\"]");
    lists.shop.reload(&daemon, 2, &text);
    numbered("41.0.0", 41);
    assert_eq!(catalogue_reason(&daemon, "acme"), "trust.rollback");
    assert_eq!(answer(&daemon, X), "42.0.0 trusted all []");
    numbered("43.0.0", 43);
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
}

#[test]
fn b23_other_signers_count_anew_below_a_list() {
    let team = Team::new(&["a", "b"], &["a"], 1);
    let home = Repository::create(&team.shop.repository("home"));
    let publish = |version: &str, key: &str, number: u64| {
        let sign = |bytes: &[u8], words: &str| team.shop.signed(bytes, &format!("--key %{key}.key {words}"));
        let row = json!({ "id": format!("{X}@{version}"), "composePath": "x/compose.yaml" });
        let catalogue = serde_json::to_vec(&json!([row])).unwrap();
        let component = lcod::Component::new(X, version, &[]);
        let signature = sign(&catalogue, &format!("--id tools --catalogue-version {number}"));
        home.commit(&Files::from([
            ("x/compose.yaml".to_owned(), component.compose()),
            ("x/lcp.toml".to_owned(), component.descriptor()),
            ("tools.json".to_owned(), catalogue),
            ("tools.json.sig".to_owned(), signature),
        ]));
        let pointer = json!({ "id": "tools", "kind": "git", "url": home.url(), "path": "tools.json" });
        let list = lcod::catalogues(&[pointer]);
        let mut files = Files::from([("catalogue.json.sig".to_owned(), sign(&list, "--id acme"))]);
        files.insert("catalogue.json".to_owned(), list);
        files.extend(team.published.borrow().clone());
        Repository { path: team.shop.repository("acme") }.commit(&files);
    };
    let policy = team.policy(&["a"], 1);
    team.shop.policy(
        1,
        &format!("[defaults]\nrequire_pin = false\n{policy}")
            .replace("require = \"pin\"", "require = \"digest\"\nmode = \"audit\""),
    );
    publish("42.0.0", "a", 42);
    let daemon = team.shop.sandbox.start();
    let check = |expected: &str, version: &str, when: &str| {
        daemon.sync();
        let tools = daemon.catalogue("tools");
        let reason = tools["error"]["reason"].as_str().unwrap_or("fresh");
        let served = answer(&daemon, X);
        assert_eq!((reason, served.split(' ').next()), (expected, Some(version)), "{when}: {tools:#}");
        assert_eq!(source_reason(&daemon), expected, "the source says what is wrong below it, {when}");
    };
    check("fresh", "42.0.0", "version 42");
    publish("66.6.6", "a", HIGHEST);
    check("fresh", "66.6.6", "the highest version there is");
    publish("43.0.0", "a", 43);
    check("trust.rollback", "66.6.6", "version 43 by the same key");
    team.keyset(2, 2, "b", 1, "a b");
    publish("44.0.0", "b", 44);
    check("fresh", "44.0.0", "version 44 by other signers");
}

#[test]
fn b23_higher_than_every_number() {
    let team = Team::new(&["a"], &["a"], 1);
    team.publish_as("1.0.0", "a", "--catalogue-version 1");
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "version 1");
    let said = team.shop.run("sign %a.pem --key %a.key --id acme --catalogue-version 9007199254740992");
    assert_eq!(said.status, 2, "{said:?}");
    // The command line does not sign it, so that the statement is signed by hand.
    let key = std::fs::read(team.shop.sandbox.path("desk/a.key")).unwrap();
    let signer = Signer::of(&PrivateKey::parse(&key).unwrap()).unwrap();
    for number in [1_u64 << 53, 1 << 63, u64::MAX] {
        let release = format!("{X}@2.0.0");
        let revision = Revision { releases: &[&release], ..Revision::default() };
        team.shop.publish_changed("acme", &revision, |files| {
            let catalogue = &files["catalogue.json"];
            let statement = json!({
                "type": "catalogue", "id": "acme", "digests": [Digest::sha256(catalogue)], "size": catalogue.len(),
                "signed_at": "2026-01-01T00:00:00Z", "algorithms": ["ed25519"], "catalogue_version": number,
            });
            files.insert("catalogue.json.sig".to_owned(), envelope(&signer, &statement).into_bytes());
        });
        check(&daemon, "input.number", "1.0.0 pinned all []", &format!("version {number}"));
    }
}

#[test]
fn a_policy_that_is_tried_has_the_keys_of_today() {
    let team = Team::new(&["a", "b"], &["a"], 1);
    team.keyset(2, 2, "b", 1, "a b");
    team.publish("1.0.0", "b");
    let daemon = team.shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "the keys of the keyset");
    let candidate = team.shop.sandbox.path("desk/candidate.toml");
    std::fs::write(
        &candidate,
        format!("schema = \"resolverd/trust@1\"\nversion = 2\n{}", team.policy(&["a"], 1)),
    )
    .unwrap();
    std::fs::set_permissions(&candidate, Permissions::from_mode(0o644)).unwrap();
    let tried = team.shop.good("policy test %candidate.toml");
    assert!(tried.contains("0 of 1 releases would change"), "{tried}");
}

/// Sources whose lists, which `root` signs, let other keys sign a catalogue that lies elsewhere.
struct Lists {
    shop: Shop,
}

impl Lists {
    /// Makes sources with these names, which own these namespaces.
    fn new(sources: &[(&str, &[&str])]) -> Lists {
        let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
        let shop = Shop::new(&names);
        Repository::create(&shop.repository("home"));
        let rows = sources.iter().map(|(name, owns)| {
            let url = format!("file://{}", shop.repository(name).display());
            let entry = json!({ "type": "git", "url": url, "subpath": "catalogue.json" });
            json!({ "id": name, "priority": 10, "owns": owns, "entrypoint": entry })
        });
        shop.sandbox.write_sources(&json!({ "sources": rows.collect::<Vec<Value>>() }));
        shop.keys(&[("root", "ed25519"), ("own", "ed25519"), ("other", "ed25519")]);
        let key = shop.key("root", "ed25519", "");
        let rows: String = names
            .iter()
            .map(|name| format!("[[sources]]\nid = \"{name}\"\nsigned_by = \"roots\"\n"))
            .collect();
        let all: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        shop.policy(
            1,
            &format!(
                "[defaults]\nrequire_pin = false\n{key}[[signers]]\nname = \"roots\"\nkeys = [\"root\"]\nthreshold = 1\n{rows}[[namespaces]]\nname = \"all\"\nmatch = \"**\"\nsources = [{}]\nrequire = \"digest\"\n",
                all.join(", ")
            ),
        );
        Lists { shop }
    }

    fn public(&self, key: &str) -> PublicKey {
        let pem = std::fs::read(self.shop.sandbox.path(&format!("desk/{key}.pem"))).unwrap();
        PublicKey::parse(&pem).unwrap()
    }

    /// Publishes the list of a source, which says this about the key of the catalogue, and which a key signs.
    fn list(&self, source: &str, public_key: &str, signed_by: &str) {
        let home = Repository { path: self.shop.repository("home") };
        let pointer = json!({
            "id": "home", "kind": "git", "url": home.url(), "path": "catalogue.json", "publicKey": public_key,
        });
        let list = lcod::catalogues(&[pointer]);
        let signature = self.shop.signed(&list, &format!("--key %{signed_by}.key --id {source}"));
        let mut files = Files::from([("catalogue.json.sig".to_owned(), signature)]);
        files.insert("keys/own.pem".to_owned(), self.public("own").to_pem().into_bytes());
        files.insert("catalogue.json".to_owned(), list);
        Repository { path: self.shop.repository(source) }.commit(&files);
    }

    /// Publishes the catalogue, signed by a key.
    fn catalogue(&self, releases: &[&str], signed_by: &str) {
        let signed = format!("--key %{signed_by}.key --id home");
        self.shop.publish("home", &Revision { releases, catalogue: &signed, ..Revision::default() });
    }
}

/// Returns why the catalogue of a source was not accepted, behind a sync.
fn catalogue_reason(daemon: &Daemon, source: &str) -> String {
    daemon.sync();
    let items = daemon.get("/v1/catalogues").ok()["items"].as_array().unwrap().clone();
    let home = items.iter().find(|one| one["source"] == source && one["id"] == "home");
    let home = home.unwrap_or_else(|| panic!("{items:#?}"));
    home["error"]["reason"].as_str().unwrap_or("fresh").to_owned()
}

#[test]
fn a14_delegation_wider_than_the_delegator() {
    let lists = Lists::new(&[("acme", &["lcod://acme/a/**"])]);
    let (inside, beside) = ("lcod://acme/a/x", "lcod://acme/b/y");
    lists.catalogue(&["lcod://acme/a/x@1.0.0", "lcod://acme/b/y@1.0.0"], "own");
    lists.list("acme", &lists.public("own").to_hex(), "root");
    let daemon = lists.shop.sandbox.start_synced();
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
    assert_eq!(answer(&daemon, inside), "1.0.0 trusted all []");
    assert_eq!(answer(&daemon, beside), "trust.delegation_scope");
    let listed = daemon.get("/v1/components/lcod/acme/a/x/versions").ok()["items"][0].clone();
    assert_eq!(listed["signature"], Value::Null, "it was verified: {listed:#}");
    assert_eq!(daemon.catalogue("home")["signature"], Value::Null, "nor does the catalogue say so");
    let signers = daemon.catalogue("home")["signers"].clone();
    assert_eq!(signers, json!([lists.public("own").fingerprint()]), "not those of the list");
    let steps = why(&lists.shop, &daemon, inside);
    let right = format!(
        "catalogue: by {}, to which the list acme gives the right",
        lists.public("own").fingerprint()
    );
    assert!(steps.contains(&right), "{steps:#?}");
    let steps = why(&lists.shop, &daemon, beside);
    assert!(steps.iter().any(|step| step.starts_with("catalogue: trust.delegation_scope")), "{steps:#?}");
    // It holds offline, and behind a restart.
    daemon.stop();
    let said = lists.shop.run(&format!("--offline resolve {beside}"));
    assert!(said.status == 6 && said.stderr.contains("trust.delegation_scope"), "{said:?}");
    let daemon = lists.shop.sandbox.start();

    // What root signs itself is not held to that.
    lists.catalogue(&["lcod://acme/a/x@1.1.0", "lcod://acme/b/y@1.1.0"], "root");
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
    assert_eq!(answer(&daemon, beside), "1.1.0 trusted all []");
    lists.catalogue(&["lcod://acme/a/x@2.0.0"], "other");
    assert_eq!(catalogue_reason(&daemon, "acme"), "trust.key_unknown", "a key that nobody names");
    lists.catalogue(&["lcod://acme/a/x@2.0.0"], "own");
    // Nobody has signed what lies at a path, so that a path gives no right; nor does what is no key.
    for text in ["keys/own.pem", "own", "", &lists.public("own").fingerprint().to_string()] {
        lists.list("acme", text, "root");
        assert_eq!(catalogue_reason(&daemon, "acme"), "trust.key_unknown", "{text}");
        let found = daemon.catalogue("home")["error"]["found"].to_string();
        assert!(found.contains("its publicKey gives no right"), "{text}: {found}");
    }
    lists.list("acme", &lists.public("own").to_pem(), "root");
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh", "the same key under PEM");
    assert_eq!(answer(&daemon, inside), "2.0.0 trusted all []");
    // A list that its own signers have not signed gives nothing: neither is it read, nor what it says of keys.
    lists.catalogue(&["lcod://acme/a/x@3.0.0"], "other");
    lists.list("acme", &lists.public("other").to_hex(), "other");
    daemon.sync();
    assert_eq!(source_reason(&daemon), "trust.key_unknown");
    assert_eq!(answer(&daemon, inside), "2.0.0 trusted all []");
}

#[test]
fn a14_delegated_catalogue_takes_nothing_from_another_source() {
    let lists = Lists::new(&[("acme", &["lcod://acme/a/**"]), ("two", &["lcod://acme/b/**"])]);
    let (inside, beside) = ("lcod://acme/a/x", "lcod://acme/b/y");
    lists.catalogue(&["lcod://acme/a/x@1.0.0", "lcod://acme/b/y@1.0.0"], "own");
    lists.list("acme", &lists.public("own").to_hex(), "root");
    lists.list("two", &lists.public("own").to_hex(), "root");
    let daemon = lists.shop.sandbox.start();
    for source in ["acme", "two"] {
        assert_eq!(catalogue_reason(&daemon, source), "fresh");
    }
    // The one that stands first owns what it may supply, and no more.
    assert_eq!(answer(&daemon, inside), "1.0.0 trusted all []");
    assert_eq!(answer(&daemon, beside), "1.0.0 trusted all []");
    let items = daemon.get("/v1/catalogues").ok()["items"].as_array().unwrap().clone();
    let home = items.iter().find(|one| one["source"] == "acme" && one["id"] == "home").unwrap();
    let warned = home["warnings"].to_string();
    assert!(warned.contains("trust.delegation_scope") && warned.contains(beside), "{home:#}");
    let said = lists.shop.good(&format!("explain {beside}"));
    let why = "trust.delegation_scope: another key may sign it for what acme owns, and this is beside it";
    assert!(said.contains(why), "{said}");
    // What nobody else lists is refused by name.
    lists.catalogue(&["lcod://acme/a/x@1.0.0", "lcod://acme/c/z@1.0.0"], "own");
    daemon.sync();
    assert_eq!(answer(&daemon, "lcod://acme/c/z"), "trust.delegation_scope");
}

#[test]
fn a14_source_that_owns_nothing_gives_nothing() {
    let lists = Lists::new(&[("acme", &[])]);
    lists.catalogue(&["lcod://acme/x@1.0.0"], "own");
    lists.list("acme", &lists.public("own").to_hex(), "root");
    let daemon = lists.shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "trust.delegation_scope");
    let steps = why(&lists.shop, &daemon, X);
    assert!(steps.iter().any(|step| step.contains("add owns to it in sources.json")), "{steps:#?}");
    // What its own signers have signed needs no right.
    lists.catalogue(&["lcod://acme/x@1.1.0"], "root");
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
    assert_eq!(answer(&daemon, X), "1.1.0 trusted all []");
}

#[test]
fn a16_right_of_another_delegator() {
    let own: &[&str] = &["lcod://acme/**"];
    let lists = Lists::new(&[("one", own), ("two", own)]);
    lists.catalogue(&["lcod://acme/x@1.0.0"], "own");
    lists.list("one", &lists.public("own").to_hex(), "root");
    lists.list("two", &lists.public("other").to_hex(), "root");
    let daemon = lists.shop.sandbox.start();
    // One catalogue, at one URL, with one signature: what counts for one list counts for no other.
    assert_eq!(catalogue_reason(&daemon, "one"), "fresh");
    assert_eq!(catalogue_reason(&daemon, "two"), "trust.key_unknown");
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all []");
    lists.catalogue(&["lcod://acme/x@2.0.0"], "other");
    assert_eq!(catalogue_reason(&daemon, "one"), "trust.key_unknown");
    assert_eq!(catalogue_reason(&daemon, "two"), "fresh");
    assert!(!answer(&daemon, X).starts_with("2.0.0"), "one owns the id, and two speaks for itself only");
    // Given to both, both have it.
    lists.list("one", &lists.public("other").to_hex(), "root");
    assert_eq!(catalogue_reason(&daemon, "one"), "fresh");
    assert_eq!(answer(&daemon, X), "2.0.0 trusted all []");
    // Taken away again, it is gone, although the same bytes were good a moment ago.
    lists.list("one", &lists.public("own").to_hex(), "root");
    assert_eq!(catalogue_reason(&daemon, "one"), "trust.key_unknown");
}

/// Publishes releases in a catalogue that root signs, which says what it has withdrawn.
fn publish_without(shop: &Shop, releases: &[&str], withdrawn: &Value) {
    let signed = "--key %root.key --id acme";
    let revision = Revision { releases, catalogue: signed, ..Revision::default() };
    shop.publish_changed("acme", &revision, |files| {
        let mut catalogue: Value = serde_json::from_slice(&files["catalogue.json"]).unwrap();
        catalogue["withdrawn"] = withdrawn.clone();
        let catalogue = serde_json::to_vec(&catalogue).unwrap();
        files.insert("catalogue.json.sig".to_owned(), shop.signed(&catalogue, signed));
        files.insert("catalogue.json".to_owned(), catalogue);
    });
}

/// Returns the warnings of the only catalogue with this reason.
fn warned(daemon: &Daemon, reason: &str) -> Vec<String> {
    let warnings = daemon.catalogue("acme")["warnings"].as_array().unwrap().clone();
    let named = warnings.iter().filter(|one| one["reason"] == reason);
    named.map(|one| one["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn c2_release_that_vanishes() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = signed_by_root(&shop, "");
    shop.policy(1, &policy);
    let all = ["lcod://acme/x@1.0.0", "lcod://acme/x@2.0.0", "lcod://acme/y@1.0.0", "lcod://acme/z@1.0.0"];
    let none = json!(null);
    publish_without(&shop, &all, &none);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "2.0.0 pinned all []", "all of them");
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default());

    // Without a word: it is used, and said for as long as it is so.
    publish_without(&shop, &[all[0], all[3]], &none);
    check(&daemon, "fresh", "1.0.0 pinned all []", "two are gone");
    let text = "its signers list no more, and do not say that they have withdrawn: lcod://acme/x@2.0.0, lcod://acme/y@1.0.0";
    assert_eq!(warned(&daemon, "trust.removed"), [text]);
    daemon.sync();
    assert_eq!(warned(&daemon, "trust.removed"), [text], "the same catalogue again");
    let log: Value = serde_json::from_str(&shop.good("audit tail -o json")).unwrap();
    let lines: Vec<&Value> =
        log["items"].as_array().unwrap().iter().filter(|line| line["event"] == "removed").collect();
    assert_eq!(lines.len(), 1, "{log:#}");
    assert_eq!((&lines[0]["reason"], &lines[0]["text"]), (&json!("trust.removed"), &json!(text)));

    // A policy may ask for a word.
    let strict = format!("[defaults]\nremovals = \"refuse\"\n{policy}");
    shop.reload(&daemon, 2, &strict);
    publish_without(&shop, &all, &none);
    check(&daemon, "fresh", "2.0.0 pinned all []", "they are back");
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default());
    publish_without(&shop, &[all[0], all[3]], &none);
    check(&daemon, "trust.removed", "2.0.0 pinned all []", "two are gone without a word");
    for (withdrawn, expected) in [
        (json!(["lcod://acme/x@2.0.0"]), "trust.removed"),
        (json!(["lcod://acme/x", "lcod://acme/z"]), "trust.removed"),
        (json!("lcod://acme/x"), "trust.removed"),
        (json!(["lcod://acme/x@2.0.0", "lcod://acme/y@9.9.9", 7]), "trust.removed"),
        (json!(["lcod://acme/x@2.0.0", "lcod://acme/y"]), "fresh"),
    ] {
        publish_without(&shop, &[all[0], all[3]], &withdrawn);
        let served = if expected == "fresh" { "1.0.0 pinned all []" } else { "2.0.0 pinned all []" };
        check(&daemon, expected, served, &withdrawn.to_string());
    }
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default());
    // Or an operator lets it go.
    publish_without(&shop, &[all[0]], &none);
    check(&daemon, "trust.removed", "1.0.0 pinned all []", "another one is gone");
    assert!(shop.good("status").contains("resolverd trust forget acme"), "{}", shop.good("status"));
    shop.good("trust forget acme --reason they-told-us");
    check(&daemon, "fresh", "1.0.0 pinned all []", "forgotten");
    assert_eq!(answer(&daemon, "lcod://acme/z"), "component_unknown");
}

/// Seconds since 1970, and the same as a statement writes it.
fn clock(ahead_s: i64) -> (i64, String) {
    let said = Said::of(Command::new("date").args(["-u", "+%s"]));
    let at_s = said.stdout.trim().parse::<i64>().unwrap() + ahead_s;
    (at_s, rfc3339(at_s))
}

#[test]
fn c4_expiry_in_the_middle_of_a_sync() {
    let (shop, server) = (Shop::new(&["acme"]), TlsServer::start());
    let config = format!("[https]\nca_file = {:?}\n", server.ca_file().display().to_string());
    std::fs::write(shop.sandbox.path("config/resolverd/config.toml"), config).unwrap();
    let source = json!({ "id": "acme", "priority": 10, "url": server.url("/slow/catalogue.json") });
    shop.sandbox.write_sources(&json!({ "sources": [source] }));
    shop.keys(&[("root", "ed25519")]);
    let policy = signed_by_root(&shop, "").replace("require = \"pin\"", "require = \"digest\"");
    shop.policy(1, &format!("[defaults]\nrequire_pin = false\n{policy}"));

    let one = lcod::Component::new(X, "1.0.0", &[]);
    let manifest = one.manifest("https://example.org/x", &"4a56".repeat(10));
    let version = json!({ "version": "1.0.0", "manifest": "m.json", "sha256": Digest::sha256(&manifest) });
    let components = json!([{ "id": X, "versions": [version] }]);
    let catalogue =
        json!({ "schema": "lcod-registry/catalogue@1", "id": "acme", "components": components }).to_string();
    let key = std::fs::read(shop.sandbox.path("desk/root.key")).unwrap();
    let signer = Signer::of(&PrivateKey::parse(&key).unwrap()).unwrap();
    // It is signed when it is asked for, so that it ends behind the start of the sync; what it lists arrives when it has ended.
    let ends_s = Arc::new(AtomicI64::new(i64::MAX));
    let answered = Arc::clone(&ends_s);
    let slow = move |request: &Logged| {
        let name = request.path().rsplit('/').next().unwrap_or_default().to_owned();
        Some(match name.as_str() {
            "catalogue.json" => Route::ok(catalogue.as_bytes()),
            "catalogue.json.sig" => {
                let (at_s, text) = clock(1);
                ends_s.store(at_s, Ordering::SeqCst);
                let statement = json!({
                    "type": "catalogue", "id": "acme", "digests": [Digest::sha256(catalogue.as_bytes())],
                    "size": catalogue.len(), "signed_at": "2026-01-01T00:00:00Z", "algorithms": ["ed25519"],
                    "expires": text,
                });
                Route::ok(envelope(&signer, &statement).as_bytes())
            }
            "m.json" => {
                let at_s = ends_s.load(Ordering::SeqCst);
                poll::until("the end of the catalogue", || (clock(0).0 > at_s).then_some(()));
                Route::ok(&manifest)
            }
            _ => Route::status(404),
        })
    };
    server.mount("/slow", GitMount::of(&shop.sandbox.path("repositories")).before(slow));
    let said = shop.good("sync -o json");
    let report: Value = serde_json::from_str(&said).unwrap();
    let source = &report["sources"][0];
    assert!(clock(0).0 > answered.load(Ordering::SeqCst), "it has ended by now");
    assert_eq!((&source["error"], &source["refused"]), (&Value::Null, &json!(0)), "{report:#}");
    assert_eq!(source["releases"], 1, "{report:#}");
    // Whoever looks next looks later.
    let said = shop.run(&format!("--offline resolve {X}"));
    assert!(said.status != 0 && said.stderr.contains("trust.frozen"), "{said:?}");
}

#[test]
fn c2_release_that_vanishes_from_what_a_signed_list_pins() {
    let shop = Shop::new(&["acme"]);
    Repository::create(&shop.repository("home"));
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let publish = |releases: &[&str]| {
        shop.publish("home", &Revision { releases, ..Revision::default() });
        let home = Repository { path: shop.repository("home") };
        let commit = place::git(&home.path, &["rev-parse", "HEAD"]).trim().to_owned();
        let list = lcod::catalogues(&[lcod::pointer("home", &home.url(), &commit, "catalogue.json")]);
        let signature = shop.signed(&list, "--key %root.key --id acme");
        let files = [("catalogue.json".to_owned(), list), ("catalogue.json.sig".to_owned(), signature)];
        Repository { path: shop.repository("acme") }.commit(&Files::from(files));
    };
    let gone = |daemon: &Daemon| -> Vec<String> {
        let warnings = daemon.catalogue("home")["warnings"].as_array().unwrap().clone();
        let named = warnings.iter().filter(|one| one["reason"] == "trust.removed");
        named.map(|one| one["text"].as_str().unwrap().rsplit(": ").next().unwrap().to_owned()).collect()
    };
    publish(&["lcod://acme/x@1.0.0", "lcod://acme/y@1.0.0"]);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "both");
    publish(&["lcod://acme/x@1.0.0"]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "one is gone");
    assert_eq!(gone(&daemon), ["lcod://acme/y@1.0.0"]);
    publish(&["lcod://acme/x@1.0.0", "lcod://acme/z@1.0.0"]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "nothing more");
    assert_eq!(gone(&daemon), <[String; 0]>::default());
    let policy = format!("[defaults]\nremovals = \"refuse\"\n{}", signed_by_root(&shop, ""));
    shop.reload(&daemon, 2, &policy);
    publish(&["lcod://acme/x@1.0.0"]);
    assert_eq!(catalogue_reason(&daemon, "acme"), "trust.removed");
    assert_eq!(answer(&daemon, "lcod://acme/z"), "1.0.0 pinned all []");
    shop.good("trust forget acme/home --reason they-told-us");
    assert_eq!(catalogue_reason(&daemon, "acme"), "fresh");
    assert_eq!(answer(&daemon, "lcod://acme/z"), "component_unknown");
}

#[test]
fn c2_catalogue_that_vanishes_from_a_signed_list() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = signed_by_root(&shop, "");
    shop.policy(1, &policy);
    for name in ["home", "tools"] {
        Repository::create(&shop.repository(name));
    }
    let list_saying = |names: &[(&str, &[&str])], withdrawn: Value| {
        let pointer = |(name, releases): &(&str, &[&str])| {
            shop.publish(name, &Revision { releases, ..Revision::default() });
            let home = Repository { path: shop.repository(name) };
            let commit = place::git(&home.path, &["rev-parse", "HEAD"]).trim().to_owned();
            lcod::pointer(name, &home.url(), &commit, "catalogue.json")
        };
        let list = lcod::catalogues(&names.iter().map(pointer).collect::<Vec<Value>>());
        let mut list: Value = serde_json::from_slice(&list).unwrap();
        list["withdrawn"] = withdrawn;
        let list = serde_json::to_vec(&list).unwrap();
        let signature = shop.signed(&list, "--key %root.key --id acme");
        let files = [("catalogue.json".to_owned(), list), ("catalogue.json.sig".to_owned(), signature)];
        Repository { path: shop.repository("acme") }.commit(&Files::from(files));
    };
    let list = |names: &[(&str, &[&str])]| list_saying(names, Value::Null);
    let (x, y, z) = ("lcod://acme/x@1.0.0", "lcod://acme/y@1.0.0", "lcod://acme/z@1.0.0");
    let both: &[(&str, &[&str])] = &[("home", &[x]), ("tools", &[y, z])];
    list(both);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "both");
    list(&[("home", &[x])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "one catalogue is gone");
    let text = "its signers list no more, and do not say that they have withdrawn: lcod://acme/y@1.0.0, lcod://acme/z@1.0.0, with the whole of catalogue tools";
    assert_eq!(warned(&daemon, "trust.removed"), [text]);
    daemon.sync();
    assert_eq!(warned(&daemon, "trust.removed"), [text], "the same list again");
    let log: Value = serde_json::from_str(&shop.good("audit tail -o json")).unwrap();
    let lines = log["items"].as_array().unwrap().iter().filter(|line| line["event"] == "removed");
    assert_eq!(lines.count(), 1, "{log:#}");
    let w = "lcod://acme/w@1.0.0";
    list(&[("home", &[x, w])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "a revision about something else");
    assert_eq!(warned(&daemon, "trust.removed"), [text], "it is still not there");
    shop.good("reload");
    daemon.sync();
    assert_eq!(warned(&daemon, "trust.removed"), [text], "read anew");
    list_saying(&[("home", &[x])], json!(["lcod://acme/z", "lcod://acme/w"]));
    daemon.sync();
    assert_eq!(
        warned(&daemon, "trust.removed"),
        [text.replace(", lcod://acme/z@1.0.0", "")],
        "a part is withdrawn"
    );
    shop.good("trust forget acme/tools --reason they-told-us");
    daemon.sync();
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default(), "it was forgotten");
    list(both);
    list(&[("home", &[x])]);
    daemon.sync();
    list_saying(&[("home", &[x])], json!(["tools"]));
    daemon.sync();
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default(), "it is withdrawn");

    shop.reload(&daemon, 2, &format!("[defaults]\nremovals = \"refuse\"\n{policy}"));
    list(both);
    check(&daemon, "fresh", "1.0.0 pinned all []", "it is back");
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default());
    // What another catalogue of the list has taken over is not gone.
    list(&[("home", &[x, y, z])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "moved to the other one");
    list(&[("home", &[x, y, z]), ("tools", &["lcod://acme/t@1.0.0"])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "with something of its own");
    list(&[("home", &[x, y, z])]);
    check(&daemon, "trust.removed", "1.0.0 pinned all []", "gone without a word");
    assert_eq!(answer(&daemon, "lcod://acme/t"), "1.0.0 pinned all []", "what it said last stays");
    let error = daemon.catalogue("acme")["error"].to_string();
    assert!(error.contains("trust forget acme/tools --reason TEXT"), "{error}");
    assert!(error.contains("\\\"withdrawn\\\": [\\\"tools\\\"]"), "{error}");
    list_saying(&[("home", &[x, y, z])], json!(["home"]));
    check(&daemon, "trust.removed", "1.0.0 pinned all []", "a word about another one");
    shop.good("trust forget acme/tools --reason they-told-us");
    check(&daemon, "fresh", "1.0.0 pinned all []", "forgotten");
    assert_eq!(answer(&daemon, "lcod://acme/t"), "component_unknown");
    list(&[("home", &[x, y, z]), ("tools", &["lcod://acme/u@1.0.0"])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "both again");
    list(&[("home", &[x, y, z])]);
    check(&daemon, "trust.removed", "1.0.0 pinned all []", "gone without a word again");
    shop.good("trust forget acme --reason they-told-us");
    check(&daemon, "fresh", "1.0.0 pinned all []", "the whole source was forgotten");
    list(&[("home", &[x, y, z]), ("tools", &["lcod://acme/u@2.0.0"])]);
    check(&daemon, "fresh", "1.0.0 pinned all []", "both once more");
    list_saying(&[("home", &[x, y, z])], json!(["tools"]));
    check(&daemon, "fresh", "1.0.0 pinned all []", "withdrawn in the list");
    assert_eq!(warned(&daemon, "trust.removed"), <[String; 0]>::default());
}
