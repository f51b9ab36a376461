//! Fetch (pillar): gets the bytes of a pointer. Never judges, keeps or parses documents.
//!
//! [`Origins`] reads the real places; a sync also has a fetcher that answers from the shelf alone. Both answer many wants at
//! once, so that everything that lies in one commit costs one visit.

pub mod file;
pub mod git;
pub mod limit;
pub mod object;

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{CommitId, Want};

use crate::fetch::limit::Budget;

/// Gets the bytes that wants name.
pub trait Fetch: Sync {
    /// Answers each want, in the same order. Spends `budget`; what no longer fits is [`FetchError::Limit`].
    fn fetch(&self, wants: &[&Want], budget: &Budget) -> Vec<Result<Fetched, FetchError>>;
}

/// Bytes as they arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The document, verbatim.
    pub bytes: Vec<u8>,
    /// Where it really came from.
    pub url: String,
    /// The commit that it was read at, for Git.
    pub commit: Option<CommitId>,
    /// Its Git object id.
    pub blob: Option<CommitId>,
    /// The HTTP entity tag.
    pub etag: Option<String>,
}

/// Why there are no bytes. Each refusal has a dotted reason, the subject, what was expected and found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The place was reached and the document is not in it.
    #[error("{0}")]
    Missing(Refusal),
    /// The place was reached and what lies there may not be used (a symlink, a foreign owner, a hostile name, …).
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody could find out: the place could not be reached, or the commit is not there.
    #[error("{0}")]
    Unreachable(Refusal),
    /// A limit of this run was reached.
    #[error("{0}")]
    Limit(Refusal),
}

impl FetchError {
    /// Returns what was wrong.
    pub fn refusal(&self) -> &Refusal {
        match self {
            FetchError::Missing(refusal)
            | FetchError::Refused(refusal)
            | FetchError::Unreachable(refusal)
            | FetchError::Limit(refusal) => refusal,
        }
    }
}

/// The real places: local files and Git repositories.
#[derive(Debug, Default)]
pub struct Origins {}
