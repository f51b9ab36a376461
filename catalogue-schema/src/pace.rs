//! The pace of long work: whoever reads or writes very much tells about how much of it is done, and whoever runs it may let others go
//! first now and then.
//!
//! A scheduler lets what runs keep its processor until the next tick, however little it matters, so that a daemon's answers would wait
//! milliseconds for its sync. Nothing here measures time, waits, or knows of threads and processors: one function is called back.

use std::cell::Cell;

/// How much work lies between two calls, in nanoseconds, roughly: some ten answers.
pub const STRETCH_NS: u32 = 40_000;

/// How much work it is to look at a component and compare it, in nanoseconds, roughly: it lies anywhere in memory.
pub const COMPONENT_NS: usize = 200;
/// How much work it is to read a release, or to write it, in nanoseconds, roughly.
pub const RELEASE_NS: usize = 1_000;

thread_local! {
    /// What is called between two stretches, if anything is.
    static REST: Cell<Option<fn()>> = const { Cell::new(None) };
    /// How much of this one is left, in nanoseconds.
    static LEFT: Cell<u32> = const { Cell::new(STRETCH_NS) };
}

/// Has `rest` called between two stretches of whatever this thread works from now on; nothing is called where it is `None`, as at first.
pub fn set(rest: Option<fn()>) {
    REST.set(rest);
    LEFT.set(STRETCH_NS);
}

/// Returns what is called between two stretches of what this thread works, to be handed on to those that it has work with it.
pub fn rest() -> Option<fn()> {
    REST.get()
}

/// Tells that so much work is done, in nanoseconds, roughly.
pub fn spent(work_ns: usize) {
    let Some(rest) = REST.get() else { return };
    let left = u32::try_from(work_ns).ok().and_then(|work_ns| LEFT.get().checked_sub(work_ns));
    LEFT.set(left.unwrap_or(STRETCH_NS));
    if left.is_none() {
        rest();
    }
}

/// Walks through `items`, each of which is so much work, in nanoseconds.
pub fn each<I: IntoIterator>(items: I, work_ns: usize) -> impl Iterator<Item = I::Item> {
    items.into_iter().inspect(move |_| spent(work_ns))
}

/// How many bytes are digested or written in one go: less than a stretch.
pub const PIECE_BYTES: usize = 1 << 16;

/// Cuts `bytes` into pieces that are digested or written one after the other, for half a nanosecond a byte.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE_BYTES).inspect(|piece| spent(piece.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static RESTED: Cell<usize> = const { Cell::new(0) };
    }

    fn rested_in(work: impl FnOnce()) -> usize {
        RESTED.set(0);
        set(Some(|| RESTED.set(RESTED.get() + 1)));
        work();
        set(None);
        RESTED.get()
    }

    #[test]
    fn long_work_is_cut_into_stretches() {
        assert_eq!(rested_in(|| spent(STRETCH_NS as usize)), 0);
        assert_eq!(rested_in(|| (0..100).for_each(|_| spent(1000))), 2);
        assert_eq!(rested_in(|| spent(usize::MAX)), 1);
        assert_eq!(rested_in(|| each(0..1000, 100).for_each(drop)), 2);
    }

    #[test]
    fn pieces_are_the_bytes_and_each_is_shorter_than_a_stretch() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let mut copy = Vec::new();
        let rested = rested_in(|| pieces(&bytes).for_each(|piece| copy.extend_from_slice(piece)));
        assert_eq!(copy, bytes);
        // No piece is a stretch of its own, but two are more than one.
        assert_eq!(rested, bytes.len().div_ceil(PIECE_BYTES) / 2);
        assert!(pieces(&bytes).all(|piece| piece.len() / 2 < STRETCH_NS as usize));
    }

    #[test]
    fn nothing_is_called_unless_somebody_asked_for_it() {
        RESTED.set(0);
        spent(usize::MAX);
        assert!(rest().is_none());
        assert_eq!(RESTED.get(), 0);
    }
}
