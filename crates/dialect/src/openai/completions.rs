//! `/v1/completions`: the request; the answer's encoder is passed on.
//!
//! The prompt is one string, as with Ollama: lists of prompts and of token numbers are refused. With
//! a `suffix` the gap between the two is filled.

pub use super::completions_encode::{Encoder, whole};
use super::shared;
use crate::chat::{BadRequest, Format, Input, Native, Prompt, Request, Think, ToolChoice};
use crate::fields::{ANY, Dropped, Fields};

/// Reads a request. Without a prompt it asks for nothing, and Ollama only loads the model.
///
/// # Errors
///
/// Not a JSON object, or a field of another type than the dialect's; the message names the place.
pub fn parse(body: &[u8]) -> Result<Request, BadRequest> {
    let mut top = Fields::of_body(body, ANY)?;
    let mut dropped = Dropped::default();
    let model = shared::name(&mut top, "model")?;
    let stream = top.flag("stream")?.unwrap_or(false);
    let prompt = Prompt {
        text: top.some_text("prompt").map_err(|_| top.expected("prompt", "a string"))?.unwrap_or_default(),
        suffix: top.some_text("suffix")?,
        ..Prompt::default()
    };
    let mut sampling = shared::sampling(&mut top)?;
    // Ollama cannot tell a 0 from an absent one here.
    sampling.top_p = sampling.top_p.map(|top_p| if top_p == 0.0 { 1.0 } else { top_p });
    let max_tokens = shared::tokens(&mut top, "max_tokens")?;
    let stop = shared::stop(&mut top)?;
    let logprobs = shared::alternatives(&mut top, "logprobs")?;
    let include_usage = shared::include_usage(&mut top)?;
    shared::leftovers(top, &mut dropped);
    Ok(Request {
        model,
        stream,
        input: Input::Prompt(Box::new(prompt)),
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        sampling,
        max_tokens,
        stop,
        format: Format::Text,
        think: Think::Unset,
        relax_think: false,
        logprobs,
        include_usage,
        native: Native::default(),
        dropped: dropped.into_names(),
    })
}

#[cfg(test)]
#[path = "completions_tests.rs"]
mod tests;
