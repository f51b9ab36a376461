//! What is legal in a policy and should be known: rules that ask for little, keys and sets that cannot count, dead entries.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::Position;
use crate::id::SourceId;
use crate::policy::{Exception, Key, Mode, NamespaceRule, Policy, Require, Revocation, SignerSet, Waiver};
use crate::revision::rfc3339;

/// How long before its end a key is named, in seconds: 30 days.
pub const KEY_ENDS_S: i64 = 30 * 86_400;

/// Something that an operator should know about a policy; it stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The dotted reason that programs read, such as `lint.unsigned`.
    pub reason: &'static str,
    /// Where it stands.
    pub place: Position,
    /// One sentence for people.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {} [{}]", self.place.line, self.text, self.reason)
    }
}

/// Looks at a policy at an instant, in seconds since 1970-01-01 UTC; the findings are in the order of the file.
pub fn lint(policy: &Policy, now_s: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |reason, place, text| findings.push(Finding { reason, place, text });
    // There may be as many of one table as of another, so that none is looked through for each of another.
    let used: BTreeSet<usize> = policy.signers.iter().flat_map(|set| &set.keys).copied().collect();
    let by_sources = policy.sources.iter().map(|rule| rule.signed_by);
    let by_namespaces = policy.namespaces.iter().map(|rule| rule.signed_by);
    let named: BTreeSet<usize> = by_sources.chain(by_namespaces).flatten().collect();
    let listed = policy.namespaces.iter().flat_map(|rule| &rule.sources);
    let supplying: BTreeSet<&SourceId> = policy.sources.iter().map(|rule| &rule.id).chain(listed).collect();
    let signed = policy.sources.iter().filter(|rule| rule.signed_by.is_some());
    let signed: BTreeSet<&SourceId> = signed.map(|rule| &rule.id).collect();
    for (index, key) in policy.keys.iter().enumerate() {
        if let Some((reason, text)) = ending(key, now_s) {
            add(reason, key.place, text);
        }
        if !used.contains(&index) {
            add("lint.key_unused", key.place, format!("no set of signers has the key {}", key.id));
        }
    }
    for (index, set) in policy.signers.iter().enumerate() {
        if !named.contains(&index) {
            add("lint.signers_unused", set.place, format!("no rule names the signers {}", set.name));
        } else if !can_be_met(policy, set, now_s) {
            let text = format!("too few keys of {} count now: whatever they must sign is refused", set.name);
            add("lint.signers_unmet", set.place, text);
        }
    }
    for set in &policy.signers {
        let Some(keysets) = &set.keysets else { continue };
        if !supplying.contains(&keysets.source) {
            let source = &keysets.source;
            let text = format!("{} publishes its keysets beside {source}, which no rule names", set.name);
            add("lint.keysets_source", set.place, text);
        }
    }
    for rule in &policy.sources {
        if rule.allow_private_addresses && rule.hosts.is_none() {
            let text = format!("{} may be fetched from private addresses of any host", rule.id);
            add("lint.any_host", rule.place, text);
        }
    }
    for rule in &policy.namespaces {
        for (reason, text) in weak(rule, &signed) {
            add(reason, rule.place, text);
        }
    }
    for exception in &policy.exceptions {
        if let Some((reason, text)) = dead(policy, exception, now_s) {
            add(reason, exception.place, text);
        }
    }
    findings.sort_by_key(|finding| finding.place.line);
    findings
}

fn ending(key: &Key, now_s: i64) -> Option<(&'static str, String)> {
    if let Some(end_s) = key.not_after_s.filter(|end_s| *end_s <= now_s) {
        return Some(("lint.key_expired", format!("the key {} ended {}", key.id, rfc3339(end_s))));
    }
    let soon = key.not_after_s.filter(|end_s| *end_s <= now_s.saturating_add(KEY_ENDS_S))?;
    Some(("lint.key_ends", format!("the key {} ends {}", key.id, rfc3339(soon))))
}

fn can_be_met(policy: &Policy, set: &SignerSet, now_s: i64) -> bool {
    let counts = |key: &&Key| {
        let is_revoked = key
            .revoked
            .is_some_and(|revoked| revoked.reason == Revocation::Compromised || revoked.at_s <= now_s);
        !is_revoked && key.not_after_s.is_none_or(|end_s| now_s < end_s)
    };
    let left: Vec<&Key> = set.keys.iter().map(|index| &policy.keys[*index]).filter(counts).collect();
    let has_all = match &set.algorithms {
        crate::policy::Algorithms::All(named) => {
            named.iter().all(|algorithm| left.iter().any(|key| key.algorithm == *algorithm))
        }
        crate::policy::Algorithms::Any(_) => true,
    };
    left.len() >= set.threshold && has_all
}

fn weak(rule: &NamespaceRule, signed: &BTreeSet<&SourceId>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    // A signed catalogue vouches for the bytes of what it lists by digest.
    let mut sources = rule.sources.iter();
    let is_vouched_for = rule.require == Require::Digest && sources.all(|source| signed.contains(source));
    if rule.require != Require::Signature && !is_vouched_for {
        found.push(("lint.unsigned", format!("nothing has to be signed under {}", rule.name)));
    }
    if rule.mode != Mode::Enforce {
        let text = format!("what {} refuses is used: its mode is {}", rule.name, rule.mode.name());
        found.push(("lint.not_enforced", text));
    }
    found
}

/// Returns why an exception has no effect.
fn dead(policy: &Policy, exception: &Exception, now_s: i64) -> Option<(&'static str, String)> {
    let Exception { id, component, source, waiver, .. } = exception;
    if exception.not_after_s <= now_s {
        let text = format!("exception {id} ended {}: take it out", rfc3339(exception.not_after_s));
        return Some(("lint.exception_ended", text));
    }
    let rule = policy.rule(component).filter(|rule| rule.sources.contains(source));
    let Some(rule) = rule else {
        return Some((
            "lint.exception_dead",
            format!("exception {id}: no rule lets {source} supply {component}"),
        ));
    };
    let is_asked = match waiver {
        Waiver::Unsigned => rule.require == Require::Signature,
        Waiver::Unpinned => policy.defaults.require_pin || rule.require == Require::Pin,
        Waiver::TooYoung => rule.min_age_s > 0,
        Waiver::NoAgreement => rule.agree > 1,
    };
    let text = || format!("exception {id} waives {}, which {} does not ask for", waiver.name(), rule.name);
    (!is_asked).then(|| ("lint.exception_dead", text()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::instant;
    use crate::policy::tests::GOOD;

    /// The reasons for the good policy with one change, at an instant.
    #[track_caller]
    fn check(from: &str, to: &str, now: &str, expected: &[&str]) {
        let policy = Policy::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap();
        let found = lint(&policy, instant::parse(now).unwrap());
        let reasons: Vec<&str> = found.iter().map(|finding| finding.reason).collect();
        assert_eq!(reasons, expected, "{found:#?}");
        assert!(found.iter().all(|finding| finding.to_string().starts_with("line ")));
    }

    #[test]
    fn what_is_legal_and_should_be_known_is_named_at_its_line() {
        let now = "2026-11-01T00:00:00Z";
        // A retired key of the hybrid, a rule of pins under audit, an exception from a source that no rule lists.
        let usual = ["lint.signers_unmet", "lint.unsigned", "lint.not_enforced", "lint.exception_dead"];
        check("", "", now, &usual);
        check("revoked     = {", "# revoked = {", now, &usual[1..]);
        check("mode      = \"audit\"", "", now, &[usual[0], usual[1], usual[3]]);
        check(
            "hosts     = [\"git.acme.example\", \"10.0.0.1\"]",
            "",
            now,
            &[usual[0], "lint.any_host", usual[1], usual[2], usual[3]],
        );
        check("signed_by = \"acme-hybrid\"", "", now, &["lint.signers_unused", usual[1], usual[2], usual[3]]);
        check(
            "[\"acme-root-ed-1\", \"acme-root-pq-1\"]\nthreshold  = 2\nalgorithms = { all = [\"ed25519\", \"ml-dsa-87\"] }",
            "[\"acme-root-pq-1\"]\nthreshold = 1",
            now,
            &["lint.key_unused", usual[1], usual[2], usual[3]],
        );
        // Who must sign a catalogue vouches for what it lists by digest, and for no less.
        let only = |sources: &str, require: &str| {
            let rules = GOOD.find("[[namespaces]]").unwrap();
            let rule =
                format!("[[namespaces]]\nmatch = \"**\"\nsources = [{sources}]\nrequire = \"{require}\"\n");
            let policy = Policy::parse((GOOD[..rules].to_owned() + &rule).as_bytes()).unwrap();
            let found = lint(&policy, instant::parse(now).unwrap());
            found.iter().any(|finding| finding.reason == "lint.unsigned")
        };
        assert!(!only("\"acme-internal\"", "digest"));
        assert!(only("\"acme-internal\"", "pin") && only("\"acme-internal\", \"other\"", "digest"));
        // Whoever publishes keys beside a source that nobody reads will not be found.
        for (source, is_found) in [("acme-internal", true), ("lcod-default", true), ("acme-other", false)] {
            let keysets = format!("threshold  = 1\nkeysets = {{ source = \"{source}\" }}");
            let text = GOOD.replace("[\"package\"]", "[\"package\", \"keyset\"]");
            let policy = Policy::parse(text.replacen("threshold  = 1", &keysets, 1).as_bytes()).unwrap();
            let found = lint(&policy, instant::parse(now).unwrap());
            let named = found.iter().any(|finding| finding.reason == "lint.keysets_source");
            assert_eq!(named, !is_found, "{source}: {found:#?}");
        }
        let placed = |id: &str, source: &str| GOOD.replace("lcod://lab/probe", id).replace("lab-usb", source);
        let last = |text: &str| {
            let policy = Policy::parse(text.as_bytes()).unwrap();
            lint(&policy, instant::parse(now).unwrap()).pop().unwrap().text
        };
        let dead = last(&placed("lcod://tooling/probe", "lcod-default"));
        assert_eq!(dead, "exception EX-2026-014 waives unsigned, which lcod://tooling/** does not ask for");
        let live = last(&placed("lcod://acme/probe", "acme-internal"));
        assert!(live.starts_with("what lcod://tooling/** refuses is used"), "{live}");
        check(
            "",
            "",
            "2027-12-15T00:00:00Z",
            &["lint.key_ends", usual[0], usual[1], usual[2], "lint.exception_ended"],
        );
        check(
            "",
            "",
            "2028-01-01T00:00:00Z",
            &["lint.key_expired", usual[0], usual[1], usual[2], "lint.exception_ended"],
        );
    }
}
