//! Turns at a processor: sources are read side by side since others are waited for, but each document that is there is work, and whoever
//! answers requests meanwhile shall find a processor that is free. So half of the processors read at a time; the others wait, or ask.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many may work at the same time. Who comes first is served first.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// How many have come, and how many of them were served.
    come: u64,
    served: u64,
}

/// Leave to work, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// A turn that others may have meanwhile; it is waited for when this is dropped.
struct Lent<'a>(&'a Turns, &'a Cell<Duration>);

impl Turns {
    /// Makes turns for half of so many processors, at least one.
    pub(super) fn of_half(processors: usize) -> Turns {
        let state = State { free: (processors / 2).max(1), come: 0, served: 0 };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn<'_> {
        self.wait();
        Turn(self)
    }

    /// Lends the turn of its caller to others while it waits for something. Tells besides how long it then waited for a turn.
    pub(super) fn lend<T>(&self, wait: impl FnOnce() -> T) -> (T, Duration) {
        self.give_back();
        let waited = Cell::default();
        let lent = Lent(self, &waited);
        let found = wait();
        drop(lent);
        (found, waited.get())
    }

    fn wait(&self) {
        // Numbers are whole whoever panicked.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.come;
        state.come += 1;
        while state.free == 0 || state.served != mine {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= 1;
        state.served += 1;
        drop(state);
        // The next in the row may find another one free.
        self.changed.notify_all();
    }

    fn give_back(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).free += 1;
        self.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let started = Instant::now();
        self.0.wait();
        self.1.set(started.elapsed());
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
            assert_eq!(all.state.lock().unwrap().free, turns, "{processors} processors");
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
        assert_eq!(all.state.lock().unwrap().free, 1);
    }

    #[test]
    fn who_comes_first_is_served_first() {
        let (all, order) = (Turns::of_half(2), Mutex::new(Vec::new()));
        let (all, order) = (&all, &order);
        std::thread::scope(|threads| {
            let turn = all.take();
            for number in 0..8 {
                threads.spawn(move || {
                    let _turn = all.take();
                    order.lock().unwrap().push(number);
                });
                // The next one comes when this one waits.
                while all.state.lock().unwrap().come < number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(turn);
        });
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }
}
