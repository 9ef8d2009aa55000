//! Evaluates rules and policies over the metric store, each in its own time, and hands what comes out to the tower.
//!
//! Nothing is decided here: the tower is told for which series an expression holds.

pub mod alerts;
mod policy;
pub mod record;
mod rule;
mod texts;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmsops_control::event::Judgement;
use hmsops_control::state::release::Phase;
use hmsops_control::{Event, State};
use hmsops_model::{Budget, Millis, RuleSpec, SeriesSource};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::Engine;
use crate::clock::Clock;

/// Where series are read.
pub type Source = Arc<dyn SeriesSource + Send + Sync>;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two readings of a policy's metric: three fit into the time after which one says nothing of now.
const POLICY_EVERY: Millis = Millis::from_secs(2);

/// Evaluations at a time: rules share two cores with everything else.
const EVALUATIONS_MAX: usize = 4;

/// Samples that one evaluation may read: a thousand series of two hours at a second.
const SAMPLES_MAX: u64 = 10_000_000;

/// And the memory it may hold, in bytes.
const BYTES_MAX: u64 = 256 << 20;

/// What is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Rule(String),
    Policy(String, String),
}

/// Evaluates what is due until the tower stops.
/// `query_offset`: how far back queries look, for groups that do not say it.
pub async fn run(engine: Engine, clock: Clock, source: Source, query_offset: Millis) {
    let mut evaluator = Evaluator {
        engine,
        query_offset,
        clock,
        source,
        last: BTreeMap::new(),
        busy: Arc::default(),
        places: Arc::new(Semaphore::new(EVALUATIONS_MAX)),
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => evaluator.look(),
            () = evaluator.engine.leaves() => return,
        }
    }
}

/// How a rule's expression is read at a moment in Unix milliseconds, when there are two ways; `None` while nothing is
/// in its window. Blocks while it reads.
pub(crate) fn reading(source: &dyn SeriesSource, spec: &RuleSpec, at: i64) -> Option<String> {
    rule::evaluate(source, spec, at).reading
}

fn budget() -> Budget {
    Budget::new(SAMPLES_MAX, BYTES_MAX)
}

struct Evaluator {
    engine: Engine,
    clock: Clock,
    source: Source,
    query_offset: Millis,
    /// When each was evaluated last, on the steady clock.
    last: BTreeMap<Task, Millis>,
    /// Under evaluation: one that takes longer than its interval is not begun again.
    busy: Arc<Mutex<BTreeSet<Task>>>,
    places: Arc<Semaphore>,
}

impl Evaluator {
    fn look(&mut self) {
        let snapshot = self.engine.snapshot();
        let state = &snapshot.state;
        for (name, rule) in &state.signals.rules {
            let task = Task::Rule(name.to_string());
            if self.is_due(&task, rule.spec.interval) {
                let (spec, source) = (rule.spec.clone(), self.source.clone());
                let offset = spec.group.query_offset.unwrap_or(self.query_offset);
                let offset = i64::try_from(offset.0).unwrap_or(i64::MAX);
                self.begin(task, move |at| {
                    let at = at.saturating_sub(offset);
                    Event::Evaluated(Box::new(rule::evaluate(source.as_ref(), &spec, at)))
                });
            }
        }
        self.look_at_policies(state);
        let rules: BTreeSet<&str> = state.signals.rules.keys().map(hmsops_model::RuleName::as_str).collect();
        let watched = state.releases.values().filter(|release| release.phase == Phase::Watching);
        let watched: BTreeSet<String> = watched.map(|release| release.id.to_string()).collect();
        let known = |task: &Task| match task {
            Task::Rule(name) => rules.contains(name.as_str()),
            Task::Policy(key, release) => {
                state.signals.policies.contains_key(key) && watched.contains(release)
            }
        };
        self.last.retain(|task, _| known(task));
    }

    fn look_at_policies(&mut self, state: &State) {
        for release in state.releases.values().filter(|release| release.phase == Phase::Watching) {
            let Some(from) = release.from.clone() else { continue };
            for (key, policy) in state.signals.policies_of(&release.spec.service) {
                let task = Task::Policy(key.clone(), release.id.to_string());
                if !self.is_due(&task, POLICY_EVERY) {
                    continue;
                }
                let (key, id, spec, source) =
                    (key.clone(), release.id, policy.spec.clone(), self.source.clone());
                let (service, from, to) =
                    (release.spec.service.clone(), from.clone(), release.spec.image.tag.clone());
                self.begin(task, move |at| {
                    let read = |version: &hmsops_model::Version| {
                        policy::read(source.as_ref(), &spec, &service, version, at)
                    };
                    let (canary, stable) = (read(&to), read(&from));
                    Event::Judged(Box::new(Judgement { policy: key, release: id, canary, stable }))
                });
            }
        }
    }

    fn is_due(&self, task: &Task, interval: Millis) -> bool {
        let now = self.clock.now().steady;
        self.last.get(task).is_none_or(|last| now.since(*last) >= interval)
    }

    fn begin(&mut self, task: Task, evaluate: impl FnOnce(i64) -> Event + Send + 'static) {
        if !self.busy.lock().is_ok_and(|mut busy| busy.insert(task.clone())) {
            return;
        }
        self.last.insert(task.clone(), self.clock.now().steady);
        let (engine, clock, busy, places) =
            (self.engine.clone(), self.clock, self.busy.clone(), self.places.clone());
        tokio::spawn(async move {
            let Ok(_place) = places.acquire().await else { return };
            let event = tokio::task::spawn_blocking(move || evaluate(clock.now().wall.0)).await;
            match event {
                Ok(event) => {
                    let _stopped = engine.tell(event).await;
                }
                Err(error) => tracing::error!("rules: an evaluation failed: {error}"),
            }
            if let Ok(mut busy) = busy.lock() {
                busy.remove(&task);
            }
        });
    }
}
