//! What stands behind quickstart: the stand-in with a model for each need, a real Ollama whose small
//! model is given templates under which it calls tools and thinks, or Bedrock behind a full machine.
//!
//! Invariant: a script learns models' names and whether every word is known, and not who answers.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use causeway_standin::{Config, Fault, Model, Running, Standin};
use causeway_tests::bedrock::Call;
use causeway_tests::ollama::{Found, MODEL, Ollama};
use causeway_tests::stack::{Api, Quickstart};
use serde_json::{Value, json};

use crate::full::Full;

/// A running quickstart and what it serves.
pub(crate) struct Backend {
    /// For the names of results.
    pub(crate) name: &'static str,
    models: Value,
    behind: Behind,
}

/// What answers, dropped after the stack in front of it.
enum Behind {
    StandIn(Quickstart, #[expect(dead_code, reason = "held, so that it runs")] Running),
    Real(Quickstart, #[expect(dead_code, reason = "held, so that it runs")] Ollama),
    Bedrock { full: Arc<Full>, family: &'static Family },
}

/// Models of one family behind a full machine: their local names and what they are at Bedrock.
pub(crate) struct Family {
    name: &'static str,
    pub(crate) model: (&'static str, &'static str),
    /// One whose every answer breaks off.
    pub(crate) breaker: (&'static str, &'static str),
}

/// One that writes JSON to a schema by itself and seals its thoughts.
pub(crate) const CLAUDE: Family = Family {
    name: "overflow to Claude",
    model: ("claude:latest", "us.anthropic.claude-sonnet-4-6"),
    breaker: ("cut:latest", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
};

/// One that is made to by a tool whose arguments are the answer, and seals none.
pub(crate) const NOVA: Family = Family {
    name: "overflow to Nova",
    model: ("nova:latest", "us.amazon.nova-2-lite-v1:0"),
    breaker: ("thrown:latest", "us.amazon.nova-lite-v1:0"),
};

/// What was asked before a cell.
pub(crate) struct Mark {
    calls: usize,
    local: usize,
}

/// Cells that need the stand-in: the small model does not see, does not break on demand, and eight
/// callers would wait for minutes.
const STAND_IN_ONLY: [&str; 3] = ["images", "broken", "overload"];

/// Cells whose requests may leave the machine; the others ask for what only the machine or the relay
/// knows, or for embeddings, which never leave it, or want the slot.
pub(crate) const AWAY: [&str; 7] =
    ["chat", "stream", "tools_over_two_turns", "structured", "images", "thinking", "broken"];

/// Between two tokens of the model that all callers want at once; its answer takes 80 ms.
const GAP: Duration = Duration::from_millis(10);

/// The model repeats the two calls that it is shown.
const CALLER: &str = r#"<|im_start|>user
Weather in Rome and in Oslo?<|im_end|>
<|im_start|>assistant
<tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call>
<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call><|im_end|>
<|im_start|>user
Weather in Paris and in Kiel?<|im_end|>
<|im_start|>assistant
<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>
<tool_call>{"name": "get_weather", "arguments": {"city": "Kiel"}}</tool_call><|im_end|>
{{- if .Tools }}<|im_start|>system
{{- range .Tools }} {{ . }}{{ end }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ if .ToolCalls }}<tool_call>{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}</tool_call>
{{ end }}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"#;

/// The model repeats the thought that it is shown.
const THINKER: &str = r"<|im_start|>user
Say blue.<|im_end|>
<|im_start|>assistant
<think>One word is asked for.</think>blue<|im_end|>
<|im_start|>user
Say red.<|im_end|>
<|im_start|>assistant
<think>One word is asked for.</think>red<|im_end|>
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if .Think }}<think>{{ end }}";

impl Backend {
    /// The stand-in with one slot a model.
    pub(crate) async fn stand_in() -> anyhow::Result<Self> {
        let models = vec![
            Model::named("plain"),
            Model::named("able").able(),
            Model::named("thinker").thinking(),
            // Its tokens come before its error: what breaks at once has a status of its own.
            Model::named("breaker").paced(8, GAP, GAP).failing(Fault::ErrorAfter(3)),
            Model::named("slow").paced(8, GAP, GAP),
        ];
        let standin = Standin::spawn(Config { models, ..Config::default() }).await?;
        let models = json!({"plain": "plain:latest", "caller": "able:latest", "seer": "able:latest",
            "thinker": "thinker:latest", "breaker": "breaker:latest", "slow": "slow:latest"});
        let stack = quickstart(&standin.url()).await?;
        Ok(Self { name: "stand-in", models, behind: Behind::StandIn(stack, standin) })
    }

    /// A real Ollama with one slot.
    pub(crate) async fn real(found: &Found) -> anyhow::Result<Self> {
        let server = Ollama::start(found).await?;
        let direct = Api::new(&server.url, None);
        for (name, template) in [("caller", CALLER), ("thinker", THINKER)] {
            let parameters = json!({"num_thread": 1, "stop": ["<|im_end|>"]});
            let body =
                json!({"model": name, "from": MODEL, "template": template, "parameters": parameters, "stream": false});
            let made = direct.post("/api/create", body).await?;
            ensure!(made.status == 200, "create {name}: {} {}", made.status, made.text());
        }
        let models = json!({"plain": MODEL, "caller": "caller:latest", "thinker": "thinker:latest"});
        let stack = quickstart(&server.url).await?;
        Ok(Self { name: "real", models, behind: Behind::Real(stack, server) })
    }

    /// Bedrock's models of a family behind a full machine.
    pub(crate) fn bedrock(full: &Arc<Full>, family: &'static Family) -> Self {
        let (model, breaker) = (family.model.0, family.breaker.0);
        let models = json!({"plain": model, "caller": model, "seer": model, "thinker": model, "breaker": breaker});
        Self { name: family.name, models, behind: Behind::Bedrock { full: Arc::clone(full), family } }
    }

    /// Whether a cell makes sense here.
    pub(crate) fn can(&self, cell: &str) -> bool {
        match self.behind {
            Behind::StandIn(..) => true,
            Behind::Real(..) => !STAND_IN_ONLY.contains(&cell),
            Behind::Bedrock { .. } => AWAY.contains(&cell),
        }
    }

    /// Before a cell.
    pub(crate) fn mark(&self) -> Mark {
        match &self.behind {
            Behind::StandIn(..) | Behind::Real(..) => Mark { calls: 0, local: 0 },
            Behind::Bedrock { full, .. } => Mark { calls: full.calls().len(), local: full.local().len() },
        }
    }

    /// After a cell: fails unless it was answered by whom it should.
    pub(crate) async fn check(&self, cell: &str, before: &Mark) -> anyhow::Result<()> {
        let Behind::Bedrock { full, family } = &self.behind else { return Ok(()) };
        let breaks = cell == "broken";
        let model = if breaks { family.breaker.1 } else { family.model.1 };
        let calls: Vec<Call> =
            full.ended_calls(model).await?.into_iter().filter(|call| call.number >= before.calls).collect();
        ensure!(!calls.is_empty(), "no call of {model} arrived at Bedrock");
        let arrived = full.calls().len() - before.calls;
        ensure!(calls.len() == arrived, "{arrived} calls arrived at Bedrock, {} of {model}", calls.len());
        Full::check(&calls, breaks)?;
        let local = full.local().split_off(before.local);
        ensure!(local.is_empty(), "the full machine was asked too: {local:?}");
        Ok(())
    }

    /// Puts into a client's environment what its script reads. The key goes by no argument: those
    /// are for all to see.
    pub(crate) fn tell(&self, command: &mut Command) {
        let (stack, scripted) = match &self.behind {
            Behind::StandIn(stack, _) => (stack, true),
            Behind::Real(stack, _) => (stack, false),
            Behind::Bedrock { full, .. } => (&full.stack, true),
        };
        tell(command, &stack.ready.url, &stack.ready.api_key, &self.models, scripted);
    }
}

async fn quickstart(url: &str) -> anyhow::Result<Quickstart> {
    let binary = Path::new(env!("CARGO_BIN_EXE_causeway-run"));
    Quickstart::start(binary, &["--ollama", url, "--parallel", "1"]).await
}

/// For a script that only lists its cells.
pub(crate) fn tell_nothing(command: &mut Command) {
    tell(command, "http://127.0.0.1:9", "none", &json!({}), false);
}

pub(crate) fn tell(command: &mut Command, url: &str, key: &str, models: &Value, scripted: bool) {
    command
        .env("CAUSEWAY_URL", url)
        .env("CAUSEWAY_API_KEY", key)
        .env("CAUSEWAY_MODELS", models.to_string())
        .env("CAUSEWAY_SCRIPTED", if scripted { "1" } else { "0" });
}
