//! Which backends a model's requests may get: the owner's routes, and what is configured at all.
//!
//! Invariant: nothing here looks at what a caller or the relay says; that can only narrow it (`gate.rs`).

use std::sync::Arc;

use causeway_dialect::model::ModelName;
use causeway_wire::Backend;

use crate::config::{self, Mapping, Overflow, Privacy};

/// The owner's word on it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<(Privacy, Option<Overflow>)>);

impl Routes {
    pub(crate) fn new(privacy: Privacy, overflow: Option<Overflow>) -> Self {
        Self(Arc::new((privacy, overflow)))
    }

    /// Backends that this model may use and that are there.
    pub(crate) fn ceiling(&self, model: &ModelName) -> Vec<Backend> {
        let (privacy, _) = &*self.0;
        let there = |backend: &Backend| match backend {
            Backend::Local => true,
            Backend::Bedrock => self.mapping(model).is_some(),
            Backend::OllamaCloud => false,
        };
        privacy.allowed(model).into_iter().filter(there).collect()
    }

    /// Backends that any model may use.
    pub(crate) fn general(&self) -> Vec<Backend> {
        let (privacy, overflow) = &*self.0;
        let route = privacy.route.ceiling().into_iter();
        route.filter(|backend| *backend != Backend::Bedrock || overflow.is_some()).collect()
    }

    /// Where a model's requests overflow to, whether or not they may.
    pub(crate) fn mapping(&self, model: &ModelName) -> Option<&Mapping> {
        self.0.1.as_ref()?.mapping(model)
    }

    /// The settings of overflow, where it is on.
    pub(crate) fn overflow(&self) -> Option<&config::Overflow> {
        self.0.1.as_ref()
    }

    /// Models that a mapping names one by one: they can be had though this machine has none such.
    pub(crate) fn named(&self) -> impl Iterator<Item = ModelName> {
        let mappings = self.0.1.iter().flat_map(|overflow| &overflow.mappings);
        mappings
            .filter(|mapping| !mapping.local.contains(['*', '?', '[']))
            .filter_map(|mapping| ModelName::parse(&mapping.local).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{overflow_to, routes_of};

    fn name(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    #[test]
    fn a_model_may_go_to_bedrock_only_where_it_is_mapped_and_no_route_forbids_it() {
        let privacy = "[[privacy.model]]\nname = \"medical-*\"\nroute = \"local-only\"\n";
        let routes = routes_of(&format!("{}{privacy}", overflow_to("http://127.0.0.1:1", "m*")));
        let both = vec![Backend::Local, Backend::Bedrock];
        assert_eq!(routes.ceiling(&name("mistral")), both);
        assert_eq!(routes.ceiling(&name("qwen3")), [Backend::Local]);
        assert_eq!(routes.ceiling(&name("medical-mistral")), [Backend::Local]);
        assert_eq!(routes.general(), both);
    }

    #[test]
    fn without_overflow_nothing_goes_there_and_cloud_only_leaves_nothing() {
        assert_eq!(routes_of("").ceiling(&name("llama3")), [Backend::Local]);
        let only = routes_of("[privacy]\nroute = \"cloud-only\"\n");
        assert!(only.ceiling(&name("llama3")).is_empty() && only.general().is_empty());
    }

    #[test]
    fn a_models_own_route_can_only_narrow_the_general_one() {
        let both = "[privacy]\nroute = \"local-only\"\n[[privacy.model]]\nname = \"a*\"\nroute = \"auto\"\n\
                    [[privacy.model]]\nname = \"b*\"\nroute = \"cloud-only\"\n";
        let routes = routes_of(&format!("{}{both}", overflow_to("http://127.0.0.1:1", "*")));
        assert_eq!(routes.ceiling(&name("a")), [Backend::Local]);
        assert!(routes.ceiling(&name("b")).is_empty());
    }

    #[test]
    fn models_that_a_mapping_names_are_known_and_patterns_are_not() {
        let routes = routes_of(&overflow_to("http://127.0.0.1:1", "gpt-oss:20b"));
        assert_eq!(routes.named().map(|name| name.short()).collect::<Vec<_>>(), ["gpt-oss:20b"]);
        assert_eq!(routes_of(&overflow_to("http://127.0.0.1:1", "gpt*")).named().count(), 0);
    }
}
