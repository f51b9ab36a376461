//! The audit log: what is found when it was changed, and what is not lost when a process is killed.

use super::verify::{Seen, tail, verify};
use super::*;

fn entry(text: &str) -> Entry {
    Entry::new(Event::Denied, text).because("trust.unsigned")
}

/// A log of `count` lines, each appended by itself.
fn log(count: usize) -> (tempfile::TempDir, Audit) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut audit = Audit::open(directory.path(), None).expect("opened");
    for number in 0..count {
        audit.append(&[entry(&format!("lcod://a/{number}"))], 60).expect("appended");
    }
    (directory, audit)
}

fn read(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(FILE)).expect("read")
}

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join(FILE), text).expect("written");
}

fn faults(directory: &Path) -> Vec<String> {
    verify(directory, &[]).expect("verified").faults.into_iter().map(|fault| fault.found).collect()
}

fn subjects(directory: &Path, limit: usize) -> Vec<String> {
    tail(directory, limit).expect("read").lines.into_iter().map(|line| line.entry.subject).collect()
}

#[test]
fn lines_continue_each_other_over_restarts() {
    let (directory, _) = log(3);
    let mut again = Audit::open(directory.path(), None).expect("opened");
    assert_eq!(again.problem(), None);
    again.append(&[entry("lcod://a/3"), entry("lcod://a/4")], 61).expect("appended");
    let found = verify(directory.path(), &[]).expect("verified");
    assert_eq!((found.first, found.last, found.lines, found.faults.len()), (1, 5, 5, 0), "{found:?}");
    assert_eq!(subjects(directory.path(), 2), ["lcod://a/3", "lcod://a/4"]);
    assert_eq!(subjects(directory.path(), 99).len(), 5);
    let lines: Vec<Line> = tail(directory.path(), 9).expect("read").lines;
    assert_eq!(lines[4].time, "1970-01-01T00:01:01Z");
    assert!(
        verify(tempfile::tempdir().expect("a directory").path(), &[]).expect("verified").faults.is_empty()
    );
}

#[test]
fn a_head_is_there_before_the_first_line() {
    // A process that ended behind its first line has left the head of a log without lines.
    let (directory, mut audit) = log(0);
    audit.append(&[], 60).expect("nothing to append");
    std::fs::copy(directory.path().join(HEAD), directory.path().join("first")).expect("kept");
    audit.append(&[entry("lcod://a/0"), entry("lcod://a/1")], 60).expect("appended");
    std::fs::rename(directory.path().join("first"), directory.path().join(HEAD)).expect("put back");
    let found = verify(directory.path(), &[]).expect("verified");
    assert_eq!((found.lines, found.faults.len()), (2, 0), "{found:?}");
    let mut again = Audit::open(directory.path(), None).expect("opened");
    assert_eq!(again.problem(), None);
    assert_eq!(again.reached().map(|(last, _)| last), Some(2));
    again.append(&[entry("lcod://a/2")], 61).expect("appended");
    assert_eq!(faults(directory.path()), Vec::<String>::new());
}

#[test]
fn the_newest_lines_say_where_they_do_not_continue_each_other() {
    let (directory, _) = log(5);
    let whole = read(directory.path());
    let lines: Vec<&str> = whole.lines().collect();
    let changed = lines[3].replace("lcod://a/3", "lcod://a/x");
    // The log, how many lines are asked for, and what is found of how many that are shown.
    let check = |all: &[&str], limit: usize, expected: &str, shown: usize| {
        write(directory.path(), &all.iter().map(|line| format!("{line}\n")).collect::<String>());
        let found = tail(directory.path(), limit).expect("read");
        let texts: Vec<&str> = found.faults.iter().map(|fault| fault.found.as_str()).collect();
        assert_eq!(texts.is_empty(), expected.is_empty(), "{expected}: {texts:?}");
        assert!(texts.iter().any(|text| text.contains(expected)) || expected.is_empty(), "{texts:?}");
        assert_eq!(found.lines.len(), shown, "{expected}");
    };
    check(&lines, 5, "", 5);
    check(&lines, 2, "", 2);
    check(&lines, 99, "", 5);
    let edited = [lines[0], lines[1], lines[2], &changed, lines[4]];
    check(&edited, 5, "line 5 does not continue line 4", 5);
    check(&edited, 1, "line 5 does not continue line 4", 1);
    check(&[lines[0], lines[1], lines[3], lines[4]], 3, "line 4 does not continue line 2", 3);
    check(&[lines[0], lines[1], lines[2], "none of ours", lines[4]], 4, "no line of this log", 3);
    check(&lines[..4], 2, "line 5 was written", 2);
    check(&[], 2, "line 5 was written", 0);
    let last = lines[4].replace("lcod://a/4", "lcod://a/x");
    check(&[lines[0], lines[1], lines[2], lines[3], &last], 1, "not the one that audit.head names", 1);
}

#[test]
fn every_flipped_bit_every_line_that_is_gone_moved_or_doubled_is_found() {
    let (directory, _) = log(4);
    let whole = read(directory.path());
    let lines: Vec<&str> = whole.lines().collect();
    let check = |order: &[usize], expected: &str| {
        write(directory.path(), &order.iter().map(|at| format!("{}\n", lines[*at])).collect::<String>());
        let found = faults(directory.path());
        assert!(found.iter().any(|found| found.contains(expected)), "{order:?}: {found:?}");
    };
    check(&[1, 2, 3], "line 2 follows line 0");
    check(&[0, 2, 3], "line 3 follows line 1");
    check(&[0, 1, 2], "ends with line 3, and line 4 was written");
    check(&[0, 2, 1, 3], "line 3 follows line 1");
    check(&[0, 1, 1, 2, 3], "line 2 follows line 2");
    check(&[], "ends with line 0, and line 4 was written");
    write(directory.path(), &whole);
    assert!(faults(directory.path()).is_empty());
    for at in (0..whole.len()).filter(|at| whole.as_bytes()[*at] != b'\n') {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] ^= 1;
        std::fs::write(directory.path().join(FILE), bytes).expect("written");
        assert!(!faults(directory.path()).is_empty(), "byte {at}");
    }
}

#[test]
fn whoever_writes_everything_anew_is_found_by_what_was_noted_elsewhere() {
    let (directory, _) = log(3);
    let before = verify(directory.path(), &[]).expect("verified");
    let seen = format!("{}:{}", before.last, before.digest.expect("a digest"));
    let (other, _) = log(0);
    let mut audit = Audit::open(other.path(), None).expect("opened");
    audit.append(&[entry("x"), entry("y"), entry("z"), entry("and more")], 60).expect("appended");
    assert!(faults(other.path()).is_empty(), "nothing in the files shows it");
    let seen = Seen::parse(&seen).expect("a line that was noted");
    assert!(verify(directory.path(), std::slice::from_ref(&seen)).expect("verified").faults.is_empty());
    let found = verify(other.path(), std::slice::from_ref(&seen)).expect("verified").faults;
    assert!(found[0].found.starts_with("line 3 has digest"), "{found:?}");
    let later = Seen { seq: 9, ..seen };
    let found = verify(directory.path(), &[later]).expect("verified").faults;
    assert_eq!(found[0].found, "line 9 was noted and is gone");
}

#[test]
fn a_torn_line_is_cut_off_and_that_is_said() {
    let (directory, _) = log(2);
    let whole = read(directory.path());
    for torn in ["{\"seq\":3,", "x"] {
        write(directory.path(), &format!("{whole}{torn}"));
        let found = verify(directory.path(), &[]).expect("verified");
        assert!(found.faults.is_empty() && found.notes.len() == 1, "{found:?}");
        let mut audit = Audit::open(directory.path(), None).expect("opened");
        assert_eq!(audit.problem(), None, "nobody was promised that line");
        audit.settle(70).expect("settled");
        let last = tail(directory.path(), 1).expect("read").lines.remove(0);
        assert_eq!((last.seq, last.entry.event), (3, Event::Mended));
        let text = last.entry.text.expect("a text");
        assert!(text.starts_with(&format!("{} bytes of an unfinished line", torn.len())), "{text}");
        assert!(faults(directory.path()).is_empty());
        // The next round starts from the same two lines.
        write(directory.path(), &whole);
        durable::remove(&directory.path().join(HEAD)).expect("removed");
        let mut head = Head::empty();
        let second = whole.lines().last().expect("a line");
        (head.last, head.digest) = (2, Digest::sha256(second.as_bytes()));
        let sealed = sealed::seal(HEAD, HEAD_SCHEMA, &head).expect("sealed");
        durable::write(directory.path(), HEAD, &[&sealed]).expect("written");
    }
}

#[test]
fn lines_that_were_written_before_the_head_was_stay() {
    let (directory, _) = log(1);
    let head = std::fs::read(directory.path().join(HEAD)).expect("read");
    let mut audit = Audit::open(directory.path(), None).expect("opened");
    audit.append(&[entry("lcod://a/1"), entry("lcod://a/2")], 60).expect("appended");
    // Killed between the two.
    std::fs::write(directory.path().join(HEAD), head).expect("written");
    let found = verify(directory.path(), &[]).expect("verified");
    assert!(found.faults.is_empty() && found.notes[0].starts_with("2 lines behind"), "{found:?}");
    let mut audit = Audit::open(directory.path(), None).expect("opened");
    assert_eq!(audit.problem(), None);
    audit.append(&[entry("lcod://a/3")], 60).expect("appended");
    let found = verify(directory.path(), &[]).expect("verified");
    assert!((found.last, found.faults.len(), found.notes.len()) == (4, 0, 0), "{found:?}");
}

#[test]
fn lines_that_were_promised_and_are_gone_leave_a_gap_that_stays() {
    let check = |spoil: &dyn Fn(&Path), expected: &str| {
        let (directory, _) = log(3);
        spoil(directory.path());
        let mut audit = Audit::open(directory.path(), None).expect("opened");
        let problem = audit.problem().expect("a problem");
        assert_eq!(problem.reason, "trust.audit_damaged");
        assert!(problem.found.contains(expected), "{problem}");
        audit.append(&[entry("lcod://a/later")], 60).expect("appended");
        let events: Vec<Event> =
            tail(directory.path(), 2).expect("read").lines.iter().map(|l| l.entry.event).collect();
        assert_eq!(events, [Event::Damaged, Event::Denied]);
        assert!(Audit::open(directory.path(), None).expect("opened").problem().is_none(), "it is said once");
        directory
    };
    let drop_last = |path: &Path| {
        let whole = read(path);
        let kept: String = whole.lines().take(2).map(|line| format!("{line}\n")).collect();
        write(path, &kept);
    };
    let directory = check(&drop_last, "ends with line 2, and 3 was written");
    assert!(faults(directory.path())[0].contains("line 4 follows line 2"), "the gap stays");
    let directory = check(&|path| write(path, ""), "the log is gone, and line 3 was written");
    assert!(faults(directory.path())[0].contains("line 4 follows line 0"));
    let directory = check(&|path| write(path, &read(path).replace("a/2", "a/9")), "line 3 has other bytes");
    assert!(faults(directory.path())[0].contains("line 4 does not continue line 3"));
    let gone = |path: &Path| std::fs::remove_file(path.join(HEAD)).expect("removed");
    check(&gone, "audit.head is gone");
    let bad = |path: &Path| std::fs::write(path.join(HEAD), "{}").expect("written");
    check(&bad, "audit.head cannot be read");
}

#[test]
fn the_log_is_bounded_and_says_what_went() {
    let (directory, mut audit) = log(1);
    audit.bound(FILES_MAX * 2_000);
    for number in 0..400 {
        audit.append(&[entry(&format!("lcod://a/{number}")).saying("x".repeat(100))], 60).expect("appended");
    }
    let all = files(directory.path()).expect("listed");
    assert_eq!(all.len() as u64, FILES_MAX);
    let bytes: u64 = all.iter().map(|path| path.metadata().expect("there").len()).sum();
    assert!(bytes <= FILES_MAX * 2_000, "{bytes}");
    let found = verify(directory.path(), &[]).expect("verified");
    assert!(found.faults.is_empty() && found.notes.is_empty(), "{found:?}");
    assert!(found.first > 1 && found.last - found.first + 1 == found.lines, "{found:?}");
    let last = tail(directory.path(), 1).expect("read").lines.remove(0);
    assert_eq!((last.seq, last.entry.subject.as_str()), (found.last, "lcod://a/399"));
    let dropped = tail(directory.path(), 1_000).expect("read").lines;
    assert!(dropped.iter().any(|line| line.entry.event == Event::Dropped));
    // Somebody removes the oldest file that is kept.
    std::fs::remove_file(&all[0]).expect("removed");
    assert!(faults(directory.path())[0].contains(&format!("follows line {}", found.first - 1)));
}

#[test]
fn what_came_from_outside_is_escaped_cut_and_spread() {
    let (directory, mut audit) = log(0);
    let mut many = entry("lcod://a/x\n{\"seq\":9}\u{1b}[2J\u{202e}").saying("y".repeat(5_000));
    many.versions = (0..150).map(|number| format!("1.{number}.0")).collect();
    audit.append(&[many], 60).expect("appended");
    let text = read(directory.path());
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    let lines = tail(directory.path(), 3).expect("read").lines;
    assert_eq!(lines.iter().map(|line| line.entry.versions.len()).collect::<Vec<_>>(), [64, 64, 22]);
    assert_eq!(lines[0].entry.text.as_ref().map(String::len), Some(TEXT_MAX));
    assert!(lines[0].entry.subject.contains("\\u{1b}"), "{}", lines[0].entry.subject);
}

#[test]
fn entries_of_a_commit_that_is_tried_again_are_written_once() {
    let (directory, mut audit) = log(0);
    let some = || vec![entry("lcod://a/x"), entry("lcod://a/y")];
    audit.note(some(), 60).expect("noted");
    audit.note(some(), 61).expect("noted");
    assert_eq!(subjects(directory.path(), 9), ["lcod://a/x", "lcod://a/y"]);
    audit.note(vec![entry("lcod://a/x"), entry("lcod://a/z")], 62).expect("noted");
    assert_eq!(subjects(directory.path(), 9).len(), 3);
    audit.committed();
    audit.note(vec![entry("lcod://a/x")], 63).expect("noted");
    assert_eq!(subjects(directory.path(), 9).len(), 4);
    audit.committed();
    let before = read(directory.path());
    audit.note(Vec::new(), 64).expect("noted");
    audit.settle(64).expect("settled");
    assert_eq!(read(directory.path()), before, "nothing to say, nothing written");
}

#[test]
fn a_cut_log_without_its_head_is_found_by_what_was_remembered_elsewhere() {
    let check = |spoil: &dyn Fn(&Path), expected: &str| {
        let (directory, audit) = log(3);
        let mark = audit.reached();
        spoil(directory.path());
        let mut audit = Audit::open(directory.path(), mark).expect("opened");
        assert_eq!(audit.problem().expect("a problem").reason, "trust.audit_damaged");
        audit.append(&[entry("lcod://a/later")], 60).expect("appended");
        let found = faults(directory.path());
        assert!(found.iter().any(|found| found.contains(expected)), "{found:?}");
        assert!(found.iter().any(|found| found.contains("says that the log was not what was written")));
    };
    let cut = |path: &Path| {
        std::fs::remove_file(path.join(HEAD)).expect("removed");
        let whole = read(path);
        write(path, &whole.lines().take(1).map(|line| format!("{line}\n")).collect::<String>());
    };
    check(&cut, "line 4 follows line 1");
    let all = |path: &Path| {
        std::fs::remove_file(path.join(HEAD)).expect("removed");
        std::fs::remove_file(path.join(FILE)).expect("removed");
    };
    check(&all, "line 4 follows line 0");
    // An older head together with the lines of its time.
    let (directory, mut audit) = log(1);
    let files = [HEAD, FILE].map(|name| (name, std::fs::read(directory.path().join(name)).expect("read")));
    audit.append(&[entry("lcod://a/1")], 60).expect("appended");
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).expect("written");
    }
    let again = Audit::open(directory.path(), audit.reached()).expect("opened");
    assert!(again.problem().expect("a problem").found.contains("ends with line 1, and 2 was written"));
    // A running process knows better than a file that was put in its place.
    audit.append(&[entry("lcod://a/2")], 60).expect("appended");
    assert!(audit.problem().expect("a problem").found.contains("ends with line 1, and 2 was written"));
}

#[test]
fn a_line_about_damage_is_a_fault_until_it_is_acknowledged() {
    let (directory, mut audit) = log(1);
    audit.append(&[Entry::new(Event::Damaged, FILE), entry("lcod://a/later")], 60).expect("appended");
    assert_eq!(faults(directory.path()).len(), 1);
    let seen = |seq: u64| {
        let text = read(directory.path());
        let raw = text.lines().nth(seq as usize - 1).expect("a line");
        Seen { seq, digest: Digest::sha256(raw.as_bytes()) }
    };
    let count = |seq| verify(directory.path(), &[seen(seq)]).expect("verified").faults.len();
    assert_eq!([1, 2, 3].map(count), [1, 0, 0]);
}

#[test]
fn a_torn_end_is_cut_off_however_long_it_is() {
    let chained = |directory: &Path| -> String {
        let mut head = head_of(directory).expect("read").expect("a head");
        let text = line(&entry("lcod://a/behind"), &mut head, "1970-01-01T00:01:00Z").expect("a line");
        String::from_utf8(text).expect("text")
    };
    let check = |torn: &dyn Fn(&Path) -> Vec<u8>, kept: usize| {
        let (directory, _) = log(2);
        let whole = std::fs::read(directory.path().join(FILE)).expect("read");
        std::fs::write(directory.path().join(FILE), [whole, torn(directory.path())].concat())
            .expect("written");
        let mut audit = Audit::open(directory.path(), None).expect("opened");
        assert_eq!(audit.problem(), None, "nobody was promised any of it");
        audit.settle(70).expect("settled");
        let all = tail(directory.path(), 9).expect("read").lines;
        assert_eq!(all.len(), kept + 1);
        assert_eq!(all[kept].entry.event, Event::Mended);
        assert_eq!(faults(directory.path()), [""; 0]);
    };
    check(&|_| vec![0; 300_000], 2);
    check(&|_| [&[0; 100][..], b"\nmore\n"].concat(), 2);
    check(&|path| [chained(path).as_bytes(), &[0; 200_000]].concat(), 3);
    check(&|path| [chained(path).as_bytes(), b"nonsense\n{\"seq\":"].concat(), 3);
}

#[test]
fn many_lines_at_once_are_spread_and_no_file_is_much_larger_than_its_bound() {
    let (directory, mut audit) = log(1);
    audit.bound(FILES_MAX * 2_000);
    let many: Vec<Entry> =
        (0..300).map(|n| entry(&format!("lcod://a/{n}")).saying("x".repeat(100))).collect();
    audit.append(&many, 60).expect("appended");
    let all = files(directory.path()).expect("listed");
    assert_eq!(all.len() as u64, FILES_MAX);
    assert!(all.iter().all(|path| path.metadata().expect("there").len() <= 2_000));
    assert_eq!(subjects(directory.path(), 1), ["lcod://a/299"]);
    assert_eq!(faults(directory.path()), [""; 0]);
}

#[test]
fn a_rotation_that_is_interrupted_is_taken_up_again() {
    let (directory, mut audit) = log(1);
    audit.bound(FILES_MAX * 2_000);
    let mut next = 0;
    let mut fill = |audit: &mut Audit, files_max: usize| {
        while full_files(directory.path()).expect("listed").len() < files_max {
            audit
                .append(&[entry(&format!("lcod://a/{next}")).saying("x".repeat(100))], 60)
                .expect("appended");
            next += 1;
        }
    };
    fill(&mut audit, FILES_MAX as usize - 1);
    // Renamed, and killed before a line said that the oldest goes.
    audit.rotate().expect("rotated");
    let mut audit = Audit::open(directory.path(), None).expect("opened");
    audit.bound(FILES_MAX * 2_000);
    assert_eq!(faults(directory.path()), [""; 0]);
    audit.append(&[entry("lcod://a/behind")], 60).expect("appended");
    let found = verify(directory.path(), &[]).expect("verified");
    assert!(found.faults.is_empty() && found.first > 1, "{found:?}");
    assert_eq!(files(directory.path()).expect("listed").len() as u64, FILES_MAX);
    let newest = tail(directory.path(), 2).expect("read").lines;
    assert_eq!(newest[0].entry.event, Event::Dropped, "the line that says so comes first");
    // The head cannot be written: nothing goes before it says so.
    std::fs::remove_file(directory.path().join(HEAD)).expect("removed");
    std::fs::create_dir(directory.path().join(HEAD)).expect("made");
    std::fs::write(directory.path().join(HEAD).join("x"), "").expect("written");
    audit.rotate().expect("rotated");
    audit.append(&[entry("lcod://a/no-head")], 60).expect("appended");
    assert_eq!(files(directory.path()).expect("listed").len() as u64, FILES_MAX + 1);
    std::fs::remove_dir_all(directory.path().join(HEAD)).expect("removed");
    audit.settle(60).expect("settled");
    let found = verify(directory.path(), &[]).expect("verified");
    assert!(found.faults.is_empty() && found.notes.is_empty(), "{found:?}");
    assert_eq!(files(directory.path()).expect("listed").len() as u64, FILES_MAX);
    let dropped = tail(directory.path(), 1_000).expect("read").lines;
    assert_eq!(dropped.iter().filter(|line| line.entry.event == Event::Dropped).count(), 2);
}
