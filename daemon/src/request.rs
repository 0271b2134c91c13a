//! One request from the link to its account.
//!
//! Invariants: no request reaches Ollama for a model that is not known to run on this machine. Every
//! request is accounted exactly once and its stream ends, also when its task is cut off or panics. Absent:
//! what may run (`gate.rs`) and how it runs (`session.rs`).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_dialect::route::{self, Dialect, Target};
use causeway_transport::Received;
use causeway_wire::{Backend, Code, Failure, Head, Open, Outcome, SendRefused};
use tokio::time::timeout;

use crate::catalog::READ_BOUND;
use crate::gate::{self, Plan};
use crate::lookup::look_up;
use crate::now;
use crate::observe::{Finished, Queueing};
use crate::session::Ending;
use crate::session::run::serve;
use crate::work::Work;
use causeway_overflow::Caller;

/// Takes one request to its end and sees that it is accounted, also if it is never polled.
pub(crate) fn run<C: Caller>(work: Arc<Work>, open: Box<Open>, id: String, caller: C) -> impl Future<Output = ()> {
    let account = Account::begin(&work, &open, id.clone());
    let caller = Guarded { caller, first_byte: Arc::clone(&account.first_byte), ended: false, may_cost: false };
    async move {
        let _account = account;
        take(work, open, id, caller).await;
    }
}

async fn take(work: Arc<Work>, mut open: Box<Open>, id: String, mut caller: impl Caller) {
    let judged = tokio::select! {
        biased;
        over = caller.over() => Err(over),
        judged = judge(&work, &mut open) => Ok(judged),
    };
    match judged {
        Ok(Ok(plan)) if plan.route.is_inference() => serve(work, open, plan, id, caller).await,
        Ok(Ok(plan)) => look_up(work, open, plan, id, caller).await,
        Ok(Err(failure)) => refuse(&work, &open, id, failure, &mut caller),
        Err(over) => {
            let code = if let Received::Failed(failure) = &over { failure.code } else { Code::Cancelled };
            caller.fail(Failure::new(code, "the caller left before the request reached Ollama"));
            let ending = if code == Code::Cancelled { Ending::Cancelled } else { Ending::Failed(code) };
            account(&work, &open, id, ending);
        }
    }
}

/// Ends a request that shall not reach Ollama.
pub(crate) fn refuse(work: &Work, open: &Open, id: String, failure: Failure, caller: &mut impl Caller) {
    let ending = Ending::Refused(failure.code);
    caller.fail(failure);
    account(work, open, id, ending);
}

/// Books a request that never reached Ollama.
fn account(work: &Work, open: &Open, id: String, ending: Ending) {
    work.observer.finished(Finished {
        id,
        method: &open.method,
        path: &open.path,
        dialect: dialect(&open.method, &open.path),
        model: None,
        stream: false,
        ending,
        outcome: Outcome::default(),
        first_token: None,
        queueing: Queueing::default(),
        reason: None,
        total: Duration::ZERO,
    });
}

/// Whether the request may go to Ollama. A model that was not in the last catalog is looked for in
/// a new one: it may have been pulled since, and its name may stand for a model elsewhere.
async fn judge(work: &Work, open: &mut Open) -> Result<Plan, Failure> {
    let permitted = |open: &Open| {
        let known = work.catalog.known();
        let is_remote = |name: &str| known.remote.contains(name);
        let mut plan = gate::judge(open, &work.settings.models, &work.routes, is_remote)?;
        let Some(model) = &plan.model else { return Ok((plan, true)) };
        let local = known.local.get(model).cloned();
        plan.is_absent = local.is_none();
        let is_settled = local.is_some() || !plan.allow.local;
        plan.local = local.unwrap_or_default();
        Ok((plan, is_settled))
    };
    let (plan, is_settled) = permitted(open)?;
    if is_settled {
        return Ok(plan);
    }
    let deadline = plan.deadline;
    let asked = now();
    let bound = deadline.unwrap_or(READ_BOUND).min(READ_BOUND);
    if plan.allow.bedrock && is_elsewhere(work, &plan) {
        return Ok(elsewhere(plan));
    }
    let Ok(known) = timeout(bound, work.catalog.read_anew()).await else {
        return Err(not_read(deadline.is_some_and(|deadline| deadline <= READ_BOUND)));
    };
    if let Some(error) = &known.error {
        if plan.allow.bedrock {
            return Ok(elsewhere(plan));
        }
        let message = format!("Ollama does not answer on the edge ({error}): start it, or mend ollama.url");
        return Err(Failure::new(Code::LocalUnavailable, message).retryable());
    }
    let waited = u64::try_from((now() - asked).as_millis()).unwrap_or(u64::MAX);
    open.policy.deadline_ms = open.policy.deadline_ms.map(|deadline| deadline.saturating_sub(waited));
    match permitted(open)? {
        (plan, true) => Ok(plan),
        (plan, false) if plan.allow.bedrock => Ok(elsewhere(plan)),
        (plan, false) => {
            let message = format!("model '{}' not found", plan.model.as_deref().unwrap_or_default());
            Err(Failure::new(Code::ModelNotFound, message).retryable())
        }
    }
}

/// The last list, which was whole, does not have the model, and a mapping names it: nobody needs to wait
/// for another one.
fn is_elsewhere(work: &Work, plan: &Plan) -> bool {
    let named = |name: causeway_dialect::model::ModelName| plan.model.as_deref() == Some(name.as_short());
    work.catalog.known().error.is_none() && work.routes.named().any(named)
}

/// What this machine does not have may still be had.
fn elsewhere(mut plan: Plan) -> Plan {
    plan.allow.local = false;
    plan.is_absent = true;
    plan
}

fn not_read(is_deadline: bool) -> Failure {
    if is_deadline {
        let message = "Ollama did not list its models within the caller's deadline: allow more time \
                       (x-causeway-first-token-ms) or try again later";
        return Failure::new(Code::DeadlineExceeded, message);
    }
    let message = "Ollama does not say on the edge which models it has: see whether it hangs, and try again";
    Failure::new(Code::LocalUnavailable, message).retryable()
}

fn dialect(method: &str, path: &str) -> Dialect {
    match route::classify(method, path) {
        Target::Upstream(route) => route.dialect(),
        Target::Forbidden(dialect) | Target::WrongMethod(dialect, _) | Target::Unknown(dialect) => dialect,
        Target::Root | Target::Causeway => Dialect::Ollama,
    }
}

/// Accounts for a request whose task ends before it could do so itself.
struct Account {
    work: Arc<Work>,
    id: String,
    method: String,
    path: String,
    model: Option<String>,
    opened: Instant,
    first_byte: Arc<OnceLock<Instant>>,
}

impl Account {
    fn begin(work: &Arc<Work>, open: &Open, id: String) -> Self {
        work.observer.began(&id);
        Self {
            work: Arc::clone(work),
            id,
            method: open.method.clone(),
            path: open.path.clone(),
            model: open.model.clone(),
            opened: now(),
            first_byte: Arc::default(),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.work.observer.is_open(&self.id) {
            return;
        }
        let first_byte = self.first_byte.get().copied();
        let served_by = first_byte.map(|_| Backend::Local);
        self.work.observer.finished(Finished {
            id: std::mem::take(&mut self.id),
            method: &self.method,
            path: &self.path,
            dialect: dialect(&self.method, &self.path),
            model: self.model.as_deref(),
            stream: false,
            ending: Ending::Failed(why_cut().code),
            outcome: Outcome { served_by, ..Outcome::default() },
            first_token: first_byte.map(|first| first - self.opened),
            queueing: Queueing::default(),
            reason: None,
            total: now() - self.opened,
        });
    }
}

/// The caller's end; dropped before the answer's end it fails the stream in words.
struct Guarded<C: Caller> {
    caller: C,
    first_byte: Arc<OnceLock<Instant>>,
    ended: bool,
    may_cost: bool,
}

impl<C: Caller> Guarded<C> {
    fn mark(&self) {
        self.first_byte.get_or_init(now);
    }
}

impl<C: Caller> Drop for Guarded<C> {
    fn drop(&mut self) {
        if !self.ended {
            self.caller.fail(if self.may_cost { unknown_cost() } else { why_cut() });
        }
    }
}

impl<C: Caller> Caller for Guarded<C> {
    async fn recv(&mut self) -> Received {
        let received = self.caller.recv().await;
        // The link has failed it already: nothing is left to say.
        self.ended |= matches!(received, Received::Failed(_));
        received
    }

    async fn over(&mut self) -> Received {
        self.caller.over().await
    }

    fn send_head(&mut self, head: Head) {
        self.mark();
        self.caller.send_head(head);
    }

    fn send_head_with(&mut self, head: Head, body: Bytes) -> Result<(), SendRefused> {
        // One that a heartbeat committed does not say who serves.
        if head.headers.iter().any(|(name, _)| name == "x-causeway-served-by") {
            self.mark();
        }
        self.caller.send_head_with(head, body)
    }

    fn send_whole(&mut self, head: Head, body: Bytes, outcome: Outcome) -> Result<(), SendRefused> {
        self.mark();
        let sent = self.caller.send_whole(head, body, outcome);
        self.ended |= sent.is_ok();
        sent
    }

    fn send_now(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.caller.send_now(body)
    }

    async fn send(&mut self, body: Bytes) -> Result<(), SendRefused> {
        self.caller.send(body).await
    }

    fn finish(&mut self, outcome: Option<Outcome>) {
        self.ended = true;
        self.caller.finish(outcome);
    }

    fn fail(&mut self, failure: Failure) {
        self.ended = true;
        self.caller.fail(failure);
    }

    fn may_cost(&mut self) {
        self.may_cost = true;
    }
}

/// A task ends early in two ways: it panics, or the end of the drain cuts it off.
fn why_cut() -> Failure {
    if std::thread::panicking() {
        return Failure::new(Code::Internal, "a fault of the edge's own ended this request: its log says where");
    }
    cut()
}

/// Cut off while Bedrock was asked: the relay counts a fault without an amount as all that it granted, and does
/// not ask another edge.
fn unknown_cost() -> Failure {
    Failure::new(Code::Internal, "the edge stopped while Bedrock was answering: try again")
}

/// What a request is told that the end of the drain cuts off.
pub(crate) fn cut() -> Failure {
    Failure::new(Code::Draining, "the edge stops and could not finish this request in time: try again").retryable()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
