//! The one place where a test waits: a bounded number of tries, or a pause whose length is part of the case.

use std::time::Duration;

/// How long one try waits for the next.
const STEP: Duration = Duration::from_millis(10);

/// How many tries there are: 30 seconds on an idle machine, and more on a busy one.
const TRIES: usize = 3_000;

/// Asks until there is an answer; panics with `what` when all tries are spent.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(STEP);
    }
    panic!("gave up waiting: {what}")
}

/// Lets `length` pass, for cases that strike at a random moment. No case may depend on what happens meanwhile.
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}
