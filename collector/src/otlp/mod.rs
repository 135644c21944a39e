//! OTLP: gRPC and HTTP in, sections out. An answer of success is given after the bus has acknowledged everything.
//!
//! - [`grpc`], [`http`]: the two transports.
//! - `take`: from a body to an outcome, the same for both.
//! - [`export`]: what makes one of the three signals: its request, its conversion, its answer.
//! - [`logs`], [`metrics`], [`traces`]: the three conversions, pure: a request's protobuf, read where it lies, becomes sections and a
//!   count of what was rejected. [`span`]: one span.
//! - [`message`], [`attributes`]: what the messages of all three have in common.
//!
//! A record that cannot be kept is rejected by `partial_success`, with the number and the first reason; the rest is kept.

mod attributes;
mod export;
pub mod grpc;
pub mod http;
mod logs;
mod message;
mod metrics;
mod span;
mod traces;

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;
use weir_model::signal::Signal;
use weir_model::wire::Section;

use crate::admission::Admission;
use crate::body::{self, PushError};
use crate::bounds::OutOfTime;
use crate::json_size;
use crate::push::PushContext;
use crate::ship::Shipped;

pub(crate) use self::export::Export;
#[cfg(test)]
pub(crate) use self::export::{Logs, Metrics, Traces};

/// Memory of an element of a JSON array: the largest that is common, a log record with its place in a vector that doubles.
const JSON_ELEMENT_BYTES: usize = 320;
/// Memory of a section beside its records: its header, its batch, the labels of its stream or its schema.
const SECTION_BYTES: usize = 1 << 10;

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
            Refusal::Request => {}
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

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A request's body and how it is encoded.
pub(crate) struct Encoded {
    pub bytes: Bytes,
    /// As HTTP names content encodings.
    pub encoding: String,
    pub format: Format,
}

/// From a body that is there to an answer: decompresses, decodes, converts and ships it.
async fn take<E: Export>(context: &PushContext, admission: &Admission, body: Encoded) -> Result<Rejected, PushError> {
    let _slot = context.slot()?;
    let decode = move |context: &PushContext, admission: &Admission| decode::<E>(context, admission, body);
    let outcome = context.decode(admission, decode).await?;
    finish(context, outcome).await
}

/// All of a request but its transport.
pub(crate) fn decode<E: Export>(
    context: &PushContext,
    admission: &Admission,
    body: Encoded,
) -> Result<Outcome<E::Batch>, PushError> {
    let Encoded { bytes, encoding, format } = body;
    let bytes = body::decode_content(&encoding, bytes, context.config.decompressed_max.to_usize(), admission)?;
    admission.body_is(bytes.len());
    let outcome = match format {
        Format::Protobuf => E::outcome(context, admission, &bytes)?,
        Format::Json => E::outcome(context, admission, &transcode::<E::Request>(&bytes, admission)?)?,
    };
    admission.settle(outcome.sections.iter().map(|section| section.batch.weight()).sum());
    Ok(outcome)
}

/// A request in JSON as the protobuf that says the same: there is one conversion for both.
fn transcode<R: Message + DeserializeOwned>(json: &[u8], admission: &Admission) -> Result<Vec<u8>, PushError> {
    admission.charge(json_size::decoded_bytes(json, JSON_ELEMENT_BYTES))?;
    let request: R = serde_json::from_slice(json).map_err(|error| PushError::Malformed(format!("json: {error}")))?;
    admission.charge(request.encoded_len())?;
    Ok(request.encode_to_vec())
}

/// Ships what a request came to and says what was rejected.
async fn finish<S: Shipped>(context: &PushContext, outcome: Outcome<S>) -> Result<Rejected, PushError> {
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
