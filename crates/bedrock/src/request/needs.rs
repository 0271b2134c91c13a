//! What a request needs, held against what the mapped model has: asked of every request that might
//! overflow, so it copies nothing.
//!
//! Invariant: what passes here can be mapped (a property test says so). Absent: what is only dropped.

use causeway_dialect::chat::{DocumentBody, Format, Image, ImageKind, Input, Part, Request, Role, ToolChoice};

use super::sides::sides;
use super::{Target, Unmapped, media, papers};
use crate::family::Tools;

/// Whether `target` can serve a request whose prompt has about so many tokens.
///
/// # Errors
///
/// The first need that is not met, in words that name the field.
pub fn needs(request: &Request, target: &Target, input: u64) -> Result<(), Unmapped> {
    if let Some(field) = request.only_local() {
        return Err(Unmapped(format!("`{field}` can be honoured by a local model only")));
    }
    if request.is_empty() {
        return no("a request without a prompt loads a local model: there is nothing to answer");
    }
    fits_context(target, input, max_tokens(request, target))?;
    format(request, target)?;
    tools(request, target)?;
    speakers(request)?;
    pictures(request, target)?;
    documents(request, target)
}

/// The caller's limit or the mapping's, whichever is less: without one a call may cost as much as the
/// model can write.
pub(super) fn max_tokens(request: &Request, target: &Target) -> u32 {
    let cap = target.max_tokens.max(1);
    request.max_tokens.filter(|asked| *asked > 0).unwrap_or(cap).min(cap)
}

fn no(why: &str) -> Result<(), Unmapped> {
    Err(Unmapped(why.to_owned()))
}

fn fits_context(target: &Target, input: u64, output: u32) -> Result<(), Unmapped> {
    let (needed, context) = (input.saturating_add(output.into()), target.family.context);
    if needed > context.into() {
        return Err(Unmapped(format!(
            "prompt and answer need about {needed} tokens, and the mapped model's context has {context}"
        )));
    }
    Ok(())
}

fn format(request: &Request, target: &Target) -> Result<(), Unmapped> {
    let schema = match &request.format {
        Format::Text => return Ok(()),
        Format::Schema { .. } if target.family.schema => return Ok(()),
        Format::Schema { schema, .. } => Some(schema),
        Format::Json => None,
    };
    if !request.tools.is_empty() {
        return no("the mapped model cannot be held to a format while it has tools (format, response_format)");
    }
    if !target.family.can_force_a_tool() || schema.is_some_and(|schema| !schema.is_object()) {
        return no("the mapped model cannot be held to a format (format, response_format)");
    }
    Ok(())
}

fn tools(request: &Request, target: &Target) -> Result<(), Unmapped> {
    if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
        return Ok(());
    }
    if target.family.tools == Tools::None {
        return no("the mapped model calls no functions (tools)");
    }
    match &request.tool_choice {
        ToolChoice::Named(name) if !request.tools.iter().any(|tool| tool.name == *name) => {
            no("tool_choice names a function that is not among the tools")
        }
        ToolChoice::Named(_) | ToolChoice::Auto | ToolChoice::None | ToolChoice::Required => Ok(()),
    }
}

fn speakers(request: &Request) -> Result<(), Unmapped> {
    let Input::Chat(messages) = &request.input else { return Ok(()) };
    let says = |part: &Part| match part {
        Part::Text(text) => !text.trim().is_empty(),
        Part::Image(_) | Part::Document(_) | Part::ToolCall(_) | Part::ToolResult(_) => true,
        Part::Thinking { .. } | Part::CachePoint(_) => false,
    };
    let spoken = |role| messages.iter().any(|message| (message.role == role) && message.parts.iter().any(says));
    if [Role::User, Role::Assistant, Role::Tool, Role::System].into_iter().any(spoken) {
        return Ok(());
    }
    no("nothing is said in the messages")
}

fn pictures(request: &Request, target: &Target) -> Result<(), Unmapped> {
    let mut count = 0;
    let mut look = |image: &Image| {
        count += 1;
        if !target.family.images {
            return no("the mapped model sees no pictures (images)");
        }
        if count > media::MOST_IMAGES {
            return Err(Unmapped(format!("Bedrock takes at most {} pictures (images)", media::MOST_IMAGES)));
        }
        match image.kind {
            ImageKind::Png | ImageKind::Jpeg | ImageKind::Gif | ImageKind::Webp => {}
            ImageKind::Bmp | ImageKind::Tiff | ImageKind::Wav | ImageKind::Mp3 | ImageKind::Flac => {
                return no("Bedrock reads pictures as PNG, JPEG, GIF and WebP only, and no sounds (images)");
            }
        }
        if media::size(image) > media::LARGEST {
            return no("Bedrock reads pictures up to 3.75 MB only (images)");
        }
        match sides(image) {
            Some((width, height)) if width.max(height) > media::LONGEST_SIDE => Err(Unmapped(format!(
                "Bedrock reads pictures of up to {} pixels a side, and one has {width} x {height} (images)",
                media::LONGEST_SIDE
            ))),
            Some(_) | None => Ok(()),
        }
    };
    match &request.input {
        Input::Prompt(prompt) => prompt.images.iter().try_for_each(&mut look),
        Input::Chat(messages) => messages.iter().try_for_each(|message| {
            message.parts.iter().try_for_each(|part| match part {
                // Those of the model's own are left out.
                Part::Image(image) if message.role != Role::Assistant => look(image),
                Part::ToolResult(result) => result.parts.iter().try_for_each(|part| match part {
                    Part::Image(image) => look(image),
                    Part::Text(_)
                    | Part::Document(_)
                    | Part::CachePoint(_)
                    | Part::Thinking { .. }
                    | Part::ToolCall(_)
                    | Part::ToolResult(_) => Ok(()),
                }),
                Part::Image(_)
                | Part::Text(_)
                | Part::Document(_)
                | Part::CachePoint(_)
                | Part::Thinking { .. }
                | Part::ToolCall(_) => Ok(()),
            })
        }),
    }
}

/// Those of texts can always be told, if not as documents.
fn documents(request: &Request, target: &Target) -> Result<(), Unmapped> {
    let bytes = || papers::all(request).filter(|document| matches!(document.body, DocumentBody::Base64(_)));
    if bytes().next().is_some() && !target.family.documents {
        return no("the mapped model reads no documents but texts (documents)");
    }
    if bytes().count() > papers::MOST {
        return Err(Unmapped(format!("Bedrock takes at most {} documents (documents)", papers::MOST)));
    }
    match bytes().any(|document| document.size() > papers::LARGEST) {
        true => no("Bedrock reads documents up to 4.5 MB only (documents)"),
        false => Ok(()),
    }
}
