//! Power cuts: what syncs, rebuilds and repairs write is recorded call by call and replayed to any point between two calls, with
//! what was not synced by then lost: all of it, some of it by chance, or none (a kill). Whatever such a disk holds must answer
//! with the last acknowledged round or a later one, whole.
//!
//! The model is stricter than most file systems: an fsync of a file does not keep its name, one of a directory keeps nothing of
//! the files in it, and every write that was not synced may be lost by itself. `RESOLVERD_CUTS` says how many points there are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::harness::chance::{self, Chance};
use crate::harness::trace::{self, Step};
use crate::harness::world::{Served, World, served, sync};

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
        self.durable = self.live.clone();
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
                assert_eq!(from.parent(), to.parent(), "renames stay in a directory");
                let is = Some((name(to), self.find(from).unwrap()));
                self.enter(from, Entry { gone: Some(name(from)), is });
            }
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
struct Moment {
    acknowledged: u64,
    published: u64,
}

/// Records syncs of `rounds` rounds, a sync of nothing new, a repair, and a rebuild by a verb that finds no index.
fn recorded(world: &World, rounds: u64) -> (Vec<Step>, Vec<Moment>) {
    let root = world.sandbox.path("");
    let root: PathBuf = root.components().collect();
    let (mut steps, mut moments, mut acknowledged) = (Vec::new(), Vec::new(), 0);
    let mut run = |published: u64, arguments: &[&str]| {
        world.publish(published);
        let (said, done) = trace::record(&world.sandbox, &root, arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        let done = done.into_iter().filter(|step| match step {
            Step::Told => true,
            Step::Directory(path) | Step::File(path) | Step::Write(path, ..) | Step::Length(path, _) => {
                concerns(path, &root)
            }
            Step::Rename(path, _) | Step::Gone(path) => concerns(path, &root),
            Step::Sync(path) => *path == root || concerns(path, &root),
        });
        for step in done {
            if step == Step::Told {
                acknowledged = published;
            }
            steps.push(step);
            moments.push(Moment { acknowledged, published });
        }
    };
    for round in 1..=rounds {
        run(round, &["sync"]);
    }
    run(rounds, &["sync"]);
    run(rounds, &["doctor", "--repair"]);
    (steps, moments)
}

/// The state directory is what the model is about.
fn concerns(path: &Path, root: &Path) -> bool {
    path.starts_with(root.join("state"))
}

#[test]
fn no_power_cut_loses_an_acknowledged_generation_or_gives_a_wrong_answer() {
    if !trace::is_here() {
        return;
    }
    let world = World::new();
    let (steps, moments) = recorded(&world, 4);
    chance::shared(chance::count("RESOLVERD_CUTS", 24, 2_000), |chance, cuts| {
        cut_often(&world, &steps, &moments, chance, cuts);
    });
}

fn cut_often(world: &World, steps: &[Step], moments: &[Moment], mut chance: Chance, cuts: u64) {
    let (mut lost, mut refused) = (0u64, 0u64);
    for cut in 0..cuts {
        // The end of a run is where an acknowledgement has just been given: every fourth cut strikes there.
        let told: Vec<usize> = (0..steps.len()).filter(|at| steps[*at] == Step::Told).collect();
        let at = match cut % 4 {
            0 => told[chance.index(told.len())],
            _ => chance.index(steps.len()),
        };
        let mut disk = Disk::new(&world.sandbox.path(""));
        steps[..=at].iter().for_each(|step| disk.take(step));
        let sandbox = world.beside(Path::new("/nowhere"));
        let model = ["all lost", "some lost", "one lost", "one kept", "all kept"][chance.index(5)];
        let one = chance.index(disk.unsynced().max(1));
        let (mut dice, mut asked) = (chance.clone(), 0..);
        disk.write(&sandbox.path(""), &mut || match model {
            "all lost" => false,
            "all kept" => true,
            "one lost" => asked.next() != Some(one),
            "one kept" => asked.next() == Some(one),
            _ => dice.below(2) == 0,
        });
        let Moment { acknowledged, published } = moments[at];
        let what = format!("cut {cut} after step {at} of {} ({:?}), {model}", steps.len(), brief(&steps[at]));
        match served(&sandbox) {
            Served::Round(round) => {
                assert!(
                    (acknowledged..=published).contains(&round),
                    "{what}: round {round} is served, {acknowledged} was acknowledged"
                );
                lost += u64::from(round < acknowledged);
            }
            Served::Refused(why) => {
                refused += 1;
                assert_eq!(acknowledged, 0, "{what}: {why}");
            }
        }
        sync(&sandbox);
        assert_eq!(served(&sandbox), Served::Round(4), "{what}: a sync after it");
    }
    eprintln!(
        "{cuts} cuts in {} steps: {lost} lost, {refused} before the first acknowledgement",
        steps.len()
    );
}

/// A step without its bytes.
fn brief(step: &Step) -> Step {
    match step {
        Step::Write(path, at, bytes) => Step::Write(path.clone(), *at, bytes[..bytes.len().min(16)].to_vec()),
        other => other.clone(),
    }
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
