//! Questions about models, which take no slot: lists, `show`, the version; and `count_tokens`.
//!
//! Invariants: what leaves the machine is filtered and whole; the caller's deadline and a bound of
//! time hold. Absent: what is taken out (`filter.rs`), counting (`job.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_dialect::anthropic::count;
use causeway_dialect::envelope;
use causeway_dialect::model::ModelName;
use causeway_dialect::native;
use causeway_dialect::route::Upstream;
use causeway_transport::Received;
use causeway_wire::{Backend, Code, Failure, Head, Open, Outcome};
use tokio::time::timeout;

use crate::filter;
use crate::gate::Plan;
use crate::now;
use crate::observe::{Finished, Queueing};
use crate::ollama::{self, head_of};
use crate::session::{Ending, MAX_BODY, Trouble};
use crate::work::{BodyShare, Work};
use causeway_overflow::Caller;

/// The body and Ollama's answer, together: these are small, and nothing is computed.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer up to this size goes out as one message, bytes.
const SINGLE_MESSAGE: usize = 64 * 1024;

/// Answers one question and accounts for it.
pub(crate) async fn look_up(work: Arc<Work>, open: Box<Open>, plan: Plan, id: String, mut caller: impl Caller) {
    let opened = now();
    let mut share = work.bodies.share();
    let limit = plan.deadline.map_or(LIMIT, |deadline| deadline.min(LIMIT));
    let answered = timeout(limit, answer(&work, &open, &plan, &mut share, &mut caller)).await;
    let answered = answered.unwrap_or_else(|_| {
        let code = if limit < LIMIT { Code::DeadlineExceeded } else { Code::LocalUnavailable };
        let message = format!("Ollama did not answer within {} ms: try again later", limit.as_millis());
        Err(Stop::Fail(Failure::new(code, message)))
    });
    let total = now() - opened;
    let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
    let outcome = Outcome { total_ms: Some(total_ms), ..Outcome::default() };
    let (ending, outcome) = match answered {
        Ok((head, body)) => {
            let outcome = Outcome { served_by: Some(Backend::Local), first_token_ms: Some(total_ms), ..outcome };
            (send(&mut caller, head, body, outcome.clone()).await, outcome)
        }
        Err(Stop::Fail(failure)) => {
            let refused = matches!(failure.code, Code::InvalidRequest | Code::TooLarge | Code::Saturated);
            let ending = if refused { Ending::Refused(failure.code) } else { Ending::Failed(failure.code) };
            caller.fail(Failure { outcome: outcome.clone(), ..failure });
            (ending, outcome)
        }
        Err(Stop::Left(ending)) => {
            caller.fail(Failure::new(Code::Cancelled, "cancelled: the caller left or asked for it"));
            (ending, outcome)
        }
    };
    work.observer.finished(Finished {
        id,
        method: &open.method,
        path: &open.path,
        dialect: plan.route.dialect(),
        model: plan.model.as_deref(),
        stream: false,
        ending,
        outcome,
        first_token: None,
        queueing: Queueing::default(),
        reason: None,
        total,
    });
}

/// Why there is no answer.
enum Stop {
    Fail(Failure),
    /// The caller or the link went away.
    Left(Ending),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

async fn answer(
    work: &Work,
    open: &Open,
    plan: &Plan,
    share: &mut BodyShare,
    caller: &mut impl Caller,
) -> Result<(Head, Bytes), Stop> {
    let body = receive(share, caller).await?;
    if plan.route == Upstream::AnthropicCountTokens {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let tokens = count(work, plan, body).await?;
        return Ok((Head { status: 200, headers }, count::answer(tokens).into()));
    }
    let model = plan.model.as_deref();
    let body = match plan.route.method() {
        "GET" => None,
        _ => {
            let body = envelope::rewrite(&body, model, open.stream);
            Some(Bytes::from(body.map_err(|bad| Failure::new(Code::InvalidRequest, bad.to_string()))?))
        }
    };
    let asking = work.ollama.ask(plan.route, model, &open.headers, body);
    tokio::select! {
        biased;
        over = caller.over() => Err(Stop::Left(ending(&over))),
        answer = ask(work, plan, asking) => answer.map_err(Stop::Fail),
    }
}

/// Tokens of a prompt: as Bedrock counts them, which costs nothing, for a model that only it has; for any
/// other, and where Bedrock does not say, as they are estimated.
async fn count(work: &Work, plan: &Plan, body: Vec<u8>) -> Result<u64, Failure> {
    let overflow = work.overflow.as_ref().filter(|_| plan.is_absent && plan.allow.bedrock);
    let model = plan.model.as_deref().and_then(|model| ModelName::parse(model).ok());
    let mapping = overflow.and(model).and_then(|model| work.routes.mapping(&model).cloned());
    // Beside the one thread that all streams share: a body may be large.
    let read = move || crate::job::count_tokens(&body, mapping.as_ref().map(|mapping| &mapping.target));
    let read = tokio::task::spawn_blocking(read).await;
    let (estimate, mapped) = read.unwrap_or_else(|error| Err(Failure::new(Code::Internal, error.to_string())))?;
    let Some((overflow, mapped)) = overflow.zip(mapped) else { return Ok(estimate) };
    let counted = overflow.count(&mapped).await.inspect_err(|fault| tracing::debug!(%fault, "tokens are estimated"));
    Ok(counted.unwrap_or(estimate))
}

/// The caller's body, if it has one.
async fn receive(share: &mut BodyShare, caller: &mut impl Caller) -> Result<Vec<u8>, Stop> {
    let mut body = Vec::new();
    loop {
        match caller.recv().await {
            Received::Data(bytes) => {
                if body.len() + bytes.len() > MAX_BODY {
                    return Err(Failure::new(Code::TooLarge, "the request body is over 32 MiB: send less").into());
                }
                if !share.grow(bytes.len()) {
                    let message = "the edge holds too many request bodies at once: try again";
                    return Err(Failure::new(Code::Saturated, message).retryable().into());
                }
                body.extend_from_slice(&bytes);
            }
            Received::End(_) => return Ok(body),
            over @ (Received::Failed(_) | Received::Cancelled(_)) => return Err(Stop::Left(ending(&over))),
            Received::Head(_) => {}
        }
    }
}

async fn ask(work: &Work, plan: &Plan, asking: ollama::Asking) -> Result<(Head, Bytes), Failure> {
    let mut answer = asking.await.map_err(unreachable)?;
    let head = head_of(&answer, plan.model.as_deref());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(ollama::trouble(&error)))? {
        if body.len() + chunk.len() > filter::MAX_METADATA {
            return Err(unfit());
        }
        body.extend_from_slice(&chunk);
    }
    if head.status != 200 {
        let (code, message) = native::fault(head.status, &body);
        return Err(Failure::new(code, message));
    }
    if filter::applies(plan.route) {
        body = filter::apply(plan.route, &body, &work.settings.models).ok_or_else(unfit)?;
    }
    Ok((head, body.into()))
}

async fn send(caller: &mut impl Caller, head: Head, body: Bytes, outcome: Outcome) -> Ending {
    let sent = if body.len() <= SINGLE_MESSAGE {
        caller.send_whole(head, body, outcome)
    } else {
        caller.send_head(head);
        let sent = caller.send(body).await;
        if sent.is_ok() {
            caller.finish(Some(outcome));
        }
        sent
    };
    match sent {
        Ok(()) => Ending::Served(200),
        Err(_) => {
            caller.fail(Failure::new(Code::LinkLost, "the stream ended before its answer did"));
            Ending::Failed(Code::LinkLost)
        }
    }
}

fn ending(over: &Received) -> Ending {
    match over {
        Received::Failed(failure) => Ending::Failed(failure.code),
        Received::Cancelled(_) | Received::Head(_) | Received::Data(_) | Received::End(_) => Ending::Cancelled,
    }
}

fn unfit() -> Failure {
    let message = "Ollama's answer is not what this route promises: it is not passed on";
    Failure::new(Code::UpstreamIncomplete, message)
}

fn unreachable(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Down(detail) => {
            let message = format!("Ollama does not answer on the edge ({detail}): start it, or mend ollama.url");
            Failure::new(Code::LocalUnavailable, message).retryable()
        }
        Trouble::Cut(detail) => {
            let message = format!("the connection to Ollama broke off ({detail}): try again");
            Failure::new(Code::UpstreamIncomplete, message)
        }
        Trouble::BadRequest(detail) => Failure::new(Code::InvalidRequest, detail),
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
