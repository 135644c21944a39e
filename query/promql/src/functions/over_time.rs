//! Statistics of a window: `…_over_time`.

use super::Window;
use super::sums::{Mean, Sum};

pub(super) fn avg(window: &Window<'_>) -> Option<f64> {
    let mut mean = Mean::default();
    window.values.iter().for_each(|value| mean.push(*value));
    (!window.values.is_empty()).then(|| mean.mean())
}

pub(super) fn sum(window: &Window<'_>) -> Option<f64> {
    let sum = window.values.iter().fold(Sum::default(), |sum, value| sum.plus(*value));
    (!window.values.is_empty()).then(|| sum.total())
}

pub(super) fn count(window: &Window<'_>) -> Option<f64> {
    (!window.values.is_empty()).then_some(window.values.len() as f64)
}

pub(super) fn present(window: &Window<'_>) -> Option<f64> {
    (!window.values.is_empty()).then_some(1.0)
}

pub(super) fn first(window: &Window<'_>) -> Option<f64> {
    window.values.first().copied()
}

pub(super) fn last(window: &Window<'_>) -> Option<f64> {
    window.values.last().copied()
}

pub(super) fn max(window: &Window<'_>) -> Option<f64> {
    extreme(window, |value, best| value > best).map(|at| window.values[at])
}

pub(super) fn min(window: &Window<'_>) -> Option<f64> {
    extreme(window, |value, best| value < best).map(|at| window.values[at])
}

pub(super) fn time_of_max(window: &Window<'_>) -> Option<f64> {
    extreme(window, |value, best| value >= best).map(|at| window.times[at] as f64 / 1000.0)
}

pub(super) fn time_of_min(window: &Window<'_>) -> Option<f64> {
    extreme(window, |value, best| value <= best).map(|at| window.times[at] as f64 / 1000.0)
}

pub(super) fn time_of_first(window: &Window<'_>) -> Option<f64> {
    window.times.first().map(|at| *at as f64 / 1000.0)
}

pub(super) fn time_of_last(window: &Window<'_>) -> Option<f64> {
    window.times.last().map(|at| *at as f64 / 1000.0)
}

/// Where the best value stands; any number is better than NaN.
fn extreme(window: &Window<'_>, better: fn(f64, f64) -> bool) -> Option<usize> {
    let values = window.values;
    (0..values.len()).reduce(|best, at| if better(values[at], values[best]) || values[best].is_nan() { at } else { best })
}

pub(super) fn stdvar(window: &Window<'_>) -> Option<f64> {
    let (mut mean, mut squares, mut count) = (Sum::default(), Sum::default(), 0.0);
    for value in window.values {
        count += 1.0;
        let delta = value - mean.total();
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - mean.total()));
    }
    (count > 0.0).then(|| squares.total() / count)
}

pub(super) fn stddev(window: &Window<'_>) -> Option<f64> {
    stdvar(window).map(f64::sqrt)
}

pub(super) fn quantile_over_time(window: &Window<'_>) -> Option<f64> {
    (!window.values.is_empty()).then(|| quantile(window.params[0], &mut window.values.to_vec()))
}

/// Median of the distances from the median; NaN as soon as a value is.
pub(super) fn mad(window: &Window<'_>) -> Option<f64> {
    if window.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let mut values = window.values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    (!values.is_empty()).then(|| quantile(0.5, &mut values))
}

/// The q-quantile, linear between neighbours; NaN sorts first. Outside of [0, 1] it is ∓Inf.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let upper = (lower as usize + 1).min(values.len() - 1);
    values[lower as usize] * (1.0 - weight) + values[upper] * weight
}
