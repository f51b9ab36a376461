//! Who owns what, what is reported of the others, and what names a snapshot.

use std::collections::BTreeMap;

use catalogue_schema::extra::Extra;
use catalogue_schema::id::Namespace;
use catalogue_schema::model::{Component, Level, Origin, Place, Release, Trust, Verdict};
use catalogue_schema::pointer::{LocalPath, Repository};
use catalogue_schema::references::References;
use catalogue_schema::version::Version;
use proptest::prelude::*;

use super::*;
use crate::merge::listing::Listing;

pub(super) fn owner(source: &str, name: &str) -> CatalogueId {
    let id = |text| SourceId::parse(text).expect("an id");
    CatalogueId { source: id(source), name: id(name) }
}

pub(super) fn release(id: &str, version: &str) -> Release {
    Release {
        id: ComponentId::parse(&format!("lcod://{id}")).expect("a good id"),
        version: Version::parse(version).expect("a good version"),
        origin: Origin { repository: None, commit: None, path: None },
        manifest: Some(Digest::sha256(version.as_bytes())),
        unfetched: false,
        archive: None,
        files: Vec::new(),
        kind: None,
        summary: None,
        implements: Vec::new(),
        dependencies: References::default(),
        yanked: false,
        verdict: Verdict::Trusted(Trust::grant(Level::Pinned, false)),
        warnings: Vec::new(),
        basis: None,
        promised: false,
        extra: Extra::default(),
    }
}

fn contribution(catalogue: CatalogueId, rank: Rank, releases: impl Iterator<Item = Release>) -> Contribution {
    let mut listing = Listing::of(catalogue.clone());
    listing.add(releases);
    let components = listing.finish().expect("they can be packed");
    Contribution { catalogue, rank, components }
}

fn merged(contributions: Vec<Contribution>, blocked: &[Blocked]) -> Vec<Component> {
    merged_as_owned(contributions, blocked, &[])
}

fn merged_as_owned(contributions: Vec<Contribution>, blocked: &[Blocked], owned: &[Owned]) -> Vec<Component> {
    merged_by(contributions, &Rights { blocked, owned, registered: &[], may_supply: &|_, _| true })
}

fn merged_by(contributions: Vec<Contribution>, rights: &Rights<'_>) -> Vec<Component> {
    let components = merge(contributions, rights).expect("they can be merged");
    components.iter().map(|component| component.component().expect("it can be read")).collect()
}

fn packed(components: &[Component]) -> Vec<Packed> {
    components.iter().map(|component| Packed::of(component).expect("it can be packed")).collect()
}

/// `source catalogue priority.position …: id@version …`, one contribution per line.
fn federation(text: &str) -> Vec<Contribution> {
    let line = |line: &str| {
        let (head, tail) = line.split_once(':')?;
        let mut words = head.split_whitespace();
        let catalogue = owner(words.next()?, words.next()?);
        let place = |text: &str| {
            let (priority, position) = text.split_once('.')?;
            Some(Place { priority: priority.parse().ok()?, position: position.parse().ok()? })
        };
        let rank = Rank(words.map(place).collect::<Option<_>>()?);
        let releases = tail.split_whitespace().filter_map(|r| r.split_once('@')).map(|(i, v)| release(i, v));
        Some(contribution(catalogue, rank, releases))
    };
    text.lines().map(|text| line(text).expect("a good line")).collect()
}

fn shown(components: &[Component]) -> String {
    let versions = |versions: Vec<&Version>| versions.iter().map(|v| format!(" {v}")).collect::<String>();
    let one = |component: &Component| {
        let own = versions(component.releases.iter().map(|release| &release.version).collect());
        let shadow = |shadow: &Shadow| {
            format!(" | {}{}", shadow.catalogue, versions(shadow.versions.iter().collect()))
        };
        let shadows: String = component.shadowed.iter().map(shadow).collect();
        format!("{} = {}{own}{shadows}", component.id.path(), component.owner)
    };
    components.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn check(text: &str, expected: &str) {
    assert_eq!(shown(&merged(federation(text), &[])), expected, "for\n{text}");
}

#[test]
fn first_match_wins_per_component_id() {
    // One id in two sources: the owner keeps all versions, the higher version elsewhere is never used.
    check("low b 50.0 100.0: n/x@2.0.0\nhigh a 20.1 100.0: n/x@1.0.0", "n/x = high/a 1.0.0 | low/b 2.0.0");
    // Equal priority: the position in the file decides.
    check("one a 50.1 1.0: n/x@1.0.0\ntwo a 50.0 9.0: n/x@2.0.0", "n/x = two/a 2.0.0 | one/a 1.0.0");
    // A remote list cannot raise itself above its source.
    check("s a 50.0 -999.0: n/x@1.0.0\nt b 49.9 999.0: n/x@2.0.0", "n/x = t/b 2.0.0 | s/a 1.0.0");
    // Inside a source the catalogue's priority decides, then its position.
    check("s a 1.0 60.0: n/x@1.0.0\ns b 1.0 50.1: n/x@2.0.0", "n/x = s/b 2.0.0 | s/a 1.0.0");
    check("s a 1.0 50.1: n/x@1.0.0\ns b 1.0 50.0: n/x@2.0.0", "n/x = s/b 2.0.0 | s/a 1.0.0");
    // A nested list takes its own place first.
    check(
        "s deep 1.0 10.0 900.0: n/x@1.0.0\ns flat 1.0 20.1: n/x@2.0.0",
        "n/x = s/deep 1.0.0 | s/flat 2.0.0",
    );
    // Versions come out oldest first; other ids are untouched.
    check(
        "s a 1.0 1.0: n/y@1.0.0 n/x@10.0.0 n/x@9.0.0-rc.1 n/x@9.0.0",
        "n/x = s/a 9.0.0-rc.1 9.0.0 10.0.0\nn/y = s/a 1.0.0",
    );
    // Twins that resolution cannot tell apart do not both survive.
    check("s a 1.0 1.0: n/x@1.0.0+a n/x@1.0.0+b", "n/x = s/a 1.0.0+a");
}

#[test]
fn a_source_never_read_blocks_its_namespace_for_worse_places_only() {
    let block = Blocked {
        namespace: Namespace::parse("lcod://acme/**").expect("a namespace"),
        source: SourceId::parse("acme").expect("an id"),
        place: Place { priority: 20, position: 1 },
    };
    let text = "best a 10.0 1.0: acme/x@1.0.0\npublic b 50.2 1.0: acme/x@9.0.0 acme/y@9.0.0 other/z@1.0.0";
    assert_eq!(shown(&merged(federation(text), &[block])), "acme/x = best/a 1.0.0\nother/z = public/b 1.0.0");
}

/// What is listed, and who registers what: `namespace source`, the best-placed first.
fn registered_merge(text: &str, registered: &str, owned: &[Owned], banned: &str) -> (String, String) {
    let registered: Vec<(Namespace, SourceId)> = registered
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(namespace, source)| {
            (Namespace::parse(namespace).expect("a namespace"), owner(source, "m").source)
        })
        .collect();
    let registered: Vec<Registered<'_>> =
        registered.iter().map(|(namespace, source)| Registered { namespace, source }).collect();
    let may_supply = |_: &ComponentId, source: &SourceId| source.as_text() != banned;
    let merged = merged_by(
        federation(text),
        &Rights { blocked: &[], owned, registered: &registered, may_supply: &may_supply },
    );
    let between = |component: &Component| -> Option<String> {
        let refusals = component.releases.iter().map(|release| release.verdict.refusal());
        let mut refusals = refusals.collect::<Option<Vec<&Refusal>>>()?;
        let refusal = refusals.pop().filter(|one| one.reason == SCOPE_OWNED)?;
        let sources: Vec<&str> = refusal.sources.iter().map(SourceId::as_text).collect();
        assert!(sources.iter().all(|source| refusal.to_string().contains(source)), "{refusal}");
        Some(format!("{} {}", component.id.path(), sources.join(" ")))
    };
    (shown(&merged), merged.iter().filter_map(between).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_registered_namespace_belongs_to_the_best_placed_source_that_registers_it() {
    #[track_caller]
    fn check(text: &str, registered: &str, expected: &str, refused: &str) {
        let found = registered_merge(text, registered, &[], "");
        assert_eq!(found, (expected.to_owned(), refused.to_owned()), "for\n{text}\nand\n{registered}");
    }
    let two = "a m 1.0: p/x@1.0.0\nb m 2.0: p/x@2.0.0 p/y@2.0.0";
    let first_match = "p/x = a/m 1.0.0 | b/m 2.0.0\np/y = b/m 2.0.0";
    check(two, "", first_match, "");
    check(two, "lcod://q/ a", first_match, "");
    // By whoever registers it, also where it lists less, or nothing at all.
    check(two, "lcod://p/ a", first_match, "p/y a b");
    check(two, "lcod://p/ c", first_match, "p/x c a, p/y c b");
    check(two, "lcod://p/ a\nlcod://p/ b", first_match, "p/y a b");
    // Who is placed better and registers nothing takes no name from the one whose it is.
    let by_registration = "p/x = b/m 2.0.0 | a/m 1.0.0\np/y = b/m 2.0.0";
    check(two, "lcod://p/ b", by_registration, "");
    check(two, "lcod://p/ b\nlcod://p/ a", by_registration, "");
    let three = "a m 1.0: p/x@1.0.0\nb m 2.0: p/x@2.0.0\nb n 2.0 1.0: p/x@3.0.0";
    check(three, "lcod://p/ b", "p/x = b/m 2.0.0 | a/m 1.0.0 | b/n 3.0.0", "");
    // The narrowest registered namespace counts, and names that only begin alike are others.
    check("a m 1.0: p/q/x@1.0.0", "lcod://p/ b\nlcod://p/q/ a", "p/q/x = a/m 1.0.0", "");
    check("a m 1.0: pq/x@1.0.0", "lcod://p/ b", "pq/x = a/m 1.0.0", "");
}

#[test]
fn the_operator_s_word_stands_above_who_registers_what() {
    let text = "a m 1.0: p/x@1.0.0\nb m 2.0: p/x@2.0.0 p/y@2.0.0";
    let first_match = "p/x = a/m 1.0.0 | b/m 2.0.0\np/y = b/m 2.0.0";
    let by_b = "p/x = b/m 2.0.0 | a/m 1.0.0\np/y = b/m 2.0.0";
    let check = |namespace: &str, source: &str, banned: &str, expected: &str, refused: &str| {
        let namespace = Namespace::parse(namespace).expect("a namespace");
        let owned = [Owned { namespace: namespace.clone(), source: owner(source, "m").source }];
        let found = registered_merge(text, "lcod://p/ a\nlcod://p/ b", &owned, banned);
        assert_eq!(found, (expected.to_owned(), refused.to_owned()), "{namespace} of {source}, not {banned}");
    };
    check("lcod://p/", "b", "", by_b, "");
    check("lcod://p/", "c", "", first_match, "p/x c a, p/y c b");
    check("lcod://q/", "b", "", first_match, "p/y a b");
    // What may not be supplied is held from nobody.
    check("lcod://q/", "c", "a", by_b, "");
    // Given with everything else, a namespace is not given.
    let flat = |owned: &str| {
        let owned =
            [Owned { namespace: Namespace::parse(owned).expect("one"), source: owner("b", "m").source }];
        registered_merge("a m 1.0: p/q/x@1.0.0", "lcod://p/q/ a", &owned, "")
    };
    assert_eq!(flat("lcod://p/").1, "");
    assert_eq!(flat("lcod://p/q/").1, "p/q/x b a");
}

#[test]
fn changed_bytes_are_reported_and_stay_reported() {
    let noted = |now: &Component, before: &Component| {
        let before = Packed::of(before).expect("it can be packed");
        let mut now = packed(std::slice::from_ref(now));
        note_mutations(&mut now, |_| Some(&before)).expect("it can be read");
        now[0].component().expect("it can be read")
    };
    let before = merged(federation("s a 1.0: n/x@1.0.0 n/x@2.0.0"), &[]).remove(0);
    assert_eq!(noted(&before, &before), before);
    let mut now = before.clone();
    now.releases[0].manifest = Some(Digest::sha256(b"other bytes"));
    let now = noted(&now, &before);
    assert_eq!(now.releases[0].warnings[0].reason, VERSION_MUTATED);
    assert!(now.releases[1].warnings.is_empty());

    let mut later = now.clone();
    later.releases[0].warnings.clear();
    assert_eq!(noted(&later, &now), now, "the warning stays while the bytes stay");
    // What is taken over has it already, whatever else changed.
    let mut shadowed = now.clone();
    shadowed.shadowed.push(Shadow { catalogue: owner("t", "b"), versions: Vec::new() });
    assert_eq!(noted(&shadowed, &now), shadowed);

    // Bytes that were refused are nobody's forerunner.
    let mut refused = before.clone();
    let refusal =
        |reason: &'static str| Verdict::Refused(catalogue_schema::model::Refusal::new(reason, "x", "y", "z"));
    refused.releases[0].verdict = refusal("trust.digest_mismatch");
    let mut good = before.clone();
    good.releases[0].manifest = Some(Digest::sha256(b"other bytes"));
    assert!(noted(&good, &refused).releases[0].warnings.is_empty());
    for only_time in ["trust.too_young", "source.expired"] {
        refused.releases[0].verdict = refusal(only_time);
        assert_eq!(noted(&good, &refused).releases[0].warnings.len(), 1, "{only_time}");
    }

    let mut elsewhere = now.clone();
    elsewhere.releases[0].warnings.clear();
    elsewhere.owner.source = SourceId::parse("t").expect("an id");
    let elsewhere = noted(&elsewhere, &before);
    assert!(elsewhere.releases[0].warnings.is_empty(), "another source's bytes are no mutation");
}

#[test]
fn a_snapshot_is_named_by_what_decides_answers() {
    let digest = |components: &[Component]| snapshot_digest(&packed(components), &BTreeSet::new(), &[]);
    let text = "s a 1.0: n/x@1.0.0 n/y@1.0.0\nt b 2.0: n/x@3.0.0";
    let base = merged(federation(text), &[]);
    let mut moved = base.clone();
    let local = |path| LocalPath::parse(path).ok().map(Repository::Local);
    moved[0].releases[0].origin.repository = local("/srv/repository");
    let mut elsewhere = base.clone();
    elsewhere[0].releases[0].origin.repository = local("/srv/elsewhere");
    assert_eq!(digest(&moved), digest(&elsewhere), "local paths belong to one machine");

    let mut unfetched = base.clone();
    unfetched[0].releases[0].unfetched = true;
    let mut yanked = base.clone();
    yanked[0].releases[0].yanked = true;
    let mut alone = base.clone();
    alone[0].shadowed.clear();
    for other in [&unfetched, &yanked, &alone, &base[..1].to_vec(), &moved] {
        assert_ne!(digest(&base), digest(other));
    }
    let stale = BTreeSet::from([SourceId::parse("s").expect("an id")]);
    assert_ne!(digest(&base), snapshot_digest(&packed(&base), &stale, &[]));
}

proptest! {
    #[test]
    fn who_registers_what_is_independent_of_arrival_order_and_every_namespace_has_one_holder(
        contributions in prop::collection::btree_map(0u8..8, any_contribution(), 0..8),
        registered in prop::collection::vec(0usize..3, 0..4),
        order in Just((0u8..8).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut unique: BTreeMap<(Rank, CatalogueId), Contribution> = BTreeMap::new();
        for contribution in contributions.into_values() {
            unique.entry((contribution.rank.clone(), contribution.catalogue.clone())).or_insert(contribution);
        }
        let straight: Vec<Contribution> = unique.into_values().collect();
        let shuffled = order.iter().filter_map(|at| straight.get(usize::from(*at)).cloned()).collect();
        let namespace = Namespace::parse("lcod://n/").expect("a namespace");
        let sources = ["s", "t", "u"].map(|id| owner(id, "a").source);
        let registered: Vec<Registered<'_>> =
            registered.iter().map(|at| Registered { namespace: &namespace, source: &sources[*at] }).collect();
        let rights = Rights { blocked: &[], owned: &[], registered: &registered, may_supply: &|_, _| true };
        let all = merged_by(straight.clone(), &rights);
        prop_assert_eq!(&all, &merged_by(shuffled, &rights));
        let Some(holder) = registered.first().map(|one| one.source) else { return Ok(()) };
        for component in &all {
            let lists = |one: &&Contribution| {
                one.catalogue.source == *holder
                    && one.components.iter().any(|listed| listed.id_text() == component.id.as_text())
            };
            let is_its_own = straight.iter().any(|one| lists(&one));
            let is_refused = component.releases.iter().all(|release| {
                release.verdict.refusal().is_some_and(|refusal| refusal.reason == SCOPE_OWNED)
            });
            prop_assert_eq!(is_its_own, component.owner.source == *holder);
            prop_assert_eq!(is_its_own, !is_refused);
        }
    }
}

fn any_contribution() -> impl Strategy<Value = Contribution> {
    let places = prop::collection::vec((0i64..3, 0u32..3), 2..4);
    let listed = prop::collection::btree_set((0usize..6, 0u64..4), 0..8);
    (0usize..3, 0usize..4, places, listed).prop_map(|(source, name, places, listed)| {
        let catalogue = owner(["s", "t", "u"][source], ["a", "b", "c", "d"][name]);
        let rank =
            Rank(places.into_iter().map(|(priority, position)| Place { priority, position }).collect());
        let releases = listed.into_iter().map(|(id, v)| release(&format!("n/{id}"), &format!("{v}.0.0")));
        contribution(catalogue, rank, releases)
    })
}

proptest! {
    #[test]
    fn a_merge_is_independent_of_arrival_order(
        contributions in prop::collection::btree_map(0u8..8, any_contribution(), 0..8),
        order in Just((0u8..8).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // Catalogue ids are unique in a federation; the key stands for one.
        let mut unique: BTreeMap<(Rank, CatalogueId), Contribution> = BTreeMap::new();
        for contribution in contributions.into_values() {
            unique.entry((contribution.rank.clone(), contribution.catalogue.clone())).or_insert(contribution);
        }
        let straight: Vec<Contribution> = unique.into_values().collect();
        let shuffled = order.iter().filter_map(|at| straight.get(usize::from(*at)).cloned()).collect();
        let all = merged(straight.clone(), &[]);
        prop_assert_eq!(&all, &merged(shuffled, &[]));

        for component in &all {
            let own = |c: &Contribution| {
                c.components.iter().find(|one| one.id_text() == component.id.as_text()).map(Packed::count)
            };
            let listing = |c: &&Contribution| own(c).is_some();
            let best = straight.iter().filter(listing).min_by_key(|c| (&c.rank, &c.catalogue)).expect("somebody lists it");
            prop_assert_eq!(&component.owner, &best.catalogue);
            prop_assert_eq!(Some(component.releases.len()), own(best));
            prop_assert_eq!(component.shadowed.len() + 1, straight.iter().filter(listing).count());
        }
    }
}
