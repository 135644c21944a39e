//! OTLP: gRPC and HTTP in, sections out. An answer of success is given after the bus has acknowledged everything.
//!
//! - [`grpc`], [`http`]: the two transports.
//! - `take`: from a body to an outcome, the same for both.
//! - [`export`]: what makes one of the three signals: its request, its conversion, its answer.
//! - [`logs`], [`metrics`], [`traces`]: the three conversions, pure: a request's protobuf, read where it lies, becomes sections and a
//!   count of what was rejected. [`span`]: one span.
//! - [`config`]: what metrics become.
//! - [`outcome`]: what a request came to. [`message`], [`attributes`]: what the messages of all three have in common.
//!
//! A record that cannot be kept is rejected by `partial_success`, with the number and the first reason; the rest is kept. A request above
//! its tenant's rate is refused as a whole, to be sent again: 429, or RESOURCE_EXHAUSTED with `RetryInfo`.

mod attributes;
pub mod config;
mod export;
pub mod grpc;
pub mod http;
mod logs;
mod message;
mod metrics;
mod outcome;
mod span;
mod traces;

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;
use weir_model::signal::Signal;

use crate::admission::Admission;
use crate::body;
use crate::json_size;
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::ship::Shipped;

pub(crate) use self::export::Export;
#[cfg(test)]
pub(crate) use self::export::{Logs, Metrics, Traces};

use self::outcome::{Outcome, Rejected};

/// What the conversion of metrics is told, and what it remembers.
#[derive(Default)]
pub(crate) struct OtlpState {
    pub config: config::OtlpConfig,
    pub deltas: metrics::delta::Deltas,
}

/// Of counters of records.
const SOURCE: &str = "otlp";
/// Memory of an element of a JSON array: the largest that is common, a log record with its place in a vector that doubles.
const JSON_ELEMENT_BYTES: usize = 320;

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
    context.ship(SOURCE, outcome.sections).await?;
    let rejected = outcome.rejected;
    let known: u64 = rejected.by_reason.values().sum();
    context.dropped(SOURCE, "invalid", rejected.count.unsigned_abs().saturating_sub(known));
    rejected.by_reason.iter().for_each(|(reason, records)| context.dropped(SOURCE, reason, *records));
    Ok(rejected)
}
