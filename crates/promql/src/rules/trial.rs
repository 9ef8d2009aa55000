//! Unit tests of rules: series go in, time passes, alerts and answers are compared. Times are milliseconds after the
//! start of the test.

use std::collections::BTreeMap;
use std::fmt;

use hmsops_model::labels::Labels;
use hmsops_model::sample::{Histogram, Value, is_stale_nan};
use hmsops_model::series::SeriesSource;

use super::alerting::Condition;
use super::group::{self, GroupState, Setting, Store, ask};
use super::{ALERT_NAME, Group, RuleKind, Written};
use crate::eval::{Options, Point};
use crate::script::{Memory, describe};
use crate::{histogram, number, parse};

/// Evaluations of one test: a year of minutes.
const EVALUATIONS_MAX: i64 = 600_000;

/// Samples and bytes that one query of a test may read.
const BUDGET: (u64, u64) = (50_000_000, 1 << 30);

/// A test.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// What it is called, if anything.
    pub name: String,
    /// Between two samples of the input.
    pub interval: i64,
    /// The input.
    pub series: Vec<InputSeries>,
    /// Which alerts should fire when.
    pub alerts: Vec<AlertCase>,
    /// What expressions should answer when.
    pub exprs: Vec<ExprCase>,
    /// What templates know as `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// What templates know as `$externalURL`.
    pub external_url: String,
    /// The moment at which it begins, in Unix milliseconds.
    pub start: i64,
}

/// A series of the input.
#[derive(Debug, Clone)]
pub struct InputSeries {
    /// `up{job="photo"}`.
    pub series: String,
    /// `1 1 _ 0x5`.
    pub values: String,
}

/// Which alerts of a name should fire at a time.
#[derive(Debug, Clone)]
pub struct AlertCase {
    /// When.
    pub at: i64,
    /// Which.
    pub name: String,
    /// All that should fire.
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that should fire, or one that does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedAlert {
    /// With `alertname`.
    pub labels: BTreeMap<String, String>,
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
}

/// What an expression should answer at a time.
#[derive(Debug, Clone)]
pub struct ExprCase {
    /// PromQL.
    pub expr: String,
    /// When.
    pub at: i64,
    /// All of the answer, in any order.
    pub expected: Vec<ExpectedSample>,
}

/// An element of an answer.
#[derive(Debug, Clone)]
pub struct ExpectedSample {
    /// `up{job="photo"}`.
    pub labels: String,
    /// Its value, unless it is a histogram.
    pub value: f64,
    /// `{{schema:0 …}}`.
    pub histogram: Option<String>,
}

/// An element of an answer, as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// `up{job="photo"}`.
    pub labels: String,
    /// A float, or a histogram.
    pub value: String,
}

/// What is set for all tests of a file.
#[derive(Debug, Clone)]
pub struct TrialSetting {
    /// Between two evaluations of all groups.
    pub evaluation_interval: i64,
    /// Names of groups in the order of their evaluation.
    pub group_order: Vec<String>,
    /// Whether neighbouring floats are the same.
    pub is_fuzzy: bool,
}

/// Why a test failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When in the test; `None`: before it could begin.
    pub at: Option<i64>,
    /// At what.
    pub kind: FailureKind,
}

/// At what a test failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The test itself cannot be run.
    Setup(String),
    /// A rule could not be evaluated.
    Rule {
        /// Its name.
        rule: String,
        /// Why.
        why: String,
    },
    /// Other alerts fire.
    Alerts {
        /// Their name.
        name: String,
        /// What should fire.
        expected: Vec<ExpectedAlert>,
        /// What fires.
        found: Vec<ExpectedAlert>,
    },
    /// An expression answers something else.
    Expr {
        /// It.
        expr: String,
        /// What it should answer.
        expected: Vec<Element>,
        /// What it answers.
        found: Vec<Element>,
    },
    /// An expression cannot be answered.
    Query {
        /// It.
        expr: String,
        /// Why.
        why: String,
    },
}

/// Series of a test and what its rules write.
#[derive(Default)]
struct Field {
    memory: Memory,
}

impl Store for Field {
    fn source(&self) -> &dyn SeriesSource {
        &self.memory
    }

    fn write(&mut self, samples: &[Written]) -> Result<(), String> {
        let mut outcome = Ok(());
        for sample in samples {
            let pushed = self.memory.push(&sample.labels, (sample.time, 0, sample.value.clone()));
            outcome = outcome.and(pushed);
        }
        outcome
    }
}

/// Runs a test over groups in the order of their files.
pub fn run_trial(trial: &Trial, groups: &[Group], setting: &TrialSetting) -> Vec<Failure> {
    let setup = |why: String| vec![Failure { at: None, kind: FailureKind::Setup(why) }];
    let input = match input(trial) {
        Ok(input) => input,
        Err(why) => return setup(why),
    };
    if trial.alerts.iter().any(|case| case.name.is_empty()) {
        return setup("an item of `alert_rule_test` has no `alertname`".into());
    }
    let last = trial.alerts.iter().map(|case| case.at).chain(trial.exprs.iter().map(|case| case.at)).max();
    let last = last.unwrap_or(0);
    let every = setting.evaluation_interval.max(1);
    if last / every > EVALUATIONS_MAX {
        return setup(format!("more than {EVALUATIONS_MAX} evaluations: use a longer `evaluation_interval`"));
    }
    let mut ordered: Vec<&Group> = groups.iter().collect();
    let place = |group: &&Group| setting.group_order.iter().position(|name| *name == group.name).unwrap_or(0);
    ordered.sort_by_key(place);
    let mut run = Run {
        trial,
        groups: ordered,
        states: vec![GroupState::default(); groups.len()],
        field: Field::default(),
        setting: Setting {
            options: Options { subquery_step: every, ..Options::default() },
            budget: BUDGET,
            external_labels: &trial.external_labels,
            external_url: &trial.external_url,
            query_offset: 0,
        },
        failures: Vec::new(),
    };
    let mut input = input.into_iter().peekable();
    let mut at = 0;
    while at <= last {
        while let Some((_, labels, value)) = input.next_if(|(time, ..)| *time <= at) {
            let _later = run.field.memory.push(&labels, value);
        }
        if !run.step(at) {
            return run.failures;
        }
        for case in trial.alerts.iter().filter(|case| at <= case.at && case.at < at + every) {
            run.alerts(case);
        }
        at += every;
    }
    for case in &trial.exprs {
        run.expr(case, setting.is_fuzzy);
    }
    run.failures
}

/// One sample of the input: when it comes, its series, and it.
type Sample = (i64, Labels, (i64, i64, Value));

/// The input by time.
fn input(trial: &Trial) -> Result<Vec<Sample>, String> {
    // Of two descriptions of one series the later counts.
    let mut by_series: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for series in &trial.series {
        let described = describe(&format!("{} {}", series.series, series.values))?;
        let values = described.values()?.into_iter().enumerate();
        let samples = values.filter_map(|(at, item)| {
            let time = trial.interval.saturating_mul(at as i64);
            item.map(|(value, _)| (time, described.labels.clone(), (trial.start + time, 0, value)))
        });
        by_series.insert(described.labels.clone(), samples.collect());
    }
    let mut samples: Vec<Sample> = by_series.into_values().flatten().collect();
    samples.sort_by_key(|(time, ..)| *time);
    Ok(samples)
}

struct Run<'a> {
    trial: &'a Trial,
    groups: Vec<&'a Group>,
    states: Vec<GroupState>,
    field: Field,
    setting: Setting<'a>,
    failures: Vec<Failure>,
}

impl Run<'_> {
    /// Evaluates all groups; whether all rules could be.
    fn step(&mut self, at: i64) -> bool {
        let mut is_well = true;
        for (group, state) in self.groups.iter().zip(&mut self.states) {
            group::evaluate(group, state, &mut self.field, self.trial.start + at, &self.setting);
            for (rule, state) in group.rules.iter().zip(&state.rules) {
                if let Some(why) = &state.error {
                    let kind = FailureKind::Rule { rule: rule.name.clone(), why: why.clone() };
                    self.failures.push(Failure { at: Some(at), kind });
                    is_well = false;
                }
            }
        }
        is_well
    }

    fn alerts(&mut self, case: &AlertCase) {
        let mut found = Vec::new();
        for (group, state) in self.groups.iter().zip(&self.states) {
            for (rule, state) in group.rules.iter().zip(&state.rules) {
                let is_meant = rule.name == case.name && matches!(rule.kind, RuleKind::Alerting { .. });
                let firing = state.active.iter().filter(|(_, alert)| alert.condition == Condition::Firing);
                for (labels, alert) in firing.filter(|_| is_meant) {
                    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                    let annotations = alert.annotations.clone();
                    found.push(ExpectedAlert { labels: labels.collect(), annotations });
                }
            }
        }
        let mut expected = case.expected.clone();
        for alert in &mut expected {
            alert.labels.insert(ALERT_NAME.to_owned(), case.name.clone());
        }
        found.sort();
        expected.sort();
        if found != expected {
            let kind = FailureKind::Alerts { name: case.name.clone(), expected, found };
            self.failures.push(Failure { at: Some(case.at), kind });
        }
    }

    fn expr(&mut self, case: &ExprCase, is_fuzzy: bool) {
        if let Err(kind) = self.try_expr(case, is_fuzzy) {
            self.failures.push(Failure { at: Some(case.at), kind });
        }
    }

    fn try_expr(&self, case: &ExprCase, is_fuzzy: bool) -> Result<(), FailureKind> {
        let wrong = |why: String| FailureKind::Query { expr: case.expr.clone(), why };
        let expr = parse(&case.expr).map_err(|error| wrong(error.to_string()))?;
        let at = self.trial.start + case.at;
        let mut found = ask(&self.field.memory, &expr, at, &self.setting).map_err(wrong)?;
        let expected = case.expected.iter().map(|sample| point(sample, at)).collect::<Result<Vec<_>, _>>();
        let mut expected = expected.map_err(wrong)?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let is_same = found.len() == expected.len()
            && found
                .iter()
                .zip(&expected)
                .all(|(a, b)| a.labels == b.labels && is_equal(&a.value, &b.value, is_fuzzy));
        if is_same {
            return Ok(());
        }
        let shown = |points: &[Point]| points.iter().map(shown_point).collect();
        Err(FailureKind::Expr { expr: case.expr.clone(), expected: shown(&expected), found: shown(&found) })
    }
}

fn point(sample: &ExpectedSample, time: i64) -> Result<Point, String> {
    let labels = if sample.labels.trim().is_empty() { "{}" } else { sample.labels.as_str() };
    let described = describe(labels)?;
    if !described.items.is_empty() {
        return Err(format!("`{labels}` is more than a series"));
    }
    let value = match &sample.histogram {
        None => Value::Float(sample.value),
        Some(text) => {
            let values = describe(&format!("{{}} {text}"))?.values()?;
            match values.as_slice() {
                [Some((value @ Value::Histogram(_), _))] => value.clone(),
                _ => return Err(format!("`{text}` is not a histogram")),
            }
        }
    };
    Ok(Point { labels: described.labels, time, value })
}

#[expect(clippy::float_cmp, reason = "values are exactly equal, or neighbours where that was asked for")]
fn is_equal(found: &Value, expected: &Value, is_fuzzy: bool) -> bool {
    match (found, expected) {
        // As in promtool a NaN is equal to nothing; the marker of staleness is no answer.
        (Value::Float(a), Value::Float(b)) => {
            a == b
                || (is_fuzzy && (a.next_down() == *b || a.next_up() == *b))
                || (is_stale_nan(*a) && is_stale_nan(*b))
        }
        (Value::Histogram(a), Value::Histogram(b)) => {
            let (a, b): (Histogram, Histogram) = (histogram::compact(a), histogram::compact(b));
            histogram::is_equal(&a, &b) && a.reset == b.reset
        }
        _ => false,
    }
}

/// `labels {…}, annotations {…}`.
impl fmt::Display for ExpectedAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |map: &BTreeMap<String, String>| {
            let pairs = map.iter().map(|(name, value)| format!("{name}={}", crate::quote::quote(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        };
        write!(f, "labels {}, annotations {}", shown(&self.labels), shown(&self.annotations))
    }
}

/// `up{job="photo"} 1`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.labels, self.value)
    }
}

fn shown_point(point: &Point) -> Element {
    let value = match &point.value {
        Value::Float(value) => number::format_general(*value),
        Value::Histogram(histogram) => histogram::show(histogram),
        Value::Tally(tally) => number::format_general(tally.last),
    };
    Element { labels: point.labels.to_string(), value }
}
