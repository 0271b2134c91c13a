//! What each kind of value must look like, and what is said where it does not.

#![expect(clippy::missing_errors_doc, reason = "each says what was expected instead of the value")]

use std::net::IpAddr;
use std::ops::RangeInclusive;

use causeway_bedrock::Family;
use causeway_policy::BudgetCap;
use causeway_transport::is_denied;

use super::reader::Expected;
use super::source::Value;

/// A text, from either source.
pub fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Env(text) => Some(text),
        Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
    }
}

/// A whole number within `range`.
pub fn whole(range: RangeInclusive<u64>, unit: &str) -> impl FnOnce(&Value) -> Result<u64, Expected> {
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

/// A switch.
pub fn flag(value: &Value) -> Result<bool, Expected> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Env(text) if text == "true" => Ok(true),
        Value::Env(text) if text == "false" => Ok(false),
        Value::Env(_) | Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Other(_) => {
            Err("expected true or false".to_owned())
        }
    }
}

/// Refuses an address that nothing of ours may ever contact.
pub fn refuse_denied(host: &str) -> Result<(), Expected> {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match address {
        Some(address) if is_denied(address) => {
            Err("expected another address: link-local and cloud metadata addresses are never contacted".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// Some text.
pub fn text(value: &Value) -> Result<String, Expected> {
    match text_of(value) {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err("expected a text in quotes".to_owned()),
    }
}

/// Letters, digits and hyphens, so that it cannot lead the SDK to another host.
pub fn region(value: &Value) -> Result<String, Expected> {
    let fits = |text: &&str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let region = text_of(value).filter(fits).map(str::to_owned);
    region.ok_or_else(|| "expected an AWS region, such as \"us-east-1\"".to_owned())
}

/// Plain HTTP only on this machine: prompts travel over it.
pub fn endpoint(value: &Value) -> Result<String, Expected> {
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

/// Where credentials come from.
pub fn credentials(value: &Value) -> Result<(), Expected> {
    match text_of(value) {
        Some("default") => Ok(()),
        Some("iot") => Err("not available yet: expected \"default\", the AWS SDK's own chain".to_owned()),
        _ => Err("expected \"default\", the AWS SDK's own chain".to_owned()),
    }
}

/// A tier that Bedrock knows.
pub fn service_tier(value: &Value) -> Result<String, Expected> {
    let known = text_of(value).filter(|tier| ["priority", "default", "flex", "reserved"].contains(tier));
    known.map(str::to_owned).ok_or_else(|| "expected \"priority\", \"default\", \"flex\" or \"reserved\"".to_owned())
}

/// A table of mappings that is shipped.
pub fn mapping(value: &Value) -> Result<(), Expected> {
    match text_of(value) {
        Some("same-weights") => Ok(()),
        _ => Err("expected \"same-weights\", or [[overflow.model]] for each model".to_owned()),
    }
}

/// A family of models.
pub fn family(value: &Value) -> Result<&'static Family, Expected> {
    let family = text_of(value).and_then(Family::named);
    family.ok_or_else(|| format!("expected one of {}", Family::names().collect::<Vec<_>>().join(", ")))
}

/// Zero or more dollars.
pub fn dollars(value: &Value) -> Result<f64, Expected> {
    let dollars = match value {
        Value::Float(dollars) => Some(*dollars),
        Value::Integer(dollars) => Some(*dollars as f64),
        Value::Env(text) => text.parse().ok(),
        Value::Text(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => None,
    };
    let dollars = dollars.filter(|dollars: &f64| dollars.is_finite() && *dollars >= 0.0);
    dollars.ok_or_else(|| "expected dollars, such as 0.30".to_owned())
}

/// A day's budget.
pub fn daily_usd(value: &Value) -> Result<BudgetCap, Expected> {
    if text_of(value) == Some("unlimited") {
        return Ok(BudgetCap::Unlimited);
    }
    let dollars = dollars(value).map_err(|_| "expected dollars a day, such as 5.0, or \"unlimited\"".to_owned())?;
    Ok(super::cap(dollars))
}

/// A pattern that can match: one that cannot would leave open what it should close.
pub fn pattern(value: &Value) -> Result<String, Expected> {
    const LONGEST: usize = 640;
    let text = text(value)?;
    match text.contains(['[', ']', '{', '}']) || text.len() > LONGEST {
        true => Err("expected a pattern with * and ? alone, up to 640 bytes".to_owned()),
        false => Ok(text),
    }
}
