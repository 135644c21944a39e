//! The windows (T−R, T] of a range aggregation.

use weir_model::select::Buckets;
use weir_model::time::{TimeRange, UnixNanos};

use super::Steps;

/// Windows and which of them hold an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) steps: Steps,
    pub(crate) range: i64,
    pub(crate) offset: i64,
}

impl Windows {
    /// First and last index of the windows that hold something of the closed span of times.
    pub(super) fn holding(&self, first: UnixNanos, last: UnixNanos) -> Option<(usize, usize)> {
        let Self { steps, range, offset } = *self;
        let relative = |at: i64| i128::from(at) + i128::from(offset) - i128::from(steps.start);
        let step = i128::from(steps.step);
        let ceil = |value: i128| value.div_euclid(step) + i128::from(value.rem_euclid(step) != 0);
        let from = ceil(relative(first)).max(0);
        let to = (ceil(relative(last) + i128::from(range)) - 1).min(steps.count as i128 - 1);
        if from <= to { Some((from as usize, to as usize)) } else { None }
    }

    /// Buckets that lie within the same windows with all of their lines; `None` when the windows are beyond what time is.
    pub(super) fn buckets(&self) -> Option<Buckets> {
        let Self { steps, range, offset } = *self;
        let last = steps.start.checked_sub(offset)?;
        last.checked_sub(range)?;
        let span = steps.step.checked_mul(i64::try_from(steps.count - 1).ok()?)?;
        steps.start.checked_add(span)?.checked_sub(offset)?;
        let width = if steps.count == 1 { range } else { gcd(range, steps.step) };
        // A window has its end and not its start.
        Buckets::new(width, last.checked_add(1)?)
    }

    /// Whether lines lie between windows: then the store would read for nothing, and is asked for lines chunk by chunk.
    pub(super) fn has_gaps(&self) -> bool {
        self.steps.count > 1 && self.range < self.steps.step
    }

    /// Times that any window may hold.
    pub(super) fn span(&self) -> TimeRange {
        let start = self.steps.start.saturating_sub(self.offset).saturating_sub(self.range).saturating_add(1);
        TimeRange { start, end: self.steps.end().saturating_sub(self.offset).saturating_add(1) }
    }

    /// The window's last instant, and the one just before its first.
    pub(crate) fn bounds(&self, i: usize) -> (UnixNanos, UnixNanos) {
        let last = self.steps.at(i).saturating_sub(self.offset);
        (last.saturating_sub(self.range), last)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_of_a_bucket_lie_in_the_same_windows() {
        for (start, step, count, range, offset) in
            [(0, 10, 5, 10, 0), (3, 10, 5, 25, 7), (3, 10, 5, 4, -7), (100, 1, 1, 60, 0), (5, 7, 9, 21, 2)]
        {
            let windows = Windows { steps: Steps { start, step, count }, range, offset };
            let buckets = windows.buckets().unwrap();
            for at in -200..300 {
                assert_eq!(
                    windows.holding(at, at),
                    windows.holding(buckets.start_of(at), buckets.start_of(at)),
                    "{windows:?} {at}"
                );
            }
        }
        let beyond = |start, range| Windows { steps: Steps::instant(start), range, offset: 0 }.buckets();
        assert_eq!((beyond(i64::MIN + 5, 10), beyond(i64::MAX, 10)), (None, None));
    }
}
