//! A single answer (`Converse`) as the pieces it would have come in as a stream.

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

use aws_sdk_bedrockruntime::error::BuildError;
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockDeltaEvent, ContentBlockStart, ContentBlockStartEvent,
    ContentBlockStopEvent, ConverseStreamMetadataEvent, ConverseStreamOutput as Piece, MessageStopEvent,
    ReasoningContentBlock, ReasoningContentBlockDelta, ToolUseBlock, ToolUseBlockDelta, ToolUseBlockStart,
};

use crate::document;
use crate::fault::{Fault, Kind};

/// The pieces, in order.
pub(crate) fn pieces(answer: ConverseOutput) -> Result<Vec<Piece>, Fault> {
    split(answer).map_err(|error| Fault::new(Kind::Broken, &error.to_string()))
}

fn split(answer: ConverseOutput) -> Result<Vec<Piece>, BuildError> {
    let message = answer.output.and_then(|output| output.as_message().ok().cloned());
    let blocks = message.map(|message| message.content).unwrap_or_default();
    let mut pieces = Vec::new();
    for (index, block) in (0..).zip(blocks) {
        match block {
            ContentBlock::Text(text) => pieces.push(delta(index, ContentBlockDelta::Text(text))?),
            ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(thought)) => {
                let text = ReasoningContentBlockDelta::Text(thought.text);
                pieces.push(delta(index, ContentBlockDelta::ReasoningContent(text))?);
                if let Some(seal) = thought.signature {
                    let seal = ReasoningContentBlockDelta::Signature(seal);
                    pieces.push(delta(index, ContentBlockDelta::ReasoningContent(seal))?);
                }
            }
            ContentBlock::ToolUse(call) => call_pieces(index, call, &mut pieces)?,
            // As in a stream: it has no place in any dialect.
            _ => {}
        }
    }
    let stop = MessageStopEvent::builder()
        .stop_reason(answer.stop_reason)
        .set_additional_model_response_fields(answer.additional_model_response_fields);
    pieces.push(Piece::MessageStop(stop.build()?));
    if answer.usage.is_some() {
        pieces.push(Piece::Metadata(ConverseStreamMetadataEvent::builder().set_usage(answer.usage).build()));
    }
    Ok(pieces)
}

fn delta(index: i32, delta: ContentBlockDelta) -> Result<Piece, BuildError> {
    let event = ContentBlockDeltaEvent::builder().content_block_index(index).delta(delta).build()?;
    Ok(Piece::ContentBlockDelta(event))
}

fn call_pieces(index: i32, call: ToolUseBlock, pieces: &mut Vec<Piece>) -> Result<(), BuildError> {
    let input = document::to_json(&call.input).to_string();
    let start = ToolUseBlockStart::builder().tool_use_id(call.tool_use_id).name(call.name).build()?;
    let start = ContentBlockStart::ToolUse(start);
    let start = ContentBlockStartEvent::builder().content_block_index(index).start(start).build()?;
    pieces.push(Piece::ContentBlockStart(start));
    let arguments = ToolUseBlockDelta::builder().input(input).build()?;
    pieces.push(delta(index, ContentBlockDelta::ToolUse(arguments))?);
    pieces.push(Piece::ContentBlockStop(ContentBlockStopEvent::builder().content_block_index(index).build()?));
    Ok(())
}
