//! Whether anybody is there: how many connections are open, and since when nobody has been.
//!
//! Counts connections, not requests: an event stream is somebody. Never decides what follows from it.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Who is there.
#[derive(Debug)]
pub struct Activity(Mutex<Presence>);

#[derive(Debug)]
struct Presence {
    open: usize,
    last: Instant,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub struct Present(Arc<Activity>);

impl Activity {
    /// Starts with nobody, at `now`.
    pub fn new(now: Instant) -> Activity {
        Activity(Mutex::new(Presence { open: 0, last: now }))
    }

    /// Notes that somebody is there until the result is dropped.
    pub fn enter(self: &Arc<Activity>) -> Present {
        self.change(|presence| presence.open += 1);
        Present(Arc::clone(self))
    }

    /// Notes that somebody was there just now.
    pub fn touch(&self) {
        self.change(|presence| presence.last = Instant::now());
    }

    /// Returns since when nobody has been there, at `now`; zero while somebody is.
    pub fn idle_for(&self, now: Instant) -> Duration {
        let mut idle = Duration::ZERO;
        self.change(|presence| {
            if presence.open == 0 {
                idle = now.saturating_duration_since(presence.last);
            }
        });
        idle
    }

    /// Held for a few instructions only, none of which can panic.
    fn change(&self, change: impl FnOnce(&mut Presence)) {
        let mut presence = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut presence);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.change(|presence| {
            presence.open = presence.open.saturating_sub(1);
            presence.last = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_idle_while_a_connection_is_open() {
        let start = Instant::now();
        let activity = Arc::new(Activity::new(start));
        let minute = Duration::from_secs(60);
        assert_eq!(activity.idle_for(start + minute), minute);
        let (one, two) = (activity.enter(), activity.enter());
        drop(one);
        assert_eq!(activity.idle_for(start + minute), Duration::ZERO);
        drop(two);
        let idle = activity.idle_for(start + minute);
        assert!(idle > Duration::ZERO && idle <= minute, "{idle:?}");
    }
}
