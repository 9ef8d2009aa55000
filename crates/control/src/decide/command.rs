//! A person (or a script) steers.

use hmsops_model::instance::Instance;
use hmsops_model::person::FourEyes;
use hmsops_model::service::Driver;
use hmsops_model::{Millis, ReleaseId, ServiceName, TokenId, Version};

use super::View;
use super::deploy::intend;
use crate::access::{AccessChange, Rotation};
use crate::event::{Command, NO_REASON, Refusal, Who};
use crate::freeze;
use crate::people;
use crate::release::take_back;
use crate::state::release::{Phase, Release};
use crate::state::service::{Proven, Service};
use crate::transition::{Detector, HoldReason, Role, Transition, Verdict};

/// What cannot be undone, or was ruled out, is done for a reason that stands in the record.
pub(super) fn needs_reason(reason: &str, what: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() || reason == NO_REASON {
        return Err(Refusal::conflict(format!("a reason is needed {what}")).hint("add `--reason …`"));
    }
    Ok(())
}

/// A rollback that is asked for so shortly after a detector's means the same one: about what a rule of a minute
/// takes to see that it has helped.
const TAKEN_BACK_JUST_NOW: Millis = Millis::from_mins(2);

impl<'a> View<'a> {
    pub(super) fn command(
        self,
        command: &Command,
        by: &Who,
        reason: &str,
    ) -> Result<Vec<Transition>, Refusal> {
        match command {
            Command::Promote { release, override_freeze } => {
                self.promote(*release, *override_freeze, by, reason)
            }
            Command::Pause { release } => {
                let release = self.watched(*release)?;
                // A hold that ends by itself is no reason to refuse a person's, which does not.
                if release.hold.as_ref().is_some_and(|(why, _)| !why.ends_by_itself()) {
                    return Err(Refusal::conflict(format!("{} is held already", release.id)));
                }
                Ok(vec![Transition::ReleaseHeld {
                    release: release.id,
                    service: release.spec.service.clone(),
                    why: HoldReason::Paused,
                    by: by.clone(),
                    reason: reason.to_owned(),
                }])
            }
            Command::Resume { release } => self.resume(*release, by, reason),
            Command::Abort { release } => {
                let release = self.active(*release)?;
                if release.is_past_return() {
                    needs_reason(reason, "to take back what is irreversible")?;
                }
                Ok(self.end_by_person(release, by, reason))
            }
            Command::Rollback { service, to } => self.rollback(service, to.as_ref(), by, reason),
            Command::Undeny { release } => self.undeny(*release, by, reason),
            Command::Adopt { service, version, upstreams } => self.adopt(service, version, upstreams, by),
            Command::IssueToken { sha256, spec, granter } => {
                let access = &self.state.access;
                let change = access.issue(self.now.wall, (sha256, spec), *granter, (by, reason))?;
                Ok(vec![Transition::Access(change)])
            }
            Command::RotateToken { token, sha256, overlap, life, granter } => {
                let access = &self.state.access;
                let wanted = Rotation { old: *token, sha256, overlap: *overlap, life: *life };
                let change = access.rotate(self.now.wall, wanted, *granter, (by, reason))?;
                Ok(vec![Transition::Access(change)])
            }
            Command::RevokeToken { token, keep_made } => self.revoke_token(*token, *keep_made, (by, reason)),
            Command::People { wish } => {
                let changes = people::decide(self.state, self.now.wall, wish, by, reason)?;
                let made = people::tokens_of(self.state, wish).into_iter().map(|token| {
                    let (by, reason) = (by.clone(), reason.to_owned());
                    Transition::Access(AccessChange::TokenRevoked { token, also: Vec::new(), by, reason })
                });
                let changes = changes.into_iter().map(|change| Transition::People(Box::new(change)));
                Ok(changes.chain(made).collect())
            }
            Command::JoinAgent { token, name, certificate } => {
                let (wall, access) = (self.now.wall, &self.state.access);
                let change = self.state.transport.join(wall, access, (*token, name, certificate), by)?;
                Ok(vec![Transition::Transport(change)])
            }
            Command::RenewAgent { agent, certificate } => {
                let change = self.state.transport.renew(self.now.wall, *agent, certificate)?;
                Ok(vec![Transition::Transport(change)])
            }
            Command::RevokeAgent { agent } => {
                let change = self.state.transport.revoke(*agent, by, reason)?;
                Ok(change.map(Transition::Transport).into_iter().collect())
            }
            other => self.steer(other, by, reason),
        }
    }

    /// A token ends, and the agents that have come in by it or by what it made.
    fn revoke_token(
        self,
        token: TokenId,
        keep_made: bool,
        (by, reason): (&Who, &str),
    ) -> Result<Vec<Transition>, Refusal> {
        let access = &self.state.access;
        let changes = access.revoke(token, keep_made, (by, reason))?.into_iter().map(Transition::Access);
        let wall = self.now.wall;
        let agents = if keep_made {
            None
        } else {
            self.state.transport.revoke_joined(wall, access, token, (by, reason))
        };
        Ok(changes.chain(agents.map(Transition::Transport)).collect())
    }

    fn active(self, id: ReleaseId) -> Result<&'a Release, Refusal> {
        let words = self.release_known(id)?;
        let release = self.state.releases.get(&id).filter(|release| release.phase.is_active());
        release.ok_or_else(|| Refusal::conflict(format!("{id} has ended: it is {words}")))
    }

    fn watched(self, id: ReleaseId) -> Result<&'a Release, Refusal> {
        let release = self.active(id)?;
        if release.phase == Phase::Watching {
            return Ok(release);
        }
        Err(Refusal::conflict(format!(
            "{id} is {}: only a release under watch can be steered so",
            release.phase.words()
        )))
    }

    /// Under watch, or held before its first share or in its bake.
    fn held_or_watched(self, id: ReleaseId) -> Result<&'a Release, Refusal> {
        let release = self.active(id)?;
        if release.hold.is_some() { Ok(release) } else { self.watched(id) }
    }

    fn resume(self, id: ReleaseId, by: &Who, reason: &str) -> Result<Vec<Transition>, Refusal> {
        let release = self.held_or_watched(id)?;
        match &release.hold {
            None => return Err(Refusal::conflict(format!("{id} is not held"))),
            Some((HoldReason::Irreversible, _)) => {
                return Err(Refusal::conflict(format!("{id} is irreversible from the next step on"))
                    .hint(format!("`hmsops release promote {id} --reason …` lets it go there")));
            }
            Some((HoldReason::Freeze { until, because }, _)) => {
                let words = freeze::words(*until, because.as_deref());
                return Err(Refusal::conflict(format!("{id} is frozen {words}")).hint(format!(
                    "it goes on by itself; `hmsops release promote {id} --override-freeze --reason …` does not wait"
                )));
            }
            Some((HoldReason::NoReturn { .. }, _)) if release.phase != Phase::Baking => {
                return Err(Refusal::conflict(format!(
                    "{id} is bad, and irreversible at {}",
                    release.weight
                ))
                .hint(format!(
                    "deploy a fix, `hmsops release promote {id} --reason …`, or `… abort {id} --reason …`"
                )));
            }
            Some(_) => {}
        }
        let (service, by) = (release.spec.service.clone(), by.clone());
        let (reason, overrides_freeze) = (reason.to_owned(), false);
        let mut transitions = vec![Transition::ReleaseResumed {
            release: id,
            service: service.clone(),
            by,
            reason,
            overrides_freeze,
        }];
        if release.phase == Phase::Baking {
            // It was held because it is bad and cannot go back: by a person's word it is what users are on.
            transitions.push(Transition::ReleaseBaked { release: id, service });
        }
        Ok(transitions)
    }

    /// A person lets a release go to its next step: past a freeze and past the point of no return only with a reason.
    fn promote(
        self,
        id: ReleaseId,
        override_freeze: bool,
        by: &Who,
        reason: &str,
    ) -> Result<Vec<Transition>, Refusal> {
        let release = self.held_or_watched(id)?;
        if release.phase == Phase::Baking {
            return Err(Refusal::conflict(format!("{id} has all traffic already")));
        }
        let mut transitions = Vec::new();
        // Those that were asked for together go on together.
        for release in self.moved_with(release)? {
            transitions.extend(self.promote_one(release, override_freeze, by, reason)?);
        }
        Ok(transitions)
    }

    fn promote_one(
        self,
        release: &Release,
        override_freeze: bool,
        by: &Who,
        reason: &str,
    ) -> Result<Vec<Transition>, Refusal> {
        let service = self.known_service(&release.spec.service)?;
        if !override_freeze && self.frozen_release(service, release).is_some() {
            self.refuse_frozen(service)?;
        }
        let (id, name, by) = (release.id, release.spec.service.clone(), by.clone());
        let mut transitions = Vec::new();
        if override_freeze && release.freeze_overridden.is_none() {
            needs_reason(reason, "to go on in a freeze")?;
            let (service, by, reason) = (name.clone(), by.clone(), reason.to_owned());
            let overrides_freeze = true;
            transitions.push(Transition::ReleaseResumed {
                release: id,
                service,
                by,
                reason,
                overrides_freeze,
            });
        }
        if release.needs_person(release.next_share()) && service.stable.is_some() {
            needs_reason(reason, "to let an irreversible release go on")?;
            self.four_eyes(release, &by, FourEyes::Irreversible)?;
            let reason = reason.to_owned();
            transitions.push(Transition::ReleaseCommitted { release: id, service: name, by, reason });
        }
        transitions.extend(self.to_step(release, release.next_step()));
        Ok(transitions)
    }

    fn end_by_person(self, release: &Release, by: &Who, reason: &str) -> Vec<Transition> {
        let service = &release.spec.service;
        let epoch = self.next_epoch(service);
        vec![take_back(self, release, Detector::Person, reason.to_owned(), epoch, by)]
    }

    fn rollback(
        self,
        name: &ServiceName,
        to: Option<&Version>,
        by: &Who,
        reason: &str,
    ) -> Result<Vec<Transition>, Refusal> {
        let service = self.known_service(name)?;
        if let Some(release) = self.state.active_release(name) {
            // Whatever is out goes first; where it was going back to is where it came from.
            let from = release.from.as_ref();
            if release.is_past_return() {
                let id = release.id;
                return Err(Refusal::conflict(format!("{id} is irreversible at {}", release.weight_max)).hint(format!(
                    "a person who knows the data can: `hmsops release abort {id} --reason …`; or deploy a fix"
                )));
            }
            if to.is_none() || to == from {
                return Ok(self.end_by_person(release, by, reason));
            }
            return Err(Refusal::conflict(format!("{} is out", release.id))
                .hint(format!("`hmsops release abort {} --reason …` first", release.id)));
        }
        if to.is_none() && self.just_taken_back(name) {
            return Ok(Vec::new());
        }
        let target = self.revert_target(service, to)?;
        let mut transitions = Vec::new();
        if let Some(pending) = service.revert {
            // The newest wish counts.
            let why = format!("another rollback was asked for: {reason}");
            transitions.push(Transition::InstanceStopping { service: name.clone(), id: pending, why });
        }
        if let Some(warm) = service.warm.and_then(|warm| service.instances.get(&warm.id))
            && warm.instance.version == target.version
        {
            transitions.push(self.stable_set(service, warm.instance.id, format!("rollback: {reason}"), by));
            return Ok(transitions);
        }
        let instance = Instance {
            id: self.next_instance(),
            service: name.clone(),
            version: target.version.clone(),
            digest: target.digest.clone(),
        };
        let id = instance.id;
        transitions.extend(intend(service, instance, Role::Stable, by));
        transitions.push(Transition::RevertIntended {
            service: name.clone(),
            id,
            by: by.clone(),
            reason: reason.to_owned(),
        });
        Ok(transitions)
    }

    /// Whether what `prev` speaks of has happened a moment ago: a heal must not go back once more because a detector
    /// was faster.
    fn just_taken_back(self, name: &ServiceName) -> bool {
        let newest = self.state.releases.values().rev().find(|release| release.spec.service == *name);
        newest.is_some_and(|release| {
            let ended = release.ended_at.map_or(Millis::ZERO, |at| at.steady);
            let by_person = release.verdict.as_ref().is_some_and(Verdict::by_person);
            release.phase.is_off() && !by_person && self.now.steady.since(ended) < TAKEN_BACK_JUST_NOW
        })
    }

    fn revert_target<'s>(self, service: &'s Service, to: Option<&Version>) -> Result<&'s Proven, Refusal> {
        let name = &service.spec.name;
        let denied =
            |proven: &Proven| self.state.denial(name, &proven.version, proven.digest.as_ref()).is_some();
        // By its name, or by content that was denied under another.
        let by_name = |version: &Version| {
            let proven = service.proven.iter().find(|proven| proven.version == *version);
            let digest = proven.and_then(|proven| proven.digest.as_ref());
            let denial = self.state.denial(name, version, None);
            denial.or_else(|| self.state.denial(name, version, digest))
        };
        let current = service.stable_version();
        match to {
            Some(version) if Some(version) == current => {
                Err(Refusal::conflict(format!("`{name}` {version} is what runs already")))
            }
            Some(version) if by_name(version).is_some() => {
                let release = by_name(version);
                let release = release.map_or_else(String::new, |release| release.to_string());
                Err(Refusal::conflict(format!(
                    "`{name}` {version} was taken back in {release} and is denied"
                ))
                .hint(format!("`hmsops release undeny {release} --reason …` lifts it")))
            }
            Some(version) => {
                service.proven.iter().find(|proven| proven.version == *version).ok_or_else(|| {
                    let known: Vec<&str> = service.proven.iter().map(|p| p.version.as_str()).collect();
                    Refusal::not_found(format!("`{name}` {version} was never proven here")).hint(format!(
                        "proven: {}; anything else goes out by `hmsops deploy`",
                        known.join(", ")
                    ))
                })
            }
            None => {
                let stands = |known: &&Proven| Some(&known.version) == current && known.irreversible;
                if let Some(version) = service.proven.iter().find(stands).map(|known| &known.version) {
                    return Err(Refusal::conflict(format!("`{name}` {version} is irreversible")).hint(
                        "a person who knows the data can name the version: `--to=VERSION`; or deploy a fix",
                    ));
                }
                // Not what somebody went back from: two rollbacks in a row would be back at the bad one.
                let earlier = |known: &&Proven| {
                    Some(&known.version) != current && !denied(known) && !known.left_for_good
                };
                service.proven.iter().rev().find(earlier).ok_or_else(|| {
                    Refusal::not_found(format!("`{name}` has no earlier proven version to go back to"))
                        .hint("`hmsops service show` lists them; `--to=VERSION` names one")
                })
            }
        }
    }

    fn undeny(self, id: ReleaseId, by: &Who, reason: &str) -> Result<Vec<Transition>, Refusal> {
        self.release_known(id)?;
        let denial = self.state.denied.get(&id);
        let denial = denial.ok_or_else(|| Refusal::conflict(format!("{id} has nothing denied")))?;
        if let Some(release) = self.state.releases.get(&id) {
            self.four_eyes(release, by, FourEyes::Undeny)?;
        }
        Ok(vec![Transition::VersionUndenied {
            release: id,
            service: denial.service.clone(),
            version: denial.version.clone(),
            by: by.clone(),
            reason: reason.to_owned(),
        }])
    }

    fn adopt(
        self,
        name: &ServiceName,
        version: &Version,
        upstreams: &[String],
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        let service = self.known_service(name)?;
        if let Driver::Process { .. } = service.spec.driver {
            return Err(Refusal::conflict(format!("`{name}` has `driver: process`: we start it ourselves"))
                .hint("only `driver: external` can be adopted; give `stable:` the version to start"));
        }
        if let Some(stable) = service.stable_version() {
            return Err(Refusal::conflict(format!("`{name}` has a stable version already: {stable}")));
        }
        let id = self.next_instance();
        let instance = Instance { id, service: name.clone(), version: version.clone(), digest: None };
        Ok(vec![
            Transition::InstanceIntended { instance, role: Role::Stable, by: by.clone() },
            Transition::InstanceStarted {
                service: name.clone(),
                id,
                pid: None,
                upstreams: upstreams.to_vec(),
                metrics: None,
            },
            self.stable_set(service, id, "adopted".into(), by),
        ])
    }

    pub(super) fn known_service(self, name: &ServiceName) -> Result<&'a Service, Refusal> {
        self.state.services.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.state.services.keys().map(ServiceName::as_str).collect();
            Refusal::not_found(format!("there is no service `{name}`"))
                .hint(format!("known: {}", known.join(", ")))
        })
    }

    /// An instance becomes stable; the one before stays warm for the usual bake time.
    pub(super) fn stable_set(
        self,
        service: &Service,
        id: hmsops_model::InstanceId,
        why: String,
        by: &Who,
    ) -> Transition {
        let warm_until = service
            .stable_instance()
            .filter(|old| !old.ended())
            .map(|_| self.now.steady + hmsops_model::limits::BAKE_DEFAULT);
        let name = &service.spec.name;
        Transition::StableSet {
            service: name.clone(),
            id,
            epoch: self.next_epoch(name),
            why,
            warm_until,
            by: by.clone(),
        }
    }
}
