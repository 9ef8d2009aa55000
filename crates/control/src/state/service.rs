//! What is true of one service.

use std::collections::BTreeMap;

use hmsops_model::instance::Instance;
use hmsops_model::release::HealthCheck;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{Digest, IncidentId, InstanceId, Millis, Now, ReleaseId, UnixMillis, Version};
use serde::{Deserialize, Serialize};

use crate::event::Who;
use crate::transition::Role;

/// What is true of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// As declared.
    pub spec: ServiceSpec,
    /// Who declared it last: a file (source `repo`, the file's name as actor) or a door.
    pub declared_by: Who,
    /// Whether it is no longer declared.
    pub retired: bool,
    /// The epoch of the last route decided; rises with every change.
    pub epoch: u64,
    /// The instance that users are safe on.
    pub stable: Option<InstanceId>,
    /// The release that is out or baking.
    pub release: Option<ReleaseId>,
    /// An earlier version that is on its way back.
    pub revert: Option<InstanceId>,
    /// The old version, kept running for a quick way back.
    pub warm: Option<Warm>,
    /// All instances that have not stopped, and the last few that have.
    pub instances: BTreeMap<InstanceId, InstanceState>,
    /// Versions that were stable and proven, oldest first; at most [`PROVEN_MAX`].
    pub proven: Vec<Proven>,
    /// What stable has to pass: the declared checks, or those of the release it came with; never empty.
    pub checks: Vec<HealthCheck>,
    /// An open incident.
    pub incident: Option<IncidentId>,
    /// How often stable was restarted in a row, and when last: for the back-off.
    pub restarts: u32,
    /// See `restarts`.
    pub restarted_at: Millis,
}

/// How many proven versions are remembered.
pub const PROVEN_MAX: usize = 20;

/// An instance kept running until a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// The instance.
    pub id: InstanceId,
    /// On the steady clock.
    pub until: Millis,
}

/// A version that was stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// The version.
    pub version: Version,
    /// Its content.
    pub digest: Option<Digest>,
    /// Since when.
    pub since: UnixMillis,
    /// When it ceased to be stable; `None`: it is, or it was so before this was written down.
    #[serde(default)]
    pub left_at: Option<Now>,
    /// Whether somebody went back from it: then it is no version to go back to by itself.
    #[serde(default)]
    pub left_for_good: bool,
    /// Whether there is no way back from it to what was before.
    #[serde(default)]
    pub irreversible: bool,
}

/// One copy of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Which.
    #[serde(flatten)]
    pub instance: Instance,
    /// What for.
    pub role: Role,
    /// Where it stands.
    pub phase: InstancePhase,
    /// When it was decided to start it.
    pub intended_at: Now,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it answers.
    pub upstreams: Vec<String>,
    /// Where it can be scraped, `host:port`.
    #[serde(default)]
    pub metrics: Option<String>,
    /// When its probes passed for the first time.
    pub ready_at: Option<Now>,
    /// Whether its probes pass, as far as was last written down; `None`: not known yet.
    pub healthy: Option<bool>,
    /// When `healthy` last changed.
    pub healthy_since: Option<Now>,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum InstancePhase {
    /// Shall start.
    Intended,
    /// Runs.
    Running,
    /// Shall stop.
    Stopping,
    /// Has ended, as asked or not.
    Ended {
        /// One line.
        why: String,
    },
}

impl Service {
    /// A service as first declared.
    pub fn new(spec: ServiceSpec, declared_by: Who) -> Self {
        Self {
            checks: if spec.health.is_empty() { vec![HealthCheck::connects()] } else { spec.health.clone() },
            spec,
            declared_by,
            retired: false,
            epoch: 0,
            stable: None,
            release: None,
            revert: None,
            warm: None,
            instances: BTreeMap::new(),
            proven: Vec::new(),
            incident: None,
            restarts: 0,
            restarted_at: Millis::ZERO,
        }
    }

    /// The instance that users are safe on.
    pub fn stable_instance(&self) -> Option<&InstanceState> {
        self.stable.and_then(|id| self.instances.get(&id))
    }

    /// The version that users are safe on.
    pub fn stable_version(&self) -> Option<&Version> {
        self.stable_instance().map(|state| &state.instance.version)
    }

    /// Whether its versions run elsewhere.
    pub fn is_external(&self) -> bool {
        matches!(self.spec.driver, Driver::External { .. })
    }

    /// Instances that run or shall run.
    pub fn live(&self) -> impl Iterator<Item = &InstanceState> {
        self.instances.values().filter(|state| !matches!(state.phase, InstancePhase::Ended { .. }))
    }
}

impl InstanceState {
    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        matches!(self.phase, InstancePhase::Ended { .. })
    }
}
