//! Groups of rules, evaluated as Prometheus evaluates them: recording rules, alerting rules, and what they write.
//!
//! Pure: time, series and the last state come in, series and the next state go out. Facts: Prometheus' documentation of
//! recording rules, alerting rules and of unit tests for rules.

mod alerting;
mod group;
mod trial;

use std::collections::BTreeMap;

use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;

use crate::ast::Expr;

pub use alerting::{Active, Condition};
pub use group::{GroupState, RuleState, Setting, Store, evaluate, evaluate_rule};
pub use trial::{
    AlertCase, Element, ExpectedAlert, ExpectedSample, ExprCase, Failure, FailureKind, InputSeries, Trial,
    TrialSetting, run_trial,
};

/// The label that names an alert.
pub const ALERT_NAME: &str = "alertname";

/// Rules that are evaluated in order, at the same times.
#[derive(Debug, Clone)]
pub struct Group {
    /// Unique within its file.
    pub name: String,
    /// The file it stands in, for messages.
    pub file: String,
    /// Between two evaluations, in milliseconds; `None`: as is set for all.
    pub interval: Option<i64>,
    /// Alerts or series that one of its rules may give; 0: as many as it likes.
    pub limit: usize,
    /// How far before the moment of an evaluation its queries look, in milliseconds; `None`: as is set for all.
    pub query_offset: Option<i64>,
    /// In the order of their evaluation.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Of the alert, or of the series that is recorded.
    pub name: String,
    /// What is evaluated.
    pub expr: Expr,
    /// As it was written.
    pub text: String,
    /// Put on what comes out, over the labels it has; those of the group are among them. Of an alert they are templates.
    pub labels: BTreeMap<String, String>,
    /// What becomes of the answer.
    pub kind: RuleKind,
}

/// What becomes of a rule's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// It is stored under the rule's name.
    Recording,
    /// An alert for each element.
    Alerting {
        /// How long it must hold, in milliseconds (`for`).
        hold: i64,
        /// How long it fires after it no longer holds, in milliseconds.
        keep_firing_for: i64,
        /// Templates.
        annotations: BTreeMap<String, String>,
    },
}

/// A sample that a rule writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its series.
    pub labels: Labels,
    /// Unix milliseconds.
    pub time: i64,
    /// A value, or the marker of staleness.
    pub value: Value,
}

#[cfg(test)]
mod tests;
