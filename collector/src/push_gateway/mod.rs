//! The Pushgateway's API, for jobs that end before anybody could scrape them: `PUT`, `POST` and `DELETE` of
//! `/metrics/job/{job}[/{label}/{value}…]`, with text, OpenMetrics or protobuf.
//!
//! A push is stored once, at its time, with `push_time_seconds`; it is not repeated for as long as nobody deletes it. Queries find it as
//! they find any sample that is not the newest: `last_over_time(x[1d])`. `PUT` ends the series that the group had and no longer has, `POST`
//! those of the metrics that it names, `DELETE` all of them. Why: docs/decisions/0159-all-ways-in-for-metrics.md.
//!
//! - [`path`]: a group's labels. [`groups`]: which series groups have. [`batch`]: a push as a batch.

mod batch;
mod groups;
mod path;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_model::label::Labels;
use weir_model::metric::MetricBatch;

pub(crate) use self::groups::Groups;

use self::batch::{OWN, Push, refused};
use self::groups::{Change, Key};
use crate::body;
use crate::exposition::{Exposition, Format, openmetrics, protobuf, text};
use crate::push::{Digest, PushContext, PushService};
use crate::push_error::PushError;

const SOURCE: &str = "push_gateway";
/// Memory of a line while it is read, beside its text: a sample with its labels, an exemplar, what OpenMetrics' rules keep of it.
const LINE_BYTES: usize = 256;

/// The routes, for the main listener.
pub fn router(service: PushService) -> Routes {
    let push = Needs::Tenant(Verb::Push, Telemetry::Metrics);
    let methods = [Method::PUT, Method::POST, Method::DELETE];
    let routes = Routes::new().on(&methods, "/metrics/job/{*group}", push, take);
    routes.on(&methods, "/metrics/job@base64/{*group}", push, take).with_state(service)
}

async fn take(context: PushContext, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match change(&context, &method, &uri, &headers, body).await {
        Ok(()) if method == Method::DELETE => StatusCode::ACCEPTED.into_response(),
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            context.metrics.event(SOURCE, error.reason(), 1);
            error.to_response()
        }
    }
}

async fn change(context: &PushContext, method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<(), PushError> {
    let group = path::labels(uri.path())?;
    context.quota.target(&group).map_err(refused)?;
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let key = Key { tenant: context.tenant.clone(), group: group.clone() };
    if *method == Method::DELETE {
        let known = context.groups.of(&key);
        if known.is_none() {
            context.quota.series(&group, OWN.iter()).map_err(refused)?;
        }
        send(context, batch::ended(group, (context.clock)(), known.unwrap_or_default())).await?;
        context.groups.forget(&key);
        return Ok(());
    }
    let change = if *method == Method::PUT { Change::Group } else { Change::Metrics };
    let (format, encoding) = (format(headers), body::content_encoding(headers));
    let decode = move |context: &PushContext, admission: &crate::admission::Admission| {
        let bytes = body::decode_content(&encoding, bytes, context.config.decompressed_max.to_usize(), admission)?;
        admission.body_is(bytes.len());
        let exposition = read(format, &bytes, context.config.records_max, admission)?;
        Push::of(context, admission, &key.group, exposition).map(|push| (key, push))
    };
    let decoded = context.decode(&admission, decode).await;
    let now = (context.clock)();
    match decoded {
        Ok((key, push)) => {
            let known = context.groups.of(&key).unwrap_or_default();
            let (series, failed_at) = (push.series(), known.failed_at);
            send(context, push.batch(key.group.clone(), now, &known, change)).await?;
            context.groups.learn(key, series, failed_at, change);
            Ok(())
        }
        // The group tells of it, as it does there.
        Err(error @ (PushError::Malformed(_) | PushError::Refused { .. })) => {
            let key = Key { tenant: context.tenant.clone(), group };
            // A group that is new has room for the series that tells of it, or nothing is told.
            if context.groups.of(&key).is_some() || context.quota.series(&key.group, OWN[1..].iter()).is_ok() {
                send(context, batch::failed(key.group.clone(), now)).await?;
                context.groups.fail(key, now);
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn format(headers: &HeaderMap) -> Format {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    Format::of(kind.unwrap_or_default())
}

fn read(
    format: Format,
    bytes: &[u8],
    records_max: usize,
    admission: &crate::admission::Admission,
) -> Result<Exposition, PushError> {
    if format == Format::Protobuf {
        return protobuf::parse(bytes, protobuf::Native::Sample, &mut |bytes| admission.charge(bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| PushError::Malformed(format!("the body is not UTF-8: {error}")))?;
    let lines = text.split('\n').map(|line| line.trim_matches([' ', '\t', '\r'])).filter(|line| !line.is_empty());
    let (mut count, mut samples) = (0_usize, 0);
    for line in lines {
        count += 1;
        samples += usize::from(!line.starts_with('#'));
    }
    batch::check_records(samples, records_max)?;
    admission.charge(count.saturating_mul(LINE_BYTES).saturating_add(text.len().saturating_mul(2)))?;
    match format {
        Format::OpenMetrics => openmetrics::parse(text).map_err(|error| PushError::Malformed(error.to_string())),
        _ => text::parse(text).map_err(|error| PushError::Malformed(error.to_string())),
    }
}

/// Pushes have no times of their own, so that none is taken for the repetition of another.
async fn send(context: &PushContext, batch: MetricBatch) -> Result<(), PushError> {
    let mut digest = Digest::new(&context.tenant, SOURCE);
    digest.number(context.groups.number());
    digest.number((context.clock)());
    digest.field(batch.target.to_string().as_bytes());
    let source = source(&batch.target);
    context.ship(SOURCE, vec![context.section(source, digest.finish(), batch)]).await
}

fn source(group: &Labels) -> String {
    format!("{SOURCE}/{}/{:016x}", group.get("job"), group.stable_hash())
}
