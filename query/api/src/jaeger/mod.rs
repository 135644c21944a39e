//! Jaeger's query API (v1) under `/jaeger/api`, as Jaeger's page and Grafana's data source call it.
//!
//! [`shape`] writes a trace as Jaeger does: microseconds, tags with types, processes apart. Every answer has the header
//! `X-Weir-Coverage`. Tags are compared with attributes of span and resource as text; `error`, `status` and `span.kind` are
//! read off the span itself.

mod search;
mod shape;

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_access::{Granted, Routes};
use weir_budget::RequestBudget;
use weir_model::id::TraceId;
use weir_model::select::{Coverage, ReadError};
use weir_model::time::TimeRange;

use super::error::{ApiError, with_retry};
use super::params::Params;
use super::reply::{Reply, Text};
use super::trace_search::read_trace;
use super::{Api, READ_TRACES, coverage_header};
use crate::call::Call;

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get("/jaeger/api/traces/{id}", READ_TRACES, trace)
        .get("/jaeger/api/traces", READ_TRACES, search::traces)
        .get("/jaeger/api/services", READ_TRACES, services)
        .get("/jaeger/api/services/{service}/operations", READ_TRACES, service_operations)
        .get("/jaeger/api/operations", READ_TRACES, operations)
        .with_state(api)
}

/// An error as Jaeger writes it.
pub(super) struct JaegerError {
    failure: ApiError,
    coverage: Coverage,
}

impl<T: Into<ApiError>> From<T> for JaegerError {
    fn from(failure: T) -> Self {
        Self { failure: failure.into(), coverage: Coverage::default() }
    }
}

impl IntoResponse for JaegerError {
    fn into_response(self) -> Response {
        let ApiError { status, message } = self.failure;
        let errors = json!([{"code": status.as_u16(), "msg": message}]);
        let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
        with_retry(coverage_header::with_header(&self.coverage, (status, Json(body))))
    }
}

/// Elements of `data`, one after the other.
struct Data<'a> {
    text: Text<'a>,
    total: usize,
}

impl<'a> Data<'a> {
    fn new(budget: &'a RequestBudget) -> Result<Self, ReadError> {
        let mut text = Text::new(budget);
        text.raw("{\"data\":[")?;
        Ok(Self { text, total: 0 })
    }

    fn push(&mut self, one: &Value) -> Result<(), ReadError> {
        self.text.raw(if self.total == 0 { "" } else { "," })?;
        self.total += 1;
        self.text.json(one)
    }

    /// `limit` and `offset` are 0 in every answer of Jaeger's own.
    fn reply(self, coverage: Coverage) -> Result<Reply, JaegerError> {
        self.reply_cut(coverage, None)
    }

    /// The same, with why it is not all, as an error beside the data.
    fn reply_cut(mut self, coverage: Coverage, cut: Option<&str>) -> Result<Reply, JaegerError> {
        let errors = cut.map(|message| json!([{"code": StatusCode::GATEWAY_TIMEOUT.as_u16(), "msg": message}]));
        let rest = json!({"total": self.total, "limit": 0, "offset": 0, "errors": errors}).to_string();
        self.text.raw("],")?;
        self.text.raw(&rest[1..])?;
        Ok(self.text.reply(Some(coverage)))
    }
}

async fn trace(api: Call, granted: Granted, Path(id): Path<String>) -> Result<Response, JaegerError> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, _) = read_trace(&*api.traces, &granted.scope, id, budget)?;
        let Some(trace) = found.value else {
            return Err(JaegerError {
                failure: ApiError::new(StatusCode::NOT_FOUND, "trace not found"),
                coverage: found.coverage,
            });
        };
        let mut data = Data::new(budget)?;
        data.push(&shape::trace(&trace))?;
        data.reply(found.coverage)
    };
    api.answer(work).await
}

async fn services(api: Call, granted: Granted) -> Result<Response, JaegerError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = api.traces.services(&granted.scope, TimeRange::ALL, budget)?;
        names(found.value.into_iter().map(Value::from), found.coverage, budget)
    };
    api.answer(work).await
}

fn names(names: impl Iterator<Item = Value>, coverage: Coverage, budget: &RequestBudget) -> Result<Reply, JaegerError> {
    let mut data = Data::new(budget)?;
    for name in names {
        data.push(&name)?;
    }
    data.reply(coverage)
}

async fn service_operations(api: Call, granted: Granted, Path(service): Path<String>) -> Result<Response, JaegerError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = api.traces.operations(&granted.scope, Some(&service), TimeRange::ALL, budget)?;
        let mut all: Vec<String> = found.value.into_iter().map(|(name, _)| name).collect();
        all.dedup();
        names(all.into_iter().map(Value::from), found.coverage, budget)
    };
    api.answer(work).await
}

/// With kinds, and by kind when `spanKind` says so.
async fn operations(api: Call, granted: Granted, params: Params) -> Result<Response, JaegerError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let wanted = params.get("spanKind").map(str::to_ascii_lowercase);
        let found = api.traces.operations(&granted.scope, Some(params.need("service")?), TimeRange::ALL, budget)?;
        let named = found.value.into_iter().map(|(name, kind)| (name, shape::kind_name(kind)));
        let kept = named.filter(|(_, kind)| wanted.as_deref().is_none_or(|wanted| wanted == *kind));
        names(kept.map(|(name, kind)| json!({"name": name, "spanKind": kind})), found.coverage, budget)
    };
    api.answer(work).await
}
