//! Hop 4: a retreat waits for nobody. Its line gets 50 ms to reach the local spill, then traffic goes back to
//! stable, and only then the ledger is asked; what it can't take now is written when it can.

use hmsops_control::Transition;
use hmsops_model::Now;

use super::Tower;
use super::record::Line;
use crate::port::Hands;

impl Tower {
    pub(super) fn retreat(&mut self, now: Now, transition: Transition, hands: &mut dyn Hands) -> Transition {
        let line = Line { now, transition: transition.clone() };
        let spilled = serde_json::to_vec(&line).is_ok_and(|bytes| self.spill.put(bytes));
        self.apply_and_act(now, std::slice::from_ref(&transition), hands);
        if self.record(now, std::slice::from_ref(&transition)).is_ok() {
            if spilled {
                self.spill.clear();
            }
        } else {
            self.defer(now, transition.clone());
        }
        transition
    }
}
