//! Unmodified Python clients against quickstart: `ollama`, `openai`, `langchain-ollama`,
//! `langchain-openai`, pinned in `tests/interop/requirements.txt`.
//!
//! Runs where `CAUSEWAY_PYTHON` names a Python that has them, in front of the real Ollama where
//! there is one and of the stand-in where not; says which, and says when it does not run.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::ensure;
use causeway_tests::ollama::{self, MODEL, Ollama};
use causeway_tests::runner::{Runner, say, skipped};
use causeway_tests::stack::Quickstart;

/// One script a client; each takes the base URL, the key and a model.
const CLIENTS: [&str; 4] = ["ollama", "openai", "langchain_ollama", "langchain_openai"];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Some(python) = std::env::var_os("CAUSEWAY_PYTHON") else {
        return Ok(skipped("interop", "set CAUSEWAY_PYTHON to a Python with tests/interop/requirements.txt"));
    };
    let server = match ollama::find() {
        Ok(found) => Some(Ollama::start(&found).await?),
        // Where the real thing is asked for, the stand-in is no answer.
        Err(why) if std::env::var_os("CAUSEWAY_REQUIRE_LIVE").is_some() => return Ok(skipped("interop", &why)),
        Err(why) => {
            say(&format!("interop: in front of the stand-in ({why})"));
            None
        }
    };
    let binary = Path::new(env!("CARGO_BIN_EXE_causeway-run"));
    let stack = match &server {
        Some(server) => Quickstart::start(binary, &["--ollama", &server.url, "--parallel", "1"]).await?,
        None => Quickstart::start(binary, &["--stand-in"]).await?,
    };
    let model = match &server {
        Some(_) => MODEL.to_owned(),
        None => {
            let tags = stack.api().get("/api/tags").await?.json();
            tags["models"][0]["name"].as_str().unwrap_or_default().to_owned()
        }
    };
    let mut runner = Runner::default();
    for client in CLIENTS {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(format!("client_{client}.py"));
        let mut command = Command::new(&python);
        command
            .arg(script)
            .args([&stack.ready.url, &model])
            // The key goes by the environment: no secret stands in argv.
            .env("CAUSEWAY_API_KEY", &stack.ready.api_key)
            .env("NO_PROXY", "127.0.0.1");
        runner
            .run(client, async move {
                let output = tokio::task::spawn_blocking(move || command.output()).await??;
                ensure!(
                    output.status.success(),
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
                Ok(())
            })
            .await;
    }
    drop(stack);
    drop(server);
    Ok(runner.finish())
}
