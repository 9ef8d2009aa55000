//! What is true of one release.

use hmsops_model::release::{HealthCheck, ReleaseSpec};
use hmsops_model::{Digest, InstanceId, Millis, Now, ReleaseId, UnixMillis, Version, Weight};
use serde::{Deserialize, Serialize};

use crate::event::Who;
use crate::transition::{Detector, HoldReason, Tally, Verdict};

/// One attempt to move a service's traffic to a version.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// As declared.
    pub spec: ReleaseSpec,
    /// What the version's folder held.
    pub digest: Option<Digest>,
    /// The copy that is watched.
    pub instance: InstanceId,
    /// The version that was stable when it began; `None`: a first deployment.
    pub from: Option<Version>,
    /// The checks of the version that was stable when it began.
    pub checks_before: Vec<HealthCheck>,
    /// Decides which users see it.
    pub salt: u64,
    /// Who asked for it.
    pub by: Who,
    /// When.
    pub requested_at: Now,
    /// Where it stands.
    pub phase: Phase,
    /// The step it is at (or on the way to), from 0.
    pub step: usize,
    /// The share decided.
    pub weight: Weight,
    /// The highest share it has had.
    pub weight_max: Weight,
    /// When the gateway gave it the present step's share; `None`: not yet.
    pub step_since: Option<Now>,
    /// When it first had traffic.
    pub traffic_since: Option<Now>,
    /// Why it stays where it is, and since when.
    pub hold: Option<(HoldReason, Now)>,
    /// When a person (or recovery) let it go on after its last hold, on the steady clock: older probe failures no
    /// longer halt it.
    pub resumed_at: Option<Millis>,
    /// Why it was taken back.
    pub verdict: Option<Verdict>,
    /// When the gateways had confirmed the retreat.
    pub rolled_back_at: Option<UnixMillis>,
    /// Whether the canary's last requests have ended and the numbers are final.
    pub closed: bool,
    /// The last numbers.
    pub tally: Tally,
    /// The worsening in basis points that the evidence at promotion could rule out; `None`: not promoted, or
    /// none.
    pub ruled_out_bp: Option<u32>,
    /// When it ended, well or not.
    pub ended_at: Option<Now>,
    /// Until when the old version stays warm, on the steady clock.
    pub bake_until: Option<Millis>,
    /// Whether the present step was given its time once more.
    #[serde(default)]
    pub extended: bool,
    /// Whether a person let the present step pass although its traffic left a doubt.
    #[serde(default)]
    pub doubt_waived: bool,
    /// Whether a person let it go on although its probes flap.
    #[serde(default)]
    pub flaps_waived: bool,
    /// Looks at stable before the canary had users, and how many of them failed: what looks may fail with.
    #[serde(default)]
    pub stable_looks: (u32, u32),
    /// Who was told that it is held and waits for a person, and not yet that it no longer does.
    #[serde(default)]
    pub told_hold: Vec<String>,
    /// For which reasons, by [`HoldReason::word`], each of them was told since they were last told that it is over:
    /// nobody is told the same twice.
    #[serde(default)]
    pub told_reasons: Vec<(String, String)>,
    /// When its last hold ended by itself, on the steady clock; `None`: it has none behind it, or a person ended it.
    #[serde(default)]
    pub settling_since: Option<Millis>,
    /// Who was told that it was taken back.
    #[serde(default)]
    pub told: Vec<String>,
    /// The first of the releases that were asked for together, when there are several.
    #[serde(default)]
    pub group: Option<ReleaseId>,
    /// Whether it goes back to an earlier version, without a canary.
    #[serde(default)]
    pub revert: bool,
    /// Why a person lets it go on in a freeze.
    #[serde(default)]
    pub freeze_overridden: Option<String>,
    /// Whether a person has let it go where nothing takes it back by itself.
    #[serde(default)]
    pub committed: bool,
}

impl Release {
    /// The step that it goes to next, from 0.
    pub fn next_step(&self) -> usize {
        if self.phase == Phase::Starting { 0 } else { self.step + 1 }
    }

    /// The share that its next step gives it; all, past its last step.
    pub fn next_share(&self) -> Weight {
        self.spec.steps.get(self.next_step()).map_or(Weight::ALL, |step| step.weight)
    }

    /// It is to have a step's share.
    pub(super) fn begin_step(&mut self, step: usize, weight: Weight, stable_looks: Option<(u32, u32)>) {
        if let Some(looks) = stable_looks.filter(|_| self.phase == Phase::Starting) {
            self.stable_looks = looks;
        }
        self.phase = Phase::Watching;
        self.step = step;
        self.weight = weight;
        self.weight_max = self.weight_max.max(weight);
        self.step_since = None;
        self.extended = false;
        self.doubt_waived = false;
        // What was in doubt about the step before says nothing of this one.
        self.hold = self.hold.take().filter(|(why, _)| !why.is_of_one_step());
    }

    /// It is held. What was told of a hold that a person has ended is not told of this one.
    pub(super) fn held(&mut self, now: Now, why: &HoldReason) {
        self.hold = Some((why.clone(), now));
        if self.told_reasons.is_empty() {
            self.told_hold.clear();
        }
    }

    /// Its hold has ended. After a person's word all is told anew; by itself it may come again in a moment.
    pub(super) fn unheld(&mut self, now: Now, by_itself: bool) {
        self.settling_since = Some(now.steady).filter(|_| by_itself);
        if !by_itself {
            self.told_reasons.clear();
        }
    }

    /// Somebody was told that it is held.
    pub(super) fn told_of_hold(&mut self, receiver: &str) {
        let word = self.hold.as_ref().map_or("", |(why, _)| why.word());
        if !self.told_hold.iter().any(|told| told == receiver) {
            self.told_hold.push(receiver.to_owned());
        }
        self.told_reasons.push((receiver.to_owned(), word.to_owned()));
    }

    /// Somebody was told that it is held no longer.
    pub(super) fn told_of_end(&mut self, receiver: &str) {
        self.told_hold.retain(|told| told != receiver);
        self.told_reasons.retain(|(told, _)| told != receiver);
    }

    /// Whether somebody knows already that it is held for this reason.
    pub(crate) fn knows_of_hold(&self, receiver: &str, why: &HoldReason) -> bool {
        let mut of = self.told_reasons.iter().filter(|(told, _)| told == receiver).peekable();
        // Ledgers of earlier versions do not say for which reason.
        let known = of.peek().is_none() && self.told_hold.iter().any(|told| told == receiver);
        known || of.any(|(_, word)| word == why.word())
    }

    /// It goes on; with a reason, also in a freeze.
    pub(super) fn resume(&mut self, now: Now, in_freeze: Option<&String>) {
        match self.hold.take() {
            Some((HoldReason::Inconclusive { .. }, _)) => self.doubt_waived = true,
            Some((HoldReason::Flapping { .. }, _)) => self.flaps_waived = true,
            _ => {}
        }
        if let Some(reason) = in_freeze {
            self.freeze_overridden = Some(reason.clone());
        }
        self.resumed_at = Some(now.steady);
        // The step is watched anew: what was learnt before the hold no longer counts as time.
        self.step_since = self.step_since.map(|_| now);
    }

    /// It ends without its version.
    pub(super) fn end_without(&mut self, now: Now, verdict: &Verdict) {
        self.phase = match verdict.detector {
            Detector::Person => Phase::Aborted,
            Detector::Superseded => Phase::Superseded,
            _ if self.traffic_since.is_none() && self.weight_max == Weight::NONE => Phase::Failed,
            _ => Phase::RolledBack,
        };
        self.weight = Weight::NONE;
        self.hold = None;
        self.tally = verdict.tally.clone();
        self.verdict = Some(verdict.clone());
        self.ended_at = Some(now);
        self.bake_until = None;
    }

    /// Whether it was found to be bad where nothing but a person takes it back.
    pub fn is_bad_and_stays(&self) -> bool {
        self.phase.is_active() && matches!(self.hold, Some((HoldReason::NoReturn { .. }, _)))
    }

    /// Whether a person has to let it have a share.
    pub fn needs_person(&self, next: Weight) -> bool {
        !self.committed && self.spec.irreversible.is_some_and(|from| next >= from)
    }

    /// Whether nothing but a person may take it back: it has had the share from which on it is irreversible, and
    /// there was something to come from.
    pub fn is_past_return(&self) -> bool {
        let share = self.weight_max.max(self.weight);
        self.phase.is_active()
            && self.from.is_some()
            && share > Weight::NONE
            && self.spec.irreversible.is_some_and(|from| share >= from)
    }
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The new version starts; users do not see it.
    Starting,
    /// It has a share of traffic and is watched.
    Watching,
    /// It has all traffic; the old version is kept warm.
    Baking,
    /// Done: its version is proven.
    Done,
    /// Taken back by a detector or a gateway.
    RolledBack,
    /// Taken back by a person.
    Aborted,
    /// It never came up, so no user saw it.
    Failed,
    /// A newer release took its place.
    Superseded,
}

impl Phase {
    /// Whether it can still change by itself.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Watching | Self::Baking)
    }

    /// Whether it ended without its version: its gateway must not send the canary anything.
    pub const fn is_off(self) -> bool {
        matches!(self, Self::RolledBack | Self::Aborted | Self::Failed | Self::Superseded)
    }

    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Watching => "under watch",
            Self::Baking => "baking",
            Self::Done => "done",
            Self::RolledBack => "rolled back",
            Self::Aborted => "aborted",
            Self::Failed => "failed to start",
            Self::Superseded => "superseded",
        }
    }
}
