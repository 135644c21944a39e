//! Prometheus' HTTP API, `/api/v1/*`: what Grafana's Prometheus data source, promtool and Alertmanager's links ask.
//!
//! One file a group of routes; `params` reads what was sent, `answer` writes Prometheus' envelope. Scrape targets are the
//! collector's affair and not served here.

mod answer;
mod labels;
mod params;
mod query;
mod rules;
mod status;

use std::sync::Arc;

use axum::routing::get;

use super::Api;

/// Its routes.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/metadata", get(labels::metadata))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .with_state(api)
}

#[cfg(test)]
mod tests;
