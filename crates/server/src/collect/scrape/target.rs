//! One target: asked at its moments until it is asked no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmsops_model::network::Network;
use hmsops_model::scrape::{ALLOW_PRIVATE, ScrapeSpec, Target};
use hmsops_model::{Millis, UnixMillis};
use hmsops_wire::exposition::{self, ExpositionError};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::fetch::{Page, fetch};
use super::pace::Pace;
use super::page::{Had, Stamp, gone};
use super::{Board, TargetHealth};
use crate::collect::metrics::Sample;
use crate::collect::{Door, Metrics};

/// Samples of a page whose job sets no limit; some hundred bytes each while it is read.
const SAMPLES_MAX: usize = 300_000;

/// Pages read at a time: bounds what they take to some hundred megabytes.
static READ: Semaphore = Semaphore::const_new(4);

/// The samples about each scrape.
const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// What is asked, how, and what its samples are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Plan {
    job: String,
    address: String,
    path: String,
    interval: Millis,
    timeout: Millis,
    samples_max: usize,
    honor_labels: bool,
    labels: BTreeMap<String, String>,
    /// Networks that are not public in which a named target may be.
    allow_private: Vec<Network>,
}

impl Plan {
    pub(super) fn new(spec: &ScrapeSpec, target: &Target) -> Self {
        let mut labels = target.labels.clone();
        let allowed = labels.remove(ALLOW_PRIVATE).unwrap_or_default();
        let allow_private = allowed.split(',').filter_map(|network| network.trim().parse().ok()).collect();
        labels.entry("job".into()).or_insert_with(|| spec.job.clone());
        labels.entry("instance".into()).or_insert_with(|| target.address.clone());
        let samples_max =
            spec.sample_limit.map_or(SAMPLES_MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self {
            job: spec.job.clone(),
            address: target.address.clone(),
            path: spec.metrics_path.clone(),
            interval: spec.interval,
            timeout: spec.timeout.min(spec.interval),
            samples_max: samples_max.min(SAMPLES_MAX),
            honor_labels: spec.honor_labels,
            labels,
            allow_private,
        }
    }

    fn health(&self) -> TargetHealth {
        TargetHealth {
            job: self.job.clone(),
            url: format!("http://{}{}", self.address, self.path),
            labels: self.labels.clone(),
            up: None,
            error: None,
            asked_at: None,
            took: Millis::ZERO,
            samples: 0,
            interval: self.interval,
        }
    }
}

/// A target that is being asked; dropped, it is asked no more and its series are marked as gone.
#[derive(Debug)]
pub(super) struct Task {
    _stop: oneshot::Sender<()>,
    asking: JoinHandle<()>,
}

impl Task {
    pub(super) fn start(plan: Plan, metrics: Metrics, board: &Board) -> Self {
        let (stop, stopped) = oneshot::channel();
        let board = board.clone();
        let asking = tokio::spawn(async move {
            let mut scrape = Scrape::new(plan, metrics, board);
            tokio::select! {
                () = scrape.keep_asking() => {}
                _ = stopped => {}
            }
            scrape.end().await;
        });
        Self { _stop: stop, asking }
    }

    /// Ends it without a mark: the tower stops, and goes on with the same series when it is started again.
    pub(super) fn leave(self) {
        self.asking.abort();
    }
}

/// What was on a page.
struct Read {
    /// With marks for what is not on it any more.
    samples: Vec<Sample>,
    scraped: usize,
    added: usize,
}

fn had(known: &Mutex<Had>) -> MutexGuard<'_, Had> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one target's task knows.
pub(super) struct Scrape {
    plan: Plan,
    stamp: Stamp,
    pace: Pace,
    metrics: Metrics,
    board: Board,
    had: Arc<Mutex<Had>>,
    /// When it was last asked, in Unix milliseconds.
    asked_at: Option<i64>,
}

impl Scrape {
    pub(super) fn new(plan: Plan, metrics: Metrics, board: Board) -> Self {
        let stamp = Stamp { labels: plan.labels.clone(), honor_labels: plan.honor_labels };
        let pace = Pace::new(plan.interval, &(&plan.job, &plan.address, &plan.path));
        board.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.clone(), plan.health());
        Self { plan, stamp, pace, metrics, board, had: Arc::default(), asked_at: None }
    }

    fn now(&self) -> i64 {
        self.metrics.clock().now().wall.0
    }

    async fn keep_asking(&mut self) {
        let mut due = self.pace.after(self.now());
        loop {
            let wait = u64::try_from(due - self.now()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.ask(Pace::snap(due, self.now())).await;
            // A moment that passed meanwhile is left out; a timer that is early must not ask twice.
            due = self.pace.after(self.now().max(due));
        }
    }

    /// Asks once; `time` is that of the samples.
    pub(super) async fn ask(&mut self, time: i64) {
        let clock = self.metrics.clock();
        let begun = clock.now().steady;
        let page =
            fetch((&self.plan.address, &self.plan.allow_private), &self.plan.path, self.plan.timeout).await;
        let took = clock.now().steady.since(begun);
        let read = match page {
            Ok(page) => self.read(page, time).await,
            Err(why) => Err(why),
        };
        self.asked_at = Some(time);
        let (up, Read { mut samples, scraped, added }, error) = match read {
            Ok(read) => (1.0, read, None),
            Err(why) => (0.0, Read { samples: had(&self.had).end(time), scraped: 0, added: 0 }, Some(why)),
        };
        let values = [up, took.as_secs_f64(), scraped as f64, scraped as f64, added as f64];
        samples.extend(REPORTS.iter().zip(values).map(|(name, value)| self.stamp.report(name, time, value)));
        self.write_down(time, took, scraped, error);
        self.store(samples).await;
    }

    /// Reads a page on a thread that may be busy with it for a while.
    async fn read(&self, page: Page, time: i64) -> Result<Read, String> {
        let _place = READ.acquire().await;
        let (samples_max, stamp, known) = (self.plan.samples_max, self.stamp.clone(), self.had.clone());
        let families = self.metrics.families().clone();
        let read = tokio::task::spawn_blocking(move || {
            let parsed = exposition::parse(&page.bytes, page.format, samples_max)?;
            families.note_all(&parsed.families);
            let (samples, added) = had(&known).turn(&stamp, time, &parsed);
            Ok(Read { samples, scraped: parsed.samples.len(), added })
        });
        match read.await {
            Ok(read) => read.map_err(|error: ExpositionError| format!("the page can't be read at {error}")),
            Err(_) => Err("reading the page ended before its time".into()),
        }
    }

    async fn store(&self, samples: Vec<Sample>) {
        let url = || format!("http://{}{}", self.plan.address, self.plan.path);
        match self.metrics.append(Door::Scrape, samples).await {
            Ok(appended) if appended.refused.total() > 0 => {
                let (n, first) = (appended.refused.total(), appended.refused.first.unwrap_or_default());
                tracing::debug!("scrape of {}: {n} samples were refused; the first: {first}", url());
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("scrape of {}: nothing was stored: {error}", url()),
        }
    }

    fn write_down(&self, time: i64, took: Millis, samples: usize, error: Option<String>) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(health) = board.get_mut(&self.plan) else { return };
        let up = error.is_none();
        match (health.up, &error) {
            (Some(true) | None, Some(why)) => tracing::warn!("scrape of {}: {why}", health.url),
            (Some(false), None) => tracing::info!("scrape of {}: it answers again", health.url),
            _ => {}
        }
        *health = TargetHealth {
            up: Some(up),
            error,
            asked_at: Some(UnixMillis(time)),
            took,
            samples,
            ..health.clone()
        };
    }

    /// How the target is doing.
    #[cfg(test)]
    pub(super) fn health(&self) -> TargetHealth {
        self.board.lock().unwrap().get(&self.plan).unwrap().clone()
    }

    /// The target is asked no more.
    pub(super) async fn end(self) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.plan);
        let Some(asked_at) = self.asked_at else { return };
        let time = self.now().max(asked_at + 1);
        let mut samples = had(&self.had).end(time);
        let reports = REPORTS.iter().map(|name| gone(&self.stamp.report(name, time, 0.0).labels, time));
        samples.extend(reports);
        self.store(samples).await;
    }
}
