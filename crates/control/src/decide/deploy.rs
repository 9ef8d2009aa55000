//! A release is asked for.

use hmsops_model::instance::Instance;
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::Driver;
use hmsops_model::{Digest, Millis, ReleaseId, ServiceName, Version};

use super::View;
use crate::event::{Asked, Options, Refusal, Who};
use crate::release::take_back;
use crate::state::release::Phase;
use crate::state::service::{InstancePhase, Service};
use crate::transition::{Detector, Role, Transition};

impl<'a> View<'a> {
    /// Releases that are asked for together: all begin, or none.
    pub(super) fn releases(
        self,
        asked: &[Asked],
        options: &Options,
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        let [one] = asked else { return self.group(asked, options, by) };
        self.release(one, options, None, by)
    }

    /// One release; `group` is the first of those that are asked for together.
    pub(super) fn release(
        self,
        asked: &Asked,
        options: &Options,
        group: Option<ReleaseId>,
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        let Asked { spec, digest, salt } = asked;
        let digest = digest.as_ref();
        let service = self.deployable(spec, digest, options.first)?;
        let revert = group.is_none() && !options.canary && self.goes_back(service, spec, digest);
        if !revert && options.override_freeze.is_none() {
            self.refuse_frozen(service)?;
        }
        let mut spec = spec.clone();
        if revert {
            // A version that was proven here a short while ago is not tried on users once more.
            spec.steps.drain(..spec.steps.len().saturating_sub(1));
        }
        let mut transitions = self.make_way(service, &spec, by)?;
        let instance = Instance {
            id: self.next_instance(),
            service: spec.service.clone(),
            version: spec.image.tag.clone(),
            digest: digest.cloned(),
        };
        transitions.push(Transition::ReleaseRequested {
            release: self.next_release(),
            spec,
            digest: digest.cloned(),
            instance: instance.id,
            salt: *salt,
            by: by.clone(),
            group,
            revert,
            freeze_overridden: options.override_freeze.clone(),
        });
        transitions.extend(intend(service, instance, Role::Canary, by));
        Ok(transitions)
    }

    /// The newest release supersedes; stable stays the last proven version.
    fn make_way(self, service: &Service, spec: &ReleaseSpec, by: &Who) -> Result<Vec<Transition>, Refusal> {
        let Some(active) = self.state.active_release(&spec.service) else { return Ok(Vec::new()) };
        let (id, tag) = (active.id, &spec.image.tag);
        let warm = service.warm.and_then(|warm| service.instances.get(&warm.id));
        let warm = warm.filter(|warm| warm.phase == InstancePhase::Running);
        if active.phase == Phase::Baking && (warm.is_none() || active.is_past_return()) {
            // Nothing to go back to: it is what users are on, so it stays.
            let service = spec.service.clone();
            return Ok(vec![Transition::ReleaseBaked { release: id, service }]);
        }
        if active.is_past_return() {
            return Err(Refusal::conflict(format!("{id} is out and irreversible")).hint(format!(
                "`hmsops release promote {id} --reason …` first, or `hmsops release abort {id} --reason …`"
            )));
        }
        if active.phase == Phase::Baking && active.from.as_ref() == Some(tag) {
            return Err(Refusal::conflict(format!("`{}` {tag} is still warm, as {id} bakes", spec.service))
                .hint(format!("`hmsops release abort {id} --reason …` goes back to it at once")));
        }
        let detail = format!("{} {tag} was deployed", spec.service);
        let epoch = self.next_epoch(&spec.service);
        Ok(vec![take_back(self, active, Detector::Superseded, detail, epoch, by)])
    }

    /// Whether a release goes back to a version that was stable lately: within the service's rollback window, of the
    /// same content, and not left because somebody went back from it.
    fn goes_back(self, service: &Service, spec: &ReleaseSpec, digest: Option<&Digest>) -> bool {
        let window = service.spec.rollback_window;
        let current = service.stable_version();
        let newest_first = service.proven.iter().rev().filter(|known| Some(&known.version) != current);
        let mut within = newest_first.take(window.versions as usize);
        // Beyond a version that there is no return from, nothing is tried without a person.
        let beyond = service.proven.iter().any(|known| known.irreversible && Some(&known.version) == current);
        let target = within.find(|known| known.version == spec.image.tag);
        target.is_some_and(|known| {
            let age = known
                .left_at
                .map_or_else(|| self.now.wall.since(known.since), |left| self.now.steady.since(left.steady));
            !beyond && !known.left_for_good && known.digest.as_ref() == digest && age <= window.age
        })
    }

    fn deployable(
        self,
        spec: &ReleaseSpec,
        digest: Option<&Digest>,
        first: bool,
    ) -> Result<&'a Service, Refusal> {
        let (name, tag) = (&spec.service, &spec.image.tag);
        let Some(service) = self.state.services.get(name).filter(|service| !service.retired) else {
            let known: Vec<&str> = self.state.services.keys().map(ServiceName::as_str).collect();
            let known = if known.is_empty() { "none is declared yet".into() } else { known.join(", ") };
            return Err(Refusal::not_found(format!("there is no service `{name}`"))
                .hint(format!("declare it in dev/cd/services.yaml; known: {known}")));
        };
        if let Driver::External { upstreams } = &service.spec.driver
            && !upstreams.contains_key(tag)
        {
            let known: Vec<&str> = upstreams.keys().map(Version::as_str).collect();
            return Err(Refusal::not_found(format!("`{name}` has no upstreams for version `{tag}`"))
                .hint(format!("add them to services.yaml; there are {}", known.join(", "))));
        }
        if let Some(release) = self.state.denial(name, tag, digest) {
            return Err(Refusal::conflict(format!("`{name}` {tag} was taken back in {release} and is denied"))
                .hint(format!("`hmsops release undeny {release} --reason …` lifts it; `hmsops release why {release}` says why")));
        }
        if service.revert.is_some() {
            return Err(Refusal::conflict(format!("`{name}` is on its way to another version"))
                .hint("wait until it is there, or roll back to another one"));
        }
        match service.stable_instance() {
            None if !first => Err(Refusal::conflict(format!("no version of `{name}` runs yet"))
                .hint("`--first` starts it without a canary, `stable:` in services.yaml names it, `hmsops service adopt` takes over a running one")),
            Some(stable) if stable.instance.version == *tag && same_content(stable.instance.digest.as_ref(), digest) => {
                Err(Refusal::conflict(format!("`{name}` {tag} is what runs already")))
            }
            _ => Ok(service),
        }
    }

    /// The word for where a release stands; a refusal when there is none of that number.
    pub(crate) fn release_known(self, release: ReleaseId) -> Result<&'static str, Refusal> {
        if let Some(known) = self.state.releases.get(&release) {
            return Ok(known.phase.words());
        }
        let newest = self.state.releases.keys().next_back();
        let hint = newest.map_or_else(|| "no release yet".into(), |id| format!("the newest is {id}"));
        Err(Refusal::not_found(format!("there is no release {release}")).hint(hint))
    }
}

/// An instance shall run. External ones run already: they start and their outcome is known at once.
pub(super) fn intend(service: &Service, instance: Instance, role: Role, by: &Who) -> Vec<Transition> {
    let (name, id, version) = (instance.service.clone(), instance.id, instance.version.clone());
    let mut transitions = vec![Transition::InstanceIntended { instance, role, by: by.clone() }];
    if let Driver::External { upstreams } = &service.spec.driver {
        let upstreams = upstreams.get(&version).cloned().unwrap_or_default();
        transitions.push(Transition::InstanceStarted {
            service: name,
            id,
            pid: None,
            upstreams,
            metrics: None,
        });
    }
    transitions
}

/// Whether two digests name the same content, as far as is known.
fn same_content(one: Option<&Digest>, other: Option<&Digest>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// The back-off before stable is started again: 0, 1, 2, 4 … at most 30 s.
pub(super) fn back_off(restarts: u32) -> Millis {
    if restarts == 0 { Millis::ZERO } else { Millis((500_u64 << restarts.min(7)).min(30_000)) }
}
