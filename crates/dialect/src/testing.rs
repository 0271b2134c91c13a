//! What tests over all dialects share: every encoder, and Ollama's bytes on their way through them.

use serde_json::{Value, json};

use crate::chat::Request;
use crate::encode::{Encode, Stamp};
use crate::event::Event;
use crate::native::Reader;
use crate::{anthropic, ollama, openai};

/// 2026-11-23, nanoseconds since 1970.
pub(crate) const NOW: u64 = 1_795_418_043_000_000_000;

pub(crate) fn stamp() -> Stamp {
    Stamp { model: "m".to_owned(), id: "7f".to_owned(), created: 1_795_418_039, include_usage: true, input_estimate: 3 }
}

/// How a dialect's stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frames {
    /// Ollama's lines.
    Lines,
    /// Events; the whole answer ends with this text.
    Events(&'static str),
}

/// An encoder of each dialect that has written nothing, with its name and its frames.
pub(crate) fn encoders() -> Vec<(&'static str, Frames, Box<dyn Encode>)> {
    let (done, echo) = (Frames::Events("data: [DONE]\n\n"), openai::responses::Echo::default());
    let stamp = &stamp();
    let lines = |route| Box::new(ollama::Encoder::new(route, stamp));
    vec![
        ("ollama chat", Frames::Lines, lines(ollama::Route::Chat)),
        ("ollama generate", Frames::Lines, lines(ollama::Route::Generate)),
        ("openai chat", done, Box::new(openai::chat::Encoder::new(stamp))),
        ("openai completions", done, Box::new(openai::completions::Encoder::new(stamp))),
        (
            "openai responses",
            Frames::Events("\"prompt_cache_key\":null}}\n\n"),
            Box::new(openai::responses::Encoder::new(stamp, echo)),
        ),
        (
            "anthropic",
            Frames::Events("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            Box::new(anthropic::Encoder::new(stamp.clone())),
        ),
    ]
}

/// A body of Ollama's chat as a request.
pub(crate) fn chat(body: &Value) -> Request {
    ollama::parse_chat(body.to_string().as_bytes()).unwrap()
}

/// What Ollama's bytes tell when they come in pieces of this size and then end.
pub(crate) fn told(bytes: &[u8], piece: usize) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::new(&chat(&json!({ "model": "m" }))), Vec::new());
    bytes.chunks(piece).for_each(|piece| reader.feed(piece, &mut events));
    reader.finish(&mut events);
    events
}

/// All that an encoder writes of these events.
pub(crate) fn written(encoder: &mut dyn Encode, events: &[Event]) -> String {
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.event(NOW, event.clone(), &mut out));
    String::from_utf8(out).unwrap()
}

/// The JSON of each line, or of each event that is one; comments and the end marker left out.
pub(crate) fn objects(frames: Frames, stream: &str) -> Vec<Value> {
    let data = |line: &'_ str| match frames {
        Frames::Lines => Some(line.to_owned()),
        Frames::Events(_) => line.strip_prefix("data: ").filter(|data| *data != "[DONE]").map(str::to_owned),
    };
    assert!(stream.is_empty() || stream.ends_with('\n'), "{stream}");
    stream.lines().filter_map(data).map(|json| serde_json::from_str(&json).expect(&json)).collect()
}
