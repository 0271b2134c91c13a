//! Questions about models: asked of every linked edge at once, or of one, and answered within the
//! key's scope.

use bytes::{Bytes, BytesMut};
use causeway_dialect::route::Upstream;
use causeway_transport::{Received, RelayLink};
use causeway_wire::{Code, Headers, Open};
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::headers::{Asked, answer_head};
use crate::core::intake::{Call, policy};
use crate::core::limits::{METADATA_BODY, METADATA_TIME};
use crate::core::merge::{ListKind, filter_show, lowest_version, union};
use crate::core::routing::Wanted;
use crate::standalone::answer::{Reply, ReplyBody};
use crate::standalone::relay::{Relay, new_id};

/// A whole answer of one edge.
struct Answer {
    edge: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn reply(self) -> Reply {
        Reply {
            status: self.status,
            headers: self.headers,
            body: ReplyBody::Whole(self.body),
            edge: Some(self.edge),
            model: None,
            outcome: None,
            code: None,
        }
    }
}

/// `tags`, `ps`, `version` and `/v1/models`: all linked edges in scope.
///
/// # Errors
///
/// No edge answered well.
pub(crate) async fn list(
    relay: &Relay,
    route: Upstream,
    asked: &Asked,
    key: &Key,
    headers: Headers,
) -> Result<Reply, Refusal> {
    let mut edges = relay.registry.linked(&key.edges);
    if let Some(pin) = &asked.edge {
        edges.retain(|edge| edge.edge == *pin);
    }
    let questions = edges.into_iter().map(|edge| {
        let open = Open {
            edge_instance: edge.instance,
            method: route.method().to_owned(),
            path: route.path().to_owned(),
            headers: headers.clone(),
            model: None,
            stream: None,
            policy: policy(asked),
            key: key.id.clone(),
            traceparent: asked.traceparent.clone(),
            reply: None,
        };
        async move { ask(&edge.handle, open, Bytes::new()).await }
    });
    let mut answers = Vec::new();
    let mut refusal = None;
    for outcome in join_all(questions).await {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    // What went wrong at one edge is told only if no other one did better.
    let (good, bad): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
    if good.is_empty() {
        if let Some(bad) = bad.into_iter().next() {
            return Ok(bad.reply());
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
    }
    merged(route, good, key)
}

fn merged(route: Upstream, answers: Vec<Answer>, key: &Key) -> Result<Reply, Refusal> {
    let unrestricted = key.models.is_empty() || route == Upstream::OllamaVersion;
    let mut answers = answers;
    if answers.len() == 1 && unrestricted {
        return answers.pop().map(Answer::reply).ok_or_else(no_edge);
    }
    let bodies: Vec<&Bytes> = answers.iter().map(|answer| &answer.body).collect();
    let body = if route == Upstream::OllamaVersion {
        lowest_version(&bodies).map(|body| (*body).clone()).ok_or_else(no_edge)?
    } else {
        let kind = if route == Upstream::OpenAiModels { ListKind::OpenAi } else { ListKind::Ollama };
        union(kind, &bodies, key).into()
    };
    Ok(Reply::own(StatusCode::OK, "application/json; charset=utf-8", body))
}

fn no_edge() -> Refusal {
    Refusal::new(Code::EdgeOffline, "no edge is linked; check that causewayd runs on the GPU machine")
}

/// `show` and `/v1/models/ID`: one edge that has the model.
///
/// # Errors
///
/// No edge has it, or the one asked did not answer.
pub(crate) async fn about(
    relay: &Relay,
    call: &Call,
    asked: &Asked,
    key: &Key,
    headers: Headers,
    body: Bytes,
) -> Result<Reply, Refusal> {
    let mut tried = Vec::new();
    let mut last = None;
    loop {
        let wanted = Wanted { model: &call.model, scope: &key.edges, pin: asked.edge.as_deref(), tried: &tried };
        let (link, counted) = match relay.registry.choose(wanted) {
            Ok(choice) => choice,
            Err(refusal) => return Err(last.unwrap_or(refusal)),
        };
        let open = call.open(link.edge_instance(), headers.clone(), asked, key);
        match ask(&link, open, body.clone()).await {
            Ok(mut answer) => {
                if call.route == Upstream::OllamaShow && answer.status == StatusCode::OK {
                    let filtered = filter_show(&answer.body)
                        .ok_or_else(|| Refusal::new(Code::UpstreamIncomplete, "the edge's answer is no JSON object"))?;
                    answer.body = filtered.into();
                }
                let mut reply = answer.reply();
                reply.model = Some(call.model.short());
                return Ok(reply);
            }
            // Reading twice does no harm, so any failure of this edge is tried elsewhere.
            Err(refusal) => {
                tried.push(counted.edge().to_owned());
                last = Some(refusal);
            }
        }
    }
}

/// Asks one edge and waits for its whole answer.
async fn ask(link: &RelayLink, open: Open, body: Bytes) -> Result<Answer, Refusal> {
    let asking = async {
        let mut stream = link.open(new_id(), open, Bytes::new(), body.is_empty())?;
        if !body.is_empty() {
            // A stream that ends meanwhile says why below.
            let _ = stream.send(body).await;
            stream.finish(None);
        }
        let mut head = None;
        let mut all = BytesMut::new();
        loop {
            match stream.recv().await {
                Received::Head(received) => head = Some(received),
                Received::Data(bytes) if all.len() + bytes.len() > METADATA_BODY => {
                    return Err(Refusal::new(Code::UpstreamIncomplete, "the edge's answer is too long"));
                }
                Received::Data(bytes) => all.extend_from_slice(&bytes),
                Received::End(_) => break,
                Received::Failed(failure) => return Err(failure.into()),
                Received::Cancelled(reason) => return Err(Refusal::new(Code::LinkLost, reason)),
            }
        }
        let head = head.as_ref().and_then(answer_head);
        let (status, headers) = head.ok_or_else(|| {
            Refusal::new(Code::UpstreamIncomplete, "the edge's answer has a status that is not passed on")
        })?;
        Ok(Answer { edge: link.edge().to_owned(), status, headers, body: all.freeze() })
    };
    timeout(METADATA_TIME, asking)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(Code::LocalUnavailable, "the edge did not answer in time; try again")))
}
