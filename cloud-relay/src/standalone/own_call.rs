//! An answer that the relay itself gets from Bedrock, polled as an edge's stream is.
//!
//! The call is a future in here, not a task: it goes on while its caller's connection is polled, and ends with
//! it. Invariant: what it has cost is known once it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_overflow::alone::{self, Bounds, Fit, Spent};
use causeway_overflow::{Caller, Overflow};
use causeway_transport::Received;
use causeway_wire::{Code, Failure, Head, Outcome, SendRefused};
use tokio::sync::mpsc;

use crate::core::spend::{Usd, Word};
use crate::standalone::pool::Lease;

/// Messages of one step that are not yet taken, count: the call goes on only once all of them are, and no step
/// makes more than a head, bytes and an end.
const STEP: usize = 8;

/// See the module's head.
pub(crate) struct Own {
    /// Gone once it has ended.
    run: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    received: mpsc::Receiver<Received>,
    spent: Spent,
}

impl Own {
    /// A call that begins when it is first polled.
    pub(crate) fn new(overflow: Arc<Overflow>, fit: Fit, bounds: Bounds, kept: Lease) -> Self {
        let (sender, received) = mpsc::channel(STEP);
        let spent = Spent::default();
        let answer = alone::answer(overflow, fit, bounds, spent.clone(), Outbox(sender));
        let run = async move {
            answer.await;
            drop(kept);
        };
        Self { run: Some(Box::pin(run)), received, spent }
    }

    /// The next thing.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        if let Poll::Ready(Some(received)) = self.received.poll_recv(cx) {
            return Poll::Ready(received);
        }
        if let Some(run) = &mut self.run
            && run.as_mut().poll(cx).is_ready()
        {
            self.run = None;
        }
        self.received.poll_recv(cx).map(|received| {
            let silent = || Failure::new(Code::Internal, "the relay's own call ended without a word; try again");
            received.unwrap_or_else(|| Received::Failed(silent()))
        })
    }

    /// What it has cost so far.
    pub(crate) fn word(&self) -> Word {
        Word::Spent(self.spent.get().map_or(Usd::ZERO, |spent| Usd::from_f64(spent.dollars())))
    }

    /// Ends it; what it has cost.
    pub(crate) fn end(mut self) -> Word {
        self.run = None;
        self.word()
    }
}

/// The call's way to its caller. Nothing comes back: a caller that leaves drops the call.
struct Outbox(mpsc::Sender<Received>);

impl Outbox {
    fn put(&self, received: Received) -> Result<(), SendRefused> {
        self.0.try_send(received).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendRefused::Overrun,
            mpsc::error::TrySendError::Closed(_) => SendRefused::Ended,
        })
    }
}

impl Caller for Outbox {
    async fn recv(&mut self) -> Received {
        std::future::pending().await
    }

    async fn over(&mut self) -> Received {
        std::future::pending().await
    }

    fn send_head(&mut self, head: Head) {
        // Where nobody takes it nobody waits for it.
        let _ = self.put(Received::Head(head));
    }

    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused> {
        self.put(Received::Head(head))?;
        self.put(Received::Data(body))
    }

    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused> {
        self.send_head_with(head, body)?;
        self.put(Received::End(Some(outcome)))
    }

    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.put(Received::Data(body))
    }

    async fn send(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.0.send(Received::Data(body)).await.map_err(|_| SendRefused::Ended)
    }

    fn finish(&mut self, outcome: Option<Outcome>) {
        let _ = self.put(Received::End(outcome));
    }

    fn fail(&mut self, failure: Failure) {
        let _ = self.put(Received::Failed(failure));
    }
}
