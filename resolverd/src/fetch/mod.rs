//! Fetch (pillar): gets the bytes of a pointer. Never judges, keeps or parses documents.
//!
//! [`Origins`] reads the real places. It answers many wants at once, so that everything that lies in one commit costs one
//! visit. What the shelf holds already is never asked for here: a sync looks there first.

pub mod audience;
mod cache;
pub mod file;
pub mod git;
mod git_wire;
pub mod https;
pub mod limit;
mod loose;
pub mod mirror;
pub mod network;
pub mod object;
mod pack;
pub mod probe;
pub mod progress;
pub mod reach;
mod rewrite;
mod ssh;
mod trees;
pub mod walk;
pub mod way;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::model::Refusal;
use catalogue_schema::pace;
use catalogue_schema::pointer::{CommitId, HttpsUrl, LocalPath, Location, Repository, Want};

use crate::fetch::git_wire::link::Remote;
use crate::fetch::https::{Https, Request};
use crate::fetch::limit::Budget;
use crate::fetch::mirror::address;
use crate::fetch::network::Network;
use crate::fetch::reach::Reach;
use crate::fetch::rewrite::{Real, Rules};

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
    /// For the listing of a directory: the objects that prove that the commit has it, see [`way`].
    pub way: Vec<Vec<u8>>,
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

    /// Returns the same error of what a mirror was asked for.
    fn of_mirror(mut self, mirror: &HttpsUrl, original: &HttpsUrl) -> FetchError {
        match &mut self {
            FetchError::Missing(refusal)
            | FetchError::Refused(refusal)
            | FetchError::Unreachable(refusal)
            | FetchError::Limit(refusal) => {
                refusal.found =
                    format!("{}; the mirror {mirror} was asked instead of {original}", refusal.found);
            }
        }
        self
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

/// How many documents are asked for over https at the same time.
const HTTPS_AT_ONCE: usize = 8;

/// The real places: local files, Git repositories, https documents.
#[derive(Debug, Default)]
pub struct Origins {
    client: Https,
    rules: Rules,
    cache_dir: Option<PathBuf>,
    local_only: bool,
}

impl Origins {
    /// Prepares to reach what `network` describes. Reads the tokens; connects to nothing.
    ///
    /// **Errors**: `net.ca_file`, `net.token`, `net.rewrite`: the text of what is wrong with a certificate file, the table of a
    /// token or a rewrite rule, and what to do.
    pub fn new(network: Network) -> Result<Origins, Refusal> {
        let rules = Rules::read(&network.rewrites)?;
        let client = Https::new(&network.https)?;
        Ok(Origins { client, rules, cache_dir: network.cache_dir, local_only: network.local_only })
    }
}

/// How far whoever asks may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// As far as origins are.
    Reach,
    /// Not beyond this machine, and for nothing that could be another thing by now.
    Machine,
}

impl Fetch for Origins {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        self.fetch_within(Within::Reach, asks, budget)
    }
}

/// The same places as far as they lie on this machine: what a commit pins in a repository here, or in the cache of one elsewhere. Asks no
/// other machine, and gives out nothing that is not pinned.
#[derive(Debug)]
pub struct AtHand<'a> {
    origins: &'a Origins,
    missed: Mutex<Option<Refusal>>,
}

impl<'a> AtHand<'a> {
    /// Looks where `origins` would look.
    pub fn of(origins: &'a Origins) -> AtHand<'a> {
        AtHand { origins, missed: Mutex::default() }
    }

    /// Returns the first thing that was asked for and could not be found out here; `None` where everything was answered.
    pub fn missed(&self) -> Option<Refusal> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Fetch for AtHand<'_> {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        let answers = self.origins.fetch_within(Within::Machine, asks, budget);
        let is_open = |answer: &&Result<Answer, FetchError>| {
            matches!(answer, Err(FetchError::Unreachable(_) | FetchError::Limit(_)))
        };
        if let Some(Err(error)) = answers.iter().find(is_open) {
            let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
            missed.get_or_insert_with(|| error.refusal().clone());
        }
        answers
    }
}

impl Origins {
    fn fetch_within(
        &self,
        within: Within,
        asks: &[Ask<'_>],
        budget: &Budget,
    ) -> Vec<Result<Answer, FetchError>> {
        let mut answers: Vec<Option<Result<Answer, FetchError>>> = asks.iter().map(|_| None).collect();
        let mut documents = Vec::new();
        let mut repositories = Groups::default();
        for (index, ask) in asks.iter().enumerate() {
            if within == Within::Machine
                && let Err(refusal) = self.at_hand(ask.want, budget.reach())
            {
                answers[index] = Some(Err(FetchError::Unreachable(refusal)));
                continue;
            }
            match self.place(ask.want, budget.reach()).and_then(|place| self.allowed(place, ask.want)) {
                Ok(Place::File(path)) => answers[index] = Some(file_at(path, ask.want, budget)),
                Ok(Place::Https(url)) => documents.push((index, url)),
                Ok(Place::Repository(place)) => repositories.add(place, index),
                Err(refusal) => answers[index] = Some(Err(FetchError::Refused(refusal))),
            }
        }
        self.fetch_documents(&documents, asks, budget, &mut answers);
        // One repository is open at a time, however many a batch names.
        for (place, members) in &repositories.groups {
            // What a rule leads here may reach more than what names the place itself.
            let (led, direct): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|index| self.leads(asks[**index].want, budget.reach()));
            for members in [led, direct].iter().filter(|members| !members.is_empty()) {
                let wants: Vec<&Want> = members.iter().map(|index| asks[*index].want).collect();
                let budget = match place {
                    Real::Https(url) => self.granted(wants[0], url, budget),
                    _ => budget.clone(),
                };
                for (index, answer) in
                    members.iter().zip(self.fetch_repository(within, place, &wants, &budget))
                {
                    answers[*index] = Some(answer.map(Answer::Fetched));
                }
            }
        }
        asks.iter()
            .zip(answers)
            .map(|(ask, answer)| answer.unwrap_or_else(|| Err(unanswered(ask.want))))
            .zip(asks)
            .map(|(answer, ask)| answer.map_err(|error| self.blamed(error, ask.want, budget.reach())))
            .collect()
    }

    /// Refuses what only another machine can say, and what nothing pins.
    fn at_hand(&self, want: &Want, reach: &Reach) -> Result<(), Refusal> {
        let is_here = match self.place(want, reach) {
            Ok(Place::Repository(Real::Path(_))) => true,
            // Of what came before a commit, the cache may hold a part only.
            Ok(Place::Repository(_)) => !matches!(want, Want::History { .. }),
            Ok(Place::File(_) | Place::Https(_)) | Err(_) => false,
        };
        match is_here && want.is_pinned() {
            true => Ok(()),
            false => {
                let expected = "a document that is pinned and lies on the shelf or in the cache";
                Err(Refusal::new("offline", want, expected, "nothing, and nobody else is asked"))
            }
        }
    }

    /// Refuses a place on another machine where none may be asked.
    fn allowed(&self, place: Place, want: &Want) -> Result<Place, Refusal> {
        match place {
            Place::Https(_) | Place::Repository(Real::Https(_) | Real::Ssh(_)) if self.local_only => {
                let found = "one on another machine, and none is asked here";
                Err(Refusal::new("offline", want, "a place on this machine", found))
            }
            place => Ok(place),
        }
    }

    /// Tells who answers a want, after the rewrite rules.
    ///
    /// **Errors**: `net.rewrite`.
    fn place(&self, want: &Want, reach: &Reach) -> Result<Place, Refusal> {
        let repository = match want {
            Want::Blob(Location::File { path })
            | Want::Tree { location: Location::File { path }, .. }
            | Want::Directories { location: Location::File { path }, .. } => {
                return Ok(Place::File(path.clone()));
            }
            Want::Blob(Location::Https { url })
            | Want::Tree { location: Location::Https { url }, .. }
            | Want::Directories { location: Location::Https { url }, .. } => {
                return document(self.real(url, want, reach)?, want);
            }
            Want::Blob(Location::Git { repository, .. })
            | Want::Tree { location: Location::Git { repository, .. }, .. }
            | Want::Directories { location: Location::Git { repository, .. }, .. }
            | Want::Refs { repository, .. }
            | Want::History { repository, .. } => repository,
        };
        Ok(Place::Repository(match repository {
            Repository::Local(path) => Real::Path(path.clone()),
            Repository::Ssh(url) => Real::Ssh(url.clone()),
            Repository::Https(url) => match self.real(url, want, reach)? {
                Real::Path(path) => Real::Path(rewrite::repository(path)),
                real => real,
            },
        }))
    }

    /// Returns where an address leads: by the operator's rules, else by a mirror and by the operator's rules for that.
    fn real(&self, url: &HttpsUrl, want: &Want, reach: &Reach) -> Result<Real, Refusal> {
        match self.mirrored(url, want, reach)? {
            None => self.rules.real(url, want),
            Some(mirror) => self.rules.real(&mirror, want),
        }
    }

    /// Returns the mirror that is asked instead of `url`; none where the operator has a rule for that.
    fn mirrored(&self, url: &HttpsUrl, want: &Want, reach: &Reach) -> Result<Option<HttpsUrl>, Refusal> {
        if reach.mirrors().is_empty() || self.rules.has(url) {
            return Ok(None);
        }
        reach.mirrors().instead(url, want)
    }

    /// Tells whether a rule of the operator leads somebody who wants this to where it comes from.
    fn leads(&self, want: &Want, reach: &Reach) -> bool {
        let Some(url) = address(want) else { return false };
        match self.mirrored(url, want, reach) {
            Ok(Some(mirror)) => self.rules.has(&mirror),
            _ => self.rules.has(url),
        }
    }

    /// Names the mirror that a failed want was asked of.
    fn blamed(&self, error: FetchError, want: &Want, reach: &Reach) -> FetchError {
        let Some(url) = address(want) else { return error };
        match self.mirrored(url, want, reach) {
            Ok(Some(mirror)) => error.of_mirror(&mirror, url),
            _ => error,
        }
    }

    /// Returns the budget for what is wanted from `url`: where a rewrite rule led there, the operator named its host, for this
    /// one and nobody else. A redirect leads nowhere by it.
    fn granted(&self, want: &Want, url: &HttpsUrl, budget: &Budget) -> Budget {
        match self.leads(want, budget.reach()) {
            true => budget.reaching(budget.reach().clone().led_to(url.host())),
            false => budget.clone(),
        }
    }

    fn fetch_repository(
        &self,
        within: Within,
        place: &Real,
        wants: &[&Want],
        budget: &Budget,
    ) -> Vec<Result<Fetched, FetchError>> {
        if let Real::Ssh(url) = place
            && let Err(refusal) = budget.reach().check_host(host_of_login(url.login()), "")
        {
            let error = FetchError::Refused(refusal);
            return wants.iter().map(|want| Err(error.about(want))).collect();
        }
        let remote = match place {
            Real::Path(path) => return git::fetch(path, wants, budget),
            Real::Https(url) => Remote::Https { url: url.clone(), client: &self.client },
            Real::Ssh(url) => Remote::Ssh { url, program: OsStr::new("ssh") },
        };
        match within {
            Within::Reach => git_wire::fetch(&remote, self.cache_dir.as_deref(), wants, budget),
            Within::Machine => git_wire::cached(&remote, self.cache_dir.as_deref(), wants, budget),
        }
    }

    /// Asks for documents, several at the same time.
    fn fetch_documents(
        &self,
        documents: &[(usize, HttpsUrl)],
        asks: &[Ask<'_>],
        budget: &Budget,
        answers: &mut [Option<Result<Answer, FetchError>>],
    ) {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(documents.len()));
        let rest = pace::rest();
        let work = || {
            pace::set(rest);
            while let Some((index, url)) = documents.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = self.fetch_document(url, asks[*index], budget);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((*index, answer));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..documents.len().min(HTTPS_AT_ONCE) {
                // With fewer threads it takes longer; this thread is one of them.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        for (index, answer) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            answers[index] = Some(answer);
        }
    }

    fn fetch_document(&self, url: &HttpsUrl, ask: Ask<'_>, budget: &Budget) -> Result<Answer, FetchError> {
        let Want::Blob(_) = ask.want else {
            let expected = "a directory of a Git repository, with its commit";
            return Err(FetchError::Refused(Refusal::new(
                "net.not_git",
                ask.want,
                expected,
                "an https document",
            )));
        };
        let budget = &self.granted(ask.want, url, budget);
        budget.take_document(ask.want)?;
        let request = Request { url, headers: &[], body: None };
        let bytes_max = budget.readable_bytes();
        let response = match ask.known {
            Some(known) => self.client.send_unless_known(&request, known, bytes_max, budget, ask.want)?,
            None => self.client.send(&request, bytes_max, budget, ask.want)?,
        };
        if response.status == 304 {
            return Ok(Answer::Unchanged);
        }
        budget.take_bytes(response.body.len() as u64, ask.want)?;
        Ok(Answer::Fetched(Fetched {
            url: response.place().to_owned(),
            commit: None,
            blob: None,
            etag: response.header("etag").map(str::to_owned),
            modified: response.header("last-modified").map(str::to_owned),
            way: Vec::new(),
            bytes: response.body,
        }))
    }
}

/// Returns the host that a login leads to.
fn host_of_login(login: &str) -> &str {
    login.rsplit_once('@').map_or(login, |(_, host)| host)
}

/// Who answers a want.
enum Place {
    File(LocalPath),
    Https(HttpsUrl),
    Repository(Real),
}

/// Wants by repository, in the order of the first want of each.
#[derive(Default)]
struct Groups {
    groups: Vec<(Real, Vec<usize>)>,
    seen: HashMap<Real, usize>,
}

impl Groups {
    fn add(&mut self, place: Real, index: usize) {
        let groups = &mut self.groups;
        let group = *self.seen.entry(place).or_insert_with_key(|place| {
            groups.push((place.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(index);
    }
}

fn document(real: Real, want: &Want) -> Result<Place, Refusal> {
    match real {
        Real::Https(url) => Ok(Place::Https(url)),
        Real::Path(path) => Ok(Place::File(path)),
        Real::Ssh(url) => {
            let expected =
                "a rewrite rule that leads to https: or to a path; a single document does not come over ssh";
            Err(Refusal::new("net.rewrite", want, expected, url.as_text()))
        }
    }
}

/// Reads the file that a want names, or that a rule puts in its place; errors speak of the want.
fn file_at(path: LocalPath, want: &Want, budget: &Budget) -> Result<Answer, FetchError> {
    let local = match want {
        Want::Blob(Location::File { .. }) => return file::fetch(want, budget).map(Answer::Fetched),
        Want::Blob(_) => Want::Blob(Location::File { path }),
        _ => return file::fetch(want, budget).map(Answer::Fetched),
    };
    file::fetch(&local, budget).map(Answer::Fetched).map_err(|error| {
        let mut error = error.about(want);
        match &mut error {
            FetchError::Missing(refusal)
            | FetchError::Refused(refusal)
            | FetchError::Unreachable(refusal)
            | FetchError::Limit(refusal) => refusal.found = format!("{} ({local})", refusal.found),
        }
        error
    })
}

fn unanswered(want: &Want) -> FetchError {
    FetchError::Unreachable(Refusal::new("net.connect", want, "an answer", "none: its worker has ended"))
}

#[cfg(test)]
mod tests;
