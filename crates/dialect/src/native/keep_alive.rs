//! How long a model stays in memory: Ollama's `keep_alive`.

use std::time::Duration;

use serde_json::Value;

/// A time to stay, as Ollama reads it (`Duration` in `api/types.go`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum KeepAlive {
    /// Any negative value.
    Forever,
    /// So many seconds; 0 unloads at once.
    Seconds(f64),
}

impl KeepAlive {
    /// A number of seconds, or a text that Go's `time.ParseDuration` takes; none for anything else.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        let seconds = match value {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => go_duration(text)?,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(if seconds < 0.0 { Self::Forever } else { Self::Seconds(seconds) })
    }

    /// The model goes as soon as the answer ends. Ollama counts whole nanoseconds.
    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Self::Forever => false,
            Self::Seconds(seconds) => seconds < 1e-9,
        }
    }

    /// Shorter than `other`.
    #[must_use]
    pub fn is_under(self, other: Duration) -> bool {
        match self {
            Self::Forever => false,
            Self::Seconds(seconds) => seconds < other.as_secs_f64(),
        }
    }

    /// Longer than `other`.
    #[must_use]
    pub fn is_over(self, other: Duration) -> bool {
        match self {
            Self::Forever => true,
            Self::Seconds(seconds) => seconds > other.as_secs_f64(),
        }
    }
}

/// Units of Go's durations, seconds; those that others begin with come last.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
];

/// Go's `time.ParseDuration`, seconds.
fn go_duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (figure, unit) = rest.split_at_checked(end)?;
        // Rust reads `5.` and `.5` as Go does, and refuses `.` and `1.2.3`.
        let figure: f64 = figure.parse().ok()?;
        let (unit, scale) = UNITS
            .into_iter()
            .find(|(name, _)| unit.starts_with(name))
            .map(|(name, scale)| (unit.strip_prefix(name), scale))?;
        seconds += figure * scale;
        rest = unit?;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_as_ollama_reads_them() {
        for (value, seconds) in [
            (json!(0), 0.0),
            (json!(1.5), 1.5),
            (json!("0"), 0.0),
            (json!("5m"), 300.0),
            (json!("+1h30m"), 5_400.0),
            (json!("1.5h.5s"), 5_400.5),
            (json!("250ms"), 0.25),
            (json!("1\u{b5}s1us"), 2e-6),
        ] {
            let Some(KeepAlive::Seconds(read)) = KeepAlive::read(&value) else { panic!("{value}") };
            assert!((read - seconds).abs() < 1e-9, "{value}: {read}");
        }
        for value in [json!(-1), json!("-1s"), json!(-0.001)] {
            assert_eq!(KeepAlive::read(&value), Some(KeepAlive::Forever), "{value}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for value in [
            json!("5"),
            json!(""),
            json!("-"),
            json!("m"),
            json!("5x"),
            json!("."),
            json!("1.2.3s"),
            json!(true),
            json!([]),
        ] {
            assert_eq!(KeepAlive::read(&value), None, "{value}");
        }
    }

    #[test]
    fn a_time_too_short_to_count_is_zero() {
        assert!(KeepAlive::Seconds(1e-10).is_zero() && !KeepAlive::Seconds(1e-3).is_zero());
        assert!(!KeepAlive::Forever.is_zero());
    }
}
