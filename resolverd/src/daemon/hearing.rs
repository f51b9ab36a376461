//! Work in this process that somebody watches: another thread hands on how far it comes, so that the work never waits for a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use serde_json::{Value, json};

use crate::fetch::progress::Progress;

/// Hears a line of progress: what stands under `progress` in a line of `POST /v1/materialize`.
pub type Hear<'a> = dyn Fn(&Value) + Sync + 'a;

/// Does the work; `hear` hears how far it comes, of each release what is newest when it has heard the line before.
pub(super) fn heard<T>(hear: Option<&Hear<'_>>, work: impl FnOnce(Option<&Arc<Progress>>) -> T) -> T {
    let Some(hear) = hear else { return work(None) };
    let (wake, woken) = sync_channel(1);
    let ended = AtomicBool::new(false);
    let last = wake.clone();
    // One word that waits is enough.
    let progress = Progress::new(move || {
        let _ = wake.try_send(());
    });
    let (seen, over) = (&progress, &ended);
    thread::scope(|scope| {
        let listen = move || {
            while woken.recv().is_ok() {
                let is_last = over.load(Ordering::Acquire);
                seen.take().iter().for_each(|row| hear(&json!(row)));
                if is_last {
                    return;
                }
            }
        };
        // Without another thread the work is done unseen.
        let is_seen = thread::Builder::new().spawn_scoped(scope, listen).is_ok();
        let end = End { ended: &ended, wake: &last };
        let done = work(Some(&progress).filter(|_| is_seen));
        drop(end);
        done
    })
}

/// Tells the listening thread that nothing more comes, also where the work panics.
struct End<'a> {
    ended: &'a AtomicBool,
    wake: &'a SyncSender<()>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Full means that a word waits, which is heard after this.
        let _ = self.wake.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use catalogue_schema::digest::Digest;

    use super::*;
    use crate::fetch::progress::Step;

    #[test]
    fn what_was_said_last_is_heard_before_the_work_is_over() {
        let claim = Digest::sha256(b"a");
        for _ in 0..50 {
            let lines = Mutex::new(Vec::new());
            let hear = |line: &Value| lines.lock().expect("lines").push(line["step"].clone());
            let done = heard(Some(&hear), |progress| {
                let progress = progress.expect("a thread");
                progress.expect(&claim, "a");
                progress.hear(&claim, Step::Waiting);
                progress.hear(&claim, Step::Ready);
                7
            });
            assert_eq!(done, 7);
            assert_eq!(*lines.lock().expect("lines"), ["waiting", "ready"]);
        }
        assert!(heard(None, |progress| progress.is_none()));
    }
}
