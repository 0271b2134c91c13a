//! Amazon Bedrock as a program's backend: its client, its budget, and what stands in the way.
//!
//! Invariants: what a call may cost is reserved on the disk before it is made, within what the relay
//! granted the stream; each call is settled once, also when its task is cut off. Absent: which requests
//! come here and when ([`crate::session`]), what they become (`causeway-bedrock`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use causeway_bedrock::{Brought, Client, Conversation, Credentials, Fault, Kind, Mapped, Settings, map};
use causeway_dialect::chat::Request;
use causeway_dialect::event::Event;
use causeway_policy::{BudgetSnapshot, Price, Usd};

use crate::budget::{Purse, Refused, Reserved};
use crate::settings::{self, Mapping};

/// A grant of this much or more is that of a key without a cap: a model without a price is used for
/// such keys only, for nobody could hold it to less. US dollars; the relay's own figure.
const UNCAPPED_USD: f64 = 1_000.0;

/// A fault that stands is tried again after this long.
const RETRY: Duration = Duration::from_secs(30);

/// Tokens of the shortest answer worth a call.
const LEAST: u32 = 64;

/// The second backend. One for all requests.
pub struct Overflow {
    client: Client,
    purse: Purse,
    /// Who asks, for the account's logs.
    edge: String,
    /// What stands in the way of each mapped model until somebody mends it.
    standing: Mutex<BTreeMap<String, (Fault, Instant)>>,
}

/// One request that goes to Bedrock.
#[derive(Clone)]
pub struct Errand {
    /// What is asked.
    pub request: Arc<Request>,
    /// Of which model.
    pub mapping: Mapping,
    /// Our id of the request and the key's: for the account's logs.
    pub ids: [(&'static str, String); 2],
    /// What of the relay's grant is left, US dollars.
    pub grant: f64,
    /// Reading it again takes milliseconds: not on the one thread that all streams share.
    pub is_large: bool,
}

/// A call under way; dropped, it ends and is settled.
pub struct Talk {
    conversation: Conversation,
    reserved: Option<Reserved>,
    price: Option<Price>,
    input_estimate: u64,
    cache_surcharge: u64,
    /// Fields without effect there.
    pub lost: Vec<String>,
}

impl Overflow {
    /// Opens the ledger and makes the client; with them the task that keeps credentials fresh.
    ///
    /// # Errors
    ///
    /// The ledger or the client cannot be had; nothing may go there then.
    pub async fn open(
        settings: &settings::Overflow,
        ledger: &Path,
        edge: &str,
    ) -> anyhow::Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static)> {
        let purse = Purse::open(ledger, settings.budget, unix_secs()).context("[overflow.budget]")?;
        let client = Settings {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            credentials: Credentials::Chain,
        };
        let (client, fresh) = Client::new(client).await.context("[overflow]")?;
        Ok((Self::new(client, purse, edge), fresh))
    }

    /// With a client and a ledger. `edge`: who asks, for the account's logs.
    #[must_use]
    pub fn new(client: Client, purse: Purse, edge: &str) -> Arc<Self> {
        Arc::new(Self { client, purse, edge: edge.to_owned(), standing: Mutex::default() })
    }

    /// Maps, reserves and begins a call.
    ///
    /// # Errors
    ///
    /// Why there is none; nothing was spent.
    pub async fn begin(self: Arc<Self>, errand: Errand) -> Result<Talk, Fault> {
        let Errand { request, mapping, ids, grant, is_large } = errand;
        if let Some(fault) = self.client.fault() {
            return Err(fault);
        }
        let target = mapping.target.clone();
        let edge = self.edge.clone();
        let mapped = move || {
            let [request_id, key_id] = ids.each_ref().map(|(name, id)| (*name, id.as_str()));
            map(&request, &target, &[request_id, key_id, ("causeway-edge", &edge)])
        };
        let mapped = match is_large {
            false => mapped(),
            true => tokio::task::spawn_blocking(mapped)
                .await
                .map_err(|error| Fault::new(Kind::Invalid, &format!("the request could not be mapped: {error}")))?,
        };
        let mapped = mapped.map_err(|unmapped| Fault::new(Kind::Invalid, &unmapped.to_string()))?;
        let reserved = self.reserve(&mapping, &mapped, grant).await?;
        let (lost, input_estimate) = (mapped.lost.clone(), mapped.input_estimate);
        let cache_surcharge = mapped.cache_surcharge;
        let conversation = self.client.converse(mapped);
        Ok(Talk { conversation, reserved: Some(reserved), price: mapping.price, input_estimate, cache_surcharge, lost })
    }

    async fn reserve(&self, mapping: &Mapping, mapped: &Mapped, grant: f64) -> Result<Reserved, Fault> {
        let amount = match mapping.price {
            Some(price) => price.cost(mapped.input_most, mapped.max_tokens.into()),
            None if grant >= UNCAPPED_USD => Usd::default(),
            None => {
                let why = "its price is not configured, and the caller's key has a cap: set usd-per-million";
                return Err(Fault::new(Kind::Budget, why));
            }
        };
        let reserved = self.purse.reserve(unix_secs(), amount, Usd::cap(grant)).await;
        reserved.map_err(|refused| match refused {
            Refused::Exhausted(exhausted) => Fault::new(Kind::Budget, &exhausted.to_string()),
            Refused::Fault(fault) => Fault::new(Kind::Budget, &fault),
            Refused::Busy => Fault::new(Kind::Throttled, "too many calls at once wait for the budget's disk"),
        })
    }

    /// Whether a call to this model has a chance now: what surely fails should cost nobody his place here. After
    /// a fault that stands one is tried again now and then.
    #[must_use]
    pub fn can_begin(&self, now: Instant, mapping: &Mapping, grant: f64) -> bool {
        let stands = {
            let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = standing.get(&mapping.target.model);
            fault.is_some_and(|(_, since)| now.saturating_duration_since(*since) < RETRY)
        };
        let money = match mapping.price {
            Some(price) => {
                let least = price.cost(1, mapping.target.max_tokens.min(LEAST).into());
                least <= Usd::cap(grant) && least <= self.budget().left()
            }
            None => grant >= UNCAPPED_USD,
        };
        !stands && money && self.client.fault().is_none()
    }

    /// A call to this model ended so: what stands is said once, and forgotten once one succeeds.
    pub fn learn(&self, model: &str, fault: Option<&Fault>) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fault) = fault else {
            if standing.remove(model).is_some() {
                tracing::info!(model, "overflow works again");
            }
            return;
        };
        if !fault.kind.stands() {
            return;
        }
        let before = standing.insert(model.to_owned(), (fault.clone(), crate::now()));
        if before.is_none_or(|(before, _)| before != *fault) {
            tracing::error!(model, %fault, "overflow fails until this is mended");
        }
    }

    /// Tokens of a prompt as Bedrock counts them.
    ///
    /// # Errors
    ///
    /// Why it cannot say; nothing is charged for it.
    pub async fn count(&self, mapped: &Mapped) -> Result<u64, Fault> {
        self.client.count(mapped).await
    }

    /// How the day's budget stands.
    #[must_use]
    pub fn budget(&self) -> BudgetSnapshot {
        self.purse.snapshot(unix_secs())
    }

    /// Everything that stands in the way, in words for the status page.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let credentials = self.client.fault().map(|fault| fault.to_string());
        let budget = self.purse.fault(unix_secs()).map(|fault| fault.to_string());
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let models = standing.iter().map(|(model, (fault, _))| format!("{model}: {fault}"));
        credentials.into_iter().chain(budget).chain(models).collect()
    }

    /// Waits for the ledger's thread to end, which it must not before [`Self::close`].
    pub async fn ended(&self) {
        self.purse.ended().await;
    }

    /// Writes the ledger's last entries.
    pub async fn close(&self) {
        self.purse.close().await;
    }
}

impl Talk {
    /// The next thing; see [`Conversation::next`].
    pub async fn next(&mut self, events: &mut Vec<Event>) -> Brought {
        self.conversation.next(events).await
    }

    /// From the request to the first piece.
    pub fn first_piece(&self) -> Option<Duration> {
        self.conversation.first_piece()
    }

    /// Ends it and books what it cost; none where no price is known.
    pub fn settle(mut self) -> Option<Usd> {
        self.book()
    }

    fn book(&mut self) -> Option<Usd> {
        let reserved = self.reserved.take()?;
        if !self.conversation.has_begun() {
            reserved.release();
            return None;
        }
        let Some(price) = self.price else {
            reserved.settle(unix_secs(), Usd::default());
            return None;
        };
        let cost = match self.conversation.usage() {
            Some(usage) => {
                let extra = self.conversation.written().saturating_mul(self.cache_surcharge).div_ceil(100);
                price.cost(usage.input.unwrap_or(0).saturating_add(extra), usage.output.unwrap_or(0))
            }
            None if self.conversation.is_free() => Usd::default(),
            None => price.cost_without_usage(self.input_estimate, self.conversation.seen(), reserved.amount()),
        };
        reserved.settle(unix_secs(), cost);
        Some(cost)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.book();
    }
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
