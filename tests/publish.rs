//! The life of a registry, from the publisher's and the keeper's side: the real binary, real Git repositories, real ML-DSA-87 keys.
//! Whatever is tampered with gets the same code from `registry check` and from the daemon.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::process::Command;

use catalogue_schema::digest::{Algorithm, Digest, hex};
use catalogue_schema::key::PrivateKey;
use catalogue_schema::revision::rfc3339;
use resolverd::fetch::limit::Limits;
use resolverd::materialize::archive::Bounds;
use serde_json::{Value, json};

use crate::harness::chance::count;
use crate::harness::daemon::Said;
use crate::harness::desk::{DIRECTORY, Desk, ORDERS, ROUTER, change, chosen, files, reads, replaced, told};
use crate::harness::place;
use crate::harness::repository::{self, Files, Repository};
use crate::harness::tls::{Route, TlsServer};

const BOTH: &str = "estream:order-schemas@1.0.0 estream:@acme/order-router@0.1.0";

/// A desk at which both components are published and merged.
fn shop() -> Desk {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.published("orders");
    desk.merge("publish/order-schemas-1.0.0");
    desk.component("router", ROUTER, "0.1.0");
    desk.published("router");
    desk.merge("publish/@acme/order-router-0.1.0");
    desk
}

#[test]
fn components_are_published_merged_read_withdrawn_and_brought_back() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.component("router", ROUTER, "0.1.0");

    // What it needs is not there yet, and everything is told at once.
    let said = desk.publish("router", &["-y"]);
    assert!(said.status == 2 && said.stdout.contains("E008"), "{said:?}");
    assert!(said.stderr.contains("nothing was published"), "{said:?}");
    // Nobody is asked where nobody sits.
    let said = desk.publish("orders", &[]);
    assert!(said.status == 2 && said.stderr.contains("-y"), "{said:?}");
    let refs = || desk.git("registry.git", &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs().trim(), "refs/heads/main");
    let dry =
        desk.json(&["publish", "orders", "--registry", "./registry.git", "--key", "acme.key", "--dry-run"]);
    assert_eq!((&dry["published"], &dry["keyId"]), (&json!(false), &json!("acme-signing-key-01")), "{dry:#}");
    assert_eq!(refs().trim(), "refs/heads/main", "a dry run changes nothing");

    let said = desk.publish("orders", &["-y"]);
    assert_eq!(said.status, 0, "{said:?}");
    for line in [
        "✓ manifest  order-schemas 1.0.0",
        "Key: acme-signing-key-01",
        "Signature: 4627 bytes",
        "git pull --no-rebase --no-ff",
    ] {
        assert!(said.stdout.contains(line), "{line}: {}", said.stdout);
    }
    let branch = "publish/order-schemas-1.0.0";
    let changed = desk.git("registry.git", &["diff", "--name-status", "main", branch]);
    let directory = "index/esf-schema/order-schemas";
    let expected = format!(
        "A\tarchives/order-schemas/1.0.0/package.tar.gz\nA\t{directory}/1.0.0/SIGNATURE.ml-dsa\nA\t{directory}/1.0.0/checksum.sha3\nA\t{directory}/1.0.0/estream-component.toml\nA\t{directory}/metadata.json\n"
    );
    assert_eq!(changed, expected);
    // It is submitted once.
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 6 && said.stderr.contains("registry.branch_exists"), "{said:?}");
    desk.merge(branch);
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 4 && said.stdout.contains("E010"), "{said:?}");
    desk.published("router");
    desk.merge("publish/@acme/order-router-0.1.0");
    let automatic =
        desk.json(&["registry", "check", "registry", "--base", "HEAD^1", "--comment", "comment.md"]);
    assert_eq!((&automatic["automatic"], &automatic["good"]), (&json!(true), &json!(true)), "{automatic:#}");
    let comment = std::fs::read_to_string(desk.sandbox.path("comment.md")).unwrap();
    assert!(comment.contains("everything is right") && comment.contains("order-router"), "{comment}");

    let daemon = reads(&desk, &desk.sandbox.path("registry.git"));
    assert_eq!(chosen(&daemon, &["@acme/order-router"]), BOTH);
    let release = daemon.get("/v1/components/estream/order-schemas/1.0.0").ok();
    assert_eq!(release["extra"]["verification"]["result"], "Valid", "{release:#}");
    let put =
        daemon.post("/v1/materialize", &json!({ "releases": ["estream:@acme/order-router@0.1.0"] })).json();
    assert!(put.to_string().contains("order-router.circuit.yaml"), "{put:#}");

    // A newer one is withdrawn, and brought back.
    desk.component("orders", ORDERS, "1.1.0");
    desk.published("orders");
    desk.merge("publish/order-schemas-1.1.0");
    daemon.sync();
    assert_eq!(chosen(&daemon, &["order-schemas"]), "estream:order-schemas@1.1.0");
    let yank =
        ["yank", "order-schemas@1.1.0", "--registry", "./registry.git", "--reason", "loses orders", "-y"];
    let said = desk.done(&yank);
    assert!(said.contains("Yank order-schemas v1.1.0"), "{said}");
    let branch = "yank/order-schemas-1.1.0";
    let diff = desk.git("registry.git", &["diff", "--unified=0", "main", branch]);
    let lines: Vec<&str> = diff
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---"))
        .collect();
    assert!(lines.len() <= 7 && diff.contains("+      \"yanked\": true,"), "{diff}");
    desk.merge(branch);
    let told = desk.json(&["registry", "check", "registry", "--base", "HEAD^1"]);
    assert_eq!(
        (&told["automatic"], &told["changes"]),
        (&json!(false), &json!(["order-schemas@1.1.0 is withdrawn"]))
    );
    daemon.sync();
    assert_eq!(chosen(&daemon, &["order-schemas"]), "estream:order-schemas@1.0.0");
    let said = desk.run(&["yank", "order-schemas@1.1.0", "--registry", "./registry.git", "-y"]);
    assert!(said.status == 2 && said.stderr.contains("estream.yanked"), "{said:?}");
    for (reference, code) in
        [("order-schemas@9.9.9", "E002"), ("nothing@1.0.0", "E001"), ("order-schemas", "R001")]
    {
        let said = desk.run(&["yank", reference, "--registry", "./registry.git", "-y"]);
        assert!(said.status != 0 && said.stderr.contains(code), "{reference}: {said:?}");
    }
    desk.done(&["unyank", "order-schemas@1.1.0", "--registry", "./registry.git", "-y"]);
    desk.merge("unyank/order-schemas-1.1.0");
    daemon.sync();
    assert_eq!(chosen(&daemon, &["order-schemas"]), "estream:order-schemas@1.1.0");
}

#[test]
fn what_scaffold_makes_can_be_published_as_it_is() {
    let desk = Desk::new(&["--archives", "archives"]);
    let categories = [
        "esf-schema",
        "wire-adapter",
        "smart-circuit",
        "fpga-circuit",
        "integration",
        "console-widget",
        "own-thing",
    ];
    for category in categories {
        let name = format!("@acme/{category}");
        desk.done(&["scaffold", category, &name, "--output-dir", category]);
        desk.published(category);
        desk.merge(&format!("publish/{name}-0.1.0"));
    }
    assert!(desk.findings("registry", &[]).is_empty());
    let daemon = reads(&desk, &desk.sandbox.path("registry.git"));
    assert_eq!(daemon.ids().len(), categories.len());
}

#[test]
fn keys_are_replaced_and_revoked() {
    let desk = shop();
    let daemon = reads(&desk, &desk.sandbox.path("registry.git"));
    let commit = |what: &str| {
        desk.git("registry", &["add", "--all"]);
        desk.git("registry", &["commit", "--quiet", "-m", what]);
        desk.git("registry", &["push", "--quiet", "origin", "main"]);
        daemon.sync();
    };
    let first = "acme-signing-key-01";
    desk.done(&["registry", "publisher", "rotate", "acme", first, "--key", "other.pem", "--dir", "registry"]);
    let warned = desk.json(&["registry", "check", "registry"]);
    assert!(warned["warnings"].to_string().contains("publishers/acme.json"), "{warned:#}");
    commit("rotate");
    assert!(desk.findings("registry", &[]).is_empty());
    let told = desk.json(&["registry", "check", "registry", "--base", "HEAD^1"]);
    assert_eq!(told["changes"], json!(["the publisher acme changes"]));
    assert_eq!(chosen(&daemon, &["@acme/order-router"]), BOTH, "what it signed before stays");
    // The old key signs nothing more, the new one does.
    desk.component("orders", ORDERS, "1.1.0");
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 6 && said.stderr.contains("estream.key_rotated"), "{said:?}");
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "other.key", "-y"]);
    assert_eq!(said.status, 0, "{said:?}");
    desk.merge("publish/order-schemas-1.1.0");
    daemon.sync();
    assert_eq!(chosen(&daemon, &["order-schemas"]), "estream:order-schemas@1.1.0");
    desk.done(&["registry", "publisher", "revoke", "acme", first, "--dir", "registry"]);
    commit("revoke");
    assert_eq!(chosen(&daemon, &["order-schemas@1.0.0"]), "E005 estream.key_revoked");
    let found = desk.findings("registry", &[]);
    assert_eq!(found, ["E005 estream.key_revoked", "E005 estream.key_revoked"]);
    let told = desk.json(&["registry", "check", "registry", "--base", "HEAD^1"]);
    assert_eq!(told["good"], true, "to revoke a key is right, whatever becomes of what it signed: {told:#}");
    // Neither comes back, and nobody else's key is anybody's.
    let said = desk.run(&["registry", "publisher", "revoke", "acme", first, "--dir", "registry"]);
    assert!(said.status == 2 && said.stderr.contains("revoked"), "{said:?}");
    let said = desk.run(&[
        "registry",
        "publisher",
        "rotate",
        "acme",
        "nobody",
        "--key",
        "acme.pem",
        "--dir",
        "registry",
    ]);
    assert!(said.status == 7 && said.stderr.contains("E007"), "{said:?}");
    desk.done(&["keys", "generate", "ml-dsa-87", "third"]);
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "third.key", "-y"]);
    assert!(said.status != 0, "{said:?}");
    desk.component("orders", ORDERS, "1.2.0");
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "third.key", "-y"]);
    assert!(said.status == 7 && said.stderr.contains("E007"), "{said:?}");
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "acme.pem", "-y"]);
    assert!(said.status == 2 && said.stderr.contains("public key"), "{said:?}");
    // A key that another publisher has is told as that one's, and not as unknown.
    let add = ["registry", "publisher", "add", "else", "--key", "third.pem", "--dir", "registry"];
    desk.done(&add);
    desk.git("registry", &["add", "--all"]);
    desk.git("registry", &["commit", "--quiet", "-m", "Another publisher"]);
    desk.git("registry", &["push", "--quiet", "origin", "main"]);
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "third.key", "-y"]);
    assert!(
        said.status == 6
            && said.stderr.contains("E015 registry.key_other")
            && said.stderr.contains("is registered for else"),
        "{said:?}"
    );
}

#[test]
fn what_is_tampered_with_gets_one_code_from_the_check_and_from_the_daemon() {
    let desk = shop();
    let good = files(&desk.sandbox.path("registry"));
    let tampered = Repository::create(&desk.sandbox.path("tampered"));
    tampered.commit(&good);
    let daemon = reads(&desk, &tampered.path);
    let signature = format!("{DIRECTORY}/1.0.0/SIGNATURE.ml-dsa");
    let metadata = format!("{DIRECTORY}/metadata.json");
    let manifest = format!("{DIRECTORY}/1.0.0/estream-component.toml");
    let archive = "archives/order-schemas/1.0.0/package.tar.gz";
    let check = |expected: &str, against_base: &str, tamper: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        tampered.commit(&files);
        tamper(&mut files);
        tampered.commit(&files);
        daemon.sync();
        let resolved = chosen(&daemon, &["order-schemas@1.0.0"]);
        let answered = match resolved.starts_with("estream:") {
            true => told(
                &daemon
                    .post("/v1/materialize", &json!({ "releases": ["estream:order-schemas@1.0.0"] }))
                    .json(),
            ),
            false => resolved,
        };
        assert_eq!(answered, expected, "the daemon");
        let found = desk.findings("tampered", &[]);
        assert_eq!(found.first().map(String::as_str), Some(expected), "registry check: {found:?}");
        let found = desk.findings("tampered", &["--base", "HEAD^1"]);
        assert!(found.iter().any(|one| one == against_base), "with a base: {found:?}");
    };
    let changed = "E010 registry.version_changed";
    let key = "E007 registry.key_changed";
    // The archive.
    check("E006 trust.digest_mismatch", changed, &|files| {
        files.get_mut(archive).unwrap().push(0);
    });
    // The signature.
    check("E005 estream.signature_invalid", changed, &|files| {
        change(files, &signature, |document| {
            let text = document["signature_hex"].as_str().unwrap();
            let first = if text.starts_with('0') { "1" } else { "0" };
            document["signature_hex"] = json!(format!("{first}{}", &text[1..]));
        });
    });
    check("E005 estream.signature_missing", changed, &|files| drop(files.remove(&signature)));
    // The checksum file.
    check("E006 estream.checksum_mismatch", changed, &|files| {
        files.insert(format!("{DIRECTORY}/1.0.0/checksum.sha3"), "0".repeat(64).into_bytes());
    });
    // The metadata.
    check("E006 estream.checksum_mismatch", changed, &|files| {
        change(files, &metadata, |document| document["versions"][0]["checksum_sha3"] = json!("0".repeat(64)));
    });
    check("E005 estream.key_expired", changed, &|files| {
        change(files, &metadata, |document| {
            document["versions"][0]["published_at"] = json!("2020-01-01T00:00:00Z")
        });
    });
    check("E007 estream.publisher_unknown", "E015 registry.publisher_changed", &|files| {
        change(files, &metadata, |document| document["publisher"] = json!("mallory"));
    });
    // The publisher's key.
    let other = desk.signer("other");
    let record = "publishers/acme.json";
    check("E005 estream.signature_invalid", key, &|files| {
        change(files, record, |record| {
            record["signing_keys"][0]["public_key_hex"] = json!(other.public().to_hex())
        });
    });
    check("E007 estream.publisher_unknown", key, &|files| drop(files.remove(record)));
    check("E007 estream.key_unknown", key, &|files| {
        change(files, record, |record| record["signing_keys"] = json!([]));
    });
    check("E005 estream.key_expired", key, &|files| {
        change(files, record, |record| {
            record["signing_keys"][0]["created_at"] = json!("2999-01-01T00:00:00Z")
        });
    });
    // The manifest in the index.
    check("E008 estream.manifest_mismatch", changed, &|files| {
        let text = String::from_utf8(files[&manifest].clone()).unwrap();
        files.insert(manifest.clone(), text.replace("1.0.0", "1.0.1").into_bytes());
    });
    // The manifest inside the archive, sealed by the publisher himself.
    let acme = desk.signer("acme");
    check("E008 archive.digest", changed, &|files| {
        let own = ORDERS.replace("VERSION", "1.0.0").replace("Orders", "Others");
        replaced(files, &acme, &[("estream-component.toml", &own)]);
    });
    check("E008 archive.missing", changed, &|files| replaced(files, &acme, &[("README.md", "x")]));
    // Another key's seal.
    check("E005 estream.signature_invalid", changed, &|files| {
        let own = String::from_utf8(files[&manifest].clone()).unwrap();
        replaced(files, &other, &[("estream-component.toml", &own)]);
    });
    tampered.commit(&good);
    assert!(desk.findings("tampered", &[]).is_empty());
    // A registry in a plain directory has no revisions, and is looked at all the same.
    repository::write(&desk.sandbox.path("plain"), &good);
    assert!(desk.findings("plain", &[]).is_empty());
    let said = desk.run(&["registry", "check", "plain", "--base", "main"]);
    assert!(said.status == 2 && said.stderr.contains("no Git repository"), "{said:?}");
}

#[test]
fn a_change_keeps_what_was_published() {
    let desk = shop();
    let good = files(&desk.sandbox.path("registry"));
    let changed = Repository::create(&desk.sandbox.path("changed"));
    changed.commit(&good);
    let check = |expected: &[&str], change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        changed.commit(&files);
        change(&mut files);
        changed.commit(&files);
        let found = desk.findings("changed", &["--base", "HEAD^1"]);
        let missing: Vec<&&str> =
            expected.iter().filter(|one| !found.iter().any(|known| known == *one)).collect();
        assert!(missing.is_empty() && (expected.is_empty() == found.is_empty()), "{expected:?}: {found:?}");
    };
    let metadata = format!("{DIRECTORY}/metadata.json");
    check(&[], &|_| {});
    check(&[], &|files| drop(files.insert("README.md".to_owned(), b"other words".to_vec())));
    check(&[], &|files| change(files, &metadata, |document| document["description"] = json!("Better words")));
    check(&["E010 registry.version_changed"], &|files| {
        change(files, &metadata, |document| document["versions"] = json!([]));
    });
    check(&["E010 registry.version_changed"], &|files| drop(files.remove(&metadata)));
    check(&["E008 registry.file_unknown"], &|files| {
        files.insert(format!("{DIRECTORY}/1.0.0/more.txt"), b"x".to_vec());
    });
    check(&["E008 registry.file_unknown"], &|files| {
        drop(files.insert("publishers/x.txt".to_owned(), b"x".to_vec()))
    });
    check(&["E007 registry.key_changed"], &|files| {
        change(files, "publishers/acme.json", |record| {
            record["signing_keys"][0]["key_id"] = json!("another")
        });
    });
    check(&["E008 input.json"], &|files| drop(files.insert("config.json".to_owned(), b"{".to_vec())));
    // A version that its publisher signs anew without the tool, with a time of better days.
    let own = ORDERS.replace("VERSION", "0.9.0");
    let acme = desk.signer("acme");
    let forged = |files: &mut Files, version: &str, published_at: &str| {
        let text = own.replace("0.9.0", version);
        let mut fresh = files.clone();
        fresh.insert(format!("{DIRECTORY}/1.0.0/estream-component.toml"), text.clone().into_bytes());
        let files_of_archive: &[(&str, &str)] =
            &[("estream-component.toml", &text), ("schemas/order-placed.esf.yaml", "name: OrderPlaced\n")];
        replaced(&mut fresh, &acme, files_of_archive);
        for name in ["estream-component.toml", "checksum.sha3", "SIGNATURE.ml-dsa"] {
            files.insert(
                format!("{DIRECTORY}/{version}/{name}"),
                fresh[&format!("{DIRECTORY}/1.0.0/{name}")].clone(),
            );
        }
        let place = format!("archives/order-schemas/{version}/package.tar.gz");
        files.insert(place.clone(), fresh["archives/order-schemas/1.0.0/package.tar.gz"].clone());
        let sealed: Value = serde_json::from_slice(&fresh[&metadata]).unwrap();
        change(files, &metadata, |document| {
            let mut row = sealed["versions"][0].clone();
            row["version"] = json!(version);
            row["archive_url"] = json!(place);
            if !published_at.is_empty() {
                row["published_at"] = json!(published_at);
            }
            document["versions"].as_array_mut().unwrap().push(row);
        });
    };
    check(&[], &|files| forged(files, "1.0.1", ""));
    check(&["E010 estream.version_increment"], &|files| forged(files, "0.9.0", ""));
    check(&["E008 registry.published_at"], &|files| forged(files, "1.0.1", "2999-01-01T00:00:00Z"));
    // One that comes after 1.0.0 and says that it came before: without a base nobody could tell which of them is the higher one.
    let mut older = good.clone();
    change(&mut older, "publishers/acme.json", |record| {
        record["signing_keys"][0]["created_at"] = json!("2020-01-01T00:00:00Z");
    });
    changed.commit(&older);
    forged(&mut older, "1.0.1", "2021-01-01T00:00:00Z");
    changed.commit(&older);
    assert_eq!(desk.findings("changed", &["--base", "HEAD^1"]), ["E008 registry.published_at"]);
    assert_eq!(desk.findings("changed", &[]), ["E010 estream.version_increment"]);
    // What is wrong with somebody else's component of a similar name stops nobody.
    let mut beside = good.clone();
    beside.insert("index/esf-schema/order-schemas-more/1.x/.gitkeep".to_owned(), Vec::new());
    beside.insert(format!("{DIRECTORY}/0.x/.gitkeep"), Vec::new());
    changed.commit(&beside);
    forged(&mut beside, "1.0.1", "");
    beside.insert("index/esf-schema/order-schemas-more/2.x/.gitkeep".to_owned(), Vec::new());
    changed.commit(&beside);
    let found = desk.findings("changed", &["--base", "HEAD^1"]);
    assert!(found.is_empty(), "{found:?}");
    // Where case does not count, these are one, and nobody could read either.
    for path in ["Archives/x.tar.gz", "archives/Order-Schemas/x", "CONFIG.json"] {
        check(&["E008 git.ambiguous_path"], &|files| drop(files.insert(path.to_owned(), b"x".to_vec())));
    }
    check(&["E005 estream.key_rotated"], &|files| {
        forged(files, "1.0.1", "");
        change(files, "publishers/acme.json", |record| {
            record["signing_keys"][0]["status"] = json!("rotated");
            record["signing_keys"][0]["rotated_at"] = json!("2999-01-01T00:00:00Z");
        });
    });
    // Whoever could use a version still can, whatever it is that changes.
    let squat = "index/wire-adapter/order-schemas/metadata.json";
    let empty =
        json!({ "name": "order-schemas", "category": "wire-adapter", "publisher": "mal", "versions": [] });
    check(&["E008 estream.two_categories"], &|files| {
        forged(files, "1.0.1", "");
        files.insert(squat.to_owned(), empty.to_string().into_bytes());
    });
    check(&["E008 input.json"], &|files| {
        forged(files, "1.0.1", "");
        files.insert(squat.to_owned(), b"x".to_vec());
    });
    check(&["E008 estream.two_categories"], &|files| {
        forged(files, "1.0.1", "");
        files.insert("index/wire-adapter/order-schemas/README.md".to_owned(), b"x".to_vec());
        files.insert("index/wire-adapter/order-schemas/1.0.0/.gitkeep".to_owned(), Vec::new());
    });
    check(&["E010 registry.version_changed"], &|files| {
        files.retain(|path, _| !path.starts_with("archives/"));
        change(files, "config.json", |config| config["archives"] = json!("elsewhere"));
    });
    check(&["E005 estream.key_rotated"], &|files| {
        change(files, "publishers/acme.json", |record| {
            let key = &mut record["signing_keys"][0];
            (key["status"], key["rotated_at"]) = (json!("rotated"), key["created_at"].clone());
            key["created_at"] = json!("2020-01-01T00:00:00Z");
            key["rotated_at"] = json!("2021-01-01T00:00:00Z");
        });
    });
    // Nothing lies among the archives that is no version's.
    for path in ["archives/evil.sh", "archives/order-schemas/2.0.0/package.tar.gz"] {
        check(&["E008 registry.file_unknown"], &|files| {
            forged(files, "1.0.1", "");
            files.insert(path.to_owned(), b"x".to_vec());
        });
    }
    // A key comes back by none of its times, and one for which anybody could sign is nobody's.
    check(&["E007 registry.key_changed"], &|files| {
        change(files, "publishers/acme.json", |record| {
            let key = &mut record["signing_keys"][0];
            (key["status"], key["rotated_at"]) = (json!("rotated"), json!("2999-01-01T00:00:00Z"));
        });
    });
    check(&["E007 policy.key_weak"], &|files| {
        change(files, "publishers/acme.json", |record| {
            let mut key = record["signing_keys"][0].clone();
            let digits = key["public_key_hex"].as_str().unwrap().len();
            (key["key_id"], key["public_key_hex"]) = (json!("weak"), json!("0".repeat(digits)));
            record["signing_keys"].as_array_mut().unwrap().push(key);
        });
    });
    // Neither does it under another id, or as somebody else's.
    let mut revoked = good.clone();
    change(&mut revoked, "publishers/acme.json", |record| {
        record["signing_keys"][0]["status"] = json!("revoked");
    });
    let keys = |record: &mut Value| -> Value {
        let mut key = record["signing_keys"][0].clone();
        (key["key_id"], key["status"]) = (json!("another"), json!("active"));
        key
    };
    for name in ["acme", "mal"] {
        let mut back = revoked.clone();
        changed.commit(&back);
        let mut record: Value = serde_json::from_slice(&back["publishers/acme.json"]).unwrap();
        let key = keys(&mut record);
        match name {
            "acme" => record["signing_keys"].as_array_mut().unwrap().push(key),
            _ => record = json!({ "name": name, "signing_keys": [key] }),
        }
        back.insert(format!("publishers/{name}.json"), record.to_string().into_bytes());
        changed.commit(&back);
        assert_eq!(desk.findings("changed", &["--base", "HEAD^1"]), ["E007 registry.key_changed"], "{name}");
    }
    // Words that no seal covers do not go in unseen, with a new version or without.
    let attention = |change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        changed.commit(&files);
        change(&mut files);
        changed.commit(&files);
        let told = desk.json(&["registry", "check", "changed", "--base", "HEAD^1"]);
        (told["automatic"].clone(), told["attention"].clone())
    };
    assert_eq!(attention(&|files| forged(files, "1.0.1", "")), (json!(true), json!([])));
    let badges = |files: &mut Files| {
        forged(files, "1.0.1", "");
        change(files, &metadata, |document| document["badges"] = json!(["official"]));
    };
    assert_eq!(attention(&badges), (json!(false), json!(["order-schemas: badges changes"])));
    let words = |files: &mut Files| {
        forged(files, "1.0.1", "");
        let other = "index/smart-circuit/@acme/order-router/metadata.json";
        change(files, other, |document| document["description"] = json!("Free money"));
    };
    assert_eq!(attention(&words), (json!(false), json!(["@acme/order-router: description changes"])));
    for (field, value, told) in [
        ("latest", json!("1.0.0"), "order-schemas: latest changes, and is not the newest version"),
        ("yank_reason", json!("bad"), "order-schemas@1.0.0: yank_reason changes"),
    ] {
        let words = |files: &mut Files| {
            forged(files, "1.0.1", "");
            change(files, &metadata, |document| match field {
                "latest" => {
                    document["versions"][1]["yanked"] = json!(false);
                    document["latest"] = json!("0.0.1");
                }
                _ => document["versions"][0][field] = value.clone(),
            });
        };
        assert_eq!(attention(&words), (json!(false), json!([told])));
    }
    let verified = |files: &mut Files| {
        forged(files, "1.0.1", "");
        change(files, "publishers/acme.json", |record| record["display_name"] = json!("eStream"));
    };
    assert_eq!(attention(&verified), (json!(false), json!(["the publisher acme changes"])));
    // A link is no file of a registry, wherever it leads.
    changed.commit(&good);
    std::os::unix::fs::symlink("/etc/hostname", changed.path.join("publishers/linked.json")).unwrap();
    place::git(&changed.path, &["add", "--all"]);
    place::git(&changed.path, &["commit", "--quiet", "-m", "a link"]);
    let found = desk.findings("changed", &["--base", "HEAD^1"]);
    assert!(found.contains(&"E008 registry.file_unknown".to_owned()), "{found:?}");
    // What the metadata calls the newest has no say, and is told.
    let mut files = good.clone();
    change(&mut files, &metadata, |document| document["latest"] = json!("0.0.1"));
    changed.commit(&files);
    let told = desk.json(&["registry", "check", "changed"]);
    assert!(told["warnings"].to_string().contains("0.0.1"), "{told:#}");
    // A branch that does not follow its base is not looked at.
    changed.commit(&good);
    place::git(&changed.path, &["checkout", "--quiet", "--orphan", "elsewhere"]);
    changed.commit(&good);
    let said = desk.run(&["registry", "check", "changed", "--base", "main"]);
    assert!(said.status == 2 && said.stderr.contains("registry.base"), "{said:?}");
    let said = desk.run(&["registry", "check", "changed", "--base", "--output=x"]);
    assert!(said.status == 2 && !desk.sandbox.path("changed/x").exists(), "{said:?}");
}

#[test]
fn registries_are_made_over_nothing_and_records_stay_readable() {
    let desk = Desk::new(&[]);
    desk.write("taken/file", "x");
    for name in ["taken", "registry", "taken/file"] {
        let said = desk.run(&["registry", "init", name]);
        assert!(said.status == 2 && said.stderr.contains("something is there"), "{name}: {said:?}");
    }
    assert!(desk.findings("registry", &[]).is_empty(), "an empty registry is right");
    let readme = std::fs::read_to_string(desk.sandbox.path("registry/README.md")).unwrap();
    assert!(readme.contains("resolverd registry check . --base HEAD^1"), "{readme}");
    let add = |name: &str, more: &[&str]| {
        desk.run(&[&["registry", "publisher", "add", name, "--dir", "registry"], more].concat())
    };
    let hex = desk.signer("other").public().to_hex();
    let said =
        add("other", &["--key", &hex, "--expires", "2099-01-01", "--key-id", "k1", "--url", "https://e.org"]);
    assert_eq!(said.status, 0, "{said:?}");
    let record: Value =
        serde_json::from_slice(&std::fs::read(desk.sandbox.path("registry/publishers/other.json")).unwrap())
            .unwrap();
    assert_eq!(
        (&record["verified"], &record["signing_keys"][0]["expires_at"]),
        (&json!(false), &json!("2099-01-01T00:00:00Z"))
    );
    for (name, more, told) in [
        ("acme", &["--key", "acme.pem"][..], "there already"),
        ("../x", &["--key", "acme.pem"], "a name of a-z"),
        ("third", &["--key", "acme.key"], "private"),
        ("third", &["--key", "nothing.pem"], "cannot read"),
        ("third", &["--key", "acme.pem", "--expires", "soon"], "--expires"),
    ] {
        let said = add(name, more);
        assert!(said.status == 2 && said.stderr.contains(told), "{name} {more:?}: {said:?}");
    }
    // A link is nobody's record.
    std::os::unix::fs::symlink("/etc/hostname", desk.sandbox.path("registry/publishers/linked.json"))
        .unwrap();
    let said = desk.run(&["registry", "publisher", "revoke", "linked", "x", "--dir", "registry"]);
    assert!(said.status == 2 && said.stderr.contains("no record"), "{said:?}");
    std::fs::remove_file(desk.sandbox.path("registry/publishers/linked.json")).unwrap();
    // Without a place for archives nothing is published.
    desk.component("orders", ORDERS, "1.0.0");
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 2 && said.stderr.contains("registry.archive_place"), "{said:?}");
    // Names of others.
    for (name, code) in [("@other/orders", "E015"), ("estream-orders", "E009"), ("Orders", "E008")] {
        desk.write(
            "orders/estream-component.toml",
            ORDERS.replace("VERSION", "1.0.0").replace("order-schemas", name),
        );
        let said = desk.publish("orders", &["-y", "--publisher", "acme"]);
        assert!(said.status != 0, "{name}");
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains(code), "{name}: {all}");
    }
    // An archive that is larger than the registry takes.
    desk.component("orders", ORDERS, "1.0.0");
    desk.write("orders/schemas/noise.bin", noise(1_200_000));
    desk.write("registry/config.json", "{\"schema_version\": 1, \"max_package_mb\": 1, \"archives\": \"a\"}");
    desk.git("registry", &["commit", "--quiet", "--all", "-m", "small"]);
    desk.git("registry", &["push", "--quiet", "origin", "main"]);
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 4 && said.stdout.contains("E011"), "{said:?}");
    // A repository without a commit.
    place::git(&desk.sandbox.path(""), &["init", "--quiet", "--bare", "empty.git"]);
    let said = desk.run(&["publish", "orders", "--registry", "./empty.git", "--key", "acme.key", "-y"]);
    assert!(said.status == 5 && said.stderr.contains("registry.empty"), "{said:?}");
    // A registry that is not there, and addresses that are none.
    desk.component("orders", ORDERS, "1.0.0");
    for (address, status, code) in
        [("./nothing", 5, "E012"), ("ext::sh -c true", 2, "R011"), ("https://u:p@e.org/a", 2, "R011")]
    {
        let said = desk.run(&["publish", "orders", "--registry", address, "--key", "acme.key", "-y"]);
        assert!(said.status == status && said.stderr.contains(code), "{address}: {said:?}");
        assert!(!said.stderr.contains("u:p"), "{said:?}");
    }
}

#[test]
fn a_comment_is_written_into_what_is_there() {
    let desk = Desk::new(&[]);
    let path = |name: &str| desk.sandbox.path(name);
    let fifo = path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Opened for both, so that neither side waits for the other.
    let mut pipe = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&fifo)
        .unwrap();
    desk.write("real/comment.md", "before");
    std::os::unix::fs::symlink("fifo", path("to-fifo")).unwrap();
    std::os::unix::fs::symlink("real/comment.md", path("to-file")).unwrap();
    std::os::unix::fs::symlink("nowhere", path("to-nothing")).unwrap();
    let check = |file: &str| desk.run(&["registry", "check", "registry", "--comment", file]);
    for file in ["fifo", "to-fifo"] {
        assert_eq!(check(file).status, 0, "{file}");
        let mut bytes = vec![0; 1 << 16];
        let read = pipe.read(&mut bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(String::from_utf8_lossy(&bytes[..read]).contains("Registry check"), "{file}");
    }
    assert!(std::fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    assert_eq!(check("to-file").status, 0);
    assert!(std::fs::read_to_string(path("real/comment.md")).unwrap().contains("Registry check"));
    let said = check("to-nothing");
    assert!(said.status == 2 && said.stderr.contains("registry.comment"), "{said:?}");
    for link in ["to-fifo", "to-file", "to-nothing"] {
        assert!(path(link).is_symlink(), "{link}");
    }
    // What is printed there would be lost.
    let printed = std::fs::File::create(path("printed")).unwrap();
    std::os::unix::fs::symlink("printed", path("to-printed")).unwrap();
    let mut command = desk.sandbox.command();
    command.args(["registry", "check", "registry", "--comment", "to-printed"]).stdout(printed);
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("what is printed goes there"), "{said}");
}

#[test]
fn a_private_key_is_never_published() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    let key = std::fs::read(desk.sandbox.path("other.key")).unwrap();
    desk.write("orders/schemas/signing.pem", &key);
    for arguments in [
        &["pack", "orders", "--dry-run"][..],
        &["publish", "orders", "--registry", "./registry.git", "--key", "acme.key", "-y"],
    ] {
        let said = desk.run(arguments);
        assert!(said.status == 2 && said.stdout.contains("a private key in schemas/signing.pem"), "{said:?}");
        assert!(said.stdout.contains("package.private_key") || said.stderr.contains("E008"), "{said:?}");
    }
    std::fs::remove_file(desk.sandbox.path("orders/schemas/signing.pem")).unwrap();
    // The key that signs, as somebody has copied it.
    let pem = std::fs::read(desk.sandbox.path("acme.key")).unwrap();
    let key = PrivateKey::parse(&pem).unwrap();
    let text = String::from_utf8(pem.clone()).unwrap();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for copy in [key.pkcs8().to_vec(), wide, hex(&key.pkcs8()).into_bytes()] {
        desk.write("orders/schemas/blob.bin", copy);
        let said = desk.publish("orders", &["-y"]);
        assert!(said.status == 2 && said.stderr.contains("schemas/blob.bin"), "{said:?}");
    }
    // Words about keys are none.
    desk.write(
        "orders/schemas/blob.bin",
        "const MARK: &str = \"-----BEGIN PRIVATE KEY-----\";\n// =============================================\n",
    );
    desk.done(&["pack", "orders", "--dry-run"]);
    std::fs::remove_file(desk.sandbox.path("orders/schemas/blob.bin")).unwrap();
    // The key itself by another name.
    std::fs::hard_link(desk.sandbox.path("acme.key"), desk.sandbox.path("orders/notes.txt")).unwrap();
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 2 && said.stderr.contains("package.private_key"), "{said:?}");
    assert_eq!(desk.git("registry.git", &["for-each-ref", "--format=%(refname)"]).trim(), "refs/heads/main");
}

#[test]
fn what_takes_its_time_beside_the_reading_is_not_counted_as_reading() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.write("config/resolverd/config.toml", "[limits]\ntotal_s = 5\n");
    let said = desk.publish("orders", &["-y", "--check-command", "sleep 6"]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn a_version_follows_one_of_a_clock_that_was_ahead() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.published("orders");
    desk.merge("publish/order-schemas-1.0.0");
    let metadata = format!("{DIRECTORY}/metadata.json");
    let ahead = |minutes: i64| {
        let said = Said::of(Command::new("date").args(["-u", "+%s"]));
        let at = rfc3339(said.stdout.trim().parse::<i64>().unwrap() + minutes * 60);
        let mut all = files(&desk.sandbox.path("registry"));
        change(&mut all, &metadata, |document| document["versions"][0]["published_at"] = json!(at));
        desk.write(&format!("registry/{metadata}"), &all[&metadata]);
        desk.git("registry", &["commit", "--quiet", "--all", "-m", "ahead"]);
        desk.git("registry", &["push", "--quiet", "origin", "main"]);
        at
    };
    desk.component("orders", ORDERS, "1.1.0");
    // So far that no check lets it in: nothing can follow it yet, and it is said from when.
    ahead(200);
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 2 && said.stderr.contains("registry.published_at"), "{said:?}");
    assert!(said.stderr.contains("publish it anew, at 20"), "{said:?}");
    let at = ahead(50);
    desk.published("orders");
    desk.merge("publish/order-schemas-1.1.0");
    let all = files(&desk.sandbox.path("registry"));
    let document: Value = serde_json::from_slice(&all[&metadata]).unwrap();
    assert!(
        document["versions"].as_array().unwrap().iter().all(|one| one["published_at"] == json!(at)),
        "{document:#}"
    );
}

#[test]
fn what_a_registry_could_not_use_is_not_written() {
    let desk = Desk::new(&[]);
    let taken =
        ["index", "publishers/x", ".github", ".git/x", "config.json", "Index", "README.MD", "LICENSE"];
    for archives in [&taken[..], &["CODEOWNERS", "docs/CodeOwners", "index.json", "a/.b"]].concat() {
        let said = desk.run(&["registry", "init", "new", "--archives", archives]);
        assert!(said.status == 2 && said.stderr.contains("--archives"), "{archives}: {said:?}");
    }
    desk.component("orders", ORDERS, "1.0.0");
    for place in [".github/workflows/x.yml", "index/x.tar.gz", "README.md", "LICENSE", "Publishers/x.tar.gz"]
    {
        let said = desk.publish("orders", &["-y", "--archive-url", place]);
        assert!(said.status == 2 && said.stderr.contains("input.path"), "{place}: {said:?}");
    }
    // A repository that has a registry in a directory of it, or none.
    let below = files(&desk.sandbox.path("registry"));
    let below = below.iter().map(|(path, bytes)| (format!("sub/{path}"), bytes.clone())).collect();
    Repository::create(&desk.sandbox.path("above")).commit(&below);
    let said = desk.run(&["publish", "orders", "--registry", "./above", "--key", "acme.key", "-y"]);
    assert!(said.status == 2 && said.stderr.contains("registry.none"), "{said:?}");
    let add = ["registry", "publisher", "add", "third", "--dir", "registry", "--key", "other.pem"];
    for more in [["--expires", "2020-01-01"], ["--key-id", "a b\u{1b}[31m"], ["--key-id", ""]] {
        let said = desk.run(&[&add[..], &more].concat());
        assert!(said.status == 2 && !said.stderr.contains('\u{1b}'), "{more:?}: {said:?}");
    }
    assert!(!desk.sandbox.path("registry/publishers/third.json").exists());
    // Names that some systems have for something else, so that no reader takes them.
    for name in ["con", "nul", "aux"] {
        let said =
            desk.run(&["registry", "publisher", "add", name, "--dir", "registry", "--key", "other.pem"]);
        assert!(said.status == 2 && said.stderr.contains("input.path"), "{name}: {said:?}");
        assert!(!desk.sandbox.path(&format!("registry/publishers/{name}.json")).exists());
    }
    let said = desk.run(&["publish", "orders", "--registry", "./registry.git", "--key", "other.key", "-y"]);
    assert!(said.stderr.contains("the registry knows no publisher with the key"), "{said:?}");
}

/// Returns bytes that nothing makes shorter.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A configuration that knows the stub's authority, and leads an address to it.
fn reach(desk: &Desk, server: &TlsServer) {
    let text = format!(
        "[https]\nca_file = \"{}\"\n[[rewrite]]\nfrom = \"https://archives.example.org\"\nto = \"{}\"\n",
        server.ca_file().display(),
        server.origin()
    );
    desk.write("config/resolverd/config.toml", text);
}

#[test]
fn an_archive_that_lies_elsewhere_is_looked_at_there() {
    let desk = Desk::new(&[]);
    let server = TlsServer::start();
    reach(&desk, &server);
    desk.component("orders", ORDERS, "1.0.0");
    let url = "https://archives.example.org/orders.tar.gz";
    let dry = desk.publish("orders", &["--archive-url", url, "--dry-run"]);
    assert_eq!(dry.status, 0, "{dry:?}");
    let said = desk.publish("orders", &["--archive-url", url, "-y"]);
    assert!(said.status == 5 && said.stderr.contains("E012"), "{said:?}");
    server.put("/orders.tar.gz", b"another archive");
    let said = desk.publish("orders", &["--archive-url", url, "-y"]);
    assert!(said.status == 7 && said.stderr.contains("E006"), "{said:?}");
    // What the tool packs is what somebody uploads.
    let bounds = Bounds::from(&Limits::default());
    let package = resolverd::estream::package::Package::read(&desk.sandbox.path("orders"), &bounds).unwrap();
    server.put("/orders.tar.gz", &package.archive(&bounds).unwrap());
    let said = desk.publish("orders", &["--archive-url", url, "-y"]);
    assert_eq!(said.status, 0, "{said:?}");
    desk.merge("publish/order-schemas-1.0.0");
    // The check takes one from a directory where it is given there.
    server.remove("/orders.tar.gz");
    assert_eq!(desk.findings("registry", &[]), ["E012 net.not_found"]);
    repository::write(
        &desk.sandbox.path("given"),
        &Files::from([("order-schemas-1.0.0.tar.gz".to_owned(), package.archive(&bounds).unwrap())]),
    );
    assert!(desk.findings("registry", &["--archives", "given"]).is_empty());
}

/// The requests of the forge's documentation, answered by a stub over TLS. The forge itself is never called by a test.
#[test]
fn a_release_and_a_pull_request_are_made_as_the_forge_documents_it() {
    let desk = Desk::new(&[]);
    let server = TlsServer::start();
    reach(&desk, &server);
    let bare = desk.sandbox.path("registry.git");
    let config = format!(
        "[user]\n\tname = A Tester\n\temail = tester@example.org\n[url \"file://{}\"]\n\tinsteadOf = https://github.com/acme-org/registry\n",
        bare.display()
    );
    desk.write("home/.gitconfig", config);
    desk.component("orders", ORDERS, "1.0.0");
    let publish = |token: &str| {
        let mut command: Command = desk.sandbox.command();
        command.env("FORGE_TOKEN", token).args(["publish", "orders", "--registry", "acme-org/registry"]);
        command.args(["--key", "acme.key", "-y", "--token-env", "FORGE_TOKEN", "--api", &server.url("/api")]);
        Said::of(&mut command)
    };
    let repos = "/api/repos/acme-org/registry";
    let answer = |status: u16, body: Value| Route::Answer(status, Vec::new(), body.to_string().into_bytes());
    // Without the right to write nothing is left anywhere.
    server.route(&format!("{repos}/releases"), answer(403, json!({ "message": "Resource not accessible" })));
    let said = publish("t0ken");
    assert!(
        said.status == 6 && said.stderr.contains("E015") && said.stderr.contains("not accessible"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("t0ken"), "{said:?}");
    let branches = || desk.git("registry.git", &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(branches().trim(), "refs/heads/main");

    let download =
        "https://github.com/acme-org/registry/releases/download/order-schemas-1.0.0/package.tar.gz";
    let upload = server.url("/api/uploads/7/assets");
    server.route(
        &format!("{repos}/releases"),
        answer(201, json!({ "id": 7, "upload_url": format!("{upload}{{?name,label}}") })),
    );
    // An upload that fails takes the release away again.
    server.route("/api/uploads/7/assets", answer(502, json!({})));
    server.route(&format!("{repos}/releases/7"), Route::status(204));
    server.forget();
    let said = publish("t0ken");
    assert!(said.status == 5 && said.stderr.contains("E012"), "{said:?}");
    assert_eq!(server.lines().last().map(String::as_str), Some(&*format!("DELETE {repos}/releases/7")));
    assert_eq!(branches().trim(), "refs/heads/main");

    // Where the release cannot be shown, neither it nor the branch stays.
    server.route("/api/uploads/7/assets", answer(201, json!({ "id": 9, "name": "package.tar.gz" })));
    server.route(&format!("{repos}/releases/7"), answer(502, json!({})));
    let said = publish("t0ken");
    assert!(said.status == 5 && said.stderr.contains("E012"), "{said:?}");
    assert_eq!(branches().trim(), "refs/heads/main");

    let assets = json!({ "assets": [{ "name": "package.tar.gz", "browser_download_url": download }] });
    server.route(&format!("{repos}/releases/7"), answer(200, assets));
    // Where nobody can be asked to merge it, it is published up to there, and what comes next is said.
    server.route(&format!("{repos}/pulls"), answer(403, json!({ "message": "no pulls" })));
    let said = publish("t0ken");
    assert!(said.status == 0 && said.stderr.contains("no pulls"), "{said:?}");
    assert!(said.stdout.contains("gh pr create --repo acme-org/registry"), "{said:?}");
    desk.git("registry.git", &["update-ref", "-d", "refs/heads/publish/order-schemas-1.0.0"]);
    let pull = json!({ "number": 47, "html_url": "https://github.com/acme-org/registry/pull/47" });
    server.route(&format!("{repos}/pulls"), answer(201, pull));
    server.forget();
    let said = publish("t0ken");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("Created PR #47: \"Publish order-schemas v1.0.0\""), "{}", said.stdout);
    let requests = server.requests();
    let lines: Vec<String> = requests.iter().map(|one| format!("{} {}", one.method, one.target)).collect();
    let expected = [
        format!("POST {repos}/releases"),
        "POST /api/uploads/7/assets?name=package.tar.gz".to_owned(),
        format!("PATCH {repos}/releases/7"),
        format!("POST {repos}/pulls"),
    ];
    assert_eq!(lines, expected);
    for one in &requests {
        assert_eq!(one.header("authorization"), Some("Bearer t0ken"), "{}", one.target);
        assert_eq!(one.header("accept"), Some("application/vnd.github+json"));
        assert_eq!(one.header("x-github-api-version"), Some("2022-11-28"));
    }
    let body = |at: usize| -> Value { serde_json::from_slice(&requests[at].body).unwrap() };
    assert_eq!(
        body(0),
        json!({ "tag_name": "order-schemas-1.0.0", "target_commitish": "main", "name": "Publish order-schemas v1.0.0", "draft": true })
    );
    assert_eq!(requests[1].header("content-type"), Some("application/gzip"));
    assert_eq!(body(2), json!({ "draft": false }));
    assert_eq!((&body(3)["head"], &body(3)["base"]), (&json!("publish/order-schemas-1.0.0"), &json!("main")));
    // What was uploaded is what was signed, and what the commit names.
    let branch = "publish/order-schemas-1.0.0";
    let metadata: Value = serde_json::from_str(
        &desk.git("registry.git", &["show", &format!("{branch}:{DIRECTORY}/metadata.json")]),
    )
    .unwrap();
    let checksum = Digest::of(Algorithm::Sha3_256, &requests[1].body).hex();
    assert_eq!(
        (&metadata["versions"][0]["checksum_sha3"], &metadata["versions"][0]["archive_url"]),
        (&json!(checksum), &json!(download))
    );

    // Without a token, the command that comes next is printed.
    desk.component("orders", ORDERS, "1.1.0");
    let url = "https://archives.example.org/orders.tar.gz";
    let bounds = Bounds::from(&Limits::default());
    let package = resolverd::estream::package::Package::read(&desk.sandbox.path("orders"), &bounds).unwrap();
    server.put("/orders.tar.gz", &package.archive(&bounds).unwrap());
    let own = [
        "publish",
        "orders",
        "--registry",
        "acme-org/registry",
        "--key",
        "acme.key",
        "-y",
        "--archive-url",
        url,
    ];
    let said = desk.done(&own);
    let next = "gh pr create --repo acme-org/registry --base main --head publish/order-schemas-1.1.0 --title 'Publish order-schemas v1.1.0' --body ''";
    assert!(said.contains(next), "{said}");
}

/// What a change publishes is merged unseen only where nobody takes its archive for something else.
#[test]
fn an_archive_lies_where_nobody_acts_on_it() {
    let desk = Desk::new(&[]);
    desk.component("orders", ORDERS, "1.0.0");
    let place = "files/order-schemas-1.0.0.tar.gz";
    let said = desk.publish("orders", &["-y", "--archive-url", place]);
    assert_eq!(said.status, 0, "{said:?}");
    let before = files(&desk.sandbox.path("registry"));
    desk.merge("publish/order-schemas-1.0.0");
    let good = files(&desk.sandbox.path("registry"));
    let told = |place_of: &str| {
        let mut moved = good.clone();
        let archive = moved.remove(place).unwrap();
        moved.insert(place_of.to_owned(), archive);
        change(&mut moved, &format!("{DIRECTORY}/metadata.json"), |document| {
            document["versions"][0]["archive_url"] = json!(place_of);
        });
        let changed = Repository::create(&desk.sandbox.path(&format!("to/{place_of}")));
        changed.commit(&before);
        changed.commit(&moved);
        let path = format!("to/{place_of}");
        let said = desk.run(&["registry", "check", &path, "--base", "HEAD^1", "-o", "json"]);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        (answer["automatic"] == true, answer["good"] == true)
    };
    assert_eq!(told("files/other.tgz"), (true, true));
    for place in
        ["CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".github/workflows/x.yml", "index.json"]
    {
        assert_eq!(told(place), (false, false), "{place}");
    }
    for place in ["pk/README.md", "Makefile", "order.tar.gz", "pk/x.yml"] {
        assert_eq!(told(place), (false, true), "{place}");
    }
    // Whoever publishes is told the same, and replaces nothing.
    desk.component("orders", ORDERS, "1.1.0");
    let dry = ["-o", "json", "--dry-run", "--archive-url", "order.tar.gz"];
    let said = desk.publish("orders", &dry);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert!(answer["attention"].to_string().contains("order.tar.gz"), "{answer:#}");
    assert_eq!(answer["changes"][0], json!("order-schemas@1.1.0 is published"), "{answer:#}");
    let said = desk.publish("orders", &dry[2..]);
    assert!(said.stdout.contains("look at this before you merge:\n  order.tar.gz"), "{said:?}");
    let said = desk.publish("orders", &["-y", "--archive-url", place]);
    assert!(said.status == 2 && said.stderr.contains("registry.archive_place"), "{said:?}");
    let said = desk.publish("orders", &["-y", "--archive-url", &format!("{place}/x.tgz")]);
    assert!(said.status == 2 && said.stderr.contains("registry.archive_place"), "{said:?}");
    assert!(said.stderr.contains(&format!("{place} is a file of the registry")), "{said:?}");
    let said = desk.publish("orders", &["-y", "--archive-url", "Files/fox.tar.gz"]);
    assert!(said.status != 0 && said.stderr.contains("git.ambiguous_path"), "{said:?}");
    let branches = desk.git("registry.git", &["for-each-ref", "--format=%(refname)"]);
    assert!(!branches.contains("1.1.0"), "{branches}");
    // A branch that Git takes for none is told before it is pushed.
    desk.component("orders", ORDERS, "1.1.0-x.lock");
    let said = desk.publish("orders", &["--dry-run", "--archive-url", "files/x.tar.gz"]);
    assert!(said.status == 2 && said.stderr.contains("registry.branch"), "{said:?}");
}

/// Rows of versions cost as much as they are, and not as much as their pairs.
#[test]
fn many_versions_in_one_file_are_told_within_little_memory() {
    const ROWS: usize = 20_000;
    let desk = Desk::new(&["--archives", "archives"]);
    let repository = Repository { path: desk.sandbox.path("registry") };
    let rows: Vec<Value> = (0..ROWS).map(|at| json!({ "version": format!("1.0.{at}") })).collect();
    let document = json!({ "name": "many", "category": "esf-schema", "publisher": "acme", "versions": rows });
    let mut all = files(&repository.path);
    all.insert("index/esf-schema/many/metadata.json".to_owned(), document.to_string().into_bytes());
    repository.commit(&all);
    let mut command = Command::new("sh");
    let own = desk.sandbox.command();
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // In KiB. The pairs alone would take many times as much.
    command.args(["-c", "ulimit -v 3000000; exec \"$@\"", "sh"]).arg(own.get_program());
    command.args(own.get_args()).args(["registry", "check", "registry", "--base", "HEAD^1", "-o", "json"]);
    command.current_dir(own.get_current_dir().unwrap_or(&desk.sandbox.path("")));
    let said = Said::of(&mut command);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr));
    let reasons: Vec<&str> =
        answer["findings"].as_array().unwrap().iter().filter_map(|one| one["reason"].as_str()).collect();
    assert!(reasons.contains(&"registry.too_many_versions"), "{:?}", reasons.first());
    assert!(answer["versions"].as_array().unwrap().len() <= ROWS / 2, "the rest is not looked at");
}

#[test]
fn the_check_command_gets_no_token() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    let (script, seen) = (desk.sandbox.path("look.sh"), desk.sandbox.path("seen"));
    std::fs::write(&script, format!("#!/bin/sh\nenv > {}\n", seen.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = desk.sandbox.command();
    command.env("FORGE_TOKEN", "t0ken").env("GITHUB_TOKEN", "t0ken").env("OTHER", "plain");
    command.args(["publish", "orders", "--registry", "./registry.git", "--key", "acme.key", "--dry-run"]);
    command.args(["--token-env", "FORGE_TOKEN", "--check-command", "./look.sh"]);
    let said = Said::of(&mut command);
    assert_eq!(said.status, 0, "{said:?}");
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("OTHER=plain") && !seen.contains("t0ken"), "{seen}");
}

#[test]
fn a_search_as_data_names_publishers_as_its_table_does() {
    let desk = shop();
    let _daemon = reads(&desk, &desk.sandbox.path("registry.git"));
    let table = desk.done(&["search", "orders"]);
    assert!(table.contains("acme") && table.contains("Verified"), "{table}");
    let answer = desk.json(&["search", "orders"]);
    let first = &answer["items"][0];
    assert_eq!(
        (&first["publisher"], &first["publisherVerified"], &first["official"], &first["badges"]),
        (&json!("acme"), &json!(true), &json!(false), &json!([])),
        "{answer:#}"
    );
}

#[test]
fn a_publisher_has_room_for_the_keys_of_many_years() {
    const KEYS: usize = 24;
    let desk = Desk::new(&[]);
    for at in 1..KEYS {
        let old = format!("acme-signing-key-{at:02}");
        let hex = crate::harness::estream::key(&format!("acme {at}")).public().to_hex();
        desk.done(&["registry", "publisher", "rotate", "acme", &old, "--key", &hex, "--dir", "registry"]);
    }
    desk.git("registry", &["commit", "--quiet", "--all", "-m", "keys"]);
    assert!(desk.findings("registry", &[]).is_empty());
}

/// Objects that are missing are not had from where the repository's own configuration says, nor by the programs that it names.
#[test]
fn what_is_missing_in_a_repository_is_not_fetched() {
    let desk = shop();
    let (ran, program) = (desk.sandbox.path("ran"), desk.sandbox.path("program"));
    std::fs::write(&program, format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display())).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let registry = desk.sandbox.path("registry");
    let tree = desk.git("registry", &["rev-parse", "HEAD:index"]);
    let (start, rest) = tree.trim().split_at(2);
    std::fs::remove_file(registry.join(format!(".git/objects/{start}/{rest}"))).unwrap();
    let program = program.display().to_string();
    let here = format!("file://{}", desk.sandbox.path("registry.git").display());
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", "ssh://example.invalid/x"),
        ("core.sshCommand", &program),
        ("remote.origin.uploadpack", &program),
    ] {
        place::git(&registry, &["config", key, value]);
    }
    let check = || desk.run(&["registry", "check", "registry", "--base", "HEAD^1"]);
    assert!(check().status != 0 && !ran.exists());
    place::git(&registry, &["config", "remote.origin.url", &here]);
    assert!(check().status != 0 && !ran.exists());
    // The same by hand runs it, so that the question was one.
    let mut command = Command::new("git");
    command.current_dir(&registry).args(["-c", "safe.directory=*", "diff-tree", "-r", "HEAD^1", "HEAD"]);
    assert!(!command.output().unwrap().status.success() && ran.exists());
}

/// Where more filters are configured than anybody reads, none of them runs.
#[test]
fn filters_that_nobody_has_seen_do_not_run() {
    let desk = shop();
    let ran = desk.sandbox.path("ran");
    let path = desk.sandbox.path("registry/.git/config");
    let mut config = std::fs::read_to_string(&path).unwrap();
    config.push_str(&format!("[filter \"x\"]\n\tclean = \"touch {}; cat\"\n", ran.display()));
    for at in 0..70 {
        config.push_str(&format!("[filter \"{at}{}\"]\n\tclean = cat\n", "a".repeat(1 << 20)));
    }
    std::fs::write(&path, config).unwrap();
    desk.write("registry/.git/info/attributes", "* filter=x\n");
    desk.write("registry/README.md", "changed");
    let told = desk.json(&["registry", "check", "registry"]);
    assert!(told["warnings"].to_string().contains("names filters"), "{:#}", told["warnings"]);
    assert!(!ran.exists());
}

#[test]
fn what_a_registry_does_not_let_in_is_said() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    let hook = desk.sandbox.path("registry.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'not today'\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 6 && said.stderr.contains("registry.push_refused"), "{said:?}");
    assert!(said.stderr.contains("not today"), "{said:?}");
    // A branch that stands where this one would lie below it is not this one.
    std::fs::remove_file(&hook).unwrap();
    desk.git("registry.git", &["branch", "publish", "main"]);
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 6 && said.stderr.contains("registry.push_refused"), "{said:?}");
    assert!(said.stderr.contains("cannot lock ref") && said.stderr.contains("in the way"), "{said:?}");
    desk.git("registry.git", &["branch", "-D", "publish"]);
    // Who commits is git's to know.
    desk.write("home/.gitconfig", "[user]\n\tuseConfigOnly = true\n");
    let said = desk.publish("orders", &["-y"]);
    assert!(said.status == 2 && said.stderr.contains("git config --global user.name"), "{said:?}");
}

/// Nothing of a change is run while it is looked at, wherever in its repository the registry lies, and nothing beside it goes unseen.
#[test]
fn a_change_runs_nothing_where_it_is_looked_at() {
    let desk = shop();
    let good = files(&desk.sandbox.path("registry"));
    let own: Files = good.iter().map(|(path, bytes)| (format!("sub/{path}"), bytes.clone())).collect();
    let mono = Repository::create(&desk.sandbox.path("mono"));
    mono.commit(&own);
    assert!(desk.findings("mono/sub", &[]).is_empty());
    let mut beside = own.clone();
    beside.insert(".github/workflows/x.yml".to_owned(), b"x".to_vec());
    mono.commit(&beside);
    let told = desk.json(&["registry", "check", "mono/sub", "--base", "HEAD^1"]);
    assert_eq!(told["attention"], json!([".github/workflows/x.yml changes, outside of the registry"]));
    let said = desk.done(&["registry", "check", "mono/sub", "--base", "HEAD^1"]);
    assert!(said.contains("look at this before you merge:\n  .github"), "{said}");

    // What runs writes this file.
    let ran = desk.sandbox.path("ran");
    let program = format!("touch {}; cat", ran.display());
    let mut evil = own.clone();
    for (path, text) in [
        ("HEAD", "ref: refs/heads/main\n".to_owned()),
        ("objects/.gitkeep", String::new()),
        ("refs/.gitkeep", String::new()),
        (
            "config",
            format!(
                "[core]\n\trepositoryformatversion = 0\n\tworktree = .\n\tfsmonitor = \"{program}\"\n[filter \"x\"]\n\tclean = \"{program}\"\n"
            ),
        ),
        (".gitattributes", "* filter=x\n".to_owned()),
    ] {
        evil.insert(format!("sub/{path}"), text.into_bytes());
    }
    mono.commit(&evil);
    let said = desk.run(&["registry", "check", "mono/sub", "--base", "HEAD^1"]);
    assert!(said.status == 2 && said.stderr.contains("not called .git"), "{said:?}");
    assert!(!ran.exists());

    // A repository of somebody else's, with all that its configuration runs.
    let registry = desk.sandbox.path("registry");
    for (key, value) in
        [("filter.x.clean", program.as_str()), ("core.fsmonitor", &program), ("core.hooksPath", "hooks")]
    {
        place::git(&registry, &["config", key, value]);
    }
    desk.write("registry/.git/info/attributes", "* filter=x\n");
    desk.write("registry/hooks/post-index-change", format!("#!/bin/sh\n{program}\n"));
    let hook = desk.sandbox.path("registry/hooks/post-index-change");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    desk.write("registry/README.md", "changed");
    let told = desk.json(&["registry", "check", "registry"]);
    assert!(told["warnings"].to_string().contains("names filters"), "{told:#}");
    assert!(!ran.exists());
    place::git(&registry, &["config", "--remove-section", "filter.x"]);
    let told = desk.json(&["registry", "check", "registry"]);
    assert!(told["warnings"].to_string().contains("README.md"), "{told:#}");
    assert!(!ran.exists());

    // What it says it has elsewhere is not fetched, for it says as well by which program.
    let upload = format!("touch {}; git-upload-pack", ran.display());
    let origin = desk.sandbox.path("registry.git");
    for (key, value) in [
        ("core.repositoryformatversion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", origin.to_str().unwrap()),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", upload.as_str()),
    ] {
        place::git(&registry, &["config", key, value]);
    }
    let tree = desk.git("registry", &["rev-parse", "HEAD^1^{tree}"]).trim().to_owned();
    let object = registry.join(".git/objects").join(&tree[..2]).join(&tree[2..]);
    std::fs::remove_file(object).unwrap();
    let said = desk.run(&["registry", "check", "registry", "--base", "HEAD^1"]);
    assert!(said.status == 2 && said.stderr.contains("registry.base"), "{said:?}");
    assert!(!ran.exists(), "{said:?}");
    // Git itself would.
    desk.git("registry", &["diff-tree", "-r", "HEAD^1", "HEAD"]);
    assert!(ran.exists());
}

/// Sets what the registry says of the versions that have to be passed.
fn per_major(desk: &Desk, is_on: bool) {
    let path = desk.sandbox.path("registry/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["increment_per_major"] = json!(is_on);
    std::fs::write(&path, format!("{config:#}\n")).unwrap();
    desk.git("registry", &["commit", "--quiet", "--all", "-m", "config"]);
    desk.git("registry", &["push", "--quiet", "origin", "main"]);
}

#[test]
fn a_version_is_higher_than_all_or_than_those_of_its_major_as_the_registry_says() {
    let desk = Desk::new(&["--archives", "archives"]);
    let publish = |version: &str| {
        desk.component("orders", ORDERS, version);
        desk.publish("orders", &["-y"])
    };
    let passes = |version: &str| {
        let said = publish(version);
        assert_eq!(said.status, 0, "{version}: {said:?}");
        // The check of the change says the same.
        desk.merge(&format!("publish/order-schemas-{version}"));
    };
    let refused = |version: &str, than: &str| {
        let said = publish(version);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(said.status == 4 && all.contains("estream.version_increment"), "{version}: {said:?}");
        assert!(all.contains(than), "{version}: {than}: {all}");
    };
    passes("1.0.0");
    passes("2.0.0");
    refused("1.0.1", "higher than any that was published, 2.0.0");
    per_major(&desk, true);
    passes("1.0.1");
    refused("1.0.1", "higher than any 1.x that was published, 1.0.1");
    refused("1.0.1-rc.1", "1.0.1");
    refused("2.0.0", "higher than any 2.x that was published, 2.0.0");
    // A branch that was right when it was made, and is not where it is merged.
    assert_eq!(publish("1.0.2").status, 0);
    per_major(&desk, false);
    desk.git("registry", &["fetch", "--quiet", "origin", "publish/order-schemas-1.0.2"]);
    desk.git("registry", &["merge", "--quiet", "--no-ff", "-m", "merge", "FETCH_HEAD"]);
    assert_eq!(desk.findings("registry", &["--base", "HEAD^1"]), ["E010 estream.version_increment"]);
    desk.git("registry", &["reset", "--quiet", "--hard", "HEAD^1"]);
    // Prereleases count like other versions, and so does what was withdrawn.
    passes("2.1.0-rc.1");
    refused("2.1.0-beta", "2.1.0-rc.1");
    refused("2.0.1", "2.1.0-rc.1");
    passes("2.1.0");
    desk.done(&["yank", "order-schemas@2.1.0", "--registry", "./registry.git", "-y"]);
    desk.merge("yank/order-schemas-2.1.0");
    refused("2.1.0", "2.1.0");
    refused("2.0.5", "2.1.0");
    refused("2.1.0+build.2", "2.1.0");
    passes("2.1.1");
}

#[test]
fn what_a_forge_or_git_acts_on_is_no_archive() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.published("orders");
    desk.git("registry", &["fetch", "--quiet", "origin", "publish/order-schemas-1.0.0"]);
    let empty = files(&desk.sandbox.path("registry"));
    desk.git("registry", &["merge", "--quiet", "--no-ff", "-m", "merge", "FETCH_HEAD"]);
    let good = files(&desk.sandbox.path("registry"));
    let registry = Repository { path: desk.sandbox.path("registry") };
    let archive = "archives/order-schemas/1.0.0/package.tar.gz";
    // By hand, in a registry that leaves the place to its publishers: everything is right of the change but where its archive lies.
    let places = [
        (".github/workflows/x.yml", "E008 registry.file_unknown"),
        (".forge/x", "E008 registry.file_unknown"),
        // A path that is Git's own is none that readers take.
        (".gitattributes", "E008 input.path E008 input.path"),
        ("README.md", "E008 registry.file_unknown"),
        ("other/x.tar.gz", ""),
    ];
    for (place, expected) in places {
        let [base, mut changed] = [empty.clone(), good.clone()].map(|mut files| {
            change(&mut files, "config.json", |config| {
                drop(config.as_object_mut().unwrap().remove("archives"))
            });
            files
        });
        let bytes = changed.remove(archive).unwrap();
        changed.insert(place.to_owned(), bytes);
        change(&mut changed, &format!("{DIRECTORY}/metadata.json"), |document| {
            document["versions"][0]["archive_url"] = json!(place);
        });
        registry.commit(&base);
        registry.commit(&changed);
        let found = desk.findings("registry", &["--base", "HEAD^1"]);
        assert_eq!(found.join(" "), expected, "{place}");
    }
    // A place for archives that is none: what lies there changes before everybody's eyes.
    let mut changed = good.clone();
    change(&mut changed, "config.json", |config| config["archives"] = json!(".github"));
    changed.insert(".github/workflows/x.yml".to_owned(), b"on: push\n".to_vec());
    registry.commit(&good);
    registry.commit(&changed);
    let told = desk.run(&["registry", "check", "registry", "--base", "HEAD^1", "-o", "json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["automatic"], false, "{told:#}");
    assert!(told["changes"].to_string().contains(".github/workflows/x.yml changes"), "{told:#}");
}

#[test]
fn a_registry_and_its_base_are_each_read_within_the_limits() {
    let desk = Desk::new(&["--archives", "archives"]);
    desk.component("orders", ORDERS, "1.0.0");
    desk.published("orders");
    desk.merge("publish/order-schemas-1.0.0");
    desk.git("registry", &["commit", "--quiet", "--allow-empty", "-m", "next"]);
    let check = |documents: usize, more: &[&str]| {
        desk.write("config/resolverd/config.toml", format!("[limits]\ndocuments = {documents}\n"));
        desk.run(&[&["registry", "check", "registry"], more].concat())
    };
    let least = (1..50).find(|documents| check(*documents, &[]).status == 0).expect("few are read");
    assert!(least > 3, "{least}");
    let said = check(least, &["--base", "HEAD^1"]);
    assert_eq!(said.status, 0, "{said:?}");
    let said = check(least - 1, &["--base", "HEAD^1"]);
    assert!(said.status != 0 && said.stderr.contains("limit.documents"), "{said:?}");
}

/// How many publishers are at it is what `RESOLVERD_PUBLISHERS` says.
#[test]
fn k25_publishers_at_once_all_get_in_or_are_told_and_nothing_is_lost() {
    let desk = Desk::new(&["--archives", "archives"]);
    let count = count("RESOLVERD_PUBLISHERS", 5, 20);
    let name = |at: u64| format!("order-schemas-{at}");
    for at in 0..count {
        let text = ORDERS.replace("order-schemas", &name(at)).replace("VERSION", "1.0.0");
        desk.write(&format!("{}/estream-component.toml", name(at)), text);
        desk.write(&format!("{}/README.md", name(at)), "# Orders\n");
        let schema = "name: OrderPlaced\nversion: 1\nfields:\n  - name: id\n    type: u64\n";
        desk.write(&format!("{}/schemas/order-placed.esf.yaml", name(at)), schema);
    }
    desk.component("orders", ORDERS, "1.0.0");
    // Each has something else; and as many have the same version of the same.
    let (own, same): (Vec<Said>, Vec<Said>) = std::thread::scope(|scope| {
        let desk = &desk;
        let own: Vec<_> =
            (0..count).map(|at| scope.spawn(move || desk.publish(&name(at), &["-y"]))).collect();
        let same: Vec<_> = (0..count).map(|_| scope.spawn(move || desk.publish("orders", &["-y"]))).collect();
        let ends = |all: Vec<std::thread::ScopedJoinHandle<'_, Said>>| {
            all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        };
        (ends(own), ends(same))
    });
    for said in &own {
        assert_eq!(said.status, 0, "{said:?}");
    }
    let (won, lost): (Vec<&Said>, Vec<&Said>) = same.iter().partition(|said| said.status == 0);
    assert_eq!(won.len(), 1, "one of them is first: {same:?}");
    for said in lost {
        assert!(said.status == 6 && said.stderr.contains("registry.branch_exists"), "{said:?}");
    }
    (0..count).for_each(|at| desk.merge(&format!("publish/{}-1.0.0", name(at))));
    desk.merge("publish/order-schemas-1.0.0");
    assert!(desk.findings("registry", &[]).is_empty());
    let daemon = reads(&desk, &desk.sandbox.path("registry"));
    daemon.sync();
    for id in (0..count).map(name).chain(["order-schemas".to_owned()]) {
        let found = chosen(&daemon, &[&format!("{id}@1.0.0")]);
        assert!(found.starts_with("estream:"), "{id}: {found}");
    }
}

#[test]
fn k26_what_a_check_of_the_registry_lets_pass_is_no_trust() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = shop();
    assert!(desk.findings("registry", &[]).is_empty(), "the registry's own check has nothing to say");
    let daemon = reads(&desk, &desk.sandbox.path("registry"));
    assert!(chosen(&daemon, &["order-schemas@1.0.0"]).starts_with("estream:"));
    drop(daemon);
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[sources]]\nid = \"elsewhere\"\n\
        [[namespaces]]\nmatch = \"**\"\nsources = [\"elsewhere\"]\nrequire = \"pin\"\n";
    desk.write("config/resolverd/trust.toml", policy);
    for (place, mode) in
        [("config", 0o755), ("config/resolverd", 0o755), ("config/resolverd/trust.toml", 0o644)]
    {
        std::fs::set_permissions(desk.sandbox.path(place), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let daemon = reads(&desk, &desk.sandbox.path("registry"));
    daemon.sync();
    let answer = chosen(&daemon, &["order-schemas@1.0.0"]);
    assert!(answer.ends_with("trust.source_not_allowed"), "{answer}");
    let asked = json!({ "releases": ["estream:order-schemas@1.0.0"] });
    let refused = told(&daemon.post("/v1/materialize", &asked).json());
    assert!(refused.ends_with("trust.source_not_allowed"), "{refused}");
    assert!(desk.findings("registry", &[]).is_empty(), "which changes nothing here");
}
