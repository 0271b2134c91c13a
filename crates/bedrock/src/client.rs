//! The shell: the official SDK, one attempt a call, an own timeout round every wait.
//!
//! Invariants: credentials are never resolved while a request waits ([`keys`]); nothing of a request or
//! an answer is logged. Absent: retries, budget, when a call is made.

mod conversation;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{Credentials as Keys, IdentityCache, StalledStreamProtectionConfig};
use aws_sdk_bedrockruntime::types::{ConverseTokensRequest, CountTokensInput};
use aws_smithy_http_client::{Builder as HttpBuilder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::time::timeout;

use crate::fault::{Fault, Kind};
use crate::request::Mapped;
pub use conversation::{Brought, Conversation};
use keys::Held;

/// A connection to Bedrock must be there within this time: it is a few round trips.
const CONNECT: Duration = Duration::from_secs(3);

/// Counting tokens takes a moment; nobody waits for it longer.
const COUNT: Duration = Duration::from_secs(10);

/// Names the bearer token of the account (https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html).
const BEARER: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Where Bedrock is and who asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// AWS region.
    pub region: String,
    /// Another address than the region's own: a VPC endpoint, a test's emulator.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
}

/// Where the credentials come from.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The SDK's chain: environment, profile files, web identity, container, instance.
    Chain,
    /// These, for tests.
    Fixed {
        /// Access key id.
        id: String,
        /// Its secret.
        secret: String,
    },
}

/// Bedrock cannot be used as configured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(String);

/// One account in one region.
#[derive(Clone, Debug)]
pub struct Client {
    sdk: aws_sdk_bedrockruntime::Client,
    held: Arc<Held>,
}

impl Client {
    /// The client, and the task that keeps its credentials fresh for as long as it is polled. Until that
    /// has found the first ones every call fails with [`Kind::Credentials`].
    ///
    /// # Errors
    ///
    /// The region is not one, or the system's certificates cannot be read.
    pub async fn new(settings: Settings) -> Result<(Self, impl Future<Output = ()> + Send + 'static), SetupError> {
        if settings.region.trim().is_empty() {
            return Err(SetupError("overflow.region is empty: expected an AWS region, such as us-east-1".to_owned()));
        }
        let http = http();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region))
            .http_client(http)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            // It watches bytes a second; tokens may be slower.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let loader = match settings.endpoint {
            Some(endpoint) => loader.endpoint_url(endpoint),
            None => loader,
        };
        let fixed = match settings.credentials {
            Credentials::Chain => None,
            Credentials::Fixed { id, secret } => Some(Keys::new(id, secret, None, None, "configuration")),
        };
        let loader = match fixed {
            Some(keys) => loader.credentials_provider(keys),
            None => loader,
        };
        let shared = loader.load().await;
        let held = Arc::new(Held::new(std::env::var_os(BEARER).is_some()));
        let source = shared.credentials_provider();
        let config = aws_sdk_bedrockruntime::config::Builder::from(&shared)
            .credentials_provider(keys::Provider(Arc::clone(&held)))
            .build();
        let client = Self { sdk: aws_sdk_bedrockruntime::Client::from_conf(config), held: Arc::clone(&held) };
        Ok((client, async move { held.keep_fresh(source).await }))
    }

    /// Why no call can be made now, if that is known.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.held.fault().map(|detail| Fault::new(Kind::Credentials, &detail))
    }

    /// Begins a call. Nothing goes out before [`Conversation::next`] is polled; dropping it ends it.
    #[must_use]
    pub fn converse(&self, mapped: Mapped) -> Conversation {
        Conversation::new(self.sdk.clone(), self.fault(), mapped)
    }

    /// Tokens of a request's prompt, as Bedrock counts them. It costs nothing.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn count(&self, mapped: &Mapped) -> Result<u64, Fault> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let call = &mapped.call;
        let request = ConverseTokensRequest::builder()
            .set_messages(Some(call.messages.clone()))
            .set_system(call.system.clone())
            .set_tool_config(call.tools.clone())
            .set_additional_model_request_fields(call.additional.clone())
            .build();
        let asked = self.sdk.count_tokens().model_id(&call.model).input(CountTokensInput::Converse(request)).send();
        match timeout(COUNT, asked).await {
            Ok(Ok(counted)) => Ok(u64::try_from(counted.input_tokens).unwrap_or(0)),
            Ok(Err(error)) => Err(Fault::of(&error)),
            Err(_) => Err(Fault::new(Kind::Timeout, "no count in time")),
        }
    }
}

/// TLS by the one provider of the whole program, and nothing else.
fn http() -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    HttpBuilder::new().tls_provider(provider).build_https()
}
