//! Whether a histogram's counters started again between two samples.

use std::collections::BTreeMap;

use hmsops_model::sample::{Histogram, ResetHint};

use super::{at_schema, common_bounds, on_bounds, with_zero_threshold};

/// Whether `now` cannot have come from `before` by observations alone.
#[expect(clippy::float_cmp, reason = "bounds are equal or they are not")]
pub(crate) fn is_reset(now: &Histogram, before: &Histogram) -> bool {
    match now.reset {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if now.count < before.count {
        return true;
    }
    if now.is_custom() {
        if !before.is_custom() {
            return true;
        }
        let common = common_bounds(&now.custom, &before.custom).into();
        return any_fell(&on_bounds(now, &common).positive, &on_bounds(before, &common).positive);
    }
    if before.is_custom() || now.schema > before.schema || now.zero_threshold < before.zero_threshold {
        return true;
    }
    let before = with_zero_threshold(before, now.zero_threshold);
    if before.zero_threshold != now.zero_threshold || now.zero_count < before.zero_count {
        return true;
    }
    let before = at_schema(&before, now.schema);
    any_fell(&now.positive, &before.positive) || any_fell(&now.negative, &before.negative)
}

fn any_fell(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let now: BTreeMap<i32, f64> = now.iter().copied().collect();
    before.iter().any(|(index, count)| now.get(index).copied().unwrap_or(0.0) < *count)
}
