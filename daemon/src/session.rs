//! One request as a state machine: what happened comes in, what to do goes out.
//!
//! Invariants: it reaches exactly one [`Ending`]; after that every event answers
//! [`Command::Stop`]. The head is held until the first body byte (or the end), so that whatever
//! goes wrong before still gets a status of its own. Absent: sockets, clocks and tasks
//! (`session/run.rs`), and whether the request may run at all (`gate.rs`).

mod body;
pub(crate) mod run;
pub(crate) mod tap;
#[cfg(test)]
mod tests;
mod upstream;

use std::time::{Duration, Instant};

use causeway_dialect::route::{Shape, Upstream};
use causeway_wire::{Backend, Code, Failure, Head, Outcome};

use tap::Tap;

/// Largest request body, bytes (the relay's own limit; checked again here).
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// The caller's body may pause this long.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// First byte of Ollama, load of the model included.
const FIRST_TOKEN: Duration = Duration::from_secs(300);
/// Silence between two tokens.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest life of a stream.
const STREAM_MAX: Duration = Duration::from_secs(30 * 60);

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Body bytes of the caller arrived, this many.
    Body(usize),
    /// The caller's body is whole.
    BodyEnd,
    /// Ollama's status and headers.
    Answer(Head),
    /// Ollama's next bytes.
    Chunk(&'a [u8]),
    /// Ollama's answer ended as HTTP wants it.
    Eof,
    /// The connection to Ollama could not be made or broke.
    Broken(Trouble),
    /// The relay cancelled.
    Cancelled,
    /// The link failed the stream by itself.
    LinkFailed(Code),
    /// A timer may be due.
    Tick,
}

/// What is wrong with the way to Ollama.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// No connection: nothing ran.
    Down(String),
    /// The connection broke after the request was sent.
    Cut(String),
    /// The request could not be built; nothing ran.
    BadRequest(String),
}

/// What to do. `Fail`, `Finish` and `Stop` are the last.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    /// Nothing; wait for the next event.
    Wait,
    /// Send the request to Ollama.
    Ask,
    /// Pass the chunk on; with the head if it is the first.
    Forward(Option<Head>),
    /// Pass on the end; with the head if there was no body.
    Finish(Option<Head>, Outcome),
    /// Drop the connection to Ollama and fail the stream.
    Fail(Failure),
    /// Drop everything: the stream has ended already.
    Stop,
}

/// How a request ended, for the accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Ollama's whole answer was passed on; its status.
    Served(u16),
    /// It never reached Ollama.
    Refused(Code),
    /// The caller left.
    Cancelled,
    /// It broke.
    Failed(Code),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The caller's body comes in.
    Receiving,
    /// Ollama has the request and has not said a byte of body.
    Asked,
    /// Bytes flow.
    Answering,
    Ended(Ending),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    opened: Instant,
    /// When the present phase last moved.
    moved: Instant,
    /// Hard deadline for the first byte.
    deadline: Option<Instant>,
    body: usize,
    head: Option<Head>,
    status: u16,
    first_byte: Option<Instant>,
    tap: Tap,
    /// The answer streams, so that it needs a terminal event.
    streams: bool,
    /// The first byte of the answer comes when all of it has been computed.
    computed_whole: bool,
}

impl Session {
    /// `shape` is the answer's. `deadline`: the caller's, hard, from now.
    pub(crate) fn new(now: Instant, route: Upstream, shape: Shape, deadline: Option<Duration>) -> Self {
        Self {
            phase: Phase::Receiving,
            opened: now,
            moved: now,
            deadline: deadline.and_then(|deadline| now.checked_add(deadline)),
            body: 0,
            head: None,
            status: 0,
            first_byte: None,
            tap: Tap::new(route, shape),
            streams: shape != Shape::Whole,
            computed_whole: shape == Shape::Whole && route.is_inference(),
        }
    }

    /// One step.
    pub(crate) fn handle(&mut self, now: Instant, event: Event<'_>) -> Command {
        if self.ending().is_some() {
            return Command::Stop;
        }
        match event {
            Event::Body(length) => self.on_body(now, length),
            Event::BodyEnd => {
                self.enter(now, Phase::Asked);
                Command::Ask
            }
            Event::Answer(head) => self.on_answer(now, head),
            Event::Chunk(bytes) => self.on_chunk(now, bytes),
            Event::Eof => self.on_eof(now),
            Event::Broken(trouble) => self.on_trouble(now, trouble),
            Event::Cancelled => {
                self.phase = Phase::Ended(Ending::Cancelled);
                let message = "cancelled: the caller left or asked for it".to_owned();
                Command::Fail(self.failure(now, Code::Cancelled, message, false))
            }
            Event::LinkFailed(code) => self.stop(code),
            Event::Tick => self.on_tick(now),
        }
    }

    /// Ends it for a reason of the shell's own, before Ollama hears of it.
    pub(crate) fn give_up(&mut self, now: Instant, code: Code, message: &str) -> Command {
        self.refuse(now, code, message.to_owned())
    }

    /// What was passed on did not get through: that is how it ended, whatever was thought before.
    pub(crate) fn overtaken(&mut self, now: Instant, ending: Ending, message: &str) -> Failure {
        self.phase = Phase::Ended(ending);
        let code = match ending {
            Ending::Refused(code) | Ending::Failed(code) => code,
            Ending::Cancelled | Ending::Served(_) => Code::Cancelled,
        };
        self.failure(now, code, message.to_owned(), false)
    }

    /// How it ended, once it did.
    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Ended(ending) => Some(ending),
            Phase::Receiving | Phase::Asked | Phase::Answering => None,
        }
    }

    /// When [`Event::Tick`] is next worth sending.
    pub(crate) fn timeout(&self) -> Instant {
        let phase = match self.phase {
            Phase::Receiving => self.earlier(self.moved + BODY_IDLE),
            Phase::Asked if self.computed_whole => self.earlier(self.opened + STREAM_MAX),
            Phase::Asked => self.earlier(self.moved + FIRST_TOKEN),
            Phase::Answering | Phase::Ended(_) => self.moved + SILENCE,
        };
        phase.min(self.opened + STREAM_MAX)
    }

    /// What was used until now.
    pub(crate) fn outcome(&self, now: Instant) -> Outcome {
        let tokens = self.tap.tokens();
        Outcome {
            input_tokens: tokens.input,
            output_tokens: tokens.output.filter(|_| self.first_byte.is_some()),
            usd: None,
            served_by: self.first_byte.map(|_| Backend::Local),
            first_token_ms: self.first_byte.map(|first| milliseconds(first - self.opened)),
            total_ms: Some(milliseconds(now.saturating_duration_since(self.opened))),
        }
    }

    /// From `open` to Ollama's first byte.
    pub(crate) fn first_byte_after(&self) -> Option<Duration> {
        self.first_byte.map(|first| first - self.opened)
    }

    fn on_body(&mut self, now: Instant, length: usize) -> Command {
        self.moved = now;
        self.body += length;
        if self.body <= MAX_BODY {
            return Command::Wait;
        }
        self.refuse(now, Code::TooLarge, "the request body is over 32 MiB: send less".to_owned())
    }

    fn on_answer(&mut self, now: Instant, head: Head) -> Command {
        if (300..400).contains(&head.status) || head.status < 200 {
            let message = format!(
                "what answers at ollama.url sent HTTP {} instead of an answer: it is not an Ollama; \
                 point ollama.url at the Ollama itself",
                head.status
            );
            return self.fail(now, Code::LocalUnavailable, message, true);
        }
        let json =
            head.headers.iter().any(|(name, value)| name == "content-type" && value.starts_with("application/json"));
        if head.status != 200 || json {
            self.streams = false;
            self.tap.expect_whole();
        }
        self.status = head.status;
        self.head = Some(head);
        Command::Wait
    }

    fn on_chunk(&mut self, now: Instant, bytes: &[u8]) -> Command {
        if bytes.is_empty() {
            return Command::Wait;
        }
        if self.phase == Phase::Asked {
            self.first_byte = Some(now);
            self.phase = Phase::Answering;
        }
        self.moved = now;
        match self.tap.observe(bytes) {
            Ok(()) => Command::Forward(self.head.take()),
            Err(tap::EndlessLine) => {
                let message = "Ollama sent a line of more than 8 MiB without an end".to_owned();
                self.fail(now, Code::UpstreamIncomplete, message, false)
            }
        }
    }

    fn on_eof(&mut self, now: Instant) -> Command {
        if self.status == 403 && self.first_byte.is_none() {
            let message = "Ollama refused this daemon (403 without a word): its Host or Origin check is in the way; \
                           let OLLAMA_ORIGINS and OLLAMA_HOST allow localhost, or point ollama.url at the Ollama itself";
            return self.fail(now, Code::LocalUnavailable, message.to_owned(), true);
        }
        if !self.tap.is_complete() && self.streams {
            let message = "Ollama ended the answer without its last event: what came is cut short";
            return self.fail(now, Code::UpstreamIncomplete, message.to_owned(), false);
        }
        self.first_byte.get_or_insert(now);
        self.phase = Phase::Ended(Ending::Served(self.status));
        Command::Finish(self.head.take(), self.outcome(now))
    }

    fn on_trouble(&mut self, now: Instant, trouble: Trouble) -> Command {
        match trouble {
            Trouble::Down(detail) => {
                let message = format!("Ollama does not answer on the edge ({detail}): start it, or mend ollama.url");
                self.fail(now, Code::LocalUnavailable, message, true)
            }
            Trouble::Cut(detail) => {
                let message = format!("the connection to Ollama broke off ({detail}): try again");
                self.fail(now, Code::UpstreamIncomplete, message, self.first_byte.is_none())
            }
            Trouble::BadRequest(detail) => self.refuse(now, Code::InvalidRequest, detail),
        }
    }

    fn on_tick(&mut self, now: Instant) -> Command {
        if now < self.timeout() {
            return Command::Wait;
        }
        if now >= self.opened + STREAM_MAX {
            let message = "the answer took longer than 30 min, the most a stream may take".to_owned();
            return self.fail(now, Code::UpstreamIncomplete, message, false);
        }
        let waiting = matches!(self.phase, Phase::Receiving | Phase::Asked);
        if waiting && self.deadline.is_some_and(|deadline| now >= deadline) {
            let after = milliseconds(now - self.opened);
            let message = format!(
                "no first token within the caller's deadline ({after} ms on the edge): the model is busy, loading \
                 or slow; allow more time (x-causeway-first-token-ms) or try again later"
            );
            return self.fail(now, Code::DeadlineExceeded, message, false);
        }
        match self.phase {
            Phase::Receiving => {
                let message = "the request body stopped for 30 s before its end".to_owned();
                self.refuse(now, Code::InvalidRequest, message)
            }
            Phase::Asked => {
                let message = "Ollama gave no first token within 300 s, loading the model included";
                self.fail(now, Code::LocalUnavailable, message.to_owned(), false)
            }
            Phase::Answering => {
                let message = "Ollama fell silent for 120 s in the middle of the answer".to_owned();
                self.fail(now, Code::UpstreamIncomplete, message, false)
            }
            Phase::Ended(_) => Command::Stop,
        }
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.moved = now;
    }

    fn earlier(&self, timeout: Instant) -> Instant {
        self.deadline.map_or(timeout, |deadline| deadline.min(timeout))
    }

    fn refuse(&mut self, now: Instant, code: Code, message: String) -> Command {
        self.phase = Phase::Ended(Ending::Refused(code));
        Command::Fail(self.failure(now, code, message, false))
    }

    fn fail(&mut self, now: Instant, code: Code, message: String, retryable: bool) -> Command {
        self.phase = Phase::Ended(Ending::Failed(code));
        Command::Fail(self.failure(now, code, message, retryable))
    }

    fn stop(&mut self, code: Code) -> Command {
        self.phase = Phase::Ended(Ending::Failed(code));
        Command::Stop
    }

    fn failure(&self, now: Instant, code: Code, message: String, retryable: bool) -> Failure {
        Failure { code, message, retryable, outcome: self.outcome(now) }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
