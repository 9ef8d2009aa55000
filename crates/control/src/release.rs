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
fn whole(evidence: f64) -> u64 {
    evidence.clamp(0.0, 1e15) as u64
}

/// The smallest worsening of the error share, in basis points, that `n` canary requests can rule out, with 95 %
/// confidence and 80 % power when the error share is really `base`: the margin of a one-sided non-inferiority
/// comparison with stable taken as known, δ = (z₁ + z₂) √(p(1−p)/n), z₁ = 1.645, z₂ = 0.842 (Chow, Shao, Wang,
/// *Sample Size Calculations in Clinical Research*, §4.1). `None`: not even a canary that always fails.
pub fn rules_out_bp(n: u64, base: f64) -> Option<u32> {
    let margin = (1.645 + 0.842) * (base * (1.0 - base) / n as f64).sqrt();
    (margin < 1.0 - base).then(|| (margin * 10_000.0).ceil() as u32)
}

/// How many requests a step gives the canary at a rate of so many requests a second.
pub fn step_requests(weight: Weight, hold_secs: f64, per_second: f64) -> u64 {
    (weight.share() * hold_secs * per_second).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_it_cannot_see() {
        // research: base 0.5 %, margin 1 point needs 307 requests; 0.2 points 7 692.
        let bp = rules_out_bp(307, 0.005).unwrap();
        assert!((100..=101).contains(&bp), "{bp}");
        let bp = rules_out_bp(7692, 0.005).unwrap();
        assert!((20..=21).contains(&bp), "{bp}");
        assert_eq!(rules_out_bp(0, 0.005), None);
        assert_eq!(step_requests(Weight::from_bp(100).unwrap(), 300.0, 100.0), 300);
    }
}
