//! `POST /loki/api/v1/push`: protobuf with snappy, and JSON, either with `Content-Encoding`. 204 once the bus has it.
//! Whatever does not call itself JSON is read as protobuf, as Loki reads it: clients name that one in several ways.
//!
//! Refusals as the field knows them: no streams 422, a stream with the labels `{}` 400, a stream without values is fine.
//! A line whose timestamp is older than what is kept, or too far ahead, is refused with Loki's 400 and its words; the other
//! lines of the request are stored before that answer is given, as Loki does it; so are lines and streams beyond their tenant's limits,
//! and where all that is refused are streams beyond their number, the answer is 429. A request above its tenant's rate is 429, and nothing
//! of it stored.
//! A pushed line is recognised by its stream's digest when a client sends the same request again.
//!
//! - [`protobuf`], [`json`]: the two encodings. [`selector`]: a stream's labels in the first.
//! - [`stream`]: lines of a stream on their way into a section. `logproto`: the first encoding as clients write it, for tests.

mod json;
#[doc(hidden)]
pub mod logproto;
mod protobuf;
mod selector;
mod stream;
#[cfg(test)]
mod tests;

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_model::clip;
#[cfg(test)]
use weir_model::log::LogBatch;
use weir_model::signal::Signal;
#[cfg(test)]
use weir_model::wire::Section;

use self::stream::{SOURCE, Taken};
use crate::admission::Admission;
use crate::body;
use crate::json_size;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

/// The route, for the main listener.
pub fn router(service: PushService) -> Routes {
    Routes::new().post("/loki/api/v1/push", Needs::Tenant(Verb::Push, Telemetry::Logs), push).with_state(service)
}

async fn push(context: PushContext, headers: HeaderMap, body: HttpBody) -> Response {
    match take(&context, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            context.metrics.event(SOURCE, error.reason(), 1);
            error.to_response()
        }
    }
}

async fn take(context: &PushContext, headers: &HeaderMap, body: HttpBody) -> Result<(), PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let headers = headers.clone();
    let decode = move |context: &PushContext, admission: &Admission| decode(context, admission, &headers, bytes);
    let taken = context.decode(&admission, decode).await?;
    context.ship(SOURCE, taken.sections).await?;
    taken.refused.counts().for_each(|(reason, lines)| context.dropped(SOURCE, reason, lines));
    taken.refused.into_result(taken.entries)
}

fn decode(context: &PushContext, admission: &Admission, headers: &HeaderMap, bytes: Bytes) -> Result<Taken, PushError> {
    let limit = context.config.decompressed_max.to_usize();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    // Promtail says nothing of snappy, others name it as the content encoding; JSON so named is JSON all the same.
    let named = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "snappy");
    let encoding = if named { String::new() } else { body::content_encoding(headers) };
    let bytes = body::decode_content(&encoding, bytes, limit, admission)?;
    let taken = if media_type.eq_ignore_ascii_case("application/json") {
        admission.body_is(bytes.len());
        admission.charge(json_size::decoded_bytes(&bytes, json::ENTRY_BYTES))?;
        json::sections(context, admission, &bytes)?
    } else {
        let bytes = body::decode_snappy(&bytes, limit, admission).map_err(|error| told_of(media_type, error))?;
        admission.body_is(bytes.len());
        protobuf::sections(context, admission, &bytes)?
    };
    admission.settle(taken.sections.iter().map(|section| section.batch.weight()).sum());
    Ok(taken)
}

/// What is no snappy may be JSON without its name.
fn told_of(media_type: &str, error: PushError) -> PushError {
    match error {
        PushError::Malformed(text) => PushError::Malformed(format!(
            "{text}; content type {:?} is read as protobuf with snappy, JSON needs application/json",
            clip(media_type)
        )),
        error => error,
    }
}

/// Sections of a request, without its transport.
#[cfg(test)]
pub(crate) fn decode_sections(
    context: &PushContext,
    admission: &Admission,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Result<Vec<Section<LogBatch>>, PushError> {
    decode(context, admission, headers, bytes).map(|taken| taken.sections)
}
