//! Headers of a request as far as the relay reads them, and what passes in either direction.
//!
//! Both directions are allow-lists: credentials, cookies, hop-by-hop and forwarding headers never
//! reach an edge, and an edge cannot set headers that a caller's client acts upon.

use std::time::Duration;

use causeway_wire::{Head, Headers};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::core::errors::Refusal;
use crate::core::limits::{MAX_DEADLINE, MAX_REQUEST_HEADERS, MAX_REQUEST_ID, MAX_SESSION};
use crate::core::route::Allowed;

/// Request headers that reach the edge.
const PASSED_ON: [HeaderName; 4] = [
    http::header::CONTENT_TYPE,
    http::header::ACCEPT,
    http::header::USER_AGENT,
    HeaderName::from_static("x-causeway-strict"),
];

/// What a caller asks for in headers; each can only narrow what its key allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Who may answer.
    pub allowed: Allowed,
    /// It gives way to interactive requests.
    pub batch: bool,
    /// Hard deadline of the first token.
    pub first_token: Option<Duration>,
    /// Pinned edge.
    pub edge: Option<String>,
    /// Requests of one session go to one edge where that costs little.
    pub session: Option<String>,
    /// The caller's own id of this request.
    pub request_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            allowed: Allowed::ANY,
            batch: false,
            first_token: None,
            edge: None,
            session: None,
            request_id: None,
            traceparent: None,
        }
    }
}

/// Reads what a caller asks for.
///
/// # Errors
///
/// A value that is not understood (400), more than 4 KiB of headers (431), a compressed body (415).
pub fn read(headers: &HeaderMap) -> Result<Asked, Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_REQUEST_HEADERS {
        let message = format!("the request headers are {size} bytes long; at most {MAX_REQUEST_HEADERS} are taken");
        return Err(Refusal::invalid(message).with_status(431));
    }
    if let Some(encoding) = headers.get(http::header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Refusal::invalid("compressed bodies are not taken; send it uncompressed").with_status(415));
    }
    let route = one(headers, "x-causeway-route")?.unwrap_or("auto");
    let allowed = Allowed::named(route).ok_or_else(|| {
        Refusal::invalid(format!("x-causeway-route: `{route}` is not auto, local-only or cloud-only"))
    })?;
    let batch = choice(headers, "x-causeway-priority", ["interactive", "batch"])?;
    // Read by the edge; judged here, so that a wrong value is told at once.
    choice(headers, "x-causeway-strict", ["false", "true"])?;
    let first_token = one(headers, "x-causeway-first-token-ms")?.map(deadline).transpose()?;
    let edge = one(headers, "x-causeway-edge")?.map(str::to_owned);
    let session = one(headers, "x-causeway-session")?;
    if session.is_some_and(|name| name.is_empty() || name.len() > MAX_SESSION) {
        return Err(Refusal::invalid(format!("x-causeway-session is not 1 to {MAX_SESSION} characters long")));
    }
    let request_id = one(headers, "x-request-id")?;
    if request_id.is_some_and(|id| id.is_empty() || id.len() > MAX_REQUEST_ID) {
        return Err(Refusal::invalid(format!("x-request-id is not 1 to {MAX_REQUEST_ID} characters long")));
    }
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    Ok(Asked {
        allowed,
        batch,
        first_token,
        edge,
        session: session.map(str::to_owned),
        request_id: request_id.map(str::to_owned),
        // One that is not well-formed is ignored, as the W3C recommendation says.
        traceparent: traceparent.filter(|text| is_traceparent(text)).map(str::to_owned),
    })
}

/// Whether a header has the second of its two values; the first is the same as none.
fn choice(headers: &HeaderMap, name: &'static str, values: [&str; 2]) -> Result<bool, Refusal> {
    match one(headers, name)? {
        None => Ok(false),
        Some(value) if value == values[0] => Ok(false),
        Some(value) if value == values[1] => Ok(true),
        Some(other) => Err(Refusal::invalid(format!("{name}: `{other}` is not {} or {}", values[0], values[1]))),
    }
}

/// A header's one value.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        (Ok(_), Some(_)) => Err(Refusal::invalid(format!("{name} stands twice; send it once"))),
        (Err(_), _) => Err(Refusal::invalid(format!("{name} is not plain text"))),
    }
}

fn deadline(text: &str) -> Result<Duration, Refusal> {
    let ms: Option<u64> = text.parse().ok();
    ms.map(Duration::from_millis).filter(|time| !time.is_zero() && *time <= MAX_DEADLINE).ok_or_else(|| {
        let most = MAX_DEADLINE.as_millis();
        Refusal::invalid(format!("x-causeway-first-token-ms: `{text}` is not a number from 1 to {most}"))
    })
}

/// `00-<32 hex>-<16 hex>-<2 hex>`.
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts
            .iter()
            .zip(lengths)
            .all(|(part, length)| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The request headers that reach the edge.
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> Headers {
    PASSED_ON
        .iter()
        .filter_map(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        })
        .collect()
}

/// Where an answer came from, for its headers.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Our id of the request.
    pub request_id: &'a str,
    /// The caller's own, given back.
    pub own_id: Option<&'a str>,
    /// The edge that answered.
    pub edge: Option<&'a str>,
    /// The reduced model name.
    pub model: Option<&'a str>,
}

/// Headers of every answer, whatever it is.
pub fn stamp(headers: &mut HeaderMap, stamp: Stamp<'_>) {
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("x-causeway-request-id", stamp.request_id);
    if let Some(own) = stamp.own_id {
        set("x-request-id", own);
    }
    if let Some(edge) = stamp.edge {
        set("x-causeway-edge", edge);
    }
    // The edge knows better which model has answered: not always the one that was asked for.
    if let Some(model) = stamp.model.and_then(|model| HeaderValue::from_str(model).ok()) {
        headers.entry("x-causeway-model").or_insert(model);
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-transform"));
}

/// What of an edge's head reaches the caller: status 200 or 400 to 599, content-type, retry-after
/// and `x-causeway-*`. `None` for any other status.
#[must_use]
pub fn answer_head(head: &Head) -> Option<(http::StatusCode, HeaderMap)> {
    let status = match head.status {
        200 | 400..=599 => http::StatusCode::from_u16(head.status).ok()?,
        _ => return None,
    };
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in &head.headers {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        let passes = name == http::header::CONTENT_TYPE
            || name == http::header::RETRY_AFTER
            || name.as_str().starts_with("x-causeway-");
        if let (true, Ok(value)) = (passes, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    // Not known yet where a heartbeat had to commit the headers: the answer's end says it then.
    let served_by = headers.get("x-causeway-served-by").map(HeaderValue::as_bytes);
    if !matches!(served_by, None | Some(b"local" | b"bedrock")) {
        headers.remove("x-causeway-served-by");
    }
    Some((status, headers))
}

/// Header lines as tests write them.
#[cfg(test)]
pub(crate) fn lines(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, value.parse().unwrap());
    }
    map
}

#[cfg(test)]
mod tests {
    use super::lines as headers;
    use super::*;

    #[test]
    fn a_request_without_headers_asks_for_nothing() {
        assert_eq!(read(&HeaderMap::new()), Ok(Asked::default()));
    }

    #[test]
    fn what_is_asked_is_read() {
        let asked = read(&headers(&[
            ("x-causeway-route", "local-only"),
            ("x-causeway-first-token-ms", "250"),
            ("x-causeway-priority", "batch"),
            ("x-causeway-strict", "true"),
            ("x-causeway-edge", "gpu-1"),
            ("x-request-id", "mine"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("content-encoding", "identity"),
        ]))
        .unwrap();
        assert!(asked.allowed == Allowed::LOCAL && asked.batch);
        let cloud = read(&headers(&[("x-causeway-route", "cloud-only")])).unwrap();
        assert_eq!(cloud.allowed, Allowed::CLOUD);
        assert_eq!(asked.first_token, Some(Duration::from_millis(250)));
        assert_eq!(asked.edge.as_deref(), Some("gpu-1"));
        assert_eq!(asked.request_id.as_deref(), Some("mine"));
        assert!(asked.traceparent.is_some());
        assert!(read(&headers(&[("traceparent", "nonsense")])).unwrap().traceparent.is_none());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name() {
        let long = "a".repeat(MAX_REQUEST_HEADERS);
        for (lines, status) in [
            (&[("x-causeway-route", "anywhere")][..], 400),
            (&[("x-causeway-route", "")], 400),
            (&[("x-causeway-route", "auto"), ("x-causeway-route", "local-only")], 400),
            (&[("x-causeway-first-token-ms", "0")], 400),
            (&[("x-causeway-first-token-ms", "-1")], 400),
            (&[("x-causeway-first-token-ms", "99999999999")], 400),
            (&[("x-causeway-priority", "urgent")], 400),
            (&[("x-causeway-strict", "1")], 400),
            (&[("x-request-id", "")], 400),
            (&[("content-encoding", "gzip")], 415),
            (&[("x-long", long.as_str())], 431),
        ] {
            assert_eq!(read(&headers(lines)).unwrap_err().status, status, "{:?}", lines[0].0);
        }
    }

    #[test]
    fn credentials_cookies_and_forwarding_headers_stay_behind() {
        let passed = passed_on(&headers(&[
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("origin", "http://evil"),
            ("host", "relay"),
            ("connection", "keep-alive"),
            ("content-type", "application/json"),
        ]));
        assert_eq!(passed, [("content-type".to_owned(), "application/json".to_owned())]);
    }

    #[test]
    fn an_edge_sets_only_what_the_contract_lets_through() {
        let lines = [
            ("content-type", "application/x-ndjson"),
            ("set-cookie", "a=b"),
            ("location", "http://evil"),
            ("access-control-allow-origin", "*"),
            ("x-causeway-served-by", "moon"),
            ("x-causeway-reason", "why"),
            ("x-causeway-model", "anthropic.claude"),
            ("bad name", "x"),
            ("retry-after", "1\r\nset-cookie: x"),
        ];
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let head = Head { status: 200, headers: lines.to_vec() };
        let (_, mut headers) = answer_head(&head).unwrap();
        assert_eq!(headers.len(), 3);
        let asked = Stamp { request_id: "ID", own_id: None, edge: Some("gpu-1"), model: Some("m:latest") };
        stamp(&mut headers, asked);
        assert_eq!(headers["x-causeway-model"], "anthropic.claude", "the edge knows which model has answered");
        let mut untold = HeaderMap::new();
        stamp(&mut untold, asked);
        assert_eq!(untold["x-causeway-model"], "m:latest");
        assert!(headers.get("x-causeway-served-by").is_none());
        for status in [101, 204, 302, 399, 600] {
            assert!(answer_head(&Head { status, headers: Vec::new() }).is_none());
        }
    }
}
