//! Whether and how hard the model thinks, in its family's own words.

use causeway_dialect::chat::{Effort, Part, Role, Think};
use serde_json::{Map, Value, json};

use super::Making;
use super::messages::messages_of;
use crate::family::Thinking;

/// The least that a Claude may be given to think with, tokens.
const LEAST_BUDGET: u32 = 1_024;

/// What was made of the caller's wish.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Thinks {
    /// The model was asked to.
    pub(super) enabled: bool,
    /// Members of `additionalModelRequestFields`.
    pub(super) fields: Map<String, Value>,
    /// `outputConfig.effort`.
    pub(super) effort: Option<String>,
}

impl Making<'_> {
    /// Nothing is sent where the caller said nothing: thought costs money here.
    pub(super) fn thinking(&mut self, forced_tool: bool, max_tokens: u32) -> Thinks {
        let asked = match self.request.think {
            Think::Unset => return Thinks::default(),
            Think::Off => {
                // These think whatever is said.
                let always = matches!(self.target.family.thinking, Thinking::Always | Thinking::Effort);
                self.lose_if(always, "think");
                return Thinks::default();
            }
            Think::On => None,
            Think::Effort(effort) => Some(effort),
        };
        let signed = self.target.family.signs_thoughts();
        if signed && (forced_tool || self.has_open_calls()) {
            // A Claude that thinks must not be made to call, and must begin what it called with a thought.
            self.lose("think");
            return Thinks::default();
        }
        match self.target.family.thinking {
            Thinking::Never => {
                self.lose_if(!self.request.relax_think, "think");
                Thinks::default()
            }
            Thinking::Always => {
                self.lose_if(asked.is_some(), "think");
                Thinks { enabled: true, ..Thinks::default() }
            }
            Thinking::Budget => self.budget(asked, max_tokens),
            Thinking::Adaptive => {
                let effort = asked.map(|effort| word(effort).to_owned());
                fields("thinking", json!({ "type": "adaptive" }), effort)
            }
            Thinking::Nova => {
                // With `high` it would take neither a limit of tokens nor a temperature.
                let most = matches!(asked, Some(Effort::High | Effort::Max));
                self.lose_if(most, "think");
                let effort = if asked == Some(Effort::Low) { "low" } else { "medium" };
                fields("reasoningConfig", json!({ "type": "enabled", "maxReasoningEffort": effort }), None)
            }
            Thinking::Effort => match asked {
                None => Thinks { enabled: true, ..Thinks::default() },
                Some(effort) => {
                    let effort = if effort == Effort::Max { "high" } else { word(effort) };
                    fields("reasoning_effort", effort.into(), None)
                }
            },
        }
    }

    /// A share of what the answer may have: thought counts as answer.
    fn budget(&mut self, asked: Option<Effort>, max_tokens: u32) -> Thinks {
        let share = match asked {
            Some(Effort::Low) => max_tokens / 4,
            None | Some(Effort::Medium) => max_tokens / 2,
            Some(Effort::High | Effort::Max) => max_tokens / 4 * 3,
        };
        let budget = share.max(LEAST_BUDGET);
        if budget >= max_tokens {
            self.lose("think");
            return Thinks::default();
        }
        fields("thinking", json!({ "type": "enabled", "budget_tokens": budget }), None)
    }

    /// The conversation stops between a call of the model's and its next word, and the call was made
    /// without a signed thought.
    fn has_open_calls(&self) -> bool {
        let last = messages_of(&self.request.input).iter().rev().find(|message| message.role != Role::Tool);
        last.is_some_and(|message| {
            message.role == Role::Assistant
                && message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)))
                && !message.parts.iter().any(|part| matches!(part, Part::Thinking { signature: Some(_), .. }))
        })
    }
}

fn fields(name: &str, value: Value, effort: Option<String>) -> Thinks {
    Thinks { enabled: true, fields: Map::from_iter([(name.to_owned(), value)]), effort }
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Max => "max",
    }
}
