//! Observations above or below a value taken out (`</`, `>/`).

use hmsops_model::sample::Histogram;

use super::compact;
use super::read::{Span1, all_buckets, clipped, share_below};

/// Keeps what is at most (`is_upper`) or at least the value. A bucket that the value cuts keeps the share that
/// interpolation gives; an infinite one, of which nothing is known, is kept or dropped whole. Count and sum are then
/// estimated from the buckets' middles; when nothing is cut, everything stays as it is.
pub(crate) fn trim(histogram: &Histogram, value: f64, is_upper: bool) -> Histogram {
    let mut kept: Vec<(Span1, f64, f64)> = Vec::new();
    for bucket in all_buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0) {
        let bucket = clipped(histogram, bucket);
        let (count, middle) = keep(histogram, bucket, value, is_upper);
        kept.push((bucket, count, middle));
    }
    #[expect(clippy::float_cmp, reason = "a bucket is cut or it is not")]
    let is_cut = kept.iter().any(|(bucket, count, _)| *count != bucket.count);
    if !is_cut {
        return histogram.clone();
    }
    let mut trimmed = Histogram { zero_count: 0.0, count: 0.0, sum: 0.0, ..histogram.clone() };
    for (bucket, count, middle) in &kept {
        trimmed.count += count;
        trimmed.sum += middle * count;
        if bucket.is_zero {
            trimmed.zero_count = *count;
        }
    }
    // Buckets stand in the order of the counts: the negative ones from the highest index down, then zero, then the
    // positive ones.
    let mut counts = kept.iter().filter(|(bucket, _, _)| !bucket.is_zero).map(|(_, count, _)| *count);
    let mut refill = |slot: &mut (i32, f64)| {
        if slot.1 != 0.0 {
            slot.1 = counts.next().unwrap_or_default();
        }
    };
    trimmed.negative.iter_mut().rev().for_each(&mut refill);
    trimmed.positive.iter_mut().for_each(&mut refill);
    compact(&trimmed)
}

/// How much of a bucket stays, and the middle of what stays.
fn keep(histogram: &Histogram, bucket: Span1, value: f64, is_upper: bool) -> (f64, f64) {
    let (lower, upper, count) = (bucket.lower, bucket.upper, bucket.count);
    let is_whole = if is_upper { upper <= value } else { lower >= value };
    let is_nothing = if is_upper { lower >= value } else { upper <= value };
    if is_nothing && !is_whole {
        return (0.0, 0.0);
    }
    if is_whole {
        return (count, middle(histogram, bucket, lower, upper));
    }
    if lower == f64::NEG_INFINITY {
        return keep_lowest(bucket, value, is_upper);
    }
    if upper == f64::INFINITY {
        return if is_upper { (0.0, 0.0) } else { (count, value) };
    }
    let below = count * share_below(histogram, bucket, value);
    if is_upper {
        (below, middle(histogram, bucket, lower, value))
    } else {
        (count - below, middle(histogram, bucket, value, upper))
    }
}

/// The bucket from −Inf: one with a positive bound is taken to begin at 0.
fn keep_lowest(bucket: Span1, value: f64, is_upper: bool) -> (f64, f64) {
    let Span1 { upper, count, .. } = bucket;
    let is_split = upper.is_finite() && upper > 0.0;
    match is_upper {
        true if is_split && value > 0.0 => (count * value / upper, value / 2.0),
        true if upper <= 0.0 => (count, value),
        false if upper.is_finite() && value >= 0.0 && upper > value => {
            (count * (1.0 - value / upper), f64::midpoint(value, upper))
        }
        _ => (0.0, 0.0),
    }
}

/// Where the observations of an interval stand on average: geometric between exponential borders, else arithmetic;
/// of an infinite interval its finite end, from 0 when that is positive and above.
fn middle(histogram: &Histogram, bucket: Span1, lower: f64, upper: f64) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        _ if histogram.is_custom() || bucket.is_zero => f64::midpoint(lower, upper),
        _ if upper <= 0.0 => -(lower * upper).sqrt(),
        _ => (lower * upper).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_cut_histogram_add_up() {
        let histogram = Histogram {
            count: 9.0,
            zero_count: 1.0,
            zero_threshold: 0.1,
            positive: vec![(1, 2.0), (2, 4.0)],
            negative: vec![(1, 2.0)],
            ..Histogram::default()
        };
        for value in [-3.0, -1.5, -0.05, 0.0, 0.05, 1.5, 2.0, 3.0, 9.0] {
            let (below, above) = (trim(&histogram, value, true), trim(&histogram, value, false));
            assert!((below.count + above.count - 9.0).abs() < 1e-9, "{value}: {below:?} {above:?}");
        }
    }
}
