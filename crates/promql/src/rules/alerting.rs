//! Alerting rules: pending, firing, gone.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::labels::{Labels, METRIC_NAME};
use hmsops_model::sample::Value;

use super::group::{RuleState, Setting};
use super::{ALERT_NAME, Rule, Written};
use crate::eval::Point;
use crate::template::{Context, Lookup, expand_or_say};

/// Whether an alert fires already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its expression holds, not for long enough yet.
    Pending,
    /// It fires.
    Firing,
}

impl Condition {
    /// As the label `alertstate` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
    /// Since when its expression holds, in Unix milliseconds.
    pub since: i64,
    /// Whether it fires.
    pub condition: Condition,
    /// Since when its expression no longer holds although it fires.
    pub kept_since: Option<i64>,
    /// The last value.
    pub value: Value,
}

/// What a rule says of itself beside its expression.
pub(super) struct Terms<'r> {
    pub(super) hold: i64,
    pub(super) keep_firing_for: i64,
    pub(super) annotations: &'r BTreeMap<String, String>,
    pub(super) limit: usize,
}

/// Takes an answer in, and gives `ALERTS` and `ALERTS_FOR_STATE`. `at` is the moment of the evaluation, `stored_at` that
/// of the samples.
pub(super) fn apply(
    rule: &Rule,
    terms: &Terms<'_>,
    state: &mut RuleState,
    points: &[Point],
    (at, stored_at): (i64, i64),
    (setting, lookup): (&Setting<'_>, &Lookup<'_>),
) -> Result<Vec<Written>, String> {
    let mut held = BTreeSet::new();
    for point in points {
        let context = Context {
            labels: &point.labels,
            value: &point.value,
            external_labels: setting.external_labels,
            external_url: setting.external_url,
            at,
            lookup,
        };
        let expanded = |texts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            texts.iter().map(|(name, text)| (name.clone(), expand_or_say(text, &context))).collect()
        };
        let own = point.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let name = [(ALERT_NAME.to_owned(), rule.name.clone())];
        let labels = Labels::new(own.chain(expanded(&rule.labels)).chain(name));
        if !held.insert(labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying alert labels".into());
        }
        let annotations = expanded(terms.annotations);
        let value = point.value.clone();
        if let Some(known) = state.active.get_mut(&labels) {
            (known.annotations, known.value) = (annotations, value);
        } else {
            let condition = Condition::Pending;
            let new = Active { annotations, since: at, condition, kept_since: None, value };
            state.active.insert(labels, new);
        }
    }
    state.active.retain(|labels, alert| {
        if held.contains(labels) {
            alert.kept_since = None;
        } else if alert.condition != Condition::Firing
            || terms.keep_firing_for <= 0
            || at - *alert.kept_since.get_or_insert(at) >= terms.keep_firing_for
        {
            return false;
        }
        // The rule may have got a longer `for` since.
        let is_firing = at - alert.since >= terms.hold;
        alert.condition = if is_firing { Condition::Firing } else { Condition::Pending };
        true
    });
    if terms.limit > 0 && state.active.len() > terms.limit {
        let count = state.active.len();
        state.active.clear();
        return Err(format!("exceeded limit of {} with {count} alerts", terms.limit));
    }
    Ok(state.active.iter().flat_map(|(labels, alert)| series(rule, labels, alert, stored_at)).collect())
}

/// `ALERTS` and `ALERTS_FOR_STATE` of one alert.
fn series(rule: &Rule, labels: &Labels, alert: &Active, time: i64) -> [Written; 2] {
    let base = |name: &str| {
        let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::new(own.chain(labels.iter()).chain([(METRIC_NAME, name)]))
    };
    let since = Value::Float(alert.since.div_euclid(1000) as f64);
    let alerts = base("ALERTS").with("alertstate", alert.condition.as_str());
    [
        Written { labels: alerts, time, value: Value::Float(1.0) },
        Written { labels: base("ALERTS_FOR_STATE"), time, value: since },
    ]
}
