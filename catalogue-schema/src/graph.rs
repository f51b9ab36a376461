//! What every release requires, as numbers: which components, and which of their versions. Made once for a generation, so that
//! nobody reads a requirement while solving. Never chooses, never judges: yanked and refused releases are versions like others.
//!
//! # Numbers
//! A **node** is a component by its place among the sorted components of the generation; behind them stand the **strangers**, ids
//! that are required and that nobody lists. A **version** is a place among the releases of its component, oldest first. An **edge** is
//! one requirement on one node, with the versions that meet it as intervals; equal requirements are one edge, equal lists of
//! requirements are one list. A requirement costs 4 bytes beside the edges and texts that it shares.
//!
//! Prereleases follow Cargo's rule here; whoever counts them as ordinary versions asks [`among`] with the text of the edge.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::quality::RandomState;

use crate::id::{ComponentId, Reference};
use crate::pace;
use crate::packed::Packed;
use crate::range::Span;
use crate::version::{Grammar, VersionReq};

pub mod more;

/// Versions of a component, as places: from the first up to and without the second.
pub type Interval = (u32, u32);

/// The requirements of all releases of a generation.
#[derive(Debug, Default)]
pub struct Graph {
    /// Where the releases of each component begin among all; one more than there are components.
    starts: Box<[u32]>,
    /// Where the list of each release begins in the pool.
    lists: Box<[u32]>,
    /// Lists: a count, then so many edges.
    pool: Box<[u32]>,
    edges: Box<[Edge]>,
    /// The intervals of edges that have none or several.
    several: Box<[Box<[Interval]>]>,
    texts: Box<str>,
    /// Where each text ends; the first begins at 0.
    text_ends: Box<[u32]>,
    strangers: Box<[ComponentId]>,
    /// The places of the strangers, sorted by their ids.
    strangers_by_id: Box<[u32]>,
}

/// One requirement on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Whom it requires.
    pub target: u32,
    text: u32,
    /// One interval, or [`SEVERAL`] behind a place among those that are several.
    interval: Interval,
}

/// Stands behind the place of several intervals; no interval ends there.
const SEVERAL: u32 = u32::MAX;
/// The list of a release whose requirements cannot be read.
const UNREADABLE: u32 = u32::MAX;

/// Whether prereleases count as ordinary versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prereleases {
    /// Only those that a requirement names (Cargo's rule).
    Named,
    /// All.
    Ordinary,
}

impl Graph {
    /// Makes the graph of components that are sorted by their ids.
    pub fn of(components: &[Packed]) -> Graph {
        Graph::by(components, &|id| place_of(id, components))
    }

    /// Makes the graph like [`Graph::of`] for whoever finds the place of an id with less than a search.
    pub fn by(components: &[Packed], place: &dyn Fn(&str) -> Option<u32>) -> Graph {
        let mut maker = Maker::new(components, place);
        let mut starts = vec![0];
        let mut lists = Vec::new();
        for component in components {
            // Mostly a version requires what the one before it does.
            let mut last = ("[]", 0);
            lists.extend(pace::each(component.all(), LISTED_NS).map(|listed| {
                let text = listed.dependencies_text();
                if last.0 != text {
                    last = (text, maker.list(text));
                }
                last.1
            }));
            starts.push(number(lists.len()));
        }
        let mut strangers_by_id: Vec<u32> = (0..number(maker.strangers.len())).collect();
        strangers_by_id.sort_unstable_by_key(|place| maker.strangers[*place as usize].as_text());
        Graph {
            strangers_by_id: strangers_by_id.into(),
            starts: starts.into(),
            lists: lists.into(),
            pool: maker.pool.into(),
            edges: maker.edges.into(),
            several: maker.several.into(),
            texts: maker.texts.into(),
            text_ends: maker.text_ends.into(),
            strangers: maker.strangers.into(),
        }
    }

    /// Returns how many components there are: the nodes below this are components.
    pub fn components(&self) -> u32 {
        number(self.starts.len().saturating_sub(1))
    }

    /// Returns how many nodes there are, strangers among them.
    pub fn nodes(&self) -> u32 {
        self.components().saturating_add(number(self.strangers.len()))
    }

    /// Returns the id of a node that nobody lists.
    pub fn stranger(&self, node: u32) -> Option<&ComponentId> {
        self.strangers.get(node.checked_sub(self.components())? as usize)
    }

    /// Returns the node of an id that is required and that nobody lists.
    pub fn stranger_of(&self, id: &str) -> Option<u32> {
        self.stranger_where(|one| one.as_text().cmp(id))
    }

    /// Returns the stranger that `compare` finds equal, in as many comparisons as their number has binary digits.
    fn stranger_where(&self, mut compare: impl FnMut(&ComponentId) -> Ordering) -> Option<u32> {
        let found =
            self.strangers_by_id.binary_search_by(|place| compare(&self.strangers[*place as usize])).ok()?;
        self.components().checked_add(*self.strangers_by_id.get(found)?)
    }

    /// Returns how many versions a component has.
    pub fn versions(&self, component: u32) -> u32 {
        let [start, end] = [component as usize, component as usize + 1]
            .map(|at| self.starts.get(at).copied().unwrap_or_default());
        end.saturating_sub(start)
    }

    /// Returns what a release requires, in the order in which it says so; `None` where that cannot be read.
    pub fn required(&self, component: u32, version: u32) -> Option<impl ExactSizeIterator<Item = &Edge>> {
        let release = self.starts.get(component as usize)?.checked_add(version)?;
        let list = self.lists.get(release as usize).copied().filter(|list| *list != UNREADABLE)? as usize;
        let count = *self.pool.get(list)? as usize;
        let list = self.pool.get(list + 1..list + 1 + count)?;
        Some(list.iter().map(|edge| &self.edges[*edge as usize]))
    }

    /// Returns the versions that meet a requirement.
    pub fn met_by<'a>(&'a self, edge: &'a Edge) -> &'a [Interval] {
        match edge.interval {
            (place, SEVERAL) => self.several.get(place as usize).map_or(&[], |several| several),
            _ => std::slice::from_ref(&edge.interval),
        }
    }

    /// Returns the text of a requirement; empty for any stable version.
    pub fn text(&self, edge: &Edge) -> &str {
        let at = edge.text as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.text_ends.get(before).copied().unwrap_or(0));
        let end = self.text_ends.get(at).copied().unwrap_or(start);
        self.texts.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Returns a requirement.
    pub fn requirement(&self, edge: &Edge) -> VersionReq {
        // The text was read when the graph was made.
        VersionReq::parse(self.text(edge), Grammar::Reference).unwrap_or_else(|_| VersionReq::any())
    }

    /// Returns how many bytes it takes, beside the ids of strangers.
    pub fn bytes(&self) -> usize {
        let several = self.several.iter().map(|one| size_of_val::<[Interval]>(one) + 16).sum::<usize>();
        size_of_val::<[u32]>(&self.starts)
            + size_of_val::<[u32]>(&self.lists)
            + size_of_val::<[u32]>(&self.pool)
            + size_of_val::<[Edge]>(&self.edges)
            + several
            + self.texts.len()
            + size_of_val::<[u32]>(&self.text_ends)
            + size_of_val::<[ComponentId]>(&self.strangers)
            + size_of_val::<[u32]>(&self.strangers_by_id)
    }
}

/// Returns the place of an id among components that are sorted by their ids.
pub fn place_of(id: &str, components: &[Packed]) -> Option<u32> {
    let place = components.binary_search_by(|one| one.id_bytes().cmp(id.as_bytes())).ok()?;
    u32::try_from(place).ok()
}

/// Returns which versions of a component meet a requirement.
pub fn among(component: &Packed, requirement: &VersionReq, prereleases: Prereleases) -> Vec<Interval> {
    let triple = |at| component.listed(at).map_or((0, 0, 0), |listed| listed.triple());
    let mut span = Span::of(requirement).among(component.count(), triple);
    let names_none = requirement.semver().comparators.iter().all(|comparator| comparator.pre.is_empty());
    let is_stable_only = prereleases == Prereleases::Named && names_none;
    let meets = |at: usize| {
        let Some(listed) = component.listed(at) else { return false };
        if is_stable_only && listed.is_prerelease() {
            return false;
        }
        listed.version().is_some_and(|version| match prereleases {
            Prereleases::Named => requirement.matches(&version),
            Prereleases::Ordinary => requirement.matches_prerelease(&version),
        })
    };
    if is_stable_only {
        // Each comparator is one interval over stable versions, so all of them together are.
        let Some(first) = span.find(|at| meets(*at)) else { return Vec::new() };
        let last = span.rfind(|at| meets(*at)).unwrap_or(first);
        let is_stable = |at: usize| component.listed(at).is_some_and(|listed| !listed.is_prerelease());
        return runs(first..=last, is_stable);
    }
    runs(span, meets)
}

/// Returns the runs of places that `holds` for.
fn runs(places: impl Iterator<Item = usize>, holds: impl Fn(usize) -> bool) -> Vec<Interval> {
    let mut runs: Vec<Interval> = Vec::new();
    for at in places.filter(|at| holds(*at)).map(number) {
        match runs.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}

/// How much work a release and an edge are, roughly.
const LISTED_NS: usize = 200;
const EDGE_NS: usize = 1000;

/// Counts stay below 2^32: a block is shorter than 4 GiB, and so many of them fit into no memory.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Numbers by what they stand for. A table has a key of its own, since the texts come from outside, and lives for a moment.
type Known<K> = HashMap<K, u32, RandomState>;

/// A graph that is being made.
struct Maker<'a> {
    components: &'a [Packed],
    place: &'a dyn Fn(&str) -> Option<u32>,
    pool: Vec<u32>,
    edges: Vec<Edge>,
    several: Vec<Box<[Interval]>>,
    texts: String,
    text_ends: Vec<u32>,
    strangers: Vec<ComponentId>,
    known_lists: Known<&'a str>,
    known_edges: Known<&'a str>,
    known_nodes: Known<&'a str>,
    known_texts: Known<&'a str>,
    known_several: Known<Box<[Interval]>>,
}

impl<'a> Maker<'a> {
    fn new(components: &'a [Packed], place: &'a dyn Fn(&str) -> Option<u32>) -> Maker<'a> {
        // Room for as many as there mostly are at most: a table that grows moves all that it holds at once.
        let releases = pace::each(components, pace::COMPONENT_NS).map(Packed::count).sum();
        let table = |count| Known::with_capacity_and_hasher(count, RandomState::default());
        let mut known_lists = table(releases);
        known_lists.insert("[]", 0);
        Maker {
            components,
            place,
            pool: vec![0],
            edges: Vec::new(),
            several: Vec::new(),
            texts: String::new(),
            text_ends: Vec::new(),
            strangers: Vec::new(),
            known_lists,
            known_edges: table(releases),
            known_nodes: table(components.len()),
            known_texts: Known::default(),
            known_several: Known::default(),
        }
    }

    /// Returns the list that is written so: a JSON array of references.
    fn list(&mut self, text: &'a str) -> u32 {
        if let Some(known) = self.known_lists.get(text) {
            return *known;
        }
        let edges: Option<Vec<u32>> = references(text).map(|one| self.edge(one?)).collect();
        let list = edges.map_or(UNREADABLE, |edges| {
            let place = number(self.pool.len());
            self.pool.push(number(edges.len()));
            self.pool.extend(edges);
            place
        });
        self.known_lists.insert(text, list);
        list
    }

    fn edge(&mut self, reference: &'a str) -> Option<u32> {
        pace::spent(EDGE_NS);
        if let Some(known) = self.known_edges.get(reference) {
            return Some(*known);
        }
        let Reference { id, requirement } = Reference::parse(reference).ok()?;
        // A canonical reference is its id, then `@` and the requirement.
        let id_text = reference.get(..id.as_text().len()).filter(|text| *text == id.as_text())?;
        let requirement_text = reference.get(id_text.len()..)?.trim_start_matches('@');
        let target = self.node(id_text, id);
        let interval = match self.components.get(target as usize) {
            Some(component) => self.interval(among(component, &requirement, Prereleases::Named)),
            None => (0, 0),
        };
        let edge = number(self.edges.len());
        let text = self.text(requirement_text);
        self.edges.push(Edge { target, text, interval });
        self.known_edges.insert(reference, edge);
        Some(edge)
    }

    fn node(&mut self, text: &'a str, id: ComponentId) -> u32 {
        if let Some(known) = self.known_nodes.get(text) {
            return *known;
        }
        let node = (self.place)(text).unwrap_or_else(|| {
            self.strangers.push(id);
            number(self.components.len() + self.strangers.len() - 1)
        });
        self.known_nodes.insert(text, node);
        node
    }

    fn text(&mut self, text: &'a str) -> u32 {
        let (texts, ends) = (&mut self.texts, &mut self.text_ends);
        known(&mut self.known_texts, text, || {
            texts.push_str(text);
            ends.push(number(texts.len()));
            number(ends.len() - 1)
        })
    }

    fn interval(&mut self, intervals: Vec<Interval>) -> Interval {
        if let [one] = intervals.as_slice() {
            return *one;
        }
        let intervals = intervals.into_boxed_slice();
        let several = &mut self.several;
        let place = known(&mut self.known_several, intervals.clone(), || {
            several.push(intervals);
            number(several.len() - 1)
        });
        (place, SEVERAL)
    }
}

fn known<K: Hash + Eq>(known: &mut Known<K>, key: K, make: impl FnOnce() -> u32) -> u32 {
    *known.entry(key).or_insert_with(make)
}

/// Returns the references in the text of a JSON array, which a block holds without spaces and without escapes; `None` for what is
/// neither.
fn references(text: &str) -> impl Iterator<Item = Option<&str>> {
    let inner = text.strip_prefix("[\"").and_then(|rest| rest.strip_suffix("\"]"));
    let inner = inner.filter(|inner| !inner.contains('\\'));
    inner.map_or("\\", |inner| inner).split("\",\"").map(|one| (one != "\\").then_some(one))
}

#[cfg(test)]
mod tests;
