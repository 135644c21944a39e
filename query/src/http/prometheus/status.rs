//! `status/buildinfo`: who answers, and which Prometheus it answers like.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::Api;
use super::answer::{Failure, Success};

/// The Prometheus whose API and language this is. Grafana decides by it which calls it may make.
const PROMETHEUS_VERSION: &str = "3.0.0";

/// `GET status/buildinfo`
pub(super) async fn buildinfo(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    let weir = env!("CARGO_PKG_VERSION");
    let body = json!({
        "application": "weir",
        "version": format!("{PROMETHEUS_VERSION}+weir.{weir}"),
        "revision": format!("weir-{weir}"),
    });
    api.answer(move |_, budget| Success::of(budget, &body)?.reply(None)).await
}
