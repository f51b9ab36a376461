//! Search: which components hold every word of a query, and in which order. Never reads an answer's shape, a clock or the disk.
//!
//! Every word must be found: in the id, among keywords and tags, or in summary and description. Where a word is found says how
//! much it counts ([`Found`]); a component counts as the sum over the words, the lowest first, and equal ones are sorted by id.

use std::collections::BTreeSet;

use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::{Component, Release};

use crate::store::Snapshot;
use crate::store::searchable::{Searchable, folded, texts};

/// How many words a query may have.
pub const WORDS_MAX: usize = 16;
/// The longest query in bytes.
pub const QUERY_BYTES_MAX: usize = 1_024;
/// How many hits a page has when the caller does not say.
pub const HITS: usize = 20;
/// The most hits in one page.
pub const HITS_MAX: usize = 100;

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The words, folded, each once; without any every component matches that the filters let through.
    pub words: Vec<Box<str>>,
    /// What the release's descriptor must say it is.
    pub kind: Option<Box<str>>,
    /// A category that the release must carry.
    pub category: Option<Box<str>>,
    /// A keyword or tag that the release must carry.
    pub tag: Option<Box<str>>,
    /// The source that must own it.
    pub source: Option<SourceId>,
    /// Only what an eStream index calls verified or official: nothing of LCOD is.
    pub vouched: bool,
    /// How many, from 1 to [`HITS_MAX`].
    pub limit: usize,
    /// The last hit of the page before.
    pub after: Option<(u32, ComponentId)>,
}

/// Where a word was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// It is the name (the last segment), the path or the whole id.
    Name,
    /// The name or the path starts with it.
    NamePrefix,
    /// It is a part of the id between two of `/ . - _`.
    NameSegment,
    /// The id contains it.
    NamePart,
    /// A keyword or tag contains it.
    Keyword,
    /// Summary or description contain it.
    Description,
}

impl Found {
    /// Returns the word that answers print.
    pub fn word(self) -> &'static str {
        match self {
            Found::Name => "name",
            Found::NamePrefix => "name-prefix",
            Found::NameSegment => "name-segment",
            Found::NamePart => "name-part",
            Found::Keyword => "keyword",
            Found::Description => "description",
        }
    }
}

/// A component that matches.
#[derive(Debug)]
pub struct Hit<'a> {
    /// The component.
    pub component: &'a Component,
    /// The release that stands for it.
    pub release: &'a Release,
    /// The sum over the words; lower is better.
    pub rank: u32,
    /// Where each word was found, in the order of the query.
    pub found: Vec<Found>,
}

/// A page of hits, best first.
#[derive(Debug)]
pub struct Hits<'a> {
    /// The hits.
    pub page: Vec<Hit<'a>>,
    /// Whether there are more behind them.
    pub more: bool,
    /// How many there are on all pages together.
    pub total: usize,
}

impl Search {
    /// Searches for folded words everywhere and asks for the first page.
    pub fn of(words: Vec<Box<str>>) -> Search {
        Search {
            words,
            kind: None,
            category: None,
            tag: None,
            source: None,
            vouched: false,
            limit: HITS,
            after: None,
        }
    }

    /// Splits the text of a query into its words.
    pub fn words_of(query: &str) -> Vec<Box<str>> {
        let mut seen = BTreeSet::new();
        let words = query.split_whitespace().map(folded);
        words.filter(|word| seen.insert(word.clone())).collect()
    }

    /// Runs the search.
    pub fn run<'a>(&self, snapshot: &'a Snapshot) -> Hits<'a> {
        let mut hits: Vec<Hit<'a>> = match self.vouched {
            true => Vec::new(),
            false => snapshot.searchable().filter_map(|(one, texts)| self.hit(one, texts)).collect(),
        };
        let total = hits.len();
        // They come sorted by id, and the sort is stable.
        hits.sort_by_key(|hit| hit.rank);
        let start = self
            .after
            .as_ref()
            .map_or(0, |(rank, id)| hits.partition_point(|hit| (hit.rank, &hit.component.id) <= (*rank, id)));
        let mut page = hits.split_off(start);
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        Hits { page, more, total }
    }

    fn hit<'a>(&self, component: &'a Component, texts: &Searchable) -> Option<Hit<'a>> {
        let release = texts.shown(component)?;
        if !self.admits(component, release, texts) {
            return None;
        }
        let places = self.words.iter().map(|word| place(word, component, release, texts));
        let found: Vec<Found> = places.collect::<Option<_>>()?;
        let rank = found.iter().map(|found| *found as u32).sum();
        Some(Hit { component, release, rank, found })
    }

    fn admits(&self, component: &Component, release: &Release, searchable: &Searchable) -> bool {
        let kind = release.kind.as_deref().or_else(|| release.extra.get("type")?.as_str());
        let carries = |wanted: &str| {
            texts(release.extra.get("category")).into_iter().any(|category| *folded(category) == *wanted)
        };
        self.source.as_ref().is_none_or(|source| *source == component.owner.source)
            && self.kind.as_deref().is_none_or(|wanted| kind.is_some_and(|kind| *folded(kind) == *wanted))
            && self.category.as_deref().is_none_or(carries)
            && self
                .tag
                .as_deref()
                .is_none_or(|wanted| searchable.keywords().iter().any(|word| **word == *wanted))
    }
}

/// Returns the best place of a folded word.
fn place(word: &str, component: &Component, release: &Release, texts: &Searchable) -> Option<Found> {
    let id = &component.id;
    let (name, path) = (id.name(), id.path());
    if [name, path, id.as_text()].contains(&word) {
        return Some(Found::Name);
    }
    if name.starts_with(word) || path.starts_with(word) {
        return Some(Found::NamePrefix);
    }
    if path.split(['/', '.', '-', '_']).any(|segment| segment == word) {
        return Some(Found::NameSegment);
    }
    if id.as_text().contains(word) {
        return Some(Found::NamePart);
    }
    if texts.keywords().iter().any(|keyword| keyword.contains(word)) {
        return Some(Found::Keyword);
    }
    texts.describes(release, word).then_some(Found::Description)
}

#[cfg(test)]
mod tests;
