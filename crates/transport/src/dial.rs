//! From a relay's URL to an open WebSocket: DNS, TCP, TLS, upgrade, each error in a sentence.
//!
//! Absent: when to dial and when to dial again, which is the link's decision.

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
    let tcp = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(|error| DialError::unreachable(format!("cannot connect to {url}: {error}")))?;
    pump::set_link_options(&tcp)
        .map_err(|error| DialError::unreachable(format!("cannot set socket options for {url}: {error}")))?;
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| DialError::unreachable(format!("`{}` in relay.url is no host name", url.host)))?;
    let stream = TlsConnector::from(tls)
        .connect(name, tcp)
        .await
        .map_err(|error| DialError::unreachable(format!("TLS with {url} failed: {error}")))?;
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

fn upgrade_error(url: &RelayUrl, error: &Error) -> DialError {
    let Error::Http(response) = error else {
        // With TLS 1.3 a refused client certificate shows here, as an alert on the first read.
        return DialError::unreachable(format!("the relay at {url} ended the connection: {error}"));
    };
    let status = response.status();
    let sentence = format!("the relay at {url} answered {status} instead of opening a WebSocket");
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
