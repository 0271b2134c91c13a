//! The one HTTP client, towards the one Ollama that the configuration pins.
//!
//! Invariants: host, port and path come from the configuration and the closed route table, never
//! from the tunnel; no proxy, no redirect, no retry; of a caller's headers only a short list
//! passes, so no credential and no `Origin` can. Dropping an [`Asking`] or a [`reqwest::Response`]
//! closes its connection unless the answer was whole. Absent: what an answer means (`session.rs`).

use std::error::Error as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_dialect::route::Upstream;
use causeway_transport::is_denied;
use causeway_wire::{Head, Headers};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, Request, Response, Url};

use crate::config::OllamaUrl;
use crate::session::Trouble;

/// Ollama is on this machine or beside it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Idle connections kept, count: one for every stream the daemon takes at once, so that a burst
/// after a burst finds its connections still there.
const IDLE_CONNECTIONS: usize = 256;

/// Questions of the daemon itself (tags, ps, version) end after this.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer to such a question, bytes: a thousand models make under 1 MiB.
const MAX_METADATA: usize = 8 * 1024 * 1024;

/// Headers of a caller that Ollama gets to see. None of them carries a credential or an origin.
static PASSED: [HeaderName; 7] = [
    ACCEPT,
    USER_AGENT,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
];

/// A request under way.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Response, Trouble>> + Send>>;

/// The client.
#[derive(Clone)]
pub(crate) struct Ollama {
    client: Client,
    base: Url,
    /// `localhost:PORT`: passes Ollama's Host check wherever it listens.
    host: HeaderValue,
    json: HeaderValue,
}

impl Ollama {
    /// Builds the client; contacts nobody.
    pub(crate) fn new(url: &OllamaUrl) -> anyhow::Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .dns_resolver(Arc::new(Guarded))
            .build()?;
        Ok(Self {
            client,
            base: Url::parse(&url.to_string())?,
            host: HeaderValue::from_str(&format!("localhost:{}", url.port))?,
            json: HeaderValue::from_static("application/json"),
        })
    }

    /// Begins a caller's request. `name` is the model in the path of `/v1/models/ID`.
    pub(crate) fn ask(&self, route: Upstream, name: Option<&str>, headers: &Headers, body: Option<Bytes>) -> Asking {
        let method = if route.method() == "GET" { Method::GET } else { Method::POST };
        let mut request = Request::new(method, self.url(route, name));
        let passed = request.headers_mut();
        for (name, value) in headers {
            let known = PASSED.iter().find(|known| name.eq_ignore_ascii_case(known.as_str()));
            if let (Some(known), Ok(value)) = (known, HeaderValue::from_str(value)) {
                passed.insert(known.clone(), value);
            }
        }
        self.sign(passed);
        if let Some(body) = body {
            // Bodies are JSON whatever the caller's content type says, as with Ollama.
            passed.insert(CONTENT_TYPE, self.json.clone());
            *request.body_mut() = Some(body.into());
        }
        let sent = self.client.execute(request);
        Box::pin(async move { sent.await.map_err(|error| trouble(&error)) })
    }

    /// The daemon's own question: the whole answer of a read-only route.
    pub(crate) async fn metadata(&self, route: Upstream) -> Result<Vec<u8>, String> {
        self.own(route, Request::new(Method::GET, self.url(route, None))).await
    }

    /// The daemon's own question about one model: `/api/show`.
    pub(crate) async fn show(&self, model: &str) -> Result<Vec<u8>, String> {
        let route = Upstream::OllamaShow;
        let mut request = Request::new(Method::POST, self.url(route, None));
        request.headers_mut().insert(CONTENT_TYPE, self.json.clone());
        *request.body_mut() = Some(serde_json::json!({ "model": model }).to_string().into());
        self.own(route, request).await
    }

    async fn own(&self, route: Upstream, mut request: Request) -> Result<Vec<u8>, String> {
        self.sign(request.headers_mut());
        *request.timeout_mut() = Some(METADATA_TIMEOUT);
        let mut answer = self.client.execute(request).await.map_err(|error| chain(&error))?;
        if !answer.status().is_success() {
            return Err(format!("{} answered HTTP {}", route.path(), answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
            if body.len() + chunk.len() > MAX_METADATA {
                return Err(format!("{} answered more than 8 MiB", route.path()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn sign(&self, headers: &mut HeaderMap) {
        headers.insert(HOST, self.host.clone());
    }

    fn url(&self, route: Upstream, name: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_path(route.path());
        if let (Upstream::OpenAiModel, Some(name), Ok(mut path)) = (route, name, url.path_segments_mut()) {
            path.pop_if_empty().push(name);
        }
        url
    }
}

/// Status and headers as they leave the machine: what the relay passes on, and the stamp.
pub(crate) fn head_of(answer: &Response, model: Option<&str>) -> Head {
    let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let mut headers = Headers::with_capacity(4);
    for name in ["content-type", "retry-after"] {
        if let Some(value) = text(name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    headers.push(("x-causeway-served-by".to_owned(), "local".to_owned()));
    if let Some(model) = model {
        headers.push(("x-causeway-model".to_owned(), model.to_owned()));
    }
    Head { status: answer.status().as_u16(), headers }
}

/// What an error of the client means for the request.
pub(crate) fn trouble(error: &reqwest::Error) -> Trouble {
    if error.is_builder() {
        Trouble::BadRequest(format!("the request cannot be passed to Ollama: {}", chain(error)))
    } else if error.is_connect() {
        Trouble::Down(chain(error))
    } else {
        Trouble::Cut(chain(error))
    }
}

/// The innermost reasons in one line, without the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // hyper-util's own layer ("client error (Connect)") says nothing that the next one does not.
        let tells = !text.starts_with("client error (") && texts.last().is_none_or(|last| !last.contains(&text));
        if tells {
            texts.push(text);
        }
        source = cause.source();
    }
    match texts.is_empty() {
        true => error.to_string(),
        false => texts.join(": "),
    }
}

/// The system's resolver without the addresses that are never contacted.
struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_denied(address.ip())).collect();
            if allowed.is_empty() {
                let message = format!("{} has no address that may be contacted", name.as_str());
                return Err(std::io::Error::other(message).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Ollama {
        Ollama::new(&OllamaUrl { host: "127.0.0.1".to_owned(), port: 11434 }).unwrap()
    }

    #[test]
    fn a_model_name_in_a_path_stays_one_segment() {
        let url = client().url(Upstream::OpenAiModel, Some("a/../../api/pull?x#y"));
        assert_eq!(url.as_str(), "http://127.0.0.1:11434/v1/models/a%2F..%2F..%2Fapi%2Fpull%3Fx%23y");
    }

    #[test]
    fn every_route_keeps_its_exact_path() {
        for route in Upstream::ALL {
            assert_eq!(client().url(route, None).path(), route.path());
        }
    }
}
