//! The baseline: a hyper server that answers every request with the same bytes. It has the timers, limits and caps of the daemon's
//! server and does nothing else; never reads a request beyond what hyper does.

use std::convert::Infallible;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
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

use crate::Trouble;

/// As many connections as the daemon's server takes.
const CONNECTIONS: usize = resolverd::server::connection::CONNECTIONS_MAX;
const PARSED_HEAD_BYTES_MAX: usize = 64 << 10;

/// Which timers watch over a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// The daemon's own and no others: for slow heads, for idling and for peers that do not read.
    Watched,
    /// Hyper's own timer for heads.
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
            let body = body.clone();
            tokio::spawn(async move {
                match kind {
                    Stream::Plain => {
                        let mut hyper = http1::Builder::new();
                        hyper.timer(TokioTimer::new()).header_read_timeout(Patience::default().idle);
                        connection(hyper, stream, body).await;
                    }
                    Stream::Watched => {
                        let mut hyper = http1::Builder::new();
                        hyper.header_read_timeout(None);
                        let watched = Watched::new(stream, Flights::default(), Patience::default());
                        connection(hyper, watched, body).await;
                    }
                }
                drop(seat);
            });
        }
    })
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(mut hyper: http1::Builder, stream: S, body: Bytes) {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response = Response::new(Full::new(body.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        ready(Ok::<_, Infallible>(response))
    });
    hyper.max_buf_size(PARSED_HEAD_BYTES_MAX);
    // A client that goes away ends its connection; that is all there is to say.
    let _ = hyper.serve_connection(TokioIo::new(stream), service).await;
}
