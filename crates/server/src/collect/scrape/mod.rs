//! Scraping: targets that people declare, and the instances that the tower runs, are asked for their metrics.

mod client;
mod discovery;
mod fetch;
mod job;
mod pace;
mod page;
mod relabel;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_control::state::State;
use hmsops_control::state::service::InstancePhase;
use hmsops_model::scrape::{HttpClient, Protocol, Scheme, ScrapeLimits, ScrapeSpec, Target};
use hmsops_model::{Millis, UnixMillis};
use tokio::sync::{Notify, watch};

use super::Metrics;
use crate::Engine;
use crate::repo::Scrapes;
use discovery::Search;
use job::{Fate, Found, Job, Key, Plan};
use target::Task;

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
    /// Its labels before the rules.
    pub discovered: BTreeMap<String, String>,
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
    /// After which a scrape has failed.
    pub timeout: Millis,
}

/// A job as it is: what was found for it, and what became of that.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pool {
    /// The job.
    pub job: String,
    /// Targets that rules dropped, with their labels before: the first thousand.
    pub dropped: Vec<BTreeMap<String, String>>,
    /// How many were dropped.
    pub dropped_count: usize,
    /// What was wrong with what was found, and with finding it.
    pub errors: Vec<String>,
}

/// Dropped targets of a job that are kept to be looked at.
const DROPPED_MAX: usize = 1000;

/// Errors of a job that are kept.
const ERRORS_MAX: usize = 100;

/// How targets are doing, by what they are.
type Board = Arc<Mutex<BTreeMap<Key, TargetHealth>>>;

/// Asks targets for their metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scraper {
    specs: Arc<watch::Sender<Vec<ScrapeSpec>>>,
    board: Board,
    pools: Arc<Mutex<Vec<Pool>>>,
}

impl Scraper {
    /// Begins with the instances that the tower runs. `secrets` is the folder of the secrets that scrape files may name.
    /// Must be called inside a tokio runtime.
    pub fn start(metrics: Metrics, engine: Engine, secrets: PathBuf) -> Self {
        let (specs, wanted) = watch::channel(Vec::new());
        let (board, pools) = (Board::default(), Arc::default());
        let round = Round {
            metrics,
            board: board.clone(),
            pools: Arc::clone(&pools),
            secrets: Arc::new(secrets),
            changed: Arc::default(),
            jobs: Vec::new(),
            searches: BTreeMap::new(),
            tasks: BTreeMap::new(),
            is_full: false,
        };
        tokio::spawn(round.run(engine, wanted));
        Self { specs: Arc::new(specs), board, pools }
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

    /// The jobs of the files, in their order.
    pub fn pools(&self) -> Vec<Pool> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is asked now, and what that comes from.
struct Round {
    metrics: Metrics,
    board: Board,
    pools: Arc<Mutex<Vec<Pool>>>,
    secrets: Arc<PathBuf>,
    /// A discovery sees something else.
    changed: Arc<Notify>,
    jobs: Vec<Arc<Job>>,
    /// By the place of the job, and of the discovery in it.
    searches: BTreeMap<(String, usize), Search>,
    tasks: BTreeMap<Key, Task>,
    is_full: bool,
}

impl Round {
    /// Until the tower ends, or nobody holds the scraper any more.
    async fn run(mut self, engine: Engine, mut wanted: watch::Receiver<Vec<ScrapeSpec>>) {
        let mut changes = engine.changes();
        let (mut generation, changed) = (None, Arc::clone(&self.changed));
        loop {
            let snapshot = changes.borrow_and_update().clone();
            if generation != Some(snapshot.generation) {
                generation = Some(snapshot.generation);
                let specs = wanted.borrow_and_update().clone();
                self.take(specs);
                self.turn(&snapshot.state);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                changed = wanted.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    generation = None;
                }
                () = changed.notified() => generation = None,
            }
        }
        self.tasks.into_values().for_each(Task::leave);
    }

    /// From now on these jobs; one that stays goes on.
    fn take(&mut self, specs: Vec<ScrapeSpec>) {
        if self.jobs.len() == specs.len() && self.jobs.iter().zip(&specs).all(|(job, spec)| job.spec == *spec)
        {
            return;
        }
        let mut before = std::mem::take(&mut self.searches);
        for spec in &specs {
            for (place, discovery) in spec.discoveries.iter().enumerate() {
                let key = (spec.job.clone(), place);
                let known = before.remove(&key).filter(|known| known.discovery == *discovery);
                let search = known.unwrap_or_else(|| {
                    let (secrets, changed) = (Arc::clone(&self.secrets), Arc::clone(&self.changed));
                    Search::start(&spec.job, discovery.clone(), secrets, changed)
                });
                self.searches.insert(key, search);
            }
        }
        self.jobs =
            specs.into_iter().map(|spec| Arc::new(Job::new(spec, Arc::clone(&self.secrets)))).collect();
    }

    /// Starts what is new and ends what is gone.
    fn turn(&mut self, state: &State) {
        let mut plans: BTreeMap<Key, Plan> = BTreeMap::new();
        for plan in instances(state, &self.secrets) {
            plans.insert(plan.key.clone(), plan);
        }
        let mut pools = Vec::new();
        for job in &self.jobs {
            let (asked, pool) = self.pool(job);
            for plan in asked {
                plans.entry(plan.key.clone()).or_insert(plan);
            }
            pools.push(pool);
        }
        *self.pools.lock().unwrap_or_else(PoisonError::into_inner) = pools;
        if plans.len() > TARGETS_MAX && !self.is_full {
            let count = plans.len();
            tracing::error!("scrape: {count} targets are known, only {TARGETS_MAX} are asked");
        }
        self.is_full = plans.len() > TARGETS_MAX;
        let mut before = std::mem::take(&mut self.tasks);
        for (key, plan) in plans.into_iter().take(TARGETS_MAX) {
            let known = before.remove(&key).filter(|known| known.plan == plan);
            let task = known.unwrap_or_else(|| Task::start(plan, self.metrics.clone(), &self.board));
            self.tasks.insert(key, task);
        }
        // Dropping a task ends it.
    }

    /// Whom a job asks, and what became of the others.
    fn pool(&self, job: &Arc<Job>) -> (Vec<Plan>, Pool) {
        let mut pool = Pool { job: job.spec.job.clone(), ..Pool::default() };
        let mut found: Vec<Found> = job.declared().collect();
        for place in 0..job.spec.discoveries.len() {
            let Some(search) = self.searches.get(&(job.spec.job.clone(), place)) else { continue };
            let view = search.view();
            found.extend(view.found);
            pool.errors.extend(view.error.map(|why| format!("{}: {why}", search.discovery.key())));
        }
        let mut plans: BTreeMap<Key, Plan> = BTreeMap::new();
        for found in &found {
            match job.fate(found) {
                Fate::Asked(plan) => {
                    plans.entry(plan.key.clone()).or_insert(*plan);
                }
                Fate::Dropped(labels) => {
                    pool.dropped_count += 1;
                    if pool.dropped.len() < DROPPED_MAX {
                        pool.dropped.push(labels);
                    }
                }
                Fate::Wrong(labels, why) => {
                    let address = labels.get(hmsops_model::scrape::ADDRESS).cloned().unwrap_or_default();
                    if pool.errors.len() < ERRORS_MAX {
                        pool.errors.push(format!("`{address:.200}`: {why}"));
                    }
                }
            }
        }
        let mut plans: Vec<Plan> = plans.into_values().collect();
        if let Some(limit) = job.spec.limits.targets.filter(|limit| plans.len() as u64 > *limit) {
            let why = format!("{} targets are more than `target_limit: {limit}`", plans.len());
            for plan in &mut plans {
                plan.refused = Some(why.clone());
            }
        }
        (plans, pool)
    }
}

/// The instances that say where they can be scraped.
fn instances(state: &State, secrets: &Arc<PathBuf>) -> Vec<Plan> {
    let all = state.services.values().flat_map(|service| service.instances.values());
    let running = all.filter(|known| known.phase == InstancePhase::Running);
    let plans = running.filter_map(|known| {
        let address = known.metrics.clone()?;
        let (service, version) = (known.instance.service.to_string(), known.instance.version.to_string());
        let labels = [("service", service.clone()), ("version", version)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        let spec = ScrapeSpec { targets: vec![Target { address, labels }], ..own_job(&service) };
        let job = Arc::new(Job::new(spec, Arc::clone(secrets)));
        let found = job.declared().next()?;
        match job.fate(&found) {
            Fate::Asked(plan) => Some(*plan),
            _ => None,
        }
    });
    plans.collect()
}

/// How the instances of a service are asked.
fn own_job(service: &str) -> ScrapeSpec {
    ScrapeSpec {
        job: service.to_owned(),
        targets: Vec::new(),
        discoveries: Vec::new(),
        interval: INSTANCE_INTERVAL,
        timeout: INSTANCE_INTERVAL,
        metrics_path: "/metrics".into(),
        scheme: Scheme::Http,
        params: BTreeMap::new(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        limits: ScrapeLimits::default(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        protocols: Protocol::DEFAULT.to_vec(),
        fallback: None,
        client: HttpClient::default(),
    }
}

#[cfg(test)]
mod tests;
