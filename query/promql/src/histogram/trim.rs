//! `histogram </ bound` and `histogram >/ bound`: the observations below or above a bound, those of the bucket around it in part.

use weir_model::histogram::Histogram;

use super::bucket::{Bucket, is_custom, negative, positive, rolled, zero};
use super::quantile::fraction_below;

/// Which observations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// `</`
    Below,
    /// `>/`
    Above,
}

/// The observations on one side of `bound`. Count and sum are estimated anew where something was cut off, else they stay.
pub(crate) fn trimmed(histogram: &Histogram, bound: f64, trim: Trim) -> Histogram {
    let mut cut = Cut { bound, trim, linear: is_custom(histogram), count: 0.0, sum: 0.0, changed: false };
    let above: Vec<(i64, f64)> = positive(histogram).map(|(index, bucket)| (index, cut.keep(&bucket, 1.0))).collect();
    let below: Vec<(i64, f64)> = negative(histogram).map(|(index, bucket)| (index, cut.keep(&bucket, -1.0))).collect();
    let zero_count = if histogram.zero_count > 0.0 { cut.keep_zero(histogram) } else { histogram.zero_count };
    if !cut.changed {
        return Histogram { is_integer: false, ..histogram.clone() };
    }
    Histogram {
        is_integer: false,
        count: cut.count,
        sum: cut.sum,
        zero_count,
        positive: rolled(above),
        negative: rolled(below),
        custom_bounds: histogram.custom_bounds.clone(),
        ..*histogram
    }
}

/// A cut under way.
struct Cut {
    bound: f64,
    trim: Trim,
    linear: bool,
    /// What has been kept so far.
    count: f64,
    sum: f64,
    changed: bool,
}

impl Cut {
    /// What a bucket keeps; `sign` is that of its observations.
    fn keep(&mut self, bucket: &Bucket, sign: f64) -> f64 {
        if bucket.count == 0.0 {
            return 0.0;
        }
        let (inside, outside) = match self.trim {
            Trim::Below => (bucket.upper <= self.bound, bucket.lower >= self.bound),
            Trim::Above => (bucket.lower >= self.bound, bucket.upper <= self.bound),
        };
        let outside = outside || self.bound.is_nan();
        let (count, middle) = match () {
            () if inside => (bucket.count, self.middle(bucket.lower, bucket.upper, sign)),
            () if outside => (0.0, 0.0),
            () if bucket.lower.is_infinite() || bucket.upper.is_infinite() => self.part_of_infinite(bucket),
            () => {
                let below = bucket.count * fraction_below(bucket, self.bound, self.linear);
                match self.trim {
                    Trim::Below => (below, self.middle(bucket.lower, self.bound, sign)),
                    Trim::Above => (bucket.count - below, self.middle(self.bound, bucket.upper, sign)),
                }
            }
        };
        self.take(count, middle, bucket.count)
    }

    fn take(&mut self, count: f64, middle: f64, before: f64) -> f64 {
        self.count += count;
        self.sum += middle * count;
        self.changed |= count != before;
        count
    }

    /// What is kept of a bucket that ends at infinity with the bound inside, and where its middle is taken to lie.
    fn part_of_infinite(&self, bucket: &Bucket) -> (f64, f64) {
        let (lower, upper, bound, count) = (bucket.lower, bucket.upper, self.bound, bucket.count);
        let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
        if lower != f64::NEG_INFINITY {
            // Nothing says how far up observations lie: all at the bound.
            return if self.trim == Trim::Above { (count, bound) } else { (0.0, finite(lower)) };
        }
        // Without a lower bound, observations of a bucket that ends above zero are taken to be positive.
        let from_zero = upper > 0.0 && upper != f64::INFINITY;
        match self.trim {
            Trim::Below if bound > 0.0 && from_zero => (count * bound / upper, bound / 2.0),
            Trim::Below if upper <= 0.0 => (count, bound),
            Trim::Above if bound >= 0.0 && from_zero => (count * (1.0 - bound / upper), f64::midpoint(bound, upper)),
            _ => (0.0, finite(upper)),
        }
    }

    /// What the zero bucket keeps, linear between its bounds; where all other observations lie on one side of zero, so do its own.
    fn keep_zero(&mut self, histogram: &Histogram) -> f64 {
        let bucket = zero(histogram);
        let any = |counts: &[f64]| counts.iter().any(|count| *count != 0.0);
        let (has_negative, has_positive) = (any(&histogram.negative.counts), any(&histogram.positive.counts));
        let lower = if has_positive && !has_negative { 0.0 } else { bucket.lower };
        let upper = if has_negative && !has_positive { 0.0 } else { bucket.upper };
        let (bound, width) = (self.bound, upper - lower);
        let (all, none) = match self.trim {
            Trim::Below => (bound >= upper && bound > lower, bound <= lower),
            Trim::Above => (bound <= lower, bound >= upper && bound > lower),
        };
        let (part, middle) = match self.trim {
            _ if all => (1.0, f64::midpoint(lower, upper)),
            _ if none => (0.0, 0.0),
            Trim::Below => ((bound - lower) / width, f64::midpoint(lower, bound)),
            Trim::Above => ((upper - bound) / width, f64::midpoint(bound, upper)),
        };
        self.take(bucket.count * part, middle, bucket.count)
    }

    /// Where the observations between two bounds are taken to lie.
    fn middle(&self, lower: f64, upper: f64, sign: f64) -> f64 {
        match () {
            () if lower.is_infinite() && upper.is_infinite() => 0.0,
            () if lower.is_infinite() && upper > 0.0 => upper / 2.0,
            () if lower.is_infinite() => upper,
            () if upper.is_infinite() => lower,
            () if self.linear => f64::midpoint(lower, upper),
            () => sign * (lower * upper).abs().sqrt(),
        }
    }
}
