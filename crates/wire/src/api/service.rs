//! A service as scripts and pages read it.

use hmsops_model::{IncidentId, InstanceId, ReleaseId, ServiceName, Version};
use serde::{Deserialize, Serialize};

/// All services, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// The services.
    pub services: Vec<Service>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The system it belongs to.
    pub system: String,
    /// Who is told.
    pub owner: Option<String>,
    /// `process` or `external`.
    pub driver: String,
    /// How it is.
    pub state: Health,
    /// The version that users are safe on.
    pub stable: Option<Stable>,
    /// The release that is out or baking.
    pub release: Option<ReleaseId>,
    /// The copy that will be stable once it is ready, by a rollback or a restart.
    #[serde(default)]
    pub revert: Option<InstanceId>,
    /// Whether its gateway holds its newest routes; `None`: it has none, or no version runs yet.
    #[serde(default)]
    pub in_force: Option<bool>,
    /// The open incident.
    pub incident: Option<IncidentId>,
    /// Versions that are proven, oldest first.
    pub proven: Vec<Version>,
    /// The gateway that carries its traffic.
    pub gateway: Option<String>,
    /// Whether that gateway is connected and was heard lately; `None`: it has none.
    pub gateway_live: Option<bool>,
    /// Over the last ten seconds; `None`: not known.
    pub requests_per_second: Option<f64>,
    /// The share of bad answers over the last ten seconds, 0 to 1; `None`: not known, or no requests.
    pub error_share: Option<f64>,
    /// Over the last ten seconds, in milliseconds; `None`: not known, or no requests.
    pub p99_ms: Option<f64>,
}

/// The version that users are safe on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stable {
    /// The version.
    pub version: Version,
    /// The copy that runs.
    pub instance: InstanceId,
    /// Its process, when it is one of ours.
    pub pid: Option<u32>,
    /// Where it answers, `host:port`.
    pub upstreams: Vec<String>,
    /// Whether its probes pass; `None`: not known.
    pub healthy: Option<bool>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Its stable version answers well.
    Fine,
    /// A release is out.
    Watch,
    /// Its stable version fails, or users are affected.
    Failing,
    /// Nobody can say.
    Unknown,
    /// It is no longer declared.
    Retired,
}

impl Health {
    /// As it is written in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Watch => "watch",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
            Self::Retired => "retired",
        }
    }
}
