//! Exponential histograms: OTLP's as native histograms, and sums of them. Pure.
//!
//! Bucket `i` of OTLP lies above `base^i`, that of a native histogram below it: indexes differ by one. `min` and `max` have no place there.

use weir_model::histogram::{BUCKETS_MAX, Buckets, EXPONENTIAL_SCHEMAS, Histogram, ResetHint, Span};

use super::raw::RawPoint;

/// Of a point that says none: what Prometheus takes.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets between two others take less than a span of their own up to here, as in Prometheus.
const GAP_MAX: usize = 2;

/// Buckets of one side without gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dense {
    pub offset: i32,
    pub counts: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    /// Within [`EXPONENTIAL_SCHEMAS`].
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    count: u64,
    sum: f64,
    positive: Dense,
    negative: Dense,
}

impl Dense {
    /// At a scale that is lower by so much: each bucket is half of one, as often.
    fn coarser(&self, by: u32) -> Self {
        let index = |i: usize| (i64::from(self.offset) + i as i64) >> by.min(63);
        let first = index(0);
        let mut coarser = Self { offset: first as i32, counts: Vec::new() };
        for (i, count) in self.counts.iter().enumerate() {
            let at = (index(i) - first) as usize;
            coarser.counts.resize(coarser.counts.len().max(at + 1), 0);
            coarser.counts[at] = coarser.counts[at].saturating_add(*count);
        }
        coarser
    }

    fn add(&mut self, other: &Self) -> Result<(), String> {
        if self.counts.is_empty() || other.counts.is_empty() {
            if self.counts.is_empty() {
                self.clone_from(other);
            }
            return Ok(());
        }
        let end = |of: &Self| i64::from(of.offset) + of.counts.len() as i64;
        let first = self.offset.min(other.offset);
        let width = (end(self).max(end(other)) - i64::from(first)) as usize;
        if width > BUCKETS_MAX {
            return Err(format!("the sum of histograms has {width} buckets, above {BUCKETS_MAX}"));
        }
        let mut counts = vec![0_u64; width];
        for side in [&*self, other] {
            let at = (i64::from(side.offset) - i64::from(first)) as usize;
            counts[at..].iter_mut().zip(&side.counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
        *self = Self { offset: first, counts };
        Ok(())
    }

    fn to_buckets(&self) -> Buckets {
        let mut buckets = Buckets::default();
        // Of the last span: where the next bucket begins.
        let mut next = 0_i64;
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        for (i, count) in filled {
            let index = i64::from(self.offset) + i as i64 + 1;
            let gap = index - next;
            match buckets.spans.last_mut().filter(|_| gap <= GAP_MAX as i64) {
                Some(span) => {
                    span.length += gap as u32 + 1;
                    buckets.counts.extend(std::iter::repeat_n(0.0, gap as usize));
                }
                // An index beyond 32 bits is refused when the histogram is validated.
                None => {
                    buckets.spans.push(Span { offset: gap.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32, length: 1 })
                }
            }
            buckets.counts.push(*count as f64);
            next = index + 1;
        }
        buckets
    }
}

impl Exponential {
    pub fn of(point: &RawPoint<'_>) -> Result<Self, String> {
        let (lowest, highest) = (i32::from(*EXPONENTIAL_SCHEMAS.start()), i32::from(*EXPONENTIAL_SCHEMAS.end()));
        if point.scale < lowest {
            return Err(format!("an exponential histogram of scale {}, below {lowest}", point.scale));
        }
        let buckets = point.positive.counts.len().max(point.negative.counts.len());
        if buckets > BUCKETS_MAX {
            return Err(format!("an exponential histogram of {buckets} buckets, above {BUCKETS_MAX}"));
        }
        let read = Self {
            scale: point.scale,
            zero_threshold: if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD },
            zero_count: point.zero_count,
            count: point.count,
            sum: point.sum.unwrap_or(0.0),
            positive: point.positive.clone(),
            negative: point.negative.clone(),
        };
        Ok(read.at_most(highest))
    }

    fn at_most(self, scale: i32) -> Self {
        let by = self.scale.saturating_sub(scale).max(0).unsigned_abs();
        if by == 0 {
            return self;
        }
        let (positive, negative) = (self.positive.coarser(by), self.negative.coarser(by));
        Self { scale, positive, negative, ..self }
    }

    /// Errors, and adds nothing, where zero buckets differ or the sum has too many buckets.
    pub fn add(&mut self, other: &Self) -> Result<(), String> {
        if self.zero_threshold != other.zero_threshold {
            return Err("histograms of one series have different zero thresholds".into());
        }
        let scale = self.scale.min(other.scale);
        let (mut sum, other) = (self.clone().at_most(scale), other.clone().at_most(scale));
        sum.positive.add(&other.positive)?;
        sum.negative.add(&other.negative)?;
        sum.zero_count = sum.zero_count.saturating_add(other.zero_count);
        sum.count = sum.count.saturating_add(other.count);
        sum.sum += other.sum;
        *self = sum;
        Ok(())
    }

    pub fn buckets(&self) -> usize {
        self.positive.counts.len() + self.negative.counts.len()
    }

    pub fn histogram(&self, reset: ResetHint) -> Result<Histogram, String> {
        let histogram = Histogram {
            schema: self.scale as i8,
            reset,
            is_integer: true,
            count: self.count as f64,
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            positive: self.positive.to_buckets(),
            negative: self.negative.to_buckets(),
            custom_bounds: Vec::new(),
        };
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(offset: i32, counts: &[u64]) -> Dense {
        Dense { offset, counts: counts.to_vec() }
    }

    #[test]
    fn buckets_are_one_further_and_gaps_are_spans() {
        let check = |dense: Dense, spans: &[(i32, u32)], counts: &[f64]| {
            let buckets = dense.to_buckets();
            let seen: Vec<_> = buckets.spans.iter().map(|span| (span.offset, span.length)).collect();
            assert_eq!((&seen[..], &buckets.counts[..]), (spans, counts), "{dense:?}");
        };
        check(dense(-1, &[3, 4]), &[(0, 2)], &[3.0, 4.0]);
        check(dense(5, &[1, 0, 0, 2]), &[(6, 4)], &[1.0, 0.0, 0.0, 2.0]);
        check(dense(5, &[0, 1, 0, 0, 0, 2, 0]), &[(7, 1), (3, 1)], &[1.0, 2.0]);
        check(dense(-9, &[0, 0]), &[], &[]);
    }

    #[test]
    fn scales_above_eight_are_halved_down() {
        let point = |scale, positive| RawPoint { scale, count: 10, positive, ..RawPoint::default() };
        let read = Exponential::of(&point(10, dense(-3, &[1, 2, 3, 4]))).unwrap();
        // Of -3 … 0 in fours: -1 and 0.
        assert_eq!((read.scale, &read.positive), (8, &dense(-1, &[6, 4])));
        assert_eq!(read.histogram(ResetHint::Unknown).unwrap().positive.spans, [Span { offset: 0, length: 2 }]);
        let far = Exponential::of(&point(i32::MAX, dense(-1, &[1, 2]))).unwrap();
        assert_eq!(far.positive, dense(-1, &[1, 2]));
        assert!(Exponential::of(&point(-5, Dense::default())).unwrap_err().contains("scale -5, below -4"));
        let edge = Exponential::of(&point(8, dense(i32::MAX, &[10]))).unwrap();
        assert!(edge.histogram(ResetHint::Unknown).unwrap_err().contains("past bucket"));
    }

    #[test]
    fn sums_have_the_lower_scale() {
        let of = |scale, positive, count| Exponential::of(&RawPoint { scale, positive, count, ..RawPoint::default() }).unwrap();
        let mut sum = of(2, dense(3, &[1, 1]), 2);
        sum.add(&of(1, dense(4, &[5]), 5)).unwrap();
        assert_eq!((sum.scale, sum.count, &sum.positive), (1, 7, &dense(1, &[1, 1, 0, 5])));
        let before = sum.clone();
        assert!(sum.add(&of(1, dense(i32::MAX - 1, &[1]), 1)).unwrap_err().contains("buckets, above"));
        assert_eq!(sum, before);
    }
}
