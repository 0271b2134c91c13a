//! Answers on their way to callers: whole ones, and streams polled straight from the link.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_transport::Received;
use causeway_wire::{Code, Outcome};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::core::errors::Refusal;
use crate::core::exchange::{Command, Event, Exchange};
use crate::core::limits::WHOLE_ANSWER;
use crate::standalone::attempt::Attempt;
use crate::standalone::log::Record;
use crate::standalone::relay::Place;
use crate::standalone::running::{Cancellable, Slot};
use crate::standalone::socket::Busy;

/// What a request is answered with, before its stamps.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
    /// The edge that answered.
    pub(crate) edge: Option<String>,
    /// The reduced model name.
    pub(crate) model: Option<String>,
    /// What it used, where that is known already.
    pub(crate) outcome: Option<Outcome>,
    /// How it ended, if it ended and not well.
    pub(crate) code: Option<Code>,
}

/// See [`Reply`].
pub(crate) enum ReplyBody {
    Whole(Bytes),
    Stream(Box<Streaming>),
}

impl Reply {
    /// A whole answer of the relay's own.
    pub(crate) fn own(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        Self {
            status,
            headers,
            body: ReplyBody::Whole(body.into()),
            edge: None,
            model: None,
            outcome: None,
            code: None,
        }
    }
}

/// The body hyper polls.
pub(crate) enum AnswerBody {
    /// The request is not answered before its last byte is with hyper.
    Whole(Bytes, #[expect(dead_code, reason = "held, not read")] Option<Busy>),
    Stream(Box<Streaming>),
}

/// The connection must be cut: the answer is not whole and cannot say so.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Cut {}

/// An answer that goes on. Dropping it cancels the request at the edge.
pub(crate) struct Streaming {
    /// What the request holds until its end; set by [`Streaming::hold`]. Dropped first: the books have
    /// it before it no longer runs.
    held: Option<(Record, Held, Busy)>,
    exchange: Exchange,
    /// Dropped after the record: what was spent is settled once the request is in the books.
    attempt: Attempt,
    /// Bytes that were there with the head.
    ready: VecDeque<Bytes>,
    over: bool,
    cancel: Cancellable,
}

/// What a request holds of the relay until its last byte.
pub(crate) struct Held {
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) slot: Slot,
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) place: Option<Place>,
}

/// What was there with the head.
pub(crate) enum Early {
    /// All of it.
    Whole(Bytes),
    /// A beginning.
    Stream(Box<Streaming>),
    /// It broke off; nothing has gone to the caller yet.
    Broken(Refusal),
}

impl Streaming {
    /// After the head: takes what is there without waiting. Where that is all, `record` has the wallet.
    pub(crate) async fn begin(
        mut exchange: Exchange,
        mut attempt: Attempt,
        cancel: Cancellable,
        record: &mut Record,
    ) -> (Early, Option<Outcome>) {
        let mut ready = VecDeque::new();
        let mut size = 0;
        let mut over = false;
        let mut cut = false;
        std::future::poll_fn(|cx| {
            while !over && !cut && size <= WHOLE_ANSWER {
                let Poll::Ready(received) = attempt.poll_recv(cx) else {
                    break;
                };
                match exchange.on(event(received)) {
                    Command::Forward(bytes) => {
                        size += bytes.len();
                        ready.push_back(bytes);
                    }
                    // Nothing has gone out yet, so that the error can have its own status.
                    Command::FinishWith(_) if exchange.is_single() => cut = true,
                    Command::FinishWith(bytes) => {
                        ready.push_back(bytes);
                        over = true;
                    }
                    Command::Finish => over = true,
                    Command::Wait => {}
                    Command::Open | Command::Respond(..) | Command::Cut | Command::Refuse(_) => cut = true,
                }
            }
            Poll::Ready(())
        })
        .await;
        let outcome = exchange.outcome().cloned();
        if cut {
            record.wallets.extend(attempt.take_wallet());
            return (Early::Broken(exchange.broken()), outcome);
        }
        if over && exchange.code().is_none() {
            record.wallets.extend(attempt.take_wallet());
            return (Early::Whole(join(ready)), outcome);
        }
        let streaming = Self { exchange, attempt, ready, over, cancel, held: None };
        (Early::Stream(Box::new(streaming)), outcome)
    }

    /// Gives it what the request holds until its last byte.
    pub(crate) fn hold(&mut self, mut record: Record, held: Held, busy: Busy) {
        if !self.ready.is_empty() {
            record.first_byte();
        }
        self.held = Some((record, held, busy));
    }

    fn record(&mut self) -> Option<&mut Record> {
        self.held.as_mut().map(|(record, ..)| record)
    }

    fn finish(&mut self) {
        self.over = true;
        let outcome = self.exchange.outcome().cloned();
        let code = self.exchange.code();
        if let Some(record) = self.record() {
            record.outcome = outcome;
            record.code = code;
            record.whole = true;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(bytes) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.over {
            self.finish();
            return Poll::Ready(None);
        }
        loop {
            let next = match self.cancel.poll_cancelled(cx) {
                Poll::Ready(()) => Event::Cancelled,
                Poll::Pending => match self.attempt.poll_recv(cx) {
                    Poll::Ready(received) => event(received),
                    Poll::Pending => return Poll::Pending,
                },
            };
            match self.exchange.on(next) {
                Command::Forward(bytes) if bytes.is_empty() => {}
                Command::Forward(bytes) => {
                    if let Some(record) = self.record() {
                        record.first_byte();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Command::Wait => {}
                Command::Finish => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Command::FinishWith(bytes) => {
                    self.over = true;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Command::Open | Command::Respond(..) | Command::Cut | Command::Refuse(_) => {
                    self.finish();
                    return Poll::Ready(Some(Err(Cut)));
                }
            }
        }
    }
}

fn join(parts: VecDeque<Bytes>) -> Bytes {
    let mut parts = parts;
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.pop_front().unwrap_or_default(),
        _ => parts.iter().flatten().copied().collect::<Vec<u8>>().into(),
    }
}

/// The core's name for what a stream received.
pub(crate) fn event(received: Received) -> Event {
    match received {
        Received::Head(head) => Event::Head(head),
        Received::Data(bytes) => Event::Data(bytes),
        Received::End(outcome) => Event::End(outcome),
        Received::Failed(failure) => Event::Failed(failure),
        // Only edges are told that; here it means the link gave the stream up.
        Received::Cancelled(reason) => Event::Failed(causeway_wire::Failure::new(Code::LinkLost, reason)),
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll_next(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, _) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
