//! What a call gets, said in the order in which it happens: blocks of content, waits, and at most
//! one thing that goes wrong. One script answers Converse and ConverseStream alike.

use std::time::Duration;

use serde_json::Value;

use super::errors::Refusal;

/// The answer to one call.
///
/// Positions of faults count events, `messageStart` included: `after = 1` is after `messageStart`.
/// A position past the last event changes nothing; a second fault replaces the first.
/// Text and reasoning come without `contentBlockStart`, as from the service.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) blocks: Vec<Block>,
    pub(super) interleaved: bool,
    pub(super) obeys_max_tokens: bool,
    pub(super) stop: Option<String>,
    pub(super) usage: Usage,
    pub(super) waits: Waits,
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) opening: Opening,
}

/// One block of content.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Text(Vec<String>),
    Tool { id: String, name: String, fragments: Vec<String> },
    Reasoning { pieces: Vec<String>, signature: Vec<String> },
    Redacted(Vec<u8>),
    Raw { event: String, payload: Value },
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    pub(super) head: Duration,
    pub(super) first_token: Duration,
    pub(super) between: Duration,
    pub(super) metadata: Duration,
}

/// How the answer begins.
#[derive(Debug, Clone, Default)]
pub(super) enum Opening {
    #[default]
    Answer,
    Refuse(Refusal),
    /// The connection is accepted, the request read, and nothing ever comes.
    Silence,
    /// The connection is closed without an answer.
    HangUp,
}

#[derive(Debug, Clone)]
pub(super) enum Fault {
    Exception(Refusal),
    Hang,
    HalfFrame,
    EndOfBody,
    Reset,
    WrongChecksum,
    Guardrail(String),
}

/// What the answer says of its tokens.
#[derive(Debug, Clone, Default)]
pub enum Usage {
    /// What the emulator counted: a token for every piece, and one for four bytes of the request's texts.
    #[default]
    Counted,
    /// These numbers, right or wrong.
    Exact(Tokens),
    /// Metadata that lacks `usage`.
    Missing,
    /// No metadata at all.
    NoMetadata,
}

/// Numbers of a usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens of the prompt that were neither read from nor written to a cache.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// The sum that the answer claims; none for the true one.
    pub total: Option<u64>,
    /// Tokens of the prompt that a cache held.
    pub cache_read: Option<u64>,
    /// Tokens of the prompt that a cache now holds.
    pub cache_write: Option<u64>,
}

impl Script {
    /// An answer without content, to be filled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One text block in one piece.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new().say([text.into()])
    }

    /// One text block of `count` invented pieces of a token each; a smaller `maxTokens` cuts it.
    #[must_use]
    pub fn tokens(count: usize) -> Self {
        let mut script = Self::new().say((0..count).map(|number| format!("word{number} ")));
        script.obeys_max_tokens = true;
        script
    }

    /// The call is refused before anything is answered.
    #[must_use]
    pub fn refuse(refusal: impl Into<Refusal>) -> Self {
        Self { opening: Opening::Refuse(refusal.into()), ..Self::default() }
    }

    /// The call is never answered.
    #[must_use]
    pub fn silence() -> Self {
        Self { opening: Opening::Silence, ..Self::default() }
    }

    /// The connection is closed without an answer.
    #[must_use]
    pub fn hang_up() -> Self {
        Self { opening: Opening::HangUp, ..Self::default() }
    }

    /// A text block in pieces.
    #[must_use]
    pub fn say<T: Into<String>>(mut self, pieces: impl IntoIterator<Item = T>) -> Self {
        self.blocks.push(Block::Text(pieces.into_iter().map(Into::into).collect()));
        self
    }

    /// A tool call whose arguments come in fragments; none for a call without arguments.
    #[must_use]
    pub fn call_tool<T: Into<String>>(
        mut self,
        id: impl Into<String>,
        name: impl Into<String>,
        fragments: impl IntoIterator<Item = T>,
    ) -> Self {
        let fragments = fragments.into_iter().map(Into::into).collect();
        self.blocks.push(Block::Tool { id: id.into(), name: name.into(), fragments });
        self
    }

    /// Reasoning in pieces, then its signature in pieces, each piece a delta of its own.
    #[must_use]
    pub fn think<T: Into<String>, S: Into<String>>(
        mut self,
        pieces: impl IntoIterator<Item = T>,
        signature: impl IntoIterator<Item = S>,
    ) -> Self {
        let pieces = pieces.into_iter().map(Into::into).collect();
        let signature = signature.into_iter().map(Into::into).collect();
        self.blocks.push(Block::Reasoning { pieces, signature });
        self
    }

    /// Reasoning that the provider encrypted.
    #[must_use]
    pub fn redacted(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.blocks.push(Block::Redacted(content.into()));
        self
    }

    /// Any event, as it is.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>, payload: Value) -> Self {
        self.blocks.push(Block::Raw { event: event.into(), payload });
        self
    }

    /// The blocks' events alternate instead of following block by block.
    #[must_use]
    pub fn interleaved(mut self) -> Self {
        self.interleaved = true;
        self
    }

    /// The stop reason; otherwise `tool_use` after a tool call and `end_turn` without one.
    #[must_use]
    pub fn stop(mut self, reason: impl Into<String>) -> Self {
        self.stop = Some(reason.into());
        self
    }

    /// What is said of tokens.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// These numbers of tokens of prompt and answer.
    #[must_use]
    pub fn used(self, input: u64, output: u64) -> Self {
        self.usage(Usage::Exact(Tokens { input, output, ..Tokens::default() }))
    }

    /// A wait before the first byte of the answer, its HTTP head (also of a refusal).
    #[must_use]
    pub fn first_byte_after(mut self, wait: Duration) -> Self {
        self.waits.head = wait;
        self
    }

    /// A wait between `messageStart` and the first piece of content.
    #[must_use]
    pub fn first_token_after(mut self, wait: Duration) -> Self {
        self.waits.first_token = wait;
        self
    }

    /// A wait before every further piece.
    #[must_use]
    pub fn token_every(mut self, wait: Duration) -> Self {
        self.waits.between = wait;
        self
    }

    /// A wait between `messageStop` and the metadata.
    #[must_use]
    pub fn metadata_after(mut self, wait: Duration) -> Self {
        self.waits.metadata = wait;
        self
    }

    /// An exception frame ends the stream.
    #[must_use]
    pub fn throw_after(self, events: usize, refusal: impl Into<Refusal>) -> Self {
        self.fault(events, Fault::Exception(refusal.into()))
    }

    /// Nothing more comes, and the connection stays open.
    #[must_use]
    pub fn hang_after(self, events: usize) -> Self {
        self.fault(events, Fault::Hang)
    }

    /// Half of the next frame, and then the HTTP body ends as if it were whole.
    #[must_use]
    pub fn truncate_after(self, events: usize) -> Self {
        self.fault(events, Fault::HalfFrame)
    }

    /// The HTTP body ends in order, between two frames and without `messageStop`.
    #[must_use]
    pub fn close_after(self, events: usize) -> Self {
        self.fault(events, Fault::EndOfBody)
    }

    /// The connection is closed in the middle of the HTTP body.
    #[must_use]
    pub fn reset_after(self, events: usize) -> Self {
        self.fault(events, Fault::Reset)
    }

    /// The next frame's checksum is wrong; the rest follows as if nothing were.
    #[must_use]
    pub fn corrupt_after(self, events: usize) -> Self {
        self.fault(events, Fault::WrongChecksum)
    }

    /// A guardrail replaces the rest by its own words and stops with `guardrail_intervened`.
    #[must_use]
    pub fn guardrail_after(self, events: usize, words: impl Into<String>) -> Self {
        self.fault(events, Fault::Guardrail(words.into()))
    }

    fn fault(mut self, events: usize, fault: Fault) -> Self {
        self.fault = Some((events, fault));
        self
    }
}
