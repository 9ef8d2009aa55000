//! Sums and means of many histograms that do not lose small parts (Kahan's algorithm in Neumaier's form for each
//! number) and, for means, do not overflow.

use hmsops_model::sample::{Histogram, ResetHint};

use super::{Buckets, aligned, divide, joined_hint, scale};

/// A running sum of histograms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Total {
    sum: Histogram,
    /// What rounding took from `sum`, in the same layout.
    lost: Histogram,
    count: f64,
    /// Whether `sum` is a mean that moves, because the sum overflows.
    is_moving: bool,
    /// Whether custom bounds differed and only the common ones were kept.
    pub(crate) is_reconciled: bool,
}

impl Total {
    pub(crate) fn new(first: &Histogram) -> Self {
        let lost = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom: first.custom.clone(),
            ..Histogram::default()
        };
        Self { sum: first.clone(), lost, count: 1.0, is_moving: false, is_reconciled: false }
    }

    /// Adds one; `None` when exponential and custom buckets meet.
    pub(crate) fn add(&mut self, value: &Histogram, is_mean: bool) -> Option<()> {
        self.count += 1.0;
        let hint = joined_hint(self.sum.reset, value.reset).0;
        if !self.is_moving {
            let (sum, lost, is_reconciled) = plus(&self.sum, &self.lost, value)?;
            self.is_reconciled |= is_reconciled;
            if !is_mean || is_finite(&sum) || !is_finite(value) {
                self.keep(sum, lost, hint);
                return Some(());
            }
            self.is_moving = true;
            self.sum = divide(&self.sum, self.count - 1.0);
            self.lost = divide(&self.lost, self.count - 1.0);
        }
        let weight = (self.count - 1.0) / self.count;
        let (sum, lost) = (scale(&self.sum, weight), scale(&self.lost, weight));
        let (sum, lost, is_reconciled) = plus(&sum, &lost, &divide(value, self.count))?;
        self.is_reconciled |= is_reconciled;
        self.keep(sum, lost, hint);
        Some(())
    }

    fn keep(&mut self, sum: Histogram, lost: Histogram, reset: ResetHint) {
        self.sum = Histogram { reset, ..sum };
        self.lost = lost;
    }

    /// The sum.
    pub(crate) fn sum(&self) -> Histogram {
        each(&self.sum, &self.lost, |sum, lost| if sum.is_finite() { sum + lost } else { sum })
    }

    /// The mean.
    pub(crate) fn mean(&self) -> Histogram {
        if self.is_moving { self.sum() } else { divide(&self.sum(), self.count) }
    }
}

fn is_finite(histogram: &Histogram) -> bool {
    let are_finite = |buckets: &Buckets| buckets.iter().all(|(_, count)| count.is_finite());
    [histogram.sum, histogram.count, histogram.zero_count].iter().all(|value| !value.is_infinite())
        && are_finite(&histogram.positive)
        && are_finite(&histogram.negative)
}

/// Sum and what it lost, with one more value; and whether custom bounds were reconciled.
fn plus(sum: &Histogram, lost: &Histogram, value: &Histogram) -> Option<(Histogram, Histogram, bool)> {
    let (sum, value, is_reconciled) = aligned(sum, value)?;
    let (lost, sum, _) = aligned(lost, &sum)?;
    let total = |a: f64, b: f64| a + b;
    let loss = |a: f64, b: f64| {
        let total = a + b;
        if total.is_infinite() {
            0.0
        } else if a.abs() >= b.abs() {
            (a - total) + b
        } else {
            (b - total) + a
        }
    };
    let grown = each(&sum, &value, total);
    let newly_lost = each(&sum, &value, loss);
    Some((grown, each(&lost, &newly_lost, total), is_reconciled))
}

/// Number by number over two histograms of one layout; a bucket that one does not have is 0 there.
fn each(left: &Histogram, right: &Histogram, combine: impl Fn(f64, f64) -> f64) -> Histogram {
    let merge = |left: &Buckets, right: &Buckets| {
        let mut merged = Buckets::with_capacity(left.len().max(right.len()));
        let (mut i, mut j) = (0, 0);
        while i < left.len() || j < right.len() {
            let (a, b) = (left.get(i), right.get(j));
            let index = match (a, b) {
                (Some(a), Some(b)) => a.0.min(b.0),
                (Some(one), None) | (None, Some(one)) => one.0,
                (None, None) => break,
            };
            let of = |slot: Option<&(i32, f64)>| slot.filter(|slot| slot.0 == index).map(|slot| slot.1);
            let (a, b) = (of(a), of(b));
            i += usize::from(a.is_some());
            j += usize::from(b.is_some());
            merged.push((index, combine(a.unwrap_or(0.0), b.unwrap_or(0.0))));
        }
        merged
    };
    Histogram {
        sum: combine(left.sum, right.sum),
        count: combine(left.count, right.count),
        zero_count: combine(left.zero_count, right.zero_count),
        positive: merge(&left.positive, &right.positive),
        negative: merge(&left.negative, &right.negative),
        ..left.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sum: f64) -> Histogram {
        Histogram { sum, count: 1.0, positive: vec![(1, 1.0)], ..Histogram::default() }
    }

    #[test]
    fn small_parts_survive_large_ones() {
        let mut total = Total::new(&of(1.0));
        for sum in [1e100, 1.0, -1e100] {
            assert!(total.add(&of(sum), false).is_some());
        }
        let sum = total.sum();
        assert_eq!((sum.sum.to_bits(), sum.positive), (2.0_f64.to_bits(), vec![(1, 4.0)]));
    }

    #[test]
    fn a_mean_of_huge_counts_is_finite() {
        let huge = Histogram { count: f64::MAX, ..Histogram::default() };
        let mut total = Total::new(&huge);
        for _ in 0..3 {
            assert!(total.add(&huge, true).is_some());
        }
        assert!((total.mean().count / f64::MAX - 1.0).abs() < 1e-9);
    }
}
