//! One target: asked at its moments until it is asked no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmsops_model::{Millis, UnixMillis};
use hmsops_wire::exposition;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::fetch::{Page, fetch};
use super::job::Plan;
use super::pace::Pace;
use super::page::{Had, Stamp, Turned, gone};
use super::{Board, TargetHealth};
use crate::collect::metrics::Sample;
use crate::collect::{Door, Metrics};

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

fn health(plan: &Plan) -> TargetHealth {
    TargetHealth {
        job: plan.key.job.clone(),
        url: plan.key.url.clone(),
        labels: plan.key.labels.clone(),
        discovered: plan.discovered.clone(),
        up: None,
        error: None,
        asked_at: None,
        took: Millis::ZERO,
        samples: 0,
        interval: plan.interval,
        timeout: plan.timeout,
    }
}

/// A target that is being asked; dropped, it is asked no more and its series are marked as gone.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) plan: Plan,
    _stop: oneshot::Sender<()>,
    asking: JoinHandle<()>,
}

impl Task {
    pub(super) fn start(plan: Plan, metrics: Metrics, board: &Board) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (board, asked) = (board.clone(), plan.clone());
        let asking = tokio::spawn(async move {
            let mut scrape = Scrape::new(asked, metrics, board);
            tokio::select! {
                () = scrape.keep_asking() => {}
                _ = stopped => {}
            }
            scrape.end().await;
        });
        Self { plan, _stop: stop, asking }
    }

    /// Ends it without a mark: the tower stops, and goes on with the same series when it is started again.
    pub(super) fn leave(self) {
        self.asking.abort();
    }
}

/// What was on a page.
#[derive(Default)]
struct Read {
    /// With marks for what is not on it any more.
    samples: Vec<Sample>,
    scraped: usize,
    kept: usize,
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
        let stamp = Stamp { labels: plan.key.labels.clone(), job: Arc::clone(&plan.job) };
        let pace = Pace::new(plan.interval, &(&plan.key.job, &plan.key.url));
        board.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.key.clone(), health(&plan));
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
        let page = fetch(&self.plan).await;
        let took = clock.now().steady.since(begun);
        let read = match page {
            Ok(page) => self.read(page, time).await,
            Err(why) => Err(why),
        };
        self.asked_at = Some(time);
        let (up, Read { mut samples, scraped, kept, added }, error) = match read {
            Ok(read) => (1.0, read, None),
            Err(why) => (0.0, Read { samples: had(&self.had).end(time), ..Read::default() }, Some(why)),
        };
        let values = [up, took.as_secs_f64(), scraped as f64, kept as f64, added as f64];
        samples.extend(REPORTS.iter().zip(values).map(|(name, value)| self.stamp.report(name, time, value)));
        self.write_down(time, took, scraped, error);
        self.store(samples).await;
    }

    /// Reads a page on a thread that may be busy with it for a while.
    async fn read(&self, page: Page, time: i64) -> Result<Read, String> {
        let _place = READ.acquire().await;
        let (samples_max, stamp, known) = (self.plan.job.samples_max(), self.stamp.clone(), self.had.clone());
        let families = self.metrics.families().clone();
        let read = tokio::task::spawn_blocking(move || {
            let parsed = exposition::parse(&page.bytes, page.format, samples_max)
                .map_err(|error| format!("the page can't be read at {error}"))?;
            families.note_all(&parsed.families);
            let Turned { samples, added, kept } = had(&known).turn(&stamp, time, &parsed)?;
            Ok(Read { samples, scraped: parsed.samples.len() + parsed.histograms.len(), kept, added })
        });
        read.await.unwrap_or_else(|_| Err("reading the page ended before its time".into()))
    }

    async fn store(&self, samples: Vec<Sample>) {
        let url = &self.plan.key.url;
        match self.metrics.append(Door::Scrape, samples).await {
            Ok(appended) if appended.refused.total() > 0 => {
                let (n, first) = (appended.refused.total(), appended.refused.first.unwrap_or_default());
                tracing::debug!("scrape of {url}: {n} samples were refused; the first: {first}");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("scrape of {url}: nothing was stored: {error}"),
        }
    }

    fn write_down(&self, time: i64, took: Millis, samples: usize, error: Option<String>) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(health) = board.get_mut(&self.plan.key) else { return };
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
        self.board.lock().unwrap().get(&self.plan.key).unwrap().clone()
    }

    /// The target is asked no more.
    pub(super) async fn end(self) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.plan.key);
        let Some(asked_at) = self.asked_at else { return };
        let time = self.now().max(asked_at + 1);
        let mut samples = had(&self.had).end(time);
        let reports = REPORTS.iter().map(|name| gone(&self.stamp.report(name, time, 0.0).labels, time));
        samples.extend(reports);
        self.store(samples).await;
    }
}
