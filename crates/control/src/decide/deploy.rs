//! A release is asked for.

use hmsops_model::instance::Instance;
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::Driver;
use hmsops_model::{Digest, Millis, ReleaseId, ServiceName, Version};

use super::View;
use crate::event::{Refusal, Who};
use crate::release::take_back;
use crate::state::release::Phase;
use crate::state::service::{InstancePhase, Service};
use crate::transition::{Detector, Role, Transition};

impl<'a> View<'a> {
    pub(super) fn deploy(
        self,
        spec: &ReleaseSpec,
        digest: Option<&Digest>,
        salt: u64,
        first: bool,
        by: &Who,
    ) -> Result<Vec<Transition>, Refusal> {
        let service = self.deployable(spec, digest, first)?;
        let mut transitions = Vec::new();
        if let Some(active) = self.state.active_release(&spec.service) {
            let warm = service.warm.and_then(|warm| service.instances.get(&warm.id));
            if active.phase == Phase::Baking && warm.is_none_or(|warm| warm.phase != InstancePhase::Running) {
                // Nothing to go back to: it is what users are on, so it stays.
                let (release, service) = (active.id, spec.service.clone());
                transitions.push(Transition::ReleaseBaked { release, service });
            } else {
                // The newest release supersedes; stable stays the last proven version.
                let detail = format!("{} {} was deployed", spec.service, spec.image.tag);
                let epoch = self.next_epoch(&spec.service);
                transitions.push(take_back(self, active, Detector::Superseded, detail, epoch, by));
            }
        }
        let instance = Instance {
            id: self.next_instance(),
            service: spec.service.clone(),
            version: spec.image.tag.clone(),
            digest: digest.cloned(),
        };
        transitions.push(Transition::ReleaseRequested {
            release: self.next_release(),
            spec: Box::new(spec.clone()),
            digest: digest.cloned(),
            instance: instance.id,
            salt,
            by: by.clone(),
        });
        transitions.extend(intend(service, instance, Role::Canary, by));
        Ok(transitions)
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
