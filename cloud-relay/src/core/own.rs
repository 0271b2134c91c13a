//! The relay's own paths: which there are, and who may use each.
//!
//! Invariant: a path is read once, in the decoded form in which it was judged to be one of ours,
//! and only that reading is acted on. Absent: what they answer ([`crate::core::readiness`] and
//! the shell).

use causeway_dialect::route::decode;
use causeway_wire::Code;

use crate::core::auth::Key;
use crate::core::errors::Refusal;

/// One of the relay's own requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Own {
    /// The process lives.
    Healthz,
    /// An edge can be reached.
    Readyz,
    /// All edges, for an admin key.
    Edges,
    /// Cancel the request with this id, ours or the caller's own.
    Cancel(String),
    /// Tell of that request.
    Request(String),
    /// Nothing of these.
    Refused(Refusal),
}

/// Who may use one of the relay's own paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anybody.
    Anyone,
    /// Anybody; with a key it says more, and a wrong key is refused.
    KeySaysMore,
    /// Whoever has a key, even to learn that there is nothing.
    Key,
}

impl Own {
    /// Reads a target that the route table called Causeway's own.
    #[must_use]
    pub fn read(method: &str, target: &str) -> Self {
        let raw = target.split_once('?').map_or(target, |(path, _)| path);
        let Some(path) = decode(raw) else {
            return nothing();
        };
        match path.as_str() {
            "/healthz" => only(method, "GET, HEAD", Self::Healthz),
            "/readyz" => only(method, "GET, HEAD", Self::Readyz),
            "/causeway/v1/edges" => only(method, "GET", Self::Edges),
            path => match path.strip_prefix("/causeway/v1/requests/") {
                Some(id) if !id.is_empty() && method == "GET" => Self::Request(id.to_owned()),
                Some(id) if !id.is_empty() => only(method, "GET, DELETE", Self::Cancel(id.to_owned())),
                Some(_) | None => nothing(),
            },
        }
    }

    /// Who may use it.
    #[must_use]
    pub fn access(&self) -> Access {
        match self {
            Self::Healthz => Access::Anyone,
            Self::Readyz => Access::KeySaysMore,
            Self::Edges | Self::Cancel(_) | Self::Request(_) | Self::Refused(_) => Access::Key,
        }
    }

    /// Whether this key may use it.
    ///
    /// # Errors
    ///
    /// 403 for what only an admin key may see.
    pub fn authorise(&self, key: &Key) -> Result<(), Refusal> {
        match self {
            Self::Edges if !key.admin => {
                Err(Refusal::new(Code::RouteNotAllowed, "this needs a key made with `keys create --admin`"))
            }
            Self::Healthz | Self::Readyz | Self::Edges | Self::Cancel(_) | Self::Request(_) | Self::Refused(_) => {
                Ok(())
            }
        }
    }
}

fn nothing() -> Own {
    Own::Refused(Refusal::invalid("there is nothing at this path").with_status(404))
}

fn only(method: &str, methods: &'static str, own: Own) -> Own {
    if methods.split(", ").any(|allowed| allowed == method) {
        return own;
    }
    let mut refusal = Refusal::invalid(format!("this path takes {methods}")).with_status(405);
    refusal.allow = Some(methods);
    Own::Refused(refusal)
}

#[cfg(test)]
mod tests {
    use causeway_dialect::route::{Target, classify};

    use super::*;

    fn status(own: &Own) -> Option<u16> {
        match own {
            Own::Refused(refusal) => Some(refusal.status),
            Own::Healthz | Own::Readyz | Own::Edges | Own::Cancel(_) | Own::Request(_) => None,
        }
    }

    #[test]
    fn what_is_judged_ours_in_its_decoded_form_is_acted_on_in_that_form() {
        for (method, target, expected) in [
            ("GET", "/healthz", Own::Healthz),
            ("HEAD", "/%68ealthz?x", Own::Healthz),
            ("GET", "/readyz?verbose", Own::Readyz),
            ("GET", "/causeway/v1/%65dges", Own::Edges),
            ("DELETE", "/causeway/v1/requests/my%20id", Own::Cancel("my id".to_owned())),
            ("GET", "/causeway/v1/requests/ID", Own::Request("ID".to_owned())),
        ] {
            assert_eq!(classify(method, target), Target::Causeway, "{target}");
            assert_eq!(Own::read(method, target), expected, "{target}");
        }
    }

    #[test]
    fn what_is_not_there_is_404_and_a_wrong_method_405_for_who_has_a_key() {
        for (method, target, expected) in [
            ("POST", "/healthz", 405),
            ("POST", "/causeway/v1/edges", 405),
            ("POST", "/causeway/v1/requests/ID", 405),
            ("DELETE", "/causeway/v1/requests/", 404),
            ("GET", "/causeway/v1/edges/", 404),
            ("GET", "/causeway/", 404),
            ("GET", "/CAUSEWAY/v1/edges", 404),
        ] {
            let own = Own::read(method, target);
            assert_eq!(status(&own), Some(expected), "{method} {target}");
            assert_eq!(own.access(), Access::Key);
        }
    }

    #[test]
    fn only_an_admin_key_sees_the_edges() {
        let mut key = Key::for_test(&[]);
        assert_eq!(Own::Edges.authorise(&key).unwrap_err().status, 403);
        assert_eq!(Own::Cancel("id".to_owned()).authorise(&key), Ok(()));
        key.admin = true;
        assert_eq!(Own::Edges.authorise(&key), Ok(()));
    }
}
