//! Drives one session: the caller's stream on one side, Ollama on the other.
//!
//! Invariants: a cancel is looked at before anything else, also while Ollama's headers are
//! awaited; token streams are read at full speed into the link's bounded buffer, single answers as
//! the link's window allows; the model's place is held until the last byte, after a cancel a
//! little longer. Absent: decisions (`session.rs`, `gate.rs`).

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_dialect::envelope;
use causeway_dialect::route::Shape;
use causeway_transport::Received;
use causeway_wire::{Code, Failure, Head, Open, Outcome, SendRefused};
use tokio::time::sleep_until;

use super::body::Body;
use super::upstream::{Brought, Upstreams};
use super::{Command, Ending, Event, Session, Trouble};
use crate::caller::Caller;
use crate::filter;
use crate::gate::Plan;
use crate::observe::Finished;
use crate::work::Work;

/// The slot of an answer that was broken off counts as busy for this long: Ollama stops at its next
/// token, or at the next batch of the prompt.
const RELEASING: Duration = Duration::from_millis(100);

/// A single answer up to this size goes out as one message with its head, bytes; a larger one
/// flows as the window allows.
const SINGLE_MESSAGE: usize = 64 * 1024;

/// Runs one permitted request to its end and accounts for it.
pub(crate) async fn serve(work: Arc<Work>, open: Box<Open>, plan: Plan, id: String, caller: impl Caller) {
    let opened = now();
    let permit = plan.model.as_deref().filter(|_| plan.route.is_inference()).map(|model| work.admit(opened, model));
    let run = Run {
        session: Session::new(opened, plan.route, plan.shape, plan.deadline),
        upstream: Upstreams::Idle,
        body: Body::new(work.bodies.share()),
        held: Held::default(),
        broke_off: false,
        work: &work,
        open: &open,
        plan: &plan,
        caller,
    };
    let Ended { ending, outcome, first_token, broke_off } = run.run().await;
    work.observer.finished(Finished {
        id,
        method: &open.method,
        path: &open.path,
        dialect: plan.route.dialect(),
        model: plan.model.as_deref(),
        stream: plan.shape != Shape::Whole,
        ending,
        outcome,
        first_token,
        total: now() - opened,
    });
    if let Some(mut permit) = permit {
        if ending == Ending::Served(200) {
            permit.answered(now());
        }
        if broke_off {
            tokio::time::sleep(RELEASING).await;
        }
    }
}

/// A single answer that is still held back.
#[derive(Default)]
struct Held {
    head: Option<Head>,
    chunks: Vec<Bytes>,
    length: usize,
}

struct Run<'a, C> {
    session: Session,
    upstream: Upstreams,
    body: Body,
    held: Held,
    broke_off: bool,
    work: &'a Work,
    open: &'a Open,
    plan: &'a Plan,
    caller: C,
}

/// How a request ended.
struct Ended {
    ending: Ending,
    outcome: Outcome,
    first_token: Option<Duration>,
    /// Ollama was at work on it.
    broke_off: bool,
}

impl<C: Caller> Run<'_, C> {
    async fn run(mut self) -> Ended {
        let mut timer = pin!(sleep_until(self.session.timeout().into()));
        loop {
            let happened = tokio::select! {
                biased;
                received = self.caller.recv() => Happened::Received(received),
                brought = self.upstream.next(self.plan.model.as_deref()) => Happened::Brought(brought),
                () = timer.as_mut() => Happened::Tick,
            };
            let ticked = matches!(happened, Happened::Tick);
            let (command, chunk) = self.decide(happened);
            // Only at the first byte can the next timeout come nearer. Later it moves away, and an
            // early tick costs less than resetting the timer at every chunk.
            let first = matches!(command, Command::Forward(Some(_)));
            self.act(command, chunk).await;
            if let Some(ending) = self.session.ending() {
                let (outcome, first_token) = (self.session.outcome(now()), self.session.first_byte_after());
                return Ended { ending, outcome, first_token, broke_off: self.broke_off };
            }
            if ticked || first {
                timer.as_mut().reset(self.session.timeout().into());
            }
        }
    }

    fn decide(&mut self, happened: Happened) -> (Command, Bytes) {
        let now = now();
        let event = match happened {
            Happened::Tick => Event::Tick,
            Happened::Received(received) => return (self.on_received(now, received), Bytes::new()),
            Happened::Brought(Brought::Chunk(chunk)) => {
                return (self.session.handle(now, Event::Chunk(&chunk)), chunk);
            }
            Happened::Brought(Brought::Answer(head)) => Event::Answer(head),
            Happened::Brought(Brought::Eof) => Event::Eof,
            Happened::Brought(Brought::Broken(trouble)) => Event::Broken(trouble),
        };
        (self.session.handle(now, event), Bytes::new())
    }

    fn on_received(&mut self, now: Instant, received: Received) -> Command {
        match received {
            Received::Data(bytes) => {
                let length = bytes.len();
                if !self.body.push(bytes) {
                    let message = "the edge holds too many request bodies at once: try again";
                    return self.session.give_up(now, Code::Saturated, message);
                }
                self.session.handle(now, Event::Body(length))
            }
            Received::End(_) => self.session.handle(now, Event::BodyEnd),
            Received::Failed(failure) => self.session.handle(now, Event::LinkFailed(failure.code)),
            Received::Cancelled(_) => self.session.handle(now, Event::Cancelled),
            // A relay sends no head; nothing depends on one.
            Received::Head(_) => Command::Wait,
        }
    }

    async fn act(&mut self, command: Command, chunk: Bytes) {
        let passed = match command {
            Command::Wait => Ok(()),
            Command::Ask => {
                self.ask();
                Ok(())
            }
            Command::Forward(head) => {
                if head.is_some() {
                    // Ollama has read the body.
                    self.body.is_sent();
                }
                self.forward(head, chunk).await
            }
            Command::Finish(head, outcome) => self.finish(head, outcome).await,
            Command::Fail(failure) => {
                self.fail(failure).await;
                Ok(())
            }
            Command::Stop => {
                self.break_off();
                Ok(())
            }
        };
        if let Err(snag) = passed {
            self.give_up(snag).await;
        }
    }

    fn ask(&mut self) {
        let (route, model) = (self.plan.route, self.plan.model.as_deref());
        let body = self.body.take();
        let body = match route.method() {
            "GET" => Ok(None),
            _ => envelope::rewrite(&body, model, self.open.stream).map(|body| Some(Bytes::from(body))),
        };
        self.upstream = Upstreams::Asking(match body {
            Ok(body) => self.work.ollama.ask(route, model, &self.open.headers, body),
            Err(bad) => Box::pin(async move { Err(Trouble::BadRequest(bad.to_string())) }),
        });
    }

    async fn forward(&mut self, head: Option<Head>, chunk: Bytes) -> Result<(), Snag> {
        if self.plan.shape == Shape::Whole {
            return self.hold(head, chunk).await;
        }
        match head {
            Some(head) => self.caller.send_head_with(head, chunk)?,
            None => self.caller.send_now(chunk)?,
        }
        Ok(())
    }

    /// Keeps a single answer back until it is whole or over 64 KiB; one that is filtered always.
    async fn hold(&mut self, head: Option<Head>, chunk: Bytes) -> Result<(), Snag> {
        if let Some(head) = head {
            self.held.head = Some(head);
        } else if self.held.head.is_none() {
            self.caller.send(chunk).await?;
            return Ok(());
        }
        self.held.length += chunk.len();
        self.held.chunks.push(chunk);
        if self.is_filtered() {
            return if self.held.length > filter::MAX_METADATA { Err(Snag::Metadata) } else { Ok(()) };
        }
        if self.held.length > SINGLE_MESSAGE
            && let Some(head) = self.held.head.take()
        {
            self.caller.send_head(head);
            for chunk in std::mem::take(&mut self.held.chunks) {
                self.caller.send(chunk).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, head: Option<Head>, outcome: Outcome) -> Result<(), Snag> {
        let Some(head) = self.held.head.take().or(head) else {
            self.caller.finish(Some(outcome));
            return Ok(());
        };
        let body = match std::mem::take(&mut self.held.chunks) {
            mut chunks if chunks.len() == 1 => chunks.pop().unwrap_or_default(),
            chunks => chunks.concat().into(),
        };
        let body = match self.is_filtered() && head.status == 200 {
            true => self.filtered(&body).ok_or(Snag::Metadata)?,
            false => body,
        };
        if body.len() <= SINGLE_MESSAGE {
            self.caller.send_whole(head, body, outcome)?;
            return Ok(());
        }
        self.caller.send_head(head);
        self.caller.send(body).await?;
        self.caller.finish(Some(outcome));
        Ok(())
    }

    async fn fail(&mut self, failure: Failure) {
        if failure.code != Code::Cancelled {
            self.break_off();
            self.caller.fail(failure);
            return;
        }
        let cancelled = now();
        self.break_off();
        // The client's connection task was woken by the drop and runs before this one resumes;
        // it closes the socket in that step.
        tokio::task::yield_now().await;
        if self.broke_off {
            self.work.observer.metrics.cancel_to_release(now() - cancelled);
        }
        self.caller.fail(failure);
    }

    /// Closes the connection to Ollama, if one is at work.
    fn break_off(&mut self) {
        self.broke_off |= !matches!(self.upstream, Upstreams::Idle);
        self.upstream = Upstreams::Idle;
    }

    /// The answer cannot be passed on: the link ended the stream, by itself or because of a
    /// cancel, or the answer is not fit to leave.
    async fn give_up(&mut self, snag: Snag) {
        self.break_off();
        let ending = match snag {
            Snag::Metadata => Ending::Failed(Code::UpstreamIncomplete),
            Snag::Refused(SendRefused::Overrun) => Ending::Failed(Code::SlowReader),
            Snag::Refused(SendRefused::Ended) => match self.why_ended().await {
                Some(Received::Cancelled(_)) => Ending::Cancelled,
                Some(Received::Failed(failure)) => Ending::Failed(failure.code),
                Some(Received::Head(_) | Received::Data(_) | Received::End(_)) | None => Ending::Failed(Code::LinkLost),
            },
        };
        let failure = self.session.overtaken(now(), ending, snag.message());
        self.caller.fail(failure);
    }

    /// What the link has to say of a stream that it ended; nothing if it says nothing at once.
    async fn why_ended(&mut self) -> Option<Received> {
        tokio::select! {
            biased;
            received = self.caller.recv() => Some(received),
            () = std::future::ready(()) => None,
        }
    }

    fn is_filtered(&self) -> bool {
        filter::applies(self.plan.route)
    }

    fn filtered(&self, body: &[u8]) -> Option<Bytes> {
        filter::apply(self.plan.route, body, &self.work.settings.models).map(Bytes::from)
    }
}

/// What happened first.
enum Happened {
    Received(Received),
    Brought(Brought),
    Tick,
}

/// Why an answer cannot be passed on.
#[derive(Clone, Copy, Debug)]
enum Snag {
    /// The link does not take it.
    Refused(SendRefused),
    /// It must be filtered and is too large for that, or is not what the route promises.
    Metadata,
}

impl From<SendRefused> for Snag {
    fn from(refused: SendRefused) -> Self {
        Self::Refused(refused)
    }
}

impl Snag {
    const fn message(self) -> &'static str {
        match self {
            Self::Metadata => "Ollama's answer is not what this route promises: it is not passed on",
            Self::Refused(SendRefused::Overrun) => "the caller read too slowly: the edge's buffer is full",
            Self::Refused(SendRefused::Ended) => "the stream ended before its answer did",
        }
    }
}

/// The runtime's clock, so that tests with paused time drive sessions too.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
