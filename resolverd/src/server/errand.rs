//! What the desk is asked for: releases that were chosen, their compose files, and how its refusals are told. Puts nothing on disk
//! itself.

use std::cell::OnceCell;

use catalogue_schema::direct::is_direct;
use catalogue_schema::model::Refusal;

use crate::api::{Code, Failure};
use crate::resolve::Pick;
use crate::server::State;
use crate::server::direct::Described;
use crate::server::files::{Choice, Composed, Desk, Errand, Materialize};
use crate::store::Snapshot;

/// Returns who puts files on disk.
///
/// **Errors**: nobody does.
pub(super) fn desk(state: &State) -> Result<&Desk, Failure> {
    state.desk.as_ref().ok_or_else(|| {
        Failure::new(Code::StoreUnavailable, "read_only", "nobody here puts files on disk")
            .hint("name a cache directory with cache_dir or RESOLVERD_CACHE_DIR")
    })
}

/// Returns the releases that were chosen, read.
pub(super) fn choices<'p, 'a: 'p>(
    picks: impl Iterator<Item = &'p Pick<'a>>,
    described: &[Described],
) -> Result<Vec<Choice>, Failure> {
    let choice = |pick: &Pick<'_>| {
        let owner = pick.component.head()?.owner;
        let is_picked = |one: &&Described| one.release.id.as_text() == pick.component.id_text();
        match described.iter().find(is_picked).filter(|_| is_direct(&owner)) {
            Some(one) => Ok(one.choice()),
            None => Ok(Choice::Listed(Box::new((pick.release.release()?, owner)))),
        }
    };
    picks.map(choice).collect()
}

/// Returns the compose file of each release.
pub(super) fn composed(
    state: &State,
    choices: &[Choice],
    snapshot: &Snapshot,
    asked: &Materialize,
) -> Result<Vec<Composed>, Failure> {
    let facts = state.facts();
    let list = OnceCell::new();
    let read = || facts.records.as_ref()?.read(&snapshot.generation).ok();
    let documents = || list.get_or_init(read).clone();
    let composed = (desk(state)?.compose)(&Errand {
        choices,
        snapshot: Some(snapshot),
        policies: &facts.policies.in_force,
        documents: &documents,
        offline: asked.offline,
        refetch: false,
        layout: None,
        hold: None,
        mirrors: &asked.mirrors,
        uid: asked.asking.uid,
        gone: asked.gone.as_ref(),
        progress: asked.progress.as_ref(),
    });
    composed.map_err(|refusal| told(&refusal))
}

/// Gives a refusal its code and its next step.
pub(super) fn told(refusal: &Refusal) -> Failure {
    let hint = match refusal.reason.as_ref() {
        "offline" => "ask again where fetching is allowed; what was fetched once stays in the cache",
        "cache.changed" => {
            "resolverd verify names every change; asked for where fetching is allowed, they are fetched again"
        }
        "trust.digest_mismatch" | "trust.size_mismatch" => {
            "the bytes changed under their pin: the catalogue's owner has to publish a new pin"
        }
        reason if is_denied(reason) => {
            "the operator decides which machines may be asked, by the sources file and the policy"
        }
        "policy.direct" => "the policy has to allow it; resolverd policy show names its file",
        // No catalogue says anything about what a machine does not give.
        reason if reason.starts_with("net.") => {
            "ask again when that machine answers; what was fetched once stays in the cache"
        }
        reason if reason.starts_with("limit.") => "raise the limit in config.toml where that is meant",
        reason if reason.starts_with("archive.too_") => "raise the limit in config.toml where that is meant",
        // The archive is the one that is pinned: reading the sources again brings no other.
        reason if reason.starts_with("archive.") => {
            "its publisher, or whoever keeps the registry, has to correct it; where it came in a bundle: export and carry it again"
        }
        reason if reason.starts_with("files.") => "the component's author has to mend its files",
        "no_space" => "make room there; resolverd gc removes what nobody needs",
        reason if reason.starts_with("cache.") => {
            "look at the cache directory; it may be deleted at any time"
        }
        _ => "resolverd sync reads the sources again",
    };
    let failure = match is_denied(&refusal.reason) {
        // It is not that the machine could not be reached: nobody may ask it.
        true => Failure { code: Code::PermissionDenied, ..Failure::of_refusal(refusal) },
        false => Failure::of_refusal(refusal),
    };
    failure.hint(hint)
}

/// Tells whether a machine may not be asked.
pub(super) fn is_denied(reason: &str) -> bool {
    matches!(reason, "net.address_denied" | "net.host_not_allowed")
}
