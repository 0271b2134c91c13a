//! What a family of Bedrock models can do: data, so that a new model is a row and not a branch.
//!
//! Sources: the model pages and parameter pages of the Amazon Bedrock user guide, and what gateways
//! have met (inference.md, Facts 3). A configuration may overrule every column, for application
//! inference profiles hide the family behind an ARN. Absent: prices, and which local model goes where.

mod table;

/// Prefixes of cross-region inference profiles: `us.anthropic.claude…` is the same family.
const GEOGRAPHIES: [&str; 8] = ["us-gov.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "global."];

/// One family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// As it is named in the configuration (`family = "claude-4.5"`).
    pub name: &'static str,
    /// Beginnings of model ids, without a geography.
    ids: &'static [&'static str],
    /// Tokens of prompt and answer together, count.
    pub context: u32,
    /// Whether it calls functions, and how it can be made to.
    pub tools: Tools,
    /// It sees pictures.
    pub images: bool,
    /// It reads documents.
    pub documents: bool,
    /// It takes a system text.
    pub system: bool,
    /// It writes JSON of a schema by itself (`outputConfig`).
    pub schema: bool,
    /// How it is made to think.
    pub thinking: Thinking,
    /// Which of temperature and topP it takes.
    pub sampling: Sampling,
    /// Where `top_k` goes.
    pub top_k: TopK,
    /// Most stop sequences, count.
    pub stop: u8,
    /// It goes on from a conversation that ends with the model's own words.
    pub prefill: bool,
    /// Where it takes cache points.
    pub cache: Caching,
    /// It streams.
    pub streams: bool,
}

/// Whether functions are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tools {
    /// Never.
    None,
    /// As the model likes.
    Auto,
    /// Also that one must be called.
    Any,
    /// Also that this one must be called.
    Named,
}

/// How a family is made to think.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thinking {
    /// It does not.
    Never,
    /// It does, whatever is asked.
    Always,
    /// `thinking {type: enabled, budget_tokens}` (Claude).
    Budget,
    /// `thinking {type: adaptive}` and an effort (newer Claudes).
    Adaptive,
    /// `reasoningConfig {type, maxReasoningEffort}` (Nova 2).
    Nova,
    /// `reasoning_effort` (gpt-oss, DeepSeek).
    Effort,
}

/// Which settings of chance a family takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sampling {
    /// Both.
    Both,
    /// One of them.
    OneOfTwo,
    /// None.
    Neither,
}

/// Where `top_k` goes in `additionalModelRequestFields`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopK {
    /// Nowhere.
    None,
    /// `top_k` (Claude).
    Plain,
    /// `inferenceConfig.topK` (Nova).
    Nova,
}

/// Where a family takes cache points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Nowhere.
    Never,
    /// In system and messages, for five minutes.
    Prompt,
    /// Among the tools too.
    Tools,
    /// And for an hour, where that is asked for.
    Hour,
}

/// What a configuration says of one model against its family's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// Tokens of prompt and answer together.
    pub context: Option<u32>,
    /// It calls functions.
    pub tools: Option<bool>,
    /// It sees pictures.
    pub images: Option<bool>,
    /// It writes JSON of a schema by itself.
    pub schema: Option<bool>,
    /// It streams.
    pub streams: Option<bool>,
}

impl Family {
    /// The family of a Bedrock model or inference profile id. Unknown ones, and ARNs, which hide it, are
    /// taken for the least: text, and functions as the model likes.
    #[must_use]
    pub fn of(id: &str) -> &'static Self {
        let id = bare(id);
        let fits = |family: &&Self| family.ids.iter().any(|start| id.starts_with(start));
        table::FAMILIES.iter().find(fits).unwrap_or(&table::UNKNOWN)
    }

    /// By the name that configurations use.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        table::FAMILIES.iter().chain([&table::UNKNOWN]).find(|family| family.name == name)
    }

    /// All names, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        table::FAMILIES.iter().chain([&table::UNKNOWN]).map(|family| family.name)
    }

    /// With what the configuration knows better.
    #[must_use]
    pub fn with(&self, overrides: Overrides) -> Self {
        let Overrides { context, tools, images, schema, streams } = overrides;
        let tools = match tools {
            Some(false) => Tools::None,
            Some(true) if self.tools == Tools::None => Tools::Auto,
            Some(true) | None => self.tools,
        };
        Self {
            context: context.unwrap_or(self.context),
            tools,
            images: images.unwrap_or(self.images),
            schema: schema.unwrap_or(self.schema),
            streams: streams.unwrap_or(self.streams),
            ..*self
        }
    }

    /// It can be made to call one certain function, which is how others than [`Family::schema`] write JSON.
    #[must_use]
    pub fn can_force_a_tool(&self) -> bool {
        matches!(self.tools, Tools::Any | Tools::Named)
    }

    /// It is a Claude: its thoughts are signed and may be given back to it.
    #[must_use]
    pub fn signs_thoughts(&self) -> bool {
        matches!(self.thinking, Thinking::Budget | Thinking::Adaptive)
    }
}

/// Without the geography, and of an ARN the last part: `arn:…:foundation-model/ID` names the model.
fn bare(id: &str) -> &str {
    let id = id.rsplit_once('/').map_or(id, |(_, last)| last);
    GEOGRAPHIES.iter().find_map(|geography| id.strip_prefix(geography)).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_by_the_id_in_every_geography_and_as_an_arn() {
        for id in [
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ] {
            assert_eq!(Family::of(id).name, "claude-4.5", "{id}");
        }
        for (id, name) in [
            ("openai.gpt-oss-20b-1:0", "gpt-oss"),
            ("us.amazon.nova-micro-v1:0", "nova-text"),
            ("amazon.nova-lite-v1:0", "nova"),
            ("global.amazon.nova-2-lite-v1:0", "nova-2"),
            ("us.meta.llama3-3-70b-instruct-v1:0", "llama"),
            ("us.meta.llama3-2-11b-instruct-v1:0", "llama-vision"),
            ("mistral.pixtral-large-2502-v1:0", "mistral-vision"),
            ("us.deepseek.r1-v1:0", "deepseek-r1"),
            ("deepseek.v3-v1:0", "deepseek"),
            ("qwen.qwen3-32b-v1:0", "qwen"),
            ("anthropic.claude-3-haiku-20240307-v1:0", "claude-3"),
            ("anthropic.claude-opus-4-6-v1", "claude-4.6"),
            ("anthropic.claude-opus-4-8-v1", "claude-latest"),
        ] {
            assert_eq!(Family::of(id).name, name, "{id}");
        }
    }

    #[test]
    fn what_nobody_knows_and_what_an_arn_hides_is_taken_for_the_least() {
        let hidden = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        for id in ["vendor.new-model-v1:0", hidden, ""] {
            let family = Family::of(id);
            assert_eq!(family.name, "unknown");
            assert!(!family.images && !family.schema && !family.can_force_a_tool());
        }
    }

    #[test]
    fn every_row_is_found_by_its_name_and_by_its_own_ids() {
        for family in &table::FAMILIES {
            assert_eq!(Family::named(family.name), Some(family));
            for id in family.ids {
                assert_eq!(Family::of(id).name, family.name, "an earlier row hides {id}");
            }
        }
    }

    #[test]
    fn a_configuration_overrules_each_column_it_names_and_no_other() {
        let overrides = Overrides {
            context: Some(1),
            tools: Some(true),
            images: Some(true),
            schema: Some(true),
            streams: Some(false),
        };
        let family = Family::of("us.deepseek.r1-v1:0").with(overrides);
        assert_eq!((family.context, family.tools), (1, Tools::Auto));
        assert!(family.images && family.schema && !family.streams);
        let claude = Family::of("anthropic.claude-3-haiku-20240307-v1:0");
        assert_eq!(claude.with(Overrides { tools: Some(true), ..Overrides::default() }), *claude);
        assert_eq!(claude.with(Overrides { tools: Some(false), ..Overrides::default() }).tools, Tools::None);
    }
}
