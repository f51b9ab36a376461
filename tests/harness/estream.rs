//! eStream registries, made of real keys, signatures and archives, so that whatever a test changes in one is the only thing wrong.
//! The same registry always has the same bytes.

use std::collections::BTreeMap;
use std::io::Write as _;

use catalogue_schema::digest::{Algorithm, Digest, hex};
use catalogue_schema::key::{KeyAlgorithm, SEED_BYTES};
use flate2::{Compression, GzBuilder};
use resolverd::trust::signature::Signer;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::harness::repository::Files;

/// When everything is published that does not say when.
pub(crate) const PUBLISHED: &str = "2026-02-10T12:00:00Z";

/// A registry while it is made.
pub(crate) struct Registry {
    /// Its files, by their paths from its root.
    pub(crate) files: Files,
    keys: BTreeMap<String, Signer>,
}

/// One version of a component.
pub(crate) struct Part<'a> {
    /// The category.
    pub(crate) category: &'a str,
    /// The name, `name` or `@publisher/name`.
    pub(crate) name: &'a str,
    /// The publisher.
    pub(crate) publisher: &'a str,
    /// The version.
    pub(crate) version: &'a str,
    /// What follows the required fields in its manifest.
    pub(crate) more: &'a str,
}

/// Returns the key that follows from a name.
pub(crate) fn key(name: &str) -> Signer {
    let mut seed = [0; SEED_BYTES];
    for (place, byte) in seed.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    Signer::of(&Signer::seeded(KeyAlgorithm::MlDsa87, Zeroizing::new(seed))).unwrap()
}

impl Registry {
    /// Makes an empty registry.
    pub(crate) fn new() -> Registry {
        let mut registry = Registry { files: Files::new(), keys: BTreeMap::new() };
        registry.put_json("config.json", &json!({ "schema_version": 1 }));
        registry
    }

    /// Writes a file.
    pub(crate) fn put(&mut self, path: &str, bytes: impl AsRef<[u8]>) {
        self.files.insert(path.to_owned(), bytes.as_ref().to_vec());
    }

    /// Writes a JSON document.
    pub(crate) fn put_json(&mut self, path: &str, value: &Value) {
        self.put(path, format!("{value:#}\n"));
    }

    /// Changes a JSON document.
    pub(crate) fn change(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut value =
            self.files.get(path).map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap());
        change(&mut value);
        self.put_json(path, &value);
    }

    /// Registers a publisher with one key, which is called like him.
    pub(crate) fn publisher(&mut self, name: &str) {
        self.publisher_with(name, name);
    }

    /// Registers a publisher with one key, which follows from another name and is called like him all the same.
    pub(crate) fn publisher_with(&mut self, name: &str, key_of: &str) {
        let key = key(key_of);
        self.put_json(&format!("publishers/{name}.json"), &json!({
            "name": name, "display_name": format!("The {name} people"), "url": "https://example.org", "verified": true,
            "signing_keys": [{
                "key_id": format!("{name}-1"), "algorithm": "ML-DSA-87", "public_key_hex": key.public().to_hex(),
                "created_at": "2026-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "status": "active"
            }]
        }));
        self.keys.insert(name.to_owned(), key);
    }

    /// Publishes a version.
    pub(crate) fn publish(&mut self, part: &Part<'_>) {
        self.publish_with(part, &[]);
    }

    /// Publishes a version whose archive holds more files.
    pub(crate) fn publish_with(&mut self, part: &Part<'_>, more_files: &[(&str, &str)]) {
        let Part { category, name, publisher, version, more } = part;
        let directory = format!("index/{category}/{name}");
        let manifest = format!(
            "[component]\nname = \"{name}\"\nversion = \"{version}\"\ncategory = \"{category}\"\ndescription = \"The part {name} of {publisher}\"\n{more}"
        );
        let readme = format!("# {name} {version}\n");
        let mut files =
            vec![("README.md", readme.as_bytes()), ("estream-component.toml", manifest.as_bytes())];
        files.extend(more_files.iter().map(|(path, text)| (*path, text.as_bytes())));
        let archive = archive(&files);
        let place = format!("archives/{}-{version}.tar.gz", name.trim_start_matches('@').replace('/', "-"));
        let checksum = Digest::of(Algorithm::Sha3_256, &archive);
        self.put(&place, archive);
        self.change(&format!("{directory}/metadata.json"), |metadata| {
            if metadata.is_null() {
                *metadata = json!({
                    "name": name, "category": category, "publisher": publisher,
                    "description": format!("The part {name}"), "versions": [], "keywords": ["parts"],
                    "badges": ["tested"], "stats": { "downloads": 0, "stars": 0 }
                });
            }
            metadata["latest"] = json!(version);
            let row = json!({
                "version": version, "published_at": PUBLISHED, "checksum_sha3": checksum.hex(),
                "signature_pubkey_id": format!("{publisher}-1"), "yanked": false,
                "estream_min_version": "0.8.0", "archive_url": place
            });
            metadata["versions"].as_array_mut().unwrap().push(row);
        });
        self.put(&format!("{directory}/{version}/estream-component.toml"), manifest);
        self.put(
            &format!("{directory}/{version}/checksum.sha3"),
            format!("{}  package.tar.gz\n", checksum.hex()),
        );
        self.sign(&format!("{directory}/{version}"), publisher, &checksum);
    }

    /// Writes the signature of a publisher's key over a checksum.
    pub(crate) fn sign(&mut self, directory: &str, publisher: &str, checksum: &Digest) {
        let signature = self.keys[publisher].sign(checksum.as_bytes(), &[0; SEED_BYTES]).unwrap();
        self.put_json(
            &format!("{directory}/SIGNATURE.ml-dsa"),
            &json!({
                "algorithm": "ML-DSA-87", "key_id": format!("{publisher}-1"), "signed_at": PUBLISHED,
                "checksum_algorithm": "SHA3-256", "checksum": checksum.hex(), "signature_hex": hex(&signature)
            }),
        );
    }
}

/// Packs files into an archive, sorted, without times and owners. Nothing is compressed, so that its bytes depend on no library.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut packed = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::none());
    packed.write_all(&tar).unwrap();
    packed.finish().unwrap()
}

/// The registry that the example of a sources file names: three publishers, a part that needs another, one withdrawn version.
pub(crate) fn sample() -> Registry {
    let mut registry = Registry::new();
    registry.put(
        "README.md",
        "# A registry of parts\n\nA sample: its keys follow from the names of their publishers.\n",
    );
    for name in ["acme", "estream"] {
        registry.publisher(name);
    }
    let schemas = "\n[component.schemas]\nprovides = [\"EStreamOrder\", \"EStreamFill\"]\n";
    let part = |category, name, publisher, version, more| Part { category, name, publisher, version, more };
    registry.publish(&part("esf-schema", "esf-trading", "estream", "1.1.0", schemas));
    registry.publish(&part("esf-schema", "esf-trading", "estream", "1.2.0", schemas));
    let wire = "license = \"Apache-2.0\"\n\n[component.estream]\nmin_version = \"0.8.0\"\nmax_version = \"1.0.0\"\n\n[component.dependencies]\nesf-trading = \"1.0.0\"\nestream-kernel = \">=0.8.0\"\n\n[component.schemas]\nprovides = [\"FixNewOrderSingle\"]\nrequires = [\"EStreamOrder\"]\n";
    registry.publish(&part("wire-adapter", "estream-wire-fix", "estream", "1.0.0", wire));
    registry.publish(&part(
        "console-widget",
        "@acme/impact-counter",
        "acme",
        "0.3.0",
        "keywords = [\"dashboard\"]\n",
    ));
    registry.publish(&part("console-widget", "@acme/impact-counter", "acme", "0.4.0", ""));
    registry.change("index/console-widget/@acme/impact-counter/metadata.json", |metadata| {
        metadata["versions"][1]["yanked"] = json!(true);
        metadata["latest"] = json!("0.3.0");
    });
    registry
}
