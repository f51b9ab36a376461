//! What answers say of the trust policies: which are in force, what is wrong with what was found instead, what they ask for.
//!
//! Never reads a policy and never decides: the writer says what is in force.

use std::sync::Arc;

use catalogue_schema::generation::Generation;
use catalogue_schema::model::Refusal;
use catalogue_schema::policy::{NamespaceRule, Policy, SignerSet};
use catalogue_schema::revision::rfc3339;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::server::events::{Event, told};
use crate::trust::policy::{InForce, Policies};

/// The policies in force, and what is wrong with what was found instead of them.
#[derive(Debug, Clone, Default)]
pub struct PolicyState {
    /// Those in force.
    pub in_force: Arc<Policies>,
    /// What is wrong.
    pub problem: Option<Refusal>,
    /// Nothing is served until that is mended.
    pub is_locked: bool,
}

impl PolicyState {
    /// Returns why nothing is answered out of a generation; `None` where something is.
    pub fn locked(&self) -> Option<Failure> {
        self.problem.as_ref().filter(|_| self.is_locked).map(locked)
    }

    /// Returns how they stand, in short, for the status: `null` where none is set and nothing is wrong.
    pub fn short(&self, generation: Option<&Generation>) -> Value {
        if self.in_force.is_empty() && self.problem.is_none() {
            return Value::Null;
        }
        let ruled = generation.and_then(|generation| generation.policy.as_ref());
        json!({
            "state": self.state(),
            "digest": self.in_force.digest(),
            "files": self.in_force.all().iter().map(file).collect::<Vec<Value>>(),
            "problem": self.problem.as_ref().map(told),
            "judgedBy": ruled.map(|ruled| &ruled.digest),
            "nextChange": ruled.and_then(|ruled| ruled.next_change_s).map(rfc3339),
        })
    }

    /// Returns everything that they ask for.
    pub fn whole(&self) -> Value {
        json!({
            "state": self.state(),
            "digest": self.in_force.digest(),
            "problem": self.problem.as_ref().map(told),
            "policies": self.in_force.all().iter().map(policy).collect::<Vec<Value>>(),
        })
    }

    fn state(&self) -> &'static str {
        match (self.is_locked, self.in_force.is_empty(), self.problem.is_some()) {
            (true, ..) => "locked",
            (false, true, _) => "none",
            (false, false, true) => "kept",
            (false, false, false) => "in_force",
        }
    }

    /// Returns what happened from `before` to this.
    pub fn changes(&self, before: &PolicyState) -> Vec<Event> {
        let mut events = Vec::new();
        if self.in_force.digest() != before.in_force.digest() {
            let files: Vec<Value> = self.in_force.all().iter().map(file).collect();
            let data = json!({"digest": self.in_force.digest(), "files": files});
            events.push(Event { name: "policy.changed", data });
        }
        // One that is told again was read again.
        if let Some(problem) = &self.problem {
            events.push(Event { name: "policy.rejected", data: told(problem) });
        }
        events
    }
}

/// Says that nothing is done while the trust policy cannot be used and none is in force.
pub(super) fn locked(problem: &Refusal) -> Failure {
    let failure = Failure::new(Code::ConfigInvalid, problem.reason.clone(), problem.to_string());
    failure.with("subject", &problem.subject).hint(
        "correct the trust policy, which resolverd policy lint reads as the daemon does: nothing is read or answered before",
    )
}

fn file(one: &InForce) -> Value {
    let keysets: Vec<Value> =
        one.policy.signers.iter().enumerate().filter_map(|at| keyset(one, at)).collect();
    let mode = one.policy.defaults.mode.name();
    json!({
        "file": one.path,
        "version": one.policy.version,
        "digest": one.digest,
        "mode": mode,
        "keysets": keysets,
    })
}

/// Returns which keyset of a set is in force; nothing where its signers publish none.
fn keyset(one: &InForce, (at, set): (usize, &SignerSet)) -> Option<Value> {
    let source = &set.keysets.as_ref()?.source;
    let digest = one.keysets.iter().find(|reached| reached.set == at).map(|reached| &reached.digest);
    Some(json!({
        "signers": set.name.to_string(),
        "version": one.keyset_version(at),
        "digest": digest,
        "source": source,
    }))
}

fn policy(one: &InForce) -> Value {
    let Policy { defaults, keys, signers, sources, namespaces, exceptions, .. } = &one.policy;
    let set =
        |index: Option<usize>| index.and_then(|index| signers.get(index)).map(|set| set.name.to_string());
    let mut shown = file(one);
    shown["removals"] = json!(defaults.removals.name());
    shown["direct"] = json!(defaults.direct.name());
    shown["requirePin"] = json!(defaults.require_pin);
    shown["maxStaleSeconds"] = json!(defaults.max_stale_s);
    shown["keys"] = keys
        .iter()
        .map(|key| {
            json!({
                "id": key.id.to_string(),
                "algorithm": key.algorithm.name(),
                "fingerprint": key.fingerprint.to_string(),
                "usage": key.usage.iter().map(|usage| usage.name()).collect::<Vec<_>>(),
                "notBefore": key.not_before_s.map(rfc3339),
                "notAfter": key.not_after_s.map(rfc3339),
                "revoked": key.revoked.map(|revoked| rfc3339(revoked.at_s)),
            })
        })
        .collect();
    let fingerprint = |index: &usize| keys.get(*index).map(|key| key.fingerprint.to_string());
    shown["signers"] = signers
        .iter()
        .map(|set| {
            json!({
                "name": set.name.to_string(),
                "keys": set.keys.iter().filter_map(fingerprint).collect::<Vec<_>>(),
                "threshold": set.threshold,
                "algorithms": set.algorithms.named().iter().map(|one| one.name()).collect::<Vec<_>>(),
            })
        })
        .collect();
    shown["sources"] = sources
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "hosts": rule.hosts,
                "allowPrivateAddresses": rule.allow_private_addresses,
                "signedBy": set(rule.signed_by),
            })
        })
        .collect();
    let rule = |rule: &NamespaceRule| {
        json!({
            "name": rule.name.to_string(),
            "match": rule.pattern.to_string(),
            "sources": rule.sources,
            "require": rule.require.name(),
            "signedBy": set(rule.signed_by),
            "minAgeSeconds": rule.min_age_s,
            "agree": rule.agree,
            "allowDeps": rule.allow_deps.as_ref().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "mode": rule.mode.name(),
            "line": rule.place.line,
        })
    };
    shown["namespaces"] = namespaces.iter().map(rule).collect();
    shown["exceptions"] = exceptions
        .iter()
        .map(|one| {
            json!({
                "id": one.id.to_string(),
                "component": one.component,
                "versions": one.versions.to_string(),
                "source": one.source,
                "allow": one.waiver.name(),
                "digest": one.digest,
                "notAfter": rfc3339(one.not_after_s),
                "reason": one.reason,
            })
        })
        .collect();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_each_time_and_what_changed_once() {
        let names = |now: &PolicyState, before: &PolicyState| -> Vec<&'static str> {
            now.changes(before).iter().map(|event| event.name).collect()
        };
        let none = PolicyState::default();
        let problem = Some(Refusal::new("policy.syntax", "trust.toml", "TOML", "="));
        let wrong = PolicyState { problem: problem.clone(), ..PolicyState::default() };
        assert_eq!(names(&none, &none), <[&str; 0]>::default());
        assert_eq!(names(&wrong, &none), ["policy.rejected"]);
        assert_eq!(names(&wrong, &wrong), ["policy.rejected"]);
        assert_eq!(names(&none, &wrong), <[&str; 0]>::default());
        assert!(none.short(None).is_null() && none.locked().is_none() && wrong.locked().is_none());
        assert_eq!(wrong.short(None)["state"], "none");
        let locked = PolicyState { problem, is_locked: true, ..PolicyState::default() };
        let failure = locked.locked().expect("nothing may be answered");
        assert_eq!((failure.code, failure.reason.as_ref()), (Code::ConfigInvalid, "policy.syntax"));
        assert_eq!(
            (&locked.short(None)["state"], &locked.whole()["state"]),
            (&json!("locked"), &json!("locked"))
        );
    }
}
