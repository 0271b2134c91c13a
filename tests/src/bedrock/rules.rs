//! Rules that the service has beyond its model: how a conversation goes, what stands where, what
//! goes together. Each refuses in the words that the service uses, as far as they are known.
//!
//! Bodies have passed the service model, so types and required members are as it says. Where it is
//! not known whether the service refuses (a blank text or no content in a tool result), the
//! emulator does: what passes here must pass there.

mod conversation;
mod media;
mod options;
mod tools;

use serde_json::Value;

use super::families::{Families, Family, Feature, is_profile};
use super::record::Operation;

/// Checks the body of an operation.
pub(super) fn check(operation: Operation, model: &str, body: &Value, families: &Families) -> Result<(), String> {
    let family = families.of(model);
    let body = match operation {
        Operation::Converse | Operation::ConverseStream => body,
        // What is counted is a conversation, or a body of another operation that nobody checks.
        Operation::CountTokens => match body["input"].get("converse") {
            Some(converse) => converse,
            None => return Ok(()),
        },
        Operation::Unknown => return Ok(()),
    };
    if !family.has(Feature::OnDemand) && !is_profile(model) {
        return Err(super::Refusal::on_demand_not_supported(model).message);
    }
    let request = Request { body, family: &family, streams: operation == Operation::ConverseStream };
    conversation::check(&request)?;
    tools::check(&request)?;
    media::check(&request)?;
    options::check(&request)
}

/// A body on its way through the rules.
struct Request<'a> {
    body: &'a Value,
    family: &'a Family,
    streams: bool,
}

impl<'a> Request<'a> {
    fn messages(&self) -> &'a [Value] {
        list(&self.body["messages"])
    }

    fn tools(&self) -> &'a [Value] {
        list(&self.body["toolConfig"]["tools"])
    }

    fn max_tokens(&self) -> Option<i64> {
        self.body.pointer("/inferenceConfig/maxTokens").and_then(Value::as_i64)
    }

    /// The field that turns thinking on, with its type; none where the family knows none.
    fn thinking(&self) -> Option<(&'a Value, &'a str)> {
        if self.family.thinking == super::Thinking::Unknown {
            return None;
        }
        let fields = &self.body["additionalModelRequestFields"];
        let thinking = fields.get("thinking").or_else(|| fields.get("reasoning_config"))?;
        let kind = thinking["type"].as_str().unwrap_or_default();
        (kind != "disabled").then_some((thinking, kind))
    }
}

/// Blocks of a message with their places.
fn blocks(message: &Value) -> impl Iterator<Item = (usize, &Value)> {
    list(&message["content"]).iter().enumerate()
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_blank(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.trim().is_empty())
}

/// What the service says of an error that the model's provider found.
fn by_model(why: &str) -> String {
    format!("The model returned the following errors: {why}")
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
