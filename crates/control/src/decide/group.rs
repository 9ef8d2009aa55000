//! Releases of several services that go out, and back, together.

use std::collections::BTreeSet;

use hmsops_model::release::ReleaseSpec;
use hmsops_model::{ServiceName, Weight};

use super::View;
use crate::event::{Asked, Options, Refusal, Who};
use crate::release::take_back;
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::transition::{Detector, Transition};

/// Releases that may be asked for together: each is a canary that has to come up before any goes on.
pub const GROUP_MAX: usize = 32;

impl View<'_> {
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
            round.iter().for_each(|transition| state.apply(self.now, transition));
            transitions.extend(round);
        }
        Ok(transitions)
    }

    /// The other releases that were asked for with this one.
    pub(super) fn fellows(self, release: &Release) -> impl Iterator<Item = &Release> {
        fellows(self.state, release)
    }

    /// A fellow that is out no more, which takes this release back with it.
    pub(super) fn deserted(self, release: &Release) -> Option<String> {
        let off = self.fellows(release).find(|fellow| fellow.phase.is_off())?;
        Some(format!("{} of {}, which it goes out with, is {}", off.id, off.spec.service, off.phase.words()))
    }

    /// Takes back the rest of a group, in the same decision.
    pub(super) fn with_fellows(self, release: &Release) -> Vec<Transition> {
        let detail = format!("{} of {}, which it goes out with, was taken back", release.id, release.spec.service);
        let active = self.fellows(release).filter(|fellow| fellow.phase.is_active() && !fellow.is_past_return());
        active
            .map(|fellow| {
                let epoch = self.next_epoch(&fellow.spec.service);
                take_back(self, fellow, Detector::Group, detail.clone(), epoch, &Who::tower())
            })
            .collect()
    }

    /// Whether a release may go to its next step as far as its group goes: all have come as far as it has and nothing
    /// holds them, and those that go before it are already there.
    pub(super) fn group_goes(self, release: &Release) -> bool {
        let next = release.next_step();
        self.fellows(release).all(|fellow| {
            let goes_before = release.spec.after.contains(&fellow.spec.service);
            let level = if goes_before { reached(fellow) > next } else { reached(fellow) >= next };
            level && fellow.hold.is_none()
        })
    }

    /// Whether all of a group have all traffic and have baked for as long as they should.
    pub(super) fn group_baked(self, release: &Release) -> bool {
        let baked = |fellow: &Release| {
            fellow.phase == Phase::Done
                || (fellow.phase == Phase::Baking
                    && fellow.hold.is_none()
                    && fellow.bake_until.is_some_and(|until| self.now.steady >= until))
        };
        self.fellows(release).all(baked)
    }

    /// The releases that a person's word moves: the release itself, or all of its group that stand where it does, those
    /// that go before others first.
    pub(super) fn moved_with(self, release: &Release) -> Result<Vec<&Release>, Refusal> {
        let mut group: Vec<&Release> = self.fellows(release).filter(|fellow| fellow.phase.is_active()).collect();
        group.extend(self.state.releases.get(&release.id));
        let apart = group.iter().find(|fellow| fellow.next_step() != release.next_step());
        if let Some(fellow) = apart {
            return Err(Refusal::conflict(format!(
                "{}, which it goes out with, is at another step",
                fellow.id
            ))
            .hint("wait until they are level"));
        }
        group.sort_by_key(|member| member.id);
        Ok(in_order(group, |member| (&member.spec.service, &member.spec.after)))
    }
}

/// The other releases that were asked for with one.
fn fellows<'a>(state: &'a State, release: &Release) -> impl Iterator<Item = &'a Release> {
    let (id, group) = (release.id, release.group);
    state.releases.values().filter(move |fellow| group.is_some() && fellow.group == group && fellow.id != id)
}

/// Steps that a release has behind it or is at: 0 while it starts and is not ready, 1 at its first share.
fn reached(release: &Release) -> usize {
    match release.phase {
        Phase::Starting => 0,
        Phase::Watching if release.step_since.is_none() => release.step,
        Phase::Watching => release.step + 1,
        _ => usize::MAX,
    }
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
            return Err(Refusal::conflict(format!("`{}` goes after `{lacks}`, which is not asked for", one.spec.service))
                .hint(format!("add the release file of `{lacks}`: `hmsops deploy -f … -f …`")));
        }
    }
    let ordered = in_order(asked.iter().collect(), |one| (&one.spec.service, &one.spec.after));
    if ordered.len() < asked.len() {
        return Err(Refusal::conflict("releases go after each other in a circle").hint("take out one `after:`"));
    }
    Ok(())
}

/// Members so that each stands after those it goes after (Kahn 1962, *Topological sorting of large networks*); what stands
/// in a circle is left out.
fn in_order<'m, T>(members: Vec<&'m T>, of: impl Fn(&'m T) -> (&'m ServiceName, &'m Vec<ServiceName>)) -> Vec<&'m T> {
    let present: BTreeSet<&ServiceName> = members.iter().map(|member| of(member).0).collect();
    let (mut ordered, mut done, mut left) = (Vec::new(), BTreeSet::new(), members);
    loop {
        let free = |member: &&T| of(member).1.iter().all(|before| done.contains(before) || !present.contains(before));
        let (next, rest): (Vec<&T>, Vec<&T>) = left.into_iter().partition(free);
        if next.is_empty() {
            return ordered;
        }
        done.extend(next.iter().map(|member| of(member).0));
        ordered.extend(next);
        left = rest;
    }
}
