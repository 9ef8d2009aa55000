//! What must be true at every moment, named once, and looked at after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hmsops_control::Transition;
use hmsops_control::state::release::Phase;
use hmsops_ledger::Order;
use hmsops_model::{ReleaseId, Weight};

use crate::world::World;

/// What must be true at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A canary's share is in force only if a durable ledger line granted at least that share.
    NoLineNoAdvance,
    /// What was retreated gets no request again until a person says so.
    RetreatedStaysRetreated,
    /// An instance is started at most once.
    NoEffectTwice,
    /// No request is sent to an instance that the tower has stopped.
    StableUntouched,
    /// The ledger verifies after every crash.
    LedgerVerifies,
    /// State read back from the ledger is the state that was.
    StateIsAFold,
    /// A broken release with enough traffic is off within 30 s (M04).
    TakenBackInTime,
    /// A denied version is not deployed.
    DeniedStaysDenied,
    /// Everything that was begun ends.
    StoryEnds,
    /// Nothing advances while the ledger fails.
    FailsClosed,
    /// The same seed gives the same bytes.
    SameSeedSameBytes,
    /// A release that is held goes no further until it is resumed.
    HeldStaysPut,
    /// A step is extended at most once.
    ExtendedOnce,
    /// Of one service at most one release is out.
    OneAtATime,
    /// Releases that were asked for together stand at the same step, and go back in one decision.
    GroupsTogether,
    /// Nothing gets a greater share while a freeze is in force.
    FrozenStaysPut,
    /// Within one step of a release its share does not rise.
    StepsOnly,
    /// A story with a kill of ours ends as it does without.
    EndsAsWithout,
    /// What a promotion says it has ruled out is not so in at most one of twenty.
    ClaimsNoMore,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Seconds since the story began.
    pub at_secs: u64,
    /// What was found.
    pub what: String,
}

/// What earlier steps showed.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    granted: BTreeMap<ReleaseId, Weight>,
    extended: BTreeSet<(ReleaseId, u64)>,
    /// The newest release as it was: number, step, share decided, whether it was held.
    was: Option<(ReleaseId, usize, Weight, bool)>,
}

impl Checks {
    /// The ledger is to be read again from its begin.
    pub(crate) fn forget_grants(&mut self) {
        self.granted.clear();
        self.extended.clear();
    }
}

/// A transition's name in the ledger.
pub(crate) fn name_of(transition: &Transition) -> String {
    let value = serde_json::to_value(transition).unwrap_or_default();
    value.get("transition").and_then(|name| name.as_str()).unwrap_or("unnamed").to_owned()
}

impl World {
    /// What must hold after every step.
    pub(crate) fn check(&mut self) {
        self.check_course();
        if self.reader.is_none() {
            return;
        }
        self.read_grants();
        let canary = self.gateway.route.as_ref().and_then(|route| route.canary.as_ref());
        let canary = canary.map(|canary| (canary.release, canary.weight));
        let Some((release, weight)) = canary.filter(|(_, weight)| *weight > Weight::NONE) else { return };
        let granted = self.checks.granted.get(&release).copied().unwrap_or_default();
        if weight > granted {
            let what = format!("{release} has {weight}, the ledger grants {granted}");
            self.violate(Invariant::NoLineNoAdvance, what);
        }
        if self.gateway.retreated.contains(&release) {
            let what = format!("{release} has {weight} after its retreat");
            self.violate(Invariant::RetreatedStaysRetreated, what);
        }
    }

    /// How the newest release has moved since the step before.
    fn check_course(&mut self) {
        let Some(tower) = &self.tower else { return };
        let releases = &tower.state().releases;
        let out = releases.values().rev().take(3).filter(|release| release.phase.is_active());
        let mut services: Vec<_> = out.map(|release| &release.spec.service).collect();
        services.sort_unstable();
        if services.windows(2).any(|pair| pair[0] == pair[1]) {
            self.violate(Invariant::OneAtATime, "two releases of one service are out".into());
            return;
        }
        let Some(release) = releases.values().next_back() else { return };
        let weight = if release.phase == Phase::Watching { release.weight } else { Weight::NONE };
        let is = (release.id, release.step, weight, release.hold.is_some());
        let Some(was) = self.checks.was.replace(is).filter(|was| was.0 == is.0) else { return };
        if was.3 && is.3 && is.2 > was.2 {
            let what = format!("{} went from {} to {} while it was held", is.0, was.2, is.2);
            self.violate(Invariant::HeldStaysPut, what);
        }
        if is.1 == was.1 && is.2 > was.2 && was.2 > Weight::NONE {
            let what = format!("{} went from {} to {} within a step", is.0, was.2, is.2);
            self.violate(Invariant::StepsOnly, what);
        }
    }

    /// The highest share that the durable ledger has granted to any release.
    pub(crate) fn granted_max(&mut self) -> Weight {
        self.read_grants();
        self.checks.granted.values().copied().max().unwrap_or_default()
    }

    /// Reads which shares, and which extensions, the durable ledger has granted.
    fn read_grants(&mut self) {
        let Some(reader) = &self.reader else { return };
        let size = reader.size();
        if size <= self.read_to {
            return;
        }
        // A disk that answers nothing is asked again.
        let Ok(entries) = reader.read(self.read_to..size, Order::OldestFirst, usize::MAX) else { return };
        for entry in entries {
            let data = &entry.data;
            let Some(release) = data.get("release").and_then(|id| id.as_str()).and_then(|id| id.parse().ok())
            else {
                continue;
            };
            let number = |key: &str| data.get(key).and_then(serde_json::Value::as_u64);
            match entry.kind.as_str() {
                "release.weight" => {
                    let weight =
                        number("weight").and_then(|bp| u16::try_from(bp).ok()).and_then(Weight::from_bp);
                    let granted: &mut Weight = self.checks.granted.entry(release).or_default();
                    *granted = weight.unwrap_or_default().max(*granted);
                }
                "release.extended" => {
                    let step = number("step").unwrap_or(0);
                    if !self.checks.extended.insert((release, step)) {
                        self.violate(Invariant::ExtendedOnce, format!("step {step} of {release}, twice"));
                        break;
                    }
                }
                _ => {}
            }
        }
        self.read_to = size;
    }

    /// State read back from disk is the state that was.
    pub fn check_fold(&mut self) {
        let Some(tower) = self.tower.take() else { return };
        let (live, backlog) = (serde_json::to_value(tower.state()), tower.backlog_len());
        drop(tower);
        match self.recover() {
            Ok(read) => {
                let read_back = serde_json::to_value(read.state());
                if backlog == 0 && live.ok() != read_back.ok() {
                    self.violate(Invariant::StateIsAFold, "the state read back differs".into());
                }
                self.tower = Some(read);
            }
            Err(why) => self.violate(Invariant::LedgerVerifies, why),
        }
    }
}
