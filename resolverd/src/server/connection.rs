//! HTTP over the socket: connections, their limits, and what a request must not carry. The only async code beside the
//! daemon's wiring. Authority comes from the peer's credentials, once per connection, never from a header.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, REFERER,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::Resource;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::api::lock::{LARGE_LOCKS_MAX, LOCK_BODY_BYTES_MAX, LOCK_CHECK};
use crate::api::{BODY_BYTES_MAX, Code, Failure, JSON, NDJSON, Reply};
use crate::order::{Order, OrderError};
use crate::server::answer::{rehearsal, report};
use crate::server::desk;
use crate::server::encoded::Encoded;
use crate::server::events::{self, EVENT_STREAM, EventBody, Start};
use crate::server::files::{Asking, REQUESTS_MAX};
use crate::server::progress::{self, Answering, First, Heard, LineBody};
use crate::server::quick::{Next, Quick, is_local_name};
use crate::server::route::{Forget, Operation, Query, methods, operation_of, read_parts};
use crate::server::solve::{Solving, UNDECIDED};
use crate::server::stream::{Flight, Flights, Patience, Watched};
use crate::server::{Caller, Door, RequestId, State, Work, permitted, work_of};

/// The most connections at once.
pub const CONNECTIONS_MAX: usize = 256;
/// The most connections of one uid at once.
pub const CONNECTIONS_PER_UID_MAX: usize = 32;
/// One connection for so many file descriptors that the process may have, at either socket, so that a low limit leaves room
/// for the store and the sources.
const DESCRIPTORS_PER_CONNECTION: u64 = 4;
/// The most orders that wait for the writer at once. The writer answers equal ones together; a caller who has gone still
/// counts until then, since a thread waits for the outcome.
pub const ORDERS_MAX: usize = 64;
/// The most headers of a request.
pub const HEADERS_MAX: usize = 32;
/// The largest request head in bytes.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// What the parser takes, so that a head beyond our own bounds still gets a problem for an answer. Beyond this, and beyond the
/// 100 headers that it takes by itself, the parser answers with a bare 431. Its own number is not set here: any number that is
/// makes it allocate for every request.
const PARSED_HEAD_BYTES_MAX: usize = 64 << 10;

/// How many references and natives a question may have that is answered on the connection's own thread.
pub(crate) const INLINE_MAX: usize = 256;
/// How long to wait after a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the main socket as [`run_door`] does.
pub async fn run_with(
    listener: UnixListener,
    state: Arc<State>,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    run_door(listener, Door::Main, state, patience, stop).await;
}

/// Serves `listener` until `stop` is ready, then lets open requests end within [`Patience::drain`].
pub async fn run_door(
    listener: UnixListener,
    door: Door,
    state: Arc<State>,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    let (draining, drained) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut seats = Seats::within(rustix::process::getrlimit(Resource::Nofile).current);
    let mut is_short = false;
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Err(error) => {
                    // Once for each time of need: it is tried again many times.
                    if !std::mem::replace(&mut is_short, true) {
                        tracing::warn!(%error, "cannot accept connections; they wait until some are closed");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                Ok((stream, _)) => {
                    is_short = false;
                    match admitted(&stream, door, &state, &mut seats, connections.len()) {
                        Err(failure) => turn_away(&stream, &failure),
                        Ok((asking, seat)) => {
                            let (state, drained) = (state.clone(), drained.clone());
                            let present = (state.activity().enter(), Counted::new(&state), seat);
                            connections.spawn(async move {
                                connection(stream, state, asking, patience, drained).await;
                                drop(present);
                            });
                        }
                    }
                }
            }
        }
    }
    drop(listener);
    drop(draining);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(patience.drain, all).await.is_err() {
        tracing::warn!(open = connections.len(), "requests were still open and are cut off");
    }
}

/// An open connection in the metrics, until it is dropped, by a panic too.
struct Counted(Arc<State>);

impl Counted {
    fn new(state: &Arc<State>) -> Counted {
        state.metrics().connected();
        Counted(state.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics().disconnected();
    }
}

/// Who sits where: the seats of a uid are counted by the clones of its token.
struct Seats {
    taken: HashMap<u32, Arc<()>>,
    all: usize,
    per_uid: usize,
}

impl Seats {
    /// Makes the seats of one door of a process that may have `descriptors`, or as many as it likes.
    fn within(descriptors: Option<u64>) -> Seats {
        let share = descriptors.map_or(u64::MAX, |most| most / DESCRIPTORS_PER_CONNECTION);
        let all = usize::try_from(share).unwrap_or(CONNECTIONS_MAX).clamp(2, CONNECTIONS_MAX);
        Seats { taken: HashMap::new(), all, per_uid: (all / 2).min(CONNECTIONS_PER_UID_MAX) }
    }

    fn take(&mut self, uid: u32) -> Option<Arc<()>> {
        if self.taken.len() > self.all {
            self.taken.retain(|_, token| Arc::strong_count(token) > 1);
        }
        let token = self.taken.entry(uid).or_default();
        (Arc::strong_count(token) <= self.per_uid).then(|| token.clone())
    }
}

fn admitted(
    stream: &UnixStream,
    door: Door,
    state: &State,
    seats: &mut Seats,
    open: usize,
) -> Result<(Asking, Arc<()>), Failure> {
    let unknown = || {
        Failure::new(Code::PermissionDenied, "caller", "the system does not say which user calls")
            .hint("call from the user namespace of the daemon")
    };
    let uid = stream.peer_cred().map_err(|_| unknown())?.uid();
    let caller = match (state.caller(uid).ok_or_else(unknown)?, door) {
        (_, Door::Admin) => Caller::Admin,
        (caller, Door::Main) => caller,
    };
    let busy = |limit: usize, whose: &str| {
        Failure::new(Code::LimitExceeded, "api.busy", format!("{limit} connections{whose} are open"))
            .status(503)
            .with("limit", limit)
            .hint("close connections that are not needed, and try again")
    };
    if open >= seats.all {
        return Err(busy(seats.all, ""));
    }
    let seat = seats.take(uid).ok_or_else(|| busy(seats.per_uid, " of this user"))?;
    Ok((Asking { uid, caller }, seat))
}

/// Says why and closes, without reading a byte; a peer that does not take it at once gets nothing.
fn turn_away(stream: &UnixStream, failure: &Failure) {
    let Reply { status, content_type, body } = failure.reply(None);
    let mut bytes = format!(
        "HTTP/1.1 {status} \r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    if let Err(error) = stream.try_write(&bytes) {
        tracing::debug!(%error, "a connection was closed without a word");
    }
}

/// What the requests of one connection share.
struct Peer {
    state: Arc<State>,
    caller: Caller,
    uid: u32,
    patience: Patience,
    flights: Flights,
    ending: watch::Receiver<()>,
}

async fn connection(
    stream: UnixStream,
    state: Arc<State>,
    Asking { uid, caller }: Asking,
    patience: Patience,
    mut drained: watch::Receiver<()>,
) {
    let flights = Flights::default();
    let mut watched = Watched::new(stream, flights.clone(), patience);
    match plainly(&mut watched, &state, &mut drained).await {
        Ok(Next::Full(unread)) => watched.put_back(unread),
        Ok(Next::Closed) => return,
        Err(error) => {
            tracing::debug!(%error, "a connection ended early");
            return;
        }
    }
    let io = TokioIo::new(watched);
    let peer = Arc::new(Peer { state, caller, uid, patience, flights, ending: drained.clone() });
    let serving = http1::Builder::new()
        // The watched stream bounds heads and idling; a second timer beside it would be set for every request.
        .header_read_timeout(None)
        .max_buf_size(PARSED_HEAD_BYTES_MAX)
        // No `pipeline_flush`: with it an answer waits behind a half-arrived head, and is lost where the connection closes.
        .serve_connection(
            io,
            service_fn(move |request| {
                peer.flights.owe();
                serve(&peer, request)
            }),
        );
    let mut serving = pin!(serving);
    // A head that has begun to arrive is waited for, whoever has read its begin: hyper has to have it before it hears of a stop.
    let result = match poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await {
        Poll::Ready(result) => result,
        Poll::Pending => tokio::select! {
            result = serving.as_mut() => result,
            _ = drained.changed() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        },
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers the plain requests that a connection begins with.
async fn plainly(
    stream: &mut Watched,
    state: &State,
    drained: &mut watch::Receiver<()>,
) -> std::io::Result<Next> {
    let mut quick = Quick::new();
    let next = tokio::select! {
        // Requests that are there come before the end of the daemon, and no dice are thrown for each.
        biased;
        next = quick.serve(stream, state) => next?,
        _ = drained.changed() => quick.stop(stream, state).await?,
    };
    if next == Next::Closed {
        stream.shutdown().await?;
    }
    Ok(next)
}

/// The answer to one request: mostly it is there at once, and nothing has to be kept across waits.
enum Serving {
    Done(Option<Response<Content>>),
    Later(Pin<Box<dyn Future<Output = Response<Content>> + Send>>),
}

impl Future for Serving {
    type Output = Result<Response<Content>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Serving::Done(response) => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            Serving::Later(answering) => answering.as_mut().poll(cx).map(Ok),
        }
    }
}

/// A request whose body, if it has one, is still to come.
struct Arrived {
    id: RequestId,
    head: Parts,
    started: Instant,
}

/// How far a question came without waiting.
enum Asked {
    Answered(Option<Operation>, Reply),
    /// Somebody else has to do something first.
    Waits(Query),
}

/// Answers a request; what panics on the way is answered like any other fault, and the connection ends in good order.
fn serve(peer: &Arc<Peer>, request: Request<Incoming>) -> Serving {
    catch_unwind(AssertUnwindSafe(|| begin(peer, request)))
        .unwrap_or_else(|_| Serving::Done(Some(peer.lost())))
}

fn begin(peer: &Arc<Peer>, request: Request<Incoming>) -> Serving {
    let (head, body) = request.into_parts();
    let arrived = Arrived { id: peer.state.request_id(), head, started: Instant::now() };
    if let Err(failure) = bounded(&arrived.head).and_then(|()| guarded(&arrived.head)) {
        peer.flights.owe();
        return Serving::Done(Some(peer.cut_off(&arrived, &failure)));
    }
    if !body.is_end_stream() {
        let (peer, flight) = (Arc::clone(peer), peer.flights.start());
        return Serving::Later(Box::pin(async move {
            caught(peer.with_body(arrived, body, flight)).await.unwrap_or_else(|| peer.lost())
        }));
    }
    peer.flights.owe();
    match peer.asked(&arrived, &[]) {
        Asked::Answered(operation, reply) => Serving::Done(Some(peer.reply(&arrived, operation, reply))),
        Asked::Waits(query) => {
            let (peer, flight) = (Arc::clone(peer), peer.flights.start());
            Serving::Later(Box::pin(async move {
                caught(peer.waited(arrived, query, flight)).await.unwrap_or_else(|| peer.lost())
            }))
        }
    }
}

/// Awaits `work`; `None` when it panics.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

impl Peer {
    async fn with_body(&self, arrived: Arrived, body: Incoming, flight: Flight) -> Response<Content> {
        let bytes_max = body_bytes_max(&arrived.head);
        let is_usual = body.size_hint().upper().is_some_and(|bytes| bytes <= BODY_BYTES_MAX as u64);
        // Held until the answer is there: as long as what was made of the body is in memory.
        let _permit = match bytes_max > BODY_BYTES_MAX && !is_usual {
            false => None,
            true => match Arc::clone(&self.state.large).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    self.flights.owe();
                    return self.cut_off(&arrived, &too_many_large());
                }
            },
        };
        let body = taken(body, bytes_max, self.patience).await;
        self.flights.owe();
        let body = match body {
            Ok(body) => body,
            Err(failure) => return self.cut_off(&arrived, &failure),
        };
        match self.asked(&arrived, &body) {
            Asked::Answered(operation, reply) => self.reply(&arrived, operation, reply),
            Asked::Waits(query) => self.waited(arrived, query, flight).await,
        }
    }

    /// Reads a question, and answers it where memory alone is enough.
    fn asked(&self, arrived: &Arrived, body: &[u8]) -> Asked {
        let Arrived { id, head, .. } = arrived;
        let method = match head.method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "",
        };
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut found = Vec::new();
        let take = |answer: Encoded<'_>| found = answer.into_bytes();
        if let Some(operation) = self.state.encoded(method, target, body, take) {
            return Asked::Answered(Some(operation), Reply { status: 200, content_type: JSON, body: found });
        }
        let read = read_parts(method, target, body);
        let query = match read.and_then(|query| query.asked_by(self.asking()).on(&self.state.hosts.load())) {
            Ok(query) => query,
            Err(failure) => {
                return Asked::Answered(operation_of(method, target), self.state.failed(*id, &failure));
            }
        };
        match permitted(&query, self.caller) {
            Err(failure) => Asked::Answered(Some(query.operation()), self.state.failed(*id, &failure)),
            Ok(()) if waits(&query) => Asked::Waits(query),
            Ok(()) if is_search(&query) => match searched_briefly(&self.state, &query, *id) {
                Some(reply) => Asked::Answered(Some(query.operation()), reply),
                None => Asked::Waits(query),
            },
            Ok(()) => Asked::Answered(Some(query.operation()), inline(&self.state, &query, *id)),
        }
    }

    fn asking(&self) -> Asking {
        Asking { uid: self.uid, caller: self.caller }
    }

    async fn waited(&self, arrived: Arrived, query: Query, flight: Flight) -> Response<Content> {
        let operation = Some(query.operation());
        if matches!(query, Query::Events) {
            let start = Start::of(&arrived.head.headers);
            return match events::open(&self.state.events, start, flight, self.ending.clone()) {
                Err(failure) => self.reply(&arrived, operation, self.state.failed(arrived.id, &failure)),
                Ok(stream) => {
                    self.counted(&arrived, operation, streaming(Either::Left(stream), EVENT_STREAM))
                }
            };
        }
        if matches!(query, Query::Materialize(_)) && progress::is_wanted(&arrived.head.headers) {
            return self.told(arrived, query, flight).await;
        }
        let reply = answered(&self.state, query, arrived.id, self.patience).await;
        drop(flight);
        self.reply(&arrived, operation, reply)
    }

    /// Answers a question for files, with lines before the answer once something has been had for it.
    async fn told(&self, arrived: Arrived, query: Query, flight: Flight) -> Response<Content> {
        let (operation, heard) = (Some(query.operation()), Heard::new());
        let (state, id, patience) = (Arc::clone(&self.state), arrived.id, self.patience);
        let query = query.heard_by(&heard.progress);
        let mut answering: Answering = Box::pin(async move {
            let answered = caught(answered(&state, query, id, patience)).await;
            answered.unwrap_or_else(|| state.failed(id, &state.panicked(id)))
        });
        let reply = match heard.first(&mut answering).await {
            First::Answer(reply) => {
                drop(flight);
                return self.reply(&arrived, operation, reply);
            }
            First::Lines(reply) => reply,
        };
        let (state, started) = (Arc::clone(&self.state), arrived.started);
        let count = move |status| state.metrics().observe(operation, status, started.elapsed());
        let debt = self.flights.owe_on();
        let lines = progress::open(heard, (answering, reply), (flight, debt), count);
        streaming(Either::Right(lines), NDJSON)
    }

    /// Refuses a request before its body was read: that may be on the way still, and nobody waits for it.
    fn cut_off(&self, arrived: &Arrived, failure: &Failure) -> Response<Content> {
        let mut response = response(self.state.failed(arrived.id, failure), arrived.head.uri.path());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.counted(arrived, None, response)
    }

    /// Answers a request whose handling panicked before or behind the answer itself, where nothing is known of it.
    fn lost(&self) -> Response<Content> {
        let id = self.state.request_id();
        let mut response = response(self.state.failed(id, &self.state.panicked(id)), "");
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.state.metrics().observe(None, response.status().as_u16(), Duration::ZERO);
        response
    }

    fn reply(&self, arrived: &Arrived, operation: Option<Operation>, reply: Reply) -> Response<Content> {
        self.counted(arrived, operation, response(reply, arrived.head.uri.path()))
    }

    fn counted(
        &self,
        arrived: &Arrived,
        operation: Option<Operation>,
        response: Response<Content>,
    ) -> Response<Content> {
        self.state.metrics().observe(operation, response.status().as_u16(), arrived.started.elapsed());
        response
    }
}

/// What an answer carries: bytes that are there, or what is said as it happens.
type Content = Either<Full<Bytes>, Goes>;

/// What goes on: events, or the lines before an answer.
type Goes = Either<EventBody, LineBody>;

fn streaming(body: Goes, content_type: &'static str) -> Response<Content> {
    let mut response = Response::new(Either::Right(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns how large the body of a request may be: every lock that can be written can be judged.
fn body_bytes_max(head: &Parts) -> usize {
    if head.uri.path() == LOCK_CHECK { LOCK_BODY_BYTES_MAX } else { BODY_BYTES_MAX }
}

fn too_many_large() -> Failure {
    let detail = format!("{LARGE_LOCKS_MAX} locks above {BODY_BYTES_MAX} bytes are judged at this moment");
    Failure::new(Code::LimitExceeded, "api.busy", detail)
        .status(503)
        .with("limit", LARGE_LOCKS_MAX)
        .hint("try again in a moment")
}

/// Reads the body of a request.
async fn taken(body: Incoming, limit: usize, patience: Patience) -> Result<Bytes, Failure> {
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes");
        invalid("api.body_bytes", &detail)
            .status(413)
            .with("limit", limit)
            .hint("ask for fewer references at once; a lock of so many components is made in parts")
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match timeout(patience.body, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(invalid("api.body", "the body ended early")),
        Err(_) => Err(invalid("api.body_slow", "the body did not arrive in time").status(408)),
    }
}

fn invalid(reason: &'static str, detail: &str) -> Failure {
    Failure::new(Code::RequestInvalid, reason, detail)
}

/// Refuses a head with too many or too large headers.
fn bounded(head: &Parts) -> Result<(), Failure> {
    let headers = &head.headers;
    if headers.len() > HEADERS_MAX {
        let detail = format!("the request has {} headers; the limit is {HEADERS_MAX}", headers.len());
        return Err(invalid("api.headers", &detail).status(431).with("limit", HEADERS_MAX));
    }
    let bytes = head_bytes(head);
    if bytes > HEAD_BYTES_MAX {
        let detail = format!("the request's head has {bytes} bytes; the limit is {HEAD_BYTES_MAX}");
        return Err(invalid("api.head_bytes", &detail).status(431).with("limit", HEAD_BYTES_MAX));
    }
    Ok(())
}

/// Returns the size of a head as it is written plainly: the request line, each header, and the blank line.
fn head_bytes(head: &Parts) -> usize {
    let uri = &head.uri;
    let target = uri.path_and_query().map_or(1, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let line = head.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>() + "\r\n".len()
}

/// Refuses what a browser sends for a web page: an origin, a referrer, a foreign host, and the `Sec-Fetch-` headers, which are
/// all that an image of a page without a referrer has.
///
/// Two framings of one body need nothing here: hyper drops the length, reads the chunks and closes behind them.
fn guarded(head: &Parts) -> Result<(), Failure> {
    let headers: &HeaderMap = &head.headers;
    let hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let foreign = hosts.chain(authority).any(|host| !is_local_name(host));
    let is_fetched = headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    if foreign || is_fetched || headers.contains_key(ORIGIN) || headers.contains_key(REFERER) {
        let detail = "requests of web pages and for other hosts are refused";
        return Err(Failure::new(Code::PermissionDenied, "api.bad_origin", detail)
            .hint("use the socket, with localhost as the host and no Origin, Referer or Sec-Fetch header"));
    }
    Ok(())
}

async fn answered(state: &Arc<State>, query: Query, id: RequestId, patience: Patience) -> Reply {
    let outcome = match work_of(&query) {
        Work::None => None,
        Work::Rehearse(proposal, part) => {
            return match ordered(state, |reply| Order::Rehearse { proposal, part, reply }).await {
                Ok(outcome) => state.contained(id, || state.reply(rehearsal(&outcome)?)),
                Err(failure) => state.failed(id, &failure),
            };
        }
        Work::Sync(sources) => Some(ordered(state, |reply| Order::Sync { sources, reply }).await),
        Work::Reload => Some(ordered(state, |reply| Order::Reload { reply }).await),
        Work::Forget(Forget { what, why }) => {
            Some(ordered(state, |reply| Order::Forget { what, why, reply }).await)
        }
        Work::Refresh(ids) => Some(ordered(state, |reply| Order::Refresh { ids, reply }).await),
    };
    match outcome {
        Some(Err(failure)) => return state.failed(id, &failure),
        Some(Ok(outcome)) if outcome.is_err() || !is_search(&query) => {
            return state.contained(id, || state.reply(report(&outcome)?));
        }
        _ => {}
    }
    if desk::is_slow(&query) {
        return unhurried(state, query, id).await;
    }
    match timeout(patience.request, replied(state, query, id)).await {
        Ok(reply) => reply,
        Err(_) => {
            let detail = format!("no answer within {} seconds", patience.request.as_secs());
            let failure = Failure::new(Code::LimitExceeded, "api.request_time", detail).status(503);
            state.failed(id, &failure)
        }
    }
}

/// Tells whether a question cannot be answered on the thread that all connections share: it is for the writer or a stream, it
/// needs the shelf, or it is large.
fn waits(query: &Query) -> bool {
    matches!(query, Query::Events) || work_of(query) != Work::None || is_large(query)
}

fn is_large(query: &Query) -> bool {
    match query.inner() {
        query if desk::is_slow(query) => true,
        Query::Resolve(question) => {
            let request = &question.request;
            let named = request.references.len() + request.natives.len() + request.locked.len();
            named + request.overlay.count() > INLINE_MAX
        }
        Query::Lookup(references) => references.len() > INLINE_MAX,
        Query::Manifest(_)
        | Query::Lock(_)
        | Query::LockCheck(_)
        | Query::Components(_)
        | Query::Search(_)
        | Query::Explain(_)
        | Query::SnapshotsDiff(_)
        | Query::Metrics => true,
        _ => false,
    }
}

/// Answers from memory on this thread, unless the question is large or needs the shelf, or its search goes on for too long.
async fn replied(state: &Arc<State>, query: Query, id: RequestId) -> Reply {
    if is_search(&query) {
        return searched(state, query, id).await;
    }
    if !is_large(&query) {
        return inline(state, &query, id);
    }
    let shared = state.clone();
    if desk::is_slow(&query) {
        let (gone, _told) = Told::new();
        let reply = spawn_blocking(move || {
            let solving = Solving { gone: Some(gone), ..Solving::clone(&shared.solving.load()) };
            shared.contained(id, || shared.answered_within(&query, &solving))
        });
        return reply.await.unwrap_or_else(|_| lost(state, id));
    }
    let reply = spawn_blocking(move || inline(&shared, &query, id)).await;
    reply.unwrap_or_else(|_| lost(state, id))
}

fn lost(state: &State, id: RequestId) -> Reply {
    let failure = Failure::new(Code::Internal, "panic", "the answer was lost while the daemon stops");
    state.failed(id, &failure)
}

fn is_search(query: &Query) -> bool {
    match query.inner() {
        Query::Resolve(_) | Query::Lock(_) => true,
        // Everything that a question leads to.
        Query::Materialize(asked) => asked.1.is_some(),
        _ => false,
    }
}

/// Searches on this thread for as long as it has time; `None` where that is not enough and more is allowed, and where somebody would
/// have to wait for a graph.
fn searched_briefly(state: &State, query: &Query, id: RequestId) -> Option<Reply> {
    if !matches!(query, Query::Resolve(_)) || !state.has_graph() {
        return None;
    }
    let solving = Solving::clone(&state.solving.load());
    let mut is_open = false;
    let reply = state.contained(id, || {
        let found = state.answered_within(query, &solving.inline());
        let is_undecided = found.as_ref().is_err_and(|failure| failure.reason == UNDECIDED);
        is_open = is_undecided && solving.may_go_on();
        if is_open { Ok(Reply { status: 200, content_type: JSON, body: Vec::new() }) } else { found }
    });
    (!is_open).then_some(reply)
}

/// Searches beside this thread, a few at once, until there is an answer, the time is over, or nobody waits any more.
async fn searched(state: &Arc<State>, query: Query, id: RequestId) -> Reply {
    let (gone, _told) = Told::new();
    // Who waits for another machine keeps nobody waiting who does not; who puts files on disk has a place already.
    let desks = match query.inner() {
        Query::Materialize(_) => None,
        query if desk::is_slow(query) => Some(&state.slow_solves),
        _ => Some(&state.solves),
    };
    let permit = match desks {
        Some(desks) => match Arc::clone(desks).acquire_owned().await {
            Ok(permit) => Some(permit),
            Err(_) => return lost(state, id),
        },
        None => None,
    };
    let shared = state.clone();
    let reply = spawn_blocking(move || {
        let _permit = permit;
        let solving = Solving { gone: Some(gone), ..Solving::clone(&shared.solving.load()) };
        shared.contained(id, || shared.answered_within(&query, &solving))
    });
    reply.await.unwrap_or_else(|_| lost(state, id))
}

/// Tells a search that nobody waits any more.
struct Told(Arc<AtomicBool>);

impl Told {
    /// Returns what is read, and what tells it: dropped with the future that keeps it, which hyper drops where the client goes away.
    fn new() -> (Arc<AtomicBool>, Told) {
        let gone = Arc::new(AtomicBool::new(false));
        (Arc::clone(&gone), Told(gone))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers a question about files, however long their origins take; so many of them at a time.
async fn unhurried(state: &Arc<State>, query: Query, id: RequestId) -> Reply {
    let Ok(permit) = state.files.clone().try_acquire_owned() else {
        let detail = format!("{REQUESTS_MAX} requests for files are open");
        let failure = Failure::new(Code::LimitExceeded, "api.busy", detail)
            .status(503)
            .with("limit", REQUESTS_MAX)
            .hint("wait for those that are open, and try again");
        return state.failed(id, &failure);
    };
    let reply = replied(state, query, id).await;
    drop(permit);
    reply
}

fn inline(state: &State, query: &Query, id: RequestId) -> Reply {
    state.contained(id, || state.answered(query))
}

/// Gives the writer an order and waits for its report, however long the work takes.
async fn ordered<T: Send + 'static>(
    state: &State,
    make: impl FnOnce(Option<std::sync::mpsc::Sender<Result<T, OrderError>>>) -> Order,
) -> Result<Result<T, OrderError>, Failure> {
    let permit = state.waiting.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{ORDERS_MAX} orders wait for the writer");
        Failure::new(Code::LimitExceeded, "api.busy", detail)
            .status(503)
            .with("limit", ORDERS_MAX)
            .hint("wait for the sync that is running, and try again")
    })?;
    let outcome = state.order(make)?;
    let outcome = spawn_blocking(move || {
        let outcome = outcome.recv();
        drop(permit);
        outcome
    });
    match outcome.await {
        Ok(Ok(outcome)) => Ok(outcome),
        _ => Ok(Err(OrderError::Store("the daemon stopped before the work was done".to_owned()))),
    }
}

fn response(reply: Reply, path: &str) -> Response<Content> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(reply.body))));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if reply.status == 405
        && let Ok(allow) = HeaderValue::from_str(&methods(path).join(", "))
    {
        headers.insert(ALLOW, allow);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_of_descriptors_leaves_room_for_the_store() {
        let check = |descriptors: Option<u64>, all: usize, per_uid: usize| {
            let seats = Seats::within(descriptors);
            assert_eq!((seats.all, seats.per_uid), (all, per_uid), "{descriptors:?}");
        };
        check(None, 256, 32);
        check(Some(u64::MAX), 256, 32);
        check(Some(1024), 256, 32);
        check(Some(256), 64, 32);
        check(Some(64), 16, 8);
        check(Some(3), 2, 1);
    }

    #[test]
    fn a_panic_between_two_waits_is_caught() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let check = |fails: u32, expected: Option<u32>| {
            let work = async {
                for step in 0..3 {
                    tokio::task::yield_now().await;
                    assert_ne!(step, fails, "asked for");
                }
                7
            };
            assert_eq!(runtime.block_on(caught(work)), expected);
        };
        check(3, Some(7));
        check(0, None);
        check(2, None);
    }
}
