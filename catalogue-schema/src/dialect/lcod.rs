//! The LCOD dialect.

use serde::{Deserialize, Serialize};

use crate::dialect::{Errand, Finding, Received};
use crate::error::ParseError;
use crate::model::{Refusal, Source};

/// What the reader remembers about an errand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Task {
    /// An entry document.
    Entry,
}

/// Returns the task of a source's entry document.
pub fn start(_source: &Source) -> Task {
    Task::Entry
}

/// Reads one document.
pub fn read(
    _errand: &Errand,
    _task: &Task,
    _bytes: &[u8],
    _received: &Received,
) -> Result<Finding, ParseError> {
    Ok(Finding::default())
}

/// Says what becomes of a release whose document was refused.
pub fn refuse(_task: &Task, _refusal: Refusal) -> Finding {
    Finding::default()
}
