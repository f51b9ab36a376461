//! A connection's bytes under a watch: a peer that sends nothing, sends a request head too slowly, or does not read its
//! answer is cut off. Knows when a request is being answered, and then waits.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may wait for its peer.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a request head (or from the start of the connection) to its end.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the peer to take some bytes of an answer.
    pub write: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For the answer, apart from syncs.
    pub request: Duration,
    /// For open requests when the daemon stops.
    pub drain: Duration,
    /// For the rest of a request that was refused before it had arrived.
    pub linger: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            body: Duration::from_secs(10),
            request: Duration::from_secs(120),
            drain: Duration::from_secs(5),
            linger: Duration::from_secs(5),
        }
    }
}

/// How many bytes of a refused request are read and thrown away, so that its sender hears why: on a socket that is closed over
/// bytes that nobody has read, the sender is told of a reset and may never look at the answer.
const LINGER_BYTES_MAX: usize = 2 << 20;

/// How many requests of a connection are being answered, whether an answer is owed that was not written whole, and whether one goes on
/// whatever has been written of it.
#[derive(Debug, Clone, Default)]
pub struct Flights(Arc<AtomicUsize>, Arc<AtomicBool>, Arc<AtomicBool>);

/// One request that is being answered.
#[derive(Debug)]
pub struct Flight(Arc<AtomicUsize>);

impl Flights {
    /// Notes that a request is being answered, until the flight is dropped.
    pub fn start(&self) -> Flight {
        self.0.fetch_add(1, Ordering::Relaxed);
        Flight(self.0.clone())
    }

    /// Notes that a request is to be answered, and that nothing more has to arrive for that.
    pub fn owe(&self) {
        self.1.store(true, Ordering::Relaxed);
    }

    /// Notes that an answer goes on, and is owed until the debt is dropped and the rest of it written.
    pub fn owe_on(&self) -> Debt {
        self.owe();
        self.2.store(true, Ordering::Relaxed);
        Debt(self.2.clone())
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn is_owing(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    fn pay(&self) {
        if self.is_owing() && !self.2.load(Ordering::Relaxed) {
            self.1.store(false, Ordering::Relaxed);
        }
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Debt(Arc<AtomicBool>);

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watched connection.
///
/// Timers are set late: a head that arrives whole needs none, and one that was set for an earlier deadline is set anew only
/// when it ends. What a peer has to meet is `due` and nothing else.
#[derive(Debug)]
pub struct Watched {
    stream: UnixStream,
    flights: Flights,
    patience: Patience,
    read: Pin<Box<Sleep>>,
    write: Pin<Box<Sleep>>,
    waiting: Waiting,
    /// When the reading side gives up.
    due: Instant,
    stalled: bool,
    /// What was read and put back.
    unread: Vec<u8>,
    /// How many bytes were thrown away behind the last answer; `None` before that.
    lingered: Option<usize>,
    /// Who is to hear of the end of the peer's bytes once an answer is written.
    ended: Option<Waker>,
    /// Something was written since the last flush.
    has_written: bool,
    /// Short parts that are written together.
    joined: Vec<u8>,
}

/// Up to here the parts of an answer are copied together, which takes less time than handing them over one by one.
const JOINED_BYTES_MAX: usize = 8 << 10;

/// What the reading side waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For the rest of a request head, which began with the last read.
    Begun,
    /// For the rest of a request head, until `due`.
    Head,
    /// For the next request, until `due`.
    Idle,
    /// For nothing: a request is being answered.
    Busy,
}

impl Watched {
    /// Watches `stream`.
    pub fn new(stream: UnixStream, flights: Flights, patience: Patience) -> Watched {
        let now = Instant::now();
        Watched {
            stream,
            flights,
            patience,
            read: Box::pin(sleep_until(now + patience.head)),
            write: Box::pin(sleep_until(now + patience.write)),
            waiting: Waiting::Head,
            due: now + patience.head,
            stalled: false,
            unread: Vec::new(),
            lingered: None,
            ended: None,
            has_written: false,
            joined: Vec::new(),
        }
    }

    /// Is ready when the peer has sent what it had to send, or has had its share of patience.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut lingered) = self.lingered else { return Poll::Ready(()) };
        let mut waste = [0; 8 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut waste);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && lingered < LINGER_BYTES_MAX => {
                    lingered += buf.filled().len();
                    self.lingered = Some(lingered);
                }
                // Nothing was on its way: nobody is kept from closing.
                Poll::Pending if lingered > 0 => return self.read.as_mut().poll(cx),
                Poll::Pending | Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }

    /// Puts back what was read, all of it at once: it is read again before anything else.
    pub fn put_back(&mut self, unread: Vec<u8>) {
        self.unread = unread;
    }

    fn wait_for(&mut self, waiting: Waiting, patience: Duration) {
        self.waiting = waiting;
        self.due = Instant::now() + patience;
        if self.due < self.read.deadline() {
            self.read.as_mut().reset(self.due);
        }
    }

    /// Is ready when the peer has had its time.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.read.as_mut().poll(cx).is_ready() {
            if self.read.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.read.as_mut().reset(self.due);
        }
        Poll::Pending
    }

    /// Notes what became of a write.
    fn written(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if polled.is_pending() {
            return self.stall(cx);
        }
        self.stalled = false;
        self.has_written = true;
        // What is written answers a request: the next thing to wait for is the next request.
        self.waiting = Waiting::Busy;
        polled
    }

    /// Ends a write that makes no progress; `Pending` until then.
    fn stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.stalled {
            self.stalled = true;
            self.write.as_mut().reset(Instant::now() + self.patience.write);
        }
        self.write.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread[..count]);
            this.unread.drain(..count);
            if this.unread.is_empty() {
                this.unread = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let is_end = result.is_ok() && buf.filled().len() == before && buf.remaining() > 0;
            if is_end && this.flights.is_owing() && !has_hung_up(&this.stream) {
                // Who has nothing more to say still listens: the end is told once the answer is written.
                this.waiting = Waiting::Busy;
                this.ended = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if this.flights.any() {
                this.waiting = Waiting::Busy;
            } else if this.waiting != Waiting::Head && buf.filled().len() > before {
                this.waiting = Waiting::Begun;
            }
            return Poll::Ready(result);
        }
        if this.flights.any() {
            this.waiting = Waiting::Busy;
            return Poll::Pending;
        }
        match this.waiting {
            Waiting::Begun => this.wait_for(Waiting::Head, this.patience.head),
            Waiting::Busy => this.wait_for(Waiting::Idle, this.patience.idle),
            Waiting::Head | Waiting::Idle => {}
        }
        this.overdue(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Tells whether the peer has gone altogether; one that has only ended what it says may still listen.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    // Whoever cannot be asked is treated as gone, which is what the end of its bytes says.
    poll(&mut asked, Some(&Timespec::default())).is_err()
        || asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        let polled = match bytes <= JOINED_BYTES_MAX {
            true => {
                this.joined.clear();
                bufs.iter().for_each(|buf| this.joined.extend_from_slice(buf));
                Pin::new(&mut this.stream).poll_write(cx, &this.joined)
            }
            false => Pin::new(&mut this.stream).poll_write_vectored(cx, bufs),
        };
        this.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        // Flushed is what was handed over whole: nothing of an answer is left.
        if std::mem::take(&mut this.has_written) {
            this.flights.pay();
            if let Some(reader) = this.ended.take() {
                reader.wake();
            }
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingered.is_none() {
            if let Err(error) = ready!(Pin::new(&mut this.stream).poll_shutdown(cx)) {
                return Poll::Ready(Err(error));
            }
            this.lingered = Some(0);
            this.read.as_mut().reset(Instant::now() + this.patience.linger);
        }
        this.linger(cx).map(Ok)
    }
}
