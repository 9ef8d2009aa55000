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

/// The moments at which requests are due, from the load's beginning; never ends.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    rate: f64,
    pacing: Pacing,
    random: Random,
    /// Seconds. A sum of many small steps stays exact to microseconds for years.
    at: f64,
}

impl Arrivals {
    /// `rate` requests a second, above zero.
    pub(crate) fn new(rate: f64, pacing: Pacing, seed: u64) -> Self {
        Self { rate, pacing, random: Random::new(seed), at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let distance = match self.pacing {
            Pacing::Even => 1.0,
            Pacing::Poisson => -self.random.open_unit().ln(),
        };
        self.at += distance / self.rate;
        Some(Duration::from_secs_f64(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_keep_their_distance() {
        let at: Vec<u128> = Arrivals::new(200.0, Pacing::Even, 1).take(3).map(|at| at.as_micros()).collect();
        assert_eq!(at, [5000, 10_000, 15_000]);
    }

    #[test]
    fn poisson_arrivals_keep_their_rate_and_vary_as_they_should() {
        let until = Duration::from_secs(1000);
        let arrivals = Arrivals::new(200.0, Pacing::Poisson, 7).take_while(|at| *at < until);
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
    fn the_same_seed_gives_the_same_arrivals() {
        let first: Vec<Duration> = Arrivals::new(50.0, Pacing::Poisson, 3).take(100).collect();
        let again: Vec<Duration> = Arrivals::new(50.0, Pacing::Poisson, 3).take(100).collect();
        let other: Vec<Duration> = Arrivals::new(50.0, Pacing::Poisson, 4).take(100).collect();
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
