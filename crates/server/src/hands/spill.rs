//! The preallocated local file for retreats, on its own thread.

use std::time::Duration;

use hmsops_disk::{SpillOutcome, SpillThread};
use hmsops_model::limits::SPILL_WAIT;
use hmsops_tower::Spill;

/// How long reading and clearing may take; neither is on a retreat's way.
const PATIENCE: Duration = Duration::from_secs(5);

/// The spill as the tower sees it.
pub struct LocalSpill(pub SpillThread);

impl Spill for LocalSpill {
    fn put(&mut self, line: Vec<u8>) -> bool {
        matches!(self.0.put(line, Duration::from_millis(SPILL_WAIT.0)), SpillOutcome::Durable)
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        self.0.entries(PATIENCE).unwrap_or_else(|error| {
            tracing::error!("spill: {error}");
            Vec::new()
        })
    }

    fn clear(&mut self) {
        // What stays is recognised at the next start: the releases it is about have ended.
        if let Err(error) = self.0.clear(Duration::from_millis(SPILL_WAIT.0)) {
            tracing::warn!("spill: {error}");
        }
    }
}
