//! One job from its first request to its whole answer: connections, proxies, redirects, tries, pauses, deadline.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use catalogue_schema::error::escaped;
use catalogue_schema::generation::DocumentRecord;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::HttpsUrl;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, DATE, HOST, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector, capture_connection};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::lookup_host;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;

use crate::fetch::FetchError;
use crate::fetch::https::Response;
use crate::fetch::https::body::{self, BodyFault, Bounds, Coding};
use crate::fetch::https::fault::{Fault, Retry};
use crate::fetch::https::keys::Keys;
use crate::fetch::limit::{Budget, LOOK_EVERY, Limits};
use crate::fetch::reach::{bare, host_of};

/// The pause before the second try.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries that we choose ourselves.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// How long a connection waits for its next request.
const IDLE: Duration = Duration::from_secs(30);
/// The largest head of an answer in bytes.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// The longest entity tag or date that is kept.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// The largest body of a refusal or redirect that is read for the sake of its connection, in bytes.
const DRAIN_BYTES_MAX: u64 = 16 << 10;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(1);
/// How many hosts are remembered with their connections and addresses.
const HOSTS_MAX: usize = 256;
/// How many addresses of a host are tried.
const ADDRESSES_MAX: usize = 4;
/// How many turns other tasks get after a job.
const TURNS: usize = 4;

const AGENT: &str = concat!("resolverd/", env!("CARGO_PKG_VERSION"));

type Direct = HttpsConnector<HttpConnector>;
type Proxied = HttpsConnector<Tunnel<Direct>>;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) url: HttpsUrl,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
    pub(super) known: Option<Known>,
    pub(super) interface: Option<Interface>,
    pub(super) bytes_max: u64,
    pub(super) budget: Budget,
    pub(super) subject: String,
}

/// How an interface is called that changes something: once, with the caller's own token, and any status is its answer.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) method: Method,
    pub(super) authorization: HeaderValue,
}

/// The document that is at hand, and the server that it came from.
#[derive(Debug)]
pub(super) struct Known {
    place: String,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Known {
    /// Returns what a server can compare; `None` where there is nothing.
    pub(super) fn of(record: &DocumentRecord) -> Option<Known> {
        let header = |text: &Option<String>| HeaderValue::from_str(text.as_deref()?).ok();
        let (etag, modified) = (header(&record.etag), header(&record.modified));
        let known = Known { place: record.url.clone(), etag, modified };
        (known.etag.is_some() || known.modified.is_some()).then_some(known)
    }
}

/// Every connection of a client, and what it needs for the next one.
///
/// A connection goes to an address that was checked: a name is resolved here, its addresses are compared with what the source
/// may reach, and what the connector is given is one of them. Nothing resolves the name a second time.
pub(super) struct Connections {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    proxied: OnceLock<Client<Proxied, Full<Bytes>>>,
    proxies: Arc<Matcher>,
    keys: Arc<Keys>,
    tls: ClientConfig,
    has_roots: bool,
}

/// One host: its connections, which are encrypted for its name alone, and where it was last.
struct Host {
    client: Client<Direct, Full<Bytes>>,
    found: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

/// Why a request got no answer.
enum Unsent {
    /// Nobody is there; another address of the host may be better.
    Unconnected(Fault),
    /// Somebody was there.
    Failed(Fault),
}

/// What one request led to.
enum Reply {
    Done(Response),
    Moved(HttpsUrl),
}

/// One request of a job: where it goes, and how that is shown.
struct Hop<'a> {
    job: &'a Job,
    url: HttpsUrl,
    place: String,
}

impl Connections {
    /// Prepares to connect, trusting the machine's authorities and `authorities`.
    ///
    /// **Errors**: what is wrong with the encryption library.
    pub(super) fn new(
        authorities: &[CertificateDer<'static>],
        keys: &Arc<Keys>,
        proxies: &Arc<Matcher>,
    ) -> Result<Connections, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        // What is wrong with one of the machine's files must not stop the others; `SSL_CERT_FILE` is read in there.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_roots = !roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (keys, proxies) = (Arc::clone(keys), Arc::clone(proxies));
        let (hosts, proxied) = (Mutex::default(), OnceLock::new());
        Ok(Connections { hosts, proxied, proxies, keys, tls, has_roots })
    }

    /// Carries out a job within its deadline.
    pub(super) async fn carry_out(&self, job: Job) -> Result<Response, FetchError> {
        let done = self.carry_out_in_time(job).await;
        // The connection gets its turn to go back among the idle ones before the caller sends its next request.
        for _ in 0..TURNS {
            yield_now().await;
        }
        done
    }

    async fn carry_out_in_time(&self, job: Job) -> Result<Response, FetchError> {
        let deadline = job.budget.deadline().map(Instant::from_std);
        let mut follow = std::pin::pin!(self.follow(&job));
        loop {
            // An answer for which nobody waits any more is not waited for here either.
            let look = job.budget.has_audience().then(|| Instant::now() + LOOK_EVERY);
            let Some(until) = deadline.into_iter().chain(look).min() else { return follow.await };
            if let Ok(done) = timeout_at(until, follow.as_mut()).await {
                return done;
            }
            job.budget.check_deadline(&job.subject)?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Fault::passing("net.timeout", &job.subject, "an answer in time", "none").error);
            }
        }
    }

    /// Sends the request, and again to wherever the answer points.
    async fn follow(&self, job: &Job) -> Result<Response, FetchError> {
        let redirects_max = job.budget.limits().redirects;
        let mut hop = Hop { job, url: job.url.clone(), place: job.url.to_string() };
        let mut seen = vec![hop.url.clone()];
        loop {
            let next = match self.try_often(&hop).await? {
                Reply::Done(response) => return Ok(response),
                Reply::Moved(next) => next,
            };
            let refused = |found: String| {
                let expected = format!("at most {redirects_max} redirects (config key limits.redirects)");
                FetchError::Unreachable(Refusal::new("net.redirects", &job.subject, expected, found))
            };
            let place = place(&next);
            if seen.contains(&next) {
                return Err(refused(format!("a circle that comes back to {place}")));
            }
            if seen.len() > redirects_max as usize {
                return Err(refused(format!("one more, to {place}")));
            }
            seen.push(next.clone());
            hop = Hop { job, url: next, place };
        }
    }

    /// Sends one request until it is answered or trying has no point.
    async fn try_often(&self, hop: &Hop<'_>) -> Result<Reply, FetchError> {
        let tries = match hop.job.interface {
            Some(_) => 1,
            None => hop.job.budget.limits().tries.max(1),
        };
        let mut pause = PAUSE_FIRST;
        let mut tried = 1;
        loop {
            let fault = match self.try_once(hop).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let wait = match fault.retry {
                Retry::Never => return Err(fault.error),
                Retry::Soon => jittered(pause),
                // Not all at the very moment that a server names to everybody.
                Retry::After(asked) => asked + jittered(pause),
            };
            let ends = hop.job.budget.deadline();
            let is_too_late = ends.is_some_and(|ends| Instant::now() + wait >= Instant::from_std(ends));
            if tried >= tries || wait > RETRY_AFTER_MAX + PAUSE_MAX || is_too_late {
                return Err(after(tried, fault.error));
            }
            tracing::debug!(host = hop.url.host(), reason = %fault.error.refusal().reason, tried, "trying again");
            sleep(wait).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
            tried += 1;
        }
    }

    async fn try_once(&self, hop: &Hop<'_>) -> Result<Reply, Fault> {
        let subject = &hop.job.subject;
        hop.job.budget.check_deadline(subject).map_err(Fault::last)?;
        let answer = self.answer(hop).await?;
        let status = answer.status();
        if status == StatusCode::OK || hop.job.interface.is_some() {
            return self.whole(hop, answer).await.map(Reply::Done);
        }
        let (head, incoming) = answer.into_parts();
        drain(incoming).await;
        match status {
            StatusCode::NOT_MODIFIED if hop.known().is_some() => {
                Ok(Reply::Done(hop.response(status, &head.headers, Vec::new())))
            }
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => hop.moved(status, &head.headers).map(Reply::Moved),
            _ => Err(hop.status(
                status,
                &head.headers,
                matches!(self.keys.authorization(&hop.url), Ok(Some(_))),
            )),
        }
    }

    /// Connects and reads the head of the answer.
    async fn answer(&self, hop: &Hop<'_>) -> Result<hyper::Response<Incoming>, Fault> {
        let (limits, subject, host) = (hop.job.budget.limits(), &hop.job.subject, hop.url.host());
        let uri: Uri = hop.url.as_text().parse().map_err(|error: hyper::http::uri::InvalidUri| {
            Fault::lasting("net.connect", subject, "an address that HTTP can carry", error)
        })?;
        let intercept = self.proxies.intercept(&uri);
        if !self.has_roots {
            let expected = "certificate authorities on this machine, or config key https.ca_file";
            return Err(Fault::lasting("net.tls", subject, expected, "none"));
        }
        job_may_ask(hop)?;
        let connect = Duration::from_secs(limits.connect_s);
        let key = self.keys.authorization(&hop.url).map_err(|refusal| {
            // The subject is the document; whose token it is stands in the rest.
            let found = format!("{}: {}", refusal.subject, refusal.found);
            Fault::last(FetchError::Refused(Refusal { subject: subject.clone(), found, ..refusal.clone() }))
        })?;
        if let Some(intercept) = &intercept {
            // A proxy resolves names itself: only what stands in the URL can be checked here.
            let checked = hop.job.budget.reach().check_name(host, subject);
            checked.map_err(|refusal| Fault::last(FetchError::Refused(refusal)))?;
            let client = self.proxied(intercept, subject)?;
            return match sent(hop, client, hop.request(uri, key), connect).await {
                Ok(answer) => Ok(answer),
                Err(Unsent::Unconnected(fault) | Unsent::Failed(fault)) => Err(through(intercept, fault)),
            };
        }
        let server = self.host(hop)?;
        let mut last = None;
        let addresses = self.addresses(hop, &server, connect).await?;
        let tries = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        for address in addresses {
            let mut request = hop.request(at(&uri, address, hop)?, key);
            let name = host.strip_suffix(":443").unwrap_or(host);
            request
                .headers_mut()
                .insert(HOST, HeaderValue::from_str(name).map_err(|error| hop.unnamed(&error))?);
            match sent(hop, &server.client, request, connect / tries).await {
                Ok(answer) => {
                    server.prefer(address);
                    return Ok(answer);
                }
                Err(Unsent::Failed(fault)) => return Err(fault),
                Err(Unsent::Unconnected(fault)) => last = Some(fault),
            }
        }
        Err(last.unwrap_or_else(|| hop.unnamed(&"none")))
    }

    /// Returns the connections to the host of a hop.
    fn host(&self, hop: &Hop<'_>) -> Result<Arc<Host>, Fault> {
        let authority = hop.url.host();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(authority) {
            return Ok(Arc::clone(known));
        }
        let name = ServerName::try_from(bare(host_of(authority)).to_owned());
        let name = name.map_err(|error| hop.unnamed(&error))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .wrap_connector(tcp());
        let host = Arc::new(Host { client: builder().build(connector), found: Mutex::default() });
        if hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        hosts.insert(authority.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    /// Resolves the host of a hop and returns the addresses that may be connected to.
    async fn addresses(
        &self,
        hop: &Hop<'_>,
        host: &Host,
        within: Duration,
    ) -> Result<Vec<SocketAddr>, Fault> {
        let authority = hop.url.host();
        let addresses = match host.known() {
            Some(known) => known,
            None => {
                let name = bare(host_of(authority));
                let port =
                    authority[host_of(authority).len()..].trim_start_matches(':').parse().unwrap_or(443);
                let found = timeout(within, lookup_host((name, port))).await.map_err(|_| {
                    let expected = format!(
                        "an address for {authority} within {} s (config key limits.connect_s)",
                        within.as_secs()
                    );
                    Fault::passing("net.timeout", &hop.job.subject, expected, "none")
                })?;
                let found = found.map_err(|error| {
                    let expected = format!("an address for {authority}");
                    Fault::passing("net.dns", &hop.job.subject, expected, escaped(&error.to_string()))
                })?;
                host.resolved(found.collect())
            }
        };
        let reach = hop.job.budget.reach();
        let checked = reach.checked(authority, &addresses, SocketAddr::ip, &hop.job.subject);
        let mut allowed = checked.map_err(|refusal| Fault::last(FetchError::Refused(refusal)))?;
        allowed.truncate(ADDRESSES_MAX);
        Ok(allowed)
    }

    /// Returns the client that goes through the proxy, of which an environment names only one for https.
    fn proxied(&self, intercept: &Intercept, subject: &str) -> Result<&Client<Proxied, Full<Bytes>>, Fault> {
        if !matches!(intercept.uri().scheme_str(), Some("http" | "https")) {
            let expected = "an http:// or https:// proxy in the environment, or https.proxy = \"none\"";
            let found = intercept.uri().scheme_str().unwrap_or("none").to_owned();
            return Err(Fault::lasting("net.connect", subject, expected, found));
        }
        Ok(self.proxied.get_or_init(|| {
            let to_proxy = HttpsConnectorBuilder::new()
                .with_tls_config(self.tls.clone())
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp());
            let mut tunnel = Tunnel::new(intercept.uri().clone(), to_proxy);
            if let Some(secret) = intercept.basic_auth() {
                tunnel = tunnel.with_auth(secret.clone());
            }
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(self.tls.clone())
                .https_only()
                .enable_http1()
                .wrap_connector(tunnel);
            builder().build(connector)
        }))
    }

    /// Reads the rest of a good answer.
    async fn whole(&self, hop: &Hop<'_>, answer: hyper::Response<Incoming>) -> Result<Response, Fault> {
        let job = hop.job;
        let limits = job.budget.limits();
        let coding = body::coding(answer.headers()).map_err(|found| hop.packing(&found))?;
        // A length is believed when it is too large, since then nothing need be read; never when it is small.
        let declared = answer.headers().get(CONTENT_LENGTH).and_then(number);
        let declared = declared.filter(|_| coding == Coding::Identity);
        if let Some(declared) = declared.filter(|declared| *declared > job.bytes_max) {
            return Err(Fault::last(too_large(job, declared)));
        }
        job.budget.begins(declared);
        let bounds = Bounds {
            bytes_max: job.bytes_max,
            stall: Duration::from_secs(limits.stall_s),
            rate_bytes_s: limits.rate_bytes_s,
        };
        let (head, incoming) = answer.into_parts();
        let host = hop.url.host();
        let arrived = |bytes| job.budget.arrived(bytes);
        let bytes = body::read(incoming, coding, bounds, arrived).await.map_err(|fault| match fault {
            BodyFault::TooLarge(bytes) => Fault::last(too_large(job, bytes)),
            BodyFault::Stalled => Fault { retry: Retry::Never, ..silence(limits, host, &job.subject) },
            BodyFault::TooSlow(bytes) => {
                let expected = format!(
                    "at least {} bytes a second over {} s (config keys limits.rate_bytes_s, limits.stall_s)",
                    limits.rate_bytes_s, limits.stall_s
                );
                let found = format!("{bytes} bytes in {} s from {host}", limits.stall_s);
                Fault::lasting("net.too_slow", &job.subject, expected, found)
            }
            BodyFault::Cut(error) => {
                let found = format!("an end after a part ({}; {host})", escaped(&error.to_string()));
                Fault::passing("net.cut", &job.subject, "the whole answer", found)
            }
            BodyFault::Packing(found) => hop.packing(&found),
        })?;
        Ok(hop.response(head.status, &head.headers, bytes))
    }
}

impl Host {
    /// Returns where the host was a short while ago.
    fn known(&self) -> Option<Vec<SocketAddr>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().filter(|(since, _)| since.elapsed() < IDLE).map(|(_, addresses)| addresses.clone())
    }

    fn resolved(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Some((Instant::now(), addresses.clone()));
        addresses
    }

    /// Puts the address that answered first, so that its connection is used again.
    fn prefer(&self, address: SocketAddr) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, addresses)) = found.as_mut()
            && let Some(at) = addresses.iter().position(|one| *one == address)
        {
            addresses[..=at].rotate_right(1);
        }
    }
}

/// Checks that the policy lists the host of a hop.
fn job_may_ask(hop: &Hop<'_>) -> Result<(), Fault> {
    let checked = hop.job.budget.reach().check_host(hop.url.host(), &hop.job.subject);
    checked.map_err(|refusal| Fault::last(FetchError::Refused(refusal)))
}

/// Returns where a request goes whose host is at this address.
fn at(uri: &Uri, address: SocketAddr, hop: &Hop<'_>) -> Result<Uri, Fault> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    format!("https://{address}{target}")
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| hop.unnamed(&error))
}

/// Sends a request, connecting within `connect` where no connection waits, and reads the head of the answer.
async fn sent<C: Connect + Clone + Send + Sync + 'static>(
    hop: &Hop<'_>,
    client: &Client<C, Full<Bytes>>,
    mut request: hyper::Request<Full<Bytes>>,
    connect: Duration,
) -> Result<hyper::Response<Incoming>, Unsent> {
    let (limits, subject, host) = (hop.job.budget.limits(), &hop.job.subject, hop.url.host());
    let mut capture = capture_connection(&mut request);
    let mut answer = pin!(client.request(request));
    let connected = timeout(connect, async {
        // The guard that it returns may not live across the next wait.
        drop(capture.wait_for_connection_metadata().await);
    });
    let early = tokio::select! {
        biased;
        answer = &mut answer => Some(answer),
        connected = connected => {
            connected.map_err(|_| {
                let expected = format!("a connection to {host} within {} s (config key limits.connect_s)", limits.connect_s);
                Unsent::Unconnected(Fault::passing("net.timeout", subject, expected, "none"))
            })?;
            None
        }
    };
    let answer = match early {
        Some(answer) => answer,
        None => timeout(Duration::from_secs(limits.stall_s), answer)
            .await
            .map_err(|_| Unsent::Failed(silence(limits, host, subject)))?,
    };
    answer.map_err(|error| {
        let fault = Fault::of(&error, host, subject);
        // Whoever is there with another certificate is not asked whether a neighbour has a better one.
        match error.is_connect() && fault.error.refusal().reason != "net.tls" {
            true => Unsent::Unconnected(fault),
            false => Unsent::Failed(fault),
        }
    })
}

impl Hop<'_> {
    /// Says that the host has no address.
    fn unnamed(&self, found: &dyn std::fmt::Display) -> Fault {
        let expected = format!("an address for {}", self.url.host());
        Fault::lasting("net.dns", &self.job.subject, expected, escaped(&found.to_string()))
    }

    /// Returns what this server gave us earlier, if it was this one.
    fn known(&self) -> Option<&Known> {
        self.job.known.as_ref().filter(|known| known.place == self.place)
    }

    fn request(&self, uri: Uri, authorization: Option<&HeaderValue>) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::new(Full::new(self.job.body.clone().unwrap_or_default()));
        let interface = self.job.interface.as_ref();
        *request.method_mut() = match (interface, &self.job.body) {
            (Some(interface), _) => interface.method.clone(),
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        };
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.job.headers {
            headers.insert(name.clone(), value.clone());
        }
        // Last, so that no caller's header stands in for a token.
        headers.remove(AUTHORIZATION);
        let known = self.known();
        let more = [
            (AUTHORIZATION, interface.map(|interface| &interface.authorization).or(authorization)),
            (IF_NONE_MATCH, known.and_then(|known| known.etag.as_ref())),
            (IF_MODIFIED_SINCE, known.and_then(|known| known.modified.as_ref())),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        request
    }

    fn response(&self, status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Response {
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = value.to_str().ok().filter(|value| value.len() <= VALIDATOR_BYTES_MAX)?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        Response {
            status: status.as_u16(),
            url: self.url.to_string(),
            place: self.place.clone(),
            headers: headers.iter().filter_map(text).collect(),
            body,
        }
    }

    /// Returns where an answer points.
    fn moved(&self, status: StatusCode, headers: &HeaderMap) -> Result<HttpsUrl, Fault> {
        let subject = &self.job.subject;
        let text = headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let found = |text: &str| format!("{} from {} to \"{}\"", status.as_u16(), self.place, shown(text));
        let Some(text) = text else {
            let found = format!("{} from {} to nowhere", status.as_u16(), self.place);
            return Err(Fault::lasting(
                "net.redirects",
                subject,
                "the address that a redirect leads to",
                found,
            ));
        };
        if self.job.body.is_some() && status == StatusCode::SEE_OTHER {
            return Err(Fault::lasting("net.redirects", subject, "an answer to a POST", found(&text)));
        }
        let wrong =
            |reason| Fault::lasting(reason, subject, "an https:// address after a redirect", found(&text));
        let is_plain = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) && !text.contains('\\');
        let next = match (HttpsUrl::parse(&text), Url::parse(&text)) {
            (Ok(next), _) => return Ok(next),
            // An absolute address that is not https, or an https one that our grammar refuses.
            (Err(_), Ok(url)) if url.scheme() != "https" => return Err(wrong("net.redirect_downgrade")),
            (Err(_), Ok(_)) => return Err(wrong("net.redirects")),
            (Err(_), Err(_)) if is_plain => Url::parse(self.url.as_text()).and_then(|base| base.join(&text)),
            (Err(_), Err(error)) => Err(error),
        };
        let next = next.map_err(|_| wrong("net.redirects"))?;
        HttpsUrl::parse(next.as_str()).map_err(|_| wrong("net.redirects"))
    }

    /// Says what a status means that is no answer.
    fn status(&self, status: StatusCode, headers: &HeaderMap, has_token: bool) -> Fault {
        let subject = &self.job.subject;
        let found = format!("status {status} from {}", self.place);
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                let refusal = Refusal::new("net.not_found", subject, "a document there", found);
                Fault::last(FetchError::Missing(refusal))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let expected = match has_token {
                    true => "access with the token that [[https.tokens]] gives for this address; renew it",
                    false => "access without a token; give one for this address in [[https.tokens]]",
                };
                Fault::last(FetchError::Refused(Refusal::new("net.forbidden", subject, expected, found)))
            }
            _ => {
                let fault = Fault::lasting("net.status", subject, "status 200", found);
                let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                let asked = retry_after(headers);
                let retry = match asked {
                    _ if !passes => Retry::Never,
                    Some(wait) => Retry::After(wait),
                    None => Retry::Soon,
                };
                Fault { retry, ..fault }
            }
        }
    }

    fn packing(&self, found: &str) -> Fault {
        let found = format!("\"{}\" from {}", escaped(found), self.place);
        let expected = "a body as it is, or packed once with gzip";
        Fault::last(FetchError::Refused(Refusal::new("net.encoding", &self.job.subject, expected, found)))
    }
}

/// Reads the rest of an answer that nobody wants, where it is short, so that its connection can be used again.
async fn drain(incoming: Incoming) {
    if incoming.size_hint().exact().is_some_and(|bytes| bytes <= DRAIN_BYTES_MAX) {
        // Where it fails, the connection ends.
        let _ = timeout(DRAIN, incoming.collect()).await;
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // The encryption is put on top of it by the connector around it.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).http1_max_buf_size(HEAD_BYTES_MAX);
    builder
}

/// Returns how an address is shown that a redirect gave: its query may hold a secret of the server's.
fn place(url: &HttpsUrl) -> String {
    shown(url.as_text())
}

/// Returns the start of an address up to its query or its user and password, escaped and cut.
fn shown(text: &str) -> String {
    let (start, has_query) = match text.split_once(['?', '#']) {
        Some((start, _)) => (start, true),
        None => (text, false),
    };
    let hidden = match (start.split_once("//"), start.find('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}//***@{}", &start[at + 1..]),
        _ => start.to_owned(),
    };
    format!("{}{}", escaped(&hidden), if has_query { "?…" } else { "" })
}

/// Reads how long a server asks to wait: seconds, or a date, which counts from the server's own `Date` and no clock of ours.
/// Never more than twice what is waited for.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?;
    let seconds = number(asked).or_else(|| {
        let (until, sent) = (date_s(asked)?, date_s(headers.get(DATE)?)?);
        Some(until.saturating_sub(sent))
    });
    // A server may name any number; what no caller waits for anyway must not overflow the sums that it goes into.
    seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX * 2))
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7) as seconds since the year 0.
fn date_s(value: &HeaderValue) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = value.to_str().ok()?.split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let small = |text: &str, max: u64| text.parse::<u64>().ok().filter(|number| *number <= max);
    let (day, year) = (small(day, 31)?, small(year, 9999)?);
    let month = MONTHS.iter().position(|name| name == month)? as u64;
    let parts: Vec<u64> = time.split(':').map(|part| small(part, 60)).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    // Years from March, so that the leap day is the last one.
    let (year, month) = if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns the error for a body of at least `bytes` bytes: the run's own limit where that is what holds.
fn too_large(job: &Job, bytes: u64) -> FetchError {
    // What is left can only have shrunk since the caller looked, so nothing is taken here.
    if bytes > job.budget.readable_bytes()
        && let Err(error) = job.budget.take_bytes(bytes, &job.subject)
    {
        return error;
    }
    let expected = format!("at most {} bytes here", job.bytes_max);
    FetchError::Limit(Refusal::new(
        "net.too_large",
        &job.subject,
        expected,
        format!("at least {bytes} bytes"),
    ))
}

fn silence(limits: &Limits, host: &str, subject: &str) -> Fault {
    let expected = format!("bytes from {host} within {} s (config key limits.stall_s)", limits.stall_s);
    Fault::lasting("net.timeout", subject, expected, "silence")
}

/// Says that a proxy stood between.
fn through(intercept: &Intercept, mut fault: Fault) -> Fault {
    let proxy = intercept.uri().authority().map(|authority| authority.host()).unwrap_or_default();
    if let FetchError::Unreachable(refusal) = &mut fault.error {
        refusal.found =
            format!("{} (through the proxy {} of the environment)", refusal.found, escaped(proxy));
    }
    fault
}

/// Says how often it was tried.
fn after(tried: u32, mut error: FetchError) -> FetchError {
    if tried > 1
        && let FetchError::Unreachable(refusal) = &mut error
    {
        refusal.found = format!("{} (tried {tried} times)", refusal.found);
    }
    error
}

/// Returns half of `pause` to all of it, so that clients which failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    // The standard library's only source of chance: the keys of its hash tables.
    let chance = RandomState::new().hash_one(0u8) % 1024;
    pause / 2 + pause / 2 * u32::try_from(chance).unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_server_asks_for_seconds_or_for_a_date() {
        let check = |asked: &str, sent: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(asked).unwrap());
            if let Some(sent) = sent {
                headers.insert(DATE, HeaderValue::from_str(sent).unwrap());
            }
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{asked} {sent:?}");
        };
        check("7", None, Some(7));
        check("soon", None, None);
        check("18446744073709551615", None, Some(120));
        check("Fri, 31 Dec 9999 00:00:00 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(120));
        check("-1", None, None);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(date), Some(30));
        check("Sun, 06 Nov 1994 08:49:07 GMT", Some(date), Some(0));
        check(date, None, None);
        check("Thu, 29 Feb 2024 00:00:01 GMT", Some("Wed, 28 Feb 2024 23:59:59 GMT"), Some(2));
        check("Fri, 01 Mar 2024 00:00:00 GMT", Some("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1));
        check("Thu, 01 Jan 2026 00:00:00 GMT", Some("Wed, 31 Dec 2025 23:59:58 GMT"), Some(2));
        check("Sat, 01 Mar 2025 00:00:00 GMT", Some("Fri, 28 Feb 2025 23:59:59 GMT"), Some(1));
        for broken in [
            "Sun, 06 Nov 1994 08:49:37",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Jan 0 00:00:00 GMT",
        ] {
            check(broken, Some(date), None);
        }
    }
}
