//! Ollama's own dialect: `/api/chat` and `/api/generate`.
//!
//! Read from Ollama 0.24.0 (`api/types.go`, `server/routes.go`): what it refuses with 400 is
//! refused here with the place named, what it fills in by itself is left to it. Invariant: an
//! answer ends with one line that has `done` or `error`, whatever the events were. Absent: the
//! backend's side ([`crate::native`]), embeddings ([`crate::embed`]).

pub(crate) mod encode;
mod messages;
pub(crate) mod parse;

use crate::chat::Request;

pub use crate::fields::{MAX_FREE, MAX_MEMBERS, MAX_OBJECTS, MAX_VALUES};
pub use encode::{Encoder, whole};
pub use messages::{MAX_CALLS, MAX_IMAGES, MAX_MESSAGES, MAX_TOOLS};
pub use parse::{MAX_CONTEXT, MAX_STOPS, parse_chat, parse_generate};

/// The two routes; they differ in where a line holds its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    /// `/api/chat`: `message.content`.
    Chat,
    /// `/api/generate`: `response`.
    Generate,
}

/// An empty request with `keep_alive` 0: Ollama's way to unload a model.
///
/// It must never reach a backend (without its `keep_alive`, which policy takes out, it would load the
/// model): the session answers it with [`crate::event::StopReason::Unload`] or refuses it.
#[must_use]
pub fn wants_unload(request: &Request) -> bool {
    let alive = request.native.keep_alive.as_ref();
    request.is_empty()
        && alive.is_some_and(|value| crate::native::KeepAlive::read(value).is_some_and(|alive| alive.is_zero()))
}
