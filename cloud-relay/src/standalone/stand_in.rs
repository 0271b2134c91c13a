//! The relay's own Bedrock while no edge is there: whether a request may go there, and its beginning.
//!
//! Invariants: nothing goes there that the edges' last words or the caller's key do not allow; a call waits for
//! both its key's grant and the relay's own purse. Absent: which words those are ([`crate::core::ceilings`]).

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use causeway_dialect::route::Shape;
use causeway_overflow::Overflow;
use causeway_overflow::alone::{self, Bounds, Fit, Question, Unfit};
use causeway_overflow::session::Why;
use causeway_overflow::settings::{self, Mapping};
use causeway_wire::Code;

use crate::core::ceilings;
use crate::core::errors::Refusal;
use crate::core::limits::{SINGLE_HEARTBEAT, STREAM_HEARTBEAT};
use crate::core::route::Allowed;
use crate::core::spend::Usd;
use crate::standalone::converse::Request;
use crate::standalone::own_call::Own;
use crate::standalone::pool::Lease;
use crate::standalone::relay::Relay;

/// The file of the day's budget, beside the store.
const LEDGER: &str = "budget.sqlite";

/// Why such an answer comes from there, in the contract's word.
pub(crate) const REASON: Why = Why::EdgeOffline;

/// What Bedrock's logs have in place of an edge's name.
const NAME: &str = "relay";

/// See the module's head.
pub(crate) struct StandIn {
    settings: settings::Overflow,
    pub(crate) backend: Arc<Overflow>,
}

/// Keeps Bedrock's credentials fresh.
pub(crate) type Fresh = Pin<Box<dyn Future<Output = ()> + Send>>;

impl StandIn {
    /// As configured; none where it is off, or cannot be had, which is said: edges are served all the same.
    pub(crate) async fn open(settings: Option<settings::Overflow>, store: &Path) -> Option<(Self, Fresh)> {
        let settings = settings?;
        let ledger = store.parent().unwrap_or(Path::new(".")).join(LEDGER);
        match Overflow::open(&settings, &ledger, NAME).await {
            Ok((backend, fresh)) => {
                let models = settings.mappings.iter().map(|mapping| mapping.local.as_str());
                let models = models.collect::<Vec<_>>().join(", ");
                tracing::info!(region = settings.region, models, "while no edge is linked, Bedrock answers");
                Some((Self { settings, backend }, Box::pin(fresh)))
            }
            Err(error) => {
                let fault = format!("{error:#}");
                tracing::error!(fault, "nothing overflows while no edge is linked");
                None
            }
        }
    }
}

/// Where the request goes if no edge takes it for this reason.
///
/// # Errors
///
/// What its caller is told instead.
pub(crate) fn mapping(
    relay: &Relay,
    request: &Request<'_>,
    allowed: Allowed,
    refusal: Refusal,
) -> Result<(Arc<Overflow>, Mapping), Refusal> {
    let model = &request.call.model;
    let Some(own) = &relay.stand_in else { return Err(refusal) };
    let Some(mapping) = own.settings.mapping(model) else { return Err(refusal) };
    let said = relay.registry.said_of(model);
    ceilings::judge(request.call, allowed, request.asked.edge.as_deref(), said, refusal)?;
    Ok((Arc::clone(&own.backend), mapping.clone()))
}

/// Reads its body for there.
///
/// # Errors
///
/// It is refused everywhere, or the model there cannot do what it asks: an edge's own could.
pub(crate) async fn read(
    request: &Request<'_>,
    mapping: Mapping,
    allowed: Allowed,
    refusal: Refusal,
) -> Result<Fit, Refusal> {
    let strict = request.headers.iter().any(|(name, value)| name == "x-causeway-strict" && value == "true");
    let question = Question {
        id: request.id.to_string(),
        key: request.key.id.clone(),
        route: request.call.route,
        shape: request.call.shape(),
        strict,
        mapping,
        why: REASON,
    };
    alone::read(question, request.body.clone()).await.map_err(|unfit| match unfit {
        Unfit::Refused(failure) => failure.into(),
        Unfit::Unmapped(why) if !allowed.local => {
            let message = format!("this request may be answered by Bedrock only, and cannot be: {why}");
            Refusal::new(Code::UnsupportedParameter, message)
        }
        Unfit::Unmapped(why) => Refusal {
            message: format!("{}; meanwhile Amazon Bedrock cannot answer this request: {why}", refusal.message),
            ..refusal
        },
    })
}

/// Begins the call.
pub(crate) fn begin(request: &Request<'_>, backend: Arc<Overflow>, fit: Fit, grant: Usd, kept: Lease) -> Own {
    let left = |time: Duration| time.saturating_sub(request.started.elapsed()).max(Duration::from_millis(1));
    let heartbeat = if request.call.shape() == Shape::Whole { SINGLE_HEARTBEAT } else { STREAM_HEARTBEAT };
    let deadline = request.asked.first_token.map(left);
    Own::new(backend, fit, Bounds { deadline, heartbeat, grant: grant.to_f64() }, kept)
}
