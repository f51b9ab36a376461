//! The whole life of a registry and of what is published in it, in the order of life: made, filled, read, tampered with, withdrawn,
//! carried away, its keys replaced and revoked. The real binary, real Git repositories, real ML-DSA-87 keys; only what a keeper does
//! with Git is done with Git.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::desk::{DIRECTORY, Desk, change, files, reads, replaced, told};
use crate::harness::place;
use crate::harness::repository::{Files, Repository};

const ARCHIVE: &str = "archives/order-schemas/0.1.0/package.tar.gz";
const RECORD: &str = "publishers/acme.json";
const KEY: &str = "acme-signing-key-01";
/// What every command of the table asks for: its dependency is what is tampered with.
const ROUTER: &str = "estream:@acme/order-router";

/// A desk, a workspace in which its components are installed, and a daemon that reads the registry.
struct Life {
    desk: Desk,
    daemon: Daemon,
}

/// What of a release is tampered with, and what everybody says of it.
struct Row {
    artefact: &'static str,
    code: &'static str,
    reason: &'static str,
    /// What `verify` says of a workspace in which the release has been installed before; a dash where only the registry's documents
    /// are wrong, and `Valid` where what is installed is what its publisher signed.
    result: &'static str,
    tamper: fn(&Desk, &mut Files),
}

/// Everything of which a release consists, tampered with in turn.
const TABLE: &[Row] = &[
    Row {
        artefact: "the archive",
        code: "E006",
        reason: "trust.digest_mismatch",
        result: "Valid",
        tamper: |_, files| files.get_mut(ARCHIVE).unwrap().push(0),
    },
    Row {
        artefact: "the archive, removed",
        code: "E008",
        reason: "file_missing",
        result: "Valid",
        tamper: |_, files| drop(files.remove(ARCHIVE)),
    },
    Row {
        artefact: "SIGNATURE.ml-dsa",
        code: "E005",
        reason: "estream.signature_invalid",
        result: "InvalidSignature",
        tamper: |_, files| {
            change(files, &of_version("SIGNATURE.ml-dsa"), |document| {
                let text = document["signature_hex"].as_str().unwrap();
                let first = if text.starts_with('0') { "1" } else { "0" };
                document["signature_hex"] = json!(format!("{first}{}", &text[1..]));
            })
        },
    },
    Row {
        artefact: "SIGNATURE.ml-dsa, removed",
        code: "E005",
        reason: "estream.signature_missing",
        result: "InvalidSignature",
        tamper: |_, files| drop(files.remove(&of_version("SIGNATURE.ml-dsa"))),
    },
    Row {
        artefact: "SIGNATURE.ml-dsa, of another key",
        code: "E005",
        reason: "estream.key_id_mismatch",
        result: "InvalidSignature",
        tamper: |_, files| {
            change(files, &of_version("SIGNATURE.ml-dsa"), |document| {
                document["key_id"] = json!("acme-signing-key-02");
            })
        },
    },
    Row {
        artefact: "SIGNATURE.ml-dsa, of another algorithm",
        code: "E005",
        reason: "estream.unsupported_algorithm",
        result: "InvalidSignature",
        tamper: |_, files| {
            change(files, &of_version("SIGNATURE.ml-dsa"), |document| {
                document["algorithm"] = json!("ML-DSA-65");
            })
        },
    },
    Row {
        artefact: "checksum.sha3",
        code: "E006",
        reason: "estream.checksum_mismatch",
        result: "ChecksumMismatch",
        tamper: |_, files| drop(files.insert(of_version("checksum.sha3"), "0".repeat(64).into_bytes())),
    },
    Row {
        artefact: "metadata.json: the checksum",
        code: "E006",
        reason: "estream.checksum_mismatch",
        result: "ChecksumMismatch",
        tamper: |_, files| {
            change(files, &of_component("metadata.json"), |document| {
                document["versions"][0]["checksum_sha3"] = json!("0".repeat(64));
            })
        },
    },
    Row {
        artefact: "metadata.json: the time",
        code: "E005",
        reason: "estream.key_expired",
        result: "ExpiredKey",
        tamper: |_, files| {
            change(files, &of_component("metadata.json"), |document| {
                document["versions"][0]["published_at"] = json!("2020-01-01T00:00:00Z");
            })
        },
    },
    Row {
        artefact: "metadata.json: the key",
        code: "E005",
        reason: "estream.key_id_mismatch",
        result: "InvalidSignature",
        tamper: |_, files| {
            change(files, &of_component("metadata.json"), |document| {
                document["versions"][0]["signature_pubkey_id"] = json!("acme-signing-key-02");
            })
        },
    },
    Row {
        artefact: "metadata.json: the publisher",
        code: "E007",
        reason: "estream.publisher_unknown",
        result: "UnknownKey",
        tamper: |_, files| {
            change(files, &of_component("metadata.json"), |document| {
                document["publisher"] = json!("mallory");
            })
        },
    },
    Row {
        artefact: "the publisher's key",
        code: "E005",
        reason: "estream.signature_invalid",
        result: "InvalidSignature",
        tamper: |desk, files| {
            change(files, RECORD, |record| {
                record["signing_keys"][0]["public_key_hex"] = json!(desk.signer("other").public().to_hex());
            })
        },
    },
    Row {
        artefact: "the publisher's key, removed",
        code: "E007",
        reason: "estream.key_unknown",
        result: "UnknownKey",
        tamper: |_, files| change(files, RECORD, |record| record["signing_keys"] = json!([])),
    },
    Row {
        artefact: "the publisher's record, removed",
        code: "E007",
        reason: "estream.publisher_unknown",
        result: "UnknownKey",
        tamper: |_, files| drop(files.remove(RECORD)),
    },
    Row {
        artefact: "the manifest in the index",
        code: "E008",
        reason: "estream.manifest_mismatch",
        result: "-",
        tamper: |_, files| {
            let manifest = text(files, &of_version("estream-component.toml"));
            let other = manifest.replace("0.1.0", "0.1.1").into_bytes();
            files.insert(of_version("estream-component.toml"), other);
        },
    },
    Row {
        artefact: "the manifest in the index, with other words",
        code: "E008",
        reason: "archive.digest",
        result: "Valid",
        tamper: |_, files| {
            let manifest = other_words(files).into_bytes();
            files.insert(of_version("estream-component.toml"), manifest);
        },
    },
    Row {
        artefact: "the manifest in the archive, and nothing else",
        code: "E006",
        reason: "trust.digest_mismatch",
        result: "Valid",
        tamper: |desk, files| {
            let mut other = files.clone();
            replaced(&mut other, &desk.signer("other"), &[("estream-component.toml", &other_words(files))]);
            files.insert(ARCHIVE.to_owned(), other[ARCHIVE].clone());
        },
    },
    Row {
        artefact: "the manifest in the archive, with all checksums, and the old signature",
        code: "E005",
        reason: "estream.signature_invalid",
        result: "InvalidSignature",
        tamper: |desk, files| {
            let signature = |files: &Files| text(files, &of_version("SIGNATURE.ml-dsa"));
            let before: Value = serde_json::from_str(&signature(files)).unwrap();
            let manifest = other_words(files);
            replaced(files, &desk.signer("other"), &[("estream-component.toml", &manifest)]);
            change(files, &of_version("SIGNATURE.ml-dsa"), |document| {
                document["signature_hex"] = before["signature_hex"].clone();
            });
        },
    },
    Row {
        artefact: "the manifest in the archive, signed by somebody else",
        code: "E005",
        reason: "estream.signature_invalid",
        result: "InvalidSignature",
        tamper: |desk, files| {
            let manifest = other_words(files);
            replaced(files, &desk.signer("other"), &[("estream-component.toml", &manifest)]);
        },
    },
    Row {
        artefact: "the manifest in the archive, signed by the publisher",
        code: "E008",
        reason: "archive.digest",
        result: "ChecksumMismatch",
        tamper: |desk, files| {
            let manifest = other_words(files);
            replaced(files, &desk.signer("acme"), &[("estream-component.toml", &manifest)]);
        },
    },
];

fn of_component(file: &str) -> String {
    format!("{DIRECTORY}/{file}")
}

fn of_version(file: &str) -> String {
    format!("{DIRECTORY}/0.1.0/{file}")
}

fn text(files: &Files, path: &str) -> String {
    String::from_utf8(files[path].clone()).unwrap()
}

fn other_words(files: &Files) -> String {
    text(files, &of_version("estream-component.toml")).replace("ESF schemas of", "Better schemas of")
}

impl Life {
    /// Begins it: a registry with a publisher, two components that come out of `scaffold`, packed, published and merged.
    fn begin() -> Life {
        let desk = Desk::new(&["--archives", "archives"]);
        desk.done(&["scaffold", "esf-schema", "order-schemas", "--output-dir", "orders"]);
        desk.done(&["scaffold", "smart-circuit", "@acme/order-router", "--output-dir", "router"]);
        edited(
            &desk,
            "router",
            &[
                ("[component.dependencies]\n", "[component.dependencies]\norder-schemas = \"^0.1\"\n"),
                ("requires = []", "requires = [\"OrderSchemasRecord\"]"),
            ],
        );
        for (directory, branch) in
            [("orders", "publish/order-schemas-0.1.0"), ("router", "publish/@acme/order-router-0.1.0")]
        {
            let packed = desk.json(&["pack", directory]);
            desk.published(directory);
            desk.merge(branch);
            // What was packed is what was published, byte for byte.
            let packed = std::fs::read(packed["archive"].as_str().unwrap()).unwrap();
            let kept = files(&desk.sandbox.path("registry/archives"));
            assert!(kept.values().any(|archive| *archive == packed), "{:?}", kept.keys());
        }
        assert!(desk.findings("registry", &[]).is_empty());
        let daemon = reads(&desk, &desk.sandbox.path("registry.git"));
        for name in ["workspace", "fresh"] {
            std::fs::create_dir(desk.sandbox.path(name)).unwrap();
        }
        Life { desk, daemon }
    }

    fn run_in(&self, directory: &str, arguments: &[&str]) -> Said {
        let mut command = self.desk.sandbox.command();
        Said::of(command.current_dir(self.desk.sandbox.path(directory)).args(arguments))
    }

    #[track_caller]
    fn done_in(&self, directory: &str, arguments: &[&str]) -> String {
        let said = self.run_in(directory, arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said.stdout
    }

    /// Has these files in the registry, for everybody who reads it.
    fn now(&self, files: &Files) {
        let registry = Repository { path: self.desk.sandbox.path("registry") };
        registry.commit(files);
        self.desk.git("registry", &["push", "--quiet", "origin", "main"]);
        self.daemon.sync();
    }

    /// Merges what was published, and has it read.
    #[track_caller]
    fn merged(&self, branch: &str) {
        self.desk.merge(branch);
        self.daemon.sync();
    }

    /// Asks for the router, by the API and by the command line, and returns what they say.
    fn asked(&self) -> Vec<(&'static str, Result<(), String>)> {
        let question = json!({ "resolve": { "requests": [ROUTER] }, "refetch": true });
        let answer = self.daemon.post("/v1/materialize", &question).json();
        let api = if answer["items"].is_array() { Ok(()) } else { Err(told(&answer)) };
        let verb = |arguments: &[&str]| {
            let said = self.run_in("fresh", arguments);
            // An answer that is none stands on stderr, as `… [CODE reason]`.
            let line = || said.stderr.lines().find_map(|line| line.strip_suffix(']')?.rsplit_once('['));
            match said.status {
                0 => Ok(()),
                _ => Err(line().map_or_else(|| format!("{said:?}"), |(_, end)| end.to_owned())),
            }
        };
        let before = files(&self.desk.sandbox.path("fresh"));
        let install = verb(&["install", ROUTER, "--force", "--dry-run"]);
        assert!(files(&self.desk.sandbox.path("fresh")) == before);
        vec![("the API", api), ("install", install)]
    }

    /// Returns what `verify` says of the schemas in the workspace.
    fn verified(&self) -> (i32, String) {
        let said = self.run_in("workspace", &["verify", "order-schemas", "-o", "json"]);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        (said.status, answer["components"][0]["result"].as_str().unwrap_or("-").to_owned())
    }
}

/// Replaces texts in the manifest of a component.
fn edited(desk: &Desk, component: &str, changes: &[(&str, &str)]) {
    let path = format!("{component}/estream-component.toml");
    let mut text = std::fs::read_to_string(desk.sandbox.path(&path)).unwrap();
    for (before, now) in changes {
        assert!(text.contains(before), "{before}: {text}");
        text = text.replacen(before, now, 1);
    }
    desk.write(&path, text);
}

#[test]
fn a_registry_and_its_components_live_their_whole_life() {
    let life = Life::begin();
    life.is_found_and_installed();
    life.is_refused_wherever_it_is_tampered_with();
    life.loses_a_version();
    life.is_carried_away();
    life.changes_its_keys();
}

impl Life {
    fn is_found_and_installed(&self) {
        let found = self.desk.done(&["search", "order"]);
        for line in ["NAME", "@acme/order-router", "order-schemas", "2 results found"] {
            assert!(found.contains(line), "{line}: {found}");
        }
        let told = self.done_in("workspace", &["install", ROUTER]);
        for name in ["order-schemas", "@acme/order-router"] {
            let seal = format!("\n  {name} v0.1.0 ✓ (key: {KEY})\n");
            assert!(told.contains(&seal), "{seal}: {told}");
        }
        assert!(told.contains("\nVerifying ML-DSA-87 signatures...\n"), "{told}");
        assert!(told.contains("\nInstalled 2 components "), "{told}");
        let workspace = files(&self.desk.sandbox.path("workspace"));
        assert!(workspace.contains_key("schemas/order-schemas-record.esf.yaml"), "{:?}", workspace.keys());
        assert!(workspace.contains_key("circuits/order-router.circuit.yaml"), "{:?}", workspace.keys());
        assert!(self.done_in("workspace", &["verify", "--all"]).ends_with("2 components, 0 wrong\n"));
    }

    fn is_refused_wherever_it_is_tampered_with(&self) {
        let good = files(&self.desk.sandbox.path("registry"));
        let installed = files(&self.desk.sandbox.path("workspace"));
        for Row { artefact, code, reason, result, tamper } in TABLE {
            let mut bad = good.clone();
            tamper(&self.desk, &mut bad);
            assert!(bad != good, "{artefact}");
            self.now(&bad);
            for (who, answer) in self.asked() {
                assert_eq!(answer, Err(format!("{code} {reason}")), "{artefact}: {who}");
            }
            let status = if *result == "Valid" { 0 } else { 7 };
            assert_eq!(self.verified(), (status, (*result).to_owned()), "{artefact}: verify");
            // It was that and nothing else.
            self.now(&good);
            for (who, answer) in self.asked() {
                assert_eq!(answer, Ok(()), "{artefact}, as it was: {who}");
            }
            assert_eq!(self.verified(), (0, "Valid".to_owned()), "{artefact}, as it was: verify");
        }
        assert!(files(&self.desk.sandbox.path("workspace")) == installed);
        // What was tampered with in the workspace itself is found there.
        let path = "workspace/schemas/order-schemas-record.esf.yaml";
        let text = std::fs::read(self.desk.sandbox.path(path)).unwrap();
        self.desk.write(path, "name: Other\n");
        assert_eq!(self.verified(), (7, "ChecksumMismatch".to_owned()));
        self.desk.write(path, text);
        assert_eq!(self.verified(), (0, "Valid".to_owned()));
    }

    /// Publishes the next version of the schemas, signed by this key.
    fn next(&self, (before, now): (&str, &str), key: &str) {
        edited(&self.desk, "orders", &[(before, now)]);
        let publish = ["publish", "orders", "--registry", "./registry.git", "--key", key, "-y"];
        self.desk.done(&publish);
        self.merged(&format!("publish/order-schemas-{now}"));
    }

    /// Returns the version of the schemas that is installed in a directory.
    fn version_in(&self, directory: &str) -> String {
        let text = std::fs::read_to_string(self.desk.sandbox.path(directory).join("estream-workspace.toml"));
        let table: toml::Table = text.unwrap().parse().unwrap();
        table["dependencies"]["order-schemas"]["version"].as_str().unwrap().to_owned()
    }

    fn loses_a_version(&self) {
        self.next(("0.1.0", "0.1.1"), "acme.key");
        self.done_in("workspace", &["install", "order-schemas@latest"]);
        assert_eq!(self.version_in("workspace"), "0.1.1");
        let reason = ["--reason", "loses orders", "-y"];
        let yank = ["yank", "order-schemas@0.1.1", "--registry", "./registry.git"];
        self.desk.done(&[&yank[..], &reason].concat());
        self.merged("yank/order-schemas-0.1.1");
        // Who has it keeps it, and is told; nobody else gets it.
        let kept = self.done_in("workspace", &["install", "order-schemas", ROUTER, "--force"]);
        assert!(kept.contains("order-schemas v0.1.1") && kept.contains("warning:"), "{kept}");
        assert_eq!(self.version_in("workspace"), "0.1.1");
        let told = self.done_in("workspace", &["verify", "order-schemas"]);
        assert!(told.contains("withdrawn by its publisher") && told.contains("Valid"), "{told}");
        self.done_in("fresh", &["install", ROUTER]);
        assert_eq!(self.version_in("fresh"), "0.1.0");
        let said = self.run_in("fresh", &["install", "order-schemas@0.1.1"]);
        assert!(said.status == 10 && said.stderr.contains("E002"), "{said:?}");
        assert_eq!(self.version_in("fresh"), "0.1.0");
    }

    /// Everything goes to a machine that reaches no other one.
    fn is_carried_away(&self) {
        let bundle = self.desk.sandbox.path("bundle");
        let exported =
            self.desk.json(&["export", "@acme/order-router", "--output-dir", bundle.to_str().unwrap()]);
        let away = Sandbox::new();
        place::copy(&bundle, &away.path("bundle"));
        std::fs::create_dir(away.path("work")).unwrap();
        let is_alone = Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|one| one.success());
        let run = |arguments: &[&str]| {
            let mut command = match is_alone {
                true => Command::new("unshare"),
                false => away.command(),
            };
            if is_alone {
                away.furnish(&mut command);
                command.arg("-rn").arg(place::binary());
            }
            // Nobody has configured anything there.
            command.current_dir(away.path("work")).env_remove("RESOLVERD_SOURCES");
            Said::of(command.arg("--offline").args(arguments))
        };
        let checksum = exported["checksum"].as_str().unwrap();
        let said = run(&["install", "--from", "../bundle", "--checksum", checksum]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.stdout.contains(&format!("order-schemas v0.1.0 ✓ (key: {KEY})")), "{said:?}");
        let said = run(&["verify", "--all"]);
        assert!(said.status == 0 && said.stdout.ends_with("2 components, 0 wrong\n"), "{said:?}");
        let record = away.path("work/schemas/order-schemas-record.esf.yaml");
        std::fs::write(&record, "name: Other\n").unwrap();
        let said = run(&["verify", "--all"]);
        assert!(said.status == 7 && said.stdout.contains("ChecksumMismatch"), "{said:?}");
        let said = run(&["install", "--from", "../bundle", "--checksum", checksum, "--force"]);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(run(&["verify", "--all"]).status, 0);
        std::fs::remove_file(&record).unwrap();
        let said = run(&["install"]);
        assert!(
            said.status == 0 && said.stdout.contains("install --from DIR --force order-schemas"),
            "{said:?}"
        );
        let said = run(&["install", "--from", "../bundle"]);
        assert!(said.status == 0 && said.stdout.contains("Restored 1 file of 1 component"), "{said:?}");
        // Nothing is believed of it that its publisher did not sign.
        let archive = away.path("bundle/packages/order-schemas/0.1.0/package.tar.gz");
        let mut bytes = std::fs::read(&archive).unwrap();
        bytes.push(0);
        std::fs::write(&archive, bytes).unwrap();
        let said = run(&["install", "--from", "../bundle"]);
        assert!(said.status == 7 && said.stderr.contains("E006"), "{said:?}");
    }

    fn changes_its_keys(&self) {
        let kept = |act: &str| {
            self.desk.git("registry", &["commit", "--quiet", "--all", "-m", act]);
            self.desk.git("registry", &["push", "--quiet", "origin", "main"]);
            self.daemon.sync();
        };
        let rotate =
            ["registry", "publisher", "rotate", "acme", KEY, "--key", "other.pem", "--dir", "registry"];
        self.desk.done(&rotate);
        kept("rotate");
        // What the old key signed stays what it is; it signs nothing more, and the new one does.
        for (who, answer) in self.asked() {
            assert_eq!(answer, Ok(()), "{who}");
        }
        assert_eq!(self.verified(), (0, "Valid".to_owned()));
        edited(&self.desk, "orders", &[("0.1.1", "0.1.2")]);
        let said = self.desk.publish("orders", &["-y"]);
        assert!(said.status == 6 && said.stderr.contains("estream.key_rotated"), "{said:?}");
        edited(&self.desk, "orders", &[("0.1.2", "0.1.1")]);
        self.next(("0.1.1", "0.1.2"), "other.key");
        let told = self.done_in("fresh", &["install", "order-schemas@latest", "-o", "json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let rows = told["components"].as_array().unwrap();
        let schemas = rows.iter().find(|one| one["id"] == "estream:order-schemas").unwrap();
        let seal = &schemas["verification"];
        assert!(seal["result"] == "Valid" && seal["keyId"] == "acme-signing-key-02", "{told:#}");
        assert_eq!(self.version_in("fresh"), "0.1.2");

        self.desk.done(&["registry", "publisher", "revoke", "acme", KEY, "--dir", "registry"]);
        kept("revoke");
        for (who, answer) in self.asked() {
            assert_eq!(answer, Err("E005 estream.key_revoked".to_owned()), "{who}");
        }
        assert_eq!(self.verified(), (7, "RevokedKey".to_owned()));
        let told = self.run_in("fresh", &["verify", "--all", "-o", "json"]);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        let results: Vec<&str> = told["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["result"].as_str().unwrap_or("-"))
            .collect();
        assert_eq!(results, ["RevokedKey", "Valid"], "what the new key signed is what it was");
    }
}
