//! Git's protocol through the system's `ssh`, for repositories that the operator named. Never asks for a password, never runs a
//! shell on this machine, and never holds a key: that is `ssh`'s own business, with its own configuration.
//!
//! Pipes have no timeouts, so threads read and write them; the caller waits for a thread no longer than the run may last.
//! When the connection is dropped the process and its helpers are killed, and the threads find their pipes closed.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::SshUrl;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::fetch::FetchError;
use crate::fetch::limit::{Budget, LOOK_EVERY};

/// How long the last words on stderr are waited for, when stdout has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces wait to be taken.
const PIECES: usize = 4;
/// How much of what `ssh` says on stderr is kept, in bytes.
const COMPLAINT_BYTES: usize = 2048;

/// One `ssh` process that talks to `git-upload-pack`.
pub(super) struct Connection {
    child: Child,
    requests: Sender<Vec<u8>>,
    pieces: Receiver<Vec<u8>>,
    complaint: Receiver<Vec<u8>>,
}

impl Connection {
    /// Starts `program`, which is `ssh`.
    ///
    /// **Errors**: `net.ssh`: it cannot be started.
    pub(super) fn open(
        program: &OsStr,
        url: &SshUrl,
        subject: &dyn fmt::Display,
    ) -> Result<Connection, FetchError> {
        let mut command = Command::new(program);
        command.args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"]);
        if let Some(port) = url.port() {
            command.args(["-p", &port.to_string()]);
        }
        // The path's grammar has no quote, so these two hold it.
        command.args(["--", url.login(), &format!("git-upload-pack '{}'", url.path())]);
        command.env("GIT_PROTOCOL", "version=2").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |found: String| {
            let expected = "the system's ssh, found in PATH";
            FetchError::Unreachable(Refusal::new("net.ssh", subject, expected, found))
        };
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(failed("no pipes".to_owned()));
        };
        let (requests, to_write) = channel::<Vec<u8>>();
        let (read, pieces) = sync_channel(PIECES);
        let (said, complaint) = channel();
        thread::spawn(move || write_all(stdin, &to_write));
        thread::spawn(move || read_all(stdout, |piece| read.send(piece.to_vec()).is_ok()));
        thread::spawn(move || {
            let mut words = Vec::new();
            read_all(stderr, |piece| {
                let room = COMPLAINT_BYTES.saturating_sub(words.len());
                words.extend_from_slice(&piece[..piece.len().min(room)]);
                true
            });
            said.send(words)
        });
        Ok(Connection { child, requests, pieces, complaint })
    }

    /// Sends a request. Never waits: what follows tells whether it arrived.
    pub(super) fn send(&self, request: Vec<u8>) {
        let _ = self.requests.send(request);
    }

    /// Waits for the next piece of the answer; `None` when the connection has ended.
    ///
    /// **Errors**: `limit.total_s`, `net.abandoned`; `net.timeout` after `limits.stall_s` silent seconds.
    pub(super) fn receive(
        &self,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let stall_s = budget.limits().stall_s;
        let silence = Duration::from_secs(stall_s);
        let left = budget.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut wait = left.map_or(silence, |left| left.min(silence));
        loop {
            let turn = if budget.has_audience() { wait.min(LOOK_EVERY) } else { wait };
            match self.pieces.recv_timeout(turn) {
                Ok(piece) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => budget.check_deadline(subject)?,
            }
            wait = wait.saturating_sub(turn);
            if wait.is_zero() {
                let expected = format!("bytes within {stall_s} s (config key limits.stall_s)");
                let refusal = Refusal::new("net.timeout", subject, expected, "silence");
                return Err(FetchError::Unreachable(refusal));
            }
        }
    }

    /// Returns what `ssh` or the other side said on stderr, once the connection has ended.
    pub(super) fn complaint(&self) -> Vec<u8> {
        self.complaint.recv_timeout(LAST_WORDS).unwrap_or_default()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended already; its helpers may not have.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn write_all(mut stdin: impl Write, requests: &Receiver<Vec<u8>>) {
    for request in requests {
        if stdin.write_all(&request).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_all(mut pipe: impl Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match pipe.read(&mut piece) {
            Ok(0) => return,
            Ok(length) if take(&piece[..length]) => {}
            Ok(_) => return,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::fetch::limit::Limits;

    fn program(directory: &TempDir, script: &str) -> PathBuf {
        let place = directory.path().join("ssh");
        fs::write(&place, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
        place
    }

    fn url() -> SshUrl {
        SshUrl::parse("git@e.org:o/r.git").unwrap()
    }

    fn budget(change: impl FnOnce(&mut Limits)) -> Budget {
        let mut limits = Limits::default();
        change(&mut limits);
        Budget::new(&limits, Instant::now())
    }

    #[test]
    fn requests_go_in_and_pieces_come_out_until_the_end() {
        let place = TempDir::new().unwrap();
        let program = program(&place, "echo noise >&2; head -c 5; echo more >&2");
        let connection = Connection::open(program.as_os_str(), &url(), &"a").unwrap();
        connection.send(b"hello".to_vec());
        let budget = budget(|_| ());
        let mut answer = Vec::new();
        while let Some(piece) = connection.receive(&budget, &"a").unwrap() {
            answer.extend(piece);
        }
        assert_eq!(answer, b"hello");
        assert_eq!(connection.complaint(), b"noise\nmore\n");
    }

    #[test]
    fn a_silent_connection_is_given_up_and_its_process_ended() {
        let place = TempDir::new().unwrap();
        let program = program(&place, "exec sleep 100000");
        let stalled = budget(|limits| limits.stall_s = 1);
        let late = budget(|limits| limits.total_s = 1);
        for (budget, reason) in [(stalled, "net.timeout"), (late, "limit.total_s")] {
            let connection = Connection::open(program.as_os_str(), &url(), &"a").unwrap();
            let error = connection.receive(&budget, &"a").unwrap_err();
            assert_eq!(error.refusal().reason, reason);
            let process = Pid::from_raw(connection.child.id().cast_signed()).unwrap();
            drop(connection);
            assert!(rustix::process::test_kill_process(process).is_err(), "it still runs");
        }
    }

    #[test]
    fn a_machine_without_ssh_is_named() {
        let place = TempDir::new().unwrap();
        let absent = place.path().join("ssh");
        let error = Connection::open(absent.as_os_str(), &url(), &"a").map(|_| ()).unwrap_err();
        assert_eq!(error.refusal().reason, "net.ssh");
    }
}
