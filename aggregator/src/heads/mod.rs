//! The heads of this process for query nodes in others: routes that whoever listens merges into its router.
//! Protocol: `docs/formats/heads.md`; what an answer holds is the affair of `weir_heads`.
//!
//! - here: the routes, and what bounds them;
//! - [`request`]: one request, answered off the async threads;
//! - [`tail`]: log lines as they enter a head.
//!
//! Not here: who may ask (the listener's affair), and any reading of blocks: the client reads those itself.

mod request;
mod tail;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use weir_heads::{ExtractLimits, HEADS_PATH, HeadRequest, STATUS_PATH, TAIL_PATH};
use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;

use crate::config::AggregatorConfig;
use crate::metrics::{Metrics, RequestLabels};
use crate::open::Aggregator;

/// A request holds at most 10,000 trace ids of 35 bytes, or a few needles.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Tails of query nodes open at once: 64 pages on each of eight nodes.
const TAILS_MAX: usize = 512;

/// What bounds the answers, and counts them.
pub(crate) struct HeadService {
    extracts: Arc<Semaphore>,
    tails: Arc<Semaphore>,
    limits: ExtractLimits,
    metrics: Metrics,
}

impl HeadService {
    pub(crate) fn new(config: &AggregatorConfig, metrics: Metrics) -> Self {
        let extracts = Arc::new(Semaphore::new(config.extracts_max.max(1)));
        let limits = ExtractLimits { bytes_max: config.extract_max.to_u64(), key: "aggregator.extract_max" };
        Self { extracts, tails: Arc::new(Semaphore::new(TAILS_MAX)), limits, metrics }
    }

    fn count(&self, kind: &'static str, outcome: &'static str, count: u64) {
        self.metrics.requests.get_or_create(&RequestLabels { kind, outcome }).inc_by(count);
    }
}

/// Answers `/api/weir/internal/v1/{heads,tail,status}` for the partitions that the aggregator owns at that time.
pub fn router(aggregator: Arc<Aggregator>) -> axum::Router {
    axum::Router::new()
        .route(HEADS_PATH, post(heads))
        .route(TAIL_PATH, post(tail::tail))
        .route(STATUS_PATH, get(status))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(aggregator)
}

/// What is wrong with a request, or with this process.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Refused> {
    body.map(|Json(value)| value).map_err(|error| Refused(error.status(), error.body_text()))
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
