//! Catalogues with more releases than are fetched one by one: what waits, what is asked for, what stays.
//!
//! The documents lie in local files and are asked for at https URLs; one prefix leads to them, as a rewrite rule would.

use catalogue_schema::id::ComponentId;
use catalogue_schema::pointer::{LocalPath, Location};

use super::*;
use crate::fetch::limit::Budget;
use crate::fetch::{Answer, Ask, FetchError};

/// Leads `https://e.org/…` to a directory.
struct Rewritten {
    directory: std::path::PathBuf,
    origins: Origins,
}

impl Fetch for Rewritten {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        let local = |want: &Want| match want {
            Want::Blob(Location::Https { url }) => {
                let path = LocalPath::from_path(&self.directory.join(url.segments().join("/")));
                Want::Blob(Location::File { path: path.expect("a local path") })
            }
            other => other.clone(),
        };
        let wants: Vec<Want> = asks.iter().map(|ask| local(ask.want)).collect();
        let asks: Vec<Ask<'_>> = wants.iter().map(Ask::from).collect();
        self.origins.fetch(&asks, budget)
    }
}

/// Syncs the source `a` at `https://e.org/a.jsonl`.
fn sync(world: &mut World, scope: Scope<'_>, mode: (&str, bool)) -> SyncReport {
    let (entry, offline) = mode;
    let text = format!(r#"{{"sources":[{{"id":"a","url":"https://e.org/{entry}"}}]}}"#);
    let sources =
        catalogue_schema::sources::read(text.as_bytes(), world.directory.path(), &Forges::default());
    let sources = sources.expect("good sources");
    let origins = Rewritten { directory: world.directory.path().to_owned(), origins: Origins::default() };
    let sync = Sync {
        shelf: &world.shelf,
        origins: &origins,
        limits: &world.limits,
        forges: &Forges::default(),
        rules: &world.rules,
        offline,
        now_s: 7,
    };
    let past = world.past.clone();
    let past = past.as_deref().map_or(Past::Nothing, Past::Snapshot);
    let done = sync.run(&mut world.store, past, &sources, scope).expect("a sync");
    if let Some(snapshot) = done.snapshot {
        world.past = Some(snapshot);
    }
    done.report
}

/// The names of the components whose documents are here, and of those that wait.
fn shown(world: &World) -> (String, String) {
    let (mut here, mut waiting) = (Vec::new(), Vec::new());
    let snapshot = world.snapshot();
    for component in snapshot.read_all() {
        for release in &component.releases {
            let list = if release.unfetched { &mut waiting } else { &mut here };
            assert_eq!(release.verdict.word(), "unpinned", "{release:?}");
            list.push(release.id.path().trim_start_matches("n/").to_owned());
        }
    }
    (here.join(" "), waiting.join(" "))
}

fn check(world: &World, here: &str, waiting: &str) {
    assert_eq!(shown(world), (here.to_owned(), waiting.to_owned()));
    let state = &world.snapshot().generation.catalogues[0];
    assert_eq!(state.warnings.iter().any(|one| one.reason == "catalogue.unfetched"), !waiting.is_empty());
    assert_eq!(state.health, Health::Fresh);
}

fn five() -> World {
    let mut world = World::new();
    world.rows("a.jsonl", &["n/a@1.0.0", "n/b@1.0.0", "n/c@1.0.0", "n/d@1.0.0", "n/e@1.0.0"]);
    // A row without a manifest needs two documents.
    world.limits.eager_max = 4;
    world
}

fn ids(names: &[&str]) -> BTreeSet<ComponentId> {
    names.iter().map(|name| ComponentId::parse(&format!("lcod://n/{name}")).expect("an id")).collect()
}

#[test]
fn releases_behind_the_limit_are_listed_and_wait() {
    let mut world = five();
    let report = sync(&mut world, Scope::All, ("a.jsonl", false));
    assert_eq!(report.documents_fetched, 5, "the list and the documents of two releases");
    check(&world, "a b", "c d e");
    let again = sync(&mut world, Scope::All, ("a.jsonl", false));
    assert!(!again.changed, "an unchanged catalogue has the same ones");

    sync(&mut world, Scope::Wanting(&ids(&["d", "x"])), ("a.jsonl", false));
    check(&world, "a b d", "c e");
    let later = sync(&mut world, Scope::All, ("a.jsonl", false));
    assert!(!later.changed, "what was fetched stays");
    check(&world, "a b d", "c e");

    world.limits.eager_max = 5_000;
    sync(&mut world, Scope::All, ("a.jsonl", false));
    check(&world, "a b c d e", "");
    world.limits.eager_max = 0;
    assert!(!sync(&mut world, Scope::All, ("a.jsonl", false)).changed, "what is known stays known");
}

#[test]
fn what_waits_is_missed_by_nobody_offline_or_in_a_rebuild() {
    let mut world = five();
    sync(&mut world, Scope::All, ("a.jsonl", false));
    let digest = world.snapshot().generation.snapshot.clone();
    let offline = sync(&mut world, Scope::Wanting(&ids(&["d"])), ("a.jsonl", true));
    assert!(!offline.changed);
    check(&world, "a b", "c d e");
    world.remove("a.jsonl");
    sync(&mut world, Scope::All, ("a.jsonl", false));
    assert_eq!(shown(&world), ("a b".to_owned(), "c d e".to_owned()), "a source that is gone keeps both");

    let generation = world.snapshot().generation.clone();
    let configured: Vec<Source> = generation.sources.iter().map(|state| state.source.clone()).collect();
    let origins = Origins::default();
    let run = Sync {
        shelf: &world.shelf,
        origins: &origins,
        limits: &world.limits,
        forges: &Forges::default(),
        rules: &world.rules,
        offline: false,
        now_s: 8,
    };
    let done =
        run.run(&mut world.store, Past::File(&generation), &configured, Scope::Rebuild).expect("a rebuild");
    world.past = done.snapshot.or(world.past);
    assert_eq!(shown(&world), ("a b".to_owned(), "c d e".to_owned()));
    assert_ne!(world.snapshot().generation.snapshot, digest, "the source is stale now");
}

#[test]
fn documents_in_local_files_never_wait() {
    let mut world = five();
    world.limits.eager_max = 0;
    world.sync(&[("a", "a.jsonl")]);
    check(&world, "a b c d e", "");
}
