//! The configuration: `causewayd.toml` with the environment over it, parsed into what the daemon uses.
//!
//! Strict: an unknown key or variable is a fault, and all faults are reported at once with their
//! lines. Absent: reading certificate files (`identity.rs`), and sections of later versions,
//! which are refused in words rather than ignored.

mod expect;
mod privacy;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use causeway_overflow::settings::{self, HOUR_MS, Reader, source};
use causeway_transport::RelayUrl;
use causeway_wire::Backend;

pub use causeway_overflow::settings::{Fault, Mapping, Origin, Overflow};
pub use privacy::Privacy;

/// Where the file is looked for without `--config`.
pub const DEFAULT_PATH: &str = "/etc/causeway/causewayd.toml";

/// The whole configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// `[relay]`
    pub relay: Relay,
    /// `[identity]`
    pub identity: Identity,
    /// `[ollama]`
    pub ollama: Ollama,
    /// `[admission]`
    pub admission: Admission,
    /// `[overflow]`; none where it is off.
    pub overflow: Option<Overflow>,
    /// `[privacy]`
    pub privacy: Privacy,
    /// `[status] listen`: loopback.
    pub status_listen: SocketAddr,
}

/// The relay to dial.
#[derive(Clone, PartialEq, Debug)]
pub struct Relay {
    /// Where it listens for edges.
    pub url: RelayUrl,
    /// WebSockets wanted at once, 1 to 4.
    pub connections: u8,
    /// Private CA of the relay; the system's roots otherwise.
    pub ca_file: Option<PathBuf>,
}

/// The certificate.
#[derive(Clone, PartialEq, Debug)]
pub struct Identity {
    /// Holds `key.pem` and `chain.pem`.
    pub directory: PathBuf,
    /// Share of the certificate's life after which it is renewed. Checked, used by a later version.
    pub renew_at: f64,
}

/// The only server behind the daemon.
#[derive(Clone, PartialEq, Debug)]
pub struct Ollama {
    /// Pinned host and port.
    pub url: OllamaUrl,
    /// Slots a model has (`OLLAMA_NUM_PARALLEL`).
    pub parallel: u32,
    /// Allow-list, shell patterns.
    pub models: Vec<String>,
    /// `[[ollama.model]]`
    pub overrides: Vec<ModelOverride>,
}

impl Ollama {
    /// Slots of this model (short name).
    #[must_use]
    pub fn slots(&self, model: &str) -> u32 {
        let own = self.overrides.iter().find(|own| own.name == model).and_then(|own| own.parallel);
        own.unwrap_or(self.parallel)
    }

    /// The context length with which this model (short name) runs; none leaves it to Ollama.
    #[must_use]
    pub fn num_ctx(&self, model: &str) -> Option<u32> {
        self.overrides.iter().find(|own| own.name == model).and_then(|own| own.num_ctx)
    }
}

/// `http://HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OllamaUrl {
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for OllamaUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// What differs for one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelOverride {
    /// Short name, reduced.
    pub name: String,
    /// Slots.
    pub parallel: Option<u32>,
    /// Context length to run it with.
    pub num_ctx: Option<u32>,
}

/// `[admission]`: who waits, and how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Soft deadline for the first token: it moves only what can overflow.
    pub first_token: Duration,
    /// Longest wait in the queue.
    pub queue_timeout: Duration,
    /// Requests waiting at once for one model.
    pub queue_limit: u32,
    /// Silence after which a stream gets a heartbeat; zero: never.
    pub stream_heartbeat: Duration,
    /// The same for a single answer.
    pub single_heartbeat: Duration,
}

/// The most open route that callers may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Wherever a backend is configured.
    Auto,
    /// This machine only, whatever the relay says.
    LocalOnly,
    /// Bedrock only: this machine's models serve nobody from outside.
    CloudOnly,
}

impl Route {
    /// The same as a set of backends, for the link.
    #[must_use]
    pub fn ceiling(self) -> Vec<Backend> {
        match self {
            Self::Auto => vec![Backend::Local, Backend::Bedrock],
            Self::LocalOnly => vec![Backend::Local],
            Self::CloudOnly => vec![Backend::Bedrock],
        }
    }
}

/// The sections, for who writes another one.
const SECTIONS: &str = "relay, identity, ollama, admission, privacy or status";

impl Config {
    /// Parses the file's text with the environment over it.
    ///
    /// # Errors
    /// Every fault there is, in the order of lines.
    pub fn parse(text: &str, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Vec<Fault>> {
        let (mut entries, mut faults) = (source::Entries::new(), Vec::new());
        source::from_file(text, &mut entries, &mut faults);
        source::from_environment(environment, &mut entries, &mut faults);
        let mut reader = Reader::new(entries, faults, SECTIONS);
        let relay = relay(&mut reader);
        let identity = identity(&mut reader);
        let ollama = ollama(&mut reader);
        let admission = admission(&mut reader);
        let overflow = settings::overflow(&mut reader);
        let privacy = privacy::privacy(&mut reader);
        let default_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9180));
        let status_listen = reader.or("status.listen", default_listen, expect::loopback);
        let faults = reader.finish();
        match relay {
            Some(relay) if faults.is_empty() => {
                Ok(Self { relay, identity, ollama, admission, overflow, privacy, status_listen })
            }
            _ => Err(faults),
        }
    }
}

fn relay(reader: &mut Reader) -> Option<Relay> {
    let url = reader.required("relay.url", "wss://HOST[:PORT]/edge", expect::relay_url);
    let connections = small(reader, "relay.connections", 2, 4);
    let ca_file = reader.optional("relay.ca-file", expect::path);
    reader.refuse_all("relay.proxy", "not available yet: remove it; the relay is dialled directly");
    Some(Relay { url: url?, connections: u8::try_from(connections).unwrap_or(u8::MAX), ca_file })
}

fn identity(reader: &mut Reader) -> Identity {
    let directory = reader.or("identity.directory", PathBuf::from("/var/lib/causeway/identity"), expect::path);
    Identity { directory, renew_at: reader.or("identity.renew-at", 0.66, expect::share) }
}

fn ollama(reader: &mut Reader) -> Ollama {
    let default_url = OllamaUrl { host: "127.0.0.1".to_owned(), port: 11434 };
    let url = reader.or("ollama.url", default_url, expect::ollama_url);
    let parallel = small(reader, "ollama.parallel", 1, 1_024);
    let models = reader.or("ollama.models", vec!["*".to_owned()], expect::patterns);
    let mut overrides = Vec::new();
    while reader.has(&format!("ollama.model[{}]", overrides.len())) {
        let prefix = format!("ollama.model[{}]", overrides.len());
        let name = reader.required(&format!("{prefix}.name"), "the model's name", expect::model_name);
        let parallel = reader.optional(&format!("{prefix}.parallel"), expect::whole(1..=1_024, ""));
        let num_ctx = reader.optional(&format!("{prefix}.num-ctx"), expect::whole(1..=16_777_216, " of tokens"));
        overrides.push(ModelOverride {
            name: name.unwrap_or_default(),
            parallel: parallel.and_then(|number| u32::try_from(number).ok()),
            num_ctx: num_ctx.and_then(|number| u32::try_from(number).ok()),
        });
        // An element may hold a sub-table that nobody knows: it is reported, not read for ever.
        reader.refuse_all(&format!("{prefix}."), "unknown key, expected one of name, parallel, num-ctx");
    }
    Ollama { url, parallel, models, overrides }
}

fn admission(reader: &mut Reader) -> Admission {
    let milliseconds = " of milliseconds";
    let first_token = reader.or("admission.first-token-ms", 4_000, expect::whole(1..=HOUR_MS, milliseconds));
    let queue_timeout = reader.or("admission.queue-timeout-ms", 300_000, expect::whole(1..=HOUR_MS, milliseconds));
    Admission {
        first_token: Duration::from_millis(first_token),
        queue_timeout: Duration::from_millis(queue_timeout),
        queue_limit: small(reader, "admission.queue-limit", 64, 1_024),
        stream_heartbeat: heartbeat(reader, "admission.stream-heartbeat-ms", 10_000),
        single_heartbeat: heartbeat(reader, "admission.single-heartbeat-ms", 50_000),
    }
}

fn heartbeat(reader: &mut Reader, key: &str, default: u64) -> Duration {
    Duration::from_millis(reader.or(key, default, expect::whole(0..=HOUR_MS, " of milliseconds")))
}

/// A whole number from 1 to `most` that fits 32 bits.
fn small(reader: &mut Reader, key: &str, default: u32, most: u32) -> u32 {
    let number = reader.or(key, default.into(), expect::whole(1..=most.into(), ""));
    u32::try_from(number).unwrap_or(u32::MAX)
}
