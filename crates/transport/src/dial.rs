//! From a relay's URL to an open WebSocket: DNS, TCP, TLS, upgrade, each error in a sentence that
//! says what to do.
//!
//! Invariant: an address that is never contacted is not, whatever the relay's name resolves to.
//! Absent: when to dial and when to dial again, which is the link's decision.

mod address;
mod cure;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_wire::DialFailure;
use causeway_wire::limits::{DIAL_TIMEOUT, SUBPROTOCOL};
use http::StatusCode;
use http::header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

pub use address::is_denied;

use crate::edge::RelayUrl;
use crate::pump;

/// A failed dial: what the link must know, and the sentence for the person.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) failure: DialFailure,
    pub(crate) sentence: String,
}

impl DialError {
    fn unreachable(sentence: String) -> Self {
        Self { failure: DialFailure::Unreachable, sentence }
    }
}

/// Opens a WebSocket to the relay within [`DIAL_TIMEOUT`].
pub(crate) async fn dial(
    url: &RelayUrl,
    tls: Arc<rustls::ClientConfig>,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, DialError> {
    match tokio::time::timeout(DIAL_TIMEOUT, connect(url, tls)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::unreachable(format!(
            "{url} did not answer within {} s: is the relay running, and does a firewall let outbound TCP through?",
            DIAL_TIMEOUT.as_secs()
        ))),
    }
}

async fn connect(
    url: &RelayUrl,
    tls: Arc<rustls::ClientConfig>,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, DialError> {
    let addresses = resolve(url).await?;
    let tcp = TcpStream::connect(&addresses[..]).await.map_err(|error| {
        DialError::unreachable(format!("cannot connect to {url} ({error}): {}", cure::of_tcp(&error)))
    })?;
    pump::set_link_options(&tcp)
        .map_err(|error| DialError::unreachable(format!("cannot set socket options for {url}: {error}")))?;
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| DialError::unreachable(format!("`{}` in relay.url is no host name", url.host)))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| {
        DialError::unreachable(format!("TLS with {url} failed ({error}): {}", cure::of_tls(&error)))
    })?;
    let mut request = url
        .to_string()
        .into_client_request()
        .map_err(|error| DialError::unreachable(format!("`{url}` is no WebSocket URL: {error}")))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, http::HeaderValue::from_static(SUBPROTOCOL));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(pump::websocket_config())).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(upgrade_error(url, &error)),
    }
}

async fn resolve(url: &RelayUrl) -> Result<Vec<SocketAddr>, DialError> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|error| {
        DialError::unreachable(format!(
            "cannot find the address of `{}` ({error}): mend the name in relay.url, or this machine's DNS",
            url.host
        ))
    })?;
    permitted(url, found)
}

/// What a name resolves to without the addresses that are never contacted.
fn permitted(url: &RelayUrl, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, DialError> {
    let (denied, permitted): (Vec<_>, Vec<_>) = found.partition(|address| is_denied(address.ip()));
    match denied.first() {
        Some(denied) if permitted.is_empty() => Err(DialError::unreachable(format!(
            "`{}` in relay.url stands for {}, a link-local or cloud metadata address, which is never contacted: \
             mend the name or its DNS entry",
            url.host,
            denied.ip()
        ))),
        Some(_) | None => Ok(permitted),
    }
}

fn upgrade_error(url: &RelayUrl, error: &Error) -> DialError {
    let Error::Http(response) = error else {
        // With TLS 1.3 a refused client certificate shows here, as an alert on the first read.
        let cure = cure::of_upgrade(error);
        return DialError::unreachable(format!("the relay at {url} ended the connection ({error}): {cure}"));
    };
    let status = response.status();
    let cure = cure::of_status(status);
    let sentence = format!("the relay at {url} answered {status} instead of opening a WebSocket: {cure}");
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok())
        .map(Duration::from_secs);
    let failure = match (status, retry_after) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => DialFailure::Refused,
        (_, Some(wait)) => DialFailure::RetryAfter(wait),
        (_, None) => DialFailure::Unreachable,
    };
    DialError { failure, sentence }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
