//! The HTTP APIs, one file each, on one router.
//!
//! - `prometheus`: `/api/v1/*`
//! - `loki`: `/loki/api/v1/*` (push is the collector's)
//! - `tempo`: `/tempo/*`; `jaeger`: `/jaeger/*`
//! - `weir`: `/api/weir/v1/*`, for the page and the command line. Shapes: `docs/api.md`; `status` is what the
//!   aggregator tells it.
//!
//! What several share: `params` (query string and form), `covered` (the coverage header), `failure` (errors as HTTP
//! status), `live` (tails), `metrics` (counters of them all).

pub(crate) mod covered;
pub(crate) mod failure;
pub(crate) mod find;
pub mod jaeger;
pub(crate) mod live;
pub mod loki;
pub mod metrics;
pub(crate) mod params;
pub mod prometheus;
pub mod status;
pub mod tempo;
#[cfg(test)]
mod tests;
pub(crate) mod values;
pub mod weir;

use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_model::fault;
use weir_model::select::{Budget, LogReader, MetricReader, ReadError, TraceReader};
use weir_model::time::UnixNanos;

use crate::budget::{QueryConfig, RequestBudget};

/// What every handler works with.
pub struct Api {
    /// Logs.
    pub logs: Arc<dyn LogReader>,
    /// Metrics.
    pub metrics: Arc<dyn MetricReader>,
    /// Traces.
    pub traces: Arc<dyn TraceReader>,
    /// Limits.
    pub config: QueryConfig,
    /// Rules and their alerts, as last evaluated.
    pub rules: Arc<crate::rules::RuleSet>,
    slots: Arc<Semaphore>,
    /// Live tails open at once.
    pub(crate) tails: Arc<Semaphore>,
    /// How the APIs are doing.
    pub(crate) counters: metrics::HttpMetrics,
    /// Where each partition stands.
    pub(crate) path: Arc<dyn status::PathStatus>,
    /// The time, for "the last hour".
    pub(crate) clock: fn() -> UnixNanos,
    /// When this service started.
    pub(crate) started: UnixNanos,
}

/// Tails one service feeds at once: each polls ten times a second.
const TAILS_MAX: usize = 64;

fn system_clock() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Api {
    /// Puts the readers behind the limits.
    pub fn new(
        logs: Arc<dyn LogReader>,
        metrics: Arc<dyn MetricReader>,
        traces: Arc<dyn TraceReader>,
        config: QueryConfig,
        rules: Arc<crate::rules::RuleSet>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(config.concurrency.max(1)));
        let (tails, path) = (Arc::new(Semaphore::new(TAILS_MAX)), Arc::new(status::NoPath));
        let (clock, started, counters) = (system_clock as fn() -> UnixNanos, system_clock(), metrics::HttpMetrics::default());
        Self { logs, metrics, traces, config, rules, slots, tails, counters, path, clock, started }
    }

    /// Answers `/api/weir/v1/status` with what the aggregator knows.
    pub fn with_status(mut self, path: Arc<dyn status::PathStatus>) -> Self {
        self.path = path;
        self
    }

    /// Counts requests where the caller has registered them.
    pub fn with_counters(mut self, counters: metrics::HttpMetrics) -> Self {
        self.counters = counters;
        self
    }

    /// Takes the time from elsewhere, in tests.
    pub fn with_clock(mut self, clock: fn() -> UnixNanos) -> Self {
        (self.clock, self.started) = (clock, clock());
        self
    }

    /// Runs a query's sync work off the async threads, at most `concurrency` at once, with a fresh budget that is
    /// cancelled when the caller is dropped.
    pub async fn run<T: Send + 'static, E: From<ReadError> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &dyn Budget) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let stopped = |_| ReadError::Cancelled("weir is stopping");
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| stopped(()))?;
        let (budget, _guard) = RequestBudget::new(&self.config);
        let api = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            fault::contained(|| work(&api, &budget))
        })
        .await
        .map_err(|error| error.to_string())
        .flatten()
        .map_err(|_| ReadError::Store("the query stopped by a fault of weir's; the log says more".into()))?
    }
}

/// All of them.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .merge(prometheus::router(Arc::clone(&api)))
        .merge(loki::router(Arc::clone(&api)))
        .merge(tempo::router(Arc::clone(&api)))
        .merge(jaeger::router(Arc::clone(&api)))
        .merge(weir::router(Arc::clone(&api)))
        .route_layer(axum::middleware::from_fn_with_state(api, metrics::count))
}
