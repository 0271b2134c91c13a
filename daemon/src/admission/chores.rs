//! The task that lets the ledger's time pass and does what it commands: loads, probes, unloads.
//!
//! Invariants: a load once begun is never aborted by us (Ollama would kill the runner), only at the
//! end of the process; the ledger hears of each command's end exactly once; it ends only where one
//! of them panicked, which ends the process. Absent: which model and when (`causeway-policy`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_wire::Code;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::{Chore, ChoreKind};
use crate::load::{self, Loading};
use crate::work::Work;

/// A load takes no longer: the ledger gives it up then.
const LOAD_LIMIT: Duration = Duration::from_secs(600);
/// A probe or an unload takes no longer; the ledger decides about a probe before.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs for ever.
pub(crate) async fn run(work: Arc<Work>, mut chores: mpsc::Receiver<Chore>) {
    let mut running: JoinSet<()> = JoinSet::new();
    loop {
        let next = work.admission.poll_timeout();
        let far = || Instant::now() + Duration::from_secs(3_600);
        tokio::select! {
            biased;
            chore = chores.recv() => match chore {
                Some(chore) => {
                    running.spawn(perform(Arc::clone(&work), chore));
                }
                None => return,
            },
            Some(ended) = running.join_next(), if !running.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a load, probe or unload of a model failed in this program");
                    return;
                }
            }
            () = work.admission.timer_changed() => {}
            () = sleep_until(next.unwrap_or_else(far).into()), if next.is_some() => {
                work.admission.handle_timeout(crate::now());
            }
        }
    }
}

async fn perform(work: Arc<Work>, chore: Chore) {
    let Chore { model, name, kind } = chore;
    match kind {
        ChoreKind::Preload => {
            tracing::info!(model = name, "loading a model");
            let num_ctx = work.settings.num_ctx(&name);
            let loaded = timeout(LOAD_LIMIT, load::load(&work.ollama, &name, num_ctx)).await;
            let loaded = loaded.unwrap_or_else(|_| {
                Err((Code::LocalUnavailable, format!("Ollama did not load `{name}` within 10 min")))
            });
            match &loaded {
                Ok(Loading { took }) => {
                    tracing::info!(model = name, took_ms = took.map(|took| took.as_millis()), "a model is loaded");
                }
                Err((code, message)) => {
                    tracing::warn!(model = name, code = code.as_str(), message, "a model cannot be loaded");
                }
            }
            work.admission.loaded(crate::now(), model, loaded.map(|loading| loading.took));
            // Its context length stands in /api/ps.
            work.catalog.look_again();
        }
        ChoreKind::Probe => {
            tracing::warn!(model = name, "a model was silent for long: asking it for one token");
            // One that hangs is judged by the ledger's own time.
            if timeout(LIMIT, load::probe(&work.ollama, &name, work.settings.num_ctx(&name))).await.is_ok() {
                work.admission.probed(crate::now(), model);
            }
        }
        ChoreKind::Unload => {
            tracing::warn!(model = name, "a model hangs: unloading it");
            // Told as done whatever came of it: the next load shows.
            let unloaded = timeout(LIMIT, load::unload(&work.ollama, &name)).await;
            tracing::info!(model = name, well = matches!(unloaded, Ok(Ok(()))), "the unload ended");
            work.admission.unloaded(crate::now(), model);
        }
    }
}
