//! Taking a release back, and what its evidence could rule out.

use hmsops_model::Weight;

use crate::decide::View;
use crate::event::Who;
use crate::evidence::Watch;
use crate::state::release::Release;
use crate::transition::{Detector, Tally, Transition, Verdict};

/// The transition that takes a release back, with the numbers of that moment.
pub(crate) fn take_back(
    view: View<'_>,
    release: &Release,
    detector: Detector,
    detail: String,
    epoch: u64,
    by: &Who,
) -> Transition {
    let verdict = verdict(view, release, detector, detail);
    Transition::ReleaseTakenBack {
        release: release.id,
        service: release.spec.service.clone(),
        epoch,
        verdict: Box::new(verdict),
        by: by.clone(),
    }
}

/// What a detector says of a release, with the numbers of this moment.
pub(crate) fn verdict(view: View<'_>, release: &Release, detector: Detector, detail: String) -> Verdict {
    let watch = view.evidence.releases.get(&release.id);
    Verdict {
        detector,
        detail,
        at: view.now,
        evidence: watch.map_or(1, |watch| whole(watch.evidence())),
        needed: whole(Watch::needed()),
        weight: release.weight,
        tally: tally(view, release),
        evidence_sha256: None,
    }
}

/// A release's numbers at this moment.
pub(crate) fn tally(view: View<'_>, release: &Release) -> Tally {
    view.evidence.releases.get(&release.id).map_or_else(|| release.tally.clone(), |watch| watch.tally.clone())
}

/// An e-value as a whole number, rounded down, at most 10^15 (exact in JSON).
pub(crate) fn whole(evidence: f64) -> u64 {
    evidence.clamp(0.0, 1e15) as u64
}

/// What a step's traffic could not rule out, in basis points more bad answers than stable's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// How much worse the canary may still be; `None`: anything.
    pub upper_bp: Option<u32>,
    /// How much worse it may be at most.
    pub margin_bp: u32,
}

impl Doubt {
    /// The doubt about a release's present step; `None`: the canary is within its margin, or there is no
    /// traffic and no declared margin, so that nothing was asked of any.
    pub fn of(watch: &Watch, release: &Release) -> Option<Self> {
        let step = &watch.step;
        let margin = release.spec.margin_bp.map_or_else(|| step.auto_margin(), |bp| f64::from(bp) / 10_000.0);
        let margin_bp = (margin * 10_000.0).round().clamp(1.0, 10_000.0) as u32;
        (step.upper() > margin + 1e-6).then(|| Self { upper_bp: step.rules_out_bp(), margin_bp })
    }
}

/// How many requests a step gives the canary at a rate of so many requests a second.
pub fn step_requests(weight: Weight, hold_secs: f64, per_second: f64) -> u64 {
    (weight.share() * hold_secs * per_second).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_how_many_will_see_it() {
        assert_eq!(step_requests(Weight::from_bp(100).unwrap(), 300.0, 100.0), 300);
    }
}
