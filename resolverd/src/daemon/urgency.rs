//! Which threads are given a processor first: those of the server. Where the system refuses that, everything works as before, only
//! less evenly.

use std::cell::Cell;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use catalogue_schema::pace;
use rustix::process::{Pid, setpriority_process};
use tracing::debug;

const LEAST_URGENT: i32 = 19;

/// What the names of the threads begin with that libraries start: those of the allocator return memory to the system, those of the
/// index's engine write its pages.
const LIBRARY_THREADS: [&str; 2] = ["jemalloc_bg_thd", "sled-io-"];

/// Makes this thread, and those that it starts, the last to be given a processor: who asks goes before who syncs. However little it
/// matters, the scheduler lets it keep a processor until the next tick when somebody else wakes, so that it gives way by itself.
pub(super) fn step_back() {
    pace::set(Some(give_way));
    // On Linux a niceness is that of a thread, and no process means the calling one.
    if let Err(error) = setpriority_process(None, LEAST_URGENT) {
        debug!(%error, "syncs are as urgent as answers");
    }
}

/// The part of a processor that a thread of the least urgency has beside one that is always busy: 15 of 1039, which is what the
/// scheduler's weights say (`sched_prio_to_weight` of Linux). Four times that, since what it does not give away is taken from it as well:
/// with twice that a sync beside busy programs took half as long again as one that gave nothing away.
const PART: u32 = 16;
/// The most that is owed, in stretches: some 100 ms. Who was stopped for an hour was not kept waiting by anybody.
const OWED_MAX: u32 = 2_500;

thread_local! {
    /// How many stretches this thread works on without giving way.
    static OWED: Cell<u32> = const { Cell::new(0) };
}

/// Lets others go first who want this processor. The scheduler takes whoever gives way for one that wants nothing: beside programs
/// that are always busy a sync would come to an end some thirty times later than its niceness says. So for the time that others were
/// given, this thread takes its part before it gives way again.
fn give_way() {
    if let Some(left) = OWED.get().checked_sub(1) {
        return OWED.set(left);
    }
    let before = Instant::now();
    yield_now();
    OWED.set(owed_for(before.elapsed()));
}

/// Returns how many stretches of work are owed to a thread of the least urgency that has waited for so long.
fn owed_for(waited: Duration) -> u32 {
    let owed = (waited / PART).as_nanos() / u128::from(pace::STRETCH_NS);
    u32::try_from(owed).map_or(OWED_MAX, |owed| owed.min(OWED_MAX))
}

/// Makes the threads of libraries the last to be given a processor as well. They return what a sync has let go of and write what it has
/// found, and clients waited two milliseconds at a time for that. The allocator's first one is older than the program's own code,
/// and starts the others; the engine's are as urgent as whoever opened the index first.
pub(super) fn step_back_libraries() {
    // Where there is no such directory, threads have no niceness of their own.
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        if LIBRARY_THREADS.iter().any(|library| name.starts_with(library))
            && id.is_some()
            && let Err(error) = setpriority_process(id, LEAST_URGENT)
        {
            debug!(%error, thread = name.trim_end(), "as urgent as answers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waited_long_works_on_for_its_part_of_that() {
        // Between two requests nothing is owed.
        assert_eq!(owed_for(Duration::ZERO), 0);
        assert_eq!(owed_for(Duration::from_micros(100)), 0);
        // A busy program had a tenth of a second: so many stretches are a sixteenth part of that.
        let owed = u64::from(owed_for(Duration::from_millis(100))) * u64::from(pace::STRETCH_NS);
        let part = 100_000_000 / u64::from(PART);
        assert!((part - u64::from(pace::STRETCH_NS)..=part).contains(&owed), "{owed} of {part}");
        // Nor is it a debt that a process was stopped.
        assert_eq!(owed_for(Duration::from_secs(3600)), OWED_MAX);
        assert_eq!(owed_for(Duration::MAX), OWED_MAX);
    }

    #[test]
    fn nothing_is_given_away_while_something_is_owed() {
        OWED.set(2);
        give_way();
        assert_eq!(OWED.get(), 1);
        give_way();
        assert_eq!(OWED.get(), 0);
    }
}
