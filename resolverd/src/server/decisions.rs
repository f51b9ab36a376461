//! What policies decide while something is answered, and not while a generation is made: about references that no catalogue lists.
//! Told once, to whoever listens and to the audit log; never waits for either, and never decides.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use catalogue_schema::digest::Digest;
use catalogue_schema::direct::DirectReference;
use catalogue_schema::model::Refusal;

use crate::order::{Decided, Order};
use crate::server::State;
use crate::server::events::{Event, told};
use crate::trust::policy::{DirectRuling, Policies};

/// How many decisions are told by one process under the same policies: whoever may ask must not be able to push what others did
/// out of the log, which is bounded.
const DECISIONS_MAX: usize = 1_000;

/// What was told already, and what the audit log is owed where nobody takes orders.
#[derive(Debug, Default)]
pub(super) struct Decisions(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Under these policies.
    policies: Option<Digest>,
    known: HashSet<(String, bool)>,
    is_full: bool,
    owed: Vec<Decided>,
}

impl Told {
    /// Returns what is to be told of a decision: nothing where that was told before, and one word more where there were too many.
    fn fresh(&mut self, decided: Decided, policies: Option<&Digest>) -> Option<Decided> {
        if self.policies.as_ref() != policies {
            *self =
                Told { policies: policies.cloned(), owed: std::mem::take(&mut self.owed), ..Told::default() };
        }
        let key = (decided.refusal.subject.clone(), decided.is_enforced);
        if self.known.contains(&key) {
            return None;
        }
        if self.known.len() < DECISIONS_MAX {
            self.known.insert(key);
            return Some(decided);
        }
        if std::mem::replace(&mut self.is_full, true) {
            return None;
        }
        let expected = format!("at most {DECISIONS_MAX} direct references to write down");
        let found = "more; they are refused or used as these are, and not written down";
        let refusal = Refusal::new("policy.direct", "direct references", expected, found);
        Some(Decided { refusal, ..decided })
    }
}

impl State {
    /// Tells what policies say against a direct reference. Returns the refusal of the first that is enforced.
    ///
    /// **Errors**: that refusal.
    pub(super) fn decide(&self, policies: &Policies, direct: &DirectReference) -> Result<(), Refusal> {
        let rulings = policies.rule_direct(direct);
        // Of several policies the first that refuses is said, else the first that would.
        let ruling = rulings.iter().find(|ruling| ruling.is_enforced()).or(rulings.first());
        let Some(DirectRuling { mode, refusal }) = ruling else { return Ok(()) };
        let is_enforced = ruling.is_some_and(DirectRuling::is_enforced);
        let decided = Decided { refusal: refusal.clone(), is_enforced };
        let fresh = {
            let mut told = self.decisions.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = told.fresh(decided, policies.digest());
            if self.orders.is_none() {
                told.owed.extend(fresh.iter().cloned());
            }
            fresh
        };
        if let Some(decided) = fresh {
            let name = if is_enforced { "policy.denied" } else { "policy.would_deny" };
            let mut data = told(&decided.refusal);
            data["mode"] = mode.name().into();
            self.events.emit([Event { name, data }]);
            if let Some(orders) = &self.orders {
                // The writer has gone where nobody takes it; the process ends then.
                let _ = orders.send(Order::Note { decided: vec![decided] });
            }
        }
        if is_enforced { Err(refusal.clone()) } else { Ok(()) }
    }

    /// Takes what the audit log is owed, in a process where no writer takes orders.
    pub fn take_decided(&self) -> Vec<Decided> {
        std::mem::take(&mut self.decisions.0.lock().unwrap_or_else(PoisonError::into_inner).owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(subject: &str, is_enforced: bool) -> Decided {
        Decided { refusal: Refusal::new("policy.direct", subject, "", ""), is_enforced }
    }

    #[test]
    fn a_decision_is_told_once_under_the_same_policies() {
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        let mut told = Told::default();
        assert!(told.fresh(decided("a", true), Some(&one)).is_some());
        assert!(told.fresh(decided("a", true), Some(&one)).is_none());
        assert!(told.fresh(decided("a", false), Some(&one)).is_some(), "another decision");
        assert!(told.fresh(decided("a", true), Some(&other)).is_some(), "other policies");
        assert!(told.fresh(decided("a", true), Some(&other)).is_none());
    }

    #[test]
    fn whoever_asks_for_many_things_does_not_fill_the_log() {
        let policies = Digest::sha256(b"one");
        let mut told = Told::default();
        let count = |told: &mut Told| {
            let all = (0..2 * DECISIONS_MAX).map(|at| decided(&at.to_string(), true));
            all.filter_map(|one| told.fresh(one, Some(&policies))).collect::<Vec<_>>()
        };
        let first = count(&mut told);
        assert_eq!(first.len(), DECISIONS_MAX + 1);
        assert_eq!(first[DECISIONS_MAX].refusal.subject, "direct references");
        assert!(count(&mut told).is_empty());
    }
}
