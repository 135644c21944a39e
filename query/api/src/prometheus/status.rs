//! `status/buildinfo`: who answers, and which Prometheus it answers like (docs/decisions/0103).

use axum::response::Response;
use serde_json::json;

use super::answer::{ApiError, Success};
use crate::call::Call;

/// The newest Prometheus of which all is here that clients ask for because of its version.
const PROMETHEUS_VERSION: &str = "2.45.0";

/// `GET status/buildinfo`
pub(super) async fn buildinfo(api: Call) -> Result<Response, ApiError> {
    let weir = env!("CARGO_PKG_VERSION");
    let body = json!({
        "application": "weir",
        "version": format!("{PROMETHEUS_VERSION}+weir.{weir}"),
        "revision": format!("weir-{weir}"),
    });
    api.answer(move |_, budget| Success::of(budget, &body)?.reply(None)).await
}
