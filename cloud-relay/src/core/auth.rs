//! Who a caller is: credentials, keys, and what a key may use.
//!
//! Route and authorise from the same value: what is read here once is the only identity a request
//! has. An unknown id and a wrong secret take one path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use causeway_dialect::model::ModelName;
use causeway_policy::one_more;
use causeway_wire::Code;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::core::errors::Refusal;
use crate::core::limits::{FAILURE_BURST, FAILURE_REFILL, WATCHED_ADDRESSES};
use crate::core::terms::Terms;

/// Random bytes of a key's id and secret.
pub const ID_BYTES: usize = 6;
/// 256 bits.
pub const SECRET_BYTES: usize = 32;

/// Longest credential looked at, bytes.
const MAX_CREDENTIAL: usize = 256;

/// One caller's key as stored: never its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Public part.
    pub id: String,
    /// For people.
    pub name: String,
    /// Patterns of models it may use; none means all.
    pub models: Vec<String>,
    /// Edges it may use; none means all.
    pub edges: Vec<String>,
    /// May see all edges.
    pub admin: bool,
    /// How it may use them.
    pub terms: Terms,
    /// Unix seconds.
    pub expires: Option<u64>,
    /// Unix seconds.
    pub revoked: Option<u64>,
    /// SHA-256 of the secret's text.
    pub hash: [u8; 32],
}

impl Key {
    /// Whether the key's scope has this model.
    #[must_use]
    pub fn allows_model(&self, model: &ModelName) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| model.matches(pattern))
    }

    /// Whether the key's scope has this edge.
    #[must_use]
    pub fn allows_edge(&self, edge: &str) -> bool {
        self.edges.is_empty() || self.edges.iter().any(|allowed| allowed == edge)
    }

    /// A key for these models and all edges.
    #[cfg(test)]
    pub(crate) fn for_test(models: &[&str]) -> Self {
        Self {
            id: "id".to_owned(),
            name: "test".to_owned(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            edges: Vec::new(),
            admin: false,
            terms: Terms::default(),
            expires: None,
            revoked: None,
            hash: [0; 32],
        }
    }
}

/// A new key's text for its owner, and what is stored of it.
pub struct NewKey {
    /// Public part.
    pub id: String,
    /// `cw_<id>_<secret>`; shown once.
    pub text: String,
    /// SHA-256 of the secret's text.
    pub hash: [u8; 32],
}

impl NewKey {
    /// Makes a key from randomness.
    #[must_use]
    pub fn from_random(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> Self {
        let id = hex(&id);
        let secret = hex(&secret);
        let text = format!("cw_{id}_{secret}");
        Self { id, text, hash: hash(&secret) }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether a request brings a credential, good or bad.
#[must_use]
pub fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

/// The one credential of a request, from `Authorization: Bearer` or `x-api-key`.
///
/// # Errors
///
/// None, one that is no bearer token, or two different ones (401).
pub fn credential(headers: &HeaderMap) -> Result<&str, Refusal> {
    let bearers = headers.get_all(http::header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().ok()?;
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let keys = headers.get_all("x-api-key").iter().map(|value| value.to_str().ok().map(str::trim));
    let mut found = None;
    for credential in bearers.chain(keys) {
        let Some(credential) = credential.filter(|text| !text.is_empty() && text.len() <= MAX_CREDENTIAL) else {
            return Err(unauthorized("the credential is not `Authorization: Bearer KEY` or `x-api-key: KEY`"));
        };
        if found.is_some_and(|earlier| earlier != credential) {
            return Err(unauthorized("the request carries two different credentials; send one"));
        }
        found = Some(credential);
    }
    found.ok_or_else(|| unauthorized("no API key; send `Authorization: Bearer KEY` or `x-api-key: KEY`"))
}

/// The public part of a credential, to look its key up by. Nonsense has an empty one.
#[must_use]
pub fn key_id(credential: &str) -> &str {
    split(credential).map_or("", |(id, _)| id)
}

fn split(credential: &str) -> Option<(&str, &str)> {
    credential.strip_prefix("cw_")?.split_once('_')
}

/// Checks a credential against the key that its id found, if any.
///
/// # Errors
///
/// 401. That a key is expired or revoked is said only to who knows its secret.
pub fn verify(credential: &str, found: Option<&Key>, now_unix: u64) -> Result<(), Refusal> {
    let secret = split(credential).map_or("", |(_, secret)| secret);
    // Without a key the comparison is made all the same, with a value no secret has.
    let expected = found.map_or([0; 32], |key| key.hash);
    let right = bool::from(hash(secret).ct_eq(&expected));
    let Some(key) = found.filter(|_| right) else {
        return Err(unauthorized("the API key is wrong; check that it was copied whole"));
    };
    if key.revoked.is_some() {
        return Err(unauthorized("the API key was revoked; ask the relay's operator for another"));
    }
    if key.expires.is_some_and(|expires| expires <= now_unix) {
        return Err(unauthorized("the API key has expired; ask the relay's operator for another"));
    }
    Ok(())
}

/// What is told to an address that has failed too often to be told why.
#[must_use]
pub fn too_many_failures(wait: Duration) -> Refusal {
    let message = "too many failed authentications from this address; wait, then check the API key";
    Refusal::new(Code::RateLimited, message).after(wait)
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(Code::Unauthorized, message)
}

/// Counts failed authentications per address; a good key never asks it.
#[derive(Debug, Default)]
pub struct FailureLimiter {
    /// When the address' bucket will be full again.
    full_at: HashMap<IpAddr, Instant>,
}

impl FailureLimiter {
    /// Notes a failure; the time to wait if the address has made too many.
    pub fn failed(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.full_at.len() >= WATCHED_ADDRESSES {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= WATCHED_ADDRESSES {
                // So many guessing addresses at once: forget them rather than grow.
                self.full_at.clear();
            }
        }
        let full_at = self.full_at.entry(network(address)).or_insert(now);
        match one_more(Some(*full_at), FAILURE_REFILL, FAILURE_REFILL * FAILURE_BURST, now) {
            Ok(next) => {
                *full_at = next;
                None
            }
            Err(wait) => Some(wait),
        }
    }
}

/// One caller can have a whole IPv6 /64. An IPv4 caller of a port that takes both comes as IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6((six.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::headers::lines as headers;

    fn key() -> (Key, String) {
        let new = NewKey::from_random([7; ID_BYTES], [9; SECRET_BYTES]);
        (Key { id: new.id, hash: new.hash, ..Key::for_test(&[]) }, new.text)
    }

    #[test]
    fn the_right_key_is_taken_and_everything_else_is_refused_alike() {
        let (key, text) = key();
        assert_eq!(key_id(&text), key.id);
        assert_eq!(verify(&text, Some(&key), 0), Ok(()));
        let wrong = verify(&format!("{text}0"), Some(&key), 0).unwrap_err();
        let unknown = verify("cw_nobody_0", None, 0).unwrap_err();
        assert_eq!(wrong, unknown);
        for nonsense in ["", "cw_", "cw__", "sk-123", "cw_x"] {
            assert_eq!(verify(nonsense, None, 0).unwrap_err(), unknown);
        }
    }

    #[test]
    fn an_expired_or_revoked_key_says_so_only_to_its_owner() {
        let (mut key, text) = key();
        key.expires = Some(100);
        assert!(verify(&text, Some(&key), 99).is_ok());
        assert!(verify(&text, Some(&key), 100).unwrap_err().message.contains("expired"));
        assert!(verify("cw_x_y", Some(&key), 100).unwrap_err().message.contains("wrong"));
        key.revoked = Some(1);
        assert!(verify(&text, Some(&key), 99).unwrap_err().message.contains("revoked"));
    }

    #[test]
    fn two_different_credentials_are_refused_and_the_same_twice_is_one() {
        let same = headers(&[("authorization", "bearer  k"), ("x-api-key", "k")]);
        assert_eq!(credential(&same), Ok("k"));
        for lines in [
            &[("authorization", "Bearer a"), ("x-api-key", "b")][..],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("authorization", "Basic a"), ("x-api-key", "b")],
            &[("authorization", "a")],
            &[("x-api-key", "")],
            &[],
        ] {
            assert_eq!(credential(&headers(lines)).unwrap_err().status, 401, "{lines:?}");
        }
    }

    #[test]
    fn failures_are_limited_per_address_and_forgiven_with_time() {
        let mut limiter = FailureLimiter::default();
        let now = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..FAILURE_BURST {
            assert_eq!(limiter.failed(address, now), None);
        }
        assert!(limiter.failed(address, now).is_some());
        assert_eq!(limiter.failed(IpAddr::from([192, 0, 2, 2]), now), None);
        let mapped = |last| IpAddr::V6(std::net::Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped());
        assert!(limiter.failed(mapped(1), now).is_some(), "the same caller through a port that takes both");
        assert_eq!(limiter.failed(mapped(3), now), None, "callers do not share one bucket");
        assert_eq!(limiter.failed(address, now + FAILURE_REFILL), None);
    }

    #[test]
    fn scopes_are_judged_on_the_reduced_name() {
        let (mut key, _) = key();
        key.models = vec!["qwen3:*".to_owned()];
        key.edges = vec!["gpu-1".to_owned()];
        assert!(key.allows_model(&ModelName::parse("Library/QWEN3").unwrap()));
        assert!(!key.allows_model(&ModelName::parse("llama3").unwrap()));
        assert!(key.allows_edge("gpu-1") && !key.allows_edge("gpu-2"));
    }
}
