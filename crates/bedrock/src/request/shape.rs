//! What the answer must look like.

use aws_sdk_bedrockruntime::types::{JsonSchemaDefinition, OutputFormat, OutputFormatStructure, OutputFormatType};
use serde_json::{Map, Value};

use crate::names::Names;

/// Deepest schema that is walked: JSON is read no deeper.
const DEEPEST: usize = 128;

/// Members of a schema that hold schemas by name.
const NAMED: [&str; 5] = ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"];

/// And those that hold data, whatever it looks like.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// The schema as the models that write JSON by themselves take it.
pub(super) fn format(name: Option<&str>, schema: &Value) -> Option<OutputFormat> {
    let mut schema = schema.clone();
    close(&mut schema, DEEPEST);
    let name = name.map(|name| Names::default().out(name));
    let definition = JsonSchemaDefinition::builder().schema(schema.to_string()).set_name(name).build().ok()?;
    let structure = OutputFormatStructure::JsonSchema(definition);
    OutputFormat::builder().r#type(OutputFormatType::JsonSchema).structure(structure).build().ok()
}

/// Every object has the members its schema names and no other: these models demand that it is said.
fn close(schema: &mut Value, deep: usize) {
    let Some(deep) = deep.checked_sub(1) else { return };
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, deep)),
        Value::Object(members) => {
            if is_object(members) {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            for (name, value) in members.iter_mut() {
                let named = NAMED.contains(&name.as_str());
                if let Some(schemas) = value.as_object_mut().filter(|_| named) {
                    schemas.values_mut().for_each(|schema| close(schema, deep));
                } else if !DATA.contains(&name.as_str()) {
                    close(value, deep);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_object(members: &Map<String, Value>) -> bool {
    let said = match members.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(_) | None => false,
    };
    said || members.contains_key("properties")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_object_of_a_schema_is_closed_and_what_is_data_is_left_alone() {
        let mut schema = json!({
            "type": "object",
            "properties": { "type": { "type": ["object", "null"] }, "list": { "items": { "properties": {} } } },
            "$defs": { "d": { "type": "object", "additionalProperties": true } },
            "anyOf": [{ "type": "object" }],
            "default": { "type": "object" },
        });
        close(&mut schema, DEEPEST);
        for place in ["", "/properties/type", "/properties/list/items", "/$defs/d", "/anyOf/0"] {
            assert_eq!(schema.pointer(&format!("{place}/additionalProperties")), Some(&json!(false)), "{place}");
        }
        assert_eq!(schema["default"], json!({ "type": "object" }));
        assert_eq!(schema.pointer("/properties/additionalProperties"), None);
    }
}
