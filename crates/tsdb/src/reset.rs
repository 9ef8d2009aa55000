//! What the store says of a histogram's counts: whether they started again since the sample before.

use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint, Value, is_stale_nan};

/// A value with the hint that follows from the one before it. A gauge stays one; the first of a run keeps only
/// `Reset`; where buckets are not the same and only the engine's arithmetic can tell, it stays `Unknown`, which
/// asks the engine to compare.
pub(crate) fn hinted(before: Option<&Value>, value: Value) -> Value {
    let Value::Histogram(histogram) = &value else { return value };
    if histogram.reset == ResetHint::Gauge || value.is_stale() {
        return value;
    }
    let reset = match before {
        _ if histogram.reset == ResetHint::Reset => ResetHint::Reset,
        Some(Value::Histogram(before)) if before.reset != ResetHint::Gauge && !is_stale_nan(before.sum) => {
            compare(histogram, before)
        }
        _ => ResetHint::Unknown,
    };
    if reset == histogram.reset {
        return value;
    }
    Value::Histogram(Arc::new(Histogram { reset, ..(**histogram).clone() }))
}

/// As Prometheus decides it when it appends (`histogram.DetectReset`): a count that fell, or buckets that have
/// become finer, are a reset.
#[expect(clippy::float_cmp, reason = "bounds are equal or they are not")]
fn compare(now: &Histogram, before: &Histogram) -> ResetHint {
    if now.count < before.count || now.is_custom() != before.is_custom() {
        return ResetHint::Reset;
    }
    if now.is_custom() {
        if now.custom != before.custom {
            return ResetHint::Unknown;
        }
    } else if now.schema > before.schema || now.zero_threshold < before.zero_threshold {
        return ResetHint::Reset;
    } else if now.schema != before.schema || now.zero_threshold != before.zero_threshold {
        return ResetHint::Unknown;
    } else if now.zero_count < before.zero_count {
        return ResetHint::Reset;
    }
    let is_fallen = any_fell(&now.positive, &before.positive) || any_fell(&now.negative, &before.negative);
    if is_fallen { ResetHint::Reset } else { ResetHint::NotReset }
}

fn any_fell(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|(index, count)| {
        while now.next_if(|(other, _)| other < index).is_some() {}
        let current = now.peek().filter(|(other, _)| other == index).map_or(0.0, |(_, count)| *count);
        current < *count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64, positive: &[(i32, f64)]) -> Value {
        Value::Histogram(Arc::new(Histogram { count, positive: positive.to_vec(), ..Histogram::default() }))
    }

    fn hint(value: &Value) -> ResetHint {
        let Value::Histogram(histogram) = value else { panic!("a histogram") };
        histogram.reset
    }

    #[test]
    fn hints_follow_from_the_sample_before() {
        let first = hinted(None, histogram(3.0, &[(1, 1.0), (4, 2.0)]));
        assert_eq!(hint(&first), ResetHint::Unknown);
        for (next, expected) in [
            (histogram(4.0, &[(1, 1.0), (2, 1.0), (4, 2.0)]), ResetHint::NotReset),
            (histogram(2.0, &[(1, 1.0), (4, 1.0)]), ResetHint::Reset),
            (histogram(9.0, &[(1, 9.0)]), ResetHint::Reset),
        ] {
            assert_eq!(hint(&hinted(Some(&first), next)), expected);
        }
        let gauge = Histogram { reset: ResetHint::Gauge, ..Histogram::default() };
        let gauge = Value::Histogram(Arc::new(gauge));
        assert_eq!(hint(&hinted(Some(&first), gauge.clone())), ResetHint::Gauge);
        assert_eq!(hint(&hinted(Some(&gauge), first.clone())), ResetHint::Unknown);
        let coarser = Histogram { schema: -1, count: 9.0, ..Histogram::default() };
        let coarser = Value::Histogram(Arc::new(coarser));
        assert_eq!(hint(&hinted(Some(&first), coarser)), ResetHint::Unknown, "the engine can tell");
    }
}
