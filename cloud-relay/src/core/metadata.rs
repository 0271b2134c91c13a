//! Questions about models: what is asked of which edges, what is tried elsewhere, and what the
//! caller gets from the answers.
//!
//! A *list* (tags, ps, version, `/v1/models`) is asked of every edge in scope at once, a question
//! *about* one model (show, `/v1/models/ID`) of one edge that has it. Reading twice does no harm,
//! so that here any failure of an edge is tried elsewhere. Absent: streams and timers, and the
//! memory that answers are counted in, which are the shell's.

use bytes::{Bytes, BytesMut};
use causeway_dialect::route::Upstream;
use causeway_wire::{Code, Head, Headers, InstanceId, Open};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::headers::{Asked, answer_head};
use crate::core::intake::policy;
use crate::core::limits::{MAX_ATTEMPTS, METADATA_BODY};
use crate::core::merge::{ListKind, filter_show, lowest_version, union};
use crate::core::route::Allowed;
use crate::core::spend::Usd;

/// How a metadata route is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By all edges in scope; it has no body.
    List,
    /// By one edge; the model is in the path.
    AboutPath,
    /// By one edge; the model is in the body.
    AboutBody,
}

/// How this route is answered; `None` if it is inference.
#[must_use]
pub fn kind(route: Upstream) -> Option<Kind> {
    if route == Upstream::OpenAiModel {
        return Some(Kind::AboutPath);
    }
    if route == Upstream::OllamaShow {
        return Some(Kind::AboutBody);
    }
    route.is_metadata().then_some(Kind::List)
}

/// What a list asks of one edge. The caller's query stays behind: no list takes one.
#[must_use]
pub fn question(route: Upstream, edge_instance: InstanceId, headers: Headers, asked: &Asked, key: &Key) -> Open {
    Open {
        edge_instance,
        method: route.method().to_owned(),
        path: route.path().to_owned(),
        headers,
        model: None,
        stream: None,
        // Reading is the edge's own, and free, whoever may answer the caller's other requests.
        policy: policy(asked, Allowed::LOCAL, Usd::ZERO),
        key: key.id.clone(),
        traceparent: asked.traceparent.clone(),
        reply: None,
    }
}

/// A whole answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The edge that gave it; `None` if it is made of several.
    pub edge: Option<String>,
    /// HTTP status.
    pub status: StatusCode,
    /// What the contract lets through.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// How asking one edge ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// With its whole answer.
    Answer(Answer),
    /// It took no stream, so that it has not seen the question.
    NotTaken(Refusal),
    /// It, or the way to it, failed.
    Failed(Refusal),
    /// The relay has no memory for its answer.
    NoRoom,
}

/// One edge's answer as it arrives.
#[derive(Debug, Default)]
pub struct Arriving {
    head: Option<Head>,
    body: BytesMut,
}

impl Arriving {
    /// Status and headers came.
    pub fn head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Body bytes came.
    ///
    /// # Errors
    ///
    /// They are more than an answer may have; nothing of it is of use then.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.body.len() + bytes.len() > METADATA_BODY {
            let message = format!("the edge's answer is longer than {} MiB", METADATA_BODY >> 20);
            return Err(Refusal::new(Code::UpstreamIncomplete, message));
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    /// It is whole.
    #[must_use]
    pub fn end(self, edge: &str) -> Outcome {
        let Some((status, headers)) = self.head.as_ref().and_then(answer_head) else {
            let message = "the edge's answer has a status that is not passed on";
            return Outcome::Failed(Refusal::new(Code::UpstreamIncomplete, message));
        };
        Outcome::Answer(Answer { edge: Some(edge.to_owned()), status, headers, body: self.body.freeze() })
    }
}

/// The edge did not answer within [`crate::core::limits::METADATA_TIME`].
#[must_use]
pub fn too_late() -> Outcome {
    Outcome::Failed(Refusal::new(Code::LocalUnavailable, "the edge did not answer in time; try again"))
}

fn no_room() -> Refusal {
    Refusal::new(Code::Saturated, "the relay holds too many answers about models at once; try again")
}

/// A list's one answer from those of all the edges that were asked, in their order. What went
/// wrong at one edge is told only if no other one did better.
///
/// # Errors
///
/// No edge answered at all, or the relay has no memory for all of them.
pub fn list(route: Upstream, outcomes: Vec<Outcome>, key: &Key) -> Result<Answer, Refusal> {
    let (mut good, mut bad, mut refusal) = (Vec::new(), None, None);
    for outcome in outcomes {
        match outcome {
            Outcome::Answer(answer) if answer.status == StatusCode::OK => good.push(answer),
            Outcome::Answer(answer) => bad = bad.or(Some(answer)),
            Outcome::NotTaken(why) | Outcome::Failed(why) => refusal = refusal.or(Some(why)),
            // A list that silently lacks an edge would say that its models are gone.
            Outcome::NoRoom => return Err(no_room()),
        }
    }
    if good.is_empty() {
        match (bad, refusal) {
            (Some(answer), _) => return Ok(answer),
            (None, Some(refusal)) => return Err(refusal),
            (None, None) => {}
        }
    }
    unite(route, good, key)
}

fn unite(route: Upstream, mut answers: Vec<Answer>, key: &Key) -> Result<Answer, Refusal> {
    let needs_no_filter = key.models.is_empty() || route == Upstream::OllamaVersion;
    if answers.len() == 1 && needs_no_filter {
        return answers.pop().ok_or_else(no_edge);
    }
    let bodies: Vec<&Bytes> = answers.iter().map(|answer| &answer.body).collect();
    let body = if route == Upstream::OllamaVersion {
        lowest_version(&bodies).map(|body| (*body).clone()).ok_or_else(no_edge)?
    } else {
        let kind = if route == Upstream::OpenAiModels { ListKind::OpenAi } else { ListKind::Ollama };
        union(kind, &bodies, key).into()
    };
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    Ok(Answer { edge: None, status: StatusCode::OK, headers, body })
}

fn no_edge() -> Refusal {
    Refusal::new(Code::EdgeOffline, "no edge is linked; check that causewayd runs on the GPU machine")
}

/// What to do next with a question about one model.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// Choose an edge, not one of [`About::tried`], and ask it.
    Ask,
    /// Answer with this.
    Answer(Answer),
    /// Answer with this error.
    Refuse(Refusal),
}

/// A question about one model, from edge to edge.
#[derive(Debug)]
pub struct About {
    route: Upstream,
    tried: Vec<String>,
    /// Edges that were sent the question, count.
    asked: usize,
    /// Why the last edge did not answer, for when there is no other.
    last: Option<Refusal>,
}

impl About {
    /// A question not asked yet.
    #[must_use]
    pub fn new(route: Upstream) -> Self {
        Self { route, tried: Vec::new(), asked: 0, last: None }
    }

    /// Edges that were tried.
    #[must_use]
    pub fn tried(&self) -> &[String] {
        &self.tried
    }

    /// There is no (other) edge: what the caller is told.
    #[must_use]
    pub fn no_edge(self, refusal: Refusal) -> Refusal {
        self.last.unwrap_or(refusal)
    }

    /// Asking this edge ended so.
    pub fn on(&mut self, edge: &str, outcome: Outcome) -> Next {
        self.tried.push(edge.to_owned());
        match outcome {
            Outcome::Answer(answer) => self.answer(answer),
            Outcome::NotTaken(refusal) => {
                self.last = Some(refusal);
                Next::Ask
            }
            Outcome::Failed(refusal) => {
                self.asked += 1;
                if self.asked >= MAX_ATTEMPTS {
                    return Next::Refuse(refusal);
                }
                self.last = Some(refusal);
                Next::Ask
            }
            Outcome::NoRoom => Next::Refuse(no_room()),
        }
    }

    fn answer(&self, mut answer: Answer) -> Next {
        if self.route == Upstream::OllamaShow && answer.status == StatusCode::OK {
            match filter_show(&answer.body) {
                Some(filtered) => answer.body = filtered.into(),
                None => {
                    let message = "the edge's answer is no JSON object";
                    return Next::Refuse(Refusal::new(Code::UpstreamIncomplete, message));
                }
            }
        }
        Next::Answer(answer)
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
