//! Hop 5: transitions become true, and their effects are carried out.

use hmsops_control::{Transition, effect, effects};
use hmsops_model::Now;

use super::Tower;
use crate::port::Hands;

impl Tower {
    pub(super) fn apply_and_act(&mut self, now: Now, transitions: &[Transition], hands: &mut dyn Hands) {
        for transition in transitions {
            self.state.apply(now, transition);
            self.generation += 1;
            for effect in effects(&self.state, transition) {
                hands.perform(effect);
            }
        }
    }

    /// Sends again what should be true of the world and is not; with `all`, also what can't be seen to be missing.
    pub fn reconcile(&mut self, now: Now, hands: &mut dyn Hands, all: bool) {
        for effect in effect::reconcile(&self.state, &self.evidence, now, all) {
            hands.perform(effect);
        }
    }
}
