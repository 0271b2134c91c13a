//! Questions about models, asked over the links: [`crate::core::metadata`] decides, this waits.

use bytes::Bytes;
use causeway_dialect::route::Upstream;
use causeway_transport::{Received, RelayLink};
use causeway_wire::{Code, Headers, Open};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::headers::Asked;
use crate::core::intake::Call;
use crate::core::limits::METADATA_TIME;
use crate::core::metadata::{self, About, Answer, Arriving, Next, Outcome};
use crate::core::route::Allowed;
use crate::core::routing::Wanted;
use crate::standalone::answer::{Reply, ReplyBody};
use crate::standalone::pool::Lease;
use crate::standalone::relay::{Relay, new_id};

/// `tags`, `ps`, `version` and `/v1/models`: all linked edges in scope, or the one that is wanted.
///
/// # Errors
///
/// No edge answered well.
pub(crate) async fn list(
    relay: &Relay,
    route: Upstream,
    asked: &Asked,
    key: &Key,
    headers: Headers,
) -> Result<Reply, Refusal> {
    let edges = relay.registry.asked(&key.edges, asked.edge.as_deref())?;
    let questions = edges.into_iter().map(|edge| {
        let open = metadata::question(route, edge.instance, headers.clone(), asked, key);
        let lease = relay.answers.lease();
        async move { ask(&edge.handle, open, Bytes::new(), lease).await }
    });
    let mut lease = relay.answers.lease();
    let mut outcomes = Vec::new();
    for (outcome, share) in join_all(questions).await {
        outcomes.push(outcome);
        lease.join(share);
    }
    Ok(reply(metadata::list(route, outcomes, key)?, lease))
}

/// `show` and `/v1/models/ID`: one edge that has the model.
///
/// # Errors
///
/// No edge has it, or those asked did not answer.
pub(crate) async fn about(
    relay: &Relay,
    call: &Call,
    asked: &Asked,
    key: &Key,
    headers: Headers,
    body: Bytes,
) -> Result<Reply, Refusal> {
    let mut about = About::new(call.route);
    loop {
        let wanted = Wanted {
            model: &call.model,
            scope: &key.edges,
            pin: asked.edge.as_deref(),
            tried: about.tried(),
            session: None,
            allowed: Allowed::ANY,
        };
        let (link, counted) = match relay.registry.choose(wanted) {
            Ok(choice) => choice,
            Err(refusal) => return Err(about.no_edge(refusal)),
        };
        let open = call.open(link.edge_instance(), headers.clone(), asked, key, Allowed::LOCAL);
        let (outcome, lease) = ask(&link, open, body.clone(), relay.answers.lease()).await;
        match about.on(counted.edge(), outcome) {
            Next::Ask => {}
            Next::Refuse(refusal) => return Err(refusal),
            Next::Answer(answer) => {
                let mut reply = reply(answer, lease);
                reply.model = Some(call.model.short());
                return Ok(reply);
            }
        }
    }
}

fn reply(answer: Answer, lease: Lease) -> Reply {
    Reply {
        status: answer.status,
        headers: answer.headers,
        body: ReplyBody::Whole(lease.hold(answer.body)),
        edge: answer.edge,
        model: None,
        outcome: None,
        code: None,
    }
}

/// Asks one edge and waits for its whole answer, which counts in `lease`.
async fn ask(link: &RelayLink, open: Open, body: Bytes, mut lease: Lease) -> (Outcome, Lease) {
    let outcome = timeout(METADATA_TIME, answer(link, open, body, &mut lease)).await;
    (outcome.unwrap_or_else(|_| metadata::too_late()), lease)
}

async fn answer(link: &RelayLink, open: Open, body: Bytes, lease: &mut Lease) -> Outcome {
    let mut stream = match link.open(new_id(), open, Bytes::new(), body.is_empty()) {
        Ok(stream) => stream,
        Err(refused) => return Outcome::NotTaken(refused.into()),
    };
    if !body.is_empty() {
        // A stream that ends meanwhile says why below.
        let _ = stream.send(body).await;
        stream.finish(None);
    }
    let mut arriving = Arriving::default();
    loop {
        match stream.recv().await {
            Received::Head(head) => arriving.head(head),
            Received::Data(bytes) => {
                if let Some(outcome) = keep(&mut arriving, &bytes, lease) {
                    return outcome;
                }
            }
            Received::End(_) => return arriving.end(link.edge()),
            Received::Failed(failure) => return Outcome::Failed(failure.into()),
            Received::Cancelled(reason) => return Outcome::Failed(Refusal::new(Code::LinkLost, reason)),
        }
    }
}

/// Keeps the next bytes of an answer; how it ended if they are too many.
fn keep(arriving: &mut Arriving, bytes: &[u8], lease: &mut Lease) -> Option<Outcome> {
    if !lease.grow(bytes.len()) {
        return Some(Outcome::NoRoom);
    }
    arriving.data(bytes).err().map(Outcome::Failed)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::core::limits::{METADATA_BODY, METADATA_POOL};
    use crate::standalone::pool::Pool;

    #[test]
    fn answers_that_callers_have_not_taken_leave_room_for_so_many_more_and_no_others() {
        let pool = Pool::new(METADATA_POOL);
        let longest = vec![b' '; METADATA_BODY];
        let mut untaken = Vec::new();
        let refused = loop {
            let (mut arriving, mut lease) = (Arriving::default(), pool.lease());
            match keep(&mut arriving, &longest, &mut lease) {
                Some(outcome) => break outcome,
                None => {
                    let body = Bytes::from(longest.clone());
                    let answer = Answer { edge: None, status: StatusCode::OK, headers: HeaderMap::new(), body };
                    untaken.push(reply(answer, lease));
                }
            }
        };
        assert_eq!(refused, Outcome::NoRoom);
        assert_eq!(untaken.len(), 8);
        untaken.pop();
        assert_eq!(
            keep(&mut Arriving::default(), &longest, &mut pool.lease()),
            None,
            "a taken answer gives its room back"
        );
    }

    #[test]
    fn one_answer_that_is_too_long_fails_its_edge_alone() {
        let pool = Pool::new(METADATA_POOL);
        let (mut arriving, mut lease) = (Arriving::default(), pool.lease());
        assert_eq!(keep(&mut arriving, &vec![b' '; METADATA_BODY], &mut lease), None);
        assert!(matches!(keep(&mut arriving, b" ", &mut lease), Some(Outcome::Failed(_))));
    }
}
