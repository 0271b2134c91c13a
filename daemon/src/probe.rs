//! `causewayd status`: asks a running daemon's status port and says it in words.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use serde_json::Value;

use crate::cli::STATUS_TIMEOUT;

/// The snapshot of the daemon at this address.
pub(crate) async fn snapshot(address: SocketAddr) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(STATUS_TIMEOUT)
        .build()?;
    let answer = client.get(format!("http://{address}/api/status")).send().await?;
    if !answer.status().is_success() {
        bail!("it answers HTTP {}", answer.status().as_u16());
    }
    let snapshot: Value = serde_json::from_slice(&answer.bytes().await?)?;
    if snapshot["program"] != "causewayd" {
        bail!("another program answers there");
    }
    Ok(snapshot)
}

/// A few lines for a person.
pub(crate) fn describe(snapshot: &Value) -> String {
    let mut text = String::new();
    let ready = if snapshot["readiness"]["ready"] == true { "ready" } else { "not ready" };
    line(&mut text, "causewayd", &format!("{} {}, {ready}", plain(&snapshot["version"]), plain(&snapshot["state"])));
    line(&mut text, "edge", &plain(&snapshot["edge"]));
    for (name, key) in [
        ("link", "link"),
        ("return path", "return_path"),
        ("ollama", "ollama"),
        ("model", "model"),
        ("last success", "last_success"),
    ] {
        line(&mut text, name, &fact(&snapshot["readiness"]["facts"][key]));
    }
    for model in snapshot["models"].as_array().into_iter().flatten() {
        let load = format!("{} of {} slots in use", plain(&model["in_flight"]), plain(&model["slots"]));
        line(&mut text, &format!("  {}", plain(&model["name"])), &load);
    }
    if let (Some(fault), Some(at)) =
        (snapshot["link"]["last_error"].as_str(), snapshot["link"]["last_error_ms"].as_u64())
    {
        let ago = age_of(at).as_secs();
        line(&mut text, "link's last", &format!("fault, {ago} s ago: {fault}"));
    }
    let requests = &snapshot["requests"];
    let counts = ["in_flight", "served", "cancelled", "refused", "failed"]
        .map(|key| format!("{} {}", plain(&requests[key]), key.replace('_', " ")));
    line(&mut text, "requests", &counts.join(", "));
    line(&mut text, "certificate", &format!("{} days left", plain(&snapshot["certificate"]["days_left"])));
    for fault in snapshot["faults"].as_array().into_iter().flatten() {
        line(&mut text, "fault", &plain(fault));
    }
    text.truncate(text.trim_end().len());
    text
}

fn fact(fact: &Value) -> String {
    let mut text = if fact["ok"] == true { "ok".to_owned() } else { "no".to_owned() };
    if let Some(age) = fact["age_ms"].as_u64() {
        let seconds = age / 1_000;
        // Writing to a String cannot fail.
        let _written = write!(text, ", {seconds} s ago");
    }
    if let Some(detail) = fact["detail"].as_str() {
        let _written = write!(text, ": {detail}");
    }
    text
}

fn age_of(unix_ms: u64) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(unix_ms)).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn line(text: &mut String, name: &str, value: &str) {
    let _written = writeln!(text, "{name:<14} {value}");
}
