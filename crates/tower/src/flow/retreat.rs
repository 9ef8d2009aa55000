//! Hop 4: a retreat waits for nobody. Its line gets 50 ms to reach the local spill, then traffic goes back to
//! stable (or a token lets nobody in any more), and only then the ledger is asked; what it can't take now is written when it can. Several that are decided
//! together (a group) wait no longer than one: they share the line.

use hmsops_control::Transition;
use hmsops_model::Now;

use super::Tower;
use super::record::Line;
use crate::port::Hands;

impl Tower {
    /// Returns what was done, and whether a line of it is durable.
    pub(super) fn retreat(
        &mut self,
        now: Now,
        transitions: Vec<Transition>,
        hands: &mut dyn Hands,
    ) -> (Vec<Transition>, bool) {
        let lines: Vec<Line> =
            transitions.iter().map(|transition| Line { now, transition: transition.clone() }).collect();
        let bytes = match lines.as_slice() {
            [line] => serde_json::to_vec(line),
            lines => serde_json::to_vec(lines),
        };
        let spilled = bytes.is_ok_and(|bytes| self.spill.put(bytes));
        self.apply_and_act(now, &transitions, hands);
        let recorded = self.record(now, &transitions).is_ok();
        if recorded {
            if spilled {
                self.spill.clear();
            }
        } else {
            for transition in &transitions {
                self.defer(now, transition.clone());
            }
        }
        (transitions, recorded || spilled)
    }
}
