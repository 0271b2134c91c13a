//! One caller's HTTP request: judged, answered, stamped, logged. It runs inside the connection's
//! own task from its first byte to its last.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use causeway_dialect::route::{Dialect, Target, Upstream, classify};
use causeway_wire::{Code, StreamId};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::core::account;
use crate::core::auth::{Key, has_credential};
use crate::core::errors::Refusal;
use crate::core::headers::{self, Asked, Stamp};
use crate::core::intake::{Call, check_room, check_target, refuse_target};
use crate::core::metadata::{Kind, kind};
use crate::core::own::{Access, Own};
use crate::standalone::answer::{AnswerBody, Held, Reply, ReplyBody};
use crate::standalone::log::Record;
use crate::standalone::relay::{Relay, new_id};
use crate::standalone::socket::Traffic;
use crate::standalone::{body, converse, metadata, own};

/// What a connection's requests have in common.
pub(crate) struct Caller {
    pub(crate) relay: Arc<Relay>,
    pub(crate) address: IpAddr,
    pub(crate) traffic: Arc<Traffic>,
}

/// A refusal and the dialect it is written in.
type Refused = (Dialect, Refusal);

/// Answers one request.
pub(crate) async fn serve(caller: Arc<Caller>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
    let (ambiguous, busy) = caller.traffic.begin();
    let id = new_id();
    let (parts, incoming) = request.into_parts();
    let mut record =
        Record::new(&caller.relay.log, &caller.relay.books, &parts.method, parts.uri.path(), id.to_string());
    let mut slot = None;
    let outcome = if ambiguous {
        let message =
            "the request says twice how long its body is; send Content-Length once, or Transfer-Encoding alone";
        Err((Dialect::Ollama, Refusal::invalid(message)))
    } else {
        answer(&caller, id, &parts, incoming, &mut record, &mut slot).await
    };
    let reply = outcome.unwrap_or_else(|(dialect, refusal)| refused(dialect, &refusal));
    let mut response = Response::new(AnswerBody::Whole(Bytes::new(), None));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    let own_id = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let stamp = Stamp { request_id: record.id(), own_id, edge: reply.edge.as_deref(), model: reply.model.as_deref() };
    headers::stamp(response.headers_mut(), stamp);
    if ambiguous || caller.relay.is_draining() {
        response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = Some(reply.status.as_u16());
    let served_by = response.headers().get("x-causeway-served-by");
    let served_by = served_by.and_then(|word| account::backend(word.as_bytes()));
    if reply.edge.is_some() || served_by.is_some() {
        record.backend = served_by;
        let reason = response.headers().get("x-causeway-reason");
        record.reason = reason.and_then(|word| account::reason(word.as_bytes()));
        record.edge = reply.edge;
    }
    record.model = reply.model.or(record.model.take());
    record.outcome = reply.outcome.or(record.outcome.take());
    record.code = reply.code;
    match (reply.body, slot) {
        (ReplyBody::Stream(mut stream), Some(slot)) => {
            stream.hold(record, slot, busy);
            *response.body_mut() = AnswerBody::Stream(stream);
        }
        // A stream always has a slot: `answer` takes it before it opens one.
        (ReplyBody::Stream(stream), None) => *response.body_mut() = AnswerBody::Stream(stream),
        (ReplyBody::Whole(bytes), _) => {
            record.first_byte();
            record.whole = true;
            *response.body_mut() = AnswerBody::Whole(bytes, Some(busy));
        }
    }
    Ok(response)
}

fn refused(dialect: Dialect, refusal: &Refusal) -> Reply {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = Reply::own(status, "application/json", refusal.body(dialect));
    for (name, value) in refusal.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            reply.headers.insert(name, value);
        }
    }
    reply.code = Some(refusal.code);
    reply
}

async fn answer(
    caller: &Caller,
    id: StreamId,
    parts: &Parts,
    incoming: Incoming,
    record: &mut Record,
    slot: &mut Option<Held>,
) -> Result<Reply, Refused> {
    // Origin form has no scheme and no authority; whatever else there is goes to the judge whole.
    let target = match parts.uri.path_and_query() {
        Some(target) if parts.uri.authority().is_none() => target.as_str().to_owned(),
        _ => parts.uri.to_string(),
    };
    let judged = classify(parts.method.as_str(), &target);
    if let Some(refused) = refuse_target(&judged) {
        // Whoever tries a management route is of interest to an audit.
        record.kept = matches!(judged, Target::Forbidden(_));
        return Err(refused);
    }
    match judged {
        Target::Root => Ok(own::root()),
        Target::Causeway => {
            let own = Own::read(parts.method.as_str(), &target);
            own_path(caller, own, parts, record).await.map_err(|refusal| (Dialect::Ollama, refusal))
        }
        Target::Upstream(route) => {
            let outcome = upstream(caller, id, route, &target, parts, incoming, record, slot).await;
            outcome.map_err(|refusal| (route.dialect(), refusal))
        }
        // `refuse_target` took these.
        Target::Forbidden(dialect) | Target::WrongMethod(dialect, _) | Target::Unknown(dialect) => {
            Err((dialect, Refusal::new(Code::RouteNotAllowed, "this route is not served")))
        }
    }
}

async fn own_path(caller: &Caller, own: Own, parts: &Parts, record: &mut Record) -> Result<Reply, Refusal> {
    let relay = &caller.relay;
    let needs_key = match own.access() {
        Access::Anyone => false,
        Access::KeySaysMore => has_credential(&parts.headers),
        Access::Key => true,
    };
    let key = if needs_key { Some(relay.keys.authenticate(&parts.headers, caller.address)?) } else { None };
    if let Some(key) = &key {
        own.authorise(key).inspect_err(|_| {
            record.kept = true;
            record.key.clone_from(&key.id);
        })?;
    }
    own::answer(relay, own, key.as_deref()).await
}

#[expect(clippy::too_many_arguments, reason = "all of one request's parts, once")]
async fn upstream(
    caller: &Caller,
    id: StreamId,
    route: Upstream,
    target: &str,
    parts: &Parts,
    incoming: Incoming,
    record: &mut Record,
    slot: &mut Option<Held>,
) -> Result<Reply, Refusal> {
    let relay = &caller.relay;
    record.kept = route.is_inference();
    let key = relay.keys.authenticate(&parts.headers, caller.address)?;
    record.key.clone_from(&key.id);
    let asked = key.terms.narrow(headers::read(&parts.headers)?)?;
    record.own_id.clone_from(&asked.request_id);
    check_target(parts.method.as_str(), target)?;
    let room = relay.running.take(relay.streams);
    check_room(relay.is_draining(), room.is_some(), relay.streams)?;
    // Questions about models cost no slot of any machine: they are not counted.
    let place = if route.is_inference() { relay.count(&key)? } else { None };
    *slot = room.map(|slot| Held { slot, place });
    let passed_on = headers::passed_on(&parts.headers);
    let kind = kind(route);
    if kind == Some(Kind::AboutPath) {
        let call = Call::from_path(route, target)?;
        call.authorise(&key)?;
        return metadata::about(relay, &call, &asked, &key, passed_on, Bytes::new()).await;
    }
    if kind == Some(Kind::List) {
        return metadata::list(relay, route, &asked, &key, passed_on).await;
    }
    let body = body::read(incoming, relay.body, &relay.bodies).await?;
    let call = Call::from_body(route, target, &body.bytes)?;
    record.model = Some(call.model.short());
    call.authorise(&key)?;
    if kind == Some(Kind::AboutBody) {
        return metadata::about(relay, &call, &asked, &key, passed_on, body.bytes.clone()).await;
    }
    inference(relay, id, &call, &asked, &key, parts, record, &body.bytes).await
}

#[expect(clippy::too_many_arguments, reason = "all of one request's parts, once")]
async fn inference(
    relay: &Relay,
    id: StreamId,
    call: &Call,
    asked: &Asked,
    key: &Key,
    parts: &Parts,
    record: &mut Record,
    body: &Bytes,
) -> Result<Reply, Refusal> {
    let request = converse::Request {
        id,
        call,
        asked,
        key,
        headers: headers::passed_on(&parts.headers),
        body: body.clone(),
        started: record.started().into(),
    };
    converse::converse(relay, request, record).await
}
