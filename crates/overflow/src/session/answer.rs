//! How one answer is read from Ollama and written for its caller.
//!
//! Invariants: until something of it can be seen, what was read is kept and can be dropped for
//! another run; what a single answer gathers is bounded. Absent: what to do about it (`session.rs`).

use causeway_dialect::embed::{Gather, MAX_VECTORS};
use causeway_dialect::encode::{Answer, Encode, Stamp};
use causeway_dialect::event::{Event, Finish};
use causeway_dialect::native::{self, Reader};
use causeway_dialect::route::{Dialect, Shape};
use causeway_dialect::{anthropic, error, ollama, openai};
use causeway_policy::Measured;
use causeway_wire::{Backend, Code, Head};
use serde_json::{Map, Value};

use super::Tokens;
use crate::text::{Kind, Text, Writing};

/// Most that a single answer or a held event may come to, bytes: eight million characters are
/// more than any context holds, and the link buffers as much of a stream.
const MAX_SINGLE: usize = 8 * 1024 * 1024;

/// Longest body of an error of Ollama's that is read, bytes.
const MAX_FAULT: usize = 64 * 1024;

/// Where an answer came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Who answered.
    pub backend: Backend,
    /// The model that answered, as its backend calls it.
    pub model: Option<&'a str>,
    /// Why it was not this machine.
    pub reason: Option<&'a str>,
    /// What it cost, US dollars, once that is known.
    pub usd: Option<f64>,
    /// Fields without effect.
    pub dropped: &'a str,
}

impl Origin<'_> {
    /// As members of a trailer; as headers with hyphens.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        let backend = match self.backend {
            Backend::Local => "local",
            Backend::Bedrock => "bedrock",
            Backend::OllamaCloud => "ollama_cloud",
        };
        let all = [
            ("served_by", Some(backend.to_owned())),
            ("model", self.model.map(str::to_owned)),
            ("reason", self.reason.map(str::to_owned)),
            ("cost_usd", self.usd.map(dollars)),
            ("dropped", Some(self.dropped.to_owned()).filter(|dropped| !dropped.is_empty())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// To the nano-dollar, without an exponent.
fn dollars(usd: f64) -> String {
    let text = format!("{usd:.9}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short.is_empty() { "0".to_owned() } else { short.to_owned() }
}

/// What the bytes that came say.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    /// Nothing of an answer yet.
    Quiet,
    /// More of the answer.
    More {
        /// The caller sees something of it.
        visible: bool,
    },
    /// The answer, or its present part, is whole.
    Whole,
    /// It is an error, or broke off.
    Fault(Code, String),
}

/// See the module's head.
pub struct Writer {
    dialect: Dialect,
    shape: Shape,
    body: Body,
    /// Ollama's status of the present run.
    status: u16,
    /// An error's body, or a part's vectors.
    raw: Vec<u8>,
    /// Tokens told so far, count: about one an event.
    pub told: u32,
    /// Tokens as far as they are told.
    pub tokens: Tokens,
    /// What the backend says of its own times.
    pub measured: Measured,
}

enum Body {
    Text(Box<TextBody>),
    Vectors { gather: Box<Gather>, part: usize },
}

struct TextBody {
    fresh: Reader,
    reader: Reader,
    /// Read and not yet written.
    events: Vec<Event>,
    /// Bytes that they came from.
    held: usize,
    output: Output,
}

enum Output {
    Stream(Box<dyn Encode + Sync>),
    Single(Box<Single>),
}

/// A single answer as far as it has come.
struct Single {
    answer: Answer,
    stamp: Stamp,
    writing: Writing,
}

impl Writer {
    /// For an answer of this kind.
    #[must_use]
    pub fn new(kind: Kind, dialect: Dialect, shape: Shape) -> Self {
        let body = match kind {
            Kind::Text(text) => Body::Text(Box::new(TextBody::new(*text, shape))),
            Kind::Vectors(gather) => Body::Vectors { gather, part: 0 },
        };
        Self {
            dialect,
            shape,
            body,
            status: 200,
            raw: Vec::new(),
            told: 0,
            tokens: Tokens::default(),
            measured: Measured::default(),
        }
    }

    /// Another run of the present part begins: nothing of the last one stays.
    pub fn begin(&mut self) {
        self.raw = Vec::new();
        self.status = 200;
        self.measured = Measured::default();
        if let Body::Text(text) = &mut self.body {
            text.reader = text.fresh.clone();
            text.events.clear();
            text.held = 0;
        }
    }

    /// How the answer looks.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The backend's status of the present run.
    pub fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// What is fed is kept until the end, up to [`MAX_VECTORS`]: others must be able to be, too.
    pub fn gathers_vectors(&self) -> bool {
        matches!(self.body, Body::Vectors { .. })
    }

    /// Takes the next bytes of Ollama's answer.
    pub fn feed(&mut self, bytes: &[u8]) -> Heard {
        if self.status != 200 {
            let room = MAX_FAULT.saturating_sub(self.raw.len()).min(bytes.len());
            self.raw.extend_from_slice(bytes.get(..room).unwrap_or_default());
            return Heard::Quiet;
        }
        match &mut self.body {
            Body::Text(text) => {
                let before = text.events.len();
                text.held += bytes.len();
                text.reader.feed(bytes, &mut text.events);
                self.look(before)
            }
            Body::Vectors { .. } => {
                if self.raw.len() + bytes.len() > MAX_VECTORS {
                    let message = "Ollama's embeddings are too large: send fewer texts at once".to_owned();
                    return Heard::Fault(Code::UpstreamIncomplete, message);
                }
                self.raw.extend_from_slice(bytes);
                Heard::More { visible: false }
            }
        }
    }

    /// Takes events of another backend's answer, after [`Self::begin`].
    pub fn hear(&mut self, events: Vec<Event>) -> Heard {
        let Body::Text(text) = &mut self.body else { return Heard::Quiet };
        let before = text.events.len();
        text.held += events.iter().map(size).sum::<usize>();
        text.events.extend(events);
        self.look(before)
    }

    /// The bytes have ended.
    pub fn eof(&mut self) -> Heard {
        if self.status != 200 {
            let (code, message) = native::fault(self.status, &self.raw);
            return Heard::Fault(code, message);
        }
        match &mut self.body {
            Body::Text(text) => {
                let before = text.events.len();
                text.reader.finish(&mut text.events);
                self.look(before)
            }
            Body::Vectors { gather, part } => {
                let before = gather.tokens();
                if let Err(bad) = gather.take(*part, &self.raw) {
                    return Heard::Fault(Code::UpstreamIncomplete, bad.to_string());
                }
                let tokens = gather.tokens().saturating_sub(before);
                self.measured = Measured { prompt_eval_count: Some(tokens), ..Measured::default() };
                *part += 1;
                self.raw = Vec::new();
                self.tokens.input = Some(gather.tokens());
                Heard::Whole
            }
        }
    }

    /// What the events from this one on say. A terminal one is not kept among those to be written.
    fn look(&mut self, from: usize) -> Heard {
        let Body::Text(text) = &mut self.body else { return Heard::More { visible: false } };
        let mut visible = false;
        for event in text.events.iter().skip(from) {
            if matches!(event, Event::Text { .. } | Event::Thinking(_) | Event::ToolCall(_)) {
                self.told = self.told.saturating_add(1);
            }
            visible |= event.is_visible();
        }
        if let Some(Event::Failed { code, message }) = text.events.pop_if(|event| matches!(event, Event::Failed { .. }))
        {
            return Heard::Fault(code, message);
        }
        self.tokens.output = Some(u64::from(self.told));
        let Some(Event::Finish(finish)) = text.events.last() else {
            return match text.is_too_large() {
                true => Heard::Fault(Code::UpstreamIncomplete, "the answer is over 8 MiB: ask for less".to_owned()),
                false => Heard::More { visible },
            };
        };
        self.measured = measured(finish);
        self.tokens = Tokens { input: finish.usage.input, output: finish.usage.output.or(self.tokens.output) };
        Heard::Whole
    }

    /// Writes all that was read; a single answer only gathers it.
    pub fn write(&mut self, now: u64, out: &mut Vec<u8>) {
        let Body::Text(text) = &mut self.body else { return };
        text.held = 0;
        for event in text.events.drain(..) {
            match &mut text.output {
                Output::Stream(encoder) => encoder.event(now, event, out),
                Output::Single(single) => single.answer.take(event),
            }
        }
    }

    /// Writes the end of a whole answer: what is left, or the single answer itself.
    pub fn finish(&mut self, now: u64, trailer: Map<String, Value>, out: &mut Vec<u8>) {
        if let Body::Text(text) = &mut self.body
            && let Output::Stream(encoder) = &mut text.output
        {
            encoder.trailer(trailer);
            return self.write(now, out);
        }
        self.write(now, out);
        match &self.body {
            Body::Text(text) => match &text.output {
                Output::Single(single) => out.extend(single.whole(now, trailer)),
                Output::Stream(_) => {}
            },
            Body::Vectors { gather, .. } => out.extend(gather.answer(&trailer)),
        }
    }

    /// Writes an error where the answer cannot be told any more by its status.
    pub fn fail(&mut self, now: u64, code: Code, message: &str, trailer: Map<String, Value>, out: &mut Vec<u8>) {
        if self.shape != Shape::Whole {
            // What came before it broke is the caller's.
            self.write(now, out);
        }
        if let Body::Text(text) = &mut self.body
            && let Output::Stream(encoder) = &mut text.output
        {
            encoder.trailer(trailer);
            return encoder.event(now, Event::Failed { code, message: message.to_owned() }, out);
        }
        out.extend(error::body_with(self.dialect, code, message, trailer));
    }

    /// Writes a sign of life: one space before a single answer.
    pub fn heartbeat(&mut self, now: u64, out: &mut Vec<u8>) {
        if let Body::Text(text) = &mut self.body
            && let Output::Stream(encoder) = &mut text.output
        {
            return encoder.heartbeat(now, out);
        }
        out.push(b' ');
    }

    /// Status and headers of the answer, and where it came from if that is certain already.
    pub fn head(&self, origin: Option<&Origin<'_>>) -> Head {
        let content_type = match self.shape {
            Shape::Ndjson => "application/x-ndjson",
            Shape::Sse => "text/event-stream",
            Shape::Whole => "application/json",
        };
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        let mut set = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        if let Some(origin) = origin {
            for (name, value) in origin.members() {
                set(&format!("x-causeway-{}", name.replace('_', "-")), &value);
            }
        }
        Head { status: 200, headers }
    }
}

impl TextBody {
    fn new(text: Text, shape: Shape) -> Self {
        let Text { reader, stamp, dialect: writing } = text;
        let output = match shape {
            Shape::Whole => Output::Single(Box::new(Single { answer: Answer::default(), stamp, writing })),
            Shape::Ndjson | Shape::Sse => Output::Stream(match writing {
                Writing::Ollama(route) => Box::new(ollama::Encoder::new(route, &stamp)),
                Writing::OpenAiChat => Box::new(openai::chat::Encoder::new(&stamp)),
                Writing::OpenAiCompletions => Box::new(openai::completions::Encoder::new(&stamp)),
                Writing::OpenAiResponses(echo) => Box::new(openai::responses::Encoder::new(&stamp, *echo)),
                Writing::Anthropic => Box::new(anthropic::Encoder::new(stamp)),
            }),
        };
        Self { fresh: reader.clone(), reader, events: Vec::new(), held: 0, output }
    }

    fn is_too_large(&self) -> bool {
        // A tree takes a few times its bytes; most of what is held is one line.
        let gathered = match &self.output {
            Output::Stream(_) => 0,
            Output::Single(single) => single.answer.size(),
        };
        self.held + gathered > MAX_SINGLE
    }
}

impl Single {
    fn whole(&self, now: u64, trailer: Map<String, Value>) -> Vec<u8> {
        let Self { answer, stamp, writing } = self;
        match writing {
            Writing::Ollama(route) => ollama::whole(*route, answer, stamp, now, trailer),
            Writing::OpenAiChat => openai::chat::whole(answer, stamp, now, trailer),
            Writing::OpenAiCompletions => openai::completions::whole(answer, stamp, now, trailer),
            Writing::OpenAiResponses(echo) => openai::responses::whole(answer, stamp, echo, now, trailer),
            Writing::Anthropic => anthropic::whole(answer, stamp, now, trailer),
        }
    }
}

/// Bytes that an event holds, about.
fn size(event: &Event) -> usize {
    match event {
        Event::Text { text, .. } | Event::Thinking(text) | Event::Signature(text) => text.len(),
        Event::ToolCall(call) => call.name.len() + serde_json::to_vec(&call.arguments).map_or(0, |text| text.len()),
        Event::Native(_) | Event::Finish(_) | Event::Failed { .. } => 0,
    }
}

fn measured(finish: &Finish) -> Measured {
    let (usage, times) = (&finish.usage, &finish.durations);
    let time = |nanos: Option<u64>| nanos.map(std::time::Duration::from_nanos);
    Measured {
        prompt_eval_count: usage.input,
        cached: usage.cached,
        prompt_eval_duration: time(times.prompt_eval),
        eval_count: usage.output,
        eval_duration: time(times.eval),
        load_duration: time(times.load),
        total_duration: time(times.total),
    }
}
