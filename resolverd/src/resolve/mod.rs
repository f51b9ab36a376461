//! Resolve (pillar): chooses versions. A function of (candidates, request); never fetches, never reads a clock.
//!
//! Today each request selects one version; dependencies are listed, not followed, and the resolution says so.

// A conflict is the whole answer of a request, made once; boxing its parts would only make it harder to read.
#![allow(clippy::result_large_err)]

pub mod range;

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::generation::{Blocked, SOURCE_EXPIRED};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::model::{Refusal, Release, Verdict, Warning};
use catalogue_schema::packed::{Head, Listed, Packed, PackedError};
use catalogue_schema::version::{Version, VersionReq};

use crate::resolve::range::Span;

/// How many versions an answer names that found none.
const AVAILABLE_MAX: usize = 10;

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
    Known(&'a Packed),
    /// Its namespace is owned by a source of which something has never been read.
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
    pub picks: Vec<Pick>,
    /// The references that natives satisfy, sorted.
    pub natives: Vec<String>,
    /// Catalogued components that a native hides, sorted by id.
    pub hidden_by_natives: Vec<&'a Packed>,
    /// What the caller should know, sorted.
    pub warnings: Vec<Warning>,
}

/// A chosen release.
#[derive(Debug, Clone)]
pub struct Pick {
    /// Its component.
    pub component: Head,
    /// The release.
    pub release: Release,
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
}

/// Answers a request.
///
/// **Errors**: the first reference, in the caller's order, that has no answer together with those before it.
pub fn resolve<'a>(candidates: &'a impl Candidates, request: &Request) -> Result<Resolution<'a>, Conflict> {
    let mut groups: BTreeMap<&ComponentId, Group<'a, '_>> = BTreeMap::new();
    let (mut natives, mut hidden) = (BTreeSet::new(), BTreeMap::new());
    let answers: Vec<bool> = request.references.iter().map(|wanted| is_native(wanted, request)).collect();
    for (position, (wanted, native)) in request.references.iter().zip(&answers).enumerate() {
        let standing = candidates.standing(&wanted.id);
        if *native {
            natives.insert(wanted.to_string());
            if let Standing::Known(component) = standing {
                hidden.insert(&wanted.id, component);
            }
            continue;
        }
        let refused = |cause| Conflict { reference: wanted.clone(), cause };
        let component = match standing {
            Standing::Known(component) => component,
            Standing::Blocked(blocked) => return Err(refused(Cause::Blocked(blocked.clone()))),
            Standing::Unknown => {
                return Err(refused(Cause::Unknown { nearest: candidates.nearest(&wanted.id) }));
            }
        };
        let group = groups.entry(&wanted.id).or_insert_with(|| Group::new(component));
        group.members.push((position, &wanted.requirement));
        if !group.keeps_choice(&wanted.requirement, request.prerelease) {
            let choice = group.choose(request.prerelease);
            group.choice = Some(choice.map_err(|cause| refused(group.explain(cause, request)))?);
        }
    }
    let chosen = groups.iter().filter_map(|(id, group)| Some((*id, group.choice.as_ref()?.release)));
    let chosen: BTreeMap<&ComponentId, Listed<'_>> = chosen.collect();
    let root = |(wanted, native): (&Reference, &bool)| match chosen.get(&wanted.id) {
        Some(release) if !native => format!("{}@{}", wanted.id, release.version_text()),
        _ => wanted.to_string(),
    };
    let roots = request.references.iter().zip(&answers).map(root).collect();
    let picks = groups.into_iter().filter_map(|(id, group)| group.into_pick(id).transpose());
    let (picks, refused): (Vec<Pick>, Vec<Vec<Release>>) =
        picks.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    Ok(Resolution {
        roots,
        warnings: warnings(&picks, &refused),
        picks,
        natives: natives.into_iter().collect(),
        hidden_by_natives: hidden.into_values().collect(),
    })
}

impl From<PackedError> for Cause {
    fn from(error: PackedError) -> Cause {
        Cause::Unreadable { found: error.to_string() }
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
    choose(component, &[requirement], prerelease).map(|choice| choice.release)
}

/// The references to one id.
struct Group<'a, 'r> {
    component: &'a Packed,
    members: Vec<(usize, &'r VersionReq)>,
    choice: Option<Choice<'a>>,
}

/// A chosen release, and the newer ones that would have been chosen if they were not refused, newest first.
struct Choice<'a> {
    release: Listed<'a>,
    refused: Vec<Listed<'a>>,
}

impl<'a> Group<'a, '_> {
    fn new(component: &'a Packed) -> Self {
        Group { component, members: Vec::new(), choice: None }
    }

    /// Tells whether the release that was chosen meets one requirement more. It is the newest that meets the others, so it
    /// is chosen again then; of the refused ones that are newer, those stay that would be chosen again too.
    fn keeps_choice(&mut self, requirement: &VersionReq, prerelease: bool) -> bool {
        let Some(choice) = &mut self.choice else { return false };
        if !fits(&choice.release, &[requirement], prerelease) {
            return false;
        }
        choice.refused.retain(|release| fits(release, &[requirement], prerelease));
        true
    }

    fn choose(&self, prerelease: bool) -> Result<Choice<'a>, Cause> {
        let requirements: Vec<&VersionReq> =
            self.members.iter().map(|(_, requirement)| *requirement).collect();
        choose(self.component, &requirements, prerelease)
    }

    /// Returns why the newest member has no answer: by itself, or only together with the others.
    fn explain(&self, together: Cause, request: &Request) -> Cause {
        let [.., (_, newest)] = self.members.as_slice() else { return together };
        match (select(self.component, newest, request.prerelease), together) {
            (Err(alone), _) => alone,
            (Ok(_), refused @ Cause::Refused { .. }) => refused,
            (Ok(_), _) => Cause::Disjoint {
                requirements: self.members.iter().map(|(_, requirement)| (*requirement).clone()).collect(),
            },
        }
    }

    /// Reads the release that was chosen, and those that would have been if they were not refused.
    fn into_pick(self, id: &ComponentId) -> Result<Option<(Pick, Vec<Release>)>, Conflict> {
        let Some(choice) = &self.choice else { return Ok(None) };
        let read = || -> Result<(Head, Release, Vec<Release>), PackedError> {
            let refused = choice.refused.iter().map(Listed::release).collect::<Result<_, _>>()?;
            Ok((self.component.head()?, choice.release.release()?, refused))
        };
        let requirement =
            || self.members.first().map_or_else(VersionReq::any, |(_, wanted)| (*wanted).clone());
        let (component, release, refused) = read().map_err(|error| Conflict {
            reference: Reference { id: id.clone(), requirement: requirement() },
            cause: error.into(),
        })?;
        let mut requested: Vec<VersionReq> =
            self.members.iter().map(|(_, wanted)| (*wanted).clone()).collect();
        requested.sort_by(|one, other| one.as_text().cmp(other.as_text()));
        requested.dedup_by(|one, other| one.as_text() == other.as_text());
        let required_by = self.members.iter().map(|(position, _)| format!("request {position}")).collect();
        Ok(Some((Pick { component, release, requested, required_by }, refused)))
    }
}

fn is_native(wanted: &Reference, request: &Request) -> bool {
    native_for(wanted, &request.natives).is_some()
}

/// Returns the first of the caller's natives that satisfies a reference.
pub fn native_for<'n>(wanted: &Reference, natives: &'n [Native]) -> Option<&'n Native> {
    natives.iter().find(|native| match native {
        Native::Prefix(prefix) => wanted.id.as_text().starts_with(prefix.as_str()),
        Native::Id(own) => {
            own.id == wanted.id
                && (own.requirement.is_any() || range::meet(&own.requirement, &wanted.requirement))
        }
    })
}

fn fits(release: &Listed<'_>, requirements: &[&VersionReq], prerelease: bool) -> bool {
    let Some(version) = release.version() else { return false };
    requirements.iter().all(|requirement| match prerelease {
        true => requirement.matches_prerelease(&version),
        false => requirement.matches(&version),
    })
}

/// Chooses the newest release that meets every requirement. Yanked ones are passed over in silence (the cause names them),
/// refused ones are noted.
fn choose<'a>(
    component: &'a Packed,
    requirements: &[&VersionReq],
    prerelease: bool,
) -> Result<Choice<'a>, Cause> {
    let mut refused = Vec::new();
    let triple = |at| component.listed(at).map_or((0, 0, 0), |release| release.triple());
    let span = requirements.iter().map(|requirement| Span::of(requirement)).reduce(Span::and);
    let fitting = span.map_or(0..component.count(), |span| span.among(component.count(), triple));
    for release in fitting.rev().filter_map(|at| component.listed(at)) {
        if release.is_yanked() || !fits(&release, requirements, prerelease) {
            continue;
        }
        match release.is_refused() {
            false => return Ok(Choice { release, refused }),
            true => refused.push(release),
        }
    }
    Err(match refused.first() {
        Some(release) => refusal(release)?,
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

/// Says what the caller should know of the releases that were chosen, and of the newer ones that were refused for each.
fn warnings(picks: &[Pick], refused: &[Vec<Release>]) -> Vec<Warning> {
    let mut warnings = BTreeSet::new();
    let mut open = 0;
    for (Pick { release, .. }, refused) in picks.iter().zip(refused) {
        open += usize::from(!release.dependencies.is_empty());
        if release.unfetched {
            let full = format!("{}@{}", release.id, release.version);
            let text = format!(
                "{full}: its documents have not been fetched, so that only what its catalogue says of it is known; resolverd resolve --refresh {full} fetches them"
            );
            warnings.insert(Warning::new("manifest_unfetched", text));
        }
        for newer in refused {
            let Some(refusal) = newer.verdict.refusal() else { continue };
            let full = format!("{}@{}", newer.id, newer.version);
            let why = match refusal.subject == full {
                true => refusal.why().to_string(),
                false => refusal.to_string(),
            };
            let text = format!("{full} is newer than {} and may not be used: {why}", release.version);
            warnings.insert(Warning::new("resolve.refused_newer", text));
        }
        for warning in &release.warnings {
            let text = format!("{}@{}: {}", release.id, release.version, warning.text);
            warnings.insert(Warning { reason: warning.reason.clone(), text });
        }
    }
    if open > 0 {
        let text = format!(
            "dependencies are listed and not followed yet; releases with dependencies in this answer: {open}"
        );
        warnings.insert(Warning::new("resolve.not_transitive", text));
    }
    warnings.into_iter().collect()
}

#[cfg(test)]
mod tests;
