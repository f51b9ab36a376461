//! Starting a daemon from a verb: detached from the caller, with a log beside its state, waited for until it serves.
//!
//! Many verbs may do this at once: each starts a process, the lock of the state directory lets one of them serve, and all
//! ask that one. Never waits without bound.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::api::{Code, Failure};
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::rights::{self, Binds};
use crate::shelf::durable::{FILE_MODE, private_directory};

/// After how many idle seconds a daemon ends that a verb started, unless the configuration says it.
pub const IDLE_EXIT_S: u64 = 900;
/// The log in the state directory.
pub const LOG: &str = "daemon.log";
/// A log above this many bytes is started anew.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// How much of the log's end is told when a daemon does not start.
const LOG_TAIL_BYTES: u64 = 2_048;
/// How long one look for the daemon waits for the next.
const STEP: Duration = Duration::from_millis(20);
/// The exit status of a daemon that found the state directory in use.
const LOCKED: u8 = 9;

/// Starts `program serve` with `flags` and waits until `serves` says that somebody serves, at most `wait`.
///
/// **Errors**: the process cannot be started, or ends for another reason than that one serves already, or nobody serves in
/// time.
pub fn detached(
    settings: &Settings,
    flags: &[OsString],
    wait: Duration,
    mut serves: impl FnMut() -> bool,
) -> Result<(), Failure> {
    // The log is the first thing that is written.
    rights::refuse(settings, Binds::Itself).map_err(|danger| DaemonError::from(danger).failure())?;
    let log = settings.state_dir.join(LOG);
    let mut child = spawn(settings, flags, &log)?;
    let started = Instant::now();
    loop {
        if serves() {
            return Ok(());
        }
        // One that found another at work leaves the serving to that one, which may be on its way still.
        let ended = child.try_wait().ok().flatten();
        let has_failed = ended.is_some_and(|status| status.code() != Some(i32::from(LOCKED)));
        if has_failed || started.elapsed() >= wait {
            let what = if has_failed { "ended at once" } else { "does not serve yet" };
            let detail = format!("the daemon that was started {what}: {}", tail(&log));
            return Err(Failure::new(Code::DaemonUnreachable, "auto_start", detail)
                .hint(format!("look at {}, or run: resolverd serve", log.display())));
        }
        std::thread::sleep(STEP);
    }
}

fn spawn(settings: &Settings, flags: &[OsString], log: &Path) -> Result<Child, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(
            Code::DaemonUnreachable,
            "auto_start",
            format!("cannot {what} to start a daemon: {error}"),
        )
        .hint("start one with: resolverd serve")
    };
    let program = std::env::current_exe().map_err(|error| failed("find this program", &error))?;
    let output = open_log(settings, log).map_err(|error| failed("open the log", &error))?;
    let mut command = Command::new(program);
    command.arg("serve").args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    // A group of its own: the terminal's interrupt is for the caller alone.
    command.process_group(0);
    // The sockets and the manager of the caller are not the daemon's.
    for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        command.env_remove(variable);
    }
    command.spawn().map_err(|error| failed("run this program", &error))
}

fn open_log(settings: &Settings, log: &Path) -> Result<File, String> {
    if !settings.state_dir.exists() {
        private_directory(&settings.state_dir).map_err(|error| error.to_string())?;
    }
    let is_full = log.metadata().is_ok_and(|found| found.len() > LOG_BYTES_MAX);
    let mut options = OpenOptions::new();
    options.create(true).mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = if is_full { options.write(true).truncate(true) } else { options.append(true) };
    file.open(log).map_err(|error| error.to_string())
}

/// Returns the last line of a log.
fn tail(log: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |found| found.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)));
        let _ = file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("hint:"));
    last.unwrap_or("it logged nothing").trim().to_owned()
}

/// Returns the flags that give a daemon the settings of the verb that starts it; paths no longer depend on the directory.
pub fn flags(overrides: &crate::config::Overrides, settings: &Settings) -> Vec<OsString> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut flags: Vec<OsString> = vec!["--socket".into(), settings.socket.clone().into()];
    flags.extend(["--state-dir".into(), settings.state_dir.clone().into()]);
    let paths =
        [("--config", &overrides.config), ("--sources", &overrides.sources), ("--policy", &overrides.policy)];
    for (flag, path) in paths.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))) {
        flags.extend([flag.into(), absolute(path).into()]);
    }
    let switches = [("--system", overrides.system), ("--offline", overrides.offline)];
    flags.extend(switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.into()));
    if settings.idle_exit_s.is_none() {
        flags.extend(["--idle-exit".into(), IDLE_EXIT_S.to_string().into()]);
    }
    flags
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Overrides;

    #[test]
    fn a_started_daemon_gets_the_settings_of_the_verb() {
        let overrides = Overrides { state_dir: Some("/s".into()), ..Overrides::default() };
        let check = |overrides: Overrides, expected: &str| {
            let settings =
                Settings::load(&overrides, &|name| (name == "HOME").then(|| "/h".to_owned())).unwrap();
            let line: Vec<String> =
                flags(&overrides, &settings).iter().map(|flag| flag.to_string_lossy().into_owned()).collect();
            assert_eq!(line.join(" "), expected);
        };
        let base = "--socket /s/run/resolverd.sock --state-dir /s";
        check(overrides.clone(), &format!("{base} --idle-exit 900"));
        check(
            Overrides {
                sources: Some("/a/../b.json".into()),
                offline: true,
                idle_exit_s: Some(5),
                ..overrides
            },
            &format!("{base} --sources /a/../b.json --offline"),
        );
    }

    #[test]
    fn the_log_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join(LOG);
        assert_eq!(tail(&log), "it logged nothing");
        std::fs::write(&log, "one\nerror: two\nhint: three\n\n").unwrap();
        assert_eq!(tail(&log), "error: two");
    }
}
