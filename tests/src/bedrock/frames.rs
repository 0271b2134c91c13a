//! One event or exception as a frame of `application/vnd.amazon.eventstream`.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use aws_smithy_types::str_bytes::StrBytes;
use bytes::Bytes;
use serde_json::Value;

use super::errors::Refusal;

/// The padding that the service adds to every event against guesses from frame lengths.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP";

/// An event frame; `number` varies the padding.
pub(super) fn event(name: &str, mut payload: Value, number: usize) -> Bytes {
    if let Some(object) = payload.as_object_mut() {
        object.insert("p".to_owned(), Value::from(&PADDING[..=number % PADDING.len()]));
    }
    frame(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], &payload)
}

pub(super) fn exception(refusal: &Refusal) -> Bytes {
    let name = refusal.error.name_in_stream();
    let headers = [(":exception-type", &*name), (":content-type", "application/json"), (":message-type", "exception")];
    frame(&headers, &refusal.body())
}

/// A frame whose checksum no longer fits its payload.
pub(super) fn corrupted(frame: &Bytes) -> Bytes {
    /// The checksum of the whole frame stands in its last bytes.
    const CHECKSUM: usize = 4;
    let mut bytes = frame.to_vec();
    let last = bytes.len() - CHECKSUM - 1;
    bytes[last] ^= 1;
    bytes.into()
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Bytes {
    let mut message = Message::new(payload.to_string());
    for &(name, value) in headers {
        let value = HeaderValue::String(StrBytes::from(value.to_owned()));
        message = message.add_header(Header::new(name.to_owned(), value));
    }
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes.into()
}
