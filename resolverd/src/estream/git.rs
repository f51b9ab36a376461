//! The program `git`, as its user has set it up: for what is done with the user's own rights and credentials, which is to clone a
//! registry, to commit and to push.
//!
//! A repository is looked at whose configuration somebody else may have written: no hook runs, nothing that it brings is taken for a
//! repository because of what it is called, what replaces an object in it is not followed, and what is missing in it is not fetched.
//!
//! Never through a shell, never asks on the terminal for a password, never reads an argument from outside as an option. What a
//! repository brings is read by [`crate::fetch`], and never checked out: a registry's files could be links.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use catalogue_schema::error::escaped;
use rustix::process::{Pid, Signal, kill_process};

/// The most that is kept of what the program prints, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// The most that a message repeats of what the program said, in bytes.
const SAID_BYTES_MAX: usize = 600;
/// What holds of every call: nothing of the repository's own is run, a directory without `.git` is none unless it is named as one,
/// and what is only looked at is not written to.
const FIXED: [&str; 11] = [
    "--no-optional-locks",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "safe.bareRepository=explicit",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
];
/// How long one call may take that reaches another machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// The verbs that reach another repository. A repository that is only looked at may name others that objects are fetched from where
/// they are missing, and the programs by which those are reached.
const REACHING: [&str; 3] = ["clone", "ls-remote", "push"];
/// The status of `git config` where nothing is configured.
const NOT_CONFIGURED: i32 = 1;
/// The most processes that are ended with a call.
const PROCESSES_MAX: usize = 1_000;
/// What would lead the program to another repository than the one that it is told.
const ELSEWHERE: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
];

/// Why the program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It cannot be started.
    #[error("cannot run git: {source}")]
    Unstarted {
        /// What the system said.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("git {verb} failed: {said}")]
    Failed {
        /// Which of its verbs.
        verb: String,
        /// Its exit status; `None` where a signal ended it.
        status: Option<i32>,
        /// What it said, escaped and cut.
        said: String,
    },
    /// It printed more than is kept, and what was cut off would be missing.
    #[error("git {verb} printed more than {OUTPUT_BYTES_MAX} bytes")]
    TooMuch {
        /// Which of its verbs.
        verb: String,
    },
    /// It did not end.
    #[error("git {verb} did not end within {} s", PATIENCE.as_secs())]
    Slow {
        /// Which of its verbs.
        verb: String,
    },
}

impl GitError {
    /// Tells whether the other machine could not be reached, as far as what the program said shows it.
    pub fn is_unreachable(&self) -> bool {
        const SIGNS: [&str; 9] = [
            "could not resolve",
            "could not connect",
            "couldn't connect",
            "failed to connect",
            "connection refused",
            "connection timed out",
            "connection reset",
            "network is unreachable",
            "ssl certificate problem",
        ];
        match self {
            GitError::Failed { said, .. } => {
                let said = said.to_ascii_lowercase();
                SIGNS.iter().any(|sign| said.contains(sign))
            }
            GitError::Slow { .. } => true,
            GitError::Unstarted { .. } | GitError::TooMuch { .. } => false,
        }
    }

    /// Tells whether `git config` found nothing of what it was asked for; that it could not look is something else.
    pub fn is_not_configured(&self) -> bool {
        matches!(self, GitError::Failed { verb, status: Some(NOT_CONFIGURED), .. } if verb == "config")
    }

    /// Tells whether the program does not know who commits.
    pub fn is_nameless(&self) -> bool {
        matches!(self, GitError::Failed { said, .. } if said.contains("user.email") || said.contains("empty ident"))
    }
}

/// A repository that the program works in.
#[derive(Debug, Clone)]
pub struct Git {
    directory: PathBuf,
    /// It is a repository itself, without files beside it.
    is_bare: bool,
    index: Option<PathBuf>,
}

impl Git {
    /// Works in a directory of the caller's.
    pub fn in_directory(directory: &Path) -> Git {
        Git { directory: directory.to_path_buf(), is_bare: false, index: None }
    }

    /// Works in a repository of our own without files beside it.
    pub fn in_repository(directory: &Path) -> Git {
        Git { is_bare: true, ..Git::in_directory(directory) }
    }

    /// Works with an index of its own.
    pub fn with_index(&self, index: &Path) -> Git {
        Git { index: Some(index.to_path_buf()), ..self.clone() }
    }

    /// Returns where it works.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs the program and returns what it printed, without the newline at its end.
    ///
    /// **Errors**: it cannot be started, does not end, or ends with an error.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String, GitError> {
        self.run_with(arguments, &[])
    }

    /// Runs the program with bytes on its standard input.
    ///
    /// **Errors**: as [`Git::run`].
    pub fn run_with<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command
            .args(FIXED)
            .args(arguments)
            .current_dir(&self.directory)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        if self.is_bare {
            command.env("GIT_DIR", &self.directory);
        }
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        let verb = verb(arguments);
        if !REACHING.contains(&verb.as_str()) {
            // Either of them is enough; older programs know the second one alone. There is no protocol of this name.
            command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none");
        }
        let child = command.spawn().map_err(|source| GitError::Unstarted { source })?;
        let ended = conversed(child, input.to_vec(), &verb)?;
        match ended.is_good {
            true if ended.is_cut => Err(GitError::TooMuch { verb }),
            true => Ok(ended.printed.trim_end_matches('\n').to_owned()),
            false => {
                let mut said = escaped(ended.said.trim());
                if said.len() > SAID_BYTES_MAX {
                    // What went wrong stands at the end.
                    let start = (said.len() - SAID_BYTES_MAX..).find(|at| said.is_char_boundary(*at));
                    said = format!("…{}", &said[start.unwrap_or_default()..]);
                }
                Err(GitError::Failed { verb, status: ended.status, said })
            }
        }
    }
}

fn verb<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    arguments.first().map(|first| first.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}

struct Ended {
    is_good: bool,
    status: Option<i32>,
    printed: String,
    /// Not all that was printed is in `printed`.
    is_cut: bool,
    said: String,
}

/// What a pipe brought, and whether there was more of it.
type Heard = (String, bool);

/// Waits for the end of a program while it is written to and read from.
fn conversed(mut child: Child, input: Vec<u8>, verb: &str) -> Result<Ended, GitError> {
    let unstarted = |source| GitError::Unstarted { source };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel::<()>();
    let thread = |work: Box<dyn FnOnce() -> Heard + Send>| -> Result<JoinHandle<Heard>, GitError> {
        let sender = sender.clone();
        let started = std::thread::Builder::new().name("git".to_owned()).spawn(move || {
            let text = work();
            // The other end waits for the end of all senders.
            drop(sender);
            text
        });
        started.map_err(unstarted)
    };
    let read = |pipe: Option<Box<dyn Read + Send>>| -> Box<dyn FnOnce() -> Heard + Send> {
        Box::new(move || {
            let (mut bytes, mut left) = (Vec::new(), 0);
            if let Some(mut pipe) = pipe {
                // What a broken pipe leaves out, the exit status tells.
                let _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
                left = io::copy(&mut pipe, &mut io::sink()).unwrap_or(1);
            }
            (String::from_utf8_lossy(&bytes).into_owned(), left > 0)
        })
    };
    let printed = thread(read(stdout.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>)))?;
    let said = thread(read(stderr.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>)))?;
    let writer = thread(Box::new(move || {
        if let Some(mut stdin) = stdin {
            // A program that reads no more has its reason, and says it.
            let _ = stdin.write_all(&input);
        }
        Heard::default()
    }))?;
    drop(sender);
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(PATIENCE) {
        end(&mut child);
        return Err(GitError::Slow { verb: verb.to_owned() });
    }
    let status = child.wait().map_err(unstarted)?;
    let text = |thread: JoinHandle<Heard>| thread.join().unwrap_or_default();
    text(writer);
    let ((printed, is_cut), (said, _)) = (text(printed), text(said));
    Ok(Ended { is_good: status.success(), status: status.code(), printed, is_cut, said })
}

/// Ends a program with all that it has started. It has no process group of its own: whoever presses Ctrl-C ends it with us, and ssh
/// may ask on the terminal.
fn end(child: &mut Child) {
    let of = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
    let (mut tree, mut at) = (Vec::from_iter(of(child.id())), 0);
    while let Some(parent) = tree.get(at).copied().filter(|_| at < PROCESSES_MAX) {
        tree.extend(children(parent));
        at += 1;
    }
    // From the top: who is gone starts no others. One that has ended just now is fine.
    for process in tree {
        let _ = kill_process(process, Signal::KILL);
    }
    let _ = child.wait();
}

/// Returns the processes that one has started; none where the system does not tell.
fn children(parent: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    let listed = tasks.into_iter().flatten().flatten().map(|task| task.path().join("children"));
    let texts: String = listed.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    texts.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// Returns arguments of several kinds as one list.
pub fn arguments(fixed: &[&str], more: &[&OsStr]) -> Vec<OsString> {
    fixed.iter().map(OsString::from).chain(more.iter().map(|one| (*one).to_os_string())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn output_that_is_cut_off_is_no_output() {
        let place = tempfile::tempdir().unwrap();
        let git = Git::in_directory(place.path());
        git.run(&["init", "--quiet", "."]).unwrap();
        let most = usize::try_from(OUTPUT_BYTES_MAX).unwrap();
        for (bytes, is_whole) in [(most, true), (most + 1, false)] {
            let object = git.run_with(&["hash-object", "-w", "--stdin"], &vec![b'x'; bytes]).unwrap();
            match git.run(&["cat-file", "blob", &object]) {
                Ok(printed) => assert!(is_whole && printed.len() == bytes),
                Err(error) => assert!(!is_whole && matches!(error, GitError::TooMuch { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn a_program_ends_with_all_that_it_started() {
        let text = "sh -c 'sleep 3600 & echo $!; wait; :' & wait";
        let mut child = Command::new("sh").args(["-c", text]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        // The number comes once all of them are there.
        stdout.read_exact(&mut [0]).unwrap();
        end(&mut child);
        // It ends with the last that could write there.
        stdout.read_to_end(&mut Vec::new()).unwrap();
    }
}
