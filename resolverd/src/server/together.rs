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

/// How many questions are fetched for together; one that comes behind them fetches for itself.
const TOGETHER_MAX: usize = 64;

/// What is looked for and not fetched yet: the hashes of the table of releases.
#[derive(Debug)]
pub(crate) struct Together {
    count: AtomicUsize,
    hashes: [AtomicU64; TOGETHER_MAX],
}

impl Default for Together {
    fn default() -> Together {
        Together { count: AtomicUsize::new(0), hashes: [const { AtomicU64::new(0) }; TOGETHER_MAX] }
    }
}

impl Together {
    /// Notes what a question will look for.
    pub(crate) fn announce(&self, hash: u64) {
        let at = self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(room) = self.hashes.get(at) {
            room.store(hash, Ordering::Relaxed);
        }
    }

    /// Returns what was announced since the last call; nothing where that is a single question, which fetches for itself as fast.
    pub(crate) fn take(&self) -> impl Iterator<Item = u64> + Clone {
        let count = match self.count.swap(0, Ordering::Relaxed) {
            1 => 0,
            count => count.min(TOGETHER_MAX),
        };
        self.hashes.iter().take(count).map(|hash| hash.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_taken_once() {
        let together = Together::default();
        let taken = || together.take().collect::<Vec<_>>();
        assert!(taken().is_empty());
        together.announce(7);
        assert!(taken().is_empty(), "a single one fetches for itself");
        together.announce(8);
        together.announce(9);
        assert_eq!(taken(), [8, 9]);
        assert!(taken().is_empty());
        let many = 1..=TOGETHER_MAX as u64 + 3;
        many.clone().for_each(|hash| together.announce(hash));
        assert_eq!(taken(), many.take(TOGETHER_MAX).collect::<Vec<_>>());
    }
}
