//! The conditional test of bad answers: of the clients that got one, how many were on the canary.
//!
//! A client's arm is drawn with chance `w` (the canary's weight when the request was routed), independently of
//! everything else, by a salt drawn once a release. If the canary is no worse, a bad client is on it with
//! chance at most `w`, whatever the error rate does over the day; if its rate is `r` times stable's, with chance
//! `rw / (1 + (r − 1) w)`. The log likelihood ratio of one bad client is therefore `ln r − ln(1 + (r − 1) w)` on
//! the canary and `− ln(1 + (r − 1) w)` on stable. Source: Lindon & Malek, *Anytime-Valid Inference for
//! Multinomial Count Data* (NeurIPS 2022), §4, in its mixture form. A client counts once a release, because a
//! client that fails again and again would else multiply one draw of its arm into many.

use hmsops_model::Weight;

use super::mixture::Mixture;

/// Rate ratios, log-spaced from 1.2 to 3000.
const RATIOS: usize = 60;

/// Evidence that the canary gives more bad answers than stable.
#[derive(Debug, Clone)]
pub struct ErrorEvidence {
    mixture: Mixture,
    ln_ratios: Vec<f64>,
}

impl Default for ErrorEvidence {
    fn default() -> Self {
        let (low, high) = (1.2_f64.ln(), 3000_f64.ln());
        let step = (high - low) / (RATIOS - 1) as f64;
        Self {
            mixture: Mixture::new(&[1.0; RATIOS]),
            ln_ratios: (0..RATIOS).map(|j| low + step * j as f64).collect(),
        }
    }
}

impl ErrorEvidence {
    /// Takes in the clients with a first bad answer, of each arm, `secs` seconds after the watch began.
    pub fn observe(&mut self, secs: u64, weight: Weight, canary: u64, stable: u64) {
        if canary + stable == 0 || weight == Weight::NONE || weight == Weight::ALL {
            return;
        }
        let w = weight.share();
        self.mixture.observe(secs, |j| {
            let ln_ratio = self.ln_ratios.get(j).copied().unwrap_or(0.0);
            canary as f64 * ln_ratio - (canary + stable) as f64 * (ln_ratio.exp_m1() * w).ln_1p()
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

    #[test]
    fn three_bad_clients_of_a_one_per_cent_canary_are_enough() {
        let mut evidence = ErrorEvidence::default();
        evidence.observe(60, ONE, 3, 0);
        assert!(evidence.value() > 2000.0, "{}", evidence.value());
    }

    #[test]
    fn errors_of_stable_alone_are_no_evidence() {
        let mut evidence = ErrorEvidence::default();
        for secs in 0..100 {
            evidence.observe(secs, ONE, 0, 1);
        }
        assert!(evidence.value() < 1.0);
    }

    #[test]
    fn the_same_share_of_errors_is_no_evidence() {
        let mut evidence = ErrorEvidence::default();
        for secs in 0..1000 {
            evidence.observe(secs, ONE, u64::from(secs % 100 == 0), u64::from(secs % 100 != 0));
        }
        assert!(evidence.value() < 10.0, "{}", evidence.value());
    }
}
