//! `/loki/api/v1/delete`: requests to delete lines, as Loki has them: created, listed, cancelled.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_logql::LogExpr;
use weir_logql::ast::{LineStage, LineTest, Stage, StageKind};
use weir_model::deletion::{DeletionChange, DeletionError, DeletionOrder, DeletionQuery, DeletionStatus};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::super::deletions::{accept, failure, tenant, told};
use super::super::params::Params;
use super::shape::seconds;
use super::{Api, LokiError};

/// What of a query may say which lines are deleted: its selector and line filters.
fn asked(query: &str) -> Result<DeletionQuery, String> {
    let weir_logql::Expr::Log(LogExpr { matchers, stages, .. }) = weir_logql::parse(query).map_err(|error| error.to_string())?
    else {
        return Err("a metric query deletes nothing: give a selector, with line filters".into());
    };
    let filter = |stage: Stage| match stage.kind {
        StageKind::Line(LineStage { test: LineTest::Store(filter), .. }) => Ok(filter),
        _ => Err(format!("the stage at byte {} cannot say what is deleted: |=, !=, |~ and !~ can", stage.at)),
    };
    let filters = stages.into_iter().map(filter).collect::<Result<_, String>>()?;
    Ok(DeletionQuery { query: query.to_owned(), selectors: vec![matchers], filters })
}

/// `POST`, `PUT`.
pub(super) async fn create(State(api): State<Arc<Api>>, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let own = tenant(&granted)?.to_owned();
    let query = params.get("query").ok_or_else(|| "query not set".to_owned())?.to_owned();
    let now = (api.clock)();
    let start = params.time("start")?.ok_or_else(|| "start time not set".to_owned())?;
    let end = params.time("end")?.unwrap_or(now);
    if end > now {
        return Err("deletes in the future are not allowed".to_owned().into());
    }
    if start >= end {
        return Err("start time can't be greater than or equal to end time".to_owned().into());
    }
    // Loki parts a request by it to bound its work. Here a block is rewritten at a time, whatever the range.
    if params.duration("max_interval")?.is_some_and(|interval| interval <= 0) {
        return Err("parameter max_interval is not above 0".to_owned().into());
    }
    let parsed = tokio::task::spawn_blocking(move || asked(&query)).await.map_err(|error| error.to_string())??;
    let id = accept(&api, (&own, &[Kind::Logs]), (parsed, TimeRange { start, end }), true).await?;
    Ok(told(StatusCode::NO_CONTENT, &id))
}

/// `GET`: in the order in which they were made.
pub(super) async fn list(State(api): State<Arc<Api>>, granted: Granted) -> Result<Json<Vec<Value>>, LokiError> {
    let known = api.deletions.list(Kind::Logs, tenant(&granted)?).await.map_err(failure)?;
    Ok(Json(known.iter().filter(|known| known.is_listed((api.clock)())).map(shape).collect()))
}

/// Times are whole numbers where they are whole: logcli reads no other.
fn shape(known: &DeletionStatus) -> Value {
    let request = &known.request;
    json!({
        "request_id": request.id,
        "start_time": seconds(request.start),
        "end_time": seconds(request.end),
        "query": request.query,
        "status": if known.is_processed() { "processed" } else { "received" },
        "created_at": seconds(request.created),
    })
}

/// `DELETE`: cancels, within `aggregator.delete_request_cancel_period`.
pub(super) async fn cancel(State(api): State<Arc<Api>>, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let own = tenant(&granted)?;
    params.refuse(&["force"])?;
    let id = params.need("request_id")?;
    let known = api.deletions.list(Kind::Logs, own).await.map_err(failure)?;
    let Some(known) = known.iter().find(|known| known.request.id == id) else {
        return Err(failure(DeletionError::NotFound).into());
    };
    if known.is_processed() || !known.request.can_cancel {
        return Err("deletion of request which is in process or already processed is not allowed".to_owned().into());
    }
    let change = DeletionChange::Cancel { tenant: own.to_owned(), id: id.to_owned() };
    api.deletions.change(DeletionOrder { kinds: vec![Kind::Logs], change }).await.map_err(failure)?;
    Ok(told(StatusCode::NO_CONTENT, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_and_line_filters_say_what_is_deleted() {
        let check = |query: &str, expected: Result<usize, &str>| match (asked(query), expected) {
            (Ok(asked), Ok(filters)) => {
                assert_eq!((asked.query.as_str(), asked.selectors.len(), asked.filters.len()), (query, 1, filters))
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{query}: {error}"),
            (found, expected) => panic!("{query}: {found:?}, expected {expected:?}"),
        };
        check(r#"{app="shop"}"#, Ok(0));
        check(r#"{app="shop"} |= "card" !~ "test.*""#, Ok(2));
        check(r#"rate({app="shop"}[1m])"#, Err("metric query"));
        check(r#"{app="shop"} | json"#, Err("at byte 13 cannot say"));
        check("{", Err(""));
    }
}
