//! An emulator of the Bedrock runtime: Converse, ConverseStream and CountTokens over plain HTTP on
//! the loopback, answered by script.
//!
//! Job: let tests say what Bedrock does (fragments, throttles, truncated frames, slow tokens) and
//! see what it was asked. Every request is checked against the service model that botocore ships
//! ([`validate`]) and against rules that the service has beyond it; a wrong one is refused with
//! ValidationException, whatever the script says.
//!
//! Invariants:
//! - Calls take scripts in the order in which they arrived; CountTokens takes none.
//! - Secrets are never recorded.
//! - An emulator that saw [`CANARY`] panics when dropped, unless told otherwise.
//! - Dropped, it closes its port and every connection.
//!
//! Absent: signatures are not checked, models are not known by name (only by family), and
//! answers say nothing about their prompt.

mod canary;
mod errors;
mod families;
mod frames;
mod model;
mod pattern;
mod plan;
mod record;
mod rules;
mod script;
mod server;
mod stream;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use canary::CANARY;
pub use errors::{ErrorName, Refusal, Spelling};
pub use families::{Families, Family, Feature, Sampling, Thinking};
pub use record::{Auth, Call, Count, End, Operation};
pub use script::{Script, Tokens, Usage};

use record::{Progress, Record};
use server::Service;

/// How an emulator is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What models refuse, by the beginning of their id.
    pub families: Families,
    /// Whether a call without signature or bearer token is refused.
    pub needs_credential: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            families: Families::default(),
            needs_credential: true,
        }
    }
}

/// A running emulator. Shared by `Arc` where several tasks need it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    record: Arc<Record>,
    server: AbortHandle,
}

impl Emulator {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await.unwrap()
    }

    /// Starts one as configured.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start_with(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let record = Arc::new(Record::new());
        let service = Service {
            record: Arc::clone(&record),
            families: config.families,
            needs_credential: config.needs_credential,
        };
        let server = tokio::spawn(server::serve(listener, Arc::new(service))).abort_handle();
        Ok(Self { address, record, server })
    }

    /// What a client takes as its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The answer to the next call that has none yet.
    pub fn script(&self, script: Script) {
        self.record.lock().next.push_back(script);
    }

    /// The answer to every call for which no script waits.
    pub fn default_script(&self, script: Script) {
        self.decide(move |_| script.clone());
    }

    /// As [`Self::default_script`], chosen by what was asked.
    pub fn decide(&self, script: impl Fn(&Call) -> Script + Send + Sync + 'static) {
        self.record.lock().otherwise = Arc::new(script);
    }

    /// Scripts that no call has taken.
    #[must_use]
    pub fn scripts_left(&self) -> usize {
        self.record.lock().next.len()
    }

    /// What CountTokens answers from now on.
    pub fn count_tokens(&self, count: Count) {
        self.record.lock().count = count;
    }

    /// From now on so many of a hundred calls are throttled before they take a script.
    pub fn throttle(&self, percent: u32, seed: u64) {
        self.record.lock().throttle = Some((percent, StdRng::seed_from_u64(seed)));
    }

    /// Every call so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.record.lock().calls.clone()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let progress = *self.record.progress.borrow();
        progress.arrived - progress.ended
    }

    /// Waits until so many calls have arrived in all.
    pub async fn wait_for_calls(&self, count: usize) -> Vec<Call> {
        self.wait_until(|progress| progress.arrived >= count).await
    }

    /// Waits until so many calls have ended in all, by whatever end.
    pub async fn wait_for_ended(&self, count: usize) -> Vec<Call> {
        self.wait_until(|progress| progress.ended >= count).await
    }

    async fn wait_until(&self, reached: impl Fn(Progress) -> bool) -> Vec<Call> {
        let mut progress = self.record.progress.subscribe();
        // The sender lives in the record, which this borrows.
        let _ = progress.wait_for(|progress| reached(*progress)).await;
        self.calls()
    }

    /// Fails with the refusals of wrong requests, if there were any.
    ///
    /// # Panics
    /// If a request was wrong.
    pub fn assert_all_valid(&self) {
        let calls = self.calls();
        let faults: Vec<_> = calls.iter().filter_map(|call| call.invalid().map(|why| (call.number, why))).collect();
        assert!(faults.is_empty(), "wrong requests reached Bedrock: {faults:#?}");
    }

    /// Whether the canary has been seen.
    #[must_use]
    pub fn saw_canary(&self) -> bool {
        !self.record.lock().canary_seen.is_empty()
    }

    /// The canary may come: this test sends it on purpose.
    pub fn allow_canary(&self) {
        self.record.lock().canary_allowed = true;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
        let inner = self.record.lock();
        let seen = inner.canary_seen.clone();
        let allowed = inner.canary_allowed;
        drop(inner);
        if !seen.is_empty() && !allowed && !std::thread::panicking() {
            panic!("the canary reached Bedrock in calls {seen:?}: words that must stay local have left");
        }
    }
}

/// Checks a request as the emulator does: against the service model, then against the rules beyond
/// it.
///
/// # Errors
/// What the service would say.
pub fn validate(operation: Operation, model: &str, body: &Value, families: &Families) -> Result<(), String> {
    let name = match operation {
        Operation::Converse => "Converse",
        Operation::ConverseStream => "ConverseStream",
        Operation::CountTokens => "CountTokens",
        Operation::Unknown => return Err("Unknown operation.".to_owned()),
    };
    model::check(name, model, body)?;
    rules::check(operation, model, body, families)
}
