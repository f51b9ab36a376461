//! Plain questions that arrive on several connections at once: what their answers need of memory is fetched for all of them together.
//!
//! What such a question takes beside the system's own work is waiting for memory: for a slot of the table, for the place of the block,
//! for the lines of the answer, each known only when the one before is there. Waits of one question follow each other; those of many
//! can pass together. So a connection that has read one says here what it will look for and lets the others go first that
//! have something to read; whoever is back first has the processor fetch it for all of them. A connection that is alone does neither.
//!
//! Nothing is decided here: without it every answer is the same. No lock: what is lost or told twice between two threads is fetched when
//! it is needed, or once more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::store::exact::Key;

/// How many questions are fetched for together; one that comes behind them fetches for itself.
const TOGETHER_MAX: usize = 64;

/// What is looked for and not fetched yet: the numbers of keys.
#[derive(Debug)]
pub(crate) struct Together {
    count: AtomicUsize,
    keys: [AtomicU64; TOGETHER_MAX],
}

impl Default for Together {
    fn default() -> Together {
        Together { count: AtomicUsize::new(0), keys: [const { AtomicU64::new(0) }; TOGETHER_MAX] }
    }
}

impl Together {
    /// Notes what a question will look for.
    pub(crate) fn announce(&self, key: Key) {
        let at = self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(room) = self.keys.get(at) {
            room.store(key.number(), Ordering::Relaxed);
        }
    }

    /// Returns what was announced since the last call; nothing where that is a single question, which fetches for itself as fast.
    pub(crate) fn take(&self) -> impl Iterator<Item = Key> + Clone {
        let count = match self.count.swap(0, Ordering::Relaxed) {
            1 => 0,
            count => count.min(TOGETHER_MAX),
        };
        self.keys.iter().take(count).map(|key| Key::from_number(key.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_taken_once() {
        let together = Together::default();
        let taken = || together.take().map(Key::number).collect::<Vec<_>>();
        let announce = |number| together.announce(Key::from_number(number));
        assert!(taken().is_empty());
        announce(7);
        assert!(taken().is_empty(), "a single one fetches for itself");
        announce(8);
        announce(9);
        assert_eq!(taken(), [8, 9]);
        assert!(taken().is_empty());
        let many = 1..=TOGETHER_MAX as u64 + 3;
        many.clone().for_each(announce);
        assert_eq!(taken(), many.take(TOGETHER_MAX).collect::<Vec<_>>());
    }
}
