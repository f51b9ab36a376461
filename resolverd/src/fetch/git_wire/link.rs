//! One remote repository and how it is reached: https requests, or one `ssh` process. Speaks in whole messages; knows the
//! server's capabilities once they have been asked for, and neither objects nor wants.
//!
//! Never connects before the first message, never asks for more than the caller allows to come back.

use std::ffi::OsStr;
use std::fmt;

use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{HttpsUrl, SshUrl};

use crate::fetch::FetchError;
use crate::fetch::git_wire::line::{self, Capabilities};
use crate::fetch::https::{Https, Request, Response};
use crate::fetch::limit::Budget;
use crate::fetch::ssh::Connection;

/// The largest list of capabilities, in bytes; a server that sends more is not one of protocol v2.
const CAPABILITIES_BYTES_MAX: u64 = 1 << 20;
/// What an https URL of a repository is asked for first.
const INFO_REFS: &str = "/info/refs?service=git-upload-pack";
/// Over ssh a server hears of the version only where its sshd lets the variable through.
const V2_OVER_SSH: &str = "a server of Git's protocol v2 (git 2.18 or newer) whose sshd_config has AcceptEnv GIT_PROTOCOL; or name a clone on this machine with [[rewrite]]";

/// A remote repository.
pub(in crate::fetch) enum Remote<'a> {
    /// Over https.
    Https {
        /// Where it lies, rewritten already.
        url: HttpsUrl,
        /// What reaches it.
        client: &'a Https,
    },
    /// Through the program `ssh`, which the operator has named.
    Ssh {
        /// Where it lies.
        url: &'a SshUrl,
        /// What is started.
        program: &'a OsStr,
    },
}

impl fmt::Display for Remote<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Https { url, .. } => fmt::Display::fmt(url, out),
            Remote::Ssh { url, .. } => fmt::Display::fmt(url, out),
        }
    }
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) enum LinkError {
    /// It is larger than the caller allows.
    TooLarge,
    /// Anything else.
    Failed(FetchError),
}

impl From<FetchError> for LinkError {
    fn from(error: FetchError) -> LinkError {
        match &error {
            // What the whole run may cost is not about one answer.
            FetchError::Limit(refusal)
                if !matches!(&*refusal.reason, "limit.total_s" | "limit.total_bytes" | "limit.documents") =>
            {
                LinkError::TooLarge
            }
            _ => LinkError::Failed(error),
        }
    }
}

/// The way to one remote.
pub(super) struct Link<'a> {
    remote: &'a Remote<'a>,
    budget: &'a Budget,
    /// What is known once it has been asked.
    known: Option<Known>,
}

struct Known {
    capabilities: Capabilities,
    /// Where requests go, for https: after the redirects of the first one.
    base: Option<String>,
    connection: Option<Connection>,
}

impl<'a> Link<'a> {
    /// Connects to nothing yet.
    pub(super) fn new(remote: &'a Remote<'a>, budget: &'a Budget) -> Link<'a> {
        Link { remote, budget, known: None }
    }

    /// Returns what the server can do; asks it once.
    ///
    /// **Errors**: `git.protocol`, `git.no_filter`, `git.object_format`, `git.remote_error`, and those of the way there.
    pub(super) fn capabilities(&mut self) -> Result<Capabilities, FetchError> {
        self.known().map(|known| known.capabilities)
    }

    /// Sends a request and returns the whole answer, of at most `bytes_max` bytes.
    pub(super) fn exchange(&mut self, request: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>, LinkError> {
        let (remote, budget) = (self.remote, self.budget);
        let known = self.known().map_err(LinkError::Failed)?;
        match remote {
            Remote::Https { client, .. } => {
                let base = known.base.as_deref().unwrap_or_default();
                post(client, base, request, bytes_max, budget, remote)
            }
            Remote::Ssh { url, program } => {
                let connection = match known.connection.take() {
                    Some(connection) => connection,
                    // The server ended the last one when it refused something.
                    None => greeted(program, url, budget, remote)?.0,
                };
                connection.send(request);
                let (answer, is_whole) = message(&connection, bytes_max, budget, remote)?;
                known.connection = is_whole.then_some(connection);
                Ok(answer)
            }
        }
    }

    fn known(&mut self) -> Result<&mut Known, FetchError> {
        if self.known.is_none() {
            self.known = Some(self.greet()?);
        }
        // It was put there above.
        Ok(self.known.as_mut().expect("set above"))
    }

    fn greet(&self) -> Result<Known, FetchError> {
        let (answer, base, connection) = match self.remote {
            Remote::Https { url, client } => {
                let (answer, base) = info_refs(client, url, self.budget)?;
                (answer, Some(base), None)
            }
            Remote::Ssh { url, program } => {
                let (connection, answer) = greeted(program, url, self.budget, self.remote)?;
                (answer, None, Some(connection))
            }
        };
        let capabilities = Capabilities::read(&answer).map_err(|unfit| {
            let expected = match (self.remote, unfit.reason) {
                (Remote::Ssh { .. }, "git.protocol") => V2_OVER_SSH,
                _ => unfit.expected,
            };
            FetchError::Unreachable(Refusal::new(unfit.reason, self.remote, expected, unfit.found))
        })?;
        Ok(Known { capabilities, base, connection })
    }
}

fn protocol(remote: &dyn fmt::Display, found: impl fmt::Display) -> FetchError {
    let expected = "a Git server that speaks the smart protocol, version 2";
    FetchError::Unreachable(Refusal::new("git.protocol", remote, expected, found))
}

/// Asks for the capabilities over https; returns them, and where requests go from now on.
///
/// Git's own client follows redirects of this request and no other in the same way.
fn info_refs(client: &Https, url: &HttpsUrl, budget: &Budget) -> Result<(Vec<u8>, String), FetchError> {
    let base = url.as_text().trim_end_matches('/');
    let asked = HttpsUrl::parse(&format!("{base}{INFO_REFS}"))
        .map_err(|error| FetchError::Refused(Refusal::of(url, &error)))?;
    let headers = [("git-protocol", "version=2")];
    let request = Request { url: &asked, headers: &headers, body: None };
    let response = client.send(&request, CAPABILITIES_BYTES_MAX, budget, url).map_err(|error| {
        // Nothing there is no repository, not a document that is missing from one.
        match error {
            FetchError::Missing(refusal) => FetchError::Unreachable(refusal),
            FetchError::Limit(refusal) if refusal.reason == "net.too_large" => protocol(url, "a long answer"),
            error => error,
        }
    })?;
    check_type(&response, "application/x-git-upload-pack-advertisement", url)?;
    match response.url.strip_suffix(INFO_REFS) {
        Some(base) => Ok((response.body, base.to_owned())),
        None => Err(protocol(url, "a redirect to an address that does not end in /info/refs")),
    }
}

fn post(
    client: &Https,
    base: &str,
    request: Vec<u8>,
    bytes_max: u64,
    budget: &Budget,
    remote: &dyn fmt::Display,
) -> Result<Vec<u8>, LinkError> {
    let url = HttpsUrl::parse(&format!("{base}/git-upload-pack"))
        // Its text may hold a secret that a redirect gave.
        .map_err(|_| protocol(remote, "a redirect to an address that is no plain https URL"))?;
    let headers = [
        ("git-protocol", "version=2"),
        ("content-type", "application/x-git-upload-pack-request"),
        ("accept", "application/x-git-upload-pack-result"),
    ];
    let request = Request { url: &url, headers: &headers, body: Some(request) };
    let response = client.send(&request, bytes_max, budget, remote)?;
    check_type(&response, "application/x-git-upload-pack-result", remote)?;
    Ok(response.body)
}

fn check_type(response: &Response, expected: &str, remote: &dyn fmt::Display) -> Result<(), FetchError> {
    match response.header("content-type") {
        Some(found) if found == expected => Ok(()),
        found => {
            let found = line::words(found.unwrap_or("nothing").as_bytes());
            Err(protocol(remote, format!("an answer of type {found}, which is no smart Git server's")))
        }
    }
}

/// Starts `ssh` and reads the capabilities.
fn greeted(
    program: &OsStr,
    url: &SshUrl,
    budget: &Budget,
    remote: &dyn fmt::Display,
) -> Result<(Connection, Vec<u8>), FetchError> {
    budget.check_deadline(remote)?;
    let connection = Connection::open(program, url, remote)?;
    let (answer, _) =
        message(&connection, CAPABILITIES_BYTES_MAX, budget, remote).map_err(|error| match error {
            LinkError::TooLarge => protocol(remote, "a long answer"),
            LinkError::Failed(error) => error,
        })?;
    Ok((connection, answer))
}

/// Reads one message, up to its end mark; whether it has one. Without one it is the server's last word.
fn message(
    connection: &Connection,
    bytes_max: u64,
    budget: &Budget,
    remote: &dyn fmt::Display,
) -> Result<(Vec<u8>, bool), LinkError> {
    let (mut answer, mut at) = (Vec::new(), 0);
    loop {
        while let Some(length) = line::length(&answer[at..]).map_err(|error| protocol(remote, error))? {
            at += length.max(4);
            if length == 0 {
                return match at == answer.len() {
                    true => Ok((answer, true)),
                    false => Err(protocol(remote, "more behind the end of an answer").into()),
                };
            }
            if at > answer.len() {
                at -= length.max(4);
                break;
            }
        }
        match connection.receive(budget, remote)? {
            Some(piece) => {
                budget.arrived(piece.len());
                answer.extend_from_slice(&piece);
            }
            None if answer.get(4..8) == Some(b"ERR ") => return Ok((answer, false)),
            None => {
                let said = line::words(&connection.complaint());
                let found = format!("the connection ended; ssh says: \"{said}\"");
                let expected = "an answer from git-upload-pack; try ssh with this address by hand";
                let refusal = Refusal::new("git.remote_error", remote, expected, found);
                return Err(LinkError::Failed(FetchError::Unreachable(refusal)));
            }
        }
        if answer.len() as u64 > bytes_max {
            return Err(LinkError::TooLarge);
        }
    }
}
