//! Search: which components hold every word of a query, and in which order. Never reads an answer's shape, a clock or the disk.
//!
//! Every word must be found: in the id, among keywords and tags, or in summary and description. Where a word is found says how
//! much it counts ([`Found`]); a component counts as the sum over the words, the lowest first, and equal ones are sorted by id.

use std::collections::BTreeSet;

use catalogue_schema::dialect::estream::PREFIX;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::packed::search::{Searchable, folded, texts};
use catalogue_schema::packed::{Listed, Packed};
use serde_json::Value;

use crate::store::Snapshot;

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
    /// Only releases of publishers that an eStream registry has verified: nothing of LCOD is.
    pub verified: bool,
    /// Only official eStream components.
    pub official: bool,
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
    pub component: &'a Packed,
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
            verified: false,
            official: false,
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
        let mut hits: Vec<Hit<'a>> = snapshot.components().iter().filter_map(|one| self.hit(one)).collect();
        let total = hits.len();
        // They come sorted by id, and the sort is stable.
        hits.sort_by_key(|hit| hit.rank);
        let start = self.after.as_ref().map_or(0, |(rank, id)| {
            hits.partition_point(|hit| (hit.rank, hit.component.id_text()) <= (*rank, id.as_text()))
        });
        let mut page = hits.split_off(start);
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        Hits { page, more, total }
    }

    fn hit<'a>(&self, component: &'a Packed) -> Option<Hit<'a>> {
        let release = component.shown()?;
        let searchable = component.searchable();
        if !self.admits(component, &release, &searchable) {
            return None;
        }
        let texts = Texts::of(component, &release, searchable);
        let found: Vec<Found> = self.words.iter().map(|word| texts.place(word)).collect::<Option<_>>()?;
        let rank = found.iter().map(|found| *found as u32).sum();
        Some(Hit { component, rank, found })
    }

    fn admits(&self, component: &Packed, release: &Listed<'_>, searchable: &Searchable<'_>) -> bool {
        let is_kind = |wanted: &str| match release.kind() {
            Some(kind) => *folded(&kind) == *wanted,
            None => release.extra().is_ok_and(|extra| {
                extra.get("type").and_then(|kind| kind.as_str()).is_some_and(|kind| *folded(kind) == *wanted)
            }),
        };
        let carries = |wanted: &str| {
            release.extra().is_ok_and(|extra| {
                texts(extra.get("category")).into_iter().any(|category| *folded(category) == *wanted)
            })
        };
        // The reader of the registry says so; in other dialects anybody could write it.
        let is_said = |field: &str| {
            component.id_text().starts_with(PREFIX)
                && release.extra().is_ok_and(|extra| extra.get(field) == Some(&Value::Bool(true)))
        };
        self.source.as_ref().is_none_or(|source| source.as_text() == component.owner_texts().0)
            && (!self.verified || is_said("publisherVerified"))
            && (!self.official || is_said("official"))
            && self.tag.as_deref().is_none_or(|wanted| searchable.keywords().any(|word| word == wanted))
            && self.kind.as_deref().is_none_or(is_kind)
            && self.category.as_deref().is_none_or(carries)
    }
}

/// The texts of a component.
struct Texts<'a> {
    id: &'a str,
    /// The id without its dialect.
    path: &'a str,
    /// The last segment of the id.
    name: &'a str,
    release: Listed<'a>,
    searchable: Searchable<'a>,
}

impl<'a> Texts<'a> {
    fn of(component: &'a Packed, release: &Listed<'a>, searchable: Searchable<'a>) -> Texts<'a> {
        let id = component.id_text();
        let path = ComponentId::path_in(id);
        let name = path.rsplit('/').next().unwrap_or(path);
        Texts { id, path, name, release: *release, searchable }
    }

    /// Returns the best place of a folded word.
    fn place(&self, word: &str) -> Option<Found> {
        let Texts { id, path, name, .. } = *self;
        if [name, path, id].contains(&word) {
            return Some(Found::Name);
        }
        if name.starts_with(word) || path.starts_with(word) {
            return Some(Found::NamePrefix);
        }
        if path.split(['/', '.', '-', '_']).any(|segment| segment == word) {
            return Some(Found::NameSegment);
        }
        if id.contains(word) {
            return Some(Found::NamePart);
        }
        if self.searchable.keywords().any(|keyword| keyword.contains(word)) {
            return Some(Found::Keyword);
        }
        self.searchable.describes(self.release.summary().as_deref(), word).then_some(Found::Description)
    }
}

#[cfg(test)]
mod tests;
