//! One request's end of the link, as the programs hold it.

use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_wire::{Failure, Head, Open, Outcome, SendRefused, StreamId};

/// A request that arrived at the edge.
#[derive(Debug)]
pub struct Incoming {
    /// What to run.
    pub open: Box<Open>,
    /// Where its body comes from and its answer goes to.
    pub stream: RequestStream,
}

/// What a stream received. After a terminal one (`End`, `Failed`, `Cancelled`) nothing follows.
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
#[derive(Debug)]
pub struct RequestStream {}

#[expect(unused_variables, clippy::todo, missing_docs, reason = "stub")]
impl RequestStream {
    pub fn id(&self) -> StreamId { todo!() }
    /// Data before a terminal event always comes first. `Cancelled` and `Failed` overtake unread data.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> { todo!() }
    pub async fn recv(&mut self) -> Received { todo!() }
    /// Edge: once, before any body; travels with the first body bytes if those follow at once,
    /// i.e. before this task next yields.
    pub fn send_head(&mut self, head: Head) { todo!() }
    /// Never waits: token streams. The link buffers up to 8 MiB, then fails the stream `slow_reader`.
    pub fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> { todo!() }
    /// Waits for room: request bodies and whole-body answers.
    pub async fn send(&mut self, body: Bytes) -> Result<(), SendRefused> { todo!() }
    pub fn finish(&mut self, outcome: Option<Outcome>) { todo!() }
    pub fn fail(&mut self, failure: Failure) { todo!() }
    pub fn cancel(&mut self, reason: &str) { todo!() }
}
