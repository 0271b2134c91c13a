//! How tokens are drawn, and where an answer ends.

use aws_sdk_bedrockruntime::types::InferenceConfiguration;
use aws_smithy_types::Document;
use serde_json::{Map, Value, json};

use super::Making;
use crate::document;
use crate::family::{Sampling, Thinking, TopK};

/// Options of Ollama's own that no other backend has an equal for and that change what is answered.
const MEANT: [&str; 9] = [
    "repeat_penalty",
    "repeat_last_n",
    "typical_p",
    "tfs_z",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "num_keep",
];

/// The most that Nova takes (https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html).
const NOVA_TOP_K: i64 = 128;

impl Making<'_> {
    pub(super) fn inference(&mut self, max_tokens: u32) -> InferenceConfiguration {
        let (temperature, top_p) = self.chance();
        let stop = self.stop();
        InferenceConfiguration::builder()
            .max_tokens(i32::try_from(max_tokens).unwrap_or(i32::MAX))
            .set_temperature(temperature)
            .set_top_p(top_p)
            .set_stop_sequences(stop)
            .build()
    }

    /// Only what the caller said: a default sent along is refused by some models. Both in range, and
    /// where only one may be said it is the temperature.
    fn chance(&mut self) -> (Option<f32>, Option<f32>) {
        let sampling = &self.request.sampling;
        let temperature = sampling.temperature.map(|temperature| temperature.clamp(0.0, 1.0) as f32);
        let clamped = sampling.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature));
        let top_p = sampling.top_p.map(|top_p| top_p.clamp(0.0, 1.0) as f32);
        self.lose_if(clamped, "temperature");
        // A Claude that thinks takes no chance of the caller's.
        let none = self.target.family.sampling == Sampling::Neither
            || (self.thinks.enabled && self.target.family.signs_thoughts());
        if none {
            self.lose_if(temperature.is_some_and(|temperature| temperature < 1.0), "temperature");
            self.lose_if(top_p.is_some_and(|top_p| top_p < 1.0), "top_p");
            return (None, None);
        }
        // OpenAI's clients send 1 for both, which says nothing.
        match (self.target.family.sampling, temperature, top_p) {
            (Sampling::OneOfTwo, Some(temperature), Some(top_p)) => {
                self.lose_if(top_p < 1.0, "top_p");
                (Some(temperature), None)
            }
            (Sampling::OneOfTwo | Sampling::Both | Sampling::Neither, temperature, top_p) => (temperature, top_p),
        }
    }

    fn stop(&mut self) -> Option<Vec<String>> {
        let most = usize::from(self.target.family.stop);
        // A text of blanks alone is refused by all, and none is empty.
        let stop: Vec<String> =
            self.request.stop.iter().filter(|text| !text.trim().is_empty()).take(most).cloned().collect();
        self.lose_if(stop.len() < self.request.stop.len(), "stop");
        (!stop.is_empty()).then_some(stop)
    }

    /// What goes beside Converse's own members, and the names of what goes nowhere.
    pub(super) fn additional(&mut self) -> Option<Document> {
        self.lose_unsupported();
        let mut members = std::mem::take(&mut self.thinks.fields);
        let thinks = self.thinks.enabled && self.target.family.thinking != Thinking::Effort;
        match (self.request.sampling.top_k.filter(|top_k| *top_k > 0), self.target.family.top_k) {
            (Some(top_k), TopK::Plain) if !thinks => {
                members.insert("top_k".to_owned(), top_k.into());
            }
            (Some(top_k), TopK::Nova) if !thinks => {
                self.lose_if(top_k > NOVA_TOP_K, "top_k");
                members.insert("inferenceConfig".to_owned(), json!({ "topK": top_k.min(NOVA_TOP_K) }));
            }
            (Some(_), TopK::Plain | TopK::Nova | TopK::None) => self.lose("top_k"),
            (None, _) => {}
        }
        (!members.is_empty()).then(|| document::object(&members))
    }

    fn lose_unsupported(&mut self) {
        let (sampling, native) = (&self.request.sampling, &self.request.native);
        let given = [
            (sampling.min_p.is_some_and(|p| p > 0.0), "min_p"),
            (sampling.seed.is_some_and(|seed| seed >= 0), "seed"),
            (sampling.frequency_penalty.is_some_and(is_set), "frequency_penalty"),
            (sampling.presence_penalty.is_some_and(is_set), "presence_penalty"),
            (self.request.logprobs.is_some(), "logprobs"),
            (native.truncate.is_some(), "truncate"),
        ];
        let options: Vec<&str> = MEANT.into_iter().filter(|name| said(&native.options, name)).collect();
        let unknown: Vec<String> = native.unknown.keys().cloned().collect();
        for (_, name) in given.into_iter().filter(|(given, _)| *given) {
            self.lose(name);
        }
        options.into_iter().for_each(|name| self.lose(&format!("options.{name}")));
        unknown.iter().for_each(|name| self.lose(name));
    }
}

fn is_set(penalty: f64) -> bool {
    penalty.abs() > f64::EPSILON
}

fn said(options: &Map<String, Value>, name: &str) -> bool {
    options.get(name).is_some_and(|value| !value.is_null())
}
