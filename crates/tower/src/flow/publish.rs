//! Hop 7: state as pages and doors read it, without holding up the tower.

use std::sync::Arc;

use hmsops_control::{Evidence, State};
use hmsops_model::Now;

use super::Tower;

/// State and evidence of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The moment.
    pub now: Now,
    /// Rises with each change of state.
    pub generation: u64,
    /// What is true.
    pub state: Arc<State>,
    /// What was seen.
    pub evidence: Evidence,
    /// Why the ledger takes nothing at the moment.
    pub ledger_failed: Option<String>,
    /// Lines that wait for the ledger.
    pub backlog: usize,
    /// Entries in the ledger.
    pub ledger_size: u64,
}

impl Tower {
    /// Lines that wait mean a ledger that takes none, latched or not.
    fn waiting(&self) -> Option<String> {
        (!self.backlog.is_empty()).then(|| format!("{} lines wait for it", self.backlog.len()))
    }

    /// State and evidence as they are now. `last` is the snapshot taken before: what has not changed is shared.
    pub fn publish(&self, now: Now, last: Option<&Snapshot>) -> Snapshot {
        let unchanged = last.filter(|last| last.generation == self.generation);
        Snapshot {
            now,
            generation: self.generation,
            state: unchanged.map_or_else(|| Arc::new(self.state.clone()), |last| last.state.clone()),
            evidence: self.evidence.clone(),
            ledger_failed: self.ledger.latched().or_else(|| self.waiting()),
            backlog: self.backlog.len(),
            ledger_size: self.ledger.size(),
        }
    }
}
