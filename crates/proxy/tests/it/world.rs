//! A gateway, the versions behind it, its tower and its clients.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hmsops_disk::{Disk, MemDisk};
use hmsops_model::route::{Arm, CanaryArm, Route};
use hmsops_model::service::{BadRule, Identity, Protocol};
use hmsops_model::{ArmTick, Millis, ReleaseId, ServiceName, Tick, Version, Weight};
use hmsops_proxy::plane::{Gateway, GatewayError, GatewayOptions};
use hmsops_wire::gateway::{FromGateway, PROTOCOL, Reader, ToGateway, encode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes so long; what does has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A gateway process in all but name.
pub(crate) struct Running {
    pub(crate) listen: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) disk: Arc<MemDisk>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), GatewayError>>,
    folder: Arc<tempfile::TempDir>,
}

pub(crate) async fn gateway() -> Running {
    gateway_with(|_| ()).await
}

pub(crate) async fn gateway_with(change: impl FnOnce(&mut GatewayOptions)) -> Running {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    start(folder, Arc::new(MemDisk::new()), change).await
}

async fn start(
    folder: Arc<tempfile::TempDir>,
    disk: Arc<MemDisk>,
    change: impl FnOnce(&mut GatewayOptions),
) -> Running {
    let socket = folder.path().join("gateway.sock");
    let any = "127.0.0.1:0".parse().unwrap();
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as Arc<dyn Disk>;
    let mut options = GatewayOptions::new("public", any, socket.clone(), shared, "gateway.json");
    // A busy machine is no silent tower.
    options.retreat_after = Millis::from_mins(1);
    change(&mut options);
    let gateway = if options.take_over {
        Gateway::take_over(options).await.unwrap()
    } else {
        Gateway::bind(options).await.unwrap()
    };
    let listen = gateway.listen();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(gateway.serve(async move {
        let _ = stopped.await;
    }));
    Running { listen, socket, disk, stop: Some(stop), task, folder }
}

impl Running {
    pub(crate) async fn tower(&self) -> Tower {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let mut tower =
            Tower { stream, reader: Reader::default(), ticks: Vec::new(), aside: VecDeque::new() };
        tower.say(ToGateway::Hello { protocol: PROTOCOL, tower_run: 1 }).await;
        tower
    }

    /// Ends it as SIGTERM does, and waits for that.
    pub(crate) async fn stop(mut self) -> Stopped {
        let _ = self.stop.take().unwrap().send(());
        patiently("the end", &mut self.task).await.unwrap().unwrap();
        Stopped { disk: Arc::clone(&self.disk), folder: Arc::clone(&self.folder) }
    }

    /// A new process in its place.
    pub(crate) async fn successor(&self) -> Self {
        let take_over = |options: &mut GatewayOptions| options.take_over = true;
        start(Arc::clone(&self.folder), Arc::clone(&self.disk), take_over).await
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) {
        patiently("the end", &mut self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.listen).await
    }
}

/// What a stopped gateway leaves behind.
pub(crate) struct Stopped {
    pub(crate) disk: Arc<MemDisk>,
    folder: Arc<tempfile::TempDir>,
}

impl Stopped {
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        self.disk.read(name, 1 << 20).unwrap()
    }

    pub(crate) async fn start(self) -> Running {
        start(self.folder, self.disk, |_| ()).await
    }
}

/// A tower's end of the protocol.
pub(crate) struct Tower {
    stream: UnixStream,
    reader: Reader,
    /// Every tick that came, in order.
    pub(crate) ticks: Vec<Tick>,
    aside: VecDeque<FromGateway>,
}

impl Tower {
    pub(crate) async fn say(&mut self, message: ToGateway) {
        self.stream.write_all(&encode(&message).unwrap()).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> FromGateway {
        let mut bytes = vec![0; 1 << 16];
        loop {
            if let Some(message) = self.reader.next_message::<FromGateway>().unwrap() {
                return message;
            }
            let n = patiently("a word of the gateway", self.stream.read(&mut bytes)).await.unwrap();
            assert!(n > 0, "the gateway hung up");
            self.reader.push(&bytes[..n]);
        }
    }

    /// Waits until the gateway closes the connection.
    pub(crate) async fn hung_up(&mut self) {
        let mut bytes = vec![0; 1 << 16];
        while patiently("the end", self.stream.read(&mut bytes)).await.unwrap() > 0 {}
    }

    /// The next message that `pick` takes; ticks are collected, others set aside for later calls.
    pub(crate) async fn wait<T>(&mut self, what: &str, pick: impl Fn(&FromGateway) -> Option<T>) -> T {
        if let Some(at) = self.aside.iter().position(|message| pick(message).is_some()) {
            return pick(&self.aside.remove(at).unwrap()).unwrap();
        }
        patiently(what, async {
            loop {
                let message = self.hear().await;
                let picked = pick(&message);
                match message {
                    FromGateway::Tick(tick) => self.ticks.push(tick),
                    other if picked.is_none() => self.aside.push_back(other),
                    _ => {}
                }
                if let Some(picked) = picked {
                    return picked;
                }
            }
        })
        .await
    }

    pub(crate) async fn set(&mut self, route: Route) {
        let epoch = route.epoch;
        self.say(ToGateway::Set { route }).await;
        self.wait("the route", |message| match message {
            FromGateway::Applied { epoch: applied, .. } => (*applied == epoch).then_some(()),
            FromGateway::Refused { why, .. } => panic!("refused: {why}"),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn retreat(&mut self, release: u64) -> Weight {
        self.say(ToGateway::Retreat { service: portal(), release: ReleaseId(release) }).await;
        self.wait("the retreat", |message| match message {
            FromGateway::Retreated { weight_was, release: of, .. } if of.0 == release => Some(*weight_was),
            _ => None,
        })
        .await
    }

    /// Collects ticks until these hold together.
    pub(crate) async fn counts(
        &mut self,
        what: &str,
        enough: impl Fn(&ArmTick, &ArmTick) -> bool,
    ) -> (ArmTick, ArmTick) {
        patiently(what, async {
            loop {
                let (stable, canary) = self.sum();
                if enough(&stable, &canary) {
                    return (stable, canary);
                }
                self.wait(what, |message| matches!(message, FromGateway::Tick(_)).then_some(())).await;
            }
        })
        .await
    }

    pub(crate) fn sum(&self) -> (ArmTick, ArmTick) {
        let mut sum = (ArmTick::default(), ArmTick::default());
        for tick in &self.ticks {
            sum.0.add(&tick.stable);
            sum.1.add(&tick.canary);
        }
        sum
    }
}

pub(crate) fn portal() -> ServiceName {
    ServiceName::new("portal").unwrap()
}

fn arm(version: &str, upstream: &str) -> Arm {
    Arm { version: Version::new(version).unwrap(), upstreams: vec![upstream.to_owned()] }
}

/// A route with release `r-1` at this weight, in basis points.
pub(crate) fn route(epoch: u64, stable: &str, canary: &str, bp: u16) -> Route {
    Route {
        service: portal(),
        host: None,
        epoch,
        stable: arm("1.7.3", stable),
        canary: Some(CanaryArm {
            release: ReleaseId(1),
            arm: arm("1.8.0", canary),
            weight: Weight::from_bp(bp).unwrap(),
            salt: 7,
            shield_after: Some(Millis::from_secs(20)),
            excused_for: Millis::ZERO,
            irreversible: false,
        }),
        identity: Identity::Request,
        sticky: false,
        bad: BadRule::defaults(),
        protocol: Protocol::Http1,
    }
}

/// What a version does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers properly.
    Status(u16, &'static str),
    /// Writes this and keeps the connection open.
    Raw(Vec<u8>),
    /// Writes this and closes.
    Last(Vec<u8>),
    /// Writes this over and over.
    Endless(&'static [u8]),
    /// Says nothing.
    Hang,
    /// Writes this after a while.
    Late(Duration, &'static [u8]),
    /// Closes in the client's face.
    Reset,
    /// Answers with the request's head as its body.
    Echo,
    /// Answers properly and then closes without having said so.
    Fickle,
}

/// A version of a service.
pub(crate) struct Backend {
    pub(crate) address: String,
    /// Requests whose head came.
    pub(crate) asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn backend(reply: Reply) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up is no failure of the backend's.
            let (reply, count) = (reply.clone(), Arc::clone(&count));
            open.spawn(async move { drop(converse(stream, &reply, &count).await) });
        }
    });
    Backend { address, asked, task }
}

impl Backend {
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An address on which nobody listens.
pub(crate) async fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn converse(mut stream: TcpStream, reply: &Reply, asked: &AtomicU64) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while let Some((head, rest)) = read_request(&mut stream, bytes).await? {
        asked.fetch_add(1, Ordering::SeqCst);
        bytes = rest;
        match reply {
            Reply::Status(status, body) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let is_head = head.starts_with("HEAD ");
                let cut = if is_head { answer.len() - body.len() } else { answer.len() };
                stream.write_all(&answer.as_bytes()[..cut]).await?;
            }
            Reply::Echo => {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
                stream.write_all(answer.as_bytes()).await?;
            }
            Reply::Fickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
                return Ok(());
            }
            Reply::Raw(raw) => stream.write_all(raw).await?,
            Reply::Last(raw) => return stream.write_all(raw).await,
            Reply::Endless(raw) => loop {
                stream.write_all(raw).await?;
            },
            Reply::Hang => {
                let mut bytes = [0; 1024];
                while stream.read(&mut bytes).await? > 0 {}
                return Ok(());
            }
            Reply::Late(wait, raw) => {
                let mut byte = [0];
                // Waits for the client to go, or for its time.
                if timeout(*wait, stream.read(&mut byte)).await.is_ok() {
                    return Ok(());
                }
                stream.write_all(raw).await?;
            }
            Reply::Reset => return Ok(()),
        }
    }
    Ok(())
}

/// One request's head, its body read and dropped, and what came after.
async fn read_request(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            });
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() >= whole {
                return Ok(Some((head, bytes[whole..].to_vec())));
            }
        }
        let n = stream.read(&mut piece).await?;
        if n == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..n]);
    }
}

/// A client with one connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    /// `None`: it broke off.
    pub(crate) body: Option<String>,
}

impl Client {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Got {
        self.send(Request::get(path).header("host", "portal")).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Got {
        self.send_with(Request::post(path).header("host", "portal"), "name=a").await
    }

    pub(crate) async fn send(&mut self, request: hyper::http::request::Builder) -> Got {
        self.send_with(request, "").await
    }

    pub(crate) async fn send_with(
        &mut self,
        request: hyper::http::request::Builder,
        body: &'static str,
    ) -> Got {
        if self.sender.ready().await.is_err() {
            *self = Self::new(self.address).await;
        }
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        match patiently("an answer", self.sender.send_request(request)).await {
            Ok(response) => read(response).await,
            Err(_) => Got { status: 0, reason: None, body: None },
        }
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Got {
    let status: StatusCode = response.status();
    let reason = response.headers().get("hmsops-gateway").map(|value| value.to_str().unwrap().to_owned());
    let body = patiently("a body", response.into_body().collect()).await;
    let body = body.ok().map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Got { status: status.as_u16(), reason, body }
}

/// Sends these bytes and returns all that comes until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = patiently("the end", stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}
