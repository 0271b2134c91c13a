//! Ollama's side of a running session: the request under way, then its answer.
//!
//! Dropping it closes the connection, unless the answer was whole.

use bytes::Bytes;
use causeway_wire::Head;
use reqwest::Response;

use super::Trouble;
use crate::ollama::{self, Asking};

/// Where the request to Ollama stands.
pub(super) enum Upstreams {
    Idle,
    Asking(Asking),
    Answering(Response),
}

/// What Ollama's side brought.
pub(super) enum Brought {
    Answer(Head),
    Chunk(Bytes),
    Eof,
    Broken(Trouble),
}

impl Upstreams {
    /// The next thing from Ollama; never while idle. Safe to drop and call again.
    pub(super) async fn next(&mut self, model: Option<&str>) -> Brought {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Asking(asking) => match asking.await {
                Ok(response) => {
                    let head = ollama::head_of(&response, model);
                    *self = Self::Answering(response);
                    Brought::Answer(head)
                }
                Err(trouble) => {
                    *self = Self::Idle;
                    Brought::Broken(trouble)
                }
            },
            Self::Answering(response) => match response.chunk().await {
                Ok(Some(chunk)) => Brought::Chunk(chunk),
                Ok(None) => Brought::Eof,
                Err(error) => Brought::Broken(ollama::trouble(&error)),
            },
        }
    }
}
