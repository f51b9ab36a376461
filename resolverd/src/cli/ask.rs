//! Asking: through the daemon when one answers on the socket, else in process over the same store.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::api::{Call, Code, Failure, Reply};
use crate::cli::{Ended, Globals, Terminal};
use crate::client::{Client, ClientError};
use crate::config::{ConfigError, Settings};
use crate::daemon::{self, DaemonError};
use crate::server::answer::report;
use crate::store::StoreError;

/// How often the progress line moves.
const TICK: Duration = Duration::from_millis(120);

/// Who answers.
pub struct Asker<'a> {
    settings: Settings,
    globals: &'a Globals,
    terminal: &'a Terminal,
    daemon: Option<Client>,
}

impl<'a> Asker<'a> {
    /// Looks whether a daemon answers on the socket.
    ///
    /// **Errors**: a daemon is there and cannot be asked.
    pub fn new(
        settings: Settings,
        globals: &'a Globals,
        terminal: &'a Terminal,
    ) -> Result<Asker<'a>, Failure> {
        let daemon = match Client::connect(&settings.socket) {
            Ok(client) => Some(client),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error.failure()),
        };
        let unheard = globals.unheard();
        if daemon.is_some() && !unheard.is_empty() {
            let socket = settings.socket.display();
            terminal.say(&format!(
                "note: the daemon on {socket} answers with its own settings; {} changes nothing",
                unheard.join(" and ")
            ));
        }
        Ok(Asker { settings, globals, terminal, daemon })
    }

    /// Returns the settings that were read.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells whether a daemon answers.
    pub fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// Asks, and returns the answer's JSON.
    ///
    /// **Errors**: the problem document of the answer, or why there is none.
    pub fn ask(&mut self, call: &Call) -> Result<Value, Ended> {
        self.read(call, None)
    }

    /// Asks for something that takes a while, and shows that it goes on.
    ///
    /// **Errors**: as [`Asker::ask`].
    pub fn ask_slowly(&mut self, call: &Call, doing: &'static str) -> Result<Value, Ended> {
        self.read(call, Some(doing))
    }

    fn read(&mut self, call: &Call, doing: Option<&'static str>) -> Result<Value, Ended> {
        let bar = doing.filter(|_| self.terminal.progress).map(|doing| {
            let bar = ProgressBar::new_spinner().with_message(doing);
            bar.enable_steady_tick(TICK);
            bar
        });
        let reply = self.reply(call);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let reply = reply?;
        let value: Value = serde_json::from_slice(&reply.body).map_err(|error| {
            let detail = format!("cannot read the daemon's answer: {error}");
            Failure::new(Code::DaemonUnreachable, "answer", detail).hint("is something else listening there?")
        })?;
        if reply.status < 400 { Ok(value) } else { Err(Ended::Refused(value)) }
    }

    fn reply(&mut self, call: &Call) -> Result<Reply, Failure> {
        match &mut self.daemon {
            Some(client) => client.call(call).map_err(|error: ClientError| error.failure()),
            None => {
                let wait = Duration::from_secs(self.globals.wait);
                let mut say = |line: &str| self.terminal.say(line);
                daemon::local(&self.settings, wait, call, &mut say).map_err(|error| failure_of(&error))
            }
        }
    }
}

/// Returns what people are told when the daemon cannot start, or a verb cannot run in process.
pub fn failure_of(error: &DaemonError) -> Failure {
    match error {
        DaemonError::Config(error) => config_failure(error),
        DaemonError::Order(error) => match report(&Err(error.clone())) {
            Err(failure) => failure,
            Ok(_) => Failure::new(Code::Internal, "order", error.to_string()),
        },
        DaemonError::Store(StoreError::Locked { .. }) => {
            Failure::new(Code::DaemonUnreachable, "locked", caused(error))
                .hint("ask that process with --socket, wait for it with --wait, or stop it")
        }
        DaemonError::Store(_) | DaemonError::Shelf(_) => {
            Failure::new(Code::StoreUnavailable, "store", caused(error)).hint(
                "look at the rights and the space of the state directory, or name another with --state-dir",
            )
        }
        DaemonError::Socket { .. } => Failure::new(Code::StoreUnavailable, "socket", caused(error))
            .hint("name another socket with --socket, or stop the daemon that uses this one"),
    }
}

/// Returns what people are told about their configuration.
pub fn config_failure(error: &ConfigError) -> Failure {
    let failure = Failure::new(Code::ConfigInvalid, "config", error.to_string());
    match error {
        ConfigError::Unreadable { .. } => failure.hint("create the file, or name another"),
        ConfigError::Invalid { .. } => failure.hint("correct the file"),
        ConfigError::Homeless { .. } => failure.hint("set HOME, or name the directory"),
    }
}

/// Returns an error with the causes that its own text leaves out.
fn caused(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
