//! What a service needs: its stable running, its health written down, its users told.

use hmsops_model::instance::Instance;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{Digest, IncidentId, Millis, Now, ReleaseId, ServiceName, UnixMillis, Version};

use super::View;
use super::deploy::{back_off, intend};
use crate::event::Who;
use crate::release::take_back;
use crate::state::release::Phase;
use crate::state::service::{InstancePhase, InstanceState, Service};
use crate::transition::{Detector, Role, Transition};

/// Scheduled looks in a row that must pass before stable gets traffic.
const STABLE_PASSES: u32 = 1;

/// A version on its way to be stable gets so long to pass its checks before it is stopped (and, unless it was a
/// revert, started again): more than a release, because users wait for it either way.
const COMING_TIMEOUT: Millis = Millis::from_secs(60);

/// Users must have seen no failure for so long before the public page says it is over.
const QUIET: Millis = Millis(1000);

impl View<'_> {
    pub(super) fn declare(self, specs: &[ServiceSpec], whole: bool, by: &Who) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for spec in specs {
            let known = self.state.services.get(&spec.name);
            if known.is_none_or(|known| known.spec != *spec || known.retired || known.declared_by != *by) {
                let left = known.and_then(|known| moved_from(known, spec));
                if left.is_some() {
                    transitions.extend(self.out(&spec.name, "its route changed", by));
                }
                let (boxed, by) = (Box::new(spec.clone()), by.clone());
                transitions.push(Transition::ServiceDeclared { spec: boxed, by: by.clone(), left });
                transitions.extend(known.into_iter().flat_map(|known| self.moved(known, spec, &by)));
            }
        }
        let gone = self.state.services.values().filter(|known| {
            whole
                && !known.retired
                && known.declared_by == *by
                && !specs.iter().any(|spec| spec.name == known.spec.name)
        });
        for known in gone {
            // Whoever is no longer declared is no longer judged: what is out comes back first.
            let service = known.spec.name.clone();
            transitions.extend(self.out(&service, "its service is no longer declared", by));
            transitions.push(Transition::ServiceRetired { service, by: by.clone() });
        }
        transitions
    }

    /// Takes back what users see only in part.
    fn out(self, service: &ServiceName, detail: &str, by: &Who) -> Option<Transition> {
        let release = self.state.active_release(service)?;
        let is_out = matches!(release.phase, Phase::Starting | Phase::Watching);
        let epoch = self.next_epoch(service);
        is_out.then(|| take_back(self, release, Detector::Person, detail.to_owned(), epoch, by))
    }

    /// A changed declaration needs a new route: another host, other addresses, other bad answers.
    fn moved(self, known: &Service, spec: &ServiceSpec, by: &Who) -> Vec<Transition> {
        let Some(stable) = known.stable_instance() else { return Vec::new() };
        let (name, id) = (spec.name.clone(), stable.instance.id);
        let mut transitions = Vec::new();
        if let Driver::External { upstreams } = &spec.driver
            && let Some(upstreams) = upstreams.get(&stable.instance.version)
            && *upstreams != stable.upstreams
        {
            let upstreams = upstreams.clone();
            transitions.push(Transition::InstanceStarted {
                service: name.clone(),
                id,
                pid: None,
                upstreams,
                metrics: None,
            });
        }
        transitions.push(Transition::RouteRenewed {
            service: name.clone(),
            epoch: self.next_epoch(&name) + 1,
            why: "its declaration changed".into(),
            by: by.clone(),
        });
        transitions
    }

    /// What has become due for a service; the first thing found.
    pub(super) fn review_service(self, service: &Service) -> Vec<Transition> {
        if service.retired {
            return Vec::new();
        }
        let steps: [fn(Self, &Service) -> Vec<Transition>; 5] = [
            Self::review_release,
            Self::review_health,
            Self::review_incident,
            Self::review_stable,
            Self::review_stray,
        ];
        steps.iter().map(|step| step(self, service)).find(|due| !due.is_empty()).unwrap_or_default()
    }

    fn review_health(self, service: &Service) -> Vec<Transition> {
        let running = service.instances.values().filter(|known| known.phase == InstancePhase::Running);
        running.filter_map(|known| self.health_change(service, known)).collect()
    }

    fn health_change(self, service: &Service, known: &InstanceState) -> Option<Transition> {
        let health = self.evidence.instances.get(&known.instance.id)?;
        let (id, name) = (known.instance.id, service.spec.name.clone());
        let release = self.state.active_release(&name).filter(|release| release.instance == id);
        let checks = release.map_or(&service.checks, |release| &release.spec.checks);
        let changed =
            |healthy, reason| Some(Transition::HealthChanged { service: name, id, healthy, reason });
        match known.healthy? {
            true => {
                let since = known.healthy_since.map_or(Millis::ZERO, |at: Now| at.steady);
                let (path, fails, reason) = health.threshold_reached(self.now, checks, since)?;
                changed(
                    false,
                    format!("{} failed {fails} probes: {reason}", crate::sentence::check_name(&path)),
                )
            }
            false if health.recovered(checks) => changed(true, "probes pass again".into()),
            false => None,
        }
    }

    fn review_incident(self, service: &Service) -> Vec<Transition> {
        let down = match service.stable_instance() {
            Some(stable) => stable.ended() || stable.healthy == Some(false),
            None => !service.proven.is_empty(),
        };
        match service.incident {
            None if down => {
                let since = service.stable_instance().and_then(|stable| stable.healthy_since);
                let since = since.map_or(self.now.wall, |at| at.wall);
                vec![self.incident(service, None, since)]
            }
            Some(incident) if !down && self.quiet(service, incident) => self.resolved(service, incident),
            _ => Vec::new(),
        }
    }

    /// The transition that opens an incident.
    pub(super) fn incident(
        self,
        service: &Service,
        release: Option<ReleaseId>,
        since: UnixMillis,
    ) -> Transition {
        Transition::IncidentOpened {
            incident: IncidentId(self.state.last_incident + 1),
            service: service.spec.name.clone(),
            release,
            since,
            text: "We see failures and are acting.".into(),
        }
    }

    /// Whether users see no failure any more.
    fn quiet(self, service: &Service, incident: IncidentId) -> bool {
        let cause = self.state.incidents.get(&incident).and_then(|incident| incident.release);
        let back = cause
            .and_then(|id| self.state.releases.get(&id))
            .is_none_or(|release| release.rolled_back_at.is_some());
        let seen = self
            .evidence
            .services
            .get(&service.spec.name)
            .is_some_and(|traffic| traffic.last(self.now, QUIET).any(|second| second.canary.seen > 0));
        back && !seen
    }

    fn resolved(self, service: &Service, incident: IncidentId) -> Vec<Transition> {
        let Some(known) = self.state.incidents.get(&incident) else { return Vec::new() };
        let release = known.release.and_then(|id| self.state.releases.get(&id));
        let watch = known.release.and_then(|id| self.evidence.releases.get(&id));
        let last_bad = watch.and_then(|watch| watch.tally.last_bad_at);
        let off = release.and_then(|release| release.rolled_back_at);
        let until = last_bad.max(off).unwrap_or(self.now.wall);
        let text = match release {
            Some(release) if release.verdict.as_ref().is_some_and(|verdict| !verdict.by_person()) => {
                "Resolved. A new version was taken back by itself."
            }
            Some(_) => "Resolved. A new version was taken back.",
            None => "Resolved. The service answers again.",
        };
        vec![Transition::IncidentResolved {
            incident,
            service: service.spec.name.clone(),
            until: until.max(known.since),
            text: text.into(),
        }]
    }

    fn review_stable(self, service: &Service) -> Vec<Transition> {
        let name = &service.spec.name;
        let coming = service.live().find(|known| {
            known.role == Role::Stable
                && service.stable != Some(known.instance.id)
                && known.phase != InstancePhase::Stopping
        });
        if let Some(coming) = coming {
            return self.review_coming(service, coming);
        }
        let wanted = match service.stable_instance() {
            Some(stable) if stable.ended() => {
                Some((stable.instance.version.clone(), stable.instance.digest.clone()))
            }
            // A gateway that holds a newer route than we know of (our record was restored) gets a newer one still.
            Some(_) if self.held_epoch(name).is_some_and(|held| held > service.epoch) => {
                let (service, epoch, by) = (name.clone(), self.next_epoch(name), Who::tower());
                let why = "its gateway held a newer route".to_owned();
                return vec![Transition::RouteRenewed { service, epoch, why, by }];
            }
            Some(_) => None,
            None if self.state.active_release(name).is_some() => None,
            None => self.fall_back(service),
        };
        let due = service.restarted_at + back_off(service.restarts);
        match wanted {
            Some((version, digest)) if service.restarts == 0 || self.now.steady >= due => {
                let instance = Instance { id: self.next_instance(), service: name.clone(), version, digest };
                intend(service, instance, Role::Stable, &Who::tower())
            }
            _ => Vec::new(),
        }
    }

    /// What to start when nothing is stable: the last proven version that is not denied; for the very first start
    /// the declared one.
    fn fall_back(self, service: &Service) -> Option<(Version, Option<Digest>)> {
        let name = &service.spec.name;
        let denied =
            |version: &Version, digest: Option<&Digest>| self.state.denial(name, version, digest).is_some();
        let proven = || {
            let newest_first = service.proven.iter().rev();
            newest_first.filter(|known| !denied(&known.version, known.digest.as_ref()))
        };
        let proven = proven().find(|known| !known.left_for_good).or_else(|| proven().next());
        match proven {
            Some(proven) => Some((proven.version.clone(), proven.digest.clone())),
            None if service.proven.is_empty() => service
                .spec
                .stable
                .clone()
                .filter(|version| !denied(version, None))
                .map(|version| (version, None)),
            None => None,
        }
    }

    /// A version on its way to be stable: a first start, a restart, or a revert.
    fn review_coming(self, service: &Service, coming: &InstanceState) -> Vec<Transition> {
        let (id, name) = (coming.instance.id, service.spec.name.clone());
        if coming.ready_at.is_none() {
            let ready =
                coming.phase == InstancePhase::Running && self.passes(&service.checks, id, STABLE_PASSES);
            let waited = self.now.steady.since(coming.intended_at.steady);
            if ready {
                return vec![Transition::InstanceReady { service: name, id }];
            }
            if waited < COMING_TIMEOUT {
                return Vec::new();
            }
            let why = format!("it did not become healthy within {COMING_TIMEOUT}");
            return vec![Transition::InstanceStopping { service: name, id, why }];
        }
        let why = match service.stable_instance() {
            _ if service.revert == Some(id) => "reverted",
            Some(_) => "restarted",
            None => "first start",
        };
        vec![self.stable_set(service, id, why.into(), &Who::tower())]
    }

    /// Instances that nothing needs any more.
    fn review_stray(self, service: &Service) -> Vec<Transition> {
        let needed_by_release = |known: &InstanceState| {
            self.state.releases.values().any(|release| {
                release.instance == known.instance.id
                    && (matches!(release.phase, Phase::Starting | Phase::Watching)
                        || (!release.phase.is_active() && !release.closed))
            })
        };
        let warm = |known: &InstanceState| {
            service.warm.is_some_and(|warm| warm.id == known.instance.id && self.now.steady < warm.until)
        };
        service
            .live()
            .filter(|known| known.phase != InstancePhase::Stopping && known.role != Role::Stable)
            .filter(|known| service.stable != Some(known.instance.id))
            .filter(|known| !warm(known) && !needed_by_release(known))
            .map(|known| Transition::InstanceStopping {
                service: service.spec.name.clone(),
                id: known.instance.id,
                why: "no longer needed".into(),
            })
            .collect()
    }
}

/// The gateway that a service leaves by a new declaration.
fn moved_from(known: &Service, spec: &ServiceSpec) -> Option<String> {
    let before = known.spec.route.as_ref()?;
    let stays = spec.route.as_ref().is_some_and(|route| route.gateway == before.gateway);
    (!stays).then(|| before.gateway.clone())
}
