//! The eStream documents as they are written: field names and JSON or TOML types, in one place.
//!
//! Texts stay texts here and get their meaning in the readers. Entries that are read one by one have their type as a parameter,
//! so that a bad one spoils only itself. Unknown fields are kept in `extra` where a release carries them, else ignored.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::digest::{Digest, hex, unhex};
use crate::error::{ParseError, Position};
use crate::instant;
use crate::json;

/// The name of the only algorithm of signatures.
pub(super) const ALGORITHM: &str = "ML-DSA-87";

/// `index/{category}/{name}/metadata.json`: a component and all of its versions.
///
/// **Source**: seed 002, section 3.2.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamMetadata")]
pub struct MetadataDocument<V = VersionEntry> {
    /// The name, `name` or `@publisher/name`.
    pub name: String,
    /// The category, which is also the directory that it lies in.
    pub category: String,
    /// Who publishes it: a file below `publishers`.
    pub publisher: String,
    /// One line that describes it.
    pub description: Option<String>,
    /// Its versions, in any order.
    pub versions: Vec<V>,
    /// The newest version, as its author sees it; advisory.
    pub latest: Option<String>,
    /// Everything else (`keywords`, `badges`, `stats`, …), carried through.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Map<String, Value>,
}

/// One version in `metadata.json`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamVersion")]
pub struct VersionEntry {
    /// The version, which is also the directory that its documents lie in.
    pub version: String,
    /// When the registry published it: an instant in UTC such as `2026-02-10T12:00:00Z`.
    pub published_at: String,
    /// SHA3-256 of the archive, as hex.
    pub checksum_sha3: String,
    /// Which of the publisher's keys signs it.
    pub signature_pubkey_id: String,
    /// Withdrawn: chosen only where a lock already holds it.
    #[serde(default)]
    pub yanked: bool,
    /// The oldest platform that it runs on.
    pub estream_min_version: Option<String>,
    /// Where the archive lies: an https URL, or a path from the registry's root.
    pub archive_url: String,
    /// Everything else, carried through.
    #[serde(flatten)]
    #[schemars(skip)]
    pub extra: Map<String, Value>,
}

/// `publishers/{name}.json`: who somebody is, and with which keys they sign.
///
/// **Source**: seed 002, section 3.3.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamPublisher")]
pub struct PublisherDocument<K = KeyEntry> {
    /// The name, which is also that of the file.
    pub name: String,
    /// The name that people read.
    pub display_name: Option<String>,
    /// Where they are found.
    pub url: Option<String>,
    /// The registry has verified who they are.
    #[serde(default)]
    pub verified: bool,
    /// Their keys.
    pub signing_keys: Vec<K>,
}

/// One key of a publisher.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamKey")]
pub struct KeyEntry {
    /// Its id, unique in the record.
    pub key_id: String,
    /// `ML-DSA-87`.
    pub algorithm: String,
    /// The 2,592 bytes of the key as hex, or a PEM block.
    pub public_key_hex: String,
    /// From when on it signs.
    pub created_at: Option<String>,
    /// Until when it signs.
    pub expires_at: Option<String>,
    /// When it was replaced, where the status is `rotated`; `expires_at` counts where this is missing.
    pub rotated_at: Option<String>,
    /// `active`, `rotated` or `revoked`.
    pub status: String,
}

/// `SIGNATURE.ml-dsa`: the signature over the checksum of an archive.
///
/// **Source**: seed 002, section 4.2.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamSignature")]
pub struct SignatureDocument {
    /// `ML-DSA-87`, and nothing else.
    pub algorithm: String,
    /// Which of the publisher's keys made it.
    pub key_id: String,
    /// When, as the signer says; nobody vouches for it.
    pub signed_at: Option<String>,
    /// `SHA3-256`, and nothing else.
    pub checksum_algorithm: String,
    /// The checksum of the archive as hex.
    pub checksum: String,
    /// The 4,627 bytes of the signature as hex.
    pub signature_hex: String,
}

/// `config.json`: what holds for the whole registry. Every field may be left out, and so may the file.
///
/// **Source**: ours; seed 002 names the file alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "EstreamConfig")]
pub struct ConfigDocument {
    /// The form of the registry: 1.
    pub schema_version: Option<u64>,
    /// The largest archive in MB, for those who publish.
    pub max_package_mb: Option<u64>,
    /// A version has to be newer than those of its own major version alone, so that `1.0.1` may follow `2.0.0`.
    pub increment_per_major: bool,
    /// Further prefixes of names that are reserved for the publisher `estream`, beside `estream-` and `esf-`.
    pub reserved_prefixes: Vec<String>,
    /// The platform that its components run on; for people.
    pub platform: Option<Value>,
    /// The directory of the registry that the archives lie in, as `{directory}/{name}/{version}/package.tar.gz`, whatever
    /// `archive_url` says: that of a bundle, which carries its archives along. Off-spec: seed 002 has the layout for caches.
    pub archives: Option<String>,
}

/// `estream-component.toml`: what the author says of one version.
///
/// **Source**: seed 002, section 2.1. The tables that nobody here interprets (`author`, `marketplace`, `circuits`,
/// `wire_adapter`, `widget`, `fpga`, `include`, …) are carried through as they are.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamComponent")]
pub struct ManifestDocument {
    /// The component.
    pub component: ComponentTable,
}

/// The table `[component]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EstreamComponentTable")]
pub struct ComponentTable {
    /// The name, `name` or `@publisher/name`.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// The version.
    #[schemars(with = "String")]
    pub version: Spanned<String>,
    /// The category.
    #[schemars(with = "String")]
    pub category: Spanned<String>,
    /// One line that describes it.
    pub description: String,
    /// Which versions of the platform it runs on.
    #[serde(default)]
    pub estream: PlatformTable,
    /// What it requires: names, each with a requirement as Cargo writes it, or a table with `version`.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    pub dependencies: std::collections::BTreeMap<String, Spanned<toml::Value>>,
    /// Which schemas it has and needs.
    #[serde(default)]
    pub schemas: SchemasTable,
}

/// The table `[component.estream]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "EstreamPlatform")]
pub struct PlatformTable {
    /// The oldest version of the platform.
    #[schemars(with = "Option<String>")]
    pub min_version: Option<Spanned<String>>,
    /// The newest version of the platform.
    #[schemars(with = "Option<String>")]
    pub max_version: Option<Spanned<String>>,
    /// Another spelling: a version means `min_version`, anything else is a requirement.
    #[schemars(with = "Option<String>")]
    pub platform: Option<Spanned<String>>,
}

/// The table `[component.schemas]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "EstreamSchemas")]
pub struct SchemasTable {
    /// The schemas that it brings.
    pub provides: Vec<String>,
    /// The schemas that it needs: its own, or those of what it requires.
    pub requires: Vec<String>,
}

/// Reads a whole JSON document.
///
/// **Errors**: those of [`json::check`] and [`json::document`].
pub(super) fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &str), ParseError> {
    let text = json::check(bytes)?;
    Ok((json::document(text)?, text))
}

/// Reads `config.json`.
///
/// **Errors**: it is not that document.
pub fn config(bytes: &[u8]) -> Result<ConfigDocument, ParseError> {
    Ok(whole(bytes)?.0)
}

/// Returns the text of a manifest.
///
/// **Errors**: `input.encoding`.
pub(super) fn manifest_text(bytes: &[u8]) -> Result<&str, ParseError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let at = Position::of(bytes, error.valid_up_to());
        ParseError::new("input.encoding", "UTF-8", "other bytes").at(at)
    })
}

/// Says why the text of a manifest cannot be read.
pub(super) fn unread(text: &str, error: &toml::de::Error) -> ParseError {
    let found = ParseError::new("input.toml", "an estream-component.toml that can be read", error.message());
    match error.span() {
        Some(span) => found.at(Position::of(text.as_bytes(), span.start)),
        None => found,
    }
}

/// Reads a manifest, and everything in it as JSON.
///
/// **Errors**: `input.encoding`, `input.toml`, and what JSON has no room for.
pub(super) fn manifest(bytes: &[u8]) -> Result<(ManifestDocument, Map<String, Value>, &str), ParseError> {
    let text = manifest_text(bytes)?;
    let unread = |error: toml::de::Error| unread(text, &error);
    let document: ManifestDocument = toml::from_str(text).map_err(unread)?;
    let table: toml::Table = toml::from_str(text).map_err(unread)?;
    let fields: Map<String, Value> = table.into_iter().map(|(name, value)| (name, as_json(value))).collect();
    // What is carried is written and read as JSON: what that has no room for is refused here.
    let written = serde_json::to_vec(&fields).unwrap_or_default();
    json::check(&written).map_err(|mut error| {
        error.position = None;
        error
    })?;
    Ok((document, fields, text))
}

fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        // JSON has neither infinities nor what is no number.
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(name, value)| (name, as_json(value))).collect())
        }
    }
}

/// Reads hex of exactly `bytes` bytes, in either case.
pub(super) fn hex_of(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != 2 * bytes {
        return None;
    }
    let lower = match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    };
    unhex(&lower)
}

/// Reads an instant; parts of a second are left out.
pub(super) fn instant_of(text: &str) -> Result<i64, ParseError> {
    let whole = text.strip_suffix('Z').and_then(|text| {
        let (whole, fraction) = text.split_once('.')?;
        let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
        is_fraction.then(|| format!("{whole}Z"))
    });
    instant::parse(whole.as_deref().unwrap_or(text))
}

/// Reads the SHA3-256 checksum of an archive: hex in either case.
pub(super) fn sha3(text: &str) -> Result<Digest, ParseError> {
    let refused = || ParseError::new("input.digest", "64 hex digits of SHA3-256", text);
    let bytes = hex_of(text, 32).ok_or_else(refused)?;
    Digest::parse(&format!("sha3-256:{}", hex(&bytes)))
}
