//! How much worse the canary may still be: an upper bound for the difference of both arms' shares of bad answers,
//! valid at every moment of a step at once.
//!
//! For an arm with `n` answers of which `s` were bad, and any ρ, `ρ^s / (1 + m (ρ − 1))^n` is at most a
//! supermartingale when `m` is the mean of the arm's true shares so far, however they change: the logarithm of
//! `1 + m (ρ − 1)` is concave in `m`. So is a mixture over ρ, and by Ville's inequality the `m` for which it stays
//! below 1/α hold the true mean at all times with chance 1 − α. Sources: Howard, Ramdas, McAuliffe, Sekhon,
//! *Time-uniform, nonparametric, nonasymptotic confidence sequences* (Annals of Statistics 2021), §3 (sub-Bernoulli,
//! mixtures); Robbins (1970). The difference is bounded by the canary's upper less stable's lower bound, whose
//! errors add up to 5 % (Bonferroni). A step starts anew: weights differ between steps, and with them the hours that
//! each arm has seen.
//!
//! An arm's unit is the request; of a client's bad answers at most one a second counts, as for the guard.

use hmsops_model::{Tick, Weight};

/// Chance that the canary's share is ever above its bound.
const ALPHA_CANARY: f64 = 0.04;

/// Chance that stable's share is ever below its bound; stable has most of the traffic, so little buys much.
const ALPHA_STABLE: f64 = 0.01;

/// For the upper bound: how many of the expected bad answers came, and the prior of each. Zero for good canaries.
const FEWER: [(f64, f64); 5] = [(0.0, 0.1), (0.2, 0.35), (0.45, 0.3), (0.7, 0.15), (0.88, 0.1)];

/// For the lower bound: how many more came than expected.
const MORE: [(f64, f64); 5] = [(1.08, 0.15), (1.2, 0.25), (1.4, 0.25), (2.0, 0.2), (4.0, 0.15)];

/// Halvings of the interval from 0 to 1: to 10⁻⁹.
const HALVINGS: u32 = 30;

/// The most that one step's margin may be when its declaration says `auto` and traffic is plenty, in shares: one
/// point more errors.
pub const AUTO_MARGIN: f64 = 0.01;

/// Standard normal quantile of 95 %: a canary that is no worse has more bad answers than so by chance in one step
/// out of twenty.
const Z_95: f64 = 1.645;

/// Standard normal quantile of 80 %, the usual power.
const Z_80: f64 = 0.842;

/// One arm's answers in the present step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Answers.
    pub n: u64,
    /// Bad ones, at most one a client a second.
    pub bad: u64,
}

/// Both arms' answers in the present step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepShares {
    weight: Weight,
    /// The canary's.
    pub canary: Share,
    /// Stable's.
    pub stable: Share,
}

impl StepShares {
    /// Takes in one tick. A weight that was not reached before is a new step; late answers of an earlier one are
    /// left out.
    pub fn observe(&mut self, tick: &Tick) {
        if tick.weight > self.weight {
            *self = Self { weight: tick.weight, ..Self::default() };
        }
        if tick.weight == self.weight && self.weight < Weight::ALL {
            self.canary.add(tick.canary.requests, tick.canary.errors);
            self.stable.add(tick.stable.requests, tick.stable.errors);
        }
    }

    /// What the difference (canary − stable) of the shares of bad answers is at most, −1 to 1, with 95 % confidence
    /// at all times of the step together. 1 without traffic.
    pub fn upper(&self) -> f64 {
        self.canary.upper(ALPHA_CANARY) - self.stable.lower(ALPHA_STABLE)
    }

    /// The same in basis points, rounded up; `None`: even a canary that always fails is not ruled out.
    pub fn rules_out_bp(&self) -> Option<u32> {
        in_bp(self.upper(), 1.0 - self.base())
    }

    /// The margin of a step that declares none: one point, or what its traffic can be expected to rule out, when that
    /// is more. A canary that is no worse is within it in 19 of 20 steps.
    pub fn auto_margin(&self) -> f64 {
        let most = expected_bad(self.canary.n, self.base(), Z_95);
        (upper_of(self.canary.n as f64, most, ALPHA_CANARY) - self.stable.lower(ALPHA_STABLE))
            .max(AUTO_MARGIN)
    }

    fn base(&self) -> f64 {
        base_share(self.stable.bad, self.stable.n)
    }
}

impl Share {
    fn add(&mut self, n: u64, bad: u64) {
        self.n += n;
        self.bad += bad.min(n);
    }

    fn upper(&self, alpha: f64) -> f64 {
        upper_of(self.n as f64, self.bad as f64, alpha)
    }

    fn lower(&self, alpha: f64) -> f64 {
        let (n, bad) = (self.n as f64, self.bad as f64);
        bisect(|m| ln_mixture(&MORE, n, bad, m) >= -alpha.ln(), 0.0, 1.0).0
    }
}

/// Stable's share of bad answers as planning takes it: at least one in a thousand (with none seen so far, hardly any
/// traffic would seem to be enough), at most a half.
pub fn base_share(bad: u64, n: u64) -> f64 {
    (bad as f64 / n.max(1) as f64).clamp(0.001, 0.5)
}

/// The smallest worsening of the error share, in basis points, that `n` canary requests can be expected to rule out
/// when stable's share is `base` and the canary is no worse: with 95 % confidence, whenever it is read, and 80 %
/// power. The very bound that a step is judged by ([`StepShares::upper`]), taken at the numbers to be expected.
/// `None`: not even a canary that always fails.
pub fn planned_bp(n: u64, base: f64) -> Option<u32> {
    in_bp(upper_of(n as f64, expected_bad(n, base, Z_80), ALPHA_CANARY) - base, 1.0 - base)
}

/// Basis points, rounded up; `None` from `most` on.
fn in_bp(share: f64, most: f64) -> Option<u32> {
    (share < most - 1e-6).then(|| (share.max(0.0) * 10_000.0 - 1e-6).ceil().max(1.0) as u32)
}

/// Bad answers among `n` that are not exceeded with the chance whose normal quantile is `z`.
fn expected_bad(n: u64, base: f64, z: f64) -> f64 {
    let n = n as f64;
    (base * n + z * (base * (1.0 - base) * n).sqrt()).min(n)
}

fn upper_of(n: f64, bad: f64, alpha: f64) -> f64 {
    bisect(|m| ln_mixture(&FEWER, n, bad, m) < -alpha.ln(), 0.0, 1.0).1
}

/// Log of the mixture of `ρ^bad / (1 + m (ρ − 1))^n`.
fn ln_mixture(prior: &[(f64, f64)], n: f64, bad: f64, m: f64) -> f64 {
    let terms = prior.iter().map(|(rho, share)| {
        let gain = if bad > 0.0 { bad * rho.ln() } else { 0.0 };
        share.ln() + gain - n * (m * (rho - 1.0)).ln_1p()
    });
    let terms: Vec<f64> = terms.filter(|term| *term > f64::NEG_INFINITY).collect();
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln()
}

/// The last point that holds and the first that does not, when what holds at `low` ends to hold once.
fn bisect(holds: impl Fn(f64) -> bool, low: f64, high: f64) -> (f64, f64) {
    if !holds(low) {
        return (low, low);
    }
    if holds(high) {
        return (high, high);
    }
    let (mut low, mut high) = (low, high);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Xorshift (Marsaglia 2003): 0 to 1.
    fn dice(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    #[test]
    fn bounds_hold_what_they_bound() {
        let share = Share { n: 300, bad: 2 };
        let (low, high) = (share.lower(0.05), share.upper(0.05));
        assert!(low < 2.0 / 300.0 && high > 2.0 / 300.0, "{low} {high}");
        assert!((0.02..0.04).contains(&high), "{high}");
        // Nothing bad: about ln(1/α)/n and what the mixture costs.
        let high = Share { n: 1000, bad: 0 }.upper(0.05);
        assert!((0.003..0.006).contains(&high), "{high}");
        assert!((Share::default().upper(0.05) - 1.0).abs() < 1e-9);
        assert!(Share::default().lower(0.05) < 1e-9);
        assert!((Share { n: 50, bad: 50 }.upper(0.05) - 1.0).abs() < 1e-6);
        assert!(Share { n: 50, bad: 50 }.lower(0.05) > 0.8);
    }

    #[test]
    fn more_traffic_rules_out_more() {
        let mut last = u32::MAX;
        for n in [300, 600, 1200, 10_000, 100_000, 1_000_000] {
            let bp = planned_bp(n, 0.005).unwrap();
            assert!(bp < last, "{n}: {bp}");
            last = bp;
        }
        assert!(last <= 6, "{last}");
        assert_eq!(planned_bp(0, 0.005), None);
        assert_eq!(planned_bp(1, 0.005), None);
    }

    /// The promise: the true difference is above the bound at any moment of a step in at most 5 % of steps, also
    /// when both shares change while it is read.
    #[test]
    fn the_true_difference_is_seldom_out_of_bounds() {
        let mut outside = 0;
        for run in 0..600_u64 {
            let mut next = dice(run + 1);
            let mut shares = StepShares::default();
            let (mut canary_true, mut stable_true) = (0.0, 0.0);
            let excess = [0.0, 0.002, 0.01, 0.05][run as usize % 4];
            let mut ever = false;
            for second in 0..300 {
                // Errors come in waves, of both.
                let base = if (second / 30) % 2 == 0 { 0.002 } else { 0.03 };
                for _ in 0..4 {
                    shares.canary.add(1, u64::from(next() < base + excess));
                    canary_true += base + excess;
                }
                for _ in 0..16 {
                    shares.stable.add(1, u64::from(next() < base));
                    stable_true += base;
                }
                let truth = canary_true / shares.canary.n as f64 - stable_true / shares.stable.n as f64;
                ever |= second % 10 == 9 && truth > shares.upper();
            }
            outside += u32::from(ever);
        }
        assert!(outside <= 30, "{outside} of 600");
    }

    #[test]
    fn a_canary_that_is_no_worse_is_within_the_automatic_margin() {
        let mut within = 0;
        for run in 0..400_u64 {
            let mut next = dice(run + 77);
            let (n, base) = ([8, 80, 300, 600][run as usize % 4], 0.005);
            let mut shares = StepShares::default();
            (0..n).for_each(|_| shares.canary.add(1, u64::from(next() < base)));
            (0..n * 20).for_each(|_| shares.stable.add(1, u64::from(next() < base)));
            within += u32::from(shares.upper() <= shares.auto_margin());
        }
        assert!(within >= 360, "{within} of 400");
        let worse = StepShares {
            canary: Share { n: 300, bad: 12 },
            stable: Share { n: 29_700, bad: 150 },
            ..StepShares::default()
        };
        assert!(worse.upper() > worse.auto_margin());
    }
}
