//! One call to Bedrock, from its request to the last count.

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aws_sdk_bedrockruntime::error::SdkError;
use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_sdk_bedrockruntime::types::{ConverseStreamOutput as Piece, GuardrailConfiguration};
use causeway_dialect::event::{Event, Usage};
use tokio::time::{Instant, timeout_at};

use crate::answer::{self, Reader, Times};
use crate::fault::{Fault, Kind};
use crate::request::{Call, Mapped};

/// From the request to the first piece: long prompts and hard thought take their time.
const FIRST: Duration = Duration::from_secs(120);
/// Between two pieces.
const SILENCE: Duration = Duration::from_secs(60);
/// The counts follow the end at once, or not at all.
const COUNTS: Duration = Duration::from_secs(2);

type Asked = Pin<Box<dyn Future<Output = Result<Source, Fault>> + Send>>;
type Receiver = EventReceiver<Piece, ConverseStreamOutputError>;

/// A call under way; dropped, its connection is closed and Bedrock stops.
pub struct Conversation {
    state: State,
    reader: Reader,
    began: Option<Instant>,
    first: Option<Instant>,
    /// Bedrock refused it.
    refused: bool,
    /// When the present wait is over.
    until: Instant,
}

enum State {
    /// It was never polled, or cannot be made.
    New(Box<(aws_sdk_bedrockruntime::Client, Call)>),
    Refused(Fault),
    Asking(Asked),
    Answering(Source),
    Ended,
}

enum Source {
    Stream(Box<Receiver>),
    /// A single answer, as the pieces it would have come in; the next one last.
    Whole(Vec<Piece>),
}

/// What a call brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Brought {
    /// Events were appended, perhaps none; more is to come.
    More,
    /// The last event was appended: it is the terminal one.
    End,
    /// It broke; nothing more comes.
    Broken(Fault),
}

impl Conversation {
    pub(super) fn new(sdk: aws_sdk_bedrockruntime::Client, fault: Option<Fault>, mapped: Mapped) -> Self {
        let state = match fault {
            Some(fault) => State::Refused(fault),
            None => State::New(Box::new((sdk, mapped.call))),
        };
        Self { state, reader: mapped.reader, began: None, first: None, refused: false, until: Instant::now() }
    }

    /// The next thing. Safe to drop and call again; after the end it waits for ever.
    pub async fn next(&mut self, events: &mut Vec<Event>) -> Brought {
        self.begin();
        let brought = match timeout_at(self.until, self.receive(events)).await {
            Ok(brought) => brought,
            // Bedrock had said its end; the counts did not come.
            Err(_) if self.reader.has_stopped() => self.end(events),
            Err(_) => Brought::Broken(Fault::new(Kind::Timeout, "it said nothing for too long")),
        };
        if let Brought::Broken(fault) = &brought {
            // What was not reached was not asked; a model that failed, or an end without a word, is billed.
            let free = !matches!(fault.kind, Kind::Timeout | Kind::Broken | Kind::Model);
            self.refused = self.first.is_none() && free;
        }
        if brought != Brought::More {
            self.state = State::Ended;
        }
        brought
    }

    /// Tokens as Bedrock counts them, once it has.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.reader.usage()
    }

    /// Of the prompt's tokens, those that were written to a cache.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.reader.written()
    }

    /// Tokens seen so far, about.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.reader.told()
    }

    /// It surely cost nothing: it never went out, or was refused before the first piece by an error that
    /// Bedrock names. What broke without a word may have been answered.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.has_begun() || self.refused
    }

    /// The request went out, or may have.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// From the request to the first piece.
    #[must_use]
    pub fn first_piece(&self) -> Option<Duration> {
        Some(self.first?.duration_since(self.began?))
    }

    fn begin(&mut self) {
        if !matches!(self.state, State::New(_)) {
            return;
        }
        if let State::New(call) = std::mem::replace(&mut self.state, State::Ended) {
            let now = Instant::now();
            self.began = Some(now);
            self.until = now + FIRST;
            let (sdk, call) = *call;
            self.state = State::Asking(Box::pin(ask(sdk, call)));
        }
    }

    async fn receive(&mut self, events: &mut Vec<Event>) -> Brought {
        loop {
            let piece = match &mut self.state {
                State::Refused(fault) => return Brought::Broken(fault.clone()),
                State::New(_) | State::Ended => std::future::pending().await,
                State::Asking(asked) => match asked.await {
                    Ok(source) => {
                        self.state = State::Answering(source);
                        continue;
                    }
                    Err(fault) => return Brought::Broken(fault),
                },
                State::Answering(Source::Whole(pieces)) => pieces.pop(),
                State::Answering(Source::Stream(stream)) => match stream.recv().await {
                    Ok(piece) => piece,
                    Err(error) => return Brought::Broken(broken(&error)),
                },
            };
            let Some(piece) = piece else { return self.cut(events) };
            return self.take(piece, events);
        }
    }

    fn take(&mut self, piece: Piece, events: &mut Vec<Event>) -> Brought {
        let now = Instant::now();
        if !matches!(piece, Piece::MessageStart(_)) {
            self.first.get_or_insert(now);
        }
        self.reader.feed(piece, events);
        self.until = now + if self.reader.has_stopped() { COUNTS } else { SILENCE };
        match self.reader.is_whole() {
            true => self.end(events),
            false => Brought::More,
        }
    }

    /// The pieces have ended by themselves.
    fn cut(&mut self, events: &mut Vec<Event>) -> Brought {
        if self.reader.has_stopped() {
            return self.end(events);
        }
        Brought::Broken(Fault::new(Kind::Broken, "it ended before its end was said"))
    }

    fn end(&mut self, events: &mut Vec<Event>) -> Brought {
        let now = Instant::now();
        let began = self.began.unwrap_or(now);
        let times = Times { first: self.first.unwrap_or(now) - began, total: now - began };
        self.reader.finish(times, events);
        match events.pop_if(|event| matches!(event, Event::Failed { .. })) {
            Some(Event::Failed { message, .. }) => Brought::Broken(Fault::new(Kind::Model, &message)),
            Some(_) | None => Brought::End,
        }
    }
}

async fn ask(sdk: aws_sdk_bedrockruntime::Client, call: Call) -> Result<Source, Fault> {
    if !call.streams {
        return ask_whole(sdk, call).await;
    }
    let asked = sdk
        .converse_stream()
        .model_id(call.model)
        .set_messages(Some(call.messages))
        .set_system(call.system)
        .inference_config(call.inference)
        .set_tool_config(call.tools)
        .set_output_config(call.output)
        .set_additional_model_request_fields(call.additional)
        .set_additional_model_response_field_paths(call.wanted)
        .set_guardrail_config(call.guardrail)
        .set_service_tier(call.tier)
        .set_request_metadata(call.metadata)
        .send();
    match asked.await {
        Ok(answer) => Ok(Source::Stream(Box::new(answer.stream))),
        Err(error) => Err(Fault::of(&error)),
    }
}

async fn ask_whole(sdk: aws_sdk_bedrockruntime::Client, call: Call) -> Result<Source, Fault> {
    let guardrail = call.guardrail.map(|guardrail| {
        GuardrailConfiguration::builder()
            .guardrail_identifier(guardrail.guardrail_identifier)
            .guardrail_version(guardrail.guardrail_version)
            .trace(guardrail.trace)
            .build()
    });
    let asked = sdk
        .converse()
        .model_id(call.model)
        .set_messages(Some(call.messages))
        .set_system(call.system)
        .inference_config(call.inference)
        .set_tool_config(call.tools)
        .set_output_config(call.output)
        .set_additional_model_request_fields(call.additional)
        .set_additional_model_response_field_paths(call.wanted)
        .set_guardrail_config(guardrail)
        .set_service_tier(call.tier)
        .set_request_metadata(call.metadata)
        .send();
    match asked.await {
        Ok(answer) => {
            let mut pieces = answer::pieces(answer)?;
            pieces.reverse();
            Ok(Source::Whole(pieces))
        }
        Err(error) => Err(Fault::of(&error)),
    }
}

/// Of a stream that had begun.
fn broken<R: std::fmt::Debug + 'static>(error: &SdkError<ConverseStreamOutputError, R>) -> Fault {
    use aws_sdk_bedrockruntime::error::ProvideErrorMetadata as _;

    let SdkError::ServiceError(service) = error else {
        // Whatever it says, a connection that was there has broken.
        let fault = Fault::of(error);
        return Fault { kind: if fault.kind == Kind::Timeout { Kind::Timeout } else { Kind::Broken }, ..fault };
    };
    let said = service.err();
    let kind = match said {
        ConverseStreamOutputError::InternalServerException(_)
        | ConverseStreamOutputError::ServiceUnavailableException(_) => Kind::Unavailable,
        ConverseStreamOutputError::ModelStreamErrorException(_) => Kind::Broken,
        ConverseStreamOutputError::ThrottlingException(_) => Kind::Throttled,
        ConverseStreamOutputError::ValidationException(_) => Kind::Invalid,
        other => other.code().and_then(|name| Kind::of(name, "")).unwrap_or(Kind::Broken),
    };
    Fault::new(kind, said.message().unwrap_or("an exception without words"))
}
