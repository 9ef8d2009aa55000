//! Arithmetic on native histograms. Counts may become negative or fractional; bucket borders are those of
//! Prometheus' native histograms (`2^(i · 2^−schema)`), or the histogram's own.

mod read;
mod reset;
mod sum;
mod trim;

pub(crate) use read::{all_buckets, fraction, quantile, variance};
pub(crate) use reset::is_reset;
pub(crate) use sum::Total;
pub(crate) use trim::trim;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint};

use crate::ast::Span;
use crate::note::Notes;
use crate::number;

type Buckets = Vec<(i32, f64)>;

fn change(histogram: &Histogram, change: impl Fn(f64) -> f64) -> Histogram {
    let each = |buckets: &Buckets| buckets.iter().map(|(index, count)| (*index, change(*count))).collect();
    Histogram {
        zero_count: change(histogram.zero_count),
        count: change(histogram.count),
        sum: change(histogram.sum),
        positive: each(&histogram.positive),
        negative: each(&histogram.negative),
        ..histogram.clone()
    }
}

/// Times a number. A negative factor makes it a gauge.
pub(crate) fn scale(histogram: &Histogram, factor: f64) -> Histogram {
    let mut scaled = change(histogram, |value| value * factor);
    if factor < 0.0 {
        scaled.reset = ResetHint::Gauge;
    }
    scaled
}

/// Divided by a number; by zero, nothing is left of the buckets.
pub(crate) fn divide(histogram: &Histogram, by: f64) -> Histogram {
    let mut divided = change(histogram, |value| value / by);
    if by == 0.0 {
        divided.positive.clear();
        divided.negative.clear();
    }
    if by < 0.0 {
        divided.reset = ResetHint::Gauge;
    }
    divided
}

/// Without empty buckets.
pub(crate) fn compact(histogram: &Histogram) -> Histogram {
    let mut compacted = histogram.clone();
    compacted.positive.retain(|(_, count)| *count != 0.0);
    compacted.negative.retain(|(_, count)| *count != 0.0);
    compacted
}

/// Upper bound of exponential bucket `index`.
pub(crate) fn bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        // Whole powers of two: exact.
        let exponent = f64::from(index) * f64::from(1 << schema.unsigned_abs().min(30));
        return if exponent.to_bits() == 1024_f64.to_bits() { f64::MAX } else { exponent.exp2() };
    }
    let parts = 1_i32 << schema.min(30);
    let (whole, part) = (index.div_euclid(parts), index.rem_euclid(parts));
    if whole == 1024 && part == 0 {
        return f64::MAX;
    }
    f64::from(whole).exp2() * (f64::from(part) / f64::from(parts)).exp2()
}

/// The same observations in fewer buckets.
pub(crate) fn at_schema(histogram: &Histogram, schema: i32) -> Histogram {
    let shift = (histogram.schema - schema).clamp(0, 31).unsigned_abs();
    if shift == 0 || histogram.is_custom() {
        return histogram.clone();
    }
    let coarse = |buckets: &Buckets| {
        let mut merged: Buckets = Vec::new();
        for (index, count) in buckets {
            let index = (index.saturating_sub(1) >> shift) + 1;
            match merged.last_mut() {
                Some(last) if last.0 == index => last.1 += count,
                _ => merged.push((index, *count)),
            }
        }
        merged
    };
    Histogram {
        schema,
        positive: coarse(&histogram.positive),
        negative: coarse(&histogram.negative),
        ..histogram.clone()
    }
}

/// Widens the zero bucket to at least `threshold`; to the next bucket border when one that is not empty is cut.
pub(crate) fn with_zero_threshold(histogram: &Histogram, threshold: f64) -> Histogram {
    let mut wide = histogram.clone();
    if threshold <= wide.zero_threshold || wide.is_custom() {
        return wide;
    }
    let mut target = threshold;
    loop {
        let cut = [&wide.positive, &wide.negative].into_iter().flatten().find(|(index, count)| {
            *count != 0.0
                && bound(index.saturating_sub(1), wide.schema) < target
                && bound(*index, wide.schema) > target
        });
        let Some((index, _)) = cut else { break };
        target = bound(*index, wide.schema);
    }
    let mut moved = 0.0;
    for buckets in [&mut wide.positive, &mut wide.negative] {
        buckets.retain(|(index, count)| {
            let is_inside = bound(*index, histogram.schema) <= target;
            moved += if is_inside { *count } else { 0.0 };
            !is_inside
        });
    }
    wide.zero_count += moved;
    wide.zero_threshold = target;
    wide
}

/// Two histograms brought to the same zero bucket.
fn same_zero(left: &Histogram, right: &Histogram) -> (Histogram, Histogram) {
    let (mut left, mut right) = (left.clone(), right.clone());
    while left.zero_threshold.to_bits() != right.zero_threshold.to_bits() {
        if left.zero_threshold < right.zero_threshold {
            left = with_zero_threshold(&left, right.zero_threshold);
        } else {
            right = with_zero_threshold(&right, left.zero_threshold);
        }
    }
    (left, right)
}

/// A sum or difference, and what had to be bent for it.
pub(crate) struct Joined {
    pub(crate) histogram: Histogram,
    /// One side says its counter was reset and the other that it was not.
    pub(crate) is_collision: bool,
    /// Custom bounds differed and only the common ones were kept.
    pub(crate) is_reconciled: bool,
}

impl Joined {
    pub(crate) fn note(&self, operation: &str, notes: &mut Notes, span: Span) {
        if self.is_collision {
            notes.warn(span, format!("conflicting counter resets during histogram {operation}"));
        }
        self.note_custom(operation, notes, span);
    }

    pub(crate) fn note_custom(&self, operation: &str, notes: &mut Notes, span: Span) {
        if self.is_reconciled {
            notes.info(span, format!("mismatched custom buckets were reconciled during {operation}"));
        }
    }
}

fn joined_hint(left: ResetHint, right: ResetHint) -> (ResetHint, bool) {
    match (left, right) {
        (left, right) if left == right => (left, false),
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
        (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
        _ => (ResetHint::Unknown, true),
    }
}

/// Both in one layout: the coarser schema, the wider zero bucket, the common bounds; and whether bounds had to be
/// left out. `None` when one has exponential and the other custom buckets.
fn aligned(left: &Histogram, right: &Histogram) -> Option<(Histogram, Histogram, bool)> {
    if left.is_custom() != right.is_custom() {
        return None;
    }
    if left.is_custom() {
        if left.custom == right.custom {
            return Some((left.clone(), right.clone(), false));
        }
        let common: Arc<[f64]> = common_bounds(&left.custom, &right.custom).into();
        return Some((on_bounds(left, &common), on_bounds(right, &common), true));
    }
    let schema = left.schema.min(right.schema);
    let (left, right) = same_zero(left, right);
    Some((at_schema(&left, schema), at_schema(&right, schema), false))
}

/// Adds or subtracts; `None` when one has exponential and the other custom buckets.
pub(crate) fn join(left: &Histogram, right: &Histogram, is_minus: bool) -> Option<Joined> {
    let (hint, is_collision) = joined_hint(left.reset, right.reset);
    let (a, b, is_reconciled) = aligned(left, right)?;
    let sign = if is_minus { -1.0 } else { 1.0 };
    let merge = |a: &Buckets, b: &Buckets| {
        let mut all: BTreeMap<i32, f64> = a.iter().copied().collect();
        for (index, count) in b {
            *all.entry(*index).or_insert(0.0) += sign * count;
        }
        all.into_iter().collect::<Buckets>()
    };
    let histogram = Histogram {
        reset: if is_minus { ResetHint::Gauge } else { hint },
        schema: a.schema,
        zero_threshold: a.zero_threshold,
        zero_count: a.zero_count + sign * b.zero_count,
        count: a.count + sign * b.count,
        sum: a.sum + sign * b.sum,
        positive: merge(&a.positive, &b.positive),
        negative: merge(&a.negative, &b.negative),
        custom: a.custom,
    };
    Some(Joined { histogram, is_collision, is_reconciled })
}

/// What lies between two histograms, at a share of the way; a counter that was reset began again at zero. `None` when
/// one has exponential and the other custom buckets.
pub(crate) fn between(from: &Histogram, to: &Histogram, share: f64, is_counter: bool) -> Option<Histogram> {
    if from.is_custom() != to.is_custom() {
        return None;
    }
    if is_counter && is_reset(to, from) {
        return Some(scale(to, share));
    }
    let way = scale(&join(to, from, true)?.histogram, share);
    let reset = to.reset;
    Some(Histogram { reset, ..join(from, &way, false)?.histogram })
}

#[expect(clippy::float_cmp, reason = "bounds are equal or they are not")]
pub(crate) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.iter().any(|other| other == bound)).collect()
}

/// Custom buckets on a subset of their bounds.
pub(crate) fn on_bounds(histogram: &Histogram, bounds: &Arc<[f64]>) -> Histogram {
    let mut merged: BTreeMap<i32, f64> = BTreeMap::new();
    for (index, count) in &histogram.positive {
        let upper = histogram.custom.get(*index as usize).copied().unwrap_or(f64::INFINITY);
        let at = bounds.partition_point(|bound| *bound < upper);
        *merged.entry(at as i32).or_insert(0.0) += count;
    }
    Histogram { positive: merged.into_iter().collect(), custom: bounds.clone(), ..histogram.clone() }
}

/// Whether both say the same, empty buckets and reset hints aside.
#[expect(clippy::float_cmp, reason = "queries compare exactly")]
pub(crate) fn is_equal(left: &Histogram, right: &Histogram) -> bool {
    let (left, right) = (compact(left), compact(right));
    let same = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
    let same_buckets = |a: &Buckets, b: &Buckets| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    left.schema == right.schema
        && same(left.count, right.count)
        && same(left.sum, right.sum)
        && (left.is_custom()
            || (left.zero_threshold == right.zero_threshold && same(left.zero_count, right.zero_count)))
        && left.custom == right.custom
        && same_buckets(&left.positive, &right.positive)
        && same_buckets(&left.negative, &right.negative)
}

/// As Prometheus shows one in a label: `{count:3, sum:4, (1,2]:3}`.
pub(crate) fn show(histogram: &Histogram) -> String {
    let mut text = format!(
        "{{count:{}, sum:{}",
        number::format_general(histogram.count),
        number::format_general(histogram.sum)
    );
    for bucket in all_buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.is_lower_inside { '[' } else { '(' };
        let close = if bucket.is_upper_inside { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(number::format_general);
        let _ = write!(text, ", {open}{lower},{upper}{close}:{count}");
    }
    text.push('}');
    text
}
