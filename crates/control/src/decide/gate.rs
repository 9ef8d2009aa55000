//! What a release has to get past before it goes further: a freeze, a person's word.

use hmsops_model::Weight;
use hmsops_model::person::FourEyes;

use super::View;
use crate::event::{Refusal, Who};
use crate::freeze::{self, Frozen};
use crate::people;
use crate::sentence;
use crate::state::release::Release;
use crate::state::service::Service;
use crate::transition::{Detector, HoldReason, Transition};

impl View<'_> {
    /// The freeze in force over a service, by its own declaration or the tower's settings.
    pub(crate) fn frozen(self, service: &Service) -> Option<Frozen> {
        freeze::at(&self.evidence.seen.freezes.iter().chain(&service.spec.freeze), self.now.wall)
    }

    /// Nothing new begins in a freeze, unless a person says why.
    pub(super) fn refuse_frozen(self, service: &Service) -> Result<(), Refusal> {
        let Some(frozen) = self.frozen(service) else { return Ok(()) };
        let name = &service.spec.name;
        Err(Refusal::conflict(format!(
            "`{name}` is frozen {}",
            freeze::words(frozen.until, frozen.because.as_deref())
        ))
        .hint("wait, or `--override-freeze --reason …`; what goes back is never frozen"))
    }

    /// Refuses whoever says yes to what they have asked for themselves, where the settings ask for another person.
    pub(super) fn four_eyes(self, release: &Release, by: &Who, what: FourEyes) -> Result<(), Refusal> {
        if !self.evidence.seen.four_eyes.contains(&what) {
            return Ok(());
        }
        let words = format!("{} ({what})", release.id);
        people::other_person(self.state, self.now.wall, (&release.by, by), &words)
    }

    /// What holds a release that could otherwise have a further share, if anything does.
    pub(super) fn gate(self, service: &Service, release: &Release, next: Weight) -> Option<Transition> {
        let why = match self.frozen_release(service, release) {
            Some(frozen) => HoldReason::Freeze { until: frozen.until, because: frozen.because },
            None if release.needs_person(next) && service.stable.is_some() => HoldReason::Irreversible,
            None => HoldReason::Capacity { detail: self.too_small(service, release, next)? },
        };
        Some(stays(release, why))
    }

    /// Whether a new version is known to be too small for a share: for so many of the service's requests a second of the
    /// last ten seconds, at so many a second for each of its addresses. What is not declared or not counted is not
    /// known, and does not hold.
    pub(super) fn too_small(self, service: &Service, release: &Release, share: Weight) -> Option<String> {
        let each = service.spec.capacity_milli? as f64 / 1000.0;
        let canary = service.instances.get(&release.instance)?;
        let rate = self.evidence.services.get(&service.spec.name)?.rate(self.now)?;
        let (given, takes) = (rate * share.share(), each * canary.upstreams.len().max(1) as f64);
        let version = &release.spec.image.tag;
        (given > takes).then(|| {
            format!(
                "{share} would be {given:.0} req/s, and {version} takes {takes:.0} req/s by its declaration"
            )
        })
    }

    /// Whether a version's declaration says what it takes, and what it would be given is being counted but not known yet:
    /// the tower has just begun.
    pub(super) fn is_load_unknown(self, service: &Service) -> bool {
        let traffic = self.evidence.services.get(&service.spec.name);
        service.spec.capacity_milli.is_some() && traffic.is_some_and(|known| known.rate(self.now).is_none())
    }

    /// A release that was held because its new version was too small goes on when it no longer is: with more addresses,
    /// another declaration, or less traffic. A tenth less than it takes, so that it does not go to and fro.
    pub(super) fn large_enough(self, service: &Service, release: &Release) -> Vec<Transition> {
        let next = release.next_share();
        let above = Weight::from_bp((f64::from(next.bp()) * 1.1) as u16).unwrap_or(Weight::ALL);
        if self.is_load_unknown(service) || self.too_small(service, release, above).is_some() {
            return Vec::new();
        }
        vec![Transition::ReleaseResumed {
            release: release.id,
            service: release.spec.service.clone(),
            by: Who::tower(),
            reason: "the new version is large enough".into(),
            overrides_freeze: false,
        }]
    }

    /// The freeze that holds a release: none when a person has said so, or when it goes back.
    pub(super) fn frozen_release(self, service: &Service, release: &Release) -> Option<Frozen> {
        if release.revert || release.freeze_overridden.is_some() {
            return None;
        }
        self.frozen(service)
    }

    /// Holds a release as soon as a freeze begins, so that everybody sees why it does not go on.
    pub(super) fn frozen_hold(self, service: &Service, release: &Release) -> Option<Transition> {
        let frozen = self.frozen_release(service, release)?;
        Some(stays(release, HoldReason::Freeze { until: frozen.until, because: frozen.because }))
    }

    /// A release that may no longer be taken back by itself was found to be bad: it stays at its share, and people are
    /// called.
    pub(super) fn no_return(
        self,
        service: &Service,
        release: &Release,
        detector: Detector,
        detail: &str,
    ) -> Vec<Transition> {
        if matches!(release.hold, Some((HoldReason::NoReturn { .. }, _))) {
            return self.affected(service, release).into_iter().collect();
        }
        let why = sentence::found(self, release, detector, detail);
        let held = stays(release, HoldReason::NoReturn { detector, why });
        [held].into_iter().chain(self.affected(service, release)).collect()
    }

    /// The end of a freeze lets a release go on.
    pub(super) fn thawed(self, service: &Service, release: &Release) -> Vec<Transition> {
        if self.frozen_release(service, release).is_some() {
            return Vec::new();
        }
        vec![Transition::ReleaseResumed {
            release: release.id,
            service: release.spec.service.clone(),
            by: Who::tower(),
            reason: "the freeze is over".into(),
            overrides_freeze: false,
        }]
    }
}

/// The release stays where it is, by the tower's own rules.
pub(super) fn stays(release: &Release, why: HoldReason) -> Transition {
    Transition::ReleaseHeld {
        release: release.id,
        service: release.spec.service.clone(),
        why,
        by: Who::tower(),
        reason: String::new(),
    }
}
