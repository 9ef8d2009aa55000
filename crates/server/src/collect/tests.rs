//! Metrics on their way in, over real sockets, into a real store.

mod counting;
mod emitting;
mod exporting;
mod reading;
mod second;
mod secured;
mod writing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hmsops_config::TowerConfig;
use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk, Spill, SpillThread};
use hmsops_ledger::{FileLedger, FileSideLog};
use hmsops_model::series::{Budget, Hints, Selection, Series};
use hmsops_model::{MatchOp, Matcher, SeriesSource as _};
use hmsops_tower::Tower;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::{Metrics, listener};
use crate::Engine;
use crate::clock::Clock;
use crate::door::{Auth, Context, Reception, folder, router};
use crate::hands::{Queues, spill::LocalSpill};

/// A tower without hands, its metric store on a disk that can fail, and its collector's port.
pub(crate) struct Site {
    pub(crate) metrics: Metrics,
    pub(crate) engine: Engine,
    router: axum::Router,
    auth: Arc<Auth>,
    token: String,
    at: SocketAddr,
    faults: Faults,
    disk: Arc<dyn Disk>,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(TowerConfig::default()).await
    }

    async fn with(config: TowerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let real: Arc<dyn Disk> = Arc::new(hmsops_disk::RealDisk::new(dir.path()).unwrap());
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let (ledger, recovered) = FileLedger::open(real.clone(), "ledger", "tower").unwrap();
        let reader = ledger.reader();
        let spill = SpillThread::start(Spill::open(&real, "spill", 1 << 16).unwrap()).unwrap();
        let side = FileSideLog::open(real.clone(), "evidence").unwrap();
        let spill = Box::new(LocalSpill(spill));
        let tower = Tower::recover(Box::new(ledger), &recovered, spill, Box::new(side)).unwrap();
        let clock = Clock::after(None);
        let hands = Queues {
            gateways: BTreeMap::new(),
            process: mpsc::channel(64).0,
            heals: mpsc::channel(1).0,
            notices: mpsc::channel(1).0,
        };
        let engine = crate::engine::start(tower, clock, hands, mpsc::channel(1).0).unwrap();
        let auth = Arc::new(Auth::open(real, false).unwrap());
        let token = folder::admin_token(dir.path()).unwrap();
        let metrics = Metrics::open(disk.clone(), &config, clock).unwrap();
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = port.local_addr().unwrap();
        tokio::spawn(listener::run(port, metrics.clone(), auth.clone(), engine.clone()));
        let data = dir.path().to_owned();
        let reception = Arc::new(Reception::open(disk.clone(), None, BTreeMap::new()).unwrap());
        let setting =
            crate::evaluate::record::RecordSetting { interval: 15_000, query_offset: 0, backfill: 0 };
        let context = Context {
            recorder: crate::evaluate::record::Recorder::new(metrics.clone(), clock, setting),
            scraper: crate::collect::Scraper::start(metrics.clone(), engine.clone(), data.clone()),
            engine: engine.clone(),
            auth: auth.clone(),
            recall: crate::recall::Recall::new(data.clone(), reader.clone()),
            ledger: reader,
            data,
            settings: None,
            clock,
            metrics: metrics.clone(),
            title: None,
            queries: crate::query::Queries::new(Arc::new(metrics.store().clone())),
            families: metrics.families().clone(),
            notify: Arc::default(),
            gateways: Arc::default(),
            transport: None,
            troubles: tokio::sync::watch::channel(BTreeMap::new()).1,
            reception,
        };
        Self { metrics, engine, router: router(context), auth, token, at, faults, disk, dir }
    }

    /// Series of a name with all their samples.
    pub(crate) fn series(&self, name: &str) -> Vec<Series> {
        series(&self.metrics, name)
    }

    pub(crate) fn now(&self) -> i64 {
        self.metrics.clock().now().wall.0
    }

    /// A POST to the tower's own port, as the admin.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        use tower::ServiceExt as _;
        let request = Request::post(path).header("authorization", format!("Bearer {}", self.token));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response =
            self.router.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
        Answer::read(response).await
    }
}

pub(crate) fn series(metrics: &Metrics, name: &str) -> Vec<Series> {
    let matchers = [Matcher::new("__name__", MatchOp::Eq, name)];
    let selection = Selection { matchers: &matchers, from: 0, to: i64::MAX, hints: Hints::default() };
    let budget = Budget::new(1_000_000, 1 << 30);
    let mut found: Vec<Series> =
        metrics.store().select(&selection, &budget).unwrap().map(Result::unwrap).collect();
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    found
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn read<B>(response: Response<B>) -> Self
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What a problem says.
    fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

/// Sends one request over plain HTTP/1.1.
async fn send(at: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = Answer::read(sender.send_request(request).await.unwrap()).await;
    driver.abort();
    answer
}
