//! Bundles: a directory that carries components, with everything that proves them, to where no registry can be asked.
//!
//! ```text
//! bundle.json                                                   what is here: files with their digests
//! config.json                                                   {"schema_version": 1, "archives": "packages"}
//! index/{category}/{name}/metadata.json                         as the registry has it, byte for byte
//! index/{category}/{name}/{version}/{estream-component.toml,checksum.sha3,SIGNATURE.ml-dsa}
//! publishers/{name}.json
//! packages/{name}/{version}/package.tar.gz                      the publisher's bytes, never packed again
//! ```
//! A bundle is a registry: any reader of this dialect reads it as it is. [`Bundle`] names every other file with its SHA-256, so that
//! the SHA-256 of `bundle.json` pins them all. Equal releases give equal bytes: lists are sorted, and there is no time in it.
//!
//! ```json
//! {"schema": "resolverd/bundle@1",
//!  "sources": [{"id": "parts", "origin": "https://example.org/parts.git", "commit": "0123…"}],
//!  "requested": ["estream:estream-wire-fix@1.0.0"],
//!  "releases": [{"release": "estream:estream-wire-fix@1.0.0", "source": "parts",
//!                "archive": "packages/estream-wire-fix/1.0.0/package.tar.gz", "digest": "sha3-256:…"}],
//!  "files": [{"path": "config.json", "digest": "sha256:…", "size": 45}]}
//! ```
//! Readers ignore fields that they do not know; another `schema` is refused. Nothing in a bundle vouches for it but the signatures
//! of its publishers, whose keys it brings itself: whoever takes it needs the digest of `bundle.json`, or keys that are known.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::error::ParseError;
use crate::id::{ComponentId, Dialect, SourceId, parse_release_id};
use crate::json;
use crate::path::DocPath;
use crate::pointer::CommitId;
use crate::version::Version;

/// The schema of `bundle.json`.
pub const SCHEMA: &str = "resolverd/bundle@1";
/// The file that says what a bundle holds.
pub const BUNDLE: &str = "bundle.json";
/// The file that makes a registry of it.
pub const CONFIG: &str = "config.json";
/// What stands in [`CONFIG`].
pub const CONFIG_TEXT: &str = "{\n  \"schema_version\": 1,\n  \"archives\": \"packages\"\n}\n";
/// The directory of its archives.
pub const ARCHIVES: &str = "packages";
/// The largest `bundle.json` in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 16 << 20;

/// Returns where the archive of a release lies below the directory `archives` of a registry.
///
/// **Errors**: `input.path`.
pub fn archive(archives: &str, id: &ComponentId, version: &Version) -> Result<DocPath, ParseError> {
    DocPath::parse(&format!("{archives}/{}/{version}/package.tar.gz", id.path()))
}

/// `bundle.json`, as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamBundle")]
pub struct BundleDocument {
    /// `resolverd/bundle@1`.
    pub schema: String,
    /// Where the releases come from, by id.
    pub sources: Vec<Origin>,
    /// What was asked for, as `id@version`, sorted.
    pub requested: Vec<String>,
    /// What is here: that, and everything that it requires, sorted.
    pub releases: Vec<PackedRelease>,
    /// Every other file, by path.
    pub files: Vec<BundleFile>,
}

/// Where releases of a bundle come from. Said, not proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamBundleOrigin")]
pub struct Origin {
    /// The id that the source had where the bundle was made.
    #[schemars(with = "String")]
    pub id: SourceId,
    /// Its repository; none for a directory, whose place says nothing elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The commit at which its documents were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub commit: Option<CommitId>,
}

/// One release of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamBundleRelease")]
pub struct PackedRelease {
    /// The release, as `id@version`.
    pub release: String,
    /// Which of the sources it comes from.
    #[schemars(with = "String")]
    pub source: SourceId,
    /// Where its archive lies.
    #[schemars(with = "String")]
    pub archive: DocPath,
    /// SHA3-256 of its archive: what its publisher signs.
    #[schemars(with = "String")]
    pub digest: Digest,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamBundleFile")]
pub struct BundleFile {
    /// Its path from the bundle's root.
    #[schemars(with = "String")]
    pub path: DocPath,
    /// SHA-256 of its bytes.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Where the releases come from, as it was said where it was made.
    pub sources: Vec<Origin>,
    /// What was asked for.
    pub requested: Vec<(ComponentId, Version)>,
    /// What is here.
    pub releases: Vec<PackedRelease>,
    /// Every file but `bundle.json`.
    pub files: Vec<BundleFile>,
}

impl Bundle {
    /// Reads `bundle.json`.
    ///
    /// **Errors**: it is none, or does not hold together: a file twice or named `bundle.json`, a digest of another kind, an archive
    /// that is not among the files, something requested that is not here.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, ParseError> {
        let text = json::check(bytes)?;
        let document: BundleDocument = json::document(text)?;
        Bundle::of(document).map_err(|error| json::located(error, text))
    }

    fn of(document: BundleDocument) -> Result<Bundle, ParseError> {
        let BundleDocument { schema, sources, requested, releases, files } = document;
        if schema != SCHEMA {
            return Err(ParseError::new("input.schema", SCHEMA, schema).in_field("schema"));
        }
        let mut paths = BTreeSet::new();
        for file in &files {
            let refused = |expected: &str, found: &str| {
                ParseError::new("bundle.file", expected, found).in_field("files")
            };
            if file.path.as_text() == BUNDLE || !paths.insert(file.path.as_text()) {
                return Err(refused("every other file once", file.path.as_text()));
            }
            if file.digest.algorithm() != Algorithm::Sha256 {
                return Err(refused("a SHA-256 digest", &file.digest.to_string()));
            }
        }
        let mut known = BTreeSet::new();
        for one in &releases {
            let (id, version) = release(&one.release).map_err(|error| error.in_field("releases"))?;
            let refused = |expected: &str, found: &str| {
                ParseError::new("bundle.release", expected, found).in_field("releases")
            };
            let place = archive(ARCHIVES, &id, &version)?;
            if one.archive != place || !paths.contains(place.as_text()) {
                return Err(refused(&format!("{place}, among the files"), one.archive.as_text()));
            }
            if one.digest.algorithm() != Algorithm::Sha3_256 {
                return Err(refused("a SHA3-256 digest", &one.digest.to_string()));
            }
            if !known.insert((id, version)) {
                return Err(refused("every release once", &one.release));
            }
        }
        let requested = requested.iter().map(|text| {
            let named = release(text).map_err(|error| error.in_field("requested"))?;
            match known.contains(&named) {
                true => Ok(named),
                false => {
                    Err(ParseError::new("bundle.release", "one of the releases", text).in_field("requested"))
                }
            }
        });
        let requested = requested.collect::<Result<Vec<_>, ParseError>>()?;
        Ok(Bundle { sources, requested, releases, files })
    }

    /// Returns the text of `bundle.json`: sorted, so that equal bundles are equal bytes.
    pub fn to_text(&self) -> String {
        fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
            let mut list = list.to_vec();
            list.sort();
            list
        }
        let mut requested: Vec<String> =
            self.requested.iter().map(|(id, version)| format!("{id}@{version}")).collect();
        requested.sort();
        let document = BundleDocument {
            schema: SCHEMA.to_owned(),
            sources: sorted(&self.sources),
            requested,
            releases: sorted(&self.releases),
            files: sorted(&self.files),
        };
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }
}

fn release(text: &str) -> Result<(ComponentId, Version), ParseError> {
    let (id, version) = parse_release_id(text)?;
    match id.dialect() {
        Dialect::Estream => Ok((id, version)),
        _ => Err(ParseError::new("bundle.release", "a component of eStream", text)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Value {
        let digest = Digest::sha256(b"x");
        let sha3 = Digest::of(Algorithm::Sha3_256, b"x");
        json!({
            "schema": SCHEMA,
            "sources": [{"id": "parts", "origin": "https://e.org/parts.git"}],
            "requested": ["estream:@acme/x@1.0.0"],
            "releases": [{
                "release": "estream:@acme/x@1.0.0", "source": "parts", "digest": sha3,
                "archive": "packages/@acme/x/1.0.0/package.tar.gz"
            }],
            "files": [
                {"path": "config.json", "digest": digest, "size": 1},
                {"path": "packages/@acme/x/1.0.0/package.tar.gz", "digest": digest, "size": 1}
            ],
            "later": true
        })
    }

    #[test]
    fn what_was_written_is_read_and_written_again_alike() {
        let bundle = Bundle::parse(sample().to_string().as_bytes()).unwrap();
        let text = bundle.to_text();
        let again = Bundle::parse(text.as_bytes()).unwrap();
        assert_eq!(again, bundle);
        assert_eq!(again.to_text(), text);
        let turned = Bundle { files: bundle.files.iter().rev().cloned().collect(), ..bundle };
        assert_eq!(turned.to_text(), text, "the order in which files were found is of no account");
    }

    #[test]
    fn what_does_not_hold_together_is_refused_by_its_place() {
        let check = |pointer: &str, value: Value, expected: &str| {
            let mut document = sample();
            *document.pointer_mut(pointer).unwrap() = value;
            let error = Bundle::parse(document.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.reason, expected, "{pointer}: {error}");
        };
        check("/schema", json!("resolverd/bundle@2"), "input.schema");
        check("/files/0/path", json!("bundle.json"), "bundle.file");
        check("/files/0/path", json!("packages/@acme/x/1.0.0/package.tar.gz"), "bundle.file");
        check("/files/1/path", json!("packages/x.tar.gz"), "bundle.release");
        check("/files/0/digest", json!(Digest::of(Algorithm::Sha3_256, b"x")), "bundle.file");
        check("/releases/0/archive", json!("config.json"), "bundle.release");
        check("/releases/0/digest", json!(Digest::sha256(b"x")), "bundle.release");
        check("/releases/0/release", json!("lcod://acme/x@1.0.0"), "bundle.release");
        check("/requested/0", json!("estream:y@1.0.0"), "bundle.release");
        for outside in ["../x", "/x", "a//b"] {
            let mut document = sample();
            document["files"][0]["path"] = json!(outside);
            assert!(Bundle::parse(document.to_string().as_bytes()).is_err(), "{outside}");
        }
    }
}
