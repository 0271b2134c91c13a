//! From a request's body to what may be opened for it.

use causeway_dialect::envelope;
use causeway_dialect::model::ModelName;
use causeway_dialect::route::{Dialect, Shape, Target, Upstream, model_in_path};
use causeway_wire::limits::MAX_TARGET;
use causeway_wire::{Code, Headers, InstanceId, Open, Policy};

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::headers::Asked;
use crate::core::route::{Allowed, conflict};
use crate::core::spend::Usd;

/// A request for one model that passed every check.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The route.
    pub route: Upstream,
    /// Path and query as the caller sent them.
    pub target: String,
    /// The one model this request is about.
    pub model: ModelName,
    /// What the body says of `stream`.
    pub stream: Option<bool>,
}

impl Call {
    /// Reads an inference or `show` body; [`Call::authorise`] comes next.
    ///
    /// # Errors
    ///
    /// A body that is refused (400), no model (400).
    pub fn from_body(route: Upstream, target: &str, body: &[u8]) -> Result<Self, Refusal> {
        let envelope = envelope::read(body).map_err(|bad| Refusal::invalid(bad.0))?;
        let name = envelope
            .model
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Refusal::invalid("the body names no model; add `\"model\"`"))?;
        Ok(Self { route, target: target.to_owned(), model: parse(&name)?, stream: envelope.stream })
    }

    /// Reads the model in a `/v1/models/ID` path.
    ///
    /// # Errors
    ///
    /// As for [`Self::from_body`].
    pub fn from_path(route: Upstream, target: &str) -> Result<Self, Refusal> {
        let name = model_in_path(target).unwrap_or_default();
        Ok(Self { route, target: target.to_owned(), model: parse(&name)?, stream: None })
    }

    /// Checks the model against the key's scope.
    ///
    /// # Errors
    ///
    /// A model outside the scope, a cloud model (403).
    pub fn authorise(&self, key: &Key) -> Result<(), Refusal> {
        authorise(&self.model, key)
    }

    /// The dialect its errors are written in.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.route.dialect()
    }

    /// How the answer looks.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.route.shape().of_answer(self.stream)
    }

    /// Who may answer it, of those that the caller and its key allow.
    ///
    /// # Errors
    ///
    /// 403 `route_conflict` for an embedding that only Bedrock may answer.
    pub fn allowed(&self, asked: &Asked) -> Result<Allowed, Refusal> {
        if self.route.is_metadata() {
            return Ok(Allowed::ANY);
        }
        if !self.is_embedding() {
            return Ok(asked.allowed);
        }
        let allowed = asked.allowed.and(Allowed::LOCAL);
        if allowed.is_empty() {
            // Vectors of another model lie in another space.
            let message = "embeddings are made on the model's own machine alone, and x-causeway-route: cloud-only \
                           contradicts that; leave the header out";
            return Err(conflict(message));
        }
        Ok(allowed)
    }

    /// Answering it may cost money: counting tokens is free.
    #[must_use]
    pub fn spends(&self) -> bool {
        self.route.is_inference() && !self.is_embedding()
    }

    /// Its answer is vectors.
    #[must_use]
    pub fn is_embedding(&self) -> bool {
        matches!(self.route, Upstream::OllamaEmbed | Upstream::OllamaEmbeddings | Upstream::OpenAiEmbeddings)
    }

    /// The `open` frame for one edge, which may spend nothing yet.
    #[must_use]
    pub fn open(
        &self,
        edge_instance: InstanceId,
        headers: Headers,
        asked: &Asked,
        key: &Key,
        allowed: Allowed,
    ) -> Open {
        Open {
            edge_instance,
            method: self.route.method().to_owned(),
            path: self.target.clone(),
            headers,
            model: Some(self.model.short()),
            stream: self.stream,
            policy: policy(asked, allowed, Usd::ZERO),
            key: key.id.clone(),
            traceparent: asked.traceparent.clone(),
            reply: None,
        }
    }
}

/// What a request may do at an edge where these may answer.
#[must_use]
pub fn policy(asked: &Asked, allowed: Allowed, most: Usd) -> Policy {
    Policy {
        allow: allowed.backends(),
        spend_max_usd: most.to_f64(),
        deadline_ms: asked.first_token.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        batch: asked.batch,
        hard: asked.first_token.is_some(),
    }
}

fn parse(name: &str) -> Result<ModelName, Refusal> {
    ModelName::parse(name).map_err(|bad| Refusal::invalid(format!("{bad}; send it as name:tag")))
}

fn authorise(model: &ModelName, key: &Key) -> Result<(), Refusal> {
    if !key.allows_model(model) {
        let message = format!("this key may not use the model `{}`", model.as_short());
        return Err(Refusal::new(Code::ForbiddenModel, message));
    }
    if model.is_cloud() {
        let message =
            format!("`{}` runs at ollama.com, which is not allowed here; use a local model", model.as_short());
        return Err(Refusal::new(Code::RouteConflict, message));
    }
    Ok(())
}

/// The refusal of a target that is not served, if it is none of ours.
#[must_use]
pub fn refuse_target(target: &Target) -> Option<(Dialect, Refusal)> {
    match target {
        Target::Upstream(_) | Target::Root | Target::Causeway => None,
        Target::Forbidden(dialect) => Some((
            *dialect,
            Refusal::new(
                Code::RouteNotAllowed,
                "this route is not served: it manages the server, or is written in a form that is refused",
            ),
        )),
        Target::WrongMethod(dialect, methods) => {
            let mut refusal = Refusal::invalid(format!("this path takes {methods}")).with_status(405);
            refusal.allow = Some(methods);
            Some((*dialect, refusal))
        }
        Target::Unknown(dialect) => {
            Some((*dialect, Refusal::invalid("there is nothing at this path").with_status(404)))
        }
    }
}

/// Refuses what the relay takes no more of; `has_place` is false where `most` requests run already.
///
/// # Errors
///
/// 503 `draining` or `saturated`.
pub fn check_room(is_draining: bool, has_place: bool, most: usize) -> Result<(), Refusal> {
    if is_draining {
        return Err(Refusal::new(Code::Draining, "the relay is shutting down; try again"));
    }
    if !has_place {
        let message = format!("{most} requests are running, which is all this relay takes at once; try again");
        return Err(Refusal::new(Code::Saturated, message));
    }
    Ok(())
}

/// Refuses a target that an `open` cannot carry.
///
/// # Errors
///
/// 414.
pub fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    if method.len() + target.len() > MAX_TARGET {
        return Err(Refusal::invalid("the path and query are longer than 2 KiB").with_status(414));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &str, models: &[&str]) -> Result<Call, Refusal> {
        let call = Call::from_body(Upstream::OllamaChat, "/api/chat", body.as_bytes())?;
        call.authorise(&Key::for_test(models))?;
        Ok(call)
    }

    #[test]
    fn a_model_outside_the_scope_is_refused_in_every_spelling() {
        for name in [
            "llama3",
            "LLAMA3:latest",
            "library/llama3",
            "registry.ollama.ai/library/llama3:latest",
            "https://registry.ollama.ai/library/llama3",
            " llama3 ",
            "llama3:local",
            "\\u006clama3",
            "qwen3/llama3",
        ] {
            let refusal = call(&format!("{{\"model\":\"{name}\"}}"), &["qwen3"]).unwrap_err();
            assert_eq!(refusal.code, Code::ForbiddenModel, "{name}");
        }
        for name in ["qwen3", "Qwen3:8b", "library/qwen3:latest"] {
            assert!(call(&format!("{{\"model\":\"{name}\"}}"), &["qwen3"]).is_ok(), "{name}");
        }
    }

    #[test]
    fn bodies_that_say_two_things_or_nothing_are_refused() {
        for body in [
            "",
            "nonsense",
            "{}",
            "[]",
            "{\"model\":\"\"}",
            "{\"model\":1}",
            "{\"model\":\"a b\"}",
            "{\"model\":\"qwen3\",\"model\":\"llama3\"}",
            "{\"model\":\"qwen3\",\"Model\":\"llama3\"}",
            "{\"model\":\"qwen3\",\"mod\\u0065l\":\"llama3\"}",
            "{\"model\":\"qwen3\",\"ſtream\":true}",
            "{\"model\":\"qwen3\",\"name\":\"llama3\"}",
            "{\"model\":\"qwen3\"} x",
        ] {
            assert_eq!(call(body, &[]).unwrap_err().status, 400, "{body}");
        }
    }

    #[test]
    fn a_relay_that_is_full_or_leaving_says_which() {
        assert_eq!(check_room(false, true, 9), Ok(()));
        assert_eq!(check_room(true, false, 9).unwrap_err().code, Code::Draining);
        let full = check_room(false, false, 9).unwrap_err();
        assert_eq!(full.code, Code::Saturated);
        assert!(full.message.starts_with("9 requests") && full.retry_after.is_some(), "{full:?}");
    }

    #[test]
    fn a_cloud_model_never_leaves_the_machine() {
        for name in ["gpt-oss:120b-cloud", "kimi:cloud", "GPT-OSS:120b:Cloud"] {
            let refusal = call(&format!("{{\"model\":\"{name}\"}}"), &[]).unwrap_err();
            assert_eq!(refusal.code, Code::RouteConflict, "{name}");
        }
    }

    #[test]
    fn what_is_opened_carries_the_reduced_name_and_the_keys_id_alone() {
        let call = call("{\"model\":\"Qwen3\",\"stream\":false}", &[]).unwrap();
        let open = call.open(InstanceId::new(1), Vec::new(), &Asked::default(), &Key::for_test(&[]), Allowed::LOCAL);
        assert_eq!(open.model.as_deref(), Some("qwen3:latest"));
        assert_eq!(open.stream, Some(false));
        assert_eq!(open.key, "id");
        assert_eq!(call.shape(), Shape::Whole);
        assert!(open.policy.spend_max_usd == 0.0 && open.policy.allow == [causeway_wire::Backend::Local]);
    }

    #[test]
    fn embeddings_never_leave_the_machine_and_cloud_only_ones_are_refused() {
        let asked = |allowed| Asked { allowed, ..Asked::default() };
        for (route, target) in [
            (Upstream::OllamaEmbed, "/api/embed"),
            (Upstream::OllamaEmbeddings, "/api/embeddings"),
            (Upstream::OpenAiEmbeddings, "/v1/embeddings"),
        ] {
            let call = Call::from_body(route, target, b"{\"model\":\"m\"}").unwrap();
            assert_eq!(call.allowed(&asked(Allowed::ANY)), Ok(Allowed::LOCAL));
            let refusal = call.allowed(&asked(Allowed::CLOUD)).unwrap_err();
            assert_eq!(refusal.code, Code::RouteConflict, "{target}");
        }
        let chat = call("{\"model\":\"m\"}", &[]).unwrap();
        assert_eq!(chat.allowed(&asked(Allowed::CLOUD)), Ok(Allowed::CLOUD));
    }
}
