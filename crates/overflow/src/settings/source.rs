//! Where settings come from: the file's keys with their lines, the environment's over them.
//!
//! Everything is flattened to dotted keys (`admission.first-token-ms`, `ollama.model[0].name`), so
//! that one reader can take what it knows and report what is left. Absent: what a key means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};

/// Prefix of environment overrides; `__` separates sections, `_` stands for `-`.
pub const ENV_PREFIX: &str = "CAUSEWAY__";

/// A value as written, not yet understood.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// In quotes.
    Text(String),
    /// Whole.
    Integer(i64),
    /// With a point.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// An array of values.
    List(Vec<Self>),
    /// From the environment: text that the reader of the key may take for any scalar.
    Env(String),
    /// A kind of value that no key takes (dates, numbers beyond 64 bits).
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Env(text) | Self::Other(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// As written.
    pub value: Value,
    /// Where.
    pub origin: Origin,
}

/// How a section without keys is kept, so that an unknown one is still reported.
pub const EMPTY_TABLE: &str = "{}";

/// All settings by dotted key.
pub type Entries = BTreeMap<String, Entry>;

/// Reads the file's text; every syntax fault is reported and what could be read is kept.
pub fn from_file(text: &str, entries: &mut Entries, faults: &mut Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        faults.push(Fault::syntax(line, error.message()));
    }
    flatten(text, "", table.get_ref(), entries);
}

/// Lays the environment's `CAUSEWAY__…` variables over the file's keys.
pub fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    entries: &mut Entries,
    faults: &mut Vec<Fault>,
) {
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
        let origin = Origin::Environment(name.to_owned());
        let key = name[ENV_PREFIX.len()..].to_ascii_lowercase().replace("__", ".").replace('_', "-");
        match value.into_string() {
            Ok(text) => {
                entries.insert(key, Entry { value: Value::Env(text), origin });
            }
            Err(_) => faults.push(Fault { origin, key, value: None, expected: "UTF-8 text".to_owned() }),
        }
    }
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Entries) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        flatten_value(text, &path, line_of(text, key.span().start), value, entries);
    }
}

fn flatten_value(text: &str, path: &str, line: usize, value: &Spanned<DeValue<'_>>, entries: &mut Entries) {
    match value.get_ref() {
        DeValue::Table(table) if !table.is_empty() => flatten(text, path, table, entries),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
            for (place, item) in items.iter().enumerate() {
                let line = line_of(text, item.span().start);
                flatten_value(text, &format!("{path}[{place}]"), line, item, entries);
            }
        }
        DeValue::Table(_)
        | DeValue::Array(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {
            let entry = Entry { value: understand(value.get_ref()), origin: Origin::File(line) };
            entries.insert(path.to_owned(), entry);
        }
    }
}

fn understand(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Other(number.to_string()), Value::Float)
        }
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| understand(item.get_ref())).collect()),
        DeValue::Table(_) => Value::Other(EMPTY_TABLE.to_owned()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}
