//! Hop 2: evidence becomes transitions. All thinking is in `control`; here is only what it cannot know.

use hmsops_control::{Event, Refusal, Transition, decide};
use hmsops_model::Now;

use super::Tower;

impl Tower {
    pub(super) fn decide(&mut self, now: Now, event: &Event) -> Result<Vec<Transition>, Refusal> {
        let mut transitions = decide(&self.state, &self.evidence, now, event)?;
        for transition in &mut transitions {
            if let Transition::ReleaseTakenBack { release, verdict, .. } = transition {
                self.write_quiet();
                verdict.evidence_sha256 = self.side.sha256(&release.to_string()).map(|hash| hash.to_string());
            }
        }
        Ok(transitions)
    }
}
