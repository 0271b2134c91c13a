//! One request's end of the link, as the programs hold it.
//!
//! Absent: what a request means; sequence numbers and windows, which are `causeway-wire`'s.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_wire::{Failure, Head, Open, Outcome, SendRefused, StreamId};

use crate::shared::{Shared, Slot, Terminal};

/// A request that arrived at the edge.
#[derive(Debug)]
pub struct Incoming {
    /// What to run.
    pub open: Box<Open>,
    /// Where its body comes from and its answer goes to.
    pub stream: RequestStream,
}

/// What a stream received. After a terminal one (`Failed`, `Cancelled`, and `End` at the relay)
/// nothing new follows.
#[derive(Clone, PartialEq, Debug)]
pub enum Received {
    /// Status and headers (relay only).
    Head(Head),
    /// The next body bytes.
    Data(Bytes),
    /// The peer's end; with the outcome where the peer is the edge.
    End(Option<Outcome>),
    /// Failed by the peer or by the link itself.
    Failed(Failure),
    /// The relay cancelled (edge only). Answer it with `fail`.
    Cancelled(String),
}

/// One stream. Dropping it before it ended cancels it (relay) or fails it `internal` (edge).
pub struct RequestStream {
    id: StreamId,
    shared: Option<Arc<Shared>>,
}

impl RequestStream {
    pub(crate) fn new(id: StreamId, shared: Arc<Shared>) -> Self {
        Self { id, shared: Some(shared) }
    }

    /// Drops the handle without a word to the link, for its creator who still holds the lock.
    pub(crate) fn forget(mut self) {
        self.shared = None;
    }

    /// The stream's id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The next thing received. Data comes before the `End` or `Failed` that followed it;
    /// `Cancelled` overtakes unread data. After a terminal event that event is repeated; at the
    /// edge `End` is only the request body's, comes once, and `Cancelled` or `Failed` may follow.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let Some(shared) = &self.shared else {
            return Poll::Pending;
        };
        let id = self.id;
        // Most looks find nothing: they change nothing, so nothing has to be settled after them.
        if shared.park_receiver(id, cx.waker()) {
            return Poll::Pending;
        }
        shared.with(|core, now| {
            let Some(slot) = core.slots.get_mut(&id) else {
                return Poll::Pending;
            };
            if let Some(Terminal::Cancelled(reason)) = &slot.terminal {
                return Poll::Ready(Received::Cancelled(reason.clone()));
            }
            if let Some(head) = slot.head.take() {
                return Poll::Ready(Received::Head(head));
            }
            if let Some(body) = core.link.recv(now, id) {
                return Poll::Ready(Received::Data(body));
            }
            match &slot.terminal {
                Some(Terminal::End(outcome)) => Poll::Ready(Received::End(outcome.clone())),
                Some(Terminal::Failed(failure)) => Poll::Ready(Received::Failed(failure.clone())),
                Some(Terminal::Cancelled(_)) | None if std::mem::take(&mut slot.body_end) => {
                    Poll::Ready(Received::End(None))
                }
                Some(Terminal::Cancelled(_)) | None => {
                    slot.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// The next thing received; see [`Self::poll_recv`]. Safe to drop and call again.
    pub async fn recv(&mut self) -> Received {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Edge: waits for the end of the stream (`Cancelled` or `Failed`) and takes nothing of what
    /// comes before it. Safe to drop and call again.
    pub async fn over(&mut self) -> Received {
        poll_fn(|cx| {
            let Some(shared) = &self.shared else { return Poll::Pending };
            shared.with(|core, _| match core.slots.get_mut(&self.id) {
                Some(Slot { terminal: Some(Terminal::Cancelled(reason)), .. }) => {
                    Poll::Ready(Received::Cancelled(reason.clone()))
                }
                Some(Slot { terminal: Some(Terminal::Failed(failure)), .. }) => {
                    Poll::Ready(Received::Failed(failure.clone()))
                }
                Some(slot) => {
                    slot.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Pending,
            })
        })
        .await
    }

    /// Edge: status and headers, once, before any body.
    pub fn send_head(&mut self, head: Head) {
        self.mutate(|core, now, id| core.link.send_head(now, id, head));
    }

    /// Edge: status, headers and the first body bytes as one message.
    ///
    /// # Errors
    /// As [`Self::send_now`].
    pub fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused> {
        self.mutate(|core, now, id| {
            core.link.send_head(now, id, head);
            core.link.send(now, id, body)
        })
        .unwrap_or(Err(SendRefused::Ended))
    }

    /// Edge: the whole answer at once, as few messages as it takes.
    ///
    /// # Errors
    /// As [`Self::send_now`].
    pub fn send_whole(&mut self, head: Head, body: Bytes, outcome: Option<Outcome>) -> Result<(), SendRefused> {
        self.mutate(|core, now, id| {
            core.link.send_head(now, id, head);
            core.link.send(now, id, body)?;
            core.link.finish(now, id, outcome);
            Ok(())
        })
        .unwrap_or(Err(SendRefused::Ended))
    }

    /// Never waits: token streams. The link buffers up to 8 MiB.
    ///
    /// # Errors
    /// [`SendRefused::Overrun`] past the buffer (the stream is then failed `slow_reader`),
    /// [`SendRefused::Ended`] after the end.
    pub fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.mutate(|core, now, id| core.link.send(now, id, body)).unwrap_or(Err(SendRefused::Ended))
    }

    /// Waits for room: request bodies and whole-body answers.
    ///
    /// # Errors
    /// [`SendRefused::Ended`] once the stream has ended.
    pub async fn send(&mut self, mut body: Bytes) -> Result<(), SendRefused> {
        while !body.is_empty() {
            poll_fn(|cx| self.poll_send(cx, &mut body)).await?;
        }
        Ok(())
    }

    /// Bytes queued and not yet acknowledged by the peer.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.peek(|core| core.link.unacked(self.id)))
    }

    /// Ends this side's direction: the request's body (relay) or the answer (edge).
    pub fn finish(&mut self, outcome: Option<Outcome>) {
        self.mutate(|core, now, id| core.link.finish(now, id, outcome));
    }

    /// Edge: ends the answer with a failure.
    pub fn fail(&mut self, failure: Failure) {
        self.mutate(|core, now, id| core.link.fail(now, id, failure));
    }

    /// Relay: asks the edge to stop.
    pub fn cancel(&mut self, reason: &str) {
        self.mutate(|core, now, id| core.link.cancel(now, id, reason));
    }

    /// Sends as much as there is room for, at least one byte.
    fn poll_send(&mut self, cx: &mut Context<'_>, body: &mut Bytes) -> Poll<Result<(), SendRefused>> {
        let id = self.id;
        let Some(shared) = &self.shared else {
            return Poll::Ready(Err(SendRefused::Ended));
        };
        shared.with(|core, now| {
            let Some(slot) = core.slots.get_mut(&id) else {
                return Poll::Ready(Err(SendRefused::Ended));
            };
            if slot.terminal.is_some() {
                return Poll::Ready(Err(SendRefused::Ended));
            }
            let room = core.link.send_room(id);
            if room == 0 {
                slot.sender = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let part = body.split_to(room.min(body.len()));
            Poll::Ready(core.link.send(now, id, part))
        })
    }

    fn mutate<R>(
        &mut self,
        act: impl FnOnce(&mut crate::shared::Core, std::time::Instant, StreamId) -> R,
    ) -> Option<R> {
        let id = self.id;
        Some(self.shared.as_ref()?.with(|core, now| act(core, now, id)))
    }
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        let id = self.id;
        if let Some(shared) = self.shared.take() {
            shared.with(|core, now| {
                core.slots.remove(&id);
                core.link.release(now, id);
            });
        }
    }
}

impl fmt::Debug for RequestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStream").field("id", &self.id).finish_non_exhaustive()
    }
}
