//! Syncs of small federations of real files, with the real shelf and store.

use std::path::Path;
use std::time::Duration;

use catalogue_schema::model::Verdict;
use tempfile::TempDir;

use super::*;
use crate::fetch::Origins;
use crate::store::memory::{DOCUMENTS_PER_SOURCE_MAX, Records};
use crate::store::{Opened, StateLock};

mod crowded;
mod eager;
mod judged;
mod signed;
mod taken;
mod unchanged;

/// A federation of files and the state of one reader of it.
struct World {
    directory: TempDir,
    _lock: StateLock,
    shelf: Shelf,
    store: Store,
    past: Option<Arc<Snapshot>>,
    limits: Limits,
    rules: Rules,
    now_s: i64,
}

fn rules() -> Rules {
    Rules {
        unknown_order: UnknownOrder::Accept,
        max_stale_s: 1_000,
        checked: BTreeMap::new(),
        is_behind: false,
        policies: Arc::default(),
        proofs: Arc::default(),
    }
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let lock = StateLock::acquire(&state, Duration::ZERO).expect("the lock");
        let shelf = Shelf::open(&state).expect("a shelf");
        let (store, opened) =
            Store::open(&state, &lock, || Ok(shelf.clone()), 2, Records::Kept).expect("a store");
        assert!(matches!(opened, Opened::Empty));
        World {
            directory,
            _lock: lock,
            shelf,
            store,
            past: None,
            limits: Limits::default(),
            rules: rules(),
            now_s: 7,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &World {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(path, text).expect("written");
        self
    }

    fn remove(&self, name: &str) -> &World {
        std::fs::remove_file(self.path(name)).expect("removed");
        self
    }

    /// A catalogue of rows, `ns/name@version` each, whose files exist beside it.
    fn rows(&self, name: &str, ids: &[&str]) -> &World {
        let mut text =
            "{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\",\"id\":\"rows\"}\n".to_owned();
        for id in ids {
            let base = id.replace(['/', '@'], "_");
            text += &format!(
                "{{\"type\":\"component\",\"id\":\"lcod://{id}\",\"compose\":\"{base}/compose.yaml\"}}\n"
            );
            let parent = Path::new(name).parent().unwrap_or(Path::new(""));
            let beside = |file: &str| parent.join(&base).join(file).display().to_string();
            self.write(&beside("compose.yaml"), "compose: []\n");
            let (id, version) = (format!("lcod://{id}"), id.rsplit('@').next().unwrap_or_default());
            self.write(
                &beside("lcp.toml"),
                &format!("schemaVersion = \"2.0\"\nid = \"{id}\"\nversion = \"{version}\"\n"),
            );
        }
        self.write(name, &text)
    }

    /// A list of `(catalogue id, path)`.
    fn list(&self, name: &str, catalogues: &[(&str, &str)]) -> &World {
        let pointer =
            |(id, path): &(&str, &str)| format!("{{\"id\":\"{id}\",\"kind\":\"file\",\"url\":\"{path}\"}}");
        let pointers: Vec<String> = catalogues.iter().map(pointer).collect();
        let pointers = pointers.join(",");
        self.write(
            name,
            &format!("{{\"schema\":\"lcod-registry/catalogues@1\",\"catalogues\":[{pointers}]}}"),
        )
    }

    /// `id=path` per source, in order.
    fn sources(&self, sources: &[(&str, &str)]) -> Vec<Source> {
        let one = |(id, path): &(&str, &str)| {
            format!("{{\"id\":\"{id}\",\"path\":\"{path}\",\"owns\":[\"lcod://{id}/**\"]}}")
        };
        let text = format!("{{\"sources\":[{}]}}", sources.iter().map(one).collect::<Vec<_>>().join(","));
        catalogue_schema::sources::read(text.as_bytes(), self.directory.path(), &Forges::default())
            .expect("good sources")
    }

    fn sync(&mut self, sources: &[(&str, &str)]) -> SyncReport {
        self.run(sources, Scope::All)
    }

    fn run(&mut self, sources: &[(&str, &str)], scope: Scope<'_>) -> SyncReport {
        let sources = self.sources(sources);
        let origins = Origins::default();
        let sync = Sync {
            shelf: &self.shelf,
            origins: &origins,
            limits: &self.limits,
            forges: &Forges::default(),
            offline: false,
            now_s: self.now_s,
            rules: &self.rules,
        };
        let past = self.past.clone();
        let past = past.as_deref().map_or(Past::Nothing, Past::Snapshot);
        let done = sync.run(&mut self.store, past, &sources, scope).expect("a sync");
        if let Some(snapshot) = done.snapshot {
            self.past = Some(snapshot);
        }
        done.report
    }

    fn snapshot(&self) -> &Snapshot {
        self.past.as_deref().expect("a generation")
    }

    fn documents(&self) -> Documents {
        self.store.documents(&self.snapshot().generation).expect("the list of documents")
    }

    /// `id = owner: version verdict …` per component.
    fn shown(&self) -> String {
        let snapshot = self.snapshot();
        let one = |component: &catalogue_schema::model::Component| {
            let release = |release: &catalogue_schema::model::Release| {
                let word = release
                    .verdict
                    .refusal()
                    .map_or(release.verdict.word().into(), |refusal| refusal.reason.clone());
                format!(" {} {word}", release.version)
            };
            format!(
                "{} = {}:{}",
                component.id.path(),
                component.owner,
                component.releases.iter().map(release).collect::<String>()
            )
        };
        snapshot.read_all().iter().map(one).collect::<Vec<_>>().join("\n")
    }

    fn health(&self) -> Vec<String> {
        let state = |state: &CatalogueState| {
            let id = state.errand.node().map(|node| node.id.to_string()).unwrap_or_default();
            let reason = state.error.as_ref().map(|error| format!(" {}", error.reason)).unwrap_or_default();
            format!("{id} {:?}{reason}", state.health)
        };
        self.snapshot().generation.catalogues.iter().map(state).collect()
    }
}

#[test]
fn an_unchanged_sync_writes_nothing() {
    let mut world = World::new();
    world.rows("a.jsonl", &["a/x@1.0.0", "a/y@1.0.0"]);
    let first = world.sync(&[("a", "a.jsonl")]);
    assert_eq!((first.generation, first.changed, first.rows_written), (1, true, 2));
    let again = world.sync(&[("a", "a.jsonl")]);
    assert_eq!((again.generation, again.changed, again.rows_written), (1, false, 0));
    assert_eq!(again.snapshot, first.snapshot);
}

#[test]
fn a_pinned_document_on_the_shelf_is_not_asked_for_again() {
    let mut world = World::new();
    world.rows("a.jsonl", &["a/x@1.0.0"]);
    let digest = Digest::sha256(&std::fs::read(world.path("a.jsonl")).expect("read"));
    let pointer = format!("{{\"id\":\"c\",\"kind\":\"file\",\"url\":\"a.jsonl\",\"checksum\":\"{digest}\"}}");
    world.write(
        "list.json",
        &format!("{{\"schema\":\"lcod-registry/catalogues@1\",\"catalogues\":[{pointer}]}}"),
    );
    assert_eq!(
        world.sync(&[("a", "list.json")]).documents_fetched,
        4,
        "list, catalogue, descriptor, compose file"
    );
    world.remove("a.jsonl");
    let again = world.sync(&[("a", "list.json")]);
    assert_eq!(
        (again.documents_fetched, again.changed),
        (3, false),
        "the pinned catalogue is answered by the shelf"
    );
}

#[test]
fn a_failing_catalogue_keeps_its_last_good_entries_and_its_neighbours_move_on() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).rows("two.jsonl", &["n/y@1.0.0"]);
    world.list("list.json", &[("one", "one.jsonl"), ("two", "two.jsonl")]);
    world.rows("public.jsonl", &["n/x@9.0.0", "n/y@9.0.0"]);
    let sources = [("a", "list.json"), ("public", "public.jsonl")];
    world.sync(&sources);

    world.write("one.jsonl", "<html>Sign in</html>").rows("two.jsonl", &["n/y@1.1.0"]);
    let report = world.sync(&sources);
    assert_eq!(world.shown(), "n/x = a/one: 1.0.0 unpinned\nn/y = a/two: 1.1.0 unpinned");
    assert_eq!(
        world.health(),
        ["a/a Fresh", "a/one Stale input.schema", "a/two Fresh", "public/public Fresh"]
    );
    assert_eq!(stale_ids(&world), ["a"]);
    assert!(report.sources[0].error.is_some());

    // The stale copy survives further syncs, and the list itself going away.
    world.remove("list.json");
    world.sync(&sources);
    assert_eq!(world.shown(), "n/x = a/one: 1.0.0 unpinned\nn/y = a/two: 1.1.0 unpinned");
    assert_eq!(world.health()[0], "a/a Stale file_missing");

    world.rows("one.jsonl", &["n/x@1.2.0"]);
    world.list("list.json", &[("one", "one.jsonl"), ("two", "two.jsonl")]);
    world.sync(&sources);
    assert_eq!(world.shown(), "n/x = a/one: 1.2.0 unpinned\nn/y = a/two: 1.1.0 unpinned");
    assert!(stale_ids(&world).is_empty());
}

#[test]
fn what_the_last_generation_lists_is_remembered_however_much_a_run_brings_that_never_commits() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).list("list.json", &[("one", "one.jsonl")]);
    world.sync(&[("a", "list.json")]);
    let key = |name: &str| RevisionKey {
        source: SourceId::parse("a").expect("an id"),
        catalogue: Some(SourceId::parse(name).expect("an id")),
    };
    let listed: Vec<RevisionKey> =
        (0..DOCUMENTS_PER_SOURCE_MAX).map(|number| key(&format!("c{number}"))).collect();
    let revision = |text: &str| Revision {
        commit: None,
        digest: Digest::sha256(text.as_bytes()),
        accepted_s: 9,
        order_unknown: false,
        signed: None,
    };
    let accepted = listed.iter().map(|key| (key.clone(), revision("other"))).collect();
    world.store.remember(accepted, &listed.into_iter().collect()).expect("remembered");
    // The process ends before the generation is committed that lists those instead.
    let World { directory, _lock, store, shelf, .. } = world;
    drop((_lock, store));
    let state = directory.path().join("state");
    let lock = StateLock::acquire(&state, Duration::ZERO).expect("the lock");
    let (store, opened) = Store::open(&state, &lock, || Ok(shelf), 2, Records::Kept).expect("a store");
    assert!(matches!(opened, Opened::Warm(_)));
    assert_eq!(store.memory().lost(), None);
    assert_eq!(store.memory().known(&key("one")).len(), 1);
}

fn stale_ids(world: &World) -> Vec<String> {
    let generation = &world.snapshot().generation;
    stale(&generation.sources, &generation.catalogues).iter().map(ToString::to_string).collect()
}

#[test]
fn a_source_never_read_blocks_what_it_owns() {
    let mut world = World::new();
    world.rows("public.jsonl", &["acme/x@9.0.0", "n/y@9.0.0"]);
    let sources = [("acme", "absent.json"), ("public", "public.jsonl")];
    world.sync(&sources);
    assert_eq!(world.shown(), "n/y = public/public: 9.0.0 unpinned");
    assert_eq!(world.snapshot().generation.blocked.len(), 1);

    world.rows("absent.json", &["acme/z@1.0.0"]);
    world.sync(&sources);
    let expected = "acme/x = public/public: 9.0.0 unpinned\nacme/z = acme/acme: 1.0.0 unpinned\nn/y = public/public: 9.0.0 unpinned";
    assert_eq!(world.shown(), expected);
}

#[test]
fn a_pointer_with_a_mistake_hands_no_id_to_others() {
    let mut world = World::new();
    world.rows("one.jsonl", &["a/x@1.0.0"]);
    world.list("list.json", &[("one", "one.jsonl")]);
    world.rows("public.jsonl", &["a/x@9.0.0", "a/y@9.0.0"]);
    let sources = [("a", "list.json"), ("public", "public.jsonl")];
    world.sync(&sources);
    assert_eq!(world.shown(), "a/x = a/one: 1.0.0 unpinned\na/y = public/public: 9.0.0 unpinned");

    let mistake = "{\"schema\":\"lcod-registry/catalogues@1\",\"catalogues\":[{\"id\":\"one\",\"kind\":\"file\",\"url\":\"one.jsonl\",\"checksum\":\"sha256-oops\"}]}";
    world.write("list.json", mistake);
    world.sync(&sources);
    assert_eq!(world.shown(), "a/x = a/one: 1.0.0 unpinned\na/y = public/public: 9.0.0 unpinned");
    assert_eq!(world.health(), ["a/a Fresh", "a/one Stale input.digest", "public/public Fresh"]);
    assert_eq!(stale_ids(&world), ["a"]);
    let again = world.run(&sources, Scope::Rebuild);
    assert!(!again.changed, "the shelf says the same");

    // Without a last good copy the namespace that the source owns waits for it.
    let mut newcomer = World::new();
    newcomer.rows("public.jsonl", &["a/x@9.0.0", "n/y@9.0.0"]).write("list.json", mistake);
    newcomer.sync(&sources);
    assert_eq!(newcomer.shown(), "n/y = public/public: 9.0.0 unpinned");
    assert_eq!(newcomer.health(), ["a/a Fresh", "a/one Unread input.digest", "public/public Fresh"]);
}

#[test]
fn a_claimed_signature_is_never_ignored_in_silence() {
    let header =
        |claim: &str| format!("{{\"type\":\"manifest\",\"schema\":\"lcod-manifest/list@1\"{claim}}}\n");
    let row = |claim: &str| {
        format!(
            "{{\"type\":\"component\",\"id\":\"lcod://n/x@1.0.0\",\"compose\":\"n_x_1.0.0/compose.yaml\"{claim}}}\n"
        )
    };
    let catalogue = |top: &str, version: &str| {
        format!(
            "{{\"schema\":\"lcod-registry/catalogue@1\"{top},\"components\":[{{\"id\":\"lcod://n/x\",\"versions\":[{{\"version\":\"1.0.0\",\"manifest\":\"m.json\"{version}}}]}}]}}"
        )
    };
    let manifest = |claim: &str| {
        format!(
            "{{\"schema\":\"lcod-registry/manifest@1\",\"id\":\"lcod://n/x@1.0.0\",\"source\":{{\"type\":\"file\"}},\"files\":[],\"dependencies\":[]{claim}}}"
        )
    };
    let claims = [",\"publicKey\":\"keys/a.pem\"", ",\"signature\":\"a.sig\""];
    let check = |document: &str, manifest: &str, on_document: bool, on_release: bool| {
        let mut world = World::new();
        world.rows("rows.jsonl", &["n/x@1.0.0"]).write("a.json", document).write("m.json", manifest);
        world.sync(&[("a", "a.json")]);
        let snapshot = world.snapshot();
        assert_eq!(snapshot.generation.catalogues[0].signature.is_some(), on_document, "{document}");
        let component = snapshot.components()[0].component().expect("a component");
        let Verdict::Trusted(trust) = &component.releases[0].verdict else { panic!("{}", world.shown()) };
        assert_eq!(trust.has_unchecked_signature(), on_release, "{document} {manifest}");
    };
    check(&(header("") + &row("")), "", false, false);
    check(&catalogue("", ""), &manifest(""), false, false);
    for claim in claims {
        check(&(header(claim) + &row("")), "", true, true);
        check(&(header("") + &row(claim)), "", false, true);
        check(&catalogue(claim, ""), &manifest(""), true, true);
        check(&catalogue("", claim), &manifest(""), false, true);
        check(&catalogue("", ""), &manifest(claim), false, true);
    }
}

#[test]
fn a_bad_document_of_a_release_spoils_only_that_release() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0", "n/y@1.0.0", "n/z@1.0.0"]);
    world.remove("n_y_1.0.0/compose.yaml").write("n_z_1.0.0/lcp.toml", "= broken");
    world.sync(&[("a", "a.jsonl")]);
    let shown = world.shown();
    assert!(shown.contains("n/x = a/a: 1.0.0 unpinned"), "{shown}");
    assert!(shown.contains("n/y = a/a: 1.0.0 file_missing"), "{shown}");
    assert!(shown.contains("n/z = a/a: 1.0.0 input."), "{shown}");
    assert_eq!(world.health(), ["a/a Fresh"]);

    // Without its origins the same generation comes back, refusals included.
    let (before, digest) = (shown, world.snapshot().generation.snapshot.clone());
    world.remove("a.jsonl");
    let report = world.run(&[("a", "a.jsonl")], Scope::Rebuild);
    assert_eq!((report.documents_fetched, report.changed, world.shown()), (0, false, before));
    assert_eq!(report.snapshot, digest);
}

#[test]
fn a_rebuild_from_the_shelf_says_the_same_without_any_origin() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).rows("two.jsonl", &["n/y@1.0.0"]);
    world.list("list.json", &[("one", "one.jsonl"), ("two", "two.jsonl")]);
    let sources = [("a", "list.json"), ("gone", "never.json")];
    world.sync(&sources);
    world.write("one.jsonl", "no list");
    world.sync(&sources);
    let (shown, health) = (world.shown(), world.health());

    for file in ["list.json", "one.jsonl", "two.jsonl", "n_x_1.0.0/lcp.toml"] {
        world.remove(file);
    }
    let generation = world.snapshot().generation.clone();
    let configured: Vec<Source> = generation.sources.iter().map(|state| state.source.clone()).collect();
    let origins = Origins::default();
    let sync = Sync {
        shelf: &world.shelf,
        origins: &origins,
        limits: &world.limits,
        forges: &Forges::default(),
        offline: false,
        now_s: 8,
        rules: &world.rules,
    };
    let done =
        sync.run(&mut world.store, Past::File(&generation), &configured, Scope::Rebuild).expect("a rebuild");
    world.past = done.snapshot;
    assert_eq!((world.shown(), world.health()), (shown, health));
    assert_eq!(world.snapshot().generation.snapshot, generation.snapshot);
    assert_eq!(done.report.documents_fetched, 0);
}

#[test]
fn a_named_sync_leaves_the_other_sources_as_they_were() {
    let mut world = World::new();
    world.rows("a.jsonl", &["a/x@1.0.0"]).rows("b.jsonl", &["b/x@1.0.0"]);
    let sources = [("a", "a.jsonl"), ("b", "b.jsonl")];
    world.sync(&sources);
    world.rows("a.jsonl", &["a/x@2.0.0"]).rows("b.jsonl", &["b/x@2.0.0"]);
    let only_b = [SourceId::parse("b").expect("an id")];
    world.run(&sources, Scope::Named(&only_b));
    assert_eq!(world.shown(), "a/x = a/a: 1.0.0 unpinned\nb/x = b/b: 2.0.0 unpinned");
}

#[test]
fn a_catalogue_reached_twice_is_read_once_at_its_better_place() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).rows("two.jsonl", &["n/x@2.0.0"]);
    world.list("inner.json", &[("one", "one.jsonl")]);
    world.list("list.json", &[("inner", "inner.json"), ("two", "two.jsonl"), ("one", "one.jsonl")]);
    world.sync(&[("a", "list.json")]);
    assert_eq!(world.shown(), "n/x = a/one: 1.0.0 unpinned");
    let warned: Vec<_> =
        world.snapshot().generation.catalogues[0].warnings.iter().map(|w| w.reason.to_string()).collect();
    assert_eq!(warned, ["catalogue.listed_twice"]);
}

#[test]
fn lists_may_not_nest_or_spread_without_bound() {
    let mut world = World::new();
    world.limits.depth = 1;
    world.rows("one.jsonl", &["n/x@1.0.0"]);
    world.list("inner.json", &[("one", "one.jsonl")]).list("list.json", &[("inner", "inner.json")]);
    world.sync(&[("a", "list.json")]);
    assert_eq!(world.health(), ["a/a Fresh", "a/inner Fresh", "a/one Unread limit.depth"]);

    let mut world = World::new();
    world.limits.catalogues = 2;
    world.rows("one.jsonl", &["n/x@1.0.0"]).rows("two.jsonl", &["n/y@1.0.0"]);
    world.list("list.json", &[("one", "one.jsonl"), ("two", "two.jsonl")]);
    world.sync(&[("a", "list.json")]);
    assert_eq!(world.health(), ["a/a Fresh", "a/one Fresh", "a/two Unread limit.catalogues"]);

    let mut world = World::new();
    world.list("list.json", &[("a", "list.json"), ("self", "list.json")]);
    world.sync(&[("a", "list.json")]);
    assert_eq!(world.health(), ["a/a Fresh"], "a list that lists itself is read once");
    let warnings = &world.snapshot().generation.catalogues[0].warnings;
    assert!(
        warnings.iter().all(|one| one.reason == "catalogue.cycle") && warnings.len() == 2,
        "{warnings:?}"
    );
}

#[test]
fn a_run_that_is_out_of_documents_keeps_the_last_good_copy() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.rows("a.jsonl", &["n/x@1.1.0", "n/y@1.0.0", "n/z@1.0.0"]);
    world.limits.documents = 4;
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 unpinned");
    assert_eq!(world.health(), ["a/a Stale limit.documents"]);
}

#[test]
fn offline_nothing_is_fetched_and_nothing_is_stale() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.remove("a.jsonl");
    let sources = world.sources(&[("a", "a.jsonl")]);
    let origins = Origins::default();
    let sync = Sync {
        shelf: &world.shelf,
        origins: &origins,
        limits: &world.limits,
        forges: &Forges::default(),
        offline: true,
        now_s: 9,
        rules: &world.rules,
    };
    let past = world.past.clone().expect("a generation");
    let done = sync.run(&mut world.store, Past::Snapshot(&past), &sources, Scope::All).expect("a sync");
    assert_eq!((done.report.changed, done.report.documents_fetched), (false, 0));
    assert_eq!(done.report.sources[0].health, Health::Fresh);
}

#[test]
fn offline_what_was_stale_or_refused_stays_so() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.rows("a.jsonl", &["n/x@2.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.health(), ["a/a Stale trust.rollback"]);
    let offline = |world: &mut World, of_source: bool| {
        let mut sources = world.sources(&[("a", "a.jsonl")]);
        sources[0].offline = of_source;
        let origins = Origins::default();
        let sync = Sync {
            shelf: &world.shelf,
            origins: &origins,
            limits: &world.limits,
            forges: &Forges::default(),
            offline: !of_source,
            now_s: 9,
            rules: &world.rules,
        };
        let past = world.past.clone().expect("a generation");
        let done = sync.run(&mut world.store, Past::Snapshot(&past), &sources, Scope::All).expect("a sync");
        world.past = done.snapshot.or(Some(past));
    };
    for of_source in [false, true] {
        offline(&mut world, of_source);
        assert_eq!(world.health(), ["a/a Stale trust.rollback"], "{of_source}");
        assert_eq!(world.shown(), "n/x = a/a: 2.0.0 unpinned");
    }
    world.rows("a.jsonl", &["n/x@2.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.health(), ["a/a Fresh"]);
}

/// Removes every document from the shelf, behind its back.
fn empty_the_shelf(world: &World) {
    for place in ["state/shelf/packs", "state/shelf/objects"] {
        for entry in std::fs::read_dir(world.path(place)).expect("listed") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
    }
}

#[test]
fn a_source_that_is_gone_keeps_its_ids_when_the_shelf_has_lost_its_documents() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).list("list.json", &[("one", "one.jsonl")]);
    world.rows("public.jsonl", &["n/x@9.0.0", "n/y@9.0.0"]);
    let sources = [("a", "list.json"), ("public", "public.jsonl")];
    world.sync(&sources);
    let before = world.shown();
    let documents = world.snapshot().generation.documents.count;

    empty_the_shelf(&world);
    world.remove("list.json");
    let shadowed = |world: &World| -> Vec<_> {
        let snapshot = world.snapshot();
        snapshot.components().iter().map(|one| one.shadowed().expect("shadows")).collect()
    };
    let shadows = shadowed(&world);
    world.sync(&sources);
    assert_eq!(world.shown(), before);
    assert_eq!(world.health(), ["a/a Stale file_missing", "a/one Fresh", "public/public Fresh"]);
    assert_eq!(world.snapshot().generation.documents.count, documents);
    assert!(!world.sync(&sources).changed, "a salvaged source is stable");
    world.run(&sources, Scope::Named(&[SourceId::parse("public").expect("an id")]));
    assert_eq!(world.shown(), before, "a source that is held is salvaged too");

    // The same of the source that is shadowed.
    empty_the_shelf(&world);
    world.list("list.json", &[("one", "one.jsonl")]).remove("public.jsonl");
    world.sync(&sources);
    assert_eq!((world.shown(), shadowed(&world)), (before.clone(), shadows));
    world.rows("public.jsonl", &["n/x@9.0.0", "n/y@9.0.0"]);
    world.sync(&sources);

    // Its place may change while it is gone.
    empty_the_shelf(&world);
    world.remove("list.json");
    world.sync(&[("public", "public.jsonl"), ("a", "list.json")]);
    assert!(world.shown().starts_with("n/x = public/public: 9.0.0"), "{}", world.shown());

    world.list("list.json", &[("one", "one.jsonl")]);
    world.sync(&[("public", "public.jsonl"), ("a", "list.json")]);
    world.sync(&sources);
    assert_eq!(world.shown(), before);
    assert!(stale_ids(&world).is_empty());
}

#[test]
fn a_release_whose_document_is_lost_stays_as_it_was_while_its_origin_is_gone() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0", "n/x@1.1.0"]);
    world.sync(&[("a", "a.jsonl")]);
    let before = world.shown();
    let lost: Vec<Digest> = world
        .documents()
        .iter()
        .filter(|record| record.url.contains("1.1.0/lcp.toml"))
        .map(|record| record.digest)
        .collect();
    let live = world.store.live().expect("digests");
    let left = live.into_iter().filter(|digest| !lost.contains(digest)).collect();
    world.shelf.sweep(&left, name_of_block).expect("swept");
    empty_the_shelf(&world);
    let kept = std::fs::read(world.path("a.jsonl")).expect("read");
    world.shelf = Shelf::open(&world.path("state")).expect("a shelf");
    world.shelf.keep(&[(Digest::sha256(&kept), kept)]).expect("kept");
    world.remove("a.jsonl");
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.shown(), before);
}

#[test]
fn what_index_and_shelf_have_lost_is_answered_by_nobody_until_it_is_read_again() {
    let mut world = World::new();
    world.rows("one.jsonl", &["n/x@1.0.0"]).list("list.json", &[("one", "one.jsonl")]);
    world.rows("public.jsonl", &["n/x@9.0.0", "n/y@9.0.0"]);
    world.rows("best.jsonl", &["n/b@1.0.0"]);
    let sources = [("best", "best.jsonl"), ("a", "list.json"), ("public", "public.jsonl")];
    world.sync(&sources);
    let before = world.shown();

    let generation = world.snapshot().generation.clone();
    empty_the_shelf(&world);
    world.remove("list.json");
    let configured = world.sources(&sources);
    let origins = Origins::default();
    let sync = Sync {
        shelf: &world.shelf,
        origins: &origins,
        limits: &world.limits,
        forges: &Forges::default(),
        offline: false,
        now_s: 8,
        rules: &world.rules,
    };
    let done =
        sync.run(&mut world.store, Past::File(&generation), &configured, Scope::Rebuild).expect("a rebuild");
    world.past = done.snapshot;
    assert_eq!(world.shown(), "");
    for _ in 0..2 {
        world.sync(&sources);
        assert_eq!(world.shown(), "n/b = best/best: 1.0.0 unpinned", "what is placed better answers");
    }
    world.list("list.json", &[("one", "one.jsonl")]);
    world.sync(&sources);
    assert_eq!(world.shown(), before);
    assert!(world.snapshot().generation.blocked.is_empty());
}

#[test]
fn a_shelf_that_cannot_be_tidied_up_does_not_undo_a_sync() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    // A directory can neither be read nor removed as a file.
    for entry in std::fs::read_dir(world.path("state/shelf/packs")).expect("listed") {
        let path = entry.expect("an entry").path();
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("created");
    }
    for version in 1..4 {
        world.rows("a.jsonl", &[&format!("n/x@1.{version}.0")]);
        assert!(world.sync(&[("a", "a.jsonl")]).changed);
        assert_eq!(world.shown(), format!("n/x = a/a: 1.{version}.0 unpinned"));
    }
}

#[test]
fn syncs_that_change_nothing_leave_nothing_on_the_shelf() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.limits.documents = 4;
    let mut lengths = Vec::new();
    for round in 1..6 {
        world.rows(
            "a.jsonl",
            &["n/x", "n/y", "n/z"].map(|id| format!("{id}@1.{round}.0")).each_ref().map(|id| &**id),
        );
        world.sync(&[("a", "a.jsonl")]);
        lengths.push(std::fs::read_dir(world.path("state/shelf/packs")).expect("listed").count());
    }
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}

fn forget(world: &mut World, source: &str, catalogue: Option<&str>) {
    let id = |text: &str| SourceId::parse(text).expect("an id");
    world.store.forget(&id(source), catalogue.map(id).as_ref(), "a test", 9).expect("forgotten");
}

/// The reasons of the warnings on the catalogue of that name.
fn warned(world: &World, catalogue: &str) -> Vec<String> {
    let of =
        |state: &&CatalogueState| state.errand.node().is_some_and(|node| node.id.name.as_text() == catalogue);
    let states = world.snapshot().generation.catalogues.iter().filter(of);
    states.flat_map(|state| state.warnings.iter().map(|warning| warning.reason.to_string())).collect()
}

#[test]
fn an_earlier_revision_is_refused_until_the_later_ones_are_forgotten() {
    let mut world = World::new();
    let sources = [("a", "list.json"), ("b", "rows.jsonl")];
    world.list("list.json", &[("one", "one.jsonl")]);
    let publish = |world: &World, version: u32| {
        world.rows("one.jsonl", &[&format!("n/x@1.{version}.0")]);
        world.rows("rows.jsonl", &[&format!("n/y@1.{version}.0")]);
    };
    let served =
        |version: u32| format!("n/x = a/one: 1.{version}.0 unpinned\nn/y = b/b: 1.{version}.0 unpinned");
    for version in [0, 1, 2] {
        publish(&world, version);
        world.sync(&sources);
        assert_eq!(world.shown(), served(version));
    }
    assert_eq!(warned(&world, "one"), ["trust.order_unknown"]);
    assert_eq!(warned(&world, "a"), [""; 0], "the list itself never moved");
    assert!(!world.sync(&sources).changed, "the warning is stable");
    assert!(!world.run(&sources, Scope::Rebuild).changed, "and comes back from the shelf");

    for version in [0, 1] {
        publish(&world, version);
        world.sync(&sources);
        assert_eq!(world.shown(), served(2), "the last good copy answers");
        let health = ["a/a Fresh", "a/one Stale trust.rollback", "b/b Stale trust.rollback"];
        assert_eq!(world.health(), health);
        let error = world.snapshot().generation.catalogues[1].error.clone().expect("an error");
        assert!(error.to_string().ends_with("resolverd trust forget a/one --reason TEXT"), "{error}");
        let error = world.snapshot().generation.sources[1].error.clone().expect("an error");
        assert!(error.to_string().ends_with("resolverd trust forget b --reason TEXT"), "{error}");
        assert!(!world.sync(&sources).changed);
    }

    forget(&mut world, "a", Some("one"));
    forget(&mut world, "b", None);
    world.sync(&sources);
    assert_eq!(world.shown(), served(1));
    assert_eq!(warned(&world, "one"), [""; 0], "a first revision has nothing to be compared with");
    publish(&world, 0);
    forget(&mut world, "b", None);
    world.sync(&sources);
    assert_eq!(warned(&world, "one"), ["trust.order_unknown"], "what was forgotten is new again");
}

#[test]
fn a_pinned_catalogue_goes_back_no_more_than_an_unpinned_one() {
    let mut world = World::new();
    for (round, version) in [(0, 0), (1, 1), (2, 0)] {
        let name = format!("one{version}.jsonl");
        world.rows(&name, &[&format!("n/x@1.{version}.0")]);
        let digest = Digest::sha256(&std::fs::read(world.path(&name)).expect("read"));
        let pointer =
            format!("{{\"id\":\"one\",\"kind\":\"file\",\"url\":\"{name}\",\"checksum\":\"{digest}\"}}");
        // The list itself is another one each time: only the catalogue goes back.
        let space = " ".repeat(round);
        let text = format!("{{\"schema\":\"lcod-registry/catalogues@1\",{space}\"catalogues\":[{pointer}]}}");
        world.write("list.json", &text);
        world.sync(&[("a", "list.json")]);
    }
    assert_eq!(world.health(), ["a/a Fresh", "a/one Stale trust.rollback"]);
    assert_eq!(world.shown(), "n/x = a/one: 1.1.0 unpinned");
}

#[test]
fn a_revision_of_unknown_order_is_refused_where_order_is_required() {
    let mut world = World::new();
    world.rules.unknown_order = UnknownOrder::Refuse;
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    world.rows("a.jsonl", &["n/x@1.1.0"]);
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.health(), ["a/a Stale trust.order_unknown"]);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 unpinned");
    forget(&mut world, "a", None);
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.health(), ["a/a Fresh"]);
    assert_eq!(warned(&world, "a"), [""; 0]);
}

#[test]
fn what_is_not_accepted_is_not_remembered() {
    let mut world = World::new();
    let check = |world: &World, expected: usize| {
        let known: Vec<usize> = world.store.memory().all().map(|(_, revisions)| revisions.len()).collect();
        assert_eq!(known, [expected]);
    };
    world.rows("a.jsonl", &["n/x@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    check(&world, 1);
    world.write("a.jsonl", "<html>");
    world.sync(&[("a", "a.jsonl")]);
    world.limits.documents = 2;
    world.rows("a.jsonl", &["n/x@1.1.0", "n/y@1.0.0"]);
    world.sync(&[("a", "a.jsonl")]);
    assert_eq!(world.health(), ["a/a Stale limit.documents"]);
    check(&world, 1);
    world.limits = Limits::default();
    world.sync(&[("a", "a.jsonl")]);
    check(&world, 2);
}

#[test]
fn the_ids_of_a_source_that_was_not_checked_for_too_long_are_nobody_s() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]).rows("public.jsonl", &["n/x@9.0.0", "n/y@9.0.0"]);
    let sources = [("a", "a.jsonl"), ("public", "public.jsonl")];
    world.sync(&sources);
    let fresh = world.snapshot().generation.snapshot.clone();
    let known = std::fs::read(world.path("a.jsonl")).expect("read");
    world.remove("a.jsonl");
    let checked = |at: i64| ["a", "public"].map(|id| (SourceId::parse(id).expect("an id"), at));
    world.rules.checked = checked(100).into();

    world.now_s = 1_099;
    world.sync(&sources);
    assert_eq!(world.shown(), "n/x = a/a: 1.0.0 unpinned\nn/y = public/public: 9.0.0 unpinned");
    let stale = world.snapshot().generation.snapshot.clone();

    world.now_s = 1_100;
    let expired = "n/x = a/a: 1.0.0 source.expired\nn/y = public/public: 9.0.0 unpinned";
    world.sync(&sources);
    assert_eq!(world.shown(), expired);
    let state = &world.snapshot().generation.sources[0];
    let error = state.error.as_ref().expect("an error").to_string();
    assert_eq!(state.health, Health::Expired);
    for part in ["max_stale (1000 s)", "resolverd sync a", "file_missing"] {
        assert!(error.contains(part), "{error}");
    }
    assert_ne!(world.snapshot().generation.snapshot, stale);
    assert!(!world.sync(&sources).changed, "it expires once");

    // Neither a rebuild nor a clock at its end brings it back.
    world.rules.checked.insert(SourceId::parse("public").expect("an id"), 1_100);
    assert!(!world.run(&sources, Scope::Rebuild).changed);
    world.now_s = i64::MAX;
    world.sync(&sources);
    assert_eq!(world.shown(), expired);
    world.now_s = 2_000;

    world.write("a.jsonl", std::str::from_utf8(&known).expect("text"));
    world.sync(&sources);
    assert_eq!(world.snapshot().generation.snapshot, fresh, "a check brings everything back");
}

#[test]
fn a_source_expires_from_the_shelf_at_its_time_and_not_before() {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/x@1.0.0"]).rows("off.jsonl", &["n/y@1.0.0"]).rows("pin.jsonl", &["n/z@1.0.0"]);
    let digest = Digest::sha256(&std::fs::read(world.path("pin.jsonl")).expect("read"));
    let text = format!(
        "{{\"sources\":[{{\"id\":\"a\",\"path\":\"a.jsonl\"}},{{\"id\":\"off\",\"path\":\"off.jsonl\",\"offline\":true}},{{\"id\":\"pin\",\"path\":\"pin.jsonl\",\"checksum\":\"{digest}\"}}]}}"
    );
    let online = text.replace(",\"offline\":true", "");
    let read = |text: &str| {
        catalogue_schema::sources::read(text.as_bytes(), world.directory.path(), &Forges::default())
            .expect("sources")
    };
    let (online, sources) = (read(&online), read(&text));
    let run = |world: &mut World, sources: &[Source], scope: Scope<'_>, now_s: i64, offline: bool| {
        let origins = Origins::default();
        let sync = Sync {
            shelf: &world.shelf,
            origins: &origins,
            limits: &world.limits,
            forges: &Forges::default(),
            offline,
            now_s,
            rules: &world.rules,
        };
        let past = world.past.clone();
        let past = past.as_deref().map_or(Past::Nothing, Past::Snapshot);
        let done = sync.run(&mut world.store, past, sources, scope).expect("a sync");
        world.past = done.snapshot.or(world.past.take());
        (done.report.changed, done.report.documents_fetched)
    };
    run(&mut world, &online, Scope::All, 7, false);
    run(&mut world, &sources, Scope::Rebuild, 7, false);
    // Without the time of a check, that of the generation counts.
    assert_eq!(run(&mut world, &sources, Scope::Rebuild, 1_006, false), (false, 0));
    assert_eq!(
        run(&mut world, &sources, Scope::Rebuild, 1_007, true),
        (false, 0),
        "where nothing may be fetched nothing ages"
    );
    assert_eq!(run(&mut world, &sources, Scope::Rebuild, 1_007, false), (true, 0));
    let expired =
        "n/x = a/a: 1.0.0 source.expired\nn/y = off/off: 1.0.0 unpinned\nn/z = pin/pin: 1.0.0 unpinned";
    assert_eq!(world.shown(), expired);
    assert_eq!(
        run(&mut world, &sources, Scope::Rebuild, 1_007, true),
        (false, 0),
        "a flag brings nothing back"
    );
    assert_eq!(run(&mut world, &sources, Scope::All, 1_007, true), (false, 0));
    assert_eq!(world.shown(), expired);
}
