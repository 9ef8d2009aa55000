//! `/hms/v1/rules`: alert rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alert, By};

/// An alert rule that is to be declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// Unique among all rules.
    pub name: String,
    /// PromQL.
    pub expr: String,
    /// How long it must hold.
    #[serde(default)]
    pub for_seconds: u64,
    /// What heals: `rollback dmv-photo --to=prev`.
    #[serde(default)]
    pub on_fire: Option<String>,
    /// Mail addresses and names of webhooks.
    #[serde(default)]
    pub notify: Vec<String>,
    /// Put on each alert.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Where to read what to do.
    #[serde(default)]
    pub runbook: Option<String>,
    /// `per-second` insists on the literal reading of a rate.
    #[serde(default)]
    pub reading: Option<String>,
    /// Whose alert it is.
    #[serde(default)]
    pub service: Option<String>,
    /// What an empty window means: `keep`, `ok` or `alert`.
    #[serde(default)]
    pub on_nodata: Option<String>,
    /// Between two evaluations.
    #[serde(default)]
    pub interval_seconds: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDeclared {
    /// The rule.
    pub name: String,
    /// Whether anything changed.
    pub changed: bool,
    /// How it is read: `share`, `per-second`, or `undecided` until it has data; `null` when there is one way only.
    pub reading: Option<String>,
    /// Both ways, when there are two.
    pub readings: Vec<String>,
    /// What will not work as written.
    pub warnings: Vec<String>,
}

/// An alert rule in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whose alert it is, as declared or by its heal.
    pub service: Option<String>,
    /// PromQL, as written.
    pub expr: String,
    /// How it was read last.
    pub reading: Option<String>,
    /// Both ways, when there are two.
    pub readings: Vec<String>,
    /// How long it must hold.
    pub for_ms: u64,
    /// How long it goes on firing.
    pub keep_firing_for_ms: u64,
    /// Between two evaluations.
    pub interval_ms: u64,
    /// Put on each alert.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub annotations: BTreeMap<String, String>,
    /// What heals.
    pub heal: Option<String>,
    /// What an empty window means.
    pub on_nodata: String,
    /// Who is told.
    pub notify: Vec<String>,
    /// Who declared it.
    pub declared_by: By,
    /// `ok`, `no-data`, `query-error` or `not-evaluated`.
    pub health: String,
    /// In words, when it is not `ok`.
    pub health_text: Option<String>,
    /// When it was evaluated last.
    pub evaluated_at: Option<String>,
    /// Its alerts that go on.
    pub alerts: Vec<Alert>,
}

/// A page of rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// By name.
    pub items: Vec<Rule>,
    /// Where the next page begins.
    pub next: Option<String>,
}
