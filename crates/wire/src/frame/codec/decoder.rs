//! From a text to its frame, or a typed error. Total: see the head of `codec.rs`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::CodecError;
use super::headers::{
    AckHeader, CancelHeader, CatalogHeader, DataHeader, EndHeader, FailHeader, GoawayHeader, GoodbyeHeader, HeadHeader,
    OpenHeader, ProbeHeader, RevHeader, Tag, TokenHeader,
};
use crate::limits::{MAX_HEADER, MAX_MESSAGE, MAX_MISS, MAX_REPLY};
use crate::{Failure, Frame, Head, Hello, Load, Open, Outcome, Welcome};

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
            Ok(Frame::Head {
                stream,
                head: Head { status, headers },
                body: read_body(body, b64)?,
                reply: short(reply)?,
            })
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
            let load: Load = serde_json::from_str(body.unwrap_or_default()).map_err(|_| CodecError::BadBody)?;
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
