//! The sources that are configured, for verbs that need no daemon: those of the daemon on the socket where one answers, since it is
//! the one that a policy will hold for, else those of the sources file. Never starts one, and changes nothing.

use serde_json::Value;

use crate::api::Call;
use crate::cli::Globals;
use crate::client::Client;
use crate::config::{ConfigError, Settings};
use crate::daemon::rehearse::Supplier;

/// Returns the configured sources; a file that was named by hand counts before a daemon.
///
/// **Errors**: nobody answers, and the sources file cannot be read.
pub(super) fn suppliers(settings: &Settings, globals: &Globals) -> Result<Vec<Supplier>, ConfigError> {
    let of_daemon = if globals.sources.is_some() { None } else { of_daemon(settings) };
    match of_daemon {
        Some(suppliers) => Ok(suppliers),
        None => Ok(settings.sources()?.iter().map(Supplier::of).collect()),
    }
}

/// Returns the sources of the daemon; `None` where none answers, or none that has anything to say yet.
pub(super) fn of_daemon(settings: &Settings) -> Option<Vec<Supplier>> {
    let mut client = Client::connect(&settings.socket).ok()?.impatient();
    let reply = client.call(&Call::get("/v1/sources")).ok().filter(|reply| reply.status == 200)?;
    let answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let rows = answer["items"].as_array()?.iter();
    rows.map(|row| {
        let id = serde_json::from_value(row["id"].clone()).ok()?;
        Some(Supplier { id, owns: serde_json::from_value(row["owns"].clone()).ok()? })
    })
    .collect()
}
