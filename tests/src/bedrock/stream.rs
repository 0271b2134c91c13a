//! The body of a ConverseStream answer: frames in their time, up to the script's fault.
//!
//! The call's end is recorded before its last bytes are handed out, so who has read them finds it
//! in the record.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::frames;
use super::plan::Event;
use super::record::{End, Ticket};
use super::script::{Fault, Script};
use super::server::Body;

/// One thing that the socket is given.
enum Step {
    Bytes(Duration, Bytes),
    Hang,
    Reset,
}

pub(super) fn body(script: &Script, events: Vec<Event>, ticket: Ticket) -> Body {
    let (steps, end) = steps(script, events);
    let state = Writer { steps, end, ticket };
    StreamBody::new(stream::unfold(state, |mut state| async move {
        let written = state.next().await?;
        Some((written.map(Frame::data), state))
    }))
    .boxed_unsync()
}

/// Owns the ticket: a body that is dropped before its end is a client that left.
struct Writer {
    steps: VecDeque<Step>,
    end: End,
    ticket: Ticket,
}

impl Writer {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let step = self.steps.pop_front();
        let result = match step {
            Some(Step::Bytes(wait, bytes)) => {
                tokio::time::sleep(wait).await;
                Some(Ok(bytes))
            }
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Reset) => Some(Err(io::ErrorKind::ConnectionAborted.into())),
            None => None,
        };
        if self.steps.is_empty() {
            self.ticket.end(self.end.clone());
        }
        result
    }
}

fn steps(script: &Script, events: Vec<Event>) -> (VecDeque<Step>, End) {
    let mut steps = VecDeque::new();
    let fault = script.fault.as_ref().filter(|(_, fault)| !matches!(fault, Fault::Guardrail(_)));
    for (number, event) in events.into_iter().enumerate() {
        let bytes = frames::event(&event.name, event.payload, number);
        let Some((_, fault)) = fault.filter(|(after, _)| *after == number) else {
            steps.push_back(Step::Bytes(event.wait, bytes));
            continue;
        };
        let end = match fault {
            Fault::Exception(refusal) => {
                steps.push_back(Step::Bytes(event.wait, frames::exception(refusal)));
                End::Thrown(refusal.error)
            }
            Fault::Hang => {
                steps.push_back(Step::Hang);
                End::Broken
            }
            Fault::HalfFrame => {
                steps.push_back(Step::Bytes(event.wait, bytes.slice(..bytes.len() / 2)));
                End::Broken
            }
            Fault::Reset => {
                steps.push_back(Step::Bytes(event.wait, bytes.slice(..bytes.len() / 2)));
                steps.push_back(Step::Reset);
                End::Broken
            }
            Fault::EndOfBody => End::Broken,
            Fault::WrongChecksum => {
                steps.push_back(Step::Bytes(event.wait, frames::corrupted(&bytes)));
                continue;
            }
            Fault::Guardrail(_) => continue,
        };
        return (steps, end);
    }
    (steps, End::Whole)
}
