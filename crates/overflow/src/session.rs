//! One request as a state machine: what happened comes in, what to do goes out.
//!
//! Two commits. The headers go out with the first visible token, a refusal or the first heartbeat;
//! until the first visible token another run may still take the answer over. Invariants: it reaches
//! exactly one [`Ending`]; after that every event answers [`Command::Stop`]. Absent: sockets, clocks
//! and tasks, which drive it (the daemon's, and [`crate::alone`]); whether the request may run at all and who
//! is served when, which the daemon's gate and admission say.

mod answer;
mod leave;
mod send;
#[cfg(test)]
mod tests;
mod types;

use std::time::{Duration, Instant};

use causeway_policy::{Late, OverflowReason};
use causeway_wire::{Backend, Code, Failure, Outcome};

pub use answer::{Heard, Origin, Writer};
pub use send::{Answering, Sender};
pub use types::{Command, Decision, Elsewhere, Ending, Event, Terms, Tokens, Trouble, Upstream, Why};

/// Largest request body, bytes (the relay's own limit; checked again here).
pub const MAX_BODY: usize = 32 * 1024 * 1024;

/// The caller's body may pause this long.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// From a request to Ollama's first byte: the longest prompts on slow machines, a part's vectors.
pub const FIRST_TOKEN: Duration = Duration::from_secs(300);
/// Silence between two tokens.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest life of a stream.
const STREAM_MAX: Duration = Duration::from_secs(30 * 60);
/// Runs of one request on Ollama, count: one that breaks off before anything was seen of it is
/// asked once more.
const RUNS: u32 = 2;
/// The pause before the second call; doubled before the third.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The caller's body comes in.
    Receiving,
    /// It waits for a slot.
    Queued,
    /// Ollama has the request and has not said a byte of body.
    Asked,
    /// Bedrock alone is asked, and has said nothing that can be seen.
    Away,
    /// Bytes flow.
    Answering,
    Ended(Ending),
}

/// The machine.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    phase: Phase,
    opened: Instant,
    /// When the present phase last moved.
    moved: Instant,
    /// When the caller was last sent something.
    spoke: Instant,
    body: usize,
    /// Parts not yet answered.
    left: usize,
    /// Runs of the present part.
    runs: u32,
    /// The headers are out.
    committed: bool,
    /// The caller has seen something of the answer.
    visible: bool,
    first_byte: Option<Instant>,
    /// Who said it.
    backend: Backend,
    /// Calls to Bedrock so far, count.
    calls: u32,
    /// Bedrock is asked beside Ollama.
    hedging: bool,
    /// Ollama has failed this request.
    local_failed: bool,
    /// Whether it may go elsewhere; known with the body.
    pub elsewhere: Elsewhere,
    /// Why Bedrock was asked last.
    pub why: Option<Why>,
    /// What Bedrock cost, US dollars.
    pub usd: Option<f64>,
    /// What was used so far.
    pub tokens: Tokens,
}

impl Session {
    /// A request that was opened now.
    #[must_use]
    pub fn new(now: Instant, terms: Terms) -> Self {
        Self {
            terms,
            phase: Phase::Receiving,
            opened: now,
            moved: now,
            spoke: now,
            body: 0,
            left: 0,
            runs: 0,
            committed: false,
            visible: false,
            first_byte: None,
            backend: Backend::Local,
            calls: 0,
            hedging: false,
            local_failed: false,
            elsewhere: Elsewhere::Never,
            why: None,
            usd: None,
            tokens: Tokens::default(),
        }
    }

    /// One step.
    pub fn handle(&mut self, now: Instant, event: Event) -> Command {
        if self.ending().is_some() {
            return Command::Stop;
        }
        match event {
            Event::Body(length) => self.on_body(now, length),
            Event::BodyEnd => Command::Prepare,
            Event::Ready(parts) => {
                self.left = parts;
                match self.elsewhere {
                    Elsewhere::Must(why) => self.leave(now, why),
                    Elsewhere::May(_) | Elsewhere::Never => self.submit(now),
                }
            }
            Event::Queued => Command::Wait,
            Event::Decided(decision, why) => self.on_decision(now, decision, why),
            Event::Status(status) => self.on_status(now, status),
            Event::Told(visible) => self.on_told(now, visible),
            Event::Whole => self.on_whole(now),
            Event::Fault(code, message) => self.on_fault(now, code, message),
            Event::Broken(trouble) => self.on_trouble(now, trouble),
            Event::AwayTold(visible) => self.on_away_told(now, visible),
            Event::AwayWhole => self.on_away_whole(now),
            Event::AwayBroken(kind, message) => self.on_away_broken(now, kind, message),
            Event::Cancelled => {
                self.phase = Phase::Ended(Ending::Cancelled);
                let message = "cancelled: the caller left or asked for it".to_owned();
                Command::Fail(self.failure(now, Code::Cancelled, message), Upstream::Drop)
            }
            Event::LinkFailed(code) => {
                self.phase = Phase::Ended(Ending::Failed(code));
                Command::Stop
            }
            Event::Tick => self.on_tick(now),
        }
    }

    /// Ends it for a reason of the shell's own, before Ollama hears of it.
    pub fn give_up(&mut self, now: Instant, failure: Failure) -> Command {
        self.phase = Phase::Ended(Ending::Refused(failure.code));
        self.end_with(Failure { outcome: self.outcome(now), ..failure }, Upstream::Drop)
    }

    /// What was passed on did not get through: that is how it ended, whatever was thought before.
    pub fn overtaken(&mut self, now: Instant, ending: Ending, message: &str) -> Failure {
        self.phase = Phase::Ended(ending);
        let code = match ending {
            Ending::Refused(code) | Ending::Failed(code) => code,
            Ending::Cancelled | Ending::Served(_) => Code::Cancelled,
        };
        self.failure(now, code, message.to_owned())
    }

    /// How it ended, once it did.
    pub fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Ended(ending) => Some(ending),
            Phase::Receiving | Phase::Queued | Phase::Asked | Phase::Away | Phase::Answering => None,
        }
    }

    /// Something went to the caller.
    pub fn spoke(&mut self, now: Instant) {
        self.spoke = now;
    }

    /// When [`Event::Tick`] is next worth sending.
    pub fn timeout(&self) -> Instant {
        let phase = self.limit().map_or(self.opened + STREAM_MAX, |limit| self.moved + limit);
        let deadline = self.deadline().filter(|_| self.keeps_its_deadline());
        let times = [Some(phase), Some(self.opened + STREAM_MAX), deadline, self.heartbeat_at(), self.hedge_at()];
        times.into_iter().flatten().min().unwrap_or(phase)
    }

    /// What was used until now.
    pub fn outcome(&self, now: Instant) -> Outcome {
        Outcome {
            input_tokens: self.tokens.input,
            output_tokens: self.tokens.output.filter(|_| self.first_byte.is_some()),
            usd: self.usd,
            served_by: self.first_byte.map(|_| self.backend),
            first_token_ms: self.first_byte.map(|first| milliseconds(first - self.opened)),
            total_ms: Some(milliseconds(now.saturating_duration_since(self.opened))),
            broke: None,
        }
    }

    /// A backend has said something of the answer.
    pub fn has_begun(&self) -> bool {
        self.first_byte.is_some()
    }

    /// Calls to Bedrock so far, count.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Who answers, as far as it is known.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// From `open` to Ollama's first byte.
    pub fn first_byte_after(&self) -> Option<Duration> {
        self.first_byte.map(|first| first - self.opened)
    }

    /// Time since `open`.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    fn on_body(&mut self, now: Instant, length: usize) -> Command {
        self.moved = now;
        self.body += length;
        if self.body <= MAX_BODY {
            return Command::Wait;
        }
        self.refuse(now, Code::TooLarge, "the request body is over 32 MiB: send less".to_owned())
    }

    fn submit(&mut self, now: Instant) -> Command {
        self.enter(now, Phase::Queued);
        self.runs = 0;
        Command::Submit
    }

    fn on_decision(&mut self, now: Instant, decision: Decision, why: Option<(Code, String)>) -> Command {
        match decision {
            Decision::Granted => self.ask(now),
            Decision::Refused(refusal) => {
                let (code, message) = why.unwrap_or((Code::Saturated, "the edge takes no more requests".to_owned()));
                let ending = if self.first_byte.is_some() { Ending::Failed(code) } else { Ending::Refused(code) };
                self.phase = Phase::Ended(ending);
                let retry_after_ms = Some(milliseconds(refusal.retry_after)).filter(|ms| *ms > 0);
                let failure = Failure { retry_after_ms, ..self.failure(now, code, message) };
                self.end_with(failure, Upstream::Drop)
            }
            Decision::Overflow(reason) => self.leave(now, Why::Ledger(reason)),
            Decision::Late(Late::Overflow) => self.leave(now, Why::Ledger(OverflowReason::Deadline)),
            Decision::Late(late) => {
                self.phase = Phase::Ended(Ending::Failed(Code::DeadlineExceeded));
                let failure = self.failure(now, Code::DeadlineExceeded, too_late());
                let loading = late == Late::ExpiredWhileLoading;
                self.end_with(failure, if loading { Upstream::Linger } else { Upstream::Drop })
            }
        }
    }

    fn ask(&mut self, now: Instant) -> Command {
        self.enter(now, Phase::Asked);
        self.runs += 1;
        Command::Ask
    }

    fn on_status(&mut self, now: Instant, status: u16) -> Command {
        if (300..400).contains(&status) || status < 200 {
            let message = format!(
                "what answers at ollama.url sent HTTP {status} instead of an answer: it is not an Ollama; point \
                 ollama.url at the Ollama itself"
            );
            return self.fail_here(now, Code::LocalUnavailable, message);
        }
        Command::Wait
    }

    fn on_told(&mut self, now: Instant, visible: bool) -> Command {
        self.begin(now, Backend::Local);
        self.show(now, visible)
    }

    fn show(&mut self, now: Instant, visible: bool) -> Command {
        self.moved = now;
        self.visible |= visible;
        if !self.visible {
            return Command::Wait;
        }
        self.hedging = false;
        self.committed |= self.terms.streams;
        Command::Pass
    }

    fn on_whole(&mut self, now: Instant) -> Command {
        self.begin(now, Backend::Local);
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return self.submit(now);
        }
        self.phase = Phase::Ended(Ending::Served(200));
        Command::Finish
    }

    fn begin(&mut self, now: Instant, backend: Backend) {
        self.first_byte.get_or_insert(now);
        self.backend = backend;
        if matches!(self.phase, Phase::Asked | Phase::Away) {
            self.phase = Phase::Answering;
        }
    }

    fn on_fault(&mut self, now: Instant, code: Code, message: String) -> Command {
        if code == Code::UpstreamIncomplete && !self.may_leave() && self.may_run_again() {
            return self.ask(now);
        }
        self.fail_here(now, code, message)
    }

    fn on_trouble(&mut self, now: Instant, trouble: Trouble) -> Command {
        match trouble {
            Trouble::Down(detail) => {
                let message = format!("Ollama does not answer on the edge ({detail}): start it, or mend ollama.url");
                self.fail_here(now, Code::LocalUnavailable, message)
            }
            Trouble::Cut(_) if !self.may_leave() && self.may_run_again() => self.ask(now),
            Trouble::Cut(detail) => {
                let message = format!("the connection to Ollama broke off ({detail}): try again");
                self.fail_here(now, Code::UpstreamIncomplete, message)
            }
            Trouble::BadRequest(detail) => self.refuse(now, Code::InvalidRequest, detail),
        }
    }

    /// Nothing was seen of the answer, and its first run may have met a passing trouble.
    fn may_run_again(&self) -> bool {
        !self.visible && self.runs < RUNS
    }

    fn on_tick(&mut self, now: Instant) -> Command {
        if now >= self.opened + STREAM_MAX {
            let message = "the answer took longer than 30 min, the most a stream may take".to_owned();
            return self.fail(now, Code::UpstreamIncomplete, message);
        }
        if self.keeps_its_deadline() && self.deadline().is_some_and(|deadline| now >= deadline) {
            return self.refuse(now, Code::DeadlineExceeded, too_late());
        }
        if self.limit().is_some_and(|limit| now >= self.moved + limit) {
            return self.too_silent(now);
        }
        if self.hedge_at().is_some_and(|at| now >= at) {
            self.hedging = true;
            self.calls += 1;
            self.why = Some(Why::Hedge);
            return Command::Hedge;
        }
        if self.heartbeat_at().is_some_and(|at| now >= at) {
            self.committed = true;
            return Command::Heartbeat;
        }
        Command::Wait
    }

    fn too_silent(&mut self, now: Instant) -> Command {
        match self.phase {
            Phase::Receiving => {
                let message = "the request body stopped for 30 s before its end".to_owned();
                self.refuse(now, Code::InvalidRequest, message)
            }
            Phase::Asked => {
                let message = "Ollama gave no first token within 300 s".to_owned();
                self.fail_here(now, Code::LocalUnavailable, message)
            }
            Phase::Answering => {
                let message = "Ollama fell silent for 120 s in the middle of the answer".to_owned();
                self.fail(now, Code::UpstreamIncomplete, message)
            }
            Phase::Queued | Phase::Away | Phase::Ended(_) => Command::Wait,
        }
    }

    /// The longest that the present phase may stand still.
    fn limit(&self) -> Option<Duration> {
        match self.phase {
            Phase::Receiving => Some(BODY_IDLE),
            Phase::Asked => Some(FIRST_TOKEN),
            Phase::Answering => Some(SILENCE),
            // The ledger has its own times, and so has the call to Bedrock.
            Phase::Queued | Phase::Away | Phase::Ended(_) => None,
        }
    }

    fn heartbeat_at(&self) -> Option<Instant> {
        let silent = matches!(self.phase, Phase::Queued | Phase::Asked | Phase::Away | Phase::Answering);
        (silent && !self.terms.heartbeat.is_zero()).then(|| self.spoke + self.terms.heartbeat)
    }

    /// Ollama is asked and so silent that Bedrock is asked too.
    fn hedge_at(&self) -> Option<Instant> {
        let Elsewhere::May(hedge) = self.elsewhere else { return None };
        let waits = self.phase == Phase::Asked && self.calls == 0 && !hedge.is_zero();
        (waits && !self.visible).then(|| self.moved + hedge)
    }

    /// Nobody else sees to the deadline.
    fn keeps_its_deadline(&self) -> bool {
        matches!(self.phase, Phase::Receiving | Phase::Away)
    }

    fn deadline(&self) -> Option<Instant> {
        self.opened.checked_add(self.terms.deadline?)
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.moved = now;
    }

    /// Ollama failed the request: Bedrock takes it where it may and nothing was seen.
    fn fail_here(&mut self, now: Instant, code: Code, message: String) -> Command {
        let cured = [Code::LocalUnavailable, Code::UpstreamIncomplete, Code::ContextExceeded, Code::ModelNotFound];
        if cured.contains(&code) && self.may_leave() {
            self.local_failed = true;
            return self.leave(now, Why::LocalFailed);
        }
        self.fail(now, code, message)
    }

    fn refuse(&mut self, now: Instant, code: Code, message: String) -> Command {
        self.phase = Phase::Ended(Ending::Refused(code));
        self.end_with(self.failure(now, code, message), Upstream::Drop)
    }

    fn fail(&mut self, now: Instant, code: Code, message: String) -> Command {
        self.phase = Phase::Ended(Ending::Failed(code));
        self.end_with(self.failure(now, code, message), Upstream::Drop)
    }

    fn end_with(&self, failure: Failure, upstream: Upstream) -> Command {
        if self.committed { Command::Break(failure, upstream) } else { Command::Fail(failure, upstream) }
    }

    /// Another edge may take what nobody has seen anything of and what is no fault of the request.
    fn failure(&self, now: Instant, code: Code, message: String) -> Failure {
        let elsewhere = matches!(code, Code::LocalUnavailable | Code::Saturated | Code::Draining | Code::ModelNotFound);
        let (retryable, outcome) = (elsewhere && !self.committed, self.outcome(now));
        Failure { retryable, outcome, ..Failure::new(code, message) }
    }
}

/// What is told at a deadline.
#[must_use]
pub fn too_late() -> String {
    "no first token within the caller's deadline: the model is busy, loading or slow; allow more time \
     (x-causeway-first-token-ms) or try again later"
        .to_owned()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
