//! Jaeger's query API (v1) under `/jaeger/api`, as Jaeger's page and Grafana's data source call it.
//!
//! [`shape`] writes a trace as Jaeger does: microseconds, tags with types, processes apart. Every answer has the header
//! `X-Weir-Coverage`. Tags are compared with attributes of span and resource as text; `error` and `span.kind` are read off
//! the span itself.

mod search;
mod shape;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use weir_model::id::TraceId;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::Coverage;
use weir_model::span::SpanKind;
use weir_model::time::TimeRange;

use super::failure::Failure;
use super::params::Params;
use super::{Api, covered};

/// Its routes.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .route("/jaeger/api/traces/{id}", get(trace))
        .route("/jaeger/api/traces", get(search::traces))
        .route("/jaeger/api/services", get(services))
        .route("/jaeger/api/services/{service}/operations", get(service_operations))
        .route("/jaeger/api/operations", get(operations))
        .with_state(api)
}

/// An error as Jaeger writes it.
pub(super) struct Wrong {
    failure: Failure,
    coverage: Coverage,
}

impl<T: Into<Failure>> From<T> for Wrong {
    fn from(failure: T) -> Self {
        Self { failure: failure.into(), coverage: Coverage::default() }
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let Failure { status, message } = self.failure;
        let errors = json!([{"code": status.as_u16(), "msg": message}]);
        let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
        covered::with_header(&self.coverage, (status, Json(body)))
    }
}

fn success(data: Vec<Value>, coverage: &Coverage) -> Response {
    let total = data.len();
    covered::with_header(coverage, Json(json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null})))
}

async fn trace(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Wrong> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    let found = api.run(move |api, _| api.traces.trace(TENANT_DEFAULT, id)).await?;
    match found.value {
        Some(trace) => Ok(success(vec![shape::trace(&trace)], &found.coverage)),
        None => Err(Wrong { failure: Failure::new(StatusCode::NOT_FOUND, "trace not found"), coverage: found.coverage }),
    }
}

async fn services(State(api): State<Arc<Api>>) -> Result<Response, Wrong> {
    let found = api.run(|api, _| api.traces.services(TENANT_DEFAULT, TimeRange::ALL)).await?;
    Ok(success(found.value.into_iter().map(Value::from).collect(), &found.coverage))
}

async fn service_operations(State(api): State<Arc<Api>>, Path(service): Path<String>) -> Result<Response, Wrong> {
    let found = api.run(move |api, _| api.traces.operations(TENANT_DEFAULT, &service, TimeRange::ALL)).await?;
    let mut names: Vec<String> = found.value.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    Ok(success(names.into_iter().map(Value::from).collect(), &found.coverage))
}

/// With kinds, and by kind when `spanKind` says so.
async fn operations(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Wrong> {
    let service = params.need("service")?.to_owned();
    let wanted = params.get("spanKind").map(str::to_ascii_lowercase);
    let found = api.run(move |api, _| api.traces.operations(TENANT_DEFAULT, &service, TimeRange::ALL)).await?;
    let named = found.value.into_iter().map(|(name, kind)| (name, shape::kind_name(kind)));
    let kept = named.filter(|(_, kind)| wanted.as_deref().is_none_or(|wanted| wanted == *kind));
    Ok(success(kept.map(|(name, kind)| json!({"name": name, "spanKind": kind})).collect(), &found.coverage))
}

/// Jaeger's word for a kind, for matching `span.kind`.
pub(super) fn kind_matches(kind: SpanKind, text: &str) -> bool {
    shape::kind_name(kind) == text
}
