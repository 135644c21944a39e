//! What the buckets, sum and count of one histogram, at one time, must be together. Called by [`super::rules`].

use weir_model::label::Labels;

use super::syntax::{RawSample, Wrong, wrong};

/// Samples that belong together: one metric at one time.
#[derive(Clone, PartialEq)]
pub(super) struct Group {
    pub labels: Labels,
    pub timestamp: Option<i64>,
}

/// The histogram that the last lines belong to.
#[derive(Default)]
pub(super) struct Histogram {
    group: Option<Group>,
    /// Upper bound and value of the last bucket.
    bucket: Option<(f64, f64)>,
    negative_bucket: bool,
    count: Option<f64>,
    sum: Option<Sum>,
}

enum Sum {
    OfCounts,
    OfGauges(f64),
}

impl Histogram {
    pub fn sample(&mut self, suffix: &str, sample: &RawSample<'_>, group: &Group) -> Result<(), Wrong> {
        let mut ended = Ok(());
        if self.group.as_ref() != Some(group) {
            ended = std::mem::take(self).end();
            self.group = Some(group.clone());
        }
        let own = match suffix {
            "_bucket" => self.bucket(sample),
            _ => Ok(()),
        };
        match suffix {
            "_count" | "_gcount" => self.count = Some(sample.value),
            "_sum" => self.sum = Some(Sum::OfCounts),
            "_gsum" => self.sum = Some(Sum::OfGauges(sample.value)),
            _ => {}
        }
        ended.and(own)
    }

    fn bucket(&mut self, sample: &RawSample<'_>) -> Result<(), Wrong> {
        let le = sample.label("le").unwrap_or_default();
        // Infinity is the only bound whose spelling is fixed.
        let bound = match le.parse::<f64>() {
            Ok(bound) if !bound.is_nan() && (bound != f64::INFINITY || le == "+Inf") => bound,
            _ => return wrong(0, "a bucket needs a label le that is a number or +Inf"),
        };
        self.negative_bucket |= bound < 0.0;
        let before = self.bucket.replace((bound, sample.value));
        match before {
            Some((smaller, _)) if bound <= smaller => wrong(0, "buckets are not in ascending order"),
            Some((_, fewer)) if sample.value < fewer => wrong(sample.value_at, "a bucket counts less than the one before"),
            _ => Ok(()),
        }
    }

    /// All of it has been seen.
    pub fn end(self) -> Result<(), Wrong> {
        if self.group.is_none() {
            return Ok(());
        }
        let Some((_, value)) = self.bucket.filter(|(bound, _)| *bound == f64::INFINITY) else {
            return wrong(0, "the histogram before has no +Inf bucket at its end");
        };
        match (&self.sum, self.count) {
            (_, Some(count)) if count != value => wrong(0, "the histogram before has a count unlike its +Inf bucket"),
            (Some(_), None) => wrong(0, "the histogram before has a sum and no count"),
            (None, Some(_)) => wrong(0, "the histogram before has a count and no sum"),
            (Some(Sum::OfCounts), _) if self.negative_bucket => wrong(0, "a histogram with negative buckets has no sum"),
            (Some(Sum::OfGauges(sum)), _) if *sum < 0.0 && !self.negative_bucket => {
                wrong(0, "the histogram before has a negative sum without negative buckets")
            }
            _ => Ok(()),
        }
    }
}
