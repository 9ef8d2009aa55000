//! When a target is asked: at moments of the wall clock that its own name spreads over the interval, so that
//! restarts of the tower leave them where they were and targets are not all asked at once.

use std::hash::{DefaultHasher, Hash, Hasher};

use hmsops_model::Millis;

/// A scrape that begins so little after its moment has the moment's time: even distances compress best, and
/// `rate` is exact. As Prometheus has it (`scrape.ScrapeTimestampTolerance`).
const TOLERANCE_MS: i64 = 2;

/// The moments of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    interval_ms: i64,
    offset_ms: i64,
}

impl Pace {
    /// For a target that `name` identifies. An interval of less than a millisecond is one.
    pub(super) fn new(interval: Millis, name: &impl Hash) -> Self {
        let interval_ms = i64::try_from(interval.0).unwrap_or(i64::MAX).max(1);
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { interval_ms, offset_ms: (hasher.finish() % interval_ms as u64) as i64 }
    }

    /// The first moment after `now`, both in Unix milliseconds.
    pub(super) fn after(self, now: i64) -> i64 {
        let into = (now - self.offset_ms).rem_euclid(self.interval_ms);
        now.saturating_add(self.interval_ms - into)
    }

    /// The time of samples of a scrape that was due at `due` and began at `now`.
    pub(super) fn snap(due: i64, now: i64) -> i64 {
        if (due - TOLERANCE_MS..=due + TOLERANCE_MS).contains(&now) { due } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_an_interval_apart_and_the_same_after_a_restart() {
        let pace = Pace::new(Millis(5000), &"127.0.0.1:9100");
        let first = pace.after(1_000_000);
        assert!((1_000_001..=1_005_000).contains(&first));
        assert_eq!(pace.after(first), first + 5000);
        assert_eq!(pace.after(first - 1), first);
        assert_eq!(Pace::new(Millis(5000), &"127.0.0.1:9100").after(first + 60_000), first + 65_000);
        let others = (0..100).map(|port| Pace::new(Millis(5000), &port).after(0));
        assert!(others.collect::<std::collections::BTreeSet<_>>().len() > 90, "they are spread");
    }

    #[test]
    fn a_scrape_that_is_on_time_has_the_time_of_its_moment() {
        assert_eq!([9_998, 10_000, 10_002].map(|now| Pace::snap(10_000, now)), [10_000; 3]);
        assert_eq!(Pace::snap(10_000, 10_003), 10_003);
        assert_eq!(Pace::snap(10_000, 4_000), 4_000, "a clock that was set back");
    }
}
