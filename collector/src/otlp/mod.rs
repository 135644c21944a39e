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
    /// Why, for the first; "" when there are none.
    pub reason: String,
}

impl Rejected {
    fn add(&mut self, count: usize, reason: impl FnOnce() -> String) {
        if self.count == 0 && count > 0 {
            self.reason = reason();
        }
        self.count = self.count.saturating_add(count as i64);
    }
}

/// Ships what a request came to and says what was rejected.
async fn finish(context: &PushContext, outcome: Outcome) -> Result<Rejected, PushError> {
    if outcome.rejected.count > 0 {
        context.metrics.event("otlp", "rejected_record", outcome.rejected.count.unsigned_abs());
    }
    context.ship(outcome.sections).await?;
    Ok(outcome.rejected)
}

fn check_records(context: &PushContext, records: usize) -> Result<(), PushError> {
    let limit = context.config.records_max;
    if records > limit {
        return Err(PushError::Malformed(format!("{records} records in one request (limit push.records_max is {limit})")));
    }
    Ok(())
}
