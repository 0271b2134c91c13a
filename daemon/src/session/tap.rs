//! Watches an answer pass: token counts, the terminal event, lines without an end.
//!
//! It never alters or delays a byte, and it keeps one line at most. Absent: what to do about what
//! it sees (`session.rs`).

use causeway_dialect::route::{Shape, Upstream};
use memchr::{memchr, memchr_iter, memmem, memrchr};
use serde::Deserialize;

/// Longest line of a stream, bytes. Ollama's lines are a token or a whole tool call; the last line
/// of `/api/generate` also carries its context, some bytes a token. 8 MiB is the link's whole
/// buffer for one answer.
pub(crate) const MAX_LINE: usize = 8 * 1024 * 1024;

/// End of a single JSON answer that is kept, bytes: token counts are its last fields.
const KEPT_TAIL: usize = 1_024;

/// A line buffer larger than this is given back once its line has ended, bytes.
const KEPT_BUFFER: usize = 16 * 1024;

/// A line passed [`MAX_LINE`] without an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndlessLine;

/// Token counts as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
}

/// What one answer has shown so far.
#[derive(Debug)]
pub(crate) struct Tap {
    shape: Shape,
    route: Upstream,
    /// The unfinished line (NDJSON: or the last finished one); a single answer's tail.
    line: Vec<u8>,
    /// NDJSON: `line` is finished, the next byte begins another.
    finished: bool,
    /// Lines (NDJSON) or data events (SSE), count: about one a token.
    events: u64,
    /// SSE: the terminal event came.
    terminal: bool,
    tokens: Tokens,
}

/// The figures of Ollama's last line, and its two ways to end.
#[derive(Deserialize, Default)]
struct LastLine {
    #[serde(default)]
    done: bool,
    error: Option<serde::de::IgnoredAny>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

impl Tap {
    /// `shape` is the answer's, not the route's: [`Shape::Whole`] where it does not stream.
    pub(crate) fn new(route: Upstream, shape: Shape) -> Self {
        let (line, tokens) = (Vec::new(), Tokens::default());
        Self { shape, route, line, finished: false, events: 0, terminal: false, tokens }
    }

    /// The answer is one JSON object after all: an error, or a model that was only loaded.
    pub(crate) fn expect_whole(&mut self) {
        self.shape = Shape::Whole;
    }

    /// Looks at the next bytes.
    pub(crate) fn observe(&mut self, bytes: &[u8]) -> Result<(), EndlessLine> {
        match self.shape {
            Shape::Ndjson => self.observe_lines(bytes),
            Shape::Sse => self.observe_events(bytes),
            Shape::Whole => {
                self.keep_tail(bytes);
                Ok(())
            }
        }
    }

    /// At the end of the bytes: whether the answer said that it is complete.
    pub(crate) fn is_complete(&mut self) -> bool {
        match self.shape {
            Shape::Whole => {
                self.read_usage_of_tail();
                true
            }
            Shape::Sse => self.terminal,
            Shape::Ndjson => {
                let last: LastLine = serde_json::from_slice(&self.line).unwrap_or_default();
                self.tokens = Tokens { input: last.prompt_eval_count, output: last.eval_count };
                last.done || last.error.is_some()
            }
        }
    }

    /// Counted by Ollama where it said so, otherwise events (about one a token).
    pub(crate) fn tokens(&self) -> Tokens {
        let counted = match self.shape {
            Shape::Ndjson | Shape::Sse => Some(self.events),
            Shape::Whole => None,
        };
        Tokens { input: self.tokens.input, output: self.tokens.output.or(counted) }
    }

    fn observe_lines(&mut self, bytes: &[u8]) -> Result<(), EndlessLine> {
        let Some(last) = memrchr(b'\n', bytes) else { return self.append(bytes) };
        self.events += memchr_iter(b'\n', bytes).count() as u64;
        if last + 1 < bytes.len() {
            self.restart();
            return self.append(&bytes[last + 1..]);
        }
        match memrchr(b'\n', &bytes[..last]) {
            Some(before) => {
                self.restart();
                self.append(&bytes[before + 1..last])?;
            }
            None => self.append(&bytes[..last])?,
        }
        self.finished = true;
        Ok(())
    }

    fn observe_events(&mut self, mut bytes: &[u8]) -> Result<(), EndlessLine> {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.line.is_empty() {
                self.read_event_line(&bytes[..end]);
            } else {
                self.append(&bytes[..end])?;
                let line = std::mem::take(&mut self.line);
                self.read_event_line(&line);
                self.line = line;
                self.restart();
            }
            bytes = &bytes[end + 1..];
        }
        self.append(bytes)
    }

    fn read_event_line(&mut self, line: &[u8]) {
        if let Some(data) = line.strip_prefix(b"data: ") {
            if data.trim_ascii_end() == b"[DONE]" {
                self.terminal = true;
                return;
            }
            self.events += 1;
            if let Some(place) = memmem::rfind(data, b"\"usage\":{") {
                self.read_usage(&data[place..]);
            }
        } else if let Some(name) = line.strip_prefix(b"event: ") {
            self.terminal |= self.ends_with_event(name.trim_ascii_end());
        }
    }

    /// Routes whose streams end with a named event.
    fn ends_with_event(&self, name: &[u8]) -> bool {
        let names: &[&[u8]] = match self.route {
            Upstream::OpenAiResponses => &[b"response.completed", b"response.failed", b"response.incomplete", b"error"],
            Upstream::AnthropicMessages => &[b"message_stop", b"error"],
            Upstream::OllamaChat
            | Upstream::OllamaGenerate
            | Upstream::OllamaEmbed
            | Upstream::OllamaEmbeddings
            | Upstream::OllamaTags
            | Upstream::OllamaPs
            | Upstream::OllamaVersion
            | Upstream::OllamaShow
            | Upstream::OpenAiChat
            | Upstream::OpenAiCompletions
            | Upstream::OpenAiEmbeddings
            | Upstream::OpenAiModels
            | Upstream::OpenAiModel => &[],
        };
        names.contains(&name)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), EndlessLine> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.finished {
            self.restart();
        }
        if self.line.len() + bytes.len() > MAX_LINE {
            return Err(EndlessLine);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) {
        self.finished = false;
        self.line.clear();
        self.line.shrink_to(KEPT_BUFFER);
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_TAIL)..];
        let surplus = (self.line.len() + bytes.len()).saturating_sub(KEPT_TAIL);
        self.line.drain(..surplus);
        self.line.extend_from_slice(bytes);
    }

    fn read_usage_of_tail(&mut self) {
        let tail = std::mem::take(&mut self.line);
        self.read_usage(&tail);
        self.line = tail;
    }

    /// Numbers by key, wherever they stand: a quote inside a JSON text is escaped, so that no text
    /// of a model can look like one of these keys.
    fn read_usage(&mut self, text: &[u8]) {
        let (input, output): (&[u8], &[u8]) = match self.route {
            Upstream::OpenAiResponses | Upstream::AnthropicMessages => (b"\"input_tokens\":", b"\"output_tokens\":"),
            Upstream::OpenAiChat | Upstream::OpenAiCompletions | Upstream::OpenAiEmbeddings => {
                (b"\"prompt_tokens\":", b"\"completion_tokens\":")
            }
            Upstream::OllamaChat
            | Upstream::OllamaGenerate
            | Upstream::OllamaEmbed
            | Upstream::OllamaEmbeddings
            | Upstream::OllamaTags
            | Upstream::OllamaPs
            | Upstream::OllamaVersion
            | Upstream::OllamaShow
            | Upstream::OpenAiModels
            | Upstream::OpenAiModel => (b"\"prompt_eval_count\":", b"\"eval_count\":"),
        };
        self.tokens.input = number_after(text, input).or(self.tokens.input);
        self.tokens.output = number_after(text, output).or(self.tokens.output);
    }
}

fn number_after(text: &[u8], key: &[u8]) -> Option<u64> {
    let place = memmem::rfind(text, key)?;
    let digits = text[place + key.len()..].trim_ascii_start();
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
