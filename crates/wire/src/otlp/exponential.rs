//! Exponential histograms as native ones.
//!
//! Source: opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics, "Exponential Histograms": both have
//! base 2^(2^-scale); OTLP's bucket `i` is (base^i, base^(i+1)], the native one of that index ends at base^i.

use hmsops_model::sample::{Histogram, ResetHint};

use super::message::{Buckets, ExponentialHistogramDataPoint};

/// Scales that native histograms have.
const SCALES: std::ops::RangeInclusive<i32> = -4..=8;

/// The threshold of the zero bucket when none is given, as Prometheus takes it.
const ZERO_THRESHOLD: f64 = 1e-128;

/// Buckets of one side; more is no histogram that somebody has made on purpose.
const BUCKETS_MAX: usize = 4096;

/// A data point as a native histogram. One that is too fine is made coarser, which is exact.
pub(super) fn native(point: &ExponentialHistogramDataPoint) -> Result<Histogram, String> {
    let scale = point.scale;
    if scale < *SCALES.start() {
        return Err(format!("a scale of {scale} is coarser than native histograms are"));
    }
    let shift = (scale - SCALES.end()).max(0).cast_unsigned();
    let counted = |buckets: &Option<Buckets>| {
        buckets
            .as_ref()
            .map_or(0, |buckets| buckets.bucket_counts.iter().fold(0_u64, |all, n| all.saturating_add(*n)))
    };
    let in_buckets =
        counted(&point.positive).saturating_add(counted(&point.negative)).saturating_add(point.zero_count);
    if in_buckets > point.count {
        return Err(format!("{in_buckets} observations are in buckets, and {} were made", point.count));
    }
    Ok(Histogram {
        reset: ResetHint::Unknown,
        schema: scale.min(*SCALES.end()),
        zero_threshold: if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD },
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or_default(),
        positive: buckets(point.positive.as_ref(), shift)?,
        negative: buckets(point.negative.as_ref(), shift)?,
        custom: [].into(),
    })
}

fn buckets(buckets: Option<&Buckets>, shift: u32) -> Result<Vec<(i32, f64)>, String> {
    let Some(Buckets { offset, bucket_counts }) = buckets else { return Ok(Vec::new()) };
    if bucket_counts.len() > BUCKETS_MAX {
        return Err(format!("{} buckets are more than {BUCKETS_MAX}", bucket_counts.len()));
    }
    let mut merged: Vec<(i32, f64)> = Vec::new();
    for (at, count) in (0_i64..).zip(bucket_counts).filter(|(_, count)| **count > 0) {
        // Below a scale of 8 by `shift`, so many neighbours are one bucket; indexes of ours are of the upper end.
        let index = i64::from(*offset).saturating_add(at).checked_shr(shift).unwrap_or(-1) + 1;
        let index = i32::try_from(index).map_err(|_| format!("a bucket of index {index} is out of range"))?;
        match merged.last_mut() {
            Some((last, all)) if *last == index => *all += *count as f64,
            _ => merged.push((index, *count as f64)),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_their_ends_also_when_they_are_made_coarser() {
        let side = |offset, counts: &[u64]| Buckets { offset, bucket_counts: counts.to_vec() };
        assert_eq!(buckets(Some(&side(0, &[1, 0, 2])), 0).unwrap(), [(1, 1.0), (3, 2.0)]);
        assert_eq!(buckets(Some(&side(-3, &[1, 1, 1, 1, 1])), 1).unwrap(), [(-1, 1.0), (0, 2.0), (1, 2.0)]);
        assert!(buckets(Some(&side(i32::MAX, &[1])), 0).is_err());
        assert!(buckets(Some(&side(0, &vec![0; BUCKETS_MAX + 1])), 0).is_err());
        let point = ExponentialHistogramDataPoint {
            scale: 20,
            count: 3,
            zero_count: 1,
            positive: Some(side(1 << 20, &[2])),
            ..Default::default()
        };
        let native = native(&point).unwrap();
        // (2, 2 + a bit] at scale 20 is within the bucket that ends at 2^(257/256) at scale 8.
        assert_eq!((native.schema, native.positive.as_slice()), (8, &[(257, 2.0)][..]));
        assert!(super::native(&ExponentialHistogramDataPoint { scale: -5, ..point.clone() }).is_err());
        assert!(super::native(&ExponentialHistogramDataPoint { count: 2, ..point }).is_err());
    }
}
