//! What a family of models refuses that the service as such allows. A rule is taken by the longest
//! prefix of the model id, without the profile's geography and without an ARN before it.

/// Prefixes of inference profiles.
const GEOGRAPHIES: [&str; 8] = ["us.", "eu.", "apac.", "us-gov.", "jp.", "au.", "ca.", "global."];

/// Whether a model takes temperature and topP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// Both, together.
    #[default]
    Both,
    /// One of the two.
    OneOfTwo,
    /// None of them.
    Neither,
}

/// How `thinking` is asked for in `additionalModelRequestFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking {
    /// The model knows no such field; nothing of it is checked.
    #[default]
    Unknown,
    /// `enabled` with a budget, or `adaptive`.
    Budget,
    /// Only `adaptive`.
    AdaptiveOnly,
}

/// Something that a model may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Tools.
    Tools,
    /// Tools within ConverseStream.
    StreamedTools,
    /// `toolChoice` other than auto.
    ToolChoice,
    /// Images.
    Images,
    /// Documents.
    Documents,
    /// Cache points.
    CachePoints,
    /// Cache points among the tools.
    CachedTools,
    /// System prompts.
    System,
    /// Stop sequences.
    StopSequences,
    /// An assistant message at the end of a conversation.
    Prefill,
    /// `outputConfig.textFormat`.
    JsonSchema,
    /// Calls by model id instead of an inference profile.
    OnDemand,
}

/// The rules of one family.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// How the ids of its models begin, such as `anthropic.claude-sonnet-4-5`.
    pub prefix: String,
    /// Temperature and topP.
    pub sampling: Sampling,
    /// Thinking.
    pub thinking: Thinking,
    /// What it lacks.
    pub lacks: Vec<Feature>,
}

impl Family {
    /// A family without rules of its own.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// With this rule for temperature and topP.
    #[must_use]
    pub fn sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// With this rule for thinking.
    #[must_use]
    pub fn thinking(self, thinking: Thinking) -> Self {
        Self { thinking, ..self }
    }

    /// Without this feature.
    #[must_use]
    pub fn lacks(mut self, feature: Feature) -> Self {
        self.lacks.push(feature);
        self
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        !self.lacks.contains(&feature)
    }

    /// Anthropic's models have rules of their own beside those of their version.
    pub(super) fn is_claude(&self) -> bool {
        self.prefix.starts_with("anthropic.")
    }
}

/// Rules by prefix.
#[derive(Debug, Clone)]
pub struct Families(Vec<Family>);

impl Default for Families {
    fn default() -> Self {
        let claude = |version: &str| Family::new(format!("anthropic.claude-{version}")).thinking(Thinking::Budget);
        let one = |version: &str| claude(version).sampling(Sampling::OneOfTwo);
        let newest = |version: &str| {
            claude(version).sampling(Sampling::Neither).thinking(Thinking::AdaptiveOnly).lacks(Feature::Prefill)
        };
        Self(vec![
            Family::new("anthropic."),
            Family::new("amazon.nova").lacks(Feature::CachedTools),
            Family::new("openai.").lacks(Feature::CachePoints).lacks(Feature::Documents),
            claude("3-7-sonnet"),
            claude("sonnet-4"),
            claude("opus-4"),
            one("opus-4-1"),
            one("sonnet-4-5"),
            one("haiku-4-5"),
            one("opus-4-5"),
            one("sonnet-4-6").lacks(Feature::Prefill),
            one("opus-4-6").lacks(Feature::Prefill),
            newest("opus-4-7"),
            newest("sonnet-5"),
            newest("opus-5"),
            newest("haiku-5"),
        ])
    }
}

impl Families {
    /// No family has rules.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// With one more, or one replaced.
    #[must_use]
    pub fn with(mut self, family: Family) -> Self {
        self.0.retain(|known| known.prefix != family.prefix);
        self.0.push(family);
        self
    }

    /// The rules for a model id, profile id or ARN that shows one.
    #[must_use]
    pub fn of(&self, model: &str) -> Family {
        let model = bare(model);
        let fitting = self.0.iter().filter(|family| model.starts_with(&family.prefix));
        fitting.max_by_key(|family| family.prefix.len()).cloned().unwrap_or_default()
    }
}

fn bare(model: &str) -> &str {
    let model = model.rsplit('/').next().unwrap_or(model);
    GEOGRAPHIES.iter().find_map(|geography| model.strip_prefix(geography)).unwrap_or(model)
}

/// Whether the id names a profile or something that was bought, and not just a model.
pub(super) fn is_profile(model: &str) -> bool {
    model.starts_with("arn:") || bare(model) != model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts_whatever_stands_before_the_model() {
        let families = Families::default();
        for (model, sampling) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", Sampling::Both),
            ("anthropic.claude-sonnet-4-20250514-v1:0", Sampling::Both),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Sampling::OneOfTwo),
            ("global.anthropic.claude-haiku-4-5-20251001-v1:0", Sampling::OneOfTwo),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-7",
                Sampling::Neither,
            ),
            ("amazon.nova-lite-v1:0", Sampling::Both),
        ] {
            assert_eq!(families.of(model).sampling, sampling, "{model}");
        }
    }

    #[test]
    fn a_family_with_the_same_prefix_is_replaced() {
        let families = Families::default().with(Family::new("anthropic.claude-opus-4-7"));
        assert_eq!(families.of("anthropic.claude-opus-4-7").sampling, Sampling::Both);
    }
}
