//! The one place where a test waits: a bounded number of tries, or a pause whose length is part of the case.

use std::time::Duration;

/// How long one try waits for the next, and how many tries there are. Short ones at first, since most answers come soon; then long ones,
/// so that tests that wait leave the processors to the daemon. In all five minutes on an idle machine, and more on a busy one: mostly
/// a test waits for threads of the least urgency, which every other program goes before.
const STEPS: [(Duration, usize); 2] = [(Duration::from_millis(10), 200), (Duration::from_millis(100), 3_000)];

/// Asks until there is an answer; panics with `what` when all tries are spent.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for (step, tries) in STEPS {
        for _ in 0..tries {
            if let Some(answer) = ask() {
                return answer;
            }
            std::thread::sleep(step);
        }
    }
    panic!("gave up waiting: {what}")
}

/// Lets `length` pass, for cases that strike at a random moment. No case may depend on what happens meanwhile.
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}
