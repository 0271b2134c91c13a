//! A GET for looking at Ollama and at our own relay.
//!
//! Invariants: one connection a request, no proxy, no redirect; bounded in time and size.
//! Absent: TLS. What is asked here speaks plain HTTP; an `https` Ollama is refused by name.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest that one answer may take; local answers take milliseconds.
const LIMIT: Duration = Duration::from_secs(3);

/// Most that is read of an answer: a list of some thousand models.
const SIZE: u64 = 4 << 20;

/// A status and a body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Host and port of an `http://` URL without a path.
pub(crate) fn authority(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not an http:// address"))?;
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '@', '?', '#']) {
        bail!("{url}: expected http://HOST:PORT and nothing more");
    }
    let port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if port { rest.to_owned() } else { format!("{rest}:80") })
}

/// Asks `base` for `path`.
pub(crate) async fn get(base: &str, path: &str, key: Option<&str>) -> anyhow::Result<Answer> {
    let authority = authority(base)?;
    tokio::time::timeout(LIMIT, exchange(&authority, path, key))
        .await
        .with_context(|| format!("{authority} did not answer within {} s", LIMIT.as_secs()))?
}

/// HTTP/1.0, so that the body comes unchunked and ends with the connection.
async fn exchange(authority: &str, path: &str, key: Option<&str>) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(authority).await.with_context(|| format!("cannot connect to {authority}"))?;
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: {authority}\r\n{key}\r\n").as_bytes()).await?;
    let mut raw = Vec::new();
    stream.take(SIZE).read_to_end(&mut raw).await?;
    let split = raw.windows(4).position(|four| four == b"\r\n\r\n").context("not an HTTP answer")?;
    let head = String::from_utf8_lossy(raw.get(..split).unwrap_or_default()).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("not an HTTP answer")?;
    Ok(Answer { status, body: raw.split_off(split + 4) })
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn only_plain_http_addresses_without_a_path_are_taken() {
        assert_eq!(authority("http://127.0.0.1:11434/").unwrap(), "127.0.0.1:11434");
        assert_eq!(authority("http://gpu.lan").unwrap(), "gpu.lan:80");
        for wrong in ["https://gpu.lan", "127.0.0.1:11434", "http://", "http://a/v1", "http://u@h"] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }
}
