//! `decide(&State, &Evidence, now, &Event) → transitions`: pure, and the only place where anything is decided.
//!
//! First what the event itself asks for; if that is nothing, one round of looking over all services for what has
//! become due. The tower applies what comes out and asks again with [`Event::Wake`] until nothing does.

mod alert;
mod command;
mod deploy;
mod gate;
mod group;
mod heal;
mod instance;
mod notice;
mod service;
mod steer;
pub(crate) mod watch;

pub use alert::value_text;
pub(crate) use notice::clip;
pub use notice::{told_of, told_of_glass};

use hmsops_model::release::HealthCheck;
use hmsops_model::{InstanceId, Now, ReleaseId, ServiceName};

use crate::access::{AccessChange, Receipt};
use crate::event::{Asked, Event, GatewayReport, Options, Refusal, Who};
use crate::evidence::Evidence;
use crate::freeze::Frozen;
use crate::release::take_back;
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::transition::{Detector, Transition};

/// Tokens that are said to have ended in one round.
const ENDED_AT_ONCE: usize = 200;

/// What becomes of an event. Nothing is changed here; the same arguments always give the same answer.
pub fn decide(
    state: &State,
    evidence: &Evidence,
    now: Now,
    event: &Event,
) -> Result<Vec<Transition>, Refusal> {
    let view = View { state, evidence, now };
    let asked = match event {
        Event::Declared { specs, whole, by } => view.declare(specs, *whole, by),
        Event::Deploy { spec, digest, salt, first, by } => {
            let asked = Asked { spec: spec.clone(), digest: digest.clone(), salt: *salt };
            view.releases(&[asked], &Options { first: *first, ..Options::default() }, by)?
        }
        Event::Release { asked, options, by } => view.releases(asked, options, by)?,
        Event::Command { command, by, reason } => view.command(command, by, reason)?,
        Event::Instance { id, report } => view.instance(*id, report),
        Event::Gateway { report, .. } => view.gateway(report),
        Event::Rules { rules, by } => view.declare_rules(rules, by),
        Event::Policies { policies, by } => view.declare_policies(policies, by),
        Event::Evaluated(evaluation) => view.evaluated(evaluation),
        Event::Judged(judgement) => view.judged(judgement),
        Event::Heal { id, report } => view.heal_ran(*id, report),
        Event::Notice { id, report } => view.noticed(*id, report),
        Event::Transport(report) => {
            state.transport.told(report).map(Transition::Transport).into_iter().collect()
        }
        Event::Counted(receipt) => counted(receipt),
        Event::Tick(_)
        | Event::Probe(_)
        | Event::HealModes(_)
        | Event::Freezes(_)
        | Event::FourEyes(_)
        | Event::Watchers(_)
        | Event::Wake => Vec::new(),
    };
    Ok(if asked.is_empty() { view.review() } else { asked })
}

/// A door's minute as it is written down, if anybody came.
fn counted(receipt: &Receipt) -> Vec<Transition> {
    let receipt = (receipt.requests > 0).then(|| Box::new(receipt.clone()));
    receipt.map(|receipt| Transition::Access(AccessChange::Receipt { receipt })).into_iter().collect()
}

/// The retreats that are due, of any service. They come before everything else.
pub fn retreats_due(state: &State, evidence: &Evidence, now: Now) -> Vec<Transition> {
    let view = View { state, evidence, now };
    let rounds = state.services.values().map(|service| view.review_release(service));
    rounds.into_iter().find(|round| round.iter().any(Transition::is_retreat)).unwrap_or_default()
}

/// What has become due for one service alone: how facts are found while nothing may advance.
pub fn due(state: &State, evidence: &Evidence, now: Now, service: &ServiceName) -> Vec<Transition> {
    let view = View { state, evidence, now };
    let Some(known) = state.services.get(service) else { return Vec::new() };
    let round = view.review_service(known);
    if !round.is_empty() {
        return round;
    }
    let ended = state.releases.values().filter(|release| release.spec.service == *service);
    ended.map(|release| view.review_ended(release)).find(|round| !round.is_empty()).unwrap_or_default()
}

/// The freeze that keeps a release from going on by itself; `None`: none is in force, or a person said that it may.
pub fn frozen(state: &State, evidence: &Evidence, now: Now, release: &Release) -> Option<Frozen> {
    let service = state.services.get(&release.spec.service)?;
    View { state, evidence, now }.frozen_release(service, release)
}

/// What a decision looks at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) evidence: &'a Evidence,
    pub(crate) now: Now,
}

impl View<'_> {
    /// What has become due, over all services.
    fn review(self) -> Vec<Transition> {
        // What has ended stays so, before anything else is asked.
        let over = self.state.access.overdue(self.now.wall, ENDED_AT_ONCE);
        let over: Vec<Transition> =
            over.map(|token| Transition::Access(AccessChange::TokenEnded { token })).collect();
        if !over.is_empty() {
            return over;
        }
        // One service's round at a time: each decision sees the state that the one before it made.
        let services = self.state.services.values().map(|service| self.review_service(service));
        let ended = self.state.releases.values().map(|release| self.review_ended(release));
        let due = services.chain(ended).find(|due| !due.is_empty());
        // Releases come first; people are told of what was done, not of what is about to be.
        let signals: [fn(Self) -> Vec<Transition>; 4] =
            [Self::review_policy_alerts, Self::review_silences, Self::review_heals, Self::review_notices];
        due.or_else(|| signals.iter().map(|step| step(self)).find(|due| !due.is_empty())).unwrap_or_default()
    }

    /// A gateway that gives a release nothing, whatever we think, ends it.
    fn gave_up(self, service: &ServiceName, release: ReleaseId, detail: &str) -> Vec<Transition> {
        let known = self.state.releases.get(&release).filter(|known| known.phase == Phase::Watching);
        let Some(known) = known else { return Vec::new() };
        let epoch = self.next_epoch(service);
        vec![take_back(self, known, Detector::Gateway, detail.to_owned(), epoch, &Who::tower())]
    }

    fn gateway(self, report: &GatewayReport) -> Vec<Transition> {
        match report {
            GatewayReport::Connected { routes } => routes
                .iter()
                .filter(|held| held.retreated)
                .filter_map(|held| Some((held, held.release?)))
                .map(|(held, release)| {
                    self.gave_up(&held.service, release, "the gateway had gone back to stable before")
                })
                .find(|round| !round.is_empty())
                .unwrap_or_default(),
            GatewayReport::Refused { service, epoch, why } => {
                let current = self.state.services.get(service).filter(|known| known.epoch == *epoch);
                let release = current.and_then(|known| known.release);
                release
                    .map(|release| self.gave_up(service, release, &format!("the gateway refused it: {why}")))
                    .unwrap_or_default()
            }
            GatewayReport::Retreated { service, release, by_itself, at } => {
                let Some(known) = self.state.releases.get(release) else { return Vec::new() };
                let mut transitions = Vec::new();
                if known.phase == Phase::Watching {
                    let detail = if *by_itself {
                        "the gateway had lost its tower and went back to stable by itself"
                    } else {
                        "it was taken back while the tower stood still"
                    };
                    let detail = detail.to_owned();
                    let epoch = self.next_epoch(service);
                    transitions.push(take_back(self, known, Detector::Gateway, detail, epoch, &Who::tower()));
                } else if !known.phase.is_off() {
                    return Vec::new();
                }
                if known.rolled_back_at.is_none() {
                    let (release, service) = (*release, service.clone());
                    transitions.push(Transition::RollbackCompleted {
                        release,
                        service,
                        at: *at,
                        by_gateway: *by_itself,
                    });
                }
                transitions
            }
            _ => Vec::new(),
        }
    }

    /// The epoch that the next route of a service gets.
    pub(crate) fn next_epoch(self, service: &ServiceName) -> u64 {
        let known = self.state.services.get(service).map_or(0, |service| service.epoch);
        known.max(self.held_epoch(service).unwrap_or(0)).saturating_add(1)
    }

    /// The epoch of the route that a service's gateway holds, as far as is known.
    pub(crate) fn held_epoch(self, service: &ServiceName) -> Option<u64> {
        let route = self.state.services.get(service)?.spec.route.as_ref()?;
        self.evidence.gateways.get(&route.gateway)?.epochs.get(service).copied()
    }

    pub(crate) fn next_instance(self) -> InstanceId {
        InstanceId(self.state.last_instance + 1)
    }

    pub(crate) fn next_release(self) -> ReleaseId {
        ReleaseId(self.state.last_release + 1)
    }

    /// Whether probes of an instance have lately passed often enough, and all of its checks.
    pub(crate) fn passes(self, checks: &[HealthCheck], id: InstanceId, passes: u32) -> bool {
        self.evidence.instances.get(&id).is_some_and(|health| health.passes(checks, passes))
    }
}
