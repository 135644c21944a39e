//! Prometheus' HTTP API, `/api/v1/*`: what Grafana's Prometheus data source, promtool and Alertmanager's links ask.
//!
//! One file a group of routes; `params` reads what was sent, `answer` writes Prometheus' envelope, `series` what has many rows.

mod answer;
pub(crate) mod cardinality;
mod delete;
mod escaping;
mod exemplars;
mod federate;
mod histogram;
mod labels;
mod notifications;
mod params;
mod query;
mod remote_read;
mod rules;
mod series;
mod status;
pub mod targets;
mod tree;

use std::sync::Arc;

use axum::http::Method;
use weir_access::{Needs, Routes, Verb};

use super::{ADMIN_METRICS, Api, READ_METRICS, RULES};

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get_or_post("/api/v1/query", READ_METRICS, query::instant)
        .get_or_post("/api/v1/query_range", READ_METRICS, query::range)
        .get_or_post("/api/v1/query_exemplars", READ_METRICS, exemplars::query)
        .post("/api/v1/read", READ_METRICS, remote_read::read)
        .get_or_post("/api/v1/format_query", Needs::Caller, query::format)
        .get_or_post("/api/v1/parse_query", Needs::Caller, tree::parse_query)
        .get_or_post("/api/v1/labels", READ_METRICS, labels::names)
        .get("/api/v1/label/{name}/values", READ_METRICS, labels::values)
        .get_or_post("/api/v1/series", READ_METRICS, labels::series)
        .on(&[Method::POST, Method::PUT], "/api/v1/admin/tsdb/delete_series", ADMIN_METRICS, delete::series)
        .on(&[Method::POST, Method::PUT], "/api/v1/admin/tsdb/clean_tombstones", ADMIN_METRICS, delete::clean_tombstones)
        .on(&[Method::POST, Method::PUT], "/api/v1/admin/tsdb/snapshot", ADMIN_METRICS, delete::snapshot)
        .get("/api/v1/metadata", READ_METRICS, labels::metadata)
        .get("/api/v1/rules", RULES, rules::rules)
        .get("/api/v1/alerts", RULES, rules::alerts)
        .get("/api/v1/alertmanagers", RULES, rules::alertmanagers)
        .get("/api/v1/targets", READ_METRICS, targets::targets)
        .get("/api/v1/targets/metadata", READ_METRICS, targets::metadata)
        .get("/api/v1/targets/relabel_steps", Needs::Whole(Verb::Read), targets::relabel_steps)
        .get("/api/v1/scrape_pools", READ_METRICS, targets::pools)
        .get("/api/v1/scrape_pools/config", Needs::Whole(Verb::Read), targets::pool_config)
        .get("/api/v1/status/buildinfo", Needs::Caller, status::buildinfo)
        .get("/api/v1/status/config", Needs::Whole(Verb::Read), targets::config)
        .get("/api/v1/status/flags", Needs::Whole(Verb::Read), status::flags)
        .get("/api/v1/status/runtimeinfo", Needs::Whole(Verb::Read), status::runtimeinfo)
        .get("/api/v1/status/walreplay", Needs::AnyOf(Verb::Read), status::walreplay)
        .get("/api/v1/status/tsdb", READ_METRICS, cardinality::tsdb)
        .get("/api/v1/features", Needs::Caller, status::features)
        .get("/api/v1/notifications", Needs::AnyOf(Verb::Read), notifications::all)
        .get("/api/v1/notifications/live", Needs::AnyOf(Verb::Read), notifications::live)
        .get_or_post("/api/v1/cardinality/label_names", READ_METRICS, cardinality::label_names)
        .get_or_post("/api/v1/cardinality/label_values", READ_METRICS, cardinality::label_values)
        .get_or_post("/api/v1/cardinality/active_series", READ_METRICS, cardinality::active_series)
        .get("/federate", READ_METRICS, federate::federate)
        .with_state(api)
}

#[cfg(test)]
pub(crate) mod tests;
