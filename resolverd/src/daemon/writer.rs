//! The one writer: a thread that carries out orders, and everything that changes state.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalogue_schema::generation::Generation;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::{Refusal, Source};
use tracing::{debug, error, warn};

use crate::config::{ConfigError, Settings};
use crate::daemon::error::DaemonError;
use crate::fetch::Origins;
use crate::order::{Order, OrderError, Outcome, SyncReport};
use crate::server::State;
use crate::shelf::Shelf;
use crate::store::checks::Checks;
use crate::store::{Opened, Snapshot, StateLock, Store};
use crate::sync::{Past, Scope, Sync, SyncError};

/// The one writer: everything that changes state goes through it.
pub(super) struct Writer {
    pub(super) settings: Settings,
    /// Those of the sources file; until it has been read, those of the last generation.
    pub(super) sources: Arc<[Source]>,
    origins: Origins,
    pub(super) shelf: Shelf,
    store: Store,
    pub(super) past: Option<Kept>,
    pub(super) checks: Checks,
    /// Held as long as the writer lives.
    _lock: StateLock,
}

/// What was committed last.
pub(super) enum Kept {
    File(Box<Generation>),
    Snapshot(Arc<Snapshot>),
}

impl Writer {
    /// Opens the state directory; a damaged index is rebuilt from the shelf before anything is answered.
    pub(super) fn open(
        settings: &Settings,
        wait: Duration,
    ) -> Result<(Writer, Option<Arc<Snapshot>>), DaemonError> {
        let lock = StateLock::acquire(&settings.state_dir, wait)?;
        let shelf = Shelf::open(&settings.state_dir)?;
        let (store, opened) = Store::open(&settings.state_dir, &lock, &shelf)?;
        let mut writer = Writer {
            settings: settings.clone(),
            sources: Arc::default(),
            origins: origins(settings)?,
            shelf,
            store,
            past: None,
            checks: Checks::load(&settings.state_dir),
            _lock: lock,
        };
        match opened {
            Opened::Empty => {}
            Opened::Warm(snapshot) => {
                writer.sources = sources_of(&snapshot.generation);
                writer.past = Some(Kept::Snapshot(snapshot));
            }
            Opened::Rebuild { generation, why } => {
                warn!(generation = generation.number, %why, "rebuilding the index from the shelf");
                writer.sources = sources_of(&generation);
                writer.past = Some(Kept::File(generation));
                writer.run(&writer.sources.clone(), Scope::Rebuild)?;
            }
        }
        let served = match &writer.past {
            Some(Kept::Snapshot(snapshot)) => Some(Arc::clone(snapshot)),
            _ => None,
        };
        Ok((writer, served))
    }

    /// Carries out orders until it is told to stop. Nothing that an order meets ends the thread.
    pub(super) fn work(&mut self, inbox: &Receiver<Order>, state: &State) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                waiting.extend(inbox.recv());
            }
            waiting.extend(inbox.try_iter());
            if waiting.iter().any(|order| matches!(order, Order::Stop)) {
                return;
            }
            let Some((task, replies)) = next_task(&mut waiting) else { return };
            let outcome = contained(|| match &task {
                Task::Reload => self.reloaded(state),
                Task::Sync(sources) => self.sync(sources, state),
                Task::Refresh(ids) => self.refresh(ids, state),
                Task::Forget(source, catalogue, why) => self.forget(source, catalogue.as_ref(), why, state),
            });
            match &outcome {
                Ok(_) => {}
                // The caller's mistake, and the caller is told.
                Err(problem @ OrderError::NoSuchSource(_)) => debug!(%problem, "the order was refused"),
                Err(problem) => error!(%problem, "the order failed; the last generation stays"),
            }
            for reply in replies {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    fn reloaded(&mut self, state: &State) -> Outcome {
        let reloaded = self.reload().map_err(|problem| of_config(&problem));
        state.show_problem(reloaded.as_ref().err().cloned());
        reloaded.map_err(OrderError::Config)?;
        self.sync(&[], state)
    }

    fn forget(
        &mut self,
        source: &SourceId,
        catalogue: Option<&SourceId>,
        why: &str,
        state: &State,
    ) -> Outcome {
        let _ = (catalogue, why);
        self.sync(std::slice::from_ref(source), state)
    }

    pub(super) fn reload(&mut self) -> Result<(), ConfigError> {
        let settings = self.settings.again()?;
        let sources = settings.sources()?;
        if settings.network != self.settings.network {
            self.origins = origins(&settings)?;
        }
        (self.settings, self.sources) = (settings, sources.into());
        Ok(())
    }

    pub(super) fn sync(&mut self, named: &[SourceId], state: &State) -> Outcome {
        if let Some(unknown) = named.iter().find(|name| self.sources.iter().all(|source| source.id != **name))
        {
            return Err(OrderError::NoSuchSource(unknown.clone()));
        }
        self.synced(if named.is_empty() { Scope::All } else { Scope::Named(named) }, state)
    }

    /// Reads all sources, with every document of the components `ids`.
    pub(super) fn refresh(&mut self, ids: &[ComponentId], state: &State) -> Outcome {
        self.synced(Scope::Wanting(&ids.iter().cloned().collect()), state)
    }

    fn synced(&mut self, scope: Scope<'_>, state: &State) -> Outcome {
        let report = self
            .run(&self.sources.clone(), scope)
            .map_err(|problem| OrderError::Store(problem.to_string()))?;
        let checked: Vec<SourceId> =
            report.sources.iter().filter(|source| source.checked).map(|source| source.id.clone()).collect();
        let configured: Vec<SourceId> = report.sources.iter().map(|source| source.id.clone()).collect();
        self.checks.note(&checked, &configured, now_s());
        state.show_ages(self.checks.ages(now_s()));
        if let (true, Some(Kept::Snapshot(snapshot))) = (report.changed, &self.past) {
            state.publish(Arc::clone(snapshot));
        }
        Ok(report)
    }

    pub(super) fn run(&mut self, sources: &[Source], scope: Scope<'_>) -> Result<SyncReport, SyncError> {
        let sync = Sync {
            shelf: &self.shelf,
            origins: &self.origins,
            limits: &self.settings.limits,
            forges: &self.settings.forges,
            offline: self.settings.offline,
            now_s: now_s(),
        };
        let past = match &self.past {
            None => Past::Nothing,
            Some(Kept::File(generation)) => Past::File(generation),
            Some(Kept::Snapshot(snapshot)) => Past::Snapshot(snapshot),
        };
        let done = sync.run(&mut self.store, past, sources, scope)?;
        if let Some(snapshot) = done.snapshot {
            self.past = Some(Kept::Snapshot(snapshot));
        }
        Ok(done.report)
    }
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Reload,
    Sync(Vec<SourceId>),
    Refresh(Vec<ComponentId>),
    Forget(SourceId, Option<SourceId>, String),
}

/// Takes the order that has waited longest, and with it every order that the same run answers: those for the same work
/// that wait already, up to the next order to reload, behind which other sources may be in force.
fn next_task(waiting: &mut VecDeque<Order>) -> Option<(Task, Vec<Sender<Outcome>>)> {
    let (task, reply) = split(waiting.pop_front()?)?;
    let mut replies: Vec<Sender<Outcome>> = reply.into_iter().collect();
    let mut later = VecDeque::new();
    let mut may_join = true;
    for order in waiting.drain(..) {
        let is_same = match (&order, &task) {
            (Order::Reload { .. }, Task::Reload) => true,
            (Order::Sync { sources, .. }, Task::Sync(named)) => sources == named,
            (Order::Refresh { ids, .. }, Task::Refresh(wanted)) => ids == wanted,
            _ => false,
        };
        may_join &= is_same || !matches!(order, Order::Reload { .. });
        match is_same && may_join {
            true => replies.extend(split(order).and_then(|(_, reply)| reply)),
            false => later.push_back(order),
        }
    }
    *waiting = later;
    Some((task, replies))
}

fn split(order: Order) -> Option<(Task, Option<Sender<Outcome>>)> {
    match order {
        Order::Sync { sources, reply } => Some((Task::Sync(sources), reply)),
        Order::Refresh { ids, reply } => Some((Task::Refresh(ids), reply)),
        Order::Reload { reply } => Some((Task::Reload, reply)),
        Order::Forget { source, catalogue, why, reply } => {
            Some((Task::Forget(source, catalogue, why), reply))
        }
        Order::Stop => None,
    }
}

/// Turns a panic of this program into a failed order.
fn contained(work: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OrderError::Store("the sync ended in a fault of this program".to_owned())))
}

fn origins(settings: &Settings) -> Result<Origins, ConfigError> {
    Origins::new(settings.network.clone()).map_err(ConfigError::Network)
}

fn sources_of(generation: &Generation) -> Arc<[Source]> {
    generation.sources.iter().map(|state| state.source.clone()).collect()
}

pub(super) fn of_config(problem: &ConfigError) -> Refusal {
    match problem {
        ConfigError::Network(refusal) => refusal.clone(),
        ConfigError::Sources { path, error } => Refusal::of(path.display(), error),
        other => Refusal::new("config.invalid", "the configuration", "", other),
    }
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "the daemon is where the clock is read")]
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Orders are written `all`, `reload`, `stop` or the name of a source; the answer is each task and how many orders it answers.
    fn check(orders: &str, expected: &str) {
        let (reply, _answers) = channel();
        let order = |word: &str| match word {
            "stop" => Order::Stop,
            "reload" => Order::Reload { reply: Some(reply.clone()) },
            "refresh" => Order::Refresh { ids: Vec::new(), reply: Some(reply.clone()) },
            "all" => Order::Sync { sources: Vec::new(), reply: Some(reply.clone()) },
            name => Order::Sync {
                sources: vec![SourceId::parse(name).expect("an id")],
                reply: Some(reply.clone()),
            },
        };
        let mut waiting: VecDeque<Order> = orders.split_whitespace().map(order).collect();
        let mut done = Vec::new();
        while let Some((task, replies)) = next_task(&mut waiting) {
            let name = match task {
                Task::Reload => "reload".to_owned(),
                Task::Forget(source, ..) => format!("forget {source}"),
                Task::Refresh(ids) => format!("refresh {}", ids.len()),
                Task::Sync(sources) => sources.first().map_or("all".to_owned(), ToString::to_string),
            };
            done.push(format!("{name}*{}", replies.len()));
        }
        assert_eq!(done.join(" "), expected, "{orders}");
    }

    #[test]
    fn orders_that_wait_together_for_the_same_work_get_one_run() {
        check("", "");
        check("all", "all*1");
        check("all all all", "all*3");
        check("all a all b a", "all*2 a*2 b*1");
        check("refresh all refresh", "refresh 0*2 all*1");
        check("all reload all reload", "all*1 reload*2 all*1");
        check("reload all reload all", "reload*2 all*2");
        check("a reload a a", "a*1 reload*1 a*2");
    }

    #[test]
    fn a_panic_fails_the_order_alone() {
        let outcome = contained(|| std::panic::resume_unwind(Box::new("a fault")));
        assert!(matches!(outcome, Err(OrderError::Store(text)) if text.contains("fault")));
    }
}
