//! Alert rules, what heals, and dashboards, as a person declares them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{DashName, RuleName, ServiceName, Version};
use crate::time::Millis;

/// An alert rule: when its expression holds for long enough, an alert fires for each series of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Unique among all rules.
    pub name: RuleName,
    /// The service it speaks of; `None`: what the heal acts on, else the `service` label of each series.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// PromQL, as written.
    pub expr: String,
    /// The author insists on the literal reading of a rate (`reading: per-second`).
    #[serde(default)]
    pub is_literal: bool,
    /// How long it must hold before the alert fires (`for`).
    #[serde(default)]
    pub hold: Millis,
    /// How long a firing alert goes on after its expression no longer holds.
    #[serde(default)]
    pub keep_firing_for: Millis,
    /// Between two evaluations.
    pub interval: Millis,
    /// Put on each alert, over those of its series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people: `summary`, `description`, `runbook_url`; those beginning with `hmsops_` are read by us.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What is done when it fires.
    #[serde(default)]
    pub heal: Option<HealAction>,
    /// What an empty window means.
    #[serde(default)]
    pub on_nodata: OnNoData,
    /// Mail addresses and names of webhooks that are told.
    #[serde(default)]
    pub notify: Vec<String>,
    /// What it compares with, when it watches a latency for drift: its value is in milliseconds then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What the group says in which it stands.
    #[serde(default, skip_serializing_if = "RuleGroup::is_none")]
    pub group: RuleGroup,
}

/// Whether the text of a label or an annotation is a template, which each series expands for itself.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// What a group of a rule file says of all its rules, beside their interval and labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleGroup {
    /// Its name; empty: the rule stands in no group.
    pub name: String,
    /// Alerts that one of its rules may give; 0: as many as it likes.
    pub limit: u32,
    /// How far before the moment of an evaluation its queries look; `None`: as is set for all.
    pub query_offset: Option<Millis>,
}

impl RuleGroup {
    /// Whether it says nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A latency as a baseline expects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The quantile in per cent: 99 is p99.
    pub quantile: u8,
    /// What it is expected to be.
    pub span: Millis,
    /// PromQL that holds while there are enough requests to tell the quantile; while it does not, there is no data.
    pub enough: String,
}

/// What is made of a rule whose series have no samples in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNoData {
    /// The last known condition goes on.
    #[default]
    Keep,
    /// As if the expression did not hold.
    Ok,
    /// As if it did.
    Alert,
}

/// A verb that heals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum HealAction {
    /// `rollback SERVICE --to=prev|VERSION`
    Rollback {
        /// What is put back.
        service: ServiceName,
        /// To which version; `None`: the last proven one.
        to: Option<Version>,
    },
    /// `restart SERVICE`
    Restart {
        /// What is started anew.
        service: ServiceName,
    },
}

impl HealAction {
    /// The verbs there are, for messages.
    pub const VERBS: [&'static str; 2] = ["rollback", "restart"];

    /// What it acts on.
    pub const fn service(&self) -> &ServiceName {
        match self {
            Self::Rollback { service, .. } | Self::Restart { service } => service,
        }
    }

    /// The words that follow `hmsops` on a command line.
    pub fn args(&self) -> Vec<String> {
        match self {
            Self::Rollback { service, to } => {
                let to = to.as_ref().map_or("prev", Version::as_str);
                vec!["rollback".into(), service.to_string(), format!("--to={to}")]
            }
            Self::Restart { service } => vec!["restart".into(), service.to_string()],
        }
    }
}

/// As a script names it: `rollback dmv-photo --to=prev`.
impl fmt::Display for HealAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.args().join(" "))
    }
}

/// How a panel draws its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanelKind {
    /// Over time, a line a series.
    Line,
    /// Over time, a bar a step.
    Bar,
    /// The latest value, large.
    Stat,
    /// The latest values, a row a series.
    Table,
    /// Over time, a row a series, coloured by value.
    Heatmap,
}

impl PanelKind {
    /// All, for messages.
    pub const ALL: [Self; 5] = [Self::Line, Self::Bar, Self::Stat, Self::Table, Self::Heatmap];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Bar => "bar",
            Self::Stat => "stat",
            Self::Table => "table",
            Self::Heatmap => "heatmap",
        }
    }
}

/// One panel of a dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanelSpec {
    /// Its heading, unique within its dashboard.
    pub title: String,
    /// PromQL.
    pub query: String,
    /// How it is drawn.
    pub kind: PanelKind,
}

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DashSpec {
    /// The last part of its address, `/dash/NAME`.
    pub name: DashName,
    /// In the order they are drawn.
    pub panels: Vec<PanelSpec>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heal_reads_as_the_chapter_writes_it() {
        let service = ServiceName::new("dmv-photo").unwrap();
        let heal = HealAction::Rollback { service: service.clone(), to: None };
        assert_eq!(heal.to_string(), "rollback dmv-photo --to=prev");
        assert_eq!(HealAction::Restart { service }.to_string(), "restart dmv-photo");
    }
}
