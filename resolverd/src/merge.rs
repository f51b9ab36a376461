//! The merge: what every catalogue lists becomes one owner per component id. Pure; the security rule of federation.
//!
//! First match wins per component id, not per version: the best-placed catalogue that lists an id owns all of its versions.
//! Catalogues below it are shadowed: never used, always reported. Only ranks count, never the order of arrival.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use catalogue_schema::digest::Digest;
use catalogue_schema::extra::Extra;
use catalogue_schema::generation::Blocked;
use catalogue_schema::id::{CatalogueId, ComponentId, Reference, SourceId};
use catalogue_schema::model::{Component, File, Rank, Release, Shadow, Verdict, Warning};
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, Repository};
use catalogue_schema::row::UNFETCHED;
use catalogue_schema::version::Version;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// What one catalogue lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// The catalogue.
    pub catalogue: CatalogueId,
    /// Its place in the federation; the lowest owns.
    pub rank: Rank,
    /// Its releases; one per id and version.
    pub releases: Vec<Release>,
}

/// Merges what all catalogues list, sorted by id.
///
/// An id inside a `blocked` namespace is left out when only catalogues of worse-placed sources list it: nobody may answer
/// for it until its owner has been read.
pub fn merge(mut contributions: Vec<Contribution>, blocked: &[Blocked]) -> Vec<Component> {
    contributions.sort_by(|one, other| (&one.rank, &one.catalogue).cmp(&(&other.rank, &other.catalogue)));
    let mut merged: BTreeMap<ComponentId, Component> = BTreeMap::new();
    for contribution in contributions {
        let Contribution { catalogue, rank, releases } = contribution;
        for (id, releases) in by_id(releases) {
            if blocked.iter().any(|block| blocks(block, &id, &rank)) {
                continue;
            }
            match merged.entry(id.clone()) {
                Entry::Vacant(place) => {
                    let owner = catalogue.clone();
                    place.insert(Component { id, owner, releases, shadowed: Vec::new() });
                }
                Entry::Occupied(mut owned) => owned.get_mut().shadowed.push(Shadow {
                    catalogue: catalogue.clone(),
                    versions: releases.into_iter().map(|release| release.version).collect(),
                }),
            }
        }
    }
    merged.into_values().collect()
}

fn blocks(block: &Blocked, id: &ComponentId, rank: &Rank) -> bool {
    block.namespace.contains(id) && rank.0.first().is_some_and(|source| *source > block.place)
}

/// Groups releases by id, each group oldest version first; of twins (versions that resolution cannot tell apart) the first stays.
fn by_id(releases: Vec<Release>) -> Vec<(ComponentId, Vec<Release>)> {
    let mut places: HashMap<ComponentId, usize> = HashMap::new();
    let mut groups: Vec<(ComponentId, Vec<Release>)> = Vec::new();
    for release in releases {
        // Most catalogues list the versions of an id one after the other.
        let place = match groups.last() {
            Some((id, _)) if *id == release.id => groups.len() - 1,
            _ => *places.entry(release.id.clone()).or_insert(groups.len()),
        };
        match groups.get_mut(place) {
            Some((_, group)) => group.push(release),
            None => groups.push((release.id.clone(), vec![release])),
        }
    }
    for (_, group) in &mut groups {
        group.sort_by(|one, other| one.version.cmp(&other.version));
        group.dedup_by(|later, earlier| later.version.is_twin_of(&earlier.version));
    }
    groups
}

/// Warns on every release whose bytes differ from those that the same source published before under the same id and version.
///
/// The warning stays on the release in later generations; `before` gives the component of the previous generation.
///
/// **Errors**: a component of the previous generation cannot be read.
pub fn note_mutations<'a>(
    components: &mut [Component],
    before: impl Fn(&ComponentId) -> Option<&'a Packed>,
) -> Result<(), PackedError> {
    for component in components {
        let is_of_source = |earlier: &&Packed| earlier.owner_texts().0 == component.owner.source.as_text();
        let Some(earlier) = before(&component.id).filter(is_of_source) else { continue };
        for release in &mut component.releases {
            let Some(known) = earlier.exact(&release.version) else { continue };
            match (known.content()?, release.content()) {
                (Some(old), Some(new)) if old != new => release.warnings.push(mutation(&old, &new)),
                _ if !known.has_warnings() => {}
                _ => {
                    let kept = known.release()?.warnings.into_iter();
                    release.warnings.extend(kept.filter(|warning| warning.reason == VERSION_MUTATED));
                }
            }
        }
    }
    Ok(())
}

/// The reason of the warning that the bytes of a release changed.
pub const VERSION_MUTATED: &str = "trust.version_mutated";

fn mutation(old: &Digest, new: &Digest) -> Warning {
    Warning::new(
        VERSION_MUTATED,
        format!("its bytes changed under the same version: they were {old}, now they are {new}"),
    )
}

/// Returns the digest that names a snapshot: over everything that decides answers and nothing that belongs to one machine
/// (local paths, times, generation numbers), so that two machines can compare.
pub fn snapshot_digest(components: &[Component], stale: &BTreeSet<SourceId>, blocked: &[Blocked]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"resolverd/snapshot@1\n");
    let mut line = Vec::new();
    for component in components {
        for release in &component.releases {
            line.clear();
            release_line(component, release, &mut line);
            hash.update(&line);
        }
    }
    for source in stale {
        hash.update(format!("stale {source}\n"));
    }
    for block in blocked {
        hash.update(format!("blocked {} {}\n", block.namespace, block.source));
    }
    Digest::from_sha256(hash.finalize().into())
}

/// Adds one JSON line per release to `out`. Texts of refusals and warnings may name local paths, so only their reasons count.
///
/// **Shape**: an array; the keys of objects in it stand in the order of the alphabet.
fn release_line(component: &Component, release: &Release, out: &mut Vec<u8>) {
    let repository = match &release.origin.repository {
        Some(Repository::Https(url)) => Some(url.as_text()),
        Some(Repository::Ssh(url)) => Some(url.as_text()),
        Some(Repository::Local(_)) | None => None,
    };
    let (rule, signers) = match &release.verdict {
        Verdict::Trusted(trust) => (trust.rule(), trust.signers()),
        Verdict::Refused(refusal) => (Some(refusal.reason.as_ref()), [].as_slice()),
    };
    let line = Line(
        &release.id,
        &release.version,
        OwnerLine { name: &component.owner.name, source: &component.owner.source },
        repository,
        release.origin.commit.as_ref(),
        release.origin.path.as_ref(),
        match release.unfetched {
            true => Manifest::Unfetched(UNFETCHED),
            false => Manifest::Read(release.manifest.as_ref()),
        },
        release.files.iter().map(FileLine::of).collect(),
        [release.kind.as_deref(), release.summary.as_deref()],
        &release.extra,
        release.yanked,
        &release.dependencies,
        [release.verdict.word(), rule.unwrap_or_default()],
        signers,
        component.shadowed.iter().map(ShadowLine::of).collect(),
        release.warnings.iter().map(|warning| warning.reason.as_ref()).collect(),
    );
    // Texts, numbers and texts as keys: nothing that has no JSON form, and memory takes every byte.
    serde_json::to_writer(&mut *out, &line).expect("what is made of texts and numbers has a JSON form");
    out.push(b'\n');
}

#[derive(Serialize)]
struct Line<'a>(
    &'a ComponentId,
    &'a Version,
    OwnerLine<'a>,
    Option<&'a str>,
    Option<&'a CommitId>,
    Option<&'a DocPath>,
    Manifest<'a>,
    Vec<FileLine<'a>>,
    [Option<&'a str>; 2],
    &'a Extra,
    bool,
    &'a [Reference],
    [&'a str; 2],
    &'a [String],
    Vec<ShadowLine<'a>>,
    Vec<&'a str>,
);

#[derive(Serialize)]
#[serde(untagged)]
enum Manifest<'a> {
    Unfetched(&'static str),
    Read(Option<&'a Digest>),
}

#[derive(Serialize)]
struct OwnerLine<'a> {
    name: &'a SourceId,
    source: &'a SourceId,
}

#[derive(Serialize)]
struct FileLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<&'a CommitId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a Digest>,
    path: &'a DocPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl FileLine<'_> {
    fn of(file: &File) -> FileLine<'_> {
        FileLine { blob: file.blob.as_ref(), digest: file.digest.as_ref(), path: &file.path, size: file.size }
    }
}

#[derive(Serialize)]
struct ShadowLine<'a> {
    catalogue: OwnerLine<'a>,
    versions: &'a [Version],
}

impl ShadowLine<'_> {
    fn of(shadow: &Shadow) -> ShadowLine<'_> {
        let CatalogueId { source, name } = &shadow.catalogue;
        ShadowLine { catalogue: OwnerLine { name, source }, versions: &shadow.versions }
    }
}

#[cfg(test)]
mod tests {
    use catalogue_schema::model::{Level, Origin, Place, Refusal, Trust};
    use proptest::prelude::*;

    use super::*;

    fn release(id: &str, version: &str) -> Release {
        Release {
            id: ComponentId::parse(&format!("lcod://{id}")).expect("a good id"),
            version: Version::parse(version).expect("a good version"),
            origin: Origin { repository: None, commit: None, path: None },
            manifest: Some(Digest::sha256(version.as_bytes())),
            unfetched: false,
            files: Vec::new(),
            kind: None,
            summary: None,
            dependencies: Vec::new(),
            yanked: false,
            verdict: Verdict::Trusted(Trust::grant(Level::Pinned, false)),
            warnings: Vec::new(),
            basis: None,
            promised: false,
            extra: Extra::default(),
        }
    }

    /// `source catalogue priority.position …: id@version …`, one contribution per line.
    fn federation(text: &str) -> Vec<Contribution> {
        let line = |line: &str| {
            let (head, tail) = line.split_once(':')?;
            let mut words = head.split_whitespace();
            let source = SourceId::parse(words.next()?).ok()?;
            let name = SourceId::parse(words.next()?).ok()?;
            let place = |text: &str| {
                let (priority, position) = text.split_once('.')?;
                Some(Place { priority: priority.parse().ok()?, position: position.parse().ok()? })
            };
            Some(Contribution {
                catalogue: CatalogueId { source, name },
                rank: Rank(words.map(place).collect::<Option<_>>()?),
                releases: tail
                    .split_whitespace()
                    .filter_map(|r| r.split_once('@'))
                    .map(|(i, v)| release(i, v))
                    .collect(),
            })
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
        assert_eq!(shown(&merge(federation(text), &[])), expected, "for\n{text}");
    }

    #[test]
    fn first_match_wins_per_component_id() {
        // One id in two sources: the owner keeps all versions, the higher version elsewhere is never used.
        check(
            "low b 50.0 100.0: n/x@2.0.0\nhigh a 20.1 100.0: n/x@1.0.0",
            "n/x = high/a 1.0.0 | low/b 2.0.0",
        );
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
            namespace: catalogue_schema::id::Namespace::parse("lcod://acme/**").expect("a namespace"),
            source: SourceId::parse("acme").expect("an id"),
            place: Place { priority: 20, position: 1 },
        };
        let text =
            "best a 10.0 1.0: acme/x@1.0.0\npublic b 50.2 1.0: acme/x@9.0.0 acme/y@9.0.0 other/z@1.0.0";
        let merged = merge(federation(text), &[block]);
        assert_eq!(shown(&merged), "acme/x = best/a 1.0.0\nother/z = public/b 1.0.0");
    }

    #[test]
    fn changed_bytes_are_reported_and_stay_reported() {
        let note = |components: &mut Vec<Component>, before: &[Component]| {
            let before = Packed::of(&before[0]).expect("it can be packed");
            note_mutations(components, |_| Some(&before)).expect("it can be read");
        };
        let before = merge(federation("s a 1.0: n/x@1.0.0"), &[]);
        let mut now = before.clone();
        now[0].releases[0].manifest = Some(Digest::sha256(b"other bytes"));
        note(&mut now, &before);
        assert_eq!(now[0].releases[0].warnings[0].reason, VERSION_MUTATED);

        let mut later = now.clone();
        later[0].releases[0].warnings.clear();
        note(&mut later, &now);
        assert_eq!(later, now, "the warning stays while the bytes stay");

        let mut elsewhere = now.clone();
        elsewhere[0].releases[0].warnings.clear();
        elsewhere[0].owner.source = SourceId::parse("t").expect("an id");
        note(&mut elsewhere, &before);
        assert!(elsewhere[0].releases[0].warnings.is_empty(), "another source's bytes are no mutation");
    }

    #[test]
    fn a_snapshot_is_named_by_what_decides_answers() {
        let digest = |components: &[Component]| snapshot_digest(components, &BTreeSet::new(), &[]);
        let base = merge(federation("s a 1.0: n/x@1.0.0 n/y@1.0.0"), &[]);
        let mut moved = base.clone();
        let local = catalogue_schema::pointer::LocalPath::parse("/srv/repository").expect("a path");
        moved[0].releases[0].origin.repository = Some(Repository::Local(local));
        assert_eq!(digest(&base), digest(&moved), "local paths belong to one machine");

        let mut unfetched = base.clone();
        unfetched[0].releases[0].unfetched = true;
        assert_ne!(digest(&base), digest(&unfetched));

        let mut yanked = base.clone();
        yanked[0].releases[0].yanked = true;
        assert_ne!(digest(&base), digest(&yanked));
        assert_ne!(digest(&base), digest(&base[..1]));
        let stale = BTreeSet::from([SourceId::parse("s").expect("an id")]);
        assert_ne!(digest(&base), snapshot_digest(&base, &stale, &[]));
    }

    /// A line as it was defined first: every value on its own, objects sorted by key.
    fn line_by_values(component: &Component, release: &Release) -> String {
        let repository = match &release.origin.repository {
            Some(Repository::Https(url)) => Some(url.as_text()),
            Some(Repository::Ssh(url)) => Some(url.as_text()),
            Some(Repository::Local(_)) | None => None,
        };
        let (rule, signers) = match &release.verdict {
            Verdict::Trusted(trust) => (trust.rule().map(str::to_owned), trust.signers().to_vec()),
            Verdict::Refused(refusal) => (Some(refusal.reason.to_string()), Vec::new()),
        };
        let manifest = match release.unfetched {
            true => serde_json::json!(UNFETCHED),
            false => serde_json::json!(release.manifest),
        };
        let line = serde_json::json!([
            release.id,
            release.version,
            component.owner,
            repository,
            release.origin.commit,
            release.origin.path,
            manifest,
            release.files,
            [release.kind.as_deref(), release.summary.as_deref()],
            release.extra,
            release.yanked,
            release.dependencies,
            [release.verdict.word(), rule.as_deref().unwrap_or_default()],
            signers,
            component.shadowed,
            release.warnings.iter().map(|warning| &warning.reason).collect::<Vec<_>>(),
        ]);
        format!("{line}\n")
    }

    #[test]
    fn a_line_is_the_same_bytes_as_its_values() {
        let check = |component: &Component| {
            for release in &component.releases {
                let mut line = Vec::new();
                release_line(component, release, &mut line);
                assert_eq!(String::from_utf8(line).expect("text"), line_by_values(component, release));
            }
        };
        let mut components = merge(federation("s a 1.0: n/x@1.0.0 n/x@2.0.0\nt b 2.0: n/x@3.0.0"), &[]);
        check(&components[0]);
        let component = &mut components[0];
        let commit = CommitId::parse(&"a".repeat(40)).expect("an id");
        let path = |text: &str| DocPath::parse(text).expect("a path");
        let release = &mut component.releases[0];
        release.origin = Origin {
            repository: catalogue_schema::pointer::HttpsUrl::parse("https://h.example/r")
                .ok()
                .map(Repository::Https),
            commit: Some(commit.clone()),
            path: Some(path("a/b")),
        };
        release.files = vec![
            File { path: path("x"), digest: Some(Digest::sha256(b"x")), blob: Some(commit), size: Some(7) },
            File { path: path("y"), digest: None, blob: None, size: None },
        ];
        (release.kind, release.summary) = (Some("flow".into()), Some("a \"quoted\" line\n".into()));
        release.dependencies = vec![Reference::parse("lcod://n/y@>=1.0.0").expect("a reference")];
        release.extra.extend([
            ("zeta".into(), serde_json::json!({"b": 1.5, "a": [null, true]})),
            ("alpha".into(), serde_json::json!("é")),
        ]);
        release.warnings = vec![Warning::new("some.reason", "a text that does not count")];
        let release = &mut component.releases[1];
        (release.unfetched, release.manifest, release.yanked) = (true, None, true);
        release.verdict = Verdict::Refused(Refusal::new("trust.digest_mismatch", "x", "y", "z"));
        check(component);
        component.releases[1].unfetched = false;
        check(component);
    }

    fn any_contribution() -> impl Strategy<Value = Contribution> {
        let places = prop::collection::vec((0i64..3, 0u32..3), 2..4);
        let listed = prop::collection::btree_set((0usize..6, 0u64..4), 0..8);
        (0usize..3, 0usize..4, places, listed).prop_map(|(source, name, places, listed)| Contribution {
            catalogue: CatalogueId {
                source: SourceId::parse(["s", "t", "u"][source]).expect("an id"),
                name: SourceId::parse(["a", "b", "c", "d"][name]).expect("an id"),
            },
            rank: Rank(places.into_iter().map(|(priority, position)| Place { priority, position }).collect()),
            releases: listed
                .into_iter()
                .map(|(id, v)| release(&format!("n/{id}"), &format!("{v}.0.0")))
                .collect(),
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
            let merged = merge(straight.clone(), &[]);
            prop_assert_eq!(&merged, &merge(shuffled, &[]));

            for component in &merged {
                let listing = |c: &&Contribution| c.releases.iter().any(|release| release.id == component.id);
                let best = straight.iter().filter(listing).min_by_key(|c| (&c.rank, &c.catalogue)).expect("somebody lists it");
                prop_assert_eq!(&component.owner, &best.catalogue);
                let own = best.releases.iter().filter(|release| release.id == component.id).count();
                prop_assert_eq!(component.releases.len(), own);
                prop_assert_eq!(component.shadowed.len() + 1, straight.iter().filter(listing).count());
            }
        }
    }
}
