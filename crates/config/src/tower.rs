//! How the tower is set up (`hmsops.yaml`): what its settings are, and what an empty file means.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmsops_model::{Millis, ServiceName};

/// How the tower is set up; the default is what an empty file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TowerConfig {
    /// Gateways by name.
    pub gateways: BTreeMap<String, GatewayConfig>,
    /// What teams keep in git, besides `--repo`.
    pub repos: Vec<RepoConfig>,
    /// What may be healed without a person.
    pub heal: HealConfig,
    /// Decide and record what would have been done, do nothing.
    pub observe_only: bool,
    /// How long things are kept.
    pub retention: RetentionConfig,
    /// The system this tower watches.
    pub system: SystemConfig,
    /// The public status page's heading.
    pub status_title: Option<String>,
}

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The address; beyond loopback only with `plain`.
    pub listen: SocketAddr,
    /// Why plain HTTP is right beyond loopback; goes to the ledger.
    pub plain: Option<String>,
}

/// A folder or a git repository that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoConfig {
    /// Where it is.
    pub source: RepoSource,
    /// The services it may declare; empty: any.
    pub services: Vec<ServiceName>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoSource {
    /// A folder on this machine.
    Dir(String),
    /// A git remote and its branch (`main` by default). Read but not acted on yet.
    Url {
        /// The remote.
        url: String,
        /// The branch.
        branch: String,
    },
}

/// What may be healed without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealConfig {
    /// Rollbacks; `auto` by default.
    pub rollback: HealMode,
    /// Restarts; `auto` by default.
    pub restart: HealMode,
    /// Everything else; `approve` by default.
    pub other: HealMode,
}

/// Who decides about a heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealMode {
    /// The tower.
    Auto,
    /// A person, each time.
    Approve,
    /// Nobody: it is not done.
    Off,
}

/// How long things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Metrics; 400 days by default.
    pub metrics: Millis,
    /// Logs; 180 days by default.
    pub logs: Millis,
    /// Traces; 14 days by default.
    pub traces: Millis,
    /// The ledger; 1095 days by default.
    pub audit: Millis,
}

/// The system, as its security plan names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemConfig {
    /// Its name.
    pub name: Option<String>,
    /// Its impact level (FIPS 199).
    pub impact: Option<Impact>,
}

/// Impact levels of FIPS 199.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impact {
    /// `low`
    Low,
    /// `moderate`
    Moderate,
    /// `high`
    High,
}

pub(crate) const fn days(days: u64) -> Millis {
    Millis::from_mins(days * 24 * 60)
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self {
            gateways: BTreeMap::new(),
            repos: Vec::new(),
            heal: HealConfig { rollback: HealMode::Auto, restart: HealMode::Auto, other: HealMode::Approve },
            observe_only: false,
            retention: RetentionConfig {
                metrics: days(400),
                logs: days(180),
                traces: days(14),
                audit: days(1095),
            },
            system: SystemConfig::default(),
            status_title: None,
        }
    }
}
