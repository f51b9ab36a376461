//! Progress: lines of JSON that say how far the files have come that `POST /v1/materialize` asks for, and the answer behind them.
//!
//! # The text (`application/x-ndjson`)
//! Whoever names that type in `Accept` may be answered so; whoever does not is answered as ever. Each line is one JSON object:
//! `{"progress": {…}}` on the way, and the last one without `progress` is the answer, or the problem document, exactly as it is without
//! the header. A problem has `code` and `status`; the status line has been 200 by then. A stream that ends without such a line has no answer.
//!
//! The stream begins when something has been had: bytes of a release, or its verified archive. What is answered or refused before that (by
//! the policy, by a machine that cannot be reached, because all of it is in the cache) is an ordinary answer with its own status and type.
//!
//! Whoever works is never waited for by whoever reads: lines are made when the one before has been taken, at most every [`PAUSE`], of what
//! is newest then. Who goes away ends the work as with every other question for files.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use hyper::header::{ACCEPT, HeaderMap};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::api::{NDJSON, Reply};
use crate::fetch::progress::Progress;
use crate::server::stream::{Debt, Flight};

/// How long a stream says nothing after it has said something; steps and bytes meanwhile are told together.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer on its way.
pub(super) type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Tells whether a caller takes lines: one of its `Accept` names them, and not with the weight 0.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(NDJSON));
        let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| *name == "q");
        is_named && weight.is_none_or(|(_, weight)| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Who hears how far the work comes.
pub(super) struct Heard {
    pub(super) progress: Arc<Progress>,
    changed: Arc<Notify>,
}

/// How an answer begins.
pub(super) enum First {
    /// It is there, and nothing was had for it.
    Answer(Reply),
    /// Something has been had; the answer may be there as well.
    Lines(Option<Reply>),
}

impl Heard {
    pub(super) fn new() -> Heard {
        let changed = Arc::<Notify>::default();
        let woken = Arc::clone(&changed);
        Heard { progress: Progress::new(move || woken.notify_one()), changed }
    }

    /// Waits for the answer or for the first of what is had for it.
    pub(super) async fn first(&self, answering: &mut Answering) -> First {
        loop {
            let reply = tokio::select! {
                biased;
                reply = &mut *answering => Some(reply),
                () = self.changed.notified() => None,
            };
            match (self.progress.has_begun(), reply) {
                (true, reply) => return First::Lines(reply),
                (false, Some(reply)) => return First::Answer(reply),
                (false, None) => {}
            }
        }
    }

    fn lines(&self) -> Bytes {
        let rows = self.progress.take();
        let lines: String = rows.iter().map(|row| format!("{}\n", json!({ "progress": row }))).collect();
        Bytes::from(lines)
    }
}

/// The body of an answer with lines before it.
#[derive(Debug)]
pub(super) struct LineBody {
    texts: mpsc::Receiver<Bytes>,
    /// Something is to come until the last line has been handed over.
    debt: Option<Debt>,
    /// The connection is busy as long as the stream is open.
    _flight: Flight,
}

impl Body for LineBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = self.texts.poll_recv(cx);
        if let Poll::Ready(None) = polled {
            self.debt = None;
        }
        polled.map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// Sends lines until `answering` is done, or `reply` is there, and that behind them; `count` hears of its status. Dropped with the body
/// that it returns, which drops `answering`.
pub(super) fn open(
    heard: Heard,
    (answering, reply): (Answering, Option<Reply>),
    (flight, debt): (Flight, Debt),
    count: impl Fn(u16) + Send + 'static,
) -> LineBody {
    // One text waits while another is written, so that a slow reader is told what is newest when it reads.
    let (sender, texts) = mpsc::channel(1);
    tokio::spawn(pump(heard, (answering, reply), sender, count));
    LineBody { texts, debt: Some(debt), _flight: flight }
}

async fn pump(
    heard: Heard,
    (mut answering, mut reply): (Answering, Option<Reply>),
    sender: mpsc::Sender<Bytes>,
    count: impl Fn(u16) + Send + 'static,
) {
    loop {
        let lines = heard.lines();
        if !lines.is_empty() && sender.send(lines).await.is_err() {
            return;
        }
        if let Some(Reply { status, mut body, .. }) = reply {
            count(status);
            body.push(b'\n');
            // Nobody may be left to take it.
            let _ = sender.send(Bytes::from(body)).await;
            return;
        }
        let changed = async {
            sleep(PAUSE).await;
            heard.changed.notified().await;
        };
        reply = tokio::select! {
            reply = &mut answering => Some(reply),
            () = sender.closed() => return,
            () = changed => None,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;
    use std::sync::Mutex;

    use catalogue_schema::digest::Digest;
    use http_body_util::BodyExt as _;
    use hyper::header::HeaderValue;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;
    use crate::api::JSON;
    use crate::fetch::audience::{Audience, Tally};
    use crate::fetch::progress::Step;
    use crate::server::stream::Flights;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn body_of(heard: Heard, answering: Answering, counted: &Arc<Mutex<Vec<u16>>>) -> LineBody {
        let (flights, counted) = (Flights::default(), Arc::clone(counted));
        let owed = (flights.start(), flights.owe_on());
        open(heard, (answering, None), owed, move |status| counted.lock().unwrap().push(status))
    }

    #[test]
    fn whoever_tells_is_not_held_up_by_whoever_does_not_read_and_the_answer_comes_last() {
        let (heard, audience, counted) = (Heard::new(), Arc::<Audience>::default(), Arc::default());
        let claim = Digest::sha256(b"a");
        heard.progress.expect(&claim, "a");
        audience.join(None, Some(&heard.progress));
        let tally = Tally::of_archive(&audience, &claim, Some(100_000));
        let (done, answer) = oneshot::channel();
        let answering: Answering = Box::pin(async move { answer.await.unwrap() });
        let text = runtime().block_on(async {
            let body = body_of(heard, answering, &counted);
            // Nobody reads; what is told meanwhile takes no time and no room.
            tally.step(Step::Fetching);
            for _ in 0..1000 {
                (0..100).for_each(|_| tally.arrived(1));
                tokio::task::yield_now().await;
            }
            tally.whole(100_000);
            tally.step(Step::Ready);
            done.send(Reply { status: 502, content_type: JSON, body: b"{}".to_vec() }).unwrap();
            let bytes = body.collect().await.unwrap().to_bytes();
            String::from_utf8(bytes.to_vec()).unwrap()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert!((4..10).contains(&lines.len()), "{text}");
        assert!(
            lines[lines.len() - 2].contains("\"ready\"") && text.contains("\"received\":100000"),
            "{text}"
        );
        assert_eq!(*lines.last().unwrap(), "{}");
        assert_eq!(*counted.lock().unwrap(), [502], "what the answer is, and not that it began well");
    }

    #[test]
    fn a_body_that_is_dropped_ends_the_work() {
        struct Alive(Arc<Mutex<Vec<u16>>>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.lock().unwrap().push(0);
            }
        }
        let (ended, counted) = (Arc::<Mutex<Vec<u16>>>::default(), Arc::default());
        let alive = Alive(Arc::clone(&ended));
        let answering: Answering = Box::pin(async move {
            let _alive = alive;
            pending().await
        });
        runtime().block_on(async {
            let body = body_of(Heard::new(), answering, &counted);
            tokio::task::yield_now().await;
            assert!(ended.lock().unwrap().is_empty());
            drop(body);
            while ended.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        });
        assert!(counted.lock().unwrap().is_empty());
    }

    #[test]
    fn lines_are_for_whoever_names_them() {
        let check = |values: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(is_wanted(&headers), expected, "{values:?}");
        };
        check(&[], false);
        check(&["*/*"], false);
        check(&["application/*"], false);
        check(&["application/json"], false);
        check(&["application/x-ndjson"], true);
        check(&["application/json, Application/X-NDJSON ; q=0.5"], true);
        check(&["application/json", "application/x-ndjson;q=1"], true);
        check(&["application/x-ndjson; q=0"], false);
        check(&["application/x-ndjson;q=0.000, application/json"], false);
        check(&["application/x-ndjson;q=a"], false);
        check(&["application/x-ndjson-seq"], false);
    }
}
