//! What a probe found.

use serde::{Deserialize, Serialize};

use crate::{InstanceId, ServiceName};

/// One probe of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The service.
    pub service: ServiceName,
    /// The instance that was asked.
    pub instance: InstanceId,
    /// The path that was asked for.
    pub path: String,
    /// Whether it came on schedule; a recheck after a failure does not count for `3 fails/60 s`.
    pub scheduled: bool,
    /// What came of it.
    pub verdict: ProbeVerdict,
}

/// What came of a probe. Unknown is not healthy and not failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeVerdict {
    /// A status of 200 to 299 in time.
    Pass {
        /// Until the answer's head, in milliseconds.
        millis: u32,
    },
    /// A wrong status, no answer in time, or no connection.
    Fail {
        /// For people: `answered 500`, `no answer in 500 ms`, `connection refused`.
        reason: String,
    },
    /// The prober itself was late: says nothing about the target.
    Overloaded,
}
