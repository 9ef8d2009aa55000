//! What waits for somebody's word: whose wish it is, and who may say yes to it.

use hmsops_model::person::{FourEyes, Role};
use hmsops_model::release::Inconclusive;
use hmsops_model::{GlassId, ReleaseId, Scope, UnixMillis};

use super::decide::{other_person, other_reviewer};
use crate::event::{Refusal, Who};
use crate::evidence::Evidence;
use crate::state::State;
use crate::state::release::Release;
use crate::transition::HoldReason;

/// What somebody is asked to say yes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// A release goes where nothing takes it back by itself.
    NoReturn(ReleaseId),
    /// A release goes on although its step could not tell whether it is as good as what users are on.
    Inconclusive(ReleaseId),
    /// What was done with a broken glass is looked at.
    Glass(GlassId),
    /// A version that was taken back may be deployed again. Nobody has to say so.
    Denial(ReleaseId),
}

impl Matter {
    /// As programs read it: `no-return`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoReturn(_) => "no-return",
            Self::Inconclusive(_) => "inconclusive",
            Self::Glass(_) => "breakglass",
            Self::Denial(_) => "denial",
        }
    }

    /// The scope that it takes to say yes.
    pub const fn scope(self) -> Scope {
        match self {
            Self::NoReturn(_) | Self::Inconclusive(_) => Scope::DEPLOY_PROMOTE,
            Self::Glass(_) => Scope::TICKETS_APPROVE,
            Self::Denial(_) => Scope::DEPLOY_APPROVE,
        }
    }

    /// What it is about: `r-1`.
    pub fn subject(self) -> String {
        match self {
            Self::NoReturn(id) | Self::Inconclusive(id) | Self::Denial(id) => id.to_string(),
            Self::Glass(id) => id.to_string(),
        }
    }

    /// The roles that may say yes, weakest first.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| role.gives(self.scope()))
    }
}

/// Something that somebody may say yes to.
#[derive(Debug, Clone, Copy)]
pub struct Approval<'a> {
    /// What.
    pub matter: Matter,
    /// Whose wish it is; `None`: it is too long ago.
    pub asked: Option<&'a Who>,
    /// Since when.
    pub since: Option<UnixMillis>,
    /// Whether it takes another person than whose wish it is.
    pub by_other: bool,
}

impl Approval<'_> {
    /// Whether it stands still until somebody says so.
    pub const fn waits(&self) -> bool {
        !matches!(self.matter, Matter::Denial(_))
    }

    /// Refuses whoever may not say yes for being who they are. Their scopes are the door's business.
    pub fn may(&self, state: &State, now: UnixMillis, by: &Who) -> Result<(), Refusal> {
        match (self.matter, self.asked) {
            (Matter::Glass(glass), _) => other_reviewer(state, glass, by),
            (_, Some(asked)) if self.by_other => {
                other_person(state, now, (asked, by), &self.matter.subject())
            }
            _ => Ok(()),
        }
    }
}

/// What waits for somebody's word, the longest first; then what may be allowed again, the newest first.
pub fn approvals<'a>(state: &'a State, evidence: &Evidence) -> Vec<Approval<'a>> {
    let takes_two = |what| evidence.seen.four_eyes.contains(&what);
    let held = state.releases.values().filter_map(|release| held(release, takes_two(FourEyes::Irreversible)));
    let glasses = state.people.glasses.values().filter(|glass| glass.reviewed.is_none());
    let glasses = glasses.map(|glass| Approval {
        matter: Matter::Glass(glass.id),
        asked: Some(&glass.by),
        since: Some(glass.broken_at.wall),
        by_other: true,
    });
    let mut all: Vec<Approval<'a>> = held.chain(glasses).collect();
    all.sort_by_key(|approval| approval.since);
    all.extend(state.denied.keys().rev().map(|id| {
        let release = state.releases.get(id);
        Approval {
            matter: Matter::Denial(*id),
            asked: release.map(|release| &release.by),
            since: release.and_then(|release| release.ended_at).map(|at| at.wall),
            by_other: takes_two(FourEyes::Undeny),
        }
    }));
    all
}

fn held(release: &Release, takes_two: bool) -> Option<Approval<'_>> {
    let (why, since) = release.hold.as_ref().filter(|_| release.phase.is_active())?;
    let matter = match why {
        HoldReason::Irreversible => Matter::NoReturn(release.id),
        HoldReason::Inconclusive { .. } if release.spec.inconclusive == Inconclusive::Ask => {
            // What is asked for may lead past the point of no return.
            if release.needs_person(release.next_share()) {
                Matter::NoReturn(release.id)
            } else {
                Matter::Inconclusive(release.id)
            }
        }
        _ => return None,
    };
    let by_other = takes_two && matches!(matter, Matter::NoReturn(_));
    Some(Approval { matter, asked: Some(&release.by), since: Some(since.wall), by_other })
}
