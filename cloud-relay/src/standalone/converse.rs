//! One inference request over the link: the core's exchange, driven.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_dialect::route::Shape;
use causeway_transport::Received;
use causeway_wire::{Code, Failure, Headers, StreamId};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::exchange::{Command, Event, Exchange, Fate};
use crate::core::headers::Asked;
use crate::core::intake::Call;
use crate::core::limits::{BODY_IN_OPEN, DEADLINE_GRACE};
use crate::core::route::Allowed;
use crate::core::routing::{Session, Wanted};
use crate::core::spend::Usd;
use crate::standalone::answer::{Early, Reply, ReplyBody, Streaming, event};
use crate::standalone::attempt::{self, Attempt};
use crate::standalone::grants::Wallet;
use crate::standalone::log::Record;
use crate::standalone::registry::Counted;
use crate::standalone::relay::Relay;
use crate::standalone::running::Cancellable;
use crate::standalone::stand_in;
use crate::standalone::store::spend::Of;

/// What a request brings along.
pub(crate) struct Request<'a> {
    pub(crate) id: StreamId,
    pub(crate) call: &'a Call,
    pub(crate) asked: &'a Asked,
    pub(crate) key: &'a Key,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// When its head was there.
    pub(crate) started: Instant,
}

/// What can interrupt a request before its head.
struct Interrupts {
    cancel: Cancellable,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Interrupts {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.cancel.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Event::Cancelled);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| Event::Deadline),
            None => Poll::Pending,
        }
    }
}

/// Runs the request until its head and what came with it; where there is no answer, `record` has
/// the edge that was asked last and what it used.
///
/// # Errors
///
/// Why there is no answer.
pub(crate) async fn converse(relay: &Relay, request: Request<'_>, record: &mut Record) -> Result<Reply, Refusal> {
    let call = request.call;
    let mut exchange = Exchange::new(call.dialect(), call.shape());
    let mut interrupts = Interrupts {
        cancel: relay.running.enter(request.id, &request.key.id, request.asked.request_id.clone()),
        // A single answer comes long after its first token: only its edge knows whether that was in time.
        deadline: request
            .asked
            .first_token
            .filter(|_| call.shape() != Shape::Whole)
            .map(|time| Box::pin(sleep_until(request.started + time + DEADLINE_GRACE))),
    };
    let allowed = call.allowed(request.asked)?;
    let mut held: Option<Attempt> = None;
    let mut wallet: Option<Wallet> = None;
    let mut command = Command::Open;
    loop {
        let next = match command {
            Command::Open => {
                let back = held.take().and_then(|mut attempt| attempt.take_wallet());
                match back.as_ref().is_some_and(Wallet::is_grant) {
                    true => wallet = back,
                    false => record.wallets.extend(back),
                }
                let wanted = wanted(&request, allowed, exchange.tried());
                match open(relay, &request, wanted, &mut wallet, &mut interrupts).await {
                    Ok((attempt, edge)) => {
                        record.edge = Some(edge.clone());
                        let attempt = held.insert(attempt);
                        command = exchange.on(Event::Opened(edge));
                        match send_body(attempt, &request.body, &mut interrupts).await {
                            Some(interrupt) => interrupt,
                            None => continue,
                        }
                    }
                    Err(Event::NoEdge(refusal)) if exchange.nobody_declined() => {
                        match open_here(relay, &request, allowed, refusal, &mut wallet, &mut interrupts).await {
                            Ok(attempt) => {
                                record.edge = None;
                                held = Some(attempt);
                                Event::OpenedHere
                            }
                            Err(event) => event,
                        }
                    }
                    Err(event) => event,
                }
            }
            Command::Wait => {
                let Some(attempt) = &mut held else {
                    return Err(lost());
                };
                let elsewhere = wanted(&request, allowed, exchange.tried());
                let may_leave = !attempt.carried() && exchange.may_ask_another();
                let waiting = received_or_left(relay, attempt, may_leave, elsewhere);
                match interrupted(&mut interrupts, waiting).await {
                    Err(interrupt) => interrupt,
                    Ok(None) => Event::Lost(Failure::new(Code::LinkLost, "the edge's link is gone"), Fate::Free),
                    Ok(Some(received)) => match attempt::lost(received) {
                        Ok(failure) => Event::Lost(failure, fate(relay, attempt.counted(), attempt.carried()).await),
                        Err(received) => event(received),
                    },
                }
            }
            Command::Respond(status, headers) => {
                let Some(attempt) = held else {
                    return Err(lost());
                };
                record.wallets.extend(wallet);
                let is_own = attempt.counted().is_none();
                let (early, outcome) = Streaming::begin(exchange, attempt, interrupts.cancel, record).await;
                let body = match early {
                    Early::Whole(bytes) => ReplyBody::Whole(bytes),
                    Early::Stream(stream) => ReplyBody::Stream(stream),
                    Early::Broken(refusal) => {
                        record.outcome = outcome;
                        return Err(refusal);
                    }
                };
                if is_own {
                    // A head that a heartbeat committed does not say it.
                    record.reason = Some(stand_in::REASON.as_str().to_owned());
                }
                let (edge, model) = (record.edge.clone(), Some(call.model.short()));
                return Ok(Reply { status, headers, body, edge, model, outcome, code: None });
            }
            Command::Refuse(refusal) => {
                // This request waits for no slot any more.
                record.wallets.extend(held.take().and_then(|mut attempt| attempt.take_wallet()));
                record.wallets.extend(wallet);
                record.outcome = exchange.outcome().cloned();
                return Err(refusal.predicted(relay.registry.wait(wanted(&request, allowed, &[]))));
            }
            Command::Forward(_) | Command::Finish | Command::FinishWith(_) | Command::Cut => return Err(lost()),
        };
        command = exchange.on(next);
    }
}

/// The next thing received; `None` where `may_leave` and the edge's link is down while another edge
/// would take the request, which could then run twice but not cost money twice. The relay itself takes none
/// over so: what it may ask Bedrock, an edge may too, and carries money for.
async fn received_or_left(
    relay: &Relay,
    attempt: &mut Attempt,
    may_leave: bool,
    elsewhere: Wanted<'_>,
) -> Option<Received> {
    let run = attempt.counted().filter(|_| may_leave).map(|counted| (counted.edge().to_owned(), counted.instance()));
    let Some((edge, instance)) = run else {
        return Some(poll_fn(|cx| attempt.poll_recv(cx)).await);
    };
    tokio::select! {
        biased;
        received = poll_fn(|cx| attempt.poll_recv(cx)) => Some(received),
        () = relay.registry.left_behind(&edge, instance, elsewhere) => None,
    }
}

/// What may have become of a request whose link was lost.
async fn fate(relay: &Relay, counted: Option<&Counted>, carried: bool) -> Fate {
    let Some(counted) = counted else { return Fate::MayCost };
    match (relay.registry.is_gone(counted).await, carried) {
        (true, _) => Fate::Gone,
        (false, true) => Fate::MayCost,
        (false, false) => Fate::Free,
    }
}

fn lost() -> Refusal {
    Refusal::new(Code::Internal, "the relay lost track of this request; try again")
}

fn wanted<'a>(request: &'a Request<'_>, allowed: Allowed, tried: &'a [String]) -> Wanted<'a> {
    Wanted {
        model: &request.call.model,
        scope: &request.key.edges,
        pin: request.asked.edge.as_deref(),
        tried,
        session: request.asked.session.as_deref().map(|name| Session::new(&request.key.id, name)),
        allowed,
    }
}

/// Chooses an edge and opens a stream there, which takes the wallet along where money may be spent;
/// the body rides along if it is short.
async fn open(
    relay: &Relay,
    request: &Request<'_>,
    wanted: Wanted<'_>,
    wallet: &mut Option<Wallet>,
    interrupts: &mut Interrupts,
) -> Result<(Attempt, String), Event> {
    let (link, counted) = relay.registry.choose(wanted).map_err(Event::NoEdge)?;
    let mut allowed = counted.allowed();
    let mut most = Usd::ZERO;
    if allowed.bedrock && request.call.spends() {
        match grant(relay, request, counted.edge(), wallet, interrupts).await? {
            Ok(left) => most = left,
            // Its own machine may still answer.
            Err(_) if allowed.local => allowed.bedrock = false,
            Err(refusal) => return Err(Event::NoEdge(refusal)),
        }
    }
    let headers = request.headers.clone();
    let mut open = request.call.open(link.edge_instance(), headers, request.asked, request.key, allowed);
    open.policy.spend_max_usd = most.to_f64();
    if let Some(time) = request.asked.first_token {
        let left = time.saturating_sub(request.started.elapsed());
        open.policy.deadline_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    let rides_along = request.body.len() <= BODY_IN_OPEN;
    let body = if rides_along { request.body.clone() } else { Bytes::new() };
    let stream = match link.open(request.id, open, body, rides_along) {
        Ok(stream) => stream,
        Err(refused) => return Err(Event::OpenRefused(counted.edge().to_owned(), refused)),
    };
    let carried = wallet.take_if(|_| most > Usd::ZERO);
    let carried = carried.unwrap_or_else(|| relay.grants.nothing(request.key, of(request, counted.edge())));
    let edge = counted.edge().to_owned();
    Ok((Attempt::new(stream, counted, carried, &relay.leftovers), edge))
}

/// Asks Bedrock itself where no edge takes the request for this reason and everybody allows it.
async fn open_here(
    relay: &Relay,
    request: &Request<'_>,
    allowed: Allowed,
    refusal: Refusal,
    wallet: &mut Option<Wallet>,
    interrupts: &mut Interrupts,
) -> Result<Attempt, Event> {
    let (backend, mapping) = stand_in::mapping(relay, request, allowed, refusal.clone()).map_err(Event::NoEdge)?;
    // What is kept of the request until its answer begins is about as large as its body.
    let mut kept = relay.bodies.lease();
    if !kept.grow(request.body.len()) {
        let message = "the relay holds too many request bodies at once; try again";
        return Err(Event::NoEdge(Refusal::new(Code::Saturated, message)));
    }
    let read = interrupted(interrupts, stand_in::read(request, mapping, allowed, refusal)).await?;
    let fit = read.map_err(Event::NoEdge)?;
    let left = grant(relay, request, "", wallet, interrupts).await?.map_err(Event::NoEdge)?;
    let Some(wallet) = wallet.take() else { return Err(Event::NoEdge(lost())) };
    Ok(Attempt::own(stand_in::begin(request, backend, fit, left, kept), wallet, &relay.leftovers))
}

fn of(request: &Request<'_>, edge: &str) -> Of {
    Of {
        id: request.id.to_string(),
        key: request.key.id.clone(),
        edge: edge.to_owned(),
        model: request.call.model.short(),
    }
}

/// What the edge that is asked next may spend: what is left of the request's grant, which is taken
/// when it is first needed.
///
/// # Errors
///
/// What interrupts the waiting for it; within, why there is none.
async fn grant(
    relay: &Relay,
    request: &Request<'_>,
    edge: &str,
    wallet: &mut Option<Wallet>,
    interrupts: &mut Interrupts,
) -> Result<Result<Usd, Refusal>, Event> {
    if wallet.is_none() {
        match interrupted(interrupts, relay.grants.take(request.key, of(request, edge))).await? {
            Ok(taken) => *wallet = Some(taken),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let left = wallet.as_ref().map(Wallet::left).filter(|left| *left > Usd::ZERO);
    Ok(left.ok_or_else(|| Refusal::new(Code::BudgetExhausted, "what this request may spend is spent; try again")))
}

/// Waits for something, or for what interrupts the request.
async fn interrupted<T>(interrupts: &mut Interrupts, waiting: impl Future<Output = T>) -> Result<T, Event> {
    let mut waiting = pin!(waiting);
    poll_fn(|cx| match interrupts.poll(cx) {
        Poll::Ready(event) => Poll::Ready(Err(event)),
        Poll::Pending => waiting.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// Sends a long body as the edge takes it. What ends the stream meanwhile is received afterwards.
async fn send_body(attempt: &mut Attempt, body: &Bytes, interrupts: &mut Interrupts) -> Option<Event> {
    if body.len() <= BODY_IN_OPEN {
        return None;
    }
    let stream = attempt.stream()?;
    // What ends the stream meanwhile says so itself.
    let interrupt = interrupted(interrupts, stream.send(body.clone())).await.err();
    if interrupt.is_none() {
        stream.finish(None);
    }
    interrupt
}
