//! When a request that the canary fails may be asked of stable instead, and how long the canary is waited for.

use hmsops_model::{Latencies, Millis, Weight};

/// Requests a second that may always be shielded, so that a broken canary is covered whole at 1 % of little
/// traffic.
pub const SHIELD_FLOOR: u64 = 20;

/// The share of requests that stable is trusted to take on top of its own.
pub const SHIELD_SHARE: f64 = 0.10;

/// A canary is waited for at least this long, so that one slow answer is no bad answer.
pub const SHIELD_AFTER_MIN: Millis = Millis(1000);

/// Times stable's p99 that a canary may take to begin its answer.
pub const SHIELD_AFTER_FACTOR: f64 = 3.0;

/// Limits how much of a failing canary's traffic falls on stable: a second may shield the larger of 10 %, the
/// canary's weight, and 20 requests.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    second: u64,
    requests: u64,
    /// Requests of the second before, the better guess early in a second.
    requests_before: u64,
    used: u64,
}

impl Budget {
    /// Counts a request of the service.
    pub fn saw(&mut self, now: Millis) {
        self.turn(now);
        self.requests += 1;
    }

    /// Takes one retry out of the budget; `false` when this second's is used up.
    pub fn take(&mut self, now: Millis, weight: Weight) -> bool {
        self.turn(now);
        let requests = self.requests.max(self.requests_before) as f64;
        let most = ((requests * weight.share().max(SHIELD_SHARE)).ceil() as u64).max(SHIELD_FLOOR);
        let may = self.used < most;
        self.used += u64::from(may);
        may
    }

    fn turn(&mut self, now: Millis) {
        let second = now.0 / 1000;
        if second != self.second {
            self.requests_before = if second == self.second + 1 { self.requests } else { 0 };
            (self.second, self.requests, self.used) = (second, 0, 0);
        }
    }
}

/// How long a canary may take to begin its answer: three times stable's p99 and at least a second. `None` when
/// stable's latency isn't known reads as that second.
pub fn auto_after(stable: &Latencies) -> Millis {
    let millis = stable.quantile_ms(0.99).unwrap_or(0.0) * SHIELD_AFTER_FACTOR;
    SHIELD_AFTER_MIN.max(Millis(millis as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(requests: u64, weight: u16) -> u64 {
        let mut budget = Budget::default();
        (0..requests).for_each(|_| budget.saw(Millis(5000)));
        let weight = Weight::from_bp(weight).unwrap();
        (0..10_000).filter(|_| budget.take(Millis(6500), weight)).count() as u64
    }

    #[test]
    fn a_second_shields_the_larger_of_a_tenth_the_weight_and_twenty() {
        assert_eq!(taken(0, 100), 20);
        assert_eq!(taken(100, 100), 20);
        assert_eq!(taken(1000, 100), 100);
        assert_eq!(taken(1000, 5000), 500);
    }

    #[test]
    fn the_next_second_starts_anew() {
        let mut budget = Budget::default();
        let weight = Weight::from_bp(100).unwrap();
        assert_eq!((0..50).filter(|_| budget.take(Millis(1000), weight)).count(), 20);
        assert_eq!((0..50).filter(|_| budget.take(Millis(1999), weight)).count(), 0);
        assert_eq!((0..50).filter(|_| budget.take(Millis(2000), weight)).count(), 20);
    }

    #[test]
    fn a_canary_gets_three_times_the_p99_of_stable_and_at_least_a_second() {
        let mut stable = Latencies::default();
        assert_eq!(auto_after(&stable), SHIELD_AFTER_MIN);
        stable.observe(5_000);
        assert_eq!(auto_after(&stable), SHIELD_AFTER_MIN);
        (0..1000).for_each(|_| stable.observe(2_000_000));
        let after = auto_after(&stable).0;
        assert!((6000..=7200).contains(&after), "{after}");
    }
}
