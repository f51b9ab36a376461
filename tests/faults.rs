//! What a kernel, a disk or an administrator can refuse: full disks, failing writes and syncs, read-only file systems, no more
//! descriptors or inodes, every umask, planted links and foreign owners. Answers stay right, errors say what failed, and things
//! go on by themselves once there is room again.
//!
//! `RESOLVERD_FAULTS` says how many of all failing calls are tried.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::chance::{self, Chance};
use crate::harness::daemon::{Said, Sandbox, mode};
use crate::harness::trace::{Point, Step};
use crate::harness::world::{Served, World, named, round_of, served, sync};
use crate::harness::{place, trace};

/// What a call is made to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// It fails, once or from there on.
    Error(&'static str, &'static str),
    /// Nothing was written, and the call says so: the least that a short write can be.
    Nothing,
    /// Nothing was written, and the call says that one byte was.
    Lie,
}

/// Returns everything that can be made of a point.
fn faults(point: &Point) -> Vec<Fault> {
    let errors = ["ENOSPC", "EIO", "EDQUOT"].into_iter();
    let mut all: Vec<Fault> =
        errors.flat_map(|error| ["", "+"].map(|more| Fault::Error(error, more))).collect();
    if ["write", "pwrite64"].contains(&&*point.call) {
        all.extend([Fault::Nothing, Fault::Lie]);
    }
    all
}

/// Runs a sync of round 2 with a fault at a point, and returns the log.
fn injected(world: &World, Point { call, number }: &Point, fault: &Fault) -> String {
    let answer = match fault {
        Fault::Error(error, more) => format!("error={error}:when={number}{more}"),
        Fault::Nothing => format!("retval=0:when={number}"),
        Fault::Lie => format!("retval=1:when={number}"),
    };
    let fault_text = format!("{call}:{answer}");
    let sandbox = world.beside(&world.sandbox.state());
    let inject = format!("inject={fault_text}");
    let (said, log) = trace::run(&sandbox, &["-e", &format!("trace={call}"), "-e", &inject], &["sync"]);
    // Where no file can be opened the system does not get as far as the program.
    let is_started = !said.stderr.contains("error while loading shared libraries");
    assert!(
        !is_started || (0..101).contains(&said.status) && !said.stderr.contains("panicked at"),
        "{fault_text}: {said:?}"
    );
    let found = served(&sandbox);
    let is_whole = [Served::Round(1), Served::Round(2)].contains(&found);
    // With every call failing, from the first on, a process cannot even say what is wrong.
    match (said.status, fault) {
        // A disk that says what is not so may cost an acknowledged round, and never gives a wrong answer.
        (_, Fault::Lie) => {
            assert!(
                is_whole || matches!(found, Served::Refused(_)),
                "{fault_text}: {found:?} after {said:?}"
            );
        }
        (0, _) if said.stdout.contains("generation 2") => {
            assert_eq!(found, Served::Round(2), "{fault_text}: {said:?}");
        }
        _ => assert!(is_whole, "{fault_text}: {found:?} after {said:?}"),
    }
    let mut said = sandbox.run(&["sync"]);
    if *fault == Fault::Lie && said.status != 0 {
        // What cannot be made again is missed, and what to do is said.
        assert!(named(&said).contains("resolverd trust reset"), "{fault_text}: {said:?}");
        assert_eq!(sandbox.run(&["trust", "reset", "--reason", "the disk"]).status, 0, "{fault_text}");
        said = sandbox.run(&["sync"]);
    }
    assert_eq!(said.status, 0, "{fault_text}: {said:?}");
    assert_eq!(served(&sandbox), Served::Round(2), "{fault_text}: a sync afterwards");
    log
}

#[test]
fn a_write_or_sync_that_fails_anywhere_loses_nothing() {
    if !trace::is_here() {
        return;
    }
    let world = World::synced(1);
    world.publish(2);
    let recorded = world.beside(&world.sandbox.state());
    let which = format!("trace={},{}", trace::WRITES, trace::SYNCS);
    let (said, log) = trace::run(&recorded, &["-y", "-e", &which], &["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
    let points = trace::points(&log);
    let all: Vec<(&Point, Fault)> =
        points.iter().flat_map(|point| faults(point).into_iter().map(move |fault| (point, fault))).collect();
    // All of them, or every n-th, from a place that chance says.
    let tries = chance::count("RESOLVERD_FAULTS", 18, all.len() as u64);
    let (offset, next) = (Chance::told().index(all.len()), AtomicUsize::new(0));
    let missed = Mutex::new(Vec::new());
    chance::shared(tries, |_, share| {
        for _ in 0..share {
            let nth = next.fetch_add(1, Ordering::Relaxed) as u64;
            let at = usize::try_from(nth * all.len() as u64 / tries).unwrap();
            let (point, fault) = &all[(offset + at) % all.len()];
            let log = injected(&world, point, fault);
            if !log.contains("(INJECTED)") {
                let made = trace::most(&log, &point.call);
                missed.lock().unwrap().push(format!("{point:?}: this time no thread made more than {made}"));
            }
        }
    });
    let (missed, mut kinds) = (missed.into_inner().unwrap(), BTreeMap::<&str, usize>::new());
    points.iter().for_each(|point| *kinds.entry(&point.call).or_default() += 1);
    eprintln!("{} points ({kinds:?}), {} faults at them", points.len(), all.len());
    eprintln!(
        "{tries} runs from number {offset} on: {} struck, {missed:#?} missed",
        tries - missed.len() as u64
    );
    assert!(missed.len() as u64 * 10 <= tries, "most points are met again");
}

#[test]
fn a_daemon_whose_syncs_fail_serves_on_and_recovers_by_itself() {
    if !trace::is_here() {
        return;
    }
    let world = World::synced(1);
    let daemon = world.sandbox.start();
    daemon.sync();
    world.publish(2);
    let log = world.sandbox.path("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-p", &daemon.pid().to_string(), "-e", "inject=fsync:error=EIO", "-o"]).arg(&log);
    let mut tracer = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It says so once it is attached; every thread is then.
    let mut said = std::io::BufReader::new(tracer.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    let answer = daemon.post("/v1/sync", &serde_json::json!({}));
    assert_ne!(answer.status, 200, "{answer}");
    assert!(answer.to_string().contains("sync"), "the error names what failed: {answer}");
    let ids: Vec<String> = daemon.ids();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(round_of(&daemon.resolve(&ids).ok()), 1, "the last generation answers");
    rustix::process::kill_process(rustix::process::Pid::from_child(&tracer), rustix::process::Signal::INT)
        .unwrap();
    tracer.wait().unwrap();
    daemon.sync();
    assert_eq!(round_of(&daemon.resolve(&ids).ok()), 2);
    daemon.kill();
    assert_eq!(served(&world.sandbox), Served::Round(2));
}

/// A file system of its own, gone when dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts a tmpfs at `path`; `None` where that is not allowed.
    pub(crate) fn tmpfs(path: &Path, options: &str) -> Option<Mount> {
        if !rustix::process::geteuid().is_root() {
            place::skipped("only root can mount a small file system");
            return None;
        }
        std::fs::create_dir_all(path).unwrap();
        let options = format!("{options},mode=700");
        let said = Said::of(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(path));
        if said.status != 0 {
            place::skipped(&format!("no small file system can be mounted: {}", said.stderr.trim()));
            return None;
        }
        Some(Mount(path.to_owned()))
    }

    /// Mounts an overlay at `path`, with its layers in a file system in memory at `layers`; `None` where that is not allowed.
    pub(crate) fn overlay(path: &Path, layers: &Path) -> Option<Mount> {
        let below = Mount::tmpfs(layers, "size=64m")?;
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
        for directory in [path, &lower, &upper, &work] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let said = Said::of(Command::new("mount").args(["-t", "overlay", "-o", &options, "none"]).arg(path));
        if said.status != 0 {
            place::skipped(&format!("no overlay can be mounted: {}", said.stderr.trim()));
            return None;
        }
        // The layers stay as long as the overlay does.
        drop(below);
        Some(Mount(path.to_owned()))
    }

    /// Mounts it again with other options; what it holds stays.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let said = Said::of(Command::new("mount").args(["-o", &options]).arg(&self.0));
        assert_eq!(said.status, 0, "{said:?}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills a file system but for `left` bytes.
pub(crate) fn fill(directory: &Path, left: u64) -> PathBuf {
    let path = directory.join("ballast");
    let found = rustix::fs::statvfs(directory).unwrap();
    let bytes = (found.f_bavail * found.f_frsize).saturating_sub(left);
    std::fs::write(&path, vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
    path
}

#[test]
fn a_full_disk_stops_syncs_and_nothing_else() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let Some(_mount) = Mount::tmpfs(&sandbox.state(), "size=24m") else { return };
    let daemon = sandbox.start_synced();
    let ids: Vec<String> = daemon.ids();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut round = 1;
    // The disk is full at another place of a sync each time.
    for left in [0, 4_096, 65_536, 700_000, 1_300_000] {
        let ballast = fill(&sandbox.state(), left);
        world.publish(round + 1);
        let answer = daemon.post("/v1/sync", &serde_json::json!({}));
        let served = round_of(&daemon.resolve(&ids).ok());
        match answer.status {
            200 => round += 1,
            _ => assert!(answer.to_string().contains("No space left"), "{left} bytes left: {answer}"),
        }
        assert_eq!(served, round, "{left} bytes left: {answer}");
        // A verb beside a daemon is not needed to find out that reading goes on; a new process is.
        std::fs::remove_file(ballast).unwrap();
        daemon.sync();
        round = round_of(&daemon.resolve(&ids).ok());
    }
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.kill();
    for left in [0, 4_096, 600_000] {
        let ballast = fill(&sandbox.state(), left);
        match served(sandbox) {
            Served::Round(found) => assert_eq!(found, round, "{left} bytes left"),
            Served::Refused(why) => assert!(why.contains("No space left"), "{left} bytes left: {why}"),
        }
        std::fs::remove_file(ballast).unwrap();
        assert_eq!(served(sandbox), Served::Round(round), "{left} bytes were left");
    }
}

#[test]
fn without_inodes_a_sync_is_refused_and_the_last_generation_stays() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let Some(_mount) = Mount::tmpfs(&sandbox.state(), "size=64m,nr_inodes=40") else { return };
    sync(sandbox);
    let taken: Vec<PathBuf> = (0..40)
        .map(|n| sandbox.state().join(format!("taken-{n}")))
        .take_while(|path| std::fs::write(path, "").is_ok())
        .collect();
    world.publish(2);
    let said = sandbox.run(&["sync"]);
    assert!(named(&said).contains("No space left"), "{said:?}");
    assert!(matches!(served(sandbox), Served::Round(1)), "{:?}", served(sandbox));
    taken.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    sync(sandbox);
    assert_eq!(served(sandbox), Served::Round(2));
}

#[test]
fn a_read_only_file_system_is_answered_from_and_named() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let Some(mount) = Mount::tmpfs(&sandbox.state(), "size=64m") else { return };
    sync(sandbox);
    mount.remount("ro");
    world.publish(2);
    assert_eq!(served(sandbox), Served::Round(1));
    let said = sandbox.run(&["sync"]);
    assert!(named(&said).contains("Read-only"), "{said:?}");
    // A daemon promises to keep its sources fresh, which it cannot: it says so at once, and what to do.
    let said = sandbox.run(&["serve"]);
    assert!(named(&said).contains("Read-only") && said.stderr.contains("hint: "), "{said:?}");
    mount.remount("rw");
    sync(sandbox);
    assert_eq!(served(sandbox), Served::Round(2));
}

/// Runs a verb behind a line of `sh`.
fn behind(sandbox: &Sandbox, line: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new("sh");
    sandbox.furnish(&mut command);
    let script = format!("{line}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(place::binary()).args(arguments);
    Said::of(&mut command)
}

#[test]
fn few_descriptors_are_enough_or_named() {
    let world = World::synced(1);
    for files in [64, 24, 16, 12, 8, 5] {
        let sandbox = world.beside(&world.sandbox.state());
        world.publish(2);
        let said = behind(&sandbox, &format!("ulimit -n {files}"), &["sync"]);
        if said.status != 0 {
            assert!(files < 64, "64 descriptors are enough: {said:?}");
            // Below what the loader needs, no process says anything.
            assert!(said.stderr.contains("error"), "{files}: {said:?}");
        }
        let found = served(&sandbox);
        let expected = if said.status == 0 { Served::Round(2) } else { Served::Round(1) };
        assert!(found == expected || found == Served::Round(2), "{files}: {found:?} after {said:?}");
        let names = std::fs::read_dir(sandbox.state()).unwrap();
        let bad =
            names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("bad-"));
        assert_eq!(bad.count(), 0, "{files}: a sound index is not set aside");
        sync(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(2), "{files}");
    }
}

#[test]
fn no_umask_opens_what_is_kept_or_closes_it_to_its_owner() {
    fn walk(path: &Path) {
        let is_directory = path.symlink_metadata().unwrap().is_dir();
        assert_eq!(mode(path), if is_directory { 0o700 } else { 0o600 }, "{}", path.display());
        if is_directory {
            std::fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path()));
        }
    }
    for umask in ["0000", "0777", "0027"] {
        let world = World::new();
        for round in [1, 2] {
            world.publish(round);
            let said = behind(&world.sandbox, &format!("umask {umask}"), &["sync"]);
            assert_eq!(said.status, 0, "{umask}: {said:?}");
            walk(&world.sandbox.state());
        }
        std::fs::remove_dir_all(world.sandbox.state().join("index")).unwrap();
        let said = behind(&world.sandbox, &format!("umask {umask}"), &["doctor", "--repair"]);
        assert_eq!(said.status, 0, "{umask}: {said:?}");
        walk(&world.sandbox.state());
        assert_eq!(served(&world.sandbox), Served::Round(2), "{umask}");
    }
}

/// Returns the lengths of everything below a path.
fn lengths(path: &Path) -> Vec<u64> {
    contents(path).into_iter().map(|(_, _, bytes)| bytes.len() as u64).filter(|length| *length > 0).collect()
}

#[test]
fn a_limit_of_file_sizes_cuts_writes_short_and_loses_nothing() {
    let world = World::synced(1);
    // What a sync of round 2 writes is as long as what is there after it; and each of its writes is cut in the middle.
    let after = world.beside(&world.sandbox.state());
    world.publish(2);
    let root: PathBuf = after.path("").components().collect();
    let steps = match trace::is_here() {
        true => trace::record(&after, &root, None, &["sync"]).1,
        false => Vec::new(),
    };
    sync(&after);
    let mut limits: Vec<u64> = lengths(&after.state()).iter().flat_map(|one| [one - 1, one / 2]).collect();
    limits.extend(steps.iter().filter_map(|step| match step {
        Step::Write(_, Some(at), bytes) if bytes.len() > 1 => Some((at + bytes.len() / 2) as u64),
        _ => None,
    }));
    limits.extend([0, 1, 100]);
    limits.sort_unstable();
    limits.dedup();
    let mut chance = Chance::told();
    let tries = chance::count("RESOLVERD_SIZES", 8, limits.len() as u64 * 2);
    let (mut cut, mut whole) = (0, 0);
    for tried in 0..tries {
        // In order where all are tried, by chance where some are.
        let at = if tries < limits.len() as u64 { chance.index(limits.len()) } else { tried as usize / 2 };
        let limit = limits[at];
        // Ignored or not: the system's answer to the signal must not be the end of the process.
        let trap = if tried % 2 == 0 { "trap '' XFSZ; " } else { "" };
        let sandbox = world.beside(&world.sandbox.state());
        let what = format!("{trap}limit {limit}");
        let said = limited(&sandbox, trap, limit, &["sync"]);
        let found = served(&sandbox);
        match said.status {
            0 => {
                whole += 1;
                assert_eq!(found, Served::Round(2), "{what}: {said:?}");
            }
            _ => {
                cut += 1;
                assert!(named(&said).contains("too large"), "{what}: {said:?}");
                assert!([Served::Round(1), Served::Round(2)].contains(&found), "{what}: {found:?}");
            }
        }
        sync(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(2), "{what}: a sync without the limit");
        assert_eq!(sandbox.run(&["doctor", "--deep"]).status, 0, "{what}");
    }
    eprintln!("{tries} of {} limits: {cut} syncs were cut, {whole} were not", limits.len());
    assert!(cut > 0, "no limit was met");
}

/// Runs a verb that may write files of at most `limit` bytes.
fn limited(sandbox: &Sandbox, before: &str, limit: u64, arguments: &[&str]) -> Said {
    let mut command = Command::new("sh");
    sandbox.furnish(&mut command);
    let script = format!("{before}exec prlimit --fsize={limit} -- \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(place::binary()).args(arguments);
    Said::of(&mut command)
}

#[test]
fn a_daemon_whose_files_may_not_grow_serves_on_and_recovers_by_itself() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let world = World::synced(1);
    let mut round = 1;
    for bytes in [0, 1_000, 600_000] {
        // A daemon that has noticed no edit yet: else it might read the next round while that is written.
        let daemon = world.sandbox.start();
        daemon.sync();
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
        let limit = |current| {
            prlimit(pid, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
        };
        let ids: Vec<String> = daemon.ids();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.publish(round + 1);
        limit(Some(bytes));
        let answer = daemon.post("/v1/sync", &serde_json::json!({}));
        assert!(answer.status != 200 && answer.to_string().contains("too large"), "{bytes}: {answer}");
        assert_eq!(round_of(&daemon.resolve(&ids).ok()), round, "{bytes}: the last generation answers");
        limit(None);
        daemon.sync();
        round += 1;
        assert_eq!(round_of(&daemon.resolve(&ids).ok()), round, "{bytes}");
        daemon.kill();
        assert_eq!(served(&world.sandbox), Served::Round(round));
    }
}

/// What a store writes, and writes through.
const ENTRIES: [&str; 15] = [
    "lock",
    "current",
    "checks.json",
    "trust-state.json",
    "revisions.jsonl",
    "first-seen.log",
    "audit.jsonl",
    "audit.head",
    "generations",
    "shelf",
    "shelf/packs",
    "shelf/objects",
    "index",
    "index/db",
    "index/blobs",
];

/// Makes a file that a store has only where there is something to note.
fn furnish(place: &Path) {
    if !place.exists() {
        std::fs::write(place, "").unwrap();
    }
}

/// Returns the bytes and modes of everything below a path.
fn contents(path: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    if path.is_dir() {
        let below = std::fs::read_dir(path).unwrap().flat_map(|entry| contents(&entry.unwrap().path()));
        let mut found: Vec<_> = below.chain([(path.to_owned(), mode(path), Vec::new())]).collect();
        found.sort();
        return found;
    }
    vec![(path.to_owned(), mode(path), std::fs::read(path).unwrap())]
}

#[test]
fn planted_links_are_refused_by_name_and_never_followed() {
    let world = World::synced(1);
    world.publish(2);
    for entry in ENTRIES {
        let sandbox = world.beside(&world.sandbox.state());
        let (place, outside) = (sandbox.state().join(entry), sandbox.path("outside"));
        furnish(&place);
        std::fs::rename(&place, &outside).unwrap();
        symlink(&outside, &place).unwrap();
        let before = contents(&outside);
        for arguments in [&["sync"][..], &["resolve", "--offline", "lcod://crash/part00"], &["serve"]] {
            let said = sandbox.run(arguments);
            let why = named(&said);
            assert!(why.contains("symbolic link"), "{entry} {arguments:?}: {why}");
            assert!(contents(&outside) == before, "{entry} {arguments:?}: what lies outside was touched");
        }
        // A repair may set the link aside, or leave it to its owner.
        let said = sandbox.run(&["doctor", "--repair"]);
        assert!((0..101).contains(&said.status), "{entry}: {said:?}");
        assert!(contents(&outside) == before, "{entry}: a repair touched what lies outside");
    }
}

#[test]
fn planted_hard_links_are_refused_by_name_or_never_written_through() {
    let world = World::synced(1);
    world.publish(2);
    for (path, is_whole) in files(&world.sandbox.state()) {
        let sandbox = world.beside(&world.sandbox.state());
        let (place, outside) = (sandbox.state().join(&path), sandbox.path("outside"));
        std::fs::hard_link(&place, &outside).unwrap();
        let before = std::fs::read(&outside).unwrap();
        for arguments in [&["sync"][..], &["sync"], &["doctor", "--repair"]] {
            let said = sandbox.run(arguments);
            assert!(
                said.status == 0 || format!("{said:?}").contains("hard links") && !is_whole,
                "{} {arguments:?}: {said:?}",
                path.display()
            );
            assert!(std::fs::read(&outside).unwrap() == before, "{}: written through", path.display());
        }
        std::fs::remove_file(outside).unwrap();
        sync(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(2), "{}", path.display());
    }
}

/// Returns the files below a state directory, and whether each is known to be replaced whole, never written in place.
fn files(state: &Path) -> Vec<(PathBuf, bool)> {
    let all = contents(state).into_iter().map(|(path, ..)| path).filter(|path| path.is_file());
    let below = all.map(|path| path.strip_prefix(state).unwrap().to_owned());
    let is_whole = |path: &PathBuf| {
        ["current", "checks.json", "trust-state.json"].iter().any(|name| path == Path::new(name))
            || path.starts_with("generations")
            || path.starts_with("shelf")
    };
    below.map(|path| (path.clone(), is_whole(&path))).collect()
}

#[test]
fn a_store_that_is_copied_while_it_is_open_answers_a_whole_round_or_is_rebuilt() {
    let world = World::synced(1);
    let daemon = world.sandbox.start();
    for round in 2..2 + chance::count("RESOLVERD_COPIES", 5, 100) {
        world.publish(round);
        // The copy is made while a sync writes: some files are of before, some of after, some in between.
        let copied = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| daemon.sync());
            let sandbox = Sandbox::new();
            sandbox.write_sources_text(&std::fs::read_to_string(world.sandbox.sources()).unwrap());
            copy_alive(&world.sandbox.state(), &sandbox.state());
            syncing.join().unwrap();
            sandbox
        });
        match served(&copied) {
            Served::Round(found) => assert!((round - 1..=round).contains(&found), "{found} of {round}"),
            Served::Refused(why) => panic!("{round}: {why}"),
        }
        sync(&copied);
        assert_eq!(served(&copied), Served::Round(round));
    }
    daemon.kill();
}

/// Copies a directory that somebody writes into, as `cp` would: what vanishes meanwhile is left out.
fn copy_alive(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, there) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_alive(&path, &there),
            Ok(_) => drop(std::fs::copy(&path, &there)),
            Err(_) => {}
        }
    }
}

#[test]
fn what_belongs_to_somebody_else_is_refused_by_name() {
    if !rustix::process::geteuid().is_root() {
        return place::skipped("only root can make files of another user");
    }
    const SOMEBODY: u32 = 65_533;
    let world = World::synced(1);
    world.publish(2);
    for entry in ENTRIES.into_iter().chain([""]) {
        let sandbox = world.beside(&world.sandbox.state());
        furnish(&sandbox.state().join(entry));
        chown(sandbox.state().join(entry), Some(SOMEBODY), None).unwrap();
        let said = sandbox.run(&["sync"]);
        assert!(named(&said).contains("65533"), "{entry:?}: {said:?}");
    }
    // The same the other way round: somebody's daemon, and an entry of root's.
    for entry in ENTRIES.into_iter().chain([""]) {
        let sandbox = world.beside(&world.sandbox.state());
        std::fs::set_permissions(sandbox.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
        furnish(&sandbox.state().join(entry));
        for path in contents(&sandbox.state()) {
            chown(path.0, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        chown(sandbox.state().join(entry), Some(0), None).unwrap();
        let mut command = sandbox.command();
        command.args(["sync"]).uid(SOMEBODY).gid(SOMEBODY);
        let said = Said::of(&mut command);
        assert!(
            named(&said).contains("user 0") || said.stderr.contains("Permission denied"),
            "{entry:?}: {said:?}"
        );
    }
}
