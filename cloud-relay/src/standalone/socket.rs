//! A caller's connection: framing watched, stalls ended.
//!
//! One lazy timer a connection: it wakes every few seconds and compares times, so that nothing is
//! armed and disarmed per request.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::core::framing::Framing;
use crate::core::limits::{HEAD_TIME, IDLE_TIME, WRITE_STALL};

/// Stalls are noticed at most this much too late.
const TICK: Duration = Duration::from_secs(5);

/// After closing our side the caller's bytes are taken this long.
const LINGER: Duration = Duration::from_secs(2);

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
}

impl Traffic {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { ambiguous: AtomicU64::new(u64::MAX), served: AtomicU64::new(0), busy: AtomicUsize::new(0) })
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
    }
}

/// See the module's head.
pub(crate) struct CallerSocket<S> {
    inner: S,
    traffic: Arc<Traffic>,
    framing: Framing,
    tick: Option<Pin<Box<Sleep>>>,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    /// When the present head began.
    head: Option<Instant>,
    /// When a byte was last read or written.
    last: Instant,
    /// Our side is closed: until when the caller's bytes are still taken.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> CallerSocket<S> {
    pub(crate) fn new(inner: S, traffic: Arc<Traffic>) -> Self {
        Self {
            inner,
            traffic,
            framing: Framing::default(),
            tick: None,
            stalled: None,
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
            if over(self.stalled, WRITE_STALL) || over(self.head, HEAD_TIME) || idle {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tick.as_mut().reset(now + TICK);
        }
        Ok(())
    }

    fn after_read(&mut self, bytes: &[u8]) {
        self.last = Instant::now();
        self.framing.feed(bytes);
        if let Some(number) = self.framing.ambiguous() {
            self.traffic.ambiguous.fetch_min(number, Ordering::Relaxed);
        }
        self.head = match (self.framing.in_head(), self.head) {
            (false, _) => None,
            (true, since) => since.or(Some(self.last)),
        };
    }

    fn after_write(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() {
            self.stalled.get_or_insert_with(Instant::now);
            if let Err(error) = self.poll_stalls(cx) {
                return Poll::Ready(Err(error));
            }
        } else {
            self.stalled = None;
            self.last = Instant::now();
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CallerSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.after_read(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.poll_stalls(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CallerSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.after_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.after_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS writes its last records here, so that a stall may show here alone.
        let outcome = Pin::new(&mut self.inner).poll_flush(cx).map_ok(|()| 0);
        self.after_write(cx, outcome).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A refused caller may still be sending: a reset would make it lose the answer that says
        // why, so that its bytes are taken for a moment after our side is closed.
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.linger = Some(Box::pin(sleep(LINGER)));
        }
        let mut sink = [0; SINK];
        for _ in 0..SINK_TURNS {
            let mut buf = ReadBuf::new(&mut sink);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let over = self.linger.as_mut().is_none_or(|linger| linger.as_mut().poll(cx).is_ready());
                    return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
        if self.linger.as_mut().is_none_or(|linger| linger.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn kind<T: std::fmt::Debug>(outcome: io::Result<T>) -> io::ErrorKind {
        outcome.unwrap_err().kind()
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_no_byte_for_a_minute_is_cut_off() {
        let (_caller, ours) = duplex(16);
        let mut socket = CallerSocket::new(ours, Traffic::new());
        let begun = Instant::now();
        assert_eq!(kind(socket.write_all(&[0; 64]).await), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WRITE_STALL && begun.elapsed() <= WRITE_STALL + 2 * TICK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_slowly_but_steadily_keeps_its_answer() {
        let (mut caller, ours) = duplex(16);
        let mut socket = CallerSocket::new(ours, Traffic::new());
        let reader = async {
            let mut byte = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(WRITE_STALL / 2).await;
                let _ = caller.read(&mut byte).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(socket.write_all(&[0; 64]), reader);
        assert!(written.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_cut_off_and_an_idle_connection_lives_longer() {
        let (mut caller, ours) = duplex(64);
        let mut socket = CallerSocket::new(ours, Traffic::new());
        caller.write_all(b"GET / HT").await.unwrap();
        let begun = Instant::now();
        assert_eq!(kind(socket.read_to_end(&mut Vec::new()).await), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= HEAD_TIME + 2 * TICK);

        let (_caller, ours) = duplex(64);
        let mut idle = CallerSocket::new(ours, Traffic::new());
        let begun = Instant::now();
        assert_eq!(kind(idle.read_to_end(&mut Vec::new()).await), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= IDLE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_request_running_is_not_idle() {
        let (caller, ours) = duplex(64);
        let traffic = Traffic::new();
        let mut socket = CallerSocket::new(ours, Arc::clone(&traffic));
        let (_, busy) = traffic.begin();
        let later = async {
            tokio::time::sleep(IDLE_TIME * 3).await;
            drop(caller);
        };
        let mut read = Vec::new();
        let (outcome, ()) = tokio::join!(socket.read_to_end(&mut read), later);
        assert!(outcome.is_ok());
        drop(busy);
    }
}
