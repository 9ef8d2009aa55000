//! The simulated prober: one look a second at each instance, a second look soon after a failure, lost looks, and
//! moments in which it is too busy to judge.

use std::collections::BTreeMap;

use hmsops_control::{Event, effect};
use hmsops_model::limits::{PROBE_INTERVAL, PROBE_RECHECK, PROBE_TIMEOUT};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::{InstanceId, Millis};

use crate::dice::Dice;
use crate::instance::NO_ANSWER;
use crate::world::{STEP, World};

/// What goes wrong on a look's way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    /// Share of looks that get lost, each for itself.
    pub alone: f64,
    /// Seconds between times in which half of all looks get lost, whomever they are for; 0: never.
    pub outage_every: f64,
    /// Seconds between times in which the prober is too late for all of them; 0: never.
    pub overload_every: f64,
}

/// When each instance is looked at next.
#[derive(Debug)]
pub(crate) struct Prober {
    due: BTreeMap<InstanceId, (Millis, Option<Millis>)>,
    outage_until: Millis,
    overload_until: Millis,
    dice: Dice,
}

impl Prober {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { due: BTreeMap::new(), outage_until: Millis::ZERO, overload_until: Millis::ZERO, dice }
    }

    fn turn_moods(&mut self, now: Millis, loss: Loss) {
        let dt = STEP.as_secs_f64();
        let mut begins = |every: f64, until: &mut Millis, secs: u64| {
            if every > 0.0 && now >= *until && self.dice.chance(dt / every) {
                *until = now + Millis(500 + self.dice.below(secs * 1000));
            }
        };
        begins(loss.outage_every, &mut self.outage_until, 3);
        begins(loss.overload_every, &mut self.overload_until, 10);
    }

    /// Whether this look gets lost.
    fn loses(&mut self, now: Millis, loss: Loss) -> bool {
        let outage = now < self.outage_until && self.dice.chance(0.5);
        self.dice.chance(loss.alone) || outage
    }

    /// After a failure: soon again, and stable at once, so that both are seen in the same moments.
    fn recheck(&mut self, failed: InstanceId, now: Millis, took: Millis) {
        for (id, (_, recheck)) in &mut self.due {
            if *id == failed {
                *recheck = Some(now + took + PROBE_RECHECK);
            } else {
                recheck.get_or_insert(now + STEP);
            }
        }
    }
}

impl World {
    pub(crate) fn probe(&mut self) {
        let Some(tower) = self.tower.as_ref().filter(|_| !self.tower_stands_still()) else { return };
        let now = self.now.steady;
        let targets = effect::probe_targets(tower.state());
        self.prober.due.retain(|id, _| targets.iter().any(|target| target.instance == *id));
        self.prober.turn_moods(now, self.loss);
        for target in targets {
            let (due, recheck) = self.prober.due.entry(target.instance).or_insert((now, None));
            let scheduled = now >= *due;
            if !scheduled && recheck.is_none_or(|at| now < at) {
                continue;
            }
            if scheduled {
                *due = now + PROBE_INTERVAL;
            }
            *recheck = None;
            let lost = self.prober.loses(now, self.loss);
            let blind = self.blind;
            let process = self.processes.get(&target.instance);
            let found = process.filter(|_| !blind).and_then(|process| process.probe(now, PROBE_TIMEOUT));
            let found = found.or(lost.then_some(NO_ANSWER));
            let verdict = if now < self.prober.overload_until {
                ProbeVerdict::Overloaded
            } else if let Some(reason) = found {
                let took = if reason == NO_ANSWER { PROBE_TIMEOUT } else { Millis::ZERO };
                self.prober.recheck(target.instance, now, took);
                ProbeVerdict::Fail { reason: reason.into() }
            } else {
                ProbeVerdict::Pass { millis: 2 }
            };
            let (service, instance, path) = (target.service, target.instance, target.path);
            self.hand_in(&Event::Probe(ProbeResult { service, instance, path, scheduled, verdict }));
        }
    }
}
