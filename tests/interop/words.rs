//! What the emulated Bedrock says: the stand-in's words, by the stand-in's rules, in Converse's shapes.
//!
//! So a client's script cannot tell which of the two has answered it. Invariant: a pure function of the
//! call (the ids of tool calls and seals excepted). Absent: models that break; `full.rs` has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_standin::script::{cut, describe, instance, quoted, thought};
use causeway_tests::bedrock::{Call, Script};
use serde_json::Value;

/// Tokens of an answer that nothing else is asked of.
const WORDS: usize = 8;

/// The answer to a call.
pub(crate) fn answer(call: &Call) -> Script {
    let last = call.body["messages"].as_array().and_then(|messages| messages.last()).unwrap_or(&Value::Null);
    let blocks = list(&last["content"]);
    let prompt: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    let prompt = prompt.join("\n");
    let script = match effort(&call.body) {
        Some(effort) => Script::new().think(cut(&thought(&effort, &prompt)), seal(call)),
        None => Script::new(),
    };
    let results: Vec<String> = blocks.iter().filter_map(|block| block.get("toolResult").map(result)).collect();
    if !results.is_empty() {
        return script.say(cut(&quoted(&results)));
    }
    let tools = called(&call.body, &prompt);
    if !tools.is_empty() {
        return tools.into_iter().enumerate().fold(script, |script, (index, tool)| {
            let arguments = instance(&tool["inputSchema"]["json"], &prompt).to_string();
            let id = format!("tooluse_{}_{index}", call.number);
            script.call_tool(id, tool["name"].as_str().unwrap_or_default(), cut(&arguments))
        });
    }
    if let Some(schema) = call.body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema") {
        let schema: Value = serde_json::from_str(schema.as_str().unwrap_or_default()).unwrap_or_default();
        return script.say(cut(&instance(&schema, &prompt).to_string()));
    }
    let pictures = blocks.iter().filter_map(|block| block.pointer("/image/source/bytes")?.as_str());
    let pictures: Vec<Vec<u8>> = pictures.filter_map(|bytes| STANDARD.decode(bytes).ok()).collect();
    if !pictures.is_empty() {
        return script.say(cut(&describe(&pictures)));
    }
    script.say((0..WORDS).map(|number| format!("word{number} ")))
}

/// What seals a thought, of the models that seal theirs; each another one.
pub(crate) fn seal(call: &Call) -> Option<String> {
    call.model.contains("anthropic.").then(|| format!("sealed{:04}", call.number))
}

/// The effort with which the model was told to think, in the stand-in's words.
pub(crate) fn effort(body: &Value) -> Option<String> {
    let fields = &body["additionalModelRequestFields"];
    let word = match fields["reasoningConfig"]["maxReasoningEffort"].as_str() {
        // Where nothing was said, too.
        Some("medium") => "default",
        Some(effort) => effort,
        None => {
            fields["thinking"]["type"].as_str()?;
            body["outputConfig"]["effort"].as_str().unwrap_or("default")
        }
    };
    Some(word.to_owned())
}

/// The tools to call: the one that is demanded, else those that are named, else the first.
fn called<'a>(body: &'a Value, prompt: &str) -> Vec<&'a Value> {
    let tools: Vec<&Value> = list(&body["toolConfig"]["tools"]).iter().map(|tool| &tool["toolSpec"]).collect();
    let forced = body["toolConfig"]["toolChoice"]["tool"]["name"].as_str();
    let is_wanted = |tool: &&&Value| match (tool["name"].as_str(), forced) {
        (Some(name), Some(forced)) => name == forced,
        (Some(name), None) => prompt.contains(name),
        (None, _) => false,
    };
    let wanted: Vec<&Value> = tools.iter().filter(is_wanted).copied().collect();
    if wanted.is_empty() { tools.into_iter().take(1).collect() } else { wanted }
}

fn result(result: &Value) -> String {
    let parts = list(&result["content"]).iter();
    parts.map(|part| part["text"].as_str().map_or_else(|| part["json"].to_string(), str::to_owned)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
