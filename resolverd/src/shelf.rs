//! The shelf (pillar, with the store): documents as received, kept by digest. Never parses or judges them.

use std::collections::HashSet;
use std::path::Path;

use catalogue_schema::digest::Digest;

/// Content-addressed bytes on disk.
#[derive(Debug)]
pub struct Shelf {}

/// Why the shelf cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The file system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Shelf {
    /// Opens the shelf below `directory`, creating it where it is missing.
    pub fn open(_directory: &Path) -> Result<Shelf, ShelfError> {
        Ok(Shelf {})
    }

    /// Tells whether a document is here.
    pub fn contains(&self, _digest: &Digest) -> bool {
        false
    }

    /// Returns a document, its digest recomputed; `None` when it is not here or its bytes no longer match.
    pub fn read(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(None)
    }

    /// Keeps the documents that are not here yet, durably, all in one pack (documents over 1 MiB alone).
    pub fn keep(&self, _documents: &[(Digest, Vec<u8>)]) -> Result<(), ShelfError> {
        Ok(())
    }

    /// Removes what nothing in `live` needs.
    pub fn sweep(&self, _live: &HashSet<Digest>) -> Result<(), ShelfError> {
        Ok(())
    }
}
