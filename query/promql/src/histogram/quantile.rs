//! Estimates from buckets: quantiles, fractions, variance. Within an exponential bucket observations are taken to lie evenly on
//! a logarithmic scale, within the zero bucket and custom ones on a linear one.

use weir_model::histogram::Histogram;

use super::bucket::{Bucket, all_buckets, is_custom};
use crate::functions::sums::Sum;

/// What observations of NaN, which no bucket has, did to an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skew {
    /// It is NaN itself.
    Nan,
    /// It is higher, or without them.
    Skewed,
}

/// The quantile, and how observations of NaN show in it.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> (f64, Option<Skew>) {
    match q {
        q if q < 0.0 => return (f64::NEG_INFINITY, None),
        q if q > 1.0 => return (f64::INFINITY, None),
        q if q.is_nan() || histogram.count == 0.0 => return (f64::NAN, None),
        _ => {}
    }
    let has_nan = histogram.sum.is_nan();
    let from_below = has_nan || q < 0.5;
    let rank = histogram.count * if from_below { q } else { 1.0 - q };
    let mut buckets = all_buckets(histogram);
    if !from_below {
        buckets.reverse();
    }
    let nothing = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: true, upper_inclusive: true, count: 0.0 };
    let mut bucket = buckets.last().copied().unwrap_or(nothing);
    let (mut count, mut seen) = (0.0, buckets.len());
    for (i, own) in buckets.iter().enumerate().filter(|(_, own)| own.count != 0.0) {
        count += own.count;
        if count >= rank {
            (bucket, seen) = (*own, i + 1);
            break;
        }
    }
    let custom = is_custom(histogram);
    if custom && bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return (bucket.upper, None);
        }
        bucket.lower = 0.0;
    } else if custom && bucket.upper == f64::INFINITY {
        return (bucket.lower, None);
    } else if !custom && bucket.lower < 0.0 && bucket.upper > 0.0 {
        narrow_zero(histogram, &mut bucket);
    }
    count = count.min(histogram.count);
    if count < rank {
        return if has_nan { (f64::NAN, Some(Skew::Nan)) } else { (bucket.upper, None) };
    }
    let rest: f64 = buckets[seen..].iter().map(|bucket| bucket.count).sum();
    let skew = (has_nan && count + rest < histogram.count).then_some(Skew::Skewed);
    let within = if from_below { rank - (count - bucket.count) } else { count - rank };
    (interpolated(&bucket, within / bucket.count, custom), skew)
}

fn interpolated(bucket: &Bucket, fraction: f64, custom: bool) -> f64 {
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// Where all other observations lie on one side of zero, those of the zero bucket are taken to lie there as well.
fn narrow_zero(histogram: &Histogram, bucket: &mut Bucket) {
    match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The part of the observations between two bounds, and whether observations of NaN are not in it.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, Option<Skew>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let buckets = all_buckets(histogram);
    let (mut count, mut skew) = (histogram.count, None);
    if histogram.sum.is_nan() {
        count = buckets.iter().map(|bucket| bucket.count).sum();
        skew = (count < histogram.count).then_some(Skew::Skewed);
    }
    let rank = |value: f64| rank(value, &buckets, histogram).unwrap_or(count).min(count);
    ((rank(upper) - rank(lower)) / histogram.count, skew)
}

/// How many observations lie below `value`; `None` when all buckets do.
fn rank(value: f64, buckets: &[Bucket], histogram: &Histogram) -> Option<f64> {
    let custom = is_custom(histogram);
    let mut below = 0.0;
    for bucket in buckets {
        let mut bucket = *bucket;
        let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero {
            narrow_zero(histogram, &mut bucket);
        }
        if bucket.lower >= value {
            return Some(below);
        }
        if bucket.upper > value {
            let linear = custom || zero;
            return Some(match bucket.lower {
                f64::NEG_INFINITY if linear => bucket.count,
                _ => below + bucket.count * fraction_below(&bucket, value, linear),
            });
        }
        below += bucket.count;
    }
    None
}

/// The part of a bucket's observations that lie below `value`, which is within its bounds.
pub(super) fn fraction_below(bucket: &Bucket, value: f64, linear: bool) -> f64 {
    if linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let [lower, upper, at] = [bucket.lower, bucket.upper, value].map(|bound| bound.abs().log2());
    if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
}

/// The variance, with each bucket's observations in its middle.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let custom = is_custom(histogram);
    let squares = all_buckets(histogram).iter().filter(|bucket| bucket.count != 0.0).fold(Sum::default(), |sum, bucket| {
        let middle = match () {
            () if custom => (bucket.upper + bucket.lower) / 2.0,
            () if bucket.lower <= 0.0 && bucket.upper >= 0.0 => 0.0,
            () => (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper),
        };
        let delta = middle - mean;
        sum.plus(bucket.count * delta * delta)
    });
    squares.total() / histogram.count
}
