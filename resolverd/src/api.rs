//! What requests, answers and errors look like on the socket, and the one table of error codes.
//!
//! Types only: nothing here reads a socket, a snapshot or a clock. Unknown request fields are refused, since a setting that
//! is silently dropped is worse than a refusal; unknown answer fields must be ignored by clients.

pub mod discovery;
pub mod documents;
pub mod files;
pub mod lock;
pub mod overlay;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use catalogue_schema::digest::Digest;
use catalogue_schema::error::ParseError;
use catalogue_schema::generation::{Health, is_of_another_format};
use catalogue_schema::id::{ComponentId, Namespace, SourceId};
use catalogue_schema::json;
use catalogue_schema::model::{Refusal, Skipped, Warning};
use catalogue_schema::pointer::{CommitId, Repository};
use catalogue_schema::row::{ManifestRow, ShadowRow};
use catalogue_schema::seal;
use catalogue_schema::version::Version;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::api::overlay::Overlay;

/// The most references that one resolve or lookup may name.
pub const REFERENCES_MAX: usize = 10_000;
/// The largest request body in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The most items in one page of a list.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// How many items a page has when the caller does not say.
pub const PAGE_ITEMS: usize = 100;
/// The longest reason that an operator may give, in characters.
pub const REASON_CHARS_MAX: usize = 1_000;
/// The longest path of a socket in bytes, on Linux: `sun_path` without its final zero byte.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The media type of answers.
pub const JSON: &str = "application/json";
/// The media type of an answer with lines before it, see `server::progress`.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

const MESSAGE_CHARS_MAX: usize = 400;

/// One HTTP call, as the client sends it and the server takes it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub target: String,
    /// The JSON body of a `POST`.
    pub body: Vec<u8>,
}

impl Call {
    /// Returns a `GET` of `target`.
    pub fn get(target: impl Into<String>) -> Call {
        Call { method: "GET", target: target.into(), body: Vec::new() }
    }

    /// Returns a `POST` of `body` to `target`.
    pub fn post(target: impl Into<String>, body: &Value) -> Call {
        Call { method: "POST", target: target.into(), body: body.to_string().into_bytes() }
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `application/json`, `application/problem+json`, or that of `/metrics` or `/v1/events`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// An error code; [`TABLE`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names and their meaning stand in the table.
pub enum Code {
    ComponentNotFound,
    VersionNotFound,
    VersionConflict,
    CircularDependency,
    SignatureInvalid,
    ChecksumMismatch,
    UnknownPublisher,
    ManifestInvalid,
    NameReserved,
    VersionNotIncremented,
    PackageTooLarge,
    NetworkError,
    CacheCorrupted,
    SchemaConflict,
    PermissionDenied,
    ReferenceInvalid,
    SourceUnavailable,
    Rollback,
    SnapshotGone,
    LimitExceeded,
    LockDrift,
    DaemonUnreachable,
    ConfigInvalid,
    Internal,
    StoreUnavailable,
    RequestInvalid,
}

/// One row of the table of errors.
#[derive(Debug)]
pub struct CodeRow {
    /// The code as a value.
    pub code: Code,
    /// The code as printed, such as `E001`.
    pub text: &'static str,
    /// Its name: the problem's title.
    pub name: &'static str,
    /// Its HTTP statuses, the usual one first; none for errors that only a client has.
    pub statuses: &'static [u16],
    /// The exit status of a verb that ends with it.
    pub exit: u8,
}

const fn row(
    code: Code,
    text: &'static str,
    name: &'static str,
    statuses: &'static [u16],
    exit: u8,
) -> CodeRow {
    CodeRow { code, text, name, statuses, exit }
}

/// The one table: code, name, HTTP statuses, exit status.
pub const TABLE: &[CodeRow] = &[
    row(Code::ComponentNotFound, "E001", "ComponentNotFound", &[404], 10),
    row(Code::VersionNotFound, "E002", "VersionNotFound", &[404], 10),
    row(Code::VersionConflict, "E003", "VersionConflict", &[409], 3),
    row(Code::CircularDependency, "E004", "CircularDependency", &[409], 3),
    row(Code::SignatureInvalid, "E005", "SignatureInvalid", &[502], 7),
    row(Code::ChecksumMismatch, "E006", "ChecksumMismatch", &[502], 7),
    row(Code::UnknownPublisher, "E007", "UnknownPublisher", &[502], 7),
    row(Code::ManifestInvalid, "E008", "ManifestInvalid", &[422], 2),
    row(Code::NameReserved, "E009", "NameReserved", &[409], 4),
    row(Code::VersionNotIncremented, "E010", "VersionNotIncremented", &[409], 4),
    row(Code::PackageTooLarge, "E011", "PackageTooLarge", &[413], 4),
    row(Code::NetworkError, "E012", "NetworkError", &[503], 5),
    row(Code::CacheCorrupted, "E013", "CacheCorrupted", &[500], 1),
    row(Code::SchemaConflict, "E014", "SchemaConflict", &[409], 3),
    row(Code::PermissionDenied, "E015", "PermissionDenied", &[403], 6),
    row(Code::ReferenceInvalid, "R001", "ReferenceInvalid", &[400], 2),
    row(Code::SourceUnavailable, "R002", "SourceUnavailable", &[503], 5),
    row(Code::Rollback, "R003", "Rollback", &[409], 6),
    row(Code::SnapshotGone, "R004", "SnapshotGone", &[410], 10),
    row(Code::LimitExceeded, "R005", "LimitExceeded", &[413, 429, 503], 1),
    row(Code::LockDrift, "R006", "LockDrift", &[409], 4),
    row(Code::DaemonUnreachable, "R007", "DaemonUnreachable", &[], 9),
    row(Code::ConfigInvalid, "R008", "ConfigInvalid", &[422], 2),
    row(Code::Internal, "R009", "Internal", &[500], 1),
    row(Code::StoreUnavailable, "R010", "StoreUnavailable", &[503], 1),
    row(Code::RequestInvalid, "R011", "RequestInvalid", &[400, 404, 405, 408, 413, 431], 2),
];

impl Code {
    /// Returns the code's row in [`TABLE`].
    pub fn row(self) -> &'static CodeRow {
        // The table is in the order of the enum; a test holds it.
        &TABLE[self as usize]
    }

    /// Returns the row of a code as printed, such as `E001`.
    pub fn named(text: &str) -> Option<&'static CodeRow> {
        TABLE.iter().find(|row| row.text == text)
    }
}

/// Why a call has no answer: what callers see of an error.
///
/// **Shape**: RFC 9457 `application/problem+json` with `code`, `reason`, `hint`, `requestId` and structured context.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The code.
    pub code: Code,
    /// An HTTP status other than the code's usual one.
    pub status: Option<u16>,
    /// The dotted reason that programs read.
    pub reason: Cow<'static, str>,
    /// One sentence for people: what was attempted, on what, what was found.
    pub detail: String,
    /// The next step, where it is known.
    pub hint: Option<String>,
    /// Further members of the problem document.
    pub context: Map<String, Value>,
}

impl Failure {
    /// Makes a failure.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Failure {
        Failure {
            code,
            status: None,
            reason: reason.into(),
            detail: detail.into(),
            hint: None,
            context: Map::new(),
        }
    }

    /// Makes a failure from what a reader said about a text.
    pub fn of(code: Code, error: &ParseError) -> Failure {
        let mut failure = Failure::new(code, error.reason.clone(), error.to_string())
            .with("expected", &error.expected)
            .with("found", &error.found);
        if !error.field.is_empty() {
            failure = failure.with("field", &error.field);
        }
        match error.position {
            Some(at) => failure.with("line", at.line).with("column", at.column),
            None => failure,
        }
    }

    /// Makes a failure of a refusal, under the code of its reason.
    pub fn of_refusal(refusal: &Refusal) -> Failure {
        Failure::new(code_of(&refusal.reason), refusal.reason.clone(), refusal.to_string())
            .with("subject", &refusal.subject)
            .with("expected", &refusal.expected)
            .with("found", &refusal.found)
    }

    /// Makes a failure from what a reader said about a reference, id or requirement.
    pub fn of_reference(error: &ParseError) -> Failure {
        let hint = match error.reason.as_ref() {
            "input.requirement" => "join comparators with commas, such as >=1.2, <2",
            _ => "write an id such as lcod://tooling/array/pluck, with a requirement such as @^1 behind it",
        };
        Failure::of(Code::ReferenceInvalid, error).hint(hint)
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a member of the problem document.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Failure {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.context.insert(name.to_owned(), value);
        self
    }

    /// Answers with `status` instead of the code's usual one.
    pub fn status(mut self, status: u16) -> Failure {
        self.status = Some(status);
        self
    }

    /// Returns the problem document; `None` as request id leaves it out.
    pub fn problem(&self, request_id: Option<&str>) -> Value {
        let row = self.code.row();
        let mut problem = self.context.clone();
        problem.insert("type".into(), format!("urn:resolverd:error:{}", row.text).into());
        problem.insert("title".into(), row.name.into());
        problem.insert("status".into(), self.http_status().into());
        problem.insert("detail".into(), self.detail.as_str().into());
        problem.insert("code".into(), row.text.into());
        problem.insert("reason".into(), self.reason.as_ref().into());
        if let Some(hint) = &self.hint {
            problem.insert("hint".into(), hint.as_str().into());
        }
        if let Some(id) = request_id {
            problem.insert("requestId".into(), id.into());
        }
        Value::Object(problem)
    }

    /// Returns the reply that carries the problem document.
    pub fn reply(&self, request_id: Option<&str>) -> Reply {
        let body = self.problem(request_id).to_string().into_bytes();
        Reply { status: self.http_status(), content_type: PROBLEM_JSON, body }
    }

    fn http_status(&self) -> u16 {
        self.status.or(self.code.row().statuses.first().copied()).unwrap_or(500)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} [{} {}]", self.detail, self.code.row().text, self.reason)
    }
}

/// The body of `POST /v1/resolve`. `null` and the empty value of a field mean the same as leaving it out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveRequest {
    /// The references: one joint question, all or nothing.
    pub requests: Vec<RequestText>,
    /// Ids and prefixes that the caller implements itself.
    #[serde(default)]
    pub natives: Vec<NativeText>,
    /// Host versions, such as `{"estream": "0.9.0"}`: they meet requirements on these ids, and nothing else does.
    #[serde(default)]
    pub platforms: Option<BTreeMap<String, String>>,
    /// The host to build for; nothing uses it in this version.
    #[serde(default)]
    pub target: Option<Map<String, Value>>,
    /// A project's wishes.
    #[serde(default, deserialize_with = "optional_object")]
    pub overlay: Option<Overlay>,
    /// The releases that a lock holds, as `id@version`: preferred, and chosen even where they were withdrawn.
    #[serde(default)]
    pub lock: Option<Vec<String>>,
    /// The snapshot that answers, or the start of its digest; the one in force where it is missing.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Sync first, then answer from the new generation.
    #[serde(default)]
    pub refresh: bool,
    /// Prereleases count as ordinary versions.
    #[serde(default)]
    pub prerelease: bool,
    /// Put the files of everything that is chosen on disk, and say where: `directory`.
    #[serde(default)]
    pub materialize: bool,
    /// Where files are fetched from instead, those of direct references among them: the start of an `https://` address, and what it
    /// becomes. Never what a sync reads.
    #[serde(default)]
    pub mirrors: Option<BTreeMap<String, String>>,
    /// What becomes of calls that the `compose.yaml` of a chosen release makes and its descriptor does not declare: `off` (the
    /// default) reads no compose file, `follow` requires them as well with a warning, `strict` is an error that names them.
    #[serde(default)]
    pub calls: Option<String>,
    /// Fetch nothing for files and calls: only what cache and shelf have is used.
    #[serde(default)]
    pub offline: bool,
}

/// One request: a reference, or an id with its requirement.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a reference such as lcod://ns/name@^1, or {\"id\": …, \"version\": …}")]
pub enum RequestText {
    /// `lcod://tooling/array/pluck@^0.1`.
    Reference(String),
    /// `{"id": "lcod://tooling/array/pluck", "version": "^0.1"}`.
    Parts(#[serde(deserialize_with = "object")] RequestParts),
}

/// An id and the requirement on its version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestParts {
    /// The id.
    pub id: String,
    /// The requirement; any stable version where it is missing.
    #[serde(default)]
    pub version: Option<String>,
}

/// Something that the caller implements itself: text, or an id with the schemas that come with it.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a native such as \"lcod://contract/\", or {\"id\": …, \"version\": …, \"provides\": […]}"
)]
pub enum NativeText {
    /// `lcod://contract/`, `lcod://tooling/script@1`.
    Text(String),
    /// `{"id": "estream:esf-trading", "version": "1.2.0", "provides": ["EStreamOrder"]}`.
    Parts(#[serde(deserialize_with = "object")] NativeParts),
}

/// An id that the caller implements itself, and what comes with it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeParts {
    /// The id.
    pub id: String,
    /// The requirement that it meets; every one where it is missing.
    #[serde(default)]
    pub version: Option<String>,
    /// The schemas that it provides (seed 002 section 2.1): what other components require is met by them, and nothing else of the
    /// answer may provide one of them.
    #[serde(default)]
    pub provides: Vec<String>,
}

/// The body of `POST /v1/lookup`: references, each answered on its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// The references, at most [`REFERENCES_MAX`].
    pub ids: Vec<String>,
    /// The snapshot that answers, or the start of its digest; the one in force where it is missing.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// The body of `POST /v1/sync`; an empty body means every source.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// The sources to read again; all where it is empty.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// The body of `POST /v1/reload`: nothing, or an empty object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {}

/// The body of `POST /v1/trust/forget`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// The source whose revisions are forgotten. Exactly one of this and `release` is given.
    #[serde(default)]
    pub source: Option<String>,
    /// One of its catalogues; the source and all of them where it is missing.
    #[serde(default)]
    pub catalogue: Option<String>,
    /// The version whose bytes are forgotten, such as `lcod://ns/name@1.0.0`.
    #[serde(default)]
    pub release: Option<String>,
    /// Why, for the logs; at most [`REASON_CHARS_MAX`] characters on one line.
    pub reason: String,
}

/// The body of `POST /v1/trust/reset`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// The clock is taken for right, though a later one was seen; otherwise what is lost is accepted.
    #[serde(default)]
    pub clock: bool,
    /// Why, for the audit log; at most [`REASON_CHARS_MAX`] characters on one line.
    pub reason: String,
}

/// The body of `POST /v1/policy/test`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTestRequest {
    /// The text of the policy.
    pub policy: String,
    /// The text of every key file, by the name that the policy has for it.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// The `nextCursor` of the answer before, for the next part of a long list.
    #[serde(default)]
    pub cursor: Option<String>,
    /// How many changes at most.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Reads a request body: strict JSON, then the typed form.
///
/// **Errors**: R011 with `input.*` (the JSON itself) or `api.body` (its fields), with line and column.
pub fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let text =
        json::check(body).map_err(|error| Failure::of(Code::RequestInvalid, &error).hint(BODY_HINT))?;
    let fault = |message: &str| {
        Failure::new(Code::RequestInvalid, "api.body", format!("cannot read the request body: {message}"))
            .hint(BODY_HINT)
    };
    // What serde derives would also take the fields from an array, in the order of their declaration.
    if !text.trim_start().starts_with('{') {
        return Err(fault("expected an object").with("line", 1).with("column", 1));
    }
    serde_json::from_str(text).map_err(|error| {
        let message: String = error.to_string().chars().take(MESSAGE_CHARS_MAX).collect();
        fault(&message).with("line", error.line()).with("column", error.column())
    })
}

const BODY_HINT: &str = "GET /openapi.json describes every request";

/// Reads a part of a body from an object only, for the reason that [`read_body`] has.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    let fields = Map::<String, Value>::deserialize(from)?;
    T::deserialize(Value::Object(fields)).map_err(D::Error::custom)
}

pub(crate) fn optional_object<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let Some(fields) = Option::<Map<String, Value>>::deserialize(from)? else { return Ok(None) };
    T::deserialize(Value::Object(fields)).map(Some).map_err(D::Error::custom)
}

/// The answer to a resolve: what stands before its `components`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedHead<'a> {
    /// The snapshot that answered.
    pub snapshot: &'a Digest,
    /// Its generation.
    pub generation: u64,
    /// Sources that speak from their last good documents, sorted.
    pub stale: BTreeSet<SourceId>,
    /// The chosen `id@version` for each request, in its order.
    pub roots: &'a [String],
}

/// The answer to a resolve: what stands behind its `components`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedTail<'a> {
    /// References that natives satisfy.
    pub natives: &'a [String],
    /// Catalogued components that a native hides.
    pub shadowed: Vec<HiddenRow<'a>>,
    /// Which components stand for others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub substitutions: Vec<SubstitutionRow<'a>>,
    /// What the caller should know.
    pub warnings: Vec<&'a Warning>,
}

/// One component that stands for another.
#[derive(Debug, Serialize)]
pub struct SubstitutionRow<'a> {
    /// The id that is asked for.
    pub id: &'a str,
    /// The id that answers.
    pub to: &'a str,
    /// What says so: `replace` or `binding`.
    pub by: &'static str,
}

/// Why a source or catalogue is not what it should be, and what accepts or mends it.
#[derive(Debug, Serialize)]
pub struct TroubleRow<'a> {
    /// What was read, expected and found.
    #[serde(flatten)]
    pub refusal: &'a Refusal,
    /// The next command.
    pub hint: String,
}

impl<'a> TroubleRow<'a> {
    /// Says what helps against `refusal` of a source, or of one of its catalogues.
    pub fn of(refusal: &'a Refusal, source: &SourceId, catalogue: Option<&SourceId>) -> TroubleRow<'a> {
        TroubleRow { refusal, hint: remedy(&refusal.reason, source, catalogue) }
    }
}

/// Returns the command that accepts or mends what `reason` says about a source, or about one of its catalogues.
pub fn remedy(reason: &str, source: &SourceId, catalogue: Option<&SourceId>) -> String {
    let family = reason.split_once('.').map_or(reason, |(family, _)| family);
    match (reason, family) {
        _ if is_out_of_order(reason) => {
            let below = catalogue.map(|name| format!("/{name}")).unwrap_or_default();
            format!("resolverd trust forget {source}{below} --reason TEXT accepts it")
        }
        _ if is_of_policy(reason) || reason.starts_with("trust.signature") => {
            format!("resolverd sync {source}, once its owner has signed it as the trust policy asks")
        }
        (_, "trust") => {
            format!("resolverd sync {source}, once its owner has published what the pin promises")
        }
        (_, "offline") => {
            format!(
                "resolverd sync {source}, once neither --offline nor its own offline keeps it on the shelf"
            )
        }
        // Those of the formats, which no configuration moves.
        ("limit.skipped" | "limit.document_bytes" | "limit.listing_levels", _)
        | (_, "input" | "catalogue") => {
            format!("resolverd sync {source}, once its owner has corrected the document")
        }
        (_, "limit") => format!("resolverd sync {source}, once config.toml allows more below [limits]"),
        _ => format!("resolverd sync {source}, once it can be reached"),
    }
}

/// What helps where another version of the program wrote the newest generation.
pub const ANOTHER_FORMAT: &str =
    "resolverd sync makes one with this version of the program, or use the version that wrote it";

/// The reason of a problem: what the last sync found could not be kept.
pub const UNWRITTEN: &str = "store.unwritten";

/// Returns what helps against a problem of the store; `None` where its text says so.
pub fn remedy_of_store(reason: &str) -> Option<&'static str> {
    match reason {
        "store.read_only" => Some(
            "make the state directory writable for this user, or run as its owner; resolverd doctor says more",
        ),
        UNWRITTEN => Some(
            "see to the disk that is named: the last generation is served meanwhile, and the next sync tries again",
        ),
        reason if is_of_another_format(reason) => Some(ANOTHER_FORMAT),
        _ => None,
    }
}

/// Gives the reason of a refusal its code.
pub fn code_of(reason: &str) -> Code {
    match reason.split_once('.').map_or(reason, |(family, _)| family) {
        "trust" if reason == "trust.rollback" => Code::Rollback,
        "trust" if matches!(reason, "trust.digest_mismatch" | "trust.size_mismatch") => {
            Code::ChecksumMismatch
        }
        "trust" if reason.starts_with("trust.signature") => Code::SignatureInvalid,
        "trust" if is_of_policy(reason) => Code::PermissionDenied,
        "policy" => Code::PermissionDenied,
        "estream" => match seal::broken(reason).as_ref().and_then(|told| told.get("result")?.as_str()) {
            Some("ChecksumMismatch") => Code::ChecksumMismatch,
            Some("UnknownKey") => Code::UnknownPublisher,
            Some(_) => Code::SignatureInvalid,
            None if reason == seal::NAME_RESERVED => Code::NameReserved,
            None if reason == seal::SCOPE_OWNED => Code::PermissionDenied,
            None => Code::ManifestInvalid,
        },
        "resolve" if is_of_policy(reason) => Code::PermissionDenied,
        "offline" => Code::NetworkError,
        "limit" => Code::LimitExceeded,
        "no_space" => Code::StoreUnavailable,
        "cache" => Code::CacheCorrupted,
        "net" | "source" | "sync" | "shelf" => Code::SourceUnavailable,
        "git" if matches!(reason, "git.repository_missing" | "git.commit_missing" | "git.ref_missing") => {
            Code::SourceUnavailable
        }
        _ => Code::ManifestInvalid,
    }
}

/// Tells whether a reason is one of the trust policy's.
pub fn is_of_policy(reason: &str) -> bool {
    matches!(
        reason,
        "trust.no_rule"
            | "trust.source_not_allowed"
            | "trust.unpinned"
            | "trust.frozen"
            | "trust.digest_missing"
            | "trust.digest_weak"
            | "trust.version_mutated"
            | "trust.unsigned"
            | "trust.threshold"
            | "trust.from_future"
            | "trust.algorithm_mismatch"
            | "trust.algorithm_missing"
            | "trust.statement_mismatch"
            | "trust.age_unknown"
            | "trust.too_young"
            | "trust.no_agreement"
            | "resolve.dep_not_allowed"
            | "trust.exception_expired"
            | "trust.delegation_scope"
            | "trust.rotation"
            | "trust.rotation_gap"
            | "trust.removed"
    ) || reason.starts_with("trust.key_")
}

/// Tells whether `reason` refuses a revision for its place in time, which only an operator may accept.
pub fn is_out_of_order(reason: &str) -> bool {
    matches!(reason, "trust.rollback" | "trust.order_unknown" | "trust.removed")
}

/// A catalogued component that a native of the caller hides.
#[derive(Debug, Serialize)]
pub struct HiddenRow<'a> {
    /// Its id.
    pub id: &'a ComponentId,
    /// Its source.
    pub source: &'a SourceId,
    /// Its catalogue.
    pub catalogue: &'a SourceId,
    /// The versions that it lists.
    pub versions: Vec<&'a Version>,
    /// What hides it: `native`.
    pub by: &'static str,
}

/// One page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<'a, T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `null` on the last.
    pub next_cursor: Option<String>,
    /// The snapshot that answered.
    pub snapshot: &'a Digest,
}

/// A component in a list.
#[derive(Debug, Serialize)]
pub struct ComponentRow<'a> {
    /// Its id.
    pub id: &'a ComponentId,
    /// What `latest` means; `null` where nothing may be used.
    pub latest: Option<&'a Version>,
    /// How many versions there are.
    pub versions: usize,
    /// `component`, `contract`, … where a descriptor says so.
    pub kind: Option<&'a str>,
    /// One line that describes it.
    pub summary: Option<&'a str>,
    /// The source that owns it.
    pub source: &'a SourceId,
    /// The catalogue that owns it.
    pub catalogue: &'a SourceId,
    /// The verdict on the latest, or on the newest where nothing may be used.
    pub verdict: &'static str,
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// Catalogues that list it too and are not used.
    pub shadowed: Vec<ShadowRow<'a>>,
}

/// One version of a component in a list.
#[derive(Debug, Serialize)]
pub struct VersionRow<'a> {
    /// The version.
    pub version: &'a Version,
    /// Withdrawn by its author.
    pub yanked: bool,
    /// A prerelease.
    pub prerelease: bool,
    /// `pinned`, `unpinned` or `refused`.
    pub verdict: &'static str,
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// Why it may not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a Refusal>,
    /// The digest of its manifest; `null` for rows without one, `unfetched` where its documents have not been fetched.
    pub manifest: ManifestRow<'a>,
}

/// A kept snapshot in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRow<'a> {
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub snapshot: &'a Digest,
    /// When it was committed: RFC 3339, UTC, whole seconds.
    pub committed_at: String,
    /// How many components it has.
    pub components: usize,
    /// How many catalogues and lists.
    pub catalogues: usize,
    /// How many sources.
    pub sources: usize,
    /// Sources that speak from their last good documents, sorted.
    pub stale: BTreeSet<SourceId>,
    /// It is the one in force.
    pub current: bool,
    /// It may be asked: its verdicts are those of the policies in force.
    pub answers: bool,
}

/// One page of what differs between two snapshots.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffPage<'a> {
    /// The snapshot before.
    pub from: SnapshotName<'a>,
    /// The snapshot after.
    pub to: SnapshotName<'a>,
    /// How many components were added, removed and changed, on all pages together.
    pub counts: DiffCounts,
    /// Sources that differ; the same on every page.
    pub sources: Vec<SourceChange<'a>>,
    /// Components that differ, in the order of their ids.
    pub items: Vec<ComponentChange>,
    /// Where the next page starts; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A snapshot and its generation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SnapshotName<'a> {
    /// The generation.
    pub generation: u64,
    /// The digest.
    pub snapshot: &'a Digest,
}

/// How many components differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DiffCounts {
    /// Only the later snapshot has them.
    pub added: usize,
    /// Only the earlier snapshot has them.
    pub removed: usize,
    /// Both have them, not alike.
    pub changed: usize,
}

/// How one thing differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the later one has it.
    Added,
    /// Only the earlier one has it.
    Removed,
    /// Both have it, not alike.
    Changed,
}

/// What a value was and is.
#[derive(Debug, Serialize)]
pub struct Pair<T> {
    /// Before.
    pub from: T,
    /// After.
    pub to: T,
}

/// A component that differs.
#[derive(Debug, Serialize)]
pub struct ComponentChange {
    /// Its id.
    pub id: ComponentId,
    /// How.
    pub change: Change,
    /// The catalogue that owns it, as `source/catalogue`, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Pair<String>>,
    /// Its releases that differ, oldest first.
    pub releases: Vec<ReleaseChange>,
}

/// A release that differs.
#[derive(Debug, Serialize)]
pub struct ReleaseChange {
    /// Its version.
    pub version: Version,
    /// How.
    pub change: Change,
    /// The digest of its manifest, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Pair<Option<Digest>>>,
    /// Its verdict, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Pair<&'static str>>,
    /// Whether its author has withdrawn it, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yanked: Option<Pair<bool>>,
}

/// A source that differs.
#[derive(Debug, Serialize)]
pub struct SourceChange<'a> {
    /// Its id.
    pub id: &'a SourceId,
    /// How.
    pub change: Change,
    /// How it stands, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Pair<Health>>,
    /// The digest of its entry document, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Pair<Option<&'a Digest>>>,
}

/// What pins a document.
#[derive(Debug, Serialize)]
pub struct PinRow<'a> {
    /// A commit.
    pub commit: Option<&'a CommitId>,
    /// Digests, all of which must hold.
    pub digests: &'a [Digest],
}

/// A source or catalogue in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow<'a> {
    /// Its id; for a catalogue the id within its source.
    pub id: &'a SourceId,
    /// The labels of the keys whose signatures over it, or over what pins it, the trust policies accept.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub signers: &'a [String],
    /// The source that a catalogue belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a SourceId>,
    /// The id that the document gives itself, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<&'a SourceId>,
    /// The lists that lead to it, nearest last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Vec<String>>,
    /// The dialect of a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'static str>,
    /// What a source's entry is read from: `git`, `file` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<&'static str>,
    /// The priority of a source; lower wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Namespaces that answer "unavailable" until the source has been read once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owns: Option<&'a [Namespace]>,
    /// A source that is never fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<bool>,
    /// How it stands.
    pub state: Health,
    /// Where it lies.
    pub location: String,
    /// The file that names a source, where that is not the sources file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<&'a str>,
    /// What pins it.
    pub pin: PinRow<'a>,
    /// The commit at which it was read.
    pub commit: Option<&'a CommitId>,
    /// The digest of its bytes: its revision.
    pub digest: Option<&'a Digest>,
    /// Seconds since its last successful check, where that is known.
    pub age_seconds: Option<u64>,
    /// When a source becomes unavailable unless it is checked before, in RFC 3339; `null` where it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_change: Option<Option<String>>,
    /// How many catalogues a source has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogues: Option<usize>,
    /// How many releases it lists.
    pub releases: u64,
    /// How many of them are refused.
    pub refused: u64,
    /// How many entries were skipped.
    pub skipped: u64,
    /// The first skipped entries of a catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_entries: Option<&'a [Skipped]>,
    /// What a reader of a catalogue should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<&'a [Warning]>,
    /// Why the last sync could not use it, or a catalogue of a source.
    pub error: Option<TroubleRow<'a>>,
    /// The catalogue of a source that `error` is about, where it is not the source's own entry document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<&'a SourceId>,
    /// `pinned`, `unpinned`, `refused`, or `null` while it has never been read.
    pub verdict: Option<&'static str>,
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
}

/// The reason of what is refused because the caller is no admin.
pub const FOR_ADMINS: &str = "caller";

/// Returns what a refresh by a caller without the right to sync is answered.
pub fn forbidden(what: &str) -> Failure {
    Failure::new(Code::PermissionDenied, FOR_ADMINS, format!("{what} is for the daemon's own user and root"))
        .hint("run it as the user of the daemon, or as somebody whom admin.sock beside its socket lets in")
}

/// Returns why nobody can bind or connect to a socket at `path`, where its length is the reason.
pub fn socket_path_too_long(path: &Path) -> Option<String> {
    let bytes = path.as_os_str().len();
    let text = format!("a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this one has {bytes}");
    (bytes > SOCKET_PATH_BYTES_MAX).then_some(text)
}

/// The next step where a socket's path is too long.
pub const SHORTER_SOCKET: &str = "name a shorter path with --socket or RESOLVERD_SOCKET";

/// Returns the repository's text.
pub fn repository_text(repository: Option<&Repository>) -> Option<String> {
    repository.map(ToString::to_string)
}

/// Returns a body for a resolve of `requests`.
pub fn resolve_body(requests: &[String], natives: &[String], prerelease: bool, refresh: bool) -> Value {
    json!({"requests": requests, "natives": natives, "prerelease": prerelease, "refresh": refresh})
}

/// Where the path of a component starts.
pub const BELOW_COMPONENTS: &str = "/v1/components/";

/// Returns the path of a component, its id percent-encoded as one segment.
pub fn encoded_path(id: &ComponentId) -> String {
    format!("{BELOW_COMPONENTS}{}", encoded(id.as_text()))
}

/// Returns `text` percent-encoded as one path segment or query value.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_codes() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, index, "{}", row.text);
            assert_eq!(row.code.row().text, row.text);
            assert_eq!(format!("{:?}", row.code), row.name);
            assert_eq!(Code::named(row.text).unwrap().name, row.name);
        }
        assert!(Code::named("E999").is_none());
    }

    #[test]
    fn the_remedy_names_who_can_apply_it() {
        let source = SourceId::parse("acme").unwrap();
        let check = |reason: &str, expected: &str| {
            let found = remedy(reason, &source, None);
            assert!(found.starts_with("resolverd ") && found.contains(expected), "{reason}: {found}");
        };
        check("limit.total_s", "config.toml");
        check("limit.depth", "config.toml");
        check("limit.skipped", "its owner");
        check("input.json", "its owner");
        check("offline", "its own offline");
        check("trust.rollback", "trust forget acme");
        check("trust.removed", "trust forget acme");
        check("trust.rotation", "has signed it as the trust policy asks");
        check("net.dns", "be reached");
    }

    #[test]
    fn a_problem_has_the_fields_of_rfc_9457_and_ours() {
        let failure = Failure::new(Code::ComponentNotFound, "component_unknown", "nobody lists lcod://a/b")
            .hint("resolverd components")
            .with("nearest", ["lcod://a/c"]);
        let reply = failure.reply(Some("7"));
        assert_eq!((reply.status, reply.content_type), (404, PROBLEM_JSON));
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            problem,
            json!({
                "type": "urn:resolverd:error:E001", "title": "ComponentNotFound", "status": 404,
                "detail": "nobody lists lcod://a/b", "code": "E001", "reason": "component_unknown",
                "hint": "resolverd components", "requestId": "7", "nearest": ["lcod://a/c"]
            })
        );
        assert_eq!(failure.status(410).reply(None).status, 410);
    }

    #[test]
    fn bodies_are_read_strictly() {
        let check = |body: &str, expected: &str| {
            let found = match read_body::<ResolveRequest>(body.as_bytes()) {
                Ok(request) => format!("{} requests", request.requests.len()),
                Err(failure) => failure.to_string(),
            };
            assert!(found.contains(expected), "{body}: {found}");
        };
        check(r#"{"requests": ["a/b", {"id": "c/d"}, {"id": "c/d", "version": "^1"}]}"#, "3 requests");
        check(r#"{"requests": [], "overlay": null, "lock": null, "target": {}}"#, "0 requests");
        check(r#"{"requests": [], "frefresh": true}"#, "unknown field `frefresh`");
        check(r#"{"requests": [{"id": "a/b", "versoin": "1"}]}"#, "a reference such as");
        check(r#"{"requests": [7]}"#, "a reference such as");
        check(r#"{"natives": []}"#, "missing field `requests`");
        check(r#"[["a/b"], [], null, null, null, null, null, false, false, false]"#, "expected an object");
        check("null", "expected an object");
        check(r#"{"requests": [["a/b", "^1"]]}"#, "a reference such as");
        check(r#"{"requests": [], "overlay": [null, null, null, null]}"#, "invalid type: sequence");
        check(r#"{"requests": [], "overlay": {"repalce": {}}}"#, "unknown field `repalce`");
        check(r#"{"requests": []} x"#, "R011");
        check("", "R011");
    }
}
