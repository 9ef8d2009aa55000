//! What a gateway is told to do with a service's requests.

use serde::{Deserialize, Serialize};

use crate::service::{BadRule, Identity, Protocol};
use crate::{Millis, ReleaseId, ServiceName, Version, Weight};

/// How one service's requests are carried. Replaced whole; a higher epoch wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service: ServiceName,
    /// The host it answers for; `None`: any host that no other route claims.
    pub host: Option<String>,
    /// Rises with every change.
    pub epoch: u64,
    /// The version that users are safe on.
    pub stable: Arm,
    /// The version under watch, if one is.
    pub canary: Option<CanaryArm>,
    /// Who counts as one client.
    pub identity: Identity,
    /// Whether a client stays on its arm.
    pub sticky: bool,
    /// Which answers are bad.
    pub bad: Vec<BadRule>,
    /// What its versions speak.
    #[serde(default, skip_serializing_if = "Protocol::is_http1")]
    pub protocol: Protocol,
}

/// Where a version answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The version.
    pub version: Version,
    /// Addresses `host:port`, asked in turn; empty: nothing answers, users get 503.
    pub upstreams: Vec<String>,
}

/// The version under watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryArm {
    /// The release it belongs to.
    pub release: ReleaseId,
    /// Where it answers.
    #[serde(flatten)]
    pub arm: Arm,
    /// Its share.
    pub weight: Weight,
    /// Drawn once a release, so that not always the same users are in the 1 %.
    pub salt: u64,
    /// When a canary that has not begun to answer is given up; `None` is three times stable's p99, at least 1 s.
    pub shield_after: Option<Millis>,
    /// For so long after it first has a share, its bad answers are no evidence: the arm is still warming up.
    #[serde(default)]
    pub excused_for: Millis,
    /// Nothing but its tower takes its share away: a gateway that hears none leaves it as it is, because there is no way
    /// back for those who have had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub irreversible: bool,
}
