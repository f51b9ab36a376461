//! When a sync has nothing to do, and each thing that gives it something to do: a full run always says what the short one did.

use catalogue_schema::filter::Filter;
use catalogue_schema::forge::{ForgePattern, Forges};
use catalogue_schema::model::Source;

use super::*;

/// A manifest without files, its digest in the catalogue.
fn manifest(world: &World, name: &str, version: &str) -> String {
    let file = format!("{name}-{version}.json");
    let id = format!("lcod://n/{name}");
    let text = format!(
        "{{\"schema\":\"lcod-registry/manifest@1\",\"id\":\"{id}@{version}\",\"source\":{{\"type\":\"file\"}},\"files\":[],\"dependencies\":[]}}"
    );
    world.write(&file, &text);
    format!(
        "{{\"id\":\"{id}\",\"versions\":[{{\"version\":\"{version}\",\"manifest\":\"{file}\",\"sha256\":\"{}\"}}]}}",
        Digest::sha256(text.as_bytes()).hex()
    )
}

/// A catalogue of releases, each pinned by the digest of its manifest; returns its own.
pub(super) fn catalogue(world: &World, file: &str, releases: &[(&str, &str)]) -> Digest {
    let releases: Vec<String> =
        releases.iter().map(|(name, version)| manifest(world, name, version)).collect();
    let text =
        format!("{{\"schema\":\"lcod-registry/catalogue@1\",\"components\":[{}]}}", releases.join(","));
    world.write(file, &text);
    Digest::sha256(text.as_bytes())
}

/// A list of one catalogue, pinned or not; returns its own digest.
fn list(world: &World, file: &str, catalogue: &str, pin: Option<&Digest>) -> Digest {
    let pin = pin.map(|digest| format!(",\"checksum\":\"{digest}\"")).unwrap_or_default();
    let text = format!(
        "{{\"schema\":\"lcod-registry/catalogues@1\",\"catalogues\":[{{\"id\":\"std\",\"kind\":\"file\",\"url\":\"{catalogue}\"{pin}}}]}}"
    );
    world.write(file, &text);
    Digest::sha256(text.as_bytes())
}

/// A world of two pinned sources, synced, and their configuration.
pub(super) fn pinned() -> (World, Vec<Source>) {
    let mut world = World::new();
    let std = catalogue(&world, "std.json", &[("x", "1.0.0"), ("y", "2.0.0")]);
    let entry = list(&world, "list.json", "std.json", Some(&std));
    let other = catalogue(&world, "other.json", &[("x", "9.0.0"), ("z", "1.0.0")]);
    let sources = configured(&world, &[("a", "list.json", &entry), ("b", "other.json", &other)]);
    assert!(Run::of(&sources).go(&mut world).changed);
    (world, sources)
}

pub(super) fn configured(world: &World, sources: &[(&str, &str, &Digest)]) -> Vec<Source> {
    let one = |(id, path, digest): &(&str, &str, &Digest)| {
        format!("{{\"id\":\"{id}\",\"path\":\"{path}\",\"checksum\":\"{digest}\"}}")
    };
    let text = format!("{{\"sources\":[{}]}}", sources.iter().map(one).collect::<Vec<_>>().join(","));
    catalogue_schema::sources::read(text.as_bytes(), world.directory.path(), &Forges::default())
        .expect("good sources")
}

/// What a run is made with.
#[derive(Clone)]
pub(super) struct Run<'a> {
    pub(super) sources: &'a [Source],
    pub(super) scope: Scope<'a>,
    pub(super) offline: bool,
    pub(super) forges: Forges,
}

impl<'a> Run<'a> {
    pub(super) fn of(sources: &'a [Source]) -> Run<'a> {
        Run { sources, scope: Scope::All, offline: false, forges: Forges::default() }
    }

    fn with<T>(&self, world: &mut World, act: impl FnOnce(&Sync<'_>, &mut Store) -> T) -> T {
        let sync = Sync {
            shelf: &world.shelf,
            origins: &Origins::default(),
            limits: &world.limits,
            forges: &self.forges,
            offline: self.offline,
            now_s: world.now_s,
            rules: &world.rules,
        };
        act(&sync, &mut world.store)
    }

    pub(super) fn go(&self, world: &mut World) -> SyncReport {
        let past = world.past.clone();
        let past = past.as_deref().map_or(Past::Nothing, Past::Snapshot);
        let done = self.with(world, |sync, store| sync.run(store, past, self.sources, self.scope));
        let done = done.expect("a sync");
        world.past = done.snapshot.or(world.past.take());
        done.report
    }

    /// Tells whether the run is a short one.
    pub(super) fn is_short(&self, world: &mut World) -> bool {
        let (last, documents) = (world.past.clone().expect("a generation"), world.documents());
        let told = self.with(world, |sync, store| {
            sync.has_nothing_to_do(&last, &documents, store, self.sources, self.scope)
        });
        told.expect("read")
    }

    /// Checks whether the run is a short one; where it is, a full one says the same. What the run says is what one without a
    /// past says, but for revisions and mutations.
    fn check(&self, world: &mut World, what: &str, expected: bool) {
        let is_short = self.is_short(world);
        assert_eq!(is_short, expected, "{what}");
        if is_short {
            let last = world.past.clone().expect("a generation");
            let report = self.go(world);
            assert_eq!((report.changed, report.documents_fetched), (false, 0), "{what}");
            // Told that it was read otherwise, it is read in full.
            let settings = world.store.settings(&last.generation).clone();
            world.store.note_settings(&last.generation, Digest::sha256(b"other"));
            assert!(!self.is_short(world), "{what}");
            let full = self.go(world);
            world.store.note_settings(&last.generation, settings);
            assert!(!full.changed, "{what}: a full run finds something");
            assert_eq!(
                serde_json::to_value(&full).expect("JSON"),
                serde_json::to_value(&report).expect("JSON"),
                "{what}"
            );
        }
    }
}

#[test]
fn pinned_sources_that_were_read_are_not_read_again() {
    let (mut world, sources) = pinned();
    let run = Run::of(&sources);
    run.check(&mut world, "all", true);
    let named = [sources[1].id.clone()];
    Run { scope: Scope::Named(&named), ..run.clone() }.check(&mut world, "one of them", true);
    // Origins are not needed.
    for file in ["list.json", "std.json", "other.json", "x-1.0.0.json"] {
        world.remove(file);
    }
    run.check(&mut world, "without origins", true);
    assert_eq!(world.shown().lines().next(), Some("n/x = a/std: 1.0.0 pinned"));
}

#[test]
fn another_way_of_running_is_a_full_one() {
    let (mut world, sources) = pinned();
    let run = Run::of(&sources);
    let wanted = BTreeSet::new();
    Run { scope: Scope::Rebuild, ..run.clone() }.check(&mut world, "a rebuild", false);
    Run { scope: Scope::Wanting(&wanted), ..run.clone() }.check(&mut world, "a refresh", false);
    Run { offline: true, ..run.clone() }.check(&mut world, "offline", false);
    let pattern = ForgePattern::parse(
        "https://git.example.org/{repository}/raw/{revision}/{path}",
        "https://git.example.org/{repository}.git",
    );
    let forges = Forges::new(vec![pattern.expect("a pattern")]);
    Run { forges, ..run.clone() }.check(&mut world, "another forge", false);
    world.limits.depth += 1;
    run.check(&mut world, "another limit", false);
    assert!(!run.go(&mut world).changed, "another limit that changes nothing makes no generation");
    run.check(&mut world, "the limit that it was read with since", true);
    world.rules.max_stale_s += 1;
    run.check(&mut world, "another rule", false);
    run.go(&mut world);
    world.rules.unknown_order = UnknownOrder::Refuse;
    run.check(&mut world, "another rule", false);
}

#[test]
fn other_sources_are_read() {
    let (mut world, sources) = pinned();
    let check = |world: &mut World, what: &str, change: &dyn Fn(&mut Vec<Source>)| {
        let mut other = sources.clone();
        change(&mut other);
        Run::of(&other).check(world, what, false);
    };
    check(&mut world, "one more", &|all| {
        all.push(Source { id: SourceId::parse("c").unwrap(), ..all[0].clone() })
    });
    check(&mut world, "one less", &|all| drop(all.pop()));
    check(&mut world, "another order", &|all| all.reverse());
    check(&mut world, "another place", &|all| all[0].place.priority += 1);
    check(&mut world, "another owner", &|all| all[0].owns = vec![Namespace::parse("lcod://n/**").unwrap()]);
    check(&mut world, "another pin", &|all| all[0].digests = vec![Digest::sha256(b"x")]);
    check(&mut world, "no pin", &|all| all[0].digests.clear());
    check(&mut world, "another entry", &|all| all[1].entry = all[0].entry.clone());
    check(&mut world, "offline", &|all| all[0].offline = true);
    let filter = serde_json::json!({"versions": ["1.0.0"]});
    let filter: Filter = serde_json::from_value(filter).expect("a filter");
    assert!(!filter.is_empty());
    check(&mut world, "a filter", &|all| all[0].filter = filter.clone());
    Run::of(&sources).check(&mut world, "as they were", true);
}

#[test]
fn a_source_that_was_held_while_it_was_configured_anew_is_read() {
    let (mut world, mut sources) = pinned();
    let newer = catalogue(&world, "newer.json", &[("z", "1.1.0")]);
    sources[1] = configured(&world, &[("b", "newer.json", &newer)]).remove(0);
    sources[1].place = world.snapshot().generation.sources[1].source.place;
    let named = [sources[0].id.clone()];
    Run { scope: Scope::Named(&named), ..Run::of(&sources) }.go(&mut world);
    assert_eq!(world.snapshot().generation.sources[1].source, sources[1]);
    let run = Run::of(&sources);
    run.check(&mut world, "its new entry was never read", false);
    run.go(&mut world);
    assert!(world.shown().contains("n/z = b/b: 1.1.0"), "{}", world.shown());
    run.check(&mut world, "now it was", true);
}

#[test]
fn what_is_not_pinned_all_the_way_down_is_read() {
    // A catalogue without a checksum below a pinned list, and rows whose files nothing pins.
    for (entry, what) in [("list.json", "a catalogue"), ("rows.jsonl", "documents of releases")] {
        let mut world = World::new();
        catalogue(&world, "std.json", &[("x", "1.0.0")]);
        world.rows("rows.jsonl", &["n/x@1.0.0"]);
        list(&world, "list.json", "std.json", None);
        let digest = Digest::sha256(&std::fs::read(world.path(entry)).unwrap());
        let sources = configured(&world, &[("a", entry, &digest)]);
        let run = Run::of(&sources);
        run.go(&mut world);
        assert_eq!(world.health().last().unwrap().split(' ').nth(1), Some("Fresh"));
        run.check(&mut world, what, false);
    }
    let (mut world, sources) = pinned();
    assert!(Run::of(&sources).is_short(&mut world));
}

#[test]
fn what_is_stale_or_refused_is_tried_again() {
    let mut world = World::new();
    let std = catalogue(&world, "std.json", &[("x", "1.0.0"), ("y", "1.0.0")]);
    let whole = std::fs::read_to_string(world.path("y-1.0.0.json")).unwrap();
    world.write("y-1.0.0.json", "{}");
    let sources = configured(&world, &[("a", "std.json", &std)]);
    let run = Run::of(&sources);
    run.go(&mut world);
    assert!(world.shown().contains("n/y = a/a: 1.0.0 trust."), "{}", world.shown());
    run.check(&mut world, "a refused document", false);
    world.write("y-1.0.0.json", &whole);
    run.go(&mut world);
    assert!(world.shown().contains("n/y = a/a: 1.0.0 pinned"), "{}", world.shown());
    run.check(&mut world, "all is well", true);

    // A pin that leads nowhere: the source is stale.
    let wrong = configured(&world, &[("a", "std.json", &Digest::sha256(b"x"))]);
    let run = Run::of(&wrong);
    run.go(&mut world);
    assert!(world.health()[0].starts_with("a/a Stale"), "{:?}", world.health());
    run.check(&mut world, "a stale source", false);
    Run::of(&sources).go(&mut world);
    Run::of(&sources).check(&mut world, "as it was", true);
}

#[test]
fn what_was_forgotten_is_accepted_again() {
    let (mut world, sources) = pinned();
    let run = Run::of(&sources);
    world.store.forget(&sources[0].id, None, "a test", 7).expect("forgotten");
    run.check(&mut world, "a forgotten source", false);
    run.go(&mut world);
    run.check(&mut world, "accepted again", true);
}

#[test]
fn what_the_shelf_has_lost_is_fetched_again() {
    let (mut world, sources) = pinned();
    let run = Run::of(&sources);
    run.check(&mut world, "whole", true);
    // One byte of a manifest, behind the back of the process that has read it.
    let packs = std::fs::read_dir(world.path("state/shelf/packs")).expect("listed");
    for pack in packs.map(|entry| entry.expect("an entry").path()) {
        let mut bytes = std::fs::read(&pack).expect("read");
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        std::fs::write(&pack, bytes).expect("written");
    }
    run.check(&mut world, "a damaged document", false);
    assert!(run.go(&mut world).documents_fetched > 0);
    run.check(&mut world, "whole again", true);
    empty_the_shelf(&world);
    run.check(&mut world, "nothing there", false);
}

#[test]
fn what_the_shelf_has_lost_is_fetched_again_by_a_full_run_too() {
    let mut world = World::new();
    catalogue(&world, "std.json", &[("x", "1.0.0"), ("y", "1.0.0")]);
    let entry = list(&world, "list.json", "std.json", None);
    let sources = configured(&world, &[("a", "list.json", &entry)]);
    let run = Run::of(&sources);
    run.go(&mut world);
    let live = world.store.live().expect("documents");
    empty_the_shelf(&world);
    run.go(&mut world);
    let is_here = |digest: &Digest| world.shelf.read(digest).expect("it can be read").is_some();
    assert!(!live.is_empty() && live.iter().all(is_here));
}

#[test]
fn a_lost_list_of_documents_is_made_again() {
    let (mut world, sources) = pinned();
    let run = Run::of(&sources);
    let before = (world.shown(), world.documents().len());
    for damage in ["missing", "damaged"] {
        let list = world.snapshot().generation.documents.digest.hex();
        let name = format!("state/generations/{list}.documents");
        match damage {
            "missing" => drop(world.remove(&name)),
            _ => drop(world.write(&name, "x")),
        }
        assert!(world.store.documents(&world.snapshot().generation).is_err());
        let report = run.go(&mut world);
        assert!(report.changed, "{damage}: the list is committed again");
        assert_eq!((world.shown(), world.documents().len()), before, "{damage}");
        run.check(&mut world, damage, true);
    }
}
