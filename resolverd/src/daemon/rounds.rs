//! What the writer does beside orders: timers, the files that are watched, the word to the service manager.
//!
//! Reads the clocks for the writer's loop. Never reads a source itself: what is due comes back as the next thing to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use catalogue_schema::generation::{Generation, Health};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Source;
use tracing::warn;

use crate::config::Settings;
use crate::daemon::notify::Notifier;
use crate::daemon::timer::{Schedule, Went};
use crate::order::{Order, Outcome};
use crate::watch::{Watch, Watched};

/// The longest sleep towards an instant of the wall clock, which may be set meanwhile.
const WALL_SLEEP_MAX: Duration = Duration::from_secs(60);
/// What a task may take beside the reading of sources before the writer counts as stuck.
const TASK_GRACE: Duration = Duration::from_secs(300);

/// What goes on beside orders.
#[derive(Debug)]
pub(super) struct Rounds {
    started: Instant,
    schedule: Schedule,
    watch: Option<Watch>,
    notifier: Arc<Notifier>,
    pulse: Arc<Pulse>,
}

/// Whether the writer waits or works, and until when work is no reason to worry.
#[derive(Debug)]
pub(super) struct Pulse {
    started: Instant,
    /// 0 while the writer waits, else when the task should be over, in milliseconds since the start.
    over_ms: AtomicU64,
}

impl Pulse {
    /// Starts with a writer that waits.
    pub(super) fn new() -> Pulse {
        Pulse { started: Instant::now(), over_ms: AtomicU64::new(0) }
    }

    /// Tells whether the writer works.
    pub(super) fn is_working(&self) -> bool {
        self.over_ms.load(Ordering::Relaxed) > 0
    }

    /// Tells whether the writer waits, or has worked for no longer than its task may take.
    pub(super) fn is_sound(&self) -> bool {
        let over_ms = self.over_ms.load(Ordering::Relaxed);
        over_ms == 0 || self.started.elapsed() < Duration::from_millis(over_ms)
    }

    fn work(&self, at_most: Duration) {
        let over = self.started.elapsed().saturating_add(at_most).as_millis();
        self.over_ms.store(u64::try_from(over).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    fn rest(&self) {
        self.over_ms.store(0, Ordering::Relaxed);
    }
}

/// Who is in force when rounds are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce<'a> {
    pub(super) settings: &'a Settings,
    pub(super) sources: &'a [Source],
    /// The keys that trust policies name.
    pub(super) key_files: &'a [PathBuf],
    pub(super) generation: Option<&'a Generation>,
}

impl Rounds {
    /// Starts; edits of watched files become `orders`. Without a watch everything else goes on.
    pub(super) fn new(
        orders: std::sync::mpsc::Sender<Order>,
        notifier: Arc<Notifier>,
        pulse: Arc<Pulse>,
    ) -> Rounds {
        let watch = Watch::start(orders);
        let watch = watch.map_err(|error| warn!(%error, "files are not watched")).ok();
        let schedule = Schedule::new(u64::from(std::process::id()));
        Rounds { started: Instant::now(), schedule, watch, notifier, pulse }
    }

    /// Takes what is in force before the first order; the configuration was read after `since`.
    pub(super) fn begin(&mut self, now: InForce<'_>, since: SystemTime) {
        self.arrange(now, since);
    }

    /// Returns how long the writer may wait for an order: until a source is due, or until `change_s`, when something in the
    /// generation changes by itself.
    pub(super) fn patience(&self, change_s: Option<i64>, now_s: i64) -> Duration {
        let due = self.schedule.next().map(|due| due.saturating_sub(self.started.elapsed()));
        let change = change_s.map(|at| {
            let seconds = u64::try_from(at.saturating_sub(now_s)).unwrap_or_default();
            Duration::from_secs(seconds).min(WALL_SLEEP_MAX)
        });
        due.into_iter().chain(change).min().unwrap_or(Duration::MAX)
    }

    /// Returns the sources whose time has come.
    pub(super) fn due(&self) -> Vec<SourceId> {
        self.schedule.due(self.started.elapsed())
    }

    /// Says that a task begins.
    pub(super) fn working(&self, now: InForce<'_>, kind: Kind) {
        let sources = u64::try_from(now.sources.len()).unwrap_or(u64::MAX).saturating_add(1);
        let reading = Duration::from_secs(now.settings.limits.total_s.saturating_mul(sources));
        self.pulse.work(reading.saturating_add(TASK_GRACE));
        if kind == Kind::Reload {
            self.notifier.reloading();
        }
    }

    /// Says that a task is over, and takes what is in force now. `named` are the sources that it was for; none for all.
    pub(super) fn worked(
        &mut self,
        now: InForce<'_>,
        kind: Kind,
        named: &[SourceId],
        outcome: &Outcome,
        since: SystemTime,
    ) {
        self.arrange(now, since);
        let asked = |id: &SourceId| named.is_empty() || named.contains(id);
        let went: Vec<(SourceId, Went)> = match outcome {
            Ok(report) => report
                .sources
                .iter()
                .filter(|source| asked(&source.id))
                .map(|source| {
                    let is_well = source.health == Health::Fresh && source.error.is_none();
                    (source.id.clone(), if is_well { Went::Well } else { Went::Wrong })
                })
                .collect(),
            // A broken file says nothing about sources.
            Err(_) if kind == Kind::Reload => Vec::new(),
            Err(_) => {
                let all = now.sources.iter().map(|source| &source.id).filter(|id| asked(id));
                all.map(|id| (id.clone(), Went::Wrong)).collect()
            }
        };
        self.schedule.ran(self.started.elapsed(), &went);
        let status = status(now);
        match kind {
            Kind::Reload => self.notifier.ready(&status),
            Kind::Other => self.notifier.status(&status),
        }
        self.pulse.rest();
    }

    /// Says that a task is over that read no source.
    pub(super) fn rested(&self, now: InForce<'_>) {
        self.notifier.status(&status(now));
        self.pulse.rest();
    }

    /// Says that everything was judged by the policies that were read after `since`.
    pub(super) fn judged(&mut self, now: InForce<'_>, since: SystemTime) {
        self.arrange(now, since);
        self.rested(now);
    }

    fn arrange(&mut self, now: InForce<'_>, since: SystemTime) {
        let timed: &[Source] = if now.settings.offline { &[] } else { now.sources };
        self.schedule.arrange(timed, now.settings.refresh_s, self.started.elapsed());
        if let Some(watch) = &self.watch {
            watch.set(watched(now), since);
        }
    }
}

/// What a task means for those outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The configuration is read again.
    Reload,
    /// Anything else.
    Other,
}

/// Returns one line about what is served.
pub(super) fn status(now: InForce<'_>) -> String {
    match now.generation {
        None => format!("nothing has been read yet of {} sources", now.sources.len()),
        Some(generation) => {
            let fresh = generation.sources.iter().filter(|state| state.health == Health::Fresh).count();
            format!(
                "generation {} with {} components of {} sources, {fresh} of them fresh",
                generation.number,
                generation.components,
                now.sources.len()
            )
        }
    }
}

/// Returns the files whose edits matter: the configuration, and what sources on this machine consist of.
fn watched(now: InForce<'_>) -> Watched {
    let mut watched = Watched::default();
    watched.add_configuration(&now.settings.sources_file);
    for path in now.settings.config_files() {
        watched.add_configuration(&path);
    }
    for file in &now.settings.policy_files {
        watched.add_policy(&file.path);
    }
    for key in now.key_files {
        watched.add_policy(key);
    }
    let read = || now.sources.iter().filter(|source| !source.offline);
    for source in read() {
        watched.add_location(&source.entry, &source.id);
    }
    let catalogues = now.generation.map_or(&[][..], |generation| &generation.catalogues);
    for errand in catalogues.iter().map(|state| &state.errand) {
        let (Some(location), Some(node)) = (errand.want.location(), errand.node()) else {
            continue;
        };
        if read().any(|source| source.id == node.id.source) {
            watched.add_location(location, &node.id.source);
        }
    }
    watched
}
