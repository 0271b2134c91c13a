//! What an answer of `/api/chat` says, against what the stand-in made of its prompt.
//!
//! Invariant: every token is compared. Bytes are not: the daemon writes each dialect itself, with
//! times of its own.

use std::borrow::Cow;

use anyhow::{Context, ensure};
use causeway_standin::text;
use serde::Deserialize;

use crate::client::Whole;

/// One line of a stream, or a whole single answer.
#[derive(Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, default)]
    message: Message<'a>,
    #[serde(default)]
    pub(crate) done: bool,
}

#[derive(Deserialize, Default)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Cow<'a, str>,
}

impl Line<'_> {
    /// Empty for a sign of life, and in a stream's last line.
    pub(crate) fn said(&self) -> &str {
        &self.message.content
    }
}

/// The lines of a body; the error is one that is no JSON object.
pub(crate) fn lines(body: &[u8]) -> serde_json::Result<Vec<Line<'_>>> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
}

/// Compares an answer with what was sent for it: so many tokens, then its end.
pub(crate) fn check(prompt: &str, tokens: u32, answer: &Whole) -> anyhow::Result<()> {
    let body = || String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.head.status == 200, "status {}: {}", answer.head.status, body());
    let lines = lines(&answer.body).with_context(body)?;
    let said: String = lines.iter().map(Line::said).collect();
    let whole = lines.last().is_some_and(|line| line.done);
    let exact = whole && said == text::answer(text::seed(prompt), tokens);
    ensure!(exact, "a wrong answer to `{prompt}`:\n{}", body());
    Ok(())
}
