//! Who owns what, what is reported of the others, and what names a snapshot.

use std::collections::BTreeMap;

use catalogue_schema::extra::Extra;
use catalogue_schema::id::Namespace;
use catalogue_schema::model::{Component, Level, Origin, Place, Release, Trust, Verdict};
use catalogue_schema::pointer::{LocalPath, Repository};
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
        dependencies: Vec::new(),
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
    let components = merge(contributions, blocked, owned).expect("they can be merged");
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

#[test]
fn a_publisher_s_scope_belongs_to_the_best_placed_source_that_lists_one_of_its_names() {
    // The table writes ids of LCOD: `at-p/x` stands for `@p/x`, `plain/y` for `y`. Of version 0.0.1 nobody knows the publisher, and
    // 0.0.2 is refused for another reason.
    let estream = |text: &str, owned: &[Owned]| {
        let mut contributions = federation(text);
        for one in &mut contributions {
            let listed = one.components.iter().map(|packed| packed.component().expect("it can be read"));
            let renamed = listed.map(|mut component| {
                let id = component.id.path().replace("at-", "@").replace("plain/", "");
                component.id = ComponentId::parse(&format!("estream:{id}")).expect("an id");
                for release in &mut component.releases {
                    release.id = component.id.clone();
                    let reason = match release.version.to_string().as_str() {
                        "0.0.1" => PUBLISHER_UNKNOWN,
                        "0.0.2" => "estream.key_revoked",
                        _ => continue,
                    };
                    release.verdict = Verdict::Refused(Refusal::new(reason, "a", "b", "c"));
                }
                Packed::of(&component).expect("it can be packed")
            });
            one.components = renamed.collect();
        }
        let merged = merged_as_owned(contributions, &[], owned);
        let refused = merged.iter().filter(|component| {
            component
                .releases
                .iter()
                .all(|release| release.verdict.refusal().is_some_and(|refusal| refusal.reason == SCOPE_OWNED))
        });
        let refused: Vec<&str> = refused.map(|component| component.id.path()).collect();
        (shown(&merged), refused.join(" "))
    };
    let check = |text: &str, expected: &str, refused: &str| {
        assert_eq!(estream(text, &[]), (expected.to_owned(), refused.to_owned()), "for\n{text}");
    };
    check("a m 1.0: at-p/x@1.0.0\nb m 2.0: at-p/x@2.0.0", "@p/x = a/m 1.0.0 | b/m 2.0.0", "");
    let both = "@p/x = a/m 1.0.0\n@p/y = b/m 2.0.0";
    check("a m 1.0: at-p/x@1.0.0\nb m 2.0: at-p/y@2.0.0", both, "@p/y");
    check("b m 2.0: at-p/y@2.0.0\na m 1.0: at-p/x@1.0.0", both, "@p/y");
    check("a m 2.0: at-p/x@1.0.0\nb m 1.0: at-p/y@2.0.0", both, "@p/x");
    let others = "@p/x = a/m 1.0.0\n@q/y = b/m 2.0.0";
    check("a m 1.0: at-p/x@1.0.0\nb m 2.0: at-q/y@2.0.0", others, "");
    check("a m 1.0: at-p/x@1.0.0\nb m 2.0: plain/y@2.0.0", "@p/x = a/m 1.0.0\ny = b/m 2.0.0", "");
    let own = "@p/x = a/m 1.0.0\n@p/y = a/n 2.0.0";
    check("a m 1.0: at-p/x@1.0.0\na n 1.0 2.0: at-p/y@2.0.0", own, "");
    check(
        "a m 1.0: at-p/x@1.0.0\nb m 2.0: at-p/y@2.0.0\nc m 3.0: at-p/y@3.0.0",
        "@p/x = a/m 1.0.0\n@p/y = b/m 2.0.0 | c/m 3.0.0",
        "@p/y",
    );
    // Who has no record of the publisher does not know him; who fails otherwise keeps his names.
    check("a m 1.0: at-p/x@0.0.1\nb m 2.0: at-p/y@2.0.0", "@p/x = a/m 0.0.1\n@p/y = b/m 2.0.0", "@p/x");
    check("a m 1.0: at-p/x@0.0.2\nb m 2.0: at-p/y@2.0.0", "@p/x = a/m 0.0.2\n@p/y = b/m 2.0.0", "@p/y");
    check("a m 1.0: at-p/x@0.0.1", "@p/x = a/m 0.0.1", "");
    // The operator's word stands above the places, for the publisher's own names alone.
    let owned = |namespace: &str, source: &str| Owned {
        namespace: Namespace::parse(namespace).expect("a namespace"),
        source: owner(source, "m").source,
    };
    let check = |namespace: &str, refused: &str| {
        let found = estream("a m 1.0: at-p/x@1.0.0\nb m 2.0: at-p/y@2.0.0", &[owned(namespace, "b")]);
        assert_eq!(found, (both.to_owned(), refused.to_owned()), "{namespace}");
    };
    check("estream:@p/**", "@p/x");
    check("estream:@q/**", "@p/y");
    check("estream:**", "@p/y");
}

#[test]
fn a_refusal_of_anothers_name_says_which_two_sources_have_it() {
    let mut listed = release("p/y", "2.0.0");
    listed.id = ComponentId::parse("estream:@p/y").expect("an id");
    let component = Component {
        id: listed.id.clone(),
        owner: owner("b", "m"),
        releases: vec![listed],
        shadowed: Vec::new(),
    };
    let packed = Packed::of(&component).expect("it can be packed");
    let known = owner("a", "m").source;
    let refused = of_another(&packed, (&known, KNOWS), &mut Packer::default()).expect("it can be packed");
    let release = refused.component().expect("it can be read").releases.remove(0);
    assert_eq!(release.verdict.refusal().and_then(rivals), Some(("a", "b")));
    assert_eq!(rivals(&Refusal::new("x.y", "a", "c out of a, b", "d out of e")), None);
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
