//! The LCOD documents as they are written: the field names of every JSON, JSONL and TOML document, in one place.
//!
//! These types say what a field is called and which JSON type it has, nothing more: texts stay texts here and get their
//! meaning (id, pin, path, place) in the readers. A document whose entries are read one by one, so that a bad entry spoils
//! only itself, has its entry type as a parameter: the readers put a raw JSON value there, the JSON Schemas the real type.
//! Unknown fields are ignored, or kept in `extra` where a release carries them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ParseError, Position};
use crate::json;
use crate::model::SignatureClaim;

/// The schema id of [`CataloguesDocument`].
pub const CATALOGUES_SCHEMA: &str = "lcod-registry/catalogues@1";
/// The schema id of [`CatalogueDocument`].
pub const CATALOGUE_SCHEMA: &str = "lcod-registry/catalogue@1";
/// The schema id in the header of a JSONL list, whose lines are [`ListRow`]s.
pub const LIST_SCHEMA: &str = "lcod-manifest/list@1";
/// The schema id of [`VersionsDocument`].
pub const VERSIONS_SCHEMA: &str = "lcod-registry/versions@1";
/// The schema id of [`RegistryDocument`].
pub const REGISTRY_SCHEMA: &str = "lcod-registry@1";
/// The schema id of [`ManifestDocument`].
pub const MANIFEST_SCHEMA: &str = "lcod-registry/manifest@1";

/// A list of catalogues: `catalogues.json` with schema `lcod-registry/catalogues@1`.
///
/// **Source**: seed 001, section 2.1.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "CataloguesDocument")]
pub struct CataloguesDocument<P = Pointer> {
    /// `lcod-registry/catalogues@1`.
    pub schema: String,
    /// The id that the list gives itself.
    pub id: Option<String>,
    /// The catalogues, in their order.
    pub catalogues: Vec<P>,
    /// What it led to once and leads to no more, on purpose: ids of its catalogues; and components, `lcod://ns/name`, or one
    /// version as `lcod://ns/name@1.0.0`.
    #[schemars(with = "Option<Vec<String>>")]
    pub withdrawn: Option<Value>,
}

/// A pointer to a catalogue or to a further list.
///
/// Pins may stand at the top level, under `metadata` and inside a forge's file URL; all that are given must agree.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    /// `list` in a JSONL list; in a JSON list another spelling of `kind`.
    #[serde(rename = "type")]
    pub row: Option<String>,
    /// How `url` and `path` are read: `git`, `https` or `file`.
    pub kind: Option<String>,
    /// The id of the catalogue, unique in the list; the header's id where it is missing.
    pub id: Option<String>,
    /// The repository, the forge's file URL, the https document, or a path relative to the list.
    pub url: Option<String>,
    /// The file in the repository, or a path relative to the list.
    pub path: Option<String>,
    /// Another spelling of `path`.
    pub subpath: Option<String>,
    /// A branch or tag; not a pin.
    #[serde(rename = "ref")]
    pub branch: Option<String>,
    /// The full commit id that pins the document.
    pub commit: Option<String>,
    /// The digest that pins the document.
    pub checksum: Option<String>,
    /// Lower wins; 100 where it is missing.
    pub priority: Option<i64>,
    /// The public key that a signature is claimed for.
    pub public_key: Option<String>,
    /// The claimed detached signature.
    pub signature: Option<String>,
    /// Where JSONL lists keep pins and provenance.
    pub metadata: Option<PointerMetadata>,
    /// In JSONL lists: only releases whose id lies in this namespace, `ns`, `ns/sub` or `lcod://ns`.
    #[schemars(with = "Option<String>")]
    pub namespace: Option<Value>,
    /// In JSONL lists: only releases whose row states this package.
    #[schemars(with = "Option<String>")]
    pub package: Option<Value>,
    /// In JSONL lists: only releases whose version meets this requirement.
    #[schemars(with = "Option<String>")]
    pub version: Option<Value>,
}

/// Pins and provenance of a [`Pointer`], as published lists write them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointerMetadata {
    /// The full commit id that pins the document.
    pub commit: Option<String>,
    /// The digest that pins the document.
    pub checksum: Option<String>,
    /// The repository that the document comes from.
    pub source_repo: Option<String>,
    /// The document's path in that repository.
    pub manifest_path: Option<String>,
}

/// One line of a JSONL list with schema `lcod-manifest/list@1`: the header first, then lists and components.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ListRow {
    /// The first line.
    Manifest(ListHeader),
    /// A further list or catalogue.
    List(Box<Pointer>),
    /// One version of one component.
    Component(Box<ArrayEntry>),
}

/// The first line of a JSONL list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListHeader {
    /// `lcod-manifest/list@1`.
    pub schema: Option<String>,
    /// The id that the list gives itself.
    pub id: Option<String>,
    /// A key that the document claims to be signed with; reported, and not checked by this version.
    pub public_key: Option<Value>,
    /// A signature of the document; reported, and not checked by this version.
    pub signature: Option<Value>,
    /// The package that its components belong to when they state none.
    #[schemars(with = "Option<String>")]
    pub package: Option<Value>,
    /// What it listed once and lists no more, on purpose: ids of its catalogues; and components, `lcod://ns/name`, or one version
    /// as `lcod://ns/name@1.0.0`.
    #[schemars(with = "Option<Vec<String>>")]
    pub withdrawn: Option<Value>,
    /// `component` or `registry` in the first line of `packages.jsonl`, which has no header.
    #[schemars(skip)]
    pub kind: Option<Value>,
}

impl ListHeader {
    /// Tells whether this is no header but the first row of `packages.jsonl`.
    pub(super) fn is_package_row(&self) -> bool {
        let kind = self.kind.as_ref().and_then(Value::as_str);
        self.schema.is_none() && matches!(kind, Some("component" | "registry"))
    }

    /// Returns the signature that the document claims for itself.
    pub(super) fn claim(&self) -> Option<SignatureClaim> {
        SignatureClaim::of(self.public_key.as_ref(), self.signature.as_ref())
    }
}

/// What every JSONL line is asked first.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RowType {
    #[serde(rename = "type")]
    pub(super) row: Option<Value>,
    pub(super) kind: Option<Value>,
    pub(super) id: Option<Value>,
}

/// One line of `packages.jsonl`, the layout before the federation.
///
/// **Source**: lcod-registry, October 2025.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum PackageLine {
    /// One version of one component.
    Component(Box<PackageRow>),
    /// A registry that components name in `registryId`; kept as data.
    Registry(RegistryRow),
}

/// One version of one component in `packages.jsonl`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PackageRow {
    /// The component, `lcod://ns/name`.
    pub id: String,
    /// The version; that behind `@` in `id` where it is missing.
    pub version: Option<String>,
    /// The manifest: a path from the registry's root, or a URL.
    pub manifest: String,
    /// The SHA-256 digest of the manifest.
    pub sha256: Option<String>,
    /// Withdrawn by its author.
    pub yanked: Option<bool>,
    /// The dependencies; must equal the manifest's.
    pub dependencies: Option<Vec<Dependency>>,
    /// Everything else (`registryId`, `priority`, …), carried through.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A registry that `packages.jsonl` or a [`RegistryDocument`] names.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RegistryRow {
    /// Its id.
    pub id: String,
    /// `git` or `http`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Where it lies.
    pub url: Option<String>,
}

/// `versions.json` of one component, with schema `lcod-registry/versions@1`.
///
/// **Source**: lcod-registry, October 2025.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "VersionsDocument")]
pub struct VersionsDocument<V = CatalogueVersion> {
    /// `lcod-registry/versions@1`.
    pub schema: String,
    /// The component, `lcod://ns/name`.
    pub id: String,
    /// Its versions. A manifest's path counts from the registry's root when it starts like the directory of this document,
    /// else from that directory.
    pub versions: Vec<V>,
    /// Everything else, carried through to every version.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `catalog.json` or `registry.json`, with schema `lcod-registry@1`.
///
/// **Source**: lcod-registry, October 2025.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryDocument")]
pub struct RegistryDocument<P = RegistryPackages> {
    /// `lcod-registry@1`.
    pub schema: String,
    /// The id that the document gives itself.
    pub id: Option<String>,
    /// The components, each with its `versions.json`; or, in the generated `registry.json`, an object of ids, whose versions
    /// are in the `packages.jsonl` beside it.
    pub packages: P,
}

/// The two forms of [`RegistryDocument::packages`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RegistryPackages {
    /// `catalog.json`.
    Listed(Vec<RegistryPackage>),
    /// `registry.json`: ids, and the registry of each.
    Named(Map<String, Value>),
}

/// One component of `catalog.json`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryPackage {
    /// The component, `lcod://ns/name`.
    pub id: String,
    /// Its `versions.json`: a path from the registry's root, or a URL.
    pub versions_path: String,
    /// Lower wins; 100 where it is missing.
    pub priority: Option<i64>,
}

/// A component without a manifest: an entry of a JSON array `[{id, composePath}]`, or a `component` line of a JSONL list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArrayEntry {
    /// `component` in a JSONL list.
    #[serde(rename = "type")]
    pub row: Option<String>,
    /// The component with its version: `lcod://ns/name@1.0.0`.
    pub id: String,
    /// The path of its `compose.yaml`, in JSONL lists.
    pub compose: Option<String>,
    /// The path of its `compose.yaml`, in JSON arrays.
    pub compose_path: Option<String>,
    /// The URL of its `compose.yaml`, where there is no path.
    pub url: Option<String>,
    /// The path of its `lcp.toml`; beside `compose.yaml` where it is missing.
    pub lcp: Option<String>,
    /// The SHA-256 digest of `compose.yaml`.
    pub sha256: Option<String>,
    /// The digest of `compose.yaml`.
    pub checksum: Option<String>,
    /// Withdrawn by its author.
    pub yanked: Option<bool>,
    /// The repository of this component, where it is another than the list's.
    pub origin: Option<RowOrigin>,
    /// Everything else (`version`, `package`, `namespace`, …), carried through.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The repository of one [`ArrayEntry`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowOrigin {
    /// The repository.
    pub source_repo: Option<String>,
    /// The same in the spelling of published lists.
    #[serde(rename = "source_repo")]
    pub source_repo_snake: Option<String>,
    /// A full commit id; `local` or nothing means the list's own.
    pub commit: Option<String>,
    /// A directory that the entry's paths are below.
    pub path: Option<String>,
}

/// A catalogue with schema `lcod-registry/catalogue@1`.
///
/// **Source**: seed 001, section 3.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "CatalogueDocument")]
pub struct CatalogueDocument<C = CatalogueComponent> {
    /// `lcod-registry/catalogue@1`.
    pub schema: String,
    /// The id that the catalogue gives itself.
    pub id: Option<String>,
    /// Where relative manifest paths lead; the catalogue's own place where it is missing.
    pub origin: Option<CatalogueOrigin>,
    /// The components, in their order.
    pub components: Vec<C>,
    /// What it listed once and lists no more, on purpose: `lcod://ns/name`, or one version as `lcod://ns/name@1.0.0`.
    #[schemars(with = "Option<Vec<String>>")]
    pub withdrawn: Option<Value>,
}

/// Where relative manifest paths of a [`CatalogueDocument`] lead.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct CatalogueOrigin {
    /// `git`, `https` or `file`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The repository or directory.
    pub url: Option<String>,
    /// The full commit id at which a repository is read.
    pub commit: Option<String>,
    /// A directory that the manifests' paths are below.
    pub path: Option<String>,
}

/// A component of a [`CatalogueDocument`] with its versions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "CatalogueComponent")]
pub struct CatalogueComponent<V = CatalogueVersion> {
    /// The component, without a version: `lcod://ns/name`.
    pub id: String,
    /// Its versions.
    pub versions: Vec<V>,
    /// Everything else, carried through to every version.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One version of a [`CatalogueComponent`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct CatalogueVersion {
    /// The version.
    pub version: String,
    /// The manifest: a path relative to the origin, or a URL.
    pub manifest: String,
    /// The SHA-256 digest of the manifest.
    pub sha256: Option<String>,
    /// Withdrawn by its author.
    pub yanked: Option<bool>,
    /// The dependencies; must equal the manifest's.
    pub dependencies: Option<Vec<Dependency>>,
    /// Everything else, carried through.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A dependency: `lcod://ns/name@^1.2`, or the same as a table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "invalid type: something else, expected a text or an object with id and version"
)]
pub enum Dependency {
    /// The reference as one text.
    Text(String),
    /// The reference as a table.
    Table {
        /// The component.
        id: String,
        /// The version requirement; any version where it is missing.
        version: Option<String>,
    },
}

/// A dependency while it is read.
#[derive(Clone, Copy)]
pub(super) enum Required<'a> {
    /// The reference as one text.
    Text(&'a str),
    /// The reference as a table.
    Table { id: &'a str, version: Option<&'a str> },
}

impl Dependency {
    pub(super) fn required(&self) -> Required<'_> {
        match self {
            Dependency::Text(text) => Required::Text(text),
            Dependency::Table { id, version } => Required::Table { id, version: version.as_deref() },
        }
    }
}

/// A component manifest with schema `lcod-registry/manifest@1`.
///
/// **Source**: seed 001, section 4.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct ManifestDocument {
    /// `lcod-registry/manifest@1`.
    pub schema: String,
    /// The component with its version: `lcod://ns/name@1.0.0`.
    pub id: String,
    /// Where the author keeps it.
    pub source: ManifestSource,
    /// Its files.
    #[serde(default)]
    pub files: Vec<ManifestFile>,
    /// What it requires.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Everything else (`publishedAt`, `artifact`, `kind`, `summary`, …), carried through.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The repository, commit and directory that a [`ManifestDocument`] describes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct ManifestSource {
    /// `git` (the default), or `file` for a component that lies beside its catalogue.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The repository; required for `git`.
    pub url: Option<String>,
    /// A full commit id; required for `git`.
    pub commit: Option<String>,
    /// The component's directory, from the repository's root or the catalogue's directory; the root where it is missing.
    pub path: Option<String>,
}

/// A file of a [`ManifestDocument`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct ManifestFile {
    /// The path, from the repository's root or from `source.path`.
    pub path: String,
    /// The SHA-256 digest of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// A component's description, `lcp.toml`, in schema version 1.0 or 2.0: the fields that a resolver needs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// `1.0` or `2.0`.
    pub schema_version: Option<SchemaVersion>,
    /// The component with its version.
    pub id: Option<String>,
    /// The version.
    pub version: Option<String>,
    /// `component`, `contract`, `axiom`, `flow`, `ui`, `workflow`, `function` or `workspace-package`.
    pub kind: Option<String>,
    /// One line that describes it.
    pub summary: Option<String>,
    /// What it requires.
    pub deps: Option<DescriptorDeps>,
    /// The contracts that it implements: one, or a list of them.
    #[schemars(with = "Option<Implements>")]
    pub implements: Option<Value>,
    /// The package that it describes; of a release nobody reads it.
    #[schemars(with = "Option<DescriptorWorkspace>")]
    pub workspace: Option<Value>,
}

/// What a [`Descriptor`] says that it implements.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Implements {
    /// One contract.
    One(Dependency),
    /// Several.
    All(Vec<Dependency>),
}

/// The `[workspace]` table of a [`Descriptor`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DescriptorWorkspace {
    /// What the first segment of a relative call stands for.
    #[serde(default)]
    pub scope_aliases: BTreeMap<String, String>,
}

/// A schema version, quoted or not.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SchemaVersion {
    /// `"2.0"`.
    Text(String),
    /// `2.0`.
    Number(f64),
}

/// The `[deps]` table of a [`Descriptor`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct DescriptorDeps {
    /// The requirements; one that cannot be read is left out with a warning.
    #[serde(default)]
    #[schemars(with = "Vec<Dependency>")]
    pub requires: Vec<Value>,
}

/// Returns `bytes` without a UTF-8 byte-order mark.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// One entry of a list or catalogue: a JSON value that is read on its own, so that a bad one spoils only itself.
pub(super) struct Entry<'a> {
    /// What messages call it.
    pub(super) field: Field<'a>,
    /// Its JSON, which has passed [`json::check`].
    pub(super) text: &'a str,
    /// Where it stands.
    pub(super) within: Within<'a>,
}

/// What messages call an [`Entry`]; spelled only where there is something to say, since most entries are in order.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    /// `packages`.
    Named(&'static str),
    /// `components[3]`.
    Item(&'static str, usize),
    /// `components[3].versions[1]`.
    Below(&'a Field<'a>, &'static str, usize),
    /// `line 7`.
    Line(usize),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Named(name) => out.write_str(name),
            Field::Item(list, index) => write!(out, "{list}[{index}]"),
            Field::Below(above, list, index) => write!(out, "{above}.{list}[{index}]"),
            Field::Line(number) => write!(out, "line {number}"),
        }
    }
}

/// Where an [`Entry`] stands.
#[derive(Clone, Copy)]
pub(super) enum Within<'a> {
    /// It is a part of this document.
    Document(&'a json::Document<'a>),
    /// It is this line of a JSONL document.
    Line(usize),
}

impl<'a> Entry<'a> {
    /// Reads it as a typed value.
    ///
    /// **Errors**: `input.field`, with the field and its place in the whole document.
    pub(super) fn read<T: Deserialize<'a>>(&self) -> Result<T, ParseError> {
        json::document(self.text).map_err(|error| self.refused(error))
    }

    /// Returns an error about it with its field and place in the whole document: the entry's start where no field is to blame.
    pub(super) fn refused(&self, error: ParseError) -> ParseError {
        let start = match self.within {
            Within::Document(document) => document.position(self.text),
            Within::Line(line) => Some(Position { line, column: 1 }),
        };
        let error = json::located(error, self.text).in_field(self.field.to_string());
        match start {
            Some(start) => json::moved(error, start),
            None => error,
        }
    }

    /// Returns the entry `text`, a part of this one: the one at `index` of its `list`.
    pub(super) fn below<'b>(&'b self, list: &'static str, index: usize, text: &'b str) -> Entry<'b> {
        let field = Field::Below(&self.field, list, index);
        Entry { field, text, within: self.within }
    }
}
