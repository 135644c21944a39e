//! A sum or a mean of histograms under way, and what was noticed on the way.

use weir_model::histogram::{Histogram, ResetHint};

use super::sum::{HistogramMean, HistogramSum, Incompatible, Merged};

/// What comes of many histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    Sum,
    Mean,
}

/// A sum or a mean of histograms under way.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    value: RunningValue,
    merged: Merged,
    reset_seen: bool,
    not_reset_seen: bool,
}

#[derive(Clone, Debug)]
enum RunningValue {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl Running {
    /// Of one histogram.
    pub fn new(histogram: &Histogram, fold: Fold) -> Self {
        let value = match fold {
            Fold::Sum => RunningValue::Sum(HistogramSum::new(histogram)),
            Fold::Mean => RunningValue::Mean(HistogramMean::new(histogram)),
        };
        let mut running = Self { value, merged: Merged::default(), reset_seen: false, not_reset_seen: false };
        running.see(histogram);
        running
    }

    /// Adds one.
    pub fn add(&mut self, histogram: &Histogram) -> Result<(), Incompatible> {
        self.see(histogram);
        let merged = match &mut self.value {
            RunningValue::Sum(sum) => sum.add(histogram)?,
            RunningValue::Mean(mean) => mean.add(histogram)?,
        };
        self.merged.bounds |= merged.bounds;
        Ok(())
    }

    fn see(&mut self, histogram: &Histogram) {
        self.reset_seen |= histogram.reset == ResetHint::Reset;
        self.not_reset_seen |= histogram.reset == ResetHint::NotReset;
    }

    /// What was done to make them one.
    pub fn merged(&self) -> Merged {
        Merged { resets_collide: self.reset_seen && self.not_reset_seen, ..self.merged }
    }

    /// About what it takes.
    pub fn bytes(&self) -> u64 {
        match &self.value {
            RunningValue::Sum(sum) => sum.bytes(),
            RunningValue::Mean(mean) => mean.bytes(),
        }
    }

    /// The sum or mean.
    pub fn total(&self) -> Histogram {
        match &self.value {
            RunningValue::Sum(sum) => sum.total(None),
            RunningValue::Mean(mean) => mean.mean(),
        }
    }
}
