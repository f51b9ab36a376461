//! Revisions: which states of a list or catalogue were accepted, what tells them apart, and the lines of their log.
//!
//! Values only. A revision is a commit where the document was read from Git, else the digest of its bytes. The log is text:
//! one JSON object a line, newest last; readers must ignore fields that they do not know.
//!
//! ```json
//! {"time":"2026-05-04T12:00:00Z","source":"official","catalogue":"tooling","commit":"4a569e82930c784d2b4f2a40a39e85daea774a80","digest":"sha256:…","generation":7,"event":"accepted"}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dialect::Node;
use crate::digest::Digest;
use crate::id::SourceId;
use crate::key::Fingerprint;
use crate::pointer::CommitId;

/// How many revisions are remembered of one list or catalogue; the oldest go.
pub const REVISIONS_MAX: usize = 1_000;

/// The reason of the warning, or under `require_order` of the refusal, that nobody can tell which revision is newer.
pub const ORDER_UNKNOWN: &str = "trust.order_unknown";

/// Whose revisions: a source's entry document, or a list or catalogue below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionKey {
    /// The source.
    pub source: SourceId,
    /// The catalogue within it; `None` for the entry document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<SourceId>,
}

impl RevisionKey {
    /// Returns the key of a node: a source's entry is told from a catalogue of the same name.
    pub fn of(node: &Node) -> RevisionKey {
        let catalogue = (!node.via.is_empty()).then(|| node.id.name.clone());
        RevisionKey { source: node.id.source.clone(), catalogue }
    }
}

impl fmt::Display for RevisionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.catalogue {
            Some(catalogue) => write!(out, "{}/{catalogue}", self.source),
            None => write!(out, "{}", self.source),
        }
    }
}

/// One accepted state of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The commit at which it was read, for Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The digest of its bytes.
    pub digest: Digest,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub accepted_s: i64,
    /// Nobody could tell whether it is newer than the one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub order_unknown: bool,
    /// By whom it was signed, where a policy asked for that: from then on nothing unsigned follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBy>,
}

/// Who signed a revision, and as which version of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// The digest over the fingerprints of the set of signers that was asked for.
    pub set: Digest,
    /// The keys whose signatures counted, sorted: its version holds for every set that one of them is in. None where an older program
    /// wrote it down; then it holds for the same set only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Fingerprint>,
    /// The version that the signers give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Revision {
    /// Tells whether this is the revision of `commit` and `digest`: commits are compared where both sides have one.
    pub fn is(&self, commit: Option<&CommitId>, digest: &Digest) -> bool {
        match (&self.commit, commit) {
            (Some(own), Some(other)) => own == other,
            _ => self.digest == *digest,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.commit {
            Some(commit) => fmt::Display::fmt(commit, out),
            None => fmt::Display::fmt(&self.digest, out),
        }
    }
}

/// What a line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The revision was accepted.
    Accepted,
    /// Its memory was given up by an operator.
    Forgotten,
}

/// One line of the log of revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, as `2026-05-04T12:00:00Z`.
    pub time: String,
    /// Whose revision.
    #[serde(flatten)]
    pub key: RevisionKey,
    /// The commit, for Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The generation that was in force then.
    pub generation: u64,
    /// What happened.
    pub event: Event,
    /// Why, where an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Returns a time in seconds since 1970-01-01 UTC as RFC 3339 text, `2026-05-04T12:00:00Z`.
///
/// Years before 0 and after 9999, which the format cannot write, are written as its first and last second.
pub fn rfc3339(seconds: i64) -> String {
    const FIRST: i64 = -62_167_219_200;
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds.clamp(FIRST, LAST);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date of a day count: years start in March, so that a leap day is the last day of one; 400 years are one cycle.
    let shifted = days + 719_468;
    let (cycle, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = cycle * 400 + year + carry;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let check = |seconds: i64, expected: &str| assert_eq!(rfc3339(seconds), expected, "{seconds}");
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_799, "2000-02-29T23:59:59Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_777_896_000, "2026-05-04T12:00:00Z");
        check(2_147_483_648, "2038-01-19T03:14:08Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(i64::MIN, "0000-01-01T00:00:00Z");
        check(i64::MAX, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn commits_tell_revisions_apart_where_both_have_one() {
        let commit = |text: &str| CommitId::parse(&text.repeat(40)).expect("a commit");
        let (one, other) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let git = Revision {
            commit: Some(commit("a")),
            digest: one.clone(),
            accepted_s: 0,
            order_unknown: false,
            signed: None,
        };
        let plain = Revision { commit: None, ..git.clone() };
        assert!(git.is(Some(&commit("a")), &other));
        assert!(!git.is(Some(&commit("b")), &one));
        assert!(git.is(None, &one) && !git.is(None, &other));
        assert!(plain.is(Some(&commit("b")), &one) && !plain.is(None, &other));
    }

    #[test]
    fn a_line_of_the_log_is_flat_and_leaves_out_what_is_not_there() {
        let source = SourceId::parse("official").expect("an id");
        let line = LogLine {
            time: rfc3339(0),
            key: RevisionKey { source, catalogue: None },
            commit: None,
            digest: Digest::sha256(b""),
            generation: 7,
            event: Event::Accepted,
            reason: None,
        };
        let text = serde_json::to_string(&line).expect("JSON");
        let digest = Digest::sha256(b"");
        let expected = format!(
            "{{\"time\":\"1970-01-01T00:00:00Z\",\"source\":\"official\",\"digest\":\"{digest}\",\"generation\":7,\"event\":\"accepted\"}}"
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<LogLine>(&text).expect("the line"), line);
    }
}
