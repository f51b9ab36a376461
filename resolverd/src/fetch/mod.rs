//! Fetch (pillar): gets the bytes of a pointer. Never judges, keeps or parses documents.
//!
//! [`Origins`] reads the real places. It answers many wants at once, so that everything that lies in one commit costs one
//! visit. What the shelf holds already is never asked for here: a sync looks there first.

pub mod file;
pub mod git;
pub mod limit;
mod loose;
pub mod network;
pub mod object;
mod pack;

use std::collections::HashMap;
use std::fmt;

use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{CommitId, LocalPath, Location, Repository, Want};

use crate::fetch::limit::Budget;
use crate::fetch::network::Network;

/// Gets the bytes that wants name.
pub trait Fetch: Sync {
    /// Answers each ask, in the same order. Spends `budget`; what no longer fits is [`FetchError::Limit`].
    ///
    /// The cap of one document is the budget's: [`Budget::for_catalogues`] or [`Budget::for_release_documents`].
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>>;
}

/// A want, and what is known of it already.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What to get.
    pub want: &'a Want,
    /// The document that answered it last, where its bytes are still at hand: an origin that can tell says only that nothing
    /// changed.
    pub known: Option<&'a DocumentRecord>,
}

impl<'a> From<&'a Want> for Ask<'a> {
    fn from(want: &'a Want) -> Ask<'a> {
        Ask { want, known: None }
    }
}

/// What an origin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The document.
    Fetched(Fetched),
    /// The document that is known already is still the one. Only an ask that knows one is answered so.
    Unchanged,
}

/// Bytes as they arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The document, verbatim.
    pub bytes: Vec<u8>,
    /// Where it really came from.
    pub url: String,
    /// The commit that it was read at, for Git.
    pub commit: Option<CommitId>,
    /// Its Git object id.
    pub blob: Option<CommitId>,
    /// The HTTP entity tag.
    pub etag: Option<String>,
    /// The HTTP date of the last modification, as it was sent.
    pub modified: Option<String>,
}

/// Why there are no bytes. Each refusal has a dotted reason, the subject, what was expected and found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The place was reached and the document is not in it.
    #[error("{0}")]
    Missing(Refusal),
    /// The place was reached and what lies there may not be used (a symlink, a foreign owner, a hostile name, …).
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody could find out: the place could not be reached, or the commit is not there.
    #[error("{0}")]
    Unreachable(Refusal),
    /// A limit of this run was reached.
    #[error("{0}")]
    Limit(Refusal),
}

impl FetchError {
    /// Returns what was wrong.
    pub fn refusal(&self) -> &Refusal {
        match self {
            FetchError::Missing(refusal)
            | FetchError::Refused(refusal)
            | FetchError::Unreachable(refusal)
            | FetchError::Limit(refusal) => refusal,
        }
    }

    /// Returns the same error about another subject: what a repository's opening said, for each want that needed it.
    fn about(&self, subject: &dyn fmt::Display) -> FetchError {
        let mut error = self.clone();
        match &mut error {
            FetchError::Missing(refusal)
            | FetchError::Refused(refusal)
            | FetchError::Unreachable(refusal)
            | FetchError::Limit(refusal) => refusal.subject = subject.to_string(),
        }
        error
    }
}

/// The real places: local files, Git repositories, https documents.
#[derive(Debug, Default)]
pub struct Origins {
    network: Network,
}

impl Origins {
    /// Prepares to reach what `network` describes.
    ///
    /// **Errors**: the text of what is wrong with a certificate file, token or rewrite rule.
    pub fn new(network: Network) -> Result<Origins, Refusal> {
        Ok(Origins { network })
    }
}

impl Fetch for Origins {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        let wants: Vec<&Want> = asks.iter().map(|ask| ask.want).collect();
        let answers = self.fetch_all(&wants, budget);
        answers.into_iter().map(|answer| answer.map(Answer::Fetched)).collect()
    }
}

impl Origins {
    fn fetch_all(&self, wants: &[&Want], budget: &Budget) -> Vec<Result<Fetched, FetchError>> {
        let mut answers: Vec<_> = wants.iter().map(|want| Err(unavailable(want))).collect();
        let _ = &self.network;
        for (place, members) in grouped(wants) {
            match place {
                Place::File => {
                    for index in members {
                        answers[index] = file::fetch(wants[index], budget);
                    }
                }
                // One repository is open at a time, however many a batch names.
                Place::Git(path) => {
                    let members_wants: Vec<&Want> = members.iter().map(|index| wants[*index]).collect();
                    for (index, answer) in members.iter().zip(git::fetch(path, &members_wants, budget)) {
                        answers[*index] = answer;
                    }
                }
            }
        }
        answers
    }
}

/// Who answers a want.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Place<'a> {
    File,
    Git(&'a LocalPath),
}

/// Groups the wants that somebody here can answer, places in the order of their first want.
fn grouped<'a>(wants: &[&'a Want]) -> Vec<(Place<'a>, Vec<usize>)> {
    let mut groups: Vec<(Place<'a>, Vec<usize>)> = Vec::new();
    let mut seen = HashMap::new();
    for (index, want) in wants.iter().enumerate() {
        let Some(place) = place(want) else { continue };
        let group = *seen.entry(place).or_insert_with(|| {
            groups.push((place, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(index);
    }
    groups
}

fn place(want: &Want) -> Option<Place<'_>> {
    let repository = match want {
        Want::Blob(location) | Want::Tree { location, .. } => match location {
            Location::Git { repository, .. } => repository,
            Location::File { .. } => return Some(Place::File),
            Location::Https { .. } => return None,
        },
        Want::Refs { repository, .. } | Want::History { repository, .. } => repository,
    };
    match repository {
        Repository::Local(path) => Some(Place::Git(path)),
        Repository::Https(_) | Repository::Ssh(_) => None,
    }
}

fn unavailable(want: &Want) -> FetchError {
    FetchError::Unreachable(Refusal::new(
        "net.https_unavailable",
        want,
        "a local file or a Git repository on this machine (this build has no network fetching yet)",
        "an https: address; clone it here and name the clone by its path or file: URL",
    ))
}

#[cfg(test)]
mod tests;
