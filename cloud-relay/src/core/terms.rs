//! How a key may be used, and what is left of a caller's wishes under it.
//!
//! Invariant: what a caller asks for only narrows what its key allows; nothing in a request widens
//! it. Absent: how many requests run ([`crate::core::quota`]).

use std::time::Duration;

use crate::core::errors::Refusal;
use crate::core::headers::Asked;
use crate::core::route::{Allowed, conflict};
use crate::core::spend::Usd;

/// A key's terms, beside the models and edges of its scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Answers come from the edges' own machines alone.
    pub local_only: bool,
    /// Requests a minute; none: no bound.
    pub rpm: Option<u32>,
    /// Requests at once; none: no bound.
    pub concurrent: Option<u32>,
    /// The shortest deadline of a first token it may ask for: a shorter one would send every request
    /// of the key elsewhere, whatever the machine's load.
    pub min_first_token: Duration,
    /// Its requests always give way to others.
    pub batch_only: bool,
    /// Most that its requests may spend in one UTC day; none: no bound.
    pub daily: Option<Usd>,
}

impl Terms {
    /// [`Terms::min_first_token`] where a key says nothing: about the fastest first token of a model
    /// that is loaded.
    pub const MIN_FIRST_TOKEN: Duration = Duration::from_millis(250);

    /// Who may answer the key's requests.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        if self.local_only { Allowed::LOCAL } else { Allowed::ANY }
    }

    /// What a caller asks for, as far as the key allows it.
    ///
    /// # Errors
    ///
    /// 403 `route_conflict` where nobody is left who may answer.
    pub fn narrow(&self, mut asked: Asked) -> Result<Asked, Refusal> {
        asked.allowed = asked.allowed.and(self.allowed());
        if asked.allowed.is_empty() {
            return Err(conflict(
                "x-causeway-route: cloud-only contradicts this key, which is local-only; leave the header out, or \
                 use a key made with `keys create --route auto`",
            ));
        }
        asked.batch |= self.batch_only;
        asked.first_token = asked.first_token.map(|time| time.max(self.min_first_token));
        Ok(asked)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            local_only: false,
            rpm: None,
            concurrent: None,
            min_first_token: Self::MIN_FIRST_TOKEN,
            batch_only: false,
            daily: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ms: u64) -> Asked {
        Asked { first_token: Some(Duration::from_millis(ms)), ..Asked::default() }
    }

    #[test]
    fn a_caller_narrows_what_its_key_allows_and_never_widens_it() {
        let open = Terms::default();
        for allowed in [Allowed::ANY, Allowed::LOCAL, Allowed::CLOUD] {
            assert_eq!(open.narrow(Asked { allowed, ..Asked::default() }).unwrap().allowed, allowed);
        }
        assert!(open.narrow(Asked { batch: true, ..Asked::default() }).unwrap().batch);
        let strict = Terms { local_only: true, batch_only: true, ..Terms::default() };
        let left = strict.narrow(Asked::default()).unwrap();
        assert!(left.allowed == Allowed::LOCAL && left.batch);
    }

    #[test]
    fn a_local_only_key_and_a_cloud_only_request_contradict_and_no_retry_cures_it() {
        let strict = Terms { local_only: true, ..Terms::default() };
        let refusal = strict.narrow(Asked { allowed: Allowed::CLOUD, ..Asked::default() }).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (causeway_wire::Code::RouteConflict, 403));
        assert!(refusal.message.contains("cloud-only contradicts this key"), "{}", refusal.message);
        assert!(refusal.headers().contains(&("x-should-retry", "false".to_owned())));
    }

    #[test]
    fn a_deadline_is_no_shorter_than_the_key_allows() {
        let terms = Terms { min_first_token: Duration::from_secs(1), ..Terms::default() };
        assert_eq!(terms.narrow(asked(1)).unwrap().first_token, Some(Duration::from_secs(1)));
        assert_eq!(terms.narrow(asked(2_000)).unwrap().first_token, Some(Duration::from_secs(2)));
        assert_eq!(terms.narrow(Asked::default()).unwrap().first_token, None);
    }
}
