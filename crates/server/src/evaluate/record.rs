//! Recording rules: each group at moments that are multiples of its interval, in order, each rule seeing what the ones
//! before it have written; what was missed while the tower was down is made up for.
//!
//! A sample of `rule_group_last_evaluation_timestamp_seconds` stands in the store for each evaluation: it says where to
//! go on after a restart.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmsops_model::Millis;
use hmsops_model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use hmsops_model::sample::Value;
use hmsops_model::series::{Budget, Hints, Selection, Series, SeriesSource};
use hmsops_promql::rules::{Group, GroupState, RuleState, Setting, Written, evaluate_rule};
use hmsops_tsdb::{Batch, Key, Row, Store};
use tokio::sync::{Semaphore, watch};

use super::{BYTES_MAX, SAMPLES_MAX};
use crate::Engine;
use crate::clock::Clock;
use crate::collect::{Door, Metrics};

/// Groups of recording rules, by the file that declares them.
pub type Recordings = BTreeMap<PathBuf, Vec<Group>>;

/// The series that says when a group was evaluated last, in Unix seconds.
pub(crate) const MARK: &str = "rule_group_last_evaluation_timestamp_seconds";

/// Groups at a time: they share two cores with everything else.
const GROUPS_MAX: usize = 2;

/// Between two looks at the clock, which may be set.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A moment that is so far ahead, in milliseconds, was given by a clock that has been set back since.
const AHEAD_MAX: i64 = 10 * 60 * 1000;

/// What is set for all groups.
#[derive(Debug, Clone, Copy)]
pub struct RecordSetting {
    /// Between two evaluations, for groups that do not say it, in milliseconds.
    pub interval: i64,
    /// How far before the moment of an evaluation queries look, for groups that do not say it, in milliseconds.
    pub query_offset: i64,
    /// How far back is made up for what was missed, in milliseconds.
    pub backfill: i64,
}

/// What became of a rule's last evaluation.
#[derive(Debug, Clone, Default)]
pub struct RuleOutcome {
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// How long it took.
    pub took: Millis,
    /// For which moment, in Unix milliseconds; `None`: it was never evaluated.
    pub at: Option<i64>,
}

/// A group and what became of it.
#[derive(Debug, Clone)]
pub struct GroupOutcome {
    /// As declared.
    pub group: Arc<Group>,
    /// Between two evaluations, in milliseconds.
    pub interval: i64,
    /// In the order of the rules.
    pub rules: Vec<RuleOutcome>,
    /// How long the last evaluation took.
    pub took: Millis,
    /// For which moment it was, in Unix milliseconds.
    pub at: Option<i64>,
}

impl GroupOutcome {
    /// Of a group that was not evaluated yet.
    fn new(group: &Arc<Group>, setting: &RecordSetting) -> Self {
        let interval = group.interval.unwrap_or(setting.interval).max(1);
        let rules = vec![RuleOutcome::default(); group.rules.len()];
        Self { group: group.clone(), interval, rules, took: Millis::ZERO, at: None }
    }
}

/// Evaluates recording rules, and says what became of them. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    clock: Clock,
    setting: RecordSetting,
    places: Arc<Semaphore>,
    outcomes: Mutex<BTreeMap<(String, String), GroupOutcome>>,
}

impl Recorder {
    /// Over this store.
    pub fn new(metrics: Metrics, clock: Clock, setting: RecordSetting) -> Self {
        let places = Arc::new(Semaphore::new(GROUPS_MAX));
        Self(Arc::new(Inner { metrics, clock, setting, places, outcomes: Mutex::default() }))
    }

    /// What became of each group, by file and name.
    pub fn outcomes(&self) -> Vec<GroupOutcome> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), GroupOutcome>> {
        self.0.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evaluates what files declare until the tower ends. A group that changes begins anew where it was.
    pub async fn follow(self, engine: Engine, mut declared: watch::Receiver<Recordings>) {
        let mut running: BTreeMap<(String, String), (String, watch::Sender<()>)> = BTreeMap::new();
        loop {
            let groups: BTreeMap<(String, String), Arc<Group>> = declared
                .borrow_and_update()
                .values()
                .flatten()
                .map(|group| ((group.file.clone(), group.name.clone()), Arc::new(group.clone())))
                .collect();
            // Whoever is dropped here ends its task after the evaluation that is under way.
            running.retain(|key, (as_declared, _)| {
                groups.get(key).is_some_and(|group| spelled(group) == *as_declared)
            });
            self.lock().retain(|key, _| groups.contains_key(key));
            for (key, group) in groups {
                let Entry::Vacant(place) = running.entry(key) else { continue };
                let (stop, stopped) = watch::channel(());
                self.lock().insert(place.key().clone(), GroupOutcome::new(&group, &self.0.setting));
                place.insert((spelled(&group), stop));
                tokio::spawn(Runner::new(self.clone(), group).run(stopped));
            }
            tokio::select! {
                changed = declared.changed() => if changed.is_err() { return },
                () = engine.leaves() => return,
            }
        }
    }
}

/// A group as a text that changes with it.
fn spelled(group: &Group) -> String {
    let rules: Vec<_> = group.rules.iter().map(|rule| (&rule.name, &rule.text, &rule.labels)).collect();
    format!("{:?}", (group.interval, group.limit, group.query_offset, rules))
}

/// Evaluates one group.
struct Runner {
    recorder: Recorder,
    group: Arc<Group>,
    interval: i64,
    state: GroupState,
    /// The moment of the last evaluation.
    last: Option<i64>,
}

impl Runner {
    fn new(recorder: Recorder, group: Arc<Group>) -> Self {
        let interval = group.interval.unwrap_or(recorder.0.setting.interval).max(1);
        let state = GroupState { rules: vec![RuleState::default(); group.rules.len()] };
        Self { recorder, group, interval, state, last: None }
    }

    async fn run(mut self, mut stopped: watch::Receiver<()>) {
        let Some(resumed) = self.blocking(Self::resume).await else { return };
        self = resumed;
        loop {
            let now = self.recorder.0.clock.now().wall.0;
            let (next, missed) = self.next(now);
            self.recorder.0.metrics.rules().missed(missed);
            let wait = u64::try_from(next - now).unwrap_or(0);
            if wait > 0 {
                let wait = Duration::from_millis(wait).min(LOOK_MAX);
                tokio::select! {
                    _ = stopped.changed() => return,
                    () = tokio::time::sleep(wait) => continue,
                }
            }
            let places = self.recorder.0.places.clone();
            let Ok(place) = places.acquire_owned().await else { return };
            let Some(done) = self.blocking(move |runner| runner.evaluate(next)).await else { return };
            self = done;
            drop(place);
            if stopped.has_changed().is_err() {
                return;
            }
            if self.last != Some(next) {
                // The store takes nothing: it is tried again, and made up for when it does.
                tokio::select! {
                    _ = stopped.changed() => return,
                    () = tokio::time::sleep(LOOK_MAX) => {}
                }
            }
        }
    }

    /// On a thread that may block; `None` when the tower ends.
    async fn blocking(mut self, work: impl FnOnce(&mut Self) + Send + 'static) -> Option<Self> {
        let done = tokio::task::spawn_blocking(move || {
            work(&mut self);
            self
        });
        done.await.ok()
    }

    /// The moment of the next evaluation, and how many before it are given up.
    fn next(&mut self, now: i64) -> (i64, u64) {
        let align = |time: i64| time.div_euclid(self.interval) * self.interval;
        let Some(last) = self.last.filter(|last| *last <= now + AHEAD_MAX.max(2 * self.interval)) else {
            // Nothing is known, or the clock was set back: from now on.
            self.last = Some(align(now));
            return (align(now) + self.interval, 0);
        };
        let next = align(last) + self.interval;
        let oldest = align(now - self.recorder.0.setting.backfill + self.interval - 1).min(align(now));
        if next >= oldest {
            return (next, 0);
        }
        let missed = (oldest - next) / self.interval;
        self.last = Some(oldest - self.interval);
        (oldest, u64::try_from(missed).unwrap_or(0))
    }

    fn offset(&self) -> i64 {
        self.group.query_offset.unwrap_or(self.recorder.0.setting.query_offset)
    }

    fn mark(&self) -> Labels {
        let key = format!("{};{}", self.group.file, self.group.name);
        Labels::new([(METRIC_NAME, MARK), ("rule_group", key.as_str()), ("job", "hmsops")])
    }

    /// Finds out where the last evaluation was, and what it wrote: series that are gone end with a marker.
    fn resume(&mut self) {
        let store = self.recorder.0.metrics.store().clone();
        let now = self.recorder.0.clock.now().wall.0;
        let from = now.saturating_sub(self.recorder.0.setting.backfill).saturating_sub(self.interval);
        let marks = select(&store, &self.mark(), from, now);
        self.last = marks.iter().filter_map(|series| series.samples.times().last().copied()).max();
        let Some(last) = self.last else { return };
        let stored_at = last - self.offset();
        for (rule, state) in self.group.rules.iter().zip(&mut self.state.rules) {
            let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::new(own.chain([(METRIC_NAME, rule.name.as_str())]));
            let written = select(&store, &labels, stored_at, stored_at).into_iter();
            let written =
                written.filter(|series| !series.samples.is_empty() && !series.samples.value(0).is_stale());
            state.written = written.map(|series| series.labels).collect();
        }
    }

    fn evaluate(&mut self, at: i64) {
        let (clock, external_labels) = (self.recorder.0.clock, BTreeMap::new());
        let began = clock.now();
        let setting = Setting {
            options: hmsops_promql::Options::default(),
            budget: (SAMPLES_MAX, BYTES_MAX),
            external_labels: &external_labels,
            external_url: "",
            query_offset: self.offset(),
        };
        let metrics = self.recorder.0.metrics.clone();
        let store = metrics.store().clone();
        let now = began.wall;
        let mut outcomes = Vec::with_capacity(self.group.rules.len());
        for (rule, state) in self.group.rules.iter().zip(&mut self.state.rules) {
            let began = clock.now().steady;
            let before = state.written.clone();
            let written = evaluate_rule(&self.group, rule, state, &store, at, &setting);
            let error = written.and_then(|samples| write(&metrics, now, &samples)).err();
            metrics.rules().evaluated(error.is_some());
            if let Some(error) = &error {
                state.written = before;
                tracing::warn!("rules: `{}` of {}: {error}", rule.name, self.group.file);
            }
            outcomes.push(RuleOutcome { error, took: clock.now().steady.since(began), at: Some(at) });
        }
        // Without its mark an evaluation is made up for again, which stores the same once more.
        let mark = Written { labels: self.mark(), time: at, value: Value::Float(at.div_euclid(1000) as f64) };
        match write(&metrics, now, &[mark]) {
            Ok(()) => self.last = Some(at),
            Err(error) => {
                tracing::warn!("rules: the group `{}` of {}: {error}", self.group.name, self.group.file);
                self.last = Some(at - self.interval);
            }
        }
        let key = (self.group.file.clone(), self.group.name.clone());
        let (group, interval) = (self.group.clone(), self.interval);
        let took = clock.now().steady.since(began.steady);
        let outcome = GroupOutcome { group, interval, rules: outcomes, took, at: Some(at) };
        if let Some(known) = self.recorder.lock().get_mut(&key) {
            *known = outcome;
        }
    }
}

/// The series that have these labels, and maybe more.
fn select(store: &Store, labels: &Labels, from: i64, to: i64) -> Vec<Series> {
    let matchers: Vec<Matcher> =
        labels.iter().map(|(name, value)| Matcher::new(name, MatchOp::Eq, value)).collect();
    let selection = Selection { matchers: &matchers, from, to, hints: Hints::default() };
    let budget = Budget::new(SAMPLES_MAX, BYTES_MAX);
    let found = store.select(&selection, &budget).map(|found| found.filter_map(Result::ok).collect());
    found.unwrap_or_else(|error| {
        tracing::warn!("rules: cannot read what was recorded before: {error}");
        Vec::new()
    })
}

/// Stores samples; an error when one of them is not stored.
fn write(metrics: &Metrics, now: hmsops_model::UnixMillis, samples: &[Written]) -> Result<(), String> {
    if samples.is_empty() {
        return Ok(());
    }
    let rows = samples.iter().map(|sample| {
        let Written { labels, time, value } = sample;
        Row { key: Key::Labels(labels), time: *time, start: 0, value: value.clone() }
    });
    let appended = metrics.store().append(now, &Batch { origin: None, rows: rows.collect() });
    let appended = appended.map_err(crate::collect::AppendError::from);
    metrics.count(Door::Rules, &appended);
    let appended = appended.map_err(|error| error.to_string())?;
    match &appended.refused.first {
        None => Ok(()),
        Some(first) => Err(format!("{} samples were refused; the first: {first}", appended.refused.total())),
    }
}
