//! What requests for locks and for judgements of locks look like, and what they answer.
//!
//! Types only, as in [`crate::api`].

use std::collections::BTreeSet;

use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::lockfile::LOCK_BYTES_MAX;
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::version::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{RequestText, ResolveRequest, object};

/// The body of `POST /v1/lock`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// What is resolved: the body of `POST /v1/resolve`. What stands in its `lock` stays as it is, as far as it can.
    #[serde(deserialize_with = "object")]
    pub resolve: ResolveRequest,
    /// `resolverd` (the default) for `resolverd.lock`, `lcp` for `lcp.lock`.
    #[serde(default)]
    pub form: Option<String>,
    /// The project as `id@version`, which `lcp.lock` names.
    #[serde(default)]
    pub project: Option<String>,
    /// What the project's own `compose.yaml` calls and its `lcp.toml` does not require: locked beside the requests, as calls.
    #[serde(default)]
    pub called: Vec<RequestText>,
    /// The snapshot that answers, or the start of its digest; the one in force where it is missing.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// The body of `POST /v1/lock/check`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockCheckRequest {
    /// The text of the lock, in either form.
    pub lock: String,
    /// Tell `lock.invalidated` on `/v1/events` when it ceases to hold, for [`WATCH_S`] seconds from now; a daemon only.
    #[serde(default)]
    pub watch: bool,
    /// The snapshot that judges, or the start of its digest; the one in force where it is missing.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// Where locks are judged.
pub const LOCK_CHECK: &str = "/v1/lock/check";
/// The largest body there: the largest lock, with a quarter more for what JSON escapes.
pub const LOCK_BODY_BYTES_MAX: usize = LOCK_BYTES_MAX + LOCK_BYTES_MAX / 4;
/// How many bodies above the usual size are read and judged there at once.
pub const LARGE_LOCKS_MAX: usize = 8;
/// How many locks are watched at once, for all users.
pub const WATCHES_MAX: usize = 256;
/// How many locks are watched at once for one user.
pub const WATCHES_PER_UID_MAX: usize = 64;
/// How many bytes the texts of the locks have together that are watched for one user; for all users it is four times as much.
pub const WATCHED_BYTES_PER_UID_MAX: usize = LOCK_BYTES_MAX;
/// How many bytes the texts of all watched locks have together.
pub const WATCHED_BYTES_MAX: usize = 4 * WATCHED_BYTES_PER_UID_MAX;
/// How long a lock is watched after it was last registered, in seconds.
pub const WATCH_S: u64 = 3600;
/// How many findings one event names; all are counted.
pub const FINDINGS_TOLD: usize = 20;

/// The answer to `POST /v1/lock`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockMade<'a> {
    /// The snapshot that answered.
    pub snapshot: &'a Digest,
    /// Its generation.
    pub generation: u64,
    /// Sources that speak from their last good documents, sorted.
    pub stale: BTreeSet<SourceId>,
    /// `resolverd` or `lcp`.
    pub form: &'static str,
    /// The usual name of the file.
    pub file: &'static str,
    /// The lockfile.
    pub text: String,
    /// The digest of the text.
    pub digest: Digest,
    /// The releases, sorted by id.
    pub components: Vec<LockedRow<'a>>,
    /// What the host answers itself, sorted.
    pub natives: BTreeSet<String>,
    /// What the caller should know.
    pub warnings: Vec<&'a Warning>,
    /// By what the lock was made; no part of the lock, which is equal on every machine.
    pub receipt: Receipt<'a>,
}

/// A release of a lock.
#[derive(Debug, Serialize)]
pub struct LockedRow<'a> {
    /// The component.
    pub id: &'a ComponentId,
    /// The version.
    pub version: &'a Version,
    /// Withdrawn by its author.
    pub yanked: bool,
}

/// By what a lock was made.
#[derive(Debug, Serialize)]
pub struct Receipt<'a> {
    /// `resolverd/receipt@1`.
    pub schema: &'static str,
    /// The digest of the lock's text.
    pub lock: Digest,
    /// The snapshot.
    pub snapshot: &'a Digest,
    /// Its generation.
    pub generation: u64,
    /// The trust policies in force; `null` where there is none.
    pub policy: Value,
    /// The exceptions of the policies without which a release would not be in the lock.
    pub exceptions: Vec<ExceptionRow>,
}

/// The schema of a receipt.
pub const RECEIPT_SCHEMA: &str = "resolverd/receipt@1";

/// An exception that a release needed.
#[derive(Debug, Serialize)]
pub struct ExceptionRow {
    /// The release, as `id@version`.
    pub release: String,
    /// What the exception says.
    pub text: String,
}

/// The answer to `POST /v1/lock/check`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockChecked<'a> {
    /// The snapshot that judged.
    pub snapshot: &'a Digest,
    /// Its generation.
    pub generation: u64,
    /// Sources that speak from their last good documents, sorted.
    pub stale: BTreeSet<SourceId>,
    /// The digest of the lock's text, by which events name it.
    pub lock: Digest,
    /// Nothing was found.
    pub holds: bool,
    /// How many releases the lock has.
    pub components: usize,
    /// What no longer holds, by id.
    pub findings: Vec<FindingRow>,
    /// For how many seconds from now events tell of it; `null` where nobody asked for that.
    pub watched_seconds: Option<u64>,
}

/// Why a release of a lock no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingRow {
    /// The component.
    pub id: ComponentId,
    /// The locked version.
    pub version: Version,
    /// `lock.yanked`, `lock.refused`, `lock.mutated`, `lock.missing`, `lock.drifted` or `lock.unavailable`.
    pub reason: &'static str,
    /// What the lock says.
    pub expected: String,
    /// What holds today.
    pub found: String,
    /// The next step.
    pub hint: String,
    /// Why it may not be used, where that is the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}
