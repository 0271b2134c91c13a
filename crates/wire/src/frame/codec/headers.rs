//! The header of each frame type as it is written and read; field order is order on the wire.
//!
//! `R`, `H`, `M`, `O`, `F` and `T` stand for text and lists: borrowed when written, owned when read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Scope, StreamId};

fn no(flag: &bool) -> bool {
    !*flag
}

/// What every header begins with; also the second chance when `type` is not the first field.
#[derive(Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) opt: bool,
}

/// A header with its type written first. Only written: reading goes by [`Tag`] first. The headers
/// of frequent frames carry their type themselves (`tag`), which costs half as much.
#[derive(Serialize)]
pub(super) struct Tagged<T> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(flatten)]
    pub(super) rest: T,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CatalogHeader {
    pub(super) rev: u64,
    pub(super) part: u32,
    pub(super) of: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RevHeader {
    pub(super) rev: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "open")]
pub(super) struct OpenHeader<T> {
    pub(super) stream: StreamId,
    #[serde(default, skip_serializing_if = "no")]
    pub(super) fin: bool,
    #[serde(default, skip_serializing_if = "no")]
    pub(super) b64: bool,
    pub(super) request: T,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "head")]
pub(super) struct HeadHeader<H, R> {
    pub(super) stream: StreamId,
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: H,
    #[serde(default, skip_serializing_if = "no")]
    pub(super) b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "data")]
pub(super) struct DataHeader<R> {
    pub(super) stream: StreamId,
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "no")]
    pub(super) b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "end")]
pub(super) struct EndHeader<O, R> {
    pub(super) stream: StreamId,
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "no")]
    pub(super) b64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<O>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FailHeader<F, R> {
    pub(super) stream: StreamId,
    pub(super) seq: u64,
    pub(super) failure: F,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "ack")]
pub(super) struct AckHeader<M, R> {
    pub(super) stream: StreamId,
    pub(super) next: u64,
    pub(super) limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) miss: Option<M>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ProbeHeader<R> {
    pub(super) stream: StreamId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<R>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CancelHeader<R> {
    pub(super) stream: StreamId,
    pub(super) reason: R,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokenHeader {
    pub(super) token: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GoawayHeader<R> {
    pub(super) scope: Scope,
    pub(super) reason: R,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reconnect_in_ms: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GoodbyeHeader {
    pub(super) scope: Scope,
}
