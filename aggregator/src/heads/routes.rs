//! The routes, merged by whoever listens into its router.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use weir_access::{Needs, Routes};
use weir_heads::{HEADS_PATH, HeadRequest, STATUS_PATH, TAIL_PATH};
use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;

use super::service::{Refused, read};
use super::{request, tail};
use crate::open::Aggregator;

/// A request holds at most 10,000 trace ids of 35 bytes, or a few needles.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Answers `/api/weir/internal/v1/{heads,tail,status}` for the partitions that the aggregator owns at that time.
pub fn router(aggregator: Arc<Aggregator>) -> Routes {
    Routes::new()
        .post(HEADS_PATH, Needs::Cluster, heads)
        .post(TAIL_PATH, Needs::Cluster, tail::tail)
        .get(STATUS_PATH, Needs::Cluster, status)
        .map(|router| router.layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)))
        .with_state(aggregator)
}

async fn heads(
    State(aggregator): State<Arc<Aggregator>>,
    body: Result<Json<HeadRequest>, JsonRejection>,
) -> Result<Response, Refused> {
    let request = read(body)?;
    request.check().map_err(|text| Refused(StatusCode::BAD_REQUEST, text))?;
    let kind = request.kind.name();
    let deadline = request::deadline(&request);
    let slot = tokio::time::timeout_at(deadline.into(), Arc::clone(&aggregator.heads.extracts).acquire_owned()).await;
    let Ok(Ok(slot)) = slot else {
        aggregator.heads.count(kind, "busy", request.partitions.len() as u64);
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being answered already".into()));
    };
    // Dropped when the client leaves: the work stops at its next look.
    let (budget, _guard) = request::Deadline::new(deadline);
    let answered = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let service = &aggregator.heads;
        match request.kind {
            Kind::Logs => request::respond(&aggregator.logs, &request, service, &budget),
            Kind::Metrics => request::respond(&aggregator.metrics, &request, service, &budget),
            Kind::Spans => request::respond(&aggregator.traces, &request, service, &budget),
        }
    });
    let bytes = answered.await.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.weir.heads")], bytes).into_response())
}

async fn status(State(aggregator): State<Arc<Aggregator>>) -> Json<Vec<OwnerStatus>> {
    Json(aggregator.status())
}
