//! The rows. The first whose id fits is taken, so that what is special stands before what is general.

use super::{Caching, Family, Sampling, Thinking, Tools, TopK};

/// Text in, text out, functions as the model likes: what others differ from.
pub(super) const UNKNOWN: Family = Family {
    name: "unknown",
    ids: &[],
    context: 32_000,
    tools: Tools::Auto,
    images: false,
    documents: false,
    system: true,
    schema: false,
    thinking: Thinking::Never,
    sampling: Sampling::Both,
    top_k: TopK::None,
    stop: 4,
    prefill: false,
    cache: Caching::Never,
    streams: true,
};

const CLAUDE: Family = Family {
    name: "claude-3",
    ids: &["anthropic.claude-3-haiku", "anthropic.claude-3-sonnet", "anthropic.claude-3-opus", "anthropic.claude-3-5"],
    context: 200_000,
    tools: Tools::Named,
    images: true,
    documents: true,
    thinking: Thinking::Never,
    top_k: TopK::Plain,
    // https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
    stop: 255,
    prefill: true,
    ..UNKNOWN
};

const NOVA: Family = Family {
    name: "nova",
    ids: &["amazon.nova-lite", "amazon.nova-pro", "amazon.nova-premier"],
    context: 300_000,
    tools: Tools::Named,
    images: true,
    documents: true,
    top_k: TopK::Nova,
    prefill: true,
    cache: Caching::Prompt,
    ..UNKNOWN
};

const LLAMA: Family =
    Family { name: "llama", ids: &["meta.llama3", "meta.llama"], context: 128_000, stop: 0, ..UNKNOWN };

const MISTRAL: Family =
    Family { name: "mistral", ids: &["mistral."], context: 128_000, tools: Tools::Any, stop: 10, ..UNKNOWN };

pub(super) const FAMILIES: [Family; 19] = [
    // Who takes cache points, and for how long:
    // https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
    Family { name: "claude-3.5-haiku", ids: &["anthropic.claude-3-5-haiku"], cache: Caching::Tools, ..CLAUDE },
    CLAUDE,
    Family {
        name: "claude-3.7",
        ids: &["anthropic.claude-3-7"],
        thinking: Thinking::Budget,
        cache: Caching::Tools,
        ..CLAUDE
    },
    // Both settings of chance together are refused from here on.
    Family {
        name: "claude-4.5",
        ids: &["anthropic.claude-sonnet-4-5", "anthropic.claude-haiku-4-5", "anthropic.claude-opus-4-5"],
        schema: true,
        thinking: Thinking::Budget,
        sampling: Sampling::OneOfTwo,
        cache: Caching::Hour,
        ..CLAUDE
    },
    // And an answer cannot be begun for it.
    Family {
        name: "claude-4.6",
        ids: &["anthropic.claude-sonnet-4-6", "anthropic.claude-opus-4-6"],
        schema: true,
        thinking: Thinking::Adaptive,
        sampling: Sampling::OneOfTwo,
        prefill: false,
        cache: Caching::Tools,
        ..CLAUDE
    },
    Family {
        name: "claude-4",
        ids: &[
            "anthropic.claude-sonnet-4-20",
            "anthropic.claude-opus-4-20",
            "anthropic.claude-opus-4-1",
            "anthropic.claude-4",
        ],
        thinking: Thinking::Budget,
        sampling: Sampling::OneOfTwo,
        cache: Caching::Tools,
        ..CLAUDE
    },
    Family {
        name: "claude-latest",
        ids: &["anthropic.claude"],
        schema: true,
        thinking: Thinking::Adaptive,
        sampling: Sampling::Neither,
        top_k: TopK::None,
        prefill: false,
        cache: Caching::Tools,
        ..CLAUDE
    },
    Family {
        name: "nova-text",
        ids: &["amazon.nova-micro"],
        context: 128_000,
        images: false,
        documents: false,
        ..NOVA
    },
    NOVA,
    Family { name: "nova-2", ids: &["amazon.nova-2"], context: 1_000_000, thinking: Thinking::Nova, ..NOVA },
    // https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
    Family {
        name: "gpt-oss",
        ids: &["openai.gpt-oss"],
        context: 128_000,
        tools: Tools::Auto,
        thinking: Thinking::Effort,
        stop: 0,
        ..UNKNOWN
    },
    Family {
        name: "llama-vision",
        ids: &["meta.llama3-2-11b", "meta.llama3-2-90b", "meta.llama4"],
        images: true,
        ..LLAMA
    },
    LLAMA,
    Family { name: "mistral-vision", ids: &["mistral.pixtral"], images: true, ..MISTRAL },
    Family {
        name: "mistral-7b",
        ids: &["mistral.mistral-7b", "mistral.mixtral-8x7b"],
        context: 32_000,
        tools: Tools::None,
        system: false,
        ..MISTRAL
    },
    MISTRAL,
    Family {
        name: "deepseek-r1",
        ids: &["deepseek.r1"],
        context: 128_000,
        tools: Tools::None,
        thinking: Thinking::Always,
        stop: 10,
        ..UNKNOWN
    },
    Family { name: "deepseek", ids: &["deepseek."], context: 128_000, thinking: Thinking::Effort, stop: 10, ..UNKNOWN },
    Family { name: "qwen", ids: &["qwen."], context: 128_000, ..UNKNOWN },
];
