//! Turns at a processor: sources are read side by side since others are waited for, but each document that is there is work, and whoever
//! answers requests meanwhile shall find a processor that is free. So half of the processors read at a time; the others wait, or ask.

use std::sync::{Condvar, Mutex, PoisonError};

/// How many may work at the same time.
#[derive(Debug)]
pub(super) struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Leave to work, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// A turn that others may have meanwhile; it is waited for when this is dropped.
struct Lent<'a>(&'a Turns);

impl Turns {
    /// Makes turns for half of so many processors, at least one.
    pub(super) fn of_half(processors: usize) -> Turns {
        Turns { free: Mutex::new((processors / 2).max(1)), given_back: Condvar::new() }
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn<'_> {
        self.wait();
        Turn(self)
    }

    /// Lends the turn of its caller to others while it waits for something.
    pub(super) fn lend<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.give_back();
        let _lent = Lent(self);
        wait()
    }

    fn wait(&self) {
        // A number is whole whoever panicked.
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
    }

    fn give_back(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.given_back.notify_one();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn no_more_work_at_once_than_there_are_turns() {
        for (processors, turns) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (9, 4)] {
            let (all, working, most) = (Turns::of_half(processors), AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|threads| {
                for _ in 0..8 {
                    threads.spawn(|| {
                        for _ in 0..200 {
                            let _turn = all.take();
                            most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::yield_now();
                            working.fetch_sub(1, Ordering::SeqCst);
                            all.lend(std::thread::yield_now);
                        }
                    });
                }
            });
            assert!((1..=turns).contains(&most.load(Ordering::SeqCst)), "{processors} processors");
            assert_eq!(*all.free.lock().unwrap(), turns, "{processors} processors");
        }
    }

    #[test]
    fn who_waits_for_others_holds_nobody_up() {
        let all = Turns::of_half(2);
        let (ask, asked) = channel();
        let (answer, answered) = channel();
        std::thread::scope(|threads| {
            let all = &all;
            threads.spawn(move || {
                let _turn = all.take();
                // The answer comes from whoever gets the turn meanwhile.
                all.lend(|| {
                    ask.send(()).unwrap();
                    answered.recv().unwrap()
                })
            });
            asked.recv().unwrap();
            let _turn = all.take();
            answer.send(()).unwrap();
        });
        let broken = catch_unwind(AssertUnwindSafe(|| {
            let _turn = all.take();
            all.lend(|| panic!("on purpose"))
        }));
        assert!(broken.is_err());
        assert_eq!(*all.free.lock().unwrap(), 1);
    }
}
