//! Text form of frames: a compact JSON header, and, where there is a body, a newline and the body.
//!
//! Invariants: `decode` is total (any input gives a frame or a [`CodecError`], nothing panics, no
//! length in the input is trusted); headers are read and written by derived, typed code, never
//! through a JSON tree; `encode` allocates the message once. `encode` does not enforce size
//! limits: whoever builds a frame does (`stream/send.rs`, `link.rs`).
//! Absent: what a frame means, and the order and number in which frames may come.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Failure, Frame, Head, Headers, Hello, Load, Open, Outcome, Scope, Welcome};
use crate::StreamId;
use crate::limits::{MAX_HEADER, MAX_MESSAGE, MAX_MISS, MAX_REPLY};

/// Why a text is no frame. Details name places and kinds, never content.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is longer than any welcome allows.
    #[error("message of {0} bytes is longer than the protocol allows")]
    MessageTooLong(usize),
    /// The header line is longer than 8 KiB.
    #[error("header is longer than 8 KiB")]
    HeaderTooLong,
    /// The header is not the JSON object its type asks for.
    #[error("header is not valid at byte {column}")]
    BadHeader {
        /// Column of the fault in the header line.
        column: usize,
    },
    /// A type this version does not know, not marked optional.
    #[error("unknown frame type")]
    UnknownType,
    /// The body is marked base64 and is not.
    #[error("body is not base64")]
    BadBase64,
    /// A body after a frame that carries none.
    #[error("this frame type carries no body")]
    UnexpectedBody,
    /// The body is not the JSON it should be.
    #[error("body is not valid JSON for its frame")]
    BadBody,
    /// `reply` is longer than 512 bytes.
    #[error("reply is longer than 512 bytes")]
    ReplyTooLong,
}

impl From<serde_json::Error> for CodecError {
    fn from(error: serde_json::Error) -> Self {
        Self::BadHeader { column: error.column() }
    }
}

fn no(flag: &bool) -> bool {
    !*flag
}

/// What every header begins with; also the second chance when `type` is not the first field.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    opt: bool,
}

/// A header with its type written first. Only written: reading goes by [`Tag`] first.
#[derive(Serialize)]
struct Tagged<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize, Deserialize)]
struct CatalogHeader {
    rev: u64,
    part: u32,
    of: u32,
}

#[derive(Serialize, Deserialize)]
struct RevHeader {
    rev: u64,
}

#[derive(Serialize, Deserialize)]
struct OpenHeader<T> {
    stream: StreamId,
    #[serde(default, skip_serializing_if = "no")]
    fin: bool,
    #[serde(default, skip_serializing_if = "no")]
    b64: bool,
    request: T,
}

#[derive(Serialize, Deserialize)]
struct HeadHeader<H, R> {
    stream: StreamId,
    status: u16,
    #[serde(default)]
    headers: H,
    #[serde(default, skip_serializing_if = "no")]
    b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct DataHeader<R> {
    stream: StreamId,
    seq: u64,
    #[serde(default, skip_serializing_if = "no")]
    b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct EndHeader<O, R> {
    stream: StreamId,
    seq: u64,
    #[serde(default, skip_serializing_if = "no")]
    b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<O>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct FailHeader<F, R> {
    stream: StreamId,
    seq: u64,
    failure: F,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct AckHeader<M, R> {
    stream: StreamId,
    next: u64,
    limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    miss: Option<M>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct ProbeHeader<R> {
    stream: StreamId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
struct CancelHeader<R> {
    stream: StreamId,
    reason: R,
}

#[derive(Serialize, Deserialize)]
struct TokenHeader {
    token: u64,
}

#[derive(Serialize, Deserialize)]
struct GoawayHeader<R> {
    scope: Scope,
    reason: R,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconnect_in_ms: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct GoodbyeHeader {
    scope: Scope,
}

/// Room for a header without text of the application's, bytes: saves growing the message.
const SMALL_HEADER: usize = 192;

/// Writes JSON into a `String`: serde_json writes whole UTF-8 pieces.
struct Text<'a>(&'a mut String);

impl std::io::Write for Text<'_> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let text = std::str::from_utf8(piece)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        self.0.push_str(text);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A body ready to be written: as it is where it is UTF-8, otherwise as base64.
enum Body<'a> {
    None,
    Plain(&'a str),
    Base64(&'a [u8]),
}

impl<'a> Body<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok("") => Self::None,
            Ok(text) => Self::Plain(text),
            Err(_) => Self::Base64(bytes),
        }
    }

    fn is_base64(&self) -> bool {
        matches!(self, Self::Base64(_))
    }

    fn room(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Plain(text) => 1 + text.len(),
            Self::Base64(bytes) => 1 + bytes.len().div_ceil(3) * 4,
        }
    }
}

fn write<T: Serialize>(kind: &'static str, rest: T, extra: usize, body: &Body<'_>) -> String {
    let mut message = String::with_capacity(SMALL_HEADER + extra + body.room());
    // Writing to a String cannot fail, and no header type has a key or number that JSON lacks.
    let written = serde_json::to_writer(Text(&mut message), &Tagged { kind, rest });
    debug_assert!(written.is_ok(), "{kind} header: {written:?}");
    match body {
        Body::None => {}
        Body::Plain(text) => {
            message.push('\n');
            message.push_str(text);
        }
        Body::Base64(bytes) => {
            message.push('\n');
            STANDARD.encode_string(bytes, &mut message);
        }
    }
    message
}

fn bare<T: Serialize>(kind: &'static str, rest: T, extra: usize) -> String {
    write(kind, rest, extra, &Body::None)
}

/// The text of a frame. [`Frame::Unknown`] is written as an optional frame that peers ignore.
#[must_use]
pub fn encode(frame: &Frame) -> String {
    match frame {
        Frame::Hello(hello) => bare("hello", hello, 256),
        Frame::Welcome(welcome) => bare("welcome", welcome, 512),
        Frame::Catalog { .. } | Frame::Load { .. } | Frame::Goaway { .. } | Frame::Goodbye { .. } => {
            encode_link(frame)
        }
        Frame::Open { stream, open, body, fin } => {
            let body = Body::of(body);
            let (stream, fin, b64, request) = (*stream, *fin, body.is_base64(), &**open);
            let room = headers_room(&open.headers) + open.path.len() + 384;
            write("open", OpenHeader { stream, fin, b64, request }, room, &body)
        }
        Frame::Head { stream, head, body, reply } => {
            let body = Body::of(body);
            let (stream, status, b64, reply) = (*stream, head.status, body.is_base64(), reply.as_deref());
            let rest = HeadHeader { stream, status, headers: &head.headers, b64, reply };
            write("head", rest, headers_room(&head.headers), &body)
        }
        Frame::Data { stream, seq, body, reply } => {
            let body = Body::of(body);
            let (stream, seq, b64, reply) = (*stream, *seq, body.is_base64(), reply.as_deref());
            write("data", DataHeader { stream, seq, b64, reply }, 0, &body)
        }
        Frame::End { stream, seq, body, outcome, reply } => {
            let body = Body::of(body);
            let (stream, seq, b64, reply) = (*stream, *seq, body.is_base64(), reply.as_deref());
            let outcome = outcome.as_deref();
            write("end", EndHeader { stream, seq, b64, outcome, reply }, 160, &body)
        }
        Frame::Fail { stream, seq, failure, reply } => {
            let (stream, seq, reply) = (*stream, *seq, reply.as_deref());
            bare("fail", FailHeader { stream, seq, failure: &**failure, reply }, failure.message.len() + 160)
        }
        Frame::Ack { stream, next, limit, miss, reply } => {
            let (stream, next, limit, reply) = (*stream, *next, *limit, reply.as_deref());
            let miss = (!miss.is_empty()).then_some(miss);
            bare("ack", AckHeader { stream, next, limit, miss, reply }, 0)
        }
        Frame::Probe { stream, reply } => bare("probe", ProbeHeader { stream: *stream, reply: reply.as_deref() }, 0),
        Frame::Cancel { stream, reason } => bare("cancel", CancelHeader { stream: *stream, reason }, reason.len()),
        Frame::Ping { token } => bare("ping", TokenHeader { token: *token }, 0),
        Frame::Pong { token } => bare("pong", TokenHeader { token: *token }, 0),
        Frame::Unknown => r#"{"type":"unknown","opt":true}"#.to_owned(),
    }
}

fn encode_link(frame: &Frame) -> String {
    match frame {
        Frame::Catalog { rev, part, of, body } => {
            write("catalog", CatalogHeader { rev: *rev, part: *part, of: *of }, 0, &Body::of(body))
        }
        Frame::Load { rev, load } => {
            // The list of models can outgrow a header, so it is the body.
            let body = serde_json::to_string(load).unwrap_or_default();
            write("load", RevHeader { rev: *rev }, 0, &Body::Plain(&body))
        }
        Frame::Goaway { scope, reason, reconnect_in_ms } => {
            let (scope, reconnect_in_ms) = (*scope, *reconnect_in_ms);
            bare("goaway", GoawayHeader { scope, reason, reconnect_in_ms }, reason.len())
        }
        Frame::Goodbye { scope } => bare("goodbye", GoodbyeHeader { scope: *scope }, 0),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Open { .. }
        | Frame::Head { .. }
        | Frame::Data { .. }
        | Frame::End { .. }
        | Frame::Fail { .. }
        | Frame::Ack { .. }
        | Frame::Probe { .. }
        | Frame::Cancel { .. }
        | Frame::Ping { .. }
        | Frame::Pong { .. }
        | Frame::Unknown => String::new(),
    }
}

fn headers_room(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
}

/// Reads a message.
///
/// # Errors
/// [`CodecError`] for anything that is not a frame of this version.
pub fn decode(text: &str) -> Result<Frame, CodecError> {
    if text.len() > MAX_MESSAGE {
        return Err(CodecError::MessageTooLong(text.len()));
    }
    let (header, body) = split(text)?;
    let (kind, optional) = kind_of(header)?;
    match &*kind {
        "data" => {
            let DataHeader { stream, seq, b64, reply } = serde_json::from_str(header)?;
            Ok(Frame::Data { stream, seq, body: read_body(body, b64)?, reply: short(reply)? })
        }
        "ack" => {
            let mut ack: AckHeader<Vec<u64>, String> = bodiless(header, body)?;
            let mut miss = ack.miss.take().unwrap_or_default();
            miss.truncate(MAX_MISS);
            Ok(Frame::Ack { stream: ack.stream, next: ack.next, limit: ack.limit, miss, reply: short(ack.reply)? })
        }
        "head" => {
            let HeadHeader { stream, status, headers, b64, reply } = serde_json::from_str(header)?;
            Ok(Frame::Head { stream, head: Head { status, headers }, body: read_body(body, b64)?, reply: short(reply)? })
        }
        "open" => decode_open(header, body),
        "end" => {
            let end: EndHeader<Outcome, String> = serde_json::from_str(header)?;
            let (outcome, reply) = (end.outcome.map(Box::new), short(end.reply)?);
            Ok(Frame::End { stream: end.stream, seq: end.seq, body: read_body(body, end.b64)?, outcome, reply })
        }
        "fail" => {
            let fail: FailHeader<Failure, String> = bodiless(header, body)?;
            let (failure, reply) = (Box::new(fail.failure), short(fail.reply)?);
            Ok(Frame::Fail { stream: fail.stream, seq: fail.seq, failure, reply })
        }
        "probe" => {
            let ProbeHeader { stream, reply } = bodiless(header, body)?;
            Ok(Frame::Probe { stream, reply: short(reply)? })
        }
        "cancel" => {
            let CancelHeader { stream, reason } = bodiless(header, body)?;
            Ok(Frame::Cancel { stream, reason })
        }
        other => decode_link(other, optional, header, body),
    }
}

fn decode_open(header: &str, body: Option<&str>) -> Result<Frame, CodecError> {
    let OpenHeader::<Open> { stream, fin, b64, request } = serde_json::from_str(header)?;
    if request.reply.as_ref().is_some_and(|reply| reply.len() > MAX_REPLY) {
        return Err(CodecError::ReplyTooLong);
    }
    Ok(Frame::Open { stream, open: Box::new(request), body: read_body(body, b64)?, fin })
}

fn decode_link(kind: &str, optional: bool, header: &str, body: Option<&str>) -> Result<Frame, CodecError> {
    match kind {
        "ping" => bodiless(header, body).map(|TokenHeader { token }| Frame::Ping { token }),
        "pong" => bodiless(header, body).map(|TokenHeader { token }| Frame::Pong { token }),
        "hello" => bodiless::<Hello>(header, body).map(Frame::Hello),
        "welcome" => bodiless::<Welcome>(header, body).map(Frame::Welcome),
        "catalog" => {
            let CatalogHeader { rev, part, of } = serde_json::from_str(header)?;
            Ok(Frame::Catalog { rev, part, of, body: read_body(body, false)? })
        }
        "load" => {
            let RevHeader { rev } = serde_json::from_str(header)?;
            let load: Load =
                serde_json::from_str(body.unwrap_or_default()).map_err(|_| CodecError::BadBody)?;
            Ok(Frame::Load { rev, load })
        }
        "goaway" => {
            let GoawayHeader { scope, reason, reconnect_in_ms } = bodiless(header, body)?;
            Ok(Frame::Goaway { scope, reason, reconnect_in_ms })
        }
        "goodbye" => bodiless(header, body).map(|GoodbyeHeader { scope }| Frame::Goodbye { scope }),
        _ if optional => Ok(Frame::Unknown),
        _ => Err(CodecError::UnknownType),
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), CodecError> {
    let within = &text.as_bytes()[..text.len().min(MAX_HEADER + 1)];
    match within.iter().position(|&byte| byte == b'\n') {
        Some(at) => Ok((&text[..at], Some(&text[at + 1..]))),
        None if text.len() > MAX_HEADER => Err(CodecError::HeaderTooLong),
        None => Ok((text, None)),
    }
}

/// The type is the first field of every header this crate writes; any other order is read too.
fn kind_of(header: &str) -> Result<(Cow<'_, str>, bool), CodecError> {
    const KNOWN_FIRST: &str = r#"{"type":""#;
    if let Some(rest) = header.strip_prefix(KNOWN_FIRST)
        && let Some((kind, _)) = rest.split_once('"')
        && matches!(kind, "data" | "ack" | "open" | "head" | "end" | "ping" | "pong")
    {
        return Ok((Cow::Borrowed(kind), false));
    }
    let Tag { kind, opt } = serde_json::from_str(header)?;
    Ok((kind, opt))
}

fn bodiless<'a, T: Deserialize<'a>>(header: &'a str, body: Option<&str>) -> Result<T, CodecError> {
    if body.is_some() {
        return Err(CodecError::UnexpectedBody);
    }
    Ok(serde_json::from_str(header)?)
}

fn read_body(body: Option<&str>, base64: bool) -> Result<Bytes, CodecError> {
    let text = body.unwrap_or_default();
    if base64 {
        return STANDARD.decode(text).map(Bytes::from).map_err(|_| CodecError::BadBase64);
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

fn short(reply: Option<String>) -> Result<Option<String>, CodecError> {
    match reply {
        Some(reply) if reply.len() > MAX_REPLY => Err(CodecError::ReplyTooLong),
        reply => Ok(reply),
    }
}
