//! One request that Bedrock alone answers: the session, driven between a caller and the call.
//!
//! [`read`] understands the body and judges whether the model there can do what it asks; [`answer`] runs it.
//! Invariants: what its calls cost is in [`Spent`] also when it is dropped in the middle; it returns once the
//! caller has been told the end. Absent: who may ask for it, and what it may cost, which the caller brings.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use causeway_bedrock::{Fault, Kind, needs};
use causeway_dialect::chat::Request;
use causeway_dialect::route::{Shape, Upstream};
use causeway_policy::Usd;
use causeway_transport::Received;
use causeway_wire::{Backend, Code, Failure};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::sleep_until;

use crate::session::{Answering, Command, Elsewhere, Event, Heard, Origin, Sender, Session, Terms, Why, Writer};
use crate::settings::Mapping;
use crate::text::{self, About, Kind as Answer, Text, judge_dropped};
use crate::{Away, Caller, Errand, Overflow, Told, now};

/// Bodies over this size are read beside the threads that all requests share, bytes: some milliseconds of
/// reading.
const LARGE: usize = 1024 * 1024;

/// What of a request its surroundings say.
#[derive(Clone, Debug)]
pub struct Question {
    /// Our id of it.
    pub id: String,
    /// The key's id, for the account's logs.
    pub key: String,
    /// Its route.
    pub route: Upstream,
    /// How its answer looks.
    pub shape: Shape,
    /// What cannot be honoured is refused, not left out.
    pub strict: bool,
    /// Where it goes.
    pub mapping: Mapping,
    /// Why it goes there.
    pub why: Why,
}

/// What a request is run with.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Hard, from now on, for the first token.
    pub deadline: Option<Duration>,
    /// Silence after which the caller gets a sign of life; zero: never.
    pub heartbeat: Duration,
    /// Most that it may cost, US dollars.
    pub grant: f64,
}

/// Why a body does not go there.
#[derive(Clone, PartialEq, Debug)]
pub enum Unfit {
    /// It is refused wherever it goes.
    Refused(Failure),
    /// The model there lacks what it needs; says what.
    Unmapped(String),
}

/// A request that can go there.
pub struct Fit {
    question: Question,
    request: Request,
    text: Text,
    is_large: bool,
}

/// What a request's calls have cost, as far as that is known. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Spent(Arc<Mutex<Option<Usd>>>);

impl Spent {
    /// None where no price was known, or no call was made.
    #[must_use]
    pub fn get(&self) -> Option<Usd> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, cost: Usd) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = Some(spent.unwrap_or_default().plus(cost));
    }
}

/// Understands a body.
///
/// # Errors
///
/// It goes nowhere, or not there.
pub async fn read(question: Question, body: Bytes) -> Result<Fit, Unfit> {
    if body.len() <= LARGE {
        return read_now(question, &body);
    }
    let read = spawn_blocking(move || read_now(question, &body)).await;
    read.unwrap_or_else(|error| {
        Err(Unfit::Refused(Failure::new(Code::Internal, format!("the body could not be read: {error}"))))
    })
}

fn read_now(question: Question, body: &[u8]) -> Result<Fit, Unfit> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let about = About { id: &question.id, created, streams: question.shape != Shape::Whole };
    let (request, text) = text::read(question.route, about, body).map_err(Unfit::Refused)?;
    let fits = needs(&request, &question.mapping.target, text.stamp.input_estimate);
    fits.map_err(|unmapped| Unfit::Unmapped(unmapped.to_string()))?;
    Ok(Fit { question, request, text, is_large: body.len() > LARGE })
}

/// Answers it. Dropped, the call ends and is settled.
pub async fn answer(overflow: Arc<Overflow>, fit: Fit, bounds: Bounds, spent: Spent, caller: impl Caller) {
    let Fit { question, mut request, text, is_large } = fit;
    let Question { id, key, route, shape, strict, mapping, why } = question;
    let terms = Terms { deadline: bounds.deadline, streams: shape != Shape::Whole, heartbeat: bounds.heartbeat };
    let mut session = Session::new(now(), terms);
    session.elsewhere = Elsewhere::Must(why);
    let prepared = Prepared {
        common: std::mem::take(&mut request.dropped),
        writer: Writer::new(Answer::Text(Box::new(text)), route.dialect(), shape),
        lost: String::new(),
        model: mapping.target.model.clone(),
    };
    let ids = [("causeway-request", id), ("causeway-key", key)];
    let errand = Errand { request: Arc::new(request), mapping, ids, grant: bounds.grant, is_large };
    let mut run = Run {
        session,
        sender: Sender::new(caller),
        prepared,
        errand: Some(errand),
        away: Away::idle(),
        talked: false,
        strict,
        grant: bounds.grant,
        overflow,
        spent,
    };
    run.run().await;
}

/// The answer being written.
struct Prepared {
    writer: Writer,
    /// Fields without effect on any backend, and all without effect there.
    common: Vec<String>,
    lost: String,
    model: String,
}

impl Answering for Prepared {
    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn writer_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }

    fn origin(&self, session: &Session) -> Origin<'_> {
        let reason = session.why.map(Why::as_str);
        let model = Some(self.model.as_str());
        Origin { backend: Backend::Bedrock, model, reason, usd: session.usd, dropped: &self.lost }
    }
}

struct Run<C> {
    session: Session,
    sender: Sender<C>,
    prepared: Prepared,
    /// While a call can be made anew.
    errand: Option<Errand>,
    away: Away,
    /// The present call has said something.
    talked: bool,
    strict: bool,
    grant: f64,
    overflow: Arc<Overflow>,
    spent: Spent,
}

impl<C> Drop for Run<C> {
    fn drop(&mut self) {
        if let Some(cost) = self.away.end() {
            self.spent.add(cost);
        }
    }
}

/// What happened first.
enum Happened {
    Received(Received),
    Told(Told),
    Tick,
}

impl<C: Caller> Run<C> {
    async fn run(&mut self) {
        let mut timer = pin!(sleep_until(self.session.timeout().into()));
        let mut command = self.session.handle(now(), Event::BodyEnd);
        loop {
            while let Some(event) = self.act(command).await {
                command = self.session.handle(now(), event);
            }
            if self.session.ending().is_some() {
                return;
            }
            timer.as_mut().reset(self.session.timeout().into());
            let happened = tokio::select! {
                biased;
                received = self.sender.caller.recv() => Happened::Received(received),
                told = self.away.next() => Happened::Told(told),
                () = timer.as_mut() => Happened::Tick,
            };
            let now = now();
            command = match happened {
                Happened::Received(Received::Cancelled(_)) => self.session.handle(now, Event::Cancelled),
                Happened::Received(Received::Failed(failure)) => {
                    self.session.handle(now, Event::LinkFailed(failure.code))
                }
                // The body was whole before.
                Happened::Received(Received::Head(_) | Received::Data(_) | Received::End(_)) => Command::Wait,
                Happened::Told(told) => self.on_told(now, told),
                Happened::Tick => self.session.handle(now, Event::Tick),
            };
        }
    }

    /// Does what the machine says; where that is an event itself, it is given back.
    async fn act(&mut self, command: Command) -> Option<Event> {
        let sent = match command {
            Command::Wait => Ok(()),
            Command::Prepare => return Some(Event::Ready(1)),
            Command::Submit | Command::Ask | Command::Hedge => {
                let message = "a request that Bedrock alone may answer was asked of a machine".to_owned();
                return Some(Event::Fault(Code::Internal, message));
            }
            Command::Leave(pause) => {
                self.leave(pause);
                Ok(())
            }
            Command::Pass => {
                // Nobody is asked again.
                self.errand = None;
                let sent = self.sender.pass(Some(&mut self.prepared), &mut self.session);
                // The caller takes it before more is read: what it does not take waits at Bedrock.
                yield_now().await;
                sent
            }
            Command::Heartbeat => self.sender.heartbeat(Some(&mut self.prepared), &mut self.session).await,
            Command::Finish => {
                self.settle();
                self.sender.finish(Some(&mut self.prepared), &self.session).await
            }
            Command::Fail(mut failure, _) => {
                failure.outcome.usd = self.settle();
                self.sender.caller.fail(failure);
                Ok(())
            }
            Command::Break(mut failure, _) => {
                failure.outcome.usd = self.settle();
                self.sender.end_with(Some(&mut self.prepared), &self.session, failure).await
            }
            Command::Stop => {
                self.settle();
                Ok(())
            }
        };
        if let Err(refused) = sent {
            self.settle();
            self.sender.give_up(&mut self.session, refused).await;
        }
        None
    }

    /// Makes a call, after a pause that is somewhat different for each.
    fn leave(&mut self, pause: Duration) {
        self.prepared.writer.begin();
        self.talked = false;
        let Some(errand) = &self.errand else { return };
        let spent = self.spent.get().unwrap_or_default().dollars();
        let errand = Errand { grant: (self.grant - spent).max(0.0), ..errand.clone() };
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
        self.sender.caller.may_cost();
        self.away = Away::begin(Arc::clone(&self.overflow), errand, pause);
    }

    fn on_told(&mut self, now: Instant, told: Told) -> Command {
        let (events, whole) = match told {
            Told::Begun(lost) => {
                let names: Vec<String> = self.prepared.common.iter().cloned().chain(lost).collect();
                return match judge_dropped(&names, self.strict) {
                    Ok(lost) => {
                        self.prepared.lost = lost;
                        Command::Wait
                    }
                    Err(failure) => self.session.give_up(now, failure),
                };
            }
            Told::Broken(fault) => return self.broken(now, &fault),
            Told::More(events) => (events, false),
            Told::Whole(events) => (events, true),
        };
        self.talked |= whole || !events.is_empty() || self.away.first_piece().is_some();
        if !self.talked {
            // It has begun, and has said nothing yet.
            return Command::Wait;
        }
        let heard = self.prepared.writer.hear(events);
        self.session.tokens = self.prepared.writer.tokens;
        match heard {
            Heard::Quiet => Command::Wait,
            Heard::More { visible } => self.session.handle(now, Event::AwayTold(visible)),
            Heard::Whole => {
                self.overflow.learn(&self.prepared.model, None);
                self.session.handle(now, Event::AwayWhole)
            }
            Heard::Fault(_, message) => self.broken(now, &Fault::new(Kind::Broken, &message)),
        }
    }

    fn broken(&mut self, now: Instant, fault: &Fault) -> Command {
        self.settle();
        self.overflow.learn(&self.prepared.model, Some(fault));
        self.session.handle(now, Event::AwayBroken(fault.kind, fault.to_string()))
    }

    /// Ends what is under way; what all of it has cost, US dollars.
    fn settle(&mut self) -> Option<f64> {
        if let Some(cost) = self.away.end() {
            self.spent.add(cost);
        }
        self.session.usd = self.spent.get().map(Usd::dollars);
        self.session.usd
    }
}
