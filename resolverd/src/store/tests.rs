//! Tests of the store: what was committed is read again, and damage never gives a wrong answer.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use catalogue_schema::generation::{DocumentList, DocumentRecord};
use catalogue_schema::model::{Component, Warning};
use serde_json::json;

use super::*;
use crate::shelf::durable;
use crate::store::index::Value;

/// A state directory with its lock, shelf and store.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        Home { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Opens everything, calls `act`, and closes everything.
    fn open<T>(&self, act: impl FnOnce(&mut Store, Opened) -> T) -> T {
        self.open_keeping(2, act)
    }

    fn open_keeping<T>(&self, keep: usize, act: impl FnOnce(&mut Store, Opened) -> T) -> T {
        let lock = StateLock::acquire(self.path(), Duration::ZERO).unwrap();
        let shelf = Shelf::open(self.path()).unwrap();
        let (mut store, opened) = Store::open(self.path(), &lock, || Ok(shelf), keep, Records::Kept).unwrap();
        act(&mut store, opened)
    }

    fn names(&self, below: &str) -> Vec<String> {
        let entries = durable::entries(&self.path().join(below)).unwrap();
        entries.into_iter().map(|(name, _)| name).collect()
    }

    /// Commits these worlds one after the other, each on top of the one before.
    fn commit_all(&self, worlds: &[Vec<Component>]) {
        self.open(|store, opened| {
            let mut last = warm(opened);
            for world in worlds {
                last = Some(store.commit(draft(world.clone()), last.as_deref()).unwrap().snapshot);
            }
        });
    }

    fn copy(&self) -> Home {
        let home = Home::new();
        copy(self.path(), home.path());
        home
    }
}

fn copy(from: &Path, to: &Path) {
    for (name, path) in durable::entries(from).unwrap() {
        let target = to.join(name);
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn component(name: &str, version: &str, summary: &str) -> Component {
    let id = format!("lcod://{name}");
    let release = json!({
        "id": id, "version": version, "origin": {}, "summary": summary,
        "dependencies": ["lcod://x/y@^1"], "verdict": {"trusted": {"level": "pinned"}},
        "extra": {"publishedAt": "2026-01-01"},
    });
    let owner = json!({"source": "main", "name": "std"});
    serde_json::from_value(json!({"id": id, "owner": owner, "releases": [release]})).unwrap()
}

fn world(names: &[(&str, &str)]) -> Vec<Component> {
    names.iter().map(|(name, version)| component(name, version, "small")).collect()
}

fn draft(components: Vec<Component>) -> Draft {
    let snapshot = Digest::sha256(&serde_json::to_vec(&components).unwrap());
    let generation = json!({
        "schema": "", "number": 0, "committedS": 1, "snapshot": snapshot, "components": 0,
        "root": Digest::sha256(b""), "sources": [], "catalogues": [], "documents": DocumentList::default(),
        "settings": Digest::sha256(b""),
    });
    let generation = serde_json::from_value(generation).unwrap();
    let components = components.iter().map(|one| Packed::of(one).unwrap()).collect();
    Draft { generation, documents: Listed::default(), components }
}

fn warm(opened: Opened) -> Option<Arc<Snapshot>> {
    match opened {
        Opened::Warm(snapshot) => Some(snapshot),
        Opened::Empty | Opened::Rebuild { .. } => None,
    }
}

fn content(snapshot: &Snapshot) -> Vec<Component> {
    snapshot.read_all()
}

/// What is found: `empty`, `<number>: <ids>`, or `rebuild <number>`.
fn told(opened: &Opened) -> String {
    match opened {
        Opened::Empty => "empty".into(),
        Opened::Rebuild { generation, why } => {
            assert!(!why.is_empty());
            format!("rebuild {}", generation.number)
        }
        Opened::Warm(snapshot) => {
            let ids: Vec<String> = content(snapshot)
                .iter()
                .map(|found| format!("{}@{}", found.id.path(), found.releases[0].version))
                .collect();
            format!("{}: {}", snapshot.generation.number, ids.join(" "))
        }
    }
}

fn check(home: &Home, expected: &str) {
    assert_eq!(home.open(|_, opened| told(&opened)), expected);
}

const AB: [(&str, &str); 2] = [("n/a", "1.0.0"), ("n/b", "1.0.0")];
const BC: [(&str, &str); 2] = [("n/b", "1.1.0"), ("n/c", "1.0.0")];

#[test]
fn a_commit_is_read_again_as_it_was() {
    let home = Home::new();
    check(&home, "empty");
    let committed = home.open(|store, _| store.commit(draft(world(&AB)), None).unwrap());
    assert_eq!((committed.rows_written, committed.snapshot.generation.number), (2, 1));
    let again = home.open(|_, opened| warm(opened).unwrap());
    assert_eq!(content(&again), world(&AB));
    assert_eq!(again.generation, committed.snapshot.generation);
}

#[test]
fn only_rows_that_changed_are_written() {
    let home = Home::new();
    home.commit_all(&[world(&AB)]);
    home.open(|store, opened| {
        let first = warm(opened).unwrap();
        let second = store.commit(draft(world(&AB)), Some(&first)).unwrap();
        assert_eq!((second.rows_written, second.snapshot.generation.number), (0, 2));
        assert!(first.components()[0].is_shared_with(&second.snapshot.components()[0]));
        // b changes, a goes, c comes.
        let third = store.commit(draft(world(&BC)), Some(&second.snapshot)).unwrap();
        assert_eq!(third.rows_written, 3);
        let fourth = store.commit(draft(world(&BC)), None).unwrap();
        assert_eq!(fourth.rows_written, 0);
    });
    check(&home, "4: n/b@1.1.0 n/c@1.0.0");
}

#[test]
fn a_removed_id_stays_away_and_can_come_back() {
    let home = Home::new();
    home.commit_all(&[world(&AB), world(&BC)]);
    check(&home, "2: n/b@1.1.0 n/c@1.0.0");
    home.commit_all(&[world(&AB)]);
    check(&home, "3: n/a@1.0.0 n/b@1.0.0");
    home.commit_all(&[vec![], vec![], vec![]]);
    check(&home, "6: ");
    home.open_keeping(1, |store, _| drop(store.commit(draft(Vec::new()), None).unwrap()));
    check(&home, "7: ");
    home.open(|store, _| assert!(store.ledger.newer(0).is_empty(), "rows that nobody reads are left"));
}

#[test]
fn two_generations_are_kept() {
    let home = Home::new();
    home.commit_all(&[world(&AB), world(&BC), world(&AB)]);
    assert_eq!(home.names("generations"), ["2.json", "3.json"]);
    // Without the newest file and the pointer, the one before it answers.
    std::fs::remove_file(home.path().join("generations/3.json")).unwrap();
    check(&home, "2: n/b@1.1.0 n/c@1.0.0");
    check(&home, "2: n/b@1.1.0 n/c@1.0.0");
    home.commit_all(&[world(&BC)]);
    assert!(home.open(|_, opened| told(&opened)).ends_with("n/b@1.1.0 n/c@1.0.0"));
}

#[test]
fn a_large_component_lies_on_the_shelf_and_survives_a_sweep() {
    let home = Home::new();
    let large = component("n/large", "1.0.0", &"x".repeat(row::INLINE_BYTES_MAX + 1));
    let components = vec![component("n/a", "1.0.0", ""), large];
    home.open(|store, _| {
        store.commit(draft(components.clone()), None).unwrap();
        let live = store.live().unwrap();
        assert_eq!(live.len(), 1);
        store.shelf.sweep(&live, name_of_block).unwrap();
    });
    let again = home.open(|store, opened| {
        assert_eq!(store.live().unwrap().len(), 1);
        warm(opened).unwrap()
    });
    assert_eq!(content(&again), components);
    home.open(|store, _| store.shelf.sweep(&crate::shelf::Live::default(), name_of_block).unwrap());
    check(&home, "rebuild 1");
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let home = Home::new();
    home.commit_all(&[world(&AB)]);
    std::fs::write(home.path().join("index/snap.0.generating"), b"").unwrap();
    std::fs::write(home.path().join(".tmp-left"), b"").unwrap();
    std::fs::create_dir(home.path().join("index.new")).unwrap();
    std::fs::write(home.path().join("index.new/conf"), b"half").unwrap();
    check(&home, "1: n/a@1.0.0 n/b@1.0.0");
    assert!(!home.path().join(".tmp-left").exists());
    assert!(!home.names("").iter().any(|name| name.starts_with("index.bad")));
}

#[test]
fn rows_of_a_generation_that_was_never_committed_are_dropped() {
    let home = Home::new();
    home.commit_all(&[world(&AB)]);
    home.open(|store, _| {
        let index = store.index.as_mut().unwrap();
        let gone = (row::key("lcod://n/a", 2), Some(row::Row::Gone.encode().into()));
        let garbage = (row::key("lcod://n/z", 2), Some(b"garbage".as_slice().into()));
        index.write(vec![gone, garbage]).unwrap();
    });
    std::fs::write(home.path().join("generations/2.json"), b"half").unwrap();
    home.open(|store, opened| {
        assert_eq!(told(&opened), "1: n/a@1.0.0 n/b@1.0.0");
        assert!(store.ledger.newer(1).is_empty());
        let next = store.commit(draft(world(&BC)), warm(opened).as_deref()).unwrap();
        assert_eq!(next.snapshot.generation.number, 2);
    });
    check(&home, "2: n/b@1.1.0 n/c@1.0.0");

    // The same before anything was ever committed.
    let home = Home::new();
    home.open(|store, _| {
        let garbage = (row::key("lcod://n/z", 1), Some(b"garbage".as_slice().into()));
        store.index.as_mut().unwrap().write(vec![garbage]).unwrap();
    });
    check(&home, "empty");
    home.open(|store, _| store.commit(draft(world(&AB)), None).unwrap());
    check(&home, "1: n/a@1.0.0 n/b@1.0.0");
}

#[test]
fn a_failed_commit_changes_nothing_and_the_next_one_works() {
    let home = Home::new();
    home.open(|store, _| {
        let first = store.commit(draft(world(&AB)), None).unwrap().snapshot;
        // A directory of that name makes writing the generation file fail, after the rows were written.
        let obstacle = home.path().join("generations/2.json");
        std::fs::create_dir_all(obstacle.join("x")).unwrap();
        assert!(store.commit(draft(world(&BC)), Some(&first)).is_err());
        std::fs::remove_dir_all(&obstacle).unwrap();
        let second = store.commit(draft(world(&AB)), Some(&first)).unwrap();
        assert_eq!((second.rows_written, second.snapshot.generation.number), (0, 2));
    });
    check(&home, "2: n/a@1.0.0 n/b@1.0.0");
}

#[test]
fn a_kill_after_a_commit_loses_nothing() {
    // What lies on disk while the store is still open is what a killed process leaves.
    let home = Home::new();
    home.open(|store, _| {
        for (round, names) in [AB, BC, AB, BC].iter().enumerate() {
            let committed = store.commit(draft(world(names)), None).unwrap();
            let left = home.copy();
            let found = left.open(|_, opened| warm(opened).unwrap());
            assert_eq!(content(&found), world(names), "round {round}");
            assert_eq!(found.generation, committed.snapshot.generation);
        }
    });
}

#[test]
fn until_the_pointer_is_renamed_the_old_generation_answers() {
    let home = Home::new();
    home.commit_all(&[world(&AB)]);
    let pointer = std::fs::read(home.path().join("current")).unwrap();
    home.commit_all(&[world(&BC)]);
    std::fs::write(home.path().join("current"), pointer).unwrap();
    check(&home, "1: n/a@1.0.0 n/b@1.0.0");
    assert_eq!(home.names("generations"), ["1.json"]);
    home.commit_all(&[world(&BC)]);
    check(&home, "2: n/b@1.1.0 n/c@1.0.0");
}

/// Does something bad to a copy of a store with two generations and tells what is found. It must be the newest
/// generation, the one before it, or a reason to build anew; the store must work after it.
fn damaged(original: &Home, what: &str, damage: impl FnOnce(&Path)) -> String {
    const OLD: &str = "1: n/a@1.0.0 n/b@1.0.0";
    const NEW: &str = "2: n/b@1.1.0 n/c@1.0.0";
    let home = original.copy();
    damage(home.path());
    let found = home.open(|store, opened| {
        let found = told(&opened);
        assert!([OLD, NEW, "rebuild 1", "rebuild 2", "empty"].contains(&found.as_str()), "{what}: {found}");
        let next = store.commit(draft(world(&AB)), warm(opened).as_deref()).unwrap();
        assert!(found == "empty" || next.snapshot.generation.number > 1, "{what}");
        found
    });
    // Damage that a snapshot of the engine covered may come to light a start later.
    let after = home.open(|_, opened| told(&opened));
    assert!(after.ends_with(": n/a@1.0.0 n/b@1.0.0") || after == "rebuild 3", "{what}: {after}");
    found
}

fn two_generations() -> Home {
    let home = Home::new();
    home.commit_all(&[world(&AB), world(&BC)]);
    home
}

#[test]
fn flipped_bytes_in_the_index_never_give_a_wrong_answer() {
    let home = two_generations();
    let log = std::fs::read(home.path().join("index/db")).unwrap();
    let used: Vec<usize> = (0..log.len()).filter(|at| log[*at] != 0).collect();
    for at in used.iter().step_by((used.len() / 12).max(1)) {
        let found = damaged(&home, &format!("byte {at}"), |path| {
            let mut bad = log.clone();
            bad[*at] ^= 0x55;
            std::fs::write(path.join("index/db"), bad).unwrap();
        });
        assert!(found.starts_with('2') || found == "rebuild 2", "byte {at}: {found}");
    }
}

#[test]
fn lost_files_of_the_index_never_give_a_wrong_answer() {
    let home = two_generations();
    let log = std::fs::read(home.path().join("index/db")).unwrap();
    for length in [0, 1, log.len() / 4, log.len() / 2, log.len() - 1] {
        let found = damaged(&home, &format!("cut at {length}"), |path| {
            std::fs::write(path.join("index/db"), &log[..length]).unwrap();
        });
        assert!(found.starts_with('2') || found == "rebuild 2", "cut at {length}: {found}");
    }
    for name in home.names("index").iter().filter(|name| *name != "blobs") {
        damaged(&home, name, |path| std::fs::remove_file(path.join("index").join(name)).unwrap());
        damaged(&home, name, |path| std::fs::write(path.join("index").join(name), b"x").unwrap());
    }
    let found = damaged(&home, "no index", |path| std::fs::remove_dir_all(path.join("index")).unwrap());
    assert_eq!(found, "rebuild 2");
}

#[test]
fn a_damaged_pointer_or_generation_file_never_gives_a_wrong_answer() {
    let home = two_generations();
    let write = |name: &'static str, text: &'static str| {
        move |path: &Path| {
            std::fs::write(path.join(name), text).unwrap();
        }
    };
    let remove = |name: &'static str| move |path: &Path| std::fs::remove_file(path.join(name)).unwrap();
    let flip = |name: &'static str, from: &'static str, to: &'static str| {
        move |path: &Path| {
            let text = std::fs::read_to_string(path.join(name)).unwrap();
            assert!(text.contains(from));
            std::fs::write(path.join(name), text.replace(from, to)).unwrap();
        }
    };
    let found = |what: &str, damage: &dyn Fn(&Path)| damaged(&home, what, damage)[..1].to_owned();
    assert_eq!(found("current is garbage", &write("current", "{")), "2");
    assert_eq!(found("current is empty", &write("current", "")), "2");
    assert_eq!(found("current is gone", &remove("current")), "2");
    assert_eq!(found("current of another schema", &flip("current", "current@1", "current@9")), "2");
    assert_eq!(found("current with another digest", &flip("current", "sha256:", "sha256:0")), "2");
    assert_eq!(found("current names nothing", &flip("current", "\"number\":2", "\"number\":7")), "2");
    assert_eq!(found("current names the old one", &flip("current", "\"number\":2", "\"number\":1")), "2");
    assert_eq!(found("generation is garbage", &write("generations/2.json", "{")), "1");
    assert_eq!(found("generation is gone", &remove("generations/2.json")), "1");
    assert_eq!(
        found("generation was edited", &flip("generations/2.json", "\"committedS\":1", "\"committedS\":2")),
        "1"
    );
    assert_eq!(
        found(
            "generation of another schema",
            &flip("generations/2.json", GENERATION_SCHEMA, "resolverd/generation@9")
        ),
        "1"
    );
    let both = |path: &Path| {
        write("generations/1.json", "")(path);
        write("generations/2.json", "")(path);
    };
    assert_eq!(damaged(&home, "no generation can be read", both), "empty");
}

#[test]
fn rows_of_another_schema_are_never_guessed_at() {
    let home = two_generations();
    home.open(|store, _| {
        let mut value = row::Row::Gone.encode();
        value[1] += 1;
        store.index.as_mut().unwrap().write(vec![(row::key("lcod://n/b", 2), Some(value.into()))]).unwrap();
    });
    home.open(|store, opened| {
        let Opened::Rebuild { generation, why } = &opened else { panic!("{}", told(&opened)) };
        assert_eq!(generation.number, 2);
        let found = format!("schema {}", row::ROW_SCHEMA + 1);
        assert!(why.contains(&found) && why.contains("index.bad-1"), "{why}");
        let next = store.commit(draft(world(&AB)), None).unwrap();
        assert_eq!((next.snapshot.generation.number, next.rows_written), (3, 2));
    });
    check(&home, "3: n/a@1.0.0 n/b@1.0.0");
}

#[test]
fn blocks_that_differ_in_any_byte_have_other_seals() {
    let block = |component: &Component| Packed::of(component).unwrap();
    let seal = |packed: &Packed| Seal::of(packed).digest;
    let known = block(&component("n/a", "1.0.0", "small"));
    let mut read = 0;
    for at in 0..known.as_bytes().len() {
        for bit in 0..8 {
            let mut bad = known.as_bytes().to_vec();
            bad[at] ^= 1 << bit;
            let Ok(bad) = Packed::read(&bad) else { continue };
            assert_ne!(seal(&bad), seal(&known), "bit {bit} of byte {at}");
            read += 1;
        }
    }
    assert!(read > 1000, "{read} of them can be read");

    // What is no part of what a component says is part of its seal.
    let warned = |text: &str| {
        let mut one = component("n/a", "1.0.0", "small");
        one.releases[0].warnings = vec![Warning::new("a.reason", text)];
        one
    };
    let (old, new) = (block(&warned("one")), block(&warned("two")));
    assert_eq!((old.says(), old.as_bytes().len()), (new.says(), new.as_bytes().len()));
    assert_ne!(seal(&old), seal(&new));
    let home = Home::new();
    home.commit_all(&[vec![warned("one")], vec![warned("two")]]);
    home.open(|_, opened| assert_eq!(content(&warm(opened).unwrap()), [warned("two")]));
}

#[test]
fn a_sound_row_in_the_place_of_another_is_noticed() {
    let check = |id: &str, (name, version): (&str, &str)| {
        let home = two_generations();
        home.open(|store, _| {
            let packed = Packed::of(&component(name, version, "small")).unwrap();
            let value = row::Row::of(&packed, &Seal::of(&packed)).encode();
            store.index.as_mut().unwrap().write(vec![(row::key(id, 2), Some(value.into()))]).unwrap();
        });
        home.open(|_, opened| told(&opened))
    };
    assert_eq!(check("lcod://n/b", ("n/b", "1.1.0")), "2: n/b@1.1.0 n/c@1.0.0");
    assert_eq!(check("lcod://n/b", ("n/b", "1.0.0")), "rebuild 2");
    assert_eq!(check("lcod://n/b", ("n/c", "1.0.0")), "rebuild 2");
}

#[test]
fn a_lost_index_is_restored_under_its_own_number_by_a_draft_that_says_the_same() {
    for with_pointer in [true, false] {
        let home = two_generations();
        let file = std::fs::read(home.path().join("generations/2.json")).unwrap();
        std::fs::remove_dir_all(home.path().join("index")).unwrap();
        if !with_pointer {
            std::fs::remove_file(home.path().join("current")).unwrap();
        }
        home.open(|store, opened| {
            assert_eq!(told(&opened), "rebuild 2");
            let restored = store.commit(draft(world(&BC)), None).unwrap();
            assert_eq!((restored.snapshot.generation.number, restored.rows_written), (2, 2));
        });
        check(&home, "2: n/b@1.1.0 n/c@1.0.0");
        assert_eq!(std::fs::read(home.path().join("generations/2.json")).unwrap(), file);
        // Only the first draft after the loss may restore; the next is the next.
        home.open(|store, _| {
            let next = store.commit(draft(world(&BC)), None).unwrap();
            assert_eq!(next.snapshot.generation.number, 3);
        });
    }
}

#[test]
fn at_most_two_damaged_indexes_are_kept() {
    let home = two_generations();
    for _ in 0..4 {
        home.open(|store, _| {
            let garbage = (row::key("lcod://n/b", 1), Some(b"x".as_slice().into()));
            store.index.as_mut().unwrap().write(vec![garbage]).unwrap();
        });
        home.open(|store, opened| {
            assert!(warm(opened).is_none());
            store.commit(draft(world(&AB)), None).unwrap();
        });
    }
    let bad: Vec<String> = home.names("").into_iter().filter(|name| name.starts_with("index.bad")).collect();
    assert_eq!(bad, ["index.bad-3", "index.bad-4"]);
}

#[test]
fn one_process_holds_the_state_directory() {
    let home = Home::new();
    let held = StateLock::acquire(home.path(), Duration::ZERO).unwrap();
    let Err(StoreError::Locked { path, pid }) = StateLock::acquire(home.path(), Duration::from_millis(30))
    else {
        panic!("two locks at once")
    };
    assert_eq!(pid, std::process::id().to_string());
    assert!(path.ends_with("lock"));
    drop(held);
    StateLock::acquire(home.path(), Duration::ZERO).unwrap();
}

#[test]
fn a_state_directory_that_others_may_write_is_refused() {
    let home = Home::new();
    for (mode, good) in [(0o777, false), (0o770, false), (0o720, false), (0o755, true), (0o700, true)] {
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let taken = StateLock::acquire(home.path(), Duration::ZERO);
        assert_eq!(taken.is_ok(), good, "{mode:o}");
        assert!(good || matches!(taken, Err(StoreError::Unsafe { .. })));
    }
    let below = home.path().join("a/b");
    StateLock::acquire(&below, Duration::ZERO).unwrap();
    assert_eq!(std::fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn nothing_on_disk_is_open_to_others() {
    fn walk(path: &Path) {
        for (name, entry) in durable::entries(path).unwrap() {
            let mode = std::fs::metadata(&entry).unwrap().permissions().mode() & 0o7777;
            let expected = if entry.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{name}");
            if entry.is_dir() {
                walk(&entry);
            }
        }
    }
    walk(two_generations().path());
}

#[test]
fn no_generation_file_is_read_for_a_sweep_once_it_is_known() {
    let home = two_generations();
    home.open(|store, _| {
        let live = store.live().unwrap();
        for number in [1, 2] {
            std::fs::write(home.path().join(format!("generations/{number}.json")), "{").unwrap();
        }
        assert_eq!(store.live().unwrap(), live);
    });
}

/// Tells which generations can be asked: `3: n/a@1.0.0 … | 2: …`, newest first.
fn told_kept(store: &Store) -> String {
    let told: Vec<String> =
        store.kept().iter().map(|snapshot| told(&Opened::Warm(Arc::clone(snapshot)))).collect();
    told.join(" | ")
}

const TELLING_AB: &str = "n/a@1.0.0 n/b@1.0.0";
const TELLING_BC: &str = "n/b@1.1.0 n/c@1.0.0";

#[test]
fn as_many_generations_as_asked_can_be_read_and_older_ones_cannot() {
    for (keep, expected) in [
        (0, format!("4: {TELLING_BC}")),
        (1, format!("4: {TELLING_BC}")),
        (2, format!("4: {TELLING_BC} | 3: {TELLING_AB}")),
        (3, format!("4: {TELLING_BC} | 3: {TELLING_AB} | 2: {TELLING_BC}")),
        (9, format!("4: {TELLING_BC} | 3: {TELLING_AB} | 2: {TELLING_BC} | 1: {TELLING_AB}")),
    ] {
        let home = Home::new();
        home.open_keeping(keep, |store, _| {
            for names in [AB, BC, AB, BC] {
                store.commit(draft(world(&names)), store.kept().first().cloned().as_deref()).unwrap();
            }
            assert_eq!(told_kept(store), expected);
        });
        let mut files: Vec<String> = expected.split(" | ").map(|one| format!("{}.json", &one[..1])).collect();
        files.reverse();
        assert_eq!(home.names("generations"), files);
        // The same out of the rows.
        home.open_keeping(keep, |store, _| assert_eq!(told_kept(store), expected));
    }
}

#[test]
fn rows_that_no_kept_generation_reads_are_collected() {
    let home = Home::new();
    let rows = |store: &Store| store.ledger.newer(0).len();
    home.open_keeping(3, |store, _| {
        for names in [AB, BC, AB, BC] {
            store.commit(draft(world(&names)), None).unwrap();
        }
        // a: gone, 3, gone; b: 2, 3, 4; c: 2, gone, 4. What 1 alone read is not there, nor is the end of a before 3.
        assert_eq!(rows(store), 2 + 3 + 3);
        store.keep(1);
        assert_eq!(rows(store), 8, "a lowered number waits for the next commit");
        assert_eq!(store.kept().len(), 3);
        store.commit(draft(world(&BC)), None).unwrap();
        assert_eq!((rows(store), store.kept().len()), (2, 1));
    });
    assert_eq!(home.names("generations"), ["5.json"]);
    home.open_keeping(1, |store, opened| {
        assert_eq!((told(&opened), rows(store)), (format!("5: {TELLING_BC}"), 2))
    });
}

#[test]
fn kept_generations_share_what_did_not_change() {
    let shared = |store: &Store| {
        let [new, old] = store.kept() else { panic!("{} are kept", store.kept().len()) };
        let same = |one: &&Packed| old.components().iter().any(|other| one.is_shared_with(other));
        let ids = new.components().iter().filter(same).map(|one| ComponentId::path_in(one.id_text()));
        (ids.collect::<Vec<_>>().join(" "), Arc::ptr_eq(&new.places, &old.places))
    };
    let home = Home::new();
    home.open(|store, _| {
        let first = store.commit(draft(world(&AB)), None).unwrap().snapshot;
        store.commit(draft(world(&[("n/a", "1.0.0"), ("n/b", "2.0.0")])), Some(&first)).unwrap();
        assert_eq!(shared(store), ("n/a".to_owned(), true));
    });
    home.open(|store, _| assert_eq!(shared(store), ("n/a".to_owned(), true)));
}

#[test]
fn an_older_generation_that_is_not_whole_is_left_out() {
    let kept = |damage: &dyn Fn(&Home)| {
        let home = Home::new();
        home.open_keeping(3, |store, _| {
            for names in [AB, BC, AB] {
                store.commit(draft(world(&names)), None).unwrap();
            }
        });
        damage(&home);
        let found = home.open_keeping(3, |store, _| told_kept(store));
        assert!(!home.names("").iter().any(|name| name.starts_with("index.bad")), "{found}");
        found
    };
    let all = format!("3: {TELLING_AB} | 2: {TELLING_BC} | 1: {TELLING_AB}");
    assert_eq!(kept(&|_| ()), all);
    let without = format!("3: {TELLING_AB} | 1: {TELLING_AB}");
    let file = |home: &Home| home.path().join("generations/2.json");
    assert_eq!(kept(&|home| std::fs::write(file(home), "{").unwrap()), without);
    assert_eq!(kept(&|home| std::fs::remove_file(file(home)).unwrap()), without);
    let other_root = |home: &Home| {
        let text = std::fs::read_to_string(file(home)).unwrap();
        std::fs::write(file(home), text.replace("\"components\":2", "\"components\":3")).unwrap();
    };
    assert_eq!(kept(&other_root), without);
    let lost_row = |home: &Home| {
        home.open_keeping(3, |store, _| {
            store.index.as_mut().unwrap().write(vec![(row::key("lcod://n/c", 2), None)]).unwrap();
        });
    };
    assert_eq!(kept(&lost_row), without);
}

#[test]
fn documents_of_every_kept_generation_are_spared_by_a_sweep() {
    let home = Home::new();
    let large = |version: &str| component("n/large", version, &"x".repeat(row::INLINE_BYTES_MAX + 1));
    home.open_keeping(2, |store, _| {
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            store.commit(draft(vec![large(version)]), None).unwrap();
        }
        let live = store.live().unwrap();
        assert_eq!(live.len(), 2);
        store.shelf.sweep(&live, name_of_block).unwrap();
    });
    home.open_keeping(2, |store, _| assert_eq!(told_kept(store), "3: n/large@3.0.0 | 2: n/large@2.0.0"));
}

#[test]
fn a_commit_after_a_failed_one_keeps_the_snapshots_that_readers_hold() {
    let home = Home::new();
    home.open(|store, _| {
        let first = store.commit(draft(world(&AB)), None).unwrap().snapshot;
        let obstacle = home.path().join("generations/2.json");
        std::fs::create_dir_all(obstacle.join("x")).unwrap();
        assert!(store.commit(draft(world(&BC)), Some(&first)).is_err());
        std::fs::remove_dir_all(&obstacle).unwrap();
        store.commit(draft(world(&BC)), Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&store.kept()[1], &first));
        assert!(store.bytes() > 1000);
    });
}

#[test]
fn a_generation_of_another_format_is_never_guessed_at() {
    let home = two_generations();
    for number in [1, 2] {
        let path = home.path().join(format!("generations/{number}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(GENERATION_SCHEMA, "resolverd/generation@9")).unwrap();
    }
    let before = json!({"schema": "resolverd/generation@1", "number": 2, "documents": []});
    std::fs::write(home.path().join("generations/2.json"), before.to_string()).unwrap();
    let why = inspect::kept(home.path()).unwrap().damage.unwrap();
    assert!(why.contains("resolverd/generation@1"), "{why}");
    check(&home, "empty");
    home.open(|store, _| {
        let next = store.commit(draft(world(&AB)), None).unwrap();
        assert_eq!((next.snapshot.generation.number, next.rows_written), (3, 2), "no number is given twice");
    });
    check(&home, "3: n/a@1.0.0 n/b@1.0.0");
}

#[test]
fn what_another_version_of_the_program_wrote_stays_until_the_next_commit() {
    for (format, reason) in
        [("resolverd/generation@1", "store.older_format"), ("resolverd/generation@9", "store.newer_format")]
    {
        let home = two_generations();
        let path = home.path().join("generations/2.json");
        let (text, own) =
            (std::fs::read_to_string(&path).unwrap(), std::fs::read(home.path().join("current")).unwrap());
        let other = text.replace(GENERATION_SCHEMA, format);
        std::fs::write(&path, &other).unwrap();
        let current = String::from_utf8(own.clone()).unwrap();
        let digests = [&text, &other].map(|text| Digest::sha256(text.as_bytes()).to_string());
        std::fs::write(home.path().join("current"), current.replace(&digests[0], &digests[1])).unwrap();
        for _ in 0..2 {
            home.open(|store, opened| {
                assert_eq!(told(&opened), "empty", "{format}: what is older was not in force");
                assert_eq!(store.problems(0)[0].reason, reason);
                assert_eq!(store.foreign().map(|problem| &*problem.reason), Some(reason));
            });
            let kept = inspect::kept(home.path()).unwrap();
            assert!(kept.generation.is_none() && kept.foreign.is_some());
            assert_eq!(home.names("generations"), ["1.json", "2.json"]);
        }
        let ahead = home.copy();
        let uncommitted = text.replace("\"number\":2", "\"number\":3");
        std::fs::write(ahead.path().join("generations/3.json"), uncommitted).unwrap();
        check(&ahead, "empty");
        // The version that wrote it finds everything as it was, its index too.
        let back = home.copy();
        std::fs::write(back.path().join("generations/2.json"), &text).unwrap();
        std::fs::write(back.path().join("current"), &own).unwrap();
        check(&back, "2: n/b@1.1.0 n/c@1.0.0");
        assert!(inspect::aside(back.path()).unwrap().is_empty());
        home.open(|store, _| {
            let next = store.commit(draft(world(&AB)), None).unwrap();
            assert_eq!((next.snapshot.generation.number, next.rows_written), (3, 2));
            assert!(store.foreign().is_none());
        });
        check(&home, "3: n/a@1.0.0 n/b@1.0.0");
        home.open(|store, _| assert!(store.problems(0).is_empty(), "{format}"));
    }
}

#[test]
fn a_lost_generation_is_a_problem_until_the_next_commit() {
    let home = two_generations();
    std::fs::remove_file(home.path().join("generations/2.json")).unwrap();
    home.open(|store, opened| {
        assert_eq!(told(&opened), "1: n/a@1.0.0 n/b@1.0.0");
        let reasons = |store: &Store| store.problems(0).into_iter().map(|one| one.reason).collect::<Vec<_>>();
        assert_eq!(reasons(store)[0], "store.older_generation");
        store.commit(draft(world(&BC)), None).unwrap();
        assert!(reasons(store).iter().all(|reason| *reason != "store.older_generation"));
    });
}

/// A draft of `names` that rests on documents with these texts.
fn resting(names: &[(&str, &str)], texts: &[&str]) -> Draft {
    let record = |text: &&str| {
        let digest = Digest::sha256(text.as_bytes());
        serde_json::from_value(json!({
            "want": {"blob": {"https": {"url": format!("https://example.org/{text}")}}},
            "url": "https://example.org/", "digest": digest, "size": text.len(), "fetched_s": 1,
        }))
        .unwrap()
    };
    let records: Vec<DocumentRecord> = texts.iter().map(record).collect();
    Draft { documents: Listed::of(&records).unwrap(), ..draft(world(names)) }
}

fn lists(home: &Home) -> usize {
    home.names("generations").iter().filter(|name| name.ends_with(".documents")).count()
}

#[test]
fn equal_lists_of_documents_are_one_file_and_go_with_the_last_generation_that_needs_them() {
    let home = Home::new();
    home.open(|store, _| {
        let mut commit = |names: &[(&str, &str)], texts: &[&str], expected: usize| {
            let committed = store.commit(resting(names, texts), None).unwrap().snapshot;
            let found = store.documents(&committed.generation).unwrap();
            assert_eq!(found.len(), texts.len());
            assert_eq!(lists(&home), expected, "{names:?} {texts:?}");
            let mut live: Vec<Digest> = store.live().unwrap().into_iter().collect();
            live.sort();
            live
        };
        let digests = |texts: &[&str]| {
            let mut digests: Vec<Digest> = texts.iter().map(|text| Digest::sha256(text.as_bytes())).collect();
            digests.sort();
            digests
        };
        assert_eq!(commit(&AB, &["p", "q"], 1), digests(&["p", "q"]));
        assert_eq!(commit(&BC, &["q", "p"], 1), digests(&["p", "q"]));
        assert_eq!(commit(&AB, &["q", "r"], 2), digests(&["p", "q", "r"]));
        assert_eq!(commit(&BC, &[], 1), digests(&["q", "r"]));
        assert_eq!(commit(&AB, &[], 0), digests(&[]));
    });
    home.open(|_, _| assert_eq!(lists(&home), 0));
}

#[test]
fn a_generation_with_the_snapshot_of_the_one_before_takes_its_place() {
    let home = Home::new();
    let numbers =
        |store: &Store| -> Vec<u64> { store.kept().iter().map(|one| one.generation.number).collect() };
    home.open(|store, _| {
        for (names, texts) in [(AB, &["p"]), (BC, &["p"]), (BC, &["q"])] {
            store.commit(resting(&names, texts), None).unwrap();
        }
        assert_eq!((numbers(store), lists(&home)), (vec![3, 1], 2));
        assert_eq!(told_kept(store), format!("3: {TELLING_BC} | 1: {TELLING_AB}"));
    });
    home.open(|store, _| assert_eq!(told_kept(store), format!("3: {TELLING_BC} | 1: {TELLING_AB}")));
}

#[test]
fn what_a_killed_process_left_under_the_next_number_takes_no_list_of_documents_away() {
    let home = Home::new();
    let commit = |names: &[(&str, &str)], text: &str| {
        home.open(|store, opened| {
            let committed = store.commit(resting(names, &[text]), warm(opened).as_deref()).unwrap();
            let generation = &committed.snapshot.generation;
            assert_eq!(store.documents(generation).map(|found| found.len()), Ok(1), "{text}");
            generation.number
        })
    };
    assert_eq!(commit(&AB, "p"), 1);
    let current = home.path().join("current");
    let before = std::fs::read(&current).unwrap();
    assert_eq!(commit(&BC, "q"), 2);
    // As if the process had been killed before it pointed at the second one.
    std::fs::write(current, before).unwrap();
    assert_eq!(commit(&BC, "r"), 2);
    home.open(|store, opened| {
        assert!(store.documents(&warm(opened).unwrap().generation).is_ok());
    });
}

/// Two generations with different documents, and the list of the newer one.
fn two_lists() -> (Home, PathBuf) {
    let home = Home::new();
    home.open(|store, _| {
        store.commit(resting(&AB, &["p"]), None).unwrap();
        store.commit(resting(&BC, &["q"]), None).unwrap();
    });
    let list = resting(&BC, &["q"]).documents.list;
    let path = home.path().join(format!("generations/{}.documents", list.digest.hex()));
    assert!(path.exists());
    (home, path)
}

#[test]
fn a_generation_answers_without_its_list_of_documents_and_says_so_until_the_next_commit() {
    for damage in [None, Some(&b"resolverd/documents@1\n"[..]), Some(b"")] {
        let (home, path) = two_lists();
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        home.open(|store, opened| {
            assert_eq!(told(&opened), format!("2: {TELLING_BC}"));
            let snapshot = warm(opened).unwrap();
            let said = |store: &Store| store.problems(0).iter().any(|one| one.reason == "store.documents");
            assert!(said(store));
            assert!(store.documents(&snapshot.generation).is_err());
            assert!(store.live().is_err(), "nobody knows what the shelf has to spare");
            store.commit(resting(&BC, &["q"]), Some(&snapshot)).unwrap();
            assert!(!said(store));
            assert_eq!(store.live().unwrap().len(), 2);
        });
        home.open(|store, opened| {
            let snapshot = warm(opened).unwrap();
            assert_eq!(store.documents(&snapshot.generation).unwrap().len(), 1);
        });
    }
}

#[test]
fn a_lost_index_is_rebuilt_for_the_newest_generation_whose_list_of_documents_is_whole() {
    let check = |damage: &dyn Fn(&Home, &Path), expected: &str| {
        let (home, path) = two_lists();
        std::fs::remove_dir_all(home.path().join("index")).unwrap();
        damage(&home, &path);
        home.open(|store, opened| {
            assert_eq!(told(&opened), expected);
            let older = store.problems(0).iter().any(|one| one.reason == "store.older_generation");
            assert_eq!(older, expected.ends_with('1'), "{expected}");
        });
    };
    check(&|_, _| (), "rebuild 2");
    check(&|_, path| std::fs::remove_file(path).unwrap(), "rebuild 1");
    // Where no list is left, the newest keeps what it owned from others.
    let all = |home: &Home, _: &Path| {
        for name in home.names("generations").iter().filter(|name| name.ends_with(".documents")) {
            std::fs::write(home.path().join("generations").join(name), "x").unwrap();
        }
    };
    check(&all, "rebuild 2");
}

/// What becomes of the index while it rests does no harm: the next commit finds it sound, or writes everything again.
#[test]
fn an_index_that_rests_is_found_again_or_written_anew() {
    let check_after = |touch: fn(&Path)| {
        let home = Home::new();
        home.open(|store, _| {
            let first = store.commit(draft(world(&AB)), None).unwrap().snapshot;
            store.rest();
            touch(&home.path().join("index"));
            let second = store.commit(draft(world(&BC)), Some(&first)).unwrap();
            // One is new, one differs and one is gone, also where what readers hold had to be written again first.
            assert_eq!(second.rows_written, 3);
        });
        check(&home, "2: n/b@1.1.0 n/c@1.0.0");
    };
    check_after(|_| {});
    check_after(|index| std::fs::remove_dir_all(index).unwrap());
    check_after(|index| std::fs::write(index.join("conf"), "no configuration").unwrap());
}

#[test]
fn an_index_that_is_lost_while_generations_are_kept_is_written_with_all_of_them() {
    let home = Home::new();
    home.open(|store, _| {
        let first = store.commit(draft(world(&AB)), None).unwrap().snapshot;
        let second = store.commit(draft(world(&BC)), Some(&first)).unwrap().snapshot;
        std::fs::remove_dir_all(home.path().join("index")).unwrap();
        store.commit(draft(world(&AB)), Some(&second)).unwrap();
        assert_eq!(told_kept(store), format!("3: {TELLING_AB} | 2: {TELLING_BC}"));
    });
    home.open(|store, _| assert_eq!(told_kept(store), format!("3: {TELLING_AB} | 2: {TELLING_BC}")));
}

#[test]
fn what_a_first_load_wrote_is_read_whole_and_in_order() {
    fn take(key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (key.to_vec(), value.to_vec())
    }
    for count in [1, 15, 16, 17, 2 * BATCH_ROWS_MAX + 7] {
        let directory = tempfile::tempdir().unwrap();
        let row = |at: usize| {
            (format!("lcod://n/x{at:05}").into_bytes(), vec![at.to_be_bytes()[7]; 1 + at * 37 % 12_000])
        };
        let rows: Vec<(Vec<u8>, Vec<u8>)> = (0..count).map(row).collect();
        let (mut index, found) = Index::open(directory.path(), take).unwrap();
        assert_eq!(found, []);
        for some in rows.chunks(BATCH_ROWS_MAX) {
            let some: Vec<Written> =
                some.iter().map(|(key, value)| (key.clone(), Some(value.as_slice().into()))).collect();
            index.fill(&some).unwrap();
        }
        index.make_durable().unwrap();
        drop(index);
        let (_, found) = Index::open(directory.path(), take).unwrap();
        assert!(found == rows, "{} rows of {count}", found.len());
    }
}

#[test]
fn a_first_load_that_was_killed_half_way_is_done_again() {
    // The index is lost, and being filled anew, under the number of its generation or behind it.
    for number in [2, 3] {
        let home = two_generations();
        std::fs::remove_dir_all(home.path().join("index")).unwrap();
        home.open(|store, _| {
            let keys = ["lcod://n/b", "lcod://n/c"].map(|id| (row::key(id, number), Some(Value::default())));
            store.index.as_mut().unwrap().write(keys.into()).unwrap();
        });
        check(&home, "rebuild 2");
        home.open(|store, _| drop(store.commit(draft(world(&BC)), None).unwrap()));
        check(&home, "2: n/b@1.1.0 n/c@1.0.0");
    }
}
