//! Fewer buckets: a histogram at a lower schema, whose buckets are each some of those of before. Called where limits of buckets are held.

use super::{Buckets, EXPONENTIAL_SCHEMAS, Histogram, HistogramError, Span};

impl Histogram {
    /// Buckets of both sides, empty ones of their spans included: what a limit of buckets counts.
    pub fn buckets(&self) -> usize {
        self.positive.counts.len() + self.negative.counts.len()
    }

    /// At this schema, where it is an exponential one of a higher schema; else as it is.
    pub fn coarsen(&mut self, schema: i8) {
        let schema = schema.max(*EXPONENTIAL_SCHEMAS.start());
        if !EXPONENTIAL_SCHEMAS.contains(&self.schema) || self.schema <= schema {
            return;
        }
        let by = (self.schema - schema).unsigned_abs().into();
        (self.positive, self.negative) = (self.positive.coarser(by), self.negative.coarser(by));
        self.schema = schema;
    }

    /// With at most so many buckets, by as many schemas lower as that takes. Errors, at the lowest schema, where it still has more, as
    /// do custom buckets, which have no lower one.
    pub fn fit(&mut self, buckets_max: usize) -> Result<(), HistogramError> {
        while self.buckets() > buckets_max {
            if !EXPONENTIAL_SCHEMAS.contains(&self.schema) || self.schema == *EXPONENTIAL_SCHEMAS.start() {
                return Err(HistogramError::OverLimit { buckets: self.buckets(), schema: self.schema, limit: buckets_max });
            }
            self.coarsen(self.schema - 1);
        }
        Ok(())
    }
}

/// The highest schema whose buckets grow by at least this factor, as Prometheus picks it for `native_histogram_min_bucket_factor`.
/// A factor of 1 or less allows all.
pub fn schema_of_factor(factor: f64) -> i8 {
    let (lowest, highest) = (*EXPONENTIAL_SCHEMAS.start(), *EXPONENTIAL_SCHEMAS.end());
    if factor.is_nan() || factor <= 1.0 {
        return highest;
    }
    (-factor.log2().log2()).floor().clamp(f64::from(lowest), f64::from(highest)) as i8
}

impl Buckets {
    /// At a schema that is lower by so much, of a side whose shape was checked. Buckets that are empty stay where they were listed.
    fn coarser(&self, by: u32) -> Self {
        let mut side = Self::default();
        let (mut index, mut last) = (0_i64, None);
        let mut counts = self.counts.iter();
        for span in &self.spans {
            index += i64::from(span.offset);
            for count in counts.by_ref().take(span.length as usize) {
                // A bucket's bound is its upper one: of 1 to 4 two schemas lower, 4 is the last of the first.
                let to = ((index - 1) >> by) + 1;
                match (last, side.counts.last_mut(), side.spans.last_mut()) {
                    (Some(at), Some(sum), _) if at == to => *sum += count,
                    (Some(at), _, Some(span)) if at + 1 == to => {
                        span.length += 1;
                        side.counts.push(*count);
                    }
                    (last, ..) => {
                        // Within 32 bits, as the index of before was.
                        let offset = (to - last.map_or(0, |at| at + 1)) as i32;
                        side.spans.push(Span { offset, length: 1 });
                        side.counts.push(*count);
                    }
                }
                (last, index) = (Some(to), index + 1);
            }
        }
        side
    }
}

#[cfg(test)]
mod tests {
    use super::super::CUSTOM_BUCKETS_SCHEMA;
    use super::*;

    fn side(spans: &[(i32, u32)], counts: &[f64]) -> Buckets {
        let spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        Buckets { spans, counts: counts.to_vec() }
    }

    /// The cases of Prometheus' own test of `reduceResolution`, and gaps.
    #[test]
    fn buckets_are_added_into_those_of_the_lower_schema() {
        let check = |from: i8, to: i8, before: Buckets, after: Buckets| {
            let mut histogram = Histogram { positive: before.clone(), negative: before, ..Histogram::empty(from) };
            histogram.coarsen(to);
            assert_eq!((histogram.schema, &histogram.positive, &histogram.negative), (to, &after, &after), "{from} to {to}");
        };
        let spans = [(0, 4), (0, 0), (3, 2)];
        check(0, -1, side(&spans, &[1.0, 3.0, 1.0, 2.0, 1.0, 1.0]), side(&[(0, 3), (1, 1)], &[1.0, 4.0, 2.0, 2.0]));
        check(0, -2, side(&[(-6, 1), (1, 2)], &[1.0, 2.0, 3.0]), side(&[(-1, 2)], &[3.0, 3.0]));
        check(2, 1, side(&[(1, 1), (9, 1)], &[1.0, 2.0]), side(&[(1, 1), (4, 1)], &[1.0, 2.0]));
        check(3, 2, side(&[(1, 4)], &[0.0, 0.0, 0.0, 7.0]), side(&[(1, 2)], &[0.0, 7.0]));
        check(8, -4, side(&[(i32::MIN, 1), (i32::MAX, 1)], &[1.0, 2.0]), side(&[(-524_288, 1), (524_287, 1)], &[1.0, 2.0]));
        check(3, 3, side(&[(1, 1)], &[1.0]), side(&[(1, 1)], &[1.0]));
    }

    #[test]
    fn a_histogram_fits_or_says_why_it_cannot() {
        let wide = |schema| Histogram { positive: side(&[(1, 64)], &[1.0; 64]), count: 64.0, ..Histogram::empty(schema) };
        let check = |schema: i8, limit: usize, expected: Result<(i8, usize), &str>| {
            let mut histogram = wide(schema);
            let fits = histogram.fit(limit);
            assert_eq!(histogram.observations(), 64.0);
            let seen = fits.map(|()| (histogram.schema, histogram.buckets())).map_err(|error| error.to_string());
            assert_eq!(seen, expected.map_err(str::to_owned), "{schema} {limit}");
        };
        check(8, 64, Ok((8, 64)));
        check(8, 63, Ok((7, 32)));
        check(8, 1, Ok((2, 1)));
        check(0, 5, Ok((-4, 4)));
        check(0, 3, Err("histogram has 4 buckets at schema -4, above the limit of 3"));
        check(CUSTOM_BUCKETS_SCHEMA, 63, Err("histogram has 64 buckets at schema -53, above the limit of 63"));
    }

    /// Values of Prometheus' own test of `pickSchema`.
    #[test]
    fn a_factor_is_the_schema_that_prometheus_picks() {
        let cases = [(65536.0, -4), (256.0, -3), (16.0, -2), (4.0, -1), (2.0, 0), (1.4, 1), (1.1, 2), (1.09, 3), (1.04, 4)];
        for (factor, schema) in cases {
            assert_eq!(schema_of_factor(factor), schema, "{factor}");
        }
        for (factor, schema) in [(1.02, 5), (1.01, 6), (1.005, 7), (1.002, 8), (1.0, 8), (0.0, 8), (-1.0, 8), (f64::INFINITY, -4)]
        {
            assert_eq!(schema_of_factor(factor), schema, "{factor}");
        }
    }
}
