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
const TELLING: [&str; 7] = ["object", "type", "role", "status", "finish_reason", "service_tier", "truncation"];

/// Makes every recording again.
///
/// # Errors
/// The first field that is not as it was.
pub(crate) async fn made_again(direct: Api) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dialect/src/openai/recorded");
    let mut files: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    ensure!(files.len() >= 5, "only {} recordings in {}", files.len(), folder.display());
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
    say("    five recordings made again, field by field");
    Ok(())
}

/// `curl PATH -d BODY` in the lines at the head.
fn request(recorded: &str) -> Option<(String, Value)> {
    let line = recorded.lines().find_map(|line| line.strip_prefix(": curl "))?;
    let (path, body) = line.split_once(" -d ")?;
    Some((path.to_owned(), serde_json::from_str(body).ok()?))
}

/// The shape of each event or of the single object; equal ones that follow one another count once.
fn shapes(text: &str) -> Vec<Value> {
    let single = text.lines().find(|line| line.starts_with('{'));
    let events = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let mut shapes: Vec<Value> =
        single.into_iter().chain(events).filter_map(|json| Some(shape(&serde_json::from_str(json).ok()?))).collect();
    shapes.dedup();
    shapes
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
