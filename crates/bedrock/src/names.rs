//! Names of functions and ids of calls as Bedrock takes them, and back again.
//!
//! Invariants: one to one within a request, and never shared between requests; what fits is not changed.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

/// Longest name or id, characters (the service's model).
const LONGEST: usize = 64;

/// Characters of a hash that stand for what was cut off: a collision within one request is searched
/// for all the same.
const HASH: usize = 8;

/// Names of functions, both ways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    to: HashMap<String, String>,
    from: HashMap<String, String>,
}

impl Names {
    /// The name that goes out for this one.
    pub(crate) fn out(&mut self, name: &str) -> String {
        if let Some(known) = self.to.get(name) {
            return known.clone();
        }
        let fit = unique(name, false, |candidate| self.from.contains_key(candidate));
        self.to.insert(name.to_owned(), fit.clone());
        self.from.insert(fit.clone(), name.to_owned());
        fit
    }

    /// The caller's name for one that came back; the model may have made one up.
    pub(crate) fn back(&self, name: &str) -> String {
        self.from.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

/// Ids of calls: each call of a conversation gets one of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    taken: HashSet<String>,
    made: u64,
}

impl Ids {
    /// The id that goes out for a call with this one, which may be empty or have come before.
    pub(crate) fn out(&mut self, id: &str) -> String {
        let wanted = if id.is_empty() {
            self.made += 1;
            format!("call_{}", self.made)
        } else {
            id.to_owned()
        };
        let fit = unique(&wanted, true, |candidate| self.taken.contains(candidate));
        self.taken.insert(fit.clone());
        fit
    }
}

/// `text` if it fits and is free, else something near it that does and is.
fn unique(text: &str, is_id: bool, taken: impl Fn(&str) -> bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || (is_id && (c == '.' || c == ':'));
    if !text.is_empty() && text.len() <= LONGEST && text.chars().all(fits) && !taken(text) {
        return text.to_owned();
    }
    let clean: String = text.chars().map(|c| if fits(c) { c } else { '_' }).take(LONGEST - HASH - 1).collect();
    for attempt in 0_u64.. {
        let digest = Sha256::new().chain_update(attempt.to_be_bytes()).chain_update(text.as_bytes()).finalize();
        let hash: String = digest.iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect();
        let candidate = if clean.is_empty() { format!("f_{hash}") } else { format!("{clean}_{hash}") };
        if !taken(&candidate) {
            return candidate;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_fits_is_not_changed() {
        let mut names = Names::default();
        assert_eq!(names.out("get_weather-2"), "get_weather-2");
        assert_eq!(names.back("get_weather-2"), "get_weather-2");
        assert_eq!(names.back("made_up"), "made_up");
    }

    #[test]
    fn a_tool_name_of_200_characters_is_cut_and_found_again() {
        let mut names = Names::default();
        let long = "a".repeat(200);
        let out = names.out(&long);
        assert!(out.len() <= LONGEST && out != names.out(&"a".repeat(201)));
        assert_eq!(names.back(&out), long);
    }

    #[test]
    fn ids_that_are_missing_or_come_twice_are_made_different() {
        let mut ids = Ids::default();
        let given: Vec<String> = ["", "", "call_1", "call_1", "a.b:c"].iter().map(|id| ids.out(id)).collect();
        let distinct: HashSet<&String> = given.iter().collect();
        assert_eq!(distinct.len(), 5, "{given:?}");
        assert_eq!(given[4], "a.b:c");
    }

    proptest! {
        #[test]
        fn names_are_one_to_one_and_fit(given in proptest::collection::hash_set(".{0,80}", 0..20)) {
            let mut names = Names::default();
            let out: Vec<(String, String)> = given.iter().map(|name| (name.clone(), names.out(name))).collect();
            let mut seen = HashSet::new();
            for (name, out) in &out {
                prop_assert!(seen.insert(out.clone()), "{out} twice");
                prop_assert!(!out.is_empty() && out.len() <= LONGEST);
                prop_assert!(out.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
                prop_assert_eq!(&names.back(out), name);
            }
        }
    }
}
