//! InfluxDB's line protocol, for Telegraf and all that writes as it does: `POST /write` of 1.x and `/api/v2/write` of 2.x, and what clients
//! ask before. The same below `/influx`. 204 once the bus has all that was taken.
//!
//! A field becomes the series `measurement_field` with the tags as labels, `db` besides where a database or bucket is named. Numbers and
//! booleans are kept; texts are dropped and counted, as there is no sample of a text. A line that is wrong is refused, and the others
//! stored: 400 with `partial write` and the line's number.
//!
//! - [`line`]: one line. [`rows`]: points by time and target.

mod line;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Query, RawQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_model::signal::Signal;

use self::rows::{Taken, Unit};
use crate::body;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

const SOURCE: &str = "influx";
/// Clients look for a version that they know.
const VERSION: HeaderValue = HeaderValue::from_static("1.8.10");

/// The parameters of a request's URL that say something here. `rp` and `org` say where InfluxDB would keep it, and `consistency` how.
type Parameters = Query<HashMap<String, String>>;

/// Whose answers are given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    One,
    Two,
}

/// The routes, for the main listener.
pub fn router(service: PushService) -> Routes {
    let push = Needs::Tenant(Verb::Push, Telemetry::Metrics);
    let below = |routes: Routes<PushService>, prefix: &&str| {
        let path = |path: &str| format!("{prefix}{path}");
        routes
            .post(&path("/write"), push, write_one)
            .post(&path("/api/v2/write"), push, write_two)
            .get_or_post(&path("/query"), Needs::Caller, query)
            .get(&path("/ping"), Needs::Nothing, ping)
    };
    ["", "/influx"].iter().fold(Routes::new(), below).with_state(service)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), version()];
    (status, kind, body.to_string()).into_response()
}

fn version() -> (HeaderName, HeaderValue) {
    (HeaderName::from_static("x-influxdb-version"), VERSION)
}

async fn ping() -> Response {
    (StatusCode::NO_CONTENT, [version()]).into_response()
}

/// Databases need not be made; there is no InfluxQL.
async fn query(RawQuery(of_url): RawQuery, form: Bytes) -> Response {
    // A URL's query and a form's body are written alike.
    let asked = format!("{}&{}", of_url.unwrap_or_default(), String::from_utf8_lossy(&form));
    let url = reqwest::Url::parse(&format!("http://weir/?{asked}")).ok();
    let text = url.and_then(|url| Some(url.query_pairs().find(|(name, _)| name == "q")?.1.trim().to_ascii_uppercase()));
    let text = text.unwrap_or_default();
    let none = json!({"statement_id": 0, "series": [{"name": "databases", "columns": ["name"], "values": []}]});
    match &*text {
        "" => answer(StatusCode::BAD_REQUEST, &json!({"error": "missing required parameter \"q\""})),
        text if text.starts_with("CREATE DATABASE ") => answer(StatusCode::OK, &json!({"results": [{"statement_id": 0}]})),
        "SHOW DATABASES" => answer(StatusCode::OK, &json!({"results": [none]})),
        _ => answer(StatusCode::BAD_REQUEST, &json!({"error": "weir answers PromQL at /api/v1/query, and no InfluxQL"})),
    }
}

async fn write_one(context: PushContext, parameters: Parameters, headers: HeaderMap, body: Body) -> Response {
    write(&context, Api::One, &parameters, &headers, body).await
}

async fn write_two(context: PushContext, parameters: Parameters, headers: HeaderMap, body: Body) -> Response {
    write(&context, Api::Two, &parameters, &headers, body).await
}

async fn write(context: &PushContext, api: Api, parameters: &Parameters, headers: &HeaderMap, body: Body) -> Response {
    let (error, line) = match take(context, api, parameters, headers, body).await {
        Ok(taken) => match taken.refusal() {
            None => return (StatusCode::NO_CONTENT, [version()]).into_response(),
            Some((text, line, reason)) => (PushError::Refused { text, reason }, line),
        },
        Err(error) => (error, 0),
    };
    context.metrics.event(SOURCE, error.reason(), 1);
    let code = match error.status() {
        StatusCode::BAD_REQUEST => "invalid",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        _ => "unavailable",
    };
    let text = error.to_string();
    let body = match api {
        Api::One => json!({"error": text}),
        Api::Two => json!({"code": code, "message": text, "line": line}),
    };
    error.timed(answer(error.status(), &body))
}

async fn take(
    context: &PushContext,
    api: Api,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, PushError> {
    let named = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    let unit = Unit::of(named("precision"))?;
    let database = named(if api == Api::One { "db" } else { "bucket" }).to_owned();
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let encoding = body::content_encoding(headers);
    let decode = move |context: &PushContext, admission: &crate::admission::Admission| {
        let limit = context.config.decompressed_max.to_usize();
        let bytes: Bytes = body::decode_content(&encoding, bytes, limit, admission)?;
        admission.body_is(bytes.len());
        let taken = rows::sections(context, admission, (&database, unit), &bytes)?;
        admission.settle(taken.sections.iter().map(|section| section.batch.weight()).sum());
        Ok(taken)
    };
    let mut taken = context.decode(&admission, decode).await?;
    context.ship(SOURCE, std::mem::take(&mut taken.sections)).await?;
    taken.dropped.iter().for_each(|(reason, records)| context.dropped(SOURCE, reason, *records));
    Ok(taken)
}

/// Sections of a body, without its transport.
#[cfg(test)]
pub(crate) fn decode_sections(
    context: &PushContext,
    admission: &crate::admission::Admission,
    bytes: &[u8],
) -> Result<Vec<weir_model::wire::Section<weir_model::metric::MetricBatch>>, PushError> {
    rows::sections(context, admission, ("db", Unit::of("ns")?), bytes).map(|taken| taken.sections)
}
