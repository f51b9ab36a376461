//! What requests for documents as they were received look like, and what is answered. Types only.
//!
//! Documents are text. Each stands once in `contents`, under its SHA-256 digest, whichever releases rest on it.

use std::collections::BTreeMap;

use catalogue_schema::digest::Digest;
use catalogue_schema::id::SourceId;
use catalogue_schema::key::Fingerprint;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::CommitId;
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/documents`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentsRequest {
    /// Releases, as `id@version`.
    #[serde(default)]
    pub releases: Vec<String>,
    /// Publishers of eStream, by name: which keys the sources know them by.
    #[serde(default)]
    pub publishers: Vec<String>,
    /// The snapshot that must answer.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Documents {
    /// The snapshot that answered.
    pub snapshot: Digest,
    /// The releases, in the order in which they were asked for.
    pub items: Vec<DocumentsRow>,
    /// The publishers, in the order of the request and each name once, and each in the order of the sources that know it.
    pub publishers: Vec<PublisherRow>,
    /// The documents by their SHA-256 digests, verbatim.
    pub contents: BTreeMap<Digest, String>,
}

/// The documents that a release rests on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentsRow {
    /// The release, as `id@version`.
    pub release: String,
    /// The source that owns it.
    pub source: SourceId,
    /// Its repository, where it has one that has a name elsewhere too.
    pub repository: Option<String>,
    /// The commit at which they were read.
    pub commit: Option<CommitId>,
    /// SHA3-256 of its archive.
    pub archive: Option<Digest>,
    /// The documents.
    pub documents: Vec<DocumentLine>,
}

/// One document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentLine {
    /// Its path from the registry's root.
    pub path: DocPath,
    /// The digest of its bytes: its key in `contents`.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What a source knows of a publisher.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublisherRow {
    /// The publisher.
    pub publisher: String,
    /// The source.
    pub source: SourceId,
    /// The keys.
    pub keys: Vec<KeyLine>,
}

/// A key of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyLine {
    /// Its id in the record.
    pub id: String,
    /// SHA-256 of the key.
    pub key: Fingerprint,
    /// `active`, `rotated` or `revoked`.
    pub status: String,
    /// From when on it signs, in RFC 3339.
    pub created_at: Option<String>,
    /// Until when it signs.
    pub expires_at: Option<String>,
    /// When it was replaced.
    pub rotated_at: Option<String>,
}
