//! A started copy of a version.

use serde::{Deserialize, Serialize};

use crate::{Digest, InstanceId, ServiceName, Version};

/// One copy of a version of a service, from the decision to start it until it has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its number.
    pub id: InstanceId,
    /// The service.
    pub service: ServiceName,
    /// The version.
    pub version: Version,
    /// What the version's folder held when it was deployed; `None` for external ones.
    pub digest: Option<Digest>,
}
