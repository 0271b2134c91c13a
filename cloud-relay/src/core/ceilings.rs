//! Which models may be answered by the relay's own Bedrock while no edge is there: the last word of every edge
//! that ever offered them, also of edges that are gone.
//!
//! Invariants: a model that nobody has offered may not; one `no` of any edge closes it until that same edge says
//! otherwise, while a `yes` ends when that edge's catalog no longer has the model; what is remembered of an edge is bounded, and beyond the bound everything is closed. Absent: the
//! store, which keeps the words over a restart.

use std::collections::{HashMap, HashSet};

use causeway_dialect::model::ModelName;
use causeway_wire::{Code, ModelInfo};

use crate::core::errors::Refusal;
use crate::core::intake::Call;
use crate::core::route::{Allowed, conflict};

/// Models of one edge that are remembered, count: two of the longest catalogs. About 100 bytes each.
pub const MOST: usize = 16_384;

/// Stands in a word for every model: the edge offered more than are remembered.
pub const EVERY: &str = "*";

/// What one edge said of one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The edge's name.
    pub edge: String,
    /// The model's reduced name, or [`EVERY`].
    pub model: String,
    /// It may go to Bedrock; none: it no longer offers it, and its permission ends with that.
    pub may: Option<bool>,
}

/// What all edges together say of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// Every edge that offered it allows it.
    Yes,
    /// One does not.
    No,
    /// None has offered it.
    Nothing,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Ceilings {
    edges: HashMap<String, HashMap<String, bool>>,
    /// Edges that offered too many models.
    closed: HashSet<String>,
}

impl Ceilings {
    /// What the store remembers.
    #[must_use]
    pub fn new(words: impl IntoIterator<Item = Word>) -> Self {
        let mut ceilings = Self::default();
        for word in words {
            ceilings.take(word);
        }
        ceilings
    }

    /// An edge's new catalog; the words that are new in it are to be stored.
    pub fn announce(&mut self, edge: &str, models: &[ModelInfo]) -> Vec<Word> {
        let mut new = self.withdraw(edge, models);
        for info in models {
            let Ok(name) = ModelName::parse(&info.name) else { continue };
            if self.closed.contains(edge) {
                break;
            }
            let may = Allowed::ceiling(&info.ceiling).bedrock && !name.is_cloud();
            let known = self.edges.get(edge);
            if known.and_then(|known| known.get(name.as_short())) == Some(&may) {
                continue;
            }
            let is_full = known.is_some_and(|known| known.len() >= MOST && !known.contains_key(name.as_short()));
            let model = if is_full { EVERY.to_owned() } else { name.short() };
            let word = Word { edge: edge.to_owned(), model, may: Some(may && !is_full) };
            self.take(word.clone());
            new.push(word);
        }
        new
    }

    /// Ends what an edge allowed of models that it offers no more: its owner may have taken them back.
    fn withdraw(&mut self, edge: &str, models: &[ModelInfo]) -> Vec<Word> {
        let offered: HashSet<String> =
            models.iter().filter_map(|info| ModelName::parse(&info.name).ok()).map(|name| name.short()).collect();
        let Some(known) = self.edges.get(edge) else { return Vec::new() };
        let gone = known.iter().filter(|(model, may)| **may && !offered.contains(*model));
        let words: Vec<Word> =
            gone.map(|(model, _)| Word { edge: edge.to_owned(), model: model.clone(), may: None }).collect();
        words.iter().cloned().for_each(|word| self.take(word));
        words
    }

    /// What the edges say of a model.
    #[must_use]
    pub fn of(&self, model: &ModelName) -> Said {
        if !self.closed.is_empty() {
            return Said::No;
        }
        let words = self.edges.values().filter_map(|known| known.get(model.as_short()));
        words.fold(Said::Nothing, |said, may| if *may && said != Said::No { Said::Yes } else { Said::No })
    }

    fn take(&mut self, word: Word) {
        if word.model == EVERY {
            self.closed.insert(word.edge);
            return;
        }
        let known = self.edges.entry(word.edge).or_default();
        match word.may {
            Some(may) => known.insert(word.model, may),
            None => known.remove(&word.model),
        };
    }
}

/// Whether the relay may ask Bedrock itself: `refusal` is why no edge takes the request.
///
/// # Errors
///
/// What its caller is told instead: that refusal, or 403 `route_conflict` where an edge's owner keeps the model
/// from the only backend that the request allows.
pub fn judge(call: &Call, allowed: Allowed, pin: Option<&str>, said: Said, refusal: Refusal) -> Result<(), Refusal> {
    if refusal.code != Code::EdgeOffline || !call.spends() || !allowed.bedrock || pin.is_some() || call.model.is_cloud()
    {
        return Err(refusal);
    }
    match said {
        Said::Yes => Ok(()),
        Said::No if !allowed.local => Err(conflict(format!(
            "only Amazon Bedrock may answer this request, and an owner of `{}` does not allow that; send \
             x-causeway-route: auto, and again once its edge is linked",
            call.model.as_short()
        ))),
        Said::No | Said::Nothing => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use causeway_dialect::route::Upstream;
    use causeway_wire::Backend;

    use super::*;

    fn info(name: &str, ceiling: &[Backend]) -> ModelInfo {
        ModelInfo { name: name.to_owned(), ceiling: ceiling.to_vec(), ..ModelInfo::default() }
    }

    fn name(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    const BOTH: [Backend; 2] = [Backend::Local, Backend::Bedrock];

    #[test]
    fn a_model_may_go_only_where_every_edge_that_ever_offered_it_says_so() {
        let mut ceilings = Ceilings::default();
        assert_eq!(ceilings.of(&name("m")), Said::Nothing);
        ceilings.announce("a", &[info("m", &BOTH), info("secret", &[Backend::Local]), info("old", &[])]);
        assert_eq!(ceilings.of(&name("M:latest")), Said::Yes, "names are reduced");
        assert_eq!((ceilings.of(&name("secret")), ceilings.of(&name("old"))), (Said::No, Said::No));
        ceilings.announce("b", &[info("m", &[Backend::Local])]);
        assert_eq!(ceilings.of(&name("m")), Said::No);
        ceilings.announce("a", &[info("m", &BOTH)]);
        assert_eq!(ceilings.of(&name("m")), Said::No, "another edge's word stands");
        ceilings.announce("b", &[]);
        assert_eq!(ceilings.of(&name("m")), Said::No, "a model that is gone keeps its last word");
        ceilings.announce("b", &[info("m", &BOTH)]);
        assert_eq!(ceilings.of(&name("m")), Said::Yes, "the latest word of each edge counts");
    }

    #[test]
    fn a_permission_ends_with_the_offer_and_a_refusal_does_not() {
        let mut ceilings = Ceilings::default();
        let mut stored = ceilings.announce("a", &[info("m", &BOTH), info("kept", &[Backend::Local])]);
        stored.extend(ceilings.announce("a", &[info("other", &BOTH)]));
        for ceilings in [ceilings, Ceilings::new(stored)] {
            assert_eq!(ceilings.of(&name("m")), Said::Nothing);
            assert_eq!((ceilings.of(&name("kept")), ceilings.of(&name("other"))), (Said::No, Said::Yes));
        }
    }

    #[test]
    fn only_new_words_are_stored_and_they_say_the_same_after_a_restart() {
        let mut ceilings = Ceilings::default();
        let mut stored = ceilings.announce("a", &[info("m", &BOTH), info("n", &[Backend::Local])]);
        assert_eq!(stored.len(), 2);
        assert!(ceilings.announce("a", &[info("m", &BOTH), info("n", &[Backend::Local])]).is_empty());
        stored.extend(ceilings.announce("a", &[info("m", &[Backend::Local]), info("n", &BOTH)]));
        let again = Ceilings::new(stored);
        assert_eq!((again.of(&name("m")), again.of(&name("n"))), (Said::No, Said::Yes));
    }

    #[test]
    fn an_edge_that_offers_too_much_closes_everything_for_good() {
        let mut ceilings = Ceilings::default();
        ceilings.announce("a", &[info("m", &BOTH)]);
        let many: Vec<ModelInfo> = (0..MOST + 5).map(|number| info(&format!("x{number}"), &BOTH)).collect();
        let stored = ceilings.announce("b", &many);
        assert_eq!(stored.last().unwrap().model, EVERY);
        assert_eq!(stored.len(), MOST + 1);
        assert_eq!(ceilings.of(&name("m")), Said::No);
        assert_eq!(Ceilings::new(stored).of(&name("m")), Said::No);
    }

    fn call(route: Upstream, model: &str) -> Call {
        Call { route, target: "/".to_owned(), model: name(model), stream: None }
    }

    #[test]
    fn the_relay_asks_bedrock_itself_only_where_nobody_is_there_and_everybody_allows_it() {
        let offline = || Refusal::new(Code::EdgeOffline, "no edge");
        let chat = call(Upstream::OllamaChat, "m");
        let judged = |call: &Call, allowed, pin, said, refusal: Refusal| {
            judge(call, allowed, pin, said, refusal).map_err(|refusal| refusal.code)
        };
        assert_eq!(judged(&chat, Allowed::ANY, None, Said::Yes, offline()), Ok(()));
        assert_eq!(judged(&chat, Allowed::CLOUD, None, Said::Yes, offline()), Ok(()));
        for (allowed, pin, said) in [
            (Allowed::LOCAL, None, Said::Yes),
            (Allowed::ANY, Some("gpu-1"), Said::Yes),
            (Allowed::ANY, None, Said::No),
            (Allowed::ANY, None, Said::Nothing),
            (Allowed::CLOUD, None, Said::Nothing),
        ] {
            let code = judged(&chat, allowed, pin, said, offline());
            assert_eq!(code, Err(Code::EdgeOffline), "{allowed:?} {pin:?} {said:?}");
        }
        assert_eq!(judged(&chat, Allowed::CLOUD, None, Said::No, offline()), Err(Code::RouteConflict));
        for (refused, said) in
            [(Code::Saturated, Said::Yes), (Code::RouteConflict, Said::Yes), (Code::ModelNotFound, Said::Yes)]
        {
            let code = judged(&chat, Allowed::ANY, None, said, Refusal::new(refused, "m"));
            assert_eq!(code, Err(refused));
        }
        for other in [
            call(Upstream::OllamaEmbed, "m"),
            call(Upstream::OpenAiEmbeddings, "m"),
            call(Upstream::AnthropicCountTokens, "m"),
            call(Upstream::OllamaChat, "m:cloud"),
        ] {
            let code = judged(&other, Allowed::ANY, None, Said::Yes, offline());
            assert_eq!(code, Err(Code::EdgeOffline), "{other:?}");
        }
    }
}
