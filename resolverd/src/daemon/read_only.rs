//! Answers in process from a state directory that cannot be written: on a read-only file system, or without the right to.
//!
//! The index is opened in a temporary copy, since the engine writes into what it opens. Takes no lock, writes nothing below
//! the state directory, and answers reads only; the status says that it is degraded.

use std::io::ErrorKind;

use catalogue_schema::model::Refusal;

use crate::api::{Call, Reply};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::examine::kept;
use crate::daemon::writer::{now_s, shown};
use crate::daemon::{documents, records};
use crate::server::answer::Times;
use crate::server::solve::Solving;
use crate::server::{self, Caller, State, Work};
use crate::shelf::Shelf;
use crate::store::StoreError;
use crate::store::checks::Checks;
use crate::store::inspect;
use crate::store::memory::Memory;
use crate::sync::standing::Standing;

/// Answers a read whose store could not be opened because of `error`, where that says that nothing can be written and the
/// last generation can be read; gives the error back otherwise.
pub(super) fn answer(settings: &Settings, call: &Call, error: DaemonError) -> Result<Reply, DaemonError> {
    match is_unwritable(&error) && matches!(server::work(call), Work::None) {
        true => read(settings, call, &error).ok_or(error),
        false => Err(error),
    }
}

fn is_unwritable(error: &DaemonError) -> bool {
    let DaemonError::Store(StoreError::Io { source, .. }) = error else { return false };
    matches!(source.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

fn read(settings: &Settings, call: &Call, error: &DaemonError) -> Option<Reply> {
    let directory = &settings.state_dir;
    let shelf = Shelf::to_read(directory).ok()?;
    let generation = inspect::kept(directory).ok()?.generation?;
    let snapshot = kept::snapshot(directory, &generation, &shelf).ok()?;
    // What was judged by other policies than those of today is not for today.
    let policies = Standing::first(&settings.policy_files, &Memory::to_read(directory));
    let ruled = generation.policy.as_ref().map(|ruled| &ruled.digest);
    if policies.is_locked || ruled != policies.in_force.digest() {
        return None;
    }
    let state = State::new(None, documents(shelf)).with_records(records(settings));
    state.show_policies(shown(&policies));
    state.show_ages(Checks::load(directory).ages(Memory::to_read(directory).clock(now_s())));
    let found = format!("{error}; answers come from the last generation that is there");
    let problem =
        Refusal::new("store.read_only", directory.display(), "a state directory that can be written", found);
    state.show_times(Times { problems: vec![problem], ..Times::default() });
    state.show_solving(Solving::within(&settings.limits));
    state.show_platforms(&settings.platforms);
    state.publish(snapshot);
    Some(server::respond(&state, call, Caller::Reader))
}
