//! Signatures as documents: the file beside what is signed, the envelope, and the statement inside it.
//!
//! **A signature file** is one of three, told by its content: the raw bytes of one signature (64 for Ed25519, 4,627 for
//! ML-DSA-87), their base64 in the padded standard alphabet (line feeds allowed), or an envelope. A raw signature is over the
//! bytes of the file itself; an envelope's signatures are over a statement that names the file's digest.
//!
//! **The envelope**, `resolverd/sig@1`, is strict JSON; unknown fields are refused:
//!
//! ```json
//! {"schema": "resolverd/sig@1", "payload": "eyJ0eXBlIjoi…", "signatures": [
//!   {"key_id": "sha256:8f0c…", "algorithm": "ed25519", "sig": "q83v…"},
//!   {"key_id": "sha256:51aa…", "algorithm": "ml-dsa-87", "sig": "Zm9v…"}]}
//! ```
//!
//! `payload` and `sig` are padded base64, `key_id` is the fingerprint of the key. Every signature of an envelope is over the same
//! bytes, the pre-authentication encoding of DSSE with a type that names the kind of the statement, and ML-DSA-87 takes an
//! empty context:
//!
//! ```text
//! DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload        type = resolverd/1/catalogue
//! ```
//!
//! The payload is verified as it lies there and is only then read; nothing is ever written anew to be verified. **The statement**:
//!
//! ```json
//! {"type": "catalogue", "id": "acme/tooling", "digests": ["sha256:9f86…"], "size": 5120,
//!  "signed_at": "2026-05-04T12:00:00Z", "algorithms": ["ed25519", "ml-dsa-87"],
//!  "catalogue_version": 42, "expires": "2026-08-04T12:00:00Z", "origin_commit": "4a569e82930c784d2b4f2a40a39e85daea774a80"}
//! ```
//!
//! A package has a `version` and none of the last three; a keyset a `version` that is a number. `algorithms` are all that signed, so
//! that one which was taken away is missed. `signed_at` is what the signer says: it can take trust away and never give any. A new
//! field needs a new schema, since unknown ones are refused here too.
//!
//! Never computes with a key: whether a signature holds is said by `trust::signature`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ParseError;
use crate::instant;
use crate::json;
use crate::key::{Fingerprint, KeyAlgorithm};
use crate::pointer::CommitId;
use crate::revision::rfc3339;

/// The schema of an envelope.
pub const SIGNATURE_SCHEMA: &str = "resolverd/sig@1";
/// The largest signature file, in bytes: sixteen signatures of ML-DSA-87 in base64, and a statement.
pub const SIGNATURE_BYTES_MAX: u64 = 256 << 10;
/// How many signatures of one envelope are looked at; one with more is refused.
pub const SIGNATURES_MAX: usize = 16;
/// The largest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 << 10;

/// What a statement is about, and what a key may sign.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// A list or catalogue.
    Catalogue,
    /// A set of keys that replaces the one before.
    Keyset,
    /// One version of one component.
    Package,
}

impl Usage {
    /// Every usage.
    pub const ALL: [Usage; 3] = [Usage::Catalogue, Usage::Keyset, Usage::Package];

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Usage::Catalogue => "catalogue",
            Usage::Keyset => "keyset",
            Usage::Package => "package",
        }
    }

    /// Returns the type that is signed with a payload.
    fn payload_type(self) -> &'static str {
        match self {
            Usage::Catalogue => "resolverd/1/catalogue",
            Usage::Keyset => "resolverd/1/keyset",
            Usage::Package => "resolverd/1/package",
        }
    }

    /// Returns the bytes that are signed for `payload`.
    pub fn encoded(self, payload: &[u8]) -> Vec<u8> {
        let name = self.payload_type();
        let mut bytes = format!("DSSEv1 {} {name} {} ", name.len(), payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// A signature file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureFile {
    /// One signature over the bytes of the file beside it.
    Detached {
        /// The algorithm that has signatures of this length.
        algorithm: KeyAlgorithm,
        /// The signature.
        bytes: Vec<u8>,
    },
    /// Signatures over a statement about it.
    Envelope(Envelope),
}

impl SignatureFile {
    /// Reads a signature file, or the text of a `signature` field.
    ///
    /// **Errors**: `input.signature` for what is none of the three forms; those of [`Envelope::parse`].
    pub fn parse(bytes: &[u8]) -> Result<SignatureFile, ParseError> {
        if bytes.len() as u64 > SIGNATURE_BYTES_MAX {
            return Err(too_large(bytes.len()));
        }
        if let Some(algorithm) = of_length(bytes.len()) {
            return Ok(SignatureFile::Detached { algorithm, bytes: bytes.to_vec() });
        }
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            return Envelope::parse(bytes).map(SignatureFile::Envelope);
        }
        let packed: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
        let decoded = STANDARD.decode(packed).unwrap_or_default();
        match of_length(decoded.len()) {
            Some(algorithm) => Ok(SignatureFile::Detached { algorithm, bytes: decoded }),
            None => Err(ParseError::new(
                "input.signature",
                "64 or 4627 raw bytes, their base64, or an envelope of resolverd/sig@1",
                match bytes.len() {
                    0 => "an empty file".to_owned(),
                    length => format!("{length} other bytes"),
                },
            )),
        }
    }
}

fn of_length(bytes: usize) -> Option<KeyAlgorithm> {
    KeyAlgorithm::ALL.into_iter().find(|algorithm| algorithm.signature_bytes() == bytes)
}

fn too_large(bytes: usize) -> ParseError {
    let expected = format!("a signature of at most {SIGNATURE_BYTES_MAX} bytes");
    ParseError::new("input.signature", expected, format!("{bytes} bytes"))
}

/// Signatures and what they are over, as bytes: nothing in it is true before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that is said to have made it.
    pub key: Fingerprint,
    /// The algorithm as written; the one that counts is the key's own.
    pub algorithm: String,
    /// Its bytes, of any length.
    pub bytes: Vec<u8>,
}

/// An envelope as it is written.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvelopeDocument {
    /// `resolverd/sig@1`.
    schema: String,
    /// The statement, in padded base64.
    payload: String,
    /// The signatures over it, at most 16.
    signatures: Vec<SignatureEntry>,
}

/// One signature.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignatureEntry {
    /// The fingerprint of the key: `sha256:` and 64 hex digits.
    key_id: String,
    /// `ed25519` or `ml-dsa-87`, which must be the algorithm of that key.
    algorithm: String,
    /// The signature, in padded base64.
    sig: String,
}

impl Envelope {
    /// Makes an envelope.
    pub fn new(payload: Vec<u8>, signatures: Vec<Signature>) -> Envelope {
        Envelope { payload, signatures }
    }

    /// Reads an envelope.
    ///
    /// **Errors**: `input.schema`, `input.signature`, `input.too_many_signatures`, `input.signature_duplicate` (a key twice,
    /// or one signature twice), `input.fingerprint`, and those of the JSON reader.
    pub fn parse(bytes: &[u8]) -> Result<Envelope, ParseError> {
        if bytes.len() as u64 > SIGNATURE_BYTES_MAX {
            return Err(too_large(bytes.len()));
        }
        let text = json::check(bytes)?;
        let document: EnvelopeDocument = json::document(text)?;
        Envelope::of(document).map_err(|error| json::located(error, text))
    }

    fn of(document: EnvelopeDocument) -> Result<Envelope, ParseError> {
        if document.schema != SIGNATURE_SCHEMA {
            let error = ParseError::new("input.schema", SIGNATURE_SCHEMA, document.schema);
            return Err(error.in_field("schema"));
        }
        let payload = decoded(&document.payload).map_err(|error| error.in_field("payload"))?;
        if payload.len() > STATEMENT_BYTES_MAX {
            let expected = format!("a statement of at most {STATEMENT_BYTES_MAX} bytes");
            let error = ParseError::new("input.signature", expected, format!("{} bytes", payload.len()));
            return Err(error.in_field("payload"));
        }
        let count = document.signatures.len();
        if count > SIGNATURES_MAX {
            let expected = format!("at most {SIGNATURES_MAX} signatures");
            let error = ParseError::new("input.too_many_signatures", expected, count.to_string());
            return Err(error.in_field("signatures"));
        }
        let (mut keys, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut signatures = Vec::with_capacity(count);
        for (position, entry) in document.signatures.into_iter().enumerate() {
            let placed = |error: ParseError| error.in_field(format!("signatures[{position}]"));
            let signature = signature(entry).map_err(placed)?;
            if !keys.insert(signature.key) || !seen.insert(signature.bytes.clone()) {
                let expected = "every key and every signature once";
                let found = signature.key.to_string();
                return Err(placed(ParseError::new("input.signature_duplicate", expected, found)));
            }
            signatures.push(signature);
        }
        Ok(Envelope { payload, signatures })
    }

    /// Returns what the signatures are over, once [`Usage::encoded`] has named its kind.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the signatures, in the order of the file.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Reads the statement, which is true only where a signature over it has been verified.
    ///
    /// **Errors**: those of [`Statement::parse`].
    pub fn statement(&self) -> Result<Statement, ParseError> {
        Statement::parse(&self.payload)
    }

    /// Returns the envelope as a file.
    pub fn to_json(&self) -> String {
        let entry = |signature: &Signature| SignatureEntry {
            key_id: signature.key.to_string(),
            algorithm: signature.algorithm.clone(),
            sig: STANDARD.encode(&signature.bytes),
        };
        let document = EnvelopeDocument {
            schema: SIGNATURE_SCHEMA.to_owned(),
            payload: STANDARD.encode(&self.payload),
            signatures: self.signatures.iter().map(entry).collect(),
        };
        let text = serde_json::to_string_pretty(&document).expect("texts are JSON");
        text + "\n"
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, ParseError> {
    STANDARD.decode(text).map_err(|_| ParseError::new("input.signature", "padded base64", text))
}

fn signature(entry: SignatureEntry) -> Result<Signature, ParseError> {
    Ok(Signature {
        key: Fingerprint::parse(&entry.key_id).map_err(|error| error.in_field("key_id"))?,
        bytes: decoded(&entry.sig).map_err(|error| error.in_field("sig"))?,
        algorithm: entry.algorithm,
    })
}

/// What a signer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// About what kind of thing.
    pub usage: Usage,
    /// Its id: that of a component, a catalogue or a keyset.
    pub id: String,
    /// Its version, for packages and keysets.
    pub version: Option<String>,
    /// Digests of its bytes, at least one; they all must hold.
    pub digests: Vec<Digest>,
    /// How many bytes it has.
    pub size: u64,
    /// When it was signed, by the signer's word, in seconds since 1970-01-01 UTC.
    pub signed_at_s: i64,
    /// The algorithms of all signatures that were made, at least one, none twice.
    pub algorithms: Vec<KeyAlgorithm>,
    /// Which version of the catalogue it is; a lower one never replaces a higher one.
    pub catalogue_version: Option<u64>,
    /// From when on the catalogue says nothing any more, in seconds since 1970-01-01 UTC.
    pub expires_s: Option<i64>,
    /// The commit that the catalogue's manifests are read at.
    pub origin_commit: Option<CommitId>,
}

/// A statement as it is written.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatementDocument {
    /// What it is about.
    #[serde(rename = "type")]
    usage: Usage,
    /// The id of the component, catalogue or keyset.
    id: String,
    /// The version, for packages and keysets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Digests of the bytes, such as `sha256:` and 64 hex digits.
    digests: Vec<String>,
    /// How many bytes there are.
    size: u64,
    /// When it was signed, such as `2026-05-04T12:00:00Z`.
    signed_at: String,
    /// The algorithms of all signatures that were made.
    algorithms: Vec<String>,
    /// Which version of the catalogue it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    catalogue_version: Option<u64>,
    /// From when on it says nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// The commit that the catalogue's manifests are read at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin_commit: Option<String>,
}

impl Statement {
    /// Reads a statement.
    ///
    /// **Errors**: `input.field`, `input.digest`, `input.algorithm`, `input.time`, `input.commit`, and those of the JSON reader.
    pub fn parse(bytes: &[u8]) -> Result<Statement, ParseError> {
        let text = json::check(bytes)?;
        let document: StatementDocument = json::document(text)?;
        Statement::of(document).map_err(|error| json::located(error, text))
    }

    fn of(document: StatementDocument) -> Result<Statement, ParseError> {
        fits_its_type(&document)?;
        let digests = each(&document.digests, "digests", Digest::parse)?;
        let algorithms = each(&document.algorithms, "algorithms", KeyAlgorithm::parse)?;
        if algorithms.iter().collect::<BTreeSet<_>>().len() < algorithms.len() {
            let found = document.algorithms.join(", ");
            return Err(ParseError::new("input.field", "every algorithm once", found).in_field("algorithms"));
        }
        let time = |field: &'static str, text: &str| instant::parse(text).map_err(|e| e.in_field(field));
        let expires = document.expires.as_deref().map(|text| time("expires", text)).transpose()?;
        let commit = document.origin_commit.as_deref().map(CommitId::parse).transpose();
        Ok(Statement {
            signed_at_s: time("signed_at", &document.signed_at)?,
            expires_s: expires,
            origin_commit: commit.map_err(|error| error.in_field("origin_commit"))?,
            usage: document.usage,
            id: document.id,
            version: document.version,
            digests,
            size: document.size,
            algorithms,
            catalogue_version: document.catalogue_version,
        })
    }

    /// Returns the statement as the bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = StatementDocument {
            usage: self.usage,
            id: self.id.clone(),
            version: self.version.clone(),
            digests: self.digests.iter().map(Digest::to_string).collect(),
            size: self.size,
            signed_at: rfc3339(self.signed_at_s),
            algorithms: self.algorithms.iter().map(KeyAlgorithm::to_string).collect(),
            catalogue_version: self.catalogue_version,
            expires: self.expires_s.map(rfc3339),
            origin_commit: self.origin_commit.as_ref().map(|commit| commit.as_text().to_owned()),
        };
        serde_json::to_vec(&document).expect("texts and numbers are JSON")
    }

    /// Says in which digest or size `content` differs from the statement; `None` where all of them hold.
    pub fn differs_from(&self, content: &[u8]) -> Option<String> {
        if self.size != content.len() as u64 {
            return Some(format!("{} bytes instead of {}", content.len(), self.size));
        }
        let own = self.digests.iter().map(|stated| (stated, Digest::of(stated.algorithm(), content)));
        own.into_iter()
            .find(|(stated, own)| *stated != own)
            .map(|(stated, own)| format!("{own} instead of {stated}"))
    }
}

/// Checks which fields stand there for a thing of this type.
fn fits_its_type(document: &StatementDocument) -> Result<(), ParseError> {
    let refused = |field: &str, expected: String, found: &str| {
        Err(ParseError::new("input.field", expected, found).in_field(field))
    };
    let name = document.usage.name();
    let is_catalogue = document.usage == Usage::Catalogue;
    if document.id.is_empty() || document.id.len() > crate::id::REFERENCE_BYTES_MAX {
        return refused("id", "an id of 1 to 512 bytes".to_owned(), &document.id);
    }
    match &document.version {
        Some(version) if is_catalogue => {
            return refused("version", "catalogue_version for a catalogue".to_owned(), version);
        }
        None if !is_catalogue => return refused("version", format!("the version of a {name}"), "nothing"),
        _ => {}
    }
    let beside = [
        ("catalogue_version", document.catalogue_version.is_some()),
        ("origin_commit", document.origin_commit.is_some()),
    ];
    if let Some((field, _)) = beside.into_iter().find(|(_, is_there)| *is_there && !is_catalogue) {
        return refused(field, format!("no such field for a {name}"), "one");
    }
    Ok(())
}

/// Reads every text of a list, which must have one.
fn each<T>(
    texts: &[String],
    field: &str,
    read: impl Fn(&str) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    if texts.is_empty() {
        return Err(ParseError::new("input.field", "at least one", "none").in_field(field));
    }
    let placed = |(position, text): (usize, &String)| {
        read(text).map_err(|error| error.in_field(format!("{field}[{position}]")))
    };
    texts.iter().enumerate().map(placed).collect()
}

#[cfg(test)]
mod tests;
