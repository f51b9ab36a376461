//! Resolve (pillar): chooses versions. A function of (candidates, request); never fetches, never reads a clock.
//!
//! Today each request selects one version; dependencies are listed, not followed, and the resolution says so.

pub mod range;

use catalogue_schema::generation::Blocked;
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::model::{Component, Refusal, Release, Warning};
use catalogue_schema::version::{Version, VersionReq};

/// Where candidates come from: a snapshot, seen through the request.
pub trait Candidates {
    /// Says how `id` stands.
    fn standing(&self, id: &ComponentId) -> Standing<'_>;

    /// Returns up to five known ids that resemble `id`, nearest first.
    fn nearest(&self, id: &ComponentId) -> Vec<ComponentId>;
}

/// How an id stands in a generation.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// Somebody owns it.
    Known(&'a Component),
    /// Its namespace is owned by a source that has never been read.
    Blocked(&'a Blocked),
    /// Nobody lists it.
    Unknown,
}

/// What is asked: one joint question, all or nothing.
#[derive(Debug, Clone)]
pub struct Request {
    /// The references, in the caller's order.
    pub references: Vec<Reference>,
    /// What the caller implements itself.
    pub natives: Vec<Native>,
    /// Prereleases count as ordinary versions.
    pub prerelease: bool,
}

/// Something that the caller implements itself: `lcod://contract/` (a prefix, every version), `lcod://x/y@1`, `lcod://x/y`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Native {
    /// Every id below the prefix, which ends in `/`.
    Prefix(String),
    /// One id; a requirement `X@1` is met by what some `1.x.y` meets.
    Id(Reference),
}

/// An answer: one release per id.
#[derive(Debug)]
pub struct Resolution<'a> {
    /// The chosen `id@version` (or the native reference) for each reference, in the caller's order.
    pub roots: Vec<String>,
    /// The chosen releases, in topological order, then by id.
    pub picks: Vec<Pick<'a>>,
    /// The references that natives satisfy, sorted.
    pub natives: Vec<String>,
    /// Catalogued components that a native hides, sorted by id.
    pub hidden_by_natives: Vec<&'a Component>,
    /// What the caller should know, sorted.
    pub warnings: Vec<Warning>,
}

/// A chosen release.
#[derive(Debug, Clone)]
pub struct Pick<'a> {
    /// Its component.
    pub component: &'a Component,
    /// The release.
    pub release: &'a Release,
    /// The requirements that it meets, as written, sorted, each once.
    pub requested: Vec<VersionReq>,
    /// Who asked: `request 0`, or an `id@version`.
    pub required_by: Vec<String>,
}

/// Why there is no answer: the reference that failed and the cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The reference.
    pub reference: Reference,
    /// The cause.
    pub cause: Cause,
}

/// Why no release of an id fits.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// Nobody lists the id.
    Unknown {
        /// Ids that resemble it.
        nearest: Vec<ComponentId>,
    },
    /// The id's namespace waits for a source that has never been read.
    Blocked(Blocked),
    /// No version fits.
    NoVersion {
        /// The newest versions there are, newest first, at most ten.
        available: Vec<Version>,
        /// The newest version that would fit but is yanked.
        yanked: Option<Version>,
        /// The newest version that would fit but is a prerelease.
        prerelease: Option<Version>,
    },
    /// Versions fit, and every one of them is refused; the newest is named.
    Refused {
        /// The newest that fits.
        version: Version,
        /// Why it may not be used.
        refusal: Refusal,
    },
    /// Two requests ask for versions of one id that no single version meets.
    Disjoint {
        /// The requirements, in the caller's order.
        requirements: Vec<VersionReq>,
    },
}

/// Answers a request.
///
/// **Errors**: the first reference, in the caller's order, that has no answer.
pub fn resolve<'a>(_candidates: &'a impl Candidates, _request: &Request) -> Result<Resolution<'a>, Conflict> {
    todo!()
}

/// Chooses the newest release of `component` that meets `requirement` and may be used.
pub fn select<'a>(
    _component: &'a Component,
    _requirement: &VersionReq,
    _prerelease: bool,
) -> Result<&'a Release, Cause> {
    todo!()
}
