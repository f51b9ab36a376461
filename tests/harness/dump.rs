//! Everything that a daemon answers, so that two moments can be compared.

use serde_json::Value;

use crate::harness::daemon::Daemon;
use crate::harness::http;

/// Returns what a daemon says about every id, without what tells one generation from the next.
pub(crate) fn everything(daemon: &Daemon) -> Vec<(String, Value)> {
    let mut said = Vec::new();
    for id in daemon.ids() {
        let encoded = http::encoded(&id);
        let targets = ["", "/versions", "/latest"].map(|tail| format!("/v1/components/{encoded}{tail}"));
        said.extend(targets.map(|target| (target.clone(), timeless(daemon.get(&target).json()))));
        said.push((id.clone(), timeless(daemon.resolve(&[&id]).json())));
    }
    said
}

/// Compares answer by answer, so that a difference can be read.
pub(crate) fn check(daemon: &Daemon, before: &[(String, Value)], when: &str) {
    let after = everything(daemon);
    for ((target, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(after, before, "{target}, {when}");
    }
    assert_eq!(after.len(), before.len(), "{when}");
}

fn timeless(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        for field in ["generation", "snapshot", "stale", "requestId"] {
            fields.remove(field);
        }
    }
    answer
}
