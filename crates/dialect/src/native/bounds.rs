//! What policy lets callers decide on a shared machine.
//!
//! Any other runner option makes Ollama load the model again, for everyone (`needsReload` in
//! `server/sched.go`), and a `keep_alive` of nothing or for ever takes the memory from others.

use std::time::Duration;

use serde_json::{Map, Value};

use super::KeepAlive;
use crate::envelope::folds_to;

/// Bounds of one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The one context length of the model, tokens, the same in preload and request; none leaves it
    /// to Ollama. A caller's own never counts.
    pub num_ctx: Option<u32>,
    /// Shortest `keep_alive` of a caller: shorter ones, 0 above all, are taken out, and Ollama's own
    /// setting holds.
    pub keep_alive_min: Duration,
    /// Longest `keep_alive` of a caller; longer ones become this.
    pub keep_alive_max: Duration,
    /// Callers may bring prompts without a template, or their own (`raw`, `template`).
    pub templates: bool,
    /// The model can think, as far as is known; where it is known that it cannot, a request that does
    /// not insist is sent without its wish.
    pub thinks: bool,
}

impl Default for Bounds {
    /// Ollama's context length; a minute to half an hour (its own setting is five minutes);
    /// templates; a model that thinks.
    fn default() -> Self {
        Self {
            num_ctx: None,
            keep_alive_min: Duration::from_secs(60),
            keep_alive_max: Duration::from_secs(30 * 60),
            templates: true,
            thinks: true,
        }
    }
}

/// Options with which a model is loaded, of present and past versions (`Runner` in `api/types.go`).
const RUNNER: [&str; 14] = [
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "use_mlock",
    "num_thread",
    "draft_num_predict",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "numa",
    "use_imagegen_runner",
];

/// Top-level fields that are never passed on as unknown ones: they are written here, or they are
/// not for remote callers.
const RESERVED: [&str; 23] = [
    "model",
    "name",
    "messages",
    "prompt",
    "suffix",
    "system",
    "template",
    "context",
    "stream",
    "raw",
    "format",
    "keep_alive",
    "images",
    "tools",
    "options",
    "think",
    "truncate",
    "logprobs",
    "top_logprobs",
    "shift",
    "_debug_render_only",
    "input",
    "dimensions",
];

/// The field that is not passed on, for whatever spelling Ollama would take for it.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|reserved| folds_to(name, reserved))
}

/// Options without those that load a model anew, and with the one context length.
pub(crate) fn bound_options(
    options: &Map<String, Value>,
    bounds: &Bounds,
    removed: &mut Vec<String>,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in options {
        if !RUNNER.contains(&name.as_str()) {
            kept.insert(name.clone(), value.clone());
        } else if name != "num_ctx" || value.as_u64() != bounds.num_ctx.map(u64::from) {
            removed.push(format!("options.{name}"));
        }
    }
    if let Some(length) = bounds.num_ctx {
        kept.insert("num_ctx".to_owned(), length.into());
    }
    kept
}

/// `keep_alive` within the bounds.
pub(crate) fn bound_keep_alive(asked: Option<&Value>, bounds: &Bounds, removed: &mut Vec<String>) -> Option<Value> {
    let asked = asked?;
    let alive = KeepAlive::read(asked).filter(|alive| !alive.is_zero() && !alive.is_under(bounds.keep_alive_min));
    match alive {
        Some(alive) if !alive.is_over(bounds.keep_alive_max) => Some(asked.clone()),
        Some(_) => {
            removed.push("keep_alive".to_owned());
            // Never 0, whatever the policy: that would unload.
            Some(bounds.keep_alive_max.as_secs().max(1).into())
        }
        None => {
            removed.push("keep_alive".to_owned());
            None
        }
    }
}
