//! Which threads are given a processor first: those of the server. Where the system refuses that, everything works as before, only
//! less evenly.

use rustix::process::{Pid, setpriority_process};
use tracing::debug;

const LEAST_URGENT: i32 = 19;

/// What the names of the threads begin with that libraries start: those of the allocator return memory to the system, those of the
/// index's engine write its pages.
const LIBRARY_THREADS: [&str; 2] = ["jemalloc_bg_thd", "sled-io-"];

/// Makes this thread, and those that it starts, the last to be given a processor: who asks goes before who syncs.
pub(super) fn step_back() {
    // On Linux a niceness is that of a thread, and no process means the calling one.
    if let Err(error) = setpriority_process(None, LEAST_URGENT) {
        debug!(%error, "syncs are as urgent as answers");
    }
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
