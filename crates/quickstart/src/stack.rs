//! Order of start and end: stand-in, relay, daemon; then daemon, relay, stand-in.
//!
//! Invariants: nothing is announced before a request can be answered through the relay; an end
//! asked for drains and exits 0, a second one forces; a child that ends unasked is named at once and
//! ends the rest; what the others say is printed to the end.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::child::{self, Role};
use crate::cli::Options;
use crate::http;
use crate::ollama::{self, Backend};
use crate::output::{self, Banner, complain, say};
use crate::overflow;
use crate::ports::free;
use crate::process::{Line, Process};
use crate::ready::Ready;
use crate::requests;
use crate::state::{Plan, State};

/// Longest start. Programs and link take well under a second; a busy build machine may take more.
const START: Duration = Duration::from_secs(60);

/// How often the start looks whether it is done.
const LOOK: Duration = Duration::from_millis(25);

/// The relay writes its lines after gathering them for 20 ms; they shall be here by then.
const GATHER: Duration = Duration::from_millis(100);

/// Starts tried when a port that the system chose was taken in between.
const TRIES: u32 = 3;

/// Lines of children waiting to be printed: a burst of requests, at most 1 MB.
const LINES: usize = 4_096;

/// The drain's own limit is 120 s (link.md); then it is over.
const DRAIN: Duration = Duration::from_secs(130);

/// Ctrl-C or SIGTERM.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// `work`'s result, or `None` if an end was asked for first.
    async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            done = work => Some(done),
        }
    }
}

/// Everything that runs, the daemon first: the order of the drain.
struct Stack {
    processes: Vec<Process>,
    state: State,
    lines: mpsc::Receiver<Line>,
    url: String,
    status_url: String,
    edge_url: String,
    stand_in: bool,
    models: Vec<String>,
}

/// Starts, serves and ends; the exit code says how it ended.
pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut ends = Ends::new()?;
    let Some(backend) = ends.unless(backend(options)).await else { return Ok(ExitCode::SUCCESS) };
    let backend = backend?;
    let mut tried = 0;
    let stack = loop {
        tried += 1;
        match ends.unless(start(options, &backend)).await {
            None => return Ok(ExitCode::SUCCESS),
            Some(Ok(stack)) => break stack,
            Some(Err(error)) => {
                let raced = format!("{error:#}").to_lowercase().contains("in use");
                if tried >= TRIES || !raced {
                    return Err(error);
                }
            }
        }
    };
    announce(options, &stack)?;
    let code = serve(stack, &mut ends).await;
    if let Some(path) = &options.ready_file {
        // Someone else removed it: just as well.
        let _ = std::fs::remove_file(path);
    }
    code
}

async fn backend(options: &Options) -> anyhow::Result<Backend> {
    // Before anything that takes time, and before Ollama is looked for.
    free(options.port, "--port")?;
    free(options.status_port, "--status-port")?;
    let backend = ollama::choose(options).await?;
    if let Backend::Ollama(url) = &backend {
        ollama::wait_for_model(url).await?;
    }
    Ok(backend)
}

async fn start(options: &Options, backend: &Backend) -> anyhow::Result<Stack> {
    let (sender, lines) = mpsc::channel(LINES);
    let mut processes = Vec::new();
    let ollama = match backend {
        Backend::Ollama(url) => url.clone(),
        Backend::StandIn => {
            let port = free(0, "--port")?;
            let args = [OsString::from(port.to_string()), OsString::from(options.parallel.to_string())];
            processes.push(Process::start(Role::StandIn, &args, &[], &sender)?);
            format!("http://127.0.0.1:{port}")
        }
    };
    let plan = Plan {
        callers: free(options.port, "--port")?,
        status: free(options.status_port, "--status-port")?,
        edges: free(options.edge_port.unwrap_or(0), "--edge-port")?,
        through: options.edge_through,
        ollama: ollama.clone(),
        parallel: options.parallel,
        overflow: overflow::config(options),
    };
    let state = State::create(&plan).await?;
    let home = [(child::STATE, state.directory().as_os_str())];
    let config = |file: &OsStr, verb: &str| [OsString::from(verb), "--config".into(), file.to_owned()];
    let relay = Process::start(Role::Relay, &config(state.relay_config().as_os_str(), "serve"), &home, &sender)?;
    processes.insert(0, relay);
    let url = format!("http://127.0.0.1:{}", plan.callers);
    until_listening(&url, &mut processes).await?;
    let environment: Vec<_> = home.into_iter().chain(overflow::credentials(options)).collect();
    let run = config(state.daemon_config().as_os_str(), "run");
    let daemon = Process::start(Role::Daemon, &run, &environment, &sender)?;
    processes.insert(0, daemon);
    let mut stack = Stack {
        processes,
        lines,
        url,
        status_url: format!("http://127.0.0.1:{}", plan.status),
        edge_url: format!("wss://127.0.0.1:{}/edge", plan.edges),
        stand_in: matches!(backend, Backend::StandIn),
        models: Vec::new(),
        state,
    };
    stack.until_ready().await?;
    Ok(stack)
}

impl Stack {
    /// Ready is what a caller sees: the relay says so and lists a model.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let (url, key) = (self.url.clone(), self.state.api_key().to_owned());
            tokio::select! {
                models = answers(&url, &key) => {
                    if let Some(models) = models {
                        self.models = models;
                        // The lines of our own looking are nobody's requests.
                        tokio::time::sleep(GATHER).await;
                        while self.lines.try_recv().is_ok() {}
                        return Ok(());
                    }
                }
                ended = first_end(&mut self.processes) => return Err(died(&mut self.processes, ended).await),
            }
            if Instant::now() > deadline {
                let words = self.last_words().await;
                bail!("not ready after {} s; last lines:{words}", START.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn last_words(&mut self) -> String {
        for process in &mut self.processes {
            process.kill().await;
        }
        let mut all = String::new();
        for process in &mut self.processes {
            all.push_str(&process.last_words().await);
        }
        all
    }

    fn pid(&self, role: Role) -> u32 {
        self.processes.iter().find(|process| process.role == role).map_or(0, |process| process.pid)
    }
}

/// One after the other, the daemon first: it finishes its answers while the relay still carries
/// them, and the stand-in while the daemon still reads them.
async fn drain(processes: &mut [Process]) {
    for process in processes {
        process.terminate();
        if tokio::time::timeout(DRAIN, process.ended()).await.is_err() {
            process.kill().await;
        }
    }
}

/// Waits for the relay before the daemon dials it: a refused dial would be a warning on the screen.
async fn until_listening(url: &str, processes: &mut [Process]) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        tokio::select! {
            answer = http::get(url, "/healthz", None) => if answer.is_ok() { return Ok(()) },
            ended = first_end(processes) => return Err(died(processes, ended).await),
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the relay does not listen after {} s", START.as_secs())
}

async fn died(processes: &mut [Process], at: usize) -> anyhow::Error {
    let Some(process) = processes.get_mut(at) else { return anyhow::anyhow!("a program ended") };
    let status = process.ended().await.map_or_else(|error| error.to_string(), |status| status.to_string());
    let words = process.last_words().await;
    anyhow::anyhow!("the {} ended unasked ({status}):{words}", process.role.name())
}

/// The index of a child that has ended.
async fn first_end(processes: &mut [Process]) -> usize {
    let mut pending: Vec<_> = processes.iter_mut().map(|process| Box::pin(process.ended())).collect();
    std::future::poll_fn(|context| {
        for (at, ended) in pending.iter_mut().enumerate() {
            if ended.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(at);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

async fn answers(url: &str, key: &str) -> Option<Vec<String>> {
    let ready = http::get(url, "/readyz", Some(key)).await.ok()?;
    if ready.status != 200 {
        return None;
    }
    let models = ollama::models(url, Some(key)).await.ok()?;
    (!models.is_empty()).then_some(models)
}

fn announce(options: &Options, stack: &Stack) -> anyhow::Result<()> {
    let model = ollama::for_chat(&stack.models).context("no model")?;
    output::banner(&Banner {
        url: &stack.url,
        api_key: stack.state.api_key(),
        status_url: &stack.status_url,
        model,
        backend: if stack.stand_in { "the stand-in's, its answers are invented" } else { "of your Ollama" },
    });
    overflow::announce(options);
    let Some(path) = &options.ready_file else { return Ok(()) };
    let ready = Ready {
        url: stack.url.clone(),
        api_key: stack.state.api_key().to_owned(),
        status_url: stack.status_url.clone(),
        edge_url: stack.edge_url.clone(),
        state_dir: stack.state.directory().to_owned(),
        pid: std::process::id(),
        relay_pid: stack.pid(Role::Relay),
        daemon_pid: stack.pid(Role::Daemon),
        stand_in: stack.stand_in,
    };
    ready.write(path)
}

async fn serve(mut stack: Stack, ends: &mut Ends) -> anyhow::Result<ExitCode> {
    let died = loop {
        tokio::select! {
            biased;
            () = ends.next() => break false,
            Some((role, from, line)) = stack.lines.recv() => requests::print(role, from, &line),
            ended = first_end(&mut stack.processes) => {
                let error = died(&mut stack.processes, ended).await;
                complain(&format!("quickstart: {error:#}"));
                break true;
            }
        }
    };
    say(match died {
        false => "\nDraining; Ctrl-C again ends at once.",
        true => "\nDraining what still runs; Ctrl-C ends at once.",
    });
    let forced = wind_down(&mut stack, ends).await;
    say(if forced { "Ended at once." } else { "Ended." });
    Ok(if forced || died { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Drains and prints what is said meanwhile; whether a further Ctrl-C cut it short.
async fn wind_down(stack: &mut Stack, ends: &mut Ends) -> bool {
    let forced = {
        let mut drained = pin!(drain(&mut stack.processes));
        loop {
            tokio::select! {
                biased;
                () = ends.next() => break true,
                Some((role, from, line)) = stack.lines.recv() => requests::print(role, from, &line),
                () = drained.as_mut() => break false,
            }
        }
    };
    if forced {
        for process in &mut stack.processes {
            process.kill().await;
        }
    }
    // What was said last may still be on its way through a pipe.
    for process in &mut stack.processes {
        let _ = process.last_words().await;
    }
    while let Ok((role, from, line)) = stack.lines.try_recv() {
        requests::print(role, from, &line);
    }
    forced
}
