//! The published LCOD federation as real repositories: ids, paths, requirements and calls from the data for tests, every
//! byte written anew. The same components are published four times: in the seed's form, as JSONL, as an array, and in the layout before the federation.

use std::path::Path;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::place;
use crate::harness::repository::{Files, Repository};

/// One component to publish.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    /// `lcod://ns/name`, without a version.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: String,
    /// The directory of its files, from the repository's root.
    pub(crate) directory: String,
    /// What its descriptor says it is.
    pub(crate) kind: String,
    /// What it requires.
    pub(crate) requires: Vec<String>,
    /// What its compose file calls.
    pub(crate) calls: Vec<String>,
}

/// How a catalogue is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `lcod-registry/catalogue@1` with manifests, found through `catalogues.json`.
    Seed,
    /// `lcod-manifest/list@1` rows, found through `catalogues.jsonl`.
    Lines,
    /// `[{id, composePath}]`, found through `catalogues.json`.
    Array,
    /// `packages.jsonl` with manifests, found through `catalogues.json`.
    Packages,
}

/// Every form.
pub(crate) const FORMS: [Form; 4] = [Form::Seed, Form::Lines, Form::Array, Form::Packages];

/// The two repositories.
#[derive(Debug)]
pub(crate) struct Federation {
    /// The registry: lists only.
    pub(crate) registry: Repository,
    /// What it lists.
    pub(crate) components: Vec<Component>,
}

impl Component {
    /// Makes a component of kind `component` that calls what it requires, at a path derived from its id.
    pub(crate) fn new(id: &str, version: &str, requires: &[&str]) -> Component {
        let name = id.strip_prefix("lcod://").unwrap();
        let requires: Vec<String> = requires.iter().map(|one| (*one).to_owned()).collect();
        Component {
            id: id.to_owned(),
            version: version.to_owned(),
            directory: format!("packages/{}", name.replace('/', ".")),
            kind: "component".to_owned(),
            calls: requires.clone(),
            requires,
        }
    }

    /// Returns `id@version`.
    pub(crate) fn full(&self) -> String {
        format!("{}@{}", self.id, self.version)
    }

    /// Returns the path of one of its files.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn summary(&self) -> String {
        format!("What {} does, in one line", self.id.rsplit('/').next().unwrap_or_default())
    }

    /// Returns `lcp.toml` 2.0.
    pub(crate) fn descriptor(&self) -> Vec<u8> {
        let requires: String = self.requires.iter().map(|one| format!("  \"{one}\",\n")).collect();
        format!(
            "schemaVersion = \"2.0\"\nid = \"{}\"\nversion = \"{}\"\nkind = \"{}\"\nsummary = \"{}\"\n\n[deps]\nrequires = [\n{requires}]\n",
            self.full(),
            self.version,
            self.kind,
            self.summary()
        )
        .into_bytes()
    }

    /// Returns `compose.yaml`.
    pub(crate) fn compose(&self) -> Vec<u8> {
        let calls: String =
            self.calls.iter().map(|call| format!("  - call: {call}\n    in: {{}}\n")).collect();
        format!("# {}\ncompose:\n{calls}", self.full()).into_bytes()
    }

    /// Returns both files under their paths.
    pub(crate) fn files(&self) -> Files {
        Files::from([(self.file("lcp.toml"), self.descriptor()), (self.file("compose.yaml"), self.compose())])
    }

    /// Returns `manifest.json`, whose file paths count from the repository's root, as the published ones do.
    pub(crate) fn manifest(&self, repository: &str, commit: &str) -> Vec<u8> {
        let row = |(path, bytes): (String, Vec<u8>)| {
            let digest = Digest::sha256(&bytes).to_string();
            json!({ "path": path, "sha256": digest.trim_start_matches("sha256:"), "size": bytes.len() })
        };
        let mut files: Vec<Value> = self.files().into_iter().map(row).collect();
        files.reverse();
        let manifest = json!({
            "schema": "lcod-registry/manifest@1",
            "id": self.full(),
            "kind": self.kind,
            "summary": self.summary(),
            "source": { "type": "git", "url": repository, "commit": commit, "path": self.directory },
            "files": files,
            "dependencies": self.requires,
            "artifact": null,
        });
        serde_json::to_vec_pretty(&manifest).unwrap()
    }
}

/// Returns the files of all `components`.
pub(crate) fn all_files(components: &[Component]) -> Files {
    components.iter().flat_map(Component::files).collect()
}

/// Returns an array catalogue.
pub(crate) fn array(components: &[Component]) -> Vec<u8> {
    let row = |one: &Component| json!({ "id": one.full(), "composePath": one.file("compose.yaml") });
    serde_json::to_vec_pretty(&components.iter().map(row).collect::<Vec<_>>()).unwrap()
}

/// Returns JSONL: a header and `rows`.
pub(crate) fn lines(header: &str, rows: &[Value]) -> Vec<u8> {
    let head = json!({ "type": "manifest", "schema": "lcod-manifest/list@1", "id": header });
    std::iter::once(&head).chain(rows).map(|row| format!("{row}\n")).collect::<String>().into_bytes()
}

/// Returns the JSONL row of a component.
pub(crate) fn row(component: &Component) -> Value {
    json!({
        "type": "component",
        "id": component.full(),
        "compose": component.file("compose.yaml"),
        "lcp": component.file("lcp.toml"),
        "package": "components/std",
        "version": "9.9.9",
    })
}

/// Returns `catalogues.json` of `pointers`.
pub(crate) fn catalogues(pointers: &[Value]) -> Vec<u8> {
    serde_json::to_vec_pretty(&json!({ "schema": "lcod-registry/catalogues@1", "catalogues": pointers }))
        .unwrap()
}

/// Returns a pointer to a file of a repository at a commit.
pub(crate) fn pointer(id: &str, repository: &str, commit: &str, path: &str) -> Value {
    json!({ "id": id, "kind": "git", "url": repository, "commit": commit, "path": path, "priority": 50 })
}

/// Returns a sources file with one source whose entry is `path` on the branch `main` of `repository`.
pub(crate) fn sources(id: &str, repository: &str, path: &str) -> Value {
    json!({
        "schema": "lcod-resolver/sources@1",
        "sources": [{ "id": id, "priority": 50,
            "entrypoint": { "type": "git", "url": repository, "ref": "main", "subpath": path } }],
    })
}

/// Reads the published components; `None` where the data is not there (which is said).
pub(crate) fn published() -> Option<Vec<Component>> {
    let bytes = std::fs::read(place::data("lcod-std.json")?).unwrap();
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let read = |row: &Value| {
        let (id, version) = row["id"].as_str().unwrap().rsplit_once('@').unwrap();
        let directory = row["compose"].as_str().unwrap().strip_suffix("/compose.yaml").unwrap();
        assert_eq!(row["lcp"], format!("{directory}/lcp.toml"));
        Component {
            id: id.to_owned(),
            version: version.to_owned(),
            directory: directory.to_owned(),
            kind: row["kind"].as_str().unwrap().to_owned(),
            requires: texts(&row["requires"]),
            calls: texts(&row["calls"]),
        }
    };
    Some(document["components"].as_array().unwrap().iter().map(read).collect())
}

impl Federation {
    /// Builds both repositories below `directory`: the components with their catalogues in every form, and the registry.
    pub(crate) fn build(directory: &Path, components: Vec<Component>) -> Federation {
        let home = Repository::create(&directory.join("components"));
        let url = home.url();
        let mut files = all_files(&components);
        let written = home.commit(&files);
        let (mut versions, mut packages) = (Vec::new(), String::new());
        for one in &components {
            let (path, manifest) = (one.file("manifest.json"), one.manifest(&url, &written));
            let version =
                json!({ "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest) });
            versions.push(json!({ "id": one.id, "versions": [version] }));
            let row = json!({ "kind": "component", "id": one.id, "version": one.version, "manifest": path, "sha256": Digest::sha256(&manifest), "registryId": "official" });
            packages += &format!("{row}\n");
            files.insert(path, manifest);
        }
        let described = home.commit(&files);
        let origin = json!({ "type": "git", "url": url, "commit": described });
        let seed = json!({ "schema": "lcod-registry/catalogue@1", "id": "tooling/std", "origin": origin, "components": versions });
        let rows: Vec<Value> = components.iter().map(row).collect();
        // Published JSONL lies in a `.json` file as well: content decides.
        let jsonl = lines("components/std", &rows);
        files.insert("registry/components.seed.json".to_owned(), serde_json::to_vec_pretty(&seed).unwrap());
        files.insert("registry/components.std.json".to_owned(), jsonl.clone());
        files.insert("registry/components.array.json".to_owned(), array(&components));
        files.insert("registry/packages.jsonl".to_owned(), packages.into_bytes());
        let published = home.commit(&files);

        let registry = Repository::create(&directory.join("registry"));
        let pins = json!({ "manifestPath": "registry/components.std.json", "commit": published, "checksum": Digest::sha256(&jsonl) });
        let list =
            json!({ "type": "list", "id": "tooling/std", "kind": "git", "url": url, "metadata": pins });
        let pointed =
            |name: &str| catalogues(&[pointer("tooling/std", &url, &published, &format!("registry/{name}"))]);
        registry.commit(&Files::from([
            ("seed/catalogues.json".to_owned(), pointed("components.seed.json")),
            ("lines/catalogues.jsonl".to_owned(), lines("registry/catalogues", &[list])),
            ("array/catalogues.json".to_owned(), pointed("components.array.json")),
            ("packages/catalogues.json".to_owned(), pointed("packages.jsonl")),
        ]));
        Federation { registry, components }
    }

    /// Returns the sources file for one of the forms.
    pub(crate) fn sources(&self, form: Form) -> Value {
        let path = match form {
            Form::Seed => "seed/catalogues.json",
            Form::Lines => "lines/catalogues.jsonl",
            Form::Array => "array/catalogues.json",
            Form::Packages => "packages/catalogues.json",
        };
        sources("lcod-default", &self.registry.url(), path)
    }
}

#[test]
fn the_published_federation_is_rebuilt() {
    let Some(components) = published() else { return };
    assert_eq!(components.len(), 79);
    let place = tempfile::tempdir().unwrap();
    let federation = Federation::build(place.path(), components);
    let entry = place::git(&federation.registry.path, &["cat-file", "blob", "main:seed/catalogues.json"]);
    let entry: Value = serde_json::from_str(&entry).unwrap();
    let pin = |field: &str| entry["catalogues"][0][field].as_str().unwrap().to_owned();
    let home = place.path().join("components");
    let blob = |at: String| place::git(&home, &["cat-file", "blob", &at]);
    let seed: Value = serde_json::from_str(&blob(format!("{}:{}", pin("commit"), pin("path")))).unwrap();
    let described = seed["origin"]["commit"].as_str().unwrap();
    let listed = place::git(&home, &["ls-tree", "-r", "--name-only", described]);
    let listed: Vec<&str> = listed.lines().collect();
    for (row, component) in seed["components"].as_array().unwrap().iter().zip(&federation.components) {
        let path = row["versions"][0]["manifest"].as_str().unwrap();
        assert!(listed.contains(&path), "{path} is not in the commit that the origin names");
        let manifest = std::fs::read(home.join(path)).unwrap();
        assert_eq!(row["versions"][0]["sha256"], Digest::sha256(&manifest).to_string(), "{}", component.id);
        let toml = std::fs::read_to_string(home.join(component.file("lcp.toml"))).unwrap();
        let toml: toml::Table = toml.parse().unwrap();
        assert_eq!(toml["id"].as_str(), Some(component.full().as_str()));
        assert_eq!(toml["deps"]["requires"].as_array().unwrap().len(), component.requires.len());
    }
}
