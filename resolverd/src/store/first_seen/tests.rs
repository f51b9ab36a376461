//! The first-seen ledger: the first bytes stay, over restarts and damage, until they are forgotten.

use super::*;

/// A source, a version and what it holds.
type Made<'a> = (&'a str, &'a str, &'a str);

fn sighting<'a>((source, version, content): Made<'a>) -> Sighting<'a> {
    let digest = Digest::sha256(content.as_bytes());
    Sighting {
        source,
        id: "lcod://a/x",
        version,
        digest,
        signers: vec!["one".to_owned(), "two".to_owned()],
        at_s: None,
    }
}

fn open(directory: &Path) -> FirstSeen {
    FirstSeen::at(directory, 0).expect("opened")
}

fn note(ledger: &mut FirstSeen, made: &[Made<'_>], now_s: i64) {
    ledger.note(made.iter().copied().map(sighting), now_s).expect("noted");
}

/// Says what is known of each version: the content that it has, or nothing.
fn known(ledger: &FirstSeen, versions: &[&str]) -> Vec<Option<(i64, String)>> {
    let one = |version: &&str| ledger.known("s", "lcod://a/x", version).expect("read");
    versions
        .iter()
        .map(one)
        .map(|seen| seen.map(|seen| (seen.at_s, seen.digest.hex()[..4].to_owned())))
        .collect()
}

/// What one version is in the file.
fn looked_up(directory: &Path, version: &str) -> Option<(i64, String)> {
    let found = FirstSeen::look_up(directory, ["s", "lcod://a/x", version], &Digest::sha256(b"b"));
    found.expect("read").map(|seen| (seen.at_s, seen.digest.hex()[..4].to_owned()))
}

fn some(at_s: i64, content: &str) -> Option<(i64, String)> {
    Some((at_s, Digest::sha256(content.as_bytes()).hex()[..4].to_owned()))
}

#[test]
fn the_first_bytes_stay_whoever_comes_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    assert_eq!(known(&ledger, &["1.0.0"]), [None]);
    note(&mut ledger, &[("s", "1.0.0", "a"), ("s", "2.0.0", "b")], 7);
    note(&mut ledger, &[("s", "1.0.0", "other"), ("t", "1.0.0", "c")], 9);
    for ledger in [ledger, open(directory.path())] {
        assert_eq!(known(&ledger, &["1.0.0", "2.0.0", "3.0.0"]), [some(7, "a"), some(7, "b"), None]);
        let of = |source| ledger.known(source, "lcod://a/x", "1.0.0").expect("read").map(|seen| seen.at_s);
        assert_eq!((of("t"), of("u")), (Some(9), None), "sources know nothing of each other");
        let other = |content: &str| {
            let digest = Digest::sha256(content.as_bytes());
            let own = ledger.of("s", "lcod://a/x").expect("read");
            own.version("1.0.0").is_some_and(|seen| !seen.is_of(&digest))
        };
        assert!(!other("a") && other("b"));
    }
    let text = std::fs::read_to_string(directory.path().join(FILE)).expect("read");
    assert_eq!(text.lines().count(), 3);
    let line: Vec<&str> = text.lines().next().expect("a line").split('\t').skip(1).collect();
    let digest = Digest::sha256(b"a").to_string();
    assert_eq!(line, ["7", "s", "lcod://a/x", "1.0.0", &digest, "one,two"]);
}

#[test]
fn nothing_is_written_where_nothing_is_new() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    note(&mut ledger, &[], 7);
    assert!(!directory.path().join(FILE).exists());
    note(&mut ledger, &[("s", "1.0.0", "a")], 7);
    let before = std::fs::read(directory.path().join(FILE)).expect("read");
    note(&mut ledger, &[("s", "1.0.0", "b"), ("s", "1.0.0", "a")], 8);
    assert_eq!(std::fs::read(directory.path().join(FILE)).expect("read"), before);
    let mut nowhere = FirstSeen::default();
    note(&mut nowhere, &[("s", "1.0.0", "a")], 7);
    assert_eq!(known(&nowhere, &["1.0.0"]), [None]);
}

#[test]
fn what_is_forgotten_is_new_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    note(&mut ledger, &[("s", "1.0.0", "a"), ("s", "2.0.0", "b")], 7);
    let id = "lcod://a/x";
    assert!(!ledger.forget(&["s"], id, "9.0.0", 8).expect("asked"), "nobody knows it");
    assert!(!ledger.forget(&["t"], id, "1.0.0", 8).expect("asked"), "not from there");
    for round in 1..4 {
        assert!(ledger.forget(&["t", "s"], id, "1.0.0", 8).expect("forgotten"));
        assert!(ledger.is_forgotten(id, "1.0.0") && !ledger.is_forgotten(id, "2.0.0"));
        assert_eq!(known(&ledger, &["1.0.0", "2.0.0"]), [None, some(7, "b")]);
        assert_eq!(known(&open(directory.path()), &["1.0.0"]), [None]);
        assert_eq!(looked_up(directory.path(), "1.0.0"), None);
        assert_eq!(looked_up(directory.path(), "2.0.0"), known(&ledger, &["2.0.0"])[0]);
        let content = format!("round {round}");
        note(&mut ledger, &[("s", "1.0.0", &content)], 10 + round);
        assert!(!ledger.is_forgotten(id, "1.0.0"));
        for ledger in [&ledger, &open(directory.path())] {
            assert_eq!(known(ledger, &["1.0.0", "2.0.0"]), [some(10 + round, &content), some(7, "b")]);
        }
    }
}

#[test]
fn a_torn_line_is_cut_off_and_a_damaged_one_counts_as_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE);
    let mut ledger = open(directory.path());
    note(&mut ledger, &[("s", "1.0.0", "a"), ("s", "2.0.0", "b")], 7);
    let whole = std::fs::read(&path).expect("read");
    for torn in [&b"0123"[..], &[b'x'; 100], &[0; 16 << 10], &[0; 300_000]] {
        std::fs::write(&path, [&whole, torn].concat()).expect("written");
        let ledger = open(directory.path());
        assert_eq!(known(&ledger, &["1.0.0", "2.0.0"]), [some(7, "a"), some(7, "b")]);
        assert_eq!((std::fs::read(&path).expect("read"), ledger.problem()), (whole.clone(), None));
    }
    for at in (0..whole.len()).filter(|at| whole[*at] != b'\n') {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).expect("written");
        let ledger = open(directory.path());
        let both = [some(7, "a"), some(7, "b")];
        let found = known(&ledger, &["1.0.0", "2.0.0"]);
        assert!(found.iter().zip(&both).all(|(found, good)| found.is_none() || found == good), "byte {at}");
        // A flipped case of a hex digit of the checksum is the same number.
        assert!(
            found.contains(&None) == ledger.problem().is_some() && (found != both || at < 140),
            "byte {at}"
        );
    }
    let long = [&whole[..], &[b'y'; 20_000], b"\n", &whole].concat();
    std::fs::write(&path, long).expect("written");
    let ledger = open(directory.path());
    assert_eq!(known(&ledger, &["1.0.0", "2.0.0"]), [some(7, "a"), some(7, "b")]);
    assert_eq!(ledger.problem().expect("a problem").reason, "trust.ledger_damaged");
}

#[test]
fn a_version_costs_49_bytes() {
    assert_eq!((size_of::<Entry>(), size_of::<u32>() / ENTRIES_ALIKE), (48, 1));
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    let some = |from: u32, to: u32| -> Vec<String> { (from..to).map(|n| format!("{n}.0.0")).collect() };
    let add = |ledger: &mut FirstSeen, versions: Vec<String>| {
        note(ledger, &versions.iter().map(|version| ("s", version.as_str(), "a")).collect::<Vec<_>>(), 7);
    };
    add(&mut ledger, some(0, 3_000));
    let table = ledger.table().expect("read");
    assert_eq!(
        (table.entries.entries.len(), table.entries.entries.capacity(), table.later.capacity()),
        (3_000, 3_000, 0)
    );
    // A few more stay beside them until they are many.
    for number in 3_000..3_400 {
        add(&mut ledger, some(number, number + 1));
    }
    let table = ledger.table().expect("read");
    assert_eq!(table.entries.entries.len() + table.later.len(), 3_400);
    assert!(table.later.len() <= table.entries.entries.len() / 16);
    assert!(table.entries.starts.len() <= table.entries.entries.len() / ENTRIES_ALIKE + 1);
    let later = open(directory.path());
    for version in ["0.0.0", "2999.0.0", "3000.0.0", "3399.0.0"] {
        assert_eq!(known(&ledger, &[version]), known(&later, &[version]), "{version}");
    }
    let table = later.table().expect("read");
    assert_eq!((table.entries.entries.len(), table.entries.entries.capacity()), (3_400, 3_400));
}

#[test]
fn a_lost_cut_or_damaged_ledger_is_made_up_for_once() {
    let check = |spoil: &dyn Fn(&Path), reason: &str, is_cut: bool| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let mut ledger = open(directory.path());
        note(&mut ledger, &[("s", "1.0.0", "a"), ("s", "2.0.0", "b")], 7);
        assert_eq!(ledger.gap().expect("read"), None);
        let promised = ledger.length().expect("read");
        spoil(&path);
        let mut ledger = FirstSeen::at(directory.path(), if is_cut { promised } else { 0 }).expect("opened");
        ledger.read().expect("read");
        let gap = ledger.gap().expect("read").expect("a gap");
        assert_eq!(gap.reason, reason);
        let both = [("s", "1.0.0", "a"), ("s", "2.0.0", "b")]
            .map(sighting)
            .map(|one| Sighting { at_s: Some(7), ..one });
        assert!(ledger.recall(gap, both.into_iter(), 99).expect("recalled"));
        assert_eq!(ledger.problem().expect("a problem").reason, reason);
        assert_eq!(ledger.gap().expect("read"), None, "once");
        let length = ledger.length().expect("read");
        let later = FirstSeen::at(directory.path(), length).expect("opened");
        for ledger in [&ledger, &later] {
            assert_eq!(known(ledger, &["1.0.0", "2.0.0"]), [some(7, "a"), some(7, "b")]);
        }
        assert_eq!(
            (later.gap().expect("read"), later.problem()),
            (None, None),
            "what was made up for is told once"
        );
    };
    check(&|path| std::fs::remove_file(path).expect("removed"), "trust.ledger_lost", true);
    check(&|path| std::fs::write(path, "").expect("written"), "trust.ledger_lost", true);
    let first = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("read");
        std::fs::write(path, text.lines().next().expect("a line").to_owned() + "\n").expect("written");
    };
    check(&first, "trust.ledger_lost", true);
    let flip = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("read");
        std::fs::write(path, text.replacen("1.0.0", "1.0.1", 1)).expect("written");
    };
    check(&flip, "trust.ledger_damaged", false);
    let directory = tempfile::tempdir().expect("a directory");
    let mut new = open(directory.path());
    let gap = new.gap().expect("read").expect("no file");
    assert!(!new.recall(gap.clone(), std::iter::empty(), 7).expect("recalled"), "nothing was ever let in");
    assert_eq!(new.problem(), None);
    let old = std::iter::once(("s", "1.0.0", "a")).map(sighting);
    assert!(!new.recall(gap, old, 7).expect("recalled"), "a program without a ledger was here before");
    assert_eq!((new.problem(), new.gap().expect("read")), (None, None));
    assert_eq!(known(&new, &["1.0.0"]), [some(7, "a")]);
}

#[test]
fn what_was_forgotten_last_is_known_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    note(&mut ledger, &[("s", "1.0.0", "a"), ("s", "2.0.0", "b")], 7);
    for version in ["1.0.0", "2.0.0"] {
        assert!(ledger.forget(&["s"], "lcod://a/x", version, 8).expect("forgotten"));
    }
    let mut ledger = open(directory.path());
    assert!(ledger.is_forgotten("lcod://a/x", "1.0.0") && ledger.is_forgotten("lcod://a/x", "2.0.0"));
    note(&mut ledger, &[("s", "1.0.0", "c")], 9);
    assert!(!open(directory.path()).is_forgotten("lcod://a/x", "1.0.0"));
}

#[test]
fn every_version_of_many_is_found_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = open(directory.path());
    let versions: Vec<String> = (0..3000).map(|number| format!("{number}.0.0")).collect();
    for some in versions.chunks(1700) {
        let made: Vec<Made<'_>> =
            some.iter().map(|version| ("s", version.as_str(), version.as_str())).collect();
        note(&mut ledger, &made, 7);
    }
    for ledger in [ledger, open(directory.path())] {
        for version in &versions {
            assert_eq!(known(&ledger, &[version, &format!("{version}-a")]), [some(7, version), None]);
        }
    }
}

#[test]
fn of_many_lines_in_any_order_the_first_of_each_version_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut file = Vec::new();
    for content in ["first", "later"] {
        for number in 0..500 {
            for id in ["lcod://a/x", "lcod://a/xx"] {
                let digest = Digest::sha256(format!("{content} {id} {number}").as_bytes()).to_string();
                let texts = ["s", id, &number.to_string(), &digest, ""];
                write_line(&mut file, 7, &texts).expect("a buffer takes every byte");
            }
        }
    }
    std::fs::write(directory.path().join(FILE), file).expect("written");
    let ledger = open(directory.path());
    for number in 0..500 {
        for id in ["lcod://a/x", "lcod://a/xx"] {
            let seen = ledger.known("s", id, &number.to_string()).expect("read").expect("known");
            assert_eq!(
                seen.digest,
                Digest::sha256(format!("first {id} {number}").as_bytes()),
                "{id} {number}"
            );
        }
    }
}
