//! What native histograms tell: quantiles, fractions, spread.

use hmsops_model::sample::Histogram;

use super::bound;

/// One bucket as an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span1 {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) is_lower_inside: bool,
    pub(crate) is_upper_inside: bool,
    pub(crate) count: f64,
    /// Whether it is the zero bucket.
    pub(crate) is_zero: bool,
}

/// All buckets from the lowest.
pub(crate) fn all_buckets(histogram: &Histogram) -> Vec<Span1> {
    let plain = |lower, upper, count| Span1 {
        lower,
        upper,
        is_lower_inside: false,
        is_upper_inside: true,
        count,
        is_zero: false,
    };
    if histogram.is_custom() {
        let bounds = &histogram.custom;
        return histogram
            .positive
            .iter()
            .map(|(index, count)| {
                let at = *index as usize;
                let lower = at.checked_sub(1).and_then(|at| bounds.get(at)).copied();
                let upper = bounds.get(at).copied().unwrap_or(f64::INFINITY);
                plain(lower.unwrap_or(f64::NEG_INFINITY), upper, *count)
            })
            .collect();
    }
    let schema = histogram.schema;
    let mut buckets: Vec<Span1> = histogram
        .negative
        .iter()
        .rev()
        .map(|(index, count)| Span1 {
            is_lower_inside: true,
            is_upper_inside: false,
            ..plain(-bound(*index, schema), -bound(index.saturating_sub(1), schema), *count)
        })
        .collect();
    if histogram.zero_count != 0.0 {
        let width = histogram.zero_threshold;
        buckets.push(Span1 {
            is_lower_inside: true,
            is_zero: true,
            ..plain(-width, width, histogram.zero_count)
        });
    }
    buckets.extend(
        histogram.positive.iter().map(|(index, count)| {
            plain(bound(index.saturating_sub(1), schema), bound(*index, schema), *count)
        }),
    );
    buckets
}

/// The zero bucket reaches only as far as there are observations on that side.
pub(super) fn clipped(histogram: &Histogram, bucket: Span1) -> Span1 {
    if !bucket.is_zero {
        return bucket;
    }
    let (has_negative, has_positive) = (!histogram.negative.is_empty(), !histogram.positive.is_empty());
    match (has_negative, has_positive) {
        (false, true) => Span1 { lower: 0.0, ..bucket },
        (true, false) => Span1 { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

/// How many of a bucket's observations are at most `value`: linear in the zero bucket and in custom buckets,
/// else linear in the logarithm.
pub(super) fn share_below(histogram: &Histogram, bucket: Span1, value: f64) -> f64 {
    if histogram.is_custom() || bucket.is_zero {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let at = value.abs().log2();
    if bucket.lower < 0.0 { 1.0 - (at - high) / (low - high) } else { (at - low) / (high - low) }
}

/// The value below which a share of a bucket's observations lie; the inverse of [`share_below`].
fn value_at(histogram: &Histogram, bucket: Span1, share: f64) -> f64 {
    if histogram.is_custom() || bucket.is_zero {
        return bucket.lower + (bucket.upper - bucket.lower) * share;
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower < 0.0 {
        -(high + (low - high) * (1.0 - share)).exp2()
    } else {
        (low + (high - low) * share).exp2()
    }
}

/// The φ-quantile. With NaN observations (a count above the sum of all buckets) the rank may lie in none, and the
/// answer is NaN.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if histogram.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    let buckets = all_buckets(histogram);
    let has_nan = histogram.sum.is_nan();
    let total: f64 = buckets.iter().map(|bucket| bucket.count).sum();
    // From the nearer end, so that rounding does not push the rank past the last bucket.
    let from_top = !has_nan && q >= 0.5;
    let rank = if from_top { (1.0 - q) * histogram.count } else { q * histogram.count };
    let ordered: Vec<Span1> = if from_top { buckets.iter().rev().copied().collect() } else { buckets };
    let mut passed = 0.0;
    let mut found = None;
    for bucket in ordered.into_iter().filter(|bucket| bucket.count != 0.0) {
        passed += bucket.count;
        found = Some(bucket);
        if passed >= rank {
            break;
        }
    }
    let Some(bucket) = found else { return f64::NAN };
    if has_nan && rank > total {
        return f64::NAN;
    }
    let bucket = clipped(histogram, bucket);
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            let first = Span1 { lower: 0.0, ..bucket };
            return within(histogram, first, rank, passed, from_top);
        }
        if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    }
    within(histogram, bucket, rank, passed, from_top)
}

fn within(histogram: &Histogram, bucket: Span1, rank: f64, passed: f64, from_top: bool) -> f64 {
    let before = passed - bucket.count;
    let share = ((rank - before) / bucket.count).clamp(0.0, 1.0);
    value_at(histogram, bucket, if from_top { 1.0 - share } else { share })
}

/// The share of observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut inside = 0.0;
    for bucket in all_buckets(histogram) {
        let mut bucket = clipped(histogram, bucket);
        if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
            bucket.lower = 0.0;
        }
        inside += bucket.count * (below(histogram, bucket, upper) - below(histogram, bucket, lower));
    }
    inside / histogram.count
}

/// The share of a bucket's observations up to `value`. Nothing is known of how an infinite bucket is filled: all of
/// it stands at its finite end.
fn below(histogram: &Histogram, bucket: Span1, value: f64) -> f64 {
    if value >= bucket.upper {
        1.0
    } else if value <= bucket.lower || bucket.upper.is_infinite() {
        0.0
    } else if bucket.lower.is_infinite() {
        1.0
    } else {
        share_below(histogram, bucket, value)
    }
}

/// The variance, each bucket standing at its geometric middle (the arithmetic one for custom buckets, 0 for a
/// bucket around zero).
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut total = crate::eval::kahan::Sum::default();
    for bucket in all_buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if bucket.is_zero || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            if histogram.is_custom() { f64::midpoint(bucket.lower, bucket.upper) } else { 0.0 }
        } else if histogram.is_custom() {
            f64::midpoint(bucket.lower, bucket.upper)
        } else if bucket.upper < 0.0 {
            -(bucket.lower * bucket.upper).sqrt()
        } else {
            (bucket.lower * bucket.upper).sqrt()
        };
        let distance = middle - mean;
        total.add(bucket.count * distance * distance);
    }
    total.value() / histogram.count
}
