//! Keys, thresholds and algorithms, row by row of the list of threats, as the API tells them: a real daemon, real keys, and what it
//! says of a policy or of a catalogue that is signed with them. Published vectors go through whole signed catalogues.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::{Algorithm, Digest, unhex};
use catalogue_schema::id::SourceId;
use catalogue_schema::key::{KeyAlgorithm, PrivateKey, PublicKey};
use catalogue_schema::policy::Policy;
use catalogue_schema::revision::rfc3339;
use catalogue_schema::signature::{Envelope, Signature, Usage};
use resolverd::trust::evidence::{Content, Proofs};
use resolverd::trust::policy::{InForce, Policies};
use resolverd::trust::signature::{KeyRing, Signer, is_weak};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::repository::Files;
use crate::harness::{chance, place, poll};
use crate::trust::{Revision, Shop, X, answer, check, rules, signed_by_root, source_reason};
use crate::vectors::{bytes, groups};

const RELEASE: &[&str] = &["lcod://acme/x@1.0.0"];

/// A shop that serves one release under a policy that asks for little, with its daemon.
fn open() -> (Shop, Daemon) {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: RELEASE, ..Revision::default() });
    shop.policy(1, &rules("", "require = \"pin\"\n"));
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    (shop, daemon)
}

/// Puts a policy in place and waits until it is refused for what is said to be wrong about `subject`; what is in force stays.
#[track_caller]
fn refused(shop: &Shop, daemon: &Daemon, text: &str, subject: &str, reason: &str) {
    shop.policy(2, text);
    let problem = poll::until(subject, || {
        let problem = daemon.get("/v1/policy").ok()["problem"].clone();
        problem.to_string().contains(subject).then_some(problem)
    });
    assert_eq!(problem["reason"], reason, "{problem:#}");
    assert_eq!(answer(daemon, X), "1.0.0 pinned all []", "{reason}");
}

/// Writes a file of the desk that a policy may name.
fn desk(shop: &Shop, name: &str, bytes: &[u8]) {
    let path = shop.sandbox.path(&format!("desk/{name}"));
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

/// Returns a policy that names one key by a file of the desk.
fn naming(shop: &Shop, file: &str, algorithm: &str, fingerprint: &str) -> String {
    let path = shop.sandbox.path(&format!("desk/{file}")).display().to_string();
    format!(
        "[[keys]]\nid = \"k\"\nalgorithm = \"{algorithm}\"\nfile = \"{path}\"\nfingerprint = \"{fingerprint}\"\nusage = [\"catalogue\"]\n{}",
        rules("", "require = \"pin\"\n")
    )
}

/// Signs a file of the desk with a key of the desk; `change` edits the statement, and `usage` is what is signed as.
fn enveloped(shop: &Shop, bytes: &[u8], usage: Usage, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
    let made = shop.signed(bytes, "--key %root.key --id acme");
    let mut statement = Envelope::parse(&made).unwrap().statement().unwrap();
    change(&mut statement);
    let payload = statement.to_bytes();
    let signer = signer(shop, "root");
    let signature = Signature {
        key: signer.public().fingerprint(),
        algorithm: signer.public().algorithm().name().to_owned(),
        bytes: signer.sign(&usage.encoded(&payload), &[7; 32]).unwrap(),
    };
    Envelope::new(payload, vec![signature]).to_json().into_bytes()
}

type Statement = catalogue_schema::signature::Statement;

fn signer(shop: &Shop, name: &str) -> Signer {
    let text = fs::read(shop.sandbox.path(&format!("desk/{name}.key"))).unwrap();
    Signer::of(&PrivateKey::parse(&text).unwrap()).unwrap()
}

/// Publishes a newer catalogue whose signature `sign` makes out of its bytes.
fn published(shop: &Shop, sign: impl FnOnce(&[u8]) -> Vec<u8>) {
    let releases = &["lcod://acme/x@2.0.0"];
    shop.publish_changed("acme", &Revision { releases, ..Revision::default() }, |files: &mut Files| {
        let signature = sign(&files["catalogue.json"]);
        files.insert("catalogue.json.sig".to_owned(), signature);
    });
}

#[test]
fn b2_thresholds_that_cannot_be_met_and_one_that_is_not() {
    let (shop, daemon) = open();
    shop.keys(&[("one", "ed25519"), ("two", "ml-dsa-87")]);
    let keys = shop.key("one", "ed25519", "") + &shop.key("two", "ml-dsa-87", "");
    let set = |name: &str, keys: &str, threshold: &str, more: &str| {
        format!(
            "[[signers]]\nname = \"{name}\"\nkeys = [{keys}]\nthreshold = {threshold}\n{more}\n{}",
            rules("", "require = \"pin\"\n")
        )
    };
    let both = "\"one\", \"two\"";
    for (at, (names, threshold, more, reason)) in [
        (both, "0", "", "policy.threshold"),
        (both, "3", "", "policy.threshold"),
        (both, "9223372036854775807", "", "policy.threshold"),
        ("", "1", "", "policy.threshold"),
        (both, "1", "algorithms = { all = [\"ed25519\", \"ml-dsa-87\"] }", "policy.threshold"),
        (both, "-1", "", "policy.syntax"),
        (both, "1.0", "", "policy.syntax"),
        (both, "\"2\"", "", "policy.syntax"),
    ]
    .into_iter()
    .enumerate()
    {
        // A name for each, so that the refusal of this one is told from that of the one before.
        let padding = "\n".repeat(at * 3);
        shop.policy(2, &format!("{padding}{keys}{}", set("both", names, threshold, more)));
        let line = |problem: &Value| problem.to_string();
        let before = line(&daemon.get("/v1/policy").ok()["problem"]);
        let problem = poll::until("another refusal", || {
            let problem = daemon.get("/v1/policy").ok()["problem"].clone();
            (!problem.is_null() && (at == 0 || line(&problem) != before)).then_some(problem)
        });
        assert_eq!(problem["reason"], reason, "{names} {threshold} {more}: {problem:#}");
        assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    }
    // One that can be met, and is not: by nobody, by one of two, by one twice.
    let asked = rules("signed_by = \"both\"\n", "require = \"pin\"\n");
    let policy =
        format!("{keys}{}", set("both", both, "2", "")).replace(&rules("", "require = \"pin\"\n"), &asked);
    shop.reload(&daemon, 3, &policy);
    assert_eq!(answer(&daemon, X), "trust.unsigned");
    for (words, expected) in [
        ("--key %one.key --id acme", "trust.threshold"),
        ("--key %two.key --id acme", "trust.threshold"),
        ("--key %one.key --key %two.key --id acme", "fresh"),
    ] {
        shop.publish("acme", &Revision { releases: RELEASE, catalogue: words, ..Revision::default() });
        daemon.sync();
        assert_eq!(source_reason(&daemon), expected, "{words}");
    }
}

#[test]
fn b7_statements_from_outside_the_window_of_their_key() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.publish(
        "acme",
        &Revision { releases: RELEASE, catalogue: "--key %root.key --id acme", ..Revision::default() },
    );
    let made = fs::read(shop.repository("acme").join("catalogue.json.sig")).unwrap();
    let now_s = Envelope::parse(&made).unwrap().statement().unwrap().signed_at_s;
    let (from_s, to_s) = (now_s - 100_000, now_s + 100_000);
    let window = format!("not_before = {}\nnot_after = {}", rfc3339(from_s), rfc3339(to_s));
    shop.policy(1, &signed_by_root(&shop, &window));
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed inside it");
    for (signed_at_s, expected) in [
        (from_s - 1, "trust.key_not_yet_valid"),
        (i64::MIN / 4_000_000_000, "trust.key_not_yet_valid"),
        (to_s, "trust.key_expired"),
        (to_s + 1, "trust.key_expired"),
        // The skew is five minutes unless the policy says otherwise.
        (now_s + 3_600, "trust.from_future"),
        (to_s - 1, "trust.from_future"),
    ] {
        published(&shop, |catalogue| {
            enveloped(&shop, catalogue, Usage::Catalogue, |statement| statement.signed_at_s = signed_at_s)
        });
        check(&daemon, expected, "1.0.0 pinned all []", &rfc3339(signed_at_s));
    }
    published(&shop, |catalogue| {
        enveloped(&shop, catalogue, Usage::Catalogue, |statement| statement.signed_at_s = from_s)
    });
    check(&daemon, "fresh", "2.0.0 pinned all []", "its first second belongs to it");
}

#[test]
fn b11_digests_that_somebody_else_would_like() {
    let (shop, daemon) = open();
    let digest = |more: &str| rules("", &format!("require = \"digest\"\n{more}"));
    shop.reload(&daemon, 2, &digest("digests = [\"sha256\"]\n"));
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all []");
    for (version, names) in [(3, "\"sha512\""), (4, "\"sha512\", \"sha3-256\"")] {
        shop.reload(&daemon, version, &digest(&format!("digests = [{names}]\n")));
        assert_eq!(answer(&daemon, X), "trust.digest_weak", "{names}");
    }
    // What a catalogue calls a digest that is none of those is no digest, and its release is none that may be used.
    shop.reload(&daemon, 5, &digest(""));
    for weak in
        ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "crc32:00000000"]
    {
        let releases = &["lcod://acme/x@3.0.0"];
        shop.publish_changed("acme", &Revision { releases, ..Revision::default() }, |files| {
            let mut catalogue: Value = serde_json::from_slice(&files["catalogue.json"]).unwrap();
            catalogue["components"][0]["versions"][0]["sha256"] = json!(weak);
            files.insert("catalogue.json".to_owned(), catalogue.to_string().into_bytes());
        });
        daemon.sync();
        let row = daemon.catalogue("acme");
        assert_eq!(row["skippedEntries"][0]["error"]["reason"], "input.digest", "{row:#}");
        assert_eq!(answer(&daemon, X), "component_unknown", "{weak}");
    }
}

#[test]
fn b14_b17_keys_for_which_anybody_could_sign() {
    let (shop, daemon) = open();
    let mut weak: Vec<(KeyAlgorithm, Vec<u8>)> = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .iter()
    .map(|point| (KeyAlgorithm::Ed25519, unhex(point).unwrap()))
    .collect();
    weak.push((KeyAlgorithm::MlDsa87, [vec![7; 32], vec![0; 2560]].concat()));
    if let Some(groups) = groups("mldsa_87_verify_test") {
        let is_zero = |group: &&Value| group["tests"].to_string().contains("ZeroPublicKey");
        let zero = groups.iter().filter(is_zero).map(|group| bytes(&group["publicKey"]));
        weak.extend(zero.map(|key| (KeyAlgorithm::MlDsa87, key)));
        assert!(weak.len() > 15);
    }
    for (at, (algorithm, point)) in weak.iter().enumerate() {
        let key = PublicKey::from_bytes(*algorithm, point).unwrap();
        let file = format!("weak-{at}.pem");
        desk(&shop, &file, key.to_pem().as_bytes());
        let text = naming(&shop, &file, algorithm.name(), &key.fingerprint().to_string());
        refused(&shop, &daemon, &text, &file, "policy.key_weak");
    }
}

#[test]
fn b18_signatures_of_another_mode() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ml-dsa-87")]);
    let policy = signed_by_root(&shop, "").replace("ed25519", "ml-dsa-87");
    let key = shop.key("root", "ml-dsa-87", "");
    let policy = format!("{key}{}", &policy[policy.find("[[signers]]").unwrap()..]);
    shop.policy(1, &policy);
    shop.publish(
        "acme",
        &Revision { releases: RELEASE, catalogue: "--raw --key %root.key", ..Revision::default() },
    );
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "over the bytes themselves");
    let own = signer(&shop, "root");
    let over = |message: &[u8]| own.sign(message, &[1; 32]).unwrap();
    let digest = |algorithm: Algorithm, bytes: &[u8]| Digest::of(algorithm, bytes);
    type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
    let cases: [(&str, Sign<'_>); 5] = [
        ("the digest", Box::new(|bytes| over(digest(Algorithm::Sha256, bytes).as_bytes()))),
        ("the longer digest", Box::new(|bytes| over(digest(Algorithm::Sha512, bytes).as_bytes()))),
        (
            "the digits of the digest",
            Box::new(|bytes| over(digest(Algorithm::Sha256, bytes).hex().as_bytes())),
        ),
        ("the bytes as a statement", Box::new(|bytes| over(&Usage::Catalogue.encoded(bytes)))),
        ("a prefix for a context", Box::new(|bytes| over(&[b"\0\0".as_slice(), bytes].concat()))),
    ];
    for (what, sign) in cases {
        published(&shop, |catalogue| sign(catalogue));
        check(&daemon, "trust.signature_invalid", "1.0.0 pinned all []", what);
    }
    // A statement about a catalogue, signed as one about a package.
    published(&shop, |catalogue| enveloped(&shop, catalogue, Usage::Package, |_| ()));
    check(&daemon, "trust.signature_invalid", "1.0.0 pinned all []", "another kind of statement");
    published(&shop, |catalogue| enveloped(&shop, catalogue, Usage::Catalogue, |_| ()));
    check(&daemon, "fresh", "2.0.0 pinned all []", "the one mode there is");
}

#[test]
fn b19_files_that_are_not_one_public_key() {
    let (shop, daemon) = open();
    shop.keys(&[("root", "ed25519"), ("pq", "ml-dsa-87")]);
    let read = |name: &str| fs::read_to_string(shop.sandbox.path(&format!("desk/{name}"))).unwrap();
    let (pem, private) = (read("root.pem"), read("root.key"));
    let fingerprint = PublicKey::parse(pem.as_bytes()).unwrap().fingerprint().to_string();
    let files = [
        ("empty", String::new(), "policy.key"),
        ("twice", format!("{pem}{pem}"), "policy.key"),
        ("trailing", format!("{pem}trailing\n"), "policy.key"),
        ("leading", format!("leading\n{pem}"), "policy.key"),
        ("label", pem.replace("PUBLIC KEY", "CERTIFICATE"), "policy.key"),
        ("cut", pem[..60].to_owned(), "policy.key"),
        ("odd", "a".repeat(63), "policy.key"),
        ("private", private, "policy.private_key"),
        ("large", "a".repeat(17 << 10), "policy.too_large"),
        ("other", read("pq.pem"), "policy.algorithm"),
    ];
    for (name, text, reason) in files {
        let file = format!("file-{name}.pem");
        desk(&shop, &file, text.as_bytes());
        // What is wrong with a policy is told by its line, and what is wrong with a file by its name.
        let subject = if name == "other" { reason } else { &file };
        refused(&shop, &daemon, &naming(&shop, &file, "ed25519", &fingerprint), subject, reason);
    }
    let secret = read("root.key").lines().nth(1).unwrap().to_owned();
    let told = daemon.get("/v1/policy").ok().to_string() + &daemon.log();
    assert!(!told.contains(&secret), "a private key is told to nobody");
}

#[test]
fn b20_keys_and_policies_that_somebody_else_could_write() {
    let (shop, daemon) = open();
    shop.keys(&[("root", "ed25519")]);
    let key = PublicKey::parse(&fs::read(shop.sandbox.path("desk/root.pem")).unwrap()).unwrap();
    let text = |file: &str| naming(&shop, file, "ed25519", &key.fingerprint().to_string());
    let place = |name: &str| shop.sandbox.path(&format!("desk/{name}"));
    let mode =
        |name: &str, bits: u32| fs::set_permissions(place(name), Permissions::from_mode(bits)).unwrap();
    let copy = |name: &str| {
        fs::create_dir_all(place(name).parent().unwrap()).unwrap();
        desk(&shop, name, key.to_pem().as_bytes());
    };
    copy("group.pem");
    mode("group.pem", 0o664);
    copy("world.pem");
    mode("world.pem", 0o646);
    symlink(place("root.pem"), place("link.pem")).unwrap();
    copy("shared/root.pem");
    mode("shared", 0o777);
    copy("real/root.pem");
    mode("real", 0o755);
    symlink(place("real"), place("linked")).unwrap();
    let mut files = vec!["group.pem", "world.pem", "link.pem", "shared/root.pem", "linked/root.pem"];
    if rustix::process::geteuid().is_root() {
        copy("foreign.pem");
        std::os::unix::fs::chown(place("foreign.pem"), Some(12345), None).unwrap();
        files.push("foreign.pem");
    } else {
        place::skipped("only root can give a key away");
    }
    for file in files {
        refused(&shop, &daemon, &text(file), file.split('/').next().unwrap(), "policy.permissions");
    }
    // A policy that is a link, wherever it leads.
    shop.policy(3, &text("root.pem"));
    let (own, moved) = (shop.policy_file(), shop.sandbox.path("config/resolverd/moved"));
    fs::rename(&own, &moved).unwrap();
    symlink(&moved, &own).unwrap();
    poll::until("the refusal of a link", || {
        let problem = daemon.get("/v1/policy").ok()["problem"].clone();
        (problem["reason"] == "policy.permissions" && problem.to_string().contains("trust.toml"))
            .then_some(())
    });
    fs::remove_file(&own).unwrap();
    shop.reload(&daemon, 4, &text("root.pem"));
    assert!(daemon.get("/v1/policy").ok()["problem"].is_null());
}

#[test]
fn b21_keys_that_are_not_what_their_label_says() {
    let (shop, daemon) = open();
    shop.keys(&[("root", "ed25519"), ("other", "ed25519")]);
    let (root, other) = (shop.key("root", "ed25519", ""), shop.key("other", "ed25519", ""));
    let rules = rules("", "require = \"pin\"\n");
    let twice = format!("{root}{}{rules}", other.replace("id = \"other\"", "id = \"root\""));
    refused(&shop, &daemon, &twice, "root", "policy.duplicate");
    shop.reload(&daemon, 3, &format!("{root}{rules}"));
    // The file is exchanged under the same label, and the label is not what counts.
    let pem = fs::read(shop.sandbox.path("desk/other.pem")).unwrap();
    desk(&shop, "root.pem", &pem);
    shop.policy(4, &format!("{root}{rules}"));
    poll::until("the refusal", || {
        (daemon.get("/v1/policy").ok()["problem"]["reason"] == "policy.fingerprint").then_some(())
    });
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    let status = shop.good("status");
    assert!(status.contains("policy.fingerprint"), "{status}");
}

/// A vector to go through a whole catalogue: the key, the message as the catalogue's bytes, the signature beside it, and whether
/// it holds.
struct Vector {
    key: PublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
    holds: bool,
    /// Its number, and what kind of flaw it has.
    about: String,
    kind: String,
}

/// Makes a source of each vector, all of them read by one daemon, and compares what becomes of each: what holds is read, and is no
/// catalogue; what does not hold is not even read. Returns how often each reason was given.
fn through_catalogues(vectors: &[&Vector]) -> BTreeMap<String, usize> {
    let sandbox = Sandbox::new();
    let home = sandbox.path("config/resolverd");
    for directory in ["config", "config/resolverd", "vectors"] {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
        fs::set_permissions(sandbox.path(directory), Permissions::from_mode(0o755)).unwrap();
    }
    let put = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    };
    let mut policy = "schema = \"resolverd/trust@1\"\nversion = 1\n".to_owned();
    let mut keys: Vec<&PublicKey> = Vec::new();
    for vector in vectors {
        if !keys.contains(&&vector.key) {
            let at = keys.len();
            put(&home.join(format!("{at}.pem")), vector.key.to_pem().as_bytes());
            policy += &format!(
                "[[keys]]\nid = \"k{at}\"\nalgorithm = \"{}\"\nfile = \"{at}.pem\"\nfingerprint = \"{}\"\nusage = [\"catalogue\"]\n\
                 [[signers]]\nname = \"s{at}\"\nkeys = [\"k{at}\"]\nthreshold = 1\n",
                vector.key.algorithm(),
                vector.key.fingerprint()
            );
            keys.push(&vector.key);
        }
    }
    // One that nobody has to sign, since a daemon that has read nothing has nothing to serve.
    let good = sandbox.path("vectors/good.json");
    put(&good, br#"{"schema":"lcod-registry/catalogue@1","components":[]}"#);
    let mut sources = vec![json!({ "id": "good", "path": good })];
    for (at, vector) in vectors.iter().enumerate() {
        let path = sandbox.path(&format!("vectors/{at}.json"));
        put(&path, &vector.message);
        put(&sandbox.path(&format!("vectors/{at}.json.sig")), &vector.signature);
        let set = keys.iter().position(|key| **key == vector.key).unwrap();
        policy += &format!("[[sources]]\nid = \"v{at}\"\nsigned_by = \"s{set}\"\n");
        sources.push(json!({ "id": format!("v{at}"), "path": path }));
    }
    policy += "[[namespaces]]\nmatch = \"**\"\nsources = [\"good\"]\nrequire = \"pin\"\n";
    put(&home.join("trust.toml"), policy.as_bytes());
    sandbox.write_sources(&json!({ "sources": sources }));
    let mut daemon = sandbox.start_synced();
    let page = daemon.get("/v1/sources").ok();
    let rows = page["items"].as_array().unwrap();
    assert_eq!(rows.len(), vectors.len() + 1);
    let mut told = BTreeMap::new();
    for (at, vector) in vectors.iter().enumerate() {
        let row = rows.iter().find(|row| row["id"] == format!("v{at}")).unwrap();
        let reason = row["error"]["reason"].as_str().unwrap_or("fresh");
        *told.entry(reason.to_owned()).or_default() += 1;
        let is_read =
            ["input.schema", "input.json", "input.encoding", "input.duplicate_key"].contains(&reason);
        let is_refused = ["trust.signature_invalid", "trust.unsigned", "input.signature"].contains(&reason);
        assert!(if vector.holds { is_read } else { is_refused }, "{}: {row:#}", vector.about);
    }
    assert!(!daemon.has_ended() && !daemon.log().contains("panicked"), "{}", daemon.log());
    told
}

/// Does it with a few keys at a time: a signature that names no key is tried with each of them.
fn in_batches(mut vectors: Vec<Vector>) -> BTreeMap<String, usize> {
    const KEYS_AT_ONCE: usize = 6;
    vectors.sort_by_key(|vector| vector.key.fingerprint());
    let mut told = BTreeMap::new();
    let mut keys: Vec<&[Vector]> = vectors.chunk_by(|one, other| one.key == other.key).collect();
    // Those with many vectors come together, and so do those with one each.
    keys.sort_by_key(|of_one| of_one.len());
    for batch in keys.chunks(KEYS_AT_ONCE) {
        let batch: Vec<&Vector> = batch.iter().copied().flatten().collect();
        for (reason, count) in through_catalogues(&batch) {
            *told.entry(reason).or_default() += count;
        }
    }
    told
}

/// Returns the vectors of a file whose keys can be read; `key` is the way to the key of a group.
fn vectors(name: &str, key: impl Fn(&Value) -> Option<PublicKey>) -> Option<Vec<Vector>> {
    let mut found = Vec::new();
    for group in groups(name)? {
        let Some(key) = key(&group) else { continue };
        for test in group["tests"].as_array().unwrap() {
            // Nobody gives a context where catalogues are verified.
            let is_plain = bytes(&test["ctx"]).is_empty();
            found.push(Vector {
                key: key.clone(),
                message: bytes(&test["msg"]),
                signature: bytes(&test["sig"]),
                holds: test["result"] == "valid" && is_plain,
                about: format!("{name} {}", test["tcId"]),
                kind: format!("{} {}", test["result"], test["flags"]),
            });
        }
    }
    Some(found)
}

/// Looks at every vector as a sync does, where the policy in force names its key alone.
fn looked_at(vectors: &[Vector]) {
    let (proofs, source) = (Proofs::default(), SourceId::parse("acme").unwrap());
    for vector in vectors {
        let ring = KeyRing::from_iter([vector.key.clone()]);
        let policy = Policy::parse(b"schema = \"resolverd/trust@1\"\nversion = 1\n").unwrap();
        let digest = Digest::sha256(vector.key.as_bytes());
        let policies = Policies::of(vec![InForce::new(PathBuf::new(), digest, policy, ring)]);
        let content = || Some(Cow::Borrowed(vector.message.as_slice()));
        let signed = (&Digest::sha256(&vector.message), &content as Content<'_>);
        let looked = proofs.look((&policies, &source), Usage::Catalogue, signed, &vector.signature);
        assert_eq!(looked.has_one_that_holds(), vector.holds, "{}", vector.about);
    }
}

/// Keeps one vector of each kind, unless all of them are asked for, and those only whose keys a policy takes.
fn sampled(mut vectors: Vec<Vector>) -> Vec<Vector> {
    vectors.retain(|vector| !is_weak(&vector.key));
    let mut kinds = BTreeSet::new();
    let takes_all = chance::count("RESOLVERD_VECTORS", 0, 1) > 0;
    vectors.retain(|vector| kinds.insert(vector.kind.clone()) || takes_all);
    assert!(kinds.len() > 8, "{kinds:?}");
    vectors
}

#[test]
fn b15_every_vector_of_ed25519_through_a_signed_catalogue() {
    let raw = |group: &Value| PublicKey::from_hex(group["publicKey"]["pk"].as_str()?).ok();
    let Some(vectors) = vectors("ed25519_test", raw) else { return };
    assert_eq!(vectors.len(), 151);
    looked_at(&vectors);
    let told = in_batches(sampled(vectors));
    assert!(told["trust.signature_invalid"] > 3, "{told:?}");
}

#[test]
fn b16_every_vector_of_ml_dsa_87_through_a_signed_catalogue() {
    let raw = |group: &Value| PublicKey::from_bytes(KeyAlgorithm::MlDsa87, &bytes(&group["publicKey"])).ok();
    let Some(vectors) = vectors("mldsa_87_verify_test", raw) else { return };
    assert_eq!(vectors.len(), 241 - 4, "all but those of keys of another length");
    looked_at(&vectors);
    let told = in_batches(sampled(vectors));
    assert!(told["trust.signature_invalid"] > 3, "{told:?}");
}
