//! Bedrock's answer, read into the canonical events.
//!
//! Invariants: exactly one terminal event, the last; a call is told whole, once its block has ended;
//! the end is told only with [`Reader::finish`], because the counts come after Bedrock's own end.
//! Absent: waiting for them, and times (the driver has the clock).

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

mod blocks;
mod whole;

use std::time::Duration;

use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ConverseStreamOutput as Piece, ReasoningContentBlockDelta, StopReason as Stop, TokenUsage,
};
use aws_smithy_types::Document;
use causeway_dialect::event::{Durations, Event, Finish, StopReason, Usage};
use causeway_wire::Code;

use crate::document;
use crate::names::Names;
use blocks::Blocks;
pub(crate) use whole::pieces;

/// Reads one answer.
#[derive(Clone, Debug)]
pub struct Reader {
    names: Names,
    blocks: Blocks,
    stop: Option<Stop>,
    stop_sequence: Option<String>,
    usage: Option<TokenUsage>,
    /// The counts came, or word that there are none.
    counted: bool,
    called: bool,
    /// Told so far, about, count.
    tokens: u64,
    ended: bool,
}

/// Bytes of a token, about, where only the bytes are known.
const BYTES: usize = 4;

/// How long an answer took, by the driver's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// To the first piece.
    pub first: Duration,
    /// To the end.
    pub total: Duration,
}

impl Reader {
    /// `writes_text`: the arguments of the one call are the answer's text.
    pub(crate) fn new(names: Names, writes_text: bool) -> Self {
        Self {
            names,
            blocks: Blocks::new(writes_text),
            stop: None,
            stop_sequence: None,
            usage: None,
            counted: false,
            called: false,
            tokens: 0,
            ended: false,
        }
    }

    /// Takes the next piece and appends what it says.
    pub fn feed(&mut self, piece: Piece, events: &mut Vec<Event>) {
        if self.ended {
            return;
        }
        match piece {
            Piece::ContentBlockStart(start) => self.blocks.start(start.content_block_index, start.start),
            Piece::ContentBlockDelta(delta) => {
                self.tokens += tokens(delta.delta.as_ref());
                if self.blocks.delta(delta.content_block_index, delta.delta, events).is_err() {
                    self.fail("a call of a function in Bedrock's answer is over 8 MiB", events);
                }
            }
            Piece::ContentBlockStop(stop) => self.close(stop.content_block_index, events),
            Piece::MessageStop(stop) => {
                self.stop_sequence = stop.additional_model_response_fields.as_ref().and_then(stop_sequence);
                self.stop = Some(stop.stop_reason);
            }
            Piece::Metadata(metadata) => {
                self.counted = true;
                // The SDK reads counts that are missing as zeros.
                self.usage = metadata.usage.filter(|usage| usage.input_tokens > 0 || usage.output_tokens > 0);
            }
            Piece::MessageStart(_) => {}
            // A kind that this version does not know says nothing that it could tell.
            _ => {}
        }
    }

    fn close(&mut self, index: i32, events: &mut Vec<Event>) {
        match self.blocks.stop(index) {
            Ok(Some(mut call)) => {
                call.name = self.names.back(&call.name);
                self.called = true;
                events.push(Event::ToolCall(call));
            }
            Ok(None) => {}
            Err(_) => self.fail("the model's call of a function has arguments that are no JSON object", events),
        }
    }

    /// Bedrock has said its end; only the counts may follow.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Nothing is to come any more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ended || (self.stop.is_some() && self.counted)
    }

    /// The terminal event has been told.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Tokens told so far, about, count: a piece may hold several.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.tokens
    }

    /// Tokens as Bedrock counts them, those of a cache included in the prompt's: what is billed apart
    /// from the cache's prices.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(usage)
    }

    /// Of the prompt's tokens, those that were written to a cache.
    #[must_use]
    pub fn written(&self) -> u64 {
        let written = self.usage.as_ref().and_then(|usage| usage.cache_write_input_tokens);
        written.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(0)
    }

    /// The pieces have ended, or the counts will not come.
    pub fn finish(&mut self, times: Times, events: &mut Vec<Event>) {
        if self.ended {
            return;
        }
        let Some(stop) = self.stop.clone() else {
            return self.fail("Bedrock's answer ended before its end was said; try again", events);
        };
        if self.blocks.has_open_call() && matches!(stop, Stop::ToolUse | Stop::EndTurn) {
            return self.fail("a call of a function in Bedrock's answer has no end; try again", events);
        }
        if matches!(stop, Stop::MalformedModelOutput | Stop::MalformedToolUse) {
            return self.fail("the model wrote something that is no answer or no call; try again", events);
        }
        self.ended = true;
        events.push(Event::Finish(Box::new(Finish {
            reason: self.reason(&stop),
            stop_sequence: self.stop_sequence.take(),
            usage: self.usage().unwrap_or_default(),
            durations: durations(times),
            native: serde_json::Map::new(),
        })));
    }

    fn reason(&self, stop: &Stop) -> StopReason {
        match stop {
            Stop::StopSequence => StopReason::StopSequence,
            Stop::MaxTokens | Stop::ModelContextWindowExceeded => StopReason::Length,
            Stop::GuardrailIntervened | Stop::ContentFiltered => StopReason::ContentFilter,
            Stop::ToolUse if self.called => StopReason::ToolCalls,
            // Some models say they were done after a call, too.
            _ if self.called => StopReason::ToolCalls,
            _ => StopReason::Stop,
        }
    }

    fn fail(&mut self, message: &str, events: &mut Vec<Event>) {
        self.ended = true;
        events.push(Event::Failed { code: Code::UpstreamIncomplete, message: message.to_owned() });
    }
}

/// Tokens of one piece, about; at least one.
fn tokens(delta: Option<&ContentBlockDelta>) -> u64 {
    let bytes = match delta {
        Some(ContentBlockDelta::Text(text)) => text.len(),
        Some(ContentBlockDelta::ToolUse(call)) => call.input.len(),
        Some(ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(text))) => text.len(),
        _ => 0,
    };
    bytes.div_ceil(BYTES).max(1) as u64
}

/// Which text ended it, as Claude tells (`/stop_sequence`).
fn stop_sequence(fields: &Document) -> Option<String> {
    document::to_json(fields).get("stop_sequence")?.as_str().map(str::to_owned)
}

fn usage(usage: &TokenUsage) -> Usage {
    let count = |tokens: i32| u64::try_from(tokens).unwrap_or(0);
    let cached = usage.cache_read_input_tokens.map(count);
    let written = usage.cache_write_input_tokens.map_or(0, count);
    Usage {
        input: Some(count(usage.input_tokens) + cached.unwrap_or(0) + written),
        output: Some(count(usage.output_tokens)),
        cached,
    }
}

/// As Ollama counts: the prompt until the first token, the answer from then on, nothing loaded.
fn durations(times: Times) -> Durations {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let first = times.first.min(times.total);
    Durations { total: nanos(times.total), load: Some(0), prompt_eval: nanos(first), eval: nanos(times.total - first) }
}
