//! What is true: a fold over transitions, and nothing else.

pub mod release;
pub mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use hmsops_model::{Digest, IncidentId, InstanceId, Millis, Now, ReleaseId, ServiceName, Version, Weight};
use serde::{Deserialize, Serialize};

use crate::access::{Access, AccessChange};
use crate::event::Who;
use crate::incident::Incident;
use crate::people::People;
use crate::signal::notice::{About, Occasion};
use crate::signal::{Signal, Signals};
use crate::transition::{HoldReason, Role, Transition};
use crate::transport::{Transport, TransportChange};
use release::{Phase, Release};
use service::{InstancePhase, InstanceState, PROVEN_MAX, Proven, Service, Warm};

/// Ended instances remembered per service.
const ENDED_INSTANCES_MAX: usize = 10;

/// A start of stable that lasted so long does not count as one of a row of crashes.
const RESTARTS_FORGOTTEN_AFTER: Millis = Millis::from_secs(60);

/// Releases remembered per tower; older ended ones stay in the ledger.
const RELEASES_MAX: usize = 500;

/// Incidents remembered per tower; older ones stay in the ledger.
const INCIDENTS_MAX: usize = 500;

/// Everything that is true, of all services.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Services by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Releases by number.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// Incidents by number.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Versions that may not be deployed, by the release that was taken back.
    pub denied: BTreeMap<ReleaseId, Denial>,
    /// The highest release number given.
    pub last_release: u64,
    /// The highest instance number given.
    pub last_instance: u64,
    /// The highest incident number given.
    pub last_incident: u64,
    /// What watches and heals.
    #[serde(default)]
    pub signals: Signals,
    /// What is spoken beyond this machine.
    #[serde(default)]
    pub transport: Transport,
    /// Who is let in. Shared, so that a snapshot of all does not copy thousands of tokens.
    #[serde(default, with = "crate::access")]
    pub access: Arc<Access>,
    /// Who logs in. Shared for the same reason.
    #[serde(default, with = "crate::people")]
    pub people: Arc<People>,
}

/// A version that may not be deployed until a person lifts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The service.
    pub service: ServiceName,
    /// The version.
    pub version: Version,
    /// Its content; `None` for external ones, then the version's name is denied.
    pub digest: Option<Digest>,
}

impl State {
    /// The release that is out for a service.
    pub fn active_release(&self, service: &ServiceName) -> Option<&Release> {
        let id = self.services.get(service)?.release?;
        self.releases.get(&id).filter(|release| release.phase.is_active())
    }

    /// The service an instance belongs to, and the instance.
    pub fn instance(&self, id: InstanceId) -> Option<(&Service, &InstanceState)> {
        self.services.values().find_map(|service| Some((service, service.instances.get(&id)?)))
    }

    /// The denial that forbids a version, if one does.
    pub fn denial(
        &self,
        service: &ServiceName,
        version: &Version,
        digest: Option<&Digest>,
    ) -> Option<ReleaseId> {
        self.denied
            .iter()
            .find(|(_, denial)| {
                denial.service == *service
                    && match (&denial.digest, digest) {
                        (Some(denied), Some(asked)) => denied == asked,
                        _ => denial.version == *version,
                    }
            })
            .map(|(id, _)| *id)
    }

    /// Makes a transition true. The same transitions in the same order always give the same state; one that
    /// names something unknown changes nothing.
    pub fn apply(&mut self, now: Now, transition: &Transition) {
        match transition {
            Transition::ServiceDeclared { spec, by, .. } => self.declare(spec, by),
            Transition::InstanceIntended { instance, role, .. } => {
                self.last_instance = self.last_instance.max(instance.id.0);
                let canaries: Vec<InstanceId> = self
                    .releases
                    .values()
                    .filter(|known| !known.closed)
                    .map(|known| known.instance)
                    .collect();
                if let Some(service) = self.services.get_mut(&instance.service) {
                    service.intend(now, instance.clone(), *role);
                    service.forget_ended(&canaries);
                }
            }
            Transition::ReleaseRequested { .. } => self.request(now, transition),
            Transition::IncidentOpened { .. } | Transition::IncidentResolved { .. } => {
                self.apply_incident(now, transition);
            }
            Transition::VersionDenied { release, service, version, digest } => {
                let denial =
                    Denial { service: service.clone(), version: version.clone(), digest: digest.clone() };
                self.denied.insert(*release, denial);
            }
            Transition::VersionUndenied { release, .. } => {
                self.denied.remove(release);
            }
            Transition::Refused { .. } => {}
            Transition::Signal(change) => self.apply_signal(now, change),
            Transition::People(change) => Arc::make_mut(&mut self.people).apply(now, change),
            Transition::Transport(change) => {
                self.transport.apply(now, change);
                if let TransportChange::AgentJoined { agent, token, by, .. } = change {
                    // It was good for one use, and has had it.
                    let used_up = AccessChange::TokenRevoked {
                        token: *token,
                        also: Vec::new(),
                        by: by.clone(),
                        reason: format!("{agent} has joined by it"),
                    };
                    Arc::make_mut(&mut self.access).apply(now, &used_up);
                }
            }
            Transition::Access(change) => Arc::make_mut(&mut self.access).apply(now, change),
            _ => {
                if let Some(id) = transition.release() {
                    self.apply_release(now, id, transition);
                }
                if let Some(service) = transition.service().and_then(|name| self.services.get_mut(name)) {
                    service.apply(now, transition);
                    if let Transition::StableSet { id, .. } = transition {
                        // A release that bakes is proven when it has baked, however often it is restarted meanwhile.
                        let baking = service.release.and_then(|id| self.releases.get(&id));
                        let baking = baking.filter(|release| release.phase == Phase::Baking);
                        let version = service.instances.get(id).map(|known| &known.instance.version);
                        if version != baking.map(|release| &release.spec.image.tag) {
                            service.prove(now, *id, false);
                        }
                    }
                    let released = transition.release().and_then(|id| self.releases.get(&id));
                    if let Some(release) = released {
                        service.follow(now, transition, release);
                    }
                }
            }
        }
    }

    fn apply_signal(&mut self, now: Now, change: &Signal) {
        self.signals.apply(now, change);
        // Who has been told stands with what they were told of, so that it outlives the notice itself.
        if let Signal::NoticeIntended { receiver, about: About::Glass(id), occasion, .. } = change {
            Arc::make_mut(&mut self.people).told(now, *id, *occasion, receiver);
        }
        if let Signal::NoticeIntended { receiver, about: About::Release(id), occasion, .. } = change
            && let Some(release) = self.releases.get_mut(id)
        {
            match occasion {
                Occasion::Held => release.told_of_hold(receiver),
                Occasion::HoldEnded => release.told_of_end(receiver),
                _ => release.told.push(receiver.clone()),
            }
        }
    }

    fn apply_incident(&mut self, now: Now, transition: &Transition) {
        match transition {
            Transition::IncidentOpened { incident, service, release, since, text } => {
                self.last_incident = self.last_incident.max(incident.0);
                let opened = Incident {
                    id: *incident,
                    service: service.clone(),
                    release: *release,
                    since: *since,
                    until: None,
                    updates: vec![(now.wall, text.clone())],
                };
                self.incidents.insert(*incident, opened);
                if let Some(service) = self.services.get_mut(service) {
                    service.incident = Some(*incident);
                }
                let oldest =
                    self.incidents.values().find(|incident| incident.until.is_some()).map(|known| known.id);
                if let Some(oldest) = oldest.filter(|_| self.incidents.len() > INCIDENTS_MAX) {
                    self.incidents.remove(&oldest);
                }
            }
            Transition::IncidentResolved { incident, service, until, text } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    incident.until = Some(*until);
                    incident.updates.push((now.wall, text.clone()));
                }
                if let Some(service) = self.services.get_mut(service) {
                    service.incident = None;
                }
            }
            _ => {}
        }
    }

    fn declare(&mut self, spec: &hmsops_model::service::ServiceSpec, by: &Who) {
        let service =
            self.services.entry(spec.name.clone()).or_insert_with(|| Service::new(spec.clone(), by.clone()));
        service.declared_by = by.clone();
        service.spec = spec.clone();
        service.retired = false;
        if !spec.health.is_empty() {
            service.checks.clone_from(&spec.health);
        }
    }

    fn request(&mut self, now: Now, transition: &Transition) {
        let Transition::ReleaseRequested {
            release: id,
            spec,
            digest,
            instance,
            salt,
            by,
            group,
            revert,
            freeze_overridden,
        } = transition
        else {
            return;
        };
        self.last_release = self.last_release.max(id.0);
        let Some(service) = self.services.get_mut(&spec.service) else { return };
        service.release = Some(*id);
        let release = Release {
            id: *id,
            spec: (**spec).clone(),
            digest: digest.clone(),
            instance: *instance,
            from: service.stable_version().cloned(),
            checks_before: service.checks.clone(),
            salt: *salt,
            by: by.clone(),
            requested_at: now,
            phase: Phase::Starting,
            step: 0,
            weight: Weight::NONE,
            weight_max: Weight::NONE,
            step_since: None,
            traffic_since: None,
            hold: None,
            resumed_at: None,
            verdict: None,
            rolled_back_at: None,
            closed: false,
            tally: crate::transition::Tally::default(),
            ruled_out_bp: None,
            ended_at: None,
            bake_until: None,
            extended: false,
            doubt_waived: false,
            flaps_waived: false,
            stable_looks: (0, 0),
            told: Vec::new(),
            group: *group,
            revert: *revert,
            freeze_overridden: freeze_overridden.clone(),
            committed: false,
            told_hold: Vec::new(),
            told_reasons: Vec::new(),
            settling_since: None,
        };
        self.releases.insert(*id, release);
        if self.releases.len() > RELEASES_MAX {
            let oldest = self.releases.values().find(|r| !r.phase.is_active() && r.closed).map(|r| r.id);
            if let Some(oldest) = oldest {
                self.releases.remove(&oldest);
            }
        }
    }

    fn apply_release(&mut self, now: Now, id: ReleaseId, transition: &Transition) {
        let Some(release) = self.releases.get_mut(&id) else { return };
        let was_held = release.hold.is_some();
        match transition {
            Transition::WeightIntended { step, weight, stable_looks, .. } => {
                release.begin_step(*step, *weight, *stable_looks);
            }
            Transition::StepExtended { .. } => release.extended = true,
            Transition::WeightApplied { .. } => {
                release.step_since = Some(now);
                release.traffic_since.get_or_insert(now);
            }
            Transition::ReleaseHeld { why, .. } => release.held(now, why),
            Transition::ReleaseCommitted { .. } => {
                release.committed = true;
                release.hold = release.hold.take().filter(|(why, _)| *why != HoldReason::Irreversible);
            }
            Transition::ReleaseResumed { reason, overrides_freeze, .. } => {
                release.resume(now, overrides_freeze.then_some(reason));
            }
            Transition::ReleaseTakenBack { verdict, .. } => {
                // With the line itself, so that no crash can part the two.
                if verdict.is_the_versions_fault() && release.weight_max > Weight::NONE {
                    let denial = Denial {
                        service: release.spec.service.clone(),
                        version: release.spec.image.tag.clone(),
                        digest: release.digest.clone(),
                    };
                    self.denied.insert(id, denial);
                }
                release.end_without(now, verdict);
            }
            Transition::RollbackCompleted { at, .. } => release.rolled_back_at = Some(*at),
            Transition::ReleaseClosed { tally, .. } => {
                release.tally = tally.clone();
                release.closed = true;
            }
            Transition::ReleasePromoted { tally, ruled_out_bp, .. } => {
                release.phase = Phase::Baking;
                release.weight = Weight::ALL;
                release.weight_max = Weight::ALL;
                release.step = release.spec.steps.len().saturating_sub(1);
                release.step_since = Some(now);
                release.traffic_since.get_or_insert(now);
                release.tally = tally.clone();
                release.ruled_out_bp = *ruled_out_bp;
                release.hold = None;
                release.bake_until = Some(now.steady + release.spec.bake);
            }
            Transition::ReleaseBaked { .. } => {
                release.phase = Phase::Done;
                release.ended_at = Some(now);
                release.closed = true;
            }
            _ => {}
        }
        if was_held && release.hold.is_none() {
            let by_itself = match transition {
                Transition::ReleaseResumed { by, .. } => *by == Who::tower(),
                Transition::WeightIntended { .. } => true,
                _ => false,
            };
            release.unheld(now, by_itself);
        }
    }
}

impl Service {
    fn intend(&mut self, now: Now, instance: hmsops_model::instance::Instance, role: Role) {
        if role == Role::Stable {
            // A start that lasted is no crash loop.
            let lasted = now.steady.since(self.restarted_at) >= RESTARTS_FORGOTTEN_AFTER;
            self.restarts = if lasted { 1 } else { self.restarts.saturating_add(1) };
            self.restarted_at = now.steady;
        }
        let state = InstanceState {
            instance,
            role,
            phase: InstancePhase::Intended,
            intended_at: now,
            pid: None,
            upstreams: Vec::new(),
            metrics: None,
            ready_at: None,
            healthy: None,
            healthy_since: None,
        };
        self.instances.insert(state.instance.id, state);
    }

    /// Forgets all but the last few that have ended; what is still stood for by one (stable, a release) stays.
    fn forget_ended(&mut self, canaries: &[InstanceId]) {
        let needed =
            |id: InstanceId| self.stable == Some(id) || self.revert == Some(id) || canaries.contains(&id);
        let ended: Vec<InstanceId> = self
            .instances
            .values()
            .filter(|known| known.ended() && !needed(known.instance.id))
            .map(|known| known.instance.id)
            .collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_INSTANCES_MAX)) {
            self.instances.remove(id);
        }
    }

    fn apply(&mut self, now: Now, transition: &Transition) {
        match transition {
            Transition::ServiceRetired { .. } => self.retired = true,
            Transition::InstanceStarted { id, pid, upstreams, metrics, .. } => {
                if let Some(state) = self.instances.get_mut(id) {
                    state.phase = InstancePhase::Running;
                    state.pid = *pid;
                    state.upstreams.clone_from(upstreams);
                    state.metrics.clone_from(metrics);
                }
            }
            Transition::InstanceFailed { id, reason, .. } | Transition::InstanceExited { id, reason, .. } => {
                self.end(now, *id, reason);
            }
            Transition::InstanceStopped { id, .. } => self.end(now, *id, "stopped"),
            Transition::InstanceReady { id, .. } => {
                if let Some(state) = self.instances.get_mut(id) {
                    state.ready_at = Some(now);
                    state.healthy = Some(true);
                    state.healthy_since = Some(now);
                }
            }
            Transition::InstanceStopping { id, .. } => {
                if let Some(state) = self.instances.get_mut(id) {
                    state.phase = InstancePhase::Stopping;
                }
                self.warm = self.warm.filter(|warm| warm.id != *id);
                self.revert = self.revert.filter(|revert| revert != id);
            }
            Transition::RevertIntended { id, .. } => self.revert = Some(*id),
            Transition::StableSet { id, epoch, warm_until, .. } => {
                // Whatever becomes stable without a release is an earlier version, or a new copy of the same.
                if self.version_of(*id) != self.stable.and_then(|old| self.version_of(old)) {
                    self.leave(now, self.stable, true);
                }
                self.set_stable(*id, *warm_until);
                self.epoch = self.epoch.max(*epoch);
            }
            Transition::RouteRenewed { epoch, .. }
            | Transition::WeightIntended { epoch, .. }
            | Transition::ReleaseTakenBack { epoch, .. }
            | Transition::ReleasePromoted { epoch, .. } => self.epoch = self.epoch.max(*epoch),
            Transition::ReleaseClosed { release, .. } => {
                self.release = self.release.filter(|active| active != release);
            }
            Transition::HealthChanged { id, healthy, .. } => {
                if let Some(state) = self.instances.get_mut(id) {
                    state.healthy = Some(*healthy);
                    state.healthy_since = Some(now);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, now: Now, id: InstanceId, why: &str) {
        if let Some(state) = self.instances.get_mut(&id) {
            state.phase = InstancePhase::Ended { why: why.to_owned() };
            state.healthy = state.healthy.map(|_| false);
            state.healthy_since = Some(now);
        }
        self.warm = self.warm.filter(|warm| warm.id != id);
        self.revert = self.revert.filter(|revert| *revert != id);
    }

    /// What a release's transition means for its service.
    fn follow(&mut self, now: Now, transition: &Transition, release: &Release) {
        match transition {
            Transition::ReleasePromoted { .. } => {
                self.leave(now, self.stable, release.revert);
                self.set_stable(release.instance, release.bake_until);
                self.checks.clone_from(&release.spec.checks);
            }
            // A release that bakes is already stable (perhaps as a later copy of it): taking it back swaps it with
            // the warm old version.
            Transition::ReleaseTakenBack { .. } if release.weight_max == Weight::ALL => {
                let baking = self.stable;
                self.leave(now, baking, true);
                self.stable = self.warm.take().map(|warm| warm.id);
                self.checks.clone_from(&release.checks_before);
                for id in baking.into_iter().chain([release.instance]) {
                    self.set_role(id, Role::Former);
                }
                if let Some(stable) = self.stable {
                    self.set_role(stable, Role::Stable);
                }
            }
            Transition::ReleaseBaked { .. } => {
                self.release = None;
                if let Some(stable) = self.stable {
                    self.prove(now, stable, release.spec.irreversible.is_some());
                }
            }
            _ => {}
        }
    }

    /// Makes an instance stable; the old one stays warm until `warm_until`, or is left to be stopped.
    fn set_stable(&mut self, id: InstanceId, warm_until: Option<Millis>) {
        let old = self.stable.replace(id);
        self.warm = match (old, warm_until) {
            (Some(old), _) if old == id => self.warm,
            (Some(old), Some(until)) => Some(Warm { id: old, until }),
            _ => None,
        };
        self.revert = self.revert.filter(|revert| *revert != id);
        if let Some(old) = old.filter(|old| *old != id) {
            self.set_role(old, Role::Former);
        }
        self.set_role(id, Role::Stable);
    }

    fn version_of(&self, id: InstanceId) -> Option<&Version> {
        self.instances.get(&id).map(|known| &known.instance.version)
    }

    fn set_role(&mut self, id: InstanceId, role: Role) {
        if let Some(state) = self.instances.get_mut(&id) {
            state.role = role;
        }
    }

    /// Remembers a version as one to go back to.
    fn prove(&mut self, now: Now, id: InstanceId, irreversible: bool) {
        let Some(state) = self.instances.get(&id) else { return };
        let (version, digest) = (state.instance.version.clone(), state.instance.digest.clone());
        let same = |known: &Proven| known.version == version && known.digest == digest;
        let before = self.proven.iter().any(|known| same(known) && known.irreversible);
        let irreversible = irreversible || before;
        let proven =
            Proven { version, digest, since: now.wall, left_at: None, left_for_good: false, irreversible };
        self.proven.retain(|known| known.version != proven.version);
        self.proven.push(proven);
        if self.proven.len() > PROVEN_MAX {
            self.proven.remove(0);
        }
    }

    /// A version is no longer stable, because another took its place or because somebody went back from it.
    fn leave(&mut self, now: Now, id: Option<InstanceId>, for_good: bool) {
        let version = id.and_then(|id| self.instances.get(&id)).map(|known| known.instance.version.clone());
        let left = self.proven.iter_mut().filter(|known| Some(&known.version) == version.as_ref());
        for known in left {
            known.left_at = Some(now);
            known.left_for_good |= for_good;
        }
    }
}
