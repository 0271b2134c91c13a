//! A crowd of callers on one slot, as a table that lives: who waits where, what was promised, what
//! came of it.
//!
//! Invariants: places and promises are the daemon's own (its status port), times the callers'.
//! Absent: measuring; `admission` does that.

mod screen;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use causeway_standin::{Config, Model, Standin};
use causeway_tests::bedrock::{Emulator, Script};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::caller::{Caller, occupancy};
use crate::causeway::{Causeway, Program, address};
use crate::client::Target;
use crate::output::progress;
use screen::Screen;

/// How often the table is drawn anew.
const REFRESH: Duration = Duration::from_millis(200);

/// The model of our own stand-in: answers of about two seconds, of differing lengths.
const MODEL: &str = "standin:latest";
const TOKENS: u32 = 40;
const GAP: Duration = Duration::from_millis(50);
const VARIETY: f64 = 0.4;

/// With overflow: what the callers' first tokens may take, and what Bedrock's does.
const HURRY: Duration = Duration::from_millis(1_000);
const BEDROCK: Duration = Duration::from_millis(300);
/// Where the model goes, and for how much.
const MAPPED: &str = "standin=openai.gpt-oss-20b-1:0,0.07,0.30";

/// Answers that one caller of our own stack gets first: before them nothing can be promised.
const TAUGHT: usize = 3;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) callers: usize,
    /// Answers that each caller wants.
    pub(crate) answers: usize,
    /// Of our own stack: callers have a deadline, and Bedrock, emulated, answers who would miss it.
    pub(crate) overflow: bool,
    /// An endpoint with its key and its daemon's status port; none: quickstart and a stand-in of our own.
    pub(crate) running: Option<Running>,
    /// Lines even where a table could be drawn.
    pub(crate) plain: bool,
}

/// A stack that runs already.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) status_url: String,
    pub(crate) model: String,
}

/// Where one caller stands.
#[derive(Clone, Default)]
pub(crate) struct Seat {
    /// Its present request, counted from 1.
    number: usize,
    /// The caller's own id of it, and Causeway's once that is known.
    own_id: String,
    id: Option<String>,
    sent: Option<Instant>,
    live: Option<Live>,
    /// First tokens so far.
    told: Vec<Told>,
    done: bool,
}

/// What one answer turned out to be.
#[derive(Clone, Default)]
pub(crate) struct Told {
    id: String,
    /// From the question to the first token.
    real: Duration,
    /// The promise for it and the time in the queue, once the record is read.
    promised: Option<Duration>,
    queued: Duration,
    /// Who answered, why it was not this machine, and for how much.
    served_by: String,
    reason: Option<String>,
    usd: Option<f64>,
}

/// A request in the status port's snapshot.
#[derive(Clone, PartialEq, Deserialize)]
struct Live {
    id: String,
    state: String,
    place: Option<u32>,
    waited_ms: u64,
    promised_ms: Option<u64>,
    expected_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    promised_ms: Option<f64>,
    queued_ms: f64,
    served_by: Option<String>,
    reason: Option<String>,
    usd: Option<f64>,
}

type Seats = Arc<Mutex<Vec<Seat>>>;

fn lock(seats: &Seats) -> MutexGuard<'_, Vec<Seat>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows the crowd until each caller has its answers, then what was promised and what came.
pub(crate) async fn run(asked: Asked) -> anyhow::Result<()> {
    let (mut standin, mut causeway, mut bedrock) = (None, None, None);
    let (target, status, model) = match &asked.running {
        Some(Running { url, key, status_url, model }) => (
            Target { addr: address(url)?, key: Some(key.clone()) },
            Target { addr: address(status_url)?, key: None },
            model.clone(),
        ),
        None => {
            let model = Model::named(MODEL).paced(TOKENS, GAP, GAP).varied(VARIETY);
            let standin = standin
                .insert(Standin::spawn(Config { models: vec![model], log_runs: true, ..Config::default() }).await?);
            let mut flags = Vec::new();
            if asked.overflow {
                let emulator = bedrock.insert(Emulator::start().await);
                emulator.default_script(Script::tokens(TOKENS as usize).first_token_after(BEDROCK).token_every(GAP));
                flags = ["--bedrock-endpoint", &emulator.url(), "--bedrock-model", MAPPED, "--daily-usd", "5"]
                    .map(str::to_owned)
                    .to_vec();
            }
            let causeway = causeway.insert(Causeway::start_as(Program::Own, 1, standin.addr(), &flags).await?);
            progress(&format!("{TAUGHT} answers first, for the daemon to learn from"));
            let mut teacher = Caller::new(&causeway.target, MODEL, "x-causeway-route: local-only\r\n").await?;
            for _ in 0..TAUGHT {
                teacher.ask().await?;
            }
            (causeway.target.clone(), causeway.status.clone(), MODEL.to_owned())
        }
    };
    let seats: Seats = Arc::new(Mutex::new(vec![Seat::default(); asked.callers]));
    let mut tasks = JoinSet::new();
    for place in 0..asked.callers {
        let (seats, target, model, answers) = (Arc::clone(&seats), target.clone(), model.clone(), asked.answers);
        let checked = asked.running.is_none() && !asked.overflow;
        let hurry = asked.overflow.then_some(HURRY);
        tasks.spawn(async move { sit(&seats, place, &target, &model, (answers, hurry), checked).await });
    }
    let begun = Instant::now();
    let mut screen = Screen::new(asked.plain);
    while !tasks.is_empty() {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??,
            () = tokio::time::sleep(REFRESH) => look(&seats, &target, &status).await?,
        }
        screen.draw(&lock(&seats));
    }
    records(&seats, &status).await?;
    screen.summary(&lock(&seats));
    if asked.overflow {
        let runs = standin.as_ref().map(|standin| standin.runs()).unwrap_or_default();
        screen.places(&lock(&seats), HURRY, occupancy(&runs, begun, Instant::now()));
    }
    Ok(())
}

/// One caller: one answer after the other.
async fn sit(
    seats: &Seats,
    place: usize,
    target: &Target,
    model: &str,
    (answers, hurry): (usize, Option<Duration>),
    checked: bool,
) -> anyhow::Result<()> {
    let deadline =
        hurry.map_or_else(String::new, |hurry| format!("x-causeway-first-token-ms: {}\r\n", hurry.as_millis()));

    for number in 1..=answers {
        // Ours alone, also beside other crowds at the same endpoint.
        let own_id = format!("crowd-{}-{place}-{number}", std::process::id());
        let mut caller = Caller::new(target, model, &format!("x-request-id: {own_id}\r\n{deadline}")).await?;
        if !checked {
            caller.trust();
        }
        if let Some(seat) = lock(seats).get_mut(place) {
            (seat.number, seat.own_id, seat.id, seat.live) = (number, own_id, None, None);
            seat.sent = Some(Instant::now());
        }
        let asked = caller.ask().await?;
        ensure!(asked.status == 200, "caller {} was refused with {}", place + 1, asked.status);
        let first = asked.first.context("an answer without a token")?;
        if let Some(seat) = lock(seats).get_mut(place) {
            let promised = seat.live.take().and_then(|live| live.promised_ms).map(Duration::from_millis);
            let id = asked.id.unwrap_or_default();
            seat.told.push(Told { id, real: first - asked.sent, promised, ..Told::default() });
            seat.sent = None;
            seat.done = number == answers;
        }
    }
    Ok(())
}

/// Reads the daemon's snapshot, and Causeway's id of each request that has none here yet.
async fn look(seats: &Seats, target: &Target, status: &Target) -> anyhow::Result<()> {
    let nameless: Vec<String> = {
        let seats = lock(seats);
        let nameless = seats.iter().filter(|seat| seat.sent.is_some() && seat.id.is_none());
        nameless.map(|seat| seat.own_id.clone()).collect()
    };
    for own_id in nameless {
        // Not there yet, or ended already.
        let Ok(found) = target.json(&format!("/causeway/v1/requests/{own_id}")).await else { continue };
        if let Some(seat) = lock(seats).iter_mut().find(|seat| seat.own_id == own_id) {
            seat.id = found["id"].as_str().map(str::to_owned);
        }
    }
    let live: Vec<Live> = serde_json::from_value(status.json("/api/status").await?["live"].take())?;
    let mut live: HashMap<String, Live> = live.into_iter().map(|live| (live.id.clone(), live)).collect();
    for seat in lock(seats).iter_mut().filter(|seat| seat.sent.is_some()) {
        seat.live = seat.id.as_ref().and_then(|id| live.remove(id));
    }
    Ok(())
}

/// What the daemon's records say of promises and waits.
async fn records(seats: &Seats, status: &Target) -> anyhow::Result<()> {
    let records: Vec<Record> = serde_json::from_value(status.json("/api/requests").await?)?;
    let records: HashMap<&str, &Record> = records.iter().map(|record| (record.id.as_str(), record)).collect();
    for told in lock(seats).iter_mut().flat_map(|seat| &mut seat.told) {
        if let Some(record) = records.get(told.id.as_str()) {
            told.promised = record.promised_ms.map(|ms| Duration::from_secs_f64(ms / 1e3));
            told.queued = Duration::from_secs_f64(record.queued_ms / 1e3);
            told.served_by = record.served_by.clone().unwrap_or_default();
            (told.reason, told.usd) = (record.reason.clone(), record.usd);
        }
    }
    Ok(())
}
