//! Prometheus' HTTP API, `/api/v1/*`: what Grafana's Prometheus data source, promtool and Alertmanager's links ask.
//!
//! One file a group of routes; `params` reads what was sent, `answer` writes Prometheus' envelope, `series` what has many rows. Scrape
//! targets are the collector's affair and not served here.

mod answer;
mod delete;
mod histogram;
mod labels;
mod params;
mod query;
mod remote_read;
mod rules;
mod series;
mod status;

use std::sync::Arc;

use axum::http::Method;
use weir_access::{Needs, Routes};

use super::{ADMIN_METRICS, Api, READ_METRICS, RULES};

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get_or_post("/api/v1/query", READ_METRICS, query::instant)
        .get_or_post("/api/v1/query_range", READ_METRICS, query::range)
        .post("/api/v1/read", READ_METRICS, remote_read::read)
        .get_or_post("/api/v1/format_query", Needs::Caller, query::format)
        .get_or_post("/api/v1/labels", READ_METRICS, labels::names)
        .get("/api/v1/label/{name}/values", READ_METRICS, labels::values)
        .get_or_post("/api/v1/series", READ_METRICS, labels::series)
        .on(&[Method::POST, Method::PUT], "/api/v1/admin/tsdb/delete_series", ADMIN_METRICS, delete::series)
        .on(&[Method::POST, Method::PUT], "/api/v1/admin/tsdb/clean_tombstones", ADMIN_METRICS, delete::clean_tombstones)
        .get("/api/v1/metadata", READ_METRICS, labels::metadata)
        .get("/api/v1/rules", RULES, rules::rules)
        .get("/api/v1/alerts", RULES, rules::alerts)
        .get("/api/v1/alertmanagers", RULES, rules::alertmanagers)
        .get("/api/v1/status/buildinfo", Needs::Caller, status::buildinfo)
        .with_state(api)
}

#[cfg(test)]
mod tests;
