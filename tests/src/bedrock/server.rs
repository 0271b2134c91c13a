//! HTTP: a request is read whole, recorded, checked, and then answered by its script.
//!
//! The order is fixed: credential, service model, the rules beyond it, chance of a throttle,
//! script. So a wrong request is refused as wrong even where it would have been throttled.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::errors::{ErrorName, Refusal};
use super::families::Families;
use super::plan::{self, Ask};
use super::record::{Auth, Call, Count, End, Operation, Record, Ticket};
use super::script::{Fault, Opening, Script};
use super::{canary, stream, validate};

/// A token is about as many bytes of text.
const BYTES_PER_TOKEN: usize = 4;
const PERCENT: u32 = 100;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = io::Result<Response<Body>>;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) record: Arc<Record>,
    pub(super) families: Families,
    pub(super) needs_credential: bool,
}

/// Serves until it is dropped, and every connection with it.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    connections.spawn(connection(socket, Arc::clone(&service)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TcpStream, service: Arc<Service>) {
    // Without it the kernel may hold back a small frame.
    let _ = socket.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    // An error is a client that left or an answer that broke off by script.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let (bytes, whole) = read(body).await;
        let seen = canary::is_in(&bytes)
            || canary::is_in(head.uri.to_string().as_bytes())
            || head.headers.values().any(|value| canary::is_in(value.as_bytes()));
        let (operation, model) = address(&head.uri);
        let parsed: Option<Value> = if whole { serde_json::from_slice(&bytes).ok() } else { None };
        let call = Call {
            number: 0,
            operation,
            model,
            body: Arc::new(parsed.unwrap_or_default()),
            auth: auth(head.headers.get(AUTHORIZATION)),
            arrived: Instant::now(),
            in_flight: 0,
            end: None,
            ended: None,
        };
        let call = self.record.arrive(call, seen);
        let ticket = Ticket::new(Arc::clone(&self.record), call.number);
        if !whole {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self.fault_of(&call) {
            Some(refusal) if refusal.error == ErrorName::Validation => {
                let why = End::Invalid(refusal.message.clone());
                refused(ticket, &refusal, why)
            }
            Some(refusal) => refused(ticket, &refusal, End::Refused(refusal.error)),
            None => self.by_script(call, ticket).await,
        }
    }

    /// What the service finds wrong with a request, whatever the script says.
    fn fault_of(&self, call: &Call) -> Option<Refusal> {
        if call.operation == Operation::Unknown {
            return Some(Refusal::new(ErrorName::ResourceNotFound, "Unknown operation."));
        }
        if self.needs_credential && call.auth == Auth::None {
            return Some(ErrorName::MissingAuthenticationToken.into());
        }
        validate(call.operation, &call.model, &call.body, &self.families)
            .err()
            .map(|why| Refusal::new(ErrorName::Validation, why))
    }

    async fn by_script(&self, call: Call, ticket: Ticket) -> Answer {
        let ask = Ask {
            input_tokens: (text_bytes(&call.body) / BYTES_PER_TOKEN).max(1) as u64,
            max_tokens: call.body.pointer("/inferenceConfig/maxTokens").and_then(Value::as_u64),
        };
        if call.operation == Operation::CountTokens {
            return self.count(ticket, ask);
        }
        let script = self.script_for(&call);
        match &script.opening {
            Opening::Answer => {}
            Opening::Refuse(refusal) => {
                tokio::time::sleep(script.waits.head).await;
                return refused(ticket, refusal, End::Refused(refusal.error));
            }
            Opening::Silence => return std::future::pending().await,
            Opening::HangUp => return hung_up(ticket),
        }
        if call.operation == Operation::ConverseStream {
            tokio::time::sleep(script.waits.head).await;
            let body = stream::body(&script, plan::events(&script, ask), ticket);
            return Ok(answered(StatusCode::OK, "application/vnd.amazon.eventstream", call.number, body));
        }
        at_once(&script, ask, ticket, call.number).await
    }

    fn script_for(&self, call: &Call) -> Script {
        let mut inner = self.record.lock();
        if let Some((percent, chance)) = &mut inner.throttle
            && chance.random_range(0..PERCENT) < *percent
        {
            return Script::refuse(ErrorName::Throttling);
        }
        if let Some(script) = inner.next.pop_front() {
            return script;
        }
        let otherwise = Arc::clone(&inner.otherwise);
        drop(inner);
        otherwise(call)
    }

    fn count(&self, mut ticket: Ticket, ask: Ask) -> Answer {
        let count = self.record.lock().count.clone();
        let tokens = match count {
            Count::Estimated => ask.input_tokens,
            Count::Tokens(tokens) => tokens,
            Count::Refuse(refusal) => return refused(ticket, &refusal, End::Refused(refusal.error)),
        };
        ticket.end(End::Whole);
        Ok(answered(StatusCode::OK, "application/json", 0, full(json!({"inputTokens": tokens}).to_string())))
    }
}

/// Converse: the same script in one piece, and each fault as it shows there.
async fn at_once(script: &Script, ask: Ask, mut ticket: Ticket, number: usize) -> Answer {
    let events = plan::events(script, ask);
    let wait = script.waits.head + events.iter().map(|event| event.wait).sum::<std::time::Duration>();
    tokio::time::sleep(wait).await;
    let mut body = plan::whole(&events).to_string();
    match &script.fault {
        Some((_, Fault::Exception(refusal))) => return refused(ticket, refusal, End::Refused(refusal.error)),
        Some((_, Fault::Hang)) => return std::future::pending().await,
        Some((_, Fault::Reset)) => return hung_up(ticket),
        Some((_, Fault::HalfFrame | Fault::EndOfBody | Fault::WrongChecksum)) => {
            body = body.chars().take(body.chars().count() / 2).collect();
            ticket.end(End::Broken);
        }
        Some((_, Fault::Guardrail(_))) | None => ticket.end(End::Whole),
    }
    Ok(answered(StatusCode::OK, "application/json", number, full(body)))
}

fn hung_up(mut ticket: Ticket) -> Answer {
    ticket.end(End::Broken);
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn refused(mut ticket: Ticket, refusal: &Refusal, end: End) -> Answer {
    let status = StatusCode::from_u16(refusal.error.status()).unwrap();
    let mut response = answered(status, "application/json", 0, full(refusal.body().to_string()));
    if let Some(name) = refusal.header() {
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::try_from(name).unwrap());
    }
    ticket.end(end);
    Ok(response)
}

fn answered(status: StatusCode, kind: &'static str, number: usize, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let id = HeaderValue::try_from(format!("00000000-0000-4000-8000-{number:012}")).unwrap();
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

fn full(body: String) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync()
}

/// All that came, and whether that is the whole.
async fn read(mut body: Incoming) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

/// Bytes of all texts of a request, whatever its spacing; what comes as `bytes` is none.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(members) => {
            members.iter().filter(|(key, _)| *key != "bytes").map(|(_, value)| text_bytes(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn auth(value: Option<&HeaderValue>) -> Auth {
    let scheme = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if scheme.starts_with("AWS4-HMAC-SHA256 ") {
        Auth::SigV4
    } else if scheme.starts_with("Bearer ") {
        Auth::Bearer
    } else {
        Auth::None
    }
}

/// Operation and model of `/model/{modelId}/{operation}`; a model id may hold slashes.
fn address(uri: &Uri) -> (Operation, String) {
    let parts = uri.path().strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/'));
    let Some((model, operation)) = parts else {
        return (Operation::Unknown, String::new());
    };
    let operation = match operation {
        "converse" => Operation::Converse,
        "converse-stream" => Operation::ConverseStream,
        "count-tokens" => Operation::CountTokens,
        _ => Operation::Unknown,
    };
    (operation, percent_decoded(model))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.filter(|_| first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_id_is_decoded_whatever_it_holds() {
        for (path, model) in [
            ("/model/amazon.nova-lite-v1%3A0/converse", "amazon.nova-lite-v1:0"),
            ("/model/openai.gpt-oss-20b-1:0/converse", "openai.gpt-oss-20b-1:0"),
            (
                "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.x.y/converse",
                "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.x.y",
            ),
            ("/model/arn:aws:bedrock:::inference-profile/a.b/converse", "arn:aws:bedrock:::inference-profile/a.b"),
            ("/model/100%/converse", "100%"),
        ] {
            assert_eq!(address(&path.parse().unwrap()), (Operation::Converse, model.to_owned()));
        }
    }

    #[test]
    fn other_addresses_are_unknown() {
        for path in ["/", "/model/", "/model/x/invoke", "/v1/chat/completions"] {
            assert_eq!(address(&path.parse().unwrap()).0, Operation::Unknown, "{path}");
        }
    }
}
