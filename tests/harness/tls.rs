//! A real TLS server on loopback with an authority of its own: documents, misbehaviour by route, and real Git repositories
//! behind the real `git http-backend`. It remembers every request. Also a proxy that tunnels. Asserts nothing.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

use crate::harness::toxic::{Position, Toxic, unmeasured};
use crate::harness::{place, poll};

/// How long a client may be silent before its connection is dropped.
const SILENCE: Duration = Duration::from_secs(120);

/// Which certificate the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// One that the authority of [`TlsServer::ca_file`] signed, for `localhost` and the names that were given.
    Good,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for other hosts.
    OtherHost,
    /// It signed itself; the authority does not know it.
    SelfSigned,
    /// An authority of the same name signed it, with another key.
    UnknownAuthority,
    /// It is for clients.
    ForClients,
    /// It is that of an authority, which signed itself: [`TlsServer::ca_file`] holds the same one.
    Authority,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// 200 with these bytes, or 304 where the request knows them by `etag` or, without one, by `modified`.
    Document {
        /// The bytes.
        bytes: Vec<u8>,
        /// The entity tag with its quotes.
        etag: Option<String>,
        /// The date of the last modification.
        modified: Option<String>,
    },
    /// A status, header lines (`name: value`), and a body with its right length.
    Answer(u16, Vec<String>, Vec<u8>),
    /// These bytes on the wire as they are, then the end of the connection without TLS's farewell.
    Raw(Vec<u8>),
    /// These bytes on the wire as they are, then nothing until the client gives up.
    Stall(Vec<u8>),
    /// These bytes on the wire, one every so often, for ever: the last one again and again.
    Drip(Vec<u8>, Duration),
    /// The first bytes, then the second ones again and again until the client gives up.
    Endless(Vec<u8>, Vec<u8>),
    /// 200 with a body of these bytes and its right length, in pieces of so many, each as soon as the gate lets it through.
    Gated(Vec<u8>, usize, Gate),
}

/// Lets pieces through when a test says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Passed>, Condvar)>);

#[derive(Debug, Default)]
struct Passed {
    allowed: usize,
    is_broken: bool,
}

impl Gate {
    /// Lets so many more pieces through.
    pub(crate) fn open(&self, pieces: usize) {
        self.0.0.lock().unwrap().allowed += pieces;
        self.0.1.notify_all();
    }

    /// Tells whether a client has gone away before it had everything.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.0.lock().unwrap().is_broken
    }

    /// Waits until a piece may go; `false` where nobody has opened for too long.
    fn pass(&self) -> bool {
        let passed = self.0.0.lock().unwrap();
        let is_shut = |passed: &mut Passed| passed.allowed == 0;
        let (mut passed, waited) = self.0.1.wait_timeout_while(passed, SILENCE, is_shut).unwrap();
        passed.allowed = passed.allowed.saturating_sub(1);
        !waited.timed_out()
    }
}

impl Route {
    /// Returns a status without a body.
    pub(crate) fn status(status: u16) -> Route {
        Route::Answer(status, Vec::new(), Vec::new())
    }

    /// Returns a status with one header line and without a body.
    pub(crate) fn status_with(status: u16, header: &str) -> Route {
        Route::Answer(status, vec![header.to_owned()], Vec::new())
    }

    /// Returns a redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Route {
        Route::status_with(status, &format!("location: {location}"))
    }

    /// Returns 200 with these bytes and nothing to compare.
    pub(crate) fn ok(bytes: &[u8]) -> Route {
        Route::Answer(200, Vec::new(), bytes.to_vec())
    }

    /// Returns 200 with a body of these bytes as they are, and a `Content-Encoding`.
    pub(crate) fn encoded(coding: &str, bytes: &[u8]) -> Route {
        Route::Answer(200, vec![format!("content-encoding: {coding}")], bytes.to_vec())
    }

    /// Returns 200 with a declared length and other bytes, after which the connection ends.
    pub(crate) fn declared(length: u64, bytes: &[u8]) -> Route {
        Route::Raw(
            [format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(), bytes].concat(),
        )
    }
}

/// A request as it arrived, and what was sent for it.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The header lines, lower case names.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// On which connection it arrived, from 1.
    pub(crate) connection: usize,
    /// How many bytes were sent for it so far, with the head.
    pub(crate) sent: u64,
}

impl Logged {
    /// Returns a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Answers a request of a mount before Git does.
type Before = dyn Fn(&Logged) -> Option<Route> + Send + Sync;
/// Changes the body of Git's answer.
type Alter = dyn Fn(&Logged, Vec<u8>) -> Vec<u8> + Send + Sync;

/// A directory of bare repositories behind `git http-backend`.
#[derive(Clone)]
pub(crate) struct GitMount {
    root: PathBuf,
    has_protocol: bool,
    authorization: Option<String>,
    before: Arc<Before>,
    alter: Arc<Alter>,
}

impl GitMount {
    /// Serves the bare repositories below `root`.
    pub(crate) fn of(root: &Path) -> GitMount {
        GitMount {
            root: root.to_path_buf(),
            has_protocol: true,
            authorization: None,
            before: Arc::new(|_| None),
            alter: Arc::new(|_, body| body),
        }
    }

    /// Speaks version 0 only: the client's `Git-Protocol` never reaches Git.
    pub(crate) fn version_0(self) -> GitMount {
        GitMount { has_protocol: false, ..self }
    }

    /// Answers 401 without this `Authorization`.
    pub(crate) fn requiring(self, authorization: &str) -> GitMount {
        GitMount { authorization: Some(authorization.to_owned()), ..self }
    }

    /// Answers what `before` answers; Git answers the rest.
    pub(crate) fn before(
        self,
        before: impl Fn(&Logged) -> Option<Route> + Send + Sync + 'static,
    ) -> GitMount {
        GitMount { before: Arc::new(before), ..self }
    }

    /// Changes the bodies of Git's answers.
    pub(crate) fn alter(
        self,
        alter: impl Fn(&Logged, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> GitMount {
        GitMount { alter: Arc::new(alter), ..self }
    }
}

#[derive(Default)]
struct Shared {
    /// What each path answers: the first as often as there are more, the last for ever.
    routes: Mutex<HashMap<String, Vec<Route>>>,
    mounts: Mutex<Vec<(String, GitMount)>>,
    requests: Mutex<Vec<Logged>>,
    /// The connections by their numbers.
    open: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
    puts: AtomicUsize,
    /// What happens to the answers of paths that start so.
    toxics: Mutex<Vec<(String, Toxic, Position)>>,
    listener: Mutex<Option<TcpListener>>,
    is_over: AtomicBool,
}

impl Shared {
    /// Keeps the address and listens there no more; what is connected is cut off.
    fn take_down(&self) {
        if let Some(listener) = &*self.listener.lock().unwrap() {
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
        self.hang_up();
    }

    fn hang_up(&self) {
        for (_, stream) in self.open.lock().unwrap().drain() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes the server down where that is still to happen: whoever comes late finds it cured.
    fn strike_down(&self) {
        let toxics = self.toxics.lock().unwrap();
        if toxics.iter().any(|(_, toxic, _)| *toxic == Toxic::Down) {
            self.take_down();
        }
    }

    fn toxic(&self, path: &str) -> Option<(Toxic, Position)> {
        let toxics = self.toxics.lock().unwrap();
        let found = toxics.iter().find(|(start, ..)| path.starts_with(start));
        found.map(|(_, toxic, position)| (*toxic, *position))
    }
}

/// The server; it ends when dropped.
pub(crate) struct TlsServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    directory: TempDir,
    acceptor: Option<JoinHandle<()>>,
}

impl Debug for TlsServer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.origin())
    }
}

impl TlsServer {
    /// Starts a server for `localhost`.
    pub(crate) fn start() -> TlsServer {
        TlsServer::start_as(&[], Certificate::Good)
    }

    /// Starts a server that shows a certificate of this kind, for `localhost` and more names.
    pub(crate) fn start_as(names: &[&str], certificate: Certificate) -> TlsServer {
        let directory = tempfile::tempdir().unwrap();
        let (config, authority) = server_config(names, certificate);
        std::fs::write(directory.path().join("ca.pem"), authority).unwrap();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_thread, &Arc::new(config)));
        TlsServer { shared, address, directory, acceptor: Some(acceptor) }
    }

    /// Returns `https://localhost:PORT`.
    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Returns the URL of a path, which starts with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Returns the PEM file of its authority.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Serves a document with an entity tag and a date, both new with every call.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let count = self.shared.puts.fetch_add(1, Ordering::Relaxed);
        let (etag, second) = (format!("\"v{count}\""), count % 60);
        let modified = Some(format!("Wed, 01 Jan 2025 00:00:{second:02} GMT"));
        self.route(path, Route::Document { bytes: bytes.to_vec(), etag: Some(etag), modified });
    }

    /// Answers a path so from now on.
    pub(crate) fn route(&self, path: &str, route: Route) {
        self.script(path, vec![route]);
    }

    /// Answers a path with these in turn, and with the last one from then on.
    pub(crate) fn script(&self, path: &str, routes: Vec<Route>) {
        self.shared.routes.lock().unwrap().insert(path.to_owned(), routes);
    }

    /// Takes a path away.
    pub(crate) fn remove(&self, path: &str) {
        self.shared.routes.lock().unwrap().remove(path);
    }

    /// Serves repositories below `prefix`, in place of what was mounted there.
    pub(crate) fn mount(&self, prefix: &str, mount: GitMount) {
        let mut mounts = self.shared.mounts.lock().unwrap();
        mounts.retain(|(known, _)| known != prefix);
        mounts.push((prefix.to_owned(), mount));
    }

    /// Returns every request since the start or the last [`TlsServer::forget`].
    pub(crate) fn requests(&self) -> Vec<Logged> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns `METHOD target` of every request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }

    /// Returns how many bytes were sent since the start or the last [`TlsServer::forget`].
    pub(crate) fn sent(&self) -> u64 {
        self.requests().iter().map(|request| request.sent).sum()
    }

    /// Forgets the requests.
    pub(crate) fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
    }

    /// Returns how many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends every connection that is open.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up();
    }

    /// Does this to the answers of all paths that start so, from now on.
    pub(crate) fn poison(&self, start: &str, toxic: Toxic, position: Position) {
        self.shared.toxics.lock().unwrap().push((start.to_owned(), toxic, position));
    }

    /// Listens no more until it is cured; its address stays its own.
    pub(crate) fn take_down(&self) {
        self.shared.take_down();
    }

    /// Answers as it should again, and listens.
    pub(crate) fn cure(&self) {
        let mut toxics = self.shared.toxics.lock().unwrap();
        toxics.clear();
        let listener = self.shared.listener.lock().unwrap();
        SockRef::from(listener.as_ref().unwrap()).listen(128).unwrap();
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // The acceptor wakes up, sees that it is over, and frees the port.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.hang_up();
    }
}

/// Makes a leaf of the wanted kind; returns the server's side and the authority's certificate as PEM.
fn server_config(names: &[&str], kind: Certificate) -> (ServerConfig, String) {
    let authority = |key: KeyPair| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "An authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    };
    let (good, pem) = authority(KeyPair::generate().unwrap());
    let (other, _) = authority(KeyPair::generate().unwrap());
    let own = ["localhost", "127.0.0.1"].into_iter().chain(names.iter().copied());
    let hosts: Vec<String> = match kind {
        Certificate::OtherHost => vec!["other.example".to_owned()],
        _ => own.map(str::to_owned).collect(),
    };
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "A server for tests");
    params.extended_key_usages = vec![match kind {
        Certificate::ForClients => ExtendedKeyUsagePurpose::ClientAuth,
        _ => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    (params.not_before, params.not_after) = match kind {
        Certificate::Expired => (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)),
        Certificate::NotYetValid => (date_time_ymd(2990, 1, 1), date_time_ymd(2991, 1, 1)),
        _ => (date_time_ymd(2001, 1, 1), date_time_ymd(2991, 1, 1)),
    };
    let key = KeyPair::generate().unwrap();
    if kind == Certificate::Authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let leaf = match kind {
        Certificate::SelfSigned | Certificate::Authority => params.self_signed(&key).unwrap(),
        Certificate::UnknownAuthority => params.signed_by(&key, &other).unwrap(),
        _ => params.signed_by(&key, &good).unwrap(),
    };
    let pem = if kind == Certificate::Authority { leaf.pem() } else { pem };
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (config, pem)
}

/// Listens at a port that is asked for by its number: a port that the kernel chose is lost when nobody listens for a while.
fn listener() -> TcpListener {
    let bound = |port: u16| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket
    };
    let chosen = bound(0);
    let port = chosen.local_addr().unwrap().as_socket().unwrap().port();
    let socket = bound(port);
    socket.listen(128).unwrap();
    socket.into()
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, config: &Arc<ServerConfig>) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            // Nobody listens for a while.
            poll::pause(Duration::from_millis(5));
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        shared.open.lock().unwrap().extend(stream.try_clone().map(|stream| (number, stream)));
        let (shared, config) = (Arc::clone(shared), Arc::clone(config));
        std::thread::spawn(move || {
            // A client that goes away, or that does not like the certificate, is none of our business.
            let _ = converse(stream, &shared, config, number);
        });
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Answers the requests of one connection until it ends.
fn converse(tcp: TcpStream, shared: &Shared, config: Arc<ServerConfig>, connection: usize) -> io::Result<()> {
    tcp.set_read_timeout(Some(SILENCE))?;
    tcp.set_nodelay(true)?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(session, tcp));
    while let Some(request) = read_request(&mut reader, connection)? {
        let index = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let route = route(shared, &request);
        let mut out = Counted { stream: reader.get_mut(), shared, index };
        let (toxic, route) = (shared.toxic(request.path()), flat(&request, route));
        if let (Some((toxic, position)), Flat::Whole(head, body)) = (toxic, &route) {
            if !struck(&mut out, toxic, position, head, body)? {
                // A reset is sent when nobody holds the connection any more.
                shared.open.lock().unwrap().remove(&connection);
                return Ok(());
            }
            continue;
        }
        if !serve(&mut out, route)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<Stream>, connection: usize) -> io::Result<Option<Logged>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim_end().split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut request = Logged { method, target, headers, body: Vec::new(), connection, sent: 0 };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0usize);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn route(shared: &Shared, request: &Logged) -> Route {
    let scripted = {
        let mut routes = shared.routes.lock().unwrap();
        let key = [request.target.as_str(), request.path()].into_iter().find(|key| routes.contains_key(*key));
        key.map(str::to_owned).and_then(|key| routes.get_mut(&key)).map(|steps| match steps.len() {
            1 => steps[0].clone(),
            _ => steps.remove(0),
        })
    };
    if let Some(route) = scripted {
        return route;
    }
    let mount = {
        let mounts = shared.mounts.lock().unwrap();
        let fitting = mounts.iter().filter(|(prefix, _)| request.path().starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).cloned()
    };
    match mount {
        Some((prefix, mount)) => git(&prefix, &mount, request),
        None => Route::status(404),
    }
}

/// Lets Git answer.
fn git(prefix: &str, mount: &GitMount, request: &Logged) -> Route {
    if mount.authorization.is_some() && request.header("authorization") != mount.authorization.as_deref() {
        return Route::status_with(401, "www-authenticate: Basic realm=\"git\"");
    }
    if let Some(route) = (mount.before)(request) {
        return route;
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env_clear()
        .env("PATH", place::variable("PATH").unwrap_or_default())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ])
        .env("GIT_PROJECT_ROOT", &mount.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &path[prefix.len()..])
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("CONTENT_TYPE", request.header("content-type").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(protocol) = request.header("git-protocol").filter(|_| mount.has_protocol) {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    // Git may answer before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    let split = output.stdout.windows(4).position(|at| at == b"\r\n\r\n").unwrap_or(output.stdout.len());
    let head = String::from_utf8_lossy(&output.stdout[..split]).into_owned();
    let body = output.stdout.get(split + 4..).unwrap_or_default().to_vec();
    let mut status = 200;
    let mut headers = Vec::new();
    for line in head.lines() {
        match line.strip_prefix("Status: ") {
            Some(text) => status = text[..3].parse().unwrap(),
            None => headers.push(line.to_owned()),
        }
    }
    Route::Answer(status, headers, (mount.alter)(request, body))
}

/// Counts what is sent for one request.
struct Counted<'a> {
    stream: &'a mut Stream,
    shared: &'a Shared,
    index: usize,
}

impl Counted<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.shared.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the server ends"));
        }
        if let Some(request) = self.shared.requests.lock().unwrap().get_mut(self.index) {
            request.sent += bytes.len() as u64;
        }
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }
}

/// An answer that is all there, as its head and its body, or anything else.
enum Flat {
    Whole(Vec<u8>, Vec<u8>),
    Other(Route),
}

fn flat(request: &Logged, route: Route) -> Flat {
    match route {
        Route::Document { bytes, etag, modified } => {
            let is_known = match (request.header("if-none-match"), request.header("if-modified-since")) {
                (Some(known), _) => etag.as_deref() == Some(known),
                (None, Some(known)) => modified.as_deref() == Some(known),
                (None, None) => false,
            };
            let etag = etag.map(|etag| format!("etag: {etag}"));
            let modified = modified.map(|modified| format!("last-modified: {modified}"));
            let headers: Vec<String> = etag.into_iter().chain(modified).collect();
            match is_known {
                true => Flat::Whole(head(304, &headers, None), Vec::new()),
                false => Flat::Whole(head(200, &headers, Some(bytes.len())), bytes),
            }
        }
        Route::Answer(status, headers, body) => Flat::Whole(head(status, &headers, Some(body.len())), body),
        other => Flat::Other(other),
    }
}

/// Sends an answer that something happens to; returns whether the connection can go on.
fn struck(
    out: &mut Counted<'_>,
    toxic: Toxic,
    position: Position,
    head: &[u8],
    body: &[u8],
) -> io::Result<bool> {
    let is_whole = (toxic, position) == (Toxic::SlowClose, Position::End);
    let head = if is_whole { unmeasured(head) } else { head.to_vec() };
    let at = toxic.after(position, head.len(), body.len());
    let wire = [&head, body].concat();
    out.send(&wire[..at])?;
    if toxic == Toxic::Down {
        out.shared.strike_down();
        return Ok(false);
    }
    let goes_on = toxic.strike(
        &wire[at..],
        out,
        |out, bytes| out.send(bytes),
        |out| &out.stream.sock,
        |out| {
            let _ = out.stream.read(&mut [0]);
        },
    )?;
    if toxic == Toxic::SlowClose {
        out.stream.conn.send_close_notify();
        out.stream.flush()?;
    }
    if toxic != Toxic::ResetPeer && !goes_on {
        out.stream.sock.shutdown(Shutdown::Write)?;
    }
    Ok(goes_on)
}

/// Sends what a route says; returns whether the connection can go on.
fn serve(out: &mut Counted<'_>, route: Flat) -> io::Result<bool> {
    let route = match route {
        Flat::Whole(head, body) => {
            out.send(&[head, body].concat())?;
            return Ok(true);
        }
        Flat::Other(route) => route,
    };
    match route {
        Route::Document { .. } | Route::Answer(..) => {}
        Route::Raw(bytes) => {
            out.send(&bytes)?;
            out.stream.sock.shutdown(Shutdown::Write)?;
            return Ok(false);
        }
        Route::Stall(bytes) => {
            out.send(&bytes)?;
            // Returns when the client gives up.
            let _ = out.stream.read(&mut [0]);
            return Ok(false);
        }
        Route::Drip(bytes, pause) => {
            let last = bytes.last().copied().unwrap_or(b'x');
            for byte in bytes.into_iter().chain(std::iter::repeat(last)) {
                out.send(&[byte])?;
                poll::pause(pause);
            }
        }
        Route::Gated(bytes, size, gate) => {
            out.send(&head(200, &[], Some(bytes.len())))?;
            for piece in bytes.chunks(size) {
                if !gate.pass() || out.send(piece).is_err() {
                    gate.0.0.lock().unwrap().is_broken = true;
                    return Ok(false);
                }
            }
        }
        Route::Endless(start, more) => {
            out.send(&start)?;
            loop {
                out.send(&more)?;
            }
        }
    }
    Ok(true)
}

fn head(status: u16, headers: &[String], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Whatever\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if let Some(length) = length {
        text.push_str(&format!("content-length: {length}\r\n"));
    }
    format!("{text}\r\n").into_bytes()
}

/// A proxy on loopback that tunnels with `CONNECT`, and remembers where to.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy; it serves until the process ends.
    pub(crate) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = Arc::clone(&proxy.heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heads = Arc::clone(&heads);
                std::thread::spawn(move || tunnel(stream, &heads));
            }
        });
        proxy
    }

    /// Returns its URL with a user and password.
    pub(crate) fn url(&self, login: &str) -> String {
        format!("http://{login}@{}", self.address)
    }

    /// Returns the heads of the requests that it got.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 && !head.ends_with("\r\n\r\n") {}
    heads.lock().unwrap().push(head.clone());
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    let server = TcpStream::connect(target)?;
    (&client).write_all(b"HTTP/1.1 200 Go ahead\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut reader, &mut &server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}
