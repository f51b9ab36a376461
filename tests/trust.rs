//! The trust policy with the real binary, on real repositories, with real keys: each case is a row of the list of threats and asserts
//! the reason that the answer gives.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{Component, all_files};
use crate::harness::poll;
use crate::harness::repository::{Files, Repository};

pub(crate) const X: &str = "lcod://acme/x";

/// Sources that are repositories, keys, and a policy over both.
pub(crate) struct Shop {
    /// Where the daemon runs.
    pub(crate) sandbox: Sandbox,
}

/// What one revision of a source holds.
#[derive(Default)]
pub(crate) struct Revision<'a> {
    /// `id@version`, each with what is in its manifest's summary.
    pub(crate) releases: &'a [&'a str],
    /// How the catalogue is signed: the words behind `sign FILE`; none for not at all.
    pub(crate) catalogue: &'a str,
    /// How every manifest is signed: the keys.
    pub(crate) packages: &'a str,
    /// The catalogue states no digests.
    pub(crate) without_digests: bool,
}

impl Shop {
    /// Makes a sandbox whose sources have these names, best place first.
    pub(crate) fn new(sources: &[&str]) -> Shop {
        let shop = Shop { sandbox: Sandbox::new() };
        for name in sources {
            Repository::create(&shop.repository(name));
        }
        shop.list(sources);
        std::fs::create_dir_all(shop.policy_file().parent().unwrap()).unwrap();
        for directory in ["config", "config/resolverd", "desk"] {
            std::fs::create_dir_all(shop.sandbox.path(directory)).unwrap();
            std::fs::set_permissions(shop.sandbox.path(directory), Permissions::from_mode(0o755)).unwrap();
        }
        shop
    }

    pub(crate) fn list(&self, sources: &[&str]) {
        let source = |name: &&str| {
            let url = format!("file://{}", self.repository(name).display());
            json!({ "id": name, "priority": 10, "entrypoint": { "type": "git", "url": url, "subpath": "catalogue.json" } })
        };
        let rows: Vec<Value> = sources.iter().map(source).collect();
        self.sandbox.write_sources(&json!({ "sources": rows }));
    }

    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.sandbox.path(&format!("repositories/{name}"))
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.sandbox.path("config/resolverd/trust.toml")
    }

    /// Runs a verb; words that start with `%` are files of the desk.
    pub(crate) fn run(&self, line: &str) -> Said {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| match word.strip_prefix('%') {
                Some(name) => self.sandbox.path(&format!("desk/{name}")).display().to_string(),
                None => word.to_owned(),
            })
            .collect();
        self.sandbox.run(&words.iter().map(String::as_str).collect::<Vec<&str>>())
    }

    #[track_caller]
    pub(crate) fn good(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.status, 0, "{line}: {said:?}");
        said.stdout
    }

    /// Makes keys.
    pub(crate) fn keys(&self, names: &[(&str, &str)]) {
        for (name, algorithm) in names {
            self.good(&format!("keys generate {algorithm} %{name}"));
            let public = self.sandbox.path(&format!("desk/{name}.pem"));
            std::fs::set_permissions(public, Permissions::from_mode(0o644)).unwrap();
        }
    }

    /// Returns the `[[keys]]` entry of a key.
    pub(crate) fn key(&self, name: &str, algorithm: &str, more: &str) -> String {
        let fingerprint = self.good(&format!("keys fingerprint %{name}.pem"));
        let file = self.sandbox.path(&format!("desk/{name}.pem"));
        format!(
            "[[keys]]\nid = \"{name}\"\nalgorithm = \"{algorithm}\"\nfile = \"{}\"\nfingerprint = \"{}\"\nusage = [\"catalogue\", \"package\"]\n{more}\n",
            file.display(),
            fingerprint.trim()
        )
    }

    /// Signs bytes with the words behind `sign FILE`, and returns the signature file.
    pub(crate) fn signed(&self, bytes: &[u8], words: &str) -> Vec<u8> {
        std::fs::write(self.sandbox.path("desk/signed"), bytes).unwrap();
        self.good(&format!("sign %signed --write %signature {words}"));
        let signature = self.sandbox.path("desk/signature");
        let found = std::fs::read(&signature).unwrap();
        std::fs::remove_file(signature).unwrap();
        found
    }

    /// Publishes a revision; `change` edits what is committed last: catalogue and signature.
    pub(crate) fn publish_changed(
        &self,
        source: &str,
        revision: &Revision<'_>,
        change: impl FnOnce(&mut Files),
    ) {
        let repository = Repository { path: self.repository(source) };
        let components: Vec<Component> = revision
            .releases
            .iter()
            .map(|release| {
                let (id, version) = release.split_once('@').unwrap();
                let mut one = Component::new(id, version, &[]);
                one.directory = format!("{}-{version}", one.directory);
                one
            })
            .collect();
        let mut files = all_files(&components);
        let written = repository.commit(&files);
        let mut versions = Vec::new();
        for one in &components {
            let (path, manifest) = (one.file("manifest.json"), one.manifest(&repository.url(), &written));
            let mut version = json!({ "version": one.version, "manifest": path });
            if !revision.without_digests {
                version["sha256"] = json!(Digest::sha256(&manifest));
            }
            if !revision.packages.is_empty() {
                let claims =
                    format!("--type package --id {} --release {} {}", one.id, one.version, revision.packages);
                files.insert(format!("{path}.sig"), self.signed(&manifest, &claims));
            }
            versions.push(json!({ "id": one.id, "versions": [version] }));
            files.insert(path, manifest);
        }
        let described = repository.commit(&files);
        let origin = json!({ "type": "git", "url": repository.url(), "commit": described });
        let mut listed: Vec<Value> = Vec::new();
        for row in versions {
            match listed.iter_mut().find(|known| known["id"] == row["id"]) {
                Some(known) => known["versions"].as_array_mut().unwrap().push(row["versions"][0].clone()),
                None => listed.push(row),
            }
        }
        let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": source, "origin": origin, "components": listed });
        let catalogue = serde_json::to_vec_pretty(&catalogue).unwrap();
        if !revision.catalogue.is_empty() {
            files.insert("catalogue.json.sig".to_owned(), self.signed(&catalogue, revision.catalogue));
        }
        files.insert("catalogue.json".to_owned(), catalogue);
        change(&mut files);
        repository.commit(&files);
    }

    pub(crate) fn publish(&self, source: &str, revision: &Revision<'_>) {
        self.publish_changed(source, revision, |_| {});
    }

    /// Puts a policy in place, as one rename.
    pub(crate) fn policy(&self, version: u64, text: &str) {
        self.policy_text(&format!("schema = \"resolverd/trust@1\"\nversion = {version}\n{text}"));
    }

    pub(crate) fn policy_text(&self, text: &str) {
        let fresh = self.sandbox.path("config/resolverd/fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(fresh, self.policy_file()).unwrap();
    }

    /// Puts a policy in place and waits until it is in force.
    pub(crate) fn reload(&self, daemon: &Daemon, version: u64, text: &str) {
        self.policy(version, text);
        poll::until("the policy", || {
            let policy = daemon.get("/v1/policy").ok();
            (policy["policies"][0]["version"] == version && judged(daemon)).then_some(())
        });
    }
}

/// Tells whether what is served was judged by the policies in force.
fn judged(daemon: &Daemon) -> bool {
    let policy = daemon.get("/v1/health").ok()["policy"].clone();
    policy["judgedBy"] == policy["digest"]
}

/// One source signs its catalogue with one key, `root`, and supplies everything.
pub(crate) fn signed_by_root(shop: &Shop, more: &str) -> String {
    let key = shop.key("root", "ed25519", more);
    format!(
        "{key}[[signers]]\nname = \"roots\"\nkeys = [\"root\"]\nthreshold = 1\nalgorithms = {{ any = [\"ed25519\"] }}\n{}",
        rules("signed_by = \"roots\"\n", "require = \"pin\"\n")
    )
}

pub(crate) fn rules(source: &str, namespace: &str) -> String {
    format!(
        "[[sources]]\nid = \"acme\"\n{source}[[namespaces]]\nname = \"all\"\nmatch = \"**\"\nsources = [\"acme\"]\n{namespace}"
    )
}

/// Returns how a reference is answered: `version verdict rule [signers]`, or the reason why it is not.
pub(crate) fn answer(daemon: &Daemon, reference: &str) -> String {
    let answer = daemon.resolve(&[reference]);
    if answer.status != 200 {
        return answer.reason();
    }
    let one = &answer.json()["components"][0];
    let trust = &one["trust"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {} {}",
        text(&one["version"]),
        text(&trust["verdict"]),
        text(&trust["rule"]),
        trust["signers"]
    )
}

pub(crate) fn source_reason(daemon: &Daemon) -> String {
    let row = daemon.get("/v1/sources").ok()["items"][0].clone();
    row["error"]["reason"].as_str().unwrap_or("fresh").to_owned()
}

/// Syncs, and compares why the source was not accepted and what is answered all the same.
#[track_caller]
pub(crate) fn check(daemon: &Daemon, source: &str, answered: &str, when: &str) {
    daemon.sync();
    assert_eq!((source_reason(daemon).as_str(), answer(daemon, X).as_str()), (source, answered), "{when}");
}

/// Returns the steps of an explanation, and compares them with what the command line prints.
pub(crate) fn why(shop: &Shop, daemon: &Daemon, id: &str) -> Vec<String> {
    let explained = daemon.post("/v1/explain", &json!({ "id": id })).ok();
    let lines = explained["release"]["why"].as_array().cloned().unwrap_or_default();
    let lines: Vec<String> = lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    let text = shop.good(&format!("explain {id}"));
    for line in &lines {
        assert!(text.contains(line.as_str()), "{line} is not in\n{text}");
    }
    lines
}

#[test]
fn without_a_policy_pins_must_hold_and_the_status_says_so() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 pinned - []");
    assert!(daemon.get("/v1/health").ok()["policy"].is_null());
    assert_eq!(daemon.get("/v1/policy").ok()["state"], "none");
    assert!(shop.good("status").contains("no trust policy is set"), "{}", shop.good("status"));
    // The first policy is taken without a restart, and denies what it does not name.
    shop.reload(&daemon, 1, &rules("", "require = \"pin\"\n").replace("**", "lcod://other/**"));
    assert_eq!(answer(&daemon, X), "trust.no_rule");
    let status = shop.good("status");
    assert!(status.contains("trust.toml version 1"), "{status}");
    // One that goes while nobody looks is not taken for one that never was.
    assert!(daemon.stop().success());
    std::fs::remove_file(shop.policy_file()).unwrap();
    let doctor = shop.good("doctor");
    assert!(doctor.contains("not there, and version 1 of it was in force here"), "{doctor}");
}

#[test]
fn a1_flipped_byte() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let first = Revision {
        releases: &["lcod://acme/x@1.0.0"],
        catalogue: "--raw --key %root.key",
        ..Revision::default()
    };
    shop.publish("acme", &first);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed");
    let second = Revision { releases: &["lcod://acme/x@1.0.0", "lcod://acme/x@2.0.0"], ..first };
    for place in [0, 1, 100, 333, usize::MAX] {
        shop.publish_changed("acme", &second, |files| {
            let catalogue = files.get_mut("catalogue.json").unwrap();
            let place = place.min(catalogue.len() - 1);
            catalogue[place] ^= 1;
        });
        check(&daemon, "trust.signature_invalid", "1.0.0 pinned all []", &format!("byte {place}"));
    }
    shop.publish("acme", &second);
    check(&daemon, "fresh", "2.0.0 pinned all []", "as it was signed");
    let stored = daemon.catalogue("acme");
    assert_eq!(stored["state"], "fresh", "{stored:#}");
}

#[test]
fn a_claim_of_a_source_is_unchecked_until_somebody_has_checked_it() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let url = format!("file://{}", shop.repository("acme").display());
    let entry = json!({ "type": "git", "url": url, "subpath": "catalogue.json" });
    let source = json!({ "id": "acme", "priority": 10, "publicKey": "keys/root.pem", "entrypoint": entry });
    shop.sandbox.write_sources(&json!({ "sources": [source] }));
    let signed = "--key %root.key --id acme";
    let one = ["lcod://acme/x@1.0.0"];
    shop.publish("acme", &Revision { releases: &one, catalogue: signed, ..Revision::default() });
    let daemon = shop.sandbox.start_synced();
    let claim = || daemon.get("/v1/sources").ok()["items"][0]["signature"].clone();
    assert_eq!(claim(), "unchecked");
    shop.reload(&daemon, 1, &signed_by_root(&shop, ""));
    daemon.sync();
    assert_eq!(claim(), Value::Null, "{:#}", daemon.catalogue("acme"));
}

#[test]
fn a2_signature_taken_away() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = signed_by_root(&shop, "");
    shop.policy(1, &policy);
    let signed = "--key %root.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() },
    );
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed");
    let second = Revision { releases: &["lcod://acme/x@2.0.0"], ..Revision::default() };
    let page = b"<!doctype html><title>Sign in</title>";
    for (what, bytes) in [("none", None), ("empty", Some(&b""[..])), ("a page", Some(&page[..]))] {
        shop.publish_changed("acme", &second, |files| {
            if let Some(bytes) = bytes {
                files.insert("catalogue.json.sig".to_owned(), bytes.to_vec());
            }
        });
        check(&daemon, "trust.unsigned", "1.0.0 pinned all []", what);
    }
    // Nobody asks for signatures any more; what was signed once stays signed.
    shop.reload(&daemon, 2, &policy.replacen("signed_by = \"roots\"\n", "", 1));
    shop.publish("acme", &second);
    check(&daemon, "trust.unsigned", "1.0.0 pinned all []", "a policy that asks for less");
    assert!(shop.good("status").contains("resolverd trust forget acme"), "{}", shop.good("status"));
    shop.good("trust forget acme --reason unsigned-from-now-on");
    check(&daemon, "fresh", "2.0.0 pinned all []", "forgotten");
}

#[test]
fn a8_signature_of_another_package() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = signed_by_root(&shop, "").replace("signed_by = \"roots\"\n[[names", "[[names");
    let asks = "require = \"signature\"\nsigned_by = \"roots\"\n";
    shop.policy(1, &policy.replace("require = \"pin\"\n", asks));
    let releases = &["lcod://acme/x@1.0.0", "lcod://acme/y@1.0.0"];
    let signed = Revision { releases, packages: "--key %root.key", ..Revision::default() };
    shop.publish("acme", &signed);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all [\"root\"]");
    let text = shop.good("resolve lcod://acme/x");
    assert!(text.contains("trusted by rule all, signed by root"), "{text}");
    let steps = why(&shop, &daemon, X);
    assert!(
        steps.iter().any(|step| step == "signatures: 1 of the keys of roots, which asks for 1"),
        "{steps:#?}"
    );

    // The same bytes cannot be two packages: what lies beside x is the signature of y.
    let stolen =
        std::fs::read(shop.repository("acme").join("packages/acme.y-1.0.0/manifest.json.sig")).unwrap();
    let repository = Repository { path: shop.repository("acme") };
    let catalogue: Value =
        serde_json::from_slice(&std::fs::read(repository.path.join("catalogue.json")).unwrap()).unwrap();
    let mut files = Files::new();
    for name in ["x", "y"] {
        for file in ["lcp.toml", "compose.yaml", "manifest.json"] {
            let path = format!("packages/acme.{name}-1.0.0/{file}");
            files.insert(path.clone(), std::fs::read(repository.path.join(&path)).unwrap());
        }
        files.insert(format!("packages/acme.{name}-1.0.0/manifest.json.sig"), stolen.clone());
    }
    let described = repository.commit(&files);
    let mut catalogue = catalogue;
    catalogue["origin"]["commit"] = json!(described);
    files.insert("catalogue.json".to_owned(), serde_json::to_vec(&catalogue).unwrap());
    repository.commit(&files);
    check(&daemon, "fresh", "trust.statement_mismatch", "the signature of another package");
    assert_eq!(answer(&daemon, "lcod://acme/y"), "1.0.0 trusted all [\"root\"]");
    let refused = daemon.resolve(&[X]);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("E015")), "{refused}");
    let steps = why(&shop, &daemon, X);
    assert!(steps.iter().any(|step| step.starts_with("signatures: trust.statement_mismatch")), "{steps:#?}");
    assert!(steps.last().unwrap().contains("trust.toml, line "), "{steps:#?}");
}

#[test]
fn a9_digest_missing() {
    let shop = Shop::new(&["acme"]);
    shop.policy(1, &rules("", "require = \"digest\"\n"));
    let releases = &["lcod://acme/x@1.0.0"];
    shop.publish("acme", &Revision { releases, without_digests: true, ..Revision::default() });
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "trust.digest_missing", "a commit alone");
    shop.publish("acme", &Revision { releases, ..Revision::default() });
    check(&daemon, "fresh", "1.0.0 trusted all []", "with its digest");
    shop.reload(&daemon, 2, &rules("", "require = \"digest\"\ndigests = [\"sha512\"]\n"));
    assert_eq!(answer(&daemon, X), "trust.digest_weak", "b11: a digest that is not asked for");
}

#[test]
fn a13_key_of_nobody() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519"), ("own", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let own = "--key %own.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: own, ..Revision::default() },
    );
    let daemon = shop.sandbox.spawn();
    poll::until("the first sync", || {
        daemon.try_ask("GET", "/readyz", None).ok().filter(|one| one.status == 200)
    });
    daemon.sync();
    assert_eq!(source_reason(&daemon), "trust.key_unknown");
    assert_eq!(answer(&daemon, X), "source_unread", "nobody else may answer");
}

#[test]
fn b1_same_key_twice() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519"), ("second", "ed25519")]);
    let keys = shop.key("root", "ed25519", "") + &shop.key("second", "ed25519", "");
    let set = |names: &str| {
        format!(
            "[[signers]]\nname = \"two\"\nkeys = [{names}]\nthreshold = 2\nalgorithms = {{ any = [\"ed25519\"] }}\n"
        )
    };
    let rules = rules("signed_by = \"two\"\n", "require = \"pin\"\n");
    shop.policy(1, &format!("{keys}{}{rules}", set("\"root\", \"second\"")));
    let releases = &["lcod://acme/x@1.0.0"];
    shop.publish(
        "acme",
        &Revision {
            releases,
            catalogue: "--key %root.key --key %second.key --id acme",
            ..Revision::default()
        },
    );
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "two keys");
    let newer = Revision {
        releases: &["lcod://acme/x@2.0.0"],
        catalogue: "--key %root.key --id acme",
        ..Revision::default()
    };
    shop.publish("acme", &newer);
    check(&daemon, "trust.threshold", "1.0.0 pinned all []", "b2: one key where two are asked for");
    shop.publish_changed("acme", &newer, |files| {
        let mut envelope: Value = serde_json::from_slice(&files["catalogue.json.sig"]).unwrap();
        let one = envelope["signatures"][0].clone();
        envelope["signatures"].as_array_mut().unwrap().push(one);
        files.insert("catalogue.json.sig".to_owned(), envelope.to_string().into_bytes());
    });
    check(&daemon, "input.signature_duplicate", "1.0.0 pinned all []", "one signature twice");

    // One key under two names is one key: the threshold cannot be met, and the file is refused.
    let same = keys.replace(
        &shop.key("second", "ed25519", ""),
        &shop.key("root", "ed25519", "").replace("id = \"root\"", "id = \"alias\""),
    );
    shop.policy(2, &format!("{same}{}{rules}", set("\"root\", \"alias\"")));
    poll::until("the refusal", || {
        let reason = daemon.get("/v1/policy").ok()["problem"]["reason"].as_str().map(str::to_owned)?;
        assert!(reason.starts_with("policy."), "{reason}");
        Some(())
    });
}

#[test]
fn b3_garbage_beside_a_good_signature() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let signed = "--key %root.key --id acme";
    let revision = |version: &'static [&'static str]| Revision {
        releases: version,
        catalogue: signed,
        ..Revision::default()
    };
    let garbage = |files: &mut Files, count: usize| {
        let mut envelope: Value = serde_json::from_slice(&files["catalogue.json.sig"]).unwrap();
        let all = envelope["signatures"].as_array_mut().unwrap();
        for number in 0..count {
            let digits = format!("{number:02x}").repeat(32);
            all.push(json!({ "key_id": format!("sha256:{digits}"), "algorithm": "ed25519", "sig": format!("{number:04}") }));
        }
        files.insert("catalogue.json.sig".to_owned(), envelope.to_string().into_bytes());
    };
    shop.publish_changed("acme", &revision(&["lcod://acme/x@1.0.0"]), |files| garbage(files, 15));
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "fifteen others beside it");
    shop.publish_changed("acme", &revision(&["lcod://acme/x@2.0.0"]), |files| garbage(files, 16));
    check(&daemon, "input.too_many_signatures", "1.0.0 pinned all []", "sixteen others beside it");
}

#[test]
fn b6_b7_window_of_a_key() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let signed = "--key %root.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() },
    );
    shop.policy(1, &signed_by_root(&shop, ""));
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "without a window");
    let cases = [
        ("not_after = 2020-01-01T00:00:00Z", "trust.key_expired"),
        ("not_before = 2126-01-01T00:00:00Z", "trust.key_not_yet_valid"),
    ];
    for (version, (window, reason)) in (2..).zip(cases) {
        shop.reload(&daemon, version, &signed_by_root(&shop, window));
        check(&daemon, reason, reason, window);
    }
    shop.reload(&daemon, 9, &signed_by_root(&shop, "not_after = 2126-01-01T00:00:00Z"));
    check(&daemon, "fresh", "1.0.0 pinned all []", "inside its window");
    assert!(daemon.get("/v1/health").ok()["policy"]["nextChange"].is_string(), "its end, or max_stale");
}

#[test]
fn b8_b9_revoked_key() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let signed = "--key %root.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() },
    );
    shop.policy(1, &signed_by_root(&shop, ""));
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "before");
    // What is on the shelf is judged again, and nobody is asked: the repository is gone.
    let (here, away) = (shop.repository("acme"), shop.sandbox.path("away"));
    std::fs::rename(&here, &away).unwrap();
    let revoked = "revoked = { at = 2126-05-04T00:00:00Z, reason = \"compromised\" }";
    shop.reload(&daemon, 2, &signed_by_root(&shop, revoked));
    assert_eq!(answer(&daemon, X), "trust.key_revoked", "signed long before the instant of the revocation");
    assert!(why(&shop, &daemon, X).iter().any(|step| step.starts_with("catalogue: trust.key_revoked")));
    std::fs::rename(&away, &here).unwrap();
    check(&daemon, "trust.key_revoked", "trust.key_revoked", "read again");
    // A policy that trusts the key again brings it back, offline.
    shop.reload(&daemon, 3, &signed_by_root(&shop, ""));
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
}

#[test]
fn b10_algorithm_of_the_envelope() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let signed = "--key %root.key --id acme";
    let first = Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() };
    shop.publish("acme", &first);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed");
    let second = Revision { releases: &["lcod://acme/x@2.0.0"], ..first };
    for algorithm in ["ml-dsa-87", "none", "", "ML-DSA-65", "ed25519ph", "ED25519"] {
        shop.publish_changed("acme", &second, |files| {
            let mut envelope: Value = serde_json::from_slice(&files["catalogue.json.sig"]).unwrap();
            envelope["signatures"][0]["algorithm"] = json!(algorithm);
            files.insert("catalogue.json.sig".to_owned(), envelope.to_string().into_bytes());
        });
        check(&daemon, "trust.algorithm_mismatch", "1.0.0 pinned all []", algorithm);
    }
}

#[test]
fn b12_b13_half_of_a_hybrid() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("ed", "ed25519"), ("pq", "ml-dsa-87")]);
    let keys = shop.key("ed", "ed25519", "") + &shop.key("pq", "ml-dsa-87", "");
    let policy = |version: u64, threshold: u8, mode: &str| {
        let set = format!(
            "[[signers]]\nname = \"both\"\nkeys = [\"ed\", \"pq\"]\nthreshold = {threshold}\nalgorithms = {{ {mode} = [\"ed25519\", \"ml-dsa-87\"] }}\n"
        );
        (version, format!("{keys}{set}{}", rules("signed_by = \"both\"\n", "require = \"pin\"\n")))
    };
    let (version, text) = policy(1, 2, "all");
    shop.policy(version, &text);
    let signed = "--key %ed.key --key %pq.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() },
    );
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "both halves");
    let second = Revision { releases: &["lcod://acme/x@2.0.0"], catalogue: signed, ..Revision::default() };
    let strip = |files: &mut Files, half: usize| {
        let mut envelope: Value = serde_json::from_slice(&files["catalogue.json.sig"]).unwrap();
        envelope["signatures"].as_array_mut().unwrap().remove(half);
        files.insert("catalogue.json.sig".to_owned(), envelope.to_string().into_bytes());
    };
    for half in [0, 1] {
        shop.publish_changed("acme", &second, |files| strip(files, half));
        check(&daemon, "trust.threshold", "1.0.0 pinned all []", "one half under all");
    }
    let (version, text) = policy(2, 1, "any");
    shop.reload(&daemon, version, &text);
    for half in [0, 1] {
        shop.publish_changed("acme", &second, |files| strip(files, half));
        check(&daemon, "trust.algorithm_missing", "1.0.0 pinned all []", "the statement names both");
    }
    shop.publish("acme", &second);
    check(&daemon, "fresh", "2.0.0 pinned all []", "both halves");
}

#[test]
fn b22_broken_policy() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    let good = rules("", "require = \"pin\"\n");
    shop.policy(5, &good);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    let refused = |reason: &str| {
        poll::until(reason, || (daemon.get("/v1/policy").ok()["problem"]["reason"] == reason).then_some(()));
        assert_eq!(answer(&daemon, X), "1.0.0 pinned all []", "{reason}: what was in force stays");
        let ready = daemon.get("/readyz").ok();
        assert!(ready["degraded"].as_array().unwrap().iter().any(|one| one["reason"] == reason), "{ready:#}");
        let health = daemon.get("/v1/health").ok();
        assert_eq!(
            (&health["policy"]["state"], &health["status"]),
            (&json!("kept"), &json!("degraded")),
            "{health:#}"
        );
        assert!(shop.good("status").contains(reason), "{}", shop.good("status"));
    };
    shop.policy(6, &good.replace("require", "requires"));
    refused("policy.syntax");
    shop.policy(4, &good);
    refused("policy.version_rollback");
    shop.policy(6, &good);
    std::fs::set_permissions(shop.policy_file(), Permissions::from_mode(0o666)).unwrap();
    refused("policy.permissions");
    std::fs::remove_file(shop.policy_file()).unwrap();
    refused("policy.missing");
    shop.reload(&daemon, 7, &good);
    assert!(daemon.get("/v1/health").ok()["policy"]["problem"].is_null());
    daemon.stop();

    // A cold start has nothing to keep: nothing but the status is answered, until the file can be used.
    shop.policy(4, &good);
    let daemon = shop.sandbox.spawn();
    poll::until("an answer", || daemon.try_ask("GET", "/livez", None).ok().filter(|one| one.status == 200));
    let locked = daemon.resolve(&[X]);
    assert_eq!((locked.status, locked.reason().as_str()), (422, "policy.version_rollback"), "{locked}");
    let ready = daemon.get("/readyz");
    assert_eq!(
        (ready.status, &ready.json()["degraded"][0]["reason"]),
        (503, &json!("policy.version_rollback")),
        "{ready}"
    );
    assert_eq!(daemon.get("/v1/health").ok()["policy"]["state"], "locked");
    assert_eq!(daemon.post("/v1/sync", &json!({})).reason(), "policy.version_rollback");
    drop(daemon);
    // Nor does a verb that answers in process.
    let said = shop.run("resolve lcod://acme/x");
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("policy.version_rollback"), "{said:?}");
    let status = shop.good("status");
    assert!(status.contains("policy.version_rollback") && status.contains("none can be used"), "{status}");
    let examined = shop.run("doctor");
    assert!(examined.stdout.contains("trust.toml"), "{examined:?}");
    let daemon = shop.sandbox.spawn();
    poll::until("an answer", || daemon.try_ask("GET", "/livez", None).ok().filter(|one| one.status == 200));
    shop.policy(8, &good);
    poll::until("what was locked", || (answer(&daemon, X) == "1.0.0 pinned all []").then_some(()));
}

#[test]
fn c1_older_version_of_a_signed_catalogue() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let of = |version: u64| format!("--key %root.key --id acme --catalogue-version {version}");
    let publish = |release: &str, version: u64| {
        shop.publish(
            "acme",
            &Revision { releases: &[release], catalogue: &of(version), ..Revision::default() },
        );
    };
    publish("lcod://acme/x@42.0.0", 42);
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "42.0.0 pinned all []", "version 42");
    // Bytes that were never seen here, in a commit that follows: only the signers' own number tells.
    publish("lcod://acme/x@41.0.0", 41);
    check(&daemon, "trust.rollback", "42.0.0 pinned all []", "version 41");
    publish("lcod://acme/x@42.1.0", 42);
    check(&daemon, "trust.version_mutated", "42.0.0 pinned all []", "version 42 with other bytes");
    // A signature over the bytes alone has no number, and may be as old as it likes.
    let raw = Revision {
        releases: &["lcod://acme/x@40.0.0"],
        catalogue: "--raw --key %root.key",
        ..Revision::default()
    };
    shop.publish("acme", &raw);
    check(&daemon, "trust.rollback", "42.0.0 pinned all []", "no version");
    publish("lcod://acme/x@43.0.0", 43);
    check(&daemon, "fresh", "43.0.0 pinned all []", "version 43");
}

#[test]
fn c3_signed_expiry() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let of = |expires: &str| format!("--key %root.key --id acme --expires {expires}");
    let publish = |release: &str, expires: &str| {
        shop.publish(
            "acme",
            &Revision { releases: &[release], catalogue: &of(expires), ..Revision::default() },
        );
    };
    publish("lcod://acme/x@1.0.0", "2126-01-01T00:00:00Z");
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "before its end");
    let health = daemon.get("/v1/health").ok();
    assert!(health["policy"]["nextChange"].is_string(), "{health:#}");
    let soon = Command::new("date").args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap();
    publish("lcod://acme/x@2.0.0", soon.trim());
    daemon.sync();
    // Nobody orders anything: it ends by itself, without network.
    poll::until("the end", || (answer(&daemon, X) == "trust.frozen").then_some(()));
    publish("lcod://acme/x@3.0.0", "2126-01-01T00:00:00Z");
    check(&daemon, "fresh", "3.0.0 pinned all []", "renewed");
}

#[test]
fn d1_higher_version_elsewhere() {
    let shop = Shop::new(&["public", "internal"]);
    shop.publish(
        "public",
        &Revision { releases: &["lcod://acme/x@99.0.0", "lcod://open/z@1.0.0"], ..Revision::default() },
    );
    shop.publish("internal", &Revision { releases: &["lcod://acme/x@1.2.0"], ..Revision::default() });
    let policy = "[[namespaces]]\nname = \"acme\"\nmatch = \"lcod://acme/**\"\nsources = [\"internal\"]\nrequire = \"pin\"\n[[namespaces]]\nmatch = \"**\"\nsources = [\"public\", \"internal\"]\nrequire = \"pin\"\n";
    shop.policy(1, policy);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.2.0 pinned acme []", "although public is placed before internal");
    assert_eq!(answer(&daemon, "lcod://open/z"), "1.0.0 pinned ** []");
    let warnings = daemon.catalogue("public")["warnings"].clone();
    assert_eq!(warnings[0]["reason"], "trust.source_not_allowed", "{warnings:#}");
    let explained = daemon.post("/v1/explain", &json!({ "id": X })).ok();
    let loser = &explained["shadowed"][0];
    assert_eq!(loser["source"], "public", "{explained:#}");
    assert!(loser["why"].as_str().unwrap().contains("trust.source_not_allowed"), "{loser:#}");
    assert!(daemon.log().contains("trust.source_not_allowed"), "{}", daemon.log());

    // Where nobody who may supply it lists it, nobody supplies it.
    shop.publish("internal", &Revision { releases: &["lcod://acme/other@1.0.0"], ..Revision::default() });
    daemon.sync();
    assert_eq!(answer(&daemon, X), "trust.source_not_allowed");
    assert!(why(&shop, &daemon, X).iter().any(|step| step.starts_with("source: trust.source_not_allowed")));
}

#[test]
fn d2_preferred_source_never_read() {
    let shop = Shop::new(&["internal", "public"]);
    shop.publish("public", &Revision { releases: &["lcod://acme/x@99.0.0"], ..Revision::default() });
    let policy = "[[namespaces]]\nname = \"acme\"\nmatch = \"lcod://acme/**\"\nsources = [\"internal\", \"public\"]\nrequire = \"pin\"\n";
    shop.policy(1, policy);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "sync.source_unavailable");
    assert_eq!(answer(&daemon, "lcod://acme/never-heard-of"), "source_unread", "it may be one of internal's");
    shop.publish("internal", &Revision { releases: &["lcod://acme/y@1.0.0"], ..Revision::default() });
    daemon.sync();
    assert_eq!(answer(&daemon, X), "99.0.0 pinned acme []", "internal was read, and does not list it");
}

#[test]
fn d8_reserved_prefix() {
    let shop = Shop::new(&["vendor", "others"]);
    shop.publish(
        "others",
        &Revision { releases: &["lcod://lib/esf-x@1.0.0", "lcod://lib/mine@1.0.0"], ..Revision::default() },
    );
    shop.publish("vendor", &Revision { releases: &["lcod://lib/esf-y@1.0.0"], ..Revision::default() });
    let policy = "[[namespaces]]\nname = \"reserved\"\nmatch = \"lcod://lib/esf-*\"\nsources = [\"vendor\"]\nrequire = \"pin\"\n[[namespaces]]\nname = \"rest\"\nmatch = \"**\"\nsources = [\"vendor\", \"others\"]\nrequire = \"pin\"\n";
    shop.policy(1, policy);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, "lcod://lib/esf-x"), "trust.source_not_allowed");
    assert_eq!(answer(&daemon, "lcod://lib/esf-y"), "1.0.0 pinned reserved []");
    assert_eq!(answer(&daemon, "lcod://lib/mine"), "1.0.0 pinned rest []");
}

#[test]
fn a_policy_that_warns_or_audits_uses_what_it_would_refuse() {
    let shop = Shop::new(&["acme"]);
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], without_digests: true, ..Revision::default() },
    );
    let policy = |mode: &str| rules("", &format!("require = \"digest\"\nmode = \"{mode}\"\n"));
    shop.policy(1, &policy("audit"));
    let daemon = shop.sandbox.start_synced();
    let warnings = || daemon.resolve(&[X]).ok()["warnings"].clone();
    assert_eq!((answer(&daemon, X).as_str(), warnings()), ("1.0.0 pinned all []", json!([])));
    shop.reload(&daemon, 2, &policy("warn"));
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    assert_eq!(warnings()[0]["reason"], "trust.digest_missing", "{:#}", warnings());
    shop.reload(&daemon, 3, &policy("enforce"));
    assert_eq!(answer(&daemon, X), "trust.digest_missing");
}

#[test]
fn a_restart_judges_by_the_policy_of_today_before_it_answers() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    shop.sandbox.start_synced().stop();
    // Nothing can be fetched any more, and nothing has to be.
    std::fs::rename(shop.repository("acme"), shop.sandbox.path("away")).unwrap();
    shop.policy(1, &rules("", "require = \"signature\"\nsigned_by = \"roots\"\n").replacen("[[sources]]", "[[signers]]\nname = \"roots\"\nkeys = [\"root\"]\nthreshold = 1\nalgorithms = { any = [\"ed25519\"] }\n[[sources]]", 1).replacen("[[signers]]", &{
        shop.keys(&[("root", "ed25519")]);
        format!("{}[[signers]]", shop.key("root", "ed25519", ""))
    }, 1));
    for verb in ["resolve lcod://acme/x", "resolve --offline lcod://acme/x"] {
        let said = shop.run(verb);
        assert_eq!(said.status, 6, "{verb}: {said:?}");
        assert!(said.stderr.contains("trust.unsigned"), "{verb}: {said:?}");
    }
    let daemon = shop.sandbox.start();
    assert_eq!(answer(&daemon, X), "trust.unsigned");
}

#[test]
fn openssl_signs_a_catalogue() {
    let shop = Shop::new(&["acme"]);
    let file = |name: &str| shop.sandbox.path(&format!("desk/{name}")).display().to_string();
    let openssl = |words: &[&str]| Said::of(Command::new("openssl").args(words));
    let made = openssl(&["genpkey", "-algorithm", "ed25519", "-out", &file("root.key")]);
    assert_eq!(made.status, 0, "{made:?}");
    let public = openssl(&["pkey", "-in", &file("root.key"), "-pubout", "-out", &file("root.pem")]);
    assert_eq!(public.status, 0, "{public:?}");
    std::fs::set_permissions(file("root.pem"), Permissions::from_mode(0o644)).unwrap();
    shop.policy(1, &signed_by_root(&shop, ""));
    let revision = Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() };
    shop.publish_changed("acme", &revision, |files| {
        std::fs::write(file("catalogue"), &files["catalogue.json"]).unwrap();
        let signed = openssl(&[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            &file("root.key"),
            "-in",
            &file("catalogue"),
            "-out",
            &file("sig"),
        ]);
        assert_eq!(signed.status, 0, "{signed:?}");
        files.insert("catalogue.json.sig".to_owned(), std::fs::read(file("sig")).unwrap());
    });
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed by another program");
    assert!(why(&shop, &daemon, X).iter().any(|step| step.starts_with("catalogue: 1 of the keys of roots")));
}

/// Publishes a list that pins its one catalogue by digest, and signs the list only; `change` edits what is committed last.
fn publish_list(shop: &Shop, releases: &[&str], change: impl FnOnce(&mut Files)) {
    let revision = Revision { releases, ..Revision::default() };
    shop.publish_changed("acme", &revision, |files| {
        let catalogue = files.remove("catalogue.json").unwrap();
        let pointer = json!({
            "id": "inner", "kind": "file", "url": "inner.json", "checksum": Digest::sha256(&catalogue).to_string(),
        });
        let list = json!({ "schema": "lcod-registry/catalogues@1", "catalogues": [pointer] }).to_string();
        files.insert("catalogue.json.sig".to_owned(), shop.signed(list.as_bytes(), "--raw --key %root.key"));
        files.insert("inner.json".to_owned(), catalogue);
        files.insert("catalogue.json".to_owned(), list.into_bytes());
        change(files);
    });
}

#[test]
fn what_a_signed_list_pins_is_refused_for_the_reason_of_the_list() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    publish_list(&shop, &["lcod://acme/x@1.0.0"], |_| {});
    shop.policy(1, &signed_by_root(&shop, ""));
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "the list vouches for its catalogue");
    // A list that is refused vouches for nothing new: neither for a catalogue that it names, nor for one that it named.
    for (what, edit) in [("the list", "catalogue.json"), ("the catalogue", "inner.json")] {
        publish_list(&shop, &["lcod://acme/x@2.0.0"], |files| files.get_mut(edit).unwrap().push(b' '));
        daemon.sync();
        assert_eq!(answer(&daemon, X), "1.0.0 pinned all []", "{what} was changed");
    }
    let mut edited = false;
    publish_list(&shop, &["lcod://acme/x@2.0.0"], |files| {
        // What the list names is there and good; the list itself bears the signature of another one.
        let signature = shop.signed(b"another list", "--raw --key %root.key");
        edited = files.insert("catalogue.json.sig".to_owned(), signature).is_some();
    });
    assert!(edited);
    check(&daemon, "trust.signature_invalid", "1.0.0 pinned all []", "a voucher of a refused document");
    let revoked = "revoked = { at = 2126-05-04T00:00:00Z, reason = \"compromised\" }";
    shop.reload(&daemon, 2, &signed_by_root(&shop, revoked));
    assert_eq!(answer(&daemon, X), "trust.key_revoked", "and not that nobody has signed it");
    let told = shop.good("explain lcod://acme/x");
    assert!(told.contains("catalogue: trust.key_revoked"), "{told}");
}

#[test]
fn a_snapshot_from_before_a_revocation_is_listed_and_not_answered() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    std::fs::write(shop.sandbox.path("config/resolverd/config.toml"), "generations = 8\n").unwrap();
    let signed = "--key %root.key --id acme";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], catalogue: signed, ..Revision::default() },
    );
    shop.policy(1, &signed_by_root(&shop, ""));
    let daemon = shop.sandbox.start_synced();
    let before = snapshot(&daemon);
    let at = |snapshot: &str| daemon.post("/v1/resolve", &json!({ "requests": [X], "snapshot": snapshot }));
    assert_eq!(at(&before).status, 200, "{:?}", at(&before).json());
    let revoked = "revoked = { at = 2126-05-04T00:00:00Z, reason = \"compromised\" }";
    shop.reload(&daemon, 2, &signed_by_root(&shop, revoked));
    let refused = at(&before);
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (410, "policy.superseded"),
        "{:?}",
        refused.json()
    );
    assert_eq!(at(&snapshot(&daemon)).reason(), "trust.key_revoked", "the current one says why");
    let listed = daemon.get("/v1/snapshots").ok();
    let row = |digest: &str| {
        let rows = listed["items"].as_array().unwrap();
        rows.iter().find(|row| row["snapshot"] == digest).map(|row| row["answers"].clone())
    };
    assert_eq!(
        (row(&before), row(&snapshot(&daemon))),
        (Some(json!(false)), Some(json!(true))),
        "{listed:#}"
    );
    let said = shop.run(&format!("snapshots diff {before}"));
    assert!(
        said.status == 0 && said.stdout.contains("lcod://acme/x"),
        "what changed is shown still: {said:?}"
    );
    // Whoever starts it again finds the same.
    assert!(daemon.stop().success());
    let said = shop.run(&format!("--offline resolve {X} --snapshot {before}"));
    assert!(said.status == 10 && said.stderr.contains("policy.superseded"), "{said:?}");
}

#[test]
fn a_snapshot_whose_catalogue_has_ended_is_not_answered_any_more() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    std::fs::write(shop.sandbox.path("config/resolverd/config.toml"), "generations = 8\n").unwrap();
    shop.policy(1, &signed_by_root(&shop, ""));
    let publish = |release: &str, expires: &str| {
        let signed = format!("--key %root.key --id acme --expires {expires}");
        shop.publish("acme", &Revision { releases: &[release], catalogue: &signed, ..Revision::default() });
    };
    let soon = Said::of(Command::new("date").args(["-u", "-d", "+6 seconds", "+%Y-%m-%dT%H:%M:%SZ"]));
    publish("lcod://acme/x@1.0.0", soon.stdout.trim());
    let daemon = shop.sandbox.start_synced();
    let before = snapshot(&daemon);
    publish("lcod://acme/x@2.0.0", "2126-01-01T00:00:00Z");
    daemon.sync();
    assert_ne!(snapshot(&daemon), before);
    let at = |snapshot: &str| daemon.post("/v1/resolve", &json!({ "requests": [X], "snapshot": snapshot }));
    // Nothing changes in what is in force, and nobody orders anything.
    poll::until("the end of the older one", || {
        let answer = at(&before);
        (answer.status == 410 && answer.reason() == "policy.superseded").then_some(())
    });
    assert_eq!(at(&snapshot(&daemon)).status, 200);
}

#[test]
fn of_two_edits_during_a_sync_the_last_one_is_in_force_and_has_judged_everything() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    let good = rules("", "require = \"pin\"\n");
    shop.policy(1, &good);
    let daemon = shop.sandbox.start_synced();
    let narrow = good.replace("**", "lcod://other/**");
    for round in 0..5 {
        let version = 2 + 2 * round;
        let (first, last, expected) = match round % 2 {
            0 => (&good, &narrow, "trust.no_rule"),
            _ => (&narrow, &good, "1.0.0 pinned all []"),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| daemon.post("/v1/sync", &json!({})));
            shop.policy(version, first);
            shop.policy(version + 1, last);
        });
        poll::until("the last edit", || {
            let policy = daemon.get("/v1/policy").ok();
            (policy["policies"][0]["version"] == version + 1 && judged(&daemon)).then_some(())
        });
        assert_eq!(answer(&daemon, X), expected, "round {round}");
        assert_eq!(daemon.sync()["changed"], false, "round {round}: nothing else is to come");
        assert_eq!(answer(&daemon, X), expected, "round {round}");
    }
}

#[test]
fn what_is_refused_of_a_catalogue_is_found_in_the_audit_log() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let of = |version: u64| format!("--key %root.key --id acme --catalogue-version {version}");
    let publish = |releases: &[&str], catalogue: &str, change: &dyn Fn(&mut Files)| {
        shop.publish_changed("acme", &Revision { releases, catalogue, ..Revision::default() }, change);
    };
    publish(&["lcod://acme/x@1.0.0"], &of(42), &|_| {});
    let daemon = shop.sandbox.start();
    check(&daemon, "fresh", "1.0.0 pinned all []", "signed");
    publish(&["lcod://acme/x@2.0.0"], &of(41), &|_| {});
    check(&daemon, "trust.rollback", "1.0.0 pinned all []", "an older version");
    publish(&["lcod://acme/x@2.0.0"], &of(43), &|files| files.get_mut("catalogue.json").unwrap().push(b' '));
    daemon.sync();
    let told: Value = serde_json::from_str(&shop.good("audit tail -o json")).unwrap();
    for reason in ["trust.rollback", &source_reason(&daemon)] {
        let is_told = |line: &&Value| line["event"] == "denied" && line["reason"] == reason;
        let lines: Vec<&Value> = told["items"].as_array().unwrap().iter().filter(is_told).collect();
        assert!(lines.iter().any(|line| line["subject"] == "acme"), "{reason}: {told:#}");
    }
    let text = shop.good("audit tail");
    assert!(text.contains("trust.rollback") && text.contains("denied"), "{text}");
    shop.good("audit verify");
}

#[test]
fn every_release_is_explained_however_many_were_seen() {
    // A generation keeps by itself when 10,000 releases were seen first; the ledger tells of the others.
    const COMPONENTS: usize = 101;
    const VERSIONS: usize = 100;
    let shop = Shop::new(&[]);
    let folder = shop.sandbox.path("many");
    std::fs::create_dir(&folder).unwrap();
    let listed = |component: usize| {
        let id = format!("lcod://acme/c{component:03}");
        let version = |at: usize| {
            let (version, file) = (format!("1.0.{at}"), format!("{component}-{at}.json"));
            let manifest = json!({
                "schema": "lcod-registry/manifest@1", "id": format!("{id}@{version}"), "kind": "component",
                "summary": "", "source": { "type": "file", "path": "." }, "files": [], "dependencies": [],
                "artifact": null,
            });
            let bytes = manifest.to_string().into_bytes();
            let row = json!({ "version": version, "manifest": file, "sha256": Digest::sha256(&bytes) });
            std::fs::write(folder.join(&file), bytes).unwrap();
            row
        };
        let versions: Vec<Value> = (0..VERSIONS).map(version).collect();
        json!({ "id": id, "versions": versions })
    };
    let components: Vec<Value> = (0..COMPONENTS).map(listed).collect();
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "many", "components": components });
    std::fs::write(folder.join("catalogue.json"), catalogue.to_string()).unwrap();
    let entrypoint = json!({ "type": "file", "path": folder.join("catalogue.json") });
    shop.sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "entrypoint": entrypoint }] }));
    let daemon = shop.sandbox.start();
    shop.reload(&daemon, 1, &rules("", "require = \"digest\"\nmin_age = \"7d\"\n"));
    let steps = |reference: &str| -> Vec<String> {
        let lines = why(&shop, &daemon, reference);
        lines.iter().map(|line| line.split(" sha256:").next().unwrap().to_owned()).collect()
    };
    let first = steps("lcod://acme/c000@=1.0.0");
    assert!(first.iter().any(|step| step.starts_with("age: trust.too_young")), "{first:#?}");
    assert_eq!(steps(&format!("lcod://acme/c{:03}@=1.0.{}", COMPONENTS - 1, VERSIONS - 1)), first);
}

/// Returns the digest that names what is answered.
fn snapshot(daemon: &Daemon) -> String {
    daemon.get("/v1/health").ok()["snapshot"].as_str().unwrap().to_owned()
}

/// Returns what a state directory comes to that has never seen anything: the digest that names it, and what it answers.
fn anew(shop: &Shop, name: &str) -> (String, Vec<Value>) {
    let state = shop.sandbox.path(name).display().to_string();
    let run = |line: &str| -> Value {
        let said = shop.run(&format!("--state-dir {state} --socket {state}/s {line} -o json"));
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| json!({ "reason": said.status }))
    };
    run("sync");
    let snapshot = run("status")["health"]["snapshot"].as_str().unwrap().to_owned();
    (snapshot, ANSWERS.iter().map(|answer| answered(&run(answer))).collect())
}

/// Returns the same of a daemon.
fn served(shop: &Shop, daemon: &Daemon) -> (String, Vec<Value>) {
    let run = |line: &&str| -> Value {
        let said = shop.run(&format!("{line} -o json"));
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| json!({ "reason": said.status }))
    };
    (snapshot(daemon), ANSWERS.iter().map(|line| answered(&run(line))).collect())
}

/// What is compared of two states.
const ANSWERS: [&str; 4] = [
    "resolve lcod://acme/x@=1.0.0",
    "resolve lcod://acme/x@=2.0.0",
    "resolve lcod://acme/y",
    "versions lcod://acme/x",
];

/// Returns what an answer says about releases.
fn answered(answer: &Value) -> Value {
    json!([answer["components"], answer["items"], answer["reason"], answer["detail"], answer["warnings"]])
}

#[test]
fn policies_that_came_and_went_leave_no_trace() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519"), ("other", "ed25519")]);
    let releases = &["lcod://acme/x@1.0.0", "lcod://acme/x@2.0.0", "lcod://acme/y@1.0.0"];
    shop.publish(
        "acme",
        &Revision {
            releases,
            catalogue: "--key %root.key --id acme",
            packages: "--key %root.key",
            ..Revision::default()
        },
    );
    let signed = signed_by_root(&shop, "");
    let packages = signed.replace("require = \"pin\"\n", "require = \"signature\"\nsigned_by = \"roots\"\n");
    let revoked = signed_by_root(&shop, "revoked = { at = 2020-05-04T00:00:00Z, reason = \"compromised\" }");
    // What was signed stays signed: those that ask for no signatures come first.
    let policies = [
        rules("", "require = \"pin\"\n"),
        rules("", "require = \"digest\"\n"),
        rules("", "require = \"digest\"\ndigests = [\"sha512\"]\n"),
        rules("", "require = \"digest\"\ndigests = [\"sha512\"]\nmode = \"warn\"\n"),
        rules("", "require = \"pin\"\n").replace("**", "lcod://acme/y"),
        packages.clone(),
        revoked,
        signed,
        packages,
    ];
    let daemon = shop.sandbox.start_synced();
    let bare = snapshot(&daemon);
    assert_eq!(served(&shop, &daemon), anew(&shop, "anew-0"));
    for (version, text) in (1..).zip(&policies) {
        shop.reload(&daemon, version, text);
        // The sync that follows an edit by itself may still be on its way.
        daemon.sync();
        let now = snapshot(&daemon);
        // With a key that counts no more nothing can be read for the first time; what was read is still listed, and refused.
        if !text.contains("revoked") {
            assert_eq!(served(&shop, &daemon), anew(&shop, &format!("anew-{version}")), "after\n{text}");
        }
        let again = daemon.sync();
        assert_eq!(
            (&again["changed"], &again["rowsWritten"]),
            (&json!(false), &json!(0)),
            "{again:#}\n{text}"
        );
        assert_eq!(snapshot(&daemon), now);
    }
    assert_eq!(answer(&daemon, X), "2.0.0 trusted all [\"root\"]");
    daemon.stop();
    // Without its index it comes to the same, and so it does without a policy.
    let judged = shop.good("status -o json");
    let judged: Value = serde_json::from_str(&judged).unwrap();
    std::fs::rename(shop.sandbox.state().join("index"), shop.sandbox.path("lost")).unwrap();
    std::fs::rename(shop.repository("acme"), shop.sandbox.path("away")).unwrap();
    let rebuilt: Value = serde_json::from_str(&shop.good("--offline status -o json")).unwrap();
    assert_eq!(rebuilt["health"]["snapshot"], judged["health"]["snapshot"]);
    std::fs::remove_file(shop.policy_file()).unwrap();
    let bared: Value = serde_json::from_str(&shop.good("--offline status -o json")).unwrap();
    assert_eq!(bared["health"]["snapshot"], bare);
    let text = shop.good("--offline status");
    assert!(text.contains("policy.missing") && text.contains("no trust policy is set"), "{text}");
}

#[test]
fn an_exception_lets_one_release_through_for_a_while_and_is_named() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0", "lcod://acme/x@2.0.0"], ..Revision::default() },
    );
    let policy = signed_by_root(&shop, "").replace("signed_by = \"roots\"\n[[names", "[[names");
    let policy = policy.replace("require = \"pin\"\n", "require = \"signature\"\nsigned_by = \"roots\"\n");
    shop.policy(1, &policy);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "trust.unsigned");
    let listed = daemon.get(&format!("/v1/components/{}/versions", crate::harness::http::encoded(X))).ok();
    let digest = listed["items"][1]["manifest"].as_str().unwrap().to_owned();
    let exception = |digest: &str, created: &str, not_after: &str| {
        format!(
            "{policy}[[exceptions]]\nid = \"EX-1\"\nmatch = \"{X}\"\nversions = \"=1.0.0\"\nsource = \"acme\"\nallow = [\"unsigned\"]\ndigest = \"{digest}\"\ncreated = {created}\nnot_after = {not_after}\nreason = \"a vendor probe\"\n"
        )
    };
    let date = |ahead: &str| {
        let said = Said::of(Command::new("date").args(["-u", "-d", ahead, "+%Y-%m-%dT%H:%M:%SZ"]));
        said.stdout.trim().to_owned()
    };
    let (before, behind) = (date("-2 days"), date("+2 days"));
    shop.reload(&daemon, 2, &exception(&digest, &before, &behind));
    assert_eq!(
        answer(&daemon, X),
        "1.0.0 pinned all []",
        "the newer one is not signed, and nobody excepts it"
    );
    let answered = daemon.resolve(&[X]).ok();
    let warning =
        answered["warnings"].as_array().unwrap().iter().find(|one| one["reason"] == "trust.exception");
    assert!(warning.unwrap()["text"].as_str().unwrap().contains("EX-1"), "{answered:#}");
    assert!(
        why(&shop, &daemon, &format!("{X}@=1.0.0"))
            .iter()
            .any(|step| step.contains("waived by exception EX-1"))
    );
    let audit = shop.good("audit tail");
    assert!(audit.contains("EX-1"), "{audit}");

    shop.reload(&daemon, 3, &exception(&digest, &date("-3 days"), &before));
    assert_eq!(answer(&daemon, &format!("{X}@=1.0.0")), "trust.exception_expired");
    let other = Digest::sha256(b"other bytes").to_string();
    shop.reload(&daemon, 4, &exception(&other, &before, &behind));
    assert_eq!(answer(&daemon, &format!("{X}@=1.0.0")), "trust.unsigned", "it names other bytes");
    // It ends by itself, without network.
    shop.reload(&daemon, 5, &exception(&digest, &before, &date("+3 seconds")));
    poll::until("the end", || {
        (answer(&daemon, &format!("{X}@=1.0.0")) == "trust.exception_expired").then_some(())
    });
}

#[test]
fn b8_retired_key_keeps_what_was_seen() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519")]);
    let policy = |more: &str| {
        let policy = signed_by_root(&shop, more).replace("signed_by = \"roots\"\n[[names", "[[names");
        policy.replace("require = \"pin\"\n", "require = \"signature\"\nsigned_by = \"roots\"\n")
    };
    shop.policy(1, &policy(""));
    let key = "--key %root.key";
    shop.publish(
        "acme",
        &Revision { releases: &["lcod://acme/x@1.0.0"], packages: key, ..Revision::default() },
    );
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all [\"root\"]");
    // The instant of the retirement lies behind what was seen, and what comes next lies behind that.
    let at = Said::of(Command::new("date").args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"])).stdout;
    let retired = format!("revoked = {{ at = {}, reason = \"retired\" }}", at.trim());
    shop.reload(&daemon, 2, &policy(&retired));
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all [\"root\"]");
    poll::until("the retirement", || {
        let now = Said::of(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])).stdout;
        (now > at).then_some(())
    });
    shop.publish(
        "acme",
        &Revision {
            releases: &["lcod://acme/x@1.0.0", "lcod://acme/x@2.0.0"],
            packages: key,
            ..Revision::default()
        },
    );
    daemon.sync();
    assert_eq!(
        answer(&daemon, &format!("{X}@=2.0.0")),
        "trust.key_revoked",
        "b9: whatever the statement says of its time"
    );
    // The manifest names the commit at which it was written, so that its bytes are others now.
    assert_eq!(answer(&daemon, &format!("{X}@=1.0.0")), "trust.version_mutated");
}

#[test]
fn a_cooldown_counts_from_when_a_version_was_first_seen_here() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    let policy = |age: &str| rules("", &format!("require = \"digest\"\nmin_age = \"{age}\"\n"));
    shop.policy(1, &policy("7d"));
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "trust.too_young");
    assert!(daemon.get("/v1/health").ok()["policy"]["nextChange"].is_string());
    shop.reload(&daemon, 2, &policy("1s"));
    poll::until("the age", || (answer(&daemon, X) == "1.0.0 trusted all []").then_some(()));
}

#[test]
fn several_sources_must_carry_the_same_bytes() {
    let shop = Shop::new(&["one", "two"]);
    let policy = "[[namespaces]]\nname = \"all\"\nmatch = \"**\"\nsources = [\"one\", \"two\"]\nrequire = \"digest\"\nagree = 2\n";
    shop.policy(1, policy);
    let files = |source: &str, text: &str| {
        let manifest = json!({ "schema": "lcod-registry/manifest@1", "id": "lcod://acme/x@1.0.0", "kind": "component",
            "summary": text, "files": [], "dependencies": [], "artifact": null,
            "source": { "type": "git", "url": "https://forge.example/acme", "commit": "a".repeat(40), "path": "x" } });
        let manifest = manifest.to_string().into_bytes();
        let repository = Repository { path: shop.repository(source) };
        let mut files = Files::from([("x.json".to_owned(), manifest.clone())]);
        let commit = repository.commit(&files);
        let origin = json!({ "type": "git", "url": repository.url(), "commit": commit });
        let version =
            json!({ "version": "1.0.0", "manifest": "x.json", "sha256": Digest::sha256(&manifest) });
        let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": source, "origin": origin,
            "components": [{ "id": X, "versions": [version] }] });
        files.insert("catalogue.json".to_owned(), catalogue.to_string().into_bytes());
        repository.commit(&files);
    };
    files("one", "what it does");
    files("two", "something else");
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "trust.no_agreement");
    assert!(why(&shop, &daemon, X).iter().any(|step| step.starts_with("agreement: trust.no_agreement")));
    files("two", "what it does");
    daemon.sync();
    assert_eq!(answer(&daemon, X), "1.0.0 trusted all []");
    assert!(why(&shop, &daemon, X).iter().any(|step| step == "agreement: 2, where 2 is asked for"));
}

#[test]
fn a_policy_lowers_limits() {
    let shop = Shop::new(&["acme"]);
    shop.publish("acme", &Revision { releases: &["lcod://acme/x@1.0.0"], ..Revision::default() });
    shop.policy(1, &format!("[limits]\ncatalogue_bytes = 16\n{}", rules("", "require = \"pin\"\n")));
    let daemon = shop.sandbox.start_synced();
    assert_eq!(source_reason(&daemon), "limit.catalogue_bytes");
    shop.reload(&daemon, 2, &rules("", "require = \"pin\"\n"));
    check(&daemon, "fresh", "1.0.0 pinned all []", "without that limit");
}

#[test]
fn a_signed_list_vouches_for_what_it_pins_and_for_nothing_else() {
    let shop = Shop::new(&["acme"]);
    shop.keys(&[("root", "ed25519"), ("own", "ed25519")]);
    shop.policy(1, &signed_by_root(&shop, ""));
    let home = Repository::create(&shop.sandbox.path("home"));
    let component = Component::new(X, "1.0.0", &[]);
    let mut files = all_files(std::slice::from_ref(&component));
    let written = home.commit(&files);
    let manifest = component.manifest(&home.url(), &written);
    let version = json!({ "version": "1.0.0", "manifest": "x.json", "sha256": Digest::sha256(&manifest) });
    files.insert("x.json".to_owned(), manifest);
    let described = home.commit(&files);
    let origin = json!({ "type": "git", "url": home.url(), "commit": described });
    let catalogue = json!({ "schema": "lcod-registry/catalogue@1", "id": "std", "origin": origin,
        "components": [{ "id": X, "versions": [version] }] });
    let catalogue = catalogue.to_string().into_bytes();
    files.insert("std.json".to_owned(), catalogue.clone());
    let published = home.commit(&files);
    let publish = |pointer: Value, words: &str| {
        let list = json!({ "schema": "lcod-registry/catalogues@1", "catalogues": [pointer] })
            .to_string()
            .into_bytes();
        let mut files = Files::new();
        if !words.is_empty() {
            files.insert("catalogue.json.sig".to_owned(), shop.signed(&list, words));
        }
        files.insert("catalogue.json".to_owned(), list);
        Repository { path: shop.repository("acme") }.commit(&files);
    };
    let pointer = |more: &[(&str, Value)]| {
        let mut pointer = json!({ "id": "std", "kind": "git", "url": home.url(), "path": "std.json" });
        for (field, value) in more {
            pointer[*field] = value.clone();
        }
        pointer
    };
    let pinned = [("commit", json!(published))];
    let root = "--key %root.key --id acme";
    publish(pointer(&pinned), root);
    let daemon = shop.sandbox.start_synced();
    assert_eq!(answer(&daemon, X), "1.0.0 pinned all []");
    assert_eq!(daemon.catalogue("std")["signers"], json!(["root"]), "its list vouches for it");
    assert!(why(&shop, &daemon, X).iter().any(|step| step.starts_with("catalogue: 1 of the keys of roots")));
    // Signed by a key of nobody, the list is refused, and what was accepted last answers.
    publish(pointer(&pinned), "--key %own.key --id acme");
    daemon.sync();
    assert_eq!(
        (source_reason(&daemon).as_str(), answer(&daemon, X).as_str()),
        ("trust.key_unknown", "1.0.0 pinned all []")
    );

    // What a list names by a branch it does not vouch for, however well it is signed itself.
    let fresh = || {
        let state = shop
            .sandbox
            .path(&format!("state-{}", std::fs::read_dir(shop.sandbox.path("")).unwrap().count()));
        let state = state.display().to_string();
        shop.run(&format!("--state-dir {state} --socket {state}/s sync"));
        let said = shop.run(&format!("--state-dir {state} --socket {state}/s resolve {X}"));
        let catalogues = shop.good(&format!("--state-dir {state} --socket {state}/s catalogues -o json"));
        let page: Value = serde_json::from_str(&catalogues).unwrap();
        let below = page["items"].as_array().unwrap().iter().find(|one| one["id"] == "std").unwrap().clone();
        (said.status, below["error"]["reason"].as_str().unwrap_or("fresh").to_owned())
    };
    publish(pointer(&[("ref", json!("main"))]), root);
    assert_eq!(fresh(), (5, "trust.unsigned".to_owned()));
    // A list without a signature vouches for nothing; a catalogue may be signed itself, or its entry may say how.
    publish(pointer(&pinned), "");
    assert_eq!(fresh(), (5, "trust.unsigned".to_owned()));
    let stated = String::from_utf8(shop.signed(&catalogue, "--key %root.key --id std")).unwrap();
    publish(pointer(&[pinned[0].clone(), ("signature", json!(stated))]), "");
    assert_eq!(fresh(), (0, "fresh".to_owned()));
    let other = String::from_utf8(shop.signed(b"other bytes", "--key %root.key --id std")).unwrap();
    publish(pointer(&[pinned[0].clone(), ("signature", json!(other))]), root);
    assert_eq!(fresh(), (5, "trust.statement_mismatch".to_owned()));
    files.insert("std.json.sig".to_owned(), shop.signed(&catalogue, "--key %root.key --id std"));
    let beside = home.commit(&files);
    publish(pointer(&[("commit", json!(beside))]), "");
    assert_eq!(fresh(), (0, "fresh".to_owned()));
}
