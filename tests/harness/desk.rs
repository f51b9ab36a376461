//! A desk at which somebody keeps a registry and somebody publishes in it: the real binary, real Git repositories, real ML-DSA-87 keys.

use std::path::Path;

use catalogue_schema::digest::{Algorithm, Digest, hex};
use catalogue_schema::key::{PrivateKey, SEED_BYTES};
use catalogue_schema::path::DocPath;
use resolverd::fetch::limit::Limits;
use resolverd::materialize::archive::Bounds;
use resolverd::materialize::archive::write::tar_gz;
use resolverd::trust::signature::Signer;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::place;
use crate::harness::repository::{self, Files};

/// A component with a schema; its version is written VERSION.
pub(crate) const ORDERS: &str = "[component]\nname = \"order-schemas\"\nversion = \"VERSION\"\ncategory = \"esf-schema\"\ndescription = \"Orders\"\nlicense = \"Apache-2.0\"\nkeywords = [\"orders\"]\n\n[component.schemas]\nprovides = [\"OrderPlaced\"]\n";
/// A component that needs the schema of [`ORDERS`].
pub(crate) const ROUTER: &str = "[component]\nname = \"@acme/order-router\"\nversion = \"VERSION\"\ncategory = \"smart-circuit\"\ndescription = \"Routes orders\"\n\n[component.estream]\nmin_version = \"0.8.0\"\n\n[component.dependencies]\norder-schemas = \"^1\"\n\n[component.schemas]\nrequires = [\"OrderPlaced\"]\n\n[component.circuits]\nprovides = [\"order_router\"]\n";

/// A sandbox in which somebody keeps a registry, and somebody publishes in it.
pub(crate) struct Desk {
    /// The files of both.
    pub(crate) sandbox: Sandbox,
}

impl Desk {
    /// Makes a registry that keeps archives, with the publisher `acme`, and a bare repository of it.
    pub(crate) fn new(archives: &[&str]) -> Desk {
        let desk = Desk { sandbox: Sandbox::new() };
        desk.write(
            "home/.gitconfig",
            "[user]\n\tname = A Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n",
        );
        desk.done(&[&["registry", "init", "registry"], archives].concat());
        for name in ["acme", "other"] {
            desk.done(&["keys", "generate", "ml-dsa-87", name]);
        }
        let added =
            ["registry", "publisher", "add", "acme", "--key", "acme.pem", "--verified", "--dir", "registry"];
        let said = desk.done(&added);
        let next = "next: git -C registry add -- publishers/acme.json && git -C registry commit -m 'Register acme' -- publishers/acme.json";
        assert!(said.contains(next), "{said}");
        desk.git("registry", &["add", "--all"]);
        desk.git("registry", &["commit", "--quiet", "-m", "acme"]);
        let registry = desk.sandbox.path("registry");
        place::git(&registry, &["clone", "--quiet", "--bare", "--no-local", ".", "../registry.git"]);
        desk.git("registry", &["remote", "add", "origin", "../registry.git"]);
        desk
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        repository::write(&self.sandbox.path(""), &Files::from([(path.to_owned(), text.as_ref().to_vec())]));
    }

    /// Writes the component `orders` or `router`.
    pub(crate) fn component(&self, name: &str, manifest: &str, version: &str) {
        self.write(&format!("{name}/estream-component.toml"), manifest.replace("VERSION", version));
        self.write(&format!("{name}/README.md"), format!("# {name}\n"));
        let schema = "name: OrderPlaced\nversion: 1\nfields:\n  - name: id\n    type: u64\n";
        match name {
            "orders" => self.write("orders/schemas/order-placed.esf.yaml", schema),
            _ => self.write(
                "router/circuits/order-router.circuit.yaml",
                "circuit: order_router\nname: order_router\n",
            ),
        }
    }

    /// Runs Git in a directory.
    pub(crate) fn git(&self, directory: &str, arguments: &[&str]) -> String {
        place::git(&self.sandbox.path(directory), arguments)
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.sandbox.run(arguments)
    }

    /// Runs a verb that has to succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said.stdout
    }

    /// Runs a verb that has to succeed, and returns its JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Publishes with the key of `acme`.
    pub(crate) fn publish(&self, directory: &str, more: &[&str]) -> Said {
        let own = ["publish", directory, "--registry", "./registry.git", "--key", "acme.key"];
        self.run(&[&own, more].concat())
    }

    /// Publishes a component, which has to succeed.
    #[track_caller]
    pub(crate) fn published(&self, directory: &str) {
        let said = self.publish(directory, &["-y"]);
        assert_eq!(said.status, 0, "{said:?}");
    }

    /// Merges a branch as whoever keeps the registry does, once its check has nothing to say.
    #[track_caller]
    pub(crate) fn merge(&self, branch: &str) {
        self.git("registry", &["fetch", "--quiet", "origin", branch]);
        self.git("registry", &["merge", "--quiet", "--no-ff", "-m", "merge", "FETCH_HEAD"]);
        let checked = self.json(&["registry", "check", "registry", "--base", "HEAD^1"]);
        assert_eq!(checked["good"], true, "{checked:#}");
        self.git("registry", &["push", "--quiet", "origin", "main"]);
    }

    /// Returns what `registry check` says of a checkout: `CODE reason` of each finding.
    pub(crate) fn findings(&self, directory: &str, more: &[&str]) -> Vec<String> {
        let said = self.run(&[&["registry", "check", directory, "-o", "json"], more].concat());
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let findings: Vec<String> = answer["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", text(one, "code"), text(one, "reason")))
            .collect();
        assert_eq!(said.status == 0, findings.is_empty(), "{said:?}");
        findings
    }

    /// Returns the key of a name.
    pub(crate) fn signer(&self, name: &str) -> Signer {
        let text = std::fs::read(self.sandbox.path(&format!("{name}.key"))).unwrap();
        Signer::of(&PrivateKey::parse(&text).unwrap()).unwrap()
    }
}

/// Reads the files below a directory, Git's own not among them.
pub(crate) fn files(root: &Path) -> Files {
    let (mut files, mut open) = (Files::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match (entry.file_name().unwrap() == ".git", entry.is_dir()) {
                (true, _) => {}
                (_, true) => open.push(entry),
                _ => {
                    let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    files.insert(path, std::fs::read(entry).unwrap());
                }
            }
        }
    }
    files
}

/// Changes a JSON document among files.
pub(crate) fn change(files: &mut Files, path: &str, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&files[path]).unwrap();
    change(&mut value);
    files.insert(path.to_owned(), format!("{value:#}\n").into_bytes());
}

/// Returns `id@version` of everything that is chosen, or the code and reason of the refusal.
pub(crate) fn chosen(daemon: &Daemon, references: &[&str]) -> String {
    told(&daemon.resolve(references).json())
}

/// Returns `id@version` of everything that is chosen, or the code and reason of a refusal.
pub(crate) fn told(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    match answer["components"].as_array() {
        Some(all) => {
            let names = all.iter().map(|one| format!("{}@{}", text(&one["id"]), text(&one["version"])));
            names.collect::<Vec<String>>().join(" ")
        }
        None => format!("{} {}", text(&answer["code"]), text(&answer["reason"])),
    }
}

/// Where the index has [`ORDERS`].
pub(crate) const DIRECTORY: &str = "index/esf-schema/order-schemas";

/// Has an archive with these files in the place of the one that is published, sealed by a key.
pub(crate) fn replaced(files: &mut Files, signer: &Signer, content: &[(&str, &str)]) {
    let entries =
        content.iter().map(|(path, text)| (DocPath::parse(path).unwrap(), text.as_bytes().to_vec()));
    let archive = tar_gz(&entries.collect(), &Bounds::from(&Limits::default()), "x").unwrap();
    let checksum = Digest::of(Algorithm::Sha3_256, &archive);
    let mut version = String::new();
    change(files, &format!("{DIRECTORY}/metadata.json"), |document| {
        let row = &mut document["versions"][0];
        row["checksum_sha3"] = json!(checksum.hex());
        version.push_str(row["version"].as_str().unwrap());
    });
    files.insert(format!("archives/order-schemas/{version}/package.tar.gz"), archive);
    let sum = format!("{}\n", checksum.hex());
    files.insert(format!("{DIRECTORY}/{version}/checksum.sha3"), sum.into_bytes());
    change(files, &format!("{DIRECTORY}/{version}/SIGNATURE.ml-dsa"), |document| {
        document["checksum"] = json!(checksum.hex());
        let signature = signer.sign(checksum.as_bytes(), &[1; SEED_BYTES]).unwrap();
        document["signature_hex"] = json!(hex(&signature));
    });
}

/// Starts a daemon whose only source is a repository, and syncs it.
pub(crate) fn reads(desk: &Desk, repository: &Path) -> Daemon {
    let url = format!("file://{}", repository.display());
    desk.sandbox.write_sources(&json!({ "sources": [{ "id": "parts", "dialect": "estream", "url": url }] }));
    desk.sandbox.start_synced()
}
