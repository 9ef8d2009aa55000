//! The tower's end of a gateway: keeps the process running, the connection up, and carries messages both ways.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use hmsops_control::Event;
use hmsops_control::event::{GatewayReport, HeldRoute};
use hmsops_disk::{Disk as _, RealDisk};
use hmsops_model::gateway::GatewaySettings;
use hmsops_model::limits::GATEWAY_PING;
use hmsops_proxy::plane;
use hmsops_wire::gateway::{FromGateway, Reader, RetreatBy, ToGateway, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::Engine;
use crate::clock::Clock;
use crate::collect::GatewayTraffic;

/// Between two attempts to reach a gateway.
const RETRY: Duration = Duration::from_millis(50);

/// A gateway that was started is given so long to listen before another is started.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// A successor that ends sooner has not taken over.
const SUCCESSION_PATIENCE: Duration = Duration::from_secs(15);

/// So much of a gateway's log is looked through for why it ended.
const LOG_TAIL_BYTES: u64 = 8192;

/// How old the tower's newest sign of life may be for a ping to vouch for it.
const TOWER_ALIVE: u64 = 2000;

/// How to reach, and if need be start, a gateway.
#[derive(Debug, Clone)]
pub struct GatewaySite {
    /// Its name.
    pub name: String,
    /// Where users reach it.
    pub listen: std::net::SocketAddr,
    /// Its socket for towers.
    pub socket: PathBuf,
    /// The folder of its state and log.
    pub dir: PathBuf,
    /// Our own binary.
    pub exe: PathBuf,
    /// Where its ticks are added up.
    pub traffic: GatewayTraffic,
    /// What it is set up with; a change is sent at once.
    pub settings: watch::Receiver<GatewaySettings>,
}

/// Gateway processes that were told to make room for one of this program: each once.
type Renewed = BTreeSet<u64>;

/// Why a connection ended.
type Ended = std::io::Error;

/// Serves one gateway for as long as the tower lives.
pub async fn run(
    engine: Engine,
    clock: Clock,
    site: GatewaySite,
    mut orders: mpsc::Receiver<ToGateway>,
    mut acks: tokio::sync::broadcast::Receiver<Vec<(u64, u64)>>,
    tower_run: u64,
) {
    let mut child: Option<(Child, tokio::time::Instant)> = None;
    let mut told = false;
    let mut renewed = Renewed::new();
    loop {
        match UnixStream::connect(&site.socket).await {
            Ok(stream) => {
                told = false;
                let ended =
                    talk(&engine, clock, &site, stream, &mut orders, &mut acks, (tower_run, &mut renewed))
                        .await;
                tracing::warn!("gateway {}: the connection ended: {ended}", site.name);
                let report = GatewayReport::Lost;
                if engine.tell(Event::Gateway { gateway: site.name.clone(), report }).await.is_err() {
                    return;
                }
            }
            Err(_) => {
                if let Some(why) = revive(&site, &mut child, told) {
                    tracing::error!("gateway {}: {why}", site.name);
                    told = true;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Starts the gateway's process unless one is on its way up. Returns what a person should know and was not `told`.
fn revive(
    site: &GatewaySite,
    child: &mut Option<(Child, tokio::time::Instant)>,
    told: bool,
) -> Option<String> {
    if let Some((running, since)) = child {
        match running.try_wait() {
            Ok(Some(status)) => {
                let is_early = since.elapsed() < START_PATIENCE;
                if since.elapsed() >= Duration::from_secs(1) {
                    *child = None;
                }
                return (is_early && !told).then(|| why_ended(site, status));
            }
            Ok(None) if since.elapsed() < START_PATIENCE => return None,
            _ => {}
        }
    }
    match start(site, false) {
        Ok(started) => {
            *child = Some((started, tokio::time::Instant::now()));
            None
        }
        Err(error) => (!told).then(|| format!("cannot start it: {error}")),
    }
}

/// What a person should know of a gateway that ended right after its start.
fn why_ended(site: &GatewaySite, status: std::process::ExitStatus) -> String {
    if let Some(holder) = hmsops_act::port::holder(site.listen.port()) {
        return format!(
            "{} is taken by {holder}; end it, or give the gateway another `listen:` in the tower's settings",
            site.listen
        );
    }
    let log = site.dir.join(format!("gateway-{}.log", site.name));
    let said = tail(&log).unwrap_or_default();
    let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    format!("it ended at once ({status}){error}; see {}", log.display())
}

/// The end of a log.
fn tail(log: &std::path::Path) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(log)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    // LIMIT: what is written meanwhile is not read.
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Variables of the tower's environment that its gateways get: what they are found and logged by, and what stands between
/// a program and its system when somebody puts it there (ld.so(8)).
const PASSED_ON: [&str; 8] =
    ["PATH", "HOME", "LANG", "TZ", "HMSOPS_LOG", "RUST_BACKTRACE", "LD_PRELOAD", "LD_LIBRARY_PATH"];

/// Starts the gateway's process in a group of its own: what ends the tower does not end it.
fn start(site: &GatewaySite, take_over: bool) -> std::io::Result<Child> {
    use std::os::unix::fs::OpenOptionsExt as _;
    prepare(site)?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(site.dir.join(format!("gateway-{}.log", site.name)))?;
    let mut command = Command::new(&site.exe);
    // What else is in the tower's environment may be a secret, and the data plane faces everybody.
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .arg("gateway")
        .args(["--name", &site.name])
        .args(["--listen", &site.listen.to_string()])
        .arg("--socket")
        .arg(&site.socket)
        .arg("--state")
        .arg(&site.dir)
        .args(take_over.then_some("--take-over"))
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Starts a process of this program that takes the place of one of another version. If it fails, that one goes on.
fn renew(site: &GatewaySite, program: &str) {
    let name = site.name.clone();
    if program.is_empty() {
        let hint = "stop it when it suits, and this tower starts one of its own version";
        return tracing::warn!("gateway {name}: it is of a version that can't be taken over; {hint}");
    }
    if site.settings.borrow().haproxy.is_some() {
        let hint = "end it when no canary is out, and this tower starts one of its own version";
        return tracing::warn!("gateway {name}: it drives HAProxy with version {program}; {hint}");
    }
    tracing::info!("gateway {name}: it is of version {program}, one of {} takes over", plane::PROGRAM);
    let mut child = match start(site, true) {
        Ok(child) => child,
        Err(error) => return tracing::error!("gateway {name}: cannot start its successor: {error}"),
    };
    let (site, since) = (site.clone(), tokio::time::Instant::now());
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await
            && since.elapsed() < SUCCESSION_PATIENCE
        {
            let log = site.dir.join(format!("gateway-{name}.log"));
            tracing::error!(
                "gateway {name}: its successor ended ({status}), it goes on as it was; see {}",
                log.display()
            );
        }
    });
}

/// Leaves the settings where the gateway looks for them: it must not answer in clear before its tower calls.
fn prepare(site: &GatewaySite) -> std::io::Result<()> {
    let settings = plane::keep_settings(&site.settings.borrow());
    let disk = RealDisk::new(&site.dir).map_err(std::io::Error::other)?;
    disk.replace(&plane::settings_file(&site.name), &settings).map_err(std::io::Error::other)
}

async fn talk(
    engine: &Engine,
    clock: Clock,
    site: &GatewaySite,
    stream: UnixStream,
    orders: &mut mpsc::Receiver<ToGateway>,
    acks: &mut tokio::sync::broadcast::Receiver<Vec<(u64, u64)>>,
    (tower_run, renewed): (u64, &mut Renewed),
) -> Ended {
    let (mut from, mut to) = stream.into_split();
    let hello = ToGateway::Hello { protocol: hmsops_wire::gateway::PROTOCOL, tower_run };
    if let Err(error) = say(&mut to, &hello).await {
        return error;
    }
    let mut settings = site.settings.clone();
    settings.mark_changed();
    let mut reader = Reader::default();
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut ping = tokio::time::interval(Duration::from_millis(GATEWAY_PING.0 / 2));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => say(&mut to, &order).await,
                None => return std::io::Error::other("the tower is stopping"),
            },
            read = from.read(&mut buffer) => match read {
                Ok(0) => return std::io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => hear(engine, site, renewed, &mut reader, buffer.get(..n).unwrap_or_default()).await,
                Err(error) => Err(error),
            },
            Ok(()) = settings.changed() => {
                let settings = settings.borrow_and_update().clone();
                say(&mut to, &ToGateway::Settings { settings }).await
            }
            Ok(kept) = acks.recv() => {
                let mut sent = Ok(());
                for (gateway_run, seq) in kept {
                    sent = sent.and(say(&mut to, &ToGateway::TickAck { gateway_run, seq }).await);
                }
                sent
            }
            _ = ping.tick() => {
                // A ping vouches for the tower's own thread, not for this one: a tower that hangs must look dead.
                let age = clock.now().steady.since(engine.snapshot().now.steady);
                if age.0 <= TOWER_ALIVE { say(&mut to, &ToGateway::Ping).await } else { Ok(()) }
            }
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

async fn say(to: &mut tokio::net::unix::OwnedWriteHalf, message: &ToGateway) -> std::io::Result<()> {
    let line = encode(message).map_err(std::io::Error::other)?;
    to.write_all(&line).await
}

async fn hear(
    engine: &Engine,
    site: &GatewaySite,
    renewed: &mut Renewed,
    reader: &mut Reader,
    bytes: &[u8],
) -> std::io::Result<()> {
    reader.push(bytes);
    while let Some(message) = reader.next_message::<FromGateway>().map_err(std::io::Error::other)? {
        let stopped = || std::io::Error::other("the tower is stopping");
        if let FromGateway::Hello { program, gateway_run, .. } = &message {
            site.traffic.set_program(&site.name, program);
            if program != plane::PROGRAM && renewed.insert(*gateway_run) {
                renew(site, program);
            }
        }
        let event = match message {
            FromGateway::Tick(tick) => {
                site.traffic.add(&site.name, &engine.snapshot().state, &tick);
                Event::Tick(Box::new(tick))
            }
            FromGateway::SettingsApplied => {
                tracing::info!("gateway {}: its settings are in force", site.name);
                continue;
            }
            FromGateway::SettingsRefused { why } => {
                tracing::error!("gateway {}: it goes on with its settings as they were: {why}", site.name);
                continue;
            }
            FromGateway::Counts { counts, .. } => {
                site.traffic.set_counts(&site.name, counts);
                continue;
            }
            other => match report(other) {
                Some(report) => Event::Gateway { gateway: site.name.clone(), report },
                None => continue,
            },
        };
        engine.tell(event).await.map_err(|_| stopped())?;
    }
    Ok(())
}

fn report(message: FromGateway) -> Option<GatewayReport> {
    Some(match message {
        FromGateway::Hello { routes, .. } => GatewayReport::Connected {
            routes: routes
                .into_iter()
                .map(|route| HeldRoute {
                    service: route.service,
                    epoch: route.epoch,
                    release: route.release,
                    retreated: route.retreated,
                })
                .collect(),
        },
        FromGateway::Applied { service, epoch } => GatewayReport::Applied { service, epoch },
        FromGateway::Refused { service, epoch, why } => {
            tracing::warn!("gateway: it refused route {epoch} of {service}: {why}");
            GatewayReport::Refused { service, epoch, why }
        }
        FromGateway::Retreated { service, release, by, at, .. } => {
            GatewayReport::Retreated { service, release, by_itself: by == RetreatBy::Gateway, at }
        }
        FromGateway::Drained { service, release } => GatewayReport::Drained { service, release },
        FromGateway::Pong => GatewayReport::Alive,
        FromGateway::Tick(_)
        | FromGateway::Counts { .. }
        | FromGateway::SettingsApplied
        | FromGateway::SettingsRefused { .. }
        | FromGateway::Unknown => return None,
    })
}
