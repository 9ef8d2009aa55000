//! Times in which users were affected, and what the public page says of them.

use hmsops_model::{IncidentId, ReleaseId, ServiceName, UnixMillis};
use serde::{Deserialize, Serialize};

/// The heading of a public post that says it is over (chapter 20 §1).
pub const RESOLVED_HEADING: &str = "Service Degradation Resolved";

/// The heading of a public post that says it goes on.
pub const OPEN_HEADING: &str = "Service Degradation";

/// A time in which users were affected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The service.
    pub service: ServiceName,
    /// The release that caused it, if one did.
    pub release: Option<ReleaseId>,
    /// When users were first affected.
    pub since: UnixMillis,
    /// When they no longer were.
    pub until: Option<UnixMillis>,
    /// What was said, oldest first: when and which words. No host, path, error text or label ever.
    pub updates: Vec<(UnixMillis, String)>,
}

impl Incident {
    /// The heading of its newest post.
    pub const fn heading(&self) -> &'static str {
        if self.until.is_some() { RESOLVED_HEADING } else { OPEN_HEADING }
    }
}
