//! What operators do to policies, as entries of the audit log. Values only; never writes.

use catalogue_schema::model::Refusal;

use crate::store::audit::{Entry, Event};
use crate::trust::policy::{InForce, Policies};

/// Returns what is written down when these policies come into force.
pub(super) fn loaded(policies: &Policies) -> Vec<Entry> {
    let one = |one: &InForce| {
        let text = format!("version {}, {}", one.policy.version, one.digest);
        Entry::new(Event::PolicyLoaded, one.path.display()).saying(text)
    };
    match policies.all() {
        [] => vec![Entry::new(Event::PolicyLoaded, "none").saying("no policy is set any more")],
        all => all.iter().map(one).collect(),
    }
}

/// Returns what is written down when a policy cannot be used.
pub(super) fn rejected(problem: &Refusal) -> Entry {
    Entry::new(Event::PolicyRejected, &problem.subject).because(&problem.reason).saying(problem)
}
