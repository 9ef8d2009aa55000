//! The sequential test of probes, relative to stable.
//!
//! Each look at the canary fails with chance at most `m` when the canary is no worse than stable, where `m`
//! is learnt from stable's own looks before. Looks made while stable fails, too, say nothing about the canary
//! (prober, network and database are shared) and are left out. Alternatives: a canary that fails a look with
//! chance 0.2, 0.5 or 0.95; see [`super::mixture`] for why the result stays valid however often it is read.

use super::mixture::Mixture;

/// What a bad canary's look may fail with, and how likely we hold each: dead or hanging is the usual case.
const ALTERNATIVES: [(f64, f64); 3] = [(0.2, 0.1), (0.5, 0.2), (0.95, 0.7)];

/// A healthy target is allowed to fail one look in two hundred, however good stable's record is.
const LOSS_MIN: f64 = 0.005;

/// Evidence that the canary fails more probes than stable.
#[derive(Debug, Clone)]
pub struct ProbeEvidence(Mixture);

impl Default for ProbeEvidence {
    fn default() -> Self {
        Self(Mixture::new(&ALTERNATIVES.map(|(_, prior)| prior)))
    }
}

impl ProbeEvidence {
    /// Takes in one look at the canary, `secs` seconds after the watch began. `loss` is the chance that a look at
    /// a healthy target fails, see [`loss_bound`].
    pub fn observe(&mut self, secs: u64, failed: bool, loss: f64) {
        self.0.observe(secs, |j| match ALTERNATIVES.get(j) {
            Some((fails, _)) if *fails > loss => {
                if failed {
                    (fails / loss).ln()
                } else {
                    ((1.0 - fails) / (1.0 - loss)).ln()
                }
            }
            // An alternative that is no worse than the null cannot be held against the canary.
            _ => 0.0,
        });
    }

    /// The evidence so far; 1 means none either way.
    pub fn value(&self) -> f64 {
        self.0.value()
    }
}

/// The chance that a look at a healthy target fails, from stable's last `looks` of which `failed` failed: one
/// and a half times the rate, shrunk towards zero by 60 good looks, at least 0.005.
pub fn loss_bound(looks: usize, failed: usize) -> f64 {
    (1.5 * (failed as f64 + 0.75) / (looks as f64 + 60.0)).max(LOSS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_condemn_after_ten_good_minutes() {
        let mut evidence = ProbeEvidence::default();
        for secs in 0..600 {
            evidence.observe(secs, false, loss_bound(600, 0));
        }
        assert!(evidence.value() < 2.0);
        for secs in 600..602 {
            evidence.observe(secs, true, loss_bound(600, 0));
        }
        assert!(evidence.value() < 2000.0, "two must not: {}", evidence.value());
        evidence.observe(602, true, loss_bound(600, 0));
        assert!(evidence.value() > 2000.0, "{}", evidence.value());
    }

    #[test]
    fn where_stable_loses_probes_too_more_is_asked_of_the_evidence() {
        let mut evidence = ProbeEvidence::default();
        for secs in 0..100 {
            evidence.observe(secs, false, loss_bound(600, 18));
        }
        for secs in 100..103 {
            evidence.observe(secs, true, loss_bound(600, 18));
        }
        assert!(evidence.value() < 2000.0, "{}", evidence.value());
    }
}
