//! The operator's sources file: the seed's flat form and `lcod-resolver/sources@1`, with our additions.
//!
//! ```json
//! {"schema": "lcod-resolver/sources@1", "defaults": {"priority": 75}, "sources": [
//!   {"id": "official", "url": "https://example.org/catalogues.json", "priority": 50},
//!   {"id": "local", "entrypoint": {"type": "file", "path": "../registry/catalogues.jsonl"}},
//!   {"id": "partner", "entrypoint": {"type": "git", "url": "https://example.org/acme/registry.git",
//!     "commit": "4a569e82930c784d2b4f2a40a39e85daea774a80", "subpath": "catalogues.json"},
//!    "owns": ["lcod://acme/**"], "refresh": "30m"}]}
//! ```
//!
//! A source says where its entry document lies either under `entrypoint` or beside its `id`, never both. Ours are `dialect`,
//! `owns`, `offline`, `refresh`, `enabled` and `catalogue`. Off-spec: unknown fields are refused, since a typo in the
//! operator's own file must not open a door; what upstream knows and we do not need (`metadata` beyond its pins,
//! `transport`, `headers`, `timeoutMs`, `retries`, `description`) is accepted and ignored.
//!
//! With `"dialect": "estream"` a source is a whole registry: `url` is a Git repository (`owner/repo` is one on GitHub), `path` alone
//! a plain directory, `subpath` the registry's directory in the repository where it is not its root. It has no `checksum`.
//! `owns` may be written as `acme-*` or `@acme`:
//!
//! ```json
//! {"id": "parts", "dialect": "estream", "url": "acme/estream-registry", "ref": "main", "owns": ["acme-*", "@acme"]}
//! ```
//!
//! A file may also be a JSONL list, `lcod.sources.jsonl`; content decides. Its lines of type `list` take the same fields:
//!
//! ```json
//! {"type": "manifest", "schema": "lcod-manifest/list@1", "id": "acme/sources"}
//! {"type": "list", "id": "official", "url": "https://example.org/catalogues.jsonl", "priority": 50}
//! {"type": "list", "id": "local", "path": "../registry/catalogues.jsonl", "namespace": "acme"}
//! ```
//!
//! There `type` says that the line is a list, and `kind` how it is reached.
//!
//! Never fetches and never looks at the disk: relative paths are resolved by their text.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::estream::INDEX;
use crate::dialect::lcod::document::LIST_SCHEMA;
use crate::digest::Digest;
use crate::direct::DIRECT_SOURCE;
use crate::error::{ParseError, Position};
use crate::filter::Filter;
use crate::forge::{ForgeFile, Forges};
use crate::id::{Dialect, Namespace, SourceId};
use crate::json;
use crate::model::{Origin, Place, SignatureClaim, Source};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Location, RefName, Repository, Revision, SshUrl};

/// The schema that a sources file may name; a file without `schema` is read the same way.
pub const SOURCES_SCHEMA: &str = "lcod-resolver/sources@1";
/// The priority of a source that states none, unless the file's `defaults` do.
pub const PRIORITY_DEFAULT: i64 = 100;
/// The largest priority.
pub const PRIORITY_MAX: i64 = 1000;
/// More sources than a sources file can name.
const POSITIONS_MAX: u32 = 1 << 24;
/// The shortest time between two checks of a source, in seconds.
pub const REFRESH_S_MIN: u64 = 60;
/// The shortest time for which the last good entries of a source can be used, in seconds.
pub const MAX_STALE_S_MIN: u64 = 1;

/// Reads a sources file; relative paths in it are resolved against `directory`, which must be absolute. `forges` are those
/// whose file URLs are understood.
///
/// Sources with `enabled: false` are checked and left out; the others keep their position in the file.
///
/// **Errors**: the whole file is refused, with line and column: it is the operator's own.
pub fn read(bytes: &[u8], directory: &Path, forges: &Forges) -> Result<Vec<Source>, ParseError> {
    if let Some(first) = header_line(bytes) {
        return lines(bytes, first, directory, forges);
    }
    let text = json::check(bytes)?;
    if !text.trim_start().starts_with('{') {
        let error = ParseError::new("input.schema", "an object with the field sources", text.trim_start());
        return Err(error.at(Position { line: 1, column: 1 }));
    }
    let head: Head = json::document(text)?;
    if let Some(schema) = head.schema.filter(|schema| schema != SOURCES_SCHEMA) {
        let error = ParseError::new("input.schema", SOURCES_SCHEMA, schema).in_field("schema");
        return Err(json::located(error, text));
    }
    let file: SourcesDocument<&RawValue> = json::document(text)?;
    let default = file.defaults.and_then(|defaults| defaults.priority).unwrap_or(PRIORITY_DEFAULT);
    let default = priority(default).map_err(|error| json::located(error.in_field("defaults"), text))?;

    let document = json::Document::of(text);
    let mut taken = Taken { directory, forges, ids: BTreeSet::new(), sources: Vec::new() };
    for (position, raw) in (0..).zip(file.sources) {
        let field = format!("sources[{position}]");
        let placed = |error: ParseError| document.in_entry(error, raw).in_field(&field);
        let entry: SourceEntry = document.entry(raw).map_err(|error| error.in_field(&field))?;
        taken.take(entry, Place { priority: default, position }).map_err(placed)?;
    }
    Ok(taken.sources)
}

/// The sources of a file so far.
struct Taken<'a> {
    directory: &'a Path,
    forges: &'a Forges,
    ids: BTreeSet<SourceId>,
    sources: Vec<Source>,
}

impl Taken<'_> {
    fn take(&mut self, entry: SourceEntry, place: Place) -> Result<(), ParseError> {
        let is_enabled = entry.enabled.unwrap_or(true);
        let source = source(entry, place, self.directory, self.forges)?;
        if !self.ids.insert(source.id.clone()) {
            let error = ParseError::new("input.duplicate_id", "every source id once", source.id.as_text());
            return Err(error.in_field("id"));
        }
        if is_enabled {
            self.sources.push(source);
        }
        Ok(())
    }
}

/// The first line of a sources file that is a JSONL list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SourcesHeader {
    /// `manifest`.
    #[serde(rename = "type")]
    pub row: Option<String>,
    /// `lcod-manifest/list@1`.
    pub schema: String,
    /// The id that the list gives itself; ignored.
    pub id: Option<String>,
    /// For people; ignored.
    pub description: Option<String>,
    /// For people; ignored.
    pub label: Option<String>,
    /// When a program wrote it; ignored.
    pub generated_at: Option<String>,
    /// What holds for every source that says nothing else.
    pub defaults: Option<Defaults>,
}

/// Returns the place of the first line that is not blank, when it is the header of a JSONL list.
fn header_line(bytes: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Type {
        #[serde(rename = "type")]
        row: Option<Value>,
        schema: Option<Value>,
    }
    let (number, line) = json::lines(bytes).next()?;
    let header: Type = json::document(json::check(line).ok()?).ok()?;
    let is = |value: &Option<Value>, text: &str| value.as_ref().and_then(Value::as_str) == Some(text);
    (is(&header.row, "manifest") || is(&header.schema, LIST_SCHEMA)).then_some(number)
}

/// Reads a sources file that is a JSONL list: its header, then a line of type `list` for each source.
fn lines(bytes: &[u8], first: usize, directory: &Path, forges: &Forges) -> Result<Vec<Source>, ParseError> {
    let mut lines = json::lines(bytes);
    let header = lines.next().map_or(&[][..], |(_, line)| line);
    let default = header_priority(header).map_err(|error| in_line(error, first))?;
    let mut taken = Taken { directory, forges, ids: BTreeSet::new(), sources: Vec::new() };
    for (position, (number, line)) in (0..).zip(lines) {
        let text = json::check(line).map_err(|error| in_line(error, number))?;
        let placed = |error: ParseError| in_line(json::located(error, text), number);
        let entry = listed(text).map_err(placed)?;
        taken.take(entry, Place { priority: default, position }).map_err(placed)?;
    }
    Ok(taken.sources)
}

fn header_priority(line: &[u8]) -> Result<i64, ParseError> {
    let text = json::check(line)?;
    let header: SourcesHeader = json::document(text)?;
    if header.schema != LIST_SCHEMA {
        let error = ParseError::new("input.schema", LIST_SCHEMA, header.schema).in_field("schema");
        return Err(json::located(error, text));
    }
    let default = header.defaults.and_then(|defaults| defaults.priority).unwrap_or(PRIORITY_DEFAULT);
    priority(default).map_err(|error| json::located(error.in_field("defaults"), text))
}

/// Reads a line of type `list`.
fn listed(text: &str) -> Result<SourceEntry, ParseError> {
    let mut entry: SourceEntry = json::document(text)?;
    match entry.kind.as_deref() {
        Some("list") => entry.kind = None,
        found => {
            let expected = "a line of type list: a sources file names lists and catalogues only";
            let found = found.unwrap_or("no type");
            return Err(ParseError::new("input.row_type", expected, found).in_field("type"));
        }
    }
    if entry.kind_alias.is_none() && entry.url.is_some() && (entry.path.is_some() || entry.subpath.is_some())
    {
        entry.kind = Some("git".to_owned());
    }
    Ok(entry)
}

/// Returns an error about a line with its place in the file.
fn in_line(error: ParseError, number: usize) -> ParseError {
    let error = error.in_field(format!("line {number}"));
    json::moved(error, Position { line: number, column: 1 })
}

/// The part of a sources file that says how to read the rest.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// The sources that a resolver reads, in the order in which they count: lower priority first, then position.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(title = "Sources", rename = "Sources")]
pub struct SourcesDocument<S = SourceEntry> {
    /// The JSON Schema that editors should use; ignored.
    #[serde(rename = "$schema")]
    pub schema_url: Option<String>,
    /// `lcod-resolver/sources@1`; may be left out.
    pub schema: Option<String>,
    /// For people; ignored.
    pub description: Option<String>,
    /// What holds for every source that says nothing else.
    pub defaults: Option<Defaults>,
    /// The sources.
    pub sources: Vec<S>,
}

/// What holds for every source that says nothing else.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The priority, 100 if absent; lower wins.
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i64>,
}

/// One source: its id, where its entry document lies (under `entrypoint` or beside the id, never both), and how it counts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SourceEntry {
    /// The id, unique in the file: `a-z`, `0-9`, `.`, `_`, `/`, `-`, with a letter or digit at both ends.
    #[schemars(regex(pattern = r"^[a-z0-9](?:[a-z0-9._/-]*[a-z0-9])?$"), length(max = 100))]
    pub id: String,
    /// Which documents it speaks: `lcod` (the default) or `estream`. No other dialect is read by this version.
    pub dialect: Option<String>,
    /// Where the entry document lies.
    pub entrypoint: Option<Entrypoint>,
    /// Flat form of `entrypoint.type`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Another spelling of `type`.
    #[serde(rename = "kind")]
    pub kind_alias: Option<String>,
    /// Flat form of `entrypoint.url`.
    pub url: Option<String>,
    /// Flat form of `entrypoint.path`.
    pub path: Option<String>,
    /// Flat form of `entrypoint.commit`.
    pub commit: Option<String>,
    /// Flat form of `entrypoint.ref`.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Flat form of `entrypoint.subpath`.
    pub subpath: Option<String>,
    /// Another spelling of `subpath`.
    pub catalogue: Option<String>,
    /// The digest that the entry document must have: `sha256-<base64>`, `sha256-<hex>` or `sha256:<hex>`.
    pub checksum: Option<String>,
    /// The key that signs the entry document; reported, and not checked by this version.
    pub public_key: Option<String>,
    /// Where the entry document's signature lies; reported, and not checked by this version.
    pub signature: Option<String>,
    /// Lower wins; `defaults.priority` if absent.
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i64>,
    /// Namespaces, written `lcod://acme/**`, that no source placed below this one answers for until this one, with every
    /// catalogue that it lists, has been read.
    #[serde(default)]
    pub owns: Vec<String>,
    /// Only releases whose id lies in this namespace: `ns`, `ns/sub` or `lcod://ns`.
    pub namespace: Option<String>,
    /// Only releases whose row states this package.
    pub package: Option<String>,
    /// Only releases whose version meets this requirement.
    pub version: Option<String>,
    /// Never fetch: use only what has been imported or fetched before. False if absent.
    pub offline: Option<bool>,
    /// How often it is checked: seconds from 60, or a number with `s`, `m`, `h` or `d`, such as `30m`.
    #[schemars(with = "Option<Refresh>")]
    pub refresh: Option<Value>,
    /// How long its last good entries are used while it cannot be checked: seconds from 1, or a text such as `7d`.
    #[schemars(with = "Option<MaxStale>")]
    pub max_stale: Option<Value>,
    /// Whether it counts at all. True if absent.
    pub enabled: Option<bool>,
    /// Free data; a `commit` or `checksum` in it is a pin and must agree with the others.
    pub metadata: Option<Value>,
    /// How upstream's resolver fetches; ignored.
    pub transport: Option<Value>,
    /// Headers that upstream's resolver sends; ignored.
    pub headers: Option<Value>,
    /// How long upstream's resolver waits; ignored.
    pub timeout_ms: Option<Value>,
    /// How often upstream's resolver tries; ignored.
    pub retries: Option<Value>,
    /// For people; ignored.
    pub description: Option<String>,
}

/// Where an entry document lies.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entrypoint {
    /// `git`, `https` or `file`; guessed where it is absent: `git` if there is a `subpath` or `ref`, else from the URL.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Another spelling of `type`.
    #[serde(rename = "kind")]
    pub kind_alias: Option<String>,
    /// An `https://` or `file:` URL: the document's, the repository's, or that of a file page on a forge. For Git also a path.
    pub url: Option<String>,
    /// The document's path (`file`), the local repository's (`git` without `url`) or the path in the repository (`git`).
    /// Relative paths start at the directory of the sources file.
    pub path: Option<String>,
    /// The full id of the commit that holds the document.
    #[schemars(regex(pattern = r"^([0-9a-f]{40}|[0-9a-f]{64})$"))]
    pub commit: Option<String>,
    /// A branch or tag, followed as it moves.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The document's path in the repository.
    pub subpath: Option<String>,
    /// Another spelling of `subpath`.
    pub catalogue: Option<String>,
    /// Headers that upstream's resolver sends; ignored.
    pub headers: Option<Value>,
}

/// The two spellings of `refresh`, for the JSON Schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Refresh {
    /// Seconds.
    Seconds(#[schemars(range(min = 60))] u64),
    /// A number and a unit.
    Text(#[schemars(regex(pattern = r"^[0-9]+[smhd]$"))] String),
}

/// The two spellings of `maxStale`, for the JSON Schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum MaxStale {
    /// Seconds.
    Seconds(#[schemars(range(min = 1))] u64),
    /// A number and a unit.
    Text(#[schemars(regex(pattern = r"^[0-9]+[smhd]$"))] String),
}

fn source(entry: SourceEntry, place: Place, directory: &Path, forges: &Forges) -> Result<Source, ParseError> {
    let id = SourceId::parse(&entry.id).map_err(|error| error.in_field("id"))?;
    if id.as_text() == DIRECT_SOURCE {
        let expected = format!("another id than {DIRECT_SOURCE}, which stands for direct references");
        return Err(ParseError::new("input.source_id", expected, &entry.id).in_field("id"));
    }
    let dialect = dialect(entry.dialect.as_deref().unwrap_or(Dialect::Lcod.name()))?;
    let priority = entry.priority.map_or(Ok(place.priority), priority)?;
    let owns =
        entry.owns.iter().enumerate().map(|(index, text)| {
            owned(text, dialect).map_err(|error| error.in_field(format!("owns[{index}]")))
        });
    let owns = owns.collect::<Result<Vec<_>, _>>()?;
    let refresh_s = entry.refresh.as_ref().map(refresh_s).transpose()?;
    let max_stale_s = entry.max_stale.as_ref().map(max_stale_s).transpose()?;
    let digests = digests(entry.checksum.as_deref(), pin(&entry, "checksum"))?;
    let signature = match (&entry.public_key, &entry.signature) {
        (None, None) => None,
        (public_key, signature) => {
            Some(SignatureClaim { public_key: public_key.clone(), signature: signature.clone() })
        }
    };
    let offline = entry.offline.unwrap_or_default();
    let metadata_commit = pin(&entry, "commit").map(str::to_owned);
    let filter =
        Filter::parse(entry.namespace.as_deref(), entry.package.as_deref(), entry.version.as_deref())?;
    if dialect == Dialect::Estream {
        of_registry(&entry)?;
    }
    let home = home(&entry)?;
    let (entrypoint, prefix) = entrypoint(entry)?;
    let entry = match dialect {
        Dialect::Estream => registry(&entrypoint, directory),
        Dialect::Lcod | Dialect::Flowctl => location(&entrypoint, directory, forges),
    };
    let entry = entry.map_err(|error| error.in_field(prefix))?;
    let entry = with_metadata_commit(entry, metadata_commit.as_deref(), forges)?;
    let place = Place { priority, ..place };
    let origin = home.filter(|_| matches!(entry, Location::Https { .. }));
    Ok(Source {
        id,
        dialect,
        place,
        entry,
        digests,
        owns,
        offline,
        refresh_s,
        max_stale_s,
        filter,
        origin,
        signature,
        declared_in: None,
    })
}

/// Makes a source of a registry of eStream that another file than a sources file names: by the URL of its repository, a path, or
/// `owner/repo`. It stands behind every source of a sources file; `index` is its place among its like.
///
/// **Errors**: those of `url`.
pub fn registry_of(id: &SourceId, url: &str, index: u32, directory: &Path) -> Result<Source, ParseError> {
    let entrypoint = Entrypoint { url: Some(url.to_owned()), ..Entrypoint::default() };
    Ok(Source {
        id: id.clone(),
        dialect: Dialect::Estream,
        place: Place { priority: PRIORITY_MAX, position: POSITIONS_MAX.saturating_add(index) },
        entry: registry(&entrypoint, directory)?,
        digests: Vec::new(),
        owns: Vec::new(),
        offline: false,
        refresh_s: None,
        max_stale_s: None,
        filter: Filter::default(),
        origin: None,
        signature: None,
        declared_in: None,
    })
}

fn dialect(text: &str) -> Result<Dialect, ParseError> {
    let expected = match text {
        "lcod" => return Ok(Dialect::Lcod),
        "estream" => return Ok(Dialect::Estream),
        "flowctl" => format!("lcod or estream; {text} is not read by this version"),
        _ => "lcod or estream".to_owned(),
    };
    Err(ParseError::new("input.dialect", expected, text).in_field("dialect"))
}

/// Reads a namespace that a source owns. Where the dialect is clear its own short forms do: `acme-*`, `@acme`.
fn owned(text: &str, dialect: Dialect) -> Result<Namespace, ParseError> {
    let is_short = dialect == Dialect::Estream && !text.contains(':');
    match (is_short, text.starts_with('@') && !text.contains('/')) {
        (true, true) => Namespace::parse(&format!("estream:{text}/**")),
        (true, false) => Namespace::parse(&format!("estream:{text}")),
        (false, _) => Namespace::parse(text),
    }
}

fn priority(number: i64) -> Result<i64, ParseError> {
    if (0..=PRIORITY_MAX).contains(&number) {
        return Ok(number);
    }
    let expected = "an integer from 0 to 1000";
    Err(ParseError::new("input.field", expected, number.to_string()).in_field("priority"))
}

fn refresh_s(value: &Value) -> Result<u64, ParseError> {
    duration_s(value, REFRESH_S_MIN).map_err(|error| error.in_field("refresh"))
}

fn max_stale_s(value: &Value) -> Result<u64, ParseError> {
    duration_s(value, MAX_STALE_S_MIN).map_err(|error| error.in_field("maxStale"))
}

/// Reads a duration of at least `min_s` seconds: a number of seconds, or a text such as `30m` (`s`, `m`, `h`, `d`).
///
/// **Errors**: `input.field`.
pub fn duration_s(value: &Value, min_s: u64) -> Result<u64, ParseError> {
    let seconds = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let unit = |factor: u64, digits: &str| {
                let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(factor)
            };
            [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
                .into_iter()
                .find_map(|(letter, factor)| unit(factor, text.strip_suffix(letter)?))
        }
        _ => None,
    };
    seconds.filter(|seconds| (min_s..=json::INTEGER_MAX).contains(seconds)).ok_or_else(|| {
        let expected = format!("seconds from {min_s}, or a text such as 30m or 1h");
        ParseError::new("input.field", expected, value.to_string())
    })
}

/// Returns a pin that upstream's lists write under `metadata`.
fn pin<'a>(entry: &'a SourceEntry, name: &str) -> Option<&'a str> {
    entry.metadata.as_ref()?.get(name)?.as_str()
}

/// Returns the repository that `metadata` says the document comes from: where the rows of an https document lead.
fn home(entry: &SourceEntry) -> Result<Option<Origin>, ParseError> {
    let Some(text) = pin(entry, "sourceRepo") else { return Ok(None) };
    // Upstream writes what it likes there; only a repository that can be asked is one.
    let Ok(url) = HttpsUrl::parse(text) else { return Ok(None) };
    let commit = pin(entry, "commit").map(CommitId::parse).transpose();
    let commit = commit.map_err(|error| error.in_field("metadata.commit"))?;
    Ok(Some(Origin { repository: Some(Repository::Https(url)), commit, path: None }))
}

fn digests(checksum: Option<&str>, metadata: Option<&str>) -> Result<Vec<Digest>, ParseError> {
    let mut digests: Vec<Digest> = Vec::new();
    for (field, text) in [("checksum", checksum), ("metadata.checksum", metadata)] {
        let Some(text) = text else { continue };
        let digest = Digest::parse(text).map_err(|error| error.in_field(field))?;
        match digests.iter().find(|other| other.algorithm() == digest.algorithm()) {
            None => digests.push(digest),
            Some(other) if *other == digest => {}
            Some(other) => return Err(pin_conflict(other, &digest).in_field(field)),
        }
    }
    Ok(digests)
}

fn pin_conflict(one: &impl ToString, other: &impl ToString) -> ParseError {
    ParseError::new("trust.pin_conflict", format!("the same pin as {}", one.to_string()), other.to_string())
}

/// Returns where the entry document lies, whichever way it is written, and the field that its errors start with.
fn entrypoint(entry: SourceEntry) -> Result<(Entrypoint, &'static str), ParseError> {
    let flat = Entrypoint {
        kind: entry.kind,
        kind_alias: entry.kind_alias,
        url: entry.url,
        path: entry.path,
        commit: entry.commit,
        reference: entry.reference,
        subpath: entry.subpath,
        catalogue: entry.catalogue,
        headers: None,
    };
    let Some(entrypoint) = entry.entrypoint else { return Ok((flat, "")) };
    let beside = [
        ("type", &flat.kind),
        ("kind", &flat.kind_alias),
        ("url", &flat.url),
        ("path", &flat.path),
        ("commit", &flat.commit),
        ("ref", &flat.reference),
        ("subpath", &flat.subpath),
        ("catalogue", &flat.catalogue),
    ];
    match beside.into_iter().find(|(_, value)| value.is_some()) {
        None => Ok((entrypoint, "entrypoint")),
        Some((name, _)) => {
            Err(ParseError::new("input.field", "either entrypoint or the flat form", name).in_field(name))
        }
    }
}

/// How an entry document is reached.
#[derive(Clone, Copy)]
enum Kind {
    Git,
    Https,
    File,
}

fn location(entry: &Entrypoint, directory: &Path, forges: &Forges) -> Result<Location, ParseError> {
    match kind(entry)? {
        Kind::Git => git(entry, directory, forges),
        Kind::Https => https(entry, forges),
        Kind::File => file(entry, directory),
    }
}

/// Refuses the fields that say nothing of a registry.
fn of_registry(entry: &SourceEntry) -> Result<(), ParseError> {
    // A checksum would be that of a listing, and hold nothing of what the listing names.
    let pinned = "no checksum: a registry is pinned by its commit";
    let fields = [
        ("namespace", entry.namespace.as_deref(), "no namespace: the names of a registry have none"),
        ("package", entry.package.as_deref(), "no package: a registry has none"),
        ("checksum", entry.checksum.as_deref(), pinned),
        ("metadata.checksum", pin(entry, "checksum"), pinned),
    ];
    match fields.into_iter().find_map(|(field, text, expected)| Some((field, text?, expected))) {
        Some((field, text, expected)) => Err(ParseError::new("input.field", expected, text).in_field(field)),
        None => Ok(()),
    }
}

/// Returns where the index of an eStream registry lies.
fn registry(entry: &Entrypoint, directory: &Path) -> Result<Location, ParseError> {
    let in_git = [&entry.url, &entry.commit, &entry.reference, &entry.subpath, &entry.catalogue];
    let kind = match (&entry.kind, &entry.kind_alias) {
        // A `file:` URL is one of a repository here, since a registry is more than a file.
        (None, None) if in_git.into_iter().any(Option::is_some) => Kind::Git,
        (None, None) => Kind::File,
        _ => kind(entry)?,
    };
    match (kind, file(entry, directory)) {
        (Kind::Git, _) => registry_in_git(entry, directory),
        (Kind::File, Ok(Location::File { path })) => {
            Ok(Location::File { path: path.join(&DocPath::parse(INDEX)?) })
        }
        (Kind::File, other) => other,
        (Kind::Https, _) => {
            let expected = "git or file: a registry is a repository or a directory";
            Err(ParseError::new("input.field", expected, "https").in_field("type"))
        }
    }
}

fn registry_in_git(entry: &Entrypoint, directory: &Path) -> Result<Location, ParseError> {
    let repository = match (&entry.url, &entry.path) {
        (Some(url), _) => registry_url(url, directory).map_err(|error| error.in_field("url"))?,
        (None, Some(path)) => {
            Repository::Local(resolved(path, directory).map_err(|error| error.in_field("path"))?)
        }
        (None, None) => {
            let expected = "the repository's url or path";
            return Err(ParseError::new("input.field", expected, "nothing").in_field("url"));
        }
    };
    let beside = entry.path.as_ref().filter(|_| entry.url.is_some());
    let named =
        [("subpath", entry.subpath.as_ref()), ("catalogue", entry.catalogue.as_ref()), ("path", beside)];
    let mut named = named.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let path = match (named.next(), named.next()) {
        (_, Some((name, text))) => {
            let expected = "the registry's directory once";
            return Err(ParseError::new("input.field", expected, text).in_field(name));
        }
        (Some((name, text)), None) => {
            let root = DocPath::parse(text).map_err(|error| error.in_field(name))?;
            root.join(&DocPath::parse(INDEX)?).map_err(|error| error.in_field(name))?
        }
        (None, None) => DocPath::parse(INDEX)?,
    };
    Ok(Location::Git { repository, revision: revision(entry)?.unwrap_or(Revision::Head), path })
}

/// Reads the URL of a registry's repository; `owner/repo` is one on GitHub.
fn registry_url(url: &str, directory: &Path) -> Result<Repository, ParseError> {
    let is_name = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(plain)
    };
    match url.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => {
            Ok(Repository::Https(HttpsUrl::parse(&format!("https://github.com/{owner}/{name}"))?))
        }
        _ => url_repository(url, directory),
    }
}

fn kind(entry: &Entrypoint) -> Result<Kind, ParseError> {
    let (name, text) = match (&entry.kind, &entry.kind_alias) {
        (Some(one), Some(other)) if one != other => {
            let expected = format!("the same as type, {one}");
            return Err(ParseError::new("input.field", expected, other).in_field("kind"));
        }
        (Some(text), _) => ("type", text),
        (None, Some(text)) => ("kind", text),
        (None, None) => return guessed(entry),
    };
    match text.as_str() {
        "git" => Ok(Kind::Git),
        "https" => Ok(Kind::Https),
        "file" => Ok(Kind::File),
        _ => Err(ParseError::new("input.field", "git, https or file", text).in_field(name)),
    }
}

fn guessed(entry: &Entrypoint) -> Result<Kind, ParseError> {
    let in_tree = [&entry.subpath, &entry.catalogue, &entry.reference].into_iter().any(Option::is_some);
    match (&entry.url, &entry.path) {
        (None, None) => Err(ParseError::new("input.field", "a url or a path", "neither")),
        _ if in_tree => Ok(Kind::Git),
        (Some(url), _) if url.starts_with("file:") => Ok(Kind::File),
        (Some(_), _) => Ok(Kind::Https),
        (None, Some(_)) if entry.commit.is_some() => Ok(Kind::Git),
        (None, Some(_)) => Ok(Kind::File),
    }
}

fn git(entry: &Entrypoint, directory: &Path, forges: &Forges) -> Result<Location, ParseError> {
    let revision = revision(entry)?;
    let (repository, document) = match (&entry.url, &entry.path) {
        (Some(url), path) => (url_repository(url, directory).map_err(|e| e.in_field("url"))?, path.as_ref()),
        (None, Some(path)) => {
            (Repository::Local(resolved(path, directory).map_err(|e| e.in_field("path"))?), None)
        }
        (None, None) => {
            return Err(
                ParseError::new("input.field", "the repository's url or path", "nothing").in_field("url")
            );
        }
    };
    let named =
        [("subpath", entry.subpath.as_ref()), ("catalogue", entry.catalogue.as_ref()), ("path", document)];
    let mut named = named.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let (first, second) = (named.next(), named.next());
    if let Some((name, text)) = second {
        return Err(ParseError::new("input.field", "the document's path once", text).in_field(name));
    }
    let forge = match &repository {
        Repository::Https(url) => forges.file(url),
        Repository::Ssh(_) | Repository::Local(_) => None,
    };
    match (first, forge) {
        (Some((name, text)), None) => {
            let path = DocPath::parse(text).map_err(|error| error.in_field(name))?;
            Ok(Location::Git { repository, revision: revision.unwrap_or(Revision::Head), path })
        }
        (None, Some(forge)) => forge_location(forge, revision),
        (Some((name, text)), Some(_)) => {
            let expected = "no path beside the URL of a file on a forge, which names the file itself";
            Err(ParseError::new("input.field", expected, text).in_field(name))
        }
        (None, None) => {
            let expected = "the document's path in the repository, such as catalogues.json";
            Err(ParseError::new("input.field", expected, "nothing").in_field("subpath"))
        }
    }
}

fn revision(entry: &Entrypoint) -> Result<Option<Revision>, ParseError> {
    match (&entry.commit, &entry.reference) {
        (Some(_), Some(name)) => {
            Err(ParseError::new("input.field", "a commit or a ref, not both", name).in_field("ref"))
        }
        (Some(commit), None) => {
            let commit = CommitId::parse(commit).map_err(|error| error.in_field("commit"))?;
            Ok(Some(Revision::Commit(commit)))
        }
        (None, Some(name)) => match CommitId::parse(name) {
            Ok(commit) => Ok(Some(Revision::Commit(commit))),
            Err(_) => Ok(Some(Revision::Ref(RefName::parse(name).map_err(|error| error.in_field("ref"))?))),
        },
        (None, None) => Ok(None),
    }
}

/// The commit beside the URL of a file on a forge replaces the URL's branch or tag; two commits must be the same.
fn forge_location(forge: ForgeFile, beside: Option<Revision>) -> Result<Location, ParseError> {
    let revision = match (forge.revision, beside) {
        (Revision::Commit(one), Some(Revision::Commit(other))) if one != other => {
            return Err(pin_conflict(&one, &other).in_field("commit"));
        }
        (_, Some(Revision::Commit(commit))) => Revision::Commit(commit),
        (Revision::Ref(one), Some(Revision::Ref(other))) if one == other => Revision::Ref(one),
        (_, Some(Revision::Ref(name))) => {
            let expected = "no ref beside the URL of a file on a forge, which names its own";
            return Err(ParseError::new("input.field", expected, name.as_text()).in_field("ref"));
        }
        (own, _) => own,
    };
    Ok(Location::Git { repository: Repository::Https(forge.repository), revision, path: forge.path })
}

fn https(entry: &Entrypoint, forges: &Forges) -> Result<Location, ParseError> {
    let beside = [
        ("path", &entry.path),
        ("subpath", &entry.subpath),
        ("catalogue", &entry.catalogue),
        ("ref", &entry.reference),
    ];
    if let Some((name, Some(text))) = beside.into_iter().find(|(_, value)| value.is_some()) {
        return Err(
            ParseError::new("input.field", "only a url with type https; use type git", text).in_field(name)
        );
    }
    let Some(url) = &entry.url else {
        return Err(ParseError::new("input.field", "the document's https:// URL", "nothing").in_field("url"));
    };
    let url = HttpsUrl::parse(url).map_err(|error| error.in_field("url"))?;
    match (revision(entry)?, forges.file(&url)) {
        (None, _) => Ok(Location::Https { url }),
        // Plain https cannot keep the promise that a commit makes, so the file is read from the repository.
        (commit, Some(forge)) => forge_location(forge, commit),
        (Some(_), None) => {
            let expected = "no commit with type https; use type git with a subpath";
            let found = entry.commit.as_deref().unwrap_or_default();
            Err(ParseError::new("input.field", expected, found).in_field("commit"))
        }
    }
}

fn file(entry: &Entrypoint, directory: &Path) -> Result<Location, ParseError> {
    let beside = [
        ("commit", &entry.commit),
        ("ref", &entry.reference),
        ("subpath", &entry.subpath),
        ("catalogue", &entry.catalogue),
    ];
    if let Some((name, Some(text))) = beside.into_iter().find(|(_, value)| value.is_some()) {
        return Err(
            ParseError::new("input.field", "only a path with type file; use type git", text).in_field(name)
        );
    }
    let (name, text) = match (&entry.url, &entry.path) {
        (Some(_), Some(text)) => {
            return Err(ParseError::new("input.field", "a url or a path, not both", text).in_field("path"));
        }
        (Some(url), None) => ("url", url),
        (None, Some(path)) => ("path", path),
        (None, None) => {
            return Err(ParseError::new("input.field", "the document's path", "nothing").in_field("path"));
        }
    };
    Ok(Location::File { path: resolved(text, directory).map_err(|error| error.in_field(name))? })
}

fn url_repository(url: &str, directory: &Path) -> Result<Repository, ParseError> {
    let is_scp = url.split_once(':').is_some_and(|(login, _)| login.contains('@') && !login.contains('/'));
    if url.starts_with("ssh://") || is_scp {
        return Ok(Repository::Ssh(SshUrl::parse(url)?));
    }
    // A scheme and a transport such as `ext::` hold a colon.
    let is_local = url.starts_with("file:") || url.starts_with(['/', '.']) || !url.contains(':');
    match is_local && !url.starts_with('-') {
        true => Ok(Repository::Local(resolved(url, directory)?)),
        false => Ok(Repository::Https(HttpsUrl::parse(url)?)),
    }
}

/// Resolves the operator's own path, which may climb, against the directory of the sources file by its text alone.
fn resolved(text: &str, directory: &Path) -> Result<LocalPath, ParseError> {
    if text.starts_with("file:") {
        return LocalPath::parse(text);
    }
    let refused = || ParseError::new("input.path", "a path on this machine", text);
    if text.is_empty() || text.contains("://") {
        return Err(refused());
    }
    let mut path = PathBuf::new();
    for part in directory.join(text).components() {
        match part {
            Component::ParentDir if !path.pop() => return Err(refused()),
            Component::ParentDir | Component::CurDir => {}
            part => path.push(part),
        }
    }
    LocalPath::from_path(&path).ok_or_else(refused)
}

fn with_metadata_commit(entry: Location, pin: Option<&str>, forges: &Forges) -> Result<Location, ParseError> {
    let Some(pin) = pin else { return Ok(entry) };
    let field = "metadata.commit";
    let commit = CommitId::parse(pin).map_err(|error| error.in_field(field))?;
    match entry {
        Location::Git { revision: Revision::Commit(own), .. } if own != commit => {
            Err(pin_conflict(&own, &commit).in_field(field))
        }
        Location::Git { repository, path, .. } => {
            Ok(Location::Git { repository, revision: Revision::Commit(commit), path })
        }
        Location::Https { url } => match forges.file(&url) {
            Some(forge) => forge_location(forge, Some(Revision::Commit(commit))).map_err(|mut error| {
                error.field = field.to_owned();
                error
            }),
            None => Ok(Location::Https { url }),
        },
        entry => Ok(entry),
    }
}

#[cfg(test)]
mod tests;
