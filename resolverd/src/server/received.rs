//! Answers with the documents that releases rest on, as they were received, and with the keys by which sources know publishers.
//!
//! Reads the list of documents and the shelf, never an origin. Only releases that may be used are answered: their documents were read,
//! so that they are what they should be, and not just any file that a link in a local directory leads to. Of a publisher nothing but
//! keys is told, for the same reason.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use catalogue_schema::dialect::estream;
use catalogue_schema::digest::{Algorithm, Digest};
use catalogue_schema::documents::Documents as Records;
use catalogue_schema::id::{Dialect, Reference};
use catalogue_schema::pointer::{Repository, Want};
use catalogue_schema::revision::rfc3339;
use catalogue_schema::seal::{KeyStatus, PublisherKey};

use crate::api::documents::{DocumentLine, Documents, DocumentsRow, KeyLine, PublisherRow};
use crate::api::{Code, Failure};
use crate::server::answer::{Facts, View, document_missing, looked_up};
use crate::server::documents::Asked;
use crate::store::Snapshot;

/// The most bytes of documents in one answer.
const CONTENTS_BYTES_MAX: usize = 32 << 20;

/// Answers.
///
/// **Errors**: those of a release that may not be used; E013 where the shelf has lost a document; R005; R011 where a release is none
/// of eStream.
pub(super) fn answer(asked: &Asked, snapshot: &Snapshot, facts: &Facts) -> Result<Documents, Failure> {
    let records = match &facts.records {
        Some(records) => {
            let unreadable = |found: String| {
                let detail = format!("cannot read which documents the generation rests on: {found}");
                Failure::new(Code::StoreUnavailable, "documents", detail)
                    .hint("resolverd sync reads all sources again; an older snapshot may be gone by now")
            };
            records.read(&snapshot.generation).map_err(unreadable)?
        }
        None => std::sync::Arc::default(),
    };
    let ground = Ground { snapshot, facts, records: &records };
    let (view, mut gathered) = (View::new(snapshot), Gathered::default());
    // One release may be asked for very often.
    let mut known: HashMap<String, DocumentsRow> = HashMap::new();
    let rows = asked.releases.iter().map(|reference| match known.entry(reference.to_string()) {
        Entry::Occupied(known) => Ok(known.get().clone()),
        Entry::Vacant(free) => Ok(free.insert(ground.row(reference, &view, &mut gathered)?).clone()),
    });
    let items = rows.collect::<Result<Vec<_>, Failure>>()?;
    let mut told = BTreeSet::new();
    let names = asked.publishers.iter().filter(|name| told.insert(name.as_str()));
    let publishers = names.flat_map(|name| ground.publisher(name)).collect();
    Ok(Documents {
        snapshot: snapshot.generation.snapshot.clone(),
        items,
        publishers,
        contents: gathered.contents,
    })
}

/// What was read so far: every document once, however many releases rest on it and however often they are asked for.
#[derive(Default)]
struct Gathered {
    contents: BTreeMap<Digest, String>,
    /// The bytes of all of them.
    bytes: usize,
    /// Digest and size of what was wanted.
    read: HashMap<Want, (Digest, u64)>,
}

struct Ground<'a> {
    snapshot: &'a Snapshot,
    facts: &'a Facts,
    records: &'a Records,
}

impl Ground<'_> {
    fn row(
        &self,
        reference: &Reference,
        view: &View<'_>,
        gathered: &mut Gathered,
    ) -> Result<DocumentsRow, Failure> {
        let release = looked_up(&Ok(reference.clone()), view)?.release()?;
        let full = format!("{}@{}", release.id, release.version);
        if release.id.dialect() != Dialect::Estream {
            let detail = format!("{full}: documents are handed out of registries of eStream alone");
            return Err(Failure::new(Code::RequestInvalid, "api.dialect", detail)
                .with("field", "releases")
                .hint("ask for the manifest of others: /v1/components/{id}/{version}/manifest"));
        }
        let owner = self.snapshot.component(&release.id).map(|component| component.head()).transpose()?;
        let state = owner.as_ref().and_then(|head| {
            self.snapshot.generation.sources.iter().find(|state| state.source.id == head.owner.source)
        });
        let state =
            state.ok_or_else(|| Failure::new(Code::Internal, "api.owner", format!("{full} has no owner")))?;
        let wanted = estream::documents(&state.source, &release)
            .map_err(|error| Failure::of(Code::CacheCorrupted, &error))?;
        let mut documents = Vec::new();
        for (path, want) in wanted {
            let (digest, size) = match gathered.read.get(&want) {
                Some(known) => known.clone(),
                None => {
                    let (digest, text) = self.document(&want)?;
                    let known = (digest.clone(), text.len() as u64);
                    gathered.bytes += text.len();
                    if let Some(same) = gathered.contents.insert(digest, text) {
                        gathered.bytes -= same.len();
                    }
                    gathered.read.insert(want, known.clone());
                    known
                }
            };
            documents.push(DocumentLine { path, digest, size });
        }
        if gathered.bytes > CONTENTS_BYTES_MAX {
            let detail = format!("the documents have more than {CONTENTS_BYTES_MAX} bytes together");
            return Err(Failure::new(Code::LimitExceeded, "api.documents", detail)
                .with("limit", CONTENTS_BYTES_MAX)
                .hint("ask for fewer releases at once"));
        }
        let is_sha3 = |digest: &&Digest| digest.algorithm() == Algorithm::Sha3_256;
        let archive =
            release.archive.as_ref().and_then(|archive| archive.digests.iter().find(is_sha3).cloned());
        let repository = release.origin.repository.as_ref();
        Ok(DocumentsRow {
            release: full,
            source: state.source.id.clone(),
            // The place of a repository of this machine says nothing elsewhere.
            repository: repository
                .filter(|one| !matches!(one, Repository::Local(_)))
                .map(ToString::to_string),
            commit: release.origin.commit.clone(),
            archive,
            documents,
        })
    }

    fn document(&self, want: &Want) -> Result<(Digest, String), Failure> {
        let record = self.records.document(want).ok_or_else(|| {
            let detail = format!("nobody remembers the document {want}");
            Failure::new(Code::CacheCorrupted, "document_missing", detail)
                .hint("run resolverd sync: it reads what is missing")
        })?;
        let bytes =
            (self.facts.documents.0)(&record.digest).ok_or_else(|| document_missing(&record.digest))?;
        let text = String::from_utf8(bytes).map_err(|_| document_missing(&record.digest))?;
        Ok((record.digest, text))
    }

    /// Returns what every source knows of a publisher, the best-placed first; a record that cannot be read tells nothing.
    fn publisher(&self, name: &str) -> Vec<PublisherRow> {
        let sources = self.snapshot.generation.sources.iter();
        let known = sources.filter(|state| state.source.dialect == Dialect::Estream).filter_map(|state| {
            let want = estream::publisher_record(&state.source, state.commit.as_ref(), name).ok()?;
            let (_, text) = self.document(&want).ok()?;
            let record = estream::publisher(name, text.as_bytes()).ok()?;
            let keys = record.keys.iter().filter_map(|(_, key)| key.as_ref().ok()).map(line).collect();
            Some(PublisherRow { publisher: name.to_owned(), source: state.source.id.clone(), keys })
        });
        known.collect()
    }
}

fn line(key: &PublisherKey) -> KeyLine {
    let status = match key.status {
        KeyStatus::Active => "active",
        KeyStatus::Rotated => "rotated",
        KeyStatus::Revoked => "revoked",
    };
    KeyLine {
        id: key.id.clone(),
        key: key.key.fingerprint(),
        status: status.to_owned(),
        created_at: key.created_s.map(rfc3339),
        expires_at: key.expires_s.map(rfc3339),
        rotated_at: key.rotated_s.map(rfc3339),
    }
}
