//! What stands behind quickstart: the stand-in with a model for each need, or a real Ollama whose
//! small model is given templates under which it calls tools and thinks.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use causeway_standin::{Config, Fault, Model, Running, Standin};
use causeway_tests::ollama::{Found, MODEL, Ollama};
use causeway_tests::stack::{Api, Quickstart};
use serde_json::{Value, json};

/// A running quickstart and what it serves.
pub(crate) struct Backend {
    /// For the names of results.
    pub(crate) name: &'static str,
    stack: Quickstart,
    models: Value,
    scripted: bool,
    _ollama: Behind,
}

/// Dropped after the stack in front of it.
#[expect(dead_code, reason = "held, so that it runs")]
enum Behind {
    StandIn(Running),
    Real(Ollama),
}

/// Cells that need the stand-in: the small model does not see, does not break on demand, and eight
/// callers would wait for minutes.
const STAND_IN_ONLY: [&str; 3] = ["images", "broken", "overload"];

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
        Ok(Self { name: "stand-in", stack, models, scripted: true, _ollama: Behind::StandIn(standin) })
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
        Ok(Self { name: "real", stack, models, scripted: false, _ollama: Behind::Real(server) })
    }

    /// Whether a cell makes sense here.
    pub(crate) fn can(&self, cell: &str) -> bool {
        self.scripted || !STAND_IN_ONLY.contains(&cell)
    }

    /// Puts into a client's environment what its script reads. The key goes by no argument: those
    /// are for all to see.
    pub(crate) fn tell(&self, command: &mut Command) {
        tell(command, &self.stack.ready.url, &self.stack.ready.api_key, &self.models, self.scripted);
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

fn tell(command: &mut Command, url: &str, key: &str, models: &Value, scripted: bool) {
    command
        .env("CAUSEWAY_URL", url)
        .env("CAUSEWAY_API_KEY", key)
        .env("CAUSEWAY_MODELS", models.to_string())
        .env("CAUSEWAY_SCRIPTED", if scripted { "1" } else { "0" });
}
