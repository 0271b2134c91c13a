//! The composition root: builds everything, owns every task, ends the process.
//!
//! Invariants: no other file spawns a task, but for `cli.rs`, which runs this as one,
//! `admission/chores.rs`, whose tasks end with it, the budget's writing thread, and the reading of large bodies. A request's panic resets its stream and is counted;
//! any other task's end ends the process with an error. Shutdown: refuse new requests, say so,
//! finish what runs within the grace time, let the link deliver, close. A second signal forces.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use causeway_overflow::Overflow;
use causeway_policy::ModelSettings;
use causeway_transport::{EdgeLink, EdgeLinkConfig, Incoming};
use causeway_wire::{Code, EdgeConfig, Failure, InstanceId, ModelInfo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::admission::{Chore, Row, chores};
use crate::catalog::{self, Catalog};
use crate::config::Config;
use crate::identity::{self, Identity};
use crate::metrics::Metrics;
use crate::notify;
use crate::observe::Observer;
use crate::ollama::Ollama;
use crate::ready::{self, ReadyFile};
use crate::request;
use crate::routes::Routes;
use crate::signals::{Signal, Signals};
use crate::status::{self, Certificate, View};
use crate::work::Work;

/// Streams taken at once, count: each holds one connection to Ollama, and Ollama queues no more
/// than 512 itself.
const MAX_STREAMS: u32 = 256;

/// How long what runs may go on after the first signal.
const DRAIN: Duration = Duration::from_secs(120);

/// How long the link may take to deliver the last frames once all requests have ended.
const DELIVERY: Duration = Duration::from_secs(5);
/// How long a forced end still gives the link to say that requests were cut.
const PARTING: Duration = Duration::from_millis(500);
/// How often it is looked whether all has been acknowledged.
const DELIVERY_LOOK: Duration = Duration::from_millis(10);

/// Load changes are gathered this long; the link itself sends them only when they matter.
const LOAD_GATHER: Duration = Duration::from_millis(50);

/// Upkeep of metrics and the service manager's status line.
const UPKEEP: Duration = Duration::from_secs(5);

/// The file of the day's budget.
const LEDGER: &str = "budget.sqlite";

/// What `run` was told on the command line.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Written once the status port is bound.
    pub(crate) ready_file: Option<PathBuf>,
}

/// How the process ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Everything that ran was finished, or the grace time was over.
    Drained,
    /// A second signal cut it short.
    Forced,
}

/// Runs until a signal; an error is a task that ended although it should not.
pub(crate) async fn run(config: Config, identity: Identity, options: Options) -> anyhow::Result<Ended> {
    let listener = listen(&config).await?;
    let mut signals = Signals::new()?;
    let mut config = config;
    let (overflow, fault) = match open_overflow(&config, &identity.edge).await {
        Ok(overflow) => (overflow, None),
        // This machine's own models are served all the same.
        Err(error) => {
            let fault = format!("nothing overflows: {error:#}");
            tracing::error!(fault, "overflow");
            config.overflow = None;
            (None, Some(fault))
        }
    };
    let (mut app, tasks) = App::build(config, identity, (overflow, fault))?;
    app.start(tasks, listener, options.ready_file)?;
    notify::ready();
    app.serve(&mut signals).await?;
    app.drain(&mut signals).await
}

/// The long tasks, not yet spawned.
struct Tasks {
    link: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    incoming: mpsc::Receiver<Incoming>,
    chores: mpsc::Receiver<Chore>,
    /// Keeps Bedrock's credentials fresh.
    credentials: Option<Fresh>,
}

/// See [`Tasks::credentials`].
type Fresh = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

struct App {
    config: Config,
    link: EdgeLink,
    tls: Arc<ArcSwap<rustls::ClientConfig>>,
    work: Arc<Work>,
    view: Arc<View>,
    catalog: Catalog,
    incoming: mpsc::Receiver<Incoming>,
    /// What was last logged of a certificate that does not hold.
    unfit: Option<&'static str>,
    /// Tasks that must not end; each gives its name.
    core: JoinSet<&'static str>,
    requests: JoinSet<()>,
}

impl App {
    fn build(
        config: Config,
        identity: Identity,
        (overflow, overflow_fault): (Option<(Arc<Overflow>, Fresh)>, Option<String>),
    ) -> anyhow::Result<(Self, Tasks)> {
        let tls = Arc::new(ArcSwap::new(Arc::clone(&identity.tls)));
        let routes = Routes::new(config.privacy.clone(), config.overflow.clone());
        let wire = EdgeConfig {
            edge: identity.edge.clone(),
            instance: InstanceId::new(rand::random()),
            software: concat!("causewayd/", env!("CARGO_PKG_VERSION")).to_owned(),
            connections: config.relay.connections,
            max_streams: MAX_STREAMS,
            ceiling: routes.general(),
        };
        let link_config = EdgeLinkConfig { wire, url: config.relay.url.clone(), tls: Arc::clone(&tls) };
        let (link, driver, incoming) = EdgeLink::new(link_config);
        let catalog = Catalog::default();
        let observer = Observer::new(Metrics::new()?);
        let ollama = Ollama::new(&config.ollama.url)?;
        let settings = (config.ollama.clone(), config.admission.clone());
        let (overflow, credentials) = overflow.unzip();
        let (work, chores) = Work::new(ollama, settings, (routes, overflow), catalog.clone(), observer);
        let watched = link.clone();
        let view = Arc::new(View {
            work: Arc::clone(&work),
            link: Box::new(move || watched.status()),
            relay: config.relay.url.to_string(),
            edge: identity.edge,
            certificate: ArcSwap::from_pointee(Certificate { life: identity.life, reload_fault: None }),
            overflow_fault,
            started: SystemTime::now(),
            draining: AtomicBool::new(false),
        });
        let (core, requests) = (JoinSet::new(), JoinSet::new());
        let (_nobody, closed) = mpsc::channel(1);
        let app = Self { config, link, tls, work, view, catalog, incoming: closed, unfit: None, core, requests };
        Ok((app, Tasks { link: Box::pin(driver), incoming, chores, credentials }))
    }

    /// Spawns every task that lives as long as the process.
    fn start(&mut self, tasks: Tasks, listener: TcpListener, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(relay = %self.view.relay, edge = %self.view.edge, ollama = %self.config.ollama.url,
            status = %address, version = env!("CARGO_PKG_VERSION"), "causewayd starts");
        self.incoming = tasks.incoming;
        let driver = tasks.link;
        self.spawn("link", driver);
        let view = Arc::clone(&self.view);
        self.spawn("status port", async move {
            if let Err(error) = status::serve(listener, view).await {
                tracing::error!(%error, "the status port failed");
            }
        });
        self.spawn("admission", chores::run(Arc::clone(&self.work), tasks.chores));
        let listener = CatalogListener { link: self.link.clone(), work: Arc::clone(&self.work) };
        let poll = catalog::poll(
            self.work.ollama.clone(),
            self.config.ollama.clone(),
            self.work.routes.clone(),
            self.catalog.clone(),
            listener,
        );
        self.spawn("catalog", poll);
        self.spawn("load", report_load(Arc::clone(&self.work), self.link.clone()));
        if let (Some(overflow), Some(fresh)) = (self.work.overflow.clone(), tasks.credentials) {
            self.spawn("credentials", fresh);
            self.spawn("budget", async move { overflow.ended().await });
        }
        if let Some(path) = ready_file {
            ready::write(&path, &ReadyFile::new(address))?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.core.spawn(async move {
            task.await;
            name
        });
    }

    /// Until the first signal to stop.
    async fn serve(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let mut upkeep = interval(notify::watchdog_period().map_or(UPKEEP, |period| period.min(UPKEEP)));
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload(),
                    Signal::Stop => return Ok(()),
                },
                Some(ended) = self.core.join_next() => return Err(unexpected(ended)),
                Some(ended) = self.requests.join_next(), if !self.requests.is_empty() => self.request_ended(&ended),
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => self.take(incoming),
                    None => return Err(anyhow!("the link gives no more requests")),
                },
                _ = upkeep.tick() => self.upkeep(),
            }
        }
    }

    fn take(&mut self, incoming: Incoming) {
        let Incoming { open, mut stream } = incoming;
        let id = stream.id().to_string();
        // The link holds those that run to the same number; slots being released are tasks besides.
        if self.requests.len() >= 2 * MAX_STREAMS as usize {
            let failure = Failure::new(Code::Saturated, "this edge runs as many requests as it can: try again");
            request::refuse(&self.work, &open, id, failure.retryable(), &mut stream);
            return;
        }
        self.requests.spawn(request::run(Arc::clone(&self.work), open, id, stream));
    }

    fn request_ended(&self, ended: &Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "a request's task panicked; its stream was failed");
            self.work.observer.panicked();
        }
    }

    fn upkeep(&mut self) {
        self.work.observer.metrics.upkeep();
        notify::watchdog();
        let unfit = self.view.certificate.load().life.fault(SystemTime::now());
        if let Some(fault) = unfit.filter(|_| unfit != self.unfit) {
            tracing::error!(fault, "the certificate cannot be used");
        }
        self.unfit = unfit;
        let link = (self.view.link)();
        notify::status(&format!(
            "{} connections to the relay, {} requests in flight",
            link.connections,
            self.requests.len()
        ));
    }

    /// SIGHUP: certificates again, and a dial at once. A bad new file keeps the old one.
    fn reload(&self) {
        let (directory, ca_file) = (&self.config.identity.directory, self.config.relay.ca_file.as_deref());
        let loaded = identity::load(directory, ca_file).and_then(|identity| match &identity.edge {
            edge if *edge == self.view.edge => Ok(identity),
            edge => Err(anyhow!("the new certificate is another edge's ({edge}): restart to become that edge")),
        });
        match loaded {
            Ok(identity) => {
                self.tls.store(identity.tls);
                self.view.certificate.store(Arc::new(Certificate { life: identity.life, reload_fault: None }));
                self.link.rotate();
                tracing::info!("certificates reloaded");
            }
            Err(error) => {
                let fault = format!("reload refused, the old certificate stays in use: {error:#}");
                tracing::error!(fault, "reload");
                let life = self.view.certificate.load().life;
                self.view.certificate.store(Arc::new(Certificate { life, reload_fault: Some(fault) }));
            }
        }
        self.link.reconnect_now();
    }

    /// Refuse new, finish what runs, deliver, close.
    async fn drain(mut self, signals: &mut Signals) -> anyhow::Result<Ended> {
        notify::stopping();
        self.view.draining.store(true, Ordering::Relaxed);
        self.link.drain();
        tracing::info!(in_flight = self.requests.len(), "draining; a second signal ends at once");
        let end = Instant::now() + DRAIN;
        let mut ended = Ended::Drained;
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Reload => {}
                    Signal::Stop => {
                        ended = Ended::Forced;
                        break;
                    }
                },
                // What was opened before the relay heard of the drain still runs, so it is taken
                // before an empty set of requests ends the drain.
                Some(incoming) = self.incoming.recv() => self.take(incoming),
                done = self.requests.join_next() => match done {
                    Some(done) => self.request_ended(&done),
                    None => break,
                },
                () = sleep_until(end) => {
                    tracing::warn!(cut = self.requests.len(), "the grace time is over");
                    break;
                }
            }
        }
        // Each cut request fails its stream and is accounted as its task is dropped.
        self.requests.shutdown().await;
        while let Ok(Incoming { open, mut stream }) = self.incoming.try_recv() {
            let id = stream.id().to_string();
            request::refuse(&self.work, &open, id, request::cut(), &mut stream);
        }
        if ended == Ended::Drained {
            tokio::select! {
                biased;
                () = stopped(signals) => ended = Ended::Forced,
                () = self.deliver(end) => {}
            }
        }
        self.link.shutdown();
        if let Some(overflow) = &self.work.overflow {
            overflow.close().await;
        }
        let patience = if ended == Ended::Drained { DELIVERY } else { PARTING };
        let closed =
            timeout(patience, async { while !matches!(self.core.join_next().await, Some(Ok("link")) | None) {} });
        if closed.await.is_err() {
            tracing::warn!("the link did not close in time");
        }
        tracing::info!(?ended, "causewayd ends");
        Ok(ended)
    }

    /// Waits until the relay has acknowledged every last frame: an answer that Ollama has ended may
    /// still wait for a caller who reads slowly. Without a connection for [`DELIVERY`] it gives up.
    async fn deliver(&self, end: Instant) {
        let mut look = interval(DELIVERY_LOOK);
        let mut linked = Instant::now();
        while self.link.undelivered() > 0 {
            let now = look.tick().await;
            if self.link.status().connections > 0 {
                linked = now;
            }
            if now >= end || now >= linked + DELIVERY {
                tracing::warn!(answers = self.link.undelivered(), "the relay did not acknowledge all answers in time");
                return;
            }
        }
    }
}

/// A signal to stop.
async fn stopped(signals: &mut Signals) {
    while signals.next().await != Signal::Stop {}
}

/// The ledger lies beside the identity's directory: both are this edge's, and only this service writes there.
async fn open_overflow(config: &Config, edge: &str) -> anyhow::Result<Option<(Arc<Overflow>, Fresh)>> {
    let Some(settings) = &config.overflow else { return Ok(None) };
    let directory = config.identity.directory.parent().unwrap_or(&config.identity.directory);
    let (overflow, fresh) = Overflow::open(settings, &directory.join(LEDGER), edge).await?;
    let models = settings.mappings.iter().map(|mapping| mapping.local.as_str()).collect::<Vec<_>>().join(", ");
    tracing::info!(region = settings.region, models, "overflow to Bedrock is on");
    Ok(Some((overflow, Box::pin(fresh) as Fresh)))
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.status_listen;
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "the status port {address} cannot be had: set status.listen (CAUSEWAY__STATUS__LISTEN) to a free \
             port, or stop what uses this one"
        )
    })
}

/// Who wants to know what Ollama has: the link and the ledger.
struct CatalogListener {
    link: EdgeLink,
    work: Arc<Work>,
}

impl catalog::Listener for CatalogListener {
    fn changed(&mut self, models: Vec<ModelInfo>) {
        self.link.set_catalog(models);
    }

    fn resident(&mut self, asked: std::time::Instant, rows: &[catalog::Row<'_>]) {
        let own = &self.work.settings;
        let rows = rows.iter().map(|(name, local, context)| {
            let settings = ModelSettings { parallel: own.slots(name), forced_one: local.is_forced_to_one() };
            Row { name, settings, context: *context, wanted: own.num_ctx(name) }
        });
        self.work.admission.resident(crate::now(), asked, rows);
    }
}

/// Tells the link of the load whenever it changed.
async fn report_load(work: Arc<Work>, link: EdgeLink) {
    loop {
        work.admission.load_changed.notified().await;
        link.set_load(work.admission.load(crate::now()));
        tokio::time::sleep(LOAD_GATHER).await;
    }
}

fn unexpected(ended: Result<&'static str, JoinError>) -> anyhow::Error {
    match ended {
        Ok(name) => anyhow!("the {name} task ended although it should not"),
        Err(error) => anyhow!("a task of the daemon failed: {error}"),
    }
}
