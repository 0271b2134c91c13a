//! `[overflow]`: where a request may go, to which model, for how much; the same keys in both programs.
//!
//! Invariant: nothing goes to Bedrock unless `enabled`, a mapping and a budget were all said. With it the
//! reader that collects all faults of a file; absent: whose requests may go there.

pub mod expect;
mod fault;
mod reader;
pub mod source;

use std::time::Duration;

use causeway_bedrock::{Family, Overrides, Target};
use causeway_dialect::model::ModelName;
use causeway_policy::{BudgetCap, Price, Usd};

pub use fault::{Fault, Origin};
pub use reader::{Expected, Reader};
pub use source::Value;

/// An hour in milliseconds: the most that a wait setting may say.
pub const HOUR_MS: u64 = 3_600_000;

/// Tokens of an answer where neither caller nor mapping says, and the most of one where the mapping does
/// not.
const MAX_TOKENS: u64 = 4_096;

/// What `mapping = "same-weights"` stands for: open weights that both sides serve, with the prices of
/// us-east-1 (https://aws.amazon.com/bedrock/pricing/; contract.md names the first).
const SAME_WEIGHTS: [(&str, &str, f64, f64); 2] =
    [("gpt-oss:20b", "openai.gpt-oss-20b-1:0", 0.07, 0.30), ("gpt-oss:120b", "openai.gpt-oss-120b-1:0", 0.15, 0.60)];

/// Where requests go that no machine can serve in time.
#[derive(Clone, PartialEq, Debug)]
pub struct Overflow {
    /// AWS region.
    pub region: String,
    /// Another address than the region's own.
    pub endpoint: Option<String>,
    /// Silence of an admitted request after which Bedrock is asked too; zero: never.
    pub hedge: Duration,
    /// The first whose pattern fits is taken.
    pub mappings: Vec<Mapping>,
    /// Most that may be spent in a day.
    pub budget: BudgetCap,
}

/// One local model's place on Bedrock.
#[derive(Clone, PartialEq, Debug)]
pub struct Mapping {
    /// Shell pattern of the local name.
    pub local: String,
    /// The model there.
    pub target: Target,
    /// What it costs; none only without a budget.
    pub price: Option<Price>,
}

impl Overflow {
    /// The mapping of a local model.
    #[must_use]
    pub fn mapping(&self, model: &ModelName) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| model.matches(&mapping.local))
    }
}

/// Reads the section; `None` where it is off.
pub fn overflow(reader: &mut Reader) -> Option<Overflow> {
    let enabled = reader.or("overflow.enabled", false, expect::flag);
    let region = match enabled {
        true => reader.required("overflow.region", "an AWS region, such as \"us-east-1\"", expect::region),
        false => reader.optional("overflow.region", expect::region),
    };
    let endpoint = reader.optional("overflow.endpoint", expect::endpoint);
    let _chain = reader.optional("overflow.credentials", expect::credentials);
    let hedge = reader.or("overflow.hedge-ms", 0, expect::whole(0..=HOUR_MS, " of milliseconds"));
    let common = Common {
        guardrail: guardrail(reader),
        service_tier: reader.optional("overflow.service-tier", expect::service_tier),
    };
    let budget = budget(reader, enabled);
    let mut mappings = mappings(reader, &common, budget);
    if reader.optional("overflow.mapping", expect::mapping).is_some() {
        mappings.extend(SAME_WEIGHTS.iter().map(|row| same_weights(row, &common)));
    }
    if enabled && mappings.is_empty() {
        let expected = "[[overflow.model]] with local and bedrock, or mapping = \"same-weights\"";
        let _nowhere: Option<()> = reader.required("overflow.model", expected, |_| Ok(()));
    }
    let (true, Some(region), Some(budget)) = (enabled, region, budget) else { return None };
    Some(Overflow { region, endpoint, hedge: Duration::from_millis(hedge), mappings, budget })
}

/// What all mappings share.
struct Common {
    guardrail: Option<(String, String)>,
    service_tier: Option<String>,
}

fn guardrail(reader: &mut Reader) -> Option<(String, String)> {
    let id = reader.optional("overflow.guardrail", expect::text);
    let version = reader.or("overflow.guardrail-version", "DRAFT".to_owned(), expect::text);
    Some((id?, version))
}

/// Must be said where money can be spent.
fn budget(reader: &mut Reader, enabled: bool) -> Option<BudgetCap> {
    let key = "overflow.budget.daily-usd";
    match enabled {
        true => reader.required(key, "dollars a day, such as 5.0, or \"unlimited\"", expect::daily_usd),
        false => reader.optional(key, expect::daily_usd),
    }
}

fn mappings(reader: &mut Reader, common: &Common, budget: Option<BudgetCap>) -> Vec<Mapping> {
    let mut mappings = Vec::new();
    while reader.has(&format!("overflow.model[{}]", mappings.len())) {
        let prefix = format!("overflow.model[{}]", mappings.len());
        mappings.push(mapping(reader, &prefix, common, budget));
        reader.refuse_all(
            &format!("{prefix}."),
            "unknown key, expected one of local, bedrock, max-tokens, usd-per-million, family, context, tools, images, \
             schema, streams",
        );
    }
    mappings
}

fn mapping(reader: &mut Reader, prefix: &str, common: &Common, budget: Option<BudgetCap>) -> Mapping {
    let key = |name: &str| format!("{prefix}.{name}");
    let local = reader.required(&key("local"), "a pattern of local model names", expect::pattern);
    let model = reader.required(&key("bedrock"), "a Bedrock model or inference profile id", expect::text);
    let model = model.unwrap_or_default();
    let max_tokens = reader.or(&key("max-tokens"), MAX_TOKENS, expect::whole(1..=1_000_000, " of tokens"));
    let family = reader.optional(&key("family"), expect::family).unwrap_or_else(|| Family::of(&model));
    let context = reader.optional(&key("context"), expect::whole(1..=16_777_216, " of tokens"));
    let overrides = Overrides {
        context: context.and_then(|context| u32::try_from(context).ok()),
        tools: reader.optional(&key("tools"), expect::flag),
        images: reader.optional(&key("images"), expect::flag),
        schema: reader.optional(&key("schema"), expect::flag),
        streams: reader.optional(&key("streams"), expect::flag),
    };
    let price = price(reader, prefix, matches!(budget, Some(BudgetCap::Daily(_))));
    let max_tokens = u32::try_from(max_tokens).unwrap_or(u32::MAX);
    Mapping {
        local: local.unwrap_or_default(),
        target: target(model, family.with(overrides), max_tokens, common),
        price,
    }
}

fn target(model: String, family: Family, max_tokens: u32, common: &Common) -> Target {
    let Common { guardrail, service_tier } = common;
    Target { model, family, max_tokens, guardrail: guardrail.clone(), service_tier: service_tier.clone() }
}

/// A model without a price cannot be held to a budget.
fn price(reader: &mut Reader, prefix: &str, needed: bool) -> Option<Price> {
    let mut part = |name: &str| {
        let key = format!("{prefix}.usd-per-million.{name}");
        match needed {
            true => reader.required(&key, "dollars for a million tokens (a budget needs it)", expect::dollars),
            false => reader.optional(&key, expect::dollars),
        }
    };
    let (input, output) = (part("input"), part("output"));
    Price::per_million(input?, output?)
}

fn same_weights((local, bedrock, input, output): &(&str, &str, f64, f64), common: &Common) -> Mapping {
    let max_tokens = u32::try_from(MAX_TOKENS).unwrap_or(u32::MAX);
    let target = target((*bedrock).to_owned(), *Family::of(bedrock), max_tokens, common);
    Mapping { local: (*local).to_owned(), target, price: Price::per_million(*input, *output) }
}

/// Most of a day, as configured.
pub fn cap(dollars: f64) -> BudgetCap {
    BudgetCap::Daily(Usd::cap(dollars))
}
