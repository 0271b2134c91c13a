//! Which backends may answer a request: sets of them, narrowed from several sides.
//!
//! Invariant: sets are only ever intersected, so that no side widens what another leaves. Absent:
//! `ollama_cloud`, which nothing can be configured for yet: it is in no set.

use causeway_wire::{Backend, Code};

use crate::core::errors::Refusal;

/// A set of backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// The edge's own machine.
    pub local: bool,
    /// Amazon Bedrock.
    pub bedrock: bool,
}

impl Allowed {
    /// `auto`: whatever there is.
    pub const ANY: Self = Self { local: true, bedrock: true };
    /// `local-only`.
    pub const LOCAL: Self = Self { local: true, bedrock: false };
    /// `cloud-only`.
    pub const CLOUD: Self = Self { local: false, bedrock: true };

    /// The set that a route's name stands for.
    #[must_use]
    pub fn named(route: &str) -> Option<Self> {
        match route {
            "auto" => Some(Self::ANY),
            "local-only" => Some(Self::LOCAL),
            "cloud-only" => Some(Self::CLOUD),
            _ => None,
        }
    }

    /// What an edge announces of a model. One that announces nothing allows its own machine alone.
    #[must_use]
    pub fn ceiling(announced: &[Backend]) -> Self {
        let has = |backend| announced.contains(&backend);
        Self { local: announced.is_empty() || has(Backend::Local), bedrock: has(Backend::Bedrock) }
    }

    /// What both leave.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { local: self.local && other.local, bedrock: self.bedrock && other.bedrock }
    }

    /// Nobody may answer.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.local && !self.bedrock
    }

    /// As `open` has it.
    #[must_use]
    pub fn backends(self) -> Vec<Backend> {
        let each = [(self.local, Backend::Local), (self.bedrock, Backend::Bedrock)];
        each.into_iter().filter(|(allowed, _)| *allowed).map(|(_, backend)| backend).collect()
    }
}

/// No backend is left.
#[must_use]
pub fn conflict(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::RouteConflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Allowed; 4] = [Allowed::ANY, Allowed::LOCAL, Allowed::CLOUD, Allowed { local: false, bedrock: false }];

    #[test]
    fn what_two_sides_leave_is_in_both_in_either_order() {
        for (a, b) in ALL.into_iter().flat_map(|a| ALL.map(|b| (a, b))) {
            let both = a.and(b);
            assert_eq!(both, b.and(a));
            assert!(both.backends().iter().all(|one| a.backends().contains(one) && b.backends().contains(one)));
            assert_eq!(both.is_empty(), both.backends().is_empty());
        }
    }

    #[test]
    fn an_edge_that_announces_nothing_allows_its_own_machine_alone() {
        assert_eq!(Allowed::ceiling(&[]), Allowed::LOCAL);
        assert_eq!(Allowed::ceiling(&[Backend::Bedrock]), Allowed::CLOUD);
        assert_eq!(Allowed::ceiling(&[Backend::Bedrock, Backend::Local]), Allowed::ANY);
        assert!(Allowed::ceiling(&[Backend::OllamaCloud]).is_empty());
    }
}
