//! What a stand-in offers, how fast it is, and how it misbehaves on demand.
//!
//! Invariant: a default configuration behaves like a healthy Ollama with one small model.
//! Absent: reading it from a file or flags; the callers build it in code.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A whole stand-in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The models of `/api/tags`. None at all is allowed.
    pub models: Vec<Model>,
    /// Slots of each model that does not say its own: Ollama's `OLLAMA_NUM_PARALLEL`.
    pub parallel: usize,
    /// Speed and length of answers of each model that does not say its own.
    pub pace: Pace,
    /// Refuse foreign `Host` and `Origin` headers with an empty 403, as Ollama on loopback does.
    pub check_host: bool,
    /// How many of the last requests are kept, headers and body, for [`crate::Handle::requests`].
    pub record: usize,
    /// Keep a digest of every answer's body for [`crate::Handle::take_digest`].
    pub digest: bool,
    /// Keep when each answer came, began and ended, for [`crate::Handle::runs`].
    pub log_runs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            models: vec![Model::named("standin:latest")],
            parallel: 1,
            pace: Pace::default(),
            check_host: true,
            record: 0,
            digest: false,
            log_runs: false,
        }
    }
}

/// How long an answer is and how fast it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Tokens of an answer whose request sets no limit. A limit gives exactly that many.
    pub tokens: u32,
    /// From having a slot to the first token.
    pub first_token: Duration,
    /// From token to token, on a fixed schedule. Zero: as fast as possible.
    pub gap: Duration,
    /// An answer without gaps leaves in one write; otherwise each token is written by itself, as
    /// Ollama does.
    pub together: bool,
}

impl Pace {
    /// The whole answer is one write.
    pub(crate) fn leaves_together(self) -> bool {
        self.together && self.gap.is_zero()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { tokens: 16, first_token: Duration::ZERO, gap: Duration::ZERO, together: false }
    }
}

/// One model on offer.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name with its tag, as `/api/tags` shows it.
    pub name: String,
    /// Own speed, else the stand-in's.
    pub pace: Option<Pace>,
    /// How much the lengths of answers differ: the standard deviation of their logarithm. Zero: not at
    /// all. A prompt's answer is always as long; [`Pace::tokens`] is the median over prompts.
    pub variety: f64,
    /// Own slots, else the stand-in's.
    pub parallel: Option<usize>,
    /// What every request to this model meets.
    pub fault: Option<Fault>,
    /// The time that loading takes when the model is not resident.
    pub load: Duration,
    /// Context length in tokens (a token counts as four bytes here).
    pub context: usize,
    /// Length of an embedding.
    pub embedding: usize,
    /// Writes texts; else it only makes vectors, and all else is a 400.
    pub writes: bool,
    /// Calls tools, by the rules at the head of `script.rs`; else `tools` is a 400.
    pub tools: bool,
    /// Thinks, unless told not to; else asking for it is a 400.
    pub thinking: bool,
    /// Says what it sees; else pictures change nothing.
    pub vision: bool,
    /// The machine that a real Ollama would forward requests for this model to, as `/api/tags` says.
    pub remote_host: Option<String>,
}

impl Model {
    /// A small healthy model. A name without a tag gets `:latest`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Self {
            name: if tagged { name.to_owned() } else { format!("{name}:latest") },
            pace: None,
            variety: 0.0,
            parallel: None,
            fault: None,
            load: Duration::ZERO,
            context: 8192,
            embedding: 64,
            writes: true,
            tools: false,
            thinking: false,
            vision: false,
            remote_host: None,
        }
    }

    /// The same with its own speed.
    #[must_use]
    pub fn paced(mut self, tokens: u32, first_token: Duration, gap: Duration) -> Self {
        self.pace = Some(Pace { tokens, first_token, gap, together: false });
        self
    }

    /// The same with answers that are there at once and leave in one write, see [`Pace::together`].
    #[must_use]
    pub fn at_once(mut self, tokens: u32) -> Self {
        self.pace = Some(Pace { tokens, together: true, ..Pace::default() });
        self
    }

    /// The same with answers of differing lengths, see [`Model::variety`].
    #[must_use]
    pub fn varied(mut self, variety: f64) -> Self {
        self.variety = variety;
        self
    }

    /// The same with its own number of slots.
    #[must_use]
    pub fn slots(mut self, parallel: usize) -> Self {
        self.parallel = Some(parallel);
        self
    }

    /// The same, calling tools and seeing pictures.
    #[must_use]
    pub fn able(mut self) -> Self {
        self.tools = true;
        self.vision = true;
        self
    }

    /// The same, thinking before it answers.
    #[must_use]
    pub fn thinking(mut self) -> Self {
        self.thinking = true;
        self
    }

    /// The same, by its manifest only a name for a model on this machine.
    #[must_use]
    pub fn forwarded_to(mut self, host: &str) -> Self {
        self.remote_host = Some(host.to_owned());
        self
    }

    /// The same, misbehaving.
    #[must_use]
    pub fn failing(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }
}

/// A way to misbehave. The counts are tokens sent before it happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// An error status with this message before any byte of the answer.
    Status(u16, String),
    /// 403 with an empty body, as for a refused `Host` or `Origin`.
    Refuse,
    /// The connection breaks.
    DieAfter(u32),
    /// An error line within the stream, then its end.
    ErrorAfter(u32),
    /// The body ends properly, without a final object.
    EndAfter(u32),
    /// Nothing more comes and the connection stays.
    SilentAfter(u32),
    /// A line that never ends.
    EndlessLine,
}
