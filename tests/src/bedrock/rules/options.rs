//! Sampling, thinking, stop sequences and the answer's schema, per family.

use serde_json::Value;

use super::super::{Sampling, Thinking};
use super::{Feature, Request, blocks, by_model, ensure, list, role};

/// Anthropic's least budget for thinking, in tokens.
const THINKING_LEAST: i64 = 1024;
/// What the service takes for a Claude model where `maxTokens` is absent.
const MAX_TOKENS_USUAL: i64 = 4096;
/// With thinking on, topP stays between this and 1.
const THINKING_TOP_P_LEAST: f64 = 0.95;

pub(super) fn check(request: &Request<'_>) -> Result<(), String> {
    sampling(request)?;
    stop_sequences(request)?;
    if let Some((thinking, kind)) = request.thinking() {
        budget(request, thinking, kind)?;
        sampling_while_thinking(request)?;
        if kind == "enabled" {
            turn_begins_with_thinking(request)?;
        }
    }
    schema(request)
}

fn option<'a>(request: &Request<'a>, name: &str) -> Option<&'a Value> {
    request.body["inferenceConfig"].get(name).filter(|value| !value.is_null())
}

fn sampling(request: &Request<'_>) -> Result<(), String> {
    let temperature = option(request, "temperature").is_some();
    let top_p = option(request, "topP").is_some();
    match request.family.sampling {
        Sampling::Both => Ok(()),
        Sampling::OneOfTwo => ensure(!(temperature && top_p), || {
            by_model("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        }),
        Sampling::Neither => {
            ensure(!temperature, || by_model("`temperature` is deprecated for this model."))?;
            ensure(!top_p, || by_model("`top_p` is deprecated for this model."))?;
            let top_k = request.body["additionalModelRequestFields"].get("top_k");
            ensure(top_k.is_none(), || by_model("`top_k` is deprecated for this model."))
        }
    }
}

fn stop_sequences(request: &Request<'_>) -> Result<(), String> {
    let sequences = option(request, "stopSequences").map(list).unwrap_or_default();
    ensure(sequences.is_empty() || request.family.has(Feature::StopSequences), || {
        "This model doesn't support the stopSequences field. Remove stopSequences and try again.".to_owned()
    })?;
    let blank = sequences.iter().any(super::is_blank);
    ensure(!blank || !request.family.is_claude(), || {
        by_model("stop_sequences: each stop sequence must contain non-whitespace")
    })
}

fn budget(request: &Request<'_>, thinking: &Value, kind: &str) -> Result<(), String> {
    match (kind, request.family.thinking) {
        ("enabled", Thinking::AdaptiveOnly) => Err(by_model(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
             \"output_config.effort\" to control thinking behavior.",
        )),
        ("enabled", Thinking::Budget | Thinking::Unknown) => {
            let budget = thinking["budget_tokens"].as_i64();
            let budget = budget.ok_or_else(|| by_model("thinking.enabled.budget_tokens: Field required"))?;
            ensure(budget >= THINKING_LEAST, || {
                by_model(&format!(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to {THINKING_LEAST}"
                ))
            })?;
            ensure(budget < request.max_tokens().unwrap_or(MAX_TOKENS_USUAL), || {
                by_model("`max_tokens` must be greater than `thinking.budget_tokens`.")
            })
        }
        ("adaptive", _) => Ok(()),
        _ => Err(by_model("thinking: Input tag does not match any of the expected tags: 'disabled', 'enabled'")),
    }
}

fn sampling_while_thinking(request: &Request<'_>) -> Result<(), String> {
    let number = |name: &str| option(request, name).and_then(Value::as_f64);
    ensure(number("temperature").is_none_or(|temperature| temperature >= 1.0), || {
        by_model("`temperature` may only be set to 1 when thinking is enabled.")
    })?;
    ensure(number("topP").is_none_or(|top_p| top_p >= THINKING_TOP_P_LEAST), || {
        by_model(&format!(
            "`top_p` must be greater than or equal to {THINKING_TOP_P_LEAST} or unset when thinking is enabled."
        ))
    })?;
    ensure(request.body["additionalModelRequestFields"].get("top_k").is_none(), || {
        by_model("`top_k` must be unset when thinking is enabled.")
    })
}

/// A model that thinks goes on with a turn of tools only if it sees how it began to think.
fn turn_begins_with_thinking(request: &Request<'_>) -> Result<(), String> {
    let messages = request.messages();
    let is_result = |message: &Value| blocks(message).any(|(_, block)| block.get("toolResult").is_some());
    let Some(index) = messages.iter().rposition(|message| role(message) == "assistant") else { return Ok(()) };
    let goes_on = messages.get(index + 1).is_some_and(is_result);
    let first = list(&messages[index]["content"]).first();
    let thinks = first.is_some_and(|block| block.get("reasoningContent").is_some());
    ensure(!goes_on || thinks, || {
        by_model(&format!(
            "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found another. When \
             `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the \
             lastmost set of `tool_use` and `tool_result` blocks)."
        ))
    })
}

fn schema(request: &Request<'_>) -> Result<(), String> {
    let Some(format) = request.body.pointer("/outputConfig/textFormat") else { return Ok(()) };
    ensure(request.family.has(Feature::JsonSchema), || {
        "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try again."
            .to_owned()
    })?;
    let text = format.pointer("/structure/jsonSchema/schema").and_then(Value::as_str).unwrap_or_default();
    let schema: Value = serde_json::from_str(text).map_err(|why| {
        format!("The value at outputConfig.textFormat.structure.jsonSchema.schema is not valid JSON: {why}")
    })?;
    ensure(schema.is_object(), || "The JSON schema in outputConfig.textFormat must be an object.".to_owned())?;
    closed(&schema)
}

fn closed(schema: &Value) -> Result<(), String> {
    let open = schema["type"] == "object" && schema.get("additionalProperties") != Some(&Value::Bool(false));
    ensure(!open, || {
        by_model(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        )
    })?;
    let below: Vec<&Value> = match schema {
        Value::Object(members) => members.iter().filter(|(key, _)| !is_data(key)).map(|(_, value)| value).collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    below.into_iter().try_for_each(closed)
}

/// Keywords whose values are data and not schemas.
fn is_data(keyword: &str) -> bool {
    matches!(keyword, "enum" | "const" | "default" | "examples")
}
