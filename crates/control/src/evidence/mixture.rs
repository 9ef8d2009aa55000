//! A sequential test that stays valid however often it is looked at, and does not forget how to react after
//! a long quiet time.
//!
//! For each alternative j (how much worse the canary might be) and each moment k from which it might be so,
//! the product of likelihood ratios since k is a test martingale under "the canary is not worse". A mixture of
//! them with fixed weights that sum to 1 is one, too, so by Ville's inequality the chance that it ever reaches
//! 1/α is at most α. Sources: Ville, *Étude critique de la notion de collectif* (1939); Wald, *Sequential
//! Tests of Statistical Hypotheses* (1945); Robbins, *Statistical methods related to the law of the iterated
//! logarithm* (1970) for mixtures; Shin, Ramdas, Rinaldo, *E-detectors* (arXiv:2203.03532) for mixing over
//! starting moments.
//!
//! What starting late costs is the logarithm of the prior mass near the true start. Most bad versions are bad from
//! their first user on, and most others show it within a minute, so an atom of the mass lies at the beginning of each
//! step and the larger part falls off over the next minute; the rest lies evenly in long blocks, for what leaks or
//! fills up. Whether and when mass is staked, and on which alternatives, depends on time and on steps decided before,
//! never on the observation it is staked on, which is all that Ville's inequality asks for.

use hmsops_model::Millis;

/// Where the prior mass of starts lies, in shares; what is left of one lies in the late blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Onset {
    /// In the first second or two of a step.
    pub at_once: f64,
    /// Over the minute after.
    pub early: f64,
}

/// Of faults that new users bring to light.
pub const WITH_USERS: Onset = Onset { at_once: 0.15, early: 0.6 };

/// Mean of the starts that are there from the beginning, in seconds.
const AT_ONCE_SECS: f64 = 1.0;

/// Mean of the early starts, in seconds.
const EARLY_SECS: f64 = 20.0;

/// Seconds in the first block of late starts: a release of the usual 10 minutes lies within it.
const FIRST_BLOCK_SECS: f64 = 1024.0;

/// Blocks of late starts: the sixteenth ends after 46 000 years.
const BLOCKS: u32 = 16;

/// What is observed is at least a second old in terms of [`unstaked_after`]: else the first look would find nothing
/// staked.
const AHEAD: Millis = Millis(1000);

/// Evidence against one null hypothesis, as an e-value.
#[derive(Debug, Clone)]
pub struct Mixture {
    /// Share of each alternative in what is staked from now on; they sum to 1.
    prior: Vec<f64>,
    /// Log of the summed wealth of each alternative over all starts so far.
    ln_wealth: Vec<f64>,
    onset: Onset,
    /// Mass of starts still to come, 0 to 1.
    unstaked: f64,
    /// Since when its prior counts.
    since: Millis,
    /// Until when, from `since`, it has been staked.
    staked: Millis,
}

impl Mixture {
    /// With the prior weights of the alternatives, which must be positive; they are normalised.
    pub fn new(priors: &[f64], onset: Onset) -> Self {
        Self {
            prior: normalised(priors),
            ln_wealth: vec![f64::NEG_INFINITY; priors.len()],
            onset,
            unstaked: 1.0,
            since: Millis::ZERO,
            staked: Millis::ZERO,
        }
    }

    /// What is staked from now on is divided so among the same alternatives. To be called before anything that is
    /// observed from then on is known.
    pub fn set_priors(&mut self, priors: &[f64]) {
        debug_assert_eq!(priors.len(), self.prior.len(), "the alternatives stay the same");
        self.prior = normalised(priors);
    }

    /// From `at` (since the watch began) on faults are as likely to begin as at first: a step has begun. To be
    /// called before anything of it is observed.
    pub fn renew(&mut self, at: Millis) {
        if at > self.since {
            (self.since, self.staked) = (at, Millis::ZERO);
        }
    }

    /// Takes in one observation (or a batch) made `at` after the watch began. `ln_ratio` gives, for the j-th
    /// alternative, the log likelihood ratio of the observation against the null.
    pub fn observe(&mut self, at: Millis, ln_ratio: impl Fn(usize) -> f64) {
        let ln_mass = self.stake(at).ln();
        for (j, (wealth, prior)) in self.ln_wealth.iter_mut().zip(&self.prior).enumerate() {
            *wealth = ln_add(*wealth, ln_mass + prior.ln()) + ln_ratio(j);
        }
    }

    /// Takes the mass of starts until `at` from what is unstaked.
    fn stake(&mut self, at: Millis) -> f64 {
        let due = (at.since(self.since) + AHEAD).max(self.staked);
        let left = self.unstaked * unstaked_after(due, self.onset) / unstaked_after(self.staked, self.onset);
        let mass = self.unstaked - left;
        (self.unstaked, self.staked) = (left, due);
        mass.max(0.0)
    }

    /// The evidence so far: 1 means none either way. The starting mass not yet staked counts as it is.
    pub fn value(&self) -> f64 {
        self.unstaked + self.ln_wealth.iter().map(|ln_wealth| ln_wealth.exp()).sum::<f64>()
    }
}

/// Prior weights as shares of one.
fn normalised(priors: &[f64]) -> Vec<f64> {
    let sum: f64 = priors.iter().sum();
    priors.iter().map(|prior| prior / sum).collect()
}

/// The prior mass of starts later than so long, 1 at 0. At once and early: exponential. Late: half of what is left lies
/// evenly in each block, and each block is four times as long as the one before.
fn unstaked_after(span: Millis, onset: Onset) -> f64 {
    let secs = span.as_secs_f64();
    let (mut late, mut begin, mut length) = (1.0 - onset.at_once - onset.early, 0.0, FIRST_BLOCK_SECS);
    for _ in 0..BLOCKS {
        let covered = ((secs - begin) / length).clamp(0.0, 1.0);
        late *= 1.0 - covered / 2.0;
        if covered < 1.0 {
            break;
        }
        begin += length;
        length *= 4.0;
    }
    onset.at_once * (-secs / AT_ONCE_SECS).exp() + onset.early * (-secs / EARLY_SECS).exp() + late
}

/// ln(e^a + e^b) without overflow.
fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_is_spent_but_never_overspent() {
        let mut last = 1.0;
        for secs in [0, 1, 10, 1023, 1024, 1025, 5000, 100_000, 1 << 40] {
            let left = unstaked_after(Millis(secs * 1000), WITH_USERS);
            assert!(left <= last && left > 0.0, "{secs}: {left}");
            last = left;
        }
        assert!((unstaked_after(Millis::ZERO, WITH_USERS) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_observed_is_evidence_of_one() {
        let mut mixture = Mixture::new(&[1.0, 2.0], WITH_USERS);
        assert!((mixture.value() - 1.0).abs() < 1e-12);
        mixture.observe(Millis(50_000), |_| 0.0);
        mixture.renew(Millis(60_000));
        mixture.observe(Millis(65_000), |_| 0.0);
        assert!((mixture.value() - 1.0).abs() < 1e-12, "a ratio of one changes nothing: {}", mixture.value());
    }

    #[test]
    fn it_is_a_martingale_under_the_null() {
        // Exactly: over all 2^10 outcomes of ten fair coins, the mean of the evidence is 1, steps or not, and also
        // when a step begins because of what was seen before.
        let (p, q) = (0.5_f64, [0.6_f64, 0.9]);
        for stepped in 0..3 {
            let mean: f64 = (0_u32..1024)
                .map(|outcomes| {
                    let mut mixture = Mixture::new(&[1.0, 1.0], WITH_USERS);
                    for toss in 0_u32..10 {
                        let at = Millis(u64::from(toss) * 7000);
                        if (stepped == 1 && toss % 4 == 3)
                            || (stepped == 2 && toss > 0 && outcomes >> (toss - 1) & 1 == 1)
                        {
                            mixture.renew(at);
                            mixture.set_priors(&[1.0, 3.0]);
                        }
                        let head = outcomes >> toss & 1 == 1;
                        mixture.observe(at, |j| {
                            if head { (q[j] / p).ln() } else { ((1.0 - q[j]) / (1.0 - p)).ln() }
                        });
                    }
                    mixture.value() / 1024.0
                })
                .sum();
            assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        }
    }

    #[test]
    fn a_long_quiet_time_costs_little_speed() {
        for quiet in [600, 4 * 3600] {
            let mut mixture = Mixture::new(&[1.0], WITH_USERS);
            for secs in 0..quiet {
                mixture.observe(Millis(secs * 1000), |_| (0.05_f64 / 0.995).ln());
            }
            for secs in quiet..quiet + 4 {
                mixture.observe(Millis(secs * 1000), |_| (0.95_f64 / 0.005).ln());
            }
            assert!(mixture.value() > 2000.0, "{quiet}: {}", mixture.value());
        }
    }
}
