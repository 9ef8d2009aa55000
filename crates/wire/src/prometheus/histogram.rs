//! Native histograms as the API of Prometheus spells them.

use hmsops_model::Histogram;

use super::number::push_float;

/// Which bounds belong to a bucket.
const LEFT_OPEN: u8 = b'0';
const RIGHT_OPEN: u8 = b'1';
const CLOSED: u8 = b'3';

/// An object with count, sum and the buckets that hold anything, from the lowest.
pub(super) fn push(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(br#"{"count":"#);
    push_float(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    push_float(out, histogram.sum);
    let mut has_buckets = false;
    let mut bucket = |kind: u8, lower: f64, upper: f64, count: f64| {
        if count != 0.0 {
            out.extend_from_slice(if has_buckets { b",[" } else { br#","buckets":[["# });
            has_buckets = true;
            out.push(kind);
            for value in [lower, upper, count] {
                out.push(b',');
                push_float(out, value);
            }
            out.push(b']');
        }
    };
    for (index, count) in histogram.negative.iter().rev() {
        bucket(RIGHT_OPEN, -bound(histogram, *index), -bound(histogram, index.saturating_sub(1)), *count);
    }
    bucket(CLOSED, -histogram.zero_threshold, histogram.zero_threshold, histogram.zero_count);
    for (index, count) in &histogram.positive {
        let (lower, upper) = (bound(histogram, index.saturating_sub(1)), bound(histogram, *index));
        // The first bucket of a custom histogram reaches down to -Inf, and Prometheus calls it closed.
        let kind = if histogram.is_custom() && *index == 0 { CLOSED } else { LEFT_OPEN };
        bucket(kind, lower, upper, *count);
    }
    out.extend_from_slice(if has_buckets { b"]}" } else { b"}" });
}

/// Where a positive bucket ends.
fn bound(histogram: &Histogram, index: i32) -> f64 {
    if histogram.is_custom() {
        let custom = usize::try_from(index).map(|index| histogram.custom.get(index));
        return custom.map_or(f64::NEG_INFINITY, |bound| bound.copied().unwrap_or(f64::INFINITY));
    }
    // 2^(index · 2^-schema); dividing by a power of two is exact. The last finite bucket would end at 2^1024, which
    // is no float: it ends at the greatest there is, and the one after it at +Inf.
    let exponent = f64::from(index) / f64::from(histogram.schema).exp2();
    let is_last = exponent.to_bits() == 1024.0_f64.to_bits();
    if is_last { f64::MAX } else { exponent.exp2() }
}
