//! `/hms/v1/alerts` and `/hms/v1/silences`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::By;

/// One episode of an alert, or a rule that says nothing at the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `a-12`; `null` for a rule without an alert whose state is `no data` or `query error`.
    pub id: Option<String>,
    /// The rule.
    pub rule: String,
    /// Whose alert it is.
    pub service: Option<String>,
    /// The labels of its series and rule.
    pub labels: BTreeMap<String, String>,
    /// What its rule says of it, templates expanded; what is read by us (`hmsops_…`) is among it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Condition and handling in words: `fired, heal-running`.
    pub state: String,
    /// `pending`, `firing` or `resolved`.
    pub condition: String,
    /// `open`, `acked`, `heal-running`, `healed`, `heal-failed` or `take-over`.
    pub handling: String,
    /// Since when its expression holds.
    pub since: Option<String>,
    /// When it fired.
    pub fired_at: Option<String>,
    /// When it ended.
    pub resolved_at: Option<String>,
    /// The latest value, when it is a number.
    pub value: Option<f64>,
    /// The latest value in words.
    pub value_text: String,
    /// The silences over it.
    pub silenced_by: Vec<String>,
    /// Until when.
    pub silenced_until: Option<String>,
    /// The heal that was last begun for it.
    pub heal: Option<String>,
    /// The ticket by which a person takes over.
    pub ticket: Option<String>,
    /// Who has it in hand.
    pub acked_by: Option<String>,
    /// All of it as one would say it.
    pub sentence: String,
}

/// A page of alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// By need.
    pub items: Vec<Alert>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A silence that is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// The rule.
    pub rule: String,
    /// For how long.
    pub for_ms: u64,
    /// Why.
    pub reason: String,
    /// Heal all the same.
    #[serde(default)]
    pub keep_heal: bool,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// `s-2`.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// Since when.
    pub since: String,
    /// Until when.
    pub until: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: By,
    /// Whether its heals run all the same.
    pub keep_heal: bool,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Why it ended.
    pub ended_why: Option<String>,
    /// What it does, in one line.
    pub sentence: String,
}

/// A page of silences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silences {
    /// Newest first.
    pub items: Vec<Silence>,
    /// Where the next page begins.
    pub next: Option<String>,
}
