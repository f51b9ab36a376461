//! Why there is no answer, for people and for programs: the facts that contradict each other, and how they do.
//!
//! A proof is as deep as what was published, so that nothing here goes down into it by recursion, not even to let it go. What is
//! told is bounded; a proof that is longer says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Blocked;
use catalogue_schema::graph::Edge;
use catalogue_schema::id::ComponentId;
use catalogue_schema::model::Refusal;
use pubgrub::{DerivationTree, External};

use crate::resolve::closure::{Asked, written};
use crate::resolve::ground::{Class, Ground};
use crate::resolve::set::Set;
use crate::resolve::solver::{Broken, Proof, ROOT, Undecided, Work};
use crate::resolve::{Closed, Standing};

/// How many lines the text has at most.
pub const LINES_MAX: usize = 25;
/// How many steps of a proof are told at most.
pub const STEPS_MAX: usize = 500;
/// How many releases one fact names at most.
const RELEASES_MAX: usize = 10;
/// How many requirements one fact names at most.
const REQUIREMENTS_MAX: usize = 5;
/// How many versions a line names at most.
const NAMED_MAX: usize = 3;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// The facts, those nearest to the caller's requests first.
    pub facts: Vec<Fact>,
    /// How they contradict each other, the conclusion first. A step names facts and later steps.
    pub steps: Vec<[Because; 2]>,
    /// The proof is longer than what is told of it.
    pub is_cut: bool,
}

/// What a step rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// One of the facts.
    Fact(usize),
    /// Another step.
    Step(usize),
    /// Something that is not told any more.
    Cut,
}

/// One thing that is so, and that a solution would have to contradict.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Who it is about; `None` for the caller.
    pub about: Option<About>,
    /// What is so.
    pub what: What,
}

/// Releases of one component, or an id that nobody lists.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The id.
    pub id: ComponentId,
    /// Source and catalogue that own it; `None` where nobody lists it.
    pub owner: Option<(String, String)>,
    /// The releases, newest first, at most ten.
    pub releases: Vec<Told>,
    /// How many there are.
    pub count: u32,
    /// These are all that the component has.
    pub is_every: bool,
}

/// A release in a fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its version.
    pub version: String,
    /// The digest of its manifest.
    pub manifest: Option<Digest>,
    /// Why it may not be chosen, where that is why it is named.
    pub because: Option<String>,
    /// Why it is refused, where that is the reason.
    pub refusal: Option<Refusal>,
}

/// What is so.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The caller asks, by the positions of the requests, or the releases require.
    Requires {
        /// The requests; none where releases require.
        requests: Vec<usize>,
        /// Whom, as written, at most five with those that are called.
        references: Vec<String>,
        /// Whom the releases call and do not require, as written.
        called: Vec<String>,
        /// Whom it leads to; `None` where a request has to be answered at all.
        to: Option<ComponentId>,
        /// Nothing that could be chosen meets it, and why, where that is known.
        unmet: Option<Unmet>,
    },
    /// No release of it, or none of these, may be chosen.
    NoneUsable,
    /// Nobody lists it.
    Unlisted,
    /// Its namespace waits for a source.
    Blocked(Blocked),
    /// The project does not use it.
    Closed(Closed),
    /// A release cannot be chosen for what it says itself.
    Broken(String),
}

/// Why nothing meets a requirement.
#[derive(Debug, Clone, PartialEq)]
pub enum Unmet {
    /// No version does; the newest ones there are, at most ten.
    NoVersion(Vec<String>),
    /// The host has another version.
    Host(String),
}

impl Derivation {
    /// Tells a proof, and lets it go.
    ///
    /// **Errors**: the time is over.
    pub(super) fn of(
        proof: Proof,
        ground: &Ground<'_>,
        asked: &[Asked<'_>],
        work: &Work<'_>,
    ) -> Result<Derivation, Undecided> {
        let (facts, steps, is_cut) = walked(&proof);
        let mut positions: Positions = HashMap::new();
        for (position, one) in asked.iter().enumerate() {
            positions.entry(one.node).or_default().push(position);
        }
        let fact_at = |(at, external): (usize, &&Leaf)| {
            work.look()?;
            Ok((at, fact(external, ground, &positions)))
        };
        let told: Result<Vec<(usize, Fact)>, Undecided> = facts.iter().enumerate().map(fact_at).collect();
        let mut told = match told {
            Ok(told) => told,
            Err(undecided) => {
                drop(facts);
                let_go(proof);
                return Err(undecided);
            }
        };
        let depths = depths(&facts);
        told.sort_by_key(|(at, _)| (depths.get(at).copied().unwrap_or(usize::MAX), *at));
        // Equal facts are one.
        let mut place_of = vec![0; facts.len()];
        let mut unique: Vec<Fact> = Vec::new();
        for (at, fact) in told {
            place_of[at] = unique.iter().position(|known| *known == fact).unwrap_or_else(|| {
                unique.push(fact);
                unique.len() - 1
            });
        }
        drop(facts);
        let_go(proof);
        let renamed = |because: Because| match because {
            Because::Fact(at) => Because::Fact(place_of[at]),
            other => other,
        };
        Ok(Derivation {
            facts: unique,
            steps: steps.into_iter().map(|one| one.map(renamed)).collect(),
            is_cut,
        })
    }

    /// Returns the release that is to blame, and why it is refused, where nothing contradicts anything and what is required may not be
    /// used, as if it had been asked for itself. Of several it is the one nearest to the caller's requests, and the newest.
    pub fn refusal(&self) -> Option<(&ComponentId, &Told, &Refusal)> {
        let ids = self.facts.iter().filter_map(|fact| Some(&fact.about.as_ref()?.id));
        let told: BTreeSet<&ComponentId> = ids.collect();
        let rests = |fact: &Fact| match (&fact.what, &fact.about) {
            // What two requirements lead to and nothing more is said of, they contradict each other about.
            (What::Requires { to, unmet: None, .. }, _) => to.as_ref().is_none_or(|to| told.contains(to)),
            (What::NoneUsable, Some(about)) => {
                !about.releases.is_empty() && about.releases.iter().all(|one| one.because.is_some())
            }
            _ => false,
        };
        if self.is_cut || !self.facts.iter().all(rests) {
            return None;
        }
        self.facts.iter().filter(|fact| fact.what == What::NoneUsable).find_map(|fact| {
            let about = fact.about.as_ref()?;
            about.releases.iter().find_map(|one| Some((&about.id, one, one.refusal.as_ref()?)))
        })
    }

    /// Returns the text: at most [`LINES_MAX`] lines.
    pub fn text(&self) -> String {
        let mut lines = vec!["no choice of versions meets every requirement:".to_owned()];
        let room = LINES_MAX - 2;
        lines.extend(self.facts.iter().take(room).map(|fact| format!("- {fact}")));
        let left = self.facts.len().saturating_sub(room);
        match (left, self.is_cut) {
            (0, false) => {}
            (0, true) => lines.push("- and more, by way of which these contradict each other".to_owned()),
            (left, _) => lines.push(format!("- and {left} more; -o json shows them")),
        }
        lines.join("\n")
    }
}

type Leaf = External<u32, Set, Broken>;
/// The positions of the caller's references that lead to each node.
type Positions = HashMap<Option<u32>, Vec<usize>>;

/// Walks over a proof, the conclusion first, as far as it is told. Returns its facts as they are found.
fn walked(proof: &Proof) -> (Vec<&Leaf>, Vec<[Because; 2]>, bool) {
    let mut facts: Vec<&Leaf> = Vec::new();
    let mut steps: Vec<[Because; 2]> = Vec::new();
    let mut known: HashMap<*const Proof, Because> = HashMap::new();
    let mut queue: Vec<&Proof> = Vec::new();
    let mut is_cut = false;
    let mut meet = |one, queue: &mut Vec<_>, facts: &mut Vec<_>| -> Because {
        let one: &Proof = one;
        *known.entry(std::ptr::from_ref(one)).or_insert_with(|| match one {
            DerivationTree::External(external) if facts.len() < STEPS_MAX => {
                facts.push(external);
                Because::Fact(facts.len() - 1)
            }
            DerivationTree::Derived(_) if queue.len() < STEPS_MAX => {
                queue.push(one);
                Because::Step(queue.len() - 1)
            }
            _ => {
                is_cut = true;
                Because::Cut
            }
        })
    };
    meet(proof, &mut queue, &mut facts);
    let mut at = 0;
    while let Some(one) = queue.get(at).copied() {
        at += 1;
        if let DerivationTree::Derived(derived) = one {
            let causes = [&derived.cause1, &derived.cause2];
            steps.push(causes.map(|cause| meet(cause, &mut queue, &mut facts)));
        }
    }
    (facts, steps, is_cut)
}

/// Lets a proof go without recursion: each part on its own.
pub(super) fn let_go(proof: Proof) {
    let mut left = vec![proof];
    while let Some(one) = left.pop() {
        if let DerivationTree::Derived(derived) = one {
            left.extend([derived.cause1, derived.cause2].into_iter().filter_map(Arc::into_inner));
        }
    }
}

/// Returns how far from the caller each fact stands, by its place.
fn depths(facts: &[&Leaf]) -> BTreeMap<usize, usize> {
    let mut by_package: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, fact) in facts.iter().enumerate() {
        let package = match fact {
            External::NotRoot(package, _)
            | External::NoVersions(package, _)
            | External::Custom(package, ..)
            | External::FromDependencyOf(package, ..) => *package,
        };
        by_package.entry(package).or_default().push(at);
    }
    let mut depths = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([(ROOT, 0)]);
    while let Some((package, depth)) = queue.pop_front() {
        for at in by_package.remove(&package).unwrap_or_default() {
            depths.insert(at, depth);
            if let Some(External::FromDependencyOf(_, _, target, _)) = facts.get(at) {
                queue.push_back((*target, depth + 1));
            }
        }
    }
    depths
}

fn fact(leaf: &Leaf, ground: &Ground<'_>, positions: &Positions) -> Fact {
    match leaf {
        External::NotRoot(..) => Fact {
            about: None,
            what: What::Requires {
                requests: Vec::new(),
                references: Vec::new(),
                called: Vec::new(),
                to: None,
                unmet: None,
            },
        },
        External::NoVersions(node, set) => none_usable(*node, set, ground),
        External::Custom(node, set, why) => {
            Fact { about: Some(about(*node, set, ground)), what: What::Broken(why.to_string()) }
        }
        External::FromDependencyOf(ROOT, _, target, set) => asked(*target, set, ground, positions),
        External::FromDependencyOf(node, set, target, wanted) => {
            required(*node, set, *target, wanted, ground)
        }
    }
}

fn none_usable(node: u32, set: &Set, ground: &Ground<'_>) -> Fact {
    let about_all = || About { count: 0, ..about(node, &Set::of(&[]), ground) };
    if node >= ground.graph.components() {
        let what = match ground.standing(node) {
            Standing::Blocked(blocked) => What::Blocked(blocked.clone()),
            _ => What::Unlisted,
        };
        return Fact { about: Some(about_all()), what };
    }
    if let Some(closed) = ground.closed(node) {
        return Fact { about: Some(about_all()), what: What::Closed(closed) };
    }
    let mut about = about(node, set, ground);
    for (told, listed) in about.releases.iter_mut().zip(newest_first(node, set, ground)) {
        if listed.is_refused() {
            told.refusal = listed.release().ok().and_then(|release| release.verdict.refusal().cloned());
        }
        let refusal = || told.refusal.as_ref().map(|refusal| refusal.why().to_string());
        told.because = match (listed.is_refused(), listed.is_yanked()) {
            (true, _) => Some(format!("refused: {}", refusal().unwrap_or_default())),
            (false, true) => Some("withdrawn by its author".to_owned()),
            (false, false) => None,
        };
    }
    Fact { about: Some(about), what: What::NoneUsable }
}

fn asked(target: u32, set: &Set, ground: &Ground<'_>, positions: &Positions) -> Fact {
    let requests = positions.get(&Some(target)).cloned().unwrap_or_default();
    let mut references: Vec<String> = Vec::new();
    for wanted in requests.iter().filter_map(|position| ground.request.references.get(*position)) {
        if references.len() == REQUIREMENTS_MAX {
            break;
        }
        let text = told(&wanted.to_string(), &ground.first_class(wanted), wanted.requirement.as_text());
        if !references.contains(&text) {
            references.push(text);
        }
    }
    let unmet = unmet(target, set, ground);
    let (called, to) = (Vec::new(), Some(ground.id(target)));
    Fact { about: None, what: What::Requires { requests, references, called, to, unmet } }
}

/// Returns a reference as it is told: where the overlay decides who answers it, with whom it put there and what it asks of that one.
fn told(reference: &str, class: &Class<'_>, requirement: &str) -> String {
    let Some(substitute) = class.substitute else { return reference.to_owned() };
    let requirement = substitute.requirement.as_ref().map_or(requirement, |own| own.as_text());
    let to = written(substitute.id.as_text(), requirement);
    format!("{to} (in place of {reference}: the overlay's {})", substitute.by.word())
}

/// Returns a requirement of a release as it is told.
pub(super) fn told_as<'a>(ground: &Ground<'a>, edge: &'a Edge) -> String {
    let declared = ground.requirement_text(edge);
    told(&written(ground.text(edge.target), declared), &ground.class(edge.target), declared)
}

fn required(node: u32, set: &Set, target: u32, wanted: &Set, ground: &Ground<'_>) -> Fact {
    let (mut references, mut called): (Vec<String>, Vec<String>) = Default::default();
    for listed in newest_first(node, set, ground) {
        let version = u32::try_from(listed.at()).unwrap_or(u32::MAX);
        for edge in ground.required(node, version).into_iter().flatten() {
            let count = references.len() + called.len();
            if count == REQUIREMENTS_MAX || ground.target(edge) != Some(target) {
                continue;
            }
            let texts = if ground.is_call(edge) { &mut called } else { &mut references };
            let text = told_as(ground, edge);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    let unmet = unmet(target, wanted, ground);
    let to = Some(ground.id(target));
    let what = What::Requires { requests: Vec::new(), references, called, to, unmet };
    Fact { about: Some(about(node, set, ground)), what }
}

/// Returns why nothing is in a set of versions.
fn unmet(target: u32, wanted: &Set, ground: &Ground<'_>) -> Option<Unmet> {
    let count = ground.versions(target);
    if ground.is_hosted(target) {
        return ground.host_version(&ground.id(target)).map(|version| Unmet::Host(version.to_string()));
    }
    let is_component = target < ground.graph.components();
    (is_component && wanted.holds_none(count)).then(|| {
        let newest = (0..count).rev().filter_map(|version| ground.listed(target, version));
        Unmet::NoVersion(newest.take(RELEASES_MAX).map(|listed| listed.version_text().to_owned()).collect())
    })
}

fn newest_first<'a>(
    node: u32,
    set: &Set,
    ground: &Ground<'a>,
) -> impl Iterator<Item = catalogue_schema::packed::Listed<'a>> {
    set.newest_first(ground.versions(node))
        .filter_map(move |version| ground.components.get(node as usize)?.listed(version as usize))
        .take(RELEASES_MAX)
        .collect::<Vec<_>>()
        .into_iter()
}

fn about(node: u32, set: &Set, ground: &Ground<'_>) -> About {
    let owner = ground.components.get(node as usize).map(|component| component.owner_texts());
    let told = |listed: catalogue_schema::packed::Listed<'_>| Told {
        version: listed.version_text().to_owned(),
        manifest: listed.manifest().ok().flatten(),
        because: None,
        refusal: None,
    };
    let (count, all) = (set.count(ground.versions(node)), ground.versions(node));
    About {
        id: ground.id(node),
        owner: owner.map(|(source, name)| (source.to_owned(), name.to_owned())),
        releases: newest_first(node, set, ground).map(told).collect(),
        count,
        is_every: count == all && all > 1,
    }
}

impl std::fmt::Display for About {
    /// `lcod://ns/name 1.1.0, 1.0.0 (main/std)`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.id)?;
        let named: Vec<&str> = self.releases.iter().map(|told| told.version.as_str()).collect();
        match (self.is_every, named.as_slice()) {
            (_, []) => {}
            (true, [newest, ..]) => {
                write!(out, ", every version (the newest of {} is {newest})", self.count)?
            }
            (false, named) if named.len() <= NAMED_MAX && named.len() == self.count as usize => {
                write!(out, "@{}", named.join(", "))?;
            }
            (false, [newest, ..]) => write!(out, "@{newest} and {} older", self.count - 1)?,
        }
        match &self.owner {
            Some((source, catalogue)) => write!(out, " ({source}/{catalogue})"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.about, &self.what) {
            (about, What::Requires { requests, references, called, to: _, unmet }) => {
                match about {
                    Some(about) if references.is_empty() && !called.is_empty() => {
                        write!(out, "{about} calls ")?;
                    }
                    Some(about) => write!(out, "{about} requires ")?,
                    None if requests.is_empty() => return out.write_str("a request has to be answered"),
                    None => {
                        let numbers: Vec<String> =
                            requests.iter().take(NAMED_MAX).map(usize::to_string).collect();
                        write!(out, "request {} asks for ", numbers.join(", "))?;
                    }
                }
                write!(out, "{}", references.join(" or "))?;
                if !called.is_empty() {
                    let joint = if references.is_empty() { "" } else { " or calls " };
                    write!(out, "{joint}{}", called.join(" or "))?;
                }
                match unmet {
                    None => Ok(()),
                    Some(Unmet::Host(version)) => write!(out, ", and the host has {version}"),
                    Some(Unmet::NoVersion(versions)) => {
                        let named: Vec<&str> = versions.iter().map(String::as_str).take(NAMED_MAX).collect();
                        let more = if versions.len() > named.len() { ", …" } else { "" };
                        write!(out, ", which no version meets (there are {}{more})", named.join(", "))
                    }
                }
            }
            (Some(about), What::NoneUsable) => {
                let why: Vec<String> = about
                    .releases
                    .iter()
                    .filter_map(|told| Some(format!("{} {}", told.version, told.because.as_ref()?)))
                    .take(NAMED_MAX)
                    .collect();
                match why.as_slice() {
                    [] => write!(out, "{about} has no version that all of them meet"),
                    why => write!(out, "{about} may not be chosen: {}", why.join("; ")),
                }
            }
            (Some(about), What::Unlisted) => write!(out, "nobody lists {}", about.id),
            (Some(about), What::Blocked(blocked)) => write!(
                out,
                "{} belongs to {}, which waits for source {}",
                about.id, blocked.namespace, blocked.source
            ),
            (Some(about), What::Closed(closed)) => write!(out, "{about} {closed}"),
            (Some(about), What::Broken(why)) => write!(out, "{about} cannot be chosen: {why}"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use pubgrub::{Derived, Map, VersionSet};

    use super::*;

    fn deep(depth: u32) -> Proof {
        let leaf = |node: u32| Arc::new(DerivationTree::External(External::NoVersions(node, Set::full())));
        let mut proof = DerivationTree::External(External::NoVersions(0, Set::full()));
        for node in 0..depth {
            proof = DerivationTree::Derived(Derived {
                terms: Map::default(),
                shared_id: None,
                cause1: Arc::new(proof),
                cause2: leaf(node),
            });
        }
        proof
    }

    #[test]
    fn a_proof_of_any_depth_is_walked_and_let_go() {
        let proof = deep(200_000);
        let (facts, steps, is_cut) = walked(&proof);
        assert!(facts.len() <= STEPS_MAX && steps.len() <= STEPS_MAX && is_cut);
        drop(facts);
        let_go(proof);
        let shallow = deep(3);
        let (facts, steps, is_cut) = walked(&shallow);
        assert_eq!((facts.len(), steps.len(), is_cut), (4, 3, false));
    }
}
