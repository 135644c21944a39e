//! Prometheus' remote write, 1.0 and 2.0: `POST /api/v1/write`, also where Mimir (`/api/v1/push`) and Thanos (`/api/v1/receive`) have it.
//! 204 once the bus has everything.
//!
//! Which message a request is, its content type says; without a word it is 1.0. A series that cannot be taken (labels, times, shapes of
//! histograms, its tenant's limits) is refused with 400 and the first reason, and the rest of its request stored; a request above its
//! tenant's rate is refused as a whole with 429. Answers to 2.0 say how much of it was written, but where nothing of it
//! was looked at.
//! Specifications: <https://prometheus.io/docs/specs/prw/>.
//!
//! - [`message`], [`symbols`], [`histogram`], [`labels`]: the messages, read where they lie. [`series`], [`order`]: what is known of series from
//!   requests before.
//! - [`rows`], [`schemas`], [`sections`]: samples as batches; [`exemplars`], [`families`], [`newest`]: what goes with them; [`outcome`]: what a
//!   request came to.
//!
//! How weir sends is `remote_write_out`.

mod exemplars;
mod families;
mod histogram;
mod labels;
#[cfg(test)]
mod limits_tests;
mod message;
mod newest;
mod order;
mod outcome;
mod rows;
mod schemas;
#[cfg(test)]
mod schemas_tests;
mod sections;
pub(crate) mod series;
mod symbols;
#[cfg(test)]
mod tests;

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_model::signal::Signal;

use self::message::Version;
pub(crate) use self::outcome::Taken;
use self::outcome::Written;
use crate::admission::Admission;
use crate::body;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

/// Of counters.
const SOURCE: &str = "remote_write";
/// Where senders are told to write, by whom.
const PATHS: [&str; 3] = ["/api/v1/write", "/api/v1/push", "/api/v1/receive"];

/// The routes, for the main listener.
pub fn router(service: PushService) -> Routes {
    let push = Needs::Tenant(Verb::Push, Telemetry::Metrics);
    PATHS.iter().fold(Routes::new(), |routes, path| routes.post(path, push, write)).with_state(service)
}

/// A message as senders send it, for the tests and benches of those who do.
#[doc(hidden)]
pub fn compress(message: &impl prost::Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("below 4 GiB")
}

async fn write(context: PushContext, headers: HeaderMap, body: HttpBody) -> Response {
    let version = match negotiate(&headers) {
        Ok(version) => version,
        Err(error) => return refuse(&context, &error),
    };
    let (written, result) = match take(&context, &headers, body, version).await {
        Ok((written, result)) => (Some(written), result),
        // As a whole, and not for what was looked at.
        Err(error) => (None, Err(error)),
    };
    let mut response = match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&context, &error),
    };
    if let Some(written) = written.filter(|_| version == Version::Two) {
        let counts = [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ];
        let counts = counts.map(|(name, count)| (HeaderName::from_static(name), HeaderValue::from(count)));
        response.headers_mut().extend(counts);
    }
    response
}

fn refuse(context: &PushContext, error: &PushError) -> Response {
    context.metrics.event(SOURCE, error.reason(), 1);
    error.to_response()
}

/// Which message the body is. Errors with `Unsupported`, which tells a sender of 2.0 to try 1.0.
fn negotiate(headers: &HeaderMap) -> Result<Version, PushError> {
    let text = |name| headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap_or("?"));
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let unsupported = || {
        PushError::Unsupported(format!(
            "content type {:?} is neither application/x-protobuf;proto=prometheus.WriteRequest nor \
             application/x-protobuf;proto=io.prometheus.write.v2.Request",
            weir_model::clip(content_type)
        ))
    };
    if !matches!(parts.next().unwrap_or(""), "application/x-protobuf" | "") {
        return Err(unsupported());
    }
    let message = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("proto"));
    let version = match message.map_or("prometheus.WriteRequest", |(_, name)| name.trim_matches('"')) {
        "prometheus.WriteRequest" => Version::One,
        "io.prometheus.write.v2.Request" => Version::Two,
        _ => return Err(unsupported()),
    };
    match text(header::CONTENT_ENCODING) {
        "" | "snappy" => Ok(version),
        other => Err(PushError::Unsupported(format!("content encoding {:?} is not snappy", weir_model::clip(other)))),
    }
}

async fn take(
    context: &PushContext,
    headers: &HeaderMap,
    body: HttpBody,
    version: Version,
) -> Result<(Written, Result<(), PushError>), PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let decode = move |context: &PushContext, admission: &Admission| decode(context, admission, version, &bytes);
    let Taken { sections, written, refused, told } = context.decode(&admission, decode).await?;
    context.ship(SOURCE, sections).await?;
    told.stored();
    refused.by_reason.iter().for_each(|(reason, records)| context.dropped(SOURCE, reason, *records));
    Ok((written, refused.into_result(written)))
}

/// All of a request but its transport.
fn decode(context: &PushContext, admission: &Admission, version: Version, bytes: &[u8]) -> Result<Taken, PushError> {
    let bytes = body::decode_snappy(bytes, context.config.decompressed_max.to_usize(), admission)?;
    admission.body_is(bytes.len());
    let taken = sections::sections(context, admission, version, &bytes)?;
    let batches: usize = taken.sections.iter().map(|section| section.batch.weight()).sum();
    admission.settle(batches + taken.told.memory());
    Ok(taken)
}

/// Sections of a request of 2.0 or 1.0.
#[cfg(test)]
pub(crate) fn decode_sections(
    context: &PushContext,
    admission: &Admission,
    is_2: bool,
    bytes: &[u8],
) -> Result<Taken, PushError> {
    decode(context, admission, if is_2 { Version::Two } else { Version::One }, bytes)
}
