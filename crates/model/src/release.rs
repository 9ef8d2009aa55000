//! What a team declares about a release (`dev/cd/canary.yaml`) and a rollback policy (`ops/policies/rollback.yaml`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::probe::Probe;
use crate::{Millis, ServiceName, Version, Weight};

/// A release as declared, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// The service.
    pub service: ServiceName,
    /// What to run.
    pub image: Image,
    /// Weights, rising, the last one 100 %.
    pub steps: Vec<Step>,
    /// Probes of each arm; at least one.
    pub checks: Vec<HealthCheck>,
    /// How long the old version stays warm after 100 %.
    pub bake: Millis,
    /// How long a new version may take to answer its first probe well.
    pub start_timeout: Millis,
    /// When a canary that has not begun to answer is given up and stable asked; `None` is `auto`.
    pub shield_after: Option<Millis>,
    /// From this share on there is no way back by itself: a person lets it go there, and nothing but a person takes
    /// it back. [`Weight::NONE`]: from the first traffic on. `None`: it can always be taken back.
    #[serde(default)]
    pub irreversible: Option<Weight>,
    /// Services whose releases, deployed together with this one, get each share before it does.
    #[serde(default)]
    pub after: Vec<ServiceName>,
    /// How many more bad answers than stable's the new version may give, in basis points of all, for a step to end
    /// in time; `None` is `auto`: 100, or what the step's traffic can rule out when that is more.
    #[serde(default)]
    pub margin_bp: Option<u32>,
    /// What a step does whose traffic did not rule that out.
    #[serde(default)]
    pub inconclusive: Inconclusive,
}

/// What becomes of a step that ends without a clear answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    /// It lasts once more as long, and then goes on.
    #[default]
    Extend,
    /// It is held until a person lets it go on.
    Hold,
    /// It is held, and its people are told.
    Ask,
}

/// `csac-portal:1.8.0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The repository part.
    pub name: String,
    /// The tag.
    pub tag: Version,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// One step of a canary release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The canary's share.
    pub weight: Weight,
    /// How long it is watched before the next step; the last step's is not waited for (the bake time follows).
    pub hold: Millis,
}

/// A probe that each arm must answer well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Its name, under which its looks are remembered: of an HTTP check in the plain form the path asked for,
    /// starting with `/`; empty: it is enough that the port takes a connection.
    pub path: String,
    /// When failures halt the release.
    pub threshold: Threshold,
    /// How it looks; `None`: in the plain form, see [`Probe::of_path`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Box<Probe>>,
}

impl HealthCheck {
    /// What is asked of a service that declares no check: that its port takes a connection.
    pub fn connects() -> Self {
        Self::of_path(String::new(), Threshold::default())
    }

    /// The plain form: a status of 200 to 299 on this path.
    pub fn of_path(path: impl Into<String>, threshold: Threshold) -> Self {
        Self { path: path.into(), threshold, probe: None }
    }

    /// How it looks, whichever way it was written.
    pub fn probe(&self) -> Probe {
        self.probe.as_deref().cloned().unwrap_or_else(|| Probe::of_path(&self.path))
    }
}

/// `3 fails/60 s`: so many scheduled probe failures inside so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Threshold {
    /// Failures, 1 to 1000.
    pub fails: u32,
    /// The window.
    pub window: Millis,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { fails: 3, window: Millis::from_secs(60) }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fails/{} s", self.fails, self.window.0 / 1000)
    }
}

/// A rollback policy: `detect … action … notify …`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySpec {
    /// The service it holds for; `None`: every service in canary.
    pub service: Option<ServiceName>,
    /// The metric that is watched.
    pub metric: String,
    /// The denominator, when the metric is a ratio.
    pub of: Option<String>,
    /// The comparison.
    pub above: Comparison,
    /// How long it must hold.
    pub hold: Millis,
    /// What to do.
    pub action: PolicyAction,
    /// Who is told.
    pub notify: Vec<String>,
}

/// `> 5 %`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `>`, `>=`, `<` or `<=`.
    pub op: ComparisonOp,
    /// The bound as a plain number: 5 % is 0.05.
    pub bound: f64,
}

/// How a value is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparisonOp {
    /// `>`
    #[serde(rename = ">")]
    Gt,
    /// `>=`
    #[serde(rename = ">=")]
    Ge,
    /// `<`
    #[serde(rename = "<")]
    Lt,
    /// `<=`
    #[serde(rename = "<=")]
    Le,
}

impl Comparison {
    /// Whether a value is on the wrong side of the bound; NaN never is.
    pub fn holds(self, value: f64) -> bool {
        match self.op {
            ComparisonOp::Gt => value > self.bound,
            ComparisonOp::Ge => value >= self.bound,
            ComparisonOp::Lt => value < self.bound,
            ComparisonOp::Le => value <= self.bound,
        }
    }
}

/// What a policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyAction {
    /// Take the release back.
    Rollback,
    /// Hold it and ask a person.
    Hold,
    /// Only tell.
    Notify,
}
