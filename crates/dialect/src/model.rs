//! Model names, reduced once as Ollama does.
//!
//! Source of the rules: `types/model/name.go` (parts and their characters) and
//! `internal/modelref/modelref.go` (`:local` and `:cloud` suffixes) of Ollama.

use std::fmt;

const DEFAULT_HOST: &str = "registry.ollama.ai";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// Longest host, bytes: Ollama's own limit.
const MAX_HOST: usize = 350;

/// Longest namespace, name or tag, bytes: Ollama's own limit.
const MAX_PART: usize = 80;

/// Longest name or pattern looked at, bytes: every part at its longest, a scheme and a suffix.
const MAX_TEXT: usize = 640;

/// `host/namespace/name:tag`, lower-cased, defaults filled in. Equality of two of these is
/// equality of models; only this value is used for scopes, routing and metrics.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ModelName {
    /// The full form; the other forms are its ends.
    full: String,
    /// Where the short form begins in it.
    short: usize,
}

/// Why a text names no model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a model name")]
pub struct BadModelName(pub String);

/// Where a name says its model runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Unsaid,
    Local,
    Cloud,
}

impl ModelName {
    /// Reduces a name to its one form: surrounding blanks, a scheme, case, a `:local` suffix and
    /// the defaults (`registry.ollama.ai`, `library`, `latest`) make no difference.
    ///
    /// # Errors
    ///
    /// A part is empty, too long or has characters that Ollama refuses, or the name says both
    /// `:local` and `:cloud`.
    pub fn parse(text: &str) -> Result<Self, BadModelName> {
        let bad = || BadModelName(text.chars().take(MAX_PART).collect());
        let trimmed = text.trim();
        if trimmed.len() > MAX_TEXT {
            return Err(bad());
        }
        let (base, source) = cut_source(trimmed);
        if source != Source::Unsaid && cut_source(base).1 != Source::Unsaid {
            return Err(bad());
        }
        let lower = base.to_ascii_lowercase();
        let parts = Parts::cut(&lower).ok_or_else(bad)?;
        Ok(parts.assemble(source))
    }

    /// Shortest form that Ollama understands: default host, namespace left out; tag always said.
    #[must_use]
    pub fn short(&self) -> String {
        self.as_short().to_owned()
    }

    /// [`Self::short`] without a copy.
    #[must_use]
    pub fn as_short(&self) -> &str {
        self.full.get(self.short..).unwrap_or_default()
    }

    /// Names one of Ollama's cloud models (`:cloud`, `:tag-cloud`).
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        let tag = self.full.rsplit_once(':').map_or("", |(_, tag)| tag);
        tag == "cloud" || tag.ends_with("-cloud")
    }

    /// Shell pattern (`*`, `?`) over any of the name's forms (`qwen3:8b`, `library/qwen3:8b`,
    /// `registry.ollama.ai/library/qwen3:8b`); both wildcards also stand for `/`. A pattern
    /// without a tag means any tag; case and scheme make no difference.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        let pattern = pattern.trim();
        if pattern == "*" {
            return true;
        }
        if pattern.is_empty() || pattern.len() > MAX_TEXT {
            return false;
        }
        let mut pattern = pattern.to_ascii_lowercase();
        if let Some((_, rest)) = pattern.split_once("://") {
            pattern = rest.to_owned();
        }
        let (_, last) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
        if !last.contains(':') {
            pattern.push_str(":*");
        }
        self.forms().any(|form| glob(pattern.as_bytes(), form.as_bytes()))
    }

    /// The full form and those that leave defaults out.
    fn forms(&self) -> impl Iterator<Item = &str> {
        let middle = self.full.strip_prefix(DEFAULT_HOST).and_then(|rest| rest.strip_prefix('/'));
        [Some(self.full.as_str()), middle, Some(self.as_short())].into_iter().flatten()
    }
}

impl fmt::Display for ModelName {
    /// The full form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// Takes `:local`, `:cloud` or `-cloud` off the end, as Ollama does before it parses a name.
fn cut_source(text: &str) -> (&str, Source) {
    let Some((base, suffix)) = text.rsplit_once(':') else {
        return (text, Source::Unsaid);
    };
    let suffix = suffix.trim();
    if suffix.eq_ignore_ascii_case("local") {
        return (base, Source::Local);
    }
    if suffix.eq_ignore_ascii_case("cloud") {
        return (base, Source::Cloud);
    }
    let whole = text.trim_end();
    let cut = whole.len().saturating_sub("-cloud".len());
    let is_cloud = !suffix.contains('/') && whole.get(cut..).is_some_and(|end| end.eq_ignore_ascii_case("-cloud"));
    if is_cloud {
        return (whole.get(..cut).unwrap_or(base), Source::Cloud);
    }
    (text, Source::Unsaid)
}

/// A name's parts as written; what was not written is `None`.
struct Parts<'a> {
    host: &'a str,
    namespace: &'a str,
    model: &'a str,
    tag: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn cut(text: &'a str) -> Option<Self> {
        let (rest, tag) = match text.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (text, None),
        };
        let (rest, model) = rest.rsplit_once('/').map_or((None, rest), |(r, m)| (Some(r), m));
        let (host, namespace) = match rest {
            None => (None, None),
            Some(rest) => rest.rsplit_once('/').map_or((None, Some(rest)), |(h, n)| (Some(h), Some(n))),
        };
        let host = host.map(|host| host.split_once("://").map_or(host, |(_, host)| host));
        let parts =
            Self { host: host.unwrap_or(DEFAULT_HOST), namespace: namespace.unwrap_or(DEFAULT_NAMESPACE), model, tag };
        let valid = is_part(parts.host, MAX_HOST, b".:")
            && is_part(parts.namespace, MAX_PART, b"")
            && is_part(parts.model, MAX_PART, b".")
            && parts.tag.is_none_or(|tag| is_part(tag, MAX_PART, b"."));
        valid.then_some(parts)
    }

    fn assemble(&self, source: Source) -> ModelName {
        let tag = match (self.tag, source) {
            (None, Source::Cloud) => "cloud".to_owned(),
            (Some(tag), Source::Cloud) => format!("{tag}-cloud"),
            (tag, Source::Unsaid | Source::Local) => tag.unwrap_or(DEFAULT_TAG).to_owned(),
        };
        let full = format!("{}/{}/{}:{tag}", self.host, self.namespace, self.model);
        let short = match (self.host == DEFAULT_HOST, self.namespace == DEFAULT_NAMESPACE) {
            (true, true) => self.host.len() + self.namespace.len() + 2,
            (true, false) => self.host.len() + 1,
            (false, _) => 0,
        };
        ModelName { full, short }
    }
}

fn is_part(text: &str, longest: usize, also: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= longest
        && bytes.next().is_some_and(plain)
        && bytes.all(|byte| plain(byte) || byte == b'-' || also.contains(&byte))
}

/// `*` any run, `?` any one byte. Goes back to the last star only: at most `MAX_TEXT` squared steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else {
                    return false;
                };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_model_is_one_name() {
        for text in [
            "qwen3:8b",
            "Qwen3:8B",
            " qwen3:8b ",
            "library/qwen3:8b",
            "LIBRARY/QWEN3:8b",
            "registry.ollama.ai/library/qwen3:8b",
            "https://registry.ollama.ai/library/qwen3:8b",
            "http://Registry.Ollama.AI/library/qwen3:8b",
            "qwen3:8b:local",
            "qwen3:8b: Local",
        ] {
            assert_eq!(name(text), name("qwen3:8b"), "{text}");
            assert_eq!(name(text).short(), "qwen3:8b");
        }
        assert_eq!(name("qwen3").to_string(), "registry.ollama.ai/library/qwen3:latest");
        assert_eq!(name("qwen3:local"), name("qwen3:latest"));
        assert_eq!(name("user/m").short(), "user/m:latest");
        assert_eq!(name("hf.co/a/b:Q4_K_M").short(), "hf.co/a/b:q4_k_m");
        assert_eq!(name("host:5000/a/b").short(), "host:5000/a/b:latest");
    }

    #[test]
    fn cloud_models_are_recognised_in_each_of_ollamas_forms() {
        for text in ["kimi:cloud", "KIMI:Cloud", "gpt-oss:120b-cloud", "gpt-oss:120b:cloud", "a/b: cloud"] {
            assert!(name(text).is_cloud(), "{text}");
        }
        assert_eq!(name("gpt-oss:120b:cloud"), name("gpt-oss:120b-cloud"));
        for text in ["cloud", "cloud:latest", "a/cloud", "gpt-oss:120b-cloudy"] {
            assert!(!name(text).is_cloud(), "{text}");
        }
    }

    #[test]
    fn what_ollama_refuses_as_a_name_is_refused() {
        for text in [
            "",
            " ",
            ":",
            "a:",
            ":a",
            "/a",
            "a/",
            "a//b",
            "a/b/c/d",
            "a b",
            "ſ",
            "../x",
            "a:b:c",
            "a:cloud:local",
            "a:-cloud",
            "https://qwen3",
            "a.b/c",
            "-a",
            "a\u{0}",
            "@x",
            "a:b@c",
        ] {
            let outcome = ModelName::parse(text);
            assert!(outcome.is_err(), "{text:?} gave {outcome:?}");
        }
        assert!(ModelName::parse(&"a".repeat(MAX_PART + 1)).is_err());
        assert!(ModelName::parse(&"a".repeat(1 << 20)).is_err());
    }

    #[test]
    fn patterns_match_any_form_and_any_tag_unless_they_say_one() {
        for (text, pattern) in [
            ("qwen3:8b", "*"),
            ("qwen3:8b", "qwen3"),
            ("qwen3:8b", "QWEN3:*"),
            ("qwen3:8b", "qwen?:8b"),
            ("qwen3:8b", "library/qwen3"),
            ("qwen3:8b", "https://registry.ollama.ai/library/*"),
            ("hf.co/a/b:q4", "hf.co/*"),
            ("hf.co/a/b:q4", "*:q4"),
        ] {
            assert!(name(text).matches(pattern), "{text} {pattern}");
        }
        for (text, pattern) in [
            ("qwen3:8b", ""),
            ("qwen3:8b", "qwen"),
            ("qwen3:8b", "qwen3:4b"),
            ("user/qwen3:8b", "qwen3"),
            ("qwen3:8b", "user/*"),
        ] {
            assert!(!name(text).matches(pattern), "{text} {pattern}");
        }
    }

    proptest! {
        #[test]
        fn reducing_twice_changes_nothing(text in "[ -~]{0,24}|[a-z/:.-]{1,16}|.{0,12}") {
            if let Ok(once) = ModelName::parse(&text) {
                prop_assert_eq!(&ModelName::parse(&once.short()).unwrap(), &once);
                prop_assert_eq!(&ModelName::parse(&once.to_string()).unwrap(), &once);
                prop_assert!(once.matches(&once.short()) && once.matches(&once.to_string()));
            }
        }

        #[test]
        fn any_pattern_gives_an_answer(pattern in ".{0,32}") {
            let _ = name("a/b:c").matches(&pattern);
        }
    }
}
