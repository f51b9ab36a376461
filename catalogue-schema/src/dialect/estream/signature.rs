//! `checksum.sha3` and `SIGNATURE.ml-dsa`: what the archive of a version is, and who says so. Compares, and computes nothing.

use crate::dialect::estream::document::{ALGORITHM, SignatureDocument, hex_of, sha3, whole};
use crate::dialect::estream::pending::{Described, Pending};
use crate::dialect::estream::{CHECKSUM_BYTES_MAX, SIGNATURE_BYTES_MAX, Task};
use crate::dialect::{Finding, Received};
use crate::digest::Digest;
use crate::error::ParseError;
use crate::json;
use crate::key::KeyAlgorithm;
use crate::model::Refusal;
use crate::seal::{
    CHECKSUM_MALFORMED, CHECKSUM_MISMATCH, KEY_ID_MISMATCH, KEY_UNKNOWN, PublisherKey, SIGNATURE_MALFORMED,
    Seal, Sealed, UNSUPPORTED_ALGORITHM,
};

/// The name of the only algorithm of checksums.
const CHECKSUM: &str = "SHA3-256";

/// What is known of a version before its checksum file is read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChecksumTask {
    pub(super) pending: Pending,
    pub(super) described: Described,
}

/// What is known of a version before its signature file is read.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureTask {
    pub(super) pending: Pending,
    pub(super) described: Described,
}

impl ChecksumTask {
    pub(super) fn refused(&self, refusal: Refusal) -> Finding {
        refused(&self.pending, &self.described, refusal)
    }
}

impl SignatureTask {
    pub(super) fn refused(&self, refusal: Refusal) -> Finding {
        refused(&self.pending, &self.described, refusal)
    }
}

fn refused(pending: &Pending, described: &Described, refusal: Refusal) -> Finding {
    let releases = pending.refused(refusal).releases.into_iter();
    Finding {
        releases: releases.map(|release| described.complete(pending, release)).collect(),
        ..Finding::default()
    }
}

/// Reads a checksum file: 64 hex digits, behind them the name of the archive or nothing.
///
/// **Errors**: `estream.checksum_malformed`; `estream.checksum_mismatch` where the metadata says another one.
pub(super) fn checksum(
    task: &ChecksumTask,
    bytes: &[u8],
    received: &Received,
) -> Result<Finding, ParseError> {
    let refused = |found: &str| {
        ParseError::new(CHECKSUM_MALFORMED, "64 hex digits of SHA3-256, and the name of the archive", found)
    };
    if bytes.len() > CHECKSUM_BYTES_MAX {
        return Err(refused(&format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refused("other bytes"))?;
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let found = sha3(first).map_err(|_| refused(text.lines().next().unwrap_or_default()))?;
    let pending = task.pending.and(received);
    agrees(&pending, &found, "checksum.sha3")?;
    let described = task.described.clone();
    let next = Task::Signature(Box::new(SignatureTask { pending: pending.clone(), described }));
    Ok(Finding { errands: vec![pending.errand("SIGNATURE.ml-dsa", next)?], ..Finding::default() })
}

fn agrees(pending: &Pending, found: &Digest, place: &str) -> Result<(), ParseError> {
    let known = &pending.row.checksum;
    match known == found {
        true => Ok(()),
        false => {
            let expected = format!("{} in {place}, as in metadata.json", known.hex());
            Err(ParseError::new(CHECKSUM_MISMATCH, expected, found.hex()))
        }
    }
}

/// Reads a signature file and makes the seal of the release.
///
/// **Errors**: `estream.signature_malformed`, `estream.unsupported_algorithm`, `estream.checksum_mismatch`,
/// `estream.key_id_mismatch`, `estream.key_unknown`.
pub(super) fn read(task: &SignatureTask, bytes: &[u8], received: &Received) -> Result<Finding, ParseError> {
    let malformed = |error: ParseError| ParseError { reason: SIGNATURE_MALFORMED.into(), ..error };
    if bytes.len() > SIGNATURE_BYTES_MAX {
        let expected = format!("a signature file of at most {SIGNATURE_BYTES_MAX} bytes");
        return Err(ParseError::new(SIGNATURE_MALFORMED, expected, format!("{} bytes", bytes.len())));
    }
    let (document, text) = whole::<SignatureDocument>(bytes).map_err(malformed)?;
    let pending = task.pending.and(received);
    let seal = seal(&pending, document).map_err(|error| json::located(error, text))?;
    let release = task.described.complete(&pending, pending.release());
    Ok(Finding { sealed: vec![Sealed { release, seal }], ..Finding::default() })
}

fn seal(pending: &Pending, document: SignatureDocument) -> Result<Seal, ParseError> {
    let SignatureDocument { algorithm, key_id, signed_at, checksum_algorithm, checksum, signature_hex } =
        document;
    let named = [("algorithm", &algorithm, ALGORITHM), ("checksum_algorithm", &checksum_algorithm, CHECKSUM)];
    for (field, found, expected) in named {
        // Never negotiated: another algorithm is another scheme.
        if found != expected {
            return Err(ParseError::new(UNSUPPORTED_ALGORITHM, expected, found).in_field(field));
        }
    }
    let stated = sha3(&checksum)
        .map_err(|error| ParseError { reason: SIGNATURE_MALFORMED.into(), ..error }.in_field("checksum"))?;
    agrees(pending, &stated, "SIGNATURE.ml-dsa").map_err(|error| error.in_field("checksum"))?;
    if key_id != pending.row.key_id {
        let expected = format!("{}, as signature_pubkey_id in metadata.json says", pending.row.key_id);
        return Err(ParseError::new(KEY_ID_MISMATCH, expected, key_id).in_field("key_id"));
    }
    let key = key(pending, &key_id)?;
    let bytes = KeyAlgorithm::MlDsa87.signature_bytes();
    let signature = hex_of(&signature_hex, bytes).ok_or_else(|| {
        let expected = format!("{bytes} bytes of an {ALGORITHM} signature, as {} hex digits", 2 * bytes);
        let found = format!("{} characters", signature_hex.len());
        ParseError::new(SIGNATURE_MALFORMED, expected, found).in_field("signature_hex")
    })?;
    Ok(Seal {
        publisher: pending.listing.publisher.clone(),
        is_verified: pending.listing.record.is_verified,
        key,
        checksum: pending.row.checksum.clone(),
        signature,
        signed_at,
        published_s: pending.row.published_s,
    })
}

/// Returns the key that a signature names: one of the publisher's own, and nobody else's.
fn key(pending: &Pending, id: &str) -> Result<PublisherKey, ParseError> {
    let publisher = &pending.listing.publisher;
    let found = pending.listing.record.keys.iter().find(|(known, _)| known == id);
    match found.map(|(_, key)| key.clone()) {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => {
            let found = format!("{id}, which cannot be used: {error}");
            let expected = format!("a key of publishers/{publisher}.json");
            Err(ParseError::new(KEY_UNKNOWN, expected, found).in_field("key_id"))
        }
        None => {
            let expected = format!("a key of publishers/{publisher}.json");
            Err(ParseError::new(KEY_UNKNOWN, expected, id).in_field("key_id"))
        }
    }
}
