//! The large directories that a run has read: thousands of its wants lie below each of them, which is read, paid for and taken apart
//! once. A tree is known by its id, which its bytes were held against, whatever repository they came from.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fetch::object::{ObjectId, Tree};

/// The smallest tree that is remembered, in bytes: smaller ones cost little, and are many.
pub(super) const LARGE_BYTES_MIN: usize = 16 << 10;
/// How many bytes the trees may have that one run remembers; taken apart they take up to three times as much. What comes when they
/// are full is read again.
pub(super) const TREES_BYTES_MAX: usize = 32 << 20;

/// Trees by their ids.
#[derive(Debug, Default)]
pub(super) struct Trees(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    trees: HashMap<ObjectId, Arc<Tree>>,
    bytes: usize,
}

impl Trees {
    /// Returns a tree that was read before.
    pub(super) fn find(&self, id: &ObjectId) -> Option<Arc<Tree>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trees.get(id).cloned()
    }

    /// Remembers a tree of `bytes` bytes where it is large and there is room for it.
    pub(super) fn note(&self, id: &ObjectId, tree: &Arc<Tree>, bytes: usize) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes >= LARGE_BYTES_MIN
            && held.bytes.saturating_add(bytes) <= TREES_BYTES_MAX
            && held.trees.insert(*id, Arc::clone(tree)).is_none()
        {
            held.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_large_trees_are_remembered_and_no_more_than_fit() {
        let (trees, tree) = (Trees::default(), Arc::new(Tree::parse(b"").unwrap()));
        let id = |number: u8| ObjectId::from_bytes([number; 20]);
        trees.note(&id(1), &tree, LARGE_BYTES_MIN - 1);
        trees.note(&id(2), &tree, LARGE_BYTES_MIN);
        trees.note(&id(2), &tree, LARGE_BYTES_MIN);
        trees.note(&id(3), &tree, TREES_BYTES_MAX - LARGE_BYTES_MIN + 1);
        trees.note(&id(4), &tree, TREES_BYTES_MAX - LARGE_BYTES_MIN);
        let found: Vec<u8> = (0..9).filter(|number| trees.find(&id(*number)).is_some()).collect();
        assert_eq!(found, [2, 4]);
    }
}
