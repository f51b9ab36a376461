//! The store (pillar, with the shelf): generations in a sled index. Named here only; a cache that shelf and sources can rebuild.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalogue_schema::generation::Generation;
use catalogue_schema::id::ComponentId;
use catalogue_schema::model::Component;

/// A generation as readers see it: immutable, complete, in memory.
#[derive(Debug)]
pub struct Snapshot {
    /// What the generation's file says.
    pub generation: Generation,
    components: HashMap<ComponentId, Arc<Component>>,
    order: Vec<ComponentId>,
}

impl Snapshot {
    /// Makes a snapshot out of a generation and its components.
    #[cfg(test)]
    pub fn new(generation: Generation, components: Vec<Component>) -> Snapshot {
        let mut order: Vec<ComponentId> = components.iter().map(|component| component.id.clone()).collect();
        order.sort();
        let components = components.into_iter().map(|one| (one.id.clone(), Arc::new(one))).collect();
        Snapshot { generation, components, order }
    }

    /// Returns the component that owns `id`.
    pub fn component(&self, id: &ComponentId) -> Option<&Arc<Component>> {
        self.components.get(id)
    }

    /// Returns every id, sorted.
    pub fn ids(&self) -> &[ComponentId] {
        &self.order
    }
}

/// A generation that is being written; only a sync makes one.
#[derive(Debug)]
pub struct Draft {
    /// What its file will say; the store fills in number, component count and root.
    pub generation: Generation,
    /// Its components, sorted by id. Every release carries the leave of the verify function, or its refusal.
    pub components: Vec<Component>,
}

/// What was found when a store was opened.
#[derive(Debug)]
pub enum Opened {
    /// Nothing has been committed yet.
    Empty,
    /// A complete generation, ready to answer.
    Warm(Arc<Snapshot>),
    /// The index did not match the generation's file and was set aside; the shelf can rebuild it.
    Rebuild {
        /// What the generation's file says.
        generation: Box<Generation>,
        /// What was found, and where the damaged index lies now.
        why: String,
    },
}

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the state directory.
    #[error("{path} is in use by process {pid}")]
    Locked {
        /// The lock file.
        path: String,
        /// Who holds it, as the lock file says.
        pid: String,
    },
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
    /// The index engine said no.
    #[error("cannot {action} the index in {path}: {found}")]
    Index {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What it said.
        found: String,
    },
}

/// The leave to touch a state directory; released when dropped or when the process ends.
#[derive(Debug)]
pub struct StateLock {}

impl StateLock {
    /// Takes the lock of `directory`, waiting at most `wait` for another process to let go.
    pub fn acquire(_directory: &Path, _wait: Duration) -> Result<StateLock, StoreError> {
        Ok(StateLock {})
    }
}

/// The index on disk: one handle for the life of the process.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the store below `directory`.
    pub fn open(_directory: &Path, _lock: &StateLock) -> Result<(Store, Opened), StoreError> {
        Ok((Store {}, Opened::Empty))
    }

    /// Commits a draft as the next generation and returns it as readers see it. Rows that did not change against
    /// `previous` are not written, and their memory is shared.
    pub fn commit(
        &mut self,
        _draft: Draft,
        _previous: Option<&Snapshot>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        todo!()
    }
}
