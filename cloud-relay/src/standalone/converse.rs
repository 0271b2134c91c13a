//! One inference request over the link: the core's exchange, driven.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_dialect::route::Shape;
use causeway_transport::RequestStream;
use causeway_wire::{Code, Headers, StreamId};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::exchange::{Command, Event, Exchange};
use crate::core::headers::Asked;
use crate::core::intake::Call;
use crate::core::limits::{BODY_IN_OPEN, DEADLINE_GRACE};
use crate::core::routing::{Session, Wanted};
use crate::standalone::answer::{Early, Reply, ReplyBody, Streaming, event};
use crate::standalone::log::Record;
use crate::standalone::registry::Counted;
use crate::standalone::relay::Relay;
use crate::standalone::running::Cancellable;

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
    let mut held: Option<(RequestStream, Counted)> = None;
    let mut command = Command::Open;
    loop {
        let next = match command {
            Command::Open => {
                held = None;
                match open(relay, &request, exchange.tried()) {
                    Ok((stream, counted)) => {
                        let edge = counted.edge().to_owned();
                        record.edge = Some(edge.clone());
                        let (stream, _) = held.insert((stream, counted));
                        command = exchange.on(Event::Opened(edge));
                        match send_body(stream, &request.body, &mut interrupts).await {
                            Some(interrupt) => interrupt,
                            None => continue,
                        }
                    }
                    Err(event) => event,
                }
            }
            Command::Wait => {
                let Some((stream, _)) = &mut held else {
                    return Err(lost());
                };
                poll_fn(|cx| match interrupts.poll(cx) {
                    Poll::Ready(event) => Poll::Ready(event),
                    Poll::Pending => stream.poll_recv(cx).map(event),
                })
                .await
            }
            Command::Respond(status, headers) => {
                let Some((stream, counted)) = held else {
                    return Err(lost());
                };
                let edge = counted.edge().to_owned();
                let model = call.model.short();
                let (early, outcome) = Streaming::begin(exchange, stream, interrupts.cancel, counted).await;
                let body = match early {
                    Early::Whole(bytes) => ReplyBody::Whole(bytes),
                    Early::Stream(stream) => ReplyBody::Stream(stream),
                    Early::Broken(refusal) => {
                        record.outcome = outcome;
                        return Err(refusal);
                    }
                };
                return Ok(Reply { status, headers, body, edge: Some(edge), model: Some(model), outcome, code: None });
            }
            Command::Refuse(refusal) => {
                // This request waits for no slot any more.
                drop(held);
                record.outcome = exchange.outcome().cloned();
                return Err(refusal.predicted(relay.registry.wait(wanted(&request, &[]))));
            }
            Command::Forward(_) | Command::Finish | Command::FinishWith(_) | Command::Cut => return Err(lost()),
        };
        command = exchange.on(next);
    }
}

fn lost() -> Refusal {
    Refusal::new(Code::Internal, "the relay lost track of this request; try again")
}

fn wanted<'a>(request: &'a Request<'_>, tried: &'a [String]) -> Wanted<'a> {
    Wanted {
        model: &request.call.model,
        scope: &request.key.edges,
        pin: request.asked.edge.as_deref(),
        tried,
        session: request.asked.session.as_deref().map(|name| Session::new(&request.key.id, name)),
    }
}

/// Chooses an edge and opens a stream there; the body rides along if it is short.
fn open(relay: &Relay, request: &Request<'_>, tried: &[String]) -> Result<(RequestStream, Counted), Event> {
    let (link, counted) = relay.registry.choose(wanted(request, tried)).map_err(Event::NoEdge)?;
    let mut open = request.call.open(link.edge_instance(), request.headers.clone(), request.asked, request.key);
    if let Some(time) = request.asked.first_token {
        let left = time.saturating_sub(request.started.elapsed());
        open.policy.deadline_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    let rides_along = request.body.len() <= BODY_IN_OPEN;
    let body = if rides_along { request.body.clone() } else { Bytes::new() };
    match link.open(request.id, open, body, rides_along) {
        Ok(stream) => Ok((stream, counted)),
        Err(refused) => Err(Event::OpenRefused(counted.edge().to_owned(), refused)),
    }
}

/// Sends a long body as the edge takes it. What ends the stream meanwhile is received afterwards.
async fn send_body(stream: &mut RequestStream, body: &Bytes, interrupts: &mut Interrupts) -> Option<Event> {
    if body.len() <= BODY_IN_OPEN {
        return None;
    }
    let interrupted = {
        let sending = std::pin::pin!(stream.send(body.clone()));
        let mut sending = sending;
        poll_fn(|cx| match interrupts.poll(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => sending.as_mut().poll(cx).map(|_| None),
        })
        .await
    };
    if interrupted.is_none() {
        stream.finish(None);
    }
    interrupted
}
