//! Ranking and filters as tables over a hand-made snapshot.
#![allow(clippy::unwrap_used)]

use catalogue_schema::id::CatalogueId;
use catalogue_schema::model::{Component, Level, Origin, Release, Trust, Verdict};
use catalogue_schema::references::References;
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use super::*;
use crate::server::answer::tests::world;

fn component(id: &str, summary: &str, kind: &str, extra: Value) -> Component {
    let id = ComponentId::parse(&format!("lcod://{id}")).unwrap();
    let release = |version: &str, summary: &str| Release {
        id: id.clone(),
        version: Version::parse(version).unwrap(),
        origin: Origin { repository: None, commit: None, path: None },
        manifest: None,
        files: Vec::new(),
        kind: Some(kind.to_owned()),
        summary: Some(summary.to_owned()),
        dependencies: References::default(),
        implements: Vec::new(),
        unfetched: false,
        archive: None,
        yanked: false,
        verdict: Verdict::Trusted(Trust::grant(Level::Pinned, false)),
        warnings: Vec::new(),
        basis: None,
        promised: false,
        extra: extra.as_object().unwrap().clone().into(),
    };
    let source = if id.scope().starts_with("other") { "second" } else { "first" };
    let owner =
        CatalogueId { source: SourceId::parse(source).unwrap(), name: SourceId::parse("std").unwrap() };
    // What only a prerelease says is not found.
    let releases = vec![release("0.1.0", summary), release("0.2.0-rc.1", "prerelease-only")];
    Component { id, owner, releases, shadowed: Vec::new() }
}

fn snapshot() -> Snapshot {
    let none = || json!({});
    let components = [
        component(
            "text/slug",
            "Short names",
            "component",
            json!({"keywords": ["URL", "ASCII"], "category": "Text"}),
        ),
        component("text/slugger", "Counts letters", "flow", json!({"tags": "slugs, words"})),
        component("slug/other", "Ümlaute stay", "flow", json!({"category": ["x", "text"]})),
        component("text/re-slug", "Slugs again", "component", none()),
        component("text/unslugged", "The opposite", "component", none()),
        component("text/words", "Splits", "component", json!({"tags": ["Slug"]})),
        component(
            "text/wrap",
            "Breaks a slug into lines",
            "component",
            json!({"description": "A long Story"}),
        ),
        component("other/wrap", "Wraps", "component", none()),
    ];
    Snapshot::of(world().generation.clone(), components)
}

fn search(query: &str) -> Search {
    Search::of(Search::words_of(query))
}

/// Runs a search and writes its hits as `path=place,place …`.
fn check(search: &Search, expected: &str) {
    let snapshot = snapshot();
    let shown = |hit: &Hit<'_>| {
        let places: Vec<&str> = hit.found.iter().map(|found| found.word()).collect();
        format!("{}={}", ComponentId::path_in(hit.component.id_text()), places.join(","))
    };
    let found: Vec<String> = search.run(&snapshot).page.iter().map(shown).collect();
    assert_eq!(found.join(" "), expected, "{search:?}");
}

#[test]
fn a_word_counts_by_the_place_where_it_is_found() {
    check(
        &search("slug"),
        "text/slug=name slug/other=name-prefix text/slugger=name-prefix text/re-slug=name-segment \
         text/unslugged=name-part text/words=keyword text/wrap=description",
    );
    check(&search("SLUG/Other"), "slug/other=name");
    check(&search("lcod://text/slug"), "text/slug=name text/slugger=name-part");
    check(&search("url"), "text/slug=keyword");
    check(&search("ÜMLAUTE"), "slug/other=description");
    check(&search("story"), "text/wrap=description");
    check(&search("prerelease-only"), "");
    check(&search("nothing-like-it"), "");
}

#[test]
fn every_word_must_be_found_and_the_sum_decides() {
    check(&search("wrap lines"), "text/wrap=name,description");
    check(
        &search("text slug"),
        "text/slug=name-prefix,name text/slugger=name-prefix,name-prefix text/re-slug=name-prefix,name-segment \
         text/unslugged=name-prefix,name-part text/words=name-prefix,keyword text/wrap=name-prefix,description",
    );
    check(&search("wrap  wrap"), "other/wrap=name text/wrap=name");
    check(&search("wrap url"), "");
}

#[test]
fn filters_narrow_and_need_no_words() {
    check(&Search { kind: Some("flow".into()), ..search("") }, "slug/other= text/slugger=");
    check(&Search { category: Some("text".into()), ..search("") }, "slug/other= text/slug=");
    check(&Search { tag: Some("slug".into()), ..search("") }, "text/words=");
    check(&Search { tag: Some("words".into()), ..search("slug") }, "text/slugger=name-prefix");
    check(&Search { source: Some(SourceId::parse("second").unwrap()), ..search("wrap") }, "other/wrap=name");
    check(&Search { kind: Some("axiom".into()), ..search("slug") }, "");
    check(&Search { verified: true, ..search("slug") }, "");
    check(&Search { official: true, ..search("slug") }, "");
}

#[test]
fn pages_continue_behind_the_last_hit() {
    let snapshot = snapshot();
    let whole: Vec<String> =
        search("slug").run(&snapshot).page.iter().map(|hit| hit.component.id_text().to_owned()).collect();
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let next = Search { limit: 2, after: after.clone(), ..search("slug") };
        let hits = next.run(&snapshot);
        assert_eq!(hits.total, whole.len());
        paged.extend(hits.page.iter().map(|hit| hit.component.id_text().to_owned()));
        match hits.page.last() {
            Some(last) if hits.more => after = Some((last.rank, last.component.id().unwrap())),
            _ => break,
        }
    }
    assert_eq!(paged, whole);
}
