//! The configured command that judges circuits and test vectors, since the toolchain of eStream is not part of this program.
//!
//! Only the operator names it, in `config.toml` or on the command line: never the component. It is no line for a shell, and its program
//! is found before anything starts: an absolute path, or a name that is looked for in the absolute directories of `PATH`. A relative
//! path would lead into the component's directory, where the command works, and so would an empty directory of `PATH`.

use std::fmt;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::api::{Code, Failure};

/// How long the command may take unless something else is said, in seconds.
pub const TIMEOUT_S: u64 = 600;
/// How much of what it prints is kept, in bytes: the end of it.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// The variable that holds a token for the interface of a forge, unless another one is named.
pub const TOKEN_ENV: &str = "GITHUB_TOKEN";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckCommand {
    /// The program, as an absolute path.
    program: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
    /// Variables that it is not given.
    withheld: Vec<String>,
}

/// How a command went.
#[derive(Debug)]
pub(super) struct Ran {
    /// The end of what it printed, on both of its outputs.
    pub(super) output: String,
    pub(super) failure: Option<Failure>,
}

impl CheckCommand {
    /// Takes a program and its arguments; `path` is the value of `PATH`, in whose directories a bare name is looked for.
    ///
    /// **Errors**: R008 `estream.check_command`: there is no such program, or its path is relative.
    pub fn find(words: &[String], path: Option<&str>, timeout_s: u64) -> Result<CheckCommand, Failure> {
        let wrong = |found: String| {
            let detail = format!("the check command cannot be used: expected a program, found {found}");
            Failure::new(Code::ConfigInvalid, "estream.check_command", detail)
                .hint("name a program by its absolute path, or one that lies in a directory of PATH")
        };
        let Some((program, arguments)) = words.split_first() else {
            return Err(wrong("nothing".to_owned()));
        };
        let found = match program.contains('/') {
            true => Some(PathBuf::from(program)).filter(|path| path.is_absolute() && is_program(path)),
            false if program.is_empty() => None,
            false => {
                let places =
                    path.unwrap_or_default().split(':').map(Path::new).filter(|place| place.is_absolute());
                places.map(|place| place.join(program)).find(|path| is_program(path))
            }
        };
        let program = found.ok_or_else(|| wrong(format!("no program {program:?}")))?;
        let timeout = Duration::from_secs(timeout_s);
        Ok(CheckCommand {
            program,
            arguments: arguments.to_vec(),
            timeout,
            withheld: vec![TOKEN_ENV.to_owned()],
        })
    }

    /// Withholds another variable of the environment, which holds what is none of its business.
    pub fn without(mut self, variable: &str) -> CheckCommand {
        self.withheld.push(variable.to_owned());
        self
    }
}

impl fmt::Display for CheckCommand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.program.display())?;
        self.arguments.iter().try_for_each(|argument| write!(out, " {argument}"))
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs a command in a directory, with nothing to read, until it ends or its time is over; whatever it has started ends with it then.
pub(super) fn run(command: &CheckCommand, directory: &Path) -> Ran {
    let failed = |reason: &'static str, what: String| {
        let detail = format!("the check command {command} {what}");
        Failure::new(Code::ManifestInvalid, reason, detail)
            .hint("what it printed says why; run it in the component's directory")
    };
    let (mut child, reader) = match start(command, directory) {
        Ok(started) => started,
        Err(error) => {
            let failure = failed("estream.check_command", format!("cannot be started: {error}"));
            return Ran { output: String::new(), failure: Some(failure) };
        }
    };
    let (sender, receiver) = mpsc::channel();
    // Ends when the last process that may write there does, or with this one.
    thread::spawn(move || sender.send(end_of(reader)));
    let (output, is_late) = match receiver.recv_timeout(command.timeout) {
        Ok(output) => (output, false),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end_group(&child);
            (receiver.recv_timeout(Duration::from_secs(5)).unwrap_or_default(), true)
        }
    };
    if !is_late {
        // It has closed its outputs; one that goes on without them is not waited for longer than the others.
        let waited = wait(child, command.timeout);
        let failure = match waited {
            Some(Ok(status)) if status.success() => None,
            Some(Ok(status)) => Some(failed("estream.check_failed", format!("found faults: {status}"))),
            Some(Err(error)) => Some(failed("estream.check_command", format!("was lost: {error}"))),
            None => Some(late(command)),
        };
        return Ran { output, failure };
    }
    let _ = child.wait();
    Ran { output, failure: Some(late(command)) }
}

fn late(command: &CheckCommand) -> Failure {
    let detail = format!("the check command {command} had not ended after {} s", command.timeout.as_secs());
    Failure::new(Code::ManifestInvalid, "estream.check_timeout", detail)
        .hint("give it more time with --check-timeout SECONDS")
}

fn start(command: &CheckCommand, directory: &Path) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let mut started = Command::new(&command.program);
    for variable in command.withheld.iter().filter(|name| !name.is_empty() && !name.contains(['=', '\0'])) {
        started.env_remove(variable);
    }
    let child = started
        .args(&command.arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // A group of its own, so that it can be ended with all that it has started.
        .process_group(0)
        .spawn()?;
    Ok((child, reader))
}

/// Waits for a process in a thread of its own, and ends it when its time is over.
fn wait(mut child: Child, timeout: Duration) -> Option<io::Result<std::process::ExitStatus>> {
    let group = group_of(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    let waited = receiver.recv_timeout(timeout).ok();
    if waited.is_none()
        && let Some(group) = group
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
    waited
}

fn end_group(child: &Child) {
    if let Some(group) = group_of(child) {
        // Gone already is fine.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn group_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Reads to the end and keeps the last bytes.
fn end_of(mut reader: PipeReader) -> String {
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), [0; 16 << 10], false);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => kept.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if kept.len() > 2 * OUTPUT_BYTES_MAX {
            kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
            is_cut = true;
        }
    }
    let text = String::from_utf8_lossy(&kept);
    if is_cut { format!("…\n{text}") } else { text.into_owned() }
}
