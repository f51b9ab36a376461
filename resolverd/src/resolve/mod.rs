//! Resolve (pillar): chooses versions. A function of (candidates, request); never fetches, never reads a clock.
//!
//! `ground` says where each requirement leads, `walk` decides as long as nothing contradicts anything, `solver` searches where
//! something does, `closure` puts the answer together, `schemas` looks whether its releases bring what they need of each other,
//! `reason` tells why there is no answer, and `overlay` holds what a project wishes.
//!
//! One version per id. The newest that may be chosen comes first; prereleases only where they are named or asked for, withdrawn
//! releases only where the request's lock holds them, refused ones never. Natives and hosts meet requirements without a release.

// A conflict is the whole answer of a request, made once; boxing its parts would only make it harder to read.
#![allow(clippy::result_large_err)]

pub mod closure;
pub mod contract;
mod ground;
pub mod overlay;
pub mod reason;
mod schemas;
mod set;
pub mod solver;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use catalogue_schema::generation::{Blocked, SOURCE_EXPIRED};
use catalogue_schema::graph::more::Additions;
use catalogue_schema::graph::{Graph, Prereleases};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::model::{Refusal, Release, Verdict, Warning};
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::range::{Span, meet};
use catalogue_schema::version::{Version, VersionReq};
use pubgrub::VersionSet;

use crate::resolve::closure::{Asked, assemble};
use crate::resolve::ground::{Ground, Step};
use crate::resolve::overlay::{By, Overlay};
use crate::resolve::reason::{Derivation, told_as};
use crate::resolve::set::Set;
use crate::resolve::solver::{Missing, Solution, Solved, Undecided, Work, newest, solve};
use crate::resolve::walk::{Walked, walk};

/// How many versions an answer names that found none.
const AVAILABLE_MAX: usize = 10;

/// Where candidates come from: a snapshot, seen through the request.
pub trait Candidates {
    /// Says how `id` stands.
    fn standing(&self, id: &ComponentId) -> Standing<'_>;

    /// Returns up to five known ids that resemble `id`, nearest first.
    fn nearest(&self, id: &ComponentId) -> Vec<ComponentId>;

    /// Returns every component, sorted by id, and the graph of what they require.
    fn all(&self) -> (&[Packed], &Graph);
}

/// How an id stands in a generation.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// Somebody owns it.
    Known(&'a Packed),
    /// Its namespace is owned by a source of which something has never been read.
    Blocked(&'a Blocked),
    /// Nobody lists it.
    Unknown,
}

/// What is asked: one joint question, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The references, in the caller's order.
    pub references: Vec<Reference>,
    /// What the caller implements itself.
    pub natives: Vec<Native>,
    /// The schemas that come with what the caller implements itself, where that is said.
    pub brought: Vec<Brought>,
    /// Prereleases count as ordinary versions.
    pub prerelease: bool,
    /// The releases that a lock holds: preferred, and chosen even where they were withdrawn.
    pub locked: Vec<(ComponentId, Version)>,
    /// What the caller's project wishes.
    pub overlay: Overlay,
    /// What releases call without saying that they require it: required as well. Good for the candidates that it was made of.
    pub calls: Option<Arc<Additions>>,
}

impl Request {
    /// Says which prereleases count.
    pub fn prereleases(&self) -> Prereleases {
        if self.prerelease { Prereleases::Ordinary } else { Prereleases::Named }
    }
}

/// How long a search may go on.
pub struct Limits<'a> {
    /// How many steps it may take.
    pub steps: u64,
    /// Tells whether the time is over, or nobody waits any more.
    pub is_over: &'a dyn Fn() -> bool,
}

/// Something that the caller implements itself: `lcod://contract/` (a prefix, every version), `lcod://x/y@1`, `lcod://x/y`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Native {
    /// Every id below the prefix, which ends in `/`.
    Prefix(String),
    /// One id; a requirement `X@1` is met by what some `1.x.y` meets.
    Id(Reference),
    /// The host has this very version: what it does not meet, nothing meets.
    Host(ComponentId, Version),
}

/// The schemas that come with something that the caller implements itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// What they come with.
    pub by: Reference,
    /// Their names.
    pub schemas: Vec<String>,
}

/// An answer: one release per id.
#[derive(Debug, Default)]
pub struct Resolution<'a> {
    /// The chosen `id@version` (or the native reference) for each reference, in the caller's order.
    pub roots: Vec<String>,
    /// The chosen releases, in topological order (what is required before whoever requires it), then by id.
    pub picks: Vec<Pick<'a>>,
    /// The references that natives satisfy, sorted.
    pub natives: Vec<String>,
    /// Catalogued components that a native hides, sorted by id.
    pub hidden_by_natives: Vec<&'a Packed>,
    /// Which components of the answer stand for others, sorted.
    pub substitutions: Vec<Substitution>,
    /// What the caller should know, sorted.
    pub warnings: Vec<Warning>,
}

/// One component that stands for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Substitution {
    /// The id that is asked for.
    pub id: String,
    /// The id that answers.
    pub to: String,
    /// What says so.
    pub by: By,
}

/// A chosen release.
#[derive(Debug, Clone)]
pub struct Pick<'a> {
    /// Its component.
    pub component: &'a Packed,
    /// The release, unread: [`Listed::release`] reads it.
    pub release: Listed<'a>,
    /// The requirements that it meets, as written, sorted, each once; empty for any stable version.
    pub requested: Vec<&'a str>,
    /// Who asked: requests first, then releases, in the order of the answer.
    pub required_by: Vec<Asker>,
    /// What it requires, in the order in which it says so.
    pub dependencies: Vec<Link<'a>>,
    /// Where it is a contract: the place of the one component of the answer that implements it.
    pub implementation: Option<usize>,
}

impl Pick<'_> {
    /// Returns `id@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.component.id_text(), self.release.version_text())
    }
}

/// Who requires a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The request at this position.
    Request(usize),
    /// The pick at this place of the answer.
    Pick(usize),
}

/// One requirement of a chosen release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// The id that it names.
    pub id: &'a str,
    /// The requirement on its version, as written; empty for any stable version.
    pub requirement: &'a str,
    /// The release calls it and does not say that it requires it.
    pub is_called: bool,
    /// What meets it.
    pub to: Linked,
}

/// What meets a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The pick at this place of the answer.
    Pick(usize),
    /// The caller has it.
    Native,
}

/// Why there is no answer: the reference that failed and the cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The reference; where the overlay decides who answers it, the one that it puts there.
    pub reference: Reference,
    /// What was asked for instead, and what in the overlay decided.
    pub instead_of: Option<(Reference, By)>,
    /// The cause.
    pub cause: Cause,
}

impl Conflict {
    /// Returns that a reference has no answer.
    pub fn of(reference: &Reference, cause: Cause) -> Conflict {
        Conflict { reference: reference.clone(), instead_of: None, cause }
    }
}

/// Why no release of an id fits.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// Nobody lists the id.
    Unknown {
        /// Ids that resemble it.
        nearest: Vec<ComponentId>,
    },
    /// The id's namespace waits for a source of which something has never been read.
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
    /// The release that fits cannot be read out of the snapshot.
    Unreadable {
        /// What was found instead.
        found: String,
    },
    /// Two requests ask for versions of one id that no single version meets.
    Disjoint {
        /// The requirements, in the caller's order.
        requirements: Vec<VersionReq>,
    },
    /// The project does not use the component.
    Closed(Closed),
    /// The host has another version.
    Host(Version),
    /// Versions fit together, but for ids that nobody lists.
    Missing(Vec<Absent>),
    /// Releases of a registry that forbids it require each other in a circle: how.
    Circular(String),
    /// Two releases of the answer bring the same schema.
    SchemaTwice(SchemaTwice),
    /// Releases of the answer need schemas that none of it brings.
    SchemasUnmet(Vec<SchemaUnmet>),
    /// What a release of the answer requires is not known, because its documents have not been fetched.
    Unfetched {
        /// The releases, as `id@version`.
        releases: Vec<String>,
    },
    /// Nothing meets every requirement.
    Impossible(Box<Derivation>),
    /// Nobody knows: a limit was reached first.
    Undecided(Undecided),
}

/// A schema that two releases of one answer bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaTwice {
    /// The schema.
    pub schema: String,
    /// The releases, as `id@version`; what the caller has itself as it said so.
    pub provided_by: [String; 2],
}

/// A schema that a release needs and nothing in its answer brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaUnmet {
    /// The schema.
    pub schema: String,
    /// The release, as `id@version`.
    pub required_by: String,
}

/// Why a project does not use a component that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Its allowlist does not name it.
    NotAllowed,
    /// It is owned by this source, which is not one of those that it takes.
    OtherSource(String),
}

/// An id that is required and that nobody lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Absent {
    /// The id.
    pub id: ComponentId,
    /// What is required of it, as written.
    pub references: Vec<String>,
    /// Who requires it, as `id@version`.
    pub required_by: Vec<String>,
    /// Nobody says that it is required: it is called, and that alone.
    pub is_called: bool,
    /// The namespace that it lies in, where that waits for a source.
    pub blocked: Option<Blocked>,
}

/// Answers a request.
///
/// **Errors**: the first reference, in the caller's order, that has no answer together with those before it; where each has one,
/// why all that they require together has none.
pub fn resolve<'a>(
    candidates: &'a dyn Candidates,
    request: &'a Request,
    limits: &Limits<'_>,
) -> Result<Resolution<'a>, Conflict> {
    let Some(first) = request.references.first() else { return Ok(Resolution::default()) };
    let ground = Ground::new(candidates, request, first);
    let work = Work::new(limits);
    let mut groups: BTreeMap<u32, Group<'a>> = BTreeMap::new();
    let asked = ask_each(&ground, &mut groups, &work)?;
    let failed = |cause| Conflict::of(first, cause);
    let solution = solution(&ground, &asked, &groups, &work)?;
    let resolution = assemble(&ground, &asked, &solution, &work).map_err(failed)?;
    schemas::check(&resolution.picks, &request.brought).map_err(failed)?;
    let is_open = |pick: &&Pick<'_>| pick.release.is_unfetched() && pick.dependencies.is_empty();
    let open: Vec<String> = resolution.picks.iter().filter(is_open).map(Pick::name).collect();
    match open.is_empty() {
        true => Ok(resolution),
        false => Err(failed(Cause::Unfetched { releases: open })),
    }
}

/// Finds where every reference leads; those that are written alike lead to the same.
fn ask_each<'a>(
    ground: &Ground<'a>,
    groups: &mut BTreeMap<u32, Group<'a>>,
    work: &Work<'_>,
) -> Result<Vec<Asked<'a>>, Conflict> {
    let mut known: HashMap<(&str, &str), Asked<'a>> = HashMap::new();
    let mut asked = Vec::with_capacity(ground.request.references.len());
    for wanted in &ground.request.references {
        let text = (wanted.id.as_text(), wanted.requirement.as_text());
        let one = match known.get(&text) {
            Some(one) => *one,
            None => {
                let one = ask(ground, wanted, groups)?;
                let late = |undecided| Conflict::of(wanted, Cause::Undecided(undecided));
                work.charge(ground).map_err(late)?;
                known.insert(text, one);
                one
            }
        };
        asked.push(one);
    }
    Ok(asked)
}

/// Finds where one reference leads, and whether it has an answer together with those before it.
fn ask<'a>(
    ground: &Ground<'a>,
    wanted: &'a Reference,
    groups: &mut BTreeMap<u32, Group<'a>>,
) -> Result<Asked<'a>, Conflict> {
    let (class, step) = ground.first_step(wanted);
    let text = class.text_or(wanted.requirement.as_text());
    let Step::Node(node, met) = step else { return Ok(Asked { node: None, text }) };
    let refused = |cause| match class.substitute {
        None => Conflict::of(wanted, cause),
        Some(substitute) => Conflict {
            reference: Reference {
                id: class.id.clone(),
                requirement: class.requirement_or(|| wanted.requirement.clone()),
            },
            instead_of: Some((wanted.clone(), substitute.by)),
            cause,
        },
    };
    if let Some(version) = ground.host_version(&class.id) {
        return Err(refused(Cause::Host(version.clone())));
    }
    let component = match ground.candidates.standing(&class.id) {
        Standing::Known(component) => component,
        Standing::Blocked(blocked) => return Err(refused(Cause::Blocked(blocked.clone()))),
        Standing::Unknown => {
            return Err(refused(Cause::Unknown { nearest: ground.candidates.nearest(&class.id) }));
        }
    };
    if let Some(closed) = ground.closed(node) {
        return Err(refused(Cause::Closed(closed)));
    }
    let group =
        groups.entry(node).or_insert_with(|| Group { component, members: Vec::new(), met: Set::full() });
    group.members.push(class.requirement_or(|| wanted.requirement.clone()));
    group.met = group.met.intersection(&met);
    match newest(ground, node, &group.met) {
        Some(_) => Ok(Asked { node: Some(node), text }),
        None => Err(refused(group.explain(ground.request))),
    }
}

/// Returns the version of every node that is needed.
fn solution(
    ground: &Ground<'_>,
    asked: &[Asked<'_>],
    groups: &BTreeMap<u32, Group<'_>>,
    work: &Work<'_>,
) -> Result<Solution, Conflict> {
    let newest = |(node, group): (&u32, &Group<'_>)| Some((*node, newest(ground, *node, &group.met)?));
    let alone = Solution::of(groups.iter().filter_map(newest));
    let requires_nothing =
        |(node, version)| ground.required(node, version).is_some_and(|mut all| all.next().is_none());
    if alone.iter().all(requires_nothing) {
        return Ok(alone);
    }
    let roots: Vec<(u32, Set)> = groups.iter().map(|(node, group)| (*node, group.met.clone())).collect();
    let failed = |cause| Err(Conflict::of(ground.first, cause));
    // A search that takes nothing back decides what a walk decides.
    let granted = match walk(ground, &roots, work) {
        Ok(Walked::Solution(solution)) => return Ok(solution),
        Ok(Walked::Granted(solution)) => Some(Solved::Solution(solution)),
        Ok(Walked::Clash) => None,
        Err(undecided) => return failed(Cause::Undecided(undecided)),
    };
    let (proof, is_all_listed) = match solve(ground, &roots, Missing::Refused, work) {
        Solved::Solution(solution) => return Ok(solution),
        Solved::Undecided(undecided) => return failed(Cause::Undecided(undecided)),
        Solved::Impossible { proof, is_all_listed } => (proof, is_all_listed),
    };
    // Which ids are missing tells more than how a proof arrives at one of them. Where none was met the same search is not repeated.
    let search_again = || (!is_all_listed).then(|| solve(ground, &roots, Missing::Granted, work));
    match granted.or_else(search_again) {
        None => {}
        Some(Solved::Solution(solution)) => {
            let absent = absent(ground, &solution);
            if !absent.is_empty() {
                reason::let_go(*proof);
                return failed(Cause::Missing(absent));
            }
        }
        Some(Solved::Impossible { proof: other, .. }) => reason::let_go(*other),
        Some(Solved::Undecided(undecided)) => {
            reason::let_go(*proof);
            return failed(Cause::Undecided(undecided));
        }
    }
    failed(match Derivation::of(*proof, ground, asked, work) {
        Ok(derivation) => Cause::Impossible(Box::new(derivation)),
        Err(undecided) => Cause::Undecided(undecided),
    })
}

/// Returns the ids of a solution that nobody lists, sorted.
fn absent(ground: &Ground<'_>, solution: &Solution) -> Vec<Absent> {
    let mut found: BTreeMap<ComponentId, Lack> = BTreeMap::new();
    for (node, version) in solution.iter() {
        for edge in ground.required(node, version).into_iter().flatten() {
            let Some(to) = ground.target(edge) else { continue };
            if to < ground.graph.components() {
                continue;
            }
            let lack = found.entry(ground.id(to)).or_default();
            lack.references.insert(told_as(ground, edge));
            lack.is_stated |= !ground.is_call(edge);
            lack.required_by.extend(ground.listed(node, version).map(|listed| format!("{listed:?}")));
            if let Standing::Blocked(one) = ground.standing(to) {
                lack.blocked = Some(one.clone());
            }
        }
    }
    let absent = |(id, lack): (ComponentId, Lack)| Absent {
        id,
        references: lack.references.into_iter().collect(),
        required_by: lack.required_by.into_iter().collect(),
        is_called: !lack.is_stated,
        blocked: lack.blocked,
    };
    found.into_iter().map(absent).collect()
}

/// What is required of an id that nobody lists, while it is gathered.
#[derive(Default)]
struct Lack {
    references: BTreeSet<String>,
    required_by: BTreeSet<String>,
    is_stated: bool,
    blocked: Option<Blocked>,
}

impl From<PackedError> for Cause {
    fn from(error: PackedError) -> Cause {
        Cause::Unreadable { found: error.to_string() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::NotAllowed => out.write_str("is not on the project's allowlist"),
            Closed::OtherSource(source) => {
                write!(out, "belongs to source {source}, which the project does not use")
            }
        }
    }
}

/// Chooses the newest release of `component` that meets `requirement` and may be used.
///
/// **Errors**: [`Cause::NoVersion`], [`Cause::Refused`] and [`Cause::Unreadable`].
pub fn select<'a>(
    component: &'a Packed,
    requirement: &VersionReq,
    prerelease: bool,
) -> Result<Listed<'a>, Cause> {
    choose(component, &[requirement], prerelease)
}

/// The references to one component.
struct Group<'a> {
    component: &'a Packed,
    members: Vec<VersionReq>,
    /// The versions that meet them all.
    met: Set,
}

impl Group<'_> {
    /// Returns why the newest member has no answer: by itself, or only together with the others.
    fn explain(&self, request: &Request) -> Cause {
        let requirements: Vec<&VersionReq> = self.members.iter().collect();
        let together = choose(self.component, &requirements, request.prerelease);
        let alone = self.members.last().map(|newest| select(self.component, newest, request.prerelease));
        match (alone, together) {
            (Some(Err(alone)), _) => alone,
            (_, Err(refused @ Cause::Refused { .. })) => refused,
            _ => Cause::Disjoint { requirements: self.members.clone() },
        }
    }
}

/// Returns the first of the caller's natives that satisfies a reference.
pub fn native_for<'n>(wanted: &Reference, natives: &'n [Native]) -> Option<&'n Native> {
    natives.iter().find(|native| match native {
        Native::Prefix(prefix) => wanted.id.as_text().starts_with(prefix.as_str()),
        Native::Id(own) => {
            own.id == wanted.id && (own.requirement.is_any() || meet(&own.requirement, &wanted.requirement))
        }
        Native::Host(id, version) => *id == wanted.id && wanted.requirement.matches(version),
    })
}

fn fits(release: &Listed<'_>, requirements: &[&VersionReq], prerelease: bool) -> bool {
    let Some(version) = release.version() else { return false };
    requirements.iter().all(|requirement| match prerelease {
        true => requirement.matches_prerelease(&version),
        false => requirement.matches(&version),
    })
}

/// Chooses the newest release that meets every requirement. Yanked ones are passed over in silence: the cause names them.
fn choose<'a>(
    component: &'a Packed,
    requirements: &[&VersionReq],
    prerelease: bool,
) -> Result<Listed<'a>, Cause> {
    let mut refused = None;
    let triple = |at| component.listed(at).map_or((0, 0, 0), |release| release.triple());
    let span = requirements.iter().map(|requirement| Span::of(requirement)).reduce(Span::and);
    let fitting = span.map_or(0..component.count(), |span| span.among(component.count(), triple));
    for release in fitting.rev().filter_map(|at| component.listed(at)) {
        if release.is_yanked() || !fits(&release, requirements, prerelease) {
            continue;
        }
        match release.is_refused() {
            false => return Ok(release),
            true => refused = refused.or(Some(release)),
        }
    }
    Err(match refused {
        Some(release) => refusal(&release)?,
        None => match expired(component)? {
            Some(cause) => cause,
            None => no_version(component, requirements, prerelease),
        },
    })
}

/// Says why a release may not be used.
fn refusal(release: &Listed<'_>) -> Result<Cause, PackedError> {
    let Release { version, verdict, .. } = release.release()?;
    Ok(match verdict {
        Verdict::Refused(refusal) => Cause::Refused { version, refusal },
        Verdict::Trusted(_) => {
            Cause::Unreadable { found: format!("{release:?}: a verdict that refuses nothing") }
        }
    })
}

/// Says that a component is unavailable as a whole: nobody knows which versions its source has today.
fn expired(component: &Packed) -> Result<Option<Cause>, PackedError> {
    let newest = component.count().checked_sub(1).and_then(|last| component.listed(last));
    let Some(newest) = newest.filter(Listed::is_refused) else { return Ok(None) };
    let cause = refusal(&newest)?;
    let is_expired = matches!(&cause, Cause::Refused { refusal, .. } if refusal.reason == SOURCE_EXPIRED);
    Ok(Some(cause).filter(|_| is_expired))
}

fn no_version(component: &Packed, requirements: &[&VersionReq], prerelease: bool) -> Cause {
    let newest_first = || component.all().rev();
    let version = |release: Listed<'_>| release.version();
    let usable = || newest_first().filter(|release| !release.is_yanked());
    Cause::NoVersion {
        available: usable().filter_map(version).take(AVAILABLE_MAX).collect(),
        yanked: newest_first()
            .find(|release| release.is_yanked() && fits(release, requirements, prerelease))
            .and_then(version),
        prerelease: usable().find(|release| fits(release, requirements, true)).and_then(version),
    }
}

#[cfg(test)]
mod tests;
