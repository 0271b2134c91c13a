//! What every encoder writes alike: JSON into a buffer, and `x_causeway`, what is known only at the end.

use serde::Serialize;
use serde_json::{Map, Value};

/// The key of what is known only at the end.
const KEY: &str = "x_causeway";

/// Appends a value as JSON on one line.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let start = out.len();
    // Memory takes all, and texts, numbers and maps with texts as keys are JSON whatever they hold;
    // should that ever change, the stream stays well-formed.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends `"name":value` and a comma before it.
pub(crate) fn member<T: Serialize + ?Sized>(name: &str, value: &T, out: &mut Vec<u8>) {
    out.push(b',');
    json(name, out);
    out.push(b':');
    json(value, out);
}

/// Appends what is known only at the end as a member of the final object; nothing where there is
/// nothing to say.
pub(crate) fn trailer(trailer: &Map<String, Value>, out: &mut Vec<u8>) {
    if !trailer.is_empty() {
        member(KEY, trailer, out);
    }
}

/// The same as a comment of a stream of events, which no client takes for a part of the answer.
pub(crate) fn comment(trailer: &Map<String, Value>, out: &mut Vec<u8>) {
    if !trailer.is_empty() {
        out.extend_from_slice(b": ");
        out.extend_from_slice(KEY.as_bytes());
        out.push(b' ');
        json(trailer, out);
        out.extend_from_slice(b"\n\n");
    }
}
