//! One caller's request from its first edge to its last byte: events in, one command each out.
//!
//! Invariants: an edge is tried again only before the head went to the caller; exactly one
//! command of a request is terminal (`Refuse`, `Finish`, `FinishWith`, `Cut`), and nothing
//! follows it. Absent: streams, sockets and timers, which are the shell's.

use bytes::Bytes;
use causeway_dialect::error::{self, StreamTail};
use causeway_dialect::route::{Dialect, Shape};
use causeway_wire::{Code, Failure, Head, OpenRefused, Outcome};
use http::{HeaderMap, StatusCode};

use crate::core::errors::Refusal;
use crate::core::headers;
use crate::core::limits::MAX_ATTEMPTS;

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A stream was opened on this edge.
    Opened(String),
    /// No edge takes it, and the relay asks Bedrock itself.
    OpenedHere,
    /// No (other) edge can take it.
    NoEdge(Refusal),
    /// The chosen edge's link took no stream.
    OpenRefused(String, OpenRefused),
    /// From the stream.
    Head(Head),
    /// From the stream.
    Data(Bytes),
    /// From the stream.
    End(Option<Outcome>),
    /// From the stream: the edge's own word, or the link's.
    Failed(Failure),
    /// The link gave the stream up before its edge ended it.
    Lost(Failure, Fate),
    /// The caller's deadline and its grace have passed.
    Deadline,
    /// The caller asked for it with `DELETE`.
    Cancelled,
}

/// What may have become of a request whose link was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It may be running there, and may be in a call that costs money.
    MayCost,
    /// It had nothing to spend there: a second run costs time alone.
    Free,
    /// That run of the edge is gone.
    Gone,
}

/// What to do. Whatever ends the request also gives up its stream, which cancels it at the edge.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Choose an edge, not one of [`Exchange::tried`], and open a stream there.
    Open,
    /// Wait for the next event.
    Wait,
    /// Send status and headers.
    Respond(StatusCode, HeaderMap),
    /// Send body bytes.
    Forward(Bytes),
    /// Terminal: the answer is whole.
    Finish,
    /// Terminal: send these last bytes, which end a broken answer properly.
    FinishWith(Bytes),
    /// Terminal: cut the connection; a broken whole body must not look whole.
    Cut,
    /// Terminal: answer with this error.
    Refuse(Refusal),
}

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Choosing,
    Waiting,
    Streaming,
    Over,
}

/// See the module's head.
#[derive(Debug)]
pub struct Exchange {
    dialect: Dialect,
    shape: Shape,
    phase: Phase,
    tried: Vec<String>,
    /// Edges that were sent the request, count. One that took no stream has not seen it.
    asked: usize,
    /// An edge that is there did not take it, or failed.
    declined: bool,
    /// The relay answers it itself: nobody is asked after that.
    here: bool,
    /// Why the last edge did not answer, for when there is no other.
    last: Option<Refusal>,
    tail: StreamTail,
    /// Nothing but white space has gone out: what keeps a single answer alive.
    blank: bool,
    outcome: Option<Outcome>,
    /// How it ended, if not well.
    code: Option<Code>,
    /// What broke it off while it streamed, for people.
    broken: Option<String>,
}

impl Exchange {
    /// A request about to be opened; the shape is its answer's.
    #[must_use]
    pub fn new(dialect: Dialect, shape: Shape) -> Self {
        Self {
            dialect,
            shape,
            phase: Phase::Choosing,
            tried: Vec::new(),
            asked: 0,
            declined: false,
            here: false,
            last: None,
            tail: StreamTail::default(),
            blank: true,
            outcome: None,
            code: None,
            broken: None,
        }
    }

    /// Edges that were tried.
    #[must_use]
    pub fn tried(&self) -> &[String] {
        &self.tried
    }

    /// Another edge may still be asked, should this one fail.
    #[must_use]
    pub fn may_ask_another(&self) -> bool {
        self.asked < MAX_ATTEMPTS
    }

    /// No edge that is there has declined or failed it: those asked, if any, are gone.
    #[must_use]
    pub fn nobody_declined(&self) -> bool {
        !self.declined
    }

    /// What it used, once it ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Why it ended, if not well.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// What broke the answer off, where nothing of it has gone to the caller yet.
    #[must_use]
    pub fn broken(&self) -> Refusal {
        let message = self.broken.as_deref().unwrap_or("the answer broke off before its end; try again");
        Refusal::new(self.code.unwrap_or(Code::UpstreamIncomplete), message)
    }

    /// The answer is one object, not a stream.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.shape == Shape::Whole
    }

    /// Takes an event.
    pub fn on(&mut self, event: Event) -> Command {
        match (self.phase, event) {
            (Phase::Over, _) => Command::Wait,
            // Choosing an edge.
            (Phase::Choosing, Event::Opened(edge)) => {
                self.tried.push(edge);
                self.asked += 1;
                self.phase = Phase::Waiting;
                Command::Wait
            }
            (Phase::Choosing, Event::OpenedHere) => {
                self.here = true;
                self.phase = Phase::Waiting;
                Command::Wait
            }
            (Phase::Choosing, Event::OpenRefused(edge, refused)) => {
                self.tried.push(edge);
                self.declined |= refused != OpenRefused::Offline;
                let another_may_take_it = matches!(refused, OpenRefused::Offline | OpenRefused::Full);
                self.next_edge(refused.into(), another_may_take_it)
            }
            (Phase::Choosing, Event::NoEdge(refusal)) => {
                let refusal = self.last.take().unwrap_or(refusal);
                self.refuse(refusal)
            }
            // Waiting for the head.
            (Phase::Waiting, Event::Head(head)) => self.respond(&head),
            (Phase::Waiting, Event::Failed(failure)) => {
                let retryable = failure.retryable;
                self.declined |= !matches!(failure.code, Code::Draining | Code::WrongInstance | Code::LinkLost);
                self.outcome = Some(failure.outcome.clone());
                self.next_edge(failure.into(), retryable)
            }
            (Phase::Waiting, Event::Lost(failure, fate)) => {
                if fate == Fate::Gone {
                    // A new run of the same edge is another edge.
                    self.tried.pop();
                }
                self.next_edge(failure.into(), fate != Fate::MayCost)
            }
            (Phase::Waiting, Event::Data(_) | Event::End(_)) => {
                self.refuse(Refusal::new(Code::UpstreamIncomplete, "the edge ended without an answer; try again"))
            }
            (Phase::Choosing | Phase::Waiting, Event::Deadline) => self.refuse(Refusal::new(
                Code::DeadlineExceeded,
                "no first token came within x-causeway-first-token-ms; allow more time or try again later",
            )),
            (Phase::Choosing | Phase::Waiting, Event::Cancelled) => {
                self.refuse(Refusal::new(Code::Cancelled, "the request was cancelled"))
            }
            // Streaming.
            (Phase::Streaming, Event::Data(bytes)) => {
                if self.shape == Shape::Whole {
                    self.blank = self.blank && bytes.iter().all(u8::is_ascii_whitespace);
                } else {
                    self.tail.observe(&bytes);
                }
                Command::Forward(bytes)
            }
            (Phase::Streaming, Event::End(outcome)) => {
                self.code = outcome.as_ref().and_then(|outcome| outcome.broke);
                self.outcome = outcome;
                self.phase = Phase::Over;
                Command::Finish
            }
            (Phase::Streaming, Event::Failed(failure) | Event::Lost(failure, _)) => {
                self.outcome = Some(failure.outcome);
                self.break_off(failure.code, &failure.message)
            }
            (Phase::Streaming, Event::Cancelled) => self.break_off(Code::Cancelled, "the request was cancelled"),
            // The first token was in time.
            (Phase::Streaming, Event::Deadline) => Command::Wait,
            (Phase::Choosing, Event::Head(_) | Event::Data(_) | Event::End(_) | Event::Failed(_) | Event::Lost(..))
            | (
                Phase::Waiting | Phase::Streaming,
                Event::Opened(_) | Event::OpenedHere | Event::NoEdge(_) | Event::OpenRefused(..),
            )
            | (Phase::Streaming, Event::Head(_)) => self.refuse_or_break(),
        }
    }

    fn next_edge(&mut self, refusal: Refusal, retryable: bool) -> Command {
        if !retryable || self.here || self.asked >= MAX_ATTEMPTS {
            return self.refuse(refusal);
        }
        self.phase = Phase::Choosing;
        self.last = Some(refusal);
        Command::Open
    }

    fn respond(&mut self, head: &Head) -> Command {
        let Some((status, headers)) = headers::answer_head(head) else {
            let message = format!("the edge answered with status {}, which is not passed on", head.status);
            return self.refuse(Refusal::new(Code::UpstreamIncomplete, message));
        };
        if status != StatusCode::OK {
            // An error is one object in every dialect.
            self.shape = Shape::Whole;
        }
        self.phase = Phase::Streaming;
        Command::Respond(status, headers)
    }

    fn refuse(&mut self, refusal: Refusal) -> Command {
        self.phase = Phase::Over;
        self.code = Some(refusal.code);
        Command::Refuse(refusal)
    }

    fn break_off(&mut self, code: Code, message: &str) -> Command {
        self.phase = Phase::Over;
        self.code = Some(code);
        self.broken = Some(message.to_owned());
        match self.shape {
            Shape::Whole if self.blank => Command::FinishWith(error::body(self.dialect, code, message).into()),
            Shape::Whole => Command::Cut,
            Shape::Ndjson | Shape::Sse => {
                Command::FinishWith(self.tail.complete(self.dialect, self.shape, code, message).into())
            }
        }
    }

    /// An event that cannot come in this phase: the shell or the link is at fault.
    fn refuse_or_break(&mut self) -> Command {
        const MESSAGE: &str = "the relay lost track of this request; try again";
        match self.phase {
            Phase::Streaming => self.break_off(Code::Internal, MESSAGE),
            Phase::Choosing | Phase::Waiting | Phase::Over => self.refuse(Refusal::new(Code::Internal, MESSAGE)),
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
