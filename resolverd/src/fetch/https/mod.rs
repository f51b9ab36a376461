//! The one https client: catalogues, manifests and Git go through it.
//!
//! It speaks HTTP/1.1 over TLS, keeps connections for the next request, follows redirects itself (https only, a token only
//! where its own prefix says so), tries again what is worth it, and stops what is too large, too slow or too late. It runs on
//! a thread of its own, which starts with the first request; callers block. Never reads a document, never keeps one, never
//! logs an address or a token, and trusts no length that a server declares.

mod body;
mod exchange;
mod fault;
mod keys;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::HttpsUrl;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::{Builder, Runtime};

use crate::fetch::FetchError;
use crate::fetch::https::exchange::{Connections, Interface, Job, Known};
use crate::fetch::https::keys::Keys;
use crate::fetch::limit::Budget;
use crate::fetch::network::{self, Proxy};

/// How many names are looked up at the same time.
const LOOKUPS_MAX: usize = 8;
/// How long the thread of a lookup waits for the next one.
const LOOKUP_IDLE: Duration = Duration::from_secs(5);
/// The largest file of certificate authorities in bytes.
const CA_BYTES_MAX: u64 = 16 << 20;

/// The https client. Shared by reference between threads; each call blocks its caller.
pub struct Https {
    keys: Arc<Keys>,
    authorities: Vec<CertificateDer<'static>>,
    proxies: Arc<Matcher>,
    engine: OnceLock<Result<Engine, String>>,
}

/// What is asked.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where.
    pub url: &'a HttpsUrl,
    /// Beside the headers of the client's own; without credentials.
    pub headers: &'a [(&'static str, &'a str)],
    /// With a body it is a `POST`, which must be one that may be repeated.
    pub body: Option<Vec<u8>>,
}

/// One call of an interface that changes something there: it is sent once, and never again by itself.
#[derive(Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// Where.
    pub url: &'a HttpsUrl,
    /// Beside the headers of the client's own; without credentials.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body.
    pub body: Vec<u8>,
    /// The token that the interface knows the caller by, sent as `Bearer` to this address alone.
    pub token: &'a str,
}

/// What was answered, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, or 304 where the request could be answered so; any where an interface was called.
    pub status: u16,
    /// Where the bytes came from, after redirects. A redirect may have put a secret into its query: see [`Response::place`].
    pub url: String,
    /// The decoded body.
    pub body: Vec<u8>,
    /// Where it came from, fit for messages.
    place: String,
    headers: Vec<(String, String)>,
}

impl Response {
    /// Returns the value of a header, by its name in lower case; the first where it was sent several times.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns where the bytes came from, without the query that a redirect has added.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// The thread and its connections.
struct Engine {
    runtime: Option<Runtime>,
    connections: Arc<Connections>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Also right inside somebody's async context, where waiting for a runtime to end would panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Https").field("authorities", &self.authorities.len()).finish_non_exhaustive()
    }
}

impl Default for Https {
    fn default() -> Https {
        Https {
            keys: Arc::default(),
            authorities: Vec::new(),
            proxies: Arc::new(Matcher::builder().build()),
            engine: OnceLock::new(),
        }
    }
}

/// Returns what is wrong with tokens: with how they are written, or with what they name. Connects to nothing.
pub fn token_problems(tokens: &[network::Token]) -> Vec<Refusal> {
    match Keys::read(tokens, &keys::from_environment) {
        Ok(keys) => keys.problems().cloned().collect(),
        Err(refusal) => vec![refusal],
    }
}

impl Https {
    /// Prepares a client; connects to nothing and starts no thread.
    ///
    /// **Errors**: `net.ca_file` for a file without certificates, `net.token` for a token that says both or neither of a file
    /// and a variable, each with what to do about it. A token that cannot be had is refused where it is needed.
    pub fn new(config: &network::Https) -> Result<Https, Refusal> {
        let proxies = match config.proxy {
            Proxy::Environment => Matcher::from_env(),
            Proxy::None => Matcher::builder().build(),
        };
        Ok(Https {
            keys: Arc::new(Keys::read(&config.tokens, &keys::from_environment)?),
            authorities: config.ca_file.as_deref().map(authorities).transpose()?.unwrap_or_default(),
            proxies: Arc::new(proxies),
            engine: OnceLock::new(),
        })
    }

    /// Sends a request and returns the whole answer, of at most `bytes_max` decoded bytes. Takes nothing from `budget` but
    /// its limits and its deadline; the caller counts the bytes.
    ///
    /// **Errors**, all about `subject`: `net.dns`, `net.connect`, `net.refused`, `net.tls`, `net.timeout`, `net.too_slow`,
    /// `net.cut`, `net.protocol`, `net.status`, `net.not_found`, `net.forbidden`, `net.encoding`, `net.redirects`,
    /// `net.redirect_downgrade`, `net.host_not_allowed`, `net.address_denied`, `net.too_large`, and the limits.
    pub fn send(
        &self,
        request: &Request<'_>,
        bytes_max: u64,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Response, FetchError> {
        self.send_job(request, None, bytes_max, budget, subject)
    }

    /// Sends a request whose answer may be that nothing changed since `known` was fetched: status 304, no body.
    ///
    /// The server that `known` came from is asked so, and no other: one that a new rewrite rule leads to may hold something
    /// older under the same date.
    ///
    /// **Errors**: as [`Https::send`].
    pub fn send_unless_known(
        &self,
        request: &Request<'_>,
        known: &DocumentRecord,
        bytes_max: u64,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Response, FetchError> {
        self.send_job(request, Known::of(known), bytes_max, budget, subject)
    }

    /// Calls an interface. Follows no redirect, and tries nothing twice: whoever called decides what an answer means, whatever its
    /// status.
    ///
    /// **Errors**: as [`Https::send`], without those of statuses and redirects; `net.token` for a token that no header can carry.
    pub fn call(
        &self,
        call: &Call<'_>,
        bytes_max: u64,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Response, FetchError> {
        let refused = |what: &str| {
            let expected = format!("{what} that HTTP can carry");
            FetchError::Refused(Refusal::new("net.token", subject, expected, "another text"))
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", call.token))
            .ok()
            .filter(|_| !call.token.is_empty())
            .ok_or_else(|| refused("a token"))?;
        authorization.set_sensitive(true);
        let method = Method::from_bytes(call.method.as_bytes()).map_err(|_| refused("a method"))?;
        let job = Job {
            url: call.url.clone(),
            headers: call.headers.iter().filter_map(header).collect(),
            body: Some(call.body.clone().into()),
            known: None,
            interface: Some(Interface { method, authorization }),
            bytes_max,
            budget: budget.clone(),
            subject: subject.to_string(),
        };
        self.carry_out(job, budget, subject)
    }

    fn send_job(
        &self,
        request: &Request<'_>,
        known: Option<Known>,
        bytes_max: u64,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Response, FetchError> {
        let job = Job {
            url: request.url.clone(),
            headers: request.headers.iter().filter_map(header).collect(),
            body: request.body.clone().map(Into::into),
            known,
            interface: None,
            bytes_max,
            budget: budget.clone(),
            subject: subject.to_string(),
        };
        self.carry_out(job, budget, subject)
    }

    /// Has the thread carry out a job, and waits for it.
    fn carry_out(
        &self,
        job: Job,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Response, FetchError> {
        let unusable = |found: String| {
            let expected = "a working https client on this machine";
            FetchError::Unreachable(Refusal::new("net.connect", subject, expected, found))
        };
        budget.check_deadline(subject)?;
        let engine = self.engine.get_or_init(|| self.start());
        let engine = engine.as_ref().map_err(|found| unusable(found.clone()))?;
        let Some(runtime) = &engine.runtime else { return Err(unusable("it has ended".to_owned())) };
        // A channel and not `block_on`, which may not be called from a thread of another runtime.
        let (sender, receiver) = mpsc::sync_channel(1);
        let connections = Arc::clone(&engine.connections);
        runtime.spawn(async move {
            // Nobody listens when the caller's thread has gone.
            let _ = sender.send(connections.carry_out(job).await);
        });
        receiver.recv().unwrap_or_else(|_| Err(unusable("its thread has ended".to_owned())))
    }

    fn start(&self) -> Result<Engine, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOOKUPS_MAX)
            .thread_keep_alive(LOOKUP_IDLE)
            .thread_name("https")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for it: {error}"))?;
        let connections = Connections::new(&self.authorities, &self.keys, &self.proxies)?;
        Ok(Engine { runtime: Some(runtime), connections: Arc::new(connections) })
    }
}

/// Takes a header of a request; one that HTTP cannot carry is left out.
fn header((name, value): &(&'static str, &str)) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}

/// Reads the certificate authorities that the operator adds to the machine's own.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let refused = |found: String| {
        let expected = "a PEM file with certificates (config key https.ca_file)";
        Refusal::new("net.ca_file", path.display(), expected, found)
    };
    let bytes = read_file(path, CA_BYTES_MAX).map_err(|error| refused(error.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = read.map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        return Err(refused("no certificate".to_owned()));
    }
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        let added = roots.add(certificate.clone());
        added.map_err(|error| refused(format!("certificate {}: {error}", index + 1)))?;
    }
    Ok(found)
}

/// Reads a small file of the operator's; larger ones are an error.
fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}
