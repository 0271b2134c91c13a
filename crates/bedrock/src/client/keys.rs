//! The credentials in use: found at start, renewed in the background, read without waiting.
//!
//! Invariant: a request never waits for credentials; without good ones it fails at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_bedrockruntime::config::Credentials;
use tokio::time::{sleep, timeout};

/// Credentials are renewed this long before they expire: several tries fit in.
const AHEAD: Duration = Duration::from_secs(300);
/// And looked at anew after this long at the latest: files and environments of keys that never expire may change.
const LATEST: Duration = Duration::from_secs(900);
/// Between two tries that fail.
const RETRY: Duration = Duration::from_secs(10);
/// A source that says nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Held {
    /// The last found, and why the last try failed if it did.
    state: Mutex<(Option<Credentials>, Option<String>)>,
    /// A bearer token is used instead.
    bearer: bool,
}

impl Held {
    pub(super) fn new(bearer: bool) -> Self {
        let not_yet = "they are still being looked for".to_owned();
        Self { state: Mutex::new((None, Some(not_yet))), bearer }
    }

    /// Why there are none, if so. Old ones that still hold are good whatever the last try said.
    pub(super) fn fault(&self) -> Option<String> {
        if self.bearer {
            return None;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            (Some(found), _) if !is_over(found) => None,
            (Some(_), failed) => Some(failed.clone().unwrap_or_else(|| "they have expired".to_owned())),
            (None, failed) => Some(failed.clone().unwrap_or_default()),
        }
    }

    fn found(&self) -> Option<Credentials> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone().filter(|found| !is_over(found))
    }

    /// Renews them for ever.
    pub(super) async fn keep_fresh(&self, source: Option<SharedCredentialsProvider>) {
        if self.bearer {
            return std::future::pending().await;
        }
        loop {
            let found = match &source {
                Some(source) => match timeout(PATIENCE, source.provide_credentials()).await {
                    Ok(found) => found.map_err(|error| said(&error)),
                    Err(_) => Err("their source does not answer".to_owned()),
                },
                None => Err("no source of credentials is configured".to_owned()),
            };
            sleep(self.take(found)).await;
        }
    }

    /// Keeps what was found; the time until the next look.
    fn take(&self, found: Result<Credentials, String>) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => {
                let pause = until_renewal(&found);
                *state = (Some(found), None);
                pause
            }
            Err(reason) => {
                if state.1.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "no credentials for Bedrock");
                }
                state.1 = Some(reason);
                RETRY
            }
        }
    }
}

/// What the SDK asks: it gets what is there.
#[derive(Debug)]
pub(super) struct Provider(pub(super) Arc<Held>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let found = self.0.found().ok_or_else(|| CredentialsError::not_loaded("none are there yet"));
        future::ProvideCredentials::ready(found)
    }
}

fn is_over(credentials: &Credentials) -> bool {
    credentials.expiry().is_some_and(|expiry| expiry <= SystemTime::now())
}

fn until_renewal(credentials: &Credentials) -> Duration {
    let left = credentials.expiry().map(|expiry| expiry.duration_since(SystemTime::now()).unwrap_or_default());
    left.map_or(LATEST, |left| left.saturating_sub(AHEAD).clamp(RETRY, LATEST))
}

/// What went wrong, without the developer's form of it.
fn said(error: &CredentialsError) -> String {
    let mut words = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(left: Option<Duration>) -> Credentials {
        let expiry = left.map(|left| SystemTime::now() + left);
        Credentials::new("id", "secret", None, expiry, "test")
    }

    #[test]
    fn good_credentials_stay_in_use_while_new_ones_cannot_be_had() {
        let held = Held::new(false);
        assert!(held.fault().is_some());
        held.take(Ok(keys(Some(Duration::from_secs(3_600)))));
        assert_eq!(held.fault(), None);
        assert_eq!(held.take(Err("down".to_owned())), RETRY);
        assert!(held.fault().is_none() && held.found().is_some());
    }

    #[test]
    fn credentials_that_expired_midway_are_no_longer_given_out_and_the_reason_is_said() {
        let held = Held::new(false);
        held.take(Ok(keys(Some(Duration::ZERO))));
        held.take(Err("the role is gone".to_owned()));
        assert_eq!(held.fault().as_deref(), Some("the role is gone"));
        assert!(held.found().is_none());
    }

    #[test]
    fn they_are_renewed_before_they_expire() {
        assert_eq!(until_renewal(&keys(None)), LATEST);
        let pause = until_renewal(&keys(Some(Duration::from_secs(900))));
        assert!(pause <= Duration::from_secs(600) && pause > Duration::from_secs(590), "{pause:?}");
        assert_eq!(until_renewal(&keys(Some(Duration::from_secs(10)))), RETRY);
    }

    #[test]
    fn with_a_bearer_token_none_are_needed() {
        assert_eq!(Held::new(true).fault(), None);
    }
}
