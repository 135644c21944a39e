//! Sums, differences and means of histograms, each count compensated as [`Sum`] does it.

use weir_model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint};

use super::bucket::{custom_bound, exponential_bound, indexed, rolled};
use crate::functions::sums::Sum;

/// One histogram has exponential buckets, the other its own bounds: there is no sum of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What was done to make two histograms one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Only the bounds that both had are left.
    pub bounds: bool,
    /// One said that counters began anew, the other that they did not.
    pub resets_collide: bool,
}

/// A sum of histograms under way.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    schema: i8,
    reset: ResetHint,
    zero_threshold: f64,
    count: Sum,
    sum: Sum,
    zero_count: Sum,
    /// By index, ascending.
    positive: Side,
    negative: Side,
    custom_bounds: Vec<f64>,
}

type Side = Vec<(i64, Sum)>;

impl HistogramSum {
    /// Of one histogram.
    pub fn new(histogram: &Histogram) -> Self {
        let side = |side| indexed(side).map(|(index, count)| (index, single(count))).collect();
        Self {
            schema: histogram.schema,
            reset: histogram.reset,
            zero_threshold: threshold(histogram),
            count: single(histogram.count),
            sum: single(histogram.sum),
            zero_count: single(histogram.zero_count),
            positive: side(&histogram.positive),
            negative: side(&histogram.negative),
            custom_bounds: histogram.custom_bounds.clone(),
        }
    }

    /// Adds `other`; on an error nothing has changed.
    pub fn add(&mut self, other: &Histogram) -> Result<Merged, Incompatible> {
        self.add_times(other, 1.0)
    }

    /// Takes `other` away; on an error nothing has changed.
    pub fn subtract(&mut self, other: &Histogram) -> Result<Merged, Incompatible> {
        self.add_times(other, -1.0)
    }

    fn add_times(&mut self, other: &Histogram, factor: f64) -> Result<Merged, Incompatible> {
        let custom = self.schema == CUSTOM_BUCKETS_SCHEMA;
        if custom != (other.schema == CUSTOM_BUCKETS_SCHEMA) {
            return Err(Incompatible);
        }
        let (reset, resets_collide) = merged_hint(self.reset, other.reset);
        self.reset = reset;
        self.count = self.count.plus(other.count * factor);
        self.sum = self.sum.plus(other.sum * factor);
        let bounds = custom && self.custom_bounds != other.custom_bounds;
        if custom {
            self.add_custom(other, factor, bounds);
        } else {
            self.add_exponential(other, factor);
        }
        Ok(Merged { bounds, resets_collide })
    }

    fn add_custom(&mut self, other: &Histogram, factor: f64, reconcile: bool) {
        let buckets = indexed(&other.positive).map(|(index, count)| (index, count * factor));
        if !reconcile {
            return merge(&mut self.positive, buckets);
        }
        let shared = shared_bounds(&self.custom_bounds, &other.custom_bounds);
        let buckets = buckets.map(|(index, count)| (target(&shared, custom_bound(&other.custom_bounds, index)), count));
        let mut side = Side::new();
        for (index, sum) in &self.positive {
            let index = target(&shared, custom_bound(&self.custom_bounds, *index));
            merge(&mut side, [(index, sum.value), (index, sum.compensation)].into_iter());
        }
        merge(&mut side, buckets);
        (self.positive, self.custom_bounds) = (side, shared);
    }

    fn add_exponential(&mut self, other: &Histogram, factor: f64) {
        let zero_count = self.reconcile_zero(other);
        self.zero_count = self.zero_count.plus(zero_count * factor);
        self.coarsen(other.schema);
        let schema = self.schema;
        let limit = self.zero_threshold;
        for (own, side) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            // What lies in the zero bucket has been counted there.
            let outside = indexed(side).filter(|(index, _)| exponential_bound(other.schema, *index) > limit);
            merge(own, outside.map(|(index, count)| (coarser(index, other.schema, schema), count * factor)));
        }
    }

    /// Brings the buckets to `schema`, unless they are that coarse already.
    pub fn coarsen(&mut self, schema: i8) {
        if schema >= self.schema {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            coarsen(side, self.schema, schema);
        }
        self.schema = schema;
    }

    /// Widens the zero bucket until both have the same; answers the count of the other's.
    fn reconcile_zero(&mut self, other: &Histogram) -> f64 {
        let (mut zero_count, mut width) = (other.zero_count, threshold(other));
        while width != self.zero_threshold {
            if self.zero_threshold > width {
                (zero_count, width) = widened(other, self.zero_threshold);
            }
            if width > self.zero_threshold {
                let totals = |side: &Side| side.iter().map(|(index, sum)| (*index, sum.total())).collect::<Vec<_>>();
                let (positive, negative) = (totals(&self.positive), totals(&self.negative));
                let (count, reached) = widen(self.zero_count.total(), self.schema, [&positive, &negative], width);
                (self.zero_count, self.zero_threshold) = (single(count), reached);
                let schema = self.schema;
                for side in [&mut self.positive, &mut self.negative] {
                    side.retain(|(index, _)| exponential_bound(schema, index - 1) >= reached);
                }
            }
        }
        zero_count
    }

    /// Everything times `factor`.
    pub fn scale(&mut self, factor: f64) {
        let all = [&mut self.count, &mut self.sum, &mut self.zero_count].into_iter();
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, sum)| sum);
        all.chain(buckets).for_each(|sum| *sum = sum.times(factor));
    }

    /// Everything by `divisor`, which is not zero.
    fn divide(&mut self, divisor: f64) {
        let all = [&mut self.count, &mut self.sum, &mut self.zero_count].into_iter();
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, sum)| sum);
        all.chain(buckets).for_each(|sum| {
            *sum = Sum { value: sum.value / divisor, compensation: sum.compensation / divisor };
        });
    }

    /// Observations so far.
    pub fn observations(&self) -> f64 {
        self.count.total()
    }

    fn overflows(&self) -> bool {
        let all = [&self.count, &self.sum, &self.zero_count].into_iter();
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, sum)| sum);
        all.chain(buckets).any(|sum| sum.value.is_infinite())
    }

    /// About what it takes.
    pub fn bytes(&self) -> u64 {
        let buckets = (self.positive.capacity() + self.negative.capacity()) * size_of::<(i64, Sum)>();
        (size_of::<Self>() + buckets + self.custom_bounds.len() * 8) as u64
    }

    /// The sum, with `reset` as its hint if one is given.
    pub fn total(&self, reset: Option<ResetHint>) -> Histogram {
        let side = |side: &Side| rolled(side.iter().map(|(index, sum)| (*index, sum.total())));
        Histogram {
            schema: self.schema,
            reset: reset.unwrap_or(self.reset),
            is_integer: false,
            count: self.count.total(),
            sum: self.sum.total(),
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.total(),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

/// A running mean: the plain sum divided as long as that does not overflow, an incremental mean from there on.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    /// Of one histogram.
    pub fn new(histogram: &Histogram) -> Self {
        Self { sum: HistogramSum::new(histogram), count: 1.0, incremental: false }
    }

    /// Adds one to those averaged.
    pub fn add(&mut self, histogram: &Histogram) -> Result<Merged, Incompatible> {
        self.count += 1.0;
        if !self.incremental {
            let before = self.sum.clone();
            let merged = self.sum.add(histogram)?;
            if !self.sum.overflows() {
                return Ok(merged);
            }
            self.incremental = true;
            self.sum = before;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.scale((self.count - 1.0) / self.count);
        self.sum.add_times(&super::divided(histogram, self.count), 1.0)
    }

    /// About what it takes.
    pub fn bytes(&self) -> u64 {
        self.sum.bytes() + 16
    }

    /// The mean.
    pub fn mean(&self) -> Histogram {
        let mut sum = self.sum.clone();
        if !self.incremental {
            sum.divide(self.count);
        }
        sum.total(None)
    }
}

fn single(value: f64) -> Sum {
    Sum { value, compensation: 0.0 }
}

/// The zero bucket's width; one that is no number is none.
fn threshold(histogram: &Histogram) -> f64 {
    if histogram.zero_threshold.is_nan() { 0.0 } else { histogram.zero_threshold }
}

/// The hint of a sum, and whether those of its parts contradict each other.
fn merged_hint(own: ResetHint, other: ResetHint) -> (ResetHint, bool) {
    match (own, other) {
        (own, other) if own == other => (own, false),
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
        (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
        _ => (ResetHint::Unknown, true),
    }
}

/// Adds counts whose indexes ascend.
fn merge(own: &mut Side, other: impl Iterator<Item = (i64, f64)>) {
    let (mut at, mut fresh) = (0, Side::new());
    for (index, count) in other {
        while own.get(at).is_some_and(|(own, _)| *own < index) {
            at += 1;
        }
        let sum = match own.get_mut(at) {
            Some((own, sum)) if *own == index => Some(sum),
            _ => fresh.last_mut().filter(|(own, _)| *own == index).map(|(_, sum)| sum),
        };
        match sum {
            Some(sum) => *sum = sum.plus(count),
            None => fresh.push((index, single(count))),
        }
    }
    if !fresh.is_empty() {
        own.append(&mut fresh);
        own.sort_by_key(|(index, _)| *index);
    }
}

/// The index that a bucket falls into in a coarser schema.
pub(super) fn coarser(index: i64, from: i8, to: i8) -> i64 {
    let steps = i32::from(from) - i32::from(to);
    if steps <= 0 { index } else { ((index - 1) >> steps.min(62)) + 1 }
}

fn coarsen(side: &mut Side, from: i8, to: i8) {
    let mut kept: Side = Vec::with_capacity(side.len());
    for (index, sum) in side.iter() {
        let index = coarser(*index, from, to);
        match kept.last_mut() {
            Some((last, own)) if *last == index => *own = own.plus(sum.value).plus(sum.compensation),
            _ => kept.push((index, *sum)),
        }
    }
    *side = kept;
}

/// The zero bucket's count when it is at least `width` wide, and its width: no bucket is split.
pub(super) fn widened(histogram: &Histogram, width: f64) -> (f64, f64) {
    let (positive, negative): (Vec<_>, Vec<_>) = (indexed(&histogram.positive).collect(), indexed(&histogram.negative).collect());
    widen(histogram.zero_count, histogram.schema, [&positive, &negative], width)
}

fn widen(zero_count: f64, schema: i8, sides: [&[(i64, f64)]; 2], mut width: f64) -> (f64, f64) {
    'again: loop {
        let mut count = zero_count;
        for side in sides {
            for (index, own) in side {
                if exponential_bound(schema, index - 1) >= width {
                    break;
                }
                count += own;
                let upper = exponential_bound(schema, *index);
                if upper > width {
                    if *own != 0.0 {
                        width = upper;
                        continue 'again;
                    }
                    break;
                }
            }
        }
        return (count, width);
    }
}

/// The bounds that two ascending lists have in common.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut rest = b.iter().peekable();
    let mut shared = Vec::new();
    for bound in a {
        while rest.next_if(|own| *own < bound).is_some() {}
        if rest.next_if(|own| *own == bound).is_some() {
            shared.push(*bound);
        }
    }
    shared
}

/// Which of the buckets between `bounds` has what lay below `upper`.
pub(super) fn target(bounds: &[f64], upper: f64) -> i64 {
    bounds.partition_point(|bound| *bound < upper) as i64
}
