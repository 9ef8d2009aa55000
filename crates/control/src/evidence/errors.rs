//! The conditional test of bad answers: of the clients that got one, how many were on the canary.
//!
//! A client's arm is drawn with chance `w` (the canary's weight when the request was routed), independently of
//! everything else, by a salt drawn once a release. If the canary is no worse, a bad client is on it with
//! chance at most `w`, whatever the error rate does over the day; if its rate is `r` times stable's, with chance
//! `rw / (1 + (r − 1) w)`. The log likelihood ratio of one bad client is therefore `ln r − ln(1 + (r − 1) w)` on
//! the canary and `− ln(1 + (r − 1) w)` on stable. Source: Lindon & Malek, *Anytime-Valid Inference for
//! Multinomial Count Data* (NeurIPS 2022), §4, in its mixture form. A client counts once a release, because a
//! client that fails again and again would else multiply one draw of its arm into many. And bad clients are told in
//! the order in which their requests came, not in that of the answers: see `outcome/order.rs` of the gateway.

use hmsops_model::{Millis, Weight};

use super::mixture::{Mixture, WITH_USERS};

/// Rate ratios on the grid, log-spaced from 1.5 to 1000. A dead canary's ratio is one over the base error share; at
/// the usual weights ratios above 1000 are told apart from it by no observation.
const RATIOS: usize = 24;

/// Where we expect the ratio of a version that is dead or half dead, as centre and spread (of the logarithm).
const BROKEN: (f64, f64) = (150.0, 0.8);

/// And of one with a broken path or a wrong time-out, which is what a larger share brings to light: few bad answers of
/// a small one tell no more than whether it is broken.
const PARTLY: (f64, f64) = (11.0, 0.4);

/// Up to this share a version is expected to be broken more than partly; the prior then turns with the share ...
const SMALL: f64 = 0.05;

/// ... until this one.
const LARGE: f64 = 0.2;

/// What one look may tell at most, in nats; one look alone condemns nobody. Of a trouble of both arms (a pause of the
/// machine, a burst) one arm's part can come first and all at once; what is wrong with the canary comes again.
const LOOK_NATS_MAX: f64 = 6.0;

/// Evidence that the canary gives more bad answers than stable.
#[derive(Debug, Clone)]
pub struct ErrorEvidence {
    mixture: Mixture,
    ln_ratios: Vec<f64>,
    weight: Weight,
}

impl Default for ErrorEvidence {
    fn default() -> Self {
        let (low, high) = (1.5_f64.ln(), 1000_f64.ln());
        let step = (high - low) / (RATIOS - 1) as f64;
        let ln_ratios: Vec<f64> = (0..RATIOS).map(|j| low + step * j as f64).collect();
        let mixture = Mixture::new(&priors(&ln_ratios, 0.0), WITH_USERS);
        Self { mixture, ln_ratios, weight: Weight::NONE }
    }
}

/// What each ratio is worth staking on at a canary's share `w`. A little lies evenly, so that no ratio costs more than
/// 5 nats more than the expected ones.
fn priors(ln_ratios: &[f64], w: f64) -> Vec<f64> {
    let small = ((LARGE - w) / (LARGE - SMALL)).clamp(0.0, 1.0);
    let (broken, partly, even) = (0.15 + 0.85 * small, 1.0 - 0.6 * small, 0.015 + 0.025 * small);
    let near = |ln_ratio: f64, (centre, spread): (f64, f64)| {
        (-0.5 * ((ln_ratio - centre.ln()) / spread).powi(2)).exp()
    };
    ln_ratios.iter().map(|ln| even + broken * near(*ln, BROKEN) + partly * near(*ln, PARTLY)).collect()
}

impl ErrorEvidence {
    /// Takes in the clients with a first bad answer, of each arm, `at` after the watch began. A weight that was not
    /// reached before is a new step.
    pub fn observe(&mut self, at: Millis, weight: Weight, canary: u64, stable: u64) {
        if weight == Weight::NONE || weight == Weight::ALL {
            return;
        }
        if weight > self.weight {
            self.weight = weight;
            self.mixture.renew(at);
            self.mixture.set_priors(&priors(&self.ln_ratios, weight.share()));
        }
        if canary + stable == 0 {
            return;
        }
        let w = weight.share();
        self.mixture.observe(at, |j| {
            let ln_ratio = self.ln_ratios.get(j).copied().unwrap_or(0.0);
            let ln_told =
                canary as f64 * ln_ratio - (canary + stable) as f64 * (ln_ratio.exp_m1() * w).ln_1p();
            // Less than what was told is evidence all the same: the mean of a smaller e-value is no larger.
            ln_told.min(LOOK_NATS_MAX)
        });
    }

    /// The evidence so far; 1 means none either way.
    pub fn value(&self) -> f64 {
        self.mixture.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Weight = Weight::from_bp(100).unwrap();

    fn secs(secs: u64) -> Millis {
        Millis(secs * 1000)
    }

    #[test]
    fn three_bad_clients_of_a_one_per_cent_canary_are_enough() {
        let mut evidence = ErrorEvidence::default();
        evidence.observe(secs(0), ONE, 0, 0);
        for at in 60..63 {
            evidence.observe(secs(at), ONE, 1, 0);
        }
        assert!(evidence.value() > 2000.0, "{}", evidence.value());
    }

    #[test]
    fn one_look_alone_condemns_nobody() {
        let mut evidence = ErrorEvidence::default();
        evidence.observe(secs(0), ONE, 0, 0);
        evidence.observe(secs(1), ONE, 50, 0);
        assert!(evidence.value() < 404.0, "{}", evidence.value());
        evidence.observe(secs(2), ONE, 50, 0);
        assert!(evidence.value() > 2000.0, "{}", evidence.value());
    }

    #[test]
    fn errors_of_stable_alone_are_no_evidence() {
        let mut evidence = ErrorEvidence::default();
        for at in 0..100 {
            evidence.observe(secs(at), ONE, 0, 1);
        }
        assert!(evidence.value() < 1.0);
    }

    #[test]
    fn the_same_share_of_errors_is_no_evidence() {
        let mut evidence = ErrorEvidence::default();
        for at in 0..1000 {
            evidence.observe(secs(at), ONE, u64::from(at % 100 == 0), u64::from(at % 100 != 0));
        }
        assert!(evidence.value() < 10.0, "{}", evidence.value());
    }

    #[test]
    fn a_fault_hours_later_is_found_by_five_bad_clients() {
        let mut evidence = ErrorEvidence::default();
        for at in 0..20_000 {
            evidence.observe(secs(at), ONE, u64::from(at % 200 == 7), u64::from(at % 2 == 0));
        }
        for at in 20_000..20_005 {
            evidence.observe(secs(at), ONE, 1, 0);
        }
        assert!(evidence.value() > 2000.0, "{}", evidence.value());
    }

    /// Ville's inequality by trial: whatever rates, bursts and weights do, a canary that is no worse reaches 1/α in
    /// no more than about α of all runs. With α = 1/20 a run of 4000 has 200 ± 14 at most.
    #[test]
    fn a_canary_that_is_no_worse_is_seldom_suspected() {
        let mut dice = 0x1234_5678_9abc_def1_u64;
        let mut next = move || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut suspected = 0;
        for run in 0..4000_u64 {
            let mut evidence = ErrorEvidence::default();
            let mut highest = 1.0_f64;
            for at in 0..120 {
                let weight = Weight::from_bp(if at < 60 { 100 } else { 2500 }).unwrap();
                let burst = if (at / 10 + run) % 5 == 0 { 20.0 } else { 2.0 };
                let bad = (next() * burst) as u64;
                let canary = (0..bad).filter(|_| next() < weight.share()).count() as u64;
                evidence.observe(secs(at), weight, canary, bad - canary);
                highest = highest.max(evidence.value());
            }
            suspected += u32::from(highest >= 20.0);
        }
        assert!(suspected <= 230, "{suspected} of 4000");
        assert!(suspected > 0, "a test that never suspects anybody proves nothing");
    }
}
