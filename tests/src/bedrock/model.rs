//! The service model of `fixtures/bedrock-runtime.json` and the check of a request against it:
//! types, required and unknown members, enums, lengths, ranges, patterns, unions of one member.
//!
//! The model is botocore's, extracted by `fixtures/extract_bedrock_model.py`; refusals are worded
//! as the service words its own. A null counts as absent; documents are free-form.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::pattern::Pattern;

/// More faults than this in one refusal say nothing new.
const FAULTS_MAX: usize = 8;

static MODEL: LazyLock<ServiceModel> = LazyLock::new(|| {
    let source = include_str!("../../fixtures/bedrock-runtime.json");
    serde_json::from_str(source).unwrap()
});

#[derive(Debug, Deserialize)]
struct ServiceModel {
    operations: HashMap<String, Input>,
    shapes: HashMap<String, Shape>,
}

#[derive(Debug, Deserialize)]
struct Input {
    input: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Structure,
    List,
    Map,
    String,
    Blob,
    Boolean,
    Integer,
    Float,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    required: Vec<String>,
    #[serde(rename = "enum")]
    one_of: Option<Vec<String>>,
    #[serde(default, deserialize_with = "pattern")]
    pattern: Option<(String, Pattern)>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    union: bool,
    #[serde(default)]
    document: bool,
    #[serde(default)]
    members: HashMap<String, Member>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Member {
    shape: String,
    location: Option<String>,
    #[expect(dead_code, reason = "read so that an unknown key of a member stays an error")]
    location_name: Option<String>,
}

fn pattern<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<(String, Pattern)>, D::Error> {
    let source = String::deserialize(source)?;
    let parsed = Pattern::parse(&source).map_err(serde::de::Error::custom)?;
    Ok(Some((source, parsed)))
}

/// Checks a request of `operation` ("Converse", …): the body, and the model id out of its address.
///
/// # Errors
/// What the service would say, all faults in one message.
pub(super) fn check(operation: &str, model_id: &str, body: &Value) -> Result<(), String> {
    let shape = &MODEL.shapes[&MODEL.operations[operation].input];
    let mut walk = Walk::default();
    for (name, member) in shape.members.iter().filter(|(_, member)| member.location.is_some()) {
        walk.value(&member.shape, name, &Value::from(model_id));
    }
    walk.structure(shape, "", body);
    match walk.faults.len() {
        0 => Ok(()),
        1 => Err(format!("1 validation error detected: {}", walk.faults[0])),
        many => Err(format!("{many} validation errors detected: {}", walk.faults.join("; "))),
    }
}

#[derive(Default)]
struct Walk {
    faults: Vec<String>,
}

impl Walk {
    fn fault(&mut self, path: &str, constraint: &str) {
        self.push(format!("Value at '{path}' failed to satisfy constraint: {constraint}"));
    }

    fn fault_of(&mut self, value: &str, path: &str, constraint: &str) {
        self.push(format!("Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"));
    }

    fn push(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    fn value(&mut self, shape: &str, path: &str, value: &Value) {
        let shape = &MODEL.shapes[shape];
        if shape.document {
            return;
        }
        match shape.kind {
            Kind::Structure => self.structure(shape, path, value),
            Kind::List => self.list(shape, path, value),
            Kind::Map => self.map(shape, path, value),
            Kind::String => self.string(shape, path, value),
            Kind::Blob => self.blob(shape, path, value),
            Kind::Boolean => self.typed(value.is_boolean(), "a boolean", path),
            Kind::Integer => {
                self.typed(value.is_i64() || value.is_u64(), "an integer", path);
                self.range(shape, path, value);
            }
            Kind::Float => {
                self.typed(value.is_number(), "a number", path);
                self.range(shape, path, value);
            }
        }
    }

    fn typed(&mut self, fits: bool, wanted: &str, path: &str) {
        if !fits {
            self.fault(path, &format!("Member must be {wanted}"));
        }
    }

    fn structure(&mut self, shape: &Shape, path: &str, value: &Value) {
        let Some(object) = value.as_object() else {
            return self.typed(false, "an object", path);
        };
        let in_body = |name: &str| shape.members.get(name).filter(|member| member.location.is_none());
        for name in shape.required.iter().filter(|name| in_body(name).is_some()) {
            if object.get(name).is_none_or(Value::is_null) {
                self.fault(&join(path, name), "Member must not be null");
            }
        }
        for (name, value) in present(object) {
            match in_body(name) {
                Some(member) => self.value(&member.shape, &join(path, name), value),
                None => self.fault(&join(path, name), "Member must be one that the operation knows"),
            }
        }
        if shape.union && present(object).count() != 1 {
            self.fault(path, "Exactly one member of the union must be set");
        }
    }

    fn list(&mut self, shape: &Shape, path: &str, value: &Value) {
        let (Some(items), Some(member)) = (value.as_array(), &shape.member) else {
            return self.typed(false, "a list", path);
        };
        self.length(shape, path, items.len());
        for (index, item) in items.iter().enumerate() {
            self.value(member, &join(path, &format!("{}.member", index + 1)), item);
        }
    }

    fn map(&mut self, shape: &Shape, path: &str, value: &Value) {
        let (Some(object), Some(keys), Some(values)) = (value.as_object(), &shape.key, &shape.value) else {
            return self.typed(false, "a map", path);
        };
        self.length(shape, path, object.len());
        for (key, value) in object {
            self.value(keys, path, &Value::from(key.as_str()));
            self.value(values, &join(path, &format!("{key}.member")), value);
        }
    }

    fn string(&mut self, shape: &Shape, path: &str, value: &Value) {
        let Some(text) = value.as_str() else {
            return self.typed(false, "a string", path);
        };
        self.length(shape, path, text.chars().count());
        if let Some(known) = shape.one_of.as_ref().filter(|known| !known.iter().any(|one| one == text)) {
            self.fault_of(text, path, &format!("Member must satisfy enum value set: [{}]", known.join(", ")));
        }
        if let Some((source, _)) = shape.pattern.as_ref().filter(|(_, pattern)| !pattern.matches(text)) {
            self.fault_of(text, path, &format!("Member must satisfy regular expression pattern: {source}"));
        }
    }

    /// Blobs travel as base64, with padding.
    fn blob(&mut self, shape: &Shape, path: &str, value: &Value) {
        match value.as_str().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => self.length(shape, path, bytes.len()),
            Some(Err(_)) | None => self.typed(false, "base64", path),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "lengths of a request are far below 2^52")]
    fn length(&mut self, shape: &Shape, path: &str, length: usize) {
        if let Some(min) = shape.min.filter(|&min| (length as f64) < min) {
            self.fault(path, &format!("Member must have length greater than or equal to {min}"));
        }
        if let Some(max) = shape.max.filter(|&max| length as f64 > max) {
            self.fault(path, &format!("Member must have length less than or equal to {max}"));
        }
    }

    fn range(&mut self, shape: &Shape, path: &str, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        if let Some(min) = shape.min.filter(|&min| number < min) {
            let constraint = format!("Member must have value greater than or equal to {min}");
            self.fault_of(&value.to_string(), path, &constraint);
        }
        if let Some(max) = shape.max.filter(|&max| number > max) {
            let constraint = format!("Member must have value less than or equal to {max}");
            self.fault_of(&value.to_string(), path, &constraint);
        }
    }
}

fn present(object: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.iter().filter(|(_, value)| !value.is_null())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
