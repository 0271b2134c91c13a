//! What each kind of value of the daemon's own must look like, and what is said where it does not.

use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) use causeway_overflow::settings::expect::{pattern, whole};
use causeway_overflow::settings::expect::{refuse_denied, text_of};
use causeway_overflow::settings::{Expected, Value};
use causeway_transport::RelayUrl;

use super::{OllamaUrl, Route};

/// A share of one, both ends excluded.
pub(super) fn share(value: &Value) -> Result<f64, Expected> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Env(text) => text.parse().ok(),
        Value::Integer(_) | Value::Text(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
    };
    number
        .filter(|share| *share > 0.0 && *share < 1.0)
        .ok_or_else(|| "expected a number between 0 and 1, such as 0.66".to_owned())
}

pub(super) fn path(value: &Value) -> Result<PathBuf, Expected> {
    match text_of(value) {
        Some(text) if !text.is_empty() => Ok(PathBuf::from(text)),
        _ => Err("expected a path".to_owned()),
    }
}

pub(super) fn relay_url(value: &Value) -> Result<RelayUrl, Expected> {
    let text = text_of(value).ok_or("expected wss://HOST[:PORT]/edge")?;
    let url: RelayUrl = text.parse().map_err(|error: causeway_transport::RelayUrlError| error.to_string())?;
    refuse_denied(&url.host)?;
    Ok(url)
}

/// `http://HOST[:PORT]` and nothing more: what is behind it is pinned.
pub(super) fn ollama_url(value: &Value) -> Result<OllamaUrl, Expected> {
    const FORM: &str = "expected http://HOST:PORT without path, user or query, such as http://127.0.0.1:11434";
    let url = text_of(value).and_then(|text| reqwest::Url::parse(text).ok()).ok_or(FORM)?;
    let plain = url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(FORM.to_owned()) };
    if !plain {
        return Err(FORM.to_owned());
    }
    refuse_denied(host)?;
    Ok(OllamaUrl { host: host.to_owned(), port })
}

pub(super) fn patterns(value: &Value) -> Result<Vec<String>, Expected> {
    const FORM: &str = "expected an array of shell patterns, such as [\"*\"] (arrays only in the file)";
    let Value::List(items) = value else { return Err(FORM.to_owned()) };
    let patterns: Option<Vec<String>> =
        items.iter().map(|item| text_of(item).filter(|text| !text.is_empty()).map(str::to_owned)).collect();
    match patterns {
        Some(patterns) if !patterns.is_empty() => Ok(patterns),
        _ => Err(FORM.to_owned()),
    }
}

pub(super) fn model_name(value: &Value) -> Result<String, Expected> {
    let text = text_of(value).ok_or("expected a model name in quotes, such as \"qwen3:8b\"")?;
    match causeway_dialect::model::ModelName::parse(text) {
        Ok(name) => Ok(name.short()),
        Err(error) => Err(format!("expected a model name as `ollama list` shows it; {error}")),
    }
}

pub(super) fn route(value: &Value) -> Result<Route, Expected> {
    match text_of(value) {
        Some("auto") => Ok(Route::Auto),
        Some("local-only") => Ok(Route::LocalOnly),
        Some("cloud-only") => Ok(Route::CloudOnly),
        _ => Err("expected \"auto\", \"local-only\" or \"cloud-only\"".to_owned()),
    }
}

pub(super) fn loopback(value: &Value) -> Result<SocketAddr, Expected> {
    let address: Option<SocketAddr> = text_of(value).and_then(|text| text.parse().ok());
    match address {
        Some(address) if address.ip().is_loopback() => Ok(address),
        Some(_) => Err("expected a loopback address: the status port has no password".to_owned()),
        None => Err("expected IP:PORT on loopback, such as 127.0.0.1:9180".to_owned()),
    }
}
