//! What operators do to policies, and what policies decide while something is answered, as entries of the audit log. Values only;
//! never writes.

use catalogue_schema::model::Refusal;

use crate::order::Decided;
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

/// Returns what is written down when a policy decides against something that is asked for.
pub(super) fn decided(decided: &Decided) -> Entry {
    let Decided { refusal, is_enforced } = decided;
    let event = if *is_enforced { Event::Denied } else { Event::WouldDeny };
    Entry::new(event, &refusal.subject).because(&refusal.reason).saying(refusal)
}

/// Returns what is written down when a policy cannot be used.
pub(super) fn rejected(problem: &Refusal) -> Entry {
    Entry::new(Event::PolicyRejected, &problem.subject).because(&problem.reason).saying(problem)
}
