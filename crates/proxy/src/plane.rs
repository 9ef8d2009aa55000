//! The data plane with its sockets: HTTP/1.1 and HTTP/2, in clear or over TLS, one route table, one tower.
//!
//! The binary's `hmsops gateway` builds [`GatewayOptions`] from its flags, with the machine's clock and the
//! data folder's disk, and awaits [`run`] on a multi-threaded tokio runtime; what it returns is printed and is
//! exit code 1. It ends with `Ok` on SIGTERM, SIGINT or the tower's `shutdown`, after requests in flight are
//! done or the drain time is over. It does not end when the process that started it does.
//!
//! ```text
//!  client ──▶ serve ──▶ carry ──▶ upstream ──▶ stable or canary
//!                │        │ receipt                       ▲
//!                │        ▼                               │ table (one pointer)
//!                │      book (fold, budget) ──ticks──▶ conductor ◀──▶ link ◀──▶ tower
//! ```

mod answer;
mod caller;
mod carry;
mod clock;
mod conduct;
mod conductor;
mod doze;
mod files;
mod grpc;
mod handover;
mod haproxy;
mod head;
mod holder;
mod inherited;
mod journal;
mod keeper;
mod link;
mod meter;
mod multiplex;
mod pace;
mod place;
mod receipt;
mod serve;
mod session;
mod settings;
mod streams;
mod table;
pub mod tls;
mod trace;
mod tunnel;
mod upload;
mod upstream;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hmsops_disk::Disk;
use hmsops_model::limits::GATEWAY_RETREAT_AFTER;
use hmsops_model::{Millis, ServiceName};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

pub use clock::{Clock, MachineClock};
pub use settings::{SettingsError, keep_settings, settings_file};
pub use tls::TlsError;

use crate::routes::{KeptError, Routes, Silence};
use caller::{Guest, Guests};
use conduct::Ejection;
use conductor::Conductor;
use handover::Sockets;
use keeper::Keeper;
use meter::Meter;
use serve::Stop;
use settings::InForce;
use table::Table;
use tls::Tickets;
use tunnel::Tunnels;

/// The longest head of a request or answer, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// The most fields in a head.
pub const HEAD_FIELDS_MAX: usize = 100;

/// Client connections at a time; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 10_000;

/// The largest state file that is read: [`crate::routes::ROUTES_MAX`] routes of some kilobytes.
pub const STATE_BYTES_MAX: usize = 64 << 20;

/// The version of this program, as towers and other processes of the same gateway are told.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// How long requests in flight may take after SIGTERM.
const STOP_DRAIN: Duration = Duration::from_secs(10);

/// Settings that wait while others are read.
const SETTINGS_WAITING_MAX: usize = 16;

/// What a gateway needs to run.
pub struct GatewayOptions {
    /// Its name in `hmsops.yaml`.
    pub name: String,
    /// Where it takes requests. Port 0: any free one, see [`Gateway::listen`].
    pub listen: SocketAddr,
    /// The unix socket it makes for its tower. At most 107 bytes; mode 0600.
    pub socket: PathBuf,
    /// Where its state is kept.
    pub disk: Arc<dyn Disk>,
    /// The state's file on that disk.
    pub state: String,
    /// The settings' file on that disk, by default [`settings_file`].
    pub settings: String,
    /// Where it reads the time.
    pub clock: Arc<dyn Clock>,
    /// It takes canary traffic back after so long without a word from its tower.
    pub retreat_after: Millis,
    /// Whether it takes the place of the one that runs on the same socket.
    pub take_over: bool,
    /// How long it waits for others.
    pub limits: Limits,
}

impl GatewayOptions {
    /// With the machine's clock and the usual limits.
    pub fn new(name: &str, listen: SocketAddr, socket: PathBuf, disk: Arc<dyn Disk>, state: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            socket,
            disk,
            state: state.to_owned(),
            settings: settings_file(name),
            clock: Arc::new(MachineClock),
            retreat_after: GATEWAY_RETREAT_AFTER,
            take_over: false,
            limits: Limits::default(),
        }
    }
}

/// How long a gateway waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection to an arm.
    pub connect: Duration,
    /// For an arm's head, once the request is sent.
    pub head: Duration,
    /// For an arm to go on within a body.
    pub pause: Duration,
    /// For a client to go on within its body.
    pub upload: Duration,
    /// For a client's head: the first from when its connection is there, each later one from its first byte.
    pub client_head: Duration,
    /// For a client's connection between two requests.
    pub client_rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(250),
            head: Duration::from_secs(30),
            pause: Duration::from_mins(1),
            upload: Duration::from_secs(30),
            client_head: Duration::from_secs(10),
            // As nginx's `keepalive_timeout`: balancers before us keep theirs for a minute.
            client_rest: Duration::from_secs(75),
        }
    }
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Someone else listens there.
    #[error(
        "cannot listen on `{address}`: the port is held by {}; stop it, or choose another with `--listen` \
         or `gateways: {{{name}: {{listen: …}}}}`",
        holder.as_deref().unwrap_or("a process that can't be looked into")
    )]
    PortTaken {
        /// The address.
        address: SocketAddr,
        /// The gateway.
        name: String,
        /// Who has it, if that could be found out.
        holder: Option<String>,
    },
    /// The address can't be listened on.
    #[error("cannot listen on `{address}`; choose another address with `--listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket for the tower can't be made.
    #[error("cannot {doing} the tower's socket `{}`; its folder must be there and its path shorter than 108 bytes", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What was being tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another gateway answers on the socket.
    #[error("a gateway is already running on `{}`; stop it, or choose another socket", path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// No thread or signal handler could be had.
    #[error("cannot start a thread or signal handler")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The place of another gateway could not be taken.
    #[error(
        "cannot take over from the gateway at `{}`; it goes on, if it runs: without one start this \
         without `--take-over`",
        path.display()
    )]
    TakeOver {
        /// Where it was asked.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The settings it kept can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system gave no random numbers.
    #[error("cannot draw a random number: {0}")]
    Random(String),
}

/// What all requests share.
pub(crate) struct Plane {
    table: ArcSwap<Table>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    in_force: ArcSwap<InForce>,
    tunnels: Tunnels,
    /// Keys the numbers of clients, so that nobody can choose theirs.
    secret: u64,
    counters: Counters,
    /// Connections of clients that are open.
    open: AtomicUsize,
    meter: Arc<Meter>,
    guests: Arc<Guests>,
    /// Traces that the gateway has begun.
    traces: AtomicU64,
}

impl Plane {
    /// Lets a connection in unless its address has all it may have; a trusted proxy's are its clients'.
    fn admit(&self, peer: SocketAddr) -> Option<Guest> {
        let in_force = self.in_force.load();
        let settings = &in_force.settings;
        let is_trusted = settings.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
        let most = if is_trusted { u32::MAX } else { settings.limits.client_connections };
        self.guests.admit(peer, most)
    }

    /// Says and counts that one of stable's upstreams is left alone for a while.
    fn ejected(&self, service: &ServiceName, ejection: &Ejection) {
        count(&self.meter.ejections);
        let seconds = ejection.until.since(self.clock.now().steady).0.div_ceil(1000);
        tracing::warn!(%service, upstream = ejection.upstream, seconds, "an upstream fails more than the others; it is left alone for a while");
    }
}

/// What happened since the start.
#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
    /// Requests that stable answered for the canary.
    shields: AtomicU64,
    /// Answers that are the gateway's own.
    own_answers: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A gateway that has its sockets and its state, and takes no requests yet.
pub struct Gateway {
    options: GatewayOptions,
    listener: TcpListener,
    listen: SocketAddr,
    towers: UnixListener,
    routes: Routes,
    in_force: InForce,
    keepers: Option<Keepers>,
    /// What the process had whose place this one takes, and the line to it.
    before: Option<(u64, UnixStream)>,
}

/// What keeps the state and the settings.
struct Keepers {
    state: Keeper,
    settings: Keeper,
}

/// Where they are kept.
struct Keeping {
    disk: Arc<dyn Disk>,
    state: String,
    settings: String,
}

impl Keeping {
    fn of(options: &GatewayOptions) -> Self {
        let (state, settings) = (options.state.clone(), options.settings.clone());
        Self { disk: Arc::clone(&options.disk), state, settings }
    }

    fn start(&self) -> Result<Keepers, GatewayError> {
        Ok(Keepers {
            state: Keeper::start(Arc::clone(&self.disk), self.state.clone())?,
            settings: Keeper::start(Arc::clone(&self.disk), self.settings.clone())?,
        })
    }
}

/// Runs a gateway until SIGTERM, SIGINT or its tower ends it.
pub async fn run(options: GatewayOptions) -> Result<(), GatewayError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| GatewayError::Thread { source };
    files::raise_limit();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let gateway =
        if options.take_over { Gateway::take_over(options).await? } else { Gateway::bind(options).await? };
    gateway
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
}

impl Gateway {
    /// Takes the sockets and reads the state. What was a canary's traffic is stable's until the tower says
    /// otherwise.
    #[expect(clippy::unused_async, reason = "what it opens needs a runtime around it")]
    pub async fn bind(options: GatewayOptions) -> Result<Self, GatewayError> {
        let in_force = InForce::new(settings::load(options.disk.as_ref(), &options.settings)?, &tickets()?)?;
        let address = options.listen;
        let listener = serve::listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => GatewayError::PortTaken {
                address,
                name: options.name.clone(),
                holder: holder::holder(address),
            },
            _ => GatewayError::Listen { address, source },
        })?;
        let listen = listener.local_addr().map_err(|source| GatewayError::Listen { address, source })?;
        // The port first: whoever does not get it leaves the socket to the one who has.
        let towers = link::listen(&options.socket)?;
        let routes = load(options.disk.as_ref(), &options.state);
        let keepers = Some(Keeping::of(&options).start()?);
        Ok(Self { options, listener, listen, towers, routes, in_force, keepers, before: None })
    }

    /// Takes the place of the gateway that runs on the same socket: its sockets, and all that it has in force. That
    /// one drains once this serves; if this ends before, it goes on as it was.
    pub async fn take_over(options: GatewayOptions) -> Result<Self, GatewayError> {
        let taking = handover::take(&options.socket, PROGRAM).await?;
        let handover::Taking { stream, requests: listener, towers, heritage } = taking;
        let inherited = |error: KeptError| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            GatewayError::TakeOver { path: options.socket.clone(), source }
        };
        let routes = Routes::inherit(heritage.routes).map_err(inherited)?;
        let in_force = InForce::new(heritage.settings, &tickets()?)?;
        let address = options.listen;
        let listen = listener.local_addr().map_err(|source| GatewayError::Listen { address, source })?;
        let before = Some((heritage.secret, stream));
        Ok(Self { options, listener, listen, towers, routes, in_force, keepers: None, before })
    }

    /// Where it takes requests.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Serves until `stop` comes or the tower says so, then finishes what runs within the drain time.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), GatewayError> {
        if let Some(haproxy) = self.in_force.settings.haproxy.clone() {
            return haproxy::serve(self, *haproxy, stop).await;
        }
        let keeping = Keeping::of(&self.options);
        let Self { options, listener, listen, towers, routes, in_force, keepers, before } = self;
        let gateway_run = random()?;
        let secret = before.as_ref().map_or_else(random, |(secret, _)| Ok(*secret))?;
        let plane = Arc::new(Plane::new(options.clock, options.limits, in_force, secret));
        let (stopping, stopped) = watch::channel(None);
        let stopping = Arc::new(stopping);
        let (end, ended) = watch::channel(false);
        let (owns, owned) = watch::channel(keepers.is_some());
        let silence = Silence::new(plane.clock.now().steady, options.retreat_after);
        let identity = conductor::Identity { name: options.name, gateway_run, listen: listen.to_string() };
        let (settings, wanted) = mpsc::channel(SETTINGS_WAITING_MAX);
        let mut conductor = Conductor::new(
            Arc::clone(&plane),
            identity,
            routes,
            silence,
            (keepers, keeping, Arc::new(owns)),
            Arc::clone(&stopping),
            settings,
        );
        let (events, heard) = mpsc::channel(link::EVENTS_MAX);
        tokio::spawn(settings::run(Arc::clone(&plane), wanted, events.clone()));
        let next = handover::path(&options.socket);
        match Sockets::of(&listener, &towers) {
            Ok(sockets) => {
                let offer = handover::offer(next.clone(), sockets, events.clone(), owned, stopped.clone());
                tokio::spawn(offer);
            }
            Err(error) => tracing::warn!(%error, "no other process can take over"),
        }
        if let Some((_, stream)) = before {
            let taken = handover::begin(stream, events.clone()).await;
            let path = next.clone();
            conductor.follow(taken.map_err(|source| GatewayError::TakeOver { path, source })?);
        }
        let towers = tokio::spawn(link::accept(towers, events, stopped.clone()));
        let conductor = tokio::spawn(conductor.run(heard, ended));
        let serving = serve::serve(Arc::clone(&plane), listener, stopped.clone());
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            () = &mut serving => {}
            () = stop => {
                Stop::hurry(&stopping, STOP_DRAIN);
                serving.await;
            }
        }
        // Both end by themselves when told; a panic of theirs has been logged by the runtime.
        let _ = end.send(true);
        let _ = conductor.await;
        towers.abort();
        if !stopped.borrow().is_some_and(|stop| stop.is_handed) {
            let _ = rustix::fs::unlink(&options.socket);
            let _ = rustix::fs::unlink(&next);
        }
        tracing::info!(counters = ?plane.counters, "the gateway ends");
        Ok(())
    }
}

impl Plane {
    fn new(clock: Arc<dyn Clock>, limits: Limits, in_force: InForce, secret: u64) -> Self {
        Self {
            table: ArcSwap::default(),
            clock,
            limits,
            in_force: ArcSwap::from_pointee(in_force),
            tunnels: Tunnels::default(),
            secret,
            counters: Counters::default(),
            open: AtomicUsize::new(0),
            meter: Arc::default(),
            guests: Arc::default(),
            traces: AtomicU64::new(0),
        }
    }
}

fn tickets() -> Result<Tickets, GatewayError> {
    Tickets::new().map_err(|error| GatewayError::Random(error.to_string()))
}

/// The routes as kept, without canaries. A state that can't be read is put aside and said: users are served again
/// as soon as a tower sets its routes, and the tower's ledger knows what it took back.
fn load(disk: &dyn Disk, file: &str) -> Routes {
    let loaded = match disk.exists(file) {
        Ok(false) => return Routes::default(),
        Ok(true) => disk.read(file, STATE_BYTES_MAX),
        Err(error) => Err(error),
    };
    let error: Box<dyn std::error::Error> = match loaded.map(|bytes| Routes::load(&bytes)) {
        Ok(Ok(routes)) => return routes,
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    tracing::error!(
        file,
        error = error.as_ref(),
        "cannot read the gateway's state; it starts without routes"
    );
    if let Err(error) = disk.rename(file, &format!("{file}.unreadable")) {
        tracing::error!(file, %error, "cannot put the unreadable state aside");
    }
    Routes::default()
}

fn random() -> Result<u64, GatewayError> {
    getrandom::u64().map_err(|error| GatewayError::Random(error.to_string()))
}
