//! The baseline: a hyper server that answers every request with the same bytes. It has the timers, limits and caps of the daemon's
//! server and does nothing else; never reads a request beyond what hyper does.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use resolverd::api::JSON;
use resolverd::server::stream::{Flights, Patience, Watched};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Trouble;

/// As many connections as the daemon's server takes.
const CONNECTIONS: usize = resolverd::server::connection::CONNECTIONS_MAX;
const PARSED_HEADERS_MAX: usize = 100;
const PARSED_HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_WAIT: Duration = Duration::from_secs(10);

/// What lies between the socket and hyper.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// The daemon's own: timers for slow heads, for idling and for peers that do not read.
    Watched,
    /// Nothing: hyper's own timer for heads is all there is.
    Plain,
}

/// Serves `body_bytes` bytes to every request until it is killed.
pub(crate) fn serve(socket: &Path, body_bytes: usize, kind: Stream) -> Result<(), Trouble> {
    let body = Bytes::from(vec![b'x'; body_bytes]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket)?;
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let (stream, _) = listener.accept().await?;
            let Ok(seat) = seats.clone().try_acquire_owned() else { continue };
            let (body, flights) = (body.clone(), Flights::default());
            tokio::spawn(async move {
                match kind {
                    Stream::Plain => connection(stream, body, flights).await,
                    Stream::Watched => {
                        let watched = Watched::new(stream, flights.clone(), Patience::default());
                        connection(watched, body, flights).await;
                    }
                }
                drop(seat);
            });
        }
    })
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, body: Bytes, flights: Flights) {
    let service = service_fn(move |request| {
        let (body, flight) = (body.clone(), flights.start());
        async move {
            let response = hello(request, body).await;
            drop(flight);
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Patience::default().idle)
        .max_headers(PARSED_HEADERS_MAX)
        .max_buf_size(PARSED_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away ends its connection; that is all there is to say.
    let _ = serving.await;
}

async fn hello(request: Request<Incoming>, body: Bytes) -> Response<Full<Bytes>> {
    // The daemon waits for the end of every body, with a timer; so does this.
    let _ = timeout(BODY_WAIT, request.into_body().collect()).await;
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
