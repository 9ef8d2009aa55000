//! The sequential test of probes, relative to stable.
//!
//! Each look at the canary fails with chance at most `m` when the canary is no worse than stable, where `m`
//! is learnt from stable's own looks before. Looks made while stable fails, too, say nothing about the canary
//! (prober, network and database are shared) and are left out. Alternatives: a canary that fails a look with
//! chance 0.2, 0.5 or 0.97; see [`super::mixture`] for why the result stays valid however often it is read.
//!
//! A canary that fails one look in twelve fits none of these, and is no better for it. Beside the test runs a
//! cumulative sum of log likelihood ratios that never falls below zero (Page, *Continuous Inspection Schemes*,
//! Biometrika 1954). Such a detector has no α but a mean run length: a healthy canary crosses `FLAP_RUN_LOOKS`'s
//! logarithm once in so many looks or seldomer (Lorden, *Procedures for reacting to a change in distribution*, Annals
//! of Mathematical Statistics 1971). It therefore holds a release and takes none back.

use hmsops_model::Millis;

use super::mixture::{Mixture, Onset};

/// What a bad canary's look may fail with, and how likely we hold each: dead or hanging is the usual case.
const ALTERNATIVES: [(f64, f64); 3] = [(0.2, 0.05), (0.5, 0.1), (0.97, 0.85)];

/// Processes die at any time, and each good look before is proof that this one had not: what counts is the mass at
/// the very second, so little of it is spent early.
const ONSET: Onset = Onset { at_once: 0.0, early: 0.2 };

/// A healthy target is allowed to fail three looks in a thousand, however good stable's record is.
const LOSS_MIN: f64 = 0.003;

/// Looks at a healthy canary between two false holds, in the mean and at least: a thousand releases of an hour at a
/// look a second.
const FLAP_RUN_LOOKS: f64 = 3.6e6;

/// A flapper fails so many looks more than a healthy target: one in twenty.
const FLAP_EXCESS: f64 = 0.05;

/// Evidence that the canary fails more probes than stable.
#[derive(Debug, Clone)]
pub struct ProbeEvidence {
    test: Mixture,
    /// The cumulative sum for flapping, in nats.
    flap: f64,
}

impl Default for ProbeEvidence {
    fn default() -> Self {
        Self { test: Mixture::new(&ALTERNATIVES.map(|(_, prior)| prior), ONSET), flap: 0.0 }
    }
}

impl ProbeEvidence {
    /// Takes in one look at the canary, `at` after the watch began. `loss` is the chance that a look at
    /// a healthy target fails, see [`loss_bound`].
    pub fn observe(&mut self, at: Millis, failed: bool, loss: f64) {
        let flapping = (loss + FLAP_EXCESS).max(4.0 * loss).min(0.95);
        // Where stable itself fails nearly every look, nothing is worse: a passed look would else be held against the
        // canary.
        if flapping > loss {
            self.flap = (self.flap + ln_ratio(failed, flapping, loss)).max(0.0);
        }
        self.test.observe(at, |j| match ALTERNATIVES.get(j) {
            Some((fails, _)) if *fails > loss => ln_ratio(failed, *fails, loss),
            // An alternative that is no worse than the null cannot be held against the canary.
            _ => 0.0,
        });
    }

    /// The evidence so far; 1 means none either way.
    pub fn value(&self) -> f64 {
        self.test.value()
    }

    /// Whether the canary fails single looks far oftener than a healthy target would.
    pub fn flaps(&self) -> bool {
        self.flap >= FLAP_RUN_LOOKS.ln()
    }
}

/// The log likelihood ratio of a look against the null, for a canary that fails with chance `fails`.
fn ln_ratio(failed: bool, fails: f64, loss: f64) -> f64 {
    if failed { (fails / loss).ln() } else { ((1.0 - fails) / (1.0 - loss)).ln() }
}

/// The chance that a look at a healthy target fails, from stable's last `looks` of which `failed` failed: one
/// and a half times the rate, shrunk towards one in eighty by 60 looks, at least 0.003. A more careful guess from a short
/// record would ask for a fourth failed look before a fresh canary is taken back.
pub fn loss_bound(looks: usize, failed: usize) -> f64 {
    (1.5 * (failed as f64 + 0.75) / (looks as f64 + 60.0)).max(LOSS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What probes alone need: 1/(their share × α).
    const ALONE: f64 = 33_333.0;

    #[test]
    fn four_failures_in_a_row_condemn_after_ten_good_minutes_and_three_do_not() {
        let mut evidence = ProbeEvidence::default();
        for secs in 0..600 {
            evidence.observe(Millis(secs * 1000), false, loss_bound(600, 0));
        }
        assert!(evidence.value() < 2.0);
        for secs in 600..603 {
            evidence.observe(Millis(secs * 1000), true, loss_bound(600, 0));
        }
        assert!(evidence.value() < ALONE, "three must not: {}", evidence.value());
        evidence.observe(Millis(603_000), true, loss_bound(600, 0));
        assert!(evidence.value() > ALONE, "{}", evidence.value());
    }

    #[test]
    fn one_look_in_twelve_flaps_and_one_in_two_hundred_does_not() {
        let crossed = |every: u64| {
            let mut evidence = ProbeEvidence::default();
            (0..3600_u64).find(|secs| {
                evidence.observe(Millis(secs * 1000), secs % every == every - 1, loss_bound(600, 0));
                evidence.flaps()
            })
        };
        assert!(crossed(12).is_some_and(|secs| secs < 300), "{:?}", crossed(12));
        assert_eq!(crossed(200), None);
    }

    #[test]
    fn a_canary_that_passes_where_stable_hardly_did_does_not_flap() {
        for (looks, failed) in [(600, 420), (600, 430), (600, 600)] {
            let mut evidence = ProbeEvidence::default();
            for secs in 0..3600 {
                evidence.observe(Millis(secs * 1000), false, loss_bound(looks, failed));
            }
            assert!(!evidence.flaps() && evidence.value() < 1.0 + 1e-6, "{failed}: {}", evidence.value());
        }
    }

    #[test]
    fn where_stable_loses_probes_too_more_is_asked_of_the_evidence() {
        let mut evidence = ProbeEvidence::default();
        for secs in 0..100 {
            evidence.observe(Millis(secs * 1000), false, loss_bound(600, 18));
        }
        for secs in 100..103 {
            evidence.observe(Millis(secs * 1000), true, loss_bound(600, 18));
        }
        assert!(evidence.value() < ALONE, "{}", evidence.value());
    }
}
