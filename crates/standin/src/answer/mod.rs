//! One answer: the wait for its slot and first token, then one write a token.
//!
//! Invariants: headers go out with the first token, never before, as with Ollama; tokens come on a
//! fixed schedule from the first one, so delays do not add up; every token is flushed by itself,
//! unless its pace says otherwise. Absent: what the bytes look like; each dialect's file in this folder knows that.

mod anthropic;
mod json;
mod native;
mod openai;
mod responses;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::time::Sleep;

use crate::config::{Fault, Pace};
use crate::script::{Call, Piece};
use crate::slots::Run;
use crate::text;

pub(crate) use anthropic::Anthropic;
pub(crate) use json::{rfc3339, string, unix};
pub(crate) use native::{Chat, Generate, quiet};
pub(crate) use openai::{Completion, OpenAiChat};
pub(crate) use responses::Responses;

/// A dialect's bytes for one answer.
pub(crate) trait Encode: Send {
    /// Content type, streamed or whole.
    fn content_type(&self, stream: bool) -> &'static str;
    /// Token `index`; number 0 also opens the stream.
    fn token(&mut self, out: &mut BytesMut, index: u32, text: &str);
    /// The end of a stream.
    fn finish(&mut self, out: &mut BytesMut, stats: &Stats);
    /// The whole answer in one object.
    fn whole(&mut self, out: &mut BytesMut, text: &str, stats: &Stats);

    /// Piece `index` of a scripted answer. Only Ollama's own routes have more than text there.
    fn piece(&mut self, out: &mut BytesMut, index: u32, piece: &Piece) {
        if let Piece::Text(text) = piece {
            self.token(out, index, text);
        }
    }

    /// The whole of a scripted answer.
    fn whole_said(&mut self, out: &mut BytesMut, said: &Said, stats: &Stats) {
        self.whole(out, &said.text, stats);
    }
}

/// A scripted answer, put together.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) calls: Vec<Call>,
}

impl Said {
    fn of(pieces: &[Piece]) -> Self {
        let mut said = Self::default();
        for piece in pieces {
            match piece {
                Piece::Text(text) => said.text.push_str(text),
                Piece::Thinking(text) => said.thinking.push_str(text),
                Piece::Call(call) => said.calls.push(call.clone()),
            }
        }
        said
    }
}

/// What an answer says about itself at its end.
#[derive(Clone, Copy)]
pub(crate) struct Stats {
    pub(crate) total: Duration,
    pub(crate) load: Duration,
    pub(crate) prefill: Duration,
    pub(crate) eval: Duration,
    pub(crate) prompt_tokens: usize,
    pub(crate) tokens: u32,
    pub(crate) limited: bool,
}

/// What is to be said, and the clock readings so far.
pub(crate) struct Plan {
    pub(crate) run: Run,
    /// Its tokens are those of the script, where there is one.
    pub(crate) pace: Pace,
    /// What is said token by token; empty: the invented text.
    pub(crate) script: Vec<Piece>,
    /// The caller set `pace.tokens`.
    pub(crate) limited: bool,
    pub(crate) prompt_tokens: usize,
    pub(crate) came: Instant,
    pub(crate) load: Duration,
    /// Slot and model were there.
    pub(crate) begun: Instant,
}

impl Plan {
    fn stats(&self, first: Instant) -> Stats {
        let now = Instant::now();
        Stats {
            total: now - self.came,
            load: self.load,
            prefill: first - self.begun,
            eval: now - first,
            prompt_tokens: self.prompt_tokens,
            tokens: self.pace.tokens,
            limited: self.limited,
        }
    }

    /// Waits until the first token is there.
    pub(crate) async fn first_token(self, encode: Box<dyn Encode>) -> Answer {
        if !self.pace.first_token.is_zero() {
            tokio::time::sleep(self.pace.first_token).await;
        }
        if self.run.fault == Some(Fault::SilentAfter(0)) {
            std::future::pending::<()>().await;
        }
        let digest = self.run.observations.digests().then_some(text::OFFSET);
        Answer { first: Instant::now(), plan: self, encode, wait: Wait::Nothing, step: Step::Tokens, digest }
    }

    /// Waits until everything is there and writes one object.
    pub(crate) async fn whole(mut self, mut encode: Box<dyn Encode>) -> Bytes {
        if !self.pace.first_token.is_zero() {
            tokio::time::sleep(self.pace.first_token).await;
        }
        let first = Instant::now();
        let rest = self.pace.gap * self.pace.tokens.saturating_sub(1);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        if matches!(self.run.fault, Some(Fault::SilentAfter(_))) {
            std::future::pending::<()>().await;
        }
        self.run.tokens = self.pace.tokens;
        let mut out = BytesMut::with_capacity(512 + 8 * usize::try_from(self.pace.tokens).unwrap_or(0));
        let stats = self.stats(first);
        if self.script.is_empty() {
            encode.whole(&mut out, &text::answer(self.run.seed, self.pace.tokens), &stats);
        } else {
            let said = usize::try_from(self.pace.tokens).ok().and_then(|tokens| self.script.get(..tokens));
            encode.whole_said(&mut out, &Said::of(said.unwrap_or(&self.script)), &stats);
        }
        if self.run.observations.digests() {
            self.run.observations.sent(self.run.seed, text::digest(text::OFFSET, &out));
        }
        self.run.finish();
        out.freeze()
    }
}

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Tokens,
    Ended,
}

/// What the next frame waits for.
enum Wait {
    Nothing,
    /// One turn of the runtime, in which hyper writes what it has.
    Turn,
    Until(Pin<Box<Sleep>>),
}

/// A streamed answer, as hyper's body.
pub(crate) struct Answer {
    plan: Plan,
    encode: Box<dyn Encode>,
    first: Instant,
    wait: Wait,
    step: Step,
    digest: Option<u64>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.step == Step::Ended {
            return Poll::Ready(None);
        }
        match &mut self.wait {
            Wait::Nothing => {}
            Wait::Turn => {
                self.wait = Wait::Nothing;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Wait::Until(timer) => {
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.wait = Wait::Nothing;
            }
        }
        let mut out = BytesMut::with_capacity(256);
        while self.step != Step::Ended {
            let sent = self.plan.run.tokens;
            match self.fault_at(sent, &mut out, context) {
                Turn::Go => self.say(&mut out),
                Turn::Stop(poll) => return poll,
            }
            // What a fault leaves unsaid must not take the tokens before it along.
            if !self.plan.pace.leaves_together() || self.plan.run.fault.is_some() {
                break;
            }
        }
        if let Some(digest) = self.digest {
            let digest = text::digest(digest, &out);
            self.digest = Some(digest);
            if self.step == Step::Ended {
                self.plan.run.observations.sent(self.plan.run.seed, digest);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(out.freeze()))))
    }
}

enum Turn {
    Go,
    Stop(Poll<Option<Result<Frame<Bytes>, io::Error>>>),
}

impl Answer {
    /// Appends the next token, or the end.
    fn say(&mut self, out: &mut BytesMut) {
        let sent = self.plan.run.tokens;
        if sent < self.plan.pace.tokens {
            let (plan, encode) = (&self.plan, &mut self.encode);
            match usize::try_from(sent).ok().and_then(|at| plan.script.get(at)) {
                Some(piece) => encode.piece(out, sent, piece),
                None => encode.token(out, sent, &text::token(plan.run.seed, sent)),
            }
            self.plan.run.tokens = sent + 1;
            self.schedule(sent + 1);
        } else {
            let stats = self.plan.stats(self.first);
            self.encode.finish(out, &stats);
            self.end();
        }
    }

    /// When the next frame is due. The end follows the last token at once; between tokens even a
    /// gap of zero gives hyper one turn, so that it writes what it has.
    fn schedule(&mut self, next: u32) {
        let gap = self.plan.pace.gap;
        self.wait = if gap.is_zero() || next >= self.plan.pace.tokens {
            Wait::Turn
        } else {
            Wait::Until(Box::pin(tokio::time::sleep_until((self.first + gap * next).into())))
        };
    }

    fn end(&mut self) {
        self.step = Step::Ended;
        self.plan.run.finish();
    }

    fn fault_at(&mut self, sent: u32, out: &mut BytesMut, context: &mut Context<'_>) -> Turn {
        match self.plan.run.fault {
            Some(Fault::DieAfter(at)) if sent >= at => {
                self.end();
                Turn::Stop(Poll::Ready(Some(Err(io::Error::other("the stand-in dies on demand")))))
            }
            Some(Fault::ErrorAfter(at)) if sent >= at => {
                out.extend_from_slice(b"{\"error\":\"an error was encountered while running the model\"}\n");
                self.end();
                Turn::Stop(Poll::Ready(Some(Ok(Frame::data(out.split().freeze())))))
            }
            Some(Fault::EndAfter(at)) if sent >= at => {
                self.end();
                Turn::Stop(Poll::Ready(None))
            }
            Some(Fault::SilentAfter(at)) if sent >= at => Turn::Stop(Poll::Pending),
            Some(Fault::EndlessLine) => {
                if sent == 0 {
                    self.plan.run.tokens = 1;
                    out.extend_from_slice(b"{\"model\":\"");
                }
                out.extend_from_slice(&[b'x'; 16_384]);
                context.waker().wake_by_ref();
                Turn::Stop(Poll::Ready(Some(Ok(Frame::data(out.split().freeze())))))
            }
            _ => Turn::Go,
        }
    }
}
