//! Unmodified clients against quickstart, cell by cell of the table in `docs/interop.md`, which is
//! checked against what their scripts offer.
//!
//! In front of the stand-in, whose every word is known, of an emulated Bedrock behind a full machine,
//! and, where there is one, of a real Ollama with a small model. Python clients run where `CAUSEWAY_PYTHON` names a Python that has
//! `requirements.txt`, Node clients where `CAUSEWAY_NODE_MODULES` is the folder that `npm ci` filled
//! from `package-lock.json`. What does not run says so.

mod backend;
mod full;
mod hop;
mod script;
mod table;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context, ensure};
use causeway_tests::bedrock::{Emulator, ErrorName};
use causeway_tests::ollama;
use causeway_tests::runner::{Runner, say, skipped};
use futures_util::future::{join_all, try_join_all};

use crate::backend::{Backend, CLAUDE, NOVA};
use crate::full::Full;
use crate::script::Script;

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
        offers.push((client.name, machine.offers(client.script)?));
    }
    let hops = machine.offers(hop::SCRIPT)?;
    runner
        .run("docs/interop.md says what the clients are tested for", {
            let offers = offers.clone();
            async move { table::agrees(&offers, &hops) }
        })
        .await;
    let stand_in = Backend::stand_in().await?;
    every_cell(&mut runner, &machine, &clients, &offers, &stand_in).await?;
    drop(stand_in);
    overflow(&mut runner, &machine, &clients, &offers).await?;
    hop(&mut runner, &machine).await?;
    if let Some(found) = found {
        let real = Backend::real(&found).await?;
        every_cell(&mut runner, &machine, &clients, &offers, &real).await?;
    }
    Ok(runner.finish())
}

/// Every cell that may leave the machine, while each of its slots is held.
async fn overflow(
    runner: &mut Runner,
    machine: &Machine,
    clients: &[&Client],
    offers: &[(&str, Vec<String>)],
) -> anyhow::Result<()> {
    let bedrock = Emulator::start().await;
    bedrock.decide(|call| match &call.model {
        // In the midst of an answer, each in another way.
        model if model == CLAUDE.breaker.1 => words::answer(call).truncate_after(4),
        model if model == NOVA.breaker.1 => words::answer(call).throw_after(4, ErrorName::ModelStreamError),
        _ => words::answer(call),
    });
    let models = [CLAUDE.model, CLAUDE.breaker, NOVA.model, NOVA.breaker];
    let full = Arc::new(Full::open(&models, bedrock).await?);
    let _crowds = try_join_all(models.iter().map(|(local, _)| full.hold(local))).await?;
    for family in [&CLAUDE, &NOVA] {
        every_cell(runner, machine, clients, offers, &Backend::bedrock(&full, family)).await?;
    }
    let name = "every call of these left because its wait was predicted to be too long";
    runner.run(name, async move { full.check_verdicts().await }).await;
    Ok(())
}

/// Conversations that change sides, all at once: each has a model and so a slot of its own.
async fn hop(runner: &mut Runner, machine: &Machine) -> anyhow::Result<()> {
    let full = hop::machine().await?;
    let conversations = hop::HOPPERS.map(|hopper| {
        let mut command = machine.command(hop::SCRIPT);
        hop::tell(&full, &mut command);
        hop::conversation(&full, command, hopper)
    });
    for (hopper, outcome) in hop::HOPPERS.iter().zip(join_all(conversations).await) {
        let name = format!("{} goes on with what the other side said", hopper.cell.replace('_', "-"));
        runner.run(&name, async { outcome }).await;
    }
    runner.run("and left only while its slot was held", async move { full.check_verdicts().await }).await;
    Ok(())
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
        let mut command = machine.command(client.script);
        backend.tell(&mut command);
        let mut script = Script::start(command)?;
        for cell in cells.iter().filter(|cell| backend.can(cell)) {
            let before = backend.mark();
            let outcome = match script.run(cell).await {
                Ok(()) => backend.check(cell, &before).await,
                Err(why) => Err(why),
            };
            runner.run(&format!("{} {cell} {}", client.name, backend.name), async { outcome }).await;
        }
    }
    Ok(())
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

    fn command(&self, script: &str) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
        let mut command = if script.ends_with(".py") {
            let mut python = Command::new(&self.python);
            // Compiled scripts would lie in the checkout.
            python.env("PYTHONDONTWRITEBYTECODE", "1");
            python
        } else {
            Command::new("node")
        };
        command.arg(path).env("NO_PROXY", "127.0.0.1");
        if let Some(modules) = &self.modules {
            command.env("NODE_PATH", modules);
        }
        command
    }

    /// The cells of a script.
    fn offers(&self, script: &str) -> anyhow::Result<Vec<String>> {
        let mut command = self.command(script);
        command.arg("list");
        backend::tell_nothing(&mut command);
        let output = command.output().with_context(|| format!("cannot run {script}"))?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}
