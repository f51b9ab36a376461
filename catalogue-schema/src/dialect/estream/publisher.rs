//! `publishers/{name}.json`: who publishes a component, and with which keys they sign. Asks for the manifest of every version.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::dialect::estream::document::{ALGORITHM, KeyEntry, PublisherDocument, instant_of};
use crate::dialect::estream::manifest::ManifestTask;
use crate::dialect::estream::pending::{Listing, Pending, Row, errand};
use crate::dialect::estream::{MANIFEST, PUBLISHER_BYTES_MAX, Task};
use crate::dialect::{Errand, Finding, Received};
use crate::error::ParseError;
use crate::id::ComponentId;
use crate::json;
use crate::key::{KeyAlgorithm, PublicKey};
use crate::lexicon::Lexicon;
use crate::model::{Refusal, Trust};
use crate::path::DocPath;
use crate::pointer::Want;
use crate::seal::{KEY_UNKNOWN, KeyStatus, PUBLISHER_MALFORMED, PublisherKey, PublisherRecord};
use crate::version::Version;

/// The longest name of a publisher for people, in bytes: every release carries it.
const NAME_BYTES_MAX: usize = 256;
/// The most keys of one publisher that are read.
const KEYS_MAX: usize = 256;

/// What is known of a component before the record of its publisher is read.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherTask {
    pub(super) listing: Listing,
    pub(super) rows: Vec<(Version, Arc<Row>)>,
    pub(super) trust: Trust,
}

impl PublisherTask {
    pub(super) fn component(&self) -> &ComponentId {
        &self.listing.id
    }

    /// Returns the errand of the record.
    ///
    /// **Errors**: its path is too long.
    pub(super) fn errand(self) -> Result<Errand, (PublisherTask, ParseError)> {
        let path = DocPath::parse(&format!("publishers/{}.json", self.listing.publisher));
        match path.and_then(|path| self.listing.home.at(&path)) {
            Ok(location) => Ok(errand(Want::Blob(location), Task::Publisher(Box::new(self)))),
            Err(error) => Err((self, error)),
        }
    }

    /// Refuses every version.
    pub(super) fn refused(&self, refusal: &Refusal) -> Finding {
        let listing = Arc::new(self.listing.clone());
        let releases = self.rows.iter().flat_map(|(version, row)| {
            pending(&listing, version, row, &self.trust).refused(refusal.clone()).releases
        });
        Finding { releases: releases.collect(), ..Finding::default() }
    }
}

fn pending(listing: &Arc<Listing>, version: &Version, row: &Arc<Row>, trust: &Trust) -> Pending {
    Pending {
        listing: Arc::clone(listing),
        version: version.clone(),
        row: Arc::clone(row),
        trust: trust.clone(),
    }
}

/// Reads the record of a publisher.
///
/// **Errors**: `estream.publisher_malformed`, whatever is wrong with it.
pub(super) fn read(
    task: &PublisherTask,
    bytes: &[u8],
    received: &Received,
    lexicon: &mut Lexicon,
) -> Result<Finding, ParseError> {
    let name = &task.listing.publisher;
    let record = lexicon.publisher(name, &received.digest, || record(name, bytes))?;
    let listing = Arc::new(Listing { record, ..task.listing.clone() });
    let trust = task.trust.and(&received.trust);
    let mut finding = Finding::default();
    for (version, row) in &task.rows {
        let next = pending(&listing, version, row, &trust);
        match next.errand(MANIFEST, Task::Manifest(Box::new(ManifestTask { pending: next.clone() }))) {
            Ok(errand) => finding.errands.push(errand),
            Err(error) => {
                finding.releases.extend(next.refused(Refusal::of(next.full(), &error)).releases);
            }
        }
    }
    Ok(finding)
}

/// Reads the record of the publisher of this name.
///
/// **Errors**: `estream.publisher_malformed`, whatever is wrong with it.
pub(super) fn record(name: &str, bytes: &[u8]) -> Result<PublisherRecord, ParseError> {
    keyed(name, bytes).map_err(|error| ParseError { reason: PUBLISHER_MALFORMED.into(), ..error })
}

fn keyed(publisher: &str, bytes: &[u8]) -> Result<PublisherRecord, ParseError> {
    if bytes.len() > PUBLISHER_BYTES_MAX {
        let expected = format!("a record of at most {PUBLISHER_BYTES_MAX} bytes");
        return Err(ParseError::new(PUBLISHER_MALFORMED, expected, format!("{} bytes", bytes.len())));
    }
    let text = json::check(bytes)?;
    let document: PublisherDocument<&RawValue> = json::document(text)?;
    if document.name != publisher {
        let expected = format!("{publisher}, as its file is called");
        let error = ParseError::new(PUBLISHER_MALFORMED, expected, document.name).in_field("name");
        return Err(json::located(error, text));
    }
    if let Some(name) = document.display_name.as_ref().filter(|name| name.len() > NAME_BYTES_MAX) {
        let expected = format!("a name of at most {NAME_BYTES_MAX} bytes");
        let error = ParseError::new(PUBLISHER_MALFORMED, expected, name).in_field("display_name");
        return Err(json::located(error, text));
    }
    if document.signing_keys.len() > KEYS_MAX {
        let found = document.signing_keys.len().to_string();
        let error = ParseError::new(PUBLISHER_MALFORMED, format!("at most {KEYS_MAX} keys"), found);
        return Err(json::located(error.in_field("signing_keys"), text));
    }
    let entries = json::Document::of(text);
    let mut keys: Vec<(String, Result<PublisherKey, ParseError>)> = Vec::new();
    for (index, raw) in document.signing_keys.iter().enumerate() {
        let entry: KeyEntry = match entries.entry(raw) {
            Ok(entry) => entry,
            // What has no id is nobody's key.
            Err(_) => continue,
        };
        let placed =
            |error: ParseError| entries.in_entry(error, raw).in_field(format!("signing_keys[{index}]"));
        let id = entry.key_id.clone();
        let read = key(entry).map_err(placed);
        match keys.iter_mut().find(|(known, _)| *known == id) {
            None => keys.push((id, read)),
            Some((id, known)) => {
                let error = ParseError::new(KEY_UNKNOWN, "every key id once", &*id).in_field("key_id");
                *known = Err(placed(error));
            }
        }
    }
    let PublisherDocument { display_name, verified: is_verified, .. } = document;
    Ok(PublisherRecord { is_verified, display_name, keys })
}

fn key(entry: KeyEntry) -> Result<PublisherKey, ParseError> {
    let KeyEntry { key_id: id, algorithm, public_key_hex, created_at, expires_at, rotated_at, status } =
        entry;
    if algorithm != ALGORITHM {
        return Err(ParseError::new(KEY_UNKNOWN, ALGORITHM, algorithm).in_field("algorithm"));
    }
    let read = match public_key_hex.starts_with('-') {
        true => PublicKey::parse(public_key_hex.as_bytes()),
        false => PublicKey::from_hex(&public_key_hex.to_ascii_lowercase()),
    };
    let key = read.ok().filter(|key| key.algorithm() == KeyAlgorithm::MlDsa87).ok_or_else(|| {
        let (bytes, found) = (KeyAlgorithm::MlDsa87.public_bytes(), public_key_hex.len());
        let expected = format!("{bytes} bytes of an {ALGORITHM} key, as {} hex digits", 2 * bytes);
        ParseError::new(KEY_UNKNOWN, expected, format!("{found} characters")).in_field("public_key_hex")
    })?;
    let status = match status.as_str() {
        "active" => KeyStatus::Active,
        "rotated" => KeyStatus::Rotated,
        "revoked" => KeyStatus::Revoked,
        other => {
            let error = ParseError::new(KEY_UNKNOWN, "the status active, rotated or revoked", other);
            return Err(error.in_field("status"));
        }
    };
    let instant = |text: Option<String>, field: &str| {
        text.map(|text| instant_of(&text).map_err(|error| error.in_field(field))).transpose()
    };
    Ok(PublisherKey {
        id,
        key,
        status,
        created_s: instant(created_at, "created_at")?,
        expires_s: instant(expires_at, "expires_at")?,
        rotated_s: instant(rotated_at, "rotated_at")?,
    })
}
