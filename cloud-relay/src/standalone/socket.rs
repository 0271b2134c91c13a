//! A caller's connection: framing watched, leaving noticed, stalls ended.
//!
//! Until a request is answered, hyper gets no byte after it: it would keep the byte, stop reading,
//! and not see that the caller has left. One lazy timer a connection: it wakes every few seconds and compares times, so that nothing is
//! armed and disarmed per request.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::core::framing::Framing;
use crate::core::limits::{BEHIND_TIME, HEAD_TIME, IDLE_TIME, LINGER_SILENCE, LINGER_TIME, READ_AHEAD, WRITE_STALL};

/// Stalls are noticed at most this much too late.
const TICK: Duration = Duration::from_secs(5);

/// Bytes taken at once then, and how often before other tasks have their turn.
const SINK: usize = 16 * 1024;
const SINK_TURNS: usize = 16;

/// What the service of a connection knows of its socket.
pub(crate) struct Traffic {
    /// The first request whose body is framed twice; `u64::MAX` if there is none.
    ambiguous: AtomicU64,
    /// Requests handed to the service.
    served: AtomicU64,
    /// Requests not answered whole.
    busy: AtomicUsize,
    /// Requests answered.
    answered: AtomicU64,
    /// Told of each answer while bytes of the next request wait for it.
    waiting: AtomicWaker,
}

impl Traffic {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            ambiguous: AtomicU64::new(u64::MAX),
            served: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            waiting: AtomicWaker::new(),
        })
    }

    /// Called once for each request, in order: whether it must be refused, and its guard.
    pub(crate) fn begin(self: &Arc<Self>) -> (bool, Busy) {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        let ambiguous = number >= self.ambiguous.load(Ordering::Relaxed);
        (ambiguous, Busy(Arc::clone(self)))
    }
}

/// A request that is not answered whole.
pub(crate) struct Busy(Arc<Traffic>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.answered.fetch_add(1, Ordering::Release);
        self.0.waiting.wake();
    }
}

/// See the module's head.
pub(crate) struct CallerSocket<S> {
    inner: S,
    traffic: Arc<Traffic>,
    framing: Framing,
    /// Bytes after the present request.
    ahead: Vec<u8>,
    tick: Option<Pin<Box<Sleep>>>,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    /// Since when the caller has not taken all that was there for it.
    behind: Option<Instant>,
    /// When the present head began.
    head: Option<Instant>,
    /// When a byte was last read or written.
    last: Instant,
    linger: Option<Linger>,
}

/// Our side is closed: until when the caller's bytes are still taken.
struct Linger {
    silence: Pin<Box<Sleep>>,
    end: Instant,
}

impl<S> CallerSocket<S> {
    pub(crate) fn new(inner: S, traffic: Arc<Traffic>) -> Self {
        Self {
            inner,
            traffic,
            framing: Framing::default(),
            ahead: Vec::new(),
            tick: None,
            stalled: None,
            behind: None,
            head: None,
            last: Instant::now(),
            linger: None,
        }
    }

    /// Polled whenever the socket is not ready; an error once something took too long.
    fn poll_stalls(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(TICK)));
        while tick.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let over = |since: Option<Instant>, most: Duration| since.is_some_and(|since| now - since >= most);
            let idle = self.traffic.busy.load(Ordering::Relaxed) == 0 && over(Some(self.last), IDLE_TIME);
            let stalled = over(self.stalled, WRITE_STALL) || over(self.behind, BEHIND_TIME);
            if stalled || over(self.head, HEAD_TIME) || idle {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tick.as_mut().reset(now + TICK);
        }
        Ok(())
    }

    /// A whole request is in hyper's hands and not answered.
    fn awaits_answer(&self) -> bool {
        self.framing.between() && self.framing.heads() > self.traffic.answered.load(Ordering::Acquire)
    }

    /// Takes the next bytes for hyper, up to the end of a request; how many they are.
    fn take(&mut self, bytes: &[u8]) -> usize {
        self.last = Instant::now();
        let taken = self.framing.feed(bytes);
        if let Some(number) = self.framing.ambiguous() {
            self.traffic.ambiguous.fetch_min(number, Ordering::Relaxed);
        }
        self.head = match (self.framing.in_head(), self.head) {
            (false, _) => None,
            (true, since) => since.or(Some(self.last)),
        };
        taken
    }

    /// Gives hyper what was read ahead.
    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let ahead = std::mem::take(&mut self.ahead);
        let taken = self.take(ahead.get(..buf.remaining()).unwrap_or(&ahead));
        let (now, later) = ahead.split_at(taken);
        buf.put_slice(now);
        self.ahead = later.to_vec();
    }

    /// Not so for a flush: hyper flushes whenever it is polled, also by our own tick.
    fn written(&mut self, outcome: &Poll<io::Result<usize>>) {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            self.last = Instant::now();
        }
    }

    fn after_write(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() {
            self.stalled.get_or_insert_with(Instant::now);
            self.behind.get_or_insert_with(Instant::now);
            if let Err(error) = self.poll_stalls(cx) {
                return Poll::Ready(Err(error));
            }
        } else {
            self.stalled = None;
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> CallerSocket<S> {
    /// Reads what hyper must not have yet; ready at the connection's end alone.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < READ_AHEAD {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(()) => {
                    self.last = Instant::now();
                    self.ahead.extend_from_slice(buf.filled());
                }
                Poll::Pending => break,
            }
        }
        self.poll_stalls(cx)?;
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CallerSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.awaits_answer() {
            // Before the last look, so that no answer is missed.
            this.traffic.waiting.register(cx.waker());
            if this.awaits_answer() {
                return this.poll_ahead(cx);
            }
        }
        if !this.ahead.is_empty() {
            this.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf)? {
            Poll::Ready(()) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                let taken = this.take(bytes);
                this.ahead = bytes.get(taken..).unwrap_or_default().to_vec();
                buf.set_filled(before + taken);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                this.poll_stalls(cx)?;
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CallerSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(&outcome);
        self.after_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.written(&outcome);
        self.after_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS writes its last records here, so that a stall may show here alone.
        let outcome = Pin::new(&mut self.inner).poll_flush(cx).map_ok(|()| 0);
        if outcome.is_ready() {
            // hyper asks for this only once all it has is written.
            self.behind = None;
        }
        self.after_write(cx, outcome).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that hyper had is flushed. A refused caller may still be sending: closing with its
        // bytes unread would be a reset, which makes it lose the answer that says why.
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let now = Instant::now();
        let linger = this
            .linger
            .get_or_insert_with(|| Linger { silence: Box::pin(sleep(LINGER_SILENCE)), end: now + LINGER_TIME });
        let mut sink = [0; SINK];
        for _ in 0..SINK_TURNS {
            let mut buf = ReadBuf::new(&mut sink);
            match Pin::new(&mut this.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    linger.silence.as_mut().reset(linger.end.min(now + LINGER_SILENCE));
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.silence.as_mut().poll(cx).map(Ok),
            }
        }
        if now >= linger.end {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
