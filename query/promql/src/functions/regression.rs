//! Trends of a window: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::Window;
use super::sums::Sum;

/// Per-second slope by least squares.
pub(super) fn deriv(window: &Window<'_>) -> Option<f64> {
    (window.values.len() > 1).then(|| line(window, window.times[0]).0)
}

/// The value some seconds after the step, by least squares.
pub(super) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    let (slope, intercept) = (window.values.len() > 1).then(|| line(window, window.step_ms))?;
    Some(slope * window.params[0] + intercept)
}

/// Slope per second, and value at `origin_ms`.
fn line(window: &Window<'_>, origin_ms: i64) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (at, y) in window.times.iter().zip(window.values) {
        let x = (at - origin_ms) as f64 / 1000.0;
        x_sum = x_sum.plus(x);
        y_sum = y_sum.plus(*y);
        xy_sum = xy_sum.plus(x * y);
        xx_sum = xx_sum.plus(x * x);
    }
    let count = window.values.len() as f64;
    let (x, y) = (x_sum.total(), y_sum.total());
    let slope = (xy_sum.total() - x * y / count) / (xx_sum.total() - x * x / count);
    (slope, y / count - slope * x / count)
}

/// Holt's linear smoothing; the factors lie strictly between 0 and 1 (checked before).
pub(super) fn smoothing(window: &Window<'_>) -> Option<f64> {
    let [first, second, ..] = window.values else { return None };
    let [factor, trend_factor] = window.params;
    let (mut before, mut smooth, mut trend) = (0.0, *first, second - first);
    for (i, value) in window.values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (smooth - before) + (1.0 - trend_factor) * trend;
        }
        let next = factor * value + (1.0 - factor) * (smooth + trend);
        (before, smooth) = (smooth, next);
    }
    Some(smooth)
}
