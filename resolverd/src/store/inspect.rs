//! A look at a store that changes nothing: who holds it, what its files say, whether an index agrees with them.
//!
//! Never opens the index in place, since the engine writes into what it opens: callers hand in a copy. What changes anything here
//! asks for the lock: one sets an index aside, one removes what a killed process left.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalogue_schema::documents::Documents;
use catalogue_schema::generation::Generation;

use crate::shelf::Shelf;
use crate::store::files::{Files, Foreign, Found};
use crate::store::index::{Fault, Index};
use crate::store::{Snapshot, StateLock, StoreError, ledger, lock};

/// Keeps writers out as long as it lives.
#[derive(Debug)]
pub struct Hold {
    _file: Option<File>,
}

/// What the files of a store say.
#[derive(Debug)]
pub struct Kept {
    /// The generation in force, or the best that is left; `None` where none can be read.
    pub generation: Option<Generation>,
    /// How many generation files there are, readable or not.
    pub files: usize,
    /// What is wrong with the pointer or the file that it names.
    pub damage: Option<String>,
    /// The newest generation, where another version of the program wrote it; `generation` is `None` then.
    pub foreign: Option<Foreign>,
}

/// Keeps writers out of `directory`; the inner error is the pid of the process that holds it.
///
/// **Errors**: the lock file cannot be opened.
pub fn hold(directory: &Path) -> Result<Result<Hold, String>, StoreError> {
    Ok(lock::look(directory)?.map(|file| Hold { _file: file }))
}

/// Reads what the generation files of `directory` say.
///
/// **Errors**: the system's.
pub fn kept(directory: &Path) -> Result<Kept, StoreError> {
    let files = Files::to_read(directory);
    let Found { candidates, damage, foreign, .. } = files.read()?;
    let count = files.numbers()?.len();
    Ok(Kept { generation: candidates.into_iter().next(), files: count, damage, foreign })
}

/// Reads the list of the documents that a generation of `directory` rests on; the error says why it cannot be used.
pub fn documents(directory: &Path, generation: &Generation) -> Result<Documents, String> {
    Files::to_read(directory).documents(&generation.documents)
}

/// Opens the index below `copy`, which is a copy that nobody else uses, and reads a generation out of it; the inner error
/// says what does not agree.
///
/// **Errors**: the system's, when the index may be sound.
pub fn snapshot(
    copy: &Path,
    generation: &Generation,
    shelf: &Shelf,
) -> Result<Result<Arc<Snapshot>, String>, StoreError> {
    let rows = match Index::open(copy, ledger::take) {
        Ok((_, rows)) => rows,
        Err(Fault::Damaged(found)) => return Ok(Err(found)),
        Err(Fault::Failed(error)) => return Err(error),
    };
    Ok(ledger::load(&rows, generation, shelf)?.map(|loaded| loaded.snapshot(generation.clone())))
}

/// Removes what a killed process left beside a store, and in its index, and returns the latter.
///
/// **Errors**: the system's.
pub fn sweep(directory: &Path, _lock: &StateLock) -> Result<Vec<PathBuf>, StoreError> {
    Files::open(directory)?;
    Index::sweep(directory)
}

/// Returns the indexes that were set aside, oldest first.
///
/// **Errors**: the system's.
pub fn aside(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    Ok(Index::quarantined(directory)?.into_iter().map(|(_, path)| path).collect())
}

/// Sets the index of `directory` aside, so that the next opening rebuilds it, and returns where it lies now.
///
/// **Errors**: the system's.
pub fn set_index_aside(directory: &Path, _lock: &StateLock) -> Result<PathBuf, StoreError> {
    Index::quarantine(directory)
}

/// Returns why the store would not be opened in `directory`: something that it writes into or through leads elsewhere, or belongs to
/// another user.
pub fn planted(directory: &Path) -> Option<StoreError> {
    lock::refuse_planted(directory).err()
}
