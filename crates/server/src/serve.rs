//! `hmsops serve`: puts the tower together and keeps it running until it is told to stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmsops_act::heal::HealDriver;
use hmsops_act::process::ProcessDriver;
use hmsops_config::TowerConfig;
use hmsops_config::tower::HealMode;
use hmsops_control::Event;
use hmsops_control::event::HealModes;
use hmsops_disk::{Disk, RealDisk, Spill, SpillThread};
use hmsops_ledger::{FileLedger, FileSideLog, Ledger as _, LedgerReader};
use hmsops_model::Now;
use hmsops_tower::Tower;
use tokio::sync::{broadcast, mpsc, watch};

use crate::clock::Clock;
use crate::collect::{GatewayTraffic, Metrics, Scraper, listener, own};
use crate::hands::{
    self, Queues, gateway::GatewaySite, healer::HealSite, postman::Channels, spill::LocalSpill,
};
use crate::ports::{Bound, Reach};
use crate::query::Queries;
use crate::settings::Settings;
use crate::tls::{Port, TransportError};
use crate::{Engine, door, engine, evaluate, front, public, repo, secret};

/// Room for a hundred retreats, each some kilobytes.
const SPILL_BYTES: usize = 1 << 20;

/// Messages that may wait for a gateway; a reconciliation sends what found no place.
const ORDERS_MAX: usize = 1024;

/// Requests under way get so long when the tower is told to stop, which leaves it two of its ten seconds to end.
const DRAIN: Duration = Duration::from_secs(8);

/// What `hmsops serve` was told.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// `hmsops.yaml`, if any.
    pub config: Option<PathBuf>,
    /// The data folder; made when missing.
    pub data: PathBuf,
    /// Where the tower listens; 127.0.0.1:3000 by default.
    pub listen: Option<SocketAddr>,
    /// Where metrics come in, over gRPC and plain HTTP; 127.0.0.1:4317 by default.
    pub grpc_listen: Option<SocketAddr>,
    /// Folders that are watched for declarations.
    pub repo: Vec<PathBuf>,
    /// Whether everyone on this machine has all rights.
    pub no_auth: bool,
    /// Our own binary, to start gateways and shims with.
    pub exe: PathBuf,
}

/// Why the tower could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file with mistakes; the text is for people, several lines.
    #[error("{0}")]
    Config(String),
    /// An address that can't be used.
    #[error("{message}")]
    Listen {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The data folder can't be used.
    #[error("cannot use the data folder `{0}`: {1}")]
    Data(PathBuf, String),
    /// Listeners beyond loopback cannot be protected.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What is in the ledger does not become state.
    #[error(transparent)]
    Tower(#[from] hmsops_tower::TowerError),
    /// The machine refuses something basic.
    #[error("cannot {0}: {1}")]
    Machine(&'static str, std::io::Error),
}

impl ServeError {
    /// The likely remedy.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Listen { hint, .. } => Some(hint),
            _ => None,
        }
    }
}

/// Runs the tower until SIGTERM or SIGINT. Gateways, shims and services go on; a tower started later on the same
/// data folder finds them.
pub async fn run(options: ServeOptions) -> Result<(), ServeError> {
    let config = read_config(options.config.as_deref())?;
    let bound = Bound::take(&options).await?;
    let data = absolute(&options.data)?;
    let parts = open(&data, &config)?;
    let settings = Settings::new(options.config.as_deref(), &config);
    let spoken = (config.plain.as_deref(), settings.certificates());
    let mut ports = bound.secure((&data, parts.disk.clone()), spoken, parts.clock)?;
    let started = parts.start(&config, &settings, &data, &ports.reach, &options)?;
    let (engine, clock) = (started, parts.clock);
    let transport = ports.transport();
    ports.keep(&engine, clock);
    secret::check_private(&data.join(door::TOKEN_FILE))
        .map_err(|error| ServeError::Data(data.clone(), error.to_string()))?;
    let auth = door::Auth::open(parts.disk.clone(), options.no_auth)
        .map_err(|error| ServeError::Data(data.clone(), error.to_string()))?;
    let auth = Arc::new(auth);
    let reception = Arc::new(reception(&config, options.config.as_deref(), parts.disk.clone(), &data)?);
    tokio::spawn(door::people::keep(engine.clone(), auth.clone(), reception.clone(), clock));
    tokio::spawn(door::receipts::keep(auth.clone(), engine.clone(), clock));
    let counted = auth.clone();
    let (reload, reloads) = mpsc::channel(1);
    let repos = repos(&config, &options, data.as_path());
    let (scrapes, to_scrape) = watch::channel(repo::Scrapes::new());
    let gateways = Arc::new(settings.all());
    let (recordings, to_record) = watch::channel(evaluate::record::Recordings::new());
    let (trouble, troubles) = watch::channel(repo::Troubles::new());
    let declared = (scrapes, recordings, trouble);
    tokio::spawn(repo::watch(engine.clone(), repos, declared, gateways.clone(), reloads));
    tokio::spawn(public::keep(engine.clone(), clock, parts.disk.clone()));
    greet(&ports.reach, &data, &auth, clock);
    let secrets = scrape_secrets(&config, options.config.as_deref(), &data);
    let scraper = parts.collect(&engine, &auth, ports.collector, secrets);
    tokio::spawn(scraper.clone().follow(to_scrape));
    let recorder = parts.evaluate(&engine, &config);
    tokio::spawn(recorder.clone().follow(engine.clone(), to_record));
    let context = door::Context {
        engine: engine.clone(),
        auth,
        reception: reception.clone(),
        ledger: parts.reader.clone(),
        recall: crate::recall::Recall::new(data.clone(), parts.reader.clone()),
        data: data.clone(),
        settings: options.config.clone(),
        clock,
        metrics: parts.metrics.clone(),
        scraper,
        recorder,
        title: config.status_title.clone(),
        queries: Queries::new(Arc::new(parts.metrics.store().clone())),
        families: parts.metrics.families().clone(),
        notify: Arc::new(config.notify.clone()),
        gateways,
        transport,
        troubles,
    };
    let router = door::router(context);
    serve_http(ports.web, router, (reload, settings), &engine, (&reception, counted.clone())).await?;
    door::receipts::write(&counted, &engine, clock).await;
    engine.stop().await;
    tracing::info!("tower: stopped; gateways and services go on");
    Ok(())
}

/// What is opened of the data folder.
struct Parts {
    disk: Arc<dyn Disk>,
    clock: Clock,
    reader: LedgerReader,
    tower: std::sync::Mutex<Option<Tower>>,
    metrics: Metrics,
    traffic: GatewayTraffic,
}

fn open(data: &Path, config: &TowerConfig) -> Result<Parts, ServeError> {
    let unusable = |error: String| ServeError::Data(data.to_owned(), error);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data).map_err(|error| unusable(error.chain()))?);
    let (ledger, recovered) =
        FileLedger::open(disk.clone(), "ledger", "tower").map_err(|error| unusable(error.chain()))?;
    for warning in &recovered.warnings {
        tracing::warn!("ledger: {warning}");
    }
    let reader = ledger.reader();
    let newest = reader.size().checked_sub(1).and_then(|seq| reader.get(seq).ok().flatten());
    let clock = Clock::after(newest.map(|entry| Now { wall: entry.at, steady: entry.steady }));
    let spill =
        Spill::open(&disk, door::folder::SPILL, SPILL_BYTES).map_err(|error| unusable(error.chain()))?;
    let spill = SpillThread::start(spill).map_err(|error| ServeError::Machine("start a thread", error))?;
    let side = FileSideLog::open(disk.clone(), "evidence").map_err(|error| unusable(error.chain()))?;
    let size = ledger.size();
    let tower = Tower::recover(Box::new(ledger), &recovered, Box::new(LocalSpill(spill)), Box::new(side))?;
    if size > 0 {
        let known = tower.state().services.len();
        tracing::info!("tower: recovered {known} services from {size} ledger entries");
    }
    let metrics = Metrics::open(disk.clone(), config, clock).map_err(|error| unusable(error.chain()))?;
    let (tower, traffic) = (std::sync::Mutex::new(Some(tower)), metrics.traffic().clone());
    Ok(Parts { disk, clock, reader, tower, metrics, traffic })
}

impl Parts {
    /// Starts everything by which metrics come in.
    fn collect(
        &self,
        engine: &Engine,
        auth: &Arc<door::Auth>,
        collector: Port,
        scrape_secrets: PathBuf,
    ) -> Scraper {
        tokio::spawn(self.metrics.clone().keep());
        tokio::spawn(listener::run(collector, self.metrics.clone(), auth.clone(), engine.clone()));
        tokio::spawn(own::keep(self.metrics.clone(), engine.clone(), self.traffic.clone()));
        Scraper::start(self.metrics.clone(), engine.clone(), scrape_secrets)
    }

    /// Starts what evaluates rules.
    fn evaluate(&self, engine: &Engine, config: &TowerConfig) -> evaluate::record::Recorder {
        let offset = config.metrics.rule_query_offset;
        let series = Arc::new(self.metrics.store().clone());
        tokio::spawn(evaluate::run(engine.clone(), self.clock, series, offset));
        tokio::spawn(evaluate::alerts::run(self.metrics.clone(), engine.clone(), self.clock));
        let millis = |span: hmsops_model::Millis| i64::try_from(span.0).unwrap_or(i64::MAX / 4);
        let setting = evaluate::record::RecordSetting {
            interval: millis(hmsops_config::INTERVAL_DEFAULT),
            query_offset: millis(offset),
            backfill: millis(config.metrics.rule_backfill),
        };
        evaluate::record::Recorder::new(self.metrics.clone(), self.clock, setting)
    }

    /// Starts the tower's thread and its hands.
    fn start(
        &self,
        config: &TowerConfig,
        settings: &Settings,
        data: &Path,
        reach: &Reach,
        options: &ServeOptions,
    ) -> Result<Engine, ServeError> {
        let tower = self.tower.lock().ok().and_then(|mut tower| tower.take());
        let mut tower = tower.expect("taken once, right after it was opened");
        let (process, effects) = mpsc::channel(ORDERS_MAX);
        let (heals, to_heal) = mpsc::channel(ORDERS_MAX);
        let (notices, to_tell) = mpsc::channel(ORDERS_MAX);
        let mut queues = BTreeMap::new();
        let mut sites = Vec::new();
        for (name, gateway) in &config.gateways {
            let (orders, waiting) = mpsc::channel(ORDERS_MAX);
            queues.insert(name.clone(), orders);
            let socket = data.join(format!("gateway-{name}.sock"));
            let (dir, exe) = (data.to_owned(), options.exe.clone());
            let settings = settings.of(name).expect("they are made of the same gateways");
            sites.push((
                GatewaySite {
                    name: name.clone(),
                    listen: gateway.listen,
                    socket,
                    dir,
                    exe,
                    traffic: self.traffic.clone(),
                    settings,
                },
                waiting,
            ));
        }
        let (acks, mut kept) = mpsc::channel(64);
        let mut hands = Queues { gateways: queues, process, heals, notices };
        let modes = HealModes {
            rollback: config.heal.rollback == HealMode::Auto,
            restart: config.heal.restart == HealMode::Auto,
        };
        // First of all: nothing heals before it is known what may.
        let _begun = tower.handle(self.clock.now(), &Event::HealModes(modes), &mut hands);
        let freezes = Event::Freezes(config.freeze.clone());
        let _known = tower.handle(self.clock.now(), &freezes, &mut hands);
        let four_eyes = Event::FourEyes(config.people.four_eyes.clone());
        let _known = tower.handle(self.clock.now(), &four_eyes, &mut hands);
        let watchers = Event::Watchers(config.people.notify.clone());
        let _known = tower.handle(self.clock.now(), &watchers, &mut hands);
        let engine = engine::start(tower, self.clock, hands, acks)
            .map_err(|error| ServeError::Machine("start the tower's thread", error))?;
        let (spread, _) = broadcast::channel(64);
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| {
            ServeError::Machine("draw a random number", std::io::Error::other(error.to_string()))
        })?;
        let tower_run = u64::from_le_bytes(random) >> 11;
        for (site, orders) in sites {
            let acks = spread.subscribe();
            tokio::spawn(hands::gateway::run(engine.clone(), self.clock, site, orders, acks, tower_run));
        }
        tokio::spawn(async move {
            while let Some(acks) = kept.recv().await {
                let _nobody = spread.send(acks);
            }
        });
        let driver = Arc::new(ProcessDriver::new(data.join("run"), options.exe.clone()));
        tokio::spawn(hands::process::run(engine.clone(), driver, effects, hands::process::told(reach)));
        let healer = Arc::new(HealDriver::new(data.join("heal"), options.exe.clone()));
        let (exe, data) = (options.exe.clone(), data.to_owned());
        let site = HealSite { exe, data, server: reach.server.clone(), ca: reach.ca.clone() };
        tokio::spawn(hands::healer::run(engine.clone(), healer, site, to_heal));
        let base = options.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        let channels = Channels::open(&config.notify, base).map_err(ServeError::Config)?;
        tokio::spawn(hands::postman::run(engine.clone(), self.clock, channels, to_tell));
        tokio::spawn(hands::prober::run(engine.clone()));
        Ok(engine)
    }
}

pub(crate) fn read_config(file: Option<&Path>) -> Result<TowerConfig, ServeError> {
    let Some(file) = file else { return Ok(TowerConfig::default()) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| ServeError::Config(format!("cannot read `{name}`: {error}")))?;
    let checked = hmsops_config::parse_tower(&text);
    for diagnostic in &checked.diagnostics {
        tracing::warn!("{name}:{}:{}: {}", diagnostic.line, diagnostic.column, diagnostic.message);
    }
    if checked.value.as_ref().is_some_and(|config| config.observe_only) {
        let message = format!("`{name}`: observe_only is not built yet, and ignoring it would be dangerous");
        return Err(ServeError::Config(message));
    }
    checked.value.ok_or_else(|| {
        let lines: Vec<String> =
            checked.diagnostics.iter().map(|found| hmsops_config::render::one(&name, found, false)).collect();
        ServeError::Config(lines.join("\n"))
    })
}

/// How people log in.
fn reception(
    config: &TowerConfig,
    file: Option<&Path>,
    disk: Arc<dyn Disk>,
    data: &Path,
) -> Result<door::Reception, ServeError> {
    let base = file.and_then(Path::parent).unwrap_or(Path::new("."));
    let oidc = match &config.people.oidc {
        Some(oidc) => {
            let secret = oidc.client_secret.as_ref().map(|from| hands::postman::secret(from, base));
            let secret = secret.transpose().map_err(ServeError::Config)?;
            let ca = oidc.ca.as_ref().map(|ca| base.join(ca));
            let made = door::Oidc::new(oidc.clone(), secret, ca.as_deref());
            Some(made.map_err(ServeError::Config)?)
        }
        None => None,
    };
    door::Reception::open(disk, oidc, config.people.roles.clone())
        .map_err(|error| ServeError::Data(data.to_owned(), error.to_string()))
}

fn absolute(data: &Path) -> Result<PathBuf, ServeError> {
    std::path::absolute(data).map_err(|error| ServeError::Data(data.to_owned(), error.to_string()))
}

/// Folders to watch: those of the command line, then those of the settings (relative to their file).
/// The folder of the secrets that scrape files may name.
fn scrape_secrets(config: &TowerConfig, file: Option<&Path>, data: &Path) -> PathBuf {
    match &config.metrics.scrape_secrets {
        Some(folder) => file.and_then(Path::parent).unwrap_or(Path::new(".")).join(folder),
        None => data.join("scrape-secrets"),
    }
}

fn repos(config: &TowerConfig, options: &ServeOptions, here: &Path) -> Vec<PathBuf> {
    let base = options.config.as_deref().and_then(Path::parent).unwrap_or(here);
    let dirs = config.repos.iter().filter_map(|repo| match &repo.source {
        hmsops_config::tower::RepoSource::Dir(dir) => Some(base.join(dir)),
        hmsops_config::tower::RepoSource::Url { .. } => None,
    });
    options.repo.iter().cloned().chain(dirs).collect()
}

fn greet(reach: &Reach, data: &Path, auth: &door::Auth, clock: Clock) {
    let (page, link) = (reach.page(), auth.login_link(clock.now()));
    eprintln!("hmsops tower   {page}/");
    eprintln!("log in once    {page}{link}");
    eprintln!("admin token    {}", data.join("admin.token").display());
    eprintln!("status page    {page}/status");
    eprintln!("metrics in     {}", reach.endpoint);
    if let Some(pin) = &reach.pin {
        eprintln!("recognised by  {pin}");
    }
}

async fn serve_http(
    port: Port,
    router: axum::Router,
    (reload, settings): (mpsc::Sender<()>, Settings),
    engine: &Engine,
    (reception, auth): (&door::Reception, Arc<door::Auth>),
) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).map_err(|error| ServeError::Machine("wait for signals", error));
    let (mut term, mut int, mut hup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut server = tokio::spawn(front::run(port, router, auth, stopping));
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                tracing::info!("tower: reading the declarations again");
                let _already = reload.try_send(());
                if let Some(config) = settings.read_again() {
                    let _known = engine.submit(Event::Freezes(config.freeze)).await;
                    let _known = engine.submit(Event::FourEyes(config.people.four_eyes)).await;
                    let _known = engine.submit(Event::Watchers(config.people.notify)).await;
                    reception.set_roles(config.people.roles);
                }
            }
            () = engine.ended() => {
                // Pages that show the last state of a tower that no longer thinks would be a lie.
                let error = std::io::Error::other("the tower's thread has ended");
                return Err(ServeError::Machine("go on", error));
            }
            ended = &mut server => {
                return ended.map_err(|error| ServeError::Machine("serve HTTP", std::io::Error::other(error)));
            }
        }
    }
    engine.leave();
    stop.send_replace(true);
    if tokio::time::timeout(DRAIN, &mut server).await.is_err() {
        server.abort();
    }
    Ok(())
}
