//! Arithmetic on single values that the standard library does not have as PromQL wants it.

/// −1, 0 or 1; zeros and NaN stay what they are.
pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}
