//! Unmodified clients against quickstart, cell by cell of the table in `docs/interop.md`, which is
//! checked against what their scripts offer.
//!
//! In front of the stand-in, whose every word is known, and, where there is one, of a real Ollama
//! with a small model. Python clients run where `CAUSEWAY_PYTHON` names a Python that has
//! `requirements.txt`, Node clients where `CAUSEWAY_NODE_MODULES` is the folder that `npm ci` filled
//! from `package-lock.json`. What does not run says so.

mod backend;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow, bail, ensure};
use causeway_tests::ollama;
use causeway_tests::runner::{Runner, say, skipped};

use crate::backend::Backend;

/// A client's name in the table, and its script.
struct Client {
    name: &'static str,
    script: &'static str,
}

const CLIENTS: [Client; 8] = [
    Client { name: "ollama-python", script: "client_ollama.py" },
    Client { name: "ollama-js", script: "client_ollama.cjs" },
    Client { name: "openai-python", script: "client_openai.py" },
    Client { name: "openai-node", script: "client_openai.cjs" },
    Client { name: "anthropic-python", script: "client_anthropic.py" },
    Client { name: "langchain-ollama", script: "client_langchain_ollama.py" },
    Client { name: "langchain-openai", script: "client_langchain_openai.py" },
    Client { name: "llama-index", script: "client_llama_index.py" },
];

/// Interpreters and packages of this machine.
#[derive(Clone)]
struct Machine {
    python: OsString,
    /// Where the Node packages are; none where Node clients are left out.
    modules: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Some(machine) = Machine::found() else {
        return Ok(skipped("interop", "set CAUSEWAY_PYTHON to a Python with tests/interop/requirements.txt"));
    };
    let required = std::env::var_os("CAUSEWAY_REQUIRE_LIVE").is_some();
    if machine.modules.is_none() {
        let why = "set CAUSEWAY_NODE_MODULES to the node_modules of tests/interop/package-lock.json";
        if required {
            return Ok(skipped("interop", why));
        }
        say(&format!("SKIPPED interop with Node: {why}"));
    }
    let found = match ollama::find() {
        Ok(found) => Some(found),
        Err(why) if required => return Ok(skipped("interop", &why)),
        Err(why) => {
            say(&format!("SKIPPED interop with a real Ollama: {why}"));
            None
        }
    };
    let clients: Vec<&Client> = CLIENTS.iter().filter(|client| machine.runs(client)).collect();
    let mut runner = Runner::default();
    let mut offers = Vec::new();
    for client in &clients {
        offers.push((client.name, machine.offers(client)?));
    }
    runner
        .run("docs/interop.md says what the clients are tested for", {
            let offers = offers.clone();
            async move { table::agrees(&offers) }
        })
        .await;
    let stand_in = Backend::stand_in().await?;
    every_cell(&mut runner, &machine, &clients, &offers, &stand_in).await?;
    drop(stand_in);
    if let Some(found) = found {
        let real = Backend::real(&found).await?;
        every_cell(&mut runner, &machine, &clients, &offers, &real).await?;
    }
    Ok(runner.finish())
}

/// One process a client, one result a cell.
async fn every_cell(
    runner: &mut Runner,
    machine: &Machine,
    clients: &[&Client],
    offers: &[(&str, Vec<String>)],
    backend: &Backend,
) -> anyhow::Result<()> {
    for (client, (_, cells)) in clients.iter().zip(offers) {
        let cells: Vec<String> = cells.iter().filter(|cell| backend.can(cell)).cloned().collect();
        let mut command = machine.command(client);
        command.args(&cells);
        backend.tell(&mut command);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for cell in cells {
            let outcome = outcome(&said, &cell).map_err(|why| anyhow!("{why}\n{errors}"));
            runner.run(&format!("{} {cell} {}", client.name, backend.name), async { outcome }).await;
        }
    }
    Ok(())
}

/// What a script said of one cell.
fn outcome(said: &str, cell: &str) -> anyhow::Result<()> {
    let mut reports = said.split("cell ").filter_map(|report| report.strip_prefix(cell));
    match reports.next().map(str::trim_start) {
        Some(report) if report.starts_with("ok") => Ok(()),
        Some(report) => bail!("{report}"),
        None => bail!("the script ended before it:\n{said}"),
    }
}

impl Machine {
    fn found() -> Option<Self> {
        let python = std::env::var_os("CAUSEWAY_PYTHON")?;
        let modules = std::env::var_os("CAUSEWAY_NODE_MODULES").map(PathBuf::from).filter(|folder| folder.is_dir());
        Some(Self { python, modules })
    }

    fn runs(&self, client: &Client) -> bool {
        client.script.ends_with(".py") || self.modules.is_some()
    }

    fn command(&self, client: &Client) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(client.script);
        let mut command = if client.script.ends_with(".py") {
            let mut python = Command::new(&self.python);
            // Compiled scripts would lie in the checkout.
            python.env("PYTHONDONTWRITEBYTECODE", "1");
            python
        } else {
            Command::new("node")
        };
        command.arg(script).env("NO_PROXY", "127.0.0.1");
        if let Some(modules) = &self.modules {
            command.env("NODE_PATH", modules);
        }
        command
    }

    /// The cells of a client's script.
    fn offers(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        let mut command = self.command(client);
        backend::tell_nothing(&mut command);
        let output = command.output().with_context(|| format!("cannot run {}", client.script))?;
        ensure!(output.status.success(), "{}: {}", client.script, String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}
