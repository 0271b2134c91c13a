//! Conversations that change sides: the slot is held before one turn and free before the next, so that
//! the local model and Bedrock's answer them in turn, each with what the other said before.
//!
//! Invariants: the records say where each turn went; no thought reaches Bedrock without the seal under
//! which Bedrock gave it, and no seal reaches the local model.

use std::process::Command;

use anyhow::{Context, bail, ensure};
use causeway_tests::bedrock::{Call, Emulator};
use serde_json::{Value, json};

use crate::full::Full;
use crate::script::Script;
use crate::words;

/// The script.
pub(crate) const SCRIPT: &str = "hop.py";

/// Local turns of the script, count.
const LOCAL_TURNS: usize = 4;
/// Its turns that go to Bedrock, count.
const AWAY_TURNS: usize = 5;

/// One conversation.
#[derive(Clone, Copy)]
pub(crate) struct Hopper {
    /// The script's function.
    pub(crate) cell: &'static str,
    /// The model, here and at Bedrock: for each a family with other rules for thoughts.
    model: (&'static str, &'static str),
    /// Its dialect carries the seals of thoughts.
    sealed: bool,
}

pub(crate) const HOPPERS: [Hopper; 4] = [
    Hopper { cell: "ollama_python", model: ("nova:latest", "us.amazon.nova-2-lite-v1:0"), sealed: false },
    Hopper { cell: "openai_python", model: ("sonnet:latest", "us.anthropic.claude-sonnet-4-6"), sealed: false },
    // It has a budget to think with, and refuses a turn that goes on without its thought.
    Hopper {
        cell: "anthropic_python",
        model: ("haiku:latest", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        sealed: true,
    },
    Hopper { cell: "langchain_openai", model: ("opus:latest", "us.anthropic.claude-opus-4-6-v1"), sealed: false },
];

/// A machine with a model for each.
pub(crate) async fn machine() -> anyhow::Result<Full> {
    let bedrock = Emulator::start().await;
    bedrock.decide(words::answer);
    Full::open(&HOPPERS.map(|hopper| hopper.model), bedrock).await
}

/// Puts into the script's environment what it reads.
pub(crate) fn tell(full: &Full, command: &mut Command) {
    let models: serde_json::Map<String, Value> =
        HOPPERS.iter().map(|hopper| (hopper.cell.to_owned(), json!(hopper.model.0))).collect();
    crate::backend::tell(command, &full.stack.ready.url, &full.stack.ready.api_key, &models.into(), true);
}

/// One whole conversation, and what the two records say of it.
pub(crate) async fn conversation(full: &Full, command: Command, hopper: Hopper) -> anyhow::Result<()> {
    let mut script = Script::start(command)?;
    script.say(hopper.cell).await?;
    let (mut crowd, mut turn) = (None, None);
    loop {
        let line = script.line().await.with_context(|| script.errors())?;
        if let Some((side, before)) = turn.take() {
            went(full, hopper, side, before).await.with_context(|| format!("after a turn, it said {line}"))?;
        }
        let side = match line.as_str() {
            "turn local" => Side::Local,
            "turn bedrock" => Side::Bedrock,
            _ => {
                script.reported(hopper.cell, line).await?;
                break;
            }
        };
        match (side, crowd.take()) {
            (Side::Local, Some(held)) => full.release(held).await?,
            (Side::Local, None) => {}
            (Side::Bedrock, Some(held)) => crowd = Some(held),
            (Side::Bedrock, None) => crowd = Some(full.hold(hopper.model.0).await?),
        }
        turn = Some((side, counts(full, hopper)));
        script.say("go").await?;
    }
    let (local, away) = (turns(full, hopper), away(full, hopper));
    let counts = (local.len(), away.len());
    ensure!(counts == (LOCAL_TURNS, AWAY_TURNS), "{} local turns, {} at Bedrock", counts.0, counts.1);
    thoughts_at_bedrock(&away, hopper)?;
    let sealed = local.iter().find(|body| body.to_string().contains("sealed"));
    ensure!(sealed.is_none(), "a seal of Bedrock's reached the local model: {sealed:?}");
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Local,
    Bedrock,
}

/// Fails unless one request more is recorded on this side, and none on the other.
async fn went(full: &Full, hopper: Hopper, side: Side, before: (usize, usize)) -> anyhow::Result<()> {
    Full::check(&full.ended_calls(hopper.model.1).await?, false)?;
    let (local, away) = counts(full, hopper);
    let due = match side {
        Side::Local => (before.0 + 1, before.1),
        Side::Bedrock => (before.0, before.1 + 1),
    };
    ensure!((local, away) == due, "{side:?} was due: {before:?} before, {:?} after", (local, away));
    Ok(())
}

fn counts(full: &Full, hopper: Hopper) -> (usize, usize) {
    (local(full, hopper).len(), away(full, hopper).len())
}

fn local(full: &Full, hopper: Hopper) -> Vec<Value> {
    full.local().into_iter().filter(|body| body["model"] == hopper.model.0).collect()
}

/// The conversation's own turns: nothing else here is told to think.
fn turns(full: &Full, hopper: Hopper) -> Vec<Value> {
    local(full, hopper).into_iter().filter(|body| body["think"] == true || body["think"].is_string()).collect()
}

fn away(full: &Full, hopper: Hopper) -> Vec<Call> {
    full.calls().into_iter().filter(|call| call.model == hopper.model.1).collect()
}

/// Whoever thinks on hears all it thought before, sealed as it was, where the dialect carries that; and
/// never anything else.
fn thoughts_at_bedrock(calls: &[Call], hopper: Hopper) -> anyhow::Result<()> {
    let mut given = Vec::new();
    for call in calls {
        let thinks = words::effort(&call.body).is_some();
        let due: &[String] = if thinks && hopper.sealed { &given } else { &[] };
        let heard = seals(&call.body)?;
        ensure!(heard == due, "call {} heard thoughts under {heard:?} instead of {due:?}: {}", call.number, call.body);
        given.extend(words::seal(call).filter(|_| thinks));
    }
    // Of the call that is answered at Bedrock too, of the thought, of the call that is answered here.
    let least = if hopper.sealed { 4 } else { 0 };
    ensure!(given.len() >= least, "{} thoughts were sealed", given.len());
    Ok(())
}

/// The seals of a request's thoughts, in order.
fn seals(body: &Value) -> anyhow::Result<Vec<String>> {
    let messages = body["messages"].as_array().context("no messages")?;
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let mut seals = Vec::new();
    for thought in blocks.filter_map(|block| block.get("reasoningContent")) {
        match thought["reasoningText"]["signature"].as_str() {
            Some(seal) => seals.push(seal.to_owned()),
            None => bail!("a thought without a seal: {thought}"),
        }
    }
    Ok(seals)
}
