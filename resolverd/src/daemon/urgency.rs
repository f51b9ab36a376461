//! Which threads are given a processor first: those of the server. Where the system refuses that, everything works as before, only
//! less evenly.

use rustix::process::{Pid, setpriority_process};
use tracing::debug;

const LEAST_URGENT: i32 = 19;

/// The name that the allocator gives the threads that return memory to the system.
const ALLOCATOR_THREAD: &str = "jemalloc_bg_thd";

/// Makes this thread, and those that it starts, the last to be given a processor: who asks goes before who syncs.
pub(super) fn step_back() {
    // On Linux a niceness is that of a thread, and no process means the calling one.
    if let Err(error) = setpriority_process(None, LEAST_URGENT) {
        debug!(%error, "syncs are as urgent as answers");
    }
}

/// Makes the threads of the allocator the last to be given a processor as well. They return what a sync has let go of, and clients
/// waited two milliseconds at a time for that. The first of them is older than the program's own code, and starts the others.
pub(super) fn step_back_allocator() {
    // Where there is no such directory, threads have no niceness of their own.
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        if name.trim_end() == ALLOCATOR_THREAD
            && id.is_some()
            && let Err(error) = setpriority_process(id, LEAST_URGENT)
        {
            debug!(%error, "the allocator is as urgent as answers");
        }
    }
}
