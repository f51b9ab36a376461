//! eStream registries through the real daemon: real repositories, real ML-DSA-87 keys, and every artefact tampered with in turn.

use std::path::PathBuf;

use catalogue_schema::digest::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::estream::{Part, Registry, key, sample};
use crate::harness::repository::{self, Files, Repository};
use crate::harness::{place, poll};
use crate::trust::{Shop, why};

const WIRE: &str = "estream:estream-wire-fix";
const TRADING: &str = "estream:esf-trading";
const TRADING_DIRECTORY: &str = "index/esf-schema/esf-trading";

/// A daemon's place, and the repository of the registry that it reads.
struct World {
    sandbox: Sandbox,
    repository: Repository,
}

impl World {
    fn new(registry: &Registry) -> World {
        let sandbox = Sandbox::new();
        let repository = Repository::create(&sandbox.path("registry"));
        repository.commit(&registry.files);
        let world = World { sandbox, repository };
        world.reads(json!({}));
        world
    }

    /// Lets the daemon read the registry, with more fields of its source.
    fn reads(&self, more: Value) {
        let mut source = json!({ "id": "parts", "dialect": "estream", "url": self.repository.url() });
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sandbox.write_sources(&json!({ "sources": [source] }));
    }

    fn commit(&self, registry: &Registry) -> String {
        self.repository.commit(&registry.files)
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.sandbox.run(arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said.stdout
    }
}

/// Returns `id@version` of everything that is chosen, or the code and reason of the refusal.
fn chosen(daemon: &Daemon, references: &[&str]) -> String {
    told(&daemon.resolve(references).json())
}

fn told(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    match answer["components"].as_array() {
        Some(all) => {
            let names = all.iter().map(|one| format!("{}@{}", text(&one["id"]), text(&one["version"])));
            names.collect::<Vec<String>>().join(" ")
        }
        None => format!("{} {}", text(&answer["code"]), text(&answer["reason"])),
    }
}

fn release(daemon: &Daemon, path: &str) -> Value {
    daemon.get(&format!("/v1/components/estream/{path}")).ok()
}

fn sample_directory() -> PathBuf {
    place::root().join("tests/federation/parts")
}

/// With `RESOLVERD_WRITE_SAMPLES=1` the sample is written again.
#[test]
fn the_sample_registry_is_what_its_keys_sign() {
    let made = sample().files;
    let root = sample_directory();
    if place::variable("RESOLVERD_WRITE_SAMPLES").is_some() {
        repository::write(&root, &made);
    }
    let mut found = Files::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => open.push(entry),
                false => {
                    let path = entry.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    found.insert(path, std::fs::read(entry).unwrap());
                }
            }
        }
    }
    let names = |files: &Files| files.keys().cloned().collect::<Vec<String>>();
    assert_eq!(names(&found), names(&made));
    assert!(found == made, "RESOLVERD_WRITE_SAMPLES=1 writes the sample again");
}

#[test]
fn the_example_of_a_sources_file_serves_its_registry_offline() {
    let text = std::fs::read_to_string(place::root().join("sources.example.json")).unwrap();
    let mut sources: Value = serde_json::from_str(&text).unwrap();
    for source in sources["sources"].as_array_mut().unwrap() {
        let path = place::root().join(source["entrypoint"]["path"].as_str().unwrap());
        source["entrypoint"]["path"] = path.to_str().unwrap().into();
    }
    let sandbox = Sandbox::with_sources(&sources);
    let daemon = sandbox.start_synced();
    assert_eq!(chosen(&daemon, &["estream-wire-fix"]), format!("{TRADING}@1.2.0 {WIRE}@1.0.0"));
    let release = release(&daemon, "estream-wire-fix/1.0.0");
    assert_eq!(release["trust"]["verdict"], "unpinned", "nothing pins a plain directory");
    assert_eq!(release["extra"]["verification"]["result"], "Valid");
    assert_eq!(release["extra"]["official"], false, "no source says that it owns the name");
    assert_eq!(daemon.get("/v1/components/search?official=true").ok()["total"], 0);
    assert!(daemon.ids().iter().any(|id| id.starts_with("lcod://")), "the others are served beside it");
}

#[test]
fn a_registry_is_read_listed_searched_resolved_locked_and_explained() {
    let world = World::new(&sample());
    world.reads(json!({ "owns": ["estream-*", "esf-*"] }));
    let daemon = world.sandbox.start_synced();
    assert_eq!(daemon.ids(), ["estream:@acme/impact-counter", TRADING, WIRE]);

    let release = release(&daemon, "estream-wire-fix/1.0.0");
    assert_eq!((&release["kind"], &release["trust"]["verdict"]), (&json!("wire-adapter"), &json!("pinned")));
    assert_eq!(release["summary"], "The part estream-wire-fix of estream");
    let verification = &release["extra"]["verification"];
    let expected = json!({
        "result": "Valid", "keyId": "estream-1", "key": key("estream").public().fingerprint(),
        "signedAt": "2026-02-10T12:00:00Z", "publisher": "estream", "publisherVerified": true,
        "checksum": release["integrity"]["archive"]["digests"][0],
    });
    assert_eq!(*verification, expected);
    let archive = &sample().files["archives/estream-wire-fix-1.0.0.tar.gz"];
    assert_eq!(verification["checksum"], json!(Digest::of(Algorithm::Sha3_256, archive)));
    assert_eq!(release["dependencies"][0], format!("{TRADING}@^1.0.0"));
    assert_eq!(release["extra"]["official"], true);

    let found = |query: &str| -> Vec<String> {
        let page = daemon.get(&format!("/v1/components/search?{query}")).ok();
        page["items"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("q=wire"), [WIRE]);
    assert_eq!(found("q=dashboard"), ["estream:@acme/impact-counter"]);
    assert_eq!(found("official=true"), [TRADING, WIRE]);
    assert_eq!(found("verified=true").len(), 3);
    assert_eq!(found("category=esf-schema"), [TRADING]);
    let page = daemon.get("/v1/components?category=wire-adapter").ok();
    assert_eq!(page["items"][0]["id"], WIRE);

    let both = format!("{TRADING}@1.2.0 {WIRE}@1.0.0");
    let answer = daemon.resolve(&["estream-wire-fix@^1"]).ok();
    assert_eq!(told(&answer), both);
    let natives = ["estream:estream-kernel@<=1.0.0, >=0.8.0", "estream:estream-kernel@>=0.8.0"];
    assert_eq!(answer["natives"], json!(natives));
    assert_eq!(answer["warnings"][0]["reason"], "resolve.platform_unset");
    assert_eq!(chosen(&daemon, &["esf-trading@1.1.0"]), format!("{TRADING}@1.1.0"), "a reference is exact");
    assert_eq!(
        chosen(&daemon, &["estream-wire-fix", "esf-trading@=1.1.0"]),
        format!("{TRADING}@1.1.0 {WIRE}@1.0.0")
    );
    assert_eq!(chosen(&daemon, &["@acme/impact-counter"]), "estream:@acme/impact-counter@0.3.0");
    assert_eq!(chosen(&daemon, &["@acme/impact-counter@0.4.0"]), "E002 only_yanked");
    assert_eq!(chosen(&daemon, &["esf-tradin"]), "E001 component_unknown");

    let tree = world.done(&["tree", "estream-wire-fix"]);
    assert!(tree.contains("esf-trading") && tree.contains("1.2.0"), "{tree}");
    let explained = world.done(&["explain", "estream-wire-fix"]);
    let seal = "seal      Valid, ML-DSA-87, key estream-1 of estream (verified), on the archive alone";
    assert!(explained.contains(seal) && explained.contains("estream-component.toml"), "{explained}");
    let project = world.sandbox.path("project");
    std::fs::create_dir_all(&project).unwrap();
    let locked = |more: &[&str]| {
        let mut command = world.sandbox.command();
        command.current_dir(&project).args(more);
        let said = crate::harness::daemon::Said::of(&mut command);
        assert_eq!(said.status, 0, "{more:?}: {said:?}");
        said.stdout
    };
    locked(&["lock", "estream-wire-fix"]);
    let lock = std::fs::read_to_string(project.join("resolverd.lock")).unwrap();
    assert!(lock.contains(WIRE) && lock.contains(TRADING), "{lock}");
    assert!(locked(&["lock", "estream-wire-fix"]).contains("unchanged: 2 components"));
    locked(&["check"]);

    // Withdrawn, the locked version stays the lock's; nobody else gets it.
    let mut registry = sample();
    registry.change(&format!("{TRADING_DIRECTORY}/metadata.json"), |metadata| {
        metadata["versions"][1]["yanked"] = json!(true);
    });
    world.commit(&registry);
    daemon.sync();
    assert_eq!(chosen(&daemon, &["esf-trading"]), format!("{TRADING}@1.1.0"));
    let held = json!({
        "requests": ["esf-trading"], "lock": [format!("{TRADING}@1.2.0")], "platforms": { "estream": "0.9.0" },
    });
    let answer = daemon.post("/v1/resolve", &held).ok();
    assert_eq!(told(&answer), format!("{TRADING}@1.2.0"));
    assert_eq!(answer["warnings"][0]["reason"], "resolve.yanked");
}

#[test]
fn a_lock_holds_the_archive_and_no_commit_of_its_registry() {
    let world = World::new(&sample());
    let daemon = world.sandbox.start_synced();
    let project = world.sandbox.path("project");
    std::fs::create_dir_all(&project).unwrap();
    let said = |more: &[&str]| {
        let mut command = world.sandbox.command();
        command.current_dir(&project).args(more);
        crate::harness::daemon::Said::of(&mut command)
    };
    let done = |more: &[&str]| {
        let said = said(more);
        assert_eq!(said.status, 0, "{more:?}: {said:?}");
        said.stdout
    };
    done(&["lock", "esf-trading"]);
    let lock = || std::fs::read_to_string(project.join("resolverd.lock")).unwrap();
    let before = lock();
    let digest = release(&daemon, "esf-trading/1.2.0")["integrity"]["archive"]["digests"][0].clone();
    assert!(before.contains(&format!("archive = [\n    {digest},\n]")), "{before}");
    assert!(!before.contains("commit"), "{before}");
    done(&["materialize", "--locked"]);

    // Whatever else its registry publishes, the lock holds, is written again as it is, and nothing is fetched again.
    let mut registry = sample();
    registry.put("README.md", "# Other words\n");
    world.commit(&registry);
    daemon.sync();
    done(&["check", "--locked"]);
    assert!(done(&["lock", "esf-trading"]).contains("unchanged: 1 components"));
    assert_eq!(lock(), before);
    let again: Value = serde_json::from_str(&done(&["materialize", "--locked", "-o", "json"])).unwrap();
    let again = again.to_string();
    assert!(again.contains("\"from\":\"cache\"") && !again.contains("\"fetched\""), "{again}");

    // Another archive with the same manifest is another thing, whoever signs it.
    let other = Digest::of(Algorithm::Sha3_256, b"another archive");
    replace_archive(&mut registry, &other);
    world.commit(&registry);
    daemon.sync();
    let told = said(&["check", "--locked"]);
    assert_ne!(told.status, 0);
    let told = format!("{}{}", told.stdout, told.stderr);
    assert!(told.contains("lock.mutated") && told.contains(&format!("archive {other}")), "{told}");
    let told = said(&["lock", "esf-trading"]);
    assert!(told.status != 0 && told.stderr.contains("lock.mutated"), "{told:?}");
    assert_eq!(lock(), before);
}

/// Puts another checksum, signed by its publisher, in the place of the newest version's.
fn replace_archive(registry: &mut Registry, checksum: &Digest) {
    let directory = format!("{TRADING_DIRECTORY}/1.2.0");
    registry.put(&format!("{directory}/checksum.sha3"), checksum.hex());
    registry.change(&format!("{TRADING_DIRECTORY}/metadata.json"), |document| {
        document["versions"][1]["checksum_sha3"] = json!(checksum.hex());
    });
    registry.sign(&directory, "estream", checksum);
}

fn checksum_of(hex: &Value) -> Digest {
    Digest::parse(&format!("sha3-256:{}", hex.as_str().unwrap())).unwrap()
}

/// Publishes the sample with one change; returns what is answered for `esf-trading@1.2.0`, and the release.
fn tampered(world: &World, daemon: &Daemon, change: impl FnOnce(&mut Registry)) -> (String, Value) {
    let mut registry = sample();
    change(&mut registry);
    world.commit(&registry);
    daemon.sync();
    let answer = chosen(daemon, &["esf-trading@1.2.0"]);
    assert_eq!(
        chosen(daemon, &["@acme/impact-counter"]),
        "estream:@acme/impact-counter@0.3.0",
        "a neighbour"
    );
    (answer, release(daemon, "esf-trading/1.2.0"))
}

#[test]
fn whatever_is_tampered_with_is_refused_with_its_code() {
    let world = World::new(&sample());
    let daemon = world.sandbox.start_synced();
    let check = |expected: &str, result: Option<&str>, change: &dyn Fn(&mut Registry)| {
        let (answer, release) = tampered(&world, &daemon, change);
        assert_eq!(answer, expected);
        assert_eq!(release["extra"]["verification"]["result"].as_str(), result, "{expected}");
        let verdict = if expected.starts_with("estream:") { "pinned" } else { "refused" };
        assert_eq!(release["trust"]["verdict"], verdict, "{expected}");
        if verdict == "refused" {
            let explained = daemon.post("/v1/explain", &json!({ "id": format!("{TRADING}@1.2.0") })).json();
            let reason = expected.split_once(' ').unwrap().1;
            assert!(explained.to_string().contains(reason), "{reason}: {explained:#}");
        }
    };
    let directory = format!("{TRADING_DIRECTORY}/1.2.0");
    let metadata = format!("{TRADING_DIRECTORY}/metadata.json");
    let signature = format!("{directory}/SIGNATURE.ml-dsa");
    let record = "publishers/estream.json";
    let status = |status: &'static str| {
        move |registry: &mut Registry| {
            registry.change(record, |record| record["signing_keys"][0]["status"] = json!(status))
        }
    };
    let window = |field: &'static str, at: &'static str| {
        move |registry: &mut Registry| {
            registry.change(record, |record| record["signing_keys"][0][field] = json!(at))
        }
    };
    let good = format!("{TRADING}@1.2.0");
    check(&good, Some("Valid"), &|_| {});
    // The signature.
    check("E005 estream.signature_invalid", Some("InvalidSignature"), &|registry| {
        registry.change(&signature, |document| {
            let hex = document["signature_hex"].as_str().unwrap();
            let last = if hex.starts_with('0') { "1" } else { "0" };
            document["signature_hex"] = json!(format!("{last}{}", &hex[1..]));
        });
    });
    check("E005 estream.signature_missing", Some("InvalidSignature"), &|registry| {
        drop(registry.files.remove(&signature))
    });
    check("E005 estream.unsupported_algorithm", Some("InvalidSignature"), &|registry| {
        registry.change(&signature, |document| document["algorithm"] = json!("ML-DSA-65"));
    });
    check("E005 estream.key_id_mismatch", Some("InvalidSignature"), &|registry| {
        registry.change(&signature, |document| document["key_id"] = json!("estream-2"));
    });
    // A signature of another archive, with every checksum made to fit: who holds no key gets no further.
    check("E005 estream.signature_invalid", Some("InvalidSignature"), &|registry| {
        let other = Digest::of(Algorithm::Sha3_256, b"another archive").hex();
        registry.put(&format!("{directory}/checksum.sha3"), format!("{other}\n"));
        registry.change(&signature, |document| document["checksum"] = json!(other));
        registry.change(&metadata, |document| document["versions"][1]["checksum_sha3"] = json!(other));
    });
    // The checksum file, and the checksum in the metadata.
    check("E006 estream.checksum_mismatch", Some("ChecksumMismatch"), &|registry| {
        registry.put(&format!("{directory}/checksum.sha3"), "0".repeat(64));
    });
    check("E006 estream.checksum_mismatch", Some("ChecksumMismatch"), &|registry| {
        registry
            .change(&metadata, |document| document["versions"][1]["checksum_sha3"] = json!("0".repeat(64)));
    });
    // The publisher's key.
    check("E005 estream.signature_invalid", Some("InvalidSignature"), &|registry| {
        let other = key("somebody else").public().to_hex();
        registry.change(record, |record| record["signing_keys"][0]["public_key_hex"] = json!(other));
    });
    check("E007 estream.publisher_unknown", Some("UnknownKey"), &|registry| {
        drop(registry.files.remove(record))
    });
    check("E007 estream.key_unknown", Some("UnknownKey"), &|registry| {
        registry.change(record, |record| record["signing_keys"] = json!([]));
    });
    check("E005 estream.key_revoked", Some("RevokedKey"), &status("revoked"));
    check("E005 estream.key_expired", Some("ExpiredKey"), &window("expires_at", "2026-02-01T00:00:00Z"));
    check("E005 estream.key_expired", Some("ExpiredKey"), &window("created_at", "2026-03-01T00:00:00Z"));
    check(&good, Some("Valid"), &status("rotated"));
    check("E005 estream.key_rotated", Some("ExpiredKey"), &|registry| {
        status("rotated")(registry);
        window("rotated_at", "2026-02-01T00:00:00Z")(registry);
    });
    // The archive of another release, with the seal on it, which says nothing of which release it is.
    check("E006 estream.checksum_twice", Some("ChecksumMismatch"), &|registry| {
        let part = Part {
            category: "esf-schema",
            name: "esf-trading",
            publisher: "estream",
            version: "1.3.0",
            more: "",
        };
        registry.publish(&part);
        for name in ["checksum.sha3", "SIGNATURE.ml-dsa"] {
            let copied = registry.files[&format!("{directory}/{name}")].clone();
            registry.put(&format!("{TRADING_DIRECTORY}/1.3.0/{name}"), copied);
        }
        registry.change(&metadata, |document| {
            document["versions"][2]["checksum_sha3"] = document["versions"][1]["checksum_sha3"].clone();
        });
    });
    // Whoever else seals an archive, with a key of their own or with the publisher's public one, takes it from nobody.
    for key in ["acme", "estream"] {
        check(&good, Some("Valid"), &|registry| {
            let part =
                Part { category: "esf-schema", name: "other", publisher: "acme", version: "1.0.0", more: "" };
            registry.publish(&part);
            let other = "index/esf-schema/other";
            for name in ["checksum.sha3", "SIGNATURE.ml-dsa"] {
                let copied = registry.files[&format!("{directory}/{name}")].clone();
                registry.put(&format!("{other}/1.0.0/{name}"), copied);
            }
            let row: Value = serde_json::from_slice(&registry.files[&metadata]).unwrap();
            registry.change(&format!("{other}/metadata.json"), |document| {
                document["versions"][0]["checksum_sha3"] = row["versions"][1]["checksum_sha3"].clone();
                if key == "estream" {
                    document["versions"][0]["signature_pubkey_id"] = json!("estream-1");
                }
            });
            if key == "estream" {
                let theirs: Value =
                    serde_json::from_slice(&registry.files["publishers/estream.json"]).unwrap();
                registry.change("publishers/acme.json", |record| {
                    record["signing_keys"].as_array_mut().unwrap().push(theirs["signing_keys"][0].clone());
                });
            } else {
                let checksum = checksum_of(&row["versions"][1]["checksum_sha3"]);
                registry.sign(&format!("{other}/1.0.0"), "acme", &checksum);
            }
        });
        assert_eq!(chosen(&daemon, &["other"]), "estream:other@1.0.0", "{key} has sealed it");
    }
    // A repository says nothing about the files of this machine, even where it lies there.
    for url in ["/etc/hostname", "file:///etc/hostname"] {
        check("E008 input.url_scheme", None, &|registry| {
            registry.change(&metadata, |document| document["versions"][1]["archive_url"] = json!(url));
        });
    }
    // The manifest.
    let manifest = format!("{directory}/estream-component.toml");
    check("E008 estream.manifest_mismatch", None, &|registry| {
        let text = String::from_utf8(registry.files[&manifest].clone()).unwrap();
        registry.put(&manifest, text.replace("1.2.0", "1.2.1"));
    });
    check("E008 input.toml", None, &|registry| registry.put(&manifest, "[component"));
    // The name.
    check("E009 estream.name_reserved", None, &|registry| {
        registry.change(&metadata, |document| document["publisher"] = json!("acme"));
    });
    check("E008 estream.two_categories", None, &|registry| {
        registry.publish(&Part {
            category: "integration",
            name: "esf-trading",
            publisher: "estream",
            version: "9.0.0",
            more: "",
        });
    });
    check(&good, Some("Valid"), &|_| {});
}

#[test]
fn policies_count_the_seal_of_a_key_that_they_know() {
    let shop = Shop::new(&[]);
    let repository = Repository::create(&shop.repository("parts"));
    repository.commit(&sample().files);
    shop.sandbox.write_sources(
        &json!({ "sources": [{ "id": "parts", "dialect": "estream", "url": repository.url() }] }),
    );
    for name in ["estream", "acme"] {
        let file = shop.sandbox.path(&format!("desk/{name}.pem"));
        std::fs::write(&file, key(name).public().to_pem()).unwrap();
    }
    let policy = |name: &str, require: &str| {
        format!(
            "{}[[signers]]\nname = \"makers\"\nkeys = [\"{name}\"]\nthreshold = 1\n[[sources]]\nid = \"parts\"\n[[namespaces]]\nname = \"all\"\nmatch = \"estream:**\"\nsources = [\"parts\"]\n{require}",
            shop.key(name, "ml-dsa-87", "")
        )
    };
    let signed = "require = \"signature\"\nsigned_by = \"makers\"\n";
    shop.policy(1, &policy("estream", signed));
    let daemon = shop.sandbox.start_synced();
    let trust = |path: &str| release(&daemon, path)["trust"].clone();
    let wire = trust("estream-wire-fix/1.0.0");
    assert_eq!((&wire["verdict"], &wire["signers"]), (&json!("trusted"), &json!(["estream"])), "{wire:#}");
    let acme = trust("@acme/impact-counter/0.3.0");
    assert_eq!(acme["refusal"]["reason"], "trust.key_unknown", "{acme:#}");
    let steps = why(&shop, &daemon, WIRE);
    assert!(steps.iter().any(|step| step.contains("signatures") && step.contains("makers")), "{steps:#?}");

    shop.reload(&daemon, 2, &policy("acme", signed));
    assert_eq!(trust("estream-wire-fix/1.0.0")["verdict"], "refused");
    assert_eq!(trust("@acme/impact-counter/0.3.0")["signers"], json!(["acme"]));
    shop.reload(&daemon, 3, &policy("acme", "require = \"digest\"\ndigests = [\"sha3-256\"]\n"));
    assert_eq!(trust("estream-wire-fix/1.0.0")["verdict"], "trusted", "the archive's checksum is a digest");
    shop.reload(&daemon, 4, &policy("acme", "require = \"digest\"\ndigests = [\"sha512\"]\n"));
    assert_eq!(trust("estream-wire-fix/1.0.0")["refusal"]["reason"], "trust.digest_weak");
}

#[test]
fn another_archive_under_a_known_version_is_noticed() {
    let world = World::new(&sample());
    let daemon = world.sandbox.start_synced();
    let mut registry = sample();
    let other = Digest::of(Algorithm::Sha3_256, b"another archive");
    replace_archive(&mut registry, &other);
    world.commit(&registry);
    daemon.sync();
    let release = release(&daemon, "esf-trading/1.2.0");
    assert_eq!(release["trust"]["verdict"], "pinned", "its publisher has signed it");
    assert_eq!(release["warnings"][0]["reason"], "trust.version_mutated", "{release:#}");
}

#[test]
fn the_platform_comes_from_the_request_or_from_the_configuration() {
    let world = World::new(&sample());
    let home = world.sandbox.path("config/resolverd");
    std::fs::create_dir_all(&home).unwrap();
    let configure = |version: &str| {
        let text = format!("[platforms.estream]\nversion = \"{version}\"\n");
        std::fs::write(home.join("config.toml"), text).unwrap();
    };
    configure("0.9.0");
    let daemon = world.sandbox.start_synced();
    let ask = |platforms: Value| {
        daemon
            .post("/v1/resolve", &json!({ "requests": ["estream-wire-fix"], "platforms": platforms }))
            .json()
    };
    let both = format!("{TRADING}@1.2.0 {WIRE}@1.0.0");
    let configured = ask(json!({}));
    assert_eq!((told(&configured), &configured["warnings"]), (both.clone(), &json!([])));
    assert_eq!(told(&ask(json!({ "estream": "1.0.0" }))), both);
    for version in ["0.7.0", "1.0.1"] {
        let refused = ask(json!({ "estream": version }));
        assert_eq!(told(&refused), "E002 platform", "{refused:#}");
        assert!(refused["explanation"].as_str().unwrap().contains("estream-kernel"), "{refused:#}");
    }
    assert_eq!(told(&ask(json!({ "estream-kernel": "0.7.0" }))), "E002 platform");
    // A version that the caller says it is counts before the configured one, and a range has to hold that one.
    let own = |kernel: &str| {
        daemon.post("/v1/resolve", &json!({ "requests": ["estream-wire-fix"], "natives": [kernel] })).json()
    };
    assert_eq!(told(&own("estream:estream-kernel@0.1.0")), "E002 platform");
    assert_eq!(told(&own("estream:estream-kernel@1.0.0")), both);
    assert_eq!(told(&own("estream:estream-kernel@^0.9")), both);
    assert_eq!(told(&own("estream:estream-kernel@^0.7")), "R011 api.platforms");
    let two = ask(json!({ "estream": "0.9.0", "estream-kernel": "1.0.0" }));
    assert_eq!(told(&two), "R011 api.platforms");
    assert_eq!(told(&ask(json!({ "kernel": "0.9.0" }))), "R001 input.platform");
    // Older versions of a component may run on an older platform.
    let mut registry = sample();
    let more = "[component.estream]\nmin_version = \"2.0.0\"\n";
    registry.publish(&Part {
        category: "esf-schema",
        name: "esf-trading",
        publisher: "estream",
        version: "1.3.0",
        more,
    });
    world.commit(&registry);
    daemon.sync();
    assert_eq!(told(&ask(json!({}))), both);
    configure("0.5.0");
    daemon.post("/v1/reload", &json!({})).ok();
    poll::until("the platform", || (told(&ask(json!({}))) == "E002 platform").then_some(()));
}

#[test]
fn circles_and_schemas_are_judged_over_the_whole_answer() {
    let mut registry = sample();
    let mut add = |name: &str, more: &str| {
        registry.publish(&Part {
            category: "smart-circuit",
            name,
            publisher: "acme",
            version: "1.0.0",
            more,
        });
    };
    let requires = |name: &str| format!("[component.dependencies]\n{name} = \"1\"\n");
    add("one", &requires("two"));
    add("two", &requires("three"));
    add("three", &requires("one"));
    add("beside", "");
    add("orders", "[component.schemas]\nprovides = [\"EStreamOrder\", \"Own\"]\n");
    add("needy", "[component.schemas]\nrequires = [\"EStreamFill\", \"Own\"]\n");
    // What nobody has signed neither adds schemas nor takes any away.
    registry.change("index/smart-circuit/orders/metadata.json", |document| {
        document["schemas"] = json!({ "provides": [] });
    });
    registry.change("index/smart-circuit/beside/metadata.json", |document| {
        document["versions"][0]["schemas"] = json!({ "provides": ["EStreamOrder"], "requires": ["Nowhere"] });
    });
    let world = World::new(&registry);
    let daemon = world.sandbox.start_synced();
    let circle = daemon.resolve(&["beside", "one"]).json();
    assert_eq!(told(&circle), "E004 resolve.cycle");
    for name in ["one", "two", "three"] {
        assert!(circle["detail"].as_str().unwrap().contains(&format!("estream:{name}@1.0.0")), "{circle:#}");
    }
    let twice = daemon.resolve(&["orders", "esf-trading"]).json();
    assert_eq!(told(&twice), "E014 schema_conflict");
    assert_eq!(
        (&twice["schema"], &twice["providedBy"]),
        (&json!("EStreamOrder"), &json!([format!("{TRADING}@1.2.0"), "estream:orders@1.0.0"]))
    );
    let beside = chosen(&daemon, &["beside", "esf-trading"]);
    assert_eq!(beside, format!("estream:beside@1.0.0 {TRADING}@1.2.0"));
    let unmet = daemon.resolve(&["needy"]).json();
    assert_eq!(told(&unmet), "E008 requires_unmet");
    let missing = json!([
        { "schema": "EStreamFill", "requiredBy": "estream:needy@1.0.0" },
        { "schema": "Own", "requiredBy": "estream:needy@1.0.0" },
    ]);
    assert_eq!(unmet["missing"], missing);
    assert_eq!(chosen(&daemon, &["needy", "esf-trading"]), "E008 requires_unmet");
    let said = world.sandbox.run(&["resolve", "orders", "esf-trading"]);
    assert!(said.status == 3 && said.stderr.contains("E014"), "{said:?}");
}

#[test]
fn revisions_of_a_registry_are_remembered() {
    let world = World::new(&sample());
    let first = place::git(&world.repository.path, &["rev-parse", "HEAD"]).trim().to_owned();
    let daemon = world.sandbox.start_synced();
    let mut registry = sample();
    registry.publish(&Part {
        category: "esf-schema",
        name: "esf-trading",
        publisher: "estream",
        version: "1.3.0",
        more: "",
    });
    let second = world.commit(&registry);
    daemon.sync();
    assert_eq!(chosen(&daemon, &["esf-trading"]), format!("{TRADING}@1.3.0"));
    assert_eq!(release(&daemon, "esf-trading/1.3.0")["source"]["commit"], json!(second));
    let again = daemon.sync();
    assert_eq!(again["changed"], false, "{again:#}");
    place::git(&world.repository.path, &["reset", "--quiet", "--hard", &first]);
    daemon.sync();
    let source = daemon.get("/v1/sources").ok()["items"][0].clone();
    assert_eq!(source["error"]["reason"], "trust.rollback", "{source:#}");
    assert_eq!(chosen(&daemon, &["esf-trading"]), format!("{TRADING}@1.3.0"), "what was accepted stays");

    // Pinned, nothing is asked for again.
    drop(daemon);
    let other = World::new(&registry);
    let commit = place::git(&other.repository.path, &["rev-parse", "HEAD"]).trim().to_owned();
    other.reads(json!({ "commit": commit }));
    let daemon = other.sandbox.start_synced();
    let idle = daemon.sync();
    assert_eq!((&idle["documentsFetched"], &idle["changed"]), (&json!(0), &json!(false)), "{idle:#}");
    std::fs::remove_dir_all(&other.repository.path).unwrap();
    assert_eq!(chosen(&daemon, &["esf-trading"]), format!("{TRADING}@1.3.0"));
}

#[test]
fn the_first_registry_that_lists_a_name_owns_it() {
    let world = World::new(&sample());
    let mut private = Registry::new();
    private.publisher("acme");
    private.publish(&Part {
        category: "integration",
        name: "order-router",
        publisher: "acme",
        version: "0.1.0",
        more: "",
    });
    let mut public = Registry::new();
    public.publisher("mallory");
    public.publish(&Part {
        category: "integration",
        name: "order-router",
        publisher: "mallory",
        version: "9.0.0",
        more: "",
    });
    public.publish(&Part {
        category: "integration",
        name: "acme-secret",
        publisher: "mallory",
        version: "9.0.0",
        more: "",
    });
    let create = |name: &str, registry: &Registry| {
        let repository = Repository::create(&world.sandbox.path(name));
        repository.commit(&registry.files);
        repository.url()
    };
    let (private, public) = (create("private", &private), create("public", &public));
    let gone = format!("file://{}", world.sandbox.path("gone").display());
    world.sandbox.write_sources(&json!({ "sources": [
        { "id": "private", "dialect": "estream", "url": private, "priority": 10 },
        { "id": "gone", "dialect": "estream", "url": gone, "priority": 20, "owns": ["acme-*", "@acme"] },
        { "id": "public", "dialect": "estream", "url": public, "priority": 50 },
    ] }));
    let daemon = world.sandbox.start_synced();
    assert_eq!(chosen(&daemon, &["order-router"]), "estream:order-router@0.1.0");
    assert_eq!(chosen(&daemon, &["order-router@9"]), "E002 version_unknown");
    assert_eq!(chosen(&daemon, &["acme-secret"]), "R002 source_unread", "its owner has never been read");
    let explained = daemon.post("/v1/explain", &json!({ "id": "estream:order-router" })).ok();
    assert!(explained.to_string().contains("public"), "{explained:#}");
}
