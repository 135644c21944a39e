//! Buckets: their bounds, and spans as lists of indexes and back.

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    /// Whether an observation of just `lower` is in it.
    pub lower_inclusive: bool,
    /// Whether an observation of just `upper` is in it.
    pub upper_inclusive: bool,
    pub count: f64,
}

/// Whether the bounds are given one by one.
pub(crate) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_BUCKETS_SCHEMA
}

/// Index and count of each bucket of a side, ascending. Ends with the counts, whatever the spans promise.
pub(super) fn indexed(side: &Buckets) -> impl Iterator<Item = (i64, f64)> + '_ {
    let indexes = side.spans.iter().enumerate().scan(0_i64, |next, (i, span)| {
        // Only the first span may begin below zero; a later one would go back into the one before.
        let gap = i64::from(span.offset);
        let start = *next + if i == 0 { gap } else { gap.max(0) };
        *next = start + i64::from(span.length);
        Some(start..*next)
    });
    indexes.flatten().zip(side.counts.iter().copied())
}

/// Spans and counts of buckets whose indexes ascend; empty buckets are left out.
pub(super) fn rolled(buckets: impl IntoIterator<Item = (i64, f64)>) -> Buckets {
    let mut side = Buckets::default();
    let mut next = 0_i64;
    for (index, count) in buckets.into_iter().filter(|(_, count)| *count != 0.0) {
        match side.spans.last_mut() {
            Some(last) if index == next => last.length += 1,
            _ => {
                // A gap beyond what a span can say lies where every bound is infinite.
                let offset = (index - next).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
                side.spans.push(Span { offset, length: 1 });
            }
        }
        side.counts.push(count);
        next = index + 1;
    }
    side
}

/// 2 to the power of 1/2, 1/4 … 1/256. The first is one below the nearest number, as Prometheus has it.
const ROOTS: [f64; 8] = [
    std::f64::consts::SQRT_2.next_down(),
    1.189207115002721,
    1.0905077326652577,
    1.0442737824274138,
    1.0218971486541166,
    1.0108892860517005,
    1.0054299011128027,
    1.0027112750502025,
];

/// The bounds of schema 8 from 1 to 2, among which are those of the coarser schemas. They are not the nearest numbers but, to the
/// bit, Prometheus' table: each bound that a schema has of its own is the one before it times the schema's root.
static BOUNDS: [f64; 256] = {
    let (mut bounds, mut schema) = ([1.0; 256], 0);
    while schema < ROOTS.len() {
        let step = 128 >> schema;
        let mut at = step;
        while at < bounds.len() {
            bounds[at] = bounds[at - step] * ROOTS[schema];
            at += 2 * step;
        }
        schema += 1;
    }
    bounds
};

/// The upper bound of a bucket of an exponential schema, which is the lower one of the next.
pub(super) fn exponential_bound(schema: i8, index: i64) -> f64 {
    if let 1..=8 = schema {
        let within = (index & ((1 << schema) - 1)) as usize;
        return match (within, index >> schema) {
            (0, 1024) => f64::MAX,
            (within, power) => BOUNDS[within << (8 - schema)] * (power as f64).exp2(),
        };
    }
    let exponent = index as f64 * 2_f64.powi(-i32::from(schema));
    // The last bucket ends with the greatest number, so that what follows holds infinity alone.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

/// The upper bound of a bucket with bounds given one by one.
pub(super) fn custom_bound(bounds: &[f64], index: i64) -> f64 {
    match usize::try_from(index) {
        Ok(index) => bounds.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// The buckets above the zero bucket, or all custom ones, ascending.
pub(super) fn positive(histogram: &Histogram) -> impl Iterator<Item = (i64, Bucket)> + '_ {
    indexed(&histogram.positive).map(move |(index, count)| {
        let bucket = if is_custom(histogram) {
            let bound = |index| custom_bound(&histogram.custom_bounds, index);
            let lower_inclusive = index == 0;
            Bucket { lower: bound(index - 1), upper: bound(index), lower_inclusive, upper_inclusive: true, count }
        } else {
            let bound = |index| exponential_bound(histogram.schema, index);
            Bucket { lower: bound(index - 1), upper: bound(index), lower_inclusive: false, upper_inclusive: true, count }
        };
        (index, bucket)
    })
}

/// The buckets below the zero bucket, from the zero bucket on downwards.
pub(super) fn negative(histogram: &Histogram) -> impl Iterator<Item = (i64, Bucket)> + '_ {
    let custom = is_custom(histogram);
    indexed(&histogram.negative).filter(move |_| !custom).map(move |(index, count)| {
        let bound = |index| -exponential_bound(histogram.schema, index);
        (index, Bucket { lower: bound(index), upper: bound(index - 1), lower_inclusive: true, upper_inclusive: false, count })
    })
}

/// The zero bucket.
pub(super) fn zero(histogram: &Histogram) -> Bucket {
    let (lower, upper) = (-histogram.zero_threshold, histogram.zero_threshold);
    Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: histogram.zero_count }
}

/// All buckets, ascending; of those that reach into the zero bucket, the part outside.
pub fn all_buckets(histogram: &Histogram) -> Vec<Bucket> {
    let threshold = histogram.zero_threshold;
    let mut buckets: Vec<Bucket> = negative(histogram).map(|(_, bucket)| bucket).collect();
    buckets.reverse();
    buckets.iter_mut().filter(|bucket| bucket.upper > -threshold).for_each(|bucket| bucket.upper = -threshold);
    if histogram.zero_count > 0.0 {
        buckets.push(zero(histogram));
    }
    buckets.extend(positive(histogram).map(|(_, bucket)| match bucket.lower {
        lower if lower > 0.0 && lower < threshold => Bucket { lower: threshold, ..bucket },
        _ => bucket,
    }));
    buckets
}
