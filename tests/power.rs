//! Power cuts: what syncs, rebuilds and repairs write is recorded call by call and replayed to any point between two calls, with
//! what was not synced by then lost: all of it, some of it by chance, or none (a kill). Whatever such a disk holds must answer
//! with the last acknowledged round or a later one, whole.
//!
//! The model is stricter than most file systems: an fsync of a file does not keep its name, one of a directory keeps nothing of
//! the files in it, and every write that was not synced may be lost by itself. A file that could not be synced keeps for ever what the
//! disk had of it, whatever is synced later, unless it is written again: so do systems that give up what they could not write.
//!
//! `RESOLVERD_CUTS` says how many points there are in each case, `RESOLVERD_STRIKES` and `RESOLVERD_UNSYNCED` how many of all syncs of a
//! verb and of a daemon are kept from being made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::harness::chance::{self, Chance};
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::trace::{self, Recorded, Step};
use crate::harness::world::{Served, World, copy, round_of, served, sync};

/// A file or directory on the modelled disk.
#[derive(Debug, Clone)]
enum Node {
    File(Layered<Vec<u8>, Change>),
    Directory(Layered<BTreeMap<OsString, usize>, Entry>),
}

/// What is there, what of it outlives a power cut for sure, and what may or may not.
#[derive(Debug, Clone)]
struct Layered<T, C> {
    live: T,
    durable: T,
    pending: Vec<C>,
}

impl<T: Default, C> Default for Layered<T, C> {
    fn default() -> Layered<T, C> {
        Layered { live: T::default(), durable: T::default(), pending: Vec::new() }
    }
}

/// Something that was done to a file.
#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// Something that was done to a directory: names that are gone, and names of something.
#[derive(Debug, Clone)]
struct Entry {
    gone: Option<OsString>,
    is: Option<(OsString, usize)>,
}

trait Apply<T> {
    fn apply(&self, to: &mut T);
}

impl Apply<Vec<u8>> for Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Length(length) => to.resize(*length, 0),
            Change::Write(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl Apply<BTreeMap<OsString, usize>> for Entry {
    fn apply(&self, to: &mut BTreeMap<OsString, usize>) {
        if let Some(gone) = &self.gone {
            to.remove(gone);
        }
        if let Some((name, node)) = &self.is {
            to.insert(name.clone(), *node);
        }
    }
}

impl<T: Clone, C: Apply<T> + Clone> Layered<T, C> {
    fn change(&mut self, change: C) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.pending.drain(..).for_each(|change| change.apply(&mut self.durable));
    }

    /// What was to be synced is as it was, for whoever reads it, and never reaches the disk: it counts as written from now on.
    fn give_up(&mut self) {
        self.pending.clear();
    }

    fn after(&self, keeps: &mut impl FnMut() -> bool) -> T {
        let mut left = self.durable.clone();
        self.pending.iter().filter(|_| keeps()).for_each(|change| change.apply(&mut left));
        left
    }
}

/// A disk below one directory, which is there for sure.
#[derive(Debug, Clone)]
struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
}

impl Disk {
    fn new(root: &Path) -> Disk {
        Disk { root: root.to_owned(), nodes: vec![Node::Directory(Layered::default())] }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.strip_prefix(&self.root).unwrap().iter().try_fold(0, |at, name| match &self.nodes[at] {
            Node::Directory(entries) => entries.live.get(name).copied(),
            Node::File(_) => None,
        })
    }

    /// Changes the directory of a name.
    fn enter(&mut self, path: &Path, entry: Entry) {
        let directory = self.find(path.parent().unwrap()).unwrap();
        match &mut self.nodes[directory] {
            Node::Directory(entries) => entries.change(entry),
            Node::File(_) => panic!("{} is below a file", path.display()),
        }
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(usize) -> Change) {
        // A file that was unlinked while it was open is nobody's.
        let Some(at) = self.find(path) else { return };
        let Node::File(bytes) = &mut self.nodes[at] else { panic!("{} is no file", path.display()) };
        bytes.change(change(bytes.live.len()));
    }

    fn make(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let is = Some((path.file_name().unwrap().to_owned(), self.nodes.len() - 1));
        self.enter(path, Entry { gone: None, is });
    }

    fn take(&mut self, step: &Step) {
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        match step {
            Step::Directory(path) => self.make(path, Node::Directory(Layered::default())),
            Step::File(path) if self.find(path).is_none() => self.make(path, Node::File(Layered::default())),
            Step::File(_) | Step::Told => {}
            Step::Write(path, at, bytes) => {
                self.change(path, |end| Change::Write(at.unwrap_or(end), bytes.clone()));
            }
            Step::Length(path, length) => self.change(path, |_| Change::Length(*length)),
            Step::Gone(path) => self.enter(path, Entry { gone: Some(name(path)), is: None }),
            Step::Rename(from, to) => {
                let is = Some((name(to), self.find(from).unwrap()));
                if from.parent() == to.parent() {
                    self.enter(from, Entry { gone: Some(name(from)), is });
                } else {
                    self.enter(to, Entry { gone: None, is });
                    self.enter(from, Entry { gone: Some(name(from)), is: None });
                }
            }
            Step::Unsynced(path) => match self.find(path).map(|at| &mut self.nodes[at]) {
                Some(Node::File(bytes)) => bytes.give_up(),
                // A file system keeps what it knows of names until it has written them.
                Some(Node::Directory(_)) | None => {}
            },
            Step::Sync(path) => match self.find(path).map(|at| &mut self.nodes[at]) {
                Some(Node::File(bytes)) => bytes.sync(),
                Some(Node::Directory(entries)) => entries.sync(),
                None => {}
            },
        }
    }

    /// Returns how many changes were not synced.
    fn unsynced(&self) -> usize {
        let unsynced = |node: &Node| match node {
            Node::File(bytes) => bytes.pending.len(),
            Node::Directory(entries) => entries.pending.len(),
        };
        self.nodes.iter().map(unsynced).sum()
    }

    /// Writes what is left after a cut to `to`; `keeps` says of each change that was not synced whether it is there.
    fn write(&self, to: &Path, keeps: &mut impl FnMut() -> bool) {
        self.write_node(0, to, keeps);
    }

    fn write_node(&self, at: usize, to: &Path, keeps: &mut impl FnMut() -> bool) {
        match &self.nodes[at] {
            Node::File(bytes) => {
                std::fs::write(to, bytes.after(keeps)).unwrap();
                std::fs::set_permissions(to, Permissions::from_mode(0o600)).unwrap();
            }
            Node::Directory(entries) => {
                std::fs::create_dir_all(to).unwrap();
                std::fs::set_permissions(to, Permissions::from_mode(0o700)).unwrap();
                for (name, node) in entries.after(keeps) {
                    self.write_node(node, &to.join(name), keeps);
                }
            }
        }
    }
}

/// A moment: the steps up to it, and what was acknowledged and published then.
#[derive(Clone)]
struct Moment {
    acknowledged: u64,
    published: u64,
}

/// What processes did one after the other, as far as it concerns the directories that are kept.
#[derive(Clone)]
struct Tape<'a> {
    world: &'a World,
    steps: Vec<Step>,
    moments: Vec<Moment>,
    acknowledged: u64,
}

impl<'a> Tape<'a> {
    fn of(world: &'a World) -> Tape<'a> {
        Tape { world, steps: Vec::new(), moments: Vec::new(), acknowledged: 0 }
    }

    fn root(&self) -> PathBuf {
        self.world.sandbox.path("").components().collect()
    }

    /// Takes what a process did; `rounds` are published while it ran, one behind each answer.
    fn take(&mut self, steps: Vec<Step>, rounds: &[u64]) {
        let root = self.root();
        let (mut told, last) = (rounds.iter().copied().peekable(), rounds.iter().copied().max());
        for step in steps {
            let is_kept = match &step {
                Step::Told => true,
                Step::Directory(path) | Step::File(path) | Step::Write(path, ..) | Step::Length(path, _) => {
                    concerns(path, &root)
                }
                Step::Rename(path, _) | Step::Gone(path) => concerns(path, &root),
                Step::Sync(path) | Step::Unsynced(path) => *path == root || concerns(path, &root),
            };
            if step == Step::Told {
                self.acknowledged = told.next().or(last).unwrap_or(self.acknowledged);
            }
            if is_kept {
                let published = told.peek().copied().or(last).unwrap_or(self.acknowledged);
                self.steps.push(step);
                self.moments.push(Moment { acknowledged: self.acknowledged, published });
            }
        }
    }

    /// Publishes a round and records a verb, which has to succeed.
    fn verb(&mut self, published: u64, arguments: &[&str]) {
        self.world.publish(published);
        let (said, done) = trace::record(&self.world.sandbox, &self.root(), None, arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        self.take(done, &[published]);
    }

    /// Publishes a round and records a sync into which something is injected. One that fails has acknowledged nothing.
    fn struck(&mut self, published: u64, inject: &str) -> Said {
        self.world.publish(published);
        let (said, done) = trace::record(&self.world.sandbox, &self.root(), Some(inject), &["sync"]);
        let is_good = said.status == 0;
        let steps = done.into_iter().filter(|step| is_good || *step != Step::Told);
        self.take(steps.collect(), &[published]);
        said
    }

    /// Records a daemon that is asked to sync each of these rounds, from its start to its end; returns the log.
    fn daemon(&mut self, rounds: &[u64]) -> String {
        self.world.publish(rounds[0]);
        let recorded = Recorded::start(&self.world.sandbox, None, "/livez");
        for round in rounds {
            self.world.publish(*round);
            recorded.daemon.sync();
        }
        let (steps, log) = recorded.stop(&self.root());
        assert_eq!(steps.iter().filter(|step| **step == Step::Told).count(), rounds.len());
        self.take(steps, rounds);
        log
    }

    /// Returns the places of the acknowledgements.
    fn told(&self) -> Vec<usize> {
        (0..self.steps.len()).filter(|at| self.steps[*at] == Step::Told).collect()
    }

    /// Returns the disk as it is after a step.
    fn disk(&self, at: usize) -> Disk {
        let mut disk = Disk::new(&self.world.sandbox.path(""));
        self.steps[..=at].iter().for_each(|step| disk.take(step));
        disk
    }
}

/// What of everything that was not synced is there after a cut.
const MODELS: [&str; 5] = ["all lost", "some lost", "one lost", "one kept", "all kept"];

/// Makes the disk that is left of `disk`, in a sandbox beside the world's.
fn left(world: &World, disk: &Disk, model: &str, chance: &mut Chance) -> Sandbox {
    let sandbox = world.beside(Path::new("/nowhere"));
    let one = chance.index(disk.unsynced().max(1));
    let (mut dice, mut asked) = (chance.clone(), 0..);
    disk.write(&sandbox.path(""), &mut || match model {
        "all lost" => false,
        "all kept" => true,
        "one lost" => asked.next() != Some(one),
        "one kept" => asked.next() == Some(one),
        _ => dice.below(2) == 0,
    });
    sandbox
}

/// The state directory is what the model is about, and the cache of Git objects.
fn concerns(path: &Path, root: &Path) -> bool {
    path.starts_with(root.join("state")) || path.starts_with(root.join("cache"))
}

/// Checks what is served after a cut, and that a sync makes all good; tells whether nothing was served, which may be before the first
/// acknowledgement only.
fn check(sandbox: &Sandbox, moment: &Moment, newest: u64, what: &str) -> bool {
    let Moment { acknowledged, published } = *moment;
    let found = served(sandbox);
    match &found {
        Served::Round(round) => assert!(
            (acknowledged..=published).contains(round),
            "{what}: round {round} is served, {acknowledged} was acknowledged"
        ),
        Served::Refused(why) => assert_eq!(acknowledged, 0, "{what}: {why}"),
    }
    sync(sandbox);
    assert_eq!(served(sandbox), Served::Round(newest), "{what}: a sync after it");
    matches!(found, Served::Refused(_))
}

#[test]
fn no_power_cut_loses_an_acknowledged_generation_or_gives_a_wrong_answer() {
    if !trace::is_here() {
        return;
    }
    // Verbs: syncs of new rounds, of nothing new, and a repair. A daemon, and another one behind it.
    let (verbs, daemons) = (World::new(), World::new());
    let mut of_verbs = Tape::of(&verbs);
    (1..=4).for_each(|round| of_verbs.verb(round, &["sync"]));
    of_verbs.verb(4, &["sync"]);
    of_verbs.verb(4, &["doctor", "--repair"]);
    let mut of_daemons = Tape::of(&daemons);
    of_daemons.daemon(&[1, 2, 3]);
    of_daemons.daemon(&[4, 4]);
    for (tape, few) in [(&of_verbs, 12), (&of_daemons, 8)] {
        chance::shared(chance::count("RESOLVERD_CUTS", few, 2_000), |chance, cuts| {
            cut_often(tape, 4, chance, cuts);
        });
    }
}

fn cut_often(tape: &Tape<'_>, newest: u64, mut chance: Chance, cuts: u64) {
    let (steps, told) = (&tape.steps, tape.told());
    let mut refused = 0u64;
    for cut in 0..cuts {
        // The end of a run is where an acknowledgement has just been given: every fourth cut strikes there.
        let at = match cut % 4 {
            0 => told[chance.index(told.len())],
            _ => chance.index(steps.len()),
        };
        let model = MODELS[chance.index(MODELS.len())];
        let what = format!("cut {cut} after step {at} of {} ({:?}), {model}", steps.len(), brief(&steps[at]));
        let sandbox = left(tape.world, &tape.disk(at), model, &mut chance);
        refused += u64::from(check(&sandbox, &tape.moments[at], newest, &what));
    }
    eprintln!(
        "{cuts} cuts in {} steps with {} acknowledgements: 0 lost, {refused} before the first of them",
        steps.len(),
        told.len()
    );
}

/// How a process can be kept from syncing something.
const KEPT_FROM: [&str; 2] = ["signal=SIGKILL", "error=EIO"];

#[test]
fn what_could_not_be_synced_is_not_believed_by_the_next_process() {
    if !trace::is_here() {
        return;
    }
    let world = World::synced(1);
    world.publish(2);
    let (said, log) = trace::run(&world.sandbox, &["-e", "trace=fsync"], &["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
    // Each sync of a second round, struck in two ways.
    let all = trace::most(&log, "fsync") * KEPT_FROM.len() as u64;
    let tries = chance::count("RESOLVERD_STRIKES", 3, all);
    let (offset, next) = (Chance::told().below(all), AtomicU64::new(0));
    let struck = AtomicU64::new(0);
    chance::shared(tries, |mut chance, share| {
        let world = World::new();
        let (state, kept) = (world.sandbox.state(), world.sandbox.path("kept"));
        let mut first = Tape::of(&world);
        first.verb(1, &["sync"]);
        copy(&state, &kept);
        for _ in 0..share {
            let at = (offset + next.fetch_add(1, Ordering::Relaxed) * all / tries) % all;
            let (number, how) = (1 + at / 2, KEPT_FROM[usize::try_from(at % 2).unwrap()]);
            std::fs::remove_dir_all(&state).unwrap();
            copy(&kept, &state);
            let mut tape = first.clone();
            let said = tape.struck(2, &format!("fsync:{how}:when={number}"));
            struck.fetch_add(u64::from(said.status != 0), Ordering::Relaxed);
            // The next process finds what the first has left, and says that all is well.
            tape.verb(2, &["sync"]);
            let told = *tape.told().last().unwrap();
            let unsynced = tape.steps.iter().find(|step| matches!(step, Step::Unsynced(_)));
            let what = format!("fsync {number}: {how}, {unsynced:?}");
            let after = left(&world, &tape.disk(told), "all lost", &mut chance);
            // The index is nothing but a quicker way to what the shelf and the files say.
            let bare = world.beside(&after.state());
            std::fs::remove_dir_all(bare.state().join("index")).unwrap();
            assert_eq!(served(&bare), Served::Round(2), "{what}, without the index");
            check(&after, &tape.moments[told], 2, &what);
        }
    });
    eprintln!("{tries} of {all} syncs from number {offset} on; {struck:?} of the runs ended with it");
    assert!(struck.into_inner() > 0, "no sync was met");
}

#[test]
fn a_daemon_of_which_a_sync_fails_once_says_so_and_builds_nothing_on_it() {
    if !trace::is_here() {
        return;
    }
    let world = World::new();
    world.govern();
    let (state, mut all) = (world.sandbox.state(), Vec::new());
    // How many calls there are until the first round is there, and with the second one.
    let counted = [&[1][..], &[1, 2]].map(|rounds| {
        let _ = std::fs::remove_dir_all(&state);
        let mut tape = Tape::of(&world);
        tape.daemon(rounds)
    });
    for call in ["fsync", "sync_file_range"] {
        let [first, second] = [0, 1].map(|at| trace::most(&counted[at], call));
        all.extend((first + 1..=second + 1).map(|number| (call, number)));
    }
    let tries = chance::count("RESOLVERD_UNSYNCED", 2, all.len() as u64);
    let (offset, next) = (Chance::told().index(all.len()), AtomicU64::new(0));
    let (struck, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    chance::shared(tries, |mut chance, share| {
        let world = World::new();
        world.govern();
        for _ in 0..share {
            let at = next.fetch_add(1, Ordering::Relaxed) * all.len() as u64 / tries;
            let (call, number) = all[(offset + usize::try_from(at).unwrap()) % all.len()];
            let what = format!("{call} {number}");
            let _ = std::fs::remove_dir_all(world.sandbox.state());
            world.publish(1);
            let inject = format!("{call}:error=EIO:when={number}");
            let recorded = Recorded::start(&world.sandbox, Some(&inject), "/livez");
            let daemon = &recorded.daemon;
            daemon.sync();
            let ids = daemon.ids();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            world.publish(2);
            // Every thread of the daemon counts its own calls, so that a second one may be struck too.
            let mut refusals = 0;
            loop {
                let said = daemon.post("/v1/sync", &json!({}));
                if said.status == 200 {
                    break;
                }
                refusals += 1;
                assert!(refusals < 4, "{what}: {said}");
                refused.fetch_add(1, Ordering::Relaxed);
                assert!(said.to_string().contains("Input/output error"), "{what}: {said}");
                let (served, health) = (daemon.resolve(&ids).ok(), daemon.get("/v1/health").ok().to_string());
                // Somebody who saw the edit may have had it read meanwhile.
                if !daemon.log().contains("synced generation=2") {
                    assert_eq!(round_of(&served), 1, "{what}: the last generation answers");
                    assert!(health.contains("store.unwritten"), "{what}: {health}");
                }
            }
            let health = daemon.get("/v1/health").ok().to_string();
            assert!(!health.contains("store.unwritten"), "{what}: {health}");
            assert_eq!(round_of(&daemon.resolve(&ids).ok()), 2, "{what}");
            let told = daemon.log();
            let (steps, log) = recorded.stop(&world.sandbox.path("").components().collect::<PathBuf>());
            let mut tape = Tape::of(&world);
            tape.take(steps, &[1, 2]);
            let at = *tape.told().last().unwrap();
            struck.fetch_add(u64::from(log.contains("(INJECTED)")), Ordering::Relaxed);
            let injected = log.matches("(INJECTED)").count();
            assert!(refusals <= injected, "{what}: {refusals} orders were refused for {injected} failures");
            // What is written behind the answer may still fail, and is told when the daemon has ended.
            let unsynced = tape.steps[..at].iter().find(|step| matches!(step, Step::Unsynced(_)));
            let what = format!("{what}, {unsynced:?}");
            assert!(
                unsynced.is_none() || told.contains("Input/output error"),
                "{what}: nobody was told: {told}"
            );
            let after = left(&world, &tape.disk(at), "all lost", &mut chance);
            let bare = world.beside(&after.state());
            // It is gone already where it was set aside.
            let _ = std::fs::remove_dir_all(bare.state().join("index"));
            assert_eq!(served(&bare), Served::Round(2), "{what}, without the index");
            check(&after, &tape.moments[at], 2, &what);
            let said = after.run(&["audit", "verify"]);
            assert_eq!(said.status, 0, "{what}: {said:?}");
        }
    });
    eprintln!(
        "{tries} of {} syncs from number {offset} on: {struck:?} failed, {refused:?} orders with them",
        all.len()
    );
}

#[test]
fn no_power_cut_keeps_what_was_read_from_git_from_being_read_again() {
    if !trace::is_here() {
        return;
    }
    let world = World::in_git();
    let mut tape = Tape::of(&world);
    tape.verb(1, &["sync"]);
    tape.verb(2, &["sync"]);
    tape.daemon(&[3]);
    let cached = |step: &&Step| matches!(step, Step::Rename(_, to) if to.components().any(|one| one.as_os_str() == "objects"));
    let objects = tape.steps.iter().filter(cached).count();
    assert!(objects >= 10, "objects of Git are kept: {objects}");
    chance::shared(chance::count("RESOLVERD_CUTS", 6, 1_000), |chance, cuts| {
        cut_often(&tape, 3, chance, cuts);
    });
}

/// What the operator said.
const SAID: [&str; 2] = ["the first word of an operator", "the second word of an operator"];

#[test]
fn no_power_cut_loses_a_line_of_the_audit_log_that_was_acknowledged() {
    if !trace::is_here() {
        return;
    }
    let world = World::new();
    world.govern();
    let mut tape = Tape::of(&world);
    tape.daemon(&[1]);
    let mut said = vec![(0, 0)];
    for (at, text) in SAID.into_iter().enumerate() {
        tape.verb(1, &["trust", "forget", "changing", "--reason", text]);
        said.push((tape.steps.len(), at + 1));
    }
    tape.daemon(&[2]);
    tape.verb(2, &["trust", "forget", "lcod://crash/part00@0.2.0", "--reason", "the third word"]);
    let told = tape.told();
    chance::shared(chance::count("RESOLVERD_CUTS", 6, 1_000), |mut chance, cuts| {
        for cut in 0..cuts {
            let at = match cut % 2 {
                0 => told[chance.index(told.len())],
                _ => chance.index(tape.steps.len()),
            };
            let model = MODELS[chance.index(MODELS.len())];
            let what = format!("cut {cut} after step {at} ({:?}), {model}", brief(&tape.steps[at]));
            let sandbox = left(&world, &tape.disk(at), model, &mut chance);
            let log = |name: &str| std::fs::read_to_string(sandbox.state().join(name)).unwrap_or_default();
            let count = said.iter().rev().find(|(from, _)| at + 1 >= *from).map_or(0, |(_, count)| *count);
            for text in &SAID[..count] {
                assert!(log("audit.jsonl").contains(text), "{what}: a line is gone");
                assert!(
                    log("revisions.jsonl").contains(text),
                    "{what}: a line of the log of revisions is gone"
                );
            }
            check(&sandbox, &tape.moments[at], 2, &what);
            let verified = sandbox.run(&["audit", "verify"]);
            assert_eq!(verified.status, 0, "{what}: {verified:?}");
        }
        eprintln!("{cuts} cuts in {} steps: every line that was acknowledged is there", tape.steps.len());
    });
}

/// A step without its bytes.
fn brief(step: &Step) -> Step {
    match step {
        Step::Write(path, at, bytes) => Step::Write(path.clone(), *at, bytes[..bytes.len().min(16)].to_vec()),
        other => other.clone(),
    }
}

#[test]
fn the_modelled_disk_keeps_nothing_of_what_it_failed_to_sync() {
    let path = |name: &str| PathBuf::from("/r").join(name);
    let write = |bytes: &[u8]| Step::Write(path("f"), None, bytes.to_vec());
    let mut disk = Disk::new(Path::new("/r"));
    for step in [Step::File(path("f")), Step::Sync(path("")), write(b"one"), Step::Unsynced(path("f"))] {
        disk.take(&step);
    }
    // What comes behind it is kept, at its place.
    for step in [write(b"two"), Step::Sync(path("f"))] {
        disk.take(&step);
    }
    let place = tempfile::tempdir().unwrap();
    disk.write(&place.path().join("to"), &mut || true);
    assert_eq!(std::fs::read(place.path().join("to/f")).unwrap(), b"\0\0\0two");
}

#[test]
fn the_modelled_disk_keeps_what_was_synced() {
    let path = |name: &str| PathBuf::from("/r").join(name);
    let steps = [
        Step::Directory(path("d")),
        Step::Sync(path("")),
        Step::File(path("d/t")),
        Step::Write(path("d/t"), Some(0), b"one".to_vec()),
        Step::Sync(path("d/t")),
        Step::Write(path("d/t"), None, b"two".to_vec()),
        Step::Rename(path("d/t"), path("d/f")),
        Step::Sync(path("d")),
        Step::File(path("d/g")),
        Step::Sync(path("d/g")),
    ];
    let mut disk = Disk::new(Path::new("/r"));
    steps.iter().for_each(|step| disk.take(step));
    let left = |keeps: bool| {
        let place = tempfile::tempdir().unwrap();
        disk.write(&place.path().join("to"), &mut || keeps);
        let read = |name: &str| std::fs::read_to_string(place.path().join("to/d").join(name)).ok();
        (read("f"), read("g"), read("t"))
    };
    assert_eq!(left(false), (Some("one".to_owned()), None, None));
    assert_eq!(left(true), (Some("onetwo".to_owned()), Some(String::new()), None));
    // The second write, and the name of the last file.
    assert_eq!(disk.unsynced(), 2);
}
