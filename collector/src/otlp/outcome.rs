//! What a request came to: its sections, and records that were not taken, with the first reason.

use std::collections::BTreeMap;

use weir_model::wire::Section;

use crate::bounds::OutOfTime;
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::quota::Excess;

/// Memory of a section beside its records: its header, its batch, the labels of its stream or its schema.
pub(super) const SECTION_BYTES: usize = 1 << 10;

/// What a request came to.
pub(crate) struct Outcome<S> {
    pub sections: Vec<Section<S>>,
    pub rejected: Rejected,
}

impl<S> Default for Outcome<S> {
    fn default() -> Self {
        Self { sections: Vec::new(), rejected: Rejected::default() }
    }
}

/// Records that were not taken.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// How many.
    pub count: i64,
    /// Of these, what is known by a reason of its own; the others are invalid.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Why, for the first; "" when there are none.
    pub reason: String,
}

/// Why a record is rejected.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It cannot be kept as it is.
    Invalid(String),
    /// It would not be kept.
    Time(OutOfTime),
    /// Its tenant may not send it.
    Excess(Excess),
    /// The whole request takes too much memory, and is refused as a whole.
    Request,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

impl From<OutOfTime> for Refusal {
    fn from(error: OutOfTime) -> Self {
        Self::Time(error)
    }
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        Self::Excess(excess)
    }
}

impl Rejected {
    pub(super) fn add(&mut self, count: usize, reason: impl FnOnce() -> String) {
        if self.count == 0 && count > 0 {
            self.reason = reason();
        }
        self.count = self.count.saturating_add(count as i64);
    }

    /// So many records of one stream.
    pub(super) fn add_excess(&mut self, count: usize, excess: Excess) {
        *self.by_reason.entry(excess.reason).or_default() += count as u64;
        self.add(count, || excess.text);
    }

    /// One record; `what` begins the message.
    pub(super) fn refuse(&mut self, refusal: &Refusal, what: impl FnOnce() -> String) {
        match refusal {
            Refusal::Request => {}
            Refusal::Invalid(reason) => self.add(1, || format!("{}: {reason}", what())),
            Refusal::Excess(excess) => {
                *self.by_reason.entry(excess.reason).or_default() += 1;
                self.add(1, || format!("{}: {}", what(), excess.text));
            }
            Refusal::Time(error) => {
                let reason = if matches!(error, OutOfTime::Old { .. }) { "too_old" } else { "too_new" };
                *self.by_reason.entry(reason).or_default() += 1;
                self.add(1, || format!("{} {error}", what()));
            }
        }
    }
}

/// Errors when a request has more records than one may have.
pub(super) fn check_records(context: &PushContext, records: usize) -> Result<(), PushError> {
    let limit = context.config.records_max;
    if records > limit {
        return Err(PushError::Malformed(format!("{records} records in one request (limit push.records_max is {limit})")));
    }
    Ok(())
}
