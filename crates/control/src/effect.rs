//! What has to be done about a transition, and what should be true of the world at any moment.

use std::collections::BTreeSet;

use hmsops_model::instance::Instance;
use hmsops_model::limits::WARM_UP;
use hmsops_model::network::Network;
use hmsops_model::probe::{Ask, Probe};
use hmsops_model::release::{HealthCheck, Threshold};
use hmsops_model::route::{Arm, CanaryArm, Route};
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{InstanceId, Now, ReleaseId, ServiceName, Version, Weight};

use crate::evidence::Evidence;
use crate::signal::Signal;
use crate::signal::heal::{Heal, HealPhase};
use crate::signal::notice::Notice;
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::state::service::{InstancePhase, InstanceState, Service};
use crate::transition::Transition;

/// Something to be done. Each can be done twice without harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Take a canary's traffic away at once.
    Retreat {
        /// The gateway.
        gateway: String,
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
    },
    /// Put a route in force.
    Route {
        /// The gateway.
        gateway: String,
        /// The route.
        route: Box<Route>,
    },
    /// Carry a service's requests no longer: another gateway does.
    Unroute {
        /// The gateway.
        gateway: String,
        /// The service.
        service: ServiceName,
        /// Above every epoch it may hold.
        epoch: u64,
    },
    /// See to it that an instance runs, and say where (adopts one that does).
    Start {
        /// The instance.
        instance: Instance,
        /// How versions of its service run.
        spec: Box<ServiceSpec>,
    },
    /// See to it that an instance does not run.
    Stop {
        /// The instance.
        instance: Instance,
    },
    /// See to it that a heal's script has run, once.
    Heal {
        /// Which.
        heal: Box<Heal>,
    },
    /// See to it that a notice reaches its receiver.
    Notify {
        /// Which.
        notice: Box<Notice>,
    },
    /// Write a line to the service's log; to the tower's own when it is about no service.
    Say {
        /// The service.
        service: Option<ServiceName>,
        /// Whether it is an error (else it is information).
        error: bool,
        /// The line.
        text: String,
    },
}

/// An instance's check to be probed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTarget {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
    /// Where it answers, `host:port` each, of which looks take turns; at least one.
    pub addrs: Vec<String>,
    /// The check's name: of an HTTP check in the plain form its path; empty: a connection is enough.
    pub path: String,
    /// How it looks.
    pub probe: Probe,
    /// When failures halt a release.
    pub threshold: Threshold,
    /// The version.
    pub version: Version,
    /// The version's folder, in which programs run; `None`: it runs elsewhere.
    pub dir: Option<String>,
    /// Networks that are not public in which another host may be asked.
    pub allow_private: Vec<Network>,
}

/// What has to be done about a transition that has just been applied. Retreats come first.
pub fn effects(state: &State, transition: &Transition) -> Vec<Effect> {
    let service = transition.service().and_then(|name| state.services.get(name));
    let mut effects = Vec::new();
    match transition {
        Transition::ReleaseTakenBack { release, service: name, .. } => {
            if let Some(gateway) = service.and_then(gateway_of) {
                effects.push(Effect::Retreat { gateway, service: name.clone(), release: *release });
            }
            effects.extend(service.and_then(|service| route_effect(state, service)));
        }
        Transition::ServiceDeclared { spec, left: Some(gateway), .. } => {
            let (gateway, service) = (gateway.clone(), spec.name.clone());
            let epoch = state.services.get(&service).map_or(1, |known| known.epoch + 1);
            effects.push(Effect::Unroute { gateway, service, epoch });
            effects.extend(state.services.get(&spec.name).and_then(|known| route_effect(state, known)));
        }
        Transition::StableSet { .. }
        | Transition::RouteRenewed { .. }
        | Transition::WeightIntended { .. }
        | Transition::ReleasePromoted { .. } => {
            effects.extend(service.and_then(|service| route_effect(state, service)));
        }
        Transition::InstanceIntended { instance, .. } => {
            effects.extend(service.and_then(|service| start_effect(service, instance)));
        }
        Transition::InstanceStopping { id, .. } => {
            effects.extend(service.and_then(|service| stop_effect(service, *id)));
        }
        Transition::Signal(change) => effects.extend(signal_effect(state, change)),
        _ => {}
    }
    effects.extend(crate::sentence::log_line(state, transition));
    effects
}

/// What should be true of the world and, as far as is known, is not: sent again until it is. With `all` also
/// what can't be seen to be missing (after a restart).
pub fn reconcile(state: &State, evidence: &Evidence, now: Now, all: bool) -> Vec<Effect> {
    // Starting and stopping is idempotent; what a full queue or a failed try has lost comes again with `all`.
    let mut effects = Vec::new();
    effects.extend(due_notices(state, now));
    let running = state.signals.heals.values().filter(|heal| all && heal.phase == HealPhase::Running);
    let running = running.filter(|heal| heal.exit.is_none());
    effects.extend(running.map(|heal| Effect::Heal { heal: Box::new(heal.clone()) }));
    for service in state.services.values() {
        let link =
            gateway_of(service).and_then(|name| evidence.gateways.get(&name)).filter(|link| link.connected);
        if let Some(link) = link {
            let behind = link.epochs.get(&service.spec.name) != Some(&service.epoch);
            effects.extend(retreats(state, service));
            effects.extend(route_effect(state, service).filter(|_| behind));
        }
        for known in service.instances.values() {
            match known.phase {
                InstancePhase::Intended | InstancePhase::Running if all => {
                    effects.extend(start_effect(service, &known.instance));
                }
                InstancePhase::Stopping if all => effects.extend(stop_effect(service, known.instance.id)),
                _ => {}
            }
        }
    }
    effects
}

fn signal_effect(state: &State, change: &Signal) -> Option<Effect> {
    match change {
        Signal::HealIntended { heal, .. } => {
            let heal = state.signals.heals.get(heal)?;
            Some(Effect::Heal { heal: Box::new(heal.clone()) })
        }
        Signal::NoticeIntended { notice, .. } | Signal::NoticeRevived { notice, .. } => {
            let notice = state.signals.notices.get(notice)?;
            is_next(state, notice).then(|| Effect::Notify { notice: Box::new(notice.clone()) })
        }
        _ => None,
    }
}

/// Notices to be tried now: of those about one thing to one receiver, the oldest, so that an end never overtakes
/// its beginning.
fn due_notices(state: &State, now: Now) -> impl Iterator<Item = Effect> {
    let mut before = BTreeSet::new();
    let waiting = state.signals.waiting_notices();
    let next = waiting.filter(move |notice| before.insert((&notice.receiver, &notice.about)));
    let due = next.filter(move |notice| notice.due_at <= now.steady);
    due.map(|notice| Effect::Notify { notice: Box::new(notice.clone()) })
}

fn is_next(state: &State, notice: &Notice) -> bool {
    let mut before = state.signals.notices.range(..notice.id).map(|(_, before)| before);
    !before.any(|before| {
        before.is_waiting() && before.receiver == notice.receiver && before.about == notice.about
    })
}

/// Releases that were taken back and whose gateway has not confirmed it.
fn retreats(state: &State, service: &Service) -> impl Iterator<Item = Effect> {
    let gateway = gateway_of(service);
    let name = service.spec.name.clone();
    let open = state.releases.values().filter(move |release| {
        release.spec.service == name
            && release.phase.is_off()
            && release.rolled_back_at.is_none()
            && release.weight_max > Weight::NONE
    });
    open.filter_map(move |release| {
        let (gateway, service) = (gateway.clone()?, release.spec.service.clone());
        Some(Effect::Retreat { gateway, service, release: release.id })
    })
}

fn gateway_of(service: &Service) -> Option<String> {
    service.spec.route.as_ref().map(|route| route.gateway.clone())
}

fn route_effect(state: &State, service: &Service) -> Option<Effect> {
    let gateway = gateway_of(service)?;
    Some(Effect::Route { gateway, route: Box::new(route_of(state, service)?) })
}

fn start_effect(service: &Service, instance: &Instance) -> Option<Effect> {
    matches!(service.spec.driver, Driver::Process { .. })
        .then(|| Effect::Start { instance: instance.clone(), spec: Box::new(service.spec.clone()) })
}

fn stop_effect(service: &Service, id: InstanceId) -> Option<Effect> {
    let known = service.instances.get(&id)?;
    Some(Effect::Stop { instance: known.instance.clone() })
}

/// How a service's requests shall be carried; `None` while nothing of it is stable.
pub fn route_of(state: &State, service: &Service) -> Option<Route> {
    let route = service.spec.route.as_ref()?;
    let stable = service.stable_instance()?;
    let upstreams = if stable.ended() { Vec::new() } else { stable.upstreams.clone() };
    let canary = service.release.and_then(|id| state.releases.get(&id));
    Some(Route {
        service: service.spec.name.clone(),
        host: route.host.clone(),
        epoch: service.epoch,
        stable: Arm { version: stable.instance.version.clone(), upstreams },
        canary: canary.and_then(|release| canary_arm(service, release)),
        identity: service.spec.identity.clone(),
        sticky: service.spec.sticky,
        bad: service.spec.bad.clone(),
        protocol: route.protocol,
    })
}

/// The canary's part of a route: with its share while it is watched, with none until its last requests have ended.
fn canary_arm(service: &Service, release: &Release) -> Option<CanaryArm> {
    let known = service.instances.get(&release.instance)?;
    let weight = match release.phase {
        Phase::Watching => release.weight,
        Phase::Starting | Phase::Baking | Phase::Done => return None,
        _ if release.closed || release.weight_max == Weight::NONE => return None,
        _ => Weight::NONE,
    };
    if service.stable == Some(release.instance) {
        return None;
    }
    Some(CanaryArm {
        release: release.id,
        arm: Arm { version: release.spec.image.tag.clone(), upstreams: known.upstreams.clone() },
        weight,
        salt: release.salt,
        shield_after: release.spec.shield_after,
        excused_for: WARM_UP,
        irreversible: release.is_past_return(),
    })
}

/// What an instance is asked: a release's new version its checks, the one before it both its own (which it has to
/// pass) and the release's (so that both are seen in the same moments).
fn checks_of(state: &State, service: &Service, known: &InstanceState) -> Vec<HealthCheck> {
    let release = service.release.and_then(|id| state.releases.get(&id));
    match release {
        Some(release) if release.instance == known.instance.id => release.spec.checks.clone(),
        Some(release) if release.phase.is_active() => {
            let own = if release.phase == Phase::Baking { &release.checks_before } else { &service.checks };
            let more =
                release.spec.checks.iter().filter(|check| own.iter().all(|known| known.path != check.path));
            own.iter().chain(more).cloned().collect()
        }
        _ => service.checks.clone(),
    }
}

/// Where a version's files are.
fn folder_of(service: &Service, known: &InstanceState) -> Option<String> {
    match &service.spec.driver {
        Driver::Process { image_dir, .. } => {
            Some(image_dir.replace("{tag}", known.instance.version.as_str()))
        }
        Driver::External { .. } => None,
    }
}

/// What has to be probed: each check of each instance that runs.
pub fn probe_targets(state: &State) -> Vec<ProbeTarget> {
    let services = state.services.values();
    let running = services.flat_map(|service| {
        let running = service.instances.values().filter(|known| known.phase == InstancePhase::Running);
        running.map(move |known| (service, known))
    });
    running
        .flat_map(|(service, known)| {
            checks_of(state, service, known).into_iter().filter_map(move |check| {
                let probe = check.probe();
                // What is asked of another host, or of no host of the version's, is the same for each address.
                let is_elsewhere = probe.host.is_some() || matches!(probe.ask, Ask::Dns { .. });
                let most = if is_elsewhere { 1 } else { usize::MAX };
                let addrs: Vec<String> = known.upstreams.iter().take(most).cloned().collect();
                (!addrs.is_empty()).then(|| ProbeTarget {
                    service: service.spec.name.clone(),
                    instance: known.instance.id,
                    addrs,
                    probe,
                    threshold: check.threshold,
                    version: known.instance.version.clone(),
                    dir: folder_of(service, known),
                    allow_private: service.spec.allow_private.clone(),
                    path: check.path,
                })
            })
        })
        .collect()
}
