//! From a frame to its text: one allocation, no JSON tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::headers::{
    AckHeader, CancelHeader, CatalogHeader, DataHeader, EndHeader, FailHeader, GoawayHeader, GoodbyeHeader, HeadHeader,
    OpenHeader, ProbeHeader, RevHeader, Tagged, TokenHeader,
};
use crate::{Frame, Headers};

/// Room for a header without text of the application's, bytes: saves growing the message.
const SMALL_HEADER: usize = 192;

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

/// A header that carries its type, then the body.
fn write<T: Serialize>(header: &T, extra: usize, body: &Body<'_>) -> String {
    let mut message = Vec::with_capacity(SMALL_HEADER + extra + body.room());
    // Writing to memory cannot fail, no header type has a key or number that JSON lacks, and JSON
    // is UTF-8.
    let written = serde_json::to_writer(&mut message, header);
    debug_assert!(written.is_ok(), "header: {written:?}");
    let mut message = String::from_utf8(message).unwrap_or_default();
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

/// A header whose type is written here, without a body.
fn bare<T: Serialize>(kind: &'static str, rest: T, extra: usize) -> String {
    write(&Tagged { kind, rest }, extra, &Body::None)
}

/// The text of a frame. [`Frame::Unknown`] is written as an optional frame that peers ignore.
#[must_use]
pub fn encode(frame: &Frame) -> String {
    match frame {
        Frame::Hello(hello) => bare("hello", hello, 256),
        Frame::Welcome(welcome) => bare("welcome", welcome, 512),
        Frame::Catalog { .. } | Frame::Load { .. } | Frame::Goaway { .. } | Frame::Goodbye { .. } => encode_link(frame),
        Frame::Open { stream, open, body, fin } => {
            let body = Body::of(body);
            let (stream, fin, b64, request) = (*stream, *fin, body.is_base64(), &**open);
            let room = headers_room(&open.headers) + open.path.len() + 384;
            write(&OpenHeader { stream, fin, b64, request }, room, &body)
        }
        Frame::Head { stream, head, body, reply } => {
            let body = Body::of(body);
            let (stream, status, b64, reply) = (*stream, head.status, body.is_base64(), reply.as_deref());
            let rest = HeadHeader { stream, status, headers: &head.headers, b64, reply };
            write(&rest, headers_room(&head.headers), &body)
        }
        Frame::Data { stream, seq, body, reply } => {
            let body = Body::of(body);
            let (stream, seq, b64, reply) = (*stream, *seq, body.is_base64(), reply.as_deref());
            write(&DataHeader { stream, seq, b64, reply }, 0, &body)
        }
        Frame::End { stream, seq, body, outcome, reply } => {
            let body = Body::of(body);
            let (stream, seq, b64, reply) = (*stream, *seq, body.is_base64(), reply.as_deref());
            let outcome = outcome.as_deref();
            write(&EndHeader { stream, seq, b64, outcome, reply }, 160, &body)
        }
        Frame::Fail { stream, seq, failure, reply } => {
            let (stream, seq, reply) = (*stream, *seq, reply.as_deref());
            bare("fail", FailHeader { stream, seq, failure: &**failure, reply }, failure.message.len() + 160)
        }
        Frame::Ack { stream, next, limit, miss, reply } => {
            let (stream, next, limit, reply) = (*stream, *next, *limit, reply.as_deref());
            let miss = (!miss.is_empty()).then_some(miss);
            write(&AckHeader { stream, next, limit, miss, reply }, 0, &Body::None)
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
            let rest = CatalogHeader { rev: *rev, part: *part, of: *of };
            write(&Tagged { kind: "catalog", rest }, 0, &Body::of(body))
        }
        Frame::Load { rev, load } => {
            // The list of models can outgrow a header, so it is the body.
            let body = serde_json::to_string(load).unwrap_or_default();
            write(&Tagged { kind: "load", rest: RevHeader { rev: *rev } }, 0, &Body::Plain(&body))
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
