//! The real binary in a sandbox of its own: state, socket, sources file, environment. Nothing outside the sandbox is touched.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process, umask};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::http::{self, Answer};
use crate::harness::{place, poll};

/// What kernels have themselves of what published components require: whole namespaces, and single ids.
pub(crate) const NATIVES: [&str; 6] = [
    "lcod://contract/",
    "lcod://axiom/",
    "lcod://flow/",
    "lcod://impl/set@1",
    "lcod://tooling/resolver/register",
    "lcod://tooling/script@1",
];

/// A place for one daemon and its verbs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: TempDir,
    starts: AtomicUsize,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

/// What a verb printed and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit status.
    pub(crate) status: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said beside that.
    pub(crate) stderr: String,
}

impl Sandbox {
    /// Makes an empty sandbox.
    pub(crate) fn new() -> Sandbox {
        // The whole process's, and the same from every thread. Policies and keys that a group may write are not believed, and some
        // accounts make every file so.
        umask(Mode::WGRP | Mode::WOTH);
        Sandbox { directory: tempfile::tempdir().unwrap(), starts: AtomicUsize::new(0) }
    }

    /// Makes a sandbox with a sources file.
    pub(crate) fn with_sources(sources: &Value) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write_sources(sources);
        sandbox
    }

    /// Returns a path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Returns the socket, which lies in a directory that the daemon makes.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/resolverd.sock")
    }

    /// Returns the sources file.
    pub(crate) fn sources(&self) -> PathBuf {
        self.path("sources.json")
    }

    /// Writes the sources file, as one rename.
    pub(crate) fn write_sources(&self, sources: &Value) {
        self.write_sources_text(&sources.to_string());
    }

    /// Writes the sources file from text that need not be JSON.
    pub(crate) fn write_sources_text(&self, text: &str) {
        let fresh = self.path("sources.json.new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.sources()).unwrap();
    }

    /// Returns the binary with this sandbox as its whole world.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(place::binary());
        self.furnish(&mut command);
        command
    }

    /// Gives `command` the sandbox's environment and nothing else but `PATH`.
    pub(crate) fn furnish(&self, command: &mut Command) {
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", place::variable("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state-home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .env("RESOLVERD_SOURCES", self.sources())
            .env("RESOLVERD_STATE_DIR", self.state())
            .env("RESOLVERD_SOCKET", self.socket())
            .env("RESOLVERD_NATIVES", NATIVES.join(","))
            .env("RESOLVERD_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
    }

    /// Starts the daemon and does not wait for it.
    pub(crate) fn spawn(&self) -> Daemon {
        self.spawn_with(&[])
    }

    /// Starts the daemon with its log at `level` and does not wait for it.
    pub(crate) fn spawn_at(&self, level: &str) -> Daemon {
        let mut command = self.command();
        command.env("RESOLVERD_LOG", level);
        self.serve(command, &[])
    }

    /// Starts the daemon with more `flags` and does not wait for it.
    pub(crate) fn spawn_with(&self, flags: &[&str]) -> Daemon {
        self.serve(self.command(), flags)
    }

    /// Starts the daemon with a command that was changed, such as in its environment, and does not wait for it.
    pub(crate) fn spawn_as(&self, command: Command) -> Daemon {
        self.serve(command, &[])
    }

    /// Starts the daemon with a command that was changed and more `flags`, and does not wait for it.
    pub(crate) fn spawn_of(&self, command: Command, flags: &[&str]) -> Daemon {
        self.serve(command, flags)
    }

    fn serve(&self, mut command: Command, flags: &[&str]) -> Daemon {
        let log = self.path(&format!("daemon-{}.log", self.starts.fetch_add(1, Ordering::Relaxed)));
        command.arg("serve").arg("--sources").arg(self.sources());
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(self.socket());
        command.args(flags);
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Daemon { child: command.spawn().unwrap(), socket: self.socket(), log }
    }

    /// Starts the daemon and waits until it serves a generation.
    pub(crate) fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_for("/readyz");
        daemon
    }

    /// Starts the daemon and syncs once, so that every source has been tried.
    pub(crate) fn start_synced(&self) -> Daemon {
        let daemon = self.start();
        daemon.sync();
        daemon
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command().args(arguments))
    }

    /// Runs a verb to its end as a bare environment would: colours are not declined, and the log is the usual one. The
    /// output is no terminal all the same.
    pub(crate) fn run_bare(&self, arguments: &[&str]) -> Said {
        let mut command = self.command();
        command.env_remove("NO_COLOR").env_remove("RESOLVERD_LOG").env("TERM", "xterm-256color");
        Said::of(command.args(arguments))
    }
}

impl Said {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Said {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Daemon {
    /// Waits until `target` answers 200; panics with the log when the daemon ends before that.
    pub(crate) fn wait_for(&mut self, target: &str) {
        poll::until(&format!("200 from {target}"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            http::ask(&self.socket, "GET", target, None).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Returns the socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks with `GET`.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.try_ask("GET", target, None).unwrap_or_else(|error| panic!("{target}: {error}\n{}", self.log()))
    }

    /// Asks with `POST`.
    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.try_ask("POST", target, Some(body))
            .unwrap_or_else(|error| panic!("{target}: {error}\n{}", self.log()))
    }

    /// Asks, and returns what the connection said when there is no answer.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        http::ask(&self.socket, method, target, body)
    }

    /// Syncs every source and returns the report.
    pub(crate) fn sync(&self) -> Value {
        self.post("/v1/sync", &json!({})).ok()
    }

    /// Resolves references jointly, as a kernel asks that has [`NATIVES`].
    pub(crate) fn resolve(&self, references: &[&str]) -> Answer {
        self.post("/v1/resolve", &json!({ "requests": references, "natives": NATIVES }))
    }

    /// Returns the row of a catalogue in `/v1/catalogues`, by its name in the list that names it.
    pub(crate) fn catalogue(&self, name: &str) -> Value {
        let page = self.get("/v1/catalogues").ok();
        let rows = page["items"].as_array().cloned().unwrap_or_default();
        let found = rows.into_iter().find(|row| row["id"] == name);
        found.unwrap_or_else(|| panic!("no catalogue {name} in {page:#}"))
    }

    /// Returns every id that is served.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let mut target = "/v1/components?limit=1000".to_owned();
        loop {
            let page = self.get(&target).ok();
            let items = page["items"].as_array().cloned().unwrap_or_default();
            ids.extend(items.iter().filter_map(|item| Some(item["id"].as_str()?.to_owned())));
            match page["nextCursor"].as_str() {
                Some(cursor) => {
                    target = format!("/v1/components?limit=1000&cursor={}", http::encoded(cursor))
                }
                None => return ids,
            }
        }
    }

    /// Returns what the daemon has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop and waits until it has. Machines are slow, so no time is measured: the log tells whether it ended
    /// by itself, with its writer's work done.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = self.wait();
        let log = self.log();
        assert!(log.lines().any(|line| line.ends_with("stopped")), "{status}\n{log}");
        assert!(!log.contains("was cut off"), "{log}");
        status
    }

    /// Kills it without warning and returns its log.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself: {}", self.log());
        self.log()
    }

    /// Tells whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll::until("the daemon's end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
