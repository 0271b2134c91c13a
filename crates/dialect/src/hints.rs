//! Fields that may go unheeded: what is lost with each, in every dialect.
//!
//! A caller with `x-causeway-strict` wants to be refused rather than lose a parameter. What only hints
//! (who asks, what to cache, what to keep) changes no answer's meaning: it is listed where something
//! was lost, and never refused. Absent: reading the fields; what a backend loses beyond these.

/// What goes unheeded with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    /// Nothing: it is not even listed.
    Nothing,
    /// A hint, unless it says one of these values (JSON without blanks): listed, never refused.
    Hint(&'static [&'static str]),
    /// Something that was meant, unless it says one of these values: listed, and refused when strict.
    Meaning(&'static [&'static str]),
}

/// A field, as it is named in `dropped`. One that begins with a dot may stand in any object.
struct Row {
    name: &'static str,
    loss: Loss,
    #[expect(dead_code, reason = "for who reads the table")]
    why: &'static str,
}

const fn row(name: &'static str, loss: Loss, why: &'static str) -> Row {
    Row { name, loss, why }
}

/// OpenAI's top-level fields that no backend heeds, and the hints of all dialects.
const TABLE: [Row; 21] = [
    row("user", Loss::Nothing, "says who asks"),
    row("metadata", Loss::Nothing, "the caller's own notes; nothing is kept that they could be read from"),
    row("safety_identifier", Loss::Nothing, "says who asks"),
    row("prompt_cache_key", Loss::Nothing, "steers OpenAI's cache; ours follows from the prompt"),
    row("prompt_cache_retention", Loss::Nothing, "steers OpenAI's cache"),
    row("stream_options", Loss::Nothing, "its include_usage is heeded; the rest pads OpenAI's streams"),
    row("store", Loss::Hint(&["false"]), "nothing is kept; this answer is the same"),
    row(
        "service_tier",
        Loss::Hint(&[r#""auto""#, r#""default""#, r#""standard_only""#]),
        "one tier for all; x-causeway-priority says the same",
    ),
    row(".cache_control", Loss::Hint(&[]), "what to cache and for how long: price and pace"),
    row(".strict", Loss::Hint(&["false"]), "functions are called by their schema anyway, as far as a model can"),
    row("thinking.budget_tokens", Loss::Hint(&[]), "local models have no bound for thought alone; max_tokens holds"),
    row("parallel_tool_calls", Loss::Meaning(&["true"]), "true is what happens; false bounds the calls"),
    row("tool_choice.disable_parallel_tool_use", Loss::Meaning(&["false"]), "as parallel_tool_calls"),
    row("n", Loss::Meaning(&["1"]), "one answer comes"),
    row("best_of", Loss::Meaning(&["0", "1"]), "one answer is drawn"),
    row("echo", Loss::Meaning(&["false"]), "the prompt is not repeated"),
    row("background", Loss::Meaning(&["false"]), "the caller waits"),
    row("logit_bias", Loss::Meaning(&["{}"]), "tokens are drawn as the model weighs them"),
    row("modalities", Loss::Meaning(&[r#"["text"]"#]), "answers are text"),
    row("verbosity", Loss::Meaning(&[r#""medium""#]), "no local model knows it"),
    row("include", Loss::Meaning(&["[]"]), "nothing more is told"),
];

/// Fields of a body's top level that the table knows.
pub(crate) fn top_level() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name).filter(|name| !name.contains('.'))
}

/// With this value (JSON without blanks) something is lost, so that the field is to be listed.
pub(crate) fn is_loss(name: &str, json: &str) -> bool {
    match find(name).map(|row| row.loss) {
        Some(Loss::Nothing) => false,
        Some(Loss::Hint(neutral) | Loss::Meaning(neutral)) => !neutral.contains(&json),
        None => true,
    }
}

/// The name of a dropped field is a hint's: strict callers are not refused for it.
#[must_use]
pub fn is_hint(dropped: &str) -> bool {
    match find(dropped).map(|row| row.loss) {
        Some(Loss::Nothing | Loss::Hint(_)) => true,
        Some(Loss::Meaning(_)) | None => false,
    }
}

/// Of the names of lost fields (`Request::dropped`, `Outgoing::lost` and `removed`, what another
/// backend cannot do) those for which a strict caller is refused, in order.
pub fn refused<'a>(lost: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = &'a str> {
    lost.into_iter().map(String::as_str).filter(|name| !is_hint(name))
}

fn find(name: &str) -> Option<&'static Row> {
    let is = |row: &&Row| match row.name.strip_prefix('.') {
        Some(anywhere) => name == anywhere || name.ends_with(row.name),
        None => row.name == name,
    };
    TABLE.iter().find(is)
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
