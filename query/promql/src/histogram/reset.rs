//! Two histograms of one series: whether counters began anew between them, and whether they are the same.

use weir_model::histogram::{Buckets, Histogram, ResetHint};

use super::bucket::{custom_bound, exponential_bound, indexed, is_custom};
use super::sum::{coarser, shared_bounds, target, widened};

/// Whether some counter of `histogram` began anew after `previous`, as its hint says or else as its counts show.
pub(crate) fn detect_reset(histogram: &Histogram, previous: &Histogram) -> bool {
    match histogram.reset {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if histogram.count < previous.count {
        return true;
    }
    if is_custom(histogram) {
        return !is_custom(previous) || custom_fell(histogram, previous);
    }
    // A finer schema or a narrower zero bucket cannot come of the same counters.
    if histogram.schema > previous.schema || histogram.zero_threshold < previous.zero_threshold {
        return true;
    }
    let (zero_count, width) = match histogram.zero_threshold > previous.zero_threshold {
        true => widened(previous, histogram.zero_threshold),
        false => (previous.zero_count, previous.zero_threshold),
    };
    let moved = width != histogram.zero_threshold && !width.is_nan();
    moved
        || histogram.zero_count < zero_count
        || fell(histogram, &histogram.positive, previous, &previous.positive)
        || fell(histogram, &histogram.negative, previous, &previous.negative)
}

/// Whether a bucket outside of the zero bucket has less than before.
fn fell(histogram: &Histogram, side: &Buckets, previous: &Histogram, before: &Buckets) -> bool {
    let (schema, width) = (histogram.schema, histogram.zero_threshold);
    let mut before = indexed(before).map(|(index, count)| (coarser(index, previous.schema, schema), count)).peekable();
    let mut now = indexed(side).peekable();
    while let Some((index, mut count)) = before.next() {
        while let Some((_, more)) = before.next_if(|(next, _)| *next == index) {
            count += more;
        }
        if exponential_bound(schema, index) <= width {
            continue;
        }
        while now.next_if(|(own, _)| *own < index).is_some() {}
        let less = match now.peek() {
            Some((own, now)) if *own == index => *now < count,
            _ => count != 0.0,
        };
        if less {
            return true;
        }
    }
    false
}

/// The same between bounds that both have.
fn custom_fell(histogram: &Histogram, previous: &Histogram) -> bool {
    let shared = shared_bounds(&histogram.custom_bounds, &previous.custom_bounds);
    let counts = |histogram: &Histogram| {
        let mut counts = vec![0.0; shared.len() + 1];
        for (index, count) in indexed(&histogram.positive) {
            counts[target(&shared, custom_bound(&histogram.custom_bounds, index)) as usize] += count;
        }
        counts
    };
    counts(histogram).iter().zip(counts(previous)).any(|(now, before)| *now < before)
}

/// Whether both have the same bounds and counts, to the bit. Empty buckets and hints do not count.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    alike(a, b, |a, b| a.to_bits() == b.to_bits())
}

/// Whether both have the same bounds, and counts that are the `same`.
pub(crate) fn alike(a: &Histogram, b: &Histogram, same: fn(f64, f64) -> bool) -> bool {
    let side = |a: &Buckets, b: &Buckets| {
        let mut a = indexed(a).filter(|(_, count)| *count != 0.0);
        let mut b = indexed(b).filter(|(_, count)| *count != 0.0);
        loop {
            match (a.next(), b.next()) {
                (None, None) => return true,
                (Some((i, a)), Some((j, b))) if i == j && same(a, b) => {}
                _ => return false,
            }
        }
    };
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && same(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && a.custom_bounds == b.custom_bounds
        && side(&a.positive, &b.positive)
        && side(&a.negative, &b.negative)
}
