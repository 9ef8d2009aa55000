//! The canary's share of real traffic, measured: what a step asked for is one thing, what users got another.
//!
//! A router may obey and not follow (cookies, a second balancer, a reload that kept old processes). So the requests
//! of the step are counted, and the step's weight is held against a 99.9 % interval around the share seen: E. B.
//! Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, JASA 22 (1927), in the form of
//! Brown, Cai & DasGupta, *Interval Estimation for a Binomial Proportion*, Statistical Science 16 (2001), §3.1.1.
//! It is a check of the router and condemns nobody.

use hmsops_model::{UnixMillis, Weight};

use super::Watch;

/// The 99.95 % quantile of the normal distribution: two sides make 99.9 %.
const Z: f64 = 3.290_526_731_491_896;

/// Fewer requests than this say nothing worth printing.
const REQUESTS_MIN: u64 = 100;

/// Clients that stay on their arm make requests come in bunches; beyond the interval, a difference of less than a
/// fifth of the smaller arm's share is taken for that and not for a router that does not follow.
const BUNCHED: f64 = 0.2;

/// How the share measured compares with the one asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// What the step asked for.
    pub weight: Weight,
    /// Requests that the canary had.
    pub canary: u64,
    /// Requests of both arms.
    pub all: u64,
    /// The interval's lower end, 0 to 1.
    pub low: f64,
    /// The interval's upper end, 0 to 1.
    pub high: f64,
}

impl Measured {
    /// From counts; `None` when there are too few to say anything.
    pub fn of(weight: Weight, canary: u64, all: u64) -> Option<Self> {
        if all < REQUESTS_MIN || canary > all {
            return None;
        }
        let (n, seen) = (all as f64, canary as f64 / all as f64);
        let scale = 1.0 / (1.0 + Z * Z / n);
        let middle = scale * (seen + Z * Z / (2.0 * n));
        let half = scale * Z * (seen * (1.0 - seen) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (low, high) = ((middle - half).clamp(0.0, 1.0), (middle + half).clamp(0.0, 1.0));
        Some(Self { weight, canary, all, low, high })
    }

    /// The share that was seen, 0 to 1.
    pub fn share(&self) -> f64 {
        self.canary as f64 / self.all.max(1) as f64
    }

    /// Whether the router follows: the weight is within the interval, or so near that bunched requests explain it.
    pub fn follows(&self) -> bool {
        let wanted = self.weight.share();
        let near = BUNCHED * wanted.min(1.0 - wanted);
        // A rounding error is no difference.
        (self.low - near - 1e-9..=self.high + near + 1e-9).contains(&wanted)
    }

    /// `measured 1.02 % of 41 200 requests`, and what is wrong with it.
    pub fn words(&self) -> String {
        let percent = self.share() * 100.0;
        let measured = format!("measured {percent:.2} % of {} requests", crate::sentence::grouped(self.all));
        if self.follows() {
            return measured;
        }
        let (low, high) = (self.low * 100.0, self.high * 100.0);
        let weight = self.weight;
        format!(
            "{measured}, not {weight} (99.9 % interval {low:.2} to {high:.2} %): the router does not follow"
        )
    }
}

impl Watch {
    /// The canary's share since a moment, as its gateway counted it, of the seconds that had this weight whole.
    pub fn measured(&self, weight: Weight, since: UnixMillis) -> Option<Measured> {
        // The first second is the one in which the weight changed.
        let begun = UnixMillis(since.0.saturating_add(1000));
        let step = self.points.iter().filter(|point| point.weight == weight && point.at >= begun);
        let (canary, all) =
            step.fold((0, 0), |(canary, all), p| (canary + p.canary.0, all + p.canary.0 + p.stable.0));
        Measured::of(weight, canary, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Weight = Weight::from_bp(100).unwrap();

    #[test]
    fn a_router_that_follows_is_believed() {
        let measured = Measured::of(ONE, 420, 41_200).unwrap();
        assert!(measured.follows() && measured.low < 0.01 && measured.high > 0.01);
        assert_eq!(measured.words(), "measured 1.02 % of 41\u{202f}200 requests");
        assert!(Measured::of(Weight::ALL, 500, 500).unwrap().follows());
        assert!(Measured::of(Weight::NONE, 0, 500).unwrap().follows());
        assert_eq!(Measured::of(ONE, 1, 99), None, "too few");
    }

    #[test]
    fn one_that_does_not_is_told() {
        for canary in [0, 4000] {
            let measured = Measured::of(ONE, canary, 41_200).unwrap();
            assert!(!measured.follows());
            assert!(measured.words().ends_with("the router does not follow"), "{}", measured.words());
        }
        // Ten requests prove nothing yet.
        assert!(Measured::of(ONE, 0, 150).unwrap().follows());
    }

    /// The interval of all counts together holds the true share in 99.9 % of draws, or nearly (Wilson's coverage
    /// swings around its level; §3.1.1 there).
    #[test]
    fn the_interval_covers() {
        for (share, n) in [(0.01_f64, 5000_u64), (0.25, 400), (0.5, 200)] {
            let (mut covered, mut term) = (0.0_f64, (1.0 - share).powf(n as f64));
            for k in 0..=n {
                if k > 0 {
                    term *= (n - k + 1) as f64 / k as f64 * share / (1.0 - share);
                }
                let measured = Measured::of(ONE, k, n).unwrap();
                if (measured.low..=measured.high).contains(&share) {
                    covered += term;
                }
            }
            assert!(covered > 0.998, "{share} {n} {covered}");
        }
    }
}
