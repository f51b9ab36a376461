//! What requests for files on disk look like, and what is answered. Types only: nothing here reads a file.
//!
//! A request never names a place on disk: the daemon writes below its own cache, and answers where that is.

use std::collections::BTreeMap;

use catalogue_schema::digest::Digest;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::CommitId;
use serde::{Deserialize, Serialize};

use crate::api::{ResolveRequest, optional_object};

/// The longest name of a hold, in bytes.
pub const HOLD_BYTES_MAX: usize = 1024;

/// The body of `POST /v1/materialize`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaterializeRequest {
    /// References: exact versions, or requirements of which the newest release that meets them is taken; dependencies are not
    /// followed.
    #[serde(default)]
    pub releases: Vec<String>,
    /// Instead of `releases`: the body of `POST /v1/resolve`, everything that is chosen being wanted.
    #[serde(default, deserialize_with = "optional_object")]
    pub resolve: Option<ResolveRequest>,
    /// Lay a workspace out beside them.
    #[serde(default)]
    pub layout: Option<Layout>,
    /// Fetch nothing: what is not in the cache is refused.
    #[serde(default)]
    pub offline: bool,
    /// Fetch everything again, whatever the cache has: for admins; not together with `offline`.
    #[serde(default)]
    pub refetch: bool,
    /// Who needs these releases from now on: `gc` keeps them until the hold is given up.
    #[serde(default)]
    pub hold: Option<String>,
    /// Where their files are fetched from instead: the start of an `https://` address, and what it becomes.
    #[serde(default)]
    pub mirrors: BTreeMap<String, String>,
}

/// How a directory of several releases is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The workspace that LCOD kernels find through `LCOD_COMPONENTS_PATH`.
    LcodView,
}

/// The body of `POST /v1/locate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocateRequest {
    /// The reference.
    pub id: String,
    /// Fetch nothing.
    #[serde(default)]
    pub offline: bool,
    /// Where its files are fetched from instead: the start of an `https://` address, and what it becomes.
    #[serde(default)]
    pub mirrors: BTreeMap<String, String>,
}

/// The body of `POST /v1/files/verify`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// Only these releases, as `id@version`; all that are in the cache where none is named.
    #[serde(default)]
    pub releases: Vec<String>,
}

/// The body of `POST /v1/files/gc`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectRequest {
    /// Remove nothing, only say what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Holds that have ended: those of the caller, and those of everybody where root asks.
    #[serde(default)]
    pub ended: Vec<String>,
    /// How long something must not have been asked for to go, in seconds; an hour where it is not given.
    #[serde(default)]
    pub unused_s: Option<u64>,
    /// The workspaces in the cache go as well.
    #[serde(default)]
    pub views: bool,
    /// Only as much goes as brings the releases and their archives to so many bytes; what was asked for longest ago goes first.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// The body of `POST /v1/files/release`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The names of the holds that have ended: those of the caller, and those of everybody where root asks.
    pub holds: Vec<String>,
}

/// One file of a release, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// Its path in the directory.
    pub path: DocPath,
    /// The SHA-256 digest of its bytes.
    pub digest: Digest,
    /// Its Git object id, where it came out of a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<CommitId>,
    /// Its size in bytes.
    pub size: u64,
    /// It may be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Where the bytes were when they were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// They lay in the cache.
    Cache,
    /// They were fetched, or taken from the shelf, just now.
    Fetched,
}

/// A release on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesRow {
    /// The release, as `id@version`.
    pub release: String,
    /// The absolute directory that holds its files; nobody may write there.
    pub directory: String,
    /// The digest over the names, modes and digests of its files.
    pub integrity: Digest,
    /// The Git object id of the directory, where the release is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<CommitId>,
    /// Its files, by path.
    pub files: Vec<FileLine>,
    /// The path of its `compose.yaml`, where it has one.
    pub compose: Option<DocPath>,
    /// The path of its `lcp.toml`, where it has one.
    pub descriptor: Option<DocPath>,
    /// The absolute path of its archive as its publisher made it, where the release is one and the archive is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// How many bytes that archive has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_bytes: Option<u64>,
    /// Where the bytes were.
    pub from: Found,
}

/// A release in the cache, and what became of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyRow {
    /// The release.
    pub release: String,
    /// Its directory.
    pub directory: String,
    /// The digest over its files as they were published.
    pub integrity: Digest,
    /// What is not as it was published; nothing where all is well.
    pub changes: Vec<FileChange>,
}

/// A file that is not as it was published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path in the directory; the empty path is the directory itself.
    pub path: String,
    /// What became of it.
    pub what: Changed,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// It is there and was not published.
    Added,
    /// Its bytes are others.
    Changed,
    /// It is gone.
    Missing,
    /// It is no regular file, or may be written or executed otherwise than published.
    Mode,
    /// It is there and cannot be read.
    Unreadable,
}

/// What `gc` removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// Nothing was removed.
    pub dry_run: bool,
    /// The releases that went.
    pub removed: Vec<String>,
    /// How many bytes of files went with them, and of the archives that they came in.
    pub bytes: u64,
    /// How many releases stay.
    pub kept: u64,
    /// How many of these are held.
    pub held: u64,
    /// How many workspaces of the cache went.
    pub views: u64,
    /// What lies in the cache and is none of ours, or cannot be read: it stays.
    pub skipped: Vec<String>,
}

/// Who needs releases in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldRow {
    /// Its name.
    pub name: String,
    /// The user who made it, who alone may replace it; that user and root may end it.
    pub uid: u32,
    /// The releases.
    pub releases: Vec<String>,
}

/// A workspace in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRow {
    /// Its absolute directory.
    pub directory: String,
    /// How many components it holds.
    pub components: usize,
}
