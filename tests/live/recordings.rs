//! The dialects' recordings, made again: what Ollama says now, beside what it said then.
//!
//! Each recording of crates/dialect begins with the request that made it. The same request goes to the
//! Ollama at hand; both answers must have the same events with the same fields of the same types.
//! Values that differ from run to run (ids, times, texts, counts) are compared by type alone.

use std::path::Path;

use anyhow::{Context as _, ensure};
use causeway_tests::ollama::MODEL;
use causeway_tests::runner::say;
use causeway_tests::stack::Api;
use serde_json::{Map, Value, json};

/// Fields whose values say what kind of event it is: compared as they are.
const TELLING: [&str; 9] =
    ["object", "type", "role", "status", "finish_reason", "stop_reason", "done_reason", "service_tier", "truncation"];

/// Where recordings lie, below the dialects.
const FOLDERS: [&str; 4] = ["openai", "anthropic", "native", "embed"];

/// Makes every recording again.
///
/// # Errors
/// The first field that is not as it was.
pub(crate) async fn made_again(direct: Api) -> anyhow::Result<()> {
    let dialect = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dialect/src");
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = dialect.join(folder).join("recorded");
        let found: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
        ensure!(!found.is_empty(), "no recordings in {}", folder.display());
        files.extend(found);
    }
    files.sort_by_key(std::fs::DirEntry::path);
    let count = files.len();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let recorded = std::fs::read_to_string(file.path())?;
        let (path, mut body) = request(&recorded).with_context(|| format!("{name} does not say how it was made"))?;
        body["model"] = json!(MODEL);
        let answer = direct.post(&path, body).await?;
        ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
        let (then, now) = (shapes(&recorded), shapes(&answer.text()));
        ensure!(!then.is_empty(), "{name} holds no events");
        ensure!(then == now, "{name}: then {}\nnow {}", Value::from(then), Value::from(now));
    }
    say(&format!("    {count} recordings made again, field by field"));
    Ok(())
}

/// `curl PATH -d BODY` in the lines at the head.
fn request(recorded: &str) -> Option<(String, Value)> {
    let line = recorded.lines().find_map(|line| line.strip_prefix(": curl "))?;
    let (path, body) = line.split_once(" -d ")?;
    Some((path.to_owned(), serde_json::from_str(body).ok()?))
}

/// The shape of each event, line or single object; equal ones that follow one another count once.
fn shapes(text: &str) -> Vec<Value> {
    let events = text.lines().filter_map(told).filter(|data| *data != "[DONE]");
    let mut shapes: Vec<Value> = events.filter_map(|json| Some(shape(&serde_json::from_str(json).ok()?))).collect();
    shapes.dedup();
    shapes
}

/// The JSON of a line: alone on it, or an event's.
fn told(line: &str) -> Option<&str> {
    if line.starts_with('{') { Some(line) } else { line.strip_prefix("data: ") }
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.iter().map(member).collect::<Map<_, _>>()),
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.dedup();
            Value::Array(shapes)
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

fn member((name, value): (&String, &Value)) -> (String, Value) {
    let kept = TELLING.contains(&name.as_str()) && !value.is_object() && !value.is_array();
    (name.clone(), if kept { value.clone() } else { shape(value) })
}
