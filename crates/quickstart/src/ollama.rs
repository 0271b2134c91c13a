//! Which Ollama: the one named, the one on the default port, or the stand-in.
//!
//! Invariants: an Ollama named by a flag that does not answer is an error, never replaced; the
//! stand-in never serves without a line that says so.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::cli::Options;
use crate::http;
use crate::output::say;

/// How often a server without models is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Small, and enough to see that it works.
const SUGGESTED: &str = "ollama pull smollm2:135m";

/// What answers the requests.
pub(crate) enum Backend {
    /// A server at this address.
    Ollama(String),
    /// Our own, to be started.
    StandIn,
}

/// Decides once, before anything is started.
pub(crate) async fn choose(options: &Options) -> anyhow::Result<Backend> {
    if options.stand_in {
        say("Using the built-in stand-in as asked: its answers are invented, no model runs.");
        return Ok(Backend::StandIn);
    }
    if let Some(url) = &options.ollama {
        let version = version(url).await.with_context(|| format!("--ollama {url} does not answer as an Ollama"))?;
        say(&format!("Using the Ollama {version} at {url}."));
        return Ok(Backend::Ollama(url.trim_end_matches('/').to_owned()));
    }
    let usual = options.usual_ollama.as_str();
    let authority = http::authority(usual)?;
    let silent = tokio::net::TcpStream::connect(&authority).await.is_err();
    if silent {
        say(&format!("No Ollama answers at {usual}: the built-in stand-in serves instead, its answers are invented."));
        return Ok(Backend::StandIn);
    }
    match version(usual).await {
        Ok(version) => {
            say(&format!("Using the Ollama {version} at {usual}."));
            Ok(Backend::Ollama(usual.to_owned()))
        }
        Err(error) => bail!(
            "{usual} is taken by something that is not an Ollama ({error:#}); \
             name yours with --ollama URL, or try the built-in one with --stand-in"
        ),
    }
}

async fn version(url: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let answer = http::get(url, "/api/version", None).await?;
    if answer.status != 200 {
        bail!("/api/version answered {}", answer.status);
    }
    let version: Version = serde_json::from_slice(&answer.body).context("/api/version is not Ollama's")?;
    Ok(version.version)
}

/// The names in `/api/tags` of an Ollama or of our relay, cloud models left out.
pub(crate) async fn models(base: &str, key: Option<&str>) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Tags {
        models: Vec<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        name: String,
    }
    let answer = http::get(base, "/api/tags", key).await?;
    if answer.status != 200 {
        bail!("/api/tags answered {}", answer.status);
    }
    let tags: Tags = serde_json::from_slice(&answer.body).context("/api/tags is not Ollama's")?;
    let names = tags.models.into_iter().map(|tag| tag.name);
    Ok(names.filter(|name| !name.ends_with(":cloud") && !name.ends_with("-cloud")).collect())
}

/// Waits until the server has a model, saying once what to run.
pub(crate) async fn wait_for_model(url: &str) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        if !models(url, None).await?.is_empty() {
            return Ok(());
        }
        if !told {
            say(&format!(
                "That Ollama has no model yet. In another terminal run:\n\n  {SUGGESTED}\n\nWaiting for it …"
            ));
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The model for the commands to paste: the first that is not for embeddings only, by its name.
pub(crate) fn for_chat(models: &[String]) -> Option<&String> {
    let chat = |name: &&String| !["embed", "bge-", "minilm"].iter().any(|part| name.contains(part));
    models.iter().find(chat).or_else(|| models.first())
}
