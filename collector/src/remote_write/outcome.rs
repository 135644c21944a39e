//! What a request came to: its sections, how much of it was taken, and why the rest was not.

use std::collections::BTreeMap;

use weir_model::metric::MetricBatch;
use weir_model::wire::Section;

use super::families::Told;
use crate::push_error::PushError;

/// How many elements of a request were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

/// What a request came to.
#[derive(Default)]
pub(crate) struct Taken {
    pub sections: Vec<Section<MetricBatch>>,
    pub(super) written: Written,
    pub(super) refused: Refused,
    pub(super) told: Told,
}

/// Samples that were refused, and exemplars that were left out.
#[derive(Default)]
pub(super) struct Refused {
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Reason and text of the first that the sender is told of.
    first: Option<(&'static str, String)>,
    samples: u64,
}

impl Refused {
    pub fn add(&mut self, reason: &'static str, samples: u64, text: impl FnOnce() -> String) {
        self.first.get_or_insert_with(|| (reason, text()));
        self.samples += samples;
        *self.by_reason.entry(reason).or_default() += samples;
    }

    /// A sender that lost an exemplar would not do better the next time: it is counted here, and in the header of 2.0.
    pub fn leave_out(&mut self, reason: &'static str) {
        *self.by_reason.entry(reason).or_default() += 1;
    }

    /// The error of a request of which some is refused and the rest stored.
    pub fn into_result(self, written: Written) -> Result<(), PushError> {
        let Some((reason, text)) = self.first else { return Ok(()) };
        let (refused, all) = (self.samples, self.samples + written.samples + written.histograms);
        let text = format!("{text}; {refused} of {all} samples refused, others stored");
        Err(PushError::Refused { text, reason })
    }
}
