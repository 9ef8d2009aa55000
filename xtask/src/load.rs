//! An open-loop HTTP load generator: requests leave when their time has come, whether or not earlier ones have
//! been answered, so that a server that stops answering is seen by as many users as it would be in life.
//!
//! Latency counts from the moment a request was due, not from when a worker got round to it.

pub(crate) mod arrivals;
pub(crate) mod chore;
pub(crate) mod closed;
pub(crate) mod tally;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Trying as _};
use crate::http::{Answer, Broken, Connection};
use arrivals::{Arrivals, Pacing, Random, Rate};
use tally::{Outcome, Tally};

/// A stack large enough for one request at a time.
const STACK_BYTES: usize = 128 * 1024;
/// Length of what stands for a photo.
const PHOTO_BYTES: usize = 2048;
/// How long the dispatcher sleeps at most before it looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// What is sent where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: SocketAddr,
    /// What users ask for.
    pub(crate) mix: Mix,
    /// The host that they name.
    pub(crate) host: String,
    /// Requests a second.
    pub(crate) rate: Rate,
    /// How they are spread.
    pub(crate) pacing: Pacing,
    /// Users, each with a session cookie of its own.
    pub(crate) clients: u32,
    /// Same seed, same requests in the same order.
    pub(crate) seed: u64,
    /// A request without a whole answer after this has failed.
    pub(crate) timeout: Duration,
    /// Requests that may wait for their answers at once; more are counted as not sent.
    pub(crate) workers_max: usize,
}

impl Plan {
    /// 2 000 users who ask `rate` times a second.
    pub(crate) fn new(server: SocketAddr, rate: f64, seed: u64) -> Self {
        Self {
            server,
            mix: Mix::Portal,
            host: server.to_string(),
            rate: Rate::steady(rate),
            pacing: Pacing::Poisson,
            clients: 2000,
            seed,
            timeout: Duration::from_secs(10),
            workers_max: 1000,
        }
    }
}

/// Whose users they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    /// The portal's: pages, ideas and log-ins.
    Portal,
    /// Of the photo service: each hands in one photo.
    Photo,
}

impl Mix {
    fn draw(self, random: &mut Random) -> Kind {
        match self {
            Self::Portal => match random.below(10) {
                0..7 => Kind::Front,
                7..9 => Kind::Ideas,
                _ => Kind::Login,
            },
            Self::Photo => Kind::Upload,
        }
    }
}

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `GET /`, seven in ten.
    Front,
    /// `GET /ideas`, two in ten.
    Ideas,
    /// `POST /login`, one in ten; not idempotent.
    Login,
    /// `POST /api/photo/upload`; not idempotent.
    Upload,
}

impl Kind {
    fn is_idempotent(self) -> bool {
        matches!(self, Self::Front | Self::Ideas)
    }
}

/// What stands for a photo: the first bytes of a JPEG, and enough others not to be a line of text.
fn photo(client: u32) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0];
    bytes.resize(PHOTO_BYTES, client as u8);
    bytes
}

/// One request of one user.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    client: u32,
    due: Instant,
}

impl Request {
    fn bytes(self, host: &str) -> Vec<u8> {
        let (method, path) = match self.kind {
            Kind::Front => ("GET", "/"),
            Kind::Ideas => ("GET", "/ideas"),
            Kind::Login => ("POST", "/login"),
            Kind::Upload => ("POST", "/api/photo/upload"),
        };
        let client = self.client;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hmsops-load\r\nCookie: session=client-{client}\r\n"
        );
        let (kind, body) = match self.kind {
            Kind::Front | Kind::Ideas => return (head + "\r\n").into_bytes(),
            Kind::Login => {
                ("application/x-www-form-urlencoded", format!("user=client-{client}").into_bytes())
            }
            Kind::Upload => ("image/jpeg", photo(client)),
        };
        let length = body.len();
        let head = format!("{head}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), body].concat()
    }
}

/// A request and the way back to the stack: who holds the sender may give the worker its next job.
#[derive(Debug)]
struct Job {
    request: Request,
    sender: SyncSender<Job>,
}

/// What dispatcher and workers share. Locks: `idle` and `tally` are never held together.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    started: Instant,
    tally: Mutex<Tally>,
    idle: Mutex<Idle>,
}

/// Workers that wait for a request, the last used on top, so that few connections stay busy and warm.
#[derive(Debug, Default)]
struct Idle {
    workers: Vec<SyncSender<Job>>,
    /// Set once nothing more will be sent: workers go home.
    closed: bool,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Load that is being made, until [`Load::stop`].
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    dispatcher: JoinHandle<Vec<JoinHandle<()>>>,
}

impl Load {
    /// Begins at once.
    pub(crate) fn start(plan: Plan) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            plan,
            started: Instant::now(),
            tally: Mutex::default(),
            idle: Mutex::default(),
        });
        let dispatched = Arc::clone(&shared);
        let dispatcher = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || dispatch(&dispatched))
            .trying("start the load's thread")?;
        Ok(Self { shared, dispatcher })
    }

    /// What has come of it so far.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// How long it has been going on; failures are dated on the same clock.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Sends nothing more, waits for the answers that are out, and says what has come of it all.
    pub(crate) fn stop(self) -> Tally {
        self.shared.idle().closed = true;
        let workers = self.dispatcher.join().unwrap_or_default();
        self.shared.idle().workers.clear();
        for worker in workers {
            // A worker that panicked is seen in the figures: its request is sent and never answered.
            let _ = worker.join();
        }
        self.shared.tally().clone()
    }
}

/// Hands each request to a worker when its time has come; returns the workers once the load is closed.
fn dispatch(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let plan = &shared.plan;
    let mut workers = Vec::new();
    let mut random = Random::new(!plan.seed);
    for after in Arrivals::new(plan.rate, plan.pacing, plan.seed) {
        let due = shared.started + after;
        if !wait_until(due, shared) {
            break;
        }
        let request = Request { kind: plan.mix.draw(&mut random), client: random.below(plan.clients), due };
        let idle = shared.idle().workers.pop();
        let is_sent = if let Some(worker) = idle {
            // Its place is taken by nobody else: a worker on the stack waits with an empty channel.
            worker.send(Job { request, sender: worker.clone() }).is_ok()
        } else if workers.len() < plan.workers_max {
            start_worker(shared, request).map(|worker| workers.push(worker)).is_ok()
        } else {
            false
        };
        let mut tally = shared.tally();
        if is_sent {
            tally.sent += 1;
        } else {
            tally.unsent += 1;
        }
    }
    workers
}

/// Sleeps until `due`; false when the load is closed before.
fn wait_until(due: Instant, shared: &Shared) -> bool {
    loop {
        if shared.idle().closed {
            return false;
        }
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return true;
        }
        std::thread::sleep(wait.min(STOP_CHECK));
    }
}

/// Starts a worker that performs `first` and then waits for more.
fn start_worker(shared: &Arc<Shared>, first: Request) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("load-worker".into()).stack_size(STACK_BYTES).spawn(move || {
        let (sender, receiver) = sync_channel(1);
        work(&shared, Job { request: first, sender }, &receiver);
    })
}

/// Performs one job after the other until the load is closed.
fn work(shared: &Shared, first: Job, jobs: &Receiver<Job>) {
    let mut connection = None;
    let mut next = Some(first);
    while let Some(Job { request, sender }) = next {
        let result = perform(&shared.plan, request, &mut connection);
        let now = Instant::now();
        shared.tally().count(Outcome {
            is_idempotent: request.kind.is_idempotent(),
            latency: now.saturating_duration_since(request.due),
            at: now.saturating_duration_since(shared.started),
            result,
        });
        let mut idle = shared.idle();
        if idle.closed {
            return;
        }
        idle.workers.push(sender);
        drop(idle);
        // The only sender is on the stack now: when that is cleared, the wait ends.
        next = jobs.recv().ok();
    }
}

/// A gateway closes a connection on which nothing comes for 10 s; one idle for less is never closed by it.
const IDLE_CLOSED: Duration = Duration::from_secs(9);

/// One request over the worker's kept connection, or a new one when the server has closed that.
fn perform(plan: &Plan, request: Request, kept: &mut Option<Connection>) -> Result<Answer, Broken> {
    let deadline = Instant::now() + plan.timeout;
    let mut connection = match kept.take().filter(Connection::is_fresh) {
        Some(connection) => connection,
        None => Connection::open(plan.server, plan.timeout)?,
    };
    let (bytes, idle) = (request.bytes(&plan.host), connection.idle());
    let answer = match connection.exchange(&bytes, deadline) {
        // It was closed for being idle while the request was on its way: every client asks once more (RFC 9112 §9.3.1).
        Err(Broken::Closed)
            if idle >= IDLE_CLOSED && request.kind.is_idempotent() && connection.is_silent() =>
        {
            connection = Connection::open(plan.server, plan.timeout)?;
            connection.exchange(&bytes, deadline)?
        }
        answer => answer?,
    };
    *kept = Some(connection);
    Ok(answer)
}

#[cfg(test)]
mod tests;
