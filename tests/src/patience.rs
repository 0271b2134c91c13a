//! The one place where tests look again and again: for what another process does (a file it
//! writes, a port it opens) and tells by no event that could be waited for.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is something; an error of the look itself ends the wait.
///
/// # Errors
/// That of `look`, or that the limit has passed.
pub async fn poll_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
