//! `admin/tsdb`: series deleted, as Prometheus has it. Nothing is there to cancel; samples are unseen when it answers, and go from
//! blocks at the next upkeep, or with `clean_tombstones`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use weir_access::Granted;
use weir_model::deletion::DeletionQuery;
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::Api;
use super::answer::ApiError;
use super::params::Params;
use crate::deletions::{accept, failure, tenant, told};

/// Nanoseconds of a millisecond.
const MILLISECOND: i64 = 1_000_000;

/// `delete_series`: `match[]`, and `start` and `end`, both inclusive.
pub(super) async fn series(State(api): State<Arc<Api>>, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let own = tenant(&granted)?.to_owned();
    let nanos = |milliseconds: i64| milliseconds.saturating_mul(MILLISECOND);
    let start = params.time("start")?.map_or(i64::MIN, nanos);
    let end = params.time("end")?.map_or(i64::MAX, |end| nanos(end.saturating_add(1)));
    let query = params.all("match[]").collect::<Vec<_>>().join(" or ");
    if query.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let read = move || params.selectors();
    let selectors = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
    let asked = DeletionQuery { query, selectors, filters: Vec::new() };
    let id = accept(&api, (&own, &[Kind::Metrics]), (asked, TimeRange { start, end }), false).await?;
    Ok(told(StatusCode::NO_CONTENT, &id))
}

/// `clean_tombstones`: returns when no block has what is deleted for good.
pub(super) async fn clean_tombstones(State(api): State<Arc<Api>>, granted: Granted) -> Result<Response, ApiError> {
    tenant(&granted)?;
    api.deletions.apply().await.map_err(failure)?;
    Ok(told(StatusCode::NO_CONTENT, ""))
}

/// `snapshot`: a hard-linked copy of Prometheus' directory, for which there is nothing here.
pub(super) async fn snapshot() -> ApiError {
    ApiError::not_found(
        "weir makes no snapshots: blocks and manifests never change once they are written. POST /api/weir/v1/admin/seal makes all that was \
         acknowledged part of them, and a copy of the object store after that has it",
    )
}
