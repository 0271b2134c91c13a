//! From the canonical request to Converse's.
//!
//! Pure. Invariants: what is made passes the service's own checks, whatever the caller sent; what was
//! lost on the way stands in [`Mapped::lost`]; what cannot be said at all, or not by this model, is
//! [`Unmapped`], and no call is made. Absent: sending it, and what it may cost.

mod cache;
mod chance;
mod media;
mod messages;
mod needs;
mod papers;
mod shape;
mod sides;
mod thinking;
mod tools;

use std::collections::HashMap;

use aws_sdk_bedrockruntime::types::{
    GuardrailStreamConfiguration, GuardrailStreamProcessingMode, GuardrailTrace, InferenceConfiguration, Message,
    OutputConfig, ServiceTier, ServiceTierType, SystemContentBlock, ToolConfiguration,
};
use aws_smithy_types::Document;
use causeway_dialect::anthropic::count;
use causeway_dialect::chat::{DocumentBody, Format, Request};

use crate::answer::Reader;
use crate::family::Family;
use crate::names::Names;
pub use needs::needs;

/// Most pairs of request metadata (the service's model).
const MOST_METADATA: usize = 16;
/// Longest value of one, characters.
const LONGEST_METADATA: usize = 256;

/// A prompt may have so many times the tokens that are estimated for it: four bytes are a token of English, and
/// two of code, base64 or Chinese.
const WORST: u64 = 2;

/// The model that a local one is mapped to.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// Model or inference profile id, or ARN.
    pub model: String,
    /// What it can do.
    pub family: Family,
    /// Most tokens of an answer: caps every call, for a model's own maximum is what it may cost.
    pub max_tokens: u32,
    /// Guardrail and its version.
    pub guardrail: Option<(String, String)>,
    /// `priority`, `default`, `flex`, `reserved`.
    pub service_tier: Option<String>,
}

/// A request that Bedrock can serve.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// What of the caller's has no effect there, by its name.
    pub lost: Vec<String>,
    /// Tokens of the prompt, estimated, as they are billed: those written to a cache weigh more, and where a
    /// document's text is not known all that the model can take is counted.
    pub input_estimate: u64,
    /// The most that they can come to.
    pub input_most: u64,
    /// What tokens that are written to a cache cost beyond others, percent.
    pub cache_surcharge: u64,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Reads the answer.
    pub reader: Reader,
    pub(crate) call: Call,
}

/// What goes out, in the SDK's types.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Call {
    pub(crate) model: String,
    pub(crate) streams: bool,
    pub(crate) messages: Vec<Message>,
    pub(crate) system: Option<Vec<SystemContentBlock>>,
    pub(crate) inference: InferenceConfiguration,
    pub(crate) tools: Option<ToolConfiguration>,
    pub(crate) output: Option<OutputConfig>,
    pub(crate) additional: Option<Document>,
    /// Members of the model's own answer that are wanted too.
    pub(crate) wanted: Option<Vec<String>>,
    pub(crate) guardrail: Option<GuardrailStreamConfiguration>,
    pub(crate) tier: Option<ServiceTier>,
    pub(crate) metadata: Option<HashMap<String, String>>,
}

/// Why Bedrock cannot serve a request; the words name the field or the need.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unmapped(pub String);

/// What is gathered while a request is mapped.
struct Making<'a> {
    request: &'a Request,
    target: &'a Target,
    lost: Vec<String>,
    names: Names,
    thinks: thinking::Thinks,
}

/// Maps a request. `metadata` goes into the invocation logs of the account: ids, never texts.
///
/// # Errors
///
/// What the request needs and the model, or Converse itself, does not have.
pub fn map(request: &Request, target: &Target, metadata: &[(&str, &str)]) -> Result<Mapped, Unmapped> {
    let input_estimate = count::estimate(request, count::TOKENS_PER_BYTE);
    needs(request, target, input_estimate)?;
    let mut making =
        Making { request, target, lost: Vec::new(), names: Names::default(), thinks: thinking::Thinks::default() };
    let max_tokens = making.max_tokens();
    let mut tools = making.tools()?;
    making.thinks = making.thinking(tools.is_forced(), max_tokens);
    let (mut system, mut messages) = making.conversation(tools.are_told())?;
    let cache_surcharge = making.bound_points(tools.config.as_mut(), &mut system, &mut messages);
    let output = making.output();
    let inference = making.inference(max_tokens);
    let additional = making.additional();
    let guardrail = target.guardrail.as_ref().map(guardrail).transpose()?;
    let wanted = target.family.signs_thoughts().then(|| vec!["/stop_sequence".to_owned()]);
    let reader = Reader::new(making.names, tools.writes_text());
    let call = Call {
        model: target.model.clone(),
        streams: target.family.streams,
        messages,
        system: (!system.is_empty()).then_some(system),
        inference,
        tools: tools.config,
        output,
        additional,
        wanted,
        guardrail,
        tier: target.service_tier.as_deref().map(tier).transpose()?,
        metadata: tags(metadata),
    };
    let room = u64::from(target.family.context.saturating_sub(max_tokens));
    // Nobody can tell what is in it: a compressed one unfolds to many times its size.
    let unknown = papers::all(request).any(|document| matches!(document.body, DocumentBody::Base64(_)));
    let (likely, most) = if unknown { (room, room) } else { (input_estimate, input_estimate.saturating_mul(WORST)) };
    let billed = |tokens: u64| tokens.saturating_add(tokens.saturating_mul(cache_surcharge).div_ceil(100));
    let (input_estimate, input_most) = (billed(likely), billed(most));
    Ok(Mapped { lost: making.lost, input_estimate, input_most, cache_surcharge, max_tokens, reader, call })
}

impl Making<'_> {
    /// Names something of the caller's that has no effect, once.
    fn lose(&mut self, name: &str) {
        if !self.lost.iter().any(|earlier| earlier == name) {
            self.lost.push(name.to_owned());
        }
    }

    fn lose_if(&mut self, lost: bool, name: &str) {
        if lost {
            self.lose(name);
        }
    }

    fn max_tokens(&mut self) -> u32 {
        let most = needs::max_tokens(self.request, self.target);
        self.lose_if(self.request.max_tokens.is_some_and(|asked| asked > most), "max_tokens");
        most
    }

    fn output(&mut self) -> Option<OutputConfig> {
        let effort = self.thinks.effort.clone();
        let format = match &self.request.format {
            Format::Schema { name, schema } if self.target.family.schema => {
                Some(shape::format(name.as_deref(), schema))
            }
            Format::Schema { .. } | Format::Json | Format::Text => None,
        };
        (effort.is_some() || format.is_some())
            .then(|| OutputConfig::builder().set_text_format(format.flatten()).set_effort(effort).build())
    }
}

fn guardrail((id, version): &(String, String)) -> Result<GuardrailStreamConfiguration, Unmapped> {
    Ok(GuardrailStreamConfiguration::builder()
        .guardrail_identifier(id)
        .guardrail_version(version)
        .trace(GuardrailTrace::Disabled)
        // What was blocked must not have been seen before.
        .stream_processing_mode(GuardrailStreamProcessingMode::Sync)
        .build())
}

fn tier(name: &str) -> Result<ServiceTier, Unmapped> {
    ServiceTier::builder().r#type(ServiceTierType::from(name)).build().map_err(impossible)
}

/// A builder of the SDK's found a required member missing: never, for all are set where it is used.
fn impossible(error: impl std::fmt::Display) -> Unmapped {
    Unmapped(format!("the request could not be put together: {error}"))
}

/// Pairs as the service takes them: letters, digits and some signs.
fn tags(metadata: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(c);
    let clean =
        |text: &str| -> String { text.chars().map(|c| if fits(c) { c } else { '_' }).take(LONGEST_METADATA).collect() };
    let pairs = metadata.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty()).take(MOST_METADATA);
    let pairs: HashMap<String, String> = pairs.map(|(name, value)| (clean(name), clean(value))).collect();
    (!pairs.is_empty()).then_some(pairs)
}
