//! From a refusal to its HTTP answer: the one place where status and headers are decided.

use std::time::Duration;

use causeway_dialect::error;
use causeway_dialect::route::Dialect;
use causeway_wire::{Code, Failure, OpenRefused};

use crate::core::limits::{FORETOLD_MOST, SATURATED_LEAST, SATURATED_MOST};

/// Why a caller gets an error instead of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// From the shared table.
    pub code: Code,
    /// HTTP status: the code's, or a more exact one (405, 408, 414, 415, 431).
    pub status: u16,
    /// What happened, then what to do.
    pub message: String,
    /// When another try makes sense.
    pub retry_after: Option<Duration>,
    /// The edge itself has predicted that time: it knows its queue.
    pub foretold: bool,
    /// Methods that the path takes (405).
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with the code's own status, and a `Retry-After` where waiting cures it.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            status: code.http_status(),
            message: message.into(),
            retry_after: default_retry_after(code),
            foretold: false,
            allow: None,
        }
    }

    /// The same with a more exact status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with another time to wait.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same, and where every slot is taken the time until one is predicted to be free, unless the
    /// edge has said so itself.
    #[must_use]
    pub fn predicted(self, wait: Option<Duration>) -> Self {
        if self.code == Code::Saturated && !self.foretold { self.after(saturated_after(wait)) } else { self }
    }

    /// A request in a form that is refused.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn curable(&self) -> bool {
        match (self.code, self.status) {
            // Somebody did not want the answer: an SDK must not ask for it again.
            (Code::Cancelled, _) => false,
            // The caller's own connection was slow.
            (_, 408) => true,
            (code, status) => code.curable_by_retry() && !matches!(status, 405 | 414 | 415 | 431),
        }
    }

    /// Headers beside `content-type`.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("x-causeway-reason", self.code.as_str().to_owned())];
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: never too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.push(("retry-after", seconds.max(1).to_string()));
            headers.push(("retry-after-ms", wait.as_millis().max(1).to_string()));
        }
        if !self.curable() {
            headers.push(("x-should-retry", "false".to_owned()));
        }
        if let Some(methods) = self.allow {
            headers.push(("allow", methods.to_owned()));
        }
        headers
    }

    /// The JSON body in the caller's dialect.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> Vec<u8> {
        error::body(dialect, self.code, &self.message)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let refusal = Self::new(failure.code, failure.message);
        match failure.retry_after_ms.map(Duration::from_millis) {
            Some(wait) if failure.code.curable_by_retry() => {
                Self { foretold: true, ..refusal.after(wait.min(FORETOLD_MOST)) }
            }
            Some(_) | None => refusal,
        }
    }
}

impl From<OpenRefused> for Refusal {
    fn from(refused: OpenRefused) -> Self {
        match refused {
            OpenRefused::Offline => Self::new(Code::EdgeOffline, "the edge went away; try again"),
            OpenRefused::Full => Self::new(Code::Saturated, "the edge takes no more requests at once; try again later"),
            OpenRefused::TargetTooLong => Self::invalid("the path and query are longer than 2 KiB").with_status(414),
            OpenRefused::HeadersTooLong => Self::invalid("the request headers are longer than 4 KiB").with_status(431),
        }
    }
}

/// When a caller who found everything taken should try again: when a slot is predicted to be free,
/// as far as that is known, and within bounds.
fn saturated_after(wait: Option<Duration>) -> Duration {
    wait.unwrap_or_default().clamp(SATURATED_LEAST, SATURATED_MOST)
}

fn default_retry_after(code: Code) -> Option<Duration> {
    match code {
        Code::Saturated => Some(saturated_after(None)),
        Code::EdgeOffline | Code::LocalUnavailable | Code::Draining | Code::WrongInstance => {
            Some(Duration::from_secs(5))
        }
        Code::RateLimited => Some(Duration::from_secs(1)),
        Code::BudgetExhausted => Some(Duration::from_secs(3600)),
        Code::Unauthorized
        | Code::ForbiddenModel
        | Code::RouteNotAllowed
        | Code::RouteConflict
        | Code::InvalidRequest
        | Code::TooLarge
        | Code::UnsupportedParameter
        | Code::ContextExceeded
        | Code::ModelNotFound
        | Code::DeadlineExceeded
        | Code::UpstreamIncomplete
        | Code::LinkLost
        | Code::SlowReader
        | Code::UnknownStream
        | Code::Cancelled
        | Code::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_edge_foretells_of_its_queue_is_passed_on_as_it_is_and_bounded() {
        let told = |code, ms| Refusal::from(Failure { retry_after_ms: Some(ms), ..Failure::new(code, "m") });
        let wait = Some(Duration::from_secs(9));
        let headers = told(Code::Saturated, 1_234).predicted(wait).headers();
        assert!(headers.contains(&("retry-after-ms", "1234".to_owned())), "{headers:?}");
        assert!(headers.contains(&("retry-after", "2".to_owned())), "{headers:?}");
        assert_eq!(told(Code::Saturated, u64::MAX).retry_after, Some(FORETOLD_MOST));
        assert_eq!(told(Code::InvalidRequest, 5).retry_after, None);
        let untold = Refusal::from(Failure::new(Code::Saturated, "m")).predicted(wait);
        assert_eq!(untold.retry_after, wait);
    }

    #[test]
    fn what_a_retry_cures_says_when_and_what_it_does_not_says_so() {
        let offline = Refusal::new(Code::EdgeOffline, "m").headers();
        assert!(offline.contains(&("retry-after", "5".to_owned())));
        assert!(!offline.iter().any(|(name, _)| *name == "x-should-retry"));
        assert!(Refusal::invalid("m").with_status(408).curable());
        for refusal in [
            Refusal::new(Code::ForbiddenModel, "m"),
            Refusal::invalid("m").with_status(415),
            Refusal::new(Code::TooLarge, "m"),
            Refusal::new(Code::Cancelled, "m"),
        ] {
            assert!(refusal.headers().contains(&("x-should-retry", "false".to_owned())));
        }
    }

    #[test]
    fn who_finds_every_slot_taken_is_told_when_one_is_predicted_to_be_free() {
        let after = |code, wait| Refusal::new(code, "m").predicted(wait).retry_after;
        for (wait, expected) in [(None, 1_000), (Some(0), 1_000), (Some(7_300), 7_300), (Some(600_000), 60_000)] {
            let wait = wait.map(Duration::from_millis);
            assert_eq!(after(Code::Saturated, wait), Some(Duration::from_millis(expected)), "{wait:?}");
        }
        assert_eq!(after(Code::EdgeOffline, Some(Duration::from_secs(9))), Some(Duration::from_secs(5)));
        assert_eq!(after(Code::ForbiddenModel, Some(Duration::from_secs(9))), None);
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let refusal = Refusal::new(Code::RateLimited, "m").after(Duration::from_millis(1_200));
        assert!(refusal.headers().contains(&("retry-after", "2".to_owned())));
        assert!(refusal.headers().contains(&("retry-after-ms", "1200".to_owned())));
    }
}
