//! What a series holds: floats, native histograms and tallies, each at a moment.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The bits of the NaN that marks a series as gone (Prometheus' stale marker). Bit-exact everywhere.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that marks a series as gone.
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether this is the mark of a series that is gone, and not just any NaN.
pub const fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Counters and gauges.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
    /// What was emitted in one flush.
    Tally(Tally),
}

impl Value {
    /// Whether the series ends here: a stale float, or a histogram whose sum is stale.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale_nan(*value),
            Self::Histogram(histogram) => is_stale_nan(histogram.sum),
            Self::Tally(tally) => is_stale_nan(tally.last),
        }
    }
}

/// The values emitted under one name and label set in one flush. Merges additively; `count` of 0 is an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Of all values.
    pub sum: f64,
    /// How many values.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The latest.
    pub last: f64,
}

impl Tally {
    /// Of a single value.
    pub const fn of(value: f64) -> Self {
        Self { sum: value, count: 1, min: value, max: value, last: value }
    }

    /// Together with one that was emitted `later`.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        if self.count == 0 {
            return later;
        }
        if later.count == 0 {
            return self;
        }
        Self {
            sum: self.sum + later.sum,
            count: self.count.saturating_add(later.count),
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            last: later.last,
        }
    }

    /// Whether every value can have been 0 or 1: the extremes are, and the sum is a whole number of ones.
    pub fn is_share(&self) -> bool {
        let is_bit = |value: f64| [0.0, 1.0].contains(&value);
        is_bit(self.min)
            && is_bit(self.max)
            && self.sum.fract() == 0.0
            && (0.0..=self.count as f64).contains(&self.sum)
    }
}

/// Whether a histogram's counts may have started again from zero since the sample before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Compare to find out.
    #[default]
    Unknown,
    /// They did.
    Reset,
    /// They did not.
    NotReset,
    /// Not a counter at all.
    Gauge,
}

/// The schema that stands for buckets with bounds of their own.
pub const CUSTOM_SCHEMA: i32 = -53;

/// A native histogram with float counts, exponential (schema −4 to 8: bucket `i` ends at `2^(i · 2^−schema)`) or
/// with custom bounds (schema [`CUSTOM_SCHEMA`]: bucket `i` ends at `custom[i]`, the one after the last at +Inf,
/// and no zero or negative buckets).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Whether counts started again.
    pub reset: ResetHint,
    /// How fine the buckets are.
    pub schema: i32,
    /// Observations in `[-zero_threshold, zero_threshold]` are in the zero bucket.
    pub zero_threshold: f64,
    /// How many are.
    pub zero_count: f64,
    /// Of all observations, NaNs included.
    pub count: f64,
    /// Of all observations.
    pub sum: f64,
    /// Counts by index, ascending, each index once. Counts are per bucket, not cumulative.
    pub positive: Vec<(i32, f64)>,
    /// The same for the mirrored buckets below zero.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds, strictly ascending, without +Inf; empty unless the schema is custom.
    pub custom: Arc<[f64]>,
}

impl Histogram {
    /// Whether bounds are its own.
    pub const fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// The bytes it occupies in memory, about.
    pub fn size(&self) -> usize {
        size_of::<Self>() + (self.positive.len() + self.negative.len()) * 16 + self.custom.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_merge_as_if_emitted_in_one_flush() {
        let one = Tally::of(1.0).merge(Tally::of(0.0));
        assert_eq!(one, Tally { sum: 1.0, count: 2, min: 0.0, max: 1.0, last: 0.0 });
        assert!(one.is_share());
        assert!(!one.merge(Tally::of(0.5)).is_share());
        assert!(!Tally::of(3.0).is_share());
    }

    #[test]
    fn only_one_nan_is_stale() {
        assert!(is_stale_nan(stale_nan()) && stale_nan().is_nan());
        assert!(!is_stale_nan(f64::NAN));
        assert!(Value::Float(stale_nan()).is_stale());
    }
}
