//! The hops, in the order data takes.

mod act; //     5 transitions  → effects
mod decide; //  2 evidence     → transitions
mod observe; // 1 event        → evidence, side log
mod publish;
mod record; //  3 transitions  → ledger lines
mod recover; // 6 ledger, spill, side log → state
mod retreat; // 4 a retreat    → spill, effect, and its line when there can be one // 7 state        → what pages and doors read

use std::collections::VecDeque;

use hmsops_control::{Event, Evidence, Refusal, State, Transition};
use hmsops_ledger::Ledger;
use hmsops_model::{Millis, Now, ReleaseId, ServiceName};

use crate::port::{Hands, SideLog, Spill};

pub use observe::decode_seen;
pub use publish::Snapshot;
pub use record::decode_line;
pub use recover::TowerError;

/// Facts that wait for a ledger that fails; older ones are kept, newer ones are then only counted.
const BACKLOG_MAX: usize = 10_000;

/// Between two attempts to use a ledger that has failed.
const LEDGER_RETRY: Millis = Millis(1000);

/// Between two looks at what should be true of the world and is not.
const RECONCILE_EVERY: Millis = Millis(1000);

/// Between two times that every start and stop that should have happened is sent again.
const RESEND_EVERY: Millis = Millis(15_000);

/// Rounds of deciding that one event may cause; more would be a circle.
const ROUNDS_MAX: usize = 100;

/// State, evidence, and the way from an event to its effects.
pub struct Tower {
    state: State,
    evidence: Evidence,
    ledger: Box<dyn Ledger + Send>,
    spill: Box<dyn Spill + Send>,
    side: Box<dyn SideLog + Send>,
    /// Applied, and not yet in the ledger, because it fails.
    backlog: VecDeque<(Now, Transition)>,
    /// Facts that no longer fitted into the backlog.
    lost_facts: u64,
    /// Evidence lines not yet in the side log.
    quiet: observe::Quiet,
    /// When a ledger that has failed is tried again.
    retry_at: Millis,
    reconciled_at: Millis,
    /// When starts and stops were last sent again.
    restarted_at: Millis,
    /// The ledger's size when state was last snapshot.
    snapshot_at: u64,
    /// Counts changes of state, so that readers see whether they are up to date.
    generation: u64,
    /// Ticks up to this one of each gateway run are kept.
    acks: Vec<(u64, u64)>,
}

/// What has become of an event.
#[derive(Debug, Default)]
pub struct Handled {
    /// What was decided, in order.
    pub transitions: Vec<Transition>,
    /// Why a person's request was not carried out.
    pub refused: Option<Refusal>,
    /// The ledger fails: what would have advanced was not done.
    pub ledger_failed: Option<String>,
    /// Something of what the event itself asks for was not done, because the ledger fails.
    pub undone: bool,
    /// Some retreat was done of which neither the ledger nor the spill has a line: a tower that is started anew would
    /// not know of it.
    pub unkept: bool,
}

impl Handled {
    /// The release that the event began, if it did.
    pub fn release(&self) -> Option<ReleaseId> {
        self.transitions.iter().find_map(|transition| match transition {
            Transition::ReleaseRequested { release, .. } => Some(*release),
            _ => None,
        })
    }
}

impl Tower {
    /// Takes in one event: observe, decide, record, apply, act, until nothing more follows from it.
    pub fn handle(&mut self, now: Now, event: &Event, hands: &mut dyn Hands) -> Handled {
        let mut handled = Handled::default();
        self.observe(now, event);
        // Retreats of any service come before everything that may wait for the ledger.
        self.retreats(now, hands, &mut handled);
        self.retry_ledger(now);
        let mut event = event;
        for _ in 0..ROUNDS_MAX {
            self.retreats(now, hands, &mut handled);
            let transitions = match self.decide(now, event) {
                Ok(transitions) => transitions,
                Err(refusal) => {
                    self.record_refusal(now, event, &refusal);
                    handled.refused = Some(refusal);
                    break;
                }
            };
            if transitions.is_empty() {
                break;
            }
            let (count, is_own) = (transitions.len(), !matches!(event, Event::Wake));
            let done = self.carry_out(now, transitions, hands, &mut handled);
            let stuck = done.is_empty();
            handled.undone |= is_own && done.len() < count;
            handled.transitions.extend(done);
            if stuck {
                // What may not advance must not keep others' facts from being known.
                self.facts(now, hands, &mut handled);
                break;
            }
            event = &Event::Wake;
        }
        if matches!(event, Event::Wake) {
            self.housekeeping(now, hands);
        }
        handled
    }

    /// Carries out every retreat that is due.
    fn retreats(&mut self, now: Now, hands: &mut dyn Hands, handled: &mut Handled) {
        for _ in 0..ROUNDS_MAX {
            let round = self.retreats_due(now);
            if round.is_empty() {
                return;
            }
            let done = self.carry_out(now, round, hands, handled);
            handled.transitions.extend(done);
        }
    }

    /// While the ledger fails: what has happened to each service, without what would go further.
    fn facts(&mut self, now: Now, hands: &mut dyn Hands, handled: &mut Handled) {
        let services: Vec<ServiceName> = self.state.services.keys().cloned().collect();
        for service in services {
            let round = hmsops_control::due(&self.state, &self.evidence, now, &service);
            let done = self.carry_out(now, round, hands, handled);
            handled.transitions.extend(done);
        }
    }

    /// Records, applies and acts on one round of transitions; returns those that were.
    fn carry_out(
        &mut self,
        now: Now,
        transitions: Vec<Transition>,
        hands: &mut dyn Hands,
        handled: &mut Handled,
    ) -> Vec<Transition> {
        let mut done = Vec::new();
        let (retreats, rest): (Vec<_>, Vec<_>) = transitions.into_iter().partition(Transition::is_retreat);
        if !retreats.is_empty() {
            let (retreated, kept) = self.retreat(now, retreats, hands);
            handled.unkept |= !kept;
            done.extend(retreated);
        }
        match self.record(now, &rest) {
            Ok(()) => {
                self.apply_and_act(now, &rest, hands);
                done.extend(rest);
            }
            Err(why) => {
                handled.ledger_failed = Some(why);
                // What has happened, has happened, whether or not it can be written down; what would go further
                // is not done, nor what only follows from it.
                let facts: Vec<Transition> =
                    rest.into_iter().take_while(|t| !record::is_advance(t)).collect();
                self.apply_and_act(now, &facts, hands);
                for fact in &facts {
                    self.defer(now, fact.clone());
                }
                done.extend(facts);
            }
        }
        done
    }

    fn housekeeping(&mut self, now: Now, hands: &mut dyn Hands) {
        self.flush_side(now);
        if now.steady.since(self.reconciled_at) >= RECONCILE_EVERY {
            self.reconciled_at = now.steady;
            let all = now.steady.since(self.restarted_at) >= RESEND_EVERY;
            if all {
                self.restarted_at = now.steady;
            }
            self.reconcile(now, hands, all);
            self.evidence.forget(&self.state);
            self.snapshot_if_due(now);
        }
    }

    /// Ticks that need not be sent again: gateway run and sequence number, each since the last call.
    pub fn take_acks(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.acks)
    }

    /// What is true.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was seen.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The record, for those who read it.
    pub fn ledger(&self) -> &dyn Ledger {
        self.ledger.as_ref()
    }

    /// Facts and retreats whose lines wait for the ledger.
    pub fn backlog_len(&self) -> usize {
        self.backlog.len()
    }
}
