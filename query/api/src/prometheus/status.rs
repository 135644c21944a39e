//! `status/buildinfo`, `flags`, `runtimeinfo`, `walreplay`, and `features`: who answers, how it is set up, and which Prometheus it answers
//! like (docs/decisions/0103). Nothing here has a secret, or a name of a tenant's.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value, json};
use weir_model::time::{format_duration, format_rfc3339};
use weir_promql::Function;
use weir_promql::ast::{AggregateOp, BinaryOp};

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
    answer(api, body).await
}

/// `GET status/flags`: those of Prometheus' flags that have a counterpart here.
pub(super) async fn flags(api: Call) -> Result<Response, ApiError> {
    let config = &api.config;
    let text = |duration: std::time::Duration| format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
    let body = json!({
        "query.lookback-delta": text(config.lookback),
        "query.max-concurrency": config.concurrency.to_string(),
        "query.max-samples": config.records_max.to_string(),
        "query.timeout": text(config.timeout),
        "web.enable-admin-api": "true",
        "web.enable-lifecycle": "false",
    });
    answer(api, body).await
}

/// `GET status/runtimeinfo`: what a Go program would say of its runtime is left out.
pub(super) async fn runtimeinfo(api: Call) -> Result<Response, ApiError> {
    let damaged = api.path.status().iter().filter(|partition| partition.progress.damage.is_some()).count();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let folder = std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    let body = json!({
        "startTime": format_rfc3339(api.started),
        "CWD": folder,
        "hostname": hostname.trim(),
        "serverTime": format_rfc3339((api.clock)()),
        "reloadConfigSuccess": true,
        "lastConfigTime": format_rfc3339(api.started),
        "corruptionCount": damaged,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
    });
    answer(api, body).await
}

/// `GET status/walreplay`: weir's log is the bus, and what of it is not in blocks is read again into heads: bus records below which all is in
/// blocks, below which all is on the bus, and below which all can be found, over all partitions.
pub(super) async fn walreplay(api: Call) -> Result<Response, ApiError> {
    let status = api.path.status();
    let sum = |of: fn(&weir_model::status::OwnerStatus) -> u64| status.iter().map(|own| of(&own.progress)).sum::<u64>();
    let body = json!({
        "min": sum(|own| own.committed_offset),
        "max": sum(|own| own.high_watermark),
        "current": sum(|own| own.indexed_offset),
    });
    answer(api, body).await
}

/// `GET features`: by Prometheus' names of them.
pub(super) async fn features(api: Call) -> Result<Response, ApiError> {
    let all = |names: &[&'static str]| names.iter().map(|name| (*name, true)).collect::<BTreeMap<_, _>>();
    let functions: Vec<&str> = Function::all().iter().map(|own| own.name).collect();
    let aggregations = AggregateOp::ALL.iter().map(|(name, _)| *name);
    let operators: Vec<&str> = aggregations.chain(BinaryOp::ALL.iter().map(|(name, ..)| *name)).collect();
    let mut api_features = all(&[
        "admin",
        "exclude_alerts",
        "label_values_match",
        "query_stats",
        "query_warnings",
        "time_range_labels",
        "time_range_series",
    ]);
    api_features.extend([("lifecycle", false), ("search", false)]);
    let promql = all(&[
        "anchored",
        "at_modifier",
        "bool",
        "by",
        "duration_expr",
        "fill",
        "fill_left",
        "fill_right",
        "group_left",
        "group_right",
        "ignoring",
        "negative_offset",
        "offset",
        "on",
        "per_query_lookback_delta",
        "smoothed",
        "subqueries",
        "without",
    ]);
    let body = json!({
        "api": api_features,
        "prometheus": {"agent_mode": false, "auto_reload_config": false, "server_mode": true},
        "promql": promql,
        "promql_functions": all(&functions),
        "promql_operators": all(&operators),
        "rules": all(&["keep_firing_for", "query_offset"]),
        "service_discovery_providers": all(&["file", "static"]),
    });
    answer(api, body).await
}

async fn answer(api: Call, body: Value) -> Result<Response, ApiError> {
    api.answer(move |_, budget| Success::of(budget, &body)?.reply(None)).await
}
