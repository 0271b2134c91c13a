//! How a key may be used, and what is left of a caller's wishes under it.
//!
//! Invariant: what a caller asks for only narrows what its key allows; nothing in a request widens
//! it. Absent: how many requests run ([`crate::core::quota`]).

use std::time::Duration;

use crate::core::headers::Asked;

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
}

impl Terms {
    /// [`Terms::min_first_token`] where a key says nothing: about the fastest first token of a model
    /// that is loaded.
    pub const MIN_FIRST_TOKEN: Duration = Duration::from_millis(250);

    /// What a caller asks for, as far as the key allows it.
    #[must_use]
    pub fn narrow(&self, mut asked: Asked) -> Asked {
        asked.local_only |= self.local_only;
        asked.batch |= self.batch_only;
        asked.first_token = asked.first_token.map(|time| time.max(self.min_first_token));
        asked
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
        assert!(!open.narrow(Asked::default()).local_only);
        assert!(open.narrow(Asked { local_only: true, ..Asked::default() }).local_only);
        assert!(open.narrow(Asked { batch: true, ..Asked::default() }).batch);
        let strict = Terms { local_only: true, batch_only: true, ..Terms::default() };
        let left = strict.narrow(Asked::default());
        assert!(left.local_only && left.batch);
    }

    #[test]
    fn a_deadline_is_no_shorter_than_the_key_allows() {
        let terms = Terms { min_first_token: Duration::from_secs(1), ..Terms::default() };
        assert_eq!(terms.narrow(asked(1)).first_token, Some(Duration::from_secs(1)));
        assert_eq!(terms.narrow(asked(2_000)).first_token, Some(Duration::from_secs(2)));
        assert_eq!(terms.narrow(Asked::default()).first_token, None);
    }
}
