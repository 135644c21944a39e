//! What clients ask about the server itself: its version and limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use weir_model::time::format_duration;

use super::super::Api;

/// The newest Loki of which every call for reading is here (docs/decisions/0103, 0152).
const LOKI_VERSION: &str = "3.7.0";

fn version() -> String {
    format!("{LOKI_VERSION}+weir.{}", env!("CARGO_PKG_VERSION"))
}

/// `/status/buildinfo`
pub(super) async fn build_info() -> Json<Value> {
    let revision = format!("weir-{}", env!("CARGO_PKG_VERSION"));
    Json(json!({"application": "weir", "version": version(), "revision": revision}))
}

/// `/drilldown-limits`: the limits of this weir under Loki's names, and which of Loki's switches are on. What weir has no limit on is said as Loki
/// says it: 0.
pub(super) async fn drilldown_limits(State(api): State<Arc<Api>>) -> Json<Value> {
    let config = &api.config;
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Json(json!({
        "limits": {
            "discover_log_levels": config.detected_level,
            "discover_service_name": [],
            "log_level_fields": ["level", "severity", "lvl", "loglevel", "log_level"],
            "max_entries_limit_per_query": config.lines_max,
            "max_query_bytes_read": "0B",
            "max_query_length": "0s",
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": config.series_max,
            "metric_aggregation_enabled": false,
            "pattern_persistence_enabled": true,
            "query_timeout": format_duration(nanos(config.timeout)),
            "volume_enabled": true,
            "volume_max_series": config.series_max,
        },
        "pattern_ingester_enabled": true,
        "version": version(),
    }))
}
