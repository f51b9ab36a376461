//! Requests for files on disk, their values read; and who carries them out.
//!
//! Reads nothing but the request. The work is done by [`Desk`], which the daemon furnishes: it writes below the daemon's own
//! cache, whatever a request says.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalogue_schema::direct::{DirectReference, PREFIX};
use catalogue_schema::documents::Documents;
use catalogue_schema::error::escaped;
use catalogue_schema::id::{CatalogueId, Reference};
use catalogue_schema::model::{Refusal, Release};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::Repository;

use crate::api::files::{
    CollectRequest, Collected, FilesRow, HOLD_BYTES_MAX, HoldRow, Layout, LocateRequest, MaterializeRequest,
    ReleaseRequest, VerifyRequest, VerifyRow, ViewRow,
};
use crate::api::{Code, Failure, REFERENCES_MAX, ResolveRequest};
use crate::fetch::audience::Gone;
use crate::fetch::mirror::{MIRRORS_MAX, Mirrors};
use crate::fetch::progress::Progress;
use crate::server::{Caller, OVERFLOW_UID};
use crate::store::Snapshot;
use crate::trust::policy::Policies;

/// How many requests for files may be at work or wait at the same time.
pub const REQUESTS_MAX: usize = 64;

/// Who asks for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// The user, who has holds of its own.
    pub uid: u32,
    /// What that user may do.
    pub caller: Caller,
}

impl Asking {
    /// Nobody, until it is known who asks.
    pub const NOBODY: Asking = Asking { uid: OVERFLOW_UID, caller: Caller::Reader };

    /// Tells whether the caller is told of a hold that the user `owner` has made.
    pub fn sees(self, owner: u32) -> bool {
        self.caller == Caller::Admin || self.uid == owner
    }
}

/// What is wanted on disk.
#[derive(Debug, Clone)]
pub enum Target {
    /// A release that a catalogue lists.
    Listed(Reference),
    /// A directory of a commit.
    Direct(DirectReference),
}

impl Target {
    /// Reads a reference of either kind.
    ///
    /// **Errors**: R001.
    pub fn parse(text: &str) -> Result<Target, Failure> {
        match text.starts_with(PREFIX) {
            true => direct(text).map(Target::Direct),
            false => {
                Reference::parse(text).map(Target::Listed).map_err(|error| Failure::of_reference(&error))
            }
        }
    }

    /// Tells whether it names a repository of this machine, which only an admin may.
    fn is_local(&self) -> bool {
        matches!(self, Target::Direct(DirectReference { repository: Repository::Local(_), .. }))
    }
}

/// Reads a direct reference.
///
/// **Errors**: R001.
pub fn direct(text: &str) -> Result<DirectReference, Failure> {
    DirectReference::parse(text)
        .map_err(|error| Failure::of(Code::ReferenceInvalid, &error).hint(DIRECT_HINT))
}

/// What helps against a direct reference that is none.
pub const DIRECT_HINT: &str = "write git+https://host/repository.git@COMMIT#PATH; git rev-parse NAME^{commit} prints the full id of a commit";

/// A request for files.
#[derive(Debug, Clone)]
pub struct Materialize {
    /// What is wanted, in the caller's order.
    pub targets: Vec<Target>,
    /// A workspace of them.
    pub layout: Option<Layout>,
    /// Nothing is fetched.
    pub offline: bool,
    /// Everything is fetched again, whatever the cache has.
    pub refetch: bool,
    /// Under which name they are needed.
    pub hold: Option<String>,
    /// Where their files are fetched from instead.
    pub mirrors: Mirrors,
    /// Who asks.
    pub asking: Asking,
    /// Tells that whoever asks has gone away; `None` where that never happens.
    pub gone: Option<Gone>,
    /// Hears how far it comes; `None` where nobody wants to know.
    pub progress: Option<Arc<Progress>>,
}

impl Materialize {
    /// Makes a request for files that nobody holds.
    pub fn unheld(targets: Vec<Target>, offline: bool) -> Materialize {
        let (layout, hold, mirrors) = (None, None, Mirrors::default());
        let (refetch, gone, asking, progress) = (false, None, Asking::NOBODY, None);
        Materialize { targets, layout, offline, refetch, hold, mirrors, asking, gone, progress }
    }

    /// Reads the body of `POST /v1/materialize`, except what is to be resolved.
    ///
    /// **Errors**: R001, R005 (too many), R011.
    pub fn read(wire: MaterializeRequest) -> Result<Materialize, Failure> {
        let MaterializeRequest { releases, resolve, layout, offline, refetch, hold, mirrors } = wire;
        if releases.is_empty() == resolve.is_none() {
            let found = if releases.is_empty() { "neither" } else { "both" };
            let detail = format!("releases: expected at least one reference, or resolve; found {found}");
            return Err(Failure::new(Code::RequestInvalid, "api.body", detail).with("field", "releases"));
        }
        if releases.len() > REFERENCES_MAX {
            let detail = format!("{} references; the limit is {REFERENCES_MAX}", releases.len());
            return Err(
                Failure::new(Code::LimitExceeded, "api.references", detail).with("limit", REFERENCES_MAX)
            );
        }
        let targets = releases.iter().map(|text| Target::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if let (Some(_), Some(Target::Direct(direct))) =
            (layout, targets.iter().find(|target| matches!(target, Target::Direct(_))))
        {
            let detail = format!(
                "layout: {direct} is a direct reference, which has no id and no version to name a directory by"
            );
            return Err(Failure::new(Code::RequestInvalid, "api.body", detail).with("field", "layout"));
        }
        let is_said_twice =
            |resolve: &ResolveRequest| resolve.mirrors.as_ref().is_some_and(|all| !all.is_empty());
        if !mirrors.is_empty() && resolve.as_ref().is_some_and(is_said_twice) {
            let detail = "mirrors stand in the request and in its resolve";
            return Err(Failure::new(Code::RequestInvalid, "api.body", detail)
                .with("field", "mirrors")
                .hint("leave one of them out"));
        }
        let mirrors = self::mirrors(Some(&mirrors))?;
        let hold = hold.map(hold_name).transpose()?;
        let (gone, asking, progress) = (None, Asking::NOBODY, None);
        Ok(Materialize { targets, layout, offline, refetch, hold, mirrors, asking, gone, progress })
    }

    /// Tells whether only an admin may ask so: the daemon reads repositories of this machine for nobody else.
    pub fn is_local(&self) -> bool {
        self.targets.iter().any(Target::is_local)
    }
}

/// Reads the mirrors of a request.
///
/// **Errors**: R011 `net.mirror`, R005 `net.mirror` (too many).
pub fn mirrors(wire: Option<&BTreeMap<String, String>>) -> Result<Mirrors, Failure> {
    let pairs = wire.into_iter().flatten().map(|(from, to)| (from.as_str(), to.as_str()));
    Mirrors::read(pairs).map_err(|refusal| {
        let code = match wire.is_some_and(|all| all.len() > MIRRORS_MAX) {
            true => Code::LimitExceeded,
            false => Code::RequestInvalid,
        };
        Failure::new(code, refusal.reason.clone(), refusal.to_string())
            .with("field", "mirrors")
            .hint("correct mirrors, or the resolve.config.json that they come from")
    })
}

/// A question for the files of one component.
#[derive(Debug, Clone)]
pub struct Locate {
    /// Which.
    pub target: Target,
    /// Nothing is fetched.
    pub offline: bool,
    /// Where its files are fetched from instead.
    pub mirrors: Mirrors,
}

impl Locate {
    /// Reads the body of `POST /v1/locate`.
    ///
    /// **Errors**: R001; those of [`mirrors`].
    pub fn read(wire: &LocateRequest) -> Result<Locate, Failure> {
        let (target, mirrors) = (Target::parse(&wire.id)?, self::mirrors(Some(&wire.mirrors))?);
        Ok(Locate { target, offline: wire.offline, mirrors })
    }

    /// Tells whether only an admin may ask so.
    pub fn is_local(&self) -> bool {
        self.target.is_local()
    }
}

/// Reads the body of `POST /v1/files/verify`: the names of releases.
///
/// **Errors**: R005.
pub fn verify(wire: VerifyRequest) -> Result<Vec<String>, Failure> {
    match wire.releases.len() > REFERENCES_MAX {
        true => {
            let detail = format!("{} releases; the limit is {REFERENCES_MAX}", wire.releases.len());
            Err(Failure::new(Code::LimitExceeded, "api.references", detail).with("limit", REFERENCES_MAX))
        }
        false => Ok(wire.releases),
    }
}

/// Reads the body of `POST /v1/files/release`.
///
/// **Errors**: R005, R011.
pub fn release(wire: ReleaseRequest) -> Result<Vec<String>, Failure> {
    let ReleaseRequest { holds } = wire;
    if holds.is_empty() {
        let detail = "holds: expected the name of at least one hold";
        return Err(Failure::new(Code::RequestInvalid, "api.body", detail).with("field", "holds"));
    }
    if holds.len() > REFERENCES_MAX {
        let detail = format!("{} holds; the limit is {REFERENCES_MAX}", holds.len());
        return Err(Failure::new(Code::LimitExceeded, "api.references", detail).with("limit", REFERENCES_MAX));
    }
    holds.into_iter().map(hold_name).collect()
}

/// A name is printable text; nobody looks whether it is that of a file.
fn hold_name(name: String) -> Result<String, Failure> {
    match !name.is_empty() && name.len() <= HOLD_BYTES_MAX && !name.chars().any(char::is_control) {
        true => Ok(name),
        false => {
            let detail =
                format!("hold: expected a name of 1 to {HOLD_BYTES_MAX} bytes, found \"{}\"", escaped(&name));
            Err(Failure::new(Code::RequestInvalid, "api.body", detail).with("field", "hold"))
        }
    }
}

/// A release or directory to put on disk.
#[derive(Debug, Clone)]
pub enum Choice {
    /// A release that may be used, with the catalogue that owns it.
    Listed(Box<(Release, CatalogueId)>),
    /// A directory of a commit that every policy allows.
    Direct(DirectReference),
    /// The same, where its descriptor has said which release it is, as `id@version`.
    Described(DirectReference, String),
    /// Something beside a release, at the same commit of the same repository.
    Beside(Box<Beside>),
}

impl Choice {
    /// Returns the place, where it is no release that a catalogue lists.
    pub fn direct(&self) -> Option<&DirectReference> {
        match self {
            Choice::Listed(_) => None,
            Choice::Direct(direct) | Choice::Described(direct, _) => Some(direct),
            Choice::Beside(beside) => Some(&beside.reference),
        }
    }
}

/// What is wanted of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Everything in it.
    Whole,
    /// These files of its commit, as far as they are there.
    Files(Vec<DocPath>),
    /// The descriptors of what lies below it, at most so many. What else is there does not matter.
    Descriptors(usize),
}

/// Something in the repository of a release, at its commit.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Where it lies.
    pub reference: DirectReference,
    /// Which files of it.
    pub part: Part,
    /// Which release it is, as `id@version`, where that is known.
    pub release: Option<String>,
    /// The listed release beside it, whose machines are asked; `None` where a directory of a commit led to it.
    pub of: Option<Box<(Release, CatalogueId)>>,
}

/// What becomes of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Calls {
    /// No compose file is read.
    #[default]
    Off,
    /// What is called undeclared is required as well, with a warning.
    Follow,
    /// What is called undeclared is an error.
    Strict,
}

impl Calls {
    /// Reads the word of a request.
    ///
    /// **Errors**: R011 `api.calls`.
    pub fn parse(text: Option<&str>) -> Result<Calls, Failure> {
        match text {
            None | Some("off") => Ok(Calls::Off),
            Some("follow") => Ok(Calls::Follow),
            Some("strict") => Ok(Calls::Strict),
            Some(other) => {
                let detail = format!("calls: expected off, follow or strict, found \"{}\"", escaped(other));
                Err(Failure::new(Code::RequestInvalid, "api.calls", detail).with("field", "calls"))
            }
        }
    }
}

/// What the desk is asked for.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// What is wanted.
    pub choices: &'a [Choice],
    /// The generation that says what it is.
    pub snapshot: Option<&'a Snapshot>,
    /// The policies in force.
    pub policies: &'a Policies,
    /// Reads the list of the documents that the generation rests on; `None` where it cannot be read.
    pub documents: &'a dyn Fn() -> Option<Arc<Documents>>,
    /// Nothing is fetched.
    pub offline: bool,
    /// Everything is fetched again, whatever the cache has.
    pub refetch: bool,
    /// A workspace is laid out.
    pub layout: Option<Layout>,
    /// Under which name it is needed.
    pub hold: Option<&'a str>,
    /// Where files are fetched from instead.
    pub mirrors: &'a Mirrors,
    /// Who asks.
    pub uid: u32,
    /// Tells that whoever asks has gone away; `None` where that never happens.
    pub gone: Option<&'a Gone>,
    /// Hears how far it comes.
    pub progress: Option<&'a Arc<Progress>>,
}

/// What the desk has put on disk.
#[derive(Debug)]
pub struct Provided {
    /// The releases, in the order in which they were asked for.
    pub rows: Vec<FilesRow>,
    /// The workspace.
    pub view: Option<ViewRow>,
}

/// What is on disk beside releases.
#[derive(Debug, Default)]
pub struct Listing {
    /// Who needs what.
    pub holds: Vec<HoldRow>,
    /// The workspaces in the cache.
    pub views: Vec<ViewRow>,
    /// What is none of ours.
    pub skipped: Vec<String>,
}

/// What a look at every release has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// The releases.
    pub rows: Vec<VerifyRow>,
    /// What is none of ours.
    pub skipped: Vec<String>,
}

type Task<A, B> = Box<dyn Fn(A) -> Result<B, Refusal> + Send + Sync>;

type Provide = dyn Fn(&Errand<'_>) -> Result<Provided, Refusal> + Send + Sync;

/// The `compose.yaml` of a release: its bytes, `None` where it has none, or why they cannot be had.
pub type Composed = Result<Option<Vec<u8>>, Refusal>;

type Compose = dyn Fn(&Errand<'_>) -> Result<Vec<Composed>, Refusal> + Send + Sync;

/// Who puts files on disk: all or nothing, the first refusal says why.
pub struct Desk {
    /// Puts releases on disk.
    pub provide: Box<Provide>,
    /// Reads a file of a release that was put on disk; `None` where it has no such file.
    pub read: Task<(FilesRow, DocPath), Option<Vec<u8>>>,
    /// Returns the compose file of each release, in the order in which they are named; what an errand says of holds and layouts does not count.
    pub compose: Box<Compose>,
    /// Compares what is there with what was published.
    pub verify: Task<Vec<String>, Verified>,
    /// Removes what nobody needs, as far as the user may say so.
    pub collect: Task<(CollectRequest, u32), Collected>,
    /// Ends holds of a user by their names.
    pub release: Task<(Vec<String>, u32), Vec<HoldRow>>,
    /// Says who needs what.
    pub list: Task<(), Listing>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(releases: &[&str], hold: Option<&str>) -> Result<Materialize, Failure> {
        Materialize::read(MaterializeRequest {
            releases: releases.iter().map(|text| (*text).to_owned()).collect(),
            resolve: None,
            layout: None,
            offline: false,
            refetch: false,
            hold: hold.map(str::to_owned),
            mirrors: BTreeMap::new(),
        })
    }

    #[test]
    fn requests_are_read_and_bad_ones_refused_by_name() {
        let check = |releases: &[&str], hold: Option<&str>, expected: Result<bool, &str>| {
            let found = request(releases, hold).map(|read| read.is_local());
            let found = found.map_err(|failure| failure.reason.into_owned());
            assert_eq!(found, expected.map_err(str::to_owned), "{releases:?} {hold:?}");
        };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        check(&["lcod://a/b@1.0.0", "lcod://a/c"], Some("view: x"), Ok(false));
        check(&[&format!("git+https://e.org/a@{commit}#x")], None, Ok(false));
        check(&["lcod://a/b", &format!("git+file:///a@{commit}#x")], None, Ok(true));
        check(&[], None, Err("api.body"));
        check(&["lcod://a/b"], Some(""), Err("api.body"));
        check(&["lcod://a/b"], Some("x\n"), Err("api.body"));
        check(&["lcod://a/b"], Some(&"x".repeat(HOLD_BYTES_MAX + 1)), Err("api.body"));
        check(&["oci://x"], None, Err("input.reference"));
        check(&["git+https://e.org/a@main#x"], None, Err("input.commit"));
        check(&vec!["lcod://a/b"; REFERENCES_MAX + 1], None, Err("api.references"));
    }
}
