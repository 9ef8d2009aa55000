//! One evaluation of a group.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::labels::{Labels, METRIC_NAME};
use hmsops_model::sample::{Value, stale_nan};
use hmsops_model::series::{Budget, SeriesSource};

use super::alerting::{self, Active};
use super::{Group, Rule, RuleKind, Written};
use crate::ast::Expr;
use crate::eval::{self, Options, Outcome, Point};
use crate::parser::parse;

/// Where series are read and written.
pub trait Store {
    /// Where they are read.
    fn source(&self) -> &dyn SeriesSource;

    /// Writes samples of one rule, all or, with an error, as many as go.
    fn write(&mut self, samples: &[Written]) -> Result<(), String>;
}

/// What is set for all rules.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Of queries.
    pub options: Options,
    /// Samples and bytes of one query.
    pub budget: (u64, u64),
    /// What templates know as `$externalLabels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// What templates know as `$externalURL`.
    pub external_url: &'a str,
    /// How far before the moment queries look, for groups that do not say it, in milliseconds.
    pub query_offset: i64,
}

/// What is known of a rule from one evaluation to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleState {
    /// Its alerts that go on, by their labels.
    pub active: BTreeMap<Labels, Active>,
    /// The series it wrote last: those that are missing the next time end with a marker.
    pub written: BTreeSet<Labels>,
    /// Why its last evaluation failed.
    pub error: Option<String>,
}

/// What is known of a group's rules, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupState {
    /// By position.
    pub rules: Vec<RuleState>,
}

/// Evaluates a group's rules in their order, each seeing what the ones before have written. What fails is left in the
/// rule's state; the others go on.
pub fn evaluate(
    group: &Group,
    state: &mut GroupState,
    store: &mut dyn Store,
    at: i64,
    setting: &Setting<'_>,
) {
    state.rules.resize(group.rules.len(), RuleState::default());
    for (rule, state) in group.rules.iter().zip(&mut state.rules) {
        let written = evaluate_rule(group, rule, state, store.source(), at, setting);
        let outcome = written.and_then(|samples| store.write(&samples));
        state.error = outcome.err();
    }
}

/// Evaluates one rule at a moment in Unix milliseconds, and gives what it writes, markers of staleness included.
pub fn evaluate_rule(
    group: &Group,
    rule: &Rule,
    state: &mut RuleState,
    source: &dyn SeriesSource,
    at: i64,
    setting: &Setting<'_>,
) -> Result<Vec<Written>, String> {
    let stored_at = at - group.query_offset.unwrap_or(setting.query_offset);
    let points = ask(source, &rule.expr, stored_at, setting)?;
    let mut samples = match &rule.kind {
        RuleKind::Recording => record(rule, points, stored_at, group.limit)?,
        RuleKind::Alerting { hold, keep_firing_for, annotations } => {
            let (hold, keep_firing_for) = (*hold, *keep_firing_for);
            let terms = alerting::Terms { hold, keep_firing_for, annotations, limit: group.limit };
            let lookup = |query: &str| {
                let expr = parse(query).map_err(|error| error.to_string())?;
                ask(source, &expr, at, setting)
            };
            alerting::apply(rule, &terms, state, &points, (at, stored_at), (setting, &lookup))?
        }
    };
    let written: BTreeSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
    let gone = state.written.difference(&written).cloned();
    samples.extend(gone.map(|labels| Written { labels, time: stored_at, value: Value::Float(stale_nan()) }));
    state.written = written;
    Ok(samples)
}

fn record(rule: &Rule, points: Vec<Point>, time: i64, limit: usize) -> Result<Vec<Written>, String> {
    let mut seen = BTreeSet::new();
    let mut samples = Vec::with_capacity(points.len());
    for point in points {
        let name = [(METRIC_NAME, rule.name.as_str())];
        let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(point.labels.iter().chain(name).chain(own));
        if !seen.insert(labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying rule labels".into());
        }
        samples.push(Written { labels, time, value: point.value });
    }
    if limit > 0 && samples.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
    }
    Ok(samples)
}

/// An answer as a vector: a number is one element without labels.
pub(super) fn ask(
    source: &dyn SeriesSource,
    expr: &Expr,
    at: i64,
    setting: &Setting<'_>,
) -> Result<Vec<Point>, String> {
    let budget = Budget::new(setting.budget.0, setting.budget.1);
    let answer =
        eval::instant(source, expr, at, setting.options, &budget).map_err(|error| error.to_string())?;
    match answer.outcome {
        Outcome::Vector(points) => Ok(points),
        Outcome::Scalar(value) => {
            Ok(vec![Point { labels: Labels::empty(), time: at, value: Value::Float(value) }])
        }
        Outcome::Text(_) | Outcome::Matrix(_) => Err("rule result is not a vector or scalar".into()),
    }
}
