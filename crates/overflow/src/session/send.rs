//! What goes to the caller: head, bytes, signs of life, the end in its dialect.
//!
//! Invariant: the head goes out once, before everything else; what was not known when a heartbeat
//! committed it is told at the end. Absent: when (`session.rs`).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use causeway_dialect::route::Shape;
use causeway_transport::Received;
use causeway_wire::{Code, Failure, Head, Outcome, SendRefused};
use serde_json::{Map, Value};

use super::answer::{Origin, Writer};
use super::{Ending, Session};
use crate::caller::Caller;
use crate::now;

/// A single answer up to this size goes out as one message with its head, bytes; a larger one
/// flows as the window allows.
const SINGLE_MESSAGE: usize = 64 * 1024;

/// How far the head of the answer got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Nothing,
    /// A heartbeat committed it: the rest is told at the end.
    Bare,
    Full,
}

/// An answer being written.
pub trait Answering {
    /// What writes it.
    fn writer(&self) -> &Writer;
    /// The same, to write.
    fn writer_mut(&mut self) -> &mut Writer;
    /// Where it comes from, as far as this session knows.
    fn origin(&self, session: &Session) -> Origin<'_>;
}

/// The caller's stream and what it has been sent.
pub struct Sender<C> {
    /// The stream itself.
    pub caller: C,
    head: Sent,
}

impl<C: Caller> Sender<C> {
    /// Nothing was sent yet.
    pub fn new(caller: C) -> Self {
        Self { caller, head: Sent::Nothing }
    }

    /// Writes what was read. A single answer is only gathered.
    pub fn pass(&mut self, prepared: Option<&mut impl Answering>, session: &mut Session) -> Result<(), SendRefused> {
        let Some(prepared) = prepared else { return Ok(()) };
        let mut out = Vec::new();
        prepared.writer_mut().write(nanos(), &mut out);
        if !out.is_empty() {
            session.spoke(now());
            return self.send_now(prepared, session, out.into());
        }
        // The first token commits the headers, also where the dialect does not show it.
        if prepared.writer().shape() != Shape::Whole && self.head == Sent::Nothing {
            self.head = Sent::Full;
            self.caller.send_head(head_of(prepared, session));
        }
        Ok(())
    }

    /// Shows that the request is alive.
    pub async fn heartbeat(
        &mut self,
        prepared: Option<&mut impl Answering>,
        session: &mut Session,
    ) -> Result<(), SendRefused> {
        let Some(prepared) = prepared else { return Ok(()) };
        let mut out = Vec::new();
        prepared.writer_mut().heartbeat(nanos(), &mut out);
        session.spoke(now());
        if self.head == Sent::Nothing {
            self.head = Sent::Bare;
            return self.caller.send_head_with(prepared.writer().head(None), out.into());
        }
        self.caller.send_now(out.into())
    }

    /// Writes the end of a whole answer.
    pub async fn finish(
        &mut self,
        prepared: Option<&mut impl Answering>,
        session: &Session,
    ) -> Result<(), SendRefused> {
        let outcome = session.outcome(now());
        let Some(prepared) = prepared else {
            self.caller.finish(Some(outcome));
            return Ok(());
        };
        let trailer = self.trailer(prepared, session, None);
        let mut out = Vec::new();
        prepared.writer_mut().finish(nanos(), trailer, &mut out);
        self.send_last(prepared, session, out.into(), outcome).await
    }

    /// Ends an answer whose headers are out with an error of its dialect.
    pub async fn end_with(
        &mut self,
        prepared: Option<&mut impl Answering>,
        session: &Session,
        failure: Failure,
    ) -> Result<(), SendRefused> {
        let Some(prepared) = prepared.filter(|_| self.head != Sent::Nothing) else {
            self.caller.fail(failure);
            return Ok(());
        };
        let Failure { code, message, outcome, .. } = failure;
        let trailer = self.trailer(prepared, session, Some(code));
        let mut out = Vec::new();
        prepared.writer_mut().fail(nanos(), code, &message, trailer, &mut out);
        self.send_last(prepared, session, out.into(), Outcome { broke: Some(code), ..outcome }).await
    }

    /// The answer cannot be passed on: the link ended the stream, by itself or because of a cancel.
    pub async fn give_up(&mut self, session: &mut Session, refused: SendRefused) {
        let (ending, message) = match refused {
            SendRefused::Overrun => {
                (Ending::Failed(Code::SlowReader), "the caller read too slowly: the buffer is full")
            }
            SendRefused::Ended => (self.why_ended().await, "the stream ended before its answer did"),
        };
        let failure = session.overtaken(now(), ending, message);
        self.caller.fail(failure);
    }

    /// What the link has to say of a stream that it ended; nothing if it says nothing at once.
    async fn why_ended(&mut self) -> Ending {
        let said = tokio::select! {
            biased;
            received = self.caller.recv() => Some(received),
            () = std::future::ready(()) => None,
        };
        match said {
            Some(Received::Cancelled(_)) => Ending::Cancelled,
            Some(Received::Failed(failure)) => Ending::Failed(failure.code),
            Some(Received::Head(_) | Received::Data(_) | Received::End(_)) | None => Ending::Failed(Code::LinkLost),
        }
    }

    fn send_now(&mut self, prepared: &impl Answering, session: &Session, bytes: Bytes) -> Result<(), SendRefused> {
        if self.head != Sent::Nothing {
            return self.caller.send_now(bytes);
        }
        self.head = Sent::Full;
        let head = head_of(prepared, session);
        self.caller.send_head_with(head, bytes)
    }

    async fn send_last(
        &mut self,
        prepared: &impl Answering,
        session: &Session,
        bytes: Bytes,
        outcome: Outcome,
    ) -> Result<(), SendRefused> {
        if prepared.writer().shape() != Shape::Whole {
            if bytes.len() > SINGLE_MESSAGE {
                // An end may repeat the whole answer. Ollama is done: the caller's pace may hold it up.
                if self.head == Sent::Nothing {
                    self.head = Sent::Full;
                    self.caller.send_head(head_of(prepared, session));
                }
                self.caller.send(bytes).await?;
            } else if !bytes.is_empty() {
                self.send_now(prepared, session, bytes)?;
            }
            self.caller.finish(Some(outcome));
            return Ok(());
        }
        if self.head == Sent::Nothing {
            self.head = Sent::Full;
            let head = head_of(prepared, session);
            if bytes.len() <= SINGLE_MESSAGE {
                return self.caller.send_whole(head, bytes, outcome);
            }
            self.caller.send_head(head);
        }
        self.caller.send(bytes).await?;
        self.caller.finish(Some(outcome));
        Ok(())
    }

    /// What a head could not say: all of it where a heartbeat committed it, else what was not known then.
    fn trailer(&self, prepared: &impl Answering, session: &Session, why: Option<Code>) -> Map<String, Value> {
        let mut trailer = Map::new();
        let broke = why.map(|why| ("reason", why.as_str().to_owned()));
        let origin = prepared.origin(session);
        let members = origin.members().filter(|(name, _)| match self.head {
            Sent::Bare => session.has_begun(),
            Sent::Full => *name == "cost_usd",
            // The head goes out with the last bytes, and says all but that.
            Sent::Nothing => false,
        });
        for (name, value) in members.chain(broke) {
            trailer.insert(name.to_owned(), value.into());
        }
        trailer
    }
}

fn head_of(prepared: &impl Answering, session: &Session) -> Head {
    prepared.writer().head(Some(&prepared.origin(session)))
}

/// Nanoseconds since 1970.
fn nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
