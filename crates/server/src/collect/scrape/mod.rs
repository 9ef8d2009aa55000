//! Scraping: targets that people declare, and the instances that the tower runs, are asked for their metrics.

mod fetch;
mod pace;
mod page;
mod target;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_control::state::State;
use hmsops_control::state::service::InstancePhase;
use hmsops_model::scrape::{ScrapeSpec, Target};
use hmsops_model::{Millis, UnixMillis};
use tokio::sync::watch;

use super::Metrics;
use crate::Engine;
use crate::repo::Scrapes;
use target::{Plan, Task};

/// Instances of ours are asked this often: alerts on their metrics are to hold within seconds.
const INSTANCE_INTERVAL: Millis = Millis::from_secs(5);

/// Targets at a time. Each is a task with the labels that it last had.
const TARGETS_MAX: usize = 10_000;

/// How a target is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetHealth {
    /// The job.
    pub job: String,
    /// What is asked for: `http://host:port/path`.
    pub url: String,
    /// What is put on every sample.
    pub labels: BTreeMap<String, String>,
    /// Whether it answered with a page that can be read; `None`: it has not been asked yet.
    pub up: Option<bool>,
    /// What was wrong the last time.
    pub error: Option<String>,
    /// When it was last asked.
    pub asked_at: Option<UnixMillis>,
    /// How long that took.
    pub took: Millis,
    /// Samples on the page.
    pub samples: usize,
    /// Between two scrapes.
    pub interval: Millis,
}

/// How targets are doing, by what they are.
type Board = Arc<Mutex<BTreeMap<Plan, TargetHealth>>>;

/// Asks targets for their metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scraper {
    specs: Arc<watch::Sender<Vec<ScrapeSpec>>>,
    board: Board,
}

impl Scraper {
    /// Begins with the instances that the tower runs. Must be called inside a tokio runtime.
    pub fn start(metrics: Metrics, engine: Engine) -> Self {
        let (specs, wanted) = watch::channel(Vec::new());
        let board = Board::default();
        tokio::spawn(run(metrics, engine, wanted, board.clone()));
        Self { specs: Arc::new(specs), board }
    }

    /// From now on exactly these, besides the instances. A target that stays keeps its schedule; one that goes
    /// is marked as gone.
    pub fn set(&self, specs: Vec<ScrapeSpec>) {
        self.specs.send_if_modified(|known| {
            let is_new = *known != specs;
            if is_new {
                *known = specs;
            }
            is_new
        });
    }

    /// Asks what the files of a repo declare, whatever they come to declare, for as long as they are watched.
    pub async fn follow(self, mut declared: watch::Receiver<Scrapes>) {
        loop {
            let specs = declared.borrow_and_update().values().flatten().cloned().collect();
            self.set(specs);
            if declared.changed().await.is_err() {
                return;
            }
        }
    }

    /// All targets, in no order that means anything.
    pub fn targets(&self) -> Vec<TargetHealth> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Until the tower ends, or nobody holds the scraper any more.
async fn run(metrics: Metrics, engine: Engine, mut wanted: watch::Receiver<Vec<ScrapeSpec>>, board: Board) {
    let mut changes = engine.changes();
    let mut tasks: BTreeMap<Plan, Task> = BTreeMap::new();
    let (mut generation, mut is_full) = (None, false);
    loop {
        let snapshot = changes.borrow_and_update().clone();
        if generation != Some(snapshot.generation) {
            generation = Some(snapshot.generation);
            let specs = wanted.borrow_and_update().clone();
            let mut plans: Vec<Plan> = instances(&snapshot.state).chain(declared(&specs)).collect();
            plans.sort();
            plans.dedup();
            if plans.len() > TARGETS_MAX && !is_full {
                let count = plans.len();
                tracing::error!("scrape: {count} targets are declared, only {TARGETS_MAX} are asked");
            }
            is_full = plans.len() > TARGETS_MAX;
            plans.truncate(TARGETS_MAX);
            turn(&mut tasks, plans, &metrics, &board);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                generation = None;
            }
        }
    }
    tasks.into_values().for_each(Task::leave);
}

/// Starts what is new and ends what is gone.
fn turn(tasks: &mut BTreeMap<Plan, Task>, plans: Vec<Plan>, metrics: &Metrics, board: &Board) {
    let mut before = std::mem::take(tasks);
    for plan in plans {
        let task = before.remove(&plan).unwrap_or_else(|| Task::start(plan.clone(), metrics.clone(), board));
        tasks.insert(plan, task);
    }
    // Dropping a task ends it.
}

/// The instances that say where they can be scraped.
fn instances(state: &State) -> impl Iterator<Item = Plan> + '_ {
    let all = state.services.values().flat_map(|service| service.instances.values());
    let running = all.filter(|known| known.phase == InstancePhase::Running);
    running.filter_map(|known| {
        let address = known.metrics.clone()?;
        let (service, version) = (known.instance.service.to_string(), known.instance.version.to_string());
        let labels = [("service", service.clone()), ("version", version)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        let spec = ScrapeSpec {
            job: service,
            targets: Vec::new(),
            interval: INSTANCE_INTERVAL,
            timeout: INSTANCE_INTERVAL,
            metrics_path: "/metrics".into(),
            scheme: hmsops_model::scrape::Scheme::Http,
            sample_limit: None,
            honor_labels: false,
        };
        Some(Plan::new(&spec, &Target { address, labels }))
    })
}

fn declared(specs: &[ScrapeSpec]) -> impl Iterator<Item = Plan> + '_ {
    specs.iter().flat_map(|spec| spec.targets.iter().map(|target| Plan::new(spec, target)))
}

#[cfg(test)]
mod tests;
