//! The conditional test of slow answers: of the clients that met one, how many were on the canary.
//!
//! An answer is slow when it took longer than stable's own 99th percentile of the last half to whole minute (the
//! gateway's fold says which, with one bound for both arms, so what its buckets round is rounded alike). If the
//! canary is no slower, a slow client is on it with chance at most `w`, as for bad answers, see [`super::errors`].
//!
//! Unlike bad answers, slow ones come in bursts of one arm: a process that pauses for 300 ms makes everybody slow who
//! waits for it. That is no reason to take it back, so a second multiplies the evidence by at most `SECOND_MAX`,
//! and it takes ten seconds or more to condemn. A likelihood ratio cut off from above has a mean of at most one under
//! the null, so the result stays an e-value (Vovk & Wang, *E-values: Calibration, combination and applications*,
//! Annals of Statistics 2021, §2).

use hmsops_model::{Millis, Weight};

use super::mixture::{Mixture, WITH_USERS};

/// Rate ratios on the grid, log-spaced from [`RATIO_MIN`] to [`RATIO_MAX`].
const RATIOS: usize = 12;

/// A canary with fewer than three times as many slow answers is let pass: a version may be a little slower.
const RATIO_MIN: f64 = 3.0;

/// Stable's own share of slow answers is 1 %, so no canary has a higher ratio.
const RATIO_MAX: f64 = 100.0;

/// What one second can multiply the evidence by, at most. Both processes pause, each by itself: with four, a run of
/// pauses of one of them took back a healthy canary in one of some thousands of simulated rollouts.
const SECOND_MAX: f64 = 3.0;

/// Evidence that the canary gives more slow answers than stable.
#[derive(Debug, Clone)]
pub struct SlowEvidence {
    mixture: Mixture,
    ln_ratios: Vec<f64>,
    weight: Weight,
    open: Option<Second>,
}

/// The second that is being summed.
#[derive(Debug, Clone, Copy)]
struct Second {
    at: Millis,
    weight: Weight,
    canary: u64,
    stable: u64,
}

impl Default for SlowEvidence {
    fn default() -> Self {
        let step = (RATIO_MAX / RATIO_MIN).ln() / (RATIOS - 1) as f64;
        Self {
            mixture: Mixture::new(&[1.0; RATIOS], WITH_USERS),
            ln_ratios: (0..RATIOS).map(|j| RATIO_MIN.ln() + step * j as f64).collect(),
            weight: Weight::NONE,
            open: None,
        }
    }
}

impl SlowEvidence {
    /// Takes in the clients with a first slow answer, of each arm, `at` after the watch began. They count once
    /// their second is over.
    pub fn observe(&mut self, at: Millis, weight: Weight, canary: u64, stable: u64) {
        if weight == Weight::NONE || weight == Weight::ALL {
            return;
        }
        let at = Millis(at.0 / 1000 * 1000);
        if let Some(open) = self.open.filter(|open| open.at != at || open.weight != weight) {
            self.close(open);
            self.open = None;
        }
        if weight > self.weight {
            self.weight = weight;
            self.mixture.renew(at);
        }
        let open = self.open.get_or_insert(Second { at, weight, canary: 0, stable: 0 });
        open.canary += canary;
        open.stable += stable;
    }

    fn close(&mut self, second: Second) {
        let (canary, all) = (second.canary as f64, (second.canary + second.stable) as f64);
        if all == 0.0 {
            return;
        }
        let w = second.weight.share();
        self.mixture.observe(second.at, |j| {
            let ln_ratio = self.ln_ratios.get(j).copied().unwrap_or(0.0);
            (canary * ln_ratio - all * (ln_ratio.exp_m1() * w).ln_1p()).min(SECOND_MAX.ln())
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
    fn one_pause_of_a_busy_canary_is_no_evidence_to_speak_of() {
        let mut evidence = SlowEvidence::default();
        for tick in 0..600 {
            // 1 000 requests a second: a pause of 400 ms makes each of the canary's answers slow.
            let pause = (300..304).contains(&tick);
            evidence.observe(Millis(tick * 100), ONE, u64::from(pause), 1);
        }
        assert!(evidence.value() < 5.0, "{}", evidence.value());
        let mut evidence = SlowEvidence::default();
        evidence.observe(Millis(0), ONE, 0, 0);
        evidence.observe(Millis(30_000), ONE, 10_000, 0);
        evidence.observe(Millis(31_000), ONE, 0, 0);
        assert!(evidence.value() <= SECOND_MAX, "{}", evidence.value());
    }

    #[test]
    fn a_canary_that_stays_slow_is_found_within_half_a_minute() {
        let mut evidence = SlowEvidence::default();
        for secs in 0..60 {
            evidence.observe(Millis(secs * 1000), ONE, 0, 10);
        }
        for secs in 60..90 {
            evidence.observe(Millis(secs * 1000), ONE, 10, 10);
        }
        assert!(evidence.value() > 20_000.0, "{}", evidence.value());
    }

    #[test]
    fn a_canary_twice_as_slow_in_its_tail_is_let_pass() {
        let mut evidence = SlowEvidence::default();
        for secs in 0..3000 {
            evidence.observe(Millis(secs * 1000), ONE, u64::from(secs % 50 == 0), 1);
        }
        assert!(evidence.value() < 100.0, "{}", evidence.value());
    }
}
