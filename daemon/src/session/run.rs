//! Drives one session: the caller's stream on one side, the admission and Ollama on the other.
//!
//! Invariants: a cancel is looked at before anything else, also while a slot or Ollama's headers are
//! awaited; Ollama is read at full speed into the link's bounded buffer; the model's slot is held
//! until the last byte. Absent: decisions (`session.rs`, `admission.rs`, `gate.rs`), what goes to the
//! caller (`causeway_overflow::Sender`).

mod elsewhere;
mod ending;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_dialect::chat::Request;
use causeway_dialect::event::Event as Said;
use causeway_dialect::native::Bounds;
use causeway_dialect::route;
use causeway_dialect::route::Shape;
use causeway_policy::{Deadline, ModelSettings, Usd, Verdict};
use causeway_transport::Received;
use causeway_wire::{Backend, Code, Failure, Open};
use tokio::time::sleep_until;

use super::body::Body;
use super::upstream::{Brought, Upstreams};
use super::{
    Answering, Command, Decision, Ending, Event, Heard, Origin, Sender, Session, Terms, Trouble, Upstream, Why, Writer,
};
use crate::admission::{Health, Place, Wanted};
use crate::config::Mapping;
use crate::gate::Plan;
use crate::job::{self, About, Outgoing};
use crate::now;
use crate::observe::{Finished, Queueing};
use crate::work::{BodyShare, Work};
use causeway_overflow::{Away, Caller, Told};

/// Ollama's connection is kept for the next request if it ends within this time after the answer.
const ENDING: Duration = Duration::from_millis(500);

/// Bodies over this size are read beside the one thread that all streams share, bytes: some
/// milliseconds of reading.
const LARGE: usize = 1024 * 1024;

/// Runs one permitted request to its end and accounts for it.
pub(crate) async fn serve(work: Arc<Work>, open: Box<Open>, plan: Plan, id: String, caller: impl Caller) {
    let opened = now();
    let streams = plan.shape != Shape::Whole;
    let heartbeat = if streams { work.admit.stream_heartbeat } else { work.admit.single_heartbeat };
    let terms = Terms { deadline: plan.deadline, streams, heartbeat };
    let mut run = Run {
        session: Session::new(opened, terms),
        upstream: Upstreams::Idle,
        away: Away::idle(),
        held: Vec::new(),
        spent: None,
        body: Body::new(work.bodies.share()),
        gathered: work.bodies.share(),
        kept: work.bodies.share(),
        prepared: None,
        part: 0,
        place: None,
        last: None,
        asked: false,
        health: Health::Well,
        queueing: Queueing::default(),
        lingers: false,
        work: &work,
        open: &open,
        plan: &plan,
        id: &id,
        sender: Sender::new(caller),
    };
    let ending = run.run().await;
    let (outcome, first_token) = (run.session.outcome(now()), run.session.first_byte_after());
    work.observer.finished(Finished {
        id: id.clone(),
        method: &open.method,
        path: &open.path,
        dialect: plan.route.dialect(),
        model: plan.model.as_deref(),
        stream: streams,
        ending,
        outcome,
        first_token,
        queueing: run.queueing,
        reason: run.session.why.filter(|_| run.session.backend() == Backend::Bedrock).map(Why::as_str),
        total: now() - opened,
    });
    run.let_go().await;
}

/// What was understood of the body.
pub(super) struct Prepared {
    pub(super) writer: Writer,
    pub(super) dropped: String,
    parts: Vec<Outgoing>,
    /// The route on Ollama.
    route: route::Upstream,
    /// The request itself, and where it may overflow to.
    request: Option<(Arc<Request>, Mapping)>,
    /// Fields without effect on any backend, and all without effect on Bedrock.
    common: Vec<String>,
    lost: String,
    /// The model here, and on Bedrock.
    model: Option<String>,
    mapped: Option<String>,
}

impl Answering for Prepared {
    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn writer_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }

    fn origin(&self, session: &Session) -> Origin<'_> {
        let (backend, usd) = (session.backend(), session.usd);
        if backend == Backend::Bedrock {
            let (model, reason) = (self.mapped.as_deref(), session.why.map(Why::as_str));
            return Origin { backend, model, reason, usd, dropped: &self.lost };
        }
        Origin { backend, model: self.model.as_deref(), reason: None, usd, dropped: &self.dropped }
    }
}

struct Run<'a, C> {
    session: Session,
    upstream: Upstreams,
    away: Away,
    /// What Bedrock said beside Ollama, and nobody can see.
    held: Vec<Said>,
    /// What Bedrock has cost so far, where that is known.
    spent: Option<Usd>,
    body: Body,
    /// Vectors kept for the end.
    gathered: BodyShare,
    /// The request kept for Bedrock.
    kept: BodyShare,
    prepared: Option<Prepared>,
    /// The present part.
    part: usize,
    place: Option<Place>,
    /// When Ollama last said something of this part.
    last: Option<Instant>,
    /// Ollama was asked for this part.
    asked: bool,
    /// What the present run says of Ollama.
    health: Health,
    queueing: Queueing,
    /// Ollama is left alone until its first byte.
    lingers: bool,
    work: &'a Arc<Work>,
    open: &'a Open,
    plan: &'a Plan,
    id: &'a str,
    sender: Sender<C>,
}

impl<C: Caller> Run<'_, C> {
    async fn run(&mut self) -> Ending {
        let mut timer = pin!(sleep_until(self.session.timeout().into()));
        loop {
            let happened = tokio::select! {
                biased;
                received = self.sender.caller.recv() => Happened::Received(received),
                decision = decided(&mut self.place) => Happened::Decided(decision),
                brought = self.upstream.next() => Happened::Brought(brought),
                told = self.away.next() => Happened::Told(told),
                () = timer.as_mut() => Happened::Tick,
            };
            // Bytes only move the next timeout away, and an early tick costs less than resetting the
            // timer at every chunk.
            let chunk = matches!(happened, Happened::Brought(Brought::Chunk(_)) | Happened::Told(Told::More(_)));
            let resets = self.last.is_none() || !chunk;
            let mut command = self.decide(happened);
            // A command may be an event itself: a body that was read, a slot that was free.
            while let Some(event) = self.act(command).await {
                command = self.session.handle(now(), event);
            }
            if let Some(ending) = self.session.ending() {
                return ending;
            }
            if resets {
                timer.as_mut().reset(self.session.timeout().into());
            }
        }
    }

    fn decide(&mut self, happened: Happened) -> Command {
        let now = now();
        match happened {
            Happened::Tick => self.session.handle(now, Event::Tick),
            Happened::Received(received) => self.on_received(now, received),
            Happened::Decided(decision) => self.on_decision(now, decision),
            Happened::Brought(brought) => self.on_brought(now, brought),
            Happened::Told(told) => self.on_told(now, told),
        }
    }

    fn on_received(&mut self, now: Instant, received: Received) -> Command {
        match received {
            Received::Data(bytes) => {
                let length = bytes.len();
                if !self.body.push(bytes) {
                    let message = "the edge holds too many request bodies at once: try again";
                    return self.session.give_up(now, Failure::new(Code::Saturated, message).retryable());
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

    fn on_decision(&mut self, now: Instant, decision: Decision) -> Command {
        let why = match decision {
            Decision::Granted => {
                let waited = self.place.as_ref().and_then(Place::waited).unwrap_or_default();
                self.queueing.waited += waited;
                self.work.observer.metrics.queue_wait(waited);
                None
            }
            Decision::Refused(refusal) => {
                self.work.observer.metrics.admission(&Verdict::Refuse(refusal));
                Some(self.work.admission.explain(refusal, self.model()))
            }
            Decision::Overflow(_) | Decision::Late(_) => None,
        };
        self.session.handle(now, Event::Decided(decision, why))
    }

    fn on_brought(&mut self, now: Instant, brought: Brought) -> Command {
        let Some(Prepared { writer, .. }) = &mut self.prepared else { return Command::Wait };
        let heard = match brought {
            Brought::Status(status) => {
                writer.status(status);
                self.health = Health::Well;
                return self.session.handle(now, Event::Status(status));
            }
            Brought::Broken(trouble) => {
                self.health = match trouble {
                    Trouble::Down(_) => Health::Gone,
                    Trouble::Cut(_) => Health::Broken,
                    Trouble::BadRequest(_) => Health::Well,
                };
                return self.session.handle(now, Event::Broken(trouble));
            }
            Brought::Chunk(chunk) => {
                if writer.gathers_vectors() && !self.gathered.grow(chunk.len()) {
                    let message = "the edge holds too many embeddings at once: try again, or send fewer texts";
                    return self.session.give_up(now, Failure::new(Code::Saturated, message).retryable());
                }
                writer.feed(&chunk)
            }
            Brought::Eof => writer.eof(),
        };
        self.session.tokens = writer.tokens;
        let told = writer.told;
        let event = match heard {
            Heard::Fault(code, message) => {
                // The statuses of Ollama's errors do not tell its own faults from callers'.
                if code == Code::LocalUnavailable {
                    self.health = Health::Broken;
                }
                // An error line is the last one; of what this daemon itself cuts off more would come.
                if code != Code::UpstreamIncomplete {
                    self.upstream = Upstreams::Idle;
                }
                Event::Fault(code, message)
            }
            Heard::Quiet => return Command::Wait,
            Heard::Whole => Event::Whole,
            Heard::More { visible } => Event::Told(visible),
        };
        if matches!(event, Event::Told(_) | Event::Whole) {
            self.note(now, told);
        }
        self.session.handle(now, event)
    }

    /// Tells ledger and metrics of a sign of life.
    fn note(&mut self, now: Instant, told: u32) {
        let (metrics, last) = (&self.work.observer.metrics, self.last.replace(now));
        let Some(place) = &self.place else { return };
        if let Some(last) = last {
            metrics.inter_token(now.saturating_duration_since(last));
            place.progress(now, told);
        } else if let Some(promise) = place.first_token(now) {
            metrics.prediction_error(&promise);
        }
    }

    /// Does what the machine says; where that is an event itself, it is given back.
    async fn act(&mut self, command: Command) -> Option<Event> {
        let sent = match command {
            Command::Wait => Ok(()),
            Command::Prepare => return self.prepare().await,
            Command::Submit => return Some(self.submit()),
            Command::Ask => {
                self.ask();
                Ok(())
            }
            Command::Leave(pause) => {
                self.leave(pause);
                Ok(())
            }
            Command::Hedge => {
                self.go_away(Duration::ZERO);
                Ok(())
            }
            Command::Pass => {
                self.is_decided();
                self.sender.pass(self.prepared.as_mut(), &mut self.session)
            }
            Command::Heartbeat => self.sender.heartbeat(self.prepared.as_mut(), &mut self.session).await,
            Command::Finish => {
                self.give_back_finished();
                self.settle_away();
                self.sender.finish(self.prepared.as_mut(), &self.session).await
            }
            Command::Fail(mut failure, upstream) => {
                failure.outcome.usd = self.settle_away();
                self.fail(failure, upstream).await;
                Ok(())
            }
            Command::Break(mut failure, upstream) => {
                self.give_back(upstream);
                failure.outcome.usd = self.settle_away();
                self.sender.end_with(self.prepared.as_mut(), &self.session, failure).await
            }
            Command::Stop => {
                self.give_back(Upstream::Drop);
                self.settle_away();
                Ok(())
            }
        };
        if let Err(refused) = sent {
            self.give_back(Upstream::Drop);
            self.settle_away();
            self.sender.give_up(&mut self.session, refused).await;
        }
        None
    }

    async fn prepare(&mut self) -> Option<Event> {
        let body = self.body.take();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let bounds = Bounds {
            num_ctx: self.work.settings.num_ctx(self.model()),
            thinks: self.plan.local.thinks() != Some(false),
            ..Bounds::default()
        };
        let (mapping, length) = (self.mapping(), body.len());
        let target = mapping.as_ref().map(|mapping| mapping.target.clone());
        let read = if length <= LARGE {
            let about = About { plan: self.plan, id: self.id, created, bounds: &bounds, target: target.as_ref() };
            job::read(about, &body)
        } else {
            let (plan, id) = (self.plan.clone(), self.id.to_owned());
            let read = move || {
                let about = About { plan: &plan, id: &id, created, bounds: &bounds, target: target.as_ref() };
                job::read(about, &body)
            };
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|error| {
                Err(Failure::new(Code::Internal, format!("the body could not be read: {error}")))
            })
        };
        match read.and_then(|job| self.elsewhere(job, mapping, length)) {
            Ok(prepared) => {
                let count = prepared.parts.len();
                self.prepared = Some(prepared);
                Some(Event::Ready(count))
            }
            Err(failure) => {
                let command = self.session.give_up(now(), failure);
                if let Command::Fail(failure, _) | Command::Break(failure, _) = command {
                    self.sender.caller.fail(failure);
                }
                None
            }
        }
    }

    fn submit(&mut self) -> Event {
        let now = now();
        if let Some(place) = self.place.take() {
            place.finished(now, self.prepared.as_ref().map(|prepared| prepared.writer.measured).unwrap_or_default());
            self.part += 1;
        }
        (self.last, self.asked) = (None, false);
        let parts = self.prepared.as_ref().map(|prepared| prepared.parts.as_slice()).unwrap_or_default();
        let Some(part) = parts.get(self.part) else {
            return Event::Fault(Code::Internal, "the edge lost count of this request's parts".to_owned());
        };
        let age = self.session.age(now);
        let deadline = match self.plan.deadline {
            Some(deadline) => Deadline { after: deadline.saturating_sub(age), hard: true },
            None => Deadline { after: self.work.admit.first_token.saturating_sub(age), hard: false },
        };
        let terms = job::Terms {
            key: self.work.admission.key(&self.open.key),
            deadline: Some(deadline),
            queue_timeout: self.work.admit.queue_timeout,
            overflow: self.session.may_leave() && self.can_go_away(now),
        };
        let model = self.plan.model.as_deref().unwrap_or_default();
        let settings =
            ModelSettings { parallel: self.work.settings.slots(model), forced_one: self.plan.local.is_forced_to_one() };
        let wanted = Wanted { id: self.id, model, settings, overflow: terms.overflow };
        let (verdict, place) = self.work.admission.submit(now, wanted, |model| part.need.ask(model, terms));
        self.work.observer.metrics.admission(&verdict);
        self.place = place;
        match verdict {
            Verdict::Admit => Event::Decided(Decision::Granted, None),
            Verdict::Queue(_) => {
                let promised = self.place.as_ref().and_then(Place::promised);
                self.queueing.promised = self.queueing.promised.or(promised);
                Event::Queued
            }
            Verdict::Overflow(reason) => Event::Decided(Decision::Overflow(reason), None),
            Verdict::Refuse(refusal) => {
                Event::Decided(Decision::Refused(refusal), Some(self.work.admission.explain(refusal, model)))
            }
        }
    }

    fn ask(&mut self) {
        let Some(prepared) = &mut self.prepared else { return };
        prepared.writer.begin();
        self.asked = true;
        if let Some(part) = prepared.parts.get(self.part) {
            let asking = self.work.ollama.ask(prepared.route, None, &self.open.headers, Some(part.body.clone()));
            self.upstream = Upstreams::Asking(asking);
        }
    }

    fn model(&self) -> &str {
        self.plan.model.as_deref().unwrap_or_default()
    }
}

/// What happened first.
enum Happened {
    Received(Received),
    Decided(Decision),
    Brought(Brought),
    Told(Told),
    Tick,
}

async fn decided(place: &mut Option<Place>) -> Decision {
    match place {
        Some(place) => place.decided().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
