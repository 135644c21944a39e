//! Native histograms: one sample that is a whole distribution, as Prometheus has them since 3.0.
//!
//! Counts are absolute and stand in `f64`, as in every evaluation; those of an integer histogram are whole and exact up to 2^53.

mod resolution;

use thiserror::Error;

pub use self::resolution::schema_of_factor;
use crate::memory::{allocation, shared};
use crate::metric::is_stale;

/// The schema of histograms whose bounds are given one by one.
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;
/// Exponential schemas: a bucket's bound is `2^(2^-schema)` times the one before.
pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i8> = -4..=8;

/// Buckets of one side, spans of one side and bounds of a histogram, at most: OTLP's SDKs send 160 of a side, and a histogram of so
/// many still fits a bus record of 1 MiB.
pub const BUCKETS_MAX: usize = 1 << 14;
/// Above it not all integers are an `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Why a histogram is none.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum HistogramError {
    #[error("histogram schema {0} is unknown: {first} to {last} and {CUSTOM_BUCKETS_SCHEMA} are known", first = EXPONENTIAL_SCHEMAS.start(), last = EXPONENTIAL_SCHEMAS.end())]
    Schema(i8),
    #[error("histogram has {count} {what}, at most {BUCKETS_MAX} are taken")]
    TooMany { what: &'static str, count: usize },
    #[error("{side} spans of the histogram have {spans} buckets, {counts} counts are there")]
    Spans { side: &'static str, spans: u64, counts: usize },
    #[error("histogram has {spans} {side} spans for {counts} buckets, at most {most} are taken", most = spans_max(*counts))]
    SpansTooMany { side: &'static str, spans: usize, counts: usize },
    #[error("{side} span {at} of the histogram has offset {offset}: only the first one's may be negative")]
    Offset { side: &'static str, at: usize, offset: i32 },
    #[error("{side} spans of the histogram end past bucket {}", i32::MAX)]
    Index { side: &'static str },
    #[error("custom bounds of the histogram are not finite and ascending: {bound} at {at}")]
    Bounds { at: usize, bound: f64 },
    #[error("histogram has {buckets} buckets for {bounds} custom bounds")]
    BoundsTooFew { buckets: u64, bounds: usize },
    #[error("histogram of custom buckets has {0}")]
    NotOfCustom(&'static str),
    #[error("histogram of schema {0} has custom bounds")]
    BoundsOfExponential(i8),
    #[error("{what} of the histogram is {value}")]
    Count { what: &'static str, value: f64 },
    #[error("histogram has {buckets} buckets at schema {schema}, above the limit of {limit}")]
    OverLimit { buckets: usize, schema: i8, limit: usize },
    #[error("buckets of the histogram have {buckets} observations, its count is {count}")]
    Sum { buckets: f64, count: f64 },
}

/// A sample that is a distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// One of [`EXPONENTIAL_SCHEMAS`], or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i8,
    /// Whether counters began anew before it.
    pub reset: ResetHint,
    /// Whether it came with integer counts, and is given back so.
    pub is_integer: bool,
    /// Observations, those of NaN included. The bits of [`crate::metric::STALE_NAN`] in `sum` make the sample a staleness marker.
    pub count: f64,
    /// Of all observations.
    pub sum: f64,
    /// Width of the zero bucket, which has what lies within `±zero_threshold`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Above the zero bucket; of custom buckets, all.
    pub positive: Buckets,
    /// Below the zero bucket, by absolute value.
    pub negative: Buckets,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_bounds: Vec<f64>,
}

/// What a writer knows about a reset of a histogram's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHint {
    /// It has to be found out by comparing.
    #[default]
    Unknown = 0,
    /// They began anew.
    Reset = 1,
    /// They went on.
    NotReset = 2,
    /// They are no counters: a gauge histogram.
    Gauge = 3,
}

/// Buckets of one side: runs of neighbours, and the count of each bucket in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    pub spans: Vec<Span>,
    /// As many as the spans' lengths together.
    pub counts: Vec<f64>,
}

/// Neighbouring buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of the first span, the index of its first bucket; of all others, how many buckets lie between it and the span before.
    pub offset: i32,
    /// Buckets in it.
    pub length: u32,
}

impl Histogram {
    /// Without an observation.
    pub fn empty(schema: i8) -> Self {
        Self {
            schema,
            reset: ResetHint::Unknown,
            is_integer: false,
            count: 0.0,
            sum: 0.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
        }
    }

    /// Whether both have the same buckets and kind of counts, to the bit.
    pub fn is_laid_out_as(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.is_integer == other.is_integer
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive.spans == other.positive.spans
            && self.negative.spans == other.negative.spans
            && self.custom_bounds.iter().map(|bound| bound.to_bits()).eq(other.custom_bounds.iter().map(|bound| bound.to_bits()))
    }

    /// Memory behind an `Arc` of it.
    pub fn memory(&self) -> usize {
        let side = |side: &Buckets| allocation(side.spans.len() * size_of::<Span>()) + allocation(side.counts.len() * 8);
        shared(size_of::<Self>()) + side(&self.positive) + side(&self.negative) + allocation(self.custom_bounds.len() * 8)
    }

    /// Whether it is a staleness marker.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Whether schema, spans, bounds and numbers of counts fit each other, whatever the counts: what can be sent and stored.
    pub fn check_shape(&self) -> Result<(), HistogramError> {
        let sides = [("positive", &self.positive), ("negative", &self.negative)];
        for (side, buckets) in sides {
            buckets.check_shape(side)?;
        }
        let bounds = self.custom_bounds.len();
        check_count("custom bounds", bounds)?;
        if EXPONENTIAL_SCHEMAS.contains(&self.schema) {
            return if bounds == 0 { Ok(()) } else { Err(HistogramError::BoundsOfExponential(self.schema)) };
        }
        if self.schema != CUSTOM_BUCKETS_SCHEMA {
            return Err(HistogramError::Schema(self.schema));
        }
        let ascends = |at: usize| at == 0 || self.custom_bounds[at - 1] < self.custom_bounds[at];
        if let Some(at) = (0..bounds).find(|at| !self.custom_bounds[*at].is_finite() || !ascends(*at)) {
            return Err(HistogramError::Bounds { at, bound: self.custom_bounds[at] });
        }
        if let Some(first) = self.positive.spans.first().filter(|first| first.offset < 0) {
            return Err(HistogramError::Offset { side: "positive", at: 0, offset: first.offset });
        }
        let buckets = self.positive.extent() as u64;
        if buckets > bounds as u64 + 1 {
            return Err(HistogramError::BoundsTooFew { buckets, bounds });
        }
        let negative = !self.negative.spans.is_empty();
        let zero = self.zero_count != 0.0 || self.zero_threshold != 0.0;
        match (negative, zero) {
            (true, _) => Err(HistogramError::NotOfCustom("negative buckets")),
            (_, true) => Err(HistogramError::NotOfCustom("a zero bucket")),
            _ => Ok(()),
        }
    }

    /// What Prometheus checks of a histogram before it takes one: its shape, that no count is negative or, of integers, broken, and
    /// that the buckets of an integer histogram have as many observations as it counts. Where its sum is NaN there may be fewer,
    /// since an observation of NaN lies in no bucket. Counts of floats need not add up, as rounding may have moved them.
    /// Also that most spans are not empty: those say nothing, and take memory in each histogram that is read.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.check_shape()?;
        for (side, own) in [("positive", &self.positive), ("negative", &self.negative)] {
            let (spans, counts) = (own.spans.len(), own.counts.len());
            if spans > spans_max(counts) {
                return Err(HistogramError::SpansTooMany { side, spans, counts });
            }
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err(HistogramError::Count { what: "zero threshold", value: self.zero_threshold });
        }
        let refuses = |value: f64| value < 0.0 || self.is_integer && (value.fract() != 0.0 || !value.is_finite());
        let check = |what: &'static str, values: &[f64]| match values.iter().find(|value| refuses(**value)) {
            Some(value) => Err(HistogramError::Count { what, value: *value }),
            None => Ok(()),
        };
        check("count", &[self.count])?;
        check("count of the zero bucket", &[self.zero_count])?;
        check("count of a positive bucket", &self.positive.counts)?;
        check("count of a negative bucket", &self.negative.counts)?;
        let buckets = self.observations();
        let fits = if self.sum.is_nan() { buckets <= self.count } else { buckets == self.count };
        if !self.is_integer || fits || buckets.max(self.count) >= WHOLE_MAX {
            return Ok(());
        }
        Err(HistogramError::Sum { buckets, count: self.count })
    }

    /// Observations of all its buckets: those that are counted, less those of NaN.
    pub fn observations(&self) -> f64 {
        self.zero_count + self.positive.counts.iter().chain(&self.negative.counts).sum::<f64>()
    }

    /// As `==`, but NaN equals the same NaN and zeros have signs: floats compare by their bits.
    pub fn same_bits(&self, other: &Self) -> bool {
        let one = |of: &Self| [of.count, of.sum, of.zero_threshold, of.zero_count].map(f64::to_bits);
        let kind = |of: &Self| (of.schema, of.reset, of.is_integer);
        kind(self) == kind(other)
            && one(self) == one(other)
            && self.positive.same_bits(&other.positive)
            && self.negative.same_bits(&other.negative)
            && same_bits(&self.custom_bounds, &other.custom_bounds)
    }
}

impl Buckets {
    /// From bucket 0 (or the first one's offset, where that is negative) to the last bucket of the spans.
    fn extent(&self) -> i64 {
        self.spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum()
    }

    fn check_shape(&self, side: &'static str) -> Result<(), HistogramError> {
        check_count("spans", self.spans.len())?;
        check_count("buckets", self.counts.len())?;
        if let Some(at) = (1..self.spans.len()).find(|at| self.spans[*at].offset < 0) {
            return Err(HistogramError::Offset { side, at, offset: self.spans[at].offset });
        }
        let spans = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if spans != self.counts.len() as u64 {
            return Err(HistogramError::Spans { side, spans, counts: self.counts.len() });
        }
        if self.extent() > i64::from(i32::MAX) { Err(HistogramError::Index { side }) } else { Ok(()) }
    }

    fn same_bits(&self, other: &Self) -> bool {
        self.spans == other.spans && same_bits(&self.counts, &other.counts)
    }
}

/// Spans of one side that are taken for so many buckets: one for each, an empty one beside it, and a few more.
fn spans_max(counts: usize) -> usize {
    2 * counts + 4
}

fn check_count(what: &'static str, count: usize) -> Result<(), HistogramError> {
    if count > BUCKETS_MAX { Err(HistogramError::TooMany { what, count }) } else { Ok(()) }
}

fn same_bits(one: &[f64], other: &[f64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.to_bits() == other.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::STALE_NAN;

    fn side(spans: &[(i32, u32)], counts: &[f64]) -> Buckets {
        let spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        Buckets { spans, counts: counts.to_vec() }
    }

    fn exponential() -> Histogram {
        Histogram {
            schema: 3,
            reset: ResetHint::Unknown,
            is_integer: true,
            count: 10.0,
            sum: 4.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive: side(&[(-2, 2), (3, 1)], &[1.0, 2.0, 3.0]),
            negative: side(&[(0, 1)], &[3.0]),
            custom_bounds: Vec::new(),
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: side(&[(0, 2), (1, 1)], &[1.0, 2.0, 3.0]),
            negative: Buckets::default(),
            custom_bounds: vec![0.1, 1.0, 10.0],
            ..exponential()
        }
    }

    /// Changes a good one, and compares what is said of it with the sentence; "" is nothing.
    fn check(good: Histogram, change: impl Fn(&mut Histogram), expected: &str) {
        let mut changed = good;
        change(&mut changed);
        let said = changed.validate().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_no_histogram_may_have_is_told() {
        let exponential = |change: fn(&mut Histogram), expected| check(exponential(), change, expected);
        exponential(|_| {}, "");
        exponential(|own| own.schema = 9, "histogram schema 9 is unknown: -4 to 8 and -53 are known");
        exponential(|own| own.positive.spans[1].length = 2, "positive spans of the histogram have 4 buckets, 3 counts are there");
        exponential(
            |own| own.negative.spans[0].length = u32::MAX,
            "negative spans of the histogram have 4294967295 buckets, 1 counts are there",
        );
        exponential(
            |own| own.positive.spans[1].offset = -1,
            "positive span 1 of the histogram has offset -1: only the first one's may be negative",
        );
        exponential(|own| own.positive.spans[1].offset = i32::MAX, "positive spans of the histogram end past bucket 2147483647");
        exponential(
            |own| own.negative = side(&[(0, 20_000)], &[0.0; 20_000]),
            "histogram has 20000 buckets, at most 16384 are taken",
        );
        exponential(|own| own.negative.spans.extend([Span { offset: 1, length: 0 }; 5]), "");
        exponential(
            |own| own.negative.spans.extend([Span { offset: 1, length: 0 }; 6]),
            "histogram has 7 negative spans for 1 buckets, at most 6 are taken",
        );
        exponential(|own| own.custom_bounds = vec![1.0], "histogram of schema 3 has custom bounds");
        exponential(|own| own.positive.counts[1] = -2.0, "count of a positive bucket of the histogram is -2");
        exponential(|own| own.zero_count = 0.5, "count of the zero bucket of the histogram is 0.5");
        exponential(|own| own.count = f64::NAN, "count of the histogram is NaN");
        exponential(|own| own.zero_threshold = -1.0, "zero threshold of the histogram is -1");
        exponential(|own| own.count = 11.0, "buckets of the histogram have 10 observations, its count is 11");
        exponential(|own| (own.count, own.sum) = (11.0, f64::NAN), "");
        exponential(
            |own| (own.count, own.sum) = (9.0, f64::NAN),
            "buckets of the histogram have 10 observations, its count is 9",
        );
        exponential(|own| (own.is_integer, own.count, own.positive.counts[0]) = (false, 9.5, 0.25), "");
        exponential(
            |own| {
                *own = Histogram {
                    count: 0.0,
                    zero_count: 0.0,
                    sum: STALE_NAN,
                    positive: Buckets::default(),
                    negative: Buckets::default(),
                    ..own.clone()
                }
            },
            "",
        );
    }

    #[test]
    fn custom_buckets_lie_between_their_bounds() {
        let custom = |change: fn(&mut Histogram), expected| check(custom(), change, expected);
        custom(|_| {}, "");
        custom(|own| own.custom_bounds[1] = 0.1, "custom bounds of the histogram are not finite and ascending: 0.1 at 1");
        custom(
            |own| own.custom_bounds[2] = f64::INFINITY,
            "custom bounds of the histogram are not finite and ascending: inf at 2",
        );
        custom(|own| own.custom_bounds[0] = f64::NAN, "custom bounds of the histogram are not finite and ascending: NaN at 0");
        custom(|own| own.custom_bounds.truncate(2), "histogram has 4 buckets for 2 custom bounds");
        custom(
            |own| own.positive.spans[0].offset = -1,
            "positive span 0 of the histogram has offset -1: only the first one's may be negative",
        );
        custom(|own| own.negative = side(&[(0, 1)], &[0.0]), "histogram of custom buckets has negative buckets");
        custom(|own| own.zero_threshold = 0.5, "histogram of custom buckets has a zero bucket");
    }

    #[test]
    fn floats_are_the_same_by_their_bits() {
        let stale = |bits: u64| Histogram { sum: f64::from_bits(bits), ..exponential() };
        assert!(stale(0x7ff0_0000_0000_0002).same_bits(&stale(0x7ff0_0000_0000_0002)));
        assert!(stale(0x7ff0_0000_0000_0002).is_stale() && !exponential().is_stale());
        assert!(!stale(0x7ff0_0000_0000_0002).same_bits(&stale(0x7ff0_0000_0000_0003)));
        assert!(!Histogram { zero_count: -0.0, ..exponential() }.same_bits(&Histogram { zero_count: 0.0, ..exponential() }));
        assert!(!custom().same_bits(&Histogram { custom_bounds: vec![0.1, 1.0, 10.5], ..custom() }));
    }
}
