//! `rate increase delta` over the plain windows of all steps of a series of numbers: as [`super::rate`] has them of one window,
//! bit for bit. What follows from the times of samples is had once for all series that share them.

use std::ops::Range;

use super::rate::{Reading, edge};

/// What the function makes of a window's change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(super) reading: Reading,
    pub(super) per_second: bool,
}

/// A window of two samples at least, as far as its times say.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    first: u32,
    last: u32,
    /// Seconds between the first and the last sample.
    sampled: f64,
    /// By so many the change goes on before the first sample, and behind the last.
    to_start: f64,
    to_end: f64,
    /// What the change is stretched by, unless a counter was zero in between.
    factor: f64,
    /// What it is divided by.
    seconds: f64,
}

impl Stretch {
    /// `window` says which of `times` lie in the window from `start_ms` to `end_ms`; `None` where they are too few.
    pub(crate) fn new(change: Change, times: &[i64], window: &Range<u32>, (start_ms, end_ms): (i64, i64)) -> Option<Self> {
        let last = window.end.checked_sub(1).filter(|last| *last > window.start)?;
        let (first_ms, last_ms) = (times[window.start as usize], times[last as usize]);
        let sampled = (last_ms - first_ms) as f64 / 1000.0;
        let distance = sampled / f64::from(last - window.start);
        let to_start = edge(first_ms.saturating_sub(start_ms), distance);
        let to_end = edge(end_ms.saturating_sub(last_ms), distance);
        let factor = (sampled + to_start + to_end) / sampled;
        let seconds = if change.per_second { end_ms.saturating_sub(start_ms) as f64 / 1000.0 } else { 1.0 };
        Some(Self { first: window.start, last, sampled, to_start, to_end, factor, seconds })
    }

    /// What is left of the factor of a counter that goes from `first` up by `increase`: it was not below zero.
    #[inline]
    fn factor_above_zero(&self, first: f64, increase: f64) -> f64 {
        let (own, limit) = (self.sampled * first, self.to_start * increase);
        // Far from zero no quotient is needed to know it; in between the quotient decides as it always did.
        if own > 2.0 * limit && own >= f64::MIN_POSITIVE {
            return self.factor;
        }
        let to_start = self.to_start.min(self.sampled * (first / increase));
        (self.sampled + to_start + self.to_end) / self.sampled
    }
}

/// Appends what the function makes of each window; `absent` where there is none. `resets` is a buffer.
pub(crate) fn fill(
    change: Change,
    stretches: &[Option<Stretch>],
    values: &[f64],
    (out, absent): (&mut Vec<f64>, f64),
    resets: &mut Vec<u32>,
) {
    resets.clear();
    let is_counter = change.reading == Reading::Counter;
    // Most series have none, and many pairs are compared at once when none is looked at.
    let falls = |values: &[f64]| values.iter().zip(&values[1..]).fold(false, |any, (before, after)| any | (after < before));
    if is_counter && values.len() > 1 && falls(values) {
        resets.extend((0..values.len() - 1).filter(|at| values[at + 1] < values[*at]).map(|at| at as u32));
    }
    let lost = |window: &Stretch| {
        let at = |limit: u32| resets.partition_point(|at| *at < limit);
        if resets.is_empty() { &resets[..] } else { &resets[at(window.first)..at(window.last)] }
    };
    out.extend(stretches.iter().map(|window| {
        let Some(window) = window else { return absent };
        let (first, last) = (values[window.first as usize], values[window.last as usize]);
        let mut difference = last - first;
        let mut factor = window.factor;
        if is_counter {
            difference = lost(window).iter().fold(difference, |sum, at| sum + values[*at as usize]);
            if difference > 0.0 && first >= 0.0 {
                factor = window.factor_above_zero(first, difference);
            }
        }
        let whole = difference * factor;
        if change.per_second { whole / window.seconds } else { whole }
    }));
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::super::Window;
    use super::super::rate::{delta, increase, rate};
    use super::*;
    use crate::ast::Edge;

    fn value() -> impl Strategy<Value = f64> {
        let numbers = prop_oneof![0.0..100.0_f64, (0..50_u32).prop_map(f64::from), -5.0..5.0_f64, any::<f64>()];
        prop_oneof![9 => numbers, 1 => prop_oneof![Just(0.0), Just(-0.0), Just(5e-324), Just(f64::INFINITY), Just(f64::NAN)]]
    }

    /// Windows of all steps together against each window alone, bit for bit.
    fn check(times: &[i64], values: &[f64], step: i64, range_ms: i64) {
        type Whole = fn(&Window<'_>) -> Option<f64>;
        let functions: [(Change, Whole); 3] = [
            (Change { reading: Reading::Counter, per_second: true }, rate),
            (Change { reading: Reading::Counter, per_second: false }, increase),
            (Change { reading: Reading::Gauge, per_second: false }, delta),
        ];
        for (change, whole) in functions {
            let (mut stretches, mut expected, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for end_ms in (1..30).map(|i| i * step) {
                let start_ms = end_ms - range_ms;
                let of = |limit: i64| times.partition_point(|at| *at <= limit);
                let (from, to) = (of(start_ms), of(end_ms));
                stretches.push(Stretch::new(change, times, &(from as u32..to as u32), (start_ms, end_ms)));
                let window = Window {
                    times: &times[from..to],
                    values: &values[from..to],
                    starts: &[],
                    histograms: &[],
                    histogram_starts: &[],
                    start_ms,
                    end_ms,
                    params: [0.0; 2],
                    step_ms: end_ms,
                    edge: Edge::Plain,
                };
                expected.push(whole(&window).unwrap_or(-1e300));
            }
            fill(change, &stretches, values, (&mut out, -1e300), &mut Vec::new());
            let bits = |values: &[f64]| values.iter().map(|own| if own.is_nan() { 1 } else { own.to_bits() }).collect::<Vec<_>>();
            assert_eq!(bits(&out), bits(&expected));
        }
    }

    /// A difference of -0.0 stays one where nothing was lost, whether the series has a reset elsewhere or none.
    #[test]
    fn a_reset_outside_of_a_window_changes_nothing_in_it() {
        let times: Vec<i64> = (1..=5).map(|i| i * 10).collect();
        check(&times, &[37.8, 0.0, 0.0, 0.0, -0.0], 10, 20);
        check(&times, &[0.0, 0.0, -0.0, 5.0, 0.0], 10, 20);
    }

    proptest! {
        #[test]
        fn each_step_is_what_its_window_alone_gives(
            samples in collection::vec((1..90_i64, value()), 0..60),
            step in 1..200_i64,
            range_ms in 1..400_i64,
            counts_up in any::<bool>(),
        ) {
            let (mut at, mut sum) = (0, 0.0);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for (gap, value) in samples {
                at += gap;
                sum += value.abs();
                times.push(at);
                values.push(if counts_up { sum } else { value });
            }
            check(&times, &values, step, range_ms);
        }
    }
}
