//! Hop 6: what was written down becomes state again. Only `apply` runs; nothing is decided anew.

use hmsops_control::access::AccessChange;
use hmsops_control::{Evidence, State, Transition};
use hmsops_ledger::{Ledger, Recovered};
use hmsops_model::ReleaseId;
use thiserror::Error;

use super::record::Line;
use super::{Tower, observe};
use crate::port::{SideLog, Spill};

/// Why a tower could not start from what is on disk.
#[derive(Debug, Error)]
pub enum TowerError {
    /// A snapshot whose hash is right does not read as state: written by a newer version.
    #[error("reading the snapshot of state: {0}; was it written by a newer version?")]
    Snapshot(serde_json::Error),
    /// A ledger entry does not read as a transition.
    #[error("reading ledger entry {seq} (`{kind}`): {source}; was it written by a newer version?")]
    Entry {
        /// Its number.
        seq: u64,
        /// Its kind.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Tower {
    /// From what a ledger recovered, the spill and the side log.
    pub fn recover(
        ledger: Box<dyn Ledger + Send>,
        recovered: &Recovered,
        spill: Box<dyn Spill + Send>,
        side: Box<dyn SideLog + Send>,
    ) -> Result<Self, TowerError> {
        let mut tower = Self {
            state: State::default(),
            evidence: Evidence::default(),
            snapshot_at: ledger.size(),
            ledger,
            spill,
            side,
            backlog: std::collections::VecDeque::new(),
            lost_facts: 0,
            quiet: observe::Quiet::default(),
            retry_at: hmsops_model::Millis::ZERO,
            reconciled_at: hmsops_model::Millis::ZERO,
            restarted_at: hmsops_model::Millis::ZERO,
            generation: 1,
            acks: Vec::new(),
        };
        tower.replay(recovered)?;
        tower.replay_spill();
        let open: Vec<ReleaseId> =
            tower.state.releases.values().filter(|r| !r.closed).map(|r| r.id).collect();
        for release in open {
            tower.refold(release);
        }
        Ok(tower)
    }

    fn replay(&mut self, recovered: &Recovered) -> Result<(), TowerError> {
        if let Some(snapshot) = &recovered.snapshot {
            self.state = serde_json::from_slice(&snapshot.state).map_err(TowerError::Snapshot)?;
        }
        for entry in &recovered.entries {
            if entry.data.get("transition").is_none() {
                continue; // the ledger's own entries
            }
            let line: Line = serde_json::from_value(entry.data.clone())
                .map_err(|source| TowerError::Entry { seq: entry.seq, kind: entry.kind.clone(), source })?;
            self.apply_line(&line);
        }
        Ok(())
    }

    /// Retreats that reached the spill and not the ledger: they happened, so they are true, and their lines are due.
    fn replay_spill(&mut self) {
        for bytes in self.spill.lines() {
            // One, or several that were decided together.
            let one = serde_json::from_slice::<Line>(&bytes).map(|line| vec![line]);
            let Ok(lines) = one.or_else(|_| serde_json::from_slice::<Vec<Line>>(&bytes)) else { continue };
            for line in lines {
                if self.is_due(&line.transition) {
                    self.apply_line(&line);
                    self.backlog.push_back((line.now, line.transition));
                }
            }
        }
        if self.backlog.is_empty() {
            self.spill.clear();
        }
    }

    /// Whether a retreat of the spill is not true yet by what the ledger holds.
    fn is_due(&self, transition: &Transition) -> bool {
        if let Transition::Access(AccessChange::TokenRevoked { token, also, .. }) = transition {
            let tokens = &self.state.access.tokens;
            let is_open = |id| tokens.get(id).is_some_and(|token| token.revoked.is_none());
            return std::iter::once(token).chain(also).any(is_open);
        }
        if let Transition::People(change) = transition {
            return change.is_due(&self.state.people);
        }
        let release = transition.release().and_then(|id| self.state.releases.get(&id));
        release.is_some_and(|release| release.phase.is_active())
    }

    fn apply_line(&mut self, line: &Line) {
        self.state.apply(line.now, &line.transition);
    }
}
