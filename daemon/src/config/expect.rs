//! What each kind of value must look like, and what is said where it does not.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use causeway_transport::{RelayUrl, is_denied};

use causeway_bedrock::Family;
use causeway_policy::BudgetCap;

use super::reader::Expected;
use super::source::Value;
use super::{OllamaUrl, Route, overflow};

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Env(text) => Some(text),
        Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
    }
}

/// A whole number within `range`.
pub(super) fn whole(range: RangeInclusive<u64>, unit: &str) -> impl FnOnce(&Value) -> Result<u64, Expected> {
    move |value| {
        let number = match value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Env(text) => text.parse().ok(),
            Value::Text(_) | Value::Float(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a whole number{unit} from {} to {}", range.start(), range.end()))
    }
}

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

pub(super) fn flag(value: &Value) -> Result<bool, Expected> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Env(text) if text == "true" => Ok(true),
        Value::Env(text) if text == "false" => Ok(false),
        Value::Env(_) | Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Other(_) => {
            Err("expected true or false".to_owned())
        }
    }
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

fn refuse_denied(host: &str) -> Result<(), Expected> {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match address {
        Some(address) if is_denied(address) => {
            Err("expected another address: link-local and cloud metadata addresses are never contacted".to_owned())
        }
        Some(_) | None => Ok(()),
    }
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

pub(super) fn text(value: &Value) -> Result<String, Expected> {
    match text_of(value) {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err("expected a text in quotes".to_owned()),
    }
}

/// Letters, digits and hyphens, so that it cannot lead the SDK to another host.
pub(super) fn region(value: &Value) -> Result<String, Expected> {
    let fits = |text: &&str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let region = text_of(value).filter(fits).map(str::to_owned);
    region.ok_or_else(|| "expected an AWS region, such as \"us-east-1\"".to_owned())
}

/// Plain HTTP only on this machine: prompts travel over it.
pub(super) fn endpoint(value: &Value) -> Result<String, Expected> {
    const FORM: &str = "expected https://HOST[:PORT], or http:// on a loopback address";
    let text = text_of(value).ok_or(FORM)?;
    let url = reqwest::Url::parse(text).map_err(|_| FORM)?;
    let host = url.host_str().ok_or(FORM)?;
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return Err(FORM.to_owned());
    }
    refuse_denied(host)?;
    Ok(text.trim_end_matches('/').to_owned())
}

pub(super) fn credentials(value: &Value) -> Result<(), Expected> {
    match text_of(value) {
        Some("default") => Ok(()),
        Some("iot") => Err("not available yet: expected \"default\", the AWS SDK's own chain".to_owned()),
        _ => Err("expected \"default\", the AWS SDK's own chain".to_owned()),
    }
}

pub(super) fn service_tier(value: &Value) -> Result<String, Expected> {
    let known = text_of(value).filter(|tier| ["priority", "default", "flex", "reserved"].contains(tier));
    known.map(str::to_owned).ok_or_else(|| "expected \"priority\", \"default\", \"flex\" or \"reserved\"".to_owned())
}

pub(super) fn mapping(value: &Value) -> Result<(), Expected> {
    match text_of(value) {
        Some("same-weights") => Ok(()),
        _ => Err("expected \"same-weights\", or [[overflow.model]] for each model".to_owned()),
    }
}

pub(super) fn family(value: &Value) -> Result<&'static Family, Expected> {
    let family = text_of(value).and_then(Family::named);
    family.ok_or_else(|| format!("expected one of {}", Family::names().collect::<Vec<_>>().join(", ")))
}

/// Zero or more dollars.
pub(super) fn dollars(value: &Value) -> Result<f64, Expected> {
    let dollars = match value {
        Value::Float(dollars) => Some(*dollars),
        Value::Integer(dollars) => Some(*dollars as f64),
        Value::Env(text) => text.parse().ok(),
        Value::Text(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
    };
    let dollars = dollars.filter(|dollars: &f64| dollars.is_finite() && *dollars >= 0.0);
    dollars.ok_or_else(|| "expected dollars, such as 0.30".to_owned())
}

pub(super) fn daily_usd(value: &Value) -> Result<BudgetCap, Expected> {
    if text_of(value) == Some("unlimited") {
        return Ok(BudgetCap::Unlimited);
    }
    let dollars = dollars(value).map_err(|_| "expected dollars a day, such as 5.0, or \"unlimited\"".to_owned())?;
    Ok(overflow::cap(dollars))
}

/// A pattern that can match: one that cannot would leave open what it should close.
pub(super) fn pattern(value: &Value) -> Result<String, Expected> {
    const LONGEST: usize = 640;
    let text = text(value)?;
    match text.contains(['[', ']', '{', '}']) || text.len() > LONGEST {
        true => Err("expected a pattern with * and ? alone, up to 640 bytes".to_owned()),
        false => Ok(text),
    }
}
