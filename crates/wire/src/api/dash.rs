//! `/hms/v1/dashes`: dashboards, and the points of their panels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One panel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// PromQL.
    pub query: String,
    /// `line`, `bar`, `stat`, `table` or `heatmap`.
    pub panel: String,
}

/// What became of a panel that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanelAdded {
    /// Its dashboard.
    pub dash: String,
    /// The page's path.
    pub url: String,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether the dashboard is new.
    pub created: bool,
}

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dash {
    /// Its name.
    pub name: String,
    /// The page's path.
    pub url: String,
    /// In the order they are drawn.
    pub panels: Vec<Panel>,
    /// The services of the system of that name.
    pub services: Vec<String>,
}

/// A page of dashboards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dashes {
    /// By name.
    pub items: Vec<Dash>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// All panels of a dashboard, to be put in place of what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panels {
    /// In the order they are drawn.
    pub panels: Vec<Panel>,
}

/// One message of `/hms/v1/stream?dash=NAME`, event `points`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// The dashboard.
    pub dash: String,
    /// When it was asked, in Unix milliseconds.
    pub at: i64,
    /// Whether these replace all points sent before.
    #[serde(default)]
    pub reset: bool,
    /// One for each panel, in their order.
    pub panels: Vec<PanelPoints>,
}

/// The new points of a panel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PanelPoints {
    /// The panel's heading.
    pub title: String,
    /// One for each series.
    pub series: Vec<SeriesPoints>,
    /// Why there are none: `query failed: …`.
    pub error: Option<String>,
    /// Since when there is no data, in Unix milliseconds.
    pub no_data_since: Option<i64>,
    /// The last value before.
    pub last: Option<f64>,
}

/// The new points of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesPoints {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub name: String,
    /// Unix milliseconds and value; `null` where there is none.
    pub points: Vec<(i64, Option<f64>)>,
}
