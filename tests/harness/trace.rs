//! What a process does to a directory, as `strace` tells it: every write, rename and sync in its order. Runs `strace`, reads
//! its text, and knows nothing of what the files mean.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::{place, poll};

/// One step; paths as they are at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A directory was made.
    Directory(PathBuf),
    /// A file was opened for writing: it is there now.
    File(PathBuf),
    /// Bytes were written at an offset, or at the end.
    Write(PathBuf, Option<usize>, Vec<u8>),
    /// A file was cut or made longer.
    Length(PathBuf, usize),
    /// A name was given to something else.
    Rename(PathBuf, PathBuf),
    /// A name is gone.
    Gone(PathBuf),
    /// A file or directory was synced.
    Sync(PathBuf),
    /// A file or directory could not be synced, which the system says once.
    Unsynced(PathBuf),
    /// The process said something to its caller: a verb anything, a daemon how a sync ended.
    Told,
}

/// The calls that are recorded.
const CALLS: &str = "openat,open,creat,mkdir,mkdirat,write,pwrite64,writev,pwritev,pwritev2,rename,renameat,renameat2,unlink,unlinkat,rmdir,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate,lseek,link,linkat,symlink,symlinkat,copy_file_range,sendfile,splice";

/// The calls that write a file, a name or a mode, and those that make durable.
pub(crate) const WRITES: &str = "write,pwrite64,openat,mkdir,mkdirat,rename,renameat,renameat2,ftruncate,unlink,unlinkat,rmdir,link,linkat,fchmod,chmod,fchmodat";
pub(crate) const SYNCS: &str = "fsync,fdatasync,sync_file_range";

/// A place in a process where something can be injected: a kind of call, and its number. `strace` counts each kind in each thread
/// by itself, so that a point is the n-th such call of every thread that makes so many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// The kind of call.
    pub(crate) call: String,
    /// Which one, from 1.
    pub(crate) number: u64,
}

/// Returns the points of a verb at which it writes or syncs, in their order, by one run of it: all together they are every such
/// call of every thread. Calls that only open to read are counted and left out, and so is what goes to no file and no terminal.
pub(crate) fn points(log: &str) -> Vec<Point> {
    let mut found = BTreeMap::<Point, usize>::new();
    each_call(log, |_, point, line| {
        let reads = point.call == "openat"
            && !["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
        let elsewhere = ["<socket:", "<UNIX", "<TCP", "<anon_inode:"].iter().any(|kind| line.contains(kind));
        if !reads && !elsewhere {
            let next = found.len();
            found.entry(point).or_insert(next);
        }
    });
    let mut points: Vec<(Point, usize)> = found.into_iter().collect();
    points.sort_by_key(|(_, at)| *at);
    points.into_iter().map(|(point, _)| point).collect()
}

/// Returns how many calls of a kind the busiest thread made.
pub(crate) fn most(log: &str, call: &str) -> u64 {
    let mut most = 0;
    each_call(log, |_, point, _| {
        if point.call == call {
            most = most.max(point.number);
        }
    });
    most
}

/// Hands out the calls of a log where they begin: the thread, which call it is, and the line.
fn each_call<'a>(log: &'a str, mut take: impl FnMut(&'a str, Point, &'a str)) {
    let mut counts = HashMap::<(&str, &str), u64>::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(').filter(|_| !rest.contains(" resumed>"))
        else {
            continue;
        };
        let number = counts.entry((thread, call)).or_default();
        *number += 1;
        take(thread, Point { call: call.to_owned(), number: *number }, rest);
    }
}

/// Tells whether `strace` can be run; says so where it cannot.
pub(crate) fn is_here() -> bool {
    let mut command = Command::new("strace");
    let is_here = command
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_here {
        place::skipped("strace is not there, or may not trace");
    }
    is_here
}

/// Runs a verb under `strace` with `flags`, and returns what it said and the log.
pub(crate) fn run(sandbox: &Sandbox, flags: &[&str], arguments: &[&str]) -> (Said, String) {
    run_in(sandbox, &sandbox.path(""), flags, arguments)
}

/// Runs a verb like [`run`], in a directory of the sandbox.
pub(crate) fn run_in(
    sandbox: &Sandbox,
    directory: &Path,
    flags: &[&str],
    arguments: &[&str],
) -> (Said, String) {
    let log = sandbox.path("strace.log");
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(&log).args(flags).arg("--").arg(place::binary());
    sandbox.furnish(&mut command);
    let said = Said::of(command.current_dir(directory).args(arguments));
    (said, std::fs::read_to_string(&log).unwrap_or_default())
}

/// Runs a verb, with what is injected into it, and returns what it said, and what it did below `root`.
pub(crate) fn record(
    sandbox: &Sandbox,
    root: &Path,
    inject: Option<&str>,
    arguments: &[&str],
) -> (Said, Vec<Step>) {
    let trace = format!("trace={CALLS}");
    let inject = inject.map(|inject| format!("inject={inject}"));
    let mut flags = vec!["-y", "-xx", "-s", "4000000", "-e", &*trace];
    flags.extend(inject.iter().flat_map(|inject| ["-e", inject.as_str()]));
    let (said, log) = run(sandbox, &flags, arguments);
    (said, read(&log, root))
}

/// A daemon that is recorded from its start; its process is the daemon's own.
pub(crate) struct Recorded {
    /// The daemon.
    pub(crate) daemon: Daemon,
    log: PathBuf,
}

impl Recorded {
    /// Starts a daemon, with what is injected into it, and waits until `target` answers 200.
    pub(crate) fn start(sandbox: &Sandbox, inject: Option<&str>, target: &str) -> Recorded {
        let log = sandbox.path("strace.log");
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-y", "-xx", "-s", "4000000", "-o"]).arg(&log);
        command.arg("-e").arg(format!("trace={CALLS},{SENDS}"));
        if let Some(inject) = inject {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg("--").arg(place::binary());
        sandbox.furnish(&mut command);
        let mut daemon = sandbox.spawn_as(command);
        daemon.wait_for(target);
        Recorded { daemon, log }
    }

    /// Stops the daemon and returns what it did below `root`, and the log as it is.
    pub(crate) fn stop(self, root: &Path) -> (Vec<Step>, String) {
        let process = self.daemon.pid().to_string();
        assert!(self.daemon.stop().success());
        // The recorder ends behind it.
        let log = poll::until("the end of the record", || {
            let log = std::fs::read_to_string(&self.log).ok()?;
            let last = log.lines().next_back()?.split_once(' ')?;
            (last.0 == process && last.1.contains("+++ exited with")).then_some(log)
        });
        (read(&log, root), log)
    }
}

/// How a daemon answers its callers.
const SENDS: &str = "sendto,sendmsg";
/// What is only in the answer to an order to sync that was carried out.
const REPORT: &str = "\"documentsFetched\"";

/// Reads the log of one process; what does not concern `root` is left out.
fn read(log: &str, root: &Path) -> Vec<Step> {
    let report: String = REPORT.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    let mut reader = Reader { root, report, offsets: HashMap::new(), steps: Vec::new() };
    let mut begun: HashMap<&str, &str> = HashMap::new();
    for line in log.lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start);
        } else if rest.starts_with("<... ") {
            let end = rest.split_once(" resumed>").unwrap().1;
            // strace writes the comma between two arguments to either side.
            let start = begun.remove(pid).unwrap();
            reader.call(&format!("{start}{end}"));
        } else {
            reader.call(rest);
        }
    }
    reader.steps
}

/// The calls by which something is said through a socket.
const SENT: [&str; 4] = ["sendto", "sendmsg", "write", "writev"];

struct Reader<'a> {
    root: &'a Path,
    /// [`REPORT`] as it is printed.
    report: String,
    /// Where each descriptor stands; `None` for one that appends.
    offsets: HashMap<u32, Option<usize>>,
    steps: Vec<Step>,
}

impl Reader<'_> {
    fn call(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return };
        let first = arguments.split(", ").next().unwrap_or_default().trim_end().trim_end_matches(')');
        if SENT.contains(&name) && descriptor(first).1.to_string_lossy().starts_with("socket:") {
            if !result.starts_with('-') && line.contains(&self.report) {
                self.steps.push(Step::Told);
            }
            return;
        }
        if result.starts_with(['-', '?']) {
            if result.starts_with('-') && SYNCS.split(',').any(|sync| sync == name) {
                self.push(Step::Unsynced(descriptor(first).1));
            }
            return;
        }
        let arguments: Vec<&str> = arguments.trim_end().trim_end_matches(')').split(", ").collect();
        let number = |at: usize| arguments[at].parse::<usize>().unwrap();
        match name {
            "creat" => panic!("a call that nobody reads: {name}"),
            "open" => {
                let path = text(arguments[0]);
                assert!(path.is_absolute(), "a call that nobody reads: {line}");
                self.opened(&path, arguments[1], result);
            }
            "openat" => self.opened(&at(arguments[0], arguments[1]), arguments[2], result),
            "mkdir" => self.push(Step::Directory(text(arguments[0]))),
            "mkdirat" => self.push(Step::Directory(at(arguments[0], arguments[1]))),
            "write" => {
                let (descriptor, path) = descriptor(arguments[0]);
                let bytes = bytes(arguments[1])[..result.parse::<usize>().unwrap()].to_vec();
                if descriptor == 1 {
                    return self.steps.push(Step::Told);
                }
                let offset = self.offsets.get(&descriptor).copied().flatten();
                if let Some(Some(offset)) = self.offsets.get_mut(&descriptor) {
                    *offset += bytes.len();
                }
                self.push(Step::Write(path, offset, bytes));
            }
            "pwrite64" => {
                let bytes = bytes(arguments[1])[..result.parse::<usize>().unwrap()].to_vec();
                self.push(Step::Write(descriptor(arguments[0]).1, Some(number(3)), bytes));
            }
            "lseek" => {
                if let Some(Some(offset)) = self.offsets.get_mut(&descriptor(arguments[0]).0) {
                    *offset = result.parse().unwrap();
                }
            }
            "ftruncate" => {
                self.push(Step::Length(descriptor(arguments[0]).1, number(1)));
            }
            "rename" => self.push(Step::Rename(text(arguments[0]), text(arguments[1]))),
            "renameat" | "renameat2" => {
                self.push(Step::Rename(at(arguments[0], arguments[1]), at(arguments[2], arguments[3])));
            }
            "unlink" | "rmdir" => self.push(Step::Gone(text(arguments[0]))),
            "unlinkat" => self.push(Step::Gone(at(arguments[0], arguments[1]))),
            "fsync" | "fdatasync" => self.push(Step::Sync(descriptor(arguments[0]).1)),
            // The engine's way to sync, which is none.
            "sync_file_range" => {}
            // What is read is of no concern.
            "copy_file_range" if !descriptor(arguments[2]).1.starts_with(self.root) => {}
            "sendfile" if !descriptor(arguments[0]).1.starts_with(self.root) => {}
            _ => {
                let concerns = |one: &&str| descriptor(one).1.starts_with(self.root);
                assert!(!arguments.iter().any(concerns), "a call that nobody reads: {line}");
            }
        }
    }

    fn opened(&mut self, path: &Path, flags: &str, result: &str) {
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| flags.contains(flag));
        let start = (!flags.contains("O_APPEND")).then_some(0);
        self.offsets.insert(descriptor(result).0, start);
        if writes && path.starts_with(self.root) {
            self.push(Step::File(path.to_owned()));
            if flags.contains("O_TRUNC") {
                self.push(Step::Length(path.to_owned(), 0));
            }
        }
    }

    fn push(&mut self, step: Step) {
        let path = match &step {
            Step::Directory(path) | Step::File(path) | Step::Write(path, ..) | Step::Length(path, _) => path,
            Step::Rename(path, _) | Step::Gone(path) | Step::Sync(path) | Step::Unsynced(path) => path,
            Step::Told => return,
        };
        if path.starts_with(self.root) {
            self.steps.push(step);
        }
    }
}

/// Reads `4<path>` or `AT_FDCWD<path>`.
fn descriptor(text: &str) -> (u32, PathBuf) {
    let (number, path) = text.split_once('<').unwrap_or((text, ""));
    (number.parse().unwrap_or(u32::MAX), unescaped(path.trim_end_matches('>')))
}

fn at(directory: &str, name: &str) -> PathBuf {
    descriptor(directory).1.join(text(name))
}

fn text(argument: &str) -> PathBuf {
    unescaped(argument.trim_matches('"'))
}

fn unescaped(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes(text)).unwrap())
}

/// Reads `"\x61\x62"`, with or without quotes; what is not escaped stands for itself.
fn bytes(text: &str) -> Vec<u8> {
    let mut rest = text.trim_matches('"').as_bytes();
    let mut found = Vec::with_capacity(rest.len() / 4);
    while let Some(first) = rest.first() {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap();
                found.push(u8::try_from(digit(high) * 16 + digit(low)).unwrap());
                rest = tail;
            }
            _ => {
                found.push(*first);
                rest = &rest[1..];
            }
        }
    }
    found
}

#[test]
fn calls_are_counted_for_each_thread_and_kind() {
    let log = r#"7 openat(AT_FDCWD</r>, "a", O_RDONLY|O_CLOEXEC) = 4</r/a>
7 openat(AT_FDCWD</r>, "b", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 5</r/b>
7 write(5</r/b>, "hi", 2 <unfinished ...>
8 write(6<anon_inode:[eventfd]>, "x", 8) = 8
7 <... write resumed>) = 2
8 write(1<pipe:[3]>, "x", 8) = -1 EPIPE (Broken pipe)
7 fsync(5</r/b>) = 0
8 fsync(5</r/b>) = 0
7 +++ exited with 0 +++
"#;
    let point = |call: &str, number| Point { call: call.to_owned(), number };
    assert_eq!(points(log), [point("openat", 2), point("write", 1), point("write", 2), point("fsync", 1)]);
    assert_eq!((most(log, "write"), most(log, "fsync"), most(log, "rename")), (2, 1, 0));
}

#[test]
fn a_log_is_read_as_steps() {
    let log = r#"7 openat(AT_FDCWD</r>, "\x61", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 4</r/a>
7 write(4</r/a>, "\x68\x69", 2) = 2
8 fsync(4</r/a> <unfinished ...>
7 write(4</r/a>, "\x21", 1) = 1
8 <... fsync resumed>) = 0
7 pwrite64(4</r/a>, "\x6f\x6f", 2, 9) = 2
7 renameat(AT_FDCWD</r>, "\x2f\x72\x2f\x61", AT_FDCWD</r>, "\x2f\x72\x2f\x62") = 0
7 mkdir("\x2f\x65\x6c\x73\x65", 0700) = 0
7 unlink("\x2f\x72\x2f\x62") = -1 ENOENT (No such file or directory)
7 write(1<pipe:[3]>, "\x6f\x6b", 2) = 2
7 fsync(4</r/a>)           = -1 EIO (Input/output error) (INJECTED)
7 write(9<socket:[5]>, "\x7b", 1) = 1
7 write(9<socket:[5]>, "\x7b\x22\x64\x6f\x63\x75\x6d\x65\x6e\x74\x73\x46\x65\x74\x63\x68\x65\x64\x22", 19) = 19
7 +++ exited with 0 +++
"#;
    let (a, b) = (PathBuf::from("/r/a"), PathBuf::from("/r/b"));
    let expected = [
        Step::File(a.clone()),
        Step::Write(a.clone(), Some(0), b"hi".to_vec()),
        Step::Write(a.clone(), Some(2), b"!".to_vec()),
        Step::Sync(a.clone()),
        Step::Write(a.clone(), Some(9), b"oo".to_vec()),
        Step::Rename(a.clone(), b),
        Step::Told,
        Step::Unsynced(a),
        Step::Told,
    ];
    assert_eq!(read(log, Path::new("/r")), expected);
}
