//! Releases of several services that go out, and back, together.

use std::collections::BTreeSet;

use hmsops_model::release::ReleaseSpec;
use hmsops_model::{ServiceName, Weight};

use super::View;
use crate::event::{Asked, Options, Refusal, Who};
use crate::release::take_back;
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::state::service::{InstancePhase, Service};
use crate::transition::{Detector, Transition};

/// Releases that may be asked for together: each is a canary that has to come up before any goes on.
const GROUP_MAX: usize = 32;

impl<'a> View<'a> {
    /// Several releases: all begin, or none.
    pub(super) fn group(
        self,
        asked: &[Asked],
        options: &Options,
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        sound(asked)?;
        // Each is decided on what the ones before it have made true: numbers go on, nothing is given twice.
        let group = Some(self.next_release());
        let mut state = self.state.clone();
        let mut transitions = Vec::new();
        for one in asked {
            let round = View { state: &state, ..self }.release(one, options, group, by)?;
            for transition in &round {
                state.apply(self.now, transition);
            }
            transitions.extend(round);
        }
        Ok(transitions)
    }

    /// The other releases that were asked for with this one.
    pub(super) fn fellows(self, release: &Release) -> impl Iterator<Item = &'a Release> + use<'a> {
        fellows(self.state, release)
    }

    /// A fellow that went back, with which this release goes back; not when there is nothing left to go back to.
    pub(super) fn deserted(self, service: &Service, release: &Release) -> Option<String> {
        let off = self.fellows(release).find(|fellow| fellow.phase.is_off())?;
        let why =
            format!("{} of {}, which it goes out with, is {}", off.id, off.spec.service, off.phase.words());
        can_go_back(service, release).then_some(why)
    }

    /// Takes back the rest of a group, in the same decision.
    pub(super) fn with_fellows(self, release: &Release) -> Vec<Transition> {
        let detail =
            format!("{} of {}, which it goes out with, was taken back", release.id, release.spec.service);
        let active =
            self.fellows(release).filter(|fellow| fellow.phase.is_active() && !fellow.is_past_return());
        let back = active.filter(|fellow| {
            let service = self.state.services.get(&fellow.spec.service);
            service.is_some_and(|service| can_go_back(service, fellow))
        });
        back.map(|fellow| {
            let epoch = self.next_epoch(&fellow.spec.service);
            take_back(self, fellow, Detector::Group, detail.clone(), epoch, &Who::tower())
        })
        .collect()
    }

    /// Whether a release may go to its next step as far as its group goes: those that go before it are there, and each
    /// other is there, on its way, or could go now.
    pub(super) fn group_goes(self, release: &Release) -> bool {
        let next = release.next_step();
        self.fellows(release).all(|fellow| {
            let Some(service) = self.state.services.get(&fellow.spec.service) else { return false };
            let is_past =
                fellow.phase != Phase::Starting && (fellow.step >= next || fellow.phase != Phase::Watching);
            if release.spec.after.contains(&fellow.spec.service) {
                let in_force =
                    fellow.phase != Phase::Watching || fellow.step > next || fellow.step_since.is_some();
                return is_past && in_force;
            }
            let held = fellow.hold.is_some();
            is_past || (!held && fellow.next_step() == next && self.could_go(service, fellow))
        })
    }

    /// Whether nothing of a release's own keeps it from its next step.
    fn could_go(self, service: &Service, release: &Release) -> bool {
        match release.phase {
            Phase::Starting => is_ready(service, release),
            Phase::Watching => self.is_due(service, release),
            _ => true,
        }
    }

    /// Whether all of a group have all traffic and have baked for as long as they should.
    pub(super) fn group_baked(self, release: &Release) -> bool {
        // One that has gone back keeps nobody: whoever could has gone back with it.
        self.fellows(release).all(|fellow| {
            let over = fellow.bake_until.is_some_and(|until| self.now.steady >= until);
            !fellow.phase.is_active() || (fellow.phase == Phase::Baking && fellow.hold.is_none() && over)
        })
    }

    /// The releases that a person's word moves: the release itself, or all of its group that stand where it does, those
    /// that go before others first.
    pub(super) fn moved_with(self, release: &'a Release) -> Result<Vec<&'a Release>, Refusal> {
        let mut group: Vec<&Release> =
            self.fellows(release).filter(|fellow| fellow.phase.is_active()).collect();
        let apart = group.iter().find(|fellow| {
            let service = self.state.services.get(&fellow.spec.service);
            let is_ready = service.is_some_and(|service| is_ready(service, fellow));
            fellow.next_step() != release.next_step() || fellow.phase == Phase::Baking || !is_ready
        });
        if let Some(fellow) = apart {
            let message = format!("{}, which it goes out with, is not as far", fellow.id);
            return Err(Refusal::conflict(message).hint("wait until they are level"));
        }
        group.push(release);
        group.sort_by_key(|member| member.id);
        Ok(in_order(group, |member| (&member.spec.service, &member.spec.after)))
    }
}

/// The other releases that were asked for with one.
fn fellows<'a>(state: &'a State, release: &Release) -> impl Iterator<Item = &'a Release> + use<'a> {
    let (id, group) = (release.id, release.group);
    state.releases.values().filter(move |fellow| group.is_some() && fellow.group == group && fellow.id != id)
}

/// Whether a release's new version has come up.
fn is_ready(service: &Service, release: &Release) -> bool {
    let canary = service.instances.get(&release.instance);
    canary.is_some_and(|canary| canary.ready_at.is_some() && !canary.ended())
}

/// Whether there is still something to go back to: once a release has all traffic, only while the version before it
/// runs.
pub(super) fn can_go_back(service: &Service, release: &Release) -> bool {
    let warm = service.warm.and_then(|warm| service.instances.get(&warm.id));
    release.phase != Phase::Baking || warm.is_some_and(|warm| warm.phase == InstancePhase::Running)
}

/// Whether releases can go out together.
fn sound(asked: &[Asked]) -> Result<(), Refusal> {
    let Some(first) = asked.first() else { return Err(Refusal::conflict("no release is asked for")) };
    if asked.len() > GROUP_MAX {
        return Err(Refusal::conflict(format!("{} releases are more than {GROUP_MAX}", asked.len())));
    }
    let mut names = BTreeSet::new();
    let weights = |spec: &ReleaseSpec| spec.steps.iter().map(|step| step.weight).collect::<Vec<Weight>>();
    for one in asked {
        let name = &one.spec.service;
        if !names.insert(name) {
            return Err(Refusal::conflict(format!("`{name}` is asked for twice")));
        }
        if weights(&one.spec) != weights(&first.spec) {
            let other = &first.spec.service;
            return Err(Refusal::conflict(format!("`{name}` and `{other}` have other steps"))
                .hint("releases that go out together have the same shares in their steps"));
        }
    }
    for one in asked {
        if let Some(lacks) = one.spec.after.iter().find(|before| !names.contains(before)) {
            return Err(Refusal::conflict(format!(
                "`{}` goes after `{lacks}`, which is not asked for",
                one.spec.service
            ))
            .hint(format!("add the release file of `{lacks}`: `hmsops deploy -f … -f …`")));
        }
    }
    let ordered = in_order(asked.iter().collect(), |one| (&one.spec.service, &one.spec.after));
    if ordered.len() < asked.len() {
        return Err(
            Refusal::conflict("releases go after each other in a circle").hint("take out one `after:`")
        );
    }
    Ok(())
}

/// Members so that each stands after those it goes after (Kahn 1962, *Topological sorting of large networks*); what stands
/// in a circle is left out.
fn in_order<'m, T>(
    members: Vec<&'m T>,
    of: impl Fn(&'m T) -> (&'m ServiceName, &'m Vec<ServiceName>),
) -> Vec<&'m T> {
    let present: BTreeSet<&ServiceName> = members.iter().map(|member| of(member).0).collect();
    let (mut ordered, mut done, mut left) = (Vec::new(), BTreeSet::new(), members);
    loop {
        let (next, rest): (Vec<&T>, Vec<&T>) = left.into_iter().partition(|member| {
            let member: &'m T = member;
            of(member).1.iter().all(|before| done.contains(before) || !present.contains(before))
        });
        if next.is_empty() {
            return ordered;
        }
        done.extend(next.iter().map(|member| of(member).0));
        ordered.extend(next);
        left = rest;
    }
}
