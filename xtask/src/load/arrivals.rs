//! When requests leave, decided by a seed alone.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough to spread requests.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Any seed is as good as any other.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Uniform from 0 to `bound` − 1; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // Multiply and shift: the bias for bounds of a few thousand is below one in 2⁵⁰.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }

    /// Uniform in (0, 1].
    fn open_unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// At equal distances.
    Even,
    /// As from many users who know nothing of each other: exponential distances.
    Poisson,
}

/// How many requests a second there are: the same all the time, or ever more (or fewer) of them, and then the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// At the beginning; above zero.
    from: f64,
    /// From the end of the ramp on; above zero.
    to: f64,
    /// Seconds that the ramp takes; 0 when there is none.
    over: f64,
}

impl Rate {
    /// Always `rate` requests a second, above zero.
    pub(crate) fn steady(rate: f64) -> Self {
        Self { from: rate, to: rate, over: 0.0 }
    }

    /// From `from` to `to` requests a second, both above zero, in a straight line over so long, and `to` from then on.
    pub(crate) fn ramp(from: f64, to: f64, over: Duration) -> Self {
        Self { from, to, over: over.as_secs_f64() }
    }

    /// Requests a second at that moment.
    pub(crate) fn at(self, moment: Duration) -> f64 {
        let moment = moment.as_secs_f64();
        if moment < self.over { self.from + self.slope() * moment } else { self.to }
    }

    /// Requests that are due until that moment, on average: the integral of the rate.
    pub(crate) fn due_until(self, moment: Duration) -> f64 {
        let (all, ramp) = (moment.as_secs_f64(), moment.as_secs_f64().min(self.over));
        self.from * ramp + self.slope() * ramp * ramp / 2.0 + self.to * (all - ramp)
    }

    /// Seconds until `due` requests are due: the inverse of [`Rate::due_until`].
    fn reached_at(self, due: f64) -> f64 {
        let beyond = due - self.due_until(Duration::from_secs_f64(self.over));
        if beyond >= 0.0 {
            return self.over + beyond / self.to;
        }
        // The root of `from·t + slope·t²/2 = due`, in the form that loses no digits when the slope is small.
        let root = (self.from * self.from + 2.0 * self.slope() * due).max(0.0).sqrt();
        2.0 * due / (self.from + root)
    }

    /// Requests a second, each second.
    fn slope(self) -> f64 {
        if self.over > 0.0 { (self.to - self.from) / self.over } else { 0.0 }
    }
}

/// The moments at which requests are due, from the load's beginning; never ends.
///
/// A rate that changes stretches and squeezes time: arrivals at one a second are moved to where the integral of the
/// rate has their value (Lewis and Shedler 1979, "Simulation of nonhomogeneous Poisson processes by thinning", §1).
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    rate: Rate,
    pacing: Pacing,
    random: Random,
    /// Of arrivals at one a second. A sum of many small steps stays exact to microseconds for years.
    at: f64,
}

impl Arrivals {
    /// At that rate.
    pub(crate) fn new(rate: Rate, pacing: Pacing, seed: u64) -> Self {
        Self { rate, pacing, random: Random::new(seed), at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.at += match self.pacing {
            Pacing::Even => 1.0,
            Pacing::Poisson => -self.random.open_unit().ln(),
        };
        Some(Duration::from_secs_f64(self.rate.reached_at(self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_keep_their_distance() {
        let at: Vec<u128> =
            Arrivals::new(Rate::steady(200.0), Pacing::Even, 1).take(3).map(|at| at.as_micros()).collect();
        assert_eq!(at, [5000, 10_000, 15_000]);
    }

    #[test]
    fn poisson_arrivals_keep_their_rate_and_vary_as_they_should() {
        let until = Duration::from_secs(1000);
        let arrivals = Arrivals::new(Rate::steady(200.0), Pacing::Poisson, 7).take_while(|at| *at < until);
        let mut seconds = vec![0_f64; 1000];
        for at in arrivals {
            seconds[at.as_secs() as usize] += 1.0;
        }
        let mean = seconds.iter().sum::<f64>() / 1000.0;
        let variance = seconds.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 1000.0;
        // A Poisson count's variance is its mean; four standard errors either way.
        assert!((mean - 200.0).abs() < 4.0 * (200.0_f64 / 1000.0).sqrt(), "mean {mean}");
        assert!((variance / mean - 1.0).abs() < 4.0 * (2.0_f64 / 1000.0).sqrt(), "variance {variance}");
    }

    #[test]
    fn a_ramp_is_followed_and_then_kept() {
        let rate = Rate::ramp(100.0, 900.0, Duration::from_secs(10));
        assert!((rate.at(Duration::from_secs(5)) - 500.0).abs() < 1e-9);
        assert!((rate.at(Duration::from_mins(1)) - 900.0).abs() < 1e-9);
        for pacing in [Pacing::Even, Pacing::Poisson] {
            let until = Duration::from_secs(20);
            let mut seconds = vec![0_f64; 20];
            for at in Arrivals::new(rate, pacing, 5).take_while(|at| *at < until) {
                seconds[at.as_secs() as usize] += 1.0;
            }
            for (second, found) in (0..).zip(&seconds) {
                let to = |second| rate.due_until(Duration::from_secs(second));
                let expected = to(second + 1) - to(second);
                // Five standard deviations of a Poisson count, of which there are twenty.
                assert!(
                    (found - expected).abs() < 5.0 * expected.sqrt() + 1.0,
                    "{second}: {found}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_ramp_may_lead_down_and_be_almost_level() {
        for (from, to) in [(900.0, 100.0), (500.0, 500.000_001)] {
            let rate = Rate::ramp(from, to, Duration::from_secs(10));
            for moment in [0.5, 5.0, 10.0, 25.0] {
                let due = rate.due_until(Duration::from_secs_f64(moment));
                assert!((rate.reached_at(due) - moment).abs() < 1e-6, "{from} to {to} at {moment}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let first: Vec<Duration> = Arrivals::new(Rate::steady(50.0), Pacing::Poisson, 3).take(100).collect();
        let again: Vec<Duration> = Arrivals::new(Rate::steady(50.0), Pacing::Poisson, 3).take(100).collect();
        let other: Vec<Duration> = Arrivals::new(Rate::steady(50.0), Pacing::Poisson, 4).take(100).collect();
        assert_eq!(first, again);
        assert_ne!(first, other);
    }

    #[test]
    fn draws_below_a_bound_reach_all_of_it_and_no_more() {
        let mut random = Random::new(11);
        let mut drawn = [0_u32; 10];
        for _ in 0..10_000 {
            drawn[random.below(10) as usize] += 1;
        }
        assert!(drawn.iter().all(|n| (850..1150).contains(n)), "{drawn:?}");
        assert_eq!(random.below(0), 0);
    }
}
