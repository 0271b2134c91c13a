//! What an answer says where the request asks for more than text: tool calls, JSON that fits a
//! schema, thoughts, a look at pictures.
//!
//! Invariant: all of it is a pure function of the request (the ids of tool calls excepted), by rules
//! that a test can predict:
//! - A last message of role `tool`: text that quotes the results.
//! - `tools`: a call of each tool that the last message names, in the tools' order; of the first
//!   one if it names none. Arguments are an instance of the tool's parameters.
//! - `format`: an instance of the schema; for `"json"`, an object with the prompt.
//! - Pictures to a model that sees: their number, types and sizes in bytes.
//! - Thinking: a sentence that quotes the effort and the prompt, before all the rest.
//!
//! A string in an instance is what stands behind `name=` in the last message, else the name itself.
//! Another backend's double in a test says the same by the public functions here.
//! Absent: the `/v1` routes of a stand-in, which give invented text.

mod picture;
mod schema;

use serde_json::{Map, Value, json};

pub(crate) use picture::decode;
pub use picture::describe;
pub(crate) use schema::Hints;

/// Characters of a scripted token.
const TOKEN: usize = 4;

/// One token, or what a real Ollama gathers from several.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Piece {
    Text(String),
    Thinking(String),
    Call(Call),
}

/// A tool call, whole as Ollama gives it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// What a script reads of a request.
pub(crate) struct Scene<'a> {
    /// Text of the last message, or the prompt.
    pub(crate) prompt: &'a str,
    /// Texts of the tool messages that end the conversation.
    pub(crate) results: Vec<String>,
    pub(crate) tools: &'a [Value],
    /// `format`; null, empty or `""` is none.
    pub(crate) format: &'a Value,
    /// Pictures of the last message; empty for a model that does not see.
    pub(crate) pictures: Vec<Vec<u8>>,
    /// The effort, where the model thinks.
    pub(crate) think: Option<String>,
}

impl Scene<'_> {
    /// The pieces before any text of its own, and that text; `None` where it is the invented one.
    pub(crate) fn play(&self, next_id: impl FnMut() -> u64) -> (Vec<Piece>, Option<Vec<Piece>>) {
        let thoughts = self.think.as_ref().map(|effort| thoughts(effort, self.prompt)).unwrap_or_default();
        (thoughts, self.said(next_id))
    }

    fn said(&self, next_id: impl FnMut() -> u64) -> Option<Vec<Piece>> {
        if !self.results.is_empty() {
            return Some(texts(&quoted(&self.results)));
        }
        if !self.tools.is_empty() {
            return Some(self.calls(next_id));
        }
        if let Some(value) = self.structured() {
            let mut said = texts(&value.to_string());
            if self.think.is_some() {
                // Ollama ends its first, unconstrained answer so before it starts the second.
                said.insert(0, Piece::Text(String::new()));
            }
            return Some(said);
        }
        (!self.pictures.is_empty()).then(|| texts(&picture::describe(&self.pictures)))
    }

    fn structured(&self) -> Option<Value> {
        match self.format {
            Value::String(format) if format == "json" => Some(json!({"prompt": self.prompt})),
            Value::Object(_) => Some(instance(self.format, self.prompt)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    fn calls(&self, mut next_id: impl FnMut() -> u64) -> Vec<Piece> {
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap_or_default().to_owned();
        let named: Vec<&Value> = self.tools.iter().filter(|tool| self.prompt.contains(&name(tool))).collect();
        let called = if named.is_empty() { self.tools.iter().take(1).collect() } else { named };
        let call = |(index, tool): (usize, &Value)| {
            let arguments = instance(&tool["function"]["parameters"], self.prompt);
            let arguments = if arguments.is_object() { arguments } else { Value::Object(Map::new()) };
            Piece::Call(Call { id: format!("call_{:08x}", next_id()), index, name: name(tool), arguments })
        };
        called.into_iter().enumerate().map(call).collect()
    }
}

/// An instance of a JSON schema with the values that the prompt names: an answer in a form, or a tool's
/// arguments.
#[must_use]
pub fn instance(schema: &Value, prompt: &str) -> Value {
    schema::instance(schema, &Hints::of(prompt))
}

/// What is thought of a prompt.
#[must_use]
pub fn thought(effort: &str, prompt: &str) -> String {
    format!("Effort {effort}. I was asked: {prompt}")
}

/// What is said of the results of tools.
#[must_use]
pub fn quoted(results: &[String]) -> String {
    format!("The tool said: {}", results.join("; "))
}

fn thoughts(effort: &str, prompt: &str) -> Vec<Piece> {
    cut(&thought(effort, prompt)).map(Piece::Thinking).collect()
}

fn texts(text: &str) -> Vec<Piece> {
    cut(text).map(Piece::Text).collect()
}

/// A text in scripted tokens.
pub fn cut(text: &str) -> impl Iterator<Item = String> + use<> {
    let characters: Vec<char> = text.chars().collect();
    let tokens: Vec<String> = characters.chunks(TOKEN).map(|token| token.iter().collect()).collect();
    tokens.into_iter()
}

/// Why a `format` is none, in Ollama's words.
pub(crate) fn format_fault(format: &Value) -> Option<String> {
    match format {
        Value::Null => None,
        Value::String(text) if text.is_empty() || text == "json" => None,
        Value::Object(_) if schema::is_valid(format) => None,
        Value::Object(_) => Some("invalid JSON schema in format".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let quoted = Value::String(format.to_string());
            Some(format!("invalid format: {quoted}; expected \"json\" or a valid JSON Schema object"))
        }
    }
}

/// The effort of `think` for a model that can, `None` for off; an error in Ollama's words.
pub(crate) fn effort(think: &Value) -> Result<Option<String>, String> {
    match think {
        // A model that can think does so unless told otherwise.
        Value::Null | Value::Bool(true) => Ok(Some("default".to_owned())),
        Value::Bool(false) => Ok(None),
        Value::String(effort) if ["high", "medium", "low", "max"].contains(&effort.as_str()) => {
            Ok(Some(effort.clone()))
        }
        Value::String(other) => Err(format!(
            "invalid think value: {} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)",
            Value::from(other.as_str())
        )),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let words = "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)";
            Err(words.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene<'a>(prompt: &'a str, tools: &'a [Value], format: &'a Value) -> Scene<'a> {
        Scene { prompt, results: Vec::new(), tools, format, pictures: Vec::new(), think: None }
    }

    fn tool(name: &str) -> Value {
        let city = json!({"type": "string"});
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"city": city}}}})
    }

    fn called(prompt: &str) -> Vec<String> {
        let tools = [tool("weather"), tool("clock")];
        let (_, said) = scene(prompt, &tools, &Value::Null).play(|| 7);
        let each = said.unwrap().into_iter().map(|piece| match piece {
            Piece::Call(call) => format!("{} {} {}", call.index, call.name, call.arguments),
            Piece::Text(text) | Piece::Thinking(text) => text,
        });
        each.collect()
    }

    #[test]
    fn tools_that_the_message_names_are_called_else_the_first() {
        assert_eq!(called("the clock, please"), [r#"0 clock {"city":"city"}"#]);
        let both = [r#"0 weather {"city":"Bonn"}"#, r#"1 clock {"city":"Bonn"}"#];
        assert_eq!(called("clock and weather, city=Bonn."), both);
        assert_eq!(called("hello"), [r#"0 weather {"city":"city"}"#]);
    }

    #[test]
    fn results_of_tools_are_quoted_and_nothing_is_called_again() {
        let tools = [tool("weather")];
        let mut after = scene("21 degrees", &tools, &Value::Null);
        after.results = vec!["21 degrees".to_owned(), "noon".to_owned()];
        let (_, said) = after.play(|| 7);
        assert_eq!(joined(&said.unwrap()), "The tool said: 21 degrees; noon");
    }

    #[test]
    fn thoughts_come_first_and_quote_effort_and_prompt() {
        let format = Value::from("json");
        let mut thinker = scene("why?", &[], &format);
        thinker.think = effort(&Value::from("low")).unwrap();
        let (thoughts, said) = thinker.play(|| 7);
        let thought: String =
            thoughts.iter().map(|piece| if let Piece::Thinking(text) = piece { text } else { "" }).collect();
        assert_eq!(thought, "Effort low. I was asked: why?");
        assert_eq!(joined(&said.unwrap()), r#"{"prompt":"why?"}"#);
    }

    fn joined(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "?" }).collect()
    }
}
