//! The service's own client for Rust, pointed at an emulator, and what a stream of it brought.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_bedrockruntime::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput as Answer;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConversationRole, ConverseStreamOutput, Message,
    ReasoningContentBlockDelta, TokenUsage,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use causeway_tests::bedrock::Emulator;

pub(crate) const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";

pub(crate) fn client(emulator: &Emulator) -> Client {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let config = aws_sdk_bedrockruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(emulator.url())
        .credentials_provider(Credentials::new("id", "secret", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    Client::from_conf(config)
}

pub(crate) fn user(text: &str) -> Message {
    Message::builder().role(ConversationRole::User).content(ContentBlock::Text(text.into())).build().unwrap()
}

pub(crate) fn stream(emulator: &Emulator) -> ConverseStreamFluentBuilder {
    client(emulator).converse_stream().model_id(MODEL).messages(user("Hello"))
}

/// What a stream brought, in the order in which it came, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) lines: Vec<String>,
    pub(crate) stop: Option<String>,
    pub(crate) usage: Option<TokenUsage>,
    pub(crate) metadata: bool,
    pub(crate) error: Option<Failed>,
}

/// An error's code, where the service gave one, and all its words.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<String>,
    pub(crate) words: String,
}

pub(crate) async fn read(emulator: &Emulator) -> Read {
    match stream(emulator).send().await {
        Ok(answer) => read_events(answer).await,
        Err(error) => {
            let code = error.code().map(str::to_owned);
            let words = DisplayErrorContext(&error).to_string();
            Read { error: Some(Failed { code, words }), ..Read::default() }
        }
    }
}

pub(crate) async fn read_events(mut answer: Answer) -> Read {
    let mut read = Read::default();
    loop {
        match answer.stream.recv().await {
            Ok(Some(event)) => read.event(event),
            Ok(None) => return read,
            Err(error) => {
                let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
                read.error = Some(Failed { code, words: DisplayErrorContext(&error).to_string() });
                return read;
            }
        }
    }
}

impl Read {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the client's enums may grow")]
    fn event(&mut self, event: ConverseStreamOutput) {
        match event {
            ConverseStreamOutput::MessageStart(start) => self.lines.push(format!("start {}", start.role)),
            ConverseStreamOutput::ContentBlockStart(start) => {
                let Some(ContentBlockStart::ToolUse(tool)) = start.start else { panic!("no tool: {start:?}") };
                self.lines.push(format!("{} tool {} {}", start.content_block_index, tool.tool_use_id, tool.name));
            }
            ConverseStreamOutput::ContentBlockDelta(delta) => {
                let what = said(delta.delta.unwrap());
                self.lines.push(format!("{} {what}", delta.content_block_index));
            }
            ConverseStreamOutput::ContentBlockStop(stop) => {
                self.lines.push(format!("{} stop", stop.content_block_index))
            }
            ConverseStreamOutput::MessageStop(stop) => self.stop = Some(stop.stop_reason.as_str().to_owned()),
            ConverseStreamOutput::Metadata(metadata) => {
                self.metadata = true;
                self.usage = metadata.usage;
            }
            other => panic!("unknown event {other:?}"),
        }
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.error.as_ref()?.code.as_deref()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the client's enums may grow")]
fn said(delta: ContentBlockDelta) -> String {
    match delta {
        ContentBlockDelta::Text(text) => format!("text {text}"),
        ContentBlockDelta::ToolUse(tool) => format!("input {}", tool.input),
        ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(text)) => format!("thought {text}"),
        ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Signature(text)) => format!("signature {text}"),
        ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::RedactedContent(blob)) => {
            format!("redacted {}", String::from_utf8_lossy(blob.as_ref()))
        }
        other => panic!("unknown delta {other:?}"),
    }
}
