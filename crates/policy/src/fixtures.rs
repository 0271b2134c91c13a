//! The one place where tests begin virtual time.

use std::time::Instant;

/// A beginning; everything after it is arithmetic.
#[expect(clippy::disallowed_methods, reason = "virtual time needs one beginning")]
pub(crate) fn start() -> Instant {
    Instant::now()
}
