//! What several files' tests begin with: a request as the relay opens it, a daemon's shared state.

use std::sync::Arc;

use causeway_wire::{Backend, InstanceId, Open, Policy};

use crate::catalog::Catalog;
use crate::config::{Ollama as Settings, OllamaUrl};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::ollama::Ollama;
use crate::work::Work;

/// A request that may run locally, without a deadline.
pub(crate) fn open(method: &str, path: &str, model: Option<&str>) -> Open {
    Open {
        edge_instance: InstanceId::new(1),
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        model: model.map(str::to_owned),
        stream: None,
        policy: Policy {
            allow: vec![Backend::Local],
            batch: false,
            deadline_ms: None,
            hard: false,
            spend_max_usd: 0.0,
        },
        key: "k1".to_owned(),
        traceparent: None,
        reply: None,
    }
}

/// A daemon's shared state before this Ollama, whose catalog nobody reads yet.
pub(crate) fn work(url: OllamaUrl) -> Arc<Work> {
    let settings = Settings { url, parallel: 1, models: vec!["*".to_owned()], overrides: Vec::new() };
    let ollama = Ollama::new(&settings.url).unwrap();
    Arc::new(Work::new(ollama, settings, Catalog::default(), Observer::new(Metrics::new().unwrap())))
}
