//! `estream-workspace.toml`: what a workspace has installed, and which of it was asked for.
//!
//! ```toml
//! [dependencies.esf-trading]
//! version = "1.2.0"
//! checksum = "73f8…"                      # SHA3-256 of the archive
//! installed_at = "2026-02-10T12:00:00Z"
//! category = "esf-schema"
//! publisher = "estream"
//! key_id = "estream-signing-key-01"
//! key = "sha256:6c1f…"                    # the fingerprint of that key
//! registry = "parts"                      # the id of the source
//! requested = "^1.0.0"                    # only where somebody asked for it; "latest" is any version
//! dependencies = ["esf-base"]             # what it requires itself
//! provides = ["EStreamOrder"]             # its schemas
//! files = [
//!   { path = "schemas/order.esf.yaml", sha256 = "2393…" },
//!   { path = "schemas/own.esf.yaml", sha256 = "77ab…", adopted = true },    # it lay there before, with the same bytes
//! ]
//! ```
//! Names are sorted and quoted where TOML needs it, every file has a line of its own, and equal contents are equal bytes, so that
//! version control merges it. `name = "1.2.0"` below `[dependencies]` is read as well, and so is a table without `files`: only what
//! stands there is known, and whoever wrote it asked for it. Unknown keys are refused by name: written by somebody newer, they would be lost.
//!
//! **Source**: seed 002, section 6.3. Off-spec: the seed's sample gives each name twice, which TOML forbids; either form is read,
//! the table is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use toml::Spanned;

use crate::dialect::estream::document::sha3;
use crate::digest::Digest;
use crate::error::{ParseError, Position};
use crate::id::{ComponentId, Dialect};
use crate::key::Fingerprint;
use crate::path::DocPath;
use crate::version::{Grammar, Version, VersionReq};

/// The name of the file, at the top of a workspace.
pub const WORKSPACE: &str = "estream-workspace.toml";
/// The largest file in bytes that is read.
pub const WORKSPACE_BYTES_MAX: u64 = 64 << 20;

/// The directories of a workspace in which installed files lie: no entry may name a file anywhere else.
pub const DIRECTORIES: [&str; 7] =
    ["schemas", "adapters", "circuits", "fpga", "integrations", "widgets", "components"];

/// The head that is written; what a reader passes over.
const HEAD: &str = "# What this workspace has installed. Written by resolverd; commit it.\n";

/// What a workspace has installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Its components.
    pub components: BTreeMap<ComponentId, Installed>,
}

/// One installed component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The version.
    pub version: Version,
    /// SHA3-256 of the archive that its files came in; `None` where somebody wrote the entry by hand.
    pub checksum: Option<Digest>,
    /// When it was installed: an instant in UTC such as `2026-02-10T12:00:00Z`.
    pub installed_at: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// Who publishes it.
    pub publisher: Option<String>,
    /// Which of the publisher's keys signs it.
    pub key_id: Option<String>,
    /// The fingerprint of that key: an id may be given to any key.
    pub key: Option<Fingerprint>,
    /// When, as the signer says; nobody vouches for it.
    pub signed_at: Option<String>,
    /// The source that it was resolved from.
    pub registry: Option<String>,
    /// What somebody asked for; `None` where only other components need it.
    pub requested: Option<VersionReq>,
    /// What it requires itself.
    pub dependencies: Vec<ComponentId>,
    /// The schemas that it brings.
    pub provides: Vec<String>,
    /// Its files.
    pub files: Vec<InstalledFile>,
}

/// One file of an installed component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFile {
    /// Where it lies, from the top of the workspace.
    pub path: DocPath,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// It lay there before the component came, with the same bytes: it is somebody's, and stays when the component goes.
    pub adopted: bool,
}

impl Installed {
    /// Makes the entry of a component of which only the version is known.
    pub fn of(version: Version) -> Installed {
        Installed {
            version,
            checksum: None,
            installed_at: None,
            category: None,
            publisher: None,
            key_id: None,
            key: None,
            signed_at: None,
            registry: None,
            requested: None,
            dependencies: Vec::new(),
            provides: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl Workspace {
    /// Reads a file.
    ///
    /// **Errors**: `input.encoding`, `input.toml`, `input.field` and those of ids, versions, requirements, digests and paths, with
    /// the line of the entry and the field.
    pub fn read(bytes: &[u8]) -> Result<Workspace, ParseError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = Position::of(bytes, error.valid_up_to());
            ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
        })?;
        let document: Document = toml::from_str(text).map_err(|error| {
            let found = ParseError::new("input.toml", "[dependencies] as TOML", error.message());
            match error.span() {
                Some(span) => found.at(Position::of(bytes, span.start)),
                None => found,
            }
        })?;
        let mut components = BTreeMap::new();
        for (name, value) in document.dependencies {
            let start = value.span().start;
            let placed = |error: ParseError| {
                error.in_field(format!("dependencies.{name}")).at(Position::of(bytes, start))
            };
            let id = ComponentId::from_path(Dialect::Estream, &name).map_err(placed)?;
            components.insert(id, installed(value.into_inner()).map_err(placed)?);
        }
        Ok(Workspace { components })
    }

    /// Writes the file.
    pub fn write(&self) -> String {
        let mut out = HEAD.to_owned();
        for (id, one) in &self.components {
            // A String takes what is written.
            let _ = write!(out, "\n[dependencies.{}]\n", key(id.path()));
            let version = one.version.to_string();
            let requested = one.requested.as_ref().map(requirement_text);
            let texts = [
                ("version", Some(version)),
                ("checksum", one.checksum.as_ref().map(Digest::hex)),
                ("installed_at", one.installed_at.clone()),
                ("category", one.category.clone()),
                ("publisher", one.publisher.clone()),
                ("key_id", one.key_id.clone()),
                ("key", one.key.as_ref().map(Fingerprint::to_string)),
                ("signed_at", one.signed_at.clone()),
                ("registry", one.registry.clone()),
                ("requested", requested),
            ];
            for (name, value) in texts {
                if let Some(value) = value {
                    let _ = writeln!(out, "{name} = {}", string(&value));
                }
            }
            let names = |all: &[String]| all.iter().map(|one| string(one)).collect::<Vec<_>>().join(", ");
            let dependencies: Vec<String> =
                one.dependencies.iter().map(|one| one.path().to_owned()).collect();
            for (name, values) in [("dependencies", &dependencies), ("provides", &one.provides)] {
                if !values.is_empty() {
                    let _ = writeln!(out, "{name} = [{}]", names(values));
                }
            }
            if !one.files.is_empty() {
                out.push_str("files = [\n");
                for file in &one.files {
                    let (path, sha256) = (string(file.path.as_text()), file.sha256.hex());
                    let adopted = if file.adopted { ", adopted = true" } else { "" };
                    let _ = writeln!(out, "  {{ path = {path}, sha256 = \"{sha256}\"{adopted} }},");
                }
                out.push_str("]\n");
            }
        }
        out
    }
}

/// Tells whether a path is one that an installed file may have: below one of [`DIRECTORIES`].
pub fn is_place(path: &DocPath) -> bool {
    let mut segments = path.segments();
    segments.next().is_some_and(|top| DIRECTORIES.contains(&top)) && segments.next().is_some()
}

/// Returns a requirement as it is written here and in manifests, where a bare version is no exact one: `=1.0.0`, `~1.2`, `latest`.
pub fn requirement_text(requirement: &VersionReq) -> String {
    match requirement.is_any() {
        true => "latest".to_owned(),
        false => requirement.semver().to_string(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    dependencies: BTreeMap<String, Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    version: String,
    checksum: Option<String>,
    installed_at: Option<String>,
    category: Option<String>,
    publisher: Option<String>,
    key_id: Option<String>,
    key: Option<String>,
    signed_at: Option<String>,
    registry: Option<String>,
    requested: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    provides: Vec<String>,
    #[serde(default)]
    files: Vec<FileRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    path: String,
    sha256: String,
    #[serde(default)]
    adopted: bool,
}

fn installed(value: toml::Value) -> Result<Installed, ParseError> {
    let row = match value {
        toml::Value::String(text) => {
            let version = Version::parse(&text)?;
            let requested = VersionReq::parse(&version.to_string(), Grammar::Caret)?;
            return Ok(Installed { requested: Some(requested), ..Installed::of(version) });
        }
        toml::Value::Table(table) => Row::deserialize(table).map_err(|error| {
            ParseError::new("input.field", "a table with version, checksum and the like", error.message())
        })?,
        other => {
            return Err(ParseError::new(
                "input.field",
                "a version, or a table with version",
                other.type_str(),
            ));
        }
    };
    let id = |name: &String| ComponentId::from_path(Dialect::Estream, name);
    let file = |row: FileRow| {
        let digest = Digest::parse(&format!("sha256:{}", row.sha256));
        let path = DocPath::parse(&row.path).map_err(|error| error.in_field("path"))?;
        if !is_place(&path) {
            let expected = format!("a path below {}", DIRECTORIES.join("/, ") + "/");
            return Err(ParseError::new("input.field", expected, row.path).in_field("path"));
        }
        let sha256 = digest.map_err(|error| error.in_field("sha256"))?;
        Ok(InstalledFile { path, sha256, adopted: row.adopted })
    };
    // An entry that we write has files. Whoever wrote one without asked for it, as in the short form.
    let is_by_hand = row.files.is_empty() && row.requested.is_none();
    let requested = row.requested.as_deref().or(is_by_hand.then_some(&row.version));
    let requested = requested.map(|text| VersionReq::parse(text, Grammar::Caret)).transpose();
    let files = row.files.into_iter().map(file).collect::<Result<Vec<_>, ParseError>>();
    let key = row.key.as_deref().map(Fingerprint::parse).transpose();
    let dependencies = row.dependencies.iter().map(id).collect::<Result<Vec<_>, ParseError>>();
    Ok(Installed {
        version: Version::parse(&row.version).map_err(|error| error.in_field("version"))?,
        checksum: row
            .checksum
            .as_deref()
            .map(sha3)
            .transpose()
            .map_err(|error| error.in_field("checksum"))?,
        installed_at: row.installed_at,
        category: row.category,
        publisher: row.publisher,
        key_id: row.key_id,
        key: key.map_err(|error| error.in_field("key"))?,
        signed_at: row.signed_at,
        registry: row.registry,
        requested: requested.map_err(|error| error.in_field("requested"))?,
        dependencies: dependencies.map_err(|error| error.in_field("dependencies"))?,
        provides: row.provides,
        files: files.map_err(|error| error.in_field("files"))?,
    })
}

/// Returns a key of TOML: bare where it may be.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { string(name) }
}

/// Returns a basic string of TOML.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SHA: &str = "2393b56e0f9254d47ddb8a32a042df829d9466222ae9305f4a1915fa09fb1243";

    fn whole() -> String {
        format!(
            "{HEAD}\n[dependencies.\"@acme/x\"]\nversion = \"0.3.0\"\nrequested = \"^0.3.0\"\n\n[dependencies.esf-trading]\nversion = \"1.2.0\"\nchecksum = \"{SHA}\"\ninstalled_at = \"2026-02-10T12:00:00Z\"\ncategory = \"esf-schema\"\npublisher = \"es\\\"tream\"\nkey_id = \"estream-1\"\nkey = \"sha256:{SHA}\"\nsigned_at = \"2026-02-10T12:00:00Z\"\nregistry = \"parts\"\nrequested = \"^1.0.0\"\ndependencies = [\"@acme/x\"]\nprovides = [\"EStreamOrder\", \"EStreamFill\"]\nfiles = [\n  {{ path = \"schemas/a.yaml\", sha256 = \"{SHA}\" }},\n  {{ path = \"schemas/b.yaml\", sha256 = \"{SHA}\", adopted = true }},\n]\n"
        )
    }

    #[test]
    fn what_is_written_is_read_again_and_equal() {
        let text = whole();
        let read = Workspace::read(text.as_bytes()).unwrap();
        assert_eq!(read.components.len(), 2);
        assert_eq!(read.write(), text);
        let id = ComponentId::parse("estream:esf-trading").unwrap();
        assert_eq!(read.components[&id].publisher.as_deref(), Some("es\"tream"));
        assert_eq!(Workspace::read(b"").unwrap(), Workspace::default());
        assert_eq!(Workspace::default().write(), HEAD);
    }

    #[test]
    fn the_short_form_is_a_version_that_somebody_asked_for() {
        let read = Workspace::read(b"[dependencies]\nestream-wire-fix = \"1.0.0\"\n").unwrap();
        let one = read.components.values().next().unwrap();
        assert_eq!(one.version.to_string(), "1.0.0");
        assert_eq!(one.requested.as_ref().map(requirement_text).as_deref(), Some("^1.0.0"));
        assert!(one.checksum.is_none() && one.files.is_empty());
        // The seed's table, which lists no files either.
        let table = format!(
            "[dependencies.x]\nversion = \"1.2.0\"\nchecksum = \"{SHA}\"\ninstalled_at = \"2026-02-10T12:00:00Z\"\n"
        );
        let read = Workspace::read(table.as_bytes()).unwrap();
        let one = read.components.values().next().unwrap();
        assert_eq!(one.requested.as_ref().map(requirement_text).as_deref(), Some("^1.2.0"));
        assert!(one.checksum.is_some());
        // With files and without a requirement it is what another one needs.
        let needed = format!("{table}files = [{{ path = \"schemas/a\", sha256 = \"{SHA}\" }}]\n");
        let read = Workspace::read(needed.as_bytes()).unwrap();
        assert_eq!(read.components.values().next().unwrap().requested, None);
    }

    #[test]
    fn a_requirement_is_written_so_that_a_manifest_means_the_same() {
        let check = |text: &str, expected: &str| {
            let read = VersionReq::parse(text, Grammar::Reference).unwrap();
            assert_eq!(requirement_text(&read), expected);
            let again = VersionReq::parse(expected, Grammar::Caret).unwrap();
            assert_eq!(requirement_text(&again), expected);
        };
        check("1.0.0", "=1.0.0");
        check("^1.0.0", "^1.0.0");
        check("1.2", "~1.2");
        check(">=1.0.0, <2", ">=1.0.0, <2");
        check("latest", "latest");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |text: &str, expected: &[&str]| {
            let error = Workspace::read(text.as_bytes()).unwrap_err();
            let told = error.to_string();
            for part in expected {
                assert!(told.contains(part), "{text}: {told}");
            }
        };
        check("[dependencies", &["line 1"]);
        check("[tools]\nx = 1\n", &["tools"]);
        check("[dependencies.x]\nversion = \"1.0.0\"\ncolour = \"red\"\n", &["dependencies.x", "colour"]);
        check("[dependencies.x]\nversion = \"one\"\n", &["dependencies.x.version", "one"]);
        check("[dependencies]\n\"../x\" = \"1.0.0\"\n", &["../x"]);
        check("[dependencies]\nx = 1\n", &["dependencies.x", "integer"]);
        let file = |path: &str| {
            format!(
                "[dependencies.x]\nversion = \"1.0.0\"\nfiles = [{{ path = \"{path}\", sha256 = \"{SHA}\" }}]\n"
            )
        };
        assert!(Workspace::read(file("schemas/b").as_bytes()).is_ok());
        for path in ["important.txt", "src/main.rs", "schemas", "estream-workspace.toml"] {
            check(&file(path), &["dependencies.x.files.path", "below schemas/", path]);
        }
        check("[dependencies.x]\nversion = \"1.0.0\"\nkey = \"mine\"\n", &["dependencies.x.key", "mine"]);
        check(&file("../b"), &["dependencies.x.files.path", "../b"]);
        check(&file("/etc/passwd"), &["/etc/passwd"]);
        check("[dependencies]\nx = \"1.0.0\"\n[dependencies.x]\nversion = \"1.0.0\"\n", &["line 3"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_the_same(
            text in ".{0,60}", name in "[a-z0-9-]{1,8}", words in proptest::collection::vec("\\PC{0,12}", 0..4),
        ) {
            let _ = Workspace::read(text.as_bytes());
            let id = ComponentId::from_path(Dialect::Estream, &name);
            let file = InstalledFile { path: DocPath::parse("schemas/b").unwrap(), sha256: Digest::sha256(text.as_bytes()), adopted: text.len() % 2 == 0 };
            let one = Installed {
                publisher: Some(text.clone()),
                key_id: words.first().cloned(),
                provides: words,
                files: vec![file],
                ..Installed::of(Version::parse("1.0.0-rc.1").unwrap())
            };
            if let Ok(id) = id {
                let whole = Workspace { components: BTreeMap::from([(id, one)]) };
                proptest::prop_assert_eq!(Workspace::read(whole.write().as_bytes()).unwrap(), whole);
            }
        }
    }
}
