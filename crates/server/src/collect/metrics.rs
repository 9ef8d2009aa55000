//! The metric store as everything that fills it sees it: off the threads that serve, bounded, and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmsops_config::TowerConfig;
use hmsops_disk::Disk;
use hmsops_model::{Labels, UnixMillis, Value};
use hmsops_tsdb::{Appended, Batch, Key, Options, Row, Stats, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::collect::GatewayTraffic;
use crate::exemplars::Exemplars;
use crate::families::Families;

/// The store's folder in the data folder.
const FOLDER: &str = "metrics";

/// Batches stored at a time: one sync of the disk serves all that wait for it, and each of them holds a thread.
const APPENDS_MAX: usize = 64;

/// A batch that has found no place among them by then is sent away.
pub(super) const PLACE_WAIT: Duration = Duration::from_secs(2);

/// Bytes of requests that may be under way, of all doors together: sixty-four of the largest batches.
pub(crate) const BODIES_BYTES_MAX: usize = 256 << 20;

/// Between two looks whether a checkpoint is due.
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);

/// Where samples come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Plain HTTP on the collector's port: the SDK.
    Emit,
    /// gRPC on the same port.
    Grpc,
    /// `POST /hms/v1/metrics`.
    Api,
    /// `POST /api/v1/write`.
    RemoteWrite,
    /// OTLP, over gRPC and HTTP.
    Otlp,
    /// Targets that are asked.
    Scrape,
    /// What rules record.
    Rules,
    /// The tower itself.
    Own,
}

impl Door {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Emit,
        Self::Grpc,
        Self::Api,
        Self::RemoteWrite,
        Self::Otlp,
        Self::Scrape,
        Self::Rules,
        Self::Own,
    ];

    /// As the label `door` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Grpc => "grpc",
            Self::Api => "api",
            Self::RemoteWrite => "remote_write",
            Self::Otlp => "otlp",
            Self::Scrape => "scrape",
            Self::Rules => "rules",
            Self::Own => "own",
        }
    }
}

/// What became of evaluations of recording rules since the start.
#[derive(Debug, Default)]
pub(crate) struct RuleMeter {
    /// Rules evaluated, those that failed included.
    pub(crate) evaluations: AtomicU64,
    /// Rules that failed.
    pub(crate) failures: AtomicU64,
    /// Evaluations of groups that were given up, because too much time had passed.
    pub(crate) missed: AtomicU64,
}

impl RuleMeter {
    pub(crate) fn evaluated(&self, is_failed: bool) {
        self.evaluations.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(is_failed), Ordering::Relaxed);
    }

    pub(crate) fn missed(&self, evaluations: u64) {
        self.missed.fetch_add(evaluations, Ordering::Relaxed);
    }
}

/// What one door has counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Batches stored, repeats included.
    pub(crate) batches: AtomicU64,
    /// Batches of which nothing was taken: malformed, too large, without the right to be sent.
    pub(crate) rejected: AtomicU64,
    /// Batches sent away because too many were under way, or the store takes nothing.
    pub(crate) unavailable: AtomicU64,
    /// Samples stored.
    pub(crate) samples: AtomicU64,
    /// Samples refused, by the form or by the store.
    pub(crate) refused: AtomicU64,
}

/// Why a batch was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Too much is under way.
    #[error("too many batches are being stored at the moment")]
    Busy,
    /// The store takes nothing.
    #[error("{}", .0.chain())]
    Store(#[from] StoreError),
    /// A fault of ours, or the tower is stopping.
    #[error("storing the batch ended before its time")]
    Ended,
}

impl From<Busy> for AppendError {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::Full => Self::Busy,
            Busy::Ended => Self::Ended,
        }
    }
}

/// Why work on the store was not begun, or not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// All places are taken.
    Full,
    /// It ended before its time.
    Ended,
}

/// A sample that owns its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of which series.
    pub labels: Labels,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// When its counter began, in Unix milliseconds; 0 when unknown.
    pub start: i64,
    /// What.
    pub value: Value,
}

/// The metric store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    appends: Arc<Semaphore>,
    /// Bytes of requests that may still come in.
    bodies: Arc<Semaphore>,
    /// In the order of [`Door::ALL`].
    meters: [Meter; 8],
    rules: RuleMeter,
    growing: super::otlp::Growing,
    /// Samples refused before the store saw them.
    malformed: AtomicU64,
    /// Connections that were not taken.
    /// Why the store takes nothing, as of the last look.
    failing: Mutex<Option<String>>,
    /// What targets say of their metrics.
    families: Arc<Families>,
    /// Examples of what series counted.
    exemplars: Arc<Exemplars>,
    /// What gateways count.
    traffic: GatewayTraffic,
}

impl Metrics {
    /// Opens or makes the store in the data folder. Blocks while it is read.
    pub fn open(disk: Arc<dyn Disk>, config: &TowerConfig, clock: Clock) -> Result<Self, StoreError> {
        let options = Options {
            series_max: usize::try_from(config.metrics.series_max).unwrap_or(usize::MAX),
            retention: config.retention.metrics,
            late_window: config.metrics.out_of_order_window,
            ..Options::default()
        };
        let (store, recovered) = Store::open(disk, FOLDER, options, clock.now().wall)?;
        for warning in &recovered.warnings {
            tracing::warn!("metrics: {warning}");
        }
        if recovered.torn_bytes > 0 {
            let bytes = recovered.torn_bytes;
            tracing::info!(
                "metrics: {bytes} bytes at the end of the log were never acknowledged, and cut off"
            );
        }
        if recovered.series > 0 {
            tracing::info!("metrics: recovered {} series", recovered.series);
        }
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            meters: Default::default(),
            rules: RuleMeter::default(),
            growing: super::otlp::Growing::default(),
            malformed: AtomicU64::new(0),
            failing: Mutex::default(),
            families: Arc::default(),
            exemplars: Arc::default(),
            traffic: GatewayTraffic::default(),
        })))
    }

    /// The store itself, for readers. Its calls block.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What gateways count.
    pub fn traffic(&self) -> &GatewayTraffic {
        &self.0.traffic
    }

    /// What targets say of their metrics beside the values.
    pub fn families(&self) -> &Arc<Families> {
        &self.0.families
    }

    /// Examples of what series counted.
    pub fn exemplars(&self) -> &Arc<Exemplars> {
        &self.0.exemplars
    }

    /// What the store counts; taken where it may block.
    pub async fn stats(&self) -> Stats {
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || store.stats()).await.unwrap_or_default()
    }

    /// Why the store takes nothing since its last write, if so.
    pub fn failing(&self) -> Option<String> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores samples of the tower itself and of targets, which no request holds.
    pub async fn append(&self, door: Door, samples: Vec<Sample>) -> Result<Appended, AppendError> {
        let appended = self
            .work(move |store, now| {
                let rows = samples.iter().map(|sample| {
                    let Sample { labels, time, start, value } = sample;
                    Row { key: Key::Labels(labels), time: *time, start: *start, value: value.clone() }
                });
                store.append(now, &Batch { origin: None, rows: rows.collect() })
            })
            .await;
        let appended =
            appended.map_err(AppendError::from).and_then(|outcome| outcome.map_err(AppendError::from));
        self.count(door, &appended);
        appended
    }

    /// Does something with the store on a thread that may block. At most [`APPENDS_MAX`] at a time.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, UnixMillis) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = tokio::time::timeout(PLACE_WAIT, self.0.appends.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Busy::Full) };
        let (store, clock) = (self.0.store.clone(), self.0.clock);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&store, clock.now().wall);
            drop(place);
            done
        });
        done.await.map_err(|_| Busy::Ended)
    }

    /// The room for requests' bytes.
    pub(crate) fn bodies(&self) -> &Arc<Semaphore> {
        &self.0.bodies
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// What one door counted.
    pub(crate) fn meter(&self, door: Door) -> &Meter {
        let [emit, grpc, api, remote_write, otlp, scrape, rules, own] = &self.0.meters;
        match door {
            Door::Emit => emit,
            Door::Grpc => grpc,
            Door::Api => api,
            Door::RemoteWrite => remote_write,
            Door::Otlp => otlp,
            Door::Scrape => scrape,
            Door::Rules => rules,
            Door::Own => own,
        }
    }

    /// What OTLP says by how much it has grown.
    pub(super) fn growing(&self) -> &super::otlp::Growing {
        &self.0.growing
    }

    /// What became of recording rules.
    pub(crate) fn rules(&self) -> &RuleMeter {
        &self.0.rules
    }

    /// Samples refused before the store saw them.
    pub(crate) fn malformed(&self) -> u64 {
        self.0.malformed.load(Ordering::Relaxed)
    }

    /// Counts samples that can't be stored whatever the store says.
    pub(crate) fn count_malformed(&self, door: Door, samples: u64) {
        self.0.malformed.fetch_add(samples, Ordering::Relaxed);
        self.meter(door).refused.fetch_add(samples, Ordering::Relaxed);
    }

    /// Counts a batch of which nothing was taken.
    pub(crate) fn count_rejected(&self, door: Door) {
        self.meter(door).rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what became of a batch.
    pub(crate) fn count(&self, door: Door, outcome: &Result<Appended, AppendError>) {
        let meter = self.meter(door);
        match outcome {
            Ok(appended) => {
                if appended.stored > 0 {
                    self.note(None);
                }
                meter.batches.fetch_add(1, Ordering::Relaxed);
                meter.samples.fetch_add(appended.stored as u64, Ordering::Relaxed);
                meter.refused.fetch_add(appended.refused.total() as u64, Ordering::Relaxed);
            }
            Err(AppendError::Store(StoreError::TooLarge { .. } | StoreError::Source { .. })) => {
                meter.rejected.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                meter.unavailable.fetch_add(1, Ordering::Relaxed);
                if let AppendError::Store(error) = error {
                    self.note(Some(error.chain()));
                }
            }
        }
    }

    /// Writes down whether the store takes anything, and says so when that changes.
    fn note(&self, failing: Option<String>) {
        let mut known = self.0.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &failing) {
            (None, Some(why)) => tracing::error!("metrics: nothing is stored: {why}"),
            (Some(_), None) => tracing::info!("metrics: samples are stored again"),
            _ => {}
        }
        *known = failing;
    }

    /// Keeps house until the tower ends: checkpoints, retention, and opening a log again that failed.
    pub async fn keep(self) {
        let mut due = tokio::time::interval(MAINTAIN_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said: Option<String> = None;
        loop {
            due.tick().await;
            let metrics = self.clone();
            let kept = tokio::task::spawn_blocking(move || metrics.keep_once()).await;
            let Ok(trouble) = kept else { continue };
            if let Some(trouble) = trouble.as_ref().filter(|trouble| said.as_ref() != Some(trouble)) {
                tracing::warn!("metrics: no checkpoint could be made, and the log grows: {trouble}");
            }
            said = trouble;
        }
    }

    /// One round of it; answers why no checkpoint could be made.
    fn keep_once(&self) -> Option<String> {
        let store = &self.0.store;
        if store.stats().latched.is_some() {
            // What was acknowledged is there; what failed was answered with an error and is sent again.
            if let Err(error) = store.reopen() {
                self.note(Some(error.chain()));
                return None;
            }
        }
        self.note(None);
        store.maintain(self.0.clock.now().wall).err().map(|error| error.chain())
    }
}
