//! Elasticsearch's bulk API below `/elasticsearch`, for the outputs of Fluent Bit, Vector, Filebeat and Logstash, and what these ask before
//! they send. The root of the listener is the page's, so clients are given the path with the URL. 200 once the bus has all that was taken,
//! with a status for each document.
//!
//! - [`bulk`]: actions and documents into sections; [`document`]: one document as a line.

pub(crate) mod bulk;
mod document;
#[cfg(test)]
mod tests;

use std::time::Instant;

use axum::body::Body;
use axum::extract::RawPathParams;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_model::signal::Signal;

use self::bulk::{Item, SOURCE, Taken};
use crate::admission::Admission;
use crate::body;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

/// The version whose calls these are: clients refuse to speak to what they take for too old or too new.
const VERSION: &str = "8.17.0";

/// Official clients speak to nobody who does not say this.
const PRODUCT: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));

/// What a client sets up before it sends; lines need none of it.
const SET_UP: [&str; 6] = [
    "/elasticsearch/_index_template/{name}",
    "/elasticsearch/_component_template/{name}",
    "/elasticsearch/_template/{name}",
    "/elasticsearch/_ilm/policy/{name}",
    "/elasticsearch/_ingest/pipeline/{name}",
    "/elasticsearch/_data_stream/{name}",
];

/// The routes, for the main listener.
pub fn router(service: PushService) -> Routes {
    let (push, send) = (Needs::Tenant(Verb::Push, Telemetry::Logs), [Method::POST, Method::PUT]);
    let routes = Routes::new()
        .on(&send, "/elasticsearch/_bulk", push, take_bulk)
        .on(&send, "/elasticsearch/{index}/_bulk", push, take_bulk)
        .get("/elasticsearch", Needs::Caller, info)
        .get("/elasticsearch/", Needs::Caller, info)
        .get("/elasticsearch/_license", Needs::Caller, license)
        .get("/elasticsearch/_xpack", Needs::Caller, license)
        .get("/elasticsearch/_cluster/health", Needs::Caller, health);
    let set_up = |routes: Routes<PushService>, path: &&str| {
        routes.get(path, Needs::Caller, not_found).on(&send, path, Needs::Caller, acknowledge)
    };
    SET_UP.iter().fold(routes, set_up).with_state(service)
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), PRODUCT];
    (status, kind, value.to_string()).into_response()
}

async fn info() -> Response {
    let version = json!({"number": VERSION, "build_flavor": "default", "build_type": "weir",
        "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0"});
    let name = format!("weir {}", env!("CARGO_PKG_VERSION"));
    let tagline = "You Know, for Search";
    answer(StatusCode::OK, &json!({"name": name, "cluster_name": "weir", "version": version, "tagline": tagline}))
}

async fn license() -> Response {
    answer(StatusCode::OK, &json!({"license": {"status": "active", "type": "basic", "mode": "basic"}}))
}

async fn health() -> Response {
    answer(StatusCode::OK, &json!({"cluster_name": "weir", "status": "green", "timed_out": false}))
}

/// weir keeps no templates and policies, so it has none.
async fn not_found() -> Response {
    let error = json!({"type": "resource_not_found_exception", "reason": "weir keeps lines without templates and policies"});
    answer(StatusCode::NOT_FOUND, &json!({"error": error, "status": 404}))
}

/// There is nothing to do: every field of a document is kept, whatever a template says.
async fn acknowledge() -> Response {
    answer(StatusCode::OK, &json!({"acknowledged": true}))
}

async fn take_bulk(context: PushContext, path: RawPathParams, headers: HeaderMap, body: Body) -> Response {
    let begun = Instant::now();
    let index = path.iter().find(|(name, _)| *name == "index").map(|(_, value)| value.to_owned());
    match take(&context, index, &headers, body).await {
        Ok(items) => {
            let refused = items.iter().any(Item::is_refused);
            let items: Vec<Value> = items.iter().map(Item::to_json).collect();
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            answer(StatusCode::OK, &json!({"took": took, "errors": refused, "items": items}))
        }
        Err(error) => {
            context.metrics.event(SOURCE, error.reason(), 1);
            let kind =
                if error.retry_after().is_some() { "es_rejected_execution_exception" } else { "illegal_argument_exception" };
            let cause = json!({"type": kind, "reason": error.to_string()});
            let body = json!({"error": {"root_cause": [cause], "type": kind, "reason": error.to_string()},
                "status": error.status().as_u16()});
            error.timed(answer(error.status(), &body))
        }
    }
}

async fn take(context: &PushContext, index: Option<String>, headers: &HeaderMap, body: Body) -> Result<Vec<Item>, PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let encoding = body::content_encoding(headers);
    let decode = move |context: &PushContext, admission: &Admission| {
        let limit = context.config.decompressed_max.to_usize();
        let bytes: Bytes = body::decode_content(&encoding, bytes, limit, admission)?;
        admission.body_is(bytes.len());
        let taken = bulk::sections(context, admission, index.as_deref(), &bytes)?;
        admission.settle(taken.sections.iter().map(|section| section.batch.weight()).sum());
        Ok(taken)
    };
    let taken: Taken = context.decode(&admission, decode).await?;
    context.ship(SOURCE, taken.sections).await?;
    taken.refused.iter().for_each(|(reason, documents)| context.dropped(SOURCE, reason, *documents));
    Ok(taken.items)
}
