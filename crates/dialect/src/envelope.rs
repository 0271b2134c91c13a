//! The top level of a request body: read by the relay, re-serialised by the daemon.

/// What the top level says. Nothing below it is parsed, only checked for being JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// `model` (or `name` where the route takes that).
    pub model: Option<String>,
    /// `stream`, if said.
    pub stream: Option<bool>,
}

/// Why a body is refused (400 `invalid_request`); the message names the key and the cure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// Reads a JSON object's top level. Refuses: not UTF-8, not JSON, not an object, trailing bytes,
/// and duplicate or case-folded variants (Unicode simple folding, as Go compares: `ſtream`,
/// U+212A) among `model, name, stream, options, keep_alive`.
#[expect(clippy::todo, unused_variables, clippy::missing_errors_doc, reason = "stub")]
pub fn read(body: &[u8]) -> Result<Envelope, BadBody> { todo!() }

/// The same object with `model` and `stream` set to what the relay authorised; every other
/// top-level value keeps its bytes and place; of duplicated other keys the last stays.
#[expect(clippy::todo, unused_variables, clippy::missing_errors_doc, reason = "stub")]
pub fn rewrite(body: &[u8], model: Option<&str>, stream: Option<bool>) -> Result<Vec<u8>, BadBody> { todo!() }
