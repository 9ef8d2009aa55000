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
//! What starting late costs is the logarithm of the prior mass near the true start. Faults come with new users, so
//! most of the mass falls like 1/(t ln² t) from the beginning, and again from the beginning of each step; the rest
//! lies evenly in long blocks, for what leaks or fills up. Whether and when mass is staked depends on time and on
//! steps decided before, never on the observation it is staked on, which is all that Ville's inequality asks for.

use hmsops_model::Millis;

/// Share of the prior mass that is usually spent early; see [`unstaked_after`].
const EARLY_SHARE: f64 = 0.6;

/// Seconds over which the early share stays near its densest.
const EARLY_SECS: f64 = 10.0;

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
    /// Prior weight of each alternative; they sum to 1.
    prior: Vec<f64>,
    /// Log of the summed wealth of each alternative over all starts so far.
    ln_wealth: Vec<f64>,
    /// Share of the mass that is spent early, 0 to 1.
    early: f64,
    /// Mass of starts still to come, 0 to 1.
    unstaked: f64,
    /// Since when its prior counts.
    since: Millis,
    /// Until when, from `since`, it has been staked.
    staked: Millis,
}

impl Mixture {
    /// With the prior weights of the alternatives, which must be positive; they are normalised.
    pub fn new(priors: &[f64]) -> Self {
        Self::with_early(priors, EARLY_SHARE)
    }

    /// The same, with its own share (0 to 1) of mass that is spent early.
    pub fn with_early(priors: &[f64], early: f64) -> Self {
        let sum: f64 = priors.iter().sum();
        Self {
            prior: priors.iter().map(|prior| prior / sum).collect(),
            ln_wealth: vec![f64::NEG_INFINITY; priors.len()],
            early,
            unstaked: 1.0,
            since: Millis::ZERO,
            staked: Millis::ZERO,
        }
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
        for (j, wealth) in self.ln_wealth.iter_mut().enumerate() {
            *wealth = ln_add(*wealth, ln_mass) + ln_ratio(j);
        }
    }

    /// Takes the mass of starts until `at` from what is unstaked.
    fn stake(&mut self, at: Millis) -> f64 {
        let due = (at.since(self.since) + AHEAD).max(self.staked);
        let left = self.unstaked * unstaked_after(due, self.early) / unstaked_after(self.staked, self.early);
        let mass = self.unstaked - left;
        (self.unstaked, self.staked) = (left, due);
        mass.max(0.0)
    }

    /// The evidence so far: 1 means none either way. The starting mass not yet staked counts as it is.
    pub fn value(&self) -> f64 {
        let wealth = self.prior.iter().zip(&self.ln_wealth);
        self.unstaked + wealth.map(|(prior, ln_wealth)| prior * ln_wealth.exp()).sum::<f64>()
    }
}

/// The prior mass of starts later than so long, 1 at 0. Early: 1/(1 + ln(1 + t/τ)), whose density falls like
/// 1/(t ln² t), the slowest that still sums to one for all times. Late: two thirds of what is left lie evenly in
/// each block, and each block is four times as long as the one before.
fn unstaked_after(span: Millis, early_share: f64) -> f64 {
    let secs = span.as_secs_f64();
    let early = 1.0 / (1.0 + (secs / EARLY_SECS).ln_1p());
    let (mut late, mut begin, mut length) = (1.0, 0.0, FIRST_BLOCK_SECS);
    for _ in 0..BLOCKS {
        let covered = ((secs - begin) / length).clamp(0.0, 1.0);
        late *= 1.0 - covered * 2.0 / 3.0;
        if covered < 1.0 {
            break;
        }
        begin += length;
        length *= 4.0;
    }
    early_share * early + (1.0 - early_share) * late
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
            let left = unstaked_after(Millis(secs * 1000), EARLY_SHARE);
            assert!(left <= last && left > 0.0, "{secs}: {left}");
            last = left;
        }
        assert!((unstaked_after(Millis::ZERO, EARLY_SHARE) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_observed_is_evidence_of_one() {
        let mut mixture = Mixture::new(&[1.0, 2.0]);
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
                    let mut mixture = Mixture::new(&[1.0, 1.0]);
                    for toss in 0_u32..10 {
                        let at = Millis(u64::from(toss) * 7000);
                        if (stepped == 1 && toss % 4 == 3)
                            || (stepped == 2 && toss > 0 && outcomes >> (toss - 1) & 1 == 1)
                        {
                            mixture.renew(at);
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
            let mut mixture = Mixture::new(&[1.0]);
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
