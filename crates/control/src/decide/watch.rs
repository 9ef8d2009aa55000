//! A release under watch: start, steps, verdicts, bake, end.

use hmsops_model::limits::DRAIN_TIMEOUT;
use hmsops_model::release::Inconclusive;
use hmsops_model::{Millis, Weight};

use super::View;
use crate::event::Who;
use crate::evidence::health::Health;
use crate::evidence::{Parts, Watch};
use crate::release::{Doubt, take_back, tally};
use crate::state::release::{Phase, Release};
use crate::state::service::{InstancePhase, InstanceState, Service};
use crate::transition::{Detector, HoldReason, Transition};

/// Looks in a row at each check that a new version must pass before users see it: two seconds from the first to the
/// last.
const CANARY_PASSES: u32 = 3;

/// Failed looks before probes may condemn, however telling two of them are.
const GUARD_LOOKS: u64 = 3;

/// Clients with a slow answer before slow answers may condemn: fewer are a matter of taste.
const GUARD_SLOW: u64 = 10;

/// After a retreat the numbers are final when nothing came for so long.
const CLOSE_AFTER: Millis = Millis(1000);

/// A failed look at stable that is not older than this makes a canary's failure common to both.
const BOTH_WITHIN: Millis = Millis(3000);

impl View<'_> {
    /// What has become due for the release that is out for a service.
    pub(super) fn review_release(self, service: &Service) -> Vec<Transition> {
        let Some(release) = self.state.active_release(&service.spec.name) else { return Vec::new() };
        let Some(canary) = service.instances.get(&release.instance) else { return Vec::new() };
        match release.phase {
            Phase::Starting => self.review_start(service, release, canary),
            Phase::Watching => self.review_watch(service, release, canary),
            Phase::Baking => self.review_bake(service, release, canary),
            _ => Vec::new(),
        }
    }

    fn review_start(self, service: &Service, release: &Release, canary: &InstanceState) -> Vec<Transition> {
        let version = &release.spec.image.tag;
        if let InstancePhase::Ended { why } = &canary.phase {
            return self.condemn(service, release, Detector::Start, why.clone());
        }
        if let Some(detail) = self.deserted(service, release) {
            return self.condemn(service, release, Detector::Group, detail);
        }
        if canary.ready_at.is_some() {
            return match &release.hold {
                None => self.first_step(service, release),
                Some((HoldReason::Freeze { .. }, _)) => self.thawed(service, release),
                Some((HoldReason::Capacity { .. }, _)) => self.large_enough(service, release),
                Some(_) => Vec::new(),
            };
        }
        if canary.phase == InstancePhase::Running
            && self.passes(&release.spec.checks, release.instance, CANARY_PASSES)
        {
            let (service, id) = (service.spec.name.clone(), release.instance);
            return vec![Transition::InstanceReady { service, id }];
        }
        let waited = self.now.steady.since(release.requested_at.steady);
        if waited < release.spec.start_timeout {
            return Vec::new();
        }
        let last = self.evidence.instances.get(&release.instance).and_then(|health| health.last.as_ref());
        let last = last
            .map_or_else(|| "it was never reached".into(), |(verdict, _)| crate::sentence::probe(verdict));
        let detail =
            format!("{version} did not become healthy within {}: {last}", release.spec.start_timeout);
        self.condemn(service, release, Detector::Start, detail)
    }

    fn first_step(self, service: &Service, release: &Release) -> Vec<Transition> {
        let routed = service.spec.route.as_ref();
        if routed.is_some_and(|route| !self.evidence.gateway_live(self.now, &route.gateway)) {
            return Vec::new();
        }
        if service.stable.is_none() && self.group_goes(release) {
            return vec![self.promoted(release)];
        }
        self.step(service, release)
    }

    /// The next step, unless something holds the release before it.
    fn step(self, service: &Service, release: &Release) -> Vec<Transition> {
        if !self.group_goes(release) || self.is_load_unknown(service) {
            return Vec::new();
        }
        match self.gate(service, release, release.next_share()) {
            Some(held) => vec![held],
            None => self.to_step(release, release.next_step()),
        }
    }

    /// The transitions that bring a release to a step.
    pub(super) fn to_step(self, release: &Release, step: usize) -> Vec<Transition> {
        match release.spec.steps.get(step) {
            Some(next) if next.weight < Weight::ALL => vec![Transition::WeightIntended {
                release: release.id,
                service: release.spec.service.clone(),
                step,
                weight: next.weight,
                epoch: self.next_epoch(&release.spec.service),
                stable_looks: (step == 0).then(|| self.stable_looks(release)),
            }],
            _ => vec![self.promoted(release)],
        }
    }

    fn stable_looks(self, release: &Release) -> (u32, u32) {
        let stable = self.state.services.get(&release.spec.service).and_then(|service| service.stable);
        let (looks, failed) =
            stable.and_then(|id| self.evidence.instances.get(&id)).map_or((0, 0), Health::looks);
        (looks as u32, failed as u32)
    }

    fn promoted(self, release: &Release) -> Transition {
        let watch = self.evidence.releases.get(&release.id);
        Transition::ReleasePromoted {
            release: release.id,
            service: release.spec.service.clone(),
            epoch: self.next_epoch(&release.spec.service),
            ruled_out_bp: watch.and_then(|watch| watch.step.rules_out_bp()),
            tally: tally(self, release),
        }
    }

    fn review_watch(self, service: &Service, release: &Release, canary: &InstanceState) -> Vec<Transition> {
        if let InstancePhase::Ended { why } = &canary.phase {
            return self.condemn(service, release, Detector::Process, why.clone());
        }
        if let Some(watch) = self.evidence.releases.get(&release.id)
            && let Some(detector) = condemned(watch)
        {
            return self.condemn(service, release, detector, String::new());
        }
        if let Some(detail) = self.policy_condemns(release) {
            return self.condemn(service, release, Detector::Policy, detail);
        }
        if let Some(detail) = self.deserted(service, release) {
            return self.condemn(service, release, Detector::Group, detail);
        }
        let in_force =
            service.spec.route.is_none() || self.held_epoch(&service.spec.name) == Some(service.epoch);
        if release.step_since.is_none() && in_force {
            return vec![Transition::WeightApplied {
                release: release.id,
                service: service.spec.name.clone(),
                weight: release.weight,
                epoch: service.epoch,
            }];
        }
        match &release.hold {
            None => {
                let frozen = || self.frozen_hold(service, release);
                let held = self.halt(service, release).or_else(frozen);
                held.map_or_else(|| self.advance(service, release), |held| vec![held])
            }
            Some((HoldReason::BothFail { .. }, _)) => self.recovered(service, release),
            // What waits for a clock or for less traffic is halted like any other: its end would else forget it.
            Some((why @ (HoldReason::Freeze { .. } | HoldReason::Capacity { .. }), _)) => {
                let goes_on = || match why {
                    HoldReason::Freeze { .. } => self.thawed(service, release),
                    _ => self.large_enough(service, release),
                };
                self.halt(service, release).map_or_else(goes_on, |held| vec![held])
            }
            Some(_) => Vec::new(),
        }
    }

    fn halt(self, service: &Service, release: &Release) -> Option<Transition> {
        let health = self.evidence.instances.get(&release.instance)?;
        let since = release.resumed_at.or(release.traffic_since.map(|at| at.steady))?;
        if let Some((path, fails, _)) = health.threshold_reached(self.now, &release.spec.checks, since) {
            let stable = service.stable.and_then(|id| self.evidence.instances.get(&id));
            let both = stable.is_some_and(|health| health.failing(self.now, BOTH_WITHIN));
            let why = if both { HoldReason::BothFail { path } } else { HoldReason::Halted { path, fails } };
            return Some(held(release, why));
        }
        let watch = self.evidence.releases.get(&release.id)?;
        (watch.probes.flaps() && !release.flaps_waived).then(|| {
            let (failed, looks) = (watch.tally.probes_failed, watch.tally.probes);
            held(release, HoldReason::Flapping { failed, looks })
        })
    }

    /// A hold because both failed ends by itself when both pass again: it was never about the canary.
    fn recovered(self, service: &Service, release: &Release) -> Vec<Transition> {
        let health = |id| self.evidence.instances.get(&id);
        let canary = health(release.instance).is_some_and(|health| health.recovered(&release.spec.checks));
        let stable =
            service.stable.and_then(health).is_some_and(|health| !health.failing(self.now, BOTH_WITHIN));
        if !canary || !stable {
            return Vec::new();
        }
        vec![Transition::ReleaseResumed {
            release: release.id,
            service: service.spec.name.clone(),
            by: Who::tower(),
            reason: "both versions pass again".into(),
            overrides_freeze: false,
        }]
    }

    /// The next step, when its time has come and nothing is unknown: advancing fails closed.
    fn advance(self, service: &Service, release: &Release) -> Vec<Transition> {
        if !self.is_over(service, release) {
            return Vec::new();
        }
        self.doubts(service, release).unwrap_or_else(|| self.step(service, release))
    }

    /// Whether the present step's time has come, nothing that has to be known is unknown, and its traffic leaves no
    /// doubt that would hold it.
    pub(super) fn is_due(self, service: &Service, release: &Release) -> bool {
        self.is_over(service, release) && self.doubts(service, release).is_none()
    }

    /// Since when the present step is watched. Time in which nobody watched is no time: after a gap it begins anew.
    fn begun(self, service: &Service, release: &Release) -> Option<Millis> {
        let link = service.spec.route.as_ref().and_then(|route| self.evidence.gateways.get(&route.gateway));
        let live_since = link.map_or(Millis::ZERO, |link| link.live_since);
        release.step_since.map(|since| since.steady.max(live_since))
    }

    fn is_over(self, service: &Service, release: &Release) -> bool {
        let Some(step) = release.spec.steps.get(release.step) else { return false };
        let begun = self.begun(service, release);
        let elapsed = begun.is_some_and(|begun| self.now.steady.since(begun) >= step.hold);
        let heard = |gateway: &str| self.evidence.gateway_live(self.now, gateway);
        let in_force = self.held_epoch(&service.spec.name) == Some(service.epoch);
        let known = service.spec.route.as_ref().is_none_or(|route| heard(&route.gateway) && in_force);
        let stable = service.stable.is_some_and(|id| self.passes(&service.checks, id, 1));
        elapsed
            && known
            && stable
            && !self.policy_objects(release)
            && self.passes(&release.spec.checks, release.instance, 1)
    }

    /// What a step that has had its time does while its traffic leaves a doubt; `None`: it leaves none, or what was
    /// declared for that case is done.
    fn doubts(self, service: &Service, release: &Release) -> Option<Vec<Transition>> {
        let step = release.spec.steps.get(release.step)?;
        let watch = self.evidence.releases.get(&release.id).filter(|_| !release.doubt_waived);
        let Doubt { upper_bp, margin_bp } = watch.and_then(|watch| Doubt::of(watch, release))?;
        if release.spec.inconclusive != Inconclusive::Extend {
            return Some(vec![held(release, HoldReason::Inconclusive { upper_bp, margin_bp })]);
        }
        let (id, service_name) = (release.id, release.spec.service.clone());
        if !release.extended {
            return Some(vec![Transition::StepExtended {
                release: id,
                service: service_name,
                step: release.step,
                upper_bp,
                margin_bp,
            }]);
        }
        let twice = step.hold + step.hold;
        let is_over = self.begun(service, release).is_some_and(|begun| self.now.steady.since(begun) >= twice);
        (!is_over).then(Vec::new)
    }

    fn review_bake(self, service: &Service, release: &Release, canary: &InstanceState) -> Vec<Transition> {
        let warm = service.warm.and_then(|warm| service.instances.get(&warm.id));
        if warm.is_some_and(|warm| warm.phase == InstancePhase::Running) {
            if let InstancePhase::Ended { why } = &canary.phase {
                return self.condemn(service, release, Detector::Process, why.clone());
            }
            let watch = self.evidence.releases.get(&release.id);
            if watch.is_some_and(|watch| probes_condemn(watch)) {
                return self.condemn(service, release, Detector::Probes, String::new());
            }
        }
        if let Some(detail) = self.deserted(service, release) {
            return self.condemn(service, release, Detector::Group, detail);
        }
        // What was found to be bad, with no way back, is not proven by time.
        if release.hold.is_none()
            && self.group_baked(release)
            && release.bake_until.is_some_and(|until| self.now.steady >= until)
        {
            let (release, service) = (release.id, service.spec.name.clone());
            return vec![Transition::ReleaseBaked { release, service }];
        }
        Vec::new()
    }

    fn condemn(
        self,
        service: &Service,
        release: &Release,
        detector: Detector,
        detail: String,
    ) -> Vec<Transition> {
        let name = &service.spec.name;
        if release.is_past_return() {
            return self.no_return(service, release, detector, &detail);
        }
        let taken = take_back(self, release, detector, detail, self.next_epoch(name), &Who::tower());
        let mut transitions = vec![taken];
        if release.weight_max > Weight::NONE && detector != Detector::Group {
            transitions.push(Transition::VersionDenied {
                release: release.id,
                service: name.clone(),
                version: release.spec.image.tag.clone(),
                digest: release.digest.clone(),
            });
        }
        if detector != Detector::Group {
            transitions.splice(1..1, self.with_fellows(release));
        }
        transitions.extend(self.affected(service, release));
        transitions
    }

    /// The incident that a release has caused, when users saw its failures and none is open.
    pub(super) fn affected(self, service: &Service, release: &Release) -> Option<Transition> {
        let watch = self.evidence.releases.get(&release.id)?;
        let told = self.state.incidents.values().any(|incident| incident.release == Some(release.id));
        if watch.tally.seen == 0 || service.incident.is_some() || told {
            return None;
        }
        let since = watch.tally.first_bad_at.unwrap_or(self.now.wall);
        Some(self.incident(service, Some(release.id), since))
    }

    /// What has become due for a release that was taken back: confirm, drain, close.
    pub(super) fn review_ended(self, release: &Release) -> Vec<Transition> {
        if release.phase.is_active() || release.closed {
            return Vec::new();
        }
        let Some(service) = self.state.services.get(&release.spec.service) else { return Vec::new() };
        let (id, name) = (release.id, service.spec.name.clone());
        let gateway = service.spec.route.as_ref().filter(|_| release.weight_max > Weight::NONE);
        if release.rolled_back_at.is_none() {
            let done = gateway.is_none() || self.held_epoch(&name) == Some(service.epoch);
            let at = self.now.wall;
            let completed =
                Transition::RollbackCompleted { release: id, service: name, at, by_gateway: false };
            return if done { vec![completed] } else { Vec::new() };
        }
        let since = release.ended_at.map_or(Millis::ZERO, |at| self.now.steady.since(at.steady));
        let drained = self.evidence.releases.get(&id).is_some_and(|watch| watch.drained);
        let quiet = gateway.is_none() || (drained && since >= CLOSE_AFTER) || since >= DRAIN_TIMEOUT;
        if !quiet {
            return Vec::new();
        }
        let closed = Transition::ReleaseClosed { release: id, service: name, tally: tally(self, release) };
        self.affected(service, release).into_iter().chain([closed]).collect()
    }
}

/// What condemns a release, if anything does: what is enough alone, or what carries the most of what is enough
/// together; in either case only past its guard.
pub(crate) fn condemned(watch: &Watch) -> Option<Detector> {
    let Parts { errors, probes, slow } = watch.parts();
    let mut parts = [
        (probes, Detector::Probes, watch.tally.probes_failed >= GUARD_LOOKS),
        (errors, Detector::Errors, watch.guard_passed()),
        (slow, Detector::Slow, watch.tally.canary_slow_clients >= GUARD_SLOW),
    ];
    let needed = Watch::needed();
    if let Some((_, detector, _)) = parts.iter().find(|(part, _, guarded)| *part >= needed && *guarded) {
        return Some(*detector);
    }
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [(_, detector, guarded), ..] = parts;
    (watch.evidence() >= needed && guarded).then_some(detector)
}

/// Whether failed looks alone are enough.
pub(crate) fn probes_condemn(watch: &Watch) -> bool {
    watch.parts().probes >= Watch::needed() && watch.tally.probes_failed >= GUARD_LOOKS
}

fn held(release: &Release, why: HoldReason) -> Transition {
    Transition::ReleaseHeld {
        release: release.id,
        service: release.spec.service.clone(),
        why,
        by: Who::tower(),
        reason: String::new(),
    }
}
