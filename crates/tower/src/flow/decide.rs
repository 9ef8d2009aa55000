//! Hop 2: evidence becomes transitions. All thinking is in `control`; here is only what it cannot know.

use hmsops_control::{Event, Refusal, Transition, decide, retreats_due};
use hmsops_model::Now;

use super::Tower;

impl Tower {
    pub(super) fn decide(&mut self, now: Now, event: &Event) -> Result<Vec<Transition>, Refusal> {
        let transitions = decide(&self.state, &self.evidence, now, event)?;
        Ok(self.with_evidence(transitions))
    }

    pub(super) fn retreats_due(&mut self, now: Now) -> Vec<Transition> {
        let transitions = retreats_due(&self.state, &self.evidence, now);
        self.with_evidence(transitions)
    }

    /// A verdict names the evidence it was read from.
    fn with_evidence(&mut self, mut transitions: Vec<Transition>) -> Vec<Transition> {
        for transition in &mut transitions {
            if let Transition::ReleaseTakenBack { release, verdict, .. } = transition {
                self.write_quiet();
                verdict.evidence_sha256 = self.side.sha256(&release.to_string()).map(|hash| hash.to_string());
            }
        }
        transitions
    }
}
