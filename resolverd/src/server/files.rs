//! Requests for files on disk, their values read; and who carries them out.
//!
//! Reads nothing but the request. The work is done by [`Desk`], which the daemon furnishes: it writes below the daemon's own
//! cache, whatever a request says.

use std::sync::Arc;

use catalogue_schema::direct::{DirectReference, PREFIX};
use catalogue_schema::documents::Documents;
use catalogue_schema::error::escaped;
use catalogue_schema::id::{CatalogueId, Reference};
use catalogue_schema::model::{Refusal, Release};
use catalogue_schema::pointer::Repository;

use crate::api::files::{
    CollectRequest, Collected, FilesRow, HOLD_BYTES_MAX, HoldRow, Layout, LocateRequest, MaterializeRequest,
    VerifyRequest, VerifyRow, ViewRow,
};
use crate::api::{Code, Failure, REFERENCES_MAX};
use crate::store::Snapshot;
use crate::trust::policy::Policies;

/// How many requests for files may be at work or wait at the same time.
pub const REQUESTS_MAX: usize = 64;

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
            true => DirectReference::parse(text).map(Target::Direct).map_err(|error| {
                Failure::of(Code::ReferenceInvalid, &error)
                    .hint("write git+https://host/repository.git@COMMIT#PATH, with the full id of the commit")
            }),
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

/// A request for files.
#[derive(Debug, Clone)]
pub struct Materialize {
    /// What is wanted, in the caller's order.
    pub targets: Vec<Target>,
    /// A workspace of them.
    pub layout: Option<Layout>,
    /// Nothing is fetched.
    pub offline: bool,
    /// Who needs them.
    pub hold: Option<String>,
}

impl Materialize {
    /// Reads the body of `POST /v1/materialize`, except what is to be resolved.
    ///
    /// **Errors**: R001, R005 (too many), R011.
    pub fn read(wire: MaterializeRequest) -> Result<Materialize, Failure> {
        let MaterializeRequest { releases, resolve, layout, offline, hold } = wire;
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
        Ok(Materialize { targets, layout, offline, hold: hold.map(hold_name).transpose()? })
    }

    /// Tells whether only an admin may ask so: the daemon reads repositories of this machine for nobody else.
    pub fn is_local(&self) -> bool {
        self.targets.iter().any(Target::is_local)
    }
}

/// A question for the files of one component.
#[derive(Debug, Clone)]
pub struct Locate {
    /// Which.
    pub target: Target,
    /// Nothing is fetched.
    pub offline: bool,
}

impl Locate {
    /// Reads the body of `POST /v1/locate`.
    ///
    /// **Errors**: R001.
    pub fn read(wire: &LocateRequest) -> Result<Locate, Failure> {
        Ok(Locate { target: Target::parse(&wire.id)?, offline: wire.offline })
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
    /// A workspace is laid out.
    pub layout: Option<Layout>,
    /// Who needs it.
    pub hold: Option<&'a str>,
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

/// Who puts files on disk: all or nothing, the first refusal says why.
pub struct Desk {
    /// Puts releases on disk.
    pub provide: Box<Provide>,
    /// Compares what is there with what was published.
    pub verify: Task<Vec<String>, Verified>,
    /// Removes what nobody needs.
    pub collect: Task<CollectRequest, Collected>,
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
            hold: hold.map(str::to_owned),
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
