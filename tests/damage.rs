//! Damage to every kind of file that is kept: flipped bits, zeroed blocks, truncation, loss, swapped pages, older copies. What
//! is answered then is right, or an error that says what is wrong; after a repair and a sync everything is right.
//!
//! `RESOLVERD_DAMAGES` says how many cases there are.

use std::path::{Path, PathBuf};

use crate::harness::chance::{self, Chance};
use crate::harness::daemon::Sandbox;
use crate::harness::place;
use crate::harness::world::{Served, World, copy, named, served, sync};

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Zero,
    Cut,
    Loss,
    Swap,
    Stale,
}

const ALL: [Damage; 6] = [Damage::Flip, Damage::Zero, Damage::Cut, Damage::Loss, Damage::Swap, Damage::Stale];

/// How long a block is that is lost or swapped.
const BLOCK: usize = 512;

/// Damages a file; `older` is what it said one round before. `false` where that is not possible.
fn strike(path: &Path, damage: Damage, older: &Path, chance: &mut Chance) -> bool {
    let mut bytes = std::fs::read(path).unwrap();
    let before = bytes.clone();
    // Most of an index is zeroes that nobody reads.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let place = |chance: &mut Chance| used[chance.index(used.len())];
    match damage {
        Damage::Flip => bytes[place(chance)] ^= 1 << chance.below(8),
        Damage::Zero => {
            let start = place(chance) / BLOCK * BLOCK;
            let end = bytes.len().min(start + BLOCK);
            bytes[start..end].fill(0);
        }
        Damage::Cut => bytes.truncate(place(chance)),
        Damage::Loss => {
            std::fs::remove_file(path).unwrap();
            return true;
        }
        Damage::Swap => {
            let length = BLOCK.min(bytes.len() / 2);
            let (one, other) = (place(chance) / length, place(chance) / length);
            let (one, other) = (one.min(other) * length, one.max(other) * length);
            if one == other || other + length > bytes.len() {
                return false;
            }
            let (low, high) = bytes.split_at_mut(other);
            low[one..one + length].swap_with_slice(&mut high[..length]);
        }
        Damage::Stale => match std::fs::read(older) {
            Ok(older) => bytes = older,
            Err(_) => return false,
        },
    }
    std::fs::write(path, &bytes).unwrap();
    bytes != before
}

/// Every file that is kept, from the state directory.
fn files(state: &Path) -> Vec<PathBuf> {
    fn walk(at: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), found),
                false => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    walk(state, &mut found);
    let mut found: Vec<PathBuf> =
        found.into_iter().map(|path| path.strip_prefix(state).unwrap().to_owned()).collect();
    found.retain(|path| path != Path::new("lock"));
    found.sort();
    found
}

/// A world after two rounds, and a copy of its state after the first.
fn two_rounds() -> (World, PathBuf) {
    let world = World::synced(1);
    let older = world.sandbox.path("older");
    copy(&world.sandbox.state(), &older);
    world.publish(2);
    sync(&world.sandbox);
    (world, older)
}

fn status(sandbox: &Sandbox) -> String {
    let said = sandbox.run(&["status", "--offline", "-o", "json"]);
    if said.status == 0 { said.stdout } else { named(&said) }
}

#[test]
fn damage_never_gives_a_wrong_answer_and_everything_is_right_after_a_sync() {
    let (world, older) = two_rounds();
    chance::shared(chance::count("RESOLVERD_DAMAGES", 24, 1_000), |chance, cases| {
        damaged(&world, &older, chance, cases);
    });
}

fn damaged(world: &World, older: &Path, mut chance: Chance, cases: u64) {
    let files = files(&world.sandbox.state());
    let (mut right, mut said, mut done) = (0u64, 0u64, 0u64);
    while done < cases {
        let file = &files[chance.index(files.len())];
        let damage = ALL[chance.index(ALL.len())];
        let sandbox = world.beside(&world.sandbox.state());
        if !strike(&sandbox.state().join(file), damage, &older.join(file), &mut chance) {
            continue;
        }
        done += 1;
        let what = format!("case {done}: {damage:?} of {}", file.display());
        match served(&sandbox) {
            Served::Round(2) => right += 1,
            Served::Round(1) => {
                let status = status(&sandbox);
                assert!(
                    status.contains("store.older_generation"),
                    "{what}: an older round, unsaid: {status}"
                );
                said += 1;
            }
            Served::Round(round) => panic!("{what}: round {round} is served"),
            Served::Refused(_) => said += 1,
        }
        let repaired = sandbox.run(&["doctor", "--repair", "-o", "json"]);
        assert!([0, 1].contains(&repaired.status), "{what}: {repaired:?}");
        recover(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(2), "{what}: after a repair and a sync");
        assert!(!status(&sandbox).contains("store.older_generation"), "{what}: still said after a sync");
        // What the memory holds is as good as before: the round before is still refused.
        assert_eq!(
            sandbox.run(&["doctor", "--deep"]).status,
            0,
            "{what}: {:?}",
            sandbox.run(&["doctor", "--deep"])
        );
    }
    eprintln!("{cases} cases: {right} answered right at once, {said} with a named error first");
}

/// Every kind of file that is kept: one of each directory, and those beside them.
fn kinds(state: &Path) -> Vec<PathBuf> {
    let mut seen = std::collections::BTreeSet::new();
    let name = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => path.to_owned(),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    // The newest of each directory is the one that matters most.
    files(state)
        .into_iter()
        .rev()
        .filter(|path| seen.insert((name(path), path.extension().map(ToOwned::to_owned))))
        .collect()
}

/// Syncs, after an operator has accepted that the memory of revisions is lost, where it is; it must succeed.
fn recover(sandbox: &Sandbox) {
    match status(sandbox).contains("trust.state_lost") {
        true => assert_eq!(sandbox.run(&["trust", "reset", "--reason", "a case"]).status, 0),
        false => sync(sandbox),
    }
}

#[test]
fn a_repair_mends_every_kind_of_damage_or_says_what_it_leaves_and_who_mends_it() {
    let mut chance = Chance::told();
    let (world, older) = two_rounds();
    let kinds = kinds(&world.sandbox.state());
    assert!(kinds.len() > 6, "{kinds:?}");
    let every = usize::try_from(chance::count("RESOLVERD_REPAIRS", 3, 1)).unwrap();
    let all = kinds.iter().flat_map(|file| ALL.map(|damage| (file, damage)));
    let (mut mended, mut left) = (0, 0);
    for (file, damage) in all.skip(chance.index(every)).step_by(every) {
        let sandbox = world.beside(&world.sandbox.state());
        if !strike(&sandbox.state().join(file), damage, &older.join(file), &mut chance) {
            continue;
        }
        let what = format!("{damage:?} of {}", file.display());
        let said = sandbox.run(&["doctor", "--repair", "-o", "json"]);
        assert!([0, 1].contains(&said.status), "{what}: {said:?}");
        let repaired: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        let remains = repaired["repair"]["left"].as_array().unwrap_or_else(|| panic!("{what}: {repaired:#}"));
        for one in remains {
            assert!(!one["hint"].as_str().unwrap().is_empty(), "{what}: {one:#}");
        }
        // What a repair does not own up to is as if nothing had happened; what it does, the next step mends.
        let found = served(&sandbox);
        let is_said = !remains.is_empty() || status(&sandbox).contains("store.older_generation");
        assert!(found == Served::Round(2) || is_said, "{what}: {found:?} after {repaired:#}");
        if remains.is_empty() && found == Served::Round(2) {
            mended += 1;
            let deep = sandbox.run(&["doctor", "--deep"]);
            assert_eq!(deep.status, 0, "{what}: {deep:?}");
        } else {
            left += 1;
        }
        recover(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(2), "{what}: after a sync");
    }
    eprintln!("{mended} mended, {left} left to a sync, by name");
}

#[test]
fn a_changed_digit_in_the_memory_is_seen_by_doctor_and_named_by_a_repair() {
    let world = World::synced(1);
    let sandbox = &world.sandbox;
    let path = sandbox.state().join("trust-state.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("highest_s\":1").unwrap() + "highest_s\":1".len();
    let digit = if text.as_bytes()[at] == b'7' { "8" } else { "7" };
    let mut bad = text.clone();
    bad.replace_range(at..=at, digit);
    std::fs::write(&path, bad).unwrap();
    let said = sandbox.run(&["doctor", "-o", "json"]);
    assert!(
        said.status == 1 && said.stdout.contains("store.memory") && said.stdout.contains("digest"),
        "{said:?}"
    );
    let said = sandbox.run(&["doctor", "--repair", "-o", "json"]);
    assert!(said.stdout.contains("trust-state.json") && said.stdout.contains("backup"), "{said:?}");
    std::fs::write(&path, text).unwrap();
    assert_eq!(sandbox.run(&["doctor"]).status, 0);
}

#[test]
fn an_older_pointer_does_not_bring_an_older_generation_back() {
    let (world, older) = two_rounds();
    std::fs::copy(older.join("current"), world.sandbox.state().join("current")).unwrap();
    assert_eq!(served(&world.sandbox), Served::Round(2));
}

#[test]
fn a_lost_generation_is_said_until_the_next_sync() {
    let (world, _) = two_rounds();
    std::fs::remove_file(world.sandbox.state().join("generations/2.json")).unwrap();
    for _ in 0..2 {
        assert_eq!(served(&world.sandbox), Served::Round(1));
        assert!(status(&world.sandbox).contains("store.older_generation"));
    }
    sync(&world.sandbox);
    assert_eq!(served(&world.sandbox), Served::Round(2));
    assert!(!status(&world.sandbox).contains("store.older_generation"));
}

#[test]
fn an_older_copy_of_the_memory_does_not_let_an_older_revision_in() {
    let (world, older) = two_rounds();
    let sandbox = &world.sandbox;
    std::fs::copy(older.join("trust-state.json"), sandbox.state().join("trust-state.json")).unwrap();
    world.publish(1);
    let said = sandbox.run(&["sync"]);
    assert!(said.status == 1 && said.stderr.contains("trust.state_lost"), "{said:?}");
    let said = sandbox.run(&["trust", "reset", "--reason", "a case", "-o", "json"]);
    assert!(format!("{said:?}").contains("trust.rollback"), "{said:?}");
    assert_eq!(served(sandbox), Served::Round(2));
}

#[test]
fn a_clock_that_was_anywhere_does_not_change_what_is_answered() {
    // 1970, 2038, 2106, and the ends of what can be written.
    for time_s in [0, i64::from(i32::MAX), i64::from(u32::MAX), i64::MAX, i64::MIN] {
        let world = World::synced(1);
        let sandbox = &world.sandbox;
        place::reseal(&sandbox.state().join("trust-state.json"), |content| {
            content["highest_s"] = time_s.into()
        });
        place::reseal(&sandbox.state().join("checks.json"), |content| content["changing"] = time_s.into());
        match served(sandbox) {
            Served::Round(round) => assert_eq!(round, 1, "{time_s}"),
            Served::Refused(why) => assert!(why.contains("source.expired"), "{time_s}: {why}"),
        }
        world.publish(2);
        sync(sandbox);
        assert_eq!(served(sandbox), Served::Round(2), "{time_s}: a sync goes on");
        let said = status(sandbox).contains("clock.backwards");
        assert_eq!(said, time_s > i64::from(i32::MAX) - 1, "{time_s}: a clock behind the memory is said");
    }
}

/// Rewrites the only generation file to another format, and the pointer to it where it is to be `certain`.
fn of_format(sandbox: &Sandbox, format: &str, certain: bool) {
    let path = sandbox.state().join("generations/1.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("resolverd/generation@2", format);
    assert!(text.contains(format));
    let digest = catalogue_schema::digest::Digest::sha256(text.as_bytes());
    std::fs::write(&path, text).unwrap();
    if certain {
        let path = sandbox.state().join("current");
        let mut current: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        current["digest"] = digest.to_string().into();
        std::fs::write(path, current.to_string()).unwrap();
    }
}

#[test]
fn a_generation_of_another_version_of_the_program_is_named_everywhere_until_a_sync() {
    let cases = [
        ("resolverd/generation@1", true, "store.older_format", "an older version of the program wrote"),
        ("resolverd/generation@3", true, "store.newer_format", "a newer version of the program wrote"),
        ("resolverd/generation@1", false, "store.older_format", "the file is damaged"),
        ("resolverd/generation@30", false, "store.newer_format", "the file is damaged"),
    ];
    for (format, certain, reason, words) in cases {
        let world = World::synced(1);
        let sandbox = &world.sandbox;
        of_format(sandbox, format, certain);
        let kept = |name: &str| std::fs::read(sandbox.state().join(name)).unwrap();
        let before = (kept("current"), kept("generations/1.json"));
        let names = || files(&sandbox.state().join("shelf"));
        let shelf = names();
        for arguments in [
            &["resolve", "--offline", "lcod://crash/part00"][..],
            &["components", "--offline"],
            &["status", "--offline"],
            &["status", "--offline", "-o", "json"],
            &["doctor"],
            &["doctor", "--repair"],
        ] {
            let said = sandbox.run(arguments);
            let text = format!("{}{}", said.stdout, said.stderr);
            let what = format!("{format} {arguments:?}: {said:?}");
            assert_eq!(said.status, i32::from(arguments[0] != "status"), "{what}");
            for word in [format, "resolverd/generation@2", words, "nothing was thrown away", "resolverd sync"]
            {
                assert!(text.contains(word), "{word}: {what}");
            }
            assert!(
                arguments[0] == "doctor" && !text.contains("not repaired") || text.contains(reason),
                "{what}"
            );
            assert!(
                !text.contains("nothing has been synced") && !text.contains("no generation file"),
                "{what}"
            );
            assert!(arguments[..] != ["doctor"] || !text.contains("--repair"), "{what}");
            assert!((kept("current"), kept("generations/1.json")) == before && names() == shelf, "{what}");
        }
        let rows = || {
            let index = sandbox.path("index-copy");
            copy(&sandbox.state().join("index"), &index);
            files(&index)
        };
        assert!(!rows().is_empty() && !sandbox.state().join("index.bad-1").exists(), "{format}");
        sync(sandbox);
        assert_eq!(served(sandbox), Served::Round(1), "{format}");
        for arguments in [
            &["resolve", "--offline", "lcod://crash/part00"][..],
            &["status", "--offline"],
            &["sync"],
            &["doctor", "--deep"],
        ] {
            let said = sandbox.run(arguments);
            let text = format!("{}{}", said.stdout, said.stderr);
            assert_eq!(said.status, 0, "{format} {arguments:?}: {said:?}");
            assert!(
                !text.contains("generation@") && !text.contains("WARN") && !text.contains("format"),
                "{format} {arguments:?}: {said:?}"
            );
        }
    }
}

#[test]
fn a_read_beside_a_generation_of_another_version_says_why_it_syncs() {
    let world = World::synced(1);
    of_format(&world.sandbox, "resolverd/generation@3", true);
    let said = world.sandbox.run(&["resolve", "lcod://crash/part00"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.stderr.contains("store.newer_format") && said.stderr.contains("reading the sources first"),
        "{said:?}"
    );
    assert_eq!(served(&world.sandbox), Served::Round(1));
}

#[test]
fn a_generation_of_another_version_is_replaced_only_when_every_source_is_read() {
    let world = World::synced(1);
    of_format(&world.sandbox, "resolverd/generation@3", true);
    let alone = world.beside(&world.sandbox.state());
    std::fs::remove_dir_all(world.sandbox.path("published")).unwrap();
    let kept = || {
        let read = |name: &str| std::fs::read(alone.state().join(name)).unwrap();
        (read("current"), read("generations/1.json"), files(&alone.state().join("shelf")))
    };
    let before = kept();
    for arguments in [&["sync"][..], &["resolve", "lcod://crash/part00"], &["components"]] {
        let said = alone.run(arguments);
        assert_ne!(said.status, 0, "{arguments:?}: {said:?}");
        for word in ["store.newer_format", "before every source is read"] {
            assert!(said.stderr.contains(word), "{word}: {arguments:?}: {said:?}");
        }
        assert!(kept() == before, "{arguments:?}");
    }
    let status = alone.run(&["status", "--offline"]);
    assert!(status.stdout.contains("resolverd/generation@3"), "{status:?}");
}
