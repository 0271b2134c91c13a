//! The relay's own paths, driven: facts are gathered here, [`crate::core`] decides what they mean.

use std::time::Instant;

use causeway_wire::Code;
use http::StatusCode;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::own::Own;
use crate::core::readiness::{self, Facts, Linked};
use crate::standalone::answer::Reply;
use crate::standalone::relay::Relay;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// `GET/HEAD /`.
pub(crate) fn root() -> Reply {
    Reply::own(StatusCode::OK, TEXT, "Causeway is running")
}

/// Answers one of the own paths; `key` is there where the path needs one.
///
/// # Errors
///
/// What the key may not have, and what is not there.
pub(crate) async fn answer(relay: &Relay, own: Own, key: Option<&Key>) -> Result<Reply, Refusal> {
    match own {
        Own::Healthz => Ok(Reply::own(StatusCode::OK, TEXT, "ok\n")),
        Own::Readyz => {
            let (ready, body) = readiness::readyz(facts(relay), key);
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok(Reply::own(status, JSON, body))
        }
        Own::Edges => Ok(Reply::own(StatusCode::OK, JSON, readiness::edges(linked(relay)))),
        Own::Cancel(id) => {
            if !key.is_some_and(|key| relay.running.cancel(&key.id, &id)) {
                return Err(Refusal::invalid("no request with this id is running").with_status(404));
            }
            Ok(Reply::own(StatusCode::OK, JSON, "{\"cancelled\":true}"))
        }
        Own::Request(id) => match key {
            Some(key) => request(relay, &key.id, &id).await,
            None => Err(unknown()),
        },
        Own::Refused(refusal) => Err(refusal),
    }
}

/// One request of this key, running or ended.
async fn request(relay: &Relay, key: &str, id: &str) -> Result<Reply, Refusal> {
    if let Some(running) = relay.running.find(key, id) {
        return Ok(Reply::own(StatusCode::OK, JSON, running.to_string()));
    }
    match relay.books.find(key, id).await {
        Ok(Some(ended)) => Ok(Reply::own(StatusCode::OK, JSON, ended)),
        Ok(None) => Err(unknown()),
        Err(error) => {
            tracing::error!(%error, "a request cannot be looked up");
            Err(Refusal::new(Code::Internal, "the books cannot be read now; try again"))
        }
    }
}

fn unknown() -> Refusal {
    Refusal::invalid("no request with this id is known of this key").with_status(404)
}

fn facts(relay: &Relay) -> Facts {
    Facts {
        draining: relay.is_draining(),
        store: relay.keys.healthy(),
        streams: relay.running.count(),
        edges: linked(relay),
    }
}

fn linked(relay: &Relay) -> Vec<Linked> {
    let now = Instant::now();
    let links = relay.registry.linked(&[]).into_iter();
    links
        .map(|choice| {
            let status = choice.handle.status();
            Linked {
                software: choice.handle.software().to_owned(),
                connections: status.connections,
                streams: status.streams,
                draining: status.draining,
                return_path: status.return_path.map(|then| now.saturating_duration_since(then)),
                rtt: status.rtt,
                models: relay.registry.models_of(&choice.edge),
                edge: choice.edge,
            }
        })
        .collect()
}
