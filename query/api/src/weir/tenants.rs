//! A tenant as a whole: all of its records deleted, and how far that and its other deletions are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::is_tenant;
use weir_model::deletion::{DeletionQuery, DeletionStatus};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::super::deletions::{accept, failure, told};
use super::super::params::Params;
use super::{Api, WeirError};

/// `DELETE /api/weir/v1/tenants/{tenant}?confirm={tenant}`: everything of it that is on the bus now is unseen when it answers, in all three
/// engines, and goes from blocks at the next upkeep. It cannot be cancelled.
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(tenant): Path<String>,
    params: Params,
) -> Result<Response, WeirError> {
    check(&tenant)?;
    if params.get("confirm") != Some(&tenant) {
        return Err(format!("this deletes all logs, metrics and traces of {tenant}: say so with confirm={tenant}").into());
    }
    let asked = DeletionQuery { query: "{}".into(), ..DeletionQuery::default() };
    let id = accept(&api, (&tenant, &Kind::ALL), (asked, TimeRange::ALL), false).await?;
    Ok(told((StatusCode::ACCEPTED, Json(json!({ "request_id": id }))), &id))
}

/// `GET /api/weir/v1/tenants/{tenant}/deletions`: of each kind, oldest first.
pub(super) async fn deletions(State(api): State<Arc<Api>>, Path(tenant): Path<String>) -> Result<Json<Value>, WeirError> {
    check(&tenant)?;
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let known = api.deletions.list(kind, &tenant).await.map_err(failure)?;
        all.extend(known.iter().filter(|known| known.is_listed((api.clock)())).map(shape));
    }
    Ok(Json(json!({ "deletions": all })))
}

fn check(tenant: &str) -> Result<(), String> {
    if is_tenant(tenant) { Ok(()) } else { Err(format!("{:?} is no name of a tenant", weir_model::clip(tenant))) }
}

fn shape(known: &DeletionStatus) -> Value {
    let DeletionStatus { kind, request, partitions, processed, .. } = known;
    json!({
        "kind": kind.name(),
        "request_id": request.id,
        "query": request.query,
        "start": request.start.to_string(),
        "end": request.end.to_string(),
        "created": request.created.to_string(),
        "status": if known.is_processed() { "processed" } else { "received" },
        "partitions": partitions,
        "processed": processed,
    })
}
