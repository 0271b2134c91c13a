//! The caller's end of a request as a session needs it: the link's stream, or a test's.

use std::future::Future;

use bytes::Bytes;
use causeway_transport::{Received, RequestStream};
use causeway_wire::{Failure, Head, Outcome, SendRefused};

/// What a session does with the caller's stream; the meanings are `RequestStream`'s.
pub(crate) trait Caller: Send {
    fn recv(&mut self) -> impl Future<Output = Received> + Send;
    fn over(&mut self) -> impl Future<Output = Received> + Send;
    fn send_head(&mut self, head: Head);
    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused>;
    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused>;
    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused>;
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), SendRefused>> + Send;
    fn finish(&mut self, outcome: Option<Outcome>);
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
