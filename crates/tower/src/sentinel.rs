//! A retreat waits for nobody, also not for the tower itself: while its thread stands still (a sync that hangs, a
//! machine that swaps), a second look at what comes in takes back what is to be taken back.
//!
//! It decides nothing of its own: it folds what was heard meanwhile onto the last snapshot and asks `control` the same
//! question as the tower will, once it goes on and meets the same events. So both come to the same verdict, and a
//! retreat that is ordered twice is one.

use std::collections::{BTreeSet, VecDeque};

use hmsops_control::{Effect, Event, Evidence, Transition, effects, retreats_due};
use hmsops_model::{Millis, Now, ReleaseId};

use crate::flow::Snapshot;

/// Events remembered: some seconds of a hundred services; of more, the newest.
const HEARD_MAX: usize = 8192;

/// Services whose releases are taken back at one look; more wait for the next.
const RETREATS_MAX: usize = 100;

/// Remembers what came in, and what it has taken back.
#[derive(Debug, Default)]
pub struct Sentinel {
    heard: VecDeque<(Millis, Event)>,
    retreated: BTreeSet<ReleaseId>,
}

impl Sentinel {
    /// Whether an event can matter to it.
    pub fn wants(event: &Event) -> bool {
        matches!(event, Event::Tick(_) | Event::Probe(_) | Event::Gateway { .. })
    }

    /// Takes in an event that is handed to the tower at this moment.
    pub fn hear(&mut self, now: Now, event: Event) {
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back((now.steady, event));
    }

    /// The tower goes on: what came before that moment it has seen.
    pub fn forget(&mut self, before: Millis) {
        while self.heard.front().is_some_and(|(at, _)| *at < before) {
            self.heard.pop_front();
        }
    }

    /// The retreats that are due and were not ordered yet, when the tower has stood still since `since`, on the
    /// steady clock, and `last` is what it showed last.
    pub fn look(&mut self, now: Now, last: &Snapshot, since: Millis) -> Vec<Effect> {
        let mut evidence: Evidence = last.evidence.clone();
        for (at, event) in self.heard.iter().filter(|(at, _)| *at >= since) {
            let wall = hmsops_model::UnixMillis(now.wall.0 - now.steady.since(*at).0 as i64);
            evidence.observe(&last.state, Now { wall, steady: *at }, event);
        }
        let mut state = last.state.as_ref().clone();
        let mut orders = Vec::new();
        for _ in 0..RETREATS_MAX {
            let due: Vec<_> =
                retreats_due(&state, &evidence, now).into_iter().filter(Transition::is_retreat).collect();
            if due.is_empty() {
                break;
            }
            for transition in due {
                state.apply(now, &transition);
                if transition.release().is_some_and(|release| self.retreated.insert(release)) {
                    let due = effects(&state, &transition).into_iter();
                    orders.extend(due.filter(|effect| matches!(effect, Effect::Retreat { .. })));
                }
            }
        }
        orders
    }
}
