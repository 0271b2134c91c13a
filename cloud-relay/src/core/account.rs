//! What is kept of a request once it has ended: where, why, how much, how long; never a text.
//!
//! Absent: where it is kept (the shell's store), and requests that run.

use std::time::Duration;

use causeway_wire::{Backend, Code, Outcome};
use serde_json::{Value, json};

use crate::core::spend::Usd;

/// One request that has ended.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    /// Our id.
    pub id: String,
    /// The caller's own.
    pub own_id: Option<String>,
    /// When its head was there, milliseconds since 1970.
    pub started_ms: u64,
    /// The key's id; empty where none was good.
    pub key: String,
    /// Method.
    pub method: String,
    /// Path as shown: shortened, printable.
    pub path: String,
    /// The reduced model name, once one was read.
    pub model: Option<String>,
    /// The edge that answered, or was asked last.
    pub edge: Option<String>,
    /// HTTP status, where an answer began.
    pub status: Option<u16>,
    /// Why it did not go well.
    pub code: Option<Code>,
    /// The caller left before its answer was whole.
    pub abandoned: bool,
    /// The backend that the answer's head named.
    pub backend: Option<Backend>,
    /// Why it was answered there, as the answer's head said it.
    pub reason: Option<String>,
    /// What the edge said of it.
    pub outcome: Outcome,
    /// From its head to the first byte that went out, which may be a sign of life.
    pub first: Option<Duration>,
    /// From its head to its end.
    pub total: Duration,
}

impl Account {
    /// Who answered, in the contract's word.
    #[must_use]
    pub fn served_by(&self) -> Option<&'static str> {
        self.outcome.served_by.or(self.backend).map(word)
    }

    /// How it ended, in one word: `ok`, `cancelled` (its caller left), `failed` (the backend itself
    /// answered with an error), or the code.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match (self.code, self.status) {
            (Some(code), _) => code.as_str(),
            (None, _) if self.abandoned => Code::Cancelled.as_str(),
            (None, Some(400..)) => "failed",
            (None, _) => "ok",
        }
    }

    /// From its head to the answer's first byte; none where no backend answered. Only the edge tells that
    /// byte from a sign of life, by a clock that begins a little later: the later of both is nearer to the
    /// truth.
    #[must_use]
    pub fn first_token(&self) -> Option<Duration> {
        self.served_by()?;
        let edge = self.outcome.first_token_ms.map(Duration::from_millis);
        // An edge that tells the end's time and no first token has seen none.
        if edge.is_none() && self.outcome.total_ms.is_some() { None } else { self.first.max(edge) }
    }

    /// `GET /causeway/v1/requests/ID`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "id": self.id,
            "own_id": self.own_id,
            "state": "ended",
            "result": self.result(),
            "started_ms": self.started_ms,
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "edge": self.edge,
            "served_by": self.served_by(),
            "reason": self.reason.as_deref().or(self.code.map(Code::as_str)),
            "status": self.status,
            "input_tokens": self.outcome.input_tokens,
            "output_tokens": self.outcome.output_tokens,
            "cost_usd": self.outcome.usd.map_or(0.0, |usd| Usd::from_f64(usd).to_f64()),
            "first_token_ms": self.first_token().map(ms),
            "total_ms": ms(self.total),
        })
    }
}

/// A request that runs, for the same question.
#[must_use]
pub fn running_json(id: &str, own_id: Option<&str>, started_ms: u64) -> Value {
    json!({ "id": id, "own_id": own_id, "state": "running", "started_ms": started_ms })
}

/// Longest reason kept, characters: the words of the contract are half as long.
const MAX_REASON: usize = 64;

/// The reason that a head gives, as far as it is fit to be kept.
#[must_use]
pub fn reason(word: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(word).ok()?;
    (word.len() <= MAX_REASON && word.bytes().all(|byte| byte.is_ascii_graphic())).then(|| word.to_owned())
}

/// The backend that a head names.
#[must_use]
pub fn backend(word: &[u8]) -> Option<Backend> {
    match word {
        b"local" => Some(Backend::Local),
        b"bedrock" => Some(Backend::Bedrock),
        _ => None,
    }
}

const fn word(backend: Backend) -> &'static str {
    match backend {
        Backend::Local => "local",
        Backend::Bedrock => "bedrock",
        Backend::OllamaCloud => "ollama_cloud",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_no_first_token() {
        let first = |backend, edge: Option<u64>, total: Option<u64>| {
            let outcome = Outcome { first_token_ms: edge, total_ms: total, ..Outcome::default() };
            Account { first: Some(Duration::from_secs(10)), backend, outcome, ..Account::default() }.first_token()
        };
        let local = Some(Backend::Local);
        assert_eq!(first(local, Some(12_000), Some(13_000)), Some(Duration::from_secs(12)));
        assert_eq!(first(local, Some(9_990), Some(13_000)), Some(Duration::from_secs(10)));
        assert_eq!(first(local, None, Some(13_000)), None, "it was cut before its first token");
        assert_eq!(first(local, None, None), Some(Duration::from_secs(10)), "its edge went away");
        assert_eq!(first(None, None, Some(13_000)), None, "it was refused after a sign of life");
    }

    #[test]
    fn an_account_says_where_why_how_much_and_how_long() {
        let account = Account {
            id: "ID".to_owned(),
            edge: Some("gpu-1".to_owned()),
            status: Some(200),
            backend: Some(Backend::Local),
            outcome: Outcome { input_tokens: Some(3), output_tokens: Some(16), ..Outcome::default() },
            first: Some(Duration::from_millis(40)),
            total: Duration::from_millis(900),
            ..Account::default()
        };
        let told = account.to_json();
        for (name, expected) in [
            ("result", json!("ok")),
            ("served_by", json!("local")),
            ("output_tokens", json!(16)),
            ("first_token_ms", json!(40)),
            ("total_ms", json!(900)),
            ("cost_usd", json!(0.0)),
        ] {
            assert_eq!(told[name], expected, "{name}");
        }
    }

    #[test]
    fn a_request_that_no_backend_answered_names_none() {
        let refused = Account { edge: Some("gpu-1".to_owned()), code: Some(Code::Saturated), ..Account::default() };
        assert_eq!((refused.served_by(), refused.result()), (None, "saturated"));
    }

    #[test]
    fn an_answer_that_its_caller_or_the_backend_spoilt_is_not_called_good() {
        let begun = Account { backend: backend(b"bedrock"), status: Some(200), ..Account::default() };
        let left = Account { abandoned: true, ..begun.clone() };
        assert_eq!((left.served_by(), left.result()), (Some("bedrock"), "cancelled"));
        let broken = Account { status: Some(500), ..begun };
        assert_eq!((broken.served_by(), broken.result()), (Some("bedrock"), "failed"));
    }
}
