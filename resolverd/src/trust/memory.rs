//! Never go back: what a list or catalogue says today is compared with the revisions that were accepted before.
//!
//! Pure. Nothing is fetched or remembered here: the history of a repository comes from the caller, and so does the memory.

use std::fmt;

use catalogue_schema::digest::Digest;
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::pointer::CommitId;
use catalogue_schema::revision::{ORDER_UNKNOWN, Revision, RevisionKey};

/// The reason of a refusal: the revision is older than one that was accepted.
pub const ROLLBACK: &str = "trust.rollback";

/// What becomes of a revision whose order nobody can tell. Config key `require_order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownOrder {
    /// It is accepted, with a warning.
    Accept,
    /// It is refused.
    Refuse,
}

/// What a document says today.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The commit at which it was read, for Git.
    pub commit: Option<&'a CommitId>,
    /// The digest of its bytes.
    pub digest: &'a Digest,
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commit {
            Some(commit) => fmt::Display::fmt(commit, out),
            None => fmt::Display::fmt(self.digest, out),
        }
    }
}

/// How a candidate stands to what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nothing is remembered: the first revision is accepted as it is.
    First,
    /// It is the newest that was accepted.
    Newest(&'a Revision),
    /// It is newer.
    Forward,
    /// It was accepted before the newest, or the newest descends from it.
    Back {
        /// The newest that was accepted.
        newest: &'a Revision,
        /// How that is known.
        proof: Proof,
    },
    /// Nobody can tell.
    Unknown(&'a Revision),
}

/// How a rollback is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is in the memory.
    Remembered,
    /// It is in the history of the newest.
    Ancestor,
}

/// Compares a candidate with the revisions that were accepted, newest last.
///
/// `history` returns the ids of a commit and its ancestors, one a line, as far as its repository tells; it is asked only for a
/// commit that is not remembered, first for the candidate's, then for the newest's.
pub fn standing<'a>(
    known: &'a [Revision],
    candidate: Candidate<'_>,
    mut history: impl FnMut(&CommitId) -> Option<Vec<u8>>,
) -> Standing<'a> {
    let Some((newest, older)) = known.split_last() else { return Standing::First };
    let Candidate { commit, digest } = candidate;
    if newest.is(commit, digest) {
        return Standing::Newest(newest);
    }
    if older.iter().any(|revision| revision.is(commit, digest)) {
        return Standing::Back { newest, proof: Proof::Remembered };
    }
    let (Some(commit), Some(last)) = (commit, &newest.commit) else { return Standing::Unknown(newest) };
    if history(commit).is_some_and(|listed| holds(&listed, last)) {
        return Standing::Forward;
    }
    if history(last).is_some_and(|listed| holds(&listed, commit)) {
        return Standing::Back { newest, proof: Proof::Ancestor };
    }
    Standing::Unknown(newest)
}

fn holds(listed: &[u8], commit: &CommitId) -> bool {
    listed.split(|byte| *byte == b'\n').any(|line| line == commit.as_text().as_bytes())
}

/// Returns the refusal of a candidate that goes back. It ends with the command that accepts it.
pub fn rollback(
    subject: &dyn fmt::Display,
    key: &RevisionKey,
    candidate: Candidate<'_>,
    newest: &Revision,
    proof: Proof,
) -> Refusal {
    let older = match proof {
        Proof::Remembered => "which was accepted before it",
        Proof::Ancestor => "which is an ancestor of it",
    };
    let found = format!("{candidate}, {older}; to accept it: resolverd trust forget {key} --reason TEXT");
    Refusal::new(ROLLBACK, subject, format!("{newest}, the newest revision accepted, or a later one"), found)
}

/// Returns the refusal of a candidate whose order nobody can tell. It ends with the command that accepts it.
pub fn unordered(
    subject: &dyn fmt::Display,
    key: &RevisionKey,
    candidate: Candidate<'_>,
    newest: &Revision,
) -> Refusal {
    let expected = format!("a revision that is known to follow {newest} (require_order)");
    let found = format!("{candidate}; to accept it: resolverd trust forget {key} --reason TEXT");
    Refusal::new(ORDER_UNKNOWN, subject, expected, found)
}

/// Returns the warning on a catalogue whose revision was accepted although nobody can tell whether it is newer.
pub fn order_unknown(candidate: Candidate<'_>) -> Warning {
    let text = format!("nobody can tell whether {candidate} is newer than the revision accepted before it");
    Warning::new(ORDER_UNKNOWN, text)
}

#[cfg(test)]
mod tests {
    use catalogue_schema::id::SourceId;

    use super::*;

    fn commit(letter: char) -> CommitId {
        CommitId::parse(&letter.to_string().repeat(40)).expect("a commit")
    }

    /// A lower case letter is a commit, a digit the bytes of a plain file, both together a commit with these bytes.
    fn revision(text: &str) -> Revision {
        Revision {
            commit: text.chars().find(char::is_ascii_lowercase).map(commit),
            digest: Digest::sha256(text.trim_start_matches(|c: char| c.is_ascii_lowercase()).as_bytes()),
            accepted_s: 0,
            order_unknown: false,
            signed: None,
        }
    }

    /// Histories are written `cba`: commit c, whose ancestors are b and a.
    fn check(known: &str, candidate: &str, histories: &[&str], expected: &str) {
        let known: Vec<Revision> = known.split_whitespace().map(revision).collect();
        let found = revision(candidate);
        let mut asked = Vec::new();
        let history = |wanted: &CommitId| {
            asked.push(wanted.as_text()[..1].to_owned());
            let of = histories.iter().find(|history| history.starts_with(&wanted.as_text()[..1]))?;
            let lines: Vec<String> = of.chars().map(|letter| commit(letter).as_text().to_owned()).collect();
            Some(lines.join("\n").into_bytes())
        };
        let candidate = Candidate { commit: found.commit.as_ref(), digest: &found.digest };
        let word = match standing(&known, candidate, history) {
            Standing::First => "first",
            Standing::Newest(_) => "newest",
            Standing::Forward => "forward",
            Standing::Back { proof: Proof::Remembered, .. } => "remembered",
            Standing::Back { proof: Proof::Ancestor, .. } => "ancestor",
            Standing::Unknown(_) => "unknown",
        };
        assert_eq!(format!("{word} {}", asked.concat()).trim_end(), expected, "{known:?} {candidate}");
    }

    #[test]
    fn what_was_accepted_before_the_newest_is_a_rollback() {
        check("", "1", &[], "first");
        check("", "a1", &[], "first");
        check("1", "1", &[], "newest");
        check("1 2", "1", &[], "remembered");
        check("1 2 3", "2", &[], "remembered");
        check("1 2", "3", &[], "unknown");
        check("a1 b2", "b2", &[], "newest");
        check("a1 b2", "a1", &[], "remembered");
        // A source may move from a repository to a plain copy of it and back.
        check("a1 b2", "2", &[], "newest");
        check("a1 b2", "1", &[], "remembered");
        check("1 2", "b2", &[], "newest");
        check("1 2", "a1", &[], "remembered");
        check("1 2", "c3", &["cba"], "unknown");
    }

    #[test]
    fn history_decides_about_commits_that_nobody_remembers() {
        check("a1 b2", "c3", &["cba", "ba"], "forward c");
        // A revert is a new commit, whatever its bytes are.
        check("a1 b2", "c1", &["cba"], "forward c");
        check("c3", "b2", &["cba", "ba"], "ancestor bc");
        check("c3", "d4", &["cba", "da"], "unknown dc");
        check("c3", "d4", &[], "unknown dc");
        // Beyond the bound of the search nobody can tell.
        check("a1", "e5", &["edcb", "a"], "unknown ea");
    }

    #[test]
    fn a_refusal_ends_with_the_command_that_accepts_it() {
        let id = |text: &str| SourceId::parse(text).expect("an id");
        let key = |catalogue: Option<&str>| RevisionKey { source: id("s"), catalogue: catalogue.map(id) };
        let (old, new) = (revision("a1"), revision("b2"));
        let candidate = Candidate { commit: old.commit.as_ref(), digest: &old.digest };
        let refusal = rollback(&"the list", &key(None), candidate, &new, Proof::Ancestor);
        assert!(refusal.to_string().ends_with("resolverd trust forget s --reason TEXT"), "{refusal}");
        assert!(refusal.expected.contains(&new.to_string()) && refusal.found.contains(&old.to_string()));
        let refusal = unordered(&"the list", &key(Some("c")), candidate, &new);
        assert!(refusal.to_string().ends_with("resolverd trust forget s/c --reason TEXT"), "{refusal}");
    }
}
