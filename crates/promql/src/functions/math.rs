//! Functions of one number that the standard library does not have in the wanted form.

/// −1, 0 or 1; what is neither stays itself.
pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}
