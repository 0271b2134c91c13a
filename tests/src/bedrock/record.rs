//! What the emulator saw: every call with its body, its credential's kind and its end. Secrets are
//! never kept. Who waits for calls is woken by them and never looks twice.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::watch;

use super::errors::ErrorName;
use super::script::Script;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The answer at once.
    Converse,
    /// The answer as a stream.
    ConverseStream,
    /// How many tokens a prompt has.
    CountTokens,
    /// An address that the emulator does not serve.
    Unknown,
}

/// The credential's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Signature version 4.
    SigV4,
    /// A bearer token.
    Bearer,
    /// None, or one of another kind.
    None,
}

/// How a call ended. What was handed to the socket counts as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With the whole answer.
    Whole,
    /// The client went away first.
    ClientLeft,
    /// Refused because the request is wrong: what the service would say.
    Invalid(String),
    /// Refused by script, by chance or for want of a credential.
    Refused(ErrorName),
    /// An exception frame ended the stream.
    Thrown(ErrorName),
    /// The script broke the answer off.
    Broken,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counted from 0 in the order of arrival.
    pub number: usize,
    /// What was asked for.
    pub operation: Operation,
    /// The model id of the address, decoded.
    pub model: String,
    /// The body; null if it is not JSON or did not come whole.
    pub body: Arc<Value>,
    /// The credential's kind.
    pub auth: Auth,
    /// When the request had come whole.
    pub arrived: Instant,
    /// Calls that had not ended when this one came, itself included.
    pub in_flight: usize,
    /// How it ended; none while it runs.
    pub end: Option<End>,
    /// When it ended.
    pub ended: Option<Instant>,
}

impl Call {
    /// The refusal, if the request was wrong.
    #[must_use]
    pub fn invalid(&self) -> Option<&str> {
        match &self.end {
            Some(End::Invalid(why)) => Some(why),
            Some(End::Whole | End::ClientLeft | End::Refused(_) | End::Thrown(_) | End::Broken) | None => None,
        }
    }
}

/// How many calls came and ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) arrived: usize,
    pub(super) ended: usize,
}

pub(super) type Decide = Arc<dyn Fn(&Call) -> Script + Send + Sync>;

/// Calls and what the next ones get, shared by all connections.
pub(super) struct Record {
    inner: Mutex<Inner>,
    pub(super) progress: watch::Sender<Progress>,
}

pub(super) struct Inner {
    pub(super) calls: Vec<Call>,
    pub(super) next: VecDeque<Script>,
    pub(super) otherwise: Decide,
    pub(super) count: Count,
    pub(super) throttle: Option<(u32, StdRng)>,
    pub(super) canary_seen: Vec<usize>,
    pub(super) canary_allowed: bool,
}

/// What CountTokens answers.
#[derive(Debug, Clone, Default)]
pub enum Count {
    /// A token for four bytes of the request's texts.
    #[default]
    Estimated,
    /// This number.
    Tokens(u64),
    /// A refusal.
    Refuse(super::errors::Refusal),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl Record {
    pub(super) fn new() -> Self {
        let inner = Inner {
            calls: Vec::new(),
            next: VecDeque::new(),
            otherwise: Arc::new(|_| Script::text("Hello from the emulator.")),
            count: Count::default(),
            throttle: None,
            canary_seen: Vec::new(),
            canary_allowed: false,
        };
        Self { inner: Mutex::new(inner), progress: watch::Sender::new(Progress::default()) }
    }

    /// A test that panicked while it held the lock leaves a record that is still true.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A call has come; its number and in-flight count are set here.
    pub(super) fn arrive(&self, mut call: Call, canary: bool) -> Call {
        let mut inner = self.lock();
        call.number = inner.calls.len();
        call.in_flight = 1 + inner.calls.iter().filter(|call| call.end.is_none()).count();
        if canary {
            inner.canary_seen.push(call.number);
        }
        inner.calls.push(call.clone());
        self.progress.send_modify(|progress| progress.arrived += 1);
        call
    }

    pub(super) fn end(&self, number: usize, end: End) {
        let mut inner = self.lock();
        let call = &mut inner.calls[number];
        call.end = Some(end);
        call.ended = Some(Instant::now());
        self.progress.send_modify(|progress| progress.ended += 1);
    }
}

/// A running call's claim on its line in the record: dropped without an end, its client has left.
#[derive(Debug)]
pub(super) struct Ticket {
    record: Arc<Record>,
    number: usize,
    open: bool,
}

impl Ticket {
    pub(super) fn new(record: Arc<Record>, number: usize) -> Self {
        Self { record, number, open: true }
    }

    pub(super) fn end(&mut self, end: End) {
        if std::mem::take(&mut self.open) {
            self.record.end(self.number, end);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(End::ClientLeft);
    }
}
