//! Quantiles of plain values and of classic histograms.

/// The φ-quantile with linear interpolation between neighbours; −Inf below 0, +Inf above 1, NaN of nothing.
pub(crate) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN first, as Prometheus sorts them.
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let low = (rank.floor().max(0.0) as usize).min(last);
    let high = (low + 1).min(last);
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}

/// One bucket of a classic histogram: everything up to `upper`, cumulative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// What was found out about a classic histogram besides its quantile.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Repaired {
    /// The first and last upper bound where counts fell, and by how much at most, when it was more than noise.
    pub(crate) fell: Option<(f64, f64, f64)>,
}

/// Sorts buckets, joins equal bounds, and makes the counts ascend; differences below 1e-12 are taken as noise of
/// floating-point sums and are not reported.
pub(crate) fn repair(buckets: &mut Vec<Bucket>) -> Repaired {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    let mut joined: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets.iter() {
        match joined.last_mut() {
            #[expect(clippy::float_cmp, reason = "equal bounds are one bucket")]
            Some(last) if last.upper == bucket.upper => last.count += bucket.count,
            _ => joined.push(*bucket),
        }
    }
    let mut repaired = Repaired::default();
    for index in 1..joined.len() {
        let before = joined[index - 1].count;
        let here = joined[index].count;
        let is_noise = (before - here).abs() <= 1e-12 * (before.abs() + here.abs());
        if is_noise {
            joined[index].count = before;
        } else if here < before {
            let upper = joined[index].upper;
            let fell = repaired.fell.get_or_insert((upper, upper, 0.0));
            fell.1 = upper;
            fell.2 = fell.2.max(before - here);
            joined[index].count = before;
        }
    }
    *buckets = joined;
    repaired
}

/// Whether there are enough buckets, the last one up to +Inf, and anything in them.
pub(crate) fn is_usable(buckets: &[Bucket]) -> bool {
    buckets.len() >= 2
        && buckets
            .last()
            .is_some_and(|last| last.upper == f64::INFINITY && last.count != 0.0 && !last.count.is_nan())
}

/// The φ-quantile of repaired buckets: linear within the bucket that holds the rank; the lowest bucket begins at 0
/// when its bound is positive; the highest finite bound when the rank is in the +Inf bucket.
pub(crate) fn bucket_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    if q.is_nan() || !is_usable(buckets) {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = buckets.len() - 1;
    let mut rank = q * buckets[last].count;
    let found = buckets[..last].iter().position(|bucket| bucket.count >= rank).unwrap_or(last);
    if found == last {
        return buckets[last - 1].upper;
    }
    if found == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }
    let (mut start, mut count) = (0.0, buckets[found].count);
    if found > 0 {
        start = buckets[found - 1].upper;
        count -= buckets[found - 1].count;
        rank -= buckets[found - 1].count;
    }
    start + (buckets[found].upper - start) * (rank / count)
}

/// The share of observations between two values, linear within buckets as in [`bucket_quantile`].
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let is_complete = buckets.last().is_some_and(|last| last.upper == f64::INFINITY && last.count > 0.0);
    if !is_complete || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let total = buckets[buckets.len() - 1].count;
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / total
}

/// How many observations are at most `value`.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let total = buckets[buckets.len() - 1].count;
    let (mut start, mut below) = (if buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY }, 0.0);
    for bucket in buckets {
        if value <= start {
            return below;
        }
        if value < bucket.upper {
            if start.is_infinite() || bucket.upper.is_infinite() {
                // Nothing is known of how an infinite bucket is filled.
                return if bucket.upper.is_infinite() { below } else { bucket.count };
            }
            return below + (bucket.count - below) * (value - start) / (bucket.upper - start);
        }
        start = bucket.upper;
        below = bucket.count;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(quantile(0.5, vec![1.0, 2.0, 4.0, 8.0]), 3.0);
        let buckets = [
            Bucket { upper: 1.0, count: 2.0 },
            Bucket { upper: 2.0, count: 4.0 },
            Bucket { upper: f64::INFINITY, count: 4.0 },
        ];
        close(bucket_quantile(0.5, &buckets), 1.0);
        close(bucket_quantile(0.25, &buckets), 0.5);
        close(bucket_fraction(0.0, 1.5, &buckets), 0.75);
        assert!(bucket_quantile(0.5, &buckets[..1]).is_nan());
    }
}
