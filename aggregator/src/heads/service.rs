//! What bounds the answers, counts them and refuses requests.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use weir_heads::ExtractLimits;

use crate::config::AggregatorConfig;
use crate::metrics::{Metrics, RequestLabels};

/// Tails of query nodes open at once: 64 pages on each of eight nodes.
const TAILS_MAX: usize = 512;

/// Of one process.
pub(crate) struct HeadService {
    pub(super) extracts: Arc<Semaphore>,
    pub(super) tails: Arc<Semaphore>,
    pub(super) limits: ExtractLimits,
    metrics: Metrics,
}

impl HeadService {
    pub(crate) fn new(config: &AggregatorConfig, metrics: Metrics) -> Self {
        let extracts = Arc::new(Semaphore::new(config.extracts_max.max(1)));
        let limits = ExtractLimits { bytes_max: config.extract_max.to_u64(), key: "aggregator.extract_max" };
        Self { extracts, tails: Arc::new(Semaphore::new(TAILS_MAX)), limits, metrics }
    }

    pub(super) fn count(&self, kind: &'static str, outcome: &'static str, count: u64) {
        self.metrics.requests.get_or_create(&RequestLabels { kind, outcome }).inc_by(count);
    }
}

/// What is wrong with a request, or with this process.
pub(super) struct Refused(pub StatusCode, pub String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Refused> {
    body.map(|Json(value)| value).map_err(|error| Refused(error.status(), error.body_text()))
}
