//! Model names, reduced once as Ollama does.

use std::fmt;

/// `host/namespace/name:tag`, lower-cased, defaults filled in. Equality of two of these is
/// equality of models; only this value is used for scopes, routing and metrics.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ModelName {}

/// Why a text names no model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a model name")]
pub struct BadModelName(pub String);

#[expect(clippy::todo, unused_variables, missing_docs, reason = "stub")]
impl ModelName {
    pub fn parse(text: &str) -> Result<Self, BadModelName> { todo!() }
    /// Shortest form that Ollama understands: default host, namespace left out; tag always said.
    pub fn short(&self) -> String { todo!() }
    /// Names one of Ollama's cloud models (`:cloud`, `:tag-cloud`).
    pub fn is_cloud(&self) -> bool { todo!() }
    /// Shell pattern (`*`, `?`) over the short or the full form; a pattern without a tag means any tag,
    /// patterns are reduced (case, `library/`, host) like names.
    pub fn matches(&self, pattern: &str) -> bool { todo!() }
}
impl fmt::Display for ModelName {
    #[expect(clippy::todo, unused_variables, reason = "stub")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { todo!() }
}
