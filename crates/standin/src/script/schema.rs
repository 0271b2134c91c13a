//! One instance of a JSON schema, as plain as it can be.
//!
//! Invariant: total, and bounded whatever the schema: it ends at [`DEPTH`] and [`VALUES`], lengths at
//! [`MOST`]. Of a schema it honours `type`, `properties`, `required`, `items`, `prefixItems`, `enum`,
//! `const`, `$ref` within the document, `anyOf`, `oneOf`, `allOf`, and bounds of lengths and numbers.
//! Absent: `pattern`, `format`, `not`, `dependentRequired`; tests here ask for none.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Levels until an instance ends with null: a schema may refer to itself.
const DEPTH: usize = 16;

/// Most elements or characters that a minimum is obeyed to: 4,096 characters are an answer.
const MOST: usize = 4_096;

/// Most values in an instance, then nulls: lists of lists would grow by powers.
const VALUES: usize = 10_000;

/// Values that the prompt names as `name=value`, by name.
#[derive(Default, Debug)]
pub(crate) struct Hints(HashMap<String, String>);

impl Hints {
    pub(crate) fn of(prompt: &str) -> Self {
        let pairs = prompt.split_whitespace().filter_map(|word| word.split_once('='));
        let value = |value: &str| value.trim_end_matches(['.', ',', ';', '?', '!']).to_owned();
        Self(pairs.map(|(name, given)| (name.to_owned(), value(given))).collect())
    }
}

/// Whether Ollama would take it: every `type` is one of JSON's.
pub(super) fn is_valid(schema: &Value) -> bool {
    const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let known = |kind: &Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
    match schema.get("type") {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().all(known),
        Some(kind) => known(kind),
    }
}

/// An instance of `schema`.
pub(super) fn instance(schema: &Value, hints: &Hints) -> Value {
    Maker { root: schema, hints, left: Cell::new(VALUES) }.value(schema, "text", DEPTH)
}

struct Maker<'a> {
    root: &'a Value,
    hints: &'a Hints,
    left: Cell<usize>,
}

impl Maker<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        let left = self.left.get();
        if depth == 0 || left == 0 {
            return Value::Null;
        }
        self.left.set(left - 1);
        if let Some(fixed) = schema.get("const").or_else(|| self.chosen(schema.get("enum")?, name)) {
            return fixed.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|path| self.root.pointer(path));
            return self.value(target.unwrap_or(&Value::Null), name, depth - 1);
        }
        let choice = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)?.as_array()?.first());
        if let Some(first) = choice {
            return self.value(first, name, depth - 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => json!(self.integer(schema, name)),
            "number" => json!(self.number(schema, name)),
            "boolean" => json!(self.hints.0.get(name).is_none_or(|hint| hint != "false")),
            "null" => Value::Null,
            _ => self.string(schema, name),
        }
    }

    /// The alternative that the prompt names, else the first.
    fn chosen<'v>(&self, alternatives: &'v Value, name: &str) -> Option<&'v Value> {
        let alternatives = alternatives.as_array()?;
        let hint = self.hints.0.get(name);
        let named = alternatives.iter().find(|one| hint.is_some_and(|hint| one.as_str() == Some(hint)));
        named.or_else(|| alternatives.first())
    }

    /// All properties; near the end of the depth only the required ones.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut made = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if depth > DEPTH / 2 || required.contains(&name.as_str()) {
                made.insert(name.clone(), self.value(property, name, depth - 1));
            }
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if let Some(each) = schema["prefixItems"].as_array() {
            return each.iter().map(|item| self.value(item, name, depth - 1)).collect();
        }
        let (least, most) = (bound(schema, "minItems").unwrap_or(1), bound(schema, "maxItems").unwrap_or(MOST));
        let count = least.max(1).min(most);
        (0..count).map(|_| self.value(&schema["items"], name, depth - 1)).collect()
    }

    fn string(&self, schema: &Value, name: &str) -> Value {
        let mut text = self.hints.0.get(name).map_or(name, String::as_str).to_owned();
        let least = bound(schema, "minLength").unwrap_or(0);
        let missing = least.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('x', missing));
        let most = bound(schema, "maxLength").unwrap_or(MOST);
        Value::from(text.chars().take(most).collect::<String>())
    }

    /// What the prompt names, else 1, within the bounds.
    fn integer(&self, schema: &Value, name: &str) -> i64 {
        let get = |key: &str| schema.get(key).and_then(Value::as_i64);
        let wanted = self.hints.0.get(name).and_then(|hint| hint.parse().ok()).unwrap_or(1);
        let least = get("minimum").or_else(|| get("exclusiveMinimum").map(|least| least.saturating_add(1)));
        let most = get("maximum").or_else(|| get("exclusiveMaximum").map(|most| most.saturating_sub(1)));
        wanted.max(least.unwrap_or(i64::MIN)).min(most.unwrap_or(i64::MAX))
    }

    /// What the prompt names, else 0.5, within the bounds.
    fn number(&self, schema: &Value, name: &str) -> f64 {
        let get = |key: &str| schema.get(key).and_then(Value::as_f64);
        let wanted: f64 = self.hints.0.get(name).and_then(|hint| hint.parse().ok()).unwrap_or(0.5);
        let least = get("minimum").or_else(|| get("exclusiveMinimum").map(|least| least + 0.5));
        let most = get("maximum").or_else(|| get("exclusiveMaximum").map(|most| most - 0.5));
        wanted.max(least.unwrap_or(f64::MIN)).min(most.unwrap_or(f64::MAX))
    }
}

fn kind(schema: &Value) -> &str {
    let one = schema["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null"));
    let named = one.unwrap_or(&schema["type"]).as_str();
    let implied = if schema["properties"].is_object() { "object" } else { "string" };
    named.unwrap_or(implied)
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    let bound = schema.get(key)?.as_u64()?;
    Some(usize::try_from(bound).unwrap_or(MOST).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: Value, prompt: &str) -> String {
        instance(&schema, &Hints::of(prompt)).to_string()
    }

    #[test]
    fn every_type_has_an_instance_in_the_schemas_order() {
        let schema = json!({"type": "object", "required": ["z"], "properties": {
            "z": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "number"}, "yes": {"type": "boolean"},
            "nil": {"type": "null"}, "colour": {"enum": ["red", "blue"]}, "one": {"const": 1},
            "list": {"type": "array", "items": {"type": "string"}, "minItems": 2}, "maybe": {"type": ["null", "integer"]}}});
        let expected =
            r#"{"z":"z","n":1,"x":0.5,"yes":true,"nil":null,"colour":"red","one":1,"list":["list","list"],"maybe":1}"#;
        assert_eq!(made(schema, ""), expected);
    }

    #[test]
    fn the_prompt_names_values_and_bounds_hold() {
        let schema = json!({"properties": {
            "city": {"type": "string", "maxLength": 2}, "n": {"type": "integer", "maximum": 9},
            "colour": {"enum": ["red", "blue"]}, "low": {"type": "integer", "exclusiveMinimum": 4}, "ok": {"type": "boolean"}}});
        let made = made(schema, "city=Bonn n=12 colour=blue, ok=false.");
        assert_eq!(made, r#"{"city":"Bo","n":9,"colour":"blue","low":5,"ok":false}"#);
    }

    #[test]
    fn references_and_choices_are_followed_and_end() {
        let schema = json!({"$defs": {"node": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"});
        let text = made(schema, "");
        assert!(text.starts_with(r#"{"name":"name","next":{"name":"name""#) && text.len() < 200, "{text}");
        assert_eq!(made(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), ""), "1");
        assert_eq!(made(json!({"$ref": "#"}), ""), "null");
        let huge = json!({"type": "array", "minItems": 4_000, "items": {"$ref": "#"}});
        assert!(made(huge, "").len() < 200_000);
    }

    #[test]
    fn a_type_that_json_does_not_have_is_no_schema() {
        assert!(!is_valid(&json!({"type": "nonsense"})) && is_valid(&json!({"type": ["null", "string"]})));
    }
}
