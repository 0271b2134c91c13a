//! Ollama as a backend: canonical request in, native request out; its answer in, events out.
//!
//! Always the native API and always a stream: only there an error within an answer is an error, and
//! deadline, cancel and hedge work for single answers too. Invariants: nothing reaches Ollama but
//! what is built here from the canonical request, under the policy's [`Bounds`]; an answer ends with
//! one terminal event whatever Ollama sends. Absent: HTTP, dialects, which model may run.

mod body;
mod bounds;
mod fault;
mod keep_alive;
mod line;
mod reader;

use crate::chat::{Input, Request, ToolChoice};
use crate::model::ModelName;
use crate::ollama::Route;
use crate::write::json;

pub use bounds::Bounds;
pub(crate) use bounds::{bound_keep_alive, bound_options};
pub use fault::{MAX_MESSAGE, fault};
pub use keep_alive::KeepAlive;
pub use reader::{MAX_LINE, Reader};

/// A request for Ollama.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Where it goes, by POST.
    pub path: &'static str,
    /// Its JSON.
    pub body: Vec<u8>,
    /// Fields of the caller that policy took out or changed, by their name (`options.num_gpu`).
    pub removed: Vec<String>,
    /// Fields of the caller that Ollama cannot honour, by their name.
    pub lost: Vec<String>,
}

/// The native request that says what `request` says, as far as Ollama can.
///
/// `model`: the name that was authorised; how the caller spelt it never reaches Ollama, which reads
/// more into a spelling (`:cloud`, a host) than the authorisation did. An empty request loads the model; one for which [`crate::ollama::wants_unload`] holds must not
/// come here.
#[must_use]
pub fn request(request: &Request, model: &ModelName, bounds: &Bounds) -> Outgoing {
    let mut removed = Vec::new();
    let mut lost = Vec::new();
    match request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => {}
        ToolChoice::Required | ToolChoice::Named(_) if request.tools.is_empty() => {}
        // The model may still answer with text: Ollama has no way to force a call.
        ToolChoice::Required | ToolChoice::Named(_) => lost.push("tool_choice".to_owned()),
    }
    let body = body::Body::new(request, model, bounds, &mut removed, &mut lost);
    let mut bytes = Vec::new();
    json(&body, &mut bytes);
    Outgoing { path: path(route(request)), body: bytes, removed, lost }
}

/// The native route of a request; its answer is read by a [`Reader`] of the same route.
#[must_use]
pub fn route(request: &Request) -> Route {
    match &request.input {
        Input::Chat(_) => Route::Chat,
        Input::Prompt(_) => Route::Generate,
    }
}

const fn path(route: Route) -> &'static str {
    match route {
        Route::Chat => "/api/chat",
        Route::Generate => "/api/generate",
    }
}

#[cfg(test)]
#[path = "native/request_tests.rs"]
mod tests;
