//! The caller's end of a request as a session needs it: the link's stream, or a test's.

use std::future::Future;

use bytes::Bytes;
use causeway_transport::{Received, RequestStream};
use causeway_wire::{Failure, Head, Outcome, SendRefused};

/// What a session does with the caller's stream; the meanings are `RequestStream`'s. What is refused was not sent:
/// the stream has ended, or its buffer is full.
#[expect(clippy::missing_errors_doc, reason = "the trait says when")]
pub trait Caller: Send {
    /// The next thing received.
    fn recv(&mut self) -> impl Future<Output = Received> + Send;
    /// Waits for the end of a stream whose data nobody takes yet.
    fn over(&mut self) -> impl Future<Output = Received> + Send;
    /// Sends the head.
    fn send_head(&mut self, head: Head);
    /// Sends the head and bytes together, without waiting.
    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused>;
    /// Sends all of an answer together.
    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused>;
    /// Sends bytes without waiting.
    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused>;
    /// Sends bytes as the caller takes them.
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), SendRefused>> + Send;
    /// The answer is whole.
    fn finish(&mut self, outcome: Option<Outcome>);
    /// It ends with an error.
    fn fail(&mut self, failure: Failure);
    /// From here on the request may cost money: cut off, it must not be taken for one that did not.
    fn may_cost(&mut self) {}
}

impl Caller for RequestStream {
    fn recv(&mut self) -> impl Future<Output = Received> + Send {
        Self::recv(self)
    }

    fn over(&mut self) -> impl Future<Output = Received> + Send {
        Self::over(self)
    }

    fn send_head(&mut self, head: Head) {
        Self::send_head(self, head);
    }

    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused> {
        Self::send_head_with(self, head, body)
    }

    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused> {
        Self::send_whole(self, head, body, Some(outcome))
    }

    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> {
        Self::send_now(self, body)
    }

    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), SendRefused>> + Send {
        Self::send(self, body)
    }

    fn finish(&mut self, outcome: Option<Outcome>) {
        Self::finish(self, outcome);
    }

    fn fail(&mut self, failure: Failure) {
        Self::fail(self, failure);
    }
}
