//! OTLP: gRPC and HTTP in, sections out. An answer of success is given after the bus has acknowledged everything.
//!
//! - [`grpc`], [`http`]: the two transports.
//! - [`value`]: attributes and bodies.
//! - [`logs`], [`metrics`], [`traces`]: the three signals, pure: a request becomes sections and a count of what was rejected.
//!
//! A record that cannot be kept is rejected by `partial_success`, with the number and the first reason; the rest is kept.

pub mod grpc;
pub mod http;
mod logs;
mod metrics;
mod traces;
mod value;

use weir_model::wire::Section;

use crate::body::PushError;
use crate::bounds::OutOfTime;
use crate::push::PushContext;

/// What a request came to.
#[derive(Default)]
pub(crate) struct Outcome {
    pub sections: Vec<Section>,
    pub rejected: Rejected,
}

/// Records that were not taken.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// How many.
    pub count: i64,
    /// Of these, with a timestamp older than what is kept.
    pub too_old: u64,
    /// Of these, with a timestamp too far ahead.
    pub too_new: u64,
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

impl Rejected {
    fn add(&mut self, count: usize, reason: impl FnOnce() -> String) {
        if self.count == 0 && count > 0 {
            self.reason = reason();
        }
        self.count = self.count.saturating_add(count as i64);
    }

    /// One record; `what` begins the message.
    fn refuse(&mut self, refusal: &Refusal, what: impl FnOnce() -> String) {
        match refusal {
            Refusal::Invalid(reason) => self.add(1, || format!("{}: {reason}", what())),
            Refusal::Time(error) => {
                match error {
                    OutOfTime::Old { .. } => self.too_old += 1,
                    OutOfTime::New { .. } => self.too_new += 1,
                }
                self.add(1, || format!("{} {error}", what()));
            }
        }
    }
}

/// Ships what a request came to and says what was rejected.
async fn finish(context: &PushContext, outcome: Outcome) -> Result<Rejected, PushError> {
    context.ship(outcome.sections).await?;
    let rejected = outcome.rejected;
    let invalid = rejected.count.unsigned_abs().saturating_sub(rejected.too_old + rejected.too_new);
    for (reason, records) in [("too_old", rejected.too_old), ("too_new", rejected.too_new), ("invalid", invalid)] {
        context.dropped("otlp", reason, records);
    }
    Ok(rejected)
}

fn check_records(context: &PushContext, records: usize) -> Result<(), PushError> {
    let limit = context.config.records_max;
    if records > limit {
        return Err(PushError::Malformed(format!("{records} records in one request (limit push.records_max is {limit})")));
    }
    Ok(())
}
