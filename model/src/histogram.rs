//! Native histograms: one sample that is a whole distribution, as Prometheus has them since 3.0.
//!
//! Counts are absolute and stand in `f64`, as in every evaluation; those of an integer histogram are whole and exact up to 2^53.

use crate::memory::{allocation, shared};

/// The schema of histograms whose bounds are given one by one.
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;
/// Exponential schemas: a bucket's bound is `2^(2^-schema)` times the one before.
pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i8> = -4..=8;

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
    /// Memory behind an `Arc` of it.
    pub fn memory(&self) -> usize {
        let side = |side: &Buckets| allocation(side.spans.len() * size_of::<Span>()) + allocation(side.counts.len() * 8);
        shared(size_of::<Self>()) + side(&self.positive) + side(&self.negative) + allocation(self.custom_bounds.len() * 8)
    }
}
