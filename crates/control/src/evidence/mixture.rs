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

/// Share of the prior that starts with the first observation; the rest starts later, see [`start_mass`].
const FIRST_SHARE: f64 = 0.25;

/// Seconds in the first block of later starts: a release of the usual 10 minutes lies within it.
const FIRST_BLOCK_SECS: u64 = 1024;

/// Evidence against one null hypothesis, as an e-value.
#[derive(Debug, Clone)]
pub struct Mixture {
    /// Log prior weight of each alternative; the exponentials sum to 1.
    ln_prior: Vec<f64>,
    /// Log wealth of each alternative, started with the first observation.
    ln_first: Vec<f64>,
    /// Log of the summed wealth of each alternative over all later starts.
    ln_later: Vec<f64>,
    /// Seconds whose starting mass has been staked.
    staked_secs: u64,
}

impl Mixture {
    /// With the prior weights of the alternatives, which must be positive; they are normalised.
    pub fn new(priors: &[f64]) -> Self {
        let sum: f64 = priors.iter().sum();
        Self {
            ln_prior: priors.iter().map(|prior| (prior / sum).ln()).collect(),
            ln_first: vec![FIRST_SHARE.ln(); priors.len()],
            ln_later: vec![f64::NEG_INFINITY; priors.len()],
            staked_secs: 0,
        }
    }

    /// Takes in one observation (or a batch) made `secs` whole seconds after the watch began. `ln_ratio` gives,
    /// for the j-th alternative, the log likelihood ratio of the observation against the null.
    pub fn observe(&mut self, secs: u64, ln_ratio: impl Fn(usize) -> f64) {
        let due = secs.saturating_add(1);
        let mass = start_mass(due) - start_mass(self.staked_secs.min(due));
        self.staked_secs = self.staked_secs.max(due);
        for j in 0..self.ln_prior.len() {
            let (Some(first), Some(later)) = (self.ln_first.get_mut(j), self.ln_later.get_mut(j)) else {
                continue;
            };
            let ratio = ln_ratio(j);
            *first += ratio;
            *later = ln_add(*later, mass.ln()) + ratio;
        }
    }

    /// The evidence so far: 1 means none either way. The starting mass not yet staked counts as it is.
    pub fn value(&self) -> f64 {
        let staked = start_mass(self.staked_secs);
        let unstaked = 1.0 - FIRST_SHARE - staked;
        let wealth = self.ln_prior.iter().zip(&self.ln_first).zip(&self.ln_later);
        let ln_sum = wealth
            .map(|((prior, first), later)| prior + ln_add(*first, *later))
            .fold(f64::NEG_INFINITY, ln_add);
        ln_sum.exp() + unstaked.max(0.0)
    }
}

/// The prior mass of starts within the first `secs` seconds. Half of what is left for later starts lies evenly in
/// the first 1024 s… two thirds, so that ten-minute releases react at full speed; each further block is four
/// times as long and has a third of what then remains.
fn start_mass(secs: u64) -> f64 {
    let (mut left, mut mass) = (1.0 - FIRST_SHARE, 0.0);
    let (mut begin, mut length) = (0_u64, FIRST_BLOCK_SECS);
    while begin < secs {
        let block = left * 2.0 / 3.0;
        let covered = (secs - begin).min(length);
        mass += block * covered as f64 / length as f64;
        left -= block;
        begin = begin.saturating_add(length);
        length = length.saturating_mul(4);
    }
    mass
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
    fn the_prior_never_exceeds_one() {
        let mut last = 0.0;
        for secs in [0, 1, 10, 1024, 1025, 5000, 100_000, u64::MAX] {
            let mass = start_mass(secs);
            assert!(mass >= last && mass <= 1.0 - FIRST_SHARE + 1e-12, "{secs}: {mass}");
            last = mass;
        }
    }

    #[test]
    fn nothing_observed_is_evidence_of_one() {
        let mut mixture = Mixture::new(&[1.0, 2.0]);
        assert!((mixture.value() - 1.0).abs() < 1e-12);
        mixture.observe(50, |_| 0.0);
        assert!((mixture.value() - 1.0).abs() < 1e-12, "a ratio of one changes nothing: {}", mixture.value());
    }

    #[test]
    fn it_is_a_martingale_under_the_null() {
        // Exactly: over all 2^10 outcomes of ten fair coins, the mean of the evidence is 1.
        let (p, q) = (0.5_f64, [0.6_f64, 0.9]);
        let mean: f64 = (0_u32..1024)
            .map(|outcomes| {
                let mut mixture = Mixture::new(&[1.0, 1.0]);
                for toss in 0_u32..10 {
                    let head = outcomes >> toss & 1 == 1;
                    mixture.observe(u64::from(toss) * 7, |j| {
                        if head { (q[j] / p).ln() } else { ((1.0 - q[j]) / (1.0 - p)).ln() }
                    });
                }
                mixture.value() / 1024.0
            })
            .sum();
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn a_long_quiet_time_costs_little_speed() {
        let mut mixture = Mixture::new(&[1.0]);
        for secs in 0..600 {
            mixture.observe(secs, |_| (0.05_f64 / 0.995).ln());
        }
        for secs in 600..603 {
            mixture.observe(secs, |_| (0.95_f64 / 0.005).ln());
        }
        assert!(mixture.value() > 2000.0, "{}", mixture.value());
    }
}
