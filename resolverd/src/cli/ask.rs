//! Asking: through the daemon when one answers on the socket, else in process over the same store.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::api::{BELOW_COMPONENTS, Call, Code, FOR_ADMINS, Failure, Reply, encoded};
use crate::cli::bars::Bars;
use crate::cli::{Ended, Globals, Terminal};
use crate::client::{Client, ClientError};
use crate::config::Settings;
use crate::daemon::hearing::Hear;
use crate::daemon::{self, start};

/// How often the progress line moves.
const TICK: Duration = Duration::from_millis(120);

/// How long a verb waits for another process to let go of the store, in seconds.
const WAIT_S: u64 = 10;

/// How long it waits before it looks whether that process listens by now.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Who answers.
pub struct Asker<'a> {
    settings: Settings,
    globals: &'a Globals,
    terminal: &'a Terminal,
    daemon: Option<Client>,
    /// It was said which flags nobody hears.
    is_noted: bool,
    /// It answers by settings that nobody has chosen: what it reads first is not worth a word.
    is_aside: bool,
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
        Ok(Asker { settings, globals, terminal, daemon, is_noted: false, is_aside: false })
    }

    /// Says once which flags a daemon that is about to be asked does not hear.
    fn note_unheard(&mut self, call: &Call) {
        if self.daemon.is_none() || std::mem::replace(&mut self.is_noted, true) {
            return;
        }
        let unheard = self.globals.unheard(&serde_json::from_slice(&call.body).unwrap_or_default());
        if !unheard.is_empty() {
            let socket = self.settings.socket.display();
            self.terminal.say(&format!(
                "note: the daemon on {socket} answers with its own settings and does not hear {}",
                unheard.join(" and ")
            ));
        }
    }

    /// Returns the settings that were read.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells whether nothing may be fetched for this call. Where nothing but this machine can be asked, that is sure anyway.
    pub fn is_offline(&self) -> bool {
        self.globals.is_offline() && !self.settings.network.local_only
    }

    /// Returns an asker that answers in process by other settings, whatever daemon runs.
    pub fn aside(&self, settings: Settings) -> Asker<'a> {
        let Asker { globals, terminal, .. } = *self;
        Asker { settings, globals, terminal, daemon: None, is_noted: true, is_aside: true }
    }

    /// Asks about what has been read already: without a daemon nothing is read for it, not even where nothing has been yet.
    ///
    /// **Errors**: as [`Asker::ask`]; R010 `empty` where nothing has been read.
    pub fn ask_what_is_kept(&mut self, call: &Call) -> Result<Value, Ended> {
        let before = std::mem::replace(&mut self.settings.offline, true);
        let answer = self.ask(call);
        self.settings.offline = before;
        answer
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

    /// Asks for files, and shows on a terminal how far they come: a bar for each release whose files are on their way.
    ///
    /// **Errors**: as [`Asker::ask`].
    pub fn ask_for_files(&mut self, call: &Call, doing: &'static str) -> Result<Value, Ended> {
        if !self.terminal.progress {
            return self.ask(call);
        }
        self.note_unheard(call);
        let bars = Bars::new(doing);
        let reply = self.reply(call, Some(&bars));
        bars.clear();
        value_of(&reply?)
    }

    fn read(&mut self, call: &Call, doing: Option<&'static str>) -> Result<Value, Ended> {
        self.note_unheard(call);
        let bar = doing.filter(|_| self.terminal.progress).map(|doing| {
            let bar = ProgressBar::new_spinner().with_message(doing);
            bar.enable_steady_tick(TICK);
            bar
        });
        let reply = self.reply(call, None);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        value_of(&reply?)
    }

    /// Hands each line of an answer that goes on to `each`; only a daemon has such answers.
    ///
    /// **Errors**: the problem document of the answer; R007 where no daemon answers, or no longer.
    pub fn follow(&mut self, call: &Call, each: impl FnMut(&str) -> ControlFlow<()>) -> Result<(), Ended> {
        self.note_unheard(call);
        let client = match &mut self.daemon {
            Some(client) => client,
            None => &mut Client::connect(&self.settings.socket).map_err(|error| error.failure())?,
        };
        match client.follow(call, each).map_err(|error| error.failure())? {
            None => Ok(()),
            Some(reply) => Err(Ended::Refused(serde_json::from_slice(&reply.body).unwrap_or_default())),
        }
    }

    fn reply(&mut self, call: &Call, bars: Option<&Bars>) -> Result<Reply, Failure> {
        let call = &match &self.globals.snapshot {
            Some(snapshot) => asked_of(call, snapshot),
            None => call.clone(),
        };
        match &mut self.daemon {
            Some(client) => {
                let reply = called(client, call, bars).map_err(|error: ClientError| error.failure())?;
                Ok(if is_forbidden(&reply) { self.ask_as_admin(call, bars).unwrap_or(reply) } else { reply })
            }
            None => self.answer_in_process(call, bars),
        }
    }

    /// Answers in process. Whoever holds the store meanwhile may be a daemon that begins to listen: then that one is asked.
    fn answer_in_process(&mut self, call: &Call, bars: Option<&Bars>) -> Result<Reply, Failure> {
        let show = bars.map(|bars| |line: &Value| bars.show(line));
        let hear = show.as_ref().map(|show| show as &Hear<'_>);
        let (wait, begun) = (self.globals.wait_or(WAIT_S), Instant::now());
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            let mut say = |line: &str| match bars {
                _ if self.is_aside => {}
                Some(bars) => bars.aside(|| self.terminal.say(line)),
                None => self.terminal.say(line),
            };
            match daemon::local(&self.settings, left.min(LOOK_AGAIN), call, &mut say, hear) {
                Err(error) if error.is_locked() && !left.is_zero() => {
                    if let Ok(client) = Client::connect(&self.settings.socket) {
                        let client = self.daemon.insert(client);
                        return called(client, call, bars).map_err(|error| error.failure());
                    }
                }
                other => return other.map_err(|error| error.failure()),
            }
        }
    }

    /// Asks on the socket for admins; `None` where there is none that lets the caller in.
    fn ask_as_admin(&self, call: &Call, bars: Option<&Bars>) -> Option<Reply> {
        let mut client = Client::connect(&self.settings.admin_socket()?).ok()?;
        called(&mut client, call, bars).ok()
    }
}

/// Calls a daemon; where there are bars, it is asked to say on the way how far it comes.
fn called(client: &mut Client, call: &Call, bars: Option<&Bars>) -> Result<Reply, ClientError> {
    match bars {
        Some(bars) => client.call_heard(call, &mut |line| bars.show(line)),
        None => client.call(call),
    }
}

fn value_of(reply: &Reply) -> Result<Value, Ended> {
    let value: Value = serde_json::from_slice(&reply.body).map_err(|error| {
        let detail = format!("cannot read the daemon's answer: {error}");
        Failure::new(Code::DaemonUnreachable, "answer", detail).hint("is something else listening there?")
    })?;
    if reply.status < 400 { Ok(value) } else { Err(Ended::Refused(value)) }
}

/// Tells whether the main socket says that the caller is no admin.
fn is_forbidden(reply: &Reply) -> bool {
    reply.status == 403 && serde_json::from_slice(&reply.body).is_ok_and(|problem| is_for_admins(&problem))
}

/// Tells whether a problem is that the caller is no admin.
pub fn is_for_admins(problem: &Value) -> bool {
    problem["code"] == Code::PermissionDenied.row().text && problem["reason"] == FOR_ADMINS
}

/// Starts a daemon where none answers, and waits until it serves something.
///
/// **Errors**: it cannot be started, or does not serve in the time that `--wait` gives.
pub fn start_daemon(settings: &Settings, globals: &Globals, terminal: &Terminal) -> Result<(), Failure> {
    if !Client::connect(&settings.socket).is_err_and(|error| error.is_absent()) {
        return Ok(());
    }
    terminal.say(&format!("starting a daemon on {}", settings.socket.display()));
    let flags = start::flags(&globals.overrides(), settings);
    start::detached(settings, &flags, globals.wait_or(WAIT_S), || {
        let ready = |mut client: Client| client.call(&Call::get("/readyz")).ok();
        Client::connect(&settings.socket).ok().and_then(ready).is_some_and(|reply| reply.status == 200)
    })
}

/// Returns `call` as a question to the kept snapshot, where it reads a generation.
fn asked_of(call: &Call, snapshot: &str) -> Call {
    const READ: [&str; 4] = ["/v1/sources", "/v1/catalogues", "/v1/components", "/v1/explain"];
    const ASKED: [&str; 6] =
        ["/v1/resolve", "/v1/lookup", "/v1/documents", "/v1/lock", "/v1/lock/check", "/v1/explain"];
    let path = call.target.split('?').next().unwrap_or_default();
    if call.method == "GET" && (READ.contains(&path) || path.starts_with(BELOW_COMPONENTS)) {
        let joint = if call.target.contains('?') { '&' } else { '?' };
        return Call::get(format!("{}{joint}snapshot={}", call.target, encoded(snapshot)));
    }
    if call.method == "POST"
        && ASKED.contains(&path)
        && let Ok(Value::Object(mut body)) = serde_json::from_slice(&call.body)
    {
        body.insert("snapshot".to_owned(), json!(snapshot));
        return Call::post(call.target.as_str(), &Value::Object(body));
    }
    call.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_added_to_every_read_and_to_nothing_else() {
        let check = |call: Call, expected: &str| {
            let found = asked_of(&call, "sha256:ab");
            let found = format!("{} {}", found.target, String::from_utf8_lossy(&found.body));
            assert_eq!(found.trim_end(), expected);
        };
        check(Call::get("/v1/sources"), "/v1/sources?snapshot=sha256%3Aab");
        check(Call::get("/v1/components?limit=1"), "/v1/components?limit=1&snapshot=sha256%3Aab");
        check(
            Call::get("/v1/components/lcod/a/b/versions"),
            "/v1/components/lcod/a/b/versions?snapshot=sha256%3Aab",
        );
        check(
            Call::post("/v1/resolve", &json!({"requests": []})),
            "/v1/resolve {\"requests\":[],\"snapshot\":\"sha256:ab\"}",
        );
        check(Call::get("/v1/health"), "/v1/health");
        check(Call::get("/v1/snapshots"), "/v1/snapshots");
        check(Call::post("/v1/sync", &json!({})), "/v1/sync {}");
    }
}
